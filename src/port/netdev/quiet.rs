//! Keeping the host's own stack silent on an interface that the switch has: no IPv6, so that it makes itself no address
//! and takes none from what a router behind the port advertises, and no answers to ARP for addresses that the host has
//! elsewhere.

use std::fs;
use std::io;

use super::super::link::Links;

/// What is set under `/proc/sys/net/FAMILY/conf/INTERFACE`, which shows the namespace of who looks.
const SETTINGS: [(&str, &str, &str); 2] = [("ipv6", "disable_ipv6", "1"), ("ipv4", "arp_ignore", "8")];

/// A setting that was another before.
#[derive(Debug)]
pub(super) struct Changed {
    path: String,
    before: String,
}

/// Silences the stack on the interface, as far as that can be done, and says what was otherwise before.
pub(super) fn set(device: &str, index: u32, links: &mut Links) -> Vec<Changed> {
    let mut changed = Vec::new();
    for (family, key, value) in SETTINGS {
        let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
        match put(&path, value) {
            Ok(before) => changed.extend(before.map(|before| Changed { path, before })),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // In a container /proc/sys may be read-only. Without an address of its own the interface says little.
                let helped = family == "ipv6" && links.set_no_own_ipv6(index).is_ok();
                let rest = if helped { "; it makes itself no address, at least" } else { "" };
                tracing::warn!(device, "cannot set {key} to {value}: {error}{rest} (sysctl {path})");
            }
        }
    }
    changed
}

/// Gives what stood there when it was another.
fn put(path: &str, value: &str) -> io::Result<Option<String>> {
    let before = fs::read_to_string(path)?;
    if before.trim() == value {
        return Ok(None);
    }
    fs::write(path, value).map(|()| Some(before))
}

/// Sets what was changed to what it was before.
pub(super) fn restore(changed: &[Changed]) {
    for Changed { path, before } in changed {
        if let Err(error) = fs::write(path, before) {
            tracing::warn!("cannot set {path} back to {}: {error}", before.trim());
        }
    }
}
