//! A frame in a few words: from whom to whom, and what it is.

use core::fmt::Write;
use core::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Type, Icmpv6Type, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    TransportSlice,
};

use super::Layer;
use crate::wire::arp::{self, Arp};
use crate::wire::ethernet::Mac;

/// Addresses, ports and kind of the frame that begins with `bytes`; without a layer, nothing is known of it.
pub fn summary(layer: Option<Layer>, bytes: &[u8]) -> String {
    let mut line = String::new();
    // A string takes anything that is written to it; so below.
    say_frame(&mut line, layer, bytes);
    line
}

fn say_frame(line: &mut String, layer: Option<Layer>, bytes: &[u8]) {
    let sliced = match layer {
        Some(Layer::Ethernet) => LaxSlicedPacket::from_ethernet(bytes).ok(),
        Some(Layer::Ip) => LaxSlicedPacket::from_ip(bytes).ok(),
        None => None,
    };
    let Some(sliced) = sliced else {
        line.push_str("no headers that can be read");
        return;
    };
    if let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link {
        let (from, to) = (Mac::new(ethernet.source()), Mac::new(ethernet.destination()));
        let _ = write!(line, "{from} > {to}");
        if sliced.net.is_none() {
            let _ = write!(line, " type {:#06x}", last_type(&sliced).unwrap_or(ethernet.ether_type().0));
        }
        line.push(' ');
    }
    for tag in &sliced.link_exts {
        if let LaxLinkExtSlice::Vlan(tag) = tag {
            let _ = write!(line, "vlan {} ", tag.vlan_identifier().value());
        }
    }
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let (from, to) = (Ipv4Addr::from(header.source()), Ipv4Addr::from(header.destination()));
            say_ip(line, &from.to_string(), &to.to_string(), header.protocol().0, sliced.transport.as_ref());
            if header.is_fragmenting_payload() {
                let _ = write!(line, " fragment at {}", header.fragments_offset().byte_offset());
            }
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let (from, to) = (Ipv6Addr::from(header.source()), Ipv6Addr::from(header.destination()));
            let protocol = ip.payload().ip_number.0;
            say_ip(line, &format!("[{from}]"), &format!("[{to}]"), protocol, sliced.transport.as_ref());
            if ip.is_payload_fragmented() {
                line.push_str(" fragment");
            }
        }
        Some(LaxNetSlice::Arp(packet)) => say_arp(line, packet.slice()),
        None => {}
    }
    line.truncate(line.trim_end().len());
}

fn last_type(sliced: &LaxSlicedPacket<'_>) -> Option<u16> {
    sliced.link_exts.iter().rev().find_map(|tag| match tag {
        LaxLinkExtSlice::Vlan(tag) => Some(tag.ether_type().0),
        _ => None,
    })
}

fn say_ip(line: &mut String, from: &str, to: &str, protocol: u8, transport: Option<&TransportSlice<'_>>) {
    let _ = match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let (source, destination) = (tcp.source_port(), tcp.destination_port());
            write!(line, "{from}:{source} > {to}:{destination} tcp {}", flags(tcp))
        }
        Some(TransportSlice::Udp(udp)) => {
            let (source, destination) = (udp.source_port(), udp.destination_port());
            write!(line, "{from}:{source} > {to}:{destination} udp")
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let what = match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(_) => "echo request".to_owned(),
                Icmpv4Type::EchoReply(_) => "echo reply".to_owned(),
                _ => format!("type {} code {}", icmp.type_u8(), icmp.code_u8()),
            };
            write!(line, "{from} > {to} icmp {what}")
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let what = match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(_) => "echo request".to_owned(),
                Icmpv6Type::EchoReply(_) => "echo reply".to_owned(),
                _ => match icmp.type_u8() {
                    133 => "router solicitation".to_owned(),
                    134 => "router advertisement".to_owned(),
                    135 => "neighbor solicitation".to_owned(),
                    136 => "neighbor advertisement".to_owned(),
                    kind => format!("type {kind} code {}", icmp.code_u8()),
                },
            };
            write!(line, "{from} > {to} icmp6 {what}")
        }
        _ => write!(line, "{from} > {to} protocol {protocol}"),
    };
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let all = [
        (tcp.syn(), "syn"),
        (tcp.fin(), "fin"),
        (tcp.rst(), "rst"),
        (tcp.psh(), "psh"),
        (tcp.ack(), "ack"),
        (tcp.urg(), "urg"),
    ];
    let set: Vec<_> = all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    if set.is_empty() { "no flags".into() } else { set.join(",") }
}

fn say_arp(line: &mut String, packet: &[u8]) {
    let _ = match Arp::parse(packet) {
        Some(Arp { operation: arp::Operation::Reply, sender_ip, sender_mac, .. }) => {
            write!(line, "arp {sender_ip} is at {sender_mac}")
        }
        Some(Arp { operation: arp::Operation::Request, sender_ip, target_ip, .. }) => {
            write!(line, "arp who has {target_ip}, asks {sender_ip}")
        }
        _ => write!(line, "arp"),
    };
}
