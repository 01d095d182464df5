//! The bridge: who gets a frame, and why nobody does.

mod kit;

use std::time::Duration;

use kit::frames::{broadcast, frame, mac, station, unicast};
use kit::{AGEING, Yard, bucket, on, port};
use tapyard::packet::{BridgeId, DropReason, Offload, PortId};
use tapyard::switch::mode::Apart;
use tapyard::switch::{Event, Port, Storm};
use tapyard::wire::ethernet::Mac;

#[test]
fn an_unknown_station_is_flooded_to_and_a_known_one_is_not() {
    let mut yard = Yard::new([port(), port(), port()]);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1, 2]);
    assert_eq!(yard.goes(1, &unicast(1, 2)), [0]);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
    assert_eq!(yard.knows(station(1, 0)), Some(0));
    assert_eq!(yard.counters(0).copies, 1);
}

#[test]
fn what_passes_is_unchanged_whatever_its_length() {
    let mut yard = Yard::new([port(), port(), port()]);
    for len in 14..=1514 {
        let mut bytes = unicast(2, 1);
        bytes.resize(len, 0x5a);
        let sent = yard.send(0, &bytes);
        assert_eq!(
            sent.iter().map(|sent| (sent.port, &sent.bytes)).collect::<Vec<_>>(),
            [(1, &bytes), (2, &bytes)]
        );
    }
    assert_eq!(yard.counters(1).tx_bytes, (14..=1514).sum::<u64>());
}

#[test]
fn group_frames_go_everywhere_but_back() {
    let mut yard = Yard::new([port(), port(), port()]);
    assert_eq!(yard.goes(1, &broadcast(1)), [0, 2]);
    assert_eq!(yard.goes(1, &frame(Mac::new([0x33, 0x33, 0, 0, 0, 1]), mac(1))), [0, 2]);
    assert_eq!(yard.goes(2, &frame(Mac::new([1, 0, 0x5e, 0, 0, 1]), mac(2))), [0, 1]);
}

#[test]
fn a_frame_for_a_station_on_its_own_port_is_dropped() {
    let mut yard = Yard::new([port(), port()]);
    yard.send(0, &broadcast(1));
    assert_eq!(yard.refused(0, &unicast(1, 2), Offload::NONE), DropReason::SamePort);
}

#[test]
fn alone_on_a_bridge_nobody_is_flooded_to() {
    let mut yard = Yard::new([port()]);
    assert_eq!(yard.refused(0, &broadcast(1), Offload::NONE), DropReason::NoMember);
    assert_eq!(yard.refused(0, &unicast(2, 1), Offload::NONE), DropReason::NoMember);
}

#[test]
fn a_port_on_no_bridge_takes_nothing() {
    let mut yard = Yard::new([Port { bridge: None, ..port() }, port()]);
    assert_eq!(yard.refused(0, &broadcast(1), Offload::NONE), DropReason::NoBridge);
}

#[test]
fn runts_of_every_length_are_dropped() {
    let mut yard = Yard::new([port(), port()]);
    for len in 0..14 {
        assert_eq!(yard.refused(0, &broadcast(1)[..len], Offload::NONE), DropReason::Runt);
    }
    assert_eq!(yard.goes(0, &broadcast(1)[..14]), [1]);
    assert_eq!(yard.counters(0).rx_frames, 15);
}

#[test]
fn reserved_groups_are_never_forwarded() {
    let mut yard = Yard::new([port(), port()]);
    for last in 0..=0x0f {
        let group = Mac::new([1, 0x80, 0xc2, 0, 0, last]);
        assert_eq!(yard.refused(0, &frame(group, mac(1)), Offload::NONE), DropReason::ReservedGroup);
    }
    assert_eq!(yard.goes(0, &frame(Mac::new([1, 0x80, 0xc2, 0, 0, 0x10]), mac(1))), [1]);
}

#[test]
fn a_group_or_zero_source_is_dropped_and_not_learned() {
    let mut yard = Yard::new([port(), port()]);
    for source in [Mac::BROADCAST, Mac::new([1, 0, 0x5e, 0, 0, 1]), Mac::default()] {
        assert_eq!(yard.refused(0, &frame(mac(2), source), Offload::NONE), DropReason::BadSource);
    }
    assert!(yard.fdb(0).entries().is_empty());
}

