//! One datagram that is put together, and the fragments it is made of.

use super::{Key, OVERHEAD, Origin};
use crate::packet::fragment::assemble;
use crate::packet::{DropReason, Frame, Gso, Layer, Packet};
use crate::time::Time;
use crate::wire::{be16, ipv4, ipv6, tcp};

/// The longest IP packet.
const MAX_LEN: usize = 65_535;

/// A datagram, as far as it came.
pub(super) struct Datagram {
    pub(super) age: (Time, u64),
    pub(super) layer: Layer,
    /// In order, and none overlaps another.
    pub(super) fragments: Vec<Fragment>,
    /// Bytes behind the headers, once the last fragment has come.
    pub(super) total: Option<usize>,
    /// Bytes of them that came.
    pub(super) received: usize,
    pub(super) largest: u32,
    pub(super) dont_fragment: bool,
    /// A bit for each ECN codepoint that came (RFC 3168 section 5.3).
    pub(super) ecn: u8,
    /// All of it is dropped for this, what came and what comes.
    pub(super) refused: Option<DropReason>,
}

/// A fragment that is kept.
pub(super) struct Fragment {
    pub(super) origin: Origin,
    /// Where its payload belongs.
    pub(super) offset: usize,
    /// The payload; of the first fragment, the whole frame.
    pub(super) bytes: Box<[u8]>,
    /// Where in `bytes` the payload begins.
    pub(super) payload_at: usize,
}

impl Fragment {
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..]
    }

    pub(super) fn end(&self) -> usize {
        self.offset + self.payload().len()
    }

    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

impl Datagram {
    /// Whether exactly this piece is there.
    pub(super) fn has(&self, piece: &Piece<'_>) -> bool {
        let last = self.total == Some(piece.end());
        let same = |fragment: &Fragment| {
            fragment.offset == piece.offset && fragment.payload() == piece.payload && last != piece.more
        };
        self.fragments.iter().any(same)
    }

    /// Whether the piece overlaps one that is there, lies behind the end, or comes in frames of another layer.
    pub(super) fn contradicts(&self, piece: &Piece<'_>) -> bool {
        let overlaps = |fragment: &Fragment| fragment.offset < piece.end() && piece.offset < fragment.end();
        let beyond_end = self.total.is_some_and(|total| piece.end() > total);
        let other_end = piece.total().is_some_and(|total| {
            self.total.is_some_and(|known| known != total)
                || self.fragments.last().is_some_and(|last| last.end() > total)
        });
        self.layer != piece.layer || beyond_end || other_end || self.fragments.iter().any(overlaps)
    }

    /// Writes the packet that this is with the last piece, of `frame`, to `whole`. `None` when it is too long, or when a
    /// part met congestion though another says that its sender does not speak ECN (RFC 3168 section 5.3).
    pub(super) fn assemble(&self, frame: &Frame, piece: &Piece<'_>, whole: &mut Frame) -> Option<()> {
        let before_first = match piece.offset {
            0 => &frame.bytes()[..piece.at],
            _ => self.fragments.first().map(|first| &first.bytes[..first.payload_at])?,
        };
        let headers = self.headers(before_first)?;
        let place = self.fragments.partition_point(|fragment| fragment.offset < piece.offset);
        let (before, behind) = self.fragments.split_at(place);
        let parts = before.iter().map(Fragment::payload);
        let parts = parts.chain([piece.payload]).chain(behind.iter().map(Fragment::payload));
        assemble(whole, frame, &headers, parts).ok()
    }

