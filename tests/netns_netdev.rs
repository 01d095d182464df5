//! Ports on interfaces that exist, and ports whose device can do less than the frames ask for: what one port leaves
//! undone, the switch finishes for another.

mod common;

use common::frames::{BROADCAST, STAG, ether, frame, station, tagged, vlan};
use common::traffic::{Stream, ping, tcp, wait_for_ping};
use common::{Host, Lan, Yard, as_root, tap, wait_until};

const NETDEV: &str = "type = \"netdev\"";

/// Two hosts, 10.9.0.1 and 10.9.0.2, on `netdev` ports `a` and `b`; and where the switch runs.
fn veths() -> (Host, Host, Host, Yard) {
    let [a, b, here] = ["a", "b", "yard"].map(Host::new);
    a.veth("eth0", "10.9.0.1/24", &here, "a");
    b.veth("eth0", "10.9.0.2/24", &here, "vethb");
    let config = "[bridge.lan]\n\
                  [port.a]\ntype = \"netdev\"\nbridge = \"lan\"\n\
                  [port.b]\ntype = \"netdev\"\nbridge = \"lan\"\ndevice = \"vethb\"\n";
    let yard = Yard::start_in(&here, config);
    (a, b, here, yard)
}

/// Two hosts on TAP ports with these keys.
fn taps(a_keys: &str, b_keys: &str) -> (Host, Host, Yard) {
    let [a, b] = ["a", "b"].map(Host::with_ipv6);
    let keys = |n, more: &str| format!("address = [\"10.9.0.{n}/24\", \"fd00:9::{n}/64\"]\n{more}");
    let ports = [tap("a", &a, &keys(1, a_keys)), tap("b", &b, &keys(2, b_keys))].concat();
    let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
    (a, b, yard)
}

/// The mean length of the frames a port received, or sent.
fn mean(yard: &Yard, port: &str, direction: &str) -> u64 {
    let row = yard.port(port);
    let count = |what: &str| row[format!("{direction}_{what}")].as_u64().expect("a counter");
    count("bytes") / count("frames")
}

#[test]
fn pings_and_tcp_pass_between_veths() {
    as_root(|| {
        let (a, b, here, yard) = veths();
        for (host, device) in [(&a, "eth0"), (&b, "eth0"), (&here, "a"), (&here, "vethb")] {
            host.assert_offloads_on(device);
        }
        for size in [56, 1600, 3200, 8000] {
            ping(&a, "10.9.0.2", size, 5);
            ping(&b, "10.9.0.1", size, 5);
        }
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
        assert!(mean(&yard, "a", "rx") > 1514, "TCP was cut into segments");
        Stream::start(&a, &b, "10.9.0.2").assert_lossless();
        assert_eq!(yard.port("b")["device"], "vethb");
    });
}

#[test]
fn a_netdev_port_reaches_into_a_namespace() {
    as_root(|| {
        let [a, b, far] = ["a", "b", "far"].map(Host::new);
        a.veth("eth0", "10.9.0.1/24", &far, "port0");
        let netdev =
            format!("[port.a]\ntype = \"netdev\"\nbridge = \"lan\"\ndevice = \"port0\"\nnetns = \"{far}\"\n");
        let yard =
            Yard::start(&["[bridge.lan]\n", &netdev, &tap("b", &b, "address = [\"10.9.0.2/24\"]")].concat());
        ping(&a, "10.9.0.2", 1600, 5);
        tcp(&a, &b, "10.9.0.2", 8 << 20);
        assert_eq!(
            (&yard.port("a")["device"], &yard.port("a")["netns"]),
            (&"port0".into(), &far.name().into())
        );
    });
}

#[test]
fn a_veth_and_a_tap_understand_one_another() {
    as_root(|| {
        let [a, b, here] = ["a", "b", "yard"].map(Host::new);
        a.veth("eth0", "10.9.0.1/24", &here, "a");
        let config = format!(
            "[bridge.lan]\n[port.a]\ntype = \"netdev\"\nbridge = \"lan\"\n{}",
            tap("b", &b, "address = [\"10.9.0.2/24\"]")
        );
        let _yard = Yard::start_in(&here, &config);
        for size in [56, 1600, 8000] {
            ping(&a, "10.9.0.2", size, 5);
            ping(&b, "10.9.0.1", size, 5);
        }
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
    });
}

