//! Exports: what is told to a collector of sFlow or IPFIX, `[export.NAME]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Item;
use super::keys::Keys;
use super::value::{self, Read, needs_interface, no, number, one_of, text};

/// Most exports: each has a countdown of its own that every frame takes part in.
pub const MAX_EXPORTS: usize = 4;

/// What is told to a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Where the datagrams go to: a host, no group.
    pub collector: SocketAddr,
    /// The address they come from, of the collector's family; `None`: the kernel's choice.
    pub source: Option<IpAddr>,
    /// The network namespace of the socket; `None`: that of the process.
    pub netns: Option<String>,
    /// One frame in so many is sampled, 1 to 1,000,000,000.
    pub sample: u32,
    /// Where frames have to come in.
    pub scope: ExportScope,
    /// What tells several exports of one host apart: the sub-agent of sFlow, the observation domain of IPFIX.
    pub domain: u32,
    /// The protocol, with the keys of its own.
    pub protocol: ExportProtocol,
}

/// The ports whose frames are sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportScope {
    /// All of them.
    All,
    /// Those of a bridge.
    Bridge(String),
    /// These: at least one, none twice.
    Ports(Vec<String>),
}

/// The protocol of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportProtocol {
    /// sFlow version 5: each sampled frame's first bytes, and counters of ports.
    Sflow {
        /// The address that the switch is known by; `None`: that of the socket.
        agent: Option<IpAddr>,
        /// Bytes of a frame that are told, 64 to 256.
        header: usize,
        /// How often counters are told, at least 1 s; zero: never.
        interval: Duration,
    },
    /// IPFIX (RFC 7011): flows, put together from the samples.
    Ipfix {
        /// How long a flow goes on before it is told, 1 s to 3600 s.
        active: Duration,
        /// How long after its last sample a flow is told as ended, 1 s to 3600 s.
        inactive: Duration,
        /// How often templates are told, 1 s to 86,400 s.
        templates: Duration,
        /// Most flows that are kept until they are told, 1 to 1,000,000.
        flow_limit: usize,
    },
}

impl ExportProtocol {
    /// The protocol's name on the surface.
    pub fn name(&self) -> &'static str {
        match self {
            ExportProtocol::Sflow { .. } => "sflow",
            ExportProtocol::Ipfix { .. } => "ipfix",
        }
    }
}

/// As the keys say it: `all ports`, `bridge lan`, `ports vm1 vm2`.
impl fmt::Display for ExportScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportScope::All => f.write_str("all ports"),
            ExportScope::Bridge(bridge) => write!(f, "bridge {bridge}"),
            ExportScope::Ports(ports) => write!(f, "ports {}", ports.join(" ")),
        }
    }
}

#[derive(Clone, Copy)]
enum Protocol {
    Sflow,
    Ipfix,
}

impl Protocol {
    /// The collector's port where none is given (IANA).
    fn port(self) -> u16 {
        match self {
            Protocol::Sflow => 6343,
            Protocol::Ipfix => 4739,
        }
    }
}

/// An export; `None` when it has no protocol that would say which keys it may have.
pub(super) fn export(mut keys: Keys<'_>) -> Option<ExportConfig> {
    let words = [("sflow", Protocol::Sflow), ("ipfix", Protocol::Ipfix)];
    let expected = "\"sflow\" or \"ipfix\"";
    let protocol = keys.require("protocol", expected, one_of("protocol of an export", words))?;
    let collector = keys.require("collector", COLLECTOR, collector);
    let (address, port) = collector.unwrap_or((IpAddr::from([0; 4]), None));
    let source = keys.get("source", value::local_host).filter(|source| !source.is_unspecified());
    if let Some(source) = source.filter(|source| source.is_ipv4() != address.is_ipv4() && collector.is_some())
    {
        let message =
            format!("{source} is of another family than the collector, {address} (expected one family)");
        keys.complain("source", message);
    }
    let config = ExportConfig {
        collector: SocketAddr::new(address, port.unwrap_or(protocol.port())),
        source,
        netns: keys.get("netns", value::netns),
        sample: keys.get("sample", number("rate of sampling", 1..=1_000_000_000)).unwrap_or(1000),
        scope: scope(&mut keys),
        domain: keys.get("domain", number("domain", 0..=u32::MAX)).unwrap_or(1),
        protocol: own_keys(&mut keys, protocol),
    };
    keys.finish(|key| {
        let (of, other) = match protocol {
            Protocol::Sflow => ("ipfix", IPFIX_KEYS.as_slice()),
            Protocol::Ipfix => ("sflow", SFLOW_KEYS.as_slice()),
        };
        other
            .contains(&key)
            .then(|| format!("`{key}` is a key of {of} (expected protocol = \"{of}\" beside it)"))
    });
    Some(config)
}

