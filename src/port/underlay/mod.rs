//! Underlays: the sockets that carry tunnels' datagrams to peers and from them.
//!
//! Each worker has one socket that receives, bound to the tunnels' port and shared by flow (SO_REUSEPORT), and a few
//! that send, each with a port of its own. Both ways the kernel is handed many datagrams at once: a run of
//! equal ones is one message (UDP_SEGMENT), and comes in as one (UDP_GRO).
//!
//! What the network says of a peer (ICMP) is kept by the kernel in the queue of the socket that sent, and spoils the next
//! call on it, whoever that is for. Here it becomes a [`Trouble`] of the peer, and the call is made again: a peer that
//! is gone costs no other a datagram.
//!
//! Peers with link-local addresses of IPv6 cannot be named: an address here has no interface beside it.

mod glue;
pub mod memory;
mod receive;
mod send;
mod socket;
mod trouble;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, RawFd};

use receive::Receiver;
use send::Senders;
use socket::Maker;
use trouble::Troubles;

use super::device::inside;
use super::{Opened, PortError, Rx, Trouble, Underlay};
use crate::packet::{Batch, Capabilities, Counters, Datagram, DropReason, Received};
use crate::sys::inet::{SocketOption, option};
use crate::sys::netns::Netns;
use crate::sys::steering::{self, Wrapping};

/// What carries the tunnels' headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp {
        /// The port that peers send to.
        port: u16,
    },
    /// IP itself.
    Ip {
        /// The number of the protocol (IANA); 47 is GRE.
        protocol: u8,
    },
}

/// Where an underlay is. Prints as its name: `udp:10.8.0.1:4789`, `ip:47:10.8.0.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayOptions {
    /// What carries the tunnels' headers.
    pub transport: Transport,
    /// The address that peers send to, and that packets come from; unspecified: any of the host's, of this family. A
    /// multicast group only receives.
    pub local: IpAddr,
    /// The network namespace; otherwise that of the switch.
    pub netns: Option<Netns>,
    /// Take IPv6 datagrams without a UDP checksum (RFC 6935). Over IPv4 they are always taken.
    pub zero_checksum: bool,
    /// The address whose interface joins the group, where `local` is one; otherwise routing picks it.
    pub interface_of: Option<IpAddr>,
    /// How frames lie in its datagrams: then the kernel parts flows between workers by what is inside.
    pub wrapping: Option<Wrapping>,
}

impl fmt::Display for UnderlayOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp { port } => write!(f, "udp:{}", SocketAddr::new(self.local, port)),
            Transport::Ip { protocol } => write!(f, "ip:{protocol}:{}", self.local),
        }
    }
}

/// Opens an underlay with a queue for each of `workers`. Of a group and of a raw socket only the first receives.
///
/// # Errors
/// See [`PortError`].
pub fn open(options: &UnderlayOptions, workers: usize) -> Result<Opened, PortError> {
    let name = options.to_string();
    inside(&name, options.netns.as_ref(), || {
        open_here(options, workers.max(1)).map_err(|error| PortError::underlay(options, error))
    })
}

fn open_here(options: &UnderlayOptions, workers: usize) -> io::Result<Opened> {
    let maker = Maker::new(options)?;
    let receivers = maker.receivers(workers)?;
    if let ([first, _, ..], Some(wrapping)) = (&receivers[..], options.wrapping)
        && let Err(error) = steering::share(first.as_fd(), receivers.len() as u32, wrapping)
    {
        tracing::info!(underlay = %options, %error, "the kernel parts flows by outer addresses, which is slower");
    }
    let mut receivers = receivers.into_iter();
    let queue = |_| -> io::Result<super::Queue> {
        let receiver = receivers.next().map(|socket| Receiver::new(socket, &maker));
        let senders = (!options.local.is_multicast()).then(|| Senders::new(&maker)).transpose()?;
        Ok(super::Queue::Underlay(Box::new(Queue { receiver, senders, troubles: Troubles::default() })))
    };
    let queues = (0..workers).map(queue).collect::<io::Result<_>>()?;
    Ok(Opened {
        queues,
        capabilities: Capabilities::NONE,
        link: None,
        guest: None,
        look: Box::new(|| None),
        made: None,
    })
}

/// The path MTUs from `local` (which may be unspecified) to each of `to`, as the kernel knows them by now, IP header
/// included. `None`: no way leads there, or no interface has `local`. The namespace is entered once for all of them.
pub fn path_mtus(netns: Option<&Netns>, local: IpAddr, to: &[IpAddr]) -> Vec<Option<u32>> {
    let ask = || to.iter().map(|&to| path_mtu(local, to).ok()).collect();
    match netns {
        Some(netns) => netns.run(ask).unwrap_or_else(|_| vec![None; to.len()]),
        None => ask(),
    }
}

fn path_mtu(local: IpAddr, to: IpAddr) -> io::Result<u32> {
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
    // Nothing is sent, so the port is of no matter: it is the one of "discard".
    socket.connect(SocketAddr::new(to, 9))?;
    let mtu = if to.is_ipv4() { SocketOption::MTU_V4 } else { SocketOption::MTU_V6 };
    Ok(option(socket.as_fd(), mtu)? as u32)
}

/// One worker's sockets.
struct Queue {
    /// None where the first worker receives for all.
    receiver: Option<Receiver>,
    /// None of a group.
    senders: Option<Senders>,
    troubles: Troubles,
}

impl Underlay for Queue {
    fn rx(&mut self, batch: &mut Batch, received: &mut Vec<Received>, counters: &mut Counters) -> Rx {
        match &mut self.receiver {
            Some(receiver) => receiver.rx(batch, received, counters, &mut self.troubles),
            None => Rx::Drained,
        }
    }

    fn tx(&mut self, batch: &Batch, datagrams: &mut [Datagram]) {
        match &mut self.senders {
            Some(senders) => senders.tx(batch, datagrams, &mut self.troubles),
            None => datagrams.iter_mut().for_each(|datagram| datagram.outcome = Err(DropReason::Refused)),
        }
    }

    fn take_troubles(&mut self) -> Vec<Trouble> {
        self.troubles.take()
    }

    fn fd(&self) -> Option<RawFd> {
        self.receiver.as_ref().map(Receiver::fd)
    }
}
