//! The machine that a switch runs on, as it finds it: what `tapyard doctor` judges.
//!
//! What could not be looked at is `null`, or has an `error` beside it; it never looks like something that is fine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// The user that the process acts as which looked.
    pub user: u32,
    /// Its capabilities, of those that a switch may need: `net_admin`, `net_raw`, `sys_admin`.
    pub capabilities: Option<Vec<String>>,
    /// Whether a plain user may make user namespaces here.
    pub user_namespaces: Option<bool>,
    /// CPUs that it may use.
    pub cores: usize,
    /// `/dev/net/tun`.
    pub tun: TunNodeInfo,
    /// `net.core.rmem_max`: the largest receive buffer, in bytes, that a process without privilege gets.
    pub receive_buffer_limit: Option<u64>,
    /// Whether it could see what every process has open: only root can.
    pub saw_all_processes: bool,
    /// The network namespaces that the configuration names; the process's own first.
    pub namespaces: Vec<NetnsInfo>,
}

/// The node that TAP and TUN devices are opened by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunNodeInfo {
    /// Whether it is there.
    pub exists: bool,
    /// Why it cannot be opened.
    pub error: Option<String>,
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsInfo {
    /// Its name; `null` for the process's own.
    pub name: Option<String>,
    /// Why it could not be looked into.
    pub error: Option<String>,
    /// What its kernel has counted, by names such as `Udp.InCsumErrors`.
    pub counters: BTreeMap<String, u64>,
    /// Which filters see what its kernel bridges forward; `null` where `br_netfilter` is not loaded.
    pub bridge_filter: Option<BridgeFilterInfo>,
    /// Whether its kernel routes IPv4.
    pub forwarding: Option<bool>,
    /// The interfaces by which its kernel takes packets only from where it would answer to (`rp_filter` 1).
    pub strict_sources: Vec<String>,
    /// The devices of ports that are to be in it.
    pub devices: Vec<DeviceInfo>,
    /// The UDP sockets in it that have the port of a tunnel.
    pub sockets: Vec<SocketInfo>,
}

/// `net.bridge.bridge-nf-call-*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeFilterInfo {
    /// Whether iptables is asked.
    pub iptables: bool,
    /// Whether ip6tables is.
    pub ip6tables: bool,
    /// Whether arptables is.
    pub arptables: bool,
}

/// The device of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The port.
    pub port: String,
    /// Its name.
    pub name: String,
    /// Whether it is there; `null` when that could not be asked.
    pub exists: Option<bool>,
    /// The kind of virtual device, in the words of `ip link`.
    pub kind: Option<String>,
    /// Whether it is a TAP or TUN that may be opened several times; `null` when it is neither.
    pub multi_queue: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// The kernel bridge that it is a port of.
    pub bridge: Option<String>,
    /// Its addresses, but for link-local ones.
    pub addresses: Vec<IpAddr>,
    /// What the host's own IPv6 does on it; `null` where there is none.
    pub ipv6: Option<Ipv6Info>,
    /// The processes that have it open, if it is a TAP or TUN.
    pub holders: Vec<HolderInfo>,
}

/// What a host's own IPv6 does on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Info {
    /// `disable_ipv6`.
    pub disabled: bool,
    /// Whether it heeds router advertisements (`accept_ra`, and no `forwarding` unless that is 2).
    pub heeds_routers: bool,
    /// `autoconf`: whether it makes itself addresses of the networks that routers advertise.
    pub autoconf: bool,
}

/// A process that has a device open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it is the switch that answers.
    pub own: bool,
    /// Whether it is in the network namespace of the device; if not, it may have another device of that name.
    pub same_netns: bool,
}

/// A UDP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketInfo {
    /// The address it is bound to.
    pub local: IpAddr,
    /// Its port.
    pub port: u16,
    /// Who has it; `null` when that is the kernel, or a process that could not be looked into.
    pub holder: Option<HolderInfo>,
}
