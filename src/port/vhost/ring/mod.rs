//! The device's side of a virtqueue (VIRTIO 1.2, 2.7 and 2.8), in memory that the driver shares with us.
//!
//! # The two forms
//!
//! A *split* ring is three arrays. In the first, *descriptors* say where buffers are, and chain those that belong
//! together. In the second, the driver's, the heads of chains that are *available*; in the third, the device's, those
//! that are *used*, with the bytes written into them. Each of the latter two has an index that only grows, modulo 2^16.
//!
//! A *packed* ring is one array, which both sides write. The driver goes round it making descriptors available, the
//! device follows and overwrites them with used ones, one for a whole chain. Two bits in each descriptor, compared with
//! a counter that flips with every round, tell whose it is.
//!
//! In both, a descriptor can be *indirect*: it names a table of descriptors elsewhere.
//!
//! # A cycle
//!
//! [`Ring::pop_readable`] or [`Ring::pop_writable`] takes a chain and gives its pieces; [`Ring::complete`] writes down that
//! it is used, which the driver does not see before [`Ring::publish`] shows it all that was completed, in one go. Chains
//! are to be completed in the order they were taken, or [`Ring::base`] may name too few while some are on their way. Those
//! that were taken and are not wanted go back by [`Ring::rewind`].
//!
//! # Order
//!
//! The driver writes descriptors, then an index (split) or a descriptor's flags (packed); we load that with acquire, and
//! so see all that it wrote before. We write used entries, then the index or the flags of the *first* descriptor, with
//! release: the driver looks at them in order, and cannot get to the second before it has seen the first.
//!
//! Calls and kicks are another matter. Each side writes its ring and then reads whether the other wants to be woken, and
//! the other writes that it wants to be and then looks at the ring. Acquire and release allow both to read the old value,
//! and both would sleep. Therefore a full fence stands between the two, on both sides: in [`Ring::publish`], and in
//! [`Ring::arm`], whose answer has to be heeded. The fence costs more than all else, and is paid once for many chains.
//!
//! # Trust
//!
//! None. All of it is memory that the driver may write at any time, so each value is loaded once, into a local, and
//! checked there: indices against the size, chains against a count (which also ends loops), addresses against the guest's
//! memory. What is wrong is a [`Fault`], after which the ring has to be given up; it is never a panic nor a loop without
//! end. What we believe about our own place in the ring is kept here, and never read back.

mod packed;
pub mod pieces;
mod split;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use packed::Packed;
pub use pieces::Piece;
use pieces::Pieces;
use split::Split;

use crate::sys::guest_memory::{Area, GuestMemory, Outside};

/// The largest size of a ring.
pub const MAX_SIZE: u16 = 1 << 15;
/// The most descriptors of a chain, however large its ring is. No frame takes more than a few dozen.
pub const MAX_CHAIN: u16 = 1024;

/// Declares [`Fault`] so that a fault's meaning is its message.
macro_rules! faults {
    ($($message:literal $variant:ident;)*) => {
        /// What a driver has done wrong. The ring cannot be used any further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Fault {
            $(#[doc = $message] #[error($message)] $variant,)*
        }
    };
}

faults! {
    "a ring of a size that there is not: 1 to 32768, and of a split ring a power of two" Size;
    "a ring that does not lie in the guest's memory, or not at its alignment" Ring;
    "a position to start from that is not in the ring" Base;
    "more made available than the ring is long, or something taken back" Jump;
    "a descriptor's index that is not in the ring or table" Index;
    "a chain that runs in a loop, or is longer than the ring or than 1024 descriptors" Long;
    "a buffer that is not in the guest's memory" Address;
    "a buffer of no length" Empty;
    "a chain of 4 GiB or more" Huge;
    "a buffer to be written where one to be read belongs" Writable;
    "a buffer to be read where one to be written belongs" Readable;
    "an indirect descriptor, which was not agreed on" Indirect;
    "an indirect descriptor that also has a next one" IndirectNext;
    "an indirect descriptor in an indirect table" Nested;
    "an indirect table that is empty, no multiple of 16 bytes long, or longer than 32768 descriptors" Table;
}

impl From<Outside> for Fault {
    fn from(_: Outside) -> Fault {
        Fault::Address
    }
}

