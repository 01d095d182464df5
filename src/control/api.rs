//! What the control socket speaks: a request is one line of JSON, its answer another.
//!
//! ```text
//! > {"request":"port-set","name":"vm1","keys":{"vlan":20,"isolated":null}}
//! < {"ok":{"epoch":7,"changes":["~ port vm1: vlan 10 -> 20"]}}
//! > {"request":"port-show","name":"vm9"}
//! < {"error":"there is no port vm9"}
//! ```
//!
//! Field names are stable; fields may be added. Counters count from when the port was opened. What has no value is
//! `null`.

mod capture;
mod host;
mod mirror;
mod routing;
mod talkers;
mod trace;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use capture::{CaptureDirection, CaptureInfo, CaptureQuery};
pub use host::{
    BridgeFilterInfo, DeviceInfo, HolderInfo, HostInfo, Ipv6Info, NetnsInfo, SocketInfo, TunNodeInfo,
};
pub use mirror::MirrorInfo;
pub use routing::{
    FlowInfo, HopInfo, NatFilter, NatInfo, NatRuleInfo, NatStats, NeighborFilter, NeighborInfo,
    RouteExplanation, RouteInfo, RouterInfo, RouterInterfaceInfo, RuleInfo, SessionInfo,
};

pub use talkers::TalkerInfo;
pub use trace::{FollowQuery, LeftInfo, TraceEnd, TraceInfo, TraceQuery, TraceStep};

