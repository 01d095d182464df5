//! Translation of addresses as hosts see it: nobody outside knows a way to the networks inside.
//!
//! Network 1 is inside, network 2 outside.

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use common::overlay::{no_frame_was_damaged, path_mtu};
use common::routed::{self, GATEWAY, HOST, Routed, forward, path, ping_says, v4, v6};
use common::traffic::{Stream, Talk, ping, tcp, wait_for_ping};
use common::web::{WebServer, curl, load_big, name_at};
use common::{Host, PATIENCE, as_root, tap};

const MASQUERADE: &str = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";

/// A router with this rest of its configuration, and a host outside that knows no way inside.
fn start(networks: usize, rest: &str) -> Routed {
    let routed = Routed::start(networks, rest);
    let outside = routed.host(2);
    outside.ip("route del default");
    outside.ip("-6 route del default");
    routed
}

/// The addresses of the host outside.
fn outside() -> [String; 2] {
    [v4(2, HOST), v6(2, HOST)]
}

/// The addresses of the router outside.
fn gateway() -> [String; 2] {
    [v4(2, GATEWAY), v6(2, GATEWAY)]
}

/// An address as a part of a place or of a URL.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// A UDP socket of a host at `address`, any port unless one is given.
fn udp(host: &Host, address: &str, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind((address, port)));
    let socket = socket.unwrap_or_else(|error| panic!("UDP at {address} of {host}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
    socket
}

// -- Masquerade

#[test]
fn a_network_behind_one_address_reaches_everything() {
    as_root(|| {
        let routed = start(2, MASQUERADE);
        let (inside, far) = (routed.host(1), routed.host(2));
        for (target, seen) in outside().iter().zip(gateway()) {
            wait_for_ping(inside, target);
            for size in [0, 1, 56, 1400, 1452] {
                ping(inside, target, size, 3);
            }
            tcp(inside, far, target, 16 << 20);
            let mut talk = Talk::open(inside, far, target);
            talk.exchange();
            assert_eq!(talk.seen().ip(), seen.parse::<IpAddr>().expect("an address"));

            let server = udp(far, target, 0);
            let client = udp(inside, if target.contains(':') { "::" } else { "0.0.0.0" }, 0);
            client.connect(server.local_addr().expect("it is bound")).expect("there is a route");
            let mut buffer = [0; 20_000];
            for size in [0, 1, 1400, 1472, 9000, 20_000] {
                client.send(&vec![7; size]).expect("a datagram");
                let (got, from) = server.recv_from(&mut buffer).expect("it arrives");
                assert_eq!((got, from.ip()), (size, seen.parse().expect("an address")));
                server.send_to(&buffer[..got], from).expect("an answer");
                assert_eq!(client.recv(&mut buffer).expect("it comes back"), size);
            }
        }
        inside.assert_offloads_on("eth");
        no_frame_was_damaged(&routed.yard);
        let stream = Stream::start(inside, far, &v4(2, HOST));
        ping(inside, &v4(2, HOST), 56, 10);
        stream.assert_lossless();
    });
}

#[test]
fn hosts_inside_that_use_the_same_port_are_told_apart() {
    as_root(|| {
        let routed = start(3, MASQUERADE);
        for (n, target) in outside().iter().enumerate() {
            let inside = [1, 3].map(|network| {
                wait_for_ping(routed.host(network), target);
                let address = if n == 0 { v4(network, HOST) } else { v6(network, HOST) };
                udp(routed.host(network), &address, 5000)
            });
            let server = udp(routed.host(2), target, 7000);
            let mut seen = BTreeSet::new();
            for round in 0..3 {
                for (client, name) in inside.iter().zip(*b"ac") {
                    client.send_to(&[name, round], (target.as_str(), 7000)).expect("a datagram");
                    let mut word = [0; 2];
                    let (_, from) = server.recv_from(&mut word).expect("it arrives");
                    seen.insert((name, from));
                    server.send_to(&word, from).expect("an answer");
                    let mut answer = [0; 2];
                    client.recv(&mut answer).expect("it comes back");
                    assert_eq!(answer, [name, round], "each gets its own");
                }
            }
            let ports: BTreeSet<_> = seen.iter().map(|(_, from)| from.port()).collect();
            assert_eq!((seen.len(), ports.len()), (2, 2), "{seen:?}");
            assert!(ports.contains(&5000), "the first keeps its port: {seen:?}");
        }
    });
}

#[test]
fn fragments_are_translated() {
    as_root(|| {
        let routed = start(2, MASQUERADE);
        for target in outside() {
            wait_for_ping(routed.host(1), &target);
            for size in [1473, 3000, 9000, 20_000] {
                let says = ping_says(routed.host(1), &format!("-c 3 -i 0.05 -W 5 -s {size} {target}"));
                assert!(says.contains("3 received"), "{size}: {says}");
            }
        }
        routed.yard.assert_conserved();
    });
}

#[test]
fn superframes_are_translated_for_devices_that_take_none() {
    as_root(|| {
        // One of them, the other, both: what is cut or finished comes before or behind the translation.
        for plain in [&["h1"][..], &["h2"], &["h1", "h2"]] {
            let routed = Routed::start_changed(2, MASQUERADE, |config| {
                plain.iter().fold(config, |config, port| {
                    let table = format!("[port.{port}]\n");
                    config.replace(&table, &format!("{table}offload = false\n"))
                })
            });
            for target in outside() {
                wait_for_ping(routed.host(1), &target);
                tcp(routed.host(1), routed.host(2), &target, 4 << 20);
                Talk::open(routed.host(1), routed.host(2), &target).exchange();
            }
            no_frame_was_damaged(&routed.yard);
        }
    });
}

#[test]
fn who_was_not_spoken_to_is_not_let_in() {
    as_root(|| {
        let routed = start(2, MASQUERADE);
        let (inside, far) = (routed.host(1), routed.host(2));
        far.ip(&format!("addr add {}/24 dev eth", v4(2, 3)));
        wait_for_ping(inside, &v4(2, HOST));
        let client = udp(inside, "0.0.0.0", 0);
        let server = udp(far, &v4(2, HOST), 0);
        client.send_to(b"hello", server.local_addr().expect("it is bound")).expect("a datagram");
        let (_, public) = server.recv_from(&mut [0; 8]).expect("it arrives");
        // A stranger is told what everybody is told where nothing is. The same host from another port is a friend: who
        // is let in is told by his address.
        for (port, what) in [(public.port(), "mapped for others"), (public.port() ^ 1, "nobody's")] {
            let stranger = udp(far, &v4(2, 3), 0);
            stranger.connect((public.ip(), port)).expect("it is on the link");
            stranger.send(b"stranger").expect("a datagram");
            let error = stranger.recv(&mut [0]).expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}: {error}");
        }
        let other = udp(far, &v4(2, HOST), 0);
        other.send_to(b"other", public).expect("a datagram");
        let mut word = [0; 8];
        let (len, _) = client.recv_from(&mut word).expect("it comes in");
        assert_eq!(&word[..len], b"other");
    });
}

