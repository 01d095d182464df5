//! The FDB by itself: its counts, its bounds and who pays, under use that is meant to break them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::table::fdb_cache::{FdbCache, Hit};

const AGEING: Duration = Duration::from_secs(300);
const FREE: Allowance = Allowance { limit: None, quota: 0 };

fn fdb(limit: u32, ageing: Duration) -> Fdb {
    Fdb::new(BridgeId(0), limit, ageing, Generations::new())
}

fn station(n: u64) -> Station {
    Station::new(Mac::from_bits(0x0200_0000_0000 | n), 1)
}

fn hear(fdb: &Fdb, stations: std::ops::Range<u64>, port: PortId, allowance: Allowance) {
    for n in stations {
        fdb.learn(station(n), port, allowance, Time::ZERO);
    }
}

/// The counts kept beside the map say what the map says.
#[track_caller]
fn consistent(fdb: &Fdb) {
    let entries = fdb.entries();
    let mut by_port = BTreeMap::new();
    for (_, entry) in entries.iter().filter(|(_, entry)| entry.kind == Kind::Learned) {
        *by_port.entry(entry.port).or_insert(0) += 1;
    }
    assert_eq!(fdb.stats().learned, by_port.values().sum::<usize>(), "{entries:?}");
    for port in (0..8).map(PortId) {
        assert_eq!(fdb.held(port), by_port.get(&port).copied().unwrap_or(0), "port {}: {entries:?}", port.0);
    }
    assert_eq!(fdb.generations.entries(), entries.len());
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_station_that_is_pinned_again_is_not_out_of_sight_for_a_moment() {
    let fdb = fdb(10, AGEING);
    fdb.learn(station(1), PortId(1), FREE, Time::ZERO);
    fdb.pin(station(1), PortId(0));
    consistent(&fdb);
    let mut cache = FdbCache::new(Arc::clone(&fdb.generations));
    let place = cache.place(BridgeId(0), station(1));
    let hit = Hit { at: PortId(0).into(), learned: false, fresh: 0 };
    let generation = cache.generation(&place);
    cache.fill(&place, hit, generation);
    fdb.pin(station(1), PortId(0));
    assert_eq!(cache.get(&place), Some(hit), "nothing has changed");
    fdb.pin(station(1), PortId(2));
    assert_eq!(cache.get(&place), None, "it is elsewhere");
    assert_eq!(fdb.lookup(station(1)).map(|entry| entry.port), Some(PortId(2)));
    consistent(&fdb);
}

#[test]
fn a_million_random_sources_leave_the_table_and_its_queues_bounded() {
    let fdb = fdb(8192, AGEING);
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for victim in 0..100 {
        fdb.learn(station(victim), PortId(1), FREE, Time::ZERO);
    }
    for n in 0..1_000_000 {
        let station = Station::new(Mac::from_bits(xorshift(&mut random) & !(1 << 40)), 1);
        fdb.learn(station, PortId(0), FREE, Time::from_nanos(n * 1000));
        if n % 100_000 == 0 {
            assert!(fdb.stats().learned <= 8192 && fdb.queued(PortId(0)) <= 8192);
        }
    }
    consistent(&fdb);
    assert_eq!(fdb.stats().learned, 8192);
    assert_eq!(fdb.held(PortId(1)), 100, "who floods pays");
    assert!(fdb.queued(PortId(0)) <= 8192 && fdb.queued(PortId(1)) == 100);
}

#[test]
fn a_station_that_flaps_a_hundred_thousand_times_leaves_short_queues() {
    let fdb = fdb(8192, Duration::ZERO);
    for n in 0..100_000u64 {
        fdb.learn(station(1), PortId((n % 2) as u16), FREE, Time::from_nanos(n));
        assert!(fdb.queued(PortId(0)) <= 80 && fdb.queued(PortId(1)) <= 80);
    }
    consistent(&fdb);
    assert_eq!((fdb.stats().moves, fdb.stats().flaps), (99_999, 19_999));
}

#[test]
fn three_ports_passing_a_population_round_leave_short_queues() {
    let fdb = fdb(8192, Duration::ZERO);
    for round in 0..60 {
        for n in 0..500 {
            fdb.learn(station(n), PortId(round % 3), FREE, Time::from_secs(u64::from(round)));
        }
        let queued = (0..3).map(|port| fdb.queued(PortId(port))).max();
        assert!(queued <= Some(2 * 500 + 65), "{queued:?}");
    }
    consistent(&fdb);
}

#[test]
fn threads_that_learn_move_pin_flush_and_age_leave_consistent_counts() {
    let fdb = fdb(256, Duration::from_millis(8));
    let clock = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fdb, clock) = (&fdb, &clock);
            scope.spawn(move || {
                let mut random = 0x1234_5678_9abc_def1 ^ thread << 32;
                for _ in 0..20_000 {
                    let now = Time::from_nanos(clock.fetch_add(1000, Ordering::Relaxed));
                    let dice = xorshift(&mut random);
                    let (station, port) = (station(dice >> 8 & 0x1ff), PortId((dice >> 20) as u16 % 4));
                    let limit = (port.0 == 3).then_some(20);
                    match dice % 256 {
                        0 => _ = fdb.flush(|_, entry| entry.port == port),
                        1 => fdb.purge(port),
                        2 => fdb.pin(station, port),
                        3..12 => _ = fdb.remove(station),
                        12..16 => _ = fdb.expire(now, &mut Fdb::SHARE.clone()),
                        _ => _ = fdb.learn(station, port, Allowance { limit, quota: 10 }, now),
                    }
                }
            });
        }
    });
    consistent(&fdb);
    assert!(fdb.stats().learned <= 256 && fdb.held(PortId(3)) <= 20);
}

