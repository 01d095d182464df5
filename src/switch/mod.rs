//! The switch itself: frames and the time go in, frames and drops come out. No I/O, no clock, no thread.
//!
//! Each worker has a [`Switch`] of its own. They share the FDBs, and the neighbours and connections of routers, through
//! the [`Topology`], and nothing else.
//!
//! # The order of calls
//!
//! 1. [`Switch::process`] with a batch that a port was read into. Its frames walk through the stages:
//!    `stage::ingress` checks what came with them and tells their VLAN, `stage::bridge` learns and
//!    decides; what crosses a patch port walks again, at its other end.
//! 2. [`Switch::transmit`], which gives each out port its frames, as the `stage::egress` stage makes them fit,
//!    and must come before the batch is cleared.
//! 3. Now and then [`Switch::handle_timeout`], due at [`Switch::poll_timeout`], and [`Switch::transmit`] after it.

mod carry;
mod counting;
mod echo;
pub mod mirror;
pub mod mode;
mod outbox;
mod overlay;
pub mod router;
mod stage;
mod topology;
mod transmit;
pub mod trial;
pub mod walked;
pub mod watch;

use core::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use overlay::{Intruder, Outer, Overlay, Peer, PeerCounters, Underlay, Unreachable};
pub use stage::filter::{BridgeRules, VlanSessions};
pub use stage::guard::Guard;
pub use stage::route::RuleCounters;
pub use topology::{Bridge, Port, Storm, Topology, VlanPolicy, Way};

use crate::packet::{
    Batch, BridgeId, Counters, Datagram, DropReason, Location, PeerId, PortId, RouterId, Tuple,
};
use crate::table::fdb::{Fdb, Generations};
use crate::table::fdb_cache::FdbCache;
use crate::table::reassembly;
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;
use crate::wire::ethernet::Mac;
use counting::PortCounters;
use mirror::{Direction, MirrorCounters};
use outbox::{Departure, Outbox, Oversize};
pub use router::Router;
use stage::ingress::{Arrival, Door};
use stage::mirror::{Desk, Mirroring};
use stage::route::{Routing, Walk};
use stage::tunnel::{Unwrapping, Wrapping};
use walked::{Hop, Stage};
use watch::Moment;

/// So many patch ports a frame may cross: bridges joined in a loop end there.
const MAX_PATCHES: usize = 8;
/// ICMP errors a second that a worker makes for those behind one port (RFC 1812 section 4.3.2.8): for each port of its
/// own, so that nobody who sends long packets has those of others vanish.
const MAX_TOO_BIG: u32 = 1000;
/// Events kept until the worker fetches them; more in one go are a storm, and tell nothing new.
const MAX_EVENTS: usize = 16;

/// When what was not finished in one go, and is not urgent, goes on.
const SOON: Duration = Duration::from_micros(100);

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
    /// A peer has answered an echo, see [`Switch::probe`].
    Echo {
        /// The token that the echo carried.
        token: u64,
        /// How long it was on its way, there and back.
        after: Duration,
    },
    /// A rule wants a packet logged.
    Logged {
        /// The rule, by its place in [`Topology::rules`].
        rule: u32,
        /// The port it came in by.
        port: PortId,
        /// Its flow, as it came in.
        tuple: Tuple,
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
    /// Frames that passed ingress and that no bridge has decided about yet.
    arrivals: Vec<Arrival>,
    unwrapping: Unwrapping,
    wrapping: Wrapping,
    mirroring: Mirroring,
    routing: Routing,
    /// Limits what senders of packets that are too long are told, by the port they are behind.
    too_big: Vec<TokenBucket>,
    events: Vec<Event>,
    /// It does what is to be done once for all workers.
    leads: bool,
    /// When the FDBs are to be aged.
    ageing: Option<Time>,
    /// The bridge whose FDB has its turn first.
    ages_first: usize,
}

/// Who made a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Somebody behind the port it comes in by.
    Outside,
    /// The switch, in the name of such a one: nothing is to be learned from it.
    Ourselves,
}

