//! Those who watch, at their worst: many at once, dead or deaf, while ports come and go and frames pass. What they watch
//! goes on as if nobody did.

mod common;

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::capturing::statistics;
use common::frames::{BROADCAST, frame, station};
use common::socket::{Guest, Sockets, numbered};
use common::{PATIENCE, Yard, wait_until};
use serde_json::Value;
use tapyard::control::api::{CaptureQuery, FollowQuery, Request};
use tapyard::control::client::Client;
use tapyard::packet::Expression;
use tapyard::packet::pcapng::{Direction, Reader};

/// The most captures and traces at a time.
const MOST: usize = 16;

/// A switch with two workers and two guests on the bridge `lan`, who pass numbered frames to each other.
struct Stage {
    yard: Yard,
    sockets: Sockets,
    base: String,
    a: Guest,
    b: Guest,
    sent: u32,
}

fn port(name: &str, path: &Path) -> String {
    format!("[port.{name}]\ntype = \"stream\"\nbridge = \"lan\"\nlisten = \"{}\"\n", path.display())
}

impl Stage {
    fn new(rest: &str) -> Stage {
        let sockets = Sockets::new();
        let ports = [port("a", &sockets.at("a")), port("b", &sockets.at("b"))].concat();
        let base = format!("{ports}[bridge.lan]\n{rest}");
        let yard = Yard::start_unprivileged(&base);
        let (a, b) = (Guest::connect(&sockets.at("a")), Guest::connect(&sockets.at("b")));
        yard.wait_for_state("a", "up");
        yard.wait_for_state("b", "up");
        Stage { yard, sockets, base, a, b, sent: 0 }
    }

    /// Passes frames of `len` bytes from `a` to `b`, no more at a time than fit into a socket; none may be lost.
    fn pass(&mut self, frames: u32, len: usize) {
        for _ in 0..frames.div_ceil(16) {
            let batch: Vec<_> = (0..16).map(|n| numbered(self.sent + n, len)).collect();
            batch.iter().for_each(|frame| self.a.send(frame));
            for frame in &batch {
                // Others may speak, too.
                while self.b.receive() != *frame {}
            }
            self.sent += 16;
        }
    }

    fn stream(&self, request: &Request) -> Result<BufReader<UnixStream>, String> {
        let (_, stream) = Client::connect(&self.yard.control())?.stream::<Value>(request)?;
        stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        Ok(stream)
    }

    /// Has as many captures and traces begin as there may be, each time that of the next kind.
    fn fill(&self) -> Vec<BufReader<UnixStream>> {
        let mut there = Vec::new();
        wait_until("all captures and traces to be free", || {
            while there.len() < MOST {
                match self.stream(&kind(there.len())) {
                    Ok(stream) => there.push(stream),
                    Err(why) => {
                        assert!(why.contains("which is the most"), "{why}");
                        return false;
                    }
                }
            }
            true
        });
        there
    }

    fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.yard.pid())).expect("it runs").count()
    }
}

fn capture(target: &str) -> Request {
    Request::Capture(CaptureQuery {
        target: target.into(),
        filter: Expression::all(),
        snap_len: None,
        direction: None,
        segment: false,
    })
}

fn kind(n: usize) -> Request {
    match n % 4 {
        0 => capture("any"),
        1 => capture("drops"),
        2 => capture("port:a"),
        _ => Request::TraceFollow(FollowQuery { rate: Some(100), ..FollowQuery::default() }),
    }
}

#[test]
fn forty_who_die_at_once_or_never_read_disturb_nobody_and_leave_nothing() {
    let mut stage = Stage::new("[switch]\nworkers = 2\n");
    stage.pass(64, 1500);
    let threads = stage.threads();
    let mut deaf = Vec::new();
    for n in 0..40 {
        match stage.stream(&kind(n)) {
            // One of three never reads; the others are gone at once, one without having heard the answer.
            Ok(stream) if n % 3 == 0 => deaf.push(stream),
            Ok(stream) => drop(stream),
            Err(why) => assert!(why.contains("which is the most") && !why.contains('\n'), "{why}"),
        }
        let mut stream = UnixStream::connect(stage.yard.control()).expect("the switch runs");
        let line = [serde_json::to_vec(&kind(n)).expect("a request"), b"\n".to_vec()].concat();
        let _ = stream.write_all(&line[..if n % 2 == 0 { line.len() } else { 9 }]);
        drop(stream);
        stage.a.send(&frame([1, 0x80, 0xc2, 0, 0, 0], station(1))); // that is dropped
        stage.pass(16, 1500);
    }
    assert!(!deaf.is_empty());
    // More than they may have waiting for them.
    stage.pass(12_000, 1500);
    assert!(stage.yard.resident_kib() < 1 << 20, "{} KiB", stage.yard.resident_kib());
    drop(deaf);
    let all = stage.fill();
    let why = stage.stream(&capture("any")).expect_err("these are enough");
    assert_eq!(why, "16 captures and traces run, which is the most: end one of them");
    drop(all);
    wait_until("the threads of captures to end", || stage.threads() <= threads);
    stage.pass(64, 1500);
    stage.yard.assert_conserved();
}

