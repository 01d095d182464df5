//! TAP and TUN ports: devices that the switch makes, or attaches to, and whose kernel end the host or a namespace uses.
//!
//! With offloads (the default) each frame carries a virtio_net_hdr, so superframes and unfinished checksums pass as they
//! are. The header and the frame lie side by side in the buffer: a frame is one `read` and one `write`, which is the
//! floor, since a TAP has no call for several. A plain device (`offload = false`) carries bare frames, one segment each.
//!
//! What travels on a `tun` is an IP packet without an Ethernet header; all else is the same.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, LazyLock};

use super::device::{check_name, inside};
use super::link::{Link, LinkError, Links};
use super::{Look, Opened, Port, PortError, Rx};
use crate::packet::{Batch, Capabilities, Counters, DropReason, Frame, Layer, MAX_BATCH_BYTES, Offload};
use crate::sys::netns::{self, Netns};
pub use crate::sys::tun::Mode;
use crate::sys::{steering, tun};
use crate::wire::ethernet::{self, Mac};
use crate::wire::{ipv4, virtio_net};

/// What a TAP or TUN port is to be. What is left out stays as the kernel, or who made the device, has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapOptions {
    /// Ethernet frames or IP packets.
    pub mode: Mode,
    /// The device's name: at most 15 bytes.
    pub device: String,
    /// The namespace that the kernel end is in; otherwise that of the switch.
    pub netns: Option<Netns>,
    /// MTU of the kernel end, in bytes without the Ethernet header.
    pub mtu: Option<u32>,
    /// MAC address of the kernel end.
    pub mac: Option<Mac>,
    /// IP addresses of the kernel end, each with the length of its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// User (uid) that may open the device too.
    pub owner: Option<u32>,
    /// Group (gid) that may open the device too.
    pub group: Option<u32>,
    /// Whether the device stays when the switch ends.
    pub persist: bool,
    /// Most queues to open. With more than one the device is a multi-queue device; otherwise it is one when there are
    /// several workers.
    pub queues: Option<usize>,
    /// Whether superframes and unfinished checksums pass.
    pub offload: bool,
}

impl TapOptions {
    /// A TAP with all offloads and nothing set.
    pub fn new(device: impl Into<String>) -> TapOptions {
        TapOptions {
            mode: Mode::Tap,
            device: device.into(),
            netns: None,
            mtu: None,
            mac: None,
            addresses: Vec::new(),
            owner: None,
            group: None,
            persist: false,
            queues: None,
            offload: true,
        }
    }

    fn other_kind(&self, kind: String) -> PortError {
        PortError::OtherKind(self.device.clone(), self.mode.name(), kind)
    }

    fn other_mode(&self) -> PortError {
        let other = if self.mode == Mode::Tap { Mode::Tun } else { Mode::Tap };
        self.other_kind(other.name().into())
    }
}

/// The group of the devices that this process has made, drawn at random: [`remove_all`] deletes by it.
static OWN_GROUP: LazyLock<u32> =
    LazyLock::new(|| RandomState::new().hash_one(std::process::id()) as u32 >> 1 | 1);

/// Removes all devices that this process has made in a namespace and that are not to stay. Closing them would do that
/// too, but each by itself, and the kernel waits a grace period for each: some 20 ms.
///
/// # Errors
/// The kernel refused, or the namespace cannot be entered; closing the devices still removes them.
pub fn remove_all(netns: Option<&Netns>) -> Result<(), PortError> {
    let group = format!("group {}", *OWN_GROUP);
    let remove = || match Links::open().and_then(|mut links| links.delete_group(*OWN_GROUP)) {
        Err(error) if error.errno() != Some(libc::ENODEV) => Err(PortError::setting(&group, error)),
        _ => Ok(()),
    };
    inside(&group, netns, remove)
}

