//! Tunnel ports: their keys, and the underlays that follow from them.
//!
//! Nobody configures an underlay. Tunnels that receive at the same address and port share one, and
//! [`add_underlays`] puts those that are needed beside the ports, under names that nobody can give one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::document::{Item, Node};
use super::keys::Keys;
use super::value::{self, Fault, inherited, no, number, one_of};
use super::vlan::VlanMode;
use super::{Config, GuardConfig, PortConfig, PortKind, StaticEntry, Storm};
use crate::packet::Layer;
use crate::switch::Outer;
use crate::switch::mode::Mode;
use crate::tunnel::{Protocol, TunnelId, geneve, gre, vxlan};

/// Most peers of a tunnel: each has a slot in every topology and every worker.
pub const MAX_PEERS: usize = 16_384;

/// A tunnel to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Its type, and what stands in its packets' tunnel headers.
    pub encapsulation: Encapsulation,
    /// What it carries. Where that is IP it has exactly one remote, which is no group.
    pub payload: Layer,
    /// The UDP port of both ends; `None`: packets are those of IP itself, which only GRE has a protocol number for.
    pub port: Option<u16>,
    /// The address it receives at and sends from, of the family of its remotes; the unspecified one: any of the host's.
    pub local: IpAddr,
    /// The peers that get what is flooded: no address twice, at most one of them a multicast group.
    pub remotes: Vec<IpAddr>,
    /// The network namespace of its sockets; `None`: that of the process.
    pub netns: Option<String>,
    /// Packets with its number are taken from anybody, not from its peers alone.
    pub accept_any: bool,
    /// What stands in the outer headers.
    pub outer: Outer,
    /// The longest inner packet, 68 to 65,000 bytes; `None`: what the path to its peers lets through.
    pub mtu: Option<u32>,
    /// The MSS that TCP announces through it is lowered to what its MTU allows.
    pub mss_clamp: bool,
    /// What one peer sends is not sent on to others.
    pub split_horizon: bool,
}

/// The type of a tunnel, with what is its type's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// `vxlan` (RFC 7348).
    Vxlan {
        /// Its VNI, below 2^24.
        vni: u32,
        /// Packets with reserved bits set are dropped.
        strict: bool,
    },
    /// `geneve` (RFC 8926).
    Geneve {
        /// Its VNI, below 2^24.
        vni: u32,
        /// The options that it sends; [`geneve::encode`] takes them.
        options: Vec<GeneveOption>,
    },
    /// `gre` (RFC 2784, RFC 2890).
    Gre {
        /// Its key.
        key: Option<u32>,
        /// Packets carry GRE's own checksum.
        checksum: bool,
        /// Packets carry a sequence number.
        sequence: bool,
    },
}

/// An option that a GENEVE tunnel sends. Displayed as `0102:81:deadbeef`: class, type with the critical bit, data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneveOption {
    /// Its class.
    pub class: u16,
    /// Its type; with the critical bit, 0x80, a receiver that does not know it drops the packet.
    pub kind: u8,
    /// Its data.
    pub data: Vec<u8>,
}

impl fmt::Display for GeneveOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:", self.class, self.kind)?;
        self.data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<&GeneveOption> for geneve::Opt {
    fn from(option: &GeneveOption) -> geneve::Opt {
        geneve::Opt { class: option.class, kind: option.kind, data: option.data.clone() }
    }
}

/// The socket that tunnels share, or by which they hear a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayConfig {
    /// The type of all its tunnels.
    pub protocol: &'static str,
    /// The UDP port; `None`: it receives GRE over IP itself.
    pub port: Option<u16>,
    /// The address it receives at: its own, or the multicast group that it hears.
    pub local: IpAddr,
    /// The network namespace it is in; `None`: that of the process.
    pub netns: Option<String>,
    /// Some of its tunnels send packets without UDP checksum.
    pub zero_checksum: bool,
    /// Of a multicast group: an address of the interface on which it is joined; `None`: the kernel's choice.
    pub interface_of: Option<IpAddr>,
}

impl UnderlayConfig {
    /// The name of its port: `udp:10.8.0.1:4789`, `gre:10.8.0.1@blue`, `udp:239.1.1.1:4789%10.8.0.1`. The same name is
    /// the same socket.
    fn name(&self) -> String {
        let place = match self.port {
            Some(port) => format!("udp:{}", SocketAddr::new(self.local, port)),
            None => format!("gre:{}", self.local),
        };
        let interface = self.interface_of.map(|address| format!("%{address}")).unwrap_or_default();
        let netns = self.space().map(|netns| format!("@{netns}")).unwrap_or_default();
        format!("{place}{interface}{netns}")
    }