impl Switch {
    /// A switch without ports, whose FDBs will be made with `generations`.
    pub fn new(generations: Arc<Generations>) -> Switch {
        let seed = generations.flow_seed();
        Switch {
            topology: Arc::default(),
            cache: FdbCache::new(generations),
            counters: PortCounters::default(),
            outbox: Outbox::default(),
            arrivals: Vec::new(),
            unwrapping: Unwrapping::default(),
            wrapping: Wrapping::new(seed),
            mirroring: Mirroring::default(),
            routing: Routing::new(seed),
            leads: true,
            ageing: None,
            ages_first: 0,
            too_big: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The same for a worker that leaves what is to be done once for all workers to another.
    pub fn following(self) -> Switch {
        Switch { leads: false, ..self }
    }

    /// Takes a new topology. The counters of ports that are gone go into [`Switch::retired`].
    pub fn set_topology(&mut self, topology: Arc<Topology>) {
        // The cache knows bridges by their slot only, and a slot is given again.
        if self.topology.loses_a_table(&topology) {
            self.cache.clear();
        }
        self.counters.resize(&topology);
        let mut thrown = Vec::new();
        self.routing.set_topology(&self.topology, &topology, &mut thrown);
        stage::route::throw(&mut self.counters, &thrown);
        self.mirroring.set_topology(&self.topology, &topology);
        self.outbox.resize(topology.ports.len());
        let ports = self.too_big.len().max(topology.ports.len());
        self.too_big.resize_with(ports, || TokenBucket::new(MAX_TOO_BIG));
        self.topology = topology;
    }

    /// The topology in force.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Sends an echo to a peer of a tunnel, whose answer will be an [`Event::Echo`]: `size` is the length of the packet
    /// that it is to the tunnel, in bytes behind the Ethernet header. The batch is to be cleared before. False when there
    /// is no such peer.
    pub fn probe(&mut self, at: Location, token: u64, size: usize, batch: &mut Batch, now: Time) -> bool {
        let topology = Arc::clone(&self.topology);
        let Some(Port { way: Way::Tunnel(overlay), .. }) = topology.port(at.port) else {
            return false;
        };
        let Some(index) = overlay.address(at.peer).and_then(|_| batch.add()) else { return false };
        let frame = &mut batch.frames_mut()[index];
        // A frame that is as long to the tunnel has its Ethernet header instead.
        let tunnel = &overlay.tunnel;
        let size = size + tunnel.carries().header_len() + tunnel.header_len() - tunnel.echo_header_len();
        echo::request(frame, token, now, size);
        self.counters.of(at.port).copies += 1;
        self.outbox.push(overlay.underlay, echo::departure(index as u32, at));
        true
    }

    /// Has everything that is not yet in a port's queue end there, or nowhere.
    fn settle(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        for _ in 0..MAX_PATCHES {
            stage::suppress::send_answers(topology, batch, &mut self.counters, &mut self.outbox);
            stage::filter::refuse(topology, batch, &mut self.counters, &mut self.outbox, &self.too_big, now);
            if self.outbox.patched.is_empty()
                && self.outbox.oversize.is_empty()
                && self.routing.inbox.is_empty()
            {
                return;
            }
            self.route(topology, batch, now);
            self.cross_patches(topology, batch, now);
            self.answer_oversize(topology, batch, now);
        }
        stage::suppress::send_answers(topology, batch, &mut self.counters, &mut self.outbox);
        for arrived in std::mem::take(&mut self.routing.inbox) {
            if !arrived.shared {
                self.lose(arrived.port, arrived.frame, DropReason::PatchLoop, batch);
            }
        }
        for crossing in std::mem::take(&mut self.outbox.patched) {
            let Departure { out, frame, .. } = crossing.departure;
            self.lose(out, frame, DropReason::PatchLoop, batch);
        }
        for oversize in std::mem::take(&mut self.outbox.oversize) {
            let Departure { out, frame, .. } = oversize.departure;
            self.lose(out, frame, DropReason::ExceedsMtu, batch);
        }
        // They are counted already, and their numbers mean nothing in another batch.
        self.outbox.refused.clear();
    }

    /// Lets the routers do with what is for them what they do.
    fn route(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        let mut inbox = std::mem::take(&mut self.routing.inbox);
        for arrived in inbox.drain(..) {
            batch.frames_mut()[arrived.frame as usize].pull();
            match topology.router(arrived.router) {
                Some(router) => self.walk(topology, arrived.router, router, batch, now).take(arrived),
                None if arrived.shared => {}
                None => self.lose(arrived.port, arrived.frame, DropReason::PortMissing, batch),
            }
            self.note_ends(Hop::Router(arrived.router), arrived.port);
        }
        // Keep the memory: unless one router has sent something to another, the list is empty.
        if self.routing.inbox.is_empty() {
            self.routing.inbox = inbox;
        }
    }

    fn walk<'a>(
        &'a mut self,
        topology: &'a Topology,
        id: RouterId,
        router: &'a Router,
        batch: &'a mut Batch,
        now: Time,
    ) -> Walk<'a> {
        Walk {
            topology,
            id,
            router,
            now,
            batch,
            cache: &mut self.cache,
            counters: &mut self.counters,
            outbox: &mut self.outbox,
            events: &mut self.events,
            routing: &mut self.routing,
        }
    }

