//! The engine alone: memory ports, one core, 64-byte frames. What a frame costs by the number of stations, bridges,
//! VLANs and ports.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::packet::{Batch, BridgeId, Capabilities, Offload, PortId, Vid};
use tapyard::port::Port as _;
use tapyard::port::memory::Memory;
use tapyard::switch::{Bridge, Port, Storm, Switch, Topology, VlanPolicy};
use tapyard::table::fdb::{Allowance, Fdb, Generations};
use tapyard::table::vlan_set::VlanSet;
use tapyard::time::Time;
use tapyard::wire::ethernet::Mac;

/// Batches an iteration runs, so that the clock is not what is measured.
const BATCHES: usize = 64;

/// A switch of `bridges` bridges with `ports` ports each, and what feeds the first port of each.
struct Yard {
    switch: Switch,
    sources: Vec<(PortId, Memory)>,
    sinks: Vec<Memory>,
    batch: Batch,
}

fn mac(n: usize) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | n as u64)
}

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

/// A cheap full-period walk over 0..n, so that neighbours in time are no neighbours in any table.
fn shuffled(n: usize) -> impl Iterator<Item = usize> {
    let step = (n / 2 + n / 7) | 1;
    let step = (step..).find(|s| gcd(*s, n) == 1).expect("some number is coprime to n");
    (0..n).map(move |i| i * step % n)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Yard {
    fn new(bridges: usize, ports: usize, stations: usize, vlans: u16) -> Yard {
        let generations = Generations::new();
        let vlan = match vlans {
            0 => VlanPolicy::Unaware,
            n => VlanPolicy::Trunk { allowed: Arc::new((1..=n).collect::<VlanSet>()), native: None },
        };
        let mut topology = Topology::default();
        for b in 0..bridges {
            let id = BridgeId(b as u16);
            let members: Vec<_> = (0..ports).map(|p| PortId((b * ports + p) as u16)).collect();
            for member in &members {
                topology.ports.push(Some(Port {
                    name: format!("p{}", member.0),
                    bridge: Some(id),
                    vlan: vlan.clone(),
                    isolated: false,
                    learning: true,
                    allowance: Allowance::default(),
                    storm: Storm::default(),
                    mtu: 1500,
                    capabilities: Capabilities::ALL,
                    patch: None,
                }));
            }
            let ageing = Duration::from_secs(300);
            topology.bridges.push(Some(Bridge {
                name: format!("b{b}"),
                mac: mac(0xffff_ffff),
                fdb: Arc::new(Fdb::new(id, 4_000_000, ageing, Arc::clone(&generations))),
                refresh: Fdb::refresh_period(ageing),
                members,
            }));
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
        self.switch.transmit(&mut self.batch, |out, batch, frames, counters| {
            sinks[out.index()].tx(batch, frames, counters);
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
        let mut yard = Yard::new(*bridges, *ports, *stations, *vlans);
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

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = unicast
}
criterion_main!(benches);
