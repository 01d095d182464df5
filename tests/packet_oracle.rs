//! What a router reads of a packet, against an oracle: it is what etherparse reads; no truncation, no bytes and no claim
//! about them make any of what is done to packets panic.

mod packet_kit;

use etherparse::{LaxSlicedPacket, NetSlice, TransportSlice};
use packet_kit::{Upper, sent, sliced};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::icmp_error::{Trouble, echo_reply, mirrored, mirrored_reset, report, reset};
use tapyard::packet::rewrite::{Translation, hop};
use tapyard::packet::segment::finish_checksum;
use tapyard::packet::{DropReason, Frame, Gso, Layer, Offload, Packet, Part, Tuple, quoted};
use tapyard::wire::address::Address;

proptest! {
    #[test]
    fn what_is_read_is_what_the_oracle_reads((sent, _) in sent(), padding in 0..40usize) {
        let mut frame = sent.frame();
        let whole = frame.len();
        if sent.undone.is_none() {
            frame = Frame::from_bytes(&[frame.bytes(), &vec![0xa5; padding]].concat());
            frame.layer = sent.layer;
        }
        let packet = Packet::of(&frame).unwrap();
        let oracle = sliced(&frame);
        let at = |part: &[u8]| part.as_ptr() as usize - frame.bytes().as_ptr() as usize;
        let (l3, tuple, ttl, dont_fragment) = match oracle.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let addresses = (Address::from(header.source_addr()), Address::from(header.destination_addr()));
                (at(header.slice()), addresses, header.ttl(), header.dont_fragment())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let addresses = (Address::from(header.source_addr()), Address::from(header.destination_addr()));
                (at(header.slice()), addresses, header.hop_limit(), true)
            }
            other => panic!("{other:?}"),
        };
        let (l4, protocol, ports, kind, code) = match oracle.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let flags = [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()];
                let flags = flags.iter().rev().fold(0, |flags, &flag| flags << 1 | u8::from(flag));
                (at(tcp.slice()), 6, Some((tcp.source_port(), tcp.destination_port())), flags, 0)
            }
            TransportSlice::Udp(udp) => {
                (at(udp.slice()), 17, Some((udp.source_port(), udp.destination_port())), 0, 0)
            }
            TransportSlice::Icmpv4(icmp) => (at(icmp.slice()), 1, None, icmp.type_u8(), icmp.code_u8()),
            TransportSlice::Icmpv6(icmp) => (at(icmp.slice()), 58, None, icmp.type_u8(), icmp.code_u8()),
            other => panic!("{other:?}"),
        };
        let read = (packet.tuple.source_port, packet.tuple.destination_port);
        prop_assert_eq!(read, ports.unwrap_or((sent.tuple.source_port, sent.tuple.destination_port)));
        let expected = Packet {
            l3: l3 as u16,
            l4: l4 as u16,
            end: whole as u32,
            tuple: Tuple { source: tuple.0, destination: tuple.1, protocol, ..packet.tuple },
            part: Part::Whole,
            ttl,
            kind,
            code,
            dont_fragment,
        };
        prop_assert_eq!(packet, expected);
        prop_assert_eq!(packet.tuple, sent.tuple);
        let error = matches!(sent.upper, Upper::Request { .. } | Upper::Reply { .. }) && packet.is_icmp_error();
        prop_assert!(!error);
    }

    #[test]
    fn cut_off_anywhere_it_is_refused((sent, _) in sent(), payload in 0..40usize) {
        let mut sent = packet_kit::Sent { undone: None, ..sent };
        sent.payload.truncate(payload);
        let whole = sent.frame();
        for len in 0..whole.len() {
            let mut frame = Frame::from_bytes(&whole.bytes()[..len]);
            frame.layer = sent.layer;
            let refused = Packet::of(&frame);
            let link = if sent.layer == Layer::Ethernet { 14 } else { 1 };
            let expected = if len < link { DropReason::NotIp } else { DropReason::IpHeader };
            prop_assert_eq!(refused, Err(expected), "{} bytes of {}", len, whole.len());
        }
    }
}

/// Bytes of headers: many small numbers, and those of protocols and messages.
fn byte() -> impl Strategy<Value = u8> {
    let meant = vec![1, 3, 4, 6, 11, 17, 43, 44, 47, 58, 60, 0x45, 0x60];
    prop_oneof![4 => any::<u8>(), 2 => 0..8u8, 1 => select(meant)]
}

