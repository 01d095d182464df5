//! Tunnels between hosts, with peers that nobody here wrote: the kernel's vxlan, Open vSwitch's userspace datapath.
//!
//! [`carries_everything`] is what every pair of ends passes, whatever the tunnel; what follows it is asked of one.

mod common;

use std::net::IpAddr;

use common::frames::{BROADCAST, EXPERIMENT, ether, frame, station, vlan};
use common::overlay::{
    Family, GUEST_MTU, Overlay, Plan, Side, Tunnel, add_kernel_tunnel, dropped, guest_v4, guest_v6, id,
    netstat, no_frame_was_damaged, path_mtu, peer, shrink, tapyard_config, tunnel_port,
};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Station, as_root, number, wait_until};

use Family::{V4, V6};
use Side::{Bare, Kernel, OpenVSwitch, Tapyard};
use Tunnel::{Geneve, Gre, GreIp, Vxlan};

// -- Every pair of ends

/// One test for each pair of ends.
macro_rules! carry_everything {
    ($($name:ident: $tunnel:expr, $family:expr, $a:expr, $b:expr;)*) => {
        $(#[test]
        fn $name() {
            as_root(|| carries_everything($tunnel, $family, $a, $b));
        })*
    };
}

carry_everything! {
    // Nothing of ours: what the bench itself is worth.
    kernel_to_kernel: Vxlan, V6, Kernel, Kernel;
    openvswitch_to_kernel: Vxlan, V4, OpenVSwitch, Kernel;

    vxlan_to_kernel: Vxlan, V4, Tapyard, Kernel;
    vxlan_to_kernel_over_ipv6: Vxlan, V6, Tapyard, Kernel;
    vxlan_to_openvswitch: Vxlan, V4, Tapyard, OpenVSwitch;
    vxlan_to_itself: Vxlan, V4, Tapyard, Tapyard;
    vxlan_to_itself_over_ipv6: Vxlan, V6, Tapyard, Tapyard;
    geneve_to_openvswitch: Geneve, V4, Tapyard, OpenVSwitch;
    geneve_to_itself: Geneve, V4, Tapyard, Tapyard;
    geneve_to_itself_over_ipv6: Geneve, V6, Tapyard, Tapyard;
    gre_over_udp_to_itself: Gre, V4, Tapyard, Tapyard;
    gre_over_udp_to_itself_over_ipv6: Gre, V6, Tapyard, Tapyard;
    gre_over_ip_to_openvswitch: GreIp, V4, Tapyard, OpenVSwitch;
    gre_over_ip_to_itself: GreIp, V4, Tapyard, Tapyard;
}

/// Pings of every size and TCP both ways, by IPv4 and IPv6, and frames of a VLAN.
fn carries_everything(tunnel: Tunnel, family: Family, a: Side, b: Side) {
    let overlay = Overlay::start(&Plan::new(tunnel, family, &[a, b]));
    let (one, two) = (overlay.guest(1), overlay.guest(2));
    let [(one_v4, one_v6), (two_v4, two_v6)] = [1, 2].map(|n| (guest_v4(0, n), guest_v6(0, n)));
    wait_for_ping(one, &two_v4);
    wait_for_ping(two, &one_v6);

    let mtu = GUEST_MTU as usize;
    let whole = [mtu - 28, mtu - 48].into_iter().flat_map(|most| most - 1..=most + 1);
    for size in (0..=2000).step_by(125).chain(whole).chain([8000, 60_000]) {
        ping(one, &two_v4, size, 1);
        ping(two, &one_v6, size, 1);
    }

    // What is left to a device is only left to it where there is one that takes it.
    for (guest, side) in [(one, a), (two, b)] {
        if side != OpenVSwitch {
            guest.assert_offloads_on("eth");
        }
    }
    let bytes = if [a, b].contains(&OpenVSwitch) { 2 << 20 } else { 16 << 20 };
    for (from, to, address) in
        [(one, two, &two_v4), (two, one, &one_v4), (one, two, &two_v6), (two, one, &one_v6)]
    {
        tcp(from, to, address, bytes);
    }

    tagged_frames_pass(one, two);
    tagged_frames_pass(two, one);
    for (n, side) in [(1, a), (2, b)] {
        if side == Tapyard {
            no_frame_was_damaged(overlay.yard(n));
        }
    }
}

