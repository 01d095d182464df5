//! `dgram` ports: guests at a socket of datagrams, each of which is a frame.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use common::frames::{BROADCAST, frame, station};
use common::socket::{Sockets, number_of, numbered};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, PATIENCE, Yard, as_root, tap, wait_until};

/// The table of a dgram port on the bridge `lan`.
fn dgram(name: &str, listen: &Path, connect: Option<&Path>, more: &str) -> String {
    let connect = connect.map_or(String::new(), |path| format!("connect = \"{}\"\n", path.display()));
    format!(
        "[port.{name}]\ntype = \"dgram\"\nbridge = \"lan\"\nlisten = \"{}\"\n{connect}{more}\n",
        listen.display()
    )
}

/// A guest with a socket of its own.
struct Guest {
    socket: UnixDatagram,
    own: PathBuf,
    port: PathBuf,
}

impl Guest {
    fn new(own: PathBuf, port: PathBuf) -> Guest {
        let _ = fs::remove_file(&own);
        let socket = UnixDatagram::bind(&own).expect("the directory is ours");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).expect("it is ours");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Guest { socket, own, port }
    }

    fn send(&self, frame: &[u8]) {
        self.socket.send_to(frame, &self.port).expect("the port's socket is there");
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 70_000];
        let len = self.socket.recv(&mut buffer).expect("a frame");
        buffer.truncate(len);
        buffer
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.own);
    }
}

/// A switch with the ports `a`, which knows where its guest is, and `b`, which learns that.
struct Pair {
    yard: Yard,
    sockets: Sockets,
}

impl Pair {
    fn start(rest: &str) -> Pair {
        let sockets = Sockets::new();
        let a = dgram("a", &sockets.at("a"), Some(&sockets.at("guest-a")), "mtu = 65521");
        let b = dgram("b", &sockets.at("b"), None, "mtu = 65521");
        let yard = Yard::start_unprivileged(&format!("[bridge.lan]\n{a}{b}{rest}"));
        Pair { yard, sockets }
    }

    fn guest(&self, port: &str) -> Guest {
        Guest::new(self.sockets.at(&format!("guest-{port}")), self.sockets.at(port))
    }

    /// Station 1 at `a` and station 2 at `b`, which the switch knows.
    fn guests(&self) -> (Guest, Guest) {
        let (a, b) = (self.guest("a"), self.guest("b"));
        self.yard.wait_for_state("a", "up");
        introduce(&b, &a);
        self.yard.wait_for_state("b", "up");
        (a, b)
    }
}

fn introduce(b: &Guest, a: &Guest) {
    b.send(&frame(BROADCAST, station(2)));
    assert_eq!(a.receive(), frame(BROADCAST, station(2)));
}

#[test]
fn frames_of_all_lengths_pass_in_order_without_any_privilege() {
    let pair = Pair::start("");
    assert_eq!(
        (&pair.yard.port("a")["state"], &pair.yard.port("b")["state"]),
        (&"waiting".into(), &"waiting".into())
    );
    assert_eq!(fs::metadata(pair.sockets.at("a")).unwrap().mode() & 0o777, 0o660);
    let (a, b) = pair.guests();
    let lengths = [18, 19, 60, 1499, 1513, 1514, 4096, 9000, 65_534, 65_535];
    for (n, len) in lengths.into_iter().cycle().take(500).enumerate() {
        a.send(&numbered(n as u32, len));
        assert_eq!(b.receive(), numbered(n as u32, len), "frame {n}");
    }
    for n in 0..500 {
        for k in 0..5 {
            a.send(&numbered(n * 5 + k, 100));
        }
        for k in 0..5 {
            assert_eq!(number_of(&b.receive()), n * 5 + k);
        }
    }
    let privileges = fs::read_to_string(format!("/proc/{}/status", pair.yard.pid())).unwrap();
    assert!(privileges.contains("CapEff:\t0000000000000000"), "{privileges}");
}

#[test]
fn runts_and_giants_are_counted() {
    let pair = Pair::start("");
    let (a, b) = pair.guests();
    for len in [0, 1, 13] {
        a.send(&vec![0xff; len]);
    }
    a.send(&vec![0xff; 65_598]);
    a.send(&numbered(1, 60));
    assert_eq!(b.receive(), numbered(1, 60));
    assert_eq!((pair.yard.drops("a", "runt"), pair.yard.drops("a", "oversized")), (3, 1));
}