/// An IPv4 or IPv6 packet around these bytes, with whatever fields but lengths that are right and a right checksum.
fn around(v4: bool, protocol: u8, fields: [u8; 4], upper: &[u8]) -> Vec<u8> {
    let [options, high, low, ttl] = fields;
    if !v4 {
        let len = (upper.len() as u16).to_be_bytes();
        let mut packet = vec![0x60 | high & 0xf, low, options, 0, len[0], len[1], protocol, ttl];
        packet.extend([[0xfd; 16], [0xfe; 16]].concat());
        packet.extend(upper);
        return packet;
    }
    let options = usize::from(options % 3) * 4;
    let len = ((20 + options + upper.len()) as u16).to_be_bytes();
    let mut packet = vec![0x45 + options as u8 / 4, 0, len[0], len[1], 0, 1, high, low, ttl, protocol, 0, 0];
    packet.extend([10, 0, 0, 1, 11, 0, 0, 2]);
    packet.resize(20 + options, 1);
    let sum = 0xffff - (words(&packet) % 0xffff) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(upper);
    packet
}

/// A packet that says it carries one thing and carries any.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let protocol = select(vec![0u8, 1, 1, 6, 6, 17, 17, 33, 43, 44, 44, 44, 47, 58, 58, 60, 60, 132, 136]);
    let part = prop_oneof![2 => Just([0, 0]), 1 => any::<[u8; 2]>()];
    (any::<bool>(), protocol, part, any::<[u8; 2]>(), vec(byte(), 0..120)).prop_map(
        |(v4, protocol, [high, low], [options, ttl], upper)| {
            around(v4, protocol, [options, high, low, ttl], &upper)
        },
    )
}

/// An ICMP error that quotes such a packet, or the beginning of one.
fn any_error() -> impl Strategy<Value = Vec<u8>> {
    let kinds = (select(vec![3u8, 4, 5, 11, 12]), 1..5u8);
    (any_packet(), kinds, any::<[u8; 5]>(), 0..200usize).prop_map(
        |(mut quoted, (v4_kind, v6_kind), rest, len)| {
            let v4 = quoted[0] >> 4 == 4;
            quoted.truncate(len);
            let [code, options, ttl, number @ ..] = rest;
            let header = [if v4 { v4_kind } else { v6_kind }, code, 0, 0, number[0], number[1], 0, 0];
            around(v4, if v4 { 1 } else { 58 }, [options, 0, 0, ttl], &[&header, &quoted[..]].concat())
        },
    )
}

/// Such packets with or without a link header, and bytes that only begin like one.
fn bytes() -> impl Strategy<Value = (Layer, Vec<u8>)> {
    let packet = prop_oneof![3 => any_packet(), 3 => any_error(), 1 => vec(byte(), 0..300)];
    let damage = prop_oneof![3 => Just(None), 1 => any::<(prop::sample::Index, u8)>().prop_map(Some)];
    (packet, any::<bool>(), 0..3usize, damage).prop_map(|(mut packet, ip, tags, damage)| {
        if let (Some((at, value)), false) = (damage, packet.is_empty()) {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if ip {
            return (Layer::Ip, packet);
        }
        let ether_type: [u8; 2] = match packet.first() {
            Some(first) if first >> 4 == 4 => [0x08, 0x00],
            _ => [0x86, 0xdd],
        };
        let link = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &[0x81, 0x00, 0, 1].repeat(tags)[..]].concat();
        (Layer::Ethernet, [&link[..], &ether_type, &packet].concat())
    })
}

/// What a guest claims of them.
fn claim() -> impl Strategy<Value = Offload> {
    let gso = select(vec![Gso::None, Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::Unknown]);
    let start = prop_oneof![0..80u16, any::<u16>()];
    let offset = prop_oneof![2 => select(vec![2, 6, 16]), 1 => 0..80u16, 1 => any::<u16>()];
    let claimed = (gso, any::<u16>(), start, offset).prop_map(|(gso, gso_size, csum_start, csum_offset)| {
        Offload { needs_csum: true, gso, gso_size, csum_start, csum_offset, ..Offload::NONE }
    });
    prop_oneof![Just(Offload::NONE), claimed]
}

/// Makes the checksum of a whole ICMP message right, without which nobody looks at what it quotes.
fn right_icmp_checksum(frame: &mut Frame) {
    let Ok(packet) = Packet::of(frame) else { return };
    let (l4, end) = (usize::from(packet.l4), packet.end as usize);
    let pseudo_header = match (packet.tuple.source.is_v4(), packet.tuple.protocol) {
        (true, 1) => 0,
        (false, 58) => {
            let addresses = [packet.tuple.source, packet.tuple.destination];
            words(addresses.map(|address| address.bits().to_be_bytes()).as_flattened())
                + 58
                + (end - l4) as u32
        }
        _ => return,
    };
    let message = &mut frame.bytes_mut()[l4..end];
    if packet.part == Part::Whole {
        message[2..4].fill(0);
        let sum = (words(message) + pseudo_header) % 0xffff;
        message[2..4].copy_from_slice(&(0xffff - sum as u16).to_be_bytes());
    }
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) * 256 + u32::from(*word.get(1).unwrap_or(&0))).sum()
}

