//! Which worker gets a frame, decided by a few eBPF instructions in the kernel: on a TAP the queue, on an underlay the
//! socket among those that share a port.
//!
//! The program takes a hash that is the same for both directions of a flow, and the same whether a frame comes from a TAP
//! or out of a tunnel. So a flow and its answers stay with one worker, wherever they come in: nothing of theirs moves
//! between processors, and who has just sent a request is awake when the answer comes.
//!
//! On a TAP it also spares the kernel dissecting every frame that we *write*, to remember on which queue its flow is, and
//! every frame that it gives us, to look that up. Measured with 60-byte frames this saves a sixth of a worker's time.
//!
//! The hash: the addresses of IPv4 or IPv6 and, unless it is a fragment, the ports of TCP and UDP, combined by XOR; of
//! everything else the low bytes of the MAC addresses. What is too short for a load goes to the first worker.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// How a tunnel's datagrams begin, for finding the frame in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Eight bytes (RFC 7348).
    Vxlan,
    /// Eight bytes and the options (RFC 8926).
    Geneve,
    /// Four bytes, and four for each of checksum, key and sequence number (RFC 2784, RFC 2890).
    Gre,
}

/// Makes the device of `queue` steer by the program; a device has one for all of its queues.
///
/// # Errors
/// EPERM: loading programs is not permitted. EINVAL: older than Linux 4.16. The kernel then steers as before.
pub fn set(queue: &File) -> io::Result<()> {
    /// linux/if_tun.h: `_IOR('T', 224, int)`, which libc has not.
    const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0_u32 as libc::Ioctl;
    let program = load(&[&BARE[..], &HASH, &[EXIT]].concat())?;
    let descriptor = program.as_raw_fd();
    // SAFETY: the request reads one int, which lives across the call; the device keeps a reference of its own.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), TUNSETSTEERINGEBPF, &descriptor) })?;
    Ok(())
}

/// Parts what comes in on the port that `socket` shares with others, `sockets` in all, by the frames inside. What carries
/// no Ethernet is parted by the outer addresses and ports, as without.
///
/// # Errors
/// EPERM: loading programs is not permitted. The kernel then parts all by the outer addresses and ports.
pub fn share(socket: BorrowedFd<'_>, sockets: u32, wrapping: Wrapping) -> io::Result<()> {
    let header: &[u64] = match wrapping {
        Wrapping::Vxlan => &VXLAN,
        Wrapping::Geneve => &GENEVE,
        Wrapping::Gre => &GRE,
    };
    // The kernel takes no remainder itself.
    let remainder = op(0x94, 0, 0, 0, sockets.max(1) as i32);
    let program = load(&[header, &HASH, &[remainder, EXIT]].concat())?;
    let (value, len) = (program.as_raw_fd(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads one int, which lives across the call, and keeps a reference to the program of its own.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_EBPF,
            (&raw const value).cast(),
            len,
        )
    })?;
    Ok(())
}

/// The head of `union bpf_attr` (linux/bpf.h) as BPF_PROG_LOAD takes it.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instructions: u32,
    first_instruction: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

