//! What has to change for the running configuration to become the wanted one: a pure comparison, done before anything
//! is touched.
//!
//! The changes stand in an order in which each is possible: what is removed makes room, a bridge is there before its
//! ports and goes after them, static entries come when their port is there. Only [`Change::PortReopen`] and the
//! additions touch a device; a port that is not named loses no frame, and one that is merely changed neither. Devices
//! may swap between ports that are reopened, so whoever applies a plan closes all of those before it opens any.

mod routers;

use std::fmt;

use super::config::{
    BridgeConfig, Config, DeviceConfig, Encapsulation, ExportConfig, ExportProtocol, MetricsConfig,
    MirrorConfig, NetdevConfig, PortConfig, PortKind, RouterConfig, RuleConfig, SocketConfig, StaticEntry,
    TunnelConfig, UnderlayConfig, duration_text,
};
use crate::packet::Layer;
use crate::switch::mode::Mode;

/// The changes that lead from one configuration to another, in order. Displayed a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
}

/// One change. Displayed as a line for a person: `+ port vm3`, `~ port vm1: vlan 10 -> 20`; that of a router or of rules
/// as several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The listener for metrics comes, goes, or becomes another.
    MetricsChange {
        /// What it is.
        from: Option<MetricsConfig>,
        /// What it is to be.
        to: Option<MetricsConfig>,
    },
    /// A static entry goes.
    StaticRemove(StaticEntry),
    /// A port goes.
    PortRemove {
        /// Its name.
        name: String,
    },
    /// A bridge comes.
    BridgeAdd {
        /// Its name.
        name: String,
        /// What it is to be.
        to: BridgeConfig,
    },
    /// A bridge changes; its ports and its FDB stay.
    BridgeChange {
        /// Its name.
        name: String,
        /// What it is.
        from: BridgeConfig,
        /// What it is to be.
        to: BridgeConfig,
    },
    /// A port is closed and opened anew, because its device or its type changes.
    PortReopen {
        /// Its name.
        name: String,
        /// What it is.
        from: Box<PortConfig>,
        /// What it is to be.
        to: Box<PortConfig>,
    },
    /// What the switch does with a port changes; its device is not touched.
    PortChange {
        /// Its name.
        name: String,
        /// What it is.
        from: Box<PortConfig>,
        /// What it is to be.
        to: Box<PortConfig>,
    },
    /// A port comes.
    PortAdd {
        /// Its name.
        name: String,
        /// What it is to be.
        to: Box<PortConfig>,
    },
    /// A bridge goes; no port is on it any more.
    BridgeRemove {
        /// Its name.
        name: String,
    },
    /// A static entry comes.
    StaticAdd(StaticEntry),
    /// A mirror goes.
    MirrorRemove {
        /// Its name.
        name: String,
    },
    /// A mirror comes.
    MirrorAdd {
        /// Its name.
        name: String,
        /// What it is to be.
        to: MirrorConfig,
    },
    /// A mirror changes; what it has counted stays.
    MirrorChange {
        /// Its name.
        name: String,
        /// What it is.
        from: MirrorConfig,
        /// What it is to be.
        to: MirrorConfig,
    },
    /// A router goes.
    RouterRemove {
        /// Its name.
        name: String,
    },
    /// A router comes.
    RouterAdd {
        /// Its name.
        name: String,
        /// What it is to be.
        to: Box<RouterConfig>,
    },
    /// A router changes; what it knows of sessions and neighbours stays as far as it is still true.
    RouterChange {
        /// Its name.
        name: String,
        /// What it is.
        from: Box<RouterConfig>,
        /// What it is to be.
        to: Box<RouterConfig>,
    },
    /// The filter rules become others.
    RulesChange {
        /// What they are.
        from: Vec<RuleConfig>,
        /// What they are to be.
        to: Vec<RuleConfig>,
    },
    /// An export ends.
    ExportRemove {
        /// Its name.
        name: String,
    },
    /// An export begins.
    ExportAdd {
        /// Its name.
        name: String,
        /// What it is to be.
        to: ExportConfig,
    },
    /// An export begins anew as another; what it had not yet told, it tells first.
    ExportChange {
        /// Its name.
        name: String,
        /// What it is.
        from: ExportConfig,
        /// What it is to be.
        to: ExportConfig,
    },
}

