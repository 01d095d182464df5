//! What a worker remembers of the flows that it has routed: the outcome of routes, rules and NAT, so that the next packet
//! costs one lookup however many of those there are.
//!
//! An entry is for one flow exactly as it comes in, and holds only while everything is as it was when it was made: the
//! topology (all entries are forgotten when it changes), the neighbours' addresses (their generation stands in the entry)
//! and the connection (its stamp does). What may differ from packet to packet of one flow is not in it: a packet that
//! must not take this way is kept from it by who asks.
//!
//! Direct-mapped in pairs; a new flow takes the place of another. The cache grows while flows of use lose their places. What
//! takes long is done a slice at a time: it grows in place, in memory that was reserved for the largest, and what a change of
//! topology has made void is counted out at once, and given up later.

use std::sync::Arc;

use crate::packet::rewrite::Translation;
use crate::packet::{BridgeId, InterfaceId, PortId, Tuple, Vid};
use crate::table::conntrack::{Direction, Session};
use crate::table::fdb_cache::Place;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// The smallest cache: 200 KiB.
const MIN_FLOWS: usize = 1 << 10;
/// The largest, some 25 MiB a worker.
const MAX_FLOWS: usize = 1 << 17;

/// Places that are made at once when it grows.
const SLICE: usize = 64;
/// Places of which what is forgotten is given up at once.
const FORGOTTEN: usize = 256;

/// An odd number whose bits have no pattern: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A flow as it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::switch) struct Key {
    pub(in crate::switch) tuple: Tuple,
    /// The router and its interface.
    pub(in crate::switch) at: (u16, InterfaceId),
}

/// Where packets go when everything about them is decided.
#[derive(Clone, Copy, Debug)]
pub(in crate::switch) enum Onward {
    /// To a station of a bridge.
    Bridge {
        bridge: BridgeId,
        vid: Vid,
        /// The station.
        to: Mac,
        /// Where its port is looked up.
        place: Place,
        /// The router's own address there.
        from: Mac,
        /// The next hop, as the neighbour table knows the station.
        via: Address,
    },
    /// To the other end of a port that carries IP.
    Port(PortId),
}

/// What is known of a flow.
pub(in crate::switch) struct Flow {
    pub(in crate::switch) key: Key,
    /// The generation of the neighbour table.
    pub(in crate::switch) neighbors: u32,
    /// The connection with its stamp, and which way this flow goes.
    pub(in crate::switch) session: Option<(Arc<Session>, u32, Direction)>,
    pub(in crate::switch) translation: Option<Translation>,
    pub(in crate::switch) output: InterfaceId,
    /// The longest packet that leaves there.
    pub(in crate::switch) mtu: u32,
    pub(in crate::switch) onward: Onward,
    /// The counters of the rules that let it pass.
    pub(in crate::switch) rules: Box<[u32]>,
    /// When the neighbour table was last told that it is in use, in seconds.
    pub(in crate::switch) told: u32,
}

/// The flows of one worker.
pub(in crate::switch) struct FlowCache {
    seed: u64,
    flows: Vec<Option<Entry>>,
    /// How many of the places are in use, a power of two, or none; while it grows there are more.
    used: usize,
    /// Entries of another age are void.
    age: u32,
    /// Places behind it may still hold such.
    kept_from: usize,
    /// Flows that lost their place to others since the cache last grew.
    crowded: usize,
}

struct Entry {
    age: u32,
    flow: Flow,
}

impl FlowCache {
    pub(in crate::switch) fn new(seed: u64) -> FlowCache {
        FlowCache { seed, flows: Vec::new(), used: 0, age: 0, kept_from: 0, crowded: 0 }
    }

    /// A hash of a flow, the same for all packets of one direction.
    #[inline]
    pub(in crate::switch) fn hash(&self, tuple: &Tuple) -> u64 {
        let (source, destination) = (tuple.source.bits(), tuple.destination.bits());
        let ports = u64::from(tuple.source_port) << 32
            | u64::from(tuple.destination_port) << 16
            | u64::from(tuple.protocol);
        let mut hash = self.seed;
        if tuple.source.is_v4() {
            let addresses = u64::from(tuple.source.v4_bits()) << 32 | u64::from(tuple.destination.v4_bits());
            return fold(fold(hash ^ addresses, FACTOR) ^ ports, self.seed | 1);
        }
        for word in
            [source as u64, (source >> 64) as u64, destination as u64, (destination >> 64) as u64, ports]
        {
            hash = fold(hash ^ word, FACTOR);
        }
        fold(hash, self.seed | 1)
    }

    /// Forgets everything. What that was takes memory until [`FlowCache::forget_some`] has seen it.
    pub(in crate::switch) fn clear(&mut self) {
        self.age = self.age.wrapping_add(1);
        self.kept_from = 0;
    }

