//! `stream` ports: guests at a socket of a byte stream, each frame with its length before it.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::frames::{BROADCAST, ether, frame, station};
use common::socket::{Guest, packed};
use common::{Yard, wait_until};

/// A directory for sockets, open to the unprivileged switch; gone with its value.
struct Sockets(PathBuf);

impl Sockets {
    fn new() -> Sockets {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tapyard-stream-{}-{n}", std::process::id()));
        fs::create_dir(&dir).expect("a new name");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).expect("it is ours");
        Sockets(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The table of a stream port on the bridge `lan`.
fn stream(name: &str, key: &str, path: &Path, more: &str) -> String {
    format!("[port.{name}]\ntype = \"stream\"\nbridge = \"lan\"\n{key} = \"{}\"\n{more}\n", path.display())
}

/// A switch with the ports `a` and `b`, each of which listens at a socket of its name.
struct Pair {
    yard: Yard,
    sockets: Sockets,
}

impl Pair {
    fn start(rest: &str) -> Pair {
        let sockets = Sockets::new();
        let yard = Yard::start_unprivileged(&Pair::config(&sockets, rest));
        Pair { yard, sockets }
    }

    fn config(sockets: &Sockets, rest: &str) -> String {
        let ports = ["a", "b"].map(|name| stream(name, "listen", &sockets.at(name), "mtu = 9000"));
        format!("[bridge.lan]\n{}{rest}", ports.concat())
    }

    fn guest(&self, port: &str) -> Guest {
        let guest = Guest::connect(&self.sockets.at(port));
        self.yard.wait_for_state(port, "up");
        guest
    }

    fn guests(&self) -> (Guest, Guest) {
        (self.guest("a"), self.guest("b"))
    }
}

/// Frame number `n` from `a` to `b`, `len` bytes long.
fn numbered(n: u32, len: usize) -> Vec<u8> {
    let mut frame = ether(station(2), station(1), 0x88b5, &n.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| (i as u32).wrapping_mul(n | 1) as u8));
    frame
}

#[test]
fn frames_pass_between_two_guests_without_any_privilege() {
    let pair = Pair::start("");
    assert_eq!(pair.yard.port("a")["state"], "waiting");
    let (mut a, mut b) = pair.guests();
    b.send(&frame(BROADCAST, station(2)));
    assert_eq!(a.receive(), frame(BROADCAST, station(2)));
    let lengths: Vec<usize> =
        [18, 19, 60, 61, 1499, 1500, 1513, 1514, 4096, 9000, 9014].into_iter().cycle().take(1100).collect();
    for (n, &len) in lengths.iter().enumerate() {
        a.send(&numbered(n as u32, len));
        assert_eq!(b.receive(), numbered(n as u32, len), "frame {n}");
    }
    assert_eq!(pair.yard.port_count("b", "tx_frames"), 1100);
    let privileges = fs::read_to_string(format!("/proc/{}/status", pair.yard.pid())).unwrap();
    assert!(privileges.contains("CapEff:\t0000000000000000"), "{privileges}");
    assert!(!privileges.contains("Uid:\t0\t"), "{privileges}");
}
