//! Connection tracking and NAT against a model of them: a list of sessions and plain rules, no tables, no wheels. The
//! model does not foretell which port a flow gets, or which session gives way; it says what may be.

use std::sync::Arc;

use proptest::prelude::*;
use tapyard::packet::{DropReason, Tuple};
use tapyard::table::conntrack::{
    Conntrack, Direction, Endpoint, Filtering, Limits, Mapping, Opening, Session, SourceNat, State,
    TcpSegment,
};
use tapyard::time::Time;
use tapyard::wire::address::Address;
use tapyard::wire::tcp::{ACK, FIN, RST, SYN};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

const EXTERNAL: [Address; 2] = [Address::v4(0xc633_6401), Address::v4(0xc633_6402)];
const PORTS: std::ops::RangeInclusive<u16> = 2000..=2005;
const SERVER: Address = Address::v4(0x0a00_0009);

fn is_reserved(endpoint: Endpoint, protocol: u8) -> bool {
    protocol == TCP && endpoint.port == 2002
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Nat {
    None,
    Ports,
    KeepPort,
}

#[derive(Clone, Debug)]
enum Step {
    Open { original: Tuple, nat: Nat, to_server: bool },
    Packet { which: usize, from: Direction, kind: Kind },
    Touch { which: usize, from: Direction },
    Inbound { tuple: Tuple },
    Pass { seconds: u64 },
    Expire,
    Flush { host: Address },
    Remove { which: usize },
}

/// A packet of TCP; the others know but one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    Fin,
    Reset,
    FarReset,
}

/// How far a session is, by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    Unanswered,
    Answered,
    SynSent,
    SynReceived,
    Established,
    Closing(Direction),
    Closed,
}

impl Far {
    fn half_open(self) -> bool {
        matches!(self, Far::Unanswered | Far::SynSent | Far::SynReceived)
    }

    fn state(self) -> State {
        match self {
            Far::Unanswered | Far::SynSent => State::New,
            Far::Answered | Far::SynReceived | Far::Established => State::Established,
            Far::Closing(_) => State::Closing,
            Far::Closed => State::Closed,
        }
    }

    fn timeout(self, protocol: u8) -> u64 {
        match (self, protocol) {
            (Far::Unanswered, UDP) => 120,
            (Far::Answered, UDP) => 300,
            (_, ICMP) => 60,
            (Far::Established, _) => 7440,
            (_, TCP) => 240,
            _ => 600,
        }
    }

    /// What a packet does: the next state, or why it is refused.
    fn after(self, from: Direction, kind: Kind) -> Result<Far, DropReason> {
        use Direction::{Original, Reply};
        Ok(match (self, from, kind) {
            (Far::Unanswered, Reply, _) => Far::Answered,
            (Far::Unanswered | Far::Answered, _, _) => self,
            (Far::Closed, Reply, Kind::Syn) => return Err(DropReason::NoSession),
            (Far::Established | Far::Closing(_), Reply, Kind::Syn) => return Err(DropReason::SessionInvalid),
            (Far::Closing(_) | Far::Closed, Original, Kind::Syn) => Far::SynSent,
            (_, _, Kind::Syn) => self,
            (Far::SynSent, Original, Kind::SynAck) => return Err(DropReason::SessionInvalid),
            (Far::SynSent, Reply, Kind::SynAck) => Far::SynReceived,
            (Far::SynReceived, Original, Kind::Ack | Kind::SynAck) => Far::Established,
            (Far::SynReceived, Original, Kind::Fin) => Far::Closing(Original),
            (Far::Established, _, Kind::Fin) => Far::Closing(from),
            (Far::Closing(other), _, Kind::Fin) if other != from => Far::Closed,
            (Far::Closed, _, _) | (Far::SynSent, Original, Kind::Reset | Kind::FarReset) => self,
            (_, _, Kind::Reset) => Far::Closed,
            (_, _, Kind::FarReset) => return Err(DropReason::SessionInvalid),
            _ => self,
        })
    }
}