#[test]
fn tags_pass_a_veth_as_they_pass_a_tap() {
    as_root(|| {
        let keys = |vlans| format!("{NETDEV}\n{vlans}");
        let (access, trunk) = (keys("vlan = 10"), keys("trunk = [10, 20]"));
        let ports = [("a", &access[..]), ("b", &trunk), ("c", "trunk = [10, 20]"), ("d", "vlan = 10")];
        let lan = Lan::start("", &ports);
        let plain = frame(BROADCAST, station(1));
        let in_10 = vlan(0xb000 | 10, &plain);
        let in_20 = vlan(20, &plain);
        lan.check("a", &plain, &[("b", &vlan(10, &plain)), ("c", &vlan(10, &plain)), ("d", &plain)]);
        lan.check("b", &in_10, &[("a", &plain), ("c", &in_10), ("d", &plain)]);
        lan.check("c", &in_10, &[("a", &plain), ("b", &in_10), ("d", &plain)]);
        lan.check_flood("b", &in_20, &["c"]);
        lan.check_flood("c", &in_20, &["b"]);
        let double = vlan(10, &tagged(STAG, 7, &plain));
        let inner = tagged(STAG, 7, &plain);
        lan.check("b", &double, &[("a", &inner), ("c", &double), ("d", &inner)]);
        lan.check_drop("a", &in_20, "vlan-not-allowed");
        lan.check_drop("b", &plain, "vlan-untagged");
    });
}

#[test]
fn a_bridge_without_vlans_passes_tags_between_veths() {
    as_root(|| {
        let lan = Lan::start("", &[("a", NETDEV), ("b", NETDEV), ("c", "")]);
        let plain = frame(BROADCAST, station(1));
        for tagged in [
            vlan(10, &plain),
            vlan(0xe000, &plain),
            tagged(STAG, 10, &plain),
            tagged(STAG, 10, &vlan(20, &plain)),
            vlan(10, &vlan(20, &plain)),
        ] {
            lan.check_flood("a", &tagged, &["b", "c"]);
            lan.check_flood("c", &tagged, &["a", "b"]);
        }
    });
}

#[test]
fn frames_of_every_length_pass_veths() {
    as_root(|| {
        let lan = Lan::start("", &[("a", NETDEV), ("b", NETDEV), ("c", "offload = false"), ("d", "")]);
        for (n, len) in [0, 1, 45, 46, 47, 1499, 1500].into_iter().enumerate() {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let from = ["a", "c"][n % 2];
            let to: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(|port| *port != from).collect();
            lan.check_flood(from, &ether(BROADCAST, station(1), 0x88b5, &payload), &to);
        }
    });
}

#[test]
fn a_plain_tap_gets_finished_segments() {
    as_root(|| {
        let (a, b, yard) = taps("", "offload = false");
        a.assert_offloads_on("a");
        for size in [56, 1600, 8000] {
            ping(&a, "10.9.0.2", size, 5);
            ping(&b, "10.9.0.1", size, 5);
        }
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
        assert!(mean(&yard, "a", "rx") > 1514, "a is to send superframes");
        assert!(mean(&yard, "b", "tx") <= 1514, "b can take none");
        Stream::start(&a, &b, "10.9.0.2").assert_lossless(); // UDP checksums, both unfinished and finished
        Stream::start(&b, &a, "10.9.0.1").assert_lossless();
    });
}

#[test]
fn a_plain_tap_gets_finished_segments_of_ipv6() {
    as_root(|| {
        let (a, b, _yard) = taps("", "offload = false");
        wait_for_ping(&a, "fd00:9::2"); // duplicate address detection takes its time
        wait_for_ping(&b, "fd00:9::1");
        ping(&a, "fd00:9::2", 3200, 5);
        tcp(&a, &b, "fd00:9::2", 32 << 20);
        tcp(&b, &a, "fd00:9::1", 32 << 20);
    });
}

#[test]
fn a_plain_tap_in_a_vlan_gets_finished_segments() {
    as_root(|| {
        let (a, b, _yard) = taps("vlan = 10", "vlan = 10\noffload = false");
        ping(&a, "10.9.0.2", 3200, 5);
        tcp(&a, &b, "10.9.0.2", 16 << 20);
        tcp(&b, &a, "10.9.0.1", 16 << 20);
    });
}

#[test]
fn two_plain_taps_need_no_help() {
    as_root(|| {
        let (a, b, _yard) = taps("offload = false", "offload = false");
        ping(&a, "10.9.0.2", 3200, 5);
        tcp(&a, &b, "10.9.0.2", 8 << 20);
        tcp(&b, &a, "10.9.0.1", 8 << 20);
    });
}

