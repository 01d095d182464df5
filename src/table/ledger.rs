//! Who holds how many learned entries of a bridge, and in which order they are looked at.
//!
//! Each port has a queue of its entries, oldest first. It serves both eviction and ageing, as the clock algorithm does:
//! an entry that was heard of since it was queued gets a second chance at the end. Entries that moved or were removed
//! leave their place behind; a ticket tells that it is void, and a queue that is mostly void is swept. All of it is done a
//! few places at a time, as whoever learns waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::fdb::{Entry, Fdb, FdbStats, Station};
use crate::packet::PortId;
use crate::time::Time;

/// Second chances given before an entry is evicted all the same, so that one eviction stays cheap.
const CHANCES: usize = 8;
/// Void places that are looked through for a victim before there is none.
const VOID: usize = 512;
/// Places that a sweep looks at for each new entry.
const SWEPT: usize = 8;
/// The shortest time between two shares of ageing.
pub(super) const MIN_STEP: Duration = Duration::from_micros(100);
/// All entries are looked at once in this fraction of the ageing time. One waits for two rounds at worst, where the table
/// filled up between, so an entry lives at most an eighth longer.
const ROUNDS: u32 = 16;

struct Place {
    station: Station,
    ticket: u32,
    seen: Time,
}

/// What one port holds.
#[derive(Default)]
pub(super) struct Account {
    queue: VecDeque<Place>,
    held: usize,
    quota: usize,
    /// How far the sweep is that is under way.
    sweep: Option<Sweep>,
}

/// The first `kept` places of a queue stand for an entry, those behind up to `seen` for none.
#[derive(Default)]
struct Sweep {
    kept: usize,
    seen: usize,
}

impl Account {
    /// Takes the first place.
    fn pop(&mut self) -> Option<Place> {
        if let Some(Sweep { kept, seen }) = &mut self.sweep {
            (*kept, *seen) = (kept.saturating_sub(1), seen.saturating_sub(1));
        }
        self.queue.pop_front()
    }
}

pub(super) struct Ledger {
    pub(super) stats: FdbStats,
    limit: usize,
    ageing: Duration,
    accounts: BTreeMap<PortId, Account>,
    next_ticket: u32,
    /// The hand of the clock: the port whose queue ageing looks at, and how many places of it are left to see.
    hand: Option<(PortId, usize)>,
    due: Time,
    /// Time between two shares of the round at hand.
    step: Duration,
}

impl Ledger {
    pub(super) fn new(limit: usize, ageing: Duration) -> Ledger {
        Ledger {
            stats: FdbStats::default(),
            limit,
            ageing,
            accounts: BTreeMap::new(),
            next_ticket: 1,
            hand: None,
            due: Time::ZERO,
            step: Duration::MAX,
        }
    }

    pub(super) fn configure(&mut self, limit: usize, ageing: Duration) {
        self.limit = limit;
        self.ageing = ageing;
        self.due = Time::ZERO;
        self.step = Duration::MAX;
    }

