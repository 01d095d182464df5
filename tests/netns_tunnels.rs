//! What tunnels are used for, beyond what every pair of ends carries (`netns_vxlan.rs`): links without Ethernet, groups,
//! peers that nobody or only an entry names, what stands in GRE and GENEVE headers, echoes, and changes under traffic.

mod common;

use std::slice::from_ref;
use std::thread;

use common::frames::{BROADCAST, frame, station};
use common::overlay::{
    Family, Overlay, Plan, Side, Tunnel, dropped, guest_v4, guest_v6, no_frame_was_damaged, path_mtu, peer,
    shrink, tapyard_config, tunnel_port,
};
use common::traffic::{Stream, ping, ping_in_vain, tcp, wait_for_ping};
use common::{Station, Yard, as_root, number, wait_until};
use serde_json::json;

use Family::{V4, V6};
use Side::{Kernel, OpenVSwitch, Tapyard};
use Tunnel::{Geneve, Gre, GreIp, Vxlan};

/// Host `n`'s configuration as planned, run anew after `change`.
fn reconfigure(overlay: &Overlay, plan: &Plan<'_>, n: usize, change: impl Fn(&str) -> String) {
    let config = tapyard_config(plan, n, from_ref(overlay.guest(n)));
    let changed = change(&config);
    overlay.yard(n).reload(&changed);
}

/// Packets that host `n` has from and to the peer on host `other`.
fn packets(overlay: &Overlay, plan: &Plan<'_>, n: usize, other: usize) -> [u64; 2] {
    let peer = peer(overlay.yard(n), plan, other);
    ["rx_packets", "tx_packets"].map(|key| number(&peer, key))
}

/// TCP both ways, by IPv4 and IPv6, between the guests of hosts 1 and 2.
fn tcp_both_ways(overlay: &Overlay, bytes: usize) {
    for (from, to) in [(1, 2), (2, 1)] {
        for address in [guest_v4(0, to), guest_v6(0, to)] {
            tcp(overlay.guest(from), overlay.guest(to), &address, bytes);
        }
    }
}

// -- Links that carry IP

/// The tunnels that can, over either family.
const LINKS: [(Tunnel, Family); 6] =
    [(Gre, V4), (Gre, V6), (GreIp, V4), (GreIp, V6), (Geneve, V4), (Geneve, V6)];

#[test]
fn a_wire_carries_ip_of_both_families() {
    as_root(|| {
        for (tunnel, family) in LINKS {
            let plan = Plan { wired: true, ..Plan::new(tunnel, family, &[Tapyard, Tapyard]) };
            let overlay = Overlay::start(&plan);
            let (one, two) = (overlay.guest(1), overlay.guest(2));
            wait_for_ping(one, &guest_v4(0, 2));
            wait_for_ping(two, &guest_v6(0, 1));
            for size in [0, 1, 1393, 1394, 1395, 60_000] {
                ping(one, &guest_v4(0, 2), size, 1);
                ping(two, &guest_v6(0, 1), size, 1);
            }
            [one, two].iter().for_each(|guest| guest.assert_offloads_on("eth"));
            tcp_both_ways(&overlay, 4 << 20);
            for n in [1, 2] {
                no_frame_was_damaged(overlay.yard(n));
                let frames = overlay.yard(n).port_count("guest0", "rx_frames");
                let [_, sent] = packets(&overlay, &plan, n, 3 - n);
                assert!(
                    sent > 2 * frames,
                    "{tunnel:?}: superframes came whole: {frames} frames, {sent} packets"
                );
            }
        }
    });
}

#[test]
fn a_packet_that_does_not_fit_through_a_wire_is_answered() {
    as_root(|| {
        // GRE has a key here.
        for (tunnel, family, overhead) in [
            (Gre, V4, 36),
            (Gre, V6, 56),
            (GreIp, V4, 28),
            (GreIp, V6, 48),
            (Geneve, V4, 36),
            (Geneve, V6, 56),
        ] {
            let sides = [Tapyard, Tapyard];
            let plan = Plan { wired: true, guest_mtu: 1500, ..Plan::new(tunnel, family, &sides) };
            let overlay = Overlay::start(&plan);
            let one = overlay.guest(1);
            wait_for_ping(one, &guest_v4(0, 2));
            wait_for_ping(one, &guest_v6(0, 2));
            let fits = 1500 - overhead;
            assert_eq!(number(&peer(overlay.yard(1), &plan, 2), "mtu"), u64::from(fits), "{tunnel:?}");
            for (address, headers) in [(guest_v4(0, 2), 28), (guest_v6(0, 2), 48)] {
                let echo = |bytes: u32| {
                    let size = (bytes - headers).to_string();
                    let args = ["-n", "-q", "-c", "1", "-W", "5", "-M", "do", "-s", &size, &address];
                    one.run(10, "ping", &args).status.success()
                };
                let replied = number(&overlay.yard(1).json("stats"), "replied");
                assert!(echo(fits), "{tunnel:?}: {fits} bytes to {address}");
                assert!(!echo(fits + 1), "{tunnel:?}: {} bytes to {address}", fits + 1);
                assert_eq!(path_mtu(one, &address), Some(fits), "{tunnel:?}: {address}");
                assert_eq!(number(&overlay.yard(1).json("stats"), "replied"), replied + 1, "{tunnel:?}");
            }
            tcp_both_ways(&overlay, 4 << 20);
        }
    });
}

