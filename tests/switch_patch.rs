//! Patch ports: two bridges joined in the switch.

mod kit;

use kit::frames::{broadcast, dot1q, station, unicast};
use kit::{Yard, access, on, patch, port, trunk};
use tapyard::packet::{DropReason, Offload};
use tapyard::switch::Port;

/// Ports 0 and 1 on bridge 0, ports 2 and 3 on bridge 1, and a patch of ports 4 and 5 between them.
fn joined() -> Yard {
    Yard::new([port(), port(), on(1, port()), on(1, port()), patch(5, port()), on(1, patch(4, port()))])
}

#[test]
fn frames_cross_and_stations_are_learned_behind_the_patch() {
    let mut yard = joined();
    assert_eq!(yard.goes(0, &broadcast(1)), [1, 2, 3]);
    assert_eq!(yard.fdb(1).lookup(station(1, 0)).map(|entry| entry.port.0), Some(5));
    assert_eq!(yard.goes(2, &unicast(1, 2)), [0]);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [2]);
    assert_eq!(yard.goes(3, &unicast(1, 3)), [0]);
    let (out, back) = (yard.counters(4), yard.counters(5));
    assert_eq!((out.tx_frames, back.rx_frames, back.tx_frames, out.rx_frames), (2, 2, 2, 2));
}

#[test]
fn what_is_flooded_across_leaves_unchanged() {
    let mut yard = joined();
    let frame = broadcast(1);
    assert!(yard.send(0, &frame).iter().all(|sent| sent.bytes == frame));
    let frames: Vec<_> = (0..32).map(|n| (broadcast(n + 1), Offload::NONE)).collect();
    let sent = yard.send_all(0, 0, &frames);
    for to in 1..4 {
        let at = sent.iter().filter(|sent| sent.port == to).map(|sent| &sent.bytes);
        assert!(at.eq(frames.iter().map(|(bytes, _)| bytes)), "in order, at port {to}");
    }
}

#[test]
fn a_unicast_across_needs_no_copy() {
    let mut yard = joined();
    yard.send(2, &broadcast(2));
    let copies = (0..6).map(|port| yard.counters(port).copies).sum::<u64>();
    let frames: Vec<_> = (0..32).map(|_| (unicast(2, 1), Offload::NONE)).collect();
    assert_eq!(yard.send_all(0, 0, &frames).len(), 32);
    assert_eq!((0..6).map(|port| yard.counters(port).copies).sum::<u64>(), copies);
}

#[test]
fn a_frame_has_the_patch_ports_form_on_the_way() {
    let frame = broadcast(1);
    let sent = |ends: [Port; 2], far: Port| {
        let [near_end, far_end] = ends;
        let ports = [access(10), access(10), patch(3, near_end), on(1, patch(2, far_end)), on(1, far)];
        let sent = Yard::new(ports).send(0, &frame);
        assert!(sent[0].port == 1 && sent[0].bytes == frame, "the copy beside is as it was");
        sent.into_iter().find(|sent| sent.port == 4).map(|sent| sent.bytes)
    };
    assert_eq!(sent([access(10), access(20)], access(20)), Some(frame.clone()), "translated");
    assert_eq!(sent([access(10), access(20)], trunk(&[20], None)), Some(dot1q(&frame, 20)));
    assert_eq!(sent([trunk(&[10], None), trunk(&[10], None)], access(10)), Some(frame.clone()));
    assert_eq!(sent([trunk(&[10], None), trunk(&[10], None)], access(20)), None);
    assert_eq!(
        sent([trunk(&[10], None), access(20)], access(20)),
        None,
        "a tag of another VLAN is nothing an access port takes"
    );
    assert_eq!(sent([trunk(&[10], None), port()], port()), Some(dot1q(&frame, 10)), "unread behind");
    assert_eq!(sent([trunk(&[9], Some(10)), port()], port()), Some(frame.clone()));
    assert_eq!(sent([access(11), port()], port()), None);
}

#[test]
fn bridges_joined_in_a_chain_reach_each_other() {
    let chain = |n: u16| {
        let mut ports = vec![port(), on(n, port())];
        for b in 0..n {
            let near = ports.len() as u16;
            ports.push(on(b, patch(near + 1, port())));
            ports.push(on(b + 1, patch(near, port())));
        }
        Yard::new(ports)
    };
    assert_eq!(chain(8).goes(0, &broadcast(1)), [1]);
    let mut longer = chain(9);
    assert_eq!(longer.goes(0, &broadcast(1)), [0u16; 0]);
    assert_eq!(longer.drops(18), [(DropReason::PatchLoop, 1)], "at the port it did not leave by any more");
}

#[test]
fn bridges_joined_twice_end_a_frame_in_a_patch_loop() {
    let two = [port(), on(1, port())];
    let patches = [patch(3, port()), on(1, patch(2, port())), patch(5, port()), on(1, patch(4, port()))];
    let mut yard = Yard::new(two.into_iter().chain(patches));
    let sent = yard.goes(0, &broadcast(1));
    assert!(sent.len() < 32 && sent.contains(&1), "{sent:?}");
    let loops = (0..6).map(|port| yard.counters(port).dropped(DropReason::PatchLoop)).sum::<u64>();
    assert_eq!(loops, 2, "one for each way round");
}

#[test]
fn bridges_joined_many_times_stay_bounded() {
    let ends = |n: u16| [patch(2 * n + 3, port()), on(1, patch(2 * n + 2, port()))];
    let mut yard = Yard::new([port(), on(1, port())].into_iter().chain((0..6).flat_map(ends)));
    let sent = yard.goes(0, &broadcast(1));
    assert!(sent.len() <= 1024, "{}", sent.len());
    let no_buffer = (0..14).map(|port| yard.counters(port).dropped(DropReason::NoBuffer)).sum::<u64>();
    assert!(no_buffer > 0);
    assert_eq!(yard.goes(0, &broadcast(1)).len(), sent.len(), "and the next frame fares no worse");
}

#[test]
fn a_patch_whose_other_end_is_gone_drops() {
    let mut yard = joined();
    yard.change(|ports| ports[5] = None);
    assert_eq!(yard.goes(0, &broadcast(1)), [1]);
    assert_eq!(yard.retired().dropped(DropReason::PortMissing), 1);
}

#[test]
fn a_patch_of_a_bridge_to_itself_is_bounded_too() {
    let mut yard = Yard::new([port(), port(), patch(3, port()), patch(2, port())]);
    let sent = yard.goes(0, &broadcast(1));
    assert!(sent.len() < 64, "{sent:?}");
}
