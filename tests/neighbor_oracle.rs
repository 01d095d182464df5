//! What neighbours say to each other against an oracle: frames made here are what etherparse reads and would write, and
//! no bytes make reading them panic.

use core::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Icmpv6Header, Icmpv6Type, IpNumber, NetSlice, SlicedPacket,
    TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::neighbor_message::{
    advertisement, arp, arp_reply, arp_request, nd, router_advertisement, solicitation,
};
use tapyard::packet::{Frame, Layer, Offload, Packet};
use tapyard::wire::arp::Arp;
use tapyard::wire::ethernet::Mac;
use tapyard::wire::nd::{self, AdvertisementFlags, Kind, Nd, Prefix, RouterAdvertisement};

/// Source, destination and message of a frame of neighbour discovery.
type Message = ([u8; 16], [u8; 16], Vec<u8>);

/// What the oracle reads in such a frame, once its headers and its checksum are seen to be right.
fn checked(frame: &Frame) -> Result<Message, TestCaseError> {
    let sliced = SlicedPacket::from_ethernet(frame.bytes()).unwrap();
    let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (&sliced.net, &sliced.transport)
    else {
        return Err(TestCaseError::fail(format!("{frame:?}")));
    };
    let (source, destination) = (ip.header().source(), ip.header().destination());
    prop_assert_eq!((ip.header().hop_limit(), ip.header().next_header()), (255, IpNumber::IPV6_ICMP));
    prop_assert!(icmp.is_checksum_valid(source, destination));
    prop_assert_eq!(frame.len(), 14 + 40 + icmp.slice().len());
    prop_assert_eq!(frame.offload, Offload::NONE);
    Ok((source, destination, icmp.slice().to_vec()))
}

/// Whether a message is what etherparse makes of its type and of the bytes behind its header.
fn is_whole(
    message: &[u8],
    icmp_type: Icmpv6Type,
    from: [u8; 16],
    to: [u8; 16],
) -> Result<(), TestCaseError> {
    let behind = &message[8..];
    let header = Icmpv6Header::with_checksum(icmp_type, from, to, behind).unwrap();
    prop_assert_eq!(message, [&header.to_bytes()[..], behind].concat());
    Ok(())
}

fn host() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(0xfd << 120 | bits >> 8))
}

fn mac() -> impl Strategy<Value = Mac> {
    (1..1u64 << 40).prop_map(|bits| Mac::from_bits(0x0200_0000_0000 | bits))
}

