//! What runs as numbers, in the text format that Prometheus reads (exposition format 0.0.4).
//!
//! A scrape asks each worker once for a copy of its counters and looks at the sizes of tables, never at their entries;
//! the text is written when everybody else may go on already. What is asked for again within [`FRESH`] is what was just
//! told, so that nobody who asks without end makes work for workers.
//!
//! Every family of numbers stands in the `catalogue`, with its labels and its help. How many rows there are is bounded by
//! the configuration, and where that knows no small bound, by [`MAX_RULES`] and [`MAX_PEERS`].

mod catalogue;
mod gather;
mod text;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::yard::View;
pub use catalogue::{FAMILIES, Family, Kind};
use gather::Snapshot;

/// How old an answer may be.
pub const FRESH: Duration = Duration::from_millis(250);
/// Rules that have rows of their own, the first ones.
pub const MAX_RULES: usize = 1000;
/// Peers of tunnels that have rows of their own, over all tunnels.
pub const MAX_PEERS: usize = 4096;

/// Writes the metrics of a switch.
#[derive(Default)]
pub(super) struct Exporter(Mutex<Memory>);

/// What is remembered from one scrape to the next.
#[derive(Default)]
struct Memory {
    last: Option<(Instant, Arc<str>)>,
    /// The drops that had a row once: a counter that vanishes and comes back hides what it has counted first.
    drops: write::Drops,
}

impl Exporter {
    /// The metrics now, or as they were within [`FRESH`]; `None` when the switch has ended. Who asks at the same time as
    /// another gets the same answer.
    pub(super) fn text(&self, view: &View) -> Option<Arc<str>> {
        self.text_within(FRESH, view)
    }

    fn text_within(&self, fresh: Duration, view: &View) -> Option<Arc<str>> {
        // What it holds is whole whatever thread has panicked.
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = &memory.last
            && at.elapsed() < fresh
        {
            return Some(Arc::clone(text));
        }
        let began = Instant::now();
        let snapshot = view.look(Snapshot::take)?;
        let text: Arc<str> = write::all(&snapshot, &mut memory.drops, began.elapsed()).into();
        memory.last = Some((Instant::now(), Arc::clone(&text)));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::Document;
    use crate::control::yard::Yard;

    #[test]
    fn what_was_just_told_is_told_again_and_the_end_of_the_switch_is_the_end_of_it() {
        let document = Document::parse("[bridge.lan]", "t").unwrap();
        let yard = Yard::start(document, None).unwrap();
        let (exporter, view) = (Exporter::default(), yard.view());
        let long = Duration::from_secs(3600);
        let first = exporter.text_within(long, &view).unwrap();
        assert!(first.contains("\ntapyard_bridge_fdb_limit{bridge=\"lan\"} 8192\n"), "{first}");
        assert!(Arc::ptr_eq(&first, &exporter.text_within(long, &view).unwrap()));
        assert!(!Arc::ptr_eq(&first, &exporter.text_within(Duration::ZERO, &view).unwrap()));
        drop(yard);
        assert_eq!(exporter.text_within(Duration::ZERO, &view), None);
    }
}
