//! A TCP connection as somebody on its way sees it: what each side has acknowledged, and what a segment changes.
//!
//! **Why acknowledgements.** A RST or FIN ends a connection for its receiver only where it lies in the receiver's window
//! (RFC 5961 section 3). Who is on the way knows that window from what the receiver acknowledges. It is not known to the
//! byte: a note is taken only when it moved by an eighth of the window, so that the flow's two workers do not pass a
//! cache line to and fro with each packet; and the receiver may have moved on since. So a bit more than the window is
//! taken for in it, and the receiver, which knows exactly, answers the rest with a challenge. An acknowledgement
//! itself must be near the last one, or else a single forged packet could move the window to where a forged RST fits.

use super::session::{Direction, Phase};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

/// What of a TCP segment its connection's state depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSegment {
    /// The flags, see [`crate::wire::tcp`].
    pub flags: u8,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number; means something only with the flag.
    pub ack: u32,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// Bytes of payload; of a superframe, of all of it.
    pub len: u32,
    /// What the window scale option of a SYN says (RFC 7323 section 2), where there is one.
    pub window_scale: Option<u8>,
}

impl TcpSegment {
    /// Whether it changes no state of a connection that is established: for [`Session::touch`](super::Session::touch).
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.flags & (SYN | FIN | RST | ACK) == ACK
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What the packets of one direction have acknowledged, as noted last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    ack: u32,
    /// As in the header.
    window: u16,
    scale: u8,
    knows: Knows,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Knows {
    #[default]
    Nothing,
    /// `ack` is what the first acknowledgement has to be.
    Expected,
    /// `ack` was acknowledged.
    Acknowledged,
}

/// How far beyond the expected a first acknowledgement may be: data that came with a SYN (RFC 7413) or before the
/// handshake was over.
const EARLY: u32 = 16_384;
/// The largest window scale (RFC 7323 section 2.2), which is taken where the SYN was not seen.
const MAX_SCALE: u8 = 14;

impl Side {
    #[inline]
    pub(super) fn unpack(bits: u64) -> Side {
        Side {
            ack: bits as u32,
            window: (bits >> 32) as u16,
            scale: (bits >> 48) as u8,
            knows: match bits >> 56 {
                0 => Knows::Nothing,
                1 => Knows::Expected,
                _ => Knows::Acknowledged,
            },
        }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.ack)
            | u64::from(self.window) << 32
            | u64::from(self.scale) << 48
            | (self.knows as u64) << 56
    }

    /// Bytes beyond `ack` that its peer may be at.
    #[inline]
    fn reach(&self) -> u32 {
        let window = u32::from(self.window) << self.scale;
        window + (window / 4).max(0xffff)
    }

    /// Whether the sequence number lies in the window, as far as that is known; `None` when it is not.
    fn admits(&self, sequence: u32) -> Option<bool> {
        let ahead = sequence.wrapping_sub(self.ack);
        (self.knows != Knows::Nothing).then(|| ahead <= self.reach())
    }

    fn expects(&self, ack: u32) -> bool {
        self.knows == Knows::Expected && ack.wrapping_sub(self.ack) <= EARLY
    }

    /// What is to be noted instead once this side has sent `segment`; `None` when nothing has to.
    #[inline]
    pub(super) fn noting(self, segment: &TcpSegment) -> Option<Side> {
        if !segment.has(ACK) || segment.has(RST) {
            return None;
        }
        let ahead = segment.ack.wrapping_sub(self.ack);
        let worth = match self.knows {
            Knows::Nothing => true,
            Knows::Expected => self.expects(segment.ack),
            Knows::Acknowledged => {
                let moved = ahead > (u32::from(self.window) << self.scale) / 8 && ahead <= self.reach();
                moved || ahead == 0 && segment.window > self.window.saturating_add(self.window / 8)
            }
        };
        let noted = Side { ack: segment.ack, window: segment.window, knows: Knows::Acknowledged, ..self };
        worth.then_some(noted)
    }
}

/// The two sides, as the one that sends and the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides {
    pub(super) sender: Side,
    pub(super) receiver: Side,
}

impl Sides {
    /// After a segment that moved the connection to `phase`, or left it there.
    pub(super) fn after(mut self, segment: &TcpSegment, before: Phase, phase: Phase) -> Sides {
        let Sides { sender, receiver } = &mut self;
        if segment.has(SYN) && matches!(phase, Phase::SynSent | Phase::SynReceived) {
            let next = segment.sequence.wrapping_add(1);
            if before != Phase::SynSent && phase == Phase::SynSent {
                (*sender, *receiver) = (Side::default(), Side::default());
            }
            if receiver.knows != Knows::Acknowledged {
                receiver.ack = next;
                receiver.knows = Knows::Expected;
            }
            sender.window = segment.window;
            // Both have to offer it (RFC 7323 section 2.2). A SYN's own window is not scaled; to take it for such
            // until the next packet is only generous.
            match (segment.window_scale, segment.has(ACK)) {
                (Some(scale), _) => sender.scale = scale.min(MAX_SCALE),
                (None, true) => (sender.scale, receiver.scale) = (0, 0),
                (None, false) => sender.scale = 0,
            }
        } else if before == Phase::Removed && phase == Phase::PickedUp {
            (sender.scale, receiver.scale) = (MAX_SCALE, MAX_SCALE);
        }
        // What comes before the answer to a SYN is about an older connection.
        if let Some(noted) = sender.noting(segment).filter(|_| phase != Phase::SynSent) {
            *sender = noted;
        }
        self
    }
}

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Same,
    /// It is in this phase from now on, and these sides have sent a FIN.
    Next(Phase, Fins),
    /// It is the first of another connection.
    Another,
    /// It contradicts it.
    Invalid,
}

