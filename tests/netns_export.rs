//! Exports by sFlow and IPFIX, as collectors that nobody here wrote keep them, of what real stacks send.

mod common;

use common::collectors::{COLLECTOR, COLLECTOR_V6, Collectors, Row, sum};
use common::frames::{ipv4, station};
use common::routed::{GATEWAY, HOST, v4};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Station, Yard, as_root, number, tap, wait_until};

/// Exports by both protocols to `collector`, one frame in `sample`; with more `keys`.
fn exports(collector: &str, sample: u32, keys: &str) -> String {
    let common = format!("collector = \"{collector}\"\nsample = {sample}\n{keys}\n");
    format!(
        "[export.flows]\nprotocol = \"ipfix\"\n{common}[export.samples]\nprotocol = \"sflow\"\ninterval = \"1s\"\n{common}"
    )
}

/// The number that collectors have for a port.
fn index(yard: &Yard, port: &str) -> String {
    let exports = yard.rows("export show");
    let ports = exports[0]["ports"].as_array().expect("a list");
    let row = ports.iter().find(|row| row["name"] == port).unwrap_or_else(|| panic!("no port {port}"));
    number(row, "index").to_string()
}

/// A figure of an export.
fn figure(yard: &Yard, export: &str, key: &str) -> u64 {
    let rows = yard.rows("export");
    let row = rows.iter().find(|row| row["name"] == export).unwrap_or_else(|| panic!("no export {export}"));
    number(row, key)
}

/// The rows of this protocol between these addresses.
fn between<'a>(rows: &'a [Row], protocol: &str, from: &str, to: &str) -> Vec<&'a Row> {
    let found: Vec<_> =
        rows.iter().filter(|row| row["pr"] == protocol && row["sa"] == from && row["da"] == to).collect();
    assert!(!found.is_empty(), "no {protocol} from {from} to {to} in {rows:#?}");
    found
}

/// Asserts that all rows have this value in a column.
fn all_have(rows: &[&Row], column: &str, value: &str) {
    assert!(rows.iter().all(|row| row[column] == value), "{column} is to be {value} in {rows:#?}");
}

/// Two hosts with both families in VLAN 10 of a switch that exports, with collectors beside it.
struct Scene {
    yard: Yard,
    collectors: Collectors,
    hosts: [Host; 2],
    /// Dropped last: a namespace takes its devices along.
    _home: Host,
}

impl Scene {
    fn start(exports: &str, listen: Option<&str>) -> Scene {
        let (home, hosts) = (Host::with_ipv6("yard"), ["a", "b"].map(Host::with_ipv6));
        let mut collectors = Collectors::beside(&home);
        if let Some(address) = listen {
            collectors.listen(address);
        }
        let mut config = format!("[bridge.lan]\n{exports}");
        for (n, (port, host)) in (1..).zip(["a", "b"].iter().zip(&hosts)) {
            let address = format!("address = [\"10.9.0.{n}/24\", \"fd00:9::{n}/64\"]");
            config += &tap(port, host, &format!("device = \"eth\"\nvlan = 10\n{address}"));
        }
        let yard = Yard::start_in(&home, &config);
        let scene = Scene { yard, collectors, hosts, _home: home };
        wait_for_ping(&scene.hosts[0], "10.9.0.2");
        wait_for_ping(&scene.hosts[0], "fd00:9::2");
        scene
    }

    /// Ends the switch, which tells the rest, and then the collectors.
    fn end(&mut self) {
        self.yard.assert_conserved();
        let status = self.yard.end(libc::SIGTERM);
        assert!(status.success(), "{}", self.yard.log());
        self.collectors.end();
    }
}

