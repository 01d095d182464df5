//! What a front-end has said of its card, and what follows for the rings.
//!
//! A ring runs when all is known of it (its size, its place, that it is to start) and as long as it is not stopped; while
//! it runs, all of that may change. So whatever a message changes, the ring is made anew from what is known then, where the
//! last one stopped ([`Backend::refit`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use socket2::SockRef;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error, GpuBackend, Result, VhostUserBackendReqHandlerMut, VhostUserProtocolFeatures,
};

use super::card::{Card, Lent, MAX_PAIRS, Mode, Running};
use super::features::{self, Terms};
use super::ring::{Base, Layout, Ring};
use crate::packet::Memory;
use crate::port::guest::{Attached, Guest};
use crate::sys::guest_memory::{GuestMemory, Region};

/// Regions that a front-end may add one by one; QEMU has a few, and some for what is plugged in.
const MEMORY_SLOTS: u64 = 64;

/// The device, from one connection to its end.
pub(super) struct Backend {
    card: Arc<Card>,
    guest: Arc<Guest>,
    offered: u64,
    /// What was taken of it, when that has been said.
    taken: Option<u64>,
    protocol: u64,
    memory: Arc<GuestMemory>,
    rings: Vec<Vring>,
}

/// What is known of a ring.
#[derive(Default)]
struct Vring {
    size: u16,
    place: Option<Place>,
    base: Option<u32>,
    kick: Kick,
    call: Option<Arc<File>>,
    /// What was last said of it.
    enabled: Option<bool>,
    /// Frames have passed, or could have, since it was started.
    was_on: bool,
}

/// Where the parts of a ring are, as the front-end itself sees them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    descriptors: u64,
    driver: u64,
    device: u64,
}

/// Whether a ring is started, and how we hear of what is in it.
#[derive(Default)]
enum Kick {
    #[default]
    Stopped,
    By(File),
    /// We have to look.
    Never,
}

impl Backend {
    pub(super) fn new(card: Arc<Card>, guest: Arc<Guest>, offered: u64) -> Backend {
        let rings = (0..2 * MAX_PAIRS).map(|_| Vring::default()).collect();
        let memory = Arc::default();
        Backend { card, guest, offered, taken: None, protocol: 0, memory, rings }
    }

    /// Whether the front-end was told that it gets answers where it asks for them.
    pub(super) fn answers(&self) -> bool {
        self.protocol & VhostUserProtocolFeatures::REPLY_ACK.bits() != 0
    }

    /// Whether rings are on without being switched on.
    pub(super) fn rings_start_on(&self) -> bool {
        !self.terms().starts_disabled()
    }

    /// Takes note of the MTU that the front-end has the guest use. The answer is always that it is fine: to refuse would
    /// leave the guest without a network, and what is too long for the port is counted there.
    pub(super) fn set_mtu(&self, body: &[u8]) -> u64 {
        let mtu = body.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        if let Some(mtu) = mtu.filter(|&mtu| mtu > u64::from(self.guest.mtu)) {
            let own = self.guest.mtu;
            self.guest.complain(format_args!(
                "the guest's MTU is {mtu} and the port's {own}: set mtu = {mtu} on the port, or \
                 host_mtu={own} on the guest's device"
            ));
        }
        0
    }

    /// Takes note of a ring that is switched on or off before it has been agreed that rings can be. Gives what is answered.
    pub(super) fn enable_early(&mut self, body: &[u8]) -> u64 {
        let number = |at: usize| body.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let said = number(0).zip(number(4)).filter(|&(_, on)| on < 2);
        let heeded = said.is_some_and(|(index, on)| self.set_vring_enable(index, on == 1).is_ok());
        u64::from(!heeded)
    }

    /// Stops all rings: the front-end is gone.
    pub(super) fn leave(&mut self) {
        self.reset();
        self.guest.set(None);
    }

    fn terms(&self) -> Terms {
        Terms::new(self.taken.unwrap_or(0))
    }

    fn vring(&mut self, index: u32) -> Result<&mut Vring> {
        self.rings.get_mut(index as usize).ok_or_else(|| refused("a ring that the card does not have"))
    }

    fn reset(&mut self) {
        for index in 0..self.rings.len() {
            self.stop(index);
            self.rings[index] = Vring::default();
        }
    }

