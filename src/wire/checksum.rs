//! The Internet checksum (RFC 1071).
//!
//! A sum here is a `u32` to which 16-bit numbers of the header may simply be added; [`fold`] brings it back to 16 bits.
//! Any sum that is congruent modulo 0xffff is the same sum, which is what everything below lives on: bytes are added as
//! 64-bit words in native order (RFC 1071 section 2), and only the folded result is turned to network order.
//!
//! A 64-bit word is its low half plus 2^32 times its high one. Each lane adds up whole words, letting them wrap, and
//! high halves; the sum of the low halves is then the difference, exact modulo 2^64 and so for anything shorter than
//! 32 GiB. That is three instructions per vector, none of which waits for a carry, and compilers vectorise it.

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

/// Copies `src` to `dst` and gives what [`sum`] does, in one pass.
///
/// # Panics
/// When their lengths differ.
#[inline]
pub fn copy_and_sum(src: &[u8], dst: &mut [u8], initial: u32) -> u32 {
    assert_eq!(src.len(), dst.len(), "a copy is as long as its source");
    let mut lanes = Lanes::default();
    let (src_blocks, src_tail) = src.as_chunks::<BLOCK>();
    let (dst_blocks, dst_tail) = dst.as_chunks_mut::<BLOCK>();
    for (src, dst) in src_blocks.iter().zip(dst_blocks) {
        *dst = *src;
        lanes.add(src);
    }
    dst_tail.copy_from_slice(src_tail);
    lanes.finish(src_tail, initial)
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
        let mut sum = u128::from(whole.wrapping_sub(high << 32)) + u128::from(high);
        let (words, rest) = tail.as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += u128::from(u64::from_ne_bytes(last));
        let sum = (sum >> 64) as u64 as u128 + (sum as u64) as u128;
        let sum = (sum >> 64) as u64 + sum as u64;
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        u32::from(u16::from_be(fold(sum as u32))) + u32::from(fold(initial))
    }
}