    /// The name of its namespace, which may be named or given by its path.
    fn space(&self) -> Option<&str> {
        let netns = self.netns.as_deref()?;
        let named = ["/run/netns/", "/var/run/netns/"].iter().find_map(|dir| netns.strip_prefix(dir));
        Some(named.unwrap_or(netns))
    }

    /// Whether it hears a multicast group.
    pub fn is_group(&self) -> bool {
        self.local.is_multicast()
    }

    /// Whether the kernel refuses the socket `other` while this one is open: one of them is for all addresses, so for
    /// the other's too. That of a group, which is shared from the start, may come to the one for all, but not before it.
    pub(super) fn bars(&self, other: &UnderlayConfig) -> bool {
        self.port.is_some()
            && (self.port, self.space()) == (other.port, other.space())
            && self.local.is_ipv4() == other.local.is_ipv4()
            && self.local != other.local
            && (other.local.is_unspecified() || self.local.is_unspecified() && !other.is_group())
    }
}

impl TunnelConfig {
    /// The type's name on the surface.
    pub fn name(&self) -> &'static str {
        self.protocol().name
    }

    /// Its type.
    pub fn protocol(&self) -> &'static Protocol {
        match self.encapsulation {
            Encapsulation::Vxlan { .. } => &vxlan::PROTOCOL,
            Encapsulation::Geneve { .. } => &geneve::PROTOCOL,
            Encapsulation::Gre { .. } => &gre::PROTOCOL,
        }
    }

    /// Its VNI or key.
    pub fn number(&self) -> Option<u32> {
        match self.encapsulation {
            Encapsulation::Vxlan { vni, .. } | Encapsulation::Geneve { vni, .. } => Some(vni),
            Encapsulation::Gre { key, .. } => key,
        }
    }

    /// What tells it from other tunnels over its underlay.
    pub fn id(&self) -> TunnelId {
        self.number().map_or(TunnelId::NONE, TunnelId::new)
    }

    /// The multicast group among its remotes.
    pub fn group(&self) -> Option<IpAddr> {
        self.remotes.iter().copied().find(IpAddr::is_multicast)
    }

    /// The peer that whatever it carries goes to, when it has one only.
    pub fn only_peer(&self) -> Option<IpAddr> {
        match self.remotes[..] {
            [remote] if !remote.is_multicast() => Some(remote),
            _ => None,
        }
    }

    /// Whether other stations are behind it when it becomes `to`: it leads to another of the networks beyond its peers,
    /// or into another one between, or unknown peers are not taken any more.
    pub fn leads_elsewhere(&self, to: &TunnelConfig) -> bool {
        let network = |of: &TunnelConfig| (of.name(), of.id(), of.port, of.netns.clone());
        network(self) != network(to) || self.accept_any && !to.accept_any
    }

    /// The name of the underlay that it sends by and receives from.
    pub fn underlay(&self) -> String {
        self.own_underlay().name()
    }

    /// The name of the underlay by which it hears its multicast group, if it has one.
    pub fn group_underlay(&self) -> Option<String> {
        Some(self.underlay_of_group(self.group()?).name())
    }

    fn own_underlay(&self) -> UnderlayConfig {
        UnderlayConfig {
            protocol: self.name(),
            port: self.port,
            local: self.local,
            netns: self.netns.clone(),
            zero_checksum: self.port.is_some() && !self.outer.checksum,
            interface_of: None,
        }
    }

    fn underlay_of_group(&self, group: IpAddr) -> UnderlayConfig {
        let interface_of = Some(self.local).filter(|local| !local.is_unspecified());
        UnderlayConfig { local: group, zero_checksum: false, interface_of, ..self.own_underlay() }
    }
}

/// Puts the underlays that the tunnels of `config` need beside its ports.
pub(super) fn add_underlays(config: &mut Config) {
    let mut underlays = BTreeMap::<String, UnderlayConfig>::new();
    for (_, tunnel, _) in config.tunnels() {
        let group = tunnel.group().map(|group| tunnel.underlay_of_group(group));
        for underlay in [Some(tunnel.own_underlay()), group].into_iter().flatten() {
            let shared = underlays.entry(underlay.name()).or_insert_with(|| underlay.clone());
            shared.zero_checksum |= underlay.zero_checksum;
        }
    }
    let port = |(name, underlay)| {
        let port = PortConfig {
            bridge: None,
            vlan: VlanMode::None,
            mode: Mode::default(),
            hairpin: false,
            isolated: false,
            learning: false,
            learn_limit: None,
            storm: Storm::default(),
            guard: GuardConfig::default(),
            wire: None,
            mirror: false,
            kind: PortKind::Underlay(underlay),
        };
        (name, port)
    };
    config.ports.extend(underlays.into_iter().map(port));
}

