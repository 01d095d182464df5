//! Routers that run, and how what is configured of them becomes what the workers take.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::config;
use super::config::{
    Action, AdvertiseConfig, BridgeConfig, Config, FlowState, InterfaceConfig, NatConfig, NatKind, On,
    Policy, Prefix, RouteConfig, RouteKind, RouterConfig, RuleConfig, Scope, Timeouts, Transport,
};
use super::shape::{self, Live, LiveBridge};
use crate::packet::npt::PrefixPair;
use crate::packet::{InterfaceId, RouterId, Vid};
use crate::switch::router::Interface;
use crate::switch::router::{
    self, Advertise, Attachment, Chain, Condition, Filter, Forward, Nat, NextHop, PrefixRule, ReversePath,
    Route, Routes, Rule, SourceRule, StaticRule, Target, Tracked, Traffic,
};
use crate::switch::{BridgeRules, Router, VlanSessions};
use crate::table::conntrack::{self, Conntrack};
use crate::table::lpm;
use crate::table::neighbors::{NeighborLimits, Neighbors};
use crate::table::token_bucket::TokenBucket;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;
use crate::wire::{icmp, tcp, udp};

/// The MTU of an interface whose bridge has no ports that would say.
const DEFAULT_MTU: u32 = 1500;

/// A router that runs: what outlives changes of its configuration.
pub(super) struct LiveRouter {
    pub(super) id: RouterId,
    /// The slots of its interfaces.
    pub(super) interfaces: BTreeMap<String, InterfaceId>,
    pub(super) neighbors: Arc<Neighbors>,
    /// Its connections; made when they are first needed, and then kept.
    pub(super) sessions: Option<Arc<Conntrack>>,
    pub(super) routes: Arc<Routes>,
    errors: Arc<TokenBucket>,
    /// The rate that `errors` was made for.
    error_rate: u32,
}

impl LiveRouter {
    pub(super) fn new(id: RouterId, config: &RouterConfig) -> LiveRouter {
        LiveRouter {
            id,
            interfaces: BTreeMap::new(),
            neighbors: Arc::new(Neighbors::new(NeighborLimits {
                known: config.neighbor_limit as usize,
                ..NeighborLimits::default()
            })),
            sessions: None,
            routes: Arc::new(Routes::new([])),
            errors: Arc::new(TokenBucket::new(config.icmp_rate)),
            error_rate: config.icmp_rate,
        }
    }

    /// Has it be what it is to be, as far as it is kept here. `tracks`: rules or NAT need its connections.
    pub(super) fn configure(&mut self, config: &RouterConfig, tracks: bool) {
        self.interfaces.retain(|name, _| config.interfaces.contains_key(name));
        for name in config.interfaces.keys() {
            let free = InterfaceId(shape::free(self.interfaces.values().map(|id| id.0)));
            self.interfaces.entry(name.clone()).or_insert(free);
        }
        let slots = &self.interfaces;
        self.neighbors.retain_interfaces(|interface| slots.values().any(|&id| id == interface));
        for neighbor in &config.neighbors {
            if let Some(&id) = self.interfaces.get(&neighbor.interface) {
                // What waited for it was taken, and is asked for again by who sent it.
                drop(self.neighbors.pin(id, neighbor.address.into(), neighbor.mac));
            }
        }
        if self.error_rate != config.icmp_rate {
            self.error_rate = config.icmp_rate;
            self.errors = Arc::new(TokenBucket::new(config.icmp_rate));
        }
        let limits = limits(config);
        match &self.sessions {
            Some(sessions) if tracks => sessions.configure(limits),
            None if tracks => self.sessions = Some(sessions(limits)),
            _ => self.sessions = None,
        }
        self.routes = Arc::new(Routes::new(routes(config, &self.interfaces)));
    }

