//! A frame in its buffer, with room before it to grow into.

use std::ops::Range;
use std::sync::Arc;

use super::outside::{Memory, Outside, Piece};
use super::{DropReason, Gso, Offload};
use crate::wire::ethernet::Mac;
use crate::wire::{ethernet, ipv4, ipv6};

/// Bytes free before a frame as it is received: a virtio_net_hdr, a VLAN tag, and the outer headers of any tunnel fit.
pub const HEADROOM: usize = 192;

/// The longest frame the switch holds: a superframe whose IPv6 payload is as long as can be, with two VLAN tags.
pub const MAX_FRAME: usize = 65_535 + 40 + 14 + 8;

/// One byte more than fits is enough to notice a frame that was cut at reading. The odd size also makes neighbouring
/// buffers start in different cache sets; at a multiple of 4 KiB all their headers would fight for the same one.
const BUFFER: usize = HEADROOM + MAX_FRAME + 1 + 19;

/// What a frame's bytes begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// An IPv4 or IPv6 header: what travels on a `tun` port and in a tunnel that carries IP.
    Ip,
}

impl Layer {
    /// Bytes of its header before the network layer, VLAN tags apart.
    #[inline]
    pub const fn header_len(self) -> usize {
        match self {
            Layer::Ethernet => ethernet::HEADER_LEN,
            Layer::Ip => 0,
        }
    }

    /// The EtherType of the network layer and where its header begins; `None` when `bytes` end before, or are IP of no
    /// version.
    #[inline]
    pub fn network(self, bytes: &[u8]) -> Option<(u16, usize)> {
        match (self, bytes.first()) {
            (Layer::Ethernet, _) => ethernet::payload(bytes),
            (Layer::Ip, Some(first)) if first >> 4 == 4 => Some((ipv4::ETHER_TYPE, 0)),
            (Layer::Ip, Some(first)) if first >> 4 == 6 => Some((ipv6::ETHER_TYPE, 0)),
            (Layer::Ip, _) => None,
        }
    }
}

/// An Ethernet frame, or an IP packet, in a buffer of its own.
pub struct Frame {
    buffer: Box<[u8]>,
    start: u32,
    end: u32,
    /// Bytes behind `end` that are outside.
    outside_len: u32,
    outside: Box<Outside>,
    /// What its bytes begin with: Ethernet, unless who filled the buffer says otherwise.
    pub layer: Layer,
    /// What the sender left undone.
    pub offload: Offload,
    /// The outer 802.1Q tag is in the bytes and is the bridge's to edit; set where a VLAN-aware bridge took it as the
    /// frame's VLAN, so that the tags of a customer further in are never touched.
    vlan_tag: bool,
}

impl Default for Frame {
    fn default() -> Frame {
        Frame {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: HEADROOM as u32,
            end: HEADROOM as u32,
            outside_len: 0,
            outside: Box::default(),
            layer: Layer::Ethernet,
            offload: Offload::NONE,
            vlan_tag: false,
        }
    }
}

impl Frame {
    /// A new buffer that holds `bytes`; for tests and benches, since it allocates.
    ///
    /// # Panics
    /// When `bytes` are more than [`MAX_FRAME`].
    pub fn from_bytes(bytes: &[u8]) -> Frame {
        let mut frame = Frame::default();
        frame.fill(bytes, Offload::NONE);
        frame
    }

    /// Replaces the contents by a copy of `bytes`.
    ///
    /// # Panics
    /// When `bytes` are more than [`MAX_FRAME`].
    #[inline]
    pub fn fill(&mut self, bytes: &[u8], offload: Offload) {
        self.buffer[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        self.set(bytes.len(), offload);
    }

    /// The frame's bytes; of one that is partly outside, those that are not.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }

    /// The same, to edit in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start as usize..self.end as usize]
    }

    /// The frame's length in bytes, those outside included.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never asked that")]
    pub fn len(&self) -> usize {
        (self.end - self.start + self.outside_len) as usize
    }

    /// Where a port reads into: room for a prefix of `prefix` bytes (a virtio_net_hdr) and, right behind it, the frame.
    /// It is one byte longer than the longest frame, see [`Frame::received`].
    ///
    /// # Panics
    /// When `prefix` is more than [`HEADROOM`].
    #[inline]
    pub fn receive_area(&mut self, prefix: usize) -> &mut [u8] {
        &mut self.buffer[HEADROOM - prefix..HEADROOM + MAX_FRAME + 1]
    }

