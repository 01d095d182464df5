//! Properties of routing: what is cached is what would be decided, nothing breaks it, and translation there and back
//! changes nothing.

mod kit;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kit::frames::{L4, dot1q, mac, tag, unfinished};
use kit::gateways::tun;
use kit::routers::{
    ACK, FIN, Msg, Plan, RST, SYN, Upper, arp_reply, arp_request, gateway, in_frame, msg, solicitation,
};
use kit::{Sent, Yard, access, on, port, trunk};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::{collection, option};
use tapyard::packet::{Offload, Vid};
use tapyard::switch::Port;
use tapyard::switch::router::{Action, Condition, Hook, ReversePath, Route, Tracked};
use tapyard::table::conntrack::{Conntrack, Filtering, Limits, Mapping};
use tapyard::table::neighbors::{NeighborLimits, Neighbors};
use tapyard::table::token_bucket::TokenBucket;

/// Ports 0 and 1 are of bridge 0, whose VLANs 10 and 20 they may be of; 2 is bridge 1's, 3 carries IP.
const PORTS: u16 = 4;
const V4: [&str; 7] = ["10.1.0.1", "10.1.0.3", "10.2.0.1", "10.3.0.1", "8.8.8.8", "10.1.0.254", "10.3.0.254"];
const V6: [&str; 7] = ["fd01::1", "fd01::3", "fd02::1", "fd03::1", "2001:db8::8", "fd01::fe", "fd03::fe"];

/// A router on VLANs 10 and 20 of bridge 0, on bridge 1 and on port 3, described so that two of it can be made.
#[derive(Clone, Debug)]
struct Shape {
    vlans: bool,
    ecmp: bool,
    nowhere: u8,
    mtu: u32,
    strict: bool,
    tracked: Option<(usize, usize, u8, bool)>,
    nats: Vec<Nats>,
    rules: Vec<(Hook, Condition, Verdict)>,
    refuses: Option<Hook>,
    errors: u32,
}

#[derive(Clone, Debug)]
enum Nats {
    Masquerade(u16),
    Snat(u16, u16),
    Forward(u16, u8, u16),
    Dnat,
    Fixed,
    Npt,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Accept,
    Drop,
    Reject,
    Count,
    Log,
    Limit,
}

fn ports(vlans: bool) -> Vec<Port> {
    let own = if vlans { [access(10), trunk(&[10, 20], None)] } else { [port(), port()] };
    let [first, second] = own;
    vec![first, second, on(1, port()), tun()]
}

impl Shape {
    /// Who is on bridge 1 where that has no VLANs, is on the trunk of bridge 0 where it has.
    fn port(&self, port: u16) -> u16 {
        if self.vlans && port == 2 { 1 } else { port }
    }