#[test]
fn isolated_ports_do_not_reach_each_other_by_any_frame() {
    let isolated = || Port { apart: Apart::ISOLATED, ..port() };
    let mut yard = Yard::new([isolated(), isolated(), port()]);
    assert_eq!(yard.goes(0, &broadcast(1)), [2]);
    assert_eq!(yard.goes(1, &broadcast(2)), [2]);
    assert_eq!(yard.goes(0, &unicast(9, 1)), [2], "unknown unicast");
    assert_eq!(yard.refused(0, &unicast(2, 1), Offload::NONE), DropReason::Isolated);
    assert_eq!(yard.goes(2, &unicast(1, 3)), [0]);
    assert_eq!(yard.goes(2, &broadcast(3)), [0, 1]);
    assert_eq!(yard.goes(1, &unicast(3, 2)), [2]);
}

#[test]
fn bridges_do_not_reach_each_other_by_any_frame() {
    let mut yard = Yard::new([port(), port(), on(1, port()), on(1, port())]);
    yard.send(0, &broadcast(1));
    yard.send(2, &broadcast(2));
    assert_eq!(yard.goes(3, &unicast(1, 3)), [2], "a station of the other bridge is unknown here");
    assert_eq!(yard.goes(1, &unicast(1, 4)), [0]);
    assert_eq!(yard.goes(2, &unicast(1, 2)), [3]);
    yard.send(2, &broadcast(1));
    assert_eq!(yard.goes(1, &unicast(1, 4)), [0], "an address on both is two stations");
    assert_eq!(yard.goes(3, &unicast(1, 3)), [2]);
}

#[test]
fn without_learning_a_port_floods_and_is_flooded_to() {
    let mut yard = Yard::new([Port { learning: false, ..port() }, port(), port()]);
    yard.send(0, &broadcast(1));
    assert!(yard.fdb(0).entries().is_empty());
    assert_eq!(yard.goes(1, &unicast(1, 2)), [0, 2]);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1], "what others taught is used");
}

#[test]
fn a_static_entry_stays_where_it_is() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(0, &broadcast(1));
    yard.fdb(0).pin(station(1, 0), PortId(1));
    assert_eq!(yard.goes(2, &unicast(1, 2)), [1]);
    for _ in 0..3 {
        assert_eq!(yard.goes(0, &unicast(2, 1)), [2], "from elsewhere its frames pass and do not move it");
    }
    assert_eq!(yard.goes(2, &unicast(1, 2)), [1]);
    yard.wait(2 * AGEING);
    assert_eq!(yard.goes(2, &unicast(1, 2)), [1], "it does not age");
    assert_eq!(yard.fdb(0).flush(|_, _| true), 1, "nor is it flushed; station 2 is");
    assert_eq!(yard.goes(2, &unicast(1, 2)), [1]);
    assert!(yard.fdb(0).remove(station(1, 0)).is_some());
    assert_eq!(yard.goes(2, &unicast(1, 2)), [0, 1]);
}

#[test]
fn frames_to_and_from_the_bridge_itself_are_dropped() {
    let mut yard = Yard::new([port(), port()]);
    let own = kit::BRIDGE;
    for _ in 0..3 {
        assert_eq!(yard.refused(0, &unicast(own, 1), Offload::NONE), DropReason::Local);
        assert_eq!(yard.refused(0, &broadcast(own), Offload::NONE), DropReason::OwnSource);
    }
    assert_eq!(yard.knows(station(own, 0)), None);
}

#[test]
fn a_station_that_flaps_is_reported() {
    let mut yard = Yard::new([port(), port()]);
    for n in 0..6 {
        assert_eq!(yard.events(), []);
        yard.send(n % 2, &broadcast(1));
        yard.wait(Duration::from_secs(1));
    }
    let flap = Event::Flap { bridge: BridgeId(0), mac: mac(1), from: PortId(0), to: PortId(1) };
    assert_eq!(yard.events(), [flap]);
    assert_eq!(yard.fdb(0).stats().flaps, 1);
    for n in 0..20 {
        yard.wait(Duration::from_secs(12));
        yard.send(n % 2, &broadcast(1));
    }
    assert_eq!(yard.events(), [], "moving now and then is no flap");
}

