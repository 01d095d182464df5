//! What a router or a rule answers a packet with: an ICMP or ICMPv6 error, a TCP reset, an echo reply.
//!
//! A router says it from an address of its own and routes it like any packet: [`report`] and [`reset`] give it as an IP
//! packet without a link header. A bridge has no address to say it from, so there the answer comes from the address that
//! the packet was sent to, and goes back the way it came: [`mirrored`] and [`mirrored_reset`] turn the stations round and
//! keep the VLAN tags.
//!
//! No answer leaves anything undone, and none is sent where it could multiply or go in circles: see [`report`].

use etherparse::{IpDscp, IpNumber, Ipv4Header, Ipv6Header};

use super::{Frame, Gso, Layer, Offload, Packet, Part};
use crate::wire::address::Address;
use crate::wire::{be16, checksum, ethernet, icmp, ipv4, ipv6, set_be16, tcp, udp};

/// Longest link header before a packet: what [`ethernet::payload`] passes over.
const MAX_LINK: usize = ethernet::HEADER_LEN + 4 * ethernet::TAG_LEN;
/// The TTL or hop limit of an answer (RFC 1122 section 3.2.1.7).
const TTL: u8 = 64;

/// What became of a packet, as its sender can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its TTL or hop limit ran out on the way.
    TtlExceeded,
    /// Not all of its fragments came in time.
    ReassemblyTime,
    /// No route leads to its destination.
    NoRoute,
    /// Nobody answers for its next hop.
    HostUnreachable,
    /// Nothing takes it at its port.
    PortUnreachable,
    /// Nothing takes its protocol.
    ProtocolUnreachable,
    /// A rule forbids it.
    Prohibited,
    /// It may not be fragmented and is longer than these bytes, IP header included, that fit. An IPv6 sender is never
    /// told of less than 1280: every link has to carry those (RFC 8200 section 5), and it would ignore what says
    /// otherwise (RFC 8201 section 4).
    TooBig(u32),
    /// A field of its header is wrong.
    ParameterProblem {
        /// Bytes from the start of its IP header to the field; of IPv4 below 256.
        pointer: u32,
    },
}

impl Trouble {
    /// Type, code and the number in the header's last four bytes in an ICMP message (RFC 792, RFC 1812 section 5.2.7).
    fn v4(self) -> (u8, u8, u32) {
        match self {
            Trouble::NoRoute => (icmp::DESTINATION_UNREACHABLE, 0, 0),
            Trouble::HostUnreachable => (icmp::DESTINATION_UNREACHABLE, 1, 0),
            Trouble::ProtocolUnreachable => (icmp::DESTINATION_UNREACHABLE, 2, 0),
            Trouble::PortUnreachable => (icmp::DESTINATION_UNREACHABLE, 3, 0),
            Trouble::TooBig(mtu) => (icmp::DESTINATION_UNREACHABLE, 4, mtu.min(u16::MAX.into())),
            Trouble::Prohibited => (icmp::DESTINATION_UNREACHABLE, 13, 0),
            Trouble::TtlExceeded => (icmp::TIME_EXCEEDED, 0, 0),
            Trouble::ReassemblyTime => (icmp::TIME_EXCEEDED, 1, 0),
            Trouble::ParameterProblem { pointer } => (icmp::PARAMETER_PROBLEM, 0, pointer << 24),
        }
    }

    /// The same in an ICMPv6 message about `packet`, an IPv6 packet whose upper layer begins `l4` bytes into it (RFC
    /// 4443 section 3).
    fn v6(self, packet: &[u8], l4: usize) -> (u8, u8, u32) {
        match self {
            Trouble::NoRoute => (icmp::V6_DESTINATION_UNREACHABLE, 0, 0),
            Trouble::Prohibited => (icmp::V6_DESTINATION_UNREACHABLE, 1, 0),
            Trouble::HostUnreachable => (icmp::V6_DESTINATION_UNREACHABLE, 3, 0),
            Trouble::PortUnreachable => (icmp::V6_DESTINATION_UNREACHABLE, 4, 0),
            Trouble::TooBig(mtu) => (icmp::V6_PACKET_TOO_BIG, 0, mtu.max(ipv6::MIN_MTU as u32)),
            Trouble::TtlExceeded => (icmp::V6_TIME_EXCEEDED, 0, 0),
            Trouble::ReassemblyTime => (icmp::V6_TIME_EXCEEDED, 1, 0),
            Trouble::ParameterProblem { pointer } => (icmp::V6_PARAMETER_PROBLEM, 0, pointer),
            Trouble::ProtocolUnreachable => {
                (icmp::V6_PARAMETER_PROBLEM, 1, ipv6::next_header_at(packet, l4) as u32)
            }
        }
    }
}

