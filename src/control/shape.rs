//! From the configuration and what is open to the [`Topology`] that the workers take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashSet;

use super::attach::own_mac;
use super::config::{
    self, BridgeConfig, Config, MirrorConfig, MirrorDirection, On, PortConfig, PortKind, VlanMode,
};
use super::overlay::{self, LiveTunnel};
use super::routing::{self, LiveRouter, NumberedRules};
use crate::packet::{BridgeId, Capabilities, InterfaceId, MAX_FRAME, PeerId, PortId, RouterId, Vid};
use crate::port::guest::{Attached, Guest};
use crate::port::link::Link;
use crate::port::netdev::Made;
use crate::port::{Look, Opened, Queue};
use crate::switch::mirror::Mirror;
use crate::switch::mode::{self, Apart, Mode};
use crate::switch::{self, Guard, Topology, VlanPolicy, VlanSessions, Way};
use crate::table::bindings::Bindings;
use crate::table::fdb::{Allowance, Fdb, Generations};
use crate::table::token_bucket::TokenBucket;
use crate::wire::ethernet::Mac;

/// A bridge that runs.
pub(super) struct LiveBridge {
    pub(super) id: BridgeId,
    pub(super) mac: Mac,
    pub(super) fdb: Arc<Fdb>,
    /// Where it answers for neighbours.
    pub(super) bindings: Option<Arc<Bindings>>,
    /// The connections of its stations, where a rule asks for their state.
    pub(super) sessions: Option<Arc<VlanSessions>>,
    /// The station that last moved to and fro too often.
    pub(super) last_flap: Option<Flap>,
}

/// A station that moves to and fro between two ports.
pub(super) struct Flap {
    pub(super) mac: Mac,
    pub(super) from: PortId,
    pub(super) to: PortId,
    pub(super) at: Instant,
}

impl LiveBridge {
    pub(super) fn new(
        id: BridgeId,
        name: &str,
        config: &BridgeConfig,
        generations: &Arc<Generations>,
    ) -> LiveBridge {
        let fdb = Fdb::new(id, config.fdb_limit, config.ageing, Arc::clone(generations));
        let mac = config.mac.unwrap_or_else(|| own_mac(name));
        let bindings = config.neighbor_suppression.then(Arc::default);
        LiveBridge { id, mac, fdb: Arc::new(fdb), bindings, sessions: None, last_flap: None }
    }

    /// Forgets what is known behind a port that the workers have forgotten, or behind which others are now.
    pub(super) fn purge(&self, port: PortId) {
        self.fdb.purge(port);
        if let Some(bindings) = &self.bindings {
            bindings.purge(port);
        }
    }

    pub(super) fn configure(&mut self, name: &str, config: &BridgeConfig) {
        self.fdb.configure(config.fdb_limit, config.ageing);
        match config.neighbor_suppression {
            true => _ = self.bindings.get_or_insert_default(),
            false => self.bindings = None,
        }
        self.mac = config.mac.unwrap_or_else(|| own_mac(name));
    }
}

/// A port that runs.
pub(super) struct LivePort {
    pub(super) id: PortId,
    capabilities: Capabilities,
    /// Who is at its socket.
    guest: Option<Arc<Guest>>,
    /// Who was there when it was last asked.
    attached: Option<Attached>,
    /// What its device was when it was last looked at.
    pub(super) link: Option<Link>,
    look: Look,
    /// Queues that frames are read from.
    queues: usize,
    /// What has to be undone when it goes.
    pub(super) made: Option<Made>,
    /// Its device is gone, or is not there yet.
    pub(super) missing: bool,
    /// Why its device could not be taken the last time: said once.
    pub(super) complaint: String,
    /// The limits that `storm` was made for.
    pub(super) limits: config::Storm,
    /// What it has as a tunnel.
    pub(super) tunnel: Option<LiveTunnel>,
    /// Its storm control, whose buckets outlive changes of everything else.
    storm: switch::Storm,
}

