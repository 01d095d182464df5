//! What a router's interfaces can be on: VLANs of one bridge, devices that carry IP, tunnels between hosts; several
//! routers that know nothing of one another, and several ways to one network.

mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::slice::from_ref;
use std::time::Duration;

use common::overlay::{
    Family, Overlay, Plan, Side, Tunnel, dropped, guest_v4, guest_v6, no_frame_was_damaged, tapyard_config,
};
use common::routed::{self, GATEWAY, HOST, Routed, forward, path, ping_says, v4, v6};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, PATIENCE, Yard, as_root, tap};

/// TCP both ways between two hosts, by all addresses of each.
fn tcp_both_ways(one: (&Host, &[String]), two: (&Host, &[String]), bytes: usize) {
    for ((from, _), (to, addresses)) in [(one, two), (two, one)] {
        addresses.iter().for_each(|address| tcp(from, to, address, bytes));
    }
}

/// The addresses of host `n` in a network.
fn both(network: usize, n: u8) -> [String; 2] {
    [v4(network, n), v6(network, n)]
}

#[test]
fn vlans_of_one_bridge_are_routed_also_on_one_trunk() {
    as_root(|| {
        let [a, b, ten, twenty] = ["a", "b", "ten", "twenty"].map(Host::with_ipv6);
        let here = Host::new("yard");
        here.veth("lan0", "", &here, "edge0");
        let interface = |vlan: usize| {
            let (v4, v6) = (v4(vlan, GATEWAY), v6(vlan, GATEWAY));
            format!(
                "[router.gw.interface.v{vlan}]\nbridge = \"lan\"\nvlan = {vlan}\naddress = [\"{v4}/24\", \"{v6}/64\"]\n"
            )
        };
        // The ends of a wire, as between this switch and another.
        let trunk = |bridge: &str| {
            let keys = format!("type = \"netdev\"\nbridge = \"{bridge}\"\ntrunk = [10, 20]\n");
            format!("[port.{bridge}0]\n{keys}")
        };
        let config = [
            "[bridge.lan]\n[router.gw]\n".to_owned(),
            tap("a", &a, "device = \"eth\"\nvlan = 10"),
            tap("b", &b, "device = \"eth\"\nvlan = 20"),
            "[bridge.edge]\n".to_owned(),
            tap("c", &ten, "bridge = \"edge\"\ndevice = \"eth\"\nvlan = 10"),
            tap("d", &twenty, "bridge = \"edge\"\ndevice = \"eth\"\nvlan = 20"),
            trunk("lan"),
            trunk("edge"),
            interface(10),
            interface(20),
        ];
        let yard = Yard::start_in(&here, &config.concat());
        let ends = [(&a, 10, HOST), (&b, 20, HOST), (&ten, 10, 3), (&twenty, 20, 3)];
        ends.iter().for_each(|(host, vlan, n)| routed::address(host, "eth", *vlan, *n));
        // From one access port to the other, from access to trunk, and back out of the trunk that it came in by.
        for (from, to) in [(0, 1), (0, 3), (1, 2), (2, 3)] {
            let [(one, from, m), (two, to, n)] = [ends[from], ends[to]];
            let (mine, theirs) = (both(from, m), both(to, n));
            theirs.iter().for_each(|address| wait_for_ping(one, address));
            mine.iter().for_each(|address| ping(two, address, 1400, 3));
            tcp_both_ways((one, &mine), (two, &theirs), 4 << 20);
        }
        no_frame_was_damaged(&yard);
        for (from, to) in [(&a, &twenty), (&ten, &twenty)] {
            let gateway = v4(10, GATEWAY);
            assert_eq!(path(from, &v4(20, 3)), [gateway, v4(20, 3)], "to {to}");
        }
        // In its own VLAN nothing is routed.
        assert_eq!(path(&a, &v4(10, 3)), [v4(10, 3)]);
    });
}