/// Where a ring is and what was agreed about it. Addresses are the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many descriptors.
    pub size: u16,
    /// Where they are.
    pub descriptors: u64,
    /// What the driver writes: the available ring, or of a packed ring its event suppression.
    pub driver: u64,
    /// What the device writes: the used ring, or of a packed ring its event suppression.
    pub device: u64,
    /// VIRTIO_F_RING_PACKED.
    pub packed: bool,
    /// VIRTIO_F_RING_EVENT_IDX (VIRTIO_F_EVENT_IDX).
    pub event_idx: bool,
    /// VIRTIO_F_RING_INDIRECT_DESC.
    pub indirect: bool,
}

/// Where in a ring to go on, as VHOST_USER_SET_VRING_BASE and VHOST_USER_GET_VRING_BASE carry it: of a split ring an index,
/// of a packed one two positions with their wrap counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base(u32);

impl Base {
    /// As the message has it.
    pub const fn from_bits(bits: u32) -> Base {
        Base(bits)
    }

    /// As the message has it.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Where a new ring starts.
    pub const fn start(packed: bool) -> Base {
        Base(if packed { 0x8000_8000 } else { 0 })
    }
}

/// A chain that was taken, by which it is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Chain {
    /// How long all its pieces are together.
    pub len: u32,
    /// How many pieces it has added.
    pub pieces: u32,
    /// Its head's index, or of a packed ring its buffer's id.
    id: u16,
    /// How many descriptors of the ring itself it takes.
    slots: u16,
}

/// Where a ring stood, to go back there.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    next: u16,
    wrap: bool,
}

/// The device's side of one virtqueue. Owned by one worker.
#[derive(Debug)]
pub struct Ring {
    memory: Arc<GuestMemory>,
    layout: Layout,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Split(Split),
    Packed(Packed),
}

/// Calls the same of both forms.
macro_rules! either {
    ($form:expr, $ring:ident => $call:expr) => {
        match $form {
            Form::Split($ring) => $call,
            Form::Packed($ring) => $call,
        }
    };
}

impl Ring {
    /// The ring at `layout`, from `base` on.
    ///
    /// A split ring whose used index in memory is behind `base`, by less than its size, goes on there: what lies between
    /// was taken by one who did not complete it. Of a packed ring's base only the available half counts, as there are
    /// front-ends that leave the other empty.
    ///
    /// # Errors
    /// [`Fault::Size`], [`Fault::Ring`], [`Fault::Base`].
    pub fn new(memory: Arc<GuestMemory>, layout: &Layout, base: Base) -> Result<Ring, Fault> {
        let sound = if layout.packed { layout.size > 0 } else { layout.size.is_power_of_two() };
        if !sound || layout.size > MAX_SIZE {
            return Err(Fault::Size);
        }
        let areas = Areas::of(&memory, layout)?;
        let form = if layout.packed {
            Form::Packed(Packed::new(areas, layout, base)?)
        } else {
            Form::Split(Split::new(areas, layout, base))
        };
        Ok(Ring { memory, layout: layout.clone(), form })
    }

    /// The memory that its pieces are in.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// How many descriptors it has.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Whether there is something to take. One load.
    #[inline]
    pub fn has_available(&self) -> bool {
        either!(&self.form, ring => ring.has_available())
    }

    /// Takes a chain of buffers that the guest has filled, and adds its pieces, in order, to `pieces`. `None`: there is
    /// none, and nothing is added.
    ///
    /// # Errors
    /// Whatever is wrong with the chain, also one that has a buffer to be written; nothing is added.
    #[inline]
    pub fn pop_readable(&mut self, pieces: &mut Vec<Piece>) -> Result<Option<Chain>, Fault> {
        self.pop::<false>(pieces)
    }

    /// Takes a chain of buffers that are to be filled, otherwise like [`Ring::pop_readable`].
    ///
    /// # Errors
    /// Whatever is wrong with the chain, also one that has a buffer to be read; nothing is added.
    #[inline]
    pub fn pop_writable(&mut self, pieces: &mut Vec<Piece>) -> Result<Option<Chain>, Fault> {
        self.pop::<true>(pieces)
    }

    #[inline(always)]
    fn pop<const WRITABLE: bool>(&mut self, pieces: &mut Vec<Piece>) -> Result<Option<Chain>, Fault> {
        let before = pieces.len();
        let mut chain = Pieces::<WRITABLE>::new(&self.memory, pieces);
        let popped = either!(&mut self.form, ring => ring.pop(&mut chain));
        if popped.is_err() {
            pieces.truncate(before);
        }
        popped
    }

