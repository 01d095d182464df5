use core::net::IpAddr;

use super::*;

const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const UDP: [u8; 8] = [0x10, 0, 0, 53, 0, 8, 0xa5, 0xa5];
const ECHO: [u8; 12] = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g'];

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn router(v4: bool) -> Address {
    address(if v4 { "10.0.0.254" } else { "fd00::fe" })
}

/// `packet` with some bytes changed, its length right, and the header checksum of IPv4 too.
fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    for &(at, value) in changes {
        changed[at] = value;
    }
    let len = changed.len() as u16;
    match changed[0] >> 4 {
        4 => ipv4::make_segment(&mut changed[..20], 0, len),
        _ => ipv6::set_payload_len(&mut changed, len - 40),
    }
    changed
}

/// 10.0.0.1 to 10.0.0.2, TTL 1.
fn ipv4(protocol: u8, upper: &[u8]) -> Vec<u8> {
    let header = [0x45, 0, 0, 0, 0, 1, 0, 0, 1, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    with(&[&header, upper].concat(), &[])
}

/// fd00::1 to fd00::2, hop limit 1.
fn ipv6(next: u8, upper: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 1];
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(upper);
    with(&packet, &[])
}

fn ip(packet: &[u8]) -> Frame {
    let mut frame = Frame::default();
    fill_ip(&mut frame, packet);
    frame
}

fn ethernet(packet: &[u8]) -> Frame {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    Frame::from_bytes(&[&LINK[..], &ether_type, packet].concat())
}

/// What is answered, which has nothing undone; without an answer the frame for it stays as it was.
fn answered(answer: impl FnOnce(&mut Frame) -> bool) -> Option<Vec<u8>> {
    let mut to = Frame::from_bytes(&[0xa5; 1600]);
    match answer(&mut to) {
        true => {
            assert_eq!(to.offload, Offload::NONE);
            Some(to.bytes().to_vec())
        }
        false => {
            assert_eq!(to.bytes(), [0xa5; 1600]);
            None
        }
    }
}

fn reported(frame: &Frame, trouble: Trouble) -> Option<Vec<u8>> {
    let packet = Packet::of(frame).unwrap();
    let from = router(packet.tuple.source.is_v4());
    answered(|to| report(frame, &packet, trouble, from, to) && to.layer == Layer::Ip)
}

fn refused(frame: &Frame) -> Option<Vec<u8>> {
    let packet = Packet::of(frame).unwrap();
    answered(|to| reset(frame, &packet, to) && to.layer == Layer::Ip)
}

/// What the pseudo-header and the upper layer of a packet without options sum up to.
fn upper_sum(packet: &[u8]) -> u16 {
    let (addresses, upper, protocol) = match packet[0] >> 4 {
        4 => (&packet[12..20], &packet[20..], packet[9]),
        _ => (&packet[8..40], &packet[40..], packet[6]),
    };
    let addresses = if protocol == icmp::PROTOCOL { &[][..] } else { addresses };
    let number = if protocol == icmp::PROTOCOL { 0 } else { u32::from(protocol) + upper.len() as u32 };
    checksum::fold(checksum::sum(upper, checksum::sum(addresses, number)))
}

#[test]
fn an_ipv4_sender_is_told_from_the_router_and_shown_its_packet() {
    let packet = ipv4(17, &UDP);
    let told = reported(&ethernet(&packet), Trouble::TtlExceeded).unwrap();
    let header = [0x45, 0xc0, 0, 56, 0, 0, 0x40, 0, 64, 1, 0x25, 0x07, 10, 0, 0, 254, 10, 0, 0, 1];
    assert_eq!(told[..20], header);
    assert_eq!((&told[20..22], &told[24..28]), (&[11, 0][..], &[0; 4][..]));
    assert_eq!(told[28..], packet);
    assert!(ipv4::checksum_holds(&told[..20]));
    assert_eq!(upper_sum(&told), 0xffff);
}

#[test]
fn an_ipv6_sender_is_told_from_the_router_and_shown_its_packet() {
    let packet = ipv6(17, &UDP);
    let told = reported(&ip(&packet), Trouble::TtlExceeded).unwrap();
    assert_eq!(told[..8], [0x60, 0, 0, 0, 0, 56, 58, 64]);
    assert_eq!((told[23], &told[24..40]), (0xfe, &packet[8..24]));
    assert_eq!((&told[40..42], &told[44..48]), (&[3, 0][..], &[0; 4][..]));
    assert_eq!(told[48..], packet);
    assert_eq!(upper_sum(&told), 0xffff);
}

