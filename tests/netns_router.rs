//! A router between the stacks of kernels: packets pass, are answered, and find their way again after changes.

mod common;

use common::overlay::{dropped, no_frame_was_damaged, path_mtu};
use common::routed::{GATEWAY, HOST, Routed, address, path, ping_says, v4, v6};
use common::traffic::{Stream, ping, ping_in_vain, tcp, wait_for_ping};
use common::{as_root, wait_until};

/// Both of a host's addresses in network `n`.
fn both(n: usize) -> [String; 2] {
    [v4(n, HOST), v6(n, HOST)]
}

/// TCP between the hosts of networks 1 and 2, each way, by IPv4 and IPv6.
fn tcp_both_ways(routed: &Routed, bytes: usize) {
    for (from, to) in [(1, 2), (2, 1)] {
        for address in both(to) {
            tcp(routed.host(from), routed.host(to), &address, bytes);
        }
    }
}

#[test]
fn packets_pass_between_networks_and_superframes_pass_whole() {
    as_root(|| {
        let routed = Routed::start(2, "");
        for (from, to) in [(1, 2), (2, 1)] {
            for address in both(to) {
                wait_for_ping(routed.host(from), &address);
                for size in [0, 1, 56, 1400, 1452] {
                    ping(routed.host(from), &address, size, 3);
                }
            }
        }
        [1, 2].iter().for_each(|n| routed.host(*n).assert_offloads_on("eth"));
        let count = || ["h1", "h2"].map(|port| routed.yard.port_count(port, "rx_frames")).iter().sum::<u64>();
        let before = count();
        tcp_both_ways(&routed, 16 << 20);
        // Acknowledgements are frames too; cut into segments, the content alone is 46,000.
        let frames = count() - before;
        assert!(frames < 20_000, "superframes came as {frames} frames");
        no_frame_was_damaged(&routed.yard);
    });
}

#[test]
fn a_router_answers_for_itself_and_counts_hops() {
    as_root(|| {
        let routed = Routed::start(2, "");
        let one = routed.host(1);
        for (target, near) in both(2).into_iter().zip([v4(1, GATEWAY), v6(1, GATEWAY)]) {
            wait_for_ping(one, &near);
            ping(one, &near, 1400, 3);
            wait_for_ping(one, &target);
            let reply = ping_says(one, &format!("-c 1 -W 5 {target}"));
            assert!(reply.contains("ttl=63"), "a hop was counted each way: {reply}");
            let expired = ping_says(one, &format!("-c 1 -W 5 -t 1 {target}"));
            assert!(expired.contains(&format!("From {near}")), "{expired}");
            assert!(expired.contains("Time to live exceeded") || expired.contains("Hop limit"), "{expired}");
            assert_eq!(path(one, &target), [near, target]);
        }
        // Its far address answers too.
        ping(one, &v4(2, GATEWAY), 56, 1);
        ping(one, &v6(2, GATEWAY), 56, 1);
        assert!(dropped(&routed.yard, "ttl-exceeded") >= 4);
    });
}

