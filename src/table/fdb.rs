//! The forwarding database of one bridge: (VLAN, MAC) → port and, behind a tunnel, the peer.
//!
//! **Two levels.** The truth is the shared map here, which control lists and every worker may write. Workers do not
//! read it per frame: each keeps an [`FdbCache`](super::fdb_cache::FdbCache) in front and comes here when that misses.
//!
//! **Locking.** Lookups take a shard of the map for reading. Everything that changes *which* entries exist or whose
//! they are goes through the bridge's `Ledger`, one mutex, so that limits, the per-port queues and the map cannot
//! disagree. That is the learning path: rare in a calm network, and in a flood paid by who floods. Nobody holds a lock for
//! more than bounded work, so that a worker never waits for long: there are so many shards that one is soon looked through,
//! or made larger, and whoever has much to remove lets others at the ledger after every few entries.
//!
//! **Staleness.** An entry that moves or goes away bumps the [`Generations`] counter its key hashes to, which makes the
//! caches forget the few entries that share it. A new entry bumps nothing: nobody caches an absence.
//!
//! **Bound.** `limit` counts learned entries only; static ones always fit and never move. When the bridge is
//! full, the port that holds most beyond its quota loses its oldest entry that was not heard of lately (see
//! `table::ledger`); a port at its own learn limit loses one of its own. So a flood of sources costs the
//! flooder its own entries and nobody else's.
//!
//! **Ageing.** [`Fdb::expire`] walks the queues a bounded number of entries at a time and is due again when it says.

mod trial;

use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};

use self::trial::Trial;
use super::ledger::{Ledger, MIN_STEP};
use crate::packet::{BridgeId, Location, PeerId, PortId, Vid};
use crate::time::Time;
use crate::wire::ethernet::Mac;

/// A station in one bridge: its MAC in the high 48 bits, its VLAN in the low 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Station(u64);

impl Station {
    /// The station `mac` in VLAN `vid` (below 4096).
    #[inline]
    pub const fn new(mac: Mac, vid: Vid) -> Station {
        Station(mac.bits() << 16 | vid as u64)
    }

    /// Its address.
    pub const fn mac(self) -> Mac {
        Mac::from_bits(self.0 >> 16)
    }

    /// Its VLAN.
    pub const fn vid(self) -> Vid {
        (self.0 & 0xfff) as Vid
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

/// How an entry came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the source address of a frame. Ages, moves, can be evicted.
    Learned,
    /// Configured. Stays.
    Static,
}

/// What is known of a station.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When a frame from it was last noted: up to a refresh period ago, see [`Fdb::refresh_period`].
    pub seen: Time,
    /// The port it is behind.
    pub port: PortId,
    /// The peer it is behind, where the port is a tunnel.
    pub peer: PeerId,
    /// How the entry came to be.
    pub kind: Kind,
    /// Names the place in the ledger's queue that stands for this entry; older places are void.
    pub(super) ticket: u32,
    moved: u32,
    moves: u8,
}

impl Entry {
    /// The port and the peer it is behind.
    pub fn at(&self) -> Location {
        Location { port: self.port, peer: self.peer }
    }

    /// What it is when the station has moved, and whether that is a flap.
    fn moved_to(&self, to: Location, ticket: u32, now: Time) -> (Entry, bool) {
        let again = u64::from(now.secs().wrapping_sub(self.moved)) <= FLAP_WINDOW.as_secs();
        let moves = if again { self.moves + 1 } else { 1 };
        let flapping = moves >= FLAP_MOVES;
        let moves = if flapping { 0 } else { moves };
        let Location { port, peer } = to;
        let entry = Entry { seen: now, port, peer, kind: Kind::Learned, ticket, moved: now.secs(), moves };
        (entry, flapping)
    }
}

