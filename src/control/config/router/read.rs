//! Reading `[router.NAME]`.

use std::net::IpAddr;
use std::time::Duration;

use super::{
    AdvertiseConfig, Filtering, InterfaceConfig, Mapping, On, ReversePath, RouteConfig, RouteKind,
    RouterConfig, StaticNeighbor, Timeouts,
};
use crate::control::config::document::Item;
use crate::control::config::keys::Keys;
use crate::control::config::prefix::Prefix;
use crate::control::config::read::{LEAST_IPV6_MTU, named};
use crate::control::config::rule::{Hook, Policy};
use crate::control::config::value::{self, Read, duration_text, list, no, number, one_of};
use crate::control::config::{nat, net, rule};

/// Most routes of a router.
const MAX_ROUTES: usize = 2_000_000;
/// Most translations of a router.
const MAX_NAT: usize = 10_000;
/// Most static neighbours of a router.
const MAX_STATIC_NEIGHBORS: usize = 100_000;
/// Most next hops of a route.
const MAX_NEXT_HOPS: usize = 64;
/// Most sessions of a router.
const MAX_SESSIONS: u32 = 16_000_000;

/// Reads the router `name`.
pub(in crate::control::config) fn router(mut keys: Keys<'_>, name: &str) -> RouterConfig {
    let default = RouterConfig::default();
    let sessions = keys.get("sessions", number("limit", 16..=MAX_SESSIONS)).unwrap_or(default.sessions);
    let tables = format!("router.{name}.interface");
    let router = RouterConfig {
        interfaces: keys
            .table("interface", |keys| named(keys, &tables, |keys, _| Some(interface(keys))))
            .unwrap_or_default(),
        routes: keys.tables("route", route),
        nat: keys.tables("nat", nat::read::nat).into_iter().flatten().collect(),
        neighbors: keys.tables("neighbor", neighbor),
        policies: keys.table("policy", policies).unwrap_or(default.policies),
        sessions,
        sessions_per_source: keys
            .get("sessions-per-source", number("limit", 1..=sessions))
            .unwrap_or(sessions / 4),
        mapping: keys.get("mapping", mapping).unwrap_or_default(),
        filtering: keys.get("filtering", filtering).unwrap_or_default(),
        timeouts: keys.table("timeout", timeouts).unwrap_or_default(),
        neighbor_limit: keys
            .get("neighbor-limit", number("limit", 16..=1_000_000))
            .unwrap_or(default.neighbor_limit),
        icmp_rate: keys
            .get("icmp-rate", number("rate in packets per second", 0..=1_000_000))
            .unwrap_or(default.icmp_rate),
    };
    keys.at_most("route", router.routes.len(), MAX_ROUTES);
    keys.at_most("nat", router.nat.len(), MAX_NAT);
    keys.at_most("neighbor", router.neighbors.len(), MAX_STATIC_NEIGHBORS);
    keys.finish(|_| None);
    router
}

fn mapping(item: &Item) -> Read<Mapping> {
    one_of(
        "mapping",
        [Mapping::EndpointIndependent, Mapping::AddressAndPortDependent]
            .map(|mapping| (mapping.name(), mapping)),
    )(item)
}

fn filtering(item: &Item) -> Read<Filtering> {
    let all =
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];
    one_of("filtering", all.map(|filtering| (filtering.name(), filtering)))(item)
}

fn policies(mut keys: Keys<'_>) -> [Policy; 5] {
    let policies = Hook::ALL.map(|hook| keys.get(hook.name(), rule::read::policy).unwrap_or_default());
    keys.finish(|_| None);
    policies
}

// -- Timeouts

/// The longest that a session may last unused.
const LONGEST: Duration = Duration::from_secs(1_000_000);

fn timeouts(mut keys: Keys<'_>) -> Timeouts {
    let default = Timeouts::default();
    let mut get = |key, least, why: &'static str, otherwise| {
        keys.get(key, timeout(Duration::from_secs(least), why)).unwrap_or(otherwise)
    };
    let timeouts = Timeouts {
        udp: get("udp", 120, "RFC 4787, REQ-5", default.udp),
        udp_unreplied: get("udp-unreplied", 120, "RFC 4787, REQ-5", default.udp_unreplied),
        tcp_established: get("tcp-established", 7440, "RFC 5382, REQ-5", default.tcp_established),
        tcp_half_open: get("tcp-half-open", 240, "RFC 5382, REQ-5", default.tcp_half_open),
        tcp_closing: get("tcp-closing", 240, "RFC 5382, REQ-5", default.tcp_closing),
        icmp: get("icmp", 60, "RFC 5508, REQ-1", default.icmp),
        other: get("other", 1, "", default.other),
    };
    keys.finish(|_| None);
    timeouts
}

