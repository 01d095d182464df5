//! From a port's configuration to its open device.

use std::collections::BTreeSet;

use super::config::{Config, DeviceConfig, NetdevConfig, PortKind, SocketConfig, UnderlayConfig};
use crate::packet::Capabilities;
use crate::port::guest::{DoorOptions, GuestOptions, News};
use crate::port::link::Links;
use crate::port::netdev::{self, NetdevOptions};
use crate::port::tap::{self, Mode, TapOptions};
use crate::port::underlay::{self, Transport, UnderlayOptions};
use crate::port::{Opened, PortError, dgram, stream, vhost};
use crate::sys::netns::Netns;
use crate::sys::steering::Wrapping;

/// Opens what the port `name` is made of, with a queue for each of `workers`; `news` is for guests that come and go.
pub(super) fn open(name: &str, kind: &PortKind, workers: usize, news: News) -> Result<Opened, PortError> {
    match kind {
        PortKind::Tap(device) => tap::open(&tap_options(device, Mode::Tap), workers),
        PortKind::Tun(device) => tap::open(&tap_options(device, Mode::Tun), workers),
        PortKind::Netdev(config) => netdev::open(&netdev_options(config), workers),
        PortKind::Stream(socket) => stream::open(&guest_options(name, socket), workers, news),
        PortKind::Dgram { socket, peer } => {
            dgram::open(&guest_options(name, socket), peer.as_deref(), workers, news)
        }
        PortKind::VhostUser { socket, offload } => {
            vhost::open(&guest_options(name, socket), *offload, workers, news)
        }
        PortKind::Underlay(config) => underlay::open(&underlay_options(config), workers),
        // A patch is in memory: what leaves by it comes in by its peer.
        PortKind::Patch { .. } => Ok(nothing(Capabilities::ALL)),
        // What leaves by a tunnel is finished first, and then leaves by its underlay.
        PortKind::Tunnel(_) => Ok(nothing(Capabilities::NONE)),
    }
}

/// A port that nothing has to be opened for.
fn nothing(capabilities: Capabilities) -> Opened {
    Opened { queues: Vec::new(), capabilities, link: None, guest: None, look: Box::new(|| None), made: None }
}

/// What opening a port gives that may wait for its device.
pub(super) struct Found {
    pub(super) opened: Opened,
    /// Why nothing is open yet.
    pub(super) waits: Option<PortError>,
}

/// Opens as [`open`] does; an interface that somebody else makes may be there later.
pub(super) fn open_or_wait(
    name: &str,
    kind: &PortKind,
    workers: usize,
    news: News,
) -> Result<Found, PortError> {
    match (open(name, kind, workers, news), kind) {
        (Err(error), PortKind::Netdev(netdev)) if netdev.create.is_none() && error.is_absence() => {
            Ok(Found { opened: nothing(Capabilities::NONE), waits: Some(error) })
        }
        (opened, _) => Ok(Found { opened: opened?, waits: None }),
    }
}

/// Whether the switch makes the device of a port, so that it can be made again.
pub(super) fn makes(kind: &PortKind) -> bool {
    match kind {
        PortKind::Tap(_) | PortKind::Tun(_) => true,
        PortKind::Netdev(netdev) => netdev.create.is_some(),
        _ => false,
    }
}

/// The namespace in which a port takes an interface, if it does.
pub(super) fn taken_in(kind: &PortKind) -> Option<Option<Netns>> {
    match kind {
        PortKind::Netdev(netdev) => Some(netdev.netns.clone().map(Netns::new)),
        _ => None,
    }
}

fn netdev_options(config: &NetdevConfig) -> NetdevOptions {
    NetdevOptions {
        device: config.device.clone(),
        netns: config.netns.clone().map(Netns::new),
        quiet: config.quiet,
        create: config.create.clone(),
    }
}

/// The protocol number of GRE (IANA).
const GRE: u8 = 47;

fn underlay_options(config: &UnderlayConfig) -> UnderlayOptions {
    UnderlayOptions {
        transport: config.port.map_or(Transport::Ip { protocol: GRE }, |port| Transport::Udp { port }),
        local: config.local,
        netns: config.netns.clone().map(Netns::new),
        zero_checksum: config.zero_checksum,
        interface_of: config.interface_of,
        wrapping: match config.protocol {
            "vxlan" => Some(Wrapping::Vxlan),
            "geneve" => Some(Wrapping::Geneve),
            "gre" => Some(Wrapping::Gre),
            _ => None,
        },
    }
}

/// The MTU of a guest's Ethernet where none is configured, which is what its own driver assumes.
const GUEST_MTU: u32 = 1500;

fn guest_options(name: &str, socket: &SocketConfig) -> GuestOptions {
    let SocketConfig { listen, path, owner, group, mtu } = socket.clone();
    GuestOptions {
        name: name.to_owned(),
        door: DoorOptions { listen, path, owner, group },
        mtu: mtu.unwrap_or(GUEST_MTU),
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
            tracing::debug!(%error, "devices of ports are left behind");
        }
    }
}

/// Whether the device of a port exists now. A device that cannot be asked for does not. For a socket, an underlay's or
/// one that guests attach by, all there is to ask is to open it.
pub(super) fn exists(kind: &PortKind) -> bool {
    if matches!(kind, PortKind::Underlay(_)) || kind.socket().is_some() {
        return true;
    }
    let Some((device, netns)) = kind.device() else { return false };
    let find = || Links::open().and_then(|mut links| links.find(device)).is_ok_and(|link| link.is_some());
    match netns {
        None => find(),
        Some(netns) => Netns::new(netns).run(find).unwrap_or(false),
    }
}
