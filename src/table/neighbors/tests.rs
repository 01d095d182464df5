use super::*;
use crate::wire::checksum;

const LAN: InterfaceId = InterfaceId(1);
const GUEST: PortId = PortId(4);
const OTHER: PortId = PortId(5);
const OVERRIDES: bool = true;

fn address(n: u32) -> Address {
    Address::v4(0x0a00_0000 | n)
}

fn mac(n: u64) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | n)
}

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

fn frame(n: u64) -> Frame {
    Frame::from_bytes(&[&[0xa5; 60][..], &n.to_be_bytes()].concat())
}

/// Small limits, and a frame for a neighbour each.
struct Bench {
    neighbors: Neighbors,
    tasks: Vec<Task>,
}

impl Bench {
    fn new() -> Bench {
        let limits = NeighborLimits { known: 8, unknown: 4, held: 2, ..NeighborLimits::default() };
        Bench { neighbors: Neighbors::new(limits), tasks: Vec::new() }
    }

    fn resolve(&self, n: u32, from: PortId, millis: u64) -> Resolution {
        self.neighbors.resolve(LAN, address(n), &frame(n.into()), from, n.into(), at(millis))
    }

    fn answer(&self, n: u32, mac: Mac, millis: u64) -> Learned {
        self.neighbors.learn(LAN, address(n), mac, Heard::Answer { overrides: OVERRIDES }, at(millis))
    }

    fn known(&self, n: u32, millis: u64) {
        self.resolve(n, GUEST, millis);
        _ = self.answer(n, mac(n.into()), millis);
    }

    fn due(&mut self, millis: u64) -> (Vec<Task>, Option<u64>) {
        self.tasks.clear();
        let next = self.neighbors.due(at(millis), &mut self.tasks);
        assert_eq!(next, self.neighbors.deadline());
        (std::mem::take(&mut self.tasks), next.map(|next| next.nanos() / 1_000_000))
    }

    fn state(&self, n: u32) -> Option<State> {
        let entries = self.neighbors.entries();
        entries.iter().find(|(_, known, _)| *known == address(n)).map(|(.., entry)| entry.state)
    }
}

fn ask(n: u32, mac: Option<Mac>) -> Task {
    Task::Ask { interface: LAN, address: address(n), mac }
}

fn contexts(held: &[Held]) -> Vec<u64> {
    held.iter().map(|held| held.context).collect()
}

#[test]
fn a_question_is_asked_once_and_frames_wait_in_order() {
    let bench = Bench::new();
    assert_eq!(bench.resolve(1, GUEST, 0), Resolution::Asked);
    let second = bench.neighbors.resolve(LAN, address(1), &frame(7), OTHER, 7, at(1));
    assert_eq!(second, Resolution::Held);
    assert_eq!(bench.state(1), Some(State::Incomplete));
    let learned = bench.answer(1, mac(1), 2);
    assert_eq!((contexts(&learned.held), learned.changed), (vec![1, 7], false));
    assert_eq!(learned.held[1].from, OTHER);
    assert_eq!(*learned.held[1].bytes, *frame(7).bytes());
    assert_eq!(bench.resolve(1, GUEST, 3), Resolution::Known(mac(1)));
    assert_eq!(bench.state(1), Some(State::Reachable));
    assert_eq!(bench.neighbors.generation(), 0, "nobody had another address");
}

