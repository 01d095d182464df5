//! Ports on interfaces that exist: a veth, a NIC, or the kernel end of a TAP that QEMU opened.
//!
//! An AF_PACKET socket sees all that comes in by the interface and sends out by it. With PACKET_VNET_HDR superframes and
//! unfinished checksums pass both ways. Frames go in batches, one system call each. Several workers have a socket each,
//! in a fanout group that keeps a flow on one of them.
//!
//! The kernel takes the outer VLAN tag out of a frame and tells it beside; it is put back here.
//!
//! The host's own stack still sees what comes in. An interface given to the switch should have no IP address.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use super::device::{check_name, inside};
use super::link::{Link, LinkError, Links};
use super::{Look, Opened, Port, PortError, Rx};
use crate::packet::{Batch, Capabilities, Counters, DropReason, Frame, MAX_BATCH_BYTES, Offload};
use crate::sys::mmsg::{MAX_MESSAGES, Messages};
use crate::sys::netns::Netns;
use crate::sys::packet::PacketSocket;
use crate::wire::{ethernet, virtio_net};

/// Bytes of frames that the kernel keeps for a socket, each way.
const SOCKET_BUFFER: i32 = 8 << 20;

/// Fewest frames to ask for at once, however long they are.
const MIN_MESSAGES: usize = 4;

/// Which interface a `netdev` port takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdevOptions {
    /// Its name.
    pub device: String,
    /// The namespace that it is in; otherwise that of the switch.
    pub netns: Option<Netns>,
}

/// Opens a socket for each of `workers`, and takes the interface up.
///
/// # Errors
/// See [`PortError`].
pub fn open(options: &NetdevOptions, workers: usize) -> Result<Opened, PortError> {
    check_name(&options.device)?;
    inside(&options.device, options.netns.as_ref(), || open_here(&options.device, workers))
}

fn open_here(device: &str, workers: usize) -> Result<Opened, PortError> {
    let link = take_up(device).map_err(|e| PortError::setting(device, e))?;
    let link = link.ok_or_else(|| PortError::NoInterface(device.into()))?;
    let sockets = open_sockets(link.index, workers.max(1));
    let (sockets, header) =
        sockets.map_err(|e| PortError::system(device, "open a packet socket on it", e))?;
    let queue = |socket| -> Result<super::Queue, LinkError> {
        let (index, links) = (link.index, Links::open()?);
        Ok(super::Queue::Port(Box::new(Queue {
            socket,
            header,
            index,
            links,
            messages: Messages::new(),
            gone: false,
            ask: MAX_MESSAGES,
        })))
    };
    let queues: Result<_, _> = sockets.into_iter().map(queue).collect();
    Ok(Opened {
        queues: queues.map_err(|e| PortError::setting(device, e))?,
        capabilities: capabilities(header),
        look: look(link.index).map_err(|e| PortError::setting(device, e))?,
        guest: None,
        link: Some(link),
    })
}

/// Asks for the interface in the namespace that it was found in.
fn look(index: u32) -> Result<Look, LinkError> {
    let links = Mutex::new(Links::open()?);
    Ok(Box::new(move || links.lock().unwrap_or_else(PoisonError::into_inner).at(index).ok()?))
}

/// Takes the interface up, if there is one; a socket on one that is down cannot join a group.
fn take_up(device: &str) -> Result<Option<Link>, LinkError> {
    let mut links = Links::open()?;
    let Some(link) = links.find(device)? else { return Ok(None) };
    if !link.up {
        links.set_up(link.index)?;
    }
    let addresses = links.addresses(link.index)?;
    if let Some(first) = addresses.first() {
        tracing::warn!(
            "{device}: has the address {first}, so the host answers there beside the switch: remove it \
             (ip addr flush dev {device}; sysctl net.ipv6.conf.{device}.disable_ipv6=1)"
        );
    }
    Ok(Some(link))
}

/// Opens the sockets and says how many bytes of virtio_net_hdr stand before each frame.
fn open_sockets(index: u32, count: usize) -> io::Result<(Vec<PacketSocket>, usize)> {
    let mut header = virtio_net::LEN;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = PacketSocket::open()?;
        if socket.set_vnet_header().is_err() {
            header = 0;
        }
        socket.set_ignore_outgoing()?;
        socket.set_auxdata()?;
        if socket.set_buffers(SOCKET_BUFFER).is_err() {
            tracing::info!("no privilege to enlarge socket buffers: bursts may be dropped");
        }
        // Until it is in the group, each socket would get every frame.
        if count > 1 {
            socket.keep_out()?;
        }
        socket.bind(index)?;
        sockets.push(socket);
    }
    if let [first, others @ ..] = &sockets[..]
        && count > 1
    {
        let group = first.found_group()?;
        others.iter().try_for_each(|socket| socket.join_group(group))?;
        sockets.iter().try_for_each(PacketSocket::let_in)?;
    }
    Ok((sockets, header))
}

/// What the kernel finishes of what we send. USO needs to be known to it, which is from Linux 6.2 on.
fn capabilities(header: usize) -> Capabilities {
    if header == 0 {
        return Capabilities::NONE;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Capabilities { uso: knows_uso(&release), ..Capabilities::ALL }
}

fn knows_uso(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 2)
}

/// One socket on an interface.
struct Queue {
    socket: PacketSocket,
    /// Bytes of virtio_net_hdr before each frame; 0 where the kernel has none.
    header: usize,
    /// The interface's number.
    index: u32,
    links: Links,
    messages: Box<Messages>,
    /// A send found the interface gone.
    gone: bool,
    /// Frames to ask for next, so that a batch of those that came last would fit the cache.
    ask: usize,
}

impl Queue {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uso_is_known_from_linux_6_2_on() {
        for (release, knows) in
            [("5.15.0-91-generic", false), ("6.1.0", false), ("6.2.0-rc1", true), ("6.18.44-v6", true)]
        {
            assert_eq!(knows_uso(release), knows, "{release}");
        }
        assert!(!knows_uso(""));
    }
}
