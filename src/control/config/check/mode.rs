//! Ports that are something to one another: modes, uplinks and hairpins.

use std::collections::BTreeMap;

use super::Check;
use crate::control::config::errors::Path;
use crate::control::config::{On, PortConfig, PortKind, VlanMode};
use crate::switch::mode::Mode;

type Members<'a> = Vec<(&'a str, &'a PortConfig, Path)>;

impl<'a> Check<'a> {
    pub(super) fn modes(&mut self) {
        let mut bridges = BTreeMap::<&str, Members<'a>>::new();
        for (name, port, path) in self.sound_ports() {
            if let Some(message) = self.wrong_hairpin(port) {
                self.found.add(path.to("hairpin"), message);
            }
            if let Some(bridge) = &port.bridge {
                bridges.entry(bridge).or_default().push((name, port, path));
            }
        }
        // A port that could not be read may be the uplink, or the one too many.
        if self.read.under(&Path::default().to("port")) {
            return;
        }
        for (bridge, members) in bridges {
            self.uplinks(bridge, &members);
            if let Some((name, ..)) = members.iter().find(|(_, port, _)| port.mode == Mode::Passthrough) {
                self.passthrough(bridge, name, &members);
            }
        }
    }

    /// What is wrong with a hairpin on one end of a patch when the other has it too.
    fn wrong_hairpin(&self, port: &PortConfig) -> Option<String> {
        let PortKind::Patch { peer } = &port.kind else { return None };
        let both = port.hairpin && self.config.ports.get(peer)?.hairpin;
        both.then(|| format!("port {peer}, the other end, has it too: a loop (expected it on one end)"))
    }

    /// Modes that mean nothing without an uplink.
    fn uplinks(&mut self, bridge: &str, members: &Members<'_>) {
        if members.iter().any(|(_, port, _)| port.mode == Mode::Uplink) {
            return;
        }
        for (_, port, path) in members.iter().filter(|(_, port, _)| port.mode != Mode::Bridge) {
            let mode = port.mode.name();
            let message = format!(
                "{mode} without uplink: bridge {bridge} has none \
                 (expected uplink = true on the port of it that leads outside)"
            );
            self.found.add(path.to("mode"), message);
        }
    }

    /// The bridge of the passthrough port `name` is a wire, and can be nothing else.
    fn passthrough(&mut self, bridge: &str, name: &str, members: &Members<'_>) {
        let mut uplinks = 0;
        for (other, port, path) in members {
            uplinks += usize::from(port.mode == Mode::Uplink);
            if *other != name && (port.mode != Mode::Uplink || uplinks > 1) {
                let message = format!(
                    "{bridge} is that of port {name}, which is passthrough \
                     (expected that port and one uplink on it, and no other)"
                );
                self.found.add(path.to("bridge"), message);
            }
            if port.vlan != VlanMode::None {
                let key = if matches!(port.vlan, VlanMode::Access(_)) { "vlan" } else { "trunk" };
                let message = format!(
                    "bridge {bridge} has a passthrough port, {name}, which passes all tags unread (expected no VLANs)"
                );
                self.found.add(path.to(key), message);
            }
            if port.hairpin {
                let message = format!(
                    "bridge {bridge} has a passthrough port, {name}: what comes in leaves by the other (expected no `hairpin`)"
                );
                self.found.add(path.to("hairpin"), message);
            }
        }
        let learns_nothing =
            format!("bridge {bridge} has a passthrough port, {name}: it learns and knows nothing");
        if self.config.bridges.get(bridge).is_some_and(|bridge| bridge.neighbor_suppression) {
            let path = Path::default().to("bridge").to(bridge).to("neighbor-suppression");
            self.found.add(path, format!("{learns_nothing} (expected false)"));
        }
        for (index, entry) in self.config.statics.iter().enumerate() {
            let path = Path::default().to("fdb").to(index);
            if entry.bridge == bridge && !self.read.under(&path) {
                self.found.add(path.to("port"), format!("{learns_nothing} (expected no [[fdb]] there)"));
            }
        }
        for (router, config) in &self.config.routers {
            let on = config.interfaces.iter().find(
                |(_, interface)| matches!(&interface.on, On::Bridge { bridge: on, .. } if on == bridge),
            );
            if let Some((interface, _)) = on {
                let path =
                    Path::default().to("router").to(router.as_str()).to("interface").to(interface.as_str());
                let message = format!(
                    "{bridge} has a passthrough port, {name}, and hands nothing over (expected another bridge)"
                );
                self.found.add(path.to("bridge"), message);
            }
        }
    }
}
