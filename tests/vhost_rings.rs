//! Virtqueues of both forms, between the device's side and a driver written from the specification.

mod vring_kit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tapyard::port::vhost::ring::pieces::{self, Piece, Place};
use tapyard::port::vhost::ring::{Base, Chain, Fault, Layout, Ring};
use tapyard::sys::guest_memory::GuestMemory;
use vring_kit::{Buffer, Driver, INDIRECT, NEXT, WRITE, empty, filled, layout, memory};

/// Where the guest's memory begins, and how much there is; behind it, another region that is adjacent.
const START: u64 = 0x10_0000;
const LEN: u64 = 0x10_0000;
/// Where the rings are, and from where on there are buffers.
const RING: u64 = START + 0x1000;
const BUFFERS: u64 = START + 0x4_0000;

/// Every form that a ring of `size` can have.
fn forms(size: u16) -> [Layout; 4] {
    [(false, false), (false, true), (true, false), (true, true)]
        .map(|(packed, event_idx)| layout(RING, size, packed, event_idx))
}

fn guest() -> Arc<GuestMemory> {
    memory(&[(START, LEN), (START + LEN, LEN)])
}

fn start(layout: &Layout) -> Base {
    Base::start(layout.packed)
}

fn pair(layout: &Layout) -> (Driver, Ring) {
    let memory = guest();
    let driver = Driver::new(&memory, layout, start(layout));
    let ring = Ring::new(memory, layout, start(layout)).expect("a sound ring");
    (driver, ring)
}

fn piece(at: u64, len: u32) -> Piece {
    Piece { at, len }
}

#[test]
fn a_chain_goes_to_the_device_and_back() {
    for layout in forms(8) {
        let (mut driver, mut ring) = pair(&layout);
        let mut pieces = vec![piece(1, 2)];
        assert!(!ring.has_available());
        assert_eq!(ring.pop_readable(&mut pieces), Ok(None));
        let id = driver.offer(&[filled(BUFFERS, 12), filled(BUFFERS + 0x100, 64)]);
        assert!(!ring.has_available(), "not before it is shown");
        assert!(driver.show(), "a device that has said nothing wants to be kicked");
        assert!(ring.has_available());
        let chain = ring.pop_readable(&mut pieces).unwrap().expect("what was shown");
        assert_eq!(pieces, [piece(1, 2), piece(BUFFERS, 12), piece(BUFFERS + 0x100, 64)], "added");
        assert_eq!((chain.len, chain.pieces), (76, 2));
        assert!(!ring.has_available());
        assert_eq!(ring.pop_readable(&mut pieces), Ok(None));
        assert!(!ring.publish(), "nothing to call for");
        ring.complete(chain, 0);
        assert_eq!(driver.collect(), None, "not before it is published");
        assert!(ring.publish(), "a driver that has said nothing wants to be called");
        assert_eq!(driver.collect(), Some((id, 0)), "{layout:?}");
        assert_eq!(driver.collect(), None);
        assert!(!ring.publish());
    }
}

#[test]
fn chains_of_all_shapes_go_round_in_order_many_times() {
    for size in [1, 2, 8, 256] {
        for layout in forms(size) {
            let (mut driver, mut ring) = pair(&layout);
            let (mut ids, mut out, mut pieces) = (VecDeque::new(), VecDeque::new(), Vec::new());
            let (mut done, mut step, mut tables) = (0_u32, 0_u32, 0_u64);
            while done < 70_000 {
                step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let want = 1 + (step >> 16) as usize % 5;
                while driver.room() >= want.min(size.into()) && ids.len() < 40 {
                    let count = want.min(size.into()) as u64;
                    tables += 1;
                    let at = BUFFERS + u64::from(step >> 8) % 0x1_0000;
                    let buffers: Vec<_> = (0..count).map(|n| empty(at + 64 * n, 64)).collect();
                    let id = if step & 1 == 0 {
                        driver.offer(&buffers)
                    } else {
                        driver.offer_indirect(START + 0x3_0000 + 96 * (tables % 64), &buffers)
                    };
                    ids.push_back((id, at, count));
                }
                driver.show();
                for _ in 0..1 + (step >> 20) % 7 {
                    pieces.clear();
                    let mark = ring.mark();
                    let Some(chain) = ring.pop_writable(&mut pieces).unwrap() else { break };
                    if step & 0x60 == 0 {
                        ring.rewind(mark);
                        continue;
                    }
                    let (_, at, count) = ids[out.len()];
                    let expected: Vec<_> = (0..count).map(|n| piece(at + 64 * n, 64)).collect();
                    assert_eq!(pieces, expected);
                    out.push_back(chain);
                }
                while out.len() > (step >> 24) as usize % 8 {
                    ring.complete(out.pop_front().unwrap(), done + 1);
                    let _ = ring.publish();
                    let (id, ..) = ids.pop_front().unwrap();
                    assert_eq!(driver.collect(), Some((id, done + 1)));
                    done += 1;
                }
            }
        }
    }
}

