//! The configuration as checked, typed values, and the [`Document`] it is read from.
//!
//! Text becomes a [`Document`] (a tree that knows its lines and can be edited), and a document becomes a [`Config`] or
//! [`Errors`]: every error found, each with file, line, key, what is wrong and what was expected. What holds a `Config`
//! never checks anything again: bridges that ports name exist, patch peers name each other, numbers are in range.
//!
//! A new type of port is a struct or fields here in [`PortKind`] and one line in `read.rs`, which names the function that
//! reads its keys.

mod check;
mod document;
mod errors;
mod export;
mod keys;
mod mirror;
mod mode;
mod nat;
mod net;
mod prefix;
mod read;
mod router;
mod rule;
mod socket;
mod tunnel;
mod value;
mod vlan;
mod warnings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use document::{Document, Edits, parse_value};
pub use errors::{ConfigError, Errors};
pub use export::{ExportConfig, ExportProtocol, ExportScope, MAX_EXPORTS};
pub use mirror::{MirrorConfig, MirrorDirection};
pub use nat::{NatConfig, NatKind, Transport};
pub use prefix::{Prefix, addresses_text, ports_text};
pub use router::{
    AdvertiseConfig, Filtering, InterfaceConfig, Mapping, On, ReversePath, RouteConfig, RouteKind,
    RouterConfig, StaticNeighbor, Timeouts,
};
pub use rule::{Action, FlowState, Hook, IcmpType, Match, Policy, RuleConfig, Scope, protocol_text};
pub use tunnel::{Encapsulation, GeneveOption, MAX_PEERS, TunnelConfig, UnderlayConfig};
pub use value::duration_text;
pub use vlan::VlanMode;

use crate::packet::Layer;
pub use crate::port::netdev::GuestTap;
use crate::switch::mode::Mode;
use crate::wire::ethernet::Mac;

/// Where the control socket is unless somebody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tapyard/control.sock";

/// Everything a switch is told to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The process: `[switch]`.
    pub switch: SwitchConfig,
    /// The bridges by name: `[bridge.NAME]`.
    pub bridges: BTreeMap<String, BridgeConfig>,
    /// The ports by name: `[port.NAME]`, and beside them the underlays of the tunnels, which nobody has written.
    pub ports: BTreeMap<String, PortConfig>,
    /// The static FDB entries, in the order of the file: `[[fdb]]`.
    pub statics: Vec<StaticEntry>,
    /// The routers by name: `[router.NAME]`.
    pub routers: BTreeMap<String, RouterConfig>,
    /// The filter rules of all routers and bridges, in the order of the file, numbered from 1: `[[rule]]`.
    pub rules: Vec<RuleConfig>,
    /// What is told to collectors, by name: `[export.NAME]`, at most [`MAX_EXPORTS`].
    pub exports: BTreeMap<String, ExportConfig>,
    /// The mirrors by name: `[mirror.NAME]`.
    pub mirrors: BTreeMap<String, MirrorConfig>,
}

impl Config {
    /// The ports that a user has configured.
    pub fn own_ports(&self) -> impl Iterator<Item = (&String, &PortConfig)> {
        self.ports.iter().filter(|(_, port)| !matches!(port.kind, PortKind::Underlay(_)))
    }

    /// The tunnel ports.
    pub fn tunnels(&self) -> impl Iterator<Item = (&String, &TunnelConfig, &PortConfig)> {
        self.ports.iter().filter_map(|(name, port)| match &port.kind {
            PortKind::Tunnel(tunnel) => Some((name, tunnel, port)),
            _ => None,
        })
    }

    /// The peers of the tunnel port `name`: first those that get what is flooded, its remotes; then those that static
    /// entries alone name.
    pub fn peers(&self, name: &str, tunnel: &TunnelConfig) -> (Vec<IpAddr>, Vec<IpAddr>) {
        tunnel::peers(tunnel, name, &self.statics)
    }

    /// Adds what follows from what was written: both ends of a wire name each other, and tunnels have their underlays.
    fn complete(&mut self) {
        let wires: Vec<_> =
            self.ports.iter().filter_map(|(name, port)| Some((port.wire.clone()?, name.clone()))).collect();
        for (end, other) in wires {
            if let Some(port) = self.ports.get_mut(&end) {
                port.wire = Some(other);
            }
        }
        tunnel::add_underlays(self);
    }
}

/// The process as a whole. A change here takes a restart, but for [`SwitchConfig::metrics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// Path of the control socket, at most 107 bytes.
    pub control: PathBuf,
    /// Worker threads, 1 to 64; `None`: one per CPU, at most 4.
    pub workers: Option<usize>,
    /// The longest time a worker polls without sleeping after the last frame, at most 1 s; zero: never; `None`: the
    /// default of the worker.
    pub busy_poll: Option<Duration>,
    /// Where metrics are to be had over HTTP; `None`: nowhere.
    pub metrics: Option<MetricsConfig>,
}