#[test]
fn the_oldest_of_too_many_makes_room_and_is_counted() {
    let mut bench = Bench::new();
    for context in 1..=4 {
        bench.neighbors.resolve(LAN, address(1), &frame(context), PortId(context as u16), context, at(0));
    }
    assert_eq!(bench.neighbors.deadline(), Some(Time::ZERO), "at once");
    let dropped = |from| Task::Dropped { from: PortId(from), frames: 1 };
    assert_eq!(bench.due(1), (vec![dropped(1), dropped(2)], Some(1000)));
    assert_eq!(contexts(&bench.answer(1, mac(1), 2).held), [3, 4]);
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_then_not_for_a_while() {
    let mut bench = Bench::new();
    bench.resolve(1, GUEST, 0);
    assert_eq!(bench.due(999), (vec![], Some(1000)));
    assert_eq!(bench.due(1000), (vec![ask(1, None)], Some(2000)));
    assert_eq!(bench.due(2000), (vec![ask(1, None)], Some(3000)));
    let (tasks, next) = bench.due(3000);
    let [Task::Failed { interface: LAN, address: failed, held }] = &tasks[..] else { panic!("{tasks:?}") };
    assert_eq!((*failed, contexts(held), next), (address(1), vec![1], Some(5000)));
    assert_eq!(bench.resolve(1, GUEST, 4999), Resolution::Refused(DropReason::NoNeighbor));
    assert_eq!(bench.resolve(1, GUEST, 5000), Resolution::Asked);
    for millis in [6000, 7000, 8000] {
        bench.due(millis);
    }
    assert_eq!(bench.due(10_000), (vec![], None), "forgotten");
    assert_eq!(bench.state(1), None);
}

#[test]
fn a_late_answer_ends_the_wait() {
    let mut bench = Bench::new();
    bench.resolve(1, GUEST, 0);
    for millis in [1000, 2000, 3000] {
        bench.due(millis);
    }
    assert_eq!(bench.state(1), Some(State::Failed));
    assert_eq!(bench.answer(1, mac(1), 3001), Learned::default());
    assert_eq!(bench.resolve(1, GUEST, 3002), Resolution::Known(mac(1)));
}

#[test]
fn a_neighbour_in_use_is_asked_by_unicast_before_it_expires() {
    let mut bench = Bench::new();
    bench.known(1, 0);
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(20_000)), Some(mac(1)));
    assert_eq!(bench.due(26_999), (vec![], Some(27_000)));
    assert_eq!(bench.due(27_000), (vec![ask(1, Some(mac(1)))], Some(28_000)));
    assert_eq!(bench.resolve(1, GUEST, 27_500), Resolution::Known(mac(1)), "used on");
    assert_eq!(bench.answer(1, mac(1), 27_501), Learned::default());
    assert_eq!(bench.due(28_000), (vec![], Some(54_501)));
    assert_eq!(bench.neighbors.generation(), 0);
    // Not used since: it is not asked, but forgotten in the end.
    assert_eq!(bench.due(54_501), (vec![], Some(57_501)));
    assert_eq!(bench.due(57_501), (vec![], Some(57_501 + 1_200_000)));
    assert_eq!(bench.state(1), Some(State::Stale));
    assert_eq!(bench.due(57_501 + 1_200_000), (vec![], None));
    assert_eq!(bench.neighbors.generation(), 1, "a cache may have it yet");
}

#[test]
fn use_in_the_last_moment_is_noticed_too() {
    let mut bench = Bench::new();
    bench.known(1, 0);
    assert_eq!(bench.due(27_000), (vec![], Some(30_000)));
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(29_999)), Some(mac(1)));
    assert_eq!(bench.due(30_000), (vec![ask(1, Some(mac(1)))], Some(31_000)));
}

#[test]
fn a_stale_neighbour_that_is_used_is_asked_after_a_delay() {
    let mut bench = Bench::new();
    bench.known(1, 0);
    bench.due(27_000);
    bench.due(30_000);
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(40_000)), Some(mac(1)));
    assert_eq!(bench.state(1), Some(State::Delay));
    assert_eq!(bench.neighbors.deadline(), Some(at(41_000)));
    assert_eq!(bench.due(41_000).0, [ask(1, Some(mac(1)))]);
    assert_eq!(bench.due(42_000).0, [ask(1, Some(mac(1)))]);
    assert_eq!(bench.due(43_000).0, [ask(1, None)], "the last question goes to everybody");
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(43_999)), Some(mac(1)));
    assert_eq!(bench.due(44_000), (vec![], None));
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(44_000)), None);
    assert_eq!(bench.neighbors.generation(), 1);
}

