//! Prefix translation for IPv6 (NPTv6, RFC 6296): one network seen as another of the same size, host by host, without
//! state. An address is mapped so that its sum stays the same, so no checksum above IP changes.

use crate::wire::address::Address;

/// The longest prefix: behind it are the 64 bits of an interface identifier.
const MAX_LEN: u8 = 64;
/// Up to here it is the word behind the first 48 bits, the subnet, that makes up for the difference; past it, one of
/// the interface identifier (sections 3.4 and 3.5).
const MAX_SUBNET_LEN: u8 = 48;

/// A prefix inside and the one it is seen as outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixPair {
    internal: u128,
    external: u128,
    len: u8,
    /// What is added to a word on the way out: the sum of the internal prefix less that of the external.
    adjustment: u16,
}

impl PrefixPair {
    /// The pair of an internal and an external prefix, each an address and how many of its bits count. The shorter is
    /// taken for one as long as the other, filled up with zeroes (section 3.1).
    ///
    /// Errors: a sentence that says which is no prefix of IPv6, has bits behind it, or is longer than 64 bits; or that both
    /// are the same.
    pub fn new(internal: (Address, u8), external: (Address, u8)) -> Result<PrefixPair, String> {
        for (address, len) in [internal, external] {
            if address.is_v4() {
                return Err(format!("{address}/{len} is no IPv6 prefix"));
            }
            if len > MAX_LEN {
                return Err(format!("{address}/{len} is longer than /{MAX_LEN}"));
            }
            if address.network(len) != address {
                return Err(format!(
                    "{address}/{len} has bits behind the prefix: {}/{len}?",
                    address.network(len)
                ));
            }
        }
        let len = internal.1.max(external.1);
        let (internal, external) = (internal.0.bits(), external.0.bits());
        if internal == external {
            return Err(format!(
                "{}/{len} is the same prefix inside and outside",
                Address::from_bits(internal)
            ));
        }
        let adjustment = add(sum(internal), !sum(external));
        Ok(PrefixPair { internal, external, len, adjustment })
    }

    /// What an internal address is outside. `None` for one that is not in the internal prefix, and for one that nothing
    /// is mapped to: of a prefix of up to 48 bits that in subnet 0xffff, of a longer that whose interface identifier is
    /// all zeroes or all ones (sections 3.4 and 3.5, erratum included).
    #[inline]
    pub fn outbound(&self, address: Address) -> Option<Address> {
        self.map(address, self.internal, self.external, self.adjustment)
    }

    /// What an external address is inside: the reverse of [`PrefixPair::outbound`].
    #[inline]
    pub fn inbound(&self, address: Address) -> Option<Address> {
        self.map(address, self.external, self.internal, !self.adjustment)
    }

    #[inline]
    fn map(&self, address: Address, from: u128, to: u128, adjustment: u16) -> Option<Address> {
        // No prefix is without bits: two such would be the same.
        if (address.bits() ^ from) >> (128 - self.len) != 0 {
            return None;
        }
        let bits = address.bits() ^ from ^ to;
        let shift = if self.len <= MAX_SUBNET_LEN { 64 } else { identifier_shift(bits as u64)? };
        let word = (bits >> shift) as u16;
        if word == 0xffff {
            return None;
        }
        let adjusted = match add(word, adjustment) {
            0xffff => 0,
            adjusted => adjusted,
        };
        Some(Address::from_bits(bits & !(0xffff << shift) | u128::from(adjusted) << shift))
    }
}

/// How far from the end the first word of an interface identifier stands that is not 0xffff.
#[inline]
fn identifier_shift(identifier: u64) -> Option<u32> {
    match identifier {
        0 => None,
        _ => [48, 32, 16, 0].into_iter().find(|shift| (identifier >> shift) as u16 != 0xffff),
    }
}

