//! Packets edited in place against an oracle: what etherparse reads afterwards is what was to be, and its checksums are
//! right, be they finished or not; there and back again is where one was.

mod packet_kit;

use packet_kit::{Sent, Upper, checked, sent, sliced};
use proptest::prelude::*;
use tapyard::packet::rewrite::{Translation, hop};
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{Batch, Frame, Gso, Packet, Part};

/// What of a frame a device would send, finished: itself, or its segments.
fn finished(frame: &Frame) -> Vec<Frame> {
    if frame.offload.gso == Gso::None {
        let mut whole = Frame::default();
        whole.copy_from(frame);
        finish_checksum(&mut whole);
        return vec![whole];
    }
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(frame);
    batch.commit(1);
    let mut indices = Vec::new();
    segment(&mut batch, 0, &mut indices).unwrap();
    let copy = |index: u32| {
        let mut segment = Frame::default();
        segment.copy_from(&batch.frames()[index as usize]);
        segment
    };
    indices.into_iter().map(copy).collect()
}

proptest! {
    #[test]
    fn a_translated_packet_is_one_of_the_other_flow((sent, to) in sent()) {
        let mut frame = sent.frame();
        let packet = Packet::of(&frame).unwrap();
        prop_assert_eq!(packet.tuple, sent.tuple);
        let Some(translation) = Translation::new(&sent.tuple, &to) else { return Ok(()) };
        translation.apply(&mut frame, &packet);
        for whole in finished(&frame) {
            prop_assert_eq!(checked(&whole), to);
        }
        let expected = Sent { tuple: to, ..sent.clone() }.frame();
        prop_assert!(frame.bytes() == expected.bytes(), "{:02x?}", frame.bytes());
        prop_assert_eq!(frame.offload, expected.offload);

        let there = Packet::of(&frame).unwrap();
        prop_assert_eq!(there, Packet { tuple: to, ..packet });
        Translation::new(&to, &sent.tuple).unwrap().apply(&mut frame, &there);
        prop_assert!(frame.bytes() == sent.frame().bytes(), "back again {:02x?}", frame.bytes());
    }

    #[test]
    fn a_hop_takes_one_and_nothing_else((sent, _) in sent()) {
        let mut frame = sent.frame();
        let packet = Packet::of(&frame).unwrap();
        hop(&mut frame, &packet);
        let expected = Sent { ttl: sent.ttl - 1, ..sent }.frame();
        prop_assert!(frame.bytes() == expected.bytes(), "{:02x?}", frame.bytes());
    }

    #[test]
    fn fragments_make_a_packet_of_the_other_flow((sent, to) in sent(), at in 1..100usize) {
        let sent = Sent { undone: None, ..sent };
        // Cut by hand: behind `at` times 8 bytes of the upper layer, of an IPv4 packet.
        let whole = sent.frame();
        let packet = Packet::of(&whole).unwrap();
        let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
        let least = if let Upper::Tcp { .. } = sent.upper { 3 } else { 1 };
        prop_assume!(sent.is_v4() && at >= least && l4 + at * 8 < whole.len());
        let Some(translation) = Translation::new(&sent.tuple, &to) else { return Ok(()) };
        let payload = &whole.bytes()[l4..];
        let mut translated = Vec::new();
        for (offset, part, expected) in
            [(0, &payload[..at * 8], Part::First), (at, &payload[at * 8..], Part::Later)]
        {
            let mut ip = sliced(&whole).net.unwrap().ipv4_ref().unwrap().header().to_header();
            ip.more_fragments = offset == 0;
            ip.fragment_offset = (offset as u16).try_into().unwrap();
            ip.total_len = (l4 - l3 + part.len()) as u16;
            ip.header_checksum = ip.calc_header_checksum();
            let bytes = [&whole.bytes()[..l3], &ip.to_bytes(), part].concat();
            let mut frame = Frame::from_bytes(&bytes);
            frame.layer = sent.layer;
            let packet = Packet::of(&frame).unwrap();
            prop_assert_eq!(packet.part, expected);
            translation.apply(&mut frame, &packet);
            let now = Packet::of(&frame).unwrap();
            prop_assert_eq!((now.tuple.source, now.tuple.destination), (to.source, to.destination));
            translated.extend_from_slice(now.upper_layer(&frame));
        }
        let expected = Sent { tuple: to, ..sent }.frame();
        prop_assert!(translated == expected.bytes()[l4..], "{translated:02x?}");
    }
}
