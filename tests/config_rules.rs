//! Translations and filter rules: what of a configuration is one, and what a person reads where it is wrong.

use tapyard::control::config::{Action, Config, Document, IcmpType};

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

fn nat(keys: &str) -> String {
    with(&format!("[[router.gw.nat]]\n{keys}"))
}

#[test]
fn translations() {
    for (keys, text) in [
        (
            "type = \"masquerade\"\nout = \"wan\"\nsource = \"10.9.0.0/24\"\nports = \"1024-2047\"",
            "masquerade out wan source 10.9.0.0/24 ports 1024-2047",
        ),
        (
            "type = \"snat\"\nout = \"wan\"\nto = \"203.0.113.5\"\ncomment = \"x\"",
            "snat out wan to 203.0.113.5 (x)",
        ),
        (
            "type = \"snat\"\nout = \"wan\"\nto = [\"203.0.113.5-203.0.113.7\", \"203.0.113.64/26\"]\nports = 5000",
            "snat out wan to 203.0.113.5-203.0.113.7,203.0.113.64/26 ports 5000",
        ),
        (
            "type = \"dnat\"\nin = \"wan\"\nto = \"10.9.0.2\"\ndestination = [\"203.0.113.5\"]",
            "dnat in wan destination 203.0.113.5/32 to 10.9.0.2",
        ),
        (
            "type = \"port-forward\"\nin = \"wan\"\nprotocol = [\"udp\", \"tcp\"]\nport = \"5000-5010\"\nto = \"10.9.0.2, 10.9.0.3:6000\"",
            "port-forward in wan protocol tcp,udp port 5000-5010 to 10.9.0.2,10.9.0.3:6000",
        ),
        (
            "type = \"port-forward\"\nin = \"wan\"\nprotocol = \"tcp\"\nport = 80\nto = [\"[fd00:9::2]:80\", \"fd00:9::3\"]",
            "port-forward in wan protocol tcp port 80 to [fd00:9::2]:80,fd00:9::3",
        ),
        (
            "type = \"static\"\ninterface = \"wan\"\ninternal = \"10.9.0.0/28\"\nexternal = \"203.0.113.16/28\"",
            "static interface wan internal 10.9.0.0/28 external 203.0.113.16/28",
        ),
        (
            "type = \"npt\"\nout = \"wan\"\ninternal = \"fd00:9::/48\"\nexternal = \"2001:db8::/48\"",
            "npt out wan internal fd00:9::/48 external 2001:db8::/48",
        ),
    ] {
        assert_eq!(config(&nat(keys)).routers["gw"].nat[0].to_string(), text);
    }
}

