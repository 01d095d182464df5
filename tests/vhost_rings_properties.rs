//! Whatever a guest puts into the memory of its rings, and however it changes it between two looks: no panic, no endless
//! loop, and no piece outside of its memory.

mod vring_kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tapyard::port::vhost::ring::pieces::{self, Piece};
use tapyard::port::vhost::ring::{Base, Chain, Fault, Layout, Ring};
use tapyard::sys::guest_memory::GuestMemory;
use vring_kit::{layout, memory};

/// Two regions that are adjacent, and one far away; the ring is at the beginning.
const REGIONS: [(u64, u64); 3] = [(0x1000, 0x2000), (0x3000, 0x1000), (0x10_0000, 0x1000)];
const RING: u64 = 0x1000;
/// Behind the largest ring of these tests.
const RING_END: u64 = 0x1400;

fn guest() -> Arc<GuestMemory> {
    memory(&REGIONS)
}

/// A descriptor that is more often nearly right than arbitrary bytes would ever be.
fn descriptor(packed: bool) -> impl Strategy<Value = [u8; 16]> {
    let address = prop_oneof![
        4 => 0x1000_u64..0x4010,
        1 => 0x10_0000_u64..0x10_1010,
        1 => any::<u64>(),
        1 => (0_u64..32).prop_map(|n| u64::MAX - n),
    ];
    let len = prop_oneof![
        4 => 0_u32..2048,
        2 => (0_u32..40).prop_map(|n| 16 * n),
        1 => any::<u32>(),
        1 => Just(u32::MAX),
    ];
    let low =
        prop_oneof![3 => Just(0_u16), 3 => Just(1), 2 => Just(2), 2 => Just(3), 2 => Just(4), 1 => 0_u16..8];
    let tail = prop_oneof![6 => 0_u16..20, 1 => any::<u16>()];
    let whose = prop_oneof![Just(0_u16), Just(1 << 7), Just(1 << 15), Just(1 << 7 | 1 << 15)];
    (address, len, low, tail, whose).prop_map(move |(address, len, low, tail, whose)| {
        let rest = if packed { [tail, low | whose] } else { [low, tail] };
        let rest = u128::from(rest[0]) << 96 | u128::from(rest[1]) << 112;
        (rest | u128::from(len) << 64 | u128::from(address)).to_le_bytes()
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// The guest writes anything anywhere in its first region.
    Poke(u16, u64),
    /// The guest writes a descriptor, into the ring or where a table may be.
    Descriptor(u16, [u8; 16]),
    /// The guest makes so many more available (of a split ring).
    Advance(u16),
    PopReadable,
    PopWritable,
    Mark,
    Rewind,
    Complete(u32),
    Publish,
    Suppress,
    Arm,
    /// The ring is left and taken up again, as when another memory table comes.
    Restart,
}

fn step(packed: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u16..0x2000, any::<u64>()).prop_map(|(at, value)| Step::Poke(at, value)),
        1 => (0_u16..0x400, any::<u64>()).prop_map(|(at, value)| Step::Poke(at, value)),
        6 => (0_u16..0x200, descriptor(packed)).prop_map(|(index, bytes)| Step::Descriptor(index, bytes)),
        6 => (0_u16..20, descriptor(packed)).prop_map(|(index, bytes)| Step::Descriptor(index, bytes)),
        4 => (0_u16..6).prop_map(Step::Advance),
        1 => any::<u16>().prop_map(Step::Advance),
        5 => Just(Step::PopReadable),
        5 => Just(Step::PopWritable),
        1 => Just(Step::Mark),
        1 => Just(Step::Rewind),
        4 => any::<u32>().prop_map(Step::Complete),
        3 => Just(Step::Publish),
        1 => Just(Step::Suppress),
        1 => Just(Step::Arm),
        1 => Just(Step::Restart),
    ]
}

