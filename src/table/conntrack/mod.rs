//! Connection tracking, and the state of NAT: who talks with whom, how far they are, and what their packets look like on
//! the other side.
//!
//! **What it holds.** A [`Session`] for each flow, found by what its packets look like in either direction when they come
//! in. What leaves is the other direction's tuple turned round, so there and back is the same by construction, and two
//! sessions never have a tuple in common. Sessions of one internal endpoint that NAT maps to the same external one form
//! a mapping, which ends with the last of them (RFC 4787 section 4.1).
//!
//! **Locking.** A worker's flow cache holds the `Arc` of its flows' sessions and needs no lock: [`Session::touch`] writes
//! with relaxed stores, seldom, and [`Session::stamp`] tells when a cached decision is void. What the cache does not know
//! is looked up in the `Index`, shards with a lock each that is taken for reading. Everything that makes, changes or
//! removes sessions goes through the `Book`, one mutex, so that limits, ports and mappings cannot disagree; it takes
//! shards of the index one at a time, and nobody who holds a shard waits for the book. No lock is held for more than
//! bounded work.
//!
//! **Bound, and who pays.** [`Limits::sessions`] bounds all, [`Limits::per_source`] those from one address. When the
//! table is full, a new session takes the place of a TCP connection that is over, else of a half-open session: one that
//! nobody has answered, or whose handshake is not over; of those the one that is so for longest. When there is none, the
//! new one is refused. So a flood of SYNs or of made-up addresses throws out what it made itself, and at worst handshakes
//! under way, never an established session. Ports that run out fail the new flow; only connections that are over give
//! up theirs.
//!
//! **Time.** `Wheel` says who is due; [`Conntrack::expire`] sweeps a bounded number and says when to come again. A
//! session whose time has run out is as if it were not there before it is swept, too. Times count in whole seconds: a
//! session lives for its timeout and up to a second more.

mod book;
mod hash;
mod index;
mod limits;
mod ports;
mod session;
mod slots;
mod tcp;
mod trial;
mod wheel;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::book::Book;
use self::hash::Hashes;
use self::index::Index;
use self::limits::Settings;
pub use self::limits::{Filtering, Limits, Mapping, Timeouts};
pub use self::ports::{Endpoint, SourceNat};
pub use self::session::{Direction, Session, State};
pub use self::tcp::TcpSegment;
use self::trial::Trial;
use crate::packet::{DropReason, Tuple};
use crate::time::Time;

/// What starts a session.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The tuple of its first packet, as it came in.
    pub original: Tuple,
    /// Where destination NAT sends it instead; the port is that of the original where it stays, 0 without ports.
    pub destination: Option<Endpoint>,
    /// What source NAT may make of its source. The session is what decides.
    pub source: Option<SourceNat<'a>>,
    /// The rule it came by, for show.
    pub rule: u32,
    /// Of TCP, its first segment. One that is no SYN picks a connection up that is under way, half-open until somebody
    /// answers. Whether that may be is the caller's to say; with NAT it seldom makes sense.
    pub tcp: Option<TcpSegment>,
}

/// Counters of a table since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now, those included that timed out and were not swept yet.
    pub live: usize,
    /// How many of them are half-open.
    pub half_open: usize,
    /// How many of them are TCP connections that are over, and give way first.
    pub closed: usize,
    /// Most sessions there may be.
    pub limit: usize,
    /// Endpoint-independent mappings now.
    pub mappings: usize,
    /// Sessions that were started.
    pub opened: u64,
    /// Closed or half-open sessions that made room for another.
    pub evicted: u64,
    /// Refused because the table was full.
    pub refused_full: u64,
    /// Refused because their source had as many as it may.
    pub refused_quota: u64,
    /// Refused because no port was left.
    pub refused_ports: u64,
}

/// The sessions of one router or filtered bridge, shared by all workers. See the module.
pub struct Conntrack {
    shared: Arc<Shared>,
}

/// What sessions know of their table.
struct Shared {
    settings: Settings,
    hashes: Hashes,
    index: Index,
    book: Mutex<Book>,
    /// Where this is a trial: what it is one of.
    trial: Option<Trial>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }
}

impl Conntrack {
    /// An empty table. What port a flow gets cannot be foretold without `seed`, and nobody can aim at a bucket of its
    /// hash tables; so it has to be random, but for tests.
    pub fn new(limits: Limits, seed: u64) -> Conntrack {
        Conntrack::with(limits, seed, None)
    }

    fn with(limits: Limits, seed: u64, trial: Option<Trial>) -> Conntrack {
        let settings = Settings::default();
        settings.set(&limits);
        let shared = Shared {
            settings,
            hashes: Hashes::new(seed),
            index: Index::new(limits.sessions),
            book: Mutex::new(Book::new(limits, seed)),
            trial,
        };
        Conntrack { shared: Arc::new(shared) }
    }

