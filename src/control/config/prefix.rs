//! Networks and ranges of addresses, as the configuration writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::document::Item;
use super::net;

/// A network. Displayed as `10.0.0.0/8`, and read from that, or from a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// Its first address: no bit is set behind the prefix.
    pub address: IpAddr,
    /// How many bits its addresses have in common: at most 32 of IPv4, 128 of IPv6.
    pub length: u8,
}

impl Prefix {
    /// The network that `address` is in, when networks have `length` bits, at most as many as the address has.
    pub fn around(address: IpAddr, length: u8) -> Prefix {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Prefix { address, length }
    }

    /// The network of one address.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, length: bits(address) }
    }

    /// The network of all addresses, of IPv4 or of IPv6.
    pub fn all(ipv4: bool) -> Prefix {
        let address = if ipv4 { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
        Prefix { address, length: 0 }
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() | host).into()
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() | host).into()
            }
        }
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && Prefix::around(address, self.length) == *self
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// What `address`, which is in it, is there if it is that of no host: the first and last addresses of an IPv4 network
    /// (RFC 1122, 3.2.1.3) that is longer than two (RFC 3021), the first of an IPv6 network (RFC 4291, 2.6.1; RFC 6164).
    pub fn reserves(&self, address: IpAddr) -> Option<&'static str> {
        if self.length + 1 >= bits(address) {
            return None;
        }
        match address.is_ipv4() {
            true if address == self.address => Some("the address of a network"),
            true if address == self.last() => Some("the broadcast address of its network"),
            false if address == self.address => Some("the anycast address of its network's routers"),
            _ => None,
        }
    }

    /// All of its addresses.
    pub fn range(&self) -> RangeInclusive<IpAddr> {
        self.address..=self.last()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        net::network(&Item::leaf(text.into())).map_err(|fault| fault.message)
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Prefix, String> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(network: Prefix) -> String {
        network.to_string()
    }
}

/// The bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A range of addresses as the configuration writes it: one address, a network, or the first and the last.
pub fn addresses_text(range: &RangeInclusive<IpAddr>) -> String {
    let (first, last) = (*range.start(), *range.end());
    if first == last {
        return first.to_string();
    }
    let network = (0..bits(first)).map(|length| Prefix::around(first, length));
    match network.into_iter().find(|network| network.range() == *range) {
        Some(network) => network.to_string(),
        None => format!("{first}-{last}"),
    }
}

/// Ports as the configuration writes them: one, or the first and the last.
pub fn ports_text(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::around(address.parse().unwrap(), length.parse().unwrap())
    }

    #[test]
    fn a_network_has_a_first_and_a_last_address() {
        for (text, first, last) in [
            ("10.9.8.7/8", "10.0.0.0", "10.255.255.255"),
            ("10.9.8.7/32", "10.9.8.7", "10.9.8.7"),
            ("10.9.8.7/0", "0.0.0.0", "255.255.255.255"),
            ("fd00:9::1/64", "fd00:9::", "fd00:9::ffff:ffff:ffff:ffff"),
            ("fd00:9::1/128", "fd00:9::1", "fd00:9::1"),
            ("fd00:9::1/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let found = network(text);
            assert_eq!(
                (found.address.to_string(), found.last().to_string()),
                (first.into(), last.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.9.0.0/16", true),
            ("10.9.0.0/16", "10.0.0.0/8", true),
            ("10.9.0.0/24", "10.9.1.0/24", false),
            ("0.0.0.0/0", "::/0", false),
            ("::/0", "fd00::/8", true),
        ] {
            assert_eq!(network(a).overlaps(&network(b)), overlap, "{a} {b}");
        }
        assert!(network("10.0.0.0/8").contains("10.1.2.3".parse().unwrap()));
        assert!(!network("10.0.0.0/8").contains("11.1.2.3".parse().unwrap()));
        assert!(!network("::/0").contains("11.1.2.3".parse().unwrap()));
    }

    #[test]
    fn ranges_print_as_the_shortest_that_says_the_same() {
        let range = |first: &str, last: &str| first.parse().unwrap()..=last.parse().unwrap();
        for (first, last, text) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.0", "10.0.0.255", "10.0.0.0/24"),
            ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2"),
            ("fd00::", "fd00::1", "fd00::/127"),
        ] {
            assert_eq!(addresses_text(&range(first, last)), text);
        }
        assert_eq!((ports_text(&(5..=5)), ports_text(&(5..=9))), ("5".into(), "5-9".into()));
    }
}
