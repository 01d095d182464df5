//! What `port show --qemu` and `--libvirt` print, given to a real QEMU and to libvirt's own schemas.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use tapyard::control::api::{AttachInfo, AttachQuery};
use tapyard::control::attach::{Around, attach};
use tapyard::control::config::Document;

use common::{Host, Yard, as_root, bounded, send_signal, wait_for};

/// A QEMU whose guest never starts; it ends with this value.
struct Qemu {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Qemu {
    /// Runs `SCRIPT` in a shell, in which `QEMU` stands for the program and the arguments that every guest has here.
    fn start(host: &Host, script: &str, environment: &[(&str, &str)]) -> Qemu {
        let qemu =
            "exec timeout -k 1 60 qemu-system-x86_64 -accel tcg -display none -nodefaults -S -qmp stdio";
        let mut command = Command::new("sh");
        command.args(["-c", &script.replace("QEMU", qemu)]).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.enter(|| command.spawn()).expect("a shell starts");
        let say = child.stdin.take().expect("it is a pipe");
        let hear = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Qemu { child, say, hear }
    }

    /// One with these arguments.
    fn with(host: &Host, words: &[String]) -> Qemu {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        Qemu::start(host, &format!("QEMU {}", quoted.join(" ")), &[])
    }

    /// The next message that `want` takes something from.
    fn next<T>(&mut self, want: impl Fn(&Value) -> Option<T>) -> T {
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = self.hear.read_line(&mut line).expect("QEMU's output is text");
            assert!(bytes > 0, "QEMU has ended: {:?}", self.child.wait());
            let message = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if let Some(value) = want(&message) {
                return value;
            }
        }
    }

    /// Runs a command of its monitor; by then it has taken all its arguments.
    fn monitor(&mut self, command: &str) -> String {
        let ask = json!({"execute": "human-monitor-command", "arguments": {"command-line": command}});
        for request in [json!({"execute": "qmp_capabilities"}), ask] {
            writeln!(self.say, "{request}").expect("QEMU reads");
        }
        self.next(|message| message["return"].as_str().map(str::to_owned))
    }

