//! The part of a frame that was left where its sender has it.
//!
//! A guest that shares its memory need not have its payload copied into a buffer of ours first: what is looked at, the
//! headers, is copied, so that the guest cannot change it any more, and the rest goes from its memory to where the frame
//! is sent, once. Whoever needs all of a frame at hand has it pulled in.

use std::any::Any;
use std::sync::Arc;

/// Somebody else's memory, who may change it at any time.
pub trait Memory: Any + Send + Sync {
    /// Copies the bytes from the address `at` on. What is not there reads as anything.
    fn read(&self, at: u64, into: &mut [u8]);
}

/// Some bytes of that memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Where they begin.
    pub at: u64,
    /// How many they are.
    pub len: u32,
}

/// Bytes in somebody else's memory, in pieces and in order.
#[derive(Clone, Default)]
pub struct Outside {
    /// Whose memory; `None` where nothing is outside.
    memory: Option<Arc<dyn Memory>>,
    pieces: Vec<Piece>,
}

impl Outside {
    /// The memory that the pieces are of.
    pub fn memory(&self) -> Option<&Arc<dyn Memory>> {
        self.memory.as_ref()
    }

    /// The pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Takes other pieces, and gives their length.
    pub(super) fn set(&mut self, memory: &Arc<dyn Memory>, pieces: impl Iterator<Item = Piece>) -> usize {
        self.memory = Some(Arc::clone(memory));
        self.pieces.clear();
        self.pieces.extend(pieces);
        self.pieces.iter().map(|piece| piece.len as usize).sum()
    }

    /// Copies everything to `into`, which is as long.
    pub(super) fn read(&self, mut into: &mut [u8]) {
        let Some(memory) = &self.memory else { return };
        for piece in &self.pieces {
            let (now, later) = into.split_at_mut(piece.len as usize);
            memory.read(piece.at, now);
            into = later;
        }
    }

    /// Lets go of the memory.
    pub(super) fn clear(&mut self) {
        self.memory = None;
    }
}
