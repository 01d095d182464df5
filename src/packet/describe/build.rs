//! From the layers of a description to bytes, from the inside out.

use core::net::{IpAddr, Ipv4Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header,
    Ipv6Header, TcpHeader, UdpHeader,
};

use super::Defaults;
use super::layers::{Arp, Icmp, Ip, Layers, Network, Ports, Tcp, Transport};
use crate::packet::Layer;
use crate::wire::ethernet::Mac;
use crate::wire::{arp, ipv4, ipv6, nd, tcp};

/// What a frame is filled up to: the least that Ethernet carries, without its checksum.
const MIN_FRAME: usize = 60;
/// The EtherType of what says none: for local experiments (IEEE 802 section 9.2.3.4).
const EXPERIMENT: u16 = 0x88b5;
/// The protocol of what says none: for experiments (RFC 3692).
const IP_EXPERIMENT: u8 = 253;
/// The port that it comes from: the first that is anybody's (RFC 6335).
const FROM_PORT: u16 = 49_152;
/// The ports that it goes to: HTTP, and discard.
const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 9;

/// The frame's bytes.
pub(super) fn frame(layers: &Layers, defaults: &Defaults) -> Result<Vec<u8>, String> {
    let network = match (&layers.network, &layers.transport) {
        (Some(Network::Arp(arp)), _) => Some(Upper::of_arp(arp, layers, defaults)),
        (Some(Network::Ip(ip)), transport) => {
            Some(Upper::of_ip(ip, transport.as_ref(), &layers.payload, defaults)?)
        }
        (None, Some(transport)) => {
            Some(Upper::of_ip(&Ip::default(), Some(transport), &layers.payload, defaults)?)
        }
        (None, None) => None,
    };
    match defaults.layer {
        Layer::Ip => bare(layers, network),
        Layer::Ethernet => Ok(ethernet(layers, network, defaults)),
    }
}

/// What an Ethernet header carries.
struct Upper {
    ether_type: u16,
    /// Whom it is for, if what it says tells.
    destination: Option<Mac>,
    bytes: Vec<u8>,
}

/// The packet alone, for a port that carries IP.
fn bare(layers: &Layers, network: Option<Upper>) -> Result<Vec<u8>, String> {
    let column = match (&layers.ethernet, layers.tags.first(), &layers.network) {
        (Some(ethernet), ..) => Some((ethernet.column, "eth")),
        (_, Some(tag), _) => Some((tag.column, "vlan")),
        (.., Some(Network::Arp(arp))) => Some((arp.column, "arp")),
        _ => None,
    };
    match (column, network) {
        (Some((column, name)), _) => {
            Err(format!("column {column}: the port carries IP, and no `{name}` (expected ip or ip6 first)"))
        }
        (None, None) => Err("the port carries IP (expected ip or ip6)".to_owned()),
        (None, Some(network)) => Ok(network.bytes),
    }
}