/// Makes the device, or attaches to the one that exists, with a queue for each of `workers`, and takes it up.
///
/// # Errors
/// See [`PortError`]. A device that was made is gone again.
pub fn open(options: &TapOptions, workers: usize) -> Result<Opened, PortError> {
    check_name(&options.device)?;
    inside(&options.device, options.netns.as_ref(), || open_here(options, workers))
}

fn open_here(options: &TapOptions, workers: usize) -> Result<Opened, PortError> {
    let refused = |error| PortError::setting(&options.device, error);
    let mut links = Links::open().map_err(refused)?;
    let existing = links.find(&options.device).map_err(refused)?;
    if let Some(link) = &existing
        && link.kind.as_deref() != Some("tun")
    {
        return Err(options.other_kind(link.kind.clone().unwrap_or_else(|| "hardware interface".into())));
    }
    let (files, capabilities) = match options.offload {
        true => attach(options, workers, existing.is_some())?,
        false => (vec![attach_plain(options, existing.is_some())?], Capabilities::NONE),
    };
    let link = configure(options, existing.is_some(), &mut links).map_err(refused)?;
    grant(options, &files[0])
        .map_err(|e| PortError::system(&options.device, "set owner, group or persist", e))?;
    let queue = |file, receives| {
        super::Queue::Port(Box::new(Queue {
            file,
            receives,
            header: if options.offload { virtio_net::LEN_MRG } else { 0 },
            layer: match options.mode {
                Mode::Tap => Layer::Ethernet,
                Mode::Tun => Layer::Ip,
            },
            shortest: match options.mode {
                Mode::Tap => ethernet::HEADER_LEN,
                Mode::Tun => ipv4::MIN_HEADER_LEN,
            },
        }))
    };
    let files: Vec<_> = files.into_iter().map(Arc::new).collect();
    // A worker without a queue to read from still has frames to send: it writes to one that another reads from, which
    // is safe, since a write is a whole frame.
    let lent = (files.len()..workers).map(|worker| queue(Arc::clone(&files[worker % files.len()]), false));
    Ok(Opened {
        queues: files.iter().map(|file| queue(Arc::clone(file), true)).chain(lent).collect(),
        capabilities,
        guest: None,
        link: Some(link),
        look: look(&files[0]),
        made: None,
    })
}

/// Finds the device wherever it is by now: administrators move it into the namespace of a guest and set it up there.
fn look(queue: &Arc<File>) -> Look {
    let queue = Arc::downgrade(queue);
    Box::new(move || {
        let queue = queue.upgrade()?;
        let (name, netns) = (tun::name(&queue).ok()?, tun::netns(&queue).ok()?);
        netns::run_in(&netns, || Links::open().and_then(|mut links| links.find(&name))).ok()?.ok()?
    })
}

/// Opens the queues of a device with offloads. The first one decides whether it is a multi-queue device, unless it
/// exists: then what it is decides.
fn attach(
    options: &TapOptions,
    workers: usize,
    exists: bool,
) -> Result<(Vec<File>, Capabilities), PortError> {
    let device = &options.device;
    let wanted = options.queues.unwrap_or(workers).min(workers).max(1);
    let multi_queue = options.queues.unwrap_or(workers) > 1;
    let first = open_node(device)?;
    let count = match tun::attach(&first, device, options.mode, multi_queue) {
        Ok(()) => wanted,
        Err(e) if exists && e.raw_os_error() == Some(libc::EINVAL) => {
            attach_as_it_is(options, &first, !multi_queue)?;
            1
        }
        Err(e) => return Err(PortError::system(device, "open it", e)),
    };
    let capabilities = negotiate(&first).map_err(|e| PortError::system(device, "set its offloads", e))?;
    if count > 1
        && options.mode == Mode::Tap
        && let Err(error) = steering::set(&first)
    {
        tracing::info!(device, %error, "the kernel steers its queues itself, which is slower");
    }
    let mut files = vec![first];
    while files.len() < count {
        let next = open_node(device)?;
        tun::attach(&next, device, options.mode, true)
            .map_err(|e| PortError::system(device, "open another queue of it", e))?;
        files.push(next);
    }
    Ok((files, capabilities))
}

