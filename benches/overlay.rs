//! The engine of tunnels alone: underlays and ports in memory, one core. What a 64-byte frame costs from peer to peer by
//! the number of tunnels, peers and stations, and between a peer and a local port; what a copy to a peer costs; and what
//! cutting superframes for a tunnel, and putting them together again, does.

mod kit;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use kit::{BATCHES, mac, shuffled, superframe};
use tapyard::packet::{
    Batch, BridgeId, Capabilities, Frame, Layer, Offload, PeerId, PortId, Received, segment,
};
use tapyard::port::underlay::memory::Memory as Far;
use tapyard::port::{Port as _, Underlay as _, memory::Memory as Near};
use tapyard::switch::{Outer, Outgoing, Overlay, Peer, Port, Switch, Topology, Underlay, VlanPolicy, Way};
use tapyard::table::fdb::Generations;
use tapyard::time::Time;
use tapyard::tunnel::{Payload, Tunnel, geneve::Geneve, gre::Gre, vxlan::Vxlan};
use tapyard::wire::ethernet::Mac;

// The ports of every case: the underlay, a local port on the first bridge, then a tunnel port for each bridge.
const UNDERLAY: PortId = PortId(0);
const LOCAL: PortId = PortId(1);
const TUNNELS: usize = 2;

/// The MTU of the tunnels, and the MSS that fits it.
const MTU: u32 = 1450;
const MSS: u16 = 1410;

const NOW: Time = Time::from_secs(1);
/// The station behind the local port; those behind peers have smaller numbers.
const HERE: usize = 1 << 24;

type Make = fn(u32) -> Arc<dyn Tunnel>;

fn vxlan(vni: u32) -> Arc<dyn Tunnel> {
    Arc::new(Vxlan { vni, strict: false })
}

fn geneve(vni: u32) -> Arc<dyn Tunnel> {
    Arc::new(Geneve { vni, options: Vec::new(), layer: Layer::Ethernet })
}

fn gre(key: u32) -> Arc<dyn Tunnel> {
    Arc::new(Gre { key: Some(key), checksum: false, sequence: None, layer: Layer::Ethernet })
}

/// Who there is: tunnels on a bridge each, the peers of each, and stations in all, spread evenly over both.
#[derive(Clone, Copy)]
struct Shape {
    tunnels: usize,
    peers: usize,
    stations: usize,
}

impl Shape {
    /// One tunnel with two peers.
    const SMALL: Shape = Shape { tunnels: 1, peers: 2, stations: 1_000 };

    /// The tunnel that a station is in.
    fn tunnel_of(&self, station: usize) -> usize {
        station % self.tunnels
    }

    /// The peer that a station is behind.
    fn peer_of(&self, station: usize) -> usize {
        station / self.tunnels % self.peers
    }

    /// A station in the same tunnel behind the next peer.
    fn partner_of(&self, station: usize) -> usize {
        let round = self.tunnels * self.peers;
        let next = (station / self.tunnels + 1) % self.peers * self.tunnels;
        self.tunnel_of(station) + next + station * 31 % (self.stations / round) * round
    }
}

/// The address of a peer. Each of a thousand hosts is in two tunnels where there are a thousand.
fn host(tunnel: usize, peer: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a08_0000 | ((tunnel + peer) % 1_000) as u32).into()
}

/// A UDP packet in a frame of 64 bytes.
fn packet(destination: Mac, source: Mac) -> Vec<u8> {
    let address = |mac: Mac| {
        let [_, _, _, a, b, c] = mac.octets();
        [10, a, b, c]
    };
    let ethernet = PacketBuilder::ethernet2(source.octets(), destination.octets());
    let packet = ethernet.ipv4(address(source), address(destination), 64).udp(4096, 53);
    let mut bytes = Vec::new();
    packet.write(&mut bytes, &[0x5a; 22]).expect("a vector takes anything");
    bytes
}

/// A datagram from a peer, alone.
fn datagram(tunnel: &dyn Tunnel, from: IpAddr, inner: &[u8]) -> (IpAddr, Vec<u8>, u32) {
    let mut frame = Frame::from_bytes(inner);
    tunnel.encap(&mut frame, Payload::Frame(Layer::Ethernet));
    (from, frame.bytes().to_vec(), frame.len() as u32)
}

/// A switch, what comes from its peers and what from behind its local port.
struct Yard {
    switch: Switch,
    far: Far,
    near: Near,
    batch: Batch,
    received: Vec<Received>,
}

