//! Routes and rules: what a lookup of the most specific route costs by the number of prefixes, how long a table takes to
//! build, and what finding the rules that match a packet costs by the number of rules.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::table::classifier::Classifier;
use tapyard::table::lpm::{Lpm, Prefix};
use tapyard::wire::address::Address;

/// Lookups an iteration does.
const RUN: usize = 4096;
/// How many addresses, or packets, are asked for in turn where they are made beforehand.
const ADDRESSES: usize = 1 << 18;

/// Numbers that look random, and are the same each time (Steele's SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these lengths, each as often as its number says.
    fn length(&mut self, weights: &[(u8, u64)]) -> u8 {
        let mut at = self.below(weights.iter().map(|(_, weight)| weight).sum());
        for &(len, weight) in weights {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return len,
            }
        }
        unreachable!("a number below the sum of all weights is in one of them")
    }
}

/// About how often prefixes of each length are in the Internet's table, in thousandths, and some host routes.
const V4_LENGTHS: [(u8, u64); 17] = [
    (8, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 2),
    (15, 2),
    (16, 14),
    (17, 8),
    (18, 14),
    (19, 25),
    (20, 43),
    (21, 48),
    (22, 105),
    (23, 100),
    (24, 585),
    (28, 10),
    (32, 40),
];
const V6_LENGTHS: [(u8, u64); 12] = [
    (20, 1),
    (24, 4),
    (28, 10),
    (29, 30),
    (32, 120),
    (36, 40),
    (40, 80),
    (44, 80),
    (46, 30),
    (48, 450),
    (64, 105),
    (128, 50),
];

/// As many prefixes, no two the same, anywhere in the address space.
fn v4(count: usize, random: &mut Random) -> Vec<(Prefix, u32)> {
    distinct(count, random, |random| {
        Prefix::new(Address::v4(random.next() as u32), random.length(&V4_LENGTHS))
    })
}

/// As many prefixes of 2000::/3, no two the same: those of more than 32 bits are in one of `count / 8` networks, as
/// providers' customers are.
fn v6(count: usize, random: &mut Random) -> Vec<(Prefix, u32)> {
    let providers: Vec<u64> = (0..count / 8).map(|_| 0x2000 << 16 | random.below(1 << 29)).collect();
    distinct(count, random, |random| {
        let provider = providers[random.below(providers.len() as u64) as usize];
        let [high, low] = [provider << 32 | random.next() >> 32, random.next()];
        let bits = u128::from(high) << 64 | u128::from(low);
        Prefix::new(Address::from_bits(bits), random.length(&V6_LENGTHS))
    })
}

fn distinct(
    count: usize,
    random: &mut Random,
    mut one: impl FnMut(&mut Random) -> Prefix,
) -> Vec<(Prefix, u32)> {
    let mut prefixes = std::collections::HashSet::new();
    while prefixes.len() < count {
        prefixes.insert(one(random));
    }
    prefixes.into_iter().map(|prefix| (prefix, random.below(256) as u32)).collect()
}

fn lookups(c: &mut Criterion) {
    let random = &mut Random(1);
    for count in [1_000, 100_000, 1_000_000] {
        let routes = v4(count, random);
        let lpm = table(&routes);
        let mut state = Random(3);
        measure(c, "lpm_v4/random", count, || lpm.lookup(Address::v4(state.next() as u32)));
        let mut inside = inside(&routes, random).cycle();
        measure(c, "lpm_v4/routed", count, || lpm.lookup(inside.next()?));
    }
    for count in [1_000, 200_000] {
        let routes = v6(count, random);
        let lpm = table(&routes);
        let mut state = Random(4);
        measure(c, "lpm_v6/random", count, || {
            let bits = u128::from(1 << 61 | state.next() >> 3) << 64;
            lpm.lookup(Address::from_bits(bits))
        });
        let mut inside = inside(&routes, random).cycle();
        measure(c, "lpm_v6/routed", count, || lpm.lookup(inside.next()?));
    }
}

fn table(routes: &[(Prefix, u32)]) -> Lpm {
    let lpm = Lpm::build(routes.iter().copied());
    println!("{} prefixes take {} KiB", lpm.len(), lpm.bytes() / 1024);
    lpm
}

/// Addresses each of which is in one of the routes, all of which are as likely.
fn inside(routes: &[(Prefix, u32)], random: &mut Random) -> impl Iterator<Item = Address> + Clone {
    let address = |random: &mut Random| {
        let (prefix, _) = routes[random.below(routes.len() as u64) as usize];
        let noise = u128::from(random.next()) << 64 | u128::from(random.next());
        let hosts = prefix.network.bits() ^ prefix.last().bits();
        Address::from_bits(prefix.network.bits() | noise & hosts)
    };
    let addresses: Vec<_> = (0..ADDRESSES).map(|_| address(random)).collect();
    addresses.into_iter()
}

