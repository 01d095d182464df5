//! TAP and TUN devices (linux/if_tun.h): opening a queue and setting what belongs to the device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{c_int, c_short, c_uint, c_ulong};

use super::check;

/// The device node that every queue is opened from.
pub const NODE: &str = "/dev/net/tun";

/// Longest name of a network device, in bytes.
pub const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// Offload features: unfinished checksums and TCP superframes, which every kernel takes.
pub const OFFLOAD_TSO: c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// Offload features: UDP superframes, which Linux takes from 6.2 on, and only both.
pub const OFFLOAD_USO: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// What travels on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Ethernet frames.
    Tap,
    /// IP packets.
    Tun,
}

impl Mode {
    /// "TAP" or "TUN".
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Tap => "TAP",
            Mode::Tun => "TUN",
        }
    }
}

/// Opens a descriptor that is no queue yet, non-blocking.
pub fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(NODE)
}

/// Makes `queue` a queue of the device `name`, with a virtio_net_hdr before each frame. The device is made when there is
/// none; it goes when its last queue is closed, unless it is persistent.
///
/// # Errors
/// EINVAL: the name is taken by another kind of device, by one of the other [`Mode`], or with the other choice of
/// `multi_queue`. EBUSY: all its queues are taken. EPERM: not permitted.
pub fn attach(queue: &File, name: &str, mode: Mode, multi_queue: bool) -> io::Result<()> {
    if name.len() > MAX_NAME {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    // SAFETY: all zero is a valid ifreq: a name of no bytes and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mode = match mode {
        Mode::Tap => libc::IFF_TAP,
        Mode::Tun => libc::IFF_TUN,
    };
    let queues = if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags = (mode | libc::IFF_NO_PI | libc::IFF_VNET_HDR | queues) as c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(())
}

/// The name that the device of `queue` has now.
///
/// # Errors
/// EBADFD: the device is gone.
pub fn name(queue: &File) -> io::Result<String> {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes one ifreq, which lives across the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, &mut request) })?;
    let name = request.ifr_name.iter().map(|&c| c as u8).take_while(|&c| c != 0);
    String::from_utf8(name.collect()).map_err(io::Error::other)
}

/// The network namespace that the device of `queue` is in now.
///
/// # Errors
/// EPERM: not permitted there. EINVAL: older than Linux 5.6. EBADFD: the device is gone.
pub fn netns(queue: &File) -> io::Result<File> {
    /// linux/if_tun.h: `_IO('T', 227)`, which libc has not.
    const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
    // SAFETY: the request takes no argument and gives a new descriptor.
    let namespace = check(unsafe { libc::ioctl(queue.as_raw_fd(), TUNGETDEVNETNS, 0) })?;
    // SAFETY: the descriptor is new, so the file is its only owner.
    Ok(unsafe { File::from_raw_fd(namespace) })
}

/// Takes over the descriptor of a plain device that the tun-tap crate opened.
pub fn into_file(device: tun_tap::Iface) -> File {
    // SAFETY: into_raw_fd gives up the descriptor, so the file is its only owner.
    unsafe { File::from_raw_fd(device.into_raw_fd()) }
}

/// Sets how many bytes of virtio_net_hdr stand before each frame: 10 or 12.
pub fn set_header_len(queue: &File, len: usize) -> io::Result<()> {
    let len = len as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives across the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &len) })?;
    Ok(())
}

/// Sets what the device may hand us unfinished: `OFFLOAD_*`, 0 for nothing. It belongs to the device, not to the queue,
/// and outlives us on a persistent one.
///
/// # Errors
/// EINVAL: the kernel does not know one of them.
pub fn set_offload(queue: &File, features: c_uint) -> io::Result<()> {
    set(queue, libc::TUNSETOFFLOAD, features)
}

/// Makes the device stay when its last queue is closed.
pub fn set_persist(queue: &File) -> io::Result<()> {
    set(queue, libc::TUNSETPERSIST, 1)
}

/// Lets the user `uid` open queues of the device.
pub fn set_owner(queue: &File, uid: u32) -> io::Result<()> {
    set(queue, libc::TUNSETOWNER, uid)
}

/// Lets the group `gid` open queues of the device.
pub fn set_group(queue: &File, gid: u32) -> io::Result<()> {
    set(queue, libc::TUNSETGROUP, gid)
}

fn set(queue: &File, request: libc::Ioctl, value: u32) -> io::Result<()> {
    // SAFETY: these requests take their argument by value and touch no memory of ours.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), request, c_ulong::from(value)) })?;
    Ok(())
}
