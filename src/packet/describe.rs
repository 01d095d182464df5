//! Frames from their description, for a synthetic trace: `eth dst 02:00:00:00:00:02/ip src 10.9.0.1 dst 10.9.0.2/tcp
//! dport 80` or bytes in hexadecimal.
//!
//! A description names layers from the outside in, parted by `/`, each with keys and values in any order:
//!
//! | layer | keys |
//! |---|---|
//! | `eth` | `dst`, `src` (MAC addresses), `type` |
//! | `vlan ID` | `pcp`, `tpid`, `dei`; the outermost first |
//! | `arp` | `src`, `dst` (IP addresses: who asks, and about whom), `src-mac`, `dst-mac`, `request`, `reply` |
//! | `ip`, `ip6` | `src`, `dst`, `ttl`, `tos`, `proto`; in IPv4 also `id`, `df`, `mf`, `offset` (bytes) |
//! | `tcp` | `sport`, `dport`, `flags` (`syn,ack`, `none`), `seq`, `ack`, `window` |
//! | `udp` | `sport`, `dport` |
//! | `icmp`, `icmp6` | `type`, `code`, `id`, `seq` |
//! | `payload` | a number of bytes, or the bytes as `0x…` |
//!
//! Everything may be left out. Lower layers are implied by what they carry, lengths and checksums are right, addresses of
//! the lower layer follow from those of the upper one where they do (groups), and the rest is in [`Defaults`].

mod build;
mod hex;
mod layers;

use core::net::{Ipv4Addr, Ipv6Addr};

pub use hex::hex;

use super::{Layer, MAX_FRAME};
use crate::wire::ethernet::Mac;

/// What is filled in where a description says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// What the frame begins with: on a port that carries IP, a description has no `eth`.
    pub layer: Layer,
    /// The MAC address that it comes from: whoever is behind the port.
    pub source_mac: Mac,
    /// The MAC address that it goes to, where the layer above names no group.
    pub destination_mac: Mac,
    /// The IPv4 addresses that it comes from and goes to.
    pub ipv4: (Ipv4Addr, Ipv4Addr),
    /// The IPv6 addresses that it comes from and goes to.
    pub ipv6: (Ipv6Addr, Ipv6Addr),
}

impl Default for Defaults {
    /// Stations 02:00:00:00:00:01 and :02, and addresses that are reserved for documentation (RFC 5737, RFC 3849).
    fn default() -> Defaults {
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        Defaults {
            layer: Layer::Ethernet,
            source_mac: Mac::from_bits(0x0200_0000_0001),
            destination_mac: Mac::from_bits(0x0200_0000_0002),
            ipv4: (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)),
            ipv6: (v6(1), v6(2)),
        }
    }
}

/// The bytes of the frame that `text` describes, by its layers or in hexadecimal: in one piece, in words, with colons, or as
/// a dump with offsets before the bytes and characters behind. Bytes are taken as they are; a frame of layers is filled up
/// to what Ethernet carries at least.
///
/// # Errors
/// One line: the column, counted in characters from 1, what stands there, and what was expected.
pub fn describe(text: &str, defaults: &Defaults) -> Result<Vec<u8>, String> {
    let bytes = match hex::looks_like_it(text) {
        true => hex::read(text)?,
        false => build::frame(&layers::read(text)?, defaults)?,
    };
    match bytes.len() {
        0 => Err("the description is empty (expected layers such as `ip dst 10.9.0.2/tcp dport 80`, or hexadecimal bytes)".to_owned()),
        len if len > MAX_FRAME => Err(format!("a frame of {len} bytes is too long (expected at most {MAX_FRAME})")),
        _ => Ok(bytes),
    }
}
