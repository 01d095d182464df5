//! What an engine is made of, and the stations around it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::super::frames::{Size, Station, frame, opening};
use super::super::path::{Protocol, Way};
use crate::packet::{BridgeId, Capabilities, InterfaceId, Layer, Offload, PeerId, PortId, RouterId};
use crate::switch::mode::Apart;
use crate::switch::router::{
    Action, Attachment, Chain, Condition, Filter, Interface, Nat, ReversePath, Route, Routes, Rule,
    SourceRule, Traffic,
};
use crate::switch::{
    Bridge, Outer, Overlay, Peer, Port, Router, Storm, Topology, Underlay, VlanPolicy, Way as PortWay,
};
use crate::table::conntrack::{Conntrack, Limits};
use crate::table::fdb::{Allowance, Fdb, Generations};
use crate::table::lpm::Prefix;
use crate::table::neighbors::{NeighborLimits, Neighbors};
use crate::table::token_bucket::TokenBucket;
use crate::tunnel::{Tunnel, geneve::Geneve, gre::Gre, vxlan::Vxlan};
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// The port that frames are offered at.
pub(super) const INLET: PortId = PortId(0);
/// The underlay of a switch with a tunnel, and the tunnel's port.
pub(super) const UNDERLAY: PortId = PortId(1);
const TUNNEL: PortId = PortId(2);
/// The ends of a tunnel.
pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);

/// The MTU of everything: jumbo frames pass.
const MTU: u32 = 9216;
/// The place of the forwarded packets' rules among the hooks.
const FORWARD: usize = 2;

/// How much there is of what may be much.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Shape {
    /// Ports of the bridge.
    pub(in super::super) ports: usize,
    /// Stations that talk, half of them behind the first port.
    pub(in super::super) stations: usize,
    /// Flows between them, where they are routed.
    pub(in super::super) flows: usize,
    /// Rules of the router that none of the packets fits.
    pub(in super::super) rules: usize,
}

impl Shape {
    /// What paths are measured with: few enough that everything lies in the caches.
    pub(in super::super) const SMALL: Shape = Shape { ports: 2, stations: 16, flows: 16, rules: 0 };

    fn pairs(&self) -> usize {
        (self.stations / 2).max(1)
    }
}

/// The topology of the (near) switch.
pub(in super::super) fn of(way: Way, shape: Shape, generations: &Arc<Generations>) -> Topology {
    match way {
        Way::Bridged => bridged(shape, generations),
        Way::Tunnel(protocol) => tunnel_end(protocol, FAR, shape, generations),
        Way::Routed => routed(false, shape, generations),
        Way::Nat => routed(true, shape, generations),
    }
}

/// The topology of the switch at the other end of a tunnel.
pub(super) fn far_end(protocol: Protocol, shape: Shape, generations: &Arc<Generations>) -> Topology {
    tunnel_end(protocol, NEAR, shape, generations)
}

/// What the stations say so that their bridge knows where they are, in an order that [`behind`] knows.
pub(super) fn hellos(way: Way, shape: Shape) -> Vec<(Vec<u8>, Offload)> {
    let hello = |from: Station| {
        let everybody = Station { mac: Mac::BROADCAST, address: Ipv4Addr::BROADCAST };
        frame(Size::Frame(64), from, 9, everybody)
    };
    match way {
        Way::Bridged | Way::Tunnel(_) => (0..shape.pairs()).map(|n| hello(far(n))).collect(),
        Way::Routed | Way::Nat => vec![hello(far(0))],
    }
}

/// The port that the station of a hello is behind, where there is no tunnel.
pub(super) fn behind(hello: usize, shape: Shape) -> PortId {
    PortId((1 + hello % (shape.ports - 1)) as u16)
}

/// The frames that are offered, in an order in which neighbours in time are no neighbours in any table.
pub(super) fn talk(way: Way, size: Size, shape: Shape) -> Vec<(Vec<u8>, Offload)> {
    flows(way, shape).map(|(from, port, to)| frame(size, from, port, to)).collect()
}

/// What has to be said before.
pub(super) fn openings(way: Way, size: Size, shape: Shape) -> Vec<(Vec<u8>, Offload)> {
    let openings = flows(way, shape).filter_map(|(from, port, to)| opening(size, from, port, to));
    openings.map(|bytes| (bytes, Offload::NONE)).collect()
}

