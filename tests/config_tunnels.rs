//! Tunnel ports: what of a configuration is one, and what a person reads where it is wrong.

use tapyard::control::config::{
    Config, Document, Encapsulation, GeneveOption, PortKind, TunnelConfig, UnderlayConfig, parse_value,
};
use tapyard::packet::Layer;

fn read(text: &str) -> Result<Config, String> {
    let document = Document::parse(text, "t.toml").and_then(|document| document.to_config());
    document.map_err(|errors| errors.to_string())
}

#[track_caller]
fn config(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{errors}\nin:\n{text}"))
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    match read(text) {
        Ok(config) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(errors) => assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "in:\n{text}"),
    }
}

/// A tunnel port `name` of a type on the bridge lan; its keys begin on the fourth line of the table.
fn port(name: &str, kind: &str, keys: &str) -> String {
    format!("[port.{name}]\nbridge = \"lan\"\ntype = \"{kind}\"\n{keys}\n")
}

/// One tunnel port `t`; its keys begin on line 5.
fn one(kind: &str, keys: &str) -> String {
    format!("[bridge.lan]\n{}", port("t", kind, keys))
}

/// One port `t` that carries IP; its keys begin on line 4.
fn ip(kind: &str, keys: &str) -> String {
    format!("[port.t]\ntype = \"{kind}\"\npayload = \"ip\"\n{keys}\n")
}

const VXLAN: &str = "vni = 1\nremotes = \"10.8.0.2\"";

fn tunnel(config: &Config) -> &TunnelConfig {
    config.tunnels().next().expect("there is a tunnel").1
}

/// The underlays of a configuration, by name.
fn underlays(config: &Config) -> Vec<(&str, &UnderlayConfig)> {
    let ports = config.ports.iter();
    ports
        .filter_map(|(name, port)| match &port.kind {
            PortKind::Underlay(underlay) => Some((name.as_str(), underlay)),
            _ => None,
        })
        .collect()
}

