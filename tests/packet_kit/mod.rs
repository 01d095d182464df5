//! Packets of random flows as etherparse makes them, for the suites of what a router does to packets.

#![allow(dead_code, reason = "each suite uses its part")]

use core::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Slice, Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions,
    Ipv6Header, Ipv6RawExtHeader, NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::{Frame, Gso, Layer, Offload, Tuple};
use tapyard::wire::address::Address;

/// The headers of the upper layer, ports and identifiers apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Upper {
    Tcp { sequence: u32, acknowledgment: u32, flags: [bool; 4], options: usize },
    Udp { checksum: bool },
    Request { sequence: u16 },
    Reply { sequence: u16 },
}

/// A packet of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tuple: Tuple,
    pub(crate) upper: Upper,
    pub(crate) ttl: u8,
    /// Words of options of IPv4; whether IPv6 has an extension header.
    pub(crate) options: usize,
    pub(crate) payload: Vec<u8>,
    /// How much is left undone: a checksum, or a superframe with segments of this size.
    pub(crate) undone: Option<Gso>,
    pub(crate) layer: Layer,
}

pub(crate) fn v4(address: Address) -> [u8; 4] {
    address.v4_bits().to_be_bytes()
}

pub(crate) fn v6(address: Address) -> [u8; 16] {
    address.bits().to_be_bytes()
}

impl Sent {
    pub(crate) fn is_v4(&self) -> bool {
        self.tuple.source.is_v4()
    }

    pub(crate) fn ip(&self) -> IpHeaders {
        let tuple = self.tuple;
        if self.is_v4() {
            let mut ip = Ipv4Header {
                source: v4(tuple.source),
                destination: v4(tuple.destination),
                time_to_live: self.ttl,
                identification: 7,
                ..Ipv4Header::default()
            };
            ip.options = vec![1; self.options * 4].as_slice().try_into().unwrap();
            return IpHeaders::Ipv4(ip, Default::default());
        }
        let header = || Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[1, 4, 0, 0, 0, 0]).unwrap();
        let extensions = Ipv6Extensions {
            destination_options: (self.options > 5).then(header),
            ..Ipv6Extensions::default()
        };
        let ip = Ipv6Header {
            source: v6(tuple.source),
            destination: v6(tuple.destination),
            hop_limit: self.ttl,
            ..Ipv6Header::default()
        };
        IpHeaders::Ipv6(ip, extensions)
    }

    /// The finished packet, with its link header if it has one.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tuple = self.tuple;
        let (from, to) = (tuple.source_port, tuple.destination_port);
        let ip = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(self.ip());
        let mut bytes = Vec::new();
        match (&self.upper, self.is_v4()) {
            (Upper::Tcp { sequence, acknowledgment, flags, options }, _) => {
                let mut tcp = TcpHeader::new(from, to, *sequence, 0xffff);
                tcp.acknowledgment_number = *acknowledgment;
                [tcp.syn, tcp.ack, tcp.fin, tcp.rst] = *flags;
                tcp.set_options_raw(&vec![1; options * 4]).unwrap();
                ip.tcp_header(tcp).write(&mut bytes, &self.payload)
            }
            (Upper::Udp { .. }, _) => ip.udp(from, to).write(&mut bytes, &self.payload),
            (Upper::Request { sequence }, true) => {
                ip.icmpv4_echo_request(from, *sequence).write(&mut bytes, &self.payload)
            }
            (Upper::Reply { sequence }, true) => {
                ip.icmpv4_echo_reply(to, *sequence).write(&mut bytes, &self.payload)
            }
            (Upper::Request { sequence }, false) => {
                ip.icmpv6_echo_request(from, *sequence).write(&mut bytes, &self.payload)
            }
            (Upper::Reply { sequence }, false) => {
                ip.icmpv6_echo_reply(to, *sequence).write(&mut bytes, &self.payload)
            }
        }
        .unwrap();
        if self.upper == (Upper::Udp { checksum: false }) {
            let at = bytes.len() - self.payload.len() - 2;
            bytes[at..at + 2].fill(0);
        }
        match self.layer {
            Layer::Ethernet => bytes,
            Layer::Ip => bytes.split_off(14),
        }
    }

    /// The packet as it is sent, with what its sender leaves undone.
    pub(crate) fn frame(&self) -> Frame {
        let mut bytes = self.bytes();
        let mut offload = Offload::NONE;
        if let Some(gso) = self.undone {
            let (header, at, pseudo_header) = match self.upper {
                Upper::Tcp { options, .. } => (20 + options * 4, 16, true),
                Upper::Udp { .. } => (8, 6, true),
                _ => (8, 2, !self.is_v4()),
            };
            let len = header + self.payload.len();
            let start = bytes.len() - len;
            let sum = if pseudo_header { self.pseudo_header(len) } else { 0 };
            bytes[start + at..][..2].copy_from_slice(&sum.to_be_bytes());
            offload = Offload {
                needs_csum: true,
                gso,
                gso_size: 100,
                csum_start: start as u16,
                csum_offset: at as u16,
                ..Offload::NONE
            };
            offload.check(self.layer, &bytes).unwrap();
        }
        let mut frame = Frame::default();
        frame.fill(&bytes, offload);
        frame.layer = self.layer;
        frame
    }

    fn pseudo_header(&self, len: usize) -> u16 {
        let tuple = self.tuple;
        let addresses = match self.is_v4() {
            true => [v4(tuple.source), v4(tuple.destination)].concat(),
            false => [v6(tuple.source), v6(tuple.destination)].concat(),
        };
        let words = addresses.chunks(2).map(|word| usize::from(word[0]) << 8 | usize::from(word[1]));
        let mut sum = words.sum::<usize>() + usize::from(tuple.protocol) + len;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }
}