/// A host outside that routes on to another, `far`: 10.77.0.2 and fd00:77::2, over a link with this MTU.
fn beyond(routed: &Routed, mtu: u32) -> Host {
    let (next, far) = (routed.host(2), Host::with_ipv6("far"));
    forward(next);
    next.veth("lan", "10.77.0.1/24", &far, "eth");
    next.ip(&format!("link set dev lan mtu {mtu}"));
    next.ip("addr add fd00:77::1/64 dev lan nodad");
    far.ip("addr add 10.77.0.2/24 dev eth");
    far.ip("addr add fd00:77::2/64 dev eth nodad");
    far.ip("route add default via 10.77.0.1");
    far.ip("route add default via fd00:77::1");
    far
}

/// Routes to what is [`beyond`].
fn to_beyond() -> String {
    let [a, b] = outside();
    format!(
        "[[router.gw.route]]\nto = \"0.0.0.0/0\"\nvia = \"{a}\"\n[[router.gw.route]]\nto = \"::/0\"\nvia = \"{b}\"\n"
    )
}

#[test]
fn errors_from_outside_find_whom_they_are_about() {
    as_root(|| {
        let routed = start(2, &(to_beyond() + MASQUERADE));
        let inside = routed.host(1);
        let _far = beyond(&routed, 1300);
        let ways = [
            ([v4(1, GATEWAY), v4(2, HOST), "10.77.0.2".to_owned()], "0.0.0.0", 28),
            ([v6(1, GATEWAY), v6(2, HOST), "fd00:77::2".to_owned()], "::", 48),
        ];
        for (way, any, headers) in ways {
            let far = &way[2];
            wait_for_ping(inside, far);
            let absent = if far.contains(':') { v6(2, 0x99) } else { v4(2, 99) };
            let says = ping_says(inside, &format!("-c 1 -W 10 {absent}"));
            assert!(says.contains(&format!("From {} ", way[0])) && says.contains("nreachable"), "{says}");
            // Time exceeded, by whom it happened; and at the end port unreachable, which ends the way.
            assert_eq!(path(inside, far), way);

            let socket = udp(inside, any, 0);
            socket.connect((far.as_str(), 9)).expect("there is a route");
            socket.send(b"anybody?").expect("a datagram");
            let error = socket.recv(&mut [0]).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{far}: {error}");

            let echo =
                |bytes: u32| ping_says(inside, &format!("-c 1 -W 5 -M do -s {} {far}", bytes - headers));
            assert!(echo(1300).contains("1 received"));
            let says = echo(1301);
            assert!(says.contains("mtu = 1300") || says.contains("mtu=1300"), "{says}");
            assert_eq!(path_mtu(inside, far), Some(1300), "{far}");
        }
    });
}

