//! The log of a switch: as JSON, at a level, and under a flood of what stations provoke.

mod common;

use std::process::Command;

use common::frames::{BROADCAST, frame, station};
use common::{Host, Station, Yard, as_root, number, tap, wait_until};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tapyard");

/// The lines of a log in JSON.
fn lines(yard: &Yard) -> Vec<Value> {
    let log = yard.log();
    // The one line that is no log says that it is ready.
    let lines = log.lines().filter(|line| !line.starts_with("tapyard ready"));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Those whose message has `words` in it.
fn with<'a>(lines: &'a [Value], words: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"].as_str().expect("a message").contains(words)).collect()
}

#[test]
fn each_line_of_json_is_an_event_with_its_fields() {
    as_root(|| {
        let a = Host::new("a");
        let config = ["[bridge.lan]\n", &tap("a", &a, "")].concat();
        let yard = Yard::start_with(&["--log-format", "json"], &config);
        let first = lines(&yard);
        let [made] = with(&first, "+ port a")[..] else { panic!("{}", yard.log()) };
        assert_eq!(made["level"], "INFO");
        assert!(made["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{made}");

        a.ip("link del dev a");
        wait_until("it is missed", || !with(&lines(&yard), "its device is gone").is_empty());
        let gone = lines(&yard);
        let gone = with(&gone, "its device is gone")[0];
        assert_eq!((&gone["level"], &gone["port"]), (&"WARN".into(), &"a".into()));

        yard.ok("reload");
        wait_until("the command is noted", || !with(&lines(&yard), "control").is_empty());
        yard.write_config("[bridge.lan]\nagein = 1\n");
        yard.signal(libc::SIGHUP);
        wait_until("the refusal is logged", || !with(&lines(&yard), "not reloaded: ").is_empty());
        let all = lines(&yard);
        let refused = with(&all, "not reloaded: ")[0];
        assert!(
            refused["level"] == "ERROR" && refused["message"].as_str().unwrap().contains("bridge.lan.agein")
        );
    });
}

#[test]
fn a_flood_of_events_is_a_few_lines_that_say_how_many_they_left_out() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let config = ["[bridge.lan]\n", &tap("a", &a, ""), &tap("b", &b, "")].concat();
        let yard = Yard::start_with(&["--log-format", "json"], &config);
        let (at_a, at_b) = (Station::open(&a, "a", "a"), Station::open(&b, "b", "b"));
        let flaps = || number(&yard.bridge("lan"), "flaps");
        wait_until("many flaps", || {
            for n in 0..50 {
                at_a.try_send(&frame(BROADCAST, station(n)));
            }
            for n in 0..50 {
                at_b.try_send(&frame(BROADCAST, station(n)));
            }
            flaps() > 300
        });
        wait_until("it is said how many were left out", || !with(&lines(&yard), "more like this").is_empty());
        let all = lines(&yard);
        let (told, summaries) =
            (with(&all, "moves to and fro"), with(&all, "more like this were suppressed"));
        // Twenty at once, then one a second: as long as this test can take.
        assert!((20..100).contains(&told.len()), "{}", told.len());
        let suppressed: u64 = summaries.iter().map(|line| number(line, "suppressed")).sum();
        assert!(suppressed > 100 && suppressed + told.len() as u64 <= flaps(), "{suppressed} of {}", flaps());
        assert!(summaries[0]["like"].as_str().unwrap().starts_with("bridge lan: a station moves to and fro"));
        assert_eq!((&told[0]["bridge"], &told[0]["level"]), (&"lan".into(), &"WARN".into()));
    });
}

#[test]
fn a_level_leaves_out_what_is_below_it() {
    as_root(|| {
        let yard = Yard::start_with(&["--log", "error"], "[bridge.lan]\n");
        yard.ok("reload");
        assert!(!yard.log().contains("INFO"), "{}", yard.log());
    });
}

#[test]
fn why_it_does_not_start_is_in_the_log_too_and_what_is_no_option_is_refused() {
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config", "/no/such/file"]).args(arguments).envs(variables.iter().copied());
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let text = run(&[("TAPYARD_LOG_FORMAT", "json")], &[]);
    let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(
        line["level"] == "ERROR"
            && line["message"].as_str().unwrap().starts_with("not started: /no/such/file")
    );
    assert!(
        run(&[("TAPYARD_LOG_FORMAT", "json")], &["--log-format", "text"])
            .starts_with("tapyard: /no/such/file")
    );
    assert!(run(&[("TAPYARD_LOG_FORMAT", "xml")], &[]).contains("TAPYARD_LOG_FORMAT: \"xml\" is no format"));
    assert!(
        run(&[("TAPYARD_LOG", "tapyard=loud")], &[]).contains("TAPYARD_LOG: \"tapyard=loud\" is no level")
    );
    assert!(run(&[], &["--log", "tapyard=loud"]).contains("--log: \"tapyard=loud\" is no level"));
}
