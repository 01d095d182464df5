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
    fn of(protocol: u8) -> Upper {
        match protocol {
            tcp::PROTOCOL => Upper::Tcp,
            udp::PROTOCOL => Upper::Udp,
            icmp::PROTOCOL | icmp::V6_PROTOCOL => Upper::Icmp,
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
        let pseudo_header = if from.protocol == icmp::PROTOCOL { 0 } else { addresses };
        Some(Translation {
            source: to.source.bits().to_be_bytes(),
            destination: to.destination.bits().to_be_bytes(),
            source_port: to.source_port,
            destination_port: to.destination_port,
            addresses,
            finished: canonical(u32::from(pseudo_header) + u32::from(ports)),
            unfinished: pseudo_header,
            v4,
            upper: Upper::of(from.protocol),
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
