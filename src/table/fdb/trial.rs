//! A trial of a table: what it would say and do, without doing it. Lookups fall through to the real table, what is learned
//! stays here.
//!
//! It decides as the real table does: who pays for a new entry, and with which one, is asked of the real ledger.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, MutexGuard};

use super::{Allowance, Entry, Fdb, Generations, Kind, Learned, SURPLUS, Station};
use crate::packet::{Location, PortId};
use crate::time::Time;

/// What a trial is one of, and how it differs.
pub(super) struct Trial {
    real: Arc<Fdb>,
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    /// Entries that were given up.
    gone: HashSet<Station>,
    /// Entries that a port holds more than in the real table.
    more: BTreeMap<PortId, isize>,
}

impl Fdb {
    /// A table that knows what this one does and never changes it. `generations` are its own, see
    /// [`Generations::trial`].
    pub fn trial(self: &Arc<Fdb>, generations: &Arc<Generations>) -> Fdb {
        let trial = Trial { real: Arc::clone(self), changes: Mutex::default() };
        let mut table = Fdb::new(self.bridge, 0, self.ageing(), Arc::clone(generations));
        table.trial = Some(trial);
        table
    }

    pub(super) fn learn_on(
        &self,
        trial: &Trial,
        station: Station,
        at: Location,
        allowance: Allowance,
        now: Time,
    ) -> Learned {
        let known = self.lookup(station);
        match known {
            Some(entry) if entry.kind != Kind::Learned => Learned::Pinned(entry.at()),
            Some(entry) if entry.at() == at => {
                self.put(station, Entry { seen: now, ..entry });
                Learned::Known
            }
            Some(entry) => {
                if at.port != entry.port && !self.make_room_on(trial, at.port, allowance, false) {
                    return Learned::NoRoom;
                }
                let from = entry.port;
                trial.note(from, -1);
                trial.note(at.port, 1);
                let (entry, flapping) = entry.moved_to(at, 0, now);
                self.put(station, entry);
                if flapping { Learned::Flapping { from } } else { Learned::Moved { from } }
            }
            None => {
                if !self.make_room_on(trial, at.port, allowance, true) {
                    return Learned::NoRoom;
                }
                trial.note(at.port, 1);
                let Location { port, peer } = at;
                let kind = Kind::Learned;
                self.put(station, Entry { seen: now, port, peer, kind, ticket: 0, moved: 0, moves: 0 });
                Learned::New
            }
        }
    }

    fn put(&self, station: Station, entry: Entry) {
        if self.map.insert(station, entry).is_none() {
            self.generations.entries.fetch_add(1, Ordering::Relaxed);
        }
        self.generations.bump(self.bridge, station);
    }

    /// Does what [`Fdb::make_room`] would do.
    fn make_room_on(&self, trial: &Trial, port: PortId, allowance: Allowance, grows: bool) -> bool {
        let ledger = trial.real.ledger();
        for _ in 0..SURPLUS {
            let held = |port| ledger.held(port).saturating_add_signed(trial.more(port));
            let payer = if allowance.limit.is_some_and(|limit| held(port) >= limit as usize) {
                port
            } else if grows && ledger.is_full_with(trial.all_more()) {
                ledger.payer_if(port, allowance.quota, |port| trial.more(port))
            } else {
                return true;
            };
            let entry = |station| {
                // What was learned here stands at the end of a queue that is nowhere.
                let untouched = !self.map.contains_key(&station) && !trial.changes().gone.contains(&station);
                let held = |entry: &Entry| entry.kind == Kind::Learned && entry.port == payer;
                trial.real.lookup(station).filter(|entry| untouched && held(entry))
            };
            let Some(victim) = ledger.next_victim(payer, entry) else { return false };
            trial.changes().gone.insert(victim);
            trial.note(payer, -1);
            self.generations.bump(self.bridge, victim);
        }
        true
    }
}

impl Trial {
    pub(super) fn lookup(&self, station: Station) -> Option<Entry> {
        if self.changes().gone.contains(&station) {
            return None;
        }
        self.real.lookup(station)
    }

    fn note(&self, port: PortId, more: isize) {
        *self.changes().more.entry(port).or_default() += more;
    }

    fn more(&self, port: PortId) -> isize {
        self.changes().more.get(&port).copied().unwrap_or(0)
    }

    fn all_more(&self) -> isize {
        self.changes().more.values().sum()
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock()
    }
}
