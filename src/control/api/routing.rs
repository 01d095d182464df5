//! Answers about routers, their tables and filter rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::control::config::Prefix;
use crate::wire::ethernet::Mac;

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterInfo {
    /// Its name.
    pub name: String,
    /// Its interfaces, by name.
    pub interfaces: Vec<RouterInterfaceInfo>,
    /// Its routes, those that follow from its interfaces among them.
    pub routes: u64,
    /// The neighbours that it knows.
    pub neighbors: u64,
    /// The most neighbours that it learns.
    pub neighbor_limit: u64,
    /// The sessions that it keeps.
    pub sessions: u64,
    /// The most sessions that it keeps.
    pub session_limit: u64,
    /// Its filter rules.
    pub rules: u64,
    /// What becomes of what no rule decides on, by hook: `accept` or `drop`.
    pub policies: BTreeMap<String, String>,
}

/// An interface of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterInterfaceInfo {
    /// Its name.
    pub name: String,
    /// Where it is: `bridge lan`, `bridge lan vlan 10`, `port tun0`.
    pub on: String,
    /// Its addresses, each with the length of its network's prefix: `10.9.0.254/24`.
    pub addresses: Vec<String>,
    /// Its MAC address; at a port that carries IP it has none.
    pub mac: Option<Mac>,
    /// The longest packet that leaves by it, in bytes, where that is known.
    pub mtu: Option<u32>,
    /// Whether a packet has to come from where an answer would go: `off`, `loose`, `strict`.
    pub reverse_path: String,
    /// Whether it sends router advertisements.
    pub advertises: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// The router.
    pub router: String,
    /// The network that it leads to.
    pub to: Prefix,
    /// `local` for the router's own addresses, `connected`, `static`, `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
    /// Its next hops, over which packets are spread by flow.
    pub via: Vec<IpAddr>,
    /// The interface that it leaves by, where that is not said by its next hops.
    pub interface: Option<String>,
    /// Of several routes to one network, those with the lowest are taken.
    pub metric: u32,
    /// Whether it is taken: no other one hides it.
    pub active: bool,
}

/// Where a router would send a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteExplanation {
    /// The router.
    pub router: String,
    /// The address that the packet is for.
    pub address: IpAddr,
    /// The address that it is from, if one was given.
    pub from: Option<IpAddr>,
    /// What becomes of it: `forward`, `local` (it is for the router itself), `blackhole`, `unreachable`, `prohibit` or
    /// `no-route`.
    pub verdict: String,
    /// The routes that are the longest match, the lowest metric: several of them share the work.
    pub routes: Vec<RouteInfo>,
    /// Where it can go next, one of them by its flow.
    pub hops: Vec<HopInfo>,
    /// The address that the router itself would send from.
    pub source: Option<IpAddr>,
    /// The way to this answer, a line for each step.
    pub steps: Vec<String>,
}

/// Where a packet can go next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopInfo {
    /// The neighbour that it is sent to; `null` at a port, where that is whoever is at the other end.
    pub neighbor: Option<IpAddr>,
    /// The interface that it leaves by.
    pub interface: String,
    /// The neighbour's MAC address, where it is known.
    pub mac: Option<Mac>,
    /// The neighbour's state, as [`NeighborInfo::state`]; `unknown` where it was never asked for, and `point-to-point` at a
    /// port.
    pub state: String,
}

/// Which neighbours; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighborFilter {
    /// Those of this router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// Those at this interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Those in this network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Prefix>,
}

impl NeighborFilter {
    /// Whether a neighbour is one of them.
    pub fn fits(&self, neighbor: &NeighborInfo) -> bool {
        self.router.as_ref().is_none_or(|router| *router == neighbor.router)
            && self.interface.as_ref().is_none_or(|interface| *interface == neighbor.interface)
            && self.address.is_none_or(|network| network.contains(neighbor.address))
    }
}

/// A neighbour of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborInfo {
    /// The router.
    pub router: String,
    /// The interface that it is at.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, where it is known.
    pub mac: Option<Mac>,
    /// `static`, `incomplete`, `reachable`, `stale`, `probe` or `failed`.
    pub state: String,
    /// Seconds since it was last heard from; a static one is never listened for.
    pub age_secs: Option<u64>,
}

/// Which sessions; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatFilter {
    /// Those of this router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// Those that were opened from this network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// Those whose far end is in this network, as the one who opened them sees it or as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Prefix>,
    /// Those in which this port occurs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Those of this protocol: `tcp`, `udp`, `icmp` … or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Not more than so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl NatFilter {
    /// Whether a session is one of them, however many there are.
    pub fn fits(&self, session: &SessionInfo) -> bool {
        let (original, reply) = (&session.original, &session.reply);
        let ports = [original, reply].into_iter().flat_map(|flow| [flow.source_port, flow.destination_port]);
        let far = |network: &Prefix| network.contains(original.destination) || network.contains(reply.source);
        self.router.as_ref().is_none_or(|router| *router == session.router)
            && self.protocol.as_ref().is_none_or(|protocol| *protocol == session.protocol)
            && self.source.is_none_or(|network| network.contains(original.source))
            && self.destination.as_ref().is_none_or(far)
            && self.port.is_none_or(|port| ports.into_iter().any(|own| own == Some(port)))
    }
}