fn ethernet(layers: &Layers, network: Option<Upper>, defaults: &Defaults) -> Vec<u8> {
    let Upper { ether_type, destination, bytes } = network.unwrap_or_else(|| Upper {
        ether_type: EXPERIMENT,
        destination: None,
        bytes: layers.payload.clone(),
    });
    let said = layers.ethernet.as_ref();
    let to = said.and_then(|said| said.destination).or(destination).unwrap_or(defaults.destination_mac);
    let from = said.and_then(|said| said.source).unwrap_or(defaults.source_mac);
    let ether_type = said.and_then(|said| said.ether_type).unwrap_or(ether_type);
    let mut frame = [to.octets(), from.octets()].concat();
    for tag in &layers.tags {
        frame.extend(tag.tpid.to_be_bytes());
        frame.extend(tag.tci.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(bytes);
    frame.resize(frame.len().max(MIN_FRAME), 0);
    frame
}

impl Upper {
    fn of_arp(said: &Arp, layers: &Layers, defaults: &Defaults) -> Upper {
        let source_mac = layers.ethernet.as_ref().and_then(|said| said.source).unwrap_or(defaults.source_mac);
        let packet = arp::Arp {
            operation: if said.reply { arp::Operation::Reply } else { arp::Operation::Request },
            sender_mac: said.source_mac.unwrap_or(source_mac),
            sender_ip: said.source.unwrap_or(defaults.ipv4.0),
            target_mac: said.destination_mac.unwrap_or(if said.reply {
                defaults.destination_mac
            } else {
                Mac::default()
            }),
            target_ip: said.destination.unwrap_or(defaults.ipv4.1),
        };
        let destination = (!said.reply).then_some(Mac::BROADCAST);
        let bytes = [&packet.emit()[..], &layers.payload].concat();
        Upper { ether_type: arp::ETHER_TYPE, destination, bytes }
    }

    fn of_ip(
        said: &Ip,
        transport: Option<&Transport>,
        payload: &[u8],
        defaults: &Defaults,
    ) -> Result<Upper, String> {
        let needs = match transport {
            Some(Transport::Icmp(icmp)) => Some(!icmp.v6),
            _ => None,
        };
        match (said.v4, needs) {
            (Some(true), Some(false)) => {
                return Err("`icmp6` is of IPv6 (expected `icmp`, or addresses of IPv6)".to_owned());
            }
            (Some(false), Some(true)) => {
                return Err("`icmp` is of IPv4 (expected `icmp6`, or addresses of IPv4)".to_owned());
            }
            _ => {}
        }
        match said.v4.or(needs).unwrap_or(true) {
            true => Upper::of_ipv4(said, transport, payload, defaults),
            false => Upper::of_ipv6(said, transport, payload, defaults),
        }
    }

    fn of_ipv4(
        said: &Ip,
        transport: Option<&Transport>,
        payload: &[u8],
        defaults: &Defaults,
    ) -> Result<Upper, String> {
        let address = |said: Option<IpAddr>, default| match said {
            Some(IpAddr::V4(address)) => address,
            _ => default,
        };
        let (source, destination) =
            (address(said.source, defaults.ipv4.0), address(said.destination, defaults.ipv4.1));
        let tos = said.tos.unwrap_or(0);
        let mut header = Ipv4Header {
            dscp: IpDscp::try_new(tos >> 2).expect("six bits"),
            ecn: IpEcn::try_new(tos & 3).expect("two bits"),
            identification: said.identification.unwrap_or(0),
            dont_fragment: said.dont_fragment,
            more_fragments: said.more_fragments,
            fragment_offset: IpFragOffset::try_new(said.offset).expect("an eighth of 16 bits"),
            time_to_live: said.ttl.unwrap_or(64),
            protocol: IpNumber(said.protocol.or(transport.map(Transport::protocol)).unwrap_or(IP_EXPERIMENT)),
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv4Header::default()
        };
        let upper = match transport {
            None => Vec::new(),
            Some(Transport::Tcp(said)) => {
                let mut tcp = tcp_header(said);
                tcp.checksum = tcp.calc_checksum_ipv4(&header, payload).map_err(too_long)?;
                tcp.to_bytes().to_vec()
            }
            Some(Transport::Udp(said)) => {
                let (from, to) = udp_ports(said);
                let udp = UdpHeader::with_ipv4_checksum(from, to, &header, payload).map_err(too_long)?;
                udp.to_bytes().to_vec()
            }
            Some(Transport::Icmp(said)) => {
                let (type_u8, code_u8) = (said.kind, said.code);
                let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8: echo(said) };
                Icmpv4Header::with_checksum(kind, payload).to_bytes().to_vec()
            }
        };
        header.set_payload_len(upper.len() + payload.len()).map_err(too_long)?;
        header.header_checksum = header.calc_header_checksum();
        let bytes = [&header.to_bytes()[..], &upper, payload].concat();
        Ok(Upper { ether_type: ipv4::ETHER_TYPE, destination: ipv4_group(destination), bytes })
    }

    fn of_ipv6(
        said: &Ip,
        transport: Option<&Transport>,
        payload: &[u8],
        defaults: &Defaults,
    ) -> Result<Upper, String> {
        let address = |said: Option<IpAddr>, default| match said {
            Some(IpAddr::V6(address)) => address,
            _ => default,
        };
        let (source, destination) =
            (address(said.source, defaults.ipv6.0), address(said.destination, defaults.ipv6.1));
        let mut header = Ipv6Header {
            traffic_class: said.tos.unwrap_or(0),
            next_header: IpNumber(
                said.protocol.or(transport.map(Transport::protocol)).unwrap_or(IP_EXPERIMENT),
            ),
            hop_limit: said.ttl.unwrap_or(64),
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        let upper = match transport {
            None => Vec::new(),
            Some(Transport::Tcp(said)) => {
                let mut tcp = tcp_header(said);
                tcp.checksum = tcp.calc_checksum_ipv6(&header, payload).map_err(too_long)?;
                tcp.to_bytes().to_vec()
            }
            Some(Transport::Udp(said)) => {
                let (from, to) = udp_ports(said);
                let udp = UdpHeader::with_ipv6_checksum(from, to, &header, payload).map_err(too_long)?;
                udp.to_bytes().to_vec()
            }
            Some(Transport::Icmp(said)) => {
                let (type_u8, code_u8) = (said.kind, said.code);
                let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8: echo(said) };
                let icmp = Icmpv6Header::with_checksum(kind, header.source, header.destination, payload);
                icmp.map_err(too_long)?.to_bytes().to_vec()
            }
        };
        let len = upper.len() + payload.len();
        header.payload_length = u16::try_from(len).map_err(too_long)?;
        let bytes = [&header.to_bytes()[..], &upper, payload].concat();
        let group = destination.is_multicast().then(|| nd::group_mac(destination));
        Ok(Upper { ether_type: ipv6::ETHER_TYPE, destination: group, bytes })
    }
}

/// The MAC address of whom it is for, when that is a group or everybody (RFC 1112 section 6.4).
fn ipv4_group(destination: Ipv4Addr) -> Option<Mac> {
    if destination.is_broadcast() {
        return Some(Mac::BROADCAST);
    }
    let group = 0x0100_5e00_0000 | u64::from(destination.to_bits() & 0x7f_ffff);
    destination.is_multicast().then(|| Mac::from_bits(group))
}

fn too_long<E>(_: E) -> String {
    "the payload is too long for an IP packet (expected at most 65,535 bytes with its headers)".to_owned()
}

fn tcp_header(said: &Tcp) -> TcpHeader {
    let (from, to) = (said.ports.source.unwrap_or(FROM_PORT), said.ports.destination.unwrap_or(TCP_PORT));
    let has = |flag| said.flags & flag != 0;
    TcpHeader {
        fin: has(tcp::FIN),
        syn: has(tcp::SYN),
        rst: has(tcp::RST),
        psh: has(tcp::PSH),
        ack: has(tcp::ACK),
        urg: has(tcp::URG),
        ece: has(tcp::ECE),
        cwr: has(tcp::CWR),
        acknowledgment_number: said.acknowledgment,
        ..TcpHeader::new(from, to, said.sequence, said.window)
    }
}

fn udp_ports(said: &Ports) -> (u16, u16) {
    (said.source.unwrap_or(FROM_PORT), said.destination.unwrap_or(UDP_PORT))
}

/// What is behind an echo's checksum: its identification and its number.
fn echo(said: &Icmp) -> [u8; 4] {
    let ([a, b], [c, d]) = (said.id.to_be_bytes(), said.sequence.to_be_bytes());
    [a, b, c, d]
}