/// What a frame's source changed in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing but perhaps the age: known there.
    Known,
    /// A new station.
    New,
    /// It was behind `from` until now, or behind another peer of the same port.
    Moved {
        /// The port it left.
        from: PortId,
    },
    /// The same, for the [`FLAP_MOVES`]th time within [`FLAP_WINDOW`] of one another: two hosts share the address, or
    /// there is a loop.
    Flapping {
        /// The port it left.
        from: PortId,
    },
    /// A static entry holds the address, and stays where it is.
    Pinned(Location),
    /// No entry was found that could be given up for this one, as where the port or the bridge may hold none at all;
    /// nothing changed.
    NoRoom,
}

/// So many moves, each within [`FLAP_WINDOW`] of the one before, are called a flap.
pub const FLAP_MOVES: u8 = 5;
/// See [`FLAP_MOVES`].
pub const FLAP_WINDOW: Duration = Duration::from_secs(10);

/// Most entries given up for one new one: where a limit was lowered, each new station makes the surplus smaller.
const SURPLUS: usize = 8;
/// Entries that a shard of the map is to hold: looking through it, or making it twice as large, takes some 20 µs.
const SHARD: u32 = 1024;
/// Shards, of 128 bytes, however small or large the table.
const SHARDS: RangeInclusive<usize> = 64..=4096;
/// Entries that are removed before others are let at the ledger: some 10 µs, which each new station of a batch may have to
/// wait for.
const SLICE: usize = 16;

/// What a port may hold in a bridge's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Most learned entries of the port; beyond, a new one costs its own oldest. `None`: only the bridge's limit.
    pub limit: Option<u32>,
    /// Entries that do not count when the bridge looks for who holds most: what a trunk or tunnel holds rightly.
    pub quota: u32,
}

/// What the caches of all workers are checked against, for all bridges: change counters, each for a share of all keys,
/// and how many entries there are. Also the seed of the hash that deals keys to shares and cache buckets, which is drawn
/// once a process so that nobody outside can aim at one of them.
pub struct Generations {
    counters: [AtomicU32; Generations::SHARES],
    entries: AtomicUsize,
    pub(super) seed: (u64, u64),
}

impl Generations {
    /// Shares of the key space: a move makes a cache forget one in so many entries. 4 KiB, so it stays in L1.
    pub const SHARES: usize = 1024;

    /// Fresh counters and a fresh seed.
    pub fn new() -> Arc<Generations> {
        let random = RandomState::new();
        Arc::new(Generations {
            counters: [const { AtomicU32::new(1) }; Generations::SHARES],
            entries: AtomicUsize::new(0),
            seed: (random.hash_one(1), random.hash_one(2) | 1),
        })
    }

    /// Counters of their own for tables on trial, whose hashes are the same: what is chosen by one of a flow is chosen
    /// there as here.
    pub fn trial(&self) -> Arc<Generations> {
        Arc::new(Generations {
            counters: [const { AtomicU32::new(1) }; Generations::SHARES],
            entries: AtomicUsize::new(0),
            seed: self.seed,
        })
    }

    /// The counter of the share that a key with this hash belongs to.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> u32 {
        self.counters[Generations::share(hash)].load(Ordering::Acquire)
    }

    /// The lowest bit is left out: it tells the two buckets of a pair apart, see [`fdb_cache`](super::fdb_cache).
    #[inline]
    fn share(hash: u64) -> usize {
        (hash >> 1) as usize % Generations::SHARES
    }

    fn bump(&self, bridge: BridgeId, station: Station) {
        let hash = share_hash(self.seed, bridge, station);
        self.counters[Generations::share(hash)].fetch_add(1, Ordering::Release);
    }

    /// Makes all caches forget everything.
    pub(super) fn bump_all(&self) {
        self.counters.iter().for_each(|counter| _ = counter.fetch_add(1, Ordering::Release));
    }

    /// A seed for hashes of flows: the same for all workers of the process, and nobody else's.
    pub fn flow_seed(&self) -> u64 {
        self.seed.0.rotate_left(32) ^ self.seed.1
    }

    /// Entries in all tables together.
    pub fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }
}