impl LivePort {
    /// A port that was opened, and its queues.
    pub(super) fn new(id: PortId, opened: Opened, limits: config::Storm) -> (LivePort, Vec<Queue>) {
        let port = LivePort {
            id,
            capabilities: opened.capabilities,
            attached: opened.guest.as_ref().and_then(|guest| guest.attached()),
            guest: opened.guest,
            link: opened.link,
            look: opened.look,
            queues: opened.queues.iter().filter(|queue| queue.fd().is_some()).count(),
            made: opened.made,
            missing: false,
            complaint: String::new(),
            limits,
            tunnel: None,
            storm: storm(&limits),
        };
        (port, opened.queues)
    }

    /// The MTU of its device in bytes; of a tunnel, what gets to all its peers; of another port without device, all that
    /// a frame can hold.
    pub(super) fn mtu(&self) -> u32 {
        match (&self.tunnel, &self.link, &self.guest) {
            (Some(tunnel), ..) => tunnel.mtu(),
            (None, Some(link), _) => link.mtu,
            (None, None, Some(guest)) => guest.mtu,
            (None, None, None) => MAX_FRAME as u32,
        }
    }

    /// What can be sent by it without our doing it.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.attached.map_or(self.capabilities, |attached| attached.capabilities)
    }

    /// Queues that frames are read from; of a guest that is there, those it uses.
    pub(super) fn queues(&self) -> usize {
        self.attached.map_or(self.queues, |attached| attached.queues)
    }

    /// Whether somebody has yet to attach to its socket.
    pub(super) fn waits_for_guest(&self) -> bool {
        self.guest.is_some() && self.attached.is_none()
    }

    /// Asks who is at its socket now.
    pub(super) fn look_at_guest(&mut self) {
        self.attached = self.guest.as_ref().and_then(|guest| guest.attached());
    }

    /// Looks at its device, or at the ways to its peers; true when an MTU is another than it was. A device that cannot be
    /// looked at is as it was.
    pub(super) fn look(&mut self) -> bool {
        if let Some(tunnel) = &mut self.tunnel {
            return tunnel.look();
        }
        let before = self.mtu();
        if let Some(link) = (self.look)() {
            self.link = Some(link);
        }
        self.mtu() != before
    }

    /// Takes the settings that no device has to be touched for, and that are kept here.
    pub(super) fn configure(&mut self, config: &PortConfig) {
        if self.limits != config.storm {
            self.limits = config.storm;
            self.storm = storm(&config.storm);
        }
    }
}

/// Everything that runs, by name.
#[derive(Default)]
pub(super) struct Live {
    pub(super) bridges: BTreeMap<String, LiveBridge>,
    pub(super) ports: BTreeMap<String, LivePort>,
    pub(super) routers: BTreeMap<String, LiveRouter>,
    /// What limits the packets of rules that limit a rate, by what the rule is known by.
    pub(super) buckets: BTreeMap<u64, Arc<TokenBucket>>,
}

impl Live {
    pub(super) fn port_name(&self, id: PortId) -> Option<&str> {
        self.ports.iter().find(|(_, port)| port.id == id).map(|(name, _)| name.as_str())
    }

    /// The lowest slot that no port has.
    pub(super) fn free_port(&self) -> PortId {
        PortId(free(self.ports.values().map(|port| port.id.0)))
    }

    /// The lowest slot that no bridge has.
    pub(super) fn free_bridge(&self) -> BridgeId {
        BridgeId(free(self.bridges.values().map(|bridge| bridge.id.0)))
    }

    /// The lowest slot that no router has.
    fn free_router(&self) -> RouterId {
        RouterId(free(self.routers.values().map(|router| router.id.0)))
    }