/// Attaches one queue to a device that has the other number of queues than it would have been made with.
fn attach_as_it_is(options: &TapOptions, first: &File, multi_queue: bool) -> Result<(), PortError> {
    let device = &options.device;
    tun::attach(first, device, options.mode, multi_queue).map_err(|e| match e.raw_os_error() {
        // With neither number of queues: what is left is the mode.
        Some(libc::EINVAL) => options.other_mode(),
        _ => PortError::system(device, "open it", e),
    })?;
    match options.queues {
        Some(queues) if !multi_queue => Err(PortError::SingleQueue(device.clone(), queues)),
        _ => {
            let kind = if multi_queue { "multi-queue" } else { "single-queue" };
            tracing::info!(device, "exists as a {kind} device: attached with one queue");
            Ok(())
        }
    }
}

/// Agrees with the kernel on what passes unfinished: as much as it takes.
fn negotiate(first: &File) -> io::Result<Capabilities> {
    tun::set_header_len(first, virtio_net::LEN_MRG)?;
    let ladder = [
        (tun::OFFLOAD_TSO | tun::OFFLOAD_USO, Capabilities::ALL),
        (tun::OFFLOAD_TSO, Capabilities { uso: false, ..Capabilities::ALL }),
        (0, Capabilities::NONE),
    ];
    let mut result = Ok(Capabilities::NONE);
    for (features, capabilities) in ladder {
        result = tun::set_offload(first, features).map(|()| capabilities);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Opens the only queue of a device without offloads.
fn attach_plain(options: &TapOptions, exists: bool) -> Result<File, PortError> {
    let device = &options.device;
    if let Some(queues @ 2..) = options.queues {
        return Err(PortError::PlainQueues(device.clone(), queues));
    }
    let mode = match options.mode {
        Mode::Tap => tun_tap::Mode::Tap,
        Mode::Tun => tun_tap::Mode::Tun,
    };
    open_node(device)?;
    let plain = tun_tap::Iface::without_packet_info(device, mode).map_err(|e| match e.raw_os_error() {
        Some(libc::EINVAL) if exists => {
            match open_node(device).map(|f| tun::attach(&f, device, options.mode, true)) {
                Ok(Ok(())) => PortError::MultiQueue(device.clone()),
                _ => options.other_mode(),
            }
        }
        _ => PortError::system(device, "open it", e),
    })?;
    let set = |file: File| tun::set_offload(&file, 0).map(|()| file);
    // A persistent device keeps the offloads that its last user set, and we could not tell.
    plain
        .set_non_blocking()
        .and_then(|()| set(tun::into_file(plain)))
        .map_err(|e| PortError::system(device, "set it up as a plain device", e))
}

pub(super) fn open_node(device: &str) -> Result<File, PortError> {
    tun::open().map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => PortError::NoTunDriver(device.into()),
        _ => PortError::system(device, "open /dev/net/tun", e),
    })
}

/// Gives the kernel end its settings, up being the last, and says what it is then. What is so already is not set, since
/// a user who was given the device may not set anything.
fn configure(options: &TapOptions, existed: bool, links: &mut Links) -> Result<Link, LinkError> {
    let link = links.must_find(&options.device)?;
    if !existed && options.offload {
        links.set_no_queue(link.index)?;
    }
    if !existed && !options.persist {
        links.set_group(link.index, *OWN_GROUP)?;
    }
    if let Some(mac) = options.mac.filter(|&mac| link.mac != Some(mac)) {
        links.set_mac(link.index, mac)?;
    }
    if let Some(mtu) = options.mtu.filter(|&mtu| link.mtu != mtu) {
        links.set_mtu(link.index, mtu)?;
    }
    for &(address, prefix) in &options.addresses {
        links.add_address(link.index, address, prefix)?;
    }
    if !link.up {
        links.set_up(link.index)?;
    }
    links.must_find(&options.device)
}

