//! Where a capture stands: tunnels, patches, routers and NAT, ports that come and go while it runs; and what it says of
//! itself at its end.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use common::capturing::{Capturing, column, read, statistics};
use common::frames::{BROADCAST, frame, station, text};
use common::overlay::{Family, Overlay, Plan, Side, Tunnel, guest_v4, tunnel_port};
use common::routed::{GATEWAY, HOST, Routed, v4};
use common::traffic::{ping, wait_for_ping};
use common::{Host, Lan, PATIENCE, Station, Yard, as_root, tap, wait_until};
use tapyard::control::api::{FollowQuery, Request};

#[test]
fn of_a_tunnel_what_is_inside_is_captured_both_ways() {
    as_root(|| {
        for tunnel in [Tunnel::Vxlan, Tunnel::GreIp] {
            let overlay = Overlay::start(&Plan::new(tunnel, Family::V4, &[Side::Tapyard, Side::Tapyard]));
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
            let yard = overlay.yard(1);
            let file = yard.dir().join("tunnel.pcapng");
            let port = tunnel_port(0);
            let capturing =
                Capturing::start(yard, &format!("{port} -c 4 -w {} icmp", file.display()), Stdio::null());
            ping(overlay.guest(1), &guest_v4(0, 2), 1000, 2);
            capturing.finish();
            let fields =
                ["frame.interface_name", "frame.packet_flags_direction", "frame.protocols", "ip.src"];
            let rows = read(&file, &fields);
            assert!(
                rows.iter().all(|row| row[0] == port && row[2].starts_with("eth:ethertype:ip:icmp")),
                "{rows:?}"
            );
            let ways: Vec<_> = rows.iter().map(|row| row[1].ends_with('1')).collect();
            assert_eq!(ways, [false, true, false, true], "out by the tunnel, in by it: {rows:?}");
            let (own, other) = (guest_v4(0, 1), guest_v4(0, 2));
            assert_eq!(column(&rows, 3), [&*own, &*other, &*own, &*other]);
            let why = yard.refused("capture udp:10.8.1.1:4789");
            assert!(tunnel == Tunnel::GreIp || why.contains("is what tunnels send by"), "{why}");
        }
    });
}

#[test]
fn both_ends_of_a_patch_see_a_frame_out_and_in() {
    as_root(|| {
        let patch = "[bridge.lan]\n[bridge.far]\n[port.r]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"s\"\n\
                     [port.s]\ntype = \"patch\"\nbridge = \"far\"\npeer = \"r\"\n";
        let lan = Lan::start(patch, &[("a", ""), ("b", "bridge = \"far\"")]);
        let file = lan.yard.dir().join("patch.pcapng");
        let capturing =
            Capturing::start(&lan.yard, &format!("any -c 4 -w {}", file.display()), Stdio::null());
        lan.check_flood("a", &frame(BROADCAST, station(1)), &["b"]);
        capturing.finish();
        let rows = read(&file, &["frame.interface_name", "frame.packet_flags_direction"]);
        let seen: Vec<_> = rows.iter().map(|row| (&*row[0], row[1].ends_with('1'))).collect();
        assert_eq!(seen, [("a", true), ("r", false), ("s", true), ("b", false)]);
    });
}

