//! Routers, their tables and the filter rules, as the API shows them.
//!
//! What is configured is read from the configuration; what is only known while it runs stands in [`Seen`], which is plain
//! data, so that all of this can be tried without a switch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::known;
use crate::control::api::{
    HopInfo, NatFilter, NatInfo, NatRuleInfo, NatStats, NeighborFilter, NeighborInfo, RouteExplanation,
    RouteInfo, RouterInfo, RouterInterfaceInfo, RuleInfo, SessionInfo,
};
use crate::control::config::{
    Config, Hook, InterfaceConfig, NatConfig, On, Prefix, RouteConfig, RouteKind, RouterConfig, Scope,
};
use crate::wire::ethernet::Mac;

/// Sessions that are shown when nobody says how many.
pub(in crate::control) const SHOWN_SESSIONS: usize = 1000;
/// Networks that match less, as an explanation tells them.
const TOLD_NETWORKS: usize = 8;

/// What runs knows of routers beside their configuration.
#[derive(Default)]
pub(in crate::control) struct Seen {
    /// By name.
    pub(in crate::control) routers: BTreeMap<String, SeenRouter>,
    /// Of each rule, in order, frames that fitted it and their bytes.
    pub(in crate::control) rules: Vec<(u64, u64)>,
}

/// What runs knows of one router.
#[derive(Default)]
pub(in crate::control) struct SeenRouter {
    /// Of each interface by name, its MAC address and the longest packet that leaves by it.
    pub(in crate::control) interfaces: BTreeMap<String, (Option<Mac>, Option<u32>)>,
    /// The neighbours that it has learned or asked for.
    pub(in crate::control) neighbors: Vec<SeenNeighbor>,
    /// Those of its sessions that were asked for.
    pub(in crate::control) sessions: Vec<SessionInfo>,
    /// How many more there are.
    pub(in crate::control) left_out: u64,
    /// How many sessions each translation has, in order.
    pub(in crate::control) translated: Vec<u64>,
    /// Its table of sessions; the name of the router and the limit are put in here.
    pub(in crate::control) stats: NatStats,
}

/// A neighbour that was learned or asked for.
pub(in crate::control) struct SeenNeighbor {
    pub(in crate::control) interface: String,
    pub(in crate::control) address: IpAddr,
    pub(in crate::control) mac: Option<Mac>,
    /// As [`NeighborInfo::state`].
    pub(in crate::control) state: &'static str,
    /// The time since it was last heard from.
    pub(in crate::control) age: Duration,
}

impl Seen {
    fn router(&self, name: &str) -> Option<&SeenRouter> {
        self.routers.get(name)
    }
}

/// The routers, or the one called `only`.
fn named<'a>(
    config: &'a Config,
    only: Option<&'a str>,
) -> Result<impl Iterator<Item = (&'a String, &'a RouterConfig)>, String> {
    known(only, config.routers.contains_key(only.unwrap_or_default()), "router")?;
    Ok(config.routers.iter().filter(move |(name, _)| only.is_none_or(|only| only == *name)))
}

/// The router that is meant: the one called `name`, or the only one.
fn meant<'a>(config: &'a Config, name: Option<&'a str>) -> Result<(&'a String, &'a RouterConfig), String> {
    let mut routers = named(config, name)?;
    match (routers.next(), routers.next()) {
        (Some(only), None) => Ok(only),
        (Some((first, _)), Some(_)) => {
            let count = config.routers.len();
            Err(format!("there are {count} routers (expected the name of one, such as {first})"))
        }
        (None, _) => Err("there is no router".into()),
    }
}

/// The routers, or the one called `only`.
pub(in crate::control) fn routers(
    config: &Config,
    seen: &Seen,
    only: Option<&str>,
) -> Result<Vec<RouterInfo>, String> {
    let info = |(name, router): (&String, &RouterConfig)| {
        let live = seen.router(name);
        let scope = Scope::Router(name.clone());
        let neighbors = live.map_or(0, |live| live.neighbors.len()) + router.neighbors.len();
        RouterInfo {
            name: name.clone(),
            interfaces: router
                .interfaces
                .iter()
                .map(|(name, config)| interface(name, config, live))
                .collect(),
            routes: routes_of(name, router).len() as u64,
            neighbors: neighbors as u64,
            neighbor_limit: router.neighbor_limit.into(),
            sessions: live.map_or(0, |live| live.stats.sessions),
            session_limit: router.sessions.into(),
            rules: config.rules.iter().filter(|rule| rule.scope == scope).count() as u64,
            policies: Hook::ALL.map(|hook| (hook.name().into(), router.policy(hook).name().into())).into(),
        }
    };
    Ok(named(config, only)?.map(info).collect())
}

