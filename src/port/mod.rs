//! Ports: where frames come from and go to.
//!
//! Opening one (off the workers) gives an [`Opened`]: one [`Port`] per worker, each owned by its worker and never
//! shared, and what the switch has to know about the device. Each type of port is one file.

mod device;
pub mod dgram;
mod error;
pub mod guest;
pub mod link;
pub mod memory;
pub mod netdev;
pub mod stream;
pub mod tap;
pub mod underlay;
pub mod vhost;
pub mod watch;

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

pub use error::PortError;
use guest::Guest;
use link::Link;
use netdev::Made;

use crate::packet::{Batch, Capabilities, Counters, Datagram, Received};

/// How a read of a port ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rx {
    /// Nothing is left: the descriptor said so (EAGAIN). It will become readable again.
    Drained,
    /// The batch is full; more may be waiting.
    More,
    /// The device is gone for good (EBADFD on a TAP, ENODEV on a socket). The port must not be polled again.
    Gone,
}

/// One queue of a port, owned by one worker.
///
/// Frames are only ever read into and sent from a [`Batch`]. Neither call blocks, and neither fails: what cannot be
/// read or sent is counted with its reason.
pub trait Port: Send {
    /// Reads frames into the spare buffers of `batch` until it is full or nothing is left. A frame that cannot be
    /// taken in is counted by [`Counters::discard`]; those in the batch are counted by the switch.
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx;

    /// Sends the frames of `batch` that `frames` names, in this order. Each is counted, by [`Counters::sent`] or by
    /// [`Counters::drop`]: a port that takes no more drops the rest (tail drop) and never makes the others wait.
    ///
    /// The frames' offload state is one that the port's [`Capabilities`] allow.
    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters);

    /// The descriptor to wait for, if the port has one.
    fn fd(&self) -> Option<RawFd>;

    /// Told when the frames that [`Port::rx`] gave last have gone where they go, so that what they lie in may be used
    /// again: the memory of a guest, see [`Frame::outside`](crate::packet::Frame::outside). They are still live in `batch`,
    /// and are to [let go](crate::packet::Frame::let_go) of it.
    fn release(&mut self, batch: &mut Batch) {
        let _ = batch;
    }

    /// Whether it shares memory with who sends, so that while the worker is awake, what has come is seen by looking
    /// ([`Port::peek`]), and before it sleeps the other side has to be asked to wake it ([`Port::arm`]).
    fn shares_memory(&self) -> bool {
        false
    }

    /// Whether frames wait to be read; costs no system call.
    fn peek(&mut self) -> bool {
        false
    }

    /// Asks to be woken by [`Port::fd`] when the next frame comes; true when one has come already. [`Port::rx`] takes that
    /// back.
    fn arm(&mut self) -> bool {
        false
    }
}

/// One queue of an underlay: a socket that tunnels share, owned by one worker. Like a [`Port`], but what it carries are
/// datagrams, with the peers they come from and go to.
pub trait Underlay: Send {
    /// Reads datagrams into the spare buffers of `batch`, from their tunnel headers on, and says of each buffer what it
    /// holds; `received` is empty before. What cannot be taken in is counted by [`Counters::discard`].
    fn rx(&mut self, batch: &mut Batch, received: &mut Vec<Received>, counters: &mut Counters) -> Rx;

    /// Sends datagrams, those of each flow in order, and writes what became of each to its outcome.
    fn tx(&mut self, batch: &Batch, datagrams: &mut [Datagram]);

    /// What the network has said of peers since the last call. Never a reason to stop: a peer may come back.
    fn take_troubles(&mut self) -> Vec<Trouble>;

    /// The descriptor to wait for, if the socket receives.
    fn fd(&self) -> Option<RawFd>;
}

/// Something that the network, or the kernel, says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The peer's address.
    pub to: IpAddr,
    /// What is wrong.
    pub what: What,
}

/// See [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nobody listens there, or no way leads there; with the errno.
    Unreachable(i32),
    /// Packets longer than so many bytes, IP header included, do not get there (RFC 1191, RFC 8201).
    PathMtu(u32),
}

/// A queue as a worker takes it.
pub enum Queue {
    /// Of a port.
    Port(Box<dyn Port>),
    /// Of an underlay.
    Underlay(Box<dyn Underlay>),
}

impl Queue {
    /// The descriptor to wait for, if there is one.
    pub fn fd(&self) -> Option<RawFd> {
        match self {
            Queue::Port(port) => port.fd(),
            Queue::Underlay(underlay) => underlay.fd(),
        }
    }
}

/// A port as opening it gives it: a queue per worker and what the switch must know.
pub struct Opened {
    /// One for each worker that was asked for. Where the device has fewer queues, the last ones only send, and have no
    /// descriptor to wait for.
    pub queues: Vec<Queue>,
    /// What it can send without our doing it; the same for all queues.
    pub capabilities: Capabilities,
    /// What its device was when it was opened; `None` where it has none.
    pub link: Option<Link>,
    /// Who is at its socket, where guests attach by one. What the port can send then depends on who that is.
    pub guest: Option<Arc<Guest>>,
    /// Asks what its device is now; `None` where nobody can tell. It may have been renamed, moved, given another MTU.
    pub look: Look,
    /// What is to be undone when the port goes.
    pub made: Option<Made>,
}

impl Opened {
    /// A port that guests attach to by a socket: it has no device, and can send what the guest takes that is there.
    fn at_socket(queues: Vec<Queue>, guest: Arc<Guest>) -> Opened {
        Opened {
            queues,
            capabilities: Capabilities::NONE,
            link: None,
            guest: Some(guest),
            look: Box::new(|| None),
            made: None,
        }
    }
}

/// See [`Opened::look`].
pub type Look = Box<dyn Fn() -> Option<Link> + Send>;
