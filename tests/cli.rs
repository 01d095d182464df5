//! The built binary, as a person or a script meets it: what it prints where, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tapyard::control::api::Request;
use tapyard::control::server::{Handler, Peer, Server};
use tapyard::control::socket::ControlSocket;

fn tapyard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapyard"));
    command.env_remove("TAPYARD_CONTROL");
    command
}

fn run(line: &str) -> Output {
    tapyard().args(line.split_whitespace()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tapyard-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A switch that answers each request with what the test says, and remembers what it was asked.
struct Fake {
    answer: Result<Value, String>,
    asked: Mutex<Vec<Request>>,
}

impl Handler for Fake {
    fn handle(&self, request: Request, _: Peer) -> Result<Value, String> {
        self.asked.lock().unwrap().push(request);
        self.answer.clone()
    }
}

/// Runs `tapyard LINE` against a switch that answers so; gives what was asked, too.
fn against(answer: Result<Value, String>, line: &str) -> (Output, Vec<Value>) {
    // The path of a socket is bounded.
    let name: String = line.chars().filter(char::is_ascii_alphanumeric).take(48).collect();
    let scratch = Scratch::new(&name);
    let fake = Arc::new(Fake { answer, asked: Mutex::default() });
    let server = Server::start(
        ControlSocket::bind(&scratch.0.join("s")).unwrap(),
        Arc::clone(&fake) as Arc<dyn Handler>,
    )
    .unwrap();
    let output =
        tapyard().env("TAPYARD_CONTROL", server.path()).args(line.split_whitespace()).output().unwrap();
    let asked =
        fake.asked.lock().unwrap().iter().map(|request| serde_json::to_value(request).unwrap()).collect();
    (output, asked)
}

#[test]
fn usage_ends_with_2_and_help_with_0() {
    for wrong in ["", "prot", "port shwo", "run", "check", "fdb add 02:00:00:00:00:01", "port set vm1 vlan"] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong}");
    }
    let mac = run("fdb add 02:00 vm1");
    assert_eq!(mac.status.code(), Some(2));
    assert!(stderr(&mac).contains("is no MAC address"), "{}", stderr(&mac));
    for help in ["--help", "-h", "help port", "port --help", "port add --help", "fdb flush -h", "--version"] {
        let output = run(help);
        assert_eq!(output.status.code(), Some(0), "{help}");
        assert!(output.stderr.is_empty() && stdout(&output).contains("tapyard"), "{help}");
    }
    assert!(stdout(&run("port add --help")).contains("tapyard port add vm3 --type tap --bridge lan vlan=10"));
}

#[test]
fn check_says_ok_or_every_error_at_its_line() {
    let scratch = Scratch::new("check");
    let good = scratch.file("good.toml", "[bridge.lan]\n[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n");
    let output = run(&format!("check --config {good}"));
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), format!("{good}: ok (1 bridge, 1 port)\n"))
    );

    let bad =
        scratch.file("bad.toml", "[bridge.lan]\nageing = 5\n[port.vm1]\ntype = \"tap\"\nbridge = \"wan\"\n");
    let output = run(&format!("check --config {bad}"));
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let errors = stderr(&output);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with(&format!("{bad}:2: bridge.lan.ageing: 5 is no duration")), "{errors}");
    assert!(lines[1].starts_with(&format!("{bad}:5: port.vm1.bridge: there is no bridge wan")), "{errors}");

    let output = run("check --config /nonexistent/t.toml");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("/nonexistent/t.toml: cannot be read: "));
}

#[test]
fn without_a_switch_a_command_says_what_to_do_in_one_line() {
    let output = run("port --control /nonexistent/s");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let why = stderr(&output);
    assert!(why.starts_with("tapyard: /nonexistent/s: no such socket: is `tapyard run` running?"), "{why}");
    assert_eq!(why.lines().count(), 1);
}

