//! Telling a sender that its packet does not fit: ICMP Fragmentation Needed (RFC 1191) and ICMPv6 Packet Too Big (RFC
//! 4443 section 3.2), on behalf of a tunnel.
//!
//! A bridge has no address of its own to say it from, so the answer comes from the address that the packet was sent to.
//! Without it a sender that relies on path MTU discovery would see its large packets vanish, and nothing else.
//!
//! An IPv6 sender is never told of less than 1280 bytes: every link has to carry those (RFC 8200 section 5), and a
//! sender ignores what says otherwise (RFC 8201 section 4). A packet of 1280 bytes or fewer thus gets no answer,
//! whatever the MTU, and a larger one is told 1280, which is as far as its sender may go.

use core::net::{Ipv4Addr, Ipv6Addr};

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber, Ipv4Header, Ipv6Header,
};

use super::{Frame, Gso, Layer};
use crate::wire::{ethernet, icmp, ipv4, ipv6, udp};

/// Longest link header before a packet: what [`ethernet::payload`] passes over.
const MAX_LINK: usize = ethernet::HEADER_LEN + 4 * ethernet::TAG_LEN;
/// The TTL or hop limit of an answer, which is for a neighbour.
const TTL: u8 = 64;

/// Makes `answer` what tells the sender of `frame` that no packet of more than `mtu` bytes, IP header included, gets to
/// where it sent it. It has the frame's VLAN tags, is for its source and comes from its destination, and leaves nothing
/// undone. Of a superframe the sender is shown the first segment, whose checksum field is as the superframe has it.
///
/// `false`, and `answer` as it was, when the packet, or each segment of it, does fit, or when no answer may be sent: to
/// an IPv4 packet that may be fragmented, to what is not IP or ends early, to an ICMP error, to a fragment but the
/// first, to or from what is not a single host (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443 section 2.4).
pub fn answer(frame: &Frame, mtu: u32, answer: &mut Frame) -> bool {
    let mut bytes = [0; MAX_LINK + icmp::V6_MAX_ERROR_LEN];
    match write(frame, mtu as usize, &mut bytes) {
        Some(len) => answer.fill_like(frame, &bytes[..len]),
        None => return false,
    }
    true
}

fn write(frame: &Frame, mtu: usize, bytes: &mut [u8; MAX_LINK + icmp::V6_MAX_ERROR_LEN]) -> Option<usize> {
    let (ether_type, l3) = frame.layer.network(frame.bytes())?;
    let from = &frame.bytes()[..l3];
    let (link, answer) = bytes.split_at_mut(l3);
    if frame.layer == Layer::Ethernet {
        if (from[0] | from[6]) & 1 != 0 {
            return None; // a group
        }
        link.copy_from_slice(from);
        link[..6].copy_from_slice(&from[6..12]);
        link[6..12].copy_from_slice(&from[..6]);
    }
    let len = match ether_type {
        ipv4::ETHER_TYPE => fragmentation_needed(frame, l3, mtu, answer)?,
        ipv6::ETHER_TYPE => packet_too_big(frame, l3, mtu, answer)?,
        _ => return None,
    };
    Some(l3 + len)
}

fn fragmentation_needed(frame: &Frame, l3: usize, mtu: usize, answer: &mut [u8]) -> Option<usize> {
    const HEADERS: usize = ipv4::MIN_HEADER_LEN + icmp::HEADER_LEN;
    let packet = &frame.bytes()[l3..];
    let header_len = ipv4::header_len(packet)?;
    let packet = packet.get(..usize::from(ipv4::total_len(packet)))?;
    let payload = packet.get(header_len..)?;
    let (source, destination) = (ipv4::source(packet), ipv4::destination(packet));
    let on_wire = len_on_wire(frame, l3, packet);
    if on_wire <= mtu
        || !ipv4::dont_fragment(packet)
        || ipv4::is_later_fragment(packet)
        || !is_host(source)
        || !is_host(destination)
        || ipv4::protocol(packet) == icmp::PROTOCOL && icmp::is_error(*payload.first()?)
    {
        return None;
    }
    let len = (HEADERS + on_wire).min(icmp::MAX_ERROR_LEN);
    let (headers, quotation) = answer[..len].split_at_mut(HEADERS);
    quotation.copy_from_slice(&packet[..quotation.len()]);
    if frame.offload.gso != Gso::None {
        // No longer than the packet, whose length is a 16-bit number.
        ipv4::make_segment(quotation.get_mut(..header_len)?, 0, on_wire as u16);
        set_datagram_len(frame, l3, on_wire, quotation);
    }

    let next_hop_mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let what = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
    let message = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(what), quotation);
    let mut ip = Ipv4Header {
        dscp: IpDscp::CS6, // as routers send them (RFC 1812 section 4.3.2.5)
        total_len: len as u16,
        dont_fragment: true,
        time_to_live: TTL,
        protocol: IpNumber::ICMP,
        source: destination.octets(),
        destination: source.octets(),
        ..Ipv4Header::default()
    };
    ip.header_checksum = ip.calc_header_checksum();
    headers[..ipv4::MIN_HEADER_LEN].copy_from_slice(&ip.to_bytes());
    headers[ipv4::MIN_HEADER_LEN..].copy_from_slice(&message.to_bytes());
    Some(len)
}

