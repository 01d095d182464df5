//! Routers: interfaces on bridges and on ports that carry IP, routes, and what is kept of sessions and neighbours.
//!
//! A router is a table `[router.NAME]`, and routers know nothing of one another: they are what others call VRFs.

pub(super) mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::nat::NatConfig;
use super::prefix::Prefix;
use super::rule::{Hook, Policy};
use crate::wire::ethernet::Mac;

/// A router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Its interfaces by name: `[router.NAME.interface.NAME]`.
    pub interfaces: BTreeMap<String, InterfaceConfig>,
    /// Its static routes, in the order of the file: `[[router.NAME.route]]`.
    pub routes: Vec<RouteConfig>,
    /// How it translates addresses; of several that fit the first is taken: `[[router.NAME.nat]]`.
    pub nat: Vec<NatConfig>,
    /// Neighbours that are never asked for: `[[router.NAME.neighbor]]`.
    pub neighbors: Vec<StaticNeighbor>,
    /// What becomes of a packet that no rule decides on, by [`Hook`] in the order of [`Hook::ALL`].
    pub policies: [Policy; 5],
    /// The most sessions that it keeps, 16 to 16,000,000.
    pub sessions: u32,
    /// The most sessions of one source, 1 to `sessions`.
    pub sessions_per_source: u32,
    /// Which outside port a masqueraded source keeps (RFC 4787, 4.1).
    pub mapping: Mapping,
    /// Who may send to a mapped port from outside (RFC 4787, 5).
    pub filtering: Filtering,
    /// When a session that nobody uses ends.
    pub timeouts: Timeouts,
    /// The most neighbours that it keeps, 16 to 1,000,000; static ones do not count.
    pub neighbor_limit: u32,
    /// The most ICMP errors that it sends in a second (RFC 1812, 4.3.2.8), 0 to 1,000,000; 0: none.
    pub icmp_rate: u32,
}

impl RouterConfig {
    /// What becomes of a packet that no rule at `hook` decides on.
    pub fn policy(&self, hook: Hook) -> Policy {
        self.policies[hook as usize]
    }

    /// The networks that its interfaces are on, with the names of these.
    pub fn connected(&self) -> impl Iterator<Item = (Prefix, &str)> {
        self.interfaces
            .iter()
            .flat_map(|(name, interface)| interface.networks().map(|network| (network, name.as_str())))
    }
}

impl Default for RouterConfig {
    fn default() -> RouterConfig {
        RouterConfig {
            interfaces: BTreeMap::new(),
            routes: Vec::new(),
            nat: Vec::new(),
            neighbors: Vec::new(),
            policies: [Policy::Accept; 5],
            sessions: 65_536,
            sessions_per_source: 65_536 / 4,
            mapping: Mapping::default(),
            filtering: Filtering::default(),
            timeouts: Timeouts::default(),
            neighbor_limit: 1024,
            icmp_rate: 1000,
        }
    }
}

/// An interface of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Where it is.
    pub on: On,
    /// Its addresses, each with the length of its network's prefix. No address is in the network of another interface of
    /// the router, but for link-local ones; none at all only on a port.
    pub address: Vec<(IpAddr, u8)>,
    /// The longest packet that leaves by it, 68 to 65,521 bytes, 1280 or more where it has IPv6 addresses; `None`: what
    /// the port, or all ports of the bridge, take.
    pub mtu: Option<u32>,
    /// Whether a packet has to come from where an answer would go.
    pub reverse_path: ReversePath,
    /// The router advertisements that it sends (RFC 4861, 6.2); `None`: none. Only on a bridge.
    pub advertise: Option<AdvertiseConfig>,
}

impl InterfaceConfig {
    /// The networks that it is on.
    pub fn networks(&self) -> impl Iterator<Item = Prefix> {
        self.address.iter().map(|(address, length)| Prefix::around(*address, *length))
    }
}

/// Where an interface is. Displayed as `bridge lan`, `bridge lan vlan 10`, `port tun0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// On a bridge, as a station of its own.
    Bridge {
        /// The bridge, which exists.
        bridge: String,
        /// The VLAN, 1 to 4094: always there on a bridge that is VLAN-aware, never on another.
        vlan: Option<u16>,
    },
    /// At a port that carries IP packets, which exists and has no wire.
    Port(String),
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            On::Bridge { bridge, vlan: None } => write!(f, "bridge {bridge}"),
            On::Bridge { bridge, vlan: Some(vlan) } => write!(f, "bridge {bridge} vlan {vlan}"),
            On::Port(port) => write!(f, "port {port}"),
        }
    }
}

