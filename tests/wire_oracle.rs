//! The byte layer against an oracle: what finishing a checksum and cutting a superframe give is, byte for byte, what
//! etherparse builds; and no bytes with no claim about them make either panic.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder, TcpHeader, TransportHeader, UdpHeader, VlanId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{Batch, DropReason, Frame, Gso, Layer, Offload};

/// A packet as its headers say it, which etherparse turns into bytes.
#[derive(Clone, Debug)]
struct Packet {
    layer: Layer,
    /// None on an IP packet.
    vlans: Vec<u16>,
    ip: IpHeaders,
    l4: TransportHeader,
    payload: Vec<u8>,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let vlan = |i: usize| VlanId::try_new(self.vlans[i]).unwrap();
        let ip = match self.vlans.len() {
            0 => link.ip(self.ip.clone()),
            1 => link.single_vlan(vlan(0)).ip(self.ip.clone()),
            _ => link.double_vlan(vlan(0), vlan(1)).ip(self.ip.clone()),
        };
        let mut bytes = Vec::new();
        match &self.l4 {
            TransportHeader::Tcp(tcp) => ip.tcp_header(tcp.clone()).write(&mut bytes, &self.payload),
            TransportHeader::Udp(udp) => {
                ip.udp(udp.source_port, udp.destination_port).write(&mut bytes, &self.payload)
            }
            other => unreachable!("no strategy makes {other:?}"),
        }
        .unwrap();
        match self.layer {
            Layer::Ethernet => bytes,
            Layer::Ip => bytes.split_off(14),
        }
    }

    /// The packet as a sender leaves it to the device: the checksum undone and, with a `gso_size`, not yet cut.
    fn unfinished(&self, gso_size: Option<u16>) -> Frame {
        let mut bytes = self.bytes();
        let (l4_len, protocol) =
            (self.l4.header_len() + self.payload.len(), if self.is_udp() { 17 } else { 6 });
        let addresses = match &self.ip {
            IpHeaders::Ipv4(ip, _) => [&ip.source[..], &ip.destination].concat(),
            IpHeaders::Ipv6(ip, _) => [&ip.source[..], &ip.destination].concat(),
        };
        let words = addresses.chunks(2).map(|word| usize::from(word[0]) << 8 | usize::from(word[1]));
        let mut sum = words.sum::<usize>() + protocol + l4_len;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let (start, offset) = (bytes.len() - l4_len, if self.is_udp() { 6 } else { 16 });
        bytes[start + offset..][..2].copy_from_slice(&(sum as u16).to_be_bytes());

        let gso = match (&self.l4, &self.ip) {
            _ if gso_size.is_none() => Gso::None,
            (TransportHeader::Udp(_), _) => Gso::Udp,
            (_, IpHeaders::Ipv4(..)) => Gso::TcpV4,
            (_, IpHeaders::Ipv6(..)) => Gso::TcpV6,
        };
        let mut offload = Offload {
            needs_csum: true,
            gso,
            gso_size: gso_size.unwrap_or(0),
            header_len: u16::MAX,
            csum_start: start as u16,
            csum_offset: offset as u16,
            ..Offload::NONE
        };
        offload.check(self.layer, &bytes).unwrap();
        let mut frame = Frame::default();
        frame.fill(&bytes, offload);
        frame.layer = self.layer;
        frame
    }

    /// What a device would make of the superframe.
    fn segments(&self, gso_size: u16) -> Vec<Packet> {
        let payloads: Vec<_> = match self.payload.len() {
            0 => vec![&[][..]],
            _ => self.payload.chunks(gso_size.into()).collect(),
        };
        let cut = |(index, payload): (usize, &&[u8])| {
            let mut segment = Packet { payload: payload.to_vec(), ..self.clone() };
            if let IpHeaders::Ipv4(ip, _) = &mut segment.ip {
                ip.identification = ip.identification.wrapping_add(index as u16);
            }
            if let TransportHeader::Tcp(tcp) = &mut segment.l4 {
                tcp.sequence_number = tcp.sequence_number.wrapping_add(index as u32 * u32::from(gso_size));
                let (first, last) = (index == 0, index + 1 == payloads.len());
                (tcp.cwr, tcp.fin, tcp.psh) = (tcp.cwr && first, tcp.fin && last, tcp.psh && last);
            }
            segment
        };
        payloads.iter().enumerate().map(cut).collect()
    }

    /// Has the bridge put its tag on an untagged frame or take it off a tagged one; both as frame and as packet.
    fn retag(&mut self, frame: &mut Frame) {
        if self.layer == Layer::Ip {
            return;
        }
        match self.vlans.len() {
            0 => {
                frame.retag(Some(7));
                self.vlans = vec![7];
            }
            1 => {
                frame.set_vlan_tag(true);
                frame.retag(None);
                self.vlans = Vec::new();
            }
            _ => {}
        }
    }

    fn is_udp(&self) -> bool {
        matches!(self.l4, TransportHeader::Udp(_))
    }
}

