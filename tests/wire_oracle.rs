//! The byte layer against an oracle: what finishing a checksum and cutting a superframe give is, byte for byte, what
//! etherparse builds; and no bytes with no claim about them make either panic.

mod oracle;

use oracle::{batch_of, packet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{DropReason, Frame, Gso, Layer, Offload};

proptest! {
    #[test]
    fn a_finished_checksum_is_the_one_of_the_oracle(mut packet in packet(), retag: bool) {
        let mut frame = packet.unfinished(None);
        if retag {
            packet.retag(&mut frame);
        }
        finish_checksum(&mut frame);
        prop_assert_eq!(frame.offload, Offload::NONE);
        prop_assert!(frame.bytes() == packet.bytes(), "{:?} {:02x?}", frame, frame.bytes());
    }

    #[test]
    fn segments_are_those_of_the_oracle(mut packet in packet(), gso_size in 4..3000u16, retag: bool) {
        let mut frame = packet.unfinished(Some(gso_size));
        if retag {
            packet.retag(&mut frame);
        }
        let mut batch = batch_of(&frame);
        let (room, mut indices) = (batch.room(), Vec::new());
        let result = segment(&mut batch, 0, &mut indices);
        let expected = packet.segments(gso_size);
        if expected.len() > room {
            prop_assert_eq!((result, indices.len()), (Err(DropReason::NoBuffer), 0));
            return Ok(());
        }
        prop_assert_eq!((result, indices.len()), (Ok(()), expected.len()));
        for (&index, expected) in indices.iter().zip(expected) {
            let segment = &batch.frames()[index as usize];
            prop_assert_eq!(segment.offload, Offload::NONE);
            prop_assert!(segment.bytes() == expected.bytes(), "{:?} {:02x?}", segment, segment.bytes());
        }
    }

    #[test]
    fn a_zero_udp_checksum_is_sent_as_ones(mut packet in packet(), gso in prop::option::of(Just(u16::MAX))) {
        prop_assume!(packet.is_udp() && packet.payload.len() > 1);
        // A payload that takes in the checksum of all else brings the sum to 0xffff and the checksum to zero.
        packet.payload[..2].fill(0);
        let at = packet.bytes().len() - packet.payload.len() - 2;
        let checksum = [packet.bytes()[at], packet.bytes()[at + 1]];
        packet.payload[..2].copy_from_slice(&checksum);
        let mut batch = batch_of(&packet.unfinished(gso));
        match gso {
            None => finish_checksum(&mut batch.frames_mut()[0]),
            Some(_) => segment(&mut batch, 0, &mut Vec::new()).unwrap(),
        }
        let bytes = batch.frames().last().unwrap().bytes();
        prop_assert_eq!(&bytes[at..at + 2], &[0xff, 0xff]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_a_guest_claims_makes_it_panic(
        packet in packet(),
        damage in vec((0..120usize, any::<u8>()), 0..4),
        len in prop_oneof![4 => Just(usize::MAX), 1 => 0..160usize],
        claim in claim(),
        retags in vec(prop::option::of(any::<u16>()), 0..3),
    ) {
        let mut bytes = packet.bytes();
        bytes.truncate(len);
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let good = packet.unfinished(Some(1000)).offload;
        take_through(packet.layer, &bytes, claim.apply(good), &retags)?;
    }

    #[test]
    fn nor_do_bytes_that_are_no_packet(
        layer in select(vec![Layer::Ethernet, Layer::Ip]),
        bytes in vec(any::<u8>(), 0..200),
        claim in claim(),
        retags in vec(prop::option::of(any::<u16>()), 0..3),
    ) {
        take_through(layer, &bytes, claim.apply(Offload::NONE), &retags)?;
    }
}

/// A guest's claim: fields in place of the true ones.
#[derive(Clone, Debug)]
struct Claim {
    gso: Option<Gso>,
    needs_csum: Option<bool>,
    gso_size: Option<u16>,
    header_len: u16,
    csum_start: Option<u16>,
    csum_offset: Option<u16>,
}

impl Claim {
    fn apply(&self, good: Offload) -> Offload {
        Offload {
            gso: self.gso.unwrap_or(good.gso),
            needs_csum: self.needs_csum.unwrap_or(good.needs_csum),
            gso_size: self.gso_size.unwrap_or(good.gso_size),
            header_len: self.header_len,
            csum_start: self.csum_start.unwrap_or(good.csum_start),
            csum_offset: self.csum_offset.unwrap_or(good.csum_offset),
            ..good
        }
    }
}

fn claim() -> impl Strategy<Value = Claim> {
    let offset = || {
        let anywhere = prop_oneof![2 => 0..24u16, 2 => 14..100u16, 1 => 65_200..=u16::MAX, 1 => any::<u16>()];
        prop::option::weighted(0.3, anywhere)
    };
    (
        prop::option::weighted(
            0.3,
            select(vec![Gso::None, Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::Unknown]),
        ),
        prop::option::weighted(0.1, any::<bool>()),
        prop::option::weighted(0.3, prop_oneof![0..200u16, any::<u16>()]),
        any::<u16>(),
        offset(),
        offset(),
    )
        .prop_map(|(gso, needs_csum, gso_size, header_len, csum_start, csum_offset)| Claim {
            gso,
            needs_csum,
            gso_size,
            header_len,
            csum_start,
            csum_offset,
        })
}

/// Does with a frame what a switch does with one for a port without offloads, and sees that its payload stays.
fn take_through(
    layer: Layer,
    bytes: &[u8],
    mut offload: Offload,
    retags: &[Option<u16>],
) -> Result<(), TestCaseError> {
    if offload.check(layer, bytes).is_err() || bytes.len() < layer.header_len() {
        return Ok(());
    }
    let mut frame = Frame::default();
    frame.fill(bytes, offload);
    frame.layer = layer;
    if layer == Layer::Ethernet {
        frame.set_vlan_tag(bytes.len() >= 18 && bytes[12..14] == [0x81, 0x00]);
        retags.iter().for_each(|tci| frame.retag(*tci));
    }
    let mut batch = batch_of(&frame);
    if frame.offload.gso == Gso::None {
        finish_checksum(&mut batch.frames_mut()[0]);
        prop_assert_eq!(batch.frames()[0].len(), frame.len());
        return Ok(());
    }
    let mut segments = Vec::new();
    match segment(&mut batch, 0, &mut segments) {
        Ok(()) => {
            let header_len = usize::from(frame.offload.header_len);
            let payload: Vec<u8> = segments
                .iter()
                .flat_map(|&index| &batch.frames()[index as usize].bytes()[header_len..])
                .copied()
                .collect();
            prop_assert!(payload == frame.bytes()[header_len..], "the payload changed");
        }
        Err(_) => prop_assert_eq!((segments.len(), batch.len()), (0, 1)),
    }
    Ok(())
}
