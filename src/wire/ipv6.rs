//! IPv6 headers (RFC 8200): the payload length, and where the extension headers end.

use super::{be16, set_be16};

/// The EtherType of IPv6.
pub const ETHER_TYPE: u16 = 0x86dd;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// The payload length: bytes behind the fixed header, extension headers included.
///
/// # Panics
/// When `header` is shorter than [`HEADER_LEN`]; so does [`set_payload_len`].
#[inline]
pub fn payload_len(header: &[u8]) -> u16 {
    be16(header, 4)
}

/// Sets the payload length.
#[inline]
pub fn set_payload_len(header: &mut [u8], len: u16) {
    set_be16(header, 4, len);
}
