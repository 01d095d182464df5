//! What a guard reads of a frame. It has to see whatever any receiver might see, so it looks further than the hot path
//! does: through tags and SNAP headers (CVE-2021-27853 and its siblings hid router advertisements there), and through
//! every extension header (RFC 7113).

use crate::packet::{Frame, Gso};
use crate::wire::address::Address;
use crate::wire::{be16, ethernet, ipv4, ipv6};

/// EtherTypes of tags: the standard's, and those of before there was one.
const TAGS: [u16; 5] = [ethernet::VLAN, ethernet::QINQ, 0x9100, 0x9200, 0x9300];
/// Most tags and SNAP headers looked through.
const MAX_TAGS: usize = 4;
/// What is less is no EtherType but the length of an 802.2 packet.
const FIRST_ETHER_TYPE: u16 = 0x600;
/// The 802.2 header that an EtherType follows, as RFC 1042 and as 802.1H has it.
const SNAP: [[u8; 6]; 2] = [[0xaa, 0xaa, 3, 0, 0, 0], [0xaa, 0xaa, 3, 0, 0, 0xf8]];

/// Most extension headers looked through. A node sends each but one at most once (RFC 8200 section 4.1).
const MAX_EXTENSIONS: usize = 16;
const AUTHENTICATION: u8 = 51;
/// Extension headers of the common form (RFC 6564): hop-by-hop options, routing, destination options, mobility, HIP,
/// shim6.
const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];

/// The EtherType of what a frame carries, 0 when it has none, and where that begins; `None` when the frame ends before,
/// or when it is behind more headers than are looked through.
pub(super) fn payload(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    for _ in 0..=MAX_TAGS {
        let ether_type = be16(frame.get(at..at + 2)?, 0);
        if TAGS.contains(&ether_type) {
            at += ethernet::TAG_LEN;
        } else if ether_type >= FIRST_ETHER_TYPE {
            return Some((ether_type, at + 2));
        } else if SNAP.iter().any(|snap| frame[at + 2..].starts_with(snap)) {
            at += 2 + SNAP[0].len();
        } else {
            return Some((0, at + 2));
        }
    }
    None
}

/// The headers of an IP packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// The protocol behind all extension headers; in a later fragment, what its header says.
    pub(super) protocol: u8,
    /// The packet was not cut, and none is one of several: no fragment, not even an atomic one, and no superframe.
    pub(super) whole: bool,
    /// What `protocol` is the protocol of; `None` in a later fragment, which has none.
    pub(super) upper: Option<&'a [u8]>,
}

