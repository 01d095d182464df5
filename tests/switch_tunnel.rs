//! Tunnel ports of the sans-IO switch: who gets what, who is learned behind whom, what is refused, and that every frame
//! is accounted for.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::frames::{L4, broadcast, dot1q, edit_ipv4, mac, packet, station, unfinished, unicast};
use kit::tunnels::*;
use kit::{Sent, Yard, access, plain, port, trunk};
use tapyard::packet::{
    Batch, DropReason, Frame, Gso, Layer, Location, Offload, PeerId, PortId, Received, segment,
};
use tapyard::switch::mode::{Apart, Mode};
use tapyard::switch::{Event, Port, Way};
use tapyard::table::strangers::Strangers;
use tapyard::tunnel::vxlan::Vxlan;

const VNI: u32 = 100;

/// A plain port 0, a VXLAN port 1 with the peers `host(1)` and `host(2)`, and its underlay 2.
fn yard() -> Yard {
    Yard::new(over_vxlan(vec![port(), vxlan_port(VNI, 2, &[1, 2])]))
}

fn at(port: u16, peer: u16) -> Location {
    Location { port: PortId(port), peer: PeerId(peer) }
}

#[track_caller]
fn sent(sent: &[Sent], expected: &[(u16, &[u8])]) {
    let sent: Vec<_> = sent.iter().map(|sent| (sent.port, &sent.bytes[..])).collect();
    assert_eq!(sent, expected);
}

#[test]
fn what_is_flooded_goes_to_every_peer_and_what_is_learned_to_one() {
    let mut yard = yard();
    assert_eq!(yard.goes(0, &broadcast(1)), [0; 0]);
    let posted = yard.posted();
    assert_eq!(
        posted.iter().map(|p| (p.tunnel, p.peer, p.to)).collect::<Vec<_>>(),
        [(1, 0, host(1)), (1, 1, host(2))]
    );
    assert!(posted.iter().all(|p| p.bytes == in_vxlan(VNI, &broadcast(1))));

    let hello = unicast(1, 7);
    sent(&yard.hear(2, 2, in_vxlan(VNI, &hello)), &[(0, &hello)]);
    assert_eq!(yard.fdb(0).lookup(station(7, 0)).map(|entry| entry.at()), Some(at(1, 1)));
    assert_eq!(yard.goes(0, &unicast(7, 1)), [0; 0]);
    assert_eq!(yard.posted().iter().map(|p| p.to).collect::<Vec<_>>(), [host(2)]);
    let peer = yard.peer(1, 1);
    assert_eq!((peer.rx_packets, peer.tx_packets, peer.drops), (1, 2, 0));
    assert_eq!(peer.heard, Some(yard.now));
    assert_eq!(yard.peer(1, 0).heard, None);
}

#[test]
fn a_station_that_moves_to_another_peer_is_found_there() {
    let mut yard = yard();
    for peer in [1, 2, 1] {
        yard.hear(2, peer, in_vxlan(VNI, &unicast(1, 7)));
        yard.goes(0, &unicast(7, 1));
        assert_eq!(yard.posted().iter().map(|p| p.to).collect::<Vec<_>>(), [host(peer)]);
    }
    assert_eq!(yard.fdb(0).stats().moves, 2);
    yard.fdb(0).purge_peer(at(1, 0));
    yard.goes(0, &unicast(7, 1));
    assert_eq!(yard.posted().len(), 2, "flooded again");
}

#[test]
fn where_learning_is_off_everything_goes_to_every_peer() {
    let tunnel = Port { learning: false, ..vxlan_port(VNI, 2, &[1, 2]) };
    let mut yard = Yard::new(over_vxlan(vec![port(), tunnel]));
    yard.hear(2, 1, in_vxlan(VNI, &unicast(1, 7)));
    yard.goes(0, &unicast(7, 1));
    assert_eq!(yard.posted().len(), 2);
    yard.fdb(0).pin(station(7, 0), at(1, 1));
    yard.goes(0, &unicast(7, 1));
    assert_eq!(yard.posted().iter().map(|p| p.to).collect::<Vec<_>>(), [host(2)], "but for static entries");
}

