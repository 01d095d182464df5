//! Tunnel headers alone: writing and reading those of every sample of every type. Everything lies in the caches.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::packet::{Frame, Layer};
use tapyard::tunnel::{PROTOCOLS, Payload, Tunnel};

/// The shortest frame, and one that fills the usual MTU: a checksum minds, nothing else does.
const LENGTHS: [usize; 2] = [60, 1514];

fn inner(layer: Layer, len: usize) -> Frame {
    let mut frame = Frame::from_bytes(&vec![0x45; len]);
    frame.layer = layer;
    frame
}

/// Calls `bench` with each sample and what it carries, under a name such as "vxlan 0, 8 bytes of header/60".
fn each(
    c: &mut Criterion,
    group: &str,
    bench: fn(&mut BenchmarkGroup<'_, WallTime>, BenchmarkId, &dyn Tunnel, Frame),
) {
    let mut group = c.benchmark_group(group);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(1));
    for protocol in PROTOCOLS {
        for (i, tunnel) in (protocol.samples)().iter().enumerate() {
            for len in LENGTHS {
                let name = format!("{} {i}, {} bytes of header", protocol.name, tunnel.header_len());
                let id = BenchmarkId::new(name, len);
                bench(&mut group, id, &**tunnel, inner(tunnel.carries(), len));
            }
        }
    }
}

fn encap(c: &mut Criterion) {
    each(c, "tunnels/encap", |group, id, tunnel, mut frame| {
        let payload = Payload::Frame(tunnel.carries());
        group.bench_function(id, |b| {
            b.iter(|| {
                black_box(tunnel).encap(black_box(&mut frame), payload);
                frame.pop_header(tunnel.header_len());
            });
        });
    });
}

fn parse(c: &mut Criterion) {
    each(c, "tunnels/parse", |group, id, tunnel, mut frame| {
        tunnel.encap(&mut frame, Payload::Frame(tunnel.carries()));
        group.bench_function(id, |b| {
            b.iter(|| {
                let header = (black_box(tunnel.protocol()).parse)(black_box(frame.bytes()))?;
                black_box(tunnel).accept(&header).map(|()| header.len)
            });
        });
    });
}

criterion_group!(benches, encap, parse);
criterion_main!(benches);
