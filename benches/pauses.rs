//! How long a worker does not look at its ports: 256 of them, never empty, on a bridge of a million stations, while it is
//! asked for reports and given new topologies, and while control lists, searches and empties the tables it shares.
//!
//! Each row is a time of its own. All that passes between two reads, of any two ports, is a gap: the batch that was read is
//! switched in it, and whatever else the worker does or waits for. It is measured twice: by the worker's own processor time,
//! which is what it has done, and by the clock, with what it has waited for and what the host has taken away. So the rows in
//! which nobody asks anything are what the others are to be compared with.

mod kit;

use std::hint::black_box;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use kit::mac;
use rustix::time::ClockId;
use tapyard::packet::{Batch, BridgeId, Capabilities, Counters, InterfaceId, Offload, PortId, Tuple};
use tapyard::port::memory::Memory;
use tapyard::port::{Port, Queue, Rx};
use tapyard::switch::{Bridge, Topology, VlanPolicy};
use tapyard::table::conntrack::{Conntrack, Limits, Opening};
use tapyard::table::fdb::{Fdb, Generations};
use tapyard::table::neighbors::{Heard, NeighborLimits, Neighbors};
use tapyard::time::Time;
use tapyard::wire::address::Address;
use tapyard::worker::{self, Activity, Change, Chore, Command, Handle};

const PORTS: usize = 256;
/// Stations behind each port: a million altogether.
const STATIONS: usize = 4096;
const RULES: u64 = 10_000;
const SESSIONS: u32 = 100_000;
const NEIGHBORS: u32 = 10_000;
/// How long each row takes.
const ROW: Duration = Duration::from_secs(5);

/// What passed between two looks at ports.
#[derive(Default)]
struct Gaps {
    last: Option<(Instant, Duration)>,
    /// By the clock.
    passed: Vec<Duration>,
    /// By the processor time of the worker.
    worked: Vec<Duration>,
}

impl Gaps {
    fn look(&mut self) {
        let worked = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        let worked = Duration::new(worked.tv_sec as u64, worked.tv_nsec as u32);
        let now = Instant::now();
        if let Some((then, before)) = self.last.replace((now, worked)) {
            self.passed.push(now - then);
            self.worked.push(worked - before);
        }
    }
}

/// How many there are, and the longest of them.
fn summary(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let over = |limit: u64| all.iter().filter(|gap| **gap > Duration::from_micros(limit)).count();
    let longest: Vec<_> = all.iter().rev().take(3).map(|gap| micros(*gap)).collect();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (hundred, thousand) = (over(100), over(1000));
    format!(
        "99.9 % within {:3} us, {hundred:4} > 100 us, {thousand:3} > 1 ms, longest {} us",
        micros(at(0.999)),
        longest.join(" ")
    )
}

/// A port that notes when it is read.
struct Watched {
    memory: Memory,
    gaps: Arc<Mutex<Gaps>>,
}

impl Port for Watched {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        self.gaps.lock().expect("nobody panics with it").look();
        self.memory.rx(batch, counters)
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        self.memory.tx(batch, frames, counters);
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }
}

struct Yard {
    worker: Handle,
    generations: Arc<Generations>,
    fdb: Arc<Fdb>,
    gaps: Arc<Mutex<Gaps>>,
    /// What the worker has.
    topology: Arc<Topology>,
}

impl Yard {
    fn new() -> Yard {
        let generations = Generations::new();
        let fdb = kit::bridge(BridgeId(0), Vec::new(), &generations).fdb;
        let (happened, _) = unbounded();
        let worker = worker::start(0, Arc::clone(&generations), Duration::ZERO, Instant::now(), happened);
        let worker = worker.expect("a thread can be started");
        Yard { worker, generations, fdb, gaps: Arc::default(), topology: Arc::default() }
    }

