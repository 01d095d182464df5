//! AF_PACKET sockets (linux/if_packet.h): all frames of one network interface.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_uint, c_ushort, sockaddr_ll, socklen_t};

use super::check;

/// A non-blocking AF_PACKET socket.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket that is bound to nothing and receives nothing.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW.
    pub fn open() -> io::Result<PacketSocket> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket touches no memory of ours.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor was just made, so this is its only owner.
        Ok(PacketSocket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Has each frame carry a virtio_net_hdr of 10 bytes, both ways.
    pub fn set_vnet_header(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)
    }

    /// Has the kernel keep from us what the host itself sends on the interface, our own frames among it.
    pub fn set_ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
    }

    /// How many frames there was no room for since the last call.
    pub fn take_drops(&self) -> u32 {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as socklen_t;
        let (fd, value) = (self.0.as_raw_fd(), (&raw mut stats).cast());
        // SAFETY: the kernel writes at most `len` bytes to `stats` and the length to `len`; both live across the call.
        let result = check(unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &mut len)
        });
        result.map_or(0, |_| stats.tp_drops)
    }

    /// The error that stands at the socket, which is told once; `None`: all is well.
    pub fn take_error(&self) -> Option<io::Error> {
        let (mut errno, mut len): (c_int, _) = (0, size_of::<c_int>() as socklen_t);
        let (fd, value) = (self.0.as_raw_fd(), (&raw mut errno).cast());
        // SAFETY: the kernel writes at most `len` bytes to `errno` and the length to `len`; both live across the call.
        match check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, value, &mut len) }) {
            Ok(_) => (errno != 0).then(|| io::Error::from_raw_os_error(errno)),
            Err(error) => Some(error),
        }
    }

    /// Makes room for `bytes` of frames each way, past the limit that is set for all sockets.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN.
    pub fn set_buffers(&self, bytes: c_int) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)?;
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes)
    }

    /// Keeps all frames out, until [`PacketSocket::let_in`].
    pub fn keep_out(&self) -> io::Result<()> {
        // BPF "ret #0": accept no byte of any frame.
        let mut refuse = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: refuse.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Lets frames in again.
    pub fn let_in(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
    }

    /// Starts to receive all frames of the interface `index`, whoever they are for.
    pub fn bind(&self, index: u32) -> io::Result<()> {
        // SAFETY: all zero is a valid sockaddr_ll.
        let mut address: sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as c_int;
        let len = size_of::<sockaddr_ll>() as socklen_t;
        // SAFETY: the address is a sockaddr_ll of this length and lives across the call.
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), len) })?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index as c_int,
            mr_type: libc::PACKET_MR_PROMISC as c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)
    }

    /// Founds a group of sockets that share the interface's frames by flow, and gives its id. The socket must be bound
    /// to an interface that is up.
    pub fn found_group(&self) -> io::Result<u16> {
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &fanout(0, libc::PACKET_FANOUT_FLAG_UNIQUEID))?;
        let (mut group, mut len): (c_uint, _) = (0, size_of::<c_uint>() as socklen_t);
        let value = (&raw mut group).cast();
        // SAFETY: the kernel writes at most `len` bytes to `group` and the length to `len`; both live across the call.
        check(unsafe {
            libc::getsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, value, &mut len)
        })?;
        Ok(group as u16)
    }

    /// Joins the group `id`; see [`PacketSocket::found_group`].
    pub fn join_group(&self, id: u16) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &fanout(id, 0))
    }

    pub(super) fn set<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        let (value, len) = ((&raw const *value).cast(), size_of::<T>() as socklen_t);
        // SAFETY: the kernel reads at most the `len` bytes of `value`, which lives across the call, as does what a
        // sock_fprog points to.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, value, len) })?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The value of PACKET_FANOUT. IGNORE_OUTGOING stands here once more because a group does not ask its sockets.
fn fanout(id: u16, flags: c_uint) -> c_uint {
    let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | flags;
    c_uint::from(id) | kind << 16
}
