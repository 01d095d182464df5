//! Editing IP packets in place: a hop less to live, other addresses and ports. Checksums follow from what changed (RFC
//! 1624), so that nothing is read but a few bytes of header, however long the packet: a superframe costs what an empty
//! packet does.

use super::{Frame, Packet, Part, Tuple};
use crate::wire::address::Address;
use crate::wire::{be16, checksum, icmp, ipv4, ipv6, set_be16, tcp, udp};

/// Takes one hop from the TTL or hop limit of `packet`, which `frame` holds. One of 0 stays so; that such a packet goes
/// no further, nor one of 1, is for the caller to see to.
///
/// # Panics
/// When `packet` was not read from `frame`.
#[inline]
pub fn hop(frame: &mut Frame, packet: &Packet) {
    let header = &mut frame.bytes_mut()[usize::from(packet.l3)..];
    match packet.tuple.source.is_v4() {
        true => ipv4::set_ttl(header, ipv4::ttl(header).saturating_sub(1)),
        false => ipv6::set_hop_limit(header, ipv6::hop_limit(header).saturating_sub(1)),
    }
}

/// What NAT does to each packet of a flow: other addresses, and other ports or another identifier of an ICMP echo. How
/// the checksums change is worked out once, here, and not for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The new addresses as they stand in an IPv6 header; an IPv4 address is the last four bytes of one.
    source: [u8; 16],
    destination: [u8; 16],
    source_port: u16,
    destination_port: u16,
    /// What the addresses add to a sum that covers them.
    addresses: u16,
    /// What addresses and ports add to the sum of a finished checksum of the upper layer.
    finished: u16,
    /// What they add to an unfinished one, which covers no more than the pseudo-header.
    unfinished: u16,
    v4: bool,
    upper: Upper,
}

/// What of the upper layer's header changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upper {
    /// Ports, and a checksum that begins with the pseudo-header.
    Tcp,
    /// The same, but 0 is no checksum.
    Udp,
    /// An echo's identifier, and a checksum.
    Icmp,
    /// The checksum alone.
    UdpLite,
    /// The checksum alone.
    Dccp,
    /// Nothing: no checksum covers the addresses, or nobody here knows where it is.
    Other,
}

/// The protocol's number of UDP-Lite (RFC 3828).
const UDP_LITE: u8 = 136;
/// The protocol's number of DCCP (RFC 4340).
const DCCP: u8 = 33;

impl Upper {
    fn of(protocol: u8, v4: bool) -> Upper {
        match protocol {
            tcp::PROTOCOL => Upper::Tcp,
            udp::PROTOCOL => Upper::Udp,
            protocol if protocol == icmp::of_version(v4) => Upper::Icmp,
            UDP_LITE => Upper::UdpLite,
            DCCP => Upper::Dccp,
            _ => Upper::Other,
        }
    }

    /// Where the checksum stands in the header.
    #[inline]
    fn checksum_at(self) -> Option<usize> {
        match self {
            Upper::Tcp => Some(tcp::CHECKSUM_AT),
            Upper::Udp | Upper::UdpLite | Upper::Dccp => Some(udp::CHECKSUM_AT),
            Upper::Icmp => Some(icmp::CHECKSUM_AT),
            Upper::Other => None,
        }
    }
}

impl Translation {
    /// What makes packets of `from` packets of `to`. `None` when there is nothing to change, or when the two are not of
    /// one version and protocol.
    pub fn new(from: &Tuple, to: &Tuple) -> Option<Translation> {
        let v4 = from.source.is_v4();
        let versions = [from.destination, to.source, to.destination].map(Address::is_v4);
        if from == to || from.protocol != to.protocol || versions != [v4; 3] {
            return None;
        }
        let addresses = difference(&addresses(from), &addresses(to));
        let ports = difference(
            &[from.source_port, from.destination_port].map(u128::from),
            &[to.source_port, to.destination_port].map(u128::from),
        );
        // ICMP of IPv4 has no pseudo-header.
        let pseudo_header = if v4 && from.protocol == icmp::PROTOCOL { 0 } else { addresses };
        Some(Translation {
            source: to.source.bits().to_be_bytes(),
            destination: to.destination.bits().to_be_bytes(),
            source_port: to.source_port,
            destination_port: to.destination_port,
            addresses,
            finished: canonical(u32::from(pseudo_header) + u32::from(ports)),
            unfinished: pseudo_header,
            v4,
            upper: Upper::of(from.protocol, v4),
        })
    }

