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
        let quotation = match (packet.tuple.source.is_v4(), packet.tuple.protocol) {
            (true, icmp::PROTOCOL) if icmp::is_error(packet.kind) => Quotation::of_ipv4(quoted)?,
            (false, icmp::V6_PROTOCOL) if icmp::quotes_v6(packet.kind) => Quotation::of_ipv6(quoted)?,
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
            protocol if protocol == icmp::of_version(self.tuple.source.is_v4()) => {
                icmp::echo_ports(protocol, upper.get(..icmp::HEADER_LEN)?)
            }
            _ => (0, 0),
        };
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, Offload};

    const INSIDE: Tuple = Tuple {
        source: Address::v4(0x0a00_0001),
        destination: Address::v4(0xcb00_7105),
        source_port: 4096,
        destination_port: 53,
        protocol: 17,
    };
    const OUTSIDE: Tuple = Tuple { source: Address::v4(0xc633_6407), source_port: 61_000, ..INSIDE };
    /// Who reports it, and who is told.
    const OUTER: (Address, Address) = (Address::v4(0xcb00_71fe), Address::v4(0xc633_6407));

    fn ip(packet: &[u8]) -> Frame {
        let mut frame = Frame::from_bytes(packet);
        frame.layer = Layer::Ip;
        frame
    }

    /// An IPv4 packet; the header checksum is right.
    fn ipv4(source: Address, destination: Address, protocol: u8, upper: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0];
        packet.extend(source.v4_bits().to_be_bytes());
        packet.extend(destination.v4_bits().to_be_bytes());
        packet.extend(upper);
        let len = packet.len() as u16;
        ipv4::make_segment(&mut packet[..20], 0, len);
        packet
    }

    /// The error about `quotation` from 203.0.113.254 to `to`, with its checksum.
    fn error(to: Address, quotation: &[u8]) -> Vec<u8> {
        let mut packet = ipv4(OUTER.0, to, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0], quotation].concat());
        let sum = checksum::finish(checksum::sum(&packet[20..], 0));
        set_be16(&mut packet, 22, sum);
        packet
    }

    fn read(packet: &[u8]) -> Option<Tuple> {
        let frame = ip(packet);
        of(&frame, &Packet::of(&frame).unwrap())
    }

    fn translated(packet: &[u8], to: &Tuple) -> Vec<u8> {
        let mut frame = ip(packet);
        let packet = Packet::of(&frame).unwrap();
        translate(&mut frame, &packet, (OUTER.0, to.source), to);
        frame.bytes().to_vec()
    }

    /// A datagram of the flow, or what else the protocol makes of these bytes: checksum 0.
    fn sent(tuple: Tuple) -> Vec<u8> {
        let ports = [tuple.source_port, tuple.destination_port].map(u16::to_be_bytes);
        let upper = [ports.as_flattened(), &[0, 12, 0, 0, 1, 2, 3, 4]].concat();
        ipv4(tuple.source, tuple.destination, tuple.protocol, &upper)
    }

    #[test]
    fn what_is_quoted_is_read_and_translated_with_all_that_covers_it() {
        let about = error(OUTSIDE.source, &sent(OUTSIDE));
        assert_eq!(read(&about), Some(OUTSIDE));
        let expected = error(INSIDE.source, &sent(INSIDE));
        assert_eq!(translated(&about, &INSIDE), expected);
        assert_eq!(translated(&expected, &OUTSIDE), about, "and back");
    }

    #[test]
    fn a_quotation_may_end_early_and_say_what_it_likes_of_its_length() {
        let whole = sent(OUTSIDE);
        for len in 0..=whole.len() {
            let about = error(OUTSIDE.source, &whole[..len]);
            let (tuple, expected) = match len {
                24.. => (Some(OUTSIDE), &sent(INSIDE)[..len]),
                _ => (None, &whole[..len]),
            };
            assert_eq!(read(&about), tuple, "{len} bytes");
            assert_eq!(translated(&about, &INSIDE), error(INSIDE.source, expected), "{len} bytes");
        }
        for total_len in [0, 1, 19, 0xffff] {
            let quotation = |tuple| {
                let mut quotation = sent(tuple);
                ipv4::make_segment(&mut quotation[..20], 0, total_len);
                quotation
            };
            let about = error(OUTSIDE.source, &quotation(OUTSIDE));
            assert_eq!(read(&about), Some(OUTSIDE));
            assert_eq!(translated(&about, &INSIDE), error(INSIDE.source, &quotation(INSIDE)));
        }
    }

    #[test]
    fn protocols_without_ports_and_later_fragments_have_addresses_alone() {
        for protocol in [47, 50, 132, 255] {
            let [from, to] = [OUTSIDE, INSIDE].map(|tuple| Tuple {
                source_port: 0,
                destination_port: 0,
                protocol,
                ..tuple
            });
            for len in 20..=32 {
                let about = error(from.source, &sent(from)[..len]);
                assert_eq!(read(&about), Some(from), "protocol {protocol}, {len} bytes");
                assert_eq!(translated(&about, &to), error(to.source, &sent(to)[..len]));
            }
        }
        let later = |source: Address| {
            let mut quotation = ipv4(source, OUTSIDE.destination, 17, &[1, 2, 3, 4, 5, 6, 7, 8]);
            quotation[7] = 9;
            ipv4::make_segment(&mut quotation[..20], 0, 28);
            quotation
        };
        let about = error(OUTSIDE.source, &later(OUTSIDE.source));
        assert_eq!(read(&about), Some(Tuple { source_port: 0, destination_port: 0, ..OUTSIDE }));
        assert_eq!(translated(&about, &INSIDE), error(INSIDE.source, &later(INSIDE.source)));
    }

    #[test]
    fn of_a_quoted_echo_the_identifier_counts() {
        for (kind, ports) in [(8, (0x1234, 0)), (0, (0, 0x1234)), (13, (0, 0)), (3, (0, 0))] {
            let (source_port, destination_port) = ports;
            let tuple = Tuple { source_port, destination_port, protocol: 1, ..OUTSIDE };
            let quotation = |source, identifier: u16| {
                let [high, low] = identifier.to_be_bytes();
                let mut echo = ipv4(source, OUTSIDE.destination, 1, &[kind, 0, 0, 0, high, low, 0, 9]);
                let sum = checksum::finish(checksum::sum(&echo[20..], 0));
                set_be16(&mut echo, 22, sum);
                echo
            };
            let about = error(OUTSIDE.source, &quotation(OUTSIDE.source, 0x1234));
            assert_eq!(read(&about), Some(tuple), "type {kind}");
            let other = |port| if port == 0 { 0 } else { 0x4321 };
            let to = Tuple {
                source: INSIDE.source,
                source_port: other(source_port),
                destination_port: other(destination_port),
                ..tuple
            };
            let identifier = if ports == (0, 0) { 0x1234 } else { 0x4321 };
            assert_eq!(
                translated(&about, &to),
                error(INSIDE.source, &quotation(INSIDE.source, identifier)),
                "type {kind}"
            );
        }
    }

    #[test]
    fn a_quoted_header_checksum_that_was_wrong_stays_wrong() {
        let stale = |tuple| {
            let mut quotation = sent(tuple);
            quotation[8] -= 1;
            quotation
        };
        let about = error(OUTSIDE.source, &stale(OUTSIDE));
        assert_eq!(read(&about), Some(OUTSIDE));
        assert_eq!(translated(&about, &INSIDE), error(INSIDE.source, &stale(INSIDE)));
    }

    #[test]
    fn an_error_whose_own_checksum_is_wrong_is_about_nothing() {
        let good = error(OUTSIDE.source, &sent(OUTSIDE));
        for at in 20..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(read(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_error_is_finished() {
        let whole = error(OUTSIDE.source, &sent(OUTSIDE));
        let mut frame = ip(&whole);
        set_be16(frame.bytes_mut(), 22, 0);
        frame.offload = Offload { needs_csum: true, csum_start: 20, csum_offset: 2, ..Offload::NONE };
        let packet = Packet::of(&frame).unwrap();
        assert_eq!(of(&frame, &packet), Some(OUTSIDE));
        translate(&mut frame, &packet, (OUTER.0, INSIDE.source), &INSIDE);
        assert_eq!(frame.bytes(), error(INSIDE.source, &sent(INSIDE)));
        assert_eq!(frame.offload, Offload::NONE);
    }

    #[test]
    fn what_quotes_nothing_is_about_nothing() {
        let message = |kind: u8| {
            let mut packet = error(OUTSIDE.source, &sent(OUTSIDE));
            packet[20] = kind;
            set_be16(&mut packet, 22, 0);
            let sum = checksum::finish(checksum::sum(&packet[20..], 0));
            set_be16(&mut packet, 22, sum);
            packet
        };
        for kind in 0..=255 {
            let expected = matches!(kind, 3 | 4 | 5 | 11 | 12).then_some(OUTSIDE);
            assert_eq!(read(&message(kind)), expected, "type {kind}");
        }
        assert_eq!(read(&sent(OUTSIDE)), None, "UDP");
        let mut later = message(3);
        later[7] = 9;
        ipv4::make_segment(&mut later[..20], 0, 60);
        assert_eq!(read(&later), None, "a later fragment");
        let mut other_version = sent(OUTSIDE);
        other_version[0] = 0x65;
        assert_eq!(read(&error(OUTSIDE.source, &other_version)), None);
    }

    /// fd00::`from` to fd00::`to`.
    fn ipv6(from: u8, to: u8, next: u8, upper: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, upper.len() as u8, next, 64];
        for last in [from, to] {
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(upper);
        packet
    }

    fn ipv6_error(kind: u8, to: u8, quotation: &[u8]) -> Vec<u8> {
        let mut packet = ipv6(0xfe, to, 58, &[&[kind, 0, 0, 0, 0, 0, 0, 0], quotation].concat());
        let pseudo_header = checksum::sum(&packet[8..40], 58 + packet.len() as u32 - 40);
        let sum = checksum::finish(checksum::sum(&packet[40..], pseudo_header));
        set_be16(&mut packet, 42, sum);
        packet
    }

    #[test]
    fn ipv6_is_read_behind_extension_headers_and_a_fragment_header() {
        let address = |last: u128| Address::from_bits(0xfd << 120 | last);
        let udp = |port: u8| [0, port, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
        let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
        let fragment = |offset: u8| vec![17, 0, 0, offset, 0, 0, 0, 1];
        for (next, before, port) in [
            (17, vec![], 7),
            (60, options(17), 7),
            (44, fragment(1), 7),
            (60, [options(44), fragment(1)].concat(), 7),
            (44, fragment(16), 0),
        ] {
            let tuple = |from: u128, port: u16| Tuple {
                source: address(from),
                destination: address(2),
                source_port: port,
                destination_port: if port == 0 { 0 } else { 53 },
                protocol: 17,
            };
            let quoted = |from, port| ipv6(from, 2, next, &[&before[..], &udp(port)].concat());
            let about = ipv6_error(1, 9, &quoted(9, 7));
            assert_eq!(read(&about), Some(tuple(9, port)));
            let mut frame = ip(&about);
            let packet = Packet::of(&frame).unwrap();
            translate(&mut frame, &packet, (address(0xfe), address(1)), &tuple(1, 2 * port));
            assert_eq!(frame.bytes(), ipv6_error(1, 1, &quoted(1, if port == 0 { 7 } else { 14 })));
        }
    }

    #[test]
    fn what_ipv6_quotes_otherwise_or_not_at_all_is_not_read() {
        let udp = ipv6(9, 2, 17, &[0, 7, 0, 53, 0, 8, 0, 0]);
        for kind in 0..=255 {
            let expected = (1..=4).contains(&kind);
            assert_eq!(read(&ipv6_error(kind, 9, &udp)).is_some(), expected, "type {kind}");
        }
        let mut mapped = udp.clone();
        mapped[8..24].copy_from_slice(&Address::v4(0x0a00_0001).bits().to_be_bytes());
        assert_eq!(read(&ipv6_error(1, 9, &mapped)), None, "an address of IPv4 is none of IPv6");
        for len in 0..44 {
            assert_eq!(read(&ipv6_error(1, 9, &udp[..len])), None, "{len} bytes");
        }
        let twice = ipv6(9, 2, 44, &[44, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read(&ipv6_error(1, 9, &twice)), None, "two fragment headers");
    }
}