/// Whether a packet has to come from where an answer would go (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReversePath {
    /// It need not.
    #[default]
    Off,
    /// There has to be a route to its source, by whatever interface (RFC 3704, 2.4).
    Loose,
    /// The route to its source has to leave by the interface that it came in by (RFC 3704, 2.3).
    Strict,
}

impl ReversePath {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            ReversePath::Off => "off",
            ReversePath::Loose => "loose",
            ReversePath::Strict => "strict",
        }
    }
}

/// Router advertisements (RFC 4861, 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertiseConfig {
    /// How long hosts may take it for a default router, at most 9000 s and not less than `interval`; zero: never.
    pub lifetime: Duration,
    /// The longest time between two of them, 4 s to 1800 s.
    pub interval: Duration,
    /// The networks that hosts may give themselves addresses of (RFC 4862); what is not written is the interface's.
    pub prefixes: Vec<Prefix>,
    /// DNS servers (RFC 8106).
    pub dns: Vec<Ipv6Addr>,
    /// Hosts are to get addresses by DHCPv6.
    pub managed: bool,
    /// Hosts are to get everything but addresses by DHCPv6.
    pub other: bool,
}

/// A static route. Displayed as `10.0.0.0/8 via 10.7.0.1 metric 10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// The network that it leads to.
    pub to: Prefix,
    /// What becomes of packets to it.
    pub kind: RouteKind,
    /// The next hops, of its family, no one twice: packets are spread over them by flow. Empty where `interface` alone
    /// says where packets go, and on a route of another kind than unicast.
    pub via: Vec<IpAddr>,
    /// The interface that it leaves by: always there where a next hop is link-local; where there is no next hop, one at a
    /// port.
    pub interface: Option<String>,
    /// Of several routes to one network those of the lowest metric are taken, all of them.
    pub metric: u32,
}

/// What a route does with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// It sends them on.
    #[default]
    Unicast,
    /// It drops them.
    Blackhole,
    /// It drops them and tells the sender: network unreachable.
    Unreachable,
    /// It drops them and tells the sender: administratively prohibited.
    Prohibit,
}

impl RouteKind {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
        }
    }
}

impl fmt::Display for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if self.kind != RouteKind::Unicast {
            write!(f, " {}", self.kind.name())?;
        }
        if !self.via.is_empty() {
            write!(f, " via {}", joined(&self.via, ","))?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " interface {interface}")?;
        }
        match self.metric {
            0 => Ok(()),
            metric => write!(f, " metric {metric}"),
        }
    }
}

/// A neighbour whose address is known beforehand. Displayed as `10.9.0.2 on lan at 02:00:00:00:00:01`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// The interface that it is at, one on a bridge.
    pub interface: String,
    /// Its address, in a network of the interface or link-local.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
}

impl fmt::Display for StaticNeighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} at {}", self.address, self.interface, self.mac)
    }
}

/// Which outside address and port the sessions of one inside address and port get (RFC 4787, 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// One for all that it speaks to (RFC 4787, REQ-1).
    #[default]
    EndpointIndependent,
    /// One for each that it speaks to.
    AddressAndPortDependent,
}

impl Mapping {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// Who may send to a mapped port from outside (RFC 4787, 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody, as long as the mapping lives.
    EndpointIndependent,
    /// The addresses that were spoken to (RFC 4787, REQ-8, where security matters more than transparency).
    #[default]
    AddressDependent,
    /// The addresses and ports that were spoken to.
    AddressAndPortDependent,
}

impl Filtering {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// When a session that nobody uses ends: the time since its last packet, at most 1,000,000 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP that was answered, 120 s or more (RFC 4787, REQ-5).
    pub udp: Duration,
    /// UDP that was not, 120 s or more (RFC 4787, REQ-5).
    pub udp_unreplied: Duration,
    /// TCP that is established, 7440 s or more (RFC 5382, REQ-5).
    pub tcp_established: Duration,
    /// TCP that is being opened, 240 s or more (RFC 5382, REQ-5).
    pub tcp_half_open: Duration,
    /// TCP that is being closed, 240 s or more (RFC 5382, REQ-5).
    pub tcp_closing: Duration,
    /// Echo requests, 60 s or more (RFC 5508, REQ-1).
    pub icmp: Duration,
    /// All other protocols, 1 s or more.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            udp: Duration::from_secs(300),
            udp_unreplied: Duration::from_secs(120),
            tcp_established: Duration::from_secs(7440),
            tcp_half_open: Duration::from_secs(240),
            tcp_closing: Duration::from_secs(240),
            icmp: Duration::from_secs(60),
            other: Duration::from_secs(600),
        }
    }
}

/// Values with something between them.
pub(super) fn joined<T: ToString>(values: &[T], between: &str) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}