/// Why a configuration cannot be put in place while the switch runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[switch] changes while it runs: {0} (restart tapyard for that)")]
pub struct Refusal(String);

/// The changes that lead from `running` to `wanted`.
///
/// Errors when `[switch]` differs in what is made at the start: workers and the control socket.
pub fn diff(running: &Config, wanted: &Config) -> Result<Plan, Refusal> {
    let process = differences(&switch_keys(running), &switch_keys(wanted));
    if !process.is_empty() {
        return Err(Refusal(process));
    }
    let mut changes = Vec::new();
    let (from, to) = (&running.switch.metrics, &wanted.switch.metrics);
    if from != to {
        changes.push(Change::MetricsChange { from: from.clone(), to: to.clone() });
    }
    let gone = running.statics.iter().filter(|entry| !wanted.statics.contains(entry));
    changes.extend(gone.cloned().map(Change::StaticRemove));
    let gone = running.ports.keys().filter(|name| !wanted.ports.contains_key(*name));
    changes.extend(gone.cloned().map(|name| Change::PortRemove { name }));

    for (name, to) in &wanted.bridges {
        let (name, to) = (name.clone(), to.clone());
        match running.bridges.get(&name) {
            None => changes.push(Change::BridgeAdd { name, to }),
            Some(from) if *from != to => changes.push(Change::BridgeChange { name, from: from.clone(), to }),
            Some(_) => {}
        }
    }
    for (name, to) in &wanted.ports {
        let (name, to) = (name.clone(), Box::new(to.clone()));
        match running.ports.get(&name).cloned().map(Box::new) {
            None => changes.push(Change::PortAdd { name, to }),
            Some(from) if from.kind.reopens(&to.kind) => changes.push(Change::PortReopen { name, from, to }),
            Some(from) if from != to => changes.push(Change::PortChange { name, from, to }),
            Some(_) => {}
        }
    }
    let gone = running.bridges.keys().filter(|name| !wanted.bridges.contains_key(*name));
    changes.extend(gone.cloned().map(|name| Change::BridgeRemove { name }));
    let come = wanted.statics.iter().filter(|entry| !running.statics.contains(entry));
    changes.extend(come.cloned().map(Change::StaticAdd));
    mirroring(running, wanted, &mut changes);
    routing(running, wanted, &mut changes);
    exports(running, wanted, &mut changes);
    Ok(Plan { changes })
}

/// Mirrors, when their ports are there.
fn mirroring(running: &Config, wanted: &Config, changes: &mut Vec<Change>) {
    let gone = running.mirrors.keys().filter(|name| !wanted.mirrors.contains_key(*name));
    changes.extend(gone.cloned().map(|name| Change::MirrorRemove { name }));
    for (name, to) in &wanted.mirrors {
        let (name, to) = (name.clone(), to.clone());
        match running.mirrors.get(&name).cloned() {
            None => changes.push(Change::MirrorAdd { name, to }),
            Some(from) if from != to => changes.push(Change::MirrorChange { name, from, to }),
            Some(_) => {}
        }
    }
}

/// Routers and rules, when what they are on is there. They are on nothing that has to be opened.
fn routing(running: &Config, wanted: &Config, changes: &mut Vec<Change>) {
    let gone = running.routers.keys().filter(|name| !wanted.routers.contains_key(*name));
    changes.extend(gone.cloned().map(|name| Change::RouterRemove { name }));
    for (name, to) in &wanted.routers {
        let (name, to) = (name.clone(), Box::new(to.clone()));
        match running.routers.get(&name).cloned().map(Box::new) {
            None => changes.push(Change::RouterAdd { name, to }),
            Some(from) if from != to => changes.push(Change::RouterChange { name, from, to }),
            Some(_) => {}
        }
    }
    if running.rules != wanted.rules {
        changes.push(Change::RulesChange { from: running.rules.clone(), to: wanted.rules.clone() });
    }
}

