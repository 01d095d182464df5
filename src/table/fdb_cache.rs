//! A worker's own view of all FDBs: what makes a lookup one cache line and no lock.
//!
//! A bucket is one cache line of three entries beside the generation they were read at. All entries of a bucket belong
//! to the same share of the key space (see [`Generations`]), so one comparison tells whether the whole line is still
//! good. A key that finds its bucket full goes to the neighbouring one, which the processor fetches along with it. The
//! cache holds what was looked up or learned and may forget anything at any time; it grows with the tables, so that a
//! million stations still hit. It grows in place and a slice at a time, in memory that was reserved for the largest: to make
//! room for a million stations in one go takes longer than frames may wait.

use std::sync::Arc;

use super::fdb::{Generations, Station, share_hash};
use crate::packet::{BridgeId, Location, PeerId, PortId};

/// Entries of a bucket.
const WAYS: usize = 3;
/// The smallest cache, 128 KiB; at least a pair for each share, so that a bucket never straddles two.
const MIN_BUCKETS: usize = 2 * Generations::SHARES;
/// The largest: 128 MiB a worker, where four million stations still find a place.
const MAX_BUCKETS: usize = 1 << 21;
/// Buckets that are made at once when it grows: 32 KiB.
const GROWTH: usize = 512;
/// When a pair is full, one in so many new entries takes another's place: were it each, the stations of a pair that has
/// one too many would throw each other out in turn, and all miss.
const REPLACE_ONE_IN: u32 = 4;

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
    /// The peers of the entries: they stand apart since a line has room for them here only.
    peers: [u16; WAYS],
    generation: u32,
}

impl Bucket {
    #[inline]
    fn find(&self, place: &Place) -> Option<usize> {
        self.slots.iter().position(|slot| slot.key & !LEARNED == place.key && slot.bridge == place.bridge)
    }
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
    /// Where the station is.
    pub at: Location,
    /// The entry ages and may move.
    pub learned: bool,
    /// The refresh period in which the shared entry's age was last brought up to date.
    pub fresh: u32,
}

/// The cache of one worker.
pub struct FdbCache {
    generations: Arc<Generations>,
    seed: (u64, u64),
    buckets: Vec<Bucket>,
    /// How many of them are in use, a power of two; while it grows there are more.
    used: usize,
    /// Counts the new entries that found no room.
    crowded: u32,
}

impl FdbCache {
    /// An empty cache over the tables that bump `generations`.
    pub fn new(generations: Arc<Generations>) -> FdbCache {
        let mut buckets = Vec::new();
        // Addresses only: memory is taken as far as it is used. Where even they are short, growing will copy.
        let _ = buckets.try_reserve_exact(MAX_BUCKETS);
        buckets.resize(MIN_BUCKETS, Bucket::default());
        FdbCache { seed: generations.seed, generations, buckets, used: MIN_BUCKETS, crowded: 0 }
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
        let buckets = self.in_use();
        buckets[place.hash as usize & (buckets.len() - 1)].generation
    }

    /// Looks a place up.
    #[inline]
    pub fn get(&self, place: &Place) -> Option<Hit> {
        let generation = self.generations.of(place.hash);
        let buckets = self.in_use();
        let first = place.hash as usize & (buckets.len() - 1);
        for index in [first, first ^ 1] {
            let bucket = &buckets[index];
            if bucket.generation == generation
                && let Some(at) = bucket.find(place)
            {
                let slot = &bucket.slots[at];
                return Some(Hit {
                    at: Location { port: PortId(slot.port), peer: PeerId(bucket.peers[at]) },
                    learned: slot.key & LEARNED != 0,
                    fresh: slot.fresh,
                });
            }
        }
        None
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
        let pair = self.pair(place);
        for index in pair {
            if self.buckets[index].generation != generation {
                self.buckets[index] = Bucket { generation, ..Bucket::default() };
            }
        }
        let known = |index: usize| Some((index, self.buckets[index].find(place)?));
        let free =
            |index: usize| Some((index, self.buckets[index].slots.iter().position(|slot| slot.key == 0)?));
        let [first, second] = pair;
        let found = known(first).or_else(|| known(second)).or_else(|| free(first)).or_else(|| free(second));
        let (index, at) = match found {
            Some(found) => found,
            None => {
                self.crowded = self.crowded.wrapping_add(1);
                if !self.crowded.is_multiple_of(REPLACE_ONE_IN) {
                    return;
                }
                (first, (self.crowded / REPLACE_ONE_IN) as usize % WAYS)
            }
        };
        let learned = if hit.learned { LEARNED } else { 0 };
        self.buckets[index].slots[at] =
            Slot { key: place.key | learned, bridge: place.bridge, port: hit.at.port.0, fresh: hit.fresh };
        self.buckets[index].peers[at] = hit.at.peer.0;
    }

