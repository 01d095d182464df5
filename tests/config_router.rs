//! Routers: what of a configuration is one, and what a person reads where it is wrong or doubtful.

use std::net::IpAddr;
use std::time::Duration;

use tapyard::control::config::{
    Action, Config, Document, Filtering, FlowState, Hook, Mapping, NatKind, On, Policy, Prefix, ReversePath,
    RouteKind, Scope, Transport,
};

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

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: ip(address), length: length.parse().unwrap() }
}

/// A bridge with a tap, a tun, and a router between them; what is added begins on line 14.
const GATEWAY: &str = r#"[bridge.lan]
[port.vm1]
type = "tap"
bridge = "lan"
[port.tun0]
type = "tun"
[router.gw]
[router.gw.interface.lan]
bridge = "lan"
address = ["10.9.0.254/24", "fd00:9::fe/64"]
[router.gw.interface.wan]
port = "tun0"
address = "10.7.0.2/30"
"#;

fn with(more: &str) -> String {
    format!("{GATEWAY}{more}\n")
}

/// The keys of the interface lan, which begin on line 9, in place of its address.
fn lan(keys: &str) -> String {
    GATEWAY.replace("address = [\"10.9.0.254/24\", \"fd00:9::fe/64\"]", keys)
}

#[test]
fn the_example_of_a_whole_gateway_is_read() {
    let text = with(
        r#"
        [[router.gw.route]]
        to = "0.0.0.0/0"
        via = "10.7.0.1"
        [[router.gw.nat]]
        type = "masquerade"
        out = "wan"
        [[router.gw.nat]]
        type = "port-forward"
        in = "wan"
        protocol = "tcp"
        port = 8080
        to = "10.9.0.2:80"
        [[rule]]
        router = "gw"
        hook = "forward"
        match = { in = "lan", protocol = "tcp", destination = "10.0.0.0/8", destination-port = [22, 443], state = ["new"] }
        action = "drop"
        comment = "no ssh from guests""#,
    );
    let config = config(&text);
    let gw = &config.routers["gw"];
    assert_eq!(gw.interfaces["lan"].on, On::Bridge { bridge: "lan".into(), vlan: None });
    assert_eq!(gw.interfaces["lan"].address, [(ip("10.9.0.254"), 24), (ip("fd00:9::fe"), 64)]);
    assert_eq!(gw.interfaces["wan"].on, On::Port("tun0".into()));
    assert_eq!((gw.routes[0].to, gw.routes[0].via.as_slice()), (prefix("0.0.0.0/0"), &[ip("10.7.0.1")][..]));
    assert_eq!(gw.nat[0].kind, NatKind::Masquerade { out: "wan".into(), ports: None });
    let forward = NatKind::PortForward {
        input: "wan".into(),
        protocols: vec![Transport::Tcp],
        ports: 8080..=8080,
        to: vec![(ip("10.9.0.2"), Some(80))],
    };
    assert_eq!(gw.nat[1].kind, forward);
    let rule = &config.rules[0];
    assert_eq!(
        (&rule.scope, rule.hook, rule.action),
        (&Scope::Router("gw".into()), Hook::Forward, Action::Drop)
    );
    let matches = &rule.matches;
    assert_eq!((matches.input.as_slice(), matches.protocols.as_slice()), (&["lan".to_owned()][..], &[6][..]));
    assert_eq!(matches.destination, [ip("10.0.0.0")..=ip("10.255.255.255")]);
    assert_eq!(
        (matches.destination_ports.as_slice(), matches.states.as_slice()),
        (&[22..=22, 443..=443][..], &[FlowState::New][..])
    );
    assert_eq!(
        rule.to_string(),
        "router gw forward: in lan protocol tcp destination 10.0.0.0/8 destination-port 22,443 state new: drop \
         (no ssh from guests)"
    );
}

