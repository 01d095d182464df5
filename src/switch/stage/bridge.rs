//! The bridge: learns where the source is, looks up where the destination is, and queues the frame for the ports that
//! may have it.
//!
//! Frames are decided about one after the other, in the order they came in: sorting them into classes first would let a
//! unicast frame overtake one of its own flow that was flooded because its destination was not known yet.

use std::sync::LazyLock;
use std::time::Duration;

use crate::packet::{BridgeId, Capabilities, Counters, DropReason, Frame, Location, Packet, PortId};
use crate::switch::mode::{Apart, Mode, Parting};
use crate::switch::outbox::{Crossing, Departure, Outbox, Oversize, Recipients, Refused};
use crate::switch::stage::filter::{BridgeRules, Passing};
use crate::switch::stage::ingress::Arrival;
use crate::switch::stage::route::{Arrived, Routing};
use crate::switch::walked::{self, Hop, Stage};
use crate::switch::{Bridge, Event, MAX_EVENTS, Overlay, Port, Storm, Topology, VlanPolicy, Way};
use crate::table::fdb::{Allowance, Kind, Learned, Station};
use crate::table::fdb_cache::{FdbCache, Hit};
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;
use crate::wire::ethernet::Mac;

/// How soon after connections were opened they are looked through for old ones.
const SWEEP: Duration = Duration::from_secs(1);

/// The port that frames of a router come from, which is none of the topology's: nothing is kept from any other port.
pub(in crate::switch) const ROUTER: PortId = PortId(u16::MAX);

/// What [`ROUTER`] is to a bridge: it talks to all.
pub(in crate::switch) fn router_port() -> &'static Port {
    static PORT: LazyLock<Port> = LazyLock::new(|| Port {
        name: String::new(),
        bridge: None,
        vlan: VlanPolicy::Unaware,
        apart: Apart::new(Mode::Uplink, false, false),
        hairpin: false,
        learning: false,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: u32::MAX,
        capabilities: Capabilities::ALL,
        way: Way::Queue,
        wire: None,
        router: None,
        guard: None,
    });
    &PORT
}

/// Frames of one port in one bridge, on their way.
pub(in crate::switch) struct Forwarding<'a> {
    pub(in crate::switch) topology: &'a Topology,
    pub(in crate::switch) bridge_id: BridgeId,
    pub(in crate::switch) bridge: &'a Bridge,
    pub(in crate::switch) port_id: PortId,
    pub(in crate::switch) port: &'a Port,
    /// The port whose doing it is: `port_id`, but for frames of a router.
    pub(in crate::switch) on_behalf_of: PortId,
    /// The sources of these frames may be learned.
    pub(in crate::switch) learning: bool,
    pub(in crate::switch) frames: &'a [Frame],
    pub(in crate::switch) now: Time,
    pub(in crate::switch) cache: &'a mut FdbCache,
    pub(in crate::switch) counters: &'a mut Counters,
    pub(in crate::switch) outbox: &'a mut Outbox,
    pub(in crate::switch) events: &'a mut Vec<Event>,
    /// The bridge's rules are asked about these frames.
    pub(in crate::switch) judging: bool,
    /// Takes what is for a router, and has what rules need.
    pub(in crate::switch) routing: &'a mut Routing,
}

impl<'a> Forwarding<'a> {
    pub(in crate::switch) fn forward(&mut self, arrivals: &[Arrival]) {
        let period = self.period();
        if self.bridge.passthrough {
            return self.pass_through(arrivals);
        }
        if self.port.apart.mode() == Mode::Uplink {
            return self.forward_from_uplink(arrivals, period);
        }
        for arrival in arrivals {
            if let Err(reason) = self.decide(arrival, period) {
                self.lose(arrival, reason);
            }
        }
    }

    /// Counts a frame that goes nowhere.
    #[inline]
    pub(super) fn lose(&mut self, arrival: &Arrival, reason: DropReason) {
        self.counters.drop(reason);
        self.outbox.watching.lost(self.on_behalf_of, &self.frames[arrival.frame as usize], reason);
    }

    /// Notes what `stage` says, if somebody wants to know.
    #[inline]
    pub(in crate::switch) fn say(&mut self, stage: Stage, text: impl FnOnce(&Topology) -> String) {
        let topology = self.topology;
        self.outbox.watching.recorder.note(Hop::Bridge(self.bridge_id), stage, || text(topology));
    }

