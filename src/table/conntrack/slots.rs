//! Where the sessions of a book are kept, by number, and the two lists each is in: of those that are due at the same time,
//! and of those that share a mapping. Lists are circles, so that to leave one needs no search.

use std::sync::Arc;

use super::session::Session;

/// Slots are taken from the system so many at a time: none ever moves.
const CHUNK: usize = 1024;

pub(super) struct Slots {
    chunks: Vec<Vec<Slot>>,
    /// The first of those that are free, which are linked by `next` of the first list.
    free: u32,
    live: usize,
}

struct Slot {
    session: Option<Arc<Session>>,
    links: [Links; 2],
}

#[derive(Clone, Copy)]
struct Links {
    previous: u32,
    next: u32,
}

/// One of the lists a slot is in.
#[derive(Clone, Copy)]
pub(super) enum List {
    /// Those due at the same time.
    Due = 0,
    /// Those of the same mapping.
    Mapping = 1,
}

const NONE: u32 = u32::MAX;

impl Slots {
    /// With `heads` slots, from 0 on, that hold no session: they are there to be the heads of lists.
    pub(super) fn new(heads: u32) -> Slots {
        let mut slots = Slots { chunks: Vec::new(), free: NONE, live: 0 };
        for _ in 0..heads {
            slots.grow();
        }
        slots
    }

    /// Sessions held.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// One more than the highest number in use.
    pub(super) fn end(&self) -> u32 {
        match self.chunks.last() {
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Arc<Session>> {
        self.at(slot).session.as_ref()
    }

    /// Takes a slot that is free, alone in both lists; `make` makes its session.
    pub(super) fn put(&mut self, make: impl FnOnce(u32) -> Arc<Session>) -> &Arc<Session> {
        let slot = match self.free {
            NONE => self.grow(),
            free => {
                self.free = self.at(free).links[0].next;
                free
            }
        };
        self.live += 1;
        let alone = Links { previous: slot, next: slot };
        let held = self.at_mut(slot);
        held.links = [alone; 2];
        held.session.insert(make(slot))
    }

    /// Frees a slot, which is alone in both lists.
    pub(super) fn take(&mut self, slot: u32) -> Option<Arc<Session>> {
        let free = self.free;
        let held = self.at_mut(slot);
        let session = held.session.take()?;
        held.links[0].next = free;
        self.free = slot;
        self.live -= 1;
        Some(session)
    }

    /// Puts a slot that is alone behind all others of the list whose first is `head`.
    pub(super) fn link(&mut self, list: List, head: u32, slot: u32) {
        let last = self.previous(list, head);
        self.at_mut(slot).links[list as usize] = Links { previous: last, next: head };
        self.at_mut(last).links[list as usize].next = slot;
        self.at_mut(head).links[list as usize].previous = slot;
    }

    /// Makes a slot alone; gives those that were before and behind it, itself where it was alone.
    pub(super) fn unlink(&mut self, list: List, slot: u32) -> (u32, u32) {
        let Links { previous, next } = self.at(slot).links[list as usize];
        self.at_mut(previous).links[list as usize].next = next;
        self.at_mut(next).links[list as usize].previous = previous;
        self.at_mut(slot).links[list as usize] = Links { previous: slot, next: slot };
        (previous, next)
    }

    pub(super) fn next(&self, list: List, slot: u32) -> u32 {
        self.at(slot).links[list as usize].next
    }

    fn previous(&self, list: List, slot: u32) -> u32 {
        self.at(slot).links[list as usize].previous
    }

    fn grow(&mut self) -> u32 {
        let slot = self.end();
        if (slot as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let alone = Links { previous: slot, next: slot };
        if let Some(last) = self.chunks.last_mut() {
            last.push(Slot { session: None, links: [alone; 2] });
        }
        slot
    }

    fn at(&self, slot: u32) -> &Slot {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn at_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}
