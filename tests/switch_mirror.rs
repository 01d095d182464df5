//! Mirrors: what of a frame's walk another port sends copies of, in which form, and that nothing else is changed by it.

mod kit;

use std::sync::Arc;

use kit::frames::{L4, broadcast, dot1q, fits, frame, mac, packet, unfinished, unicast, verified};
use kit::gateways::ports as sides;
use kit::mirrors::{mirror, monitor};
use kit::routers::{Msg, gateway, ping, udp};
use kit::tunnels::{in_vxlan, over_vxlan, vxlan_port};
use kit::{Sent, Yard, access, on, patch, plain, port, trunk};
use tapyard::packet::{DropReason, Offload};
use tapyard::switch::mirror::{Mirror, MirrorCounters};
use tapyard::switch::{Port, Way};
use tapyard::wire::ethernet::Mac;

/// The copies among what has left.
fn copies(left: Vec<Sent>, to: u16) -> Vec<Vec<u8>> {
    left.into_iter().filter(|sent| sent.port == to).map(|sent| sent.bytes).collect()
}

/// Two stations, and a port for copies.
fn pair() -> Yard {
    let mut yard = Yard::new([port(), port(), monitor()]);
    yard.goes(0, &broadcast(1));
    yard.goes(1, &broadcast(2));
    yard
}

#[test]
fn what_comes_in_and_what_leaves_is_copied_each_as_asked() {
    for (received, sent, there, back) in
        [(&[0][..], &[][..], 1, 0), (&[], &[0], 0, 1), (&[0], &[0], 1, 1), (&[0, 1], &[0, 1], 2, 2)]
    {
        let mut yard = pair();
        yard.mirror([mirror(2, received, sent)]);
        for (from, bytes, expected) in [(0, unicast(2, 1), there), (1, unicast(1, 2), back)] {
            let left = yard.send(from, &bytes);
            assert!(left.iter().all(|sent| sent.bytes == bytes));
            assert_eq!(copies(left, 2).len(), expected, "{received:?} {sent:?} from {from}");
        }
        let counters = yard.counters(2);
        assert_eq!((counters.copies, counters.tx_frames), (there as u64 + back as u64, counters.copies));
        let counted = MirrorCounters { frames: counters.copies, bytes: counters.tx_bytes, cut: 0, drops: 0 };
        assert_eq!(yard.mirrored(), [counted]);
    }
}

#[test]
fn a_flooded_frame_is_copied_once_where_it_comes_in_and_once_for_each_port_it_leaves_by() {
    let mut yard = Yard::new([port(), port(), port(), port(), monitor()]);
    yard.mirror([mirror(4, &[0, 1], &[1, 2])]);
    let left = yard.send(0, &broadcast(1));
    assert_eq!(left.iter().map(|sent| sent.port).collect::<Vec<_>>(), [1, 2, 3, 4, 4, 4]);
}

#[test]
fn copies_are_of_what_passes_the_wire_in_the_vlan_form_of_its_port() {
    let mut yard = Yard::new([access(10), trunk(&[10, 20], None), monitor()]);
    yard.mirror([mirror(2, &[0, 1], &[0, 1])]);
    let plain = broadcast(1);
    assert_eq!(copies(yard.send(0, &plain), 2), [plain.clone(), dot1q(&plain, 10)]);
    assert_eq!(copies(yard.send(1, &dot1q(&plain, 0x600a)), 2), [dot1q(&plain, 0x600a), plain.clone()]);
    let vlans = |vid: u16| Some(Arc::new([vid].into_iter().collect()));
    yard.mirror([Mirror { vlans: vlans(20), ..mirror(2, &[0, 1], &[0, 1]) }]);
    assert!(copies(yard.send(0, &plain), 2).is_empty());
    assert_eq!(copies(yard.send(1, &dot1q(&plain, 20)), 2), [dot1q(&plain, 20)]);
    yard.mirror([Mirror { vlans: vlans(10), ..mirror(2, &[0, 1], &[0, 1]) }]);
    assert_eq!(copies(yard.send(0, &plain), 2).len(), 2, "of an access port, too");
}

