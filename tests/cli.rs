//! The built binary, as a person or a script meets it: what it prints where, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tapyard::control::api::Request;
use tapyard::control::server::{Handler, Peer, Response, Server};
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
    fn handle(&self, request: Request, _: Peer) -> Result<Response, String> {
        self.asked.lock().unwrap().push(request);
        self.answer.clone().map(Response::from)
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
fn what_attaches_a_guest_stands_alone_on_stdout() {
    let answer = |path: &str| {
        Ok(json!({"qemu": ["-netdev", format!("tap,id=vm1,ifname={path}")], "qemu_version": null,
                  "qemu_remarks": ["in blue"], "libvirt": "<interface/>\n", "libvirt_remarks": ["in green"]}))
    };
    let all = "port show vm1 --qemu --memory 1G --queues 2 --no-vhost --qemu-version 9.2";
    let (output, asked) = against(answer("vm1"), all);
    assert_eq!(
        asked,
        [json!({"request": "port-attach", "name": "vm1", "memory": "1G", "queues": 2, "vhost": false,
                "qemu_version": "9.2"})]
    );
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("-netdev tap,id=vm1,ifname=vm1\n", "in blue\n")
    );
    let (output, asked) = against(answer("vm1"), "port show vm1 --libvirt");
    assert_eq!(asked, [json!({"request": "port-attach", "name": "vm1"})]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("<interface/>\n", "in green\n"));
    let (output, _) = against(answer("a b"), "port show vm1 --libvirt -j");
    assert_eq!(serde_json::from_str::<Value>(&stdout(&output)).unwrap(), answer("a b").unwrap());

    // What a shell would take apart is not printed for one.
    let (output, _) = against(answer("a b"), "port show vm1 --qemu");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    assert!(
        stderr(&output).contains("ifname=a b") && stderr(&output).lines().count() == 1,
        "{}",
        stderr(&output)
    );

    for wrong in [
        "port show --qemu",
        "port show vm1 --qemu --libvirt",
        "port show vm1 --memory 1G",
        "port show vm1 --qemu-version 9.2",
        "port show vm1 --no-vhost",
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong}");
    }
    for shown in ["port show --help", "man port show", "completions bash"] {
        let text = stdout(&run(shown)).replace('\\', "");
        for option in ["--qemu", "--libvirt", "--memory", "--queues", "--no-vhost", "--qemu-version"] {
            assert!(text.contains(option), "{shown} does not say {option}");
        }
    }
}

#[test]
fn adding_a_port_says_how_a_guest_attaches() {
    let added = |path: &str| {
        let attach = json!({"qemu": ["-netdev", format!("tap,id=vm1,ifname={path}")], "qemu_version": null,
                            "qemu_remarks": ["in blue"], "libvirt": "<interface/>\n", "libvirt_remarks": []});
        Ok(json!({"epoch": 2, "changes": ["+ port vm1"], "attach": attach}))
    };
    let line = "port add vm1 --type netdev --bridge lan";
    let (output, asked) = against(added("vm1"), line);
    assert_eq!(asked.len(), 1);
    assert_eq!(stdout(&output), "+ port vm1\n-netdev tap,id=vm1,ifname=vm1\n");
    assert_eq!(stderr(&output), "in blue\n");
    let (output, _) = against(added("a b"), line);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "+ port vm1\n"));
    assert!(stderr(&output).contains("port vm1: a shell"), "{}", stderr(&output));
    let (output, _) = against(added("vm1"), &format!("{line} -j"));
    assert_eq!(serde_json::from_str::<Value>(&stdout(&output)).unwrap(), added("vm1").unwrap());
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
        (
            "router add gw sessions=1000 policy.forward=drop",
            json!({"request": "router-add", "name": "gw", "keys": {"sessions": 1000, "policy.forward": "drop"}}),
        ),
        (
            "router set gw timeout.udp=10m mapping=",
            json!({"request": "router-set", "router": "gw", "keys": {"timeout.udp": "10m", "mapping": null}}),
        ),
        ("router del gw", json!({"request": "router-del", "name": "gw"})),
        (
            "router interface add lan --router gw bridge=lan address=10.9.0.1/24",
            json!({"request": "interface-add", "router": "gw", "name": "lan",
                   "keys": {"bridge": "lan", "address": "10.9.0.1/24"}}),
        ),
        (
            "router interface set lan mtu=1400",
            json!({"request": "interface-set", "name": "lan", "keys": {"mtu": 1400}}),
        ),
        ("router interface del lan", json!({"request": "interface-del", "name": "lan"})),
        (
            "route add default --via 10.7.0.1",
            json!({"request": "route-add", "keys": {"to": "default", "via": "10.7.0.1"}}),
        ),
        (
            "route add 10.0.0.0/8 --via 10.7.0.1 --via 10.7.0.5 --metric 10 --router gw --interface wan",
            json!({"request": "route-add", "router": "gw",
                   "keys": {"to": "10.0.0.0/8", "via": ["10.7.0.1", "10.7.0.5"], "metric": 10, "interface": "wan"}}),
        ),
        (
            "route add 10.66.0.0/16 --unreachable",
            json!({"request": "route-add", "keys": {"to": "10.66.0.0/16", "unreachable": true}}),
        ),
        (
            "route del 10.0.0.0/8 --via 10.7.0.1 --metric 5",
            json!({"request": "route-del", "to": "10.0.0.0/8", "via": "10.7.0.1", "metric": 5}),
        ),
        (
            "neighbor add 10.9.0.2 2-0-0-0-0-1 --interface lan",
            json!({"request": "neighbor-add", "keys": {"address": "10.9.0.2", "mac": mac, "interface": "lan"}}),
        ),
        (
            "neighbour del 10.9.0.2 --router gw",
            json!({"request": "neighbor-del", "router": "gw", "address": "10.9.0.2"}),
        ),
        (
            "nat add port-forward in=wan protocol=tcp,udp port=80-90 to=10.9.0.2:80 --at 1",
            json!({"request": "nat-add", "at": 1,
                   "keys": {"type": "port-forward", "in": "wan", "protocol": "tcp,udp", "port": "80-90",
                            "to": "10.9.0.2:80"}}),
        ),
        ("nat del 2 --router gw", json!({"request": "nat-del", "router": "gw", "number": 2})),
        (
            "rule add --router gw --hook forward in=lan protocol=tcp destination-port=22 action=drop --at 3",
            json!({"request": "rule-add", "at": 3,
                   "keys": {"router": "gw", "hook": "forward", "in": "lan", "protocol": "tcp",
                            "destination-port": 22, "action": "drop"}}),
        ),
        ("rule del 3", json!({"request": "rule-del", "number": 3})),
        ("rule move 3 1", json!({"request": "rule-move", "from": 3, "to": 1})),
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