    /// Removes the static neighbours that a configuration had and another has not.
    pub(super) fn unpin(&self, from: &RouterConfig, to: &RouterConfig) {
        for neighbor in from.neighbors.iter().filter(|neighbor| !to.neighbors.contains(neighbor)) {
            if let Some(&id) = self.interfaces.get(&neighbor.interface) {
                self.neighbors.unpin(id, neighbor.address.into());
            }
        }
    }

    /// The name of an interface.
    pub(super) fn interface_name(&self, id: InterfaceId) -> Option<&str> {
        self.interfaces.iter().find(|(_, own)| **own == id).map(|(name, _)| name.as_str())
    }
}

/// Whether connections are to be tracked for a router.
pub(super) fn tracks(config: &Config, name: &str) -> bool {
    let nat = |router: &RouterConfig| router.nat.iter().any(|nat| !matches!(nat.kind, NatKind::Npt { .. }));
    config.routers.get(name).is_some_and(nat) || asks_for_state(config, &Scope::Router(name.to_owned()))
}

/// Whether a rule asks what a packet is to its connection.
fn asks_for_state(config: &Config, scope: &Scope) -> bool {
    config.rules.iter().any(|rule| rule.scope == *scope && !rule.matches.states.is_empty())
}

fn sessions(limits: conntrack::Limits) -> Arc<Conntrack> {
    Arc::new(Conntrack::new(limits, RandomState::new().hash_one(())))
}

fn limits(config: &RouterConfig) -> conntrack::Limits {
    let Timeouts { udp, udp_unreplied, tcp_established, tcp_half_open, tcp_closing, icmp, other } =
        config.timeouts;
    conntrack::Limits {
        sessions: config.sessions as usize,
        per_source: config.sessions_per_source as usize,
        timeouts: conntrack::Timeouts {
            udp,
            udp_unreplied,
            tcp_established,
            tcp_half_open,
            tcp_transitory: tcp_closing,
            icmp,
            other,
            ..conntrack::Timeouts::default()
        },
        mapping: match config.mapping {
            config::Mapping::EndpointIndependent => conntrack::Mapping::EndpointIndependent,
            config::Mapping::AddressAndPortDependent => conntrack::Mapping::AddressAndPortDependent,
        },
        filtering: match config.filtering {
            config::Filtering::EndpointIndependent => conntrack::Filtering::EndpointIndependent,
            config::Filtering::AddressDependent => conntrack::Filtering::AddressDependent,
            config::Filtering::AddressAndPortDependent => conntrack::Filtering::AddressAndPortDependent,
        },
    }
}

// -- Routes

fn prefix(prefix: &Prefix) -> lpm::Prefix {
    lpm::Prefix::new(prefix.address.into(), prefix.length)
}

/// All routes: first those that are configured, then those that follow from addresses, which count more.
fn routes(config: &RouterConfig, interfaces: &BTreeMap<String, InterfaceId>) -> Vec<(lpm::Prefix, Route)> {
    let mut best = BTreeMap::<Prefix, (u32, Route)>::new();
    for route in &config.routes {
        let Some(made) = self::route(config, interfaces, route) else { continue };
        match best.get_mut(&route.to) {
            Some((metric, _)) if *metric < route.metric => {}
            Some((metric, Route::Via(hops))) if *metric == route.metric => {
                if let Route::Via(more) = made {
                    hops.extend(more);
                }
            }
            _ => drop(best.insert(route.to, (route.metric, made))),
        }
    }
    let mut all: Vec<_> = best.iter().map(|(to, (_, route))| (prefix(to), route.clone())).collect();
    let on =
        config.interfaces.iter().filter_map(|(name, interface)| Some((*interfaces.get(name)?, interface)));
    let addresses: Vec<(InterfaceId, Address, u8)> = on
        .flat_map(|(id, interface)| interface.address.iter().map(move |&(own, len)| (id, own.into(), len)))
        .filter(|(_, own, _): &(_, Address, _)| !own.is_link_local() || own.is_v4())
        .collect();
    for &(id, own, len) in &addresses {
        all.push((lpm::Prefix::new(own, len), Route::Connected(id)));
        if own.is_v4() && len <= 30 {
            // Also the old broadcast address of all zeroes (RFC 1812 section 4.2.3.1).
            all.extend([own.network(len), own.last(len)].map(|all| (host(all), Route::Broadcast)));
        }
    }
    all.extend(addresses.iter().map(|&(_, own, _)| (host(own), Route::Local)));
    all.push((host(Address::v4(u32::MAX)), Route::Broadcast));
    all
}