#[test]
fn strangers_and_unknown_tunnels_are_refused_and_counted_where_they_belong() {
    let mut yard = yard();
    assert_eq!(yard.hear(2, 3, in_vxlan(VNI, &broadcast(9))), []);
    assert_eq!(yard.hear(2, 1, in_vxlan(VNI + 1, &broadcast(9))), []);
    assert_eq!(yard.hear(2, 1, vec![0; 8]), []);
    assert_eq!(yard.hear(2, 1, vec![8, 0, 0]), []);
    assert_eq!(yard.hear(2, 1, in_vxlan(VNI, &[2; 13])), []);
    assert_eq!(yard.drops(1), [(DropReason::Runt, 1), (DropReason::Stranger, 1)]);
    assert_eq!(yard.drops(2), [(DropReason::TunnelHeader, 2), (DropReason::TunnelUnknown, 1)]);
    assert_eq!(yard.knows(station(9, 0)), None);
}

#[test]
fn a_strict_tunnel_minds_reserved_bits() {
    let strict = tunnel_port(overlay(Vxlan { vni: VNI, strict: true }, 2, &[1]));
    let mut yard = Yard::new(over_vxlan(vec![port(), strict]));
    let mut datagram = in_vxlan(VNI, &broadcast(9));
    assert_eq!(yard.hear(2, 1, datagram.clone()).len(), 1);
    datagram[7] = 1;
    assert_eq!(yard.hear(2, 1, datagram), []);
    assert_eq!(yard.drops(1), [(DropReason::TunnelReserved, 1)]);
}

#[test]
fn unknown_peers_are_met_where_they_may_be() {
    let mut open = overlay(Vxlan { vni: VNI, strict: false }, 2, &[1]);
    open.strangers = Some(Arc::new(Strangers::default()));
    let mut yard = Yard::new(over_vxlan(vec![port(), tunnel_port(open)]));
    assert_eq!(yard.hear(2, 9, in_vxlan(VNI, &unicast(1, 7))).len(), 1);
    yard.goes(0, &unicast(7, 1));
    let posted = yard.posted();
    assert_eq!(posted.iter().map(|p| (p.to, p.peer)).collect::<Vec<_>>(), [(host(9), Strangers::FIRST)]);
    yard.goes(0, &broadcast(1));
    assert_eq!(
        yard.posted().iter().map(|p| p.to).collect::<Vec<_>>(),
        [host(1)],
        "who was not asked for is not flooded to"
    );
}

#[test]
fn nothing_goes_from_one_peer_to_another_unless_it_is_wanted() {
    let tunnels = |split_horizon| {
        let tunnel = |vni, hosts: &[u16]| Port {
            apart: Apart::new(Mode::Bridge, false, split_horizon),
            ..vxlan_port(vni, 3, hosts)
        };
        Yard::new(over_vxlan(vec![port(), tunnel(VNI, &[1, 2]), tunnel(VNI + 1, &[4])]))
    };
    let mut mesh = tunnels(true);
    assert_eq!(mesh.hear(3, 1, in_vxlan(VNI, &broadcast(7))).len(), 1);
    mesh.hear(3, 2, in_vxlan(VNI, &broadcast(8)));
    mesh.hear(3, 4, in_vxlan(VNI + 1, &broadcast(9)));
    mesh.hear(3, 1, in_vxlan(VNI, &unicast(8, 7)));
    mesh.hear(3, 1, in_vxlan(VNI, &unicast(9, 7)));
    assert_eq!(mesh.posted(), []);
    assert_eq!(mesh.drops(1), [(DropReason::SplitHorizon, 2)]);

    let mut hub = tunnels(false);
    assert_eq!(hub.hear(3, 1, in_vxlan(VNI, &broadcast(7))).len(), 1);
    let mut to: Vec<_> = hub.posted().iter().map(|p| (p.tunnel, p.to)).collect();
    to.sort_unstable();
    assert_eq!(to, [(1, host(2)), (2, host(4))], "everywhere but where it came from");
    hub.hear(3, 2, in_vxlan(VNI, &unicast(7, 8)));
    assert_eq!(hub.posted().iter().map(|p| p.to).collect::<Vec<_>>(), [host(1)]);
    hub.hear(3, 1, in_vxlan(VNI, &unicast(7, 7)));
    assert_eq!(hub.drops(1), [(DropReason::SamePort, 1)]);
}