/// The peers of tunnel `name`: its remotes, and those that only static entries name, which get nothing that is flooded.
pub(super) fn peers(
    tunnel: &TunnelConfig,
    name: &str,
    statics: &[StaticEntry],
) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let of_entries = statics.iter().filter(|entry| entry.port == name).filter_map(|entry| entry.remote);
    let others: BTreeSet<_> = of_entries.filter(|remote| !tunnel.remotes.contains(remote)).collect();
    (tunnel.remotes.clone(), others.into_iter().collect())
}

// -- Reading

/// Largest VNI.
const MAX_VNI: u32 = (1 << 24) - 1;

pub(super) fn vxlan(keys: &mut Keys<'_>, _: &str) -> PortKind {
    let encapsulation =
        Encapsulation::Vxlan { vni: vni(keys), strict: keys.get("strict", value::boolean).unwrap_or(false) };
    let port = udp_port(keys, &vxlan::PROTOCOL);
    tunnel(keys, encapsulation, Layer::Ethernet, Some(port), "checksum")
}

pub(super) fn geneve(keys: &mut Keys<'_>, _: &str) -> PortKind {
    let options = keys.tables("options", geneve_option);
    let encoded: Vec<_> = options.iter().map(geneve::Opt::from).collect();
    if let Err(why) = geneve::encode(&encoded) {
        keys.complain("options", why);
    }
    let encapsulation = Encapsulation::Geneve { vni: vni(keys), options };
    let (payload, port) = (payload(keys), udp_port(keys, &geneve::PROTOCOL));
    tunnel(keys, encapsulation, payload, Some(port), "checksum")
}

pub(super) fn gre(keys: &mut Keys<'_>, _: &str) -> PortKind {
    let encapsulation = Encapsulation::Gre {
        key: keys.get("key", number("key", 0..=u32::MAX)),
        checksum: keys.get("checksum", value::boolean).unwrap_or(false),
        sequence: keys.get("sequence", value::boolean).unwrap_or(false),
    };
    let over_ip = keys.get("transport", one_of("transport", [("udp", false), ("ip", true)])).unwrap_or(false);
    for key in ["port", "udp-checksum"] {
        if over_ip && keys.has(key) {
            let expected = format!("(expected no `{key}` beside transport = \"ip\")");
            keys.complain(key, format!("GRE over IP has no UDP header {expected}"));
        }
    }
    let (payload, port) = (payload(keys), udp_port(keys, &gre::PROTOCOL));
    tunnel(keys, encapsulation, payload, (!over_ip).then_some(port), "udp-checksum")
}

fn vni(keys: &mut Keys<'_>) -> u32 {
    let vni = keys.require("vni", &format!("0 to {MAX_VNI}"), number("VNI", 0..=MAX_VNI));
    vni.unwrap_or_default()
}

fn udp_port(keys: &mut Keys<'_>, protocol: &Protocol) -> u16 {
    keys.get("port", number("UDP port", 1..=u16::MAX)).unwrap_or(protocol.port)
}

fn payload(keys: &mut Keys<'_>) -> Layer {
    let layers = [("ethernet", Layer::Ethernet), ("ip", Layer::Ip)];
    keys.get("payload", one_of("payload", layers)).unwrap_or_default()
}

/// The keys that all tunnels have; `checksum` is what the type calls the outer UDP checksum.
fn tunnel(
    keys: &mut Keys<'_>,
    encapsulation: Encapsulation,
    payload: Layer,
    port: Option<u16>,
    checksum: &'static str,
) -> PortKind {
    let remotes = keys.get("remotes", value::hosts).unwrap_or_default();
    let unspecified = match remotes.first() {
        Some(IpAddr::V6(_)) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::from(Ipv4Addr::UNSPECIFIED),
    };
    let default = Outer::default();
    let accept = keys.get("accept", one_of("way to accept", [("remotes", false), ("any", true)]));
    let tunnel = TunnelConfig {
        encapsulation,
        payload,
        port,
        local: keys.get("local", value::local_host).unwrap_or(unspecified),
        remotes,
        netns: keys.get("netns", value::netns),
        accept_any: accept.unwrap_or(false),
        outer: Outer {
            tos: keys.get("tos", tos).unwrap_or(default.tos),
            ttl: keys.get("ttl", inherited("TTL", "1 to 255", ttl)).unwrap_or(default.ttl),
            dont_fragment: keys
                .get("df", inherited("choice", "true, false", |item| value::boolean(item).ok()))
                .unwrap_or(default.dont_fragment),
            checksum: keys.get(checksum, value::boolean).unwrap_or(default.checksum),
        },
        mtu: keys.get("mtu", number("MTU", 68..=65_000)),
        mss_clamp: keys.get("mss-clamp", value::boolean).unwrap_or(false),
        split_horizon: keys.get("split-horizon", value::boolean).unwrap_or(true),
    };
    check_remotes(keys, &tunnel);
    PortKind::Tunnel(tunnel)
}

