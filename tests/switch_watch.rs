//! Who watches sees each frame that comes, leaves or is dropped, and frames that are picked walk alone.

mod kit;

use std::sync::{Arc, Mutex};

use kit::frames::{broadcast, frame, mac, unicast};
use kit::mirrors::{mirror, monitor};
use kit::tunnels::{in_vxlan, over_vxlan, vxlan_port};
use kit::{Yard, on, patch, plain, port};
use tapyard::packet::{DropReason, Frame, Offload, PortId};
use tapyard::switch::watch::{Followed, Moment, Sight, WatchId, Watcher};
use tapyard::time::Time;
use tapyard::wire::ethernet::Mac;

/// What was seen: when, at which port, which frame, and why it was dropped.
type Seen = (Moment, u16, Vec<u8>, Option<DropReason>);
/// What became of a frame: where it came in, by which ports it left, where it was dropped.
type Fate = (u16, Vec<u16>, Vec<(u16, DropReason)>);

#[derive(Clone, Default)]
struct Notes {
    seen: Arc<Mutex<Vec<Seen>>>,
    fates: Arc<Mutex<Vec<Fate>>>,
    /// Frames from here are picked.
    from: Option<Mac>,
    /// Only these ports.
    ports: Option<Vec<u16>>,
    only_once: bool,
    /// So many frames it passes over, if they are the whole batch.
    passes: Arc<Mutex<usize>>,
}

impl Watcher for Notes {
    fn wants(&self, port: PortId, _: Moment) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port.0))
    }

    fn see(&mut self, sight: &Sight<'_>) {
        assert_eq!(sight.len, sight.bytes.len(), "all of the frame is at hand");
        let seen = (sight.moment, sight.port.0, sight.bytes.to_vec(), sight.reason);
        self.seen.lock().unwrap().push(seen);
    }

    fn picks(&self) -> bool {
        self.from.is_some()
    }

    fn passes_over(&mut self, _: PortId, frames: usize) -> bool {
        let mut passes = self.passes.lock().unwrap();
        let passes_over = frames <= *passes;
        *passes = if passes_over { *passes - frames } else { 0 };
        passes_over
    }

    fn pick(&mut self, _: PortId, frame: &Frame, _: Time) -> bool {
        self.from.is_some_and(|mac| frame.bytes()[6..12] == mac.octets())
    }

    fn followed(&mut self, followed: &Followed<'_>) {
        let sent = followed.sent.iter().map(|port| port.0).collect();
        let dropped = followed.dropped.iter().map(|&(port, reason)| (port.0, reason)).collect();
        self.fates.lock().unwrap().push((followed.port.0, sent, dropped));
    }

    fn is_over(&self) -> bool {
        self.only_once && !self.seen.lock().unwrap().is_empty()
    }
}

impl Notes {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn fates(&self) -> Vec<Fate> {
        std::mem::take(&mut *self.fates.lock().unwrap())
    }
}

fn watched(yard: &mut Yard, notes: Notes) -> Notes {
    yard.watch(0, WatchId(7), Box::new(notes.clone()));
    notes
}

#[test]
fn a_frame_is_seen_where_it_comes_and_where_it_leaves() {
    let mut yard = Yard::new([port(), port(), port()]);
    let notes = watched(&mut yard, Notes::default());
    let bytes = broadcast(1);
    assert_eq!(yard.goes(0, &bytes), [1, 2]);
    let mut seen = notes.take();
    seen.sort_by_key(|&(moment, port, ..)| (moment != Moment::Received, port));
    let expected = [(Moment::Received, 0), (Moment::Sent, 1), (Moment::Sent, 2)];
    assert_eq!(seen, expected.map(|(moment, port)| (moment, port, bytes.clone(), None)));
}

#[test]
fn a_dropped_frame_is_seen_with_its_reason_whoever_drops_it() {
    let mut yard = Yard::new([port(), port()]);
    let notes = watched(&mut yard, Notes::default());
    let drops = |notes: &Notes| -> Vec<_> {
        let seen = notes.take().into_iter().filter(|(moment, ..)| *moment == Moment::Dropped);
        seen.map(|(_, port, bytes, reason)| (port, bytes, reason.unwrap())).collect()
    };
    let bad = frame(mac(2), Mac::BROADCAST);
    assert_eq!(yard.goes(0, &bad), [0u16; 0]);
    assert_eq!(drops(&notes), [(0, bad, DropReason::BadSource)], "ingress");
    yard.goes(0, &broadcast(1));
    let back = unicast(1, 9);
    assert_eq!(yard.goes(0, &back), [0u16; 0]);
    assert_eq!(drops(&notes), [(0, back, DropReason::SamePort)], "the bridge");
    let long = [unicast(1, 3), vec![0; 1600]].concat();
    assert_eq!(yard.goes(1, &long), [0u16; 0]);
    assert_eq!(drops(&notes), [(0, long, DropReason::ExceedsMtu)], "egress");
    yard.takes = |port| port != 0;
    let frames = [1, 2].map(|n| (unicast(1, 3 + n), Offload::NONE));
    assert_eq!(yard.send_all(0, 1, &frames), []);
    let [(one, _), (two, _)] = frames;
    assert_eq!(drops(&notes), [(0, one, DropReason::QueueFull), (0, two, DropReason::QueueFull)], "the port");
}