    /// Gives up some of what is forgotten; true when there may be more.
    pub(in crate::switch) fn forget_some(&mut self) -> bool {
        let end = (self.kept_from + FORGOTTEN).min(self.flows.len());
        let places = self.flows[self.kept_from..end].iter_mut();
        places.for_each(|place| _ = place.take_if(|entry| entry.age != self.age));
        self.kept_from = end;
        end < self.flows.len()
    }

    /// What is known of a flow, whose tuple has this hash.
    #[inline]
    pub(in crate::switch) fn get(&mut self, key: &Key, hash: u64) -> Option<&mut Flow> {
        let first = self.slot(hash)?;
        let at = [first, first ^ 1].into_iter().find(|&at| self.holds(at, key))?;
        self.flows[at].as_mut().map(|entry| &mut entry.flow)
    }

    /// Remembers a flow.
    pub(in crate::switch) fn put(&mut self, hash: u64, flow: Flow) {
        if self.used == 0 {
            // Addresses only: memory is taken as far as it is used. Where even they are short, growing will move it.
            let _ = self.flows.try_reserve_exact(MAX_FLOWS);
            self.grow_to(MIN_FLOWS);
        } else if self.crowded > self.used / 2 && self.used < MAX_FLOWS {
            self.grow();
        }
        let Some(first) = self.slot(hash) else { return };
        let pair = [first, first ^ 1];
        let own = pair.into_iter().find(|&at| self.holds(at, &flow.key));
        let is_free = |at: &usize| self.flows[*at].as_ref().is_none_or(|entry| entry.age != self.age);
        let free = pair.into_iter().find(is_free);
        let at = own.or(free).unwrap_or_else(|| {
            self.crowded += 1;
            first
        });
        self.flows[at] = Some(Entry { age: self.age, flow });
    }

    #[inline]
    fn holds(&self, at: usize, key: &Key) -> bool {
        self.flows[at].as_ref().is_some_and(|entry| entry.flow.key == *key && entry.age == self.age)
    }

    /// Makes some more places. When there are twice as many, half of the flows have theirs in a new one, and are soon known
    /// there.
    #[cold]
    fn grow(&mut self) {
        let wanted = 2 * self.used;
        match self.flows.len() + SLICE {
            places if places < wanted => self.flows.resize_with(places, || None),
            _ => self.grow_to(wanted),
        }
    }

    fn grow_to(&mut self, places: usize) {
        self.flows.resize_with(places, || None);
        self.used = places;
        self.crowded = 0;
    }

    #[inline]
    fn slot(&self, hash: u64) -> Option<usize> {
        // An empty cache has no slot; any other a power of two.
        Some(hash as usize & self.used.checked_sub(1)?)
    }
}

#[inline]
fn fold(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(n: u32) -> Flow {
        let tuple = Tuple {
            source: Address::from(std::net::Ipv4Addr::from(n)),
            destination: Address::from(std::net::Ipv4Addr::from(!n)),
            ..Tuple::default()
        };
        Flow {
            key: Key { tuple, at: (0, InterfaceId(1)) },
            neighbors: n,
            session: None,
            translation: None,
            output: InterfaceId(2),
            mtu: 1500,
            onward: Onward::Port(PortId(0)),
            rules: Box::default(),
            told: 0,
        }
    }

    fn put(cache: &mut FlowCache, n: u32) {
        let flow = flow(n);
        cache.put(cache.hash(&flow.key.tuple), flow);
    }

    fn known(cache: &mut FlowCache, n: u32) -> Option<u32> {
        let key = flow(n).key;
        let hash = cache.hash(&key.tuple);
        cache.get(&key, hash).map(|flow| flow.neighbors)
    }

    #[test]
    fn it_grows_a_slice_at_a_time_and_keeps_flows_apart() {
        let mut cache = FlowCache::new(7);
        put(&mut cache, 0);
        for round in 0..3 {
            for n in 0..20_000 {
                let before = cache.flows.len();
                put(&mut cache, n);
                assert!(cache.flows.len() - before <= SLICE);
                assert_eq!(known(&mut cache, n), Some(n), "{round}");
            }
        }
        assert!(cache.used >= 16_384, "{}", cache.used);
        assert!((0..20_000).all(|n| known(&mut cache, n).is_none_or(|known| known == n)));
    }

    #[test]
    fn what_is_forgotten_is_unknown_at_once_and_given_up_a_slice_at_a_time() {
        let mut cache = FlowCache::new(7);
        (0..800).for_each(|n| put(&mut cache, n));
        assert_eq!(known(&mut cache, 799), Some(799));
        cache.clear();
        assert!((0..800).all(|n| known(&mut cache, n).is_none()));
        put(&mut cache, 5);
        let held = |cache: &FlowCache| cache.flows.iter().flatten().count();
        let mut before = held(&cache);
        while cache.forget_some() {
            assert!(before - held(&cache) <= FORGOTTEN);
            before = held(&cache);
        }
        assert_eq!((held(&cache), known(&mut cache, 5)), (1, Some(5)));
    }
}