#[test]
fn many_completed_chains_appear_in_one_go() {
    for layout in forms(64) {
        let (mut driver, mut ring) = pair(&layout);
        let mut pieces = Vec::new();
        for round in 0..10 {
            let ids: Vec<_> = (0..48).map(|n| driver.offer(&[filled(BUFFERS + n, 1)])).collect();
            driver.show();
            let chains: Vec<_> =
                (0..48).map(|_| ring.pop_readable(&mut pieces).unwrap().expect("48 of them")).collect();
            assert_eq!(ring.in_flight(), 48);
            for chain in chains {
                ring.complete(chain, round);
                assert_eq!(driver.collect(), None);
            }
            assert_eq!(ring.in_flight(), 0);
            let _ = ring.publish();
            let seen: Vec<_> = std::iter::from_fn(|| driver.collect()).collect();
            assert_eq!(seen, ids.into_iter().map(|id| (id, round)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_was_completed_in_another_order_is_still_told_apart() {
    for layout in forms(8) {
        let (mut driver, mut ring) = pair(&layout);
        for _ in 0..20 {
            let ids = [1, 2, 3].map(|n| driver.offer(&[filled(BUFFERS + n, 1)]));
            driver.show();
            let chains = [0; 3].map(|_| ring.pop_readable(&mut Vec::new()).unwrap().unwrap());
            for n in [2, 0, 1] {
                ring.complete(chains[n], n as u32);
            }
            let _ = ring.publish();
            assert_eq!([0; 3].map(|_| driver.collect().unwrap()), [(ids[2], 2), (ids[0], 0), (ids[1], 1)]);
        }
    }
}

#[test]
fn buffers_that_are_not_enough_are_given_back_untouched() {
    for layout in forms(8) {
        let (mut driver, mut ring) = pair(&layout);
        for round in 0..30_u64 {
            let ids = [0, 1, 2].map(|n| {
                let at = BUFFERS + 0x100 * n;
                if n == 1 {
                    driver.offer(&[empty(at, 50), empty(at + 50, 50)])
                } else {
                    driver.offer(&[empty(at, 100)])
                }
            });
            driver.show();
            let mut pieces = Vec::new();
            let first = ring.pop_writable(&mut pieces).unwrap().unwrap();
            let mark = ring.mark();
            let kept = pieces.len();
            for _ in 0..2 {
                assert!(ring.pop_writable(&mut pieces).unwrap().is_some());
            }
            assert_eq!(ring.pop_writable(&mut pieces), Ok(None), "a fourth would be needed");
            ring.rewind(mark);
            pieces.truncate(kept);
            assert!(ring.has_available());
            ring.complete(first, 1);
            let _ = ring.publish();
            assert_eq!(driver.collect(), Some((ids[0], 1)));
            assert_eq!(driver.collect(), None);
            let again = [0; 2].map(|_| ring.pop_writable(&mut pieces).unwrap().expect("given back"));
            assert_eq!(
                pieces[1..],
                [(0x100, 50), (0x132, 50), (0x200, 100)].map(|(at, len)| piece(BUFFERS + at, len))
            );
            for chain in again {
                ring.complete(chain, 100);
            }
            let _ = ring.publish();
            assert_eq!(
                [driver.collect(), driver.collect()],
                [Some((ids[1], 100)), Some((ids[2], 100))],
                "{round}"
            );
        }
    }
}

#[test]
fn a_buffer_over_two_regions_is_two_pieces() {
    for layout in forms(4) {
        let (mut driver, mut ring) = pair(&layout);
        driver.offer(&[filled(START + LEN - 10, 64)]);
        driver.show();
        let mut pieces = Vec::new();
        let chain = ring.pop_readable(&mut pieces).unwrap().unwrap();
        assert_eq!(pieces, [piece(START + LEN - 10, 10), piece(START + LEN, 54)]);
        assert_eq!((chain.len, chain.pieces), (64, 2));
    }
}

#[test]
fn copies_follow_the_pieces_of_both_sides() {
    let (here, there) = (guest(), guest());
    let bytes: Vec<u8> = (0..=255).collect();
    let sources = [(0, 5), (100, 1), (200, 250)].map(|(at, len)| piece(BUFFERS + at, len));
    let targets = [(7, 100), (300, 3), (400, 20), (500, 400)].map(|(at, len)| piece(BUFFERS + at, len));
    assert_eq!(pieces::scatter(&here, &sources, 0, &bytes), Ok(256));
    assert_eq!(pieces::scatter(&here, &sources, 250, &bytes), Ok(6), "the pieces end");
    assert_eq!(pieces::scatter(&here, &sources, 0, &bytes), Ok(256));
    let mut back = [0; 256];
    assert_eq!(pieces::gather(&here, &sources, 0, &mut back), Ok(256));
    assert_eq!(back[..], bytes[..]);
    let mut tail = [0; 8];
    assert_eq!(pieces::gather(&here, &sources, 252, &mut tail), Ok(4));
    assert_eq!(tail, [252, 253, 254, 255, 0, 0, 0, 0]);
    let from = Place { memory: &here, pieces: &sources, skip: 2 };
    let to = Place { memory: &there, pieces: &targets, skip: 12 };
    assert_eq!(pieces::copy(from, to, 1000), Ok(254), "all that there is");
    let mut copied = [0; 254];
    assert_eq!(pieces::gather(&there, &targets, 12, &mut copied), Ok(254));
    assert_eq!(copied[..], bytes[2..]);
    assert_eq!(pieces::copy(from, to, 3), Ok(3), "no more than asked for");
    let short = Place { memory: &there, pieces: &targets[..1], skip: 90 };
    assert_eq!(pieces::copy(from, short, 1000), Ok(10), "no more than there is room");
    let nowhere = Place { memory: &there, pieces: &[piece(0, 4)], skip: 0 };
    assert!(pieces::copy(from, nowhere, 4).is_err());
}

#[test]
fn the_driver_is_called_as_its_flag_says() {
    for layout in [layout(RING, 8, false, false), layout(RING, 8, true, false), layout(RING, 8, true, true)] {
        let (mut driver, mut ring) = pair(&layout);
        for wanted in [true, false, false, true, false] {
            driver.want_calls(wanted);
            driver.offer(&[filled(BUFFERS, 1)]);
            driver.show();
            let chain = ring.pop_readable(&mut Vec::new()).unwrap().unwrap();
            ring.complete(chain, 0);
            assert_eq!(ring.publish(), wanted, "{layout:?}");
            assert!(driver.collect().is_some());
        }
    }
}

/// Where rings start so that their indices soon begin anew.
fn late(layout: &Layout) -> Base {
    Base::from_bits(if layout.packed { 5 } else { 65_530 })
}

#[test]
fn the_driver_is_called_when_its_event_is_passed_and_only_then() {
    for layout in [layout(RING, 8, false, true), layout(RING, 8, true, true), layout(RING, 7, true, true)] {
        for base in [start(&layout), late(&layout)] {
            let memory = guest();
            let mut driver = Driver::new(&memory, &layout, base);
            let mut ring = Ring::new(memory, &layout, base).unwrap();
            let (mut calls, mut random) = (0, 1_u32);
            for round in 0..20_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (offers, wait) = (1 + (random >> 8) % 3, u64::from((random >> 16) % 6));
                let event = driver.seen() + wait;
                driver.want_call_at(event);
                let before = driver.seen();
                for n in 0..offers {
                    let two = [filled(BUFFERS, 1), filled(BUFFERS + 1, 1)];
                    driver.offer(&two[..1 + (random >> (20 + n)) as usize % 2]);
                }
                driver.show();
                while let Some(chain) = ring.pop_readable(&mut Vec::new()).unwrap() {
                    ring.complete(chain, 0);
                }
                let called = ring.publish();
                while driver.collect().is_some() {}
                let passed = (before..driver.seen()).contains(&event);
                assert_eq!(called, passed || round == 0, "{layout:?} {base:?} round {round}: event {event}");
                calls += u32::from(called);
            }
            assert!((1_000..19_000).contains(&calls), "both happened: {calls}");
        }
    }
}

#[test]
fn the_device_is_kicked_when_it_is_armed_and_not_while_it_polls() {
    for layout in forms(8) {
        for base in [start(&layout), late(&layout)] {
            let memory = guest();
            let mut driver = Driver::new(&memory, &layout, base);
            let mut ring = Ring::new(memory, &layout, base).unwrap();
            let cycle = |ring: &mut Ring, driver: &mut Driver| {
                driver.offer(&[filled(BUFFERS, 1), filled(BUFFERS, 1)][..1 + (driver.seen() % 2) as usize]);
                let kick = driver.show();
                let chain = ring.pop_readable(&mut Vec::new()).unwrap().unwrap();
                ring.complete(chain, 0);
                let _ = ring.publish();
                assert!(driver.collect().is_some());
                kick
            };
            for _ in 0..30 {
                assert!(!ring.arm(), "nothing there yet");
                assert!(cycle(&mut ring, &mut driver), "{layout:?} armed");
                assert!(!ring.arm());
                ring.suppress();
                for _ in 0..100 {
                    assert!(!cycle(&mut ring, &mut driver), "{layout:?} {base:?} suppressed");
                }
            }
            driver.offer(&[filled(BUFFERS, 1)]);
            driver.show();
            assert!(ring.arm(), "something is there already");
        }
    }
}

#[test]
fn nobody_sleeps_through_a_race_of_arming_and_showing() {
    const CHAINS: u32 = 30_000;
    const LONG: Duration = Duration::from_secs(20);
    for layout in forms(16) {
        let (mut driver, mut ring) = pair(&layout);
        let ((kick, kicked), (call, called)) = (mpsc::channel(), mpsc::channel());
        let device = thread::spawn(move || {
            let (mut done, mut pieces) = (0, Vec::new());
            while done < CHAINS {
                pieces.clear();
                if let Some(chain) = ring.pop_readable(&mut pieces).unwrap() {
                    ring.complete(chain, 0);
                    done += 1;
                    if done % 3 != 0 {
                        continue;
                    }
                }
                if ring.publish() {
                    let _ = call.send(());
                }
                if done < CHAINS && !ring.has_available() && !ring.arm() {
                    kicked.recv_timeout(LONG).expect("a kick for what was shown after arming");
                    ring.suppress();
                }
            }
        });
        let (mut offered, mut collected) = (0, 0);
        while collected < CHAINS {
            while offered < CHAINS && driver.room() > 0 {
                driver.offer(&[filled(BUFFERS, 1)]);
                offered += 1;
                if offered % 2 == 0 && driver.show() {
                    let _ = kick.send(());
                }
            }
            if driver.show() {
                let _ = kick.send(());
            }
            let before = collected;
            while driver.collect().is_some() {
                collected += 1;
            }
            if collected == before {
                if layout.event_idx {
                    driver.want_call_at(driver.seen())
                } else {
                    driver.want_calls(true)
                }
                match driver.collect() {
                    Some(_) => collected += 1,
                    None => called.recv_timeout(LONG).expect("a call for what was published after asking"),
                }
            }
        }
        device.join().expect("the device");
    }
}

#[test]
fn a_ring_goes_on_where_another_device_left_it() {
    for layout in forms(8) {
        let memory = guest();
        let mut base = late(&layout);
        let mut driver = Driver::new(&memory, &layout, base);
        for n in 0..50 {
            let mut ring = Ring::new(memory.clone(), &layout, base).unwrap();
            let ids = [0, 1, 2].map(|n| driver.offer(&[filled(BUFFERS + n, 1)]));
            driver.show();
            let mut pieces = Vec::new();
            let first = ring.pop_readable(&mut pieces).unwrap().unwrap();
            ring.complete(first, 7);
            let _ = ring.publish();
            assert_eq!(driver.collect(), Some((ids[0], 7)), "{layout:?} {n}");
            assert!(ring.pop_readable(&mut pieces).unwrap().is_some(), "and never completed");
            base = ring.base();
            let mut ring = Ring::new(memory.clone(), &layout, base).unwrap();
            pieces.clear();
            for id in &ids[1..] {
                let chain = ring.pop_readable(&mut pieces).unwrap().unwrap();
                ring.complete(chain, 8);
                let _ = ring.publish();
                assert_eq!(driver.collect(), Some((*id, 8)));
            }
            assert_eq!(pieces, [piece(BUFFERS + 1, 1), piece(BUFFERS + 2, 1)]);
            base = ring.base();
        }
    }
}

#[test]
fn a_split_ring_that_was_left_in_haste_is_taken_up_where_it_was_used() {
    let layout = layout(RING, 8, false, false);
    let memory = guest();
    let mut driver = Driver::new(&memory, &layout, late(&layout));
    driver.offer(&[filled(BUFFERS, 1)]);
    driver.show();
    let taken = Base::from_bits(65_531);
    let mut ring = Ring::new(memory.clone(), &layout, taken).unwrap();
    assert!(ring.pop_readable(&mut Vec::new()).unwrap().is_some(), "taken before, and never used");
    let far = Base::from_bits(100);
    assert_eq!(
        Ring::new(memory, &layout, far).unwrap().base(),
        far,
        "an index of another life is not heeded"
    );
}

#[test]
fn a_ring_goes_on_when_the_memory_table_changes() {
    for layout in forms(8) {
        let (mut driver, mut ring) = pair(&layout);
        let mut pieces = Vec::new();
        driver.offer(&[filled(START + LEN, 4)]);
        driver.offer(&[filled(START + LEN, 4)]);
        driver.show();
        let chain = ring.pop_readable(&mut pieces).unwrap().unwrap();
        ring.complete(chain, 1);
        let _ = ring.publish();
        assert!(driver.collect().is_some());
        let user = 0x7f00_0000_0000 + START + LEN;
        let less = Arc::new(driver.memory.without(START + LEN, user, LEN).expect("the second region"));
        let over = |memory| Ring::new(memory, &layout, ring.base());
        let mut poorer = over(less).expect("the ring is in the first");
        assert_eq!(poorer.pop_readable(&mut pieces), Err(Fault::Address));
        assert_eq!(over(Arc::new(GuestMemory::default())).err(), Some(Fault::Ring));
        let mut ring = over(driver.memory.clone()).unwrap();
        assert!(ring.pop_readable(&mut pieces).unwrap().is_some());
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let memory = guest();
    let good = layout(RING, 8, false, true);
    let packed = layout(RING, 8, true, true);
    let new = |layout: &Layout| Ring::new(memory.clone(), layout, start(layout)).map(|ring| ring.size());
    for size in [0, 3, 6, 32769, 65535] {
        assert_eq!(new(&Layout { size, ..good.clone() }), Err(Fault::Size), "{size}");
    }
    for size in [0, 32769] {
        assert_eq!(new(&Layout { size, ..packed.clone() }), Err(Fault::Size), "{size}");
    }
    assert_eq!(new(&Layout { size: 7, ..packed.clone() }), Ok(7));
    assert_eq!(
        new(&Layout { size: 32768, device: RING + 0xa_0000, driver: RING + 0x9_0000, ..good.clone() }),
        Ok(32768)
    );
    for layout in [good.clone(), packed.clone()] {
        for bad in [
            Layout { descriptors: RING + 8, ..layout.clone() },
            Layout { descriptors: 0, ..layout.clone() },
            Layout { descriptors: !15, ..layout.clone() },
            Layout { descriptors: START + 2 * LEN - 112, ..layout.clone() },
            Layout { driver: RING + 1, ..layout.clone() },
            Layout { driver: START + 2 * LEN - 2, ..layout.clone() },
            Layout { device: RING + 2, ..layout.clone() },
            Layout { device: START + LEN - 2, ..layout.clone() },
        ] {
            assert_eq!(new(&bad), Err(Fault::Ring), "{bad:?}");
        }
    }
    let base = Base::from_bits(8);
    assert_eq!(Ring::new(memory.clone(), &packed, base).map(|_| ()), Err(Fault::Base));
}

/// Descriptors as they are: address, length and flags.
type Parts = Vec<(u64, u32, u16)>;

/// What taking one chain says, of either kind, after `lie` has made it available.
fn verdict<T>(
    layout: &Layout,
    writable: bool,
    lie: impl Fn(&mut Driver) -> T,
) -> Result<Option<Chain>, Fault> {
    let (mut driver, mut ring) = pair(layout);
    lie(&mut driver);
    driver.show();
    let mut pieces = vec![piece(1, 1)];
    let popped = if writable { ring.pop_writable(&mut pieces) } else { ring.pop_readable(&mut pieces) };
    if popped.is_err() {
        assert_eq!(pieces, [piece(1, 1)], "nothing was added");
        let again = if writable { ring.pop_writable(&mut pieces) } else { ring.pop_readable(&mut pieces) };
        assert_eq!(again, popped, "a fault stays");
        assert_eq!(ring.in_flight(), 0);
    }
    popped
}

#[test]
fn every_lie_of_a_descriptor_is_a_fault() {
    let table = START + 0x3_0000;
    let whole = 2 * LEN as u32;
    for layout in forms(8) {
        let lies: &[(Fault, bool, Parts)] = &[
            (Fault::Address, false, vec![(0, 1, 0)]),
            (Fault::Address, false, vec![(START - 1, 2, 0)]),
            (Fault::Address, false, vec![(START, whole + 1, 0)]),
            (Fault::Address, false, vec![(u64::MAX, 1, 0)]),
            (Fault::Address, false, vec![(u64::MAX, u32::MAX, 0)]),
            (Fault::Address, true, vec![(BUFFERS, 1, WRITE), (START + 2 * LEN, 1, WRITE)]),
            (Fault::Empty, false, vec![(BUFFERS, 0, 0)]),
            (Fault::Empty, true, vec![(BUFFERS, 1, WRITE), (BUFFERS, 0, WRITE)]),
            (Fault::Writable, false, vec![(BUFFERS, 1, WRITE)]),
            (Fault::Writable, false, vec![(BUFFERS, 1, 0), (BUFFERS, 1, WRITE)]),
            (Fault::Readable, true, vec![(BUFFERS, 1, 0)]),
            (Fault::Readable, true, vec![(BUFFERS, 1, WRITE), (BUFFERS, 1, 0)]),
            (Fault::IndirectNext, false, vec![(table, 16, INDIRECT | NEXT)]),
            (Fault::IndirectNext, false, vec![(table, 16, INDIRECT), (BUFFERS, 1, 0)]),
            (Fault::Table, false, vec![(table, 0, INDIRECT)]),
            (Fault::Table, false, vec![(table, 8, INDIRECT)]),
            (Fault::Table, false, vec![(table, 40, INDIRECT)]),
            (Fault::Table, false, vec![(table, u32::MAX, INDIRECT)]),
            (Fault::Address, false, vec![(0, 16, INDIRECT)]),
            (Fault::Address, false, vec![(u64::MAX - 7, 32, INDIRECT)]),
            (Fault::Address, false, vec![(START + LEN - 8, 16, INDIRECT)]),
        ];
        for (fault, writable, parts) in lies {
            let found = verdict(&layout, *writable, |driver| driver.offer_raw(parts));
            assert_eq!(found, Err(*fault), "{layout:?} {parts:x?}");
        }
        let agreed = Layout { indirect: false, ..layout.clone() };
        let found = verdict(&agreed, false, |driver| driver.offer_indirect(table, &[filled(BUFFERS, 1)]));
        assert_eq!(found, Err(Fault::Indirect));
    }
}

#[test]
fn every_lie_of_an_indirect_table_is_a_fault() {
    let table = START + 0x3_0000;
    for layout in forms(8) {
        // The flags' place in an entry.
        let flags_at = if layout.packed { 14 } else { 12 };
        let with = |entries: &[Buffer], flags: u16| {
            let entries = entries.to_vec();
            verdict(&layout, false, move |driver| {
                driver.offer_indirect(table, &entries);
                driver.memory.write(table + flags_at, &flags.to_le_bytes()).unwrap();
            })
        };
        let one = filled(BUFFERS, 1);
        assert_eq!(with(&[one], INDIRECT), Err(Fault::Nested));
        assert_eq!(with(&[one], WRITE), Err(Fault::Writable));
        assert_eq!(with(&[filled(0, 1)], 0), Err(Fault::Address));
        assert_eq!(with(&[filled(BUFFERS, 0)], 0), Err(Fault::Empty));
        if !layout.packed {
            let next = |next: u16| {
                verdict(&layout, false, |driver| {
                    driver.offer_indirect(table, &[one, one]);
                    driver.memory.write(table + 14, &next.to_le_bytes()).unwrap();
                })
            };
            assert_eq!(next(0), Err(Fault::Long), "a loop");
            assert_eq!(next(2), Err(Fault::Index));
            assert_eq!(next(u16::MAX), Err(Fault::Index));
        }
        // Longer than the ring, as Linux has it, but not longer than any frame needs.
        let long = |count| verdict(&layout, false, |driver| driver.offer_indirect(table, &vec![one; count]));
        assert_eq!(long(1024).unwrap().expect("a chain").pieces, 1024);
        assert_eq!(long(1025), Err(Fault::Long));
        let big = filled(START, LEN as u32);
        let found = verdict(&layout, false, |driver| {
            driver.offer_indirect(table, &[big; 1024]);
        });
        assert_eq!(found.unwrap().expect("a chain of almost 1 GiB").len, 1 << 30);
    }
    let memory = memory(&[(0, 1 << 23)]);
    for packed in [false, true] {
        let layout = layout(0x1000, 4, packed, false);
        let mut driver = Driver::new(&memory, &layout, start(&layout));
        let mut ring = Ring::new(memory.clone(), &layout, start(&layout)).unwrap();
        driver.offer_indirect(0x10_0000, &[filled(0, 1 << 23); 512]);
        driver.show();
        assert_eq!(ring.pop_readable(&mut Vec::new()), Err(Fault::Huge));
    }
}

#[test]
fn every_lie_of_a_split_ring_is_a_fault() {
    let layout = layout(RING, 8, false, true);
    let lie = |lie: &dyn Fn(&mut Driver)| verdict(&layout, false, lie);
    let set_index = |index: u16| {
        let (driver, mut ring) = pair(&layout);
        driver.driver.store_u16(2, index, Ordering::Release);
        ring.pop_readable(&mut Vec::new())
    };
    assert_eq!(set_index(9), Err(Fault::Jump));
    assert_eq!(set_index(65_535), Err(Fault::Jump), "backwards");
    let offer = |driver: &mut Driver| driver.offer(&[filled(BUFFERS, 1)]);
    for head in [8, 0x8000, 65_535] {
        let found = lie(&|driver| {
            offer(driver);
            driver.driver.store_u16(4, head, Ordering::Relaxed);
        });
        assert_eq!(found, Err(Fault::Index));
    }
    for (next, fault) in [(0, Fault::Long), (8, Fault::Index), (65_535, Fault::Index)] {
        let found = lie(&|driver| {
            offer(driver);
            driver.descriptor(0, BUFFERS, 1, NEXT, next);
        });
        assert_eq!(found, Err(fault), "next {next}");
    }
    let found = lie(&|driver| {
        offer(driver);
        for index in 0..8 {
            driver.descriptor(index, BUFFERS, 1, NEXT, (index + 1) % 8);
        }
    });
    assert_eq!(found, Err(Fault::Long), "a loop through all");

    let (mut driver, mut ring) = pair(&layout);
    for _ in 0..8 {
        driver.offer(&[filled(BUFFERS, 1)]);
    }
    driver.show();
    for _ in 0..8 {
        assert!(ring.pop_readable(&mut Vec::new()).unwrap().is_some());
    }
    driver.driver.store_u16(2, 9, Ordering::Release);
    assert_eq!(ring.pop_readable(&mut Vec::new()), Err(Fault::Jump), "more on their way than there are");
}

#[test]
fn every_lie_of_a_packed_ring_is_a_fault() {
    let layout = layout(RING, 8, true, true);
    let found = verdict(&layout, false, |driver| driver.offer_raw(&[(BUFFERS, 1, NEXT); 8]));
    assert_eq!(found, Err(Fault::Long), "once round and on");

    let (mut driver, mut ring) = pair(&layout);
    for _ in 0..8 {
        driver.offer(&[filled(BUFFERS, 1)]);
    }
    driver.show();
    for _ in 0..8 {
        assert!(ring.pop_readable(&mut Vec::new()).unwrap().is_some());
    }
    assert_eq!(ring.pop_readable(&mut Vec::new()), Ok(None));
    let next_round = 1_u64 << 63 | 1;
    driver.descriptors.store_u64(8, next_round, Ordering::Release);
    assert_eq!(ring.pop_readable(&mut Vec::new()), Err(Fault::Jump), "again, and not yet used");
}