fn interface(name: &str, config: &InterfaceConfig, live: Option<&SeenRouter>) -> RouterInterfaceInfo {
    let (mac, mtu) = live.and_then(|live| live.interfaces.get(name).copied()).unwrap_or_default();
    RouterInterfaceInfo {
        name: name.to_owned(),
        on: config.on.to_string(),
        addresses: config.address.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
        mac,
        mtu,
        reverse_path: config.reverse_path.name().into(),
        advertises: config.advertise.is_some(),
    }
}

// -- Routes

/// The routes of all routers, or of the one called `only`, by network.
pub(in crate::control) fn routes(config: &Config, only: Option<&str>) -> Result<Vec<RouteInfo>, String> {
    Ok(named(config, only)?.flat_map(|(name, router)| routes_of(name, router)).collect())
}

fn routes_of(name: &str, router: &RouterConfig) -> Vec<RouteInfo> {
    let own = |to, kind: &str, interface: &str| RouteInfo {
        router: name.to_owned(),
        to,
        kind: kind.to_owned(),
        via: Vec::new(),
        interface: Some(interface.to_owned()),
        metric: 0,
        active: true,
    };
    let mut routes: Vec<RouteInfo> =
        router.connected().map(|(network, interface)| own(network, "connected", interface)).collect();
    let addresses = |(name, interface): (&'_ String, &'_ InterfaceConfig)| {
        interface
            .address
            .iter()
            .map(|(address, _)| (Prefix::host(*address), name.clone()))
            .collect::<Vec<_>>()
    };
    let local = router.interfaces.iter().flat_map(addresses);
    routes.extend(local.map(|(address, interface)| own(address, "local", &interface)));
    routes.extend(router.routes.iter().map(|route| static_route(name, route)));
    let mut best = BTreeMap::<Prefix, (bool, u32)>::new();
    let rank = |route: &RouteInfo| (!["connected", "local"].contains(&route.kind.as_str()), route.metric);
    for route in &routes {
        let first = best.entry(route.to).or_insert(rank(route));
        *first = rank(route).min(*first);
    }
    for route in &mut routes {
        route.active = best.get(&route.to) == Some(&rank(route));
    }
    routes.sort_by_key(|route| (route.to, rank(route)));
    routes
}

fn static_route(router: &str, route: &RouteConfig) -> RouteInfo {
    let kind = if route.kind == RouteKind::Unicast { "static" } else { route.kind.name() };
    RouteInfo {
        router: router.to_owned(),
        to: route.to,
        kind: kind.into(),
        via: route.via.clone(),
        interface: route.interface.clone(),
        metric: route.metric,
        active: true,
    }
}

/// Where a router would send a packet for `address`, and why.
pub(in crate::control) fn explain(
    config: &Config,
    seen: &Seen,
    router: Option<&str>,
    address: IpAddr,
    from: Option<IpAddr>,
) -> Result<RouteExplanation, String> {
    let (name, router) = meant(config, router)?;
    let address = address.to_canonical();
    if address.is_multicast() {
        return Err(format!(
            "{address} is a group, which no router sends to (expected the address of a host)"
        ));
    }
    let lookup = Lookup { name, router, neighbors: seen.router(name).map_or(&[], |live| &live.neighbors) };
    Ok(lookup.explain(address, from))
}

/// What a question about a router is answered from.
struct Lookup<'a> {
    name: &'a str,
    router: &'a RouterConfig,
    neighbors: &'a [SeenNeighbor],
}

