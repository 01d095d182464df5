//! The neighbours of one router: whose MAC address is what, by interface and IP address; for ARP and for neighbour
//! discovery alike, in the states of RFC 4861 section 7.3. The table sends nothing: it says what is to be asked, and is
//! told what was heard.
//!
//! **Locking.** One table for all workers, behind a mutex: this is the slow path. Who wants all of it has it a page at a
//! time, and lets others at it in between. A worker keeps what it looked up with
//! its cached flows, for as long as [`Neighbors::generation`] stays what it was before the lookup, and calls
//! [`Neighbors::lookup`] again for a neighbour in use: about once a second, and at least once in a third of the time that
//! one counts as reachable. That tells the table whom somebody sends to: such a neighbour is asked again, by unicast,
//! before its entry expires, so that no packet of a running flow waits or is lost.
//!
//! **Bound.** Neighbours that are known and those that are asked for have a quota each, so that a scan of addresses
//! where nobody is cannot displace one that answered. Among the known, room is made by one that nothing was sent to
//! lately, first by one that nothing was ever sent to; where there is none, the new one gets what waited for it and is
//! forgotten. Among those asked for, the port that most of them are asked for by packets from, loses its oldest; where
//! that is the port that wants another, only one that had the time to answer, a tenth of the time between two
//! questions. So who scans pays with his own questions, and the number of questions in a second has a bound too.
//!
//! **What waits.** Frames are copied, so many for each neighbour, then the oldest makes room (RFC 4861 section 7.2.2),
//! and so many bytes in all, then the port with most of them loses the oldest. Each frame held comes back exactly once:
//! with [`Learned`], in a [`Task::Failed`], or counted in a [`Task::Dropped`].
//!
//! **Trust.** Nobody's word creates an entry but an answer to a question of ours and the question of one who wants to be
//! answered (RFC 826, RFC 4861 section 7.2.3). What is configured stays.
//!
//! **Time.** [`Neighbors::due`] does a bounded number of entries at a time and is due again when it says, or when
//! [`Neighbors::deadline`] does, which takes no lock.

mod states;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use states::{Key, PAGE, Table};

use crate::packet::{DropReason, Frame, InterfaceId, Layer, Offload, PortId};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// How much a table may hold, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborLimits {
    /// Neighbours whose MAC address is known, static ones apart.
    pub known: usize,
    /// Neighbours that are asked for, or did not answer lately.
    pub unknown: usize,
    /// Frames that wait for one neighbour.
    pub held: usize,
    /// Bytes of all frames that wait.
    pub held_bytes: usize,
    /// How long a neighbour that answered counts as reachable.
    pub reachable: Duration,
    /// How long a neighbour that is used again after that is given before it is asked.
    pub delay: Duration,
    /// From one question to the next.
    pub retransmit: Duration,
    /// How often it is asked.
    pub tries: u32,
    /// How long a neighbour that nothing is sent to is remembered.
    pub stale: Duration,
    /// How long nothing is held for a neighbour that did not answer.
    pub negative: Duration,
}

impl Default for NeighborLimits {
    fn default() -> NeighborLimits {
        NeighborLimits {
            known: 1024,
            unknown: 256,
            held: 8,
            held_bytes: 4 << 20,
            reachable: Duration::from_secs(30),
            delay: Duration::from_secs(1),
            retransmit: Duration::from_secs(1),
            tries: 3,
            stale: Duration::from_secs(20 * 60),
            negative: Duration::from_secs(2),
        }
    }
}

/// What is known of a next hop, for a frame that is to go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Its MAC address.
    Known(Mac),
    /// Nothing. A copy of the frame waits, and the question is to be asked now, to everybody.
    Asked,
    /// Nothing yet. A copy of the frame waits; the question has been asked.
    Held,
    /// [`DropReason::NeighborQueue`]: too much waits already. [`DropReason::NoNeighbor`]: it did not answer just now.
    Refused(DropReason),
}

/// A frame that waited for its next hop's address. It was counted as replied at its port when it was held, so that it
/// counts as a copy there when it comes back, and then as whatever becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The frame's bytes.
    pub bytes: Arc<[u8]>,
    /// What they begin with.
    pub layer: Layer,
    /// What is left undone on it.
    pub offload: Offload,
    /// The port it came in by.
    pub from: PortId,
    /// What the caller gave with it.
    pub context: u64,
}

/// How something was heard of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It says that it is an answer to us: an ARP reply to the router, a solicited advertisement. It counts as one only
    /// if it was asked for; otherwise it is a claim.
    Answer {
        /// It is to replace what is known; so is all of ARP.
        overrides: bool,
    },
    /// It asks us: a request or solicitation for an address of the router, a router solicitation.
    Asked,
    /// It says so to everybody: gratuitous ARP, an unsolicited advertisement.
    Claim {
        /// It is to replace what is known; so is all of ARP.
        overrides: bool,
    },
}

