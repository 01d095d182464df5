//! From a snapshot to the text, in the order of the catalogue.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use super::catalogue::*;
use super::gather::{BridgeNow, PeerNow, PortNow, RouterNow, RuleNow, Snapshot, TunnelNow, WorkerNow};
use super::text::Text;
use crate::control::api::ExportInfo;
use crate::control::show::Health;
use crate::packet::{Counters, DropReason};
use crate::switch::mirror::MirrorCounters;
use crate::table::bindings::Bindings;
use crate::table::reassembly::{MAX_BYTES, MAX_DATAGRAMS};
use crate::worker::{Activity, BATCH_SIZES, Pause};

/// What ports that are gone have counted stands under this name, which no port can have.
pub(super) const GONE: &str = "(gone)";

/// The largest batch of each size that is told apart, but for the last, which has no bound.
const BATCH_BOUNDS: [u64; BATCH_SIZES - 1] = [1, 3, 7, 15, 31];

/// Ports and reasons that have dropped something.
pub(super) type Drops = BTreeSet<(String, DropReason)>;

/// Everything. `drops` are those that had a row before, and gets those that have one now.
pub(super) fn all(now: &Snapshot, drops: &mut Drops, took: Duration) -> String {
    let mut text = Text::default();
    text.family(&BUILD_INFO).add(&[env!("CARGO_PKG_VERSION")], 1);
    text.family(&UPTIME).add(&[], now.uptime.as_secs_f64());
    text.family(&TOPOLOGY_EPOCH).add(&[], now.epoch);
    let (well, at) = now.reloaded;
    text.family(&CONFIG_RELOADED).add(&[], u8::from(well));
    text.family(&CONFIG_RELOADED_AT).add(&[], timestamp(at));
    text.family(&SCRAPE_DURATION).add(&[], took.as_secs_f64());
    ports(&mut text, &now.ports);
    traffic(&mut text, &now.ports, &now.retired, drops);
    bridges(&mut text, &now.bridges);
    routers(&mut text, &now.routers);
    text.family(&RULES).add(&[], now.rule_count);
    rules(&mut text, &now.rules);
    tunnels(&mut text, &now.tunnels);
    mirrors(&mut text, &now.mirrors);
    exports(&mut text, &now.exports);
    text.family(&WORKERS).add(&[], now.worker_count);
    workers(&mut text, &now.workers);
    text.into_string()
}

fn timestamp(at: SystemTime) -> f64 {
    // The clock of a machine may be set to before 1970.
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Things that have a row each in several families, with their labels there.
struct Rows<'a, T, const N: usize>(Vec<([String; N], &'a T)>);

impl<'a, T, const N: usize> Rows<'a, T, N> {
    fn new(things: impl IntoIterator<Item = &'a T>, labels: impl Fn(&T) -> [String; N]) -> Rows<'a, T, N> {
        Rows(things.into_iter().map(|thing| (labels(thing), thing)).collect())
    }

    /// Writes a family; a thing without a value has no row in it.
    fn write<V: Display>(
        &self,
        text: &mut Text,
        family: &'static Family,
        value: impl Fn(&T) -> Option<V>,
    ) -> &Rows<'a, T, N> {
        let mut samples = text.family(family);
        for (labels, thing) in &self.0 {
            if let Some(value) = value(thing) {
                samples.add(&labels.each_ref().map(String::as_str), value);
            }
        }
        self
    }
}

fn ports(text: &mut Text, ports: &[PortNow]) {
    let info = |port: &PortNow| {
        let (bridge, device) = (port.bridge.clone(), port.device.clone());
        [port.name.clone(), port.kind.to_owned(), bridge.unwrap_or_default(), device.unwrap_or_default()]
    };
    Rows::new(ports, info).write(text, &PORT_INFO, |_| Some(1));
    let named = Rows::new(ports, |port| [port.name.clone()]);
    named.write(text, &PORT_UP, |port| Some(u8::from(port.state == "up")));
    Rows::new(ports, |port| [port.name.clone(), port.state.to_owned()]).write(text, &PORT_STATE, |_| Some(1));
    named.write(text, &PORT_MTU, |port| port.mtu).write(text, &PORT_QUEUES, |port| Some(port.queues)).write(
        text,
        &PORT_FDB_ENTRIES,
        |port| Some(port.fdb_entries),
    );
}