#[test]
fn defaults() {
    let config = config(GATEWAY);
    let gw = &config.routers["gw"];
    assert_eq!(
        (gw.sessions, gw.sessions_per_source, gw.neighbor_limit, gw.icmp_rate),
        (65_536, 16_384, 1024, 1000)
    );
    assert_eq!((gw.mapping, gw.filtering), (Mapping::EndpointIndependent, Filtering::AddressDependent));
    assert_eq!(gw.policies, [Policy::Accept; 5]);
    let secs = Duration::from_secs;
    let t = gw.timeouts;
    assert_eq!((t.udp, t.udp_unreplied, t.tcp_established), (secs(300), secs(120), secs(7440)));
    assert_eq!(
        (t.tcp_half_open, t.tcp_closing, t.icmp, t.other),
        (secs(240), secs(240), secs(60), secs(600))
    );
    let lan = &gw.interfaces["lan"];
    assert_eq!((lan.mtu, lan.reverse_path, &lan.advertise), (None, ReversePath::Off, &None));
    assert_eq!(config.bridges["lan"].policy, Policy::Accept);
    let quarter = self::config("[router.a]\nsessions = 1000\n");
    assert_eq!(quarter.routers["a"].sessions_per_source, 250);
}

#[test]
fn every_key_of_a_router_is_taken() {
    let text = GATEWAY.replace(
        "[router.gw]\n",
        "[router.gw]\nsessions = 1000\nsessions-per-source = 100\nmapping = \"address-and-port-dependent\"\n\
         filtering = \"endpoint-independent\"\nneighbor-limit = 16\nicmp-rate = 0\npolicy.forward = \"drop\"\n\
         timeout = { udp = \"10m\", udp-unreplied = \"121s\", tcp-established = \"2h\", tcp-half-open = \"241s\", \
         tcp-closing = \"242s\", icmp = \"61s\", other = \"1s\" }\n",
    );
    // Two hours are four minutes too few.
    expect(
        &text,
        &[
            "t.toml:15: router.gw.timeout.tcp-established: \"2h\" is too short (expected \"7440s\" or more, as RFC 5382, REQ-5)",
        ],
    );
    let text = text.replace("\"2h\"", "\"3h\"")
        + "[router.gw.interface.lan.advertise]\nlifetime = \"0s\"\ninterval = \"30s\"\ndns = [\"fd00:9::53\"]\nmanaged = true\n";
    let config = config(&text);
    let gw = &config.routers["gw"];
    assert_eq!((gw.sessions, gw.sessions_per_source, gw.neighbor_limit, gw.icmp_rate), (1000, 100, 16, 0));
    assert_eq!(
        (gw.mapping, gw.filtering),
        (Mapping::AddressAndPortDependent, Filtering::EndpointIndependent)
    );
    assert_eq!((gw.policy(Hook::Forward), gw.policy(Hook::Input)), (Policy::Drop, Policy::Accept));
    assert_eq!((gw.timeouts.udp, gw.timeouts.other), (Duration::from_secs(600), Duration::from_secs(1)));
    let advertise = gw.interfaces["lan"].advertise.as_ref().unwrap();
    assert_eq!((advertise.lifetime, advertise.interval), (Duration::ZERO, Duration::from_secs(30)));
    assert_eq!(advertise.prefixes, [prefix("fd00:9::/64")]);
    assert!(advertise.managed && !advertise.other && advertise.dns.len() == 1);
}