#[test]
fn tcp_learns_the_path_mtu_through_translation() {
    as_root(|| {
        let routed = start(2, &(to_beyond() + MASQUERADE));
        let inside = routed.host(1);
        let far = beyond(&routed, 1300);
        for target in ["10.77.0.2", "fd00:77::2"] {
            wait_for_ping(inside, target);
            tcp(inside, &far, target, 8 << 20);
            assert_eq!(path_mtu(inside, target), Some(1300), "{target}");
        }
    });
}

#[test]
fn masquerade_over_a_device_that_carries_ip() {
    as_root(|| {
        let kernel = Host::with_ipv6("kernel");
        let wan = format!(
            "[port.wan]\ntype = \"tun\"\nnetns = \"{kernel}\"\ndevice = \"wan\"\n\
             [router.gw.interface.wan]\nport = \"wan\"\naddress = [\"10.7.0.2/30\", \"fd00:7::2/64\"]\n\
             [[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n"
        );
        let routed = Routed::start(1, &wan);
        kernel.ip("addr add 10.7.0.1/30 dev wan");
        kernel.ip("addr add fd00:7::1/64 dev wan nodad");
        kernel.ip("link set dev wan up");
        for target in ["10.7.0.1", "fd00:7::1"] {
            wait_for_ping(routed.host(1), target);
            ping(routed.host(1), target, 1400, 5);
            tcp(routed.host(1), &kernel, target, 16 << 20);
        }
        no_frame_was_damaged(&routed.yard);
    });
}

// -- From outside

/// A port that is forwarded to these places.
fn port_forward(port: &str, protocol: &str, to: &[String]) -> String {
    format!(
        "[[router.gw.nat]]\ntype = \"port-forward\"\nin = \"net2\"\nprotocol = \"{protocol}\"\nport = {port}\nto = {to:?}\n"
    )
}

#[test]
fn a_web_server_behind_a_forwarded_port_serves_all_sides() {
    as_root(|| {
        let neighbour = Host::with_ipv6("neighbour");
        let inside = [v4(1, HOST), v6(1, HOST)].map(|address| bracketed(&address));
        let ports: String =
            inside.iter().map(|place| port_forward("8080", "tcp", &[format!("{place}:80")])).collect();
        let port = tap("neighbour", &neighbour, "bridge = \"net1\"\ndevice = \"eth\"");
        let routed = start(3, &(ports + MASQUERADE + &port));
        routed::address(&neighbour, "eth", 1, 3);
        let _servers = inside.map(|place| WebServer::start(routed.host(1), &format!("{place}:80"), "inside"));
        for public in gateway().map(|address| format!("{}:8080", bracketed(&address))) {
            // From outside; from another network; from the server's own, by way of the router (hairpin); from itself.
            for client in [routed.host(2), routed.host(3), &neighbour, routed.host(1)] {
                assert_eq!(name_at(client, &public), "inside", "{client} from {public}");
                load_big(client, &public);
            }
        }
        // The other ports of the address are the router's own.
        assert_eq!(curl(routed.host(2), &format!("http://{}:8081/name", v4(2, GATEWAY))), None);
        no_frame_was_damaged(&routed.yard);
    });
}

