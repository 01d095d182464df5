//! Hashes nobody outside can foretell, and tables in shards.
//!
//! A table is cut into many small ones, so that one growing moves few entries and holds nobody up. There are as many as
//! fill theirs well when the sessions are as many as may be.

use std::hash::{BuildHasher, Hash};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;

use super::ports::Endpoint;
use crate::packet::Tuple;
use crate::wire::address::Address;

/// The hash functions of one table, told apart from those of others by a seed.
pub(super) struct Hashes(SeedableRandomState);

impl Hashes {
    pub(super) fn new(seed: u64) -> Hashes {
        Hashes(SeedableRandomState::with_seed(seed, SharedSeed::global_random()))
    }

    pub(super) fn tuple(&self, tuple: &Tuple) -> u64 {
        self.hash(tuple)
    }

    pub(super) fn endpoint(&self, endpoint: Endpoint, protocol: u8) -> u64 {
        self.hash((endpoint, protocol))
    }

    pub(super) fn address(&self, address: Address) -> u64 {
        self.hash(address)
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.0.hash_one(key)
    }
}

/// Entries a shard has room for is 7/8 of a power of two; this many in the mean leave all but the rarest below 896.
const PER_SHARD: usize = 780;
const MAX_SHARDS: usize = 16_384;

/// Shards of a table of up to `limit` entries.
pub(super) fn shards(limit: usize) -> usize {
    limit.div_ceil(PER_SHARD).clamp(1, MAX_SHARDS)
}

/// The shard of `count` that has the entries with this hash. The bits that a shard itself goes by are left to it: the
/// lowest and the seven highest.
pub(super) fn shard(hash: u64, count: usize) -> usize {
    ((hash >> 16 & 0xffff_ffff) * count as u64 >> 32) as usize
}

/// A table in shards, for one owner.
pub(super) struct Sharded<T>(Box<[HashTable<T>]>);

impl<T> Sharded<T> {
    pub(super) fn new(limit: usize) -> Sharded<T> {
        Sharded((0..shards(limit)).map(|_| HashTable::new()).collect())
    }

    pub(super) fn of(&self, hash: u64) -> &HashTable<T> {
        &self.0[shard(hash, self.0.len())]
    }

    pub(super) fn of_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        let shard = shard(hash, self.0.len());
        &mut self.0[shard]
    }
}