/// The hash that picks a key's share and its bucket in the caches.
#[inline]
pub(super) fn share_hash(seed: (u64, u64), bridge: BridgeId, station: Station) -> u64 {
    let factor = seed.1 ^ (u64::from(bridge.0) << 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let product = u128::from(station.bits() ^ seed.0) * u128::from(factor);
    (product >> 64) as u64 ^ product as u64
}

/// Counters of a bridge's table since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbStats {
    /// Learned entries now.
    pub learned: usize,
    /// Learned entries that made room for another.
    pub evictions: u64,
    /// Stations that moved from one port to another.
    pub moves: u64,
    /// Flaps, see [`FLAP_MOVES`].
    pub flaps: u64,
}

/// The table of one bridge.
pub struct Fdb {
    bridge: BridgeId,
    map: DashMap<Station, Entry, foldhash::fast::RandomState>,
    ledger: Mutex<Ledger>,
    generations: Arc<Generations>,
    /// Where this is a trial: what it is one of.
    trial: Option<Trial>,
}

impl Fdb {
    /// Most entries that are looked at in one call of [`Fdb::expire`]: among a million, about a tenth of a millisecond.
    pub const SHARE: usize = 256;

    /// An empty table for `bridge`, of at most `limit` learned entries that age after `ageing` (zero: never).
    pub fn new(bridge: BridgeId, limit: u32, ageing: Duration, generations: Arc<Generations>) -> Fdb {
        Fdb {
            bridge,
            map: DashMap::with_hasher_and_shard_amount(foldhash::fast::RandomState::default(), shards(limit)),
            ledger: Mutex::new(Ledger::new(limit as usize, ageing)),
            generations,
            trial: None,
        }
    }

    /// How stale [`Entry::seen`] may get before a worker refreshes it: fine enough for the ageing time, and at most once
    /// a second. From 1 ms to 1 h, whatever the ageing time.
    pub fn refresh_period(ageing: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_secs(3600);
        if ageing.is_zero() {
            return LONGEST;
        }
        let wanted = (ageing / 64).max(Duration::from_secs(1)).min(ageing / 4);
        wanted.clamp(Duration::from_millis(1), LONGEST)
    }

    /// The entry of a station.
    pub fn lookup(&self, station: Station) -> Option<Entry> {
        let own = self.map.get(&station).map(|entry| *entry);
        own.or_else(|| self.trial.as_ref()?.lookup(station))
    }

    /// Notes that a frame from `station` came from `at`.
    pub fn learn(
        &self,
        station: Station,
        at: impl Into<Location>,
        allowance: Allowance,
        now: Time,
    ) -> Learned {
        let at = at.into();
        if let Some(trial) = &self.trial {
            return self.learn_on(trial, station, at, allowance, now);
        }
        // The usual case, a refresh, needs no ledger.
        if let Some(mut entry) = self.map.get_mut(&station) {
            if entry.kind != Kind::Learned {
                return Learned::Pinned(entry.at());
            }
            if entry.at() == at {
                entry.seen = now;
                return Learned::Known;
            }
        }
        let mut ledger = self.ledger();
        let known = self.lookup(station);
        match known {
            Some(entry) if entry.kind != Kind::Learned => Learned::Pinned(entry.at()),
            Some(entry) if entry.at() == at => Learned::Known,
            Some(entry) => self.move_to(&mut ledger, station, entry, at, allowance, now),
            None => {
                if !self.make_room(&mut ledger, at.port, allowance, true) {
                    return Learned::NoRoom;
                }
                let ticket = self.enter(&mut ledger, station, at.port, now);
                let Location { port, peer } = at;
                let entry = Entry { seen: now, port, peer, kind: Kind::Learned, ticket, moved: 0, moves: 0 };
                self.map.insert(station, entry);
                self.generations.entries.fetch_add(1, Ordering::Relaxed);
                Learned::New
            }
        }
    }