#[test]
fn a_filter_says_which_frames_are_copied() {
    let mut yard = pair();
    yard.mirror([Mirror { filter: "udp port 53".parse().unwrap(), ..mirror(2, &[0], &[]) }]);
    let (dns, web) =
        (packet(mac(2), mac(1), false, L4::Udp, 900), packet(mac(2), mac(1), true, L4::Tcp, 900));
    for _ in 0..2 {
        assert_eq!(copies(yard.send(0, &dns), 2), std::slice::from_ref(&dns));
        assert!(copies(yard.send(0, &web), 2).is_empty());
    }
}

#[test]
fn a_copy_is_cut_after_as_many_bytes_as_are_asked_for() {
    let mut yard = pair();
    yard.mirror([Mirror { snap: Some(100), ..mirror(2, &[0], &[1]) }]);
    let (superframe, offload) =
        unfinished(packet(mac(2), mac(1), false, L4::Tcp, 20_000), false, L4::Tcp, 1000);
    // Every other one is in its sender's memory.
    for _ in 0..2 {
        let left = yard.send_with(0, &superframe, offload);
        let whole = left.iter().find(|sent| sent.port == 1).unwrap();
        assert_eq!((&whole.bytes, whole.offload), (&superframe, offload), "what leaves is not cut");
        for copy in left.iter().filter(|sent| sent.port == 2) {
            assert_eq!((&copy.bytes[..], copy.offload), (&superframe[..100], Offload::NONE));
        }
        assert_eq!(left.len(), 3);
    }
    yard.send(0, &unicast(2, 1));
    assert_eq!(yard.mirrored(), [MirrorCounters { frames: 6, bytes: 400 + 120, cut: 4, drops: 0 }]);
}

#[test]
fn superframes_are_copied_whole_where_the_port_takes_them_and_are_cut_where_it_does_not() {
    let payload = 20_000;
    let whole = packet(mac(2), mac(1), true, L4::Tcp, payload);
    let (superframe, offload) = unfinished(whole, true, L4::Tcp, 1400);
    let mut yard = Yard::new([port(), port(), monitor(), Port { bridge: None, ..plain() }]);
    yard.goes(1, &broadcast(2));
    yard.mirror([mirror(2, &[0], &[1]), mirror(3, &[0], &[1])]);
    for _ in 0..2 {
        let left = yard.send_with(0, &superframe, offload);
        let to = |port| left.iter().filter(move |sent| sent.port == port);
        assert!(to(2).all(|sent| (&sent.bytes, sent.offload) == (&superframe, offload)));
        assert_eq!((to(1).count(), to(2).count()), (1, 2));
        let cut: Vec<_> =
            to(3).inspect(|sent| fits(&plain(), sent)).map(|sent| verified(&sent.bytes)).collect();
        assert_eq!(cut.len(), 2 * payload.div_ceil(1400));
        assert_eq!(cut.concat().len(), 2 * payload);
    }
}

#[test]
fn what_leaves_in_segments_is_copied_in_segments() {
    let (superframe, offload) =
        unfinished(packet(mac(2), mac(1), false, L4::Udp, 5000), false, L4::Udp, 1400);
    let mut yard = Yard::new([port(), plain(), monitor()]);
    yard.goes(1, &broadcast(2));
    yard.mirror([mirror(2, &[], &[1])]);
    let left = yard.send_with(0, &superframe, offload);
    let (segments, copies): (Vec<_>, Vec<_>) = left.into_iter().partition(|sent| sent.port == 1);
    assert_eq!(segments.len(), 4);
    assert!(segments.iter().map(|sent| &sent.bytes).eq(copies.iter().map(|sent| &sent.bytes)));
}