    /// Takes what a port read into [`Frame::receive_area`]: `len` bytes of frame behind the prefix, whose offload state
    /// is `offload`. Longer than [`MAX_FRAME`] means the frame was cut.
    #[inline]
    pub fn received(&mut self, len: usize, offload: Offload) -> Result<(), DropReason> {
        if len > MAX_FRAME {
            return Err(DropReason::Oversized);
        }
        self.set(len, offload);
        Ok(())
    }

    /// Leaves the rest of the frame outside, behind what was [`received`](Frame::received): in pieces of `memory`. All that
    /// headers and offload state speak of has to be in what was received.
    ///
    /// # Errors
    /// [`DropReason::Oversized`] when the whole is longer than [`MAX_FRAME`].
    #[inline]
    pub fn leave_outside(
        &mut self,
        memory: &Arc<dyn Memory>,
        pieces: impl Iterator<Item = Piece>,
    ) -> Result<(), DropReason> {
        let len = self.outside.set(memory, pieces);
        if self.len() + len > MAX_FRAME {
            self.outside.clear();
            return Err(DropReason::Oversized);
        }
        self.outside_len = len as u32;
        Ok(())
    }

    /// What of the frame is outside, if anything is.
    #[inline]
    pub fn outside(&self) -> Option<&Outside> {
        (self.outside_len > 0).then_some(&*self.outside)
    }

    /// Takes in what is outside, so that all of the frame is in its buffer.
    #[inline]
    pub fn pull(&mut self) {
        if self.outside_len > 0 {
            self.pull_outside();
        }
    }

    #[cold]
    fn pull_outside(&mut self) {
        let (end, len) = (self.end as usize, self.outside_len as usize);
        self.outside.read(&mut self.buffer[end..end + len]);
        self.end += self.outside_len;
        self.let_go();
    }

    /// Lets go of what is outside: the frame has gone where it goes, and the memory may be unmapped or written to.
    #[inline]
    pub fn let_go(&mut self) {
        self.outside_len = 0;
        self.outside.clear();
    }

    /// Replaces the contents by a copy of `bytes`, which begin with what `like` begins with, VLAN tags included, and on
    /// which nothing is left undone.
    ///
    /// # Panics
    /// When `bytes` are more than [`MAX_FRAME`].
    pub(super) fn fill_like(&mut self, like: &Frame, bytes: &[u8]) {
        self.fill(bytes, Offload::NONE);
        self.layer = like.layer;
        self.vlan_tag = like.vlan_tag;
    }

    /// The whole buffer, for who finds frames in what was received: where they lie is counted from its start.
    #[inline]
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Where the frame lies in its buffer.
    #[inline]
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Makes the frame the part of it that lies in `span` of its buffer, with nothing left undone on it.
    ///
    /// # Panics
    /// When the frame does not hold that part.
    #[inline]
    pub(super) fn narrow(&mut self, span: Range<usize>) {
        assert!(self.span().start <= span.start && span.end <= self.span().end);
        self.set(span.len(), Offload::NONE);
        self.start = span.start as u32;
        self.end = span.end as u32;
    }

    /// Bytes that the frame can grow by at its end.
    #[inline]
    pub(super) fn room_behind(&self) -> usize {
        (self.buffer.len() - self.end as usize).min(MAX_FRAME.saturating_sub(self.len()))
    }

    /// Adds `bytes` to the frame's end.
    ///
    /// # Panics
    /// When they are more than [`Frame::room_behind`].
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let end = self.end as usize;
        self.buffer[end..end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len() as u32;
    }

    /// Moves what `span` of the buffer holds to the frame's end.
    ///
    /// # Panics
    /// When that is more than [`Frame::room_behind`].
    #[inline]
    pub(super) fn extend_within(&mut self, span: Range<usize>) {
        self.buffer.copy_within(span.clone(), self.end as usize);
        self.end += span.len() as u32;
    }

    #[inline]
    fn set(&mut self, len: usize, offload: Offload) {
        debug_assert!(len <= MAX_FRAME);
        self.start = HEADROOM as u32;
        self.end = self.start + len as u32;
        self.outside_len = 0;
        self.layer = Layer::Ethernet;
        self.offload = offload;
        self.vlan_tag = false;
    }