    /// Has a ring stand still, and takes note of where.
    fn stop(&mut self, index: usize) {
        let ring = &mut self.rings[index];
        if let Kick::By(kick) = std::mem::take(&mut ring.kick)
            && brings(index)
        {
            self.card.unwatch(index, kick.as_raw_fd());
        }
        ring.was_on = false;
        if self.card.runs(index).is_some()
            && let Some(running) = self.card.change(index, Option::take)
        {
            ring.base = Some(running.ring.base().bits());
        }
    }

    /// Makes a ring what is known of it now, if it is started.
    fn refit(&mut self, index: usize) -> Result<()> {
        let terms = self.terms();
        let (memory, ring) = (&self.memory, &mut self.rings[index]);
        if let Kick::Stopped = ring.kick {
            return Ok(());
        }
        let on = ring.enabled.unwrap_or(!terms.starts_disabled());
        ring.was_on |= on;
        let mode = match (on, ring.was_on) {
            (true, _) => Mode::On,
            (false, false) => Mode::Waiting,
            (false, true) => Mode::Off,
        };
        let place =
            ring.place.ok_or_else(|| refused("a ring to start, of which nobody has said where it is"))?;
        // How long its parts are, the ring checks.
        let at = |user| {
            memory.guest_of_user(user, 1).ok_or_else(|| refused("a ring outside of the guest's memory"))
        };
        let layout = Layout {
            size: ring.size,
            descriptors: at(place.descriptors)?,
            driver: at(place.driver)?,
            device: at(place.device)?,
            packed: terms.packed(),
            event_idx: terms.event_idx(),
            indirect: terms.indirect(),
        };
        let start = ring.base.map_or(Base::start(terms.packed()), Base::from_bits);
        let lent: Arc<dyn Memory> = Arc::new(Lent(Arc::clone(memory)));
        // The old one is dropped, and its memory unmapped, when the workers can go on.
        let (_old, made) = self.card.change(index, |slot| {
            let old = slot.take();
            let base = old.as_ref().map_or(start, |old| old.ring.base());
            let mut made = Ring::new(Arc::clone(memory), &layout, base);
            if let Ok(made) = &mut made {
                // The workers look when they have something to send, and until they go to sleep.
                made.suppress();
            }
            let made = made.map(|made| {
                *slot = Some(Running {
                    ring: made,
                    terms,
                    mode,
                    call: ring.call.clone(),
                    kickless: matches!(ring.kick, Kick::Never),
                    armed: false,
                    lent,
                    held: Vec::new(),
                });
            });
            (old, made)
        });
        made.map_err(|fault| refused(&fault.to_string()))
    }

    fn refit_all(&mut self) -> Result<()> {
        (0..self.rings.len()).try_for_each(|index| self.refit(index))
    }

    /// Says who is there now.
    fn announce(&self) {
        let on = |index| self.card.runs(index) == Some(Mode::On);
        let pairs = (0..MAX_PAIRS).take_while(|pair| on(2 * pair) && on(2 * pair + 1)).count();
        let attached = Attached { capabilities: self.terms().capabilities(), queues: pairs };
        self.guest.set((pairs > 0).then_some(attached));
    }

    fn set_memory(&mut self, memory: GuestMemory) -> Result<()> {
        self.memory = Arc::new(memory);
        self.refit_all()?;
        self.announce();
        Ok(())
    }
}

/// Whether frames of the guest come by this ring; otherwise, they go to it.
fn brings(index: usize) -> bool {
    index % 2 == 1
}

/// An answer that ends the conversation, with the reason for the log.
fn refused(what: &str) -> Error {
    Error::ReqHandlerError(io::Error::other(format!("its front-end gave {what}")))
}

fn refused_by(what: &str, error: &io::Error) -> Error {
    refused(&format!("{what}: {error}"))
}

/// For what is not offered.
fn not_offered<T>() -> Result<T> {
    Err(Error::InvalidOperation("it was not offered"))
}

fn region(described: &VhostUserMemoryRegion, file: File) -> Region {
    Region {
        guest: described.guest_phys_addr,
        user: described.user_addr,
        len: described.memory_size,
        offset: described.mmap_offset,
        file,
    }
}

/// An event counter to call or to kick by. With anything else, the worker could have to wait for who stands behind it: a
/// pipe's reader, or the program that serves a file and is asked whether that is readable.
fn event_counter(file: File) -> Result<File> {
    let failed = |error: io::Error| refused_by("an event counter that is none", &error);
    let kind = file.metadata().map_err(failed)?.mode() & libc::S_IFMT;
    // What is made by eventfd(2) and its like is none of all that has a name.
    if kind != 0 {
        return Err(refused("an event counter that is none"));
    }
    SockRef::from(&file).set_nonblocking(true).map_err(failed)?;
    // Of these, only an event counter takes a zero, and is as it was: an epoll, which could lead anywhere, does not.
    (&file).write_all(&0u64.to_ne_bytes()).map_err(failed)?;
    Ok(file)
}