/// A duration that is at least what `why` demands.
fn timeout(least: Duration, why: &'static str) -> impl Fn(&Item) -> Read<Duration> {
    move |item| {
        let (from, to) = (duration_text(least), duration_text(LONGEST));
        let duration =
            value::text(item).and_then(value::parse_duration).filter(|duration| *duration <= LONGEST);
        match duration {
            None => Err(no(item, "duration", &format!("\"{from}\" to \"{to}\"")).into()),
            Some(duration) if duration < least && why.is_empty() => {
                Err(format!("{item} is too short (expected \"{from}\" or more)").into())
            }
            Some(duration) if duration < least => {
                Err(format!("{item} is too short (expected \"{from}\" or more, as {why})").into())
            }
            Some(duration) => Ok(duration),
        }
    }
}

// -- Interfaces

fn interface(mut keys: Keys<'_>) -> InterfaceConfig {
    let on = on(&mut keys);
    let address = keys.get("address", list(net::own_address)).unwrap_or_default();
    let mut interface = InterfaceConfig {
        mtu: keys.get("mtu", number("MTU", 68..=65_521)),
        reverse_path: keys.get("reverse-path", reverse_path).unwrap_or_default(),
        advertise: None,
        on,
        address,
    };
    let networks = interface.networks().filter(advertised).collect();
    interface.advertise = keys.table("advertise", |keys| advertise(keys, networks));
    if let Some(mtu) = interface.mtu.filter(|mtu| *mtu < LEAST_IPV6_MTU)
        && interface.address.iter().any(|(address, _)| address.is_ipv6())
    {
        keys.complain("mtu", format!("{mtu} is too little for IPv6 (expected {LEAST_IPV6_MTU} or more)"));
    }
    if matches!(interface.on, On::Bridge { .. }) && interface.address.is_empty() && !keys.failed("address") {
        let expected = "(expected \"10.9.0.1/24\"; only an interface at a port needs none)";
        keys.complain("address", format!("missing {expected}"));
    }
    if matches!(interface.on, On::Port(_)) && keys.has("advertise") {
        keys.complain(
            "advertise",
            "a port that carries IP has no hosts to tell (expected only on an interface of a bridge)",
        );
    }
    keys.finish(|_| None);
    interface
}

fn on(keys: &mut Keys<'_>) -> On {
    let bridge = keys.get("bridge", value::name);
    let vlan = keys.get("vlan", value::vlan);
    let port = keys.get("port", value::name);
    match (keys.has("bridge"), keys.has("port")) {
        (true, true) => {
            let expected = "(expected `bridge` or `port`, not both)";
            keys.complain("port", format!("an interface is on a bridge or at a port {expected}"));
        }
        (false, false) => {
            keys.complain("bridge", "missing (expected the name of a bridge, or `port` and that of a port)");
        }
        (false, true) if keys.has("vlan") => {
            keys.complain("vlan", "a port that carries IP has no VLANs (expected no `vlan` beside `port`)");
        }
        _ => {}
    }
    match port {
        Some(port) => On::Port(port),
        None => On::Bridge { bridge: bridge.unwrap_or_default(), vlan },
    }
}

fn reverse_path(item: &Item) -> Read<ReversePath> {
    let all = [ReversePath::Off, ReversePath::Loose, ReversePath::Strict];
    one_of("choice", all.map(|choice| (choice.name(), choice)))(item)
}

/// Whether hosts may be told of this network.
fn advertised(network: &Prefix) -> bool {
    matches!(network.address, IpAddr::V6(address) if !address.is_unicast_link_local())
}