impl Yard {
    fn new(make: Make, shape: Shape) -> Yard {
        let generations = Generations::new();
        let port = |bridge| kit::port(BridgeId(bridge as u16), VlanPolicy::Unaware, Capabilities::ALL);
        let protocol = make(0).protocol();
        let mut underlay = Underlay { protocol, peers: Default::default(), tunnels: Default::default() };
        let mut topology = Topology { ports: vec![None, Some(port(0))], ..Topology::default() };
        for t in 0..shape.tunnels {
            let (id, tunnel) = (PortId((TUNNELS + t) as u16), make(t as u32));
            underlay.tunnels.insert(tunnel.id(), id);
            for p in 0..shape.peers {
                underlay.peers.insert((tunnel.id(), host(t, p)), (id, PeerId(p as u16)));
            }
            let overlay = Overlay {
                tunnel,
                underlay: UNDERLAY,
                port: protocol.port,
                peers: (0..shape.peers).map(|p| Some(Peer { address: host(t, p), mtu: MTU })).collect(),
                flood: (0..shape.peers as u16).map(PeerId).collect(),
                outer: Outer::default(),
                mss_clamp: false,
                strangers: None,
            };
            topology.ports.push(Some(Port { mtu: MTU, way: Way::Tunnel(Arc::new(overlay)), ..port(t) }));
            let members = if t == 0 { vec![LOCAL, id] } else { vec![id] };
            topology.bridges.push(Some(kit::bridge(BridgeId(t as u16), members, &generations)));
        }
        let way = Way::Underlay(Arc::new(underlay));
        topology.ports[UNDERLAY.index()] = Some(Port { bridge: None, way, ..port(0) });
        let mut switch = Switch::new(generations);
        switch.set_topology(Arc::new(topology));
        let (far, near) = (Far::endless(Vec::new()), Near::once(Vec::new()));
        let mut yard = Yard { switch, far, near, batch: Batch::default(), received: Vec::new() };
        // Everybody is heard once before the measurement.
        yard.near = Near::once(vec![(packet(Mac::BROADCAST, mac(HERE)), Offload::NONE)]);
        yard.send(1);
        yard.hears(make, shape, |station| shape.partner_of(station));
        yard.receive(3 * (shape.stations / 32 + 1));
        yard
    }

    /// Has each station send to another by its peer.
    fn hears(&mut self, make: Make, shape: Shape, to: impl Fn(usize) -> usize) {
        let tunnels: Vec<_> = (0..shape.tunnels as u32).map(make).collect();
        let datagram = |from: usize| {
            let tunnel = shape.tunnel_of(from);
            let host = host(tunnel, shape.peer_of(from));
            datagram(&*tunnels[tunnel], host, &packet(mac(to(from)), mac(from)))
        };
        self.far = Far::endless(shuffled(shape.stations).map(datagram).collect());
    }

    /// Takes in batches from the underlay, and gives how many buffers there were in the last.
    fn receive(&mut self, batches: usize) -> usize {
        for _ in 0..batches {
            self.batch.clear();
            self.received.clear();
            self.far.rx(&mut self.batch, &mut self.received, self.switch.counters(UNDERLAY));
            self.switch.receive(UNDERLAY, &mut self.batch, &self.received, NOW);
            self.transmit();
        }
        self.received.len()
    }

    /// Takes in batches from the local port, and gives how many frames there were in the last.
    fn send(&mut self, batches: usize) -> usize {
        let mut frames = 0;
        for _ in 0..batches {
            self.batch.clear();
            self.near.rx(&mut self.batch, self.switch.counters(LOCAL));
            frames = self.batch.len();
            self.switch.process(LOCAL, &mut self.batch, NOW);
            self.transmit();
        }
        frames
    }

    fn transmit(&mut self) {
        let (near, far) = (&mut self.near, &mut self.far);
        self.switch.transmit(&mut self.batch, |_, batch, outgoing| match outgoing {
            Outgoing::Frames(frames, counters) => near.tx(batch, frames, counters),
            Outgoing::Datagrams(datagrams) => far.tx(batch, datagrams),
        });
    }
}

impl Drop for Yard {
    /// What is measured is no use unless everything got where it was sent.
    fn drop(&mut self) {
        for (port, counters) in self.switch.all_counters() {
            assert_eq!(counters.dropped_total(), 0, "{port:?}: {counters:?}");
        }
    }
}

