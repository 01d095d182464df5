//! `tapyard doctor`, with each fault made: what it says, where, what to try, and how it ends.

mod common;

use std::fs;
use std::net::UdpSocket;
use std::process::{self, Output};

use common::frames::{self, BROADCAST, frame, station};
use common::overlay::{self, Family, Overlay, Plan, Side, Tunnel};
use common::tap_guest::Guest;
use common::{Host, Lan, Scratch, Station, Yard, as_root, tap, wait_until};
use serde_json::Value;

/// What `tapyard doctor -j` said.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    fn of(output: Output) -> Report {
        let text = String::from_utf8(output.stdout).expect("its output is text");
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        let findings = value["findings"].as_array().expect("a list").clone();
        Report { code: output.status.code().expect("it ends by itself"), findings }
    }

    /// Of a switch that runs.
    fn of_switch(yard: &Yard) -> Report {
        Report::of(yard.output(&["doctor", "-j"]))
    }

    /// Of a switch that is to run in `host`, and does not yet.
    fn of_file(host: &Host, config: &str) -> Report {
        let dir = Scratch::new();
        let (file, control) = (dir.path("tapyard.toml"), dir.path("control.sock"));
        let text = format!("{config}\n[switch]\nworkers = 2\ncontrol = \"{}\"\n", control.display());
        fs::write(&file, text).expect("the directory is ours");
        let file = file.to_str().expect("the path is text");
        let program = env!("CARGO_BIN_EXE_tapyard");
        Report::of(host.run(30, "env", &["-u", "TAPYARD_CONTROL", program, "doctor", "-j", "--config", file]))
    }

    /// The lines of a check that are not fine: result, where, what and remedy.
    fn lines(&self, check: &str) -> Vec<String> {
        let of_check: Vec<_> = self.findings.iter().filter(|finding| finding["check"] == check).collect();
        assert!(!of_check.is_empty(), "nothing about {check}: {:#?}", self.findings);
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
        let troubles = of_check.into_iter().filter(|finding| finding["result"] != "ok");
        troubles
            .map(|finding| ["result", "where", "what", "remedy"].map(|key| text(finding, key)).join(" | "))
            .collect()
    }

    /// Asserts that a check has one thing to say: one that begins so and has all these words.
    fn assert_one(&self, check: &str, begin: &str, words: &[&str]) {
        let lines = self.lines(check);
        let [line] = &lines[..] else { panic!("{check}: {lines:#?}\n{:#?}", self.findings) };
        assert!(line.starts_with(begin) && words.iter().all(|word| line.contains(word)), "{line}");
        let wrong = self.findings.iter().any(|finding| finding["result"] == "wrong");
        assert_eq!(self.code, i32::from(wrong), "{:#?}", self.findings);
    }

    /// Asserts that nothing is wrong, nor doubtful.
    fn assert_well(&self) {
        let bad = self.findings.iter().filter(|finding| finding["result"] != "ok");
        assert_eq!(bad.collect::<Vec<_>>(), Vec::<&Value>::new());
        assert_eq!(self.code, 0);
    }
}

const LAN: &str = "[bridge.lan]\n";

#[test]
fn a_switch_that_is_well_is_said_to_be() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "type = \"netdev\"\nquiet = true")]);
        lan.teach("a", station(1));
        Report::of_switch(&lan.yard).assert_well();
        let text = lan.yard.ok("doctor");
        assert!(text.lines().last().unwrap().starts_with("0 wrong, 0 warnings, "), "{text}");
    });
}

