//! One session: what its packets look like on either side, how far it is, and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Shared;
use super::tcp::{self, Effect, Fins, Side, Sides, TcpSegment};
use crate::packet::{DropReason, Tuple};
use crate::time::Time;

/// Which way a packet of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// As its first packet.
    Original = 0,
    /// The other way.
    Reply = 1,
}

impl Direction {
    /// The other one.
    #[inline]
    pub const fn other(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Packets have come in the original direction only.
    New,
    /// Packets have come in both. For TCP it begins with the answer to the SYN; see also [`Session::is_half_open`].
    Established,
    /// One side of a TCP connection has sent its FIN.
    Closing,
    /// Both have, or it was reset.
    Closed,
}

/// How far a session is, as its timeout depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Removed = 0,
    Unreplied = 1,
    Replied = 2,
    SynSent = 3,
    SynReceived = 4,
    /// TCP whose first packet was no SYN.
    PickedUp = 5,
    Established = 6,
    Closing = 7,
    Closed = 8,
}

impl Phase {
    #[inline]
    fn of(word: u32) -> Phase {
        match word & 0xf {
            1 => Phase::Unreplied,
            2 => Phase::Replied,
            3 => Phase::SynSent,
            4 => Phase::SynReceived,
            5 => Phase::PickedUp,
            6 => Phase::Established,
            7 => Phase::Closing,
            8 => Phase::Closed,
            _ => Phase::Removed,
        }
    }

    pub(super) fn is_half_open(self) -> bool {
        matches!(self, Phase::Unreplied | Phase::SynSent | Phase::SynReceived | Phase::PickedUp)
    }

    fn state(self) -> State {
        match self {
            Phase::Unreplied | Phase::SynSent | Phase::PickedUp => State::New,
            Phase::Replied | Phase::SynReceived | Phase::Established => State::Established,
            Phase::Closing => State::Closing,
            Phase::Closed | Phase::Removed => State::Closed,
        }
    }
}

/// A session, which a worker's flow cache holds and reads without a lock.
pub struct Session {
    original: Tuple,
    reply: Tuple,
    pub(super) shared: Arc<Shared>,
    /// What the packets of each direction have acknowledged, see [`Side`].
    sides: [AtomicU64; 2],
    /// Bits 0 to 3: the phase. Bits 4 and 5: who has sent a FIN. From bit 8 on: a count of changes, never 0. Written
    /// under the book's lock only.
    word: AtomicU32,
    /// The first second it is no longer there.
    expires: AtomicU32,
    rule: u32,
    /// Its place in the book.
    pub(super) slot: u32,
    /// Whether its source is mapped endpoint-independently, so that it belongs to a mapping.
    pub(super) is_mapped: bool,
}

impl Session {
    pub(super) fn new(
        shared: &Arc<Shared>,
        tuples: (Tuple, Tuple),
        rule: u32,
        slot: u32,
        is_mapped: bool,
        segment: Option<&TcpSegment>,
        now: Time,
    ) -> Session {
        let (original, reply) = tuples;
        let none = Sides { sender: Side::default(), receiver: Side::default() };
        let (phase, sides) = match segment {
            Some(segment) => {
                let phase = tcp::first(segment);
                (phase, none.after(segment, Phase::Removed, phase))
            }
            None if original.protocol == crate::wire::tcp::PROTOCOL => (Phase::PickedUp, none),
            None => (Phase::Unreplied, none),
        };
        let expires = expiry(now, shared.settings.timeout(original.protocol, phase));
        Session {
            original,
            reply,
            shared: Arc::clone(shared),
            sides: [sides.sender, sides.receiver].map(|side| AtomicU64::new(side.pack())),
            word: AtomicU32::new(1 << 8 | phase as u32),
            expires: AtomicU32::new(expires),
            rule,
            slot,
            is_mapped,
        }
    }

