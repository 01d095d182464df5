//! VLANs frame by frame: which frames belong to which VLAN, who may hear them, and with what tag they leave.

mod common;

use common::frames::{
    BROADCAST, MULTICAST, STAG, arp, frame, ipv4, ipv6_solicitation, station, tagged, text, vlan,
};
use common::traffic::{ping, ping_in_vain, tcp};
use common::{Host, Lan, Yard, as_root, tap};

/// Every kind of port, and two of some.
fn every_kind() -> Lan {
    let ports = [
        ("a10", "vlan = 10"),
        ("b10", "vlan = 10"),
        ("c20", "vlan = 20"),
        ("trunk", "trunk = [10, \"100-199\"]"),
        ("native", "trunk = \"all\"\nnative = 20"),
        ("plain", ""),
    ];
    Lan::start("", &ports)
}

/// TCI with priority 5 and the DEI bit.
const PRIORITY: u16 = 0xb000;

#[test]
fn an_access_port_is_in_its_vlan() {
    as_root(|| {
        let lan = every_kind();
        let plain = frame(BROADCAST, station(1));
        let in_10 = vlan(10, &plain);
        lan.check("a10", &plain, &[("b10", &plain), ("trunk", &in_10), ("native", &in_10)]);
        lan.check("c20", &plain, &[("native", &plain)]);
        lan.check("plain", &plain, &[("native", &vlan(1, &plain))]);
        // Its own VLAN's tag is no other VLAN; any other is.
        for vid in [1, 9, 11, 20, 4094] {
            lan.check_drop("a10", &vlan(vid, &plain), "vlan-not-allowed");
        }
    });
}

#[test]
fn a_priority_tag_names_no_vlan() {
    as_root(|| {
        let lan = every_kind();
        let plain = frame(BROADCAST, station(1));
        let in_10 = vlan(PRIORITY | 10, &plain);
        let prioritised = vlan(PRIORITY, &plain);
        lan.check("a10", &prioritised, &[("b10", &plain), ("trunk", &in_10), ("native", &in_10)]);
        lan.check_drop("trunk", &prioritised, "vlan-untagged");
        lan.check("native", &prioritised, &[("c20", &plain)]);
    });
}

#[test]
fn a_trunk_carries_what_its_list_names() {
    as_root(|| {
        let lan = every_kind();
        let plain = frame(BROADCAST, station(1));
        for tci in [100, 150, 199, PRIORITY | 199] {
            lan.check_flood("trunk", &vlan(tci, &plain), &["native"]);
            lan.check_flood("native", &vlan(tci, &plain), &["trunk"]);
        }
        let in_10 = vlan(PRIORITY | 10, &plain);
        lan.check("trunk", &in_10, &[("a10", &plain), ("b10", &plain), ("native", &in_10)]);
        for vid in [1, 9, 11, 20, 99, 200, 4094] {
            lan.check_drop("trunk", &vlan(vid, &plain), "vlan-not-allowed");
        }
        lan.check_drop("trunk", &plain, "vlan-untagged");
    });
}

#[test]
fn a_native_vlan_goes_without_a_tag() {
    as_root(|| {
        let lan = every_kind();
        let plain = frame(BROADCAST, station(1));
        lan.check("native", &plain, &[("c20", &plain)]);
        lan.check("native", &vlan(20, &plain), &[("c20", &plain)]);
        lan.check("c20", &plain, &[("native", &plain)]);
    });
}

#[test]
fn vlan_4095_is_nobodys() {
    as_root(|| {
        let lan = every_kind();
        for port in ["a10", "trunk", "native", "plain"] {
            lan.check_drop(port, &vlan(4095, &frame(BROADCAST, station(1))), "vlan-reserved");
        }
    });
}

#[test]
fn tags_further_in_are_payload() {
    as_root(|| {
        let lan = every_kind();
        let plain = frame(BROADCAST, station(1));
        // A customer's tag behind the bridge's own one, which alone is taken off and put on.
        let customer = vlan(PRIORITY | 77, &plain);
        let outer = vlan(10, &customer);
        lan.check("trunk", &outer, &[("a10", &customer), ("b10", &customer), ("native", &outer)]);
        // A service tag is no tag of this bridge: the frame is untagged.
        let service = tagged(STAG, 30, &vlan(10, &plain));
        let in_10 = vlan(10, &service);
        lan.check("a10", &service, &[("b10", &service), ("trunk", &in_10), ("native", &in_10)]);
        lan.check_drop("trunk", &service, "vlan-untagged");
        lan.check("native", &service, &[("c20", &service)]);
    });
}

