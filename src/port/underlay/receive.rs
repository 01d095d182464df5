//! Receiving: one socket, read in batches.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use socket2::Socket;

use super::Transport;
use super::socket::Maker;
use super::trouble::Troubles;
use crate::packet::{Batch, Counters, DropReason, Frame, MAX_BATCH_BYTES, Offload, Received};
use crate::port::Rx;
use crate::sys::datagrams::{Beside, Inbox, MAX_MESSAGES};
use crate::wire::ipv4;

/// Most datagrams, glued ones counted singly, that a read aims at: the switch has a buffer for each in its batch.
const MAX_DATAGRAMS: usize = 900;

/// Most datagrams that the kernel glues to one (linux/udp.h: UDP_MAX_SEGMENTS as it was when GRO came).
const MAX_GLUED: usize = 64;

/// Fewest messages to ask for at once, however long they are.
const MIN_MESSAGES: usize = 4;

/// Most errors in a row that are taken for those of datagrams, which may hide others behind them.
const MAX_ERRORS: u32 = 64;

/// A socket that receives.
pub(super) struct Receiver {
    socket: Socket,
    inbox: Inbox,
    /// Bytes of IP header before each datagram: those of an IPv4 header without options on a raw socket of IPv4, which
    /// gives it; else none.
    header: usize,
    /// Messages to ask for next, so that a batch of those that came last would fit the cache and the switch.
    ask: usize,
    /// Errors since something was read.
    errors: u32,
    /// Messages that the socket has had no room for, as far as they are counted.
    overflow: u32,
}

impl Receiver {
    pub(super) fn new(socket: Socket, maker: &Maker) -> Receiver {
        let raw = matches!(maker.transport(), Transport::Ip { .. }) && maker.local().is_ipv4();
        let header = if raw { ipv4::MIN_HEADER_LEN } else { 0 };
        Receiver {
            socket,
            inbox: Inbox::default(),
            header,
            ask: MAX_DATAGRAMS / MAX_GLUED,
            errors: 0,
            overflow: 0,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Reads a batch; see [`Underlay::rx`](crate::port::Underlay::rx).
    pub(super) fn rx(
        &mut self,
        batch: &mut Batch,
        received: &mut Vec<Received>,
        counters: &mut Counters,
        troubles: &mut Troubles,
    ) -> Rx {
        let spare = batch.spare();
        let asked = spare.len().min(self.ask);
        let mut free = spare.iter_mut();
        let mut areas: [IoSliceMut<'_>; MAX_MESSAGES] = array::from_fn(|_| {
            IoSliceMut::new(free.next().map_or(&mut [], |frame| frame.receive_area(self.header)))
        });
        let count = match self.inbox.receive(self.socket.as_fd(), &mut areas[..asked]) {
            Ok(count) => count,
            Err(error) => return self.after_error(&error, troubles),
        };
        self.errors = 0;
        let (mut taken, mut longest, mut most) = (0, 1, 1);
        for i in 0..count {
            let len = self.inbox.len_of(i);
            longest = longest.max(len);
            let beside = self.inbox.beside(i);
            if let Some(overflow) = beside.overflow {
                let missed = overflow.wrapping_sub(self.overflow);
                counters.missed(DropReason::ReceiveOverflow, u64::from(missed));
                self.overflow = overflow;
            }
            match accept(self.header, len, beside, &mut batch.spare()[i]) {
                Ok(of) => {
                    most = most.max(len.div_ceil(of.stride as usize));
                    received.push(of);
                    batch.swap_spare(taken, i);
                    taken += 1;
                }
                Err(reason) => counters.discard(reason, len.saturating_sub(self.header)),
            }
        }
        batch.commit(taken);
        self.ask = (MAX_BATCH_BYTES / longest).min(MAX_DATAGRAMS / most).clamp(MIN_MESSAGES, MAX_MESSAGES);
        if count < asked { Rx::Drained } else { Rx::More }
    }

    /// What a read that failed means: what the network says of something that was sent stands before what came in.
    #[cold]
    fn after_error(&mut self, error: &io::Error, troubles: &mut Troubles) -> Rx {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.errors = 0;
            return Rx::Drained;
        }
        troubles.drain(self.socket.as_fd());
        self.errors += 1;
        if self.errors < MAX_ERRORS { Rx::More } else { Rx::Drained }
    }
}

