//! The demo, as a newcomer runs it: as root, as a plain user, to its end and interrupted in the middle.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};

use common::{Host, as_root, bounded, send_signal, wait_for};
use serde_json::Value;

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

/// A directory that any user may write to, for control sockets; it must be empty at the end.
struct Runtime(PathBuf);

impl Runtime {
    fn new(name: &str) -> Runtime {
        let path = std::env::temp_dir().join(format!("tapyard-demo-test-{}-{name}", process::id()));
        fs::create_dir(&path).expect("a directory of this name is new");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("the directory is ours");
        Runtime(path)
    }

    fn setting(&self) -> String {
        format!("XDG_RUNTIME_DIR={}", self.0.display())
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0)
            .expect("it is there")
            .map(|entry| entry.expect("it is readable").path())
            .collect()
    }

    fn assert_empty(&self) {
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "the demo left something behind");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The links of a host, and the named namespaces but those of other tests.
fn network(host: &Host) -> (String, Vec<String>) {
    let names = bounded(10, "ip", &["netns", "list"]);
    let names = String::from_utf8_lossy(&names.stdout);
    let foreign = names.lines().filter(|name| !name.starts_with("ty")).map(str::to_owned).collect();
    (host.ip("-o link show"), foreign)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a demo of one second each way tells what it is to tell.
fn assert_complete(output: &Output) {
    let text = stdout(output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(output));
    for part in [
        "namespace red ",
        "with 10.9.0.2/24",
        "  5  answer from 10.9.0.2: ",
        "TCP: red to blue, one connection, 1 s\n  1 ",
        "TCP: blue to red, one connection, 1 s\n  1 ",
        "superframes of up to 64 KiB passed whole",
        "$ tapyard port\nPORT ",
        "$ tapyard fdb\nBRIDGE ",
        "$ tapyard stats\nup ",
        "(all accounted for)",
        "Every frame is accounted for: ",
        "What next:\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert_eq!(text.matches(" learned ").count(), 2, "{text}");
    assert_eq!(stderr(output), "");
}

#[test]
fn it_shows_traffic_and_leaves_nothing_behind() {
    as_root(|| {
        let (host, runtime) = (Host::new("demo"), Runtime::new("whole"));
        let before = network(&host);
        let output = host.run(60, "env", &[&runtime.setting(), TAPYARD, "demo", "--seconds", "1"]);
        assert_complete(&output);
        runtime.assert_empty();
        assert_eq!(network(&host), before);
    });
}

#[test]
fn it_prints_one_document_of_json() {
    as_root(|| {
        let runtime = Runtime::new("json");
        let output = bounded(60, "env", &[&runtime.setting(), TAPYARD, "demo", "--seconds", "1", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("it is one document");
        assert_eq!(report["ping"].as_array().map(Vec::len), Some(5));
        assert!(report["ping"][0]["round_trip_us"].as_f64() > Some(0.0), "{report}");
        for (from, flow) in ["red", "blue"].iter().zip(report["tcp"].as_array().expect("a list")) {
            assert_eq!(flow["from"], *from);
            assert!(flow["seconds"][0]["bits_per_second"].as_f64() > Some(0.0), "{report}");
        }
        assert_eq!(report["stats"]["conserved"], true);
        assert_eq!(report["ports"].as_array().map(Vec::len), Some(2));
        assert_eq!(report["fdb"].as_array().map(Vec::len), Some(3));
        runtime.assert_empty();
    });
}

/// What happens to a demo when `signal` comes in the middle of its TCP.
fn interrupted(signal: i32, code: Option<i32>) {
    let (host, runtime) = (Host::new("demo"), Runtime::new(&format!("signal-{signal}")));
    let before = network(&host);
    let mut command = Command::new(TAPYARD);
    command.args(["demo", "--seconds", "60"]).env("XDG_RUNTIME_DIR", &runtime.0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = host.enter(|| command.spawn()).expect("the program starts");
    // A newcomer's other terminal.
    let row = wait_for("TCP to pass through the demo", || {
        let control = runtime.files().pop()?.join("control.sock");
        let output =
            Command::new(TAPYARD).arg("--control").arg(control).args(["port", "show", "-j"]).output();
        let rows: Vec<Value> = serde_json::from_slice(&output.ok()?.stdout).ok()?;
        rows.into_iter().find(|row| row["rx_frames"].as_u64() > Some(1000))
    });
    let netns = row["netns"].as_str().expect("a namespace's path").to_owned();
    assert!(fs::metadata(&netns).is_ok(), "{netns} leads nowhere");
    send_signal(child.id(), signal);
    let status = wait_for("the demo to end", || child.try_wait().expect("it is our child"));
    let output = child.wait_with_output().expect("it has ended");
    assert_eq!(status.code(), code, "{status}: {}{}", stdout(&output), stderr(&output));
    assert_eq!(network(&host), before);
    if code.is_some() {
        runtime.assert_empty();
    }
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    as_root(|| {
        interrupted(libc::SIGINT, Some(130));
        interrupted(libc::SIGTERM, Some(143));
        interrupted(libc::SIGKILL, None); // but for its socket
    });
}

/// Runs a program as a user without any privilege; it finds a /dev/net/tun that is open to all, and `/dev/net/tapyard`,
/// since the program itself may be where only root can reach it.
fn as_plain_user(runtime: &Runtime, command: &str) -> Output {
    if fs::metadata("/proc/self").expect("/proc is mounted").uid() != 0 {
        let command = command.replace("/dev/net/tapyard", TAPYARD);
        return bounded(60, "env", &[&runtime.setting(), "sh", "-c", &command]);
    }
    let script = format!(
        "mount -t tmpfs tmpfs /dev/net && mknod -m 0666 /dev/net/tun c 10 200 && touch /dev/net/tapyard && \
         mount --bind '{TAPYARD}' /dev/net/tapyard && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups {command}"
    );
    bounded(60, "env", &[&runtime.setting(), "unshare", "--mount", "sh", "-c", &script])
}

#[test]
fn a_plain_user_sees_it_too_or_is_told_what_is_missing() {
    let runtime = Runtime::new("user");
    let output = as_plain_user(&runtime, "/dev/net/tapyard demo --seconds 1");
    runtime.assert_empty();
    if as_plain_user(&runtime, "unshare --user --map-root-user --net true").status.success() {
        return assert_complete(&output);
    }
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let why = stderr(&output);
    assert!(why.starts_with("tapyard: this user may not make network namespaces"), "{why}");
    assert!(why.contains("run as root") && why.lines().count() == 1, "{why}");
}

#[test]
fn what_is_wrong_with_the_device_node_is_said_in_a_line() {
    as_root(|| {
        for (node, line) in [
            (
                "true",
                "/dev/net/tun is missing: load the driver (modprobe tun), or give the container the device",
            ),
            (
                "touch /dev/net/tun && chmod 000 /dev/net/tun",
                "/dev/net/tun is not accessible: run as root, or open",
            ),
        ] {
            let runtime = Runtime::new(&format!("node-{}", node.len()));
            // Without the capability by which root opens what is closed to all.
            let script = format!(
                "mount -t tmpfs tmpfs /dev/net && {node} && \
                 exec setpriv --bounding-set=-dac_override '{TAPYARD}' demo --seconds 1"
            );
            let output = bounded(60, "env", &[&runtime.setting(), "unshare", "--mount", "sh", "-c", &script]);
            assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
            let why = stderr(&output);
            assert!(why.starts_with(&format!("tapyard: {line}")) && why.lines().count() == 1, "{why}");
            runtime.assert_empty();
        }
    });
}