#[test]
fn when_no_more_may_watch_others_are_answered_and_talkers_and_exports_go_on() {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("a port");
    collector.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
    let at = collector.local_addr().expect("it is bound");
    let mut stage = Stage::new("[switch]\nworkers = 2\n");
    let all = stage.fill();
    let export = format!(
        "[export.e]\nprotocol = \"sflow\"\ncollector = \"{at}\"\nagent = \"127.0.0.1\"\nsample = 1\n"
    );
    stage.yard.reload(&format!("{export}{}", stage.base));
    stage.pass(160, 500);
    collector.recv(&mut [0; 2048]).expect("samples come");
    let talkers = || {
        let mut client = Client::connect(&stage.yard.control()).expect("there is room");
        client.call::<Value>(&Request::Talkers {}).expect("talkers are counted")
    };
    talkers();
    drop(all);
    stage.yard.reload(&stage.base);
    stage.fill();
}

#[test]
fn a_stream_that_is_ended_gives_what_there_was() {
    let mut stage = Stage::new("");
    for end in ["half", "more"] {
        let mut stream = stage.stream(&capture("port:a")).expect("it begins");
        stage.pass(16, 100);
        match end {
            "half" => stream.get_ref().shutdown(Shutdown::Write).expect("it is connected"),
            _ => stream
                .get_mut()
                .write_all(&[b'x'; 100_000][..if end == "more" { 5000 } else { 0 }])
                .expect("it is read"),
        }
        let mut bytes = Vec::new();
        // What was said and not read resets the connection, after the rest has come or before.
        let ended = stream.read_to_end(&mut bytes);
        assert!(ended.is_ok() || end == "more", "{ended:?}");
        let packets = tapyard::packet::pcapng::file(&bytes).filter(|packet| packet.is_ok()).count();
        assert!(packets == 16 || end == "more", "{end}: {packets}");
    }
    stage.fill();
}

#[test]
fn what_a_slow_reader_missed_is_counted_to_the_end() {
    const FRAMES: u32 = 24_000;
    let mut stage = Stage::new("");
    let mut stream = stage.stream(&capture("any")).expect("it begins");
    let ending = stream.get_ref().try_clone().expect("a socket can be");
    let over = AtomicBool::new(false);
    let bytes = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut bytes, mut part) = (Vec::new(), vec![0; 1 << 16]);
            while !over.load(Ordering::Relaxed) {
                let read = stream.read(&mut part).expect("it goes on");
                bytes.extend_from_slice(&part[..read]);
                thread::sleep(Duration::from_millis(100));
            }
            stream.read_to_end(&mut bytes).expect("it comes to its end");
            bytes
        });
        // More than fits into all that is between.
        stage.pass(FRAMES, 1500);
        ending.shutdown(Shutdown::Write).expect("it is connected");
        over.store(true, Ordering::Relaxed);
        reader.join().expect("it has read all")
    });
    let told = statistics(&bytes);
    let [(a, received_a, missed_a), (b, received_b, missed_b)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&**a, &**b, *received_a, *received_b), ("a", "b", FRAMES.into(), FRAMES.into()), "{told:?}");
    let packets =
        tapyard::packet::pcapng::file(&bytes).inspect(|packet| assert!(packet.is_ok(), "{packet:?}")).count();
    let missed = missed_a + missed_b;
    assert_eq!(packets as u64 + missed, u64::from(2 * FRAMES), "{told:?}");
    assert!(missed > 0, "all were taken: {told:?}");
}

