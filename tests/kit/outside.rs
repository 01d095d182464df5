//! Frames whose payload is in their sender's memory.

use std::sync::Arc;

use tapyard::packet::{Frame, Memory, Offload, Piece};

/// Bytes that are copied in any case.
const HEAD: usize = 256;
/// More than the longest L4 header.
const HEADER: usize = 64;

struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn read(&self, at: u64, into: &mut [u8]) {
        let at = at as usize;
        into.copy_from_slice(&self.0[at..at + into.len()]);
    }
}

/// Fills `frame` as a port does that leaves long payloads where they are.
pub(crate) fn lay(frame: &mut Frame, bytes: &[u8], offload: Offload) {
    let checksum_ends = usize::from(offload.csum_start) + usize::from(offload.csum_offset).max(HEADER);
    if bytes.len() <= HEAD || checksum_ends > HEAD {
        return frame.fill(bytes, offload);
    }
    let (head, rest) = bytes.split_at(HEAD);
    frame.fill(head, offload);
    let half = rest.len() / 2;
    let piece = |at: usize, len: usize| Piece { at: at as u64, len: len as u32 };
    let memory: Arc<dyn Memory> = Arc::new(Bytes(rest.to_vec()));
    let pieces = [piece(0, half), piece(half, rest.len() - half)];
    frame.leave_outside(&memory, pieces.into_iter()).expect("no longer than a frame may be");
}

/// All bytes of a frame, wherever they are.
pub(crate) fn all_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.bytes().to_vec();
    for piece in frame.outside().map_or(&[][..], |outside| outside.pieces()) {
        let at = bytes.len();
        bytes.resize(at + piece.len as usize, 0);
        let memory = frame.outside().and_then(|outside| outside.memory()).expect("pieces are of some memory");
        memory.read(piece.at, &mut bytes[at..]);
    }
    bytes
}
