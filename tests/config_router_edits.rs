//! What commands make of the routers and rules of a document, and that a document prints as one that says the same.

use std::net::IpAddr;

use tapyard::control::config::{Config, Document, Edits, Policy, Scope, parse_value};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
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

fn edits(keys: &[(&str, &str)]) -> Edits {
    keys.iter().map(|(key, text)| (key.to_string(), (!text.is_empty()).then(|| parse_value(text)))).collect()
}

/// What a document says of routes, translations and rules, and that it prints as a text that says the same.
#[track_caller]
fn sound(document: &Document) -> Config {
    let config = document.to_config().unwrap_or_else(|errors| panic!("{errors}\n{document}"));
    let printed = document.to_string();
    let again = Document::parse(&printed, "t").unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
    assert_eq!(again.to_config().unwrap_or_else(|errors| panic!("{errors}\n{printed}")), config, "{printed}");
    assert_eq!(again.to_string(), printed);
    config
}

fn document(text: &str) -> Document {
    Document::parse(text, "t.toml").unwrap()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn a_document_prints_routers_table_by_table() {
    let text = with(
        "advertise = {}\n[[router.gw.route]]\nto = \"default\"\nvia = [\"10.7.0.1\"]\n[router.gw.policy]\nforward = \"drop\"\n\
         [[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n[[rule]]\nrouter = \"gw\"\naction = \"count\"\nmatch.in = \"lan\"",
    )
    .replace("advertise = {}\n", "");
    let document = document(&text);
    sound(&document);
    let printed = document.to_string();
    for part in [
        "[router.gw]\npolicy = { forward = \"drop\" }\n",
        "[router.gw.interface.wan]\naddress = \"10.7.0.2/30\"\nport = \"tun0\"\n",
        "[[router.gw.route]]\nto = \"default\"\nvia = [\"10.7.0.1\"]\n",
        "[[router.gw.nat]]\nout = \"wan\"\ntype = \"masquerade\"\n",
        "[[rule]]\naction = \"count\"\nmatch = { in = \"lan\" }\nrouter = \"gw\"\n",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
}

#[test]
fn routes_come_and_go() {
    let mut document = document(GATEWAY);
    document
        .route_add(None, &edits(&[("to", "10.0.0.0/8"), ("via", "10.7.0.1,10.9.0.1"), ("metric", "5")]))
        .unwrap();
    document.route_add(Some("gw"), &edits(&[("to", "default"), ("via", "10.7.0.1")])).unwrap();
    document
        .route_add(None, &edits(&[("to", "10.0.0.0/8"), ("blackhole", "true"), ("metric", "9")]))
        .unwrap();
    let all = [
        "10.0.0.0/8 via 10.7.0.1,10.9.0.1 metric 5",
        "0.0.0.0/0 via 10.7.0.1",
        "10.0.0.0/8 blackhole metric 9",
    ];
    assert_eq!(texts(&sound(&document).routers["gw"].routes), all);

    let mut other = document.clone();
    other.route_del(None, "10.0.0.0/8", Some(ip("10.7.0.1")), None).unwrap();
    let left = ["10.0.0.0/8 via 10.9.0.1 metric 5", all[1], all[2]];
    assert_eq!(texts(&sound(&other).routers["gw"].routes), left);
    other.route_del(None, "10.0.0.0/8", Some(ip("10.9.0.1")), None).unwrap();
    assert_eq!(texts(&sound(&other).routers["gw"].routes), all[1..]);

    document.route_del(None, "10.0.0.0/8", None, Some(9)).unwrap();
    document.route_del(None, "default", None, None).unwrap();
    assert_eq!(texts(&sound(&document).routers["gw"].routes), all[..1]);
    let gone = "there is no such static route to default (route show lists them)";
    assert_eq!(document.route_del(None, "default", None, None).unwrap_err(), gone);
    let odd = document.route_del(None, "10.0.0.1/8", None, None).unwrap_err();
    assert!(odd.contains("is no network (expected \"10.0.0.0/8\""), "{odd}");
    document.route_del(None, "10.0.0.0/8", None, None).unwrap();
    assert!(sound(&document).routers["gw"].routes.is_empty());
    assert_eq!(document.route_add(Some("lab"), &Edits::new()).unwrap_err(), "there is no router lab");
    document.router_add("lab", &Edits::new()).unwrap();
    let which = document.route_add(None, &Edits::new()).unwrap_err();
    assert_eq!(which, "there are 2 routers (expected the name of one, such as gw)");
}

#[test]
fn routers_and_interfaces_come_and_go() {
    let mut document = document("[port.t0]\ntype = \"tun\"\n[bridge.lan]\n");
    assert!(document.route_add(None, &Edits::new()).unwrap_err().starts_with("there is no router"));
    document.router_add("gw", &edits(&[("sessions", "1000"), ("policy.forward", "drop")])).unwrap();
    assert_eq!(document.router_add("gw", &Edits::new()).unwrap_err(), "router gw exists already");
    document.interface_add(None, "wan", &edits(&[("port", "t0"), ("address", "10.7.0.2/30")])).unwrap();
    document
        .interface_add(None, "lan.0", &edits(&[("bridge", "lan"), ("address", "10.9.0.1/24,fd00::1/64")]))
        .unwrap();
    assert!(document.interface_add(None, "wan", &Edits::new()).unwrap_err().contains("exists already"));
    document.interface_set(None, "lan.0", &edits(&[("mtu", "1400"), ("advertise.interval", "30s")])).unwrap();
    document
        .router_set(
            None,
            &edits(&[("timeout.udp", "400s"), ("policy.forward", ""), ("interface.wan.mtu", "1300")]),
        )
        .unwrap();
    let config = sound(&document);
    let gw = &config.routers["gw"];
    assert_eq!((gw.sessions, gw.policies, gw.timeouts.udp.as_secs()), (1000, [Policy::Accept; 5], 400));
    assert_eq!((gw.interfaces["lan.0"].mtu, gw.interfaces["wan"].mtu), (Some(1400), Some(1300)));
    assert_eq!(gw.interfaces["lan.0"].address.len(), 2);
    document
        .neighbor_add(
            None,
            &edits(&[("interface", "lan.0"), ("address", "10.9.0.7"), ("mac", "02:0:0:0:0:1")]),
        )
        .unwrap();
    assert_eq!(sound(&document).routers["gw"].neighbors.len(), 1);
    let none = "there is no such static neighbour 10.9.0.7 (neighbor show lists them)";
    assert_eq!(document.neighbor_del(None, Some("wan"), ip("10.9.0.7")).unwrap_err(), none);
    document.neighbor_del(None, None, ip("10.9.0.7")).unwrap();
    assert!(sound(&document).routers["gw"].neighbors.is_empty());
    document.interface_del(None, "wan").unwrap();
    assert_eq!(document.interface_del(None, "wan").unwrap_err(), "there is no interface wan");
    assert_eq!(sound(&document).routers["gw"].interfaces.len(), 1);
    document.rule_add(&edits(&[("action", "count")]), None).unwrap();
    document.router_del("gw").unwrap();
    assert_eq!(document.router_del("gw").unwrap_err(), "there is no router gw");
    let config = sound(&document);
    assert!(config.routers.is_empty() && config.rules.is_empty());
}

#[test]
fn rules_are_put_where_they_are_told() {
    let mut document = document(GATEWAY);
    let drop_port = |port: &str| {
        edits(&[("protocol", "tcp"), ("destination-port", port), ("action", "drop"), ("in", "lan")])
    };
    for port in ["1", "2", "3"] {
        document.rule_add(&drop_port(port), None).unwrap();
    }
    document.rule_add(&drop_port("4"), Some(1)).unwrap();
    document.rule_add(&drop_port("5,6"), Some(5)).unwrap();
    let ports = |document: &Document| {
        let rules = sound(document).rules;
        rules.iter().map(|rule| *rule.matches.destination_ports[0].start()).collect::<Vec<_>>()
    };
    assert_eq!(ports(&document), [4, 1, 2, 3, 5]);
    assert_eq!(sound(&document).rules[0].scope, Scope::Router("gw".into()));
    document.rule_move(1, 4).unwrap();
    assert_eq!(ports(&document), [1, 2, 3, 4, 5]);
    document.rule_move(5, 1).unwrap();
    assert_eq!(ports(&document), [5, 1, 2, 3, 4]);
    document.rule_del(2).unwrap();
    assert_eq!(ports(&document), [5, 2, 3, 4]);
    assert_eq!(document.rule_del(5).unwrap_err(), "there is no rule 5 (expected 1 to 4)");
    assert_eq!(document.rule_del(0).unwrap_err(), "there is no rule 0 (expected 1 to 4)");
    assert_eq!(document.rule_move(1, 5).unwrap_err(), "there is no rule 5 (expected 1 to 4)");
    assert_eq!(
        document.rule_add(&drop_port("9"), Some(6)).unwrap_err(),
        "no rule can be number 6 (expected 1 to 5)"
    );
    document.rule_add(&edits(&[("bridge", "lan"), ("in", "vm1"), ("action", "count")]), None).unwrap();
    assert_eq!(sound(&document).rules[4].to_string(), "bridge lan forward: in vm1: count");
    document.nat_add(None, &edits(&[("type", "masquerade"), ("out", "wan")]), None).unwrap();
    document.nat_add(None, &edits(&[("type", "dnat"), ("in", "wan"), ("to", "10.9.0.2")]), Some(1)).unwrap();
    assert_eq!(texts(&sound(&document).routers["gw"].nat), ["dnat in wan to 10.9.0.2", "masquerade out wan"]);
    document.nat_del(None, 1).unwrap();
    document.nat_del(None, 1).unwrap();
    assert_eq!(document.nat_del(None, 1).unwrap_err(), "there is no nat 1: there is none");
}