/// Frames of a VLAN of the guests' own, which arrive as they were sent.
fn tagged_frames_pass(from: &Host, to: &Host) {
    let sender = Station::open(from, "eth", "the sender's");
    let receiver = Station::open(to, "eth", "the receiver's");
    for len in [46, 1000, GUEST_MTU as usize] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let sent = vlan(7, &ether(to.mac("eth"), from.mac("eth"), EXPERIMENT, &payload));
        sender.send(&sent);
        // The guests' kernels say things of their own meanwhile, but not as many.
        assert!((0..100).any(|_| receiver.receive() == sent), "{len} bytes from {from} to {to}");
    }
}

#[test]
fn superframes_pass_in_a_vlan_of_the_overlay() {
    as_root(|| {
        for (tunnel, family) in [(Vxlan, V4), (Vxlan, V6), (Geneve, V4), (Gre, V4), (GreIp, V4)] {
            let sides = [Tapyard, Tapyard];
            let plan =
                Plan { guest_keys: "vlan = 7", keys: "trunk = [7]", ..Plan::new(tunnel, family, &sides) };
            let overlay = Overlay::start(&plan);
            let (one, two) = (overlay.guest(1), overlay.guest(2));
            wait_for_ping(one, &guest_v4(0, 2));
            for (from, to, n) in [(one, two, 2), (two, one, 1)] {
                ping(from, &guest_v4(0, n), 4000, 2);
                tcp(from, to, &guest_v4(0, n), 8 << 20);
                tcp(from, to, &guest_v6(0, n), 8 << 20);
            }
        }
    });
}

// -- Several networks, several peers

#[test]
fn networks_over_one_socket_do_not_hear_one_another() {
    as_root(|| {
        for peer in [Kernel, Tapyard] {
            let sides = [Tapyard, peer];
            let plan = Plan { networks: 3, ..Plan::new(Vxlan, V4, &sides) };
            let overlay = Overlay::start(&plan);
            for k in 0..3 {
                let guest = overlay.site(1).guest(k);
                wait_for_ping(guest, &guest_v4(k, 2));
                ping(guest, &guest_v4(k, 2), 3000, 2);
                ping_in_vain(guest, &guest_v4((k + 1) % 3, 2), 2);
            }
            for k in 0..3 {
                let behind = overlay.yard(1).behind(overlay.site(2).guest(k).mac("eth"));
                assert_eq!(behind, Some(tunnel_port(k)), "learned where it is, and nowhere else");
            }
        }
    });
}

#[test]
fn what_passes_is_shown_of_each_peer() {
    as_root(|| {
        let plan = Plan::new(Vxlan, V4, &[Tapyard, Kernel, Kernel]);
        let overlay = Overlay::start(&plan);
        let yard = overlay.yard(1);
        assert_eq!(peer(yard, &plan, 2)["mtu"], 1450);
        assert_eq!(peer(yard, &plan, 2)["path_mtu"], 1500);
        for n in [2, 3] {
            wait_for_ping(overlay.guest(1), &guest_v4(0, n));
        }
        let counts = |n| {
            let peer = peer(yard, &plan, n);
            ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"].map(|key| number(&peer, key))
        };
        let before = [2, 3].map(counts);
        ping(overlay.guest(1), &guest_v4(0, 2), 1000, 20);
        let after = [2, 3].map(counts);
        let grown = |i: usize, key: usize| after[i][key] - before[i][key];
        for (packets, bytes) in [(0, 1), (2, 3)] {
            assert!(grown(0, packets) >= 20 && grown(0, bytes) >= 20 * 1028, "{before:?} {after:?}");
            assert!(grown(1, packets) < 20 && grown(1, bytes) < 20 * 1028, "{before:?} {after:?}");
        }
        let shown = peer(yard, &plan, 2);
        assert_eq!(shown["state"], "up", "{shown}");
        assert!(number(&shown, "heard_secs") < 10 && number(&shown, "fdb_entries") > 0, "{shown}");
    });
}