#[test]
fn translations_that_are_wrong() {
    let forward = "type = \"port-forward\"\nin = \"wan\"\nprotocol = \"tcp\"\n";
    let families = "are of two families (expected IPv4 or IPv6 addresses alone)";
    for (keys, line, message) in [
        ("out = \"wan\"".to_owned(), 14, "type: missing (expected masquerade, snat, dnat, port-forward, static, npt)".to_owned()),
        ("type = \"nat\"".into(), 15, "type: \"nat\" is no type of translation (expected \"masquerade\" or \"snat\" or \"dnat\" or \"port-forward\" or \"static\" or \"npt\")".into()),
        ("type = \"masquerade\"".into(), 14, "out: missing (expected the name of an interface)".into()),
        ("type = \"masquerade\"\nout = \"dmz\"".into(), 16, "out: there is no interface dmz (expected one of lan, wan)".into()),
        ("type = \"masquerade\"\nout = \"wan\"\nport = 5".into(), 17, "port: `port` is no key of type masquerade (expected on port-forward only)".into()),
        ("type = \"masquerade\"\nout = \"wan\"\nsource = \"fd00:9::/64\"".into(), 16, "out: interface wan has no IPv6 address to take (expected one that has, or type = \"snat\")".into()),
        ("type = \"snat\"\nout = \"wan\"".into(), 14, "to: missing (expected an address, or the first and the last of a range)".into()),
        ("type = \"snat\"\nout = \"wan\"\nto = \"203.0.113.9-203.0.113.5\"".into(), 17, "to: \"203.0.113.9-203.0.113.5\" is empty (expected \"203.0.113.5-203.0.113.9\"?)".into()),
        ("type = \"snat\"\nout = \"wan\"\nto = \"203.0.113.9-fd00::1\"".into(), 17, "to: \"203.0.113.9-fd00::1\" is no range of addresses (expected \"10.9.0.10-10.9.0.20\")".into()),
        ("type = \"snat\"\nout = \"wan\"\nto = \"203.0.113.5\"\nsource = \"fd00::/8\"".into(), 18, format!("source: fd00:: and 203.0.113.5 {families}")),
        ("type = \"dnat\"\nin = \"wan\"\nto = [\"10.9.0.2\", \"fd00:9::2\"]".into(), 17, format!("to: fd00:9::2 and 10.9.0.2 {families}")),
        ("type = \"dnat\"\nin = \"wan\"\nto = \"239.0.0.1\"".into(), 17, "to: \"239.0.0.1\" is no range of addresses of hosts (expected \"203.0.113.5-203.0.113.9\")".into()),
        (format!("{forward}to = \"10.9.0.2:80\""), 14, "port: missing (expected 1 to 65535, or \"1000-2000\")".into()),
        (format!("{forward}port = 0\nto = \"10.9.0.2:80\""), 18, "port: 0 is no port (expected 1 to 65535, or \"1000-2000\")".into()),
        (format!("{forward}port = \"90-80\"\nto = \"10.9.0.2:80\""), 18, "port: \"90-80\" is no range of ports (expected the lower one first)".into()),
        (format!("{forward}port = 80\nto = \"10.9.0.2:0\""), 19, "to: \"10.9.0.2:0\" is no address and port (expected \"10.9.0.2:80\", \"[fd00:9::2]:80\", or the address alone)".into()),
        (format!("{forward}port = \"80-90\"\nto = \"10.9.0.2:65530\""), 19, "to: from 65530 on there are fewer ports than 80-90 (expected a lower one)".into()),
        (forward.replace("tcp", "icmp") + "port = 80\nto = \"10.9.0.2\"", 17, "protocol: \"icmp\" is no protocol (expected \"tcp\" or \"udp\")".into()),
        ("type = \"static\"\ninterface = \"wan\"\ninternal = \"10.9.0.0/28\"\nexternal = \"203.0.113.0/24\"".into(), 18, "external: 203.0.113.0/24 is not as long as 10.9.0.0/28 (expected a network with /28)".into()),
        ("type = \"static\"\ninterface = \"wan\"\ninternal = \"10.9.0.0/28\"\nexternal = \"10.9.0.0/28\"".into(), 18, "external: 10.9.0.0/28 overlaps 10.9.0.0/28 (expected another network)".into()),
        ("type = \"static\"\ninterface = \"wan\"\ninternal = \"10.9.0.1\"\nexternal = \"fd00::1\"".into(), 18, format!("external: fd00::1 and 10.9.0.1 {families}")),
        ("type = \"npt\"\nout = \"wan\"\ninternal = \"10.9.0.0/28\"\nexternal = \"2001:db8::/48\"".into(), 17, "internal: \"10.9.0.0/28\" is no IPv6 network (expected \"fd00:9::/48\"; type = \"static\" translates IPv4)".into()),
        ("type = \"npt\"\nout = \"wan\"\ninternal = \"fd00:9::/65\"\nexternal = \"2001:db8::/48\"".into(), 17, "internal: \"fd00:9::/65\" is no network of 64 bits or less (expected \"fd00:9::/48\")".into()),
    ] {
        expect(&nat(&keys), &[&format!("t.toml:{line}: router.gw.nat[0].{message}")]);
    }
    expect(
        &nat("type = \"masquerade\"\nout = \"wan\"").replace("address = \"10.7.0.2/30\"\n", ""),
        &[
            "t.toml:15: router.gw.nat[0].out: interface wan has no address to take (expected one that has, or type = \"snat\")",
        ],
    );
}

#[test]
fn translations_that_take_from_each_other() {
    let forward = |port: &str, more: &str| {
        format!(
            "[[router.gw.nat]]\ntype = \"port-forward\"\nin = \"wan\"\nprotocol = [\"tcp\", \"udp\"]\nport = {port}\nto = \"10.9.0.2:80\"\n{more}\n"
        )
    };
    expect(
        &with(&(forward("\"80-90\"", "") + &forward("\"85-99\"", ""))),
        &[
            "t.toml:25: router.gw.nat[1].port: tcp port 85-90 in by wan is forwarded by nat 1 already (expected one)",
        ],
    );
    expect(
        &with(&(forward("99", "") + &forward("80", "") + &forward("80", ""))),
        &[
            "t.toml:32: router.gw.nat[2].port: tcp port 80 in by wan is forwarded by nat 2 already (expected one)",
        ],
    );
    config(&with(&(forward("80", "") + &forward("80", "destination = \"10.7.0.2\"") + &forward("81", ""))));
    let fixed = |external: &str| {
        format!(
            "[[router.gw.nat]]\ntype = \"static\"\ninterface = \"wan\"\ninternal = \"10.9.0.2\"\nexternal = \"{external}\"\n"
        )
    };
    config(&with(&(fixed("203.0.113.1") + &fixed("203.0.113.2"))));
    expect(
        &with(&(fixed("203.0.113.1") + &fixed("203.0.113.1"))),
        &[
            "t.toml:23: router.gw.nat[1].external: nat 1 has addresses of 203.0.113.1/32 already (expected others)",
        ],
    );
}