fn host(address: Address) -> lpm::Prefix {
    lpm::Prefix::new(address, if address.is_v4() { 32 } else { 128 })
}

fn route(
    config: &RouterConfig,
    interfaces: &BTreeMap<String, InterfaceId>,
    route: &RouteConfig,
) -> Option<Route> {
    match route.kind {
        RouteKind::Blackhole => return Some(Route::Blackhole),
        RouteKind::Unreachable => return Some(Route::Unreachable),
        RouteKind::Prohibit => return Some(Route::Prohibit),
        RouteKind::Unicast => {}
    }
    let named = route.interface.as_ref().and_then(|name| interfaces.get(name)).copied();
    let near = |via: IpAddr| {
        let mut networks = config.connected().filter(|(network, _)| network.contains(via));
        networks.next().and_then(|(_, name)| interfaces.get(name)).copied()
    };
    if route.via.is_empty() {
        return Some(Route::Via(vec![NextHop { interface: named?, via: None }]));
    }
    let hops = route
        .via
        .iter()
        .filter_map(|&via| Some(NextHop { interface: named.or_else(|| near(via))?, via: Some(via.into()) }));
    Some(Route::Via(hops.collect()))
}

// -- What the workers take

impl Live {
    /// The router that `name` is.
    pub(super) fn router(
        &self,
        config: &Config,
        name: &str,
        live: &LiveRouter,
        rules: &NumberedRules<'_>,
    ) -> Option<Router> {
        let of = config.routers.get(name)?;
        let rules = rules.of(Scope::Router(name.to_owned()));
        let number = |name: &str| live.interfaces.get(name).map(|id| id.0);
        let filter = self.filter(rules, &of.policies, number);
        let whole = |(_, _, rule): &(u32, u64, &RuleConfig)| condition(rule, number).needs_whole();
        let reassembles = live.sessions.is_some() || rules.iter().any(whole);
        Some(Router {
            name: name.to_owned(),
            interfaces: self.interfaces(config, of, live),
            routes: Arc::clone(&live.routes),
            neighbors: Arc::clone(&live.neighbors),
            sessions: live.sessions.clone(),
            nat: nat(&of.nat, &live.interfaces),
            filter,
            errors: Arc::clone(&live.errors),
            reassembles,
        })
    }

    /// The interfaces of a router, by their slots.
    pub(super) fn interfaces(
        &self,
        config: &Config,
        of: &RouterConfig,
        live: &LiveRouter,
    ) -> Vec<Option<Interface>> {
        let mut interfaces = Vec::new();
        for (name, interface) in &of.interfaces {
            if let Some((id, made)) = live.interfaces.get(name).zip(self.interface(config, name, interface)) {
                shape::put(&mut interfaces, id.index(), made);
            }
        }
        interfaces
    }

    fn interface(&self, config: &Config, name: &str, interface: &InterfaceConfig) -> Option<Interface> {
        let (on, least) = match &interface.on {
            On::Port(port) => {
                let live = self.ports.get(port)?;
                (Attachment::Port(live.id), live.mtu())
            }
            On::Bridge { bridge, vlan } => {
                let live = self.bridges.get(bridge)?;
                let vid = vlan.unwrap_or(0);
                let on = Attachment::Bridge { bridge: live.id, vid, mac: live.mac };
                (on, self.least_mtu(config, bridge, vid))
            }
        };
        let mut addresses: Vec<(Address, u8)> =
            interface.address.iter().map(|&(own, len)| (own.into(), len)).collect();
        let has_v6 = addresses.iter().any(|(own, _)| !own.is_v4());
        let has_local = addresses.iter().any(|(own, _)| !own.is_v4() && own.is_link_local());
        if let Attachment::Bridge { mac, .. } = on
            && has_v6
            && !has_local
        {
            addresses.push((link_local(mac), 64));
        }
        Some(Interface {
            name: name.to_owned(),
            on,
            addresses,
            mtu: interface.mtu.map_or(least, |mtu| mtu.min(least)),
            reverse_path: match interface.reverse_path {
                config::ReversePath::Off => ReversePath::Off,
                config::ReversePath::Loose => ReversePath::Loose,
                config::ReversePath::Strict => ReversePath::Strict,
            },
            advertise: interface.advertise.as_ref().map(|advertise| Arc::new(self::advertise(advertise))),
        })
    }

