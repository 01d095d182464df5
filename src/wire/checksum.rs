//! The Internet checksum (RFC 1071).
//!
//! A sum here is a `u32` to which 16-bit numbers of the header may simply be added; [`fold`] brings it back to 16 bits.
//! Any sum that is congruent modulo 0xffff is the same sum, which is what everything below lives on: bytes are added as
//! 64-bit words in native order (RFC 1071 section 2), and only the folded result is turned to network order.
//!
//! A 64-bit word is its low half plus 2^32 times its high one. Each lane adds up whole words, letting them wrap, and
//! high halves; the sum of the low halves is then the difference, exact modulo 2^64 and so for anything shorter than
//! 16 GiB. That is three instructions per vector, none of which waits for a carry, and compilers vectorise it.

const LANES: usize = 8;
const BLOCK: usize = LANES * 8;

/// The sum of `bytes` as 16-bit numbers, an odd last byte being the upper half of one, and of `initial`.
#[inline]
pub fn sum(bytes: &[u8], initial: u32) -> u32 {
    let mut lanes = Lanes::default();
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        lanes.add(block);
    }
    lanes.finish(tail, initial)
}

/// The sum as a 16-bit number: carries added back in at the low end.
#[inline]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The checksum of what was summed: the sum's complement.
#[inline]
pub fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum in a header when one of the 16-bit numbers below it changes from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    finish(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}

#[derive(Default)]
struct Lanes {
    whole: [u64; LANES],
    high: [u64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            self.whole[i] = self.whole[i].wrapping_add(word);
            self.high[i] += word >> 32;
        }
    }

    #[inline(always)]
    fn finish(self, tail: &[u8], initial: u32) -> u32 {
        let whole = self.whole.iter().fold(0u64, |sum, lane| sum.wrapping_add(*lane));
        let high: u64 = self.high.iter().sum();
        let mut sum = whole.wrapping_sub(high << 32) + high;
        let (words, rest) = tail.as_chunks::<8>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            sum += u64::from(u32::from_ne_bytes(*half));
        }
        let (quarters, rest) = rest.as_chunks::<2>();
        for quarter in quarters {
            sum += u64::from(u16::from_ne_bytes(*quarter));
        }
        if let [last] = rest {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        u32::from(u16::from_be(fold(sum as u32))) + u32::from(fold(initial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 1, to the letter.
    fn by_the_book(bytes: &[u8], initial: u32) -> u16 {
        let pairs =
            bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
        let mut sum = u64::from(initial) + pairs.sum::<u64>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_the_rfc_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes, 0)), 0xddf2);
        assert_eq!(finish(sum(&bytes, 0)), 0x220d);
    }

    #[test]
    fn every_length_and_alignment_sums_up() {
        let random = (0..300u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>();
        for pool in [vec![0xff; 300], vec![0; 300], random] {
            for (from, initial) in [(0, 0), (1, 1), (2, 0xffff), (3, 0x1_0000), (7, u32::MAX)] {
                for to in from..pool.len() {
                    let bytes = &pool[from..to];
                    let expected = by_the_book(bytes, initial);
                    assert_eq!(fold(sum(bytes, initial)), expected, "{from}..{to}, {initial}");
                }
            }
        }
    }

    #[test]
    fn carries_of_long_sums_are_not_lost() {
        let mut bytes = vec![0xff; 1 << 20];
        assert_eq!(fold(sum(&bytes, 0)), 0xffff);
        bytes.extend([0x12, 0x34]);
        assert_eq!(fold(sum(&bytes, 0)), 0x1234);
    }

    #[test]
    fn an_update_is_as_good_as_a_new_sum() {
        // RFC 1624 section 4, whose point is that the result is 0x0000 and not 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
        let mut bytes = *b"\x45\x00\xff\xff\x00\x00\x12\x34";
        for new in [0x0000, 0x0001, 0x4500, 0xfffe, 0xffff] {
            let (before, old) = (finish(sum(&bytes, 0)), u16::from_be_bytes([bytes[0], bytes[1]]));
            bytes[..2].copy_from_slice(&u16::to_be_bytes(new));
            assert_eq!(update(before, old, new), finish(sum(&bytes, 0)), "{old:#x} to {new:#x}");
        }
    }

    #[test]
    fn folding_adds_every_carry() {
        for (sum, folded) in [(0, 0), (0xffff, 0xffff), (0x1_0000, 1), (0x1_ffff, 1), (u32::MAX, 0xffff)] {
            assert_eq!(fold(sum), folded);
        }
    }
}