/// A rule of the router, whose further keys begin on line 17.
fn rule(keys: &str) -> String {
    with(&format!("[[rule]]\nrouter = \"gw\"\naction = \"drop\"\n{keys}"))
}

#[test]
fn rules() {
    for (keys, text) in [
        ("", "router gw forward: all: drop"),
        ("hook = \"input\"\nmatch.in = [\"lan\", \"wan\"]", "router gw input: in lan,wan: drop"),
        (
            "match = { out = \"wan\", protocol = [\"tcp\", 17], source-port = \"1-9,20\" }",
            "router gw forward: out wan protocol tcp,udp source-port 1-9,20: drop",
        ),
        (
            "match = { source = [\"10.0.0.0/8\", \"10.0.0.9-10.0.0.11\", \"fd00::1\"], state = \"new,invalid\" }",
            "router gw forward: source 10.0.0.0/8,10.0.0.9-10.0.0.11,fd00::1 state new,invalid: drop",
        ),
        (
            "match = { protocol = \"icmp,icmpv6\", icmp-type = \"echo-request\" }",
            "router gw forward: protocol icmp,icmpv6 icmp-type echo-request: drop",
        ),
        (
            "match = { protocol = \"icmp\", icmp-type = [8, 42] }",
            "router gw forward: protocol icmp icmp-type echo-request,42: drop",
        ),
    ] {
        assert_eq!(config(&rule(keys)).rules[0].to_string(), text);
    }
    let both = config(&rule("match = { protocol = \"icmp,icmpv6\", icmp-type = \"echo-request\" }"));
    let types = [IcmpType { v6: false, number: 8 }, IcmpType { v6: true, number: 128 }];
    assert_eq!(both.rules[0].matches.icmp_types, types);
    let limit = with(
        "[[rule]]\nbridge = \"lan\"\naction = \"rate-limit\"\nrate = 1000\nmatch.in = \"vm1\"\n[[rule]]\nbridge = \"lan\"\naction = \"rate-limit\"\nrate = 5\nburst = 1",
    );
    let limits: Vec<_> = config(&limit).rules.iter().map(|rule| rule.action).collect();
    assert_eq!(
        limits,
        [Action::RateLimit { rate: 1000, burst: 100 }, Action::RateLimit { rate: 5, burst: 1 }]
    );
}

