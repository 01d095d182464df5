//! What a port is to the others of its bridge: the keys `mode`, `uplink` and `hairpin`.

use super::errors::{Findings, Path};
use super::keys::Keys;
use super::value::{boolean, one_of};
use super::{Config, PortConfig, PortKind, VlanMode};
use crate::switch::mode::Mode;

/// Reads them, when the port's other keys are read.
pub(super) fn read(keys: &mut Keys<'_>, port: &mut PortConfig) {
    let given = keys.get("mode", one_of("mode", Mode::GIVEN.map(|mode| (mode.name(), mode))));
    let uplink = keys.get("uplink", boolean).unwrap_or(false);
    port.hairpin = keys.get("hairpin", boolean).unwrap_or(false);
    port.mode = if uplink { Mode::Uplink } else { given.unwrap_or_default() };
    let mode = port.mode.name();
    if uplink && keys.has("mode") {
        keys.complain(
            "mode",
            "an uplink has no mode: all talk to it (expected `mode` or uplink = true, not both)",
        );
    }
    if port.hairpin && !matches!(port.mode, Mode::Bridge | Mode::Uplink) {
        let message =
            format!("a {mode} port is reached from uplinks only (expected mode = \"bridge\" beside it)");
        keys.complain("hairpin", message);
    }
    if port.hairpin && matches!(port.kind, PortKind::Tunnel(_)) {
        keys.complain("hairpin", "a tunnel sends nothing back to its peer (expected no `hairpin`)");
    }
    if !port.learning && matches!(port.mode, Mode::Private | Mode::Vepa) {
        let message = format!(
            "false: what comes back by an uplink could not be told from what is new (expected true, as mode is \"{mode}\")"
        );
        keys.complain("learning", message);
    }
}

/// What of a checked configuration is hardly meant.
pub(super) fn doubts(config: &Config, found: &mut Findings) {
    for (name, port) in &config.ports {
        let Some(bridge) = &port.bridge else { continue };
        let path = Path::default().to("port").to(name.as_str());
        if port.mode == Mode::Uplink && port.hairpin {
            let message = "on an uplink: facing another switch that reflects, frames go to and fro for ever";
            found.add(path.to("hairpin"), message);
        }
        match port.mode {
            Mode::Private if port.isolated => {
                found.add(path.to("isolated"), "a private port is kept apart from all but uplinks as it is");
            }
            Mode::Vepa if port.isolated => {
                found.add(
                    path.to("isolated"),
                    "what isolated ports send each other is dropped, reflected or not",
                );
            }
            _ => {}
        }
        if matches!(port.mode, Mode::Bridge | Mode::Uplink) {
            continue;
        }
        let uplinks = || {
            let others = config.ports.values().filter(|other| other.bridge.as_ref() == Some(bridge));
            others.filter(|other| other.mode == Mode::Uplink)
        };
        if port.isolated && uplinks().all(|uplink| uplink.isolated) {
            found.add(path.to("isolated"), "so are the uplinks: nothing passes");
        }
        if let VlanMode::Access(vlan) = port.vlan
            && !uplinks().any(|uplink| carries(&uplink.vlan, vlan))
        {
            found.add(
                path.to("vlan"),
                format!("no uplink of bridge {bridge} has VLAN {vlan}: nothing passes"),
            );
        }
    }
}

/// Whether a port of a bridge with VLANs is in this one; a port that names none is in VLAN 1.
fn carries(mode: &VlanMode, vlan: u16) -> bool {
    mode.carries(vlan) || *mode == VlanMode::None && vlan == 1
}
