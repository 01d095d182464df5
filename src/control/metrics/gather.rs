//! What is looked at while everybody else waits: copies of numbers, and nothing long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::{MAX_PEERS, MAX_RULES};
use crate::control::api::ExportInfo;
use crate::control::config::{Hook, PortConfig, RuleConfig, Scope};
use crate::control::routing::LiveRouter;
use crate::control::shape::LivePort;
use crate::control::show::{self, Health};
use crate::control::yard::State;
use crate::packet::{Counters, Location, PortId};
use crate::switch::mirror::MirrorCounters;
use crate::switch::{PeerCounters, RuleCounters};
use crate::table::bindings::Bindings;
use crate::table::fdb::FdbStats;
use crate::table::{conntrack, neighbors, reassembly};
use crate::time::Time;
use crate::worker::{Activity, Report};

/// What a switch was at one moment.
pub(super) struct Snapshot {
    pub(super) uptime: Duration,
    pub(super) epoch: u64,
    /// Whether the configuration file was fine when it was last read, and when that last was so.
    pub(super) reloaded: (bool, SystemTime),
    pub(super) ports: Vec<PortNow>,
    /// What ports counted that are gone.
    pub(super) retired: Counters,
    pub(super) bridges: Vec<BridgeNow>,
    pub(super) routers: Vec<RouterNow>,
    /// How many there are.
    pub(super) rule_count: usize,
    /// The first of them, with what they matched.
    pub(super) rules: Vec<RuleNow>,
    pub(super) tunnels: Vec<TunnelNow>,
    /// The mirrors, by name, with what they copied.
    pub(super) mirrors: Vec<(String, MirrorCounters)>,
    pub(super) exports: Vec<ExportInfo>,
    pub(super) worker_count: usize,
    /// Those that answered.
    pub(super) workers: Vec<WorkerNow>,
}

pub(super) struct PortNow {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) bridge: Option<String>,
    pub(super) device: Option<String>,
    pub(super) state: &'static str,
    pub(super) mtu: Option<u32>,
    pub(super) queues: usize,
    pub(super) fdb_entries: usize,
    pub(super) counters: Counters,
}

pub(super) struct BridgeNow {
    pub(super) name: String,
    pub(super) fdb: FdbStats,
    pub(super) fdb_limit: u32,
    /// How many, where it answers for neighbours.
    pub(super) bindings: Option<usize>,
    /// Where it tracks connections.
    pub(super) sessions: Option<VlanFill>,
}

/// The connections of a bridge.
#[derive(Clone, Copy)]
pub(super) struct VlanFill {
    pub(super) live: usize,
    /// In the VLAN that has the most.
    pub(super) fullest: usize,
    /// In each VLAN.
    pub(super) limit: usize,
}

pub(super) struct RouterNow {
    pub(super) name: String,
    pub(super) neighbors: neighbors::Fill,
    pub(super) sessions: Option<conntrack::Stats>,
}

pub(super) struct RuleNow {
    pub(super) number: usize,
    pub(super) scope: Scope,
    pub(super) hook: Hook,
    pub(super) action: &'static str,
    pub(super) matched: RuleCounters,
}

pub(super) struct TunnelNow {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) local: IpAddr,
    pub(super) underlay: String,
    pub(super) mtu: u32,
    pub(super) peer_count: usize,
    pub(super) peers: Vec<PeerNow>,
}

pub(super) struct PeerNow {
    pub(super) tunnel: String,
    pub(super) address: IpAddr,
    pub(super) health: Health,
    pub(super) path_mtu: Option<u32>,
    pub(super) heard: Option<SystemTime>,
    pub(super) counters: PeerCounters,
}

pub(super) struct WorkerNow {
    pub(super) index: usize,
    pub(super) activity: Activity,
    pub(super) fragments: reassembly::Fill,
}

impl Snapshot {
    pub(super) fn take(state: &State) -> Snapshot {
        let reports = state.reports();
        let mut counted =
            Counted::of(&reports, state.config.rules.len().min(MAX_RULES), state.config.mirrors.len());
        let ports = state.live.ports.iter().filter_map(|(name, live)| {
            let counters = counted.ports.remove(&live.id).unwrap_or_default();
            Some(port(state, name, state.config.ports.get(name)?, live, counters))
        });
        let ports = ports.collect();
        let worker = |report: &Report| WorkerNow {
            index: report.worker,
            activity: report.activity,
            fragments: report.fragments,
        };
        Snapshot {
            uptime: state.started.elapsed(),
            epoch: state.epoch,
            reloaded: (state.loaded.well, state.loaded.at),
            ports,
            retired: counted.retired,
            bridges: bridges(state),
            routers: routers(state),
            rule_count: state.config.rules.len(),
            rules: (1..).zip(state.config.rules.iter().zip(counted.rules)).map(rule).collect(),
            tunnels: tunnels(state, &counted.peers),
            mirrors: state.config.mirrors.keys().cloned().zip(counted.mirrors).collect(),
            exports: state.show_exports(),
            worker_count: state.workers.len(),
            workers: reports.iter().map(worker).collect(),
        }
    }
}

