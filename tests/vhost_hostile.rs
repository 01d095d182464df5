//! Front-ends and guests that do whatever they like at four ports, and what it is to the rest of the switch: nothing. Its
//! other guests hear one another, every frame is accounted for, what was taken of descriptors and memory is given back,
//! and who comes next to the same ports is served.

mod common;
mod vhost_kit;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::frames::{self, BROADCAST, station};
use common::{Yard, as_root, wait_until};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vhost_kit::bench::{A, B};
use vhost_kit::hostile::{Hostile, Step, conversation};
use vhost_kit::messages::*;
use vhost_kit::*;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const HOSTILE: [&str; 4] = ["bad1", "bad2", "bad3", "bad4"];

/// A switch with two guests that are as they should be, and places for others.
struct Stage {
    yard: Yard,
    sockets: Sockets,
    a: Guest,
    b: Guest,
    seed: usize,
}

impl Stage {
    fn new(workers: usize) -> Stage {
        let sockets = Sockets::new();
        let yard = Yard::start(&config(&sockets, workers, &HOSTILE));
        let a = Guest::attach(&sockets.path("good1"), Like::default());
        let b = Guest::attach(&sockets.path("good2"), Like::default());
        let mut stage = Stage { yard, sockets, a, b, seed: 0 };
        stage.exchange();
        stage
    }

    /// The two that are as they should be hear each other, whatever else they hear.
    fn exchange(&mut self) {
        self.seed += 1;
        let payload = self.seed.to_be_bytes().repeat(100);
        let to = if self.seed.is_multiple_of(2) { BROADCAST } else { B };
        hears(&mut self.a, &mut self.b, &frames::ether(to, A, frames::EXPERIMENT, &payload));
        hears(&mut self.b, &mut self.a, &frames::ether(A, B, frames::EXPERIMENT, &payload));
    }

    /// Who comes to a port next is served there.
    fn serves(&mut self, port: &str) {
        let mut guest =
            Guest::attach(&self.sockets.path(port), Like { buffers: 16, size: 64, ..Like::default() });
        let (frame, answer) = (frames::frame(BROADCAST, station(7)), frames::frame(station(7), A));
        hears(&mut guest, &mut self.a, &frame);
        hears(&mut self.a, &mut guest, &answer);
    }

    /// What the process has taken that a guest can have it take.
    fn holdings(&self) -> Holdings {
        let pid = self.yard.pid();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
        let of_files = maps.lines().filter(|line| line.contains("(deleted)")).count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let size =
            status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("every process has one");
        let kib: usize = size.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
        Holdings { descriptors, of_files, mib: kib >> 10 }
    }

    fn wait_for_holdings(&self, before: &Holdings) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !before.covers(&self.holdings()) {
            assert!(Instant::now() < deadline, "{:?} is left of {before:?}", self.holdings());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    /// Mappings of guests' memory.
    of_files: usize,
    /// All of its addresses, in MiB: those of a region that was cut off are no file's any more.
    mib: usize,
}

impl Holdings {
    fn covers(&self, other: &Holdings) -> bool {
        // What the allocator has taken for a thread stays; it takes it once for each.
        let some = 512;
        other.descriptors <= self.descriptors
            && other.of_files <= self.of_files
            && other.mib <= self.mib + some
    }
}

fn config(sockets: &Sockets, workers: usize, ports: &[&str]) -> String {
    let port = |name: &&str| {
        let path = sockets.path(name);
        format!("[port.{name}]\ntype = \"vhost-user\"\nbridge = \"lan\"\nlisten = \"{}\"\n", path.display())
    };
    let ports: String = ["good1", "good2"].iter().chain(ports).map(port).collect();
    format!("[bridge.lan]\n{ports}[switch]\nworkers = {workers}\n")
}

/// Sends the frame until it is heard: others may fill the guest's buffers for a while.
fn hears(from: &mut Guest, to: &mut Guest, frame: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        from.send(frame);
        let again = Instant::now() + Duration::from_millis(200);
        while Instant::now() < again {
            match to.try_receive(0) {
                Some(got) if got.frame == frame => return,
                Some(_) => {}
                None => thread::sleep(Duration::from_micros(200)),
            }
        }
        assert!(Instant::now() < deadline, "a frame between guests is lost over and over");
    }
}

/// Four conversations.
fn conversations() -> impl Strategy<Value = [Vec<Step>; 4]> {
    [conversation(), conversation(), conversation(), conversation()]
}

