//! What `--json` prints, and what `--compare` reads. Rates are in units a second, times in nanoseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frames::Size;
use super::machine::Machine;
use super::method::{Delayed, LOADS, Round};

/// The version of the schema: another where a field goes or means something else.
pub(super) const SCHEMA: &str = "tapyard-bench/1";

/// Everything that one run has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    /// [`SCHEMA`].
    pub(super) schema: String,
    /// Of this program.
    pub(super) version: String,
    /// When the run began (RFC 3339, UTC).
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) results: Vec<Cell>,
    pub(super) scaling: Vec<Scaling>,
    /// Paths that this user may not measure.
    pub(super) left_out: Vec<Unmeasured>,
    /// Paths that ought to work here and do not.
    pub(super) failed: Vec<Unmeasured>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// How long each trial was, in seconds.
    pub(super) seconds: f64,
    /// How often everything was measured, in turn.
    pub(super) rounds: u32,
    /// Workers of each switch that had devices.
    pub(super) workers: usize,
    /// To how much of the throughput the loss-free rate was searched.
    pub(super) resolution: f64,
    /// `release` or `debug`.
    pub(super) build: String,
}

/// What was measured of one path with frames of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) path: String,
    /// Bytes with the check sequence, or `super`.
    pub(super) size: String,
    /// Bytes that are handed to the switch for each frame.
    pub(super) frame_bytes: u64,
    /// Frames a second that arrived when as many as go were offered.
    pub(super) throughput_fps: Figure,
    /// The same in bits a second, of `frame_bytes`.
    pub(super) throughput_bps: Figure,
    /// The highest rate at which no frame was lost; `null` where every rate lost some.
    pub(super) loss_free_fps: Option<Figure>,
    /// The switch's processor time for each frame that arrived; `null` for a switch of another's.
    pub(super) cpu_ns_per_frame: Option<Figure>,
    pub(super) latency: Vec<Latency>,
    pub(super) account: Account,
}

/// How long frames were on their way at one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    /// The load, as a part of the loss-free rate.
    pub(super) load: f64,
    /// Frames a second that were offered.
    pub(super) offered_fps: Figure,
    /// Frames that were timed, in all rounds.
    pub(super) samples: u64,
    pub(super) p50_ns: Figure,
    pub(super) p90_ns: Figure,
    pub(super) p99_ns: Figure,
    pub(super) p999_ns: Figure,
    pub(super) max_ns: Figure,
    /// The mean difference between the transit times of one frame and the next.
    pub(super) jitter_ns: Figure,
}

/// What became of the frames of the throughput trials: `sent = received + lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) losses: Vec<Lost>,
    /// `null` for the engine alone, and for a switch of another's.
    pub(super) switch: Option<SwitchAccount>,
}

/// The same by the switch's own counters. What is cut on its way, or joined, counts as the frames it is at each end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SwitchAccount {
    /// Frames that came in by the port that the tester sends to.
    pub(super) rx_frames: u64,
    /// Frames that went out by the port that it listens at.
    pub(super) tx_frames: u64,
    /// Whether the switch accounts for every frame that ever came in.
    pub(super) conserved: bool,
}

/// Frames that were lost at one place for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lost {
    pub(super) place: String,
    pub(super) reason: String,
    pub(super) frames: u64,
}

/// How a rate grows or falls with a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scaling {
    /// Of what there is more.
    pub(super) by: String,
    /// What was measured.
    pub(super) path: String,
    pub(super) points: Vec<Point>,
}

/// See [`Scaling`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) number: usize,
    /// Frames a second, of 64 bytes.
    pub(super) throughput_fps: Figure,
}

/// A path that was not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unmeasured {
    pub(super) path: String,
    pub(super) reason: String,
}

/// A figure of several rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Of each round, in order.
    pub(super) rounds: Vec<f64>,
}

impl Figure {
    /// The figure of these rounds; `None` where there are none.
    pub(super) fn of(rounds: Vec<f64>) -> Option<Figure> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Figure { median, min, max, rounds })
    }

    /// How far the rounds are apart, as a part of the median.
    pub(super) fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / self.median }
    }
}

impl Cell {
    /// The cell of what rounds have shown; `None` where there are none.
    pub(super) fn of(path: &str, size: Size, rounds: &[Round]) -> Option<Cell> {
        let bits = size.bytes() as f64 * 8.0;
        let figure = |of: &dyn Fn(&Round) -> f64| Figure::of(rounds.iter().map(of).collect());
        Some(Cell {
            path: path.to_owned(),
            size: size.to_string(),
            frame_bytes: size.bytes() as u64,
            throughput_fps: figure(&|round| round.throughput)?,
            throughput_bps: figure(&|round| round.throughput * bits)?,
            loss_free_fps: Figure::of(rounds.iter().filter_map(|round| round.loss_free).collect()),
            cpu_ns_per_frame: Figure::of(rounds.iter().filter_map(|round| round.cpu).collect()),
            latency: LOADS.iter().filter_map(|&load| Latency::of(load, rounds)).collect(),
            account: Account::of(rounds),
        })
    }
}

impl Latency {
    /// At one of [`LOADS`], if frames were timed there.
    fn of(load: f64, rounds: &[Round]) -> Option<Latency> {
        let delayed: Vec<_> =
            rounds.iter().flat_map(|round| &round.delays).filter(|delayed| delayed.load == load).collect();
        let figure =
            |of: &dyn Fn(&Delayed) -> f64| Figure::of(delayed.iter().map(|delayed| of(delayed)).collect());
        let percentile = |percent| figure(&|delayed| delayed.delay.percentile(percent));
        Some(Latency {
            load,
            offered_fps: figure(&|delayed| delayed.rate)?,
            samples: delayed.iter().map(|delayed| delayed.delay.samples()).sum(),
            p50_ns: percentile(50.0)?,
            p90_ns: percentile(90.0)?,
            p99_ns: percentile(99.0)?,
            p999_ns: percentile(99.9)?,
            max_ns: figure(&|delayed| delayed.delay.max())?,
            jitter_ns: figure(&|delayed| delayed.delay.jitter())?,
        })
    }
}

impl Account {
    fn of(rounds: &[Round]) -> Account {
        let (mut account, mut losses) = (Account::default(), BTreeMap::new());
        for flood in rounds.iter().map(|round| &round.flood) {
            account.sent += flood.sent;
            account.received += flood.received;
            account.lost += flood.lost();
            for loss in &flood.losses {
                *losses.entry((&loss.place, &loss.reason)).or_default() += loss.frames;
            }
            if let Some(counted) = flood.counted {
                let sum = SwitchAccount { rx_frames: 0, tx_frames: 0, conserved: true };
                let sum = account.switch.get_or_insert(sum);
                sum.rx_frames += counted.rx_frames;
                sum.tx_frames += counted.tx_frames;
                sum.conserved &= counted.conserved;
            }
        }
        let lost = |((place, reason), frames): ((&String, &String), u64)| Lost {
            place: place.clone(),
            reason: reason.clone(),
            frames,
        };
        account.losses = losses.into_iter().map(lost).collect();
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_median_of_its_rounds_and_their_spread() {
        assert_eq!(Figure::of(Vec::new()), None);
        let odd = Figure::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max, odd.spread()), (2.0, 1.0, 3.0, 1.0));
        assert_eq!(odd.rounds, [3.0, 1.0, 2.0]);
        assert_eq!(Figure::of(vec![1.0, 2.0, 4.0, 3.0]).unwrap().median, 2.5);
    }
}
