//! Neighbour suppression (RFC 9161): a bridge that knows whose an address is answers who asks for it, instead of asking
//! everybody, in particular not those behind tunnels.
//!
//! It learns from answers and announcements that come in where stations are learned, and that come from the station they
//! speak of. It answers requests sent to a group, and only where the answer is sure to be true: the holder has confirmed
//! its address lately, is in the FDB, and could have answered the asker itself. A request for an address of the asker's
//! own segment, a gratuitous one, a probe and duplicate address detection take their way as ever; so does whatever is
//! unusual. Messages behind tags that are not the bridge's are a customer's own business.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::bridge::Forwarding;
use super::ingress::Arrival;
use crate::packet::neighbor_message;
use crate::packet::{Batch, DropReason, Frame, Location};
use crate::switch::counting::PortCounters;
use crate::switch::outbox::{Answer, Crossing, Departure, Outbox, Recipients};
use crate::switch::walked::Stage;
use crate::switch::{Topology, VlanPolicy, Way};
use crate::table::bindings::{Binding, Bindings};
use crate::table::fdb::Station;
use crate::wire::address::Address;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ethernet::{self, Mac};
use crate::wire::nd::{self, AdvertisementFlags, Kind};
use crate::wire::{be16, icmp, ipv6};

/// What a message of ARP or ND says, whose sender is who it says to be.
struct Heard {
    /// The address that its sender has; the unspecified one where it has none yet.
    sender: Address,
    /// It announces or confirms that, with these flags of ND; `None`: it only says so in asking.
    announces: Option<AdvertisementFlags>,
    /// It asks for an address; the answer is for its sender.
    question: Option<Question>,
}

/// Who asks, and for which address.
#[derive(Clone, Copy, Debug)]
pub(in crate::switch) enum Question {
    Arp { asker: Ipv4Addr, target: Ipv4Addr },
    Nd { asker: Ipv6Addr, target: Ipv6Addr },
}

impl Forwarding<'_> {
    /// Learns from a frame, if it is of ARP or ND. True when it asks for what is known: then it was answered, and goes no
    /// further.
    #[inline(never)]
    pub(super) fn suppress(&mut self, bindings: &Bindings, arrival: &Arrival) -> bool {
        let frame = &self.frames[arrival.frame as usize];
        let own_tag =
            !matches!(self.port.vlan, VlanPolicy::Unaware) && ether_type(frame, 12) == ethernet::VLAN;
        let at = if own_tag { 16 } else { 12 };
        match ether_type(frame, at) {
            arp::ETHER_TYPE | ipv6::ETHER_TYPE => self.hear(bindings, arrival, at + 2),
            _ => false,
        }
    }

    fn hear(&mut self, bindings: &Bindings, arrival: &Arrival, l3: usize) -> bool {
        let frame = &self.frames[arrival.frame as usize];
        let heard = match ether_type(frame, l3 - 2) {
            arp::ETHER_TYPE => heard_by_arp(&frame.bytes()[l3..], arrival.source),
            _ => heard_by_nd(frame, l3, arrival.source),
        };
        let Some(heard) = heard.filter(|heard| !self.is_routers(arrival, heard.sender)) else { return false };
        self.note(bindings, arrival, &heard);
        let is_group = arrival.destination.is_group();
        let Some(question) = heard.question.filter(|_| is_group) else { return false };
        let target = match question {
            Question::Arp { target, .. } => target.into(),
            Question::Nd { target, .. } => target.into(),
        };
        if self.is_routers(arrival, target) {
            return false;
        }
        let binding = bindings.lookup(arrival.vid, target, self.now);
        let Some(binding) = binding.filter(|binding| self.would_answer(binding, arrival)) else {
            return false;
        };
        let form = self.port.vlan.form(arrival.vid, arrival.priority);
        let (to, asker, holder, flags) = (arrival.at, arrival.source, binding.mac, binding.flags);
        self.say(Stage::Suppress, |_| {
            let target = Address::from(match question {
                Question::Arp { target, .. } => target.into(),
                Question::Nd { target, .. } => core::net::IpAddr::from(target),
            });
            format!("answered in the name of {holder}, who has {target}: it goes no further")
        });
        self.outbox.answers.push(Answer { to, form, question, asker, holder, flags });
        self.counters.replied += 1;
        true
    }

    /// Whether a router has an address on this VLAN: it answers for that itself, and nobody else is believed to have it.
    fn is_routers(&self, arrival: &Arrival, address: Address) -> bool {
        let mut there = self.bridge.routers.iter().filter(|(vid, ..)| *vid == arrival.vid);
        there.any(|&(_, router, interface)| {
            let interface = self.topology.router(router).and_then(|router| router.interface(interface));
            interface.is_some_and(|interface| interface.has(address))
        })
    }

    /// Learns whose the sender's address is. A station that the FDB does not know there is not believed.
    fn note(&self, bindings: &Bindings, arrival: &Arrival, heard: &Heard) {
        if !self.learning || heard.sender.is_unspecified() {
            return;
        }
        let (vid, mac, now) = (arrival.vid, arrival.source, self.now);
        match heard.announces {
            None => bindings.hear(vid, heard.sender, mac, now),
            Some(flags) if self.place(mac, arrival) == Some(arrival.at) => {
                let quota = (self.port.allowance.quota as usize).min(Bindings::LIMIT / 2);
                let binding = Binding { mac, port: self.port_id, flags, seen: now };
                bindings.learn(vid, heard.sender, binding, quota);
            }
            Some(_) => {}
        }
    }

    /// Whether the holder of an address is still there, and would hear the asker, and the asker its answer.
    fn would_answer(&self, binding: &Binding, arrival: &Arrival) -> bool {
        let Some(at) = self.place(binding.mac, arrival) else { return false };
        let port = self.topology.port(at.port).filter(|port| port.bridge == Some(self.bridge_id));
        at != arrival.at
            && port
                .is_some_and(|port| !self.port.apart.keeps_from(port.apart) && port.vlan.admits(arrival.vid))
    }

    /// Where the FDB knows a station, in the VLAN of `arrival`.
    fn place(&self, mac: Mac, arrival: &Arrival) -> Option<Location> {
        self.bridge.fdb.lookup(Station::new(mac, arrival.vid)).map(|entry| entry.at())
    }
}

