//! The neighbour table against what must hold whatever happens: every frame that is held comes back once and in order or
//! is counted as dropped, the bounds hold, a neighbour that answers stays known through any scan, and who scans does not
//! keep others from finding theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::{DropReason, Frame, InterfaceId, PortId};
use tapyard::table::neighbors::{Heard, Held, NeighborLimits, Neighbors, Resolution, State, Task};
use tapyard::time::Time;
use tapyard::wire::address::Address;
use tapyard::wire::ethernet::Mac;

const LAN: InterfaceId = InterfaceId(0);
const MILLISECOND: Duration = Duration::from_millis(1);

fn address(n: u32) -> Address {
    Address::v4(0x0a00_0000 | n)
}

fn mac(n: u32) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | u64::from(n))
}

#[derive(Clone, Debug)]
enum Event {
    /// A packet of so many bytes to a neighbour comes by a port.
    Packet {
        to: u32,
        from: u16,
        len: usize,
    },
    /// Something is heard of a neighbour.
    Hear {
        of: u32,
        mac: u32,
        how: Heard,
    },
    Confirm(u32),
    Look(u32),
    Pin(u32),
    Unpin(u32),
    Flush(Option<u32>),
    Wait(u64),
    Due,
}

fn event() -> impl Strategy<Value = Event> {
    let heard = select(vec![
        Heard::Answer { overrides: true },
        Heard::Answer { overrides: true },
        Heard::Answer { overrides: false },
        Heard::Asked,
        Heard::Claim { overrides: true },
        Heard::Claim { overrides: false },
    ]);
    let packet = (0..16u32, 0..4u16, prop_oneof![9 => 60..200usize, 1 => 200..900usize]);
    prop_oneof![
        20 => packet.prop_map(|(to, from, len)| Event::Packet { to, from, len }),
        8 => (0..16u32, 1..4u32, heard).prop_map(|(of, mac, how)| Event::Hear { of, mac, how }),
        1 => (0..16u32).prop_map(Event::Confirm),
        4 => (0..16u32).prop_map(Event::Look),
        1 => (0..16u32).prop_map(Event::Pin),
        1 => (0..16u32).prop_map(Event::Unpin),
        1 => prop::option::of(0..16u32).prop_map(Event::Flush),
        6 => prop_oneof![0..2000u64, 0..40_000u64].prop_map(Event::Wait),
        8 => Just(Event::Due),
    ]
}

/// The frames that wait, as one who only sees what goes in and comes out knows them.
#[derive(Default)]
struct Waiting {
    /// For which neighbour each waits and the port that it came by, by its number.
    frames: BTreeMap<u64, (u32, PortId)>,
    /// Frames of each port that are said to be dropped.
    dropped: BTreeMap<PortId, usize>,
}

impl Waiting {
    fn take_back(&mut self, of: Address, held: &[Held]) -> Result<(), TestCaseError> {
        prop_assert!(held.is_sorted_by_key(|held| held.context), "in order");
        for held in held {
            let (for_whom, from) = self.frames.remove(&held.context).expect("it was held, and once");
            prop_assert_eq!((address(for_whom), from), (of, held.from));
            prop_assert_eq!(&held.bytes[..8], &held.context.to_be_bytes());
        }
        Ok(())
    }

    fn do_tasks(&mut self, tasks: Vec<Task>) -> Result<(), TestCaseError> {
        for task in tasks {
            match task {
                Task::Ask { .. } => {}
                Task::Failed { address, held, .. } => self.take_back(address, &held)?,
                Task::Dropped { from, frames } => *self.dropped.entry(from).or_default() += frames as usize,
            }
        }
        Ok(())
    }

    fn of(&self, port: PortId) -> usize {
        self.frames.values().filter(|(_, from)| *from == port).count()
    }
}