#[test]
fn a_bridge_without_vlans_leaves_tags_alone() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let plain = frame(BROADCAST, station(1));
        for tci in [0, 1, 10, PRIORITY | 4094] {
            lan.check_flood("a", &vlan(tci, &plain), &["b"]);
            lan.check_flood("a", &tagged(STAG, tci, &vlan(7, &plain)), &["b"]);
        }
    });
}

#[test]
fn an_address_is_learned_per_vlan() {
    as_root(|| {
        let lan = every_kind();
        let (x, y) = (station(1), station(2));
        lan.teach("b10", y);
        lan.teach("c20", y); // the same address in another VLAN: both stand
        let rows: Vec<_> = lan.yard.learned().into_iter().filter(|(_, mac, _)| *mac == text(y)).collect();
        assert_eq!(rows, [(10, text(y), "b10".into()), (20, text(y), "c20".into())]);
        let to_y = frame(y, x);
        lan.check_flood("a10", &to_y, &["b10"]);
        lan.check("trunk", &vlan(PRIORITY | 10, &to_y), &[("b10", &to_y)]);
        lan.check("native", &to_y, &[("c20", &to_y)]);
        // Unknown in VLAN 1, whatever it is elsewhere.
        lan.check("plain", &to_y, &[("native", &vlan(1, &to_y))]);

        lan.yard.ok("fdb flush --vlan 10");
        let left = lan.yard.learned();
        assert!(left.iter().all(|(vid, ..)| *vid != 10), "{left:?}");
        assert!(left.iter().any(|(vid, ..)| *vid == 20), "{left:?}");
    });
}

#[test]
fn a_static_entry_is_in_one_vlan() {
    as_root(|| {
        let lan = every_kind();
        let (x, y) = (station(1), station(2));
        lan.yard.ok(&format!("fdb add {} trunk --vlan 10", text(y)));
        lan.check("a10", &frame(y, x), &[("trunk", &vlan(10, &frame(y, x)))]);
        lan.check("c20", &frame(y, x), &[("native", &frame(y, x))]);
    });
}

#[test]
fn no_kind_of_traffic_leaves_its_vlan() {
    as_root(|| {
        let ports = [("a10", "vlan = 10"), ("b10", "vlan = 10"), ("a20", "vlan = 20"), ("b20", "vlan = 20")];
        let lan = Lan::start("", &ports);
        let (x, known, elsewhere) = (station(1), station(2), station(3));
        lan.teach("b10", known);
        lan.teach("b20", elsewhere);
        let kinds = [
            frame(known, x),
            frame(elsewhere, x), // known, but in the other VLAN: unknown here
            frame(station(99), x),
            frame(BROADCAST, x),
            frame(MULTICAST, x),
            arp(x),
            ipv4(known, x),
            ipv4(elsewhere, x),
            ipv4(MULTICAST, x),
            ipv4(BROADCAST, x),
            ipv6_solicitation(x),
            tagged(STAG, 20, &frame(BROADCAST, x)),
        ];
        for kind in &kinds {
            lan.check_flood("a10", kind, &["b10"]);
            // The neighbouring VLAN's tag opens no door.
            lan.check_drop("a10", &vlan(20, kind), "vlan-not-allowed");
        }
        // Nor does a tag hidden behind one's own.
        let hopping = vlan(10, &vlan(20, &frame(BROADCAST, x)));
        lan.check("a10", &hopping, &[("b10", &vlan(20, &frame(BROADCAST, x)))]);
    });
}