fn traffic(text: &mut Text, ports: &[PortNow], retired: &Counters, drops: &mut Drops) {
    let counters = ports.iter().map(|port| (port.name.as_str(), &port.counters));
    let all =
        Rows(counters.chain([(GONE, retired)]).map(|(name, counted)| ([name.to_owned()], counted)).collect());
    all.write(text, &PORT_RECEIVE_FRAMES, |counted| Some(counted.rx_frames))
        .write(text, &PORT_RECEIVE_BYTES, |counted| Some(counted.rx_bytes))
        .write(text, &PORT_TRANSMIT_FRAMES, |counted| Some(counted.tx_frames))
        .write(text, &PORT_TRANSMIT_BYTES, |counted| Some(counted.tx_bytes))
        .write(text, &PORT_MADE_FRAMES, |counted| Some(counted.copies))
        .write(text, &PORT_ANSWERED_FRAMES, |counted| Some(counted.replied));

    let there: BTreeSet<_> = all.0.iter().map(|([name], _)| name).collect();
    drops.retain(|(name, _)| there.contains(name));
    for ([name], counted) in &all.0 {
        drops.extend(counted.drops().map(|(reason, _)| (name.clone(), reason)));
    }
    let mut samples = text.family(&PORT_DROPPED_FRAMES);
    for ([name], counted) in &all.0 {
        let first = (name.clone(), DropReason::ALL[0]);
        for (_, reason) in drops.range(first..).take_while(|(port, _)| port == name) {
            samples.add(&[name, reason.name()], counted.dropped(*reason));
        }
    }
}

fn bridges(text: &mut Text, bridges: &[BridgeNow]) {
    Rows::new(bridges, |bridge| [bridge.name.clone()])
        .write(text, &BRIDGE_FDB_ENTRIES, |bridge| Some(bridge.fdb.learned))
        .write(text, &BRIDGE_FDB_LIMIT, |bridge| Some(bridge.fdb_limit))
        .write(text, &BRIDGE_FDB_EVICTIONS, |bridge| Some(bridge.fdb.evictions))
        .write(text, &BRIDGE_FDB_MOVES, |bridge| Some(bridge.fdb.moves))
        .write(text, &BRIDGE_FDB_FLAPS, |bridge| Some(bridge.fdb.flaps))
        .write(text, &BRIDGE_BINDINGS, |bridge| bridge.bindings)
        .write(text, &BRIDGE_BINDINGS_LIMIT, |bridge| bridge.bindings.map(|_| Bindings::LIMIT))
        .write(text, &BRIDGE_SESSIONS, |bridge| bridge.sessions.map(|sessions| sessions.live))
        .write(text, &BRIDGE_SESSIONS_FULLEST, |bridge| bridge.sessions.map(|sessions| sessions.fullest))
        .write(text, &BRIDGE_SESSIONS_LIMIT, |bridge| bridge.sessions.map(|sessions| sessions.limit));
}