impl Lookup<'_> {
    fn explain(&self, address: IpAddr, from: Option<IpAddr>) -> RouteExplanation {
        let mut matching: Vec<RouteInfo> = routes_of(self.name, self.router);
        matching.retain(|route| route.active && route.to.contains(address));
        let longest = matching.iter().map(|route| route.to.length).max();
        let (routes, shorter): (Vec<_>, Vec<_>) =
            matching.into_iter().partition(|route| Some(route.to.length) == longest);
        // An address of the router's own is a network of one address as well when that is all there is.
        let local = routes.iter().any(|route| route.kind == "local");
        if let Some(what) = self.no_host(address).filter(|_| !local) {
            let mut steps = vec![format!("{address} is {what}: what is for it is dropped")];
            steps.extend(from.map(|from| self.answers(from)));
            let (router, verdict) = (self.name.to_owned(), "martian".to_owned());
            let (routes, hops) = (Vec::new(), Vec::new());
            return RouteExplanation { router, address, from, verdict, routes, hops, source: None, steps };
        }
        let routes: Vec<_> = routes.into_iter().filter(|route| !local || route.kind == "local").collect();
        let mut steps: Vec<String> = routes.iter().map(|route| matched(route, address)).collect();
        steps.extend(
            shorter
                .iter()
                .rev()
                .take(TOLD_NETWORKS)
                .map(|route| format!("{} matches as well, and is shorter", route.to)),
        );
        let verdict = match routes.first().map(|route| route.kind.as_str()) {
            None => "no-route",
            Some("connected" | "static") => "forward",
            Some(kind) => kind,
        };
        if verdict == "no-route" {
            steps.push(format!("no route matches {address}: the sender is told that it is unreachable"));
        }
        let hops = match verdict {
            "forward" => routes.iter().flat_map(|route| self.hops(route, address)).collect(),
            _ => Vec::new(),
        };
        steps.extend(hops.iter().map(told_hop));
        if hops.len() > 1 {
            steps.push(format!("packets are spread over these {} by flow", hops.len()));
        }
        let source = hops.first().and_then(|hop| self.source(hop, address));
        if let Some(source) = source {
            steps.push(format!("the router itself sends from {source}"));
        }
        steps.extend(from.map(|from| self.answers(from)));
        let (router, verdict) = (self.name.to_owned(), verdict.to_owned());
        RouteExplanation { router, address, from, verdict, routes, hops, source, steps }
    }

    /// What an address is that nothing is sent on to, whatever routes say.
    fn no_host(&self, address: IpAddr) -> Option<&'static str> {
        let (everywhere, link_local) = match address {
            IpAddr::V4(v4) => (v4.octets()[0] == 0, v4.is_link_local()),
            IpAddr::V6(v6) => (v6.is_unspecified(), v6.is_unicast_link_local()),
        };
        // Also the old broadcast address of all zeroes.
        let reserved =
            |(network, _): (Prefix, &str)| network.is_ipv4() && network.reserves(address).is_some();
        match () {
            () if address == IpAddr::from([255; 4]) || self.router.connected().any(reserved) => {
                Some("a broadcast address")
            }
            () if everywhere => Some("no address of a host"),
            () if address.is_loopback() => Some("a loopback address"),
            () if link_local => Some("link-local, which no router passes on"),
            () => None,
        }
    }

    /// Where a packet goes next by a route.
    fn hops(&self, route: &RouteInfo, address: IpAddr) -> Vec<HopInfo> {
        let next = |neighbor: IpAddr| {
            let connected = self.router.connected().filter(|(network, _)| network.contains(neighbor));
            let nearest = || connected.max_by_key(|(network, _)| network.length).map(|(_, name)| name);
            let interface = route.interface.as_deref().or_else(nearest)?;
            Some(self.hop(interface, neighbor))
        };
        match route.via.is_empty() {
            true => next(address).into_iter().collect(),
            false => route.via.iter().filter_map(|via| next(*via)).collect(),
        }
    }

    fn hop(&self, interface: &str, neighbor: IpAddr) -> HopInfo {
        let at_port = self.router.interfaces.get(interface).is_some_and(|at| matches!(at.on, On::Port(_)));
        let fixed = self.router.neighbors.iter();
        let fixed = fixed.filter(|known| known.interface == interface && known.address == neighbor);
        let fixed = fixed.map(|known| (Some(known.mac), "static")).next();
        let learned = || {
            let mut known = self.neighbors.iter();
            let found = known.find(|known| known.interface == interface && known.address == neighbor)?;
            Some((found.mac, found.state))
        };
        let (mac, state) = match at_port {
            true => (None, "point-to-point"),
            false => fixed.or_else(learned).unwrap_or((None, "unknown")),
        };
        HopInfo {
            neighbor: (!at_port).then_some(neighbor),
            interface: interface.to_owned(),
            mac,
            state: state.to_owned(),
        }
    }

    /// The address that the router itself would send from: one in the network of the next hop, or another of the
    /// interface, or any of the family.
    fn source(&self, hop: &HopInfo, to: IpAddr) -> Option<IpAddr> {
        let next = hop.neighbor.unwrap_or(to);
        let of_interface = self.router.interfaces.get(&hop.interface).into_iter();
        let of_interface: Vec<_> = of_interface.flat_map(|interface| &interface.address).collect();
        let near = of_interface.iter().find(|(own, length)| Prefix::around(*own, *length).contains(next));
        let others = self.router.interfaces.values().flat_map(|interface| &interface.address);
        let mut all = near.into_iter().copied().chain(of_interface.iter().copied()).chain(others);
        all.find(|(own, _)| own.is_ipv4() == to.is_ipv4()).map(|(own, _)| *own)
    }

    /// By what an answer to `from` would go.
    fn answers(&self, from: IpAddr) -> String {
        let back = self.explain(from, None);
        match back.hops.first() {
            Some(hop) => format!("an answer to {from} leaves by {}", hop.interface),
            None => format!("an answer to {from} goes nowhere: {}", back.verdict),
        }
    }
}

fn matched(route: &RouteInfo, address: IpAddr) -> String {
    match (route.kind.as_str(), &route.interface) {
        ("local", Some(interface)) => {
            format!("{address} is the router's own address on interface {interface}")
        }
        ("connected", Some(interface)) => format!("{address} is in {}, on interface {interface}", route.to),
        ("static", _) => format!("{} is the longest match, metric {}", route.to, route.metric),
        (kind, _) => format!("{} is the longest match, and its kind is {kind}", route.to),
    }
}

