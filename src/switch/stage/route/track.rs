//! Connections and the translation of their addresses.

use core::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Arrived, Passage, Walk, segment};
use crate::packet::{DropReason, InterfaceId, Packet, Tuple, quoted};
use crate::switch::router::{Route, Router, Subject, Tracked};
use crate::switch::walked::{self, Stage};
use crate::table::conntrack::{Conntrack, Direction, Endpoint, Opening, Session, SourceNat, State};
use crate::wire::address::Address;
use crate::wire::{icmp, tcp, udp};

/// How soon after a connection was opened they are looked through for old ones.
const SWEEP: Duration = Duration::from_secs(1);
/// The rule of a connection that no translation has started.
const NO_RULE: u32 = u32::MAX;

impl Walk<'_> {
    /// What is known of the connection that a packet belongs to.
    pub(super) fn track(&mut self, arrived: &Arrived, packet: &Packet) -> Passage {
        let frame = &self.batch.frames()[arrived.frame as usize];
        let flow = self.routing.flows.hash(&packet.tuple);
        let mut subject = Subject::new(packet, Some(arrived.interface.0), Tracked::New);
        let Some(sessions) = &self.router.sessions else { return Passage { subject, flow, known: None } };
        if packet.is_icmp_error() {
            // It is about a packet that went the other way.
            let quoted = quoted::of(frame, packet);
            let known = quoted.and_then(|quoted| sessions.lookup(&quoted.reversed(), self.now));
            subject.state = if known.is_some() { Tracked::Related } else { Tracked::Invalid };
            self.say(Stage::Session, |_| match &known {
                Some((session, _)) => format!("it is about {}", walked::flow(session.original())),
                None => "it is about no connection that is tracked".to_owned(),
            });
            return Passage { subject, flow, known };
        }
        let mut known = sessions.lookup(&packet.tuple, self.now);
        if let Some((session, direction)) = &known {
            match session.packet(*direction, self.now, segment(frame, packet)) {
                Ok(State::New) => {}
                Ok(_) => subject.state = Tracked::Established,
                // It ends here, and another with its ports may begin.
                Err(DropReason::NoSession) => known = None,
                Err(_) => subject.state = Tracked::Invalid,
            }
        }
        self.say(Stage::Session, |_| match (&known, subject.state) {
            (None, _) => "it belongs to no connection".to_owned(),
            (Some((session, _)), Tracked::Invalid) => {
                format!("it contradicts the state of its connection, {}", walked::flow(session.original()))
            }
            (Some((session, direction)), state) => {
                let state = if state == Tracked::New { "new" } else { "established" };
                let way = if *direction == Direction::Reply { "an answer in" } else { "it belongs to" };
                format!("{way} {}, which is {state}", walked::flow(session.original()))
            }
        });
        Passage { subject, flow, known }
    }

    /// Translates the destination, so that the route can be looked up; the rule that says so is for
    /// [`Walk::translate`], if this starts a connection.
    pub(super) fn redirect(
        &mut self,
        input: InterfaceId,
        packet: &Packet,
        passage: &mut Passage,
    ) -> Result<u32, DropReason> {
        let router = self.router;
        let tuple = &mut passage.subject.tuple;
        if let Some((session, direction)) = &passage.known {
            if packet.is_icmp_error() {
                // Back to who sent the packet that it is about.
                tuple.destination = sent(session, *direction).source;
            } else {
                let translated = session.translated(*direction);
                (tuple.destination, tuple.destination_port) =
                    (translated.destination, translated.destination_port);
            }
            return Ok(NO_RULE);
        }
        if let Some(inside) = router.nat.inward(tuple.destination, input) {
            tuple.destination = inside;
        }
        let Some(sessions) = &router.sessions else { return Ok(NO_RULE) };
        if passage.subject.state != Tracked::New {
            return Ok(NO_RULE);
        }
        let forward =
            router.nat.destination(tuple, input, passage.flow, |id, address| has(router, id, address));
        let is_external = |address| {
            matches!(router.routes.lookup(address), Some(Route::Local)) || router.nat.is_source(address)
        };
        let mapped = || {
            // From inside, the sender is whom those outside would see (RFC 4787 REQ-9).
            let sender = Endpoint { address: tuple.source, port: tuple.source_port };
            let seen = sessions.mapping(sender, tuple.protocol).unwrap_or(sender);
            let tuple = Tuple { source: seen.address, source_port: seen.port, ..*tuple };
            sessions.inbound(&tuple, self.now).map(|inside| (NO_RULE, inside))
        };
        let mapped = || if is_external(tuple.destination) { mapped() } else { None };
        let Some((rule, to)) = forward.or_else(mapped) else {
            // An address that only stands for others has nobody behind it.
            let nobodys =
                router.nat.stands_for(input, tuple.destination) && !has(router, input, tuple.destination);
            return if nobodys { Err(DropReason::NoSession) } else { Ok(NO_RULE) };
        };
        if cannot_start(packet) {
            return Err(DropReason::NoSession);
        }
        tuple.destination = to.address;
        // The identifier of an echo stays as it is, but for one that belongs to a mapping.
        let has_port = matches!(packet.tuple.protocol, tcp::PROTOCOL | udp::PROTOCOL);
        if has_port || rule == NO_RULE && is_echo(packet.tuple.protocol) {
            tuple.destination_port = to.port;
        }
        let to = *tuple;
        self.say(Stage::Nat, |_| match rule {
            NO_RULE => format!("for whom a mapping stands for: {}", to.destination),
            _ => format!("its destination is translated: {}", walked::flow(&to)),
        });
        Ok(rule)
    }

    /// The flow as which a packet leaves by `output`; starts its connection if it is the first.
    pub(super) fn translate(
        &mut self,
        arrived: &Arrived,
        packet: &Packet,
        passage: &mut Passage,
        rule: u32,
        output: InterfaceId,
    ) -> Result<Tuple, DropReason> {
        let router = self.router;
        let Some(sessions) = &router.sessions else {
            let mut to = passage.subject.tuple;
            to.source = router.nat.outward(to.source, output).unwrap_or(to.source);
            return Ok(to);
        };
        if let Some((session, direction)) = &passage.known {
            if *direction == Direction::Original && self.leaves_elsewhere(session, passage, output) {
                // Its source is one of another way out, by which no answer comes any more.
                sessions.remove(session);
                return Err(DropReason::NoSession);
            }
            return Ok(session.translated(*direction));
        }
        let opened = self.open(sessions, arrived, packet, passage, rule, output)?;
        self.say(Stage::Session, |_| format!("a new connection: {}", walked::flow(opened.0.original())));
        let to = opened.0.translated(opened.1);
        passage.known = Some(opened);
        // When it is over it has to be swept; until when, the sweep says.
        self.routing.wake_at(Some(self.now + SWEEP));
        Ok(to)
    }

    /// Whether the source of a connection was translated for another interface than `output`, as before a route changed.
    fn leaves_elsewhere(&self, session: &Session, passage: &Passage, output: InterfaceId) -> bool {
        let nat = &self.router.nat;
        nat.sources.iter().any(|rule| rule.rule == session.rule())
            && nat.source(&passage.subject.tuple, output).is_none_or(|rule| rule.rule != session.rule())
    }

    fn open(
        &self,
        sessions: &Arc<Conntrack>,
        arrived: &Arrived,
        packet: &Packet,
        passage: &Passage,
        rule: u32,
        output: InterfaceId,
    ) -> Result<(Arc<Session>, Direction), DropReason> {
        let router = self.router;
        let tuple = passage.subject.tuple;
        let redirected = (tuple.destination, tuple.destination_port)
            != (packet.tuple.destination, packet.tuple.destination_port);
        let destination =
            redirected.then_some(Endpoint { address: tuple.destination, port: tuple.destination_port });
        let reserved = |place: Endpoint, protocol: u8| {
            router.nat.is_forwarded(place, protocol, |id, address| has(router, id, address))
        };
        let any = 1..=u16::MAX;
        let (own, ranges);
        let fixed = router.nat.fixed_source(tuple.source, output);
        // Where connections are tracked, a prefix that stands for another is remembered with them.
        let fixed = fixed.or_else(|| Some((rule, router.nat.outward(tuple.source, output)?)));
        let (rule, source) = if let Some((rule, address)) = fixed {
            own = [address..=address];
            let source = SourceNat { addresses: &own, ports: any, keep_port: true, reserved: &|_, _| false };
            (rule, Some(source))
        } else if let Some(found) = router.nat.source(&tuple, output) {
            let addresses: &[_] = if found.to.is_empty() {
                let address = router.interface(output).and_then(|out| out.address_for(tuple.destination));
                let Some(address) = address else { return Err(DropReason::PortsExhausted) };
                own = [address..=address];
                &own
            } else {
                let same_version = |to: &&RangeInclusive<Address>| to.start().is_v4() == tuple.source.is_v4();
                ranges = found.to.iter().filter(same_version).cloned().collect::<Vec<_>>();
                &ranges
            };
            let ports = found.ports.clone();
            (found.rule, Some(SourceNat { addresses, ports, keep_port: false, reserved: &reserved }))
        } else if redirected && arrived.interface == output {
            // Hairpin (RFC 4787 REQ-9): the answer has to come back this way, so the asker looks like one from outside.
            let address = packet.tuple.destination;
            own = [address..=address];
            let source =
                SourceNat { addresses: &own, ports: 1024..=u16::MAX, keep_port: false, reserved: &reserved };
            (rule, Some(source))
        } else {
            (rule, None)
        };
        if source.is_some() && cannot_start(packet) {
            return Err(DropReason::NoSession);
        }
        let frame = &self.batch.frames()[arrived.frame as usize];
        let tcp = segment(frame, packet);
        let opening = Opening { original: packet.tuple, destination, source, rule, tcp };
        let session = sessions.open(opening, self.now)?;
        // Another worker may have been first, even with the answer.
        let direction = match *session.original() == packet.tuple {
            true => Direction::Original,
            false => Direction::Reply,
        };
        if direction == Direction::Reply {
            // It does not know this answer yet, and the cached flow would never tell it.
            session.packet(direction, self.now, tcp)?;
        }
        Ok((session, direction))
    }

    /// Translates an ICMP error about a packet that was translated: its own addresses and what it quotes, each back to what
    /// it was when that packet came in.
    pub(super) fn translate_error(
        &mut self,
        arrived: &Arrived,
        packet: &Packet,
        passage: &Passage,
        output: InterfaceId,
    ) {
        let frame = &self.batch.frames()[arrived.frame as usize];
        let Some(quoted) = quoted::of(frame, packet) else { return };
        let (destination, quoted_to) = match &passage.known {
            Some((session, direction)) => {
                let sent = sent(session, *direction);
                (sent.source, sent)
            }
            None => {
                // The packet went the other way: in by where the error leaves, and out by where it came in.
                let nat = &self.router.nat;
                let source = nat.inward(quoted.source, arrived.interface).unwrap_or(quoted.source);
                let destination = nat.outward(quoted.destination, output).unwrap_or(quoted.destination);
                (passage.subject.tuple.destination, Tuple { source, destination, ..quoted })
            }
        };
        let source = self.source_of_error(packet, &quoted, &quoted_to, output);
        if (source, destination, quoted_to) != (packet.tuple.source, packet.tuple.destination, quoted) {
            let frame = &mut self.batch.frames_mut()[arrived.frame as usize];
            quoted::translate(frame, packet, (source, destination), &quoted_to);
        }
    }
}