#[test]
fn among_three_hosts_a_broadcast_comes_once_to_each() {
    as_root(|| {
        let overlay = Overlay::start(&Plan::new(Vxlan, V4, &[Tapyard, Tapyard, Kernel]));
        for n in 1..=3 {
            for other in (1..=3).filter(|other| *other != n) {
                wait_for_ping(overlay.guest(n), &guest_v4(0, other));
            }
        }
        let stations: Vec<_> =
            (1..=3).map(|n| Station::open(overlay.guest(n), "eth", &format!("of host {n}"))).collect();
        for from in 0..3 {
            let sent = frame(BROADCAST, station(from as u32));
            stations[from].send(&sent);
            // Behind it, on the same way since it is of the same flow, one that ends the wait for copies that must not
            // come.
            let last = ether(BROADCAST, station(from as u32), EXPERIMENT, &[0x5a; 46]);
            stations[from].send(&last);
            for (n, at) in stations.iter().enumerate().filter(|(n, _)| *n != from) {
                let mut copies = 0;
                loop {
                    let got = at.receive();
                    copies += u32::from(got == sent);
                    if got == last {
                        break;
                    }
                }
                assert_eq!(copies, 1, "host {} to host {}", from + 1, n + 1);
            }
            for (n, at) in stations.iter().enumerate() {
                let strays = at.drain().iter().filter(|got| **got == sent || **got == last).count();
                assert_eq!(strays, 0, "host {} to host {}", from + 1, n + 1);
            }
        }
    });
}

#[test]
fn a_peer_that_dies_is_missed_by_nobody_else_and_may_return() {
    as_root(|| {
        let plan = Plan::new(Vxlan, V4, &[Tapyard, Kernel, Kernel]);
        let overlay = Overlay::start(&plan);
        let guest = overlay.guest(1);
        wait_for_ping(guest, &guest_v4(0, 2));
        wait_for_ping(guest, &guest_v4(0, 3));
        let dying = &overlay.site(2).host;

        // Its host answers that nobody listens there any more.
        dying.ip("link del dev tunnel0");
        ping_in_vain(guest, &guest_v4(0, 2), 5);
        ping(guest, &guest_v4(0, 3), 2000, 10);
        let state = |n| peer(overlay.yard(1), &plan, n)["state"].as_str().expect("a word").to_owned();
        assert!(state(2).starts_with("unreachable") && state(3) == "up", "{} {}", state(2), state(3));
        add_kernel_tunnel(&plan, 2, 0, dying);
        wait_for_ping(guest, &guest_v4(0, 2));

        // Its host is silent.
        dying.ip("link set dev under down");
        ping_in_vain(guest, &guest_v4(0, 2), 5);
        ping(guest, &guest_v4(0, 3), 2000, 10);
        dying.ip("link set dev under up");
        wait_for_ping(guest, &guest_v4(0, 2));
        tcp(guest, overlay.guest(2), &guest_v4(0, 2), 4 << 20);
    });
}

#[test]
fn a_switch_that_is_killed_is_found_again_when_it_returns() {
    as_root(|| {
        for tunnel in [Vxlan, Geneve, Gre, GreIp] {
            let plan = Plan::new(tunnel, V4, &[Tapyard, Tapyard]);
            let mut overlay = Overlay::start(&plan);
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
            overlay.yard_mut(2).kill();
            // Its TAP went with it: a new one is there when the switch is, without the guest's addresses.
            overlay.yard_mut(2).run();
            overlay.guest(2).ip(&format!("addr add {}/16 dev eth", guest_v4(0, 2)));
            overlay.guest(2).ip("link set dev eth up");
            overlay.guest(1).ip("neigh flush all"); // the new TAP has another address
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
            tcp(overlay.guest(1), overlay.guest(2), &guest_v4(0, 2), 4 << 20);
        }
    });
}

#[test]
fn peers_come_and_go_with_the_configuration() {
    as_root(|| {
        let plan = Plan::new(Vxlan, V4, &[Tapyard, Kernel, Kernel]);
        let overlay = Overlay::start(&plan);
        let (yard, guest) = (overlay.yard(1), overlay.guest(1));
        wait_for_ping(guest, &guest_v4(0, 2));
        wait_for_ping(guest, &guest_v4(0, 3));
        let config = tapyard_config(&plan, 1, std::slice::from_ref(guest));
        let without = config.replace("\"10.8.2.1\", ", "");
        assert_ne!(config, without);
        yard.reload(&without);
        ping_in_vain(guest, &guest_v4(0, 2), 3);
        ping(guest, &guest_v4(0, 3), 2000, 10);
        let strangers = yard.drops(&tunnel_port(0), "stranger");
        ping_in_vain(overlay.guest(2), &guest_v4(0, 1), 3);
        wait_until("the former peer to be a stranger", || {
            yard.drops(&tunnel_port(0), "stranger") > strangers
        });
        yard.reload(&config);
        wait_for_ping(guest, &guest_v4(0, 2));
    });
}