#[test]
fn a_tun_device_joins_a_bridge_to_a_host_that_routes() {
    as_root(|| {
        let (kernel, far) = (Host::with_ipv6("kernel"), Host::with_ipv6("far"));
        forward(&kernel);
        let wan = format!(
            "[port.wan]\ntype = \"tun\"\nnetns = \"{kernel}\"\ndevice = \"wan\"\n\
             [router.gw.interface.wan]\nport = \"wan\"\naddress = [\"10.7.0.2/30\", \"fd00:7::2/64\"]\n\
             [[router.gw.route]]\nto = \"0.0.0.0/0\"\nvia = \"10.7.0.1\"\n\
             [[router.gw.route]]\nto = \"::/0\"\nvia = \"fd00:7::1\"\n"
        );
        let routed = Routed::start(1, &wan);
        let one = routed.host(1);
        kernel.ip("addr add 10.7.0.1/30 dev wan");
        kernel.ip("addr add fd00:7::1/64 dev wan nodad");
        kernel.ip("link set dev wan up");
        kernel.ip("route add 10.9.0.0/16 via 10.7.0.2");
        kernel.ip("route add fd00:9::/32 via fd00:7::2");
        kernel.veth("lan", "10.77.0.1/24", &far, "eth");
        kernel.ip("addr add fd00:77::1/64 dev lan nodad");
        far.ip("addr add 10.77.0.2/24 dev eth");
        far.ip("addr add fd00:77::2/64 dev eth nodad");
        far.ip("route add default via 10.77.0.1");
        far.ip("route add default via fd00:77::1");

        let ways = [
            [v4(1, GATEWAY), "10.7.0.1".into(), "10.77.0.2".into()],
            [v6(1, GATEWAY), "fd00:7::1".into(), "fd00:77::2".into()],
        ];
        for target in ["10.77.0.2", "fd00:77::2"] {
            wait_for_ping(one, target);
            ping(one, target, 1400, 3);
        }
        let mine = both(1, HOST);
        mine.iter().for_each(|address| wait_for_ping(&far, address));
        let theirs = ["10.77.0.2".to_owned(), "fd00:77::2".to_owned()];
        tcp_both_ways((one, &mine), (&far, &theirs), 8 << 20);
        no_frame_was_damaged(&routed.yard);
        for way in ways {
            assert_eq!(path(one, &way[2]), way);
        }
        assert_eq!(path(&far, &mine[0]), ["10.77.0.1", "10.7.0.2", &mine[0]]);

        // The device goes down and comes up again.
        kernel.ip("link set dev wan down");
        ping_in_vain(one, "10.77.0.2", 2);
        kernel.ip("link set dev wan up");
        kernel.ip("route replace 10.9.0.0/16 via 10.7.0.2");
        wait_for_ping(one, "10.77.0.2");
    });
}

#[test]
fn tunnels_that_carry_ip_join_routers_on_two_hosts() {
    as_root(|| {
        for keys in [
            "type = \"geneve\"\npayload = \"ip\"\nvni = 100",
            "type = \"gre\"\npayload = \"ip\"\nkey = 100",
            "type = \"gre\"\npayload = \"ip\"\ntransport = \"ip\"",
        ] {
            let hosts = [1, 2].map(|n| Host::with_ipv6(&format!("site{n}")));
            hosts[0].veth("under", "10.8.0.1/24", &hosts[1], "under");
            hosts[1].ip("addr add 10.8.0.2/24 dev under");
            let guests = [1, 2].map(|n| Host::with_ipv6(&format!("g{n}")));
            let yards = [0, 1].map(|at| {
                let (n, other) = (at + 1, 2 - at);
                let (a, b) = (v4(n, GATEWAY), v6(n, GATEWAY));
                let config = format!(
                    "[bridge.lan]\n[router.gw.interface.lan]\nbridge = \"lan\"\naddress = [\"{a}/24\", \"{b}/64\"]\n\
                     [port.far]\n{keys}\nlocal = \"10.8.0.{n}\"\nremotes = [\"10.8.0.{other}\"]\n\
                     [router.gw.interface.far]\nport = \"far\"\naddress = [\"10.7.0.{n}/30\", \"fd00:7::{n}/64\"]\n\
                     [[router.gw.route]]\nto = \"10.9.{other}.0/24\"\nvia = \"10.7.0.{other}\"\n\
                     [[router.gw.route]]\nto = \"fd00:9:{other}::/64\"\nvia = \"fd00:7::{other}\"\n"
                );
                Yard::start_in(&hosts[at], &(config + &tap("guest", &guests[at], "device = \"eth\"")))
            });
            let [one, two] = &guests;
            routed::address(one, "eth", 1, HOST);
            routed::address(two, "eth", 2, HOST);
            let (mine, theirs) = (both(1, HOST), both(2, HOST));
            theirs.iter().for_each(|address| wait_for_ping(one, address));
            mine.iter().for_each(|address| ping(two, address, 1300, 3));
            assert_eq!(path(one, &theirs[0]), [&v4(1, GATEWAY), "10.7.0.2", &theirs[0]], "{keys}");
            assert_eq!(path(one, &theirs[1]), [&v6(1, GATEWAY), "fd00:7::2", &theirs[1]], "{keys}");
            tcp_both_ways((one, &mine), (two, &theirs), 8 << 20);
            // What is too long for the tunnel is told by the router, once what fits is known to it.
            let said = ping_says(one, &format!("-c 1 -W 5 -M do -s 1472 {}", theirs[0]));
            assert!(said.contains("mtu"), "{keys}: {said}");
            yards.iter().for_each(Yard::assert_conserved);
        }
    });
}

