//! Tunnels: how a frame is wrapped for a peer and unwrapped again. Encapsulation only: no socket, no peer, no clock.
//!
//! Each type of tunnel is one file with a [`Protocol`], which tells a datagram's header, and a [`Tunnel`], which writes
//! one. A new type is such a file, beside a line in [`PROTOCOLS`]; the conformance suite takes it from there.

pub mod geneve;
pub mod gre;
pub mod vxlan;

use std::fmt;

use crate::packet::{DropReason, Frame, Layer};
use crate::wire::{ipv4, ipv6};

/// Every type of tunnel there is.
pub const PROTOCOLS: [&Protocol; 3] = [&vxlan::PROTOCOL, &geneve::PROTOCOL, &gre::PROTOCOL];

/// EtherType of the first local experiment (IEEE 802, table 9-1): in a tunnel, an echo between two switches.
pub const ECHO: u16 = 0x88b5;
/// EtherType of bridged Ethernet (IANA; RFC 1701).
pub const ETHERNET: u16 = 0x6558;

/// Which of several tunnels over one socket: a VNI, a GRE key, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(u64);

impl TunnelId {
    /// A tunnel whose packets carry no number.
    pub const NONE: TunnelId = TunnelId(1 << 32);

    /// The tunnel with this VNI or key.
    pub const fn new(number: u32) -> TunnelId {
        TunnelId(number as u64)
    }

    /// The number, if it has one.
    pub const fn number(self) -> Option<u32> {
        if self.0 == TunnelId::NONE.0 { None } else { Some(self.0 as u32) }
    }
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A frame or packet of this layer.
    Frame(Layer),
    /// An echo between two switches, without an Ethernet header; see [`ECHO`].
    Echo,
}

impl Payload {
    /// What an EtherType in a tunnel header announces, when it is something that a switch takes.
    pub fn of_ether_type(ether_type: u16) -> Option<Payload> {
        match ether_type {
            ETHERNET => Some(Payload::Frame(Layer::Ethernet)),
            ipv4::ETHER_TYPE | ipv6::ETHER_TYPE => Some(Payload::Frame(Layer::Ip)),
            ECHO => Some(Payload::Echo),
            _ => None,
        }
    }

    /// The EtherType that announces `bytes`, which are this. What is no IP packet goes as IPv4: its receiver finds out.
    fn ether_type(self, bytes: &[u8]) -> u16 {
        match self {
            Payload::Frame(Layer::Ethernet) => ETHERNET,
            Payload::Frame(Layer::Ip) => Layer::Ip.network(bytes).map_or(ipv4::ETHER_TYPE, |(kind, _)| kind),
            Payload::Echo => ECHO,
        }
    }
}

/// What the tunnel header of a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which tunnel.
    pub id: TunnelId,
    /// Bytes of the header; what it carries is behind.
    pub len: usize,
    /// What it carries.
    pub payload: Payload,
    /// Reserved bits were set, which a strict receiver minds.
    pub reserved: bool,
    /// Its options, as they came (GENEVE, RFC 8926 section 3.5).
    pub options: &'a [u8],
}

/// A type of tunnel: how its datagrams are told and read.
pub struct Protocol {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Its UDP port, unless it is configured otherwise (IANA).
    pub port: u16,
    /// Reads the header of a datagram, whatever its bytes are. They are one datagram and all of it: a checksum may cover
    /// them.
    pub parse: fn(&[u8]) -> Result<Header<'_>, DropReason>,
    /// Tunnels of this type in every form that makes a difference on the wire, for the conformance suite.
    pub samples: fn() -> Vec<Box<dyn Tunnel>>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One tunnel: what stands in the header of its packets. The same for all its peers.
pub trait Tunnel: Send + Sync + fmt::Debug {
    /// Its type.
    fn protocol(&self) -> &'static Protocol;

    /// Its number.
    fn id(&self) -> TunnelId;

    /// Bytes that its header takes before a frame, at most [`HEADER_MAX`]. Before an echo it may take more, within the
    /// same bound.
    fn header_len(&self) -> usize;

    /// The same for an echo: longer where a tunnel must put more before one to have it known for what it is.
    fn echo_header_len(&self) -> usize {
        self.header_len()
    }

    /// What it carries; the conformance suite asks, and configuration.
    fn carries(&self) -> Layer;

    /// Writes the header of a frame that is `payload` into the frame's headroom: its bytes are a datagram then. The frame
    /// has no unfinished checksum and is no superframe.
    ///
    /// # Panics
    /// When the headroom is too short; see [`Frame::push_header`].
    fn encap(&self, frame: &mut Frame, payload: Payload);

    /// Whether a packet with this header, which has our number, is one of ours in every other respect too.
    /// That it carries what we carry, or an echo, is all that most types ask.
    fn accept(&self, header: &Header<'_>) -> Result<(), DropReason> {
        match header.payload {
            Payload::Frame(layer) if layer != self.carries() => Err(DropReason::TunnelPayload),
            Payload::Frame(_) | Payload::Echo => Ok(()),
        }
    }
}

/// Longest header a tunnel may write: what of the headroom is left under a virtio_net_hdr and two VLAN tags.
pub const HEADER_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ether_type_announces_what_it_was_made_of() {
        for (payload, bytes, ether_type) in [
            (Payload::Frame(Layer::Ethernet), &[0x60][..], 0x6558),
            (Payload::Frame(Layer::Ip), &[0x45], 0x0800),
            (Payload::Frame(Layer::Ip), &[0x60], 0x86dd),
            (Payload::Frame(Layer::Ip), &[0x50], 0x0800),
            (Payload::Frame(Layer::Ip), &[], 0x0800),
            (Payload::Echo, &[0x60], 0x88b5),
        ] {
            assert_eq!(payload.ether_type(bytes), ether_type, "{payload:?} {bytes:?}");
            assert_eq!(Payload::of_ether_type(ether_type), Some(payload));
        }
        for other in [0, 0x0806, 0x6559, 0x880b, 0x8847] {
            assert_eq!(Payload::of_ether_type(other), None);
        }
    }

    #[test]
    fn no_number_is_the_number_of_none() {
        assert!([0, 1, u32::MAX].iter().all(|&number| TunnelId::new(number) != TunnelId::NONE));
    }
}
