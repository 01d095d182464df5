//! `stream` ports: guests at a socket of a byte stream, each frame with its length before it.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use common::frames::{BROADCAST, frame, station};
use common::socket::{Guest, Sockets, number_of, numbered, packed};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Yard, as_root, bounded, tap, wait_for, wait_until};

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
        let ports = ["a", "b"].map(|name| stream(name, "listen", &sockets.at(name), "mtu = 65521"));
        format!("[bridge.lan]\n{}{rest}", ports.concat())
    }

    fn guest(&self, port: &str) -> Guest {
        // The last one's leave has been taken note of.
        self.yard.wait_for_state(port, "waiting");
        let guest = Guest::connect(&self.sockets.at(port));
        self.yard.wait_for_state(port, "up");
        guest
    }

    /// Station 1 at `a` and station 2 at `b`, which the switch knows.
    fn guests(&self) -> (Guest, Guest) {
        let (mut a, b) = (self.guest("a"), self.guest("b"));
        introduce(&b, &mut a);
        (a, b)
    }
}

/// Has the switch learn station 2, and asserts that `a` hears it.
fn introduce(b: &Guest, a: &mut Guest) {
    b.send(&frame(BROADCAST, station(2)));
    assert_eq!(a.receive(), frame(BROADCAST, station(2)));
}

#[test]
fn frames_of_all_lengths_pass_in_order_without_any_privilege() {
    let pair = Pair::start("");
    assert_eq!(pair.yard.port("a")["state"], "waiting");
    assert_eq!(pair.yard.port("a")["device"], pair.sockets.at("a").to_str().unwrap());
    let (a, mut b) = pair.guests();
    let lengths = [18, 19, 60, 61, 1499, 1500, 1513, 1514, 4096, 9000, 65_534, 65_535];
    for (n, len) in lengths.into_iter().cycle().take(500).enumerate() {
        a.send(&numbered(n as u32, len));
        assert_eq!(b.receive(), numbered(n as u32, len), "frame {n}");
    }
    let shortest = &frame(station(2), station(1))[..14];
    a.send(shortest);
    assert_eq!(b.receive(), shortest);
    assert_eq!(pair.yard.port_count("b", "tx_frames"), 501);
    let privileges = fs::read_to_string(format!("/proc/{}/status", pair.yard.pid())).unwrap();
    assert!(privileges.contains("CapEff:\t0000000000000000"), "{privileges}");
    assert!(!privileges.contains("Uid:\t0\t"), "{privileges}");
}

#[test]
fn a_burst_comes_out_whole_and_in_order_at_any_number_of_workers() {
    for workers in [1, 3] {
        let pair = Pair::start(&format!("[switch]\nworkers = {workers}\n"));
        let (a, mut b) = pair.guests();
        for round in 0..20_u32 {
            // Fewer than any socket keeps.
            let burst: Vec<u8> =
                (0..60).flat_map(|n| packed(&numbered(round * 60 + n, 64 + n as usize))).collect();
            a.send_bytes(&burst);
            for n in 0..60 {
                assert_eq!(number_of(&b.receive()), round * 60 + n);
            }
        }
        pair.yard.assert_conserved();
    }
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let pair = Pair::start("");
    let (a, mut b) = pair.guests();
    let bytes = [packed(&numbered(1, 60)), packed(&numbered(2, 75))].concat();
    for cut in 1..bytes.len() {
        a.send_bytes(&bytes[..cut]);
        // The switch has read the one part before the other is sent, in most rounds.
        std::thread::sleep(Duration::from_millis(1));
        a.send_bytes(&bytes[cut..]);
        assert_eq!((b.receive(), b.receive()), (numbered(1, 60), numbered(2, 75)), "cut at {cut}");
    }
    for byte in bytes {
        a.send_bytes(&[byte]);
    }
    assert_eq!((b.receive(), b.receive()), (numbered(1, 60), numbered(2, 75)));
}

#[test]
fn what_is_too_short_for_a_frame_is_counted_and_the_stream_goes_on() {
    let pair = Pair::start("");
    let (a, mut b) = pair.guests();
    for len in 0..14 {
        a.send_bytes(&packed(&vec![0xff; len]));
    }
    a.send(&numbered(7, 60));
    assert_eq!(b.receive(), numbered(7, 60));
    assert_eq!(pair.yard.drops("a", "runt"), 14);
}