#[test]
fn what_the_switch_refuses_is_said_and_ends_with_1() {
    let (output, _) = against(Err("there is no port vm9".into()), "port del vm9");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(1), "tapyard: there is no port vm9\n")
    );
    let (output, _) = against(Err("one\ntwo".into()), "reload");
    assert_eq!(stderr(&output), "tapyard: one\ntapyard: two\n");
    let (output, _) = against(Ok(json!(5)), "stats");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("an answer of another version"), "{}", stderr(&output));
}

#[test]
fn commands_ask_what_they_say() {
    let applied = || Ok(json!({"epoch": 2, "changes": ["+ port vm3"]}));
    let mac = "02:00:00:00:00:01";
    for (line, request) in [
        (
            "port add vm3 --type tap --bridge lan vlan=10 storm.broadcast=5",
            json!({"request": "port-add", "name": "vm3",
                   "keys": {"type": "tap", "bridge": "lan", "vlan": 10, "storm.broadcast": 5}}),
        ),
        (
            "port set vm3 vlan= trunk=[10,20] isolated=true",
            json!({"request": "port-set", "name": "vm3",
                   "keys": {"vlan": null, "trunk": [10, 20], "isolated": true}}),
        ),
        ("port del vm3", json!({"request": "port-del", "name": "vm3"})),
        (
            "fdb add 2-0-0-0-0-1 vm3 --vlan 7",
            json!({"request": "fdb-add", "mac": mac, "port": "vm3", "vlan": 7}),
        ),
        (
            "fdb add 2-0-0-0-0-1 site --remote fd00::2",
            json!({"request": "fdb-add", "mac": mac, "port": "site", "remote": "fd00::2"}),
        ),
        (
            "port add site --type vxlan --bridge lan vni=7 remotes=10.8.0.2,10.8.0.3 options=[{class=1}]",
            json!({"request": "port-add", "name": "site",
                   "keys": {"type": "vxlan", "bridge": "lan", "vni": 7, "remotes": "10.8.0.2,10.8.0.3",
                            "options": [{"class": 1}]}}),
        ),
        (
            "fdb del 02:00:00:00:00:01 --bridge lan",
            json!({"request": "fdb-del", "mac": mac, "bridge": "lan"}),
        ),
        ("reload", json!({"request": "reload"})),
    ] {
        let (output, asked) = against(applied(), line);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "+ port vm3\n"), "{line}");
        assert_eq!(asked, [request], "{line}");
    }
    for line in ["port del vm3 -j", "reload --json", "fdb flush -j", "fdb del 02:00:00:00:00:01 -j"] {
        let (output, _) = against(applied(), line);
        let printed: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert_eq!(printed, applied().unwrap(), "{line}");
    }
    let (output, asked) = against(Ok(json!({"entries": 3})), "fdb flush --port vm1 --vlan 7");
    assert_eq!(stdout(&output), "3 entries forgotten\n");
    assert_eq!(asked, [json!({"request": "fdb-flush", "port": "vm1", "vlan": 7})]);
}

#[test]
fn a_reading_command_prints_a_table_or_the_answer_as_it_came() {
    let entry = json!({"bridge": "lan", "vlan": null, "mac": "02:00:00:00:00:01", "port": "vm1", "kind": "learned",
                       "age_secs": 7, "of_a_later_version": 1});
    let (output, asked) = against(Ok(json!([entry])), "fdb --bridge lan");
    let lines = "BRIDGE  VLAN  MAC                PORT  KIND     AGE\n\
                 lan        -  02:00:00:00:00:01  vm1   learned   7s\n";
    assert_eq!(stdout(&output), lines);
    assert_eq!(asked, [json!({"request": "fdb-show", "bridge": "lan"})]);
    let (output, _) = against(Ok(json!([entry])), "fdb show -j");
    assert_eq!(serde_json::from_str::<Value>(&stdout(&output)).unwrap(), json!([entry]));
    let (output, _) = against(Ok(json!({"toml": "[bridge.lan]\n"})), "config");
    assert_eq!(stdout(&output), "[bridge.lan]\n");
    let (output, _) = against(Ok(json!([])), "drops");
    assert_eq!(stdout(&output), "no frame was dropped\n");
}

