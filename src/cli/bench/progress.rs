//! How far a run is, on one line of the terminal: nothing where stderr is none.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Cells of the bar.
const WIDTH: usize = 24;

/// A line on stderr, gone when dropped.
pub(super) struct Progress {
    shown: bool,
    steps: usize,
    done: usize,
    began: Instant,
}

impl Progress {
    /// Of so many steps, all of which take about as long.
    pub(super) fn new(steps: usize) -> Progress {
        Progress { shown: io::stderr().is_terminal(), steps, done: 0, began: Instant::now() }
    }

    /// Says what is done now; what was before is finished.
    pub(super) fn step(&mut self, what: &str) {
        self.write(&line(self.done, self.steps, self.began.elapsed().as_secs_f64(), what));
        self.done += 1;
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Whether somebody reads it does not matter.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write("");
    }
}

fn line(done: usize, steps: usize, elapsed: f64, what: &str) -> String {
    let full = WIDTH * done / steps.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    let left = match done {
        0 => String::new(),
        done => format!(", {:.0} s left", elapsed / done as f64 * (steps - done) as f64),
    };
    format!("[{bar}] {}/{steps}{left}: {what}", done + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_how_long_it_will_take() {
        assert_eq!(line(0, 8, 0.0, "engine"), "[........................] 1/8: engine");
        assert_eq!(line(6, 8, 12.0, "tap"), "[##################......] 7/8, 4 s left: tap");
    }
}