fn ipv4() -> impl Strategy<Value = IpHeaders> {
    (any::<([u8; 4], [u8; 4], u16, bool)>(), 0..=10usize).prop_map(
        |((source, destination, id, df), words)| {
            let mut ip = Ipv4Header {
                source,
                destination,
                identification: id,
                dont_fragment: df,
                ..Ipv4Header::default()
            };
            ip.fragment_offset = IpFragOffset::ZERO;
            ip.options = vec![1; words * 4].as_slice().try_into().unwrap();
            IpHeaders::Ipv4(ip, Default::default())
        },
    )
}

fn ipv6() -> impl Strategy<Value = IpHeaders> {
    let options = || proptest::option::of((0..3usize, any::<u8>()));
    (any::<([u8; 16], [u8; 16])>(), options(), options()).prop_map(
        |((source, destination), hop_by_hop, other)| {
            let header = |(words, fill): (usize, u8)| {
                Ipv6RawExtHeader::new_raw(IpNumber::TCP, &vec![fill; words * 8 + 6]).unwrap()
            };
            let extensions = Ipv6Extensions {
                hop_by_hop_options: hop_by_hop.map(header),
                destination_options: other.map(header),
                ..Ipv6Extensions::default()
            };
            IpHeaders::Ipv6(
                Ipv6Header { source, destination, hop_limit: 64, ..Ipv6Header::default() },
                extensions,
            )
        },
    )
}

fn tcp() -> impl Strategy<Value = TransportHeader> {
    (any::<(u16, u16, u32, u32, [bool; 6])>(), 0..=10usize).prop_map(
        |((from, to, sequence, ack, flags), words)| {
            let mut tcp = TcpHeader::new(from, to, sequence, 0xffff);
            tcp.acknowledgment_number = ack;
            [tcp.ack, tcp.psh, tcp.fin, tcp.cwr, tcp.ece, tcp.urg] = flags;
            tcp.set_options_raw(&vec![1; words * 4]).unwrap();
            TransportHeader::Tcp(tcp)
        },
    )
}

