//! UDP headers (RFC 768): the field that cutting a superframe changes, and merging.

use super::{be16, set_be16};

/// The protocol's number in an IP header.
pub const PROTOCOL: u8 = 17;
/// Bytes of a header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field is.
pub const CHECKSUM_AT: usize = 6;

/// The length: bytes of header and payload.
///
/// # Panics
/// When `header` is shorter than [`HEADER_LEN`]; so does [`set_len`].
#[inline]
pub fn len(header: &[u8]) -> u16 {
    be16(header, 4)
}

/// Sets the length.
#[inline]
pub fn set_len(header: &mut [u8], len: u16) {
    set_be16(header, 4, len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_the_fifth_and_sixth_byte() {
        let mut header = [0xa5; HEADER_LEN];
        set_len(&mut header, 0x0102);
        assert_eq!(header, [0xa5, 0xa5, 0xa5, 0xa5, 1, 2, 0xa5, 0xa5]);
        assert_eq!(len(&header), 0x0102);
    }
}
