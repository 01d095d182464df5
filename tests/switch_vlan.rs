//! VLANs: which frames a port lets pass, and the exact bytes they leave with.

mod kit;

use kit::frames::{L4, broadcast, dot1q, l4_start, mac, packet, station, tag, unfinished, unicast};
use kit::{Yard, access, port, trunk};
use tapyard::packet::{DropReason, Offload};
use tapyard::wire::ethernet::Mac;

/// By which ports frames left, and whose bytes they had.
#[track_caller]
fn leaves(yard: &mut Yard, from: u16, frame: &[u8], expected: &[(u16, &[u8])]) {
    let sent = yard.send(from, frame);
    let sent: Vec<_> = sent.iter().map(|sent| (sent.port, &sent.bytes[..])).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_frame_leaves_each_port_in_that_ports_form() {
    let ports = [
        access(10),
        access(10),
        access(20),
        trunk(&[10, 20], None),
        trunk(&[20], Some(10)),
        trunk(&[20], None),
    ];
    let frame = broadcast(1);
    let (ten, twenty) = (dot1q(&frame, 10), dot1q(&frame, 20));
    let mut yard = Yard::new(ports);
    leaves(&mut yard, 0, &frame, &[(1, &frame), (3, &ten), (4, &frame)]);
    leaves(&mut yard, 3, &ten, &[(0, &frame), (1, &frame), (4, &frame)]);
    leaves(&mut yard, 4, &frame, &[(0, &frame), (1, &frame), (3, &ten)]);
    leaves(&mut yard, 4, &ten, &[(0, &frame), (1, &frame), (3, &ten)]);
    leaves(&mut yard, 2, &frame, &[(3, &twenty), (4, &twenty), (5, &twenty)]);
    leaves(&mut yard, 5, &twenty, &[(2, &frame), (3, &twenty), (4, &twenty)]);
}

#[test]
fn every_order_of_ports_gives_each_its_form() {
    let frame = broadcast(1);
    let tagged = dot1q(&frame, 10);
    for pattern in 0u32..64 {
        let kind = |port: u32| if pattern >> port & 1 == 0 { access(10) } else { trunk(&[10], None) };
        let mut yard = Yard::new([access(10), trunk(&[10], None)].into_iter().chain((0..6).map(kind)));
        for (from, frame_in) in [(0, &frame), (1, &tagged)] {
            let form = |port: u16| match (port, port < 2 || pattern >> (port - 2) & 1 == 1) {
                (0, _) | (_, false) => &frame[..],
                _ => &tagged[..],
            };
            let expected: Vec<_> =
                (0..8).filter(|&port| port != from).map(|port| (port, form(port))).collect();
            leaves(&mut yard, from, frame_in, &expected);
        }
    }
}

#[test]
fn the_table_is_per_vlan() {
    let mut yard = Yard::new([trunk(&[10, 20], None), access(10), access(20), trunk(&[10, 20], None)]);
    yard.send(1, &broadcast(2));
    yard.send(2, &broadcast(2));
    assert_eq!([10, 20, 0].map(|vid| yard.knows(station(2, vid))), [Some(1), Some(2), None]);
    let to = unicast(2, 1);
    leaves(&mut yard, 0, &dot1q(&to, 10), &[(1, &to)]);
    leaves(&mut yard, 0, &dot1q(&to, 20), &[(2, &to)]);
}

#[test]
fn vlans_do_not_reach_each_other_by_any_frame() {
    let mut yard = Yard::new([access(10), access(20), trunk(&[10, 20], None)]);
    yard.send(1, &broadcast(2));
    let multicast = kit::frames::frame(Mac::new([0x33, 0x33, 0, 0, 0, 1]), mac(1));
    for frame in [unicast(2, 1), broadcast(1), multicast, unicast(9, 1)] {
        leaves(&mut yard, 0, &frame, &[(2, &dot1q(&frame, 10))]);
    }
    assert_eq!(yard.counters(1).tx_frames, 0);
}

#[test]
fn a_tag_that_the_port_does_not_take_is_refused_and_its_source_not_learned() {
    let mut yard = Yard::new([access(10), trunk(&[10], None), trunk(&[10], Some(1)), access(10)]);
    let tagged = |vid| dot1q(&broadcast(1), vid);
    for vid in [1, 9, 11, 4094] {
        assert_eq!(yard.refused(0, &tagged(vid), Offload::NONE), DropReason::VlanNotAllowed, "access, {vid}");
    }
    for vid in [1, 9, 11, 4094] {
        assert_eq!(yard.refused(1, &tagged(vid), Offload::NONE), DropReason::VlanNotAllowed, "trunk, {vid}");
    }
    for vid in [9, 11, 4094] {
        assert_eq!(
            yard.refused(2, &tagged(vid), Offload::NONE),
            DropReason::VlanNotAllowed,
            "with native, {vid}"
        );
    }
    for (port, priority) in [(0, 0), (1, 0), (2, 0xe000)] {
        let frame = tagged(priority | 4095);
        assert_eq!(yard.refused(port, &frame, Offload::NONE), DropReason::VlanReserved, "port {port}");
    }
    assert_eq!(yard.refused(1, &broadcast(1), Offload::NONE), DropReason::VlanUntagged);
    assert_eq!(
        yard.refused(1, &tagged(0), Offload::NONE),
        DropReason::VlanUntagged,
        "a priority tag is no VLAN"
    );
    assert!(yard.fdb(0).entries().is_empty());
}

#[test]
fn a_static_entry_behind_a_port_outside_the_vlan_is_not_reached() {
    let mut yard = Yard::new([access(10), access(20), access(10)]);
    yard.fdb(0).pin(station(2, 10), tapyard::packet::PortId(1));
    assert_eq!(yard.refused(0, &unicast(2, 1), Offload::NONE), DropReason::VlanEgress);
}

#[test]
fn a_priority_tag_is_in_the_ports_own_vlan_and_its_priority_is_kept() {
    let frame = broadcast(1);
    for (from, own) in [(access(10), 10), (trunk(&[7], Some(10)), 10)] {
        let mut yard = Yard::new([from, access(own), trunk(&[own], None), trunk(&[7], Some(own))]);
        for bits in [0, 0x2000, 0xe000, 0x1000, 0xf000] {
            let tagged = dot1q(&frame, bits | own);
            leaves(&mut yard, 0, &dot1q(&frame, bits), &[(1, &frame), (2, &tagged), (3, &frame)]);
        }
        assert_eq!(yard.knows(station(1, own)), Some(0));
    }
}

#[test]
fn priority_bits_pass_from_trunk_to_trunk() {
    let mut yard = Yard::new([trunk(&[10], None), trunk(&[10], None), access(10)]);
    let frame = broadcast(1);
    for bits in (0..16).map(|bits| bits << 12) {
        let tagged = dot1q(&frame, bits | 10);
        leaves(&mut yard, 0, &tagged, &[(1, &tagged), (2, &frame)]);
    }
    leaves(&mut yard, 2, &frame, &[(0, &dot1q(&frame, 10)), (1, &dot1q(&frame, 10))]);
}

#[test]
fn all_4094_vlans_pass() {
    let all: Vec<_> = (1..=4094).collect();
    let mut yard = Yard::new([trunk(&all, None), trunk(&all, None)]);
    for vid in 1..=4094 {
        let frame = dot1q(&broadcast(1), vid);
        leaves(&mut yard, 0, &frame, &[(1, &frame)]);
        assert_eq!(yard.knows(station(1, vid)), Some(0));
    }
    assert_eq!(yard.fdb(0).stats().learned, 4094);
}

#[test]
fn tags_further_in_are_a_customers_and_pass() {
    let inner = dot1q(&broadcast(1), 0x2000 | 4095);
    let service = tag(&inner, 0x88a8, 300);
    let mut yard = Yard::new([access(10), access(10), trunk(&[10], None)]);
    leaves(&mut yard, 0, &service, &[(1, &service), (2, &dot1q(&service, 10))]);
    leaves(&mut yard, 2, &dot1q(&service, 10), &[(0, &service), (1, &service)]);
    leaves(&mut yard, 2, &dot1q(&inner, 10), &[(0, &inner), (1, &inner)]);
    let priority = dot1q(&service, 0xa000);
    leaves(&mut yard, 0, &priority, &[(1, &service), (2, &dot1q(&service, 0xa000 | 10))]);
}

#[test]
fn a_bridge_that_is_not_vlan_aware_passes_every_tag_unread() {
    let mut yard = Yard::new([port(), port(), port()]);
    let frame = unicast(9, 1);
    for tagged in [
        dot1q(&frame, 0),
        dot1q(&frame, 0xe00a),
        dot1q(&frame, 4095),
        tag(&dot1q(&frame, 10), 0x88a8, 300),
        dot1q(&dot1q(&dot1q(&dot1q(&dot1q(&dot1q(&frame, 1), 2), 3), 4), 5), 6),
        dot1q(&frame, 10)[..14].to_vec(),
        dot1q(&frame, 10)[..17].to_vec(),
    ] {
        leaves(&mut yard, 0, &tagged, &[(1, &tagged), (2, &tagged)]);
    }
    assert_eq!(yard.fdb(0).stats().learned, 1, "one station, whatever its tags");
}

#[test]
fn a_tag_that_is_cut_short_is_a_runt() {
    for from in [access(10), trunk(&[10], None), trunk(&[10], Some(1))] {
        let mut yard = Yard::new([from, trunk(&[1, 10], None)]);
        for len in 14..18 {
            let cut = &dot1q(&broadcast(1), 10)[..len];
            assert_eq!(yard.refused(0, cut, Offload::NONE), DropReason::Runt, "{len}");
        }
    }
    let mut yard = Yard::new([trunk(&[10], None), access(10), trunk(&[10], None)]);
    let shortest = &dot1q(&broadcast(1), 10)[..18];
    leaves(&mut yard, 0, shortest, &[(1, &[&shortest[..12], &shortest[16..]].concat()), (2, shortest)]);
    let cut = &dot1q(&dot1q(&broadcast(1), 7), 10)[..19];
    leaves(&mut yard, 0, cut, &[(1, &[&cut[..12], &cut[16..]].concat()), (2, cut)]);
}

#[test]
fn offload_offsets_follow_the_tag() {
    for (v6, l4) in [(false, L4::Tcp), (true, L4::Tcp), (false, L4::Udp), (true, L4::Udp)] {
        for gso_size in [0, 1000] {
            let plain = packet(Mac::BROADCAST, mac(1), v6, l4, if gso_size == 0 { 1000 } else { 9000 });
            let (bytes, offload) = unfinished(plain, v6, l4, gso_size);
            let mut yard = Yard::new([access(10), access(10), trunk(&[10], None), access(10)]);
            let shifted = |offload: Offload, by: i16| {
                let mut shifted = offload;
                shifted.shift(by);
                assert_eq!(shifted.csum_start, l4_start(v6).wrapping_add_signed(by));
                shifted
            };
            let sent = yard.send_with(0, &bytes, offload);
            let forms: Vec<_> = sent.iter().map(|sent| (sent.port, &sent.bytes, sent.offload)).collect();
            let (tagged, moved) = (dot1q(&bytes, 10), shifted(offload, 4));
            assert_eq!(forms, [(1, &bytes, offload), (2, &tagged, moved), (3, &bytes, offload)]);

            let sent = yard.send_with(2, &tagged, moved);
            assert!(
                sent.iter().all(|sent| (&sent.bytes, sent.offload) == (&bytes, offload)) && sent.len() == 3
            );
        }
    }
}