/// Takes in what is in the receive area of `frame`: `len` bytes, of which `header` or more are an IPv4 header where
/// `header` is not 0.
#[inline]
fn accept(header: usize, len: usize, beside: Beside, frame: &mut Frame) -> Result<Received, DropReason> {
    let (mut source, mut tos, mut behind) = (beside.source, beside.tos, 0);
    if header > 0 {
        let area = frame.receive_area(header);
        behind = usize::from(area[0] & 0x0f) * 4;
        if len < behind || behind < header {
            return Err(DropReason::Runt);
        }
        source = Some(Ipv4Addr::new(area[12], area[13], area[14], area[15]).into());
        tos = Some(area[1]);
        if behind > header && len <= area.len() {
            area.copy_within(behind..len, header);
        }
    }
    let len = len - behind;
    if len == 0 {
        return Err(DropReason::Runt);
    }
    frame.received(len, Offload::NONE)?;
    let stride = beside.stride.and_then(|stride| u32::try_from(stride).ok());
    Ok(Received {
        source: source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        stride: stride.filter(|&stride| (1..=len as u32).contains(&stride)).unwrap_or(len as u32),
        tos: tos.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::MAX_FRAME;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2));

    fn beside(stride: Option<i32>) -> Beside {
        Beside { source: Some(PEER), tos: Some(0xb9), stride, overflow: None }
    }

    #[test]
    fn a_stride_that_lies_is_the_whole_length() {
        let mut frame = Frame::default();
        let strides = [(None, 4000), (Some(1400), 1400), (Some(1), 1), (Some(4000), 4000)];
        let lies = [0, -1, -1400, i32::MIN, i32::MAX, 4001, 70_000].map(|lie| (Some(lie), 4000));
        for (told, stride) in strides.into_iter().chain(lies) {
            let received = accept(0, 4000, beside(told), &mut frame).unwrap();
            assert_eq!(received, Received { source: PEER, stride, tos: 0xb9 }, "{told:?}");
            assert_eq!(frame.len(), 4000);
        }
    }

    #[test]
    fn what_was_cut_or_is_empty_is_refused() {
        let mut frame = Frame::default();
        assert_eq!(accept(0, MAX_FRAME + 1, beside(None), &mut frame), Err(DropReason::Oversized));
        assert_eq!(accept(20, usize::MAX / 2, beside(None), &mut frame), Err(DropReason::Runt), "no header");
        assert_eq!(accept(0, 0, beside(Some(0)), &mut frame), Err(DropReason::Runt));
    }

    #[test]
    fn an_ip_header_is_taken_off_with_its_options() {
        for options in [0, 4, 40] {
            let mut frame = Frame::default();
            let area = frame.receive_area(20);
            area[..100].fill(0xa5);
            area[..2].copy_from_slice(&[0x45 + options / 4, 0x2e]);
            area[12..16].copy_from_slice(&[10, 8, 0, 9]);
            let behind = 20 + usize::from(options);
            area[behind..behind + 5].copy_from_slice(b"hello");
            let received = accept(20, behind + 5, Beside::default(), &mut frame).unwrap();
            assert_eq!(received, Received { source: [10, 8, 0, 9].into(), stride: 5, tos: 0x2e });
            assert_eq!(frame.bytes(), b"hello");
        }
        for (first, len) in [(0x44, 60), (0x40, 60), (0x4f, 59), (0x45, 19), (0x45, 20)] {
            let mut frame = Frame::default();
            frame.receive_area(20)[0] = first;
            let refused = accept(20, len, Beside::default(), &mut frame);
            assert_eq!(refused, Err(DropReason::Runt), "{first:#x} {len}");
        }
    }
}