/// The client's numbers begin at 1000, the server's at 500; neither sends any data.
fn segment(from: Direction, kind: Kind) -> TcpSegment {
    let (sequence, ack) = match from {
        Direction::Original => (1001, 501),
        Direction::Reply => (501, 1001),
    };
    let (flags, sequence) = match kind {
        Kind::Syn => (SYN, sequence - 1),
        Kind::SynAck => (SYN | ACK, sequence - 1),
        Kind::Ack => (ACK, sequence),
        Kind::Fin => (FIN | ACK, sequence),
        Kind::Reset => (RST | ACK, sequence),
        Kind::FarReset => (RST, sequence + (1 << 30)),
    };
    TcpSegment { flags, sequence, ack, window: 4000, len: 0, window_scale: None }
}

struct Known {
    session: Arc<Session>,
    original: Tuple,
    reply: Tuple,
    nat: Nat,
    /// Whether it belongs to an endpoint-independent mapping.
    mapped: bool,
    far: Far,
    last: u64,
    gone: bool,
}

impl Known {
    fn live(&self, now: u64) -> bool {
        !self.gone && now - self.last <= self.far.timeout(self.original.protocol)
    }

    fn internal(&self) -> (Endpoint, u8) {
        (Endpoint { address: self.original.source, port: self.original.source_port }, self.original.protocol)
    }

    fn external(&self) -> Endpoint {
        Endpoint { address: self.reply.destination, port: self.reply.destination_port }
    }
}

struct Model {
    limits: Limits,
    table: Conntrack,
    known: Vec<Known>,
    now: u64,
}

impl Model {
    fn time(&self) -> Time {
        Time::from_secs(self.now)
    }