    fn move_to(
        &self,
        ledger: &mut Ledger,
        station: Station,
        old: Entry,
        at: Location,
        allowance: Allowance,
        now: Time,
    ) -> Learned {
        let Location { port, peer } = at;
        // From one peer of a port to another, the port holds as many as before.
        if port != old.port && !self.make_room(ledger, port, allowance, false) {
            return Learned::NoRoom;
        }
        let from = old.port;
        ledger.leave(from);
        let ticket = self.enter(ledger, station, port, now);
        let (entry, flapping) = old.moved_to(Location { port, peer }, ticket, now);
        self.map.insert(station, entry);
        self.generations.bump(self.bridge, station);
        ledger.stats.moves += 1;
        ledger.stats.flaps += u64::from(flapping);
        if flapping { Learned::Flapping { from } } else { Learned::Moved { from } }
    }

    fn enter(&self, ledger: &mut Ledger, station: Station, port: PortId, now: Time) -> u32 {
        ledger.sweep(port, |station| self.lookup(station));
        ledger.enter(station, port, now)
    }

    /// Sees to it that `port` may have one entry more, and whether the bridge may too if its table `grows` by it. False
    /// when there is nothing to give up for it.
    fn make_room(&self, ledger: &mut Ledger, port: PortId, allowance: Allowance, grows: bool) -> bool {
        ledger.allow(port, allowance.quota);
        for _ in 0..SURPLUS {
            let payer = if allowance.limit.is_some_and(|limit| ledger.held(port) >= limit as usize) {
                port
            } else if grows && ledger.is_full() {
                ledger.payer(port)
            } else {
                return true;
            };
            if !self.evict(ledger, payer) {
                return false;
            }
        }
        true
    }

    fn evict(&self, ledger: &mut Ledger, port: PortId) -> bool {
        let entry =
            |station| self.lookup(station).filter(|e: &Entry| e.kind == Kind::Learned && e.port == port);
        let Some(victim) = ledger.pick_victim(port, entry) else { return false };
        self.forget(ledger, victim, port);
        ledger.stats.evictions += 1;
        true
    }

    /// Removes a learned entry that `port` holds.
    fn forget(&self, ledger: &mut Ledger, station: Station, port: PortId) {
        self.map.remove(&station);
        ledger.leave(port);
        self.generations.entries.fetch_sub(1, Ordering::Relaxed);
        self.generations.bump(self.bridge, station);
    }

    /// Pins a station to where it is by a static entry, whatever was known of it.
    pub fn pin(&self, station: Station, at: impl Into<Location>) {
        let at @ Location { port, peer } = at.into();
        let mut ledger = self.ledger();
        if self.lookup(station).is_some_and(|known| known.kind == Kind::Static && known.at() == at) {
            return;
        }
        // It replaces what is there: were that removed first, frames to the station would be flooded in between.
        let entry = Entry { seen: Time::ZERO, port, peer, kind: Kind::Static, ticket: 0, moved: 0, moves: 0 };
        match self.map.insert(station, entry) {
            None => _ = self.generations.entries.fetch_add(1, Ordering::Relaxed),
            Some(old) if old.kind == Kind::Learned => ledger.leave(old.port),
            Some(_) => {}
        }
        self.generations.bump(self.bridge, station);
    }

    /// Removes a station's entry and gives it back.
    pub fn remove(&self, station: Station) -> Option<Entry> {
        self.remove_locked(&mut self.ledger(), station)
    }

    fn remove_locked(&self, ledger: &mut Ledger, station: Station) -> Option<Entry> {
        let entry = self.lookup(station)?;
        if entry.kind == Kind::Learned {
            self.forget(ledger, station, entry.port);
        } else {
            self.map.remove(&station);
            self.generations.entries.fetch_sub(1, Ordering::Relaxed);
            self.generations.bump(self.bridge, station);
        }
        Some(entry)
    }

    /// Removes the learned entries that `which` picks and says how many they were; those that come meanwhile stay or go.
    /// `which` is asked with a share of the table locked, and once more before what it picked goes.
    pub fn flush(&self, which: impl Fn(Station, &Entry) -> bool) -> usize {
        self.remove_all(|station, entry| entry.kind == Kind::Learned && which(station, entry))
    }