/// What was learned.
#[must_use = "the frames that waited are to be sent"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The frames that waited for it, in the order they came.
    pub held: Vec<Held>,
    /// The MAC address is another than the one that was given out before; [`Neighbors::generation`] says so too.
    pub changed: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Send the question.
    Ask {
        /// The interface that it goes out by.
        interface: InterfaceId,
        /// Whose MAC address is asked for.
        address: Address,
        /// To whom; `None`: to everybody (ARP), or to the solicited-node group.
        mac: Option<Mac>,
    },
    /// The neighbour did not answer: tell the senders of what waited.
    Failed {
        /// The interface that it would be reached by.
        interface: InterfaceId,
        /// Who did not answer.
        address: Address,
        /// What waited, in the order it came.
        held: Vec<Held>,
    },
    /// Frames that waited were thrown away, to be counted as dropped for [`DropReason::NeighborQueue`]. As they were
    /// counted as replied when they were held, they count as copies now.
    Dropped {
        /// The port they came in by.
        from: PortId,
        /// How many.
        frames: u32,
    },
}

/// The state of a neighbour (RFC 4861 section 7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Configured.
    Static,
    /// Asked for; nothing is known yet.
    Incomplete,
    /// It answered lately.
    Reachable,
    /// It answered once, or asked us; nothing was sent to it since.
    Stale,
    /// Something was sent to it since, so that it will be asked again.
    Delay,
    /// It is being asked again, and used on.
    Probe,
    /// It did not answer just now.
    Failed,
}

impl State {
    /// Its name on the surface.
    pub const fn name(self) -> &'static str {
        match self {
            State::Static => "static",
            State::Incomplete => "incomplete",
            State::Reachable => "reachable",
            State::Stale => "stale",
            State::Delay => "delay",
            State::Probe => "probe",
            State::Failed => "failed",
        }
    }
}

/// A neighbour, for a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its MAC address, where that is known.
    pub mac: Option<Mac>,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// When it was last used.
    pub used: Time,
    /// Frames that wait for it.
    pub held: usize,
}

/// See the module.
pub struct Neighbors {
    table: LazyLock<Mutex<Table>, Box<dyn FnOnce() -> Mutex<Table> + Send>>,
    /// Where this is a trial: what it is one of.
    real: Option<Arc<Neighbors>>,
    /// Copies of what the table says, for who takes no lock.
    generation: AtomicU32,
    deadline: AtomicU64,
}

impl Neighbors {
    /// A table that holds nothing.
    pub fn new(limits: NeighborLimits) -> Neighbors {
        Neighbors {
            table: LazyLock::new(Box::new(move || Mutex::new(Table::new(limits)))),
            real: None,
            generation: AtomicU32::new(0),
            deadline: AtomicU64::new(NEVER.nanos()),
        }
    }

    /// A table that knows what this one does and never changes it. What it needs of this one it copies when it does.
    pub fn trial(self: &Arc<Neighbors>) -> Neighbors {
        let real = Arc::clone(self);
        Neighbors {
            table: LazyLock::new(Box::new(move || Mutex::new(real.with(|table| table.trial())))),
            real: Some(Arc::clone(self)),
            generation: AtomicU32::new(self.generation()),
            deadline: AtomicU64::new(self.deadline.load(Ordering::Acquire)),
        }
    }

    /// Sets other limits. What is beyond them gives way to what comes.
    pub fn configure(&self, limits: NeighborLimits) {
        self.with(|table| table.configure(limits));
    }

    /// The MAC address of the neighbour that `frame` is to go to next; or a copy of the frame is held until that is
    /// known, with the port `from` that it came in by, and a `context` of the caller's. The neighbour is one that can
    /// be: an address of a single host, on that interface's link.
    pub fn resolve(
        &self,
        interface: InterfaceId,
        address: Address,
        frame: &Frame,
        from: PortId,
        context: u64,
        now: Time,
    ) -> Resolution {
        self.at((interface, address), |table, key| table.resolve(key, frame, from, context, now))
    }

    /// The MAC address of a neighbour, where it is known, which counts as used by that.
    pub fn lookup(&self, interface: InterfaceId, address: Address, now: Time) -> Option<Mac> {
        self.at((interface, address), |table, key| table.lookup(key, now))
    }

