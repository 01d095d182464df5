//! Gluing: consecutive datagrams that differ in nothing but their bytes are one message to the kernel, which cuts it
//! again (UDP_SEGMENT) as late as it can, a NIC at best.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::socket::{TOS, TTL};
use crate::packet::{Batch, Datagram};
use crate::sys::datagrams::{MAX_MESSAGES, Message};

/// Most datagrams in one message (linux/udp.h: UDP_MAX_SEGMENTS before Linux 6.9).
pub(super) const MAX_GLUED: usize = 64;

/// Most bytes in one message: the payload of the longest UDP packet over IPv4.
pub(super) const MAX_BYTES: usize = 65_535 - 20 - 8;

/// Most datagrams in one system call.
pub(super) const MAX_PIECES: usize = 256;

/// What one system call sends: messages, and the datagrams they are made of.
pub(super) struct Parcel<'a> {
    messages: [Message; MAX_MESSAGES],
    message_count: usize,
    pieces: [IoSlice<'a>; MAX_PIECES],
    piece_count: usize,
}

impl<'a> Parcel<'a> {
    /// Packs as many as fit of those that `queue` names, in order: glued where `glued`, and the first `alone` at most
    /// where that is not 0.
    #[inline]
    pub(super) fn new(
        batch: &'a Batch,
        datagrams: &[Datagram],
        queue: &[u32],
        glued: bool,
        alone: usize,
    ) -> Parcel<'a> {
        let mut parcel = Parcel {
            messages: [NO_MESSAGE; MAX_MESSAGES],
            message_count: 0,
            pieces: [IoSlice::new(&[]); MAX_PIECES],
            piece_count: 0,
        };
        let mut rest = if alone > 0 { &queue[..alone] } else { queue };
        while let [first, ..] = rest
            && parcel.message_count < MAX_MESSAGES
        {
            let (count, len) = if glued { first_message(batch, datagrams, rest) } else { (1, 0) };
            if parcel.piece_count + count > MAX_PIECES {
                break;
            }
            let (own, others) = rest.split_at(count);
            for (piece, &index) in parcel.pieces[parcel.piece_count..].iter_mut().zip(own) {
                *piece = IoSlice::new(batch.frames()[datagrams[index as usize].frame as usize].bytes());
            }
            let datagram = &datagrams[*first as usize];
            parcel.messages[parcel.message_count] = Message {
                to: SocketAddr::new(datagram.to, datagram.port),
                pieces: count,
                segment: (count > 1).then_some(len as u16),
                tos: Some(datagram.tos).filter(|&tos| tos != TOS),
                ttl: Some(datagram.ttl.max(1)).filter(|&ttl| ttl != TTL),
            };
            parcel.piece_count += count;
            parcel.message_count += 1;
            rest = others;
        }
        parcel
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages[..self.message_count]
    }

    pub(super) fn pieces(&self) -> &[IoSlice<'a>] {
        &self.pieces[..self.piece_count]
    }

    /// How many datagrams the first `messages` are.
    pub(super) fn datagrams(&self, messages: usize) -> usize {
        self.messages()[..messages].iter().map(|message| message.pieces).sum()
    }
}

const NO_MESSAGE: Message = Message {
    to: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
    pieces: 0,
    segment: None,
    tos: None,
    ttl: None,
};

/// How many of those that `queue` names, which is not empty, make the first message, and how long each but the last is.
#[inline]
fn first_message(batch: &Batch, datagrams: &[Datagram], queue: &[u32]) -> (usize, usize) {
    let of = |index: u32| {
        let datagram = &datagrams[index as usize];
        (datagram, batch.frames()[datagram.frame as usize].len())
    };
    let (first, stride) = of(queue[0]);
    let (mut count, mut bytes) = (1, stride);
    for (next, len) in queue[1..].iter().take(MAX_GLUED - 1).map(|&index| of(index)) {
        let alike = (next.to, next.port, next.tos, next.ttl) == (first.to, first.port, first.tos, first.ttl);
        if !alike || len > stride || len == 0 || bytes + len > MAX_BYTES {
            break;
        }
        count += 1;
        bytes += len;
        // The kernel cuts by the first one's length, so a shorter one can only be the last.
        if len < stride {
            break;
        }
    }
    (count, stride)
}