fn names(config: &Config) -> Vec<&str> {
    underlays(config).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn defaults() {
    let config = config(&one("vxlan", VXLAN));
    let tunnel = tunnel(&config);
    assert_eq!(tunnel.encapsulation, Encapsulation::Vxlan { vni: 1, strict: false });
    assert_eq!((tunnel.port, tunnel.local.to_string().as_str()), (Some(4789), "0.0.0.0"));
    assert_eq!((tunnel.accept_any, tunnel.mss_clamp, tunnel.split_horizon), (false, false, true));
    let outer = tunnel.outer;
    assert_eq!(
        (outer.tos, outer.ttl, outer.dont_fragment, outer.checksum),
        (Some(0), Some(64), Some(true), true)
    );
    assert_eq!((tunnel.mtu, tunnel.payload), (None, Layer::Ethernet));
    assert_eq!(names(&config), ["udp:0.0.0.0:4789"]);
    for (kind, keys, name) in [
        ("geneve", "vni = 0\nremotes = \"fd00::2\"", "udp:[::]:6081"),
        ("gre", "remotes = \"10.8.0.2\"", "udp:0.0.0.0:4754"),
        ("gre", "remotes = \"10.8.0.2\"\ntransport = \"ip\"\nlocal = \"10.8.0.1\"", "gre:10.8.0.1"),
    ] {
        assert_eq!(names(&self::config(&one(kind, keys))), [name]);
    }
}

#[test]
fn every_key_is_taken() {
    let keys = "vni = 16777215\nlocal = \"10.8.0.1\"\nremotes = [\"10.8.0.2\", \"10.8.0.3\"]\nport = 4790\nnetns = \"blue\"\n\
                accept = \"any\"\ntos = 184\nttl = \"inherit\"\ndf = \"inherit\"\nchecksum = false\nmtu = 1400\n\
                mss-clamp = true\nsplit-horizon = false\nlearning = false\nvlan = 5";
    let vxlan = config(&one("vxlan", &format!("{keys}\nstrict = true")));
    let it = tunnel(&vxlan);
    assert_eq!(it.encapsulation, Encapsulation::Vxlan { vni: 0xff_ffff, strict: true });
    assert_eq!(
        (it.outer.tos, it.outer.ttl, it.outer.dont_fragment, it.outer.checksum),
        (Some(184), None, None, false)
    );
    assert!(it.accept_any && it.mss_clamp && !it.split_horizon);
    assert_eq!((it.mtu, it.port, it.remotes.len()), (Some(1400), Some(4790), 2));
    let [(name, underlay)] = underlays(&vxlan)[..] else { panic!("{vxlan:#?}") };
    assert_eq!(name, "udp:10.8.0.1:4790@blue");
    assert!(underlay.zero_checksum && underlay.interface_of.is_none());

    let options = "options = [{ class = 0x0102, type = 1, data = \"deadBEEF\" }, { class = 3, type = 4, critical = true }]";
    let geneve = config(&one("geneve", &format!("{keys}\n{options}")));
    let Encapsulation::Geneve { options, .. } = &tunnel(&geneve).encapsulation else { panic!("{geneve:#?}") };
    let second = GeneveOption { class: 3, kind: 0x84, data: Vec::new() };
    let first = GeneveOption { class: 0x102, kind: 1, data: vec![0xde, 0xad, 0xbe, 0xef] };
    assert_eq!((options[0].to_string().as_str(), options), ("0102:01:deadbeef", &vec![first, second]));

    let keys = "key = 0xffffffff\nchecksum = true\nsequence = true\nudp-checksum = false\nremotes = \"10.8.0.2\"\ntos = \"inherit\"";
    let gre = config(&one("gre", keys));
    let it = tunnel(&gre);
    assert_eq!(it.encapsulation, Encapsulation::Gre { key: Some(u32::MAX), checksum: true, sequence: true });
    assert_eq!((it.outer.checksum, it.outer.tos), (false, None));
}

#[test]
fn tunnels_at_one_address_and_port_share_an_underlay() {
    let text = format!(
        "[bridge.lan]\n{}{}{}{}{}",
        port("a", "vxlan", "vni = 1\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\""),
        port("b", "vxlan", "vni = 2\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\"\nchecksum = false"),
        port("c", "vxlan", "vni = 1\nlocal = \"10.9.0.1\"\nremotes = \"10.8.0.2\""),
        port("d", "vxlan", "vni = 1\nlocal = \"fd00::1\"\nremotes = \"fd00::2\"\nnetns = \"blue\""),
        port(
            "e",
            "vxlan",
            "vni = 2\nlocal = \"fd00::1\"\nremotes = \"fd00::2\"\nnetns = \"/run/netns/blue\""
        ),
    );
    let config = config(&text);
    assert_eq!(names(&config), ["udp:10.8.0.1:4789", "udp:10.9.0.1:4789", "udp:[fd00::1]:4789@blue"]);
    let zero: Vec<bool> = underlays(&config).iter().map(|(_, underlay)| underlay.zero_checksum).collect();
    assert_eq!(zero, [true, false, false]);
    assert_eq!(config.own_ports().count(), 5);
}

#[test]
fn a_multicast_group_is_heard_by_an_underlay_of_its_own() {
    let group = |local: &str| {
        config(&one("vxlan", &format!("vni = 1\naccept = \"any\"\nremotes = \"239.1.1.1\"\n{local}")))
    };
    let anywhere = group("");
    assert_eq!(names(&anywhere), ["udp:0.0.0.0:4789", "udp:239.1.1.1:4789"]);
    let here = group("local = \"10.8.0.1\"\nchecksum = false");
    let [(own, first), (heard, second)] = underlays(&here)[..] else { panic!("{here:#?}") };
    assert_eq!((own, heard), ("udp:10.8.0.1:4789", "udp:239.1.1.1:4789%10.8.0.1"));
    // Nothing is sent by the second.
    assert_eq!((first.zero_checksum, second.zero_checksum), (true, false));
    assert_eq!((first.interface_of, second.interface_of), (None, Some("10.8.0.1".parse().unwrap())));
    let it = tunnel(&here);
    assert_eq!((it.underlay().as_str(), it.group_underlay().as_deref()), (own, Some(heard)));
}

#[test]
fn wrong_values() {
    let peer = "is no address of a peer (expected \"10.8.0.2\" or \"fd00::2\")";
    let host = "is no IP address (expected \"10.8.0.2\" or \"fd00::2\")";
    for (keys, message) in [
        ("local = \"239.1.1.1\"", "local: \"239.1.1.1\" is no local address (expected \"10.8.0.1\" or \"fd00::1\", an address that this host has)".to_owned()),
        ("local = \"fe80::1\"", "local: \"fe80::1\" is no local address (expected \"10.8.0.1\" or \"fd00::1\", an address that this host has)".to_owned()),
        ("port = 0", "port: 0 is no UDP port (expected 1 to 65535)".to_owned()),
        ("accept = \"all\"", "accept: \"all\" is no way to accept (expected \"remotes\" or \"any\")".to_owned()),
        ("tos = 1", "tos: 1 is no TOS (expected 0 to 252 in steps of 4, since ECN is not to be set, or \"inherit\")".to_owned()),
        ("tos = 256", "tos: 256 is no TOS (expected 0 to 252 in steps of 4, since ECN is not to be set, or \"inherit\")".to_owned()),
        ("ttl = 0", "ttl: 0 is no TTL (expected 1 to 255, or \"inherit\")".to_owned()),
        ("df = 1", "df: 1 is no choice (expected true, false, or \"inherit\")".to_owned()),
        ("checksum = \"inherit\"", "checksum: \"inherit\" is no boolean (expected true or false)".to_owned()),
        ("mtu = 67", "mtu: 67 is no MTU (expected 68 to 65000)".to_owned()),
        ("mtu = 65001", "mtu: 65001 is no MTU (expected 68 to 65000)".to_owned()),
        ("netns = \"\"", "netns: \"\" is no network namespace (expected a name as in `ip netns list`, or an absolute path)".to_owned()),
    ] {
        expect(&one("vxlan", &format!("{keys}\n{VXLAN}")), &[&format!("t.toml:5: port.t.{message}")]);
    }
    for (remotes, message) in [
        ("[]", "missing (expected [\"10.8.0.2\"], or accept = \"any\")".to_owned()),
        ("\"\"", format!("\"\" {host}")),
        ("5", format!("5 {host}")),
        ("\"10.8.0.2/24\"", format!("\"10.8.0.2/24\" {host}")),
        ("\"0.0.0.0\"", format!("\"0.0.0.0\" {peer}")),
        ("\"255.255.255.255\"", format!("\"255.255.255.255\" {peer}")),
        ("\"fe80::2\"", format!("\"fe80::2\" {peer}")),
        ("[\"10.8.0.2\", \"10.8.0.2\"]", "10.8.0.2 is named twice (expected each peer once)".to_owned()),
        ("[\"10.8.0.2\", \"::ffff:10.8.0.2\"]", "10.8.0.2 is named twice (expected each peer once)".to_owned()),
        (
            "[\"10.8.0.2\", \"fd00::2\"]",
            "fd00::2 and 10.8.0.2 are of two families (expected IPv4 or IPv6 addresses alone)".to_owned(),
        ),
        (
            "[\"239.1.1.1\"]",
            "239.1.1.1 is a multicast group, and its members are not known beforehand (expected `accept = \"any\"` beside it)".to_owned(),
        ),
    ] {
        expect(&one("gre", &format!("remotes = {remotes}")), &[&format!("t.toml:5: port.t.remotes: {message}")]);
    }
    expect(
        &one("gre", "remotes = [\"10.8.0.2\", \"x\"]"),
        &[&format!("t.toml:5: port.t.remotes[1]: \"x\" {host}")],
    );
    expect(
        &one("gre", "remotes = [\"239.1.1.1\", \"239.1.1.2\"]\naccept = \"any\""),
        &["t.toml:5: port.t.remotes: 2 of them are multicast groups (expected one at most)"],
    );
    expect(
        &one("gre", "remotes = \"10.8.0.1\"\nlocal = \"10.8.0.1\""),
        &["t.toml:5: port.t.remotes: 10.8.0.1 is the tunnel's own address (expected those of peers)"],
    );
    expect(
        &one("gre", "remotes = \"fd00::2\"\nlocal = \"10.8.0.1\""),
        &[
            "t.toml:5: port.t.remotes: fd00::2 and 10.8.0.1 are of two families (expected IPv4 or IPv6 addresses alone)",
        ],
    );
    expect(
        &one("gre", ""),
        &["t.toml:2: port.t.remotes: missing (expected [\"10.8.0.2\"], or accept = \"any\")"],
    );
    assert!(read(&one("gre", "accept = \"any\"")).is_ok());
}

#[test]
fn keys_of_types() {
    expect(
        &one("vxlan", "remotes = \"10.8.0.2\""),
        &["t.toml:2: port.t.vni: missing (expected 0 to 16777215)"],
    );
    expect(
        &one("geneve", "vni = 0x1000000\nremotes = \"10.8.0.2\""),
        &["t.toml:5: port.t.vni: 16777216 is no VNI (expected 0 to 16777215)"],
    );
    expect(
        &one("vxlan", &format!("{VXLAN}\nkey = 5")),
        &["t.toml:7: port.t.key: `key` is no key of type vxlan (expected on gre only)"],
    );
    for key in ["port = 4754", "udp-checksum = true"] {
        let name = key.split(' ').next().unwrap();
        expect(
            &one("gre", &format!("remotes = \"10.8.0.2\"\ntransport = \"ip\"\n{key}")),
            &[&format!(
                "t.toml:7: port.t.{name}: GRE over IP has no UDP header (expected no `{name}` beside transport = \"ip\")"
            )],
        );
    }
    expect(
        &one("gre", "remotes = \"10.8.0.2\"\ntransport = \"tcp\"\nkey = -1\npayload = \"mpls\""),
        &[
            "t.toml:6: port.t.transport: \"tcp\" is no transport (expected \"udp\" or \"ip\")",
            "t.toml:7: port.t.key: -1 is no key (expected 0 to 4294967295)",
            "t.toml:8: port.t.payload: \"mpls\" is no payload (expected \"ethernet\" or \"ip\")",
        ],
    );
}

#[test]
fn geneve_options() {
    let with =
        |option: &str| one("geneve", &format!("options = [{option}]\nvni = 1\nremotes = \"10.8.0.2\""));
    let data = "is no data of an option (expected \"deadbeef\": 8 hexadecimal digits for each 4 bytes)";
    for (option, message) in [
        ("{ type = 1 }", "class: missing (expected 0 to 65535)".to_owned()),
        ("{ class = 65536, type = 1 }", "class: 65536 is no class (expected 0 to 65535)".to_owned()),
        ("{ class = 1, type = 128 }", "type: 128 is no type of an option (expected 0 to 127)".to_owned()),
        ("{ class = 1, type = 1, data = \"dead\" }", format!("data: \"dead\" {data}")),
        ("{ class = 1, type = 1, data = \"deadbeeg\" }", format!("data: \"deadbeeg\" {data}")),
        ("{ class = 1, type = 1, data = \"éééé\" }", format!("data: \"éééé\" {data}")),
        (
            "{ class = 1, type = 1, critical = 1 }",
            "critical: 1 is no boolean (expected true or false)".to_owned(),
        ),
        (
            "{ class = 1, type = 1, size = 1 }",
            "size: unknown key `size` (expected one of class, type, data, critical)".to_owned(),
        ),
    ] {
        expect(&with(option), &[&format!("t.toml:5: port.t.options[0].{message}")]);
    }
    let long = |bytes: usize| format!("{{ class = 1, type = 1, data = \"{}\" }}", "00".repeat(bytes));
    // More than an option, and more than the header, can hold.
    for options in [long(128), [long(100), long(100)].join(", ")] {
        let errors = read(&with(&options)).unwrap_err();
        assert!(errors.starts_with("t.toml:5: port.t.options: ") && errors.lines().count() == 1, "{errors}");
    }
    assert!(read(&with(&long(124))).is_ok());
}

#[test]
fn tunnels_that_carry_ip_are_on_no_bridge_and_have_one_peer() {
    let good = config(&ip("gre", "remotes = \"10.8.0.2\""));
    assert_eq!((good.ports["t"].bridge.as_deref(), tunnel(&good).payload), (None, Layer::Ip));
    expect(
        &ip("gre", "remotes = \"10.8.0.2\"\nbridge = \"lan\"\nvlan = 5"),
        &[
            "t.toml:5: port.t.bridge: a gre with payload = \"ip\" carries IP, not Ethernet: it belongs to no bridge (expected no `bridge`)",
            "t.toml:6: port.t.vlan: `vlan` is a key of ports that carry Ethernet (expected payload = \"ethernet\" beside it)",
        ],
    );
    expect(
        &one("gre", "remotes = \"10.8.0.2\"\nwire = \"x\""),
        &[
            "t.toml:6: port.t.wire: `wire` is a key of ports that carry IP (expected payload = \"ip\" beside it)",
        ],
    );
    for (remotes, found) in [
        ("remotes = [\"10.8.0.2\", \"10.8.0.3\"]", "2 remotes"),
        ("remotes = \"239.1.1.1\"\naccept = \"any\"", "a multicast group"),
    ] {
        expect(
            &ip("geneve", &format!("{remotes}\nvni = 1")),
            &[&format!("t.toml:4: port.t.remotes: {found} for a tunnel that carries IP (expected one peer)")],
        );
    }
    expect(
        &ip("geneve", "vni = 1\naccept = \"any\""),
        &["t.toml:1: port.t.remotes: 0 remotes for a tunnel that carries IP (expected one peer)"],
    );
}

#[test]
fn wires() {
    let tun = |name: &str, keys: &str| format!("[port.{name}]\ntype = \"tun\"\n{keys}\n");
    let joined = config(&(tun("a", "wire = \"t\"") + &ip("gre", "remotes = \"10.8.0.2\"")));
    assert_eq!(
        (joined.ports["a"].wire.as_deref(), joined.ports["t"].wire.as_deref()),
        (Some("t"), Some("a"))
    );
    let both = tun("a", "wire = \"b\"") + &tun("b", "wire = \"a\"");
    assert_eq!(config(&both), config(&(tun("a", "wire = \"b\"") + &tun("b", ""))));

    expect(
        &tun("a", "wire = \"a\""),
        &["t.toml:3: port.a.wire: a port cannot be joined to itself (expected another port that carries IP)"],
    );
    expect(&tun("a", "wire = \"b\""), &["t.toml:3: port.a.wire: there is no port b (expected one of a)"]);
    expect(
        &(tun("a", "wire = \"t\"") + &one("vxlan", VXLAN)),
        &["t.toml:3: port.a.wire: port t is a vxlan of Ethernet (expected a port that carries IP)"],
    );
    expect(
        &(tun("a", "wire = \"b\"") + &tun("b", "wire = \"c\"") + &tun("c", "")),
        &["t.toml:6: port.b.wire: port b is joined to a already (expected one wire a port)"],
    );
    expect(
        &(tun("a", "wire = \"c\"") + &tun("b", "wire = \"c\"") + &tun("c", "")),
        &["t.toml:6: port.b.wire: port c is joined to a already (expected one wire a port)"],
    );
}

#[test]
fn tunnels_that_would_take_one_anothers_packets() {
    let two = |a: (&str, &str), b: (&str, &str)| {
        format!("[bridge.lan]\n{}{}", port("a", a.0, a.1), port("b", b.0, b.1))
    };
    expect(
        &two(("vxlan", VXLAN), ("geneve", "port = 4789\nvni = 1\nremotes = \"10.8.0.2\"")),
        &["t.toml:10: port.b.port: port a, a vxlan, receives there too (expected another `port` or `local`)"],
    );
    expect(
        &two(("vxlan", VXLAN), ("vxlan", "vni = 2\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\"")),
        &[
            "t.toml:11: port.b.local: port a receives at every address, on the same port (expected `local` on both, or on neither)",
        ],
    );
    expect(
        &two(("vxlan", VXLAN), ("vxlan", "vni = 1\nremotes = [\"10.8.0.3\", \"10.8.0.2\"]")),
        &[
            "t.toml:11: port.b.remotes: port a has 10.8.0.2 for packets with vni 1 too (expected another number, or one port)",
        ],
    );
    expect(
        &two(("gre", "remotes = \"10.8.0.2\""), ("gre", "remotes = \"10.8.0.2\"")),
        &[
            "t.toml:9: port.b.remotes: port a has 10.8.0.2 for packets without key too (expected another number, or one port)",
        ],
    );
    expect(
        &two(
            ("gre", "key = 5\naccept = \"any\""),
            ("gre", "key = 5\naccept = \"any\"\nremotes = \"10.8.0.2\""),
        ),
        &[
            "t.toml:11: port.b.accept: port a takes all packets with key 5 too (expected accept = \"any\" on one)",
        ],
    );
    for (a, b) in [
        (("vxlan", VXLAN), ("vxlan", "vni = 1\nremotes = \"10.8.0.3\"")),
        (("vxlan", VXLAN), ("vxlan", "vni = 2\nremotes = \"10.8.0.2\"")),
        (
            ("vxlan", "vni = 1\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\""),
            ("vxlan", "vni = 1\nlocal = \"10.8.0.7\"\nremotes = \"10.8.0.2\""),
        ),
        (("vxlan", VXLAN), ("vxlan", "port = 4790\nvni = 1\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\"")),
        (("vxlan", VXLAN), ("vxlan", "vni = 1\naccept = \"any\"")),
        (("gre", "remotes = \"10.8.0.2\""), ("gre", "key = 0\nremotes = \"10.8.0.2\"")),
        (("gre", "remotes = \"10.8.0.2\""), ("gre", "transport = \"ip\"\nremotes = \"10.8.0.2\"")),
    ] {
        assert!(read(&two(a, b)).is_ok(), "{a:?} {b:?}");
    }
}

#[test]
fn static_entries_name_a_peer() {
    let entry = |remote: &str| format!("[[fdb]]\nmac = \"02:00:00:00:00:01\"\nport = \"t\"\n{remote}\n");
    let alone = config(&(one("gre", "remotes = \"10.8.0.2\"") + &entry("")));
    assert_eq!(alone.statics[0].remote, Some("10.8.0.2".parse().unwrap()));
    // Its peers may be those of entries alone.
    let far = config(&(one("gre", "") + &entry("remote = \"10.8.0.9\"")));
    assert_eq!(far.peers("t", tunnel(&far)), (vec![], vec!["10.8.0.9".parse().unwrap()]));

    let two = one("gre", "remotes = \"10.8.0.2,10.8.0.3\"");
    expect(
        &(two.clone() + &entry("")),
        &["t.toml:6: fdb[0].remote: missing: port t has 2 remotes (expected the address of a peer)"],
    );
    for (remote, message) in [
        ("239.1.1.1", "239.1.1.1 is a multicast group (expected the address of a peer)"),
        (
            "fd00::2",
            "port t is at 0.0.0.0, of another family than fd00::2 (expected one family, see `local`)",
        ),
    ] {
        expect(
            &(two.clone() + &entry(&format!("remote = \"{remote}\""))),
            &[&format!("t.toml:9: fdb[0].remote: {message}")],
        );
    }
    let tap = "[bridge.lan]\n[port.t]\ntype = \"tap\"\nbridge = \"lan\"\n";
    expect(
        &format!("{tap}{}", entry("remote = \"10.8.0.2\"")),
        &["t.toml:8: fdb[0].remote: port t is a tap (expected no `remote`)"],
    );
}

#[test]
fn a_command_gives_lists_as_toml_or_with_commas() {
    for text in ["[\"10.8.0.2\", \"10.8.0.3\"]", "10.8.0.2,10.8.0.3", "10.8.0.2, 10.8.0.3"] {
        let mut document = Document::parse("[bridge.lan]\n", "t.toml").unwrap();
        let keys =
            [("type", "vxlan"), ("bridge", "lan"), ("vni", "100"), ("remotes", text), ("local", "10.8.0.1")];
        let keys = keys.map(|(key, value)| (key.to_owned(), Some(parse_value(value)))).into();
        document.port_add("site-b", &keys).unwrap();
        let config = document.to_config().unwrap();
        assert_eq!(tunnel(&config).remotes.len(), 2, "{text}");
        assert_eq!(names(&config), ["udp:10.8.0.1:4789"]);
    }
}
