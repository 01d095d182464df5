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
mod export;
mod fdb;
mod host;
mod mirror;
mod routing;
mod stats;
mod talkers;
mod trace;
mod tunnel;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use capture::{CaptureDirection, CaptureInfo, CaptureQuery};
pub use export::{ExportInfo, ExportPort};
pub use fdb::{FdbFilter, FdbFound, FdbInfo, FdbSearch};
pub use host::{
    BridgeFilterInfo, DeviceInfo, HolderInfo, HostInfo, Ipv6Info, NetnsInfo, SocketInfo, TunNodeInfo,
};
pub use mirror::MirrorInfo;
pub use routing::{
    FlowInfo, HopInfo, NatFilter, NatInfo, NatRuleInfo, NatStats, NeighborFilter, NeighborInfo,
    RouteExplanation, RouteInfo, RouterInfo, RouterInterfaceInfo, RuleInfo, SessionInfo,
};
pub use stats::{DropInfo, PauseInfo, PortStats, StatsInfo, WorkerInfo};
pub use talkers::TalkerInfo;
pub use trace::{FollowQuery, LeftInfo, TraceEnd, TraceInfo, TraceQuery, TraceStep};
pub use tunnel::{IntruderInfo, ProbeInfo, TunnelInfo, TunnelPeerInfo};

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

#[cfg(test)]
mod tests;
