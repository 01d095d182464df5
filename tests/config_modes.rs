//! Modes, uplinks and hairpins as they are configured: what a right file comes to, and what a person reads of a wrong one.

use tapyard::control::config::{Config, Document, parse_value};
use tapyard::control::plan;
use tapyard::switch::mode::Mode;

fn document(text: &str) -> Document {
    Document::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn config(text: &str) -> Config {
    document(text).to_config().unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A port with these keys on one line, so that each port is one line of the file; the first is line 2.
fn ports(ports: &[(&str, &str)]) -> String {
    let port = |(name, keys): &(&str, &str)| {
        let kind = if keys.contains("type =") { "" } else { "type = \"tap\", " };
        let bridge = if keys.contains("bridge =") { "" } else { "bridge = \"lan\", " };
        format!("port.{name} = {{ {kind}{bridge}{keys} }}\n")
    };
    let all: String = ports.iter().map(port).collect();
    format!("bridge.lan = {{}}\n{all}")
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    let errors = document(text).to_config().expect_err(text).to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "in:\n{text}");
}

#[track_caller]
fn warned(text: &str, expected: &[&str]) {
    let warnings = document(text).warnings(&config(text));
    assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "in:\n{text}");
}

const UP: (&str, &str) = ("up", "uplink = true");

#[test]
fn a_port_is_a_bridge_port_unless_it_says_otherwise() {
    let text = ports(&[
        UP,
        ("a", "mtu = 1500"),
        ("b", "mode = \"bridge\", hairpin = true"),
        ("c", "mode = \"private\""),
        ("d", "mode = \"vepa\""),
        ("e", "uplink = false"),
    ]);
    let config = config(&text);
    let modes: Vec<_> =
        config.ports.iter().map(|(name, port)| (name.as_str(), port.mode, port.hairpin)).collect();
    let expected = [
        ("a", Mode::Bridge, false),
        ("b", Mode::Bridge, true),
        ("c", Mode::Private, false),
        ("d", Mode::Vepa, false),
        ("e", Mode::Bridge, false),
        ("up", Mode::Uplink, false),
    ];
    assert_eq!(modes, expected);
    warned(&text, &[]);
}

#[test]
fn wrong_values() {
    expect(
        &ports(&[UP, ("c", "mode = \"macvlan\"")]),
        &["t.toml:3: port.c.mode: \"macvlan\" is no mode \
           (expected \"bridge\" or \"private\" or \"vepa\" or \"passthrough\")"],
    );
    expect(
        &ports(&[("c", "uplink = 1, hairpin = \"on\"")]),
        &[
            "t.toml:2: port.c.uplink: 1 is no boolean (expected true or false)",
            "t.toml:2: port.c.hairpin: \"on\" is no boolean (expected true or false)",
        ],
    );
    expect(
        &ports(&[("t", "type = \"tun\", mode = \"vepa\"")]).replace("bridge = \"lan\", ", ""),
        &["t.toml:2: port.t.mode: `mode` is no key of type tun \
           (expected on tap, netdev, stream, dgram, vhost-user, patch, vxlan, geneve or gre only)"],
    );
}

#[test]
fn modes_need_an_uplink_on_their_bridge() {
    let text = ports(&[
        ("a", "mode = \"private\""),
        ("b", "mode = \"vepa\""),
        ("c", "mode = \"passthrough\", bridge = \"dmz\""),
        UP,
    ]);
    let text = text.replace("bridge.lan = {}\n", "bridge.lan = {}\nbridge.dmz = {}\n");
    expect(
        &text,
        &["t.toml:5: port.c.mode: passthrough without uplink: bridge dmz has none \
           (expected uplink = true on the port of it that leads outside)"],
    );
    expect(
        &ports(&[("a", "mode = \"private\""), ("b", "mode = \"vepa\"")]),
        &[
            "t.toml:2: port.a.mode: private without uplink: bridge lan has none \
             (expected uplink = true on the port of it that leads outside)",
            "t.toml:3: port.b.mode: vepa without uplink: bridge lan has none \
             (expected uplink = true on the port of it that leads outside)",
        ],
    );
    // The port that could not be read may be the uplink.
    expect(
        &ports(&[("a", "mode = \"private\""), ("up", "uplink = true, mtu = 1")]),
        &["t.toml:3: port.up.mtu: 1 is no MTU (expected 68 to 65521)"],
    );
}

#[test]
fn what_contradicts_itself() {
    expect(
        &ports(&[("up", "uplink = true, mode = \"bridge\"")]),
        &[
            "t.toml:2: port.up.mode: an uplink has no mode: all talk to it (expected `mode` or uplink = true, not both)",
        ],
    );
    for mode in ["private", "vepa"] {
        expect(
            &ports(&[UP, ("c", &format!("mode = \"{mode}\", learning = false"))]),
            &[&format!(
                "t.toml:3: port.c.learning: false: what comes back by an uplink could not be told from what is new \
                 (expected true, as mode is \"{mode}\")"
            )],
        );
    }
    for mode in ["private", "vepa", "passthrough"] {
        expect(
            &ports(&[UP, ("c", &format!("mode = \"{mode}\", hairpin = true"))]),
            &[&format!(
                "t.toml:3: port.c.hairpin: a {mode} port is reached from uplinks only (expected mode = \"bridge\" beside it)"
            )],
        );
    }
    expect(
        &ports(&[("t", "type = \"vxlan\", vni = 7, remotes = \"10.8.0.2\", hairpin = true")]),
        &["t.toml:2: port.t.hairpin: a tunnel sends nothing back to its peer (expected no `hairpin`)"],
    );
    let text = ports(&[
        ("p", "type = \"patch\", peer = \"q\", hairpin = true"),
        ("q", "type = \"patch\", peer = \"p\", hairpin = true, bridge = \"dmz\""),
    ]);
    expect(
        &text.replace("bridge.lan = {}\n", "bridge.lan = {}\nbridge.dmz = {}\n"),
        &[
            "t.toml:3: port.p.hairpin: port q, the other end, has it too: a loop (expected it on one end)",
            "t.toml:4: port.q.hairpin: port p, the other end, has it too: a loop (expected it on one end)",
        ],
    );
}