#[test]
fn a_service_that_a_router_has_not_is_refused_at_once() {
    as_root(|| {
        let routed = Routed::start(1, "");
        for gateway in [v4(1, GATEWAY), v6(1, GATEWAY)] {
            wait_for_ping(routed.host(1), &gateway);
            let connect = || std::net::TcpStream::connect((gateway.as_str(), 22));
            let error = routed.host(1).enter(connect).expect_err("nobody listens");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn where_no_route_leads_the_sender_is_told() {
    as_root(|| {
        let routes = "[[router.gw.route]]\nto = \"10.66.0.0/16\"\nprohibit = true\n\
                      [[router.gw.route]]\nto = \"10.67.0.0/16\"\nblackhole = true\n\
                      [[router.gw.route]]\nto = \"fd00:66::/32\"\nprohibit = true\n";
        let routed = Routed::start(2, routes);
        let one = routed.host(1);
        wait_for_ping(one, &v4(2, HOST));
        wait_for_ping(one, &v6(2, HOST));
        for (target, answer) in [
            ("10.99.0.1", "Destination Net Unreachable"),
            ("10.66.0.1", "Packet filtered"),
            ("fd00:99::1", "Destination unreachable: No route"),
            ("fd00:66::1", "Destination unreachable: Administratively prohibited"),
        ] {
            let said = ping_says(one, &format!("-c 1 -W 5 {target}"));
            let from = if target.contains(':') { v6(1, GATEWAY) } else { v4(1, GATEWAY) };
            assert!(said.contains(answer) && said.contains(&format!("From {from}")), "{target}: {said}");
        }
        let silent = ping_says(one, "-c 1 -W 1 10.67.0.1");
        assert!(!silent.contains("From"), "{silent}");
        assert_eq!(dropped(&routed.yard, "blackhole"), 1);
        assert_eq!(dropped(&routed.yard, "no-route"), 4);
    });
}

// -- Packets that do not fit

/// A configuration in which the interface in network 2 has a smaller MTU than its host, which does not know of it.
fn narrow(config: String) -> String {
    let far = format!("[\"{}/24\", \"{}/64\"]", v4(2, GATEWAY), v6(2, GATEWAY));
    let narrow = format!("{far}\nmtu = 1400");
    assert!(config.contains(&far));
    config.replace(&far, &narrow)
}

#[test]
fn a_narrow_link_behind_a_router_is_discovered() {
    as_root(|| {
        let routed = Routed::start_changed(2, "", narrow);
        let one = routed.host(1);
        for (target, headers) in both(2).into_iter().zip([28, 48]) {
            wait_for_ping(one, &target);
            let echo =
                |bytes: u32| ping_says(one, &format!("-c 1 -W 5 -M do -s {} {target}", bytes - headers));
            assert!(echo(1400).contains("1 received"), "{target}");
            let too_long = echo(1401);
            assert!(too_long.contains("0 received"), "{target}: {too_long}");
            let told = too_long.contains("mtu = 1400") || too_long.contains("mtu=1400");
            assert!(told, "{target}: {too_long}");
            assert_eq!(path_mtu(one, &target), Some(1400), "{target}");
        }
        // TCP finds it by itself.
        let routed = Routed::start_changed(2, "", narrow);
        [v4(2, HOST), v6(2, HOST)].iter().for_each(|target| wait_for_ping(routed.host(1), target));
        tcp_both_ways(&routed, 8 << 20);
        for target in both(2) {
            assert_eq!(path_mtu(routed.host(1), &target), Some(1400), "{target}");
        }
        assert!(dropped(&routed.yard, "exceeds-mtu") >= 2);
    });
}

#[test]
fn what_may_be_fragmented_is_and_fragments_pass() {
    as_root(|| {
        for change in [|config| config, narrow] {
            let routed = Routed::start_changed(2, "", change);
            let one = routed.host(1);
            both(2).iter().for_each(|target| wait_for_ping(one, target));
            for size in [1372, 1373, 1472, 1473, 3000, 9000, 60_000] {
                // Each on its own, as many at once could fill queues.
                let said = ping_says(one, &format!("-c 3 -i 0.05 -W 5 -M dont -s {size} {}", v4(2, HOST)));
                assert!(said.contains("3 received"), "{size}: {said}");
            }
            // By IPv6 the sender alone may fragment, once it knows how long a packet may be.
            wait_until("a long ping to pass", || {
                ping_says(one, &format!("-c 1 -W 1 -s 3000 {}", v6(2, HOST))).contains("1 received")
            });
            ping(one, &v6(2, HOST), 9000, 3);
            routed.yard.assert_conserved();
        }
    });
}

// -- Changes

#[test]
fn a_neighbour_that_is_not_there_is_reported() {
    as_root(|| {
        let routed = Routed::start(2, "");
        let one = routed.host(1);
        for (target, absent, answer) in [
            (v4(2, HOST), v4(2, 99), "Destination Host Unreachable"),
            (v6(2, HOST), v6(2, 0x99), "Address unreachable"),
        ] {
            wait_for_ping(one, &target);
            let said = ping_says(one, &format!("-c 1 -W 10 {absent}"));
            let near = if target.contains(':') { v6(1, GATEWAY) } else { v4(1, GATEWAY) };
            assert!(said.contains(answer) && said.contains(&format!("From {near} ")), "{said}");
        }
        assert!(dropped(&routed.yard, "no-neighbor") >= 2);
        // It comes, and is found.
        let two = routed.host(2);
        two.ip(&format!("addr add {}/24 dev eth", v4(2, 99)));
        two.ip(&format!("addr add {}/64 dev eth nodad", v6(2, 0x99)));
        wait_for_ping(one, &v4(2, 99));
        wait_for_ping(one, &v6(2, 0x99));
        // It goes, and what was known of it is forgotten by order: by itself that takes half a minute.
        two.ip("link set dev eth down");
        routed.yard.ok("neighbor flush");
        let said = ping_says(one, &format!("-c 1 -W 10 {}", v4(2, HOST)));
        assert!(said.contains("Destination Host Unreachable"), "{said}");
        routed.attach(2);
        wait_for_ping(one, &v4(2, HOST));
        wait_for_ping(one, &v6(2, HOST));
    });
}

#[test]
fn a_host_that_gets_another_mac_address_is_followed() {
    as_root(|| {
        let routed = Routed::start(2, "");
        let (one, two) = (routed.host(1), routed.host(2));
        for (key, value) in [("ipv4/conf/eth/arp_notify", "1"), ("ipv6/conf/eth/ndisc_notify", "1")] {
            let path = format!("/proc/sys/net/{key}");
            two.enter(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for target in both(2) {
            wait_for_ping(one, &target);
        }
        two.ip("link set dev eth address 02:70:00:00:00:77");
        for target in both(2) {
            wait_for_ping(one, &target);
        }
        tcp_both_ways(&routed, 1 << 20);
    });
}

#[test]
fn changes_of_routes_and_interfaces_cost_other_flows_nothing() {
    as_root(|| {
        let routed = Routed::start(3, "");
        let (one, two, three) = (routed.host(1), routed.host(2), routed.host(3));
        three.ip("addr add 10.77.0.1/32 dev lo");
        wait_for_ping(one, &v4(3, HOST));
        let stream = Stream::start(one, two, &v4(2, HOST));

        // A route comes and goes.
        ping_in_vain(one, "10.77.0.1", 1);
        let route = format!("[[router.gw.route]]\nto = \"10.77.0.0/24\"\nvia = \"{}\"\n", v4(3, HOST));
        routed.reload(|config| format!("{config}{route}"));
        ping(one, "10.77.0.1", 56, 3);
        routed.reload(str::to_owned);
        ping_in_vain(one, "10.77.0.1", 1);

        // An interface goes and comes.
        let interface =
            format!("[router.gw.interface.net3]\nbridge = \"net3\"\naddress = [\"{}/24\"", v4(3, GATEWAY));
        routed.reload(|config| {
            assert!(config.contains(&interface), "{config}");
            let (before, after) = config.split_once(&interface).expect("it is there");
            let (_, after) = after.split_once('\n').expect("a line has an end");
            format!("{before}{after}")
        });
        ping_in_vain(one, &v4(3, HOST), 1);
        routed.reload(str::to_owned);
        wait_for_ping(one, &v4(3, HOST));
        stream.assert_lossless();
    });
}

#[test]
fn a_device_that_is_made_anew_is_routed_to_again() {
    as_root(|| {
        let routed = Routed::start(2, "");
        let (one, two) = (routed.host(1), routed.host(2));
        both(2).iter().for_each(|target| wait_for_ping(one, target));
        routed.reload(|config| config.replace("[port.h2]", "[port.h2]\noffload = false"));
        routed.attach(2);
        // Its MAC address is another, too; it is known once the host has said a word.
        wait_for_ping(two, &v4(2, GATEWAY));
        wait_for_ping(two, &v6(2, GATEWAY));
        both(2).iter().for_each(|target| wait_for_ping(one, target));
        tcp_both_ways(&routed, 2 << 20);
    });
}

// -- Router advertisements

#[test]
fn a_host_configures_itself_by_router_advertisements() {
    as_root(|| {
        let routed = Routed::start_changed(2, "", |config| {
            let lan = "[router.gw.interface.net1]\n";
            let told = format!("{lan}advertise = {{ interval = \"4s\", lifetime = \"60s\" }}\n");
            assert!(config.contains(lan));
            config.replace(lan, &told).replace("[bridge.net1]", "[bridge.net1]\nneighbor-suppression = true")
        });
        let one = routed.host(1);
        // As a host that was given nothing.
        one.ip("link set dev eth down");
        one.ip("addr flush dev eth");
        one.ip("-6 route flush dev eth");
        one.ip("link set dev eth up");
        wait_until("an address of its own", || {
            let addresses = one.ip("-6 addr show dev eth scope global");
            addresses.contains("fd00:9:1:") && !addresses.contains("tentative")
        });
        let routes = one.ip("-6 route show default");
        assert!(routes.contains("via fe80::") && routes.contains("proto ra"), "{routes}");
        wait_for_ping(one, &v6(2, HOST));
        wait_for_ping(one, &v6(1, GATEWAY));
        // By IPv4 its neighbours and its router are found as ever.
        address(one, "eth", 1, HOST);
        wait_for_ping(one, &v4(2, HOST));
        tcp_both_ways(&routed, 1 << 20);
    });
}
