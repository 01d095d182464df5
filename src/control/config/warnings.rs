//! What of a configuration is legal, and yet hardly what was meant.

use std::collections::BTreeMap;

use super::errors::{Findings, Path};
use super::mode;
use super::router::{On, RouterConfig};
use super::rule::{Action, FlowState, Hook, Match, Policy, RuleConfig, Scope};
use super::{Config, PortConfig};

/// Hidden routes of a router that are told of one by one.
const TOLD_ROUTES: usize = 8;

/// Looks at a checked configuration.
pub(super) fn warnings(config: &Config) -> Findings {
    let mut found = Findings::default();
    open_to_all(config, &mut found);
    for (name, router) in &config.routers {
        let path = Path::default().to("router").to(name.as_str());
        idle(router, &path, &mut found);
        lost_vlans(config, router, &path, &mut found);
        hidden_routes(router, &path.to("route"), &mut found);
        long_prefixes(router, &path.to("interface"), &mut found);
    }
    mode::doubts(config, &mut found);
    own_guests(config, &mut found);
    hidden_rules(&config.rules, &mut found);
    one_way_policies(config, &mut found);
    found
}

/// A listener for others than this machine.
fn open_to_all(config: &Config, found: &mut Findings) {
    let Some(metrics) = &config.switch.metrics else { return };
    if !metrics.address.ip().to_canonical().is_loopback() {
        let message = format!(
            "whoever reaches {} sees what the switch does: nobody is asked who he is (127.0.0.1 is for this machine only)",
            metrics.address
        );
        found.add(Path::default().to("switch").to("metrics"), message);
    }
}

/// Ports that would be each other's guests.
fn own_guests(config: &Config, found: &mut Findings) {
    for (name, port) in &config.ports {
        let Some(at) = port.kind.socket().filter(|at| !at.listen) else { continue };
        let listens = |other: &PortConfig| {
            other.kind.socket().is_some_and(|socket| socket.listen && socket.path == at.path)
        };
        if let Some((listener, _)) = config.ports.iter().find(|(_, other)| listens(other)) {
            let message = format!(
                "port {listener} listens there itself: the two join their bridges, as a patch does better"
            );
            found.add(Path::default().to("port").to(name.as_str()).to("connect"), message);
        }
    }
}

/// A router that leads nowhere.
fn idle(router: &RouterConfig, path: &Path, found: &mut Findings) {
    match router.interfaces.len() {
        0 => found.add(path.clone(), "the router has no interface: nothing comes to it"),
        1 if router.routes.is_empty() => {
            found.add(path.clone(), "the router has one interface and no route: it sends nothing on");
        }
        _ => {}
    }
}

/// Interfaces in VLANs that no port is in.
fn lost_vlans(config: &Config, router: &RouterConfig, path: &Path, found: &mut Findings) {
    for (name, interface) in &router.interfaces {
        let On::Bridge { bridge, vlan: Some(vlan) } = &interface.on else { continue };
        let member = |port: &PortConfig| port.bridge.as_ref() == Some(bridge) && port.vlan.carries(*vlan);
        if !config.ports.values().any(member) {
            let message = format!("no port of bridge {bridge} is a member of VLAN {vlan}");
            found.add(path.to("interface").to(name.as_str()).to("vlan"), message);
        }
    }
}

/// Routes that another one is always taken before.
fn hidden_routes(router: &RouterConfig, path: &Path, found: &mut Findings) {
    let connected: BTreeMap<_, _> = router.connected().collect();
    let mut lowest = BTreeMap::new();
    for route in &router.routes {
        let metric = lowest.entry(route.to).or_insert(route.metric);
        *metric = route.metric.min(*metric);
    }
    let hidden = router.routes.iter().enumerate().filter_map(|(index, route)| {
        let to = route.to;
        let message = match (connected.get(&to), lowest.get(&to)) {
            (Some(interface), _) => {
                format!("interface {interface} is on {to} itself: the route is never taken")
            }
            (None, Some(metric)) if *metric < route.metric => {
                format!("another route to {to} has metric {metric}: this one is never taken beside it")
            }
            _ => return None,
        };
        Some((index, message))
    });
    let hidden: Vec<_> = hidden.collect();
    for (index, message) in hidden.iter().take(TOLD_ROUTES) {
        found.add(path.to(*index), message.as_str());
    }
    if let Some((index, _)) = hidden.get(TOLD_ROUTES) {
        let more = hidden.len() - TOLD_ROUTES;
        found.add(path.to(*index), format!("{more} routes from here on are never taken either"));
    }
}

/// Advertised networks of which hosts make no addresses (RFC 4862, 5.5.3).
fn long_prefixes(router: &RouterConfig, path: &Path, found: &mut Findings) {
    for (name, interface) in &router.interfaces {
        let prefixes = interface.advertise.iter().flat_map(|advertise| &advertise.prefixes);
        if let Some(prefix) = prefixes.into_iter().find(|prefix| prefix.length != 64) {
            let message = format!("{prefix} is no /64: hosts give themselves no address of it");
            found.add(path.to(name.as_str()).to("advertise"), message);
        }
    }
}

/// Rules that no packet gets to, or that one before them has decided on: the first of each hook.
fn hidden_rules(rules: &[RuleConfig], found: &mut Findings) {
    let mut everything = BTreeMap::<_, usize>::new();
    let mut told = BTreeMap::<_, bool>::new();
    let mut decided = BTreeMap::<_, usize>::new();
    for (index, rule) in rules.iter().enumerate() {
        let hook = (&rule.scope, rule.hook);
        let path = Path::default().to("rule").to(index);
        if let Some(first) = everything.get(&hook) {
            if told.insert(hook, true).is_none() {
                let what = rules[*first].action;
                found.add(path, format!("no packet gets here: rule {} says {what} to all", first + 1));
            }
            continue;
        }
        let text = rule.matches.to_string();
        if let Some(first) = decided.get(&(hook, text.clone())) {
            let what = rules[*first].action;
            found.add(path, format!("no packet gets here: rule {} says {what} to the same ones", first + 1));
        } else if rule.action.decides() {
            if rule.matches == Match::default() {
                everything.insert(hook, index);
            }
            decided.insert((hook, text), index);
        }
    }
}

/// Hooks that drop what is not accepted where nothing accepts answers.
fn one_way_policies(config: &Config, found: &mut Findings) {
    let answers = |rule: &RuleConfig| {
        let states = &rule.matches.states;
        rule.action == Action::Accept && (states.is_empty() || states.contains(&FlowState::Established))
    };
    let accepted = |scope: &Scope, hook: Hook| {
        config.rules.iter().any(|rule| rule.scope == *scope && rule.hook == hook && answers(rule))
    };
    let message = "no rule accepts state = [\"established\"]: answers are dropped";
    for (name, router) in &config.routers {
        let path = Path::default().to("router").to(name.as_str()).to("policy");
        for hook in Hook::ALL.into_iter().filter(|hook| router.policy(*hook) == Policy::Drop) {
            if !accepted(&Scope::Router(name.clone()), hook) {
                found.add(path.to(hook.name()), message);
            }
        }
    }
    for (name, bridge) in &config.bridges {
        if bridge.policy == Policy::Drop && !accepted(&Scope::Bridge(name.clone()), Hook::Forward) {
            found.add(Path::default().to("bridge").to(name.as_str()).to("policy"), message);
        }
    }
}