// -- What is not accepted

/// A VXLAN packet with this VNI and inner frame.
fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat()
}

#[test]
fn what_no_peer_may_send_is_dropped_and_counted() {
    as_root(|| {
        let plan = Plan { networks: 2, ..Plan::new(Vxlan, V4, &[Tapyard, Kernel, Bare]) };
        let overlay = Overlay::start(&plan);
        let (yard, to) = (overlay.yard(1), (plan.address(1), 4789));
        let (peer, stranger) = (overlay.site(2), overlay.site(3));
        let sent = frame(BROADCAST, station(1));
        let good = vxlan(id(0), &sent);

        // Counted on the tunnel whose VNI it is.
        for network in [0, 1, 1] {
            stranger.send_datagram(0, to, &vxlan(id(network), &sent));
        }
        wait_until("strangers to be counted", || {
            [0, 1].map(|network| yard.drops(&tunnel_port(network), "stranger")) == [1, 2]
        });
        for vni in [0, 1, id(0) + 1, 0xff_ffff] {
            peer.send_datagram(0, to, &vxlan(vni, &sent));
            stranger.send_datagram(0, to, &vxlan(vni, &sent));
        }
        wait_until("unknown VNIs to be counted", || dropped(yard, "tunnel-unknown") == 8);
        let tunnels = yard.rows("tunnel");
        for (k, tunnel) in tunnels.iter().enumerate() {
            let [first, second] = &tunnel["intruders"].as_array().expect("a list")[..] else {
                panic!("a stranger and an unknown VNI: {tunnel}")
            };
            assert_eq!((&first["reason"], &first["number"]), (&"stranger".into(), &id(k).into()), "{tunnel}");
            assert_eq!(first["source"], plan.address(3).to_string(), "{tunnel}");
            assert_eq!((&second["reason"], &second["number"]), (&"tunnel-unknown".into(), &0xff_ffff.into()));
        }
        for len in 1..8 {
            peer.send_datagram(0, to, &good[..len]);
        }
        peer.send_datagram(0, to, &[&[0], &good[1..]].concat());
        wait_until("headers that are none to be counted", || dropped(yard, "tunnel-header") == 8);
        for len in [0].into_iter().chain(8..8 + 14) {
            peer.send_datagram(0, to, &good[..len]);
        }
        wait_until("runts to be counted", || dropped(yard, "runt") == 15);
        assert_eq!(yard.behind(station(1)), None, "nothing was learned from any of them");

        peer.send_datagram(0, to, &good);
        yard.wait_until_learned(station(1), &tunnel_port(0));
        wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
    });
}

#[test]
fn anybody_is_accepted_where_that_is_asked_for() {
    as_root(|| {
        let plan = Plan { keys: "accept = \"any\"", ..Plan::new(Vxlan, V4, &[Tapyard, Kernel, Bare]) };
        let overlay = Overlay::start(&plan);
        overlay.site(3).send_datagram(
            0,
            (plan.address(1), 4789),
            &vxlan(id(0), &frame(BROADCAST, station(1))),
        );
        overlay.yard(1).wait_until_learned(station(1), &tunnel_port(0));
    });
}

#[test]
fn reserved_bits_matter_to_the_strict_only() {
    as_root(|| {
        for (keys, strict) in [("", false), ("strict = true", true)] {
            let plan = Plan { keys, ..Plan::new(Vxlan, V4, &[Tapyard, Kernel]) };
            let overlay = Overlay::start(&plan);
            let (yard, to) = (overlay.yard(1), (plan.address(1), 4789));
            for (n, at) in (1..).zip([0, 1, 2, 3, 7]) {
                let mut packet = vxlan(id(0), &frame(BROADCAST, station(n)));
                packet[at] |= 0x01;
                overlay.site(2).send_datagram(0, to, &packet);
                match strict {
                    true => wait_until("a drop", || dropped(yard, "tunnel-reserved") == u64::from(n)),
                    false => yard.wait_until_learned(station(n), &tunnel_port(0)),
                }
            }
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
        }
    });
}

