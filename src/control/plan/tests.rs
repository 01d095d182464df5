//! What a change comes to, and what it leaves alone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample;

use super::*;
use crate::control::config::{
    Action, Document, Edits, ExportScope, GeneveOption, GuardConfig, Hook, InterfaceConfig, Match,
    MetricsConfig, NatConfig, NatKind, On, Policy, Prefix, ReversePath, RouteConfig, RouteKind, Scope, Storm,
    SwitchConfig, VlanMode, parse_value,
};
use crate::switch::Outer;
use crate::wire::ethernet::Mac;

fn config(text: &str) -> Config {
    Document::parse(text, "t").unwrap().to_config().unwrap()
}

const BEFORE: &str = r#"
    [bridge.lan]
    [bridge.old]
    [port.vm1]
    type = "tap"
    bridge = "lan"
    vlan = 10
    [port.vm2]
    type = "tap"
    bridge = "old"
    [port.gone]
    type = "netdev"
    bridge = "old"
    [[fdb]]
    mac = "02:00:00:00:00:01"
    port = "vm1"
"#;

#[test]
fn a_plan_reads_as_what_happens_in_order() {
    let after = config(
        r#"
        [bridge.lan]
        ageing = "10s"
        [bridge.new]
        [port.vm1]
        type = "tap"
        bridge = "lan"
        vlan = 20
        storm = { unknown = 5 }
        [port.vm2]
        type = "tap"
        bridge = "new"
        mtu = 9000
        address = "10.9.0.1/24"
        [port.vm3]
        type = "tap"
        bridge = "new"
        [[fdb]]
        mac = "02:00:00:00:00:01"
        port = "vm1"
        "#,
    );
    let plan = diff(&config(BEFORE), &after).unwrap();
    assert_eq!(
        plan.to_string(),
        "- fdb 02:00:00:00:00:01 vlan 10 on lan at vm1\n\
         - port gone\n\
         ~ bridge lan: ageing 300s -> 10s\n\
         + bridge new\n\
         ~ port vm1: vlan 10 -> 20, storm.unknown - -> 5\n\
         ~ port vm2 (reopened): mtu - -> 9000, address - -> 10.9.0.1/24, bridge old -> new\n\
         + port vm3\n\
         - bridge old\n\
         + fdb 02:00:00:00:00:01 vlan 20 on lan at vm1\n"
    );
}

#[test]
fn a_change_of_type_names_what_either_has() {
    let change = |kind: &str| {
        let text = BEFORE.replacen("type = \"tap\"", &format!("type = \"{kind}\""), 1);
        diff(&config(BEFORE), &config(&text)).unwrap().to_string()
    };
    let line = change("netdev");
    assert!(line.starts_with("~ port vm1 (reopened): type tap -> netdev, "), "{line}");
    assert_eq!(change("tap"), "");
}

#[test]
fn every_key_is_named_and_only_those_of_the_device_reopen_it() {
    let switch_side = ["bridge", "vlan", "uplink", "hairpin", "isolated", "learning", "learn-limit"];
    for (key, value) in [
        ("bridge", "lan"),
        ("vlan", "11"),
        ("uplink", "true"),
        ("hairpin", "true"),
        ("isolated", "true"),
        ("learning", "false"),
        ("learn-limit", "5"),
        ("storm.broadcast", "5"),
        ("storm.multicast", "5"),
        ("storm.unknown", "5"),
        ("device", "x"),
        ("netns", "blue"),
        ("mtu", "1400"),
        ("mac", "02:00:00:00:00:09"),
        ("address", "fe80::1/64"),
        ("owner", "5"),
        ("group", "5"),
        ("persist", "true"),
        ("queues", "3"),
        ("offload", "false"),
    ] {
        let mut document = Document::parse(BEFORE, "t").unwrap();
        document.port_set("vm2", &[(key.to_owned(), Some(parse_value(value)))].into()).unwrap();
        let plan = diff(&config(BEFORE), &document.to_config().unwrap()).unwrap();
        assert_eq!(plan.changes.len(), 1, "{plan}");
        let reopened =
            if switch_side.contains(&key) || key.starts_with("storm.") { "" } else { " (reopened)" };
        let text = plan.to_string();
        assert!(text.starts_with(&format!("~ port vm2{reopened}: {key} ")), "{text}");
        assert_eq!(text.matches(" -> ").count(), 1, "{text}");
    }
}

