//! MSS clamping: has both ends of a TCP connection agree on segments that fit a tunnel, so that nothing has to be told
//! them later.

use super::Frame;
use crate::wire::{be16, checksum, ipv4, ipv6, set_be16, tcp};

/// Lowers the MSS that the SYN in `frame` offers to what fits `mtu` bytes of IP packet, if it is more, and says whether
/// it did. The MSS does not count options, of IP or TCP: who sends them takes them off (RFC 9293 section 3.7.1).
///
/// An unfinished checksum covers the addresses and the length only, which stay; a finished one follows. Any other frame
/// stays as it is: a fragment, a SYN without the option, what is no SYN.
#[inline]
pub fn clamp(frame: &mut Frame, mtu: u32) -> bool {
    let Some((l4, ip_header)) = syn(frame) else {
        return false;
    };
    match mtu.saturating_sub((ip_header + tcp::MIN_HEADER_LEN) as u32) {
        0 => false, // nothing fits: an MSS of 0 would say less than no MSS
        most => lower(frame, l4, u16::try_from(most).unwrap_or(u16::MAX)),
    }
}

/// Where the TCP header of a SYN begins, and how long an IP header without options is that is before it.
#[inline]
fn syn(frame: &Frame) -> Option<(usize, usize)> {
    let bytes = frame.bytes();
    let (ether_type, l3) = frame.layer.network(bytes)?;
    let packet = &bytes[l3..];
    let (protocol, l4, ip_header) = match ether_type {
        ipv4::ETHER_TYPE => {
            let l4 = ipv4::header_len(packet)?;
            if ipv4::is_fragment(packet) {
                return None;
            }
            (ipv4::protocol(packet), l4, ipv4::MIN_HEADER_LEN)
        }
        ipv6::ETHER_TYPE => {
            let (protocol, l4) = ipv6::upper_layer(packet)?;
            (protocol, l4, ipv6::HEADER_LEN)
        }
        _ => return None,
    };
    (protocol == tcp::PROTOCOL && tcp::is_syn(&packet[l4..])).then_some((l3 + l4, ip_header))
}

#[cold]
fn lower(frame: &mut Frame, l4: usize, most: u16) -> bool {
    let unfinished = frame.offload.needs_csum;
    let l4 = &mut frame.bytes_mut()[l4..];
    let Some(header) = tcp::header_len(l4).and_then(|len| l4.get_mut(..len)) else {
        return false;
    };
    let Some(at) = tcp::mss_at(header).filter(|&at| be16(header, at) > most) else {
        return false;
    };
    let old = be16(header, at);
    set_be16(header, at, most);
    if !unfinished {
        // An option may stand at an odd place, where its high byte is the low one of a number that is summed.
        let swapped = |number: u16| if at % 2 == 0 { number } else { number.swap_bytes() };
        let sum = checksum::update(be16(header, tcp::CHECKSUM_AT), swapped(old), swapped(most));
        set_be16(header, tcp::CHECKSUM_AT, sum);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, Offload};

    /// A SYN from 10.0.0.1:1 to 10.0.0.2:2 with MSS 1460 at an even or, behind a NOP, at an odd place.
    fn ipv4_syn(odd: bool) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 48, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0x70, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(if odd { [1, 2, 4, 0x05, 0xb4, 1, 1, 0] } else { [2, 4, 0x05, 0xb4, 1, 1, 1, 0] });
        ipv4::make_segment(&mut packet[..20], 0, 48);
        let sum = checksum::finish(l4_sum(&packet));
        set_be16(&mut packet, 36, sum);
        packet
    }

    /// What the pseudo-header and the segment of [`ipv4_syn`] sum up to.
    fn l4_sum(packet: &[u8]) -> u32 {
        checksum::sum(&packet[20..], checksum::sum(&packet[12..20], 6 + 28))
    }

    fn ip(packet: &[u8]) -> Frame {
        let mut frame = Frame::from_bytes(packet);
        frame.layer = Layer::Ip;
        frame
    }

    #[test]
    fn the_offer_is_lowered_to_what_fits_and_never_raised() {
        for (odd, at) in [(false, 42), (true, 43)] {
            for (mtu, mss) in [(1499, 1459), (1450, 1410), (41, 1)] {
                let mut frame = ip(&ipv4_syn(odd));
                assert!(clamp(&mut frame, mtu));
                assert_eq!(be16(frame.bytes(), at), mss);
                assert_eq!(checksum::fold(l4_sum(frame.bytes())), 0xffff, "MTU {mtu}");
                assert_eq!(frame.bytes()[..36], ipv4_syn(odd)[..36]);
                assert_eq!(frame.bytes()[45..], ipv4_syn(odd)[45..]);
            }
            for mtu in [1500, 9000, 70_000, u32::MAX, 40, 0] {
                let mut frame = ip(&ipv4_syn(odd));
                assert!(!clamp(&mut frame, mtu));
                assert_eq!(frame.bytes(), ipv4_syn(odd));
            }
        }
    }

    #[test]
    fn an_unfinished_checksum_is_left_so() {
        let mut frame = ip(&ipv4_syn(false));
        frame.offload = Offload { needs_csum: true, csum_start: 20, csum_offset: 16, ..Offload::NONE };
        assert!(clamp(&mut frame, 1450));
        assert_eq!(frame.bytes()[36..38], ipv4_syn(false)[36..38]);
        assert_eq!(be16(frame.bytes(), 42), 1410);
    }

    #[test]
    fn ipv6_has_the_longer_header_and_options_do_not_count() {
        let tcp = ipv4_syn(false)[20..].to_vec();
        for extension in [&[][..], &[6, 0, 1, 4, 0, 0, 0, 0]] {
            let mut packet = [0; 40];
            (packet[0], packet[6]) = (0x60, if extension.is_empty() { 6 } else { 60 });
            let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 0x86, 0xdd];
            let mut frame = Frame::from_bytes(&[&ethernet, &packet[..], extension, &tcp].concat());
            assert!(clamp(&mut frame, 1450));
            assert_eq!(be16(frame.bytes(), 18 + 40 + extension.len() + 22), 1390);
        }
    }

    #[test]
    fn only_a_syn_is_touched() {
        let syn = ipv4_syn(false);
        for (at, value, what) in [
            (0, 0x65, "of no version"),
            (6, 0x20, "a fragment"),
            (7, 1, "a later fragment"),
            (9, 17, "UDP"),
            (32, 0x50, "no options"),
            (32, 0x40, "a header too short"),
            (32, 0x80, "a header that ends behind the frame"),
            (33, 0x10, "an ACK"),
            (40, 0, "options that end at once"),
        ] {
            let mut packet = syn.clone();
            packet[at] = value;
            let mut frame = ip(&packet);
            assert!(!clamp(&mut frame, 576), "{what}");
            assert_eq!(frame.bytes(), packet, "{what}");
        }
        for len in 0..syn.len() {
            let mut frame = ip(&syn[..len]);
            assert!(!clamp(&mut frame, 576), "{len} bytes");
            assert_eq!(frame.bytes(), &syn[..len]);
        }
        let mut syn_ack = syn;
        syn_ack[33] = 0x12;
        assert!(clamp(&mut ip(&syn_ack), 576));
    }
}
