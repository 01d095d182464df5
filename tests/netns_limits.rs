//! Limits: who floods pays, and nobody else.

mod common;

use std::time::Instant;

use common::frames::{BROADCAST, MULTICAST, frame, station, text};
use common::{Lan, as_root, wait_until};

/// The first address of those that a flooding station makes up.
const MADE_UP: u32 = 1000;
/// The address that it sends to.
const TARGET: [u8; 6] = station(500);

/// Sends `count` frames into `port`, each from another address. Gives the device time when it takes no more.
fn flood(lan: &Lan, port: &str, count: u32) {
    for n in 0..count {
        let frame = frame(TARGET, station(MADE_UP + n));
        while !lan.at(port).try_send(&frame) {
            std::thread::yield_now();
        }
        if n % 64 == 63 {
            lan.settle(); // a TAP's queue holds 500 frames: what it drops never reached the switch
        }
    }
    lan.settle();
    for port in ["a", "b", "c"] {
        lan.at(port).drain();
    }
}

#[test]
fn a_full_fdb_takes_from_the_port_that_holds_most() {
    as_root(|| {
        let lan = Lan::start("[bridge.lan]\nfdb-limit = 64\n", &[("a", ""), ("b", ""), ("c", "")]);
        let victims: Vec<_> = (1..=8).map(station).collect();
        for victim in &victims {
            lan.teach("b", *victim);
        }
        lan.teach("c", station(20));
        lan.teach("c", TARGET);
        flood(&lan, "a", 2000);

        let bridge = lan.yard.bridge("lan");
        assert_eq!((&bridge["fdb_entries"], &bridge["fdb_limit"]), (&64.into(), &64.into()), "{bridge}");
        assert_eq!(bridge["evictions"], 2000 + 10 - 64, "{bridge}");
        for victim in &victims {
            assert_eq!(lan.yard.behind(*victim).as_deref(), Some("b"), "{} was evicted", text(*victim));
            lan.check_flood("c", &frame(*victim, station(20)), &["b"]); // their unicast stays unicast
        }
        // A new station of a modest port still finds a place.
        lan.teach("b", station(9));
        lan.check_flood("c", &frame(station(9), station(20)), &["b"]);
    });
}

#[test]
fn static_entries_do_not_count() {
    as_root(|| {
        let lan = Lan::start("[bridge.lan]\nfdb-limit = 8\n", &[("a", ""), ("b", ""), ("c", "")]);
        let fixed: Vec<_> = (1..=20).map(|n| station(100 + n)).collect();
        for mac in &fixed {
            lan.yard.ok(&format!("fdb add {} b", text(*mac)));
        }
        flood(&lan, "a", 100);
        assert_eq!(lan.yard.learned().len(), 8);
        for mac in &fixed {
            assert_eq!(lan.yard.behind(*mac).as_deref(), Some("b"));
        }
    });
}

#[test]
fn a_port_learns_no_more_than_its_limit() {
    as_root(|| {
        let lan = Lan::start("", &[("a", "learn-limit = 8"), ("b", ""), ("c", "")]);
        lan.teach("b", station(7));
        flood(&lan, "a", 100);
        assert_eq!(lan.yard.port("a")["fdb_entries"], 8);
        // Its frames pass all the same.
        lan.check_flood("a", &frame(BROADCAST, station(5000)), &["b", "c"]);
        lan.check_flood("a", &frame(station(7), station(5001)), &["b"]);
        assert_eq!(lan.yard.port("a")["fdb_entries"], 8);
        assert_eq!(lan.yard.behind(station(7)).as_deref(), Some("b"));
    });
}

/// Sends more of one kind of frame than `storm` allows and asserts that it alone is cut down.
fn storm(key: &str, reason: &str, destination: [u8; 6], others: [[u8; 6]; 3]) {
    const RATE: u64 = 50;
    const SENT: u64 = 400;
    let lan = Lan::start("", &[("a", &format!("storm = {{ {key} = {RATE} }}")), ("b", ""), ("c", "")]);
    lan.teach("b", station(7));
    lan.settle();
    let began = Instant::now();
    for _ in 0..SENT {
        lan.at("a").send(&frame(destination, station(1)));
    }
    lan.settle();
    let dropped = lan.yard.drops("a", reason);
    let passed = lan.at("b").drain().len() as u64;
    // A bucket holds at most a second's worth and fills at the rate.
    let allowed = RATE * (began.elapsed().as_secs() + 2);
    assert!(
        (1..=allowed).contains(&passed),
        "{passed} of {SENT} passed at {RATE} a second ({allowed} at most)"
    );
    wait_until("the storm to be counted", || lan.yard.drops("a", reason) == SENT - passed);
    assert!(dropped > 0);
    lan.at("c").drain();

    for other in others {
        for _ in 0..100 {
            lan.at("a").send(&frame(other, station(1)));
        }
        for _ in 0..100 {
            assert_eq!(lan.at("b").receive(), frame(other, station(1)));
        }
    }
    for _ in 0..100 {
        lan.at("c").send(&frame(destination, station(2)));
    }
    for _ in 0..100 {
        assert_eq!(lan.at("b").receive(), frame(destination, station(2)), "c has no limit");
    }
    assert_eq!(lan.yard.drops("c", reason), 0);
}

#[test]
fn a_storm_of_broadcasts_is_cut() {
    as_root(|| storm("broadcast", "storm-broadcast", BROADCAST, [MULTICAST, station(99), station(7)]));
}

#[test]
fn a_storm_of_multicasts_is_cut() {
    as_root(|| storm("multicast", "storm-multicast", MULTICAST, [BROADCAST, station(99), station(7)]));
}

#[test]
fn a_storm_of_unknown_unicasts_is_cut() {
    as_root(|| storm("unknown", "storm-unknown", station(99), [BROADCAST, MULTICAST, station(7)]));
}
