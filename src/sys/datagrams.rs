//! Datagrams with what stands in their outer headers, many in one system call: recvmmsg and sendmmsg with ancillary data
//! over arrays that are made once, and the socket's queue of errors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, socklen_t};

use super::ancillary::{Ancillary, ROOM, number};
use super::check;
use super::inet::Address;
pub use super::mmsg::MAX_MESSAGES;

/// The arrays that the kernel reads and writes.
struct Arrays {
    headers: [libc::mmsghdr; MAX_MESSAGES],
    addresses: [Address; MAX_MESSAGES],
    ancillaries: [Ancillary; MAX_MESSAGES],
}

// SAFETY: the pointers in `headers` are set anew at the start of each call and never followed after it.
unsafe impl Send for Arrays {}

impl Arrays {
    fn new() -> Box<Arrays> {
        // SAFETY: these are plain C structures of integers and pointers, for which all zero is valid.
        unsafe { Box::new(std::mem::zeroed()) }
    }
}

/// What stood beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Who sent it; always there on a UDP or raw socket.
    pub source: Option<IpAddr>,
    /// The TOS or traffic class, where the socket tells it.
    pub tos: Option<u8>,
    /// The length of each of the datagrams that were glued to one, as the kernel says it (UDP_GRO).
    pub stride: Option<c_int>,
    /// How many messages the socket has had no room for since it was made, where there were any and it tells.
    pub overflow: Option<u32>,
}

/// Receives datagrams.
pub struct Inbox(Box<Arrays>);

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox(Arrays::new())
    }
}

impl Inbox {
    /// Receives datagrams, one into each of `areas`, without waiting, and gives how many came. Those past
    /// [`MAX_MESSAGES`] stay unused.
    ///
    /// # Errors
    /// Of the first datagram only, or an earlier one's that the socket kept.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, areas: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let Arrays { headers, addresses, ancillaries } = &mut *self.0;
        let count = areas.len().min(MAX_MESSAGES);
        for (i, area) in areas.iter_mut().take(MAX_MESSAGES).enumerate() {
            addresses[i] = Address::NONE;
            let header = &mut headers[i].msg_hdr;
            header.msg_name = ptr::from_mut(&mut addresses[i]).cast();
            header.msg_namelen = size_of::<Address>() as socklen_t;
            header.msg_iov = ptr::from_mut(area).cast();
            header.msg_iovlen = 1;
            header.msg_control = ptr::from_mut(&mut ancillaries[i]).cast();
            header.msg_controllen = ROOM as _;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: `count` headers were set above. Each points to an address and to ancillary data of the lengths it
        // says, and to one IoSliceMut, which has the layout of an iovec and borrows its bytes exclusively; all live
        // across the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        Ok(check(received)? as usize)
    }

    /// The length of datagram `index` of the last [`Inbox::receive`]; more than its area when it was cut.
    pub fn len_of(&self, index: usize) -> usize {
        self.0.headers[index].msg_len as usize
    }

    /// What stood beside datagram `index` of the last [`Inbox::receive`].
    #[inline]
    pub fn beside(&self, index: usize) -> Beside {
        let mut beside = Beside { source: self.0.addresses[index].get(), ..Beside::default() };
        let len = ancillary_len(&self.0.headers[index].msg_hdr);
        for (level, kind, value) in self.0.ancillaries[index].items(len) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    beside.tos = number(value).map(|tos| tos as u8);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => beside.stride = number(value),
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    beside.overflow = number(value).map(|count| count as u32);
                }
                _ => {}
            }
        }
        beside
    }
}

/// How much ancillary data the kernel wrote.
#[allow(clippy::unnecessary_cast, reason = "musl has another type for it than glibc")]
fn ancillary_len(header: &libc::msghdr) -> usize {
    header.msg_controllen as usize
}

/// A datagram to send, or several glued: what stands beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub to: SocketAddr,
    /// How many pieces its bytes are in.
    pub pieces: usize,
    /// The length of each of the datagrams that it is, the last of which may be shorter (UDP_SEGMENT); it is one if
    /// `None`.
    pub segment: Option<u16>,
    /// The TOS or traffic class, if it is not the socket's.
    pub tos: Option<u8>,
    /// The TTL or hop limit, if it is not the socket's.
    pub ttl: Option<u8>,
}

