//! Packets that etherparse makes: what this crate makes of bytes is compared with them.

#![allow(dead_code, reason = "each suite uses its part")]

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder, TcpHeader, TransportHeader, UdpHeader, VlanId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::{Batch, Frame, Gso, Layer, Offload};

/// A packet as its headers say it, which etherparse turns into bytes.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) layer: Layer,
    /// None on an IP packet.
    pub(crate) vlans: Vec<u16>,
    pub(crate) ip: IpHeaders,
    pub(crate) l4: TransportHeader,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
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
    pub(crate) fn unfinished(&self, gso_size: Option<u16>) -> Frame {
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
    pub(crate) fn segments(&self, gso_size: u16) -> Vec<Packet> {
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
    pub(crate) fn retag(&mut self, frame: &mut Frame) {
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

    pub(crate) fn is_udp(&self) -> bool {
        matches!(self.l4, TransportHeader::Udp(_))
    }
}

pub(crate) fn ipv4() -> impl Strategy<Value = IpHeaders> {
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

pub(crate) fn ipv6() -> impl Strategy<Value = IpHeaders> {
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

pub(crate) fn tcp() -> impl Strategy<Value = TransportHeader> {
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

pub(crate) fn udp() -> impl Strategy<Value = TransportHeader> {
    any::<(u16, u16)>().prop_map(|(source_port, destination_port)| {
        TransportHeader::Udp(UdpHeader { source_port, destination_port, ..UdpHeader::default() })
    })
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
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
pub(crate) fn batch_of(frame: &Frame) -> Batch {
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(frame);
    batch.commit(1);
    batch
}
