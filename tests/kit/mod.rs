//! A yard of bridges and ports around the sans-IO core: frames go in, what leaves is looked at, and after every batch
//! the counters and tables have to add up. A test that fails prints the whole state.

#![allow(dead_code, reason = "each suite uses its part of the kit")]

pub(crate) mod any;
pub(crate) mod foreseen;
pub(crate) mod frames;
pub(crate) mod gateways;
pub(crate) mod messages;
pub(crate) mod mirrors;
pub(crate) mod outside;
pub(crate) mod routers;
pub(crate) mod tunnels;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tapyard::packet::{
    Batch, BridgeId, Capabilities, Counters, DropReason, Gso, InterfaceId, Layer, Location, Offload, PeerId,
    PortId, Received, RouterId, Vid,
};
use tapyard::switch::mirror::{Mirror, MirrorCounters};
use tapyard::switch::mode::{self, Apart, Mode};
use tapyard::switch::router::{Attachment, Chain, Router};
use tapyard::switch::trial::{self, Walked};
use tapyard::switch::watch::{WatchId, Watcher};
use tapyard::switch::{
    Bridge, BridgeRules, Event, Outgoing, PeerCounters, Port, RuleCounters, Storm, Switch, Topology,
    VlanPolicy, Way,
};
use tapyard::table::bindings::Bindings;
use tapyard::table::fdb::{Allowance, Fdb, Generations, Kind, Station};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::time::Time;

use foreseen::Foreseen;
use tunnels::Posted;

/// What every interface of `routers` is on.
fn attachments(routers: &[Option<Router>]) -> impl Iterator<Item = (RouterId, InterfaceId, Attachment)> + '_ {
    let there = routers.iter().enumerate().filter_map(|(slot, router)| Some((slot, router.as_ref()?)));
    there.flat_map(|(slot, router)| {
        router.all_interfaces().map(move |(id, interface)| (RouterId(slot as u16), id, interface.on))
    })
}

/// The interfaces of `routers` on a bridge, by VLAN.
fn interfaces_on(routers: &[Option<Router>], wanted: BridgeId) -> Vec<(Vid, RouterId, InterfaceId)> {
    let on = |(router, interface, on)| match on {
        Attachment::Bridge { bridge, vid, .. } if bridge == wanted => Some((vid, router, interface)),
        _ => None,
    };
    attachments(routers).filter_map(on).collect()
}

/// The number of the station that every bridge is itself.
pub(crate) const BRIDGE: u32 = 0xffff;
/// The ageing time of a [`Yard::new`].
pub(crate) const AGEING: Duration = Duration::from_secs(300);

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) port: u16,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

/// A port of bridge 0 that lets everything pass.
pub(crate) fn port() -> Port {
    Port {
        name: String::new(),
        bridge: Some(BridgeId(0)),
        vlan: VlanPolicy::Unaware,
        apart: Apart::NOT,
        hairpin: false,
        learning: true,
        guard: None,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: 1500,
        capabilities: Capabilities::ALL,
        way: Way::Queue,
        wire: None,
        router: None,
    }
}

/// A port without any offload.
pub(crate) fn plain() -> Port {
    Port { capabilities: Capabilities::NONE, ..port() }
}

pub(crate) fn access(vid: Vid) -> Port {
    Port { vlan: VlanPolicy::Access(vid), ..port() }
}

pub(crate) fn trunk(vids: &[Vid], native: Option<Vid>) -> Port {
    let allowed = Arc::new(vids.iter().copied().chain(native).collect());
    Port { vlan: VlanPolicy::Trunk { allowed, native }, ..port() }
}

/// The same port on another bridge.
pub(crate) fn on(bridge: u16, port: Port) -> Port {
    Port { bridge: Some(BridgeId(bridge)), ..port }
}

/// The same port as the end of a patch whose other end is `peer`.
pub(crate) fn patch(peer: u16, port: Port) -> Port {
    Port { way: Way::Patch(PortId(peer)), ..port }
}

pub(crate) fn bucket(rate: u32) -> Option<Arc<TokenBucket>> {
    Some(Arc::new(TokenBucket::new(rate)))
}

