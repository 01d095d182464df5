//! What a sender left undone on a frame: an unfinished checksum, a superframe still to be cut. Carried beside the frame
//! as plain data, so that TAP to TAP nothing is computed and a 64 KiB superframe passes whole.

use super::{DropReason, HEADROOM};
use crate::wire::{ethernet, ipv4, ipv6, tcp, udp, virtio_net};

/// The farthest from the frame's start that a checksum may begin: however far the frame grows into its headroom, this
/// and the end of the longest L4 header stay 16-bit numbers.
const MAX_CSUM_START: usize = u16::MAX as usize - HEADROOM - tcp::MAX_HEADER_LEN;

/// The kind of a superframe. Its segments each carry `gso_size` bytes of payload, the last one what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gso {
    /// Not a superframe.
    #[default]
    None,
    /// TCP over IPv4 (TSO4).
    TcpV4,
    /// TCP over IPv6 (TSO6).
    TcpV6,
    /// UDP over IPv4 or IPv6 (USO).
    Udp,
    /// A gso_type that nobody here knows; [`Offload::check`] refuses it.
    Unknown,
}

/// The offload state of a frame: what its virtio_net_hdr said.
///
/// As a port reads it, it is a claim by a guest that nobody has checked. [`Offload::check`] is called once, by the
/// ingress stage; past it the offsets lie inside the frame, behind its VLAN tags, and `header_len` is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum at `csum_start + csum_offset` covers the frame from `csum_start` to its end and still holds the
    /// uncomplemented pseudo-header sum.
    pub needs_csum: bool,
    /// The kind of superframe, if it is one.
    pub gso: Gso,
    /// The sender uses ECN; CWR belongs on the first segment only.
    pub ecn: bool,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// Bytes from the frame's start to the end of its L4 header; exact past [`Offload::check`], 0 when no superframe.
    pub header_len: u16,
    /// Bytes from the frame's start to where the checksum begins.
    pub csum_start: u16,
    /// Bytes from `csum_start` to the checksum field.
    pub csum_offset: u16,
}

impl Offload {
    /// Nothing was left undone.
    pub const NONE: Offload = Offload {
        needs_csum: false,
        gso: Gso::None,
        ecn: false,
        gso_size: 0,
        header_len: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Reads what a virtio_net_hdr claims.
    #[inline]
    pub fn from_header(header: &virtio_net::Header) -> Offload {
        let mut offload = Offload::NONE;
        if header.flags & virtio_net::F_NEEDS_CSUM != 0 {
            offload.needs_csum = true;
            offload.csum_start = header.csum_start;
            offload.csum_offset = header.csum_offset;
        }
        match header.gso_type & !virtio_net::GSO_ECN {
            virtio_net::GSO_NONE => return offload,
            virtio_net::GSO_TCPV4 => offload.gso = Gso::TcpV4,
            virtio_net::GSO_TCPV6 => offload.gso = Gso::TcpV6,
            virtio_net::GSO_UDP_L4 => offload.gso = Gso::Udp,
            _ => offload.gso = Gso::Unknown,
        }
        offload.ecn = header.gso_type & virtio_net::GSO_ECN != 0;
        offload.gso_size = header.gso_size;
        offload.header_len = header.hdr_len;
        offload
    }

    /// The virtio_net_hdr that says the same; for [`Gso::Unknown`], which no checked state has, one without GSO.
    #[inline]
    pub fn to_header(self) -> virtio_net::Header {
        if self == Offload::NONE {
            return virtio_net::Header::default();
        }
        let gso = match self.gso {
            Gso::None | Gso::Unknown => virtio_net::GSO_NONE,
            Gso::TcpV4 => virtio_net::GSO_TCPV4,
            Gso::TcpV6 => virtio_net::GSO_TCPV6,
            Gso::Udp => virtio_net::GSO_UDP_L4,
        };
        virtio_net::Header {
            flags: if self.needs_csum { virtio_net::F_NEEDS_CSUM } else { 0 },
            gso_type: if self.ecn { gso | virtio_net::GSO_ECN } else { gso },
            hdr_len: self.header_len,
            gso_size: self.gso_size,
            csum_start: self.csum_start,
            csum_offset: self.csum_offset,
        }
    }

    /// Checks the claim against the frame it came with and makes `header_len` exact. The kernel's own `hdr_len` is not
    /// trusted: it may cover the whole frame.
    #[inline]
    pub fn check(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        if *self != Offload::NONE {
            self.header_len = self.exact_header_len(frame).ok_or(DropReason::BadOffload)?;
        }
        Ok(())
    }

    /// What `header_len` has to be; `None` when the claim contradicts the frame or itself.
    fn exact_header_len(&self, frame: &[u8]) -> Option<u16> {
        // A superframe without NEEDS_CSUM would need every segment's checksum invented.
        if !self.needs_csum {
            return (self.gso == Gso::None).then_some(0);
        }
        let (ether_type, l3) = ethernet::payload(frame)?;
        let (start, field) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        // Before L3 a checksum would be written over the addresses, or be left outside when a tag is taken out.
        if !(l3..=MAX_CSUM_START).contains(&start) || start + field + 2 > frame.len() {
            return None;
        }
        let v4 = ether_type == ipv4::ETHER_TYPE && start >= l3 + ipv4::MIN_HEADER_LEN;
        let v6 = ether_type == ipv6::ETHER_TYPE && start >= l3 + ipv6::HEADER_LEN;
        let l4 = &frame[start..];
        let (ip_matches, checksum_at, l4_header) = match self.gso {
            Gso::None => return Some(0),
            Gso::TcpV4 => (v4, tcp::CHECKSUM_AT, tcp::header_len(l4)?),
            Gso::TcpV6 => (v6, tcp::CHECKSUM_AT, tcp::header_len(l4)?),
            Gso::Udp => (v4 || v6, udp::CHECKSUM_AT, udp::HEADER_LEN),
            Gso::Unknown => return None,
        };
        let holds = ip_matches && field == checksum_at && l4_header <= l4.len() && self.gso_size > 0;
        holds.then_some((start + l4_header) as u16)
    }

    /// Moves the offsets when `by` bytes were put in before the L3 header (negative: taken out), as a VLAN tag is.
    #[inline]
    pub fn shift(&mut self, by: i16) {
        if self.needs_csum {
            self.csum_start = self.csum_start.wrapping_add_signed(by);
        }
        if self.gso != Gso::None {
            self.header_len = self.header_len.wrapping_add_signed(by);
        }
    }
}

/// What a port can send without our doing it: what its kernel end or its guest finishes itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Unfinished checksums.
    pub checksum: bool,
    /// TCP superframes over IPv4.
    pub tso4: bool,
    /// TCP superframes over IPv6.
    pub tso6: bool,
    /// UDP superframes.
    pub uso: bool,
}

impl Capabilities {
    /// Everything: a device with every offload, a patch or memory port.
    pub const ALL: Capabilities = Capabilities { checksum: true, tso4: true, tso6: true, uso: true };
    /// Nothing: a plain device.
    pub const NONE: Capabilities = Capabilities { checksum: false, tso4: false, tso6: false, uso: false };

    /// Whether a frame with this offload state can go out as it is.
    #[inline]
    pub fn take(&self, offload: &Offload) -> bool {
        (!offload.needs_csum || self.checksum)
            && match offload.gso {
                Gso::None => true,
                Gso::TcpV4 => self.tso4,
                Gso::TcpV6 => self.tso6,
                Gso::Udp => self.uso,
                Gso::Unknown => false,
            }
    }
}