/// Makes `answer` the IP packet that tells the sender of `packet`, which `frame` holds, of the `trouble` with it; it comes
/// `from` an address of the router. IPv4 quotes as much of the packet as makes 576 bytes of answer (RFC 1812 section
/// 4.3.2.3), IPv6 as makes 1280 (RFC 4443 section 2.4 c). Of a superframe the sender is shown the first segment, whose
/// checksum field is as the superframe has it.
///
/// `false`, and `answer` as it was, when none may be sent (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443
/// section 2.4): about an ICMP error, about a fragment but the first, about what was sent to a group of stations or hosts
/// (an IPv6 packet that is too big is told of even then), or to a source that is no single host. That a destination is the
/// broadcast address of a subnet, and how a packet without a link header came, the caller knows. `false` also when `from`
/// is of the other version.
pub fn report(frame: &Frame, packet: &Packet, trouble: Trouble, from: Address, answer: &mut Frame) -> bool {
    let mut bytes = [0; icmp::V6_MAX_ERROR_LEN];
    match write_error(frame, packet, trouble, from, &mut bytes) {
        Some(len) => fill_ip(answer, &bytes[..len]),
        None => return false,
    }
    true
}

/// [`report`] on a bridge: the answer comes from where the packet in `frame` was sent to, has the frame's VLAN tags and is
/// for its source. `false` also when the frame holds no IP packet that a router would look at.
pub fn mirrored(frame: &Frame, trouble: Trouble, answer: &mut Frame) -> bool {
    let mut bytes = [0; MAX_LINK + icmp::V6_MAX_ERROR_LEN];
    mirror(frame, answer, &mut bytes, |packet, bytes| {
        write_error(frame, packet, trouble, packet.tuple.destination, bytes)
    })
}

/// Makes `answer` the IP packet that refuses the TCP segment in `packet`, which `frame` holds: a reset (RFC 9293 section
/// 3.5.2) from the address that it was for. `false`, and `answer` as it was, when that gets none: a reset, a fragment,
/// what is malformed or no TCP, and what was sent to or from a group.
pub fn reset(frame: &Frame, packet: &Packet, answer: &mut Frame) -> bool {
    let mut bytes = [0; ipv6::HEADER_LEN + tcp::MIN_HEADER_LEN];
    match write_reset(frame, packet, &mut bytes) {
        Some(len) => fill_ip(answer, &bytes[..len]),
        None => return false,
    }
    true
}

/// [`reset`] on a bridge, as [`mirrored`] is [`report`].
pub fn mirrored_reset(frame: &Frame, answer: &mut Frame) -> bool {
    let mut bytes = [0; MAX_LINK + ipv6::HEADER_LEN + tcp::MIN_HEADER_LEN];
    mirror(frame, answer, &mut bytes, |packet, bytes| write_reset(frame, packet, bytes))
}

/// Turns the echo request in `packet`, which `frame` holds, into its reply (RFC 1122 section 3.2.2.6, RFC 4443 section
/// 4.2): addresses swapped, TTL 64, everything else as it was, an unfinished checksum still unfinished. The link header
/// stays, and `packet` is not true of the frame any more.
///
/// `false`, and nothing changed, when it is no request, a fragment, or was sent to or from what is no single host.
pub fn echo_reply(frame: &mut Frame, packet: &Packet) -> bool {
    let reply = match (packet.tuple.protocol, packet.kind) {
        (icmp::PROTOCOL, icmp::ECHO_REQUEST) => icmp::ECHO_REPLY,
        (icmp::V6_PROTOCOL, icmp::V6_ECHO_REQUEST) => icmp::V6_ECHO_REPLY,
        _ => return false,
    };
    if packet.part != Part::Whole || !is_host(packet.tuple.source) || !is_host(packet.tuple.destination) {
        return false;
    }
    let unfinished = frame.offload.needs_csum && frame.offload.csum_start == packet.l4;
    let (header, message) =
        frame.bytes_mut()[usize::from(packet.l3)..].split_at_mut(usize::from(packet.l4 - packet.l3));
    let (v4, addresses) = match packet.tuple.source.is_v4() {
        true => (true, &mut header[12..20]),
        false => (false, &mut header[8..40]),
    };
    let (source, destination) = addresses.split_at_mut(addresses.len() / 2);
    source.swap_with_slice(destination);
    match v4 {
        true => ipv4::set_ttl(header, TTL),
        false => ipv6::set_hop_limit(header, TTL),
    }
    let old = be16(message, 0);
    message[0] = reply;
    if !unfinished {
        let sum = checksum::update(be16(message, icmp::CHECKSUM_AT), old, be16(message, 0));
        set_be16(message, icmp::CHECKSUM_AT, sum);
    }
    true
}

