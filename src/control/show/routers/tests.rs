//! What is shown of routers that nobody runs.

use super::*;
use crate::control::api::FlowInfo;
use crate::control::config::Document;

const GATEWAY: &str = r#"
    [bridge.lan]
    [port.tun0]
    type = "tun"
    [router.gw]
    policy.input = "drop"
    [router.gw.interface.lan]
    bridge = "lan"
    address = ["10.9.0.254/24", "fd00:9::fe/64"]
    [router.gw.interface.wan]
    port = "tun0"
    address = "10.7.0.2/30"
    [[router.gw.route]]
    to = "default"
    via = "10.7.0.1"
    [[router.gw.route]]
    to = "10.0.0.0/8"
    via = ["10.9.0.1", "10.9.0.2"]
    [[router.gw.route]]
    to = "10.0.0.0/8"
    via = "10.7.0.1"
    metric = 5
    [[router.gw.route]]
    to = "10.66.0.0/16"
    blackhole = true
    [[router.gw.neighbor]]
    interface = "lan"
    address = "10.9.0.1"
    mac = "02:00:00:00:00:01"
    [[router.gw.nat]]
    type = "masquerade"
    out = "wan"
    comment = "all of us"
    [[rule]]
    router = "gw"
    action = "count"
    [[rule]]
    bridge = "lan"
    action = "log"
    comment = "who is there"
"#;

