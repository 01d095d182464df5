//! `tapyard bench` with real devices: frames really pass on every path, each of them is accounted for, and nothing is left
//! behind. Trials are of milliseconds: nothing here depends on how fast anything is.

mod common;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use common::{Host, as_root, bounded, send_signal, wait_for, wait_until};
use serde_json::{Value, json};

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

/// The links of a host, and the named namespaces but those of other tests.
fn network(host: &Host) -> (String, Vec<String>) {
    let names = bounded(10, "ip", &["netns", "list"]);
    let names = String::from_utf8_lossy(&names.stdout);
    let foreign = names.lines().filter(|name| !name.starts_with("ty")).map(str::to_owned).collect();
    (host.ip("-o link show"), foreign)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Measures paths in a host, and asserts that it looks as before.
fn bench(host: &Host, line: &str) -> Value {
    let before = network(host);
    let args: Vec<_> = ["bench", "--json"].into_iter().chain(line.split_whitespace()).collect();
    let output = alone(|| host.run(120, TAPYARD, &args));
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{line}");
    assert_eq!(network(host), before, "{line}: something was left behind");
    serde_json::from_slice(&output.stdout).expect("it is one document of JSON")
}

/// Asserts that on each of these paths frames of each of these sizes have passed, and that the switch has counted what the
/// tester has: where each frame went.
fn assert_measured(results: &Value, paths: &[&str], sizes: &[&str]) {
    let cells = results["results"].as_array().expect("a list");
    let names: Vec<_> = cells.iter().map(|cell| (cell["path"].as_str(), cell["size"].as_str())).collect();
    let all = paths.iter().flat_map(|&path| sizes.iter().map(move |&size| (Some(path), Some(size))));
    assert_eq!(names, all.collect::<Vec<_>>());
    for list in ["left_out", "failed"] {
        assert_eq!(results[list], json!([]), "{results}");
    }
    for cell in cells {
        match cell["path"].as_str() {
            // It is counted by hand there, frame by frame.
            Some(path) if path.starts_with("engine") => {
                assert_eq!(cell["account"]["switch"], Value::Null, "{cell}")
            }
            _ => assert_accounted(cell),
        }
        for figure in ["throughput_fps", "cpu_ns_per_frame"] {
            assert!(cell[figure]["median"].as_f64() > Some(0.0), "{figure} of {cell}");
        }
    }
}

/// Asserts that what the tester says of the frames agrees with the switch's own counters.
fn assert_accounted(cell: &Value) {
    let (account, switch) = (&cell["account"], &cell["account"]["switch"]);
    let number = |of: &Value, key: &str| of[key].as_u64().unwrap_or_else(|| panic!("{key} of {cell}"));
    let (sent, received) = (number(account, "sent"), number(account, "received"));
    let (rx, tx) = (number(switch, "rx_frames"), number(switch, "tx_frames"));
    assert!(received > 0, "{cell}");
    assert_eq!(switch["conserved"], true, "{cell}");
    assert!(rx <= sent && received <= tx, "{cell}");
    let losses = account["losses"].as_array().expect("a list");
    let lost_at = |is: &dyn Fn(&str) -> bool| -> u64 {
        let there = losses.iter().filter(|loss| is(loss["place"].as_str().expect("a place")));
        there.map(|loss| number(loss, "frames")).sum()
    };
    let by_tunnel = ["vxlan", "geneve", "gre"].iter().any(|path| cell["path"] == *path);
    if !by_tunnel {
        let outside = ["before the switch", "behind the switch", "elsewhere"];
        let dropped = lost_at(&|place| !outside.contains(&place));
        assert_eq!(rx, tx + dropped, "the switch sends or drops what it takes in: {cell}");
    }
    // What a TAP takes is in the tester's socket at once, and there it may find no room. Behind a veth the kernel has a queue
    // that it does not count; and of a tunnel a superframe comes out in parts.
    if cell["path"] != "netdev" && !(by_tunnel && cell["size"] == "super") {
        let missed = lost_at(&|place| place == "behind the switch");
        assert_eq!(tx, received + missed, "the tester sees what the switch sends: {cell}");
    }
}

/// What measures has the machine for itself, as far as these tests go.
static ALONE: Mutex<()> = Mutex::new(());

fn alone<T>(measure: impl FnOnce() -> T) -> T {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    measure()
}

fn passes(path: &str) {
    as_root(|| {
        let host = Host::new("bench");
        let sizes = ["64", "1518", "9000", "super"];
        let results = bench(&host, &format!("{path} --sizes {} --seconds 0.03", sizes.join(",")));
        assert_measured(&results, &[path], &sizes);
    });
}

#[test]
fn taps() {
    passes("tap");
}

#[test]
fn interfaces() {
    passes("netdev");
}

#[test]
fn vxlan() {
    passes("vxlan");
}

#[test]
fn geneve() {
    passes("geneve");
}

#[test]
fn gre() {
    passes("gre");
}

#[test]
fn a_router() {
    passes("routed");
}

#[test]
fn a_router_that_masquerades() {
    passes("nat");
}

#[test]
fn whatever_is_between_two_interfaces() {
    as_root(|| {
        let (host, far) = (Host::new("bench"), Host::new("bench"));
        host.ip(&format!("link add near type veth peer name far netns {far}"));
        for (host, device) in [(&host, "near"), (&far, "far")] {
            host.ip(&format!("link set {device} up"));
        }
        let results = bench(&host, &format!("--between near {far}:far --sizes 64,super --seconds 0.03"));
        let cells = results["results"].as_array().expect("a list");
        assert_eq!(cells.len(), 2, "{results}");
        for cell in cells {
            assert_eq!(cell["path"], "between");
            assert!(cell["account"]["received"].as_u64() > Some(0), "{cell}");
            // Nobody here knows what another's switch spends.
            assert_eq!((&cell["cpu_ns_per_frame"], &cell["account"]["switch"]), (&Value::Null, &Value::Null));
        }
        let missing = host.run(60, TAPYARD, &["bench", "--between", "near", "none"]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(stderr(&missing).starts_with("tapyard: between 64: none: "), "{}", stderr(&missing));
    });
}

#[test]
fn by_default_everything_is_measured() {
    as_root(|| {
        let host = Host::new("bench");
        let results = bench(&host, "--sizes 64 --seconds 0.01 --workers 2 --rounds 2");
        let paths = [
            "engine",
            "engine-vxlan",
            "engine-geneve",
            "engine-gre",
            "engine-routed",
            "engine-nat",
            "tap",
            "netdev",
            "vxlan",
            "geneve",
            "gre",
            "routed",
            "nat",
        ];
        assert_measured(&results, &paths, &["64"]);
        assert_eq!(results["settings"]["workers"], 2);
    });
}

/// Whether a bench has its switches: their workers are threads of it.
fn measures(child: &Child) -> bool {
    fs::read_dir(format!("/proc/{}/task", child.id())).is_ok_and(|tasks| tasks.count() >= 4)
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    as_root(|| {
        let host = Host::new("bench");
        for (signal, code) in [(libc::SIGINT, Some(130)), (libc::SIGTERM, Some(143)), (libc::SIGKILL, None)] {
            let before = network(&host);
            let mut command = Command::new(TAPYARD);
            command.args(["bench", "vxlan", "--seconds", "60"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = host.enter(|| command.spawn()).expect("the program starts");
            wait_until("the measurement to begin", || measures(&child));
            send_signal(child.id(), signal);
            let status = wait_for("the measurement to end", || child.try_wait().expect("it is our child"));
            let output = child.wait_with_output().expect("it has ended");
            assert_eq!(status.code(), code, "{status}: {}", stderr(&output));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "");
            assert_eq!(network(&host), before, "signal {signal}");
        }
    });
}

#[test]
fn a_plain_user_measures_the_same_where_the_machine_lets_him() {
    as_root(|| {
        let before = bounded(10, "ip", &["-o", "link", "show"]).stdout;
        let args = ["--reuid", "65534", "--regid", "65534", "--clear-groups", TAPYARD];
        let line = ["bench", "tap", "netdev", "--sizes", "64", "--seconds", "0.02", "--json"];
        let output = alone(|| bounded(60, "setpriv", &[&args[..], &line[..]].concat()));
        match output.status.code() {
            Some(0) => {
                let results = serde_json::from_slice(&output.stdout).expect("it is one document of JSON");
                assert_measured(&results, &["tap", "netdev"], &["64"]);
            }
            // The machine's policy: then one line says which, and the remedy.
            code => {
                let said = stderr(&output);
                assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
                assert!(said.contains("run as root") || said.contains("/dev/net/tun"), "{said}");
            }
        }
        let after = bounded(10, "ip", &["-o", "link", "show"]).stdout;
        assert_eq!(String::from_utf8_lossy(&after), String::from_utf8_lossy(&before));
    });
}