    /// The longest packet that all ports of a VLAN take; tunnels say for themselves what they cannot take.
    fn least_mtu(&self, config: &Config, bridge: &str, vid: Vid) -> u32 {
        let members = shape::members(config, bridge)
            .filter(|(_, port)| vid == 0 || port.vlan.carries(vid))
            .filter_map(|(name, _)| self.ports.get(name))
            .filter(|port| port.tunnel.is_none() && port.link.is_some() && !port.missing);
        members.map(|port| port.mtu()).min().unwrap_or(DEFAULT_MTU)
    }

    /// Compiles rules, each with its place in the list of all.
    fn filter(
        &self,
        rules: &[(u32, u64, &RuleConfig)],
        policies: &[Policy; 5],
        number: impl Fn(&str) -> Option<u16> + Copy,
    ) -> Filter {
        let chain = |hook: config::Hook| {
            let own = rules.iter().filter(|(_, _, rule)| rule.hook == hook);
            self.chain(own, policies[hook as usize], number)
        };
        Filter { chains: config::Hook::ALL.map(chain) }
    }

    fn chain<'a>(
        &self,
        rules: impl Iterator<Item = &'a (u32, u64, &'a RuleConfig)>,
        policy: Policy,
        number: impl Fn(&str) -> Option<u16> + Copy,
    ) -> Chain {
        let compiled = rules.map(|&(counter, id, rule)| {
            (condition(rule, number), Rule { counter, action: self.action(id, rule) })
        });
        Chain::new(compiled.collect(), policy == Policy::Accept)
    }

    fn action(&self, id: u64, rule: &RuleConfig) -> router::Action {
        match rule.action {
            Action::Accept => router::Action::Accept,
            Action::Drop => router::Action::Drop,
            Action::Reject => router::Action::Reject,
            Action::Count => router::Action::Count,
            Action::Log => router::Action::Log,
            Action::RateLimit { rate, burst } => {
                let kept = self.buckets.get(&id).map(Arc::clone);
                router::Action::Limit(kept.unwrap_or_else(|| Arc::new(TokenBucket::with_burst(rate, burst))))
            }
        }
    }

    /// The rules of a bridge, if it has any.
    pub(super) fn bridge_rules(
        &self,
        name: &str,
        bridge: &BridgeConfig,
        live: &LiveBridge,
        rules: &NumberedRules<'_>,
    ) -> Option<Arc<BridgeRules>> {
        let rules = rules.of(Scope::Bridge(name.to_owned()));
        if rules.is_empty() && bridge.policy == Policy::Accept {
            return None;
        }
        let number = |name: &str| self.ports.get(name).map(|port| port.id.0);
        let chain = self.chain(rules.iter(), bridge.policy, number);
        Some(Arc::new(BridgeRules { chain, sessions: live.sessions.clone() }))
    }

    /// Makes what rules need, and keeps what was.
    pub(super) fn configure_rules(&mut self, config: &Config) {
        for (name, bridge) in &mut self.bridges {
            match asks_for_state(config, &Scope::Bridge(name.clone())) {
                true => {
                    bridge.sessions.get_or_insert_with(|| {
                        let seed = RandomState::new().hash_one(());
                        Arc::new(VlanSessions::new(conntrack::Limits::default(), seed))
                    });
                }
                false => bridge.sessions = None,
            }
        }
        let mut kept = std::mem::take(&mut self.buckets);
        for (&id, rule) in NumberedRules::new(config).ids.iter().zip(&config.rules) {
            if let Action::RateLimit { rate, burst } = rule.action {
                let bucket = kept.remove(&id);
                let bucket = bucket.unwrap_or_else(|| Arc::new(TokenBucket::with_burst(rate, burst)));
                self.buckets.insert(id, bucket);
            }
        }
    }
}

