//! Who watches what the workers do: each watch has a watcher on every worker, and ends when it is dropped.

use std::sync::Arc;

use crate::switch::watch::{WatchId, Watcher};
use crate::worker::{Command, Handle, Inbox};

/// The most watches at a time, so that nobody slows the switch down by watching it often.
pub(super) const MAX_WATCHES: usize = 32;

/// All watches that there are.
#[derive(Default)]
pub(super) struct Watches {
    begun: u64,
    /// Every watch holds it, too.
    there: Arc<()>,
}

impl Watches {
    /// Has the watchers that `make` makes, for each worker by its number, watch what passes.
    ///
    /// # Errors
    /// When too many do already.
    pub(super) fn start(
        &mut self,
        workers: &[Handle],
        mut make: impl FnMut(usize) -> Box<dyn Watcher>,
    ) -> Result<Watch, String> {
        if Arc::strong_count(&self.there) > MAX_WATCHES {
            return Err(format!("{MAX_WATCHES} captures and traces run, which is the most: end one of them"));
        }
        self.begun += 1;
        let id = WatchId(self.begun);
        for (index, worker) in workers.iter().enumerate() {
            worker.send(Command::Watch(id, make(index)));
        }
        let workers = workers.iter().map(Handle::inbox).collect();
        Ok(Watch { id, workers, _there: Arc::clone(&self.there) })
    }
}

/// A watch that goes on until it is dropped.
pub(super) struct Watch {
    id: WatchId,
    workers: Vec<Inbox>,
    _there: Arc<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.send(Command::Unwatch(self.id)));
    }
}
