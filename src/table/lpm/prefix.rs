//! A network and its length, as routes and rules name it.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::wire::address::Address;

/// The addresses that have their first `len` bits in common. Reads and prints as `10.0.0.0/8` or `fd00::/8`; an address
/// without a length reads as that address alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first of them: all bits behind the first `len` are zero.
    pub network: Address,
    /// Length in bits as the version of `network` counts: at most 32 for IPv4, 128 for IPv6.
    pub len: u8,
}

impl Prefix {
    /// The prefix of `len` bits that `address` is in. A length above what the version has is taken for that.
    pub const fn new(address: Address, len: u8) -> Prefix {
        let longest = Prefix::longest(address);
        let len = if len > longest { longest } else { len };
        Prefix { network: address.network(len), len }
    }

    /// This address alone.
    pub const fn host(address: Address) -> Prefix {
        Prefix::new(address, Prefix::longest(address))
    }

    /// Whether an address is in it. None of the other version is, not even in `::/0`.
    #[inline]
    pub const fn contains(self, address: Address) -> bool {
        address.is_v4() == self.network.is_v4() && address.network(self.len).bits() == self.network.bits()
    }

    /// The last address in it.
    pub const fn last(self) -> Address {
        self.network.last(self.len)
    }

    /// Length of an address in bits.
    const fn longest(address: Address) -> u8 {
        if address.is_v4() { 32 } else { 128 }
    }
}

impl From<Address> for Prefix {
    fn from(address: Address) -> Prefix {
        Prefix::host(address)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// Bits behind the length have to be zero: who writes others means another length, or an address.
    fn from_str(text: &str) -> Result<Prefix, String> {
        let prefix = match text.split_once('/') {
            Some((address, len)) => parsed(address).zip(length(len)),
            None => parsed(text).map(|address| (address, Prefix::longest(address))),
        };
        let Some((address, len)) = prefix.filter(|&(address, len)| len <= Prefix::longest(address)) else {
            return Err(format!("\"{text}\" is no prefix (expected \"10.0.0.0/8\" or \"fd00::/8\")"));
        };
        let prefix = Prefix::new(address, len);
        if prefix.network != address {
            return Err(format!(
                "\"{text}\" has bits behind its length that are not zero: the network is {prefix}"
            ));
        }
        Ok(prefix)
    }
}

fn parsed(text: &str) -> Option<Address> {
    text.parse::<IpAddr>().ok().map(Address::from)
}

fn length(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        parsed(text).unwrap()
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_reads_and_prints_the_same() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "fd00::/8", "2001:db8::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.7"), prefix("192.0.2.7/32"));
        assert_eq!(prefix("fd00::1"), prefix("fd00::1/128"));
        for bad in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
        ] {
            assert!(bad.parse::<Prefix>().unwrap_err().contains("is no prefix"), "{bad}");
        }
        for (bad, network) in
            [("10.0.0.1/8", "10.0.0.0/8"), ("fd00::1/64", "fd00::/64"), ("0.0.0.1/0", "0.0.0.0/0")]
        {
            assert!(bad.parse::<Prefix>().unwrap_err().contains(network), "{bad}");
        }
        // The upper 96 bits of what stands for IPv4 addresses are no network of IPv6.
        assert!("::ffff:0:0/96".parse::<Prefix>().is_err());
    }

    #[test]
    fn bits_behind_the_length_are_masked() {
        assert_eq!(Prefix::new(address("10.9.8.7"), 8), prefix("10.0.0.0/8"));
        assert_eq!(Prefix::new(address("10.9.8.7"), 200), prefix("10.9.8.7/32"));
        assert_eq!(Prefix::new(address("fd00::7"), 200), prefix("fd00::7/128"));
        assert_eq!(Prefix::new(address("fd00::7"), 0), prefix("::/0"));
    }

    #[test]
    fn a_prefix_contains_its_addresses_and_none_of_the_other_version() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "ffff::"]),
            ("::/0", ["::", "ffff::"], ["0.0.0.0", "255.255.255.255"]),
            ("::/64", ["::", "::1"], ["0.0.0.0", "0:0:0:1::"]),
            ("fd00::1/128", ["fd00::1", "fd00::1"], ["fd00::", "fd00::2"]),
        ] {
            let prefix = prefix(text);
            assert!(inside.iter().all(|text| prefix.contains(address(text))), "{text}");
            assert!(!outside.iter().any(|text| prefix.contains(address(text))), "{text}");
            assert_eq!([prefix.network, prefix.last()].map(|end| prefix.contains(end)), [true; 2], "{text}");
        }
    }
}
