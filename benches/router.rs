//! The engine as a router alone: memory ports, one core. What a 64-byte packet costs that is routed, filtered and
//! translated, by the number of flows, rules and routes, and what the first packet of a connection costs.

mod kit;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kit::{BATCHES, mac};
use tapyard::packet::{Batch, BridgeId, Capabilities, InterfaceId, Offload, PortId, RouterId};
use tapyard::port::Port as _;
use tapyard::port::memory::Memory;
use tapyard::switch::router::{
    Action, Attachment, Chain, Condition, Filter, Interface, Nat, NextHop, ReversePath, Route, Router,
    Routes, Rule, SourceRule, Traffic,
};
use tapyard::switch::{Outgoing, Switch, Topology, VlanPolicy};
use tapyard::table::conntrack::{Conntrack, Limits};
use tapyard::table::fdb::Generations;
use tapyard::table::lpm::Prefix;
use tapyard::table::neighbors::{NeighborLimits, Neighbors};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::time::Time;
use tapyard::wire::address::Address;
use tapyard::wire::checksum;

/// The address of every bridge of the kit, which is the router's there.
const ROUTER: usize = 0xffff_ffff;
const LAN: Address = Address::v4(0x0a09_00fe);
const WAN: Address = Address::v4(0x0a08_00fe);
/// The next hop behind the second interface.
const HOST: Address = Address::v4(0x0a08_0002);

/// What stands between two bridges.
#[derive(Clone, Copy, Default)]
struct Load {
    masquerades: bool,
    rules: u32,
    routes: u32,
}

struct Yard {
    switch: Switch,
    source: Memory,
    sink: Memory,
    batch: Batch,
    now: Time,
}

impl Yard {
    fn new(load: Load, flows: Vec<(Vec<u8>, Offload)>, sessions: usize) -> Yard {
        let generations = Generations::new();
        let mut topology = Topology::default();
        for b in 0..2 {
            let id = BridgeId(b);
            topology.ports.push(Some(kit::port(id, VlanPolicy::Unaware, Capabilities::ALL)));
            let mut bridge = kit::bridge(id, vec![PortId(b)], &generations);
            bridge.routers = vec![(0, RouterId(0), InterfaceId(b))];
            topology.bridges.push(Some(bridge));
        }
        topology.rules = (0..u64::from(load.rules)).collect();
        topology.routers = vec![Some(router(load, sessions))];
        let mut switch = Switch::new(generations);
        switch.set_topology(Arc::new(topology));
        let (source, sink) = (Memory::endless(flows), Memory::endless(Vec::new()));
        let mut yard = Yard { switch, source, sink, batch: Batch::default(), now: Time::from_secs(1) };
        // The host behind says hello, so that the bridge knows where it is.
        let mut hello = Memory::once(vec![packet(0, mac(2), HOST, LAN)]);
        yard.batch.clear();
        hello.rx(&mut yard.batch, yard.switch.counters(PortId(1)));
        yard.pass(PortId(1));
        yard
    }

    fn pass(&mut self, port: PortId) {
        self.switch.process(port, &mut self.batch, self.now);
        let sink = &mut self.sink;
        self.switch.transmit(&mut self.batch, |_, batch, outgoing| {
            if let Outgoing::Frames(frames, counters) = outgoing {
                sink.tx(batch, frames, counters);
            }
        });
    }

    fn run(&mut self, batches: usize) {
        for _ in 0..batches {
            self.batch.clear();
            self.source.rx(&mut self.batch, self.switch.counters(PortId(0)));
            self.pass(PortId(0));
        }
    }
}

fn router(load: Load, sessions: usize) -> Router {
    let interface = |b: u16, own: Address| {
        let on = Attachment::Bridge { bridge: BridgeId(b), vid: 0, mac: mac(ROUTER) };
        let (name, addresses) = (format!("if{b}"), vec![(own, 24)]);
        Some(Interface { name, on, addresses, mtu: 1500, reverse_path: ReversePath::Off, advertise: None })
    };
    let neighbors = Neighbors::new(NeighborLimits::default());
    drop(neighbors.pin(InterfaceId(1), HOST, mac(2)));
    let net = |address, len| Prefix::new(address, len);
    let mut routes = vec![
        (net(LAN, 24), Route::Connected(InterfaceId(0))),
        (net(WAN, 24), Route::Connected(InterfaceId(1))),
        (net(LAN, 32), Route::Local),
        (net(WAN, 32), Route::Local),
    ];
    let hop = NextHop { interface: InterfaceId(1), via: Some(HOST) };
    // Different /24 networks, from 176.0.0.0 on.
    routes.extend((0..load.routes).map(|n| {
        let network = Address::v4((0xb000_0000u32).wrapping_add(n.wrapping_mul(0x9e37_79b1) & 0x1fff_ff00));
        (net(network, 24), Route::Via(vec![hop]))
    }));
    routes.push((net(Address::v4(0), 0), Route::Via(vec![hop])));
    let rules = (0..load.rules).map(|n| {
        let address = Address::v4(0xac10_0000 + n).bits();
        let port = u128::from(n % 60_000);
        let condition = Condition {
            source: vec![address..=address],
            protocol: vec![17..=17],
            destination_port: vec![port..=port],
            ..Condition::default()
        };
        (condition, Rule { counter: n, action: Action::Drop })
    });
    let mut filter = Filter::default();
    filter.chains[2] = Chain::new(rules.collect(), true);
    let mut nat = Nat::default();
    if load.masquerades {
        let (interface, traffic) = (InterfaceId(1), Traffic::default());
        nat.sources.push(SourceRule { rule: 0, interface, traffic, to: Vec::new(), ports: 1024..=u16::MAX });
    }
    let limits = Limits { sessions, per_source: sessions, ..Limits::default() };
    Router {
        name: "gw".into(),
        interfaces: vec![interface(0, LAN), interface(1, WAN)],
        routes: Arc::new(Routes::new(routes)),
        neighbors: Arc::new(neighbors),
        sessions: load.masquerades.then(|| Arc::new(Conntrack::new(limits, 7))),
        nat,
        filter,
        errors: Arc::new(TokenBucket::new(1000)),
        reassembles: load.masquerades,
    }
}

