//! What the headers of a TCP or UDP packet say, as far as merging and unfinished checksums are concerned.

use std::ops::Range;

use crate::packet::{Gso, Layer, Offload};
use crate::wire::{be16, checksum, ipv4, ipv6, set_be16, tcp, udp};

/// Where the headers of a frame lie, which is neither a fragment nor cut short, and what they say.
pub(super) struct Headers {
    /// Bytes before the IP header.
    pub(super) l3: usize,
    /// Bytes before the TCP or UDP header.
    pub(super) l4: usize,
    /// Bytes before the payload.
    pub(super) len: usize,
    /// Bytes before the end that the IP header tells; behind is padding.
    end: usize,
    pub(super) v4: bool,
    pub(super) udp: bool,
    /// The sum of the pseudo-header but for its length: addresses and protocol.
    addresses: u32,
}

impl Headers {
    /// `None` for anything but a whole TCP or UDP packet.
    #[inline]
    pub(super) fn parse(layer: Layer, bytes: &[u8]) -> Option<Headers> {
        let (ether_type, l3) = layer.network(bytes)?;
        let packet = &bytes[l3..];
        let v4 = ether_type == ipv4::ETHER_TYPE;
        let (protocol, header_len, packet_len, addresses) = match ether_type {
            ipv4::ETHER_TYPE => {
                let header_len = ipv4::header_len(packet).filter(|_| !ipv4::is_fragment(packet))?;
                (ipv4::protocol(packet), header_len, usize::from(ipv4::total_len(packet)), 12..20)
            }
            ipv6::ETHER_TYPE => {
                let (protocol, header_len) = ipv6::upper_layer(packet)?;
                let packet_len = ipv6::HEADER_LEN + usize::from(ipv6::payload_len(packet));
                (protocol, header_len, packet_len, 8..40)
            }
            _ => return None,
        };
        let l4 = packet.get(header_len..packet_len)?;
        let udp = protocol == udp::PROTOCOL;
        let l4_header_len = match protocol {
            tcp::PROTOCOL => tcp::header_len(l4)?,
            udp::PROTOCOL => udp::HEADER_LEN,
            _ => return None,
        };
        (l4_header_len <= l4.len()).then(|| Headers {
            l3,
            l4: l3 + header_len,
            len: l3 + header_len + l4_header_len,
            end: l3 + packet_len,
            v4,
            udp,
            addresses: checksum::sum(&packet[addresses], u32::from(protocol)),
        })
    }

    /// Whether the checksum was left to us: its field holds the pseudo-header sum, as the kernel leaves it. A finished
    /// checksum may happen to be that number; finishing it once more gives the same number again, so that is harmless.
    /// None, over IPv4 a UDP checksum of zero, never is: no pseudo-header sums up to zero.
    ///
    /// Finishing covers the frame to its end, so whatever padding there is has to be zero.
    #[inline]
    pub(super) fn unfinished(&self, bytes: &[u8]) -> bool {
        self.checksum(bytes) == self.pseudo_header(self.end)
            && bytes[self.end..].iter().all(|&byte| byte == 0)
    }

    /// The offload state of a frame with an unfinished checksum that is longer than what fits: where its headers allow
    /// that, a superframe with segments of as much as does fit. Its sender knew how long they are to be, but tunnel
    /// headers do not tell; senders fill the packets they can send. A UDP superframe may be cut elsewhere than meant.
    #[cold]
    pub(super) fn superframe(&self, bytes: &[u8], mtu: usize) -> Offload {
        let size = (mtu + self.l3).checked_sub(self.len).and_then(|size| u16::try_from(size).ok());
        match size {
            Some(size @ 1..) if self.may_be_cut(bytes) => {
                let ecn = !self.udp && tcp::flags(&bytes[self.l4..]) & tcp::CWR != 0;
                Offload { ecn, guessed: true, ..self.gso(size) }
            }
            _ => self.needs_csum(),
        }
    }

    /// The offload state of a frame with an unfinished checksum that is no longer than what fits. Its sender may still
    /// have meant it to be cut, for a receiver whom less fits.
    #[inline]
    pub(super) fn unfinished_frame(&self, bytes: &[u8]) -> Offload {
        Offload { guessed: !self.udp && self.may_be_cut(bytes), ..self.needs_csum() }
    }

    /// Whether the headers are such as a superframe has.
    #[inline]
    fn may_be_cut(&self, bytes: &[u8]) -> bool {
        let once = tcp::SYN | tcp::RST | tcp::URG;
        let l4 = &bytes[self.l4..];
        self.end == bytes.len()
            && match self.udp {
                true => usize::from(udp::len(l4)) == l4.len(),
                false => tcp::flags(l4) & once == 0,
            }
    }

    /// The offload state of a frame whose checksum is unfinished.
    #[inline]
    fn needs_csum(&self) -> Offload {
        let csum_offset = self.checksum_at() - self.l4;
        // Extension headers are at most four of 2 KiB, so this is a small number.
        let csum_start = self.l4 as u16;
        Offload { needs_csum: true, csum_start, csum_offset: csum_offset as u16, ..Offload::NONE }
    }