fn fill_ip(answer: &mut Frame, bytes: &[u8]) {
    answer.fill(bytes, Offload::NONE);
    answer.layer = Layer::Ip;
}

/// Makes `answer` what `write` makes of the packet in `frame`, behind the link header that leads back.
fn mirror(
    frame: &Frame,
    answer: &mut Frame,
    bytes: &mut [u8],
    write: impl FnOnce(&Packet, &mut [u8]) -> Option<usize>,
) -> bool {
    let Ok(packet) = Packet::of(frame) else {
        return false;
    };
    let l3 = usize::from(packet.l3);
    let (link, ip) = bytes.split_at_mut(l3);
    let from = &frame.bytes()[..l3];
    if frame.layer == Layer::Ethernet {
        if (from[0] | from[6]) & 1 != 0 {
            return false; // a group
        }
        link.copy_from_slice(from);
        link[..6].copy_from_slice(&from[6..12]);
        link[6..12].copy_from_slice(&from[..6]);
    }
    match write(&packet, ip) {
        Some(len) => answer.fill_like(frame, &bytes[..l3 + len]),
        None => return false,
    }
    true
}

/// Writes the error to the beginning of `answer`, and says how long it is.
fn write_error(
    frame: &Frame,
    packet: &Packet,
    trouble: Trouble,
    from: Address,
    answer: &mut [u8],
) -> Option<usize> {
    let v4 = packet.tuple.source.is_v4();
    let to_many = is_for_many(frame, packet) && (v4 || !matches!(trouble, Trouble::TooBig(_)));
    if to_many
        || packet.part == Part::Later
        || packet.is_icmp_error()
        || !is_host(packet.tuple.source)
        || !is_host(from)
        || from.is_v4() != v4
    {
        return None;
    }
    let (headers, most) = match v4 {
        true => (ipv4::MIN_HEADER_LEN, icmp::MAX_ERROR_LEN),
        false => (ipv6::HEADER_LEN, icmp::V6_MAX_ERROR_LEN),
    };
    let len = (headers + icmp::HEADER_LEN + len_on_wire(frame, packet)).min(most);
    let (header, message) = answer[..len].split_at_mut(headers);
    quote(frame, packet, &mut message[icmp::HEADER_LEN..]);
    let quoted = &frame.bytes()[usize::from(packet.l3)..packet.end as usize];
    let (kind, code, number) = match v4 {
        true => trouble.v4(),
        false => trouble.v6(quoted, usize::from(packet.l4 - packet.l3)),
    };
    message[..4].copy_from_slice(&[kind, code, 0, 0]);
    message[4..8].copy_from_slice(&number.to_be_bytes());
    let protocol = icmp::of_version(v4);
    let pseudo_header =
        if v4 { 0 } else { pseudo_header(from, packet.tuple.source, protocol, message.len()) };
    let sum = checksum::finish(checksum::sum(message, pseudo_header));
    set_be16(message, icmp::CHECKSUM_AT, sum);
    // As routers send them (RFC 1812 section 4.3.2.5).
    write_ip_header(header, IpDscp::CS6, protocol, from, packet.tuple.source, message.len());
    Some(len)
}

/// Copies what `packet` begins with to `quotation`, as it would go over the wire.
fn quote(frame: &Frame, packet: &Packet, quotation: &mut [u8]) {
    let (l3, on_wire) = (usize::from(packet.l3), len_on_wire(frame, packet));
    quotation.copy_from_slice(&frame.bytes()[l3..l3 + quotation.len()]);
    if frame.offload.gso == Gso::None {
        return;
    }
    let l4 = usize::from(packet.l4) - l3;
    // A segment is no longer than its length fields can say.
    match packet.tuple.source.is_v4() {
        true if l4 <= quotation.len() => ipv4::make_segment(&mut quotation[..l4], 0, on_wire as u16),
        true => {}
        false => ipv6::set_payload_len(quotation, (on_wire - ipv6::HEADER_LEN) as u16),
    }
    if frame.offload.gso == Gso::Udp
        && let Some(header) = quotation.get_mut(l4..l4 + udp::HEADER_LEN)
    {
        udp::set_len(header, on_wire.saturating_sub(l4) as u16);
    }
}