#[test]
fn an_answer_without_an_address_confirms_what_was_asked() {
    let mut bench = Bench::new();
    bench.known(1, 0);
    bench.neighbors.confirm(LAN, address(1), at(10_000));
    bench.neighbors.lookup(LAN, address(1), at(20_000));
    bench.due(27_000);
    assert_eq!(bench.state(1), Some(State::Probe), "what nobody asked for confirms nothing");
    bench.neighbors.confirm(LAN, address(1), at(27_001));
    assert_eq!(bench.state(1), Some(State::Reachable));
}

#[test]
fn claims_change_entries_but_create_none() {
    let mut bench = Bench::new();
    let learn =
        |bench: &Bench, mac, how, millis| bench.neighbors.learn(LAN, address(1), mac, how, at(millis));
    let (claim, polite) = (Heard::Claim { overrides: true }, Heard::Claim { overrides: false });
    for how in [claim, polite, Heard::Answer { overrides: true }] {
        assert_eq!(learn(&bench, mac(9), how, 0), Learned::default());
        assert_eq!(bench.state(1), None, "{how:?}");
    }
    bench.known(1, 0);
    bench.neighbors.lookup(LAN, address(1), at(1));
    assert!(!learn(&bench, mac(9), polite, 2).changed);
    assert_eq!(bench.state(1), Some(State::Stale), "to be asked again");
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(3)), Some(mac(1)));
    assert!(learn(&bench, mac(9), claim, 4).changed);
    assert_eq!(bench.neighbors.generation(), 1);
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(5)), Some(mac(9)));
    assert!(!learn(&bench, mac(8), claim, 1003).changed, "who fights for an address does so at leisure");
    assert!(learn(&bench, mac(8), claim, 1004).changed);
    assert_eq!(bench.neighbors.lookup(LAN, address(1), at(1005)), Some(mac(8)));
    bench.due(2005);
    assert_eq!(bench.state(1), Some(State::Probe));
    _ = bench.answer(1, mac(8), 2006);
    assert_eq!(bench.state(1), Some(State::Reachable));
}

#[test]
fn who_asks_is_remembered_and_who_is_a_group_is_not() {
    let bench = Bench::new();
    let asked = |n: u32, mac| bench.neighbors.learn(LAN, address(n), mac, Heard::Asked, at(0));
    assert_eq!(asked(1, mac(1)), Learned::default());
    assert_eq!(bench.state(1), Some(State::Stale));
    for bad in [Mac::BROADCAST, Mac::new([1, 0, 0x5e, 0, 0, 1]), Mac::default()] {
        _ = asked(2, bad);
        assert_eq!(bench.state(2), None);
    }
    _ = bench.neighbors.learn(LAN, Address::v4(0xe000_0001), mac(1), Heard::Asked, at(0));
    _ = bench.neighbors.learn(LAN, Address::v4(0), mac(1), Heard::Asked, at(0));
    assert_eq!(bench.neighbors.entries().len(), 1);
    // A claim in the middle of a question is taken, as frames wait; but it will be asked.
    bench.resolve(3, GUEST, 0);
    let learned = bench.neighbors.learn(LAN, address(3), mac(3), Heard::Claim { overrides: false }, at(1));
    assert_eq!((contexts(&learned.held), bench.state(3)), (vec![3], Some(State::Delay)));
}

