//! Connection tracking, and the state of NAT.

mod limits;
mod ports;
mod session;
mod tcp;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::limits::Settings;
pub use self::limits::{Filtering, Limits, Mapping, Timeouts};
pub use self::ports::{Endpoint, SourceNat};
use self::session::Phase;
pub use self::session::{Direction, Session, State};
pub use self::tcp::TcpSegment;
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
    /// Of TCP, its first segment.
    pub tcp: Option<TcpSegment>,
}

/// Counters of a table since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now, those included that timed out and were not swept yet.
    pub live: usize,
    /// How many of them are half-open.
    pub half_open: usize,
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

struct Shared {
    settings: Settings,
    book: Mutex<Book>,
}

struct Book {
    sessions: Vec<Arc<Session>>,
    limits: Limits,
}

impl Book {
    fn remove(&mut self, _: &Shared, session: &Session) {
        session.set(Phase::Removed, 0);
        self.sessions.retain(|held| held.slot != session.slot);
    }

    fn moved(&mut self, _: &Session, _: Phase) {}
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conntrack {
    /// An empty table. What port a flow gets cannot be foretold without `seed`, and nobody can aim at a bucket of its
    /// hash tables; so it has to be random, but for tests.
    pub fn new(limits: Limits, seed: u64) -> Conntrack {
        let _ = seed;
        let settings = Settings::default();
        settings.set(&limits);
        let book = Mutex::new(Book { sessions: Vec::new(), limits });
        Conntrack { shared: Arc::new(Shared { settings, book }) }
    }

    /// Sets other limits. No session goes for it; timeouts hold from a session's next packet on.
    pub fn configure(&self, limits: Limits) {
        self.shared.settings.set(&limits);
        self.shared.book().limits = limits;
    }

    /// The session of a packet and which direction it goes; `None` when there is none, or its time has run out.
    pub fn lookup(&self, tuple: &Tuple, now: Time) -> Option<(Arc<Session>, Direction)> {
        let book = self.shared.book();
        let mut live = book.sessions.iter().filter(|session| session.is_live(now));
        live.find_map(|session| match *tuple {
            tuple if tuple == *session.original() => Some((Arc::clone(session), Direction::Original)),
            tuple if tuple == *session.reply() => Some((Arc::clone(session), Direction::Reply)),
            _ => None,
        })
    }

    /// Whose mapping a packet is for that belongs to no session: the internal endpoint of the mapping whose external
    /// endpoint is the packet's destination, if [`Limits::filtering`] lets its sender in. This is how peers behind NAT
    /// find each other, and hairpinning. The caller opens a session with it as
    /// [`Opening::destination`].
    pub fn inbound(&self, _tuple: &Tuple, _now: Time) -> Option<Endpoint> {
        let _ = self.shared.settings.filtering();
        None
    }

    /// Starts a session, choosing its source's mapping. When another worker has started one with the same tuple
    /// meanwhile, gives that one; its original may then be the other direction.
    ///
    /// Errors: [`DropReason::SessionsFull`], [`DropReason::SourceQuota`], [`DropReason::PortsExhausted`]; the last also
    /// when its replies could not be told from another session's packets.
    pub fn open(&self, opening: Opening<'_>, now: Time) -> Result<Arc<Session>, DropReason> {
        let mut book = self.shared.book();
        let reply = Tuple {
            source: opening.destination.map_or(opening.original.destination, |to| to.address),
            ..opening.original.reversed()
        };
        let slot = book.sessions.len() as u32;
        let tuples = (opening.original, reply);
        let segment = opening.tcp.as_ref();
        let session = Arc::new(Session::new(&self.shared, tuples, opening.rule, slot, false, segment, now));
        book.sessions.push(Arc::clone(&session));
        Ok(session)
    }

    /// Sweeps some of the sessions whose time has run out; bounded in work. Says when to come again; `None`: nothing
    /// is held.
    pub fn expire(&self, now: Time) -> Option<Time> {
        self.shared.book().sessions.retain(|session| session.is_live(now));
        None
    }

    /// Removes a session; nothing when it is gone already.
    pub fn remove(&self, session: &Session) {
        self.shared.book().remove(&self.shared, session);
    }

    /// Removes all sessions that `fits` says, and says how many. Holds no lock while it asks.
    pub fn flush(&self, fits: impl Fn(&Session) -> bool) -> usize {
        let fitting: Vec<_> = self.sessions().into_iter().filter(|session| fits(session)).collect();
        fitting.iter().for_each(|session| self.remove(session));
        fitting.len()
    }

    /// All sessions, in no order, those that come and go meanwhile with or without.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared.book().sessions.clone()
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        let book = self.shared.book();
        Stats { live: book.sessions.len(), limit: book.limits.sessions, ..Stats::default() }
    }
}
