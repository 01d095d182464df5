//! What expressions ask of a frame's headers.

use super::{Side, Test};
use crate::packet::Layer;
use crate::wire::{arp, be16, ethernet, ipv4, ipv6, tcp, udp};

/// The protocol number of SCTP, whose ports stand where those of TCP and UDP do.
pub(super) const SCTP: u8 = 132;

/// The least EtherType: what is less, in its place, is a length (802.3 section 3.2.6).
pub(super) const MIN_ETHER_TYPE: u16 = 0x0600;

/// A frame's bytes, and where its layers begin in them.
pub(super) struct Headers<'a> {
    bytes: &'a [u8],
    len: usize,
    layer: Layer,
    /// The EtherType of the network layer, and its bytes.
    network: Option<(u16, &'a [u8])>,
    upper: Option<Upper<'a>>,
}

/// What is behind an IP header.
struct Upper<'a> {
    protocol: u8,
    /// Its bytes; of a later fragment, which has no header of the protocol, none.
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub(super) fn of(layer: Layer, bytes: &'a [u8], len: usize) -> Headers<'a> {
        let network = layer.network(bytes).map(|(ether_type, at)| (ether_type, &bytes[at..]));
        let upper = match network {
            Some((ipv4::ETHER_TYPE, packet)) => Upper::of_ipv4(packet),
            Some((ipv6::ETHER_TYPE, packet)) => Upper::of_ipv6(packet),
            _ => None,
        };
        Headers { bytes, len, layer, network, upper }
    }

    /// Whether the answer is yes.
    pub(super) fn hold(&self, test: &Test) -> bool {
        match *test {
            Test::Vlan(vid) => self.tags().any(|(_, tci)| vid.is_none_or(|vid| tci & 0xfff == vid)),
            Test::EtherType(wanted) => {
                self.is_network(wanted) || self.tags().any(|(ether_type, _)| ether_type == wanted)
            }
            Test::Llc(point) => self.network.is_some_and(|(length, llc)| {
                length < MIN_ETHER_TYPE && matches!(llc, [to, from, ..] if [*to, *from] == [point; 2])
            }),
            Test::Mac(side, mac) => side.holds(|| self.mac(6) == Some(mac), || self.mac(0) == Some(mac)),
            Test::Broadcast => match self.layer {
                Layer::Ethernet => self.mac(0) == Some(ethernet::Mac::BROADCAST.bits()),
                Layer::Ip => self.is_ipv4_broadcast(),
            },
            Test::Multicast => match self.layer {
                Layer::Ethernet => self.mac(0).is_some_and(|mac| ethernet::Mac::from_bits(mac).is_group()),
                Layer::Ip => self.is_for_group(true) || self.is_for_group(false) || self.is_ipv4_broadcast(),
            },
            Test::Network(ether_type) => self.is_network(ether_type),
            Test::Address { side, within, v4, bits, mask } => {
                let is = |end| self.address(v4, end).is_some_and(|found| (found ^ bits) & mask == 0);
                within.is_none_or(|within| self.is_network(within))
                    && side.holds(|| is(End::Source), || is(End::Destination))
            }
            Test::Group { v4 } => self.is_for_group(v4),
            Test::Protocol { v4, number } => {
                let version = |v4| if v4 { ipv4::ETHER_TYPE } else { ipv6::ETHER_TYPE };
                v4.is_none_or(|v4| self.is_network(version(v4)))
                    && self.upper.as_ref().is_some_and(|upper| upper.protocol == number)
            }
            Test::Port { side, protocol, first, last } => {
                self.upper.as_ref().is_some_and(|upper| upper.has_port(side, protocol, first, last))
            }
            Test::Flags(flags) => self.upper.as_ref().is_some_and(|upper| {
                upper.protocol == tcp::PROTOCOL && upper.bytes.get(13).is_some_and(|set| set & flags != 0)
            }),
            Test::AtLeast(len) => self.len >= len,
            Test::AtMost(len) => self.len <= len,
        }
    }

    #[inline]
    fn is_network(&self, ether_type: u16) -> bool {
        self.network.is_some_and(|(found, _)| found == ether_type)
    }

    /// The EtherTypes of the VLAN tags and what is in them, the outermost first; of no more tags than are looked through.
    fn tags(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let tags = match self.layer {
            Layer::Ethernet => self.bytes.get(12..).unwrap_or_default(),
            Layer::Ip => &[],
        };
        let (tags, _) = tags.as_chunks::<{ ethernet::TAG_LEN }>();
        let tags = tags.iter().take(ethernet::MAX_TAGS).map(|tag| (be16(tag, 0), be16(tag, 2)));
        tags.take_while(|(ether_type, _)| matches!(*ether_type, ethernet::VLAN | ethernet::QINQ))
    }

    fn mac(&self, at: usize) -> Option<u64> {
        match (self.layer, self.bytes.get(at..at + 6)) {
            (Layer::Ethernet, Some(&[a, b, c, d, e, f])) => {
                Some(ethernet::Mac::new([a, b, c, d, e, f]).bits())
            }
            _ => None,
        }
    }

    /// The packet's address at one end, when it has one of the version: in IP, or in ARP those of whom it asks and answers.
    fn address(&self, v4: bool, end: End) -> Option<u128> {
        let (ether_type, packet) = self.network?;
        let at = match (ether_type, end) {
            (ipv4::ETHER_TYPE, End::Source) if v4 => 12,
            (ipv4::ETHER_TYPE, End::Destination) if v4 => 16,
            (arp::ETHER_TYPE | arp::REVERSE_ETHER_TYPE, End::Source) if v4 => 14,
            (arp::ETHER_TYPE | arp::REVERSE_ETHER_TYPE, End::Destination) if v4 => 24,
            (ipv6::ETHER_TYPE, End::Source) if !v4 => 8,
            (ipv6::ETHER_TYPE, End::Destination) if !v4 => 24,
            _ => return None,
        };
        let len = if v4 { 4 } else { 16 };
        Some(packet.get(at..at + len)?.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
    }

    fn is_for_group(&self, v4: bool) -> bool {
        let version = if v4 { ipv4::ETHER_TYPE } else { ipv6::ETHER_TYPE };
        self.is_network(version)
            && self.address(v4, End::Destination).is_some_and(|bits| match v4 {
                true => bits >> 28 == 0xe,
                false => bits >> 120 == 0xff,
            })
    }

    fn is_ipv4_broadcast(&self) -> bool {
        self.is_network(ipv4::ETHER_TYPE) && self.address(true, End::Destination) == Some(u32::MAX.into())
    }
}

#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

impl<'a> Upper<'a> {
    fn of_ipv4(packet: &'a [u8]) -> Option<Upper<'a>> {
        let header = packet.get(..ipv4::MIN_HEADER_LEN)?;
        let len = usize::from(header[0] & 0xf) * 4;
        let bytes = match ipv4::is_later_fragment(header) {
            true => &[],
            false => packet.get(len..).unwrap_or_default(),
        };
        Some(Upper { protocol: ipv4::protocol(header), bytes })
    }

    fn of_ipv6(packet: &'a [u8]) -> Option<Upper<'a>> {
        let (mut protocol, mut at) = ipv6::upper_layer(packet)?;
        if protocol == ipv6::FRAGMENT {
            let header = packet.get(at..at + ipv6::FRAGMENT_LEN)?;
            if be16(header, 2) & 0xfff8 != 0 {
                return Some(Upper { protocol: header[0], bytes: &[] });
            }
            (protocol, at) = ipv6::behind_extensions(packet, header[0], at + ipv6::FRAGMENT_LEN)?;
        }
        Some(Upper { protocol, bytes: &packet[at..] })
    }

    fn has_port(&self, side: Side, protocol: Option<u8>, first: u16, last: u16) -> bool {
        let has_ports = match protocol {
            Some(protocol) => self.protocol == protocol,
            None => matches!(self.protocol, tcp::PROTOCOL | udp::PROTOCOL | SCTP),
        };
        let port =
            |at| self.bytes.get(at..at + 2).is_some_and(|port| (first..=last).contains(&be16(port, 0)));
        has_ports && side.holds(|| port(0), || port(2))
    }
}
