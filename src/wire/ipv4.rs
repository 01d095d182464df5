//! IPv4 headers (RFC 791): where one ends, and the fields that a switch reads or edits in place.

use core::net::Ipv4Addr;

use super::{be16, checksum, set_be16};

/// The EtherType of IPv4.
pub const ETHER_TYPE: u16 = 0x0800;
/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Where the header's checksum is.
pub const CHECKSUM_AT: usize = 10;

/// Bytes of the header that `packet` begins with; `None` when it is none of version 4, says less than
/// [`MIN_HEADER_LEN`] or does not lie in `packet` whole.
#[inline]
pub fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let len = usize::from(first & 0xf) * 4;
    (first >> 4 == 4 && (MIN_HEADER_LEN..=packet.len()).contains(&len)).then_some(len)
}

/// The total length: bytes of header and payload.
///
/// # Panics
/// When `header` is shorter than [`MIN_HEADER_LEN`]; so does everything below.
#[inline]
pub fn total_len(header: &[u8]) -> u16 {
    be16(header, 2)
}

/// The TOS: DSCP and ECN.
#[inline]
pub fn tos(header: &[u8]) -> u8 {
    header[1]
}

/// Sets the TOS, and brings the checksum up to date.
#[inline]
pub fn set_tos(header: &mut [u8], tos: u8) {
    let old = be16(header, 0);
    let new = old & 0xff00 | u16::from(tos);
    set_be16(header, 0, new);
    set_be16(header, CHECKSUM_AT, checksum::update(be16(header, CHECKSUM_AT), old, new));
}

/// Whether the checksum of `header`, options included, is right. Quicker than a sum of any bytes: it is asked of every
/// packet that is routed.
#[inline]
pub fn checksum_holds(header: &[u8]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let sum = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
    // Fifteen words at most: the carries fit the upper half.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    checksum::fold(((sum & 0xffff) + (sum >> 16)) as u32) == 0xffff
}

/// The identification: what the parts of a fragmented packet have in common.
#[inline]
pub fn identification(header: &[u8]) -> u16 {
    be16(header, 4)
}

/// Whether the packet must not be fragmented (DF). The identification of such a packet means nothing (RFC 6864).
#[inline]
pub fn dont_fragment(header: &[u8]) -> bool {
    header[6] & 0x40 != 0
}

/// Whether this is a part of a fragmented packet, the first included.
#[inline]
pub fn is_fragment(header: &[u8]) -> bool {
    be16(header, 6) & 0x3fff != 0
}

/// Whether this is a part of a fragmented packet but not the first, so that no L4 header is behind.
#[inline]
pub fn is_later_fragment(header: &[u8]) -> bool {
    be16(header, 6) & 0x1fff != 0
}

/// How many hops are left to the packet.
#[inline]
pub fn ttl(header: &[u8]) -> u8 {
    header[8]
}

/// Sets how many hops are left, and brings the checksum up to date.
#[inline]
pub fn set_ttl(header: &mut [u8], ttl: u8) {
    let old = be16(header, 8);
    let new = old & 0x00ff | u16::from(ttl) << 8;
    set_be16(header, 8, new);
    set_be16(header, CHECKSUM_AT, checksum::update(be16(header, CHECKSUM_AT), old, new));
}

/// The number of the protocol behind the header.
#[inline]
pub fn protocol(header: &[u8]) -> u8 {
    header[9]
}

/// Who sent it.
#[inline]
pub fn source(header: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(header[12], header[13], header[14], header[15])
}

/// Whom it is for.
#[inline]
pub fn destination(header: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(header[16], header[17], header[18], header[19])
}

/// Whether `header`, options included, asks for a way of its own: loose or strict source route.
pub fn has_source_route(header: &[u8]) -> bool {
    let mut at = MIN_HEADER_LEN;
    loop {
        match header.get(at..) {
            Some([0, ..] | []) | None => return false,
            Some([1, ..]) => at += 1,
            Some([131 | 137, ..]) => return true,
            Some([_, len, ..]) if *len >= 2 => at += usize::from(*len),
            Some(_) => return false,
        }
    }
}

