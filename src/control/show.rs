//! What runs, as the API shows it.

pub(super) mod live;
pub(super) mod routers;
mod tunnels;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::api::{
    AttachInfo, AttachQuery, BridgeInfo, DropInfo, FdbFilter, FdbInfo, PortInfo, PortStats, StatsInfo,
    WorkerInfo,
};
use super::attach::{self, Around};
use super::config::{PortConfig, PortKind};
use super::overlay::LiveTunnel;
use super::shape::{self, LiveBridge, LivePort};
use super::yard::State;
pub(super) use tunnels::tunnels;

use crate::packet::{Capabilities, Counters, PortId};
use crate::table::fdb::{Entry, Kind, Station};
use crate::time::Time;

/// The counters of each port, summed over the workers, and those of the ports there were.
pub(super) fn counters(state: &State) -> (BTreeMap<PortId, Counters>, Counters) {
    let (mut ports, mut retired) = (BTreeMap::<PortId, Counters>::new(), Counters::default());
    for report in state.reports() {
        retired += &report.retired;
        for (id, counters) in &report.ports {
            *ports.entry(*id).or_default() += counters;
        }
    }
    (ports, retired)
}

/// The ports that run, with what they were configured to be, by name.
fn running(state: &State) -> impl Iterator<Item = (&String, &PortConfig, &LivePort)> {
    state.live.ports.iter().filter_map(|(name, live)| Some((name, state.config.ports.get(name)?, live)))
}

/// The ports, or the one called `only`.
pub(super) fn ports(state: &State, only: Option<&str>) -> Result<Vec<PortInfo>, String> {
    known(only, state.live.ports.contains_key(only.unwrap_or_default()), "port")?;
    let (counters, _) = counters(state);
    let held = |id| state.live.bridges.values().map(|bridge| bridge.fdb.held(id) as u64).sum();
    let info = |(name, config, live): (&String, &PortConfig, &LivePort)| {
        let counters = counters.get(&live.id).cloned().unwrap_or_default();
        PortInfo {
            name: name.clone(),
            kind: config.kind.name().to_owned(),
            bridge: config.bridge.clone(),
            device: device(&config.kind, live),
            netns: config.kind.device().and_then(|(_, netns)| netns.map(str::to_owned)),
            state: state_of(live).to_owned(),
            mtu: (live.link.is_some() || !live.missing).then(|| live.mtu()),
            mac: live.link.as_ref().and_then(|link| link.mac),
            vlan: config.vlan.to_string(),
            mode: config.mode.name().to_owned(),
            hairpin: config.hairpin,
            isolated: config.isolated,
            queues: live.queues(),
            offloads: offloads(live.capabilities()),
            rx_frames: counters.rx_frames,
            rx_bytes: counters.rx_bytes,
            tx_frames: counters.tx_frames,
            tx_bytes: counters.tx_bytes,
            drops: counters.dropped_total(),
            fdb_entries: held(live.id),
        }
    };
    // An underlay is shown to who asks for it by its name.
    let shown = |(name, config, _): &(&String, &PortConfig, &LivePort)| match only {
        Some(only) => only == *name,
        None => !matches!(config.kind, PortKind::Underlay(_)),
    };
    Ok(running(state).filter(shown).map(info).collect())
}

/// How a guest attaches to a port.
pub(super) fn attach(state: &State, query: &AttachQuery) -> Result<AttachInfo, String> {
    known(Some(&query.name), state.live.ports.contains_key(&query.name), "port")?;
    let found = running(state).find(|(name, ..)| **name == query.name);
    let (name, config, live) = found.ok_or_else(|| format!("there is no port {}", query.name))?;
    let around = Around {
        link: live.link.as_ref().filter(|_| !live.missing),
        vhost: Path::new("/dev/vhost-net").exists(),
    };
    attach::attach(name, config, query, &around)
}

/// What frames go through: the interface, by the name it has now, or the socket.
fn device(kind: &PortKind, live: &LivePort) -> Option<String> {
    let socket = || kind.socket().map(|socket| socket.path.display().to_string());
    live.link.as_ref().map(|link| link.name.clone()).or_else(socket)
}

pub(super) fn state_of(port: &LivePort) -> &'static str {
    match &port.link {
        _ if port.missing => "missing",
        _ if port.waits_for_guest() => "waiting",
        Some(link) if !link.up => "down",
        Some(link) if !link.carrier => "no-carrier",
        _ => "up",
    }
}

fn offloads(capabilities: Capabilities) -> Vec<String> {
    let Capabilities { checksum, tso4, tso6, uso, outside: _ } = capabilities;
    let all = [(checksum, "checksum"), (tso4, "tso4"), (tso6, "tso6"), (uso, "uso")];
    all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()).collect()
}

/// Refuses a name that a filter gives and nothing has.
fn known(name: Option<&str>, exists: bool, what: &str) -> Result<(), String> {
    match name {
        Some(name) if !exists => Err(format!("there is no {what} {name} ({what} show lists them)")),
        _ => Ok(()),
    }
}

fn check(state: &State, filter: &FdbFilter) -> Result<(), String> {
    let (bridge, port) = (filter.bridge.as_deref(), filter.port.as_deref());
    known(bridge, state.live.bridges.contains_key(bridge.unwrap_or_default()), "bridge")?;
    known(port, state.live.ports.contains_key(port.unwrap_or_default()), "port")
}

fn bridges_of<'a>(
    state: &'a State,
    filter: &'a FdbFilter,
) -> impl Iterator<Item = (&'a String, &'a LiveBridge)> {
    state.live.bridges.iter().filter(|(name, _)| filter.bridge.as_ref().is_none_or(|only| only == *name))
}

