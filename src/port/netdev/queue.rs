//! One worker's socket on an interface: frames in and out, a batch in one system call.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::link::Links;
use super::super::{Port, Rx};
use crate::packet::{Batch, Counters, DropReason, Frame, MAX_BATCH_BYTES, Offload};
use crate::sys::mmsg::{MAX_MESSAGES, Messages};
use crate::sys::packet::PacketSocket;
use crate::wire::{ethernet, virtio_net};

/// Fewest frames to ask for at once, however long they are.
const MIN_MESSAGES: usize = 4;

/// One socket on an interface.
pub(super) struct Queue {
    socket: PacketSocket,
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
    /// Frames to ask for next, so that a batch of those that came last would fit the cache.
    ask: usize,
}

impl Queue {
    /// A queue on the interface `index` that `links` knows. Each frame has `header` bytes of virtio_net_hdr before it.
    pub(super) fn new(
        socket: PacketSocket,
        header: usize,
        index: u32,
        links: Links,
        cut_off: Arc<AtomicBool>,
    ) -> Queue {
        let (messages, ask) = (Messages::new(), MAX_MESSAGES);
        Queue { socket, header, index, links, messages, cut_off, gone: false, ask }
    }

    /// Takes in datagram `index` of those received, which is in the receive area of `frame`.
    #[inline]
    fn accept(&self, index: usize, len: usize, frame: &mut Frame) -> Result<(), DropReason> {
        if len < ethernet::HEADER_LEN {
            return Err(DropReason::Runt);
        }
        let offload = match self.header {
            0 => Offload::NONE,
            header => Offload::from_header(&virtio_net::Header::parse(frame.receive_area(header))),
        };
        frame.received(len, offload)?;
        if let Some((tpid, tci)) = self.messages.vlan_of(index) {
            frame.push_tag(tpid, tci);
        }
        Ok(())
    }

    /// What a read that failed means. The socket says ENETDOWN both when the interface goes down and when it is removed,
    /// and being down comes first: so the kernel is asked, which answers when the removal is through.
    #[cold]
    fn after_error(&mut self, error: &io::Error, counters: &mut Counters) -> Rx {
        match error.raw_os_error() {
            Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => match self.links.at(self.index) {
                Ok(None) => Rx::Gone,
                // The error stood before the frames.
                _ => Rx::More,
            },
            // The kernel found no virtio_net_hdr for a frame and dropped it; others are behind it.
            Some(libc::EINVAL) => {
                counters.discard(DropReason::BadOffload, 0);
                Rx::More
            }
            _ => Rx::Drained,
        }
    }
}

impl Port for Queue {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        if self.gone {
            return Rx::Gone;
        }
        let spare = batch.spare();
        let asked = spare.len().min(self.ask);
        let mut free = spare.iter_mut();
        let mut areas: [IoSliceMut<'_>; MAX_MESSAGES] = array::from_fn(|_| {
            IoSliceMut::new(free.next().map_or(&mut [], |frame| frame.receive_area(self.header)))
        });
        let received = match self.messages.receive(self.socket.as_fd(), &mut areas[..asked]) {
            Ok(received) => received,
            Err(error) => return self.after_error(&error, counters),
        };
        let (mut taken, mut longest) = (0, 1);
        for i in 0..received {
            let len = self.messages.len_of(i).saturating_sub(self.header);
            longest = longest.max(len);
            match self.accept(i, len, &mut batch.spare()[i]) {
                Ok(()) => {
                    batch.swap_spare(taken, i);
                    taken += 1;
                }
                Err(reason) => counters.discard(reason, len),
            }
        }
        batch.commit(taken);
        self.ask = (MAX_BATCH_BYTES / longest).clamp(MIN_MESSAGES, MAX_MESSAGES);
        if received < asked { Rx::Drained } else { Rx::More }
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