    /// Which refresh period it is; wraps, which a cached entry would have to outlive untouched to be fooled.
    fn period(&self) -> u32 {
        (self.now.nanos() / self.bridge.refresh.as_nanos() as u64) as u32
    }

    #[inline(always)]
    pub(super) fn decide(&mut self, arrival: &Arrival, period: u32) -> Result<(), DropReason> {
        if arrival.source == self.bridge.mac {
            return Err(DropReason::OwnSource);
        }
        if self.learning {
            self.learn(arrival, period);
        }
        if arrival.destination == self.bridge.mac {
            return if self.hand_to_router(arrival, false) { Ok(()) } else { Err(DropReason::Local) };
        }
        if let Some(bindings) = &self.bridge.bindings
            && self.suppress(bindings, arrival)
        {
            return Ok(());
        }
        self.dispatch(arrival, period)
    }

    /// Queues a frame of a router for its destination; if it is dropped, the port whose doing it is counts it.
    #[inline(never)] // so that what bridges do most is still put together as one
    pub(in crate::switch) fn send(&mut self, arrival: &Arrival) {
        // Nothing is learned from these frames, so it does not matter which refresh period it is, and that costs a
        // division to tell.
        let period = 0;
        let sent = match arrival.destination == self.bridge.mac {
            true => Err(DropReason::Local),
            false => self.dispatch(arrival, period),
        };
        if let Err(reason) = sent {
            self.lose(arrival, reason);
        }
    }

    /// Gives a frame to the router that has an interface on its VLAN; false when none has.
    fn hand_to_router(&mut self, arrival: &Arrival, shared: bool) -> bool {
        let mut there = self.bridge.routers.iter().filter(|(vid, ..)| *vid == arrival.vid);
        let Some(&(_, router, interface)) = there.next() else { return false };
        self.say(Stage::Route, |topology| {
            let what = if shared { "is seen by" } else { "goes to" };
            let (name, at) = (topology.router_name(router), topology.interface_name(router, interface));
            format!("{what} router {name}, by its interface {at}")
        });
        let Arrival { frame, at, priority, .. } = *arrival;
        self.routing.inbox.push(Arrived {
            frame,
            port: at.port,
            router,
            interface,
            priority,
            whole: None,
            shared,
        });
        true
    }

    #[inline(always)]
    fn dispatch(&mut self, arrival: &Arrival, period: u32) -> Result<(), DropReason> {
        if arrival.destination.is_group() {
            return self.multicast(arrival);
        }
        match self.lookup(arrival, period) {
            Some(at) => self.unicast(arrival, at),
            None => {
                self.unknown_storm()?;
                self.counters.unknown += 1;
                self.spread_to_all(arrival)
            }
        }
    }

    #[inline(always)]
    fn learn(&mut self, arrival: &Arrival, period: u32) {
        match self.cache.get(&arrival.from) {
            Some(hit) if hit.at == arrival.at && hit.fresh == period => {}
            // A static station may send from elsewhere; it is still reached where it was configured.
            Some(Hit { learned: false, .. }) => {}
            _ => self.learn_shared(arrival, period),
        }
    }

    #[cold]
    fn learn_shared(&mut self, arrival: &Arrival, period: u32) {
        let generation = self.cache.generation(&arrival.from);
        let station = Station::new(arrival.source, arrival.vid);
        let learned = self.bridge.fdb.learn(station, arrival.at, self.port.allowance, self.now);
        self.say(Stage::Learn, |topology| {
            let (mac, here) = (arrival.source, topology.place_name(arrival.at.port, arrival.at.peer));
            match learned {
                Learned::Known => format!("{mac} is known here: its age is refreshed"),
                Learned::New => format!("{mac} is new: learned at {here}"),
                Learned::Moved { from } => {
                    format!("{mac} has moved from {} to {here}", topology.port_name(from))
                }
                Learned::Flapping { from } => {
                    format!("{mac} moves to and fro: from {} to {here} again", topology.port_name(from))
                }
                Learned::Pinned(at) => {
                    format!("{mac} has a static entry at {}", topology.place_name(at.port, at.peer))
                }
                Learned::NoRoom => format!("{mac} is not learned: there is no room for it"),
            }
        });
        let hit = match learned {
            Learned::Pinned(at) => Hit { at, learned: false, fresh: period },
            Learned::NoRoom => return,
            _ => Hit { at: arrival.at, learned: true, fresh: period },
        };
        // What is looked up next is to be told, too.
        if !self.outbox.watching.recorder.is_on() {
            self.cache.fill(&arrival.from, hit, generation);
        }
        if let Learned::Flapping { from } = learned
            && self.events.len() < MAX_EVENTS
        {
            let (bridge, mac, to) = (self.bridge_id, arrival.source, self.port_id);
            self.events.push(Event::Flap { bridge, mac, from, to });
        }
    }

