//! From a port's configuration to its open device.

use std::collections::BTreeSet;

use super::config::{Config, DeviceConfig, PortKind};
use crate::packet::Capabilities;
use crate::port::link::Links;
use crate::port::netdev::{self, NetdevOptions};
use crate::port::tap::{self, Mode, TapOptions};
use crate::port::{Opened, PortError};
use crate::sys::netns::Netns;

/// Opens what a port is made of, with a queue for each of `workers`.
pub(super) fn open(kind: &PortKind, workers: usize) -> Result<Opened, PortError> {
    match kind {
        PortKind::Tap(device) => tap::open(&tap_options(device, Mode::Tap), workers),
        PortKind::Tun(device) => tap::open(&tap_options(device, Mode::Tun), workers),
        PortKind::Netdev { device, netns } => {
            let netns = netns.clone().map(Netns::new);
            netdev::open(&NetdevOptions { device: device.clone(), netns }, workers)
        }
        // A patch is in memory: what leaves by it comes in by its peer.
        PortKind::Patch { .. } => Ok(Opened {
            queues: Vec::new(),
            capabilities: Capabilities::ALL,
            link: None,
            look: Box::new(|| None),
        }),
    }
}

fn tap_options(config: &DeviceConfig, mode: Mode) -> TapOptions {
    TapOptions {
        mode,
        device: config.device.clone(),
        netns: config.netns.clone().map(Netns::new),
        mtu: config.mtu,
        mac: config.mac,
        addresses: config.address.clone(),
        owner: config.owner,
        group: config.group,
        persist: config.persist,
        queues: config.queues,
        offload: config.offload,
    }
}

/// Removes the devices that were made for the ports of a configuration, all those of a namespace at once. What cannot be
/// removed so goes when it is closed.
pub(super) fn remove_all(config: &Config) {
    let namespaces: BTreeSet<_> = config
        .ports
        .values()
        .filter_map(|port| match &port.kind {
            PortKind::Tap(device) | PortKind::Tun(device) => Some(device.netns.clone()),
            _ => None,
        })
        .collect();
    for netns in namespaces {
        if let Err(error) = tap::remove_all(netns.map(Netns::new).as_ref()) {
            tracing::debug!("{error}");
        }
    }
}

/// Whether the device of a port exists now. A device that cannot be asked for does not.
pub(super) fn exists(kind: &PortKind) -> bool {
    let Some((device, netns)) = kind.device() else { return false };
    let find = || Links::open().and_then(|mut links| links.find(device)).is_ok_and(|link| link.is_some());
    match netns {
        None => find(),
        Some(netns) => Netns::new(netns).run(find).unwrap_or(false),
    }
}