#[test]
fn advertisements() {
    let advertise = |keys: &str| with(&format!("[router.gw.interface.lan.advertise]\n{keys}"));
    let plain = config(&advertise(""));
    let it = plain.routers["gw"].interfaces["lan"].advertise.clone().unwrap();
    assert_eq!((it.interval, it.lifetime), (Duration::from_secs(600), Duration::from_secs(1800)));
    for (keys, message) in [
        ("interval = \"3s\"", "interval: \"3s\" is no duration (expected \"4s\" to \"1800s\", or \"0s\")"),
        ("interval = \"0s\"", "interval: \"0s\" is no interval (expected \"4s\" to \"1800s\")"),
        (
            "lifetime = \"599s\"",
            "lifetime: \"599s\" is no duration (expected \"600s\" to \"9000s\", or \"0s\")",
        ),
        (
            "prefixes = \"10.9.0.0/24\"",
            "prefixes: \"10.9.0.0/24\" is no IPv6 network that hosts can be in (expected \"fd00:9::/64\")",
        ),
        ("dns = \"10.9.0.1\"", "dns: \"10.9.0.1\" is no IPv6 address (expected \"fd00:9::2\")"),
    ] {
        expect(&advertise(keys), &[&format!("t.toml:15: router.gw.interface.lan.advertise.{message}")]);
    }
    expect(
        &with("advertise = {}"),
        &[
            "t.toml:14: router.gw.interface.wan.advertise: a port that carries IP has no hosts to tell (expected only on an interface of a bridge)",
        ],
    );
}

#[test]
fn values_of_a_router() {
    for (keys, message) in [
        ("sessions = 15", "sessions: 15 is no limit (expected 16 to 16000000)"),
        ("sessions-per-source = 65537", "sessions-per-source: 65537 is no limit (expected 1 to 65536)"),
        (
            "mapping = \"x\"",
            "mapping: \"x\" is no mapping (expected \"endpoint-independent\" or \"address-and-port-dependent\")",
        ),
        ("neighbor-limit = 0", "neighbor-limit: 0 is no limit (expected 16 to 1000000)"),
        ("icmp-rate = -1", "icmp-rate: -1 is no rate in packets per second (expected 0 to 1000000)"),
        (
            "policy.forward = \"reject\"",
            "policy.forward: \"reject\" is no policy (expected \"accept\" or \"drop\")",
        ),
        (
            "policy.fwd = \"drop\"",
            "policy.fwd: unknown key `fwd` (expected one of prerouting, input, forward, output, postrouting)",
        ),
        ("policy = \"drop\"", "policy: \"drop\" is no table (expected KEY = VALUE pairs)"),
        (
            "timeout.udp = \"119s\"",
            "timeout.udp: \"119s\" is too short (expected \"120s\" or more, as RFC 4787, REQ-5)",
        ),
        (
            "timeout.icmp = \"59s\"",
            "timeout.icmp: \"59s\" is too short (expected \"60s\" or more, as RFC 5508, REQ-1)",
        ),
        (
            "timeout.tcp-closing = \"239s\"",
            "timeout.tcp-closing: \"239s\" is too short (expected \"240s\" or more, as RFC 5382, REQ-5)",
        ),
        ("timeout.other = \"0s\"", "timeout.other: \"0s\" is too short (expected \"1s\" or more)"),
        (
            "timeout.udp = \"300h\"",
            "timeout.udp: \"300h\" is no duration (expected \"120s\" to \"1000000s\")",
        ),
        ("route = 5", "route: 5 is no array of tables (expected [[route]])"),
        ("rotue = []", "rotue: unknown key `rotue` (did you mean `route`?)"),
    ] {
        expect(&format!("[router.gw]\n{keys}\n"), &[&format!("t.toml:2: router.gw.{message}")]);
    }
    expect(
        "[router.\"a b\"]\n",
        &["t.toml:1: router.a b: \"a b\" is no name (expected 1 to 32 of A-Z a-z 0-9 _ . -)"],
    );
}