/// Bytes of `packet` as it would go over the wire, IP header included: its own, or those of its first segment.
pub(super) fn len_on_wire(frame: &Frame, packet: &Packet) -> usize {
    match frame.offload.gso {
        Gso::None => packet.len(),
        _ => {
            let segment = usize::from(frame.offload.header_len) + usize::from(frame.offload.gso_size);
            let header = usize::from(packet.l4 - packet.l3);
            segment.saturating_sub(packet.l3.into()).clamp(header, packet.len())
        }
    }
}

/// Writes the reset to the beginning of `answer`, and says how long it is.
fn write_reset(frame: &Frame, packet: &Packet, answer: &mut [u8]) -> Option<usize> {
    if packet.tuple.protocol != tcp::PROTOCOL
        || packet.part != Part::Whole
        || packet.kind & tcp::RST != 0
        || is_for_many(frame, packet)
        || !is_host(packet.tuple.source)
    {
        return None;
    }
    let segment = packet.upper_layer(frame);
    let payload = segment.len().checked_sub(tcp::header_len(segment)?)?;
    // A SYN and a FIN count as a byte each (RFC 9293 section 3.4).
    let controls = (packet.kind & tcp::SYN != 0) as u32 + (packet.kind & tcp::FIN != 0) as u32;
    let end = tcp::sequence(segment).wrapping_add(payload as u32).wrapping_add(controls);
    let (sequence, acknowledgment, flags) = match packet.kind & tcp::ACK {
        0 => (0, end, tcp::RST | tcp::ACK),
        _ => (tcp::acknowledgment(segment), 0, tcp::RST),
    };

    let tuple = packet.tuple.reversed();
    let headers = if tuple.source.is_v4() { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let len = headers + tcp::MIN_HEADER_LEN;
    let (header, reset) = answer[..len].split_at_mut(headers);
    set_be16(reset, 0, tuple.source_port);
    set_be16(reset, 2, tuple.destination_port);
    reset[4..8].copy_from_slice(&sequence.to_be_bytes());
    reset[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    reset[12..].copy_from_slice(&[(tcp::MIN_HEADER_LEN as u8 / 4) << 4, flags, 0, 0, 0, 0, 0, 0]);
    let pseudo_header = pseudo_header(tuple.source, tuple.destination, tcp::PROTOCOL, reset.len());
    let sum = checksum::finish(checksum::sum(reset, pseudo_header));
    set_be16(reset, tcp::CHECKSUM_AT, sum);
    write_ip_header(header, IpDscp::CS0, tcp::PROTOCOL, tuple.source, tuple.destination, reset.len());
    Some(len)
}

/// Makes `header` one without options, from `source` to `destination`, with `len` bytes of `protocol` behind it. The
/// DSCP is for IPv4.
fn write_ip_header(
    header: &mut [u8],
    dscp: IpDscp,
    protocol: u8,
    source: Address,
    destination: Address,
    len: usize,
) {
    let [source, destination] = [source, destination].map(|address| address.bits().to_be_bytes());
    if header.len() == ipv4::MIN_HEADER_LEN {
        let v4 = |[.., a, b, c, d]: [u8; 16]| [a, b, c, d];
        let mut ip = Ipv4Header {
            dscp,
            total_len: (header.len() + len) as u16,
            dont_fragment: true,
            time_to_live: TTL,
            protocol: IpNumber(protocol),
            source: v4(source),
            destination: v4(destination),
            ..Ipv4Header::default()
        };
        ip.header_checksum = ip.calc_header_checksum();
        header.copy_from_slice(&ip.to_bytes());
    } else {
        let ip = Ipv6Header {
            payload_length: len as u16,
            next_header: IpNumber(protocol),
            hop_limit: TTL,
            source,
            destination,
            ..Ipv6Header::default()
        };
        header.copy_from_slice(&ip.to_bytes());
    }
}

/// The sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(source: Address, destination: Address, protocol: u8, len: usize) -> u32 {
    // What IPv4 addresses have in common, 0xffff, adds nothing to a sum.
    let addresses = [source, destination].map(|address| address.bits().to_be_bytes());
    checksum::sum(addresses.as_flattened(), u32::from(protocol) + len as u32)
}

/// Whether it was sent to a group of stations or to an address that is not that of a single host.
fn is_for_many(frame: &Frame, packet: &Packet) -> bool {
    frame.layer == Layer::Ethernet && frame.bytes()[0] & 1 != 0 || !is_host(packet.tuple.destination)
}

/// Whether a packet may come from the address, and an answer go there.
fn is_host(address: Address) -> bool {
    let v4 = address.v4_bits() >> 24;
    match address.is_v4() {
        true => (1..224).contains(&v4) && v4 != 127,
        false => !address.is_unspecified() && !address.is_multicast() && address.bits() != 1,
    }
}

#[cfg(test)]
mod tests;
