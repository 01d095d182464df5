//! Reading `[[rule]]`.

use super::{
    Action, FlowState, Hook, ICMP, ICMP_TYPES, ICMPV6, IcmpType, Match, PROTOCOLS, Policy, RuleConfig, Scope,
    TCP, UDP,
};
use crate::control::config::document::Item;
use crate::control::config::keys::Keys;
use crate::control::config::net;
use crate::control::config::value::{self, Fault, Read, list, no, number, one_of};

/// `"accept"` or `"drop"`.
pub(in crate::control::config) fn policy(item: &Item) -> Read<Policy> {
    one_of("policy", [Policy::Accept, Policy::Drop].map(|policy| (policy.name(), policy)))(item)
}

/// A rule.
pub(in crate::control::config) fn rule(mut keys: Keys<'_>) -> RuleConfig {
    let scope = scope(&mut keys);
    let hook =
        keys.get("hook", one_of("hook", Hook::ALL.map(|hook| (hook.name(), hook)))).unwrap_or_default();
    if matches!(scope, Scope::Bridge(_)) && hook != Hook::Forward {
        keys.complain("hook", "a bridge has one hook (expected \"forward\", or `router`)");
    }
    let rule = RuleConfig {
        matches: keys.table("match", |keys| matches(keys, hook)).unwrap_or_default(),
        action: action(&mut keys, hook),
        comment: keys.get("comment", value::comment),
        scope,
        hook,
    };
    keys.finish(|key| {
        MATCH_KEYS.contains(&key).then(|| format!("`{key}` is a key of `match` (expected match.{key})"))
    });
    rule
}

fn scope(keys: &mut Keys<'_>) -> Scope {
    let (router, bridge) = (keys.get("router", value::name), keys.get("bridge", value::name));
    match (keys.has("router"), keys.has("bridge")) {
        (true, true) => {
            keys.complain("bridge", "a rule is of a router or a bridge (expected one of the two)")
        }
        (false, false) => {
            keys.complain(
                "router",
                "missing (expected the name of a router, or `bridge` and that of a bridge)",
            );
        }
        _ => {}
    }
    match bridge {
        Some(bridge) => Scope::Bridge(bridge),
        None => Scope::Router(router.unwrap_or_default()),
    }
}

fn action(keys: &mut Keys<'_>, hook: Hook) -> Action {
    let limit = Action::RateLimit { rate: 1, burst: 1 };
    let all = [Action::Accept, Action::Drop, Action::Reject, Action::Count, Action::Log, limit];
    let expected = all.map(Action::name).join(", ");
    let action =
        keys.require("action", &expected, one_of("action", all.map(|action| (action.name(), action))));
    let number_of = || number("number of packets", 1..=u32::MAX);
    let (rate, burst) = (keys.get("rate", number_of()), keys.get("burst", number_of()));
    match action {
        Some(Action::RateLimit { .. }) => {
            if !keys.has("rate") {
                keys.complain("rate", "missing (expected packets a second)");
            }
            let rate = rate.unwrap_or(1);
            return Action::RateLimit { rate, burst: burst.unwrap_or((rate / 10).max(16)) };
        }
        Some(Action::Reject) if hook == Hook::Postrouting => {
            keys.complain(
                "action",
                "who has sent it is no longer known here (expected \"drop\", or hook = \"forward\")",
            );
        }
        _ => {}
    }
    for key in ["rate", "burst"] {
        if action.is_some() && keys.has(key) {
            keys.complain(
                key,
                format!("only a limit has it (expected action = \"rate-limit\" beside `{key}`)"),
            );
        }
    }
    action.unwrap_or(Action::Count)
}

/// The keys of `match`.
pub(in crate::control::config) const MATCH_KEYS: [&str; 9] = [
    "in",
    "out",
    "protocol",
    "source",
    "destination",
    "source-port",
    "destination-port",
    "state",
    "icmp-type",
];

