//! The packet that an ICMP or ICMPv6 error quotes: what flow it is about, and its translation along with the error's own
//! addresses (RFC 5508 section 4).
//!
//! A quotation is what somebody on the way had of a packet: it may end anywhere behind the first 8 bytes of the upper
//! layer, and sooner where who quotes is broken. Its lengths are not looked at. Nor is its header checksum, though RFC
//! 5508 has a NAT look (REQ-3 a): routers quote packets with the TTL that was left and the checksum from before.

use super::rewrite::Translation;
use super::segment::finish_checksum;
use super::{Frame, Packet, Part, Tuple};
use crate::wire::address::Address;
use crate::wire::{be16, checksum, icmp, ipv4, ipv6, set_be16, tcp, udp};

/// The flow of the packet that the error in `packet`, which `frame` holds, quotes, as that packet's sender sent it. Ports
/// are 0 where there are none: of protocols that have none, and of later fragments. `None` when it is no error that quotes
/// a packet, when the quotation ends before its ports, and when the error's own checksum is wrong (RFC 5508 REQ-3), as far
/// as that can be told: not of a fragment, and not when it is left to be finished.
pub fn of(frame: &Frame, packet: &Packet) -> Option<Tuple> {
    let message = packet.upper_layer(frame);
    let quotation = Quotation::of(packet, message)?;
    let intact = packet.part != Part::Whole || frame.offload.needs_csum || {
        let pseudo_header = match packet.tuple.protocol {
            icmp::PROTOCOL => 0,
            _ => {
                let addresses = [packet.tuple.source, packet.tuple.destination];
                let addresses = addresses.map(|address| address.bits().to_be_bytes());
                checksum::sum(addresses.as_flattened(), u32::from(icmp::V6_PROTOCOL) + message.len() as u32)
            }
        };
        checksum::fold(checksum::sum(message, pseudo_header)) == 0xffff
    };
    intact.then_some(quotation.tuple)
}

/// Translates the error in `packet`, which `frame` holds: it is then from `outer.0` to `outer.1`, and what it quotes is a
/// packet of `quoted_to`, as far as the quotation goes. All checksums follow, those in the quotation too; the error's own
/// is finished if it was not.
///
/// Nothing is changed in a quotation that [`of`] would not read, or that is not of the version and protocol of
/// `quoted_to`; nor are the outer addresses when they are of the other version.
///
/// # Panics
/// When `packet` was not read from `frame`.
pub fn translate(frame: &mut Frame, packet: &Packet, outer: (Address, Address), quoted_to: &Tuple) {
    finish_checksum(frame);
    let to = Tuple { source: outer.0, destination: outer.1, ..packet.tuple };
    if let Some(translation) = Translation::new(&packet.tuple, &to) {
        translation.apply(frame, packet);
    }
    let message = &mut frame.bytes_mut()[usize::from(packet.l4)..packet.end as usize];
    let Some(quotation) = Quotation::of(packet, message) else { return };
    let Some(translation) = Translation::new(&quotation.tuple, quoted_to) else { return };
    let (header, quoted) = message.split_at_mut(icmp::HEADER_LEN);
    let before = checksum::fold(checksum::sum(quoted, 0));
    let (ip, upper) = quoted.split_at_mut(quotation.l4);
    translation.header(ip);
    if quotation.part != Part::Later {
        translation.upper_layer(upper, false);
    }
    let after = checksum::fold(checksum::sum(quoted, 0));
    let sum = checksum::update(be16(header, icmp::CHECKSUM_AT), before, after);
    set_be16(header, icmp::CHECKSUM_AT, sum);
}

/// What stands in the headers of a quoted packet.
struct Quotation {
    tuple: Tuple,
    part: Part,
    /// Where its upper layer begins, counted from its first byte.
    l4: usize,
}

impl Quotation {
    fn of(packet: &Packet, message: &[u8]) -> Option<Quotation> {
        if packet.part == Part::Later || message.len() < icmp::HEADER_LEN {
            return None;
        }
        let quoted = &message[icmp::HEADER_LEN..];
        let quotation = match packet.tuple.protocol {
            icmp::PROTOCOL if icmp::is_error(packet.kind) => Quotation::of_ipv4(quoted)?,
            icmp::V6_PROTOCOL if icmp::quotes_v6(packet.kind) => Quotation::of_ipv6(quoted)?,
            _ => return None,
        };
        quotation.with_ports(quoted)
    }

    fn of_ipv4(quoted: &[u8]) -> Option<Quotation> {
        let l4 = ipv4::header_len(quoted)?;
        let tuple = Tuple {
            source: ipv4::source(quoted).into(),
            destination: ipv4::destination(quoted).into(),
            protocol: ipv4::protocol(quoted),
            ..Tuple::default()
        };
        let part = if ipv4::is_later_fragment(quoted) { Part::Later } else { Part::Whole };
        Some(Quotation { tuple, part, l4 })
    }

    fn of_ipv6(quoted: &[u8]) -> Option<Quotation> {
        let (protocol, l4, part) = Part::of_ipv6(quoted)?;
        let tuple = Tuple {
            source: ipv6::source(quoted).into(),
            destination: ipv6::destination(quoted).into(),
            protocol,
            ..Tuple::default()
        };
        // Addresses of IPv4 have no place in this header: they would be taken for such.
        let honest = !tuple.source.is_v4() && !tuple.destination.is_v4();
        honest.then_some(Quotation { tuple, part, l4 })
    }

    fn with_ports(mut self, quoted: &[u8]) -> Option<Quotation> {
        let upper = &quoted[self.l4..];
        (self.tuple.source_port, self.tuple.destination_port) = match self.tuple.protocol {
            _ if self.part == Part::Later => (0, 0),
            tcp::PROTOCOL | udp::PROTOCOL => (be16(upper.get(..4)?, 0), be16(&upper[..4], 2)),
            icmp::PROTOCOL | icmp::V6_PROTOCOL => {
                icmp::echo_ports(self.tuple.protocol, upper.get(..icmp::HEADER_LEN)?)
            }
            _ => (0, 0),
        };
        Some(self)
    }
}