#[test]
fn tunnels_that_work_are_fine_and_a_narrow_network_is_not() {
    as_root(|| {
        let sides = [Side::Tapyard, Side::Tapyard];
        let overlay = Overlay::start(&Plan::new(Tunnel::Vxlan, Family::V4, &sides));
        let report = Report::of_switch(overlay.yard(2));
        for check in ["tunnel-mtu", "tunnel-peers", "tunnel-port"] {
            assert!(report.lines(check).is_empty(), "{:#?}", report.findings);
        }
        assert_eq!(report.code, 0, "{:#?}", report.findings);
        overlay::shrink(&overlay, 1300);
        wait_until("the doctor to see it", || {
            !Report::of_switch(overlay.yard(2)).lines("tunnel-mtu").is_empty()
        });
        let report = Report::of_switch(overlay.yard(2));
        let lines = report.lines("tunnel-mtu");
        assert!(
            lines[0].starts_with("wrong | tunnel ") && lines[0].contains("lets 1250 bytes through"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("warning | tunnel ") && lines[1].contains(" mtu=1250"), "{lines:?}");
        assert_eq!(report.code, 1);
    });
}

#[test]
fn a_peer_that_never_answers_is_named() {
    as_root(|| {
        let [here, far, guest] = ["yard", "far", "guest"].map(Host::new);
        here.veth("under", "10.8.1.1/24", &far, "under");
        far.ip("addr add 10.8.1.2/24 dev under");
        // Somebody who takes everything and says nothing.
        let _silent = far.enter(|| UdpSocket::bind("10.8.1.2:4789")).expect("the address is there");
        let tunnel = "[port.far]\ntype = \"vxlan\"\nbridge = \"lan\"\nvni = 7\nlocal = \"10.8.1.1\"\nremotes = \"10.8.1.2\"\n";
        let yard = Yard::start_in(&here, &[LAN, tunnel, &tap("a", &guest, "mtu = 1450")].concat());
        let report = Report::of_switch(&yard);
        report.assert_one("tunnel-peers", "warning | tunnel far, peer 10.8.1.2 | was never heard", &[]);
        let station = Station::open(&guest, "a", "a");
        station.send(&frame(BROADCAST, common::frames::station(1)));
        wait_until("it to be sent", || yard.rows("tunnel show")[0]["peers"][0]["tx_packets"] != 0);
        let report = Report::of_switch(&yard);
        let remedy = "tapyard tunnel ping 10.8.1.2 --port far";
        report.assert_one(
            "tunnel-peers",
            "wrong | tunnel far, peer 10.8.1.2 | has never answered",
            &[remedy],
        );
    });
}

#[test]
fn a_program_that_holds_the_device_is_named() {
    as_root(|| {
        let host = Host::new("yard");
        let _guest = Guest::boot(&host, "vmheld", 1);
        let config = format!("{LAN}[port.vmheld]\ntype = \"tap\"\nbridge = \"lan\"\nqueues = 1\n");
        let report = Report::of_file(&host, &config);
        let pid = format!("(pid {}) has vmheld open", process::id());
        report.assert_one("device-holder", "wrong | port vmheld | ", &[&pid, "type = \"netdev\""]);
    });
}

#[test]
fn queues_that_do_not_match_are_told_before_the_start() {
    as_root(|| {
        let host = Host::new("yard");
        host.ip("tuntap add dev vm1 mode tap");
        let report = Report::of_file(
            &host,
            &format!("{LAN}[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\nqueues = 2\n"),
        );
        report.assert_one(
            "device-queues",
            "wrong | port vm1 | vm1 has one queue, and queues = 2",
            &["ip link del vm1"],
        );
        let report = Report::of_file(&host, &format!("{LAN}[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n"));
        report.assert_one(
            "device-queues",
            "warning | port vm1 | vm1 has one queue for 2 workers",
            &["multi_queue"],
        );
    });
}

#[test]
fn a_port_that_the_kernel_s_own_tunnel_has_is_told() {
    as_root(|| {
        let host = Host::new("yard");
        host.ip("link add vx0 type vxlan id 5 dstport 4789");
        host.ip("link set vx0 up");
        let tunnel = "[port.far]\ntype = \"vxlan\"\nbridge = \"lan\"\nvni = 7\nremotes = \"10.8.1.2\"\n";
        let report = Report::of_file(&host, &[LAN, tunnel].concat());
        report.assert_one(
            "tunnel-port",
            "wrong | tunnel far | the kernel",
            &["UDP port 4789", "ip -d link show type vxlan"],
        );
    });
}

#[test]
fn a_station_at_two_ports_is_told() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        wait_until("it to be seen to flap", || {
            for port in ["a", "b"] {
                lan.at(port).send(&frame(BROADCAST, station(9)));
                lan.settle();
            }
            lan.yard.bridge("lan")["flaps"] != 0
        });
        wait_until("it to be noted", || !lan.yard.bridge("lan")["last_flap"].is_null());
        let words = [&frames::text(station(9)), "tapyard fdb --bridge lan"];
        Report::of_switch(&lan.yard).assert_one("flapping", "wrong | bridge lan | ", &words);
    });
}

#[test]
fn unknown_stations_and_drops_are_told_by_their_share() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "pin.mac = \"02:70:00:00:00:01\""), ("b", "")]);
        for _ in 0..200 {
            lan.at("a").send(&frame(station(2), station(1)));
        }
        for _ in 0..50 {
            lan.at("a").send(&frame(station(2), station(3)));
        }
        lan.settle();
        wait_until("the drops", || lan.yard.drops("a", "spoofed-mac") == 50);
        let report = Report::of_switch(&lan.yard);
        report.assert_one("flooding", "warning | port a | 200 of ", &["tapyard fdb"]);
        report.assert_one(
            "drops",
            "warning | port a | dropped 50 frames as spoofed-mac",
            &["`pin.mac` does not name"],
        );
        assert_eq!(report.code, 0);
    });
}