#[test]
fn a_copy_too_long_for_its_port_is_cut_to_what_that_takes() {
    let mtu = 600;
    let mut yard = Yard::new([port(), port(), Port { mtu, ..monitor() }]);
    yard.goes(1, &broadcast(2));
    yard.mirror([mirror(2, &[0], &[1])]);
    let long = packet(mac(2), mac(1), false, L4::Udp, 1400);
    let (superframe, offload) =
        unfinished(packet(mac(2), mac(1), false, L4::Tcp, 9000), false, L4::Tcp, 1400);
    let tagged = dot1q(&long, 7);
    for (bytes, offload, len) in
        [(&long, Offload::NONE, 614), (&superframe, offload, 614), (&tagged, Offload::NONE, 618)]
    {
        for _ in 0..2 {
            let copies = copies(yard.send_with(0, bytes, offload), 2);
            assert_eq!(copies, [&bytes[..len], &bytes[..len]]);
        }
    }
    assert_eq!(yard.mirrored()[0].cut, 12);
    assert_eq!(yard.drops(2), []);
    // A superframe whose segments nobody has measured has such as fit.
    let guessed = Offload { guessed: true, ..offload };
    let copies = yard.send_with(0, &superframe, guessed);
    let copies: Vec<_> = copies.iter().filter(|sent| sent.port == 2).collect();
    assert!(copies.iter().all(|sent| sent.bytes == superframe && sent.offload.gso_size == 560), "{copies:?}");
    assert_eq!((copies.len(), yard.mirrored()[0].cut), (2, 12));
}

#[test]
fn a_frame_that_is_dropped_where_it_comes_in_is_copied() {
    let mut yard = Yard::new([access(10), access(10), monitor()]);
    yard.mirror([mirror(2, &[0], &[0, 1])]);
    let (runt, lies) = (vec![0xff; 13], Offload { needs_csum: true, csum_start: 9000, ..Offload::NONE });
    let (odd, foreign) = (frame(mac(2), Mac::BROADCAST), dot1q(&broadcast(1), 20));
    for (bytes, offload, reason) in [
        (&odd, Offload::NONE, DropReason::BadSource),
        (&foreign, Offload::NONE, DropReason::VlanNotAllowed),
        (&broadcast(1), lies, DropReason::BadOffload),
    ] {
        let left = yard.send_with(0, bytes, offload);
        assert_eq!(left, [Sent { port: 2, bytes: bytes.clone(), offload: Offload::NONE }]);
        assert_eq!(yard.counters(0).dropped(reason), 1);
    }
    assert_eq!(yard.send(0, &runt), []);
    assert_eq!(yard.drops(2), [(DropReason::Runt, 1)], "no port sends that");
}

#[test]
fn nothing_comes_in_by_the_port_of_a_mirror() {
    let mut yard = pair();
    yard.mirror([mirror(2, &[0, 1], &[0, 1])]);
    assert_eq!(yard.refused(2, &broadcast(3), Offload::NONE), DropReason::MirrorPort);
    assert_eq!(yard.goes(0, &unicast(3, 1)), [1, 2, 2], "nor is anything learned there");
    yard.mirror([]);
    assert_eq!(yard.refused(2, &broadcast(3), Offload::NONE), DropReason::NoBridge);
}

#[test]
fn a_port_that_takes_no_copies_or_is_gone_disturbs_nobody() {
    let mut yard = pair();
    yard.mirror([mirror(2, &[0], &[1])]);
    yard.takes = |port| port != 2;
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
    assert_eq!(yard.drops(2), [(DropReason::QueueFull, 2)]);
    assert_eq!(yard.mirrored(), [MirrorCounters { frames: 2, bytes: 120, cut: 0, drops: 2 }]);
    yard.change(|ports| ports[2] = None);
    assert_eq!(yard.goes(0, &unicast(2, 1)), [1]);
    assert_eq!(yard.retired().dropped(DropReason::PortMissing), 2);
    assert_eq!(yard.drops(0), []);
}

#[test]
fn mirrors_that_share_a_port_each_have_their_copies_and_none_of_each_others() {
    let mut yard = Yard::new([port(), port(), monitor(), monitor()]);
    let named = |name: &str, mirror| Mirror { name: name.into(), ..mirror };
    yard.mirror([
        named("a", mirror(2, &[0], &[])),
        named("b", mirror(2, &[0], &[1])),
        // Nothing leaves by these but copies.
        named("c", mirror(3, &[2, 3], &[2, 3])),
    ]);
    assert_eq!(yard.goes(0, &broadcast(1)), [1, 2, 2, 2]);
    let frames = |yard: &Yard| yard.mirrored().iter().map(|counters| counters.frames).collect::<Vec<_>>();
    assert_eq!(frames(&yard), [1, 2, 0]);
    yard.mirror([named("c", mirror(3, &[0], &[])), named("b", mirror(2, &[0], &[]))]);
    assert_eq!(frames(&yard), [0, 2], "what is counted stays with the name");
}