#[test]
fn a_limit_that_is_lowered_takes_effect() {
    let fdb = fdb(100, AGEING);
    hear(&fdb, 0..100, PortId(0), FREE);
    fdb.configure(40, AGEING);
    hear(&fdb, 100..110, PortId(0), FREE);
    assert_eq!(fdb.stats().learned, 40, "the bridge's");
    let ten = Allowance { limit: Some(10), quota: 0 };
    hear(&fdb, 110..115, PortId(0), ten);
    assert_eq!(fdb.stats().learned, 10, "the port's");
    consistent(&fdb);
}

#[test]
fn a_limit_of_zero_holds() {
    let none = Allowance { limit: Some(0), quota: 0 };
    let table = fdb(10, AGEING);
    assert_eq!(table.learn(station(1), PortId(0), none, Time::ZERO), Learned::NoRoom);
    assert_eq!(table.learn(station(1), PortId(1), FREE, Time::ZERO), Learned::New);
    assert_eq!(
        table.learn(station(1), PortId(0), none, Time::ZERO),
        Learned::NoRoom,
        "nor does one move there"
    );
    assert_eq!(table.lookup(station(1)).map(|entry| entry.port), Some(PortId(1)));
    consistent(&table);

    let table = fdb(0, AGEING);
    assert_eq!(table.learn(station(1), PortId(0), FREE, Time::ZERO), Learned::NoRoom);
    consistent(&table);
}

#[test]
fn the_port_that_holds_most_beyond_its_quota_pays() {
    let fdb = fdb(100, AGEING);
    let trunk = Allowance { limit: None, quota: 80 };
    hear(&fdb, 0..80, PortId(7), trunk);
    hear(&fdb, 100..115, PortId(1), FREE);
    hear(&fdb, 200..205, PortId(2), FREE);
    let held = || [7, 1, 2].map(|port| fdb.held(PortId(port)));
    assert_eq!(held(), [80, 15, 5]);
    hear(&fdb, 300..305, PortId(2), FREE);
    assert_eq!(held(), [80, 10, 10], "who holds most loses until both hold the same");
    hear(&fdb, 400..500, PortId(2), FREE);
    assert_eq!(held(), [80, 10, 10], "of equals, who wants more pays");
    hear(&fdb, 500..600, PortId(1), FREE);
    assert_eq!(held(), [80, 10, 10]);
    hear(&fdb, 600..700, PortId(7), trunk);
    assert_eq!(held(), [87, 7, 6], "a trunk beyond its quota is as any other");
    consistent(&fdb);
}

#[test]
fn of_equals_within_their_quotas_the_author_pays() {
    let fdb = fdb(20, AGEING);
    let roomy = Allowance { limit: None, quota: 50 };
    for port in [1, 2].map(PortId) {
        let first = u64::from(port.0) * 100;
        hear(&fdb, first..first + 10, port, roomy);
    }
    hear(&fdb, 300..310, PortId(1), roomy);
    assert_eq!([1, 2].map(|port| fdb.held(PortId(port))), [10, 10]);
}