    fn plan(&self) -> Plan {
        let (first, second): (Vid, Vid) = if self.vlans { (10, 20) } else { (0, 0) };
        let mut plan = Plan::new().on(0, first, &["10.1.0.254/24", "fd01::fe/64"]);
        // On a bridge without VLANs there is but one link.
        let bridge = if self.vlans { 0 } else { 1 };
        plan = plan.on(bridge, second, &["10.2.0.254/24", "fd02::fe/64"]);
        plan = plan.by(3, &["10.3.0.254/24", "fd03::fe/64"]);
        plan.links[2].mtu = self.mtu;
        if self.strict {
            plan.links[0].reverse_path = ReversePath::Strict;
        }
        plan.neighbors = Arc::new(Neighbors::new(NeighborLimits::default()));
        plan.errors = Arc::new(TokenBucket::new(self.errors));
        plan = match self.ecmp {
            true => plan
                .via("0.0.0.0/0", &[(2, "-"), (1, "10.2.0.1"), (1, "10.2.0.7")])
                .via("::/0", &[(2, "-"), (1, "fd02::1")]),
            false => plan.via("0.0.0.0/0", &[(2, "-")]).via("::/0", &[(2, "-")]),
        };
        let nowhere =
            [Route::Blackhole, Route::Unreachable, Route::Prohibit][usize::from(self.nowhere)].clone();
        plan = plan.route("8.8.0.0/16", nowhere);
        if let Some((sessions, per_source, filtering, by_destination)) = self.tracked {
            let filtering = [
                Filtering::EndpointIndependent,
                Filtering::AddressDependent,
                Filtering::AddressAndPortDependent,
            ][usize::from(filtering)];
            let mapping =
                if by_destination { Mapping::AddressAndPortDependent } else { Mapping::EndpointIndependent };
            let limits = Limits { sessions, per_source, filtering, mapping, ..Limits::default() };
            plan.sessions = Some(Arc::new(Conntrack::new(limits, 7)));
            plan.reassembles = true;
        }
        for nat in &self.nats {
            plan = match *nat {
                Nats::Masquerade(out) => plan.masquerade(out),
                Nats::Snat(out, ports) => {
                    plan.snat(out, &[("10.3.0.100", "10.3.0.101")], 2000..=2000 + ports)
                }
                Nats::Forward(on, protocol, port) => {
                    plan.forward(on, protocol, port..=port + 1, &[("10.1.0.1", 80), ("10.1.0.3", 53)])
                }
                Nats::Dnat => plan.dnat(0, "8.8.8.8/32", "10.2.0.1", "10.2.0.1"),
                Nats::Fixed => plan.fixed(2, "10.3.0.64/28", "10.1.0.0/28"),
                Nats::Npt => plan.npt(2, "2001:db8:1::/48", "fd01::/48"),
            };
        }
        for (hook, condition, verdict) in &self.rules {
            let action = match verdict {
                Verdict::Accept => Action::Accept,
                Verdict::Drop => Action::Drop,
                Verdict::Reject => Action::Reject,
                Verdict::Count => Action::Count,
                Verdict::Log => Action::Log,
                Verdict::Limit => Action::Limit(Arc::new(TokenBucket::with_burst(3, 4))),
            };
            plan = plan.rule(*hook, condition.clone(), action);
        }
        match self.refuses {
            Some(hook) => plan.refuses(hook),
            None => plan,
        }
    }
}

fn one(value: u128) -> Vec<RangeInclusive<u128>> {
    vec![value..=value]
}

fn condition() -> impl Strategy<Value = Condition> {
    let address = || option::weighted(0.2, (select(&V4[..]), 24..=32u8));
    let port = || option::weighted(0.2, select(vec![53u128, 80, 1000, 1001]));
    let states = [Tracked::New, Tracked::Established, Tracked::Related, Tracked::Invalid];
    (
        option::weighted(0.2, 0..3u128),
        option::weighted(0.2, 0..3u128),
        option::weighted(0.2, select(vec![1u128, 6, 17, 58, 47])),
        (address(), address()),
        (port(), port()),
        option::weighted(0.3, select(states.to_vec())),
    )
        .prop_map(
            |(input, output, protocol, (source, destination), (source_port, destination_port), state)| {
                let network = |address: Option<(&str, u8)>| {
                    address.map_or(Vec::new(), |(address, len)| {
                        let address = kit::routers::address(address);
                        vec![address.network(len).bits()..=address.last(len).bits()]
                    })
                };
                let number = |value: Option<u128>| value.map_or(Vec::new(), one);
                Condition {
                    input: number(input),
                    output: number(output),
                    protocol: number(protocol),
                    source: network(source),
                    destination: network(destination),
                    source_port: number(source_port),
                    destination_port: number(destination_port),
                    state: state.map_or(Vec::new(), |state| one(state as u128)),
                    ..Condition::default()
                }
            },
        )
}

