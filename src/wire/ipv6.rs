//! IPv6 headers (RFC 8200): where the extension headers end, and the fields that a switch reads or edits in place.

use core::net::Ipv6Addr;

use super::{be16, set_be16};

/// The EtherType of IPv6.
pub const ETHER_TYPE: u16 = 0x86dd;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// The least MTU that every link has (section 5).
pub const MIN_MTU: usize = 1280;

/// The number of the fragment header, see [`upper_layer`].
pub const FRAGMENT: u8 = 44;
/// Bytes of the fragment header (section 4.5).
pub const FRAGMENT_LEN: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// Most extension headers passed over: as many of these kinds as RFC 8200 section 4.1 has in its order.
const MAX_EXTENSIONS: usize = 4;

/// The protocol behind the extension headers and where it begins, which is at most `packet`'s length. Passed over are
/// the headers that every part of a cut packet may carry: hop-by-hop options, routing, destination options. Any other
/// header counts as the protocol. `None` when `packet` is none of version 6, ends too early, or has more than four.
#[inline]
pub fn upper_layer(packet: &[u8]) -> Option<(u8, usize)> {
    let next = *packet.get(6)?;
    if packet[0] >> 4 != 6 {
        return None;
    }
    behind_extensions(packet, next, HEADER_LEN)
}

/// The same of a packet whose header at `at` is of the kind `next`: what a fragment header has behind it.
#[inline]
pub fn behind_extensions(packet: &[u8], mut next: u8, mut at: usize) -> Option<(u8, usize)> {
    for _ in 0..=MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            return (at <= packet.len()).then_some((next, at));
        }
        let header = packet.get(at..at + 2)?;
        next = header[0];
        at += (usize::from(header[1]) + 1) * 8;
    }
    None
}

/// Where the number stands that names the header at `at`, which [`upper_layer`] found, behind a fragment header or not:
/// in the header before.
pub fn next_header_at(packet: &[u8], at: usize) -> usize {
    let (mut field, mut header) = (6, HEADER_LEN);
    while header < at && header + 2 <= packet.len() {
        let len = match packet[field] {
            FRAGMENT => FRAGMENT_LEN,
            _ => (usize::from(packet[header + 1]) + 1) * 8,
        };
        (field, header) = (header, header + len);
    }
    field
}

/// Whether `headers`, the fixed one and its extensions, ask for a way of their own (RFC 8200 section 4.4).
pub fn has_routing_header(headers: &[u8]) -> bool {
    let (mut next, mut at) = (headers.get(6).copied(), HEADER_LEN);
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            Some(ROUTING) => return true,
            Some(HOP_BY_HOP | DESTINATION_OPTIONS) => {
                next = headers.get(at).copied();
                at += headers.get(at + 1).map_or(0, |len| (usize::from(*len) + 1) * 8);
            }
            _ => return false,
        }
    }
    false
}

/// Where a fragment header goes: behind the headers that routers on the way look at, hop-by-hop options and routing and
/// what is before them (section 4.5). `None` as for [`upper_layer`].
pub fn fragmentable(packet: &[u8]) -> Option<usize> {
    upper_layer(packet)?;
    let (mut next, mut at, mut found) = (packet[6], HEADER_LEN, HEADER_LEN);
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        let header = packet.get(at..at + 2)?;
        at += (usize::from(header[1]) + 1) * 8;
        if next != DESTINATION_OPTIONS {
            found = at;
        }
        next = header[0];
    }
    Some(found)
}

/// The payload length: bytes behind the fixed header, extension headers included.
///
/// # Panics
/// When `header` is shorter than [`HEADER_LEN`]; so does everything below.
#[inline]
pub fn payload_len(header: &[u8]) -> u16 {
    be16(header, 4)
}

/// Sets the payload length.
#[inline]
pub fn set_payload_len(header: &mut [u8], len: u16) {
    set_be16(header, 4, len);
}

/// The traffic class: DSCP and ECN.
#[inline]
pub fn traffic_class(header: &[u8]) -> u8 {
    (be16(header, 0) >> 4) as u8
}

/// Sets the traffic class.
#[inline]
pub fn set_traffic_class(header: &mut [u8], class: u8) {
    set_be16(header, 0, be16(header, 0) & 0xf00f | u16::from(class) << 4);
}

/// How many hops are left to the packet.
#[inline]
pub fn hop_limit(header: &[u8]) -> u8 {
    header[7]
}

/// Sets how many hops are left.
#[inline]
pub fn set_hop_limit(header: &mut [u8], hop_limit: u8) {
    header[7] = hop_limit;
}

