//! What a sender left undone on a frame: an unfinished checksum, a superframe still to be cut. Carried beside the frame
//! as plain data, so that TAP to TAP nothing is computed and a 64 KiB superframe passes whole.

use super::{DropReason, HEADROOM, Layer};
use crate::wire::{ipv4, ipv6, tcp, udp, virtio_net};

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
    /// It came without a word on how long its segments are to be, which a tunnel does not tell: its `gso_size` was made up,
    /// or, if it seemed to be no superframe, may still be. Who sends it may cut it as he needs.
    pub guessed: bool,
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
        guessed: false,
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

    /// Checks the claim against the bytes it came with, which begin with `layer`, and makes `header_len` exact. The
    /// kernel's own `hdr_len` is not trusted: it may cover the whole frame.
    #[inline]
    pub fn check(&mut self, layer: Layer, frame: &[u8]) -> Result<(), DropReason> {
        if *self != Offload::NONE {
            self.header_len = self.exact_header_len(layer, frame).ok_or(DropReason::BadOffload)?;
        }
        Ok(())
    }

    /// What `header_len` has to be; `None` when the claim contradicts the frame or itself.
    fn exact_header_len(&self, layer: Layer, frame: &[u8]) -> Option<u16> {
        // A superframe without NEEDS_CSUM would need every segment's checksum invented.
        if !self.needs_csum {
            return (self.gso == Gso::None).then_some(0);
        }
        let (ether_type, l3) = layer.network(frame)?;
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
    /// Frames that are partly outside, see [`Frame::outside`](super::Frame::outside).
    pub outside: bool,
}