#[test]
fn each_class_of_flooded_frames_has_its_own_storm_control() {
    let multicast = frame(Mac::new([1, 0, 0x5e, 0, 0, 1]), mac(1));
    for (class, storm, reason) in [
        (broadcast(1), Storm { broadcast: bucket(160), ..Storm::default() }, DropReason::StormBroadcast),
        (multicast, Storm { multicast: bucket(160), ..Storm::default() }, DropReason::StormMulticast),
        (unicast(9, 1), Storm { unknown: bucket(160), ..Storm::default() }, DropReason::StormUnknown),
    ] {
        let mut yard = Yard::new([Port { storm, ..port() }, port()]);
        yard.send(1, &broadcast(2));
        for _ in 0..50 {
            yard.send(0, &class);
        }
        assert_eq!(yard.drops(0), [(reason, 34)], "a burst of 16 passes");
        for other in [broadcast(1), frame(Mac::new([1, 0, 0x5e, 0, 0, 1]), mac(1)), unicast(9, 1)] {
            assert_eq!(yard.goes(0, &other).is_empty(), other == class, "the other classes are free");
        }
        assert_eq!(yard.goes(0, &unicast(2, 1)), [1], "and so is what is not flooded");
        assert_eq!(yard.goes(1, &class), [0], "and so are other ports");
        yard.now = yard.now + Duration::from_secs(1);
        let passed = (0..50).filter(|_| !yard.goes(0, &class).is_empty()).count();
        assert_eq!(passed, 16);
    }
}

#[test]
fn storm_control_of_a_port_is_one_for_all_workers() {
    let storm = Storm { broadcast: bucket(160), ..Storm::default() };
    let mut yard = Yard::with(2, 8192, AGEING, [Port { storm, ..port() }, port()]);
    let passed = (0..50).filter(|n| !yard.goes_by(n % 2, 0, &broadcast(1)).is_empty()).count();
    assert_eq!(passed, 16);
}

#[test]
fn frames_for_a_port_that_was_removed_are_dropped_and_nothing_is_lost_to_the_counts() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(1, &broadcast(2));
    let was = yard.counters(1);
    yard.change(|ports| ports[1] = None);
    assert_eq!(yard.refused(0, &unicast(2, 1), Offload::NONE), DropReason::PortMissing);
    assert_eq!(yard.goes(0, &broadcast(1)), [2]);
    assert_eq!(yard.retired(), &was);
    assert_eq!(yard.goes(1, &broadcast(2)), [0u16; 0], "a frame that was still on its way in");
    assert_eq!(yard.retired().dropped(DropReason::PortMissing), 1);
    assert_eq!(yard.retired().rx_frames, was.rx_frames + 1);
    yard.fdb(0).purge(PortId(1));
    assert_eq!(yard.goes(0, &unicast(2, 1)), [2], "forgotten with the port");
}

#[test]
fn an_entry_that_outlived_its_ports_move_to_another_bridge_leads_nowhere() {
    let mut yard = Yard::new([port(), port(), on(1, port())]);
    yard.send(1, &broadcast(2));
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
    yard.change(|ports| ports[1] = Some(on(1, port())));
    assert_eq!(yard.refused(0, &unicast(2, 1), Offload::NONE), DropReason::PortMissing);
}

#[test]
fn frames_of_a_batch_leave_in_the_order_they_came() {
    let mut yard = Yard::new([port(), port(), port()]);
    yard.send(1, &broadcast(2));
    let mixed = |n: u32| if n.is_multiple_of(3) { broadcast(1) } else { unicast(2, 1) };
    let numbered = |n: u32| ([&mixed(n)[..], &[n as u8]].concat(), Offload::NONE);
    let frames: Vec<_> = (0..32).map(numbered).collect();
    let sent = yard.send_all(0, 0, &frames);
    let left: Vec<_> = sent.iter().filter(|sent| sent.port == 1).map(|sent| sent.bytes.clone()).collect();
    assert_eq!(left, frames.iter().map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>());
}
