//! Ports on interfaces that exist: a veth, a NIC, or the kernel end of a TAP that QEMU opened.
//!
//! An AF_PACKET socket sees all that comes in by the interface and sends out by it. With PACKET_VNET_HDR superframes and
//! unfinished checksums pass both ways. Frames are read from a ring in memory, and sent in batches. Several workers have a
//! socket each, in a fanout group that keeps a flow on one of them.
//!
//! The kernel takes the outer VLAN tag out of a frame and tells it beside; it is put back here.
//!
//! The host's own stack still sees what comes in. An interface given to the switch should have no IP address.

mod guest_tap;
mod made;
mod queue;
mod quiet;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use guest_tap::GuestTap;
pub use made::{Made, undo};

use super::device::{check_name, inside};
use super::link::{Link, LinkError, Links};
use super::{Look, Opened, PortError};
use crate::packet::Capabilities;
use crate::sys::netns::Netns;
use crate::sys::packet::PacketSocket;
use crate::sys::packet_ring::ReceiveRing;
use crate::wire::virtio_net;
use queue::Queue;

/// Bytes of frames that the kernel keeps for a socket, each way.
const SOCKET_BUFFER: i32 = 8 << 20;

/// Which interface a `netdev` port takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdevOptions {
    /// Its name.
    pub device: String,
    /// The namespace that it is in; otherwise that of the switch.
    pub netns: Option<Netns>,
    /// Whether the host's own stack is to be silent on it: no IPv6, no answers to ARP.
    pub quiet: bool,
    /// The TAP to make for a guest when there is no such interface; otherwise it has to be there.
    pub create: Option<GuestTap>,
}

impl NetdevOptions {
    /// An interface that is there, and that stays as it is.
    pub fn new(device: impl Into<String>, netns: Option<Netns>) -> NetdevOptions {
        NetdevOptions { device: device.into(), netns, quiet: false, create: None }
    }
}

/// Opens a socket for each of `workers`, and takes the interface up; makes it first where that is asked for.
///
/// # Errors
/// See [`PortError`]. What was made is gone again.
pub fn open(options: &NetdevOptions, workers: usize) -> Result<Opened, PortError> {
    check_name(&options.device)?;
    inside(&options.device, options.netns.as_ref(), || open_here(options, workers))
}

fn open_here(options: &NetdevOptions, workers: usize) -> Result<Opened, PortError> {
    let device = &options.device;
    let refused = |error| PortError::setting(device, error);
    let mut links = Links::open().map_err(refused)?;
    let mut removes = false;
    if let Some(tap) = &options.create {
        removes = tap.provide(device, &mut links)? && !tap.persist;
    }
    let link = links.find(device).map_err(refused)?;
    let index = link.ok_or_else(|| PortError::NoInterface(device.into()))?.index;
    let changed = if options.quiet { quiet::set(device, index, &mut links) } else { Vec::new() };
    let made = Made::new(options, index, removes, changed);
    let opened = take_up(device, &mut links).map_err(refused).and_then(|link| listen(device, link, workers));
    match opened {
        Ok(opened) => Ok(Opened { made, ..opened }),
        Err(error) => {
            undo(made.into_iter().collect());
            Err(error)
        }
    }
}

/// Opens the sockets on an interface that is up.
fn listen(device: &str, link: Link, workers: usize) -> Result<Opened, PortError> {
    let sockets = open_sockets(link.index, workers.max(1));
    let (sockets, header) =
        sockets.map_err(|e| PortError::system(device, "open a packet socket on it", e))?;
    let cut_off = Arc::new(AtomicBool::new(is_cut_off(&link)));
    let queue = |socket| -> Result<super::Queue, LinkError> {
        let queue = Queue::new(socket, header, link.index, Links::open()?, Arc::clone(&cut_off));
        Ok(super::Queue::Port(Box::new(queue)))
    };
    let queues: Result<_, _> = sockets.into_iter().map(queue).collect();
    Ok(Opened {
        guest: None,
        queues: queues.map_err(|e| PortError::setting(device, e))?,
        capabilities: capabilities(header),
        look: look(link.index, cut_off).map_err(|e| PortError::setting(device, e))?,
        link: Some(link),
        made: None,
    })
}

/// Asks for the interface in the namespace that it was found in, and has the queues know whether somebody is behind it.
fn look(index: u32, cut_off: Arc<AtomicBool>) -> Result<Look, LinkError> {
    let links = Mutex::new(Links::open()?);
    Ok(Box::new(move || {
        let link = links.lock().unwrap_or_else(PoisonError::into_inner).at(index).ok()??;
        cut_off.store(is_cut_off(&link), Ordering::Relaxed);
        Some(link)
    }))
}

/// Whether frames get lost behind an interface without anybody being told. Of one that is down a send is told.
fn is_cut_off(link: &Link) -> bool {
    link.up && !link.carrier
}

/// Takes the interface up; a socket on one that is down cannot join a group.
fn take_up(device: &str, links: &mut Links) -> Result<Link, LinkError> {
    let link = links.must_find(device)?;
    if !link.up {
        links.set_up(link.index)?;
    }
    let addresses = links.addresses(link.index)?;
    if let Some(first) = addresses.first() {
        tracing::warn!(
            device,
            "has the address {first}, so the host answers there beside the switch: remove it \
             (ip addr flush dev {device}), and set quiet = true"
        );
    }
    links.must_find(device)
}

/// Slots of the receive rings of one port: some 2 ms of 60-byte frames as fast as they can come.
const RING_SLOTS: usize = 1024;
/// The least of them that one worker has.
const MIN_RING_SLOTS: usize = 256;

/// Opens the sockets, each with its ring, and says how many bytes of virtio_net_hdr stand before each frame.
fn open_sockets(index: u32, count: usize) -> io::Result<(Vec<(PacketSocket, ReceiveRing)>, usize)> {
    let mut header = virtio_net::LEN;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = PacketSocket::open()?;
        if socket.set_vnet_header().is_err() {
            header = 0;
        }
        socket.set_ignore_outgoing()?;
        if socket.set_buffers(SOCKET_BUFFER).is_err() {
            tracing::info!(
                interface = index,
                "no privilege to enlarge socket buffers: bursts may be dropped"
            );
        }
        // Until it is in the group, each socket would get every frame.
        if count > 1 {
            socket.keep_out()?;
        }
        let ring = ReceiveRing::map(&socket, (RING_SLOTS / count).max(MIN_RING_SLOTS), header)?;
        socket.bind(index)?;
        sockets.push((socket, ring));
    }
    if let [(first, _), others @ ..] = &sockets[..]
        && count > 1
    {
        let group = first.found_group()?;
        others.iter().try_for_each(|(socket, _)| socket.join_group(group))?;
        sockets.iter().try_for_each(|(socket, _)| socket.let_in())?;
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
