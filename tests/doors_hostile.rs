//! Peers at the doors of ports, and what happens to the doors themselves: none of it holds up the switch, its other guests
//! or whoever removes the port.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::frames::{BROADCAST, frame, station};
use common::socket::{Guest, Sockets};
use common::{Yard, wait_until};

const KINDS: [&str; 3] = ["stream", "vhost-user", "dgram"];

fn port(name: &str, kind: &str, path: &Path) -> String {
    format!("[port.{name}]\ntype = \"{kind}\"\nbridge = \"lan\"\nlisten = \"{}\"\n", path.display())
}

/// A switch with two guests that are as they should be, and ports that come and go.
struct Stage {
    yard: Yard,
    sockets: Sockets,
    base: String,
    a: Guest,
    b: Guest,
}

impl Stage {
    fn new() -> Stage {
        let sockets = Sockets::new();
        let base = format!(
            "{}{}[bridge.lan]\n",
            port("a", "stream", &sockets.at("a")),
            port("b", "stream", &sockets.at("b"))
        );
        let yard = Yard::start_unprivileged(&base);
        let (a, b) = (Guest::connect(&sockets.at("a")), Guest::connect(&sockets.at("b")));
        yard.wait_for_state("a", "up");
        yard.wait_for_state("b", "up");
        Stage { yard, sockets, base, a, b }
    }

    /// The switch has these ports besides.
    fn set(&self, ports: &str) {
        self.yard.reload(&format!("{ports}{}", self.base));
    }

    fn exchange(&mut self) {
        self.a.send(&frame(BROADCAST, station(1)));
        while self.b.receive() != frame(BROADCAST, station(1)) {}
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.yard.pid())).expect("it runs").count()
    }
}

/// Connects unless who listens has too many waiting already.
fn knock(path: &Path) -> Option<UnixStream> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    socket.connect(&socket2::SockAddr::unix(path).expect("a short path")).ok()?;
    Some(std::os::fd::OwnedFd::from(socket).into())
}

#[test]
fn who_connects_and_says_nothing_holds_up_nobody() {
    let mut stage = Stage::new();
    for kind in ["stream", "vhost-user"] {
        let path = stage.sockets.at("more");
        stage.set(&port("more", kind, &path));
        let silent: Vec<_> = (0..10).filter_map(|_| knock(&path)).collect();
        assert_eq!(silent.len(), 10);
        stage.exchange();
        stage.set("");
        assert!(!path.exists());
        stage.exchange();
    }
}

#[test]
fn thousands_who_come_and_go_keep_the_next_one_waiting_for_a_moment() {
    let mut stage = Stage::new();
    let path = stage.sockets.at("more");
    stage.set(&port("more", "stream", &path));
    let before = stage.descriptors();
    let first = knock(&path).expect("the port listens");
    (0..5000).for_each(|_| drop(knock(&path)));
    drop(first);
    let guest = Guest::connect(&path);
    guest.send(&frame(BROADCAST, station(3)));
    while stage.a.receive() != frame(BROADCAST, station(3)) {}
    drop(guest);
    stage.yard.wait_for_state("more", "waiting");
    wait_until("all descriptors to be closed", || stage.descriptors() <= before);
    stage.exchange();
}

#[test]
fn a_port_goes_while_peers_press_to_get_in() {
    let mut stage = Stage::new();
    for kind in KINDS {
        let path = stage.sockets.at("more");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let peer = knock(&path);
                        let datagram = UnixDatagram::unbound().expect("a socket");
                        let _ = datagram.set_nonblocking(true);
                        let _ = datagram.send_to(&frame(BROADCAST, station(3)), &path);
                        thread::sleep(Duration::from_micros(200));
                        drop(peer);
                    }
                });
            }
            for _ in 0..5 {
                stage.set(&port("more", kind, &path));
                stage.exchange();
                stage.set("");
                assert!(!path.exists(), "{kind}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_socket_that_was_replaced_is_not_ours_to_remove() {
    let mut stage = Stage::new();
    for kind in KINDS {
        let path = stage.sockets.at("more");
        let more = port("more", kind, &path);
        stage.set(&more);
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        stage.exchange();
        stage.set("");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "{kind}: it is still there");
        stage.yard.write_config(&format!("{more}{}", stage.base));
        let why = stage.yard.refused("reload");
        assert!(why.contains(&path.display().to_string()), "{why}");
        drop(UnixStream::connect(&path).unwrap());
        drop(other);
        fs::remove_file(&path).unwrap();
        stage.set(&more);
        stage.set("");
    }
}

#[test]
fn a_link_in_the_sockets_place_is_not_followed() {
    let mut stage = Stage::new();
    for kind in KINDS {
        let (path, file) = (stage.sockets.at("more"), stage.sockets.at("file"));
        fs::write(&file, "kept").unwrap();
        symlink(&file, &path).unwrap();
        stage.yard.write_config(&format!("{}{}", port("more", kind, &path), stage.base));
        stage.yard.refused("reload");
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        fs::remove_file(&path).unwrap();
        stage.exchange();
    }
}

#[test]
fn a_directory_that_goes_away_takes_only_the_way_in() {
    let mut stage = Stage::new();
    for kind in KINDS {
        let directory = stage.sockets.at("gone");
        let path = directory.join("more");
        let more = port("more", kind, &path);
        stage.set(&more);
        fs::remove_dir_all(&directory).unwrap();
        stage.exchange();
        stage.set("");
        // Made anew, directory and all.
        stage.set(&more);
        assert!(path.exists(), "{kind}");
        stage.set("");
        assert!(!path.exists(), "{kind}");
        fs::remove_dir_all(&directory).unwrap();
    }
    // The same under one that connects, whose peer's socket goes with it.
    for kind in KINDS {
        let directory = stage.sockets.at("gone");
        fs::create_dir(&directory).unwrap();
        let path = directory.join("peer");
        let own = stage.sockets.at("own");
        let mut connects = port("more", kind, &path).replace("listen", "connect");
        if kind == "dgram" {
            connects += &format!("listen = \"{}\"\n", own.display());
        }
        let (listener, _datagrams) = match kind {
            "dgram" => (None, Some(UnixDatagram::bind(&path).unwrap())),
            _ => (Some(UnixListener::bind(&path).unwrap()), None),
        };
        // Nobody may write to it but who runs the test; the switch is let in.
        let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
        fs::set_permissions(&path, open).unwrap();
        stage.set(&connects);
        let peer = listener.as_ref().map(|listener| listener.accept().unwrap());
        fs::remove_dir_all(&directory).unwrap();
        drop((peer, listener));
        stage.exchange();
        stage.set("");
    }
}
