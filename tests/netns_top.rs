//! `tapyard top` of a real switch: on a terminal, where keys lead through it, and where its output is read by a program.

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::frames::{BROADCAST, frame, station};
use common::{Lan, as_root, wait_until};
use serde_json::Value;

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

#[test]
fn what_is_read_by_a_program_is_a_line_each_time_and_has_the_rates() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        lan.check_flood("a", &frame(BROADCAST, station(1)), &["b"]);
        let said = lan.yard.ok("top -j -n 2 -i 0.2");
        let looks: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).expect("a whole line of JSON")).collect();
        assert_eq!(looks.len(), 2, "{said}");
        for look in &looks {
            let names: Vec<_> =
                look["ports"].as_array().expect("a list").iter().map(|port| &port["name"]).collect();
            assert_eq!(names, ["a", "b"], "{look}");
            assert!(look["ports"][0]["rx_frames_per_sec"].is_number(), "{look}");
        }
        let text = lan.yard.ok("top");
        for heading in ["PORT", "TABLE", "WORKER"] {
            assert!(text.lines().any(|line| line.starts_with(heading)), "{text}");
        }
        assert!(!text.contains('\x1b'), "nothing there understands a terminal's language: {text:?}");
        let refused = lan.yard.refused("--control /nowhere/control.sock top");
        assert!(refused.contains("/nowhere/control.sock: no such socket"), "{refused}");
    });
}

#[test]
fn keys_lead_through_it_and_the_terminal_is_given_back() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        lan.check_drop("a", &frame(station(1), station(1)), "same-port");
        let seen = lan.yard.dir().join("terminal");
        // A terminal of the size that everybody has; what is on it goes to the file.
        let inside = format!("stty rows 24 cols 80; {TAPYARD} top -i 0.2");
        let mut script = Command::new("timeout")
            .args(["-k", "1", "60", "script", "--quiet", "--flush", "--return", "--command", &inside])
            .arg(&seen)
            .env("TAPYARD_CONTROL", lan.yard.control())
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("script runs");
        let mut keys = script.stdin.take().expect("it is piped");
        let mut press = |key: &str, shown: &str| {
            keys.write_all(key.as_bytes()).expect("it reads");
            wait_until(shown, || {
                String::from_utf8_lossy(&fs::read(&seen).unwrap_or_default()).contains(shown)
            });
        };
        press("", "RX-BIT/S");
        press("6", "same-port");
        press("5", "WAKEUPS");
        press("1\r", "bridge lan");
        press("q", "\x1b[?1049l");
        assert!(script.wait().expect("it is our child").success());
    });
}
