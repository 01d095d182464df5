//! Views over the bytes of frames: what etherparse has none of, or what the hot path edits in place.
//!
//! The contract: a function that takes a slice and gives an `Option` looks before it reads and never panics, whatever
//! the bytes. One that gives plain values names the length it needs under `# Panics`; its caller has looked. Fields
//! are read and written where they stand; nothing here allocates. Constants carry the names of their RFCs.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
pub mod virtio_net;