pub(crate) struct Yard {
    pub(crate) now: Time,
    workers: Vec<Switch>,
    tables: Vec<(Arc<Fdb>, Duration)>,
    /// What bridge 0 answers for neighbours from, if it does.
    pub(crate) bindings: Option<Arc<Bindings>>,
    ports: Vec<Option<Port>>,
    generations: Arc<Generations>,
    batch: Batch,
    routers: Box<dyn Fn() -> Vec<Option<Router>>>,
    /// What tells rules from one another over changes, by the place where they count.
    rules: Vec<u64>,
    /// Rules of bridges.
    bridge_rules: Vec<(u16, Arc<BridgeRules>)>,
    mirrors: Vec<Mirror>,
    posted: Vec<Posted>,
    /// Frames that came in. The payload of every other one, if it is long, is in its sender's memory.
    laid: usize,
    /// Frames that a trace was asked about before they came.
    foreseen: usize,
    /// What a trace says is to come true. Not so where it depends on what a worker has said just now.
    pub(crate) foresees: bool,
    /// What underlays say of what they are to send.
    pub(crate) underlay_says: Result<(), DropReason>,
    /// Which ports take what they are to send.
    pub(crate) takes: fn(u16) -> bool,
    log: String,
}

impl Yard {
    /// As many bridges as the ports name, each for 8192 stations, and one worker.
    pub(crate) fn new(ports: impl IntoIterator<Item = Port>) -> Yard {
        Yard::with(1, 8192, AGEING, ports)
    }

    pub(crate) fn with(
        workers: usize,
        limit: u32,
        ageing: Duration,
        ports: impl IntoIterator<Item = Port>,
    ) -> Yard {
        Yard::like(Generations::new(), workers, limit, ageing, ports)
    }

    fn like(
        generations: Arc<Generations>,
        workers: usize,
        limit: u32,
        ageing: Duration,
        ports: impl IntoIterator<Item = Port>,
    ) -> Yard {
        let ports: Vec<_> = ports.into_iter().map(Some).collect();
        let bridges =
            ports.iter().flatten().filter_map(|port| port.bridge).map(|id| id.0 + 1).max().unwrap_or(0);
        let fdb = |b| Arc::new(Fdb::new(BridgeId(b), limit, ageing, Arc::clone(&generations)));
        let mut yard = Yard {
            now: Time::from_secs(1000),
            workers: (0..workers).map(|_| Switch::new(Arc::clone(&generations))).collect(),
            tables: (0..bridges).map(|b| (fdb(b), ageing)).collect(),
            bindings: None,
            ports,
            generations,
            batch: Batch::default(),
            posted: Vec::new(),
            laid: 0,
            foreseen: 0,
            foresees: true,
            underlay_says: Ok(()),
            takes: |_| true,
            log: String::new(),
            routers: Box::new(Vec::new),
            rules: Vec::new(),
            bridge_rules: Vec::new(),
            mirrors: Vec::new(),
        };
        yard.publish();
        yard
    }

    /// Changes the ports, and has every worker take the topology that results.
    pub(crate) fn change(&mut self, edit: impl FnOnce(&mut Vec<Option<Port>>)) {
        edit(&mut self.ports);
        self.publish();
    }

    /// Puts another, empty table into bridge 0's slot, as when the bridge is deleted and made again.
    pub(crate) fn remake_bridge(&mut self) {
        self.tables[0].0 = Arc::new(Fdb::new(BridgeId(0), 8192, AGEING, Arc::clone(&self.generations)));
        self.publish();
    }