#[test]
fn addresses_of_an_interface() {
    let own = "(expected \"10.9.0.1/24\" or \"fd00:9::1/64\")";
    for (address, message) in [
        ("\"10.9.0.1\"", format!("\"10.9.0.1\" is no address with its prefix length {own}")),
        ("\"10.9.0.1/33\"", format!("\"10.9.0.1/33\" is no address with its prefix length {own}")),
        (
            "\"::ffff:10.9.0.1/120\"",
            format!("\"::ffff:10.9.0.1/120\" is no address with its prefix length {own}"),
        ),
        ("\"127.0.0.1/8\"", format!("\"127.0.0.1/8\" is no address of a host {own}")),
        ("\"224.0.0.5/24\"", format!("\"224.0.0.5/24\" is no address of a host {own}")),
        ("\"0.0.0.0/0\"", format!("\"0.0.0.0/0\" is no address of a host {own}")),
        ("\"ff02::1/64\"", format!("\"ff02::1/64\" is no address of a host {own}")),
        (
            "\"10.9.0.0/24\"",
            "\"10.9.0.0/24\" is the address of a network (expected that of a host)".to_owned(),
        ),
        (
            "\"10.9.0.255/24\"",
            "\"10.9.0.255/24\" is the broadcast address of its network (expected that of a host)".to_owned(),
        ),
        (
            "\"fd00::/64\"",
            "\"fd00::/64\" is the anycast address of its network's routers (expected that of a host)"
                .to_owned(),
        ),
        ("[]", "[] is empty (expected at least one)".to_owned()),
    ] {
        expect(
            &lan(&format!("address = {address}")),
            &[&format!("t.toml:10: router.gw.interface.lan.address: {message}")],
        );
    }
    expect(
        &lan("address = [\"10.9.0.1/24\", \"10.8.0.0/24\"]"),
        &[
            "t.toml:10: router.gw.interface.lan.address[1]: \"10.8.0.0/24\" is the address of a network (expected that of a host)",
        ],
    );
    // Two addresses are two hosts (RFC 3021, RFC 6164), and one is one.
    for good in
        ["10.9.0.0/31", "10.9.0.255/32", "fd00::/127", "fd00::/128", "fe80::1/64", "10.9.0.1/24, 10.9.0.2/24"]
    {
        config(&lan(&format!("address = \"{good}\"")));
    }
    expect(
        &lan("address = \"10.9.0.1/24, 10.9.0.1/25\""),
        &["t.toml:10: router.gw.interface.lan.address: 10.9.0.1 is named twice (expected each address once)"],
    );
    expect(
        &lan(""),
        &[
            "t.toml:8: router.gw.interface.lan.address: missing (expected \"10.9.0.1/24\"; only an interface at a port needs none)",
        ],
    );
    config(&GATEWAY.replace("address = \"10.7.0.2/30\"\n", ""));
    expect(
        &lan("address = \"fd00::1/64\"\nmtu = 1279"),
        &["t.toml:11: router.gw.interface.lan.mtu: 1279 is too little for IPv6 (expected 1280 or more)"],
    );
    expect(
        &lan("address = \"10.9.0.1/24\"\nreverse-path = true"),
        &[
            "t.toml:11: router.gw.interface.lan.reverse-path: true is no choice (expected \"off\" or \"loose\" or \"strict\")",
        ],
    );
}

#[test]
fn networks_of_a_router_are_apart() {
    for (address, length) in [("10.7.0.5", 24), ("10.7.0.1", 32), ("10.7.0.1", 30)] {
        let errors = read(&lan(&format!("address = \"{address}/{length}\""))).unwrap_err();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(
            errors.contains(" overlaps 10.7.0.") && errors.contains("(expected a network of its own)"),
            "{errors}"
        );
    }
    expect(
        &lan("address = \"10.7.0.9/24\""),
        &[
            "t.toml:13: router.gw.interface.wan.address: 10.7.0.2/30 overlaps 10.7.0.9/24 of interface lan (expected a network of its own)",
        ],
    );
    // Networks of one interface may hold each other, link-local ones are everywhere, and other routers are other worlds.
    config(&lan("address = [\"10.0.0.1/16\", \"10.0.1.1/24\"]"));
    let local =
        lan("address = \"fe80::1/64\"").replace("\"10.7.0.2/30\"", "[\"10.7.0.2/30\", \"fe80::1/64\"]");
    config(&local);
    config(&with(
        "[port.tun1]\ntype = \"tun\"\n[router.lab.interface.a]\nport = \"tun1\"\naddress = \"10.9.0.254/24\"",
    ));
}