    /// Has the routers be what they are to be, where that is another than they were.
    pub(super) fn configure_routers(&mut self, running: &Config, wanted: &Config) {
        self.routers.retain(|name, _| wanted.routers.contains_key(name));
        for (name, to) in &wanted.routers {
            let tracks = routing::tracks(wanted, name);
            let from = running.routers.get(name);
            let id = self.free_router();
            let live = self.routers.entry(name.clone()).or_insert_with(|| LiveRouter::new(id, to));
            if from == Some(to) && tracks == live.sessions.is_some() {
                continue;
            }
            if let Some(from) = from {
                live.unpin(from, to);
            }
            live.configure(to, tracks);
        }
        self.configure_rules(wanted);
    }

    /// Has the routers forget what was true by `before` only. No worker may use that any more, or it would learn it again.
    pub(super) fn forget_in_routers(&self, before: &Config, now: &Config) {
        for (name, live) in &self.routers {
            if let (Some(from), Some(to)) = (before.routers.get(name), now.routers.get(name)) {
                live.forget(from, to);
            }
        }
    }

    /// Has the tunnels be what they are to be. Gives the peers that went: to be released when no FDB entry names them.
    pub(super) fn configure_tunnels(&mut self, config: &Config) -> Vec<(PortId, PeerId)> {
        let mut left = Vec::new();
        for (name, tunnel, port) in config.tunnels() {
            let Some(live) = self.ports.get_mut(name) else { continue };
            match &mut live.tunnel {
                None => live.tunnel = Some(LiveTunnel::new(name, tunnel, &port.vlan, config)),
                Some(old) => {
                    let gone = old.configure(name, tunnel, &port.vlan, config);
                    left.extend(gone.into_iter().map(|peer| (live.id, peer)));
                }
            }
        }
        left
    }

    /// Makes the slots of peers free that went, and that no FDB entry names any more.
    pub(super) fn release_peers(&mut self, left: &[(PortId, PeerId)]) {
        for (port, peer) in left {
            let mut tunnels = self.ports.values_mut().filter(|live| live.id == *port);
            if let Some(tunnel) = tunnels.next().and_then(|live| live.tunnel.as_mut()) {
                tunnel.release(*peer);
            }
        }
    }

    /// The topology of all this.
    pub(super) fn topology(&self, config: &Config, epoch: u64) -> Topology {
        let rules = NumberedRules::new(config);
        let mut topology = Topology { epoch, ..Topology::default() };
        for (name, live) in &self.bridges {
            // Bridges and ports that run are those of the configuration.
            let Some(bridge) = config.bridges.get(name) else { continue };
            put(&mut topology.bridges, live.id.index(), self.bridge(config, name, bridge, live, &rules));
        }
        let tunnels = self.tunnels_by_underlay(config);
        for (name, live) in &self.ports {
            let Some(port) = config.ports.get(name) else { continue };
            let over = tunnels.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            put(&mut topology.ports, live.id.index(), self.port(config, name, port, live, over));
        }
        for (name, live) in &self.routers {
            if let Some(router) = self.router(config, name, live, &rules) {
                put(&mut topology.routers, live.id.index(), router);
            }
        }
        topology.rules = rules.ids;
        topology.mirrors =
            config.mirrors.iter().filter_map(|(name, mirror)| self.mirror(config, name, mirror)).collect();
        topology
    }

    fn mirror(&self, config: &Config, name: &str, mirror: &MirrorConfig) -> Option<Mirror> {
        let is_of = |(name, port): &(&String, &PortConfig)| {
            mirror.ports.contains(*name) || mirror.bridge.is_some() && port.bridge == mirror.bridge
        };
        let ports = config.ports.iter().filter(is_of);
        let ports: HashSet<_> = ports.filter_map(|(name, _)| Some(self.ports.get(name)?.id)).collect();
        let (received, sent) = match mirror.direction {
            MirrorDirection::Both => (ports.clone(), ports),
            MirrorDirection::In => (ports, HashSet::default()),
            MirrorDirection::Out => (HashSet::default(), ports),
        };
        Some(Mirror {
            name: name.to_owned(),
            to: self.ports.get(&mirror.to)?.id,
            received,
            sent,
            vlans: mirror.vlans.clone(),
            filter: mirror.filter.clone(),
            snap: mirror.snap.map(|bytes| bytes as usize),
        })
    }

