//! Tunnels and their peers, as the API shows them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use super::known;
use crate::control::api::{IntruderInfo, TunnelInfo, TunnelPeerInfo};
use crate::control::config::{Encapsulation, GeneveOption, PortConfig, TunnelConfig};
use crate::control::overlay::{LivePeer, LiveTunnel};
use crate::control::yard::State;
use crate::packet::{DropReason, Layer, Location, PeerId, PortId};
use crate::switch::{Intruder, PeerCounters, Unreachable};
use crate::time::Time;
use crate::tunnel::geneve;

/// The tunnels, or the one called `only`.
pub(in crate::control) fn tunnels(state: &State, only: Option<&str>) -> Result<Vec<TunnelInfo>, String> {
    let named = |name: &str| state.config.tunnels().any(|(tunnel, ..)| tunnel == name);
    known(only, only.is_some_and(named), "tunnel")?;
    let Seen { counters, options, intruders } = seen(state);
    let now = Time::ZERO + state.started.elapsed();
    let behind = behind(state);
    let mut all = Vec::new();
    for (name, tunnel, port) in
        state.config.tunnels().filter(|(name, ..)| only.is_none_or(|only| only == *name))
    {
        let Some(live) = state.live.ports.get(name) else { continue };
        let Some(running) = &live.tunnel else { continue };
        let entries = entries(&behind, live.id, running);
        let peer = |(id, peer): (PeerId, &LivePeer)| {
            let at = Location { port: live.id, peer: id };
            let seen = counters.get(&at).copied().unwrap_or_default();
            TunnelPeerInfo {
                address: peer.address,
                state: state_of(peer, &seen, now),
                heard_secs: seen.heard.map(|heard| now.since(heard).as_secs()),
                flooded: peer.flooded,
                mtu: running.mtu_over(peer.path_mtu),
                path_mtu: peer.path_mtu,
                rx_packets: seen.rx_packets,
                rx_bytes: seen.rx_bytes,
                tx_packets: seen.tx_packets,
                tx_bytes: seen.tx_bytes,
                drops: seen.drops,
                fdb_entries: entries.get(&peer.address).copied().unwrap_or_default(),
                options: options.get(&at).map(|options| option_texts(options)).unwrap_or_default(),
            }
        };
        let met = running.strangers().collect::<Vec<_>>();
        let all_peers = running.peers().chain(met.iter().map(|(id, peer)| (*id, peer)));
        let mut peers: Vec<_> = all_peers.map(peer).collect();
        peers.sort_by_key(|peer| peer.address);
        let underlay = state.live.ports.get(&tunnel.underlay()).map(|underlay| underlay.id);
        let refused = [(Some(live.id), DropReason::Stranger), (underlay, DropReason::TunnelUnknown)];
        let refused = refused.into_iter().filter_map(|(port, reason)| {
            let Intruder { source, id, at } = *intruders.get(&port?)?;
            let (reason, age_secs) = (reason.name().to_owned(), now.since(at).as_secs());
            Some(IntruderInfo { reason, source, number: id.number(), age_secs })
        });
        all.push(TunnelInfo {
            intruders: refused.collect(),
            ..info(name, tunnel, port, running.mtu(), peers)
        });
    }
    Ok(all)
}

fn info(
    name: &str,
    tunnel: &TunnelConfig,
    port: &PortConfig,
    mtu: u32,
    peers: Vec<TunnelPeerInfo>,
) -> TunnelInfo {
    let options = match &tunnel.encapsulation {
        Encapsulation::Geneve { options, .. } => options.iter().map(ToString::to_string).collect(),
        Encapsulation::Vxlan { .. } | Encapsulation::Gre { .. } => Vec::new(),
    };
    TunnelInfo {
        name: name.to_owned(),
        kind: tunnel.name().to_owned(),
        number: tunnel.number(),
        bridge: port.bridge.clone(),
        wire: port.wire.clone(),
        payload: if tunnel.payload == Layer::Ip { "ip" } else { "ethernet" }.to_owned(),
        local: tunnel.local,
        port: tunnel.port,
        netns: tunnel.netns.clone(),
        underlay: tunnel.underlay(),
        mtu,
        accept: if tunnel.accept_any { "any" } else { "remotes" }.to_owned(),
        learning: port.learning,
        split_horizon: tunnel.split_horizon,
        mss_clamp: tunnel.mss_clamp,
        options,
        intruders: Vec::new(),
        peers,
    }
}