#[test]
fn vlans_are_tagged_inside_as_on_any_port() {
    let tagged = Port { vlan: trunk(&[10, 20], None).vlan, ..vxlan_port(VNI, 3, &[1]) };
    let mut yard = Yard::new(over_vxlan(vec![access(10), access(20), tagged]));
    yard.goes(0, &unicast(7, 1));
    assert_eq!(yard.posted()[0].bytes, in_vxlan(VNI, &dot1q(&unicast(7, 1), 10)));
    let back = unicast(1, 7);
    sent(&yard.hear(3, 1, in_vxlan(VNI, &dot1q(&back, 10))), &[(0, &back)]);
    let other = yard.hear(3, 1, in_vxlan(VNI, &dot1q(&back, 20)));
    sent(&other, &[(1, &back)]); // VLAN 20 knows nobody of that name
    yard.goes(1, &unicast(7, 2));
    assert_eq!(yard.posted()[0].bytes, in_vxlan(VNI, &dot1q(&unicast(7, 2), 20)));
}

#[test]
fn one_frame_goes_to_several_tunnels_and_ports_each_in_its_form() {
    let tagged = Port { vlan: trunk(&[10], None).vlan, ..vxlan_port(VNI + 1, 5, &[3]) };
    let untagged = Port { vlan: access(10).vlan, ..vxlan_port(VNI, 5, &[1, 2]) };
    let plain_port = Port { vlan: access(10).vlan, ..plain() };
    let mut yard = Yard::new(over_vxlan(vec![access(10), tagged, untagged, trunk(&[10], None), plain_port]));
    let hello = broadcast(1);
    let left = yard.send(0, &hello);
    sent(&left, &[(3, &dot1q(&hello, 10)), (4, &hello)]);
    let mut posted: Vec<_> = yard.posted().into_iter().map(|p| (p.to, p.bytes)).collect();
    posted.sort_unstable();
    let plain = in_vxlan(VNI, &hello);
    let expected =
        [(host(1), plain.clone()), (host(2), plain), (host(3), in_vxlan(VNI + 1, &dot1q(&hello, 10)))];
    assert_eq!(posted, expected);
}

/// A TCP superframe as a TAP gives it.
fn superframe(payload: usize) -> (Vec<u8>, Offload) {
    unfinished(packet(mac(7), mac(1), false, L4::Tcp, payload), false, L4::Tcp, 1388)
}

#[test]
fn a_superframe_is_cut_once_for_all_peers_and_put_together_again() {
    let mut yard = yard();
    let (bytes, offload) = superframe(20_000);
    assert_eq!(yard.send_with(0, &bytes, offload), []);
    let posted = yard.posted();
    let (first, second): (Vec<_>, Vec<_>) = posted.iter().partition(|p| p.to == host(1));
    assert_eq!((first.len(), second.len()), (15, 15));
    assert!(first.iter().zip(&second).all(|(a, b)| a.bytes == b.bytes && a.flow == b.flow));
    assert_eq!(yard.counters(1).tx_frames, 30);

    // What a peer sent is what we sent: glued by the kernel, in one buffer, all but the last of one length.
    let stride = first[0].bytes.len();
    let glued: Vec<u8> = first.iter().flat_map(|p| p.bytes.clone()).collect();
    let mut far = Yard::new(over_vxlan(vec![port(), vxlan_port(VNI, 2, &[1])]));
    let left = far.receive(2, &[(from(1, stride), glued)]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].offload.gso, Gso::TcpV4);
    assert_eq!((&left[0].bytes, left[0].offload.gso_size), (&bytes, 1388));
    assert_eq!(far.peer(1, 0).rx_packets, 15);
    assert_eq!(far.counters(1).rx_frames, 1);
}

