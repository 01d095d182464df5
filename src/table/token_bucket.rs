//! A token bucket that all workers share: storm control is per port, and a port's queues are on several workers.
//!
//! Kept as the generic cell rate algorithm does (ITU-T I.371): one word, the time at which the bucket would be full
//! again. Taking a token moves it by one token's worth, and fails when that lies further ahead than the burst.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Time;

/// Lets so many frames a second pass, and a burst: of a tenth of a second's worth, at least 16, unless told.
#[derive(Debug)]
pub struct TokenBucket {
    nanos_per_token: u64,
    burst_nanos: u64,
    full_at: AtomicU64,
}

impl TokenBucket {
    /// A full bucket for `rate` frames a second; a rate of 0 lets nothing pass.
    pub fn new(rate: u32) -> TokenBucket {
        TokenBucket::with_burst(rate, (rate / 10).max(16))
    }

    /// The same with a burst of `burst` frames.
    pub fn with_burst(rate: u32, burst: u32) -> TokenBucket {
        let Some(nanos_per_token) = 1_000_000_000_u64.checked_div(u64::from(rate)) else {
            return TokenBucket { nanos_per_token: 1, burst_nanos: 0, full_at: AtomicU64::new(u64::MAX / 2) };
        };
        let burst_nanos = u64::from(burst) * nanos_per_token;
        TokenBucket { nanos_per_token, burst_nanos, full_at: AtomicU64::new(0) }
    }

    /// Another bucket that holds as much and never empties this one, for a trial.
    pub fn trial(&self) -> TokenBucket {
        let full_at = AtomicU64::new(self.full_at.load(Ordering::Relaxed));
        TokenBucket { full_at, ..*self }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Time) -> bool {
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now.nanos()).saturating_add(self.nanos_per_token);
            (next <= now.nanos().saturating_add(self.burst_nanos)).then_some(next)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let bucket = TokenBucket::new(1000);
        let start = Time::from_secs(7);
        assert_eq!((0..500).filter(|_| bucket.take(start)).count(), 100);
        let passed = (0..10_000).filter(|i| bucket.take(start + Duration::from_micros(100 * i))).count();
        assert_eq!(passed, 999, "a second's worth, in a second");
        assert_eq!((0..500).filter(|_| bucket.take(start + Duration::from_secs(60))).count(), 100);
    }

    #[test]
    fn rate_zero_lets_nothing_pass() {
        let bucket = TokenBucket::new(0);
        assert!(!bucket.take(Time::from_secs(1)));
    }
}