#[test]
fn before_a_router_and_behind_it_packets_are_as_they_are_there() {
    as_root(|| {
        let nat = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";
        let routed = Routed::start(2, nat);
        wait_for_ping(routed.host(1), &v4(2, HOST));
        let file = routed.yard.dir().join("nat.pcapng");
        let capturing =
            Capturing::start(&routed.yard, &format!("any -c 4 -w {} icmp", file.display()), Stdio::null());
        ping(routed.host(1), &v4(2, HOST), 56, 1);
        capturing.finish();
        let rows = read(
            &file,
            &["frame.interface_name", "frame.packet_flags_direction", "ip.src", "ip.dst", "ip.ttl"],
        );
        let (inside, outside, server) = (v4(1, HOST), v4(2, GATEWAY), v4(2, HOST));
        let expected = [
            ["h1", "in", &inside, &server, "64"],
            ["h2", "out", &outside, &server, "63"],
            ["h2", "in", &server, &outside, "64"],
            ["h1", "out", &server, &inside, "63"],
        ];
        let seen = rows.iter().map(|row| {
            let way = if row[1].ends_with('1') { "in" } else { "out" };
            [&*row[0], way, &*row[2], &*row[3], &*row[4]]
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn who_takes_the_slot_of_a_port_does_not_get_its_name() {
    as_root(|| {
        let (a, b, c) = (Host::new("a"), Host::new("b"), Host::new("c"));
        let config = |ports: &[(&str, &Host)]| {
            let ports: String = ports.iter().map(|(name, host)| tap(name, host, "")).collect();
            format!("[bridge.lan]\n{ports}")
        };
        let before = config(&[("a", &a), ("b", &b)]);
        let yard = Yard::start(&before);
        let path = |name: &str| yard.dir().join(format!("{name}.pcapng"));
        let start = |target: &str| {
            Capturing::start(&yard, &format!("{target} -w {}", path(target).display()), Stdio::null())
        };
        let (all, bridge, one) = (start("any"), start("lan"), start("b"));
        let mut follow = UnixStream::connect(yard.control()).expect("the switch runs");
        follow.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        let query = FollowQuery { port: Some("b".into()), ..FollowQuery::default() };
        let mut line = serde_json::to_vec(&Request::TraceFollow(query)).expect("a request");
        line.push(b'\n');
        follow.write_all(&line).expect("the switch reads");
        let mut follow = BufReader::new(follow);
        follow.read_line(&mut String::new()).expect("it is answered");
        Station::open(&a, "a", "a").send(&frame(BROADCAST, station(1)));
        yard.wait_until_learned(station(1), "a");
        yard.reload(&config(&[("a", &a)]));
        // It takes the slot that is free.
        yard.reload(&config(&[("a", &a), ("c", &c)]));
        let (status, said) = one.wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("the capture was ended by the switch: port b was removed\n"), "{said}");
        follow.read_to_end(&mut Vec::new()).expect("the switch ends it");
        Station::open(&c, "c", "c").send(&frame(BROADCAST, station(3)));
        yard.wait_until_learned(station(3), "c");
        for (name, capturing) in [("any", all), ("lan", bridge)] {
            capturing.interrupt();
            let rows = read(&path(name), &["frame.interface_name", "eth.src"]);
            let by = |mac: [u8; 6]| {
                let of = rows.iter().filter(|row| row[1] == text(mac)).map(|row| &*row[0]);
                of.collect::<Vec<_>>()
            };
            assert_eq!(by(station(1)), ["a", "b"], "{name}");
            assert_eq!(by(station(3)), ["c", "a"], "{name}");
        }
        assert_eq!(column(&read(&path("b"), &["frame.interface_name"]), 0), ["b"]);
    });
}

#[test]
fn at_its_end_a_capture_says_how_many_there_were() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        for (count, end) in [("", "interrupted"), ("-c 6", "counted")] {
            let file = lan.yard.dir().join(format!("{end}.pcapng"));
            let capturing =
                Capturing::start(&lan.yard, &format!("lan {count} -w {}", file.display()), Stdio::null());
            for _ in 0..if count.is_empty() { 3 } else { 9 } {
                lan.check_flood("a", &frame(BROADCAST, station(1)), &["b"]);
            }
            let said = if count.is_empty() { capturing.interrupt() } else { capturing.finish() };
            assert!(said.ends_with("6 frames captured, 0 missed\n"), "{said}");
            assert_eq!(read(&file, &["frame.number"]).len(), 6);
            let told = statistics(&fs::read(&file).expect("it was made"));
            assert_eq!(told, [("a".to_owned(), 3, 0), ("b".to_owned(), 3, 0)], "{end}");
        }
    });
}

#[test]
fn a_file_is_as_old_as_it_may_be() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let file = lan.yard.dir().join("old.pcapng");
        let arguments = format!("a -G 1 -w {}", file.display());
        let capturing = Capturing::start(&lan.yard, &arguments, Stdio::null());
        let numbered = |n: u32| lan.yard.dir().join(format!("old.{n:05}.pcapng"));
        let mut sent = 0;
        wait_until("the third file", || {
            lan.check_flood("a", &frame(BROADCAST, station(1)), &["b"]);
            sent += 1;
            numbered(3).exists()
        });
        capturing.interrupt();
        let mut times = Vec::new();
        for n in 1.. {
            if !numbered(n).exists() {
                break;
            }
            let rows = read(&numbered(n), &["frame.interface_name", "frame.time_epoch"]);
            assert!(!rows.is_empty() && column(&rows, 0).iter().all(|name| *name == "a"), "file {n}");
            times.extend(column(&rows, 1).iter().map(|time| time.parse::<f64>().expect("a time")));
        }
        assert!(times.is_sorted() && times.len() == sent, "{} of {sent} frames", times.len());
    });
}