    /// Tells senders that their packets do not fit a tunnel. What they are told comes in by that tunnel's port, as if a
    /// router behind it had said it, and so finds its way to them through VLANs and patches.
    fn answer_oversize(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        let mut oversize = std::mem::take(&mut self.outbox.oversize);
        for Oversize { departure, mtu, from } in oversize.drain(..) {
            batch.frames_mut()[departure.frame as usize].pull();
            let may_tell = self.too_big[from.index()].take(now);
            let answer = may_tell.then(|| stage::tunnel::too_big(departure, mtu, batch)).flatten();
            let Some(answer) = answer else {
                self.lose(departure.out, departure.frame, DropReason::ExceedsMtu, batch);
                continue;
            };
            self.outbox.watching.recorder.note(Hop::Out(departure.out), Stage::Error, || {
                format!(
                    "its sender is told that packets of {mtu} bytes get through; the answer comes in here"
                )
            });
            self.counters.of(from).replied += 1;
            self.note_ends(Hop::Out(departure.out), from);
            // It is the peer's that the packet was for, so that it also gets to one who sent it from behind another.
            let answer = std::iter::once((answer, departure.to.peer().unwrap_or(PeerId::NONE)));
            self.run(topology, departure.out, Origin::Ourselves, answer, batch, now);
        }
        if self.outbox.oversize.is_empty() {
            self.outbox.oversize = oversize;
        }
    }

    /// One walk through the stages, of frames that came in by one port.
    fn run(
        &mut self,
        topology: &Topology,
        port: PortId,
        origin: Origin,
        frames: impl Iterator<Item = (u32, PeerId)> + Clone,
        batch: &mut Batch,
        now: Time,
    ) {
        self.arrive(topology, port, origin, frames, batch);
        self.forward(topology, origin, batch, now);
    }

    /// Takes in frames that came by one port. Those on a bridge wait among the arrivals.
    fn arrive(
        &mut self,
        topology: &Topology,
        port_id: PortId,
        origin: Origin,
        frames: impl Iterator<Item = (u32, PeerId)> + Clone,
        batch: &mut Batch,
    ) {
        let watching = &mut self.outbox.watching;
        if watching.recorder.is_on() {
            stage::ingress::note(topology, port_id, frames.clone(), batch, &mut watching.recorder);
        }
        if origin == Origin::Outside && watching.wants(port_id, Moment::Received) {
            watching.received(port_id, frames.clone().map(|(frame, _)| frame), batch);
        }
        if origin == Origin::Outside && !topology.mirrors.is_empty() {
            let frames = frames.clone().map(|(frame, _)| frame);
            let desk = &mut Desk { topology, batch: &mut *batch, counters: &mut self.counters, watching };
            self.mirroring.keep(port_id, Direction::In, frames, desk);
        }
        let Some(port) = topology.port(port_id) else {
            let gone = (port_id, DropReason::PortMissing);
            return self.counters.discard_all(gone, frames, batch, watching);
        };
        let counters = self.counters.of(port_id);
        let before = (counters.rx_frames, counters.rx_bytes);
        match port.bridge.filter(|&id| topology.bridge(id).is_some()) {
            None if port.router.is_some() => {
                let inbox = &mut self.routing.inbox;
                stage::wire::to_router(port_id, port, frames, batch, counters, inbox, watching);
            }
            None => stage::wire::pass(topology, port_id, port, frames, batch, counters, &mut self.outbox),
            Some(id) => {
                let (cache, arrivals) = (&self.cache, &mut self.arrivals);
                let frames = frames.map(|(frame, peer)| (frame, Location { port: port_id, peer }));
                let whole = port.guard.is_some() || topology.bridge(id).is_some_and(Bridge::reads_packets);
                let door = Door { port, bridge: id, whole, cache, counters, watching };
                stage::ingress::arrive(door, frames, batch, arrivals);
            }
        }
        if origin == Origin::Ourselves {
            counters.copies += counters.rx_frames - before.0;
            (counters.rx_frames, counters.rx_bytes) = before;
        }
        if self.outbox.watching.recorder.is_on() {
            self.note_ends(Hop::In(port_id), port_id);
            for arrival in &self.arrivals {
                stage::ingress::note_arrival(topology, arrival, &mut self.outbox.watching.recorder);
                self.cache.forget(&arrival.from);
                self.cache.forget(&arrival.to);
            }
        }
    }

