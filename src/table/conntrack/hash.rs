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
    (((hash >> 16 & 0xffff_ffff) * count as u64) >> 32) as usize
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

/// Slots by hashes, for keys that stand in what the slots hold. A part of each hash is kept, so that hardly a slot is
/// looked at in vain, and none when a shard grows.
pub(super) struct Heads(Sharded<Head>);

struct Head {
    slot: u32,
    /// The part that tells the shard, too.
    hash: u32,
}

impl Heads {
    pub(super) fn new(limit: usize) -> Heads {
        Heads(Sharded::new(limit))
    }

    /// The slots with this hash, or hardly ever another.
    pub(super) fn with(&self, hash: u64) -> impl Iterator<Item = u32> {
        let part = part(hash);
        self.0.of(hash).iter_hash(spread(part)).filter(move |head| head.hash == part).map(|head| head.slot)
    }

    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let head = Head { slot, hash: part(hash) };
        self.0.of_mut(hash).insert_unique(spread(head.hash), head, |head| spread(head.hash));
    }

    /// Puts `heir` in the place of a slot, or nothing; does nothing where the slot is not there.
    pub(super) fn replace(&mut self, hash: u64, slot: u32, heir: Option<u32>) {
        let found = self.0.of_mut(hash).find_entry(spread(part(hash)), |head| head.slot == slot);
        if let Ok(mut entry) = found {
            match heir {
                Some(heir) => entry.get_mut().slot = heir,
                None => _ = entry.remove(),
            }
        }
    }
}

fn part(hash: u64) -> u32 {
    (hash >> 16) as u32
}

fn spread(part: u32) -> u64 {
    u64::from(part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