#[test]
fn a_zero_checksum_is_accepted() {
    as_root(|| {
        let plan = Plan::new(Vxlan, V4, &[Tapyard, Kernel]);
        let overlay = Overlay::start(&plan);
        // No checksum is something that a device is made with.
        overlay.site(2).host.ip("link del dev tunnel0");
        let plan = Plan { kernel_keys: "noudpcsum", ..plan };
        add_kernel_tunnel(&plan, 2, 0, &overlay.site(2).host);
        wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
        tcp(overlay.guest(2), overlay.guest(1), &guest_v4(0, 1), 16 << 20);
        tcp(overlay.guest(1), overlay.guest(2), &guest_v4(0, 2), 16 << 20);
    });
}

// -- What the outer header says

/// A UDP datagram to the discard port in a frame to the guest behind host 1, with this TOS.
fn inner_datagram(to: &Host, tos: u8) -> Vec<u8> {
    let mut bytes = common::frames::ipv4(to.mac("eth"), station(9));
    let [source, destination] = [guest_v4(0, 9), guest_v4(0, 1)].map(|address| match address.parse() {
        Ok(IpAddr::V4(address)) => address.octets(),
        _ => unreachable!("an IPv4 address"),
    });
    let header = &mut bytes[14..34];
    header[1] = tos;
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&source);
    header[16..20].copy_from_slice(&destination);
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    bytes
}

#[test]
fn a_congestion_mark_reaches_who_understands_it() {
    const COUNTERS: [&str; 4] = ["InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts"];
    as_root(|| {
        // The far end is the test, which no configuration names.
        let plan = Plan { keys: "accept = \"any\"", ..Plan::new(Vxlan, V4, &[Tapyard, Bare]) };
        let overlay = Overlay::start(&plan);
        let (yard, guest) = (overlay.yard(1), overlay.guest(1));
        // RFC 6040 figure 4: what the guest gets, by the inner field and the outer one; 9: nothing.
        for (inner, results) in (0..).zip([[0, 0, 0, 9], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]]) {
            for (outer, result) in (0..).zip(results) {
                let (before, drops) = (COUNTERS.map(|name| netstat(guest, name)), dropped(yard, "ecn"));
                let packet = vxlan(id(0), &inner_datagram(guest, inner));
                overlay.site(2).send_datagram(outer, (plan.address(1), 4789), &packet);
                wait_until(&format!("{inner:02b} in {outer:02b} to become {result}"), || match result {
                    9 => dropped(yard, "ecn") == drops + 1,
                    _ => netstat(guest, COUNTERS[result]) > before[result],
                });
            }
        }
    });
}

#[test]
fn the_outer_header_has_the_ecn_field_of_the_inner_one() {
    as_root(|| {
        for (tunnel, peer) in
            [(Vxlan, Kernel), (Vxlan, Tapyard), (Geneve, Tapyard), (Gre, Tapyard), (GreIp, Tapyard)]
        {
            let overlay = Overlay::start(&Plan::new(tunnel, V4, &[Tapyard, peer]));
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
            for (tos, counter) in [("1", "InECT1Pkts"), ("2", "InECT0Pkts"), ("3", "InCEPkts")] {
                let host = &overlay.site(2).host;
                let before = netstat(host, counter);
                let args = ["-n", "-q", "-c", "5", "-i", "0.05", "-W", "5", "-Q", tos, &guest_v4(0, 2)];
                let output = overlay.guest(1).run(20, "ping", &args);
                assert!(output.status.success(), "{output:?}");
                let got = netstat(host, counter) - before;
                assert!(got >= 5, "{tunnel:?}: host 2 received {got} packets counted as {counter}");
            }
        }
    });
}

#[test]
fn the_outer_ttl_is_the_one_that_was_asked_for() {
    as_root(|| {
        let plan = Plan { routed: true, keys: "ttl = 2", ..Plan::new(Vxlan, V4, &[Tapyard, Kernel]) };
        let overlay = Overlay::start(&plan);
        let (yard, guest) = (overlay.yard(1), overlay.guest(1));
        wait_for_ping(guest, &guest_v4(0, 2));
        let config = tapyard_config(&plan, 1, std::slice::from_ref(guest));
        yard.reload(&config.replace("ttl = 2", "ttl = 1"));
        ping_in_vain(guest, &guest_v4(0, 2), 3); // the router between the hosts is the second hop
        yard.reload(&config.replace("ttl = 2", "ttl = \"inherit\""));
        let ping_with_ttl = |ttl: &str| {
            let args = ["-n", "-q", "-c", "2", "-i", "0.1", "-W", "2", "-t", ttl, &guest_v4(0, 2)];
            guest.run(20, "ping", &args).status.success()
        };
        assert!(ping_with_ttl("2") && !ping_with_ttl("1"));
    });
}