#[test]
fn places_of_interfaces() {
    let interface = |keys: &str| with(&format!("[router.gw.interface.x]\naddress = \"10.1.0.1/24\"\n{keys}"));
    for (keys, line, message) in [
        ("", 14, "bridge: missing (expected the name of a bridge, or `port` and that of a port)"),
        (
            "bridge = \"lan\"\nport = \"tun0\"",
            17,
            "port: an interface is on a bridge or at a port (expected `bridge` or `port`, not both)",
        ),
        (
            "port = \"tun0\"\nvlan = 5",
            17,
            "vlan: a port that carries IP has no VLANs (expected no `vlan` beside `port`)",
        ),
        ("bridge = \"wan\"", 16, "bridge: there is no bridge wan (expected one of lan)"),
        ("port = \"tun9\"", 16, "port: there is no port tun9 (expected one of tun0, vm1)"),
        (
            "port = \"vm1\"",
            16,
            "port: port vm1 is a tap of Ethernet (expected a port that carries IP, or `bridge` and that of the port)",
        ),
        (
            "port = \"tun0\"",
            16,
            "port: interface wan of router gw is on port tun0 already (expected one alone)",
        ),
        (
            "bridge = \"lan\"",
            16,
            "bridge: interface lan of router gw is on bridge lan already (expected one alone)",
        ),
    ] {
        expect(&interface(keys), &[&format!("t.toml:{line}: router.gw.interface.x.{message}")]);
    }
    for wire in [
        "[port.a]\ntype = \"tun\"\nwire = \"b\"\n[port.b]\ntype = \"tun\"\n",
        "[port.b]\ntype = \"tun\"\nwire = \"a\"\n[port.a]\ntype = \"tun\"\n",
    ] {
        let text = format!("{wire}[router.r.interface.x]\nport = \"a\"\n");
        let errors = read(&text).unwrap_err();
        assert_eq!(
            errors,
            "t.toml:7: router.r.interface.x.port: port a is joined to b by a wire (expected a port without `wire`)"
        );
    }
    // A place is of one router alone, too.
    expect(
        &with("[router.lab.interface.x]\nport = \"tun0\""),
        &[
            "t.toml:15: router.lab.interface.x.port: interface wan of router gw is on port tun0 already (expected one alone)",
        ],
    );
}

#[test]
fn vlans_of_interfaces() {
    let bridge = |port: &str, keys: &str| {
        format!(
            "[bridge.lan]\n[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n{port}\n[router.gw.interface.a]\nbridge = \"lan\"\naddress = \"10.1.0.1/24\"\n{keys}\n"
        )
    };
    let it = config(&bridge("trunk = [10, 20]", "vlan = 10"));
    assert_eq!(it.routers["gw"].interfaces["a"].on.to_string(), "bridge lan vlan 10");
    expect(
        &bridge("trunk = [10, 20]", ""),
        &[
            "t.toml:6: router.gw.interface.a.vlan: missing: bridge lan tells VLANs apart (expected the one that it is in)",
        ],
    );
    expect(
        &bridge("", "vlan = 10"),
        &[
            "t.toml:9: router.gw.interface.a.vlan: no port of bridge lan names VLANs (expected no `vlan`, or one of them with `vlan` or `trunk`, not 10 here alone)",
        ],
    );
    // One mistake is told once.
    expect(
        &bridge("vlan = 5000", "vlan = 10"),
        &["t.toml:5: port.vm1.vlan: 5000 is no VLAN (expected 1 to 4094)"],
    );
}

fn route(keys: &str) -> String {
    with(&format!("[[router.gw.route]]\n{keys}"))
}

