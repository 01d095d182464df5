//! Why a port cannot be opened, in words for the person who configured it.

use std::io;
use std::net::IpAddr;

use super::link::LinkError;
use super::underlay::UnderlayOptions;
use crate::sys::netns::Netns;

/// Declares [`PortError`] so that what an error means is what it says, and both stand in one place.
macro_rules! port_errors {
    ($($message:literal $variant:ident($($field:ty),*),)*) => {
        /// Why a port cannot be opened. Each message is one line that names the device and the remedy.
        #[derive(Debug, thiserror::Error)]
        pub enum PortError {
            $(#[doc = $message] #[error($message)] $variant($($field),*),)*
        }
    };
}

port_errors! {
    "{0:?} is no name for a device: give 1 to 15 bytes, none of them a space, '/', ':' or '%'"
    BadName(String),
    "{0}: no network namespace \"{1}\": make it first (ip netns add {1})"
    UnknownNetns(String, Netns),
    "{0}: /dev/net/tun is missing: load the driver (modprobe tun), or give the container the device \
     (--device /dev/net/tun)"
    NoTunDriver(String),
    "{0}: not permitted: run as root, give the program the right (setcap cap_net_admin,cap_net_raw+ep PROGRAM), or \
     have root make the TAP for this user (ip tuntap add {0} mode tap user NAME)"
    NotPermitted(String),
    "{0}: another program holds this device: stop that program, or give the port a device of its own"
    Busy(String),
    "{0}: exists with a single queue, and queues = {1} was asked for: leave queues out, or make the device anew \
     (ip tuntap add {0} mode tap multi_queue)"
    SingleQueue(String, usize),
    "{0}: exists with several queues, which offload = false cannot use: leave offload out, or make the device anew \
     (ip tuntap add {0} mode tap)"
    MultiQueue(String),
    "{0}: a device with offload = false has one queue, and queues = {1} was asked for: leave one of the two out"
    PlainQueues(String, usize),
    "{0}: exists and is not a {1} but a {2}: give the port another device, or take this one by type = \"netdev\""
    OtherKind(String, &'static str, String),
    "{0}: no such interface: create it first, name another by device = \"...\", or have a TAP made \
     (create = true)"
    NoInterface(String),
    "{0}: exists as a {1} TAP, and queues asks for a {2} one: stop the guest that holds it and delete it \
     (ip link del {0}) to have it made anew, or change queues"
    OtherShape(String, &'static str, &'static str),
    "{0}: {1}: correct that setting of the port"
    Setting(String, LinkError),
    "{0}: another program, or the kernel's own tunnel, has this port: stop that, or give the tunnel another port or address"
    PortTaken(String),
    "{0}: no interface here has the address {1}: give it to one first (ip address add {1}/PREFIX dev DEVICE), or name \
     another by local = \"...\""
    NoAddress(String, IpAddr),
    "{0}: not permitted: run as root, or give the program the right \
     (setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep PROGRAM)"
    SocketNotPermitted(String),
    "{0}: cannot be made a socket to listen at: {1}: name another place, or make that one writable"
    Socket(String, io::Error),
    "{0}: something else is there: remove it, or name another place for the socket"
    SocketInTheWay(String),
    "{0}: another program listens at this socket: stop that, or name another place"
    SocketTaken(String),
    "{0}: cannot {1}: {2}: see the kernel's log (dmesg)"
    System(String, &'static str, io::Error),
}

impl PortError {
    /// Whether all that is wrong is that the device, or the namespace it is in, is not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, PortError::NoInterface(_) | PortError::UnknownNetns(..))
    }

    /// What a refused system call means, where nothing more is known about it.
    pub(super) fn system(device: &str, attempt: &'static str, error: io::Error) -> PortError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::NotPermitted(device.into()),
            Some(libc::EBUSY) => PortError::Busy(device.into()),
            _ => PortError::System(device.into(), attempt, error),
        }
    }

    /// What it means that the sockets of an underlay cannot be had.
    pub(super) fn underlay(options: &UnderlayOptions, error: io::Error) -> PortError {
        let name = options.to_string();
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => PortError::PortTaken(name),
            // Of a group it is the interface that could not be found.
            Some(libc::EADDRNOTAVAIL | libc::ENODEV) => {
                PortError::NoAddress(name, options.interface_of.unwrap_or(options.local))
            }
            Some(libc::EPERM | libc::EACCES) => PortError::SocketNotPermitted(name),
            _ => PortError::System(name, "open its sockets", error),
        }
    }

    /// What a refused setting means.
    pub(super) fn setting(device: &str, error: LinkError) -> PortError {
        match error.errno() {
            Some(libc::EPERM) => PortError::NotPermitted(device.into()),
            _ => PortError::Setting(device.into(), error),
        }
    }
}
