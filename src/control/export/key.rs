//! What samples of one flow have in common, read off the first bytes of a frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::interface_number;
use crate::packet::{DropReason, Layer};
use crate::wire::{be16, ethernet, icmp, ipv4, ipv6, tcp, udp};
use crate::worker::{Fate, Sample};

/// What samples of one flow have in common. What a frame does not have is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// The interface its frames come in by.
    pub(super) ingress: u32,
    /// The interface that they leave by; 0: none, or several.
    pub(super) egress: u32,
    /// Whether they leave, as `forwardingStatus` says it (RFC 7270 section 4.12).
    pub(super) status: u8,
    pub(super) vlan: u16,
    pub(super) source_mac: [u8; 6],
    pub(super) destination_mac: [u8; 6],
    pub(super) ether_type: u16,
    pub(super) addresses: Addresses,
    pub(super) protocol: u8,
    pub(super) tos: u8,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// Type and code of ICMP.
    pub(super) icmp: u16,
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Addresses {
    /// It is no IP packet, or one that ends within its header.
    #[default]
    None,
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
    },
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
    },
}

/// A sample as it counts in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: Key,
    /// Bytes: of the packet for IP, of the frame for anything else.
    pub(super) octets: u64,
    /// Packets on the wire.
    pub(super) packets: u64,
    /// The flags of TCP.
    pub(super) flags: u8,
}

impl Seen {
    /// What `sample` is seen to be.
    pub(super) fn of(sample: &Sample) -> Seen {
        let header = &*sample.header;
        let (egress, status) = outcome(sample.fate);
        let ingress = interface_number(sample.port);
        let mut key = Key { ingress, egress, status, vlan: sample.vlan, ..Key::default() };
        let mut packet_at = Some(0);
        match sample.layer {
            Layer::Ethernet => {
                if let Some((addresses, _)) = header.split_first_chunk::<12>() {
                    key.destination_mac.copy_from_slice(&addresses[..6]);
                    key.source_mac.copy_from_slice(&addresses[6..]);
                }
                let payload = ethernet::payload(header);
                key.ether_type = payload.map_or(0, |(ether_type, _)| ether_type);
                packet_at = payload.map(|(_, at)| at);
            }
            Layer::Ip => {
                let is_v6 = header.first().is_some_and(|first| first >> 4 == 6);
                key.ether_type = if is_v6 { ipv6::ETHER_TYPE } else { ipv4::ETHER_TYPE };
            }
        }
        let mut seen =
            Seen { key, octets: u64::from(sample.length), packets: u64::from(sample.packets), flags: 0 };
        if let Some(at) = packet_at {
            // Where the frame is filled up to the least that Ethernet allows, its packet is shorter.
            let carried = u64::from(sample.length).saturating_sub(at as u64);
            match key.ether_type {
                ipv4::ETHER_TYPE => seen.read_v4(&header[at..], carried),
                ipv6::ETHER_TYPE => seen.read_v6(&header[at..], carried),
                _ => {}
            }
        }
        seen
    }

    fn read_v4(&mut self, packet: &[u8], carried: u64) {
        let Some(len) = ipv4::header_len(packet) else { return };
        let (source, destination) = (ipv4::source(packet), ipv4::destination(packet));
        self.key.addresses = Addresses::V4 { source, destination };
        self.key.tos = ipv4::tos(packet);
        self.octets = told_or_carried(u64::from(ipv4::total_len(packet)), carried);
        let first = !ipv4::is_later_fragment(packet);
        self.read_transport(ipv4::protocol(packet), first.then_some(&packet[len..]));
    }

