//! Memory of a guest, which its front-end has given us by file descriptors, and which the guest writes while we read.
//!
//! Nothing is ever trusted in it and nothing borrowed from it: there is no `&[u8]` over guest memory, only copies in and
//! out by raw pointers, each checked against the regions, and atomic accesses of an [`Area`]. What a copy of memory that
//! is being written gives is any mixture of old and new; whoever copies twice may get two answers. The other writer is
//! another process (or, where a guest names one buffer twice, another worker's copy like our own), the compiler knows
//! nothing of it, and the bytes mean nothing to the program's own state: that is what makes the copies sound.
//!
//! The front-end can also cut off the file behind a mapping. Then a copy raises SIGBUS, which `bus` answers by putting
//! empty pages in the place of the mapping: the copy ends with zeros, and [`GuestMemory::broken`] says so from then on.
//! It costs that guest its port, and nobody else anything.
//!
//! A mapping lives as long as a [`GuestMemory`] that has it; tables that are made of one another share theirs.

mod area;
mod bus;
mod mapping;

use std::fs::File;
use std::io;
use std::ptr;
use std::sync::Arc;

pub use area::Area;
use mapping::Mapping;

/// The most regions that one guest's memory may have: as many as QEMU and the kernel have slots for.
pub const MAX_REGIONS: usize = 509;

/// The most bytes that one guest's memory may have: a file may claim to be of any length, and our addresses are all of
/// ours, of which the allocator needs some too.
pub const MAX_LEN: u64 = 1 << 42;

/// One region as a front-end describes it.
#[derive(Debug)]
pub struct Region {
    /// Its guest physical address.
    pub guest: u64,
    /// Where the front-end itself has it mapped; rings are named by such addresses.
    pub user: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// The file, which has to be of memory or on a disk of this machine, open for reading and writing.
    pub file: File,
}

/// A range of addresses that is not, or not all in one region, in a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address outside of the guest's memory")]
pub struct Outside;

/// All of a guest's memory. To be held by [`Arc`], from rings too.
///
/// Every access lies in one region: what spans two is refused, and [`extent`](GuestMemory::extent) tells where to part it.
#[derive(Debug, Default)]
pub struct GuestMemory {
    /// By guest address; no two overlap, neither in guest addresses nor in the front-end's.
    spans: Vec<Span>,
    /// The longest of `spans` once more, looked at first.
    longest: Place,
}

/// Where a region is for us.
#[derive(Clone, Copy, Debug)]
struct Place {
    guest: u64,
    len: u64,
    host: *mut u8,
}

impl Default for Place {
    fn default() -> Place {
        Place { guest: 0, len: 0, host: ptr::null_mut() }
    }
}

// SAFETY: the pointer is only used through `GuestMemory`, whose `Span`s keep what it points to mapped, and only for
// accesses that any thread may do at any time.
unsafe impl Send for Place {}
// SAFETY: as for `Send`.
unsafe impl Sync for Place {}

impl Place {
    /// Our address of `len` bytes at `at`, if all of them are here.
    #[inline(always)]
    fn find(&self, at: u64, len: u64) -> Option<*mut u8> {
        let offset = at.wrapping_sub(self.guest);
        if offset < self.len && len <= self.len - offset {
            // SAFETY: `offset` is less than `len`, and that many bytes from `host` on are mapped, as `Mapping` has checked.
            Some(unsafe { self.host.add(offset as usize) })
        } else {
            None
        }
    }
}

#[derive(Clone, Debug)]
struct Span {
    place: Place,
    user: u64,
    mapping: Arc<Mapping>,
}

impl GuestMemory {
    /// Maps all of `regions`; the files are closed, the mappings stay.
    ///
    /// # Errors
    /// What [`GuestMemory::with`] refuses.
    pub fn map(regions: Vec<Region>) -> io::Result<GuestMemory> {
        let mut memory = GuestMemory::default();
        for region in regions {
            memory.insert(region)?;
        }
        Ok(memory)
    }

    /// The same memory with one region more.
    ///
    /// # Errors
    /// A region that is empty, overlaps another in either kind of address or passes the end of them, a file that is
    /// shorter, or that is of a kind where reading could wait for ever; too many regions or bytes, of one guest or of all; and
    /// what mmap says, such as EACCES for a file that is not open for writing.
    pub fn with(&self, region: Region) -> io::Result<GuestMemory> {
        let mut memory = GuestMemory { spans: self.spans.clone(), longest: self.longest };
        memory.insert(region)?;
        Ok(memory)
    }

    /// The same memory without the region that these addresses and length are of; `None`: there is none.
    pub fn without(&self, guest: u64, user: u64, len: u64) -> Option<GuestMemory> {
        let is = |span: &Span| span.place.guest == guest && span.place.len == len && span.user == user;
        let gone = self.spans.iter().position(is)?;
        let mut spans = self.spans.clone();
        spans.remove(gone);
        let longest = longest(&spans);
        Some(GuestMemory { spans, longest })
    }