fn group<'a>(c: &'a mut Criterion, name: &str, element: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("overlay/{name}"));
    group.throughput(Throughput::Elements(BATCHES as u64 * 32 * element));
    group
}

/// From a peer to another of the same tunnel: out of one header and into another.
fn hub(c: &mut Criterion) {
    let (many_peers, stations) = (Shape { peers: 1_000, stations: 100_000, ..Shape::SMALL }, 100_000);
    let many_tunnels = Shape { tunnels: 1_000, stations, ..Shape::SMALL };
    let mut group = group(c, "hub", 1);
    for (name, make, shape) in [
        ("vxlan/1_vni_2_peers_1000_macs", vxlan as Make, Shape::SMALL),
        ("geneve/1_vni_2_peers_1000_macs", geneve, Shape::SMALL),
        ("gre/1_vni_2_peers_1000_macs", gre, Shape::SMALL),
        ("vxlan/1_vni_1000_peers_100000_macs", vxlan, many_peers),
        ("vxlan/1000_vnis_1000_peers_100000_macs", vxlan, many_tunnels),
    ] {
        let mut yard = Yard::new(make, shape);
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| yard.receive(BATCHES)));
    }
    group.finish();
}

/// Between a peer and the local port.
fn edge(c: &mut Criterion) {
    let mut group = group(c, "edge", 1);
    let mut yard = Yard::new(vxlan, Shape::SMALL);
    yard.hears(vxlan, Shape::SMALL, |_| HERE);
    group.bench_function("to_local", |b| b.iter(|| yard.receive(BATCHES)));
    let talk = shuffled(Shape::SMALL.stations).map(|to| (packet(mac(to), mac(HERE)), Offload::NONE));
    yard.near = Near::endless(talk.collect());
    group.bench_function("from_local", |b| b.iter(|| yard.send(BATCHES)));
    group.finish();
}

/// A broadcast from the local port to every peer. An element is a copy.
fn flood(c: &mut Criterion) {
    for peers in [2, 1_000] {
        let mut group = group(c, "flood", peers as u64);
        let mut yard = Yard::new(vxlan, Shape { peers, ..Shape::SMALL });
        yard.near = Near::endless(vec![(packet(Mac::BROADCAST, mac(HERE)), Offload::NONE)]);
        group.bench_function(BenchmarkId::new("copies_to", peers), |b| b.iter(|| yard.send(BATCHES)));
        group.finish();
    }
}

/// Superframes from the local port into a tunnel, and their segments, glued as the kernel glues them, back to that port.
/// Both include the copy into the batch, which stands for reading them.
fn superframes(c: &mut Criterion) {
    let mut group = c.benchmark_group("overlay/superframe");
    let mut yard = Yard::new(vxlan, Shape::SMALL);
    let (bytes, offload) = superframe(mac(0), mac(HERE), MSS);
    let len = bytes.len();
    yard.near = Near::endless(vec![(bytes, offload)]);
    group.throughput(Throughput::Bytes((yard.send(1) * len) as u64));
    group.bench_function("into_tunnel", |b| b.iter(|| yard.send(1)));

    let before = yard.switch.counters(LOCAL).tx_frames;
    yard.far = Far::endless(vec![glued()]);
    let read = yard.receive(1) as u64;
    assert_eq!(yard.switch.counters(LOCAL).tx_frames - before, read, "each is put together again");
    group.bench_function("to_local", |b| b.iter(|| yard.receive(1)));
    group.finish();
}

/// A superframe from the first peer, in one read: all its segments, each with its tunnel header.
fn glued() -> (IpAddr, Vec<u8>, u32) {
    let (bytes, offload) = superframe(mac(HERE), mac(0), MSS);
    let (mut batch, mut segments) = (Batch::default(), Vec::new());
    batch.spare()[0].fill(&bytes, offload);
    batch.commit(1);
    segment::segment(&mut batch, 0, &mut segments).expect("it is a good superframe");
    let tunnel = vxlan(0);
    let datagrams: Vec<_> =
        batch.frames()[1..].iter().map(|segment| datagram(&*tunnel, host(0, 0), segment.bytes())).collect();
    let bytes = datagrams.iter().flat_map(|(_, bytes, _)| bytes.iter().copied()).collect();
    (host(0, 0), bytes, datagrams[0].2)
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = hub, edge, flood, superframes
}
criterion_main!(benches);