    fn live(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().filter(|known| known.live(self.now))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { original, nat, to_server } => self.open(original, nat, to_server),
            Step::Packet { which, from, kind } => self.packet(which, from, kind),
            Step::Touch { which, from } => {
                let (now, time, count) = (self.now, self.time(), self.known.len());
                let Some(known) = self.known.get_mut(which % count.max(1)) else { return };
                let plain = match known.far {
                    Far::Unanswered => from == Direction::Original,
                    far => !far.half_open(),
                };
                if plain {
                    let tcp = (known.original.protocol == TCP).then(|| segment(from, Kind::Ack));
                    let stamp = known.session.stamp();
                    known.session.touch(from, time, tcp);
                    assert_eq!(known.session.stamp(), stamp);
                    if known.live(now) {
                        known.last = now;
                    }
                }
            }
            Step::Inbound { tuple } => self.inbound(tuple),
            Step::Pass { seconds } => self.now += seconds,
            Step::Expire => {
                let due = self.table.expire(self.time());
                assert_eq!(self.table.stats().live, self.live().count(), "so few are swept in one step");
                assert_eq!(due.is_none(), self.live().next().is_none());
                assert!(due.is_none_or(|due| due > self.time()));
                let ends = |known: &Known| known.last + known.far.timeout(known.original.protocol) + 1;
                assert!(due.is_none_or(|due| self.live().all(|known| due <= Time::from_secs(ends(known)))));
            }
            Step::Flush { host } => {
                let count = self.live().filter(|known| known.original.source == host).count();
                let flushed = self.table.flush(|session| session.original().source == host);
                assert!(flushed >= count, "those not swept yet may be counted");
                self.known
                    .iter_mut()
                    .filter(|known| known.original.source == host)
                    .for_each(|known| known.gone = true);
            }
            Step::Remove { which } => {
                let count = self.known.len();
                let Some(known) = self.known.get_mut(which % count.max(1)) else { return };
                self.table.remove(&known.session);
                known.gone = true;
            }
        }
    }

    fn packet(&mut self, which: usize, from: Direction, kind: Kind) {
        let (now, time, count) = (self.now, self.time(), self.known.len());
        let Some(known) = self.known.get_mut(which % count.max(1)) else { return };
        let opening = matches!(known.far, Far::SynSent | Far::SynReceived);
        if opening && from == Direction::Reply && kind == Kind::Syn {
            return; // both open at the same time, which the model does not know
        }
        let stamp = known.session.stamp();
        let tcp = (known.original.protocol == TCP).then(|| segment(from, kind));
        let got = known.session.packet(from, time, tcp);
        if !known.live(now) {
            assert_eq!(got, Err(DropReason::NoSession));
            return;
        }
        let expected = known.far.after(from, kind);
        assert_eq!(got, expected.map(Far::state), "{:?} {from:?} {kind:?}", known.far);
        match expected {
            Ok(far) => {
                assert_eq!(known.session.stamp() != stamp, far != known.far);
                (known.far, known.last) = (far, now);
            }
            Err(DropReason::NoSession) => known.gone = true,
            Err(_) => assert_eq!(known.session.stamp(), stamp),
        }
        assert_ne!(known.session.stamp(), 0);
    }

    fn inbound(&self, tuple: Tuple) {
        let to = Endpoint { address: tuple.destination, port: tuple.destination_port };
        let is_original = self.live().any(|known| known.original == tuple);
        let lets_in = |known: &&Known| {
            let its = known.mapped && known.external() == to && known.original.protocol == tuple.protocol;
            match self.limits.filtering {
                Filtering::EndpointIndependent => its,
                Filtering::AddressDependent => its && known.reply.source == tuple.source,
                Filtering::AddressAndPortDependent => known.reply == tuple && !is_original,
            }
        };
        let expected = self.live().find(lets_in).map(|known| known.internal().0);
        assert_eq!(self.table.inbound(&tuple, self.time()), expected);
    }

    fn open(&mut self, original: Tuple, nat: Nat, to_server: bool) {
        let to = Endpoint { address: original.destination, port: original.destination_port };
        let server = Endpoint { address: SERVER, ..to };
        let keep_port = nat == Nat::KeepPort;
        let source = SourceNat {
            addresses: &[EXTERNAL[0]..=EXTERNAL[1]],
            ports: PORTS,
            keep_port,
            reserved: &is_reserved,
        };
        let opening = Opening {
            original,
            destination: to_server.then_some(server),
            source: (nat != Nat::None).then_some(source),
            rule: 7,
            tcp: (original.protocol == TCP).then(|| segment(Direction::Original, Kind::Syn)),
        };
        let to = if to_server { server } else { to };
        let plain = Tuple { source: to.address, source_port: to.port, ..original.reversed() };
        let got = self.table.open(opening, self.time());

        let same = |known: &&Known| known.original == original || known.reply == original;
        if let Some(known) = self.live().find(same) {
            assert!(Arc::ptr_eq(&got.expect("it is there already"), &known.session));
            return;
        }
        let held: Vec<&Known> =
            self.live().filter(|known| known.original.source == original.source).collect();
        if held.len() >= self.limits.per_source {
            assert_eq!(got.unwrap_err(), DropReason::SourceQuota);
            return;
        }
        let full = self.live().count() >= self.limits.sessions;
        let closed = self.live().filter(|known| known.far == Far::Closed).count();
        if full && closed == 0 && !self.live().any(|known| known.far.half_open()) {
            assert_eq!(got.unwrap_err(), DropReason::SessionsFull);
            return;
        }
        let has_ports = original.protocol != GRE;
        let mapped = nat != Nat::None && has_ports && self.limits.mapping == Mapping::EndpointIndependent;
        let internal = (Endpoint { address: original.source, port: original.source_port }, original.protocol);
        let reply_of = |external: Endpoint| Tuple {
            destination: external.address,
            destination_port: external.port,
            ..plain
        };
        let allowed = |port: u16| match (has_ports, keep_port) {
            (true, false) => PORTS.contains(&port),
            _ => port == original.source_port,
        };
        // Who is there now: closed ones may have given way.
        let free = |external: Endpoint, now: u64, there: &dyn Fn(&Known) -> bool| {
            let reply = reply_of(external);
            !is_reserved(external, original.protocol)
                && !self.known.iter().filter(|known| known.live(now) && there(known)).any(|known| {
                    let taken = has_ports
                        && known.mapped
                        && known.original.protocol == original.protocol
                        && known.external() == external;
                    taken || known.original == reply || known.reply == reply
                })
        };
        let clash = |reply: Tuple| self.live().any(|known| known.original == reply || known.reply == reply);
        let session = match got {
            Err(reason) => {
                assert_eq!(reason, DropReason::PortsExhausted);
                let still = |known: &Known| known.session.is_live(Time::from_secs(self.now));
                let exhausted = |address: Address| {
                    (0..=u16::MAX)
                        .filter(|port| allowed(*port))
                        .all(|port| !free(Endpoint { address, port }, self.now, &still))
                };
                match nat {
                    Nat::None => assert!(clash(plain)),
                    _ if held.is_empty() => assert!(EXTERNAL.into_iter().all(exhausted)),
                    _ => assert!(EXTERNAL.into_iter().any(exhausted)),
                }
                self.given_way(0, false);
                return;
            }
            Ok(session) => session,
        };
        assert_eq!(*session.original(), original);
        assert_eq!((session.rule(), session.state()), (7, State::New));
        let reply = *session.reply();
        let external = Endpoint { address: reply.destination, port: reply.destination_port };
        assert_eq!(reply, reply_of(external));
        if nat == Nat::None {
            assert_eq!(reply, plain);
        } else {
            assert!(EXTERNAL.contains(&external.address) && allowed(external.port));
            assert!(!is_reserved(external, original.protocol));
            let still = |known: &Known| known.session.is_live(Time::from_secs(self.now));
            // A source keeps its address while it has sessions; the last may just have given way.
            let natted = |known: &&&Known| known.nat != Nat::None && still(known);
            assert!(held.iter().filter(natted).all(|known| known.external().address == external.address));
            // Evicted and reclaimed ones apart: their mapping may have ended with them.
            let join = |there: &dyn Fn(&Known) -> bool| -> Vec<Endpoint> {
                self.live()
                    .filter(|known| there(known) && mapped && known.mapped && known.internal() == internal)
                    .map(Known::external)
                    .filter(|external| allowed(external.port) && !clash(reply_of(*external)))
                    .collect()
            };
            let joins = join(&still);
            if !joins.is_empty() {
                assert!(joins.contains(&external), "{external:?} and not one of {joins:?}");
            } else if join(&|_| true).is_empty() && has_ports && !keep_port {
                let is_free = |port: u16| free(Endpoint { port, ..external }, self.now, &|_| true);
                if PORTS.contains(&original.source_port) && is_free(original.source_port) {
                    assert_eq!(external.port, original.source_port);
                } else if original.protocol == UDP {
                    let even = |port: &u16| port % 2 == original.source_port % 2;
                    if PORTS.filter(even).any(is_free) {
                        assert!(even(&external.port), "{original:?} {external:?}");
                    }
                }
            }
        }
        self.given_way(usize::from(full), closed > 0);
        let far = if original.protocol == TCP { Far::SynSent } else { Far::Unanswered };
        let last = self.now;
        self.known.push(Known { session, original, reply, nat, mapped, far, last, gone: false });
    }

    /// After a session was opened or was to be: `most` may have made room for it, closed ones first; any number of closed
    /// ones have given up their ports.
    fn given_way(&mut self, most: usize, has_closed: bool) {
        let (now, time) = (self.now, self.time());
        let lost = |known: &&mut Known| known.live(now) && !known.session.is_live(time);
        let mut in_use = 0;
        let mut all = 0;
        for known in self.known.iter_mut().filter(lost) {
            let half_open = known.far.half_open();
            assert!(half_open || known.far == Far::Closed, "{:?} was in use", known.far);
            in_use += usize::from(half_open);
            all += 1;
            known.gone = true;
        }
        assert!(in_use <= most && all >= most);
        assert!(!has_closed || in_use == 0, "what is over gives way first");
    }

    fn check(&self) {
        let (now, time) = (self.now, self.time());
        let live: Vec<_> = self.live().collect();
        let stats = self.table.stats();
        assert!(live.len() <= stats.live && stats.live <= self.limits.sessions);
        assert_eq!(stats.live, self.table.sessions().len());
        for (at, known) in live.iter().enumerate() {
            for (tuple, way) in [(known.original, Direction::Original), (known.reply, Direction::Reply)] {
                let (session, direction) = self.table.lookup(&tuple, time).expect("it is found");
                assert!(Arc::ptr_eq(&session, &known.session) && direction == way);
                let other = if way == Direction::Original { known.reply } else { known.original };
                assert_eq!(session.translated(way), other.reversed());
            }
            let session = &known.session;
            assert!(session.is_live(time));
            assert_eq!((session.state(), session.is_half_open()), (known.far.state(), known.far.half_open()));
            let left = known.last + known.far.timeout(known.original.protocol) + 1 - now;
            assert_eq!(session.expires_in(time).as_secs(), left);
            for other in &live[at + 1..] {
                for tuple in [other.original, other.reply] {
                    assert!(tuple != known.original && tuple != known.reply);
                }
                let same_outside = known.mapped
                    && other.mapped
                    && known.original.protocol == other.original.protocol
                    && known.external() == other.external();
                assert!(!same_outside || known.internal() == other.internal());
            }
            let of_source = |other: &&&Known| other.original.source == known.original.source;
            assert!(live.iter().filter(of_source).count() <= self.limits.per_source);
        }
        for known in self.known.iter().filter(|known| !known.live(now)) {
            assert!(!known.session.is_live(time));
            assert!(known.session.expires_in(time).is_zero());
            for tuple in [known.original, known.reply] {
                let found = self.table.lookup(&tuple, time);
                assert!(found.is_none_or(|(session, _)| !Arc::ptr_eq(&session, &known.session)));
            }
        }
    }
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Original), Just(Direction::Reply)]
}

