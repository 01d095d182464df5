//! Views over the bytes of frames: what etherparse has none of, or what the hot path edits in place.
//!
//! The contract: a function that takes a slice and gives an `Option` looks before it reads and never panics, whatever
//! the bytes. One that gives plain values names the length it needs under `# Panics`; its caller has looked. Fields
//! are read and written where they stand; nothing here allocates. Constants carry the names of their RFCs.

pub mod address;
pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod tcp;
pub mod udp;
pub mod virtio_net;

/// The big-endian number at `at`.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes `value` to `at`, big endian.
#[inline]
pub(crate) fn set_be16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