#[test]
fn rules_that_are_wrong() {
    let ports = |key: &str| {
        format!(
            "match.{key}: not all packets have ports (expected protocol = \"tcp\" or \"udp\" beside `{key}`)"
        )
    };
    for (keys, message) in [
        ("bridge = \"lan\"", "bridge: a rule is of a router or a bridge (expected one of the two)".to_owned()),
        ("hook = \"ingress\"", "hook: \"ingress\" is no hook (expected \"prerouting\" or \"input\" or \"forward\" or \"output\" or \"postrouting\")".into()),
        ("match = 5", "match: 5 is no table (expected KEY = VALUE pairs)".into()),
        ("match.in = \"dmz\"", "match.in: there is no interface dmz (expected one of lan, wan)".into()),
        ("protocol = \"tcp\"", "protocol: `protocol` is a key of `match` (expected match.protocol)".into()),
        ("match.port = 5", "match.port: `port` is the one it comes from or the one it goes to (expected `source-port` or `destination-port`)".into()),
        ("match.protocol = \"tpc\"", "match.protocol: \"tpc\" is no protocol (expected icmp, igmp, tcp, udp, gre, esp, ah, icmpv6, sctp, or 0 to 255)".into()),
        ("match.protocol = 256", "match.protocol: 256 is no protocol (expected icmp, igmp, tcp, udp, gre, esp, ah, icmpv6, sctp, or 0 to 255)".into()),
        ("match.destination-port = 22", ports("destination-port")),
        ("match = { source-port = 22, protocol = \"tcp,icmp\" }", ports("source-port")),
        ("match = { destination-port = \"5-4\", protocol = \"tcp\" }", "match.destination-port: \"5-4\" is no range of ports (expected the lower one first)".into()),
        ("match.source = \"10.0.0.1/8\"", "match.source: \"10.0.0.1/8\" is no network (expected \"10.0.0.0/8\", or \"10.0.0.1\" alone)".into()),
        ("match.source = []", "match.source: [] is empty (expected at least one)".into()),
        ("match = { source = \"10.0.0.0/8\", destination = \"fd00::/8\" }", "match.destination: no packet has a source and a destination of two families (expected IPv4 or IPv6 addresses in both)".into()),
        ("match.state = \"neu\"", "match.state: \"neu\" is no state (expected \"new\" or \"established\" or \"related\" or \"invalid\")".into()),
        ("match.icmp-type = 8", "match.icmp-type: not all packets have such a type (expected protocol = \"icmp\" or \"icmpv6\" beside `icmp-type`)".into()),
        ("match = { icmp-type = 8, protocol = \"icmp,icmpv6\" }", "match.icmp-type: a number is another type in ICMPv6 (expected its name)".into()),
        ("rate = 5", "rate: only a limit has it (expected action = \"rate-limit\" beside `rate`)".into()),
    ] {
        expect(&rule(keys), &[&format!("t.toml:17: rule[0].{message}")]);
    }
    let icmp = read(&rule("match = { icmp-type = \"echo\", protocol = \"icmpv6\" }")).unwrap_err();
    assert!(
        icmp.contains("\"echo\" is no type of ICMP (expected echo-reply, ")
            && icmp.contains("packet-too-big"),
        "{icmp}"
    );
    for (hook, key, message) in [
        (
            "output",
            "in",
            "what the router itself sends came in nowhere (expected no `in` at the hook output)",
        ),
        ("input", "out", "it is not known here, or nowhere (expected no `out` at the hook input)"),
        ("prerouting", "out", "it is not known here, or nowhere (expected no `out` at the hook prerouting)"),
    ] {
        expect(
            &rule(&format!("hook = \"{hook}\"\nmatch.{key} = \"lan\"")),
            &[&format!("t.toml:18: rule[0].match.{key}: {message}")],
        );
    }
    config(&rule("hook = \"postrouting\"\nmatch = { in = \"lan\", out = \"wan\" }"));
    for (keys, line, message) in [
        (
            "action = \"drop\"",
            14,
            "router: missing (expected the name of a router, or `bridge` and that of a bridge)",
        ),
        ("router = \"lab\"\naction = \"drop\"", 15, "router: there is no router lab (expected one of gw)"),
        ("bridge = \"dmz\"\naction = \"drop\"", 15, "bridge: there is no bridge dmz (expected one of lan)"),
        (
            "bridge = \"lan\"\nhook = \"input\"\naction = \"drop\"",
            16,
            "hook: a bridge has one hook (expected \"forward\", or `router`)",
        ),
        (
            "bridge = \"lan\"\nmatch.in = \"tun0\"\naction = \"drop\"",
            16,
            "match.in: port tun0 is not on bridge lan (expected one that is)",
        ),
        (
            "bridge = \"lan\"\nmatch.out = \"vm9\"\naction = \"drop\"",
            16,
            "match.out: there is no port vm9 (expected one of tun0, vm1)",
        ),
        ("router = \"gw\"", 14, "action: missing (expected accept, drop, reject, count, log, rate-limit)"),
        (
            "router = \"gw\"\naction = \"deny\"",
            16,
            "action: \"deny\" is no action (expected \"accept\" or \"drop\" or \"reject\" or \"count\" or \"log\" or \"rate-limit\")",
        ),
        ("router = \"gw\"\naction = \"rate-limit\"", 14, "rate: missing (expected packets a second)"),
        (
            "router = \"gw\"\naction = \"reject\"\nhook = \"postrouting\"",
            16,
            "action: who has sent it is no longer known here (expected \"drop\", or hook = \"forward\")",
        ),
    ] {
        expect(&with(&format!("[[rule]]\n{keys}")), &[&format!("t.toml:{line}: rule[0].{message}")]);
    }
    let (long, cut) = ("x".repeat(201), "x".repeat(39));
    expect(
        &rule(&format!("comment = \"{long}\"")),
        &[&format!(
            "t.toml:17: rule[0].comment: \"{cut}… is no comment (expected at most 200 bytes on one line)"
        )],
    );
    assert!(
        read(&rule("comment = \"a\\nb\"")).unwrap_err().ends_with("(expected at most 200 bytes on one line)")
    );
}
