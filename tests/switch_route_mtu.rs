//! Superframes through a router, and packets that do not fit where they are to leave.

mod kit;

use kit::frames::{L4, mac, unfinished};
use kit::gateways::{V4, V6, between, error_quoting, finish, only, plan, plan_to_tun, same, send, tun};
use kit::routers::{ACK, Msg, Upper, gateway, msg, udp};
use kit::{Sent, Yard, on, plain, port};
use tapyard::packet::{Capabilities, DropReason, Offload};
use tapyard::switch::Port;

/// A superframe of TCP or UDP from station 1 to the router, and as it leaves for station 2.
fn superframe(v6: bool, l4: L4, len: usize, size: u16) -> ((Vec<u8>, Offload), Vec<u8>) {
    let (from, to) = if v6 { V6 } else { V4 };
    let upper = match l4 {
        L4::Udp => Upper::Udp { from: 1000, to: 53, checked: true },
        L4::Tcp => Upper::Tcp { from: 1000, to: 80, flags: ACK, sequence: 1, ack: 9, window: 99 },
    };
    let there = msg(from, to, upper).len(len);
    let (expected, _) = unfinished(there.hop().frame(mac(2), gateway()), v6, l4, size);
    (unfinished(there.frame(gateway(), mac(1)), v6, l4, size), expected)
}

#[test]
fn superframes_are_routed_whole() {
    let mut yard = between(&plan());
    for v6 in [false, true] {
        for l4 in [L4::Tcp, L4::Udp] {
            for (len, size) in [(60_000, 1400), (3000, 1440), (20, 0), (1400, 0)] {
                let ((frame, offload), expected) = superframe(v6, l4, len, size);
                for _ in 0..3 {
                    let sent = yard.send_with(0, &frame, offload);
                    assert_eq!(
                        sent,
                        [Sent { port: 1, bytes: expected.clone(), offload }],
                        "{v6} {l4:?} {len} {size}"
                    );
                }
            }
        }
    }
    assert_eq!(yard.counters(0).rx_frames, 48);
    assert_eq!(yard.counters(1).tx_frames, 48 + 3);
}

#[test]
fn superframes_cross_to_a_port_that_carries_ip_and_back() {
    let mut yard = Yard::new([port(), tun()]);
    plan_to_tun().run(&mut yard);
    for v6 in [false, true] {
        let ((frame, offload), expected) = superframe(v6, L4::Tcp, 30_000, 1400);
        let mut bare = offload;
        bare.shift(-14);
        for _ in 0..2 {
            let sent = yard.send_with(0, &frame, offload);
            assert_eq!(sent, [Sent { port: 1, bytes: expected[14..].to_vec(), offload: bare }]);
        }
        let (from, to) = if v6 { ("2001:db8::8", V6.0) } else { ("8.8.8.8", V4.0) };
        let upper = Upper::Tcp { from: 80, to: 1000, flags: ACK, sequence: 1, ack: 9, window: 99 };
        let back = msg(from, to, upper).len(30_000);
        let (came, offload) = unfinished(back.frame(mac(1), gateway()), v6, L4::Tcp, 1400);
        let (expected, _) = unfinished(back.hop().frame(mac(1), gateway()), v6, L4::Tcp, 1400);
        for _ in 0..2 {
            let sent = yard.send_ips(1, &[(came[14..].to_vec(), bare)]);
            assert_eq!(sent, [Sent { port: 0, bytes: expected.clone(), offload }]);
        }
    }
}

#[test]
fn a_superframe_for_a_port_without_offloads_leaves_in_segments() {
    let mut yard = Yard::new([port(), on(1, plain())]);
    plan().run(&mut yard);
    for v6 in [false, true] {
        let ((frame, offload), _) = superframe(v6, L4::Tcp, 4000, 1400);
        let sent = yard.send_with(0, &frame, offload);
        assert_eq!(sent.len(), 3);
        for (sent, len) in sent.iter().zip([1400, 1400, 1200]) {
            let segment = Msg::read(&sent.bytes[14..]);
            assert_eq!((segment.ttl, segment.payload.len()), (63, len));
            assert_eq!(sent.bytes[..12], [mac(2).octets(), gateway().octets()].concat());
        }
    }
    assert_eq!(yard.counters(1).copies, 4, "made where they were needed");
}

#[test]
fn what_does_not_fit_is_cut_or_its_sender_is_told() {
    let mut narrow = plan();
    narrow.links[1].mtu = 1400;
    let mut yard = between(&narrow);
    for (len, fits) in [(1372, true), (1373, false), (1472, false)] {
        let there = udp("10.1.0.1:1", "10.2.0.1:2").len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            if fits {
                assert_eq!(only(sent, 1, 2), there.hop());
            } else {
                let quoted = there.packet()[..548].to_vec();
                same(only(sent, 0, 1), &error_quoting("10.1.0.254", &there, 3, 4, 1400, quoted));
            }
        }
    }
    for (len, fits) in [(1352, true), (1353, false)] {
        let there = udp("[fd01::1]:1", "[fd02::1]:2").len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            if fits {
                assert_eq!(only(sent, 1, 2), there.hop());
            } else {
                let quoted = there.packet()[..1232].to_vec();
                same(only(sent, 0, 1), &error_quoting("fd01::fe", &there, 2, 0, 1400, quoted));
            }
        }
    }
    assert_eq!(yard.counters(0).dropped(DropReason::ExceedsMtu), 6);
    assert_eq!(yard.counters(1).dropped_total(), 0);
}

