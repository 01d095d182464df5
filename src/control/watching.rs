//! Who watches what the workers do: each watch has a watcher on every worker, and ends when it is dropped.
//!
//! Watchers know ports by their slots, and a slot that is free is given again. What chooses ports by their names is
//! therefore a [`Source`], which is asked with each change whether they are still the same: its next watchers are put in
//! place together with the topology, so that no frame is ever shown under the name of another port.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::config::Config;
use super::shape::Live;
use crate::switch::watch::{WatchId, Watcher};
use crate::worker::{Command, Handle, Inbox};

/// The most watches at a time, so that nobody slows the switch down by watching it often.
pub(super) const MAX_WATCHES: usize = 32;
/// The most captures and traces among them, so that there is room for exports, and for who asks for talkers.
const MAX_STREAMS: usize = MAX_WATCHES / 2;

/// What makes the watchers of a watch, also when other ports have come or gone.
pub(super) trait Source: Send {
    /// A watcher for a worker.
    fn watcher(&self) -> Box<dyn Watcher>;

    /// Takes note of what is going to run.
    fn turn(&mut self, config: &Config, live: &Live) -> Turn;
}

/// What a change means to a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: its watchers stay.
    Same,
    /// It has other watchers from now on.
    Other,
    /// It is over: what it watched is gone.
    Over,
}

/// The source of a watch that has one and is not over.
type Slot = Mutex<Option<Box<dyn Source>>>;

/// A watch that there is, or was.
struct Known {
    id: WatchId,
    slot: Weak<Slot>,
    is_stream: bool,
}

/// All watches that there are.
#[derive(Default)]
pub(super) struct Watches {
    begun: u64,
    /// Every watch holds its own.
    there: Vec<Known>,
}

impl Watches {
    /// Has the watchers that `make` makes, for each worker by its number, watch what passes.
    ///
    /// # Errors
    /// When too many do already.
    pub(super) fn start(
        &mut self,
        workers: &[Handle],
        make: impl FnMut(usize) -> Box<dyn Watcher>,
    ) -> Result<Watch, String> {
        self.begin(workers, make, None)
    }

    /// Has the watchers of `source` watch what passes, until that says that it is over.
    ///
    /// # Errors
    /// When too many do already.
    pub(super) fn start_source(
        &mut self,
        workers: &[Handle],
        source: Box<dyn Source>,
    ) -> Result<Watch, String> {
        let mut watchers: Vec<_> = workers.iter().map(|_| source.watcher()).collect();
        // As many were made as there are workers.
        self.begin(workers, |_| watchers.swap_remove(0), Some(source))
    }

    fn begin(
        &mut self,
        workers: &[Handle],
        mut make: impl FnMut(usize) -> Box<dyn Watcher>,
        source: Option<Box<dyn Source>>,
    ) -> Result<Watch, String> {
        self.there.retain(|known| known.slot.strong_count() > 0);
        let is_stream = source.is_some();
        if is_stream && self.there.iter().filter(|known| known.is_stream).count() >= MAX_STREAMS {
            return Err(format!("{MAX_STREAMS} captures and traces run, which is the most: end one of them"));
        }
        if self.there.len() >= MAX_WATCHES {
            return Err(format!(
                "{MAX_WATCHES} captures, traces and exports run, which is the most: end one of them"
            ));
        }
        self.begun += 1;
        let id = WatchId(self.begun);
        let slot = Arc::new(Mutex::new(source));
        self.there.push(Known { id, slot: Arc::downgrade(&slot), is_stream });
        for (index, worker) in workers.iter().enumerate() {
            worker.send(Command::Watch(id, make(index)));
        }
        let workers = workers.iter().map(Handle::inbox).collect();
        Ok(Watch { id, workers, _slot: slot })
    }

    /// What each of so many workers is to do about its watchers with a change: replace some, and let others go.
    pub(super) fn turn(&self, config: &Config, live: &Live, workers: usize) -> Vec<Replaced> {
        let mut replaced: Vec<Replaced> = (0..workers).map(|_| Vec::new()).collect();
        for Known { id, slot, .. } in &self.there {
            let Some(slot) = slot.upgrade() else { continue };
            let mut source = locked(&slot);
            let turn = source.as_mut().map_or(Turn::Same, |source| source.turn(config, live));
            for replaced in &mut replaced {
                match (turn, source.as_ref()) {
                    (Turn::Other, Some(source)) => replaced.push((*id, Some(source.watcher()))),
                    (Turn::Over, _) => replaced.push((*id, None)),
                    _ => {}
                }
            }
            if turn == Turn::Over {
                *source = None;
            }
        }
        replaced
    }
}

/// Watchers that are replaced, or go.
pub(super) type Replaced = Vec<(WatchId, Option<Box<dyn Watcher>>)>;

/// A source is whole whatever thread has panicked.
fn locked(slot: &Slot) -> MutexGuard<'_, Option<Box<dyn Source>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch that goes on until it is dropped.
pub(super) struct Watch {
    id: WatchId,
    workers: Vec<Inbox>,
    _slot: Arc<Slot>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.send(Command::Unwatch(self.id)));
    }
}