#[test]
fn commands_about_routers_print_tables_and_ask_with_their_filters() {
    let (output, asked) = against(Ok(json!([])), "route --router gw");
    assert_eq!(stdout(&output), "there is no route\n");
    assert_eq!(asked, [json!({"request": "route-show", "router": "gw"})]);
    let (output, asked) = against(
        Ok(json!({"router": "gw", "address": "192.0.2.1", "from": null, "verdict": "no-route", "routes": [],
                  "hops": [], "source": null, "steps": ["nothing matches"]})),
        "route get 192.0.2.1",
    );
    assert_eq!(stdout(&output), "192.0.2.1 at router gw: no-route\n  nothing matches\n");
    assert_eq!(asked, [json!({"request": "route-get", "address": "192.0.2.1"})]);
    let (output, asked) =
        against(Ok(json!({"entries": 1})), "neighbor flush --interface lan --address 10.9.0.0/24");
    assert_eq!(stdout(&output), "1 neighbour forgotten\n");
    assert_eq!(asked, [json!({"request": "neighbor-flush", "interface": "lan", "address": "10.9.0.0/24"})]);
    let (output, asked) = against(
        Ok(json!({"tables": [], "sessions": [], "left_out": 0})),
        "nat --source 10.9.0.2 --destination 192.0.2.0/24 --port 443 --protocol tcp --limit 5",
    );
    assert_eq!(stdout(&output), "there is no router\n");
    assert_eq!(
        asked,
        [json!({"request": "nat-show", "source": "10.9.0.2/32", "destination": "192.0.2.0/24", "port": 443,
                "protocol": "tcp", "limit": 5})]
    );
    let (output, asked) = against(Ok(json!({"entries": 2})), "nat flush --router gw");
    assert_eq!(stdout(&output), "2 sessions ended\n");
    assert_eq!(asked, [json!({"request": "nat-flush", "router": "gw"})]);
    let (_, asked) = against(Ok(json!([])), "nat --rules");
    assert_eq!(asked, [json!({"request": "nat-rules"})]);
    let rule = json!({"number": 1, "scope": "bridge lan", "hook": "forward", "match": "all", "action": "drop",
                      "comment": null, "frames": 5, "bytes": 300});
    let (output, asked) = against(Ok(json!([rule])), "rule --bridge lan");
    assert!(
        stdout(&output).contains("   1  bridge lan  forward       5    300  drop    all\n"),
        "{}",
        stdout(&output)
    );
    assert_eq!(asked, [json!({"request": "rule-show", "bridge": "lan"})]);
    let (output, _) = against(Ok(json!([])), "router");
    assert_eq!(stdout(&output), "there is no router\n");
}

#[test]
fn what_is_doubtful_is_said_and_no_failure() {
    let scratch = Scratch::new("doubt");
    let file = scratch.file("doubt.toml", "[router.gw]\n[[rule]]\nrouter = \"gw\"\naction = \"drop\"\n");
    let output = run(&format!("check --config {file}"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), format!("{file}: ok (0 bridges, 0 ports, 1 router, 1 rule)\n"));
    let warning = format!("{file}:1: router.gw: warning: the router has no interface: nothing comes to it\n");
    assert_eq!(stderr(&output), warning);

    let applied = json!({"epoch": 2, "changes": ["+ router gw"], "warnings": ["router.gw: warning: hm"]});
    let (output, _) = against(Ok(applied), "router add gw");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "+ router gw\n"));
    assert_eq!(stderr(&output), "router.gw: warning: hm\n");
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
