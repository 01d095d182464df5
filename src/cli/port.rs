//! `tapyard port`.

use clap::{Args, Subcommand};

use super::table::{Table, or_dash, si};
use super::{Format, Outcome, Switch, attach};
use crate::control::api::{PortInfo, Request};
use crate::control::config::{Edits, parse_value};

/// Show, add, change and remove ports
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Port {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the ports, or all there is to know of one (the default), or what attaches a guest to it
    #[command(after_help = "\
What attaches a guest stands alone on stdout, ready to paste; what is to be known beside it is said on stderr.

Examples:
  tapyard port show vm1
  qemu-system-x86_64 -m 1G disk.img $(tapyard port show vm1 --qemu)
  qemu-system-x86_64 disk.img $(tapyard port show vm2 --qemu --memory 1G)    vm2 is a vhost-user port
  virsh attach-device guest <(tapyard port show vm1 --libvirt) --config")]
    Show {
        /// The port
        name: Option<String>,
        #[command(flatten)]
        how: attach::How,
        #[command(flatten)]
        guest: attach::Guest,
        #[command(flatten)]
        format: Format,
    },
    /// Add a port
    #[command(after_help = "\
KEY is a key of the port's table in the configuration. VALUE is TOML, or plain text.

Examples:
  tapyard port add vm3 --type tap --bridge lan vlan=10
  tapyard port add up --type netdev --bridge lan device=eth1 trunk=10,20-29 native=1
  tapyard port add vm4 --type vhost-user --bridge lan listen=/run/tapyard/vm4.sock
  tapyard port add t0 --type tun address=10.9.0.1/24 netns=blue
  tapyard port add site-b --type vxlan --bridge lan vni=100 remotes=10.8.0.2,10.8.0.3")]
    Add {
        /// Its name
        name: String,
        /// Its type: tap, tun, netdev, stream, dgram, vhost-user, patch, vxlan, geneve or gre
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// Its bridge
        #[arg(long)]
        bridge: Option<String>,
        /// Its other keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Change keys of a port
    #[command(after_help = "\
KEY is a key of the port's table in the configuration. VALUE is TOML, or plain text; none removes the key.

Examples:
  tapyard port set vm1 vlan=20                          no frame is lost
  tapyard port set vm1 vlan= trunk=10,20 native=10
  tapyard port set vm1 storm.broadcast=1000
  tapyard port set c1 mode=private                      it reaches uplinks only")]
    Set {
        /// The port
        name: String,
        /// The keys to change
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a port, and the static FDB entries behind it
    Del {
        /// The port
        name: String,
        #[command(flatten)]
        format: Format,
    },
}

impl Port {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb {
            None => switch.show(&Request::PortShow { name: None }, self.format, table),
            Some(Verb::Show { name: Some(name), how, guest, format }) if how.is_asked() => {
                how.show(name, guest, format.json, switch)
            }
            Some(Verb::Show { name: None, format, .. }) => {
                switch.show(&Request::PortShow { name: None }, format, table)
            }
            Some(Verb::Show { name, format, .. }) => {
                switch.show(&Request::PortShow { name }, format, details)
            }
            Some(Verb::Add { name, kind, bridge, keys, format }) => {
                let mut all: Edits = keys.into_iter().collect();
                all.insert("type".into(), Some(kind.into()));
                if let Some(bridge) = bridge {
                    all.insert("bridge".into(), Some(bridge.into()));
                }
                attach::add(switch, &Request::PortAdd { name: name.clone(), keys: all }, name, format)
            }
            Some(Verb::Set { name, keys, format }) => {
                switch.change(&Request::PortSet { name, keys: keys.into_iter().collect() }, format)
            }
            Some(Verb::Del { name, format }) => switch.change(&Request::PortDel { name }, format),
        }
    }
}

/// Reads `KEY=VALUE`, or `KEY=`, which removes the key.
pub(super) fn key_value(text: &str) -> Result<(String, Option<toml::Value>), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), (!value.is_empty()).then(|| parse_value(value))))
        }
        _ => Err("expected KEY=VALUE, or KEY= to remove it".into()),
    }
}

pub(super) fn table(ports: Vec<PortInfo>) -> String {
    let mut table = Table::new(&[
        "PORT", "TYPE", "BRIDGE", "DEVICE", "STATE", "VLAN", ">MTU", ">RX", ">TX", ">DROPS", ">FDB",
    ]);
    for port in ports {
        table.row([
            port.name.clone(),
            port.kind.clone(),
            bridge(&port),
            device(&port),
            port.state,
            port.vlan,
            or_dash(port.mtu),
            si(port.rx_frames),
            si(port.tx_frames),
            si(port.drops),
            port.fdb_entries.to_string(),
        ]);
    }
    table.to_string()
}

