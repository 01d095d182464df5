//! What becomes of a TAP's kernel end, and what is said when it cannot be had.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::frames::{BROADCAST, frame, ipv4, station};
use common::traffic::{ping, ping_in_vain, tcp};
use common::{Host, Station, Yard, as_root, tap, wait_until};

#[test]
fn the_kernel_end_is_as_configured() {
    as_root(|| {
        let a = Host::with_ipv6("a");
        let keys = "device = \"eth7\"\nmac = \"02:00:00:00:00:07\"\nmtu = 9000\n\
                    address = [\"10.9.0.7/24\", \"fd00:9::7/64\"]\nowner = 0\ngroup = 0\nqueues = 2";
        let yard = Yard::start(&format!("[bridge.lan]\n{}", tap("vm1", &a, keys)));
        let link = a.ip("-d -o link show dev eth7");
        for part in
            ["mtu 9000", "02:00:00:00:00:07", "user root", "group root", "vnet_hdr on", "multi_queue", "UP"]
        {
            assert!(link.contains(part), "no {part} in {link}");
        }
        let addresses = a.ip("-o addr show dev eth7");
        assert!(addresses.contains("10.9.0.7/24") && addresses.contains("fd00:9::7/64"), "{addresses}");
        let row = yard.port("vm1");
        assert_eq!((&row["device"], &row["netns"]), (&"eth7".into(), &a.name().into()));
        assert_eq!((&row["mac"], &row["mtu"]), (&"02:00:00:00:00:07".into(), &9000.into()));
        assert!(row["offloads"].as_array().is_some_and(|offloads| !offloads.is_empty()), "{row}");
        assert!(!a.has("vm1"));
    });
}

#[test]
fn a_plain_device_promises_nothing() {
    as_root(|| {
        let a = Host::new("a");
        let yard = Yard::start(&format!("[bridge.lan]\n{}", tap("a", &a, "offload = false")));
        assert!(a.ip("-d -o link show dev a").contains("vnet_hdr off"));
        assert_eq!(yard.port("a")["offloads"], serde_json::json!([]));
        assert_eq!(yard.port("a")["queues"], 1);
    });
}

/// Whatever the number of its queues, every worker can send to it.
#[test]
fn a_device_that_exists_is_attached_to() {
    as_root(|| {
        for flags in ["", "multi_queue"] {
            let [a, b] = ["a", "b"].map(Host::new);
            a.ip(&format!("tuntap add dev a mode tap {flags}"));
            a.ip("addr add 10.9.0.1/24 dev a");
            let yard = Yard::start(&format!(
                "[bridge.lan]\n{}{}[switch]\nworkers = 2\n",
                tap("a", &a, ""),
                tap("b", &b, "address = [\"10.9.0.2/24\"]")
            ));
            for _ in 0..3 {
                ping(&a, "10.9.0.2", 1600, 2);
                tcp(&a, &b, "10.9.0.2", 4 << 20);
                tcp(&b, &a, "10.9.0.1", 4 << 20);
            }
            drop(yard);
            assert!(a.has("a"), "what it did not make stays");
            assert!(!b.has("b"));
        }
    });
}

#[test]
fn one_queue_serves_every_worker() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let yard = Yard::start(&format!(
            "[bridge.lan]\n{}{}[switch]\nworkers = 4\n",
            tap("a", &a, "queues = 4\naddress = [\"10.9.0.1/24\"]"),
            tap("b", &b, "queues = 1\naddress = [\"10.9.0.2/24\"]")
        ));
        assert_eq!((&yard.port("a")["queues"], &yard.port("b")["queues"]), (&4.into(), &1.into()));
        for _ in 0..8 {
            tcp(&a, &b, "10.9.0.2", 1 << 20); // each connection takes another of a's queues
        }
        assert_eq!(yard.port("b")["drops"], 0, "{:?}", yard.rows("drops"));
    });
}

#[test]
fn an_mtu_that_changes_while_it_runs_is_followed() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let yard = Yard::start(&format!(
            "[bridge.lan]\n{}{}",
            tap("a", &a, "address = [\"10.9.0.1/24\"]"),
            tap("b", &b, "address = [\"10.9.0.2/24\"]")
        ));
        ping(&a, "10.9.0.2", 56, 1);
        for (host, device) in [(&a, "a"), (&b, "b")] {
            host.ip(&format!("link set dev {device} mtu 9000"));
        }
        // The first long frame may be dropped; it is what makes the switch look.
        let long = |host: &Host, to: &str| {
            host.run(10, "ping", &["-c", "1", "-W", "1", "-M", "do", "-s", "8900", to]).status.success()
        };
        wait_until("8900 bytes pass", || long(&a, "10.9.0.2"));
        assert_eq!(yard.port("b")["mtu"], 9000);
        b.ip("link set dev b name c");
        assert_eq!(yard.port("b")["device"], "c", "found under its new name");
        b.ip("link set dev c down");
        assert_eq!(yard.port("b")["state"], "down");
    });
}