    fn bridge(
        &self,
        config: &Config,
        name: &str,
        bridge: &BridgeConfig,
        live: &LiveBridge,
        rules: &NumberedRules<'_>,
    ) -> switch::Bridge {
        let modes = || members(config, name).map(|(_, port)| port.mode);
        let members = members(config, name).filter_map(|(port, _)| self.ports.get(port));
        switch::Bridge {
            name: name.to_owned(),
            mac: live.mac,
            fdb: Arc::clone(&live.fdb),
            refresh: mode::refresh_period(bridge.ageing, modes()),
            passthrough: is_passthrough(config, name),
            members: members
                .filter(|port| !port.missing && !port.waits_for_guest())
                .map(|port| port.id)
                .collect(),
            routers: self.router_interfaces(config, |on| match on {
                On::Bridge { bridge, vlan } if bridge == name => Some(vlan.unwrap_or(0)),
                _ => None,
            }),
            bindings: live.bindings.clone(),
            rules: self.bridge_rules(name, bridge, live, rules),
        }
    }

    /// The interfaces of routers that `at` knows a number for, which stands beside each.
    fn router_interfaces(
        &self,
        config: &Config,
        at: impl Fn(&On) -> Option<u16>,
    ) -> Vec<(u16, RouterId, InterfaceId)> {
        let mut found = Vec::new();
        for (name, live) in &self.routers {
            let Some(router) = config.routers.get(name) else { continue };
            for (name, interface) in &router.interfaces {
                if let Some((number, &id)) = at(&interface.on).zip(live.interfaces.get(name)) {
                    found.push((number, live.id, id));
                }
            }
        }
        found
    }

    /// The tunnels over each underlay, those also that only hear a group there.
    fn tunnels_by_underlay(&self, config: &Config) -> BTreeMap<String, Vec<(PortId, &LiveTunnel)>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (name, tunnel, _) in config.tunnels() {
            let Some(port) = self.ports.get(name) else { continue };
            let Some(live) = &port.tunnel else { continue };
            for underlay in [Some(tunnel.underlay()), tunnel.group_underlay()].into_iter().flatten() {
                all.entry(underlay).or_default().push((port.id, live));
            }
        }
        all
    }

    fn port(
        &self,
        config: &Config,
        name: &str,
        port: &PortConfig,
        live: &LivePort,
        over: &[(PortId, &LiveTunnel)],
    ) -> switch::Port {
        let bridge = port.bridge.as_ref();
        let limit = bridge.and_then(|b| config.bridges.get(b)).map_or(0, |b| b.fdb_limit);
        // A trunk or tunnel rightly holds the stations of a whole other switch.
        let many = matches!(port.vlan, VlanMode::Trunk { .. }) || live.tunnel.is_some();
        let quota = if many { limit / 2 } else { 0 };
        let id_of = |name: &String| self.ports.get(name).map(|port| port.id);
        let way = match &port.kind {
            PortKind::Tap(_)
            | PortKind::Tun(_)
            | PortKind::Netdev(_)
            | PortKind::Stream(_)
            | PortKind::Dgram { .. }
            | PortKind::VhostUser { .. } => None,
            PortKind::Patch { peer } => id_of(peer).map(Way::Patch),
            PortKind::Tunnel(tunnel) => live.tunnel.as_ref().and_then(|live| {
                let underlay = id_of(&tunnel.underlay())?;
                Some(Way::Tunnel(Arc::new(live.overlay(underlay))))
            }),
            PortKind::Underlay(_) => {
                overlay::underlay(over).map(|underlay| Way::Underlay(Arc::new(underlay)))
            }
        };
        let split_horizon = matches!(&port.kind, PortKind::Tunnel(tunnel) if tunnel.split_horizon);
        switch::Port {
            name: name.to_owned(),
            bridge: bridge.and_then(|b| self.bridges.get(b)).map(|b| b.id),
            vlan: policy(&port.vlan, bridge.is_some_and(|b| is_vlan_aware(config, b))),
            apart: Apart::new(port.mode, port.isolated, split_horizon),
            hairpin: port.hairpin,
            learning: port.learning,
            guard: guard(&port.guard),
            allowance: Allowance { limit: port.learn_limit, quota },
            storm: live.storm.clone(),
            mtu: live.mtu(),
            capabilities: live.capabilities(),
            wire: port.wire.as_ref().and_then(id_of),
            router: self
                .router_interfaces(config, |on| matches!(on, On::Port(port) if port == name).then_some(0))
                .first()
                .map(|&(_, router, interface)| (router, interface)),
            way: way.unwrap_or(Way::Queue),
        }
    }
}