    /// Writes `prefix` into the room before the frame and gives both as one slice: one plain `write` sends them.
    ///
    /// # Panics
    /// When `prefix` is longer than the headroom left, which is 128 bytes at least outside a tunnel.
    #[inline]
    pub fn with_prefix(&mut self, prefix: &[u8]) -> &[u8] {
        let from = self.start as usize - prefix.len();
        self.buffer[from..self.start as usize].copy_from_slice(prefix);
        &self.buffer[from..self.end as usize]
    }

    /// The frame with the `prefix` bytes before it that [`Frame::with_prefix`] wrote.
    #[inline]
    pub fn prefixed(&self, prefix: usize) -> &[u8] {
        &self.buffer[self.start as usize - prefix..self.end as usize]
    }

    /// Says that the outer 802.1Q tag in the bytes is the frame's VLAN in this bridge, or that none is.
    #[inline]
    pub fn set_vlan_tag(&mut self, present: bool) {
        self.vlan_tag = present;
    }

    /// Bytes before what the frame carries in this bridge: those of its Ethernet header, if it has one, and of the
    /// bridge's tag.
    #[inline]
    pub fn link_len(&self) -> usize {
        self.layer.header_len() + if self.vlan_tag { ethernet::TAG_LEN } else { 0 }
    }

    /// Makes the frame carry the bridge's 802.1Q tag with `tci` (`None`: no tag), whatever it carries now. Moves twelve
    /// bytes of addresses and no payload.
    #[inline]
    pub fn retag(&mut self, tci: Option<u16>) {
        match (self.vlan_tag, tci) {
            (false, None) => {}
            (true, Some(tci)) => self.bytes_mut()[14..16].copy_from_slice(&tci.to_be_bytes()),
            (false, Some(tci)) => self.push_tag(ethernet::VLAN, tci),
            (true, None) => self.pop_tag(),
        }
        self.vlan_tag = tci.is_some();
    }

    /// Puts a VLAN tag behind the addresses.
    ///
    /// # Panics
    /// When the frame has no Ethernet header or no headroom is left.
    pub fn push_tag(&mut self, tpid: u16, tci: u16) {
        let at = self.start as usize;
        self.buffer.copy_within(at..at + 12, at - 4);
        self.buffer[at + 8..at + 10].copy_from_slice(&tpid.to_be_bytes());
        self.buffer[at + 10..at + 12].copy_from_slice(&tci.to_be_bytes());
        self.start -= 4;
        self.offload.shift(4);
    }

    fn pop_tag(&mut self) {
        let at = self.start as usize;
        self.buffer.copy_within(at..at + 12, at + 4);
        self.start += 4;
        self.offload.shift(-4);
    }