/// What a device that cannot be had is answered with: one line, which names the device and has these words.
#[test]
fn what_cannot_be_opened_is_refused_with_its_remedy() {
    as_root(|| {
        let [a, here] = ["a", "yard"].map(Host::new);
        here.ip("tuntap add dev single mode tap");
        here.ip("tuntap add dev multi mode tap multi_queue");
        here.ip("tuntap add dev ip mode tun");
        here.ip("link add name veth0 type veth peer name veth1");
        let yard = Yard::start_in(
            &here,
            &format!(
                "[bridge.lan]\n{}[port.held]\ntype = \"tap\"\nbridge = \"lan\"\nqueues = 1\n",
                tap("a", &a, "")
            ),
        );
        for (line, words) in [
            ("single --type tap --bridge lan queues=2", &["single", "queue"][..]),
            ("multi --type tap --bridge lan offload=false", &["multi", "queue"]),
            ("ip --type tap --bridge lan", &["ip", "TUN"]),
            ("veth0 --type tap --bridge lan", &["veth0", "netdev"]),
            ("x --type tap --bridge lan netns=no-such-namespace", &["x", "no-such-namespace"]),
            ("twice --type tap --bridge lan device=held", &["held"]),
        ] {
            let why = yard.refused(&format!("port add {line}"));
            assert!(words.iter().all(|word| why.contains(word)), "port add {line}: {words:?} in\n{why}");
        }
        // Another process wants what this one has.
        let second = yard.dir().join("second.toml");
        let config = format!(
            "[switch]\ncontrol = \"{}\"\n[bridge.lan]\n[port.held]\ntype = \"tap\"\nbridge = \"lan\"\nqueues = 1\n",
            yard.dir().join("second.sock").display()
        );
        std::fs::write(&second, config).expect("ours");
        let second = second.to_str().expect("text");
        let output = here.run(20, env!("CARGO_BIN_EXE_tapyard"), &["run", "--config", second]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("held") && stderr.contains("another program"), "{stderr}");
        assert_eq!(yard.port("held")["state"], "up");
    });
}

#[test]
fn without_privilege_it_says_what_it_needs() {
    as_root(|| {
        let (a, b) = (Host::new("a"), Host::new("b"));
        let yard = Yard::start(&format!("[bridge.lan]\n{}{}", tap("a", &a, ""), tap("b", &b, "")));
        std::fs::set_permissions(yard.dir(), std::fs::Permissions::from_mode(0o777)).expect("ours");
        let file = yard.dir().join("plain.toml");
        let control = yard.dir().join("plain.sock");
        let text = format!(
            "[switch]\ncontrol = \"{}\"\n[bridge.lan]\n[port.p]\ntype = \"tap\"\nbridge = \"lan\"\n",
            control.display()
        );
        std::fs::write(&file, text).expect("ours");
        // Every capability dropped, which is what being no root comes to.
        let output = Command::new("timeout")
            .args([
                "20",
                "setpriv",
                "--bounding-set=-all",
                "--inh-caps=-all",
                env!("CARGO_BIN_EXE_tapyard"),
                "run",
            ])
            .arg("--config")
            .arg(&file)
            .output()
            .expect("timeout (coreutils) runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("CAP_NET_ADMIN") || stderr.contains("root"), "{stderr}");
    });
}

#[test]
fn a_tun_has_no_bridge_and_drops_what_it_hears() {
    as_root(|| {
        let a = Host::new("a");
        let config =
            format!("[bridge.lan]\n[port.t]\ntype = \"tun\"\nnetns = \"{a}\"\naddress = \"10.9.8.1/24\"\n");
        let yard = Yard::start(&config);
        assert_eq!(
            (&yard.port("t")["type"], &yard.port("t")["bridge"]),
            (&"tun".into(), &serde_json::Value::Null)
        );
        assert!(a.ip("-d -o link show dev t").contains("tun type tun"));
        ping_in_vain(&a, "10.9.8.2", 3);
        wait_until("the drops to be counted", || yard.drops("t", "no-bridge") == 3);
    });
}

/// More than the queue of a device holds, at once: what the switch took in, it accounts for.
#[test]
fn a_burst_is_accounted_for() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let yard = Yard::start(&format!("[bridge.lan]\n{}{}", tap("a", &a, ""), tap("b", &b, "")));
        let sender = Station::open(&a, "a", "a");
        for n in 0..20_000 {
            sender.try_send(&frame(BROADCAST, station(n % 50)));
        }
        yard.assert_conserved();
        let (rx, tx) = (yard.port_count("a", "rx_frames"), yard.port_count("b", "tx_frames"));
        assert!(rx > 0 && tx + yard.port_count("b", "drops") == rx, "{rx} came in, {tx} went out");
    });
}

/// The frames that each of two workers has taken in when `send` has run.
fn shares(yard: &Yard, send: impl FnOnce()) -> [u64; 2] {
    let frames = |n: usize| yard.json("stats")["workers"][n]["frames"].as_u64().expect("a count");
    let taken = || [0, 1].map(frames);
    let before = taken();
    send();
    let after = taken();
    [0, 1].map(|n| after[n] - before[n])
}

#[test]
fn a_flow_stays_with_one_worker_both_ways_and_flows_are_shared_out() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let keys = "queues = 2\n";
        let yard = Yard::start(&format!(
            "[switch]\nworkers = 2\n[bridge.lan]\n{}{}",
            tap("a", &a, keys),
            tap("b", &b, keys)
        ));
        let (near, far) = (Station::open(&a, "a", "a"), Station::open(&b, "b", "b"));
        let datagram = |from: u8, to: u8, source: u16, destination: u16| {
            let mut frame = ipv4(station(to.into()), station(from.into()));
            (frame[29], frame[33]) = (from, to);
            frame[34..36].copy_from_slice(&source.to_be_bytes());
            frame[36..38].copy_from_slice(&destination.to_be_bytes());
            frame
        };
        for port in 1000..1008 {
            let frames = shares(&yard, || {
                for _ in 0..5 {
                    near.send(&datagram(1, 2, port, 53));
                    far.send(&datagram(2, 1, 53, port));
                }
                yard.assert_conserved();
            });
            assert!(frames == [10, 0] || frames == [0, 10], "port {port}: {frames:?}");
        }
        let frames = shares(&yard, || (2000..2064).for_each(|port| near.send(&datagram(1, 2, port, 53))));
        assert!(frames.iter().all(|&n| n >= 16) && frames[0] + frames[1] == 64, "{frames:?}");
    });
}