    fn read_v6(&mut self, packet: &[u8], carried: u64) {
        if packet.len() < ipv6::HEADER_LEN {
            return;
        }
        let (source, destination) = (ipv6::source(packet), ipv6::destination(packet));
        self.key.addresses = Addresses::V6 { source, destination };
        self.key.tos = ipv6::traffic_class(packet);
        self.octets = match ipv6::payload_len(packet) {
            0 => carried,
            len => told_or_carried(u64::from(len) + ipv6::HEADER_LEN as u64, carried),
        };
        let mut upper = ipv6::upper_layer(packet);
        let mut first = true;
        if let Some((ipv6::FRAGMENT, at)) = upper {
            let fragment = packet.get(at..at + ipv6::FRAGMENT_LEN);
            first = fragment.is_some_and(|fragment| be16(fragment, 2) & !7 == 0);
            upper = fragment.and_then(|fragment| match first {
                true => ipv6::behind_extensions(packet, fragment[0], at + ipv6::FRAGMENT_LEN),
                false => Some((fragment[0], packet.len())),
            });
        }
        if let Some((protocol, at)) = upper {
            self.read_transport(protocol, packet.get(at..).filter(|_| first));
        }
    }

    /// Reads what is behind the IP header; `None`: that is in another packet.
    fn read_transport(&mut self, protocol: u8, l4: Option<&[u8]>) {
        self.key.protocol = protocol;
        let Some(l4) = l4 else { return };
        match (protocol, l4) {
            (tcp::PROTOCOL | udp::PROTOCOL, [_, _, _, _, ..]) => {
                (self.key.source_port, self.key.destination_port) = (be16(l4, 0), be16(l4, 2));
                if protocol == tcp::PROTOCOL && l4.len() >= tcp::MIN_HEADER_LEN {
                    self.flags = tcp::flags(l4);
                }
            }
            (icmp::PROTOCOL | icmp::V6_PROTOCOL, [_, _, ..]) => self.key.icmp = be16(l4, 0),
            _ => {}
        }
    }
}

/// Bytes of a packet that says to have `told`, in a frame that has room for `carried`. A superframe of more than 64 KiB
/// cannot say how long it is, and says 0.
fn told_or_carried(told: u64, carried: u64) -> u64 {
    if told == 0 { carried } else { told.min(carried) }
}

/// The interface that a frame left by, and what became of it, as `forwardingStatus` says it: two bits of what, six of why.
fn outcome(fate: Fate) -> (u32, u8) {
    match fate {
        Fate::Sent { port, ports: 0 | 1 } => (interface_number(port), FORWARDED),
        Fate::Sent { .. } => (0, FORWARDED),
        Fate::Taken => (0, CONSUMED),
        Fate::Dropped(reason) => (0, drop_status(reason)),
    }
}

const FORWARDED: u8 = 64;
const CONSUMED: u8 = 192;

