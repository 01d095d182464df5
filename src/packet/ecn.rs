//! Congestion marks across a tunnel (RFC 6040, normal mode): what the outer header says at its beginning, and what its
//! end makes of a mark that a router in between has put there.

use super::{DropReason, Layer};
use crate::wire::{ipv4, ipv6};

/// The ECN field within a TOS or traffic class (RFC 3168 section 5).
const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The outer TOS or traffic class: the DSCP of `tos`, and the ECN field of `inner` (section 4.1). What is not IP
/// (`None`) has nobody who would heed a mark.
#[inline]
pub fn encapsulate(tos: u8, inner: Option<u8>) -> u8 {
    tos & !MASK | inner.unwrap_or(NOT_ECT) & MASK
}

/// Takes over, in place, what the `outer` TOS or traffic class says of congestion into the frame that it carried
/// (section 4.2). [`DropReason::Ecn`]: congestion was experienced, and the sender would not understand a mark but
/// understands a loss. What is not IP passes as it is.
#[inline]
pub fn decapsulate(frame: &mut [u8], layer: Layer, outer: u8) -> Result<(), DropReason> {
    // Any other outer field leaves every inner one as it is.
    if matches!(outer & MASK, ECT_1 | CE) { mark(frame, layer, outer & MASK) } else { Ok(()) }
}

#[cold]
fn mark(frame: &mut [u8], layer: Layer, outer: u8) -> Result<(), DropReason> {
    let Some((ether_type, l3)) = layer.network(frame) else {
        return Ok(());
    };
    let packet = &mut frame[l3..];
    match ether_type {
        ipv4::ETHER_TYPE if ipv4::header_len(packet).is_some() => {
            let tos = combine(ipv4::tos(packet), outer)?;
            ipv4::set_tos(packet, tos);
        }
        ipv6::ETHER_TYPE if packet.len() >= ipv6::HEADER_LEN => {
            let class = combine(ipv6::traffic_class(packet), outer)?;
            ipv6::set_traffic_class(packet, class);
        }
        _ => {}
    }
    Ok(())
}

/// Figure 4: the inner TOS after an outer ECN field.
fn combine(inner: u8, outer: u8) -> Result<u8, DropReason> {
    match (inner & MASK, outer) {
        (NOT_ECT, CE) => Err(DropReason::Ecn),
        (ECT_0 | ECT_1, CE) => Ok(inner | CE),
        (ECT_0, ECT_1) => Ok(inner & !MASK | ECT_1),
        _ => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Frame;
    use crate::wire::checksum;

    /// Figure 4: inner, outer, result.
    const FIGURE_4: [(u8, u8, Option<u8>); 16] = [
        (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, ECT_1, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_0, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, NOT_ECT, Some(ECT_1)),
        (ECT_1, ECT_0, Some(ECT_1)),
        (ECT_1, ECT_1, Some(ECT_1)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
        (CE, ECT_0, Some(CE)),
        (CE, ECT_1, Some(CE)),
        (CE, CE, Some(CE)),
    ];
    const DSCPS: [u8; 3] = [0x00, 0xb8, 0xfc];

    fn ipv4(tos: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 21, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0xa5];
        packet[1] = tos;
        ipv4::make_segment(&mut packet[..20], 0, 21);
        packet
    }

    fn ipv6(class: u8) -> Vec<u8> {
        let mut packet = vec![0xa5; 41];
        packet[0] = 0x6a;
        ipv6::set_traffic_class(&mut packet, class);
        packet
    }

    fn frame(layer: Layer, ether_type: u16, packet: &[u8]) -> Frame {
        let mut frame = match layer {
            Layer::Ip => Frame::from_bytes(packet),
            Layer::Ethernet => {
                let tagged = [
                    [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7].as_slice(),
                    &ether_type.to_be_bytes(),
                ];
                Frame::from_bytes(&[&tagged.concat(), packet].concat())
            }
        };
        frame.layer = layer;
        frame
    }

    fn decapsulate_frame(frame: &mut Frame, outer: u8) -> Result<(), DropReason> {
        let layer = frame.layer;
        decapsulate(frame.bytes_mut(), layer, outer)
    }

    #[test]
    fn the_table_of_the_rfc_holds_for_both_versions_and_layers() {
        for (inner, outer, result) in FIGURE_4 {
            for (dscp, outer_dscp) in DSCPS.into_iter().zip(DSCPS.into_iter().rev()) {
                for layer in [Layer::Ethernet, Layer::Ip] {
                    for (ether_type, make) in [(0x0800, ipv4 as fn(u8) -> Vec<u8>), (0x86dd, ipv6)] {
                        let mut got = frame(layer, ether_type, &make(dscp | inner));
                        let expected = frame(layer, ether_type, &make(dscp | result.unwrap_or(inner)));
                        assert_eq!(
                            decapsulate_frame(&mut got, outer_dscp | outer),
                            result.map(drop).ok_or(DropReason::Ecn)
                        );
                        assert_eq!(
                            got.bytes(),
                            expected.bytes(),
                            "{inner:02b} in {outer:02b}, {ether_type:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_checksum_that_was_wrong_stays_wrong() {
        let mut packet = ipv4(ECT_0);
        packet[10] ^= 0x55;
        let mut frame = frame(Layer::Ip, 0, &packet);
        decapsulate_frame(&mut frame, CE).unwrap();
        assert_ne!(checksum::fold(checksum::sum(&frame.bytes()[..20], 0)), 0xffff);
    }

    #[test]
    fn what_is_not_ip_or_ends_early_passes_unchanged() {
        let arp = [0, 1, 8, 0, 6, 4, 0, 1];
        let cases = [
            (0x0806, arp.to_vec()),
            (0x0800, ipv6(0)),
            (0x86dd, ipv4(0)),
            (0x0800, vec![]),
            (0x86dd, vec![]),
        ];
        let cut = (0..20).map(|len| (0x0800, ipv4(0)[..len].to_vec()));
        let cut = cut.chain((0..40).map(|len| (0x86dd, ipv6(0)[..len].to_vec())));
        for (ether_type, packet) in cases.into_iter().chain(cut) {
            for layer in [Layer::Ethernet, Layer::Ip] {
                // Without an Ethernet header it is the first byte that tells the version.
                if layer == Layer::Ip && packet.len() >= 20 {
                    continue;
                }
                let mut got = frame(layer, ether_type, &packet);
                let before = got.bytes().to_vec();
                assert_eq!(decapsulate_frame(&mut got, CE), Ok(()), "{ether_type:#x}, {packet:02x?}");
                assert_eq!(got.bytes(), before);
            }
        }
    }

    #[test]
    fn the_outer_field_is_the_inner_one_beside_the_dscp_that_was_asked_for() {
        for ecn in [NOT_ECT, ECT_1, ECT_0, CE] {
            assert_eq!(encapsulate(0xb8 | !ecn & MASK, Some(0x2c | ecn)), 0xb8 | ecn);
            assert_eq!(encapsulate(0xb8 | ecn, None), 0xb8);
        }
    }
}
