//! Underlays: the sockets that carry tunnels' datagrams to peers and from them.

use std::io;
use std::net::{IpAddr, UdpSocket};

use super::{Opened, PortError};
use crate::packet::Capabilities;
use crate::sys::netns::Netns;

/// What an underlay is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayOptions {
    /// What it runs over.
    pub transport: Transport,
    /// Its own address, or the multicast group that it hears.
    pub local: IpAddr,
    /// The network namespace of its sockets; `None`: that of the process.
    pub netns: Option<Netns>,
    /// Some of what it sends carries no UDP checksum.
    pub zero_checksum: bool,
    /// Of a multicast group: an address of the interface on which it is joined; `None`: the kernel's choice.
    pub interface_of: Option<IpAddr>,
}

/// What an underlay runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP, received at this port.
    Udp {
        /// The port.
        port: u16,
    },
    /// IP itself.
    Ip {
        /// The protocol number.
        protocol: u8,
    },
}

/// Opens an underlay.
///
/// # Errors
/// Its sockets cannot be had.
pub fn open(options: &UnderlayOptions, _workers: usize) -> Result<Opened, PortError> {
    if let Transport::Udp { port } = options.transport {
        let bind = || UdpSocket::bind((options.local, port));
        let bound = match &options.netns {
            None => bind(),
            Some(netns) => netns.run(bind).unwrap_or_else(Err),
        };
        bound.map_err(|error| {
            PortError::system(&format!("{}:{port}", options.local), "bind a socket", error)
        })?;
    }
    Ok(Opened { queues: Vec::new(), capabilities: Capabilities::NONE, link: None, look: Box::new(|| None) })
}

/// The longest packet, IP header included, that the kernel believes to get from `local` to `to` whole.
///
/// # Errors
/// No way leads there.
pub fn path_mtu(_netns: Option<&Netns>, _local: IpAddr, _to: IpAddr) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}