fn exports(running: &Config, wanted: &Config, changes: &mut Vec<Change>) {
    let gone = running.exports.keys().filter(|name| !wanted.exports.contains_key(*name));
    changes.extend(gone.cloned().map(|name| Change::ExportRemove { name }));
    for (name, to) in &wanted.exports {
        let (name, to) = (name.clone(), to.clone());
        match running.exports.get(&name) {
            None => changes.push(Change::ExportAdd { name, to }),
            Some(from) if *from != to => changes.push(Change::ExportChange { name, from: from.clone(), to }),
            Some(_) => {}
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What changes, in lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let lines = |change: &Change| change.to_string().lines().map(str::to_owned).collect::<Vec<_>>();
        self.changes.iter().flat_map(lines).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::MetricsChange { from, to } => {
                let keys = |metrics: &Option<_>| metrics.as_ref().map(metrics_keys).unwrap_or_default();
                write!(f, "~ switch: {}", differences(&keys(from), &keys(to)))
            }
            Change::StaticRemove(entry) => write!(f, "- {}", entry_text(entry)),
            Change::PortRemove { name } => write!(f, "- port {name}"),
            Change::BridgeAdd { name, .. } => write!(f, "+ bridge {name}"),
            Change::BridgeChange { name, from, to } => {
                write!(f, "~ bridge {name}: {}", differences(&bridge_keys(from), &bridge_keys(to)))
            }
            Change::PortReopen { name, from, to } => {
                write!(f, "~ port {name} (reopened): {}", differences(&port_keys(from), &port_keys(to)))
            }
            Change::PortChange { name, from, to } => {
                write!(f, "~ port {name}: {}", differences(&port_keys(from), &port_keys(to)))
            }
            Change::PortAdd { name, .. } => write!(f, "+ port {name}"),
            Change::BridgeRemove { name } => write!(f, "- bridge {name}"),
            Change::StaticAdd(entry) => write!(f, "+ {}", entry_text(entry)),
            Change::MirrorRemove { name } => write!(f, "- mirror {name}"),
            Change::MirrorAdd { name, .. } => write!(f, "+ mirror {name}"),
            Change::MirrorChange { name, from, to } => {
                write!(f, "~ mirror {name}: {}", differences(&mirror_keys(from), &mirror_keys(to)))
            }
            Change::RouterRemove { name } => write!(f, "- router {name}"),
            Change::RouterAdd { name, .. } => write!(f, "+ router {name}"),
            Change::RouterChange { name, from, to } => {
                f.write_str(&routers::changes(name, from, to).join("\n"))
            }
            Change::RulesChange { from, to } => f.write_str(&routers::rule_changes(from, to).join("\n")),
            Change::ExportRemove { name } => write!(f, "- export {name}"),
            Change::ExportAdd { name, .. } => write!(f, "+ export {name}"),
            Change::ExportChange { name, from, to } => {
                write!(f, "~ export {name}: {}", differences(&export_keys(from), &export_keys(to)))
            }
        }
    }
}

fn entry_text(entry: &StaticEntry) -> String {
    let vlan = entry.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
    let remote = entry.remote.map(|remote| format!(" remote {remote}")).unwrap_or_default();
    format!("fdb {}{vlan} on {} at {}{remote}", entry.mac, entry.bridge, entry.port)
}

