//! Mirrors: what of a configuration is one, what a person reads where it is wrong, and what a change of one is.

use tapyard::control::config::{Config, Document, MirrorDirection};
use tapyard::control::plan::diff;

fn read(text: &str) -> Result<Config, String> {
    let document = Document::parse(text, "t.toml").and_then(|document| document.to_config());
    document.map_err(|errors| errors.to_string())
}

/// Two ports of a bridge, one of IP packets, and one for copies; what is added begins on line 13.
const PORTS: &str = r#"[bridge.lan]
[port.vm1]
type = "tap"
bridge = "lan"
[port.vm2]
type = "tap"
bridge = "lan"
[port.tun0]
type = "tun"
[port.mon0]
type = "tap"
mirror = true
"#;

#[track_caller]
fn config(more: &str) -> Config {
    let text = format!("{PORTS}{more}");
    read(&text).unwrap_or_else(|errors| panic!("{errors}\nin:\n{text}"))
}

#[track_caller]
fn expect(more: &str, expected: &[&str]) {
    let text = format!("{PORTS}{more}");
    match read(&text) {
        Ok(config) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(errors) => assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "in:\n{text}"),
    }
}

#[test]
fn a_mirror_says_whose_frames_go_where() {
    let all = config(
        "[mirror.m]\nports = [\"vm1\", \"vm2\"]\nbridge = \"lan\"\ndirection = \"in\"\nvlans = [10, \"20-21\"]\n\
         filter = \"tcp port 80\"\nsnap = 128\nto = \"mon0\"\n",
    );
    let mirror = &all.mirrors["m"];
    assert_eq!(mirror.ports.iter().collect::<Vec<_>>(), ["vm1", "vm2"]);
    assert_eq!((mirror.bridge.as_deref(), mirror.direction), (Some("lan"), MirrorDirection::In));
    assert_eq!(mirror.vlans.as_ref().unwrap().to_string(), "10,20,21");
    assert_eq!((mirror.filter.to_string().as_str(), mirror.snap), ("tcp port 80", Some(128)));
    assert!(all.ports["mon0"].mirror && all.ports["mon0"].bridge.is_none());

    let least = config(
        "[mirror.m]\nports = \"vm1,vm2\"\nvlan = 7\nto = \"mon0\"\n[mirror.n]\nbridge = \"lan\"\nto = \"mon0\"\n",
    );
    let mirror = &least.mirrors["m"];
    assert_eq!((mirror.ports.len(), mirror.direction, mirror.snap), (2, MirrorDirection::Both, None));
    assert_eq!(mirror.vlans.as_ref().unwrap().to_string(), "7");
    assert!(mirror.filter.is_all() && least.mirrors["n"].vlans.is_none());
}

#[test]
fn a_port_for_copies_needs_no_mirror_and_may_be_of_any_type_that_sends() {
    for keys in [
        "type = \"netdev\"",
        "type = \"stream\"\nlisten = \"/run/x.sock\"",
        "type = \"vhost-user\"\nlisten = \"/run/x.sock\"",
        "type = \"vxlan\"\nvni = 9\nremotes = \"10.8.0.2\"",
        "type = \"gre\"\nremotes = \"10.8.0.2\"\npayload = \"ip\"",
        "type = \"tun\"",
    ] {
        assert!(config(&format!("[port.x]\nmirror = true\n{keys}\n")).ports["x"].mirror);
    }
    config("[port.ip]\ntype = \"tun\"\nmirror = true\n[mirror.m]\nports = \"tun0\"\nto = \"ip\"\n");
}

#[test]
fn what_is_no_mirror_is_said_with_its_line() {
    expect(
        "[mirror.m]\nto = \"mon0\"\n[mirror.n]\nports = \"vm1\"\nsnapp = 3\n",
        &[
            "t.toml:13: mirror.m.ports: missing (expected `ports`, names of ports, or `bridge`, or both)",
            "t.toml:15: mirror.n.to: missing (expected the name of a port with mirror = true)",
            "t.toml:17: mirror.n.snapp: unknown key `snapp` (did you mean `snap`?)",
        ],
    );
    expect(
        "[mirror.m]\nports = [\"vm1\", \"a b\"]\ndirection = \"up\"\nvlan = 1\nvlans = \"2\"\nsnap = 63\nto = \"mon0\"\n",
        &[
            "t.toml:14: mirror.m.ports[1]: \"a b\" is no name (expected 1 to 32 of A-Z a-z 0-9 _ . -)",
            "t.toml:15: mirror.m.direction: \"up\" is no direction (expected \"both\" or \"in\" or \"out\")",
            "t.toml:17: mirror.m.vlans: is said beside `vlan` (expected one of them)",
            "t.toml:18: mirror.m.snap: 63 is no number of bytes (expected 64 to 65535)",
        ],
    );
    let filter =
        read(&format!("{PORTS}[mirror.m]\nports = \"vm1\"\nfilter = \"tcp prt 80\"\nto = \"mon0\"\n"));
    assert!(filter.unwrap_err().starts_with("t.toml:15: mirror.m.filter: "));
}

