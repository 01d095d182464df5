//! Making a trie of routes in order, subtree by subtree.

use super::{Prefix, STEP, STRIDE, Slot, Step, Trie};
use crate::wire::address::Address;

/// A route of one IP version.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// The network; see [`key`].
    pub(super) key: u128,
    /// Length of the prefix.
    pub(super) len: u8,
    value: Slot,
}

/// An address with its first bit uppermost, whatever its version.
#[inline]
pub(super) fn key(address: Address) -> u128 {
    match address.is_v4() {
        true => u128::from(address.v4_bits()) << 96,
        false => address.bits(),
    }
}

/// The routes of IPv4 and of IPv6, one for a prefix, each in the order of networks; of one network the shorter prefix
/// first. So a prefix comes right before those that it contains.
pub(super) fn sorted(routes: impl IntoIterator<Item = (Prefix, u32)>) -> [Vec<Route>; 2] {
    let mut versions = [Vec::new(), Vec::new()];
    for (prefix, value) in routes {
        let prefix = Prefix::new(prefix.network, prefix.len);
        let route = Route { key: key(prefix.network), len: prefix.len, value: Slot::of_value(value) };
        versions[usize::from(!prefix.network.is_v4())].push(route);
    }
    for routes in &mut versions {
        routes.sort_by_key(|route| (route.key, route.len));
        routes.dedup_by(|later, first| {
            let same = (later.key, later.len) == (first.key, first.len);
            if same {
                first.value = later.value;
            }
            same
        });
    }
    versions
}

/// The trie of routes as [`sorted`] has them.
pub(super) fn trie(routes: &[Route]) -> Trie {
    let mut builder = Builder { steps: Vec::new(), answers: Vec::new() };
    // Multiples of the stride, so that a node ends at /24; about as much memory as the prefixes themselves, or less.
    let direct_bits = match routes.len() {
        0..1_024 => STRIDE,
        1_024..65_536 => 2 * STRIDE,
        _ => 3 * STRIDE,
    };
    let (routes, default) = split_own(routes, 0, Slot::NOTHING);
    let mut direct = vec![default; 1 << direct_bits];
    for (at, inside) in spread(routes, 0, direct_bits, &mut direct) {
        direct[at] = builder.slot(inside, direct_bits, direct[at]);
    }
    Trie { direct_bits, direct: direct.into(), steps: builder.steps.into(), answers: builder.answers.into() }
}

/// A subtree's routes are those whose first `depth` bits lead there and that are longer; `above` is the answer where
/// none of them applies.
struct Builder {
    steps: Vec<Step>,
    answers: Vec<Slot>,
}

impl Builder {
    /// What leads to a subtree.
    fn slot(&mut self, routes: &[Route], depth: u32, above: Slot) -> Slot {
        if routes.is_empty() {
            return above;
        }
        let at = self.reserve(1);
        self.fill(at, routes, depth, above);
        Slot::of_step(at)
    }

    /// Room for steps side by side. What stands there is not used before it is filled.
    fn reserve(&mut self, count: u32) -> u32 {
        let at = self.steps.len() as u32;
        assert!(at + count < STEP, "a trie has fewer than 2^31 steps");
        let room = Step::Jump { path: [0; 2], len: 1, next: Slot::NOTHING, miss: Slot::NOTHING };
        self.steps.resize((at + count) as usize, room);
        at
    }

    /// Makes the step at `at` the root of a subtree, which has routes.
    fn fill(&mut self, at: u32, routes: &[Route], depth: u32, above: Slot) {
        let agreed = agreed(routes);
        self.steps[at as usize] = match agreed - depth {
            // A node chooses by more than it would by the bits that follow the agreed ones.
            0..STRIDE if routes.len() > 1 => self.node(routes, depth, above),
            len => {
                let (inside, answer) = split_own(routes, agreed, above);
                let next = self.slot(inside, agreed, answer);
                let path = routes[0].key << depth;
                Step::Jump { path: [(path >> 64) as u64, path as u64], len: len as u8, next, miss: above }
            }
        };
    }

    fn node(&mut self, routes: &[Route], depth: u32, above: Slot) -> Step {
        let mut slots = [above; 1 << STRIDE];
        let subtrees: Vec<_> = spread(routes, depth, STRIDE, &mut slots);
        let inner = subtrees.iter().fold(0, |inner: u64, (at, _)| inner | 1 << at);
        let answers = self.answers.len() as u32;
        let mut fresh = 0;
        for (at, &slot) in slots.iter().enumerate().filter(|(at, _)| inner >> at & 1 == 0) {
            if fresh == 0 || self.answers.last() != Some(&slot) {
                fresh |= 1 << at;
                self.answers.push(slot);
            }
        }
        let steps = self.reserve(subtrees.len() as u32);
        for (step, (at, inside)) in (steps..).zip(subtrees) {
            self.fill(step, inside, depth + STRIDE, slots[at]);
        }
        Step::Node { inner, fresh, steps, answers }
    }
}

/// Takes the route that ends at `depth` off its subtree's routes, whose answer it is: otherwise `above`.
fn split_own(routes: &[Route], depth: u32, above: Slot) -> (&[Route], Slot) {
    match routes.split_first() {
        Some((first, inside)) if u32::from(first.len) == depth => (inside, first.value),
        _ => (routes, above),
    }
}

/// How many of the first bits all routes have in common. Only the first can be shorter than what the first and the last
/// network agree on, since it would contain them all.
fn agreed(routes: &[Route]) -> u32 {
    match routes {
        [first, .., last] => (first.key ^ last.key).leading_zeros().min(first.len.into()),
        [only] => only.len.into(),
        [] => 0,
    }
}

/// Writes what routes that end within `bits` bits behind `depth` say to the `slots` for these, and finds the slots that
/// longer ones lead through, each with those.
fn spread<'r>(routes: &'r [Route], depth: u32, bits: u32, slots: &mut [Slot]) -> Vec<(usize, &'r [Route])> {
    let index = |route: &Route| ((route.key << depth) >> (128 - bits)) as usize;
    let mut subtrees = Vec::new();
    let mut rest = routes;
    while let Some(first) = rest.first() {
        let at = index(first);
        let len = u32::from(first.len) - depth;
        let count = if len <= bits {
            slots[at..at + (1 << (bits - len))].fill(first.value);
            1
        } else {
            let count = rest.iter().take_while(|route| index(route) == at).count();
            subtrees.push((at, &rest[..count]));
            count
        };
        rest = &rest[count..];
    }
    subtrees
}