/// Has the answers that were decided on leave by the ports that they are for.
pub(in crate::switch) fn send_answers(
    topology: &Topology,
    batch: &mut Batch,
    counters: &mut PortCounters,
    outbox: &mut Outbox,
) {
    let mut answers = std::mem::take(&mut outbox.answers);
    for Answer { to, form, question, asker: mac, holder, flags } in answers.drain(..) {
        let counters = counters.of(to.port);
        counters.copies += 1;
        let Some(frame) = batch.add() else {
            counters.drop(DropReason::NoBuffer);
            continue;
        };
        let answer = &mut batch.frames_mut()[frame];
        match question {
            Question::Arp { asker, target } => {
                neighbor_message::arp_reply(answer, holder, target, mac, asker);
            }
            Question::Nd { asker, target } => {
                let flags = AdvertisementFlags { solicited: true, ..flags };
                neighbor_message::advertisement(answer, holder, target, (mac, asker), flags);
            }
        }
        let departure = Departure {
            frame: frame as u32,
            form,
            out: to.port,
            to: Recipients::Peer(to.peer),
            shared: false,
            echo: false,
        };
        match topology.port(to.port).map(|port| &port.way) {
            Some(Way::Patch(peer)) => outbox.patched.push(Crossing { peer: *peer, departure }),
            Some(Way::Tunnel(overlay)) => outbox.push(overlay.underlay, departure),
            _ => outbox.push(to.port, departure),
        }
    }
    outbox.answers = answers;
}

fn ether_type(frame: &Frame, at: usize) -> u16 {
    frame.bytes().get(at..at + 2).map_or(0, |bytes| be16(bytes, 0))
}

/// What an ARP message from the station `source` says; `None` when it is none, or speaks for another.
fn heard_by_arp(message: &[u8], source: Mac) -> Option<Heard> {
    let arp = Arp::parse(message).filter(|arp| arp.sender_mac == source && !arp.sender_ip.is_multicast())?;
    let (asker, target) = (arp.sender_ip, arp.target_ip);
    let is_announcement = arp.is_gratuitous() || arp.operation == Operation::Reply;
    let asks = !is_announcement && !arp.is_probe();
    (arp.operation != Operation::ReverseRequest).then(|| Heard {
        sender: asker.into(),
        announces: is_announcement.then(AdvertisementFlags::default),
        question: asks.then_some(Question::Arp { asker, target }),
    })
}

/// What a message of ND from the station `source` says; `None` when it is none that a host would take, or says nothing
/// of who has which address.
fn heard_by_nd(frame: &Frame, l3: usize, source: Mac) -> Option<Heard> {
    let packet = &frame.bytes()[l3..];
    let (protocol, at) = ipv6::upper_layer(packet)?;
    let end = ipv6::HEADER_LEN + usize::from(ipv6::payload_len(packet));
    let message = packet.get(at..end).filter(|_| protocol == icmp::V6_PROTOCOL)?;
    let said = nd::Message::read(message)?;
    let (from, to) = (ipv6::source(packet), ipv6::destination(packet));
    let unfinished = frame.offload.needs_csum;
    let sound = said.is_valid(from, to, ipv6::hop_limit(packet))
        && (unfinished || nd::checksum_holds(from, to, message));
    // It names the station that it comes from, and no other.
    if !sound || said.link_layers().next().is_none() || said.link_layers().any(|mac| mac != source) {
        return None;
    }
    match said.kind {
        Kind::NeighborSolicitation { target } if !from.is_unspecified() => {
            let question = (target != from).then_some(Question::Nd { asker: from, target });
            Some(Heard { sender: from.into(), announces: None, question })
        }
        Kind::NeighborAdvertisement { target, router, overrides, .. } => {
            let flags = AdvertisementFlags { router, solicited: false, overrides };
            Some(Heard { sender: target.into(), announces: Some(flags), question: None })
        }
        _ => None,
    }
}
