//! Ctrl-C and its like, which end a command in order: what it has made is dropped on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;

/// How often a wait looks for a signal.
const LOOK: Duration = Duration::from_millis(20);

/// The signal that came, if one did.
pub(super) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on these signals end nothing by themselves.
    pub(super) fn catch() -> Result<Interrupt, String> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register_usize(signal, Arc::clone(&came), signal as usize)
                .map_err(|error| format!("cannot take signals: {error}"))?;
        }
        Ok(Interrupt(came))
    }

    /// Whether a signal came.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Fails when a signal came.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Failure::Interrupted(signal as u8)),
        }
    }

    /// Waits until `deadline`, or fails as soon as a signal comes.
    pub(super) fn wait_until(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            self.check()?;
            match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => thread::sleep(left.min(LOOK)),
            }
        }
    }
}
