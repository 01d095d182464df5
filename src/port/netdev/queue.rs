//! One worker's socket on an interface.
//!
//! Frames of ordinary length come by a ring in memory, without a system call; the ring is written by whoever sends, on its
//! core. Superframes wait in the socket's queue meanwhile and are read a batch at a time, as all frames are sent.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::link::Links;
use super::super::{Port, Rx};
use crate::packet::{Batch, Counters, DropReason, Frame, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, Offload};
use crate::sys::mmsg::{MAX_MESSAGES, Messages};
use crate::sys::packet::PacketSocket;
use crate::sys::packet_ring::{Arrival, Place, ReceiveRing};
use crate::wire::{ethernet, virtio_net};

/// One socket on an interface.
pub(super) struct Queue {
    socket: PacketSocket,
    ring: ReceiveRing,
    /// Bytes of virtio_net_hdr before each frame; 0 where the kernel has none.
    header: usize,
    /// The interface's number.
    index: u32,
    links: Links,
    messages: Box<Messages>,
    /// The interface is up and nobody is at its other end: the kernel would throw away what is sent, and not say so.
    cut_off: Arc<AtomicBool>,
    /// A send found the interface gone.
    gone: bool,
    /// The socket has told that the interface was down.
    was_down: bool,
    /// The tags of frames that wait in the socket's queue.
    vlans: [Option<(u16, u16)>; MAX_BATCH_FRAMES],
}

impl Queue {
    /// A queue on the interface `index` that `links` knows. Each frame has `header` bytes of virtio_net_hdr before it.
    pub(super) fn new(
        (socket, ring): (PacketSocket, ReceiveRing),
        header: usize,
        index: u32,
        links: Links,
        cut_off: Arc<AtomicBool>,
    ) -> Queue {
        Queue {
            socket,
            ring,
            header,
            index,
            links,
            messages: Messages::new(),
            cut_off,
            gone: false,
            was_down: false,
            vlans: [None; MAX_BATCH_FRAMES],
        }
    }

    /// Copies the frames that have come into the spare buffers, and says what of it to do next.
    #[inline]
    fn read_ring(&mut self, spare: &mut [Frame], counters: &mut Counters) -> Taken {
        let mut taken = Taken::default();
        let mut bytes = 0;
        while taken.frames < spare.len() && bytes < MAX_BATCH_BYTES {
            let Some(Arrival { len, vlan, place, after_loss }) = self.ring.first() else {
                taken.drained = true;
                break;
            };
            taken.any = true;
            taken.after_loss |= after_loss;
            let frame = &mut spare[taken.frames];
            let result = match place {
                Place::Slot(read) => {
                    frame.receive_area(self.header)[..read.len()].copy_from_slice(read);
                    accept(frame, self.header, len, vlan)
                }
                Place::Queue => {
                    self.vlans[taken.frames] = vlan;
                    taken.queued |= 1 << taken.frames;
                    Ok(())
                }
                Place::Lost => Err(DropReason::ReceiveOverflow),
            };
            self.ring.let_go();
            match result {
                Ok(()) => {
                    taken.frames += 1;
                    bytes += len;
                }
                Err(reason) => counters.discard(reason, len),
            }
        }
        taken
    }

    /// Reads the frames that `taken` says wait in the socket's queue into their buffers, closes the gaps of those that
    /// cannot be taken in, and gives how many frames there are then.
    fn read_queue(&mut self, batch: &mut Batch, taken: &Taken, counters: &mut Counters) -> usize {
        let is_queued = |at: usize| taken.queued >> at & 1 == 1;
        let mut places = (0..taken.frames).filter(|&at| is_queued(at));
        let mut buffers = batch.spare().iter_mut().enumerate().filter(|(at, _)| is_queued(*at));
        let mut areas: [IoSliceMut<'_>; MAX_MESSAGES] = array::from_fn(|_| {
            IoSliceMut::new(buffers.next().map_or(&mut [], |(_, frame)| frame.receive_area(self.header)))
        });
        let wanted = taken.queued.count_ones() as usize;
        let mut lens = [None; MAX_MESSAGES];
        let mut read = 0;
        while read < wanted {
            match self.messages.receive(self.socket.as_fd(), &mut areas[read..wanted]) {
                Ok(received) => {
                    for i in 0..received {
                        let at = places.next().unwrap_or(0); // there are as many as wanted
                        lens[at] = Some(self.messages.len_of(i).saturating_sub(self.header));
                    }
                    read += received;
                }
                // The kernel found no virtio_net_hdr for a frame and dropped it; others are behind it.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    places.next();
                    read += 1;
                }
                // It stood before the frames, and is told once.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => self.was_down = true,
                Err(_) => break,
            }
        }
        let mut kept = 0;
        for (at, len) in lens.iter().copied().enumerate().take(taken.frames) {
            let result = match (is_queued(at), len) {
                (false, _) => Ok(()),
                (true, Some(len)) => accept(&mut batch.spare()[at], self.header, len, self.vlans[at]),
                (true, None) => Err(DropReason::BadOffload),
            };
            match result {
                Ok(()) => {
                    batch.swap_spare(kept, at);
                    kept += 1;
                }
                Err(reason) => counters.discard(reason, len.unwrap_or(0)),
            }
        }
        kept
    }

    /// What it means that nothing has come. The socket says ENETDOWN both when the interface goes down and when it is
    /// removed, and being down comes first: so the kernel is asked, which answers when the removal is through.
    #[cold]
    fn after_nothing(&mut self) -> Rx {
        let error = self.socket.take_error().and_then(|error| error.raw_os_error());
        let is_down = matches!(error, Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO));
        match is_down || std::mem::take(&mut self.was_down) {
            true if matches!(self.links.at(self.index), Ok(None)) => Rx::Gone,
            _ => Rx::Drained,
        }
    }
}

