//! Frames found in a stream of bytes, wherever reads cut it.

use crate::packet::MAX_FRAME;
use crate::wire::ethernet;

/// Bytes of length before each frame, big-endian.
pub(super) const PREFIX: usize = 4;

/// Bytes asked for at once: the longest frame, of which part may be there, and as much again.
const BUFFER: usize = 2 * (MAX_FRAME + PREFIX);

/// What was read and not yet taken.
pub(super) struct Reassembly {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What a stream goes on with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A frame.
    Frame(&'a [u8]),
    /// So many bytes that are too few for a frame, now passed over.
    Runt(usize),
    /// The length of a frame that is too long. Nothing behind it can be trusted.
    TooLong(usize),
    /// More has to be read first.
    Incomplete,
}

impl Default for Reassembly {
    fn default() -> Reassembly {
        Reassembly { bytes: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Reassembly {
    /// Takes the next frame.
    #[inline]
    pub(super) fn next(&mut self) -> Next<'_> {
        let Some((prefix, behind)) = self.bytes[self.start..self.end].split_first_chunk() else {
            return Next::Incomplete;
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MAX_FRAME {
            return Next::TooLong(len);
        }
        if behind.len() < len {
            return Next::Incomplete;
        }
        let at = self.start + PREFIX;
        self.start = at + len;
        match len < ethernet::HEADER_LEN {
            true => Next::Runt(len),
            false => Next::Frame(&self.bytes[at..at + len]),
        }
    }

    /// Where to read more into; never empty after [`Next::Incomplete`].
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }

    /// So many bytes were read into [`Reassembly::room`].
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(self.end <= self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of a stream that is read in pieces of these lengths, over and over.
    fn read(stream: &[u8], pieces: &[usize]) -> Vec<Result<Vec<u8>, usize>> {
        let (mut reassembly, mut out, mut rest) = (Reassembly::default(), Vec::new(), stream);
        for &piece in pieces.iter().cycle() {
            let room = reassembly.room();
            let len = piece.min(rest.len()).min(room.len());
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            reassembly.filled(len);
            loop {
                match reassembly.next() {
                    Next::Frame(bytes) => out.push(Ok(bytes.to_vec())),
                    Next::Runt(len) => out.push(Err(len)),
                    Next::TooLong(len) => {
                        out.push(Err(len));
                        return out;
                    }
                    Next::Incomplete => break,
                }
            }
            assert!(!reassembly.room().is_empty());
            if rest.is_empty() {
                return out;
            }
        }
        unreachable!("there are pieces")
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes(), &frame[..]].concat()).collect()
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0..80_usize, 1490..1520_usize, 0..=MAX_FRAME, Just(MAX_FRAME)];
        (len, any::<u8>())
            .prop_map(|(len, seed)| (0..len).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect())
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_frames_come_out(
            frames in prop::collection::vec(frame(), 0..12),
            pieces in prop::collection::vec(prop_oneof![1..9_usize, 1..2_000_usize, 1..200_000_usize], 1..20),
        ) {
            let expected: Vec<_> =
                frames.iter().map(|f| if f.len() < 14 { Err(f.len()) } else { Ok(f.clone()) }).collect();
            prop_assert_eq!(read(&stream(&frames), &pieces), expected);
        }

        #[test]
        fn garbage_is_frames_or_the_end_and_never_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
            zeroes in 0..4_usize,
            pieces in prop::collection::vec(1..500_usize, 1..5),
        ) {
            let stream: Vec<u8> = bytes.chunks(7).flat_map(|c| [&[0; 4][..zeroes], c].concat()).collect();
            let out = read(&stream, &pieces);
            let told = |len: &usize| *len < 14 || *len > MAX_FRAME;
            prop_assert!(out.iter().all(|next| next.as_ref().err().is_none_or(told)));
        }
    }

    #[test]
    fn a_length_that_no_frame_has_ends_the_stream() {
        for len in [MAX_FRAME + 1, 0x0001_0100, usize::from(u16::MAX) << 16, u32::MAX as usize] {
            let mut bytes = stream(&[vec![1; 60]]);
            bytes.extend((len as u32).to_be_bytes());
            bytes.extend(stream(&[vec![2; 60]]));
            assert_eq!(read(&bytes, &[3]), [Ok(vec![1; 60]), Err(len)]);
        }
    }
}