/// What holds of everything that was ever taken.
fn check(memory: &GuestMemory, popped: Result<Option<Chain>, Fault>, pieces: &[Piece]) {
    match popped {
        Ok(Some(chain)) => {
            assert!(!pieces.is_empty());
            assert_eq!(chain.pieces as usize, pieces.len());
            // A buffer of this memory, of which the longest way is through two regions.
            assert!(pieces.len() <= 2 * 2048, "{} pieces", pieces.len());
            assert_eq!(u64::from(chain.len), pieces.iter().map(|piece| u64::from(piece.len)).sum::<u64>());
            for piece in pieces {
                assert!(piece.len > 0);
                let end = piece.at.checked_add(piece.len.into()).expect("an end");
                let inside = |&(at, len): &(u64, u64)| at <= piece.at && end <= at + len;
                assert!(REGIONS.iter().any(inside), "{piece:x?}");
            }
            let mut bytes = [0; 256];
            let len = pieces::gather(memory, pieces, 0, &mut bytes).expect("all of them can be read");
            assert_eq!(len, bytes.len().min(chain.len as usize));
        }
        Ok(None) | Err(_) => assert!(pieces.is_empty()),
    }
}

/// Plays a guest's steps and our own.
fn play(layout: &Layout, base: u32, steps: &[Step]) {
    let memory = guest();
    let Ok(mut ring) = Ring::new(memory.clone(), layout, Base::from_bits(base)) else { return };
    let mut pieces = Vec::new();
    let mut taken = Vec::new();
    let mut mark = (ring.mark(), 0);
    for step in steps {
        pieces.clear();
        match step {
            Step::Poke(at, value) => {
                let _ = memory.write(RING + u64::from(*at), &value.to_le_bytes());
            }
            Step::Descriptor(index, bytes) => {
                memory.write(RING + 16 * u64::from(*index), bytes).expect("in the first region");
            }
            Step::Advance(by) if !layout.packed => {
                let mut index = [0; 2];
                memory.read(layout.driver + 2, &mut index).expect("the ring");
                let index = u16::from_le_bytes(index).wrapping_add(*by);
                memory.write(layout.driver + 2, &index.to_le_bytes()).expect("the ring");
                for entry in 0..layout.size {
                    let head = (entry.wrapping_mul(5) % layout.size).to_le_bytes();
                    memory.write(layout.driver + 4 + 2 * u64::from(entry), &head).expect("the ring");
                }
            }
            Step::Advance(_) => {}
            Step::PopReadable | Step::PopWritable => {
                let popped = match step {
                    Step::PopReadable => ring.pop_readable(&mut pieces),
                    _ => ring.pop_writable(&mut pieces),
                };
                check(&memory, popped, &pieces);
                taken.extend(popped.ok().flatten());
                assert!(usize::from(ring.in_flight()) >= taken.len());
                assert!(ring.in_flight() <= layout.size, "no more on their way than it has");
            }
            Step::Mark => mark = (ring.mark(), taken.len()),
            Step::Rewind => {
                // Only what was not completed since.
                if mark.1 <= taken.len() && mark.1 > 0 {
                    ring.rewind(mark.0);
                    taken.truncate(mark.1);
                }
                mark.1 = 0;
            }
            Step::Complete(written) => {
                if !taken.is_empty() {
                    ring.complete(taken.remove(0), *written);
                    mark.1 = 0;
                }
            }
            Step::Publish => _ = ring.publish(),
            Step::Suppress => ring.suppress(),
            Step::Arm => _ = ring.arm(),
            Step::Restart => {
                let base = ring.base();
                ring = Ring::new(memory.clone(), layout, base).expect("where it was left");
                taken.clear();
                mark = (ring.mark(), 0);
            }
        }
        let _ = ring.has_available();
    }
}

fn any_layout() -> impl Strategy<Value = Layout> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1_u16..=16).prop_map(
        |(packed, event_idx, indirect, size)| {
            let size = if packed { size } else { size.next_power_of_two() };
            let layout = Layout { indirect, ..layout(RING, size, packed, event_idx) };
            assert!(layout.device + 4 + 8 * u64::from(size) + 2 < RING_END);
            layout
        },
    )
}