fn routers(text: &mut Text, routers: &[RouterNow]) {
    Rows::new(routers, |router| [router.name.clone()])
        .write(text, &ROUTER_NEIGHBORS, |router| Some(router.neighbors.known))
        .write(text, &ROUTER_NEIGHBORS_LIMIT, |router| Some(router.neighbors.known_limit))
        .write(text, &ROUTER_UNKNOWN, |router| Some(router.neighbors.unknown))
        .write(text, &ROUTER_UNKNOWN_LIMIT, |router| Some(router.neighbors.unknown_limit))
        .write(text, &ROUTER_SESSIONS, |router| Some(router.sessions?.live))
        .write(text, &ROUTER_SESSIONS_LIMIT, |router| Some(router.sessions?.limit))
        .write(text, &ROUTER_HALF_OPEN, |router| Some(router.sessions?.half_open))
        .write(text, &ROUTER_OPENED, |router| Some(router.sessions?.opened))
        .write(text, &ROUTER_EVICTED, |router| Some(router.sessions?.evicted));
    let mut samples = text.family(&ROUTER_REFUSED);
    for router in routers {
        let Some(sessions) = router.sessions else { continue };
        for (reason, refused) in [
            (DropReason::SessionsFull, sessions.refused_full),
            (DropReason::SourceQuota, sessions.refused_quota),
            (DropReason::PortsExhausted, sessions.refused_ports),
        ] {
            samples.add(&[&router.name, reason.name()], refused);
        }
    }
}

fn rules(text: &mut Text, rules: &[RuleNow]) {
    let labels = |RuleNow { number, scope, hook, action, .. }: &RuleNow| {
        [number.to_string(), scope.to_string(), hook.name().to_owned(), (*action).to_owned()]
    };
    Rows::new(rules, labels).write(text, &RULE_MATCHED_FRAMES, |rule| Some(rule.matched.frames)).write(
        text,
        &RULE_MATCHED_BYTES,
        |rule| Some(rule.matched.bytes),
    );
}

fn tunnels(text: &mut Text, tunnels: &[TunnelNow]) {
    let info = |tunnel: &TunnelNow| {
        [tunnel.name.clone(), tunnel.kind.to_owned(), tunnel.local.to_string(), tunnel.underlay.clone()]
    };
    Rows::new(tunnels, info).write(text, &TUNNEL_INFO, |_| Some(1));
    Rows::new(tunnels, |tunnel| [tunnel.name.clone()])
        .write(text, &TUNNEL_MTU, |tunnel| Some(tunnel.mtu))
        .write(text, &TUNNEL_PEERS, |tunnel| Some(tunnel.peer_count));

    let all = || tunnels.iter().flat_map(|tunnel| &tunnel.peers);
    let named = Rows::new(all(), |peer| [peer.tunnel.clone(), peer.address.to_string()]);
    let up = |health| (health != Health::Group).then_some(u8::from(health == Health::Up));
    named.write(text, &PEER_UP, |peer| up(peer.health));
    let state =
        |peer: &PeerNow| [peer.tunnel.clone(), peer.address.to_string(), peer.health.name().to_owned()];
    Rows::new(all(), state).write(text, &PEER_STATE, |_| Some(1));
    named
        .write(text, &PEER_HEARD_AT, |peer| peer.heard.map(timestamp))
        .write(text, &PEER_PATH_MTU, |peer| peer.path_mtu)
        .write(text, &PEER_RECEIVE_PACKETS, |peer| Some(peer.counters.rx_packets))
        .write(text, &PEER_RECEIVE_BYTES, |peer| Some(peer.counters.rx_bytes))
        .write(text, &PEER_TRANSMIT_PACKETS, |peer| Some(peer.counters.tx_packets))
        .write(text, &PEER_TRANSMIT_BYTES, |peer| Some(peer.counters.tx_bytes))
        .write(text, &PEER_DROPPED_PACKETS, |peer| Some(peer.counters.drops));
}

fn mirrors(text: &mut Text, mirrors: &[(String, MirrorCounters)]) {
    Rows::new(mirrors, |(name, _)| [name.clone()])
        .write(text, &MIRROR_COPIES, |(_, counted)| Some(counted.frames))
        .write(text, &MIRROR_CUT, |(_, counted)| Some(counted.cut))
        .write(text, &MIRROR_DROPPED, |(_, counted)| Some(counted.drops));
}