/// Sessions, and how full the tables are that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatInfo {
    /// The tables, one for each router.
    pub tables: Vec<NatStats>,
    /// The sessions that were asked for.
    pub sessions: Vec<SessionInfo>,
    /// Further ones that were asked for, beyond the limit.
    pub left_out: u64,
}

/// How full a router's table of sessions is, and what could not be put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatStats {
    /// The router.
    pub router: String,
    /// The sessions that it keeps.
    pub sessions: u64,
    /// The most sessions that it keeps.
    pub limit: u64,
    /// Those of its sessions that nobody has answered yet.
    pub half_open: u64,
    /// Sessions that were ever opened.
    pub opened: u64,
    /// Sessions that ended before their time, to make room.
    pub evicted: u64,
    /// Sessions that were refused because the table was full.
    pub refused_full: u64,
    /// Sessions that were refused because their source had its share.
    pub refused_source: u64,
    /// Sessions that were refused because no outside port was left.
    pub refused_ports: u64,
}

/// A session, as its opener and its answerer send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The router.
    pub router: String,
    /// `tcp`, `udp`, `icmp` … or a number.
    pub protocol: String,
    /// `new`, `established`, `closing` …
    pub state: String,
    /// Packets of the one who opened it, as they come in.
    pub original: FlowInfo,
    /// Packets of the one who answers, as they come in.
    pub reply: FlowInfo,
    /// The number of the translation, if its addresses or ports are translated.
    pub nat: Option<u64>,
    /// Seconds until it ends if nobody uses it.
    pub expires_secs: u64,
}

/// What the packets of one direction of a session carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// Where they come from.
    pub source: IpAddr,
    /// Where they go to.
    pub destination: IpAddr,
    /// The port that they come from, or the identifier of an echo; protocols without ports have none.
    pub source_port: Option<u16>,
    /// The port that they go to.
    pub destination_port: Option<u16>,
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatRuleInfo {
    /// The router.
    pub router: String,
    /// Its number, from 1, among those of the router.
    pub number: u64,
    /// What it does: `masquerade out wan`.
    pub text: String,
    /// What a person noted.
    pub comment: Option<String>,
    /// The sessions that it translates now.
    pub sessions: u64,
}

/// A filter rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Its number, from 1, among all rules.
    pub number: u64,
    /// Whose packets it sees: `router gw` or `bridge lan`.
    pub scope: String,
    /// Where on their way: `forward` …
    pub hook: String,
    /// Which of them: `in lan protocol tcp destination-port 22`, or `all`.
    #[serde(rename = "match")]
    pub matches: String,
    /// What becomes of them: `drop`, `rate-limit 100/s burst 16` …
    pub action: String,
    /// What a person noted.
    pub comment: Option<String>,
    /// Frames that fitted it, since it came.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, source_port: u16, destination: &str, destination_port: u16) -> FlowInfo {
        FlowInfo {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: Some(source_port),
            destination_port: Some(destination_port),
        }
    }

    #[test]
    fn a_session_is_found_by_what_either_side_sees() {
        let session = SessionInfo {
            router: "gw".into(),
            protocol: "tcp".into(),
            state: "established".into(),
            original: flow("10.9.0.2", 40_000, "192.0.2.1", 443),
            reply: flow("192.0.2.1", 443, "10.7.0.2", 50_000),
            nat: Some(1),
            expires_secs: 7440,
        };
        let all = NatFilter::default;
        let network = |text: &str| Some(text.parse().unwrap());
        for (filter, fits) in [
            (all(), true),
            (NatFilter { router: Some("gw".into()), ..all() }, true),
            (NatFilter { router: Some("lab".into()), ..all() }, false),
            (NatFilter { source: network("10.9.0.0/24"), ..all() }, true),
            (NatFilter { source: network("10.7.0.2"), ..all() }, false),
            (NatFilter { destination: network("192.0.2.1"), ..all() }, true),
            (NatFilter { destination: network("10.7.0.2"), ..all() }, false),
            (NatFilter { port: Some(50_000), ..all() }, true),
            (NatFilter { port: Some(80), ..all() }, false),
            (NatFilter { protocol: Some("udp".into()), ..all() }, false),
            (NatFilter { protocol: Some("tcp".into()), port: Some(443), ..all() }, true),
        ] {
            assert_eq!(filter.fits(&session), fits, "{filter:?}");
        }
    }

    #[test]
    fn networks_are_text_on_the_wire() {
        let filter: NatFilter =
            serde_json::from_str(r#"{"source":"10.0.0.0/8","destination":"fd00::1"}"#).unwrap();
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(text, r#"{"source":"10.0.0.0/8","destination":"fd00::1/128"}"#);
        let wrong = serde_json::from_str::<NatFilter>(r#"{"source":"10.0.0.1/8"}"#).unwrap_err().to_string();
        assert!(wrong.contains("is no network (expected \"10.0.0.0/8\""), "{wrong}");
    }
}
