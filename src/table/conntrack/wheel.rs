//! When to look at which session: a wheel of seconds for each [`Class`].
//!
//! A session stands under the second at which it was to end when it was put there, or under the last of the wheel. Its
//! packets only make that later, and do not come here; so it is looked at then, and put elsewhere when it lives on. That
//! makes at most one look in eight minutes of a session that lives for hours.
//!
//! What gives way to others stands apart, so that it is found at once, and those that would end soonest first. Half-open
//! sessions all stand in the next [`HALF_OPEN_SECONDS`], so that the oldest is found first, whatever its protocol: by
//! their ends, a flood of SYNs, which last for minutes, would throw out every echo and datagram just sent.

use super::session::Phase;
use super::slots::{List, Slots};

/// What a session is worth when room is needed: those of the first go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Over, but for what is still under way.
    Closed = 0,
    /// Nobody has answered yet, or the handshake is not over.
    HalfOpen = 1,
    /// In use. Gives way to nobody.
    InUse = 2,
}

impl Class {
    pub(super) const ALL: [Class; 3] = [Class::Closed, Class::HalfOpen, Class::InUse];

    pub(super) fn of(phase: Phase) -> Class {
        match phase {
            Phase::Closed | Phase::Removed => Class::Closed,
            phase if phase.is_half_open() => Class::HalfOpen,
            _ => Class::InUse,
        }
    }
}

/// Seconds of a wheel.
const SECONDS: u32 = 512;
/// Within so many seconds a half-open session stands: not more than most have without an answer (RFC 5508, REQ-1).
const HALF_OPEN_SECONDS: u32 = 60;
const WORDS: usize = SECONDS as usize / 64;

/// See the module. The heads of its lists are the first [`Wheel::HEADS`] slots.
pub(super) struct Wheel {
    /// Nothing stands under this second or one before.
    swept: u32,
    /// Which seconds have anything.
    filled: [[u64; WORDS]; 3],
    held: [usize; 3],
}

impl Wheel {
    pub(super) const HEADS: u32 = 3 * SECONDS;

    pub(super) fn new() -> Wheel {
        Wheel { swept: 0, filled: [[0; WORDS]; 3], held: [0; 3] }
    }

    /// Sessions of a class.
    pub(super) fn held(&self, class: Class) -> usize {
        self.held[class as usize]
    }

    /// Puts a slot that stands nowhere under the second `due`.
    pub(super) fn put(&mut self, slots: &mut Slots, slot: u32, class: Class, due: u32) {
        let ahead = if class == Class::HalfOpen { HALF_OPEN_SECONDS } else { SECONDS - 1 };
        let due = due.clamp(self.swept.saturating_add(1), self.swept.saturating_add(ahead));
        let second = due % SECONDS;
        slots.link(List::Due, head(class, second), slot);
        self.filled[class as usize][second as usize / 64] |= 1 << (second % 64);
        self.held[class as usize] += 1;
    }

    /// Takes out a slot that stands in `class`.
    pub(super) fn take(&mut self, slots: &mut Slots, slot: u32, class: Class) {
        let (previous, next) = slots.unlink(List::Due, slot);
        if previous == next && previous < Wheel::HEADS {
            let second = previous % SECONDS;
            self.filled[class as usize][second as usize / 64] &= !(1 << (second % 64));
        }
        self.held[class as usize] -= 1;
    }

    /// The slots of a class, those that are due first before the others.
    pub(super) fn in_order<'a>(&'a self, slots: &'a Slots, class: Class) -> impl Iterator<Item = u32> + 'a {
        let first = self.next_of(class).into_iter();
        let seconds = first.flat_map(|first| first..=self.swept.saturating_add(SECONDS));
        let lists = seconds.map(|second| second % SECONDS).filter(move |&second| self.has(class, second));
        lists.flat_map(move |second| {
            let head = head(class, second);
            let next = |&slot: &u32| Some(slots.next(List::Due, slot));
            std::iter::successors(next(&head), next).take_while(move |&slot| slot != head)
        })
    }

    /// Whether any of a class stands under this second of the wheel.
    fn has(&self, class: Class, second: u32) -> bool {
        self.filled[class as usize][second as usize / 64] >> (second % 64) & 1 == 1
    }

    /// The second that is to be looked at next.
    pub(super) fn next(&self) -> Option<u32> {
        Class::ALL.into_iter().filter_map(|class| self.next_of(class)).min()
    }

    /// A slot that is due at `now` or before, and its class. `None`: none is, which is noted.
    pub(super) fn due(&mut self, slots: &Slots, now: u32) -> Option<(u32, Class)> {
        // After a longer pause all are due, and may as well stand under the seconds just past.
        self.swept = self.swept.max(now.saturating_sub(SECONDS));
        match self.next() {
            Some(second) if second <= now => {
                self.swept = second - 1;
                let class = Class::ALL.into_iter().find(|&class| self.has(class, second % SECONDS))?;
                Some((slots.next(List::Due, head(class, second % SECONDS)), class))
            }
            _ => {
                self.swept = self.swept.max(now);
                None
            }
        }
    }

    /// Whether nothing is due at `now`.
    pub(super) fn is_swept(&self, now: u32) -> bool {
        self.swept >= now
    }

    /// The first second after what is swept under which any of a class stands.
    fn next_of(&self, class: Class) -> Option<u32> {
        let filled = &self.filled[class as usize];
        let first = self.swept.wrapping_add(1) % SECONDS;
        // The word of the first second twice: first what is from it on, last what is before it.
        for step in 0..=WORDS as u32 {
            let word = (first / 64 + step) as usize % WORDS;
            let from = !0 << (first % 64);
            let bits = match step {
                0 => filled[word] & from,
                step if step as usize == WORDS => filled[word] & !from,
                _ => filled[word],
            };
            if bits != 0 {
                let second = word as u32 * 64 + bits.trailing_zeros();
                let ahead = (second + SECONDS - first) % SECONDS;
                return Some(self.swept.saturating_add(1).saturating_add(ahead));
            }
        }
        None
    }
}

fn head(class: Class, second: u32) -> u32 {
    class as u32 * SECONDS + second
}