    /// Notes what an ARP or ND message says: `address`, which is on that interface's link, has `mac`. A group's address
    /// as either is nothing that is learned.
    pub fn learn(
        &self,
        interface: InterfaceId,
        address: Address,
        mac: Mac,
        how: Heard,
        now: Time,
    ) -> Learned {
        self.at((interface, address), |table, key| table.learn(key, mac, how, now))
    }

    /// Notes that a neighbour answered without giving its MAC address, as an advertisement may (RFC 4861 section 4.4).
    pub fn confirm(&self, interface: InterfaceId, address: Address, now: Time) {
        self.at((interface, address), |table, key| table.confirm(key, now));
    }

    /// Gives a neighbour a static entry, whatever was known of it, and the frames that waited for it back.
    pub fn pin(&self, interface: InterfaceId, address: Address, mac: Mac) -> Learned {
        self.with(|table| table.pin((interface, address), mac))
    }

    /// Removes a static entry. Whether there was one.
    pub fn unpin(&self, interface: InterfaceId, address: Address) -> bool {
        self.with(|table| table.unpin((interface, address)))
    }

    /// Adds what is to be done by now to `tasks`, and says when to come again. The work of one call is bounded; when
    /// more is left, that is at once.
    pub fn due(&self, now: Time, tasks: &mut Vec<Task>) -> Option<Time> {
        self.with(|table| {
            table.due(now, tasks);
            table.deadline()
        })
    }

    /// When [`Neighbors::due`] has something to do next; takes no lock. Any other call may make it earlier.
    #[inline]
    pub fn deadline(&self) -> Option<Time> {
        Some(Time::from_nanos(self.deadline.load(Ordering::Acquire))).filter(|&time| time != NEVER)
    }

    /// Removes the entries of an interface, of an address, or all, static ones apart, and says how many they were. What
    /// waited is counted in a [`Task::Dropped`].
    pub fn flush(&self, interface: Option<InterfaceId>, address: Option<Address>) -> usize {
        if let (Some(interface), Some(address)) = (interface, address) {
            return usize::from(self.with(|table| table.remove_learned((interface, address))));
        }
        self.remove_all(|key, state| {
            state != State::Static
                && interface.is_none_or(|interface| key.0 == interface)
                && address.is_none_or(|address| key.1 == address)
        })
    }

    /// Removes the entries of interfaces that are gone, static ones too, and says how many they were. What waited is
    /// counted in a [`Task::Dropped`]. `keep` is called with the table locked.
    pub fn retain_interfaces(&self, keep: impl Fn(InterfaceId) -> bool) -> usize {
        self.remove_all(|key, _| !keep(key.0))
    }

    fn remove_all(&self, which: impl Fn(Key, State) -> bool) -> usize {
        let (mut removed, mut after) = (0, None);
        loop {
            let (some, next) = self.page(|table| table.remove_some(after, &which));
            removed += some;
            match next {
                Some(_) => after = next,
                None => return removed,
            }
        }
    }

    /// All entries, in order of interface and address; those that come and go meanwhile with or without.
    pub fn entries(&self) -> Vec<(InterfaceId, Address, Entry)> {
        let mut all: Vec<(InterfaceId, Address, Entry)> = Vec::new();
        loop {
            let after = all.last().map(|&(interface, address, _)| (interface, address));
            let some = self.page(|table| table.entries(after));
            all.extend_from_slice(&some);
            if some.len() < PAGE {
                return all;
            }
        }
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        self.with(|table| table.fill())
    }

    /// A number that is another whenever a MAC address that was given out has changed or gone.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Does something with one entry.
    fn at<T>(&self, key: Key, act: impl FnOnce(&mut Table, Key) -> T) -> T {
        self.with(|table| {
            if let Some(real) = &self.real {
                table.adopt(key, || real.with(|table| table.node(key)));
            }
            act(table, key)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        self.act(&mut self.table.lock(), act)
    }

    /// The same for one of many in a row: whoever waits comes first.
    fn page<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let result = self.act(&mut table, act);
        MutexGuard::unlock_fair(table);
        result
    }

    fn act<T>(&self, table: &mut Table, act: impl FnOnce(&mut Table) -> T) -> T {
        let result = act(table);
        // Written with the table locked, so that no older word comes later.
        self.generation.store(table.generation(), Ordering::Release);
        self.deadline.store(table.deadline().unwrap_or(NEVER).nanos(), Ordering::Release);
        result
    }
}

/// How many neighbours a table holds, and how many it may; see [`NeighborLimits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Those whose MAC address is known, static ones apart.
    pub known: usize,
    /// The most of those.
    pub known_limit: usize,
    /// Those that are asked for, or did not answer lately.
    pub unknown: usize,
    /// The most of those.
    pub unknown_limit: usize,
}

/// A time that does not come.
const NEVER: Time = Time::from_nanos(u64::MAX);