#[test]
fn each_trouble_has_its_type_and_code_in_each_version() {
    for (trouble, v4, v6) in [
        (Trouble::NoRoute, [3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (Trouble::HostUnreachable, [3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]),
        (Trouble::ProtocolUnreachable, [3, 2, 0, 0, 0, 0], [4, 1, 0, 0, 0, 6]),
        (Trouble::PortUnreachable, [3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]),
        (Trouble::TooBig(1400), [3, 4, 0, 0, 0x05, 0x78], [2, 0, 0, 0, 0x05, 0x78]),
        (Trouble::TooBig(576), [3, 4, 0, 0, 0x02, 0x40], [2, 0, 0, 0, 0x05, 0x00]),
        (Trouble::TooBig(70_000), [3, 4, 0, 0, 0xff, 0xff], [2, 0, 0, 1, 0x11, 0x70]),
        (Trouble::Prohibited, [3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]),
        (Trouble::TtlExceeded, [11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]),
        (Trouble::ReassemblyTime, [11, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]),
        (Trouble::ParameterProblem { pointer: 20 }, [12, 0, 20, 0, 0, 0], [4, 0, 0, 0, 0, 20]),
    ] {
        for (packet, at, expected) in [(ipv4(17, &UDP), 20, v4), (ipv6(17, &UDP), 40, v6)] {
            let told = reported(&ip(&packet), trouble).unwrap();
            assert_eq!([&told[at..at + 2], &told[at + 4..at + 8]].concat(), expected, "{trouble:?}");
            assert_eq!(upper_sum(&told), 0xffff, "{trouble:?}");
        }
    }
    let behind_options = ipv6(60, &[&[99, 0, 1, 4, 0, 0, 0, 0][..], &UDP].concat());
    let told = reported(&ip(&behind_options), Trouble::ProtocolUnreachable).unwrap();
    assert_eq!(told[44..48], [0, 0, 0, 40], "the field that names the protocol is in the options");
}

#[test]
fn a_long_packet_is_quoted_as_far_as_an_error_may_go() {
    let upper = [&UDP[..], &[0x5a; 1391]].concat();
    for (packet, header, most) in [(ipv4(17, &upper), 28, 576), (ipv6(17, &upper), 48, 1280)] {
        let told = reported(&ip(&packet), Trouble::NoRoute).unwrap();
        assert_eq!((told.len(), &told[header..]), (most, &packet[..most - header]));
        assert_eq!(upper_sum(&told), 0xffff);
    }
    let mut padded = ethernet(&[&ipv4(17, &UDP)[..], &[0xa5; 18]].concat());
    let told = reported(&padded, Trouble::NoRoute).unwrap();
    assert_eq!(told[28..], ipv4(17, &UDP), "padding is no part of it");
    padded.retag(Some(7));
    assert_eq!(reported(&padded, Trouble::NoRoute), Some(told), "nor is a tag");
}

#[test]
fn what_no_error_may_answer_gets_none() {
    let (v4, v6) = (ipv4(17, &UDP), ipv6(17, &UDP));
    for (packet, what) in [
        (with(&v4, &[(7, 9)]), "a later fragment"),
        (with(&v4, &[(9, 1), (20, 3)]), "an ICMP error"),
        (with(&v4, &[(9, 1), (20, 5)]), "a redirect"),
        (with(&v4, &[(12, 0), (15, 0)]), "from nobody yet"),
        (with(&v4, &[(16, 224)]), "to a group"),
        (with(&v4, &[(16, 255), (17, 255), (18, 255), (19, 255)]), "to everybody"),
        (with(&v6, &[(6, 58), (40, 1)]), "an ICMPv6 error"),
        (with(&v6, &[(6, 58), (40, 137)]), "a redirect"),
        (with(&v6, &[(24, 0xff), (25, 2)]), "to a group"),
        (with(&v6, &[(8, 0), (23, 0)]), "from nobody yet"),
        (ipv6(44, &[&[17, 0, 0, 8, 0, 0, 0, 1][..], &UDP].concat()), "a later fragment"),
    ] {
        assert_eq!(reported(&ip(&packet), Trouble::NoRoute), None, "{what}");
    }
    for (packet, what) in [
        (with(&v4, &[(6, 0x20)]), "a first fragment"),
        (with(&v4, &[(9, 1), (20, 8)]), "an echo request"),
        (with(&v6, &[(6, 58), (40, 128)]), "an echo request"),
        (ipv6(44, &[&[17, 0, 0, 1, 0, 0, 0, 1][..], &UDP].concat()), "a first fragment"),
    ] {
        assert!(reported(&ip(&packet), Trouble::NoRoute).is_some(), "{what}");
    }
    let frame = ip(&v4);
    let packet = Packet::of(&frame).unwrap();
    for from in ["fd00::fe", "0.0.0.0", "224.0.0.1"] {
        assert!(answered(|to| report(&frame, &packet, Trouble::NoRoute, address(from), to)).is_none());
    }
}

#[test]
fn a_group_of_stations_is_told_nothing_but_that_an_ipv6_packet_is_too_big() {
    for (packet, told) in [
        (ipv4(17, &UDP), false),
        (ipv6(17, &UDP), true),
        (with(&ipv6(17, &UDP), &[(24, 0xff), (25, 0x0e)]), true),
    ] {
        let mut frame = ethernet(&packet);
        frame.bytes_mut()[0] = 0x33;
        assert_eq!(reported(&frame, Trouble::NoRoute), None);
        assert_eq!(reported(&frame, Trouble::TooBig(1400)).is_some(), told);
        assert!(answered(|to| mirrored(&frame, Trouble::TooBig(1400), to)).is_none(), "who would say it?");
    }
}

#[test]
fn on_a_bridge_the_answer_comes_from_the_destination_by_the_same_way() {
    let frame = |packet: &[u8]| {
        let mut frame = ethernet(packet);
        frame.push_tag(0x8100, 7);
        frame.set_vlan_tag(true);
        frame
    };
    let turned = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7];
    for (packet, at, addresses) in [(ipv4(17, &UDP), 20, 12..20), (ipv6(17, &UDP), 40, 8..40)] {
        let told = answered(|to| mirrored(&frame(&packet), Trouble::Prohibited, to)).unwrap();
        assert_eq!(told[..16], turned);
        let (half, told) = (addresses.len() / 2, &told[18..]);
        let was = &packet[addresses.clone()];
        assert_eq!(told[addresses], [&was[half..], &was[..half]].concat());
        assert_eq!((told[at], &told[at + 8..]), (if at == 20 { 3 } else { 1 }, &packet[..]));
        assert_eq!(upper_sum(told), 0xffff);
    }
    for packet in [ipv4(6, &syn()), ipv6(6, &syn())] {
        let told = answered(|to| mirrored_reset(&frame(&packet), to)).unwrap();
        assert_eq!(told[..16], turned);
        assert_eq!(Some(told[18..].to_vec()), refused(&ip(&packet)));
    }
    let arp = Frame::from_bytes(&[&LINK[..], &[0x08, 0x06], &[0; 28]].concat());
    assert!(answered(|to| mirrored(&arp, Trouble::Prohibited, to)).is_none());
    assert!(answered(|to| mirrored_reset(&arp, to)).is_none());
    assert!(answered(|to| mirrored_reset(&frame(&ipv4(17, &UDP)), to)).is_none());
    let mut from_group = frame(&ipv4(17, &UDP));
    from_group.bytes_mut()[6] = 1;
    assert!(answered(|to| mirrored(&from_group, Trouble::Prohibited, to)).is_none());
}

/// From port 4096 to 53, sequence 0xfffffffe, acknowledging 0x01020304, with these flags and four bytes of payload.
fn segment(flags: u8) -> [u8; 24] {
    let mut tcp = [0; 24];
    tcp[..14].copy_from_slice(&[0x10, 0, 0, 53, 0xff, 0xff, 0xff, 0xfe, 1, 2, 3, 4, 0x50, flags]);
    tcp
}

fn syn() -> [u8; 24] {
    segment(tcp::SYN)
}

#[test]
fn a_segment_is_refused_by_the_number_that_its_sender_waits_for() {
    for (flags, sequence, acknowledgment, answer) in [
        (tcp::SYN, 0, 3, 0x14),
        (tcp::SYN | tcp::FIN, 0, 4, 0x14),
        (tcp::FIN, 0, 3, 0x14),
        (0, 0, 2, 0x14),
        (tcp::ACK, 0x0102_0304, 0, 0x04),
        (tcp::ACK | tcp::FIN | tcp::PSH, 0x0102_0304, 0, 0x04),
        (tcp::SYN | tcp::ACK, 0x0102_0304, 0, 0x04),
    ] {
        for packet in [ipv4(6, &segment(flags)), ipv6(6, &segment(flags))] {
            let told = refused(&ethernet(&packet)).unwrap();
            let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
            let reset = &told[at..];
            assert_eq!(reset[..4], [0, 53, 0x10, 0]);
            assert_eq!((tcp::sequence(reset), tcp::acknowledgment(reset)), (sequence, acknowledgment));
            assert_eq!(
                (reset[12], reset[13], &reset[14..16], &reset[18..]),
                (0x50, answer, &[0; 2][..], &[0; 2][..])
            );
            assert_eq!(upper_sum(&told), 0xffff);
            let was = Packet::of(&ip(&packet)).unwrap().tuple;
            assert_eq!(Packet::of(&ip(&told)).unwrap().tuple, was.reversed());
        }
    }
    let told = refused(&ip(&ipv4(6, &syn()))).unwrap();
    assert_eq!(told[..10], [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    let told = refused(&ip(&ipv6(6, &syn()))).unwrap();
    assert_eq!(told[..8], [0x60, 0, 0, 0, 0, 20, 6, 64]);
}

#[test]
fn of_a_superframe_all_is_refused() {
    let mut frame = ip(&ipv4(6, &[&segment(0)[..], &[0; 3000]].concat()));
    frame.offload = Offload {
        needs_csum: true,
        gso: Gso::TcpV4,
        gso_size: 1000,
        header_len: 40,
        csum_start: 20,
        csum_offset: 16,
        ..Offload::NONE
    };
    assert_eq!(tcp::acknowledgment(&refused(&frame).unwrap()[20..]), 3002);
}

#[test]
fn what_no_reset_may_answer_gets_none() {
    let v4 = ipv4(6, &syn());
    for (packet, what) in [
        (ipv4(17, &UDP), "UDP"),
        (ipv4(6, &segment(tcp::RST)), "a reset"),
        (ipv6(6, &segment(tcp::RST | tcp::ACK)), "a reset"),
        (with(&v4, &[(6, 0x20)]), "a first fragment"),
        (with(&v4, &[(7, 9)]), "a later fragment"),
        (with(&v4, &[(32, 0x40)]), "a header too short"),
        (with(&v4, &[(32, 0x70)]), "a header longer than the packet"),
        (with(&v4, &[(16, 224)]), "to a group"),
        (with(&v4, &[(12, 0), (15, 0)]), "from nobody"),
    ] {
        assert_eq!(refused(&ip(&packet)), None, "{what}");
    }
    let mut to_group = ethernet(&v4);
    to_group.bytes_mut()[0] = 1;
    assert_eq!(refused(&to_group), None);
}

#[test]
fn a_request_becomes_its_reply() {
    let finished = |mut packet: Vec<u8>, at: usize| {
        let sum = !upper_sum(&packet);
        set_be16(&mut packet, at + 2, sum);
        packet
    };
    let request = finished(ipv4(1, &ECHO), 20);
    let v6_request = finished(with(&ipv6(58, &ECHO), &[(40, 128)]), 40);
    let reply = with(&request, &[(8, 64), (15, 2), (19, 1), (20, 0), (22, 0), (23, 0)]);
    let v6_reply = with(&v6_request, &[(7, 64), (23, 2), (39, 1), (40, 129), (42, 0), (43, 0)]);
    for (request, reply, at) in
        [(&request, finished(reply, 20), 20), (&v6_request, finished(v6_reply, 40), 40)]
    {
        for mut frame in [ip(request), ethernet(request)] {
            let packet = Packet::of(&frame).unwrap();
            assert!(echo_reply(&mut frame, &packet));
            assert_eq!(frame.bytes()[packet.l3.into()..], reply);
            assert!(!echo_reply(&mut frame, &Packet::of(&ip(&reply)).unwrap()), "a reply gets none");
        }
        // Unfinished, the field holds what the pseudo-header sums up to, which stays the same when it is turned round.
        let mut frame = ip(&with(request, &[(at + 2, 0x12), (at + 3, 0x34)]));
        frame.offload = Offload { needs_csum: true, csum_start: at as u16, csum_offset: 2, ..Offload::NONE };
        let packet = Packet::of(&frame).unwrap();
        assert!(echo_reply(&mut frame, &packet));
        assert_eq!(frame.bytes(), with(&reply, &[(at + 2, 0x12), (at + 3, 0x34)]));
        assert!(frame.offload.needs_csum);
    }
}

#[test]
fn what_is_no_request_to_this_host_is_left_alone() {
    let request = ipv4(1, &ECHO);
    for (packet, what) in [
        (with(&request, &[(20, 0)]), "a reply"),
        (with(&request, &[(20, 128)]), "a request of the other version"),
        (with(&request, &[(6, 0x20)]), "a fragment"),
        (with(&request, &[(16, 224)]), "to a group"),
        (with(&request, &[(16, 255), (17, 255), (18, 255), (19, 255)]), "to everybody"),
        (with(&request, &[(12, 0), (15, 0)]), "from nobody"),
        (ipv4(17, &UDP), "UDP"),
        (ipv6(58, &ECHO), "a request of the other version"),
    ] {
        let mut frame = ip(&packet);
        let read = Packet::of(&frame).unwrap();
        assert!(!echo_reply(&mut frame, &read), "{what}");
        assert_eq!(frame.bytes(), packet, "{what}");
    }
}