#[test]
fn routes() {
    for (keys, text) in [
        ("to = \"default\"\nvia = \"10.7.0.1\"", "0.0.0.0/0 via 10.7.0.1"),
        ("to = \"default\"\nvia = \"fd00:9::1\"", "::/0 via fd00:9::1"),
        (
            "to = \"10.0.0.0/8\"\nvia = [\"10.7.0.1\", \"10.9.0.1\"]\nmetric = 5",
            "10.0.0.0/8 via 10.7.0.1,10.9.0.1 metric 5",
        ),
        ("to = \"10.0.0.7\"\nvia = \"10.7.0.1,10.9.0.1\"", "10.0.0.7/32 via 10.7.0.1,10.9.0.1"),
        ("to = \"10.0.0.0/8\"\ninterface = \"wan\"", "10.0.0.0/8 interface wan"),
        ("to = \"fd01::/16\"\nvia = \"fe80::1\"\ninterface = \"lan\"", "fd01::/16 via fe80::1 interface lan"),
        // At the other end of a port is whoever is there.
        (
            "to = \"10.0.0.0/8\"\nvia = \"192.0.2.1\"\ninterface = \"wan\"",
            "10.0.0.0/8 via 192.0.2.1 interface wan",
        ),
        ("to = \"10.0.0.0/8\"\nblackhole = true\nmetric = 9", "10.0.0.0/8 blackhole metric 9"),
        ("to = \"10.0.0.0/8\"\nunreachable = true", "10.0.0.0/8 unreachable"),
        ("to = \"10.0.0.0/8\"\nprohibit = true\nblackhole = false", "10.0.0.0/8 prohibit"),
    ] {
        assert_eq!(config(&route(keys)).routers["gw"].routes[0].to_string(), text);
    }
    let kinds = config(&route("to = \"default\"\nvia = \"10.7.0.1\"")).routers["gw"].routes[0].kind;
    assert_eq!(kinds, RouteKind::Unicast);
}

#[test]
fn routes_that_are_wrong() {
    let network = "(expected \"10.0.0.0/8\" or \"fd00::/8\")";
    for (keys, line, message) in [
        ("via = \"10.7.0.1\"", 14, "to: missing (expected a network, or \"default\")".to_owned()),
        ("to = 5\nvia = \"10.7.0.1\"", 15, format!("to: 5 is no network {network}")),
        ("to = \"10.0.0.5/8\"\nvia = \"10.7.0.1\"", 15, "to: \"10.0.0.5/8\" is no network (expected \"10.0.0.0/8\", or \"10.0.0.5\" alone)".to_owned()),
        ("to = \"224.0.0.0/4\"\nvia = \"10.7.0.1\"", 15, "to: \"224.0.0.0/4\" is no network to route to (expected one of hosts elsewhere)".to_owned()),
        ("to = \"127.0.0.0/8\"\nvia = \"10.7.0.1\"", 15, "to: \"127.0.0.0/8\" is no network to route to (expected one of hosts elsewhere)".to_owned()),
        ("to = \"default\"\ninterface = \"wan\"", 15, "to: \"default\" is of IPv4 or of IPv6 (expected \"0.0.0.0/0\" or \"::/0\", or `via` beside it)".to_owned()),
        ("to = \"10.0.0.0/8\"", 14, "via: missing (expected \"10.7.0.1\", `interface`, or `blackhole = true`)".to_owned()),
        ("to = \"default\"\nvia = \"x\"", 16, "via: \"x\" is no IP address (expected \"10.9.0.2\" or \"fd00:9::2\")".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"fd00:9::1\"", 16, "via: fd00:9::1 is no next hop to 10.0.0.0/8 (expected an IPv4 address)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = [\"10.7.0.1\", \"10.7.0.1\"]", 16, "via: 10.7.0.1 is named twice (expected each next hop once)".to_owned()),
        ("to = \"10.0.0.0/8\"\nblackhole = true\nvia = \"10.7.0.1\"", 16, "blackhole: such a route leads nowhere (expected no `via` and no `interface`)".to_owned()),
        ("to = \"10.0.0.0/8\"\nblackhole = true\nprohibit = true", 17, "prohibit: the route is a blackhole already (expected one of the two)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"10.7.0.1\"\nmetric = -1", 17, "metric: -1 is no metric (expected 0 to 4294967295)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"192.0.2.1\"", 16, "via: 192.0.2.1 is on no network of any interface (expected an address in 10.9.0.0/24, 10.7.0.0/30)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"10.7.0.1\"\ninterface = \"lan\"", 16, "via: 10.7.0.1 is on no network of interface lan (expected an address in 10.9.0.0/24)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"10.7.0.2\"", 16, "via: 10.7.0.2 is the router's own address (expected that of a neighbour)".to_owned()),
        ("to = \"10.0.0.0/8\"\nvia = \"10.7.0.3\"", 16, "via: 10.7.0.3 is the broadcast address of its network (expected that of a neighbour)".to_owned()),
        ("to = \"fd01::/16\"\nvia = \"fe80::1\"", 16, "via: fe80::1 is link-local (expected `interface` beside it, which says where)".to_owned()),
        ("to = \"10.0.0.0/8\"\ninterface = \"lan\"", 16, "interface: interface lan is on a bridge, where many can be meant (expected `via` beside it)".to_owned()),
        ("to = \"10.0.0.0/8\"\ninterface = \"dmz\"", 16, "interface: there is no interface dmz (expected one of lan, wan)".to_owned()),
    ] {
        expect(&route(keys), &[&format!("t.toml:{line}: router.gw.route[0].{message}")]);
    }
    let two = |other: &str| {
        route(&format!(
            "to = \"10.0.0.0/8\"\nvia = \"10.7.0.1\"\n[[router.gw.route]]\nto = \"10.0.0.0/8\"\n{other}"
        ))
    };
    config(&two("via = \"10.9.0.1\""));
    config(&two("via = \"10.7.0.1\"\nmetric = 5"));
    expect(
        &two("via = \"10.7.0.1\""),
        &[
            "t.toml:19: router.gw.route[1].via: 10.7.0.1 is a next hop of another such route to 10.0.0.0/8 already (expected one)",
        ],
    );
    expect(
        &two("blackhole = true"),
        &[
            "t.toml:18: router.gw.route[1].to: there is a unicast route to 10.0.0.0/8 with the same metric (expected another `metric`)",
        ],
    );
    // What is on an interface that could not be read, nobody knows.
    let text = route("to = \"10.0.0.0/8\"\nvia = \"10.9.0.1\"").replace("10.9.0.254/24", "10.9.0.254/240");
    assert_eq!(read(&text).unwrap_err().lines().count(), 1);
}

