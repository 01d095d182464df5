//! What a worker remembers of the flows that it has routed: the outcome of routes, rules and NAT, so that the next packet
//! costs one lookup however many of those there are.
//!
//! An entry is for one flow exactly as it comes in, and holds only while everything is as it was when it was made: the
//! topology (all entries are forgotten when it changes), the neighbours' addresses (their generation stands in the entry)
//! and the connection (its stamp does). What may differ from packet to packet of one flow is not in it: a packet that
//! must not take this way is kept from it by who asks.
//!
//! Direct-mapped in pairs; a new flow takes the place of another. The cache grows while flows of use lose their places.

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
    flows: Box<[Option<Flow>]>,
    /// Flows that lost their place to others since the cache last grew.
    crowded: usize,
}

impl FlowCache {
    pub(in crate::switch) fn new(seed: u64) -> FlowCache {
        FlowCache { seed, flows: Box::default(), crowded: 0 }
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

    /// Forgets everything.
    pub(in crate::switch) fn clear(&mut self) {
        self.flows.iter_mut().for_each(|flow| *flow = None);
    }

    /// What is known of a flow, whose tuple has this hash.
    #[inline]
    pub(in crate::switch) fn get(&mut self, key: &Key, hash: u64) -> Option<&mut Flow> {
        let first = self.slot(hash)?;
        let at = [first, first ^ 1]
            .into_iter()
            .find(|&at| self.flows[at].as_ref().is_some_and(|f| f.key == *key))?;
        self.flows[at].as_mut()
    }

    /// Remembers a flow.
    pub(in crate::switch) fn put(&mut self, hash: u64, flow: Flow) {
        if self.flows.is_empty() {
            self.flows = empty(MIN_FLOWS);
        } else if self.crowded > self.flows.len() / 2 && self.flows.len() < MAX_FLOWS {
            // What it knew is soon known again.
            self.flows = empty(self.flows.len() * 2);
            self.crowded = 0;
        }
        let Some(first) = self.slot(hash) else { return };
        let pair = [first, first ^ 1];
        let own = pair.into_iter().find(|&at| self.flows[at].as_ref().is_some_and(|f| f.key == flow.key));
        let free = pair.into_iter().find(|&at| self.flows[at].is_none());
        let at = own.or(free).unwrap_or_else(|| {
            self.crowded += 1;
            first
        });
        self.flows[at] = Some(flow);
    }

    #[inline]
    fn slot(&self, hash: u64) -> Option<usize> {
        // An empty cache has no slot; any other a power of two.
        Some(hash as usize & self.flows.len().checked_sub(1)?)
    }
}

fn empty(flows: usize) -> Box<[Option<Flow>]> {
    (0..flows).map(|_| None).collect()
}

#[inline]
fn fold(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    (product >> 64) as u64 ^ product as u64
}
