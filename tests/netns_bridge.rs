//! The bridge between real kernels' stacks, and frame by frame: learning, ageing, moving, flooding, and what is never
//! forwarded.

mod common;

use std::thread;
use std::time::Duration;

use common::frames::{BROADCAST, MULTICAST, frame, mac, station, text, vlan};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Lan, Yard, as_root, tap, wait_until};
use serde_json::json;

/// Two hosts, 10.9.0.1 and 10.9.0.2, on the TAP ports `a` and `b` of one bridge.
fn pair() -> (Host, Host, Yard) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let ports =
        [tap("a", &a, "address = [\"10.9.0.1/24\"]"), tap("b", &b, "address = [\"10.9.0.2/24\"]")].concat();
    let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
    (a, b, yard)
}

#[test]
fn pings_of_every_size_pass_both_ways() {
    as_root(|| {
        let (a, b, _yard) = pair();
        for size in [56, 1600, 3200, 8000] {
            ping(&a, "10.9.0.2", size, 5);
            ping(&b, "10.9.0.1", size, 5);
        }
    });
}

#[test]
fn tcp_passes_both_ways_as_superframes() {
    as_root(|| {
        let (a, b, yard) = pair();
        a.assert_offloads_on("a");
        b.assert_offloads_on("b");
        tcp(&a, &b, "10.9.0.2", 64 << 20);
        tcp(&b, &a, "10.9.0.1", 64 << 20);
        for port in ["a", "b"] {
            // Segments and acknowledgements alike are counted: their mean is above the MTU only if superframes passed.
            let mean = yard.port_count(port, "rx_bytes") / yard.port_count(port, "rx_frames");
            assert!(mean > 1514, "port {port} received {mean} bytes a frame: TCP was cut into segments");
        }
    });
}

#[test]
fn ipv6_finds_its_neighbours() {
    as_root(|| {
        let (a, b) = (Host::with_ipv6("a"), Host::with_ipv6("b"));
        let ports =
            [tap("a", &a, "address = [\"fd00:9::1/64\"]"), tap("b", &b, "address = [\"fd00:9::2/64\"]")];
        let _yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
        wait_for_ping(&a, "fd00:9::2"); // duplicate address detection takes its time
        ping(&a, "fd00:9::2", 3200, 5);
        tcp(&a, &b, "fd00:9::2", 8 << 20);
    });
}

#[test]
fn addresses_are_learned_where_they_are() {
    as_root(|| {
        let (a, b, yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        yard.wait_until_learned(a.mac("a"), "a");
        yard.wait_until_learned(b.mac("b"), "b");
        let learned = yard.learned();
        assert_eq!(learned.len(), 2, "{learned:?}");
        assert_eq!(yard.port("a")["fdb_entries"], 1);
        assert_eq!(yard.bridge("lan")["fdb_entries"], 2);

        yard.ok("fdb flush --port a");
        assert_eq!(yard.behind(a.mac("a")), None);
        assert_eq!(yard.behind(b.mac("b")).as_deref(), Some("b"));
        yard.ok("fdb flush");
        assert!(yard.learned().is_empty());
        ping(&a, "10.9.0.2", 56, 2);
    });
}

#[test]
fn a_frame_goes_to_every_other_port_until_its_destination_is_known() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", ""), ("c", ""), ("d", "")]);
        let (x, y) = (station(1), station(2));
        lan.check_flood("a", &frame(BROADCAST, x), &["b", "c", "d"]);
        lan.check_flood("a", &frame(MULTICAST, x), &["b", "c", "d"]);
        lan.check_flood("a", &frame(y, x), &["b", "c", "d"]);
        lan.teach("c", y);
        lan.check_flood("a", &frame(y, x), &["c"]);
        lan.check_flood("c", &frame(x, y), &["a"]);
        lan.check_drop("c", &frame(y, x), "same-port"); // x, now seen on c, to y on c
        lan.check_flood("b", &frame(x, station(3)), &["c"]);
    });
}

#[test]
fn frames_of_every_length_pass_unchanged() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        for len in [0, 1, 45, 46, 47, 1499, 1500] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            lan.check_flood("a", &common::frames::ether(BROADCAST, station(1), 0x88b5, &payload), &["b"]);
        }
    });
}

