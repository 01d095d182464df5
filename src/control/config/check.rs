//! What only shows when tables are seen together: names that nothing has, peers that disagree, devices taken twice.
//!
//! A table that could not be read is not compared with others, so that one mistake is told once.

mod export;
mod mirror;
mod mode;
mod router;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::document::{Node, Table};
use super::errors::{Findings, Path};
use super::vlan::VlanMode;
use super::{Config, Encapsulation, MAX_PEERS, PortConfig, PortKind, StaticEntry, TunnelConfig};
use crate::packet::Layer;
use crate::sys::netns::Netns;

/// Compares the tables of `config`, which was read from `root` with the findings `read`.
pub(super) fn check(config: &Config, root: &Table, read: &Findings) -> Findings {
    let mut check = Check { config, root, read, found: Findings::default() };
    check.ports();
    check.modes();
    check.devices();
    check.sockets();
    check.statics();
    check.wires();
    check.tunnels();
    check.routers();
    check.rules();
    check.exports();
    check.mirrors();
    check.found
}

/// Packets of a tunnel, in words: `with vni 100`.
fn number_text(tunnel: &TunnelConfig) -> String {
    match (&tunnel.encapsulation, tunnel.number()) {
        (Encapsulation::Gre { .. }, Some(key)) => format!("with key {key}"),
        (_, Some(vni)) => format!("with vni {vni}"),
        (_, None) => "without key".into(),
    }
}

/// What is wrong with the peer that a static entry is behind.
fn wrong_remote(entry: &StaticEntry, port: &PortConfig) -> Option<String> {
    let name = &entry.port;
    match (&port.kind, entry.remote) {
        (PortKind::Tunnel(tunnel), None) => {
            let count = tunnel.remotes.len();
            Some(format!("missing: port {name} has {count} remotes (expected the address of a peer)"))
        }
        (PortKind::Tunnel(_), Some(remote)) if remote.is_multicast() => {
            Some(format!("{remote} is a multicast group (expected the address of a peer)"))
        }
        (PortKind::Tunnel(tunnel), Some(remote)) if remote == tunnel.local => {
            Some(format!("{remote} is the tunnel's own address (expected that of a peer)"))
        }
        (PortKind::Tunnel(tunnel), Some(remote)) if remote.is_ipv4() != tunnel.local.is_ipv4() => {
            let local = tunnel.local;
            Some(format!(
                "port {name} is at {local}, of another family than {remote} (expected one family, see `local`)"
            ))
        }
        (PortKind::Tunnel(_), Some(_)) | (_, None) => None,
        (kind, Some(_)) => Some(format!("port {name} is a {} (expected no `remote`)", kind.name())),
    }
}

struct Check<'a> {
    config: &'a Config,
    root: &'a Table,
    read: &'a Findings,
    found: Findings,
}

/// What is wrong where one of two tunnels receives at every address, and the other at one of those; `others` are the
/// addresses of tunnels on the same port.
fn contested(tunnel: &TunnelConfig, others: &BTreeMap<IpAddr, &str>) -> Option<String> {
    let bars = |local: &IpAddr| local.is_unspecified() != tunnel.local.is_unspecified();
    let (local, first) = others.iter().find(|(local, _)| bars(local))?;
    let at = if local.is_unspecified() { "every address".to_owned() } else { local.to_string() };
    Some(format!("port {first} receives at {at}, on the same port (expected `local` on both, or on neither)"))
}

impl<'a> Check<'a> {
    fn ports(&mut self) {
        for (name, port, path) in self.sound_ports() {
            if let Some(bridge) = port.bridge.as_ref().filter(|bridge| !self.names("bridge").contains(bridge))
            {
                let message = self.unknown("bridge", bridge);
                self.found.add(path.to("bridge"), message);
            }
            if let PortKind::Patch { peer } = &port.kind
                && let Some(message) = self.wrong_peer(name, peer)
            {
                self.found.add(path.to("peer"), message);
            }
        }
    }