/// The ports of a bridge.
pub(super) fn members<'a>(
    config: &'a Config,
    bridge: &'a str,
) -> impl Iterator<Item = (&'a String, &'a PortConfig)> {
    config.ports.iter().filter(move |(_, port)| port.bridge.as_deref() == Some(bridge))
}

/// Whether a bridge tells VLANs apart: as soon as one of its ports names one.
pub(super) fn is_vlan_aware(config: &Config, bridge: &str) -> bool {
    members(config, bridge).any(|(_, port)| port.vlan != VlanMode::None)
}

/// Whether a bridge is a wire between a passthrough port and its uplink.
pub(super) fn is_passthrough(config: &Config, bridge: &str) -> bool {
    members(config, bridge).any(|(_, port)| port.mode == Mode::Passthrough)
}

/// The VLAN under which a bridge's table knows untagged frames of a port.
pub(super) fn untagged_vid(config: &Config, port: &PortConfig) -> Vid {
    match port.bridge.as_deref().is_some_and(|bridge| is_vlan_aware(config, bridge)) {
        true => port.vlan.untagged().unwrap_or(DEFAULT_VLAN),
        false => 0,
    }
}

/// The VLAN of a port that names none, on a bridge that tells VLANs apart (802.1Q table 9-2).
const DEFAULT_VLAN: Vid = 1;

fn policy(mode: &VlanMode, aware: bool) -> VlanPolicy {
    match mode {
        VlanMode::None if aware => VlanPolicy::Access(DEFAULT_VLAN),
        VlanMode::None => VlanPolicy::Unaware,
        VlanMode::Access(vid) => VlanPolicy::Access(*vid),
        VlanMode::Trunk { vlans, native } => {
            VlanPolicy::Trunk { allowed: Arc::clone(vlans), native: *native }
        }
    }
}

fn guard(config: &config::GuardConfig) -> Option<Arc<Guard>> {
    Guard::new(&config.mac, &config.ip, config.dhcp, config.router).map(Arc::new)
}

/// Fresh buckets for the limits of a port.
fn storm(limits: &config::Storm) -> switch::Storm {
    let bucket = |rate: Option<u32>| rate.map(|rate| Arc::new(TokenBucket::new(rate)));
    switch::Storm {
        broadcast: bucket(limits.broadcast),
        multicast: bucket(limits.multicast),
        unknown: bucket(limits.unknown),
    }
}

/// The lowest number that is not taken.
pub(super) fn free(taken: impl Iterator<Item = u16>) -> u16 {
    let taken: std::collections::BTreeSet<_> = taken.collect();
    // A configuration has fewer bridges, and fewer ports, than there are numbers, even twice over.
    (0..u16::MAX).find(|slot| !taken.contains(slot)).unwrap_or(u16::MAX)
}

/// Puts a value in its slot.
pub(super) fn put<T>(slots: &mut Vec<Option<T>>, at: usize, value: T) {
    if slots.len() <= at {
        slots.resize_with(at + 1, || None);
    }
    slots[at] = Some(value);
}

/// How long to wait for a worker between two batches, which takes microseconds, before calling it stuck.
pub(super) const WORKER_PATIENCE: Duration = Duration::from_secs(5);