    fn publish(&mut self) {
        let routers = (self.routers)();
        let bridge = |(slot, (fdb, ageing)): (usize, &(Arc<Fdb>, Duration))| {
            let id = BridgeId(slot as u16);
            let member =
                |&slot: &u16| self.ports[usize::from(slot)].as_ref().is_some_and(|p| p.bridge == Some(id));
            let modes = || {
                let members = self.ports.iter().flatten().filter(move |port| port.bridge == Some(id));
                members.map(|port| port.apart.mode())
            };
            Some(Bridge {
                name: format!("bridge{slot}"),
                mac: frames::mac(BRIDGE),
                fdb: Arc::clone(fdb),
                refresh: mode::refresh_period(*ageing, modes()),
                passthrough: modes().any(|mode| mode == Mode::Passthrough),
                members: (0..self.ports.len() as u16).filter(member).map(PortId).collect(),
                routers: interfaces_on(&routers, id),
                rules: self.bridge_rules.iter().find(|(b, _)| *b == id.0).map(|(_, rules)| Arc::clone(rules)),
                bindings: self.bindings.clone().filter(|_| slot == 0),
            })
        };
        let bridges = self.tables.iter().enumerate().map(bridge).collect();
        let mut ports = self.ports.clone();
        for (router, interface, on) in attachments(&routers) {
            if let Attachment::Port(PortId(slot)) = on
                && let Some(Some(port)) = ports.get_mut(usize::from(slot))
            {
                port.router = Some((router, interface));
            }
        }
        let rules = self.rules.clone();
        let mirrors = self.mirrors.clone();
        let topology = Arc::new(Topology { epoch: 0, bridges, ports, routers, rules, mirrors });
        for worker in &mut self.workers {
            worker.set_topology(Arc::clone(&topology));
        }
        self.check();
    }

    /// Gives it the routers that `make` makes, now and after every change; their rules count in `rules` places.
    pub(crate) fn route_by(&mut self, rules: u64, make: impl Fn() -> Vec<Option<Router>> + 'static) {
        self.route_as((0..rules).collect(), make);
    }

    /// The same with rules that are known by these numbers over changes.
    pub(crate) fn route_as(&mut self, rules: Vec<u64>, make: impl Fn() -> Vec<Option<Router>> + 'static) {
        (self.routers, self.rules) = (Box::new(make), rules);
        self.publish();
    }

    /// Gives a bridge rules.
    pub(crate) fn filter_bridge(&mut self, bridge: u16, chain: Chain) {
        self.bridge_rules.push((bridge, Arc::new(BridgeRules { chain, sessions: None })));
        self.publish();
    }

    /// Gives it these mirrors.
    pub(crate) fn mirror(&mut self, mirrors: impl IntoIterator<Item = Mirror>) {
        self.mirrors = mirrors.into_iter().collect();
        self.publish();
    }

    /// What mirrors have copied, over all workers.
    pub(crate) fn mirrored(&self) -> Vec<MirrorCounters> {
        let mut sums = vec![MirrorCounters::default(); self.mirrors.len()];
        for counters in self.workers.iter().map(Switch::mirror_counters) {
            sums.iter_mut().zip(counters).for_each(|(sum, counters)| *sum += *counters);
        }
        sums
    }

    /// What rules have counted, over all workers.
    pub(crate) fn rules(&self) -> Vec<RuleCounters> {
        let mut sum = vec![RuleCounters::default(); self.rules.len()];
        for counters in self.workers.iter().map(Switch::rule_counters) {
            for (sum, counters) in sum.iter_mut().zip(counters) {
                sum.frames += counters.frames;
                sum.bytes += counters.bytes;
            }
        }
        sum
    }

    /// Has all workers forget what they remember of flows.
    pub(crate) fn forget_flows(&mut self) {
        self.workers.iter_mut().for_each(Switch::forget_flows);
    }

    /// Another yard like this was at its start, which chooses where there is a choice as this one does.
    pub(crate) fn twin(&self) -> Yard {
        let ports: Vec<_> = self.ports.iter().flatten().cloned().collect();
        Yard::like(Arc::clone(&self.generations), self.workers.len(), 8192, AGEING, ports)
    }

    /// Has bridge 0 answer for neighbours, whose addresses it keeps in a table of this size.
    pub(crate) fn suppress_neighbors(&mut self, limit: usize) {
        self.bindings = Some(Arc::new(Bindings::new(limit)));
        self.publish();
    }

    /// Lets one frame in by `port` and gives what leaves, by port.
    pub(crate) fn send(&mut self, port: u16, frame: &[u8]) -> Vec<Sent> {
        self.send_all(0, port, &[(frame.to_vec(), Offload::NONE)])
    }

    pub(crate) fn send_with(&mut self, port: u16, frame: &[u8], offload: Offload) -> Vec<Sent> {
        self.send_all(0, port, &[(frame.to_vec(), offload)])
    }