/// What the kernel's VTEP sends over a veth: a superframe whose segments nobody has measured.
#[test]
fn a_superframe_that_comes_whole_is_cut_to_what_fits_where_it_goes() {
    let narrow = Port { mtu: 1400, ..port() };
    let mut yard = Yard::new(over_vxlan(vec![narrow, vxlan_port(VNI, 2, &[1])]));
    let (bytes, _) = superframe(20_000);
    let left = yard.hear(2, 1, in_vxlan(VNI, &bytes));
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].offload.gso, left[0].offload.gso_size), (Gso::TcpV4, 1360));
    assert_eq!(left[0].bytes, bytes);

    // One that the tunnel takes for an ordinary packet, since its own MTU allows that.
    for v6 in [false, true] {
        let (short, _) = unfinished(packet(mac(7), mac(1), v6, L4::Tcp, 1385), v6, L4::Tcp, 1388);
        let left = yard.hear(2, 1, in_vxlan(VNI, &short));
        assert_eq!(left.len(), 1, "{:?}", yard.drops(0));
        let (gso, size) = if v6 { (Gso::TcpV6, 1340) } else { (Gso::TcpV4, 1360) };
        assert_eq!((left[0].offload.gso, left[0].offload.gso_size), (gso, size));
        assert_eq!(left[0].bytes, short);
    }
    let (datagram, _) = unfinished(packet(mac(7), mac(1), false, L4::Udp, 1400), false, L4::Udp, 0);
    assert_eq!(yard.hear(2, 1, in_vxlan(VNI, &datagram)), [], "nobody else may cut a datagram");

    let plain = Port { mtu: 1400, ..plain() };
    let mut yard = Yard::new(over_vxlan(vec![plain, vxlan_port(VNI, 2, &[1])]));
    let left = yard.hear(2, 1, in_vxlan(VNI, &bytes));
    assert_eq!(left.len(), 15);
    let payload: Vec<u8> = left.iter().flat_map(|sent| kit::frames::verified(&sent.bytes)).collect();
    assert_eq!(payload, bytes[54..]);

    let hub = |vni| Port { apart: Apart::NOT, ..vxlan_port(vni, 2, &[1]) };
    let mut yard = Yard::new(over_vxlan(vec![hub(VNI), hub(VNI + 1)]));
    yard.hear(2, 1, in_vxlan(VNI, &bytes));
    let posted = yard.posted();
    assert_eq!(posted.len(), 15);
    assert!(posted.iter().all(|p| p.bytes.len() <= 8 + 14 + 1450));
}

#[test]
fn a_tunnel_that_the_underlay_refuses_drops_with_its_reason() {
    let mut yard = yard();
    yard.underlay_says = Err(DropReason::ExceedsMtu);
    yard.goes(0, &broadcast(1));
    assert_eq!(yard.drops(1), [(DropReason::ExceedsMtu, 2)]);
    assert_eq!(yard.peer(1, 0).drops, 1);
    assert!(yard.events().contains(&Event::TooLong(PortId(1))));
}

#[test]
fn the_sender_of_a_packet_that_does_not_fit_is_told() {
    for v6 in [false, true] {
        let mut yard = yard();
        yard.hear(2, 1, in_vxlan(VNI, &unicast(1, 7)));
        let long = packet(mac(7), mac(1), v6, L4::Tcp, 1450);
        let told = yard.send(0, &long);
        assert_eq!(told.len(), 1, "{:?}", yard.drops(1));
        assert_eq!(
            (told[0].port, &told[0].bytes[..12]),
            (0, &[mac(1).octets(), mac(7).octets()].concat()[..])
        );
        assert_eq!(yard.posted(), []);
        assert_eq!((yard.counters(0).replied, yard.drops(1)), (1, vec![]));
        assert_eq!(
            yard.fdb(0).lookup(station(7, 0)).map(|entry| entry.at()),
            Some(at(1, 0)),
            "nothing is learned"
        );
    }
    let mut yard = yard();
    let mut long = packet(mac(7), mac(1), false, L4::Udp, 1450);
    edit_ipv4(&mut long, |ip| ip[6] = 0);
    assert_eq!(yard.send(0, &long), [], "who allows fragments need not know");
    assert_eq!(yard.drops(1), [(DropReason::ExceedsMtu, 1)]);
}

