//! Merging what an underlay read into superframes (GRO, the reverse of [`segment`](super::segment)): a TAP takes one
//! frame of 64 KiB at hardly more cost than one of 1500 bytes.
//!
//! A buffer that was read holds the datagrams of one peer, glued together, and in each an inner frame: a [`Piece`]. The
//! first one stays where it is. A piece that continues it is merged in place: its payload moves to the left, over its
//! own headers, to right behind the payload before. What continues nothing becomes a frame in a buffer of its own.
//!
//! Pieces are merged only where [`segment`](super::segment::segment) gives back, byte for byte, what came in, so that a
//! host cannot tell whether anything was merged. They are those of one TCP connection or UDP flow, one right after the
//! other, alike in all their headers but for what counts up, and with right checksums; the rules are those of Linux's
//! `tcp_gro_receive` and `udp_gro_receive`, and stricter where those lose something. One thing is lost as it is there:
//! the identifications of IPv4 packets that all have the same one and DF, which mean nothing (RFC 6864 section 4.1).
//!
//! Only the most recent frame is continued. So nothing overtakes anything, and one comparison a piece is enough.
//!
//! The kernel's tunnels leave more undone than a datagram can say: over a veth they send inner frames with unfinished
//! checksums, and inner superframes whole. `Headers::unfinished` and `Headers::superframe` tell those.

mod headers;
mod run;

use std::ops::Range;

use headers::Headers;
use run::Run;

use super::{Batch, Frame, Layer, Offload};

/// An inner frame found in a received buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins, in bytes from the received frame's start.
    pub at: u32,
    /// Its length in bytes.
    pub len: u32,
    /// What it begins with.
    pub layer: Layer,
    /// MTU of the tunnel port, in bytes behind the Ethernet header and tags. Something longer is a superframe.
    pub mtu: u32,
    /// Whose it is, by any number for port and peer: pieces of different owners are never merged.
    pub owner: u32,
}

/// A frame that was made of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Its index in the batch.
    pub frame: u32,
    /// The owner of its pieces.
    pub owner: u32,
}

/// Makes frames of pieces. One per worker.
#[derive(Default)]
pub struct Coalescer {
    /// The most recent frame, when the next piece may continue it.
    run: Option<Run>,
}

impl Coalescer {
    /// A new batch begins: nothing is there that could be continued.
    pub fn begin(&mut self) {
        self.run = None;
    }

    /// Makes frames of the pieces of the live frame `buffer` and appends them to `out`, in their order. Returns how many
    /// pieces were lost because the batch had no buffer left.
    ///
    /// The first piece may continue the last frame made of the buffer before, which then grows; so nobody may touch
    /// frames between the calls for one batch. When all pieces do, no frame is made of `buffer`.
    ///
    /// The pieces come in order, do not overlap and lie within the frame; one that breaks this is taken for empty. An
    /// empty piece is an empty frame. The offload state of every frame made passes [`Offload::check`].
    ///
    /// # Panics
    /// When `buffer` is not live, or the batch is another one than at the last [`Coalescer::begin`].
    pub fn unpack(
        &mut self,
        batch: &mut Batch,
        buffer: usize,
        pieces: &[Piece],
        out: &mut Vec<Unpacked>,
    ) -> usize {
        let Range { start, end } = batch.frames()[buffer].span();
        let (mut done, mut lost) = (start, 0);
        let mut in_place = Some(buffer);
        for piece in pieces {
            let at = start.saturating_add(piece.at as usize);
            let mut span = at..at.saturating_add(piece.len as usize);
            if span.start < done || span.end > end {
                debug_assert!(false, "{piece:?} lies elsewhere than in {done}..{end}");
                span = done..done;
            }
            done = span.end;
            if self.merge(batch, buffer, span.clone(), piece) {
                continue;
            }
            self.seal(batch);
            self.run = None;
            match place(batch, buffer, &mut in_place, span) {
                Some(frame) => {
                    out.push(Unpacked { frame: frame as u32, owner: piece.owner });
                    self.run = look(&mut batch.frames_mut()[frame], frame, piece);
                }
                None => lost += 1,
            }
        }
        self.seal(batch);
        lost
    }

