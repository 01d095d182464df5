//! The bridge: learns where the source is, looks up where the destination is, and queues the frame for the ports that
//! may have it.
//!
//! Frames are decided about one after the other, in the order they came in: sorting them into classes first would let a
//! unicast frame overtake one of its own flow that was flooded because its destination was not known yet.

use crate::packet::{BridgeId, Counters, DropReason, PortId};
use crate::switch::outbox::{Crossing, Departure, Outbox};
use crate::switch::stage::ingress::Arrival;
use crate::switch::{Bridge, Event, MAX_EVENTS, Port, Topology, Way};
use crate::table::fdb::{Kind, Learned, Station};
use crate::table::fdb_cache::{FdbCache, Hit};
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;
use crate::wire::ethernet::Mac;

/// Frames of one port in one bridge, on their way.
pub(in crate::switch) struct Forwarding<'a> {
    pub(in crate::switch) topology: &'a Topology,
    pub(in crate::switch) bridge_id: BridgeId,
    pub(in crate::switch) bridge: &'a Bridge,
    pub(in crate::switch) port_id: PortId,
    pub(in crate::switch) port: &'a Port,
    pub(in crate::switch) now: Time,
    pub(in crate::switch) cache: &'a mut FdbCache,
    pub(in crate::switch) counters: &'a mut Counters,
    pub(in crate::switch) outbox: &'a mut Outbox,
    pub(in crate::switch) events: &'a mut Vec<Event>,
}

impl Forwarding<'_> {
    pub(in crate::switch) fn forward(&mut self, arrivals: &[Arrival]) {
        // Which refresh period it is; wraps, which a cached entry would have to outlive untouched to be fooled.
        let period = (self.now.nanos() / self.bridge.refresh.as_nanos() as u64) as u32;
        for arrival in arrivals {
            if let Err(reason) = self.decide(arrival, period) {
                self.counters.drop(reason);
            }
        }
    }

    #[inline]
    fn decide(&mut self, arrival: &Arrival, period: u32) -> Result<(), DropReason> {
        if arrival.source == self.bridge.mac {
            return Err(DropReason::OwnSource);
        }
        if self.port.learning {
            self.learn(arrival, period);
        }
        if arrival.destination.is_group() {
            return self.multicast(arrival);
        }
        if arrival.destination == self.bridge.mac {
            return Err(DropReason::Local);
        }
        match self.lookup(arrival, period) {
            Some(port) => self.unicast(arrival, port),
            None => self.flood(arrival, self.port.storm.unknown.as_deref(), DropReason::StormUnknown),
        }
    }

    #[inline]
    fn learn(&mut self, arrival: &Arrival, period: u32) {
        match self.cache.get(&arrival.from) {
            Some(hit) if hit.port == self.port_id && hit.fresh == period => {}
            // A static station may send from elsewhere; it is still reached where it was configured.
            Some(Hit { learned: false, .. }) => {}
            _ => self.learn_shared(arrival, period),
        }
    }

    #[cold]
    fn learn_shared(&mut self, arrival: &Arrival, period: u32) {
        let generation = self.cache.generation(&arrival.from);
        let station = Station::new(arrival.source, arrival.vid);
        let learned = self.bridge.fdb.learn(station, self.port_id, self.port.allowance, self.now);
        let hit = match learned {
            Learned::Pinned(at) => Hit { port: at, learned: false, fresh: period },
            Learned::NoRoom => return,
            _ => Hit { port: self.port_id, learned: true, fresh: period },
        };
        self.cache.fill(&arrival.from, hit, generation);
        if let Learned::Flapping { from } = learned
            && self.events.len() < MAX_EVENTS
        {
            let (bridge, mac, to) = (self.bridge_id, arrival.source, self.port_id);
            self.events.push(Event::Flap { bridge, mac, from, to });
        }
    }

    #[inline]
    fn lookup(&mut self, arrival: &Arrival, period: u32) -> Option<PortId> {
        if let Some(hit) = self.cache.get(&arrival.to) {
            return Some(hit.port);
        }
        self.lookup_shared(arrival, period)
    }

    #[cold]
    fn lookup_shared(&mut self, arrival: &Arrival, period: u32) -> Option<PortId> {
        let generation = self.cache.generation(&arrival.to);
        let entry = self.bridge.fdb.lookup(Station::new(arrival.destination, arrival.vid))?;
        // The age is refreshed by frames *from* the station only, so what is cached here must not look fresh.
        let stale = period.wrapping_sub(1);
        let hit = Hit { port: entry.port, learned: entry.kind == Kind::Learned, fresh: stale };
        self.cache.fill(&arrival.to, hit, generation);
        Some(entry.port)
    }

    #[inline]
    fn unicast(&mut self, arrival: &Arrival, to: PortId) -> Result<(), DropReason> {
        if to == self.port_id {
            return Err(DropReason::SamePort);
        }
        // The table may know a port longer than this bridge has it: what is meant for one bridge never leaves by another.
        let member = self.topology.port(to).filter(|port| port.bridge == Some(self.bridge_id));
        let Some(port) = member else { return Err(DropReason::PortMissing) };
        if self.port.isolated && port.isolated {
            return Err(DropReason::Isolated);
        }
        if !port.vlan.admits(arrival.vid) {
            return Err(DropReason::VlanEgress);
        }
        self.depart(arrival, to, port, false);
        Ok(())
    }

    fn multicast(&mut self, arrival: &Arrival) -> Result<(), DropReason> {
        if arrival.destination.is_link_local() {
            return Err(DropReason::ReservedGroup);
        }
        let storm = &self.port.storm;
        if arrival.destination == Mac::BROADCAST {
            self.flood(arrival, storm.broadcast.as_deref(), DropReason::StormBroadcast)
        } else {
            self.flood(arrival, storm.multicast.as_deref(), DropReason::StormMulticast)
        }
    }

    /// Queues the frame for every port that may have it; the payload is shared by all.
    fn flood(
        &mut self,
        arrival: &Arrival,
        storm: Option<&TokenBucket>,
        too_many: DropReason,
    ) -> Result<(), DropReason> {
        if storm.is_some_and(|bucket| !bucket.take(self.now)) {
            return Err(too_many);
        }
        let mut copies = 0;
        for &to in &self.bridge.members {
            let Some(port) = self.topology.port(to) else { continue };
            if to != self.port_id && !(self.port.isolated && port.isolated) && port.vlan.admits(arrival.vid) {
                self.depart(arrival, to, port, true);
                copies += 1;
            }
        }
        if copies == 0 {
            return Err(DropReason::NoMember);
        }
        self.counters.copies += copies - 1;
        Ok(())
    }

    #[inline]
    fn depart(&mut self, arrival: &Arrival, to: PortId, port: &Port, shared: bool) {
        let departure =
            Departure { frame: arrival.frame, form: port.vlan.form(arrival.vid, arrival.priority) };
        match port.way {
            Way::Queue | Way::Tunnel(_) | Way::Underlay(_) => self.outbox.push(to, departure),
            Way::Patch(peer) => self.outbox.patched.push(Crossing { out: to, peer, departure, shared }),
        }
    }
}
