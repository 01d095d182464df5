//! ICMP (RFC 792) and ICMPv6 (RFC 4443): which messages are errors, and which are echoes.

use super::be16;

/// The number of ICMP in an IPv4 header.
pub const PROTOCOL: u8 = 1;
/// The number of ICMPv6 in an IPv6 header.
pub const V6_PROTOCOL: u8 = 58;

/// The number of the ICMP that belongs to IPv4, or to IPv6.
#[inline]
pub const fn of_version(v4: bool) -> u8 {
    if v4 { PROTOCOL } else { V6_PROTOCOL }
}

/// Bytes of the header of a message that quotes a packet, ICMP and ICMPv6 alike; the quotation is behind.
pub const HEADER_LEN: usize = 8;

/// Most bytes of an IPv4 packet with an ICMP error (RFC 1812 section 4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;
/// Most bytes of an IPv6 packet with an ICMPv6 error: the least MTU of a link (RFC 4443 section 2.4 c).
pub const V6_MAX_ERROR_LEN: usize = super::ipv6::MIN_MTU;

/// The type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// The type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
/// The type of an ICMPv6 echo request.
pub const V6_ECHO_REQUEST: u8 = 128;
/// The type of an ICMPv6 echo reply.
pub const V6_ECHO_REPLY: u8 = 129;

/// The type of an error: it did not get to its destination.
pub const DESTINATION_UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
/// The type of an error: its TTL ran out, or its fragments did not come in time.
pub const TIME_EXCEEDED: u8 = 11;
/// The type of an error: its header is wrong.
pub const PARAMETER_PROBLEM: u8 = 12;
/// The type of an ICMPv6 error: it did not get to its destination.
pub const V6_DESTINATION_UNREACHABLE: u8 = 1;
/// The type of an ICMPv6 error: it is longer than what fits a link on its way.
pub const V6_PACKET_TOO_BIG: u8 = 2;
/// The type of an ICMPv6 error: its hop limit ran out, or its fragments did not come in time.
pub const V6_TIME_EXCEEDED: u8 = 3;
/// The type of an ICMPv6 error: its header is wrong.
pub const V6_PARAMETER_PROBLEM: u8 = 4;
const V6_FIRST_INFORMATIONAL: u8 = 128;
const V6_REDIRECT: u8 = 137;

/// Whether an ICMP message of this type is an error, which no error may answer (RFC 1122 section 3.2.2).
#[inline]
pub fn is_error(message_type: u8) -> bool {
    matches!(
        message_type,
        DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

/// Whether an ICMPv6 message of this type is one that no error may answer: an error, or a redirect (RFC 4443 section
/// 2.4 e).
#[inline]
pub fn is_v6_error(message_type: u8) -> bool {
    message_type < V6_FIRST_INFORMATIONAL || message_type == V6_REDIRECT
}

/// Whether an ICMPv6 message of this type quotes a packet behind its header. A redirect has other things there, and of
/// errors that are not known yet nobody can tell.
#[inline]
pub fn quotes_v6(message_type: u8) -> bool {
    (V6_DESTINATION_UNREACHABLE..=V6_PARAMETER_PROBLEM).contains(&message_type)
}

/// Where the checksum stands in the header of any message.
pub const CHECKSUM_AT: usize = 2;
/// Where the identifier of an echo stands in its header.
pub const IDENTIFIER_AT: usize = 4;

/// The identifier of an echo, in the place of a port: a request's source, a reply's destination. Both are 0 in another
/// message of `protocol`.
///
/// # Panics
/// When `message` is shorter than [`HEADER_LEN`].
#[inline]
pub fn echo_ports(protocol: u8, message: &[u8]) -> (u16, u16) {
    match (protocol, message[0]) {
        (PROTOCOL, ECHO_REQUEST) | (V6_PROTOCOL, V6_ECHO_REQUEST) => (be16(message, IDENTIFIER_AT), 0),
        (PROTOCOL, ECHO_REPLY) | (V6_PROTOCOL, V6_ECHO_REPLY) => (0, be16(message, IDENTIFIER_AT)),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_questions_and_answers() {
        let errors: Vec<u8> = (0..=255).filter(|&message_type| is_error(message_type)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
        let informational: Vec<u8> = (0..=255).filter(|&message_type| !is_v6_error(message_type)).collect();
        assert_eq!(informational, (128..=255).filter(|&t| t != 137).collect::<Vec<_>>());
    }
}