    /// Removes every entry of a port that leaves the bridge, static ones too. To be called when every worker has taken
    /// the topology without it: one that has not may learn on it again.
    pub fn purge(&self, port: PortId) {
        self.remove_all(|_, entry| entry.port == port);
        let closed = self.ledger().close(port);
        // Its memory is given back when the ledger is free again.
        drop(closed);
    }

    /// The same for one peer of a tunnel that stays.
    pub fn purge_peer(&self, at: Location) {
        self.remove_all(|_, entry| entry.at() == at);
    }

    fn remove_all(&self, which: impl Fn(Station, &Entry) -> bool) -> usize {
        let mut picked = Vec::new();
        self.visit(|station, entry| {
            if which(station, entry) {
                picked.push(station);
            }
        });
        let mut removed = 0;
        let mut ledger = self.ledger();
        for stations in picked.chunks(SLICE) {
            for &station in stations {
                if self.lookup(station).is_some_and(|entry| which(station, &entry)) {
                    removed += usize::from(self.remove_locked(&mut ledger, station).is_some());
                }
            }
            MutexGuard::bump(&mut ledger);
        }
        removed
    }

    /// Removes what has not been heard of for the ageing time, and says when to come again; `None`: nothing here ever ages.
    /// It looks at no more entries than `budget` says, which it lessens, nor than [`Fdb::SHARE`].
    pub fn expire(&self, now: Time, budget: &mut usize) -> Option<Time> {
        let mut ledger = self.ledger();
        let ageing = ledger.ageing();
        if ageing.is_zero() {
            return None;
        }
        if now < ledger.due() {
            return Some(ledger.due());
        }
        if *budget == 0 {
            return Some(now + MIN_STEP);
        }
        for _ in 0..Fdb::SHARE.min(*budget) {
            *budget -= 1;
            let Some((station, port, ticket)) = ledger.next_to_check() else { break };
            match self.lookup(station).filter(|e| e.kind == Kind::Learned && e.ticket == ticket) {
                Some(entry) if now.since(entry.seen) >= ageing => self.forget(&mut ledger, station, port),
                Some(entry) => ledger.keep(station, port, ticket, entry.seen),
                None => {}
            }
        }
        Some(ledger.come_again(now))
    }

    /// Changes limit and ageing time; a limit below what is held evicts the surplus at the next new stations.
    pub fn configure(&self, limit: u32, ageing: Duration) {
        self.ledger().configure(limit as usize, ageing);
    }

    /// Has `look` look at every entry, in no order; those that come and go meanwhile with or without. A share of the table
    /// is locked while it does, so it should do little, and nothing with the table.
    pub fn visit(&self, mut look: impl FnMut(Station, &Entry)) {
        self.map.iter().for_each(|e| look(*e.key(), e.value()));
    }

    /// Every entry, as [`Fdb::visit`] sees them.
    pub fn entries(&self) -> Vec<(Station, Entry)> {
        let mut all = Vec::new();
        self.visit(|station, entry| all.push((station, *entry)));
        all
    }

    /// Learned entries that a port holds.
    pub fn held(&self, port: PortId) -> usize {
        self.ledger().held(port)
    }

    /// The table's counters.
    pub fn stats(&self) -> FdbStats {
        self.ledger().stats
    }

    /// The ageing time; zero when nothing ages.
    pub fn ageing(&self) -> Duration {
        self.ledger().ageing()
    }

    /// Places that stand for nothing included, how long a port's queue is.
    #[cfg(test)]
    fn queued(&self, port: PortId) -> usize {
        self.ledger().queued(port)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }
}

/// Shards for a table of so many entries.
fn shards(limit: u32) -> usize {
    let wanted = (limit / SHARD).next_power_of_two() as usize;
    wanted.clamp(*SHARDS.start(), *SHARDS.end())
}

impl Drop for Fdb {
    fn drop(&mut self) {
        self.generations.entries.fetch_sub(self.map.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