    /// The headers of the whole, made of the first fragment's.
    fn headers(&self, first: &[u8]) -> Option<Vec<u8>> {
        const NOT_ECT: u8 = 1 << 0;
        const CE: u8 = 1 << 3;
        let congested = self.ecn & CE != 0;
        if congested && self.ecn & NOT_ECT != 0 {
            return None;
        }
        let (ether_type, l3) = self.layer.network(first)?;
        let (mut headers, total) = (first.to_vec(), self.total?);
        if ether_type == ipv4::ETHER_TYPE {
            let ip = &mut headers[l3..];
            let len = Some(ip.len() + total).filter(|&len| len <= MAX_LEN)?;
            ip[6..8].copy_from_slice(&[if self.dont_fragment { 0x40 } else { 0 }, 0]);
            ip[1] |= if congested { 3 } else { 0 };
            ipv4::make_segment(ip, 0, len as u16);
            return Some(headers);
        }
        let fragment_at = headers.len().checked_sub(ipv6::FRAGMENT_LEN)?;
        let next = headers[fragment_at];
        headers.truncate(fragment_at);
        let ip = &mut headers[l3..];
        let len = Some(ip.len() - ipv6::HEADER_LEN + total).filter(|&len| len <= MAX_LEN)?;
        let next_at = ipv6::next_header_at(ip, ip.len());
        ip[next_at] = next;
        ipv6::set_payload_len(ip, len as u16);
        if congested {
            ipv6::set_traffic_class(ip, ipv6::traffic_class(ip) | 3);
        }
        Some(headers)
    }
}

/// A fragment as it comes.
pub(super) struct Piece<'a> {
    pub(super) layer: Layer,
    pub(super) identification: u32,
    /// See [`Key`].
    pub(super) protocol: u8,
    /// Where its payload belongs, whether others come behind it, and the payload.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) payload: &'a [u8],
    /// Where in its frame the payload begins.
    pub(super) at: usize,
    /// Bytes as an IP packet.
    pub(super) packet_len: usize,
    pub(super) dont_fragment: bool,
    pub(super) ecn: u8,
}

impl<'a> Piece<'a> {
    /// `None` when it is none that can be a part of anything: without payload, not cut at a multiple of eight, behind
    /// the end of the longest packet, a superframe or unfinished (as no sender leaves a fragment), or cut inside the
    /// header of TCP, to hide that from a filter (RFC 1858, RFC 3128).
    pub(super) fn of(frame: &'a Frame, packet: &Packet) -> Option<Piece<'a>> {
        if frame.offload.gso != Gso::None || frame.offload.needs_csum {
            return None;
        }
        let (l3, at) = (usize::from(packet.l3), usize::from(packet.l4));
        let (ip, payload) = (&frame.bytes()[l3..at], packet.upper_layer(frame));
        let (layer, packet_len, dont_fragment) = (frame.layer, packet.len(), packet.dont_fragment);
        let (headers, piece) = if ip[0] >> 4 == 4 {
            let field = be16(ip, 6);
            let (identification, ecn) = (ipv4::identification(ip).into(), ipv4::tos(ip) & 3);
            let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
            let protocol = packet.tuple.protocol;
            let piece = Piece {
                layer,
                identification,
                protocol,
                offset,
                more,
                payload,
                at,
                packet_len,
                dont_fragment,
                ecn,
            };
            (ip.len(), piece)
        } else {
            let fragment_at = ip.len().checked_sub(ipv6::FRAGMENT_LEN)?;
            let header = &ip[fragment_at..];
            let identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let (offset, more) = (usize::from(be16(header, 2) & 0xfff8), header[3] & 1 != 0);
            let ecn = ipv6::traffic_class(ip) & 3;
            let piece = Piece {
                layer,
                identification,
                protocol: 0,
                offset,
                more,
                payload,
                at,
                packet_len,
                dont_fragment: false, // a router's word is nothing here; its sender cut it
                ecn,
            };
            (fragment_at.checked_sub(ipv6::HEADER_LEN)?, piece)
        };
        let inside_tcp =
            packet.tuple.protocol == tcp::PROTOCOL && (1..tcp::MIN_HEADER_LEN).contains(&piece.offset);
        let valid = !payload.is_empty()
            && (!piece.more || payload.len().is_multiple_of(8))
            && headers + piece.end() <= MAX_LEN
            && !inside_tcp;
        valid.then_some(piece)
    }

    pub(super) fn key(&self, packet: &Packet, origin: Origin) -> Key {
        Key {
            source: packet.tuple.source,
            destination: packet.tuple.destination,
            identification: self.identification,
            protocol: self.protocol,
            router: origin.router,
            interface: origin.interface,
        }
    }

    pub(super) fn end(&self) -> usize {
        self.offset + self.payload.len()
    }

    /// The bytes of the whole, if this is its last fragment.
    pub(super) fn total(&self) -> Option<usize> {
        (!self.more).then(|| self.end())
    }
}
