//! `tapyard top`: for a pipe, and on a terminal of any size.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::traffic::{Stream, ping, tcp};
use common::{Host, Yard, as_root, tap, wait_for};
use serde_json::Value;

/// Two hosts, 10.9.0.1 and 10.9.0.2, on TAP ports `a` and `b`; the switch.
fn pair() -> (Host, Host, Yard) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let ports =
        [tap("a", &a, "address = [\"10.9.0.1/24\"]"), tap("b", &b, "address = [\"10.9.0.2/24\"]")].concat();
    let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
    ping(&a, "10.9.0.2", 56, 1);
    (a, b, yard)
}

#[test]
fn a_pipe_gets_rates_and_talkers_as_they_are() {
    as_root(|| {
        let (a, b, yard) = pair();
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let talker = wait_for("somebody to talk", || {
            let line = yard.ok("top --interval 1.5 -n 2 -j").lines().last()?.to_owned();
            let seen: Value = serde_json::from_str(&line).expect("a line of JSON");
            let rate = |port: usize, key: &str| seen["ports"][port][key].as_f64().expect("a rate");
            assert!(rate(0, "rx_frames_per_sec") > 0.0 && rate(1, "tx_bits_per_sec") > 0.0, "{seen:#}");
            let talkers = seen["talkers"].as_array().expect("a list").clone();
            talkers.into_iter().find(|talker| talker["source"] == "10.9.0.1")
        });
        assert_eq!((&talker["destination"], &talker["port"]), (&"10.9.0.2".into(), &"a".into()));
        assert!(talker["bits_per_sec"].as_f64().expect("a rate") > 0.0, "{talker:#}");
        let text = yard.ok("top");
        for part in ["PORT ", "WORKER ", "TABLE ", "bridge lan", "10.9.0.1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!yard.ok("top --filter nobody").contains("bridge lan"));
        stream.assert_lossless();
        tcp(&a, &b, "10.9.0.2", 1 << 20);
    });
}

/// Runs `tapyard top` on a terminal of 80 by 24, presses keys one after the other, and gives what it drew.
fn on_a_terminal(yard: &Yard, keys: &[&str]) -> (bool, String) {
    let top = format!(
        "stty rows 24 cols 80; exec {} --control {} top --interval 0.2",
        env!("CARGO_BIN_EXE_tapyard"),
        yard.control().display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &top, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script of util-linux runs");
    let mut to = script.stdin.take().expect("it was piped");
    for key in keys {
        sleep(Duration::from_millis(500));
        to.write_all(key.as_bytes()).expect("it reads keys");
    }
    let output = script.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn keys_move_through_it_and_the_terminal_is_given_back() {
    as_root(|| {
        let (_a, _b, yard) = pair();
        let (well, drawn) = on_a_terminal(&yard, &["\r", "\x1b", "5", "/0\r", "?", " ", "q"]);
        assert!(well, "{drawn}");
        // Words that were there already are not drawn again.
        for part in ["epoch", "DROPS/S", "offloads", "FRAMES/BATCH", "\"0\"", "often"] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        assert!(drawn.contains("\x1b[?1049h") && drawn.contains("\x1b[?1049l"), "the screen is as it was");
        let (well, drawn) = on_a_terminal(&yard, &["\x03"]);
        assert!(well, "Ctrl-C ends it: {drawn}");
    });
}

#[test]
fn wrong_usage_and_a_switch_that_is_not_there_are_said_in_a_line() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tapyard")).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, why) = run(&["--control", "/nowhere/s", "top"]);
    assert!(code == Some(1) && why.lines().count() == 1 && why.contains("/nowhere/s"), "{why}");
    for wrong in [&["top", "--interval", "0"][..], &["top", "--view", "x"], &["top", "-n", "0"]] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
}
