//! TCP headers (RFC 9293): where one ends, and the fields that a switch reads or edits in place.

use super::be16;

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
/// Flag: congestion was met on the way (RFC 3168).
pub const ECE: u8 = 0x40;
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

/// The sequence number that is expected next; without [`ACK`] it means nothing.
#[inline]
pub fn acknowledgment(header: &[u8]) -> u32 {
    u32::from_be_bytes([header[8], header[9], header[10], header[11]])
}

/// The number of the byte that the sender waits for.
#[inline]
pub fn acknowledgement(header: &[u8]) -> u32 {
    u32::from_be_bytes([header[8], header[9], header[10], header[11]])
}

/// The window, not yet scaled.
#[inline]
pub fn window(header: &[u8]) -> u16 {
    be16(header, 14)
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

/// Whether `l4` begins with a header that has the SYN flag; not if it ends before the flags.
#[inline]
pub fn is_syn(l4: &[u8]) -> bool {
    l4.get(13).is_some_and(|flags| flags & SYN != 0)
}

/// Where in `header`, which ends with its options, the number of the first MSS option stands (section 3.7.1). `None`
/// when there is none, and when the options before it are malformed.
pub fn mss_at(header: &[u8]) -> Option<usize> {
    const MSS: u8 = 2;
    option_at(header, MSS, 4)
}

/// By how many bits the windows of a SYN's sender are scaled (RFC 7323 section 2.2), at most 14. `None` when `header`, which
/// ends with its options, does not say, or is malformed before.
pub fn window_scale(header: &[u8]) -> Option<u8> {
    const WINDOW_SCALE: u8 = 3;
    Some((*header.get(option_at(header, WINDOW_SCALE, 3)?)?).min(14))
}

/// Where the value of the first option of this kind and length begins.
fn option_at(header: &[u8], wanted: u8, wanted_len: u8) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    let mut at = MIN_HEADER_LEN;
    loop {
        match *header.get(at..)? {
            [END, ..] => return None,
            [NO_OPERATION, ..] => at += 1,
            [kind, len, ..] if kind == wanted && len == wanted_len => {
                return (at + usize::from(len) <= header.len()).then_some(at + 2);
            }
            [_, len, ..] if len >= 2 => at += usize::from(len),
            _ => return None,
        }
    }
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
    fn the_mss_is_found_among_whatever_options_there_are() {
        let mss_in = |options: &[u8]| mss_at(&[&[0xa5; MIN_HEADER_LEN], options].concat());
        assert_eq!(mss_in(&[2, 4, 0x05, 0xb4]), Some(22));
        assert_eq!(mss_in(&[1, 1, 8, 10, 2, 4, 2, 4, 2, 4, 2, 4, 1, 2, 4, 0x05, 0xb4, 0]), Some(35));
        assert_eq!(mss_in(&[4, 2, 2, 4, 0x05, 0xb4, 2, 4, 0, 1]), Some(24), "the first of two");
        for none in [
            &[][..],
            &[0, 2, 4, 0x05, 0xb4],
            &[2, 4, 0x05],
            &[2, 3, 0x05, 0xb4],
            &[2, 5, 0x05, 0xb4],
            &[3, 0, 2, 4, 0x05, 0xb4],
            &[3, 1, 2, 4, 0x05, 0xb4],
            &[3, 255, 2, 4, 0x05, 0xb4],
            &[1, 1, 1, 3],
        ] {
            assert_eq!(mss_in(none), None, "{none:?}");
        }
        assert_eq!(mss_at(&[0; MIN_HEADER_LEN - 1]), None);
    }

    #[test]
    fn a_syn_is_told_by_its_flag() {
        let mut l4 = [0xff; 14];
        assert!(is_syn(&l4) && !is_syn(&l4[..13]) && !is_syn(&[]));
        clear_flags(&mut l4, SYN);
        assert!(!is_syn(&l4));
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
