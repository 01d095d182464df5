//! Sending: which socket a datagram leaves by, and what becomes of it.
//!
//! The source port is what the network between tells flows by (RFC 7348 section 5), so a worker has several sockets, and
//! the hash of the inner flow picks one. Whether a packet may be fragmented and carries a checksum is the socket's, too;
//! sockets of each such kind are made when the first datagram needs them.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::AsFd;

use socket2::Socket;

use super::Transport;
use super::glue::Parcel;
use super::socket::{Kind, Maker};
use super::trouble::Troubles;
use crate::packet::{Batch, Datagram, DropReason};
use crate::port::What;
use crate::sys::datagrams::{Message, Outbox};

/// Sockets of each kind, and so source ports of a worker: few, since each costs a system call in a batch; a power of two.
const SOCKETS: usize = 4;

/// Most times that a message is tried again because the error may have been that of an earlier one.
const MAX_RETRIES: u32 = 8;

/// The sockets of one worker that send.
pub(super) struct Senders {
    maker: Maker,
    /// By [`place`].
    kinds: [Sockets; 4],
    outbox: Outbox,
    /// The kernel has not refused UDP_SEGMENT yet.
    glues: bool,
}

/// The sockets of one kind.
enum Sockets {
    Unmade,
    Made(Vec<Sender>),
    /// They cannot be made, which has been said.
    Refused,
}

/// One socket, and the datagrams of this call that leave by it.
struct Sender {
    socket: Socket,
    queued: Vec<u32>,
}

impl Senders {
    /// Makes the sockets that most datagrams leave by.
    ///
    /// # Errors
    /// As bind and the options give them.
    pub(super) fn new(maker: &Maker) -> io::Result<Senders> {
        let glues = matches!(maker.transport(), Transport::Udp { .. });
        let kinds = [const { Sockets::Unmade }; 4];
        let mut senders = Senders { maker: maker.clone(), kinds, outbox: Outbox::default(), glues };
        let usual = Kind { dont_fragment: true, checksum: true };
        senders.kinds[place(usual)] = Sockets::Made(make(maker, usual)?);
        Ok(senders)
    }

    /// Sends datagrams; see [`Underlay::tx`](crate::port::Underlay::tx).
    pub(super) fn tx(&mut self, batch: &Batch, datagrams: &mut [Datagram], troubles: &mut Troubles) {
        for (index, datagram) in datagrams.iter_mut().enumerate() {
            match self.sockets_for(datagram) {
                Some(sockets) => {
                    sockets[usize::from(datagram.flow) % SOCKETS].queued.push(index as u32);
                }
                None => datagram.outcome = Err(DropReason::Refused),
            }
        }
        for sockets in &mut self.kinds {
            let Sockets::Made(sockets) = sockets else { continue };
            for Sender { socket, queued } in sockets.iter_mut().filter(|sender| !sender.queued.is_empty()) {
                let mut line = Wire { socket, outbox: &mut self.outbox };
                send(&mut line, &mut self.glues, batch, datagrams, queued, troubles);
                queued.clear();
            }
        }
    }

    /// The sockets that `datagram` may leave by, which are made if they are not there yet.
    #[inline]
    fn sockets_for(&mut self, datagram: &Datagram) -> Option<&mut Vec<Sender>> {
        // Only UDP has a checksum to leave out.
        let checksum = datagram.checksum || matches!(self.maker.transport(), Transport::Ip { .. });
        let kind = Kind { dont_fragment: datagram.dont_fragment, checksum };
        let sockets = &mut self.kinds[place(kind)];
        if let Sockets::Unmade = sockets {
            *sockets = make(&self.maker, kind).map_or_else(
                |error| {
                    tracing::error!(underlay = %self.maker.local(), %error, "cannot make sockets to send from ({kind:?})");
                    Sockets::Refused
                },
                Sockets::Made,
            );
        }
        match sockets {
            Sockets::Made(sockets) => Some(sockets),
            _ => None,
        }
    }
}

/// The place of the sockets of this kind.
fn place(kind: Kind) -> usize {
    usize::from(kind.dont_fragment) << 1 | usize::from(kind.checksum)
}

#[cold]
fn make(maker: &Maker, kind: Kind) -> io::Result<Vec<Sender>> {
    let sender = |_| Ok(Sender { socket: maker.sender(kind)?, queued: Vec::new() });
    (0..SOCKETS).map(sender).collect()
}

/// What a parcel is handed to: a socket, or what a test has in its place.
pub(super) trait Line {
    /// Sends messages and gives how many were taken, the first ones; at least one, or the error of the first.
    fn send(&mut self, messages: &[Message], pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Takes in the queue of errors, and says whether any came from the network.
    fn drain(&mut self, troubles: &mut Troubles) -> bool;
}

struct Wire<'a> {
    socket: &'a Socket,
    outbox: &'a mut Outbox,
}

impl Line for Wire<'_> {
    #[inline]
    fn send(&mut self, messages: &[Message], pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outbox.send(self.socket.as_fd(), messages, pieces)
    }

    fn drain(&mut self, troubles: &mut Troubles) -> bool {
        troubles.drain(self.socket.as_fd())
    }
}