impl Default for SwitchConfig {
    fn default() -> SwitchConfig {
        SwitchConfig { control: DEFAULT_SOCKET.into(), workers: None, busy_poll: None, metrics: None }
    }
}

/// The listener for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where it listens; port 0: one that is free.
    pub address: SocketAddr,
    /// The names that it may be asked by, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// How long a learned entry lives after its last frame, 1 s to 1,000,000 s (802.1Q table 8-6); zero: for ever.
    pub ageing: Duration,
    /// The most FDB entries it holds, 1 to 4,000,000.
    pub fdb_limit: u32,
    /// Its own address; `None`: one is made up.
    pub mac: Option<Mac>,
    /// What becomes of an IP packet between its ports that no rule decides on.
    pub policy: Policy,
    /// Whether it answers requests for neighbours that it knows, instead of flooding them.
    pub neighbor_suppression: bool,
}

impl Default for BridgeConfig {
    fn default() -> BridgeConfig {
        BridgeConfig {
            ageing: Duration::from_secs(300),
            fdb_limit: 8192,
            mac: None,
            policy: Policy::Accept,
            neighbor_suppression: false,
        }
    }
}

/// A port: what every type has, and what is its type's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The bridge it belongs to, which exists. Always there, except on a port that carries no Ethernet, on that of mirrors,
    /// and on an underlay.
    pub bridge: Option<String>,
    /// Its VLANs.
    pub vlan: VlanMode,
    /// What it is to the other ports of its bridge.
    pub mode: Mode,
    /// Whether frames may leave by it that came in by it.
    pub hairpin: bool,
    /// Whether frames between it and other isolated ports are dropped.
    pub isolated: bool,
    /// Whether the sources of its frames are learned.
    pub learning: bool,
    /// The most addresses learned from it, 1 to 4,000,000; `None`: as many as its bridge holds.
    pub learn_limit: Option<u32>,
    /// Storm control.
    pub storm: Storm,
    /// Port security.
    pub guard: GuardConfig,
    /// The port it is joined to, which names this one; both carry IP packets and are on no bridge.
    pub wire: Option<String>,
    /// Whether it sends the copies of mirrors and nothing else.
    pub mirror: bool,
    /// Its type, with the keys of the type.
    pub kind: PortKind,
}

/// Storm control: frames per second that a port may bring in of each class, at least 1; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storm {
    /// Broadcast.
    pub broadcast: Option<u32>,
    /// Multicast.
    pub multicast: Option<u32>,
    /// Unicast to an address that is in no table.
    pub unknown: Option<u32>,
}

/// What a port may say to be, and what may be behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardConfig {
    /// The only MAC addresses that it may use, of stations, at most 256; none: any.
    pub mac: Vec<Mac>,
    /// The only IP addresses that it may use, as networks, at most 256; none: any.
    pub ip: Vec<(IpAddr, u8)>,
    /// No DHCP server may be behind it.
    pub dhcp: bool,
    /// No router may be behind it.
    pub router: bool,
}

/// The type of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// `tap`: a device of Ethernet frames, created or attached to.
    Tap(DeviceConfig),
    /// `tun`: a device of IP packets, created or attached to.
    Tun(DeviceConfig),
    /// `netdev`: an interface that exists, or the one of a TAP for a guest.
    Netdev(NetdevConfig),
    /// `stream`: a socket of a byte stream, over which each frame has its length before it.
    Stream(SocketConfig),
    /// `dgram`: a socket of datagrams, each of which is a frame.
    Dgram {
        /// Where datagrams come to.
        socket: SocketConfig,
        /// Where they go to; `None`: to who sent the last one.
        peer: Option<PathBuf>,
    },
    /// `vhost-user`: a guest's own rings, in memory that it shares.
    VhostUser {
        /// Where its front-end is met.
        socket: SocketConfig,
        /// Whether offloads are offered to it.
        offload: bool,
    },
    /// `patch`: joined to another patch port in memory.
    Patch {
        /// The other port, which names this one.
        peer: String,
    },
    /// `vxlan`, `geneve`, `gre`: a tunnel to peers.
    Tunnel(TunnelConfig),
    /// A socket that tunnels share; it follows from them.
    Underlay(UnderlayConfig),
}