    /// Sets other limits. No session goes for it; timeouts hold from a session's next change or longer from its next
    /// packet on, another mapping from the next flow on.
    pub fn configure(&self, limits: Limits) {
        self.shared.settings.set(&limits);
        self.shared.book().configure(limits);
    }

    /// The session of a packet and which direction it goes; `None` when there is none, or its time has run out.
    pub fn lookup(&self, tuple: &Tuple, now: Time) -> Option<(Arc<Session>, Direction)> {
        let found = self.shared.index.find(&self.shared.hashes, tuple);
        let found = found.filter(|(session, _)| session.is_live(now));
        found.or_else(|| self.shared.trial.as_ref()?.lookup(&self.shared, tuple, now))
    }

    /// Whose mapping a packet is for that belongs to no session: the internal endpoint of the mapping whose external
    /// endpoint is the packet's destination, if [`Limits::filtering`] lets its sender in. So peers behind NAT reach each
    /// other, also where both are behind this one (hairpinning, RFC 4787 REQ-9); `tuple` is then to have the sender's
    /// external endpoint as its source, see [`Conntrack::mapping`]. The caller opens a session with the answer as
    /// [`Opening::destination`].
    ///
    /// Of a mapping with very many sessions only some are asked whether they went to the sender.
    pub fn inbound(&self, tuple: &Tuple, now: Time) -> Option<Endpoint> {
        let shared = &self.shared;
        match shared.settings.filtering() {
            // Without the book, as this is what everybody outside can have it asked.
            Filtering::AddressAndPortDependent => match self.lookup(tuple, now)? {
                (session, Direction::Reply) => {
                    let original = session.original();
                    Some(Endpoint { address: original.source, port: original.source_port })
                }
                _ => None,
            },
            filtering => {
                let found = shared.book().inbound(shared, tuple, filtering, now);
                found.or_else(|| shared.trial.as_ref()?.real().inbound(tuple, now))
            }
        }
    }

    /// The external endpoint that an internal one has now for all destinations, where it has one.
    pub fn mapping(&self, internal: Endpoint, protocol: u8) -> Option<Endpoint> {
        let found = self.shared.book().external(&self.shared, internal, protocol);
        found.or_else(|| self.shared.trial.as_ref()?.real().mapping(internal, protocol))
    }

    /// Starts a session, choosing its source's mapping. When another worker has started one with the same tuple
    /// meanwhile, gives that one; the tuple may then be that of its replies.
    ///
    /// Errors: [`DropReason::SessionsFull`], [`DropReason::SourceQuota`], [`DropReason::PortsExhausted`]; the last also
    /// when its replies could not be told from another session's packets.
    pub fn open(&self, opening: Opening<'_>, now: Time) -> Result<Arc<Session>, DropReason> {
        match &self.shared.trial {
            Some(trial) => trial.open(&self.shared, &opening, now),
            None => self.shared.book().open(&self.shared, &opening, now),
        }
    }

    /// Sweeps some of the sessions whose time has run out; bounded in work. Says when to come again; `None`: nothing
    /// is held.
    pub fn expire(&self, now: Time) -> Option<Time> {
        for _ in 0..SWEEPS {
            let mut book = self.shared.book();
            if book.sweep(&self.shared, now, SWEEP) {
                return book.due();
            }
        }
        Some(now)
    }

    /// Removes a session; nothing when it is gone already.
    pub fn remove(&self, session: &Session) {
        self.shared.book().remove(&self.shared, session);
    }

    /// Removes all sessions that `fits` says, and says how many. Holds no lock while it asks.
    pub fn flush(&self, fits: impl Fn(&Session) -> bool) -> usize {
        let mut removed = 0;
        self.visit(|session| {
            if fits(session) {
                self.remove(session);
                removed += 1;
            }
        });
        removed
    }

    /// All sessions, in no order, those that come and go meanwhile with or without; those included that timed out and
    /// were not swept yet.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::new();
        self.visit(|session| all.push(Arc::clone(session)));
        all
    }

    /// Has `look` look at each, as [`Conntrack::sessions`] gives them. Holds no lock while it does.
    pub fn visit(&self, mut look: impl FnMut(&Arc<Session>)) {
        let mut at = Some(0);
        while let Some(first) = at {
            let book = self.shared.book();
            let (some, next) = book.some(first);
            // Whoever waits for the book comes before the next of them.
            MutexGuard::unlock_fair(book);
            some.iter().for_each(&mut look);
            at = next;
        }
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        self.shared.book().stats()
    }
}

impl Drop for Conntrack {
    /// Sessions know their table, so that it would keep itself.
    fn drop(&mut self) {
        let mut at = Some(0);
        while let Some(first) = at {
            let mut book = self.shared.book();
            let (some, next) = book.some(first);
            some.iter().for_each(|session| book.remove(&self.shared, session));
            at = next;
        }
    }
}

/// Work that a sweep does under one lock,
const SWEEP: usize = 64;
/// and how many such an [`Conntrack::expire`] does: 256 sessions removed, or 1024 looked at.
const SWEEPS: usize = 16;

#[cfg(test)]
mod tests;