#[test]
fn of_equals_beyond_their_quotas_the_author_pays() {
    let fdb = fdb(40, AGEING);
    hear(&fdb, 0..25, PortId(7), Allowance { limit: None, quota: 10 });
    hear(&fdb, 100..115, PortId(1), FREE);
    hear(&fdb, 200..300, PortId(1), FREE);
    assert_eq!([7, 1].map(|port| fdb.held(PortId(port))), [25, 15]);
}

#[test]
fn a_quota_counts_for_a_port_whose_stations_all_came_from_another() {
    let fdb = fdb(20, AGEING);
    let trunk = Allowance { limit: None, quota: 20 };
    hear(&fdb, 0..15, PortId(1), FREE);
    hear(&fdb, 0..15, PortId(2), trunk);
    hear(&fdb, 100..200, PortId(1), FREE);
    assert_eq!([1, 2].map(|port| fdb.held(PortId(port))), [5, 15]);
}

#[test]
fn a_station_heard_of_gets_a_second_chance() {
    let fdb = fdb(100, AGEING);
    for n in 0..100 {
        fdb.learn(station(n), PortId(0), FREE, Time::ZERO);
    }
    for n in 0..8 {
        fdb.learn(station(n), PortId(0), FREE, Time::from_secs(5));
    }
    for n in 100..190 {
        fdb.learn(station(n), PortId(0), FREE, Time::from_secs(6));
    }
    assert!((0..8).all(|n| fdb.lookup(station(n)).is_some()), "those heard of stay");
    assert!((8..98).all(|n| fdb.lookup(station(n)).is_none()), "the oldest of the others went");
    consistent(&fdb);
}

#[test]
fn ageing_ends_an_entry_within_nine_eighths_of_its_time_however_many_there_are() {
    for count in [1, 4095, 4096, 20_000] {
        let fdb = fdb(100_000, AGEING);
        for n in 0..count {
            fdb.learn(station(n), PortId((n % 3) as u16), FREE, Time::from_nanos(n * 1_000_000));
        }
        let mut now = Time::from_nanos(count * 1_000_000);
        let last = now + AGEING * 9 / 8;
        while let Some(due) = fdb.expire(now, &mut Fdb::SHARE.clone()).filter(|&due| due <= last) {
            assert!(due > now);
            let expected = |e: &Entry| now.since(e.seen) <= AGEING * 9 / 8;
            assert!(fdb.entries().iter().all(|(_, entry)| expected(entry)), "{count} at {now:?}");
            now = due;
        }
        assert_eq!(fdb.entries().len(), 0, "{count}");
        consistent(&fdb);
    }
}

#[test]
fn an_ageing_time_of_any_size_has_a_refresh_period() {
    for ageing in [Duration::ZERO, Duration::from_nanos(1), AGEING, Duration::MAX] {
        let period = Fdb::refresh_period(ageing);
        assert!(period >= Duration::from_millis(1) && period <= Duration::from_secs(3600), "{ageing:?}");
    }
}

#[test]
fn purging_a_port_takes_all_it_has_and_nothing_else() {
    let fdb = fdb(100, AGEING);
    for n in 0..10 {
        fdb.learn(station(n), PortId((n % 2) as u16), FREE, Time::ZERO);
    }
    fdb.pin(station(50), PortId(0));
    fdb.pin(station(51), PortId(1));
    fdb.purge(PortId(0));
    assert!(fdb.entries().iter().all(|(_, entry)| entry.port == PortId(1)));
    assert_eq!((fdb.entries().len(), fdb.stats().learned, fdb.queued(PortId(0))), (6, 5, 0));
    consistent(&fdb);
}

#[test]
fn ageing_keeps_its_promise_when_the_table_fills_up_on_the_way() {
    let fdb = fdb(100_000, AGEING);
    fdb.learn(station(0), PortId(7), FREE, Time::ZERO);
    let (mut now, mut filled) = (Time::ZERO, false);
    while fdb.lookup(station(0)).is_some() {
        now = fdb.expire(now, &mut Fdb::SHARE.clone()).expect("something ages");
        assert!(now <= Time::ZERO + AGEING * 9 / 8);
        if !filled && now > Time::ZERO + AGEING * 15 / 16 {
            filled = true;
            for n in 1..50_000 {
                fdb.learn(station(n), PortId(0), FREE, now);
            }
        }
    }
    consistent(&fdb);
}