/// What all workers together have seen.
#[derive(Default)]
struct Seen {
    counters: BTreeMap<Location, PeerCounters>,
    /// The options of each peer that one of the workers saw last.
    options: BTreeMap<Location, Vec<u8>>,
    /// The last intruder at each port.
    intruders: BTreeMap<PortId, Intruder>,
}

fn seen(state: &State) -> Seen {
    let mut seen = Seen::default();
    for report in state.reports() {
        for (at, counters) in &report.peers {
            *seen.counters.entry(*at).or_default() += counters;
        }
        seen.options.extend(report.options);
        for (port, intruder) in report.intruders {
            let last = seen.intruders.entry(port).or_insert(intruder);
            if intruder.at > last.at {
                *last = intruder;
            }
        }
    }
    seen
}

/// GENEVE options, as the configuration's are shown.
fn option_texts(options: &[u8]) -> Vec<String> {
    let option = |(class, kind, data): (u16, u8, &[u8])| GeneveOption { class, kind, data: data.to_vec() };
    geneve::options(options).map(|found| option(found).to_string()).collect()
}

/// How many FDB entries are behind each peer.
fn entries(behind: &HashMap<Location, u64>, port: PortId, tunnel: &LiveTunnel) -> BTreeMap<IpAddr, u64> {
    let mut counts = BTreeMap::new();
    for (at, entries) in behind.iter().filter(|(at, _)| at.port == port) {
        if let Some(remote) = tunnel.address_of(at.peer) {
            *counts.entry(remote).or_default() += entries;
        }
    }
    counts
}

/// How many addresses are behind each peer of all tunnels: every table is looked through once.
fn behind(state: &State) -> HashMap<Location, u64> {
    let tunnels = state.live.ports.values().filter(|port| port.tunnel.is_some());
    let tunnels: HashSet<PortId> = tunnels.map(|port| port.id).collect();
    let mut behind = HashMap::default();
    if tunnels.is_empty() {
        return behind;
    }
    for bridge in state.live.bridges.values() {
        bridge.fdb.visit(|_, entry| {
            if tunnels.contains(&entry.port) {
                *behind.entry(entry.at()).or_default() += 1;
            }
        });
    }
    behind
}

/// How a peer is, as far as can be told from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Health {
    /// It is a multicast group, which sends nothing itself.
    Group,
    Unreachable(Unreachable),
    Up,
    Unheard,
}

impl Health {
    pub(in crate::control) fn of(peer: &LivePeer, seen: &PeerCounters) -> Health {
        match (seen.trouble, seen.heard) {
            _ if peer.address.is_multicast() => Health::Group,
            // Whoever has been heard since is there again.
            (Some(trouble), heard) if heard.is_none_or(|heard| heard < trouble.at) => {
                Health::Unreachable(trouble)
            }
            (_, Some(_)) => Health::Up,
            (_, None) => Health::Unheard,
        }
    }

    pub(in crate::control) fn name(self) -> &'static str {
        match self {
            Health::Group => "group",
            Health::Unreachable(_) => "unreachable",
            Health::Up => "up",
            Health::Unheard => "unheard",
        }
    }
}

fn state_of(peer: &LivePeer, seen: &PeerCounters, now: Time) -> String {
    let health = Health::of(peer, seen);
    let Health::Unreachable(trouble) = health else { return health.name().to_owned() };
    let what = io::Error::from_raw_os_error(trouble.errno).to_string();
    let what = what.split(" (os error").next().unwrap_or_default();
    format!("{}: {what} {} s ago", health.name(), now.since(trouble.at).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_was_heard_of_a_peer_is_its_state() {
        let of = |address: &str, heard: Option<u64>, trouble: Option<u64>| {
            let peer = LivePeer { address: address.parse().unwrap(), flooded: true, path_mtu: None };
            let trouble = trouble.map(|at| Unreachable { at: Time::from_secs(at), errno: 111 });
            let seen = PeerCounters { heard: heard.map(Time::from_secs), trouble, ..PeerCounters::default() };
            state_of(&peer, &seen, Time::from_secs(10))
        };
        assert_eq!(of("10.8.0.2", None, None), "unheard");
        assert_eq!(of("10.8.0.2", Some(1), None), "up");
        assert_eq!(of("10.8.0.2", Some(5), Some(4)), "up");
        assert_eq!(of("10.8.0.2", Some(5), Some(7)), "unreachable: Connection refused 3 s ago");
        assert_eq!(of("10.8.0.2", None, Some(10)), "unreachable: Connection refused 0 s ago");
        assert_eq!(of("239.1.1.1", None, None), "group");
    }
}
