//! A TAP that the switch makes for a guest to open: the switch has the interface, QEMU the descriptor.
//!
//! The device is persistent, so that nobody has to hold it open: it is there before the guest comes and after it has
//! gone. What says that the switch has made it is written on it, as its alias; so a switch that starts again after a
//! crash knows its own.

use std::fs::File;
use std::io;

use super::super::PortError;
use super::super::link::{Link, LinkError, Links, TunLink};
use super::super::tap::open_node;
use crate::sys;
use crate::sys::tun::{self, Mode};

/// What is written on a device that a switch has made.
const ALIAS: &str = "made by tapyard for a guest";

/// What a TAP for a guest is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestTap {
    /// The user who may open it; without one and without a group, the switch's own.
    pub owner: Option<u32>,
    /// The group that may open it.
    pub group: Option<u32>,
    /// How often it can be opened at once (QEMU's `queues=N`).
    pub queues: Option<usize>,
    /// Whether it stays when the port goes.
    pub persist: bool,
    /// Its MTU, in bytes without the Ethernet header.
    pub mtu: Option<u32>,
}

impl GuestTap {
    /// Has the device be there, and says whether a switch has made it. One that is there and fits is taken as it is.
    ///
    /// # Errors
    /// See [`PortError`]. A device that was made is gone again.
    pub(super) fn provide(&self, device: &str, links: &mut Links) -> Result<bool, PortError> {
        let refused = |error| PortError::setting(device, error);
        let Some(link) = links.find(device).map_err(refused)? else {
            return self.make(device, links).map(|()| true);
        };
        let ours = link.alias.as_deref() == Some(ALIAS);
        self.check(device, &link)?;
        self.grant_anew(device, &link, ours)?;
        if let Some(mtu) = self.mtu.filter(|&mtu| link.mtu != mtu) {
            links.set_mtu(link.index, mtu).map_err(refused)?;
        }
        Ok(ours)
    }

    fn is_multi_queue(&self) -> bool {
        self.queues.is_some_and(|queues| queues > 1)
    }

    /// Who may open it: never just anybody, which is what a device without owner and group says.
    fn grantees(&self) -> (Option<u32>, Option<u32>) {
        match (self.owner, self.group) {
            (None, None) => (Some(sys::effective_user()), None),
            both => both,
        }
    }

    fn make(&self, device: &str, links: &mut Links) -> Result<(), PortError> {
        // Until it is persistent, the device goes with this descriptor, whatever fails.
        let queue = open_node(device)?;
        tun::attach(&queue, device, Mode::Tap, self.is_multi_queue())
            .map_err(|e| PortError::system(device, "make it", e))?;
        let failed = |e| PortError::system(device, "set owner, group or persist", e);
        // First of all: until it has an owner or a group, anybody may open further queues of it.
        self.grant(&queue).map_err(failed)?;
        self.configure(device, links).map_err(|e| PortError::setting(device, e))?;
        tun::set_persist(&queue).map_err(failed)
    }

    fn configure(&self, device: &str, links: &mut Links) -> Result<(), LinkError> {
        let link = links.must_find(device)?;
        links.set_no_queue(link.index)?;
        links.set_alias(link.index, ALIAS)?;
        self.mtu.map_or(Ok(()), |mtu| links.set_mtu(link.index, mtu))
    }

    fn grant(&self, queue: &File) -> io::Result<()> {
        let (owner, group) = self.grantees();
        owner.map_or(Ok(()), |uid| tun::set_owner(queue, uid))?;
        group.map_or(Ok(()), |gid| tun::set_group(queue, gid))
    }

    /// Whether the device that is there can be opened as the guest will.
    fn check(&self, device: &str, link: &Link) -> Result<(), PortError> {
        let other = |kind: &str| PortError::OtherKind(device.into(), Mode::Tap.name(), kind.into());
        let Some(tun) = link.tun else {
            return Err(other(link.kind.as_deref().unwrap_or("hardware interface")));
        };
        if !tun.is_tap {
            return Err(other(Mode::Tun.name()));
        }
        let name = |multi_queue| if multi_queue { "multi-queue" } else { "single-queue" };
        if tun.multi_queue != self.is_multi_queue() {
            let (has, wants) = (name(tun.multi_queue), name(self.is_multi_queue()));
            return Err(PortError::OtherShape(device.into(), has, wants));
        }
        Ok(())
    }

    /// Gives a device that is there to whom it is to belong now, where that can be done without disturbing anybody.
    fn grant_anew(&self, device: &str, link: &Link, ours: bool) -> Result<(), PortError> {
        let (owner, group) = self.grantees();
        let is = link.tun.unwrap_or_default();
        if (is.owner, is.group) == (owner, group) {
            return Ok(());
        }
        let asked = self.owner.is_some() || self.group.is_some();
        // What once had an owner or a group cannot be without one again.
        let regranted = ours
            && match seize(device, is).map_err(|e| PortError::system(device, "open it", e))? {
                None => false,
                Some(queue) => {
                    self.grant(&queue).map_err(|e| PortError::system(device, "set owner or group", e))?;
                    (is.owner.is_none() || owner.is_some()) && (is.group.is_none() || group.is_some())
                }
            };
        if asked && !regranted {
            tracing::warn!(
                device,
                "exists with another owner or group and stays as it is: stop the guest that holds it and \
                 delete it (ip link del {device}) to have it made anew"
            );
        }
        Ok(())
    }
}

/// Whether a guest has the device open now.
pub(super) fn is_held(device: &str, link: &Link) -> bool {
    link.tun.is_some_and(|tun| !matches!(seize(device, tun), Ok(Some(_))))
}

/// Opens a device that nobody else has open; `None` when somebody has.
fn seize(device: &str, tun: TunLink) -> io::Result<Option<File>> {
    if tun.queues > 0 {
        return Ok(None);
    }
    let queue = tun::open()?;
    match tun::attach(&queue, device, Mode::Tap, tun.multi_queue) {
        Ok(()) => Ok(Some(queue)),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
        Err(error) => Err(error),
    }
}