fn measure(c: &mut Criterion, name: &str, count: usize, mut one: impl FnMut() -> Option<u32>) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(RUN as u64));
    group.bench_function(BenchmarkId::from_parameter(count), |b| {
        b.iter(|| {
            for _ in 0..RUN {
                black_box(one());
            }
        });
    });
    group.finish();
}

fn building(c: &mut Criterion) {
    let mut group = c.benchmark_group("lpm_build");
    group.sample_size(10);
    let routes = v4(1_000_000, &mut Random(2));
    group.throughput(Throughput::Elements(routes.len() as u64));
    group.bench_function(BenchmarkId::new("v4", routes.len()), |b| {
        b.iter(|| black_box(Lpm::build(routes.iter().copied())));
    });
    group.finish();
}

/// Interface, source, destination, protocol, source port and destination port.
const FIELDS: usize = 6;
type Rule = [Vec<RangeInclusive<u128>>; FIELDS];

/// Rules as people write them: from a prefix or anywhere, to a prefix or a host, of a protocol, to a port or some.
fn rules(count: usize, random: &mut Random) -> Vec<Rule> {
    let prefix = |random: &mut Random, lengths: &[(u8, u64)]| {
        let prefix =
            Prefix::new(Address::v4(0x0a00_0000 | random.next() as u32 >> 8), random.length(lengths));
        vec![prefix.network.bits()..=prefix.last().bits()]
    };
    let one = |value: u64| vec![u128::from(value)..=u128::from(value)];
    let rule = |random: &mut Random| {
        let interface = if random.below(4) == 0 { one(random.below(8)) } else { vec![] };
        let source = if random.below(3) > 0 { prefix(random, &[(16, 1), (24, 4), (32, 2)]) } else { vec![] };
        let destination =
            if random.below(8) > 0 { prefix(random, &[(20, 1), (24, 2), (32, 4)]) } else { vec![] };
        let protocol = one([6, 6, 6, 17][random.below(4) as usize]);
        let low = random.below(1 << 15);
        let port = match random.below(8) {
            0 => vec![],
            1 => vec![u128::from(low)..=u128::from(low + random.below(1 << 15))],
            _ => one([22, 53, 80, 123, 443, 993, 5432, 8080, low][random.below(9) as usize]),
        };
        [interface, source, destination, protocol, vec![], port]
    };
    (0..count).map(|_| rule(random)).collect()
}

/// A packet that the rule matches, or one between any two stations.
fn packet(rule: &Rule, random: &mut Random) -> [u128; FIELDS] {
    let station = |random: &mut Random| Address::v4(0x0a00_0000 | random.next() as u32 >> 8).bits();
    let mut values = [station(random), station(random), station(random), 6, 0, 443];
    values[0] = random.below(8).into();
    values[4] = (49_152 + random.below(16_384)).into();
    if random.below(2) == 0 {
        for (value, range) in
            values.iter_mut().zip(rule).filter_map(|(value, ranges)| Some((value, ranges.first()?)))
        {
            *value = range.start() + u128::from(random.next()) % (range.end() - range.start() + 1);
        }
    }
    values
}

fn classifying(c: &mut Criterion) {
    let random = &mut Random(5);
    for count in [0, 10, 1_000, 10_000] {
        let rules = rules(count, random);
        let classifier = Classifier::new(&rules);
        println!("{count} rules take {} KiB", classifier.bytes() / 1024);
        let nothing = std::array::from_fn(|_| vec![]);
        let packets: Vec<_> = (0..1 << 14)
            .map(|n: usize| packet(rules.get(n * 7919 % count.max(1)).unwrap_or(&nothing), random))
            .collect();
        let mut next = packets.iter().cycle();
        measure(c, "classifier/first", count, || classifier.matches(next.next()?).next());
        measure(c, "classifier/second", count, || classifier.matches(next.next()?).nth(1));
    }
    // Ranges that contain each other, in each field in another order: the most that as many rules can take.
    let nested: Vec<Rule> = (0..10_000)
        .map(|n| {
            [1, 3, 7, 9, 11, 13].map(|step| n * step % 10_000).map(|depth| vec![depth..=100_000 - depth])
        })
        .collect();
    let classifier = Classifier::new(&nested);
    println!("10000 nested rules take {} KiB", classifier.bytes() / 1024);
    let packets: Vec<[u128; FIELDS]> =
        (0..1 << 14).map(|_| std::array::from_fn(|_| random.below(10_000).into())).collect();
    let mut next = packets.iter().cycle();
    measure(c, "classifier/nested_last", 10_000, || classifier.matches(next.next()?).last());
    let mut group = c.benchmark_group("classifier_build");
    group.sample_size(10);
    let rules = rules(10_000, random);
    group.bench_function("realistic/10000", |b| b.iter(|| black_box(Classifier::new(&rules))));
    group.bench_function("nested/10000", |b| b.iter(|| black_box(Classifier::new(&nested))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = lookups, building, classifying
}
criterion_main!(benches);