    /// Lets frames in as one batch by `port`, at one of the workers.
    pub(crate) fn send_all(&mut self, worker: usize, port: u16, frames: &[(Vec<u8>, Offload)]) -> Vec<Sent> {
        let _ = writeln!(self.log, "{:?} worker {worker} port {port}: {} frames", self.now, frames.len());
        let replied = self.counters(port).replied;
        self.batch.clear();
        for ((bytes, offload), frame) in frames.iter().zip(self.batch.spare()) {
            self.laid += 1;
            match self.laid % 2 {
                0 => frame.fill(bytes, *offload),
                _ => outside::lay(frame, bytes, *offload),
            }
        }
        self.batch.commit(frames.len());
        let foreseen = self.foresee(worker, port, frames, Layer::Ethernet);
        let left = self.pass(worker, |switch, batch, now, send| switch.carry(PortId(port), batch, now, send));
        self.compare(worker, foreseen, &left);
        // Bridges that patches join in a loop do send a frame back, until it is dropped.
        let patched = self.ports.iter().flatten().any(|port| matches!(port.way, Way::Patch(_)));
        // And who sends what does not fit is answered.
        let answered = self.counters(port).replied > replied;
        // A router may send it on to where it came from.
        let routed = self.workers[worker].topology().routers.iter().any(Option::is_some);
        let turned = self
            .ports
            .get(usize::from(port))
            .is_some_and(|port| port.as_ref().is_some_and(|port| port.hairpin));
        for sent in left.iter().filter(|_| !patched && !answered && !routed && !turned) {
            assert_ne!(sent.port, port, "nothing leaves where it came in");
        }
        self.check();
        left
    }

    /// Lets an IP packet in by a port that carries such.
    pub(crate) fn send_ip(&mut self, port: u16, packet: &[u8]) -> Vec<Sent> {
        self.send_ips(port, &[(packet.to_vec(), Offload::NONE)])
    }

    /// Lets IP packets in as one batch by a port that carries such.
    pub(crate) fn send_ips(&mut self, port: u16, packets: &[(Vec<u8>, Offload)]) -> Vec<Sent> {
        self.batch.clear();
        for ((bytes, offload), frame) in packets.iter().zip(self.batch.spare()) {
            frame.fill(bytes, *offload);
            frame.layer = Layer::Ip;
        }
        self.batch.commit(packets.len());
        let foreseen = self.foresee(0, port, packets, Layer::Ip);
        let left = self.pass(0, |switch, batch, now, send| switch.carry(PortId(port), batch, now, send));
        self.compare(0, foreseen, &left);
        self.check();
        left
    }

    /// What a trace says of a frame that would come in by `port`, from the first peer where that is a tunnel.
    pub(crate) fn trace(&self, port: u16, bytes: &[u8], offload: Offload) -> Walked {
        let at = Location { port: PortId(port), peer: PeerId(0) };
        let frame = foreseen::frame(bytes, offload, Layer::Ethernet);
        trial::walk(self.workers[0].topology(), &self.generations, at, &frame, self.now)
    }

    /// What a trace says of a frame that comes alone, and how many datagrams have left before.
    fn foresee(
        &mut self,
        worker: usize,
        port: u16,
        frames: &[(Vec<u8>, Offload)],
        layer: Layer,
    ) -> Option<(Foreseen, usize)> {
        let [(bytes, offload)] = frames else { return None };
        let at = Location::from(PortId(port));
        let frame = foreseen::frame(bytes, *offload, layer);
        let (switch, count) = (&self.workers[worker], &mut self.foreseen);
        let foreseen = foreseen::foresee(switch, &self.generations, count, at, &frame, self.now)?;
        Some((foreseen, self.posted.len()))
    }

    /// Compares what was foreseen with what has left.
    fn compare(&self, worker: usize, foreseen: Option<(Foreseen, usize)>, left: &[Sent]) {
        let all_taken =
            self.foresees && (0..self.ports.len() as u16).all(&self.takes) && self.underlay_says.is_ok();
        if let Some((foreseen, posted)) = foreseen.filter(|_| all_taken) {
            foreseen.compare(&self.workers[worker], left, &self.posted[posted..]);
        }
    }