/// What one look at the ring has given.
#[derive(Default)]
struct Taken {
    /// Buffers that have a frame, or are to have one.
    frames: usize,
    /// Those whose frame is to be read from the socket's queue, a bit each.
    queued: u32,
    /// There was something.
    any: bool,
    /// Nothing was left.
    drained: bool,
    /// Some did not get into the ring.
    after_loss: bool,
}

const _: () = assert!(MAX_BATCH_FRAMES <= u32::BITS as usize && MAX_BATCH_FRAMES <= MAX_MESSAGES);

/// Takes in the frame that is in the receive area of `frame`.
#[inline]
fn accept(frame: &mut Frame, header: usize, len: usize, vlan: Option<(u16, u16)>) -> Result<(), DropReason> {
    if len < ethernet::HEADER_LEN {
        return Err(DropReason::Runt);
    }
    let offload = match header {
        0 => Offload::NONE,
        header => Offload::from_header(&virtio_net::Header::parse(frame.receive_area(header))),
    };
    frame.received(len, offload)?;
    if let Some((tpid, tci)) = vlan {
        frame.push_tag(tpid, tci);
    }
    Ok(())
}

impl Port for Queue {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        if self.gone {
            return Rx::Gone;
        }
        let taken = self.read_ring(batch.spare(), counters);
        if !taken.any {
            return self.after_nothing();
        }
        if taken.after_loss {
            counters.missed(DropReason::ReceiveOverflow, self.socket.take_drops().into());
        }
        let frames = match taken.queued {
            0 => taken.frames,
            _ => self.read_queue(batch, &taken, counters),
        };
        batch.commit(frames);
        if taken.drained { Rx::Drained } else { Rx::More }
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        if self.cut_off.load(Ordering::Relaxed) {
            return frames.iter().for_each(|_| counters.drop(DropReason::NoCarrier));
        }
        let header = self.header;
        for &frame in frames {
            let frame = &mut batch.frames_mut()[frame as usize];
            let vnet = frame.offload.to_header().emit();
            frame.with_prefix(&vnet[..header]);
        }
        let all = batch.frames();
        let mut rest = frames;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(MAX_MESSAGES));
            let datagrams: [_; MAX_MESSAGES] = array::from_fn(|i| {
                IoSlice::new(now.get(i).map_or(&[][..], |&frame| all[frame as usize].prefixed(header)))
            });
            if let Err(reason) = self.send(&datagrams[..now.len()], counters) {
                later.iter().for_each(|_| counters.drop(reason));
                return;
            }
            rest = later;
        }
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_fd().as_raw_fd())
    }
}

impl Queue {
    /// Sends frames with their headers, and counts each. An error means that no more frames can be sent now.
    fn send(&mut self, mut datagrams: &[IoSlice<'_>], counters: &mut Counters) -> Result<(), DropReason> {
        let mut asked_again = false;
        while !datagrams.is_empty() {
            let error = match self.messages.send(self.socket.as_fd(), datagrams) {
                Ok(sent) => {
                    datagrams[..sent].iter().for_each(|frame| counters.sent(frame.len() - self.header));
                    datagrams = &datagrams[sent..];
                    continue;
                }
                Err(error) => error,
            };
            let all_the_rest = match error.raw_os_error() {
                // The socket may still hold the error of a break that is over; it tells it once.
                Some(libc::ENETDOWN) if !asked_again => {
                    asked_again = true;
                    continue;
                }
                Some(libc::ENETDOWN) => DropReason::PortDown,
                Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::QueueFull,
                Some(libc::ENXIO | libc::ENODEV) => {
                    self.gone = true;
                    DropReason::PortMissing
                }
                only_this => {
                    let too_long = only_this == Some(libc::EMSGSIZE);
                    counters.drop(if too_long { DropReason::ExceedsMtu } else { DropReason::Refused });
                    datagrams = &datagrams[1..];
                    continue;
                }
            };
            datagrams.iter().for_each(|_| counters.drop(all_the_rest));
            return Err(all_the_rest);
        }
        Ok(())
    }
}
