//! Monotonic time as a plain value.
//!
//! The core takes the time as an argument and never reads a clock, so tests and benches decide what time it is. Only
//! the worker turns a clock into a [`Time`].

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since an origin the caller chose (the worker: the start of the process). Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);

    /// The time `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// The time `secs` seconds after the origin.
    pub const fn from_secs(secs: u64) -> Time {
        Time(secs * 1_000_000_000)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the origin, as kept in compact table entries. Wraps after 136 years.
    pub const fn secs(self) -> u32 {
        (self.0 / 1_000_000_000) as u32
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, later: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}