    fn plug(&mut self) {
        let queue = |p: usize| {
            let memory = Memory::endless((0..STATIONS).map(|n| frame(p, n)).collect());
            let port = Watched { memory, gaps: Arc::clone(&self.gaps) };
            (PortId(p as u16), Queue::Port(Box::new(port)))
        };
        let install = (0..PORTS).map(queue).collect();
        self.change(install);
    }

    /// Another topology, with another rule in the middle.
    fn change(&mut self, install: Vec<(PortId, Queue)>) {
        let (id, epoch) = (BridgeId(0), self.topology.epoch + 1);
        let members = (0..PORTS as u16).map(PortId).collect();
        let bridge = kit::bridge(id, members, &self.generations);
        let port = kit::port(id, VlanPolicy::Unaware, Capabilities::ALL);
        let topology = Arc::new(Topology {
            epoch,
            ports: vec![Some(port); PORTS],
            bridges: vec![Some(Bridge { fdb: Arc::clone(&self.fdb), ..bridge })],
            rules: (0..RULES / 2).chain([RULES + epoch]).chain(RULES / 2..RULES).collect(),
            ..Topology::default()
        });
        // The one before is freed here, and not by the worker.
        let before = std::mem::replace(&mut self.topology, Arc::clone(&topology));
        let (done, taken) = unbounded();
        self.worker.send(Command::Change(Change {
            topology,
            remove: Vec::new(),
            install,
            watchers: Vec::new(),
            done,
        }));
        taken.recv().expect("the worker runs");
        drop(before);
    }

    fn report(&self) -> Activity {
        let (to, reports) = unbounded();
        self.worker.send(Command::Report(to));
        reports.recv().expect("the worker runs").activity
    }

    /// Does something over and over for the time of a row, with a pause after each, and says what gaps there were.
    fn row(&mut self, name: &str, pause: Duration, mut act: impl FnMut(&mut Yard)) {
        let before = self.report();
        thread::sleep(Duration::from_millis(50));
        std::mem::take(&mut *self.gaps.lock().expect("nobody panics with it"));
        let (begin, mut times) = (Instant::now(), 0);
        while begin.elapsed() < ROW {
            act(self);
            times += 1;
            thread::sleep(pause);
        }
        let gaps = std::mem::take(&mut *self.gaps.lock().expect("nobody panics with it"));
        let after = self.report();
        let passed = after.at.since(before.at).as_secs_f64();
        let rate = (after.frames - before.frames) as f64 / passed / 1e6;
        println!("{name}: {times} times, {rate:.2} Mframes/s, {} looks", gaps.passed.len());
        println!("    worked: {}", summary(gaps.worked));
        println!("    passed: {}", summary(gaps.passed));
        for chore in Chore::ALL {
            let spent = after.chores[chore as usize] - before.chores[chore as usize];
            let share = spent.as_secs_f64() / passed;
            if share > 1e-6 {
                let each = spent.as_secs_f64() * 1e6 / f64::from(times.max(1));
                println!(
                    "{:36} {:.4} % of the worker for {}, {each:.1} us each time",
                    "",
                    100.0 * share,
                    chore.name()
                );
            }
        }
    }
}

fn micros(time: Duration) -> String {
    time.as_micros().to_string()
}

/// A frame of 64 bytes from station `n` behind port `p`, to one behind the next port.
fn frame(p: usize, n: usize) -> (Vec<u8>, Offload) {
    let station = |p: usize, n: usize| mac((p % PORTS) << 16 | n);
    let n = n * 1021 % STATIONS;
    let mut bytes = [station(p + 1, n * 37 % STATIONS).octets(), station(p, n).octets()].concat();
    bytes.extend([0x08, 0x00, 0x45]);
    bytes.resize(64, 0);
    (bytes, Offload::NONE)
}