/// The rules of all routers and bridges, each with its place in the configuration and what it is known by over changes:
/// what it says, and the how manieth it is that says so.
pub(super) struct NumberedRules<'a> {
    by_scope: BTreeMap<&'a Scope, Vec<(u32, u64, &'a RuleConfig)>>,
    /// What they are known by, in their order.
    pub(super) ids: Vec<u64>,
}

impl<'a> NumberedRules<'a> {
    pub(super) fn new(config: &'a Config) -> NumberedRules<'a> {
        let (mut by_scope, mut ids) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        let mut same = BTreeMap::<u64, u64>::new();
        for (number, rule) in (0..).zip(&config.rules) {
            let mut hasher = DefaultHasher::new();
            format!("{rule:?}").hash(&mut hasher);
            let before = same.entry(hasher.finish()).or_default();
            *before += 1;
            before.hash(&mut hasher);
            ids.push(hasher.finish());
            by_scope.entry(&rule.scope).or_default().push((number, hasher.finish(), rule));
        }
        NumberedRules { by_scope, ids }
    }

    fn of(&self, scope: Scope) -> &[(u32, u64, &'a RuleConfig)] {
        self.by_scope.get(&scope).map_or(&[], Vec::as_slice)
    }
}

fn link_local(mac: Mac) -> Address {
    let [a, b, c, d, e, f] = mac.octets();
    let eui = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Address::from_bits(0xfe80 << 112 | u128::from(eui))
}

fn advertise(config: &AdvertiseConfig) -> Advertise {
    Advertise {
        lifetime: config.lifetime,
        interval: config.interval,
        prefixes: config.prefixes.iter().map(|prefix| (prefix.address.into(), prefix.length)).collect(),
        dns: config.dns.iter().map(|&dns| dns.into()).collect(),
        managed: config.managed,
        other: config.other,
    }
}

fn condition(rule: &RuleConfig, number: impl Fn(&str) -> Option<u16>) -> Condition {
    let ends = |names: &[String]| {
        // A name without a number fits nothing, and not anything.
        let numbers = names.iter().map(|name| number(name).map_or(1 << 32, u128::from));
        numbers.map(|number| number..=number).collect()
    };
    let addresses = |ranges: &[RangeInclusive<IpAddr>]| {
        let bits = |address: &IpAddr| Address::from(*address).bits();
        ranges.iter().map(|range| bits(range.start())..=bits(range.end())).collect()
    };
    let ports = |ranges: &[RangeInclusive<u16>]| {
        ranges.iter().map(|range| u128::from(*range.start())..=u128::from(*range.end())).collect()
    };
    let matches = &rule.matches;
    let icmp_types = matches.icmp_types.iter().map(|kind| {
        let protocol = if kind.v6 { icmp::V6_PROTOCOL } else { icmp::PROTOCOL };
        let number = router::Subject::icmp_number(protocol, kind.number);
        number..=number
    });
    let states = matches.states.iter().map(|state| match state {
        FlowState::New => Tracked::New,
        FlowState::Established => Tracked::Established,
        FlowState::Related => Tracked::Related,
        FlowState::Invalid => Tracked::Invalid,
    });
    Condition {
        input: ends(&matches.input),
        output: ends(&matches.out),
        protocol: matches.protocols.iter().map(|&p| u128::from(p)..=u128::from(p)).collect(),
        source: addresses(&matches.source),
        destination: addresses(&matches.destination),
        source_port: ports(&matches.source_ports),
        destination_port: ports(&matches.destination_ports),
        icmp_type: icmp_types.collect(),
        state: states.map(|state| state as u128..=state as u128).collect(),
    }
}

// -- NAT

fn nat(rules: &[NatConfig], interfaces: &BTreeMap<String, InterfaceId>) -> Nat {
    let mut nat = Nat::default();
    for (id, rule) in translation_ids(rules).into_iter().zip(rules) {
        // An interface that is named exists.
        let Some(&interface) = interfaces.get(rule.kind.interface().1) else { continue };
        add(&mut nat, id, interface, rule);
    }
    nat
}

/// What translations are known by to the sessions that they have started, which outlive changes of the list: what they
/// say, and the how manieth it is that says so. Sessions show it, and nothing depends on it: two that are the same by
/// chance are counted as one.
pub(super) fn translation_ids(rules: &[NatConfig]) -> Vec<u32> {
    let mut same = BTreeMap::<u64, u64>::new();
    let id = |rule: &NatConfig| {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", NatConfig { comment: None, ..rule.clone() }).hash(&mut hasher);
        let before = same.entry(hasher.finish()).or_default();
        *before += 1;
        before.hash(&mut hasher);
        // Of 31 bits, so that it is not that of sessions which no translation has started.
        (hasher.finish() >> 33) as u32
    };
    rules.iter().map(id).collect()
}

fn add(nat: &mut Nat, rule: u32, interface: InterfaceId, config: &NatConfig) {
    let traffic = |protocols| Traffic {
        sources: config.source.iter().map(prefix).collect(),
        destinations: config.destination.iter().map(prefix).collect(),
        protocols,
    };
    let range = |range: &RangeInclusive<IpAddr>| Address::from(*range.start())..=Address::from(*range.end());
    let ports = |ports: &Option<RangeInclusive<u16>>| ports.clone().unwrap_or(1024..=u16::MAX);
    match &config.kind {
        NatKind::Masquerade { ports: given, .. } => {
            let (traffic, ports) = (traffic(Vec::new()), ports(given));
            nat.sources.push(SourceRule { rule, interface, traffic, to: Vec::new(), ports });
        }
        NatKind::Snat { to, ports: given, .. } => {
            let (traffic, ports) = (traffic(Vec::new()), ports(given));
            let to = to.iter().map(range).collect();
            nat.sources.push(SourceRule { rule, interface, traffic, to, ports });
        }
        NatKind::Dnat { to, .. } => {
            let to = to.iter().map(|to| Target { addresses: range(to), port: None }).collect();
            let traffic = traffic(Vec::new());
            let own_addresses = config.destination.is_empty();
            nat.forwards.push(Forward { rule, interface, own_addresses, traffic, ports: None, to });
        }
        NatKind::PortForward { protocols, ports, to, .. } => {
            let protocols = protocols.iter().map(|protocol| match protocol {
                Transport::Tcp => tcp::PROTOCOL,
                Transport::Udp => udp::PROTOCOL,
            });
            let target = |&(address, port): &(IpAddr, Option<u16>)| {
                let address = Address::from(address);
                Target { addresses: address..=address, port }
            };
            nat.forwards.push(Forward {
                rule,
                interface,
                own_addresses: config.destination.is_empty(),
                traffic: traffic(protocols.collect()),
                ports: Some(ports.clone()),
                to: to.iter().map(target).collect(),
            });
        }
        NatKind::Static { internal, external, .. } => {
            let (internal, external) = (prefix(internal), prefix(external));
            nat.statics.push(StaticRule { rule, interface, external, internal });
        }
        NatKind::Npt { internal, external, .. } => {
            let pair = |prefix: &Prefix| (Address::from(prefix.address), prefix.length);
            // The configuration has been checked to be one that can be translated.
            if let Ok(pair) = PrefixPair::new(pair(internal), pair(external)) {
                nat.prefixes.push(PrefixRule { rule, interface, pair });
            }
        }
    }
}