fn told_hop(hop: &HopInfo) -> String {
    let HopInfo { neighbor, interface, mac, state } = hop;
    match (neighbor, mac) {
        (None, _) => format!("it leaves by {interface}, at whose other end somebody takes it"),
        (Some(neighbor), Some(mac)) => format!("it leaves by {interface} to {neighbor}, {state} at {mac}"),
        (Some(neighbor), None) => {
            format!("it leaves by {interface} to {neighbor}, whose MAC address is {state}")
        }
    }
}

// -- Neighbours

/// The neighbours that fit, static ones first.
pub(in crate::control) fn neighbors(
    config: &Config,
    seen: &Seen,
    filter: &NeighborFilter,
) -> Result<Vec<NeighborInfo>, String> {
    let mut all = Vec::new();
    for (name, router) in named(config, filter.router.as_deref())? {
        all.extend(router.neighbors.iter().map(|neighbor| NeighborInfo {
            router: name.clone(),
            interface: neighbor.interface.clone(),
            address: neighbor.address,
            mac: Some(neighbor.mac),
            state: "static".into(),
            age_secs: None,
        }));
        let learned = seen.router(name).into_iter().flat_map(|live| &live.neighbors);
        all.extend(learned.map(|neighbor| NeighborInfo {
            router: name.clone(),
            interface: neighbor.interface.clone(),
            address: neighbor.address,
            mac: neighbor.mac,
            state: neighbor.state.into(),
            age_secs: Some(neighbor.age.as_secs()),
        }));
    }
    all.retain(|neighbor| filter.fits(neighbor));
    Ok(all)
}

// -- Sessions and translations

/// The sessions that fit, and how full the tables are.
pub(in crate::control) fn nat(config: &Config, seen: &Seen, filter: &NatFilter) -> Result<NatInfo, String> {
    let mut info = NatInfo::default();
    let limit = filter.limit.unwrap_or(SHOWN_SESSIONS);
    for (name, router) in named(config, filter.router.as_deref())? {
        let live = seen.router(name);
        let stats = live.map(|live| live.stats.clone()).unwrap_or_default();
        info.tables.push(NatStats { router: name.clone(), limit: router.sessions.into(), ..stats });
        let Some(live) = live else { continue };
        info.left_out += live.left_out;
        for session in live.sessions.iter().filter(|session| filter.fits(session)) {
            match info.sessions.len() < limit {
                true => info.sessions.push(session.clone()),
                false => info.left_out += 1,
            }
        }
    }
    Ok(info)
}

/// The translations of all routers, or of the one called `only`.
pub(in crate::control) fn nat_rules(
    config: &Config,
    seen: &Seen,
    only: Option<&str>,
) -> Result<Vec<NatRuleInfo>, String> {
    let mut all = Vec::new();
    for (name, router) in named(config, only)? {
        let counts = seen.router(name).map_or(&[][..], |live| &live.translated);
        all.extend(router.nat.iter().zip(1..).map(|(nat, number)| {
            let text = NatConfig { comment: None, ..nat.clone() }.to_string();
            let sessions = counts.get(number - 1).copied().unwrap_or_default();
            NatRuleInfo {
                router: name.clone(),
                number: number as u64,
                text,
                comment: nat.comment.clone(),
                sessions,
            }
        }));
    }
    Ok(all)
}

// -- Rules

/// The filter rules, or those of a router or a bridge.
pub(in crate::control) fn rules(
    config: &Config,
    seen: &Seen,
    router: Option<&str>,
    bridge: Option<&str>,
) -> Result<Vec<RuleInfo>, String> {
    known(router, config.routers.contains_key(router.unwrap_or_default()), "router")?;
    known(bridge, config.bridges.contains_key(bridge.unwrap_or_default()), "bridge")?;
    let shown = |scope: &Scope| match scope {
        Scope::Router(name) => router.map_or(bridge.is_none(), |only| only == name),
        Scope::Bridge(name) => bridge.map_or(router.is_none(), |only| only == name),
    };
    let rules = config.rules.iter().enumerate().filter(|(_, rule)| shown(&rule.scope));
    let info = rules.map(|(index, rule)| {
        let (frames, bytes) = seen.rules.get(index).copied().unwrap_or_default();
        RuleInfo {
            number: index as u64 + 1,
            scope: rule.scope.to_string(),
            hook: rule.hook.name().into(),
            matches: rule.matches.to_string(),
            action: rule.action.to_string(),
            comment: rule.comment.clone(),
            frames,
            bytes,
        }
    });
    Ok(info.collect())
}

#[cfg(test)]
mod tests;