    /// Makes a frame of `bytes`, which lie elsewhere, or continues the most recent one with them; `piece` says what they
    /// are. False when they were lost because the batch had no buffer left.
    ///
    /// Nobody may look at the frames before [`Coalescer::finish`].
    ///
    /// # Panics
    /// When `bytes` are more than [`MAX_FRAME`](super::MAX_FRAME), or the batch is another one than at the last
    /// [`Coalescer::begin`].
    pub fn push(&mut self, batch: &mut Batch, piece: &Piece, bytes: &[u8]) -> bool {
        if let Some(run) = self.run.as_mut().filter(|run| run.owner == piece.owner)
            && let Some(header_len) = run.follow(&batch.frames()[run.frame], piece.layer, bytes)
        {
            batch.frames_mut()[run.frame].extend(&bytes[header_len..]);
            return true;
        }
        self.seal(batch);
        self.run = None;
        let Some(frame) = batch.add() else { return false };
        batch.frames_mut()[frame].fill(bytes, Offload::NONE);
        self.run = look(&mut batch.frames_mut()[frame], frame, piece);
        true
    }

    /// Merges the live frames of a batch, as a port has just read them: each of them a piece of its own, alike in MTU and
    /// owner. Those that went into others are spare again.
    pub fn gather(&mut self, batch: &mut Batch, mtu: u32) {
        self.begin();
        let mut kept = 0;
        for index in 0..batch.len() {
            let frame = &batch.frames()[index];
            let piece = Piece { at: 0, len: frame.len() as u32, layer: frame.layer, mtu, owner: 0 };
            let span = frame.span();
            if self.merge(batch, index, span, &piece) {
                continue;
            }
            self.seal(batch);
            batch.swap(index, kept);
            self.run = look(&mut batch.frames_mut()[kept], kept, &piece);
            kept += 1;
        }
        self.seal(batch);
        self.run = None;
        batch.truncate(kept);
    }

    /// Makes the last of what was [pushed](Coalescer::push) whole.
    pub fn finish(&mut self, batch: &mut Batch) {
        self.seal(batch);
    }

    /// Merges the piece in `span` of the buffer into the most recent frame, if it continues that.
    #[inline]
    fn merge(&mut self, batch: &mut Batch, buffer: usize, span: Range<usize>, piece: &Piece) -> bool {
        let Some(run) = self.run.as_mut().filter(|run| run.owner == piece.owner) else {
            return false;
        };
        let (head, bytes) = (&batch.frames()[run.frame], &batch.frames()[buffer].buffer()[span.clone()]);
        let Some(header_len) = run.follow(head, piece.layer, bytes) else {
            return false;
        };
        let payload = span.start + header_len..span.end;
        if run.frame == buffer {
            batch.frames_mut()[buffer].extend_within(payload);
        } else {
            let (from, to) = batch.pair(buffer, run.frame);
            to.extend(&from.buffer()[payload]);
        }
        true
    }

    /// Makes what was merged so far a superframe.
    #[inline]
    fn seal(&mut self, batch: &mut Batch) {
        if let Some(run) = &mut self.run {
            run.seal(&mut batch.frames_mut()[run.frame]);
        }
    }
}

/// Makes a frame of what `span` of the buffer holds: the first one there stays in place, others are copied.
#[inline]
fn place(
    batch: &mut Batch,
    buffer: usize,
    in_place: &mut Option<usize>,
    span: Range<usize>,
) -> Option<usize> {
    if let Some(frame) = in_place.take() {
        batch.frames_mut()[frame].narrow(span);
        return Some(frame);
    }
    let frame = batch.add()?;
    let (from, to) = batch.pair(buffer, frame);
    to.fill(&from.buffer()[span], Offload::NONE);
    Some(frame)
}

/// Tells what was left undone on the frame `index` that was made of `piece`; `Some` when it may be continued.
#[inline]
fn look(frame: &mut Frame, index: usize, piece: &Piece) -> Option<Run> {
    frame.layer = piece.layer;
    let bytes = frame.bytes();
    let headers = Headers::parse(piece.layer, bytes)?;
    let (unfinished, mtu) = (headers.unfinished(bytes), piece.mtu as usize);
    let fits = bytes.len() - headers.l3 <= mtu;
    let offload = match (unfinished, fits) {
        (false, _) => Offload::NONE,
        (true, true) => headers.unfinished_frame(bytes),
        (true, false) => headers.superframe(bytes, mtu),
    };
    let leads = fits && headers.may_lead(bytes);
    let run = leads.then(|| Run::new(index, piece.owner, headers, unfinished, bytes));
    frame.offload = offload;
    run
}

#[cfg(test)]
mod tests;