#[test]
fn ageing_looks_at_no_more_than_its_budget_in_one_go_and_others_go_on_soon() {
    let tables = [fdb(10_000, AGEING), fdb(10_000, AGEING)];
    tables.iter().for_each(|table| hear(table, 0..2000, PortId(0), FREE));
    let now = Time::ZERO + 2 * AGEING;
    let left = || tables.each_ref().map(|table| table.stats().learned);
    let mut budget = 100;
    assert!(tables.iter().all(|table| table.expire(now, &mut budget).is_some_and(|due| due > now)));
    assert_eq!((left(), budget), ([1900, 2000], 0));
    assert_eq!(tables[1].expire(now, &mut 0), Some(now + MIN_STEP));
    let mut budget = usize::MAX;
    tables[1].expire(now, &mut budget);
    assert_eq!((left(), budget), ([1900, 2000 - Fdb::SHARE], usize::MAX - Fdb::SHARE));
    tables.iter().for_each(consistent);
}

#[test]
fn a_victim_behind_very_many_void_places_is_found_at_the_next_attempt() {
    let table = fdb(10_000, AGEING);
    let limited = Allowance { limit: Some(2000), quota: 0 };
    hear(&table, 0..2000, PortId(0), limited);
    hear(&table, 0..900, PortId(1), FREE);
    hear(&table, 2000..2900, PortId(0), limited);
    assert_eq!((table.held(PortId(0)), table.queued(PortId(0))), (2000, 2900));
    let learn = |n| table.learn(station(n), PortId(0), limited, Time::ZERO);
    assert_eq!([learn(3000), learn(3000)], [Learned::NoRoom, Learned::New]);
    assert_eq!((table.held(PortId(0)), table.lookup(station(900)).is_none()), (2000, true));
    consistent(&table);
}

#[test]
fn a_queue_that_is_swept_while_it_is_used_keeps_its_order() {
    let table = fdb(100_000, AGEING);
    hear(&table, 0..3000, PortId(0), FREE);
    hear(&table, 0..2500, PortId(1), FREE);
    // The places of what moved away stand first. While they are swept out, entries come, go and age.
    let mut now = Time::ZERO;
    for n in 3000..4000 {
        now = Time::from_nanos((n - 3000) * 250_000_000);
        assert_eq!(table.learn(station(n), PortId(0), FREE, now), Learned::New);
        table.remove(station(n - 450));
        table.expire(now, &mut 3);
    }
    assert!(table.queued(PortId(0)) <= 2 * table.held(PortId(0)) + 64, "{}", table.queued(PortId(0)));
    consistent(&table);
    let full = Allowance { limit: Some(table.held(PortId(0)) as u32), quota: 0 };
    while table.learn(station(5000), PortId(0), full, now) == Learned::NoRoom {}
    assert_eq!(table.held(PortId(0)), full.limit.map_or(0, |limit| limit as usize), "one made room");
    consistent(&table);
}

#[test]
fn whoever_removes_much_lets_others_at_the_table_in_between() {
    let table = fdb(10_000, AGEING);
    let count = 10 * SLICE;
    hear(&table, 0..count as u64, PortId(0), FREE);
    let (asked, waiting, served) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while waiting.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            waiting.store(2, Ordering::Release);
            let left = table.stats().learned;
            served.store(1, Ordering::Release);
            assert!(left > 0 && left < count, "it had to wait for all of it: {left} are left");
        });
        let removed = table.flush(|_, _| {
            // From now on with the ledger locked: slowly, until the other one had its turn.
            if asked.fetch_add(1, Ordering::Relaxed) >= count && served.load(Ordering::Acquire) == 0 {
                _ = waiting.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
                while waiting.load(Ordering::Acquire) < 2 {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            true
        });
        assert_eq!(removed, count);
    });
    consistent(&table);
}

#[test]
fn a_large_table_has_small_shards() {
    assert_eq!([0, 8192, 1 << 20, u32::MAX].map(shards), [64, 64, 1024, 4096]);
    let table = Fdb::new(BridgeId(0), 1 << 17, AGEING, Generations::new());
    hear(&table, 0..1 << 17, PortId(0), FREE);
    // A shard is locked for as long as what it holds is looked at.
    let (mut first, mut locked) = (true, 0);
    table.visit(|_, _| {
        if std::mem::take(&mut first) {
            let is_locked = |n: &u64| table.map.try_get_mut(&station(*n)).is_locked();
            locked = (0..1 << 17).filter(is_locked).count();
        }
    });
    assert!((1..2 * SHARD as usize).contains(&locked), "{locked}");
}