#[test]
fn ports_come_and_go_under_all_who_watch() {
    const ROUNDS: u32 = 12;
    let collector = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let at = collector.local_addr().expect("it is bound");
    let mut stage = Stage::new("[switch]\nworkers = 2\n");
    let mirror = "[mirror.m]\nbridge = \"lan\"\nto = \"mon\"\n";
    let mon = port("mon", &stage.sockets.at("mon")).replace("bridge = \"lan\"", "mirror = true");
    let export = format!("[export.e]\nprotocol = \"ipfix\"\ncollector = \"{at}\"\nsample = 2\n");
    let watched = format!("{mon}{mirror}{export}");
    stage.yard.reload(&format!("{watched}{}", stage.base));
    let _monitor = Guest::connect(&stage.sockets.at("mon"));
    let mut streams: Vec<_> = ["any", "lan", "drops"]
        .iter()
        .map(|target| stage.stream(&capture(target)).expect("it begins"))
        .collect();
    let mut follow = stage.stream(&kind(3)).expect("it begins");
    let over = AtomicBool::new(false);
    let control = stage.yard.control();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let talkers = Client::connect(&control)
                    .and_then(|mut client| client.call::<Value>(&Request::Talkers {}));
                talkers.expect("talkers are counted");
            }
        });
        for round in 0..ROUNDS {
            // Each takes the slot of the one before.
            let (name, path) = (format!("x{round}"), stage.sockets.at("x"));
            let more = if round % 3 == 2 { "" } else { watched.as_str() };
            stage.yard.reload(&format!("{}{more}{}", port(&name, &path), stage.base));
            let guest = Guest::connect(&path);
            let sent = frame(BROADCAST, station(100 + round));
            guest.send(&sent);
            while stage.b.receive() != sent {}
            stage.pass(32, 200);
            stage.yard.reload(&format!("{more}{}", stage.base));
            stage.pass(32, 200);
        }
        over.store(true, Ordering::Relaxed);
    });
    for stream in streams.iter().chain([&follow]) {
        stream.get_ref().shutdown(Shutdown::Write).expect("it is connected");
    }
    let mut walks = String::new();
    follow.read_to_string(&mut walks).expect("walks are text");
    assert!(walks.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && !walks.is_empty());
    for (stream, target) in streams.iter_mut().zip(["any", "lan", "drops"]) {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it comes to its end");
        let mut heard = 0;
        let (mut reader, mut rest) = (Reader::default(), &bytes[..]);
        while !rest.is_empty() {
            let len = reader.block_len(rest).expect("a block");
            let (block, after) = rest.split_at(len);
            rest = after;
            let Some(packet) = reader.block(block).expect("a block") else { continue };
            let name = reader.source(packet.interface).expect("it is known").name.clone();
            let from = (0..ROUNDS).find(|round| packet.bytes[6..12] == station(100 + round));
            if let (Some(round), Some(Direction::In)) = (from, packet.direction) {
                assert_eq!(name, format!("x{round}"), "{target}");
                heard += 1;
            }
        }
        assert_eq!(heard, if target == "drops" { 0 } else { ROUNDS }, "{target}");
    }
    stage.yard.assert_conserved();
}

#[test]
fn whatever_is_asked_over_http_is_answered_in_kind() {
    // Nobody else takes it before the switch does, most likely.
    let at = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let mut stage = Stage::new(&format!("[switch]\nmetrics = \"{at}\"\n"));
    let connect = || {
        let stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        stream
    };
    let say = |request: &[u8]| {
        let mut stream = connect();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    };
    let get = |target: &str| say(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    for target in [
        "/api/trace",
        "/api/trace?port=a",
        "/api/trace?port=a&frame=%",
        "/api/trace?port=a&frame=%zz%00%ff%fe",
        "/api/trace?port=%F0%9F&frame=0x",
        "/api/trace?port=a&frame=0x0",
        "/api/trace?port=a&frame=0xzz",
        "/api/trace?port=a&frame=eth/eth/eth",
        "/api/trace?port=a&frame=ip%20src%20999.1.1.1",
        "/api/trace?port=nowhere&frame=arp",
        "/api/trace?port=a&frame=arp&remote=x",
        "/api/trace?port=a&port=b&frame=",
        "/api/fdb?limit=-1",
        "/api/fdb?limit=99999999999999999999",
        "/api/",
        "/api/../metrics",
        "/%2e%2e/",
        "/api/trace%3fport=a",
        "//",
    ] {
        let answer = get(target);
        assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
        assert!(!answer.contains("panicked"), "{target}: {answer}");
    }
    let long = format!("/api/trace?port=a&frame={}", "a/".repeat(1000));
    assert!(get(&long).starts_with("HTTP/1.1 4"));
    for bytes in [
        &b"\xff\xfe\xfd\r\n\r\n"[..],
        b"GET /\x80\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET  HTTP\r\n\r\n",
    ] {
        assert!(say(bytes).starts_with("HTTP/1.1 4"), "{bytes:?}");
    }
    // A byte at a time, and then a thousand more who say nothing or little: those who ask get through.
    let mut slow = connect();
    let mut crowd = Vec::new();
    for n in 0..1000 {
        let mut stream = connect();
        let _ = stream.write_all(&b"GET / HTTP/1.1\r\nX: "[..n % 20]);
        if n % 4 == 0 {
            crowd.push(stream);
        }
        let _ = slow.write_all(b"G");
        if n % 100 == 0 {
            wait_until("one who asks to be answered", || get("/metrics").starts_with("HTTP/1.1 200 "));
            stage.pass(16, 500);
        }
    }
    assert!(stage.threads() < 150, "{} threads", stage.threads());
    drop((slow, crowd));
    wait_until("the page to come", || get("/").starts_with("HTTP/1.1 200 "));
    wait_until("the threads to end", || {
        thread::sleep(Duration::from_millis(50));
        stage.threads() < 30
    });
}