/// Has traffic of all kinds pass, and finds it at both collectors.
fn all_kinds_are_kept(collector: &str) {
    const BYTES: u64 = 4 << 20;
    let place = |port: u16| match collector.contains(':') {
        true => format!("[{collector}]:{port}"),
        false => format!("{collector}:{port}"),
    };
    let exports = exports(collector, 1, "").replacen(collector, &place(4739), 1);
    let mut scene = Scene::start(&exports, Some(collector));
    let [a, b] = &scene.hosts;
    for target in ["10.9.0.2", "fd00:9::2"] {
        ping(a, target, 100, 7);
        tcp(a, b, target, BYTES as usize);
    }
    let [in_a, in_b] = ["a", "b"].map(|port| index(&scene.yard, port));
    let mac = scene.hosts[0].mac("eth").map(|byte| format!("{byte:02x}")).join(":");
    scene.end();
    for program in ["nfcapd", "sfcapd"] {
        let rows = scene.collectors.flows(program);
        for (from, to, icmp) in [("10.9.0.1", "10.9.0.2", "ICMP"), ("fd00:9::1", "fd00:9::2", "ICMP6")] {
            for (from, to, input, output) in [(from, to, &in_a, &in_b), (to, from, &in_b, &in_a)] {
                let pings = between(&rows, icmp, from, to);
                let neighbors = if icmp == "ICMP6" { 12 } else { 0 };
                let count = sum(&pings, "ipkt");
                assert!((8..=9 + neighbors).contains(&count), "{program}: {pings:#?}");
                let data = between(&rows, "TCP", from, to);
                for rows in [&pings, &data] {
                    // The first frame to an unknown address is flooded to one port, which is the same.
                    all_have(rows, "in", input);
                    all_have(rows, "out", output);
                    all_have(rows, "svln", "10");
                }
                let (bytes, packets) = (sum(&data, "ibyt"), sum(&data, "ipkt"));
                if input == &in_a {
                    assert!((BYTES..BYTES + BYTES / 10).contains(&bytes), "{program}: {bytes} bytes");
                    all_have(&data, "ismc", &mac);
                    // nfcapd is told of the packets on the wire, sfcapd of superframes.
                    let least = if program == "nfcapd" { BYTES / 1448 } else { BYTES / 65_536 };
                    assert!(packets >= least, "{program}: {packets} packets");
                }
                assert!(bytes >= 52 * packets, "{program}: {bytes} bytes, {packets} packets");
            }
        }
    }
    let flows = scene.collectors.flows("nfcapd");
    let data = between(&flows, "TCP", "10.9.0.1", "10.9.0.2");
    assert!(data.iter().any(|row| row["flg"].contains('S') && row["flg"].contains('F')), "{data:#?}");
    let ports: Vec<_> = data.iter().map(|row| (&row["sp"], &row["dp"])).collect();
    let sampled = scene.collectors.flows("sfcapd");
    let is_same = |row: &Row| ports.contains(&(&row["sp"], &row["dp"]));
    assert!(between(&sampled, "TCP", "10.9.0.1", "10.9.0.2").into_iter().all(is_same), "{ports:?}");
    scene.collectors.assert_well_formed();
    // Counters came with the names of their ports.
    let counters = scene.collectors.tshark("sflow.counters_sample.counters_records == 3", &["frame.number"]);
    assert!(!counters.is_empty(), "no counters");
    for log in ["nfcapd", "sfcapd"].map(|program| scene.collectors.log(program)) {
        assert!(log.contains("Bad Packets: 0") && !log.contains("rror:"), "{log}");
    }
}

#[test]
fn both_collectors_keep_what_two_hosts_say() {
    as_root(|| all_kinds_are_kept(COLLECTOR));
}

#[test]
fn collectors_are_reached_over_ipv6() {
    as_root(|| all_kinds_are_kept(COLLECTOR_V6));
}

