//! A window on guest memory, checked once, for what a ring reads and writes all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::GuestMemory;

/// A part of a guest's memory that lies in one region and begins at a multiple of `ALIGN`, for the guest and for us.
///
/// All numbers in it are little-endian. Offsets are in bytes.
///
/// # Panics
/// Like a slice's index, an offset that is not in the window, or not at a multiple of the number's size, panics: offsets
/// are to be made of numbers that have been checked. A number longer than `ALIGN` does not compile.
#[derive(Debug)]
pub struct Area<const ALIGN: usize> {
    start: *mut u8,
    /// At least `ALIGN`.
    len: usize,
    /// Keeps it mapped.
    _memory: Arc<GuestMemory>,
}

// SAFETY: the window is of a mapping that belongs to the process and that the `Arc` keeps; all accesses are atomic.
unsafe impl<const ALIGN: usize> Send for Area<ALIGN> {}
// SAFETY: as for `Send`.
unsafe impl<const ALIGN: usize> Sync for Area<ALIGN> {}

macro_rules! accesses {
    ($($load:ident $store:ident $number:ty, $atomic:ty;)*) => {
        $(
            /// The number at `offset`.
            #[inline(always)]
            pub fn $load(&self, offset: usize, order: Ordering) -> $number {
                let at = self.at::<{ size_of::<$number>() }>(offset);
                // SAFETY: `at` has checked that it is in the mapping and aligned, and we only ever access it atomically
                // here; copies of the same bytes by `GuestMemory` are those of a lying guest, see there.
                <$number>::from_le(unsafe { <$atomic>::from_ptr(at.cast()) }.load(order))
            }

            /// Sets the number at `offset`.
            #[inline(always)]
            pub fn $store(&self, offset: usize, value: $number, order: Ordering) {
                let at = self.at::<{ size_of::<$number>() }>(offset);
                // SAFETY: as for loading.
                unsafe { <$atomic>::from_ptr(at.cast()) }.store(value.to_le(), order);
            }
        )*
    };
}

impl<const ALIGN: usize> Area<ALIGN> {
    /// `None`: too short, or not at a multiple of `ALIGN` in our addresses. `start` and `len` are of `memory`.
    pub(super) fn new(memory: Arc<GuestMemory>, start: *mut u8, len: usize) -> Option<Area<ALIGN>> {
        let sound = len >= ALIGN && (start as usize).is_multiple_of(ALIGN);
        sound.then_some(Area { start, len, _memory: memory })
    }

    accesses! {
        load_u16 store_u16 u16, AtomicU16;
        load_u32 store_u32 u32, AtomicU32;
        load_u64 store_u64 u64, AtomicU64;
    }

    #[inline(always)]
    fn at<const SIZE: usize>(&self, offset: usize) -> *mut u8 {
        const { assert!(ALIGN.is_multiple_of(SIZE)) };
        // The difference is no less than 0, since `len` is at least `ALIGN`. Where an offset is a sum of multiples, the
        // compiler knows the second for itself.
        assert!(
            offset <= self.len - SIZE && offset.is_multiple_of(SIZE),
            "an offset in the window, at the number's alignment"
        );
        // SAFETY: just checked to be in the window, which is in a mapping.
        unsafe { self.start.add(offset) }
    }
}
