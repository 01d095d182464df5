//! How many descriptors the process may have open.

use std::io;
use std::mem::MaybeUninit;

use super::check;

/// Raises the limit as far as it may be raised, and gives what it is then. A guest with many queues has hundreds of
/// descriptors, and the usual limit of 1024 is there for programs that use select(2).
///
/// # Errors
/// The kernel says no.
pub fn allow_all() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel fills the structure, which lives across the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so all of it is filled.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the structure, which lives across the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_had_is_had() {
        let limit = allow_all().unwrap();
        assert_eq!(allow_all().unwrap(), limit);
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<_> = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect();
        assert_eq!(numbers, [limit, limit]);
    }
}