/// How long `act` takes at most when it is done over and over, while another thread does `meanwhile`.
fn waits(name: &str, mut act: impl FnMut(u32), mut meanwhile: impl FnMut() + Send) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                meanwhile();
            }
        });
        let (begin, mut all) = (Instant::now(), Vec::with_capacity(1 << 24));
        let mut last = begin;
        while last.duration_since(begin) < ROW && all.len() < all.capacity() {
            act(all.len() as u32);
            let now = Instant::now();
            all.push(now - last);
            last = now;
        }
        over.store(true, Ordering::Relaxed);
        all.sort_unstable();
        let at = |share: f64| micros(all[((all.len() - 1) as f64 * share) as usize]);
        println!("{name}: {} times, 99.9 % within {} us, longest {} us", all.len(), at(0.999), at(1.0));
    });
}

fn tuple(n: u32) -> Tuple {
    Tuple {
        source: Address::v4(0x0a00_0000 | n >> 8),
        destination: Address::v4(0xc000_0201),
        source_port: 1024 + (n & 0xff) as u16,
        destination_port: 53,
        protocol: 17,
    }
}

fn tables() {
    let now = Time::from_secs(1);
    let neighbors = Neighbors::new(NeighborLimits { known: 20_000, ..NeighborLimits::default() });
    for n in 0..NEIGHBORS {
        let _ = neighbors.learn(InterfaceId(0), Address::v4(n), mac(n as usize), Heard::Asked, now);
    }
    let lookup = |n: u32| _ = black_box(neighbors.lookup(InterfaceId(0), Address::v4(n % NEIGHBORS), now));
    waits("neighbour looked up", lookup, || thread::sleep(Duration::from_millis(1)));
    waits("  while 10,000 are listed", lookup, || _ = black_box(neighbors.entries()));

    let sessions = Conntrack::new(Limits { sessions: 2 * SESSIONS as usize, ..Limits::default() }, 7);
    let open = |n: u32| {
        let original = tuple(n);
        let opening = Opening { original, destination: None, source: None, rule: 0, tcp: None };
        sessions.open(opening, now).ok()
    };
    (0..SESSIONS).for_each(|n| _ = open(n));
    let come_and_go = |n: u32| {
        if let Some(session) = open(SESSIONS + n % 1000) {
            sessions.remove(&session);
        }
    };
    waits("connection opened and removed", come_and_go, || thread::sleep(Duration::from_millis(1)));
    waits("  while 100,000 are listed", come_and_go, || _ = black_box(sessions.sessions()));
}

fn main() {
    let ms = Duration::from_millis;
    let mut yard = Yard::new();
    yard.plug();
    yard.row("a million stations are learned", ms(100), |_| {});
    yard.row("nobody asks", ms(100), |_| {});
    println!("    {} stations", yard.fdb.stats().learned);
    yard.row("a report each second", ms(1000), |yard| _ = yard.report());
    yard.row("a hundred reports a second", ms(10), |yard| _ = yard.report());
    yard.row("sizes of all tables, each 10 ms", ms(10), |yard| {
        (0..PORTS as u16).for_each(|port| _ = black_box(yard.fdb.held(PortId(port))));
        black_box(yard.fdb.stats());
    });
    yard.row("the FDB is searched, each second", ms(1000), |yard| {
        let mut found = 0;
        yard.fdb.visit(|station, _| found += usize::from(station.mac().bits() & 0xfff == 7));
        black_box(found);
    });
    yard.row("the FDB is listed without end", ms(0), |yard| _ = black_box(yard.fdb.entries()));
    yard.row("a port's stations are flushed, each 100 ms", ms(100), |yard| {
        yard.fdb.flush(|_, entry| entry.port == PortId(7));
    });
    yard.row("all stations are flushed, each second", ms(1000), |yard| _ = yard.fdb.flush(|_, _| true));
    yard.row("another topology, each 100 ms", ms(100), |yard| yard.change(Vec::new()));
    let activity = yard.report();
    let Activity { longest_pause: pause, longest_turn: turn, .. } = activity;
    println!(
        "as the worker says itself: longest pause {} us for {}, longest turn {} us",
        micros(pause.spent),
        pause.chore.name(),
        micros(turn)
    );
    drop(yard);
    tables();
}
