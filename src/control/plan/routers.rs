//! How routers and lists of rules become others, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::{KeyTexts, differences, list, text};
use crate::control::config::{Hook, InterfaceConfig, RouterConfig, RuleConfig, duration_text};

/// What of a router changes, a line each; never empty when the two differ.
pub(super) fn changes(name: &str, from: &RouterConfig, to: &RouterConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let keys = differences(&router_keys(from), &router_keys(to));
    if !keys.is_empty() {
        lines.push(keys);
    }
    interfaces(from, to, &mut lines);
    for (what, from, to) in [
        ("route", texts(&from.routes), texts(&to.routes)),
        ("neighbor", texts(&from.neighbors), texts(&to.neighbors)),
    ] {
        lines.extend(steps(&from, &to).into_iter().filter_map(|step| match step {
            Step::Gone(_, text) => Some(format!("{what} - {text}")),
            Step::Come(_, text) => Some(format!("{what} + {text}")),
            // They are asked by what they are about, not in their order.
            Step::Moved(..) => None,
        }));
    }
    lines.extend(steps(&texts(&from.nat), &texts(&to.nat)).into_iter().map(|step| match step {
        Step::Gone(number, text) => format!("nat - {number}: {text}"),
        Step::Moved(number, to, text) => format!("nat {number} -> {to}: {text}"),
        Step::Come(number, text) => format!("nat + {number}: {text}"),
    }));
    if lines.is_empty() {
        lines.push("the same in another order".into());
    }
    lines.into_iter().map(|line| format!("~ router {name}: {line}")).collect()
}

