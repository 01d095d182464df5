//! TCP headers (RFC 9293): where one ends, and the fields that cutting a superframe changes.

/// The protocol's number in an IP header.
pub const PROTOCOL: u8 = 6;
/// Where the checksum field is.
pub const CHECKSUM_AT: usize = 16;
/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: the first packet of a connection, whose sequence number begins it.
pub const SYN: u8 = 0x02;
/// Flag: the connection is reset.
pub const RST: u8 = 0x04;
/// Flag: push what has arrived to the application.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgement number means something, as it does on all packets but the first.
pub const ACK: u8 = 0x10;
/// Flag: the urgent pointer means something.
pub const URG: u8 = 0x20;
/// Flag: the congestion window was reduced (RFC 3168).
pub const CWR: u8 = 0x80;

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Bytes of a header with as many options as fit.
pub const MAX_HEADER_LEN: usize = 60;

/// Bytes of the header that `l4` begins with, as its data offset says: 20 to 60, maybe more than `l4` has. `None`
/// when it says less than 20 or `l4` ends before it.
#[inline]
pub fn header_len(l4: &[u8]) -> Option<usize> {
    let len = usize::from(*l4.get(12)? >> 4) * 4;
    (len >= MIN_HEADER_LEN).then_some(len)
}

/// The sequence number of the first byte of payload.
///
/// # Panics
/// When `header` is shorter than [`MIN_HEADER_LEN`]; so does everything below.
#[inline]
pub fn sequence(header: &[u8]) -> u32 {
    u32::from_be_bytes([header[4], header[5], header[6], header[7]])
}

/// Moves the sequence number on by `bytes`.
#[inline]
pub fn advance_sequence(header: &mut [u8], bytes: u32) {
    let new = sequence(header).wrapping_add(bytes);
    header[4..8].copy_from_slice(&new.to_be_bytes());
}

/// The flags, but for the one that RFC 9768 took from the reserved bits.
#[inline]
pub fn flags(header: &[u8]) -> u8 {
    header[13]
}

/// Sets the flags that are set in `flags`.
#[inline]
pub fn set_flags(header: &mut [u8], flags: u8) {
    header[13] |= flags;
}

/// Clears the flags that are set in `flags`.
#[inline]
pub fn clear_flags(header: &mut [u8], flags: u8) {
    header[13] &= !flags;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_offset_is_read_and_bounded() {
        for words in 0..16u8 {
            let mut l4 = [0xff; 13];
            l4[12] = words << 4 | 0xf;
            assert_eq!(header_len(&l4), (words >= 5).then_some(usize::from(words) * 4));
            assert_eq!(header_len(&l4[..12]), None);
        }
        assert_eq!(header_len(&[]), None);
    }

    #[test]
    fn the_sequence_wraps_and_only_the_named_flags_go() {
        let mut header = [0xff; MIN_HEADER_LEN];
        advance_sequence(&mut header, 0x101);
        clear_flags(&mut header, FIN | PSH);
        let mut expected = [0xff; MIN_HEADER_LEN];
        expected[4..8].copy_from_slice(&[0, 0, 1, 0]);
        expected[13] = 0xf6;
        assert_eq!(header, expected);
        assert_eq!((sequence(&header), flags(&header)), (0x100, 0xf6));
        set_flags(&mut header, PSH);
        assert_eq!(flags(&header), 0xfe);
    }
}