/// Says who else may open the device, and whether it stays.
fn grant(options: &TapOptions, queue: &File) -> io::Result<()> {
    options.owner.map_or(Ok(()), |uid| tun::set_owner(queue, uid))?;
    options.group.map_or(Ok(()), |gid| tun::set_group(queue, gid))?;
    if options.persist { tun::set_persist(queue) } else { Ok(()) }
}

/// One queue of a device.
struct Queue {
    file: Arc<File>,
    /// This worker reads from it; otherwise it only sends.
    receives: bool,
    /// Bytes of virtio_net_hdr before each frame; 0 on a plain device.
    header: usize,
    /// What its frames begin with.
    layer: Layer,
    /// Bytes that a frame must have to be written: a shorter one would be read past its end in the kernel.
    shortest: usize,
}

impl Queue {
    /// Takes in what one read put into the receive area of `frame`.
    #[inline]
    fn accept(&self, frame: &mut Frame, read: usize) -> Result<(), DropReason> {
        let len = read.checked_sub(self.header).filter(|&len| len > 0).ok_or(DropReason::Runt)?;
        let offload = match self.header {
            0 => Offload::NONE,
            header => Offload::from_header(&virtio_net::Header::parse(frame.receive_area(header))),
        };
        frame.received(len, offload)?;
        frame.layer = self.layer;
        Ok(())
    }

    /// Writes one frame, in one system call.
    #[inline]
    fn write(&self, frame: &mut Frame) -> io::Result<usize> {
        if self.header == 0 {
            return (&*self.file).write(frame.bytes());
        }
        let header = frame.offload.to_header().emit();
        (&*self.file).write(frame.with_prefix(&header))
    }
}

impl Port for Queue {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        if !self.receives {
            return Rx::Drained;
        }
        let spare = batch.spare();
        let (mut taken, mut bytes) = (0, 0);
        let mut end = Rx::More;
        for _ in 0..spare.len() {
            if bytes >= MAX_BATCH_BYTES {
                break;
            }
            let frame = &mut spare[taken];
            match (&*self.file).read(frame.receive_area(self.header)) {
                Ok(read) => match self.accept(frame, read) {
                    Ok(()) => {
                        taken += 1;
                        bytes += frame.len();
                    }
                    Err(reason) => counters.discard(reason, read.saturating_sub(self.header)),
                },
                Err(error) => match error.raw_os_error() {
                    // The kernel found no virtio_net_hdr for the frame and dropped it; others are behind it.
                    Some(libc::EINVAL) => counters.discard(DropReason::BadOffload, 0),
                    Some(libc::EBADFD) => {
                        end = Rx::Gone;
                        break;
                    }
                    // EAGAIN; or EIO and the like on a device in trouble, which comes back with its next frame.
                    _ => {
                        end = Rx::Drained;
                        break;
                    }
                },
            }
        }
        batch.commit(taken);
        end
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        let all = batch.frames_mut();
        for (at, &index) in frames.iter().enumerate() {
            let frame = &mut all[index as usize];
            if frame.len() < self.shortest {
                counters.drop(DropReason::Runt);
                continue;
            }
            let Err(error) = self.write(frame) else {
                counters.sent(frame.len());
                continue;
            };
            let all_the_rest = match error.raw_os_error() {
                Some(libc::EAGAIN) => DropReason::QueueFull,
                Some(libc::EIO) => DropReason::PortDown,
                Some(libc::EBADFD) => DropReason::PortMissing,
                _ => {
                    counters.drop(DropReason::Refused);
                    continue;
                }
            };
            frames[at..].iter().for_each(|_| counters.drop(all_the_rest));
            return;
        }
    }

    fn fd(&self) -> Option<RawFd> {
        self.receives.then(|| self.file.as_raw_fd())
    }
}