// -- Peers that nobody named

#[test]
fn members_of_a_group_learn_who_is_where() {
    as_root(|| {
        for (family, group) in [(V4, "239.1.1.1"), (V6, "ff05::4789")] {
            let sides = [Tapyard, Tapyard, Kernel];
            let plan = Plan { group: Some(group), keys: "ttl = 8", ..Plan::new(Vxlan, family, &sides) };
            let overlay = Overlay::start(&plan);
            for (from, to) in [(1, 2), (2, 3), (3, 1)] {
                wait_for_ping(overlay.guest(from), &guest_v4(0, to));
                wait_for_ping(overlay.guest(to), &guest_v6(0, from));
            }
            // What is for one of them goes to him alone.
            let before = packets(&overlay, &plan, 1, 3);
            let told = [1, 2].map(|n| packets(&overlay, &plan, n, 3 - n));
            ping(overlay.guest(1), &guest_v4(0, 2), 1000, 50);
            let after = packets(&overlay, &plan, 1, 3);
            assert!(after[0] - before[0] < 25 && after[1] - before[1] < 25, "{before:?} {after:?}");
            for (n, before) in (1..).zip(told) {
                let after = packets(&overlay, &plan, n, 3 - n);
                assert!(after[0] - before[0] >= 50 && after[1] - before[1] >= 50, "{before:?} {after:?}");
            }
            let tunnel = &overlay.yard(1).rows("tunnel show")[0];
            let peers = tunnel["peers"].as_array().expect("a list");
            let mut states: Vec<_> =
                peers.iter().map(|peer| peer["state"].as_str().expect("a word")).collect();
            states.sort_unstable();
            assert_eq!(states, ["group", "up", "up"], "{tunnel}");
            tcp_both_ways(&overlay, 4 << 20);
            tcp(overlay.guest(3), overlay.guest(1), &guest_v4(0, 1), 4 << 20);
            tcp(overlay.guest(1), overlay.guest(3), &guest_v4(0, 3), 4 << 20);
        }
    });
}

#[test]
fn who_accepts_anybody_answers_those_who_found_him() {
    as_root(|| {
        let plan = Plan { routed: true, ..Plan::new(Geneve, V4, &[Tapyard, Tapyard, Tapyard]) };
        let overlay = Overlay::start(&plan);
        let (remotes, hub) = ("remotes = [\"10.8.2.1\", \"10.8.3.1\"]", "accept = \"any\"");
        reconfigure(&overlay, &plan, 1, |config| {
            let config = config.replace(remotes, hub);
            assert!(config.contains(hub), "{config}");
            config
        });
        for n in [2, 3] {
            wait_for_ping(overlay.guest(n), &guest_v4(0, 1));
            tcp(overlay.guest(1), overlay.guest(n), &guest_v4(0, n), 4 << 20);
            assert_eq!(peer(overlay.yard(1), &plan, n)["state"], "up");
            overlay.yard(1).ok(&format!("tunnel ping 10.8.{n}.1 --count 1 --size 1000"));
        }
        // A path to one of them becomes narrower.
        shrink(&overlay, 1400);
        tcp(overlay.guest(1), overlay.guest(2), &guest_v4(0, 2), 4 << 20);
        let mtus = [2, 3].map(|n| number(&peer(overlay.yard(1), &plan, n), "path_mtu"));
        assert_eq!(mtus, [1400, 1500]);
        assert_eq!(dropped(overlay.yard(1), "stranger"), 0);
        reconfigure(&overlay, &plan, 1, |config| config.replace("10.8.2.1\", \"", ""));
        overlay.guest(2).ip("neigh flush all");
        ping_in_vain(overlay.guest(2), &guest_v4(0, 1), 2);
        ping(overlay.guest(3), &guest_v4(0, 1), 1000, 5);
        assert!(dropped(overlay.yard(1), "stranger") > 0);
    });
}

