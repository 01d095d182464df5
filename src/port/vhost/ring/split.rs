//! The split form (VIRTIO 1.2, 2.7). What is where:
//!
//! | part | bytes |
//! |---|---|
//! | descriptor | address 8, length 4, flags 2, next 2 |
//! | driver's | flags 2, index 2, a head of 2 for each of the size, event 2 |
//! | device's | flags 2, index 2, id 4 and length 4 for each of the size, event 2 |

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::pieces::Pieces;
use super::{
    Areas, Base, Chain, Fault, INDIRECT, Layout, MAX_CHAIN, Mark, NEXT, entries_of, names_table, passes,
};

/// VIRTQ_AVAIL_F_NO_INTERRUPT.
const NO_CALL: u16 = 1;
/// VIRTQ_USED_F_NO_NOTIFY.
const NO_KICK: u16 = 1;
/// Where both rings have their index.
const INDEX: usize = 2;
/// Where the entries of both begin.
const ENTRIES: usize = 4;

#[derive(Debug)]
pub(super) struct Split {
    areas: Areas,
    size: u16,
    event_idx: bool,
    indirect: bool,
    /// The next available entry to take.
    next: u16,
    /// How far the driver was when we last looked.
    seen: u16,
    /// The next used entry to write.
    used: u16,
    /// The used index that the driver sees.
    shown: u16,
    /// The used index at the last question whether to call; `None`: it was never asked.
    asked: Option<u16>,
}

impl Split {
    pub(super) fn new(areas: Areas, layout: &Layout, base: Base) -> Split {
        let wanted = base.bits() as u16;
        let used = areas.device.load_u16(INDEX, Relaxed);
        let next = if wanted.wrapping_sub(used) <= layout.size { used } else { wanted };
        Split {
            areas,
            size: layout.size,
            event_idx: layout.event_idx,
            indirect: layout.indirect,
            next,
            seen: next,
            used: next,
            shown: next,
            asked: None,
        }
    }

    #[inline]
    pub(super) fn has_available(&self) -> bool {
        self.next != self.seen || self.areas.driver.load_u16(INDEX, Relaxed) != self.next
    }

    #[inline(always)]
    pub(super) fn pop<const WRITABLE: bool>(
        &mut self,
        pieces: &mut Pieces<'_, WRITABLE>,
    ) -> Result<Option<Chain>, Fault> {
        if self.next == self.seen && !self.look()? {
            return Ok(None);
        }
        let head = self.areas.driver.load_u16(ENTRIES + 2 * self.slot(self.next), Relaxed);
        if head >= self.size {
            return Err(Fault::Index);
        }
        let (at, rest) = self.areas.descriptor(head);
        let (len, flags) = (rest as u32, (rest >> 32) as u16);
        if Pieces::<WRITABLE>::single(flags) {
            pieces.add(at, len, flags)?;
        } else {
            self.walk(at, rest, pieces)?;
        }
        let (len, pieces) = pieces.end()?;
        self.next = self.next.wrapping_add(1);
        Ok(Some(Chain { len, pieces, id: head, slots: 1 }))
    }

    /// Looks how far the driver is. False: no further than we.
    #[inline]
    fn look(&mut self) -> Result<bool, Fault> {
        let index = self.areas.driver.load_u16(INDEX, Acquire);
        // What is not completed cannot be available again.
        if index.wrapping_sub(self.used) > self.size || index.wrapping_sub(self.next) > self.size {
            return Err(Fault::Jump);
        }
        self.seen = index;
        Ok(index != self.next)
    }

    /// Adds a chain of several descriptors, or an indirect one, of which the first was loaded already.
    #[inline(never)]
    fn walk<const WRITABLE: bool>(
        &self,
        mut at: u64,
        mut rest: u64,
        pieces: &mut Pieces<'_, WRITABLE>,
    ) -> Result<(), Fault> {
        let mut left = self.size.min(MAX_CHAIN);
        loop {
            let (len, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if names_table(flags, self.indirect)? {
                return walk_table(at, len, pieces);
            }
            pieces.add(at, len, flags)?;
            if flags & NEXT == 0 {
                return Ok(());
            }
            left -= 1;
            if left == 0 {
                return Err(Fault::Long);
            }
            if next >= self.size {
                return Err(Fault::Index);
            }
            (at, rest) = self.areas.descriptor(next);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { next: self.next, wrap: false }
    }

    pub(super) fn rewind(&mut self, mark: Mark) {
        self.next = mark.next;
    }

    #[inline]
    pub(super) fn complete(&mut self, chain: Chain, written: u32) {
        let entry = ENTRIES + 8 * self.slot(self.used);
        self.areas.device.store_u32(entry, chain.id.into(), Relaxed);
        self.areas.device.store_u32(entry + 4, written, Relaxed);
        self.used = self.used.wrapping_add(1);
    }

    /// Makes visible what was completed. False: nothing was.
    #[inline]
    pub(super) fn show(&mut self) -> bool {
        if self.used == self.shown {
            return false;
        }
        self.areas.device.store_u16(INDEX, self.used, Release);
        self.shown = self.used;
        true
    }

    /// Whether the driver wants to be called for what was shown since the last question. After a fence.
    #[inline]
    pub(super) fn wants_call(&mut self) -> bool {
        let old = self.asked.replace(self.shown);
        if self.event_idx {
            let event = self.areas.driver.load_u16(ENTRIES + 2 * usize::from(self.size), Relaxed);
            old.is_none_or(|old| passes(event, self.shown, old))
        } else {
            self.areas.driver.load_u16(0, Relaxed) & NO_CALL == 0
        }
    }

    pub(super) fn suppress(&mut self) {
        if self.event_idx {
            // There is no flag then, but an index that was just passed is not passed again for a long time.
            self.set_event(self.next.wrapping_sub(1));
        } else {
            self.areas.device.store_u16(0, NO_KICK, Relaxed);
        }
    }

    /// Asks for a kick. Before a fence.
    pub(super) fn ask(&mut self) {
        if self.event_idx {
            self.set_event(self.next);
        } else {
            self.areas.device.store_u16(0, 0, Relaxed);
        }
    }

    fn set_event(&self, index: u16) {
        self.areas.device.store_u16(ENTRIES + 8 * usize::from(self.size), index, Relaxed);
    }

    pub(super) fn base(&self) -> Base {
        Base::from_bits(self.shown.into())
    }

    pub(super) fn in_flight(&self) -> u16 {
        self.next.wrapping_sub(self.used)
    }

    #[inline(always)]
    fn slot(&self, index: u16) -> usize {
        // The size is a power of two.
        usize::from(index & (self.size - 1))
    }
}

/// Adds what the table of `len` bytes at `at` names. That may be more than the ring has descriptors, as Linux has it.
fn walk_table<const WRITABLE: bool>(
    at: u64,
    len: u32,
    pieces: &mut Pieces<'_, WRITABLE>,
) -> Result<(), Fault> {
    let entries = entries_of(len)?;
    let mut index = 0;
    // The count ends loops.
    for _ in 0..entries.min(MAX_CHAIN) {
        let (buffer, rest) = pieces.entry(at, index)?;
        let (len, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
        if flags & INDIRECT != 0 {
            return Err(Fault::Nested);
        }
        pieces.add(buffer, len, flags)?;
        if flags & NEXT == 0 {
            return Ok(());
        }
        if next >= entries {
            return Err(Fault::Index);
        }
        index = next;
    }
    Err(Fault::Long)
}