fn matches(mut keys: Keys<'_>, hook: Hook) -> Match {
    let states = [FlowState::New, FlowState::Established, FlowState::Related, FlowState::Invalid];
    let names = ["new", "established", "related", "invalid"];
    let state = |item: &Item| one_of("state", [0, 1, 2, 3].map(|at| (names[at], states[at])))(item);
    let protocols = keys.get("protocol", list(protocol)).unwrap_or_default();
    let sound = !keys.has("protocol") || !protocols.is_empty();
    let matches = Match {
        input: keys.get("in", list(value::name)).unwrap_or_default(),
        out: keys.get("out", list(value::name)).unwrap_or_default(),
        source: keys.get("source", list(net::addresses)).unwrap_or_default(),
        destination: keys.get("destination", list(net::addresses)).unwrap_or_default(),
        source_ports: keys.get("source-port", list(net::ports)).unwrap_or_default(),
        destination_ports: keys.get("destination-port", list(net::ports)).unwrap_or_default(),
        states: keys.get("state", list(state)).unwrap_or_default(),
        icmp_types: match sound {
            true => keys.get("icmp-type", |item| icmp_types(item, &protocols)).unwrap_or_default(),
            false => keys.get("icmp-type", |_| Ok(Vec::new())).unwrap_or_default(),
        },
        protocols,
    };
    if sound {
        ports_of(&mut keys, &matches.protocols);
    }
    impossible(&mut keys, &matches, hook);
    keys.finish(|key| {
        let which = "`port` is the one it comes from or the one it goes to";
        (key == "port").then(|| format!("{which} (expected `source-port` or `destination-port`)"))
    });
    matches
}

/// Complains about ports of protocols that have none.
fn ports_of(keys: &mut Keys<'_>, protocols: &[u8]) {
    let have_ports = !protocols.is_empty() && protocols.iter().all(|protocol| [TCP, UDP].contains(protocol));
    for key in ["source-port", "destination-port"] {
        if keys.has(key) && !have_ports {
            keys.complain(
                key,
                format!("not all packets have ports (expected protocol = \"tcp\" or \"udp\" beside `{key}`)"),
            );
        }
    }
}

/// Complains about what no packet can fit.
fn impossible(keys: &mut Keys<'_>, matches: &Match, hook: Hook) {
    if hook == Hook::Output && keys.has("in") {
        keys.complain(
            "in",
            "what the router itself sends came in nowhere (expected no `in` at the hook output)",
        );
    }
    if matches!(hook, Hook::Prerouting | Hook::Input) && keys.has("out") {
        let name = hook.name();
        keys.complain(
            "out",
            format!("it is not known here, or nowhere (expected no `out` at the hook {name})"),
        );
    }
    let (source, destination) = (&matches.source, &matches.destination);
    let of = |ipv4: bool| {
        [source, destination].map(|ranges| ranges.iter().any(|range| range.start().is_ipv4() == ipv4))
    };
    if !source.is_empty() && !destination.is_empty() && of(true) != [true; 2] && of(false) != [true; 2] {
        let expected = "(expected IPv4 or IPv6 addresses in both)";
        keys.complain(
            "destination",
            format!("no packet has a source and a destination of two families {expected}"),
        );
    }
}

fn protocol(item: &Item) -> Read<u8> {
    let number = || value::integer(item).or_else(|| value::text(item)?.parse().ok());
    let named = || {
        let name = value::text(item)?;
        PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| i64::from(*number))
    };
    let protocol = named().or_else(number).and_then(|number| u8::try_from(number).ok());
    protocol.ok_or_else(|| {
        let names = PROTOCOLS.map(|(name, _)| name).join(", ");
        no(item, "protocol", &format!("{names}, or 0 to 255")).into()
    })
}

/// Types of ICMP: names mean those of the `protocols` that have them, numbers those of the only protocol.
fn icmp_types(item: &Item, protocols: &[u8]) -> Read<Vec<IcmpType>> {
    if protocols.is_empty() || !protocols.iter().all(|protocol| [ICMP, ICMPV6].contains(protocol)) {
        let expected = "(expected protocol = \"icmp\" or \"icmpv6\" beside `icmp-type`)";
        return Err(format!("not all packets have such a type {expected}").into());
    }
    let of = |v6: bool| protocols.contains(if v6 { &ICMPV6 } else { &ICMP });
    let types = list(|item: &Item| {
        let number = value::integer(item).or_else(|| value::text(item)?.parse().ok());
        if let Some(number) = number.and_then(|number| u8::try_from(number).ok()) {
            return match of(true) != of(false) {
                true => Ok(vec![IcmpType { v6: of(true), number }]),
                false => Err("a number is another type in ICMPv6 (expected its name)".to_owned().into()),
            };
        }
        let named = ICMP_TYPES.iter().find(|(name, ..)| value::text(item) == Some(name));
        let found = named.into_iter().flat_map(|(_, v4, v6)| [(false, *v4), (true, *v6)]);
        let found =
            found.filter_map(|(v6, number)| Some(IcmpType { v6, number: number.filter(|_| of(v6))? }));
        let found: Vec<_> = found.collect();
        if found.is_empty() {
            let known =
                ICMP_TYPES.iter().filter(|(_, v4, v6)| of(false) && v4.is_some() || of(true) && v6.is_some());
            let known = known.map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
            return Err(Fault::from(no(item, "type of ICMP", &format!("{known}, or 0 to 255"))));
        }
        Ok(found)
    })(item)?;
    Ok(types.concat())
}