#[test]
fn no_key_of_a_tunnel_reopens_anything_and_its_underlay_follows() {
    let before = r#"
        [bridge.lan]
        [port.t]
        type = "geneve"
        bridge = "lan"
        vni = 1
        local = "10.8.0.1"
        remotes = ["10.8.0.2"]
    "#;
    for (key, value, underlays) in [
        ("vni", "2", ""),
        ("options", "[{ class = 1, type = 2, data = \"00000000\" }]", ""),
        ("remotes", "10.8.0.2,10.8.0.3", ""),
        ("accept", "any", ""),
        ("tos", "4", ""),
        ("ttl", "inherit", ""),
        ("df", "false", ""),
        ("mtu", "1400", ""),
        ("mss-clamp", "true", ""),
        ("split-horizon", "false", ""),
        ("learning", "false", ""),
        ("checksum", "false", "~ port udp:10.8.0.1:6081 (reopened): zero-checksum false -> true\n"),
        ("port", "6082", "- port udp:10.8.0.1:6081 + port udp:10.8.0.1:6082\n"),
        ("local", "10.8.0.9", "- port udp:10.8.0.1:6081 + port udp:10.8.0.9:6081\n"),
        ("netns", "blue", "- port udp:10.8.0.1:6081 + port udp:10.8.0.1:6081@blue\n"),
    ] {
        let mut document = Document::parse(before, "t").unwrap();
        document.port_set("t", &[(key.to_owned(), Some(parse_value(value)))].into()).unwrap();
        let plan = diff(&config(before), &document.to_config().unwrap()).unwrap();
        let (ours, others): (Vec<_>, Vec<_>) =
            plan.changes.iter().map(ToString::to_string).partition(|change| change.starts_with("~ port t"));
        assert!(ours.len() == 1 && ours[0].starts_with(&format!("~ port t: {key} ")), "{plan}");
        assert_eq!(ours[0].matches(" -> ").count(), 1, "{plan}");
        assert_eq!(others.join(" "), underlays.trim_end(), "{key}");
    }
    let other_type = before.replace("geneve", "vxlan");
    let plan = diff(&config(before), &config(&other_type)).unwrap().to_string();
    assert!(
        plan.contains("~ port t: type geneve -> vxlan, ") && plan.contains("+ port udp:10.8.0.1:4789\n"),
        "{plan}"
    );
}

#[test]
fn a_wire_changes_both_its_ends_and_reopens_neither() {
    let ends = |keys: &str| config(&format!("[port.a]\ntype = \"tun\"\n{keys}\n[port.b]\ntype = \"tun\"\n"));
    let plan = diff(&ends(""), &ends("wire = \"b\"")).unwrap();
    assert_eq!(plan.to_string(), "~ port a: wire - -> b\n~ port b: wire - -> a\n");
}

#[test]
fn a_static_entry_that_moves_to_another_peer_is_another() {
    let at = |remote: &str| {
        let tunnel = "[port.t]\ntype = \"gre\"\nbridge = \"lan\"\nremotes = [\"10.8.0.2\", \"10.8.0.3\"]\n";
        let entry = format!("[[fdb]]\nmac = \"02:00:00:00:00:01\"\nport = \"t\"\nremote = \"{remote}\"\n");
        config(&format!("[bridge.lan]\n{tunnel}{entry}"))
    };
    let plan = diff(&at("10.8.0.2"), &at("10.8.0.3")).unwrap();
    assert_eq!(
        plan.to_string(),
        "- fdb 02:00:00:00:00:01 on lan at t remote 10.8.0.2\n+ fdb 02:00:00:00:00:01 on lan at t remote 10.8.0.3\n"
    );
}

#[test]
fn what_takes_a_restart_is_refused() {
    let wanted = config(&format!("[switch]\nworkers = 2\nbusy-poll = \"0s\"\n{BEFORE}"));
    assert_eq!(
        diff(&config(BEFORE), &wanted).unwrap_err().to_string(),
        "[switch] changes while it runs: workers - -> 2, busy-poll - -> 0s (restart tapyard for that)"
    );
}

