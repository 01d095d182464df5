//! Tunnel ports and underlays for a yard, and datagrams to and from peers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tapyard::packet::{PeerId, PortId, Received};
use tapyard::switch::mode::Apart;
use tapyard::switch::{Outer, Overlay, Peer, Port, Underlay, Way};
use tapyard::tunnel::vxlan::{self, Vxlan};
use tapyard::tunnel::{Protocol, Tunnel};

use super::port;

/// A datagram that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) tunnel: u16,
    pub(crate) peer: u16,
    pub(crate) to: IpAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) flow: u16,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
}

/// The address of remote host `n`.
pub(crate) fn host(n: u16) -> IpAddr {
    Ipv4Addr::from_bits(0x0a08_0000 | u32::from(n)).into()
}

/// Datagrams from `host(from)`, all of `stride` bytes but the last.
pub(crate) fn from(from: u16, stride: usize) -> Received {
    Received { source: host(from), stride: stride as u32, tos: 0 }
}

/// How a tunnel over the underlay in slot `underlay` to these hosts is set up, each with room for 1450 bytes.
pub(crate) fn overlay(tunnel: impl Tunnel + 'static, underlay: u16, hosts: &[u16]) -> Overlay {
    let peer = |&n: &u16| Some(Peer { address: host(n), mtu: 1450 });
    Overlay {
        tunnel: Arc::new(tunnel),
        underlay: PortId(underlay),
        port: 4789,
        peers: hosts.iter().map(peer).collect(),
        flood: (0..hosts.len() as u16).map(PeerId).collect(),
        outer: Outer::default(),
        mss_clamp: false,
        strangers: None,
    }
}

/// A port of bridge 0 into a tunnel.
pub(crate) fn tunnel_port(overlay: Overlay) -> Port {
    Port { apart: Apart::SPLIT_HORIZON, mtu: 1450, way: Way::Tunnel(Arc::new(overlay)), ..port() }
}

/// A VXLAN port of bridge 0.
pub(crate) fn vxlan_port(vni: u32, underlay: u16, hosts: &[u16]) -> Port {
    tunnel_port(overlay(Vxlan { vni, strict: false }, underlay, hosts))
}

/// The underlay of those among `ports` that are tunnels of this type.
pub(crate) fn underlay(protocol: &'static Protocol, ports: &[Port]) -> Port {
    let mut underlay = Underlay { protocol, peers: Default::default(), tunnels: Default::default() };
    for (slot, port) in ports.iter().enumerate() {
        let Way::Tunnel(overlay) = &port.way else { continue };
        if overlay.tunnel.protocol().name != protocol.name {
            continue;
        }
        let (id, port) = (overlay.tunnel.id(), PortId(slot as u16));
        underlay.tunnels.insert(id, port);
        for (peer, known) in overlay.peers.iter().enumerate() {
            underlay.peers.extend(known.map(|known| ((id, known.address), (port, PeerId(peer as u16)))));
        }
    }
    Port { bridge: None, way: Way::Underlay(Arc::new(underlay)), ..port() }
}

/// These ports, and behind them the underlay of the VXLAN tunnels among them.
pub(crate) fn over_vxlan(mut ports: Vec<Port>) -> Vec<Port> {
    ports.push(underlay(&vxlan::PROTOCOL, &ports));
    ports
}

/// A frame in VXLAN, as RFC 7348 section 5 has it.
pub(crate) fn in_vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[0x08, 0, 0, 0], &(vni << 8).to_be_bytes(), frame].concat()
}