    fn insert(&mut self, region: Region) -> io::Result<()> {
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let Region { guest, user, len, offset, file } = region;
        if len == 0 {
            return refuse("a region of no length");
        }
        if self.spans.len() == MAX_REGIONS {
            return refuse("too many regions");
        }
        if guest.checked_add(len).is_none() || user.checked_add(len).is_none() {
            return refuse("a region that passes the end of all addresses");
        }
        let apart = |a: u64, a_len: u64, b: u64| a + a_len <= b || b + len <= a;
        let clear = |span: &Span| {
            apart(span.place.guest, span.place.len, guest) && apart(span.user, span.place.len, user)
        };
        if !self.spans.iter().all(clear) {
            return refuse("regions that overlap");
        }
        let before: u64 = self.spans.iter().map(|span| span.place.len).sum();
        if len > MAX_LEN - before {
            return refuse("more than 4 TiB of memory");
        }
        let mapping = Mapping::new(&file, offset, len)?;
        let place = Place { guest, len, host: mapping.start() };
        let at = self.spans.partition_point(|span| span.place.guest < guest);
        self.spans.insert(at, Span { place, user, mapping: Arc::new(mapping) });
        self.longest = longest(&self.spans);
        Ok(())
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.spans.len()
    }

    /// Whether the front-end has cut off a file behind this memory, and it was noticed. What has been read since may be
    /// zeros, what has been written is lost: the guest's port has to end.
    pub fn broken(&self) -> bool {
        self.spans.iter().any(|span| span.mapping.broken())
    }

    /// The guest address of `len` bytes that the front-end has at `user`.
    pub fn guest_of_user(&self, user: u64, len: u64) -> Option<u64> {
        self.spans.iter().find_map(|span| {
            let offset = user.checked_sub(span.user)?;
            (offset < span.place.len && len <= span.place.len - offset).then(|| span.place.guest + offset)
        })
    }

    /// How many of the `len` bytes at `at` are in the region that the first of them is in; 0: it is in none.
    pub fn extent(&self, at: u64, len: u64) -> u64 {
        self.span_of(at).map_or(0, |place| len.min(place.len - (at - place.guest)))
    }

    /// Copies what is at `at` to `into`.
    ///
    /// # Errors
    /// Not all of it is in one region; nothing is copied.
    #[inline]
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Outside> {
        let from = self.find(at, into.len() as u64)?;
        // SAFETY: `find` has checked that all of it is in a mapping that `self` keeps, and `into` is of that length. The
        // two do not overlap: nobody has a reference into a mapping. For other writers see the head of this file.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies `from` to what is at `at`.
    ///
    /// # Errors
    /// Not all of it is in one region; nothing is copied.
    #[inline]
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Outside> {
        let to = self.find(at, from.len() as u64)?;
        // SAFETY: as in `read`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Copies `len` bytes at `at` to what is at `to_at` in `to`, which may be this same memory and overlap.
    ///
    /// # Errors
    /// Not all of it is in one region, here or there; nothing is copied.
    #[inline]
    pub fn copy(&self, at: u64, to: &GuestMemory, to_at: u64, len: usize) -> Result<(), Outside> {
        let from = self.find(at, len as u64)?;
        let to = to.find(to_at, len as u64)?;
        // SAFETY: as in `read`, for both; `copy` allows for an overlap, which a guest can have us make.
        unsafe { ptr::copy(from, to, len) };
        Ok(())
    }

    /// Whether all of the `len` bytes at `at` are in one region. The processor begins to fetch the first two lines of them,
    /// which hold a short frame and its header, as whoever asks will want them soon.
    #[inline]
    pub fn holds(&self, at: u64, len: u32) -> bool {
        let Ok(_at) = self.find(at, len.into()) else { return false };
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in [_at, _at.wrapping_add(64)] {
                // SAFETY: a prefetch reads nothing that the program could see, and raises no signal wherever it points.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
        }
        true
    }

    /// A window on `len` bytes at `at`.
    ///
    /// # Errors
    /// Not all of it is in one region, it is shorter than `ALIGN`, or it does not begin at a multiple of that.
    pub fn area<const ALIGN: usize>(
        self: &Arc<GuestMemory>,
        at: u64,
        len: usize,
    ) -> Result<Area<ALIGN>, Outside> {
        let start = self.find(at, len as u64)?;
        Area::new(self.clone(), start, len).filter(|_| at.is_multiple_of(ALIGN as u64)).ok_or(Outside)
    }

    #[inline(always)]
    fn find(&self, at: u64, len: u64) -> Result<*mut u8, Outside> {
        match self.longest.find(at, len) {
            Some(host) => Ok(host),
            None => self.span_of(at).and_then(|place| place.find(at, len)).ok_or(Outside),
        }
    }

    /// The region that `at` is in.
    fn span_of(&self, at: u64) -> Option<&Place> {
        let after = self.spans.partition_point(|span| span.place.guest <= at);
        let place = &self.spans.get(after.checked_sub(1)?)?.place;
        (at - place.guest < place.len).then_some(place)
    }
}

fn longest(spans: &[Span]) -> Place {
    spans.iter().map(|span| span.place).max_by_key(|place| place.len).unwrap_or_default()
}

#[cfg(test)]
mod tests;
