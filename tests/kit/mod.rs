//! A yard of bridges and ports around the sans-IO core: frames go in, what leaves is looked at, and after every batch
//! the counters and tables have to add up. A test that fails prints the whole state.

#![allow(dead_code, reason = "each suite uses its part of the kit")]

pub(crate) mod frames;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tapyard::packet::{Batch, BridgeId, Capabilities, Counters, DropReason, Offload, PortId, Vid};
use tapyard::switch::{Bridge, Event, Outgoing, Port, Storm, Switch, Topology, VlanPolicy, Way};
use tapyard::table::fdb::{Allowance, Fdb, Generations, Kind, Station};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::time::Time;

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
        isolated: false,
        learning: true,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: 1500,
        capabilities: Capabilities::ALL,
        split_horizon: false,
        wire: None,
        way: Way::Queue,
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
    ports: Vec<Option<Port>>,
    generations: Arc<Generations>,
    batch: Batch,
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
        let ports: Vec<_> = ports.into_iter().map(Some).collect();
        let bridges =
            ports.iter().flatten().filter_map(|port| port.bridge).map(|id| id.0 + 1).max().unwrap_or(0);
        let generations = Generations::new();
        let fdb = |b| Arc::new(Fdb::new(BridgeId(b), limit, ageing, Arc::clone(&generations)));
        let mut yard = Yard {
            now: Time::from_secs(1000),
            workers: (0..workers).map(|_| Switch::new(Arc::clone(&generations))).collect(),
            tables: (0..bridges).map(|b| (fdb(b), ageing)).collect(),
            ports,
            generations,
            batch: Batch::default(),
            log: String::new(),
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
        let bridge = |(slot, (fdb, ageing)): (usize, &(Arc<Fdb>, Duration))| {
            let id = BridgeId(slot as u16);
            let member =
                |&slot: &u16| self.ports[usize::from(slot)].as_ref().is_some_and(|p| p.bridge == Some(id));
            Some(Bridge {
                name: format!("bridge{slot}"),
                mac: frames::mac(BRIDGE),
                fdb: Arc::clone(fdb),
                refresh: Fdb::refresh_period(*ageing),
                members: (0..self.ports.len() as u16).filter(member).map(PortId).collect(),
            })
        };
        let bridges = self.tables.iter().enumerate().map(bridge).collect();
        let topology = Arc::new(Topology { epoch: 0, bridges, ports: self.ports.clone() });
        for worker in &mut self.workers {
            worker.set_topology(Arc::clone(&topology));
        }
        self.check();
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
        let switch = &mut self.workers[worker];
        self.batch.clear();
        for ((bytes, offload), frame) in frames.iter().zip(self.batch.spare()) {
            frame.fill(bytes, *offload);
        }
        self.batch.commit(frames.len());
        switch.process(PortId(port), &mut self.batch, self.now);
        let mut left = Vec::new();
        switch.transmit(&mut self.batch, |PortId(port), batch, outgoing| {
            let Outgoing::Frames(frames, counters) = outgoing else { unreachable!("no underlay here") };
            for &index in frames {
                let frame = &batch.frames()[index as usize];
                counters.sent(frame.len());
                left.push(Sent { port, bytes: frame.bytes().to_vec(), offload: frame.offload });
            }
        });
        left.sort_by_key(|sent| sent.port);
        // Bridges that patches join in a loop do send a frame back, until it is dropped.
        let patched = self.ports.iter().flatten().any(|port| matches!(port.way, Way::Patch(_)));
        for sent in left.iter().filter(|_| !patched) {
            assert_ne!(sent.port, port, "nothing leaves where it came in");
        }
        self.check();
        left
    }

    /// The same, and only by which ports something left.
    pub(crate) fn goes(&mut self, port: u16, frame: &[u8]) -> Vec<u16> {
        self.goes_by(0, port, frame)
    }

    pub(crate) fn goes_by(&mut self, worker: usize, port: u16, frame: &[u8]) -> Vec<u16> {
        let sent = self.send_all(worker, port, &[(frame.to_vec(), Offload::NONE)]);
        sent.into_iter().map(|sent| sent.port).collect()
    }

    /// Lets time pass, with all timers on time.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.workers[0].handle_timeout(self.now).filter(|&due| due <= end) {
            assert!(due > self.now, "timers make progress");
            self.now = due;
        }
        self.now = end;
        self.workers[0].handle_timeout(end);
        self.check();
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
