//! The tables of the configuration, each read by one function. What is wrong is noted and read on, so that all of it is
//! told at once; what these functions then give is thrown away.
//!
//! A new type of port is a line in [`KINDS`] and the function that it names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Item, Node, Table};
use super::errors::{Findings, Path};
use super::export::{MAX_EXPORTS, export};
use super::keys::{Keys, similar};
use super::mirror::{MAX_MIRRORS, mirror};
use super::mode;
use super::router::read::router;
use super::rule::read::{policy, rule};
use super::socket;
use super::tunnel;
use super::value::{self, number};
use super::vlan::VlanMode;
use super::{
    BridgeConfig, Config, DeviceConfig, GuardConfig, GuestTap, MetricsConfig, NetdevConfig, PortConfig,
    PortKind, StaticEntry, Storm, SwitchConfig,
};
use crate::packet::Layer;
use crate::switch::mode::Mode;

/// Most entries of an FDB, and most addresses learned by a port.
const MAX_ENTRIES: u32 = 4_000_000;

/// Most rules.
const MAX_RULES: usize = 100_000;

/// Most bridges, most ports, and most routers: each has a slot in every topology and every worker.
const MAX_TABLES: usize = 4096;

/// A type of port: its name, what it may carry, and what reads the keys that are its own, which is given the port's name.
struct Kind {
    name: &'static str,
    layers: &'static [Layer],
    read: fn(&mut Keys<'_>, &str) -> PortKind,
}

const KINDS: [Kind; 10] = [
    Kind { name: "tap", layers: &[Layer::Ethernet], read: tap },
    Kind { name: "tun", layers: &[Layer::Ip], read: tun },
    Kind { name: "netdev", layers: &[Layer::Ethernet], read: netdev },
    Kind { name: "stream", layers: &[Layer::Ethernet], read: socket::stream },
    Kind { name: "dgram", layers: &[Layer::Ethernet], read: socket::dgram },
    Kind { name: "vhost-user", layers: &[Layer::Ethernet], read: socket::vhost_user },
    Kind { name: "patch", layers: &[Layer::Ethernet], read: patch },
    Kind { name: "vxlan", layers: &[Layer::Ethernet], read: tunnel::vxlan },
    Kind { name: "geneve", layers: &[Layer::Ethernet, Layer::Ip], read: tunnel::geneve },
    Kind { name: "gre", layers: &[Layer::Ethernet, Layer::Ip], read: tunnel::gre },
];

/// Reads a whole document.
pub(super) fn config(root: &Table, findings: &mut Findings) -> Config {
    let mut keys = Keys::new(Path::default(), root, findings);
    let switch = keys.table("switch", switch).unwrap_or_default();
    let bridges =
        keys.table("bridge", |keys| named(keys, "bridge", |keys, _| Some(bridge(keys)))).unwrap_or_default();
    let ports = keys.table("port", |keys| named(keys, "port", port)).unwrap_or_default();
    let statics = keys.tables("fdb", |keys| static_entry(keys, &ports));
    let routers = keys
        .table("router", |keys| named(keys, "router", |keys, name| Some(router(keys, name))))
        .unwrap_or_default();
    let rules = keys.tables("rule", rule);
    keys.at_most("rule", rules.len(), MAX_RULES);
    let exports =
        keys.table("export", |keys| named(keys, "export", |keys, _| export(keys))).unwrap_or_default();
    keys.at_most("export", exports.len(), MAX_EXPORTS);
    let mirrors =
        keys.table("mirror", |keys| named(keys, "mirror", |keys, _| Some(mirror(keys)))).unwrap_or_default();
    keys.at_most("mirror", mirrors.len(), MAX_MIRRORS);
    keys.finish(|_| None);
    Config { switch, bridges, ports, statics, routers, rules, exports, mirrors }
}

fn switch(mut keys: Keys<'_>) -> SwitchConfig {
    let switch = SwitchConfig {
        control: keys.get("control", value::socket_path).unwrap_or_else(|| SwitchConfig::default().control),
        workers: keys.get("workers", number("number of workers", 1..=64)),
        busy_poll: keys.get("busy-poll", value::duration(Duration::from_nanos(1)..=Duration::from_secs(1))),
        metrics: metrics(&mut keys),
    };
    keys.finish(|_| None);
    switch
}

fn metrics(keys: &mut Keys<'_>) -> Option<MetricsConfig> {
    let address = keys.get("metrics", value::listen_address);
    let hosts = keys.get("metrics-hosts", value::host_names).unwrap_or_default();
    if !keys.has("metrics") && keys.has("metrics-hosts") {
        keys.complain("metrics-hosts", "nothing is listened at (metrics = \"127.0.0.1:9477\" says where)");
    }
    address.map(|address| MetricsConfig { address, hosts })
}

fn bridge(mut keys: Keys<'_>) -> BridgeConfig {
    let default = BridgeConfig::default();
    let ageing = value::duration(Duration::from_secs(1)..=Duration::from_secs(1_000_000));
    let bridge = BridgeConfig {
        ageing: keys.get("ageing", ageing).unwrap_or(default.ageing),
        fdb_limit: keys.get("fdb-limit", number("limit", 1..=MAX_ENTRIES)).unwrap_or(default.fdb_limit),
        mac: keys.get("mac", value::station),
        policy: keys.get("policy", policy).unwrap_or(default.policy),
        neighbor_suppression: keys.get("neighbor-suppression", value::boolean).unwrap_or(false),
    };
    keys.finish(|_| None);
    bridge
}

/// A port; `None` when it has no type that would say which keys it may have.
fn port(mut keys: Keys<'_>, name: &str) -> Option<PortConfig> {
    let kind = keys.require("type", &kind_names(|_| true), kind)?;
    let mut port = port_of((kind.read)(&mut keys, name));
    let layer = port.kind.layer();
    layer_keys(layer, &mut keys, &mut port);
    keys.finish(|key| foreign(key, kind, layer));
    Some(port)
}

/// A port of this type that is nothing else yet.
fn port_of(kind: PortKind) -> PortConfig {
    PortConfig {
        bridge: None,
        vlan: VlanMode::None,
        mode: Mode::default(),
        hairpin: false,
        isolated: false,
        learning: true,
        learn_limit: None,
        storm: Storm::default(),
        guard: GuardConfig::default(),
        wire: None,
        mirror: false,
        kind,
    }
}

/// Reads the keys that every port has that carries the like.
fn layer_keys(layer: Layer, keys: &mut Keys<'_>, port: &mut PortConfig) {
    port.mirror = keys.get("mirror", value::boolean).unwrap_or(false);
    let begin = keys.asked().len();
    match layer {
        Layer::Ethernet => bridge_port(keys, port),
        Layer::Ip => port.wire = keys.get("wire", value::name),
    }
    if !port.mirror {
        return;
    }
    let said = |key: &&str| keys.has(key);
    for key in keys.asked()[begin..].iter().copied().filter(said).collect::<Vec<_>>() {
        keys.complain(
            key,
            format!("`{key}` is of ports that others use (expected none beside mirror = true)"),
        );
    }
    if let PortKind::Patch { .. } = port.kind {
        keys.complain("mirror", "what leaves by a patch comes in again (expected another type of port)");
    }
}

/// The keys that every port of Ethernet frames has.
fn bridge_port(keys: &mut Keys<'_>, port: &mut PortConfig) {
    port.bridge = match port.mirror {
        true => keys.get("bridge", value::name),
        false => keys.require("bridge", "the name of a bridge", value::name),
    };
    port.vlan = vlan_mode(keys);
    port.isolated = keys.get("isolated", value::boolean).unwrap_or(false);
    port.learning = keys.get("learning", value::boolean).unwrap_or(true);
    port.learn_limit = keys.get("learn-limit", number("limit", 1..=MAX_ENTRIES));
    let storm = keys.table("storm", |mut keys| {
        let mut rate = |class| keys.get(class, number("rate in frames per second", 1..=u32::MAX));
        let (broadcast, multicast, unknown) = (rate("broadcast"), rate("multicast"), rate("unknown"));
        keys.finish(|_| None);
        Storm { broadcast, multicast, unknown }
    });
    port.storm = storm.unwrap_or_default();
    port.guard = guard(keys);
    mode::read(keys, port);
}

fn guard(keys: &mut Keys<'_>) -> GuardConfig {
    let pin = keys.table("pin", |mut keys| {
        let (mac, ip) = (keys.get("mac", value::stations), keys.get("ip", value::networks));
        keys.finish(|_| None);
        (mac.unwrap_or_default(), ip.unwrap_or_default())
    });
    let (mac, ip) = pin.unwrap_or_default();
    GuardConfig {
        mac,
        ip,
        dhcp: keys.get("dhcp-guard", value::boolean).unwrap_or(false),
        router: keys.get("ra-guard", value::boolean).unwrap_or(false),
    }
}

fn vlan_mode(keys: &mut Keys<'_>) -> VlanMode {
    let access = keys.get("vlan", value::vlan);
    let trunk = keys.get("trunk", value::vlans);
    let native = keys.get("native", value::vlan);
    if keys.has("vlan") && keys.has("trunk") {
        keys.complain("trunk", "a port is an access port or a trunk (expected `vlan` or `trunk`, not both)");
    } else if keys.has("native") && !keys.has("trunk") {
        keys.complain("native", "only a trunk has a native VLAN (expected `trunk` beside it)");
    }
    match (access, trunk) {
        (Some(vlan), _) => VlanMode::Access(vlan),
        (None, Some(mut vlans)) => {
            vlans.extend(native);
            VlanMode::Trunk { vlans: Arc::new(vlans), native }
        }
        (None, None) => VlanMode::None,
    }
}

fn tap(keys: &mut Keys<'_>, name: &str) -> PortKind {
    let mut device = tap_or_tun(keys, name);
    device.mac = keys.get("mac", value::station);
    PortKind::Tap(device)
}

fn tun(keys: &mut Keys<'_>, name: &str) -> PortKind {
    PortKind::Tun(tap_or_tun(keys, name))
}

/// The least MTU of a link that carries IPv6 (RFC 8200, 5).
pub(super) const LEAST_IPV6_MTU: u32 = 1280;

fn tap_or_tun(keys: &mut Keys<'_>, name: &str) -> DeviceConfig {
    let config = DeviceConfig {
        device: device(keys, name),
        netns: keys.get("netns", value::netns),
        mtu: keys.get("mtu", number("MTU", 68..=65521)),
        mac: None,
        address: keys.get("address", value::addresses).unwrap_or_default(),
        owner: keys.get("owner", value::user),
        group: keys.get("group", value::group),
        persist: keys.get("persist", value::boolean).unwrap_or(false),
        queues: keys.get("queues", number("number of queues", 1..=64)),
        offload: keys.get("offload", value::boolean).unwrap_or(true),
    };
    if let Some(mtu) = config.mtu.filter(|&mtu| mtu < LEAST_IPV6_MTU)
        && config.address.iter().any(|(address, _)| address.is_ipv6())
    {
        keys.complain("mtu", format!("{mtu} is too little for IPv6 (expected {LEAST_IPV6_MTU} or more)"));
    }
    config
}

fn netdev(keys: &mut Keys<'_>, name: &str) -> PortKind {
    let (device, netns) = (device(keys, name), keys.get("netns", value::netns));
    let create = keys.get("create", value::boolean).unwrap_or(false);
    let quiet = keys.get("quiet", value::boolean).unwrap_or(create);
    let tap = GuestTap {
        owner: keys.get("owner", value::user),
        group: keys.get("group", value::group),
        queues: keys.get("queues", number("number of queues", 1..=256)),
        persist: keys.get("persist", value::boolean).unwrap_or(false),
        mtu: keys.get("mtu", number("MTU", 68..=65521)),
    };
    if !create && !keys.failed("create") {
        for key in ["owner", "group", "queues", "persist", "mtu"] {
            if !keys.has(key) {
                continue;
            }
            let message = format!("`{key}` is for a TAP that is made (expected create = true beside it)");
            keys.complain(key, message);
        }
    }
    PortKind::Netdev(NetdevConfig { device, netns, quiet, create: create.then_some(tap) })
}

fn patch(keys: &mut Keys<'_>, _: &str) -> PortKind {
    PortKind::Patch {
        peer: keys.require("peer", "the name of a patch port", value::name).unwrap_or_default(),
    }
}

/// The device's name: the port's, unless it says otherwise.
fn device(keys: &mut Keys<'_>, name: &str) -> String {
    if !keys.has("device") && !value::is_device(name) {
        keys.complain(
            "device",
            format!("missing, and \"{name}\" can name no device (expected 1 to 15 bytes)"),
        );
    }
    keys.get("device", value::device).unwrap_or_else(|| name.to_owned())
}

/// An entry without its VLAN or bridge is in its port's, and one without remote at the port's only peer.
fn static_entry(mut keys: Keys<'_>, ports: &BTreeMap<String, PortConfig>) -> StaticEntry {
    let mac = keys.require("mac", "a MAC address", value::station).unwrap_or_default();
    let port = keys.require("port", "the name of a port", value::name).unwrap_or_default();
    let bridge = keys.get("bridge", value::name);
    let vlan = keys.get("vlan", value::vlan);
    let remote = keys.get("remote", value::host);
    keys.finish(|_| None);
    let of_port = ports.get(&port);
    let only_peer = of_port.and_then(|port| match &port.kind {
        PortKind::Tunnel(tunnel) => tunnel.only_peer(),
        _ => None,
    });
    StaticEntry {
        bridge: bridge.or_else(|| of_port.and_then(|p| p.bridge.clone())).unwrap_or_default(),
        mac,
        port,
        vlan: vlan.or_else(|| of_port.and_then(|p| p.vlan.untagged())),
        remote: remote.or(only_peer),
    }
}

/// Reads each table of a table of tables, `[WHAT.NAME]`; those that `read` gives nothing for are left out.
pub(super) fn named<T>(
    mut keys: Keys<'_>,
    what: &str,
    read: impl Fn(Keys<'_>, &str) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut tables = BTreeMap::new();
    if let Some(name) = keys.names().nth(MAX_TABLES) {
        let count = keys.names().count();
        keys.complain(name, format!("one of {count} tables [{what}.NAME] (expected at most {MAX_TABLES})"));
        return tables;
    }
    for name in keys.names() {
        if !value::is_name(name) {
            keys.complain(name, format!("\"{name}\" is no name (expected {})", value::NAME_EXPECTED));
        }
        if let Some(table) = keys.table_of(name, |keys| read(keys, name)).flatten() {
            tables.insert(name.clone(), table);
        }
    }
    tables
}

fn kind(item: &Item) -> Result<&'static Kind, value::Fault> {
    let Node::Leaf(toml::Value::String(name)) = &item.node else {
        return Err(value::no(item, "string", &kind_names(|_| true)).into());
    };
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let meant =
            similar(name, &all).map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
        value::no(item, "type of port", &format!("{}{meant}", kind_names(|_| true))).into()
    })
}