/// What all workers together have counted.
struct Counted {
    ports: BTreeMap<PortId, Counters>,
    retired: Counters,
    peers: BTreeMap<Location, PeerCounters>,
    rules: Vec<RuleCounters>,
    /// In the order of the configuration, as workers tell of them.
    mirrors: Vec<MirrorCounters>,
}

impl Counted {
    /// Of so many rules only, and of all of so many mirrors.
    fn of(reports: &[Report], rules: usize, mirrors: usize) -> Counted {
        let (ports, peers) = (BTreeMap::new(), BTreeMap::new());
        let rules = vec![RuleCounters::default(); rules];
        let mirrors = vec![MirrorCounters::default(); mirrors];
        let mut counted = Counted { ports, retired: Counters::default(), peers, rules, mirrors };
        for report in reports {
            counted.retired += &report.retired;
            for (id, counters) in &report.ports {
                *counted.ports.entry(*id).or_default() += counters;
            }
            for (at, counters) in &report.peers {
                *counted.peers.entry(*at).or_default() += counters;
            }
            for (sum, counters) in counted.rules.iter_mut().zip(&report.rules) {
                sum.frames += counters.frames;
                sum.bytes += counters.bytes;
            }
            counted.mirrors.iter_mut().zip(&report.mirrors).for_each(|(sum, counters)| *sum += *counters);
        }
        counted
    }
}

fn port(state: &State, name: &str, config: &PortConfig, live: &LivePort, counters: Counters) -> PortNow {
    let bridge = config.bridge.as_ref().and_then(|bridge| state.live.bridges.get(bridge));
    PortNow {
        name: name.to_owned(),
        kind: config.kind.name(),
        bridge: config.bridge.clone(),
        device: show::device(&config.kind, live),
        state: show::state_of(live),
        mtu: (live.link.is_some() || !live.missing).then(|| live.mtu()),
        queues: live.queues(),
        fdb_entries: bridge.map_or(0, |bridge| bridge.fdb.held(live.id)),
        counters,
    }
}

fn rule((number, (rule, matched)): (usize, (&RuleConfig, RuleCounters))) -> RuleNow {
    RuleNow { number, scope: rule.scope.clone(), hook: rule.hook, action: rule.action.name(), matched }
}

fn bridges(state: &State) -> Vec<BridgeNow> {
    let running = state.live.bridges.iter();
    let bridges = running.filter_map(|(name, live)| {
        Some(BridgeNow {
            name: name.clone(),
            fdb: live.fdb.stats(),
            fdb_limit: state.config.bridges.get(name)?.fdb_limit,
            bindings: live.bindings.as_deref().map(Bindings::len),
            sessions: live.sessions.as_ref().map(|sessions| VlanFill {
                live: sessions.held().sum(),
                fullest: sessions.held().max().unwrap_or_default(),
                limit: sessions.limit(),
            }),
        })
    });
    bridges.collect()
}

fn routers(state: &State) -> Vec<RouterNow> {
    let router = |(name, live): (&String, &LiveRouter)| RouterNow {
        name: name.clone(),
        neighbors: live.neighbors.fill(),
        sessions: live.sessions.as_ref().map(|sessions| sessions.stats()),
    };
    state.live.routers.iter().map(router).collect()
}

fn tunnels(state: &State, counted: &BTreeMap<Location, PeerCounters>) -> Vec<TunnelNow> {
    let (now, wall) = (Time::ZERO + state.started.elapsed(), SystemTime::now());
    let mut room = MAX_PEERS;
    let tunnels = state.config.tunnels().filter_map(|(name, tunnel, _)| {
        let live = state.live.ports.get(name)?;
        let running = live.tunnel.as_ref()?;
        let met: Vec<_> = running.strangers().collect();
        let all = running.peers().chain(met.iter().map(|(id, peer)| (*id, peer)));
        let (mut peer_count, mut peers) = (0, Vec::new());
        for (id, peer) in all {
            peer_count += 1;
            if room == 0 {
                continue;
            }
            room -= 1;
            let counters = counted.get(&Location { port: live.id, peer: id }).copied().unwrap_or_default();
            peers.push(PeerNow {
                tunnel: name.clone(),
                address: peer.address,
                health: Health::of(peer, &counters),
                path_mtu: peer.path_mtu,
                heard: counters.heard.map(|heard| wall - now.since(heard)),
                counters,
            });
        }
        Some(TunnelNow {
            name: name.clone(),
            kind: tunnel.name(),
            local: tunnel.local,
            underlay: tunnel.underlay(),
            mtu: running.mtu(),
            peer_count,
            peers,
        })
    });
    tunnels.collect()
}