impl PortKind {
    /// The type's name on the surface.
    pub fn name(&self) -> &'static str {
        match self {
            PortKind::Tap(_) => "tap",
            PortKind::Tun(_) => "tun",
            PortKind::Netdev(_) => "netdev",
            PortKind::Stream(_) => "stream",
            PortKind::Dgram { .. } => "dgram",
            PortKind::VhostUser { .. } => "vhost-user",
            PortKind::Patch { .. } => "patch",
            PortKind::Tunnel(tunnel) => tunnel.name(),
            PortKind::Underlay(_) => "underlay",
        }
    }

    /// What the frames that it carries begin with.
    pub fn layer(&self) -> Layer {
        match self {
            PortKind::Tun(_) => Layer::Ip,
            PortKind::Tunnel(tunnel) => tunnel.payload,
            PortKind::Tap(_)
            | PortKind::Netdev(_)
            | PortKind::Stream(_)
            | PortKind::Dgram { .. }
            | PortKind::VhostUser { .. }
            | PortKind::Patch { .. }
            | PortKind::Underlay(_) => Layer::Ethernet,
        }
    }

    /// Whether a port has to be closed and opened anew to become `to`. A tunnel port is nothing that is open: its sockets
    /// are its underlays'.
    pub fn reopens(&self, to: &PortKind) -> bool {
        self != to && !matches!((self, to), (PortKind::Tunnel(_), PortKind::Tunnel(_)))
    }

    /// Whether `other` cannot be opened while this is open: a device can be held once only, and so can a socket's port.
    pub fn bars(&self, other: &PortKind) -> bool {
        match (self, other) {
            (PortKind::Underlay(open), PortKind::Underlay(other)) => open.bars(other),
            _ if self.socket().is_some() => {
                let listens =
                    |kind: &PortKind| kind.socket().filter(|at| at.listen).map(|at| at.path.clone());
                listens(self).is_some() && listens(self) == listens(other)
            }
            _ => self.device().is_some_and(|device| other.device() == Some(device)),
        }
    }

    /// Whether it is a tunnel that has other stations behind it when it becomes `to`, which keeps the port.
    pub fn leads_elsewhere(&self, to: &PortKind) -> bool {
        matches!((self, to), (PortKind::Tunnel(from), PortKind::Tunnel(to)) if from.leads_elsewhere(to))
    }

    /// The device's name and its namespace, for the types that have a device.
    pub fn device(&self) -> Option<(&str, Option<&str>)> {
        match self {
            PortKind::Tap(d) | PortKind::Tun(d) => Some((&d.device, d.netns.as_deref())),
            PortKind::Netdev(n) => Some((&n.device, n.netns.as_deref())),
            PortKind::Stream(_)
            | PortKind::Dgram { .. }
            | PortKind::VhostUser { .. }
            | PortKind::Patch { .. }
            | PortKind::Tunnel(_)
            | PortKind::Underlay(_) => None,
        }
    }

    /// The socket that guests attach by, for the types that have one.
    pub fn socket(&self) -> Option<&SocketConfig> {
        match self {
            PortKind::Stream(socket)
            | PortKind::Dgram { socket, .. }
            | PortKind::VhostUser { socket, .. } => Some(socket),
            _ => None,
        }
    }
}

/// A socket in the file system that a guest attaches by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Whether the switch listens there; otherwise it connects to it, again and again.
    pub listen: bool,
    /// Its path, at most 107 bytes.
    pub path: PathBuf,
    /// The user who owns a socket that the switch listens at; `None`: that of the switch.
    pub owner: Option<u32>,
    /// The group it belongs to, which may connect.
    pub group: Option<u32>,
    /// Bytes that a frame to the guest may have behind its Ethernet header, 68 to 65,521; `None`: 1500.
    pub mtu: Option<u32>,
}

/// An interface that a `netdev` port takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdevConfig {
    /// Its name, at most 15 bytes.
    pub device: String,
    /// The named network namespace it is in; `None`: that of the process.
    pub netns: Option<String>,
    /// Whether the host's own stack is silent on it.
    pub quiet: bool,
    /// `create = true`: the TAP that is made for a guest.
    pub create: Option<GuestTap>,
}

/// A TAP or TUN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its name, at most 15 bytes.
    pub device: String,
    /// The named network namespace its kernel end is put into; `None`: that of the process.
    pub netns: Option<String>,
    /// MTU in bytes, 68 to 65,521; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// MAC address of the kernel end, no group address; `None`: the kernel's choice. A TUN has none.
    pub mac: Option<Mac>,
    /// Addresses of the kernel end with their prefix lengths.
    pub address: Vec<(IpAddr, u8)>,
    /// The user who may attach to it.
    pub owner: Option<u32>,
    /// The group that may attach to it.
    pub group: Option<u32>,
    /// Whether it stays when the switch ends.
    pub persist: bool,
    /// Queues, 1 to 64; `None`: one per worker.
    pub queues: Option<usize>,
    /// Whether it is opened with a virtio_net_hdr and offloads.
    pub offload: bool,
}

/// A static FDB entry. Its port is a member of its bridge and of its VLAN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaticEntry {
    /// The bridge.
    pub bridge: String,
    /// The address, of no group and not zero.
    pub mac: Mac,
    /// The port it is behind.
    pub port: String,
    /// The VLAN: what the entry says, else the access or native VLAN of its port. `None` on a port without VLANs.
    pub vlan: Option<u16>,
    /// On a tunnel port, and only there: the peer it is behind, no group.
    pub remote: Option<IpAddr>,
}