/// An address of one host.
pub(crate) fn host(v4: bool) -> BoxedStrategy<Address> {
    if v4 {
        (1..224u8, any::<[u8; 3]>())
            .prop_filter("loopback", |(first, _)| *first != 127)
            .prop_map(|(first, [b, c, d])| Address::from(Ipv4Addr::new(first, b, c, d)))
            .boxed()
    } else {
        (select(vec![0x20u8, 0xfd, 0xfe]), any::<[u8; 15]>())
            .prop_map(|(first, rest)| {
                let octets: [u8; 16] = [&[first][..], &rest].concat().try_into().unwrap();
                Address::from(Ipv6Addr::from(octets))
            })
            .boxed()
    }
}

fn tuple(v4: bool, upper: &Upper) -> impl Strategy<Value = Tuple> + use<> {
    let protocol = match (upper, v4) {
        (Upper::Tcp { .. }, _) => 6,
        (Upper::Udp { .. }, _) => 17,
        (_, true) => 1,
        (_, false) => 58,
    };
    let [source, destination] = match upper {
        Upper::Request { .. } => [true, false],
        Upper::Reply { .. } => [false, true],
        _ => [true, true],
    };
    let port = |present: bool, port: u16| if present { port } else { 0 };
    (host(v4), host(v4), any::<(u16, u16)>()).prop_map(move |(from, to, (from_port, to_port))| Tuple {
        source: from,
        destination: to,
        source_port: port(source, from_port),
        destination_port: port(destination, to_port),
        protocol,
    })
}

fn upper() -> impl Strategy<Value = Upper> {
    prop_oneof![
        2 => (any::<(u32, u32, [bool; 4])>(), 0..=10usize).prop_map(
            |((sequence, acknowledgment, flags), options)| Upper::Tcp { sequence, acknowledgment, flags, options }
        ),
        2 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(|checksum| Upper::Udp { checksum }),
        1 => any::<u16>().prop_map(|sequence| Upper::Request { sequence }),
        1 => any::<u16>().prop_map(|sequence| Upper::Reply { sequence }),
    ]
}