fn udp() -> impl Strategy<Value = TransportHeader> {
    any::<(u16, u16)>().prop_map(|(source_port, destination_port)| {
        TransportHeader::Udp(UdpHeader { source_port, destination_port, ..UdpHeader::default() })
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let payload_len = prop_oneof![8 => 0..4000usize, 1 => 65_300..=65_535usize];
    (
        vec(0..4096u16, 0..=2),
        prop_oneof![ipv4(), ipv6()],
        prop_oneof![tcp(), udp()],
        payload_len,
        any::<u32>(),
        select(vec![Layer::Ethernet, Layer::Ethernet, Layer::Ip]),
    )
        .prop_map(|(vlans, ip, l4, payload_len, seed, layer)| {
            let vlans = if layer == Layer::Ip { Vec::new() } else { vlans };
            let fixed = if matches!(ip, IpHeaders::Ipv4(..)) { 0 } else { 40 };
            let longest = 65_535 + fixed - ip.header_len() - l4.header_len();
            let byte = |i: u32| ((i ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8;
            Packet { layer, vlans, ip, l4, payload: (0..payload_len.min(longest) as u32).map(byte).collect() }
        })
}

/// A batch whose first frame is this one.
fn batch_of(frame: &Frame) -> Batch {
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(frame);
    batch.commit(1);
    batch
}

proptest! {
    #[test]
    fn a_finished_checksum_is_the_one_of_the_oracle(mut packet in packet(), retag: bool) {
        let mut frame = packet.unfinished(None);
        if retag {
            packet.retag(&mut frame);
        }
        finish_checksum(&mut frame);
        prop_assert_eq!(frame.offload, Offload::NONE);
        prop_assert!(frame.bytes() == packet.bytes(), "{:?} {:02x?}", frame, frame.bytes());
    }

    #[test]
    fn segments_are_those_of_the_oracle(mut packet in packet(), gso_size in 4..3000u16, retag: bool) {
        let mut frame = packet.unfinished(Some(gso_size));
        if retag {
            packet.retag(&mut frame);
        }
        let mut batch = batch_of(&frame);
        let (room, mut indices) = (batch.room(), Vec::new());
        let result = segment(&mut batch, 0, &mut indices);
        let expected = packet.segments(gso_size);
        if expected.len() > room {
            prop_assert_eq!((result, indices.len()), (Err(DropReason::NoBuffer), 0));
            return Ok(());
        }
        prop_assert_eq!((result, indices.len()), (Ok(()), expected.len()));
        for (&index, expected) in indices.iter().zip(expected) {
            let segment = &batch.frames()[index as usize];
            prop_assert_eq!(segment.offload, Offload::NONE);
            prop_assert!(segment.bytes() == expected.bytes(), "{:?} {:02x?}", segment, segment.bytes());
        }
    }

    #[test]
    fn a_zero_udp_checksum_is_sent_as_ones(mut packet in packet(), gso in prop::option::of(Just(u16::MAX))) {
        prop_assume!(packet.is_udp() && packet.payload.len() > 1);
        // A payload that takes in the checksum of all else brings the sum to 0xffff and the checksum to zero.
        packet.payload[..2].fill(0);
        let at = packet.bytes().len() - packet.payload.len() - 2;
        let checksum = [packet.bytes()[at], packet.bytes()[at + 1]];
        packet.payload[..2].copy_from_slice(&checksum);
        let mut batch = batch_of(&packet.unfinished(gso));
        match gso {
            None => finish_checksum(&mut batch.frames_mut()[0]),
            Some(_) => segment(&mut batch, 0, &mut Vec::new()).unwrap(),
        }
        let bytes = batch.frames().last().unwrap().bytes();
        prop_assert_eq!(&bytes[at..at + 2], &[0xff, 0xff]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_a_guest_claims_makes_it_panic(
        packet in packet(),
        damage in vec((0..120usize, any::<u8>()), 0..4),
        len in prop_oneof![4 => Just(usize::MAX), 1 => 0..160usize],
        claim in claim(),
        retags in vec(prop::option::of(any::<u16>()), 0..3),
    ) {
        let mut bytes = packet.bytes();
        bytes.truncate(len);
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let good = packet.unfinished(Some(1000)).offload;
        take_through(packet.layer, &bytes, claim.apply(good), &retags)?;
    }

    #[test]
    fn nor_do_bytes_that_are_no_packet(
        layer in select(vec![Layer::Ethernet, Layer::Ip]),
        bytes in vec(any::<u8>(), 0..200),
        claim in claim(),
        retags in vec(prop::option::of(any::<u16>()), 0..3),
    ) {
        take_through(layer, &bytes, claim.apply(Offload::NONE), &retags)?;
    }
}

/// A guest's claim: fields in place of the true ones.
#[derive(Clone, Debug)]
struct Claim {
    gso: Option<Gso>,
    needs_csum: Option<bool>,
    gso_size: Option<u16>,
    header_len: u16,
    csum_start: Option<u16>,
    csum_offset: Option<u16>,
}

impl Claim {
    fn apply(&self, good: Offload) -> Offload {
        Offload {
            gso: self.gso.unwrap_or(good.gso),
            needs_csum: self.needs_csum.unwrap_or(good.needs_csum),
            gso_size: self.gso_size.unwrap_or(good.gso_size),
            header_len: self.header_len,
            csum_start: self.csum_start.unwrap_or(good.csum_start),
            csum_offset: self.csum_offset.unwrap_or(good.csum_offset),
            ..good
        }
    }
}

fn claim() -> impl Strategy<Value = Claim> {
    let offset = || {
        let anywhere = prop_oneof![2 => 0..24u16, 2 => 14..100u16, 1 => 65_200..=u16::MAX, 1 => any::<u16>()];
        prop::option::weighted(0.3, anywhere)
    };
    (
        prop::option::weighted(
            0.3,
            select(vec![Gso::None, Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::Unknown]),
        ),
        prop::option::weighted(0.1, any::<bool>()),
        prop::option::weighted(0.3, prop_oneof![0..200u16, any::<u16>()]),
        any::<u16>(),
        offset(),
        offset(),
    )
        .prop_map(|(gso, needs_csum, gso_size, header_len, csum_start, csum_offset)| Claim {
            gso,
            needs_csum,
            gso_size,
            header_len,
            csum_start,
            csum_offset,
        })
}

/// Does with a frame what a switch does with one for a port without offloads, and sees that its payload stays.
fn take_through(
    layer: Layer,
    bytes: &[u8],
    mut offload: Offload,
    retags: &[Option<u16>],
) -> Result<(), TestCaseError> {
    if offload.check(layer, bytes).is_err() || bytes.len() < layer.header_len() {
        return Ok(());
    }
    let mut frame = Frame::default();
    frame.fill(bytes, offload);
    frame.layer = layer;
    if layer == Layer::Ethernet {
        frame.set_vlan_tag(bytes.len() >= 18 && bytes[12..14] == [0x81, 0x00]);
        retags.iter().for_each(|tci| frame.retag(*tci));
    }
    let mut batch = batch_of(&frame);
    if frame.offload.gso == Gso::None {
        finish_checksum(&mut batch.frames_mut()[0]);
        prop_assert_eq!(batch.frames()[0].len(), frame.len());
        return Ok(());
    }
    let mut segments = Vec::new();
    match segment(&mut batch, 0, &mut segments) {
        Ok(()) => {
            let header_len = usize::from(frame.offload.header_len);
            let payload: Vec<u8> = segments
                .iter()
                .flat_map(|&index| &batch.frames()[index as usize].bytes()[header_len..])
                .copied()
                .collect();
            prop_assert!(payload == frame.bytes()[header_len..], "the payload changed");
        }
        Err(_) => prop_assert_eq!((segments.len(), batch.len()), (0, 1)),
    }
    Ok(())
}