    /// Notes what was counted at `port`, as having happened at `hop`.
    #[inline]
    fn note_ends(&mut self, hop: Hop, port: PortId) {
        if self.outbox.watching.recorder.is_on() {
            self.outbox.watching.recorder.settle(hop, port, self.counters.of(port));
        }
    }

    /// Has the bridges decide about all that have arrived.
    fn forward(&mut self, topology: &Topology, origin: Origin, batch: &Batch, now: Time) {
        // All lines of the FDB cache that they need are asked for first, in a loop so short that the processor has many
        // of its rounds under way at once: with many stations, the misses of a batch overlap.
        let touch = |arrival: &Arrival| self.cache.touch(&arrival.to) ^ self.cache.touch(&arrival.from);
        std::hint::black_box(self.arrivals.iter().fold(0, |sum, arrival| sum ^ touch(arrival)));
        for arrivals in self.arrivals.chunk_by(|a, b| a.at.port == b.at.port) {
            let port_id = arrivals[0].at.port;
            let Some(port) = topology.port(port_id) else { continue };
            let Some((bridge_id, bridge)) = port.bridge.and_then(|id| Some((id, topology.bridge(id)?)))
            else {
                continue;
            };
            let mut forwarding = stage::bridge::Forwarding {
                topology,
                bridge_id,
                bridge,
                port_id,
                port,
                on_behalf_of: port_id,
                learning: port.learning && origin == Origin::Outside,
                frames: batch.frames(),
                now,
                cache: &mut self.cache,
                counters: self.counters.of(port_id),
                outbox: &mut self.outbox,
                events: &mut self.events,
                judging: origin == Origin::Outside,
                routing: &mut self.routing,
            };
            forwarding.forward(arrivals);
            let recorder = &mut self.outbox.watching.recorder;
            recorder.settle(Hop::Bridge(bridge_id), port_id, self.counters.of(port_id));
        }
        self.arrivals.clear();
    }

    /// Lets what was sent to patch ports come in at their other ends.
    fn cross_patches(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        let mut crossings = std::mem::take(&mut self.outbox.patched);
        for crossing in crossings.drain(..) {
            match stage::egress::cross(topology, crossing, batch, &mut self.counters) {
                Some(frame) => {
                    let (out, watching) = (crossing.departure.out, &mut self.outbox.watching);
                    watching.sent(out, &batch.frames()[frame as usize]);
                    watching.recorder.note(Hop::Out(out), Stage::Patch, || {
                        format!("comes in by {} at the other end", topology.port_name(crossing.peer))
                    });
                    if !topology.mirrors.is_empty() {
                        let counters = &mut self.counters;
                        let desk = &mut Desk { topology, batch: &mut *batch, counters, watching };
                        self.mirroring.keep(out, Direction::Out, std::iter::once(frame), desk);
                    }
                    self.note_ends(Hop::Out(out), out);
                    let frame = std::iter::once((frame, PeerId::NONE));
                    self.run(topology, crossing.peer, Origin::Outside, frame, batch, now);
                }
                None => {
                    let Departure { out, frame, .. } = crossing.departure;
                    self.lose(out, frame, DropReason::NoBuffer, batch);
                }
            }
        }
        // Keep the memory: unless something crossed a second patch, the list is empty.
        if self.outbox.patched.is_empty() {
            self.outbox.patched = crossings;
        }
    }

    /// Counts a frame that goes nowhere.
    fn lose(&mut self, port: PortId, frame: u32, reason: DropReason, batch: &Batch) {
        self.counters.drop(port, reason);
        self.outbox.watching.lost(port, &batch.frames()[frame as usize], reason);
    }