/// The keys of a table with their values as text, `-` for one that is not set.
type KeyTexts = Vec<(&'static str, String)>;

/// `KEY OLD -> NEW` for each key that differs; a key that one side does not have is `-` there.
fn differences(from: &KeyTexts, to: &KeyTexts) -> String {
    let value = |keys: &KeyTexts, key| {
        keys.iter().find(|(k, _)| *k == key).map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    let ours = from.iter().map(|(key, _)| *key);
    let theirs = to.iter().map(|(key, _)| *key).filter(|key| !from.iter().any(|(k, _)| k == key));
    let changed = ours.chain(theirs).map(|key| (key, value(from, key), value(to, key)));
    let texts =
        changed.filter(|(_, old, new)| old != new).map(|(key, old, new)| format!("{key} {old} -> {new}"));
    texts.collect::<Vec<_>>().join(", ")
}

fn switch_keys(config: &Config) -> KeyTexts {
    let switch = &config.switch;
    vec![
        ("control", switch.control.display().to_string()),
        ("workers", text(switch.workers.as_ref())),
        ("busy-poll", text(switch.busy_poll.map(duration_text))),
    ]
}

fn metrics_keys(metrics: &MetricsConfig) -> KeyTexts {
    vec![("metrics", metrics.address.to_string()), ("metrics-hosts", list(&metrics.hosts))]
}

fn bridge_keys(bridge: &BridgeConfig) -> KeyTexts {
    vec![
        ("ageing", duration_text(bridge.ageing)),
        ("fdb-limit", bridge.fdb_limit.to_string()),
        ("mac", text(bridge.mac)),
        ("policy", bridge.policy.name().to_owned()),
        ("neighbor-suppression", bridge.neighbor_suppression.to_string()),
    ]
}

fn port_keys(port: &PortConfig) -> KeyTexts {
    let networks: Vec<String> = port.guard.ip.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
    let mut keys = kind_keys(&port.kind);
    keys.extend([
        ("bridge", text(port.bridge.as_ref())),
        ("vlan", port.vlan.to_string()),
        ("uplink", (port.mode == Mode::Uplink).to_string()),
        // An uplink has none, which reads the same as that nothing is said of it.
        ("mode", if port.mode == Mode::Uplink { Mode::default() } else { port.mode }.name().to_owned()),
        ("hairpin", port.hairpin.to_string()),
        ("isolated", port.isolated.to_string()),
        ("learning", port.learning.to_string()),
        ("learn-limit", text(port.learn_limit)),
        ("storm.broadcast", text(port.storm.broadcast)),
        ("storm.multicast", text(port.storm.multicast)),
        ("storm.unknown", text(port.storm.unknown)),
        ("pin.mac", list(&port.guard.mac)),
        ("pin.ip", list(&networks)),
        ("dhcp-guard", port.guard.dhcp.to_string()),
        ("ra-guard", port.guard.router.to_string()),
        ("wire", text(port.wire.as_ref())),
        ("mirror", port.mirror.to_string()),
    ]);
    keys
}

fn mirror_keys(mirror: &MirrorConfig) -> KeyTexts {
    let ports: Vec<&String> = mirror.ports.iter().collect();
    vec![
        ("ports", list(&ports)),
        ("bridge", text(mirror.bridge.as_ref())),
        ("direction", mirror.direction.name().to_owned()),
        ("vlans", text(mirror.vlans.as_ref())),
        ("filter", text(Some(&mirror.filter).filter(|filter| !filter.is_all()))),
        ("snap", text(mirror.snap)),
        ("to", mirror.to.clone()),
    ]
}

fn kind_keys(kind: &PortKind) -> KeyTexts {
    let mut keys = vec![("type", kind.name().to_owned())];
    match kind {
        PortKind::Tap(device) | PortKind::Tun(device) => keys.extend(device_keys(device)),
        PortKind::Netdev(netdev) => keys.extend(netdev_keys(netdev)),
        PortKind::Stream(socket) => keys.extend(socket_keys(socket)),
        PortKind::Dgram { socket, peer } => {
            keys.extend(socket_keys(socket));
            keys.retain(|(key, _)| *key != "connect");
            keys.push(("connect", text(peer.as_ref().map(|path| path.display()))));
        }
        PortKind::VhostUser { socket, offload } => {
            keys.extend(socket_keys(socket));
            keys.push(("offload", offload.to_string()));
        }
        PortKind::Patch { peer } => keys.push(("peer", peer.clone())),
        PortKind::Tunnel(tunnel) => keys.extend(tunnel_keys(tunnel)),
        PortKind::Underlay(underlay) => keys.extend(underlay_keys(underlay)),
    }
    keys
}

fn device_keys(device: &DeviceConfig) -> [(&'static str, String); 10] {
    let addresses: Vec<String> = device.address.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
    [
        ("device", device.device.clone()),
        ("netns", text(device.netns.as_ref())),
        ("mtu", text(device.mtu)),
        ("mac", text(device.mac)),
        ("address", list(&addresses)),
        ("owner", text(device.owner)),
        ("group", text(device.group)),
        ("persist", device.persist.to_string()),
        ("queues", text(device.queues)),
        ("offload", device.offload.to_string()),
    ]
}

fn socket_keys(socket: &SocketConfig) -> [(&'static str, String); 5] {
    let path = |listen| text((socket.listen == listen).then(|| socket.path.display()));
    [
        ("listen", path(true)),
        ("connect", path(false)),
        ("owner", text(socket.owner)),
        ("group", text(socket.group)),
        ("mtu", text(socket.mtu)),
    ]
}

fn netdev_keys(netdev: &NetdevConfig) -> KeyTexts {
    let mut keys = vec![
        ("device", netdev.device.clone()),
        ("netns", text(netdev.netns.as_ref())),
        ("quiet", netdev.quiet.to_string()),
        ("create", netdev.create.is_some().to_string()),
    ];
    if let Some(tap) = &netdev.create {
        keys.extend([
            ("mtu", text(tap.mtu)),
            ("owner", text(tap.owner)),
            ("group", text(tap.group)),
            ("persist", tap.persist.to_string()),
            ("queues", text(tap.queues)),
        ]);
    }
    keys
}

fn tunnel_keys(tunnel: &TunnelConfig) -> KeyTexts {
    let mut keys = match &tunnel.encapsulation {
        Encapsulation::Vxlan { vni, strict } => {
            vec![("vni", vni.to_string()), ("strict", strict.to_string())]
        }
        Encapsulation::Geneve { vni, options } => {
            vec![("vni", vni.to_string()), ("options", list(options))]
        }
        Encapsulation::Gre { key, checksum, sequence } => vec![
            ("key", text(*key)),
            ("checksum", checksum.to_string()),
            ("sequence", sequence.to_string()),
            ("transport", if tunnel.port.is_some() { "udp" } else { "ip" }.to_owned()),
        ],
    };
    let udp_checksum = match tunnel.encapsulation {
        Encapsulation::Gre { .. } => "udp-checksum",
        Encapsulation::Vxlan { .. } | Encapsulation::Geneve { .. } => "checksum",
    };
    let inherited = |value: Option<u8>| value.map_or_else(|| "inherit".into(), |value| value.to_string());
    let outer = &tunnel.outer;
    keys.extend([
        ("payload", if tunnel.payload == Layer::Ip { "ip" } else { "ethernet" }.to_owned()),
        ("port", text(tunnel.port)),
        ("local", tunnel.local.to_string()),
        ("remotes", list(&tunnel.remotes)),
        ("netns", text(tunnel.netns.as_ref())),
        ("accept", if tunnel.accept_any { "any" } else { "remotes" }.to_owned()),
        ("tos", inherited(outer.tos)),
        ("ttl", inherited(outer.ttl)),
        ("df", outer.dont_fragment.map_or_else(|| "inherit".into(), |df| df.to_string())),
        (udp_checksum, outer.checksum.to_string()),
        ("mtu", text(tunnel.mtu)),
        ("mss-clamp", tunnel.mss_clamp.to_string()),
        ("split-horizon", tunnel.split_horizon.to_string()),
    ]);
    keys
}

fn underlay_keys(underlay: &UnderlayConfig) -> KeyTexts {
    vec![
        ("port", text(underlay.port)),
        ("local", underlay.local.to_string()),
        ("netns", text(underlay.netns.as_ref())),
        ("zero-checksum", underlay.zero_checksum.to_string()),
        ("interface-of", text(underlay.interface_of)),
    ]
}

fn export_keys(export: &ExportConfig) -> KeyTexts {
    let mut keys = vec![
        ("protocol", export.protocol.name().to_owned()),
        ("collector", export.collector.to_string()),
        ("source", text(export.source)),
        ("netns", text(export.netns.as_ref())),
        ("sample", export.sample.to_string()),
        ("of", export.scope.to_string()),
        ("domain", export.domain.to_string()),
    ];
    match &export.protocol {
        ExportProtocol::Sflow { agent, header, interval } => keys.extend([
            ("agent", text(*agent)),
            ("header", header.to_string()),
            ("interval", duration_text(*interval)),
        ]),
        ExportProtocol::Ipfix { active, inactive, templates, flow_limit } => keys.extend([
            ("active-timeout", duration_text(*active)),
            ("inactive-timeout", duration_text(*inactive)),
            ("template-interval", duration_text(*templates)),
            ("flow-limit", flow_limit.to_string()),
        ]),
    }
    keys
}

fn list<T: ToString>(values: &[T]) -> String {
    match values {
        [] => "-".into(),
        values => values.iter().map(T::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