    /// Lets datagrams in by an underlay, several of them in a row for each [`Received`].
    pub(crate) fn receive(&mut self, underlay: u16, datagrams: &[(Received, Vec<u8>)]) -> Vec<Sent> {
        let _ = writeln!(self.log, "{:?} underlay {underlay}: {} buffers", self.now, datagrams.len());
        self.batch.clear();
        for ((_, bytes), frame) in datagrams.iter().zip(self.batch.spare()) {
            frame.fill(bytes, Offload::NONE);
        }
        self.batch.commit(datagrams.len());
        let received: Vec<_> = datagrams.iter().map(|(received, _)| *received).collect();
        let left = self.pass(0, |switch, batch, now, send| {
            switch.carry_received(PortId(underlay), batch, &received, now, send);
        });
        self.check();
        left
    }

    /// Lets one datagram in from `host(from)`.
    pub(crate) fn hear(&mut self, underlay: u16, from: u16, datagram: Vec<u8>) -> Vec<Sent> {
        self.receive(underlay, &[(tunnels::from(from, datagram.len().max(1)), datagram)])
    }

    /// Has an echo of `size` bytes leave by a tunnel port.
    pub(crate) fn probe(&mut self, at: Location, token: u64, size: usize) -> bool {
        self.batch.clear();
        let known = self.workers[0].probe(at, token, size, &mut self.batch, self.now);
        assert_eq!(self.transmit(0), []);
        self.check();
        known
    }

    /// Has somebody watch what a worker does.
    pub(crate) fn watch(&mut self, worker: usize, id: WatchId, watcher: Box<dyn Watcher>) {
        self.workers[worker].watch(id, watcher);
    }

    /// Has another watcher go on in the place of one, or nobody.
    pub(crate) fn rewatch(&mut self, worker: usize, id: WatchId, watcher: Option<Box<dyn Watcher>>) {
        self.workers[worker].rewatch(id, watcher);
    }

    fn transmit(&mut self, worker: usize) -> Vec<Sent> {
        self.pass(worker, |switch, batch, _, send| switch.transmit(batch, send))
    }

    /// Has a worker do something with the batch, and gives what leaves.
    fn pass(
        &mut self,
        worker: usize,
        what: impl FnOnce(&mut Switch, &mut Batch, Time, &mut dyn FnMut(PortId, &mut Batch, Outgoing<'_>)),
    ) -> Vec<Sent> {
        let (mut left, posted) = (Vec::new(), &mut self.posted);
        let (underlay_says, takes) = (self.underlay_says, &self.takes);
        let mut send = |PortId(port): PortId, batch: &mut Batch, outgoing: Outgoing<'_>| match outgoing {
            Outgoing::Frames(frames, counters) if !takes(port) => {
                frames.iter().for_each(|_| counters.drop(DropReason::QueueFull));
            }
            Outgoing::Frames(frames, counters) => {
                for &index in frames {
                    let frame = &batch.frames()[index as usize];
                    counters.sent(frame.len());
                    left.push(Sent { port, bytes: outside::all_of(frame), offload: frame.offload });
                }
            }
            Outgoing::Datagrams(datagrams) => {
                for datagram in datagrams {
                    let frame = &batch.frames()[datagram.frame as usize];
                    let Offload { needs_csum, gso, .. } = frame.offload;
                    assert_eq!((needs_csum, gso), (false, Gso::None), "nothing is left undone in a datagram");
                    datagram.outcome = underlay_says;
                    posted.push(Posted {
                        tunnel: datagram.tunnel.0,
                        peer: datagram.peer.0,
                        to: datagram.to,
                        bytes: frame.bytes().to_vec(),
                        flow: datagram.flow,
                        tos: datagram.tos,
                        ttl: datagram.ttl,
                        dont_fragment: datagram.dont_fragment,
                    });
                }
            }
        };
        what(&mut self.workers[worker], &mut self.batch, self.now, &mut send);
        left.sort_by_key(|sent| sent.port);
        left
    }

    /// The datagrams that have left since the last call.
    pub(crate) fn posted(&mut self) -> Vec<Posted> {
        std::mem::take(&mut self.posted)
    }

    /// The counters of a peer of a tunnel port.
    pub(crate) fn peer(&self, port: u16, peer: u16) -> PeerCounters {
        let at = Location { port: PortId(port), peer: PeerId(peer) };
        self.workers[0]
            .all_peers()
            .find(|(id, _)| *id == at)
            .map(|(_, counters)| *counters)
            .unwrap_or_default()
    }

    /// The same, and only by which ports something left.
    pub(crate) fn goes(&mut self, port: u16, frame: &[u8]) -> Vec<u16> {
        self.goes_by(0, port, frame)
    }

    pub(crate) fn goes_by(&mut self, worker: usize, port: u16, frame: &[u8]) -> Vec<u16> {
        let sent = self.send_all(worker, port, &[(frame.to_vec(), Offload::NONE)]);
        sent.into_iter().map(|sent| sent.port).collect()
    }

    /// Lets time pass, with all timers on time, and gives what leaves meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now + time;
        let mut sent = self.tick();
        for _ in 0..100_000 {
            let Some(due) = self.workers[0].poll_timeout().filter(|&due| due <= end) else { break };
            assert!(due > self.now, "timers make progress");
            self.now = due;
            sent.extend(self.tick());
        }
        self.now = end;
        sent.extend(self.tick());
        sent
    }