proptest! {
    #[test]
    fn arp_is_what_the_oracle_writes_and_reads(
        from in mac(),
        to in mac(),
        ips: (u32, u32),
        unicast: bool,
        reply: bool,
    ) {
        let (from_ip, to_ip) = (Ipv4Addr::from_bits(ips.0), Ipv4Addr::from_bits(ips.1));
        let mut frame = Frame::default();
        let destination = match (reply, unicast) {
            (true, _) => {
                arp_reply(&mut frame, from, from_ip, to, to_ip);
                to
            }
            (false, true) => {
                arp_request(&mut frame, from, from_ip, to_ip, Some(to));
                to
            }
            (false, false) => {
                arp_request(&mut frame, from, from_ip, to_ip, None);
                Mac::BROADCAST
            }
        };
        let sliced = SlicedPacket::from_ethernet(frame.bytes()).unwrap();
        let link = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
        prop_assert_eq!((link.source, link.destination), (from.octets(), destination.octets()));
        prop_assert_eq!(link.ether_type, EtherType::ARP);
        let Some(NetSlice::Arp(read)) = sliced.net else { panic!("no ARP") };
        let expected = ArpEthIpv4Packet {
            operation: if reply { ArpOperation::REPLY } else { ArpOperation::REQUEST },
            sender_mac: from.octets(),
            sender_ipv4: from_ip.octets(),
            target_mac: if reply { to.octets() } else { [0; 6] },
            target_ipv4: to_ip.octets(),
        };
        prop_assert_eq!(&read.to_packet().try_eth_ipv4().unwrap(), &expected);
        let parsed = Arp::parse(&frame.bytes()[14..]).unwrap();
        prop_assert_eq!(&parsed.emit()[..], &expected.to_bytes()[..]);
    }

    #[test]
    fn questions_and_answers_have_right_headers(
        from in mac(),
        to in mac(),
        from_ip in host(),
        target in host(),
        unicast: bool,
        bits in 0..8u8,
    ) {
        let mut frame = Frame::default();
        solicitation(&mut frame, from, from_ip, target, unicast.then_some(to));
        let (source, destination, message) = checked(&frame)?;
        prop_assert_eq!(source, from_ip.octets());
        if unicast {
            prop_assert_eq!(destination, target.octets());
        } else {
            let last = &target.octets()[13..];
            prop_assert_eq!(&destination[..], &[&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff], last].concat());
            prop_assert_eq!(&frame.bytes()[..6], &[&[0x33, 0x33, 0xff], last].concat());
        }
        is_whole(&message, Icmpv6Type::NeighborSolicitation, source, destination)?;
        let packet = Packet::of(&frame).unwrap();
        let kind = Kind::NeighborSolicitation { target };
        prop_assert_eq!(nd(&frame, &packet), Some(Ok(Nd { kind, link_layer: Some(from) })));

        let (router, solicited, overrides) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
        let flags = AdvertisementFlags { router, solicited, overrides };
        advertisement(&mut frame, from, from_ip, (to, target), flags);
        let (source, destination, message) = checked(&frame)?;
        let header = etherparse::icmpv6::NeighborAdvertisementHeader { router, solicited, r#override: overrides };
        is_whole(&message, Icmpv6Type::NeighborAdvertisement(header), source, destination)?;
        prop_assert_eq!(&message[8..24], &from_ip.octets());
    }

    #[test]
    fn a_router_advertisement_has_right_headers(
        from in mac(),
        said in (any::<(u8, bool, bool, u16)>(), any::<Option<u32>>(), vec(any::<(u128, u8)>(), 0..60), vec(any::<u128>(), 0..60)),
    ) {
        let ((hop_limit, managed, other, lifetime), mtu, prefixes, servers) = said;
        let prefix = |(bits, len)| Prefix {
            prefix: Ipv6Addr::from_bits(bits), len, on_link: true, autonomous: true, valid: 1, preferred: 1,
        };
        let what = RouterAdvertisement {
            hop_limit,
            managed,
            other,
            lifetime,
            mtu,
            prefixes: prefixes.into_iter().map(prefix).collect(),
            rdnss: servers.into_iter().map(Ipv6Addr::from_bits).collect(),
            rdnss_lifetime: 1,
        };
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let mut frame = Frame::default();
        router_advertisement(&mut frame, from, link_local, &what, None);
        let (source, destination, message) = checked(&frame)?;
        let header = etherparse::icmpv6::RouterAdvertisementHeader {
            cur_hop_limit: hop_limit,
            managed_address_config: managed,
            other_config: other,
            router_lifetime: lifetime,
        };
        is_whole(&message, Icmpv6Type::RouterAdvertisement(header), source, destination)?;
        prop_assert!(frame.len() <= 14 + 1280);
        let packet = Packet::of(&frame).unwrap();
        let expected = Nd { kind: Kind::RouterAdvertisement, link_layer: Some(from) };
        prop_assert_eq!(nd(&frame, &packet), Some(Ok(expected)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bytes_make_reading_panic(
        message_type in prop_oneof![133..=137u8, any::<u8>()],
        rest in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..120),
        source: u128,
        destination: u128,
    ) {
        let message = [&[message_type, 0][..], &rest].concat();
        let (source, destination) = (Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(destination));
        if let Some(read) = Nd::parse(source, destination, 255, &message) {
            prop_assert!(nd::is_nd(message_type) && message.len() >= 8);
            let multicast = |target: Ipv6Addr| target.is_multicast();
            match read.kind {
                Kind::NeighborSolicitation { target } | Kind::NeighborAdvertisement { target, .. } => {
                    prop_assert!(!multicast(target))
                }
                _ => {}
            }
        }
        nd::checksum_holds(source, destination, &message);
        Arp::parse(&message);
    }

    #[test]
    fn nor_do_damaged_frames(
        ether_type in select(vec![[8, 6], [0x86, 0xdd], [0x81, 0], [8, 0]]),
        damage in vec((0..90usize, any::<u8>()), 0..5),
        len in 14..90usize,
        layer in select(vec![Layer::Ethernet, Layer::Ip]),
        target in host(),
    ) {
        let mut frame = Frame::default();
        match ether_type {
            [8, 6] => arp_request(&mut frame, Mac::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, None),
            _ => solicitation(&mut frame, Mac::from_bits(2 << 40), target, target, None),
        }
        let mut bytes = frame.bytes()[..len.min(frame.len())].to_vec();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let mut frame = Frame::from_bytes(&bytes);
        frame.layer = layer;
        let _ = arp(&frame);
        if let Ok(packet) = Packet::of(&frame) {
            let _ = nd(&frame, &packet);
        }
    }
}