fn config(text: &str) -> Config {
    Document::parse(text, "t").unwrap().to_config().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

fn seen() -> Seen {
    let neighbor = SeenNeighbor {
        interface: "lan".into(),
        address: ip("10.9.0.7"),
        mac: Some(mac(7)),
        state: "reachable",
        age: Duration::from_millis(2500),
    };
    let flow = |source: &str, destination: &str| FlowInfo {
        source: ip(source),
        destination: ip(destination),
        source_port: Some(1),
        destination_port: Some(2),
    };
    let session = |last: u8| SessionInfo {
        router: "gw".into(),
        protocol: "udp".into(),
        state: "new".into(),
        original: flow(&format!("10.9.0.{last}"), "192.0.2.1"),
        reply: flow("192.0.2.1", "10.7.0.2"),
        nat: Some(1),
        expires_secs: 120,
    };
    let gw = SeenRouter {
        left_out: 0,
        interfaces: [("lan".into(), (Some(mac(0xfe)), Some(1500)))].into(),
        neighbors: vec![neighbor],
        sessions: (1..=5).map(session).collect(),
        translated: vec![5],
        stats: NatStats { sessions: 5, half_open: 5, ..NatStats::default() },
    };
    Seen { routers: [("gw".into(), gw)].into(), rules: vec![(10, 1000), (2, 128)] }
}

#[test]
fn routers_with_what_is_known_of_them() {
    let [gw] = &routers(&config(GATEWAY), &seen(), None).unwrap()[..] else { panic!("one router") };
    assert_eq!((gw.routes, gw.neighbors, gw.sessions, gw.session_limit, gw.rules), (10, 2, 5, 65_536, 1));
    assert_eq!((gw.policies["input"].as_str(), gw.policies["forward"].as_str()), ("drop", "accept"));
    let lan = &gw.interfaces[0];
    assert_eq!((lan.on.as_str(), lan.mac, lan.mtu), ("bridge lan", Some(mac(0xfe)), Some(1500)));
    assert_eq!(lan.addresses, ["10.9.0.254/24", "fd00:9::fe/64"]);
    let unknown = routers(&config(GATEWAY), &seen(), Some("lab")).unwrap_err();
    assert_eq!(unknown, "there is no router lab (router show lists them)");
}

#[test]
fn routes_by_network_with_those_that_are_hidden() {
    let all = routes(&config(GATEWAY), None).unwrap();
    let text = |route: &RouteInfo| format!("{} {} {}", route.to, route.kind, route.active);
    let texts: Vec<_> = all.iter().map(text).collect();
    assert_eq!(
        texts,
        [
            "0.0.0.0/0 static true",
            "10.0.0.0/8 static true",
            "10.0.0.0/8 static false",
            "10.7.0.0/30 connected true",
            "10.7.0.2/32 local true",
            "10.9.0.0/24 connected true",
            "10.9.0.254/32 local true",
            "10.66.0.0/16 blackhole true",
            "fd00:9::/64 connected true",
            "fd00:9::fe/128 local true",
        ]
    );
}

#[test]
fn where_a_packet_goes_is_explained() {
    let explain = |address: &str| super::explain(&config(GATEWAY), &seen(), None, ip(address), None).unwrap();
    let near = explain("10.9.0.7");
    assert_eq!((near.verdict.as_str(), near.source), ("forward", Some(ip("10.9.0.254"))));
    assert_eq!((near.hops[0].mac, near.hops[0].state.as_str()), (Some(mac(7)), "reachable"));
    assert_eq!(
        near.steps,
        [
            "10.9.0.7 is in 10.9.0.0/24, on interface lan",
            "10.0.0.0/8 matches as well, and is shorter",
            "0.0.0.0/0 matches as well, and is shorter",
            "it leaves by lan to 10.9.0.7, reachable at 02:00:00:00:00:07",
            "the router itself sends from 10.9.0.254",
        ]
    );
    let spread = explain("10.1.2.3");
    let hops: Vec<_> = spread.hops.iter().map(|hop| (hop.neighbor, hop.state.as_str())).collect();
    assert_eq!(hops, [(Some(ip("10.9.0.1")), "static"), (Some(ip("10.9.0.2")), "unknown")]);
    assert!(spread.steps.contains(&"packets are spread over these 2 by flow".into()), "{spread:?}");
    let far = explain("192.0.2.1");
    assert_eq!((far.hops[0].neighbor, far.hops[0].interface.as_str()), (None, "wan"));
    assert_eq!((far.hops[0].state.as_str(), far.source), ("point-to-point", Some(ip("10.7.0.2"))));
    assert_eq!(far.steps[0], "0.0.0.0/0 is the longest match, metric 0");
    for (address, verdict) in [
        ("10.66.1.1", "blackhole"),
        ("10.9.0.254", "local"),
        ("2001:db8::1", "no-route"),
        ("fd00:9::1", "forward"),
        ("10.9.0.255", "martian"),
        ("10.9.0.0", "martian"),
        ("255.255.255.255", "martian"),
        ("127.0.0.1", "martian"),
        ("0.0.0.0", "martian"),
        ("169.254.1.1", "martian"),
        ("fe80::1", "martian"),
    ] {
        let found = explain(address);
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert_eq!(found.hops.is_empty(), verdict != "forward");
    }
    let back = super::explain(&config(GATEWAY), &seen(), Some("gw"), ip("10.9.0.7"), Some(ip("192.0.2.1")));
    assert_eq!(back.unwrap().steps.last().unwrap(), "an answer to 192.0.2.1 leaves by wan");
    let group = super::explain(&config(GATEWAY), &seen(), None, ip("224.0.0.1"), None).unwrap_err();
    assert!(group.starts_with("224.0.0.1 is a group"), "{group}");
    let none = super::explain(&Config::default(), &seen(), None, ip("10.0.0.1"), None).unwrap_err();
    assert_eq!(none, "there is no router");
}

#[test]
fn neighbors_that_fit() {
    let find = |filter| neighbors(&config(GATEWAY), &seen(), &filter).unwrap();
    let all = find(NeighborFilter::default());
    let states: Vec<_> = all.iter().map(|n| (n.address, n.state.as_str(), n.age_secs)).collect();
    assert_eq!(states, [(ip("10.9.0.1"), "static", None), (ip("10.9.0.7"), "reachable", Some(2))]);
    let one = NeighborFilter { address: "10.9.0.7".parse().ok(), ..NeighborFilter::default() };
    assert_eq!(find(one).len(), 1);
    assert!(find(NeighborFilter { interface: Some("wan".into()), ..NeighborFilter::default() }).is_empty());
}

#[test]
fn sessions_that_fit_up_to_a_limit() {
    let info = nat(&config(GATEWAY), &seen(), &NatFilter { limit: Some(2), ..NatFilter::default() }).unwrap();
    assert_eq!((info.sessions.len(), info.left_out), (2, 3));
    let table = &info.tables[0];
    assert_eq!((table.router.as_str(), table.limit, table.sessions, table.half_open), ("gw", 65_536, 5, 5));
    let one = NatFilter { source: "10.9.0.3".parse().ok(), ..NatFilter::default() };
    let info = nat(&config(GATEWAY), &seen(), &one).unwrap();
    assert_eq!((info.sessions.len(), info.left_out), (1, 0));
    let rules = nat_rules(&config(GATEWAY), &seen(), None).unwrap();
    assert_eq!((rules[0].text.as_str(), rules[0].sessions), ("masquerade out wan", 5));
    assert_eq!(rules[0].comment.as_deref(), Some("all of us"));
}

#[test]
fn rules_of_all_or_of_one() {
    let find = |router, bridge| rules(&config(GATEWAY), &seen(), router, bridge).unwrap();
    let numbers = |rules: Vec<RuleInfo>| rules.iter().map(|rule| rule.number).collect::<Vec<_>>();
    assert_eq!(numbers(find(None, None)), [1, 2]);
    assert_eq!(numbers(find(Some("gw"), None)), [1]);
    let on_bridge = find(None, Some("lan"));
    assert_eq!((on_bridge[0].scope.as_str(), on_bridge[0].matches.as_str()), ("bridge lan", "all"));
    assert_eq!((on_bridge[0].frames, on_bridge[0].bytes), (2, 128));
    let unknown = rules(&config(GATEWAY), &seen(), None, Some("dmz")).unwrap_err();
    assert_eq!(unknown, "there is no bridge dmz (bridge show lists them)");
}
