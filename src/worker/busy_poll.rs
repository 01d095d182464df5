//! How long a worker goes on polling before it sleeps.
//!
//! Falling asleep and being woken costs a frame some microseconds; polling on costs a core that a guest may need. So the
//! window follows the traffic: a pause that polling on would have bridged makes it grow, one that outlasted the longest
//! window makes it shrink, down to nothing. An idle switch does not poll at all.

use std::time::Duration;

/// A frame that comes within this was there already, and neither polling nor sleeping would have changed that.
const AT_ONCE: Duration = Duration::from_micros(2);

pub(super) struct BusyPoll {
    window: Duration,
    longest: Duration,
}

impl BusyPoll {
    pub(super) fn new(longest: Duration) -> BusyPoll {
        BusyPoll { window: Duration::ZERO, longest }
    }

    /// How long to poll now.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Notes how long the pause between two frames was.
    pub(super) fn gap(&mut self, pause: Duration) {
        if pause < AT_ONCE {
            return;
        }
        if pause <= self.longest {
            self.window = (2 * pause).max(self.window).min(self.longest);
        } else {
            self.window /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_pauses() {
        let us = Duration::from_micros;
        let mut policy = BusyPoll::new(us(50));
        assert_eq!(policy.window(), us(0));
        policy.gap(us(1));
        assert_eq!(policy.window(), us(0), "it was there already");
        policy.gap(us(8));
        assert_eq!(policy.window(), us(16));
        policy.gap(us(45));
        assert_eq!(policy.window(), us(50), "never above the longest");
        policy.gap(us(500));
        assert_eq!(policy.window(), us(25));
        for _ in 0..40 {
            policy.gap(us(500));
        }
        assert_eq!(policy.window(), us(0), "idle costs nothing");
    }

    #[test]
    fn zero_means_never() {
        let mut policy = BusyPoll::new(Duration::ZERO);
        policy.gap(Duration::ZERO);
        assert_eq!(policy.window(), Duration::ZERO);
    }
}