#[test]
fn the_ends_of_a_patch_have_copies_of_what_crosses() {
    let mut yard = Yard::new([
        access(10),
        patch(2, trunk(&[10], None)),
        on(1, patch(1, port())),
        on(1, port()),
        monitor(),
    ]);
    let plain = broadcast(1);
    for (received, sent) in [(&[][..], &[1][..]), (&[2], &[])] {
        yard.mirror([mirror(4, received, sent)]);
        assert_eq!(copies(yard.send(0, &plain), 4), [dot1q(&plain, 10)]);
    }
    yard.mirror([mirror(4, &[1, 2], &[1, 2])]);
    assert_eq!(copies(yard.send(3, &dot1q(&plain, 10)), 4).len(), 2);
    assert_eq!(yard.goes(0, &plain), [3, 4, 4]);
}

#[test]
fn of_tunnels_the_frames_inside_are_copied() {
    let mut yard = Yard::new(over_vxlan(vec![access(10), trunk_tunnel(), monitor()]));
    yard.mirror([mirror(2, &[1], &[1])]);
    let plain = broadcast(1);
    assert_eq!(copies(yard.send(0, &plain), 2), [dot1q(&plain, 10)], "once, however many peers there are");
    let posted: Vec<_> = yard.posted().into_iter().map(|posted| posted.bytes).collect();
    assert_eq!(posted, vec![in_vxlan(100, &dot1q(&plain, 10)); 2]);
    let inner = dot1q(&frame(mac(1), mac(9)), 10);
    assert_eq!(copies(yard.hear(3, 1, in_vxlan(100, &inner)), 2), [inner]);
    let (superframe, offload) =
        unfinished(packet(mac(9), mac(1), false, L4::Tcp, 5000), false, L4::Tcp, 1300);
    let left = yard.send_with(0, &superframe, offload);
    assert_eq!((left.len(), left[0].bytes.len()), (1, superframe.len() + 4), "before it is cut");
    assert_eq!(yard.posted().len(), 4);
}

fn trunk_tunnel() -> Port {
    Port { vlan: trunk(&[10], None).vlan, ..vxlan_port(100, 3, &[1, 2]) }
}

#[test]
fn a_tunnel_takes_copies_to_all_its_peers() {
    let far = Port { bridge: None, ..vxlan_port(900, 3, &[7, 8]) };
    let mut yard = Yard::new(over_vxlan(vec![port(), port(), far]));
    yard.goes(1, &broadcast(2));
    yard.mirror([mirror(2, &[0], &[1])]);
    let posted = |yard: &mut Yard| -> Vec<_> {
        yard.posted().into_iter().map(|posted| (posted.peer, posted.bytes)).collect()
    };
    let bytes = unicast(2, 1);
    let to = |peer, bytes: &[u8]| (peer, in_vxlan(900, bytes));
    assert_eq!(yard.goes(0, &bytes), [1]);
    let both = [to(0, &bytes), to(1, &bytes)];
    assert_eq!(posted(&mut yard), [both.clone(), both].concat());
    // The network below takes 1450 bytes behind an Ethernet header, and a tag beside them no more.
    for long in [
        packet(mac(2), mac(1), false, L4::Udp, 1440),
        dot1q(&packet(mac(2), mac(1), false, L4::Udp, 1422), 5),
    ] {
        yard.send(0, &long);
        assert_eq!(posted(&mut yard)[..2], [to(0, &long[..1464]), to(1, &long[..1464])]);
    }
    let (superframe, offload) =
        unfinished(packet(mac(2), mac(1), false, L4::Tcp, 3000), false, L4::Tcp, 1000);
    let left = yard.send_with(0, &superframe, offload);
    assert_eq!((&left[0].bytes, left[0].offload), (&superframe, offload));
    let segments: Vec<_> =
        posted(&mut yard).into_iter().map(|(_, bytes)| verified(&bytes[8..]).len()).collect();
    assert_eq!(segments, [1000; 12]);
    assert_eq!(yard.hear(3, 7, in_vxlan(900, &broadcast(9))), []);
    assert_eq!(yard.drops(2), [(DropReason::MirrorPort, 1)]);
}