    /// Where the ring stands now.
    #[inline]
    pub fn mark(&self) -> Mark {
        either!(&self.form, ring => ring.mark())
    }

    /// Gives back all chains that were taken since `mark`, none of which may have been completed: they are taken again.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        either!(&mut self.form, ring => ring.rewind(mark));
    }

    /// Writes down that a chain is used, with `written` bytes in it (0 for one that was to be read). The driver sees it at
    /// the next [`Ring::publish`].
    #[inline]
    pub fn complete(&mut self, chain: Chain, written: u32) {
        either!(&mut self.form, ring => ring.complete(chain, written));
    }

    /// Shows the driver all that was completed. True if it wants to be called for it.
    #[inline]
    #[must_use = "a driver that is not called may wait for ever"]
    pub fn publish(&mut self) -> bool {
        if !either!(&mut self.form, ring => ring.show()) {
            return false;
        }
        // What was shown comes before reading whether the driver wants to know; see the head of this file.
        fence(Ordering::SeqCst);
        either!(&mut self.form, ring => ring.wants_call())
    }

    /// Asks the driver not to kick. It may do so nevertheless.
    #[inline]
    pub fn suppress(&mut self) {
        either!(&mut self.form, ring => ring.suppress());
    }

    /// Asks the driver to kick for the next chain. True if one is there already, for which it may not.
    #[inline]
    #[must_use = "for what is there already, no kick may come"]
    pub fn arm(&mut self) -> bool {
        either!(&mut self.form, ring => ring.ask());
        // The wish comes before looking at the ring; see the head of this file.
        fence(Ordering::SeqCst);
        self.has_available()
    }

    /// Where to go on later: at the first chain that was not both completed and published.
    pub fn base(&self) -> Base {
        either!(&self.form, ring => ring.base())
    }

    /// How many descriptors (of a split ring: chains) were taken and neither completed nor given back.
    #[inline]
    pub fn in_flight(&self) -> u16 {
        either!(&self.form, ring => ring.in_flight())
    }
}

/// The parts of a ring in memory.
#[derive(Debug)]
struct Areas {
    descriptors: Area<16>,
    driver: Area<2>,
    device: Area<4>,
}

impl Areas {
    fn of(memory: &Arc<GuestMemory>, layout: &Layout) -> Result<Areas, Fault> {
        let size = usize::from(layout.size);
        let event = if layout.event_idx { 2 } else { 0 };
        let (driver, driver_align, device) =
            if layout.packed { (4, 4, 4) } else { (4 + 2 * size + event, 2, 4 + 8 * size + event) };
        if !layout.driver.is_multiple_of(driver_align) {
            return Err(Fault::Ring);
        }
        let bad = |_| Fault::Ring;
        Ok(Areas {
            descriptors: memory.area(layout.descriptors, 16 * size).map_err(bad)?,
            driver: memory.area(layout.driver, driver).map_err(bad)?,
            device: memory.area(layout.device, device).map_err(bad)?,
        })
    }

    /// The two halves of a descriptor: the address, and the rest.
    #[inline(always)]
    fn descriptor(&self, index: u16) -> (u64, u64) {
        let at = 16 * usize::from(index);
        (
            self.descriptors.load_u64(at, Ordering::Relaxed),
            self.descriptors.load_u64(at + 8, Ordering::Relaxed),
        )
    }
}

/// VIRTQ_DESC_F_NEXT.
const NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
const WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT.
const INDIRECT: u16 = 4;

/// The most descriptors of an indirect table, of which a chain may use [`MAX_CHAIN`].
const MAX_TABLE: u32 = 1 << 15;

/// How many descriptors an indirect table of `len` bytes has.
fn entries_of(len: u32) -> Result<u16, Fault> {
    let entries = len / 16;
    if len.is_multiple_of(16) && (1..=MAX_TABLE).contains(&entries) {
        Ok(entries as u16)
    } else {
        Err(Fault::Table)
    }
}

/// Whether a descriptor with these flags names a table of others, which it may where that was agreed on, and by itself.
fn names_table(flags: u16, agreed: bool) -> Result<bool, Fault> {
    match flags & INDIRECT != 0 {
        false => Ok(false),
        true if !agreed => Err(Fault::Indirect),
        true if flags & NEXT != 0 => Err(Fault::IndirectNext),
        true => Ok(true),
    }
}

/// Whether an index that goes from `old` to `new` passes the one behind `event` (VIRTIO 1.2, 2.7.7.2).
#[inline]
fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests;