    fn quit(mut self) {
        writeln!(self.say, "{}", json!({"execute": "quit"})).expect("QEMU reads");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // `timeout` hands it on.
        if let Ok(None) = self.child.try_wait() {
            send_signal(self.child.id(), libc::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// The version of this machine's QEMU.
fn installed() -> String {
    let output = bounded(10, "qemu-system-x86_64", &["--version"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let (_, version) = text.split_once("version ").unwrap_or_else(|| panic!("no QEMU: {text}"));
    version.split_whitespace().next().expect("a version").to_owned()
}

/// What attaches a guest of this machine's QEMU to a port with these keys.
fn of_port(keys: &str, query: AttachQuery) -> AttachInfo {
    let text = format!("[bridge.lan]\n[port.vm1]\nbridge = \"lan\"\n{keys}\n");
    let config = Document::parse(&text, "t").and_then(|document| document.to_config());
    let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let query = AttachQuery { name: "vm1".into(), qemu_version: Some(installed()), ..query };
    let around = Around { link: None, vhost: false };
    attach("vm1", &config.ports["vm1"], &query, &around).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

/// The MAC address in the arguments.
fn mac_in(words: &str) -> &str {
    words
        .split("mac=")
        .nth(1)
        .and_then(|rest| rest.get(..17))
        .unwrap_or_else(|| panic!("no address: {words}"))
}

#[test]
fn qemu_attaches_to_a_tap_by_the_line_in_a_substitution() {
    as_root(|| {
        let host = Host::new("yard");
        host.ip("tuntap add vm1 mode tap");
        host.ip("link set vm1 up");
        let yard = Yard::start_in(&host, "[bridge.lan]\n[port.vm1]\nbridge = \"lan\"\ntype = \"netdev\"\n");
        let added = yard.ok("port add vm2 --type netdev --bridge lan create=true queues=2 mtu=9000");
        for (name, device) in [("vm1", ""), ("vm2", ",mq=on,vectors=6,host_mtu=9000")] {
            yard.wait_for_state(name, "no-carrier");
            // A line for every kernel: this one may be without vhost-net, and QEMU without the right to use it.
            let show = format!("port show {name} --qemu --no-vhost");
            let line = yard.ok(&show);
            assert!(line.ends_with(&format!("{device}\n")) && line.lines().count() == 1, "{line}");
            assert!(added.contains(&format!("mac={}", mac_in(&line))) == (name == "vm2"), "{added}");
            let control = yard.control();
            let environment = [("TAPYARD_CONTROL", control.to_str().expect("text")), ("TAPYARD", TAPYARD)];
            let mut qemu = Qemu::start(&host, &format!("QEMU -m 64M $(\"$TAPYARD\" {show})"), &environment);
            yard.wait_for_state(name, "up");
            let network = qemu.monitor("info network");
            assert!(
                network.contains(mac_in(&line)) && network.contains(&format!("ifname={name}")),
                "{network}"
            );
            qemu.quit();
            yard.wait_for_state(name, "no-carrier");
        }
    });
}

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

#[test]
fn a_port_that_no_guest_can_attach_to_is_refused_in_one_line() {
    as_root(|| {
        let (host, a) = (Host::new("yard"), Host::new("a"));
        host.veth("wire", "", &a, "far");
        let yard = Yard::start_in(&host, &format!("[bridge.lan]\n{}", common::tap("a", &a, "")));
        let added = yard.ok("port add wire --type netdev --bridge lan");
        assert!(!added.contains("-netdev"), "{added}");
        for (line, culprit) in [
            ("port show a --qemu", "a TAP that the switch itself holds"),
            ("port show a --libvirt", "a TAP that the switch itself holds"),
            ("port show wire --qemu", "is no TAP"),
            ("port show nobody --qemu", "there is no port nobody"),
        ] {
            assert!(yard.refused(line).contains(culprit), "{line}: {}", yard.refused(line));
        }
    });
}

#[test]
fn qemu_takes_the_line_of_a_stream_on_either_side() {
    as_root(|| {
        let (host, dir) = (Host::new("qemu"), Directory::new());
        let path = dir.path("a,b.sock");
        let listener = UnixListener::bind(&path).expect("the directory is ours");
        let info =
            of_port(&format!("type = \"stream\"\nlisten = \"{path}\"\nmtu = 9000"), AttachQuery::default());
        let mut qemu = Qemu::with(&host, &info.qemu);
        listener.accept().expect("QEMU connects");
        assert!(qemu.monitor("info network").contains("stream"));
        qemu.quit();

        let path = dir.path("other.sock");
        let info = of_port(&format!("type = \"stream\"\nconnect = \"{path}\""), AttachQuery::default());
        let mut qemu = Qemu::with(&host, &info.qemu);
        // It serves one peer after the other: whoever restarts connects again.
        for _ in 0..2 {
            wait_for("QEMU to listen", || UnixStream::connect(&path).ok());
        }
        assert!(qemu.monitor("info network").contains(mac_in(&info.qemu.join(" "))));
        qemu.quit();
    });
}

#[test]
fn qemu_attaches_to_a_stream_of_the_switch_by_the_printed_line() {
    as_root(|| {
        let (host, dir) = (Host::new("yard"), Directory::new());
        let (ours, theirs) = (dir.path("ours.sock"), dir.path("theirs.sock"));
        let yard = Yard::start_in(
            &host,
            &format!(
                "[bridge.lan]\n[port.vm1]\nbridge = \"lan\"\ntype = \"stream\"\nlisten = \"{ours}\"\n\
                 [port.vm2]\nbridge = \"lan\"\ntype = \"stream\"\nconnect = \"{theirs}\"\n"
            ),
        );
        for name in ["vm1", "vm2"] {
            yard.wait_for_state(name, "waiting");
            let words: Vec<_> =
                yard.ok(&format!("port show {name} --qemu")).split_whitespace().map(str::to_owned).collect();
            let mut qemu = Qemu::with(&host, &words);
            yard.wait_for_state(name, "up");
            assert!(qemu.monitor("info network").contains(mac_in(&words.join(" "))));
            qemu.quit();
            yard.wait_for_state(name, "waiting");
        }
    });
}

#[test]
fn qemu_takes_the_line_of_datagrams() {
    as_root(|| {
        let (host, dir) = (Host::new("qemu"), Directory::new());
        let (ours, theirs) = (dir.path("yard.sock"), dir.path("vm1.sock"));
        let socket = UnixDatagram::bind(&ours).expect("the directory is ours");
        let keys = format!("type = \"dgram\"\nlisten = \"{ours}\"\nconnect = \"{theirs}\"");
        let mut qemu = Qemu::with(&host, &of_port(&keys, AttachQuery::default()).qemu);
        assert!(qemu.monitor("info network").contains("dgram"));
        socket.send_to(&[0xff; 60], &theirs).expect("QEMU has its socket there");
        qemu.quit();
    });
}

#[test]
fn qemu_takes_the_line_of_vhost_user_on_either_side() {
    as_root(|| {
        let (host, dir) = (Host::new("qemu"), Directory::new());
        let path = dir.path("vm1.sock");
        let keys = format!("type = \"vhost-user\"\nlisten = \"{path}\"");
        let info = of_port(
            &keys,
            AttachQuery { queues: Some(2), memory: Some("64M".into()), ..AttachQuery::default() },
        );
        // QEMU may be there before who serves it.
        let mut qemu = Qemu::with(&host, &info.qemu);
        let listener = UnixListener::bind(&path).expect("the directory is ours");
        let backend = thread::spawn(move || serve(&mut listener.accept().expect("QEMU connects").0));
        assert!(
            qemu.monitor("info memdev").contains("64 MiB")
                || qemu.monitor("info memdev").contains("67108864")
        );
        assert!(qemu.monitor("info network").contains("vhost-user"));
        qemu.quit();
        backend.join().expect("it does not panic");

        let path = dir.path("other.sock");
        let keys = format!("type = \"vhost-user\"\nconnect = \"{path}\"");
        let info = of_port(&keys, AttachQuery { memory: Some("none".into()), ..AttachQuery::default() });
        let mut words: Vec<String> =
            ["-object", "memory-backend-memfd,id=m,size=64M,share=on", "-machine", "memory-backend=m"]
                .map(str::to_owned)
                .to_vec();
        words.extend(info.qemu);
        let mut qemu = Qemu::with(&host, &words);
        let mut stream = wait_for("QEMU to listen", || UnixStream::connect(&path).ok());
        let backend = thread::spawn(move || serve(&mut stream));
        assert!(qemu.monitor("info network").contains("vhost-user"));
        qemu.quit();
        backend.join().expect("it does not panic");
    });
}

/// Answers what QEMU asks of the one who serves its rings, before its guest has started, until it has gone.
fn serve(qemu: &mut UnixStream) {
    const PROTOCOL_FEATURES: u64 = 1 << 30;
    const MODERN: u64 = 1 << 32;
    const MULTIPLE_QUEUES: u64 = 1;
    let mut header = [0; 12];
    while qemu.read_exact(&mut header).is_ok() {
        let field = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let mut body = vec![0; field(8) as usize];
        qemu.read_exact(&mut body).expect("a message is whole");
        let answer = match field(0) {
            1 => PROTOCOL_FEATURES | MODERN,
            15 => MULTIPLE_QUEUES,
            17 => 8,
            _ => continue,
        };
        let version_1_and_reply = 0b101_u32.to_ne_bytes();
        let reply =
            [&header[..4], &version_1_and_reply, &8_u32.to_ne_bytes(), &u64::to_ne_bytes(answer)].concat();
        if qemu.write_all(&reply).is_err() {
            return;
        }
    }
}

#[test]
fn libvirt_takes_the_xml() {
    let dir = Directory::new();
    let all = AttachQuery { queues: Some(4), ..AttachQuery::default() };
    for (keys, query) in [
        ("type = \"netdev\"", AttachQuery::default()),
        ("type = \"netdev\"", all.clone()),
        ("type = \"vhost-user\"\nlisten = \"/run/a&b's.sock\"\nmtu = 9000", all),
        ("type = \"vhost-user\"\nconnect = \"/run/vm1.sock\"", AttachQuery::default()),
        ("type = \"stream\"\nlisten = \"/run/a&b's<.sock\"", AttachQuery::default()),
        ("type = \"dgram\"\nlisten = \"/run/a.sock\"\nconnect = \"/run/b.sock\"", AttachQuery::default()),
    ] {
        let xml = of_port(keys, query).libvirt;
        let (interface, beside) = if xml.contains("<interface") { (&xml[..], "") } else { ("", &xml[..]) };
        // The comment says where this belongs.
        let memory =
            xml.split_once("<memoryBacking>").and_then(|(_, rest)| rest.split_once("</memoryBacking>"));
        let memory =
            memory.map(|(inside, _)| format!("<memoryBacking>{inside}</memoryBacking>")).unwrap_or_default();
        let domain = format!(
            "<domain type='qemu'><name>guest</name><memory unit='MiB'>512</memory>{memory}\
             <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\n{interface}</devices>\n{beside}</domain>\n"
        );
        let file = dir.path("domain.xml");
        fs::write(&file, &domain).expect("the directory is ours");
        let output = bounded(30, "virt-xml-validate", &[&file, "domain"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{domain}");
    }
}

#[test]
fn the_ports_that_the_page_adds_print_their_lines() {
    as_root(|| {
        let (host, dir) = (Host::new("yard"), Directory::new());
        let yard = Yard::start_in(&host, "[bridge.lan]\n");
        let page = include_str!("../docs/guests.md");
        let commands: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("    tapyard port add ")).collect();
        assert!(commands.len() >= 5, "{commands:?}");
        for command in commands {
            let here = dir.path("");
            let command = command.replace("/run/tapyard/", &here).replace("/run/user/1000/", &here);
            // Its groups and users are not on every machine.
            let added = yard.ok(&format!("port add {}", command.replace("group=kvm", "group=0")));
            let name = command.split(' ').next().expect("a name");
            let line = yard.ok(&format!("port show {name} --qemu"));
            assert!(line.starts_with('-') && added.ends_with(&line), "{command}: {added}{line}");
            assert!(yard.ok(&format!("port show {name} --libvirt")).contains("mac"), "{command}");
        }
    });
}

/// A directory of a test's own, gone with this value.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Directory {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tapyard-lines-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Directory(path)
    }

    fn path(&self, name: &str) -> String {
        let path: &Path = &self.0.join(name);
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