#[test]
fn a_host_that_speaks_on_a_netdev_port_is_told() {
    as_root(|| {
        let (here, a) = (Host::with_ipv6("yard"), Host::new("a"));
        a.veth("eth0", "", &here, "a");
        let yard = Yard::start_in(&here, &format!("{LAN}[port.a]\ntype = \"netdev\"\nbridge = \"lan\"\n"));
        let remedy = "tapyard port set a quiet=true";
        Report::of_switch(&yard).assert_one(
            "own-ipv6",
            "warning | port a | the host makes itself IPv6",
            &[remedy],
        );
        yard.ok(remedy.strip_prefix("tapyard ").expect("it begins so"));
        assert!(Report::of_switch(&yard).lines("own-ipv6").is_empty());
        here.ip("addr add 10.9.0.1/24 dev a");
        Report::of_switch(&yard).assert_one(
            "own-ipv6",
            "wrong | port a | a has the address 10.9.0.1",
            &["ip addr flush dev a"],
        );
    });
}

#[test]
fn a_port_that_is_down_or_on_nothing_is_told() {
    as_root(|| {
        let a = Host::new("a");
        let yard = Yard::start(&[LAN, &tap("a", &a, ""), "[port.lost]\ntype = \"tun\"\n"].concat());
        a.ip("link set dev a down");
        yard.wait_for_state("a", "down");
        let report = Report::of_switch(&yard);
        let lines = report.lines("ports");
        assert!(lines[0].contains(&format!("its device a is down | ip -n {a} link set a up")), "{lines:?}");
        assert!(lines[1].starts_with("warning | port lost | carries IP, and has neither"), "{lines:?}");
        assert_eq!((lines.len(), report.code), (2, 1), "{lines:?}");
    });
}

#[test]
fn packets_that_rp_filter_drops_are_told() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "address = [\"192.0.2.2/32\"]"), ("b", "")]);
        let host = lan.host("a");
        let set = host.enter(|| fs::write("/proc/sys/net/ipv4/conf/a/rp_filter", "1"));
        set.expect("the setting can be written");
        assert!(Report::of_switch(&lan.yard).lines("rp-filter").is_empty(), "nothing was dropped yet");
        lan.at("b").send(&frames::ipv4(host.mac("a"), station(1)));
        wait_until("the kernel to drop it", || overlay::netstat(host, "IPReversePathFilter") > 0);
        let remedy = format!("ip netns exec {host} sysctl -w net.ipv4.conf.a.rp_filter=2");
        Report::of_switch(&lan.yard).assert_one(
            "rp-filter",
            &format!("warning | namespace {host} | "),
            &[&remedy],
        );
    });
}

#[test]
fn a_firewall_on_the_kernel_s_bridge_of_a_port_is_told() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "type = \"netdev\"\nquiet = true")]);
        let here = lan.switch_host();
        here.ip("link add br0 type bridge");
        here.ip("link set dev a master br0");
        let key = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        let loaded = here.enter(|| fs::write(key, "1").is_ok());
        let report = Report::of_switch(&lan.yard);
        // Without br_netfilter no kernel bridge asks a firewall, and the doctor is to know that.
        match loaded {
            true => report.assert_one(
                "bridge-nf-call",
                "warning | port a | a is on the kernel's bridge br0",
                &["bridge-nf-call-iptables=0"],
            ),
            false => assert!(report.lines("bridge-nf-call").is_empty()),
        }
    });
}

#[test]
fn a_switch_that_does_not_answer_is_told() {
    as_root(|| {
        let yard = Yard::start(LAN);
        yard.signal(libc::SIGSTOP);
        let report = Report::of_switch(&yard);
        yard.signal(libc::SIGCONT);
        report.assert_one("control", "wrong | - | ", &["no answer within 5s", "tapyard run"]);
        assert!(report.lines("drops")[0].starts_with("not-looked-at"));
    });
}

#[test]
fn a_file_with_errors_is_told_line_by_line() {
    as_root(|| {
        let report = Report::of_file(&Host::new("yard"), "[bridge.lan]\nagein = \"300s\"\n");
        report.assert_one(
            "configuration",
            "wrong | - | ",
            &["tapyard.toml:2: bridge.lan.agein", "tapyard check"],
        );
        assert!(report.lines("ports")[0].starts_with("not-looked-at"));
    });
}