#[test]
fn what_may_be_fragmented_is_where_the_tunnel_inherits_that() {
    let mut inherits = overlay(Vxlan { vni: VNI, strict: false }, 2, &[1]);
    inherits.outer.dont_fragment = None;
    let mut yard = Yard::new(over_vxlan(vec![port(), tunnel_port(inherits)]));
    let mut long = packet(mac(7), mac(1), false, L4::Udp, 1450);
    assert_eq!(yard.send(0, &long).len(), 1, "who forbids it is told");
    assert_eq!(yard.posted(), []);
    edit_ipv4(&mut long, |ip| ip[6] = 0);
    assert_eq!(yard.send(0, &long), []);
    let posted = yard.posted();
    assert_eq!((posted.len(), posted[0].dont_fragment), (1, false));
}

#[test]
fn a_peer_with_less_room_than_others_is_told_of_alone() {
    let Way::Tunnel(both) = vxlan_port(VNI, 2, &[1, 2]).way else { unreachable!("it is a tunnel") };
    let mut both = (*both).clone();
    both.peers[0].as_mut().expect("the first peer").mtu = 1000;
    let mut yard = Yard::new(over_vxlan(vec![port(), Port { mtu: 1000, ..tunnel_port(both) }]));
    yard.hear(2, 1, in_vxlan(VNI, &unicast(1, 7)));
    yard.hear(2, 2, in_vxlan(VNI, &unicast(1, 8)));
    let mut long = |to| {
        let bytes = packet(mac(to), mac(1), false, L4::Tcp, 1300);
        (yard.send(0, &bytes).len(), yard.posted().len())
    };
    assert_eq!((long(7), long(8)), ((1, 0), (0, 1)));
}

#[test]
fn a_sender_behind_a_peer_is_told_too_whichever_peer_that_is() {
    let Way::Tunnel(both) = vxlan_port(VNI, 2, &[1, 2]).way else { unreachable!("it is a tunnel") };
    let hub = Port { apart: Apart::NOT, ..tunnel_port((*both).clone()) };
    let mut yard = Yard::new(over_vxlan(vec![port(), hub]));
    yard.hear(2, 1, in_vxlan(VNI, &unicast(1, 7)));
    yard.hear(2, 2, in_vxlan(VNI, &unicast(1, 8)));
    yard.posted();
    for (sender, from, to) in [(1, 7, 8), (2, 8, 7)] {
        let long = packet(mac(to), mac(from), false, L4::Udp, 1451);
        yard.hear(2, sender, in_vxlan(VNI, &long));
        let told = yard.posted();
        assert_eq!(told.iter().map(|p| p.to).collect::<Vec<_>>(), [host(sender)]);
        assert_eq!(told[0].bytes[8..14], mac(from).octets());
    }
    assert_eq!(yard.drops(1), []);
}

#[test]
fn who_sends_long_packets_has_no_one_else_go_without_an_answer() {
    let mut yard = Yard::new(over_vxlan(vec![port(), vxlan_port(VNI, 3, &[1]), port()]));
    yard.foresees = false;
    yard.hear(3, 1, in_vxlan(VNI, &unicast(1, 7)));
    let long = |from| packet(mac(7), mac(from), false, L4::Udp, 1500);
    let told = (0..2000).filter(|_| !yard.send(0, &long(1)).is_empty()).count();
    assert!((1..2000).contains(&told), "{told}");
    assert_eq!(yard.send(2, &long(2)).len(), 1);
}

#[test]
fn an_echo_is_answered_and_its_answer_is_news() {
    let (mut near, mut far) = (yard(), Yard::new(over_vxlan(vec![port(), vxlan_port(VNI, 2, &[9])])));
    assert!(!near.probe(at(1, 5), 7, 100) && !near.probe(at(0, 0), 7, 100));
    assert!(near.probe(at(1, 1), 7, 1000));
    let asked = near.posted();
    assert_eq!((asked.len(), asked[0].to, asked[0].bytes.len()), (1, host(2), 8 + 14 + 1000));
    assert!(asked[0].dont_fragment);
    assert_eq!(far.hear(2, 9, asked[0].bytes.clone()), [], "no port has anything of it");
    let answer = far.posted();
    assert_eq!((answer.len(), answer[0].to, answer[0].bytes.len()), (1, host(9), 8 + 14 + 1000));
    near.now = near.now + Duration::from_micros(80);
    assert_eq!(near.hear(2, 2, answer[0].bytes.clone()), []);
    assert!(near.events().contains(&Event::Echo { token: 7, after: Duration::from_micros(80) }));
    assert_eq!((near.drops(1), far.drops(1)), (vec![], vec![]));
}