#[test]
fn a_guest_comes_and_goes_on_either_kind_of_port() {
    let pair = Pair::start("");
    let (mut a, mut b) = pair.guests();
    for round in 0..3 {
        drop(b);
        a.send(&numbered(round, 60));
        pair.yard.wait_for_state("b", "waiting");
        b = pair.guest("b");
        wait_until("the port to hear of its guest", || {
            b.send(&frame(station(1), station(2)));
            pair.yard.port("b")["state"] == "up"
        });
        a.send(&numbered(round, 70));
        assert_eq!(b.receive(), numbered(round, 70));

        drop(a);
        b.send(&frame(station(1), station(2)));
        pair.yard.wait_for_state("a", "waiting");
        a = pair.guest("a");
        pair.yard.wait_for_state("a", "up");
        introduce(&b, &a);
    }
    assert!(pair.yard.drops("a", "not-attached") > 0 && pair.yard.drops("b", "not-attached") > 0);
}

#[test]
fn frames_go_to_who_sent_last_where_no_guest_is_named() {
    let pair = Pair::start("");
    let (a, _b) = pair.guests();
    let other = Guest::new(pair.sockets.at("other"), pair.sockets.at("b"));
    introduce(&other, &a);
    a.send(&numbered(1, 60));
    assert_eq!(other.receive(), numbered(1, 60));
    // Without a name nothing can be sent back, so it changes nothing.
    let nameless = UnixDatagram::unbound().unwrap();
    nameless.send_to(&frame(BROADCAST, station(2)), pair.sockets.at("b")).unwrap();
    assert_eq!(a.receive(), frame(BROADCAST, station(2)));
    a.send(&numbered(2, 60));
    assert_eq!(other.receive(), numbered(2, 60));
    // Where the guest is named, another may send, and gets nothing.
    nameless.send_to(&numbered(3, 60), pair.sockets.at("a")).unwrap();
    assert_eq!(other.receive(), numbered(3, 60));
    introduce(&other, &a);
}

#[test]
fn a_guest_that_does_not_read_loses_its_own_frames() {
    let pair = Pair::start("");
    let (a, b) = pair.guests();
    let c = pair.sockets.at("c");
    pair.yard.ok(&format!("port add c --type dgram --bridge lan listen={}", c.display()));
    let c = pair.guest("c");
    c.send(&frame(BROADCAST, station(3)));
    assert_eq!((a.receive(), b.receive()), (frame(BROADCAST, station(3)), frame(BROADCAST, station(3))));
    pair.yard.wait_for_state("c", "up");
    let mut to_c = numbered(0, 60);
    to_c[..6].copy_from_slice(&station(3));
    for n in 0..20_000 {
        a.send(&numbered(n, 1000));
        if n % 100 == 0 {
            a.send(&to_c);
            assert_eq!(c.receive(), to_c);
        }
    }
    wait_until("drops", || pair.yard.drops("b", "queue-full") > 10_000);
    let left = 20_000 - pair.yard.drops("b", "queue-full");
    let mut last = None;
    for _ in 0..left {
        let n = number_of(&b.receive());
        assert!(last < Some(n), "{n} after {last:?}");
        last = Some(n);
    }
    a.send(&numbered(20_000, 60));
    assert_eq!(b.receive(), numbered(20_000, 60));
    pair.yard.assert_conserved();
}

#[test]
fn a_socket_left_behind_is_replaced_and_what_else_is_there_is_not() {
    let mut pair = Pair::start("");
    let _guests = pair.guests();
    pair.yard.kill();
    assert!(pair.sockets.at("a").exists());
    pair.yard.run();
    drop(_guests);
    let (a, b) = pair.guests();
    a.send(&numbered(1, 60));
    assert_eq!(b.receive(), numbered(1, 60));
    let add = |path: &Path| {
        pair.yard.refused(&format!("port add c --type dgram --bridge lan listen={}", path.display()))
    };
    assert!(add(&a.own).contains("another program listens"), "a living socket of datagrams");
    fs::write(pair.sockets.at("file"), "precious").unwrap();
    assert!(add(&pair.sockets.at("file")).contains("something else is there"));
    assert!(add(&pair.sockets.at("b")).contains("port b listens at"));
    assert!(pair.yard.end(libc::SIGTERM).success());
    assert!(!pair.sockets.at("a").exists() && !pair.sockets.at("b").exists());
}

#[test]
fn tcp_passes_between_kernels_whose_frames_are_datagrams() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let sockets = Sockets::new();
        let (left, right) = (sockets.at("left"), sockets.at("right"));
        let end = |host: &Host, n: u32, own: &Path, other: &Path| {
            let tap = tap("vm", host, &format!("address = [\"10.9.0.{n}/24\"]"));
            ["[bridge.lan]\n", &tap, &dgram("wire", own, Some(other), "")].concat()
        };
        let here = Yard::start(&end(&a, 1, &left, &right));
        let there = Yard::start(&end(&b, 2, &right, &left));
        here.wait_for_state("wire", "up");
        there.wait_for_state("wire", "up");
        wait_for_ping(&a, "10.9.0.2");
        ping(&a, "10.9.0.2", 1600, 5);
        tcp(&a, &b, "10.9.0.2", 8 << 20);
        tcp(&b, &a, "10.9.0.1", 8 << 20);
    });
}
