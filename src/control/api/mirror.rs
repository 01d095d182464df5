//! Mirrors, as the API shows them.

use serde::{Deserialize, Serialize};

/// A mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorInfo {
    /// Its name.
    pub name: String,
    /// The ports whose frames are copied, those of `bridge` not among them unless they are named too.
    pub ports: Vec<String>,
    /// The bridge of all whose ports frames are copied.
    pub bridge: Option<String>,
    /// `both`, `in` or `out`.
    pub direction: String,
    /// The VLANs whose frames alone are copied, `10,20-29`.
    pub vlans: Option<String>,
    /// The frames that alone are copied, in the words of tcpdump.
    pub filter: Option<String>,
    /// Bytes after which a copy is cut.
    pub snap: Option<u32>,
    /// The port that sends the copies.
    pub to: String,
    /// Copies that were made.
    pub frames: u64,
    /// Their bytes, of those that were cut what was left.
    pub bytes: u64,
    /// Copies that were cut, to `snap` or to what the port takes.
    pub cut: u64,
    /// Copies, or parts of them, that the port did not take; its own drops say why.
    pub drops: u64,
}