    #[inline(always)]
    pub(super) fn lookup(&mut self, arrival: &Arrival, period: u32) -> Option<Location> {
        if let Some(hit) = self.cache.get(&arrival.to) {
            return Some(hit.at);
        }
        self.lookup_shared(arrival, period)
    }

    #[cold]
    fn lookup_shared(&mut self, arrival: &Arrival, period: u32) -> Option<Location> {
        let generation = self.cache.generation(&arrival.to);
        let entry = self.bridge.fdb.lookup(Station::new(arrival.destination, arrival.vid));
        let now = self.now;
        self.say(Stage::Fdb, |topology| {
            let mac = arrival.destination;
            let Some(entry) = entry else { return format!("nobody knows where {mac} is: to be flooded") };
            let place = topology.place_name(entry.port, entry.peer);
            match entry.kind {
                Kind::Static => format!("{mac} is at {place} (static)"),
                Kind::Learned => {
                    format!("{mac} is at {place} (learned, {} s old)", now.since(entry.seen).as_secs())
                }
            }
        });
        let entry = entry?;
        // The age is refreshed by frames *from* the station only, so what is cached here must not look fresh.
        let stale = period.wrapping_sub(1);
        let hit = Hit { at: entry.at(), learned: entry.kind == Kind::Learned, fresh: stale };
        self.cache.fill(&arrival.to, hit, generation);
        Some(entry.at())
    }

    #[inline(always)]
    fn unicast(&mut self, arrival: &Arrival, at: Location) -> Result<(), DropReason> {
        // Another peer of the same tunnel is another place.
        if at == arrival.at {
            return self.turn_round(arrival);
        }
        let Some(port) = self.member(at.port) else { return Err(DropReason::PortMissing) };
        if self.port.apart.keeps_from(port.apart) {
            return self.part(arrival, port);
        }
        self.deliver(arrival, at, port, arrival.at, self.port)
    }

