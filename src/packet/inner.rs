//! What an outer header takes over from the packet inside: one look at a frame before it is wrapped for a peer.

use super::{Frame, Layer};
use crate::wire::{be16, ipv4, ipv6, tcp, udp};

/// An odd number whose bits have no pattern: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What stands in the headers of a frame that is about to be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// A hash of the flow it belongs to, the same for all packets in one direction: over addresses, protocol and ports.
    /// A fragment has no ports, not even the first, so that all of a packet's fragments go the same way. What is not IP
    /// has its MAC addresses and EtherType.
    pub flow: u16,
    /// The TOS or traffic class; `None` when it is not IP.
    pub tos: Option<u8>,
    /// The TTL or hop limit; `None` when it is not IP.
    pub ttl: Option<u8>,
    /// Nobody on the way may fragment it: an IPv4 packet that says so, and every IPv6 packet.
    pub dont_fragment: bool,
}

impl Inner {
    /// Looks at `frame`, whatever its bytes are. `seed` is secret: a guest that knew it could have all its flows share
    /// a path with those of another.
    #[inline]
    pub fn of(frame: &Frame, seed: u64) -> Inner {
        let bytes = frame.bytes();
        match frame.layer.network(bytes) {
            Some((ipv4::ETHER_TYPE, l3)) => Inner::of_ipv4(&bytes[l3..], seed),
            Some((ipv6::ETHER_TYPE, l3)) => Inner::of_ipv6(&bytes[l3..], seed),
            _ => None,
        }
        .unwrap_or_else(|| Inner {
            flow: stations(frame.layer, bytes, seed),
            tos: None,
            ttl: None,
            dont_fragment: false,
        })
    }

    #[inline]
    fn of_ipv4(packet: &[u8], seed: u64) -> Option<Inner> {
        let l4 = ipv4::header_len(packet)?;
        let ports = if ipv4::is_fragment(packet) { 0 } else { ports(packet, ipv4::protocol(packet), l4) };
        Some(Inner {
            flow: hash([be64(packet, 12), transport(ipv4::protocol(packet), ports)], seed),
            tos: Some(ipv4::tos(packet)),
            ttl: Some(ipv4::ttl(packet)),
            dont_fragment: ipv4::dont_fragment(packet),
        })
    }

    #[inline]
    fn of_ipv6(packet: &[u8], seed: u64) -> Option<Inner> {
        if packet.len() < ipv6::HEADER_LEN || packet[0] >> 4 != 6 {
            return None;
        }
        // A fragment header counts as the protocol, so a fragment has no ports.
        let transport = ipv6::upper_layer(packet)
            .map_or(0, |(protocol, l4)| transport(protocol, ports(packet, protocol, l4)));
        let [a, b, c, d] = [8, 16, 24, 32].map(|at| be64(packet, at));
        Some(Inner {
            flow: hash([a, b, c, d, transport], seed),
            tos: Some(ipv6::traffic_class(packet)),
            ttl: Some(ipv6::hop_limit(packet)),
            dont_fragment: true,
        })
    }
}

/// Both ports of TCP or UDP as one number; 0 for any other protocol, and where the packet ends before.
#[inline]
fn ports(packet: &[u8], protocol: u8, l4: usize) -> u32 {
    match packet.get(l4..l4 + 4) {
        Some(&[a, b, c, d]) if matches!(protocol, tcp::PROTOCOL | udp::PROTOCOL) => {
            u32::from_be_bytes([a, b, c, d])
        }
        _ => 0,
    }
}

#[inline]
fn transport(protocol: u8, ports: u32) -> u64 {
    u64::from(protocol) << 32 | u64::from(ports)
}

/// The hash of what is not IP: by its stations and EtherType, as far as it has them.
#[cold]
fn stations(layer: Layer, bytes: &[u8], seed: u64) -> u16 {
    match (layer, bytes) {
        (Layer::Ethernet, [_, _, _, _, _, _, _, _, _, _, _, _, ..]) => {
            let ether_type = layer.network(bytes).map_or(0, |(ether_type, _)| ether_type);
            hash(
                [
                    be64(bytes, 0),
                    u64::from(be16(bytes, 8)) << 32
                        | u64::from(be16(bytes, 10)) << 16
                        | u64::from(ether_type),
                ],
                seed,
            )
        }
        _ => 0,
    }
}

/// Each word is taken in by a multiplication whose halves are folded together (each bit of it moves each of the result).
#[inline]
fn hash<const N: usize>(words: [u64; N], seed: u64) -> u16 {
    let hash = words.iter().fold(seed, |hash, word| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    });
    (hash >> 48 ^ hash >> 24 ^ hash) as u16
}

