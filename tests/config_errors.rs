//! What a person reads whose configuration is wrong: each case is a file and all the lines of its errors.

use proptest::prelude::*;
use tapyard::control::config::{Document, parse_value};

/// The errors of a configuration, a line each.
fn errors(text: &str) -> Vec<String> {
    let result = Document::parse(text, "t.toml").and_then(|document| document.to_config());
    match result {
        Ok(config) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    assert_eq!(errors(text), expected, "in:\n{text}");
}

/// A port of this type and with these keys, beside bridge lan; its keys begin on line 4.
fn port(kind: &str, keys: &str) -> String {
    format!("[bridge.lan]\n[port.vm1]\ntype = \"{kind}\"\n{keys}\n")
}

fn tap(keys: &str) -> String {
    port("tap", &format!("bridge = \"lan\"\n{keys}"))
}

#[test]
fn syntax() {
    for (text, line) in [("[switch\nworkers = 1\n", 1), ("[switch]\nworkers = = 1\n", 2), ("a = \"\n", 1)] {
        let found = errors(text);
        assert!(found[0].starts_with(&format!("t.toml:{line}: ")), "{found:?}");
    }
    let found = errors("[port.a]\ntype = \"tap\"\n[port.a]\n");
    assert!(found[0].starts_with("t.toml:3: ") && found[0].contains("duplicate"), "{found:?}");
    let deep = format!("x = {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(errors(&deep)[0].starts_with("t.toml:1: "));
}

#[test]
fn more_bridges_or_ports_than_there_are_slots() {
    let bridges = |count: usize| (0..count).map(|n| format!("[bridge.b{n:05}]\n")).collect::<String>();
    assert!(Document::parse(&bridges(4096), "t.toml").unwrap().to_config().is_ok());
    expect(
        &bridges(70_000),
        &["t.toml:4097: bridge.b04096: one of 70000 tables [bridge.NAME] (expected at most 4096)"],
    );
    let patch = |n: usize| {
        format!("[port.p{n:05}]\ntype = \"patch\"\nbridge = \"b{}\"\npeer = \"p{:05}\"\n", n % 2, n ^ 1)
    };
    let ports = (0..4098).map(patch).collect::<String>();
    expect(
        &format!("[bridge.b0]\n[bridge.b1]\n{ports}"),
        &["t.toml:16387: port.p04096: one of 4098 tables [port.NAME] (expected at most 4096)"],
    );
}

#[test]
fn unknown_keys() {
    expect(&tap("vlam = 10"), &["t.toml:5: port.vm1.vlam: unknown key `vlam` (did you mean `vlan`?)"]);
    expect(
        "[switch]\nworker = 2\ncolour = \"red\"\n[prot.a]\n",
        &[
            "t.toml:2: switch.worker: unknown key `worker` (did you mean `workers`?)",
            "t.toml:3: switch.colour: unknown key `colour` (expected one of control, workers, busy-poll, metrics, metrics-hosts)",
            "t.toml:4: prot: unknown key `prot` (did you mean `port`?)",
        ],
    );
    expect(
        &tap("storm = { broadcst = 5 }"),
        &["t.toml:5: port.vm1.storm.broadcst: unknown key `broadcst` (did you mean `broadcast`?)"],
    );
}

#[test]
fn keys_of_another_type() {
    expect(
        &tap("peer = \"x\""),
        &["t.toml:5: port.vm1.peer: `peer` is no key of type tap (expected on patch only)"],
    );
    expect(
        &port("netdev", "bridge = \"lan\"\nmac = \"02:00:00:00:00:01\""),
        &["t.toml:5: port.vm1.mac: `mac` is no key of type netdev (expected on tap only)"],
    );
    expect(
        &port("netdev", "bridge = \"lan\"\nmtu = 1500"),
        &["t.toml:5: port.vm1.mtu: `mtu` is for a TAP that is made (expected create = true beside it)"],
    );
    expect(
        &port("tun", "vlan = 10\nbridge = \"lan\""),
        &[
            "t.toml:4: port.vm1.vlan: `vlan` is no key of type tun (expected on tap, netdev, stream, dgram, vhost-user, patch, vxlan, geneve or gre only)",
            "t.toml:5: port.vm1.bridge: a tun carries IP, not Ethernet: it belongs to no bridge (expected no `bridge`)",
        ],
    );
}

#[test]
fn types_of_ports() {
    let all = "expected tap, tun, netdev, stream, dgram, vhost-user, patch, vxlan, geneve or gre";
    expect("[port.vm1]\n", &[&format!("t.toml:1: port.vm1.type: missing ({all})")]);
    expect(
        "[port.vm1]\ntype = \"tpa\"\n",
        &[&format!("t.toml:2: port.vm1.type: \"tpa\" is no type of port ({all}; did you mean \"tap\"?)")],
    );
    expect("[port.vm1]\ntype = 1\n", &[&format!("t.toml:2: port.vm1.type: 1 is no string ({all})")]);
    expect("port = 1\n", &["t.toml:1: port: 1 is no table (expected KEY = VALUE pairs)"]);
    expect("[port]\nvm1 = 1\n", &["t.toml:2: port.vm1: 1 is no table (expected KEY = VALUE pairs)"]);
    expect("fdb = 1\n", &["t.toml:1: fdb: 1 is no array of tables (expected [[fdb]])"]);
    expect("fdb = [1]\n", &["t.toml:1: fdb[0]: 1 is no table (expected KEY = VALUE pairs)"]);
}

#[test]
fn wrong_values_of_a_port() {
    const STATION: &str = "is no address of a station (expected \"02:00:00:00:00:01\")";
    for (key, message) in [
        ("vlan = 5000", "vlan: 5000 is no VLAN (expected 1 to 4094)"),
        ("vlan = 0", "vlan: 0 is no VLAN (expected 1 to 4094)"),
        ("vlan = \"ten\"", "vlan: \"ten\" is no VLAN (expected 1 to 4094)"),
        ("vlan = 99999999999999999999", "vlan: 100000000000000000000.0 is no VLAN (expected 1 to 4094)"),
        ("trunk = []", "trunk: [] is no list of VLANs (expected at least one)"),
        ("trunk = [1, 4095]", "trunk[1]: 4095 is no VLAN (expected 1 to 4094)"),
        ("trunk = [\"9-5\"]", "trunk[0]: \"9-5\" names no VLANs (expected \"10\", \"100-199\" or \"all\")"),
        ("trunk = 10", "trunk: 10 is no list of VLANs (expected [10, \"100-199\"] or \"all\")"),
        ("native = 1", "native: only a trunk has a native VLAN (expected `trunk` beside it)"),
        ("mtu = 67", "mtu: 67 is no MTU (expected 68 to 65521)"),
        ("queues = 65", "queues: 65 is no number of queues (expected 1 to 64)"),
        ("isolated = \"yes\"", "isolated: \"yes\" is no boolean (expected true or false)"),
        ("mac = \"02:00\"", "mac: \"02:00\" is no MAC address (expected \"02:00:00:00:00:01\")"),
        ("mac = \"01:00:5e:00:00:01\"", &format!("mac: \"01:00:5e:00:00:01\" {STATION}")),
        ("mac = \"00:00:00:00:00:00\"", &format!("mac: \"00:00:00:00:00:00\" {STATION}")),
        ("address = \"10.9.0.1\"", "address: \"10.9.0.1\" is no address (expected \"10.9.0.1/24\")"),
        (
            "address = [\"fe80::1/64\", \"10.9.0.1/33\"]",
            "address[1]: \"10.9.0.1/33\" is no address (expected \"10.9.0.1/24\")",
        ),
        (
            "owner = \"no such user\"",
            "owner: \"no such user\" is no user (expected a name in /etc/passwd or a number)",
        ),
        ("group = -1", "group: -1 is no group (expected a name in /etc/group or a number)"),
        (
            "netns = \"../x\"",
            "netns: \"../x\" is no network namespace (expected a name as in `ip netns list`, or an absolute path)",
        ),
        ("netns = 1", "netns: 1 is no string (expected \"text\" in quotes)"),
        (
            "device = \"sixteen-bytes-xx\"",
            "device: \"sixteen-bytes-xx\" is no device name (expected 1 to 15 bytes without space, '/', ':' and '%', not all or default)",
        ),
        ("learn-limit = 0", "learn-limit: 0 is no limit (expected 1 to 4000000)"),
        ("storm = 5", "storm: 5 is no table (expected KEY = VALUE pairs)"),
        ("storm.unknown = 0", "storm.unknown: 0 is no rate in frames per second (expected 1 to 4294967295)"),
    ] {
        expect(&tap(key), &[&format!("t.toml:5: port.vm1.{message}")]);
    }
    expect(
        &tap("vlan = 10\ntrunk = [20]"),
        &[
            "t.toml:6: port.vm1.trunk: a port is an access port or a trunk (expected `vlan` or `trunk`, not both)",
        ],
    );
}

#[test]
fn a_long_value_is_cut_and_an_array_names_the_line_of_its_element() {
    let found = errors(&tap(&format!("vlan = \"{}\"", "x".repeat(5000))));
    assert!(found[0].len() < 150, "{found:?}");
    expect(
        &tap("trunk = [\n  10,\n  5000,\n]"),
        &["t.toml:7: port.vm1.trunk[1]: 5000 is no VLAN (expected 1 to 4094)"],
    );
}

#[test]
fn wrong_values_of_switch_and_bridge() {
    expect(
        "[switch]\nworkers = 65\nbusy-poll = \"2s\"\ncontrol = \"\"\n[bridge.lan]\nageing = 300\nfdb-limit = 0\n",
        &[
            "t.toml:2: switch.workers: 65 is no number of workers (expected 1 to 64)",
            "t.toml:3: switch.busy-poll: \"2s\" is no duration (expected \"1ns\" to \"1s\", or \"0s\")",
            "t.toml:4: switch.control: \"\" is no path of a socket (expected 1 to 107 bytes)",
            "t.toml:6: bridge.lan.ageing: 300 is no duration (expected \"1s\" to \"1000000s\", or \"0s\")",
            "t.toml:7: bridge.lan.fdb-limit: 0 is no limit (expected 1 to 4000000)",
        ],
    );
}

#[test]
fn names() {
    expect(
        "[bridge.\"a b\"]\n",
        &["t.toml:1: bridge.a b: \"a b\" is no name (expected 1 to 32 of A-Z a-z 0-9 _ . -)"],
    );
    let long = "a-name-too-long-for-a-device";
    expect(
        &format!("[bridge.lan]\n[port.{long}]\ntype = \"tap\"\nbridge = \"lan\"\n"),
        &[&format!(
            "t.toml:2: port.{long}.device: missing, and \"{long}\" can name no device (expected 1 to 15 bytes)"
        )],
    );
}

#[test]
fn bridges_that_ports_name() {
    expect(&port("tap", ""), &["t.toml:2: port.vm1.bridge: missing (expected the name of a bridge)"]);
    expect(
        &port("netdev", "bridge = \"wan\""),
        &["t.toml:4: port.vm1.bridge: there is no bridge wan (expected one of lan)"],
    );
    expect(
        "[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n",
        &["t.toml:3: port.vm1.bridge: there is no bridge lan (expected a [bridge.lan] table)"],
    );
}

#[test]
fn patch_peers() {
    let patch = |name: &str, peer: &str| {
        format!("[port.{name}]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"{peer}\"\n")
    };
    expect(
        &(patch("a", "a") + "[bridge.lan]\n"),
        &["t.toml:4: port.a.peer: a patch port cannot be its own peer (expected another patch port)"],
    );
    expect(
        &(patch("a", "b") + "[bridge.lan]\n"),
        &["t.toml:4: port.a.peer: there is no port b (expected one of a)"],
    );
    expect(
        &(patch("a", "b")
            + &patch("b", "c")
            + &patch("c", "b").replace("lan", "wan")
            + "[bridge.lan]\n[bridge.wan]\n"),
        &["t.toml:4: port.a.peer: port b names c as its peer (expected patch ports that name each other)"],
    );
    let loops =
        |peer: &str| format!("port {peer} is on bridge lan too: a loop (expected a port of another bridge)");
    expect(
        &(patch("a", "b") + &patch("b", "a") + "[bridge.lan]\n"),
        &[
            &format!("t.toml:4: port.a.peer: {}", loops("b")),
            &format!("t.toml:8: port.b.peer: {}", loops("a")),
        ],
    );
    expect(
        &(patch("a", "vm1") + &tap("")),
        &["t.toml:4: port.a.peer: port vm1 is a tap (expected a patch port)"],
    );
}

#[test]
fn an_mtu_that_ipv6_does_not_take() {
    expect(
        &tap("mtu = 1279\naddress = [\"10.9.0.1/24\", \"fd00::1/64\"]"),
        &["t.toml:5: port.vm1.mtu: 1279 is too little for IPv6 (expected 1280 or more)"],
    );
}

#[test]
fn a_device_that_two_ports_want() {
    let two = |a: &str| {
        format!(
            "[bridge.lan]\n[port.a]\ntype = \"tap\"\nbridge = \"lan\"\n{a}\n\
             [port.b]\ntype = \"netdev\"\nbridge = \"lan\"\ndevice = \"a\"\n"
        )
    };
    expect(
        &two(""),
        &["t.toml:9: port.b.device: device a is that of port a too (expected one port a device)"],
    );
    let apart = Document::parse(&two("netns = \"blue\""), "t").unwrap();
    assert_eq!(apart.to_config().unwrap().ports.len(), 2);
}

#[test]
fn static_entries() {
    let entry = |port_keys: &str, entry: &str| {
        format!("[bridge.wan]\n{}[[fdb]]\nmac = \"02:00:00:00:00:01\"\n{entry}\n", tap(port_keys))
    };
    for (port_keys, keys, error) in [
        ("", "port = \"vm2\"", "9: fdb[0].port: there is no port vm2 (expected one of vm1)"),
        ("", "port = \"vm1\"\nbridge = \"wan\"", "10: fdb[0].bridge: port vm1 is on bridge lan, not on wan"),
        (
            "",
            "port = \"vm1\"\nvlan = 10",
            "10: fdb[0].vlan: port vm1 names no VLANs (expected no `vlan`, not 10)",
        ),
        (
            "vlan = 10",
            "port = \"vm1\"\nvlan = 11",
            "10: fdb[0].vlan: port vm1 is no member of VLAN 11 (it has 10)",
        ),
        (
            "trunk = [10, 20]",
            "port = \"vm1\"",
            "7: fdb[0].vlan: missing: port vm1 is a trunk without native VLAN (expected one of 10,20)",
        ),
        ("", "", "7: fdb[0].port: missing (expected the name of a port)"),
        (
            "",
            "port = \"vm1\"\n[[fdb]]\nmac = \"02-0-0-0-0-1\"\nport = \"vm1\"",
            "11: fdb[1].mac: 02:00:00:00:00:01 has an entry already (expected one)",
        ),
    ] {
        expect(&entry(port_keys, keys), &[&format!("t.toml:{error}")]);
    }
    expect(
        "[port.t]\ntype = \"tun\"\n[[fdb]]\nmac = \"ff:ff:ff:ff:ff:ff\"\nport = \"t\"\n\
         [[fdb]]\nmac = \"02:0:0:0:0:1\"\nport = \"t\"\n",
        &[
            "t.toml:4: fdb[0].mac: \"ff:ff:ff:ff:ff:ff\" is no address of a station (expected \"02:00:00:00:00:01\")",
            "t.toml:8: fdb[1].port: port t is on no bridge (expected a port that is)",
        ],
    );
}

#[test]
fn one_mistake_is_told_once() {
    // The port cannot be read: neither its peer nor the entry behind it is blamed.
    let text = "[bridge.lan]\n[port.a]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"b\"\n[port.b]\ntype = \"pitch\"\n\
                [[fdb]]\nmac = \"02:0:0:0:0:1\"\nport = \"b\"\n";
    let found = errors(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("t.toml:7: port.b.type: "), "{found:?}");
}

#[test]
fn a_value_from_a_command_is_named_by_its_key() {
    let mut document = Document::parse(&tap("vlan = 10"), "t.toml").unwrap();
    document.port_set("vm1", &[("vlan".into(), Some(parse_value("5000")))].into()).unwrap();
    let errors = document.to_config().unwrap_err().to_string();
    assert_eq!(errors, "port.vm1.vlan: 5000 is no VLAN (expected 1 to 4094)");

    let mut document = Document::parse(&tap(""), "t.toml").unwrap();
    document.port_add("vm2", &[("type".into(), Some(parse_value("tap")))].into()).unwrap();
    let errors = document.to_config().unwrap_err().to_string();
    assert_eq!(errors, "port.vm2.bridge: missing (expected the name of a bridge)");
}

/// Whatever the text: a configuration or errors, each of one line; and what is a document prints as one.
fn holds(text: &str) {
    match Document::parse(text, "t.toml") {
        Ok(document) => {
            let printed = document.to_string();
            match document.to_config() {
                Ok(config) => {
                    let again = Document::parse(&printed, "t.toml").and_then(|document| document.to_config());
                    assert_eq!(again, Ok(config), "{text:?} printed as {printed:?}");
                }
                Err(errors) => assert_eq!(errors.to_string().lines().count(), errors.0.len(), "{errors}"),
            }
        }
        Err(errors) => assert_eq!(errors.to_string().lines().count(), errors.0.len().max(1), "{errors}"),
    }
}

/// Pieces that configurations are made of, and some that they are not.
const PIECES: &[&str] = &[
    "[switch]\n",
    "[bridge.lan]\n",
    "[port.a]\n",
    "[port.\"a\\nb\"]\n",
    "[[fdb]]\n",
    "type = \"tap\"\n",
    "type = \"tun\"\n",
    "type = \"patch\"\n",
    "type = \"geneve\"\n",
    "type = \"gre\"\n",
    "vni = 7\n",
    "remotes = [\"10.8.0.2\", \"10.8.0.3\"]\n",
    "accept = \"any\"\n",
    "options = [{ class = 1, type = 1, data = \"00000000\" }]\n",
    "payload = \"ip\"\n",
    "wire = \"a\"\n",
    "remote = \"10.8.0.2\"\n",
    "peer = \"a\"\n",
    "bridge = \"lan\"\n",
    "vlan = 10\n",
    "trunk = [1, \"5-9\"]\n",
    "native = 3\n",
    "mac = \"02:00:00:00:00:01\"\n",
    "port = \"a\"\n",
    "storm = { unknown = 5 }\n",
    "storm.broadcast = 5\n",
    "\"\\u001b\" = 1\n",
    "address = [\"10.9.0.1/24\"]\n",
    "ageing = \"5s\"\n",
    "x = \"\"\"a\nb\"\"\"\n",
    "port = 5\n",
    "vlan = [[[{a = 1}]]]\n",
    "[router.gw]\n",
    "[router.gw.interface.lan]\n",
    "[[router.gw.route]]\n",
    "[[router.gw.nat]]\n",
    "[[rule]]\n",
    "router = \"gw\"\n",
    "action = \"drop\"\n",
    "match = { in = \"lan\" }\n",
    "to = \"10.0.0.0/8\"\n",
    "via = \"10.9.0.2\"\n",
    "blackhole = true\n",
    "type = \"masquerade\"\n",
    "out = \"lan\"\n",
    "policy = { forward = \"drop\" }\n",
    "policy = \"drop\"\n",
    "metrics = \"127.0.0.1:9477\"\n",
    "metrics = \":\"\n",
    "metrics-hosts = [\"a\", \"\"]\n",
    "[mirror.m]\n",
    "ports = [\"a\", \"b\"]\n",
    "to = \"a\"\n",
    "direction = \"in\"\n",
    "filter = \"tcp and (\"\n",
    "filter = \"tcp port 80\"\n",
    "snap = 64\n",
    "vlans = [\"1-4094\"]\n",
    "mirror = true\n",
    "[export.e]\n",
    "protocol = \"sflow\"\n",
    "protocol = \"ipfix\"\n",
    "collector = \"127.0.0.1\"\n",
    "collector = \"[::1]:6343\"\n",
    "sample = 0\n",
    "sample = 4294967295\n",
    "header = -1\n",
    "interval = \"99999999999d\"\n",
    "active = \"1s\"\n",
    "flow-limit = 9223372036854775807\n",
    "= \n",
    "é",
];

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_errors_of_a_line_each(text in any::<String>()) {
        holds(&text);
    }

    #[test]
    fn so_is_any_pile_of_pieces(picks in prop::collection::vec(prop::sample::select(PIECES), 0..16)) {
        holds(&picks.concat());
    }
}