#[test]
fn what_is_sampled_scales_to_what_passed() {
    as_root(|| {
        const FRAMES: usize = 20_000;
        let (home, hosts) = (Host::with_ipv6("yard"), ["a", "b"].map(Host::new));
        let mut collectors = Collectors::beside(&home);
        collectors.listen(COLLECTOR);
        let ports: String = ["a", "b"].iter().zip(&hosts).map(|(name, host)| tap(name, host, "")).collect();
        let config = format!("[bridge.lan]\n{ports}{}", exports(COLLECTOR, 20, "ports = [\"a\"]"));
        let mut yard = Yard::start_in(&home, &config);
        let [a, b] = [0, 1].map(|n| Station::open(&hosts[n], ["a", "b"][n], ["a", "b"][n]));
        b.send(&ipv4(station(1), station(2)));
        let frame = ipv4(station(2), station(1));
        let sent = (0..FRAMES).filter(|_| a.try_send(&frame)).count() as u64;
        wait_until("all frames to be received", || yard.port_count("a", "rx_frames") >= sent);
        let drawn = figure(&yard, "flows", "samples");
        assert!(figure(&yard, "flows", "missed") == 0 && drawn > 0, "{drawn} samples");
        assert!(yard.end(libc::SIGTERM).success());
        collectors.end();
        for program in ["nfcapd", "sfcapd"] {
            let rows = collectors.flows(program);
            let rows: Vec<_> = rows.iter().filter(|row| row["in"] == "1").collect();
            let packets = sum(&rows, "ipkt");
            // A thousand samples: a fifth is more than six standard deviations.
            assert!(packets.abs_diff(sent) < sent / 5, "{program}: {packets} for {sent}");
            assert_eq!(packets % 20, 0, "{program}: scaled by the collector");
            assert!(rows.iter().all(|row| row["in"] == "1"), "port b is not sampled: {rows:#?}");
        }
        collectors.assert_well_formed();
    });
}

#[test]
fn routed_translated_and_dropped_packets_are_told_as_they_came_in() {
    as_root(|| {
        let (home, hosts) = (Host::with_ipv6("yard"), ["h1", "h2"].map(Host::new));
        let mut collectors = Collectors::beside(&home);
        collectors.listen(COLLECTOR);
        let mut config = exports(COLLECTOR, 1, "") + "[router.gw]\n";
        for (n, host) in (1..).zip(&hosts) {
            let bridge = format!("bridge = \"net{n}\"");
            config += &format!("[bridge.net{n}]\n");
            let address = format!("address = \"{}/24\"", v4(n, HOST));
            config += &tap(&format!("h{n}"), host, &format!("{bridge}\ndevice = \"eth\"\n{address}"));
            let gateway = v4(n, GATEWAY);
            config += &format!("[router.gw.interface.net{n}]\n{bridge}\naddress = \"{gateway}/24\"\n");
        }
        config += "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";
        config += "[[rule]]\nrouter = \"gw\"\naction = \"drop\"\nmatch.protocol = \"icmp\"\nmatch.source = \"10.9.2.0/24\"\nmatch.state = [\"new\"]\n";
        let mut yard = Yard::start_in(&home, &config);
        let [inside, outside] = &hosts;
        inside.ip(&format!("route add default via {}", v4(1, GATEWAY)));
        outside.ip(&format!("route add default via {}", v4(2, GATEWAY)));
        let target = v4(2, HOST);
        wait_for_ping(inside, &target);
        tcp(inside, outside, &target, 1 << 20);
        ping_in_vain(outside, &v4(1, HOST), 3);
        let [in_1, in_2] = ["h1", "h2"].map(|port| index(&yard, port));
        let filtered = yard.drops("h2", "filtered");
        assert!(filtered >= 3, "{filtered} filtered");
        assert!(yard.end(libc::SIGTERM).success(), "{}", yard.log());
        collectors.end();
        for program in ["nfcapd", "sfcapd"] {
            let rows = collectors.flows(program);
            // What comes in is told as it came: before translation, and the answers before they are translated back.
            let there = between(&rows, "TCP", &v4(1, HOST), &target);
            all_have(&there, "in", &in_1);
            all_have(&there, "out", &in_2);
            let back = between(&rows, "TCP", &target, &v4(2, GATEWAY));
            all_have(&back, "in", &in_2);
            all_have(&back, "out", &in_1);
            let lost = between(&rows, "ICMP", &target, &v4(1, HOST));
            all_have(&lost, "in", &in_2);
            assert_eq!(sum(&lost, "ipkt"), 3, "{program}");
        }
        // Dropped by a rule: the code of an ACL in sFlow, and that it was dropped in IPFIX.
        let outputs = collectors.tshark("sflow", &["sflow.flow_sample.output_interface"]);
        let dropped: usize =
            outputs.iter().map(|row| row[0].split(',').filter(|value| *value == "0x40000102").count()).sum();
        assert_eq!(dropped as u64, filtered, "{outputs:?}");
        let statuses = collectors.tshark("cflow", &["cflow.forwarding_status"]);
        assert!(statuses.iter().any(|row| row[0].split(',').any(|status| status == "2")), "{statuses:?}");
        collectors.assert_well_formed();
    });
}