#[test]
fn copies_go_to_a_port_of_their_own() {
    for (keys, key, message) in [
        (
            "ports = \"vm1\"\nto = \"vm2\"",
            "15: mirror.m.to",
            "port vm2 is a port on bridge lan like others (expected a port of the mirror's own, with mirror = true)",
        ),
        (
            "ports = \"vm1\"\nto = \"mon1\"",
            "15: mirror.m.to",
            "there is no port mon1 (expected one of mon0, tun0, vm1, vm2)",
        ),
        (
            "ports = \"vm1,mon0\"\nto = \"mon0\"",
            "15: mirror.m.to",
            "port mon0 is one of `ports`: a loop (expected another port)",
        ),
        (
            "ports = \"vm9\"\nto = \"mon0\"",
            "14: mirror.m.ports",
            "there is no port vm9 (expected one of mon0, tun0, vm1, vm2)",
        ),
        (
            "ports = \"tun0\"\nto = \"mon0\"",
            "14: mirror.m.ports",
            "port tun0 carries IP packets, and port mon0 Ethernet frames (expected the same)",
        ),
        (
            "bridge = \"wan\"\nto = \"mon0\"",
            "14: mirror.m.bridge",
            "there is no bridge wan (expected one of lan)",
        ),
    ] {
        expect(&format!("[mirror.m]\n{keys}\n"), &[&format!("t.toml:{key}: {message}")]);
    }
    expect(
        "[port.mon1]\ntype = \"tap\"\nmirror = true\n[mirror.m]\nports = \"mon1\"\nto = \"mon0\"\n",
        &["t.toml:17: mirror.m.ports: port mon1 sends copies itself (expected a port that others use)"],
    );
    expect(
        "[port.t]\ntype = \"tun\"\nmirror = true\n[mirror.m]\nbridge = \"lan\"\nto = \"t\"\n",
        &["t.toml:18: mirror.m.to: port t is a tun of IP packets (expected a port of Ethernet frames)"],
    );
    expect(
        "[port.t]\ntype = \"tun\"\nmirror = true\n[mirror.m]\nports = \"tun0\"\nto = \"t\"\n\
         [router.gw.interface.a]\nport = \"t\"\naddress = \"10.7.0.2/30\"\n",
        &["t.toml:18: mirror.m.to: an interface of a router is on port t (expected a port alone)"],
    );
}

#[test]
fn a_port_for_copies_has_no_keys_of_others() {
    expect(
        "[port.x]\ntype = \"tap\"\nmirror = true\nbridge = \"lan\"\nvlan = 3\n",
        &[
            "t.toml:16: port.x.bridge: `bridge` is of ports that others use (expected none beside mirror = true)",
            "t.toml:17: port.x.vlan: `vlan` is of ports that others use (expected none beside mirror = true)",
        ],
    );
    expect(
        "[port.x]\ntype = \"tun\"\nmirror = true\nwire = \"tun0\"\n",
        &["t.toml:16: port.x.wire: `wire` is of ports that others use (expected none beside mirror = true)"],
    );
    expect(
        "[port.x]\ntype = \"patch\"\npeer = \"y\"\nmirror = true\n[port.y]\ntype = \"patch\"\npeer = \"x\"\nbridge = \"lan\"\n",
        &["t.toml:16: port.x.mirror: what leaves by a patch comes in again (expected another type of port)"],
    );
    expect(
        "[port.x]\ntype = \"tap\"\n",
        &["t.toml:13: port.x.bridge: missing (expected the name of a bridge)"],
    );
}

#[test]
fn there_are_not_too_many() {
    let mirrors: String =
        (0..65).map(|n| format!("[mirror.m{n}]\nports = \"vm1\"\nto = \"mon0\"\n")).collect();
    let errors = read(&format!("{PORTS}{mirrors}")).unwrap_err();
    assert!(errors.contains("65 tables are too many (expected at most 64)"), "{errors}");
}

#[test]
fn a_change_of_a_mirror_touches_no_port() {
    let one = config("[mirror.m]\nports = \"vm1\"\nto = \"mon0\"\n");
    let other = config(
        "[mirror.m]\nports = \"vm1,vm2\"\nvlan = 4\nfilter = \"arp\"\nsnap = 99\nto = \"mon0\"\n[mirror.n]\nbridge = \"lan\"\nto = \"mon0\"\n",
    );
    let lines = |from: &Config, to: &Config| diff(from, to).unwrap().lines();
    assert_eq!(
        lines(&one, &other),
        ["~ mirror m: ports vm1 -> vm1 vm2, vlans - -> 4, filter - -> arp, snap - -> 99", "+ mirror n"]
    );
    let none = config("");
    assert_eq!(lines(&other, &none), ["- mirror m", "- mirror n"]);
    assert!(lines(&one, &one).is_empty());
}

#[test]
fn mirrors_are_edited_and_print_what_reads_the_same() {
    let mut document = Document::parse(PORTS, "t").unwrap();
    let keys = |keys: &[(&str, &str)]| {
        let value = |text: &str| (!text.is_empty()).then(|| tapyard::control::config::parse_value(text));
        keys.iter().map(|(key, text)| (key.to_string(), value(text))).collect()
    };
    document.mirror_add("m", &keys(&[("ports", "vm1,vm2"), ("to", "mon0"), ("snap", "80")])).unwrap();
    assert_eq!(document.mirror_add("m", &keys(&[])).unwrap_err(), "mirror m exists already");
    document.mirror_set("m", &keys(&[("snap", ""), ("filter", "tcp port 80")])).unwrap();
    let config = document.to_config().unwrap();
    assert_eq!((config.mirrors["m"].snap, config.mirrors["m"].ports.len()), (None, 2));
    let again = Document::parse(&document.to_string(), "t").unwrap().to_config().unwrap();
    assert_eq!(again.mirrors, config.mirrors, "{document}");
    document.mirror_del("m").unwrap();
    for refused in [document.mirror_del("m"), document.mirror_set("m", &keys(&[]))] {
        assert_eq!(refused.unwrap_err(), "there is no mirror m");
    }
    assert!(document.to_config().unwrap().mirrors.is_empty());
}
