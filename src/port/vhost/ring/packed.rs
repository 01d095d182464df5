//! The packed form (VIRTIO 1.2, 2.8). What is where:
//!
//! | part | bytes |
//! |---|---|
//! | descriptor | address 8, length 4, buffer id 2, flags 2 |
//! | driver's, device's | position and wrap counter 2, flags 2 |
//!
//! A descriptor's second half is loaded and stored as one number, so that its length, its id and the flags that say whose
//! it is are of the same moment.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::pieces::Pieces;
use super::{
    Areas, Base, Chain, Fault, INDIRECT, Layout, MAX_CHAIN, Mark, NEXT, WRITE, entries_of, names_table,
    passes,
};

/// VIRTQ_DESC_F_AVAIL.
const AVAIL: u16 = 1 << 7;
/// VIRTQ_DESC_F_USED.
const USED: u16 = 1 << 15;
/// The flags of both event suppressions: RING_EVENT_FLAGS_ENABLE, _DISABLE, _DESC.
const EVENTS_ALL: u16 = 0;
const EVENTS_NONE: u16 = 1;
const EVENTS_AT: u16 = 2;
/// The bit beside a position that is its wrap counter.
const WRAP: u16 = 1 << 15;

/// A place in the ring, and the wrap counter of the round it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    at: u16,
    wrap: bool,
}

impl Position {
    #[inline(always)]
    fn advance(&mut self, slots: u16, size: u16) {
        // Both are at most 2^15.
        let at = self.at + slots;
        if at >= size {
            *self = Position { at: at - size, wrap: !self.wrap };
        } else {
            self.at = at;
        }
    }

    fn bits(self) -> u16 {
        self.at | if self.wrap { WRAP } else { 0 }
    }

    fn of_bits(bits: u16) -> Position {
        Position { at: bits & !WRAP, wrap: bits & WRAP != 0 }
    }
}

#[derive(Debug)]
pub(super) struct Packed {
    areas: Areas,
    size: u16,
    event_idx: bool,
    indirect: bool,
    /// The next available descriptor to take.
    next: Position,
    /// The next used descriptor to write.
    used: Position,
    /// How many descriptors are between the two.
    taken: u16,
    /// What was completed and not shown: the second half of its first used descriptor, which `shown` is the place of.
    first: Option<u64>,
    /// Up to where the driver sees used descriptors.
    shown: Position,
    /// The position at the last question whether to call; `None`: it was never asked.
    asked: Option<Position>,
}

impl Packed {
    pub(super) fn new(areas: Areas, layout: &Layout, base: Base) -> Result<Packed, Fault> {
        let next = Position::of_bits(base.bits() as u16);
        if next.at >= layout.size {
            return Err(Fault::Base);
        }
        Ok(Packed {
            areas,
            size: layout.size,
            event_idx: layout.event_idx,
            indirect: layout.indirect,
            next,
            used: next,
            taken: 0,
            first: None,
            shown: next,
            asked: None,
        })
    }

    #[inline]
    pub(super) fn has_available(&self) -> bool {
        let rest = self.areas.descriptors.load_u64(16 * usize::from(self.next.at) + 8, Relaxed);
        self.is_available((rest >> 48) as u16)
    }

    #[inline(always)]
    fn is_available(&self, flags: u16) -> bool {
        let whose = if self.next.wrap { AVAIL } else { USED };
        flags & (AVAIL | USED) == whose
    }

    #[inline(always)]
    pub(super) fn pop<const WRITABLE: bool>(
        &mut self,
        pieces: &mut Pieces<'_, WRITABLE>,
    ) -> Result<Option<Chain>, Fault> {
        let place = 16 * usize::from(self.next.at);
        let rest = self.areas.descriptors.load_u64(place + 8, Acquire);
        let flags = (rest >> 48) as u16;
        if !self.is_available(flags) {
            return Ok(None);
        }
        if self.taken >= self.size {
            return Err(Fault::Jump);
        }
        let at = self.areas.descriptors.load_u64(place, Relaxed);
        let (id, slots) = if Pieces::<WRITABLE>::single(flags) {
            pieces.add(at, rest as u32, flags)?;
            ((rest >> 32) as u16, 1)
        } else {
            self.walk(at, rest, pieces)?
        };
        let (len, pieces) = pieces.end()?;
        self.next.advance(slots, self.size);
        self.taken += slots;
        Ok(Some(Chain { len, pieces, id, slots }))
    }