/// The bridge. A port that sends the copies of mirrors is on none.
fn bridge(port: &PortInfo) -> String {
    match (&port.bridge, &port.mirrors[..]) {
        (None, [_, ..]) => "(mirror)".into(),
        (bridge, _) => or_dash(bridge.clone()),
    }
}

/// The device, with the namespace it is in as iproute2 would say it.
fn device(port: &PortInfo) -> String {
    match (&port.device, &port.netns) {
        (Some(device), Some(netns)) => format!("{device}@{netns}"),
        (device, _) => or_dash(device.clone()),
    }
}

/// All there is to know of each port, a line for each fact.
fn details(ports: Vec<PortInfo>) -> String {
    let text = ports.iter().map(|port| {
        let count = |frames: u64, bytes: u64| format!("{frames} frames, {}B", si(bytes));
        let offloads = if port.offloads.is_empty() { "-".into() } else { port.offloads.join(" ") };
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let facts = [
            ("port", port.name.clone()),
            ("type", port.kind.clone()),
            ("bridge", or_dash(port.bridge.clone())),
            ("device", device(port)),
            ("state", port.state.clone()),
            ("mtu", or_dash(port.mtu)),
            ("mac", or_dash(port.mac)),
            ("vlan", port.vlan.clone()),
            ("mode", port.mode.clone()),
            ("hairpin", yes(port.hairpin)),
            ("isolated", yes(port.isolated)),
            ("mirrors", if port.mirrors.is_empty() { "-".into() } else { port.mirrors.join(" ") }),
            ("queues", port.queues.to_string()),
            ("offloads", offloads),
            ("in", count(port.rx_frames, port.rx_bytes)),
            ("out", count(port.tx_frames, port.tx_bytes)),
            ("dropped", format!("{} frames", port.drops)),
            ("fdb", format!("{} entries", port.fdb_entries)),
        ];
        facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect::<String>()
    });
    text.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> PortInfo {
        PortInfo {
            name: "vm1".into(),
            kind: "tap".into(),
            bridge: Some("lan".into()),
            wire: None,
            device: Some("tap0".into()),
            netns: Some("blue".into()),
            state: "up".into(),
            mtu: Some(1500),
            mac: None,
            vlan: "trunk 10,20 native 1".into(),
            mode: "vepa".into(),
            hairpin: false,
            isolated: false,
            mirrors: Vec::new(),
            queues: 2,
            offloads: vec!["checksum".into(), "tso4".into()],
            rx_frames: 12_345,
            rx_bytes: 1_234_567,
            tx_frames: u64::MAX,
            tx_bytes: 0,
            drops: 3,
            fdb_entries: 1,
        }
    }

    #[test]
    fn ports_are_shown_a_row_each_within_100_columns() {
        let long = PortInfo { name: "n".repeat(32), bridge: Some("b".repeat(32)), ..port() };
        let text = table(vec![port(), PortInfo { device: None, netns: None, bridge: None, ..port() }, long]);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows.iter().all(|row| row.chars().count() <= 100), "{text}");
        assert!(rows[1].contains("tap0@blue") && rows[1].contains("12.3k"), "{text}");
        assert_eq!(rows[2].split_whitespace().collect::<Vec<_>>()[..4], ["vm1", "tap", "-", "-"]);
        let text = table(vec![PortInfo { bridge: None, mirrors: vec!["watch".into()], ..port() }]);
        assert!(text.contains("vm1   tap   (mirror)  tap0@blue"), "{text}");
    }

    #[test]
    fn one_port_is_shown_a_line_a_fact() {
        let text = details(vec![port()]);
        for line in [
            "mac       -\n",
            "in        12345 frames, 1.23MB\n",
            "offloads  checksum tso4\n",
            "mode      vepa\n",
            "hairpin   no\n",
            "isolated  no\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn keys_and_values() {
        assert_eq!(key_value("vlan=10"), Ok(("vlan".into(), Some(10.into()))));
        assert_eq!(key_value("vlan="), Ok(("vlan".into(), None)));
        assert_eq!(key_value("device=a=b"), Ok(("device".into(), Some("a=b".into()))));
        assert!(key_value("vlan").is_err() && key_value("=10").is_err());
    }
}
