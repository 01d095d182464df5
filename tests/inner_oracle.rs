//! What a tunnel's ends do to the packet inside, against an oracle: what etherparse reads afterwards is what it read
//! before but for the field that was to change, with checksums that it finds right; and no bytes make any of it panic.

use etherparse::{
    IpEcn, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TcpHeader,
    TcpOptionElement, TransportSlice, VlanId, icmpv4, icmpv6,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tapyard::packet::{DropReason, Frame, Gso, Inner, Layer, Offload, ecn, mss, too_big};

/// The bytes of a packet in a frame with some tags, and where its network layer begins.
#[derive(Clone, Debug)]
struct Packet {
    ip: IpHeaders,
    tcp: TcpHeader,
    vlans: usize,
    layer: Layer,
    payload: Vec<u8>,
}

impl Packet {
    fn frame(&self) -> Frame {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match self.vlans {
            0 => link.ip(self.ip.clone()),
            1 => link.single_vlan(VlanId::ZERO).ip(self.ip.clone()),
            _ => link.double_vlan(VlanId::ZERO, VlanId::ZERO).ip(self.ip.clone()),
        };
        let mut bytes = Vec::new();
        ip.tcp_header(self.tcp.clone()).write(&mut bytes, &self.payload).unwrap();
        let l3 = if self.layer == Layer::Ip { 14 + 4 * self.vlans } else { 0 };
        let mut frame = Frame::from_bytes(&bytes[l3..]);
        frame.layer = self.layer;
        frame
    }
}

fn sliced(frame: &Frame) -> SlicedPacket<'_> {
    match frame.layer {
        Layer::Ethernet => SlicedPacket::from_ethernet(frame.bytes()),
        Layer::Ip => SlicedPacket::from_ip(frame.bytes()),
    }
    .unwrap_or_else(|error| panic!("{error}: {:02x?}", frame.bytes()))
}

/// The TCP header of a frame, whose checksums and those of the IP header are right.
fn checked_tcp(frame: &Frame) -> TcpHeader {
    let packet = sliced(frame);
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {packet:?}") };
    let (header, payload) = (tcp.to_header(), tcp.payload());
    let sum = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            header.calc_checksum_ipv4(&ip, payload)
        }
        Some(NetSlice::Ipv6(ip)) => header.calc_checksum_ipv6(&ip.header().to_header(), payload),
        other => panic!("no IP: {other:?}"),
    };
    assert_eq!(header.checksum, sum.unwrap());
    header
}

fn host_v4() -> impl Strategy<Value = [u8; 4]> {
    (1..224u8, any::<[u8; 3]>())
        .prop_filter("loopback", |(first, _)| *first != 127)
        .prop_map(|(first, [b, c, d])| [first, b, c, d])
}

fn ip() -> impl Strategy<Value = IpHeaders> {
    let v4 = (host_v4(), host_v4(), any::<(u8, u8, u16)>(), 0..=10usize).prop_map(
        |(source, destination, (tos, time_to_live, identification), words)| {
            let mut ip = Ipv4Header {
                source,
                destination,
                time_to_live,
                identification,
                dont_fragment: true,
                ..Ipv4Header::default()
            };
            ip.dscp = (tos >> 2).try_into().unwrap();
            ip.ecn = (tos & 3).try_into().unwrap();
            ip.options = vec![1; words * 4].as_slice().try_into().unwrap();
            IpHeaders::Ipv4(ip, Default::default())
        },
    );
    let v6 =
        any::<([u8; 15], [u8; 15], u8, u8)>().prop_map(|(source, destination, traffic_class, hop_limit)| {
            let address = |rest: [u8; 15]| [&[0xfd][..], &rest].concat().try_into().unwrap();
            let (source, destination) = (address(source), address(destination));
            let ip = Ipv6Header { source, destination, traffic_class, hop_limit, ..Ipv6Header::default() };
            IpHeaders::Ipv6(ip, Default::default())
        });
    prop_oneof![v4, v6]
}

