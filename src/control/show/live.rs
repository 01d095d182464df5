//! What the tables of running routers hold, as plain data.

use std::collections::HashMap;
use std::net::IpAddr;

use super::routers::{Seen, SeenNeighbor, SeenRouter};
use crate::control::api::{FlowInfo, NatFilter, NatStats, NeighborFilter, NeighborInfo, SessionInfo};
use crate::control::config::{RouterConfig, protocol_text};
use crate::control::routing::{LiveRouter, translation_ids};
use crate::control::yard::State;
use crate::packet::Tuple;
use crate::switch::router::{Attachment, Interface};
use crate::table::conntrack::{self, Session};
use crate::table::neighbors;
use crate::time::Time;
use crate::wire::{icmp, tcp, udp};

/// What is to be looked at beside what costs nothing.
#[derive(Clone, Copy, Default)]
pub(in crate::control) struct Wanted<'a> {
    /// The sessions that fit, not more than so many of each router.
    pub(in crate::control) sessions: Option<(&'a NatFilter, usize)>,
    /// How many sessions each translation has.
    pub(in crate::control) translated: bool,
    /// What rules have matched, which every worker is asked for.
    pub(in crate::control) rules: bool,
}

/// What the running switch knows of its routers.
pub(in crate::control) fn seen(state: &State, wanted: Wanted<'_>) -> Seen {
    let now = Time::ZERO + state.started.elapsed();
    let running = state.config.routers.iter();
    let routers = running.filter_map(|(name, config)| {
        let live = state.live.routers.get(name)?;
        Some((name.clone(), router(state, name, config, live, wanted, now)))
    });
    Seen { routers: routers.collect(), rules: if wanted.rules { rules(state) } else { Vec::new() } }
}

fn router(
    state: &State,
    name: &str,
    config: &RouterConfig,
    live: &LiveRouter,
    wanted: Wanted<'_>,
    now: Time,
) -> SeenRouter {
    let mut seen = SeenRouter::default();
    let own = |interface: &Interface| match interface.on {
        Attachment::Bridge { mac, .. } => (Some(mac), Some(interface.mtu)),
        Attachment::Port(_) => (None, Some(interface.mtu)),
    };
    let interfaces = state.live.interfaces(&state.config, config, live);
    seen.interfaces = interfaces.iter().flatten().map(|made| (made.name.clone(), own(made))).collect();
    seen.neighbors =
        learned(live).map(|(interface, address, entry)| neighbor(interface, address, &entry, now)).collect();
    let Some(sessions) = &live.sessions else { return seen };
    let stats = sessions.stats();
    seen.stats = NatStats {
        router: String::new(),
        sessions: stats.live as u64,
        limit: stats.limit as u64,
        half_open: stats.half_open as u64,
        opened: stats.opened,
        evicted: stats.evicted,
        refused_full: stats.refused_full,
        refused_source: stats.refused_quota,
        refused_ports: stats.refused_ports,
    };
    if wanted.translated {
        seen.translated = vec![0; config.nat.len()];
    }
    let places: HashMap<u32, usize> = translation_ids(&config.nat).into_iter().zip(0..).collect();
    if wanted.sessions.is_none() && !wanted.translated {
        return seen;
    }
    for session in sessions.sessions() {
        // None, too, when the translation has been removed since.
        let translation = places.get(&session.rule()).copied();
        if let Some(count) = translation.and_then(|at| seen.translated.get_mut(at)) {
            *count += 1;
        }
        if let Some((filter, limit)) = wanted.sessions {
            let info = self::session(name, &session, translation, now);
            match filter.fits(&info) {
                true if seen.sessions.len() < limit => seen.sessions.push(info),
                true => seen.left_out += 1,
                false => {}
            }
        }
    }
    seen
}

/// The neighbours that are not configured.
fn learned(live: &LiveRouter) -> impl Iterator<Item = (String, IpAddr, neighbors::Entry)> + '_ {
    let entries = live.neighbors.entries().into_iter();
    let learned = entries.filter(|(_, _, entry)| entry.state != neighbors::State::Static);
    learned.filter_map(|(interface, address, entry)| {
        Some((live.interface_name(interface)?.to_owned(), address.into(), entry))
    })
}

fn neighbor(interface: String, address: IpAddr, entry: &neighbors::Entry, now: Time) -> SeenNeighbor {
    SeenNeighbor {
        interface,
        address,
        mac: entry.mac,
        state: entry.state.name(),
        age: now.since(entry.since),
    }
}

fn session(router: &str, session: &Session, translation: Option<usize>, now: Time) -> SessionInfo {
    let flow = |tuple: &Tuple| {
        let has_ports =
            matches!(tuple.protocol, tcp::PROTOCOL | udp::PROTOCOL | icmp::PROTOCOL | icmp::V6_PROTOCOL);
        let is_echo = matches!(tuple.protocol, icmp::PROTOCOL | icmp::V6_PROTOCOL);
        let port = |port: u16| Some(port).filter(|&port| has_ports && (!is_echo || port != 0));
        FlowInfo {
            source: tuple.source.into(),
            destination: tuple.destination.into(),
            source_port: port(tuple.source_port),
            destination_port: port(tuple.destination_port),
        }
    };
    SessionInfo {
        router: router.to_owned(),
        protocol: protocol_text(session.original().protocol),
        state: match session.state() {
            conntrack::State::New => "new",
            conntrack::State::Established => "established",
            conntrack::State::Closing => "closing",
            conntrack::State::Closed => "closed",
        }
        .into(),
        original: flow(session.original()),
        reply: flow(session.reply()),
        nat: translation.filter(|_| session.is_translated()).map(|at| at as u64 + 1),
        expires_secs: session.expires_in(now).as_secs(),
    }
}

fn rules(state: &State) -> Vec<(u64, u64)> {
    let mut sums = vec![(0, 0); state.config.rules.len()];
    for report in state.reports() {
        for ((frames, bytes), counters) in sums.iter_mut().zip(&report.rules) {
            *frames += counters.frames;
            *bytes += counters.bytes;
        }
    }
    sums
}

/// Forgets the learned neighbours that fit, and says how many they were.
pub(in crate::control) fn flush_neighbors(state: &State, filter: &NeighborFilter) -> u64 {
    let mut flushed = 0;
    for (name, live) in &state.live.routers {
        for (interface, address, entry) in learned(live) {
            let info = NeighborInfo {
                router: name.clone(),
                interface: interface.clone(),
                address,
                mac: entry.mac,
                state: entry.state.name().into(),
                age_secs: None,
            };
            if filter.fits(&info) && filter.router.as_ref().is_none_or(|router| router == name) {
                let id = live.interfaces.get(&interface).copied();
                flushed += live.neighbors.flush(id, Some(address.into())) as u64;
            }
        }
    }
    flushed
}

/// Ends the sessions that fit, and says how many they were.
pub(in crate::control) fn flush_sessions(state: &State, filter: &NatFilter) -> u64 {
    let now = Time::ZERO + state.started.elapsed();
    let tables = state.live.routers.iter().filter_map(|(name, live)| Some((name, live.sessions.as_ref()?)));
    let flushed = tables.map(|(name, sessions)| {
        sessions.flush(|session| filter.fits(&self::session(name, session, None, now))) as u64
    });
    flushed.sum()
}
