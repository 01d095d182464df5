//! The switch itself: frames and the time go in, frames and drops come out. No I/O, no clock, no thread.
//!
//! Each worker has a [`Switch`] of its own. They share the FDBs, through the [`Topology`], and nothing else.
//!
//! # The order of calls
//!
//! 1. [`Switch::process`] with a batch that a port was read into. Its frames walk through the stages:
//!    `stage::ingress` checks what came with them and tells their VLAN, `stage::bridge` learns and
//!    decides; what crosses a patch port walks again, at its other end.
//! 2. [`Switch::transmit`], which gives each out port its frames, as the `stage::egress` stage makes them fit,
//!    and must come before the batch is cleared.
//! 3. Now and then [`Switch::handle_timeout`], due at the time it returned last.

mod counting;
mod outbox;
mod overlay;
mod stage;
mod topology;

use std::sync::Arc;

pub use overlay::{Outer, Overlay, Peer, PeerCounters, Underlay, Unreachable};
pub use topology::{Bridge, Port, Storm, Topology, VlanPolicy, Way};

use crate::packet::{Batch, BridgeId, Counters, Datagram, DropReason, PortId, Received};
use crate::table::fdb::Generations;
use crate::table::fdb_cache::FdbCache;
use crate::time::Time;
use crate::wire::ethernet::Mac;
use counting::PortCounters;
use outbox::Outbox;
use stage::ingress::Arrival;

/// So many patch ports a frame may cross: bridges joined in a loop end there.
const MAX_PATCHES: usize = 8;
/// Events kept until the worker fetches them; more in one go are a storm, and tell nothing new.
const MAX_EVENTS: usize = 16;

/// Something an operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A station moves to and fro between ports: two hosts share its address, or there is a loop.
    Flap {
        /// Its bridge.
        bridge: BridgeId,
        /// Its address.
        mac: Mac,
        /// The port it was behind.
        from: PortId,
        /// The port it is behind now.
        to: PortId,
    },
    /// Frames were longer than the MTU of this port. It may be another by now than the topology says.
    TooLong(PortId),
}

/// What a port or an underlay is handed to send, with the batch that it is in.
pub enum Outgoing<'a> {
    /// Frames, by their indices and in order. The port counts each as sent or dropped, as
    /// [`Port::tx`](crate::port::Port::tx) does.
    Frames(&'a [u32], &'a mut Counters),
    /// Datagrams. The underlay writes what became of each, as [`Underlay::tx`](crate::port::Underlay::tx) does.
    Datagrams(&'a mut [Datagram]),
}

/// The switching core of one worker.
pub struct Switch {
    topology: Arc<Topology>,
    cache: FdbCache,
    counters: PortCounters,
    outbox: Outbox,
    /// Frames of the run at hand that passed ingress; kept for its memory.
    arrivals: Vec<Arrival>,
    events: Vec<Event>,
}