    /// Translates `packet`, which `frame` holds and whose flow is the one that this was made for. Of a later fragment
    /// the addresses alone are there to be changed. A checksum that the sender has left to the device stays left to it.
    ///
    /// # Panics
    /// When `packet` was not read from `frame`, or is of the other version.
    #[inline]
    pub fn apply(&self, frame: &mut Frame, packet: &Packet) {
        let unfinished = frame.offload.needs_csum
            && frame.offload.csum_start == packet.l4
            && Some(usize::from(frame.offload.csum_offset)) == self.upper.checksum_at();
        let (header, upper) = frame.bytes_mut()[usize::from(packet.l3)..packet.end as usize]
            .split_at_mut(usize::from(packet.l4 - packet.l3));
        self.header(header);
        if packet.part != Part::Later {
            self.upper_layer(upper, unfinished);
        }
    }

    /// Translates an IP header.
    #[inline]
    pub(super) fn header(&self, header: &mut [u8]) {
        if self.v4 {
            header[12..16].copy_from_slice(&self.source[12..]);
            header[16..20].copy_from_slice(&self.destination[12..]);
            let sum = follow(be16(header, ipv4::CHECKSUM_AT), self.addresses);
            set_be16(header, ipv4::CHECKSUM_AT, sum);
        } else {
            header[8..24].copy_from_slice(&self.source);
            header[24..40].copy_from_slice(&self.destination);
        }
    }

    /// Translates what there is of an upper layer's header, which in a quotation may be less than all of it.
    #[inline]
    pub(super) fn upper_layer(&self, header: &mut [u8], unfinished: bool) {
        match self.upper {
            Upper::Tcp | Upper::Udp => {
                if let Some(ports) = header.first_chunk_mut::<4>() {
                    set_be16(ports, 0, self.source_port);
                    set_be16(ports, 2, self.destination_port);
                }
            }
            Upper::Icmp => self.echo(header),
            Upper::UdpLite | Upper::Dccp => {}
            Upper::Other => return,
        }
        let field = self.upper.checksum_at().and_then(|at| header.get_mut(at..at + 2));
        let Some(field) = field else { return };
        let old = be16(field, 0);
        let new = match self.upper {
            _ if unfinished => checksum::fold(u32::from(old) + u32::from(self.unfinished)),
            Upper::Udp if old == 0 => 0,
            Upper::Udp | Upper::UdpLite => match follow(old, self.finished) {
                0 => 0xffff,
                new => new,
            },
            _ => follow(old, self.finished),
        };
        set_be16(field, 0, new);
    }

    /// The identifier stands for the port of who asks. Another message has none.
    #[inline]
    fn echo(&self, message: &mut [u8]) {
        let identifier = match message.first() {
            Some(&(icmp::ECHO_REQUEST | icmp::V6_ECHO_REQUEST)) => self.source_port,
            Some(&(icmp::ECHO_REPLY | icmp::V6_ECHO_REPLY)) => self.destination_port,
            _ => return,
        };
        if let Some(field) = message.get_mut(icmp::IDENTIFIER_AT..icmp::IDENTIFIER_AT + 2) {
            set_be16(field, 0, identifier);
        }
    }
}

/// A checksum after `difference` was added to what it covers (RFC 1624, equation 3).
#[inline]
fn follow(checksum: u16, difference: u16) -> u16 {
    checksum::finish(u32::from(!checksum) + u32::from(difference))
}

/// The addresses as a pseudo-header sums them: of those of IPv4, the bits that all have in common count for nothing.
fn addresses(tuple: &Tuple) -> [u128; 2] {
    [tuple.source.bits(), tuple.destination.bits()]
}

/// What is to be added to a sum that has `old` in it for `new` to be in it instead.
fn difference(old: &[u128; 2], new: &[u128; 2]) -> u16 {
    let sum = |numbers: &[u128; 2]| {
        let bytes = numbers.map(u128::to_be_bytes);
        checksum::fold(checksum::sum(bytes.as_flattened(), 0))
    };
    canonical(u32::from(!sum(old)) + u32::from(sum(new)))
}

