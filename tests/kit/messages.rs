//! Messages by which hosts get and defend their addresses: ARP, neighbour discovery, DHCP, byte by byte, so that any of
//! them may be wrong.

use std::net::{Ipv4Addr, Ipv6Addr};

use tapyard::wire::ethernet::Mac;

pub(crate) const ARP: u16 = 0x0806;
pub(crate) const RARP: u16 = 0x8035;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

pub(crate) fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

pub(crate) fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

pub(crate) fn ether(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &ether_type.to_be_bytes(), payload].concat()
}

/// An ARP message: operation, sender, target.
pub(crate) fn arp(operation: u16, sender: (Mac, &str), target: (Mac, &str)) -> Vec<u8> {
    let half = |(mac, address): (Mac, &str)| [&mac.octets()[..], &v4(address).octets()].concat();
    [&[0, 1, 8, 0, 6, 4], &operation.to_be_bytes()[..], &half(sender), &half(target)].concat()
}

/// A broadcast ARP request.
pub(crate) fn who_has(from: (Mac, &str), address: &str) -> Vec<u8> {
    ether(Mac::BROADCAST, from.0, ARP, &arp(1, from, (Mac::default(), address)))
}

/// An ARP reply, in a frame of the least length.
pub(crate) fn is_at(to: (Mac, &str), from: (Mac, &str)) -> Vec<u8> {
    let mut frame = ether(to.0, from.0, ARP, &arp(2, from, to));
    frame.resize(60, 0);
    frame
}

/// An IPv4 packet with these options; `fragment`: the 16 bits of flags and offset.
pub(crate) fn ipv4_with(
    (source, destination): (&str, &str),
    protocol: u8,
    options: &[u8],
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let len = 20 + options.len();
    let mut header = vec![0x40 | (len / 4) as u8, 0];
    header.extend(((len + payload.len()) as u16).to_be_bytes());
    header.extend([0, 7]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(v4(source).octets());
    header.extend(v4(destination).octets());
    header.extend(options);
    let sum = !fold(add(0, &header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

pub(crate) fn ipv4(addresses: (&str, &str), protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(addresses, protocol, &[], 0, payload)
}

pub(crate) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// An IPv6 packet; `next` is the kind of its first header.
pub(crate) fn ipv6((source, destination): (&str, &str), next: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let fixed = [&[0x60, 0, 0, 0][..], &len, &[next, 255]].concat();
    [&fixed[..], &v6(source).octets(), &v6(destination).octets(), payload].concat()
}

/// The bytes of an ICMPv6 message with its checksum.
pub(crate) fn checked((source, destination): (&str, &str), message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let pseudo = add(58 + message.len() as u32, &[v6(source).octets(), v6(destination).octets()].concat());
    let sum = !fold(add(pseudo, &message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An IPv6 packet with an ICMPv6 message.
pub(crate) fn icmpv6(addresses: (&str, &str), message: &[u8]) -> Vec<u8> {
    ipv6(addresses, 58, &checked(addresses, message))
}

/// The option that is a link-layer address: of the source (1), of the target (2).
pub(crate) fn link_option(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac.octets()].concat()
}

pub(crate) fn solicitation(target: &str, options: &[u8]) -> Vec<u8> {
    [&[135, 0, 0, 0, 0, 0, 0, 0][..], &v6(target).octets(), options].concat()
}

pub(crate) fn advertisement(target: &str, flags: u8, options: &[u8]) -> Vec<u8> {
    [&[136, 0, 0, 0, flags, 0, 0, 0][..], &v6(target).octets(), options].concat()
}

/// A router advertisement with the option of its source's address.
pub(crate) fn router_advertisement(mac: Mac) -> Vec<u8> {
    [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &link_option(1, mac)].concat()
}

/// A solicitation in a frame, to the group of its target.
pub(crate) fn who_has_v6(from: (Mac, &str), target: &str) -> Vec<u8> {
    let [.., a, b, c] = v6(target).octets();
    let group = format!("ff02::1:ff{a:02x}:{b:02x}{c:02x}");
    let message = solicitation(target, &link_option(1, from.0));
    ether(Mac::new([0x33, 0x33, 0xff, a, b, c]), from.0, IPV6, &icmpv6((from.1, &group), &message))
}

/// An advertisement in a frame.
pub(crate) fn is_at_v6(to: (Mac, &str), from: (Mac, &str), flags: u8) -> Vec<u8> {
    let message = advertisement(from.1, flags, &link_option(2, from.0));
    ether(to.0, from.0, IPV6, &icmpv6((from.1, to.1), &message))
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .fold(sum, |sum, pair| sum + (u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
