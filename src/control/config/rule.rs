//! Filter rules, `[[rule]]`: which packets, where, and what becomes of them.
//!
//! They are in one list for all routers and bridges, so that a rule is a number. At one hook of one router or bridge, the
//! first that accepts, drops or rejects a packet decides; where none does, the policy of the hook.

pub(super) mod read;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::prefix::{addresses_text, ports_text};
use super::router::joined;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// Whose packets.
    pub scope: Scope,
    /// Where on their way; always [`Hook::Forward`] on a bridge.
    pub hook: Hook,
    /// Which of them.
    pub matches: Match,
    /// What becomes of them.
    pub action: Action,
    /// What a person noted.
    pub comment: Option<String>,
}

/// Whose packets a rule sees. Displayed as `router gw` or `bridge lan`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Those that come to this router, which exists.
    Router(String),
    /// The IP packets that this bridge, which exists, forwards between its ports.
    Bridge(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Router(name) => write!(f, "router {name}"),
            Scope::Bridge(name) => write!(f, "bridge {name}"),
        }
    }
}

/// A place on a packet's way through a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// When it has come in, before its destination is translated and its route is looked up.
    Prerouting,
    /// When it is for the router itself.
    Input,
    /// When it is sent on.
    #[default]
    Forward,
    /// When the router itself sends it.
    Output,
    /// When it is about to leave, before its source is translated.
    Postrouting,
}

impl Hook {
    /// All, in the order of a packet's way.
    pub const ALL: [Hook; 5] =
        [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

/// What becomes of a packet that no rule decides on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    #[default]
    Accept,
    /// It is dropped.
    Drop,
}

impl Policy {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        }
    }
}

/// Which packets: those that fit all that is not empty. What fits one element of a list fits it. Displayed as
/// `in lan protocol tcp destination-port 22,443`, and as `all` when it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// They came in by one of these: interfaces of the router, or ports of the bridge. Empty at the hook output.
    pub input: Vec<String>,
    /// They leave by one of these. Empty at the hooks prerouting and input.
    pub out: Vec<String>,
    /// Their protocol, as IP numbers them.
    pub protocols: Vec<u8>,
    /// Where they come from. The ranges are not empty, and each is of one family.
    pub source: Vec<RangeInclusive<IpAddr>>,
    /// Where they go to.
    pub destination: Vec<RangeInclusive<IpAddr>>,
    /// The port they come from. Where there is one, `protocols` are TCP, UDP or both.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// The port they go to; as above.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// What they are in their session.
    pub states: Vec<FlowState>,
    /// Their ICMP type. Where there is one, `protocols` are ICMP, ICMPv6 or both.
    pub icmp_types: Vec<IcmpType>,
}

/// What a packet is in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowState {
    /// It opens one.
    New,
    /// It belongs to one that has been answered, or answers it.
    Established,
    /// It is an ICMP error about one.
    Related,
    /// It belongs to none and cannot open one.
    Invalid,
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlowState::New => "new",
            FlowState::Established => "established",
            FlowState::Related => "related",
            FlowState::Invalid => "invalid",
        })
    }
}

/// A type of ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IcmpType {
    /// Whether it is one of ICMPv6.
    pub v6: bool,
    /// Its number.
    pub number: u8,
}

/// What a rule does with a packet. Displayed as `drop`, `rate-limit 100/s burst 16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on its way, past all further rules of the hook.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender told: a TCP reset, or the ICMP error administratively prohibited.
    Reject,
    /// It is counted, and the next rule asked.
    Count,
    /// A line is logged, not more than some a second, and the next rule asked.
    Log,
    /// It is dropped where there are too many; else the next rule is asked.
    RateLimit {
        /// Packets a second, at least 1.
        rate: u32,
        /// How many may come at once, at least 1.
        burst: u32,
    },
}

impl Action {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            Action::Accept => "accept",
            Action::Drop => "drop",
            Action::Reject => "reject",
            Action::Count => "count",
            Action::Log => "log",
            Action::RateLimit { .. } => "rate-limit",
        }
    }

    /// Whether no further rule is asked.
    pub fn decides(self) -> bool {
        matches!(self, Action::Accept | Action::Drop | Action::Reject)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Action::RateLimit { rate, burst } => write!(f, " {rate}/s burst {burst}"),
            _ => Ok(()),
        }
    }
}

/// The protocols that have names.
pub(super) const PROTOCOLS: [(&str, u8); 9] = [
    ("icmp", ICMP),
    ("igmp", 2),
    ("tcp", TCP),
    ("udp", UDP),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ICMPV6),
    ("sctp", SCTP),
];

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// A protocol's name, or its number where it has none here.
pub fn protocol_text(protocol: u8) -> String {
    let named = PROTOCOLS.iter().find(|(_, number)| *number == protocol);
    named.map_or_else(|| protocol.to_string(), |(name, _)| (*name).to_owned())
}

/// The types of ICMP that have names, with their numbers in ICMP (RFC 792) and in ICMPv6 (RFC 4443, RFC 4861).
pub(super) const ICMP_TYPES: [(&str, Option<u8>, Option<u8>); 14] = [
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("redirect", Some(5), Some(137)),
    ("echo-request", Some(8), Some(128)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
    ("packet-too-big", None, Some(2)),
    ("router-solicitation", Some(10), Some(133)),
    ("router-advertisement", Some(9), Some(134)),
    ("neighbor-solicitation", None, Some(135)),
    ("neighbor-advertisement", None, Some(136)),
    ("multicast-listener-query", None, Some(130)),
];

/// The name of a type of ICMP, or its number.
impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |(_, v4, v6): &&(_, Option<u8>, Option<u8>)| if self.v6 { *v6 } else { *v4 };
        match ICMP_TYPES.iter().find(|entry| number(entry) == Some(self.number)) {
            Some((name, ..)) => f.write_str(name),
            None => write!(f, "{}", self.number),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut say = |key: &str, values: Vec<String>| {
            if !values.is_empty() {
                words.push(format!("{key} {}", values.join(",")));
            }
        };
        let addresses = |ranges: &[RangeInclusive<IpAddr>]| ranges.iter().map(addresses_text).collect();
        let ports = |ranges: &[RangeInclusive<u16>]| ranges.iter().map(ports_text).collect();
        say("in", self.input.clone());
        say("out", self.out.clone());
        say("protocol", self.protocols.iter().map(|protocol| protocol_text(*protocol)).collect());
        say("source", addresses(&self.source));
        say("destination", addresses(&self.destination));
        say("source-port", ports(&self.source_ports));
        say("destination-port", ports(&self.destination_ports));
        say("state", self.states.iter().map(ToString::to_string).collect());
        let mut types: Vec<String> = self.icmp_types.iter().map(ToString::to_string).collect();
        types.dedup();
        say("icmp-type", types);
        f.write_str(if words.is_empty() { "all".into() } else { joined(&words, " ") }.as_str())
    }
}

/// Displayed as `router gw forward: in lan protocol tcp: drop (no ssh from guests)`.
impl fmt::Display for RuleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}: {}", self.scope, self.hook.name(), self.matches, self.action)?;
        self.comment.iter().try_for_each(|comment| write!(f, " ({comment})"))
    }
}
