//! A switch that runs is given a router by commands, one after another, and says what it has. It takes no privilege: a
//! bridge without ports has no device.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A switch that runs, and goes with its directory.
struct Switch {
    process: Child,
    directory: PathBuf,
}

impl Switch {
    fn start(config: &str) -> Switch {
        let directory = std::env::temp_dir().join(format!("tapyard-cli-router-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("t.toml"), config).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tapyard"))
            .args(["run", "--config"])
            .arg(directory.join("t.toml"))
            .env("TAPYARD_CONTROL", directory.join("s"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("tapyard ready"), "{ready}");
        Switch { process, directory }
    }

    /// What a command prints, on stdout and stderr.
    fn tell(&self, line: &str) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tapyard"))
            .args(line.split_whitespace())
            .env("TAPYARD_CONTROL", self.directory.join("s"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(output.status.success(), !output.stdout.is_empty(), "{line}");
        (text(output.stdout), text(output.stderr))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_router_is_made_shown_and_taken_away_by_commands() {
    let switch = Switch::start("[switch]\nworkers = 1\n[bridge.lan]\n[bridge.dmz]\n");
    for (line, said) in [
        ("router add gw sessions=1000", "+ router gw"),
        (
            "router interface add lan bridge=lan address=10.9.0.254/24",
            "~ router gw: interface + lan on bridge lan",
        ),
        (
            "router interface add dmz bridge=dmz address=10.8.0.1/24",
            "~ router gw: interface + dmz on bridge dmz",
        ),
        ("router interface set dmz mtu=1400", "~ router gw: interface dmz: mtu - -> 1400"),
        ("router set gw policy.input=drop", "~ router gw: policy.input accept -> drop"),
        (
            "route add default --via 10.8.0.2 --via 10.8.0.3",
            "~ router gw: route + 0.0.0.0/0 via 10.8.0.2,10.8.0.3",
        ),
        (
            "neighbor add 10.9.0.2 2:0:0:0:0:1 --interface lan",
            "~ router gw: neighbor + 10.9.0.2 on lan at 02:00:00:00:00:01",
        ),
        ("nat add masquerade out=dmz", "~ router gw: nat + 1: masquerade out dmz"),
        (
            "rule add state=established,related action=accept",
            "+ rule 1: router gw forward: state established,related: accept",
        ),
        (
            "rule add --bridge lan protocol=tcp destination-port=22 action=drop --at 1",
            "+ rule 1: bridge lan forward: protocol tcp destination-port 22: drop",
        ),
        ("rule move 2 1", "~ rule 1 -> 2: bridge lan forward: protocol tcp destination-port 22: drop"),
    ] {
        let (found, _) = switch.tell(line);
        assert_eq!(found.trim_end(), said, "{line}");
    }
    for (line, parts) in [
        ("router", &["gw      dmz        bridge dmz  1400  ", "10.9.0.254/24"][..]),
        ("router show gw", &["sessions   0 of 1000\n", "policy     input drop\n", "rules      1\n"]),
        (
            "route",
            &["0.0.0.0/0    static          0  -          10.8.0.2 10.8.0.3\n", "connected       0  lan "],
        ),
        (
            "route get 10.9.0.2 --from 10.8.0.2",
            &["forward\n", "static at 02:00:00:00:00:01\n", "an answer to 10.8.0.2 leaves by dmz\n"],
        ),
        ("neighbour", &["10.9.0.2  02:00:00:00:00:01  static    -\n"]),
        ("nat --rules", &["gw           1         0  masquerade out dmz\n"]),
        ("nat", &["gw: 0 of 1000 sessions"]),
        (
            "rule",
            &[
                "   1  router gw   forward       0      0  accept  state established,related\n",
                "   2  bridge lan ",
            ],
        ),
        ("rule --bridge lan -j", &["\"number\": 2"]),
        ("config", &["[[router.gw.nat]]\nout = \"dmz\"\ntype = \"masquerade\"\n"]),
    ] {
        let (found, _) = switch.tell(line);
        parts.iter().for_each(|part| assert!(found.contains(part), "{line}: {part}\n{found}"));
    }
    for (line, why) in [
        (
            "route add 10.0.0.0/8 --via 192.0.2.1",
            "router.gw.route[1].via: 192.0.2.1 is on no network of any interface (expected an address in 10.8.0.0/24, 10.9.0.0/24)",
        ),
        ("route del 10.0.0.0/8", "there is no such static route to 10.0.0.0/8 (route show lists them)"),
        ("route get 10.0.0.1 --router lab", "there is no router lab (router show lists them)"),
        (
            "nat add masquerade out=wan",
            "router.gw.nat[1].out: there is no interface wan (expected one of dmz, lan)",
        ),
        ("rule del 3", "there is no rule 3 (expected 1 to 2)"),
        (
            "router interface del lan",
            "router.gw.neighbor[0].interface: there is no interface lan (expected one of dmz)",
        ),
    ] {
        let (_, said) = switch.tell(line);
        assert_eq!(said, format!("tapyard: {why}\n"), "{line}");
    }
    // Who makes the change is told what is doubtful about it, once.
    let (_, warned) = switch.tell("rule add state=established,related action=drop");
    assert_eq!(warned, "rule[2]: warning: no packet gets here: rule 1 says accept to the same ones\n");
    let (_, quiet) = switch.tell("nat del 1");
    assert_eq!(quiet, "");
    // The file says what runs.
    let (undone, _) = switch.tell("reload");
    assert!(undone.starts_with("- router gw\n- rule 1: "), "{undone}");
    assert_eq!(switch.tell("router").0, "there is no router\n");
}
