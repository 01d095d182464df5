//! The FDB and a worker's cache of it: what a hit, a miss and learning cost by the number of stations, and what a flood
//! of new stations costs when the table is full.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::packet::{BridgeId, PortId};
use tapyard::table::fdb::{Allowance, Fdb, Generations, Station};
use tapyard::table::fdb_cache::{FdbCache, Hit};
use tapyard::time::Time;
use tapyard::wire::ethernet::Mac;

const BRIDGE: BridgeId = BridgeId(0);
/// Operations an iteration does.
const RUN: u64 = 4096;

fn station(n: u64) -> Station {
    Station::new(Mac::from_bits(0x0200_0000_0000 | n), 1)
}

/// Number `n` of a walk over 0..`count` whose neighbours in time are no neighbours in any table.
fn scattered(n: u64, count: u64) -> Station {
    station(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count)
}

fn filled(count: u64, limit: u32) -> (Fdb, FdbCache) {
    let generations = Generations::new();
    let fdb = Fdb::new(BRIDGE, limit, Duration::from_secs(300), generations.clone());
    for n in 0..count {
        fdb.learn(station(n), PortId((n % 4) as u16), Allowance::default(), Time::ZERO);
    }
    (fdb, FdbCache::new(generations))
}

fn cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb_cache");
    group.throughput(Throughput::Elements(RUN));
    for count in [1_000, 100_000, 1_000_000] {
        let (_fdb, mut cache) = filled(count, 4_000_000);
        for _ in 0..4 {
            for n in 0..count {
                let place = cache.place(BRIDGE, station(n));
                cache.fill(
                    &place,
                    Hit { at: PortId(1).into(), learned: true, fresh: 0 },
                    cache.generation(&place),
                );
            }
        }
        let mut at = 0;
        group.bench_function(BenchmarkId::new("hit", count), |b| {
            b.iter(|| {
                for n in at..at + RUN {
                    let place = cache.place(BRIDGE, scattered(n, count));
                    black_box(cache.get(&place));
                }
                at += RUN;
            });
        });
        group.bench_function(BenchmarkId::new("miss", count), |b| {
            b.iter(|| {
                for n in at..at + RUN {
                    let place = cache.place(BRIDGE, station(1 << 32 | n));
                    black_box(cache.get(&place));
                }
                at += RUN;
            });
        });
    }
    group.finish();
}

fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb");
    group.throughput(Throughput::Elements(RUN));
    for count in [1_000, 100_000, 1_000_000] {
        let (fdb, _) = filled(count, 4_000_000);
        let mut at = 0;
        let mut bench = |name: &str, work: &dyn Fn(u64)| {
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    (at..at + RUN).for_each(work);
                    at += RUN;
                });
            });
        };
        bench("hit", &|n| _ = black_box(fdb.lookup(scattered(n, count))));
        bench("miss", &|n| _ = black_box(fdb.lookup(station(1 << 32 | n))));
        bench("refresh", &|n| {
            let station = scattered(n, count);
            let home = PortId((station.mac().bits() % 4) as u16);
            black_box(fdb.learn(station, home, Allowance::default(), Time::from_secs(1)));
        });
        bench("move", &|n| {
            let port = PortId((n / count % 2) as u16 + 4);
            black_box(fdb.learn(station(n % count), port, Allowance::default(), Time::from_secs(2)));
        });
    }
    group.finish();
}

/// Every source is new, and the table full: each costs an eviction.
fn flood(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb_flood");
    group.throughput(Throughput::Elements(RUN));
    for (limit, ports) in [(8_192, 1), (8_192, 64), (1_000_000, 1)] {
        let (fdb, _) = filled(0, limit);
        for n in 0..u64::from(limit) {
            let port = PortId((n % ports) as u16);
            fdb.learn(station(n), port, Allowance::default(), Time::ZERO);
        }
        let mut at = 1 << 32;
        group.bench_function(BenchmarkId::new(format!("{ports}_ports"), limit), |b| {
            b.iter(|| {
                for n in at..at + RUN {
                    black_box(fdb.learn(station(n), PortId(0), Allowance::default(), Time::ZERO));
                }
                at += RUN;
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = cache, shared, flood
}
criterion_main!(benches);
