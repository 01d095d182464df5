//! ICMP errors and their quotations: what is reported of a packet is right by etherparse and names its flow; and to
//! translate a report of a packet is to report the translated packet, byte for byte, however much of it is quoted.

mod packet_kit;

use etherparse::TransportSlice;
use packet_kit::{Sent, checked, host, sent, sliced};
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::icmp_error::{Trouble, echo_reply, mirrored, mirrored_reset, report, reset};
use tapyard::packet::segment::finish_checksum;
use tapyard::packet::{Frame, Layer, Offload, Packet, Tuple, quoted};
use tapyard::wire::address::Address;

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        select(vec![
            Trouble::TtlExceeded,
            Trouble::ReassemblyTime,
            Trouble::NoRoute,
            Trouble::HostUnreachable,
            Trouble::PortUnreachable,
            Trouble::ProtocolUnreachable,
            Trouble::Prohibited,
        ]),
        (68..70_000u32).prop_map(Trouble::TooBig),
        (0..60u32).prop_map(|pointer| Trouble::ParameterProblem { pointer }),
    ]
}

fn reported(frame: &Frame, trouble: Trouble, from: Address) -> Frame {
    let mut answer = Frame::default();
    assert!(report(frame, &Packet::of(frame).unwrap(), trouble, from, &mut answer));
    assert_eq!((answer.layer, answer.offload), (Layer::Ip, Offload::NONE));
    answer
}

/// The error without the last `less` bytes of its quotation, its length and checksums as etherparse makes them.
fn shortened(error: &Frame, less: usize) -> Frame {
    let bytes = error.bytes();
    let (v4, headers) = if bytes[0] >> 4 == 4 { (true, 28) } else { (false, 48) };
    let quotation = &bytes[headers..bytes.len() - less];
    let packet = sliced(error);
    let mut short = Vec::new();
    if v4 {
        let mut ip = packet.net.unwrap().ipv4_ref().unwrap().header().to_header();
        let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("no ICMP") };
        let mut icmp = icmp.header();
        ip.total_len -= less as u16;
        ip.header_checksum = ip.calc_header_checksum();
        icmp.update_checksum(quotation);
        short.extend([&ip.to_bytes()[..], &icmp.to_bytes(), quotation].concat());
    } else {
        let mut ip = packet.net.unwrap().ipv6_ref().unwrap().header().to_header();
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
        let mut icmp = icmp.header();
        ip.payload_length -= less as u16;
        icmp.update_checksum(ip.source, ip.destination, quotation).unwrap();
        short.extend([&ip.to_bytes()[..], &icmp.to_bytes(), quotation].concat());
    }
    let mut frame = Frame::from_bytes(&short);
    frame.layer = Layer::Ip;
    frame
}

/// With two hosts of its version, that report it.
fn case() -> impl Strategy<Value = (Sent, Tuple, Address, Address, Trouble)> {
    sent().prop_flat_map(|(sent, to)| {
        let v4 = sent.is_v4();
        (Just(sent), Just(to), host(v4), host(v4), trouble())
    })
}

