//! Guests with vhost-user network cards on a running switch: every form that rings, buffers and frames can have.

mod common;
mod vhost_kit;

use common::frames::{self, BROADCAST};
use common::{as_root, wait_until};
use vhost_kit::bench::*;
use vhost_kit::*;

const LENGTHS: [usize; 9] = [60, 64, 511, 512, 513, 1514, 4096, 9000, 14];

/// Frames of all lengths from `a` to `b`.
fn converse(a: &mut Guest, b: &mut Guest, longest: usize) {
    for (seed, len) in LENGTHS.into_iter().filter(|&len| len <= longest).enumerate() {
        a.send(&ramp(len, seed));
        let got = b.receive();
        assert!(got.frame == ramp(len, seed), "{len} bytes: {}", frames::show(&got.frame));
        assert_eq!(got.header[..10], [0; 10], "nothing was left undone");
    }
    a.wait_until_sent();
}

#[test]
fn frames_pass_in_every_form_of_ring_and_buffers() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 1);
        for packed in [0, RING_PACKED] {
            for event_idx in [0, EVENT_IDX] {
                for (mergeable, buffer) in [(MRG_RXBUF, 2048), (MRG_RXBUF, 300), (0, 9100)] {
                    for shape in [
                        Shape::One,
                        Shape::Two,
                        Shape::Pieces(97),
                        Shape::Pieces(5000),
                        Shape::Indirect(10),
                        Shape::Indirect(2048),
                    ] {
                        let indirect = if let Shape::Indirect(_) = shape { INDIRECT_DESC } else { 0 };
                        let like = Like {
                            features: VERSION_1
                                | PROTOCOL_FEATURES
                                | packed
                                | event_idx
                                | mergeable
                                | indirect,
                            buffer,
                            shape,
                            ..Like::default()
                        };
                        println!("{like:?}");
                        let (mut a, mut b) = bench.pair(like);
                        // Pieces of ten bytes are too many for the longest.
                        let longest = if shape == Shape::Indirect(10) { 4096 } else { 9014 };
                        converse(&mut a, &mut b, longest);
                        drop((a, b));
                        bench.yard.wait_for_state("vm1", "waiting");
                        bench.yard.wait_for_state("vm2", "waiting");
                    }
                }
            }
        }
        assert_eq!(bench.yard.rows("drops").len(), 0);
    });
}

#[test]
fn the_header_is_short_where_a_legacy_driver_takes_it_so() {
    as_root(|| {
        let bench = Bench::new("", 1);
        for (features, header) in [(0, 10), (MRG_RXBUF, 12), (VERSION_1 | PROTOCOL_FEATURES, 12)] {
            let (mut a, mut b) = bench.pair(Like { features, ..Like::default() });
            assert_eq!(a.header_len(), header);
            converse(&mut a, &mut b, 1514);
            drop((a, b));
            bench.yard.wait_for_state("vm1", "waiting");
            bench.yard.wait_for_state("vm2", "waiting");
        }
    });
}

#[test]
fn num_buffers_says_how_many_a_frame_takes() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 1);
        let (mut a, mut b) = bench.pair(Like { buffer: 1000, ..Like::default() });
        for (len, buffers) in [(988, 1), (989, 2), (1988, 2), (1989, 3), (9014, 10)] {
            a.send(&ramp(len, 0));
            assert_eq!(b.receive().header[10..], [buffers, 0], "{len} bytes");
        }
    });
}

/// The start of a virtio_net_hdr: a checksum to be finished, or a TCP superframe over IPv4.
fn unfinished(gso_size: u16, csum_start: u16, csum_offset: u16) -> Vec<u8> {
    let kind = u8::from(gso_size > 0);
    let hdr_len = if gso_size > 0 { csum_start + 20 } else { 0 };
    let numbers = [hdr_len, gso_size, csum_start, csum_offset].map(u16::to_le_bytes).concat();
    [&[1, kind][..], &numbers].concat()
}

