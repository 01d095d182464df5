//! What happens to a guest's network card while frames are on their way: guests, rings and memory come and go, and
//! front-ends say what they should not.

mod common;
mod vhost_kit;

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use common::frames;
use common::{Yard, as_root, wait_until};
use vhost_kit::bench::*;
use vhost_kit::messages::*;
use vhost_kit::*;

/// Each of `from` sends to the other and is heard.
fn exchange(a: &mut Guest, b: &mut Guest) {
    for seed in 0..3 {
        a.send(&ramp(600, seed));
        assert!(b.receive().frame == ramp(600, seed));
        b.send(&frames::frame(A, B));
        assert_eq!(a.receive().frame, frames::frame(A, B));
    }
}

#[test]
fn a_guest_that_comes_back_is_served_again() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (a, mut b) = bench.pair(Like::default());
        drop(a);
        bench.yard.wait_for_state("vm1", "waiting");
        b.send(&frames::frame(A, B));
        b.wait_until_sent();
        let mut a = bench.guest("vm1", Like { features: USUAL | RING_PACKED, ..Like::default() });
        introduce(&bench.yard, &mut a, &mut b);
        exchange(&mut a, &mut b);
    });
}

#[test]
fn a_switch_that_comes_back_finds_the_guests_that_wait_for_it() {
    as_root(|| {
        let sockets = Sockets::new();
        let listen = |name: &str| UnixListener::bind(sockets.path(name)).expect("a new path");
        let (one, two) = (listen("vm1"), listen("vm2"));
        let port = |name: &str| {
            let path = sockets.path(name);
            format!(
                "[port.{name}]\ntype = \"vhost-user\"\nbridge = \"lan\"\nconnect = \"{}\"\n",
                path.display()
            )
        };
        let config = format!("[bridge.lan]\n{}{}", port("vm1"), port("vm2"));
        let mut yard = Yard::start(&config);
        for kill in [false, true] {
            let mut a = Guest::await_backend(&one, Like::default());
            let mut b = Guest::await_backend(&two, Like::default());
            yard.wait_for_state("vm1", "up");
            yard.wait_for_state("vm2", "up");
            introduce(&yard, &mut a, &mut b);
            exchange(&mut a, &mut b);
            match kill {
                true => yard.kill(),
                false => drop(yard.end(libc::SIGTERM)),
            }
            a.messages.wait_for_end();
            yard.run();
        }
    });
}

#[test]
fn a_ring_that_is_stopped_goes_on_where_it_stood() {
    as_root(|| {
        for features in [USUAL, USUAL | RING_PACKED, USUAL | EVENT_IDX] {
            let bench = Bench::new("", 1);
            let (mut a, mut b) = bench.pair(Like { features, size: 64, buffers: 32, ..Like::default() });
            let mut sent = 1;
            for round in 0..10 {
                for seed in 0..round {
                    a.send(&ramp(600, seed));
                    assert!(b.receive().frame == ramp(600, seed));
                    sent += 1;
                }
                a.wait_until_sent();
                let base = a.stop_ring(1);
                if features & RING_PACKED == 0 {
                    assert_eq!(base, sent, "as many as were sent");
                }
                bench.yard.wait_for_state("vm1", "waiting");
                a.start_ring(1, Some(base));
                bench.yard.wait_for_state("vm1", "up");
                let base = b.stop_ring(0);
                bench.yard.wait_for_state("vm2", "waiting");
                b.start_ring(0, Some(base));
                bench.yard.wait_for_state("vm2", "up");
            }
        }
    });
}

#[test]
fn a_stopped_ring_is_not_touched_any_more() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        let base = b.stop_ring(0);
        for seed in 0..40 {
            a.send(&ramp(600, seed));
        }
        a.wait_until_sent();
        assert_eq!(b.try_receive(0), None);
        wait_until("the drops", || {
            bench.yard.port_count("vm1", "drops") + bench.yard.port_count("vm2", "drops") == 40
        });
        assert_eq!(b.try_receive(0), None);
        b.start_ring(0, Some(base));
        bench.yard.wait_for_state("vm2", "up");
        exchange(&mut a, &mut b);
    });
}

#[test]
fn rings_are_switched_off_and_on() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        a.enable(1, false);
        for seed in 0..5 {
            a.send(&ramp(60, seed));
        }
        a.wait_until_sent();
        wait_until("the drops", || bench.yard.drops("vm1", "queue-off") == 5);
        assert_eq!(b.try_receive(0), None);
        a.enable(1, true);
        bench.yard.wait_for_state("vm1", "up");
        exchange(&mut a, &mut b);
    });
}

#[test]
fn rings_wait_until_they_are_switched_on() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let mut b = bench.guest("vm2", Like::default());
        let mut a = Guest::new(Messages::connect(&bench.sockets.path("vm1")), Like::default());
        a.negotiate();
        a.send_memory();
        a.start_ring(0, None);
        a.start_ring(1, None);
        a.send(&ramp(60, 1));
        assert_eq!(bench.yard.port("vm1")["state"], "waiting");
        a.enable(0, true);
        a.enable(1, true);
        assert!(b.receive().frame == ramp(60, 1), "it was left where it was");
    });
}