    /// The same in another table, which has no mappings.
    pub(super) fn copy(&self, shared: &Arc<Shared>, slot: u32) -> Session {
        let side = |side: &AtomicU64| AtomicU64::new(side.load(Ordering::Relaxed));
        let [original, reply] = &self.sides;
        Session {
            original: self.original,
            reply: self.reply,
            shared: Arc::clone(shared),
            sides: [side(original), side(reply)],
            word: AtomicU32::new(self.word.load(Ordering::Acquire)),
            expires: AtomicU32::new(self.expires()),
            rule: self.rule,
            slot,
            is_mapped: false,
        }
    }

    /// What packets of the original direction look like when they come in.
    #[inline]
    pub fn original(&self) -> &Tuple {
        &self.original
    }

    /// What packets of the reply direction look like when they come in.
    #[inline]
    pub fn reply(&self) -> &Tuple {
        &self.reply
    }

    /// What a packet of this direction looks like when it leaves.
    #[inline]
    pub fn translated(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::Original => self.reply.reversed(),
            Direction::Reply => self.original.reversed(),
        }
    }

    /// Whether it leaves otherwise than it comes in.
    #[inline]
    pub fn is_translated(&self) -> bool {
        self.reply.reversed() != self.original
    }

    /// The rule it came by, as [`Opening::rule`](super::Opening::rule) said.
    #[inline]
    pub fn rule(&self) -> u32 {
        self.rule
    }

    /// How far it is. One that was removed is closed.
    #[inline]
    pub fn state(&self) -> State {
        self.phase().state()
    }

    /// Whether nobody has answered yet, or the TCP handshake is not over: what gives way when the table is full.
    pub fn is_half_open(&self) -> bool {
        self.phase().is_half_open()
    }

    /// How long it would live without another packet; zero when it is over.
    pub fn expires_in(&self, now: Time) -> Duration {
        match self.is_live(now) {
            true => Time::from_secs(self.expires.load(Ordering::Relaxed).into()).since(now),
            false => Duration::ZERO,
        }
    }

    /// Changes whenever anything does that a decision about its packets depends on: its state, or whether it was
    /// removed. Never 0. That its time has run out does not change it until it is swept: see [`Session::is_live`].
    #[inline]
    pub fn stamp(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    /// Whether it is there: neither removed nor timed out.
    #[inline]
    pub fn is_live(&self, now: Time) -> bool {
        self.phase() != Phase::Removed && now.secs() < self.expires.load(Ordering::Relaxed)
    }

    /// Notes a packet that changes no state, so that the session goes on living: any packet but the first that
    /// answers, and of TCP one of an established connection that [is plain](TcpSegment::is_plain). Does nothing when
    /// the session is over. Writes at most once a second, and for TCP where an acknowledgement moved far enough.
    #[inline]
    pub fn touch(&self, direction: Direction, now: Time, segment: Option<TcpSegment>) {
        let phase = self.phase();
        let expires = self.expires.load(Ordering::Relaxed);
        if phase == Phase::Removed || now.secs() >= expires {
            return;
        }
        let later = expiry(now, self.shared.settings.timeout(self.original.protocol, phase));
        if later > expires {
            self.expires.store(later, Ordering::Relaxed);
        }
        if let Some(segment) = segment {
            let side = &self.sides[direction as usize];
            if let Some(noted) = Side::unpack(side.load(Ordering::Relaxed)).noting(&segment) {
                side.store(noted.pack(), Ordering::Relaxed);
            }
        }
    }

    /// Notes any packet but the one it was opened with, and moves its state on: the state the packet belongs to. TCP
    /// comes with its segment.
    ///
    /// Errors: [`DropReason::SessionInvalid`] for a packet that contradicts the connection: a RST outside the
    /// window, a SYN from the wrong side, flags that do not go together. [`DropReason::NoSession`] when the session
    /// is over, or ends here because the packet opens another connection with the same ports from the other side:
    /// look it up again, and open a session if it may.
    pub fn packet(
        &self,
        direction: Direction,
        now: Time,
        segment: Option<TcpSegment>,
    ) -> Result<State, DropReason> {
        if !self.is_live(now) {
            return Err(DropReason::NoSession);
        }
        let (before, fins) = self.condition();
        match self.effect(before, fins, direction, segment.as_ref()) {
            Effect::Invalid => Err(DropReason::SessionInvalid),
            Effect::Same => {
                self.note(direction, segment.as_ref(), before, before);
                self.touch(direction, now, None);
                Ok(before.state())
            }
            _ => self.advance(direction, now, segment.as_ref()),
        }
    }

    /// The same under the book's lock, for a packet that changes something.
    fn advance(
        &self,
        direction: Direction,
        now: Time,
        segment: Option<&TcpSegment>,
    ) -> Result<State, DropReason> {
        let mut book = self.shared.book();
        let (before, fins) = self.condition();
        if before == Phase::Removed {
            return Err(DropReason::NoSession);
        }
        let (phase, fins) = match self.effect(before, fins, direction, segment) {
            Effect::Invalid => return Err(DropReason::SessionInvalid),
            Effect::Another => {
                book.remove(&self.shared, self);
                return Err(DropReason::NoSession);
            }
            Effect::Same => (before, fins),
            Effect::Next(phase, fins) => (phase, fins),
        };
        self.note(direction, segment, before, phase);
        self.set(phase, fins);
        let expires = expiry(now, self.shared.settings.timeout(self.original.protocol, phase));
        self.expires.store(expires, Ordering::Relaxed);
        book.moved(self, before);
        Ok(phase.state())
    }

    fn effect(&self, phase: Phase, fins: Fins, direction: Direction, segment: Option<&TcpSegment>) -> Effect {
        match (phase, segment) {
            (Phase::Unreplied, _) if direction == Direction::Reply => Effect::Next(Phase::Replied, 0),
            (Phase::Unreplied | Phase::Replied, _) | (_, None) => Effect::Same,
            (_, Some(segment)) => tcp::effect(phase, fins, &self.sides_of(direction), direction, segment),
        }
    }

    fn note(&self, direction: Direction, segment: Option<&TcpSegment>, before: Phase, phase: Phase) {
        let Some(segment) = segment else { return };
        let old = self.sides_of(direction);
        let new = old.after(segment, before, phase);
        for (direction, old, new) in
            [(direction, old.sender, new.sender), (direction.other(), old.receiver, new.receiver)]
        {
            if old != new {
                self.sides[direction as usize].store(new.pack(), Ordering::Relaxed);
            }
        }
    }

    fn sides_of(&self, sender: Direction) -> Sides {
        let side =
            |direction: Direction| Side::unpack(self.sides[direction as usize].load(Ordering::Relaxed));
        Sides { sender: side(sender), receiver: side(sender.other()) }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.word.load(Ordering::Relaxed))
    }

    fn condition(&self) -> (Phase, Fins) {
        let word = self.word.load(Ordering::Relaxed);
        (Phase::of(word), (word >> 4 & 3) as Fins)
    }

    /// Under the book's lock.
    pub(super) fn set(&self, phase: Phase, fins: Fins) {
        let changes = (self.word.load(Ordering::Relaxed) >> 8).wrapping_add(1) & 0xff_ffff;
        let word = changes.max(1) << 8 | u32::from(fins) << 4 | phase as u32;
        self.word.store(word, Ordering::Release);
    }

    /// The first second it is no longer there.
    pub(super) fn expires(&self) -> u32 {
        self.expires.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("original", &self.original)
            .field("reply", &self.reply)
            .field("phase", &self.phase())
            .field("expires", &self.expires())
            .field("rule", &self.rule)
            .finish()
    }
}

/// The first second at which a session is over that is silent from `now` on: never before its timeout.
#[inline]
fn expiry(now: Time, timeout: u32) -> u32 {
    now.secs().saturating_add(timeout).saturating_add(1)
}