#[test]
fn a_superframe_counts_by_its_segments() {
    let mut narrow = plan();
    narrow.links[1].mtu = 1400;
    let mut yard = between(&narrow);
    for (v6, size, fits) in
        [(false, 1360, true), (false, 1361, false), (true, 1340, true), (true, 1341, false)]
    {
        let ((frame, offload), expected) = superframe(v6, L4::Tcp, 20_000, size);
        for _ in 0..2 {
            let sent = yard.send_with(0, &frame, offload);
            if fits {
                assert_eq!(sent, [Sent { port: 1, bytes: expected.clone(), offload }]);
            } else {
                let told = only(sent, 0, 1);
                assert_eq!(told.upper, if v6 { Upper::Icmp(2, 0, 1400) } else { Upper::Icmp(3, 4, 1400) });
                let quoted = &told.payload[..];
                assert_eq!(
                    quoted[if v6 { 40 } else { 20 }..][..4],
                    [1000u16.to_be_bytes(), 80u16.to_be_bytes()].concat()
                );
            }
        }
    }
}

#[test]
fn a_packet_that_may_be_cut_is() {
    let mut narrow = plan();
    narrow.links[1].mtu = 600;
    let mut yard = between(&narrow);
    for len in [573, 1152, 1153, 1472] {
        let there = udp("10.1.0.1:1", "10.2.0.1:2").may_be_cut().len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            let mut whole = Vec::<u8>::new();
            for (number, sent_frame) in sent.iter().enumerate() {
                let packet = &sent_frame.bytes[14..];
                let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                assert!(total <= 600 && packet.len() == total, "{total}");
                assert_eq!((packet[8], &packet[4..6]), (63, &[0, 77][..]));
                let word = u16::from_be_bytes([packet[6], packet[7]]);
                assert_eq!(usize::from(word & 0x1fff) * 8, whole.len(), "in order");
                assert_eq!(word & 0x2000 != 0, number + 1 < sent.len(), "more fragments");
                let mut header = packet[..20].to_vec();
                finish(&mut header);
                assert_eq!(header, packet[..20], "header checksum");
                whole.extend(&packet[20..]);
            }
            assert_eq!(whole, there.packet()[20..]);
            assert_eq!(sent.len(), (len + 8).div_ceil(576));
        }
    }
}

#[test]
fn a_superframe_that_may_be_cut_is() {
    let mut narrow = plan();
    narrow.links[1].mtu = 600;
    let mut yard = between(&narrow);
    let upper = Upper::Tcp { from: 1000, to: 80, flags: ACK, sequence: 1, ack: 9, window: 99 };
    let there = msg(V4.0, V4.1, upper).may_be_cut().len(4000);
    let (frame, offload) = unfinished(there.frame(gateway(), mac(1)), false, L4::Tcp, 1400);
    for _ in 0..2 {
        // Each segment of 1400 bytes in fragments of at most 600, which make it up again.
        let (mut payload, mut segment) = (Vec::new(), Vec::new());
        for sent in yard.send_with(0, &frame, offload) {
            assert_eq!((sent.port, sent.offload), (1, Offload::NONE));
            let packet = &sent.bytes[14..];
            assert!(packet.len() <= 600 && packet[8] == 63);
            let word = u16::from_be_bytes([packet[6], packet[7]]);
            assert_eq!(usize::from(word & 0x1fff) * 8, segment.len(), "in order");
            segment.extend(&packet[20..]);
            if word & 0x2000 != 0 {
                continue;
            }
            let mut whole = [&packet[..20], &segment].concat();
            let len = whole.len() as u16;
            whole[2..4].copy_from_slice(&len.to_be_bytes());
            whole[6..8].fill(0);
            finish(&mut whole[..20]);
            let read = Msg::read(&whole);
            let Upper::Tcp { sequence, .. } = read.upper else { panic!("{read:?}") };
            assert_eq!(sequence as usize, 1 + payload.len());
            payload.extend(read.payload);
            segment.clear();
        }
        assert_eq!(payload, there.payload);
    }
}

#[test]
fn a_frame_longer_than_its_port_takes_is_counted_there() {
    let mut yard = Yard::new([port(), Port { mtu: 1000, capabilities: Capabilities::ALL, ..on(1, port()) }]);
    plan().run(&mut yard);
    let there = udp("10.1.0.1:1", "10.2.0.1:2").len(1200);
    assert_eq!(send(&mut yard, 0, 1, &there), []);
    assert_eq!(yard.counters(1).dropped(DropReason::ExceedsMtu), 1);
}
