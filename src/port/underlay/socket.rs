//! Making the sockets of an underlay: those that receive and those that send.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use super::{Transport, UnderlayOptions};
use crate::port::link::Links;
use crate::sys::inet::{DONT_FRAGMENT, MAY_FRAGMENT, SocketOption, set_option};
use crate::sys::netns;

/// Bytes of datagrams that the kernel keeps for a socket, each way.
const SOCKET_BUFFER: i32 = 8 << 20;

/// The TTL or hop limit, and the TOS, of what a socket sends unless a datagram says otherwise.
pub(super) const TTL: u8 = 64;
pub(super) const TOS: u8 = 0;

/// How sockets that send differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Nobody may fragment what it sends.
    pub(super) dont_fragment: bool,
    /// What it sends carries a UDP checksum.
    pub(super) checksum: bool,
}

/// What all sockets of an underlay have in common.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    transport: Transport,
    local: IpAddr,
    zero_checksum: bool,
    interface_of: Option<IpAddr>,
    /// The namespace they are in, held so that it is the same one later.
    space: Option<Arc<File>>,
}

impl Maker {
    pub(super) fn new(options: &UnderlayOptions) -> io::Result<Maker> {
        let space = options.netns.as_ref().map(|netns| File::open(netns.path())).transpose()?;
        Ok(Maker {
            transport: options.transport,
            local: options.local,
            zero_checksum: options.zero_checksum,
            interface_of: options.interface_of,
            space: space.map(Arc::new),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn local(&self) -> IpAddr {
        self.local
    }

    /// Makes the sockets that receive, as many as share the work: one for each of `workers` where the kernel can part
    /// flows between them, else one. Runs in the underlay's namespace.
    pub(super) fn receivers(&self, workers: usize) -> io::Result<Vec<Socket>> {
        let count = match self.transport {
            Transport::Udp { .. } if !self.local.is_multicast() => workers,
            // Every raw socket, and every socket of a group, gets a copy of each packet.
            _ => 1,
        };
        (0..count).map(|index| self.receiver(index == 0)).collect()
    }

    /// The first socket is bound for itself, so that the kernel refuses it where another program has the port; only
    /// then it may be shared. A group may be listened to by several programs from the start.
    fn receiver(&self, first: bool) -> io::Result<Socket> {
        let socket = self.socket()?;
        let set = |option, value| set_option(socket.as_fd(), option, value);
        if set(SocketOption::RECEIVE_BUFFER, SOCKET_BUFFER).is_err() {
            tracing::info!(underlay = %self.local, "no privilege to enlarge socket buffers: bursts may be dropped");
            socket.set_recv_buffer_size(SOCKET_BUFFER as usize)?;
        }
        set(SocketOption::TELL_OVERFLOW, 1)?;
        match self.local {
            IpAddr::V4(_) => {
                set(SocketOption::TELL_TOS_V4, 1)?;
                set(SocketOption::ERROR_QUEUE_V4, 1)?;
                // Otherwise a group that another program of the host has joined would come in here, too.
                socket.set_multicast_all_v4(false)?;
            }
            IpAddr::V6(_) => {
                set(SocketOption::TELL_TOS_V6, 1)?;
                set(SocketOption::ERROR_QUEUE_V6, 1)?;
                socket.set_multicast_all_v6(false)?;
            }
        }
        let Transport::Udp { port } = self.transport else {
            self.bind(&socket, 0)?;
            self.join(&socket)?;
            return Ok(socket);
        };
        if let Err(error) = set(SocketOption::UDP_GRO, 1) {
            tracing::info!(underlay = %self.local, %error, "the kernel does not glue datagrams (UDP_GRO): they are read one by one");
        }
        if self.zero_checksum && self.local.is_ipv6() {
            set(SocketOption::TAKE_NO_CHECKSUM_V6, 1)?;
        }
        socket.set_reuse_port(!first || self.local.is_multicast())?;
        self.bind(&socket, port)?;
        socket.set_reuse_port(true)?;
        self.join(&socket)?;
        Ok(socket)
    }

    /// Joins the group that `local` is, if it is one.
    fn join(&self, socket: &Socket) -> io::Result<()> {
        match self.local {
            IpAddr::V4(group) if group.is_multicast() => {
                let interface = match self.interface_of {
                    Some(IpAddr::V4(address)) => address,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                socket.join_multicast_v4(&group, &interface)
            }
            IpAddr::V6(group) if group.is_multicast() => {
                let Some(address) = self.interface_of else { return socket.join_multicast_v6(&group, 0) };
                let interface = interface_of(address)?;
                // A socket of IPv6 hears a group it has joined by any interface that anybody joined it on.
                set_option(socket.as_fd(), SocketOption::INTERFACE, interface as i32)?;
                socket.join_multicast_v6(&group, interface)
            }
            _ => Ok(()),
        }
    }

    /// Makes a socket that sends, in the underlay's namespace whatever the calling thread is in.
    pub(super) fn sender(&self, kind: Kind) -> io::Result<Socket> {
        match &self.space {
            Some(space) => netns::run_in(space, || self.sender_here(kind))?,
            None => self.sender_here(kind),
        }
    }

    fn sender_here(&self, kind: Kind) -> io::Result<Socket> {
        let socket = self.socket()?;
        // BPF "ret #0": nobody has cause to send to its port, and what comes there nobody would read.
        socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
        self.bind(&socket, 0)?;
        let set = |option, value| set_option(socket.as_fd(), option, value);
        if set(SocketOption::SEND_BUFFER, SOCKET_BUFFER).is_err() {
            socket.set_send_buffer_size(SOCKET_BUFFER as usize)?;
        }
        let fragment = if kind.dont_fragment { DONT_FRAGMENT } else { MAY_FRAGMENT };
        let no_checksum = match self.local {
            IpAddr::V4(local) => {
                set(SocketOption::ERROR_QUEUE_V4, 1)?;
                set(SocketOption::FRAGMENT_V4, fragment)?;
                socket.set_ttl_v4(TTL.into())?;
                socket.set_multicast_ttl_v4(TTL.into())?;
                socket.set_multicast_loop_v4(false)?;
                if !local.is_unspecified() {
                    socket.set_multicast_if_v4(&local)?;
                }
                SocketOption::NO_CHECKSUM_V4
            }
            IpAddr::V6(local) => {
                set(SocketOption::ERROR_QUEUE_V6, 1)?;
                set(SocketOption::FRAGMENT_V6, fragment)?;
                socket.set_unicast_hops_v6(TTL.into())?;
                socket.set_multicast_hops_v6(TTL.into())?;
                socket.set_multicast_loop_v6(false)?;
                if !local.is_unspecified() {
                    socket.set_multicast_if_v6(interface_of(local.into())?)?;
                }
                SocketOption::NO_CHECKSUM_V6
            }
        };
        if !kind.checksum {
            set(no_checksum, 1)?;
        }
        Ok(socket)
    }

    /// A socket of the transport and the family, bound to nothing.
    fn socket(&self) -> io::Result<Socket> {
        let (kind, protocol) = match self.transport {
            Transport::Udp { .. } => (Type::DGRAM, Protocol::UDP),
            Transport::Ip { protocol } => (Type::RAW, Protocol::from(i32::from(protocol))),
        };
        let domain = if self.local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        // A raw socket has one family only, and no such option.
        if self.local.is_ipv6() && kind == Type::DGRAM {
            socket.set_only_v6(true)?;
        }
        Ok(socket)
    }

    fn bind(&self, socket: &Socket, port: u16) -> io::Result<()> {
        socket.bind(&SockAddr::from(SocketAddr::new(self.local, port)))
    }
}

/// The number of the interface that has this address.
///
/// # Errors
/// EADDRNOTAVAIL: none has.
fn interface_of(address: IpAddr) -> io::Result<u32> {
    let missing = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    Links::open()
        .and_then(|mut links| links.with_address(address))
        .map_err(io::Error::other)?
        .ok_or_else(missing)
}