/// Who talks, from which port, to whom.
fn flows(way: Way, shape: Shape) -> impl Iterator<Item = (Station, u16, Station)> {
    let routed = matches!(way, Way::Routed | Way::Nat);
    shuffled(if routed { shape.flows } else { shape.pairs() }).map(move |n| match routed {
        true => (near(n % SOURCES), 1024 + (n / SOURCES % 60_000) as u16, Station { mac: ROUTER, ..far(0) }),
        false => (near(n), 1024, far(n)),
    })
}

/// Sources of the flows that are routed.
const SOURCES: usize = 200;
/// The router's own MAC address.
const ROUTER: Mac = Mac::new([0x02, 0xff, 0, 0, 0, 1]);

/// A station behind the first port.
fn near(n: usize) -> Station {
    station(0, n)
}

/// The one that it talks to.
fn far(n: usize) -> Station {
    station(1, n)
}

fn station(side: u8, n: usize) -> Station {
    let [_, _, _, _, _, a, b, c] = (n as u64).to_be_bytes();
    let host = 2 + (n % 60_000) as u16;
    let [high, low] = host.to_be_bytes();
    Station { mac: Mac::new([2, 0, side, a, b, c]), address: Ipv4Addr::new(198, 18 + side, high, low) }
}

/// A cheap walk over 0..n that comes to each once, in great steps.
fn shuffled(n: usize) -> impl Iterator<Item = usize> {
    let step = (n / 2 + n / 7) | 1;
    let step = (step..).find(|&step| gcd(step, n) == 1).unwrap_or(1);
    (0..n).map(move |i| i * step % n)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn bridged(shape: Shape, generations: &Arc<Generations>) -> Topology {
    let members: Vec<_> = (0..shape.ports as u16).map(PortId).collect();
    Topology {
        ports: (0..shape.ports).map(|n| Some(port(format!("port{n}"), BridgeId(0)))).collect(),
        bridges: vec![Some(bridge(BridgeId(0), members, shape, generations))],
        ..Topology::default()
    }
}

/// A switch with the port that frames are offered at, or come out at, and a tunnel to `peer`.
fn tunnel_end(protocol: Protocol, peer: Ipv4Addr, shape: Shape, generations: &Arc<Generations>) -> Topology {
    let (tunnel, peer) = (tunnel(protocol), IpAddr::V4(peer));
    let mut underlay =
        Underlay { protocol: tunnel.protocol(), peers: Default::default(), tunnels: Default::default() };
    underlay.tunnels.insert(tunnel.id(), TUNNEL);
    underlay.peers.insert((tunnel.id(), peer), (TUNNEL, PeerId(0)));
    let overlay = Overlay {
        underlay: UNDERLAY,
        port: tunnel.protocol().port,
        tunnel,
        peers: vec![Some(Peer { address: peer, mtu: MTU })],
        flood: vec![PeerId(0)],
        outer: Outer::default(),
        mss_clamp: false,
        strangers: None,
    };
    let plain = |name: &str| port(name.into(), BridgeId(0));
    let carrier = Port { bridge: None, way: PortWay::Underlay(Arc::new(underlay)), ..plain("underlay") };
    let tunnel = Port { mtu: MTU, way: PortWay::Tunnel(Arc::new(overlay)), ..plain("tunnel") };
    Topology {
        ports: vec![Some(plain("local")), Some(carrier), Some(tunnel)],
        bridges: vec![Some(bridge(BridgeId(0), vec![INLET, TUNNEL], shape, generations))],
        ..Topology::default()
    }
}

fn tunnel(protocol: Protocol) -> Arc<dyn Tunnel> {
    let layer = Layer::Ethernet;
    match protocol {
        Protocol::Vxlan => Arc::new(Vxlan { vni: 100, strict: false }),
        Protocol::Geneve => Arc::new(Geneve { vni: 100, options: Vec::new(), layer }),
        Protocol::Gre => Arc::new(Gre { key: Some(100), checksum: false, sequence: None, layer }),
    }
}

/// Two bridges with a port each, and a router between them.
fn routed(masquerades: bool, shape: Shape, generations: &Arc<Generations>) -> Topology {
    let half = |n: u16| {
        let mut bridge = bridge(BridgeId(n), vec![PortId(n)], shape, generations);
        bridge.routers = vec![(0, RouterId(0), InterfaceId(n))];
        bridge
    };
    Topology {
        ports: (0..2).map(|n| Some(port(format!("port{n}"), BridgeId(n)))).collect(),
        bridges: (0..2).map(|n| Some(half(n))).collect(),
        routers: vec![Some(router(masquerades, shape))],
        rules: (0..shape.rules as u64).collect(),
        ..Topology::default()
    }
}

fn router(masquerades: bool, shape: Shape) -> Router {
    let own = |n: u16| Address::v4(Ipv4Addr::new(198, 18 + n as u8, 0, 1).to_bits());
    let interface = |n: u16| {
        let on = Attachment::Bridge { bridge: BridgeId(n), vid: 0, mac: ROUTER };
        let (name, addresses) = (format!("if{n}"), vec![(own(n), 16)]);
        Some(Interface { name, on, addresses, mtu: MTU, reverse_path: ReversePath::Off, advertise: None })
    };
    let neighbors = Neighbors::new(NeighborLimits::default());
    let to = far(0);
    drop(neighbors.pin(InterfaceId(1), Address::v4(to.address.to_bits()), to.mac));
    let routes = (0..2).flat_map(|n| {
        let connected = (Prefix::new(own(n), 16), Route::Connected(InterfaceId(n)));
        [connected, (Prefix::new(own(n), 32), Route::Local)]
    });
    let mut filter = Filter::default();
    let rules: Vec<_> = (0..shape.rules as u32).map(rule).collect();
    filter.chains[FORWARD] = Chain::new(rules, true);
    let mut nat = Nat::default();
    if masquerades {
        let (interface, traffic) = (InterfaceId(1), Traffic::default());
        nat.sources.push(SourceRule { rule: 0, interface, traffic, to: Vec::new(), ports: 1024..=u16::MAX });
    }
    let sessions = (2 * shape.flows).max(65_536);
    let limits = Limits { sessions, per_source: sessions, ..Limits::default() };
    Router {
        name: "router".into(),
        interfaces: (0..2).map(interface).collect(),
        routes: Arc::new(Routes::new(routes)),
        neighbors: Arc::new(neighbors),
        sessions: masquerades.then(|| Arc::new(Conntrack::new(limits, 7))),
        nat,
        filter,
        errors: Arc::new(TokenBucket::new(1000)),
        reassembles: masquerades,
    }
}

/// A rule on UDP from a host that says nothing.
fn rule(n: u32) -> (Condition, Rule) {
    let source = Address::v4(Ipv4Addr::new(172, 16, 0, 0).to_bits() + n).bits();
    let port = u128::from(n % 60_000);
    let condition = Condition {
        source: vec![source..=source],
        protocol: vec![17..=17],
        destination_port: vec![port..=port],
        ..Condition::default()
    };
    (condition, Rule { counter: n, action: Action::Drop })
}

/// A port that lets everything pass, to a queue of its own.
fn port(name: String, bridge: BridgeId) -> Port {
    Port {
        name,
        bridge: Some(bridge),
        vlan: VlanPolicy::Unaware,
        apart: Apart::NOT,
        hairpin: false,
        learning: true,
        guard: None,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: MTU,
        capabilities: Capabilities::ALL,
        way: PortWay::Queue,
        wire: None,
        router: None,
    }
}

/// A bridge with room for all stations.
fn bridge(id: BridgeId, members: Vec<PortId>, shape: Shape, generations: &Arc<Generations>) -> Bridge {
    let ageing = Duration::from_secs(300);
    let limit = (4 * shape.stations as u32).max(8192);
    Bridge {
        name: format!("bridge{}", id.0),
        mac: ROUTER,
        fdb: Arc::new(Fdb::new(id, limit, ageing, Arc::clone(generations))),
        refresh: Fdb::refresh_period(ageing),
        members,
        passthrough: false,
        routers: Vec::new(),
        rules: None,
        bindings: None,
    }
}