fn any_play() -> impl Strategy<Value = (Layout, u32, Vec<Step>)> {
    any_layout().prop_flat_map(|layout| {
        let base = prop_oneof![Just(Base::start(layout.packed).bits()), any::<u32>()];
        let steps = prop::collection::vec(step(layout.packed), 1..120);
        (Just(layout), base, steps)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_memory_of_a_guest_makes_a_ring_panic_or_run_away((layout, base, steps) in any_play()) {
        play(&layout, base, &steps);
    }

    #[test]
    fn nor_do_rings_of_nothing_but_arbitrary_bytes(
        layout in any_layout(),
        base in any::<u32>(),
        bytes in prop::collection::vec(any::<u8>(), 0x400),
        writable in any::<bool>(),
    ) {
        let memory = guest();
        memory.write(RING, &bytes).expect("in the first region");
        if let Ok(mut ring) = Ring::new(memory.clone(), &layout, Base::from_bits(base)) {
            let mut pieces = Vec::new();
            for _ in 0..2 * layout.size {
                pieces.clear();
                let popped =
                    if writable { ring.pop_writable(&mut pieces) } else { ring.pop_readable(&mut pieces) };
                check(&memory, popped, &pieces);
                let Ok(Some(chain)) = popped else { break };
                ring.complete(chain, 1);
                let _ = ring.publish();
            }
        }
    }
}

/// A guest that writes its ring without rest, from another thread.
#[test]
fn a_guest_that_changes_its_ring_under_our_eyes_gets_nothing_else() {
    for packed in [false, true] {
        let layout = layout(RING, 16, packed, true);
        let memory = guest();
        let done = Arc::new(AtomicBool::new(false));
        let (theirs, stop) = (memory.clone(), done.clone());
        let scribbler = thread::spawn(move || {
            let mut random = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let slot = RING + 16 * (random >> 32 & 1);
                let address = 0x1000 + (random >> 40 & 0x2fff);
                theirs.write(slot, &address.to_le_bytes()).expect("the ring");
                // NEXT, WRITE, INDIRECT and whose it is, in all combinations.
                let flags = (random >> 24) as u16 & if random >> 48 & 1 == 0 { 0 } else { 7 }
                    | (random >> 12) as u16 & 1 << 7
                    | (random >> 3) as u16 & 1 << 15;
                let len = (random >> 50) as u32 & 0xff0;
                let id = (random >> 60) as u16;
                let rest = if packed { [id, flags] } else { [flags, id] };
                let rest = u64::from(len) | u64::from(rest[0]) << 32 | u64::from(rest[1]) << 48;
                theirs.write(slot + 8, &rest.to_le_bytes()).expect("the ring");
                if !packed {
                    let index = (random >> 16) as u16 & 15;
                    theirs.write(0x1100 + 2, &index.to_le_bytes()).expect("the ring");
                    theirs.write(0x1100 + 4 + 2 * u64::from(index), &id.to_le_bytes()).expect("the ring");
                }
            }
        });
        assert!(packed || layout.driver == 0x1100);
        let (mut pieces, mut taken, mut faults) = (Vec::new(), 0, 0);
        let end = Instant::now() + Duration::from_secs(20);
        for round in 0.. {
            if taken.min(faults) > 200 || Instant::now() > end {
                break;
            }
            // As a port would: a fault ends the ring, and a new one is made.
            let mut ring = Ring::new(memory.clone(), &layout, Base::start(packed)).expect("a ring");
            for _ in 0..4 {
                pieces.clear();
                let popped = if round % 2 == 0 {
                    ring.pop_readable(&mut pieces)
                } else {
                    ring.pop_writable(&mut pieces)
                };
                check(&memory, popped, &pieces);
                faults += u32::from(popped.is_err());
                let Ok(Some(chain)) = popped else { break };
                taken += 1;
                ring.complete(chain, 0);
                let _ = ring.publish();
            }
        }
        done.store(true, Ordering::Relaxed);
        scribbler.join().expect("the other thread");
        assert!(
            taken > 200 && faults > 200,
            "both happened, packed {packed}: {taken} chains, {faults} faults"
        );
    }
}