fn probe(rtt_nanos: Option<u64>, not_sent: Option<&str>) -> Value {
    json!({"port": "site", "remote": "10.8.0.2", "size": 64, "mtu": 1450, "rtt_nanos": rtt_nanos, "not_sent": not_sent})
}

#[test]
fn tunnel_ping_prints_like_ping_and_fails_when_nobody_answers() {
    let (output, asked) =
        against(Ok(probe(Some(250_000), None)), "tunnel ping 10.8.0.2 --size 64 --count 2 --interval 0");
    assert_eq!(
        stdout(&output),
        "PING 10.8.0.2 by site: 64 bytes, MTU 1450\n\
         64 bytes from 10.8.0.2: seq=1 time=0.250 ms\n\
         64 bytes from 10.8.0.2: seq=2 time=0.250 ms\n\
         \n2 sent, 2 answered, 0% lost\nrtt min/avg/max = 0.250/0.250/0.250 ms\n"
    );
    assert_eq!(asked, vec![json!({"request": "tunnel-probe", "to": "10.8.0.2", "size": 64}); 2]);

    let (output, _) = against(Ok(probe(None, None)), "tunnel ping site --count 1");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(1), "tapyard: 10.8.0.2 does not answer\n")
    );
    assert!(stdout(&output).contains("seq=1 no answer\n") && stdout(&output).contains("100% lost\n"));
    let (output, _) =
        against(Ok(probe(None, Some("Message too long"))), "tunnel ping site --size 9000 --count 1");
    assert!(stdout(&output).contains("seq=1 not sent: Message too long\n"), "{}", stdout(&output));
    for wrong in
        ["tunnel ping", "tunnel ping a --size 5", "tunnel ping a --count 0", "tunnel ping a --interval -1"]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn tunnel_ping_finds_the_largest_size_that_passes() {
    // Everything passes here.
    let (output, asked) =
        against(Ok(probe(Some(1_000_000), None)), "tunnel ping site --port site --count 1 -j");
    let measured: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(
        (&measured["largest"], &measured["answered"], &measured["mtu"]),
        (&json!(65_000), &json!(1), &json!(1450))
    );
    assert_eq!(measured["rtt_avg_ms"], json!(1.0));
    assert_eq!(asked[0], json!({"request": "tunnel-probe", "to": "site", "port": "site", "size": 64}));
    assert_eq!(asked[1]["size"], 1450);
}

#[test]
fn completions_and_manual_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&format!("completions {shell}"));
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("tapyard") && stdout(&output).contains("flush"), "{shell}");
    }
    let manual = stdout(&run("man"));
    assert!(manual.contains(".TH tapyard 1") && manual.contains("tapyard\\-demo(1)"), "{manual}");
    assert!(stdout(&run("man demo")).contains("\\-\\-seconds"));
    assert!(stdout(&run("man port set")).contains("storm.broadcast=1000"));
    let output = run("man prot");
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(1), 1));
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let mut child = tapyard()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn two_switches_run_side_by_side_when_the_command_line_names_their_sockets() {
    let scratch = Scratch::new("two");
    let config =
        scratch.file("lan.toml", "[switch]\nworkers = 1\ncontrol = \"/nowhere/at/all\"\n[bridge.lan]\n");
    let mut switches = Vec::new();
    for name in ["a", "b"] {
        let socket = scratch.0.join(name);
        let mut command = tapyard();
        match name {
            "a" => command.arg("--control").arg(&socket),
            _ => command.env("TAPYARD_CONTROL", &socket),
        };
        let mut switch = command
            .args(["run", "--config", &config])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(switch.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.ends_with(&format!("control {}\n", socket.display())), "{ready}");
        switches.push((switch, socket));
    }
    for (mut switch, socket) in switches {
        let bridges = tapyard().arg("--control").arg(&socket).args(["bridge", "-j"]).output().unwrap();
        assert!(stdout(&bridges).contains("\"lan\""), "{}", stderr(&bridges));
        switch.kill().unwrap();
        switch.wait().unwrap();
    }
}
