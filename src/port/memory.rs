//! A port in memory, for benches: frames come from a list, and what is sent is only counted.

use std::ops::Range;
use std::os::fd::RawFd;

use super::{Port, Rx};
use crate::packet::{Batch, Counters, MAX_BATCH_BYTES, Offload};

/// A port whose frames are a list, read once or for ever, and which takes everything it is sent.
pub struct Memory {
    /// All frames' bytes in a row, so that reading them costs as little as a ring of a device would.
    bytes: Vec<u8>,
    frames: Vec<(Range<usize>, Offload)>,
    next: usize,
    endless: bool,
}

impl Memory {
    /// A port that gives each of `frames` once.
    pub fn once(frames: Vec<(Vec<u8>, Offload)>) -> Memory {
        Memory::list(frames, false)
    }

    /// A port that gives `frames` over and over.
    pub fn endless(frames: Vec<(Vec<u8>, Offload)>) -> Memory {
        Memory::list(frames, true)
    }

    fn list(list: Vec<(Vec<u8>, Offload)>, endless: bool) -> Memory {
        let mut memory = Memory { bytes: Vec::new(), frames: Vec::new(), next: 0, endless };
        for (frame, offload) in list {
            let start = memory.bytes.len();
            memory.bytes.extend(frame);
            memory.frames.push((start..memory.bytes.len(), offload));
        }
        memory
    }
}

impl Port for Memory {
    fn rx(&mut self, batch: &mut Batch, _counters: &mut Counters) -> Rx {
        let (mut taken, mut bytes) = (0, 0);
        for frame in batch.spare() {
            if self.next == self.frames.len() {
                if !self.endless || self.frames.is_empty() {
                    break;
                }
                self.next = 0;
            }
            let (range, offload) = &self.frames[self.next];
            frame.fill(&self.bytes[range.clone()], *offload);
            self.next += 1;
            taken += 1;
            bytes += range.len();
            if bytes >= MAX_BATCH_BYTES {
                break;
            }
        }
        batch.commit(taken);
        if self.next == self.frames.len() && !self.endless { Rx::Drained } else { Rx::More }
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        for &index in frames {
            counters.sent(batch.frames()[index as usize].len());
        }
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }
}