#[test]
fn a_tunnel_that_clamps_does_so_to_copies_alone() {
    let mut far = Port { bridge: None, ..vxlan_port(900, 3, &[7]) };
    let Way::Tunnel(overlay) = &mut far.way else { panic!("{far:?}") };
    Arc::get_mut(overlay).unwrap().mss_clamp = true;
    let mut yard = Yard::new(over_vxlan(vec![port(), port(), far]));
    yard.goes(1, &broadcast(2));
    yard.mirror([mirror(2, &[], &[1])]);
    let mut syn = packet(mac(2), mac(1), false, L4::Tcp, 0);
    let options = [2, 4, 5, 0xb4];
    syn[46] = 6 << 4;
    syn[47] = 2;
    syn.extend(options);
    kit::frames::edit_ipv4(&mut syn, |ip| ip[3] += 4);
    let left = yard.send(0, &syn);
    assert_eq!(left[0].bytes, syn);
    assert_ne!(yard.posted()[0].bytes[8..], syn);
}

#[test]
fn what_a_tunnel_sends_is_copied_into_another_over_the_same_underlay() {
    let near = vxlan_port(100, 3, &[1]);
    let far = Port { bridge: None, ..vxlan_port(900, 3, &[7]) };
    let mut yard = Yard::new(over_vxlan(vec![port(), near, far]));
    yard.mirror([mirror(2, &[0, 1], &[0, 1])]);
    let bytes = broadcast(1);
    assert_eq!(yard.send(0, &bytes), []);
    let posted: Vec<_> = yard.posted().into_iter().map(|posted| (posted.tunnel, posted.bytes)).collect();
    let copy = (2, in_vxlan(900, &bytes));
    assert_eq!(posted, [copy.clone(), copy, (1, in_vxlan(100, &bytes))]);
}

#[test]
fn a_routed_packet_is_copied_as_it_comes_and_as_it_leaves() {
    let [inside, outside] = sides();
    let mut yard = Yard::new([inside, outside, monitor()]);
    kit::gateways::plan().masquerade(1).run(&mut yard);
    yard.mirror([mirror(2, &[0], &[1])]);
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    let bytes = there.frame(gateway(), mac(1));
    for _ in 0..2 {
        let left = yard.send(0, &bytes);
        let routed = left.iter().find(|sent| sent.port == 1).unwrap().bytes.clone();
        assert_ne!(Msg::read(&routed[14..]).from, there.from);
        assert_eq!(copies(left, 2), [bytes.clone(), routed]);
    }
}

#[test]
fn a_question_is_copied_before_its_answer() {
    let [inside, outside] = sides();
    let mut yard = Yard::new([inside, outside, monitor()]);
    kit::gateways::plan().run(&mut yard);
    yard.mirror([mirror(2, &[0], &[0])]);
    let question = ping("10.1.0.1", "10.1.0.254", 7).frame(gateway(), mac(1));
    let left = yard.send(0, &question);
    let answer = left.iter().find(|sent| sent.port == 0).unwrap().bytes.clone();
    assert_eq!(copies(left, 2), [question, answer]);
}

#[test]
fn copies_leave_enough_buffers_to_the_frames_themselves() {
    let mut yard = Yard::new([port(), plain(), monitor()]);
    yard.goes(1, &broadcast(2));
    let named = |n: usize| Mirror { name: n.to_string(), ..mirror(2, &[0], &[]) };
    yard.mirror((0..64).map(named));
    let (superframe, offload) =
        unfinished(packet(mac(2), mac(1), false, L4::Tcp, 10_000), false, L4::Tcp, 1000);
    let left = yard.send_all(0, 0, &vec![(superframe, offload); 32]);
    assert_eq!(left.iter().filter(|sent| sent.port == 1).count(), 320);
    assert!(yard.counters(2).dropped(DropReason::NoBuffer) > 0 && yard.drops(0).is_empty());
    assert_eq!(yard.drops(1), []);
}