#[test]
fn a_static_entry_stays() {
    let mut bench = Bench::new();
    bench.resolve(1, GUEST, 0);
    assert_eq!(contexts(&bench.neighbors.pin(LAN, address(1), mac(1)).held), [1]);
    assert_eq!(bench.answer(1, mac(2), 1), Learned::default());
    assert_eq!(bench.due(1_000_000_000), (vec![], None));
    assert_eq!(bench.neighbors.flush(None, None), 0);
    assert_eq!(bench.resolve(1, GUEST, 2), Resolution::Known(mac(1)));
    assert!(bench.neighbors.pin(LAN, address(1), mac(3)).changed);
    assert_eq!(bench.neighbors.generation(), 1);
    assert!(bench.neighbors.unpin(LAN, address(1)) && !bench.neighbors.unpin(LAN, address(1)));
    assert_eq!((bench.neighbors.generation(), bench.state(1)), (2, None));
    bench.known(1, 3);
    assert!(!bench.neighbors.unpin(LAN, address(1)), "it is not static");
}

#[test]
fn who_scans_loses_his_own_questions() {
    let mut bench = Bench::new();
    bench.resolve(1, OTHER, 0);
    for n in 10..13 {
        assert_eq!(bench.resolve(n, GUEST, 0), Resolution::Asked);
    }
    assert_eq!(bench.resolve(13, GUEST, 99), Resolution::Refused(DropReason::NeighborQueue), "no time yet");
    assert_eq!(bench.resolve(13, GUEST, 100), Resolution::Asked);
    assert_eq!(bench.state(10), None);
    assert_eq!(bench.resolve(2, OTHER, 101), Resolution::Asked, "at the expense of who has most");
    let left: Vec<_> = [1, 2, 11, 12, 13].into_iter().filter(|&n| bench.state(n).is_some()).collect();
    assert_eq!(left, [1, 2, 12, 13]);
    assert_eq!(bench.due(101).0, [Task::Dropped { from: GUEST, frames: 2 }]);
}

#[test]
fn a_full_table_forgets_whom_nothing_is_sent_to() {
    let mut bench = Bench::new();
    for n in 1..=8 {
        bench.known(n, 0);
    }
    assert_eq!(bench.resolve(9, GUEST, 1), Resolution::Asked);
    let learned = bench.answer(9, mac(9), 2);
    assert_eq!((contexts(&learned.held), bench.state(9)), (vec![9], None), "all others are reachable");
    _ = bench.neighbors.learn(LAN, address(9), mac(9), Heard::Asked, at(3));
    assert_eq!(bench.state(9), None);
    bench.due(27_000);
    bench.neighbors.lookup(LAN, address(1), at(27_000));
    bench.due(30_000);
    assert_eq!((bench.state(1), bench.state(2)), (Some(State::Probe), Some(State::Stale)));
    _ = bench.neighbors.learn(LAN, address(9), mac(9), Heard::Asked, at(30_001));
    assert_eq!((bench.state(2), bench.state(9)), (None, Some(State::Stale)));
    let generation = bench.neighbors.generation();
    _ = bench.neighbors.learn(LAN, address(10), mac(10), Heard::Asked, at(30_002));
    assert_eq!(
        (bench.state(9), bench.state(3)),
        (None, Some(State::Stale)),
        "the one never sent to goes first"
    );
    assert_eq!(bench.neighbors.generation(), generation, "and no cache has it");
}

#[test]
fn bytes_that_wait_have_a_bound_and_the_question_is_asked_all_the_same() {
    let limits = NeighborLimits { held_bytes: 3 * (68 + 64), ..NeighborLimits::default() };
    let mut bench = Bench { neighbors: Neighbors::new(limits), tasks: Vec::new() };
    bench.resolve(1, OTHER, 0);
    bench.resolve(2, GUEST, 0);
    bench.resolve(3, GUEST, 0);
    assert_eq!(bench.resolve(4, OTHER, 0), Resolution::Asked, "the port with most pays");
    assert_eq!(bench.due(0), (vec![Task::Dropped { from: GUEST, frames: 1 }], Some(1000)));
    assert_eq!(contexts(&bench.answer(2, mac(2), 0).held), [] as [u64; 0]);
    assert_eq!(contexts(&bench.answer(1, mac(1), 0).held), [1]);

    let none = NeighborLimits { held_bytes: 100, ..limits };
    let mut bench = Bench { neighbors: Neighbors::new(none), tasks: Vec::new() };
    assert_eq!(bench.resolve(1, GUEST, 0), Resolution::Refused(DropReason::NeighborQueue));
    assert_eq!(bench.due(0), (vec![ask(1, None)], Some(1000)));
    _ = bench.answer(1, mac(1), 1);
    assert_eq!(bench.resolve(1, GUEST, 2), Resolution::Known(mac(1)));
}

