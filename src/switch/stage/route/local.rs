//! What is for a router itself, and what it says of its own accord: echo replies, ICMP errors, resets.

use super::{Arrived, Fate, Walk};
use crate::packet::icmp_error::{self, Trouble};
use crate::packet::{DropReason, InterfaceId, Packet, Part, PortId, Tuple, quoted};
use crate::switch::router::{Hook, NextHop, Subject, Tracked};
use crate::switch::stage::egress;
use crate::switch::walked::Stage;
use crate::wire::address::Address;
use crate::wire::{icmp, tcp, udp};

impl Walk<'_> {
    /// Does with a packet for one of the router's addresses what a host does that offers nothing.
    pub(super) fn local(&mut self, arrived: &Arrived, packet: &Packet) -> Result<Fate, DropReason> {
        if packet.part != Part::Whole {
            return Err(DropReason::NotLocal);
        }
        match packet.tuple.protocol {
            icmp::PROTOCOL | icmp::V6_PROTOCOL => self.local_icmp(arrived, packet),
            tcp::PROTOCOL => {
                self.reset(arrived, packet);
                Err(DropReason::NotLocal)
            }
            protocol => {
                let trouble = match protocol {
                    udp::PROTOCOL => Trouble::PortUnreachable,
                    _ => Trouble::ProtocolUnreachable,
                };
                // From where it was sent to, whichever interface that is of (RFC 4443 section 2.2 a).
                self.report_from(Some(packet.tuple.destination), arrived, packet, trouble);
                Err(DropReason::NotLocal)
            }
        }
    }

    fn local_icmp(&mut self, arrived: &Arrived, packet: &Packet) -> Result<Fate, DropReason> {
        let frame = &mut self.batch.frames_mut()[arrived.frame as usize];
        if icmp_error::echo_reply(frame, packet) {
            self.say(Stage::Local, |_| "an echo request: it is answered".to_owned());
            self.of(arrived).replied += 1;
            self.speak(arrived.frame, arrived.port, arrived.interface, Tracked::Established);
            return Ok(Fate::Gone);
        }
        match packet.tuple.protocol {
            icmp::V6_PROTOCOL if !packet.is_icmp_error() => self.neighbor_message(arrived, packet),
            _ => Err(DropReason::NotLocal),
        }
    }

    /// Tells the sender of a packet what is wrong with it, unless nobody may be told or too many were.
    pub(super) fn report(&mut self, arrived: &Arrived, packet: &Packet, trouble: Trouble) {
        let from = self.router.own_address(arrived.interface, packet.tuple.source);
        self.report_from(from, arrived, packet, trouble);
    }

    fn report_from(&mut self, from: Option<Address>, arrived: &Arrived, packet: &Packet, trouble: Trouble) {
        let (Some(from), Some(answer)) = (from, self.batch.add()) else { return };
        let (frame, to) = self.batch.pair(arrived.frame as usize, answer);
        let told = icmp_error::report(frame, packet, trouble, from, to) && self.router.errors.take(self.now);
        self.say(Stage::Error, |_| told_text(told, &format!("{trouble:?}"), packet.tuple.source));
        match told {
            true => self.speak(answer as u32, arrived.port, arrived.interface, Tracked::Related),
            false => self.batch.truncate(answer),
        }
    }

    /// Tells the sender of a packet that a rule has refused it.
    pub(super) fn refuse(&mut self, arrived: &Arrived, packet: &Packet) {
        match packet.tuple.protocol {
            tcp::PROTOCOL => self.reset(arrived, packet),
            _ => self.report(arrived, packet, Trouble::Prohibited),
        }
    }

    fn reset(&mut self, arrived: &Arrived, packet: &Packet) {
        let Some(answer) = self.batch.add() else { return };
        let (frame, to) = self.batch.pair(arrived.frame as usize, answer);
        let told = icmp_error::reset(frame, packet, to) && self.router.errors.take(self.now);
        self.say(Stage::Error, |_| told_text(told, "a reset", packet.tuple.source));
        match told {
            true => self.speak(answer as u32, arrived.port, arrived.interface, Tracked::Established),
            false => self.batch.truncate(answer),
        }
    }

    /// Tells the sender of a packet, which is ready to leave by `output` and maybe translated, that its next hop does not
    /// answer.
    pub(super) fn report_translated(&mut self, index: u32, port: PortId, output: InterfaceId) {
        let frame = &self.batch.frames()[index as usize];
        let Ok(packet) = Packet::of(frame) else { return };
        // The sender may know its packet by other addresses.
        let router = self.router;
        let known = router.sessions.as_ref().and_then(|sessions| {
            let (session, direction) = sessions.lookup(&packet.tuple.reversed(), self.now)?;
            Some(super::track::sent(&session, direction))
        });
        let sent = known.unwrap_or_else(|| {
            let source = packet.tuple.source;
            Tuple { source: router.nat.inward(source, output).unwrap_or(source), ..packet.tuple }
        });
        // From the interface that the error leaves by (RFC 1812 section 4.3.2.4).
        let back = router.routes.lookup(sent.source).and_then(|route| route.next_hop(0));
        let from = router.own_address(back.map_or(output, |hop| hop.interface), sent.source);
        let Some(from) = from.filter(|_| router.errors.take(self.now)) else { return };
        let Some(answer) = self.batch.add() else { return };
        let (frame, to) = self.batch.pair(index as usize, answer);
        if !icmp_error::report(frame, &packet, Trouble::HostUnreachable, from, to) {
            return self.batch.truncate(answer);
        }
        let answer_frame = &mut self.batch.frames_mut()[answer];
        if sent != packet.tuple
            && let Ok(error) = Packet::of(answer_frame)
        {
            quoted::translate(answer_frame, &error, (from, sent.source), &sent);
        }
        self.speak(answer as u32, port, output, Tracked::Related);
    }

    /// Sends a packet of the router's own, made for something that came in by `port` at `interface`.
    pub(super) fn speak(&mut self, index: u32, port: PortId, interface: InterfaceId, state: Tracked) {
        self.counters.of(port).copies += 1;
        if let Err(reason) = self.send_own(index, port, interface, state) {
            self.lose(port, index, reason);
        }
    }

    fn send_own(
        &mut self,
        index: u32,
        port: PortId,
        interface: InterfaceId,
        state: Tracked,
    ) -> Result<(), DropReason> {
        let frame = &self.batch.frames()[index as usize];
        let packet = Packet::of(frame)?;
        let destination = packet.tuple.destination;
        let router = self.router;
        let hop = match router.routes.lookup(destination) {
            _ if destination.is_link_local() => Some(NextHop { interface, via: None }),
            route => route.and_then(|route| route.next_hop(self.routing.flows.hash(&packet.tuple))),
        };
        let Some((hop, output)) = hop.and_then(|hop| Some((hop, router.interface(hop.interface)?))) else {
            return Err(DropReason::NoRoute);
        };
        let mut subject = Subject::new(&packet, None, state);
        subject.output = Some(hop.interface.0);
        for hook in [Hook::Output, Hook::Postrouting] {
            let judged = &mut self.routing.judged;
            let before = judged.rules.len();
            let verdict = router.filter.judge(hook, &subject, self.now, judged);
            self.say_verdict(hook, before, verdict);
            let own: Vec<u32> = self.routing.judged.rules.drain(before..).collect();
            own.iter().for_each(|&rule| super::count(&mut self.routing.rules, rule, packet.len()));
            verdict.map_err(|reason| match reason {
                // Nobody is told of what the router itself may not say.
                DropReason::Rejected => DropReason::Filtered,
                other => other,
            })?;
        }
        if !egress::fits(&self.batch.frames()[index as usize], output.mtu) {
            return Err(DropReason::ExceedsMtu);
        }
        let next = hop.via.unwrap_or(destination);
        match self.way(hop.interface, output, next) {
            Some(onward) => {
                self.leave(index, port, 0, &packet, &onward);
                Ok(())
            }
            None => match self.ask(index, port, &packet, hop.interface, next)? {
                Fate::Gone => Ok(()),
                Fate::Taken => {
                    self.counters.of(port).replied += 1;
                    Ok(())
                }
            },
        }
    }
}

fn told_text(told: bool, what: &str, whom: Address) -> String {
    match told {
        true => format!("{whom} is told: {what}"),
        false => format!("{whom} is not told: nobody may be, or too many were"),
    }
}
