//! A worker's own view of all FDBs: what makes a lookup one cache line and no lock.
//!
//! A bucket is one cache line of three entries beside the generation they were read at. All entries of a bucket belong
//! to the same share of the key space (see [`Generations`]), so one comparison tells whether the whole line is still
//! good. The cache holds what was looked up or learned and may forget anything at any time; it grows with the tables, so
//! that a million stations still hit.

use std::sync::Arc;

use super::fdb::{Generations, Station, share_hash};
use crate::packet::{BridgeId, PortId};

/// Entries of a bucket.
const WAYS: usize = 3;
/// The smallest cache; at least the number of shares, so that a bucket never straddles two.
const MIN_BUCKETS: usize = Generations::SHARES;
/// The largest: 64 MiB a worker, where three million stations still find a place.
const MAX_BUCKETS: usize = 1 << 20;

/// A key's low bits that the station leaves free, see [`Station`]: 12 to 15.
const OCCUPIED: u64 = 1 << 12;
const LEARNED: u64 = 1 << 13;

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The station, with [`OCCUPIED`] and [`LEARNED`].
    key: u64,
    bridge: u16,
    port: u16,
    /// The refresh period in which the shared entry's age was last brought up to date.
    fresh: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    slots: [Slot; WAYS],
    generation: u32,
    /// The slot that the next new entry takes.
    hand: u32,
}

/// A key's place in the cache, computed once per frame and used for lookup and filling.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    hash: u64,
    key: u64,
    bridge: u16,
}

/// What the cache knows of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The port the station is behind.
    pub port: PortId,
    /// The entry ages and may move.
    pub learned: bool,
    /// The refresh period in which the shared entry's age was last brought up to date.
    pub fresh: u32,
}

/// The cache of one worker.
pub struct FdbCache {
    generations: Arc<Generations>,
    seed: (u64, u64),
    buckets: Box<[Bucket]>,
}

impl FdbCache {
    /// An empty cache over the tables that bump `generations`.
    pub fn new(generations: Arc<Generations>) -> FdbCache {
        let buckets = vec![Bucket::default(); MIN_BUCKETS].into_boxed_slice();
        FdbCache { seed: generations.seed, generations, buckets }
    }

    /// Where a station of a bridge has its place.
    #[inline]
    pub fn place(&self, bridge: BridgeId, station: Station) -> Place {
        let hash = share_hash(self.seed, bridge, station);
        Place { hash, key: station.bits() | OCCUPIED, bridge: bridge.0 }
    }

    /// Touches a place so that its line is on the way when [`FdbCache::get`] needs it. The value means nothing; using it
    /// keeps the load from being removed.
    #[inline]
    pub fn touch(&self, place: &Place) -> u32 {
        self.bucket(place).generation
    }

    /// Looks a place up.
    #[inline]
    pub fn get(&self, place: &Place) -> Option<Hit> {
        let bucket = self.bucket(place);
        if bucket.generation != self.generations.of(place.hash) {
            return None;
        }
        let slot = bucket.slots.iter().find(|slot| slot.key & !LEARNED == place.key && slot.bridge == place.bridge)?;
        Some(Hit { port: PortId(slot.port), learned: slot.key & LEARNED != 0, fresh: slot.fresh })
    }

    /// The generation to be read *before* the shared table is looked at, and given to [`FdbCache::fill`]: a change that
    /// comes between then makes the filled entry stale at once.
    #[inline]
    pub fn generation(&self, place: &Place) -> u32 {
        self.generations.of(place.hash)
    }

    /// Remembers what the shared table said at `generation`.
    pub fn fill(&mut self, place: &Place, hit: Hit, generation: u32) {
        self.grow();
        let index = self.index(place);
        let bucket = &mut self.buckets[index];
        if bucket.generation != generation {
            *bucket = Bucket { generation, ..Bucket::default() };
        }
        let same = |slot: &Slot| slot.key & !LEARNED == place.key && slot.bridge == place.bridge;
        let at = bucket.slots.iter().position(same).unwrap_or_else(|| {
            bucket.hand = (bucket.hand + 1) % WAYS as u32;
            bucket.hand as usize
        });
        let learned = if hit.learned { LEARNED } else { 0 };
        bucket.slots[at] = Slot { key: place.key | learned, bridge: place.bridge, port: hit.port.0, fresh: hit.fresh };
    }

    /// Makes room when the tables have grown: two entries a bucket on average leave few overflowing. Everything cached
    /// is forgotten, and found again in the shared tables.
    fn grow(&mut self) {
        let wanted = (self.generations.entries() / 2).next_power_of_two().clamp(MIN_BUCKETS, MAX_BUCKETS);
        if wanted > self.buckets.len() {
            self.buckets = vec![Bucket::default(); wanted].into_boxed_slice();
        }
    }

    #[inline]
    fn index(&self, place: &Place) -> usize {
        place.hash as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn bucket(&self, place: &Place) -> &Bucket {
        &self.buckets[self.index(place)]
    }
}
