//! The frames a worker handles in one go, and the buffers they live in.

use super::Frame;

/// Most frames that one read of a port takes.
pub const MAX_BATCH_FRAMES: usize = 32;

/// Bytes after which a read of a port stops, so that the batch stays in the second-level cache.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;

/// Most buffers a batch grows to for copies and segments; 64 KiB superframes cut at the smallest usual MTU fit.
const MAX_BUFFERS: usize = 1024;

/// Frames in buffers that are used over and over, always the same ones first, so they are warm.
///
/// The first [`Batch::len`] are live, the others spare. A port reads into spare ones and then calls [`Batch::commit`];
/// the switch adds copies and segments behind with [`Batch::add`]; [`Batch::clear`] makes all spare again. Frames are
/// named by their index, which stays the same until then.
pub struct Batch {
    frames: Vec<Frame>,
    live: usize,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { frames: (0..MAX_BATCH_FRAMES).map(|_| Frame::default()).collect(), live: 0 }
    }
}

impl Batch {
    /// Live frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no frame is live.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Spare buffers that a port may still fill: those below [`MAX_BATCH_FRAMES`].
    #[inline]
    pub fn spare(&mut self) -> &mut [Frame] {
        &mut self.frames[self.live.min(MAX_BATCH_FRAMES)..MAX_BATCH_FRAMES]
    }

    /// Makes the first `frames` spare buffers live.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn commit(&mut self, frames: usize) {
        assert!(self.live + frames <= self.frames.len());
        self.live += frames;
    }

    /// Exchanges spare buffer `from` with spare buffer `to`: how a port closes the gap behind a frame it discards.
    #[inline]
    pub fn swap_spare(&mut self, from: usize, to: usize) {
        self.frames.swap(self.live + from, self.live + to);
    }

    /// Exchanges two live frames: how frames that went into others are moved to the end, to be cut off there.
    ///
    /// # Panics
    /// When one of them is not live.
    #[inline]
    pub(super) fn swap(&mut self, a: usize, b: usize) {
        self.frames[..self.live].swap(a, b);
    }

    /// Adds a live frame for a copy or a segment and gives its index; `None` when the batch may not grow further.
    #[inline]
    pub fn add(&mut self) -> Option<usize> {
        if self.live == self.frames.len() {
            if self.live == MAX_BUFFERS {
                return None;
            }
            self.frames.push(Frame::default());
        }
        self.live += 1;
        Some(self.live - 1)
    }

    /// How many times [`Batch::add`] would still give a frame.
    #[inline]
    pub fn room(&self) -> usize {
        MAX_BUFFERS - self.live
    }

    /// Two different live frames at once: one to read from, one to write.
    ///
    /// # Panics
    /// When they are the same or not live.
    pub fn pair(&mut self, from: usize, to: usize) -> (&Frame, &mut Frame) {
        let [from, to] =
            self.frames[..self.live].get_disjoint_mut([from, to]).expect("two different live frames");
        (from, to)
    }

    /// The live frames.
    #[inline]
    pub fn frames(&self) -> &[Frame] {
        &self.frames[..self.live]
    }

    /// The live frames, to edit.
    #[inline]
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        &mut self.frames[..self.live]
    }

    /// Makes the live frames from `live` on spare again, if there are that many.
    #[inline]
    pub fn truncate(&mut self, live: usize) {
        self.live = self.live.min(live);
    }

    /// Makes every buffer spare.
    #[inline]
    pub fn clear(&mut self) {
        self.live = 0;
    }
}
