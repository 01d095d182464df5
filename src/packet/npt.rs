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
        if address.network(self.len).bits() != from {
            return None;
        }
        let bits = address.bits() ^ from ^ to;
        let shift = if self.len <= MAX_SUBNET_LEN { 64 } else { self.identifier_shift(bits as u64)? };
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

    /// How far from the end the first word of an interface identifier stands that is not 0xffff.
    #[inline]
    fn identifier_shift(&self, identifier: u64) -> Option<u32> {
        match identifier {
            0 => None,
            _ => [48, 32, 16, 0].into_iter().find(|shift| (identifier >> shift) as u16 != 0xffff),
        }
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