use super::config::Edits;
use crate::wire::ethernet::Mac;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who answers: [`VersionInfo`].
    Version {},
    /// The ports, or the one of this name: a list of [`PortInfo`].
    PortShow {
        /// The port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Adds a port: [`Applied`].
    PortAdd {
        /// Its name.
        name: String,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Changes keys of a port; `null` removes one: [`Applied`].
    PortSet {
        /// The port.
        name: String,
        /// The keys to change.
        keys: Edits,
    },
    /// Removes a port: [`Applied`].
    PortDel {
        /// The port.
        name: String,
    },
    /// How a guest attaches to a port: [`AttachInfo`].
    PortAttach(AttachQuery),
    /// The FDB entries that fit all that is given: a list of [`FdbInfo`].
    FdbShow(FdbFilter),
    /// Searches the FDBs: [`FdbFound`].
    FdbFind(FdbSearch),
    /// Adds a static entry: [`Applied`].
    FdbAdd {
        /// Its bridge; its port's when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<String>,
        /// The address.
        mac: Mac,
        /// The port it is behind.
        port: String,
        /// Its VLAN; its port's access or native VLAN when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
        /// The peer it is behind, on a tunnel port; its only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<IpAddr>,
    },
    /// Removes entries of an address, static or learned: [`Applied`].
    FdbDel {
        /// On this bridge only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<String>,
        /// The address.
        mac: Mac,
        /// In this VLAN only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
    },
    /// Forgets the learned entries that fit all that is given: [`Flushed`].
    FdbFlush(FdbFilter),
    /// The bridges: a list of [`BridgeInfo`].
    BridgeShow {},
    /// The tunnels, or the one of this name: a list of [`TunnelInfo`].
    TunnelShow {
        /// The tunnel's port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Sends an echo through a tunnel to the switch at its other end, and waits for it: [`ProbeInfo`].
    TunnelProbe {
        /// The address of a peer, or the name of a tunnel port that has one peer only.
        to: String,
        /// The tunnel port, where several have this peer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// How long the echo is, in bytes as the tunnel's MTU counts them.
        size: u32,
    },
    /// The mirrors, or the one of this name: a list of [`MirrorInfo`].
    MirrorShow {
        /// The mirror.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Adds a mirror: [`Applied`].
    MirrorAdd {
        /// Its name.
        name: String,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Changes keys of a mirror; `null` removes one: [`Applied`].
    MirrorSet {
        /// The mirror.
        name: String,
        /// The keys to change.
        keys: Edits,
    },
    /// Removes a mirror: [`Applied`].
    MirrorDel {
        /// The mirror.
        name: String,
    },
    /// The routers, or the one of this name: a list of [`RouterInfo`].
    RouterShow {
        /// The router.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Adds a router: [`Applied`].
    RouterAdd {
        /// Its name.
        name: String,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Changes keys of a router; `null` removes one: [`Applied`].
    RouterSet {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The keys to change.
        keys: Edits,
    },
    /// Removes a router and its rules: [`Applied`].
    RouterDel {
        /// The router.
        name: String,
    },
    /// Adds an interface to a router: [`Applied`].
    InterfaceAdd {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The interface's name.
        name: String,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Changes keys of an interface; `null` removes one: [`Applied`].
    InterfaceSet {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The interface.
        name: String,
        /// The keys to change.
        keys: Edits,
    },
    /// Removes an interface from a router: [`Applied`].
    InterfaceDel {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The interface.
        name: String,
    },
    /// The routes of all routers, or of this one: a list of [`RouteInfo`].
    RouteShow {
        /// The router.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
    },
    /// Adds a static route: [`Applied`].
    RouteAdd {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Removes the static routes to a network, or one next hop of them: [`Applied`].
    RouteDel {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The network, or "default".
        to: String,
        /// This next hop only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<IpAddr>,
        /// Those of this metric only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metric: Option<u32>,
    },
    /// Explains where a router would send a packet: [`RouteExplanation`].
    RouteGet {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The address that the packet is for.
        address: IpAddr,
        /// The address that it is from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// The neighbours that fit all that is given: a list of [`NeighborInfo`].
    NeighborShow(NeighborFilter),
    /// Adds a static neighbour: [`Applied`].
    NeighborAdd {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// Its keys, as in the configuration.
        keys: Edits,
    },
    /// Removes the static neighbours of an address: [`Applied`].
    NeighborDel {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// At this interface only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
        /// The address.
        address: IpAddr,
    },
    /// Forgets the neighbours that fit all that is given, but for static ones: [`Flushed`].
    NeighborFlush(NeighborFilter),
    /// The sessions that fit all that is given: [`NatInfo`].
    NatShow(NatFilter),
    /// The translations of all routers, or of this one: a list of [`NatRuleInfo`].
    NatRules {
        /// The router.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
    },
    /// Adds a translation: [`Applied`].
    NatAdd {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// Its keys, as in the configuration.
        keys: Edits,
        /// Its number; the last one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<usize>,
    },
    /// Removes a translation: [`Applied`].
    NatDel {
        /// The router; the only one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// Its number, from 1.
        number: usize,
    },
    /// Ends the sessions that fit all that is given: [`Flushed`].
    NatFlush(NatFilter),
    /// The filter rules, or those of this router or bridge: a list of [`RuleInfo`].
    RuleShow {
        /// The router.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<String>,
        /// The bridge.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<String>,
    },
    /// Adds a rule: [`Applied`].
    RuleAdd {
        /// Its keys, as in the configuration; those of `match` may stand beside the others.
        keys: Edits,
        /// Its number; the last one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<usize>,
    },
    /// Removes a rule: [`Applied`].
    RuleDel {
        /// Its number, from 1.
        number: usize,
    },
    /// Gives a rule another number: [`Applied`].
    RuleMove {
        /// The number it has.
        from: usize,
        /// The number it is to have.
        to: usize,
    },
    /// Counters of everything: [`StatsInfo`].
    Stats {},
    /// What would happen to a frame, without anything happening: [`TraceInfo`].
    Trace(TraceQuery),
    /// What happens to some of the frames that pass: `null`, and then a stream with a [`TraceInfo`] in each line.
    TraceFollow(FollowQuery),
    /// Dropped frames by port and reason: a list of [`DropInfo`].
    Drops {},
    /// The conversations that most comes in of: a list of [`TalkerInfo`], the largest first. They are counted from the
    /// first request on, so that one has no answer yet, and until some seconds after the last.
    Talkers {},
    /// The machine as the switch finds it: [`HostInfo`].
    HostShow {},
    /// The exports: a list of [`ExportInfo`].
    ExportShow {},
    /// Reads the configuration file again and applies what has changed: [`Applied`].
    Reload {},
    /// The configuration that runs: [`ConfigInfo`].
    ConfigShow {},
    /// Captures frames: [`CaptureInfo`], and then a stream of pcapng.
    Capture(CaptureQuery),
}

impl Request {
    /// Whether it may change something; such a request is noted in the log with who made it.
    pub fn changes(&self) -> bool {
        use Request::*;
        match self {
            PortAdd { .. } | PortSet { .. } | PortDel { .. } => true,
            FdbAdd { .. } | FdbDel { .. } | FdbFlush(_) | Reload {} => true,
            MirrorAdd { .. } | MirrorSet { .. } | MirrorDel { .. } => true,
            RouterAdd { .. } | RouterSet { .. } | RouterDel { .. } => true,
            InterfaceAdd { .. } | InterfaceSet { .. } | InterfaceDel { .. } => true,
            RouteAdd { .. } | RouteDel { .. } => true,
            NeighborAdd { .. } | NeighborDel { .. } | NeighborFlush(_) => true,
            NatAdd { .. } | NatDel { .. } | NatFlush(_) => true,
            RuleAdd { .. } | RuleDel { .. } | RuleMove { .. } => true,
            Version {}
            | PortShow { .. }
            | PortAttach(_)
            | FdbShow(_)
            | FdbFind(_)
            | BridgeShow {}
            | TunnelShow { .. }
            | TunnelProbe { .. }
            | MirrorShow { .. }
            | RouterShow { .. }
            | RouteShow { .. }
            | RouteGet { .. }
            | NeighborShow(_)
            | NatShow(_)
            | NatRules { .. }
            | RuleShow { .. }
            | Stats {}
            | Trace(_)
            | TraceFollow(_)
            | Drops {}
            | Talkers {}
            | HostShow {}
            | ExportShow {}
            | ConfigShow {}
            | Capture(_) => false,
        }
    }
}

/// To which port a guest shall attach, and what guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachQuery {
    /// The port.
    pub name: String,
    /// The guest's memory in QEMU's words (`512M`), which a `vhost-user` port shares; `none` where another argument of the
    /// guest says it; 512M when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Queues of the guest's device; the port's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// Whether the kernel shall carry frames between the guest and its TAP (`vhost=on`); when left out, where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<bool>,
    /// The QEMU that runs the guest (`9.2`); a new one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
}

/// Which FDB entries; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FdbFilter {
    /// Those on this bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Those behind this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Those in this VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Those of this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// Which FDB entries to look for; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FdbSearch {
    /// Those on this bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Those behind this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Those in this VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Those of this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Those in whose address, port or peer, as they are shown, this occurs; capital letters or small ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At most so many are given; 100 when left out, and never more than 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What was found of an [`FdbSearch`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbFound {
    /// The first of them by bridge, VLAN and address.
    pub entries: Vec<FdbInfo>,
    /// How many there are.
    pub count: u64,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What was asked for.
    Ok(serde_json::Value),
    /// Why nothing was done; several lines when several things are wrong.
    Error(String),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// The version of the switch that runs.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The epoch of the topology that now runs.
    pub epoch: u64,
    /// What changed, a line each; empty when nothing had to.
    pub changes: Vec<String>,
    /// What of the configuration is legal and yet hardly meant, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How a guest attaches to the port that was added, if one can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<AttachInfo>,
}

/// How a guest attaches to a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachInfo {
    /// The arguments of QEMU, a word each.
    pub qemu: Vec<String>,
    /// The version of QEMU that they are for; `null` when every one takes them.
    pub qemu_version: Option<String>,
    /// What is to be known beside them, a line each.
    pub qemu_remarks: Vec<String>,
    /// The XML of libvirt.
    pub libvirt: String,
    /// What is to be known beside it, a line each.
    pub libvirt_remarks: Vec<String>,
}

/// Learned entries that were forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// How many.
    pub entries: u64,
}

/// The configuration that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigInfo {
    /// As TOML, commands' changes included.
    pub toml: String,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// `tap`, `tun`, `netdev` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its bridge.
    pub bridge: Option<String>,
    /// The port at its other end: that of a patch, or the one it is joined to by a wire.
    #[serde(default)]
    pub wire: Option<String>,
    /// Its device, or the path of its socket.
    pub device: Option<String>,
    /// The network namespace of its device, unless it is the switch's own.
    pub netns: Option<String>,
    /// `up`, `down` when its device is not set up, `no-carrier` when nobody is at the device's other end (a TAP that no
    /// program holds: the kernel drops what is sent there), `waiting` when no guest is at its socket, or `missing` when its
    /// device is gone.
    pub state: String,
    /// MTU of its device in bytes; none where the device has never been there.
    pub mtu: Option<u32>,
    /// MAC address of its device's kernel end.
    pub mac: Option<Mac>,
    /// `10`, `trunk 10,20 native 1`, or `-`.
    pub vlan: String,
    /// What it is to the other ports of its bridge: `bridge`, `private`, `vepa`, `passthrough` or `uplink`.
    pub mode: String,
    /// Whether frames may leave by it that came in by it.
    pub hairpin: bool,
    /// Whether it is kept apart from other isolated ports.
    pub isolated: bool,
    /// The mirrors whose copies it sends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Queues of its device, or that its guest uses.
    pub queues: usize,
    /// The offloads that its device takes.
    pub offloads: Vec<String>,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped, for any reason.
    pub drops: u64,
    /// Addresses behind it.
    pub fdb_entries: u64,
}

/// An FDB entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbInfo {
    /// Its bridge.
    pub bridge: String,
    /// Its VLAN; `null` on a bridge without VLANs.
    pub vlan: Option<u16>,
    /// The address.
    pub mac: Mac,
    /// The port it is behind; `null` for the bridge's own.
    pub port: Option<String>,
    /// The peer of a tunnel port that it is behind.
    #[serde(default)]
    pub remote: Option<IpAddr>,
    /// `learned`, `static` or `local`.
    pub kind: String,
    /// Seconds since a frame came from it; `null` for those that do not age.
    pub age_secs: Option<u64>,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeInfo {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub mac: Mac,
    /// Its ports.
    pub ports: Vec<String>,
    /// Whether a port of it names VLANs, so that its FDB is per VLAN.
    pub vlan_aware: bool,
    /// Seconds that a learned entry lives; 0: for ever.
    pub ageing_secs: u64,
    /// FDB entries it holds.
    pub fdb_entries: u64,
    /// The most it holds.
    pub fdb_limit: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Stations that moved to and fro too often.
    pub flaps: u64,
    /// Stations that moved to another port.
    pub moves: u64,
    /// The last that moved to and fro too often.
    #[serde(default)]
    pub last_flap: Option<FlapInfo>,
}

/// A station that moved to and fro too often between two ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlapInfo {
    /// Its address.
    pub mac: Mac,
    /// The port it was behind.
    pub from: String,
    /// The port it was behind then.
    pub to: String,
    /// Seconds since.
    pub age_secs: u64,
}

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

/// Counters of everything. `rx_frames + copies = tx_frames + replied + drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsInfo {
    /// The epoch of the topology: counts changes.
    pub epoch: u64,
    /// Seconds since the switch started.
    pub uptime_secs: u64,
    /// The workers.
    pub workers: Vec<WorkerInfo>,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Frames that the switch made: copies of flooded ones, segments of superframes.
    pub copies: u64,
    /// Frames that the switch answered itself.
    pub replied: u64,
    /// Frames dropped.
    pub drops: u64,
    /// Whether every frame is accounted for.
    pub conserved: bool,
    /// The ports.
    pub ports: Vec<PortStats>,
}

/// What a worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Which one, from 0.
    pub index: usize,
    /// Times it woke from sleep.
    pub wakeups: u64,
    /// Batches it took in.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// Times it looked for frames without sleeping before.
    pub busy_polls: u64,
    /// When it was asked, in nanoseconds since the switch started.
    #[serde(default)]
    pub at_nanos: u64,
    /// Nanoseconds of those that it was busy: all but sleep and polling in vain. What the differences of both to an earlier
    /// answer give is its load.
    #[serde(default)]
    pub busy_nanos: u64,
    /// Batches by how many frames were in them: 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31, and 32 and more.
    #[serde(default)]
    pub batch_sizes: Vec<u64>,
    /// Nanoseconds that it did something else than moving frames, by what that was: `timers`, `report`, `change`, `probe`.
    #[serde(default)]
    pub chore_nanos: BTreeMap<String, u64>,
    /// The longest that its ports waited because it did something else than moving frames.
    #[serde(default)]
    pub longest_pause: PauseInfo,
    /// The same for the last ten to twenty seconds.
    #[serde(default)]
    pub recent_pause: PauseInfo,
    /// Nanoseconds that the longest turn of one port took, a few batches, while the others waited.
    #[serde(default)]
    pub longest_turn_nanos: u64,
    /// The same for the last ten to twenty seconds.
    #[serde(default)]
    pub recent_turn_nanos: u64,
}

/// How long a worker did something else than moving frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseInfo {
    /// How long, in nanoseconds.
    pub nanos: u64,
    /// What took the most of it, as in [`WorkerInfo::chore_nanos`].
    pub chore: String,
}