    /// Replaces the addresses of the Ethernet header.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn set_addresses(&mut self, destination: Mac, source: Mac) {
        let bytes = self.bytes_mut();
        bytes[..6].copy_from_slice(&destination.octets());
        bytes[6..12].copy_from_slice(&source.octets());
    }

    /// Makes an IP packet an Ethernet frame: puts the header before it.
    ///
    /// # Panics
    /// When no headroom is left.
    #[inline]
    pub fn put_ethernet(&mut self, destination: Mac, source: Mac, ether_type: u16) {
        let at = self.start as usize - ethernet::HEADER_LEN;
        self.buffer[at + 12..at + 14].copy_from_slice(&ether_type.to_be_bytes());
        self.start = at as u32;
        self.layer = Layer::Ethernet;
        self.vlan_tag = false;
        self.set_addresses(destination, source);
        self.offload.shift(ethernet::HEADER_LEN as i16);
    }

    /// Makes an Ethernet frame the IP packet that lies in `l3..end` of it.
    ///
    /// # Panics
    /// When the frame does not hold that part.
    #[inline]
    pub fn strip_ethernet(&mut self, l3: usize, end: usize) {
        assert!(l3 <= end && end <= self.len());
        self.end = self.start + end as u32;
        self.start += l3 as u32;
        self.layer = Layer::Ip;
        self.vlan_tag = false;
        self.offload.shift(-(l3 as i16));
    }

    /// Puts a header of `len` bytes before the frame, a tunnel's, for the caller to write: the bytes hold anything yet.
    /// What is known of the frame's layer and VLAN tag stays true of what is behind the header, and holds again when
    /// [`Frame::pop_header`] has taken it off; nothing is to retag the frame before.
    ///
    /// # Panics
    /// When less headroom is left. In debug builds also when the frame is unfinished: its offload state would have to
    /// point behind the header.
    #[inline]
    pub fn push_header(&mut self, len: usize) -> &mut [u8] {
        let start = self.start as usize;
        assert!(len <= start, "{len} bytes of header in {start} of headroom");
        debug_assert!(!self.offload.needs_csum && self.offload.gso == Gso::None);
        self.start = (start - len) as u32;
        &mut self.buffer[start - len..start]
    }

    /// Takes the first `len` bytes off the frame: a tunnel's header, that was put there or came with it. What is said of
    /// its layer and VLAN tag is then of what is left.
    ///
    /// # Panics
    /// When the frame is shorter.
    #[inline]
    pub fn pop_header(&mut self, len: usize) {
        assert!(len <= self.len(), "{len} bytes of header in a frame of {}", self.len());
        self.start += len as u32;
    }

    /// Makes this frame a copy of `other`, which is not outside.
    pub fn copy_from(&mut self, other: &Frame) {
        debug_assert!(other.outside().is_none());
        self.reshape(other, other.len()).copy_from_slice(other.bytes());
        self.offload = other.offload;
    }

    /// Makes this frame a copy of the first `len` bytes of `other`, which are not outside; of all of it, if it has no more.
    /// One that is cut has nothing left undone on it: what its headers say of its length and sums is no longer true.
    pub fn copy_head(&mut self, other: &Frame, len: usize) {
        if len >= other.len() {
            return self.copy_from(other);
        }
        self.reshape(other, len).copy_from_slice(&other.bytes()[..len]);
    }

    /// Cuts the frame, which is not outside, to its first `len` bytes, as [`Frame::copy_head`] does.
    pub fn cut(&mut self, len: usize) {
        debug_assert!(self.outside().is_none());
        if len < self.len() {
            self.end = self.start + len as u32;
            self.offload = Offload::NONE;
        }
    }

    /// Makes this frame one of `len` bytes, which are for the caller to write, with nothing left undone on it. It begins
    /// where `like` begins in its buffer, so that a tag `like` got in its headroom needs no room behind, and has the
    /// bridge's VLAN tag if that has it.
    ///
    /// # Panics
    /// When `len` is more than `like` has.
    #[inline]
    pub(super) fn reshape(&mut self, like: &Frame, len: usize) -> &mut [u8] {
        assert!(len <= like.len());
        self.layer = like.layer;
        self.start = like.start;
        self.end = like.start + len as u32;
        self.outside_len = 0;
        self.offload = Offload::NONE;
        self.vlan_tag = like.vlan_tag;
        self.bytes_mut()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Frame({} bytes, {:02x?}, {:?})",
            self.len(),
            &self.bytes()[..self.bytes().len().min(18)],
            self.offload
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 16] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0x00];

    #[test]
    fn a_tag_goes_in_and_out_and_the_offsets_follow() {
        let mut frame = Frame::from_bytes(&PLAIN);
        frame.offload = Offload { needs_csum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE };
        frame.retag(Some(0x200a));
        assert_eq!(
            frame.bytes()[..18],
            [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0x00, 0x20, 0x0a, 0x08, 0x00]
        );
        assert_eq!(frame.offload.csum_start, 38);
        frame.retag(Some(0x0014));
        assert_eq!(frame.bytes()[14..16], [0x00, 0x14]);
        frame.retag(None);
        assert_eq!(frame.bytes(), PLAIN);
        assert_eq!(frame.offload.csum_start, 34);
    }

    #[test]
    fn a_frame_that_was_cut_is_refused() {
        let mut frame = Frame::default();
        assert_eq!(frame.receive_area(12).len(), 12 + MAX_FRAME + 1);
        assert_eq!(frame.received(MAX_FRAME + 1, Offload::NONE), Err(DropReason::Oversized));
        assert_eq!(frame.received(MAX_FRAME, Offload::NONE), Ok(()));
    }

    #[test]
    fn the_longest_frame_is_copied_with_its_tag() {
        let mut frame = Frame::from_bytes(&[0x5a; MAX_FRAME]);
        frame.retag(Some(7));
        let mut copy = Frame::from_bytes(&PLAIN);
        copy.copy_from(&frame);
        assert_eq!(copy.bytes(), frame.bytes());
        copy.retag(None);
        assert_eq!(copy.bytes(), [0x5a; MAX_FRAME]);
    }

    #[test]
    fn a_copy_may_be_cut_and_then_has_nothing_left_undone() {
        let unfinished = Offload { needs_csum: true, csum_start: 14, ..Offload::NONE };
        let mut frame = Frame::from_bytes(&PLAIN);
        frame.offload = unfinished;
        frame.retag(Some(7));
        let mut copy = Frame::default();
        for (len, offload) in
            [(15, Offload::NONE), (19, Offload::NONE), (20, frame.offload), (99, frame.offload)]
        {
            copy.copy_head(&frame, len);
            assert_eq!((copy.bytes(), copy.offload), (&frame.bytes()[..len.min(20)], offload));
            let mut cut = Frame::default();
            cut.copy_from(&frame);
            cut.cut(len);
            assert_eq!((cut.bytes(), cut.offload), (copy.bytes(), offload));
        }
        copy.retag(None);
        assert_eq!(copy.bytes(), PLAIN, "the tag is still known");
    }

    #[test]
    fn a_header_goes_on_and_off_and_the_tag_is_still_known() {
        let mut frame = Frame::from_bytes(&PLAIN);
        frame.retag(Some(7));
        frame.push_header(8).copy_from_slice(&[9; 8]);
        assert_eq!(frame.bytes()[..10], [9, 9, 9, 9, 9, 9, 9, 9, 2, 0]);
        let mut copy = Frame::default();
        copy.copy_from(&frame);
        for mut frame in [frame, copy] {
            frame.pop_header(8);
            frame.retag(None);
            assert_eq!(frame.bytes(), PLAIN);
            frame.push_header(HEADROOM);
            assert_eq!(frame.len(), HEADROOM + PLAIN.len());
            frame.pop_header(HEADROOM + PLAIN.len());
            assert_eq!(frame.len(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "193 bytes of header in 192 of headroom")]
    fn a_header_longer_than_the_headroom_is_a_fault() {
        Frame::from_bytes(&PLAIN).push_header(HEADROOM + 1);
    }

    #[test]
    #[should_panic(expected = "17 bytes of header in a frame of 16")]
    fn so_is_one_longer_than_the_frame() {
        Frame::from_bytes(&PLAIN).pop_header(17);
    }

    /// Memory whose every byte is the low one of its address.
    struct Ramp;

    impl Memory for Ramp {
        fn read(&self, at: u64, into: &mut [u8]) {
            (at..).zip(into).for_each(|(at, byte)| *byte = at as u8);
        }
    }

    #[test]
    fn what_is_outside_counts_and_comes_in_when_it_is_pulled() {
        let memory: Arc<dyn Memory> = Arc::new(Ramp);
        let mut frame = Frame::from_bytes(&PLAIN);
        let pieces = [Piece { at: 5, len: 2 }, Piece { at: 0x109, len: 3 }];
        assert_eq!(frame.leave_outside(&memory, pieces.into_iter()), Ok(()));
        assert_eq!((frame.len(), frame.bytes()), (21, &PLAIN[..]));
        frame.retag(Some(7));
        assert_eq!(frame.outside().map(Outside::pieces), Some(&pieces[..]));
        frame.pull();
        assert_eq!((frame.len(), &frame.bytes()[18..]), (25, &[8, 0, 0x45, 0, 5, 6, 9, 10, 11][2..]));
        assert!(frame.outside().is_none());
        assert_eq!(Arc::strong_count(&memory), 1, "it may be unmapped");
    }

    #[test]
    fn what_was_outside_is_forgotten_with_the_frame() {
        let memory: Arc<dyn Memory> = Arc::new(Ramp);
        let piece = || std::iter::once(Piece { at: 0, len: 100 });
        let mut frame = Frame::from_bytes(&PLAIN);
        frame.leave_outside(&memory, piece()).unwrap();
        frame.fill(&PLAIN, Offload::NONE);
        assert_eq!(frame.len(), 16);
        frame.leave_outside(&memory, piece()).unwrap();
        frame.let_go();
        assert_eq!((frame.len(), Arc::strong_count(&memory)), (16, 1));
        let much = std::iter::once(Piece { at: 0, len: MAX_FRAME as u32 - 15 });
        assert_eq!(frame.leave_outside(&memory, much), Err(DropReason::Oversized));
        assert_eq!((frame.len(), Arc::strong_count(&memory)), (16, 1));
    }

    #[test]
    fn the_prefix_stands_right_before_the_frame() {
        let mut frame = Frame::from_bytes(&PLAIN);
        frame.retag(Some(1));
        assert_eq!(frame.with_prefix(&[7; 12])[..14], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 0]);
    }
}
