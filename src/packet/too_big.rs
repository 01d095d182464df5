//! Telling a sender that its packet does not fit: ICMP Fragmentation Needed (RFC 1191) and ICMPv6 Packet Too Big (RFC
//! 4443 section 3.2), on behalf of a tunnel.
//!
//! A bridge has no address of its own to say it from, so the answer comes from the address that the packet was sent to.
//! Without it a sender that relies on path MTU discovery would see its large packets vanish, and nothing else.
//!
//! An IPv6 sender is never told of less than 1280 bytes: every link has to carry those (RFC 8200 section 5), and a
//! sender ignores what says otherwise (RFC 8201 section 4). A packet of 1280 bytes or fewer thus gets no answer,
//! whatever the MTU, and a larger one is told 1280, which is as far as its sender may go.

use super::icmp_error::{Trouble, len_on_wire, mirrored};
use super::{Frame, Packet};
use crate::wire::ipv6;

/// Makes `answer` what tells the sender of `frame` that no packet of more than `mtu` bytes, IP header included, gets to
/// where it sent it: see [`mirrored`].
///
/// `false`, and `answer` as it was, when the packet, or each segment of it, does fit, when it may be fragmented, and when
/// no answer may be sent.
pub fn answer(frame: &Frame, mtu: u32, answer: &mut Frame) -> bool {
    let Ok(packet) = Packet::of(frame) else {
        return false;
    };
    let told = if packet.tuple.source.is_v4() { mtu } else { mtu.max(ipv6::MIN_MTU as u32) };
    packet.dont_fragment
        && len_on_wire(frame, &packet) > told as usize
        && mirrored(frame, Trouble::TooBig(told), answer)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::packet::{Gso, Layer, Offload};
    use crate::wire::{checksum, ipv4, set_be16, udp};

    const TAGGED: [u8; 16] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7];
    const TURNED: [u8; 16] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7];

    /// UDP from 10.0.0.1 to 10.0.0.2 that may not be fragmented, `len` bytes.
    fn ipv4(len: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x10, 0, 0, 53, 0, 0, 0, 0]);
        packet.resize(len.into(), 0xa5);
        udp::set_len(&mut packet[20..], len - 20);
        ipv4::make_segment(&mut packet[..20], 0, len);
        packet
    }

    /// The same from fd00::1 to fd00::2.
    fn ipv6(len: u16) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
        for last in [1, 2] {
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend([0x10, 0, 0, 53, 0, 0, 0, 0]);
        packet.resize(len.into(), 0xa5);
        udp::set_len(&mut packet[40..], len - 40);
        ipv6::set_payload_len(&mut packet, len - 40);
        packet
    }

    fn tagged(packet: &[u8]) -> Frame {
        let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let mut frame = Frame::from_bytes(&[&TAGGED[..], &ether_type, packet].concat());
        frame.set_vlan_tag(true);
        frame
    }

    fn answered(frame: &Frame, mtu: u32) -> Option<Frame> {
        let mut to = Frame::from_bytes(&[0xa5; 1600]);
        if answer(frame, mtu, &mut to) {
            assert_eq!(to.offload, Offload::NONE);
            return Some(to);
        }
        assert_eq!(to.bytes(), [0xa5; 1600]);
        None
    }

    /// The answer to a packet without an Ethernet header.
    fn told(packet: &[u8], mtu: u32) -> Option<Vec<u8>> {
        let mut frame = Frame::from_bytes(packet);
        frame.layer = Layer::Ip;
        let to = answered(&frame, mtu)?;
        assert_eq!(to.layer, Layer::Ip);
        Some(to.bytes().to_vec())
    }

    #[test]
    fn an_ipv4_sender_is_told_the_mtu_and_shown_548_bytes() {
        let packet = ipv4(1500);
        let mut to = answered(&tagged(&packet), 1450).unwrap();
        let (link, told) = to.bytes().split_at(18);
        assert_eq!(link, [&TURNED[..], &[0x08, 0x00]].concat());
        let header = [0x45, 0xc0, 0x02, 0x40, 0, 0, 0x40, 0, 64, 1, 0x23, 0xfb, 10, 0, 0, 2, 10, 0, 0, 1];
        assert_eq!(told[..20], header);
        assert_eq!((told[20], told[21], &told[24..28]), (3, 4, &[0, 0, 0x05, 0xaa][..]));
        assert_eq!(told[28..], packet[..548]);
        for part in [&told[..20], &told[20..]] {
            assert_eq!(checksum::fold(checksum::sum(part, 0)), 0xffff);
        }
        to.retag(None);
        assert_eq!(to.bytes()[12..14], [0x08, 0x00], "the tag is the bridge's, as it was on the frame");
    }

    #[test]
    fn an_ipv6_sender_is_told_the_mtu_and_shown_1232_bytes() {
        let packet = ipv6(1500);
        let to = answered(&tagged(&packet), 1450).unwrap();
        let (link, told) = to.bytes().split_at(18);
        assert_eq!(link, [&TURNED[..], &[0x86, 0xdd]].concat());
        assert_eq!(told[..8], [0x60, 0, 0, 0, 0x04, 0xd8, 58, 64]);
        assert_eq!((&told[8..24], &told[24..40]), (&packet[24..40], &packet[8..24]));
        assert_eq!((told[40], told[41], &told[44..48]), (2, 0, &[0, 0, 0x05, 0xaa][..]));
        assert_eq!(told[48..], packet[..1232]);
        let sum = checksum::sum(&told[40..], checksum::sum(&told[8..40], 58 + 0x04d8));
        assert_eq!(checksum::fold(sum), 0xffff);
    }

    #[test]
    fn a_short_packet_is_quoted_whole() {
        assert_eq!(told(&ipv4(100), 99).unwrap()[28..], ipv4(100));
        assert_eq!(told(&ipv4(548), 68).unwrap()[28..], ipv4(548));
        let mut padded = ipv4(100);
        padded.resize(200, 0);
        assert_eq!(told(&padded, 99).unwrap()[28..], ipv4(100));
    }

    #[test]
    fn what_fits_is_not_answered() {
        for mtu in [1500, 9000, u32::MAX] {
            assert!(told(&ipv4(1500), mtu).is_none());
            assert!(told(&ipv6(1500), mtu).is_none());
        }
        assert!(told(&ipv4(1500), 1499).is_some() && told(&ipv6(1500), 1499).is_some());
    }

    #[test]
    fn ipv6_is_never_told_of_less_than_every_link_carries() {
        for mtu in [0, 576, 1279, 1280] {
            assert_eq!(told(&ipv6(1281), mtu).unwrap()[44..48], [0, 0, 0x05, 0x00]);
            assert!(told(&ipv6(1280), mtu).is_none());
        }
    }

    #[test]
    fn a_superframe_is_told_of_its_segments() {
        let claim = |gso, l4: u16, csum_offset| Offload {
            needs_csum: true,
            gso,
            gso_size: 1400,
            csum_start: 18 + l4,
            csum_offset,
            ..Offload::NONE
        };
        for (mut packet, l4) in [(ipv4(9000), 20), (ipv6(9000), 40)] {
            for (gso, csum_offset, l4_header) in [(Gso::Udp, 6, 8), (Gso::TcpV4, 16, 20)] {
                let v4 = l4 == 20;
                let protocol = if gso == Gso::Udp { 17 } else { 6 };
                packet = with(&packet, &[(if v4 { 9 } else { 6 }, protocol), (usize::from(l4) + 12, 0x50)]);
                let gso = if gso == Gso::TcpV4 && !v4 { Gso::TcpV6 } else { gso };
                let mut frame = tagged(&packet);
                let mut offload = claim(gso, l4, csum_offset);
                offload.check(frame.layer, frame.bytes()).unwrap();
                frame.offload = offload;
                let segment = usize::from(l4 + l4_header + 1400);
                assert!(answered(&frame, segment as u32).is_none(), "its segments fit");

                let to = answered(&frame, segment as u32 - 1).unwrap();
                let quotation = &to.bytes()[18 + if v4 { 28 } else { 48 }..];
                let mut expected = packet[..quotation.len()].to_vec();
                if v4 {
                    ipv4::make_segment(&mut expected[..20], 0, segment as u16);
                } else {
                    ipv6::set_payload_len(&mut expected, segment as u16 - 40);
                }
                if gso == Gso::Udp {
                    udp::set_len(&mut expected[l4.into()..], 1408);
                }
                assert_eq!(quotation, expected, "{gso:?}");
            }
        }
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

    #[test]
    fn ipv4_packets_that_no_error_may_answer_get_none() {
        let good = ipv4(1500);
        for (changes, what) in [
            (&[(6, 0x00)][..], "it may be fragmented"),
            (&[(7, 1)], "a later fragment"),
            (&[(0, 0x44)], "a header too short"),
            (&[(2, 0x05), (3, 0xdd)], "longer than what is there"),
            (&[(2, 0), (3, 19)], "shorter than its header"),
            (&[(12, 0)], "from 0.0.0.1"),
            (&[(12, 127)], "from loopback"),
            (&[(12, 224)], "from a group"),
            (&[(12, 255), (13, 255), (14, 255), (15, 255)], "from everybody"),
            (&[(16, 0), (19, 0)], "to nobody"),
            (&[(16, 127)], "to loopback"),
            (&[(16, 239)], "to a group"),
            (&[(16, 255), (17, 255), (18, 255), (19, 255)], "to everybody"),
            (&[(9, 1), (20, 3)], "an ICMP error: unreachable"),
            (&[(9, 1), (20, 5)], "an ICMP error: redirect"),
            (&[(9, 1), (20, 11)], "an ICMP error: time exceeded"),
            (&[(9, 1), (20, 12)], "an ICMP error: parameter problem"),
        ] {
            assert!(told(&with(&good, changes), 1000).is_none(), "{what}");
        }
        for (changes, what) in [
            (&[(6, 0x60)][..], "a first fragment"),
            (&[(9, 1), (20, 8)], "an echo request"),
            (&[(9, 47)], "GRE"),
            (&[(16, 223)], "to the last network"),
        ] {
            assert!(told(&with(&good, changes), 1000).is_some(), "{what}");
        }
    }

    #[test]
    fn ipv6_packets_that_no_error_may_answer_get_none() {
        let good = ipv6(1500);

        let from = |address: [u8; 16]| [&good[..8], &address, &good[24..]].concat();
        let to = |address: [u8; 16]| [&good[..24], &address, &good[40..]].concat();
        let [none, loopback, group] =
            [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)]
                .map(|address| address.octets());
        for (packet, what) in [
            (from(none), "from nobody"),
            (from(loopback), "from loopback"),
            (from(group), "from a group"),
            (to(none), "to nobody"),
            (to(loopback), "to loopback"),
            (to(group), "to a group"),
            (with(&good, &[(4, 0x05), (5, 0xb5)]), "longer than what is there"),
            (with(&good, &[(4, 0), (5, 0)]), "a jumbogram"),
            (with(&good, &[(6, 58), (40, 1)]), "an ICMPv6 error"),
            (with(&good, &[(6, 58), (40, 127)]), "an ICMPv6 error"),
            (with(&good, &[(6, 58), (40, 137)]), "a redirect"),
            (with(&good, &[(6, 60), (40, 58), (41, 0), (48, 2)]), "an ICMPv6 error behind options"),
            (with(&good, &[(6, 44), (40, 58), (42, 0), (43, 1), (48, 2)]), "an ICMPv6 error in fragments"),
            (with(&good, &[(6, 44), (42, 0), (43, 8)]), "a later fragment"),
            (with(&good, &[(6, 44), (42, 1), (43, 1)]), "a later fragment"),
            (with(&good, &[(6, 60), (40, 17), (41, 255)]), "options longer than the packet"),
        ] {
            assert!(told(&packet, 1400).is_none(), "{what}");
        }
        for (packet, what) in [
            (with(&good, &[(6, 58), (40, 128)]), "an echo request"),
            (with(&good, &[(6, 44), (40, 17), (42, 0), (43, 1)]), "a first fragment"),
            (with(&good, &[(6, 50)]), "ESP"),
        ] {
            assert!(told(&packet, 1400).is_some(), "{what}");
        }
    }

    #[test]
    fn nor_do_groups_of_stations_and_what_is_not_ip() {
        for packet in [ipv4(1500), ipv6(1500)] {
            for (at, value) in [(0, 0xff), (0, 0x01), (6, 0x03), (17, 0x06)] {
                let frame = Frame::from_bytes(&with(tagged(&packet).bytes(), &[(at, value)]));
                assert!(answered(&frame, 1400).is_none(), "byte {at} {value:#x}");
            }
            for len in 0..packet.len() {
                assert!(told(&packet[..len], 0).is_none(), "{len} bytes");
            }
        }
    }

    #[test]
    fn an_mtu_that_the_field_cannot_hold_is_told_as_far_as_it_can() {
        let mut packet = ipv6(60_000);
        packet.resize(40 + 65_535, 0);
        set_be16(&mut packet, 4, 65_535);
        assert_eq!(told(&packet, 65_536).unwrap()[44..48], [0, 1, 0, 0]);
    }
}
