//! Ancillary data of a message (cmsg(3)): what stands beside its bytes, written and read without a pointer.

use std::mem::size_of;

use libc::c_int;

/// Bytes of the header of one item: its length as the kernel's `size_t`, its level and its type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<c_int>();

/// Room for whatever the options that we set put beside one message.
pub(super) const ROOM: usize = 256;

/// The ancillary data of one message, as the kernel reads and writes it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Ancillary([u8; ROOM]);

impl Ancillary {
    pub(super) const EMPTY: Ancillary = Ancillary([0; ROOM]);

    /// Writes an item behind the first `len` bytes and gives how many there are then.
    #[inline]
    pub(super) fn put(&mut self, len: usize, level: c_int, kind: c_int, value: &[u8]) -> usize {
        let bytes = &mut self.0[len..len + space(value.len())];
        let (header, data) = bytes.split_at_mut(HEADER);
        header[..size_of::<usize>()].copy_from_slice(&(HEADER + value.len()).to_ne_bytes());
        header[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
        header[size_of::<usize>() + 4..].copy_from_slice(&kind.to_ne_bytes());
        data[..value.len()].copy_from_slice(value);
        len + space(value.len())
    }

    /// The items in the first `len` bytes: level, type and value. Ends at one whose length cannot be.
    #[inline]
    pub(super) fn items(&self, len: usize) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
        let mut rest = &self.0[..len.min(ROOM)];
        std::iter::from_fn(move || {
            let (header, _) = rest.split_at_checked(HEADER)?;
            let (len, names) = header.split_first_chunk::<{ size_of::<usize>() }>()?;
            let value = rest.get(HEADER..usize::from_ne_bytes(*len))?;
            rest = rest.get(space(value.len())..).unwrap_or_default();
            Some((number(names)?, number(&names[4..])?, value))
        })
    }
}

/// The int that `value` begins with, or the single byte that it is.
#[inline]
pub(super) fn number(value: &[u8]) -> Option<c_int> {
    match *value {
        [a, b, c, d, ..] => Some(c_int::from_ne_bytes([a, b, c, d])),
        [byte] => Some(c_int::from(byte)),
        _ => None,
    }
}

/// Bytes of an item whose value has `len`.
const fn space(len: usize) -> usize {
    (HEADER + len).next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_laid_out_as_the_kernel_does() {
        let mut ancillary = Ancillary([0xa5; ROOM]);
        let len = ancillary.put(0, libc::SOL_UDP, libc::UDP_SEGMENT, &1400u16.to_ne_bytes());
        let len = ancillary.put(len, libc::IPPROTO_IP, libc::IP_TTL, &7i32.to_ne_bytes());
        // SAFETY: these macros only compute.
        assert_eq!(len, unsafe { libc::CMSG_SPACE(2) + libc::CMSG_SPACE(4) } as usize);
        // SAFETY: as above.
        assert_eq!(ancillary.0[..8], (unsafe { libc::CMSG_LEN(2) } as usize).to_ne_bytes());
        let items: Vec<_> = ancillary.items(len).collect();
        let expected: [(i32, i32, &[u8]); 2] =
            [(17, 103, &1400u16.to_ne_bytes()), (0, 2, &7i32.to_ne_bytes())];
        assert_eq!(items, expected);
    }

    #[test]
    fn no_length_leads_out_of_the_buffer() {
        for len in [0usize, 1, HEADER - 1, ROOM + 1, usize::MAX] {
            let mut ancillary = Ancillary::EMPTY;
            ancillary.0[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(ancillary.items(ROOM).count(), 0, "{len}");
            assert_eq!(ancillary.items(usize::MAX).count(), 0, "{len}");
        }
        let mut ancillary = Ancillary::EMPTY;
        ancillary.0[..8].copy_from_slice(&ROOM.to_ne_bytes());
        assert_eq!(
            ancillary.items(ROOM).map(|(_, _, value)| value.len()).collect::<Vec<_>>(),
            [ROOM - HEADER]
        );
        for cut in 0..HEADER {
            assert_eq!(ancillary.items(cut).count(), 0, "{cut}");
        }
    }

    #[test]
    fn a_number_is_an_int_or_a_byte() {
        assert_eq!(number(&[0xb8]), Some(0xb8));
        assert_eq!(number(&(-2i32).to_ne_bytes()), Some(-2));
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[1, 2, 3]), None);
    }
}