proptest! {
    #[test]
    fn a_report_is_right_and_names_the_flow((sent, _, from, _, trouble) in case()) {
        let frame = sent.frame();
        let error = reported(&frame, trouble, from);
        let read = checked(&error);
        prop_assert_eq!((read.source, read.destination), (from, sent.tuple.source));
        let most = if sent.is_v4() { 576 } else { 1280 };
        prop_assert!(error.len() <= most);
        let packet = Packet::of(&error).unwrap();
        prop_assert_eq!(quoted::of(&error, &packet), Some(sent.tuple));
        let mut again = Frame::default();
        prop_assert!(!report(&error, &packet, trouble, from, &mut again), "an error is not answered by one");

        prop_assert!(mirrored(&frame, trouble, &mut again));
        let mut on_bridge = Frame::default();
        on_bridge.copy_from(&again);
        on_bridge.pop_header(Packet::of(&again).unwrap().l3.into());
        on_bridge.layer = Layer::Ip;
        let expected = reported(&frame, trouble, sent.tuple.destination);
        prop_assert_eq!(on_bridge.bytes(), expected.bytes());
    }

    #[test]
    fn the_translated_report_is_that_of_the_translated_packet(
        (sent, to, from, new_from, trouble) in case(),
        less in 0..1300usize,
        unfinished: bool,
    ) {
        let sent = Sent { undone: None, ..sent };
        let error = reported(&sent.frame(), trouble, from);
        let expected = reported(&Sent { tuple: to, ..sent.clone() }.frame(), trouble, new_from);
        let headers = if sent.is_v4() { 28 } else { 48 };
        let least = Packet::of(&sent.frame()).map(|packet| usize::from(packet.l4 - packet.l3)).unwrap() + 8;
        let less = less.min(error.len() - headers - least);
        let (mut error, expected) = (shortened(&error, less), shortened(&expected, less));
        let packet = Packet::of(&error).unwrap();
        prop_assert_eq!(quoted::of(&error, &packet), Some(sent.tuple));
        if unfinished {
            // The sum of all of it, less the pseudo-header's, is what the device would have to add.
            let at = usize::from(packet.l4);
            let field = at + 2;
            let old = error.bytes()[field..field + 2].to_vec();
            error.bytes_mut()[field..field + 2].fill(0);
            let sum = error.bytes()[at..].chunks(2).fold(0u32, |sum, word| {
                sum + u32::from(word[0]) * 256 + u32::from(*word.get(1).unwrap_or(&0))
            }) % 0xffff;
            let whole = u32::from(!u16::from_be_bytes([old[0], old[1]])) % 0xffff;
            let pseudo_header = ((whole + 0xffff - sum) % 0xffff) as u16;
            error.bytes_mut()[field..field + 2].copy_from_slice(&pseudo_header.to_be_bytes());
            error.offload =
                Offload { needs_csum: true, csum_start: packet.l4, csum_offset: 2, ..Offload::NONE };
        }
        quoted::translate(&mut error, &packet, (new_from, to.source), &to);
        prop_assert_eq!(error.offload, Offload::NONE);
        prop_assert!(error.bytes() == expected.bytes(), "{:02x?}\n{:02x?}", error.bytes(), expected.bytes());
    }

    #[test]
    fn a_reset_is_right_and_answers_the_segment((sent, _) in sent()) {
        let frame = sent.frame();
        let mut answer = Frame::default();
        let packet = Packet::of(&frame).unwrap();
        let refused = reset(&frame, &packet, &mut answer);
        prop_assert_eq!(mirrored_reset(&frame, &mut Frame::default()), refused);
        let packet_kit::Upper::Tcp { sequence, acknowledgment, flags: [syn, ack, fin, rst], .. } = sent.upper else {
            prop_assert!(!refused);
            return Ok(());
        };
        prop_assert_eq!(refused, !rst);
        if !refused {
            return Ok(());
        }
        prop_assert_eq!(checked(&answer), sent.tuple.reversed());
        let Some(TransportSlice::Tcp(tcp)) = sliced(&answer).transport else { panic!("no TCP") };
        let tcp = tcp.to_header();
        prop_assert!(tcp.rst && !tcp.syn && !tcp.fin);
        if ack {
            prop_assert_eq!((tcp.sequence_number, tcp.ack), (acknowledgment, false));
        } else {
            let len = sent.payload.len() as u32 + u32::from(syn) + u32::from(fin);
            let expected = sequence.wrapping_add(len);
            prop_assert_eq!((tcp.sequence_number, tcp.ack, tcp.acknowledgment_number), (0, true, expected));
        }
    }

    #[test]
    fn a_reply_is_right_and_carries_what_was_asked((sent, _) in sent()) {
        let mut frame = sent.frame();
        let packet = Packet::of(&frame).unwrap();
        let packet_kit::Upper::Request { sequence } = sent.upper else {
            prop_assert!(!echo_reply(&mut frame, &packet));
            prop_assert!(frame.bytes() == sent.frame().bytes());
            return Ok(());
        };
        prop_assert!(echo_reply(&mut frame, &packet));
        let expected = Sent {
            tuple: sent.tuple.reversed(),
            upper: packet_kit::Upper::Reply { sequence },
            ttl: 64,
            ..sent
        };
        finish_checksum(&mut frame);
        prop_assert_eq!(checked(&frame), expected.tuple);
        let expected = Sent { undone: None, ..expected };
        prop_assert!(frame.bytes() == expected.bytes(), "{:02x?}", frame.bytes());
    }
}
