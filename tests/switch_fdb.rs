//! The FDB as frames see it: ageing, moves, limits, and that no worker's cache outlives a change of the table.

mod kit;

use std::time::Duration;

use kit::frames::{broadcast, mac, station, unicast};
use kit::{AGEING, Yard, on, port};
use tapyard::packet::{Offload, PortId};
use tapyard::switch::Port;
use tapyard::table::fdb::{Allowance, Fdb, Station};
use tapyard::wire::ethernet::Mac;

/// Three ports and two workers; station 2 is behind port 1, and both workers' caches know it.
fn warm() -> Yard {
    let mut yard = Yard::with(2, 8192, AGEING, [port(), port(), port()]);
    yard.send(1, &broadcast(2));
    for worker in [0, 1, 0, 1] {
        assert_eq!(yard.goes_by(worker, 0, &unicast(2, 1)), [1]);
    }
    yard
}

/// Both workers send a frame for station 2 from port 0 by `ports`.
#[track_caller]
fn both_reach(yard: &mut Yard, ports: &[u16]) {
    for worker in [1, 0, 1, 0] {
        assert_eq!(yard.goes_by(worker, 0, &unicast(2, 1)), ports, "worker {worker}");
    }
}

#[test]
fn a_station_that_moves_is_followed_at_once_by_all_workers() {
    let mut yard = warm();
    for (worker, to) in [(0, 2), (1, 1), (1, 2), (0, 1)] {
        yard.send_all(worker, to, &[(broadcast(2), Offload::NONE)]);
        both_reach(&mut yard, &[to]);
    }
    assert_eq!(yard.fdb(0).stats().moves, 4);
}

#[test]
fn a_flush_is_seen_by_all_workers() {
    let mut yard = warm();
    assert_eq!(yard.fdb(0).flush(|_, entry| entry.port == PortId(1)), 1);
    both_reach(&mut yard, &[1, 2]);
}

#[test]
fn a_purge_is_seen_by_all_workers() {
    let mut yard = warm();
    yard.fdb(0).purge(PortId(1));
    both_reach(&mut yard, &[1, 2]);
}

#[test]
fn pins_and_their_removal_are_seen_by_all_workers() {
    let mut yard = warm();
    yard.fdb(0).pin(station(2, 0), PortId(2));
    both_reach(&mut yard, &[2]);
    yard.send_all(1, 1, &[(broadcast(2), Offload::NONE)]);
    both_reach(&mut yard, &[2]);
    yard.fdb(0).pin(station(2, 0), PortId(1));
    both_reach(&mut yard, &[1]);
    yard.fdb(0).remove(station(2, 0));
    both_reach(&mut yard, &[1, 2]);
    yard.send_all(1, 2, &[(broadcast(2), Offload::NONE)]);
    both_reach(&mut yard, &[2]);
}

#[test]
fn an_expiry_is_seen_by_all_workers() {
    let mut yard = warm();
    yard.wait(AGEING * 9 / 8);
    both_reach(&mut yard, &[1, 2]);
}

#[test]
fn an_eviction_is_seen_by_all_workers() {
    let mut yard = Yard::with(2, 4, AGEING, [port(), port(), port()]);
    yard.send(1, &broadcast(2));
    for worker in [0, 1] {
        assert_eq!(yard.goes_by(worker, 0, &unicast(2, 1)), [1]);
    }
    (10..14).for_each(|n| drop(yard.send(1, &broadcast(n))));
    assert_eq!(yard.knows(station(2, 0)), None);
    both_reach(&mut yard, &[1, 2]);
}

#[test]
fn a_bridge_made_anew_in_the_same_slot_knows_nothing_of_the_old_one() {
    let mut yard = warm();
    yard.remake_bridge();
    both_reach(&mut yard, &[1, 2]);
}

#[test]
fn a_pin_is_not_forgotten_with_its_learned_neighbours() {
    let mut yard = warm();
    yard.fdb(0).pin(station(3, 0), PortId(2));
    yard.wait(AGEING * 2);
    yard.fdb(0).flush(|_, _| true);
    for worker in [0, 1] {
        assert_eq!(yard.goes_by(worker, 0, &unicast(3, 1)), [2]);
    }
}

#[test]
fn a_silent_station_is_forgotten_within_nine_eighths_of_the_ageing_time() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(1, &broadcast(2));
    yard.wait(AGEING - Duration::from_secs(1));
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
    yard.wait(AGEING / 8 + Duration::from_secs(1));
    assert_eq!(yard.knows(station(2, 0)), None);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1, 2]);
}

#[test]
fn a_station_heard_of_stays() {
    for ageing in [Duration::from_secs(1), Duration::from_secs(10), AGEING] {
        for workers in [1, 2] {
            let mut yard = Yard::with(workers, 8192, ageing, [port(), port(), port()]);
            for n in 0..100 {
                yard.send_all(n % workers, 1, &[(broadcast(2), Offload::NONE)]);
                yard.wait(ageing / 3);
                assert_eq!(yard.knows(station(2, 0)), Some(1), "{ageing:?}, {n}");
            }
        }
    }
}

#[test]
fn a_station_that_only_is_sent_to_is_forgotten() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(1, &broadcast(2));
    for _ in 0..60 {
        yard.send(0, &unicast(2, 1));
        yard.wait(AGEING / 50);
    }
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1, 2]);
}

#[test]
fn having_been_looked_up_is_not_having_been_heard() {
    let mut yard = Yard::with(2, 8192, AGEING, [port(), port()]);
    yard.send(1, &broadcast(2));
    yard.now = yard.now + Duration::from_millis(1);
    yard.goes_by(1, 0, &unicast(2, 1));
    yard.send_all(1, 1, &[(broadcast(2), Offload::NONE)]);
    assert_eq!(yard.fdb(0).lookup(station(2, 0)).map(|entry| entry.seen), Some(yard.now));
}