const PASS: (&str, &str) = ("c", "mode = \"passthrough\", learning = false");

#[test]
fn a_passthrough_port_has_one_uplink_and_nobody_else() {
    warned(&ports(&[PASS, UP]), &[]);
    let beside = |line: u32, name: &str| {
        format!(
            "t.toml:{line}: port.{name}.bridge: lan is that of port c, which is passthrough \
             (expected that port and one uplink on it, and no other)"
        )
    };
    expect(&ports(&[PASS, UP, ("x", "mtu = 1500")]), &[&beside(4, "x")]);
    expect(&ports(&[PASS, UP, ("x", "mode = \"private\"")]), &[&beside(4, "x")]);
    expect(&ports(&[PASS, UP, ("d", "mode = \"passthrough\"")]), &[&beside(4, "d")]);
    expect(&ports(&[PASS, UP, ("up2", "uplink = true")]), &[&beside(4, "up2")]);
    expect(
        &ports(&[PASS, UP, ("x", "mtu = 1500"), ("up2", "uplink = true")]),
        &[&beside(4, "x"), &beside(5, "up2")],
    );
}

#[test]
fn a_passthrough_bridge_is_nothing_but_a_wire() {
    let vlans = "which passes all tags unread (expected no VLANs)";
    expect(
        &ports(&[
            ("c", "mode = \"passthrough\", vlan = 10"),
            ("up", "uplink = true, trunk = [10], hairpin = true"),
        ]),
        &[
            &format!("t.toml:2: port.c.vlan: bridge lan has a passthrough port, c, {vlans}"),
            &format!("t.toml:3: port.up.trunk: bridge lan has a passthrough port, c, {vlans}"),
            "t.toml:3: port.up.hairpin: bridge lan has a passthrough port, c: what comes in leaves by the other (expected no `hairpin`)",
        ],
    );
    let knows = "bridge lan has a passthrough port, c: it learns and knows nothing";
    let more = "[[fdb]]\nmac = \"02:00:00:00:00:01\"\nport = \"c\"\n\
                [router.gw.interface.lan]\nbridge = \"lan\"\naddress = \"10.9.0.1/24\"\n";
    let text =
        ports(&[PASS, UP]).replace("bridge.lan = {}", "bridge.lan = { neighbor-suppression = true }") + more;
    expect(
        &text,
        &[
            &format!("t.toml:1: bridge.lan.neighbor-suppression: {knows} (expected false)"),
            &format!("t.toml:6: fdb[0].port: {knows} (expected no [[fdb]] there)"),
            "t.toml:8: router.gw.interface.lan.bridge: lan has a passthrough port, c, and hands nothing over (expected another bridge)",
        ],
    );
}

#[test]
fn doubtful_combinations_are_warned_of() {
    warned(
        &ports(&[("up", "uplink = true, hairpin = true")]),
        &[
            "t.toml:2: port.up.hairpin: warning: on an uplink: facing another switch that reflects, frames go to and fro for ever",
        ],
    );
    warned(
        &ports(&[
            UP,
            ("a", "mode = \"private\", isolated = true"),
            ("b", "mode = \"vepa\", isolated = true"),
        ]),
        &[
            "t.toml:3: port.a.isolated: warning: a private port is kept apart from all but uplinks as it is",
            "t.toml:4: port.b.isolated: warning: what isolated ports send each other is dropped, reflected or not",
        ],
    );
    warned(
        &ports(&[("up", "uplink = true, isolated = true"), ("c", "mode = \"passthrough\", isolated = true")]),
        &["t.toml:3: port.c.isolated: warning: so are the uplinks: nothing passes"],
    );
    warned(
        &ports(&[
            ("up", "uplink = true, trunk = [10, 20]"),
            ("a", "mode = \"vepa\", vlan = 10"),
            ("b", "mode = \"vepa\", vlan = 30"),
        ]),
        &["t.toml:4: port.b.vlan: warning: no uplink of bridge lan has VLAN 30: nothing passes"],
    );
    // A port that names no VLAN is in VLAN 1.
    warned(&ports(&[UP, ("a", "mode = \"vepa\", vlan = 1")]), &[]);
}

#[test]
fn changes_are_planned_key_by_key_and_reopen_nothing() {
    let before = ports(&[UP, ("c", "mtu = 1500")]);
    for (key, value, line) in [
        ("mode", "vepa", "~ port c: mode bridge -> vepa\n"),
        ("mode", "private", "~ port c: mode bridge -> private\n"),
        ("hairpin", "true", "~ port c: hairpin false -> true\n"),
        ("uplink", "true", "~ port c: uplink false -> true\n"),
        ("mode", "bridge", ""),
    ] {
        let mut after = document(&before);
        after.port_set("c", &[(key.to_owned(), Some(parse_value(value)))].into()).expect("there is a port c");
        let plan = plan::diff(&config(&before), &after.to_config().expect("it is right")).expect("it can be");
        assert_eq!(plan.to_string(), line);
    }
    let both = plan::diff(
        &config(&ports(&[UP, ("c", "mode = \"private\"")])),
        &config(&ports(&[UP, ("c", "uplink = true")])),
    );
    assert_eq!(
        both.expect("it can be").to_string(),
        "~ port c: uplink false -> true, mode private -> bridge\n"
    );
}
