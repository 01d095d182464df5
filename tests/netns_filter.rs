//! Filter rules as hosts see them: what they keep out, what they say about it, and what they count.
//!
//! Network 1 is inside, network 2 outside.

mod common;

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::overlay::dropped;
use common::routed::{GATEWAY, HOST, Routed, ping_says, v4, v6};
use common::traffic::{Stream, Talk, ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, PATIENCE, Station, Yard, as_root, frames, number, tap, wait_until};
use etherparse::PacketBuilder;

/// A rule of the router; `match_keys` as in TOML.
fn rule(hook: &str, match_keys: &str, action: &str) -> String {
    format!(
        "[[rule]]\nrouter = \"gw\"\nhook = \"{hook}\"\nmatch = {{ {match_keys} }}\naction = \"{action}\"\n"
    )
}

/// Rules as everybody has them: answers pass, what is inside may begin, outside may not.
fn stateful() -> String {
    rule("forward", "state = [\"established\", \"related\"]", "accept")
        + &rule("forward", "in = \"net1\", state = \"new\"", "accept")
        + &rule("forward", "", "drop")
}

/// What becomes of an attempt to connect, and how long it took.
fn connect(from: &Host, address: &str, port: u16) -> (Result<(), ErrorKind>, Duration) {
    let place = match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    let place = place.parse().expect("a place");
    let began = Instant::now();
    let result = from.enter(|| TcpStream::connect_timeout(&place, Duration::from_secs(2)));
    (result.map(drop).map_err(|error| error.kind()), began.elapsed())
}

/// The addresses of the host of network `n`.
fn both(n: usize) -> [String; 2] {
    [v4(n, HOST), v6(n, HOST)]
}

/// How many frames a rule, counted from 1, has matched.
fn matched(yard: &Yard, rule: usize) -> u64 {
    number(&yard.rows("rule show")[rule - 1], "frames")
}