fn run_all(stage: &mut Stage, steps: &[Vec<Step>; 4]) -> Vec<Hostile> {
    let mut guests: Vec<_> = HOSTILE.map(|port| Hostile::connect(&stage.sockets.path(port))).into();
    thread::scope(|scope| {
        for (guest, steps) in guests.iter_mut().zip(steps) {
            scope.spawn(move || steps.iter().for_each(|step| guest.take(step)));
        }
        (0..4).for_each(|_| stage.exchange());
    });
    stage.exchange();
    guests
}

fn runner(cases: u32) -> TestRunner {
    // The switch is the same in all cases: what is wrong after one is wrong in those that would shrink it.
    TestRunner::new(Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() })
}

#[test]
fn whatever_guests_do_the_others_hear_one_another_and_nothing_is_lost_or_kept() {
    as_root(|| {
        let mut stage = Stage::new(2);
        HOSTILE.iter().for_each(|port| stage.serves(port));
        stage.yard.wait_for_state("bad4", "waiting");
        let before = stage.holdings();
        let stage = std::cell::RefCell::new(stage);
        let result = runner(32).run(&conversations(), |steps| {
            let stage = &mut *stage.borrow_mut();
            drop(run_all(stage, &steps));
            HOSTILE.iter().for_each(|port| stage.serves(port));
            stage.wait_for_holdings(&before);
            stage.yard.assert_conserved();
            Ok(())
        });
        result.unwrap();
    });
}

#[test]
fn ports_go_whatever_their_guests_are_in_the_middle_of() {
    as_root(|| {
        let stage = std::cell::RefCell::new(Stage::new(1));
        let result = runner(8).run(&conversations(), |steps| {
            let stage = &mut *stage.borrow_mut();
            let guests = run_all(stage, &steps);
            stage.yard.reload(&config(&stage.sockets, 1, &[]));
            stage.exchange();
            stage.yard.assert_conserved();
            stage.yard.reload(&config(&stage.sockets, 1, &HOSTILE));
            drop(guests);
            stage.serves(HOSTILE[0]);
            Ok(())
        });
        result.unwrap();
    });
}

/// A guest at `bad1` that is set up with these features.
fn hostile(stage: &Stage, features: u64) -> Hostile {
    let mut guest = Hostile::connect(&stage.sockets.path("bad1"));
    guest.take(&Step::SetUp { features: USUAL | features, pairs: 2 });
    stage.yard.wait_for_state("bad1", "up");
    guest
}

#[test]
fn chains_that_never_end_and_tables_in_tables_end_only_their_guest() {
    as_root(|| {
        let mut stage = Stage::new(1);
        for (ring, len, flags) in [(1, 60, 0), (3, 1, 0), (1, u32::MAX, 0)] {
            let mut guest = hostile(&stage, INDIRECT_DESC);
            guest.run_in_a_loop(ring, len, flags);
            stage.yard.wait_for_state("bad1", "waiting");
            stage.exchange();
        }
        let mut guest = hostile(&stage, INDIRECT_DESC);
        guest.nest(1);
        stage.yard.wait_for_state("bad1", "waiting");
        assert_eq!(stage.yard.drops("bad1", "bad-ring"), 4);
        stage.serves("bad1");
    });
}

#[test]
fn a_guest_that_claims_all_addresses_there_are_is_refused() {
    as_root(|| {
        let mut stage = Stage::new(1);
        let before = stage.holdings();
        let guest = Guest::new(Messages::connect(&stage.sockets.path("bad1")), Like::default());
        guest.negotiate();
        // Half of them, a quarter, and so on: no larger part would be left for anybody else.
        let file = vring_kit::memory_file(1 << 47);
        let mut said = 0;
        for (n, shift) in (12..47).rev().enumerate() {
            let at = 1 << (shift + 1);
            let region = [0, at, 1 << shift, at, 0].map(u64::to_ne_bytes).concat();
            said = n;
            if guest.messages.try_say(ADD_MEM_REG, &region, &[file.as_raw_fd()]).unwrap_or(1) != 0 {
                break;
            }
        }
        assert_eq!(said, 0, "the first is too much already");
        guest.messages.wait_for_end();
        stage.exchange();
        stage.serves("bad1");
        stage.wait_for_holdings(&before);
    });
}