/// Who sent it.
#[inline]
pub fn source(header: &[u8]) -> Ipv6Addr {
    address(header, 8)
}

/// Whom it is for.
#[inline]
pub fn destination(header: &[u8]) -> Ipv6Addr {
    address(header, 24)
}

#[inline]
fn address(header: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet whose extension headers are of these kinds, each 8 bytes long but the last, which is 16; then UDP.
    fn packet(extensions: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_LEN];
        packet[0] = 0x60;
        let mut next_at = 6;
        for (i, kind) in extensions.iter().enumerate() {
            packet[next_at] = *kind;
            next_at = packet.len();
            let last = i + 1 == extensions.len();
            packet.resize(next_at + if last { 16 } else { 8 }, 0);
            packet[next_at + 1] = last.into();
        }
        packet[next_at] = 17;
        packet
    }

    #[test]
    fn the_upper_layer_is_found_behind_extension_headers() {
        assert_eq!(upper_layer(&packet(&[])), Some((17, 40)));
        assert_eq!(upper_layer(&packet(&[0])), Some((17, 56)));
        assert_eq!(upper_layer(&packet(&[0, 60, 43, 60])), Some((17, 80)));
        assert_eq!(upper_layer(&packet(&[0, 60, 43, 60, 60])), None);
        assert_eq!(
            upper_layer(&packet(&[0, 44, 60])),
            Some((44, 48)),
            "a fragment header is nothing to look behind"
        );
    }

    #[test]
    fn the_field_that_names_a_header_is_in_the_one_before() {
        for (extensions, fields) in
            [(&[][..], &[6][..]), (&[0], &[6, 40]), (&[0, 43], &[6, 40, 48]), (&[44, 60], &[6, 40, 48])]
        {
            let mut packet = packet(extensions);
            if let [44, ..] = extensions {
                packet[41] = 9; // which is no length
            }
            let headers = [40, 48, 56];
            for (at, field) in headers.into_iter().zip(fields).take(extensions.len()) {
                assert_eq!(next_header_at(&packet, at), *field, "{extensions:?}");
            }
            assert_eq!(next_header_at(&packet, packet.len()), fields[fields.len() - 1], "{extensions:?}");
        }
        assert_eq!(next_header_at(&[0; HEADER_LEN], 48), 6, "a packet that ends before");
    }

    #[test]
    fn a_packet_that_ends_early_or_is_of_another_version_has_none() {
        let packet = packet(&[0, 43]);
        for end in 0..packet.len() {
            assert_eq!(upper_layer(&packet[..end]), None, "{end} bytes");
        }
        assert_eq!(upper_layer(&packet), Some((17, packet.len())));
        let version_4 = [&[0x40], &packet[1..]].concat();
        assert_eq!(upper_layer(&version_4), None);
    }

    #[test]
    fn a_fragment_header_goes_behind_what_routers_look_at() {
        for (extensions, expected) in [
            (&[][..], 40),
            (&[60], 40),
            (&[0], 56),
            (&[0, 60], 48),
            (&[0, 60, 43], 72),
            (&[60, 43, 60], 56),
            (&[0, 60, 43, 60], 64),
        ] {
            assert_eq!(fragmentable(&packet(extensions)), Some(expected), "{extensions:?}");
        }
        let packet = packet(&[0, 60, 43, 60]);
        for end in 0..packet.len() {
            assert_eq!(fragmentable(&packet[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn the_traffic_class_stands_between_version_and_flow_label() {
        let mut header = [0xa5; HEADER_LEN];
        header[..2].copy_from_slice(&[0x6b, 0x8f]);
        assert_eq!((traffic_class(&header), hop_limit(&header)), (0xb8, 0xa5));
        set_traffic_class(&mut header, 0x01);
        assert_eq!(header[..3], [0x60, 0x1f, 0xa5]);
        assert_eq!(traffic_class(&header), 0x01);
    }

    #[test]
    fn the_addresses_are_the_rest_of_the_fixed_header() {
        let mut header = [0; HEADER_LEN];
        (header[8], header[23], header[24], header[39]) = (0xfd, 1, 0xfe, 2);
        assert_eq!(
            (source(&header).to_string(), destination(&header).to_string()),
            ("fd00::1".into(), "fe00::2".into())
        );
    }

    #[test]
    fn the_payload_length_is_the_fifth_and_sixth_byte() {
        let mut header = [0xa5; HEADER_LEN];
        set_payload_len(&mut header, 0x1234);
        assert_eq!(payload_len(&header), 0x1234);
        assert_eq!(header[3..7], [0xa5, 0x12, 0x34, 0xa5]);
    }
}