// -- What does not fit

#[test]
fn a_guest_is_told_when_the_path_between_the_hosts_becomes_narrower() {
    as_root(|| {
        for (tunnel, family, overhead) in
            [(Vxlan, V4, 50), (Vxlan, V6, 70), (Geneve, V4, 50), (Gre, V4, 50), (GreIp, V4, 42)]
        {
            let plan = Plan { routed: true, ..Plan::new(tunnel, family, &[Tapyard, Tapyard]) };
            let overlay = Overlay::start(&plan);
            let (one, two) = (overlay.guest(1), overlay.guest(2));
            wait_for_ping(one, &guest_v4(0, 2));
            wait_for_ping(one, &guest_v6(0, 2));
            tcp(one, two, &guest_v4(0, 2), 4 << 20);

            shrink(&overlay, 1400);
            tcp(one, two, &guest_v4(0, 2), 4 << 20);
            tcp(one, two, &guest_v6(0, 2), 4 << 20);
            for address in [guest_v4(0, 2), guest_v6(0, 2)] {
                assert_eq!(path_mtu(one, &address), Some(1400 - overhead), "{tunnel:?} to {address}");
            }
            assert_eq!(peer(overlay.yard(1), &plan, 2)["mtu"], 1400 - overhead, "{tunnel:?}");
            assert_eq!(path_mtu(two, &guest_v4(0, 1)), None, "nobody told who had sent nothing large");
            tcp(two, one, &guest_v4(0, 1), 4 << 20); // which sends no more than the other announces by now
            // The first packet that is lost tells the switch, the next one is answered by it.
            wait_until("the other guest to be told", || {
                two.run(10, "ping", &["-c", "1", "-W", "1", "-M", "do", "-s", "1390", &guest_v4(0, 1)]);
                path_mtu(two, &guest_v4(0, 1)) == Some(1400 - overhead)
            });
            // Nobody is told of a packet that may be fragmented: both have to know.
            ping(one, &guest_v4(0, 2), 4000, 3);
        }
    });
}

#[test]
fn a_guest_whose_mtu_is_too_large_is_told() {
    as_root(|| {
        let plan = Plan { guest_mtu: 1500, ..Plan::new(Vxlan, V4, &[Tapyard, Tapyard]) };
        let overlay = Overlay::start(&plan);
        let (one, two) = (overlay.guest(1), overlay.guest(2));
        wait_for_ping(one, &guest_v4(0, 2));
        wait_for_ping(one, &guest_v6(0, 2));
        let replied = |n| number(&overlay.yard(n).json("stats"), "replied");
        let before = replied(1);
        tcp(one, two, &guest_v4(0, 2), 4 << 20);
        tcp(one, two, &guest_v6(0, 2), 4 << 20);
        assert_eq!(path_mtu(one, &guest_v4(0, 2)), Some(1450));
        assert_eq!(path_mtu(one, &guest_v6(0, 2)), Some(1450));
        assert!(replied(1) > before);
    });
}

#[test]
fn with_a_clamped_mss_nobody_has_to_be_told() {
    as_root(|| {
        let plan = Plan { keys: "mss-clamp = true\nmtu = 1300", ..Plan::new(Vxlan, V4, &[Tapyard, Kernel]) };
        let overlay = Overlay::start(&plan);
        let (one, two) = (overlay.guest(1), overlay.guest(2));
        wait_for_ping(one, &guest_v4(0, 2));
        wait_for_ping(one, &guest_v6(0, 2));
        for (address, back) in [(guest_v4(0, 2), guest_v4(0, 1)), (guest_v6(0, 2), guest_v6(0, 1))] {
            tcp(one, two, &address, 4 << 20);
            tcp(two, one, &back, 4 << 20);
            assert_eq!((path_mtu(one, &address), path_mtu(two, &back)), (None, None));
        }
        assert_eq!(dropped(overlay.yard(1), "exceeds-mtu"), 0);
    });
}
