//! An IP packet as a router sees it: its headers looked at once, checked as RFC 1812 section 5.2.2 and RFC 8200 say, and
//! what tells its flow from others.

use super::{DropReason, Frame, Gso, Offload};
use crate::wire::address::Address;
use crate::wire::{be16, icmp, ipv4, ipv6, tcp, udp};

/// What tells a flow from others: addresses, protocol, and ports or what stands for them. An ICMP echo request has its
/// identifier as source port, the reply as destination port; so the reply's tuple is the request's turned round, as it
/// is for TCP and UDP. What has no ports, has 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Who sends it.
    pub source: Address,
    /// Whom it is for.
    pub destination: Address,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The protocol's number in an IP header.
    pub protocol: u8,
}

impl Tuple {
    /// That of the answers.
    #[inline]
    pub fn reversed(self) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// Which part of a packet that was cut this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment, which has the headers of the upper layer, or at least their beginning.
    First,
    /// A later one, whose tuple has no ports.
    Later,
}

impl Part {
    /// The protocol of an IPv6 packet, where what is behind its extension headers begins, and which part it is. Of a
    /// later fragment the protocol is what its fragment header says, be it an extension header's number. `None` when
    /// `packet` is none, ends before, or has a second fragment header, behind which anything could hide.
    #[inline]
    pub(super) fn of_ipv6(packet: &[u8]) -> Option<(u8, usize, Part)> {
        let (protocol, at) = ipv6::upper_layer(packet)?;
        match protocol {
            ipv6::FRAGMENT => Part::of_fragment(packet, at),
            _ => Some((protocol, at, Part::Whole)),
        }
    }

    fn of_fragment(packet: &[u8], at: usize) -> Option<(u8, usize, Part)> {
        let header = packet.get(at..at + ipv6::FRAGMENT_LEN)?;
        let (next, at) = (header[0], at + ipv6::FRAGMENT_LEN);
        let part = match (be16(header, 2) & 0xfff8, be16(header, 2) & 1) {
            (0, 0) => Part::Whole, // an atomic fragment (RFC 6946)
            (0, _) => Part::First,
            (TINY..=TINY_END, _) if next == tcp::PROTOCOL => return None,
            _ => return Some((next, at, Part::Later)),
        };
        let (protocol, at) = ipv6::behind_extensions(packet, next, at)?;
        (protocol != ipv6::FRAGMENT).then_some((protocol, at, part))
    }
}

/// Where no later fragment of a TCP segment begins: 8 or 16 bytes into it. The first has to have the whole header (RFC
/// 1858, RFC 7112), so this one could only write another over it once both are put together.
const TINY: u16 = 8;
const TINY_END: u16 = 16;

/// What stands in the headers of an IP packet. All offsets count from the frame's first byte and lie inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where the IP header begins.
    pub l3: u16,
    /// Where the header of the upper layer begins, or the fragment's payload: behind extension headers.
    pub l4: u16,
    /// Where the packet ends; behind it, Ethernet may have filled up the frame. A superframe's may be 65,576.
    pub end: u32,
    /// The flow it belongs to.
    pub tuple: Tuple,
    /// Which part of a packet it is.
    pub part: Part,
    /// The TTL or hop limit it came with.
    pub ttl: u8,
    /// The flags of TCP; the type of ICMP, or of ICMPv6 in an IPv6 packet; otherwise 0.
    pub kind: u8,
    /// The code of ICMP or ICMPv6; otherwise 0.
    pub code: u8,
    /// Nobody on the way may fragment it: an IPv4 packet that says so, and every IPv6 packet.
    pub dont_fragment: bool,
}