    fn wrong_peer(&self, name: &str, peer: &str) -> Option<String> {
        if peer == name {
            return Some("a patch port cannot be its own peer (expected another patch port)".into());
        }
        match self.config.ports.get(peer).map(|port| &port.kind) {
            Some(PortKind::Patch { peer: back }) if back == name => self.loops(name, peer),
            Some(PortKind::Patch { peer: back }) if back.is_empty() => None,
            Some(PortKind::Patch { peer: back }) => Some(format!(
                "port {peer} names {back} as its peer (expected patch ports that name each other)"
            )),
            Some(other) => Some(format!("port {peer} is a {} (expected a patch port)", other.name())),
            None => self.absent("port", peer),
        }
    }

    /// What is wrong with a patch that joins a bridge with itself.
    fn loops(&self, name: &str, peer: &str) -> Option<String> {
        let bridge = |port: &str| self.config.ports.get(port).and_then(|port| port.bridge.as_ref());
        let both = bridge(name).filter(|&own| bridge(peer) == Some(own))?;
        Some(format!("port {peer} is on bridge {both} too: a loop (expected a port of another bridge)"))
    }

    fn devices(&mut self) {
        let mut taken = BTreeMap::new();
        for (name, port, path) in self.sound_ports() {
            let Some(device) = port.kind.device() else { continue };
            // A namespace may be named or given by its path.
            let place = (device.0, device.1.map(|netns| Netns::new(netns).path()));
            if let Some(first) = taken.insert(place, name) {
                let message =
                    format!("device {} is that of port {first} too (expected one port a device)", device.0);
                self.found.add(path.to("device"), message);
            }
        }
    }

    fn sockets(&mut self) {
        let control = &self.config.switch.control;
        let mut taken = BTreeMap::new();
        for (name, port, path) in self.sound_ports() {
            let Some(socket) = port.kind.socket() else { continue };
            let key = if socket.listen { "listen" } else { "connect" };
            let shown = socket.path.display();
            if socket.path == *control {
                let message = format!("{shown} is the control socket (expected a socket of the port's own)");
                self.found.add(path.to(key), message);
            } else if socket.listen
                && let Some(first) = taken.insert(&socket.path, name)
            {
                let message = format!("port {first} listens at {shown} too (expected one port a socket)");
                self.found.add(path.to(key), message);
            }
        }
    }

    fn statics(&mut self) {
        let mut seen = BTreeSet::new();
        for (index, entry) in self.config.statics.iter().enumerate() {
            let path = Path::default().to("fdb").to(index);
            if self.read.under(&path) {
                continue;
            }
            if let Some((key, message)) = self.wrong_entry(entry) {
                self.found.add(path.to(key), message);
            } else if !seen.insert((&entry.bridge, entry.vlan, entry.mac)) {
                self.found.add(path.to("mac"), format!("{} has an entry already (expected one)", entry.mac));
            }
        }
    }

    fn wrong_entry(&self, entry: &StaticEntry) -> Option<(&'static str, String)> {
        let name = &entry.port;
        let Some(port) = self.config.ports.get(name) else {
            return self.absent("port", name).map(|message| ("port", message));
        };
        if self.read.under(&Path::default().to("port").to(name.as_str())) {
            return None;
        }
        let Some(bridge) = &port.bridge else {
            return Some(("port", format!("port {name} is on no bridge (expected a port that is)")));
        };
        if *bridge != entry.bridge {
            return Some(("bridge", format!("port {name} is on bridge {bridge}, not on {}", entry.bridge)));
        }
        if let Some(message) = wrong_remote(entry, port) {
            return Some(("remote", message));
        }
        match (entry.vlan, &port.vlan) {
            (Some(vlan), VlanMode::None) => {
                Some(("vlan", format!("port {name} names no VLANs (expected no `vlan`, not {vlan})")))
            }
            (Some(vlan), mode) if !mode.carries(vlan) => {
                Some(("vlan", format!("port {name} is no member of VLAN {vlan} (it has {mode})")))
            }
            (None, VlanMode::Trunk { vlans, .. }) => Some((
                "vlan",
                format!("missing: port {name} is a trunk without native VLAN (expected one of {vlans})"),
            )),
            _ => None,
        }
    }

    fn wires(&mut self) {
        let mut ends = BTreeMap::<&str, &str>::new();
        for (name, port, path) in self.sound_ports() {
            let Some(other) = port.wire.as_deref() else { continue };
            let message = self.wrong_wire(name, other).or_else(|| {
                // A wire that both of its ends name is one wire.
                [(name, other), (other, name)].into_iter().find_map(|(end, to)| {
                    let taken = *ends.entry(end).or_insert(to);
                    (taken != to).then(|| {
                        format!("port {end} is joined to {taken} already (expected one wire a port)")
                    })
                })
            });
            if let Some(message) = message {
                self.found.add(path.to("wire"), message);
            }
        }
    }