#[test]
fn only_event_counters_kick_and_call() {
    as_root(|| {
        let mut stage = Stage::new(1);
        let (socket, _other) = UnixStream::pair().unwrap();
        let poll = mio::Poll::new().unwrap();
        let (_read, pipe) = std::io::pipe().unwrap();
        let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        for fd in [socket.as_raw_fd(), poll.as_raw_fd(), pipe.as_raw_fd(), null.as_raw_fd()] {
            for request in [SET_VRING_KICK, SET_VRING_CALL] {
                let guest = Guest::new(Messages::connect(&stage.sockets.path("bad1")), Like::default());
                guest.negotiate();
                guest.send_memory();
                assert_ne!(guest.messages.try_say(request, &u64_body(1), &[fd]).unwrap(), 0);
                guest.messages.wait_for_end();
            }
        }
        stage.serves("bad1");
    });
}

#[test]
fn guests_that_went_before_their_turn_keep_nobody_waiting() {
    as_root(|| {
        let mut stage = Stage::new(1);
        for port in ["bad1", "bad2"] {
            let path = stage.sockets.path(port);
            let first = UnixStream::connect(&path).unwrap();
            (0..100).for_each(|_| drop(UnixStream::connect(&path).unwrap()));
            drop(first);
            // At five in a second, its turn would come later than it waits.
            stage.serves(port);
        }
    });
}

/// Fills the queue of who listens at `path` and never accepts.
fn crowd(path: &Path) -> (UnixListener, Vec<UnixStream>) {
    let listener = UnixListener::bind(path).unwrap();
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&socket2::SockAddr::unix(path).unwrap()) {
            Ok(()) => waiting.push(UnixStream::from(std::os::fd::OwnedFd::from(socket))),
            Err(_) => return (listener, waiting),
        }
    }
}

#[test]
fn a_listener_that_never_accepts_holds_up_nobody() {
    as_root(|| {
        let mut stage = Stage::new(1);
        let path = stage.sockets.path("crowded");
        let crowd = crowd(&path);
        let base = config(&stage.sockets, 1, &HOSTILE);
        for kind in ["vhost-user", "stream"] {
            let listens = format!(
                "[port.more]\ntype = \"{kind}\"\nbridge = \"lan\"\nlisten = \"{}\"\n",
                path.display()
            );
            stage.yard.write_config(&format!("{listens}{base}"));
            let why = stage.yard.refused("reload");
            assert!(why.contains("listens"), "{why}");
            let connects = listens.replace("listen =", "connect =");
            stage.yard.reload(&format!("{connects}{base}"));
            // Long enough for it to have tried.
            wait_until("the port to be there", || stage.yard.find_port("more").is_some());
            stage.exchange();
            stage.yard.reload(&base);
        }
        drop(crowd);
    });
}

#[test]
fn a_guest_that_comes_and_goes_without_end_fills_no_log() {
    as_root(|| {
        let mut stage = Stage::new(1);
        let guest = Guest::attach(&stage.sockets.path("bad1"), Like::default());
        for _ in 0..2000 {
            guest.messages.say(NET_SET_MTU, &u64_body(9000), &[]);
            guest.messages.say(SET_VRING_ENABLE, &vring(1, 0), &[]);
            guest.messages.say(SET_VRING_ENABLE, &vring(1, 1), &[]);
        }
        guest.enable(1, true);
        stage.exchange();
        stage.yard.wait_for_state("bad1", "up");
        let lines = stage.yard.log().lines().filter(|line| line.contains("port bad1")).count();
        assert!(lines < 100, "{lines} lines");
        stage.serves("bad2");
    });
}

#[test]
fn a_counter_that_has_the_switch_wait_costs_its_guest_the_connection() {
    as_root(|| {
        let mut stage = Stage::new(1);
        let (one, other) = UnixStream::pair().unwrap();
        for _ in 0..3 {
            let mut guest = Guest::attach(&stage.sockets.path("bad1"), Like::default());
            stage.yard.wait_for_state("bad1", "up");
            // Both ends have the same descriptor, and either says whether it waits.
            for ring in &guest.rings {
                ring.call.write(u64::MAX - 1 - ring.call.read().unwrap_or(0)).expect("room for that");
                // As a file, by which more can be said of it.
                one.send_with_fd(&[0][..], ring.call.as_raw_fd()).expect("a socket");
                let (_, call) = other.recv_with_fd(&mut [0]).expect("a socket");
                let call = call.expect("what was sent");
                socket2::SockRef::from(&call).set_nonblocking(false).expect("a descriptor");
            }
            guest.send(&frames::frame(BROADCAST, station(7)));
            stage.exchange();
            guest.messages.wait_for_end();
            stage.yard.wait_for_state("bad1", "waiting");
        }
        assert!(
            stage
                .yard
                .log()
                .contains("port bad1: its guest is disconnected: its front-end has let an event counter")
        );
        stage.serves("bad1");
    });
}