    /// Does what is due without a frame: ages tables, asks neighbours again. Follow with [`Switch::transmit`]; the batch is
    /// to be cleared before. Due at [`Switch::poll_timeout`].
    pub fn handle_timeout(&mut self, batch: &mut Batch, now: Time) {
        self.outbox.watching.set_time(now);
        let topology = Arc::clone(&self.topology);
        self.ageing = if self.leads { self.age(&topology, now) } else { None };
        let leads = self.leads;
        self.routing.due = None;
        self.expire_fragments(&topology, batch, now);
        if self.routing.flows.forget_some() {
            self.routing.wake_at(Some(now + SOON));
        }
        for (id, router) in (0..).zip(&topology.routers) {
            if let Some(router) = router {
                self.walk(&topology, RouterId(id), router, batch, now).do_chores(leads);
            }
        }
        self.routing.announcements.are_told();
        let rules = topology.bridges.iter().flatten().filter_map(|bridge| bridge.rules.as_ref());
        for sessions in rules.filter_map(|rules| rules.sessions.as_ref()) {
            self.routing.wake_at(sessions.expire(now));
        }
        self.settle(&topology, batch, now);
    }

    /// Ages the FDBs, looking at a bounded number of entries of all of them together, and says when to go on.
    fn age(&mut self, topology: &Topology, now: Time) -> Option<Time> {
        let mut budget = Fdb::SHARE;
        let bridges = topology.bridges.len();
        let first = std::mem::take(&mut self.ages_first);
        let mut due = None;
        for at in (first..bridges).chain(0..first.min(bridges)) {
            let Some(bridge) = &topology.bridges[at] else { continue };
            let had_any = budget > 0;
            due = [due, bridge.fdb.expire(now, &mut budget)].into_iter().flatten().min();
            if had_any && budget == 0 {
                // Those behind it come first the next time.
                self.ages_first = (at + 1) % bridges;
            }
        }
        due
    }

    /// Gives up packets whose parts did not come in time, of all routers.
    fn expire_fragments(&mut self, topology: &Topology, batch: &mut Batch, now: Time) {
        let (mut expired, mut thrown) = (Vec::new(), Vec::new());
        let due = self.routing.reassembly.expire(now, &mut expired, &mut thrown);
        self.routing.wake_at(due);
        stage::route::throw(&mut self.counters, &thrown);
        for expired in expired {
            let id = expired.origin.router;
            if let Some(router) = topology.router(id) {
                self.walk(topology, id, router, batch, now).tell_of_missing_parts(expired);
            }
        }
    }

    /// When [`Switch::handle_timeout`] is due, after frames were processed maybe earlier than before; `None`: never.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.ageing, self.routing.due].into_iter().flatten().min()
    }

    /// What rules have matched, by their place in [`Topology::rules`].
    pub fn rule_counters(&self) -> &[RuleCounters] {
        &self.routing.rules
    }

    /// What is kept of packets until the rest of them has come.
    pub fn fragments(&self) -> reassembly::Fill {
        self.routing.reassembly.fill()
    }

    /// What mirrors have copied, by their places in [`Topology::mirrors`].
    pub fn mirror_counters(&self) -> &[MirrorCounters] {
        self.mirroring.counters()
    }

    /// Forgets what is remembered of flows: their next packets are decided about from the beginning.
    pub fn forget_flows(&mut self) {
        self.routing.flows.clear();
    }

    /// The counters of a port, for what the port counts itself.
    pub fn counters(&mut self, port: PortId) -> &mut Counters {
        self.counters.of(port)
    }

    /// The counters of all ports there are.
    pub fn all_counters(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        self.counters.iter()
    }

    /// Notes what the network says of an address that the tunnels over `underlay` have as a peer.
    pub fn unreachable(&mut self, underlay: PortId, address: IpAddr, errno: i32, now: Time) {
        let Some(Port { way: Way::Underlay(underlay), .. }) = self.topology.port(underlay) else { return };
        for (_, &(port, peer)) in underlay.peers.iter().filter(|((_, known), _)| *known == address) {
            self.counters.peer(Location { port, peer }).trouble = Some(Unreachable { at: now, errno });
        }
    }

    /// The counters of all peers of tunnels that something was heard of or sent to.
    pub fn all_peers(&self) -> impl Iterator<Item = (Location, &PeerCounters)> {
        self.counters.peers()
    }

    /// The options that peers of tunnels last sent, as they stood in the packet: those of GENEVE.
    pub fn all_options(&self) -> impl Iterator<Item = (Location, &[u8])> {
        self.counters.options()
    }

    /// The last packet that each port refused because nobody is expected to send it.
    pub fn all_intruders(&self) -> impl Iterator<Item = (PortId, Intruder)> {
        self.counters.intruders()
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