fn shape() -> BoxedStrategy<Shape> {
    let hooks = vec![Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    let verdict = prop_oneof![
        3 => Just(Verdict::Accept),
        1 => Just(Verdict::Drop),
        1 => Just(Verdict::Reject),
        3 => Just(Verdict::Count),
        1 => Just(Verdict::Log),
        1 => Just(Verdict::Limit),
    ];
    let nats = prop_oneof![
        3 => (1..3u16).prop_map(Nats::Masquerade),
        1 => (1..3u16, 0..4u16).prop_map(|(out, ports)| Nats::Snat(out, ports)),
        2 => (0..3u16, select(vec![6u8, 17]), select(vec![53u16, 80, 1000]))
            .prop_map(|(on, protocol, port)| Nats::Forward(on, protocol, port)),
        1 => Just(Nats::Dnat),
        1 => Just(Nats::Fixed),
        1 => Just(Nats::Npt),
    ];
    let tracked = option::of((1..20usize, 1..20usize, 0..3u8, any::<bool>()));
    (
        (
            any::<bool>(),
            any::<bool>(),
            0..3u8,
            select(vec![576u32, 1280, 1500]),
            proptest::bool::weighted(0.2),
        ),
        tracked,
        collection::vec(nats, 0..4),
        collection::vec((select(hooks.clone()), condition(), verdict), 0..6),
        option::weighted(0.1, select(hooks)),
        select(vec![0u32, 10, 1_000_000]),
    )
        .prop_map(|((vlans, ecmp, nowhere, mtu, strict), tracked, nats, rules, refuses, errors)| Shape {
            vlans,
            ecmp,
            nowhere,
            mtu,
            strict,
            tracked,
            nats,
            rules,
            refuses,
            errors,
        })
        .boxed()
}

/// A packet of any flow.
fn flow() -> impl Strategy<Value = Msg> {
    let ports = || select(vec![53u16, 80, 1000, 1001]);
    let upper = prop_oneof![
        4 => (ports(), ports(), any::<bool>())
            .prop_map(|(from, to, checked)| Upper::Udp { from, to, checked }),
        4 => (ports(), ports(), select(vec![SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]), 0..3u32, 0..3u32)
            .prop_map(|(from, to, flags, sequence, ack)| Upper::Tcp { from, to, flags, sequence, ack, window: 100 }),
        2 => (1..3u16, 0..2u16).prop_map(|(id, sequence)| Upper::Request { id, sequence }),
        2 => (1..3u16, 0..2u16).prop_map(|(id, sequence)| Upper::Reply { id, sequence }),
        1 => select(vec![47u8, 132]).prop_map(Upper::Other),
    ];
    let ends = (0..V4.len(), 0..V4.len(), proptest::bool::weighted(0.3));
    let ttl = prop_oneof![8 => Just(64u8), 1 => 0..3u8];
    (ends, upper, ttl, prop_oneof![4 => 0..60usize, 1 => 1200..1460usize], proptest::bool::weighted(0.8))
        .prop_map(|((from, to, v6), upper, ttl, len, dont_fragment)| {
            let upper = match upper {
                Upper::Udp { from, to, .. } if v6 => Upper::Udp { from, to, checked: true },
                other => other,
            };
            let all = if v6 { V6 } else { V4 };
            let id = if v6 { 0 } else { 5 };
            let made = msg(all[from], all[to], upper).len(len).ttl(ttl);
            Msg { dont_fragment: dont_fragment || v6, id, ..made }
        })
}

/// A packet of one of these flows, each of which comes in by a port: the same ones come again and again, a little different
/// each time.
fn again(pool: Vec<(u16, Msg)>) -> BoxedStrategy<(u16, Msg)> {
    let ttl = option::weighted(0.15, 0..3u8);
    let len = option::weighted(0.2, prop_oneof![0..60usize, 540..580usize, 1200..1460usize]);
    let flags = option::weighted(0.3, select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST | ACK]));
    let all = (select(pool), ttl, len, flags, proptest::bool::weighted(0.1));
    all.prop_map(|((port, mut msg), ttl, len, flags, tos)| {
        msg.ttl = ttl.unwrap_or(msg.ttl);
        msg.tos = if tos { 4 } else { 0 };
        if let (Upper::Tcp { flags: now, .. }, Some(flags)) = (&mut msg.upper, flags) {
            *now = flags;
        }
        (port, len.map_or(msg.clone(), |len| msg.len(len)))
    })
    .boxed()
}

