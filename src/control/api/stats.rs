//! What is told of counters and of workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters of everything. `rx_frames + copies = tx_frames + replied + drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsInfo {
    /// The epoch of the topology: counts changes.
    pub epoch: u64,
    /// Seconds since the switch started.
    pub uptime_secs: u64,
    /// The workers.
    pub workers: Vec<WorkerInfo>,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Frames that the switch made: copies of flooded ones, segments of superframes.
    pub copies: u64,
    /// Frames that the switch answered itself.
    pub replied: u64,
    /// Frames dropped.
    pub drops: u64,
    /// Whether every frame is accounted for.
    pub conserved: bool,
    /// The ports.
    pub ports: Vec<PortStats>,
}

/// What a worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Which one, from 0.
    pub index: usize,
    /// Times it woke from sleep.
    pub wakeups: u64,
    /// Batches it took in.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// Times it looked for frames without sleeping before.
    pub busy_polls: u64,
    /// When it was asked, in nanoseconds since the switch started.
    #[serde(default)]
    pub at_nanos: u64,
    /// Nanoseconds of those that it was busy: all but sleep and polling in vain. What the differences of both to an earlier
    /// answer give is its load.
    #[serde(default)]
    pub busy_nanos: u64,
    /// Batches by how many frames were in them: 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31, and 32 and more.
    #[serde(default)]
    pub batch_sizes: Vec<u64>,
    /// Nanoseconds that it did something else than moving frames, by what that was: `timers`, `report`, `change`, `probe`.
    #[serde(default)]
    pub chore_nanos: BTreeMap<String, u64>,
    /// The longest that its ports waited because it did something else than moving frames.
    #[serde(default)]
    pub longest_pause: PauseInfo,
    /// The same for the last ten to twenty seconds.
    #[serde(default)]
    pub recent_pause: PauseInfo,
    /// Nanoseconds that the longest turn of one port took, a few batches, while the others waited.
    #[serde(default)]
    pub longest_turn_nanos: u64,
    /// The same for the last ten to twenty seconds.
    #[serde(default)]
    pub recent_turn_nanos: u64,
}

/// How long a worker did something else than moving frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseInfo {
    /// How long, in nanoseconds.
    pub nanos: u64,
    /// What took the most of it, as in [`WorkerInfo::chore_nanos`].
    pub chore: String,
}

/// Counters of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Its name.
    pub name: String,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped, for any reason.
    pub drops: u64,
    /// Frames from here that were flooded because they are for all stations, or for a group of them.
    #[serde(default)]
    pub groups: u64,
    /// Frames from here that were flooded because no table had the one station that they are for.
    #[serde(default)]
    pub unknown: u64,
}

/// Frames that a port dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// The port.
    pub port: String,
    /// The reason's name.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// What to look at.
    #[serde(default)]
    pub remedy: String,
    /// How many.
    pub frames: u64,
}
