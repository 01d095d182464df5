//! Guest to guest: what it costs to take a frame from one guest's ring, copy it into another's buffer, and tell both.
//! Only the device's side is measured; the drivers fill and empty their rings in between.

#[path = "../tests/vring_kit/mod.rs"]
mod vring_kit;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::port::vhost::ring::pieces::{self, Piece, Place};
use tapyard::port::vhost::ring::{Base, Chain, Ring};
use vring_kit::{Buffer, Driver, empty, filled, layout, memory};

/// Frames that are published at once.
const BATCH: usize = 32;
/// The virtio_net_hdr in front of each.
const HEADER: usize = 12;

struct Guest {
    driver: Driver,
    ring: Ring,
    /// Its buffers, which it offers in turn.
    buffers: Vec<Buffer>,
    next: usize,
}

impl Guest {
    fn new(packed: bool, buffer: impl Fn(u64) -> Buffer) -> Guest {
        let memory = memory(&[(0, 0xa_0000), (0x10_0000, 0x100_0000)]);
        let layout = layout(0x10_0000, 256, packed, true);
        let base = Base::start(packed);
        let driver = Driver::new(&memory, &layout, base);
        let mut ring = Ring::new(memory, &layout, base).expect("a sound ring");
        ring.suppress();
        let buffers = (0..1024).map(|n| buffer(0x20_0000 + 2048 * n)).collect();
        Guest { driver, ring, buffers, next: 0 }
    }

    fn refill(&mut self) {
        while self.driver.collect().is_some() {}
        for _ in 0..BATCH {
            self.driver.offer(&[self.buffers[self.next]]);
            self.next = (self.next + 1) % self.buffers.len();
        }
        self.driver.show();
    }
}

/// What a batch is kept in.
#[derive(Default)]
struct Batch {
    pieces: Vec<Piece>,
    chains: Vec<Chain>,
    targets: Vec<Piece>,
}

/// A batch from one guest to the other.
#[inline(never)]
fn cycle(from: &mut Ring, to: &mut Ring, batch: &mut Batch) -> bool {
    let Batch { pieces, chains, targets } = batch;
    pieces.clear();
    chains.clear();
    while chains.len() < BATCH {
        let Some(chain) = from.pop_readable(pieces).expect("a sound chain") else { break };
        chains.push(chain);
    }
    let mut at = 0;
    for &chain in &*chains {
        let source = &pieces[at..at + chain.pieces as usize];
        at += chain.pieces as usize;
        let mut header = [0; HEADER];
        pieces::gather(from.memory(), source, 0, &mut header).expect("its memory");
        targets.clear();
        let target = to.pop_writable(targets).expect("a sound chain").expect("a buffer");
        header[10] = 1;
        pieces::scatter(to.memory(), targets, 0, &header).expect("its memory");
        let len = chain.len as usize - HEADER;
        let source = Place { memory: from.memory(), pieces: source, skip: HEADER };
        let place = Place { memory: to.memory(), pieces: targets, skip: HEADER };
        let copied = pieces::copy(source, place, len).expect("their memory");
        from.complete(chain, 0);
        to.complete(target, (HEADER + copied) as u32);
    }
    let calls = [from.publish(), to.publish()];
    calls[0] | calls[1]
}

fn guest_to_guest(c: &mut Criterion) {
    let mut group = c.benchmark_group("rings");
    group.throughput(Throughput::Elements(1));
    for (name, packed) in [("split", false), ("packed", true)] {
        for len in [64, 1500] {
            let mut from = Guest::new(packed, |at| filled(at, HEADER as u32 + len));
            let mut to = Guest::new(packed, |at| empty(at, 2048));
            let mut batch = Batch::default();
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter_custom(|frames| {
                    let mut spent = Duration::ZERO;
                    let batches = frames.div_ceil(BATCH as u64);
                    for _ in 0..batches {
                        from.refill();
                        to.refill();
                        let begin = Instant::now();
                        black_box(cycle(&mut from.ring, &mut to.ring, &mut batch));
                        spent += begin.elapsed();
                        assert_eq!(batch.chains.len(), BATCH);
                    }
                    spent.mul_f64(frames as f64 / (batches * BATCH as u64) as f64)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, guest_to_guest);
criterion_main!(benches);