#[test]
fn a_static_entry_cannot_be_where_its_vlan_is_not() {
    as_root(|| {
        let lan = every_kind();
        let y = text(station(2));
        for line in [
            format!("fdb add {y} a10 --vlan 20"),
            format!("fdb add {y} trunk --vlan 20"),
            format!("fdb add {y} trunk"),
            format!("fdb add {y} a10 --vlan 4095"),
        ] {
            let output = lan.yard.output(&line.split_whitespace().collect::<Vec<_>>());
            assert!(!output.status.success(), "{line}");
        }
        lan.yard.ok(&format!("fdb add {y} native"));
        let rows = lan.yard.rows("fdb show");
        let row = rows.iter().find(|row| row["mac"] == y.as_str()).expect("the last one was right");
        assert_eq!((&row["vlan"], &row["kind"]), (&20.into(), &"static".into()));
    });
}

#[test]
fn every_vlan_passes_a_trunk() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "trunk = \"all\""), ("b", "trunk = \"all\"")]);
        let plain = frame(BROADCAST, station(1));
        for vid in 1..=4094 {
            lan.at("a").send(&vlan(vid, &plain));
            assert_eq!(lan.at("b").receive(), vlan(vid, &plain), "VLAN {vid}");
        }
        assert_eq!(lan.yard.bridge("lan")["fdb_entries"], 4094);
    });
}

#[test]
fn hosts_in_one_vlan_talk_and_others_do_not_hear() {
    as_root(|| {
        let [a, b, c] = ["a", "b", "c"].map(Host::new);
        let address = |n| format!("address = [\"10.9.0.{n}/24\"]");
        let ports = [
            tap("a", &a, &format!("vlan = 10\n{}", address(1))),
            tap("b", &b, &format!("vlan = 10\n{}", address(2))),
            tap("c", &c, &format!("vlan = 20\n{}", address(3))),
        ];
        let _yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
        ping(&a, "10.9.0.2", 3200, 5);
        tcp(&a, &b, "10.9.0.2", 16 << 20);
        ping_in_vain(&a, "10.9.0.3", 2);
    });
}

/// A superframe gets a tag on its way into the patch and loses it behind, its checksum and segments unfinished: the
/// offsets that say where they are must follow the bytes.
#[test]
fn superframes_are_retagged_between_access_and_trunk() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let patch = |name: &str, peer: &str, bridge: &str| {
            format!(
                "[port.{name}]\ntype = \"patch\"\nbridge = \"{bridge}\"\npeer = \"{peer}\"\ntrunk = [10]\n"
            )
        };
        let ports = [
            tap("a", &a, "bridge = \"red\"\nvlan = 10\naddress = [\"10.9.0.1/24\"]"),
            tap("b", &b, "bridge = \"blue\"\nvlan = 10\naddress = [\"10.9.0.2/24\"]"),
            patch("r", "s", "red"),
            patch("s", "r", "blue"),
        ];
        let yard = Yard::start(&format!("[bridge.red]\n[bridge.blue]\n{}", ports.concat()));
        a.assert_offloads_on("a");
        ping(&a, "10.9.0.2", 8000, 5);
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
        let mean = yard.port_count("b", "tx_bytes") / yard.port_count("b", "tx_frames");
        assert!(mean > 1514, "port b sent {mean} bytes a frame: TCP was cut into segments");
    });
}

/// The same over a real link between two bridges: two `netdev` ports on the ends of a veth pair.
#[test]
fn superframes_are_retagged_over_a_trunk_of_veths() {
    as_root(|| {
        let [a, b, here] = ["a", "b", "yard"].map(Host::new);
        here.veth("red0", "", &here, "blue0");
        let trunk = |name: &str, bridge: &str| {
            format!("[port.{name}]\ntype = \"netdev\"\nbridge = \"{bridge}\"\ntrunk = [10, 20]\n")
        };
        let ports = [
            tap("a", &a, "bridge = \"red\"\nvlan = 10\naddress = [\"10.9.0.1/24\"]"),
            tap("b", &b, "bridge = \"blue\"\nvlan = 10\naddress = [\"10.9.0.2/24\"]"),
            trunk("red0", "red"),
            trunk("blue0", "blue"),
        ];
        let _yard = Yard::start_in(&here, &format!("[bridge.red]\n[bridge.blue]\n{}", ports.concat()));
        here.assert_offloads_on("red0");
        ping(&a, "10.9.0.2", 1472, 5);
        ping(&a, "10.9.0.2", 8000, 5);
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
    });
}