/// A TCP segment from A to B with `len` bytes of payload, and with the sum of the pseudo-header where its checksum will be.
fn tcp(len: usize) -> Vec<u8> {
    let total = 40 + len as u16;
    let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = |bytes: &[u8]| {
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    };
    let header_sum = !sum(&ip);
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
    let pseudo = sum(&[&ip[12..20], &[0, 6], &(20 + len as u16).to_be_bytes()].concat());
    let mut header = [0, 80, 0, 90, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 2, 0, 0, 0, 0, 0];
    header[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let payload: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
    frames::ether(B, A, 0x0800, &[&ip[..], &header, &payload].concat())
}

#[test]
fn superframes_pass_whole_between_guests_that_take_them() {
    as_root(|| {
        let bench = Bench::new("", 1);
        for packed in [0, RING_PACKED] {
            for (mergeable, buffer) in [(MRG_RXBUF, 4096), (0, 80_000)] {
                let features = VERSION_1 | PROTOCOL_FEATURES | OFFLOADS | packed | mergeable;
                let (mut a, mut b) = bench.pair(Like { features, buffer, ..Like::default() });
                for shape in [Shape::One, Shape::Two, Shape::Pieces(4000)] {
                    a.like.shape = shape;
                    let frame = tcp(64_000);
                    a.send_with(0, &unfinished(1448, 34, 16), &frame);
                    let got = b.receive();
                    assert!(got.frame == frame, "{shape:?}: {}", frames::show(&got.frame));
                    assert_eq!(got.header[..10], unfinished(1448, 34, 16)[..], "{shape:?}");
                }
                drop((a, b));
                bench.yard.wait_for_state("vm1", "waiting");
                bench.yard.wait_for_state("vm2", "waiting");
            }
        }
    });
}

#[test]
fn a_superframe_is_cut_and_finished_for_a_guest_that_takes_none() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let mut a = bench.guest("vm1", Like { features: USUAL | OFFLOADS, ..Like::default() });
        let mut b = bench.guest("vm2", Like::default());
        introduce(&bench.yard, &mut a, &mut b);
        let sent = tcp(4000);
        a.send_with(0, &unfinished(1448, 34, 16), &sent);
        let mut payload = Vec::new();
        for len in [1448, 1448, 1104] {
            let got = b.receive();
            assert_eq!((got.frame.len(), &got.header[..10]), (54 + len, &[0; 10][..]));
            payload.extend_from_slice(&got.frame[54..]);
        }
        assert!(payload == sent[54..]);
    });
}

#[test]
fn a_port_without_offloads_offers_none() {
    as_root(|| {
        let bench = Bench::new("offload = false", 1);
        let guest = Guest::new(messages::Messages::connect(&bench.sockets.path("vm1")), Like::default());
        let offered = guest.messages.ask(messages::GET_FEATURES, &[]);
        assert_eq!(offered & OFFLOADS, 0);
        assert_eq!(offered & USUAL, USUAL);
    });
}

#[test]
fn what_a_guest_may_not_leave_undone_is_dropped() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        a.send_with(0, &unfinished(1448, 34, 16), &tcp(4000));
        a.send_with(0, &unfinished(0, 34, 16), &tcp(100));
        a.send(&ramp(60, 1));
        assert_eq!(b.receive().frame, ramp(60, 1));
        wait_until("the drops", || bench.yard.drops("vm1", "bad-offload") == 2);
    });
}

#[test]
fn what_is_no_frame_is_dropped_and_its_buffer_given_back() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        for len in [0, 1, 13] {
            a.send(&ramp(64, 0)[..len]);
        }
        a.send(&vec![0; 70_000]);
        a.wait_until_sent();
        wait_until("the drops", || {
            bench.yard.drops("vm1", "runt") == 3 && bench.yard.drops("vm1", "oversized") == 1
        });
        converse(&mut a, &mut b, 1514);
    });
}

#[test]
fn a_guest_that_gives_no_buffers_loses_its_own_frames_only() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 1);
        let like = Like { buffers: 4, buffer: 1000, features: USUAL, ..Like::default() };
        let (mut a, mut b) = bench.pair(like);
        // Four thousand bytes of buffers hold three of these; a short one still fits behind them.
        for seed in 0..6 {
            a.send(&ramp(1200, seed));
            a.wait_until_sent();
        }
        wait_until("the drops", || bench.yard.drops("vm2", "queue-full") == 4);
        for seed in 0..2 {
            assert!(b.receive().frame == ramp(1200, seed));
        }
        a.send(&ramp(1200, 9));
        assert!(b.receive().frame == ramp(1200, 9), "there is room again");
    });
}

#[test]
fn a_frame_too_long_for_the_guests_buffers_is_dropped() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 1);
        let features = VERSION_1 | PROTOCOL_FEATURES;
        let (mut a, mut b) = bench.pair(Like { features, buffer: 1526, ..Like::default() });
        a.send(&ramp(1515, 0));
        a.send(&ramp(1514, 0));
        assert_eq!(b.receive().frame, ramp(1514, 0));
        assert_eq!(bench.yard.drops("vm2", "exceeds-mtu"), 1);
    });
}

/// However small the buffers are that a guest gives, a frame for it takes nobody else's time.
#[test]
fn a_frame_that_would_lie_in_more_than_a_thousand_pieces_is_dropped() {
    as_root(|| {
        let bench = Bench::new("", 1);
        let mut a = bench.guest("vm1", Like::default());
        let mut b = bench.guest("vm2", Like { size: 2048, buffers: 0, ..Like::default() });
        b.send(&frames::frame(A, B));
        assert_eq!(a.receive().frame, frames::frame(A, B));
        let (base, ring) = (GUEST + PARTS, &mut b.rings[0].driver);
        for chain in 0..2 {
            let bytes: Vec<_> = (0..800).map(|n| vring_kit::empty(base + 800 * chain + n, 1)).collect();
            ring.offer(&bytes);
        }
        ring.show();
        a.send(&ramp(1514, 0));
        a.send(&frames::frame(B, A));
        wait_until("the short frame", || ring.collect().is_some());
        assert_eq!(bench.yard.drops("vm2", "exceeds-mtu"), 1);
    });
}