fn copy(frame: &Frame) -> Frame {
    let mut copy = Frame::default();
    copy.copy_from(frame);
    copy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn no_bytes_and_no_claim_make_any_of_it_panic(
        (layer, bytes) in bytes(),
        claim in claim(),
        pointer: u32,
        other in any::<([u8; 12], u16, u16)>(),
    ) {
        let mut offload = claim;
        if offload.check(layer, &bytes).is_err() {
            offload = Offload::NONE;
        }
        let mut frame = Frame::from_bytes(&bytes);
        (frame.layer, frame.offload) = (layer, offload);
        right_icmp_checksum(&mut frame);
        let mut answer = Frame::default();
        let Ok(packet) = Packet::of(&frame) else {
            prop_assert!(!mirrored(&frame, Trouble::NoRoute, &mut answer));
            prop_assert!(!mirrored_reset(&frame, &mut answer));
            return Ok(());
        };
        // What was read lies inside, in order, and is what the oracle reads of the header.
        let (l3, l4, end) = (usize::from(packet.l3), usize::from(packet.l4), packet.end as usize);
        prop_assert!(l3 < l4 && l4 <= end && end <= frame.len());
        let oracle = LaxSlicedPacket::from_ip(&frame.bytes()[l3..]).unwrap();
        let (source, destination) = match oracle.net.as_ref().unwrap() {
            etherparse::LaxNetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                // The oracle forgets the reserved bit.
                if frame.bytes()[l3 + 6] & 0x80 == 0 {
                    prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                }
                prop_assert_eq!(header.protocol.0, packet.tuple.protocol);
                prop_assert_eq!(header.is_fragmenting_payload(), packet.part != Part::Whole);
                (Address::from(ip.header().source_addr()), Address::from(ip.header().destination_addr()))
            }
            etherparse::LaxNetSlice::Ipv6(ip) => {
                prop_assert!(packet.dont_fragment);
                (Address::from(ip.header().source_addr()), Address::from(ip.header().destination_addr()))
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!((packet.tuple.source, packet.tuple.destination), (source, destination));

        // Doing what was left undone changes nothing of what was read.
        let mut finished = copy(&frame);
        finish_checksum(&mut finished);
        let again = Packet::of(&finished);
        prop_assert_eq!(again, Ok(packet));

        for trouble in [
            Trouble::TooBig(pointer),
            Trouble::ParameterProblem { pointer },
            Trouble::ProtocolUnreachable,
        ] {
            report(&frame, &packet, trouble, packet.tuple.destination, &mut answer);
            mirrored(&frame, trouble, &mut answer);
        }
        mirrored_reset(&frame, &mut answer);
        reset(&frame, &packet, &mut answer);
        echo_reply(&mut copy(&frame), &packet);
        hop(&mut copy(&frame), &packet);

        let (addresses, port, other_port) = other;
        let changed = |address: Address, by: &[u8]| {
            let by = by.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
            Address::from_bits(address.bits() ^ (by & 0x00ff_ffff))
        };
        let to = |tuple: Tuple| Tuple {
            source: changed(tuple.source, &addresses[..6]),
            destination: changed(tuple.destination, &addresses[6..]),
            source_port: if tuple.source_port == 0 { 0 } else { port },
            destination_port: if tuple.destination_port == 0 { 0 } else { other_port },
            ..tuple
        };
        if let Some(translation) = Translation::new(&packet.tuple, &to(packet.tuple)) {
            let mut translated = copy(&frame);
            translation.apply(&mut translated, &packet);
            if let Ok(now) = Packet::of(&translated) {
                prop_assert_eq!(now, Packet { tuple: to(packet.tuple), ..packet });
            }
        }
        let outer = (changed(packet.tuple.source, &addresses[..6]), packet.tuple.destination);
        let about = quoted::of(&frame, &packet);
        let quoted_to = to(about.unwrap_or(packet.tuple));
        let mut translated = copy(&frame);
        quoted::translate(&mut translated, &packet, outer, &quoted_to);
        prop_assert_eq!(translated.len(), frame.len());
        // Where something was said to be undone that was done, or is quoted, doing it makes the error wrong.
        let claimed = frame.offload.needs_csum;
        if let (Some(_), Ok(now), false) = (about, Packet::of(&translated), claimed) {
            prop_assert_eq!(quoted::of(&translated, &now), Some(quoted_to));
        }
    }
}