#[test]
fn congestion_is_passed_on_both_ways() {
    let mut yard = yard();
    let mut marked = packet(mac(7), mac(1), false, L4::Tcp, 10);
    edit_ipv4(&mut marked, |ip| ip[1] = 0b1011_1010); // DSCP 46, ECT(0)
    yard.send(0, &marked);
    assert_eq!(yard.posted()[0].tos, 0b10);
    let experienced = Received { tos: 0b11, ..from(1, 8 + marked.len()) };
    let left = yard.receive(2, &[(experienced, in_vxlan(VNI, &marked))]);
    let mut expected = marked.clone();
    edit_ipv4(&mut expected, |ip| ip[1] = 0b1011_1011);
    sent(&left, &[(0, &expected)]);
    edit_ipv4(&mut marked, |ip| ip[1] = 0);
    assert_eq!(yard.receive(2, &[(experienced, in_vxlan(VNI, &marked))]), []);
    assert_eq!(yard.drops(1), [(DropReason::Ecn, 1)]);
}

#[test]
fn a_wire_joins_two_ports_that_carry_ip() {
    use tapyard::tunnel::gre::{self, Gre};
    let gre = || Gre { key: None, checksum: false, sequence: None, layer: Layer::Ip };
    let tunnel = Port { bridge: None, wire: Some(PortId(0)), ..tunnel_port(overlay(gre(), 2, &[1])) };
    let tun = Port { bridge: None, wire: Some(PortId(1)), ..port() };
    let mut ports = vec![tun, tunnel];
    ports.push(underlay(&gre::PROTOCOL, &ports));
    let mut yard = Yard::new(ports);
    let ip = packet(mac(7), mac(1), false, L4::Udp, 100)[14..].to_vec();
    assert_eq!(yard.send_ip(0, &ip), []);
    let posted = yard.posted();
    assert_eq!(posted[0].bytes, [&[0, 0, 0x08, 0], &ip[..]].concat());
    sent(&yard.hear(2, 1, posted[0].bytes.clone()), &[(0, &ip)]);
    assert_eq!(yard.send(0, &unicast(7, 1)), []);
    assert_eq!(yard.drops(0), [(DropReason::NotIp, 1)]);
}

#[test]
fn a_peer_that_is_gone_loses_its_counters_and_its_frames() {
    let mut yard = yard();
    yard.hear(2, 2, in_vxlan(VNI, &unicast(1, 7)));
    yard.change(|ports| {
        *ports = over_vxlan(vec![port(), vxlan_port(VNI, 2, &[1])]).into_iter().map(Some).collect();
    });
    yard.goes(0, &unicast(7, 1));
    assert_eq!(yard.posted(), []);
    assert_eq!(yard.drops(1), [(DropReason::PortMissing, 1)]);
    assert_eq!(yard.peer(1, 1).rx_packets, 0);
    assert_eq!(yard.hear(2, 2, in_vxlan(VNI, &unicast(1, 7))), []);
}

#[test]
fn cut_frames_are_those_that_segmentation_gives() {
    let mut yard = yard();
    let (bytes, offload) = superframe(5_000);
    yard.send_with(0, &bytes, offload);
    let mut batch = Batch::default();
    let mut whole = Frame::from_bytes(&bytes);
    whole.offload = offload;
    whole.offload.check(Layer::Ethernet, &bytes).expect("the superframe is a good one");
    batch.spare()[0].copy_from(&whole);
    batch.commit(1);
    let mut parts = Vec::new();
    segment::segment(&mut batch, 0, &mut parts).expect("it can be cut");
    let expected: Vec<_> = parts.iter().map(|&i| in_vxlan(VNI, batch.frames()[i as usize].bytes())).collect();
    let posted: Vec<_> = yard.posted().into_iter().filter(|p| p.peer == 0).map(|p| p.bytes).collect();
    assert_eq!(posted, expected);
}