#[test]
fn flooded_superframes_reach_each_port_in_its_own_form() {
    as_root(|| {
        // b is forgotten all the time, so that frames to it go to the plain c, too, as segments.
        let [a, b, c] = ["a", "b", "c"].map(Host::new);
        let ports = [
            tap("a", &a, "address = [\"10.9.0.1/24\"]"),
            tap("b", &b, "learning = false\naddress = [\"10.9.0.2/24\"]"),
            tap("c", &c, "offload = false"),
        ];
        let yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
        tcp(&a, &b, "10.9.0.2", 8 << 20);
        assert!(mean(&yard, "b", "tx") > 1514);
        assert!(yard.port_count("c", "tx_bytes") + 1514 * yard.drops("c", "queue-full") >= 8 << 20);
        assert!(mean(&yard, "c", "tx") <= 1514);
    });
}

#[test]
fn a_frame_above_the_egress_mtu_is_dropped_there_alone() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "mtu = 1000"), ("c", "")]);
        let payload = [7; 1001];
        lan.check_flood("a", &ether(BROADCAST, station(1), 0x88b5, &payload), &["c"]);
        wait_until("the drop", || lan.yard.drops("b", "exceeds-mtu") == 1);
        lan.check_flood("a", &ether(BROADCAST, station(1), 0x88b5, &payload[..1000]), &["b", "c"]);
        assert_eq!(lan.yard.port("b")["mtu"], 1000);
    });
}

#[test]
fn jumbo_frames_pass_where_the_mtu_allows() {
    as_root(|| {
        let (a, b, _yard) = taps("mtu = 9000", "mtu = 9000");
        ping(&a, "10.9.0.2", 8900, 5);
        tcp(&a, &b, "10.9.0.2", 16 << 20);
        let lan = Lan::start("", &[("a", "mtu = 9000"), ("b", "mtu = 9000")]);
        lan.check_flood("a", &ether(BROADCAST, station(1), 0x88b5, &[3; 9000]), &["b"]);
    });
}

/// Short frames come by the socket's ring, long ones by its queue: neither may overtake the other, nor lose its tag.
#[test]
fn short_and_long_frames_keep_their_order_and_their_tags() {
    as_root(|| {
        let lan = Lan::start("", &[("a", NETDEV), ("b", NETDEV)]);
        for port in ["a", "b"] {
            lan.host(port).ip(&format!("link set dev {port} mtu 9000"));
            lan.switch_host().ip(&format!("link set dev {port} mtu 9000"));
            wait_until("the MTU", || lan.yard.port(port)["mtu"] == 9000);
        }
        let lengths = [46, 1500, 1900, 1960, 2000, 9000, 60, 8000];
        let frames: Vec<_> = (0..400_u32)
            .map(|n| {
                let payload: Vec<u8> =
                    n.to_be_bytes().into_iter().cycle().take(lengths[n as usize % lengths.len()]).collect();
                let plain = ether(BROADCAST, station(1), 0x88b5, &payload[..payload.len().min(8980)]);
                if n % 3 == 0 { vlan(100 + n as u16, &plain) } else { plain }
            })
            .collect();
        for burst in frames.chunks(50) {
            burst.iter().for_each(|frame| lan.at("a").send(frame));
            for frame in burst {
                assert!(lan.at("b").receive() == *frame, "frames of {} bytes", frame.len());
            }
        }
        lan.yard.assert_conserved();
    });
}

/// What comes faster than it is read is lost, and said to be.
#[test]
fn frames_that_overrun_the_ring_are_counted() {
    as_root(|| {
        let lan = Lan::start(
            "[switch]\nworkers = 1\nbusy-poll = \"1us\"\n[bridge.lan]\n",
            &[("a", NETDEV), ("b", NETDEV)],
        );
        let sent = 20_000;
        lan.yard.signal(libc::SIGSTOP);
        for n in 0..sent {
            lan.at("a").send(&frame(BROADCAST, station(n)));
        }
        lan.yard.signal(libc::SIGCONT);
        // The next frame tells of those that were lost.
        wait_until("all to be accounted for", || {
            lan.at("a").send(&frame(BROADCAST, station(1)));
            lan.yard.port_count("a", "rx_frames") == lan.at("a").sent()
        });
        let lost = lan.yard.drops("a", "receive-overflow");
        assert!(lost > 10_000 && lost < u64::from(sent), "{lost}");
        lan.yard.assert_conserved();
    });
}