#[test]
fn a_length_that_no_frame_has_ends_the_connection_and_nothing_else() {
    let pair = Pair::start("");
    let (mut a, mut b) = pair.guests();
    for (n, len) in [65_598_u32, 0x0100_0000, u32::MAX].into_iter().enumerate() {
        a.send(&numbered(n as u32, 60));
        a.send_bytes(&len.to_be_bytes());
        a.wait_for_end();
        assert_eq!(b.receive(), numbered(n as u32, 60), "what came before is good");
        assert_eq!(pair.yard.drops("a", "oversized"), n as u64 + 1);
        a = pair.guest("a");
        introduce(&b, &mut a);
    }
    assert_eq!(pair.yard.log().lines().filter(|line| line.contains("hanging up")).count(), 3);
}

#[test]
fn a_connection_that_ends_within_a_frame_leaves_nothing_to_the_next() {
    let pair = Pair::start("");
    let (mut a, mut b) = pair.guests();
    let whole = packed(&numbered(1, 900));
    for cut in [1, 3, 4, 5, 17, 18, 19, 500, 903] {
        a.send(&numbered(2, 61));
        a.send_bytes(&whole[..cut]);
        a.finish();
        assert_eq!(b.receive(), numbered(2, 61), "cut at {cut}");
        pair.yard.wait_for_state("a", "waiting");
        a = pair.guest("a");
    }
    a.send(&numbered(3, 60));
    assert_eq!(b.receive(), numbered(3, 60));
}

#[test]
fn the_last_frames_of_a_guest_that_leaves_arrive() {
    let pair = Pair::start("");
    let (mut a, mut b) = pair.guests();
    for round in 0..20 {
        for n in 0..40 {
            a.send(&numbered(round * 40 + n, 700));
        }
        drop(a);
        for n in 0..40 {
            assert_eq!(number_of(&b.receive()), round * 40 + n);
        }
        a = pair.guest("a");
        introduce(&b, &mut a);
    }
}

#[test]
fn one_guest_at_a_time_and_the_next_waits_for_its_turn() {
    let pair = Pair::start("");
    let (first, mut b) = pair.guests();
    let mut second = Guest::connect(&pair.sockets.at("a"));
    second.send(&numbered(2, 60));
    first.send(&numbered(1, 60));
    assert_eq!(b.receive(), numbered(1, 60));
    b.send(&frame(BROADCAST, station(2)));
    drop(first);
    assert_eq!(b.receive(), numbered(2, 60), "what it sent while it waited");
    wait_until("the second guest to be heard of", || {
        b.send(&frame(BROADCAST, station(2)));
        second.receive_within(Duration::from_millis(100)).is_some()
    });
}

#[test]
fn nothing_is_sent_to_a_port_without_guest() {
    let pair = Pair::start("[[fdb]]\nbridge = \"lan\"\nmac = \"02:70:00:00:00:02\"\nport = \"b\"\n");
    let a = pair.guest("a");
    a.send(&numbered(1, 60));
    wait_until("the drop to be counted", || pair.yard.drops("b", "not-attached") == 1);
    a.send(&frame(BROADCAST, station(1)));
    wait_until("the flood to find nobody", || pair.yard.drops("a", "no-member") == 1);
    let mut b = pair.guest("b");
    a.send(&numbered(2, 60));
    assert_eq!(b.receive(), numbered(2, 60));
    drop(b);
    pair.yard.wait_for_state("b", "waiting");
    a.send(&numbered(3, 60));
    wait_until("the drop to be counted", || pair.yard.drops("b", "not-attached") == 2);
}

#[test]
fn what_was_learned_from_a_guest_is_forgotten_when_it_leaves() {
    let pair = Pair::start("");
    let (_a, b) = pair.guests();
    pair.yard.wait_until_learned(station(2), "b");
    drop(b);
    wait_until("station 2 to be forgotten", || pair.yard.learned().iter().all(|(_, _, port)| port != "b"));
}

