//! What a worker has of a guest's network card.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use mio::Poll;

use super::card::{Card, MAX_PAIRS, Mode};
use super::{receive, send};
use crate::packet::{Batch, Counters, DropReason};
use crate::port::guest::Attendant;
use crate::port::{Port, Rx};

/// A worker's share: every n-th pair of queues is read by it, and it sends to one, whatever the guest has.
pub(super) struct Queue {
    card: Arc<Card>,
    /// The worker's number, and how many there are.
    share: (usize, usize),
    /// What it waits for: the kicks of the rings it reads.
    poll: Poll,
    /// The generation of the card that the next three are of.
    seen: Option<usize>,
    receives: Vec<usize>,
    sends: Option<usize>,
    /// The ring among `receives` that is read first.
    turn: usize,
    /// Rings that have left frames in the guest's memory.
    lent: Vec<usize>,
    receiving: receive::Scratch,
    sending: send::Scratch,
    /// The last one to go has the attendant go.
    _attendant: Arc<Attendant>,
}

impl Queue {
    pub(super) fn new(
        card: Arc<Card>,
        share: (usize, usize),
        poll: Poll,
        attendant: Arc<Attendant>,
    ) -> Queue {
        Queue {
            card,
            share,
            poll,
            seen: None,
            receives: Vec::new(),
            sends: None,
            turn: 0,
            lent: Vec::new(),
            receiving: receive::Scratch::default(),
            sending: send::Scratch::default(),
            _attendant: attendant,
        }
    }

    #[inline]
    fn refresh(&mut self) {
        let generation = Some(self.card.generation());
        if self.seen != generation {
            self.seen = generation;
            self.look();
        }
    }

    #[cold]
    fn look(&mut self) {
        let (worker, workers) = self.share;
        let on = |index: &usize| self.card.runs(*index) == Some(Mode::On);
        let to: Vec<_> = (0..MAX_PAIRS).map(|pair| 2 * pair).filter(on).collect();
        self.sends = to.get(worker % to.len().max(1)).copied();
        let brings = |index: &usize| matches!(self.card.runs(*index), Some(Mode::On | Mode::Off));
        let own = (worker..MAX_PAIRS).step_by(workers);
        self.receives = own.map(|pair| 2 * pair + 1).filter(brings).collect();
        self.turn = 0;
    }
}

impl Port for Queue {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        self.refresh();
        for _ in 0..self.receives.len() {
            let index = self.receives[self.turn];
            let next = (self.turn + 1) % self.receives.len();
            let mut slot = self.card.ring(index);
            let Some(running) = &mut *slot else {
                self.turn = next;
                continue;
            };
            let end = receive::receive(running, batch, counters, &mut self.receiving);
            if !running.held.is_empty() && !self.lent.contains(&index) {
                self.lent.push(index);
            }
            if let Err(trouble) = end {
                // A ring whose memory is gone contradicts itself too.
                let trouble = running.check_memory().err().unwrap_or(trouble);
                self.card.fail(trouble, slot.take());
                counters.discard(DropReason::BadRing, 0);
            }
            drop(slot);
            self.turn = next;
            if end == Ok(Rx::More) {
                return Rx::More;
            }
        }
        Rx::Drained
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        self.refresh();
        let mut slot = self.sends.map(|index| self.card.ring(index));
        match slot.as_deref_mut() {
            Some(Some(running)) if running.mode == Mode::On => {
                if let Err(trouble) = send::send(running, batch, frames, counters, &mut self.sending) {
                    let trouble = running.check_memory().err().unwrap_or(trouble);
                    self.card.fail(trouble, slot.as_deref_mut().and_then(Option::take));
                }
            }
            _ => frames.iter().for_each(|_| counters.drop(DropReason::NotAttached)),
        }
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.poll.as_raw_fd())
    }

    fn release(&mut self, batch: &mut Batch) {
        if self.lent.is_empty() {
            return;
        }
        batch.frames_mut().iter_mut().for_each(|frame| frame.let_go());
        for index in self.lent.drain(..) {
            let mut slot = self.card.ring(index);
            if let Some(Err(trouble)) = slot.as_mut().map(|running| running.settle()) {
                self.card.fail(trouble, slot.take());
            }
        }
    }

    fn shares_memory(&self) -> bool {
        true
    }

    fn peek(&mut self) -> bool {
        self.refresh();
        self.receives.iter().any(|&index| {
            let slot = self.card.try_ring(index);
            slot.is_some_and(|slot| slot.as_ref().is_some_and(|running| running.ring.has_available()))
        })
    }

    fn arm(&mut self) -> bool {
        self.refresh();
        let mut any = false;
        for &index in &self.receives {
            if let Some(running) = &mut *self.card.ring(index) {
                running.armed = true;
                any |= running.ring.arm() || running.kickless;
            }
        }
        any
    }
}