/// Sends those of `datagrams` that `queue` names by one line, in order, and writes their outcomes. `glues` says whether
/// equal ones may go as one message, and learns when the kernel takes none such.
pub(super) fn send(
    line: &mut impl Line,
    glues: &mut bool,
    batch: &Batch,
    datagrams: &mut [Datagram],
    queue: &[u32],
    troubles: &mut Troubles,
) {
    let mut progress = Progress { queue, at: 0, alone: 0, retries: 0, doubt: None };
    while let rest @ [first, ..] = progress.rest() {
        let first = datagrams[*first as usize];
        // Those of a message that was refused go one by one.
        let glued = *glues && progress.alone == 0 && first.checksum;
        let parcel = Parcel::new(batch, datagrams, rest, glued, progress.alone);
        match line.send(parcel.messages(), parcel.pieces()) {
            Ok(sent) => {
                let (asked, datagrams_sent) = (parcel.messages().len(), parcel.datagrams(sent));
                progress.settle(datagrams, datagrams_sent, Ok(()));
                if let Some(error) = progress.doubt.take() {
                    *glues = false;
                    tracing::info!(%error, "the kernel refuses UDP_SEGMENT: datagrams are sent one by one");
                }
                // The error that stopped it is told by the queue only.
                if sent < asked {
                    line.drain(troubles);
                }
            }
            Err(error) => {
                let (count, remote) = (parcel.datagrams(1), line.drain(troubles));
                progress.fail(&error, remote, count, batch, datagrams, troubles);
            }
        }
    }
}

/// How far [`send`] is.
struct Progress<'a> {
    queue: &'a [u32],
    /// The first that has no outcome yet.
    at: usize,
    /// How many from there on go one by one.
    alone: usize,
    /// How often the message at `at` was tried again.
    retries: u32,
    /// Why a message of several was refused, if that may be because it was one.
    doubt: Option<io::Error>,
}

impl Progress<'_> {
    fn rest(&self) -> &[u32] {
        &self.queue[self.at..]
    }

    /// Writes the outcome of the next `count` datagrams.
    #[inline]
    fn settle(&mut self, datagrams: &mut [Datagram], count: usize, outcome: Result<(), DropReason>) {
        for &index in &self.queue[self.at..][..count] {
            datagrams[index as usize].outcome = outcome;
        }
        self.at += count;
        self.alone = self.alone.saturating_sub(count);
        self.retries = 0;
    }

    /// Decides what an error means for the first message, which is `count` datagrams. `remote`: the network had said
    /// something of earlier ones.
    #[cold]
    fn fail(
        &mut self,
        error: &io::Error,
        remote: bool,
        count: usize,
        batch: &Batch,
        datagrams: &mut [Datagram],
        troubles: &mut Troubles,
    ) {
        let errno = error.raw_os_error().unwrap_or_default();
        let first = datagrams[self.queue[self.at] as usize];
        let may_be_earlier = is_of_the_network(errno) || errno == libc::EMSGSIZE;
        match errno {
            libc::EINTR => {}
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => {
                self.settle(datagrams, self.rest().len(), Err(DropReason::QueueFull));
            }
            _ if may_be_earlier && (remote || self.retries == 0) && self.retries < MAX_RETRIES => {
                self.retries += 1;
            }
            libc::EMSGSIZE if count > 1 => self.alone = count,
            libc::EINVAL | libc::EIO if count > 1 => {
                self.alone = count;
                // Older kernels say EINVAL of a segment that is too long, which alone may be fragmented and go.
                let length = errno == libc::EINVAL && !first.dont_fragment;
                self.doubt = (!length).then(|| io::Error::from_raw_os_error(errno));
            }
            libc::EMSGSIZE => {
                // The others of the message were as long, the last one aside.
                let len = |index: &u32| batch.frames()[datagrams[*index as usize].frame as usize].len();
                let (own, others) = (len(&self.rest()[0]), &self.rest()[1..self.alone.max(1)]);
                let as_long = others.iter().take_while(|index| len(index) == own).count();
                self.settle(datagrams, 1 + as_long, Err(DropReason::ExceedsMtu));
                self.doubt = None;
            }
            errno if is_of_the_network(errno) => {
                troubles.add(first.to, What::Unreachable(errno));
                let same = |index: &&u32| is_to(&datagrams[**index as usize], first.to);
                let count = self.rest().iter().take_while(same).count();
                self.settle(datagrams, count, Err(DropReason::Unreachable));
                self.doubt = None;
            }
            _ => {
                self.settle(datagrams, count, Err(DropReason::Refused));
                self.doubt = None;
            }
        }
    }
}

fn is_to(datagram: &Datagram, to: IpAddr) -> bool {
    datagram.to == to
}

/// Whether an error says that a peer cannot be reached: an ICMP message did, or the kernel has no way there.
fn is_of_the_network(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EPROTO
            | libc::EACCES
    )
}

#[cfg(test)]
mod tests;