/// Counters of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Its name.
    pub name: String,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped, for any reason.
    pub drops: u64,
    /// Frames from here that were flooded because they are for all stations, or for a group of them.
    #[serde(default)]
    pub groups: u64,
    /// Frames from here that were flooded because no table had the one station that they are for.
    #[serde(default)]
    pub unknown: u64,
}

/// Frames that a port dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// The port.
    pub port: String,
    /// The reason's name.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// What to look at.
    #[serde(default)]
    pub remedy: String,
    /// How many.
    pub frames: u64,
}

/// What is told to a collector, and how that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportInfo {
    /// Its name.
    pub name: String,
    /// `sflow` or `ipfix`.
    pub protocol: String,
    /// Where it goes to.
    pub collector: SocketAddr,
    /// `up`, or `lost` while the collector cannot be reached.
    pub state: String,
    /// One frame in so many is sampled.
    pub sample: u32,
    /// Samples that were taken.
    pub samples: u64,
    /// Samples that there was no room for.
    pub missed: u64,
    /// Flows that are kept until they are told.
    pub flows: u64,
    /// The most flows that are kept; 0 for sFlow, which tells of each sample.
    pub flow_limit: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that could not be sent.
    pub errors: u64,
    /// The ports whose frames are sampled.
    pub ports: Vec<ExportPort>,
}

/// A port, as a collector knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPort {
    /// Its number there, `ifIndex`.
    pub index: u32,
    /// Its name.
    pub name: String,
}

#[cfg(test)]
mod tests;