/// Sends datagrams.
pub struct Outbox(Box<Arrays>);

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox(Arrays::new())
    }
}

impl Outbox {
    /// Sends messages without waiting, and gives how many the kernel took: the first ones. Each takes its bytes from the
    /// next of `pieces`. Those past [`MAX_MESSAGES`] are not tried.
    ///
    /// # Errors
    /// Of the first message only, or an earlier one's that the socket kept; one that a later message meets cuts the
    /// count.
    ///
    /// # Panics
    /// When there are fewer pieces than the messages say.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &[Message],
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let Arrays { headers, addresses, ancillaries } = &mut *self.0;
        let count = messages.len().min(MAX_MESSAGES);
        let mut rest = pieces;
        for (i, message) in messages.iter().take(MAX_MESSAGES).enumerate() {
            let (own, others) = rest.split_at(message.pieces);
            rest = others;
            let header = &mut headers[i].msg_hdr;
            header.msg_namelen = addresses[i].set(message.to);
            header.msg_name = ptr::from_mut(&mut addresses[i]).cast();
            header.msg_iov = own.as_ptr().cast_mut().cast();
            header.msg_iovlen = own.len() as _;
            let len = put_beside(&mut ancillaries[i], message);
            header.msg_control = if len == 0 { ptr::null_mut() } else { (&raw mut ancillaries[i]).cast() };
            header.msg_controllen = len as _;
        }
        let (headers, flags) = (headers.as_mut_ptr(), libc::MSG_DONTWAIT);
        // SAFETY: `count` headers were set above. Each points to an address and to ancillary data of the lengths it
        // says, and to that many IoSlices, which have the layout of iovecs and live across the call with the bytes they
        // borrow; the kernel only reads through them.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as c_uint, flags as _) };
        Ok(check(sent)? as usize)
    }
}

/// Writes what stands beside `message` and gives how many bytes that takes.
#[inline]
fn put_beside(ancillary: &mut Ancillary, message: &Message) -> usize {
    let (level, tos, ttl) = match message.to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS, libc::IP_TTL),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT),
    };
    let mut len = 0;
    for (kind, value) in [(tos, message.tos), (ttl, message.ttl)] {
        if let Some(value) = value {
            len = ancillary.put(len, level, kind, &c_int::from(value).to_ne_bytes());
        }
    }
    if let Some(segment) = message.segment {
        len = ancillary.put(len, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    len
}

/// What became of an earlier datagram (struct sock_extended_err).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was to go.
    pub to: Option<IpAddr>,
    /// What went wrong.
    pub errno: i32,
    /// Somebody on the way says so (ICMP); otherwise the kernel does.
    pub remote: bool,
    /// With EMSGSIZE: the MTU on the way there.
    pub info: u32,
}

/// Takes the next report out of the socket's queue of errors, if there is one. The socket must have its error queue on.
pub fn next_report(socket: BorrowedFd<'_>) -> Option<Report> {
    let (mut address, mut ancillary) = (Address::NONE, Ancillary::EMPTY);
    // SAFETY: all zero is a valid msghdr: no address, no bytes, no ancillary data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = size_of::<Address>() as socklen_t;
    header.msg_control = (&raw mut ancillary).cast();
    header.msg_controllen = ROOM as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to an address and to ancillary data of the lengths it says, which live across the call.
    check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) } as c_int).ok()?;
    let found = ancillary.items(ancillary_len(&header)).find_map(|item| match item {
        (libc::IPPROTO_IP, libc::IP_RECVERR, error) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, error) => {
            let (errno, info) = (number(error)?, number(error.get(8..)?)?);
            Some((errno, *error.get(4)?, info as u32))
        }
        _ => None,
    });
    let (errno, origin, info) = found.unwrap_or_default();
    let remote = matches!(origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    Some(Report { to: address.get(), errno, remote, info })
}