impl Capabilities {
    /// Every offload: a device that has them all, a patch or memory port.
    pub const ALL: Capabilities =
        Capabilities { checksum: true, tso4: true, tso6: true, uso: true, outside: false };
    /// Nothing: a plain device.
    pub const NONE: Capabilities =
        Capabilities { checksum: false, tso4: false, tso6: false, uso: false, outside: false };

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses, this from the EtherType on, an IP part of zeroes and an L4 part.
    fn frame(l2: &[u8], ip_len: usize, l4: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], l2, &vec![0; ip_len], l4].concat()
    }

    fn tcp(data_offset: u8, len: usize) -> Vec<u8> {
        let mut l4 = vec![0; len];
        l4[12] = data_offset << 4;
        l4
    }

    fn claim(gso: Gso, csum_start: u16, csum_offset: u16) -> Offload {
        let gso_size = if gso == Gso::None { 0 } else { 1448 };
        Offload { needs_csum: true, gso, gso_size, csum_start, csum_offset, ..Offload::NONE }
    }

    #[track_caller]
    fn accepted(mut offload: Offload, frame: &[u8], header_len: u16) {
        let expected = Offload { header_len, ..offload };
        assert_eq!(offload.check(Layer::Ethernet, frame), Ok(()));
        assert_eq!(offload, expected);
    }

    #[track_caller]
    fn refused(mut offload: Offload, frame: &[u8]) {
        let before = offload;
        assert_eq!(offload.check(Layer::Ethernet, frame), Err(DropReason::BadOffload), "{before:?}");
    }

    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    const ARP: [u8; 2] = [0x08, 0x06];
    const QINQ_IPV4: [u8; 10] = [0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2, 0x08, 0x00];

    #[test]
    fn a_claim_of_nothing_holds_for_any_bytes() {
        for len in 0..20 {
            accepted(Offload::NONE, &vec![0xff; len], 0);
        }
    }

    #[test]
    fn every_kind_of_superframe_gets_its_exact_header_len() {
        let lying = |offload| Offload { header_len: 0xffff, ..offload };
        accepted(lying(claim(Gso::TcpV4, 34, 16)), &frame(&IPV4, 20, &tcp(5, 100)), 54);
        accepted(lying(claim(Gso::TcpV4, 42, 16)), &frame(&QINQ_IPV4, 20, &tcp(15, 100)), 102);
        accepted(lying(claim(Gso::TcpV6, 54, 16)), &frame(&IPV6, 40, &tcp(8, 100)), 86);
        accepted(lying(claim(Gso::TcpV6, 62, 16)), &frame(&IPV6, 48, &tcp(8, 100)), 94);
        accepted(lying(claim(Gso::Udp, 34, 6)), &frame(&IPV4, 20, &[0; 100]), 42);
        accepted(lying(claim(Gso::Udp, 54, 6)), &frame(&IPV6, 40, &[0; 100]), 62);
        accepted(lying(claim(Gso::None, 34, 16)), &frame(&IPV4, 20, &tcp(5, 100)), 0);
    }

    #[test]
    fn an_ip_packet_has_its_headers_at_once() {
        let v4 = [&[0x45], &[0; 19][..], &tcp(8, 100)].concat();
        let v6 = [&[0x60], &[0; 39][..], &[0; 100]].concat();
        for (offload, packet, header_len) in [
            (claim(Gso::TcpV4, 20, 16), &v4, 52),
            (claim(Gso::Udp, 20, 6), &v4, 28),
            (claim(Gso::Udp, 40, 6), &v6, 48),
            (claim(Gso::None, 0, 10), &v6, 0),
        ] {
            let mut checked = Offload { header_len: 0xffff, ..offload };
            assert_eq!(checked.check(Layer::Ip, packet), Ok(()));
            assert_eq!(checked, Offload { header_len, ..offload });
            refused(offload, packet);
        }
        for (mut offload, packet) in [
            (claim(Gso::TcpV4, 19, 16), &v4),
            (claim(Gso::TcpV6, 40, 16), &v4),
            (claim(Gso::Udp, 39, 6), &v6),
            (claim(Gso::None, 0, 10), &frame(&IPV4, 20, &[0; 100])),
        ] {
            assert_eq!(offload.check(Layer::Ip, packet), Err(DropReason::BadOffload), "{offload:?}");
        }
    }

    #[test]
    fn the_checksum_field_lies_inside_the_frame() {
        let frame = frame(&IPV4, 20, &[0; 100]);
        for offset in [0, 1, 97, 98] {
            accepted(claim(Gso::None, 34, offset), &frame, 0);
        }
        for (start, offset) in [(34, 99), (34, 100), (35, 98), (34, u16::MAX), (134, 0), (u16::MAX, u16::MAX)]
        {
            refused(claim(Gso::None, start, offset), &frame);
        }
    }

    #[test]
    fn the_checksum_begins_behind_all_tags() {
        for (l2, l3) in [(&IPV4[..], 14), (&QINQ_IPV4, 22), (&ARP, 14)] {
            let frame = frame(l2, 20, &[0; 100]);
            accepted(claim(Gso::None, l3, 6), &frame, 0);
            for start in [0, 12, l3 - 1] {
                refused(claim(Gso::None, start, 6), &frame);
            }
        }
        refused(claim(Gso::None, 40, 6), &frame(&[0x81, 0, 0, 1].repeat(5), 20, &[0; 100]));
    }

    #[test]
    fn offsets_leave_room_for_all_that_a_frame_can_grow_by() {
        let frame = frame(&IPV6, 65_000, &tcp(15, 500));
        let farthest = MAX_CSUM_START as u16;
        let mut offload = claim(Gso::None, farthest, 6);
        accepted(offload, &frame, 0);
        offload.shift(HEADROOM as i16);
        assert_eq!(usize::from(offload.csum_start), MAX_CSUM_START + HEADROOM);
        refused(claim(Gso::None, farthest + 1, 6), &frame);
        refused(claim(Gso::None, 65_500, 6), &frame);

        let mut longest = frame;
        longest[MAX_CSUM_START + 12] = 0xf0;
        accepted(claim(Gso::TcpV6, farthest, 16), &longest, u16::MAX - HEADROOM as u16);
        accepted(claim(Gso::Udp, farthest, 6), &longest, farthest + 8);
    }

    #[test]
    fn a_superframe_needs_a_checksum_a_size_and_a_known_kind() {
        let frame = frame(&IPV4, 20, &tcp(5, 100));
        let good = claim(Gso::TcpV4, 34, 16);
        accepted(Offload { gso_size: 1, ..good }, &frame, 54);
        accepted(Offload { gso_size: u16::MAX, ecn: true, ..good }, &frame, 54);
        refused(Offload { gso_size: 0, ..good }, &frame);
        refused(Offload { needs_csum: false, ..good }, &frame);
        refused(Offload { gso: Gso::Unknown, ..good }, &frame);
        refused(Offload { gso: Gso::Unknown, needs_csum: false, ..good }, &frame);
    }

    #[test]
    fn the_checksum_field_is_that_of_the_protocol() {
        let (v4, v6) = (frame(&IPV4, 20, &tcp(5, 100)), frame(&IPV6, 40, &tcp(5, 100)));
        for offset in (0..=20).filter(|&offset| offset != 16) {
            refused(claim(Gso::TcpV4, 34, offset), &v4);
            refused(claim(Gso::TcpV6, 54, offset), &v6);
        }
        for offset in (0..=20).filter(|&offset| offset != 6) {
            refused(claim(Gso::Udp, 34, offset), &v4);
            refused(claim(Gso::Udp, 54, offset), &v6);
        }
    }

    #[test]
    fn the_ip_header_is_of_the_version_and_has_room() {
        for (gso, l2, ip_len, holds) in [
            (Gso::TcpV4, IPV4, 20, true),
            (Gso::TcpV4, IPV4, 19, false),
            (Gso::TcpV4, IPV6, 40, false),
            (Gso::TcpV4, ARP, 40, false),
            (Gso::TcpV6, IPV6, 40, true),
            (Gso::TcpV6, IPV6, 39, false),
            (Gso::TcpV6, IPV4, 40, false),
            (Gso::Udp, IPV4, 20, true),
            (Gso::Udp, IPV4, 19, false),
            (Gso::Udp, IPV6, 40, true),
            (Gso::Udp, IPV6, 39, false),
            (Gso::Udp, ARP, 40, false),
        ] {
            let l4_start = 14 + ip_len as u16;
            let (frame, offset) = (frame(&l2, ip_len, &tcp(5, 100)), if gso == Gso::Udp { 6 } else { 16 });
            match holds {
                true => accepted(
                    claim(gso, l4_start, offset),
                    &frame,
                    l4_start + if offset == 6 { 8 } else { 20 },
                ),
                false => refused(claim(gso, l4_start, offset), &frame),
            }
        }
    }

    #[test]
    fn the_l4_header_lies_inside_the_frame_wherever_that_ends() {
        let tcp_frame = frame(&QINQ_IPV4, 20, &tcp(10, 60));
        let udp_frame = frame(&QINQ_IPV4, 20, &[0; 60]);
        for len in 0..tcp_frame.len() {
            for (offload, frame, needed, header_len) in [
                (claim(Gso::TcpV4, 42, 16), &tcp_frame, 82, 82),
                (claim(Gso::Udp, 42, 6), &udp_frame, 50, 50),
                (claim(Gso::None, 42, 6), &udp_frame, 50, 0),
            ] {
                match len >= needed {
                    true => accepted(offload, &frame[..len], header_len),
                    false => refused(offload, &frame[..len]),
                }
            }
        }
        for data_offset in 0..5 {
            refused(claim(Gso::TcpV4, 34, 16), &frame(&IPV4, 20, &tcp(data_offset, 100)));
        }
    }

    #[test]
    fn a_header_is_read_and_said_again() {
        let header = virtio_net::Header {
            flags: virtio_net::F_NEEDS_CSUM | 0x02,
            gso_type: virtio_net::GSO_TCPV4 | virtio_net::GSO_ECN,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        let offload = Offload::from_header(&header);
        assert!(offload.needs_csum && offload.ecn && offload.gso == Gso::TcpV4);
        let only_needs_csum = virtio_net::Header { flags: virtio_net::F_NEEDS_CSUM, ..header };
        assert_eq!(offload.to_header(), only_needs_csum);
        for (gso_type, gso) in [
            (0, Gso::None),
            (1, Gso::TcpV4),
            (4, Gso::TcpV6),
            (5, Gso::Udp),
            (3, Gso::Unknown),
            (0x7f, Gso::Unknown),
        ] {
            assert_eq!(Offload::from_header(&virtio_net::Header { gso_type, ..header }).gso, gso);
        }
        let nothing = virtio_net::Header { flags: 0x02, gso_type: virtio_net::GSO_NONE, ..header };
        assert_eq!(Offload::from_header(&nothing), Offload::NONE, "offsets without a flag mean nothing");
    }

    #[test]
    fn a_port_takes_what_it_can_finish() {
        let none = Capabilities::NONE;
        for (gso, able) in [
            (Gso::None, Capabilities { checksum: true, ..none }),
            (Gso::TcpV4, Capabilities { checksum: true, tso4: true, ..none }),
            (Gso::TcpV6, Capabilities { checksum: true, tso6: true, ..none }),
            (Gso::Udp, Capabilities { checksum: true, uso: true, ..none }),
        ] {
            let offload = claim(gso, 34, 16);
            assert!(able.take(&offload) && Capabilities::ALL.take(&offload));
            assert!(!none.take(&offload));
            assert!(!Capabilities { checksum: false, ..Capabilities::ALL }.take(&offload));
        }
        assert!(!Capabilities { tso4: false, ..Capabilities::ALL }.take(&claim(Gso::TcpV4, 34, 16)));
        assert!(!Capabilities { tso6: false, ..Capabilities::ALL }.take(&claim(Gso::TcpV6, 34, 16)));
        assert!(!Capabilities { uso: false, ..Capabilities::ALL }.take(&claim(Gso::Udp, 34, 6)));
        assert!(none.take(&Offload::NONE));
    }
}