fn tuple(inside: bool) -> impl Strategy<Value = Tuple> {
    let protocol = prop_oneof![3 => Just(UDP), 4 => Just(TCP), 1 => Just(ICMP), 1 => Just(GRE)];
    (protocol, 1..4u32, 0..4usize, 1..3u32, 80..82u16, any::<bool>()).prop_map(
        move |(protocol, host, port, remote, remote_port, own)| {
            let port = [5, 2000, 2001, 2002][port];
            let ports = match protocol {
                GRE => (0, 0),
                ICMP => (port, 0),
                _ => (port, remote_port),
            };
            let host = match (inside, own) {
                // Now and then what the router itself sends, or what comes for a mapping.
                (true, true) if host == 3 => EXTERNAL[0],
                (true, _) => Address::v4(0x0a00_0000 + host),
                (false, own) => EXTERNAL[usize::from(own)],
            };
            Tuple {
                source: host,
                source_port: ports.0,
                destination: Address::v4(0xc000_0200 + remote),
                destination_port: ports.1,
                protocol,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let nat = prop_oneof![2 => Just(Nat::None), 5 => Just(Nat::Ports), 1 => Just(Nat::KeepPort)];
    let kind = prop_oneof![
        2 => Just(Kind::Syn),
        4 => Just(Kind::SynAck),
        6 => Just(Kind::Ack),
        3 => Just(Kind::Fin),
        1 => Just(Kind::Reset),
        1 => Just(Kind::FarReset),
    ];
    let seconds = prop_oneof![4 => 0..20u64, 3 => 50..140u64, 2 => 200..320u64, 1 => 500..9000u64];
    prop_oneof![
        8 => (tuple(true), nat, prop::bool::weighted(0.2))
            .prop_map(|(original, nat, to_server)| Step::Open { original, nat, to_server }),
        10 => (any::<usize>(), direction(), kind)
            .prop_map(|(which, from, kind)| Step::Packet { which, from, kind }),
        3 => (any::<usize>(), direction()).prop_map(|(which, from)| Step::Touch { which, from }),
        3 => tuple(false).prop_map(|tuple| Step::Inbound { tuple: tuple.reversed() }),
        2 => seconds.prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Expire),
        1 => (1..4u32).prop_map(|host| Step::Flush { host: Address::v4(0x0a00_0000 + host) }),
        1 => any::<usize>().prop_map(|which| Step::Remove { which }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let filtering = prop_oneof![
        Just(Filtering::EndpointIndependent),
        Just(Filtering::AddressDependent),
        Just(Filtering::AddressAndPortDependent),
    ];
    let mapping = prop_oneof![
        3 => Just(Mapping::EndpointIndependent),
        1 => Just(Mapping::AddressAndPortDependent)
    ];
    (0..12usize, prop_oneof![Just(3), Just(usize::MAX)], filtering, mapping).prop_map(
        |(sessions, per_source, filtering, mapping)| Limits {
            sessions,
            per_source,
            filtering,
            mapping,
            ..Limits::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_as_the_model_says(
        limits in limits(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let table = Conntrack::new(limits.clone(), seed);
        let mut model = Model { limits, table, known: Vec::new(), now: 0 };
        for step in &steps {
            model.step(step);
            model.check();
        }
    }
}