#[test]
fn an_ageing_time_of_zero_means_for_ever() {
    let mut yard = Yard::with(1, 8192, Duration::ZERO, [port(), port()]);
    yard.send(1, &broadcast(2));
    yard.wait(Duration::from_secs(10_000_000));
    assert_eq!(yard.knows(station(2, 0)), Some(1));
}

#[test]
fn a_jump_of_the_clock_does_not_take_a_station_that_speaks() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(1, &broadcast(2));
    yard.now = yard.now + Duration::from_secs(100_000);
    yard.send(1, &broadcast(2));
    yard.wait(Duration::ZERO);
    assert_eq!(yard.knows(station(2, 0)), Some(1));
}

#[test]
fn a_flood_of_sources_costs_who_floods() {
    let mut yard = Yard::with(1, 64, AGEING, [port(), port(), port()]);
    (100..120).for_each(|n| drop(yard.send(1, &broadcast(n))));
    (1000..2000).for_each(|n| drop(yard.send(0, &broadcast(n))));
    assert_eq!(yard.fdb(0).stats().learned, 64);
    assert!((100..120).all(|n| yard.knows(station(n, 0)) == Some(1)), "the victim's unicast stays unicast");
    assert_eq!(yard.fdb(0).held(PortId(0)), 44);
    for n in 100..120 {
        assert_eq!(yard.goes(2, &unicast(n, 7)), [1]);
    }
}

#[test]
fn of_a_flooding_ports_own_stations_the_active_ones_stay() {
    let mut yard = Yard::with(1, 64, AGEING, [port(), port()]);
    (0..5).for_each(|n| drop(yard.send(0, &broadcast(n))));
    for round in 0..20 {
        yard.wait(Duration::from_secs(6));
        (0..5).for_each(|n| drop(yard.send(0, &broadcast(n))));
        (0..40).for_each(|n| drop(yard.send(0, &broadcast(1000 + round * 40 + n))));
        assert!((0..5).all(|n| yard.knows(station(n, 0)) == Some(0)), "round {round}");
    }
}

#[test]
fn a_port_at_its_learn_limit_gives_up_its_own() {
    let narrow = Port { allowance: Allowance { limit: Some(3), quota: 0 }, ..port() };
    let mut yard = Yard::new([narrow, port()]);
    (100..110).for_each(|n| drop(yard.send(1, &broadcast(n))));
    (0..50).for_each(|n| drop(yard.send(0, &broadcast(n))));
    assert_eq!([0, 1].map(|port| yard.fdb(0).held(PortId(port))), [3, 10]);
    (100..110).for_each(|n| drop(yard.send(0, &broadcast(n))));
    assert_eq!(
        [0, 1].map(|port| yard.fdb(0).held(PortId(port))),
        [3, 0],
        "stations that move there count too"
    );
}

#[test]
fn a_port_that_may_learn_nothing_forwards_all_the_same() {
    let none = Port { allowance: Allowance { limit: Some(0), quota: 0 }, ..port() };
    let mut yard = Yard::new([none, port(), port()]);
    yard.send(1, &broadcast(2));
    for _ in 0..3 {
        assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
        assert_eq!(yard.goes(1, &unicast(1, 2)), [0, 2]);
        assert_eq!(yard.goes(0, &broadcast(2)), [1, 2], "nor does it attract another's station");
        assert_eq!(yard.goes(2, &unicast(2, 3)), [1]);
    }
}

#[test]
fn static_entries_fit_a_full_table() {
    let mut yard = Yard::with(1, 8, AGEING, [port(), port()]);
    (0..8).for_each(|n| drop(yard.send(0, &broadcast(n))));
    (100..120).for_each(|n| yard.fdb(0).pin(Station::new(mac(n), 0), PortId(1)));
    assert_eq!(yard.fdb(0).entries().len(), 28);
    (0..100).for_each(|n| drop(yard.send(0, &broadcast(n + 1000))));
    assert!((100..120).all(|n| yard.knows(station(n, 0)) == Some(1)));
    assert_eq!(yard.fdb(0).stats().learned, 8);
}

#[test]
fn more_stations_than_the_smallest_cache_holds_are_all_found() {
    let mut yard = Yard::with(1, 10_000, AGEING, [port(), port(), port()]);
    let frames = |from: u32| (from..from + 32).map(|n| (broadcast(n), Offload::NONE)).collect::<Vec<_>>();
    (0..8_000).step_by(32).for_each(|from| drop(yard.send_all(0, 1, &frames(from))));
    for round in 0..2 {
        for n in (0..8_000).step_by(61) {
            assert_eq!(yard.goes(0, &unicast(n, 9_000)), [1], "round {round}, station {n}");
        }
    }
}

#[test]
fn many_large_tables_age_in_time_though_little_is_looked_at_in_one_go() {
    let stations = 3 * Fdb::SHARE as u32;
    let mut yard = Yard::with(1, 8192, AGEING, (0..4).map(|bridge| on(bridge, port())));
    for (bridge, n) in (0..4).flat_map(|bridge| (0..stations).map(move |n| (bridge, n))) {
        yard.fdb(bridge).learn(
            Station::new(Mac::from_bits(0x0200_0000_0000 | u64::from(n)), 0),
            PortId(bridge as u16),
            Allowance::default(),
            yard.now,
        );
    }
    yard.wait(AGEING * 7 / 8);
    assert!((0..4).all(|bridge| yard.fdb(bridge).stats().learned == stations as usize));
    yard.wait(AGEING / 4);
    assert!((0..4).all(|bridge| yard.fdb(bridge).stats().learned == 0));
}