impl Headers<'_> {
    /// Reads the packet that begins `at` bytes into `frame`. `None` when it is none of version 4, or contradicts itself.
    pub(super) fn ipv4(frame: &Frame, at: usize) -> Option<Headers<'_>> {
        let packet = frame.bytes().get(at..)?;
        let header_len = ipv4::header_len(packet)?;
        let superframe = frame.offload.gso != Gso::None;
        let total_len = match usize::from(ipv4::total_len(packet)) {
            0 if superframe => packet.len(),
            len => len,
        };
        let upper = packet.get(header_len..total_len)?;
        Some(Headers {
            source: ipv4::source(packet).into(),
            destination: ipv4::destination(packet).into(),
            protocol: ipv4::protocol(packet),
            whole: !superframe && !ipv4::is_fragment(packet),
            upper: (!ipv4::is_later_fragment(packet)).then_some(upper),
        })
    }

    /// The same for version 6. `None` also when the headers do not end in the packet, or in its first fragment (RFC 7112).
    pub(super) fn ipv6(frame: &Frame, at: usize) -> Option<Headers<'_>> {
        let packet = frame.bytes().get(at..).filter(|packet| packet.len() >= ipv6::HEADER_LEN)?;
        if packet[0] >> 4 != 6 {
            return None;
        }
        let superframe = frame.offload.gso != Gso::None;
        let packet = match usize::from(ipv6::payload_len(packet)) {
            0 if superframe => packet,
            len => packet.get(..ipv6::HEADER_LEN + len)?,
        };
        let mut headers = Headers {
            source: ipv6::source(packet).into(),
            destination: ipv6::destination(packet).into(),
            protocol: packet[6],
            whole: !superframe,
            upper: None,
        };
        let (mut at, mut cut) = (ipv6::HEADER_LEN, false);
        for _ in 0..=MAX_EXTENSIONS {
            let protocol = headers.protocol;
            let rest = packet.get(at..)?;
            let len = match protocol {
                ipv6::FRAGMENT if cut => return None, // no node cuts a fragment once more
                ipv6::FRAGMENT => ipv6::FRAGMENT_LEN,
                AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
                _ if EXTENSIONS.contains(&protocol) => (usize::from(*rest.get(1)?) + 1) * 8,
                _ => {
                    headers.upper = Some(rest);
                    return Some(headers);
                }
            };
            let header = rest.get(..len)?;
            headers.protocol = header[0];
            at += len;
            if protocol == ipv6::FRAGMENT {
                (cut, headers.whole) = (true, false);
                if be16(header, 2) & 0xfff8 != 0 {
                    return Some(headers);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(types: &[&[u8]]) -> Vec<u8> {
        [&[2; 12][..], &types.concat()].concat()
    }

    #[test]
    fn the_ether_type_is_found_behind_tags_and_snap() {
        const TAG: &[u8] = &[0x81, 0, 0, 5];
        const OLD: &[u8] = &[0x91, 0, 0, 5];
        const SNAP: &[u8] = &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0];
        const BRIDGED: &[u8] = &[5, 0xff, 0xaa, 0xaa, 3, 0, 0, 0xf8];
        for (types, found) in [
            (&[][..], Some(14)),
            (&[TAG], Some(18)),
            (&[TAG, OLD, TAG, TAG], Some(30)),
            (&[SNAP], Some(22)),
            (&[TAG, SNAP], Some(26)),
            (&[SNAP, TAG, BRIDGED], Some(34)),
            (&[TAG; 5], None),
            (&[SNAP; 5], None),
        ] {
            let bytes = frame(&[types.concat().as_slice(), &[0x86, 0xdd]]);
            assert_eq!(payload(&bytes), found.map(|at| (0x86dd, at)), "{bytes:02x?}");
            assert_eq!(payload(&bytes[..bytes.len() - 1]), None, "cut off");
        }
        assert_eq!(payload(&frame(&[&[0, 3, 0x42, 0x42, 3]])), Some((0, 14)), "802.2, a spanning tree");
        assert_eq!(
            payload(&frame(&[&[0, 8, 0xaa, 0xaa, 3, 0, 0, 12, 0x20, 0]])),
            Some((0, 14)),
            "another's SNAP"
        );
    }

    /// An IPv6 packet with these extension headers before 16 bytes of `last`.
    fn chain(extensions: &[(u8, [u8; 8])], last: u8) -> Frame {
        let mut bytes =
            frame(&[&[0x86, 0xdd, 0x60, 0, 0, 0, 0, (extensions.len() * 8 + 16) as u8, last, 64], &[7; 32]]);
        let mut next_at = 20;
        for (kind, header) in extensions {
            bytes[next_at] = *kind;
            next_at = bytes.len();
            bytes.extend([&[last], &header[1..]].concat());
        }
        bytes.extend([0x5a; 16]);
        Frame::from_bytes(&bytes)
    }

    #[test]
    fn every_extension_header_is_looked_through() {
        for kind in [0, 43, 60, 135, 139, 140] {
            let headers = chain(&[(kind, [0; 8]); 16], 58);
            let headers = Headers::ipv6(&headers, 14).unwrap();
            assert_eq!(
                (headers.protocol, headers.whole, headers.upper.map(<[_]>::len)),
                (58, true, Some(16))
            );
            assert_eq!(Headers::ipv6(&chain(&[(kind, [0; 8]); 17], 58), 14), None);
            // A header that says to be longer than the packet is.
            assert_eq!(Headers::ipv6(&chain(&[(kind, [0, 9, 0, 0, 0, 0, 0, 0])], 58), 14), None);
        }
        let frame = chain(&[(0, [0; 8]), (51, [0; 8]), (60, [0; 8])], 17);
        assert_eq!(Headers::ipv6(&frame, 14).map(|headers| headers.protocol), Some(17));
        for kind in [50, 59, 6, 132, 253] {
            let frame = chain(&[], kind);
            assert_eq!(Headers::ipv6(&frame, 14).map(|headers| headers.protocol), Some(kind));
        }
    }

    #[test]
    fn of_fragments_the_first_has_an_upper_layer() {
        let fragment = |offset_and_more: u16| {
            let [high, low] = offset_and_more.to_be_bytes();
            (44, [0, 0, high, low, 0, 0, 0, 1])
        };
        for (extensions, has_upper) in [
            (&[fragment(0)][..], true), // atomic
            (&[fragment(1)], true),
            (&[(60, [0; 8]), fragment(1), (60, [0; 8])], true),
            (&[fragment(8)], false),
            (&[fragment(9), (60, [0; 8])], false),
        ] {
            let frame = chain(extensions, 58);
            let headers = Headers::ipv6(&frame, 14).unwrap();
            assert_eq!((headers.whole, headers.upper.is_some()), (false, has_upper), "{extensions:02x?}");
        }
        assert_eq!(Headers::ipv6(&chain(&[fragment(0), fragment(0)], 58), 14), None, "cut twice");
    }
}
