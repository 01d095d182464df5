//! What a router does without a packet: it asks its neighbours again, gives up what waited in vain, tells the links of its
//! addresses and of itself, and forgets connections.

use core::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use foldhash::HashMap;

use super::Walk;
use crate::packet::{InterfaceId, PortId, RouterId, neighbor_message};
use crate::switch::Topology;
use crate::switch::router::{Advertise, Attachment};
use crate::table::neighbors::{Held, Task};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::nd::{self, Prefix, RouterAdvertisement};

/// For how long hosts may use addresses that they made of an advertised prefix, and for how long they had better
/// (RFC 4861 section 6.2.1).
const VALID: u32 = 30 * 24 * 3600;
const PREFERRED: u32 = 7 * 24 * 3600;
/// The least time between two advertisements on a link (RFC 4861 section 10, MIN_DELAY_BETWEEN_RAS).
const LEAST_BETWEEN: Duration = Duration::from_secs(3);

/// The least time between two defences of an address (RFC 5227 section 1.1, DEFEND_INTERVAL).
const BETWEEN_DEFENCES: Duration = Duration::from_secs(10);

/// What interfaces have to tell unasked, and when.
#[derive(Default)]
pub(in crate::switch) struct Announcements {
    /// Addresses that hosts may know somebody else by.
    fresh: Vec<(RouterId, InterfaceId, Address)>,
    /// When an interface last advertised itself.
    last: HashMap<(RouterId, InterfaceId), Time>,
    /// When an interface last defended an address.
    defended: HashMap<(RouterId, InterfaceId), Time>,
}

impl Announcements {
    /// Whether an interface is to defend an address now.
    pub(super) fn may_defend(&mut self, router: RouterId, interface: InterfaceId, now: Time) -> bool {
        let last = self.defended.get(&(router, interface));
        let may = last.is_none_or(|&last| now.since(last) >= BETWEEN_DEFENCES);
        if may {
            self.defended.insert((router, interface), now);
        }
        may
    }

    /// Notes the addresses that `next` has and `before` had not.
    pub(in crate::switch) fn note(&mut self, before: &Topology, next: &Topology) {
        let all = |topology: &Topology| -> Vec<_> {
            let routers = (0..)
                .zip(&topology.routers)
                .filter_map(|(id, router)| Some((RouterId(id), router.as_ref()?)));
            let interfaces = routers.flat_map(|(id, router)| {
                router
                    .all_interfaces()
                    .map(move |(at, interface)| (id, at, interface.on, &interface.addresses))
            });
            interfaces
                .flat_map(|(id, at, on, addresses)| {
                    addresses.iter().map(move |&(address, _)| (id, at, on, address))
                })
                .collect()
        };
        let known = all(before);
        let fresh = all(next).into_iter().filter(|address| !known.contains(address));
        self.fresh.extend(fresh.map(|(id, at, _, address)| (id, at, address)));
        let there = |(router, interface): &(RouterId, InterfaceId)| {
            next.router(*router).is_some_and(|router| router.interface(*interface).is_some())
        };
        self.last.retain(|at, _| there(at));
        self.defended.retain(|at, _| there(at));
    }

    /// All that was fresh has been told, or is another worker's to tell.
    pub(in crate::switch) fn are_told(&mut self) {
        self.fresh.clear();
    }
}

