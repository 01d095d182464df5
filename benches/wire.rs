//! The byte layer alone: parsing, checksums by size, cutting a superframe. Everything lies in the caches.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{Batch, Frame, Gso, Layer, Offload};
use tapyard::wire::{checksum, ethernet};

const MSS: u16 = 1448;

/// A TCP superframe over IPv4 with 12 bytes of options and this much payload; its checksum is undone.
fn tcp_frame(payload: usize, gso: Gso) -> Frame {
    let total_len = (52 + payload) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    bytes.extend([0x45, 0, (total_len >> 8) as u8, total_len as u8, 0, 0, 0x40, 0]);
    bytes.extend([64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x10, 0, 0, 0, 0, 0, 0]);
    bytes.extend([1; 12]);
    bytes.extend((0..payload).map(|i| (i * 7) as u8));
    let gso_size = if gso == Gso::None { 0 } else { MSS };
    let mut offload =
        Offload { needs_csum: true, gso, gso_size, csum_start: 34, csum_offset: 16, ..Offload::NONE };
    offload.check(Layer::Ethernet, &bytes).expect("the frame is as the claim says");
    let mut frame = Frame::default();
    frame.fill(&bytes, offload);
    frame
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/parse");
    for tags in 0..=2 {
        let frame = [&[0; 12][..], &[0x81, 0, 0, 1].repeat(tags), &[0x08, 0, 0x45, 0]].concat();
        group.bench_function(BenchmarkId::new("tags", tags), |b| {
            b.iter(|| ethernet::payload(black_box(&frame)))
        });
    }
    let frame = tcp_frame(60_000, Gso::TcpV4);
    group.bench_function("check a superframe's claim", |b| {
        b.iter(|| {
            let mut offload = black_box(frame.offload);
            offload.check(Layer::Ethernet, black_box(frame.bytes())).map(|()| offload)
        });
    });
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/checksum");
    let src: Vec<u8> = (0..65_536).map(|i| (i * 7) as u8).collect();
    let mut dst = vec![0; src.len()];
    for size in [20, 64, 512, 1448, 1500, 9000, 65_536] {
        let src = &src[..size];
        let dst = &mut dst[..size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sum", size), |b| b.iter(|| checksum::sum(black_box(src), 0)));
        group.bench_function(BenchmarkId::new("copy, then sum", size), |b| {
            b.iter(|| {
                black_box(&mut *dst).copy_from_slice(black_box(src));
                checksum::sum(black_box(dst), 0)
            });
        });
    }
}

fn segmentation(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/segment");
    let superframe = tcp_frame(65_535 - 52, Gso::TcpV4);
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(&superframe);
    let mut segments = Vec::new();
    group.throughput(Throughput::Bytes(superframe.len() as u64));
    group.bench_function("64 KiB of TCP in 1448s", |b| {
        b.iter(|| {
            batch.clear();
            batch.commit(1);
            segments.clear();
            segment(&mut batch, 0, &mut segments)
        });
    });
    let frame = tcp_frame(1448, Gso::None);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("finish_checksum of 1448", |b| {
        let mut frame_again = tcp_frame(1448, Gso::None);
        b.iter(|| {
            frame_again.offload = frame.offload;
            finish_checksum(black_box(&mut frame_again));
        });
    });
}

criterion_group!(benches, parse, checksums, segmentation);
criterion_main!(benches);