    /// Forgets a station, so that the shared table is asked for it next time.
    pub fn forget(&mut self, place: &Place) {
        for index in self.pair(place) {
            if let Some(at) = self.buckets[index].find(place) {
                self.buckets[index].slots[at] = Slot::default();
            }
        }
    }

    /// Forgets everything, and so do the caches of all others.
    pub fn clear(&mut self) {
        self.generations.bump_all();
    }

    /// Makes room when the tables have grown: at one entry a bucket, hardly a pair overflows. When there are twice as many
    /// buckets, everything cached is forgotten, and found again in the shared tables: half of it would stand where nobody
    /// looks for it any more, and take the room of others.
    #[inline]
    fn grow(&mut self) {
        if self.generations.entries() > self.used && self.used < MAX_BUCKETS {
            self.grow_some();
        }
    }

    #[cold]
    fn grow_some(&mut self) {
        let wanted = 2 * self.used;
        self.buckets.resize((self.buckets.len() + GROWTH).min(wanted), Bucket::default());
        if self.buckets.len() == wanted {
            self.used = wanted;
            self.clear();
        }
    }

    /// The buckets in use; of a slice, the compiler knows that what is masked by its length lies in it.
    #[inline(always)]
    fn in_use(&self) -> &[Bucket] {
        &self.buckets[..self.used]
    }

    /// A key's bucket and its neighbour.
    #[inline]
    fn pair(&self, place: &Place) -> [usize; 2] {
        let first = place.hash as usize & (self.used - 1);
        [first, first ^ 1]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::table::fdb::{Allowance, Fdb};
    use crate::time::Time;
    use crate::wire::ethernet::Mac;

    fn at(n: u64) -> Location {
        Location { port: PortId(n as u16), peer: PeerId(n as u16 ^ 0x5aa5) }
    }

    fn station(n: u64) -> Station {
        Station::new(Mac::from_bits(0x0200_0000_0000 | n), 7)
    }

    #[test]
    fn no_station_is_taken_for_its_like_in_another_bridge_or_vlan() {
        let mut cache = FdbCache::new(Generations::new());
        for n in 0..6_000 {
            let place = cache.place(BridgeId(0), station(n));
            let generation = cache.generation(&place);
            cache.fill(&place, Hit { at: at(n), learned: n % 2 == 0, fresh: n as u32 }, generation);
        }
        let mut found = 0;
        for n in 0..6_000 {
            if let Some(hit) = cache.get(&cache.place(BridgeId(0), station(n))) {
                assert_eq!(hit, Hit { at: at(n), learned: n % 2 == 0, fresh: n as u32 });
                found += 1;
            }
            assert_eq!(cache.get(&cache.place(BridgeId(1), station(n))), None);
            assert_eq!(cache.get(&cache.place(BridgeId(0), Station::new(station(n).mac(), 8))), None);
        }
        assert!(found > 1_000, "{found}");
        cache.clear();
        assert!((0..6_000).all(|n| cache.get(&cache.place(BridgeId(0), station(n))).is_none()));
    }

    #[test]
    fn it_grows_a_slice_at_a_time_and_never_says_what_is_not_so() {
        const STATIONS: u64 = 20_000;
        let generations = Generations::new();
        let fdb = Fdb::new(BridgeId(0), 100_000, Duration::ZERO, Arc::clone(&generations));
        let mut cache = FdbCache::new(generations);
        let hit = |n| Hit { at: at(n), learned: true, fresh: n as u32 };
        for n in 0..STATIONS {
            fdb.learn(station(n), at(n), Allowance::default(), Time::ZERO);
            let place = cache.place(BridgeId(0), station(n));
            let (generation, before) = (cache.generation(&place), cache.buckets.len());
            cache.fill(&place, hit(n), generation);
            assert!(cache.buckets.len() - before <= GROWTH);
            assert_eq!(cache.get(&place).unwrap_or(hit(n)), hit(n));
        }
        assert_eq!(cache.used as u64, STATIONS.next_power_of_two());
        for n in 0..STATIONS {
            let place = cache.place(BridgeId(0), station(n));
            assert_eq!(cache.get(&place).unwrap_or(hit(n)), hit(n));
            let generation = cache.generation(&place);
            cache.fill(&place, hit(n), generation);
        }
        let known =
            (0..STATIONS).filter(|&n| cache.get(&cache.place(BridgeId(0), station(n))).is_some()).count();
        assert!(known as u64 > STATIONS * 9 / 10, "{known}");
        cache.clear();
        assert!((0..STATIONS).all(|n| cache.get(&cache.place(BridgeId(0), station(n))).is_none()));
    }
}