    /// Adds a chain of several descriptors, or an indirect one, of which the first was loaded already. Gives its id, which
    /// is in the last one, and how many descriptors it has.
    #[inline(never)]
    fn walk<const WRITABLE: bool>(
        &self,
        mut at: u64,
        mut rest: u64,
        pieces: &mut Pieces<'_, WRITABLE>,
    ) -> Result<(u16, u16), Fault> {
        let most = (self.size - self.taken).min(MAX_CHAIN);
        let mut place = self.next;
        let mut slots = 1;
        loop {
            let (len, id, flags) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if names_table(flags, self.indirect)? {
                walk_table(at, len, pieces)?;
                return Ok((id, slots));
            }
            pieces.add(at, len, flags)?;
            if flags & NEXT == 0 {
                return Ok((id, slots));
            }
            if slots == most {
                return Err(Fault::Long);
            }
            slots += 1;
            place.advance(1, self.size);
            (at, rest) = self.areas.descriptor(place.at);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { next: self.next.at, wrap: self.next.wrap }
    }

    pub(super) fn rewind(&mut self, mark: Mark) {
        let mark = Position { at: mark.next, wrap: mark.wrap };
        let round = if self.next.wrap == mark.wrap { 0 } else { self.size };
        let back = (self.next.at + round).saturating_sub(mark.at);
        self.next = mark;
        self.taken = self.taken.saturating_sub(back);
    }

    #[inline]
    pub(super) fn complete(&mut self, chain: Chain, written: u32) {
        let flags = if self.used.wrap { AVAIL | USED } else { 0 } | if written > 0 { WRITE } else { 0 };
        let rest = u64::from(flags) << 48 | u64::from(chain.id) << 32 | u64::from(written);
        if self.first.is_none() {
            self.first = Some(rest);
        } else {
            self.store_rest(self.used, rest, false);
        }
        self.used.advance(chain.slots, self.size);
        self.taken = self.taken.saturating_sub(chain.slots);
    }

    /// Makes visible what was completed. False: nothing was.
    #[inline]
    pub(super) fn show(&mut self) -> bool {
        let Some(rest) = self.first.take() else { return false };
        self.store_rest(self.shown, rest, true);
        self.shown = self.used;
        true
    }

    #[inline(always)]
    fn store_rest(&self, at: Position, rest: u64, release: bool) {
        let order = if release { Release } else { Relaxed };
        self.areas.descriptors.store_u64(16 * usize::from(at.at) + 8, rest, order);
    }

    /// Whether the driver wants to be called for what was shown since the last question. After a fence.
    #[inline]
    pub(super) fn wants_call(&mut self) -> bool {
        let old = self.asked.replace(self.shown);
        // The driver writes the position first.
        match self.areas.driver.load_u16(2, Acquire) & 3 {
            EVENTS_NONE => false,
            EVENTS_AT if self.event_idx => {
                let event = Position::of_bits(self.areas.driver.load_u16(0, Relaxed));
                old.is_none_or(|old| self.passes(event, old))
            }
            _ => true,
        }
    }

    /// Whether going from `old` to `shown` passes `event`, as seen from the round that `shown` is in.
    fn passes(&self, event: Position, old: Position) -> bool {
        let seen = |place: Position| {
            if place.wrap == self.shown.wrap { place.at } else { place.at.wrapping_sub(self.size) }
        };
        passes(seen(event), self.shown.at, seen(old))
    }

    pub(super) fn suppress(&mut self) {
        self.set_events(0, EVENTS_NONE);
    }

    /// Asks for a kick. Before a fence.
    pub(super) fn ask(&mut self) {
        if self.event_idx {
            self.set_events(self.next.bits(), EVENTS_AT);
        } else {
            self.set_events(0, EVENTS_ALL);
        }
    }

    fn set_events(&self, position: u16, flags: u16) {
        self.areas.device.store_u32(0, u32::from(flags) << 16 | u32::from(position), Relaxed);
    }

    pub(super) fn base(&self) -> Base {
        let bits = u32::from(self.shown.bits());
        Base::from_bits(bits << 16 | bits)
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.taken
    }
}

/// Adds what the table of `len` bytes at `at` names: all of it, in order, whatever their flags say of a next one.
fn walk_table<const WRITABLE: bool>(
    at: u64,
    len: u32,
    pieces: &mut Pieces<'_, WRITABLE>,
) -> Result<(), Fault> {
    let entries = entries_of(len)?;
    if entries > MAX_CHAIN {
        return Err(Fault::Long);
    }
    for index in 0..entries {
        let (buffer, rest) = pieces.entry(at, index)?;
        let (len, flags) = (rest as u32, (rest >> 48) as u16);
        if flags & INDIRECT != 0 {
            return Err(Fault::Nested);
        }
        pieces.add(buffer, len, flags)?;
    }
    Ok(())
}
