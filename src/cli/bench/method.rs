//! What is measured of a rig, and how: RFC 2544 section 26, with trials of a fraction of a second.

use std::time::Duration;

use super::super::Failure;
use super::trial::{Delay, Load, Loss, Rig, Trial};

/// The loss-free rate is found to so much of the throughput.
pub(super) const RESOLUTION: f64 = 0.02;
/// The search goes up to so much of the throughput: a switch may carry more when it is not flooded.
const HEADROOM: f64 = 1.25;
/// A trial counts only if so much of its load was offered.
const OFFERED: f64 = 0.98;
/// A rate passes only if so much of it arrived while it was offered: where queues grow, they only put the losses off, and a
/// short trial would end before.
const KEPT_UP: f64 = 0.95;
/// Loads at which delays are measured, as parts of the loss-free rate.
pub(super) const LOADS: [f64; 2] = [0.5, 0.9];

/// What one round has shown.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Frames a second that arrive when as many as go are offered.
    pub(super) throughput: f64,
    /// Frames a second that pass without a loss; `None` where no rate did.
    pub(super) loss_free: Option<f64>,
    /// Nanoseconds of processor time that the switch spends on a frame at the throughput, where that can be told.
    pub(super) cpu: Option<f64>,
    /// The trial at the throughput.
    pub(super) flood: Trial,
    /// How long frames took at [`LOADS`], where any was timed.
    pub(super) delays: Vec<Delayed>,
}

/// How long frames took at one load.
#[derive(Clone, Debug)]
pub(super) struct Delayed {
    /// One of [`LOADS`].
    pub(super) load: f64,
    /// Frames a second that were offered.
    pub(super) rate: f64,
    pub(super) delay: Delay,
}

/// Measures a rig once.
///
/// # Errors
/// A signal came, a device failed, or no frame passes.
pub(super) fn measure(rig: &mut dyn Rig, duration: Duration) -> Result<Round, Failure> {
    let flood = rig.trial(Load::Most, duration)?;
    if flood.received == 0 {
        let where_to = |loss: &Loss| format!("; {} at {}: {}", loss.frames, loss.place, loss.reason);
        let losses: String = flood.losses.iter().map(where_to).collect();
        return Err(format!("none of {} frames has passed{losses}", flood.sent).into());
    }
    let throughput = flood.rate;
    let loss_free = loss_free(rig, throughput * HEADROOM, duration)?;
    let mut delays = Vec::new();
    for load in LOADS {
        let Some(rate) = loss_free.map(|rate| rate * load) else { continue };
        let delay = rig.trial(Load::Rate(rate), duration)?.delay;
        if delay.samples() > 0 {
            delays.push(Delayed { load, rate, delay });
        }
    }
    let cpu = flood.cpu.map(|cpu| cpu.as_nanos() as f64 / flood.received as f64);
    Ok(Round { throughput, loss_free, cpu, flood, delays })
}

fn steps() -> u32 {
    (HEADROOM / RESOLUTION).log2().ceil() as u32
}

/// Binary search for the highest rate at which no frame is lost. Since whatever else the machine does costs a frame now and
/// then, only a rate that does not pass in two trials in a row is refused.
fn loss_free(rig: &mut dyn Rig, most: f64, duration: Duration) -> Result<Option<f64>, Failure> {
    let (mut passed, mut refused) = (0.0, most);
    for _ in 0..steps() {
        let rate = (passed + refused) / 2.0;
        let mut passes = || -> Result<bool, Failure> {
            let trial = rig.trial(Load::Rate(rate), duration)?;
            let offered = trial.sent as f64 >= (rate * duration.as_secs_f64() * OFFERED).floor();
            let kept_up = trial.rate >= rate * KEPT_UP;
            Ok(trial.sent > 0 && trial.lost() == 0 && offered && kept_up)
        };
        if passes()? || passes()? {
            passed = rate;
        } else {
            refused = rate;
        }
    }
    Ok((passed > 0.0).then_some(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries so many frames a second, and loses the others.
    struct Ideal {
        rate: f64,
        /// So many frames above the rate wait instead.
        queue: u64,
        trials: u32,
        /// Which trials lose a frame though they need not.
        unlucky: fn(u32) -> bool,
    }

    impl Rig for Ideal {
        fn trial(&mut self, load: Load, duration: Duration) -> Result<Trial, Failure> {
            self.trials += 1;
            let capacity = (self.rate * duration.as_secs_f64()) as u64;
            let sent = load.due(duration).min(10 * capacity);
            let in_time = sent.min(capacity).saturating_sub(u64::from((self.unlucky)(self.trials)));
            let received = in_time + (sent - sent.min(capacity)).min(self.queue);
            let mut delay = Delay::new();
            delay.note(1000);
            let (rate, cpu) = (in_time as f64 / duration.as_secs_f64(), Some(duration / 2));
            Ok(Trial { sent, received, rate, cpu, delay, losses: Vec::new(), counted: None })
        }
    }

    fn round(rate: f64, unlucky: fn(u32) -> bool) -> Round {
        let mut rig = Ideal { rate, queue: 0, trials: 0, unlucky };
        let round = measure(&mut rig, Duration::from_millis(100)).unwrap();
        assert!(rig.trials <= 1 + 2 * steps() + LOADS.len() as u32, "{}", rig.trials);
        round
    }

    #[test]
    fn the_loss_free_rate_is_found_to_its_resolution() {
        for rate in [1e4, 123_456.0, 3.3e7] {
            let round = round(rate, |_| false);
            let found = round.loss_free.unwrap();
            assert!(found <= rate * 1.001 && found >= rate * (1.0 - RESOLUTION), "{found} of {rate}");
            assert_eq!(round.delays.len(), LOADS.len());
            let cpu = round.cpu.unwrap();
            assert!((cpu - 0.5e9 / rate).abs() < 0.01 * cpu, "{cpu}");
        }
    }

    #[test]
    fn a_single_unlucky_trial_does_not_refuse_a_rate_and_two_do() {
        let found = round(1e5, |trial| trial % 2 == 0).loss_free.unwrap();
        assert!(found >= 1e5 * (1.0 - RESOLUTION), "{found}");
        let round = round(1e5, |trial| trial > 1);
        assert_eq!((round.loss_free, round.delays.len()), (None, 0));
    }

    #[test]
    fn a_queue_that_holds_more_than_a_trial_does_not_raise_the_loss_free_rate() {
        let mut rig = Ideal { rate: 1e4, queue: 1000, trials: 0, unlucky: |_| false };
        let found = measure(&mut rig, Duration::from_millis(100)).unwrap().loss_free.unwrap();
        assert!(found <= 1e4 / KEPT_UP, "{found}");
    }

    #[test]
    fn a_rig_that_lets_nothing_pass_is_no_measurement() {
        let mut rig = Ideal { rate: 0.0, queue: 0, trials: 0, unlucky: |_| false };
        let refused = measure(&mut rig, Duration::from_millis(10)).unwrap_err();
        assert_eq!(refused, Failure::Said("none of 0 frames has passed".into()));
    }
}
