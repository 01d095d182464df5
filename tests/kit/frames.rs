//! Frames to send and an oracle for those that come out.

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, PayloadSlice, TransportHeader};
use tapyard::packet::{Gso, Offload, Vid};
use tapyard::switch::Port;
use tapyard::table::fdb::Station;
use tapyard::wire::ethernet::Mac;

use super::Sent;

/// Address number `n`.
pub(crate) fn mac(n: u32) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | u64::from(n))
}

pub(crate) fn station(n: u32, vid: Vid) -> Station {
    Station::new(mac(n), vid)
}

/// A frame of 60 bytes from station `from` to `to`.
pub(crate) fn frame(to: Mac, from: Mac) -> Vec<u8> {
    let mut bytes = [to.octets(), from.octets()].concat();
    bytes.extend([0x88, 0xb5]);
    bytes.extend((0..46).map(|i| i ^ 0xa5));
    bytes
}

/// From station `from` to station `to`.
pub(crate) fn unicast(to: u32, from: u32) -> Vec<u8> {
    frame(mac(to), mac(from))
}

pub(crate) fn broadcast(from: u32) -> Vec<u8> {
    frame(Mac::BROADCAST, mac(from))
}

/// The frame with a tag put in, as the outermost.
pub(crate) fn tag(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// The frame with an 802.1Q tag.
pub(crate) fn dot1q(frame: &[u8], tci: u16) -> Vec<u8> {
    tag(frame, 0x8100, tci)
}

/// What a generated packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum L4 {
    Tcp,
    Udp,
}

/// A packet of `payload` bytes with finished checksums, from station `from` to `to`.
pub(crate) fn packet(to: Mac, from: Mac, v6: bool, l4: L4, payload: usize) -> Vec<u8> {
    let payload: Vec<_> = (0..payload).map(|i| (i * 7 + i / 251) as u8).collect();
    let ethernet = PacketBuilder::ethernet2(from.octets(), to.octets());
    let mut bytes = Vec::new();
    let ip = if v6 {
        ethernet.ipv6([1; 16], [2; 16], 64)
    } else {
        ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
    };
    let written = match l4 {
        L4::Tcp => ip.tcp(1000, 80, 0xffff_f000, 500).ack(7).psh().write(&mut bytes, &payload),
        L4::Udp => ip.udp(1000, 53).write(&mut bytes, &payload),
    };
    written.expect("a vector takes anything");
    bytes
}

/// Edits the IPv4 header of an untagged packet, whose checksum is then right again.
pub(crate) fn edit_ipv4(packet: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let header = &mut packet[14..34];
    edit(header);
    header[10..12].fill(0);
    let mut sum = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// Where the L4 header of an untagged [`packet`] begins.
pub(crate) fn l4_start(v6: bool) -> u16 {
    if v6 { 54 } else { 34 }
}

/// The packet with its checksum left to the device, and the offload state that says so; with a `gso_size`, as a
/// superframe of such segments.
pub(crate) fn unfinished(mut packet: Vec<u8>, v6: bool, l4: L4, gso_size: u16) -> (Vec<u8>, Offload) {
    let start = usize::from(l4_start(v6));
    let (offset, protocol, header) = match l4 {
        L4::Tcp => (16, 6, 20),
        L4::Udp => (6, 17, 8),
    };
    let addresses = if v6 { 22..54 } else { 26..34 };
    let mut sum =
        packet[addresses].chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum::<u64>();
    sum += protocol + (packet.len() - start) as u64;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    packet[start + offset..start + offset + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    let gso = match (gso_size, l4) {
        (0, _) => Gso::None,
        (_, L4::Udp) => Gso::Udp,
        (_, L4::Tcp) if v6 => Gso::TcpV6,
        (_, L4::Tcp) => Gso::TcpV4,
    };
    let header_len = if gso == Gso::None { 0 } else { start as u16 + header };
    let (csum_start, csum_offset) = (start as u16, offset as u16);
    let offload =
        Offload { needs_csum: true, gso, gso_size, header_len, csum_start, csum_offset, ..Offload::NONE };
    (packet, offload)
}

/// The L4 payload of a frame whose lengths and checksums are all right, as etherparse sees it.
#[track_caller]
pub(crate) fn verified(bytes: &[u8]) -> Vec<u8> {
    let headers = PacketHeaders::from_ethernet_slice(bytes).expect("headers that parse");
    let (transport, net) = (headers.transport.expect("an L4 header"), headers.net.expect("an IP header"));
    let (PayloadSlice::Tcp(payload) | PayloadSlice::Udp(payload)) = headers.payload else {
        panic!("neither TCP nor UDP: {bytes:02x?}")
    };
    if let NetHeaders::Ipv4(ip, _) = &net {
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
    }
    let (found, expected) = match (&transport, &net) {
        (TransportHeader::Tcp(tcp), NetHeaders::Ipv4(ip, _)) => {
            (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload))
        }
        (TransportHeader::Tcp(tcp), NetHeaders::Ipv6(ip, _)) => {
            (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload))
        }
        (TransportHeader::Udp(udp), NetHeaders::Ipv4(ip, _)) => {
            (udp.checksum, udp.calc_checksum_ipv4(ip, payload))
        }
        (TransportHeader::Udp(udp), NetHeaders::Ipv6(ip, _)) => {
            (udp.checksum, udp.calc_checksum_ipv6(ip, payload))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(Ok(found), expected.map_err(drop), "L4 checksum");
    payload.to_vec()
}

/// Where L3 begins: behind up to four tags.
pub(crate) fn l3_start(bytes: &[u8]) -> usize {
    let is_tag = |at: &usize| matches!(bytes.get(*at..*at + 2), Some([0x81, 0] | [0x88, 0xa8]));
    let tags = (12..).step_by(4).take_while(is_tag).count();
    if tags > 4 { 14 } else { 14 + 4 * tags }
}

/// What left fits the port it left by.
pub(crate) fn fits(port: &Port, Sent { bytes, offload, .. }: &Sent) {
    assert!(bytes.len() >= 14, "no runt leaves");
    assert!(port.capabilities.take(offload), "{offload:?}");
    let on_wire = match offload.gso {
        Gso::None => bytes.len(),
        _ => bytes.len().min(usize::from(offload.header_len) + usize::from(offload.gso_size)),
    };
    assert!(on_wire <= port.mtu as usize + l3_start(bytes), "{} bytes, MTU {}", bytes.len(), port.mtu);
    if offload.needs_csum {
        let field = usize::from(offload.csum_start) + usize::from(offload.csum_offset);
        assert!(usize::from(offload.csum_start) >= 14 && field + 2 <= bytes.len(), "{offload:?}");
    }
}