#[test]
fn the_listener_for_metrics_changes_while_all_runs() {
    let with = |keys: &str| config(&format!("[switch]\n{keys}\n{BEFORE}"));
    let lines = |from: &str, to: &str| diff(&with(from), &with(to)).unwrap().lines();
    let (one, two) =
        ("metrics = \"127.0.0.1:9477\"", "metrics = \"[::1]:1\"\nmetrics-hosts = [\"a\", \"b\"]");
    assert_eq!(lines("", one), ["~ switch: metrics - -> 127.0.0.1:9477"]);
    assert_eq!(lines(one, two), ["~ switch: metrics 127.0.0.1:9477 -> [::1]:1, metrics-hosts - -> a b"]);
    assert_eq!(lines(one, ""), ["~ switch: metrics 127.0.0.1:9477 -> -"]);
}

const GATEWAY: &str = r#"
    [bridge.lan]
    [port.tun0]
    type = "tun"
    [router.gw.interface.lan]
    bridge = "lan"
    address = ["10.9.0.254/24", "fd00::1/64"]
    [router.gw.interface.wan]
    port = "tun0"
    address = "10.7.0.2/30"
    [[router.gw.route]]
    to = "default"
    via = "10.7.0.1"
    [[rule]]
    router = "gw"
    action = "count"
    [[rule]]
    router = "gw"
    action = "drop"
"#;

/// What changes when `edit` is made to the gateway.
fn changed(edit: impl FnOnce(&mut Document) -> Result<(), String>) -> String {
    let mut document = Document::parse(GATEWAY, "t").unwrap();
    edit(&mut document).unwrap();
    let plan = diff(&config(GATEWAY), &document.to_config().unwrap()).unwrap();
    assert_eq!(plan.lines().join("\n") + "\n", plan.to_string());
    plan.lines().join("\n")
}

fn keys(keys: &[(&str, &str)]) -> Edits {
    keys.iter().map(|(key, text)| ((*key).to_owned(), Some(parse_value(text)))).collect()
}

#[test]
fn every_key_of_a_router_and_its_interfaces_is_named() {
    for (key, value, line) in [
        ("sessions", "1000", "sessions 65536 -> 1000, sessions-per-source 16384 -> 250"),
        ("sessions-per-source", "9", "sessions-per-source 16384 -> 9"),
        (
            "mapping",
            "address-and-port-dependent",
            "mapping endpoint-independent -> address-and-port-dependent",
        ),
        ("filtering", "endpoint-independent", "filtering address-dependent -> endpoint-independent"),
        ("policy.prerouting", "drop", "policy.prerouting accept -> drop"),
        ("policy.postrouting", "drop", "policy.postrouting accept -> drop"),
        ("timeout.udp", "2m", "timeout.udp 300s -> 120s"),
        ("timeout.udp-unreplied", "3m", "timeout.udp-unreplied 120s -> 180s"),
        ("timeout.tcp-established", "3h", "timeout.tcp-established 7440s -> 10800s"),
        ("timeout.tcp-half-open", "5m", "timeout.tcp-half-open 240s -> 300s"),
        ("timeout.tcp-closing", "5m", "timeout.tcp-closing 240s -> 300s"),
        ("timeout.icmp", "61s", "timeout.icmp 60s -> 61s"),
        ("timeout.other", "61s", "timeout.other 600s -> 61s"),
        ("neighbor-limit", "99", "neighbor-limit 1024 -> 99"),
        ("icmp-rate", "0", "icmp-rate 1000 -> 0"),
        ("interface.lan.mtu", "1400", "interface lan: mtu - -> 1400"),
        ("interface.lan.reverse-path", "loose", "interface lan: reverse-path off -> loose"),
        (
            "interface.lan.address",
            "10.9.0.1/24",
            "interface lan: address 10.9.0.254/24 fd00::1/64 -> 10.9.0.1/24",
        ),
        (
            "interface.lan.advertise.managed",
            "true",
            "interface lan: advertise.lifetime - -> 1800s, advertise.interval - -> 600s, advertise.prefixes - -> \
             fd00::/64, advertise.dns - -> -, advertise.managed - -> true, advertise.other - -> false",
        ),
    ] {
        // A key that is not set has no value, not even "-".
        let line = line.replace(", advertise.dns - -> -", "");
        let found = changed(|document| document.router_set(None, &keys(&[(key, value)])));
        assert_eq!(found, format!("~ router gw: {line}"));
    }
}