    /// The offload state of a superframe.
    #[inline]
    fn gso(&self, gso_size: u16) -> Offload {
        let gso = match (self.udp, self.v4) {
            (true, _) => Gso::Udp,
            (false, true) => Gso::TcpV4,
            (false, false) => Gso::TcpV6,
        };
        Offload { gso, gso_size, header_len: self.len as u16, ..self.needs_csum() }
    }

    /// Whether others may be merged into this packet: it has payload and no padding, is nothing special, and its headers
    /// are such that cutting the superframe gives all of it back.
    #[inline]
    pub(super) fn may_lead(&self, bytes: &[u8]) -> bool {
        let l4 = &bytes[self.l4..];
        // Neither IPv4 options nor extension headers: the kernel's GRO merges none either.
        let plain_ip = self.l4 - self.l3 == if self.v4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
        let plain_l4 = match self.udp {
            // An identification that counts is lost, since cutting counts it up from the first.
            true => {
                usize::from(udp::len(l4)) == l4.len()
                    && self.checksum(bytes) != 0
                    && (!self.v4 || ipv4::dont_fragment(&bytes[self.l3..]))
            }
            false => tcp::flags(l4) == tcp::ACK,
        };
        plain_ip && plain_l4 && self.end == bytes.len() && self.len < bytes.len()
    }

    /// Whether `bytes` begin with the headers of `head`, whose these are, but for what tells segments apart: lengths,
    /// identification, checksums, sequence number and flags. Their lengths are those of `bytes`.
    #[inline]
    pub(super) fn shared(&self, head: &[u8], bytes: &[u8]) -> bool {
        let (l3, l4) = (self.l3, self.l4);
        if bytes.len() <= self.len {
            return false;
        }
        let same = |range: Range<usize>| head[range.clone()] == bytes[range];
        let same_ip = match self.v4 {
            true => {
                same(l3 + 12..l4 + 4)
                    && same(0..l3 + 2)
                    && same(l3 + 6..l3 + 10)
                    && usize::from(ipv4::total_len(&bytes[l3..])) == bytes.len() - l3
            }
            false => {
                same(l3 + 6..l4 + 4)
                    && same(0..l3 + 4)
                    && usize::from(ipv6::payload_len(&bytes[l3..])) == bytes.len() - l4
            }
        };
        same_ip
            && match self.udp {
                true => usize::from(udp::len(&bytes[l4..])) == bytes.len() - l4,
                false => same(l4 + 8..l4 + 13) && same(l4 + 14..l4 + 16) && same(l4 + 18..self.len),
            }
    }

    /// Whether the checksums of a packet without padding are those that it would be given if it were cut from a
    /// superframe: right, and of the two forms of zero the right one. An unfinished one only has to be that.
    #[inline]
    pub(super) fn intact(&self, bytes: &[u8], unfinished: bool) -> bool {
        let (ip, field) = (&bytes[self.l3..self.l4], self.checksum(bytes));
        if self.v4 && (be16(ip, 10) == 0xffff || checksum::fold(checksum::sum(ip, 0)) != 0xffff) {
            return false;
        }
        if unfinished {
            return field == self.pseudo_header(bytes.len());
        }
        let wrong_zero = if self.udp { 0 } else { 0xffff };
        let l4_len = (bytes.len() - self.l4) as u32;
        field != wrong_zero
            && checksum::fold(checksum::sum(&bytes[self.l4..], self.addresses + l4_len)) == 0xffff
    }

    /// Bytes of the longest packet of this kind, and of what is before it.
    #[inline]
    pub(super) fn longest(&self) -> usize {
        self.l3 + usize::from(u16::MAX) + if self.v4 { 0 } else { ipv6::HEADER_LEN }
    }

    /// Makes `bytes`, which payload was added to, the superframe that they have become, and gives its offload state.
    #[inline]
    pub(super) fn seal(&self, bytes: &mut [u8], gso_size: u16) -> Offload {
        let l4_len = (bytes.len() - self.l4) as u16;
        let checksum = self.pseudo_header(bytes.len());
        let ip = &mut bytes[self.l3..self.l4];
        match self.v4 {
            true => ipv4::make_segment(ip, 0, ip.len() as u16 + l4_len),
            false => ipv6::set_payload_len(ip, l4_len),
        }
        if self.udp {
            udp::set_len(&mut bytes[self.l4..], l4_len);
        }
        set_be16(bytes, self.checksum_at(), checksum);
        self.gso(gso_size)
    }

    /// Sets PSH in a TCP header.
    #[inline]
    pub(super) fn set_push(&self, bytes: &mut [u8]) {
        tcp::set_flags(&mut bytes[self.l4..], tcp::PSH);
    }

    /// Where the checksum field is.
    #[inline]
    fn checksum_at(&self) -> usize {
        self.l4 + if self.udp { udp::CHECKSUM_AT } else { tcp::CHECKSUM_AT }
    }

    #[inline]
    fn checksum(&self, bytes: &[u8]) -> u16 {
        be16(bytes, self.checksum_at())
    }

    /// The folded sum of the pseudo-header of a packet that ends at `end`.
    #[inline]
    fn pseudo_header(&self, end: usize) -> u16 {
        checksum::fold(self.addresses + (end - self.l4) as u32)
    }
}
