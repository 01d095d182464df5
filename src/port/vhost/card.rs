//! A guest's network card, as the attendant, who sets it up, and the workers, who move its frames, share it.

use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token, Waker};

use super::features::Terms;
use super::ring::{Chain, Fault, Ring};
use crate::packet::Memory;
use crate::sys::alarm;
use crate::sys::guest_memory::GuestMemory;

/// The most pairs of queues that a guest may use.
pub(super) const MAX_PAIRS: usize = 64;

/// How long a worker may take to be done with the frames it has read, which lie in the guest's memory; it never does.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a guest is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// See [`Fault`].
    #[error("its driver gave {0}")]
    Ring(#[from] Fault),
    /// See [`GuestMemory::broken`].
    #[error("the file behind its memory was cut off")]
    Broken,
    /// A worker had to wait to call it.
    #[error(
        "its front-end has let an event counter run full, and changed it so that we wait until it is not"
    )]
    Waits,
}

/// What is shared. Rings are numbered as the protocol does: of pair `p`, `2p` is where the guest receives, and `2p + 1`
/// where it sends.
pub(super) struct Card {
    slots: Box<[Slot]>,
    /// Grows when rings come, go, or are switched on or off.
    generation: AtomicUsize,
    /// How each worker is woken.
    watches: Vec<Watch>,
    line: Mutex<Line>,
}

/// Where a ring is while it runs. Workers hold the lock for a batch; the attendant, to exchange it.
#[repr(align(128))]
#[derive(Default)]
struct Slot(Mutex<Option<Running>>);

/// What becomes of what a ring brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Frames pass.
    On,
    /// It was not switched on yet: it is left alone.
    Waiting,
    /// It was switched off: frames that the guest sends are taken and thrown away, or they would never be complete.
    Off,
}

/// A ring that runs.
pub(super) struct Running {
    pub(super) ring: Ring,
    pub(super) terms: Terms,
    pub(super) mode: Mode,
    /// How the guest is called; `None`: it looks by itself.
    pub(super) call: Option<Arc<File>>,
    /// No kick ever comes: whoever waits for it has to go on looking.
    pub(super) kickless: bool,
    /// Kicks are asked for.
    pub(super) armed: bool,
    /// The ring's memory, for frames that are left there.
    pub(super) lent: Arc<dyn Memory>,
    /// Chains with frames that were left in memory, and those taken with them, until [`Running::settle`].
    pub(super) held: Vec<Chain>,
}

impl Running {
    /// Shows the guest what is complete, and calls it if it wants that.
    #[inline]
    pub(super) fn publish(&mut self) -> Result<(), Trouble> {
        if self.ring.publish()
            && let Some(call) = &self.call
        {
            return match alarm::bounded(|| (&**call).write(&1u64.to_ne_bytes())) {
                // It was not to wait, and only the front-end can have it do so nevertheless.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Trouble::Waits),
                // Else only a counter that is full makes it fail, and then the guest has a call to see.
                _ => Ok(()),
            };
        }
        Ok(())
    }

    /// Gives the guest back what was held.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        for chain in self.held.drain(..) {
            self.ring.complete(chain, 0);
        }
        self.publish()
    }

    /// Whether its memory is what the front-end said.
    pub(super) fn check_memory(&self) -> Result<(), Trouble> {
        if self.ring.memory().broken() { Err(Trouble::Broken) } else { Ok(()) }
    }
}

/// A guest's memory, as a frame knows it that was left there.
pub(super) struct Lent(pub(super) Arc<GuestMemory>);

impl Memory for Lent {
    fn read(&self, at: u64, into: &mut [u8]) {
        if self.0.read(at, into).is_err() {
            // Nothing of what was in the buffer before is to be read by who gets the frame.
            into.fill(0);
        }
    }
}

/// A worker's own set of descriptors to wait for: kicks, and a waker.
struct Watch {
    registry: Registry,
    waker: Waker,
}

