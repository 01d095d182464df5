//! What of a router contradicts other tables: places that are not there or taken, networks that overlap, next hops that
//! nothing leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Check;
use crate::control::config::errors::Path;
use crate::control::config::nat::{NatConfig, NatKind};
use crate::control::config::prefix::{Prefix, ports_text};
use crate::control::config::router::{
    InterfaceConfig, On, RouteConfig, RouteKind, RouterConfig, StaticNeighbor,
};
use crate::control::config::{PortConfig, VlanMode};
use crate::packet::Layer;

/// What is wrong, and the key that it is wrong at.
type Wrong = (&'static str, String);

impl<'a> Check<'a> {
    pub(super) fn routers(&mut self) {
        self.places();
        for (name, router) in &self.config.routers {
            let path = Path::default().to("router").to(name.as_str());
            self.networks(router, &path);
            // With an interface that could not be read, nobody knows what is connected.
            if self.read.under(&path.to("interface")) {
                continue;
            }
            self.routes(router, &path.to("route"));
            self.neighbors(router, &path.to("neighbor"));
            self.translations(router, &path.to("nat"));
        }
    }

    /// Where interfaces are, over all routers: a place is of one alone.
    fn places(&mut self) {
        let mut taken = BTreeMap::new();
        for (name, router) in &self.config.routers {
            let path = Path::default().to("router").to(name.as_str()).to("interface");
            for (own, interface) in &router.interfaces {
                let path = path.to(own.as_str());
                if ["bridge", "vlan", "port"].into_iter().any(|key| self.read.under(&path.to(key))) {
                    continue;
                }
                let wrong = self.wrong_place(&interface.on).or_else(|| {
                    let (router, first) = *taken.get(&interface.on)?;
                    let key = if matches!(interface.on, On::Port(_)) { "port" } else { "bridge" };
                    let on = &interface.on;
                    let message = format!(
                        "interface {first} of router {router} is on {on} already (expected one alone)"
                    );
                    Some((key, message))
                });
                taken.entry(&interface.on).or_insert((name, own));
                if let Some((key, message)) = wrong {
                    self.found.add(path.to(key), message);
                }
            }
        }
    }

    fn wrong_place(&self, on: &On) -> Option<Wrong> {
        match on {
            On::Bridge { bridge, vlan } => match self.absent("bridge", bridge) {
                Some(message) => Some(("bridge", message)),
                None => self.wrong_vlan(bridge, *vlan).map(|message| ("vlan", message)),
            },
            On::Port(name) => self.wrong_port(name).map(|message| ("port", message)),
        }
    }

    fn wrong_vlan(&self, bridge: &str, vlan: Option<u16>) -> Option<String> {
        // A port that could not be read may be the one that names VLANs.
        let of_bridge = |port: &&PortConfig| port.bridge.as_deref() == Some(bridge);
        let ports = || self.config.ports.values().filter(of_bridge);
        let aware = ports().any(|port| port.vlan != VlanMode::None);
        match vlan {
            _ if self.read.under(&Path::default().to("port")) => None,
            Some(vlan) if !aware => Some(format!(
                "no port of bridge {bridge} names VLANs (expected no `vlan`, or one of them with `vlan` or `trunk`, not {vlan} here alone)"
            )),
            None if aware => {
                Some(format!("missing: bridge {bridge} tells VLANs apart (expected the one that it is in)"))
            }
            _ => None,
        }
    }

    fn wrong_port(&self, name: &str) -> Option<String> {
        let path = Path::default().to("port").to(name);
        let Some(port) = self.config.ports.get(name) else { return self.absent("port", name) };
        if self.read.under(&path) {
            return None;
        }
        if port.kind.layer() != Layer::Ip {
            let expected = "(expected a port that carries IP, or `bridge` and that of the port)";
            return Some(format!("port {name} is a {} of Ethernet {expected}", port.kind.name()));
        }
        let joined =
            |(other, end): (&String, &PortConfig)| (end.wire.as_deref() == Some(name)).then(|| other.clone());
        let other = port.wire.clone().or_else(|| self.config.ports.iter().find_map(joined))?;
        Some(format!("port {name} is joined to {other} by a wire (expected a port without `wire`)"))
    }

    /// Networks of one interface that are those of another as well, and addresses that one has twice.
    fn networks(&mut self, router: &RouterConfig, path: &Path) {
        let mut all = Vec::new();
        for (name, interface) in &router.interfaces {
            let path = path.to("interface").to(name.as_str()).to("address");
            if self.read.under(&path) {
                continue;
            }
            let mut seen = BTreeSet::new();
            for (address, length) in &interface.address {
                if !seen.insert(address) {
                    self.found
                        .add(path.clone(), format!("{address} is named twice (expected each address once)"));
                }
                if !is_link_local(*address) {
                    all.push((Prefix::around(*address, *length), name.as_str(), *address));
                }
            }
        }
        all.sort();
        // The one before that reaches farthest, of this interface or another, is that with which the next overlaps, if
        // with any.
        let mut farthest: Option<(Prefix, &str, IpAddr)> = None;
        for (network, name, address) in all {
            if let Some((other, first, taken)) = farthest
                && other.overlaps(&network)
                && first != name
            {
                let length = network.length;
                let message = format!(
                    "{address}/{length} overlaps {taken}/{} of interface {first} (expected a network of its own)",
                    other.length
                );
                self.found.add(path.to("interface").to(name).to("address"), message);
            }
            if farthest.is_none_or(|(other, ..)| !other.contains(network.address)) {
                farthest = Some((network, name, address));
            }
        }
    }

    // -- Routes and neighbours

    fn routes(&mut self, router: &RouterConfig, path: &Path) {
        // Many routes have few next hops.
        let mut hops = BTreeMap::new();
        let mut groups = BTreeMap::<_, Vec<usize>>::new();
        let faulty = self.read.elements(path);
        for (index, route) in router.routes.iter().enumerate() {
            if faulty.contains(&index) {
                continue;
            }
            let wrong = wrong_interface(router, route).or_else(|| {
                route.via.iter().find_map(|hop| {
                    let key = (*hop, route.interface.as_deref());
                    let message: &Option<String> = hops
                        .entry(key)
                        .or_insert_with(|| wrong_hop(router, *hop, route.interface.as_deref()));
                    message.clone().map(|message| ("via", message))
                })
            });
            if let Some((key, message)) = wrong {
                self.found.add(path.to(index).to(key), message);
                continue;
            }
            let group = groups.entry((route.to, route.metric)).or_default();
            let others = group.iter().map(|other| &router.routes[*other]);
            if let Some((key, message)) = others.into_iter().find_map(|other| contradiction(other, route)) {
                self.found.add(path.to(index).to(key), message);
            }
            group.push(index);
        }
    }

    fn neighbors(&mut self, router: &RouterConfig, path: &Path) {
        let mut seen = BTreeSet::new();
        let faulty = self.read.elements(path);
        for (index, neighbor) in router.neighbors.iter().enumerate() {
            if faulty.contains(&index) {
                continue;
            }
            let StaticNeighbor { interface, address, .. } = neighbor;
            let wrong = wrong_neighbor(router, neighbor).or_else(|| {
                (!seen.insert((interface, address)))
                    .then(|| ("address", format!("{address} has an entry already (expected one)")))
            });
            if let Some((key, message)) = wrong {
                self.found.add(path.to(index).to(key), message);
            }
        }
    }

    // -- Translations

    fn translations(&mut self, router: &RouterConfig, path: &Path) {
        // What could not be read has no place in the list, and numbers those behind it anew.
        if self.read.under(path) {
            return;
        }
        for (index, nat) in router.nat.iter().enumerate() {
            if let Some((key, message)) = wrong_translation(router, nat) {
                self.found.add(path.to(index).to(key), message);
            }
        }
        for (index, message) in taken_ports(&router.nat) {
            self.found.add(path.to(index).to("port"), message);
        }
        for (index, message) in taken_networks(&router.nat) {
            self.found.add(path.to(index).to("external"), message);
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What to say of an interface that the router does not have.
pub(super) fn no_interface(router: &RouterConfig, name: &str) -> Option<String> {
    if router.interfaces.contains_key(name) {
        return None;
    }
    let known: Vec<&str> = router.interfaces.keys().take(8).map(String::as_str).collect();
    let expected = if known.is_empty() {
        "the router to have one".into()
    } else {
        format!("one of {}", known.join(", "))
    };
    Some(format!("there is no interface {name} (expected {expected})"))
}

fn wrong_interface(router: &RouterConfig, route: &RouteConfig) -> Option<Wrong> {
    let name = route.interface.as_deref()?;
    if let Some(message) = no_interface(router, name) {
        return Some(("interface", message));
    }
    let on_bridge = matches!(router.interfaces.get(name)?.on, On::Bridge { .. });
    (on_bridge && route.via.is_empty()).then(|| {
        let message =
            format!("interface {name} is on a bridge, where many can be meant (expected `via` beside it)");
        ("interface", message)
    })
}

/// What is wrong with a next hop, by the interface that is named, if any.
fn wrong_hop(router: &RouterConfig, hop: IpAddr, by: Option<&str>) -> Option<String> {
    if is_own(router, hop) {
        return Some(format!("{hop} is the router's own address (expected that of a neighbour)"));
    }
    let interface = by.and_then(|name| router.interfaces.get(name));
    let networks: Vec<(Prefix, &str)> =
        router.connected().filter(|(_, name)| by.is_none_or(|by| by == *name)).collect();
    let around = networks.iter().find(|(network, _)| network.contains(hop)).map(|(network, _)| *network);
    if let Some(what) = around.and_then(|network| network.reserves(hop)) {
        return Some(format!("{hop} is {what} (expected that of a neighbour)"));
    }
    match interface {
        // At the other end of a port is whoever is there.
        Some(InterfaceConfig { on: On::Port(_), .. }) => None,
        Some(_) if is_link_local(hop) || around.is_some() => None,
        None if is_link_local(hop) => {
            Some(format!("{hop} is link-local (expected `interface` beside it, which says where)"))
        }
        None if around.is_some() => None,
        _ => Some(unreached(hop, by, &networks)),
    }
}

fn unreached(address: IpAddr, by: Option<&str>, networks: &[(Prefix, &str)]) -> String {
    let whose = by.map_or_else(|| "any interface".to_owned(), |name| format!("interface {name}"));
    let mut known: Vec<String> = networks
        .iter()
        .filter(|(network, _)| network.is_ipv4() == address.is_ipv4())
        .take(8)
        .map(|(network, _)| network.to_string())
        .collect();
    if known.is_empty() {
        known.push(format!("a network of {}", if address.is_ipv4() { "IPv4" } else { "IPv6" }));
    }
    format!("{address} is on no network of {whose} (expected an address in {})", known.join(", "))
}

fn is_own(router: &RouterConfig, address: IpAddr) -> bool {
    router.interfaces.values().flat_map(|interface| &interface.address).any(|(own, _)| *own == address)
}

/// What is wrong with a route beside another to the same network with the same metric.
fn contradiction(first: &RouteConfig, route: &RouteConfig) -> Option<Wrong> {
    let to = route.to;
    if first.kind != route.kind || route.kind != RouteKind::Unicast {
        let kind = first.kind.name();
        return Some((
            "to",
            format!("there is a {kind} route to {to} with the same metric (expected another `metric`)"),
        ));
    }
    if route.via.is_empty() && first.via.is_empty() && route.interface == first.interface {
        return Some(("to", format!("there is this route to {to} already (expected one)")));
    }
    let twice = route.via.iter().find(|hop| first.via.contains(hop) && first.interface == route.interface)?;
    Some(("via", format!("{twice} is a next hop of another such route to {to} already (expected one)")))
}

fn wrong_neighbor(router: &RouterConfig, neighbor: &StaticNeighbor) -> Option<Wrong> {
    let StaticNeighbor { interface: name, address, .. } = neighbor;
    if let Some(message) = no_interface(router, name) {
        return Some(("interface", message));
    }
    let interface = router.interfaces.get(name)?;
    if matches!(interface.on, On::Port(_)) {
        let message = format!(
            "interface {name} is at a port that carries IP, without MAC addresses (expected one on a bridge)"
        );
        return Some(("interface", message));
    }
    if is_own(router, *address) {
        return Some((
            "address",
            format!("{address} is the router's own address (expected that of a neighbour)"),
        ));
    }
    let networks: Vec<_> = interface.networks().map(|network| (network, name.as_str())).collect();
    let inside = is_link_local(*address) || networks.iter().any(|(network, _)| network.contains(*address));
    (!inside).then(|| ("address", unreached(*address, Some(name), &networks)))
}

fn wrong_translation(router: &RouterConfig, nat: &NatConfig) -> Option<Wrong> {
    let (key, name) = nat.kind.interface();
    if let Some(message) = no_interface(router, name) {
        return Some((key, message));
    }
    let NatKind::Masquerade { .. } = nat.kind else { return None };
    let families = router.interfaces.get(name)?.address.iter().map(|(address, _)| address.is_ipv4());
    let wanted = nat.source.iter().chain(&nat.destination).map(Prefix::is_ipv4).next();
    let has = families.into_iter().any(|ipv4| wanted.is_none_or(|wanted| wanted == ipv4));
    (!has).then(|| {
        let which = match wanted {
            None => "no address",
            Some(true) => "no IPv4 address",
            Some(false) => "no IPv6 address",
        };
        (key, format!("interface {name} has {which} to take (expected one that has, or type = \"snat\")"))
    })
}

/// The port forwards, by their place in the list, for ports that one before them forwards as well.
fn taken_ports(nat: &[NatConfig]) -> Vec<(usize, String)> {
    let mut groups = BTreeMap::<_, Vec<(u16, u16, usize)>>::new();
    for (index, nat) in nat.iter().enumerate() {
        let NatKind::PortForward { input, protocols, ports, to } = &nat.kind else { continue };
        let family = to.first().map(|(address, _)| address.is_ipv4());
        for protocol in protocols {
            let group = (input, *protocol, family, &nat.source, &nat.destination);
            groups.entry(group).or_default().push((*ports.start(), *ports.end(), index));
        }
    }
    let mut taken = BTreeMap::new();
    for ((input, protocol, ..), mut forwards) in groups {
        forwards.sort();
        let mut farthest: Option<(u16, u16, usize)> = None;
        for forward in forwards {
            if let Some(other) = farthest.filter(|other| other.1 >= forward.0) {
                let (first, second) = if other.2 < forward.2 { (other, forward) } else { (forward, other) };
                let ports: RangeInclusive<u16> = other.0.max(forward.0)..=other.1.min(forward.1);
                let (ports, number) = (ports_text(&ports), first.2 + 1);
                taken.entry(second.2).or_insert_with(|| {
                    format!("{protocol} port {ports} in by {input} is forwarded by nat {number} already (expected one)")
                });
            }
            if farthest.is_none_or(|other| other.1 < forward.1) {
                farthest = Some(forward);
            }
        }
    }
    taken.into_iter().collect()
}

/// The one-to-one translations, by their place in the list, whose addresses outside another one has as well.
fn taken_networks(nat: &[NatConfig]) -> Vec<(usize, String)> {
    let external = |(index, nat): (usize, &'_ NatConfig)| match nat.kind {
        NatKind::Static { external, .. } | NatKind::Npt { external, .. } => {
            Some((nat.kind.interface().1.to_owned(), external, index))
        }
        _ => None,
    };
    let mut all: Vec<_> = nat.iter().enumerate().filter_map(external).collect();
    all.sort();
    let mut taken = Vec::new();
    let mut farthest: Option<(String, Prefix, usize)> = None;
    for (interface, network, index) in all {
        if let Some((place, other, first)) = &farthest
            && *place == interface
            && other.overlaps(&network)
        {
            let (first, second) = (index.min(*first) + 1, index.max(*first));
            taken.push((second, format!("nat {first} has addresses of {network} already (expected others)")));
            continue;
        }
        farthest = Some((interface, network, index));
    }
    taken
}