#[test]
fn a_guest_that_does_not_read_loses_its_own_frames_and_gets_whole_ones_again() {
    const PATIENT: u32 = 40_000;
    let sockets = Sockets::new();
    let c = stream("c", "listen", &sockets.at("c"), "");
    let yard = Yard::start_unprivileged(&Pair::config(&sockets, &c));
    let pair = Pair { yard, sockets };
    let (mut a, mut b) = pair.guests();
    let mut c = pair.guest("c");
    c.send(&frame(BROADCAST, station(3)));
    assert_eq!((a.receive(), b.receive()), (frame(BROADCAST, station(3)), frame(BROADCAST, station(3))));

    let mut to_c = numbered(0, 60);
    to_c[..6].copy_from_slice(&station(3));
    let mut resident = 0;
    for n in 0..PATIENT {
        a.send(&numbered(n, 1000 + n as usize % 400));
        if n % 100 == 0 {
            a.send(&to_c);
            assert_eq!(c.receive(), to_c, "the other guest is served");
        }
        if n == PATIENT / 4 {
            resident = pair.yard.resident_kib();
        }
    }
    assert!(pair.yard.resident_kib() < resident + 4096, "memory grows");
    let dropped = wait_for("drops to be counted", || {
        Some(pair.yard.drops("b", "queue-full")).filter(|&dropped| dropped > u64::from(PATIENT) / 2)
    });
    assert_eq!(pair.yard.drops("c", "queue-full") + pair.yard.drops("a", "queue-full"), 0);
    // The frame that was begun is finished with nobody sending any more.
    let mut last = None;
    for _ in 0..u64::from(PATIENT) - dropped {
        let n = number_of(&b.receive());
        assert!(last < Some(n), "{n} after {last:?}");
        last = Some(n);
    }
    assert_eq!(b.receive_within(Duration::from_millis(50)), None);
    a.send(&numbered(PATIENT, 1514));
    assert_eq!(b.receive(), numbered(PATIENT, 1514));
    pair.yard.assert_conserved();
}

#[test]
fn the_switch_connects_and_comes_back_to_whoever_listens() {
    let sockets = Sockets::new();
    let config = format!(
        "[bridge.lan]\n{}{}",
        stream("a", "connect", &sockets.at("there"), ""),
        stream("b", "listen", &sockets.at("b"), "")
    );
    let mut yard = Yard::start_unprivileged(&config);
    let mut b = Guest::connect(&sockets.at("b"));
    assert_eq!(yard.port("a")["state"], "waiting");
    for round in 0..3 {
        let listener = UnixListener::bind(sockets.at("there")).unwrap();
        open_to_all(&sockets.at("there"));
        let mut a = Guest::accept(&listener);
        yard.wait_for_state("a", "up");
        yard.wait_for_state("b", "up");
        a.send(&numbered(round, 60));
        assert_eq!(b.receive(), numbered(round, 60));
        introduce(&b, &mut a);
        if round == 1 {
            // The guest stays and the switch crashes.
            yard.kill();
            yard.run();
            a = Guest::accept(&listener);
            b = Guest::connect(&sockets.at("b"));
            yard.wait_for_state("a", "up");
            yard.wait_for_state("b", "up");
            introduce(&b, &mut a);
        }
        drop((a, listener));
        fs::remove_file(sockets.at("there")).unwrap();
        yard.wait_for_state("a", "waiting");
    }
}

/// A guest of root lets the unprivileged switch in.
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn a_socket_left_behind_is_replaced_and_the_own_is_removed() {
    let mut pair = Pair::start("");
    let path = pair.sockets.at("a");
    let before = fs::metadata(&path).unwrap();
    assert!(before.file_type().is_socket());
    assert_eq!(before.mode() & 0o777, 0o660);
    let (a, b) = pair.guests();
    pair.yard.kill();
    a.wait_for_end();
    b.wait_for_end();
    assert!(path.exists(), "it had no time to remove it");
    pair.yard.run();
    let (a, mut b) = pair.guests();
    a.send(&numbered(1, 60));
    assert_eq!(b.receive(), numbered(1, 60));
    pair.yard.ok("port del a");
    a.wait_for_end();
    assert!(!path.exists());
    assert!(pair.yard.end(libc::SIGTERM).success());
    assert!(!pair.sockets.at("b").exists());
}

#[test]
fn what_is_in_the_way_is_left_alone_and_named() {
    let pair = Pair::start("");
    let taken = pair.sockets.at("taken");
    let _other = UnixListener::bind(&taken).unwrap();
    open_to_all(&taken);
    let file = pair.sockets.at("file");
    fs::write(&file, "precious").unwrap();
    let add = |path: &Path| {
        pair.yard.refused(&format!("port add c --type stream --bridge lan listen={}", path.display()))
    };
    assert!(add(&file).contains(&format!("{}: something else is there", file.display())));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(add(&taken).contains(&format!("{}: another program listens", taken.display())));
    assert!(add(&pair.sockets.at("a")).contains("port a listens at"));
    assert!(add(&pair.yard.control()).contains("is the control socket"));
    assert!(add(Path::new("relative.sock")).contains("from the root on"));
    assert!(pair.yard.find_port("c").is_none());
}