/// A packet, and another flow of its version and protocol.
pub(crate) fn sent() -> impl Strategy<Value = (Sent, Tuple)> {
    let how =
        (any::<bool>(), upper(), 1..=255u8, 0..=10usize, vec(any::<u8>(), 0..1400), 0..3u8, any::<bool>());
    how.prop_flat_map(|(v4, upper, ttl, options, payload, undone, ip)| {
        let undone = match (undone, &upper) {
            (0, _) | (_, Upper::Udp { checksum: false }) => None,
            (2, Upper::Tcp { .. }) => Some(if v4 { Gso::TcpV4 } else { Gso::TcpV6 }),
            (2, Upper::Udp { .. }) => Some(Gso::Udp),
            _ => Some(Gso::None),
        };
        let layer = if ip { Layer::Ip } else { Layer::Ethernet };
        (tuple(v4, &upper), tuple(v4, &upper)).prop_map(move |(tuple, other)| {
            let (upper, payload) = (upper.clone(), payload.clone());
            (Sent { tuple, upper, ttl, options, payload, undone, layer }, other)
        })
    })
}

pub(crate) fn sliced(frame: &Frame) -> SlicedPacket<'_> {
    match frame.layer {
        Layer::Ethernet => SlicedPacket::from_ethernet(frame.bytes()),
        Layer::Ip => SlicedPacket::from_ip(frame.bytes()),
    }
    .unwrap_or_else(|error| panic!("{error}: {:02x?}", frame.bytes()))
}

/// The flow of a finished packet as etherparse reads it, whose checksums all are what etherparse makes them.
pub(crate) fn checked(frame: &Frame) -> Tuple {
    let packet = sliced(frame);
    let (source, destination, protocol) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            (header.source.into(), header.destination.into(), header.protocol)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            (header.source.into(), header.destination.into(), ip.payload().ip_number)
        }
        other => panic!("{other:?}"),
    };
    let (source, destination): (core::net::IpAddr, core::net::IpAddr) = (source, destination);
    let addresses = (source, destination);
    let (source_port, destination_port) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            let (header, payload) = (tcp.to_header(), tcp.payload());
            let sum = match addresses {
                (core::net::IpAddr::V4(from), core::net::IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
                }
                (core::net::IpAddr::V6(from), core::net::IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(header.checksum, sum.unwrap());
            (header.source_port, header.destination_port)
        }
        TransportSlice::Udp(udp) => {
            let (header, payload) = (udp.to_header(), udp.payload());
            let sum = match addresses {
                (core::net::IpAddr::V4(from), core::net::IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
                }
                (core::net::IpAddr::V6(from), core::net::IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
                }
                other => panic!("{other:?}"),
            };
            if header.checksum != 0 {
                assert_eq!(header.checksum, sum.unwrap());
            }
            (header.source_port, header.destination_port)
        }
        TransportSlice::Icmpv4(icmp) => {
            checked_icmp(icmp);
            match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(IcmpEchoHeader { id, .. }) => (id, 0),
                Icmpv4Type::EchoReply(IcmpEchoHeader { id, .. }) => (0, id),
                _ => (0, 0),
            }
        }
        TransportSlice::Icmpv6(icmp) => {
            let (core::net::IpAddr::V6(from), core::net::IpAddr::V6(to)) = addresses else { panic!() };
            assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
            match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(IcmpEchoHeader { id, .. }) => (id, 0),
                Icmpv6Type::EchoReply(IcmpEchoHeader { id, .. }) => (0, id),
                _ => (0, 0),
            }
        }
        other => panic!("{other:?}"),
    };
    Tuple {
        source: addresses.0.into(),
        destination: addresses.1.into(),
        source_port,
        destination_port,
        protocol: protocol.0,
    }
}

fn checked_icmp(icmp: &Icmpv4Slice<'_>) {
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
}