#[test]
fn without_learning_entries_say_who_is_behind_which_peer() {
    as_root(|| {
        let plan = Plan { keys: "learning = false", ..Plan::new(Vxlan, V4, &[Tapyard, Tapyard, Tapyard]) };
        let overlay = Overlay::start(&plan);
        let (one, yard) = (overlay.guest(1), overlay.yard(1));
        for n in [2, 3] {
            wait_for_ping(one, &guest_v4(0, n));
            assert_eq!(yard.behind(overlay.guest(n).mac("eth")), None);
        }
        // What is for an unknown station goes to all; with an entry, to its peer alone.
        let to_third = |count: u32| {
            let [_, before] = packets(&overlay, &plan, 1, 3);
            ping(one, &guest_v4(0, 2), 1000, count);
            packets(&overlay, &plan, 1, 3)[1] - before
        };
        assert!(to_third(40) >= 40);
        let mac = |n| common::frames::text(overlay.guest(n).mac("eth"));
        yard.ok(&format!("fdb add {} net0 --remote 10.8.2.1", mac(2)));
        assert!(to_third(40) < 20, "now it is known where to send");

        // A peer that only an entry names gets what is for its station, and nothing that is flooded.
        yard.ok("port set net0 remotes=10.8.2.1");
        assert_eq!(peer_addresses(yard), ["10.8.2.1"]);
        yard.ok(&format!("fdb add {} net0 --remote 10.8.3.1", mac(3)));
        assert_eq!(peer_addresses(yard), ["10.8.2.1", "10.8.3.1"]);
        assert_eq!(peer(yard, &plan, 3)["flooded"], false);
        let [first, second, third] = [1, 2, 3].map(|n| Station::open(overlay.guest(n), "eth", "a guest's"));
        let to_all = frame(BROADCAST, station(1));
        first.send(&to_all);
        wait_until("the second guest to hear what is for all", || second.receive() == to_all);
        let to_one = frame(overlay.guest(3).mac("eth"), station(1));
        first.send(&to_one);
        let heard = std::iter::from_fn(|| Some(third.receive())).take_while(|got| *got != to_one);
        assert!(!heard.collect::<Vec<_>>().contains(&to_all), "a frame for all came to the third guest");
        let neighbour = format!("neigh replace {} lladdr {} dev eth", guest_v4(0, 3), mac(3));
        one.ip(&neighbour);
        ping(one, &guest_v4(0, 3), 1000, 5);
        tcp(one, overlay.guest(3), &guest_v4(0, 3), 4 << 20);
    });
}

/// The addresses of the peers of the first network's tunnel.
fn peer_addresses(yard: &Yard) -> Vec<String> {
    let tunnel = &yard.rows(&format!("tunnel show {}", tunnel_port(0)))[0];
    let peers = tunnel["peers"].as_array().expect("a list").iter();
    peers.map(|peer| peer["address"].as_str().expect("an address").to_owned()).collect()
}

#[test]
fn a_hub_without_split_horizon_joins_its_spokes() {
    as_root(|| {
        let plan = Plan::new(Vxlan, V4, &[Tapyard, Tapyard, Tapyard]);
        let overlay = Overlay::start(&plan);
        for n in [2, 3] {
            reconfigure(&overlay, &plan, n, |config| {
                config.replace(&format!(", \"10.8.{}.1\"", 5 - n), "") // to the hub alone
            });
        }
        wait_for_ping(overlay.guest(2), &guest_v4(0, 1));
        ping_in_vain(overlay.guest(2), &guest_v4(0, 3), 2);
        overlay.yard(1).ok("port set net0 split-horizon=false");
        wait_for_ping(overlay.guest(2), &guest_v4(0, 3));
        tcp(overlay.guest(2), overlay.guest(3), &guest_v4(0, 3), 4 << 20);
        tcp(overlay.guest(3), overlay.guest(2), &guest_v4(0, 2), 4 << 20);
    });
}

// -- What stands in the headers

/// The keys of a GRE port: every combination of what may stand in the header, and Open vSwitch's words for it.
fn gre_headers() -> impl Iterator<Item = (bool, String, String)> {
    (0..8).map(|bits| {
        let [key, checksum, sequence] = [1, 2, 4].map(|bit| bits & bit != 0);
        let ours = format!("checksum = {checksum}\nsequence = {sequence}");
        let theirs = format!("options:csum={checksum} options:seq={sequence}");
        (key, ours, theirs)
    })
}