/// Options in any order, with or without the MSS, at even and odd places.
fn tcp() -> impl Strategy<Value = TcpHeader> {
    let option = prop_oneof![
        2 => Just(TcpOptionElement::Noop),
        1 => any::<u16>().prop_map(TcpOptionElement::MaximumSegmentSize),
        1 => any::<u8>().prop_map(TcpOptionElement::WindowScale),
        1 => any::<(u32, u32)>().prop_map(|(value, echo)| TcpOptionElement::Timestamp(value, echo)),
    ];
    (any::<(u16, u16, u32, bool)>(), vec(option, 0..5)).prop_map(
        |((from, to, sequence, syn), mut options)| {
            let mut tcp = TcpHeader::new(from, to, sequence, 0xffff);
            tcp.syn = syn;
            while tcp.set_options(&options).is_err() {
                options.pop();
            }
            tcp
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let layer = prop_oneof![Just(Layer::Ethernet), Just(Layer::Ip)];
    (ip(), tcp(), 0..=2usize, layer, vec(any::<u8>(), 0..2000))
        .prop_map(|(ip, tcp, vlans, layer, payload)| Packet { ip, tcp, vlans, layer, payload })
}

fn mss_of(tcp: &TcpHeader) -> Option<u16> {
    tcp.options_iterator().flatten().find_map(|option| match option {
        TcpOptionElement::MaximumSegmentSize(mss) => Some(mss),
        _ => None,
    })
}

proptest! {
    #[test]
    fn the_fields_are_those_that_the_oracle_reads(packet in packet(), seed: u64) {
        let inner = Inner::of(&packet.frame(), seed);
        let (tos, ttl) = match &packet.ip {
            IpHeaders::Ipv4(ip, _) => (ip.dscp.value() << 2 | ip.ecn.value(), ip.time_to_live),
            IpHeaders::Ipv6(ip, _) => (ip.traffic_class, ip.hop_limit),
        };
        prop_assert_eq!((inner.tos, inner.ttl, inner.dont_fragment), (Some(tos), Some(ttl), true));
        let mut next = packet.clone();
        next.payload.push(7);
        next.tcp.sequence_number ^= 0xffff;
        next.tcp.syn = !next.tcp.syn;
        prop_assert_eq!(Inner::of(&next.frame(), seed).flow, inner.flow);
    }

    #[test]
    fn a_mark_changes_the_ecn_field_alone(packet in packet(), outer: u8) {
        let mut frame = packet.frame();
        let inner = match &packet.ip {
            IpHeaders::Ipv4(ip, _) => ip.ecn,
            IpHeaders::Ipv6(ip, _) => IpEcn::try_new(ip.traffic_class & 3).unwrap(),
        };
        let marked = match (inner.value(), outer & 3) {
            (0, 3) => None,
            (1 | 2, 3) => Some(3),
            (2, 1) => Some(1),
            (inner, _) => Some(inner),
        };
        prop_assert_eq!({ let layer = frame.layer; ecn::decapsulate(frame.bytes_mut(), layer, outer) }, marked.map(drop).ok_or(DropReason::Ecn));
        let mut expected = packet;
        match &mut expected.ip {
            IpHeaders::Ipv4(ip, _) => ip.ecn = IpEcn::try_new(marked.unwrap_or(0)).unwrap(),
            IpHeaders::Ipv6(ip, _) => ip.traffic_class = ip.traffic_class & !3 | marked.unwrap_or(0),
        }
        prop_assert!(frame.bytes() == expected.frame().bytes(), "{:02x?}", frame.bytes());
    }

    #[test]
    fn a_clamped_syn_is_what_the_oracle_would_have_built(packet in packet(), mtu in 0..3000u32) {
        let mut frame = packet.frame();
        let headers = if matches!(packet.ip, IpHeaders::Ipv4(..)) { 40 } else { 60 };
        let most = mtu.saturating_sub(headers) as u16;
        let lower = packet.tcp.syn && most > 0 && mss_of(&packet.tcp).is_some_and(|mss| mss > most);
        prop_assert_eq!(mss::clamp(&mut frame, mtu), lower);
        let tcp = checked_tcp(&frame);
        prop_assert_eq!(mss_of(&tcp), if lower { Some(most) } else { mss_of(&packet.tcp) });
        if !lower {
            prop_assert!(frame.bytes() == packet.frame().bytes(), "{:02x?}", frame.bytes());
        }
        prop_assert_eq!(frame.len(), packet.frame().len());
    }

    #[test]
    fn an_answer_is_an_icmp_error_that_the_oracle_finds_right(packet in packet(), mtu in 60..1600u32) {
        let frame = packet.frame();
        let mut to = Frame::from_bytes(&[0xa5; 2000]);
        let network = &frame.bytes()[frame.layer.network(frame.bytes()).unwrap().1..];
        let v4 = matches!(packet.ip, IpHeaders::Ipv4(..));
        let told = if v4 { mtu } else { mtu.max(1280) };
        prop_assert_eq!(too_big::answer(&frame, mtu, &mut to), network.len() > told as usize);
        if network.len() <= told as usize {
            return Ok(());
        }
        let answer = sliced(&to);
        let payload = match (&answer.net, &answer.transport, &packet.ip) {
            (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp)), IpHeaders::Ipv4(sent, _)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!((ip.source, ip.destination), (sent.destination, sent.source));
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert!(ip.total_len <= 576);
                let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: told as u16 };
                let what = etherparse::Icmpv4Type::DestinationUnreachable(needed);
                prop_assert_eq!(icmp.icmp_type(), what.clone());
                prop_assert_eq!(icmp.checksum(), what.calc_checksum(icmp.payload()));
                icmp.payload()
            }
            (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp)), IpHeaders::Ipv6(sent, _)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!((ip.source, ip.destination), (sent.destination, sent.source));
                prop_assert_eq!(ip.next_header, IpNumber::IPV6_ICMP);
                prop_assert!(ip.payload_length <= 1240);
                prop_assert_eq!(icmp.icmp_type(), etherparse::Icmpv6Type::PacketTooBig { mtu: told });
                prop_assert!(icmp.is_checksum_valid(ip.source, ip.destination));
                prop_assert_eq!(icmp.code_u8(), 0);
                prop_assert_eq!(icmp.type_u8(), icmpv6::TYPE_PACKET_TOO_BIG);
                icmp.payload()
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(payload, &network[..payload.len()]);
        prop_assert_eq!(to.offload, Offload::NONE);
        let mut again = Frame::default();
        prop_assert!(!too_big::answer(&to, 0, &mut again), "an error is not answered by one");
    }
}