/// What of the rules changes, a line each; never empty when the two differ.
pub(super) fn rule_changes(from: &[RuleConfig], to: &[RuleConfig]) -> Vec<String> {
    let line = |step| match step {
        Step::Gone(number, text) => format!("- rule {number}: {text}"),
        Step::Moved(number, to, text) => format!("~ rule {number} -> {to}: {text}"),
        Step::Come(number, text) => format!("+ rule {number}: {text}"),
    };
    steps(&texts(from), &texts(to)).into_iter().map(line).collect()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn interfaces(from: &RouterConfig, to: &RouterConfig, lines: &mut Vec<String>) {
    let gone = from.interfaces.keys().filter(|name| !to.interfaces.contains_key(*name));
    lines.extend(gone.map(|name| format!("interface - {name}")));
    for (name, to) in &to.interfaces {
        match from.interfaces.get(name) {
            None => lines.push(format!("interface + {name} on {}", to.on)),
            Some(from) if from != to => {
                let keys = differences(&interface_keys(from), &interface_keys(to));
                lines.push(format!("interface {name}: {keys}"));
            }
            Some(_) => {}
        }
    }
}

fn router_keys(router: &RouterConfig) -> KeyTexts {
    let timeouts = &router.timeouts;
    let policy = |hook| router.policy(hook).name().to_owned();
    vec![
        ("policy.prerouting", policy(Hook::Prerouting)),
        ("policy.input", policy(Hook::Input)),
        ("policy.forward", policy(Hook::Forward)),
        ("policy.output", policy(Hook::Output)),
        ("policy.postrouting", policy(Hook::Postrouting)),
        ("sessions", router.sessions.to_string()),
        ("sessions-per-source", router.sessions_per_source.to_string()),
        ("mapping", router.mapping.name().to_owned()),
        ("filtering", router.filtering.name().to_owned()),
        ("timeout.udp", duration_text(timeouts.udp)),
        ("timeout.udp-unreplied", duration_text(timeouts.udp_unreplied)),
        ("timeout.tcp-established", duration_text(timeouts.tcp_established)),
        ("timeout.tcp-half-open", duration_text(timeouts.tcp_half_open)),
        ("timeout.tcp-closing", duration_text(timeouts.tcp_closing)),
        ("timeout.icmp", duration_text(timeouts.icmp)),
        ("timeout.other", duration_text(timeouts.other)),
        ("neighbor-limit", router.neighbor_limit.to_string()),
        ("icmp-rate", router.icmp_rate.to_string()),
    ]
}

fn interface_keys(interface: &InterfaceConfig) -> KeyTexts {
    let addresses: Vec<String> =
        interface.address.iter().map(|(address, length)| format!("{address}/{length}")).collect();
    let mut keys = vec![
        ("on", interface.on.to_string()),
        ("address", list(&addresses)),
        ("mtu", text(interface.mtu)),
        ("reverse-path", interface.reverse_path.name().to_owned()),
    ];
    if let Some(advertise) = &interface.advertise {
        keys.extend([
            ("advertise.lifetime", duration_text(advertise.lifetime)),
            ("advertise.interval", duration_text(advertise.interval)),
            ("advertise.prefixes", list(&advertise.prefixes)),
            ("advertise.dns", list(&advertise.dns)),
            ("advertise.managed", advertise.managed.to_string()),
            ("advertise.other", advertise.other.to_string()),
        ]);
    }
    keys
}

/// A step from one list to another. Numbers count from 1: in the old list where something was, in the new one where it is.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Gone(usize, &'a str),
    Moved(usize, usize, &'a str),
    Come(usize, &'a str),
}

/// The fewest steps from one list of lines to another: what goes, what changes its place among what stays, what comes.
fn steps<'a>(from: &'a [String], to: &'a [String]) -> Vec<Step<'a>> {
    let mut places = BTreeMap::<&str, Vec<usize>>::new();
    // The last first, so that the first is the next to be taken.
    for (index, text) in to.iter().enumerate().rev() {
        places.entry(text).or_default().push(index);
    }
    let mut steps = Vec::new();
    let mut stay = Vec::new();
    for (index, text) in from.iter().enumerate() {
        match places.get_mut(text.as_str()).and_then(Vec::pop) {
            Some(place) => stay.push((index, place)),
            None => steps.push(Step::Gone(index + 1, text)),
        }
    }
    let kept: BTreeSet<usize> = longest_rise(&stay.iter().map(|(_, place)| *place).collect::<Vec<_>>());
    let moved = stay.iter().filter(|(_, place)| !kept.contains(place));
    steps.extend(moved.map(|(index, place)| Step::Moved(index + 1, place + 1, &to[*place])));
    let come: BTreeSet<usize> = places.into_values().flatten().collect();
    steps.extend(come.into_iter().map(|place| Step::Come(place + 1, &to[place])));
    steps
}

/// The values of a longest series within `values` that rises. No value is there twice.
fn longest_rise(values: &[usize]) -> BTreeSet<usize> {
    // For each length, where the series of it ends that ends lowest; and for each value, which one it follows.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; values.len()];
    for (at, value) in values.iter().enumerate() {
        let length = ends.partition_point(|end| values[*end] < *value);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let last = ends.last().copied();
    std::iter::successors(last, |at| before[*at]).map(|at| values[at]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn as_little_as_possible_is_said() {
        use Step::*;
        for (from, to, expected) in [
            ("abc", "abc", vec![]),
            ("abc", "axbc", vec![Come(2, "x")]),
            ("abc", "ac", vec![Gone(2, "b")]),
            ("abcd", "bcda", vec![Moved(1, 4, "a")]),
            ("abcd", "dabc", vec![Moved(4, 1, "d")]),
            ("aab", "aba", vec![Moved(2, 3, "a")]),
            ("ab", "xy", vec![Gone(1, "a"), Gone(2, "b"), Come(1, "x"), Come(2, "y")]),
        ] {
            assert_eq!(steps(&lines(from), &lines(to)), expected, "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn the_steps_lead_from_one_list_to_the_other(from in vec("[a-e]", 0..12), to in vec("[a-e]", 0..12)) {
            let steps = steps(&from, &to);
            // What neither goes nor moves keeps its order; the others are put where they say.
            let leaves = |number: &usize| {
                steps.iter().any(|step| matches!(step, Step::Gone(n, _) | Step::Moved(n, ..) if n == number))
            };
            let mut rest = (1..=from.len()).filter(|number| !leaves(number)).map(|number| from[number - 1].clone());
            let arrived = |number: usize| {
                steps.iter().find_map(|step| match step {
                    Step::Moved(_, n, text) | Step::Come(n, text) if *n == number => Some((*text).to_owned()),
                    _ => None,
                })
            };
            let made: Vec<String> = (1..=to.len()).filter_map(|number| arrived(number).or_else(|| rest.next())).collect();
            prop_assert_eq!(&made, &to);
            prop_assert_eq!(rest.next(), None);
        }
    }
}