#[test]
fn of_patches_and_tunnels_the_frames_inside_are_seen() {
    let tunnel = on(1, vxlan_port(100, 4, &[1]));
    let mut yard = Yard::new(over_vxlan(vec![port(), patch(2, port()), on(1, patch(1, port())), tunnel]));
    let notes = watched(&mut yard, Notes::default());
    let bytes = broadcast(1);
    yard.send(0, &bytes);
    let seen: Vec<_> =
        notes.take().into_iter().map(|(moment, port, seen, _)| (moment, port, seen == bytes)).collect();
    let way = [(Moment::Received, 0), (Moment::Sent, 1), (Moment::Received, 2), (Moment::Sent, 3)];
    assert_eq!(seen, way.map(|(moment, port)| (moment, port, true)));
    yard.hear(4, 1, in_vxlan(100, &unicast(1, 2)));
    let seen: Vec<_> = notes.take().into_iter().map(|(moment, port, ..)| (moment, port)).collect();
    let way = [(Moment::Received, 3), (Moment::Sent, 2), (Moment::Received, 1), (Moment::Sent, 0)];
    assert_eq!(seen, way);
    let unknown = in_vxlan(9, &unicast(1, 2));
    yard.hear(4, 1, unknown.clone());
    assert_eq!(notes.take(), [(Moment::Dropped, 4, unknown, Some(DropReason::TunnelUnknown))]);
}

#[test]
fn a_picked_frame_walks_alone_and_in_its_order() {
    let mut yard = Yard::new([port(), port(), plain()]);
    yard.goes(1, &broadcast(2));
    let notes = watched(&mut yard, Notes { from: Some(mac(7)), ports: Some(vec![]), ..Notes::default() });
    let order = [1, 7, 1, 7, 7, 3];
    let frames: Vec<_> = order.iter().map(|&n| (unicast(2, n), Offload::NONE)).collect();
    let left = yard.send_all(0, 0, &frames);
    assert!(left.iter().map(|sent| &sent.bytes).eq(frames.iter().map(|(bytes, _)| bytes)), "none overtakes");
    assert_eq!(notes.fates(), vec![(0, vec![1], vec![]); 3]);
    yard.goes(0, &broadcast(7));
    assert_eq!(notes.fates().pop().map(|(_, mut sent, _)| (sent.sort(), sent).1), Some(vec![1, 2]));
    yard.goes(0, &unicast(7, 7));
    assert_eq!(notes.fates(), [(0, vec![], vec![(0, DropReason::SamePort)])]);
    assert_eq!(notes.take(), [], "it wanted to see none");
}

#[test]
fn who_has_seen_enough_is_let_go() {
    let mut yard = Yard::new([port(), port()]);
    let notes = watched(&mut yard, Notes { only_once: true, ..Notes::default() });
    yard.goes(0, &broadcast(1));
    assert_eq!(notes.take().len(), 2);
    assert_eq!(Arc::strong_count(&notes.seen), 1, "the switch holds it no more");
    yard.goes(0, &broadcast(1));
    assert_eq!(notes.take(), []);
}

#[test]
fn who_passes_over_a_batch_is_not_asked_for_its_frames() {
    let mut yard = Yard::new([port(), port()]);
    yard.goes(1, &broadcast(2));
    let passes = Arc::new(Mutex::new(5));
    let notes =
        watched(&mut yard, Notes { from: Some(mac(7)), passes, ports: Some(vec![]), ..Notes::default() });
    let frames = [7, 7, 7].map(|n| (unicast(2, n), Offload::NONE));
    assert_eq!(yard.send_all(0, 0, &frames).len(), 3);
    assert_eq!(notes.fates(), [], "three of five");
    assert_eq!(yard.send_all(0, 0, &frames).len(), 3);
    assert_eq!(notes.fates().len(), 3, "the batch was longer than the two that were left");
}

#[test]
fn what_becomes_of_a_frame_is_not_what_becomes_of_its_copies() {
    let mut yard = Yard::new([port(), port(), monitor()]);
    yard.mirror([mirror(2, &[0], &[1])]);
    let notes = watched(&mut yard, Notes { from: Some(mac(1)), ..Notes::default() });
    assert_eq!(yard.goes(0, &broadcast(1)), [1, 2, 2]);
    assert_eq!(notes.fates(), [(0, vec![1], vec![])]);
    yard.goes(0, &unicast(1, 1));
    assert_eq!(notes.fates(), [(0, vec![], vec![(0, DropReason::SamePort)])]);
    yard.goes(2, &broadcast(1));
    assert_eq!(notes.fates(), [(2, vec![], vec![(2, DropReason::MirrorPort)])]);
}

#[test]
fn who_takes_the_place_of_a_watcher_goes_with_it() {
    let mut yard = Yard::new([port(), port()]);
    let (first, next, late) = (watched(&mut yard, Notes::default()), Notes::default(), Notes::default());
    yard.rewatch(0, WatchId(7), Some(Box::new(next.clone())));
    yard.goes(0, &broadcast(1));
    assert_eq!((first.take().len(), next.take().len()), (0, 2));
    yard.rewatch(0, WatchId(7), None);
    // Who comes too late is nobody's: none would ever end it.
    yard.rewatch(0, WatchId(7), Some(Box::new(late.clone())));
    yard.goes(0, &broadcast(1));
    assert_eq!((next.take().len(), late.take().len()), (0, 0));
}