    pub(super) fn ageing(&self) -> Duration {
        self.ageing
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    pub(super) fn is_full(&self) -> bool {
        self.stats.learned >= self.limit
    }

    /// Whether it would be with so many entries more, or less.
    pub(super) fn is_full_with(&self, more: isize) -> bool {
        self.stats.learned.saturating_add_signed(more) >= self.limit
    }

    pub(super) fn held(&self, port: PortId) -> usize {
        self.accounts.get(&port).map_or(0, |a| a.held)
    }

    pub(super) fn allow(&mut self, port: PortId, quota: u32) {
        self.accounts.entry(port).or_default().quota = quota as usize;
    }

    /// Queues a station that `port` now holds and gives the ticket for its entry.
    pub(super) fn enter(&mut self, station: Station, port: PortId, now: Time) -> u32 {
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let account = self.accounts.entry(port).or_default();
        account.queue.push_back(Place { station, ticket, seen: now });
        account.held += 1;
        self.stats.learned += 1;
        ticket
    }

    /// Notes that `port` holds one entry less. Its place in the queue is void from now on.
    pub(super) fn leave(&mut self, port: PortId) {
        if let Some(account) = self.accounts.get_mut(&port) {
            account.held -= 1;
            self.stats.learned -= 1;
        }
    }

    /// Takes void places out of a port's queue when most are: a station that moves to and fro leaves one each time. A few at
    /// a time, but faster than new ones come.
    pub(super) fn sweep(&mut self, port: PortId, entry: impl Fn(Station) -> Option<Entry>) {
        let Some(Account { queue, held, sweep, .. }) = self.accounts.get_mut(&port) else { return };
        if sweep.is_none() && queue.len() > 2 * *held + 64 {
            *sweep = Some(Sweep::default());
        }
        let Some(Sweep { kept, seen }) = sweep else { return };
        for _ in 0..SWEPT {
            let Some(place) = queue.get(*seen) else {
                queue.truncate(*kept);
                *sweep = None;
                return;
            };
            if entry(place.station).is_some_and(|e| e.ticket == place.ticket) {
                queue.swap(*kept, *seen);
                *kept += 1;
            }
            *seen += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn queued(&self, port: PortId) -> usize {
        self.accounts.get(&port).map_or(0, |a| a.queue.len())
    }

    /// Forgets a port that holds nothing any more, and gives what was kept of it.
    pub(super) fn close(&mut self, port: PortId) -> Option<Account> {
        match self.held(port) {
            0 => self.accounts.remove(&port),
            _ => None,
        }
    }

    /// Who loses an entry when `author` wants a new one and the table is full: the port that holds most beyond its
    /// quota, or, where everybody is within his, the one that holds most; the author itself when it is one of them.
    pub(super) fn payer(&self, author: PortId) -> PortId {
        self.payer_beside(author, |_, account| (account.held, account.quota))
    }

    /// The same where the ports hold, and may hold, otherwise than stands here.
    fn payer_beside(&self, author: PortId, has: impl Fn(PortId, &Account) -> (usize, usize)) -> PortId {
        let dearest = self.accounts.iter().max_by_key(|&(&port, account)| {
            let (held, quota) = has(port, account);
            let (excess, own) = (held.saturating_sub(quota), port == author);
            (excess, own && excess > 0, held, own)
        });
        dearest.map_or(author, |(&port, _)| port)
    }

    /// Who would pay if `author`, with this quota, wanted an entry more and each port held so many more than here, or less.
    pub(super) fn payer_if(&self, author: PortId, quota: u32, more: impl Fn(PortId) -> isize) -> PortId {
        self.payer_beside(author, |port, account| {
            let quota = if port == author { quota as usize } else { account.quota };
            (account.held.saturating_add_signed(more(port)), quota)
        })
    }

    /// Takes the oldest entry of `port` that was not heard of since it was queued. `entry` gives the entry of a station
    /// if `port` still holds it. `None` also where it stands behind too many void places, which are fewer then.
    pub(super) fn pick_victim(
        &mut self,
        port: PortId,
        entry: impl Fn(Station) -> Option<Entry>,
    ) -> Option<Station> {
        let account = self.accounts.get_mut(&port)?;
        let mut chances = CHANCES.min(account.held.saturating_sub(1));
        let mut void = 0;
        while void < VOID
            && let Some(place) = account.pop()
        {
            match entry(place.station).filter(|e| e.ticket == place.ticket) {
                None => void += 1,
                Some(e) if e.seen > place.seen && chances > 0 => {
                    chances -= 1;
                    account.queue.push_back(Place { seen: e.seen, ..place });
                }
                Some(_) => return Some(place.station),
            }
        }
        None
    }

    /// The same without taking it: whom it would be.
    pub(super) fn next_victim(
        &self,
        port: PortId,
        entry: impl Fn(Station) -> Option<Entry>,
    ) -> Option<Station> {
        let account = self.accounts.get(&port)?;
        let mut chances = CHANCES.min(account.held.saturating_sub(1));
        let (mut void, mut spared) = (0, None);
        let mut places = account.queue.iter();
        while void < VOID {
            // At the end of the queue, the first that was given another chance has had it.
            let Some(place) = places.next() else { return spared };
            match entry(place.station).filter(|e| e.ticket == place.ticket) {
                None => void += 1,
                Some(e) if e.seen > place.seen && chances > 0 => {
                    chances -= 1;
                    spared.get_or_insert(place.station);
                }
                Some(_) => return Some(place.station),
            }
        }
        None
    }

    /// The next place in the round of ageing, taken out of its queue: station, port and ticket. `None` ends the round.
    pub(super) fn next_to_check(&mut self) -> Option<(Station, PortId, u32)> {
        loop {
            let (port, left) = match self.hand {
                Some((port, left)) if left > 0 => (port, left),
                hand => {
                    let after = hand.map_or(Bound::Unbounded, |(port, _)| Bound::Excluded(port));
                    let mut others = self.accounts.range((after, Bound::Unbounded));
                    let next = others.find(|(_, account)| !account.queue.is_empty());
                    let Some((&port, account)) = next else {
                        self.hand = None;
                        return None;
                    };
                    (port, account.queue.len())
                }
            };
            self.hand = Some((port, left - 1));
            let place = self.accounts.get_mut(&port).and_then(Account::pop);
            match place {
                Some(place) => return Some((place.station, port, place.ticket)),
                None => self.hand = Some((port, 0)),
            }
        }
    }

    /// Puts a place that ageing looked at back at the end of its queue.
    pub(super) fn keep(&mut self, station: Station, port: PortId, ticket: u32, seen: Time) {
        if let Some(account) = self.accounts.get_mut(&port) {
            account.queue.push_back(Place { station, ticket, seen });
        }
    }

    /// When ageing looks at the next share, so that a round fits its fraction of the ageing time.
    pub(super) fn come_again(&mut self, now: Time) -> Time {
        let places: usize = self.accounts.values().map(|a| a.queue.len()).sum();
        let calls = u32::try_from(places / Fdb::SHARE + 1).unwrap_or(u32::MAX);
        let step = (self.ageing / ROUNDS / calls).max(MIN_STEP);
        // A table that empties on the way must not slow the rest of the round down.
        self.step = if self.hand.is_some() { self.step.min(step) } else { step };
        self.due = now + self.step;
        self.due
    }
}
