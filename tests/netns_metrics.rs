//! Metrics as Prometheus gets them from a switch with traffic: they are what the other commands say, its own tool finds
//! nothing wrong with them, and nobody who asks, however, disturbs the switch.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use common::frames::{BROADCAST, frame, station};
use common::traffic::{Stream, ping, ping_in_vain, wait_for_ping};
use common::{Host, Lan, PATIENCE, Yard, as_root, bounded, number, tap, wait_until};
use tapyard::control::metrics::{FAMILIES, Kind};

const ADDRESS: &str = "127.0.0.1:9477";

/// `[switch]` with a listener.
const LISTENS: &str = "[switch]\nmetrics = \"127.0.0.1:9477\"\n";

/// A connection to a listener in `host`.
fn connect(host: &Host, address: &str) -> TcpStream {
    let address: SocketAddr = address.parse().expect("an address");
    let stream = host.enter(|| TcpStream::connect(address));
    let stream = stream.unwrap_or_else(|error| panic!("{address} in {host}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
    stream
}

/// What is answered to exactly this.
fn say(host: &Host, address: &str, request: &str) -> String {
    let mut stream = connect(host, address);
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer to its end");
    answer
}

/// The status and the body of a page.
fn get(host: &Host, address: &str, path: &str) -> (String, String) {
    let answer = say(host, address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().expect("a status line").to_owned(), body.to_owned())
}

/// The metrics: what stands before the last space of a line, and its value.
struct Metrics {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    fn scrape(host: &Host) -> Metrics {
        let (status, text) = get(host, ADDRESS, "/metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        };
        let samples: Vec<_> = lines.map(sample).collect();
        let count = samples.len();
        let samples: BTreeMap<_, _> = samples.into_iter().collect();
        assert_eq!(samples.len(), count, "no row is there twice: {text}");
        Metrics { text, samples }
    }

    fn find(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    fn value(&self, sample: &str) -> f64 {
        self.find(sample).unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }

    /// Asserts that Prometheus' own tool finds nothing to say.
    fn check(&self, yard: &Yard) {
        let path = yard.dir().join("metrics.prom");
        fs::write(&path, &self.text).expect("the directory is ours");
        let path = path.to_str().expect("the path is text");
        let output = bounded(30, "sh", &["-c", "promtool check metrics < \"$0\"", path]);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn metrics_say_what_the_other_commands_say() {
    as_root(|| {
        let lan = Lan::start(LISTENS, &[("a", ""), ("b", ""), ("c", "vlan = 7")]);
        let host = lan.switch_host();
        assert!(
            lan.yard.log().contains(&format!(", metrics http://{ADDRESS}/metrics\n")),
            "the ready line says it"
        );
        lan.teach("a", station(1));
        for _ in 0..5 {
            lan.at("b").send(&frame(station(1), station(2)));
            lan.at("a").send(&frame(BROADCAST, station(1)));
        }
        for _ in 0..3 {
            lan.at("a").send(&frame(station(9), [0x01, 0, 0, 0, 0, 1]));
        }
        lan.settle();
        // What a scrape tells may be some time old, but never older.
        wait_until("the metrics to say what the commands say", || {
            let (stats, metrics) = (lan.yard.json("stats"), Metrics::scrape(host));
            let same = |port: &serde_json::Value| {
                let name = port["name"].as_str().expect("a name");
                [
                    ("receive_frames", "rx_frames"),
                    ("receive_bytes", "rx_bytes"),
                    ("transmit_frames", "tx_frames"),
                    ("transmit_bytes", "tx_bytes"),
                ]
                .iter()
                .all(|(ours, theirs)| {
                    metrics.value(&format!("tapyard_port_{ours}_total{{port=\"{name}\"}}"))
                        == number(port, theirs) as f64
                })
            };
            stats["ports"].as_array().expect("a list").iter().all(same)
        });
        let metrics = Metrics::scrape(host);
        metrics.check(&lan.yard);
        let dropped: BTreeMap<_, _> = lan
            .yard
            .rows("drops")
            .iter()
            .map(|row| {
                let port = if row["port"] == "-" { "(gone)" } else { row["port"].as_str().expect("a name") };
                let reason = row["reason"].as_str().expect("a name");
                let sample =
                    format!("tapyard_port_dropped_frames_total{{port=\"{port}\",reason=\"{reason}\"}}");
                (sample, number(row, "frames") as f64)
            })
            .collect();
        let ours = metrics.samples.iter().filter(|(name, _)| name.starts_with("tapyard_port_dropped_"));
        assert_eq!(ours.map(|(name, value)| (name.clone(), *value)).collect::<BTreeMap<_, _>>(), dropped);
        assert_eq!(metrics.value("tapyard_port_dropped_frames_total{port=\"a\",reason=\"bad-source\"}"), 3.0);

        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(metrics.value(&format!("tapyard_build_info{{version=\"{version}\"}}")), 1.0);
        assert_eq!(
            metrics.value("tapyard_port_info{port=\"a\",type=\"tap\",bridge=\"lan\",device=\"a\"}"),
            1.0
        );
        assert_eq!(metrics.value("tapyard_port_up{port=\"a\"}"), 1.0);
        assert_eq!(metrics.value("tapyard_port_state{port=\"a\",state=\"up\"}"), 1.0);
        assert_eq!(
            metrics.value("tapyard_port_mtu_bytes{port=\"a\"}"),
            number(&lan.yard.port("a"), "mtu") as f64
        );
        assert_eq!(metrics.value("tapyard_port_fdb_entries{port=\"a\"}"), 1.0);
        assert_eq!(metrics.value("tapyard_bridge_fdb_entries{bridge=\"lan\"}"), 2.0);
        assert_eq!(metrics.value("tapyard_bridge_fdb_limit{bridge=\"lan\"}"), 8192.0);
        assert_eq!(metrics.value("tapyard_topology_epoch"), lan.yard.epoch() as f64);
        let workers = lan.yard.json("stats")["workers"].as_array().expect("a list").len();
        assert_eq!(metrics.value("tapyard_workers"), workers as f64);
        let frames: f64 = (0..workers)
            .map(|worker| {
                let of = |part: &str| metrics.value(&format!("tapyard_worker_batch_frames{part}"));
                let count = of(&format!("_count{{worker=\"{worker}\"}}"));
                assert_eq!(of(&format!("_bucket{{worker=\"{worker}\",le=\"+Inf\"}}")), count);
                of(&format!("_sum{{worker=\"{worker}\"}}"))
            })
            .sum();
        assert_eq!(frames, number(&lan.yard.json("stats"), "rx_frames") as f64);
    });
}

#[test]
fn every_family_has_rows_when_there_is_what_it_is_about() {
    as_root(|| {
        let hosts = [Host::new("a"), Host::new("b")];
        let port = |name: &str, host: &Host, bridge: &str| {
            tap(name, host, &format!("bridge = \"{bridge}\"\ndevice = \"eth\""))
        };
        let config = [
            LISTENS,
            "[bridge.home]\nneighbor-suppression = true\n[bridge.wan]\n[bridge.far]\n",
            &port("a", &hosts[0], "home"),
            &port("b", &hosts[1], "far"),
            // Both ends of a tunnel are here.
            "[port.near]\ntype = \"vxlan\"\nbridge = \"wan\"\nvni = 7\nlocal = \"127.9.1.1\"\nremotes = \"127.9.1.2\"\n",
            "[port.away]\ntype = \"vxlan\"\nbridge = \"far\"\nvni = 7\nlocal = \"127.9.1.2\"\nremotes = \"127.9.1.1\"\n",
            "[router.gw.interface.home]\nbridge = \"home\"\naddress = \"10.9.1.254/24\"\n",
            "[router.gw.interface.wan]\nbridge = \"wan\"\naddress = \"10.9.2.254/24\"\n",
            "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n",
            "[[rule]]\nrouter = \"gw\"\nhook = \"forward\"\naction = \"count\"\nmatch.protocol = \"icmp\"\n",
            "[port.watch]\ntype = \"tap\"\nmirror = true\n[mirror.span]\nports = \"a\"\nto = \"watch\"\n",
            "[export.flows]\nprotocol = \"ipfix\"\ncollector = \"127.9.1.3\"\nsample = 1\n",
            "[[rule]]\nbridge = \"far\"\naction = \"accept\"\nmatch.state = [\"new\", \"established\"]\n",
        ]
        .concat();
        let yard_host = Host::new("yard");
        let yard = Yard::start_in(&yard_host, &config);
        hosts[0].ip("addr add 10.9.1.2/24 dev eth");
        hosts[0].ip("route add default via 10.9.1.254");
        hosts[1].ip("addr add 10.9.2.2/24 dev eth");
        hosts[1].ip("link set dev eth mtu 1400");
        wait_for_ping(&hosts[0], "10.9.2.2");
        ping(&hosts[0], "10.9.2.2", 56, 3);
        ping_in_vain(&hosts[0], "10.9.2.77", 1);

        let with_rows = |metrics: &Metrics| -> BTreeSet<&str> {
            let name = |sample: &str| sample.split('{').next().expect("it has a name").to_owned();
            let names: BTreeSet<_> = metrics.samples.keys().map(|sample| name(sample)).collect();
            let has = |family: &&&tapyard::control::metrics::Family| match family.kind {
                Kind::Histogram => names.contains(&format!("{}_count", family.name)),
                Kind::Counter | Kind::Gauge => names.contains(family.name),
            };
            FAMILIES.iter().filter(has).map(|family| family.name).collect()
        };
        let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        // What a scrape tells may be some time old.
        wait_until("the last drops to be told", || {
            with_rows(&Metrics::scrape(&yard_host)).len() == all.len()
        });
        let metrics = Metrics::scrape(&yard_host);
        metrics.check(&yard);

        let nat = &yard.json("nat show")["tables"][0];
        assert_eq!(
            metrics.value("tapyard_router_sessions_limit{router=\"gw\"}"),
            number(nat, "limit") as f64
        );
        assert!(metrics.value("tapyard_router_sessions_opened_total{router=\"gw\"}") >= 2.0);
        assert!(metrics.value("tapyard_router_neighbors{router=\"gw\"}") >= 2.0);
        let rule = "rule=\"1\",scope=\"router gw\",hook=\"forward\",action=\"count\"";
        assert!(metrics.value(&format!("tapyard_rule_matched_frames_total{{{rule}}}")) >= 4.0);
        assert_eq!(metrics.value("tapyard_rules"), 2.0);
        let peer = "tunnel=\"near\",remote=\"127.9.1.2\"";
        assert_eq!(metrics.value(&format!("tapyard_tunnel_peer_up{{{peer}}}")), 1.0);
        assert_eq!(metrics.value(&format!("tapyard_tunnel_peer_state{{{peer},state=\"up\"}}")), 1.0);
        assert!(metrics.value(&format!("tapyard_tunnel_peer_transmit_packets_total{{{peer}}}")) >= 4.0);
        assert!(metrics.value("tapyard_bridge_sessions{bridge=\"far\"}") >= 1.0);
    });
}

#[test]
fn nobody_who_asks_disturbs_the_switch() {
    as_root(|| {
        let (a, b) = (Host::new("a"), Host::new("b"));
        let host = Host::new("yard");
        let ports =
            [tap("a", &a, "address = [\"10.9.0.1/24\"]"), tap("b", &b, "address = [\"10.9.0.2/24\"]")]
                .concat();
        let yard = Yard::start_in(&host, &format!("{LISTENS}[bridge.lan]\n{ports}"));
        ping(&a, "10.9.0.2", 56, 2);
        let stream = Stream::start(&a, &b, "10.9.0.2");

        let mut slow: Vec<_> = (0..100).map(|_| connect(&host, ADDRESS)).collect();
        for (number, stream) in slow.iter_mut().enumerate() {
            // Some ask and do not read, some never come to an end; those that had to make room notice.
            let request = if number % 2 == 0 { "GET /metrics HTTP/1.1\r\nHost: a" } else { "GET /metr" };
            let _ = stream.write_all(request.as_bytes());
        }
        for _ in 0..50 {
            Metrics::scrape(&host);
        }
        for (request, status) in [
            (format!("GET /{} HTTP/1.1\r\n", "x".repeat(60_000)), 414),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(60_000)), 431),
            (format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(1000)), 431),
            ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
            ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
            ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
            ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400),
        ] {
            let answer = say(&host, ADDRESS, &request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        for stream in &slow {
            let _ = stream.shutdown(Shutdown::Both);
        }
        stream.assert_lossless();
        Metrics::scrape(&host).check(&yard);
    });
}

#[test]
fn the_listener_comes_and_goes_with_the_configuration() {
    as_root(|| {
        let host = Host::with_ipv6("yard");
        let with = |keys: &str| format!("[switch]\n{keys}\n[bridge.lan]\n");
        let mut yard = Yard::start_in(&host, &with(""));
        let refused = |address: &str| {
            let address: SocketAddr = address.parse().expect("an address");
            host.enter(|| TcpStream::connect(address)).is_err()
        };
        let answers = |address: &str| get(&host, address, "/metrics").0 == "HTTP/1.1 200 OK";
        assert!(refused(ADDRESS), "nothing listens unless somebody says so");

        yard.reload(&with("metrics = \"127.0.0.1:9477\""));
        assert!(answers(ADDRESS));
        // The port is the same, and the address holds the other.
        yard.reload(&with("metrics = \"0.0.0.0:9477\""));
        assert!(answers(ADDRESS));
        assert!(
            yard.log().contains("switch.metrics: warning: whoever reaches 0.0.0.0:9477 "),
            "{}",
            yard.log()
        );
        yard.reload(&with("metrics = \"[::1]:9478\"\nmetrics-hosts = [\"switch.example\"]"));
        assert!(refused(ADDRESS) && answers("[::1]:9478"));
        let by_name = "GET /metrics HTTP/1.1\r\nHost: switch.example:9478\r\n\r\n";
        assert!(say(&host, "[::1]:9478", by_name).starts_with("HTTP/1.1 200 OK\r\n"));

        // Somebody else is at the next address: then all stays as it was, with a port that comes in the same change.
        let taken = host.enter(|| std::net::TcpListener::bind("127.0.0.1:9479")).expect("nobody is there");
        let epoch = yard.epoch();
        yard.write_config(&(with("metrics = \"127.0.0.1:9479\"") + "[bridge.dmz]\n"));
        let why = yard.refused("reload");
        assert!(
            why.contains(":3: switch.metrics: cannot listen at 127.0.0.1:9479: Address already in use (os error 98) (somebody else does: name another port)"),
            "{why}"
        );
        assert_eq!(yard.epoch(), epoch);
        assert!(answers("[::1]:9478"));
        // What a scrape tells may be some time old.
        wait_until("the refusal to be told", || {
            get(&host, "[::1]:9478", "/metrics").1.contains("\ntapyard_config_last_reload_successful 0\n")
        });
        drop(taken);
        // A device that is not to be had leaves the listener where it is, too.
        let bad = "[port.x]\ntype = \"tap\"\nbridge = \"lan\"\nnetns = \"no-such-namespace\"\n";
        yard.write_config(&(with("metrics = \"127.0.0.1:9478\"") + bad));
        yard.refused("reload");
        assert!(answers("[::1]:9478") && refused("127.0.0.1:9478"));

        yard.reload(&with(""));
        assert!(refused("[::1]:9478"));
        yard.reload(&with("metrics = \"127.0.0.1:9477\""));
        assert!(answers(ADDRESS));
        let mut open = connect(&host, ADDRESS);
        open.write_all(b"GET /metr").expect("it is taken");
        assert!(yard.end(libc::SIGTERM).success());
        // With half a request unread, the kernel may call that a reset.
        match open.read(&mut [0; 16]) {
            Ok(read) => assert_eq!(read, 0, "an end"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        assert!(refused(ADDRESS));
        yard.run();
        assert!(answers(ADDRESS), "the address is free at once");
    });
}