impl Walk<'_> {
    /// Does what is due. `leads`: this worker also does what is to be done once for all of them.
    pub(in crate::switch) fn do_chores(&mut self, leads: bool) {
        self.ask_neighbors();
        let router = self.router;
        if let Some(sessions) = &router.sessions {
            self.routing.wake_at(sessions.expire(self.now));
        }
        if leads {
            self.announce_addresses();
            self.advertise_routers();
        }
    }

    fn ask_neighbors(&mut self) {
        let mut tasks = Vec::new();
        let due = self.router.neighbors.due(self.now, &mut tasks);
        self.routing.wake_at(due);
        for task in tasks {
            match task {
                Task::Ask { interface, address, mac } => self.solicit(interface, address, mac, Self::NOBODY),
                Task::Failed { interface, held, .. } => {
                    held.into_iter().for_each(|held| self.give_up(interface, &held));
                }
                Task::Dropped { from, frames } => {
                    let counters = self.counters.of(from);
                    counters.copies += u64::from(frames);
                    (0..frames).for_each(|_| counters.drop(crate::packet::DropReason::NeighborQueue));
                }
            }
        }
    }

    /// Tells the sender of a packet that its next hop has not answered.
    fn give_up(&mut self, interface: InterfaceId, held: &Held) {
        let Some(index) = self.restore(held) else { return };
        self.report_translated(index, held.from, interface);
        self.lose(held.from, index, crate::packet::DropReason::NoNeighbor);
    }

    fn announce_addresses(&mut self) {
        let id = self.id;
        let fresh = &mut self.routing.announcements.fresh;
        let own: Vec<_> = fresh.extract_if(.., |(router, ..)| *router == id).collect();
        own.into_iter().for_each(|(_, interface, address)| self.announce(interface, address));
    }

    fn advertise_routers(&mut self) {
        let router = self.router;
        for (id, interface) in router.all_interfaces() {
            let Some(advertise) = &interface.advertise else { continue };
            let last = self.routing.announcements.last.get(&(self.id, id)).copied();
            let due = last.map_or(self.now, |last| last + advertise.interval);
            match due <= self.now {
                true => self.advertise(id, advertise, Self::NOBODY),
                false => self.routing.wake_at(Some(due)),
            }
        }
    }

    /// Answers a router solicitation, to all, unless that was done just now.
    pub(super) fn advertise_router(&mut self, id: InterfaceId, port: PortId) {
        let router = self.router;
        let advertise = router.interface(id).and_then(|interface| interface.advertise.as_ref());
        let last = self.routing.announcements.last.get(&(self.id, id));
        let soon = last.is_some_and(|&last| self.now.since(last) < LEAST_BETWEEN);
        if let Some(advertise) = advertise.filter(|_| !soon) {
            self.advertise(id, advertise, port);
        }
    }

    fn advertise(&mut self, id: InterfaceId, what: &Advertise, on_behalf_of: PortId) {
        self.routing.announcements.last.insert((self.id, id), self.now);
        self.routing.wake_at(Some(self.now + what.interval));
        let router = self.router;
        let Some(interface) = router.interface(id) else { return };
        let Attachment::Bridge { mac, .. } = interface.on else { return };
        let Some(own) =
            interface.addresses.iter().find_map(|&(own, _)| v6(own).filter(|_| own.is_link_local()))
        else {
            return;
        };
        let Some(index) = self.batch.add() else { return };
        let frame = &mut self.batch.frames_mut()[index];
        neighbor_message::router_advertisement(frame, mac, own, &advertisement(what, interface.mtu), None);
        self.counters.of(on_behalf_of).copies += 1;
        self.emit_by(index as u32, on_behalf_of, interface.on, nd::group_mac(nd::ALL_NODES));
    }
}

fn advertisement(what: &Advertise, mtu: u32) -> RouterAdvertisement {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let prefixes = what.prefixes.iter().filter_map(|&(network, len)| {
        Some(Prefix {
            prefix: v6(network)?,
            len,
            on_link: true,
            autonomous: len == 64,
            valid: VALID,
            preferred: PREFERRED,
        })
    });
    RouterAdvertisement {
        hop_limit: 64,
        managed: what.managed,
        other: what.other,
        lifetime: u16::try_from(what.lifetime.as_secs()).unwrap_or(u16::MAX),
        mtu: Some(mtu),
        prefixes: prefixes.collect(),
        rdnss: what.dns.iter().filter_map(|&dns| v6(dns)).collect(),
        // As RFC 8106 section 5.1 recommends.
        rdnss_lifetime: seconds(what.interval * 3),
    }
}

fn v6(address: Address) -> Option<Ipv6Addr> {
    match IpAddr::from(address) {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}