/// Both in one's complement.
#[inline]
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The sum of an address's eight words.
fn sum(bits: u128) -> u16 {
    (0..8).fold(0, |sum, word| add(sum, (bits >> (16 * word)) as u16))
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    fn prefix(text: &str) -> (Address, u8) {
        let (prefix, len) = text.split_once('/').unwrap();
        (prefix.parse::<core::net::IpAddr>().unwrap().into(), len.parse().unwrap())
    }

    fn pair(internal: &str, external: &str) -> PrefixPair {
        PrefixPair::new(prefix(internal), prefix(external)).unwrap()
    }

    /// The sum as a pseudo-header has it: 0 and 0xffff are the same.
    fn neutral(address: Address) -> u16 {
        sum(address.bits()) % 0xffff
    }

    #[track_caller]
    fn maps(pair: &PrefixPair, internal: &str, external: &str) {
        let (internal, external) = (address(internal), address(external));
        assert_eq!(pair.outbound(internal), Some(external));
        assert_eq!(pair.inbound(external), Some(internal));
        assert_eq!(neutral(internal), neutral(external));
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        let pair = pair("fd01:203:405::/48", "2001:db8:1::/48");
        assert_eq!(pair.adjustment, 0xd54f);
        maps(&pair, "fd01:203:405:1::1234", "2001:db8:1:d550::1234");
    }

    #[test]
    fn the_word_behind_48_bits_makes_up_for_the_difference_of_shorter_prefixes() {
        let pair = pair("fd00::/32", "2001:db8::/32");
        maps(&pair, "fd00:0:7:1::1", "2001:db8:7:cf48::1");
        assert_eq!(pair.outbound(address("fd00:1::1")), None, "not in the prefix");
        assert_eq!(pair.inbound(address("fd00::1")), None);
        assert_eq!(pair.outbound(address("fd00:0:7:ffff::1")), None, "subnet 0xffff");
        assert_eq!(pair.inbound(address("2001:db8:7:ffff::1")), None, "subnet 0xffff");
    }

    #[test]
    fn a_result_of_ones_is_written_as_zero() {
        let pair = pair("fd01:203:405::/48", "2001:db8:1::/48");
        maps(&pair, "fd01:203:405:2ab0::1", "2001:db8:1::1");
        maps(&pair, "fd01:203:405::1", "2001:db8:1:d54f::1");
        let mut seen = vec![false; 0x1_0000];
        for subnet in 0..0xffffu128 {
            let internal = Address::from_bits(address("fd01:203:405::9").bits() | subnet << 64);
            let external = pair.outbound(internal).unwrap();
            assert_eq!(pair.inbound(external), Some(internal));
            let word = (external.bits() >> 64) as u16;
            assert!(!std::mem::replace(&mut seen[usize::from(word)], true), "{word:#x} twice");
        }
        assert!(!seen[0xffff]);
    }

    #[test]
    fn longer_prefixes_have_a_word_of_the_identifier_make_up_for_it() {
        let pair = pair("fd00:0:0:1::/64", "2001:db8:0:2::/64");
        maps(&pair, "fd00:0:0:1:1::", "2001:db8:0:2:cf47::");
        maps(&pair, "fd00:0:0:1:ffff:1::", "2001:db8:0:2:ffff:cf47::");
        maps(&pair, "fd00:0:0:1:ffff:ffff:1:0", "2001:db8:0:2:ffff:ffff:cf47:0");
        maps(&pair, "fd00:0:0:1:ffff:ffff:ffff:1", "2001:db8:0:2:ffff:ffff:ffff:cf47");
        for identifier in ["::", ":ffff:ffff:ffff:ffff"] {
            assert_eq!(pair.outbound(address(&format!("fd00:0:0:1{identifier}"))), None);
            assert_eq!(pair.inbound(address(&format!("2001:db8:0:2{identifier}"))), None);
        }
        assert_eq!(pair.outbound(address("fd00:0:0:2::1")), None, "not in the prefix");
        assert_eq!(pair.outbound(Address::v4(0x0a00_0001)), None, "of the other version");
    }

    #[test]
    fn the_shorter_of_two_is_filled_up_with_zeroes() {
        let pair = pair("fd00::/48", "2001:db8:1:100::/56");
        maps(&pair, "fd00::12:1:0:0:1", "2001:db8:1:112:ce47::1");
        assert_eq!(pair.outbound(address("fd00:0:0:100::1")), None, "it has no room for that outside");
    }

    #[test]
    fn what_is_no_pair_of_prefixes_is_refused() {
        for (internal, external, error) in [
            ("10.0.0.0/24", "2001:db8::/48", "10.0.0.0/24 is no IPv6 prefix"),
            ("fd00::/48", "10.0.0.0/8", "10.0.0.0/8 is no IPv6 prefix"),
            ("fd00::/65", "2001:db8::/48", "fd00::/65 is longer than /64"),
            ("fd00::/48", "2001:db8::/129", "2001:db8::/129 is longer than /64"),
            ("fd00::1/48", "2001:db8::/48", "fd00::1/48 has bits behind the prefix: fd00::/48?"),
            ("fd00::/48", "fd00::/48", "fd00::/48 is the same prefix inside and outside"),
        ] {
            assert_eq!(PrefixPair::new(prefix(internal), prefix(external)), Err(error.into()));
        }
    }
}
