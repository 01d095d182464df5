use core::net::IpAddr;

use super::*;
use crate::packet::Layer;
use crate::wire::{ethernet, set_be16};

const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// 10.0.0.1 to 10.0.0.2, TTL 17, DF.
fn ipv4(protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 17, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(upper);
    let len = packet.len() as u16;
    set_be16(&mut packet, 2, len);
    with(&packet, &[])
}

/// fd00::1 to fd00::2, hop limit 17.
fn ipv6(next: u8, upper: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, upper.len() as u8, next, 17];
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(upper);
    packet
}

/// `packet` with some bytes changed, and the header checksum of IPv4 with them.
fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    for &(at, value) in changes {
        changed[at] = value;
    }
    if let Some(len) = ipv4::header_len(&changed) {
        let total_len = ipv4::total_len(&changed);
        ipv4::make_segment(&mut changed[..len], 0, total_len);
    }
    changed
}

fn frame(packet: &[u8], offload: Offload) -> Frame {
    let mut frame = Frame::default();
    frame.fill(packet, offload);
    frame.layer = Layer::Ip;
    frame
}

fn of(packet: &[u8]) -> Result<Packet, DropReason> {
    Packet::of(&frame(packet, Offload::NONE))
}

/// A TCP header from port 4096 to 53 with SYN and ACK.
fn tcp() -> [u8; 20] {
    let mut tcp = [0; 20];
    (tcp[0], tcp[3], tcp[12], tcp[13]) = (0x10, 53, 0x50, 0x12);
    tcp
}

const UDP: [u8; 12] = [0x10, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];

#[test]
fn a_packet_of_each_version_is_read_where_its_fields_stand() {
    let expected = Packet {
        l3: 0,
        l4: 20,
        end: 40,
        tuple: Tuple {
            source: address("10.0.0.1"),
            destination: address("10.0.0.2"),
            source_port: 4096,
            destination_port: 53,
            protocol: 6,
        },
        part: Part::Whole,
        ttl: 17,
        kind: 0x12,
        code: 0,
        dont_fragment: true,
    };
    assert_eq!(of(&ipv4(6, &tcp())), Ok(expected));
    assert!(!of(&with(&ipv4(6, &tcp()), &[(6, 0)])).unwrap().dont_fragment);
    let tuple = Tuple { source: address("fd00::1"), destination: address("fd00::2"), ..expected.tuple };
    assert_eq!(of(&ipv6(6, &tcp())), Ok(Packet { tuple, l4: 40, end: 60, ..expected }));
    assert_eq!(of(&ipv6(6, &tcp())).unwrap().len(), 60);
}

#[test]
fn the_offsets_count_from_the_link_header_and_padding_is_no_part_of_it() {
    for (tags, l3) in [(&[][..], 14), (&[0x81, 0, 0, 7], 18), (&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 7], 22)] {
        let bytes = [&LINK[..], tags, &[0x08, 0x00], &ipv4(17, &UDP), &[0xa5; 14]].concat();
        let frame = Frame::from_bytes(&bytes);
        let packet = Packet::of(&frame).unwrap();
        assert_eq!((packet.l3, packet.l4, packet.end), (l3, l3 + 20, u32::from(l3) + 32));
        assert_eq!((packet.len(), packet.upper_layer(&frame)), (32, &UDP[..]));
    }
    let arp = [&LINK[..], &[0x08, 0x06], &[0; 28]].concat();
    assert_eq!(Packet::of(&Frame::from_bytes(&arp)), Err(DropReason::NotIp));
    assert_eq!(of(&[0x25; 20]), Err(DropReason::NotIp));
    assert_eq!(of(&[]), Err(DropReason::NotIp));
    assert_eq!(Packet::of(&Frame::from_bytes(&LINK[..ethernet::HEADER_LEN - 2])), Err(DropReason::NotIp));
}