/// A UDP packet in a frame of 64 bytes for the router.
fn packet(
    flow: usize,
    from: tapyard::wire::ethernet::Mac,
    source: Address,
    destination: Address,
) -> (Vec<u8>, Offload) {
    let mut bytes = [mac(ROUTER).octets(), from.octets()].concat();
    bytes.extend([0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend(source.v4_bits().to_be_bytes());
    ip.extend(destination.v4_bits().to_be_bytes());
    let sum = checksum::finish(checksum::sum(&ip, 0));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(ip);
    bytes.extend((1024 + (flow % 60_000) as u16).to_be_bytes());
    bytes.extend([0x13, 0x88, 0, 30, 0x12, 0x34]);
    bytes.resize(64, 0);
    (bytes, Offload::NONE)
}

/// Flows of different sources and ports to different networks.
fn flows(count: usize) -> Vec<(Vec<u8>, Offload)> {
    let flow = |n: usize| {
        let source = Address::v4(0x0a09_0000 + 1 + (n % 200) as u32);
        let destination =
            Address::v4(0xb000_0001u32.wrapping_add((n as u32).wrapping_mul(0x9e37_79b1) & 0x1fff_ff00));
        packet(n, mac(1), source, destination)
    };
    (0..count).map(flow).collect()
}

fn cached(c: &mut Criterion) {
    let mut group = c.benchmark_group("router/cached");
    let plain = Load::default();
    let natted = Load { masquerades: true, ..plain };
    let loaded = Load { rules: 10_000, routes: 1_000_000, ..natted };
    for (name, load, count) in [
        ("routed/1-flow", plain, 1),
        ("routed/1000-flows", plain, 1000),
        ("nat/1-flow", natted, 1),
        ("nat/1000-flows", natted, 1000),
        ("nat-10000-rules-1M-routes/1-flow", loaded, 1),
        ("nat-10000-rules-1M-routes/1000-flows", loaded, 1000),
    ] {
        let mut yard = Yard::new(load, flows(count), 65_536);
        yard.run(BATCHES * 4);
        let before = yard.switch.counters(PortId(1)).tx_frames;
        yard.run(BATCHES);
        let sent = yard.switch.counters(PortId(1)).tx_frames - before;
        let drops: Vec<_> = yard.switch.counters(PortId(0)).drops().collect();
        assert_eq!(sent, (BATCHES * 32) as u64, "{name}: all of it is routed, {drops:?}");
        group.throughput(Throughput::Elements(sent));
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| yard.run(BATCHES)));
    }
    group.finish();
}

/// Every packet is the first of its connection.
fn opening(c: &mut Criterion) {
    let mut group = c.benchmark_group("router/new-sessions");
    group.sample_size(10);
    for (name, rules) in [("nat", 0), ("nat-10000-rules", 10_000)] {
        let load = Load { masquerades: true, rules, ..Load::default() };
        let flows = flows(1 << 20);
        group.throughput(Throughput::Elements((BATCHES * 32) as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            let mut yard = Yard::new(load, flows.clone(), 1 << 21);
            let mut left = flows.len() / 32;
            b.iter(|| {
                if left < BATCHES {
                    // What was opened is forgotten, so that it can be opened again.
                    let topology = Arc::clone(yard.switch.topology());
                    if let Some(sessions) = topology.routers[0].as_ref().and_then(|r| r.sessions.as_ref()) {
                        sessions.flush(|_| true);
                    }
                    yard.switch.forget_flows();
                    left = flows.len() / 32;
                }
                left -= BATCHES;
                yard.run(BATCHES);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cached, opening);
criterion_main!(benches);
