//! TCP headers (RFC 9293): where one ends, and the fields that cutting a superframe changes.

/// The protocol's number in an IP header.
pub const PROTOCOL: u8 = 6;
/// Where the checksum field is.
pub const CHECKSUM_AT: usize = 16;
/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: push what has arrived to the application.
pub const PSH: u8 = 0x08;
/// Flag: the congestion window was reduced (RFC 3168).
pub const CWR: u8 = 0x80;

/// Bytes of a header without options.
const MIN_HEADER_LEN: usize = 20;

/// Bytes of the header that `l4` begins with, as its data offset says: 20 to 60, and maybe more than `l4` has. `None`
/// when it says less than 20 or `l4` ends before it.
#[inline]
pub fn header_len(l4: &[u8]) -> Option<usize> {
    let len = usize::from(*l4.get(12)? >> 4) * 4;
    (len >= MIN_HEADER_LEN).then_some(len)
}

/// Moves the sequence number on by `bytes`.
///
/// # Panics
/// When `header` is shorter than 20 bytes; so does [`clear_flags`].
#[inline]
pub fn advance_sequence(header: &mut [u8], bytes: u32) {
    let old = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    header[4..8].copy_from_slice(&old.wrapping_add(bytes).to_be_bytes());
}

/// Clears the flags that are set in `flags`.
#[inline]
pub fn clear_flags(header: &mut [u8], flags: u8) {
    header[13] &= !flags;
}
