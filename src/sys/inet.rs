//! Sockets of the Internet protocols: the options that socket2 has none for, and addresses as the kernel lays them out.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, sa_family_t, socklen_t};

use super::check;

/// An option of a socket whose value is an int.
#[derive(Clone, Copy, Debug)]
pub struct SocketOption(c_int, c_int);

impl SocketOption {
    /// Room for what is received, past the limit that is set for all sockets; needs CAP_NET_ADMIN.
    pub const RECEIVE_BUFFER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
    /// Room for what is sent, past the limit that is set for all sockets; needs CAP_NET_ADMIN.
    pub const SEND_BUFFER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE);
    /// UDP over IPv4 is sent without a checksum.
    pub const NO_CHECKSUM_V4: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_NO_CHECK);
    /// UDP over IPv6 is sent without a checksum (RFC 6935).
    pub const NO_CHECKSUM_V6: SocketOption = SocketOption(libc::SOL_UDP, libc::UDP_NO_CHECK6_TX);
    /// UDP over IPv6 is taken without a checksum (RFC 6935).
    pub const TAKE_NO_CHECKSUM_V6: SocketOption = SocketOption(libc::SOL_UDP, libc::UDP_NO_CHECK6_RX);
    /// Datagrams of one flow may come glued, with their length beside.
    pub const UDP_GRO: SocketOption = SocketOption(libc::SOL_UDP, libc::UDP_GRO);
    /// How many packets there was no room for is told beside each packet.
    pub const TELL_OVERFLOW: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
    /// The TOS is told beside each packet.
    pub const TELL_TOS_V4: SocketOption = SocketOption(libc::IPPROTO_IP, libc::IP_RECVTOS);
    /// The traffic class is told beside each packet.
    pub const TELL_TOS_V6: SocketOption = SocketOption(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS);
    /// What becomes of packets is kept in the socket's error queue.
    pub const ERROR_QUEUE_V4: SocketOption = SocketOption(libc::IPPROTO_IP, libc::IP_RECVERR);
    /// What becomes of packets is kept in the socket's error queue.
    pub const ERROR_QUEUE_V6: SocketOption = SocketOption(libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
    /// Whether packets may be fragmented: [`MAY_FRAGMENT`] or [`DONT_FRAGMENT`].
    pub const FRAGMENT_V4: SocketOption = SocketOption(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
    /// Whether packets may be fragmented: [`MAY_FRAGMENT`] or [`DONT_FRAGMENT`].
    pub const FRAGMENT_V6: SocketOption = SocketOption(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
    /// Packets come in and go out by the interface of this number only; from Linux 5.7 on no privilege is needed.
    pub const INTERFACE: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX);
    /// The path MTU that the kernel knows of a connected socket; to be read.
    pub const MTU_V4: SocketOption = SocketOption(libc::IPPROTO_IP, libc::IP_MTU);
    /// The path MTU that the kernel knows of a connected socket; to be read.
    pub const MTU_V6: SocketOption = SocketOption(libc::IPPROTO_IPV6, libc::IPV6_MTU);
}

/// The network may fragment, and so may the kernel.
pub const MAY_FRAGMENT: c_int = libc::IP_PMTUDISC_DONT;
/// Nobody may fragment; what is longer than the path MTU is refused with EMSGSIZE.
pub const DONT_FRAGMENT: c_int = libc::IP_PMTUDISC_DO;

/// Sets an option.
///
/// # Errors
/// ENOPROTOOPT: the kernel does not know it. EPERM: not permitted.
pub fn set_option(socket: BorrowedFd<'_>, option: SocketOption, value: c_int) -> io::Result<()> {
    let (value, len) = ((&raw const value).cast(), size_of::<c_int>() as socklen_t);
    // SAFETY: the kernel reads at most the `len` bytes of `value`, which lives across the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, value, len) })?;
    Ok(())
}

/// Reads an option.
///
/// # Errors
/// ENOTCONN: it is known of a connected socket only.
pub fn option(socket: BorrowedFd<'_>, option: SocketOption) -> io::Result<c_int> {
    let (mut value, mut len): (c_int, _) = (0, size_of::<c_int>() as socklen_t);
    let room = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` bytes to `value` and the length to `len`; both live across the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), option.0, option.1, room, &mut len) })?;
    Ok(value)
}

/// Room for an address of either family.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Address {
    family: sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    /// No address.
    pub(super) const NONE: Address = {
        // SAFETY: these are integers only, for which all zero is valid.
        unsafe { std::mem::zeroed() }
    };

    /// Sets the address and gives how many bytes of it the kernel is to read.
    #[inline]
    pub(super) fn set(&mut self, to: SocketAddr) -> socklen_t {
        *self = Address::NONE;
        match to {
            SocketAddr::V4(to) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as sa_family_t,
                    sin_port: to.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as socklen_t
            }
            SocketAddr::V6(to) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as sa_family_t,
                    sin6_port: to.port().to_be(),
                    sin6_flowinfo: to.flowinfo().to_be(),
                    sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                    sin6_scope_id: to.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as socklen_t
            }
        }
    }

    /// The address, if there is one; an IPv4 address that is dressed as IPv6 is one of IPv4.
    #[inline]
    pub(super) fn get(&self) -> Option<IpAddr> {
        // SAFETY: an Address begins as all zero or is set whole, and the kernel writes bytes only; so every member is
        // initialised, and any bytes are a valid integer.
        let (family, v4, v6) = unsafe { (self.family, self.v4.sin_addr, self.v6.sin6_addr) };
        match c_int::from(family) {
            libc::AF_INET => Some(Ipv4Addr::from(v4.s_addr.to_ne_bytes()).into()),
            libc::AF_INET6 => Some(IpAddr::from(Ipv6Addr::from(v6.s6_addr)).to_canonical()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn addresses_go_in_and_out() {
        let mut address = Address::NONE;
        assert_eq!(address.get(), None);
        for (text, len, ip) in [
            ("10.8.0.1:4789", 16, "10.8.0.1"),
            ("[fd00::1]:4789", 28, "fd00::1"),
            ("[::ffff:10.8.0.1]:1", 28, "10.8.0.1"),
        ] {
            assert_eq!(address.set(text.parse().unwrap()), len);
            assert_eq!(address.get(), Some(ip.parse().unwrap()));
        }
        address.set("10.8.0.1:4789".parse().unwrap());
        // SAFETY: every bit pattern is one of bytes.
        let bytes: [u8; 28] = unsafe { std::mem::transmute(address) };
        assert_eq!(bytes[2..10], [0x12, 0xb5, 10, 8, 0, 1, 0, 0]);
    }

    #[test]
    fn an_option_is_set_and_read() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            option(socket.as_fd(), SocketOption::MTU_V4).unwrap_err().raw_os_error(),
            Some(libc::ENOTCONN)
        );
        set_option(socket.as_fd(), SocketOption::FRAGMENT_V4, DONT_FRAGMENT).unwrap();
        assert_eq!(option(socket.as_fd(), SocketOption::FRAGMENT_V4).unwrap(), DONT_FRAGMENT);
    }
}
