//! Connection tracking alone, one core: what new NAT sessions cost, their end included; what a lookup costs by the number
//! of sessions; what a session weighs; and the longest that anybody is held up. Plain figures, not criterion's: a
//! table of a million sessions is filled once, and a longest pause is no mean.

#![allow(unsafe_code)] // an allocator that counts cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tapyard::packet::Tuple;
use tapyard::table::conntrack::{Conntrack, Direction, Limits, Opening, Session, SourceNat, TcpSegment};
use tapyard::time::Time;
use tapyard::wire::address::Address;
use tapyard::wire::tcp::{ACK, FIN, SYN};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator; what is asked of it is only counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TCP: u8 = 6;
const UDP: u8 = 17;
const MANY: u64 = 1_000_000;
/// Addresses that NAT has.
const OUTSIDE: u128 = 64;

/// Flow `n` of those of `hosts` hosts, each from a port of its own, which hosts today choose at random (RFC 6056).
fn flow(n: u64, hosts: u64, v6: bool, protocol: u8) -> Tuple {
    let address = |high: u32, low: u64| match v6 {
        true => Address::from_bits(u128::from(high) << 96 | u128::from(low)),
        false => Address::v4(high | low as u32),
    };
    let inside = if v6 { 0xfd00_0000 } else { 0x0a00_0000 };
    let outside = if v6 { 0x2001_0db8 } else { 0x2d00_0000 };
    Tuple {
        source: address(inside, n % hosts + 1),
        destination: address(outside, n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44),
        source_port: (1024 + (n / hosts * 40_503 + n % hosts * 7919) % 64_000) as u16,
        destination_port: 443,
        protocol,
    }
}

fn limits(sessions: u64) -> Limits {
    Limits { sessions: sessions as usize, ..Limits::default() }
}

fn open(table: &Conntrack, original: Tuple, segment: Option<TcpSegment>, now: Time) -> Arc<Session> {
    let first = match original.source.is_v4() {
        true => Address::v4(0xc633_6400),
        false => Address::from_bits(0x2001_0db8_ffff << 80),
    };
    let addresses = [first..=Address::from_bits(first.bits() + OUTSIDE - 1)];
    let source = SourceNat {
        addresses: &addresses,
        ports: 1024..=65535,
        keep_port: false,
        reserved: &|endpoint, _| endpoint.port == 8080,
    };
    let opening = Opening { original, destination: None, source: Some(source), rule: 1, tcp: segment };
    table.open(opening, now).expect("there is room, and there are ports")
}

/// What this thread has had of a processor: on a machine with other work, the time on the wall is that of the others.
fn spent() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives over the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long each of many calls took.
#[derive(Default)]
struct Pauses(Vec<Duration>);

impl Pauses {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = spent();
        let done = work();
        self.0.push(spent() - start);
        done
    }

    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize];
        let (most, longest) = (at(0.999), at(1.0));
        println!("{what}: {} calls, 99.9 % within {most:.1?}, longest {longest:.1?}", self.0.len());
    }
}

fn rate(what: &str, count: u64, work: impl FnOnce()) {
    let (wall, start) = (Instant::now(), spent());
    work();
    let each = (spent() - start).as_nanos() as f64 / count as f64;
    let wall = wall.elapsed().as_nanos() as f64 / count as f64;
    println!("{what}: {:.0} a second of one core, {each:.0} ns each ({wall:.0} ns on the wall)", 1e9 / each);
}

/// UDP flows that nobody answers, each of which ends two minutes later while others begin.
fn sessions_a_second(live: u64, count: u64) {
    let table = Conntrack::new(limits(live * 2), 1);
    let each_second = live / 121;
    let mut next = 0;
    let mut second = |second: u64| {
        let now = Time::from_secs(second);
        while table.expire(now) == Some(now) {}
        for _ in 0..each_second {
            black_box(open(&table, flow(next, 1000, false, UDP), None, now));
            next += 1;
        }
    };
    (1..=122).for_each(&mut second);
    let seconds = count / each_second;
    rate(&format!("new NAT sessions, {live} live, ends included"), seconds * each_second, || {
        (123..123 + seconds).for_each(&mut second);
    });
    println!("    {:?}", table.stats());
}