fn frame(number: u64, len: usize) -> Frame {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(len, 0);
    Frame::from_bytes(&bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn frames_are_conserved_and_bounds_hold(events in vec(event(), 0..150)) {
        let limits =
            NeighborLimits { known: 5, unknown: 4, held: 3, held_bytes: 2000, ..NeighborLimits::default() };
        let neighbors = Neighbors::new(limits);
        let (mut now, mut waiting, mut tasks) = (Time::from_secs(1), Waiting::default(), Vec::new());
        let mut given = BTreeMap::new();
        for (number, event) in (0..).zip(&events) {
            let generation = neighbors.generation();
            match *event {
                Event::Packet { to, from, len } => {
                    let resolution =
                        neighbors.resolve(LAN, address(to), &frame(number, len), PortId(from), number, now);
                    match resolution {
                        Resolution::Known(mac) => _ = given.insert(to, mac),
                        Resolution::Asked | Resolution::Held => {
                            waiting.frames.insert(number, (to, PortId(from)));
                        }
                        Resolution::Refused(reason) => {
                            prop_assert!([DropReason::NeighborQueue, DropReason::NoNeighbor].contains(&reason));
                        }
                    }
                }
                Event::Hear { of, mac: who, how } => {
                    let before = neighbors.entries();
                    let learned = neighbors.learn(LAN, address(of), mac(who), how, now);
                    waiting.take_back(address(of), &learned.held)?;
                    let known = before.iter().any(|(_, known, _)| *known == address(of));
                    if !known && how != Heard::Asked {
                        prop_assert_eq!(neighbors.entries(), before, "nobody asked");
                    }
                    prop_assert!(!learned.changed || neighbors.generation() != generation);
                }
                Event::Confirm(of) => neighbors.confirm(LAN, address(of), now),
                Event::Look(of) => {
                    if let Some(mac) = neighbors.lookup(LAN, address(of), now) {
                        given.insert(of, mac);
                    }
                }
                Event::Pin(of) => {
                    let learned = neighbors.pin(LAN, address(of), mac(9));
                    waiting.take_back(address(of), &learned.held)?;
                }
                Event::Unpin(of) => _ = neighbors.unpin(LAN, address(of)),
                Event::Flush(of) => _ = neighbors.flush(None, of.map(address)),
                Event::Wait(millis) => now = now + MILLISECOND * millis as u32,
                Event::Due => {
                    tasks.clear();
                    let next = neighbors.due(now, &mut tasks);
                    prop_assert_eq!(next, neighbors.deadline());
                    waiting.do_tasks(std::mem::take(&mut tasks))?;
                }
            }
            let entries = neighbors.entries();
            let known = |state| matches!(state, State::Reachable | State::Stale | State::Delay | State::Probe);
            let unknown = |state| matches!(state, State::Incomplete | State::Failed);
            prop_assert!(entries.iter().filter(|(.., entry)| known(entry.state)).count() <= limits.known);
            prop_assert!(entries.iter().filter(|(.., entry)| unknown(entry.state)).count() <= limits.unknown);
            prop_assert!(entries.iter().all(|(.., entry)| entry.held <= limits.held));
            prop_assert!(entries.iter().all(|(.., entry)| entry.mac.is_some() != unknown(entry.state)));
            // A cache that has what was given out is told when that is wrong.
            let mac_of = |of: u32| {
                let entry = entries.iter().find(|(_, known, _)| *known == address(of));
                entry.and_then(|(.., entry)| entry.mac)
            };
            if generation == neighbors.generation() {
                for (&of, &mac) in &given {
                    prop_assert_eq!(mac_of(of), Some(mac), "{:?}", event);
                }
            } else {
                given.retain(|&of, mac| mac_of(of) == Some(*mac));
            }
            let held: usize = entries.iter().map(|(.., entry)| entry.held).sum();
            prop_assert!(held <= waiting.frames.len());
            prop_assert!(held * (60 + 64) <= limits.held_bytes);
        }
        for _ in 0..2000 {
            tasks.clear();
            let Some(next) = neighbors.due(now, &mut tasks) else { break };
            now = now.max(next);
            waiting.do_tasks(std::mem::take(&mut tasks))?;
        }
        waiting.do_tasks(std::mem::take(&mut tasks))?;
        for port in (0..4).map(PortId) {
            prop_assert_eq!(waiting.of(port), waiting.dropped.get(&port).copied().unwrap_or(0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn who_answers_stays_known_through_a_scan(
        scanned in vec(100..10_000u32, 0..400),
        step in 1..300u64,
        answers in any::<bool>(),
    ) {
        let limits = NeighborLimits { known: 16, unknown: 8, ..NeighborLimits::default() };
        let neighbors = Neighbors::new(limits);
        let (mut now, mut tasks) = (Time::from_secs(1), Vec::new());
        let answer = |of: u32, now| {
            neighbors.learn(LAN, address(of), mac(of), Heard::Answer { overrides: true }, now)
        };
        for friend in 0..4 {
            neighbors.resolve(LAN, address(friend), &frame(0, 60), PortId(1), 0, now);
            prop_assert_eq!(answer(friend, now).held.len(), 1);
        }
        for target in scanned {
            now = now + MILLISECOND * step as u32;
            neighbors.resolve(LAN, address(target), &frame(0, 60), PortId(2), 0, now);
            _ = neighbors.learn(LAN, address(target + 1), mac(target), Heard::Asked, now);
            if answers {
                _ = answer(target, now);
            }
            for friend in 0..4 {
                prop_assert_eq!(neighbors.lookup(LAN, address(friend), now), Some(mac(friend)));
            }
            tasks.clear();
            neighbors.due(now, &mut tasks);
            for task in &tasks {
                if let Task::Ask { address: of, mac: to, .. } = task
                    && let Some(friend) = (0..4).find(|&friend| address(friend) == *of)
                {
                    prop_assert_eq!(*to, Some(mac(friend)), "by unicast");
                    prop_assert_eq!(answer(friend, now).held.len(), 0);
                }
            }
        }
    }

    #[test]
    fn a_scan_keeps_nobody_from_finding_others(scanned in vec(100..10_000u32, 20..100), millis in 1..99u64) {
        let neighbors = Neighbors::new(NeighborLimits { unknown: 8, ..NeighborLimits::default() });
        let mut now = Time::from_secs(1);
        let scan = |now| {
            for &target in &scanned {
                neighbors.resolve(LAN, address(target), &frame(0, 60), PortId(2), 0, now);
            }
        };
        for wanted in 0..20 {
            scan(now);
            let asked = neighbors.resolve(LAN, address(wanted), &frame(0, 60), PortId(1), 7, now);
            prop_assert_eq!(asked, Resolution::Asked);
            scan(now);
            now = now + MILLISECOND * millis as u32;
            scan(now);
            let answer = Heard::Answer { overrides: true };
            let learned = neighbors.learn(LAN, address(wanted), mac(1), answer, now);
            prop_assert_eq!(learned.held.len(), 1);
        }
    }
}