impl Packet {
    /// Looks at the packet in `frame`, whatever its bytes are; the frame's offload state has been checked.
    ///
    /// Errors: [`DropReason::NotIp`]; [`DropReason::IpHeader`] when the version, a length or the header checksum is
    /// wrong, when the header of TCP, UDP or ICMP is cut off, or when a fragment could only overlap it;
    /// [`DropReason::Martian`] when no packet on a wire may have its source or destination (RFC 1812 section 5.3.7, RFC
    /// 4291 sections 2.5 and 2.7); [`DropReason::BadOffload`] when finishing its checksum or cutting it would change what
    /// is read here, so that what was decided by it would be about another packet.
    #[inline]
    pub fn of(frame: &Frame) -> Result<Packet, DropReason> {
        let bytes = frame.bytes();
        let packet = match frame.layer.network(bytes) {
            Some((ipv4::ETHER_TYPE, l3)) => Packet::of_ipv4(frame, bytes, l3),
            Some((ipv6::ETHER_TYPE, l3)) => Packet::of_ipv6(frame, bytes, l3),
            _ => return Err(DropReason::NotIp),
        };
        let packet = packet.ok_or(DropReason::IpHeader)?;
        if is_martian(packet.tuple.source, packet.tuple.destination) {
            return Err(DropReason::Martian);
        }
        match !frame.offload.needs_csum || packet.survives(&frame.offload) {
            true => Ok(packet),
            false => Err(DropReason::BadOffload),
        }
    }

    /// Whether what was read stays true when what the sender left undone is done: the checksum to be written is that of
    /// the upper layer's header, or one of a packet that it carries, and what is to be cut is what it says.
    #[inline]
    fn survives(&self, offload: &Offload) -> bool {
        let v4 = self.tuple.source.is_v4();
        let (checksum_at, header_len) = match self.tuple.protocol {
            tcp::PROTOCOL => (tcp::CHECKSUM_AT, tcp::MIN_HEADER_LEN),
            udp::PROTOCOL => (udp::CHECKSUM_AT, udp::HEADER_LEN),
            protocol if protocol == icmp::of_version(v4) => (icmp::CHECKSUM_AT, icmp::HEADER_LEN),
            _ => (0, 0),
        };
        let (start, offset, l4) =
            (usize::from(offload.csum_start), usize::from(offload.csum_offset), usize::from(self.l4));
        let its_own = start == l4 && offset == checksum_at;
        let carried = start >= l4 && start + offset >= l4 + header_len;
        self.part == Part::Whole
            && match offload.gso {
                Gso::None => its_own || carried,
                Gso::TcpV4 => its_own && v4 && self.tuple.protocol == tcp::PROTOCOL,
                Gso::TcpV6 => its_own && !v4 && self.tuple.protocol == tcp::PROTOCOL,
                Gso::Udp => its_own && self.tuple.protocol == udp::PROTOCOL,
                Gso::Unknown => false,
            }
    }

    #[inline]
    fn of_ipv4(frame: &Frame, bytes: &[u8], l3: usize) -> Option<Packet> {
        let packet = &bytes[l3..];
        let header_len = ipv4::header_len(packet)?;
        let header = &packet[..header_len];
        let total_len = match usize::from(ipv4::total_len(header)) {
            // A superframe that is longer than the field can say (BIG TCP) says 0.
            0 if frame.offload.gso != Gso::None => packet.len(),
            len => len,
        };
        if !(header_len..=packet.len()).contains(&total_len) || !ipv4::checksum_holds(header) {
            return None;
        }
        let part = match (ipv4::is_later_fragment(header), ipv4::is_fragment(header)) {
            (true, _) => Part::Later,
            (false, true) => Part::First,
            (false, false) => Part::Whole,
        };
        let from = be16(header, 6) << 3;
        if (TINY..=TINY_END).contains(&from) && ipv4::protocol(header) == tcp::PROTOCOL {
            return None;
        }
        let tuple = Tuple {
            source: ipv4::source(header).into(),
            destination: ipv4::destination(header).into(),
            protocol: ipv4::protocol(header),
            ..Tuple::default()
        };
        let whole = Packet {
            l3: l3 as u16,
            l4: (l3 + header_len) as u16,
            end: (l3 + total_len) as u32,
            tuple,
            part,
            ttl: ipv4::ttl(header),
            kind: 0,
            code: 0,
            dont_fragment: ipv4::dont_fragment(header),
        };
        whole.with_upper_layer(bytes)
    }

