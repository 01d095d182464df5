//! The byte layer alone: parsing, checksums by size, cutting a superframe, merging into one. Everything lies in the caches.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapyard::packet::coalesce::{Coalescer, Piece};
use tapyard::packet::rewrite::{Translation, hop};
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{Batch, Frame, Gso, Layer, Offload, Packet, Tuple};
use tapyard::wire::{checksum, ethernet, ipv4};

const MSS: u16 = 1448;

/// Bytes of tunnel header before each inner frame: VXLAN.
const TUNNEL: usize = 8;
/// As many full frames as one read of a tunnel's socket gives.
const IN_ONE_BUFFER: usize = 43;

/// A TCP superframe over IPv4 with 12 bytes of options and this much payload; its checksum is undone.
fn tcp_frame(payload: usize, gso: Gso) -> Frame {
    let total_len = (52 + payload) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    bytes.extend([0x45, 0, (total_len >> 8) as u8, total_len as u8, 0, 0, 0x40, 0]);
    bytes.extend([64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x10, 0, 0, 0, 0, 0, 0]);
    bytes.extend([1; 12]);
    bytes.extend((0..payload).map(|i| (i * 7) as u8));
    let pseudo_header = 2 * 0x0a00 + 1 + 2 + 6 + u32::from(total_len) - 20;
    let pseudo_header = (pseudo_header >> 16) + (pseudo_header & 0xffff);
    bytes[50..52].copy_from_slice(&(pseudo_header as u16).to_be_bytes());
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

/// A buffer as an underlay reads it: these inner frames, glued.
fn glued(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<Piece>) {
    let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
    for frame in frames {
        bytes.extend([0xa5; TUNNEL]);
        let (at, len) = (bytes.len() as u32, frame.len() as u32);
        pieces.push(Piece { at, len, layer: Layer::Ethernet, mtu: 1500, owner: 1 });
        bytes.extend(frame);
    }
    (bytes, pieces)
}

/// The time of unpacking `times` buffers into `frames` frames each, without that of reading them.
fn unpack(times: u64, bytes: &[u8], pieces: &[Piece], frames: usize) -> Duration {
    let (mut batch, mut coalescer, mut out) = (Batch::default(), Coalescer::default(), Vec::new());
    let mut total = Duration::ZERO;
    for _ in 0..times {
        batch.clear();
        batch.spare()[0].fill(bytes, Offload::NONE);
        batch.commit(1);
        out.clear();
        let start = Instant::now();
        coalescer.begin();
        coalescer.unpack(black_box(&mut batch), 0, black_box(pieces), &mut out);
        total += start.elapsed();
        assert_eq!(out.len(), frames);
    }
    total
}

fn coalescing(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/coalesce");
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(&tcp_frame(IN_ONE_BUFFER * usize::from(MSS), Gso::TcpV4));
    batch.commit(1);
    let mut segments = Vec::new();
    segment(&mut batch, 0, &mut segments).expect("it can be cut");
    let segments: Vec<_> = batch.frames()[1..].iter().map(|frame| frame.bytes().to_vec()).collect();
    let (bytes, pieces) = glued(&segments);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(BenchmarkId::new("TCP segments of 1448", IN_ONE_BUFFER), |b| {
        b.iter_custom(|times| unpack(times, &bytes, &pieces, 1));
    });

    let alone: Vec<_> = (0..64).map(|byte| [&[2; 12][..], &[0x08, 0x00], &[byte; 50]].concat()).collect();
    let datagrams: Vec<_> = (0..64u8)
        .map(|flow| {
            let ip = [0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            [&alone[0][..14], &ip, &[0, flow, 0, 9, 0, 30, 1, 1], &[flow; 22]].concat()
        })
        .collect();
    group.throughput(Throughput::Elements(64));
    for (what, frames) in
        [("64 frames of 64 bytes, no IP", alone), ("64 frames of 64 bytes, UDP flows", datagrams)]
    {
        let (bytes, pieces) = glued(&frames);
        group.bench_function(what, |b| b.iter_custom(|times| unpack(times, &bytes, &pieces, 64)));
    }
}

/// What a router does to each packet of a flow that it knows.
fn routing(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/route");
    let mut v4 = tcp_frame(64, Gso::None);
    ipv4::make_segment(&mut v4.bytes_mut()[14..34], 0, 116);
    let mut v6 = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
    v6.extend([[0xfd; 16], [0xfe; 16]].concat());
    v6.extend([0, 1, 0, 2, 0, 8, 0x12, 0x34]);
    for (what, mut frame) in [("TCP over IPv4, unfinished", v4), ("UDP over IPv6", Frame::from_bytes(&v6))] {
        let packet = Packet::of(&frame).expect("nothing is wrong with it");
        group.bench_function(BenchmarkId::new("read", what), |b| b.iter(|| Packet::of(black_box(&frame))));
        group.bench_function(BenchmarkId::new("hop", what), |b| {
            b.iter(|| hop(black_box(&mut frame), black_box(&packet)));
        });
        let to = Tuple { source: packet.tuple.destination, source_port: 9, ..packet.tuple };
        let translation = Translation::new(&packet.tuple, &to).expect("they differ");
        group.bench_function(BenchmarkId::new("translate", what), |b| {
            b.iter(|| black_box(&translation).apply(black_box(&mut frame), black_box(&packet)));
        });
    }
}

criterion_group!(benches, parse, checksums, segmentation, coalescing, routing);
criterion_main!(benches);