#[test]
fn a_collector_that_is_gone_is_counted_told_of_once_and_found_again() {
    as_root(|| {
        let keys = "active-timeout = \"1s\"\ninactive-timeout = \"1s\"\ntemplate-interval = \"1s\"";
        let exports = exports(COLLECTOR, 1, "").replacen("sample = 1", &format!("sample = 1\n{keys}"), 1);
        let mut scene = Scene::start(&exports, None);
        let a = &scene.hosts[0];
        wait_until("errors to be counted", || {
            ping(a, "10.9.0.2", 56, 2);
            figure(&scene.yard, "flows", "errors") > 2 && figure(&scene.yard, "samples", "errors") > 2
        });
        let states: Vec<_> = scene.yard.rows("export").iter().map(|row| row["state"].clone()).collect();
        assert_eq!(states, ["lost", "lost"]);
        let told = scene.yard.log().matches("cannot be reached").count();
        assert_eq!(told, 2, "one line each:\n{}", scene.yard.log());

        scene.collectors.listen(COLLECTOR);
        let errors = || figure(&scene.yard, "flows", "errors") + figure(&scene.yard, "samples", "errors");
        let sent =
            || figure(&scene.yard, "flows", "datagrams").min(figure(&scene.yard, "samples", "datagrams"));
        let before = errors();
        wait_until("datagrams to be sent", || {
            ping(a, "10.9.0.2", 56, 2);
            sent() > 3
        });
        assert!(errors() <= before + 2, "the last refusals were on their way");
        tcp(a, &scene.hosts[1], "10.9.0.2", 1 << 20);
        scene.end();
        for program in ["nfcapd", "sfcapd"] {
            between(&scene.collectors.flows(program), "TCP", "10.9.0.1", "10.9.0.2");
        }
    });
}

#[test]
fn a_changed_export_begins_anew_alone_and_new_ports_are_sampled() {
    as_root(|| {
        let exports = exports(COLLECTOR, 1, "");
        let mut scene = Scene::start(&exports, Some(COLLECTOR));
        let [a, b] = &scene.hosts;
        ping(a, "10.9.0.2", 56, 5);
        let before = figure(&scene.yard, "samples", "samples");
        assert!(before >= 10);
        let c = Host::with_ipv6("c");
        let path = scene.yard.config_path();
        let text = std::fs::read_to_string(&path).expect("it was written");
        let address = "address = [\"10.9.0.3/24\", \"fd00:9::3/64\"]";
        let port = tap("c", &c, &format!("device = \"eth\"\nvlan = 10\n{address}"));
        let changed = text.replacen("sample = 1", "sample = 2", 1) + &port;
        std::fs::write(&path, changed).expect("it is ours");
        let applied = scene.yard.ok("reload");
        assert_eq!(applied, "+ port c\n~ export flows: sample 1 -> 2\n");
        assert!(figure(&scene.yard, "samples", "samples") >= before, "it went on");
        assert_eq!(figure(&scene.yard, "flows", "sample"), 2);
        wait_for_ping(&c, "10.9.0.2");
        ping(&c, "10.9.0.1", 56, 20);
        ping(b, "10.9.0.3", 56, 20);
        let in_c = index(&scene.yard, "c");

        std::fs::write(&path, text.replace("[export.flows]", "[export.others]") + &port).expect("it is ours");
        let applied = scene.yard.ok("reload");
        assert_eq!(applied, "- export flows\n+ export others\n");
        scene.end();
        for program in ["nfcapd", "sfcapd"] {
            let rows = scene.collectors.flows(program);
            let (from_c, to_c) = (("10.9.0.3", "10.9.0.1"), ("10.9.0.2", "10.9.0.3"));
            all_have(&between(&rows, "ICMP", from_c.0, from_c.1), "in", &in_c);
            all_have(&between(&rows, "ICMP", to_c.0, to_c.1), "out", &in_c);
        }
    });
}
