//! What runs, as the API shows it.

mod fdb;
pub(super) mod live;
mod mirrors;
pub(super) mod routers;
mod tunnels;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::api::{
    AttachInfo, AttachQuery, BridgeInfo, DropInfo, FlapInfo, PauseInfo, PortInfo, PortStats, StatsInfo,
    WorkerInfo,
};
use super::attach::{self, Around};
use super::config::{PortConfig, PortKind};
use super::shape::{self, LiveBridge, LivePort};
use super::yard::State;
pub(super) use fdb::{fdb, find, flush};
pub(super) use mirrors::mirrors;
pub(super) use tunnels::{Health, tunnels};

use crate::packet::{Capabilities, Counters, PortId};
use crate::worker::{Activity, Chore, Pause};

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
            wire: match &config.kind {
                PortKind::Patch { peer } => Some(peer.clone()),
                _ => config.wire.clone(),
            },
            device: device(&config.kind, live),
            netns: config.kind.device().and_then(|(_, netns)| netns.map(str::to_owned)),
            state: state_of(live).to_owned(),
            mtu: (live.link.is_some() || !live.missing).then(|| live.mtu()),
            mac: live.link.as_ref().and_then(|link| link.mac),
            vlan: config.vlan.to_string(),
            mode: config.mode.name().to_owned(),
            hairpin: config.hairpin,
            isolated: config.isolated,
            mirrors: mirrors::sent_by(state, name),
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
pub(super) fn device(kind: &PortKind, live: &LivePort) -> Option<String> {
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
            last_flap: bridge.last_flap.as_ref().map(|flap| FlapInfo {
                mac: flap.mac,
                from: port_name(state, flap.from),
                to: port_name(state, flap.to),
                age_secs: flap.at.elapsed().as_secs(),
            }),
        })
    };
    state.live.bridges.iter().filter_map(info).collect()
}

fn port_name(state: &State, port: PortId) -> String {
    state.live.port_name(port).unwrap_or("-").to_owned()
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
    let port = |(name, live): (&String, &LivePort)| {
        let counters = ports.get(&live.id).cloned().unwrap_or_default();
        PortStats {
            name: name.clone(),
            rx_frames: counters.rx_frames,
            rx_bytes: counters.rx_bytes,
            tx_frames: counters.tx_frames,
            tx_bytes: counters.tx_bytes,
            drops: counters.dropped_total(),
            groups: counters.groups,
            unknown: counters.unknown,
        }
    };
    StatsInfo {
        epoch: state.epoch,
        uptime_secs: state.started.elapsed().as_secs(),
        workers: reports.iter().map(|report| worker(report.worker, &report.activity)).collect(),
        rx_frames: total.rx_frames,
        tx_frames: total.tx_frames,
        copies: total.copies,
        replied: total.replied,
        drops: total.dropped_total(),
        conserved: total.conserved(),
        ports: state.live.ports.iter().map(port).collect(),
    }
}

fn worker(index: usize, activity: &Activity) -> WorkerInfo {
    WorkerInfo {
        index,
        wakeups: activity.sleeps,
        batches: activity.batches,
        frames: activity.frames,
        busy_polls: activity.busy_hits,
        at_nanos: activity.at.nanos(),
        busy_nanos: nanos(activity.busy),
        batch_sizes: activity.batch_sizes.to_vec(),
        chore_nanos: Chore::ALL
            .into_iter()
            .zip(activity.chores)
            .map(|(chore, spent)| (chore.name().to_owned(), nanos(spent)))
            .collect(),
        longest_pause: pause(activity.longest_pause),
        recent_pause: pause(activity.recent_pause),
        longest_turn_nanos: nanos(activity.longest_turn),
        recent_turn_nanos: nanos(activity.recent_turn),
    }
}

fn pause(Pause { spent, chore }: Pause) -> PauseInfo {
    PauseInfo { nanos: nanos(spent), chore: chore.name().to_owned() }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
            remedy: reason.remedy().to_owned(),
            frames,
        })
    });
    rows.collect()
}