#[test]
fn entries_go_with_their_interface_or_by_command() {
    let mut bench = Bench::new();
    bench.known(1, 0);
    bench.resolve(2, GUEST, 0);
    _ = bench.neighbors.pin(InterfaceId(2), address(1), mac(7));
    assert_eq!(bench.neighbors.flush(Some(InterfaceId(2)), None), 0);
    assert_eq!(bench.neighbors.flush(Some(LAN), Some(address(1))), 1);
    assert_eq!(bench.neighbors.generation(), 1);
    assert_eq!(bench.neighbors.retain_interfaces(|interface| interface != LAN), 1);
    assert_eq!(bench.due(0), (vec![Task::Dropped { from: GUEST, frames: 1 }], None));
    assert_eq!(bench.neighbors.retain_interfaces(|_| false), 1);
    assert!(bench.neighbors.entries().is_empty());
}

#[test]
fn the_work_of_one_call_is_bounded() {
    let mut bench = Bench { neighbors: Neighbors::new(NeighborLimits::default()), tasks: Vec::new() };
    for n in 0..200 {
        assert_eq!(bench.resolve(n, GUEST, 0), Resolution::Asked);
    }
    let mut asked = 0;
    for call in 1..=4 {
        let (tasks, next) = bench.due(1000);
        asked += tasks.len();
        assert_eq!(asked, (call * 64).min(200));
        assert_eq!(next, Some(if call < 4 { 1000 } else { 2000 }));
    }
}

#[test]
fn what_is_left_undone_on_a_frame_comes_back_with_it() {
    let bench = Bench::new();
    let mut unfinished = frame(1);
    unfinished.layer = Layer::Ip;
    unfinished.offload = Offload { needs_csum: true, csum_start: 20, csum_offset: 6, ..Offload::NONE };
    bench.neighbors.resolve(LAN, address(1), &unfinished, GUEST, 0, at(0));
    let held = bench.answer(1, mac(1), 1).held.remove(0);
    assert_eq!((held.layer, held.offload), (Layer::Ip, unfinished.offload));
    assert_eq!(checksum::sum(&held.bytes, 0), checksum::sum(unfinished.bytes(), 0));
}

#[test]
fn all_entries_are_found_page_by_page() {
    for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
        let neighbors = Neighbors::new(NeighborLimits { known: 1000, ..NeighborLimits::default() });
        for n in 0..count as u32 {
            // Two interfaces, and so that the order in which they come is none.
            let interface = InterfaceId(1 + (n % 2) as u16);
            let n = n * 37 % 1009;
            _ = neighbors.learn(interface, address(n), mac(n.into()), Heard::Asked, at(0));
        }
        let keys = || -> Vec<_> {
            neighbors.entries().into_iter().map(|(interface, address, _)| (interface, address)).collect()
        };
        assert_eq!(keys().len(), count);
        assert!(keys().is_sorted_by(|a, b| a < b), "{count}");
        let first = neighbors.table.lock().entries(None);
        assert!(first.len() <= PAGE);
        let (_, next) = neighbors.table.lock().remove_some(None, |_, _| false);
        assert_eq!(next.is_some(), count >= PAGE, "{count}");
        assert_eq!(neighbors.flush(Some(InterfaceId(2)), None), count / 2);
        assert!(keys().iter().all(|key| key.0 == LAN) && keys().len() == count.div_ceil(2));
        assert_eq!(neighbors.retain_interfaces(|_| false), count.div_ceil(2));
        assert!(keys().is_empty());
    }
}
