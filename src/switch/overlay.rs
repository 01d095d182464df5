//! Tunnel ports and the underlays below them, as the topology has them: peers, and how what goes to them is sent.

use core::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;

use crate::packet::{PeerId, PortId};
use crate::tunnel::{Protocol, Tunnel, TunnelId};

/// A tunnel port's own half: what stands in its packets, and who gets them.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Writes and checks the tunnel header.
    pub tunnel: Arc<dyn Tunnel>,
    /// The underlay it sends by.
    pub underlay: PortId,
    /// The UDP port of its peers; nothing where the underlay is IP itself.
    pub port: u16,
    /// Its peers, by [`PeerId`]. A free slot is `None`.
    pub peers: Vec<Option<Peer>>,
    /// The peers that get what is flooded.
    pub flood: Vec<PeerId>,
    /// What stands in the outer headers.
    pub outer: Outer,
    /// Packets with its number are taken from anybody, not from its peers alone.
    pub accept_any: bool,
    /// The MSS that TCP announces through it is lowered to what its MTU allows.
    pub mss_clamp: bool,
}

/// A peer of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its packets go to, and where those it sends must come from. A multicast group only gets.
    pub address: IpAddr,
    /// Longest payload that gets there whole, in bytes behind the Ethernet header and tags.
    pub mtu: u32,
}

/// What stands in the outer headers of a tunnel's packets. ECN is as RFC 6040 says, whatever is set here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The DSCP, in the place of the TOS or traffic class; `None`: that of the inner packet.
    pub tos: Option<u8>,
    /// The TTL or hop limit; `None`: that of the inner packet.
    pub ttl: Option<u8>,
    /// Whether the network may fragment; `None`: as the inner packet says.
    pub dont_fragment: Option<bool>,
    /// Packets carry a UDP checksum.
    pub checksum: bool,
}

impl Default for Outer {
    fn default() -> Outer {
        Outer { tos: Some(0), ttl: Some(64), dont_fragment: Some(true), checksum: true }
    }
}

/// An underlay's own half: whose a datagram is that came in there.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// The type of all the tunnels over it.
    pub protocol: &'static Protocol,
    /// The tunnel port and the peer by number and source address.
    pub peers: HashMap<(TunnelId, IpAddr), (PortId, PeerId)>,
    /// A tunnel port with this number, for what comes from nobody's peer.
    pub tunnels: HashMap<TunnelId, PortId>,
}
