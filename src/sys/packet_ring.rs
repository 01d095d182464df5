//! The receive ring of a packet socket (TPACKET_V2, packet_mmap.rst): memory into which the kernel writes frames as they
//! come, so that no system call is needed to read them.
//!
//! A slot holds one frame of ordinary length. Of a longer one it holds the beginning, and the whole frame waits in the
//! socket's own queue (PACKET_COPY_THRESH): so superframes need no slots of their size.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, tpacket_req, tpacket2_hdr};

use super::packet::PacketSocket;

/// Bytes of a slot: a frame of 1500 bytes, its tags and its headers.
const SLOT: usize = 2048;
/// Bytes that the kernel allocates in one piece.
const BLOCK: usize = 64 << 10;
/// Slots there can be a multiple of.
const SLOTS_PER_BLOCK: usize = BLOCK / SLOT;

/// A frame that has come, as its slot tells it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Bytes of the frame, without what stands before it.
    pub len: usize,
    /// The VLAN tag (TPID, TCI) that the kernel took out.
    pub vlan: Option<(u16, u16)>,
    /// Where it is.
    pub place: Place<'a>,
    /// Others were lost since the socket was last asked for that: there was no slot left.
    pub after_loss: bool,
}

/// Where a frame is that has come.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Here, with the virtio_net_hdr before it.
    Slot(&'a [u8]),
    /// The next in the socket's own queue.
    Queue,
    /// Nowhere: the queue was full.
    Lost,
}

/// The ring of one socket.
pub struct ReceiveRing {
    memory: NonNull<u8>,
    slots: usize,
    /// The slot that is filled next, as far as we have read.
    at: usize,
    /// Bytes of virtio_net_hdr before each frame.
    header: usize,
}

// SAFETY: the mapping belongs to this value alone, and is the process's, not a thread's.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// Gives a socket that is bound to nothing yet a ring of at least so many slots. Before each frame stand `header` bytes
    /// of virtio_net_hdr, as was set.
    ///
    /// # Errors
    /// ENOMEM, or EINVAL where the kernel has no such rings.
    pub fn map(socket: &PacketSocket, slots: usize, header: usize) -> io::Result<ReceiveRing> {
        let blocks = slots.div_ceil(SLOTS_PER_BLOCK).max(1);
        let slots = blocks * SLOTS_PER_BLOCK;
        socket.set(libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as c_int))?;
        socket.set(libc::SOL_PACKET, libc::PACKET_COPY_THRESH, &1)?;
        let request = tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: slots as u32,
        };
        socket.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, socket.as_fd().as_raw_fd());
        // SAFETY: a new mapping of the ring that was just made, of exactly its length.
        let memory = unsafe { libc::mmap(ptr::null_mut(), slots * SLOT, access, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(ReceiveRing { memory, slots, at: 0, header })
    }

    /// The frame that came first of those not yet let go; `None` when there is none.
    #[inline]
    pub fn first(&self) -> Option<Arrival<'_>> {
        let status = self.status().load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the slot begins with this header, in memory that is aligned for it; its status says that it is ours, so
        // the kernel does not write it.
        let header = unsafe { self.slot().cast::<tpacket2_hdr>().read() };
        // SAFETY: as above, for all of the slot; the borrow ends before it is let go, which takes `&mut self`.
        let bytes = unsafe { slice::from_raw_parts(self.slot().as_ptr(), SLOT) };
        let (len, kept) = (header.tp_len as usize, header.tp_snaplen as usize);
        let start = (header.tp_mac as usize).checked_sub(self.header);
        let whole = start.and_then(|start| bytes.get(start..)?.get(..self.header + kept));
        let place = match whole {
            _ if status & libc::TP_STATUS_COPY != 0 => Place::Queue,
            Some(frame) if kept == len => Place::Slot(frame),
            _ => Place::Lost,
        };
        let tpid = match status & libc::TP_STATUS_VLAN_TPID_VALID {
            0 => libc::ETH_P_8021Q as u16,
            _ => header.tp_vlan_tpid,
        };
        let vlan = (status & libc::TP_STATUS_VLAN_VALID != 0).then_some((tpid, header.tp_vlan_tci));
        let after_loss = status & libc::TP_STATUS_LOSING != 0;
        Some(Arrival { len, vlan, place, after_loss })
    }

    /// Lets the frame that [`ReceiveRing::first`] gave go: its slot is the kernel's again.
    #[inline]
    pub fn let_go(&mut self) {
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.at = if self.at + 1 == self.slots { 0 } else { self.at + 1 };
    }

    fn slot(&self) -> NonNull<u8> {
        // SAFETY: `at` is less than `slots`, so it is inside the mapping.
        unsafe { self.memory.add(self.at * SLOT) }
    }

    fn status(&self) -> &AtomicU32 {
        const { assert!(std::mem::offset_of!(tpacket2_hdr, tp_status) == 0) };
        // SAFETY: the status is the first field of the slot's header, aligned, and both sides access it as an atomic.
        unsafe { self.slot().cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, of this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.slots * SLOT) };
    }
}

const _: () = assert!(size_of::<tpacket2_hdr>() < SLOT && BLOCK.is_multiple_of(SLOT));