impl Walk<'_> {
    /// Whom an ICMP error comes from when it leaves by `output`: nobody outside sees an address of inside (RFC 5508
    /// REQ-4 c).
    fn source_of_error(
        &self,
        packet: &Packet,
        quoted: &Tuple,
        quoted_to: &Tuple,
        output: InterfaceId,
    ) -> Address {
        let (nat, source) = (&self.router.nat, packet.tuple.source);
        // The very host that the packet was for says it from the address that the sender knows it by.
        if source == quoted.destination {
            return quoted_to.destination;
        }
        let own = nat.fixed_source(source, output).map(|(_, address)| address);
        let own = own.or_else(|| nat.outward(source, output));
        // So does a router before that host, which has none of its own outside.
        let hidden = || {
            let answers = Tuple { source, ..quoted.reversed() };
            nat.source(&answers, output).map(|_| quoted_to.destination)
        };
        // Where the packet was forwarded, whoever answers is behind the address that it was sent to.
        let forwarded = || (quoted.destination != quoted_to.destination).then_some(quoted_to.destination);
        own.or_else(hidden).or_else(forwarded).unwrap_or(source)
    }
}

/// The flow, as it came in, of the packets of a connection whose answers go `direction`.
pub(super) fn sent(session: &Session, direction: Direction) -> Tuple {
    match direction {
        Direction::Original => *session.reply(),
        Direction::Reply => *session.original(),
    }
}

/// Whether no connection starts with this packet: TCP in the middle of one, or ICMP that is no echo request, the only one
/// with an identifier that may be another outside.
fn cannot_start(packet: &Packet) -> bool {
    match packet.tuple.protocol {
        tcp::PROTOCOL => packet.kind & (tcp::SYN | tcp::ACK | tcp::RST) != tcp::SYN,
        icmp::PROTOCOL => packet.kind != icmp::ECHO_REQUEST,
        icmp::V6_PROTOCOL => packet.kind != icmp::V6_ECHO_REQUEST,
        _ => false,
    }
}

fn is_echo(protocol: u8) -> bool {
    matches!(protocol, icmp::PROTOCOL | icmp::V6_PROTOCOL)
}

fn has(router: &Router, interface: InterfaceId, address: Address) -> bool {
    router.interface(interface).is_some_and(|interface| interface.has(address))
}
