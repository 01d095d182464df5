//! A frame that is growing: its first piece, which may have others merged into it.

use super::headers::Headers;
use crate::packet::{Frame, Layer, Offload};
use crate::wire::{ipv4, tcp};

/// Most segments in a superframe: what one UDP_SEGMENT send takes. Of TCP at the usual MSS fewer fit anyway.
const MAX_SEGMENTS: u16 = 64;

/// The most recent frame and what would continue it. Its headers are those of its first piece until it is sealed.
pub(super) struct Run {
    /// Its index in the batch.
    pub(super) frame: usize,
    /// The owner of its pieces.
    pub(super) owner: u32,
    headers: Headers,
    /// The checksum of the first piece was unfinished; then those of the others have to be.
    unfinished: bool,
    /// Bytes of payload of each piece but the last, which may have fewer.
    segment_len: usize,
    /// Pieces merged, the first one included.
    segments: u16,
    /// Pieces whose lengths are in the headers.
    sealed: u16,
    /// The TCP sequence number that comes next.
    sequence: u32,
    /// The identification of the last piece, over IPv4, and by how much it counts up: known from the second piece on.
    id: u16,
    id_step: u16,
    /// The last piece has PSH.
    push: bool,
    /// Nothing can follow.
    over: bool,
}

impl Run {
    /// A frame that [may lead](Headers::may_lead), of the bytes `head`.
    #[inline]
    pub(super) fn new(frame: usize, owner: u32, headers: Headers, unfinished: bool, head: &[u8]) -> Run {
        let segment_len = head.len() - headers.len;
        let sequence = if headers.udp { 0 } else { tcp::sequence(&head[headers.l4..]) };
        Run {
            frame,
            owner,
            unfinished,
            segment_len,
            segments: 1,
            sealed: 1,
            sequence: sequence.wrapping_add(segment_len as u32),
            id: if headers.v4 { ipv4::identification(&head[headers.l3..]) } else { 0 },
            id_step: 0,
            push: false,
            over: false,
            headers,
        }
    }

    /// Counts `piece` in if it continues the frame, and gives where its payload begins, which is for the caller to add.
    #[inline]
    pub(super) fn follow(&mut self, frame: &Frame, layer: Layer, piece: &[u8]) -> Option<usize> {
        let (headers, head) = (&self.headers, frame.bytes());
        if self.over || layer != frame.layer || !headers.shared(head, piece) {
            return None;
        }
        let payload_len = piece.len() - headers.len;
        let fits = payload_len <= self.segment_len
            && payload_len <= frame.room_behind()
            && head.len() + payload_len <= headers.longest();
        let (id, id_step) = match headers.v4 {
            true => self.next_id(&piece[headers.l3..])?,
            false => (0, 0),
        };
        let l4 = &piece[headers.l4..];
        let flags = if headers.udp { tcp::ACK } else { tcp::flags(l4) };
        let in_order = headers.udp || tcp::sequence(l4) == self.sequence;
        if !fits || !in_order || flags & !tcp::PSH != tcp::ACK {
            return None;
        }
        // Most first pieces stay alone. So they are looked at only now.
        let head_intact = self.segments > 1 || headers.intact(head, self.unfinished);
        if !head_intact || !headers.intact(piece, self.unfinished) {
            return None;
        }
        (self.id, self.id_step) = (id, id_step);
        self.sequence = self.sequence.wrapping_add(payload_len as u32);
        self.segments += 1;
        self.push = flags & tcp::PSH != 0;
        self.over = self.push || payload_len < self.segment_len || self.segments == MAX_SEGMENTS;
        Some(headers.len)
    }

    /// The identification of a piece that continues the frame, and by how much it counts up: by one, as those of what is
    /// cut from a superframe do, or, where DF says that it means nothing, by none.
    #[inline]
    fn next_id(&self, ip: &[u8]) -> Option<(u16, u16)> {
        let id = ipv4::identification(ip);
        let step = id.wrapping_sub(self.id);
        let holds = match self.segments {
            1 => step == 1 || step == 0 && ipv4::dont_fragment(ip),
            _ => step == self.id_step,
        };
        holds.then_some((id, step))
    }

    /// Makes what was merged into the frame since the last time part of a superframe.
    #[inline]
    pub(super) fn seal(&mut self, frame: &mut Frame) {
        if self.segments == self.sealed {
            return;
        }
        self.sealed = self.segments;
        if self.push {
            self.headers.set_push(frame.bytes_mut());
        }
        // The first piece was an IP packet, none of which is longer than 16 bits can say.
        let offload = self.headers.seal(frame.bytes_mut(), self.segment_len as u16);
        // Pieces that were left unfinished may each have been meant to be cut.
        frame.offload = Offload { guessed: self.unfinished && !self.headers.udp, ..offload };
    }
}