    /// The port of this bridge in a slot. The table may know a port longer than its bridge has it: what is meant for one
    /// bridge never leaves by another.
    #[inline(always)]
    pub(super) fn member(&self, id: PortId) -> Option<&'a Port> {
        self.topology.port(id).filter(|port| port.bridge == Some(self.bridge_id))
    }

    /// Queues the frame for one port, `port`. Its sender is at `home`, which belongs to the port `sender`.
    #[inline(always)]
    pub(super) fn deliver(
        &mut self,
        arrival: &Arrival,
        at: Location,
        port: &Port,
        home: Location,
        sender: &Port,
    ) -> Result<(), DropReason> {
        if !port.vlan.admits(arrival.vid) {
            return Err(DropReason::VlanEgress);
        }
        if let Err(reason) = self.judge(arrival, at.port) {
            if reason == DropReason::Rejected {
                let form = sender.vlan.form(arrival.vid, arrival.priority);
                self.outbox.refused.push(Refused { frame: arrival.frame, to: home, form });
            }
            return Err(reason);
        }
        self.depart(arrival, at.port, port, Recipients::Peer(at.peer), false);
        Ok(())
    }

    /// A frame whose destination is where it came from: only a port with `hairpin` takes it back.
    #[cold]
    fn turn_round(&mut self, arrival: &Arrival) -> Result<(), DropReason> {
        if !self.port.hairpin {
            return Err(DropReason::SamePort);
        }
        self.deliver(arrival, arrival.at, self.port, arrival.at, self.port)
    }

    /// A frame whose destination is behind `port`, to which nothing passes directly.
    #[cold]
    fn part(&mut self, arrival: &Arrival, port: &Port) -> Result<(), DropReason> {
        match self.port.apart.parting(port.apart) {
            Parting::Dropped(reason) => Err(reason),
            Parting::ByUplinks => {
                self.say(Stage::Reflect, |_| {
                    format!("from {} to {} it goes by the uplinks", self.port.apart.mode().name(), port.name)
                });
                self.spread(arrival, DropReason::NoMember, |_, port| port.apart.mode() == Mode::Uplink)
            }
        }
    }

    /// What the bridge's rules say of a frame that would leave by `to`. They are about what passes between its ports, and
    /// not about what a router sends.
    #[inline(always)]
    fn judge(&mut self, arrival: &Arrival, to: PortId) -> Result<(), DropReason> {
        match &self.bridge.rules {
            Some(rules) if self.judging => self.judge_by(rules, arrival, to),
            _ => Ok(()),
        }
    }

    #[cold]
    fn judge_by(&mut self, rules: &BridgeRules, arrival: &Arrival, to: PortId) -> Result<(), DropReason> {
        let frame = &self.frames[arrival.frame as usize];
        let Routing { filtering, rules: counters, .. } = &mut *self.routing;
        let passing = Passing { vid: arrival.vid, input: self.port_id, output: to };
        let verdict = filtering.judge(rules, counters, frame, passing, self.now);
        let matched = filtering.matched();
        let recorder = &mut self.outbox.watching.recorder;
        recorder.note(Hop::Bridge(self.bridge_id), Stage::Rule, || {
            let verdict = match verdict {
                Ok(()) => "it passes",
                Err(reason) => reason.meaning(),
            };
            format!("to {}: {}; {verdict}", self.topology.port_name(to), walked::rules(matched))
        });
        if rules.sessions.is_some() {
            // What it opened has to be swept one day; when exactly, the sweep says.
            self.routing.wake_at(Some(self.now + SWEEP));
        }
        for &rule in self.routing.filtering.to_log() {
            if self.events.len() < MAX_EVENTS
                && let Ok(packet) = Packet::of(frame)
            {
                self.events.push(Event::Logged { rule, port: self.port_id, tuple: packet.tuple });
            }
        }
        verdict
    }

    fn multicast(&mut self, arrival: &Arrival) -> Result<(), DropReason> {
        if arrival.destination.is_link_local() {
            return Err(DropReason::ReservedGroup);
        }
        let flooded = match self.group_storm(arrival) {
            Ok(()) => {
                self.counters.groups += 1;
                self.spread_to_all(arrival)
            }
            Err(reason) => Err(reason),
        };
        if self.bridge.routers.is_empty() || self.port_id == ROUTER {
            return flooded;
        }
        self.share_with_router(arrival, flooded)
    }

    /// Lets a router see what is for all: it has to know who asks for its address, and who answers.
    fn share_with_router(
        &mut self,
        arrival: &Arrival,
        flooded: Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        match flooded {
            // Nobody else is there, so it is the router's alone.
            Err(DropReason::NoMember) if self.hand_to_router(arrival, false) => Ok(()),
            Err(DropReason::StormBroadcast | DropReason::StormMulticast) => flooded,
            // The bridge's rules may have dropped it, but are about what passes between ports.
            _ => {
                self.hand_to_router(arrival, true);
                flooded
            }
        }
    }

    /// Whether storm control lets a frame to a group pass.
    #[inline]
    pub(super) fn group_storm(&self, arrival: &Arrival) -> Result<(), DropReason> {
        let Storm { broadcast, multicast, .. } = &self.port.storm;
        match arrival.destination == Mac::BROADCAST {
            true => self.take(broadcast.as_deref(), DropReason::StormBroadcast),
            false => self.take(multicast.as_deref(), DropReason::StormMulticast),
        }
    }

    /// Whether storm control lets a frame pass whose destination is not known.
    #[inline]
    pub(super) fn unknown_storm(&self) -> Result<(), DropReason> {
        self.take(self.port.storm.unknown.as_deref(), DropReason::StormUnknown)
    }

    #[inline]
    fn take(&self, storm: Option<&TokenBucket>, too_many: DropReason) -> Result<(), DropReason> {
        if storm.is_some_and(|bucket| !bucket.take(self.now)) { Err(too_many) } else { Ok(()) }
    }

    /// Floods the frame: queues it for every port that is not kept apart from its own.
    #[inline(never)] // it is called from many places, of which none should grow by it
    pub(super) fn spread_to_all(&mut self, arrival: &Arrival) -> Result<(), DropReason> {
        let (own_id, own) = (self.port_id, self.port);
        self.spread(arrival, DropReason::NoMember, |to, port| {
            !own.apart.keeps_from(port.apart) || to == own_id && port.hairpin
        })
    }

    /// Queues the frame for every port that may have it, by `may` too; the payload is shared by all. `none` is said when
    /// there is no such port.
    pub(super) fn spread(
        &mut self,
        arrival: &Arrival,
        none: DropReason,
        may: impl Fn(PortId, &Port) -> bool,
    ) -> Result<(), DropReason> {
        if self.outbox.watching.recorder.is_on() {
            self.note_spread(arrival, &may);
        }
        let (mut copies, mut why_none) = (0, none);
        let bridge = self.bridge;
        for &to in &bridge.members {
            let Some(port) = self.topology.port(to) else { continue };
            if may(to, port)
                && port.vlan.admits(arrival.vid)
                && let Some(recipients) = self.recipients(arrival, to, port)
            {
                match self.judge(arrival, to) {
                    Ok(()) => {
                        self.depart(arrival, to, port, recipients, true);
                        copies += 1;
                    }
                    Err(reason) => why_none = reason,
                }
            }
        }
        if copies == 0 {
            return Err(why_none);
        }
        self.counters.copies += copies - 1;
        Ok(())
    }

    /// Notes who may have a frame that is flooded, and why the others may not.
    #[cold]
    fn note_spread(&mut self, arrival: &Arrival, may: &impl Fn(PortId, &Port) -> bool) {
        let (mut to, mut without) = (Vec::new(), Vec::new());
        for &id in &self.bridge.members {
            let Some(port) = self.topology.port(id) else { continue };
            let why = if id == self.port_id && self.recipients(arrival, id, port).is_none() {
                "came from there".to_owned()
            } else if !may(id, port) {
                match self.port.apart.alike(port.apart) {
                    Some(reason) => reason.name().to_owned(),
                    None => format!("mode {}", port.apart.mode().name()),
                }
            } else if !port.vlan.admits(arrival.vid) {
                format!("not in VLAN {}", arrival.vid)
            } else if self.recipients(arrival, id, port).is_none() {
                "has no other peers".to_owned()
            } else {
                to.push(port.name.as_str());
                continue;
            };
            without.push(format!("{} ({why})", port.name));
        }
        let whom = if to.is_empty() { "nobody".to_owned() } else { to.join(", ") };
        let others =
            if without.is_empty() { String::new() } else { format!("; not to {}", without.join(", ")) };
        self.say(Stage::Flood, |_| format!("{} may go to {whom}{others}", arrival.destination));
    }

    /// Who behind a port gets what is flooded; `None`: nobody. Where it came from it does not go, which is the port or,
    /// behind a tunnel, the peer.
    #[inline]
    fn recipients(&self, arrival: &Arrival, to: PortId, port: &Port) -> Option<Recipients> {
        match &port.way {
            Way::Tunnel(overlay) if to == self.port_id => {
                let others = overlay.flood.iter().any(|&peer| peer != arrival.at.peer);
                others.then_some(Recipients::AllBut(arrival.at.peer))
            }
            Way::Tunnel(overlay) => (!overlay.flood.is_empty()).then_some(Recipients::All),
            _ => (to != self.port_id || port.hairpin).then_some(Recipients::All),
        }
    }

    #[inline(always)]
    fn depart(&mut self, arrival: &Arrival, out: PortId, port: &Port, to: Recipients, shared: bool) {
        let form = port.vlan.form(arrival.vid, arrival.priority);
        // One for each way: a single one would be put together in memory, and read from there before it has got there.
        let departure = || Departure { frame: arrival.frame, form, out, to, shared, echo: false };
        match &port.way {
            Way::Queue | Way::Underlay(_) => self.outbox.push(out, departure()),
            Way::Patch(peer) => self.outbox.patched.push(Crossing { peer: *peer, departure: departure() }),
            Way::Tunnel(overlay) => self.enter(overlay, port, departure()),
        }
    }

    /// Sends a frame into a tunnel. One that does not fit is told to its sender: no tunnel fragments, and without that
    /// all long packets of a connection would vanish.
    #[inline]
    fn enter(&mut self, overlay: &Overlay, port: &Port, departure: Departure) {
        let mtu = overlay.mtu_to(departure.to).unwrap_or(port.mtu);
        let frame = &self.frames[departure.frame as usize];
        if overlay.takes(frame, mtu) {
            self.outbox.push(overlay.underlay, departure);
        } else {
            let len = frame.len();
            self.outbox.watching.recorder.note(Hop::Out(departure.out), Stage::Tunnel, || {
                format!("{len} bytes are too long: packets of {mtu} bytes get there")
            });
            self.outbox.oversize.push(Oversize { departure, mtu, from: self.on_behalf_of });
        }
    }
}