/// TCP connections from SYN to the last FIN, five packets each.
fn connections_a_second(count: u64) {
    let table = Conntrack::new(limits(100_000), 1);
    let segment = |flags: u8, sequence: u32, ack: u32| {
        Some(TcpSegment { flags, sequence, ack, window: 1000, len: 0, window_scale: None })
    };
    rate("TCP connections, opened and closed", count, || {
        for n in 0..count {
            let now = Time::from_nanos(n * 1_000_000);
            let session = open(&table, flow(n, 1000, false, TCP), segment(SYN, 99, 0), now);
            for (direction, segment) in [
                (Direction::Reply, segment(SYN | ACK, 499, 100)),
                (Direction::Original, segment(ACK, 100, 500)),
                (Direction::Original, segment(FIN | ACK, 100, 500)),
                (Direction::Reply, segment(FIN | ACK, 500, 101)),
            ] {
                session.packet(direction, now, segment).expect("they go together");
            }
            if n % 1000 == 0 {
                while table.expire(now) == Some(now) {}
            }
        }
    });
    println!("    {:?}", table.stats());
}

fn lookups_a_second(live: u64) {
    let table = Conntrack::new(limits(live), 1);
    let now = Time::from_secs(1);
    let sessions: Vec<_> = (0..live).map(|n| open(&table, flow(n, 1000, false, UDP), None, now)).collect();
    let mut shuffled: Vec<Tuple> = Vec::new();
    for n in 0..MANY {
        let session = &sessions[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) as usize % sessions.len()];
        shuffled.push(if n % 2 == 0 { *session.original() } else { *session.reply() });
    }
    rate(&format!("lookups, {live} live"), MANY, || {
        for tuple in &shuffled {
            assert!(black_box(table.lookup(tuple, now)).is_some());
        }
    });
    rate("    lookups of none", MANY, || {
        for tuple in &shuffled {
            assert!(table.lookup(&Tuple { protocol: TCP, ..*tuple }, now).is_none());
        }
    });
}

/// One connection after the other, 64 packets each, whose acknowledgements move on by a segment each.
fn touches_a_second(live: u64) {
    let table = Conntrack::new(limits(live), 1);
    let now = Time::from_secs(1);
    let segment =
        |flags, ack| TcpSegment { flags, ack, window: 1000, window_scale: Some(7), ..Default::default() };
    let sessions: Vec<_> = (0..live)
        .map(|n| {
            let session = open(&table, flow(n, 1000, false, TCP), Some(segment(SYN, 0)), now);
            for (direction, flags) in [(Direction::Reply, SYN | ACK), (Direction::Original, ACK)] {
                session.packet(direction, now, Some(segment(flags, 1))).expect("they go together");
            }
            session
        })
        .collect();
    let mut order: Vec<_> = (0..live as usize).collect();
    order.sort_unstable_by_key(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let count = MANY / 64 * 64;
    rate(&format!("touches of established connections, {live} live"), count, || {
        for n in 0..count {
            let session = &sessions[order[(n / 64 % live) as usize]];
            let ack = (n % 64) as u32 * 1448;
            session.touch(Direction::Original, now, Some(segment(ACK, ack)));
            assert_ne!(black_box(session.stamp()), 0);
        }
    });
}

fn weight_and_pauses(live: u64, hosts: u64) {
    let before = HELD.load(Ordering::Relaxed);
    let table = Conntrack::new(limits(live), 1);
    let empty = HELD.load(Ordering::Relaxed) - before;
    let mut opening = Pauses(Vec::with_capacity(live as usize));
    let notes = HELD.load(Ordering::Relaxed) - before - empty;
    for n in 0..live {
        opening.time(|| open(&table, flow(n, hosts, true, UDP), None, Time::from_secs(1)));
    }
    let held = HELD.load(Ordering::Relaxed) - before - notes;
    println!(
        "{live} IPv6 sessions of {hosts} hosts, each with its mapping: {:.1} MiB, {:.0} bytes each; empty {} KiB",
        held as f64 / f64::from(1 << 20),
        held as f64 / live as f64,
        empty >> 10
    );
    opening.print("    opening them");
    let mut sweeping = Pauses::default();
    let now = Time::from_secs(1000);
    while sweeping.time(|| table.expire(now)) == Some(now) {}
    sweeping.print("    sweeping them all");
    assert_eq!(table.stats().live, 0);
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let many = if std::env::args().any(|arg| arg == "--bench") { MANY } else { MANY / 100 };
    weight_and_pauses(many, 1000);
    weight_and_pauses(many, many);
    for live in [many / 100, many / 10, many] {
        sessions_a_second(live, many * 2);
    }
    connections_a_second(many);
    for live in [1000, many] {
        lookups_a_second(live);
        touches_a_second(live);
    }
}
