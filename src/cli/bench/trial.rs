//! A trial: frames offered for some time, and what became of them.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::Failure;

/// How many frames are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// As many as go.
    Most,
    /// So many a second.
    Rate(f64),
}

impl Load {
    /// How many frames are due after `elapsed`.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        match self {
            Load::Most => u64::MAX,
            Load::Rate(rate) => (elapsed.as_secs_f64() * rate) as u64,
        }
    }

    /// When the frame of this number, from 0, falls due: nanoseconds after the first moment.
    pub(super) fn due_at(self, number: u64) -> u64 {
        match self {
            Load::Most => 0,
            Load::Rate(rate) => ((number + 1) as f64 / rate * 1e9) as u64,
        }
    }
}

/// What frames are sent through, with a tester at both ends.
pub(super) trait Rig {
    /// Offers frames for `duration`, and waits for those that are under way.
    ///
    /// # Errors
    /// A signal came, or a device failed.
    fn trial(&mut self, load: Load, duration: Duration) -> Result<Trial, Failure>;
}

/// What became of the frames of a trial.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// Frames that were offered.
    pub(super) sent: u64,
    /// Frames that arrived.
    pub(super) received: u64,
    /// Frames a second that arrived while more were offered.
    pub(super) rate: f64,
    /// Processor time of the switch, where that can be told.
    pub(super) cpu: Option<Duration>,
    /// How long frames were on their way.
    pub(super) delay: Delay,
    /// Where those that did not arrive went.
    pub(super) losses: Vec<Loss>,
    /// What the switch itself has counted of them, where it has devices and is ours.
    pub(super) counted: Option<Counted>,
}

impl Trial {
    /// Frames that did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// What the switch has counted in a trial. Of tunnels, the one that frames come into and the one they come out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Frames that came in by the port that the tester sends to.
    pub(super) rx_frames: u64,
    /// Frames that went out by the port that it listens at.
    pub(super) tx_frames: u64,
    /// Whether every frame is accounted for that ever came in.
    pub(super) conserved: bool,
}

impl Counted {
    /// What has been counted since an earlier count.
    pub(super) fn since(self, earlier: Counted) -> Counted {
        Counted {
            rx_frames: self.rx_frames - earlier.rx_frames,
            tx_frames: self.tx_frames - earlier.tx_frames,
            conserved: self.conserved,
        }
    }
}

/// Frames that were lost at one place for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Where: a port of the switch, or a queue before or behind it.
    pub(super) place: String,
    /// The drop reason of the switch, or what is known otherwise.
    pub(super) reason: String,
    /// How many.
    pub(super) frames: u64,
}

/// How long frames were on their way, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Delay {
    histogram: Histogram<u64>,
    last: Option<u64>,
    /// The sum of the differences between one frame and the next, and how many there were.
    variation: (u64, u64),
}

/// What is longer counts as this long.
const LONGEST_DELAY: u64 = 100_000_000_000;

impl Delay {
    pub(super) fn new() -> Delay {
        let histogram = Histogram::new_with_bounds(1, LONGEST_DELAY, 3);
        let histogram =
            histogram.expect("1 is above 0, the bounds are in order, and 3 digits are few enough");
        Delay { histogram, last: None, variation: (0, 0) }
    }

    /// Notes that the next frame was on its way for so long.
    pub(super) fn note(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
        if let Some(last) = self.last.replace(nanos) {
            self.variation.0 += nanos.abs_diff(last);
            self.variation.1 += 1;
        }
    }

    /// Frames that were noted.
    pub(super) fn samples(&self) -> u64 {
        self.histogram.len()
    }

    /// So many percent of the frames took no longer.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        self.histogram.value_at_percentile(percent) as f64
    }

    /// What the slowest took.
    pub(super) fn max(&self) -> f64 {
        self.histogram.max() as f64
    }

    /// The mean difference between the transit times of one frame and the next: what RFC 3550 section 6.4.1 estimates.
    pub(super) fn jitter(&self) -> f64 {
        let (sum, count) = self.variation;
        if count == 0 { 0.0 } else { sum as f64 / count as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_jitter_are_those_of_what_was_noted() {
        let mut delay = Delay::new();
        (1..=1000).for_each(|n| delay.note(if n % 2 == 0 { 1_000 } else { 1_010 }));
        delay.note(50_000);
        assert_eq!((delay.samples(), delay.percentile(40.0)), (1001, 1000.0));
        assert!((delay.percentile(99.0) - 1010.0).abs() < 2.0 && (delay.max() - 50_000.0).abs() < 50.0);
        let jitter = (999.0 * 10.0 + 49_000.0) / 1000.0;
        assert!((delay.jitter() - jitter).abs() < 0.1, "{}", delay.jitter());
        assert_eq!(Delay::new().jitter(), 0.0);
    }

    #[test]
    fn frames_are_due_by_their_rate() {
        let load = Load::Rate(1000.0);
        assert_eq!((load.due(Duration::from_millis(1500)), load.due_at(1499)), (1500, 1_500_000_000));
        assert_eq!(Load::Most.due(Duration::ZERO), u64::MAX);
    }
}