    fn tick(&mut self) -> Vec<Sent> {
        self.batch.clear();
        self.workers[0].handle_timeout(&mut self.batch, self.now);
        let sent = self.transmit(0);
        self.check();
        sent
    }

    pub(crate) fn ports(&self) -> &[Option<Port>] {
        &self.ports
    }

    pub(crate) fn bridges(&self) -> usize {
        self.tables.len()
    }

    pub(crate) fn fdb(&self, bridge: usize) -> &Fdb {
        &self.tables[bridge].0
    }

    /// The port that bridge 0 knows a station behind.
    pub(crate) fn knows(&self, station: Station) -> Option<u16> {
        self.fdb(0).lookup(station).map(|entry| entry.port.0)
    }

    /// What a port has dropped so far, over all workers.
    pub(crate) fn drops(&self, port: u16) -> Vec<(DropReason, u64)> {
        self.counters(port).drops().collect()
    }

    /// The counters of a port over all workers.
    pub(crate) fn counters(&self, port: u16) -> Counters {
        let mut sum = Counters::default();
        for (_, counters) in
            self.workers.iter().flat_map(|worker| worker.all_counters().filter(|(id, _)| id.0 == port))
        {
            sum += counters;
        }
        sum
    }

    pub(crate) fn retired(&self) -> &Counters {
        self.workers[0].retired()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.workers.iter_mut().flat_map(|worker| worker.take_events().collect::<Vec<_>>()).collect()
    }

    /// The drop that `port` counts for a frame that comes in there and goes nowhere.
    #[track_caller]
    pub(crate) fn refused(&mut self, port: u16, frame: &[u8], offload: Offload) -> DropReason {
        let before = self.counters(port);
        assert_eq!(self.send_with(port, frame, offload), []);
        let after = self.counters(port);
        let new = |&&reason: &&DropReason| after.dropped(reason) > before.dropped(reason);
        let reasons: Vec<_> = DropReason::ALL.iter().filter(new).collect();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        *reasons[0]
    }

    fn check(&self) {
        for worker in &self.workers {
            let mut sum = worker.retired().clone();
            worker.all_counters().for_each(|(_, counters)| sum += counters);
            assert!(sum.conserved(), "{sum:?}");
        }
        for (fdb, _) in &self.tables {
            let entries = fdb.entries();
            let learned: Vec<_> = entries.iter().filter(|(_, e)| e.kind == Kind::Learned).collect();
            assert_eq!(learned.len(), fdb.stats().learned);
            for id in (0..self.ports.len() as u16).map(PortId) {
                assert_eq!(
                    learned.iter().filter(|(_, e)| e.port == id).count(),
                    fdb.held(id),
                    "port {}",
                    id.0
                );
            }
        }
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("{}now {:?}", self.log, self.now);
        for (slot, (fdb, _)) in self.tables.iter().enumerate() {
            eprintln!("bridge {slot}: {:?}", fdb.stats());
            for (station, entry) in fdb.entries() {
                eprintln!("  {} vlan {}: {entry:?}", station.mac(), station.vid());
            }
        }
        for (number, worker) in self.workers.iter().enumerate() {
            for (id, counters) in worker.all_counters() {
                eprintln!("worker {number} port {}: {counters:?}", id.0);
            }
            eprintln!("worker {number} retired: {:?}", worker.retired());
        }
    }
}