#[test]
fn memory_is_exchanged_while_frames_pass() {
    as_root(|| {
        for features in [USUAL, USUAL | RING_PACKED] {
            let bench = Bench::new("mtu = 9000", 1);
            let (mut a, mut b) = bench.pair(Like { features, ..Like::default() });
            for round in 0..30 {
                for seed in 0..4 {
                    a.queue(0, &[], &ramp(4000, seed));
                }
                a.kick(0);
                if round % 3 != 0 {
                    a.send_memory();
                }
                if round % 3 != 1 {
                    b.send_memory();
                }
                for seed in 0..4 {
                    assert!(b.receive().frame == ramp(4000, seed), "round {round}");
                }
            }
            exchange(&mut a, &mut b);
        }
    });
}

#[test]
fn memory_comes_and_goes_in_single_regions() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        assert!(a.messages.ask(GET_MAX_MEM_SLOTS, &[]) >= 8);
        let more = vring_kit::memory_file(1 << 20);
        let region = [0, GUEST - (1 << 30), 1 << 20, USER - (1 << 30), 0].map(u64::to_ne_bytes).concat();
        for _ in 0..3 {
            // QEMU says it once for each pair of queues.
            for _ in 0..2 {
                a.tell(ADD_MEM_REG, &region, &[more.as_raw_fd()]);
                exchange(&mut a, &mut b);
            }
            for _ in 0..2 {
                a.tell(REM_MEM_REG, &region, &[]);
                exchange(&mut a, &mut b);
            }
        }
    });
}

#[test]
fn a_guest_that_dies_while_it_sends_disturbs_nobody() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 2);
        let (a, mut b) = bench.pair(Like::default());
        drop(a);
        bench.yard.wait_for_state("vm1", "waiting");
        for round in 0..10 {
            let mut a = bench.guest("vm1", Like::default());
            for seed in 0..50 {
                a.queue(0, &[], &ramp(4000, seed));
            }
            a.kick(0);
            // With frames on their way, at another point of it each time.
            thread::sleep(Duration::from_micros(100 * round));
            drop(a);
            bench.yard.wait_for_state("vm1", "waiting");
            while b.try_receive(0).is_some() {}
        }
        let mut a = bench.guest("vm1", Like::default());
        introduce(&bench.yard, &mut a, &mut b);
        exchange(&mut a, &mut b);
    });
}

#[test]
fn messages_about_migration_are_refused_and_the_port_goes_on() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        let file = vring_kit::memory_file(4096);
        let fd = [file.as_raw_fd()];
        let log = [4096u64, 0].map(u64::to_ne_bytes).concat();
        assert_ne!(a.messages.try_say(SET_LOG_BASE, &log, &fd).unwrap(), 0);
        assert_ne!(a.messages.try_say(SET_LOG_FD, &[], &fd).unwrap(), 0);
        assert_ne!(a.messages.try_say(SEND_RARP, &u64_body(1), &[]).unwrap(), 0);
        assert_ne!(a.messages.try_say(POSTCOPY_ADVISE, &[], &[]).unwrap(), 0);
        // These always have an answer.
        a.messages.say(SET_DEVICE_STATE_FD, &vring(0, 0), &fd);
        assert_ne!(messages_number(&a, SET_DEVICE_STATE_FD) & 0xff, 0);
        assert_ne!(a.messages.ask(CHECK_DEVICE_STATE, &[]), 0);
        // What nobody knows yet, with and without the wish for an answer.
        assert_ne!(a.messages.try_say(999, &[7; 40], &fd).unwrap(), 0);
        a.messages.say(999, &[7; 40], &[]);
        exchange(&mut a, &mut b);
    });
}

fn messages_number(guest: &Guest, request: u32) -> u64 {
    let body = guest.messages.answer(request).expect("an answer");
    u64::from_ne_bytes(body.try_into().expect("eight bytes"))
}