#[test]
fn a_restarted_switch_takes_the_guest_that_comes_back() {
    let mut pair = Pair::start("");
    for _ in 0..3 {
        let (mut a, mut b) = pair.guests();
        introduce(&b, &mut a);
        a.send(&numbered(1, 60));
        assert_eq!(b.receive(), numbered(1, 60));
        assert!(pair.yard.end(libc::SIGTERM).success());
        a.wait_for_end();
        pair.yard.run();
    }
}

#[test]
fn ports_come_go_and_change_under_traffic() {
    let pair = Pair::start("");
    let (a, mut b) = pair.guests();
    for n in 0..20 {
        let path = pair.sockets.at("c");
        pair.yard.ok(&format!("port add c --type stream --bridge lan listen={}", path.display()));
        let c = pair.guest("c");
        a.send(&numbered(n, 60));
        assert_eq!(b.receive(), numbered(n, 60));
        pair.yard.ok("port del c");
        c.wait_for_end();
    }
    pair.yard.ok("port set b vlan=10");
    pair.yard.ok("port set b vlan=");
    a.send(&numbered(99, 60));
    assert_eq!(b.receive(), numbered(99, 60));
}

#[test]
fn tcp_passes_between_kernels_whose_frames_go_through_streams() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let sockets = Sockets::new();
        let path = sockets.at("wire");
        let end = |host: &Host, n: u32, key: &str| {
            [
                "[bridge.lan]\n",
                &tap("vm", host, &format!("address = [\"10.9.0.{n}/24\"]")),
                &stream("wire", key, &path, ""),
            ]
            .concat()
        };
        let left = Yard::start(&end(&a, 1, "listen"));
        let right = Yard::start(&end(&b, 2, "connect"));
        left.wait_for_state("wire", "up");
        right.wait_for_state("wire", "up");
        wait_for_ping(&a, "10.9.0.2");
        ping(&a, "10.9.0.2", 1600, 5);
        tcp(&a, &b, "10.9.0.2", 32 << 20);
        tcp(&b, &a, "10.9.0.1", 32 << 20);
        let mean = |yard: &Yard| yard.port_count("wire", "rx_bytes") / yard.port_count("wire", "rx_frames");
        assert!(mean(&left).max(mean(&right)) > 1514, "segments are put together");
        assert!(left.port_count("wire", "tx_bytes") / left.port_count("wire", "tx_frames") <= 1514);
    });
}

#[test]
fn a_guest_that_is_killed_is_noticed() {
    let pair = Pair::start("");
    let (_a, b) = pair.guests();
    drop(b);
    let socat = |path: &Path| {
        let address = format!("UNIX-CONNECT:{}", path.display());
        bounded(1, "socat", &["-u", &address, "OPEN:/dev/null"])
    };
    // `timeout` ends it after a second.
    pair.yard.wait_for_state("b", "waiting");
    std::thread::scope(|scope| {
        let path = pair.sockets.at("b");
        scope.spawn(move || socat(&path));
        pair.yard.wait_for_state("b", "up");
    });
    pair.yard.wait_for_state("b", "waiting");
}

#[test]
fn an_idle_guest_costs_no_time() {
    let pair = Pair::start("");
    let (a, mut b) = pair.guests();
    a.send(&numbered(1, 60));
    assert_eq!(b.receive(), numbered(1, 60));
    let sleeps = |yard: &Yard| {
        let rows = yard.json("stats")["workers"].as_array().expect("a list").clone();
        rows.iter().map(|row| common::number(row, "wakeups")).sum::<u64>()
    };
    let before = sleeps(&pair.yard);
    std::thread::sleep(Duration::from_millis(500));
    // Each look wakes a worker once.
    assert!(sleeps(&pair.yard) - before < 10, "a worker is woken without need");
}

#[test]
fn a_socket_that_cannot_be_connected_to_is_told_once_and_found_when_it_can() {
    let sockets = Sockets::new();
    let path = sockets.at("c");
    let _other = UnixDatagram::bind(&path).unwrap();
    open_to_all(&path);
    let config = format!("[bridge.lan]\n{}", stream("c", "connect", &path, ""));
    let yard = Yard::start_unprivileged(&config);
    let told = || yard.log().lines().filter(|line| line.contains("cannot be connected to")).count();
    wait_until("it is told", || told() > 0);
    assert!(yard.log().contains(&format!("port c: {}: cannot be connected to: ", path.display())));

    let new = sockets.at("new");
    let listener = UnixListener::bind(&new).unwrap();
    open_to_all(&new);
    fs::rename(&new, &path).unwrap();
    let _guest = Guest::accept(&listener);
    yard.wait_for_state("c", "up");
    assert_eq!(told(), 1);
}