fn drop_status(reason: DropReason) -> u8 {
    use DropReason as R;
    match reason {
        R::Rejected | R::SpoofedMac | R::SpoofedIp | R::DhcpGuard | R::RaGuard | R::Stranger => 129, // ACL deny
        R::Filtered => 130,                      // ACL drop
        R::NoRoute | R::Blackhole => 131,        // unroutable
        R::NoNeighbor => 132,                    // adjacency
        R::ExceedsMtu | R::Unsegmentable => 133, // fragmentation, and DF set
        R::IpHeader => 136,                      // bad header length
        R::TtlExceeded => 137,                   // bad TTL
        R::StormBroadcast | R::StormMulticast | R::StormUnknown | R::RateLimited => 138, // policer
        R::ReversePath => 140,                   // RPF
        R::Local | R::NotLocal => 141,           // for us
        R::PortMissing | R::PortDown | R::NoCarrier | R::NotAttached => 142, // bad output interface
        _ => 128,                                // unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PortId;

    fn sample(layer: Layer, bytes: &[u8]) -> Sample {
        Sample { vlan: 7, ..Sample::new(PortId(2), layer, bytes, 128) }
    }

    fn tcp_v4() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x81, 0, 0xa0, 7, 8, 0];
        frame.extend([0x45, 0xb8, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
        frame.extend([0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        frame.extend([0xa5; 6]); // filled up
        frame
    }

    #[test]
    fn a_tagged_tcp_packet_is_read_to_its_ports() {
        let frame = tcp_v4();
        let seen = Seen::of(&sample(Layer::Ethernet, &frame));
        let (source, destination) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        let key = Key {
            ingress: 3,
            egress: 0,
            status: CONSUMED,
            vlan: 7,
            source_mac: [2, 0, 0, 0, 0, 0xa],
            destination_mac: [2, 0, 0, 0, 0, 0xb],
            ether_type: 0x800,
            addresses: Addresses::V4 { source, destination },
            protocol: 6,
            tos: 0xb8,
            source_port: 40_000,
            destination_port: 5201,
            icmp: 0,
        };
        assert_eq!(seen, Seen { key, octets: 40, packets: 1, flags: 0x12 });
        // The same without Ethernet has no addresses of it.
        let seen = Seen::of(&sample(Layer::Ip, &frame[18..58]));
        assert_eq!(seen.key, Key { source_mac: [0; 6], destination_mac: [0; 6], ..key });
    }

    #[test]
    fn a_superframe_counts_its_packets_and_its_bytes() {
        let frame = tcp_v4();
        let mut superframe = Sample { length: 18 + 64_000, packets: 45, ..sample(Layer::Ethernet, &frame) };
        assert_eq!(Seen::of(&superframe).octets, 40, "as long as its header says");
        let mut frame = frame;
        frame[20..22].fill(0);
        superframe = Sample { length: 18 + 64_000, packets: 45, ..sample(Layer::Ethernet, &frame) };
        let seen = Seen::of(&superframe);
        assert_eq!((seen.octets, seen.packets), (64_000, 45));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut frame = tcp_v4();
        frame[25] = 1;
        let seen = Seen::of(&sample(Layer::Ethernet, &frame));
        assert_eq!((seen.key.protocol, seen.key.source_port, seen.flags), (6, 0, 0));

        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 44, 64];
        packet.extend([0xfd; 32]);
        packet.extend([17, 0, 0, 1, 0, 0, 0, 9]); // the first fragment
        packet.extend([0, 53, 1, 0, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let seen = Seen::of(&sample(Layer::Ip, &packet));
        assert_eq!((seen.key.protocol, seen.key.source_port, seen.key.destination_port), (17, 53, 256));
        assert_eq!((seen.octets, seen.key.ether_type), (64, 0x86dd));
        packet[43] = 0x10;
        let seen = Seen::of(&sample(Layer::Ip, &packet));
        assert_eq!((seen.key.protocol, seen.key.source_port), (17, 0));
    }

    #[test]
    fn icmp_has_type_and_code_and_what_is_cut_off_is_left_out() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 58, 64];
        packet.extend([0xfe; 32]);
        packet.extend([128, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(Seen::of(&sample(Layer::Ip, &packet)).key.icmp, 0x8000);
        for end in 0..packet.len() {
            let seen = Seen::of(&sample(Layer::Ip, &packet[..end]));
            assert_eq!(seen.key.addresses != Addresses::None, end >= 40, "{end} bytes");
        }
        let frame = tcp_v4();
        for end in 0..frame.len() {
            let seen = Seen::of(&sample(Layer::Ethernet, &frame[..end]));
            assert!(seen.octets <= end as u64);
        }
    }

    #[test]
    fn every_fate_has_its_status() {
        let port = PortId(4);
        for (fate, told) in [
            (Fate::Sent { port, ports: 1 }, (5, 64)),
            (Fate::Sent { port, ports: 3 }, (0, 64)),
            (Fate::Taken, (0, 192)),
            (Fate::Dropped(DropReason::Filtered), (0, 130)),
        ] {
            assert_eq!(outcome(fate), told, "{fate:?}");
        }
        assert!(DropReason::ALL.iter().all(|reason| drop_status(*reason) >> 6 == 2));
    }
}