#[test]
fn answers_pass_and_what_begins_outside_does_not() {
    as_root(|| {
        let routed = Routed::start(2, &stateful());
        let (inside, outside) = (routed.host(1), routed.host(2));
        for (near, far) in both(1).iter().zip(both(2)) {
            wait_for_ping(inside, &far);
            tcp(inside, outside, &far, 8 << 20);
            ping_in_vain(outside, near, 2);
            let _listener = inside.enter(|| TcpListener::bind((near.as_str(), 7000))).expect("it is free");
            assert_eq!(connect(outside, near, 7000).0, Err(ErrorKind::TimedOut), "{near}");
            ping(inside, &far, 1400, 3);
            // An error about what is allowed comes back.
            let any = if far.contains(':') { "::" } else { "0.0.0.0" };
            let socket = inside.enter(|| UdpSocket::bind((any, 0))).expect("any port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
            socket.connect((far.as_str(), 9)).expect("there is a route");
            socket.send(b"anybody?").expect("a datagram");
            let error = socket.recv(&mut [0]).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        }
        assert!(dropped(&routed.yard, "filtered") >= 4);
        let counts = [1, 2, 3].map(|n| matched(&routed.yard, n));
        assert!(counts[0] > 100 && counts[1] >= 8 && counts[2] >= 4, "{counts:?}");
    });
}

#[test]
fn the_first_rule_that_decides_decides() {
    as_root(|| {
        let port = |port: u16| format!("protocol = \"tcp\", destination-port = {port}");
        let rules = rule("forward", "protocol = \"tcp\"", "count")
            + &rule("forward", &port(7001), "drop")
            + &rule("forward", "protocol = \"tcp\", destination-port = \"7000-7002\"", "accept")
            + &rule("forward", "protocol = \"tcp\", destination-port = [7002, 7003]", "reject")
            + &rule("forward", "protocol = \"icmp\", icmp-type = \"echo-request\"", "accept");
        let routed = Routed::start(2, &rules);
        let (inside, outside) = (routed.host(1), routed.host(2));
        wait_for_ping(inside, &v4(2, HOST));
        let _listeners: Vec<_> = (7000..=7004)
            .map(|port| outside.enter(|| TcpListener::bind((v4(2, HOST), port))).expect("it is free"))
            .collect();
        let outcome = |port| connect(inside, &v4(2, HOST), port).0;
        let (open, silent, refused) = (Ok(()), Err(ErrorKind::TimedOut), Err(ErrorKind::ConnectionRefused));
        let wanted = [open, silent, open, refused, open];
        assert_eq!([7000, 7001, 7002, 7003, 7004].map(outcome), wanted);
        let counts = [2, 3, 4].map(|n| matched(&routed.yard, n));
        assert!(counts[0] >= 1 && counts[1] >= 4 && counts[2] == 1, "{counts:?}");
        assert!(matched(&routed.yard, 1) >= counts.iter().sum());

        // The same rules in another order.
        routed.yard.ok("rule move 3 2");
        assert_eq!([7000, 7001, 7002, 7003, 7004].map(outcome), [open, open, open, refused, open]);
        routed.yard.ok("rule move 4 2");
        assert_eq!([7000, 7001, 7002, 7003, 7004].map(outcome), [open, open, refused, refused, open]);
        routed.yard.ok("rule del 2");
        assert_eq!([7000, 7001, 7002, 7003, 7004].map(outcome), [open; 5]);
    });
}

#[test]
fn who_is_rejected_knows_at_once() {
    as_root(|| {
        let routed = Routed::start(2, &rule("forward", "", "reject"));
        let inside = routed.host(1);
        wait_for_ping(inside, &v4(1, GATEWAY));
        wait_for_ping(inside, &v6(1, GATEWAY));
        for far in both(2) {
            let (result, took) = connect(inside, &far, 80);
            assert_eq!(result, Err(ErrorKind::ConnectionRefused), "{far}");
            assert!(took < Duration::from_secs(2), "{far}: {took:?}");
            let says = ping_says(inside, &format!("-c 1 -W 5 {far}"));
            let told = ["Packet filtered", "prohibited", "Prohibited"].iter().any(|word| says.contains(word));
            assert!(told, "{says}");
        }
        assert_eq!(dropped(&routed.yard, "rejected"), matched(&routed.yard, 1));
    });
}

#[test]
fn a_router_whose_policy_is_to_drop_is_not_seen() {
    as_root(|| {
        let rules = rule("input", "in = \"net1\", protocol = [\"icmp\", \"icmpv6\"]", "accept");
        let routed = Routed::start_changed(2, &rules, |config| {
            config.replace("[router.gw]\n", "[router.gw]\npolicy = { input = \"drop\" }\n")
        });
        let (inside, outside) = (routed.host(1), routed.host(2));
        // What passes through is none of its business.
        both(2).iter().for_each(|far| wait_for_ping(inside, far));
        for gateway in [v4(2, GATEWAY), v6(2, GATEWAY)] {
            ping_in_vain(outside, &gateway, 2);
            ping(inside, &gateway, 56, 2);
            for host in [inside, outside] {
                assert_eq!(connect(host, &gateway, 22).0, Err(ErrorKind::TimedOut), "{host} to {gateway}");
            }
        }
        assert!(dropped(&routed.yard, "filtered") >= 8);
    });
}

#[test]
fn rules_come_and_go_under_connections() {
    as_root(|| {
        let routed = Routed::start(2, &stateful());
        let (inside, outside) = (routed.host(1), routed.host(2));
        both(2).iter().for_each(|far| wait_for_ping(inside, far));
        let mut talk = Talk::open(inside, outside, &v4(2, HOST));
        let stream = Stream::start(inside, outside, &v4(2, HOST));
        let before = matched(&routed.yard, 1);
        // A rule at the end that nothing comes to: what was counted is kept, what flows goes on.
        routed.yard.ok("rule add --router gw protocol=udp destination-port=9 action=drop");
        talk.exchange();
        assert!(matched(&routed.yard, 1) > before);
        // One at the beginning that ends a connection which was there.
        let port = talk.seen().port();
        routed.yard.ok(&format!("rule add --router gw --at 1 protocol=tcp source-port={port} action=drop"));
        ping(inside, &v4(2, HOST), 56, 3);
        wait_until("the rule to see the connection's packets", || {
            let _ = std::io::Write::write(&mut talk.client(), b"more");
            matched(&routed.yard, 1) > 0
        });
        routed.yard.ok("rule del 1");
        stream.assert_lossless();
    });
}

#[test]
fn a_rate_is_kept() {
    as_root(|| {
        let limit = "[[rule]]\nrouter = \"gw\"\nhook = \"forward\"\nmatch = { protocol = \"udp\" }\n\
                     action = \"rate-limit\"\nrate = 10\nburst = 20\n";
        let routed = Routed::start(2, limit);
        wait_for_ping(routed.host(1), &v4(2, HOST));
        let server = routed.host(2).enter(|| UdpSocket::bind((v4(2, HOST), 7000))).expect("it is free");
        let client = routed.host(1).enter(|| UdpSocket::bind((v4(1, HOST), 0))).expect("any port");
        let began = Instant::now();
        for _ in 0..200 {
            client.send_to(b"word", (v4(2, HOST), 7000)).expect("a datagram");
        }
        wait_until("all of them to be judged", || matched(&routed.yard, 1) == 200);
        let most = 20 + 10 * (began.elapsed().as_secs() as usize + 1);
        server.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket can be");
        let got = std::iter::from_fn(|| server.recv(&mut [0; 8]).ok()).count();
        assert!((20..=most).contains(&got), "{got} of 200, at most {most}");
        assert_eq!(dropped(&routed.yard, "rate-limited"), 200 - got as u64);
        // Others are not held back.
        ping(routed.host(1), &v4(2, HOST), 56, 30);
    });
}

#[test]
fn a_source_that_could_not_be_there_is_dropped() {
    as_root(|| {
        let routed = Routed::start_changed(2, "", |config| {
            let interface = "[router.gw.interface.net1]\n";
            config.replace(interface, &format!("{interface}reverse-path = \"strict\"\n"))
        });
        both(2).iter().for_each(|far| wait_for_ping(routed.host(1), far));
        let station = Station::open(routed.host(1), "eth", "h1");
        let (gateway, own) = (routed.yard.bridge("net1")["mac"].clone(), routed.host(1).mac("eth"));
        let gateway = frames::mac(gateway.as_str().expect("text"));
        let server = routed.host(2).enter(|| UdpSocket::bind((v4(2, HOST), 7000))).expect("it is free");
        server.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        let send = |source: [u8; 4]| {
            let mut frame = Vec::new();
            let packet =
                PacketBuilder::ethernet2(own, gateway).ipv4(source, [10, 9, 2, 2], 64).udp(5000, 7000);
            packet.write(&mut frame, b"hello").expect("a vector takes all");
            station.send(&frame);
        };
        // From the other network, from nowhere, from the router itself; then one that is what it says.
        send([10, 9, 2, 77]);
        send([198, 18, 0, 1]);
        wait_until("both to be dropped", || dropped(&routed.yard, "reverse-path") == 2);
        send([10, 9, 1, 254]);
        wait_until("its own address to be dropped", || dropped(&routed.yard, "martian") == 1);
        send([10, 9, 1, 77]);
        let (_, from) = server.recv_from(&mut [0; 8]).expect("it arrives");
        assert_eq!(from.to_string(), "10.9.1.77:5000", "and nothing before it");
        both(2).iter().for_each(|far| ping(routed.host(1), far, 56, 3));
    });
}

// -- A bridge's own rules

#[test]
fn a_bridge_filters_between_its_own_ports() {
    as_root(|| {
        let [a, b, c] = ["a", "b", "c"].map(Host::with_ipv6);
        let rule = |match_keys: &str, action: &str| {
            format!("[[rule]]\nbridge = \"lan\"\nmatch = {{ {match_keys} }}\naction = \"{action}\"\n")
        };
        let config = "[bridge.lan]\n".to_owned()
            + &[(&a, "a"), (&b, "b"), (&c, "c")]
                .map(|(host, name)| tap(name, host, "device = \"eth\""))
                .concat()
            + &rule("state = [\"established\", \"related\"]", "accept")
            + &rule("in = [\"b\", \"c\"], out = \"a\", protocol = \"tcp\"", "reject")
            + &rule("in = \"b\", out = \"a\"", "drop");
        let yard = Yard::start(&config);
        for (host, n) in [(&a, 1), (&b, 2), (&c, 3)] {
            host.ip(&format!("addr add {}/24 dev eth", v4(1, n)));
            host.ip(&format!("addr add {}/64 dev eth nodad", v6(1, n)));
        }
        for [of_a, of_b, of_c] in [[1, 2, 3].map(|n| v4(1, n)), [1, 2, 3].map(|n| v6(1, n))] {
            wait_for_ping(&a, &of_b);
            tcp(&a, &b, &of_b, 8 << 20);
            tcp(&c, &b, &of_b, 8 << 20);
            ping_in_vain(&b, &of_a, 2);
            ping(&c, &of_a, 56, 2);
            assert_eq!(connect(&b, &of_a, 80).0, Err(ErrorKind::ConnectionRefused), "{of_a}");
            ping(&b, &of_c, 3000, 2);
        }
        let counts = [1, 2, 3].map(|n| matched(&yard, n));
        assert!(counts[0] > 100 && counts[1] >= 2 && counts[2] >= 4, "{counts:?}");
        yard.assert_conserved();
    });
}