/// A few flows, most of them of stations that are where they say.
fn pool() -> impl Strategy<Value = Vec<(u16, Msg)>> {
    let at_home = |msg: &Msg| match msg.from.to_string().as_str() {
        "10.1.0.1" | "10.1.0.3" | "fd01::1" | "fd01::3" => 0,
        "10.2.0.1" | "fd02::1" => 2,
        _ => 3,
    };
    let one = (flow(), option::weighted(0.2, 0..PORTS));
    let one = one.prop_map(move |(msg, port)| (port.unwrap_or_else(|| at_home(&msg)), msg));
    collection::vec(one, 1..6)
}

/// What comes in by a port.
#[derive(Clone, Debug)]
enum What {
    Flow(Msg),
    /// A superframe, or one packet whose checksum is left undone.
    Undone(Msg, u16),
    /// An ICMP error that quotes it.
    Error(Msg, u8),
    /// Part of it: from, to, in units of eight bytes.
    Fragment(Msg, usize),
    /// The answer to what left last, as who got it would send it.
    Echo,
    Arp(bool),
}

#[derive(Clone, Debug)]
enum Step {
    Send(u16, Vec<What>),
    Wait(u64),
    Reroute,
    Flush,
}

fn what(pool: Vec<(u16, Msg)>) -> impl Strategy<Value = (u16, What)> {
    let flow = || again(pool.clone());
    let size = || select(vec![0u16, 500, 1400]);
    prop_oneof![
        16 => flow().prop_map(|(port, msg)| (port, What::Flow(msg))),
        2 => (flow(), size()).prop_map(|((port, msg), size)| (port, What::Undone(msg, size))),
        2 => (flow(), select(vec![3u8, 11, 1, 2]), 0..PORTS)
            .prop_map(|((_, msg), kind, port)| (port, What::Error(msg, kind))),
        1 => (flow(), 0..3usize).prop_map(|((port, msg), at)| (port, What::Fragment(msg, at))),
        8 => (0..PORTS).prop_map(|port| (port, What::Echo)),
        1 => (0..PORTS, any::<bool>()).prop_map(|(port, v6)| (port, What::Arp(v6))),
    ]
}

fn steps() -> BoxedStrategy<Vec<Step>> {
    pool()
        .prop_flat_map(|pool| {
            let step = prop_oneof![
                20 => (what(pool), 1..4usize).prop_map(|((port, what), times)| Step::Send(port, vec![what; times])),
                3 => prop_oneof![0..3u64, 0..400u64, 0..8000u64].prop_map(Step::Wait),
                1 => Just(Step::Reroute),
                1 => Just(Step::Flush),
            ];
            collection::vec(step, 1..120)
        })
        .boxed()
}

/// The station that an address is: what comes from a port has its source address there.
fn station(port: u16) -> u32 {
    u32::from(port) + 1
}

