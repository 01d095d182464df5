//! The clocks of processor time.

use std::io;
use std::time::Duration;

use super::check;

/// The processor time that all threads of this process have used, the kernel's work for them included.
///
/// # Errors
/// The kernel has no such clock, which no kernel lacks that this program runs on.
pub fn of_process() -> io::Result<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The same of the calling thread alone.
///
/// # Errors
/// As [`of_process`].
pub fn of_thread() -> io::Result<Duration> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to `time`, which lives across the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_for_the_thread_and_for_the_process() {
        // The process is asked first and last, so that all that the thread works in between is its work too.
        let process = of_process().unwrap();
        let thread = of_thread().unwrap();
        let mut sum = 0_u64;
        while of_thread().unwrap() == thread {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let worked = of_thread().unwrap() - thread;
        assert!(of_process().unwrap() - process >= worked);
    }
}