#[test]
fn a_station_that_moves_is_found_at_once() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", ""), ("c", "")]);
        let (x, y) = (station(1), station(2));
        lan.teach("a", x);
        lan.check_flood("c", &frame(x, y), &["a"]);
        lan.teach("b", x);
        lan.check_flood("c", &frame(x, y), &["b"]);
        wait_until("the move to be counted", || lan.yard.bridge("lan")["moves"] == 1);
    });
}

#[test]
fn an_entry_ages_unless_it_is_used() {
    as_root(|| {
        let lan = Lan::start("[bridge.lan]\nageing = \"2s\"\n", &[("a", ""), ("b", ""), ("c", "")]);
        let (quiet, lively) = (station(1), station(2));
        lan.teach("a", quiet);
        lan.teach("b", lively);
        wait_until("the quiet station to age", || {
            lan.at("b").send(&frame(quiet, lively));
            thread::sleep(Duration::from_millis(50));
            lan.yard.behind(quiet).is_none()
        });
        assert_eq!(lan.yard.behind(lively).as_deref(), Some("b"));
        lan.settle();
        for port in ["a", "c"] {
            lan.at(port).drain();
        }
        lan.check_flood("b", &frame(quiet, lively), &["a", "c"]);
    });
}

#[test]
fn a_static_entry_stays_where_it_was_put() {
    as_root(|| {
        let (x, y, z) = (station(1), station(2), station(3));
        let entry = format!("[[fdb]]\nbridge = \"lan\"\nmac = \"{}\"\nport = \"b\"\n", text(x));
        let config = format!("[bridge.lan]\nageing = \"1s\"\n{entry}");
        let lan = Lan::start(&config, &[("a", ""), ("b", ""), ("c", "")]);
        let entry = |mac| {
            let rows = lan.yard.rows("fdb show");
            rows.into_iter()
                .find(|row| row["mac"] == text(mac).as_str())
                .map(|row| (row["port"].clone(), row["kind"].clone()))
        };
        assert_eq!(entry(x), Some((json!("b"), json!("static"))));
        lan.check_flood("a", &frame(x, y), &["b"]);
        lan.check_flood("c", &frame(BROADCAST, x), &["a", "b"]); // the source claims to be behind c …
        lan.check_flood("a", &frame(x, y), &["b"]); // … and is not believed
        lan.yard.ok("fdb flush");
        assert_eq!(entry(x), Some((json!("b"), json!("static"))));

        lan.yard.ok(&format!("fdb add {} c", text(z)));
        lan.check_flood("a", &frame(z, y), &["c"]);
        lan.yard.ok(&format!("fdb del {}", text(z)));
        assert_eq!(entry(z), None);
        lan.check_flood("a", &frame(z, y), &["b", "c"]);
        lan.yard.refused(&format!("fdb del {}", text(z)));
        lan.yard.refused(&format!("fdb add {} nowhere", text(z)));
    });
}

#[test]
fn reserved_groups_and_bad_sources_are_dropped() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        for last in 0..=0x0f {
            let group = [0x01, 0x80, 0xc2, 0, 0, last];
            lan.check_drop("a", &frame(group, station(1)), "reserved-group");
        }
        lan.check_flood("a", &frame([0x01, 0x80, 0xc2, 0, 0, 0x10], station(1)), &["b"]);
        for source in [BROADCAST, MULTICAST, [0; 6]] {
            lan.check_drop("a", &frame(BROADCAST, source), "bad-source");
            assert_eq!(lan.yard.behind(source), None);
        }
        let own = mac(lan.yard.bridge("lan")["mac"].as_str().expect("a bridge has an address"));
        lan.check_drop("a", &frame(BROADCAST, own), "own-source");
        lan.check_drop("a", &frame(own, station(1)), "local");
    });
}

#[test]
fn isolated_ports_reach_only_the_others() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "isolated = true"), ("b", "isolated = true"), ("c", ""), ("d", "")]);
        let (x, y, z) = (station(1), station(2), station(3));
        lan.check_flood("a", &frame(BROADCAST, x), &["c", "d"]);
        lan.check_flood("b", &frame(MULTICAST, y), &["c", "d"]);
        lan.check_flood("c", &frame(BROADCAST, z), &["a", "b", "d"]);
        lan.check_drop("a", &frame(y, x), "isolated");
        lan.check_flood("a", &frame(z, x), &["c"]);
        lan.check_flood("c", &frame(x, z), &["a"]);
        lan.check_flood("b", &frame(station(9), y), &["c", "d"]);
    });
}

