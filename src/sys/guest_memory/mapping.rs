//! One region's file in our addresses.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use super::bus::{self, Guarded};
use crate::sys::check;

/// A part of a file, mapped shared for reading and writing, and guarded against the file's being cut off.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Where the part begins.
    start: *mut u8,
    /// What was mapped: whole pages of the file.
    pages: *mut libc::c_void,
    pages_len: usize,
    guarded: Guarded,
}

// SAFETY: a mapping belongs to the process, not to a thread; the pointers are what `Drop` gives back, once.
unsafe impl Send for Mapping {}
// SAFETY: nothing is done through `&Mapping` but reading its own fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on, and checks that they are there now.
    pub(super) fn new(file: &File, offset: u64, len: u64) -> io::Result<Mapping> {
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let page = page_of(file)?;
        let Some(Pages { from, len: pages_len, skip }) = Pages::around(offset, len, page) else {
            return refuse("a region that passes the end of all addresses");
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return refuse("a region of something that is no file");
        }
        if metadata.len() < offset + len {
            return refuse("a region that is longer than its file");
        }
        // SAFETY: a new mapping where the kernel finds room, of an open file; nothing of ours is replaced.
        let pages = unsafe {
            libc::mmap(
                ptr::null_mut(),
                pages_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                from,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let guarded = match bus::guard(pages as usize, pages_len) {
            Ok(guarded) => guarded,
            Err(error) => {
                // SAFETY: what was just mapped, and has been shown to nobody.
                unsafe { libc::munmap(pages, pages_len) };
                return Err(error);
            }
        };
        // A core dump of ours is not the place for a guest's memory. Where this is refused, it is only longer.
        // SAFETY: exactly what was just mapped; the advice changes nothing of its contents.
        let _ = unsafe { libc::madvise(pages, pages_len, libc::MADV_DONTDUMP) };
        // SAFETY: `Pages::around` makes `skip` less than the mapping's length.
        let start = unsafe { pages.cast::<u8>().add(skip) };
        Ok(Mapping { start, pages, pages_len, guarded })
    }

    /// Where the part begins; as many bytes as were asked for are readable and writable from here on.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Whether the file was found cut off.
    pub(super) fn broken(&self) -> bool {
        self.guarded.broken()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First the guard, or another mapping at the same addresses could be taken for this one.
        self.guarded.release();
        // SAFETY: exactly what `new` has mapped, and nobody can have kept an address of it: accesses go through
        // `GuestMemory`, which holds this mapping.
        unsafe { libc::munmap(self.pages, self.pages_len) };
    }
}

/// What has to be mapped for a part of a file.
#[derive(Debug, PartialEq, Eq)]
struct Pages {
    /// Where in the file.
    from: libc::off_t,
    /// How long: of hugetlbfs, only whole huge pages can be mapped and be replaced.
    len: usize,
    /// How far into it the part begins.
    skip: usize,
}

impl Pages {
    fn around(offset: u64, len: u64, page: u64) -> Option<Pages> {
        let from = offset / page * page;
        let end = offset.checked_add(len)?.checked_next_multiple_of(page)?;
        // No pointer may be further than `isize::MAX` from another of the same mapping.
        let len = isize::try_from(end - from).ok()? as usize;
        Some(Pages { from: from.try_into().ok()?, len, skip: (offset - from) as usize })
    }
}

/// The size of the pages that `file` is mapped by.
///
/// Only files of memory and on disks of this machine are taken. Behind another, a program or a network could stand, for
/// which a page fault would wait, and with it every port of the worker.
fn page_of(file: &File) -> io::Result<u64> {
    /// linux/magic.h; libc has not all of them.
    const HUGETLBFS: u64 = 0x9584_58f6;
    const OURS: [u64; 9] = [
        HUGETLBFS,
        0x0102_1994, // tmpfs, memfd
        0x8584_58f6, // ramfs
        0xef53,      // ext4
        0x5846_5342, // XFS
        0x9123_683e, // Btrfs
        0xca45_1a4e, // bcachefs
        0xf2f5_2010, // F2FS
        0x2fc1_2fc1, // ZFS
    ];
    let mut about = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills the structure, which lives across the call.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so all of it is filled.
    let about = unsafe { about.assume_init() };
    // Of 32 bits, whatever sign the architecture gives it.
    let kind = u64::from(about.f_type as u32);
    if !OURS.contains(&kind) {
        let what = "a region of a file that is neither of memory nor on a disk of this machine";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    if kind == HUGETLBFS {
        return Ok(about.f_bsize as u64);
    }
    // SAFETY: only asks.
    Ok(unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
}

#[cfg(test)]
mod tests {
    use super::Pages;

    #[test]
    fn whole_pages_are_mapped_around_a_part_of_a_file() {
        let huge = 2 << 20;
        assert_eq!(Pages::around(0, huge, huge), Some(Pages { from: 0, len: huge as usize, skip: 0 }));
        assert_eq!(Pages::around(0, 1, 4096), Some(Pages { from: 0, len: 4096, skip: 0 }));
        assert_eq!(
            Pages::around(3 * 4096 + huge, huge, huge),
            Some(Pages { from: 2 << 20, len: 2 * huge as usize, skip: 3 * 4096 })
        );
        assert_eq!(Pages::around(u64::MAX, 1, 4096), None);
        assert_eq!(Pages::around(u64::MAX - 4096, 4000, 4096), None);
        assert_eq!(Pages::around(0, 1 << 63, 4096), None);
    }
}