#[test]
fn routers_routes_translations_and_rules_are_told_one_by_one() {
    assert_eq!(changed(|document| document.router_add("lab", &keys(&[]))), "+ router lab");
    assert_eq!(
        changed(|document| document.router_del("gw")),
        "- router gw\n- rule 1: router gw forward: all: count\n- rule 2: router gw forward: all: drop"
    );
    let route = keys(&[("to", "10.0.0.0/8"), ("via", "10.7.0.1")]);
    assert_eq!(
        changed(|document| {
            document.route_del(None, "default", None, None)?;
            document.route_add(None, &route)?;
            document.nat_add(None, &keys(&[("type", "masquerade"), ("out", "wan")]), None)?;
            document.interface_del(None, "lan")
        }),
        "~ router gw: interface - lan\n~ router gw: route - 0.0.0.0/0 via 10.7.0.1\n\
         ~ router gw: route + 10.0.0.0/8 via 10.7.0.1\n~ router gw: nat + 1: masquerade out wan"
    );
    assert_eq!(
        changed(|document| document.rule_add(&keys(&[("action", "log"), ("in", "lan")]), Some(2))),
        "+ rule 2: router gw forward: in lan: log"
    );
    assert_eq!(changed(|document| document.rule_move(2, 1)), "~ rule 1 -> 2: router gw forward: all: count");
    let turned = changed(|document| {
        document.route_add(None, &route)?;
        *document = Document::parse(&document.to_string(), "t").unwrap();
        Ok(())
    });
    assert_eq!(turned, "~ router gw: route + 10.0.0.0/8 via 10.7.0.1");
}

#[test]
fn routes_in_another_order_are_the_same_routes() {
    let route = |to: &str| format!("[[router.gw.route]]\nto = \"{to}\"\nblackhole = true\n");
    let both = |first: &str, second: &str| config(&(route(first) + &route(second)));
    let plan = diff(&both("10.0.0.0/8", "11.0.0.0/8"), &both("11.0.0.0/8", "10.0.0.0/8")).unwrap();
    assert_eq!(plan.lines(), ["~ router gw: the same in another order"]);
}

fn mac() -> impl Strategy<Value = Mac> {
    (0..4u8).prop_map(|last| Mac::new([2, 0, 0, 0, 0, last]))
}

fn bridge() -> impl Strategy<Value = BridgeConfig> {
    let keys = (1..3u64, 1..3u32, option::of(mac()), any::<bool>());
    keys.prop_map(|(ageing, fdb_limit, mac, neighbor_suppression)| BridgeConfig {
        ageing: Duration::from_secs(ageing),
        fdb_limit,
        mac,
        policy: if ageing == 1 { Policy::Accept } else { Policy::Drop },
        neighbor_suppression,
    })
}

fn device() -> impl Strategy<Value = DeviceConfig> {
    let names = ("[xy]", option::of("[no]"));
    let link = (option::of(1500..1502u32), option::of(mac()), vec(any::<std::net::IpAddr>(), 0..2));
    let owner = (option::of(0..2u32), option::of(0..2u32), any::<bool>());
    let queues = (option::of(1..3usize), any::<bool>());
    (names, link, owner, queues).prop_map(
        |((device, netns), (mtu, mac, address), (owner, group, persist), (queues, offload))| DeviceConfig {
            device,
            netns,
            mtu,
            mac,
            address: address.into_iter().map(|ip| (ip, 24)).collect(),
            owner,
            group,
            persist,
            queues,
            offload,
        },
    )
}

