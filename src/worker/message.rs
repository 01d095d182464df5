//! What is said to a worker and by one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::packet::{Counters, DropReason, Location, PortId};
use crate::port::Queue;
use crate::switch::mirror::MirrorCounters;
use crate::switch::watch::{WatchId, Watcher};
use crate::switch::{self, Intruder, PeerCounters, RuleCounters, Topology};
use crate::table::reassembly;
use crate::time::Time;

/// What a worker is told.
pub enum Command {
    /// Take a new topology, with the queues that come and go with it.
    Change(Change),
    /// Say what you have seen.
    Report(Sender<Report>),
    /// Have somebody watch what passes.
    Watch(WatchId, Box<dyn Watcher>),
    /// Let a watcher go.
    Unwatch(WatchId),
    /// Send an echo to a peer of a tunnel; see [`Switch::probe`](switch::Switch::probe).
    Probe {
        /// The peer.
        at: Location,
        /// What its [`switch::Event::Echo`], or [`Event::NotSent`], is known by.
        token: u64,
        /// Bytes behind the Ethernet header.
        size: usize,
    },
    /// End.
    Stop,
}

/// A change of topology, taken between two batches.
pub struct Change {
    /// The topology from now on.
    pub topology: Arc<Topology>,
    /// Ports whose queue goes; before the others come.
    pub remove: Vec<PortId>,
    /// Queues that come.
    pub install: Vec<(PortId, Queue)>,
    /// Watchers that watch this topology in the place of others, if those still do; `None`: nobody does from now on.
    pub watchers: Vec<(WatchId, Option<Box<dyn Watcher>>)>,
    /// Told when it is done, with the queues that went: closing a device takes long, and is not the worker's job.
    pub done: Sender<Vec<Queue>>,
}

/// What a worker tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device of a port is gone; its queue is not polled any more, and waits to be removed.
    Gone {
        /// The port.
        port: PortId,
        /// The epoch of the topology that the queue came with: by now another may have its place.
        installed: u64,
    },
    /// The switch has noticed something.
    Switch(switch::Event),
    /// The way to a peer lets through another length than it did.
    PathMtu {
        /// The peer's address.
        to: IpAddr,
    },
    /// An echo was not sent, see [`Command::Probe`].
    NotSent {
        /// What it is known by.
        token: u64,
        /// Why.
        reason: DropReason,
    },
}

/// What a worker has seen: a consistent copy, made between two batches.
#[derive(Clone, Debug)]
pub struct Report {
    /// The worker's number.
    pub worker: usize,
    /// Counters of the ports there are.
    pub ports: Vec<(PortId, Counters)>,
    /// Counters of the ports there were.
    pub retired: Counters,
    /// Counters of the peers of tunnels.
    pub peers: Vec<(Location, PeerCounters)>,
    /// The options that peers last sent, see [`Switch::all_options`](switch::Switch::all_options).
    pub options: Vec<(Location, Vec<u8>)>,
    /// Who sent what nobody is expected to send, see [`Switch::all_intruders`](switch::Switch::all_intruders).
    pub intruders: Vec<(PortId, Intruder)>,
    /// What rules have matched, see [`Switch::rule_counters`](switch::Switch::rule_counters).
    pub rules: Vec<RuleCounters>,
    /// What is kept of packets until the rest of them has come.
    pub fragments: reassembly::Fill,
    /// What mirrors have copied, see [`Switch::mirror_counters`](switch::Switch::mirror_counters).
    pub mirrors: Vec<MirrorCounters>,
    /// How the worker spent its time.
    pub activity: Activity,
}

/// How an echo to a peer of a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It came back after this time.
    Answered(Duration),
    /// It was not sent, for this reason.
    NotSent(String),
}

/// Sizes of batches that are told apart: 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31, and 32 and more frames.
pub const BATCH_SIZES: usize = 6;

/// How a worker spent its time since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Up to when.
    pub at: Time,
    /// How long it had something to do: all but sleep and polling in vain.
    pub busy: Duration,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Times it found frames while it was polling busily.
    pub busy_hits: u64,
    /// Batches with at least one frame.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// Batches by how many frames were in them, see [`BATCH_SIZES`].
    pub batch_sizes: [u64; BATCH_SIZES],
    /// How much of [`Activity::busy`] it did something else than moving frames, by [`Chore`].
    pub chores: [Duration; Chore::ALL.len()],
    /// The longest that ports had to wait because it did something else than moving frames.
    pub longest_pause: Pause,
    /// The same for the last ten to twenty seconds.
    pub recent_pause: Pause,
    /// The longest that all other ports had to wait for one port's turn, a few batches.
    pub longest_turn: Duration,
    /// The same for the last ten to twenty seconds.
    pub recent_turn: Duration,
}

/// How long a worker did something else than moving frames, between two looks at its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause {
    /// How long.
    pub spent: Duration,
    /// What took the most of it.
    pub chore: Chore,
}

/// What a worker does besides moving frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chore {
    /// What is due without a frame: ageing, asking neighbours again, ends of connections.
    #[default]
    Timers,
    /// [`Command::Report`].
    Report,
    /// [`Command::Change`].
    Change,
    /// [`Command::Probe`].
    Probe,
    /// [`Command::Watch`], [`Command::Unwatch`].
    Watch,
}

impl Chore {
    /// All of them, in the order of [`Activity::chores`].
    pub const ALL: [Chore; 5] = [Chore::Timers, Chore::Report, Chore::Change, Chore::Probe, Chore::Watch];

    /// Its name on the surface.
    pub const fn name(self) -> &'static str {
        match self {
            Chore::Timers => "timers",
            Chore::Report => "report",
            Chore::Change => "change",
            Chore::Probe => "probe",
            Chore::Watch => "watch",
        }
    }
}
