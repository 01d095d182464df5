//! Routes by longest prefix match: address → value of the most specific prefix that contains it.
//!
//! **What it holds.** Two tries, one for each IP version, that take an address six bits at a time. A node has a slot
//! for each of the 64 values of its six bits, but stores only those that differ from the slot before: a bitmap tells
//! which, and a count of its bits finds the one to read, mostly in the same cache line. A prefix is pushed down to the
//! slots it covers, so the search never turns back. (Degermark et al., SIGCOMM 1997, and Asai and Ohara, SIGCOMM 2015,
//! compress nodes like this.)
//!
//! **Two shortcuts.** The first bits are looked up in a plain table, whose size follows the number of prefixes: 18 bits
//! for a full Internet table, 6 for a handful. Bits on which all prefixes of a subtree agree are compared at once, in a
//! jump; what differs there has the answer of the prefix above. So a lone /128 costs one or two steps and not one for
//! every six bits, and an IPv6 lookup is about as deep as the prefixes branch, not as they are long.
//!
//! **Bound.** It is built once and never changes, and takes what its prefixes take. A node is 8 bytes and 4 for each of
//! its slots that differ, a jump 20; and [`Lpm::lookup_prefix`] needs the prefixes themselves, 4 bytes of IPv4 and 16 of
//! IPv6. A million prefixes such as the Internet's are 15 MiB, as many random hosts 34 MiB, 200,000 of IPv6 10 MiB; ten
//! are below 4 KiB. A lookup allocates nothing and looks at no more than one step for six bits of the address, whatever
//! is sent. Who adds the routes pays: how many there may be is for the configuration to say.

mod build;
mod prefix;

pub use prefix::Prefix;

use core::fmt;

use crate::wire::address::Address;

/// The highest value that a route can have: the numbers above mean that there is none, or more to look up.
pub const MAX_VALUE: u32 = (1 << 31) - 2;

/// Bits a node takes of an address.
const STRIDE: u32 = 6;

/// Routes of both IP versions, for looking up what an address's most specific one leads to.
#[derive(Clone)]
pub struct Lpm {
    v4: Trie,
    v6: Trie,
    v4_prefixes: Prefixes<u32>,
    v6_prefixes: Prefixes<u128>,
}

impl Lpm {
    /// The table of these routes, each with its value. Of two routes for one prefix the last one counts.
    ///
    /// # Panics
    ///
    /// When a value is above [`MAX_VALUE`]. Values are meant to be indices of something the caller holds.
    pub fn build(routes: impl IntoIterator<Item = (Prefix, u32)>) -> Lpm {
        let [v4, v6] = build::sorted(routes);
        Lpm {
            v4: build::trie(&v4),
            v6: build::trie(&v6),
            v4_prefixes: Prefixes::new(&v4, |key| (key >> 96) as u32),
            v6_prefixes: Prefixes::new(&v6, |key| key),
        }
    }

    /// The value of the most specific route to an address.
    #[inline]
    pub fn lookup(&self, address: Address) -> Option<u32> {
        match address.is_v4() {
            true => self.v4.find(u64::from(address.v4_bits()) << 32),
            false => self.v6.find(address.bits()),
        }
        .value()
    }

    /// The most specific route to an address, whole. For people: it searches the prefixes length by length.
    pub fn lookup_prefix(&self, address: Address) -> Option<(Prefix, u32)> {
        let value = self.lookup(address)?;
        let len = match address.is_v4() {
            true => self.v4_prefixes.longest(|len| address.network(len).v4_bits()),
            false => self.v6_prefixes.longest(|len| address.network(len).bits()),
        }?;
        Some((Prefix::new(address, len), value))
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.v4_prefixes.len() + self.v6_prefixes.len()
    }

    /// Whether nothing has a route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Lpm>()
            + self.v4.bytes()
            + self.v6.bytes()
            + self.v4_prefixes.bytes()
            + self.v6_prefixes.bytes()
    }
}

impl fmt::Debug for Lpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lpm").field("prefixes", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Lpm {
    fn default() -> Lpm {
        Lpm::build([])
    }
}

/// What is found in a place: a value, that there is none, or the step to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