fn kind() -> impl Strategy<Value = PortKind> {
    prop_oneof![
        device().prop_map(PortKind::Tap),
        device().prop_map(PortKind::Tun),
        ("[xy]", option::of("[no]")).prop_map(|(device, netns)| {
            PortKind::Netdev(NetdevConfig { device, netns, quiet: false, create: None })
        }),
        "[ab]".prop_map(|peer| PortKind::Patch { peer }),
        tunnel().prop_map(PortKind::Tunnel),
        underlay().prop_map(PortKind::Underlay),
    ]
}

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    let option = (0..2u16, 0..2u8, vec(0..2u8, 0..2));
    let option = option.prop_map(|(class, kind, data)| GeneveOption { class, kind, data });
    prop_oneof![
        (0..2u32, any::<bool>()).prop_map(|(vni, strict)| Encapsulation::Vxlan { vni, strict }),
        (0..2u32, vec(option, 0..2)).prop_map(|(vni, options)| Encapsulation::Geneve { vni, options }),
        (option::of(0..2u32), any::<[bool; 2]>())
            .prop_map(|(key, [checksum, sequence])| Encapsulation::Gre { key, checksum, sequence }),
    ]
}

fn tunnel() -> impl Strategy<Value = TunnelConfig> {
    let outer = (option::of(0..2u8), option::of(1..3u8), option::of(any::<bool>()), any::<bool>());
    let outer =
        outer.prop_map(|(tos, ttl, dont_fragment, checksum)| Outer { tos, ttl, dont_fragment, checksum });
    let place = (option::of(1..3u16), address(), option::of("[no]"));
    let rest = (any::<[bool; 4]>(), vec(address(), 0..3), option::of(1400..1402u32));
    (encapsulation(), place, outer, rest).prop_map(|(encapsulation, (port, local, netns), outer, rest)| {
        let ([ip, accept_any, mss_clamp, split_horizon], remotes, mtu) = rest;
        TunnelConfig {
            encapsulation,
            payload: if ip { Layer::Ip } else { Layer::Ethernet },
            port,
            local,
            remotes,
            netns,
            accept_any,
            outer,
            mtu,
            mss_clamp,
            split_horizon,
        }
    })
}

fn underlay() -> impl Strategy<Value = UnderlayConfig> {
    let place = (option::of(1..3u16), address(), option::of("[no]"));
    (place, any::<bool>(), option::of(address())).prop_map(
        |((port, local, netns), zero_checksum, interface_of)| UnderlayConfig {
            protocol: "vxlan",
            port,
            local,
            netns,
            zero_checksum,
            interface_of,
        },
    )
}

fn address() -> impl Strategy<Value = IpAddr> {
    (1..4u8).prop_map(|last| IpAddr::from([10, 8, 0, last]))
}

fn vlan() -> impl Strategy<Value = VlanMode> {
    let trunk = (vec(1..4u16, 1..3), option::of(1..4u16)).prop_map(|(vlans, native)| VlanMode::Trunk {
        vlans: Arc::new(vlans.into_iter().chain(native).collect()),
        native,
    });
    prop_oneof![Just(VlanMode::None), (1..4u16).prop_map(VlanMode::Access), trunk]
}

fn port() -> impl Strategy<Value = PortConfig> {
    let rate = || option::of(1..3u32);
    let storm = (rate(), rate(), rate());
    let ip = (1..3u8).prop_map(|n| (IpAddr::from([10, 9, 0, n]), 32));
    let guard = (vec(mac(), 0..2), vec(ip, 0..2), any::<[bool; 2]>());
    let mode = sample::select(&[Mode::Bridge, Mode::Uplink, Mode::Private, Mode::Vepa, Mode::Passthrough]);
    let own = (kind(), option::of("[pq]"), guard, (mode, any::<bool>()));
    (any::<prop::sample::Index>(), vlan(), any::<[bool; 2]>(), rate(), storm, own).prop_map(
        |(bridge, vlan, [isolated, learning], learn_limit, (broadcast, multicast, unknown), own)| {
            let (kind, wire, (mac, ip, [dhcp, router]), (mode, hairpin)) = own;
            PortConfig {
                // Which of the bridges is decided when they are known.
                bridge: Some(bridge.index(usize::MAX).to_string()),
                vlan,
                mode,
                hairpin,
                isolated,
                learning,
                learn_limit,
                storm: Storm { broadcast, multicast, unknown },
                guard: GuardConfig { mac, ip, dhcp, router },
                wire,
                mirror: false,
                kind,
            }
        },
    )
}

