//! The only `unsafe` code: thin, safe wrappers over system calls that the standard library has none for.
//!
//! Nothing here decides anything: an error is the kernel's errno, a name is the kernel's. What it means for a port is
//! said in `port`. Reading and writing frames on a TAP needs nothing from here, since a [`File`](std::fs::File) does it
//! in one system call.
#![allow(unsafe_code)]

pub mod alarm;
mod ancillary;
pub mod clock;
pub mod datagrams;
pub mod descriptors;
pub mod guest_memory;
pub mod hangup;
pub mod inet;
pub mod mmsg;
pub mod netns;
pub mod packet;
pub mod packet_ring;
pub mod peer;
pub mod steering;
pub mod tun;

use std::io;

/// The user that this process acts as.
pub fn effective_user() -> u32 {
    // SAFETY: the call cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}

/// Turns the return value of a libc call into a result.
fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