fn packet_too_big(frame: &Frame, l3: usize, mtu: usize, answer: &mut [u8]) -> Option<usize> {
    const HEADERS: usize = ipv6::HEADER_LEN + icmp::HEADER_LEN;
    let packet = &frame.bytes()[l3..];
    // Whose upper layer is there has a whole header of version 6.
    ipv6::upper_layer(packet)?;
    let packet = packet.get(..ipv6::HEADER_LEN + usize::from(ipv6::payload_len(packet)))?;
    let (protocol, payload) = ipv6_payload(packet)?;
    let (source, destination) = (ipv6::source(packet), ipv6::destination(packet));
    let (on_wire, mtu) = (len_on_wire(frame, l3, packet), mtu.max(ipv6::MIN_MTU));
    if on_wire <= mtu
        || !is_v6_host(source)
        || !is_v6_host(destination)
        || protocol == icmp::V6_PROTOCOL && icmp::is_v6_error(*payload.first()?)
    {
        return None;
    }
    let len = (HEADERS + on_wire).min(icmp::V6_MAX_ERROR_LEN);
    let (headers, quotation) = answer[..len].split_at_mut(HEADERS);
    quotation.copy_from_slice(&packet[..quotation.len()]);
    if frame.offload.gso != Gso::None {
        ipv6::set_payload_len(quotation, (on_wire - ipv6::HEADER_LEN) as u16);
        set_datagram_len(frame, l3, on_wire, quotation);
    }

    let (from, to) = (destination.octets(), source.octets());
    let what = Icmpv6Type::PacketTooBig { mtu: mtu as u32 };
    let message = Icmpv6Header::with_checksum(what, from, to, quotation).ok()?;
    let ip = Ipv6Header {
        payload_length: (len - ipv6::HEADER_LEN) as u16,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: TTL,
        source: from,
        destination: to,
        ..Ipv6Header::default()
    };
    headers[..ipv6::HEADER_LEN].copy_from_slice(&ip.to_bytes());
    headers[ipv6::HEADER_LEN..].copy_from_slice(&message.to_bytes());
    Some(len)
}

/// The protocol of an IPv6 packet and its bytes, behind a first fragment's header too. `None` in a later fragment, and
/// where it cannot be told what it is.
fn ipv6_payload(packet: &[u8]) -> Option<(u8, &[u8])> {
    let (protocol, at) = ipv6::upper_layer(packet)?;
    if protocol != ipv6::FRAGMENT {
        return Some((protocol, &packet[at..]));
    }
    let (header, payload) = packet[at..].split_at_checked(8)?;
    (header[2] == 0 && header[3] & 0xf8 == 0).then_some((header[0], payload))
}

/// Bytes of `packet` as it would go over the wire: its own, or those of a segment. It begins `l3` bytes into `frame`.
fn len_on_wire(frame: &Frame, l3: usize, packet: &[u8]) -> usize {
    match frame.offload.gso {
        Gso::None => packet.len(),
        _ => {
            let segment = usize::from(frame.offload.header_len) + usize::from(frame.offload.gso_size);
            packet.len().min(segment.saturating_sub(l3))
        }
    }
}

/// Makes the UDP header in `quotation`, the first `len` bytes of a superframe's packet or fewer, that of a datagram.
fn set_datagram_len(frame: &Frame, l3: usize, len: usize, quotation: &mut [u8]) {
    let l4 = usize::from(frame.offload.csum_start).saturating_sub(l3);
    if frame.offload.gso == Gso::Udp
        && let Some(header) = quotation.get_mut(l4..l4 + udp::HEADER_LEN)
    {
        udp::set_len(header, (len - l4) as u16);
    }
}

/// Whether a packet may come from the address, and an answer go there.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    (1..224).contains(&first) && !address.is_loopback()
}

/// See [`is_host`].
fn is_v6_host(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Offload;
    use crate::wire::{checksum, set_be16};

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
                packet[if v4 { 9 } else { 6 }] = if gso == Gso::Udp { 17 } else { 6 };
                packet[usize::from(l4) + 12] = 0x50;
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

    /// `packet` with some bytes changed.
    fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut changed = packet.to_vec();
        for &(at, value) in changes {
            changed[at] = value;
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