fn static_entry() -> impl Strategy<Value = StaticEntry> {
    let place = ("[pqr]", option::of(1..4u16), option::of(address()));
    ("[ab]", mac(), place).prop_map(|(bridge, mac, (port, vlan, remote))| StaticEntry {
        bridge,
        mac,
        port,
        vlan,
        remote,
    })
}

fn router() -> impl Strategy<Value = RouterConfig> {
    let interface =
        (option::of(1400..1402u32), vec(address(), 0..2)).prop_map(|(mtu, address)| InterfaceConfig {
            on: On::Port("p".into()),
            address: address.into_iter().map(|address| (address, 24)).collect(),
            mtu,
            reverse_path: ReversePath::default(),
            advertise: None,
        });
    let route = (vec(address(), 0..2), 0..2u32).prop_map(|(via, metric)| RouteConfig {
        to: Prefix::all(true),
        kind: RouteKind::Unicast,
        via,
        interface: None,
        metric,
    });
    let nat = ("[xy]", vec(address(), 0..2)).prop_map(|(out, source)| NatConfig {
        kind: NatKind::Masquerade { out, ports: None },
        source: source.into_iter().map(Prefix::host).collect(),
        destination: Vec::new(),
        comment: None,
    });
    (btree_map("[xy]", interface, 0..3), vec(route, 0..3), vec(nat, 0..3), 16..18u32).prop_map(
        |(interfaces, routes, nat, sessions)| RouterConfig {
            interfaces,
            routes,
            nat,
            sessions,
            ..RouterConfig::default()
        },
    )
}

fn rule() -> impl Strategy<Value = RuleConfig> {
    let action = prop_oneof![Just(Action::Accept), Just(Action::Drop)];
    ("[gh]", vec("[xy]", 0..2), action, option::of("[no]")).prop_map(|(router, input, action, comment)| {
        let matches = Match { input, ..Match::default() };
        RuleConfig { scope: Scope::Router(router), hook: Hook::Forward, matches, action, comment }
    })
}

fn metrics() -> impl Strategy<Value = MetricsConfig> {
    (1..3u16, vec("[xy]", 0..2))
        .prop_map(|(port, hosts)| MetricsConfig { address: ([127, 0, 0, 1], port).into(), hosts })
}

fn export() -> impl Strategy<Value = ExportConfig> {
    let duration = || (1..3u64).prop_map(Duration::from_secs);
    let sflow = (option::of(address()), 128..130usize, duration())
        .prop_map(|(agent, header, interval)| ExportProtocol::Sflow { agent, header, interval });
    let ipfix = (duration(), duration(), duration(), 1..3usize).prop_map(
        |(active, inactive, templates, flow_limit)| ExportProtocol::Ipfix {
            active,
            inactive,
            templates,
            flow_limit,
        },
    );
    let scope = prop_oneof![
        Just(ExportScope::All),
        "[ab]".prop_map(ExportScope::Bridge),
        vec("[pq]", 1..3).prop_map(ExportScope::Ports),
    ];
    let place = (address(), 1..3u16, option::of(address()), option::of("[no]"));
    (place, 1..3u32, scope, 0..2u32, prop_oneof![sflow, ipfix]).prop_map(
        |((address, port, source, netns), sample, scope, domain, protocol)| ExportConfig {
            collector: (address, port).into(),
            source,
            netns,
            sample,
            scope,
            domain,
            protocol,
        },
    )
}

/// Configurations whose ports are on bridges that exist; small, so that two of them overlap.
fn configs() -> impl Strategy<Value = Config> {
    let routing = (btree_map("[gh]", router(), 0..3), vec(rule(), 0..4));
    let routing = (routing, btree_map("[ef]", export(), 0..3), option::of(metrics()));
    let tables =
        (btree_map("[abc]", bridge(), 0..3), btree_map("[pqrs]", port(), 0..4), vec(static_entry(), 0..4));
    (tables, routing).prop_map(|((bridges, mut ports, mut statics), ((routers, rules), exports, metrics))| {
        for port in ports.values_mut() {
            let drawn: usize = port.bridge.take().and_then(|drawn| drawn.parse().ok()).unwrap_or(0);
            port.bridge = bridges.keys().nth(drawn.checked_rem(bridges.len()).unwrap_or(0)).cloned();
        }
        statics.sort();
        statics.dedup();
        let switch = SwitchConfig { metrics, ..SwitchConfig::default() };
        Config { switch, bridges, ports, statics, routers, rules, exports, ..Config::default() }
    })
}