#[test]
fn a_server_behind_a_forwarded_port_learns_the_path_mtu_to_its_clients() {
    as_root(|| {
        let inside = [v4(1, HOST), v6(1, HOST)].map(|address| bracketed(&address));
        let ports: String =
            inside.iter().map(|place| port_forward("8080", "tcp", &[format!("{place}:80")])).collect();
        let routed = start(2, &(to_beyond() + &ports + MASQUERADE));
        let far = beyond(&routed, 1300);
        let _servers = inside.map(|place| WebServer::start(routed.host(1), &format!("{place}:80"), "inside"));
        for (public, client) in gateway().iter().zip(["10.77.0.2", "fd00:77::2"]) {
            wait_for_ping(&far, public);
            load_big(&far, &format!("{}:8080", bracketed(public)));
            assert_eq!(path_mtu(routed.host(1), client), Some(1300), "{client}");
        }
    });
}

#[test]
fn connections_are_spread_over_two_servers() {
    as_root(|| {
        let places = [1, 3].map(|n| format!("{}:80", v4(n, HOST)));
        let routed = start(3, &port_forward("8080", "tcp", &places));
        let _servers = [1, 3].map(|n| {
            let place = format!("{}:80", v4(n, HOST));
            WebServer::start(routed.host(n), &place, &format!("server {n}"))
        });
        let public = format!("{}:8080", v4(2, GATEWAY));
        let names: Vec<_> = (0..40).map(|_| name_at(routed.host(2), &public)).collect();
        for name in ["server 1", "server 3"] {
            let count = names.iter().filter(|other| *other == name).count();
            assert!(count >= 4, "{name} had {count} of 40 connections");
        }
    });
}

#[test]
fn a_range_of_ports_is_forwarded_to_another_range() {
    as_root(|| {
        let routed = start(2, &port_forward("\"6000-6009\"", "udp", &[format!("{}:7000", v4(1, HOST))]));
        let client = udp(routed.host(2), "0.0.0.0", 0);
        for offset in [0, 4, 9] {
            let server = udp(routed.host(1), &v4(1, HOST), 7000 + offset);
            client.send_to(b"here", (v4(2, GATEWAY), 6000 + offset)).expect("a datagram");
            let mut word = [0; 8];
            let (len, from) = server.recv_from(&mut word).expect("it arrives");
            assert_eq!(from.ip(), v4(2, HOST).parse::<IpAddr>().expect("an address"));
            server.send_to(&word[..len], from).expect("an answer");
            let (_, from) = client.recv_from(&mut word).expect("it comes back");
            assert_eq!(from.to_string(), format!("{}:{}", v4(2, GATEWAY), 6000 + offset));
        }
    });
}

#[test]
fn an_address_outside_stands_for_one_inside() {
    as_root(|| {
        let pairs = [(v4(1, HOST), v4(2, 50)), (v6(1, HOST), v6(2, 0x50))];
        let nat: String = pairs
            .iter()
            .map(|(internal, external)| {
                format!(
                    "[[router.gw.nat]]\ntype = \"static\"\ninterface = \"net2\"\ninternal = \"{internal}\"\nexternal = \"{external}\"\n"
                )
            })
            .collect();
        let routed = start(2, &nat);
        let (inside, far) = (routed.host(1), routed.host(2));
        for ((internal, external), target) in pairs.iter().zip(outside()) {
            wait_for_ping(far, external);
            wait_for_ping(inside, &target);
            // The server binds inside; the client knows the address outside.
            let server = udp(inside, internal, 7000);
            let client = udp(far, &target, 0);
            client.connect((external.as_str(), 7000)).expect("there is a route");
            client.send(b"hello").expect("a datagram");
            let (_, from) = server.recv_from(&mut [0; 8]).expect("it arrives");
            server.send_to(b"yes", from).expect("an answer");
            assert_eq!(client.recv(&mut [0; 8]).expect("it comes back"), 3);
            tcp(inside, far, &target, 4 << 20);
            assert_eq!(
                Talk::open(inside, far, &target).seen().ip(),
                external.parse::<IpAddr>().expect("one")
            );
            let _web = WebServer::start(inside, &format!("{}:80", bracketed(internal)), "inside");
            load_big(far, &bracketed(external));
        }
    });
}