    fn wrong_wire(&self, name: &str, other: &str) -> Option<String> {
        if other == name {
            return Some("a port cannot be joined to itself (expected another port that carries IP)".into());
        }
        match self.config.ports.get(other).map(|port| &port.kind) {
            Some(kind) if kind.layer() == Layer::Ip => None,
            Some(kind) => Some(format!(
                "port {other} is a {} of Ethernet (expected a port that carries IP)",
                kind.name()
            )),
            None => self.absent("port", other),
        }
    }

    /// Tunnels that would take one another's packets, and tunnels without peers.
    fn tunnels(&mut self) {
        let (mut protocols, mut open, mut peers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut locals = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (name, port, path) in self.sound_ports() {
            let PortKind::Tunnel(tunnel) = &port.kind else { continue };
            let netns = tunnel.netns.as_ref().map(|netns| Netns::new(netns).path());
            let here = locals.entry((tunnel.port, tunnel.local.is_ipv4(), netns)).or_default();
            here.entry(tunnel.local).or_insert(name);
            if let Some(message) = contested(tunnel, here) {
                self.found.add(path.to("local"), message);
            }
            let (remotes, others) = self.config.peers(name, tunnel);
            if remotes.is_empty() && others.is_empty() && !tunnel.accept_any {
                let expected = "[\"10.8.0.2\"], or accept = \"any\"";
                self.found.add(path.to("remotes"), format!("missing (expected {expected})"));
            }
            if remotes.len() + others.len() > MAX_PEERS {
                let count = remotes.len() + others.len();
                let message =
                    format!("{count} peers, with those of static entries (expected at most {MAX_PEERS})");
                self.found.add(path.to("remotes"), message);
            }
            let (underlay, id) = (tunnel.underlay(), tunnel.id());
            let (first, protocol) = *protocols.entry(underlay.clone()).or_insert((name, tunnel.name()));
            if protocol != tunnel.name() {
                let message = format!(
                    "port {first}, a {protocol}, receives there too (expected another `port` or `local`)"
                );
                self.found.add(path.to("port"), message);
                continue;
            }
            let which = number_text(tunnel);
            if tunnel.accept_any
                && let Some(first) = open.insert((underlay.clone(), id), name)
            {
                let message =
                    format!("port {first} takes all packets {which} too (expected accept = \"any\" on one)");
                self.found.add(path.to("accept"), message);
                continue;
            }
            let shared = remotes.into_iter().chain(others).find_map(|peer| {
                let first = peers.insert((underlay.clone(), id, peer), name)?;
                Some(format!(
                    "port {first} has {peer} for packets {which} too (expected another number, or one port)"
                ))
            });
            if let Some(message) = shared {
                self.found.add(path.to("remotes"), message);
            }
        }
    }

    /// The ports that could be read, with their paths.
    fn sound_ports(&self) -> Vec<(&'a str, &'a PortConfig, Path)> {
        let ports = self.config.ports.iter();
        ports
            .map(|(name, port)| (name.as_str(), port, Path::default().to("port").to(name.as_str())))
            .filter(|(_, _, path)| !self.read.under(path))
            .collect()
    }

    /// What to say of a name that no table has; nothing when it has one that could not be read.
    fn absent(&self, table: &str, name: &str) -> Option<String> {
        (!self.names(table).iter().any(|known| *known == name)).then(|| self.unknown(table, name))
    }

    fn unknown(&self, table: &str, name: &str) -> String {
        let names = self.names(table);
        let known: Vec<&str> = names.iter().take(8).map(|name| name.as_str()).collect();
        match known.is_empty() {
            true => format!("there is no {table} {name} (expected a [{table}.{name}] table)"),
            false => format!("there is no {table} {name} (expected one of {})", known.join(", ")),
        }
    }

    /// The names of the tables `[table.NAME]`, also of those that could not be read.
    fn names(&self, table: &str) -> Vec<&'a String> {
        match self.root.get(table).map(|item| &item.node) {
            Some(Node::Table(tables)) => tables.keys().collect(),
            _ => Vec::new(),
        }
    }
}