#[test]
fn gre_carries_everything_whatever_stands_in_its_header() {
    as_root(|| {
        for (tunnel, wired) in [(Gre, false), (GreIp, false), (Gre, true), (GreIp, true)] {
            let plan = Plan { wired, ..Plan::new(tunnel, V4, &[Tapyard, Tapyard]) };
            let overlay = Overlay::start(&plan);
            for (key, keys, _) in gre_headers() {
                for n in [1, 2] {
                    reconfigure(&overlay, &Plan { keys: &keys, ..plan }, n, |config| match key {
                        true => config.to_owned(),
                        false => config.replace("key = 100\n", ""),
                    });
                }
                wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
                ping(overlay.guest(1), &guest_v6(0, 2), 1300, 2);
                tcp(overlay.guest(1), overlay.guest(2), &guest_v4(0, 2), 2 << 20);
                tcp(overlay.guest(2), overlay.guest(1), &guest_v6(0, 1), 2 << 20);
            }
            let overlay_is_clean = |n| assert_eq!(dropped(overlay.yard(n), "tunnel-checksum"), 0);
            [1, 2].into_iter().for_each(overlay_is_clean);
        }
    });
}

#[test]
fn open_vswitch_reads_and_writes_the_same_gre_headers() {
    as_root(|| {
        let plan = Plan::new(GreIp, V4, &[Tapyard, OpenVSwitch]);
        let overlay = Overlay::start(&plan);
        for (key, keys, theirs) in gre_headers() {
            if theirs == "options:csum=true options:seq=true" {
                continue; // it puts the number in after it has made the checksum
            }
            reconfigure(&overlay, &Plan { keys: &keys, ..plan }, 1, |config| match key {
                true => config.to_owned(),
                false => config.replace("key = 100\n", ""),
            });
            let ovs = overlay.openvswitch(2);
            ovs.vsctl(&match key {
                true => format!("set interface peer options:key=100 {theirs}"),
                false => format!("remove interface peer options key -- set interface peer {theirs}"),
            });
            wait_for_ping(overlay.guest(1), &guest_v4(0, 2));
            ping(overlay.guest(2), &guest_v6(0, 1), 1300, 2);
            tcp(overlay.guest(1), overlay.guest(2), &guest_v4(0, 2), 1 << 18);
            tcp(overlay.guest(2), overlay.guest(1), &guest_v4(0, 1), 1 << 18);
        }
    });
}

#[test]
fn geneve_options_are_what_open_vswitch_reads_and_writes() {
    as_root(|| {
        let keys = "options = [{ class = 0x0102, type = 1, data = \"deadbeef\" }, { class = 0xffff, type = 2, data = \"\" }]";
        let plan = Plan { keys, ..Plan::new(Geneve, V4, &[Tapyard, OpenVSwitch]) };
        let overlay = Overlay::start(&plan);
        let (ovs, yard) = (overlay.openvswitch(2), overlay.yard(1));
        let (one, two) = (overlay.guest(1), overlay.guest(2));
        wait_for_ping(one, &guest_v4(0, 2)); // it passes over what it has no map for

        // It takes what has our option, and nothing else; and sends one of its own.
        let flows = |wanted: &str, set: &str| {
            ovs.ofctl(&["del-flows", "lan"]);
            ovs.ofctl(&[
                "add-flow",
                "lan",
                &format!("in_port=peer,tun_metadata0={wanted},actions=output:eth"),
            ]);
            ovs.ofctl(&["add-flow", "lan", &format!("in_port=eth,actions=set_field:{set},output:peer")]);
        };
        ovs.ofctl(&["del-flows", "lan"]);
        ovs.ofctl(&[
            "add-tlv-map",
            "lan",
            "{class=0x102,type=1,len=4}->tun_metadata0,{class=0x102,type=0x81,len=4}->tun_metadata1",
        ]);
        flows("0xdeadbeef", "0x11223344->tun_metadata0");
        wait_for_ping(one, &guest_v4(0, 2));
        tcp(one, two, &guest_v4(0, 2), 1 << 18);
        tcp(two, one, &guest_v4(0, 1), 1 << 18);
        assert_eq!(peer(yard, &plan, 2)["options"], json!(["0102:01:11223344"]));
        flows("0xdeadbeee", "0x11223344->tun_metadata0");
        ping_in_vain(one, &guest_v4(0, 2), 2);

        // What must be understood, and is not, is dropped.
        flows("0xdeadbeef", "0x11223344->tun_metadata1");
        assert_eq!(dropped(yard, "tunnel-option"), 0);
        ping_in_vain(one, &guest_v4(0, 2), 2);
        wait_until("the critical option to be counted", || dropped(yard, "tunnel-option") > 0);
    });
}

