//! Ethernet II frames and 802.1Q tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of an Ethernet header.
pub const HEADER_LEN: usize = 14;
/// Bytes of a VLAN tag.
pub const TAG_LEN: usize = 4;
/// EtherType of a customer tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service tag (802.1ad).
pub const QINQ: u16 = 0x88a8;
/// Most tags that are passed over: a deeper stack is nothing a switch needs to look into.
pub const MAX_TAGS: usize = 4;

/// A MAC address, in the low 48 bits, most significant byte first on the wire: comparing and hashing it is one
/// instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(u64);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Mac = Mac(0xffff_ffff_ffff);

    /// The address with these bytes.
    pub const fn new(b: [u8; 6]) -> Mac {
        Mac(u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]))
    }

    /// The address in the low 48 bits of `bits`; the others are ignored.
    #[inline]
    pub const fn from_bits(bits: u64) -> Mac {
        Mac(bits & 0xffff_ffff_ffff)
    }

    /// The address as a number below 2^48.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The address as it stands on the wire.
    pub const fn octets(self) -> [u8; 6] {
        let b = self.0.to_be_bytes();
        [b[2], b[3], b[4], b[5], b[6], b[7]]
    }

    /// Whether it names a group (multicast or broadcast).
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0 & 0x0100_0000_0000 != 0
    }

    /// Whether it is all zero.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of 01-80-C2-00-00-00 to -0F, which a bridge never forwards (802.1Q 8.6.3).
    #[inline]
    pub const fn is_link_local(self) -> bool {
        self.0 & !0xf == 0x0180_c200_0000
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.octets();
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() <= 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = part.and_then(|p| u8::from_str_radix(p, 16).ok());
            *octet =
                value.ok_or_else(|| format!("\"{text}\" is no MAC address (expected 02:00:00:00:00:01)"))?;
        }
        match parts.next() {
            None => Ok(Mac::new(octets)),
            Some(_) => Err(format!("\"{text}\" is no MAC address (more than six bytes)")),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// The EtherType behind all VLAN tags and where its payload begins; `None` when the frame ends before, or has more tags
/// than [`MAX_TAGS`].
pub fn payload(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    for _ in 0..=MAX_TAGS {
        let ether_type = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        if ether_type != VLAN && ether_type != QINQ {
            return Some((ether_type, at + 2));
        }
        at += TAG_LEN;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_and_prints_the_same() {
        let mac: Mac = "02:0a:00:ff:00:01".parse().unwrap();
        assert_eq!(mac.octets(), [2, 10, 0, 255, 0, 1]);
        assert_eq!(mac.to_string(), "02:0a:00:ff:00:01");
        assert_eq!("2-A-0-FF-0-1".parse(), Ok(mac));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:0g",
            "002:0:0:0:0:0",
            "+1:0:0:0:0:0",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_told_apart() {
        assert!(Mac::BROADCAST.is_group());
        assert!(Mac::new([1, 0, 0x5e, 0, 0, 1]).is_group());
        assert!(!Mac::new([2, 0, 0, 0, 0, 1]).is_group());
        assert!(Mac::new([1, 0x80, 0xc2, 0, 0, 0x0f]).is_link_local());
        assert!(!Mac::new([1, 0x80, 0xc2, 0, 0, 0x10]).is_link_local());
    }

    #[test]
    fn the_payload_is_found_behind_tags_and_depth_is_bounded() {
        let mut frame = vec![0; 12];
        frame.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xdd, 0x60]);
        assert_eq!(payload(&frame), Some((0x86dd, 22)));
        for end in 0..22 {
            assert_eq!(payload(&frame[..end]), None);
        }
        let deep: Vec<u8> = [0; 12].into_iter().chain([0x81, 0, 0, 1].repeat(6)).collect();
        assert_eq!(payload(&deep), None);
    }
}
