//! A bound on what guests can have us log: any of them can do wrong, or come and go, as often as it likes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are logged one after the other, however fast.
const BURST: u32 = 32;
/// How often one more is, from then on.
const PACE: Duration = Duration::from_secs(10);

/// Tells whether a line may be logged.
pub struct Hush(Mutex<State>);

struct State {
    /// Lines that may be logged now.
    left: u32,
    /// When the last one was given to `left`.
    given: Instant,
    /// Lines that were not logged since the last that was.
    unsaid: u64,
}

impl Default for Hush {
    fn default() -> Hush {
        Hush(Mutex::new(State { left: BURST, given: Instant::now(), unsaid: 0 }))
    }
}

impl Hush {
    /// What to add to the line if it may be logged: nothing, or how many were not logged before it.
    pub fn ask(&self) -> Option<String> {
        self.ask_at(Instant::now())
    }

    fn ask_at(&self, now: Instant) -> Option<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.duration_since(state.given).as_secs() / PACE.as_secs();
        if due > 0 {
            state.left = BURST.min(state.left.saturating_add(due.try_into().unwrap_or(BURST)));
            state.given = now;
        }
        if state.left == 0 {
            state.unsaid += 1;
            return None;
        }
        state.left -= 1;
        Some(match std::mem::take(&mut state.unsaid) {
            0 => String::new(),
            unsaid => format!(" (and {unsaid} more like this, not logged)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_a_trickle_that_says_so() {
        let hush = Hush::default();
        let start = Instant::now();
        let said =
            |seconds| (0..1000).filter_map(|_| hush.ask_at(start + Duration::from_secs(seconds))).collect();
        let first: Vec<String> = said(0);
        assert_eq!(first, vec![String::new(); BURST as usize]);
        let later: Vec<String> = said(11);
        assert_eq!(later, [format!(" (and {} more like this, not logged)", 1000 - BURST)]);
        let much_later: Vec<String> = said(1_000_000);
        assert_eq!(much_later.len(), BURST as usize);
    }
}
