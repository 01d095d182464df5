//! ARP and neighbour discovery: who has which address on the links of a router.
//!
//! A router answers for its own addresses, and learns the addresses of others from what they answer it, and from what
//! they ask it. What anybody says unasked only brings up to date what is known already: it makes no entry, so that
//! nobody fills the table by talking.

use core::net::{IpAddr, Ipv6Addr};

use super::{Arrived, Fate, Walk, ether_type};
use crate::packet::neighbor_message;
use crate::packet::{Counters, DropReason, InterfaceId, Offload, Packet, PortId};
use crate::switch::router::{Attachment, Interface};
use crate::switch::walked::Stage;
use crate::table::neighbors::{Heard, Held};
use crate::wire::address::Address;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::Mac;
use crate::wire::nd::{self, AdvertisementFlags, Kind};

impl Walk<'_> {
    /// Takes an ARP packet.
    pub(super) fn arp(&mut self, arrived: &Arrived) -> Result<Fate, DropReason> {
        let frame = &self.batch.frames()[arrived.frame as usize];
        let arp = neighbor_message::arp(frame).unwrap_or(Err(DropReason::NeighborMessage))?;
        let router = self.router;
        let Some((interface, own)) = on_bridge(router.interface(arrived.interface)) else {
            return Err(DropReason::NeighborMessage);
        };
        let (sender, target) = (Address::from(arp.sender_ip), Address::from(arp.target_ip));
        let is_probe = arp.sender_ip.is_unspecified();
        if arp.sender_mac == own || interface.has(sender) || !is_probe && !interface.reaches(sender) {
            self.defend(arrived.interface, sender);
            return Err(DropReason::NeighborMessage);
        }
        let for_us = interface.has(target) || router.nat.stands_for(arrived.interface, target);
        self.say(Stage::Neighbor, |_| {
            let what = match (arp.operation, for_us) {
                (Operation::Request, true) => "asks for an address of the router, and is answered",
                (Operation::Request, false) => "asks for another's address",
                (Operation::Reply, true) => "answers the router",
                _ => "says who it is",
            };
            format!("ARP: {sender} at {} {what}", arp.sender_mac)
        });
        if !is_probe {
            let how = match (arp.operation, for_us) {
                (Operation::Reply, true) => Heard::Answer { overrides: true },
                (Operation::Request, true) => Heard::Asked,
                _ => Heard::Claim { overrides: true },
            };
            self.hear(arrived.interface, sender, arp.sender_mac, how);
        }
        if arp.operation == Operation::Request && for_us {
            self.answer_arp(arrived, &arp, interface.on, own);
        }
        Ok(Fate::Taken)
    }

    fn answer_arp(&mut self, arrived: &Arrived, question: &Arp, on: Attachment, own: Mac) {
        let Some(index) = self.batch.add() else { return };
        let answer = &mut self.batch.frames_mut()[index];
        let (mac, ip) = (question.sender_mac, question.sender_ip);
        neighbor_message::arp_reply(answer, own, question.target_ip, mac, ip);
        self.of(arrived).copies += 1;
        self.emit_by(index as u32, arrived.port, on, mac);
    }

    /// Takes a packet that may be a message of neighbour discovery.
    pub(super) fn neighbor_message(
        &mut self,
        arrived: &Arrived,
        packet: &Packet,
    ) -> Result<Fate, DropReason> {
        let frame = &self.batch.frames()[arrived.frame as usize];
        let Some(message) = neighbor_message::nd(frame, packet) else { return Err(DropReason::NotLocal) };
        let message = message?;
        let router = self.router;
        let Some((interface, own)) = on_bridge(router.interface(arrived.interface)) else {
            return Err(DropReason::NotLocal);
        };
        let source = packet.tuple.source;
        if interface.has(source) || message.link_layer == Some(own) {
            return Err(DropReason::NeighborMessage);
        }
        let near = source.is_link_local() || interface.reaches(source);
        self.say(Stage::Neighbor, |_| format!("neighbour discovery: {:?} from {source}", message.kind));
        match (message.kind, message.link_layer) {
            (Kind::NeighborSolicitation { target }, mac) => {
                let for_us =
                    interface.has(target.into()) || router.nat.stands_for(arrived.interface, target.into());
                if let Some(mac) = mac.filter(|_| near && !source.is_unspecified()) {
                    let how = if for_us { Heard::Asked } else { Heard::Claim { overrides: true } };
                    self.hear(arrived.interface, source, mac, how);
                }
                if for_us {
                    self.advertise_address(arrived, source, target, mac, interface.on, own);
                }
            }
            (Kind::NeighborAdvertisement { target, solicited, overrides, .. }, mac) => {
                let target = Address::from(target);
                if interface.has(target) {
                    self.defend(arrived.interface, target);
                    return Err(DropReason::NeighborMessage);
                }
                match (mac, solicited) {
                    (Some(mac), true) => {
                        self.hear(arrived.interface, target, mac, Heard::Answer { overrides });
                    }
                    (Some(mac), false) => {
                        self.hear(arrived.interface, target, mac, Heard::Claim { overrides });
                    }
                    (None, true) => self.router.neighbors.confirm(arrived.interface, target, self.now),
                    (None, false) => {}
                }
            }
            (Kind::RouterSolicitation, mac) => {
                if let Some(mac) = mac.filter(|_| near && !source.is_unspecified()) {
                    self.hear(arrived.interface, source, mac, Heard::Asked);
                }
                self.advertise_router(arrived.interface, arrived.port);
            }
            // Another router's word is nothing to a router (RFC 4861 section 6.2.7).
            (Kind::RouterAdvertisement | Kind::Redirect { .. }, _) => return Err(DropReason::NotLocal),
        }
        Ok(Fate::Taken)
    }

    fn advertise_address(
        &mut self,
        arrived: &Arrived,
        asker: Address,
        target: Ipv6Addr,
        mac: Option<Mac>,
        on: Attachment,
        own: Mac,
    ) {
        let is_probe = asker.is_unspecified();
        let known = || self.router.neighbors.lookup(arrived.interface, asker, self.now);
        let (to, solicited) = match (IpAddr::from(asker), mac.or_else(known)) {
            (IpAddr::V6(ip), Some(mac)) if !is_probe => ((mac, ip), true),
            _ => ((nd::group_mac(nd::ALL_NODES), nd::ALL_NODES), false),
        };
        let Some(index) = self.batch.add() else { return };
        let flags = AdvertisementFlags { router: true, solicited, overrides: true };
        let answer = &mut self.batch.frames_mut()[index];
        neighbor_message::advertisement(answer, own, target, to, flags);
        self.of(arrived).copies += 1;
        self.emit_by(index as u32, arrived.port, on, to.0);
    }

    /// Notes where a neighbour is, and sends what has waited for that.
    pub(super) fn hear(&mut self, interface: InterfaceId, address: Address, mac: Mac, how: Heard) {
        let learned = self.router.neighbors.learn(interface, address, mac, how, self.now);
        self.routing.wake_at(self.router.neighbors.deadline());
        if !learned.held.is_empty() {
            let waited = learned.held.len();
            self.say(Stage::Neighbor, |_| format!("{waited} that waited for {address} are sent on"));
        }
        for held in learned.held {
            self.resume(interface, address, mac, held);
        }
    }

    /// Sends a packet that has waited for the address of its next hop.
    pub(super) fn resume(&mut self, interface: InterfaceId, next: Address, mac: Mac, held: Held) {
        let Some(index) = self.restore(&held) else { return };
        let Some((interface, own)) = on_bridge(self.router.interface(interface)) else {
            return self.lose(held.from, index, DropReason::PortMissing);
        };
        self.batch.frames_mut()[index as usize].put_ethernet(mac, own, ether_type(next));
        self.emit_by(index, held.from, interface.on, mac);
    }

    /// Has a packet that waited back in the batch; where no room is, it is dropped.
    pub(super) fn restore(&mut self, held: &Held) -> Option<u32> {
        let counters: &mut Counters = self.counters.of(held.from);
        counters.copies += 1;
        let Some(index) = self.batch.add() else {
            counters.drop(DropReason::NoBuffer);
            let watching = &mut self.outbox.watching;
            watching.lost_bytes(held.from, &held.bytes, Some(held.layer), DropReason::NoBuffer);
            return None;
        };
        let frame = &mut self.batch.frames_mut()[index];
        frame.fill(&held.bytes, Offload::NONE);
        frame.layer = held.layer;
        frame.offload = held.offload;
        Some(index as u32)
    }

    /// Asks for the link address of a neighbour, whom it is known to have been with, or everybody.
    pub(super) fn solicit(
        &mut self,
        id: InterfaceId,
        address: Address,
        mac: Option<Mac>,
        on_behalf_of: PortId,
    ) {
        let router = self.router;
        let Some((interface, own)) = on_bridge(router.interface(id)) else { return };
        let Some(from) = interface.address_for(address) else { return };
        let Some(index) = self.batch.add() else { return };
        let question = &mut self.batch.frames_mut()[index];
        let to = match (IpAddr::from(from), IpAddr::from(address)) {
            (IpAddr::V4(from), IpAddr::V4(target)) => {
                neighbor_message::arp_request(question, own, from, target, mac);
                mac.unwrap_or(Mac::BROADCAST)
            }
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                neighbor_message::solicitation(question, own, from, target, mac);
                mac.unwrap_or(nd::group_mac(nd::solicited_node(target)))
            }
            _ => return self.batch.truncate(index),
        };
        self.counters.of(on_behalf_of).copies += 1;
        self.emit_by(index as u32, on_behalf_of, interface.on, to);
    }

    /// Says whose an address is that somebody else has claimed, if it is the router's (RFC 5227 section 2.4); now and then
    /// only, so that two who both have it do not talk for ever.
    fn defend(&mut self, id: InterfaceId, address: Address) {
        let router = self.router;
        let own = router.interface(id).is_some_and(|interface| interface.has(address));
        if own && self.routing.announcements.may_defend(self.id, id, self.now) {
            self.announce(id, address);
        }
    }

    /// Tells everybody on the link of an interface that it has an address.
    pub(super) fn announce(&mut self, id: InterfaceId, address: Address) {
        let router = self.router;
        let Some((interface, own)) = on_bridge(router.interface(id)) else { return };
        let Some(index) = self.batch.add() else { return };
        let frame = &mut self.batch.frames_mut()[index];
        let to = match IpAddr::from(address) {
            IpAddr::V4(ip) => {
                neighbor_message::gratuitous_arp(frame, own, ip);
                Mac::BROADCAST
            }
            IpAddr::V6(ip) => {
                neighbor_message::unsolicited_advertisement(frame, own, ip, true);
                nd::group_mac(nd::ALL_NODES)
            }
        };
        self.counters.of(Self::NOBODY).copies += 1;
        self.emit_by(index as u32, Self::NOBODY, interface.on, to);
    }
}

/// An interface with the MAC address that it has on its bridge.
fn on_bridge(interface: Option<&Interface>) -> Option<(&Interface, Mac)> {
    match interface {
        Some(Interface { on: Attachment::Bridge { mac, .. }, .. }) => Some((interface?, *mac)),
        _ => None,
    }
}