/// Tells steps from values.
const STEP: u32 = 1 << 31;
/// Tells jumps from nodes.
const JUMP: u32 = 1 << 30;

impl Slot {
    const NOTHING: Slot = Slot(MAX_VALUE + 1);

    /// A value, at most [`MAX_VALUE`].
    fn of_value(value: u32) -> Slot {
        assert!(value <= MAX_VALUE, "a route's value is at most {MAX_VALUE}, not {value}");
        Slot(value)
    }

    #[inline]
    fn value(self) -> Option<u32> {
        (self.0 <= MAX_VALUE).then_some(self.0)
    }
}

/// The routes of one IP version. The bits of an address are the uppermost of a key.
#[derive(Clone)]
struct Trie {
    /// Bits of an index of `direct`, at least one.
    direct_bits: u32,
    direct: Box<[Slot]>,
    /// Nodes and jumps, each from the place on that its slot tells:
    ///
    /// * a node is a bitmap, lower half first, of the slots before which another begins than the one before; and these,
    ///   in order;
    /// * a jump is how many bits it compares (1 to 63), these as the uppermost of 64, lower half first, what is found
    ///   when they differ, and what when they do not.
    steps: Box<[u32]>,
}

/// Words before the slots of a node.
const NODE_HEADER: usize = 2;
/// Words of a jump.
const JUMP_LEN: usize = 5;

impl Trie {
    #[inline]
    fn find<K: Key>(&self, mut key: K) -> Slot {
        let mut slot = self.direct[(key.upper() >> (64 - self.direct_bits)) as usize].0;
        key = key << self.direct_bits;
        while slot & STEP != 0 {
            let step = &self.steps[(slot & !(STEP | JUMP)) as usize..];
            if slot & JUMP == 0 {
                let upto = u64::MAX >> (63 - (key.upper() >> (64 - STRIDE)));
                slot = step[NODE_HEADER - 1 + (wide(step[0], step[1]) & upto).count_ones() as usize];
                key = key << STRIDE;
            } else {
                // The builder adds jumps whole.
                let [len, low, high, miss, next] = *step.first_chunk::<JUMP_LEN>().expect("a jump is whole");
                let same = (key.upper() ^ wide(low, high)) >> (64 - len) == 0;
                slot = if same { next } else { miss };
                key = key << len;
            }
        }
        Slot(slot)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.direct) + size_of_val(&*self.steps)
    }
}

/// An address with its first bit uppermost: in 128 bits, or in 64, which is quicker where it is one of IPv4.
trait Key: Copy + core::ops::Shl<u32, Output = Self> {
    /// The uppermost 64 bits.
    fn upper(self) -> u64;
}

impl Key for u64 {
    #[inline]
    fn upper(self) -> u64 {
        self
    }
}

impl Key for u128 {
    #[inline]
    fn upper(self) -> u64 {
        (self >> 64) as u64
    }
}

#[inline]
fn wide(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The prefixes of one IP version: for each length that occurs, longest first, the networks in order.
#[derive(Clone)]
struct Prefixes<T>(Box<[(u8, Box<[T]>)]>);

impl<T: Ord> Prefixes<T> {
    /// Those of `routes`, which are in the order of their networks.
    fn new(routes: &[build::Route], network: impl Fn(u128) -> T) -> Prefixes<T> {
        let mut by_len: Vec<Vec<T>> = Vec::new();
        for route in routes {
            let len = usize::from(route.len);
            if by_len.len() <= len {
                by_len.resize_with(len + 1, Vec::new);
            }
            by_len[len].push(network(route.key));
        }
        let lengths = by_len.into_iter().enumerate().rev().filter(|(_, networks)| !networks.is_empty());
        Prefixes(lengths.map(|(len, networks)| (len as u8, networks.into())).collect())
    }

    /// The longest length of which the network that `network` tells is there.
    fn longest(&self, network: impl Fn(u8) -> T) -> Option<u8> {
        self.0
            .iter()
            .find(|(len, networks)| networks.binary_search(&network(*len)).is_ok())
            .map(|(len, _)| *len)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, networks)| networks.len()).sum()
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.0) + self.len() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests;
