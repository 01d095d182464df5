//! Making a trie of routes in order, subtree by subtree.

use super::{JUMP, Prefix, STEP, STRIDE, Slot, Trie};
use crate::wire::address::Address;

/// Most bits that a jump compares: a shift by all 64 bits of an IPv4 key would be none.
const MAX_JUMP: u32 = 63;

/// A route of one IP version.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// The network, its first bit uppermost.
    pub(super) key: u128,
    /// Length of the prefix.
    pub(super) len: u8,
    value: Slot,
}

/// An address with its first bit uppermost, whatever its version.
fn key(address: Address) -> u128 {
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
    let mut steps = Steps(Vec::new());
    // Multiples of the stride, so that a node ends at /24; above the first, at most 16 bytes for a prefix.
    let direct_bits = match routes.len() {
        0..1_024 => STRIDE,
        1_024..65_536 => 2 * STRIDE,
        _ => 3 * STRIDE,
    };
    let (routes, default) = split_own(routes, 0, Slot::NOTHING);
    let mut direct = vec![default; 1 << direct_bits];
    for (at, inside) in spread(routes, 0, direct_bits, &mut direct) {
        direct[at] = steps.add(inside, direct_bits, direct[at]);
    }
    Trie { direct_bits, direct: direct.into(), steps: steps.0.into() }
}

/// What becomes [`Trie::steps`].
struct Steps(Vec<u32>);

impl Steps {
    /// Adds a subtree: what leads to it. Its routes are those whose first `depth` bits lead there and that are longer;
    /// `above` is found where none of them applies.
    fn add(&mut self, routes: &[Route], depth: u32, above: Slot) -> Slot {
        let Some(agreed) = agreed(routes) else {
            return above;
        };
        // Only a jump over more than a node takes saves a step.
        match agreed - depth {
            0..=STRIDE => self.add_node(routes, depth, above),
            len => self.add_jump(routes, depth, len.min(MAX_JUMP), above),
        }
    }

    fn add_jump(&mut self, routes: &[Route], depth: u32, len: u32, above: Slot) -> Slot {
        let end = depth + len;
        let (inside, own) = split_own(routes, end, above);
        let next = self.add(inside, end, own);
        let path = (routes[0].key << depth >> 64) as u64 >> (64 - len) << (64 - len);
        let at = self.end();
        self.0.extend([len, path as u32, (path >> 32) as u32, above.0, next.0]);
        Slot(STEP | JUMP | at)
    }

    fn add_node(&mut self, routes: &[Route], depth: u32, above: Slot) -> Slot {
        let mut slots = [above; 1 << STRIDE];
        for (at, inside) in spread(routes, depth, STRIDE, &mut slots) {
            slots[at] = self.add(inside, depth + STRIDE, slots[at]);
        }
        let mut bitmap = 1u64;
        for (at, pair) in (1..).zip(slots.windows(2)) {
            bitmap |= u64::from(pair[0] != pair[1]) << at;
        }
        let at = self.end();
        self.0.extend([bitmap as u32, (bitmap >> 32) as u32]);
        self.0.extend((0..1 << STRIDE).filter(|at| bitmap >> at & 1 != 0).map(|at| slots[at].0));
        Slot(STEP | at)
    }

    /// Where the next step will be.
    fn end(&self) -> u32 {
        let end = self.0.len() as u32;
        assert!(end < JUMP, "a trie takes less than 4 GiB");
        end
    }
}

/// Takes the route that ends at `depth` off its subtree's routes, whose answer it is: otherwise `above`.
fn split_own(routes: &[Route], depth: u32, above: Slot) -> (&[Route], Slot) {
    match routes.split_first() {
        Some((first, inside)) if u32::from(first.len) == depth => (inside, first.value),
        _ => (routes, above),
    }
}

/// How many of the first bits all routes have in common, if there are any. Only the first can be shorter than what the
/// first and the last network agree on, since it would contain them all.
fn agreed(routes: &[Route]) -> Option<u32> {
    let [first, last] = [routes.first()?, routes.last()?];
    Some((first.key ^ last.key).leading_zeros().min(first.len.into()))
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
