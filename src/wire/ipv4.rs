//! IPv4 headers (RFC 791): where one ends, and the fields that cutting a superframe changes.

use super::{be16, checksum, set_be16};

/// The EtherType of IPv4.
pub const ETHER_TYPE: u16 = 0x0800;
/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

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

/// Whether this is a part of a fragmented packet, the first included.
#[inline]
pub fn is_fragment(header: &[u8]) -> bool {
    be16(header, 6) & 0x3fff != 0
}

/// The number of the protocol behind the header.
#[inline]
pub fn protocol(header: &[u8]) -> u8 {
    header[9]
}

/// Makes `header` (options included, nothing behind them) that of segment `index` of its packet, `total_len` bytes
/// long: its length, its identification (the packet's + `index`) and its checksum.
#[inline]
pub fn make_segment(header: &mut [u8], index: u16, total_len: u16) {
    set_be16(header, 2, total_len);
    set_be16(header, 4, be16(header, 4).wrapping_add(index));
    set_be16(header, 10, 0);
    set_be16(header, 10, checksum::finish(checksum::sum(header, 0)));
}