fn fits(state: &State, filter: &FdbFilter, station: Station, entry: &Entry) -> bool {
    let port = filter.port.as_ref().map(|name| state.live.ports.get(name).map(|port| port.id));
    filter.vlan.is_none_or(|vid| vid == station.vid())
        && filter.mac.is_none_or(|mac| mac == station.mac())
        && port.is_none_or(|id| id == Some(entry.port))
}

/// The FDB entries that fit, by bridge, VLAN and address.
pub(super) fn fdb(state: &State, filter: &FdbFilter) -> Result<Vec<FdbInfo>, String> {
    check(state, filter)?;
    let now = Time::ZERO + state.started.elapsed();
    let names: BTreeMap<_, _> = state.live.ports.iter().map(|(name, port)| (port.id, name)).collect();
    let mut all = Vec::new();
    for (name, bridge) in bridges_of(state, filter) {
        if filter.vlan.is_none() && filter.port.is_none() && filter.mac.is_none_or(|mac| mac == bridge.mac) {
            let (bridge, mac) = (name.clone(), bridge.mac);
            let kind = "local".into();
            all.push(FdbInfo { bridge, vlan: None, mac, port: None, remote: None, kind, age_secs: None });
        }
        let mut entries = bridge.fdb.entries();
        entries.retain(|(station, entry)| fits(state, filter, *station, entry));
        entries.sort_unstable_by_key(|(station, _)| (station.vid(), station.mac()));
        all.extend(entries.into_iter().map(|(station, entry)| {
            FdbInfo {
                bridge: name.clone(),
                vlan: Some(station.vid()).filter(|&vid| vid != 0),
                mac: station.mac(),
                port: names.get(&entry.port).map(|name| (*name).clone()),
                remote: names
                    .get(&entry.port)
                    .and_then(|name| remote_of(state.live.ports.get(*name)?.tunnel.as_ref()?, &entry)),
                kind: if entry.kind == Kind::Static { "static" } else { "learned" }.into(),
                age_secs: (entry.kind == Kind::Learned).then(|| now.since(entry.seen).as_secs()),
            }
        }));
    }
    Ok(all)
}

/// The peer of a tunnel that an entry is behind.
fn remote_of(tunnel: &LiveTunnel, entry: &Entry) -> Option<IpAddr> {
    tunnel.address_of(entry.peer)
}

/// Forgets the learned entries that fit, and says how many they were.
pub(super) fn flush(state: &State, filter: &FdbFilter) -> Result<u64, String> {
    check(state, filter)?;
    let flush = |(_, bridge): (_, &LiveBridge)| {
        bridge.fdb.flush(|station, entry| fits(state, filter, station, entry)) as u64
    };
    Ok(bridges_of(state, filter).map(flush).sum())
}

/// The bridges.
pub(super) fn bridges(state: &State) -> Vec<BridgeInfo> {
    let info = |(name, bridge): (&String, &LiveBridge)| {
        let config = state.config.bridges.get(name)?;
        let stats = bridge.fdb.stats();
        Some(BridgeInfo {
            name: name.clone(),
            mac: bridge.mac,
            ports: shape::members(&state.config, name).map(|(port, _)| port.clone()).collect(),
            vlan_aware: shape::is_vlan_aware(&state.config, name),
            ageing_secs: config.ageing.as_secs(),
            fdb_entries: stats.learned as u64,
            fdb_limit: u64::from(config.fdb_limit),
            evictions: stats.evictions,
            flaps: stats.flaps,
            moves: stats.moves,
        })
    };
    state.live.bridges.iter().filter_map(info).collect()
}

/// Counters of everything.
pub(super) fn stats(state: &State) -> StatsInfo {
    let reports = state.reports();
    let mut total = Counters::default();
    let mut ports = BTreeMap::<PortId, Counters>::new();
    for report in &reports {
        total += &report.retired;
        for (id, counters) in &report.ports {
            total += counters;
            *ports.entry(*id).or_default() += counters;
        }
    }
    let worker = |report: &crate::worker::Report| WorkerInfo {
        index: report.worker,
        wakeups: report.activity.sleeps,
        batches: report.activity.batches,
        frames: report.activity.frames,
        busy_polls: report.activity.busy_hits,
    };
    let port = |(name, live): (&String, &LivePort)| {
        let counters = ports.get(&live.id).cloned().unwrap_or_default();
        PortStats {
            name: name.clone(),
            rx_frames: counters.rx_frames,
            rx_bytes: counters.rx_bytes,
            tx_frames: counters.tx_frames,
            tx_bytes: counters.tx_bytes,
            drops: counters.dropped_total(),
        }
    };
    StatsInfo {
        epoch: state.epoch,
        uptime_secs: state.started.elapsed().as_secs(),
        workers: reports.iter().map(worker).collect(),
        rx_frames: total.rx_frames,
        tx_frames: total.tx_frames,
        copies: total.copies,
        replied: total.replied,
        drops: total.dropped_total(),
        conserved: total.conserved(),
        ports: state.live.ports.iter().map(port).collect(),
    }
}

/// Dropped frames by port and reason; those of ports that are gone under the name `-`.
pub(super) fn drops(state: &State) -> Vec<DropInfo> {
    let (counters, retired) = counters(state);
    let named =
        state.live.ports.iter().filter_map(|(name, live)| Some((name.as_str(), counters.get(&live.id)?)));
    let rows = named.chain([("-", &retired)]).flat_map(|(port, counters)| {
        counters.drops().map(move |(reason, frames)| DropInfo {
            port: port.to_owned(),
            reason: reason.name().to_owned(),
            meaning: reason.meaning().to_owned(),
            frames,
        })
    });
    rows.collect()
}
