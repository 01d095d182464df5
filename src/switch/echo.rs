//! Echoes between two switches: how `tapyard tunnel ping` finds out, in band and through the very tunnel that frames go
//! through, whether a peer is there, how far away, and what size gets to it.
//!
//! An echo is an EtherType of its own ([`ECHO`]), sent to a group address that no bridge forwards, so that a peer which
//! is no Tapyard drops it. Where the tunnel carries IP, it stands right behind the tunnel header. Its body:
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
use crate::packet::{Frame, Layer, Location, MAX_FRAME, Offload};
use crate::time::Time;
use crate::tunnel::ECHO;
use crate::wire::ethernet::{self, Mac};

/// 01-80-C2-00-00-0F, of the group that stays on its link (802.1Q table 8-1).
const GROUP: Mac = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0x0f]);
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

/// Makes `frame` a request of `size` bytes behind the Ethernet header, or as near to that as can be.
pub(super) fn request(frame: &mut Frame, layer: Layer, source: Mac, (token, sent): (u64, Time), size: usize) {
    let header = layer.header_len();
    let len = header + size.clamp(BODY_LEN, MAX_FRAME - header);
    frame.receive_area(0)[..len].fill(0);
    // It is no longer than a frame may be.
    let _ = frame.received(len, Offload::NONE);
    frame.layer = layer;
    let bytes = frame.bytes_mut();
    if layer == Layer::Ethernet {
        bytes[..6].copy_from_slice(&GROUP.octets());
        bytes[6..12].copy_from_slice(&source.octets());
        bytes[12..14].copy_from_slice(&ECHO.to_be_bytes());
    }
    let body = &mut bytes[header..];
    body[..4].copy_from_slice(&MAGIC);
    body[KIND_AT] = REQUEST;
    body[TOKEN_AT..SENT_AT].copy_from_slice(&token.to_be_bytes());
    body[SENT_AT..BODY_LEN].copy_from_slice(&sent.nanos().to_be_bytes());
}

/// How an echo leaves: to this peer, whatever the MTU is thought to be.
pub(super) fn departure(frame: u32, at: Location) -> Departure {
    let to = Recipients::Peer(at.peer);
    Departure { frame, form: Form::AsIs, out: at.port, to, shared: false, echo: true }
}

/// Whether an Ethernet frame is an echo.
#[inline]
pub(super) fn is_echo(frame: &[u8]) -> bool {
    frame.len() >= ethernet::HEADER_LEN && frame[12..14] == ECHO.to_be_bytes() && frame[..6] == GROUP.octets()
}

/// What the echo in `packet` is, behind `layer`'s header; `None` when it is none after all.
pub(super) fn parse(packet: &[u8], layer: Layer) -> Option<Echo> {
    let body = packet.get(layer.header_len()..)?.first_chunk::<BODY_LEN>()?;
    match body[KIND_AT] {
        _ if body[..4] != MAGIC => None,
        REQUEST => Some(Echo::Request),
        ANSWER => {
            let number = |at| body[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            Some(Echo::Answer { token: number(TOKEN_AT)?, sent: Time::from_nanos(number(SENT_AT)?) })
        }
        _ => None,
    }
}

/// Makes the answer of a request.
pub(super) fn answer(packet: &mut [u8], layer: Layer) {
    packet[layer.header_len() + KIND_AT] = ANSWER;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_asked_told_and_answered() {
        let sent = (0x0123_4567_89ab_cdef, Time::from_secs(9));
        for (layer, header) in [(Layer::Ethernet, 14), (Layer::Ip, 0)] {
            for (size, len) in [(0, BODY_LEN), (BODY_LEN + 1, BODY_LEN + 1), (1 << 20, MAX_FRAME - header)] {
                let mut frame = Frame::from_bytes(&[0xa5; 200]);
                request(&mut frame, layer, Mac::from_bits(0x02_0000_0000_07), sent, size);
                assert_eq!((frame.len(), frame.layer), (header + len, layer));
                assert_eq!(is_echo(frame.bytes()), layer == Layer::Ethernet);
                assert_eq!(parse(frame.bytes(), layer), Some(Echo::Request));
                assert!(frame.bytes()[header + BODY_LEN..].iter().all(|&byte| byte == 0));
                answer(frame.bytes_mut(), layer);
                assert_eq!(parse(frame.bytes(), layer), Some(Echo::Answer { token: sent.0, sent: sent.1 }));
            }
        }
    }

    #[test]
    fn what_is_no_echo_is_not_taken_for_one() {
        let mut frame = Frame::default();
        request(&mut frame, Layer::Ethernet, Mac::default(), (7, Time::ZERO), BODY_LEN);
        let good = frame.bytes().to_vec();
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end], Layer::Ethernet), None, "{end} bytes");
        }
        for at in [14, 17, 18] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert_eq!(parse(&bad, Layer::Ethernet), None, "byte {at}");
        }
        for at in [0, 5, 12, 13] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(!is_echo(&bad), "byte {at}");
        }
    }
}