fn exports(text: &mut Text, exports: &[ExportInfo]) {
    Rows::new(exports, |export| [export.name.clone(), export.protocol.clone()])
        .write(text, &EXPORT_UP, |export| Some(u8::from(export.state == "up")))
        .write(text, &EXPORT_SAMPLES, |export| Some(export.samples))
        .write(text, &EXPORT_MISSED, |export| Some(export.missed))
        .write(text, &EXPORT_DATAGRAMS, |export| Some(export.datagrams))
        .write(text, &EXPORT_ERRORS, |export| Some(export.errors));
}

fn workers(text: &mut Text, workers: &[WorkerNow]) {
    let named = Rows::new(workers, |worker| [worker.index.to_string()]);
    let seconds = |time: Duration| Some(time.as_secs_f64());
    named
        .write(text, &WORKER_BUSY, |worker| seconds(worker.activity.busy))
        .write(text, &WORKER_SLEEPS, |worker| Some(worker.activity.sleeps))
        .write(text, &WORKER_BUSY_POLLS, |worker| Some(worker.activity.busy_hits));
    let mut samples = text.family(&WORKER_BATCHES);
    for ([index], worker) in &named.0 {
        let Activity { batch_sizes, frames, .. } = &worker.activity;
        samples.add_histogram(&[index], &BATCH_BOUNDS, batch_sizes, *frames);
    }
    let mut pause = |family, pause: fn(&Activity) -> Pause| {
        let labels =
            |worker: &WorkerNow| [worker.index.to_string(), pause(&worker.activity).chore.name().to_owned()];
        Rows::new(workers, labels).write(text, family, |worker| seconds(pause(&worker.activity).spent));
    };
    pause(&WORKER_RECENT_PAUSE, |activity| activity.recent_pause);
    pause(&WORKER_LONGEST_PAUSE, |activity| activity.longest_pause);
    named
        .write(text, &WORKER_RECENT_TURN, |worker| seconds(worker.activity.recent_turn))
        .write(text, &WORKER_LONGEST_TURN, |worker| seconds(worker.activity.longest_turn))
        .write(text, &WORKER_REASSEMBLY_PACKETS, |worker| Some(worker.fragments.datagrams))
        .write(text, &WORKER_REASSEMBLY_PACKETS_LIMIT, |_| Some(MAX_DATAGRAMS))
        .write(text, &WORKER_REASSEMBLY_BYTES, |worker| Some(worker.fragments.bytes))
        .write(text, &WORKER_REASSEMBLY_BYTES_LIMIT, |_| Some(MAX_BYTES));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, counters: Counters) -> PortNow {
        let (bridge, device, mtu) = (None, None, None);
        let (name, kind, state) = (name.to_owned(), "tap", "up");
        PortNow { name, kind, bridge, device, state, mtu, queues: 1, fdb_entries: 0, counters }
    }

    fn drop_rows(ports: &[PortNow], drops: &mut Drops) -> Vec<String> {
        let mut text = Text::default();
        traffic(&mut text, ports, &Counters::default(), drops);
        let rows = text.into_string();
        let rows = rows.lines().filter_map(|line| line.strip_prefix("tapyard_port_dropped_frames_total"));
        rows.map(str::to_owned).collect()
    }

    #[test]
    fn a_drop_that_had_a_row_keeps_it_as_long_as_its_port_is_there() {
        let mut drops = Drops::new();
        let mut dropped = Counters::default();
        dropped.drop(DropReason::Runt);
        let rows = drop_rows(&[port("a", dropped), port("b", Counters::default())], &mut drops);
        assert_eq!(rows, ["{port=\"a\",reason=\"runt\"} 1"]);
        // It was opened anew.
        let rows = drop_rows(&[port("a", Counters::default())], &mut drops);
        assert_eq!(rows, ["{port=\"a\",reason=\"runt\"} 0"]);
        assert!(drop_rows(&[port("b", Counters::default())], &mut drops).is_empty());
        assert!(drop_rows(&[port("a", Counters::default())], &mut drops).is_empty());
    }
}
