//! IP addresses of both versions as one number, so that tables and comparisons have one case.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address, in 128 bits. An IPv4 address is the IPv4-mapped IPv6 address that stands for it (RFC 4291
/// section 2.5.5.2). None such is ever taken from an IPv6 header: those are no addresses on a wire, and
/// [`Packet::of`](crate::packet::Packet::of) refuses them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(u128);

/// The upper 96 bits of all IPv4 addresses.
const V4: u128 = 0xffff << 32;

impl Address {
    /// The IPv4 address that is this number.
    #[inline]
    pub const fn v4(bits: u32) -> Address {
        Address(V4 | bits as u128)
    }

    /// The address with these 128 bits.
    #[inline]
    pub const fn from_bits(bits: u128) -> Address {
        Address(bits)
    }

    /// All 128 bits.
    #[inline]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Whether it is one of IPv4.
    #[inline]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == V4 >> 32
    }

    /// The 32 bits of an IPv4 address; of another, its last.
    #[inline]
    pub const fn v4_bits(self) -> u32 {
        self.0 as u32
    }

    /// Bits that the addresses of a prefix have in common, as all 128 bits count: 96 more for IPv4.
    #[inline]
    pub const fn prefix_bits(self, len: u8) -> u8 {
        if self.is_v4() { len + 96 } else { len }
    }

    /// The first address of the network that has `len` bits in common with this one, as its version counts.
    #[inline]
    pub const fn network(self, len: u8) -> Address {
        let host = 128 - self.prefix_bits(len) as u32;
        Address(match u128::MAX.checked_shl(host) {
            Some(mask) => self.0 & mask,
            None => 0,
        })
    }

    /// The last address of that network.
    #[inline]
    pub const fn last(self, len: u8) -> Address {
        let host = 128 - self.prefix_bits(len) as u32;
        Address(match u128::MAX.checked_shl(host) {
            Some(mask) => self.0 | !mask,
            None => u128::MAX,
        })
    }

    /// Whether it is a multicast address.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        if self.is_v4() { self.0 as u32 >> 28 == 0xe } else { self.0 >> 120 == 0xff }
    }

    /// Whether it is valid on one link only: fe80::/10 and 169.254.0.0/16.
    #[inline]
    pub const fn is_link_local(self) -> bool {
        if self.is_v4() { self.0 as u32 >> 16 == 0xa9fe } else { self.0 >> 118 == 0x3fa }
    }

    /// Whether it is 0.0.0.0 or ::.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0 || self.0 == V4
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(address: Ipv4Addr) -> Address {
        Address::v4(address.to_bits())
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(address: Ipv6Addr) -> Address {
        Address(address.to_bits())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Address {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> IpAddr {
        match address.is_v4() {
            true => Ipv4Addr::from_bits(address.v4_bits()).into(),
            false => Ipv6Addr::from_bits(address.0).into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn both_versions_read_and_print_the_same() {
        for text in ["10.0.0.1", "0.0.0.0", "255.255.255.255", "fd00::1", "::", "ff02::1"] {
            assert_eq!(address(text).to_string(), text);
            assert_eq!(address(text).is_v4(), !text.contains(':'));
        }
    }

    #[test]
    fn networks_begin_and_end() {
        for (text, len, first, last) in [
            ("10.9.8.7", 24, "10.9.8.0", "10.9.8.255"),
            ("10.9.8.7", 0, "0.0.0.0", "255.255.255.255"),
            ("10.9.8.7", 32, "10.9.8.7", "10.9.8.7"),
            ("fd00::1:2", 112, "fd00::1:0", "fd00::1:ffff"),
            ("fd00::1", 0, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fd00::1", 128, "fd00::1", "fd00::1"),
        ] {
            assert_eq!(address(text).network(len), address(first), "{text}/{len}");
            assert_eq!(address(text).last(len), address(last), "{text}/{len}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let multicast = ["224.0.0.1", "239.255.255.255", "ff02::1"];
        let link_local = ["169.254.0.1", "fe80::1", "febf::1"];
        for text in
            multicast.iter().chain(&link_local).chain(&["10.0.0.1", "fd00::1", "fec0::1", "::", "240.0.0.1"])
        {
            assert_eq!(address(text).is_multicast(), multicast.contains(text), "{text}");
            assert_eq!(address(text).is_link_local(), link_local.contains(text), "{text}");
        }
        assert!(address("::").is_unspecified() && address("0.0.0.0").is_unspecified());
    }
}