/// The bytes of `what`, which comes in by `port`; `None`: nothing.
fn bytes(shape: &Shape, port: u16, what: &What, last: &[Sent]) -> Option<(Vec<u8>, Offload)> {
    let frame = |packet: &[u8]| in_frame(packet, gateway(), mac(station(port)));
    let (mut bytes, mut offload) = match what {
        What::Flow(msg) => (frame(&msg.packet()), Offload::NONE),
        What::Undone(msg, size) => {
            let l4 = match msg.upper {
                Upper::Udp { checked: true, .. } => L4::Udp,
                Upper::Tcp { .. } => L4::Tcp,
                _ => return None,
            };
            let long = msg.clone().len(if *size == 0 { 100 } else { 5000 });
            unfinished(frame(&long.packet()), msg.from.is_ipv6(), l4, *size)
        }
        What::Error(msg, kind) => {
            let error = Msg { payload: msg.packet(), ..msg.back() };
            let error = Msg { upper: Upper::Icmp(*kind, 0, 0), ttl: 64, ..error };
            (frame(&error.packet()), Offload::NONE)
        }
        What::Fragment(msg, at) => {
            if msg.from.is_ipv6() {
                return None;
            }
            let packet = msg.clone().len(72).packet();
            let end = if *at == 2 { packet.len() } else { 20 + (at + 1) * 32 };
            let mut part = [&packet[..20], &packet[20 + at * 32..end]].concat();
            let len = part.len() as u16;
            part[2..4].copy_from_slice(&len.to_be_bytes());
            let more = if *at == 2 { 0 } else { 0x2000 };
            part[6..8].copy_from_slice(&((at * 4) as u16 | more).to_be_bytes());
            kit::gateways::finish(&mut part[..20]);
            (frame(&part), Offload::NONE)
        }
        What::Echo => {
            let sent = last.iter().rev().find(|sent| sent.port == port && sent.offload == Offload::NONE)?;
            let l3 = if port == 3 { 0 } else { kit::frames::l3_start(&sent.bytes) };
            let packet = sent.bytes.get(l3..).filter(|packet| packet.len() >= 28)?;
            let good = matches!(packet[0], 0x45 | 0x60);
            // Of what is whole and has ports, or an identifier.
            let v4 = packet[0] == 0x45;
            let protocol = if v4 { packet[9] } else { *packet.get(6)? };
            if !good || !matches!(protocol, 6 | 17) || v4 && (packet[6] & 0x3f, packet[7]) != (0, 0) {
                return None;
            }
            let total = if v4 { u16::from_be_bytes([packet[2], packet[3]]) } else { packet.len() as u16 };
            let back = Msg::read(&packet[..usize::from(total)]).back().ttl(64);
            (frame(&back.packet()), Offload::NONE)
        }
        What::Arp(v6) => {
            let n = station(port);
            let (from, own) = match (port, v6) {
                (0 | 1, false) => ("10.1.0.1", "10.1.0.254"),
                (0 | 1, true) => ("fd01::1", "fd01::fe"),
                (_, false) => ("10.2.0.1", "10.2.0.254"),
                (_, true) => ("fd02::1", "fd02::fe"),
            };
            let asked = if *v6 { solicitation(n, from, own) } else { arp_request(n, from, own) };
            (asked, Offload::NONE)
        }
    };
    if port == 3 {
        bytes.drain(..14);
        offload.shift(-14);
    } else if port == 1 && shape.vlans {
        bytes = dot1q(&bytes, 20);
        offload.shift(4);
    }
    Some((bytes, offload))
}

fn let_in(yard: &mut Yard, port: u16, frames: &[(Vec<u8>, Offload)]) -> Vec<Sent> {
    match port {
        3 => yard.send_ips(3, frames),
        _ => yard.send_all(0, port, frames),
    }
}

/// Has the stations that are near be known, as if they had asked.
fn introduce(yard: &mut Yard, shape: &Shape) {
    for port in 0..3 {
        for v6 in [false, true] {
            if let Some(frame) = bytes(shape, port, &What::Arp(v6), &[]) {
                let_in(yard, port, &[frame]);
            }
        }
    }
    let reply = arp_reply(1, "10.1.0.3", "10.1.0.254");
    let_in(yard, 0, &[(reply, Offload::NONE)]);
}

