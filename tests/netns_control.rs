//! Changes to a switch that runs: all of one or nothing, and no frame lost on ports that it does not touch.

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::frames::{BROADCAST, frame, station};
use common::traffic::{Stream, ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Lan, Yard, as_root, tap, wait_until};

/// Two hosts, 10.9.0.1 and 10.9.0.2, on TAP ports `a` and `b`; the configuration's text; the switch.
fn pair() -> (Host, Host, String, Yard) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let ports =
        [tap("a", &a, "address = [\"10.9.0.1/24\"]"), tap("b", &b, "address = [\"10.9.0.2/24\"]")].concat();
    let config = format!("[bridge.lan]\n{ports}");
    let yard = Yard::start(&config);
    (a, b, config, yard)
}

/// The names of the ports, sorted.
fn ports(yard: &Yard) -> Vec<String> {
    let mut names: Vec<_> =
        yard.rows("port show").iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_reload_loses_no_frame_on_ports_it_leaves_alone() {
    as_root(|| {
        let (a, b, config, yard) = pair();
        let (c, d) = (Host::new("c"), Host::new("d"));
        ping(&a, "10.9.0.2", 56, 2);
        let streams = [Stream::start(&a, &b, "10.9.0.2"), Stream::start(&b, &a, "10.9.0.1")];
        let index = a.ip("-o link show dev a");
        for _ in 0..3 {
            let epoch = yard.epoch();
            let more =
                [tap("c", &c, "bridge = \"dmz\""), tap("d", &d, "vlan = 7\nbridge = \"dmz\"")].concat();
            yard.reload(&format!("{config}[bridge.dmz]\n{more}"));
            assert!(yard.epoch() > epoch);
            assert_eq!(ports(&yard), ["a", "b", "c", "d"]);
            assert!(c.has("c") && d.has("d"));
            yard.reload(&format!("{config}{}", tap("c", &c, "")));
            assert_eq!(ports(&yard), ["a", "b", "c"]);
            assert!(!d.has("d"));
            yard.reload(&config);
            assert_eq!(ports(&yard), ["a", "b"]);
            assert!(!c.has("c"));
        }
        tcp(&a, &b, "10.9.0.2", 4 << 20);
        for stream in streams {
            stream.assert_lossless();
        }
        assert_eq!(a.ip("-o link show dev a"), index, "the device is the one it was");
    });
}

#[test]
fn a_reload_of_the_same_file_changes_nothing() {
    as_root(|| {
        let (a, _b, config, yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        let (learned, epoch) = (yard.learned(), yard.epoch());
        yard.reload(&config);
        assert_eq!(yard.epoch(), epoch);
        assert_eq!(yard.learned(), learned, "what was learned stays");
    });
}

#[test]
fn a_reload_forgets_what_was_behind_a_port_that_went() {
    as_root(|| {
        let (a, b, _, yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        yard.reload(&format!("[bridge.lan]\n{}", tap("a", &a, "address = [\"10.9.0.1/24\"]")));
        assert!(yard.learned().iter().all(|(_, _, port)| port == "a"), "{:?}", yard.learned());
        assert!(!b.has("b"));
    });
}

#[test]
fn sighup_reloads() {
    as_root(|| {
        let (a, b, config, yard) = pair();
        let c = Host::new("c");
        let stream = Stream::start(&a, &b, "10.9.0.2");
        yard.write_config(&format!("{config}{}", tap("c", &c, "")));
        yard.signal(libc::SIGHUP);
        wait_until("the port to be there", || ports(&yard) == ["a", "b", "c"]);

        let epoch = yard.epoch();
        yard.write_config("[bridge.lan]\nageing = \"soon\"\n");
        yard.signal(libc::SIGHUP);
        wait_until("the log to say why not", || yard.log().contains("tapyard.toml:2"));
        assert_eq!(ports(&yard), ["a", "b", "c"]);
        assert_eq!(yard.epoch(), epoch);
        stream.assert_lossless();
    });
}

/// Files that are wrong in one line, which ends in `# !`; PORTS stands for the two good ports.
const WRONG: &[&str] = &[
    "[bridge.lan]\nagein = \"1s\" # !\nPORTS",
    "[bridge.lan]\nageing = \"soon\" # !\nPORTS",
    "[bridge.lan]\nageing = 300 # !\nPORTS",
    "[bridge.lan]\nfdb-limit = \"many\" # !\nPORTS",
    "[bridge.lan]\nfdb-limit = -1 # !\nPORTS",
    "[bridge.lan]\nmac = \"01:00:5e:00:00:01\" # !\nPORTS",
    "[bridge.lan]\nPORTS\n[brigde.wan] # !\n",
    "[bridge.lan]\nPORTS\n[bridge.wan # !\n",
    "[bridge.lan]\nPORTS\n[bridge.lan] # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"wan\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"carrier-pigeon\" # !\nbridge = \"lan\"\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nvlan = 4095 # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nvlan = 0 # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\ntrunk = [10, \"9-4\"] # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\ntrunk = \"some\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nmac = \"02:00:00\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\naddress = [\"10.9.0.300/24\"] # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\naddress = [\"10.9.0.3/33\"] # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nmtu = 20 # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\ndevice = \"longer-than-fifteen\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nisolated = \"yes\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\nstorm = { braodcast = 5 } # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"tap\"\nbridge = \"lan\"\npeer = \"a\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"netdev\"\nbridge = \"lan\"\npersist = true # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"nobody\" # !\n",
    "[bridge.lan]\nPORTS\n[port.c]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"a\" # !\n",
    "[bridge.lan]\nPORTS\n[[fdb]]\nbridge = \"lan\"\nmac = \"02:00:00:00:00:09\"\nport = \"nobody\" # !\n",
    "[bridge.lan]\nPORTS\n[[fdb]]\nbridge = \"lan\"\nmac = \"ff:ff:ff:ff:ff:ff\" # !\nport = \"a\"\n",
    "[bridge.lan]\nPORTS\n[switch]\nworkers = 0 # !\n",
];

#[test]
fn a_wrong_file_is_refused_by_its_line_and_changes_nothing() {
    as_root(|| {
        let (a, b, config, yard) = pair();
        let good_ports = config.strip_prefix("[bridge.lan]\n").expect("as written above");
        ping(&a, "10.9.0.2", 56, 2);
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let epoch = yard.epoch();
        let path = yard.config_path();
        let check = format!("check --config {}", path.display());
        let mut faults = Vec::new();
        for wrong in WRONG {
            yard.write_config(&wrong.replace("PORTS", good_ports.trim_end()));
            let text = fs::read_to_string(&path).expect("just written");
            let line = 1 + text.lines().position(|line| line.ends_with("# !")).expect("one is marked");
            let place = format!("tapyard.toml:{line}");
            for command in [&check, "reload"] {
                let why = yard.refused(command);
                let whole =
                    why.split(place.as_str()).nth(1).is_some_and(|rest| !rest.starts_with(char::is_numeric));
                if !whole {
                    faults
                        .push(format!("{command} said\n  {why}\nwhere {place} was to be named, of\n{wrong}"));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(yard.epoch(), epoch);
        assert_eq!(ports(&yard), ["a", "b"]);
        stream.assert_lossless();

        yard.write_config(&config);
        yard.ok(&check);
        yard.ok("reload");
    });
}

#[test]
fn a_change_that_fails_halfway_changes_nothing() {
    as_root(|| {
        let (a, b, config, yard) = pair();
        let c = Host::new("c");
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let epoch = yard.epoch();
        // The first port can be made, the second cannot: its namespace does not exist.
        let nowhere = "[port.d]\ntype = \"tap\"\nbridge = \"lan\"\nnetns = \"no-such-namespace\"\n";
        yard.write_config(&format!("{config}{}{nowhere}", tap("c", &c, "")));
        let why = yard.refused("reload");
        assert!(why.contains("no-such-namespace"), "{why}");
        assert_eq!(yard.epoch(), epoch);
        assert_eq!(ports(&yard), ["a", "b"]);
        wait_until("the half-made port to be gone", || !c.has("c"));
        stream.assert_lossless();
    });
}

#[test]
fn a_wrong_file_keeps_the_switch_from_starting() {
    as_root(|| {
        let (.., yard) = pair();
        let path = yard.dir().join("other.toml");
        fs::write(&path, "[bridge.lan]\nagein = \"1s\"\n").expect("the directory is ours");
        let why = yard.refused(&format!("run --config {}", path.display()));
        assert!(why.contains("other.toml:2") && why.contains("agein"), "{why}");
        let why = yard.refused("run --config /nonexistent.toml");
        assert!(why.contains("/nonexistent.toml"), "{why}");
    });
}

#[test]
fn ports_come_change_and_go_by_command() {
    as_root(|| {
        let (a, b, _, yard) = pair();
        let c = Host::new("c");
        let stream = Stream::start(&a, &b, "10.9.0.2");
        yard.ok(&format!("port add c --type tap --bridge lan netns={c} mtu=1400"));
        let row = yard.port("c");
        assert_eq!(
            (&row["type"], &row["bridge"], &row["state"]),
            (&"tap".into(), &"lan".into(), &"up".into())
        );
        assert_eq!((&row["mtu"], &row["netns"]), (&1400.into(), &c.name().into()));
        assert!(c.ip("-o link show dev c").contains("mtu 1400"));
        c.ip("addr add 10.9.0.3/24 dev c");
        c.ip("link set dev c up");
        wait_for_ping(&c, "10.9.0.1");
        stream.assert_lossless();

        yard.ok("port set c isolated=true");
        assert_eq!(yard.port("c")["isolated"], true);
        ping(&c, "10.9.0.1", 56, 2);
        yard.ok("port set a isolated=true");
        ping(&c, "10.9.0.2", 56, 2);
        ping_in_vain(&c, "10.9.0.1", 2);
        yard.ok("port set a isolated=false");
        ping(&c, "10.9.0.1", 56, 2);

        yard.ok("port set c vlan=30");
        ping_in_vain(&c, "10.9.0.1", 2);
        yard.ok("port set a vlan=30");
        wait_for_ping(&c, "10.9.0.1");

        yard.ok("port del c");
        assert_eq!(ports(&yard), ["a", "b"]);
        wait_until("its device to go", || !c.has("c"));
    });
}

#[test]
fn a_command_that_makes_no_sense_changes_nothing() {
    as_root(|| {
        let (a, _b, _, yard) = pair();
        let epoch = yard.epoch();
        for (line, culprit) in [
            ("port add a --type tap --bridge lan", "a"),
            ("port add x --type tap --bridge nowhere", "nowhere"),
            ("port add x --type pigeon --bridge lan", "pigeon"),
            ("port add x --type tap --bridge lan colour=red", "colour"),
            ("port add x --type tap --bridge lan vlan=5000", "5000"),
            ("port add x --type netdev --bridge lan device=lo create=true", "lo"),
            ("port set a mtu=many", "many"),
            ("port set a colour=red", "colour"),
            ("port set nobody mtu=1400", "nobody"),
            ("port del nobody", "nobody"),
            ("fdb add 02:00:00:00:00:01 nobody", "nobody"),
            ("fdb add 02:00:00:00:00:01 a --vlan 4095", "4095"),
            ("fdb add ff:ff:ff:ff:ff:ff a", "ff:ff:ff:ff:ff:ff"),
            ("fdb del 02:00:00:00:00:01", "02:00:00:00:00:01"),
            ("fdb flush --port nobody", "nobody"),
            ("fdb flush --bridge nobody", "nobody"),
        ] {
            // What clap can see is wrong usage (2), what only the switch knows is refused (1): never done.
            let output = yard.output(&line.split_whitespace().collect::<Vec<_>>());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(1 | 2)), "tapyard {line}: {}", output.status);
            assert!(stderr.contains(culprit), "tapyard {line} does not name {culprit}: {stderr}");
        }
        assert_eq!(yard.epoch(), epoch);
        assert_eq!(ports(&yard), ["a", "b"]);
        ping(&a, "10.9.0.2", 56, 2);
    });
}

#[test]
fn exit_codes_and_tables_are_for_people() {
    as_root(|| {
        let (a, _b, _, yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        for usage in [&["port", "frobnicate"][..], &["--no-such-flag"], &["run"], &["fdb", "add"]] {
            assert_eq!(yard.output(usage).status.code(), Some(2), "{usage:?}");
        }
        let mac = common::frames::text(a.mac("a"));
        for (command, expected) in [
            ("port", "lan"),
            ("port show", "up"),
            ("fdb", &mac),
            ("fdb show", "learned"),
            (&format!("fdb --find {}", &mac[6..]), &mac),
            ("fdb --limit 1", " more (--limit shows them)"),
            ("bridge", "lan"),
            ("bridge show", "lan"),
            ("stats", "a"),
            ("stats", "PAUSE"),
        ] {
            let text = yard.ok(command);
            assert!(text.contains(expected), "tapyard {command} does not show {expected}:\n{text}");
            assert!(!text.contains('{'), "tapyard {command} is not for people:\n{text}");
        }
        yard.ok("drops");
        assert!(yard.ok("completions bash").contains("tapyard"));
        assert!(yard.ok("man").starts_with(".ie") || yard.ok("man").contains(".TH"));

        let nobody = yard.dir().join("nobody.sock");
        let output = yard.output(&["--control", nobody.to_str().expect("text"), "port", "show"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("nobody.sock") && stderr.trim_end().lines().count() == 1, "{stderr}");
    });
}

#[test]
fn every_drop_has_its_reason_and_meaning() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        lan.check_drop("a", &frame([0x01, 0x80, 0xc2, 0, 0, 0], station(1)), "reserved-group");
        lan.check_drop("b", &frame(BROADCAST, BROADCAST), "bad-source");
        let rows = lan.yard.rows("drops");
        let mut got: Vec<_> = rows.iter().map(|row| (row["port"].as_str(), row["reason"].as_str())).collect();
        got.sort();
        assert_eq!(got, [(Some("a"), Some("reserved-group")), (Some("b"), Some("bad-source"))]);
        for row in &rows {
            assert!(row["meaning"].as_str().is_some_and(|text| text.len() > 10), "{row}");
        }
        let text = lan.yard.ok("drops");
        assert!(text.contains("reserved-group") && text.contains("bad-source"), "{text}");
    });
}

#[test]
fn the_control_socket_is_for_its_group_alone() {
    as_root(|| {
        let (.., yard) = pair();
        let mode = fs::metadata(yard.control()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    });
}

#[test]
fn a_second_switch_does_not_take_the_socket_of_the_first() {
    as_root(|| {
        let (a, _b, config, yard) = pair();
        let other = yard.dir().join("second.toml");
        fs::write(&other, format!("[switch]\ncontrol = \"{}\"\n", yard.control().display())).expect("ours");
        let why = yard.refused(&format!("run --config {}", other.display()));
        assert!(why.contains("control.sock"), "{why}");
        assert_eq!(ports(&yard), ["a", "b"], "the first still answers");
        ping(&a, "10.9.0.2", 56, 2);
        yard.reload(&config);
    });
}

/// A client of the control socket that keeps to no rule.
fn client(yard: &Yard) -> UnixStream {
    let stream = UnixStream::connect(yard.control()).expect("the switch listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket can be");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a socket can be");
    stream
}

#[test]
fn garbage_on_the_control_socket_is_answered_or_hung_up_on() {
    as_root(|| {
        let (a, b, _, yard) = pair();
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let epoch = yard.epoch();
        let deep = "[".repeat(60_000);
        let garbage: [&[u8]; 9] = [
            b"\n",
            b"hello\n",
            b"{}\n",
            b"null\n",
            b"[]\n",
            b"{\"no-such-request\":{}}\n",
            b"\xff\xfe\x00\x80\n",
            b"\"\\ud800\"\n",
            deep.as_bytes(),
        ];
        for bytes in garbage {
            let mut client = client(&yard);
            let _ = client.write_all(bytes); // the switch may have hung up already
            let _ = client.write_all(b"\n");
            let _ = client.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            match client.read_to_string(&mut answer) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!(
                        "neither answered nor hung up on {:?}",
                        String::from_utf8_lossy(&bytes[..bytes.len().min(30)])
                    )
                }
                _ => {}
            }
            for line in answer.lines() {
                serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            }
        }
        assert_eq!(yard.epoch(), epoch);
        assert_eq!(ports(&yard), ["a", "b"]);
        stream.assert_lossless();
    });
}

#[test]
fn an_endless_request_costs_bounded_memory() {
    as_root(|| {
        let (a, b, _, yard) = pair();
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let before = yard.resident_kib();
        let mut endless = client(&yard);
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..256 {
            if endless.write_all(&chunk).is_err() {
                break; // hung up on, or no longer read
            }
        }
        let grown = yard.resident_kib().saturating_sub(before);
        assert!(grown < 16 << 10, "it grew by {grown} KiB");
        ping(&a, "10.9.0.2", 56, 2);
        stream.assert_lossless();
    });
}

#[test]
fn clients_that_hang_hinder_nobody() {
    as_root(|| {
        let (a, b, _, yard) = pair();
        let stream = Stream::start(&a, &b, "10.9.0.2");
        let before = yard.resident_kib();
        let mut hanging: Vec<UnixStream> = Vec::new();
        for n in 0..1000 {
            let Ok(mut client) = UnixStream::connect(yard.control()) else { continue };
            client.set_nonblocking(true).expect("a socket can be");
            if n % 2 == 0 {
                let _ = client.write(b"{\"half"); // half sent, never read
            }
            hanging.push(client);
        }
        let grown = yard.resident_kib().saturating_sub(before);
        assert!(grown < 32 << 10, "1,000 connections cost {grown} KiB");
        ping(&a, "10.9.0.2", 56, 2);
        stream.assert_lossless();
        drop(hanging);
        wait_until("commands to be answered again", || yard.output(&["port", "show", "-j"]).status.success());
        assert_eq!(ports(&yard), ["a", "b"]);
    });
}
