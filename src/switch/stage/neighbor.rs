//! ARP (RFC 826) and neighbour discovery (RFC 4861), as far as a bridge looks into them: who says to have which address,
//! who asks for which, and the answers to that.

use core::net::Ipv6Addr;

use crate::wire::address::Address;
use crate::wire::ethernet::{HEADER_LEN, Mac};
use crate::wire::{be16, checksum, icmp, ipv6, set_be16};

/// The EtherType of ARP.
pub(super) const ARP: u16 = 0x0806;
/// The EtherType of reverse ARP (RFC 903), whose messages look the same.
pub(super) const RARP: u16 = 0x8035;

/// The operations of ARP and RARP.
pub(super) const REQUEST: u16 = 1;
pub(super) const REPLY: u16 = 2;
pub(super) const REVERSE_REQUEST: u16 = 3;

/// The types of the messages of ND.
pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
pub(super) const V6_REDIRECT: u8 = 137;

const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// The flags of an advertisement: it is a router's, it was asked for, it replaces what is known.
pub(super) const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
pub(super) const OVERRIDE: u8 = 0x20;

/// The hop limit of every message of ND: it has crossed no router.
pub(super) const HOP_LIMIT: u8 = 255;

/// Bytes of an ARP message about Ethernet and IPv4.
const ARP_LEN: usize = 28;
/// Hardware and protocol that it is about, and how long their addresses are.
const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// Bytes of a solicitation or an advertisement without options.
const TARGET_END: usize = 24;
/// Bytes of the option that is an Ethernet address.
const OPTION_LEN: usize = 8;

/// The most bytes of an answer: an advertisement with its option.
pub(in crate::switch) const MAX_ANSWER: usize = HEADER_LEN + ipv6::HEADER_LEN + TARGET_END + OPTION_LEN;

/// An ARP or RARP message about Ethernet and IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arp {
    pub(super) operation: u16,
    pub(super) sender_mac: Mac,
    pub(super) sender: Address,
    pub(super) target_mac: Mac,
    pub(super) target: Address,
}

impl Arp {
    /// The message that `bytes` begin with; `None` when they end early, or when it is about something else.
    pub(super) fn read(bytes: &[u8]) -> Option<Arp> {
        let bytes = bytes.first_chunk::<ARP_LEN>()?;
        let address = |at| Address::v4(u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2)));
        (bytes[..6] == ETHERNET_AND_IPV4).then(|| Arp {
            operation: be16(bytes, 6),
            sender_mac: mac(bytes, 8),
            sender: address(14),
            target_mac: mac(bytes, 18),
            target: address(24),
        })
    }

    /// Writes a frame that answers this request, which came from the station `to`: the address is that of `mac`. Gives its
    /// length.
    pub(super) fn answer(&self, to: Mac, mac: Mac, frame: &mut [u8; MAX_ANSWER]) -> usize {
        let message = link_header(to, mac, ARP, frame);
        message[..6].copy_from_slice(&ETHERNET_AND_IPV4);
        set_be16(message, 6, REPLY);
        let halves = [(mac, self.target), (self.sender_mac, self.sender)];
        for (half, (mac, address)) in message[8..ARP_LEN].chunks_exact_mut(10).zip(halves) {
            half[..6].copy_from_slice(&mac.octets());
            half[6..].copy_from_slice(&address.v4_bits().to_be_bytes());
        }
        HEADER_LEN + ARP_LEN
    }
}

/// A message of ND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nd<'a> {
    pub(super) kind: u8,
    pub(super) code: u8,
    /// Of an advertisement.
    pub(super) flags: u8,
    /// Whom it is about; `::` in messages from and to routers.
    pub(super) target: Address,
    options: &'a [u8],
}