/// Applies a change as a switch would, refusing one that its state does not allow.
fn apply(config: &mut Config, change: &Change) {
    let has_bridge = |config: &Config, port: &PortConfig| {
        assert!(port.bridge.as_ref().is_none_or(|bridge| config.bridges.contains_key(bridge)), "{change}");
    };
    match change.clone() {
        Change::MetricsChange { from, to } => {
            assert_eq!(std::mem::replace(&mut config.switch.metrics, to), from);
        }
        Change::StaticRemove(entry) => {
            let at = config.statics.iter().position(|e| *e == entry).expect("an entry that is there");
            config.statics.remove(at);
        }
        Change::StaticAdd(entry) => {
            assert!(!config.statics.contains(&entry));
            config.statics.push(entry);
        }
        Change::PortRemove { name } => assert!(config.ports.remove(&name).is_some()),
        Change::PortAdd { name, to } => {
            has_bridge(config, &to);
            assert!(config.ports.insert(name, *to).is_none());
        }
        Change::PortReopen { name, from, to } => {
            has_bridge(config, &to);
            assert!(from.kind.reopens(&to.kind));
            assert_eq!(config.ports.insert(name, *to), Some(*from));
        }
        Change::PortChange { name, from, to } => {
            has_bridge(config, &to);
            assert!(!from.kind.reopens(&to.kind));
            assert_eq!(config.ports.insert(name, *to), Some(*from));
        }
        Change::BridgeAdd { name, to } => assert!(config.bridges.insert(name, to).is_none()),
        Change::BridgeChange { name, from, to } => {
            assert_eq!(config.bridges.insert(name, to), Some(from));
        }
        Change::BridgeRemove { name } => {
            assert!(
                config.ports.values().all(|port| port.bridge.as_ref() != Some(&name)),
                "{name} has ports"
            );
            assert!(config.bridges.remove(&name).is_some());
        }
        Change::RouterRemove { name } => assert!(config.routers.remove(&name).is_some()),
        Change::RouterAdd { name, to } => assert!(config.routers.insert(name, *to).is_none()),
        Change::RouterChange { name, from, to } => {
            assert_eq!(config.routers.insert(name, *to), Some(*from));
        }
        Change::RulesChange { from, to } => assert_eq!(std::mem::replace(&mut config.rules, to), from),
        Change::ExportRemove { name } => assert!(config.exports.remove(&name).is_some()),
        Change::ExportAdd { name, to } => assert!(config.exports.insert(name, to).is_none()),
        Change::MirrorRemove { name } => assert!(config.mirrors.remove(&name).is_some()),
        Change::MirrorAdd { name, to } => assert!(config.mirrors.insert(name, to).is_none()),
        Change::MirrorChange { name, from, to } => {
            assert_eq!(config.mirrors.insert(name, to), Some(from));
        }
        Change::ExportChange { name, from, to } => {
            assert_eq!(config.exports.insert(name, to), Some(from));
        }
    }
}

proptest! {
    #[test]
    fn nothing_changes_between_equals(config in configs()) {
        prop_assert!(diff(&config, &config).unwrap().is_empty());
    }

    #[test]
    fn applying_the_plan_gives_what_is_wanted(running in configs(), wanted in configs()) {
        let plan = diff(&running, &wanted).unwrap();
        let mut config = running;
        for change in &plan.changes {
            apply(&mut config, change);
            // A change always says what changes: no key is forgotten in the text.
            let text = change.to_string();
            let of_list = matches!(change, Change::RouterChange { .. } | Change::RulesChange { .. });
            prop_assert!(!text.is_empty());
            prop_assert!(!text.starts_with('~') || text.contains(" -> ") || of_list, "{text}: {change:?}");
        }
        config.statics.sort();
        prop_assert_eq!(config, wanted);
    }
}