/// The connection, if there is one, and why a worker has ended it.
#[derive(Default)]
struct Line {
    connection: Option<UnixStream>,
    trouble: Option<Trouble>,
    /// Rings that were given up.
    fallen: Vec<Running>,
}

impl Card {
    /// A card without rings, and for each worker what it waits for. Kicks are never read: each one makes what waits for
    /// the set, edge-triggered, see it anew.
    pub(super) fn new(workers: usize) -> io::Result<(Card, Vec<Poll>)> {
        let polls = (0..workers).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let watch = |poll: &Poll| {
            let registry = poll.registry().try_clone()?;
            let waker = Waker::new(&registry, Token(0))?;
            Ok(Watch { registry, waker })
        };
        let watches = polls.iter().map(watch).collect::<io::Result<Vec<_>>>()?;
        let slots = (0..2 * MAX_PAIRS).map(|_| Slot::default()).collect();
        Ok((Card { slots, generation: AtomicUsize::new(0), watches, line: Mutex::default() }, polls))
    }

    /// Changes whenever another set of rings runs, see [`Card::runs`].
    #[inline]
    pub(super) fn generation(&self) -> usize {
        self.generation.load(Ordering::Acquire)
    }

    /// The ring with this number, if it runs, for as long as the guard is kept.
    #[inline]
    pub(super) fn ring(&self, index: usize) -> MutexGuard<'_, Option<Running>> {
        self.slots[index].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody is at it.
    #[inline]
    pub(super) fn try_ring(&self, index: usize) -> Option<MutexGuard<'_, Option<Running>>> {
        self.slots[index].0.try_lock().ok()
    }

    /// What becomes of what the ring brings; `None`: it does not run.
    pub(super) fn runs(&self, index: usize) -> Option<Mode> {
        self.ring(index).as_ref().map(|running| running.mode)
    }

    /// Changes a ring while no worker has a frame of it, and gives what `change` gives. Everybody knows of it when this
    /// returns.
    pub(super) fn change<T>(&self, index: usize, change: impl FnOnce(&mut Option<Running>) -> T) -> T {
        let since = Instant::now();
        let mut slot = self.ring(index);
        while slot.as_ref().is_some_and(|running| running.ring.in_flight() > 0) && since.elapsed() < PATIENCE
        {
            drop(slot);
            thread::sleep(Duration::from_micros(50));
            slot = self.ring(index);
        }
        let given = change(&mut slot);
        drop(slot);
        self.generation.fetch_add(1, Ordering::Release);
        for watch in &self.watches {
            // It fails where no memory is left, for a worker that is awake for other reasons then.
            let _ = watch.waker.wake();
        }
        given
    }

    /// Has the worker that reads ring `index` be woken by `kick`.
    pub(super) fn watch(&self, index: usize, kick: &File) -> io::Result<()> {
        self.registry(index).register(&mut SourceFd(&kick.as_raw_fd()), Token(1), Interest::READABLE)
    }

    /// No more.
    pub(super) fn unwatch(&self, index: usize, kick: RawFd) {
        // It is there, since `watch` has succeeded.
        let _ = self.registry(index).deregister(&mut SourceFd(&kick));
    }

    fn registry(&self, index: usize) -> &Registry {
        &self.watches[index / 2 % self.watches.len()].registry
    }

    /// A front-end has connected.
    pub(super) fn begin(&self, connection: UnixStream) {
        *self.line() = Line { connection: Some(connection), ..Line::default() };
    }

    /// It is gone. Why, if a worker had it go.
    pub(super) fn end(&self) -> Option<Trouble> {
        let line = std::mem::take(&mut *self.line());
        line.trouble
    }

    /// Has the attendant learn that the guest cannot be served any longer, and leaves it the ring: whoever drops the last
    /// one has all the guest's memory unmapped, which takes long.
    #[cold]
    pub(super) fn fail(&self, trouble: Trouble, ring: Option<Running>) {
        let mut line = self.line();
        if let Some(connection) = &line.connection {
            let _ = connection.shutdown(Shutdown::Both);
            line.trouble.get_or_insert(trouble);
            line.fallen.extend(ring);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