fn load(program: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_SOCKET_FILTER,
        instructions: program.len() as u32,
        first_instruction: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the kernel reads `size_of` bytes of the attributes and what they point to, all of which live across the
    // call, and gives a new descriptor.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    };
    let descriptor = check(descriptor as libc::c_int)?;
    // SAFETY: the descriptor is new, so this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// An instruction, as `struct bpf_insn` stands in memory.
const fn op(code: u8, to: u8, from: u8, jump: i16, value: i32) -> u64 {
    code as u64 | ((from << 4 | to) as u64) << 8 | (jump as u16 as u64) << 16 | (value as u32 as u64) << 32
}

/// `to = from`
const fn copy(to: u8, from: u8) -> u64 {
    op(0xbf, to, from, 0, 0)
}
/// `to ^= from`
const fn xor(to: u8, from: u8) -> u64 {
    op(0xaf, to, from, 0, 0)
}
/// `r0 =` the 4 bytes at `r8 + at`
const fn word(at: i32) -> u64 {
    op(0x40, 0, 8, 0, at)
}
/// `r0 =` the 2 bytes at `r8 + at`
const fn half(at: i32) -> u64 {
    op(0x48, 0, 8, 0, at)
}
/// `r0 =` the byte at `r8 + at`
const fn byte(at: i32) -> u64 {
    op(0x50, 0, 8, 0, at)
}
/// `to = value`
const fn set_to(to: u8, value: i32) -> u64 {
    op(0xb7, to, 0, 0, value)
}
/// `to += value`
const fn add(to: u8, value: i32) -> u64 {
    op(0x07, to, 0, 0, value)
}
/// `to += from`
const fn add_from(to: u8, from: u8) -> u64 {
    op(0x0f, to, from, 0, 0)
}
/// `to &= value`
const fn and(to: u8, value: i32) -> u64 {
    op(0x57, to, 0, 0, value)
}
/// `to <<= bits`
const fn left(to: u8, bits: i32) -> u64 {
    op(0x67, to, 0, 0, bits)
}
/// `to >>= bits`
const fn right(to: u8, bits: i32) -> u64 {
    op(0x77, to, 0, 0, bits)
}
/// Ends with `r0` as the result.
const EXIT: u64 = op(0x95, 0, 0, 0, 0);

/// skips `over` instructions unless `r0` is `value`
const fn skip_unless(value: i32, over: i16) -> u64 {
    op(0x55, 0, 0, over, value)
}
/// skips `over` instructions if `r0` is `value`
const fn skip_if(value: i32, over: i16) -> u64 {
    op(0x15, 0, 0, over, value)
}
/// skips `over` instructions
const fn skip(over: i16) -> u64 {
    op(0x05, 0, 0, over, 0)
}

// Loads need the packet in r6. Each of these leaves in r8 where the Ethernet frame begins, or ends with -1, which names no
// socket, when there is none.

const BARE: [u64; 2] = [copy(6, 1), set_to(8, 0)];

const VXLAN: [u64; 2] = [copy(6, 1), set_to(8, 8)];

#[rustfmt::skip]
const GENEVE: [u64; 11] = [
    copy(6, 1), set_to(8, 0),
    half(2), skip_if(0x6558, 2), set_to(0, -1), EXIT,
    byte(0), and(0, 0x3f), left(0, 2), add_from(8, 0), add(8, 8),
];

#[rustfmt::skip]
const GRE: [u64; 21] = [
    copy(6, 1), set_to(8, 0),
    half(2), skip_if(0x6558, 2), set_to(0, -1), EXIT,
    byte(0), copy(9, 0), and(9, 0x80), right(9, 5), copy(7, 9),
    copy(9, 0), and(9, 0x20), right(9, 3), add_from(7, 9),
    and(0, 0x10), right(0, 2), add_from(7, 0),
    copy(8, 7), add(8, 4), set_to(7, 0),
];

/// r7 is the hash; r8 where the frame begins, then where its L4 header does, less the Ethernet header; r9 the protocol,
/// then the ports. The hash ends in r0.
#[rustfmt::skip]
const HASH: [u64; 52] = [
    half(12), skip_unless(0x0800, 15),
    // IPv4
    word(26), copy(7, 0), word(30), xor(7, 0),
    half(20), and(0, 0x3fff), skip_unless(0, 40),                   // a fragment: to the end
    byte(23), copy(9, 0), byte(14), and(0, 15), left(0, 2), add_from(8, 0), copy(0, 9), skip(19),
    // IPv6
    skip_unless(0x86dd, 27),
    word(22), copy(7, 0), word(26), xor(7, 0), word(30), xor(7, 0), word(34), xor(7, 0),
    word(38), xor(7, 0), word(42), xor(7, 0), word(46), xor(7, 0), word(50), xor(7, 0),
    byte(20), add(8, 40),
    // the protocol is in r0
    skip_if(6, 1), skip_unless(17, 11),
    half(14), copy(9, 0), half(16), xor(9, 0), op(0x24, 9, 0, 0, 0x9e37), xor(7, 9), skip(4),
    // no IP
    word(2), copy(7, 0), word(8), xor(7, 0),
    // the end: mixed, since only the low bits pick the worker
    op(0x24, 7, 0, 0, 0x9e37_79b1_u32 as i32), right(7, 16), copy(0, 7),
];
