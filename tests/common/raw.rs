//! The system calls that std has no words for: entering a namespace, packet sockets, signals.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// Moves the calling thread into the network namespace called `name`.
pub(crate) fn enter_namespace(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: setns takes an open descriptor, which `file` is, and touches no memory of ours.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Has the calling thread, and no other, act as another user without any privilege.
pub(crate) fn become_user(user: u32, group: u32) {
    // By themselves, the system calls are for one thread. SAFETY: they touch no memory but the list of no groups.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            libc::syscall(libc::SYS_setresgid, group, group, group),
            libc::syscall(libc::SYS_setresuid, user, user, user),
        ]
    };
    assert_eq!(results, [0; 3], "{}", io::Error::last_os_error());
}

/// Starts a program in the network namespace called `name`.
pub(crate) fn spawn_in(name: &str, command: &mut Command) -> Child {
    // A child is born into the namespace of the thread that makes it.
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter_namespace(name).unwrap_or_else(|error| panic!("entering {name}: {error}"));
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
        });
        inside.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Sends `signal` to the process `pid`, which the caller started and has not waited for.
pub(crate) fn send_signal(pid: u32, signal: i32) {
    // SAFETY: kill touches no memory of ours.
    check(unsafe { libc::kill(pid as i32, signal) }).expect("the process is ours and not waited for");
}

/// A packet socket bound to one interface: sends and receives whole Ethernet frames, VLAN tags included.
pub(crate) struct PacketSocket(OwnedFd);

/// Larger than any frame, superframes included.
const BUFFER: usize = 70_000;

impl PacketSocket {
    /// Opens one on the interface `device` of the calling thread's namespace. It receives all that arrives there, for
    /// whomever, and nothing of what is sent.
    pub(crate) fn open(device: &str) -> io::Result<PacketSocket> {
        let name = CString::new(device)?;
        // SAFETY: `name` is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: no memory is passed. Protocol 0 receives nothing before `bind` has chosen the interface.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: `fd` was just opened and nothing else owns it.
        let socket = PacketSocket(unsafe { OwnedFd::from_raw_fd(fd) });

        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(16 << 20)).or_else(|_| {
            socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &(4 << 20)) // without CAP_NET_ADMIN outside
        })?;
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        let member = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        socket.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &member)?;

        // SAFETY: sockaddr_ll is plain integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as i32;
        // SAFETY: `address` is a sockaddr_ll, and the length given is its own.
        check(unsafe { libc::bind(fd, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32) })?;
        Ok(socket)
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let (value, len) = ((&raw const *value).cast(), size_of::<T>() as u32);
        // SAFETY: `value` points to `len` bytes of a T that lives through the call.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, value, len) }).map(drop)
    }

    /// Sends one frame, as it is.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are those of a slice that lives through the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends frames, as they are, in one system call; how many the device took.
    pub(crate) fn send_burst(&self, frames: &[Vec<u8>]) -> io::Result<usize> {
        let mut parts: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let messages = parts.iter_mut().map(|part| {
            // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { zeroed() };
            message.msg_hdr.msg_iov = &raw mut *part;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let mut messages: Vec<_> = messages.collect();
        let count = messages.len() as u32;
        // SAFETY: there are `count` messages; each names one iovec of `parts`, and that a frame, which is only read.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        check(sent).map(|sent| sent as usize)
    }

    /// The next frame, its outer VLAN tag put back; `None` when none arrives within `patience`.
    pub(crate) fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut ready = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is passed, and one is there.
        if check(unsafe { libc::poll(&raw mut ready, 1, patience.as_millis() as i32) })? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; BUFFER];
        let mut control = [0_u64; 16]; // u64: aligned as a cmsghdr must be
        let mut iov = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: msghdr is integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: `message` names `frame` and `control` with their true lengths, and both live through the call.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        if len < 0 {
            return Err(io::Error::last_os_error());
        }
        frame.truncate(len as usize);
        if let Some([tpid, tci]) = stripped_tag(&message) {
            let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            frame.splice(12..12, tag);
        }
        Ok(Some(frame))
    }
}

/// The tag that the kernel took out of the frame on its way in: TPID and TCI.
fn stripped_tag(message: &libc::msghdr) -> Option<[u16; 2]> {
    // SAFETY: `message` was filled by recvmsg, and its control buffer is alive.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    assert_eq!((header.cmsg_level, header.cmsg_type), (libc::SOL_PACKET, libc::PACKET_AUXDATA));
    // SAFETY: a PACKET_AUXDATA message holds one tpacket_auxdata; CMSG_DATA may be unaligned for it.
    let aux: libc::tpacket_auxdata =
        unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    (aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some([aux.tp_vlan_tpid, aux.tp_vlan_tci])
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