    #[inline]
    fn of_ipv6(frame: &Frame, bytes: &[u8], l3: usize) -> Option<Packet> {
        let packet = &bytes[l3..];
        if packet.len() < ipv6::HEADER_LEN {
            return None;
        }
        let total_len = match usize::from(ipv6::payload_len(packet)) {
            0 if frame.offload.gso != Gso::None => packet.len(),
            len => ipv6::HEADER_LEN + len,
        };
        let packet = packet.get(..total_len)?;
        let (protocol, at, part) = Part::of_ipv6(packet)?;
        let tuple = Tuple {
            source: ipv6::source(packet).into(),
            destination: ipv6::destination(packet).into(),
            protocol,
            ..Tuple::default()
        };
        let whole = Packet {
            l3: l3 as u16,
            l4: u16::try_from(l3 + at).ok()?,
            end: (l3 + total_len) as u32,
            tuple,
            part,
            ttl: ipv6::hop_limit(packet),
            kind: 0,
            code: 0,
            dont_fragment: true,
        };
        // Addresses of IPv4 have no place in this header: they would be taken for such.
        if whole.tuple.source.is_v4() || whole.tuple.destination.is_v4() {
            return Some(Packet {
                tuple: Tuple { source: Address::default(), destination: Address::default(), ..tuple },
                ..whole
            });
        }
        whole.with_upper_layer(bytes)
    }

    /// The same with what stands in the header of TCP, UDP or ICMP; `None` when that is cut off.
    #[inline]
    fn with_upper_layer(mut self, bytes: &[u8]) -> Option<Packet> {
        if self.part == Part::Later {
            return Some(self);
        }
        let l4 = &bytes[usize::from(self.l4)..self.end as usize];
        let icmp = icmp::of_version(self.tuple.source.is_v4());
        match self.tuple.protocol {
            tcp::PROTOCOL if l4.len() >= tcp::MIN_HEADER_LEN => {
                self.kind = tcp::flags(l4);
                (self.tuple.source_port, self.tuple.destination_port) = (be16(l4, 0), be16(l4, 2));
            }
            udp::PROTOCOL if l4.len() >= udp::HEADER_LEN => {
                (self.tuple.source_port, self.tuple.destination_port) = (be16(l4, 0), be16(l4, 2));
            }
            protocol if protocol == icmp && l4.len() >= icmp::HEADER_LEN => {
                (self.kind, self.code) = (l4[0], l4[1]);
                (self.tuple.source_port, self.tuple.destination_port) = icmp::echo_ports(icmp, l4);
            }
            tcp::PROTOCOL | udp::PROTOCOL => return None,
            protocol if protocol == icmp => return None,
            _ => {}
        }
        Some(self)
    }

    /// Bytes of the packet, IP header included; of a superframe, of all of it.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no packet is")]
    pub fn len(&self) -> usize {
        self.end as usize - usize::from(self.l3)
    }

    /// The header and payload of the upper layer.
    ///
    /// # Panics
    /// When `frame` is not the one that this was read from, or has become shorter since.
    #[inline]
    pub fn upper_layer<'a>(&self, frame: &'a Frame) -> &'a [u8] {
        &frame.bytes()[usize::from(self.l4)..self.end as usize]
    }

    /// Whether it is an ICMP or ICMPv6 error, which quotes a packet and which no error may answer. Of a later part nobody
    /// knows, and it quotes nothing.
    #[inline]
    pub fn is_icmp_error(&self) -> bool {
        // Its `kind` is 0, which would be an error of ICMPv6.
        if self.part == Part::Later {
            return false;
        }
        match (self.tuple.source.is_v4(), self.tuple.protocol) {
            (true, icmp::PROTOCOL) => icmp::is_error(self.kind),
            (false, icmp::V6_PROTOCOL) => icmp::is_v6_error(self.kind),
            _ => false,
        }
    }
}

/// Whether no packet on a wire may go from `source` to `destination`. A destination of many hosts may be, that of none
/// may not.
#[inline]
fn is_martian(source: Address, destination: Address) -> bool {
    let bad = |address: Address| {
        let v4 = address.v4_bits();
        match address.is_v4() {
            true => v4 >> 24 == 0 && v4 != 0 || v4 >> 24 == 127,
            false => address.bits() == 1,
        }
    };
    let class_e = source.is_v4() && source.v4_bits() >> 28 == 0xf;
    // The scopes that do not leave a host: reserved, and its interface.
    let confined = !destination.is_v4() && destination.bits() >> 112 & 0xff0e == 0xff00;
    bad(source)
        || bad(destination)
        || class_e
        || source.is_multicast()
        || destination.is_unspecified()
        || confined
}

#[cfg(test)]
mod tests;