fn whole_state(yard: &Yard, plan: &Plan) -> String {
    let ports: Vec<_> = (0..PORTS).map(|port| yard.counters(port)).collect();
    let stats = plan.sessions.as_ref().map(|sessions| sessions.stats());
    let sessions = plan.sessions.iter().flat_map(|sessions| sessions.sessions());
    let mut sessions: Vec<_> = sessions
        .filter(|session| session.is_live(yard.now))
        .map(|session| (*session.original(), *session.reply(), format!("{:?}", session.state())))
        .collect();
    sessions.sort();
    format!("{ports:#?} {:?} {:?} {stats:?} {sessions:#?}", yard.rules(), yard.retired())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Of two switches alike, one forgets its flows before every batch. The same leaves both, in the same order, with the
    /// same bytes and the same left undone; and they count the same.
    #[test]
    fn what_is_cached_is_what_would_be_decided(shape in shape(), steps in steps()) {
        let mut cached = Yard::new(ports(shape.vlans));
        let mut slow = cached.twin();
        let mut plans = [shape.plan(), shape.plan()];
        plans[0].run(&mut cached);
        plans[1].run(&mut slow);
        introduce(&mut cached, &shape);
        introduce(&mut slow, &shape);
        let mut last = Vec::<Sent>::new();
        let mut rerouted = false;
        for (number, step) in steps.iter().enumerate() {
            let [first, second] = match step {
                Step::Send(port, what) => {
                    let port = &shape.port(*port);
                    let frames: Vec<_> =
                        what.iter().filter_map(|what| bytes(&shape, *port, what, &last)).collect();
                    // What is cached by one frame of a batch is not to help the next one of the other.
                    let first = let_in(&mut cached, *port, &frames);
                    slow.forget_flows();
                    let second = let_in(&mut slow, *port, &frames);
                    if !first.is_empty() {
                        last.clone_from(&first);
                    }
                    [first, second]
                }
                Step::Wait(secs) => [&mut cached, &mut slow].map(|yard| yard.wait(Duration::from_millis(secs * 970))),
                Step::Reroute => {
                    rerouted = !rerouted;
                    let to = if rerouted { Route::Blackhole } else { Route::Unreachable };
                    for plan in &mut plans {
                        *plan = plan.clone().route("10.3.0.1/32", to.clone());
                    }
                    [plans[0].run(&mut cached), plans[1].run(&mut slow)]
                }
                Step::Flush => {
                    for plan in &plans {
                        if let Some(sessions) = &plan.sessions {
                            sessions.flush(|session| session.original().source_port != 53);
                        }
                    }
                    [vec![], vec![]]
                }
            };
            prop_assert_eq!(first, second, "step {} {:?}", number, step);
            prop_assert_eq!(whole_state(&cached, &plans[0]), whole_state(&slow, &plans[1]), "after step {} {:?}", number, step);
            prop_assert_eq!(cached.events(), slow.events());
        }
    }
}

// -- Nothing breaks it

/// What comes in by a port, which bytes of it are changed to what, where it is cut off, what is said of it, and whether it
/// has a tag that is nobody's.
type Hostile = (u16, What, Vec<(Index, u8)>, Option<Index>, Option<Offload>, bool);