/// The big-endian number at `at`.
#[inline]
fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    const SEED: u64 = 0x0123_4567_89ab_cdef;

    /// TOS 0xb9, TTL 17, DF, 10.0.0.1 to 10.0.0.2, UDP 4096 to 53.
    const IPV4: [u8; 28] = [
        0x45, 0xb9, 0, 28, 0, 1, 0x40, 0, 17, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0, 0, 53, 0, 8, 0, 0,
    ];

    /// Traffic class 0xb9, hop limit 17, then UDP behind an empty header of the kind `extension`, if there is one.
    fn ipv6(extension: Option<u8>) -> Vec<u8> {
        let mut packet = vec![0x6b, 0x90, 0, 0, 0, 8, 17, 17];
        packet.extend([[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfd; 16]].concat());
        if let Some(kind) = extension {
            packet[6] = kind;
            packet.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        }
        packet.extend(&IPV4[20..]);
        packet
    }

    fn of(layer: Layer, bytes: &[u8]) -> Inner {
        let mut frame = Frame::from_bytes(bytes);
        frame.layer = layer;
        Inner::of(&frame, SEED)
    }

    fn flow(packet: &[u8]) -> u16 {
        of(Layer::Ip, packet).flow
    }

    fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut changed = packet.to_vec();
        for &(at, value) in changes {
            changed[at] = value;
        }
        changed
    }

    #[test]
    fn fields_are_found_behind_any_tags_and_without_ethernet() {
        for (ether_type, packet, dont_fragment) in [
            ([0x08, 0x00], IPV4.to_vec(), true),
            ([0x86, 0xdd], ipv6(None), true),
            ([0x08, 0x00], with(&IPV4, &[(6, 0)]), false),
        ] {
            let bare = of(Layer::Ip, &packet);
            assert_eq!((bare.tos, bare.ttl, bare.dont_fragment), (Some(0xb9), Some(17), dont_fragment));
            for tags in [&[][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]] {
                let frame = [&ADDRESSES[..], tags, &ether_type, &packet].concat();
                assert_eq!(of(Layer::Ethernet, &frame), bare, "{tags:02x?}");
            }
        }
    }

    #[test]
    fn what_differs_between_packets_of_a_flow_does_not_count() {
        let other = with(&IPV4, &[(1, 0), (3, 29), (5, 2), (6, 0), (8, 9), (10, 0xff), (25, 9)]);
        assert_eq!(flow(&other), flow(&IPV4));
        let other = with(&ipv6(None), &[(0, 0x60), (1, 0x01), (2, 3), (5, 9), (7, 1), (45, 9)]);
        assert_eq!(flow(&other), flow(&ipv6(None)));
        assert_eq!(flow(&ipv6(Some(60))), flow(&ipv6(None)), "an extension header does not count either");
    }

    #[test]
    fn addresses_protocol_and_ports_do() {
        for at in [9, 12, 15, 16, 19, 20, 21, 22, 23] {
            assert_ne!(flow(&with(&IPV4, &[(at, 6)])), flow(&IPV4), "byte {at}");
        }
        let v6 = ipv6(None);
        for at in [6, 8, 15, 16, 23, 24, 31, 32, 39, 40, 41, 42, 43] {
            assert_ne!(flow(&with(&v6, &[(at, 6)])), flow(&v6), "byte {at}");
        }
    }

    #[test]
    fn only_tcp_and_udp_have_ports() {
        for (protocol, counts) in [(6, true), (17, true), (1, false), (47, false), (50, false)] {
            let [packet, other] = [53, 54].map(|port| with(&IPV4, &[(9, protocol), (23, port)]));
            assert_eq!(flow(&packet) != flow(&other), counts, "protocol {protocol}");
        }
    }

    #[test]
    fn fragments_go_one_way_whatever_they_begin_with() {
        let first = with(&IPV4, &[(6, 0x20)]);
        for (high, low, payload) in [(0x20, 0, 1), (0x20, 9, 2), (0x00, 18, 3)] {
            assert_eq!(flow(&with(&IPV4, &[(6, high), (7, low), (20, payload)])), flow(&first));
        }
        let first = ipv6(Some(44));
        for (offset, payload) in [(0, 1), (8, 2)] {
            assert_eq!(flow(&with(&first, &[(43, offset), (48, payload)])), flow(&first));
        }
    }

    #[test]
    fn what_is_not_ip_goes_by_its_stations() {
        let arp = [&ADDRESSES[..], &[0x08, 0x06, 0, 1]].concat();
        let inner = of(Layer::Ethernet, &arp);
        assert_eq!((inner.tos, inner.ttl, inner.dont_fragment), (None, None, false));
        for at in (0..12).chain([13]) {
            assert_ne!(of(Layer::Ethernet, &with(&arp, &[(at, 9)])).flow, inner.flow, "byte {at}");
        }
        assert_eq!(of(Layer::Ethernet, &with(&arp, &[(15, 9)])).flow, inner.flow);
    }

    #[test]
    fn packets_that_end_early_are_looked_at_as_far_as_they_go() {
        for (ether_type, packet, whole) in
            [([0x08, 0x00], IPV4.to_vec(), 20), ([0x86, 0xdd], ipv6(Some(0)), 40)]
        {
            let frame = [&ADDRESSES[..], &ether_type, &packet].concat();
            for len in 0..packet.len() {
                assert_eq!(of(Layer::Ip, &packet[..len]).ttl.is_some(), len >= whole, "{len} bytes");
            }
            for len in 0..frame.len() {
                assert_eq!(
                    of(Layer::Ethernet, &frame[..len]).ttl.is_some(),
                    len >= whole + 14,
                    "{len} bytes"
                );
            }
            assert_eq!(of(Layer::Ip, &with(&packet, &[(0, 0x25)])).ttl, None, "of no version");
        }
    }

    #[test]
    fn flows_are_spread_and_differently_by_each_seed() {
        let flows: Vec<_> = (0..=255)
            .map(|port| Frame::from_bytes(&[&ADDRESSES[..], &[8, 0], &with(&IPV4, &[(21, port)])].concat()))
            .collect();
        let mut used = std::collections::HashSet::new();
        for frame in &flows {
            used.insert(Inner::of(frame, SEED).flow & 0x3f);
            assert_ne!(Inner::of(frame, SEED).flow, Inner::of(frame, SEED + 1).flow);
        }
        assert!(used.len() > 55, "256 flows use {} of 64 ways", used.len());
    }
}