#[test]
fn static_neighbors() {
    let neighbor = |keys: &str| with(&format!("[[router.gw.neighbor]]\nmac = \"02:00:00:00:00:01\"\n{keys}"));
    let good = config(&neighbor("interface = \"lan\"\naddress = \"10.9.0.2\""));
    assert_eq!(good.routers["gw"].neighbors[0].to_string(), "10.9.0.2 on lan at 02:00:00:00:00:01");
    for (keys, line, message) in [
        ("interface = \"lan\"", 14, "address: missing (expected an IP address)"),
        (
            "interface = \"x\"\naddress = \"10.9.0.2\"",
            16,
            "interface: there is no interface x (expected one of lan, wan)",
        ),
        (
            "interface = \"wan\"\naddress = \"10.7.0.1\"",
            16,
            "interface: interface wan is at a port that carries IP, without MAC addresses (expected one on a bridge)",
        ),
        (
            "interface = \"lan\"\naddress = \"10.9.0.254\"",
            17,
            "address: 10.9.0.254 is the router's own address (expected that of a neighbour)",
        ),
        (
            "interface = \"lan\"\naddress = \"10.7.0.1\"",
            17,
            "address: 10.7.0.1 is on no network of interface lan (expected an address in 10.9.0.0/24)",
        ),
    ] {
        expect(&neighbor(keys), &[&format!("t.toml:{line}: router.gw.neighbor[0].{message}")]);
    }
}

/// A rule of the router, whose further keys begin on line 17.
fn rule(keys: &str) -> String {
    with(&format!("[[rule]]\nrouter = \"gw\"\naction = \"drop\"\n{keys}"))
}