fn advertise(mut keys: Keys<'_>, networks: Vec<Prefix>) -> AdvertiseConfig {
    let secs = Duration::from_secs;
    // Of zero length, none would ever be sent.
    let interval = value::duration(secs(4)..=secs(1800));
    let interval = keys.get("interval", |item: &Item| match interval(item)? {
        Duration::ZERO => Err(no(item, "interval", "\"4s\" to \"1800s\"").into()),
        interval => Ok(interval),
    });
    let interval = interval.unwrap_or(secs(600));
    let lifetime = keys.get("lifetime", value::duration(interval..=secs(9000)));
    let prefix = |item: &Item| match net::network(item)? {
        network if advertised(&network) => Ok(network),
        _ => Err(no(item, "IPv6 network that hosts can be in", "\"fd00:9::/64\"").into()),
    };
    let config = AdvertiseConfig {
        lifetime: lifetime.unwrap_or((interval * 3).min(secs(9000))),
        interval,
        prefixes: keys.get("prefixes", list(prefix)).unwrap_or(networks),
        dns: keys.get("dns", list(net::host_v6)).unwrap_or_default(),
        managed: keys.get("managed", value::boolean).unwrap_or(false),
        other: keys.get("other", value::boolean).unwrap_or(false),
    };
    keys.finish(|_| None);
    config
}

// -- Routes and neighbours

fn route(mut keys: Keys<'_>) -> RouteConfig {
    let via = keys.get("via", list(net::host)).unwrap_or_default();
    // A next hop that could not be read has told what is wrong; which family it was of does not matter any more.
    let ipv4 = via.first().map(IpAddr::is_ipv4).or(keys.has("via").then_some(true));
    let to = keys.require("to", "a network, or \"default\"", |item| destination(item, ipv4));
    let route = RouteConfig {
        to: to.unwrap_or(Prefix::all(true)),
        kind: kind(&mut keys),
        via,
        interface: keys.get("interface", value::name),
        metric: keys.get("metric", number("metric", 0..=u32::MAX)).unwrap_or(0),
    };
    if let Some((key, message)) = wrong_route(&route, to.is_some(), keys.has("via") || keys.has("interface"))
    {
        keys.complain(key, message);
    }
    keys.finish(|_| None);
    route
}

fn kind(keys: &mut Keys<'_>) -> RouteKind {
    let mut kind = RouteKind::Unicast;
    for other in [RouteKind::Blackhole, RouteKind::Unreachable, RouteKind::Prohibit] {
        if keys.get(other.name(), value::boolean) == Some(true) {
            if kind != RouteKind::Unicast {
                let message = format!("the route is a {} already (expected one of the two)", kind.name());
                keys.complain(other.name(), message);
            }
            kind = other;
        }
    }
    kind
}

/// A network that a route can lead to; `ipv4` says of which family "default" is.
fn destination(item: &Item, ipv4: Option<bool>) -> Read<Prefix> {
    if value::text(item) == Some("default") {
        return ipv4.map(Prefix::all).ok_or_else(|| {
            let expected = "(expected \"0.0.0.0/0\" or \"::/0\", or `via` beside it)";
            format!("{item} is of IPv4 or of IPv6 {expected}").into()
        });
    }
    let network = net::network(item)?;
    if network.length > 0 && (network.address.is_multicast() || network.address.is_loopback()) {
        return Err(no(item, "network to route to", "one of hosts elsewhere").into());
    }
    Ok(network)
}

/// What of a route contradicts itself; `sound` says whether where it leads to is known, and `leads` whether it says by
/// what.
fn wrong_route(route: &RouteConfig, sound: bool, leads: bool) -> Option<(&'static str, String)> {
    let RouteConfig { to, via, .. } = route;
    if route.kind != RouteKind::Unicast {
        let name = route.kind.name();
        return leads
            .then(|| (name, "such a route leads nowhere (expected no `via` and no `interface`)".to_owned()));
    }
    if !leads {
        return Some(("via", "missing (expected \"10.7.0.1\", `interface`, or `blackhole = true`)".into()));
    }
    if via.len() > MAX_NEXT_HOPS {
        let count = via.len();
        return Some(("via", format!("{count} next hops are too many (expected at most {MAX_NEXT_HOPS})")));
    }
    via.iter().enumerate().find_map(|(index, hop)| {
        if via[..index].contains(hop) {
            return Some(("via", format!("{hop} is named twice (expected each next hop once)")));
        }
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        (sound && hop.is_ipv4() != to.is_ipv4())
            .then(|| ("via", format!("{hop} is no next hop to {to} (expected an {family} address)")))
    })
}

fn neighbor(mut keys: Keys<'_>) -> StaticNeighbor {
    let neighbor = StaticNeighbor {
        interface: keys.require("interface", "the name of an interface", value::name).unwrap_or_default(),
        address: keys.require("address", "an IP address", net::host).unwrap_or(IpAddr::from([0; 4])),
        mac: keys.require("mac", "a MAC address", value::station).unwrap_or_default(),
    };
    keys.finish(|_| None);
    neighbor
}
