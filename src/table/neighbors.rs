//! The neighbours of one router.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    pub bytes: Box<[u8]>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The frames that waited for it, in the order they came.
    pub held: Vec<Held>,
    /// The MAC address is another than before.
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
    known: Mutex<HashMap<(InterfaceId, Address), Mac>>,
    generation: AtomicU32,
}

impl Neighbors {
    /// A table that holds nothing.
    pub fn new(_limits: NeighborLimits) -> Neighbors {
        Neighbors { known: Mutex::default(), generation: AtomicU32::new(1) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(InterfaceId, Address), Mac>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The MAC address of a neighbour that `frame` is to go to next, or a copy of the frame is held until it is known.
    /// `from` is the port that the frame came in by; `context` comes back with it.
    pub fn resolve(
        &self,
        interface: InterfaceId,
        address: Address,
        _frame: &Frame,
        _from: PortId,
        _context: u64,
        now: Time,
    ) -> Resolution {
        match self.lookup(interface, address, now) {
            Some(mac) => Resolution::Known(mac),
            None => Resolution::Refused(DropReason::NoNeighbor),
        }
    }

    /// The MAC address of a neighbour, where it is known, which counts as used by that.
    pub fn lookup(&self, interface: InterfaceId, address: Address, _now: Time) -> Option<Mac> {
        self.known().get(&(interface, address)).copied()
    }

    /// Notes what an ARP or ND message says.
    pub fn learn(
        &self,
        _interface: InterfaceId,
        _address: Address,
        _mac: Mac,
        _how: Heard,
        _now: Time,
    ) -> Learned {
        Learned::default()
    }

    /// Notes that a neighbour answered without giving its MAC address, as an advertisement may (RFC 4861 section 4.4).
    pub fn confirm(&self, _interface: InterfaceId, _address: Address, _now: Time) {}

    /// Gives a neighbour a static entry, and the frames that waited for it back.
    pub fn pin(&self, interface: InterfaceId, address: Address, mac: Mac, _now: Time) -> Learned {
        self.known().insert((interface, address), mac);
        Learned::default()
    }

    /// Removes a static entry. Whether there was one.
    pub fn unpin(&self, interface: InterfaceId, address: Address) -> bool {
        self.known().remove(&(interface, address)).is_some()
    }

    /// Adds what is to be done by now to `tasks`, and says when to come again. The work of one call is bounded; when
    /// more is left, that is at once.
    pub fn due(&self, _now: Time, _tasks: &mut Vec<Task>) -> Option<Time> {
        None
    }

    /// When [`Neighbors::due`] has something to do next; takes no lock. Looking neighbours up may make it earlier.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Removes entries, static ones apart, and says how many they were.
    pub fn flush(&self, _interface: Option<InterfaceId>, _address: Option<Address>) -> usize {
        0
    }

    /// Removes the entries of interfaces that are gone, static ones too.
    pub fn retain_interfaces(&self, keep: impl Fn(InterfaceId) -> bool) {
        self.known().retain(|(interface, _), _| keep(*interface));
    }

    /// All entries, in order of interface and address.
    pub fn entries(&self) -> Vec<(InterfaceId, Address, Entry)> {
        Vec::new()
    }

    /// A number that is another whenever a MAC address that was known has changed or gone.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }
}