/// Makes `header` (options included, nothing behind them) that of segment `index` of its packet, `total_len` bytes
/// long: its length, its identification (the packet's + `index`) and its checksum.
#[inline]
pub fn make_segment(header: &mut [u8], index: u16, total_len: u16) {
    set_be16(header, 2, total_len);
    set_be16(header, 4, be16(header, 4).wrapping_add(index));
    set_be16(header, CHECKSUM_AT, 0);
    set_be16(header, CHECKSUM_AT, checksum::finish(checksum::sum(header, 0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with the option "router alert" (RFC 2113); its checksum is left out.
    const HEADER: [u8; 24] =
        [0x46, 0, 0, 24, 0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x94, 0x04, 0, 0];

    #[test]
    fn the_header_ends_where_it_says_and_not_behind_the_packet() {
        assert_eq!(header_len(&HEADER), Some(24));
        for end in 0..HEADER.len() {
            assert_eq!(header_len(&HEADER[..end]), None, "{end} bytes");
        }
        let with_first = |first| header_len(&[&[first], &[0; 63][..]].concat());
        assert_eq!(with_first(0x45), Some(20));
        assert_eq!(with_first(0x4f), Some(60));
        for bad in [0x00, 0x40, 0x44, 0x55, 0x65, 0xc5] {
            assert_eq!(with_first(bad), None, "{bad:#x}");
        }
    }

    #[test]
    fn fields_are_read_where_they_stand() {
        assert_eq!((total_len(&HEADER), protocol(&HEADER), ttl(&HEADER)), (24, 6, 64));
        assert_eq!(identification(&HEADER), 0xfffe);
        assert_eq!(
            (source(&HEADER), destination(&HEADER)),
            (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
        );
        for (high, low, fragment, later, whole) in [
            (0x40, 0, false, false, true),
            (0x80, 0, false, false, false),
            (0x20, 0, true, false, false),
            (0x60, 0, true, false, true),
            (0, 1, true, true, false),
            (0x1f, 0, true, true, false),
        ] {
            let mut header = HEADER;
            header[6..8].copy_from_slice(&[high, low]);
            assert_eq!(is_fragment(&header), fragment, "{high:#x} {low:#x}");
            assert_eq!(is_later_fragment(&header), later, "{high:#x} {low:#x}");
            assert_eq!(dont_fragment(&header), whole, "{high:#x} {low:#x}");
        }
    }

    #[test]
    fn the_checksum_follows_the_tos() {
        let mut header = HEADER;
        make_segment(&mut header, 0, 24);
        for tos_now in [0x01, 0xff, 0xb8, 0x00] {
            set_tos(&mut header, tos_now);
            assert_eq!((tos(&header), header[0]), (tos_now, 0x46));
            assert_eq!(checksum::fold(checksum::sum(&header, 0)), 0xffff);
        }
    }

    #[test]
    fn a_checksum_that_is_not_right_is_found_out() {
        let mut header = HEADER;
        assert!(!checksum_holds(&header));
        make_segment(&mut header, 0, 24);
        assert!(checksum_holds(&header));
        for at in 0..header.len() {
            let mut wrong = header;
            wrong[at] ^= 0x10;
            assert!(!checksum_holds(&wrong), "byte {at}");
        }
        assert!(checksum_holds(&[0xff; 60]) && !checksum_holds(&[0; 60]));
    }

    #[test]
    fn the_ttl_is_set_and_the_checksum_follows() {
        let mut header = HEADER;
        make_segment(&mut header, 0, 24);
        for left in [63, 0, 255, 1] {
            set_ttl(&mut header, left);
            assert_eq!((ttl(&header), protocol(&header)), (left, 6));
            assert!(checksum_holds(&header));
        }
    }

    #[test]
    fn a_segment_gets_its_length_and_identification_and_a_valid_checksum() {
        let mut header = HEADER;
        header[10..12].fill(0xa5);
        make_segment(&mut header, 3, 0x05dc);
        assert_eq!(header[2..6], [0x05, 0xdc, 0x00, 0x01]);
        assert_eq!(checksum::fold(checksum::sum(&header, 0)), 0xffff);
        assert_eq!(header[12..], HEADER[12..]);
    }
}