/// What is wrong with remotes beside one another and beside `local`.
fn check_remotes(keys: &mut Keys<'_>, tunnel: &TunnelConfig) {
    let remotes = &tunnel.remotes;
    if remotes.len() > MAX_PEERS {
        return keys
            .complain("remotes", format!("{} are too many (expected at most {MAX_PEERS})", remotes.len()));
    }
    let mut seen = BTreeSet::new();
    let complaint = remotes.iter().find_map(|remote| {
        if !seen.insert(remote) {
            return Some(format!("{remote} is named twice (expected each peer once)"));
        }
        if remote.is_ipv4() != tunnel.local.is_ipv4() {
            let local = if keys.has("local") { tunnel.local } else { remotes[0] };
            return Some(format!(
                "{remote} and {local} are of two families (expected IPv4 or IPv6 addresses alone)"
            ));
        }
        (*remote == tunnel.local)
            .then(|| format!("{remote} is the tunnel's own address (expected those of peers)"))
    });
    if let Some(complaint) = complaint {
        return keys.complain("remotes", complaint);
    }
    let groups = remotes.iter().filter(|remote| remote.is_multicast()).count();
    if groups > 1 {
        keys.complain("remotes", format!("{groups} of them are multicast groups (expected one at most)"));
    } else if let Some(group) =
        tunnel.group().filter(|_| !tunnel.accept_any && tunnel.payload == Layer::Ethernet)
    {
        let why = "its members are not known beforehand (expected `accept = \"any\"` beside it)";
        keys.complain("remotes", format!("{group} is a multicast group, and {why}"));
    }
    if tunnel.payload == Layer::Ip && tunnel.only_peer().is_none() && !keys.failed("remotes") {
        let found =
            if groups > 0 { "a multicast group".into() } else { format!("{} remotes", remotes.len()) };
        keys.complain("remotes", format!("{found} for a tunnel that carries IP (expected one peer)"));
    }
}

fn tos(item: &Item) -> Result<Option<u8>, Fault> {
    let dscp = |item: &Item| number("TOS", 0..=u8::MAX)(item).ok().filter(|tos| tos & 3 == 0);
    inherited("TOS", "0 to 252 in steps of 4, since ECN is not to be set", dscp)(item)
}

fn ttl(item: &Item) -> Option<u8> {
    number("TTL", 1..=u8::MAX)(item).ok()
}

fn geneve_option(mut keys: Keys<'_>) -> GeneveOption {
    let class = keys.require("class", "0 to 65535", number("class", 0..=u16::MAX)).unwrap_or_default();
    let kind = keys.require("type", "0 to 127", number("type of an option", 0..=127u8)).unwrap_or_default();
    let data = keys.get("data", hex).unwrap_or_default();
    let critical = keys.get("critical", value::boolean).unwrap_or(false);
    keys.finish(|_| None);
    GeneveOption { class, kind: kind | if critical { 0x80 } else { 0 }, data }
}

/// Whole words in hexadecimal digits: an option's data is counted in words (RFC 8926, 3.5).
fn hex(item: &Item) -> Result<Vec<u8>, Fault> {
    let digits = match &item.node {
        Node::Leaf(toml::Value::String(text)) if text.is_ascii() => Some(text.as_bytes()),
        _ => None,
    };
    let byte = |pair: &[u8]| {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
    };
    let bytes = digits.filter(|digits| digits.len() % 8 == 0);
    let bytes = bytes.and_then(|digits| digits.chunks_exact(2).map(byte).collect::<Option<Vec<_>>>());
    bytes.ok_or_else(|| {
        no(item, "data of an option", "\"deadbeef\": 8 hexadecimal digits for each 4 bytes").into()
    })
}
