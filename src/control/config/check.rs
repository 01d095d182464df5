//! What only shows when tables are seen together: names that nothing has, peers that disagree, devices taken twice.
//!
//! A table that could not be read is not compared with others, so that one mistake is told once.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Node, Table};
use super::errors::{Findings, Path};
use super::vlan::VlanMode;
use super::{Config, PortConfig, PortKind, StaticEntry};
use crate::sys::netns::Netns;

/// Compares the tables of `config`, which was read from `root` with the findings `read`.
pub(super) fn check(config: &Config, root: &Table, read: &Findings) -> Findings {
    let mut check = Check { config, root, read, found: Findings::default() };
    check.ports();
    check.devices();
    check.statics();
    check.found
}

struct Check<'a> {
    config: &'a Config,
    root: &'a Table,
    read: &'a Findings,
    found: Findings,
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