#[test]
fn hosts_behind_a_tunnel_have_their_router_at_its_other_end() {
    as_root(|| {
        // The kernel's VTEP sends superframes whose checksums are unfinished, and nothing says so.
        let plan = Plan::new(Tunnel::Vxlan, Family::V4, &[Side::Tapyard, Side::Kernel]);
        let overlay = Overlay::start(&plan);
        let other = Host::with_ipv6("other");
        let config = tapyard_config(&plan, 1, from_ref(overlay.guest(1)));
        let router = "[router.gw.interface.lan]\nbridge = \"lan0\"\naddress = [\"10.9.0.254/16\", \"fd00:9::fe/32\"]\n\
                      [bridge.other]\n[router.gw.interface.other]\nbridge = \"other\"\n\
                      address = [\"10.66.0.254/24\", \"fd00:66::fe/64\"]\n";
        let port = tap("other", &other, "bridge = \"other\"\ndevice = \"eth\"");
        let nat = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"other\"\n";
        let yard = overlay.yard(1);
        yard.reload(&[&config, router, &port].concat());
        other.ip("addr add 10.66.0.2/24 dev eth");
        other.ip("addr add fd00:66::2/64 dev eth nodad");
        let theirs = ["10.66.0.2".to_owned(), "fd00:66::2".to_owned()];
        for guest in [1, 2].map(|n| overlay.guest(n)) {
            guest.ip("route add default via 10.9.0.254");
            guest.ip("-6 route add default via fd00:9::fe dev eth");
        }
        other.ip("route add default via 10.66.0.254");
        other.ip("-6 route add default via fd00:66::fe");
        for n in [2, 1] {
            let (guest, mine) = (overlay.guest(n), [guest_v4(0, n), guest_v6(0, n)]);
            theirs.iter().for_each(|address| wait_for_ping(guest, address));
            mine.iter().for_each(|address| ping(&other, address, 1300, 3));
            tcp_both_ways((guest, &mine), (&other, &theirs), 8 << 20);
        }
        // The same with translation, for which nobody outside needs a way back.
        yard.reload(&[&config, router, &port, nat].concat());
        other.ip("route del default");
        other.ip("-6 route del default");
        for n in [2, 1] {
            theirs.iter().for_each(|address| wait_for_ping(overlay.guest(n), address));
            theirs.iter().for_each(|address| tcp(overlay.guest(n), &other, address, 8 << 20));
        }
        yard.assert_conserved();
    });
}