const SFLOW_KEYS: [&str; 3] = ["agent", "header", "interval"];
const IPFIX_KEYS: [&str; 4] = ["active-timeout", "inactive-timeout", "template-interval", "flow-limit"];

fn own_keys(keys: &mut Keys<'_>, protocol: Protocol) -> ExportProtocol {
    let secs = Duration::from_secs;
    match protocol {
        Protocol::Sflow => ExportProtocol::Sflow {
            agent: keys.get("agent", value::local_host).filter(|agent| !agent.is_unspecified()),
            header: keys.get("header", number("length of a header", 64..=256)).unwrap_or(128),
            interval: keys.get("interval", value::duration(secs(1)..=secs(3600))).unwrap_or(secs(20)),
        },
        Protocol::Ipfix => ExportProtocol::Ipfix {
            active: keys.get("active-timeout", positive(secs(1)..=secs(3600))).unwrap_or(secs(60)),
            inactive: keys.get("inactive-timeout", positive(secs(1)..=secs(3600))).unwrap_or(secs(15)),
            templates: keys.get("template-interval", positive(secs(1)..=secs(86_400))).unwrap_or(secs(60)),
            flow_limit: keys.get("flow-limit", number("limit", 1..=1_000_000)).unwrap_or(8192),
        },
    }
}

fn scope(keys: &mut Keys<'_>) -> ExportScope {
    let bridge = keys.get("bridge", value::name);
    let ports = keys.get("ports", value::list(value::name));
    if keys.has("bridge") && keys.has("ports") {
        keys.complain(
            "ports",
            "an export is of a bridge or of ports (expected `bridge` or `ports`, not both)",
        );
    }
    match (bridge, ports) {
        (Some(bridge), _) => ExportScope::Bridge(bridge),
        (None, Some(ports)) => ExportScope::Ports(ports),
        (None, None) => ExportScope::All,
    }
}

const COLLECTOR: &str = "\"10.0.0.1:6343\", \"[fd00::1]:6343\", or the address alone";

/// The address of a host, also this one, with or without a port behind it.
fn collector(item: &Item) -> Read<(IpAddr, Option<u16>)> {
    let whole = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let place = text(item).and_then(|text| {
        let with_port = || text.parse::<SocketAddr>().ok().map(|place| (place.ip(), Some(place.port())));
        whole(text).map(|address| (address, None)).or_else(with_port)
    });
    let is_host = |address: IpAddr| {
        let nobody = address.is_unspecified() || address == IpAddr::from([255; 4]);
        !nobody && !address.is_multicast() && !needs_interface(address)
    };
    let place = place.map(|(address, port)| (address.to_canonical(), port));
    place
        .filter(|(address, port)| is_host(*address) && *port != Some(0))
        .ok_or_else(|| no(item, "address of a collector", COLLECTOR).into())
}

/// A duration within `range`, which is not zero.
fn positive(range: RangeInclusive<Duration>) -> impl Fn(&Item) -> Read<Duration> {
    move |item| {
        let duration = text(item).and_then(value::parse_duration).filter(|duration| range.contains(duration));
        duration.ok_or_else(|| {
            let (least, most) = (value::duration_text(*range.start()), value::duration_text(*range.end()));
            no(item, "duration", &format!("\"{least}\" to \"{most}\"")).into()
        })
    }
}