fn warnings(text: &str) -> Vec<String> {
    let document = Document::parse(text, "t.toml").unwrap();
    let config = document.to_config().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    document.warnings(&config).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_doubtful_is_warned_of() {
    assert_eq!(warnings(GATEWAY), [""; 0]);
    for (text, warning) in [
        ("[router.a]\n".to_owned(), "1: router.a: warning: the router has no interface: nothing comes to it"),
        (
            "[port.t]\ntype = \"tun\"\n[router.a.interface.x]\nport = \"t\"\n".into(),
            "3: router.a: warning: the router has one interface and no route: it sends nothing on",
        ),
        (
            route(
                "to = \"10.0.0.0/8\"\nvia = \"10.7.0.1\"\nmetric = 5\n[[router.gw.route]]\nto = \"10.0.0.0/8\"\nvia = \"10.9.0.1\"",
            ),
            "14: router.gw.route[0]: warning: another route to 10.0.0.0/8 has metric 0: this one is never taken beside it",
        ),
        (
            route("to = \"10.7.0.0/30\"\nvia = \"10.9.0.1\""),
            "14: router.gw.route[0]: warning: interface wan is on 10.7.0.0/30 itself: the route is never taken",
        ),
        (
            with("[router.gw.interface.lan.advertise]\nprefixes = \"fd00:9::/56\""),
            "14: router.gw.interface.lan.advertise: warning: fd00:9::/56 is no /64: hosts give themselves no address of it",
        ),
        (
            rule("")
                + "[[rule]]\nrouter = \"gw\"\naction = \"accept\"\n[[rule]]\nrouter = \"gw\"\naction = \"accept\"\n",
            "18: rule[1]: warning: no packet gets here: rule 1 says drop to all",
        ),
        (
            rule("match.in = \"lan\"")
                + "[[rule]]\nrouter = \"gw\"\naction = \"accept\"\nmatch = { in = [\"lan\"] }\n",
            "18: rule[1]: warning: no packet gets here: rule 1 says drop to the same ones",
        ),
        (
            GATEWAY.replace("[router.gw]\n", "[router.gw]\npolicy.forward = \"drop\"\n"),
            "8: router.gw.policy.forward: warning: no rule accepts state = [\"established\"]: answers are dropped",
        ),
        (
            GATEWAY.replace("[bridge.lan]\n", "[bridge.lan]\npolicy = \"drop\"\n"),
            "2: bridge.lan.policy: warning: no rule accepts state = [\"established\"]: answers are dropped",
        ),
        (
            GATEWAY
                .replace("bridge = \"lan\"\naddress", "bridge = \"lan\"\nvlan = 30\naddress")
                .replace("type = \"tap\"\n", "type = \"tap\"\nvlan = 10\n"),
            "11: router.gw.interface.lan.vlan: warning: no port of bridge lan is a member of VLAN 30",
        ),
    ] {
        assert_eq!(warnings(&text), [format!("t.toml:{warning}")], "{text}");
    }
    // Of many, the first are told.
    let many: String = (0..20)
        .map(|metric| {
            format!("[[router.gw.route]]\nto = \"10.0.0.0/8\"\nvia = \"10.7.0.1\"\nmetric = {metric}\n")
        })
        .collect();
    let found = warnings(&with(&many));
    assert_eq!(found.len(), 9, "{found:#?}");
    assert!(
        found[8].ends_with("router.gw.route[9]: warning: 11 routes from here on are never taken either"),
        "{found:#?}"
    );
    // Other hooks, and rules that decide nothing, hide nothing.
    let quiet = rule("hook = \"input\"")
        + "[[rule]]\nrouter = \"gw\"\naction = \"count\"\n[[rule]]\nrouter = \"gw\"\naction = \"log\"\n";
    assert_eq!(warnings(&quiet), [""; 0]);
    let answered = GATEWAY.replace("[router.gw]\n", "[router.gw]\npolicy.forward = \"drop\"\n")
        + "[[rule]]\nrouter = \"gw\"\naction = \"accept\"\nmatch.state = [\"established\", \"related\"]\n";
    assert_eq!(warnings(&answered), [""; 0]);
}