/// Anything by any port: good packets, and those that were cut, changed or lied about.
fn hostile() -> BoxedStrategy<Hostile> {
    let changes = collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let changed = (
        changes,
        option::weighted(0.2, any::<Index>()),
        option::weighted(0.2, kit::any::any_offload()),
        proptest::bool::weighted(0.1),
    );
    (pool().prop_flat_map(what), changed)
        .prop_map(|((port, what), (changes, cut, lie, tagged))| (port, what, changes, cut, lie, tagged))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever comes by whatever port, every frame is accounted for, and nobody panics.
    #[test]
    fn nothing_breaks_it(
        shape in shape(),
        frames in collection::vec(hostile(), 1..60),
        garbage in collection::vec((0..PORTS, collection::vec(any::<u8>(), 0..120)), 0..10),
        wait in 0..10_000u64,
    ) {
        let mut yard = Yard::new(ports(shape.vlans));
        shape.plan().run(&mut yard);
        introduce(&mut yard, &shape);
        let mut last = Vec::new();
        for (port, what, changes, cut, lie, tagged) in &frames {
            let port = &shape.port(*port);
            let Some((mut bytes, offload)) = bytes(&shape, *port, what, &last) else { continue };
            if *tagged && *port != 3 {
                bytes = tag(&bytes, 0x88a8, 7);
            }
            for (at, value) in changes {
                let at = at.index(bytes.len().min(90));
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let sent = let_in(&mut yard, *port, &[(bytes, lie.unwrap_or(offload))]);
            // What leaves may be what was sent: of that no answer is made.
            if changes.is_empty() && lie.is_none() {
                last = sent;
            } else {
                last.clear();
            }
        }
        for (port, bytes) in garbage {
            let_in(&mut yard, port, &[(bytes.clone(), Offload::NONE)]);
            let framed = in_frame(&bytes, gateway(), mac(1));
            if port != 3 {
                let_in(&mut yard, port, &[(framed, Offload::NONE)]);
            }
        }
        yard.wait(Duration::from_secs(wait));
    }
}

// -- There and back

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Through any translation, the answer to a packet comes back to its sender from where it was sent to, and what it
    /// carries is what was sent.
    #[test]
    fn there_and_back_is_the_same(
        hosts in collection::vec((1..200u8, 1..6u16, any::<bool>(), 0..3u8, 0..200usize), 1..30),
        outside in 0..3u8,
    ) {
        let plan = Plan::new()
            .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
            .by(1, &["10.3.0.254/24", "fd03::fe/64"])
            .via("0.0.0.0/0", &[(1, "-")])
            .via("::/0", &[(1, "-")]);
        let plan = match outside {
            0 => plan.masquerade(1),
            1 => plan.fixed(1, "10.7.0.0/24", "10.1.0.0/24").npt(1, "2001:db8:7::/48", "fd01::/48"),
            _ => plan.snat(1, &[("10.3.0.1", "10.3.0.3"), ("fd03::1", "fd03::3")], 2000..=65000),
        };
        let mut plan = plan;
        for host in 1..200 {
            plan = plan.knows(0, &format!("10.1.0.{host}"), 1).knows(0, &format!("fd01::{host:x}"), 1);
        }
        let mut yard = Yard::new([port(), tun()]);
        plan.run(&mut yard);
        let mut outside = Vec::new();
        for (host, port, v6, kind, len) in hosts {
            let (from, to) = match v6 {
                true => (format!("fd01::{host:x}"), "2001:db8::8"),
                false => (format!("10.1.0.{host}"), "8.8.8.8"),
            };
            let upper = match kind {
                0 => Upper::Udp { from: port, to: 53, checked: true },
                1 => Upper::Tcp { from: port, to: 80, flags: SYN, sequence: 1, ack: 0, window: 9 },
                _ => Upper::Request { id: port, sequence: 1 },
            };
            let there = msg(&from, to, upper).len(if kind == 1 { 0 } else { len });
            let sent = yard.send(0, &there.frame(gateway(), mac(1)));
            prop_assert_eq!(sent.len(), 1);
            let seen = Msg::read(&sent[0].bytes);
            prop_assert_eq!((&seen.payload, seen.to, seen.ttl), (&there.payload, there.to, 63));
            prop_assert!(seen.from != there.from);
            outside.push((there, seen));
        }
        // No two look the same outside, unless they are.
        for (n, (there, seen)) in outside.iter().enumerate() {
            for (other, other_seen) in &outside[..n] {
                let key = |msg: &Msg| (msg.from, msg.port(), std::mem::discriminant(&msg.upper), msg.to);
                prop_assert_eq!(key(there) == key(other), key(seen) == key(other_seen));
            }
        }
        for (there, seen) in outside {
            let mut answer = seen.back();
            let mut expected = there.back();
            for msg in [&mut answer, &mut expected] {
                if let Upper::Tcp { flags, ack, .. } = &mut msg.upper {
                    (*flags, *ack) = (SYN | ACK, 2);
                }
            }
            let sent = yard.send_ip(1, &answer.packet());
            prop_assert_eq!(sent.len(), 1);
            prop_assert_eq!(Msg::read(&sent[0].bytes[14..]), Msg { ttl: 62, ..expected });
        }
    }
}
