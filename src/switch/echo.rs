//! Echoes between two switches: how `tapyard tunnel ping` finds out, in band and through the very tunnel that frames go
//! through, whether a peer is there, how far away, and what size gets to it.
//!
//! A tunnel has its own way to tell an echo from what guests send (see [`Payload::Echo`](crate::tunnel::Payload)), and a
//! peer that is no Tapyard drops it. The body:
//!
//! ```text
//! 0      4        5       8       16     24
//! | TYec | 1 or 2 | 0 0 0 | token | sent | zeroes up to the size asked for
//! ```
//!
//! with 1 for a request and 2 for an answer, which is otherwise the same packet. When it was sent, in nanoseconds, means
//! something to the sender alone.

use super::outbox::{Departure, Recipients};
use super::topology::Form;
use crate::packet::{Frame, Location, MAX_FRAME, Offload};
use crate::time::Time;

const MAGIC: [u8; 4] = *b"TYec";
const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
const KIND_AT: usize = 4;
const TOKEN_AT: usize = 8;
const SENT_AT: usize = 16;

/// Bytes of an echo that is not filled up.
pub(super) const BODY_LEN: usize = 24;

/// What an echo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// To be sent back.
    Request,
    /// One of ours that has come back.
    Answer {
        /// What it is known by.
        token: u64,
        /// When it was sent.
        sent: Time,
    },
}

/// Makes `frame` a request of `size` bytes, or as near to that as can be.
pub(super) fn request(frame: &mut Frame, token: u64, sent: Time, size: usize) {
    let len = size.clamp(BODY_LEN, MAX_FRAME);
    let body = &mut frame.receive_area(0)[..len];
    body.fill(0);
    body[..KIND_AT].copy_from_slice(&MAGIC);
    body[KIND_AT] = REQUEST;
    body[TOKEN_AT..SENT_AT].copy_from_slice(&token.to_be_bytes());
    body[SENT_AT..BODY_LEN].copy_from_slice(&sent.nanos().to_be_bytes());
    // It is no longer than a frame may be.
    let _ = frame.received(len, Offload::NONE);
}

/// How an echo leaves: to this peer, whatever the MTU is thought to be.
pub(super) fn departure(frame: u32, at: Location) -> Departure {
    let to = Recipients::Peer(at.peer);
    Departure { frame, form: Form::AsIs, out: at.port, to, shared: false, echo: true }
}

/// What the echo in `body` is; `None` when it is none after all.
pub(super) fn parse(body: &[u8]) -> Option<Echo> {
    let body = body.first_chunk::<BODY_LEN>()?;
    let number = |at| body[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    match body[KIND_AT] {
        _ if body[..KIND_AT] != MAGIC => None,
        REQUEST => Some(Echo::Request),
        ANSWER => Some(Echo::Answer { token: number(TOKEN_AT)?, sent: Time::from_nanos(number(SENT_AT)?) }),
        _ => None,
    }
}

/// Makes the answer of a request.
pub(super) fn answer(body: &mut [u8]) {
    body[KIND_AT] = ANSWER;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_asked_told_and_answered() {
        let (token, sent) = (0x0123_4567_89ab_cdef, Time::from_secs(9));
        for (size, len) in [(0, BODY_LEN), (BODY_LEN + 1, BODY_LEN + 1), (1 << 20, MAX_FRAME)] {
            let mut frame = Frame::from_bytes(&[0xa5; 200]);
            request(&mut frame, token, sent, size);
            assert_eq!(frame.len(), len);
            assert_eq!(parse(frame.bytes()), Some(Echo::Request));
            assert!(frame.bytes()[BODY_LEN..].iter().all(|&byte| byte == 0));
            answer(frame.bytes_mut());
            assert_eq!(parse(frame.bytes()), Some(Echo::Answer { token, sent }));
        }
    }

    #[test]
    fn what_is_no_echo_is_not_taken_for_one() {
        let mut frame = Frame::default();
        request(&mut frame, 7, Time::ZERO, BODY_LEN);
        let good = frame.bytes().to_vec();
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end]), None, "{end} bytes");
        }
        for at in [0, 3, 4] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
    }
}