impl Switch {
    /// A switch without ports, whose FDBs will be made with `generations`.
    pub fn new(generations: Arc<Generations>) -> Switch {
        Switch {
            topology: Arc::default(),
            cache: FdbCache::new(generations),
            counters: PortCounters::default(),
            outbox: Outbox::default(),
            arrivals: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes a new topology. The counters of ports that are gone go into [`Switch::retired`].
    pub fn set_topology(&mut self, topology: Arc<Topology>) {
        // The cache knows bridges by their slot only, and a slot is given again.
        if self.topology.loses_a_table(&topology) {
            self.cache.clear();
        }
        self.counters.resize(&topology);
        self.outbox.resize(topology.ports.len());
        self.topology = topology;
    }

    /// The topology in force.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Decides about all frames of `batch`, which came in by `port`. Follow with [`Switch::transmit`].
    pub fn process(&mut self, port: PortId, batch: &mut Batch, now: Time) {
        let topology = Arc::clone(&self.topology);
        let frames = 0..batch.len() as u32;
        self.run(&topology, port, frames, batch, now);
        for _ in 0..MAX_PATCHES {
            if self.outbox.patched.is_empty() {
                return;
            }
            self.cross_patches(&topology, batch, now);
        }
        for crossing in std::mem::take(&mut self.outbox.patched) {
            self.counters.drop(crossing.out, DropReason::PatchLoop);
        }
    }

    /// Unwraps what the underlay `underlay` has read into `batch`, and decides about the frames in it as
    /// [`Switch::process`] does.
    pub fn receive(&mut self, underlay: PortId, batch: &mut Batch, received: &[Received], now: Time) {
        let _ = (underlay, batch, received, now);
    }

    /// One walk through the stages, of frames that came in by one port.
    fn run(
        &mut self,
        topology: &Topology,
        port_id: PortId,
        frames: impl Iterator<Item = u32>,
        batch: &mut Batch,
        now: Time,
    ) {
        let Some(port) = topology.port(port_id) else {
            return self.counters.discard_all(DropReason::PortMissing, frames, batch);
        };
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let counters = self.counters.of(port_id);
        match port.bridge.and_then(|id| Some((id, topology.bridge(id)?))) {
            None => stage::ingress::unbridged(frames, batch, counters),
            Some((bridge_id, bridge)) => {
                stage::ingress::arrive(port, bridge_id, frames, batch, &self.cache, counters, &mut arrivals);
                let mut forwarding = stage::bridge::Forwarding {
                    topology,
                    bridge_id,
                    bridge,
                    port_id,
                    port,
                    now,
                    cache: &mut self.cache,
                    counters: self.counters.of(port_id),
                    outbox: &mut self.outbox,
                    events: &mut self.events,
                };
                forwarding.forward(&arrivals);
            }
        }
        arrivals.clear();
        self.arrivals = arrivals;
    }

    /// Lets what was sent to patch ports come in at their other ends.
    fn cross_patches(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        let mut crossings = std::mem::take(&mut self.outbox.patched);
        for crossing in crossings.drain(..) {
            match stage::egress::cross(topology, crossing, batch, &mut self.counters) {
                Some(frame) => self.run(topology, crossing.peer, std::iter::once(frame), batch, now),
                None => self.counters.drop(crossing.out, DropReason::NoBuffer),
            }
        }
        // Keep the memory: unless something crossed a second patch, the list is empty.
        if self.outbox.patched.is_empty() {
            self.outbox.patched = crossings;
        }
    }

    /// Hands each out port its frames, and each underlay its datagrams.
    pub fn transmit(&mut self, batch: &mut Batch, mut send: impl FnMut(PortId, &mut Batch, Outgoing<'_>)) {
        let topology = Arc::clone(&self.topology);
        while let Some(port_id) = self.outbox.next() {
            let counters = self.counters.of(port_id);
            let (live, too_long) = (batch.len(), counters.dropped(DropReason::ExceedsMtu));
            let ready =
                stage::egress::prepare(topology.port(port_id), &mut self.outbox, port_id, batch, counters);
            if !ready.is_empty() {
                send(port_id, batch, Outgoing::Frames(ready, counters));
            }
            if counters.dropped(DropReason::ExceedsMtu) != too_long && self.events.len() < MAX_EVENTS {
                self.events.push(Event::TooLong(port_id));
            }
            // The next port's segments go where this one's were: warm, and enough for any number of ports.
            batch.truncate(live);
        }
    }

    /// Ages the FDBs and says when to come again; `None`: never. Call it in one worker only.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Time> {
        self.topology.bridges.iter().flatten().filter_map(|bridge| bridge.fdb.expire(now)).min()
    }

    /// The counters of a port, for what the port counts itself.
    pub fn counters(&mut self, port: PortId) -> &mut Counters {
        self.counters.of(port)
    }

    /// The counters of all ports there are.
    pub fn all_counters(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        self.counters.iter()
    }

    /// The sum of the counters of ports that were removed.
    pub fn retired(&self) -> &Counters {
        &self.counters.retired
    }

    /// What happened that an operator should hear of, since the last call.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }
}
