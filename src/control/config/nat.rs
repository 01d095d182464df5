//! How a router translates addresses: `[[router.NAME.nat]]`.

pub(super) mod read;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::prefix::{Prefix, addresses_text, ports_text};
use super::router::joined;

/// A translation, of packets that open a session; those that belong to it follow. Displayed as
/// `masquerade out wan source 10.9.0.0/24`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// What is translated into what.
    pub kind: NatKind,
    /// Only packets from one of these networks, which are of one family with each other and all else that is named;
    /// empty: from anywhere.
    pub source: Vec<Prefix>,
    /// Only packets to one of these networks; empty: to anywhere, and with `dnat` and `port-forward` to the addresses of
    /// the interface `input`.
    pub destination: Vec<Prefix>,
    /// What a person noted.
    pub comment: Option<String>,
}

/// What is translated into what. Interfaces that are named exist; ranges are not empty and of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// `masquerade`: the source of what leaves by an interface becomes an address of it.
    Masquerade {
        /// The interface, which has addresses.
        out: String,
        /// The ports to take from; `None`: any.
        ports: Option<RangeInclusive<u16>>,
    },
    /// `snat`: the source of what leaves by an interface becomes one of some addresses.
    Snat {
        /// The interface.
        out: String,
        /// The addresses, at least one.
        to: Vec<RangeInclusive<IpAddr>>,
        /// The ports to take from; `None`: any.
        ports: Option<RangeInclusive<u16>>,
    },
    /// `dnat`: the destination of what comes in by an interface becomes one of some addresses, its port stays.
    Dnat {
        /// The interface.
        input: String,
        /// The addresses, at least one.
        to: Vec<RangeInclusive<IpAddr>>,
    },
    /// `port-forward`: the destination of what comes in by an interface for some ports becomes one of some addresses and
    /// ports.
    PortForward {
        /// The interface.
        input: String,
        /// The protocols, at least one, no one twice.
        protocols: Vec<Transport>,
        /// The ports, from 1.
        ports: RangeInclusive<u16>,
        /// Where to, at least one, over which sessions are spread. `None`: the port stays as it is; of a range of ports,
        /// `Some` is the first of a range as long.
        to: Vec<(IpAddr, Option<u16>)>,
    },
    /// `static`: addresses inside have addresses outside, one to one, both ways.
    Static {
        /// The interface that leads outside.
        interface: String,
        /// The addresses inside.
        internal: Prefix,
        /// The addresses outside, a network as long.
        external: Prefix,
    },
    /// `npt`: the prefix of addresses inside becomes one outside, both ways and without sessions (RFC 6296).
    Npt {
        /// The interface that leads outside.
        out: String,
        /// The network inside, of IPv6, at most 64 bits long.
        internal: Prefix,
        /// The network outside, as long.
        external: Prefix,
    },
}

impl NatKind {
    /// The type's name on the surface.
    pub fn name(&self) -> &'static str {
        match self {
            NatKind::Masquerade { .. } => "masquerade",
            NatKind::Snat { .. } => "snat",
            NatKind::Dnat { .. } => "dnat",
            NatKind::PortForward { .. } => "port-forward",
            NatKind::Static { .. } => "static",
            NatKind::Npt { .. } => "npt",
        }
    }

    /// The interface that it is for, and the key that names it.
    pub fn interface(&self) -> (&'static str, &str) {
        match self {
            NatKind::Masquerade { out, .. } | NatKind::Snat { out, .. } | NatKind::Npt { out, .. } => {
                ("out", out)
            }
            NatKind::Dnat { input, .. } | NatKind::PortForward { input, .. } => ("in", input),
            NatKind::Static { interface, .. } => ("interface", interface),
        }
    }
}

/// A protocol with ports that a port can be forwarded of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

impl fmt::Display for NatConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, interface) = self.kind.interface();
        write!(f, "{} {key} {interface}", self.kind.name())?;
        if let NatKind::PortForward { protocols, ports, .. } = &self.kind {
            write!(f, " protocol {} port {}", joined(protocols, ","), ports_text(ports))?;
        }
        for (key, networks) in [("source", &self.source), ("destination", &self.destination)] {
            if !networks.is_empty() {
                write!(f, " {key} {}", joined(networks, ","))?;
            }
        }
        match &self.kind {
            NatKind::Masquerade { ports, .. } => ports_of(f, ports),
            NatKind::Snat { to, ports, .. } => {
                write!(f, " to {}", ranges(to))?;
                ports_of(f, ports)
            }
            NatKind::Dnat { to, .. } => write!(f, " to {}", ranges(to)),
            NatKind::PortForward { to, .. } => {
                let place = |(address, port): &(IpAddr, Option<u16>)| match port {
                    Some(port) => SocketAddr::new(*address, *port).to_string(),
                    None => address.to_string(),
                };
                write!(f, " to {}", to.iter().map(place).collect::<Vec<_>>().join(","))
            }
            NatKind::Static { internal, external, .. } | NatKind::Npt { internal, external, .. } => {
                write!(f, " internal {internal} external {external}")
            }
        }?;
        self.comment.iter().try_for_each(|comment| write!(f, " ({comment})"))
    }
}

fn ranges(to: &[RangeInclusive<IpAddr>]) -> String {
    to.iter().map(addresses_text).collect::<Vec<_>>().join(",")
}

fn ports_of(f: &mut fmt::Formatter<'_>, ports: &Option<RangeInclusive<u16>>) -> fmt::Result {
    ports.iter().try_for_each(|ports| write!(f, " ports {}", ports_text(ports)))
}