impl VhostUserBackendReqHandlerMut for Backend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.reset();
        self.taken = None;
        self.announce();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.offered != 0 {
            let unknown = features & !self.offered;
            return Err(refused(&format!("features that were not offered: {unknown:#x}")));
        }
        // It says so for each pair of queues.
        if self.taken != Some(features) {
            self.taken = Some(features);
            self.refit_all()?;
            self.announce();
        }
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(features::PROTOCOL)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        let unknown = features & !features::PROTOCOL.bits();
        if unknown != 0 {
            return Err(refused(&format!("protocol features that were not offered: {unknown:#x}")));
        }
        self.protocol = features;
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(MAX_PAIRS as u64)
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let regions = regions.iter().zip(files).map(|(described, file)| region(described, file)).collect();
        let memory = GuestMemory::map(regions).map_err(|error| refused_by("memory of no use", &error))?;
        self.set_memory(memory).map(|()| None)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MEMORY_SLOTS)
    }

    fn add_mem_region(
        &mut self,
        described: &VhostUserSingleMemoryRegion,
        file: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        // QEMU before 8.0 says so once for each pair of queues; the last time counts.
        let (guest, user, len) = (described.guest_phys_addr, described.user_addr, described.memory_size);
        let others = self.memory.without(guest, user, len);
        let others = others.as_ref().unwrap_or(&self.memory);
        if others.regions() as u64 >= MEMORY_SLOTS {
            return Err(refused("more regions of memory than fit"));
        }
        let memory = others.with(region(described, file));
        self.set_memory(memory.map_err(|error| refused_by("memory of no use", &error))?).map(|()| None)
    }

    fn remove_mem_region(&mut self, described: &VhostUserSingleMemoryRegion) -> Result<()> {
        let (guest, user, len) = (described.guest_phys_addr, described.user_addr, described.memory_size);
        match self.memory.without(guest, user, len) {
            Some(memory) => self.set_memory(memory),
            // As above.
            None => Ok(()),
        }
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        // What is no size at all is said when the ring starts.
        self.vring(index)?.size = u16::try_from(num).unwrap_or(0);
        self.refit(index as usize)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _: VhostUserVringAddrFlags,
        descriptors: u64,
        device: u64,
        driver: u64,
        _: u64,
    ) -> Result<()> {
        self.vring(index)?.place = Some(Place { descriptors, driver, device });
        self.refit(index as usize)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.vring(index)?.base = Some(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let start = Base::start(self.terms().packed()).bits();
        self.vring(index)?;
        self.stop(index as usize);
        self.announce();
        let ring = self.vring(index)?;
        ring.call = None;
        Ok(VhostUserVringState::new(index, ring.base.unwrap_or(start)))
    }

    fn set_vring_kick(&mut self, index: u8, kick: Option<File>) -> Result<()> {
        let at = usize::from(index);
        self.vring(index.into())?;
        let kick = kick.map(event_counter).transpose()?.map_or(Kick::Never, Kick::By);
        if let Kick::By(kick) = &kick
            && brings(at)
        {
            let failed = |error| refused_by("a descriptor to kick by that is of no use", &error);
            self.card.watch(at, kick).map_err(failed)?;
        }
        if let Kick::By(old) = std::mem::replace(&mut self.rings[at].kick, kick)
            && brings(at)
        {
            self.card.unwatch(at, old.as_raw_fd());
        }
        self.refit(at)?;
        self.announce();
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, call: Option<File>) -> Result<()> {
        self.vring(index.into())?.call = call.map(event_counter).transpose()?.map(Arc::new);
        self.refit(index.into())
    }

    fn set_vring_err(&mut self, index: u8, _: Option<File>) -> Result<()> {
        // Whose ring is in error is disconnected, which says more.
        self.vring(index.into()).map(drop)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.vring(index)?.enabled = Some(enable);
        self.refit(index as usize)?;
        self.announce();
        Ok(())
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        not_offered()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        not_offered()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        not_offered()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        not_offered()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        not_offered()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        not_offered()
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        not_offered()
    }

    fn check_device_state(&mut self) -> Result<()> {
        not_offered()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        not_offered()
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        not_offered()
    }
}
