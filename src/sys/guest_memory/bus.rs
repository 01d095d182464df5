//! What happens when a file behind a mapping has been cut off: an access raises SIGBUS, and the process would end.
//!
//! One handler for the whole process looks the address up in a table of all guarded mappings. Is it in one, empty pages
//! of our own are mapped over all of it, the mapping is marked as broken, and the access is tried again and succeeds.
//! Any other SIGBUS goes where it would have gone without us.
//!
//! The table is static and read without locks, as a signal handler must. The mapping that a thread faults in cannot go
//! meanwhile, since that thread holds it; entries that others come and go in beside it are told by reading `start` twice.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::sys::check;

/// The most mappings at the same time, of all guests. A guest of QEMU has two or three.
const MAX_MAPPINGS: usize = 8192;

/// The most bytes of all of them. A process has twice as many addresses, and what it does without any left is to abort.
const MAX_BYTES: usize = 1 << 46;

/// How many bytes there are now.
static BYTES: AtomicUsize = AtomicUsize::new(0);

static TABLE: [Entry; MAX_MAPPINGS] = [const { Entry::new() }; MAX_MAPPINGS];

/// No entry; no mapping begins here.
const FREE: usize = 0;
/// An entry that is being filled; no mapping begins here either, since they begin at pages.
const TAKEN: usize = 1;

#[derive(Debug)]
struct Entry {
    start: AtomicUsize,
    len: AtomicUsize,
    broken: AtomicBool,
}

impl Entry {
    const fn new() -> Entry {
        Entry { start: AtomicUsize::new(FREE), len: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    /// The addresses of its mapping, if it has one and `at` is in it.
    fn around(&self, at: usize) -> Option<(usize, usize)> {
        let start = self.start.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Acquire);
        let same = start > TAKEN && self.start.load(Ordering::Acquire) == start;
        (same && at >= start && at - start < len).then_some((start, len))
    }
}

/// A mapping's entry in the table.
#[derive(Debug)]
pub(super) struct Guarded(&'static Entry);

impl Guarded {
    /// Whether its file was found cut off.
    pub(super) fn broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }

    /// Gives the entry back, before the mapping goes.
    pub(super) fn release(&self) {
        BYTES.fetch_sub(self.0.len.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.start.store(FREE, Ordering::Release);
    }
}

/// Guards the mapping of `len` bytes at `start`, which must be one, of whole pages.
pub(super) fn guard(start: usize, len: usize) -> io::Result<Guarded> {
    install()?;
    let more = |bytes: usize| bytes.checked_add(len).filter(|&bytes| bytes <= MAX_BYTES);
    if BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
        return Err(io::Error::other("too much memory of all guests"));
    }
    let free = |entry: &&Entry| {
        entry.start.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let Some(entry) = TABLE.iter().find(free) else {
        BYTES.fetch_sub(len, Ordering::Relaxed);
        return Err(io::Error::other("too many regions of all guests"));
    };
    entry.broken.store(false, Ordering::Relaxed);
    entry.len.store(len, Ordering::Release);
    entry.start.store(start, Ordering::Release);
    Ok(Guarded(entry))
}

/// What was to happen at SIGBUS before we came.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the kernel fills the structure, which lives across the call.
    check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it is filled; and all zeros would be one too.
    PREVIOUS.get_or_init(|| unsafe { previous.assume_init() });
    // SAFETY: plain data, of which all zeros is a value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler is of the type that SA_SIGINFO asks for, and does only what a handler may: loads and stores of
    // atomics, and system calls.
    check(unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) })?;
    *installed = true;
    Ok(())
}

extern "C" fn on_bus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a filled structure, in which SIGBUS has an address.
    let (code, at) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Above zero it is the kernel's own. What a program has sent has no address, and nothing is tried again after it: it
    // ends us as it would by default, where Rust's own handler would only step aside, and take ours with it.
    if code <= 0 {
        // SAFETY: sets a disposition and raises a signal, which arrives on return.
        unsafe {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            libc::raise(libc::SIGBUS);
        }
        return;
    }
    if mend(at) {
        return;
    }
    match PREVIOUS.get() {
        Some(previous) if ![libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction) => {
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: whoever has installed it with SA_SIGINFO has given a function of this type.
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    unsafe { std::mem::transmute(previous.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO it is a function of this type.
                let handler: extern "C" fn(libc::c_int) =
                    unsafe { std::mem::transmute(previous.sa_sigaction) };
                handler(signal);
            }
        }
        _ => {
            // SAFETY: sets a disposition; the access at fault is tried again on return, and ends the process.
            unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        }
    }
}

/// Puts empty pages in the place of the mapping that `at` is in; false if it is in none.
fn mend(at: usize) -> bool {
    let Some((entry, (start, len))) = TABLE.iter().find_map(|entry| Some((entry, entry.around(at)?))) else {
        return false;
    };
    // SAFETY: errno is this thread's, and always there.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: exactly a mapping that `Mapping` has made and still holds, since the thread that is interrupted here is in
    // the middle of an access through it. Nothing of ours points into it but by `GuestMemory`, for which any bytes will
    // do; so it may be replaced.
    let pages = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    // SAFETY: as above; the interrupted code may have been about to look at it.
    unsafe { *libc::__errno_location() = errno };
    if pages == libc::MAP_FAILED {
        return false;
    }
    entry.broken.store(true, Ordering::Relaxed);
    true
}