#[test]
fn the_guests_mtu_is_noted() {
    as_root(|| {
        let bench = Bench::new("mtu = 1500", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        a.messages.tell(NET_SET_MTU, &u64_body(9000), &[]);
        assert!(bench.yard.log().contains("port vm1: the guest's MTU is 9000 and the port's 1500"));
        a.messages.tell(NET_SET_MTU, &u64_body(1500), &[]);
        exchange(&mut a, &mut b);
    });
}

#[test]
fn a_guest_that_lies_loses_its_port_and_may_come_again() {
    as_root(|| {
        for (features, size) in [(USUAL, 256), (USUAL | RING_PACKED, 256)] {
            let bench = Bench::new("", 1);
            let like = Like { features, size, ..Like::default() };
            let (mut a, mut b) = bench.pair(like);
            a.rings[1].driver.offer_raw(&[(0xdead_0000, 60, 0)]);
            a.kick(0);
            a.messages.wait_for_end();
            bench.yard.wait_for_state("vm1", "waiting");
            wait_until("the log", || {
                let log = bench.yard.log();
                log.contains("port vm1: its guest is disconnected: its driver gave a buffer that is not in the guest's memory")
            });
            assert_eq!(bench.yard.drops("vm1", "bad-ring"), 1);
            assert_eq!(bench.yard.port("vm2")["state"], "up");
            let mut a = bench.guest("vm1", like);
            introduce(&bench.yard, &mut a, &mut b);
            // The same where it receives.
            a.rings[0].driver.offer_raw(&[(0xdead_0000, 60, vring_kit::WRITE)]);
            a.rings[0].driver.show();
            wait_until("it to be found", || {
                b.send(&frames::frame(A, B));
                bench.yard.drops("vm1", "bad-ring") == 2
            });
            a.messages.wait_for_end();
        }
    });
}

#[test]
fn a_guest_that_comes_and_goes_as_fast_as_it_can_changes_the_switch_now_and_then_only() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (a, _b) = bench.pair(Like::default());
        let notes = || bench.yard.log().matches("port vm1: a guest is attached").count();
        let (since, before) = (Instant::now(), notes());
        for _ in 0..300 {
            a.enable(1, false);
            a.enable(1, true);
        }
        a.enable(1, false);
        bench.yard.wait_for_state("vm1", "waiting");
        let most = since.elapsed().as_millis() / 50 + 2;
        assert!(((notes() - before) as u128) < most, "{} in at most {most}", notes() - before);
        a.enable(1, true);
        bench.yard.wait_for_state("vm1", "up");
    });
}

#[test]
fn memory_that_is_cut_off_costs_the_guest_its_port() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (a, mut b) = bench.pair(Like::default());
        a.file.set_len(0).expect("it is ours");
        // The worker looks into the ring when it is woken.
        a.rings[1].kick.write(1).expect("a counter that is not full");
        wait_until("it to be found", || {
            b.send(&frames::frame(A, B));
            bench
                .yard
                .log()
                .contains("port vm1: its guest is disconnected: the file behind its memory was cut off")
        });
        a.messages.wait_for_end();
        std::mem::forget(a.rings); // nothing of it may be touched any more
        drop(bench.guest("vm1", Like::default()));
    });
}

#[test]
fn a_front_end_that_errs_is_told_and_may_come_again() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let path = bench.sockets.path("vm1");
        let new = || {
            let guest = Guest::new(Messages::connect(&path), Like::default());
            guest.negotiate();
            guest
        };
        let refused = |guest: Guest, request, body: &[u8], fds: &[i32]| {
            assert_ne!(guest.messages.try_say(request, body, fds).unwrap(), 0, "request {request}");
            guest.messages.wait_for_end();
        };
        refused(new(), SET_FEATURES, &u64_body(1 << 26), &[]);
        refused(new(), SET_VRING_NUM, &vring(500, 256), &[]);
        let (_end, pipe) = UnixStream::pair().unwrap();
        refused(new(), SET_VRING_CALL, &u64_body(0), &[pipe.as_raw_fd()]);
        let file = vring_kit::memory_file(4096);
        refused(new(), SET_VRING_KICK, &u64_body(1), &[file.as_raw_fd()]);
        let region = [GUEST, 1 << 20, USER, 0].map(u64::to_ne_bytes).concat();
        let table = [&1u32.to_ne_bytes()[..], &[0; 4], &region].concat();
        refused(new(), SET_MEM_TABLE, &table, &[file.as_raw_fd()]);
        // A ring that is nowhere.
        let guest = new();
        guest.send_memory();
        let event = guest.rings[0].kick.as_raw_fd();
        refused(guest, SET_VRING_KICK, &u64_body(0), &[event]);
        // What is no message at all.
        let messages = Messages::connect(&path);
        messages.send_raw(&[0xff; 64], &[]).unwrap();
        messages.wait_for_end();
        let (mut a, mut b) = bench.pair(Like::default());
        exchange(&mut a, &mut b);
    });
}

#[test]
fn a_guest_that_never_kicks_is_looked_after() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        a.stop_ring(1);
        let base = a.rings[1].driver.offered() as u32;
        a.start_ring(1, Some(base));
        // Bit 8: no descriptor comes.
        a.tell(SET_VRING_KICK, &u64_body(0x101), &[]);
        for seed in 0..5 {
            thread::sleep(Duration::from_millis(20));
            a.queue(0, &[], &ramp(60, seed));
            a.rings[1].driver.show();
            assert!(b.receive().frame == ramp(60, seed));
            b.send(&frames::frame(A, B));
            assert_eq!(a.receive().frame, frames::frame(A, B));
        }
    });
}

#[test]
fn removing_the_port_ends_the_connection() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (a, b) = bench.pair(Like::default());
        bench.yard.ok("port del vm1");
        a.messages.wait_for_end();
        assert!(!bench.sockets.path("vm1").exists());
        drop(b);
    });
}