#[test]
fn routers_with_the_same_addresses_know_nothing_of_one_another() {
    as_root(|| {
        let (mut config, mut hosts) = (String::new(), BTreeMap::new());
        for router in ["red", "blue"] {
            for n in [1, 2] {
                let host = Host::with_ipv6(&format!("{router}{n}"));
                let keys = format!("bridge = \"{router}{n}\"");
                config += &format!("[bridge.{router}{n}]\n[router.{router}.interface.net{n}]\n{keys}\n");
                config += &format!("address = [\"{}/24\", \"{}/64\"]\n", v4(n, GATEWAY), v6(n, GATEWAY));
                config += &tap(&format!("{router}{n}"), &host, &format!("{keys}\ndevice = \"eth\""));
                hosts.insert((router, n), host);
            }
        }
        let yard = Yard::start(&config);
        for ((_, n), host) in &hosts {
            routed::address(host, "eth", *n, HOST);
        }
        for router in ["red", "blue"] {
            let [one, two] = [1, 2].map(|n| &hosts[&(router, n)]);
            both(2, HOST).iter().for_each(|address| wait_for_ping(one, address));
            // Each connection finds the listener of its own side: there is one at this port only there.
            tcp_both_ways((one, &both(1, HOST)), (two, &both(2, HOST)), 2 << 20);
        }
        // A host and a route that only one of them has.
        hosts[&("red", 2)].ip(&format!("addr add {}/24 dev eth", v4(2, 9)));
        hosts[&("red", 2)].ip("addr add 10.77.0.1/32 dev lo");
        let route = format!("[[router.red.route]]\nto = \"10.77.0.0/24\"\nvia = \"{}\"\n", v4(2, HOST));
        yard.reload(&(config + &route));
        for address in [v4(2, 9), "10.77.0.1".to_owned()] {
            wait_for_ping(&hosts[&("red", 1)], &address);
            ping_in_vain(&hosts[&("blue", 1)], &address, 1);
        }
        assert!(dropped(&yard, "no-route") >= 1);
    });
}

#[test]
fn flows_are_spread_over_two_next_hops_and_each_keeps_to_one() {
    as_root(|| {
        let route = format!(
            "[[router.gw.route]]\nto = \"10.77.0.0/24\"\nvia = [\"{}\", \"{}\"]\n",
            v4(2, HOST),
            v4(3, HOST)
        );
        let routed = Routed::start(3, &route);
        let one = routed.host(1);
        let receivers = [2, 3].map(|n| {
            routed.host(n).ip("addr add 10.77.0.1/32 dev lo");
            wait_for_ping(one, &v4(n, HOST));
            let socket = routed.host(n).enter(|| UdpSocket::bind("10.77.0.1:7000")).expect("it is free");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket can be");
            socket
        });
        // Sixty-four flows: that all of them go one way has a chance of 2^-63.
        let flows: Vec<_> =
            (0..64).map(|_| one.enter(|| UdpSocket::bind((v4(1, HOST), 0))).expect("any port")).collect();
        for round in 0..3_u8 {
            for flow in &flows {
                flow.send_to(&[round], "10.77.0.1:7000").expect("there is a route");
            }
        }
        let mut seen = BTreeMap::<u16, Vec<(usize, u8)>>::new();
        for (way, socket) in receivers.iter().enumerate() {
            let mut round = [0];
            while let Ok((_, from)) = socket.recv_from(&mut round) {
                seen.entry(from.port()).or_default().push((way, round[0]));
            }
        }
        assert_eq!(seen.len(), flows.len(), "{seen:?}");
        for (port, got) in &seen {
            let way = got[0].0;
            assert_eq!(*got, [0, 1, 2].map(|round| (way, round)), "the flow of port {port}");
        }
        let second = seen.values().filter(|got| got[0].0 == 1).count();
        assert!((8..=56).contains(&second), "{second} of 64 flows went the second way");
        // One of the two is taken away: all go by the other.
        routed.reload(|config| config.replace(&format!(", \"{}\"]", v4(3, HOST)), "]"));
        for flow in &flows {
            flow.send_to(&[9], "10.77.0.1:7000").expect("there is a route");
        }
        receivers[0].set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        let mut round = [0];
        for _ in &flows {
            receivers[0].recv_from(&mut round).expect("all arrive");
        }
    });
}