// -- Echoes between switches

#[test]
fn an_echo_finds_the_largest_packet_also_after_the_path_shrank() {
    as_root(|| {
        for (tunnel, wired, overhead) in [
            (Vxlan, false, 50),
            (Geneve, false, 50),
            (Gre, false, 50),
            (GreIp, false, 42),
            (Geneve, true, 36),
            (Gre, true, 36),
            (GreIp, true, 28),
        ] {
            let plan = Plan { routed: true, wired, ..Plan::new(tunnel, V4, &[Tapyard, Tapyard]) };
            let overlay = Overlay::start(&plan);
            let yard = overlay.yard(1);
            let largest = |to: &str| {
                let answer = yard.json(&format!("tunnel ping {to} --count 2 --interval 0"));
                assert_eq!((number(&answer, "sent"), number(&answer, "answered")), (2, 2), "{answer}");
                number(&answer, "largest")
            };
            wait_until("the other switch to answer", || {
                yard.output(&["tunnel", "ping", "net0", "--size", "64", "--count", "1"]).status.success()
            });
            assert_eq!(largest("net0"), 1500 - overhead, "{tunnel:?}, wired {wired}");
            shrink(&overlay, 1400);
            assert_eq!(largest("10.8.2.1"), 1400 - overhead, "{tunnel:?}, wired {wired}");
            assert_eq!(number(&peer(yard, &plan, 2), "mtu"), 1400 - overhead, "{tunnel:?}, wired {wired}");
            let too_long = (1400 - overhead + 1).to_string();
            let output = yard.output(&["tunnel", "ping", "net0", "--size", &too_long, "--count", "1"]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
    });
}

// -- Changes under traffic

#[test]
fn peers_come_and_go_while_others_are_sent_to() {
    as_root(|| {
        for tunnel in [Vxlan, GreIp] {
            let plan = Plan::new(tunnel, V4, &[Tapyard, Tapyard, Tapyard]);
            let overlay = Overlay::start(&plan);
            let (yard, one, two) = (overlay.yard(1), overlay.guest(1), overlay.guest(2));
            for n in [2, 3] {
                wait_for_ping(one, &guest_v4(0, n));
            }
            let change = || {
                yard.ok("port set net0 remotes=10.8.2.1");
                yard.ok("port set net0 remotes=10.8.2.1,10.8.3.1,10.8.9.9");
                yard.ok("port set net0 remotes=10.8.3.1,10.8.2.1");
            };
            let stream = Stream::start(one, two, &guest_v4(0, 2));
            (0..5).for_each(|_| change());
            stream.assert_lossless();
            thread::scope(|scope| {
                let flow = scope.spawn(|| tcp(one, two, &guest_v4(0, 2), 64 << 20));
                let mut changes = 0;
                while !flow.is_finished() {
                    change();
                    changes += 1;
                }
                assert!(changes > 1, "the flow was over too soon");
            });
            ping(one, &guest_v4(0, 3), 1000, 5);
        }
    });
}

#[test]
fn an_unreachable_peer_is_shown_and_forgotten_when_it_is_heard() {
    as_root(|| {
        for tunnel in [Geneve, Gre, GreIp] {
            let plan = Plan::new(tunnel, V4, &[Tapyard, Tapyard, Tapyard]);
            let mut overlay = Overlay::start(&plan);
            for n in [2, 3] {
                wait_for_ping(overlay.guest(1), &guest_v4(0, n));
            }
            overlay.yard_mut(2).kill();
            ping_in_vain(overlay.guest(1), &guest_v4(0, 2), 3);
            tcp(overlay.guest(1), overlay.guest(3), &guest_v4(0, 3), 4 << 20);
            let state = |n| peer(overlay.yard(1), &plan, n)["state"].as_str().expect("a word").to_owned();
            assert!(state(2).starts_with("unreachable: "), "{tunnel:?}: {}", state(2));
            assert_eq!(state(3), "up");
            overlay.yard_mut(2).run();
            let answers =
                || overlay.yard(1).output(&["tunnel", "ping", "10.8.2.1", "--count", "1", "--size", "64"]);
            wait_until("it to answer again", || answers().status.success());
            let state = |n| peer(overlay.yard(1), &plan, n)["state"].as_str().expect("a word").to_owned();
            assert_eq!(state(2), "up");
        }
    });
}
