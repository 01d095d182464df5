//! What opening any port on a network device begins with: its name, its namespace.

use std::io;

use super::PortError;
use crate::sys::netns::Netns;
use crate::sys::tun::MAX_NAME;

/// Refuses what the kernel would not take as the name of a device, and `%`, by which it would make up a name.
pub(super) fn check_name(device: &str) -> Result<(), PortError> {
    let odd = |b: u8| b.is_ascii_whitespace() || matches!(b, 0 | b'/' | b':' | b'%');
    if (1..=MAX_NAME).contains(&device.len()) && !device.bytes().any(odd) && device != "." && device != ".." {
        Ok(())
    } else {
        Err(PortError::BadName(device.into()))
    }
}

/// Opens a port of `device` inside its namespace.
pub(super) fn inside<T: Send>(
    device: &str,
    netns: Option<&Netns>,
    open: impl FnOnce() -> Result<T, PortError> + Send,
) -> Result<T, PortError> {
    let Some(netns) = netns else { return open() };
    netns.run(open).unwrap_or_else(|error| Err(entering(device, netns, error)))
}

fn entering(device: &str, netns: &Netns, error: io::Error) -> PortError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::EINVAL) => {
            PortError::UnknownNetns(device.into(), netns.clone())
        }
        _ => PortError::system(device, "enter its network namespace", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_the_kernel_takes() {
        for good in ["a", "vm-1.10", "fifteen-bytes-x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "tap%d", "sixteen-bytes-xx"] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{bad:?} is no name for a device: give 1 to 15 bytes")),
                "{error}"
            );
        }
    }
}