/// Which sides have sent a FIN: bit 0 the original's, bit 1 the reply's.
pub(super) type Fins = u8;
const BOTH: Fins = 3;

/// The phase that a session begins in whose first packet is this.
pub(super) fn first(segment: &TcpSegment) -> Phase {
    match segment.flags & (SYN | FIN | RST | ACK) {
        SYN => Phase::SynSent,
        _ => Phase::PickedUp,
    }
}

/// What `segment`, sent by `sides.sender` in `direction`, does to a connection.
pub(super) fn effect(
    phase: Phase,
    fins: Fins,
    sides: &Sides,
    direction: Direction,
    segment: &TcpSegment,
) -> Effect {
    let from_opener = direction == Direction::Original;
    match segment.flags & (SYN | FIN | RST | ACK) {
        SYN => syn(phase, from_opener),
        RST | RST_ACK => rst(phase, sides, from_opener, segment),
        SYN_ACK | FIN_ACK | ACK => {
            let done = match handshake(phase, sides, from_opener, segment) {
                Effect::Next(phase, _) => phase,
                Effect::Same => phase,
                refused => return refused,
            };
            let end = segment.sequence.wrapping_add(segment.len);
            let open = matches!(done, Phase::Established | Phase::Closing);
            let fins = match segment.has(FIN) && open && sides.receiver.admits(end) != Some(false) {
                true => fins | 1 << direction as u8,
                false => fins,
            };
            let next = match (fins, open) {
                (BOTH, true) => Phase::Closed,
                (0, _) | (_, false) => done,
                _ => Phase::Closing,
            };
            if next == phase { Effect::Same } else { Effect::Next(next, fins) }
        }
        _ => Effect::Invalid,
    }
}

const RST_ACK: u8 = RST | ACK;
const SYN_ACK: u8 = SYN | ACK;
const FIN_ACK: u8 = FIN | ACK;

fn syn(phase: Phase, from_opener: bool) -> Effect {
    match (phase, from_opener) {
        // Both open at the same time (RFC 5382 REQ-2).
        (Phase::SynSent, false) => Effect::Next(Phase::SynReceived, 0),
        (Phase::SynSent, true) | (Phase::SynReceived, _) => Effect::Same,
        // Its sender forgot the connection. The peer's challenge will tell it, and its RST then ends this one
        // (RFC 5961 section 4); so nothing changes yet, but it has to get there.
        (Phase::Established, true) => Effect::Same,
        (Phase::PickedUp | Phase::Closing | Phase::Closed, true) => Effect::Next(Phase::SynSent, 0),
        (Phase::Closed, false) => Effect::Another,
        _ => Effect::Invalid,
    }
}

fn rst(phase: Phase, sides: &Sides, from_opener: bool, segment: &TcpSegment) -> Effect {
    match (phase, from_opener) {
        // It gives up, or answers a challenge of an older connection and will send its SYN again.
        (Phase::SynSent, true) => Effect::Same,
        // Refused: it has to acknowledge the SYN.
        (Phase::SynSent, false) => match segment.has(ACK) && sides.sender.expects(segment.ack) {
            true => Effect::Next(Phase::Closed, 0),
            false => Effect::Invalid,
        },
        (Phase::Closed, _) => Effect::Same,
        // In the window is enough: it need not be what is expected next, as data before it may be on its way or
        // lost. Should its receiver challenge it, the session is still there for what they go on to send.
        _ => match sides.receiver.admits(segment.sequence) {
            Some(true) => Effect::Next(Phase::Closed, 0),
            Some(false) => Effect::Invalid,
            None => Effect::Same,
        },
    }
}

fn handshake(phase: Phase, sides: &Sides, from_opener: bool, segment: &TcpSegment) -> Effect {
    match (phase, from_opener) {
        (Phase::SynSent, true) if segment.has(SYN) => Effect::Invalid,
        // Anything else that answers is about an older connection, and only the opener can tell.
        (Phase::SynSent, false) if segment.has(SYN) && sides.sender.expects(segment.ack) => {
            Effect::Next(Phase::SynReceived, 0)
        }
        (Phase::SynReceived, true) if sides.sender.expects(segment.ack) => {
            Effect::Next(Phase::Established, 0)
        }
        (Phase::PickedUp, false) => Effect::Next(Phase::Established, 0),
        _ => Effect::Same,
    }
}
