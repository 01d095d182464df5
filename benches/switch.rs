//! The engine alone: memory ports, one core. What a 64-byte frame costs by the number of stations, bridges, VLANs and
//! ports, what a flooded copy costs, and what cutting a superframe at egress does.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kit::{BATCHES, mac, shuffled, superframe};
use tapyard::packet::{Batch, BridgeId, Capabilities, Offload, PortId, Vid};
use tapyard::port::Port as _;
use tapyard::port::memory::Memory;
use tapyard::switch::{Outgoing, Switch, Topology, VlanPolicy};
use tapyard::table::fdb::Generations;
use tapyard::table::vlan_set::VlanSet;
use tapyard::time::Time;
use tapyard::wire::ethernet::Mac;

/// A switch of `bridges` bridges with `ports` ports each, and what feeds the first port of each.
struct Yard {
    switch: Switch,
    sources: Vec<(PortId, Memory)>,
    sinks: Vec<Memory>,
    batch: Batch,
}

/// A frame of 64 bytes, with a VLAN tag unless `vid` is 0.
fn frame(destination: Mac, source: Mac, vid: Vid) -> (Vec<u8>, Offload) {
    let mut bytes = [destination.octets(), source.octets()].concat();
    if vid != 0 {
        bytes.extend([0x81, 0x00]);
        bytes.extend(vid.to_be_bytes());
    }
    bytes.extend([0x08, 0x00, 0x45]);
    bytes.resize(64, 0);
    (bytes, Offload::NONE)
}

impl Yard {
    fn new(bridges: usize, ports: usize, stations: usize, vlans: u16, capabilities: Capabilities) -> Yard {
        let generations = Generations::new();
        let vlan = match vlans {
            0 => VlanPolicy::Unaware,
            n => VlanPolicy::Trunk { allowed: Arc::new((1..=n).collect::<VlanSet>()), native: None },
        };
        let mut topology = Topology::default();
        for b in 0..bridges {
            let id = BridgeId(b as u16);
            let members: Vec<_> = (0..ports).map(|p| PortId((b * ports + p) as u16)).collect();
            let port = kit::port(id, vlan.clone(), capabilities);
            topology.ports.extend(std::iter::repeat_n(Some(port), ports));
            topology.bridges.push(Some(kit::bridge(id, members, &generations)));
        }
        let mut switch = Switch::new(generations);
        switch.set_topology(Arc::new(topology));
        let sinks = (0..bridges * ports).map(|_| Memory::endless(Vec::new())).collect();
        let mut yard = Yard { switch, sources: Vec::new(), sinks, batch: Batch::default() };
        yard.feed(bridges, ports, stations, vlans);
        yard
    }

    /// Half of the stations are behind the first port of their bridge, and talk to the other half behind the others.
    fn feed(&mut self, bridges: usize, ports: usize, stations: usize, vlans: u16) {
        let share = (stations / bridges / 2).max(1);
        for b in 0..bridges {
            let vid = |n: usize| if vlans == 0 { 0 } else { 1 + (n % usize::from(vlans)) as Vid };
            let near = |n: usize| mac(b << 24 | n);
            let far = |n: usize| mac(b << 24 | 1 << 23 | n);
            let first = PortId((b * ports) as u16);
            if ports > 1 {
                for p in 1..ports {
                    let port = PortId((b * ports + p) as u16);
                    let speakers = (0..share).filter(|n| n % (ports - 1) == p - 1);
                    let hello = speakers.map(|n| frame(near(n), far(n), vid(n))).collect();
                    self.drain(port, Memory::once(hello));
                }
            }
            let talk: Vec<_> = shuffled(share).map(|n| frame(far(n), near(n), vid(n))).collect();
            self.sources.push((first, Memory::endless(talk)));
        }
    }

    fn drain(&mut self, port: PortId, mut from: Memory) {
        loop {
            self.batch.clear();
            from.rx(&mut self.batch, self.switch.counters(port));
            if self.batch.is_empty() {
                return;
            }
            self.pass(port);
        }
    }