#[test]
fn every_pair_of_queues_is_read_and_every_worker_sends() {
    as_root(|| {
        for workers in [1, 2, 3] {
            for pairs in [1, 2, 4] {
                println!("{workers} workers, {pairs} pairs");
                let bench = Bench::new("", workers);
                let features = USUAL | MQ;
                let (mut a, mut b) =
                    bench.pair(Like { features, pairs, size: 64, buffers: 32, ..Like::default() });
                wait_until("its queues", || bench.yard.port_count("vm1", "queues") == pairs as u64);
                let mut used = vec![false; pairs];
                for n in 0..4 * pairs {
                    a.send_with(n % pairs, &[], &ramp(100, n));
                    let (pair, got) = b.receive_any();
                    assert!(got.frame == ramp(100, n));
                    used[pair] = true;
                }
                let expected = workers.min(pairs);
                assert_eq!(used.iter().filter(|used| **used).count(), expected);
            }
        }
    });
}

#[test]
fn a_guest_is_called_as_it_wishes() {
    as_root(|| {
        for packed in [0, RING_PACKED] {
            let bench = Bench::new("", 1);
            let features = USUAL | EVENT_IDX | packed;
            let (mut a, mut b) = bench.pair(Like { features, ..Like::default() });
            b.was_called(0);
            // By the event index: not for the next two, but for the third.
            b.rings[0].driver.want_call_at(b.rings[0].driver.seen() + 2);
            for n in 0..3 {
                a.send(&ramp(60, n));
                b.receive();
                assert_eq!(b.was_called(0), n == 2, "frame {n}");
            }
            drop((a, b));
            bench.yard.wait_for_state("vm1", "waiting");
            bench.yard.wait_for_state("vm2", "waiting");
            let (mut a, mut b) = bench.pair(Like { features: USUAL | packed, ..Like::default() });
            for wish in [false, true] {
                b.rings[0].driver.want_calls(wish);
                b.was_called(0);
                a.send(&ramp(60, 0));
                b.receive();
                assert_eq!(b.was_called(0), wish);
            }
        }
    });
}

#[test]
fn a_worker_that_sleeps_is_woken_by_every_kick() {
    as_root(|| {
        for features in [USUAL, USUAL | EVENT_IDX, USUAL | RING_PACKED, USUAL | RING_PACKED | EVENT_IDX] {
            let bench = Bench::new("", 1);
            let (mut a, mut b) = bench.pair(Like { features, ..Like::default() });
            for n in 0..20 {
                // Longer than any worker polls.
                std::thread::sleep(std::time::Duration::from_millis(20));
                a.send(&ramp(60, n));
                assert!(b.receive().frame == ramp(60, n));
            }
            let before = bench.yard.cpu_ticks();
            std::thread::sleep(std::time::Duration::from_secs(1));
            let used = bench.yard.cpu_ticks() - before;
            assert!(used <= 5, "{used} ticks of CPU time in a second of silence");
        }
    });
}

#[test]
fn guests_are_flooded_and_frames_go_on_to_other_kinds_of_ports() {
    as_root(|| {
        let bench = Bench::new("mtu = 9000", 1);
        let (mut a, mut b) = bench.pair(Like::default());
        let host = common::Host::new("h");
        bench.yard.ok(&format!("port add tap0 --type tap netns={host} bridge=lan"));
        // To the tap and the other guest: the end of the frame is in the guest's memory.
        let frame = frames::ether(BROADCAST, A, frames::EXPERIMENT, &[0x5a; 1400]);
        a.send(&frame);
        assert!(b.receive().frame == frame);
        wait_until("the tap to get it", || bench.yard.port_count("tap0", "tx_bytes") >= 1414);
        bench.yard.assert_conserved();
    });
}

#[test]
fn frames_in_single_bytes_arrive_though_a_batch_takes_few_of_them() {
    as_root(|| {
        for features in [USUAL, USUAL | RING_PACKED] {
            let bench = Bench::new("", 1);
            let (mut a, mut b) = bench.pair(Like { features, ..Like::default() });
            drop(a);
            bench.yard.wait_for_state("vm1", "waiting");
            let like = Like { features, size: 32768, shape: Shape::Pieces(1), ..Like::default() };
            a = bench.guest("vm1", like);
            (0..40).for_each(|seed| a.queue(0, &[], &ramp(800, seed)));
            a.kick(0);
            for seed in 0..40 {
                assert!(b.receive().frame == ramp(800, seed), "frame {seed}");
            }
            a.wait_until_sent();
        }
    });
}