impl<'a> Nd<'a> {
    /// The ICMPv6 message `message`, if it is one of ND and whole: an option that is cut off, empty, or an address of
    /// another length than Ethernet's makes it none.
    pub(super) fn read(message: &'a [u8]) -> Option<Nd<'a>> {
        let kind = *message.first()?;
        let (target, options) = match kind {
            ROUTER_SOLICITATION => (Address::default(), 8),
            ROUTER_ADVERTISEMENT => (Address::default(), 16),
            SOLICITATION | ADVERTISEMENT => (address(message.get(8..24)?), TARGET_END),
            V6_REDIRECT => (address(message.get(8..24)?), 40),
            _ => return None,
        };
        let nd =
            Nd { kind, code: message[1], flags: *message.get(4)?, target, options: message.get(options..)? };
        let mut rest = nd.options;
        while !rest.is_empty() {
            let len = usize::from(*rest.get(1)?) * 8;
            let is_address = matches!(rest[0], SOURCE_ADDRESS | TARGET_ADDRESS);
            if len == 0 || is_address && len != OPTION_LEN {
                return None;
            }
            rest = rest.get(len..)?;
        }
        Some(nd)
    }

    /// The Ethernet addresses among its options: its sender's, and the target's.
    pub(super) fn link_addresses(&self) -> impl Iterator<Item = Mac> + use<'a> {
        let mut rest = self.options;
        // What was read has options that are whole.
        let options = std::iter::from_fn(move || {
            let len = usize::from(*rest.get(1)?) * 8;
            let (option, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(option)
        });
        options
            .filter(|option| matches!(option[0], SOURCE_ADDRESS | TARGET_ADDRESS))
            .map(|option| mac(option, 2))
    }
}

/// An answer to a solicitation.
pub(super) struct Advertisement {
    /// Whose address it is.
    pub(super) mac: Mac,
    /// The address.
    pub(super) target: Address,
    /// [`ROUTER`] and [`OVERRIDE`], as far as they hold.
    pub(super) flags: u8,
}

impl Advertisement {
    /// Writes a frame with it, for the station `to` that has asked from the address `asker`. Gives its length.
    pub(super) fn write(&self, to: Mac, asker: Address, frame: &mut [u8; MAX_ANSWER]) -> usize {
        let packet = link_header(to, self.mac, ipv6::ETHER_TYPE, frame);
        let (header, message) = packet.split_at_mut(ipv6::HEADER_LEN);
        header.fill(0);
        header[0] = 0x60;
        ipv6::set_payload_len(header, (TARGET_END + OPTION_LEN) as u16);
        (header[6], header[7]) = (icmp::V6_PROTOCOL, HOP_LIMIT);
        header[8..24].copy_from_slice(&self.target.bits().to_be_bytes());
        header[24..].copy_from_slice(&asker.bits().to_be_bytes());
        message.fill(0);
        (message[0], message[4]) = (ADVERTISEMENT, self.flags | SOLICITED);
        message[8..24].copy_from_slice(&self.target.bits().to_be_bytes());
        (message[24], message[25]) = (TARGET_ADDRESS, 1);
        message[26..].copy_from_slice(&self.mac.octets());
        let sum = sum(self.target, asker, message);
        set_be16(message, 2, checksum::finish(sum));
        MAX_ANSWER
    }
}

/// The sum of an ICMPv6 message and its pseudo-header (RFC 8200 section 8.1).
pub(super) fn sum(source: Address, destination: Address, message: &[u8]) -> u32 {
    let header = u32::from(icmp::V6_PROTOCOL) + message.len() as u32;
    let addresses = checksum::sum(&source.bits().to_be_bytes(), header);
    checksum::sum(message, checksum::sum(&destination.bits().to_be_bytes(), addresses))
}

/// Writes the Ethernet header of a frame and gives what is behind.
fn link_header(to: Mac, from: Mac, ether_type: u16, frame: &mut [u8; MAX_ANSWER]) -> &mut [u8] {
    frame[..6].copy_from_slice(&to.octets());
    frame[6..12].copy_from_slice(&from.octets());
    set_be16(frame, 12, ether_type);
    &mut frame[HEADER_LEN..]
}

fn mac(bytes: &[u8], at: usize) -> Mac {
    let mut octets = [0; 6];
    octets.copy_from_slice(&bytes[at..at + 6]);
    Mac::new(octets)
}

fn address(bytes: &[u8]) -> Address {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    /// A request of 10.0.0.1, whose padding is not part of it.
    const REQUEST_FRAME: [u8; 46] = {
        let message = *b"\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x01\x0a\0\0\x01\0\0\0\0\0\0\x0a\0\0\x02";
        let mut padded = [0xa5; 46];
        let mut i = 0;
        while i < message.len() {
            padded[i] = message[i];
            i += 1;
        }
        padded
    };

    #[test]
    fn a_request_is_read_and_answered() {
        let request = Arp::read(&REQUEST_FRAME).unwrap();
        let (asker, asked) = (Address::v4(0x0a00_0001), Address::v4(0x0a00_0002));
        let expected =
            Arp { operation: 1, sender_mac: A, sender: asker, target_mac: Mac::default(), target: asked };
        assert_eq!(request, expected);
        let mut frame = [0xa5; MAX_ANSWER];
        assert_eq!(request.answer(A, B, &mut frame), 42);
        assert_eq!(frame[..14], *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x06");
        let answer = Arp::read(&frame[14..]).unwrap();
        let expected = Arp { operation: 2, sender_mac: B, sender: asked, target_mac: A, target: asker };
        assert_eq!(answer, expected);
    }

    #[test]
    fn what_is_cut_off_or_about_another_network_is_no_arp() {
        for end in 0..ARP_LEN {
            assert_eq!(Arp::read(&REQUEST_FRAME[..end]), None, "{end} bytes");
        }
        for at in 0..6 {
            let mut other = REQUEST_FRAME;
            other[at] ^= 1;
            assert_eq!(Arp::read(&other), None, "byte {at}");
        }
    }

    #[test]
    fn an_advertisement_is_read_as_it_was_written() {
        let (target, asker) = (Address::from_bits(0xfd << 120 | 2), Address::from_bits(0xfd << 120 | 1));
        let mut frame = [0xa5; MAX_ANSWER];
        let advertisement = Advertisement { mac: B, target, flags: ROUTER | OVERRIDE };
        assert_eq!(advertisement.write(A, asker, &mut frame), 86);
        assert_eq!(frame[12..22], *b"\x86\xdd\x60\0\0\0\0\x20\x3a\xff");
        let message = &frame[54..];
        assert_eq!(checksum::fold(sum(target, asker, message)), 0xffff);
        let nd = Nd::read(message).unwrap();
        assert_eq!((nd.kind, nd.code, nd.flags, nd.target), (136, 0, 0xe0, target));
        assert_eq!(nd.link_addresses().collect::<Vec<_>>(), [B]);
        for end in (0..message.len()).filter(|&end| end != TARGET_END) {
            assert_eq!(Nd::read(&message[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn options_are_whole_or_the_message_is_none() {
        let with = |options: &[u8]| [&[SOLICITATION][..], &[0; 23], options].concat();
        let addresses = |message: &[u8]| Nd::read(message).map(|nd| nd.link_addresses().collect::<Vec<_>>());
        let source = [1, 1, 2, 0, 0, 0, 0, 1];
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        assert_eq!(addresses(&with(&[])), Some(vec![]));
        assert_eq!(addresses(&with(&[nonce, source].concat())), Some(vec![A]));
        assert_eq!(addresses(&with(&[source, source].concat())), Some(vec![A, A]));
        assert_eq!(addresses(&with(&[14, 0])), None, "an option without length");
        assert_eq!(
            addresses(&with(&[nonce[0], 2, 0, 0, 0, 0, 0, 0])),
            None,
            "one that ends behind the message"
        );
        assert_eq!(
            addresses(&with(&[1, 2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
            None,
            "a longer address"
        );
        assert_eq!(addresses(&[128; 24]), None, "an echo");
    }
}
