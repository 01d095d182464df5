//! Routes by longest prefix match: address → value of the most specific prefix that contains it.
//!
//! **What it holds.** Two tries, one for each IP version, that take an address six bits at a time. A node has a slot
//! for each of the 64 values of its six bits, but stores only what differs: one bitmap tells which slots lead on, and
//! the nodes they lead to lie side by side, so that a count of bits finds one; another tells where, among the slots that
//! end the search, the answer changes, and a count of its bits finds the answer. A prefix is pushed down to the slots it
//! covers, so the search never turns back. (Asai and Ohara describe the shape as *Poptrie*, SIGCOMM 2015.)
//!
//! **Two shortcuts.** The first bits are looked up in a plain table, whose size follows the number of prefixes: 18 bits
//! for a full Internet table, 6 for a handful. Bits on which all prefixes of a subtree agree are compared at once, in a
//! jump; what differs there has the answer of the prefix above. So a lone /32 or /128 costs one step and not one for
//! every six bits, and an IPv6 lookup is about as deep as the prefixes branch, not as they are long.
//!
//! **Bound.** It is built once and never changes, and takes what its prefixes take: a step of 32 bytes where they
//! branch, at most two answers of 4 bytes for a prefix in a node, and the prefixes themselves (4 bytes of IPv4, 16 of
//! IPv6) for [`Lpm::lookup_prefix`]. See `benches/routes.rs` for what that comes to. A lookup allocates nothing and
//! looks at no more than one step for six bits of the address, whatever an attacker sends. Who wants more prefixes than
//! are allowed is refused by the configuration, which owns that limit.

mod build;
mod prefix;

pub use prefix::Prefix;

use crate::wire::address::Address;

/// The highest value that a route can have: two bits of a slot tell values from steps and from nothing.
pub const MAX_VALUE: u32 = (1 << 30) - 1;

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
            true => self.v4.find(build::key(address)),
            false => self.v6.find(build::key(address)),
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

impl Default for Lpm {
    fn default() -> Lpm {
        Lpm::build([])
    }
}

/// What is found in a place: a value, that there is none, or the step to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

const STEP: u32 = 1 << 31;
const NOTHING: u32 = 1 << 30;

impl Slot {
    const NOTHING: Slot = Slot(NOTHING);

    /// A value, at most [`MAX_VALUE`].
    fn of_value(value: u32) -> Slot {
        assert!(value <= MAX_VALUE, "a route's value is at most {MAX_VALUE}, not {value}");
        Slot(value)
    }

    fn of_step(step: u32) -> Slot {
        Slot(STEP | step)
    }

    #[inline]
    fn step(self) -> Option<u32> {
        (self.0 & STEP != 0).then_some(self.0 & !STEP)
    }

    #[inline]
    fn value(self) -> Option<u32> {
        (self.0 & NOTHING == 0).then_some(self.0)
    }
}

/// One step of a search; two to a cache line.
#[derive(Clone, Copy)]
#[repr(align(32))]
enum Step {
    /// Six bits choose.
    Node {
        /// Which slots lead on, to the steps from `steps` on, in order.
        inner: u64,
        /// At which other slots an answer begins that differs from that of the other slots before; the answers are in
        /// [`Trie::answers`] from `answers` on, in order.
        fresh: u64,
        steps: u32,
        answers: u32,
    },
    /// `len` bits (1 to 127, for a table stands before all steps) are as those of `path`, halves of one number, or else the answer is `miss`.
    Jump { path: [u64; 2], len: u8, next: Slot, miss: Slot },
}

/// The routes of one IP version. The bits of an address are the uppermost of a key.
#[derive(Clone)]
struct Trie {
    /// Bits of an index of `direct`, at least one.
    direct_bits: u32,
    direct: Box<[Slot]>,
    steps: Box<[Step]>,
    answers: Box<[Slot]>,
}

impl Trie {
    #[inline]
    fn find(&self, mut key: u128) -> Slot {
        let mut slot = self.direct[(key >> (128 - self.direct_bits)) as usize];
        key <<= self.direct_bits;
        while let Some(mut step) = slot.step() {
            slot = loop {
                match self.steps[step as usize] {
                    Step::Node { inner, fresh, steps, answers } => {
                        let bit = 1 << (key >> (128 - STRIDE));
                        let below = bit - 1;
                        if inner & bit == 0 {
                            let rank = (fresh & (below | bit)).count_ones() - 1;
                            return self.answers[(answers + rank) as usize];
                        }
                        step = steps + (inner & below).count_ones();
                        key <<= STRIDE;
                    }
                    Step::Jump { path: [high, low], len, next, miss } => {
                        let path = u128::from(high) << 64 | u128::from(low);
                        if (key ^ path) >> (128 - u32::from(len)) != 0 {
                            return miss;
                        }
                        key <<= len;
                        break next;
                    }
                }
            };
        }
        slot
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.direct) + size_of_val(&*self.steps) + size_of_val(&*self.answers)
    }
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