/// A frame that begins as an IP packet does, then goes on as it likes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop_oneof![
        Just(vec![]),
        Just(vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]),
        Just(vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0, 1, 0x86, 0xdd]),
    ];
    let first = prop_oneof![0x44..=0x4fu8, Just(0x60), any::<u8>()];
    (begin, first, vec(prop_oneof![any::<u8>(), 0..8u8, Just(44), Just(58), Just(60)], 0..300))
        .prop_map(|(begin, first, rest)| [begin, vec![first], rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_and_no_claim_make_any_of_it_panic(
        bytes in bytes(),
        ip: bool,
        numbers: [u16; 4],
        gso in proptest::sample::select(vec![Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::Unknown]),
        outer: u8,
        mtu in prop_oneof![0..300u32, any::<u32>()],
    ) {
        let mut frame = Frame::from_bytes(&bytes);
        frame.layer = if ip { Layer::Ip } else { Layer::Ethernet };
        let mut to = Frame::default();
        let [gso_size, header_len, csum_start, csum_offset] = numbers;
        let claim = Offload { needs_csum: outer & 0x80 != 0, gso, gso_size, header_len, csum_start, csum_offset, ..Offload::NONE };
        for offload in [Offload::NONE, claim] {
            frame.offload = offload;
            Inner::of(&frame, mtu.into());
            too_big::answer(&frame, mtu, &mut to);
            mss::clamp(&mut frame, mtu);
            prop_assert_eq!(frame.len(), bytes.len());
            let _ = { let layer = frame.layer; ecn::decapsulate(frame.bytes_mut(), layer, outer) };
            prop_assert_eq!(frame.len(), bytes.len());
        }
    }
}