#[test]
fn sources_are_taken_from_a_range() {
    as_root(|| {
        let nat = format!(
            "[[router.gw.nat]]\ntype = \"snat\"\nout = \"net2\"\nto = \"{}-{}\"\nports = \"2000-2999\"\n",
            v4(2, 60),
            v4(2, 63)
        );
        let routed = start(3, &nat);
        for n in [1, 3] {
            wait_for_ping(routed.host(n), &v4(2, HOST));
            tcp(routed.host(n), routed.host(2), &v4(2, HOST), 4 << 20);
            let talks: Vec<_> =
                (0..8).map(|_| Talk::open(routed.host(n), routed.host(2), &v4(2, HOST))).collect();
            for mut talk in talks {
                talk.exchange();
                let IpAddr::V4(ip) = talk.seen().ip() else { panic!("{}", talk.seen()) };
                assert!((60..=63).contains(&ip.octets()[3]) && ip.octets()[2] == 2, "{}", talk.seen());
            }
        }
    });
}

#[test]
fn a_prefix_stands_for_another() {
    as_root(|| {
        let nat = "[[router.gw.nat]]\ntype = \"npt\"\nout = \"net2\"\ninternal = \"fd00:9:1::/64\"\nexternal = \"fd00:77:1::/64\"\n";
        let routed = start(2, nat);
        let (inside, far) = (routed.host(1), routed.host(2));
        far.ip(&format!("-6 route add fd00:77:1::/64 via {}", v6(2, GATEWAY)));
        let target = v6(2, HOST);
        wait_for_ping(inside, &target);
        ping(inside, &target, 1400, 3);
        ping(inside, &target, 3000, 3);
        tcp(inside, far, &target, 8 << 20);
        let mut talk = Talk::open(inside, far, &target);
        talk.exchange();
        let seen = talk.seen().ip();
        assert!(seen.to_string().starts_with("fd00:77:1:"), "{seen}");
        let says = ping_says(inside, &format!("-c 1 -W 10 {}", v6(2, 0x99)));
        assert!(says.contains(&format!("From {} ", v6(1, GATEWAY))) && says.contains("nreachable"), "{says}");
        // It works from outside too, and errors are translated as well.
        ping(far, &seen.to_string(), 1400, 3);
        let _web = WebServer::start(inside, &format!("[{}]:80", v6(1, HOST)), "inside");
        load_big(far, &format!("[{seen}]"));
        let socket = udp(far, "::", 0);
        socket.connect((seen, 9)).expect("there is a route");
        socket.send(b"anybody?").expect("a datagram");
        let error = socket.recv(&mut [0]).expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    });
}

// -- Changes and floods

#[test]
fn connections_survive_a_change_of_translations_and_rules() {
    as_root(|| {
        let routed = start(2, MASQUERADE);
        let (inside, far) = (routed.host(1), routed.host(2));
        let mut talks: Vec<_> = outside().iter().map(|target| Talk::open(inside, far, target)).collect();
        let stream = Stream::start(inside, far, &v4(2, HOST));
        let more = [
            port_forward("8080", "tcp", &[format!("{}:80", v4(1, HOST))]),
            "[[rule]]\nrouter = \"gw\"\nmatch = { state = [\"established\"] }\naction = \"accept\"\n".into(),
            "[[rule]]\nrouter = \"gw\"\nmatch = { protocol = \"tcp\", destination-port = 22 }\naction = \"drop\"\n".into(),
        ]
        .concat();
        for changed in [true, false, true] {
            routed.reload(|config| if changed { format!("{config}{more}") } else { config.to_owned() });
            talks.iter_mut().for_each(Talk::exchange);
        }
        // Without the translation new ones are not translated, and the old ones live.
        routed.reload(|config| format!("{}{more}", config.replace(MASQUERADE, "")));
        talks.iter_mut().for_each(Talk::exchange);
        stream.assert_lossless();
    });
}
