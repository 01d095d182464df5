//! What is told of tunnels, of their peers, and of echoes to these.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelInfo {
    /// Its port's name.
    pub name: String,
    /// `vxlan`, `geneve` or `gre`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its VNI or key.
    pub number: Option<u32>,
    /// Its bridge.
    pub bridge: Option<String>,
    /// The port it is joined to.
    pub wire: Option<String>,
    /// `ethernet` or `ip`.
    pub payload: String,
    /// The address it receives at.
    pub local: IpAddr,
    /// The UDP port of both ends; `null` for GRE over IP itself.
    pub port: Option<u16>,
    /// The network namespace of its sockets, unless it is the switch's own.
    pub netns: Option<String>,
    /// The underlay it shares, as `stats` and `drops` name it.
    pub underlay: String,
    /// The longest inner packet that gets to all peers, in bytes.
    pub mtu: u32,
    /// Whose packets it takes: `remotes` or `any`.
    pub accept: String,
    /// Whether the stations behind its peers are learned.
    pub learning: bool,
    /// Whether what one peer sends is kept from the others.
    pub split_horizon: bool,
    /// Whether the MSS of TCP is lowered to fit.
    pub mss_clamp: bool,
    /// The GENEVE options that it sends, as class, type and data: `0102:81:deadbeef`.
    pub options: Vec<String>,
    /// Who sent packets last that nobody is expected to send: to this tunnel, and to its underlay with a number that no
    /// tunnel has.
    pub intruders: Vec<IntruderInfo>,
    /// Its peers, by address.
    pub peers: Vec<TunnelPeerInfo>,
}

/// A packet that was dropped because nobody is expected to send it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntruderInfo {
    /// `stranger` or `tunnel-unknown`, as `drops` calls it.
    pub reason: String,
    /// Who sent it.
    pub source: IpAddr,
    /// The VNI or key that was in it.
    pub number: Option<u32>,
    /// Seconds since it came.
    pub age_secs: u64,
}

/// A peer of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelPeerInfo {
    /// Its address.
    pub address: IpAddr,
    /// `up`, `unheard` when no packet has come from it, `unreachable: WHY N s ago` when the network has said so since, or
    /// `group` for a multicast group, which sends nothing itself.
    pub state: String,
    /// Seconds since a packet came from it.
    pub heard_secs: Option<u64>,
    /// Whether it gets what is flooded.
    pub flooded: bool,
    /// The longest inner packet that gets there, in bytes.
    pub mtu: u32,
    /// The longest packet that the network lets through to it, in bytes; `null` when no way leads there.
    pub path_mtu: Option<u32>,
    /// Packets that came from it.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that went to it.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets to it that the underlay did not take.
    pub drops: u64,
    /// Addresses behind it.
    pub fdb_entries: u64,
    /// The GENEVE options that it last sent, each as `CLASS:TYPE:DATA` in hexadecimal.
    pub options: Vec<String>,
}

/// How an echo to a peer ended. It was lost when it has neither `rtt_nanos` nor `not_sent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeInfo {
    /// The tunnel port.
    pub port: String,
    /// The peer.
    pub remote: IpAddr,
    /// How long the echo was, in bytes.
    pub size: u32,
    /// The longest inner packet that should get there, in bytes.
    pub mtu: u32,
    /// When it came back, in nanoseconds after it was sent.
    pub rtt_nanos: Option<u64>,
    /// Why it was not sent.
    pub not_sent: Option<String>,
}