/// The sum with nothing said as 0, never as 0xffff, so that what it is added to stays as it stands.
fn canonical(sum: u32) -> u16 {
    checksum::fold(sum) % 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, Offload};

    const FROM: Tuple = Tuple {
        source: Address::v4(0x0a00_0001),
        destination: Address::v4(0x0a00_0002),
        source_port: 4096,
        destination_port: 53,
        protocol: 17,
    };
    const TO: Tuple = Tuple {
        source: Address::v4(0xc633_6407),
        destination: Address::v4(0xcb00_7105),
        source_port: 61_000,
        destination_port: 8053,
        protocol: 17,
    };

    /// Both flows with another protocol, that has no ports.
    fn flows(protocol: u8) -> [Tuple; 2] {
        [FROM, TO].map(|tuple| Tuple { source_port: 0, destination_port: 0, protocol, ..tuple })
    }

    /// A packet of the flow, TTL 64: ports, a length, a checksum where UDP has it, and the payload.
    fn datagram(tuple: Tuple, checksum: u16, payload: &[u8]) -> Frame {
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, tuple.protocol, 0, 0];
        packet.extend(tuple.source.v4_bits().to_be_bytes());
        packet.extend(tuple.destination.v4_bits().to_be_bytes());
        for number in [tuple.source_port, tuple.destination_port, 8 + payload.len() as u16, checksum] {
            packet.extend(number.to_be_bytes());
        }
        packet.extend(payload);
        let len = packet.len() as u16;
        ipv4::make_segment(&mut packet[..20], 0, len);
        let mut frame = Frame::from_bytes(&packet);
        frame.layer = Layer::Ip;
        frame
    }

    /// The checksum that its pseudo-header and upper layer would give, with what stands in the field as it is.
    fn checksum_of(frame: &Frame) -> u16 {
        let bytes = frame.bytes();
        let pseudo_header = checksum::sum(&bytes[12..20], u32::from(bytes[9]) + bytes.len() as u32 - 20);
        checksum::finish(checksum::sum(&bytes[20..], pseudo_header))
    }

    fn translated(mut frame: Frame, [from, to]: [Tuple; 2]) -> Frame {
        let packet = Packet::of(&frame).unwrap();
        Translation::new(&from, &to).unwrap().apply(&mut frame, &packet);
        assert!(ipv4::checksum_holds(&frame.bytes()[..20]));
        frame
    }

    #[test]
    fn a_datagram_gets_its_addresses_ports_and_checksum() {
        let sum = checksum_of(&datagram(FROM, 0, b"hi"));
        let frame = translated(datagram(FROM, sum, b"hi"), [FROM, TO]);
        let expected = checksum_of(&datagram(TO, 0, b"hi"));
        assert_eq!(frame.bytes(), datagram(TO, expected, b"hi").bytes());
        assert_eq!(
            frame.bytes()[12..24],
            [198, 51, 100, 7, 203, 0, 113, 5, 0xee, 0x48, 0x1f, 0x75],
            "where they stand"
        );
    }

    #[test]
    fn no_checksum_stays_none() {
        let frame = translated(datagram(FROM, 0, b"hi"), [FROM, TO]);
        assert_eq!(frame.bytes(), datagram(TO, 0, b"hi").bytes());
    }

    #[test]
    fn a_checksum_that_becomes_zero_is_sent_as_ones_where_zero_is_none() {
        for (protocol, zero) in [(17, 0xffff), (136, 0xffff), (33, 0)] {
            let [from, to] = if protocol == 17 { [FROM, TO] } else { flows(protocol) };
            // A payload that takes in the checksum of all else brings it to zero.
            let payload = checksum_of(&datagram(to, 0, &[0, 0])).to_be_bytes();
            let sum = checksum_of(&datagram(from, 0, &payload));
            let frame = translated(datagram(from, sum, &payload), [from, to]);
            assert_eq!(be16(frame.bytes(), 26), zero, "protocol {protocol}");
            let back = translated(frame, [to, from]);
            assert_eq!(back.bytes(), datagram(from, sum, &payload).bytes());
        }
    }

    #[test]
    fn an_unfinished_checksum_follows_the_addresses_alone() {
        let pseudo_header = |tuple: Tuple| {
            let packet = datagram(tuple, 0, b"hi");
            checksum::fold(checksum::sum(&packet.bytes()[12..20], 17 + 10))
        };
        let claim = Offload { needs_csum: true, csum_start: 20, csum_offset: 6, ..Offload::NONE };
        let mut frame = datagram(FROM, pseudo_header(FROM), b"hi");
        frame.offload = claim;
        let frame = translated(frame, [FROM, TO]);
        assert_eq!(frame.bytes(), datagram(TO, pseudo_header(TO), b"hi").bytes());
        assert_eq!(frame.offload, claim);
    }

    #[test]
    fn a_checksum_left_undone_further_in_is_none_of_its_own() {
        let inside = b"a packet that is carried";
        let sum = checksum_of(&datagram(FROM, 0, inside));
        let mut frame = datagram(FROM, sum, inside);
        frame.offload = Offload { needs_csum: true, csum_start: 30, csum_offset: 16, ..Offload::NONE };
        let expected = checksum_of(&datagram(TO, 0, inside));
        assert_eq!(translated(frame, [FROM, TO]).bytes(), datagram(TO, expected, inside).bytes());
    }

    #[test]
    fn of_other_protocols_the_pseudo_header_counts_where_there_is_one() {
        for (protocol, covered) in [(33, true), (136, true), (132, false), (47, false), (58, false)] {
            let [from, to] = flows(protocol);
            let sum = checksum_of(&datagram(from, 0, b"hi"));
            let expected = if covered { checksum_of(&datagram(to, 0, b"hi")) } else { sum };
            let frame = translated(datagram(from, sum, b"hi"), [from, to]);
            assert_eq!(frame.bytes(), datagram(to, expected, b"hi").bytes(), "protocol {protocol}");
            for len in 20..28 {
                let mut short = datagram(from, sum, b"hi").bytes()[..len].to_vec();
                ipv4::make_segment(&mut short[..20], 0, len as u16);
                let mut cut = Frame::from_bytes(&short);
                cut.layer = Layer::Ip;
                let cut = translated(cut, [from, to]);
                assert_eq!(cut.bytes()[20..], short[20..], "no checksum in {len} bytes");
            }
        }
    }

    #[test]
    fn of_a_later_fragment_only_the_addresses_change() {
        let mut frame = datagram(FROM, 0x1234, b"hi");
        frame.bytes_mut()[7] = 9;
        ipv4::make_segment(&mut frame.bytes_mut()[..20], 0, 30);
        let upper = frame.bytes()[20..].to_vec();
        let frame = translated(frame, [FROM, TO]);
        assert_eq!(frame.bytes()[12..20], [198, 51, 100, 7, 203, 0, 113, 5]);
        assert_eq!(frame.bytes()[20..], upper);
    }

    #[test]
    fn a_question_of_icmp_that_is_no_echo_has_no_identifier_to_change() {
        let [from, to] = flows(1);
        let mut frame = datagram(from, 0, b"");
        frame.bytes_mut()[20..28].copy_from_slice(&[13, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let message = frame.bytes()[20..].to_vec();
        assert_eq!(translated(frame, [from, to]).bytes()[20..], message);
    }

    #[test]
    fn flows_that_cannot_become_each_other_have_no_translation() {
        let v6 = Address::from_bits(0xfd << 120 | 1);
        assert_eq!(Translation::new(&FROM, &FROM), None);
        for to in [
            Tuple { protocol: 6, ..TO },
            Tuple { source: v6, ..TO },
            Tuple { destination: v6, ..TO },
            Tuple { source: v6, destination: v6, ..TO },
        ] {
            assert_eq!(Translation::new(&FROM, &to), None);
            assert_eq!(Translation::new(&to, &FROM), None);
        }
        assert!(Translation::new(&FROM, &Tuple { source_port: 1, ..FROM }).is_some());
    }

    #[test]
    fn it_is_small_enough_to_sit_in_every_entry_of_a_cache() {
        assert_eq!(size_of::<Translation>(), 44);
    }

    #[test]
    fn a_hop_that_is_not_left_is_not_taken() {
        let mut frame = datagram(FROM, 0, b"");
        for left in [63, 62] {
            let packet = Packet::of(&frame).unwrap();
            hop(&mut frame, &packet);
            assert_eq!(Packet::of(&frame).unwrap().ttl, left);
        }
        let packet = Packet::of(&frame).unwrap();
        ipv4::set_ttl(frame.bytes_mut(), 0);
        hop(&mut frame, &packet);
        assert_eq!(Packet::of(&frame).unwrap().ttl, 0);
    }
}
