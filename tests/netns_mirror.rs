//! Mirrors with real devices: what a sniffer sees of others' traffic, here and at the far end of a tunnel.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Scratch, Yard, as_root, bounded, number, send_signal, spawn_in, tap, wait_until};

/// Most that a pcap file holds before any packet is in it.
const EMPTY: u64 = 1000;

/// A tshark that writes what passes a device to a file.
struct Sniffer {
    child: Option<Child>,
    dir: Scratch,
}

impl Sniffer {
    /// Starts one, and waits until it sees what `provoke` has pass there.
    fn start(host: &Host, device: &str, provoke: impl Fn()) -> Sniffer {
        let dir = Scratch::new();
        let mut command = Command::new("tshark");
        command.args(["-n", "-q", "-i", device, "-B", "64", "-F", "pcap", "-w"]).arg(dir.path("seen.pcap"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let sniffer = Sniffer { child: Some(spawn_in(host.name(), &mut command)), dir };
        wait_until("tshark to see something", || {
            provoke();
            std::fs::metadata(sniffer.file()).is_ok_and(|file| file.len() > EMPTY)
        });
        sniffer
    }

    fn file(&self) -> PathBuf {
        self.dir.path("seen.pcap")
    }

    /// Has it end, and gives these fields of the packets seen that fit `filter`.
    fn end(mut self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        // What it has seen and not yet written is lost with it.
        let (size, mut before) = (|| std::fs::metadata(self.file()).map_or(0, |file| file.len()), 0);
        wait_until("tshark to have written all", || {
            std::thread::sleep(Duration::from_millis(500));
            std::mem::replace(&mut before, size()) == before
        });
        let mut child = self.child.take().expect("it runs");
        send_signal(child.id(), libc::SIGINT);
        child.wait().expect("it is our child");
        read(&self.file(), filter, fields)
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let file = file.to_str().expect("the path is text");
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let args: Vec<_> = ["-n", "-r", file, "-Y", filter, "-T", "fields"].into_iter().chain(fields).collect();
    let output = bounded(60, "tshark", &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("fields are text");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// How many bytes of a TCP stream of `sender`, from the first on, are in packets, which are given by sequence number, length
/// and sender.
fn covered(packets: &[Vec<String>], sender: &str) -> u64 {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut spans = BTreeMap::<u64, u64>::new();
    for packet in packets.iter().filter(|packet| packet[2] == sender) {
        let (from, len) = (number(&packet[0]), number(&packet[1]));
        let longest = spans.entry(from).or_default();
        *longest = len.max(*longest);
    }
    // The relative number of the first byte is 1.
    spans.iter().fold(1, |end, (&from, &len)| if from <= end { end.max(from + len) } else { end }) - 1
}

/// Two hosts on TAPs `a` and `b` with an MTU, and what follows in the configuration.
fn pair(mtu: u32, rest: &str) -> (Host, Host, String) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let keys = |n| format!("address = [\"10.9.0.{n}/24\"]\nmtu = {mtu}");
    let config = format!("[bridge.lan]\n{}{}{rest}", tap("a", &a, &keys(1)), tap("b", &b, &keys(2)));
    (a, b, config)
}

/// The port `mon` in `host`.
fn monitor(host: &Host) -> String {
    format!("[port.mon]\ntype = \"tap\"\nnetns = \"{host}\"\nmirror = true\n")
}

const BYTES: usize = 8 << 20;

#[test]
fn a_sniffer_sees_the_whole_of_a_tcp_connection_in_superframes() {
    as_root(|| {
        let m = Host::new("m");
        let mirror = "[mirror.watch]\nports = \"a\"\nto = \"mon\"\n";
        let (a, b, config) = pair(1500, &format!("{}{mirror}", monitor(&m)));
        let yard = Yard::start(&config);
        wait_for_ping(&a, "10.9.0.2");
        let sniffer = Sniffer::start(&m, "mon", || ping(&a, "10.9.0.2", 56, 5));
        a.assert_offloads_on("a");
        tcp(&a, &b, "10.9.0.2", BYTES);
        tcp(&b, &a, "10.9.0.1", BYTES);
        let watch = yard.rows("mirror").remove(0);
        assert_eq!((number(&watch, "drops"), number(&watch, "cut")), (0, 0), "{watch}");
        let port = yard.port("mon");
        assert_eq!(number(&watch, "frames"), number(&port, "tx_frames"), "{port}");
        assert_eq!(port["mirrors"], serde_json::json!(["watch"]));
        let mean = number(&watch, "bytes") / number(&watch, "frames");
        assert!(mean > 1514, "copies have {mean} bytes: superframes were cut");
        let packets = sniffer.end("tcp.len > 0", &["tcp.seq", "tcp.len", "ip.src"]);
        for from in ["10.9.0.1", "10.9.0.2"] {
            let seen = covered(&packets, from);
            assert!(seen >= BYTES as u64, "{from}: {seen} of {BYTES} bytes");
        }
    });
}

#[test]
fn a_kernel_at_the_other_end_of_a_tunnel_sees_it_too() {
    as_root(|| {
        let (here, there) = (Host::new("here"), Host::new("there"));
        here.veth("under", "10.8.0.1/24", &there, "under");
        there.ip("addr add 10.8.0.2/24 dev under");
        there.ip("link set dev under up");
        there.ip("link add vx type vxlan id 900 local 10.8.0.2 remote 10.8.0.1 dstport 4789");
        there.ip("link set dev vx up");
        let far = "[port.far]\ntype = \"vxlan\"\nvni = 900\nlocal = \"10.8.0.1\"\nremotes = \"10.8.0.2\"\nmirror = true\n";
        let mirror = "[mirror.away]\nbridge = \"lan\"\ndirection = \"in\"\nto = \"far\"\n";
        let (a, b, config) = pair(1400, &format!("{far}{mirror}"));
        let yard = Yard::start_in(&here, &config);
        wait_for_ping(&a, "10.9.0.2");
        let sniffer = Sniffer::start(&there, "vx", || ping(&a, "10.9.0.2", 56, 5));
        let bytes = 256 << 10;
        tcp(&a, &b, "10.9.0.2", bytes);
        ping(&b, "10.9.0.1", 1300, 5);
        let away = yard.rows("mirror").remove(0);
        assert_eq!((number(&away, "drops"), number(&away, "cut")), (0, 0), "{away}");
        let seen = covered(&sniffer.end("tcp.len > 0", &["tcp.seq", "tcp.len", "ip.src"]), "10.9.0.1");
        assert!(seen >= bytes as u64, "{seen} of {bytes} bytes");
    });
}

#[test]
fn mirrors_come_and_go_while_frames_pass() {
    as_root(|| {
        let m = Host::new("m");
        let (a, b, config) = pair(1500, "");
        let yard = Yard::start(&config);
        wait_for_ping(&a, "10.9.0.2");
        assert!(yard.refused("port add mon --type tap").contains("port.mon.bridge: missing"));
        yard.ok(&format!("port add mon --type tap mirror=true netns={m}"));
        assert!(yard.refused("mirror add watch ports=a to=b").contains("with mirror = true"));
        assert!(yard.ok("mirror add watch ports=a to=mon").contains("+ mirror watch"));
        ping(&a, "10.9.0.2", 56, 5);
        let copies = |yard: &Yard| number(&yard.rows("mirror").remove(0), "frames");
        assert!(copies(&yard) >= 10, "five questions and answers");
        assert!(yard.ok("port").contains("(mirror)"));

        let before = yard.rows("mirror").remove(0);
        assert!(yard.ok("mirror set watch snap=64 direction=in").contains("snap - -> 64"));
        ping(&a, "10.9.0.2", 1000, 5);
        let after = yard.rows("mirror").remove(0);
        let more = |key| number(&after, key) - number(&before, key);
        assert!(more("cut") >= 5 && more("bytes") <= 64 * more("frames"), "{before} {after}");

        // A mirror's port is refused to go before its mirror.
        assert!(yard.refused("port del mon").contains("there is no port mon"));
        assert!(yard.ok("mirror del watch").contains("- mirror watch"));
        let sent = yard.port_count("mon", "tx_frames");
        ping(&b, "10.9.0.1", 56, 5);
        assert_eq!(yard.port_count("mon", "tx_frames"), sent);
        assert!(yard.rows("mirror").is_empty());
        yard.ok("port del mon");
        yard.assert_conserved();
    });
}