    fn pass(&mut self, port: PortId) {
        self.switch.process(port, &mut self.batch, Time::from_secs(1));
        let sinks = &mut self.sinks;
        self.switch.transmit(&mut self.batch, |out, batch, outgoing| {
            if let Outgoing::Frames(frames, counters) = outgoing {
                sinks[out.index()].tx(batch, frames, counters);
            }
        });
    }

    fn run(&mut self, batches: usize) {
        for i in 0..batches {
            let at = i % self.sources.len();
            let (port, source) = &mut self.sources[at];
            let port = *port;
            self.batch.clear();
            source.rx(&mut self.batch, self.switch.counters(port));
            self.pass(port);
        }
    }
}

fn bench(c: &mut Criterion, group: &str, cases: &[(String, usize, usize, usize, u16)]) {
    let mut group = c.benchmark_group(group);
    for (name, bridges, ports, stations, vlans) in cases {
        let mut yard = Yard::new(*bridges, *ports, *stations, *vlans, Capabilities::ALL);
        // Everybody is heard once before the measurement.
        for _ in 0..3 {
            yard.run(stations / 32 + bridges * 2);
        }
        group.throughput(Throughput::Elements((BATCHES * 32) as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| yard.run(BATCHES)));
    }
    group.finish();
}

fn unicast(c: &mut Criterion) {
    let macs = |n: usize| (format!("{n}_macs"), 1, 2, n, 0);
    bench(c, "unicast", &[macs(2), macs(1_000), macs(100_000), macs(1_000_000)]);
    let wide = |n: usize| (format!("{n}_macs_64_bridges_4094_vlans"), 64, 2, n, 4094);
    bench(c, "unicast", &[wide(1_000), wide(100_000), wide(1_000_000)]);
    let ports = |n: usize| (format!("1000_macs_{n}_ports"), 1, n, 1_000, 0);
    bench(c, "unicast", &[ports(8), ports(64), ports(256)]);
}

/// Broadcasts to all other ports. An element is a copy, so it compares with a frame of `unicast`; with one port to go to
/// it is the same work but for learning where to.
fn flood(c: &mut Criterion) {
    let mut group = c.benchmark_group("flood");
    for ports in [1, 8, 64] {
        let mut yard = Yard::new(1, ports + 1, 2, 0, Capabilities::ALL);
        let hello = Memory::endless(vec![frame(Mac::BROADCAST, mac(1), 0)]);
        yard.sources = vec![(PortId(0), hello)];
        group.throughput(Throughput::Elements((BATCHES * 32 * ports) as u64));
        group.bench_function(BenchmarkId::new("copies_to", ports), |b| b.iter(|| yard.run(BATCHES)));
    }
    group.finish();
}

/// Superframes, four in a batch, to a port that takes them whole and to one that needs them cut. Both include the copy
/// into the batch, which stands for reading them.
fn segmentation(c: &mut Criterion) {
    let (bytes, offload) = superframe(mac(2), mac(1), 1448);
    let mut group = c.benchmark_group("superframe");
    group.throughput(Throughput::Bytes(4 * bytes.len() as u64));
    for (name, capabilities) in [("whole", Capabilities::ALL), ("cut", Capabilities::NONE)] {
        let mut yard = Yard::new(1, 2, 2, 0, capabilities);
        yard.drain(PortId(1), Memory::once(vec![frame(mac(1), mac(2), 0)]));
        group.bench_function(name, |b| {
            b.iter(|| {
                yard.batch.clear();
                for frame in &mut yard.batch.spare()[..4] {
                    frame.fill(&bytes, offload);
                }
                yard.batch.commit(4);
                yard.pass(PortId(0));
            });
        });
        let sent = yard.switch.counters(PortId(1)).tx_frames;
        assert!(sent > 0, "they arrive where they are sent to");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = unicast, flood, segmentation
}
criterion_main!(benches);