#[test]
fn a_port_that_does_not_learn_still_forwards() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "learning = false"), ("b", ""), ("c", "")]);
        lan.check_flood("a", &frame(BROADCAST, station(1)), &["b", "c"]);
        lan.check_flood("b", &frame(station(1), station(2)), &["a", "c"]);
        assert_eq!(lan.yard.behind(station(1)), None);
    });
}

#[test]
fn bridges_do_not_hear_one_another() {
    as_root(|| {
        let red = "bridge = \"red\"";
        let blue = "bridge = \"blue\"";
        let lan =
            Lan::start("[bridge.red]\n[bridge.blue]\n", &[("a", red), ("b", red), ("c", blue), ("d", blue)]);
        let (x, y) = (station(1), station(2));
        lan.teach("b", y);
        lan.teach("d", y);
        for to in [BROADCAST, MULTICAST, station(9), y] {
            lan.check_flood("a", &frame(to, x), &["b"]);
            lan.check_flood("c", &frame(to, x), &["d"]); // the same address on both: no move
        }
        lan.check_flood("a", &vlan(7, &frame(BROADCAST, x)), &["b"]);
        assert_eq!(lan.yard.learned().len(), 4);
        assert_eq!(lan.yard.bridge("red")["moves"], 0);
    });
}

#[test]
fn a_patch_joins_two_bridges() {
    as_root(|| {
        let patch = "[port.r]\ntype = \"patch\"\nbridge = \"red\"\npeer = \"s\"\n\
                     [port.s]\ntype = \"patch\"\nbridge = \"blue\"\npeer = \"r\"\n";
        let (red, blue) = ("bridge = \"red\"", "bridge = \"blue\"");
        let config = format!("[bridge.red]\n[bridge.blue]\n{patch}");
        let lan = Lan::start(&config, &[("a", red), ("b", red), ("c", blue), ("d", blue)]);
        let (x, y) = (station(1), station(2));
        lan.check_flood("a", &frame(BROADCAST, x), &["b", "c", "d"]);
        lan.teach("d", y);
        lan.check_flood("a", &frame(y, x), &["d"]);
        lan.check_flood("d", &frame(x, y), &["a"]);
        assert_eq!(lan.yard.rows("fdb show").iter().filter(|row| row["mac"] == text(x).as_str()).count(), 2);
    });
}

#[test]
fn tcp_crosses_a_patch() {
    as_root(|| {
        let (a, b) = (Host::new("a"), Host::new("b"));
        let ports = [
            tap("a", &a, "bridge = \"red\"\naddress = [\"10.9.0.1/24\"]"),
            tap("b", &b, "bridge = \"blue\"\naddress = [\"10.9.0.2/24\"]"),
            "[port.r]\ntype = \"patch\"\nbridge = \"red\"\npeer = \"s\"\n".to_owned(),
            "[port.s]\ntype = \"patch\"\nbridge = \"blue\"\npeer = \"r\"\n".to_owned(),
        ];
        let _yard = Yard::start(&format!("[bridge.red]\n[bridge.blue]\n{}", ports.concat()));
        ping(&a, "10.9.0.2", 3200, 5);
        tcp(&a, &b, "10.9.0.2", 16 << 20);
        tcp(&b, &a, "10.9.0.1", 16 << 20);
    });
}

#[test]
fn a_loop_of_patches_ends() {
    as_root(|| {
        let patch = |name: &str, peer: &str, bridge: &str| {
            format!("[port.{name}]\ntype = \"patch\"\nbridge = \"{bridge}\"\npeer = \"{peer}\"\n")
        };
        let patches = [
            patch("r1", "s1", "red"),
            patch("s1", "r1", "blue"),
            patch("r2", "s2", "red"),
            patch("s2", "r2", "blue"),
        ];
        let config = format!("[bridge.red]\n[bridge.blue]\n{}", patches.concat());
        let lan = Lan::start(&config, &[("a", "bridge = \"red\""), ("b", "bridge = \"blue\"")]);
        lan.at("a").send(&frame(BROADCAST, station(1)));
        assert_eq!(lan.at("b").receive(), frame(BROADCAST, station(1)));
        let looped = || {
            let drops = lan.yard.rows("drops");
            drops.iter().any(|row| row["reason"] == "patch-loop" && row["frames"].as_u64() > Some(0))
        };
        wait_until("the loop to be noticed", looped);
        lan.yard.assert_conserved();
    });
}