#[test]
fn an_echo_has_its_identifier_for_the_port_of_who_asked() {
    let message = |kind| [kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    for (packet, ports) in [
        (ipv4(1, &message(8)), (0x1234, 0)),
        (ipv4(1, &message(0)), (0, 0x1234)),
        (ipv4(1, &message(13)), (0, 0)),
        (ipv4(1, &message(128)), (0, 0)),
        (ipv6(58, &message(128)), (0x1234, 0)),
        (ipv6(58, &message(129)), (0, 0x1234)),
        (ipv6(58, &message(8)), (0, 0)),
    ] {
        let packet = of(&packet).unwrap();
        assert_eq!((packet.tuple.source_port, packet.tuple.destination_port), ports);
    }
    for packet in [ipv4(58, &message(128)), ipv4(58, &message(1)), ipv6(1, &message(8)), ipv6(1, &message(3))]
    {
        let packet = of(&packet).unwrap();
        let (tuple, what) = (packet.tuple, "of the other version it is no protocol that anybody knows");
        assert_eq!((tuple.source_port, tuple.destination_port, packet.kind), (0, 0, 0), "{what}");
        assert!(!packet.is_icmp_error(), "{what}");
    }
    let error = of(&ipv4(1, &[3, 13, 0, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!((error.kind, error.code, error.is_icmp_error()), (3, 13, true));
    assert!(of(&ipv6(58, &message(1))).unwrap().is_icmp_error());
    assert!(!of(&ipv6(58, &message(128))).unwrap().is_icmp_error());
    assert!(!of(&ipv4(17, &UDP)).unwrap().is_icmp_error());
    let later = [&[58, 0, 0, 8, 0, 0, 0, 1][..], &message(1)].concat();
    let later = of(&ipv6(44, &later)).unwrap();
    assert!(!later.is_icmp_error(), "its bytes are the middle of a message: {later:?}");
}

#[test]
fn a_reversed_tuple_is_that_of_the_answers() {
    let tuple = of(&ipv4(17, &UDP)).unwrap().tuple;
    let answer = of(&with(&ipv4(17, &[0, 53, 0x10, 0, 0, 8, 0, 0]), &[(15, 2), (19, 1)]));
    assert_eq!(answer.unwrap().tuple, tuple.reversed());
    assert_eq!(tuple.reversed().reversed(), tuple);
}

#[test]
fn protocols_without_ports_have_none_and_may_end_at_once() {
    for protocol in [0, 2, 33, 47, 50, 59, 132, 136, 255] {
        let tuple = of(&ipv4(protocol, &UDP)).unwrap().tuple;
        assert_eq!((tuple.source_port, tuple.destination_port, tuple.protocol), (0, 0, protocol));
        assert!(of(&ipv4(protocol, &[])).is_ok());
    }
    assert_eq!(of(&ipv6(59, &[])).unwrap().tuple.protocol, 59);
}

#[test]
fn lengths_that_contradict_the_packet_are_refused() {
    let v4 = ipv4(17, &UDP);
    for (changes, what) in [
        (&[(0, 0x44)][..], "a header too short"),
        (&[(0, 0x4f)], "a header longer than the packet"),
        (&[(3, 19)], "shorter than its header"),
        (&[(3, 33)], "longer than what is there"),
        (&[(3, 0)], "no length"),
        (&[(3, 27)], "half a UDP header"),
    ] {
        assert_eq!(of(&with(&v4, changes)), Err(DropReason::IpHeader), "{what}");
    }
    let mut wrong = v4.clone();
    wrong[8] = 16;
    assert_eq!(of(&wrong), Err(DropReason::IpHeader), "the checksum");
    assert_eq!(of(&with(&v4, &[(3, 28)])).unwrap().end, 28);
    let v6 = ipv6(17, &UDP);
    for (changes, what) in [
        (&[(5, 13)][..], "longer than what is there"),
        (&[(5, 7)], "half a UDP header"),
        (&[(5, 0)], "a jumbogram, or a packet without the header it announces"),
        (&[(6, 0), (41, 9)], "an extension header longer than the packet"),
    ] {
        assert_eq!(of(&with(&v6, changes)), Err(DropReason::IpHeader), "{what}");
    }
    for (ether_type, packet) in [([0x08, 0x00], &v6), ([0x86, 0xdd], &v4)] {
        let bytes = [&LINK[..], &ether_type, packet, &[0; 40]].concat();
        assert_eq!(Packet::of(&Frame::from_bytes(&bytes)), Err(DropReason::IpHeader), "another version");
    }
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let message = [8, 0, 0, 0, 0, 1, 0, 1];
    let fragment = [&[6, 0, 0, 1, 0, 0, 0, 1][..], &tcp()].concat();
    for packet in [
        ipv4(6, &tcp()),
        ipv4(17, &UDP),
        ipv4(1, &message),
        ipv6(6, &tcp()),
        ipv6(58, &message),
        ipv6(44, &fragment),
    ] {
        assert!(of(&packet).is_ok());
        for len in 1..packet.len() {
            assert_eq!(of(&packet[..len]), Err(DropReason::IpHeader), "{len} bytes of {packet:02x?}");
        }
        // Nor does a length that agrees help, unless the header that is needed is there.
        let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let needed = if packet[..] == ipv4(17, &UDP) { 28 } else { packet.len() };
        for len in header..packet.len() {
            let mut short = packet[..len].to_vec();
            match header {
                20 => set_be16(&mut short, 2, len as u16),
                _ => ipv6::set_payload_len(&mut short, (len - header) as u16),
            }
            assert_eq!(of(&with(&short, &[])).is_ok(), len >= needed, "{len} bytes of {packet:02x?}");
        }
    }
}

#[test]
fn the_parts_of_an_ipv4_packet_are_told_apart() {
    let udp = ipv4(17, &UDP);
    for (high, low, part) in [
        (0x00, 0, Part::Whole),
        (0x40, 0, Part::Whole),
        (0x20, 0, Part::First),
        (0x20, 9, Part::Later),
        (0x00, 9, Part::Later),
        (0x1f, 0xff, Part::Later),
    ] {
        let packet = of(&with(&udp, &[(6, high), (7, low)])).unwrap();
        assert_eq!(packet.part, part);
        assert_eq!(packet.tuple.source_port, if part == Part::Later { 0 } else { 4096 });
    }
    let rest = ipv4(17, &[7]);
    assert!(of(&with(&rest, &[(7, 9)])).is_ok(), "a later fragment needs no header");
    assert_eq!(of(&with(&rest, &[(6, 0x20)])), Err(DropReason::IpHeader));
}

#[test]
fn the_parts_of_an_ipv6_packet_are_told_apart() {
    let fragment = |high, low| [&[17, 0, high, low, 0, 0, 0, 1][..], &UDP].concat();
    for (high, low, part) in [
        (0, 0, Part::Whole),
        (0, 6, Part::Whole),
        (0, 1, Part::First),
        (0, 8, Part::Later),
        (0, 9, Part::Later),
        (1, 1, Part::Later),
    ] {
        let packet = of(&ipv6(44, &fragment(high, low))).unwrap();
        assert_eq!((packet.part, packet.l4, packet.tuple.protocol), (part, 48, 17));
        assert_eq!(packet.tuple.source_port, if part == Part::Later { 0 } else { 4096 });
    }
}

#[test]
fn extension_headers_are_passed_over_before_and_behind_a_fragment_header() {
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |next, offset| [next, 0, 0, offset, 0, 0, 0, 1];
    let behind = [&options(44)[..], &fragment(60, 1), &options(17), &UDP].concat();
    let packet = of(&ipv6(0, &behind)).unwrap();
    assert_eq!((packet.l4, packet.tuple.protocol, packet.tuple.source_port), (64, 17, 4096));
    let later = [&fragment(60, 16)[..], &options(17), &UDP].concat();
    let packet = of(&ipv6(44, &later)).unwrap();
    assert_eq!((packet.l4, packet.tuple.protocol, packet.part), (48, 60, Part::Later));
    for second in [fragment(17, 0), fragment(17, 8)] {
        let twice = [&fragment(44, 0)[..], &second, &UDP].concat();
        assert_eq!(of(&ipv6(44, &twice)), Err(DropReason::IpHeader), "what is behind could be anything");
    }
    let chain = [&options(43)[..], &options(60), &options(60), &options(60), &options(17), &UDP].concat();
    assert_eq!(of(&ipv6(0, &chain)), Err(DropReason::IpHeader), "more than anybody has a use for");
}

#[test]
fn a_fragment_that_would_write_over_a_tcp_header_is_refused() {
    for (low, good) in [(1, false), (2, false), (3, true), (0xff, true)] {
        let expected = if good { Ok(()) } else { Err(DropReason::IpHeader) };
        let v4 = with(&ipv4(6, &tcp()), &[(7, low)]);
        assert_eq!(of(&v4).map(drop), expected, "IPv4 at {low} times 8");
        assert!(of(&with(&v4, &[(9, 17)])).is_ok(), "UDP has its 8 bytes in the first");
        let v6 = |next| ipv6(44, &[&[next, 0, low >> 5, low << 3, 0, 0, 0, 1][..], &tcp()].concat());
        assert_eq!(of(&v6(6)).map(drop), expected, "IPv6 at {low} times 8");
        assert!(of(&v6(17)).is_ok());
    }
    assert_eq!(
        of(&with(&ipv4(6, &tcp()[..16]), &[(6, 0x20)])),
        Err(DropReason::IpHeader),
        "nor may the first end in it"
    );
}

#[test]
fn addresses_that_no_wire_has_are_refused() {
    let v4 = |at: usize, text: &str| {
        let octets = address(text).v4_bits().to_be_bytes();
        with(
            &ipv4(17, &UDP),
            &[(at, octets[0]), (at + 1, octets[1]), (at + 2, octets[2]), (at + 3, octets[3])],
        )
    };
    let v6 = |at: usize, text: &str| {
        let mut packet = ipv6(17, &UDP);
        packet[at..at + 16].copy_from_slice(&address(text).bits().to_be_bytes());
        packet
    };
    let (good, bad) = (Ok(()), Err(DropReason::Martian));
    for (text, as_source, as_destination) in [
        ("0.0.0.0", good, bad),
        ("0.0.0.1", bad, bad),
        ("127.0.0.1", bad, bad),
        ("224.0.0.1", bad, good),
        ("239.255.255.255", bad, good),
        ("240.0.0.1", bad, good),
        ("255.255.255.255", bad, good),
        ("223.255.255.255", good, good),
        ("169.254.0.1", good, good),
    ] {
        assert_eq!(of(&v4(12, text)).map(drop), as_source, "from {text}");
        assert_eq!(of(&v4(16, text)).map(drop), as_destination, "to {text}");
    }
    for (text, as_source, as_destination) in [
        ("::", good, bad),
        ("::1", bad, bad),
        ("::ffff:10.0.0.1", bad, bad),
        ("ff02::1", bad, good),
        ("ff0e::1", bad, good),
        ("ff01::1", bad, bad),
        ("ff10::1", bad, bad),
        ("fe80::1", good, good),
        ("2001:db8::1", good, good),
    ] {
        assert_eq!(of(&v6(8, text)).map(drop), as_source, "from {text}");
        assert_eq!(of(&v6(24, text)).map(drop), as_destination, "to {text}");
    }
}

#[test]
fn what_is_left_to_be_done_must_not_change_what_was_read() {
    let claim =
        |csum_start, csum_offset| Offload { needs_csum: true, csum_start, csum_offset, ..Offload::NONE };
    let checked = |packet: &[u8], offload| Packet::of(&frame(packet, offload)).map(drop);
    let (good, bad) = (Ok(()), Err(DropReason::BadOffload));
    let tcp = [&tcp()[..], &[0; 40]].concat();
    let udp = [&UDP[..], &[0; 40]].concat();
    for (protocol, start, offset, expected, what) in [
        (6, 20, 16, good, "its own"),
        (17, 20, 6, good, "its own"),
        (1, 20, 2, good, "its own"),
        (17, 28, 6, good, "that of a packet inside"),
        (47, 24, 16, good, "that of a packet inside"),
        (17, 20, 8, good, "one in the payload"),
        (17, 0, 10, bad, "the header's"),
        (17, 0, 16, bad, "the destination"),
        (17, 12, 8, bad, "the source port"),
        (6, 20, 2, bad, "the destination port"),
        (6, 22, 0, bad, "the destination port"),
        (6, 20, 6, bad, "the sequence"),
        (6, 20, 12, bad, "the flags"),
        (1, 20, 4, bad, "the identifier"),
        (47, 19, 1, bad, "from before the upper layer"),
    ] {
        let upper = if protocol == 6 { &tcp } else { &udp };
        assert_eq!(checked(&ipv4(protocol, upper), claim(start, offset)), expected, "{protocol}: {what}");
        let start = start + 20;
        let next = if protocol == 1 { 58 } else { protocol };
        assert_eq!(checked(&ipv6(next, upper), claim(start, offset)), expected, "{protocol}: {what}");
    }
    let fragment = with(&ipv4(17, &udp), &[(6, 0x20)]);
    assert_eq!(checked(&fragment, claim(20, 6)), bad, "the checksum would cover one fragment");
    let cut = |gso, offset| Offload { gso, gso_size: 8, header_len: 40, ..claim(20, offset) };
    for (packet, gso, offset, expected) in [
        (ipv4(6, &tcp), Gso::TcpV4, 16, good),
        (ipv4(6, &tcp), Gso::TcpV6, 16, bad),
        (ipv4(6, &tcp), Gso::Unknown, 16, bad),
        (ipv4(17, &udp), Gso::Udp, 6, good),
        (ipv4(17, &udp), Gso::TcpV4, 6, bad),
        (ipv4(6, &tcp), Gso::Udp, 16, bad),
        (ipv4(47, &tcp), Gso::TcpV4, 16, bad),
    ] {
        assert_eq!(checked(&packet, cut(gso, offset)), expected, "{gso:?}");
    }
    let inside = Offload { csum_start: 40, header_len: 60, ..cut(Gso::TcpV4, 16) };
    assert_eq!(checked(&ipv4(6, &[&tcp[..], &tcp].concat()), inside), bad);
}

#[test]
fn a_superframe_longer_than_the_field_can_say_ends_with_the_frame() {
    let gso = |gso, l3: u16| Offload {
        needs_csum: true,
        gso,
        gso_size: 1000,
        header_len: l3 + 20,
        csum_start: l3,
        csum_offset: 16,
        ..Offload::NONE
    };
    let payload = [&tcp()[..], &[0; 3000]].concat();
    let v4 = with(&ipv4(6, &payload), &[(2, 0), (3, 0)]);
    assert_eq!(Packet::of(&frame(&v4, gso(Gso::TcpV4, 20))).unwrap().end, 3040);
    let v6 = with(&ipv6(6, &payload), &[(4, 0), (5, 0)]);
    assert_eq!(Packet::of(&frame(&v6, gso(Gso::TcpV6, 40))).unwrap().end, 3060);
}