/// What to say about a key that a port of type `kind`, which carries `layer`, does not have, when another does.
fn foreign(key: &str, kind: &Kind, layer: Layer) -> Option<String> {
    let name = kind.name;
    let own = keys_of(kind).contains(&key);
    if key == "bridge" && layer == Layer::Ip {
        let what = if own { format!("a {name} with payload = \"ip\"") } else { format!("a {name}") };
        return Some(format!(
            "{what} carries IP, not Ethernet: it belongs to no bridge (expected no `bridge`)"
        ));
    }
    if own {
        let (other, payload) = if layer == Layer::Ip { ("Ethernet", "ethernet") } else { ("IP", "ip") };
        return Some(format!(
            "`{key}` is a key of ports that carry {other} (expected payload = \"{payload}\" beside it)"
        ));
    }
    let owns = |other: &Kind| keys_of(other).contains(&key);
    if KINDS.iter().any(owns) {
        return Some(format!("`{key}` is no key of type {name} (expected on {} only)", kind_names(owns)));
    }
    None
}

/// The keys that a type has, whatever it carries: those its readers ask for.
fn keys_of(kind: &Kind) -> Vec<&'static str> {
    let (empty, mut findings) = (Table::new(), Findings::default());
    let mut keys = Keys::new(Path::default(), &empty, &mut findings);
    let mut port = port_of((kind.read)(&mut keys, ""));
    kind.layers.iter().for_each(|&layer| layer_keys(layer, &mut keys, &mut port));
    keys.asked().to_vec()
}

/// The names of the types that `which` picks: "tap, tun or patch".
fn kind_names(which: impl Fn(&Kind) -> bool) -> String {
    let names: Vec<&str> = KINDS.iter().filter(|kind| which(kind)).map(|kind| kind.name).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
