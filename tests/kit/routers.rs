//! Routers for a yard, and packets to send through them, as etherparse writes and reads them.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header, Ipv6Header,
    PacketBuilder, TcpHeader, UdpHeader,
};
use tapyard::packet::npt::PrefixPair;
use tapyard::packet::{BridgeId, InterfaceId, PortId, Vid};
use tapyard::switch::router::{
    Action, Advertise, Attachment, Chain, Condition, Filter, Forward, Hook, Interface, Nat, NextHop,
    PrefixRule, ReversePath, Route, Router, Routes, Rule, SourceRule, StaticRule, Target, Traffic,
};
use tapyard::table::conntrack::{Conntrack, Limits};
use tapyard::table::lpm::Prefix;
use tapyard::table::neighbors::{NeighborLimits, Neighbors};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::wire::address::Address;
use tapyard::wire::ethernet::Mac;

use super::frames::mac;
use super::{BRIDGE, Sent, Yard};

/// The link-local address that a router has on every bridge of a yard, made of its MAC address.
pub(crate) const LINK_LOCAL: &str = "fe80::ff:fe00:ffff";

pub(crate) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap_or_else(|_| panic!("an address: {text}")).into()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    let (network, len) = with_length(text);
    Prefix::new(network.network(len), len)
}

fn with_length(text: &str) -> (Address, u8) {
    let (own, len) = text.split_once('/').expect("a length");
    (address(own), len.parse().expect("a length"))
}

/// What a router is to be; what it holds while packets pass outlives every change of it.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<(Prefix, Route)>,
    /// By hook, each with its place in the list of all.
    pub(crate) rules: [Vec<(Condition, Action, u32)>; 5],
    pub(crate) accepts: [bool; 5],
    nat: Vec<Translation>,
    pub(crate) neighbors: Arc<Neighbors>,
    pub(crate) sessions: Option<Arc<Conntrack>>,
    pub(crate) errors: Arc<TokenBucket>,
    pub(crate) reassembles: bool,
}

/// Adds a translation to a router.
type Translation = Arc<dyn Fn(&mut Nat)>;

/// What an interface is to be.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) on: Attachment,
    pub(crate) addresses: Vec<(Address, u8)>,
    pub(crate) mtu: u32,
    pub(crate) reverse_path: ReversePath,
    pub(crate) advertise: Option<Arc<Advertise>>,
}

impl Plan {
    pub(crate) fn new() -> Plan {
        Plan {
            links: Vec::new(),
            routes: Vec::new(),
            rules: Default::default(),
            accepts: [true; 5],
            nat: Vec::new(),
            neighbors: Arc::new(Neighbors::new(NeighborLimits::default())),
            sessions: None,
            errors: Arc::new(TokenBucket::new(1_000_000)),
            reassembles: false,
        }
    }

    /// The next interface, on a VLAN of a bridge.
    pub(crate) fn on(mut self, bridge: u16, vid: Vid, addresses: &[&str]) -> Plan {
        let on = Attachment::Bridge { bridge: BridgeId(bridge), vid, mac: mac(BRIDGE) };
        let mut addresses: Vec<_> = addresses.iter().map(|text| with_length(text)).collect();
        if addresses.iter().any(|(own, _)| !own.is_v4()) {
            addresses.push((address(LINK_LOCAL), 64));
        }
        self.link(on, addresses)
    }

    /// The next interface, on a port that carries IP.
    pub(crate) fn by(mut self, port: u16, addresses: &[&str]) -> Plan {
        let addresses = addresses.iter().map(|text| with_length(text)).collect();
        self.link(Attachment::Port(PortId(port)), addresses)
    }

    fn link(&mut self, on: Attachment, addresses: Vec<(Address, u8)>) -> Plan {
        let (mtu, reverse_path, advertise) = (1500, ReversePath::Off, None);
        self.links.push(Link { on, addresses, mtu, reverse_path, advertise });
        self.clone()
    }

    /// The last interface, changed.
    pub(crate) fn with(mut self, edit: impl FnOnce(&mut Link)) -> Plan {
        edit(self.links.last_mut().expect("an interface"));
        self
    }

    /// A route by several next hops, each an interface and an address or `"-"`.
    pub(crate) fn via(mut self, to: &str, hops: &[(u16, &str)]) -> Plan {
        let hop = |&(interface, via): &(u16, &str)| NextHop {
            interface: InterfaceId(interface),
            via: (via != "-").then(|| address(via)),
        };
        self.routes.push((prefix(to), Route::Via(hops.iter().map(hop).collect())));
        self
    }

    pub(crate) fn route(mut self, to: &str, route: Route) -> Plan {
        self.routes.push((prefix(to), route));
        self
    }

    /// A neighbour that need not be asked for: station `n`.
    pub(crate) fn knows(self, interface: u16, neighbor: &str, n: u32) -> Plan {
        let learned = self.neighbors.pin(InterfaceId(interface), address(neighbor), mac(n));
        assert!(learned.held.is_empty());
        self
    }

    /// The next rule of a hook, which counts behind all there are.
    pub(crate) fn rule(mut self, hook: Hook, condition: Condition, action: Action) -> Plan {
        let place = self.rules.iter().map(Vec::len).sum::<usize>() as u32;
        self.reassembles |= condition.needs_whole();
        if !condition.state.is_empty() {
            self = self.tracked();
        }
        self.rules[hook as usize].push((condition, action, place));
        self
    }

    /// What no rule of a hook ends is dropped.
    pub(crate) fn refuses(mut self, hook: Hook) -> Plan {
        self.accepts[hook as usize] = false;
        self
    }

    /// With connections, unless it has them already.
    pub(crate) fn tracked(self) -> Plan {
        let has = self.sessions.is_some();
        if has { self } else { self.tracked_by(Limits::default()) }
    }

    pub(crate) fn tracked_by(mut self, limits: Limits) -> Plan {
        self.sessions = Some(Arc::new(Conntrack::new(limits, 7)));
        self.reassembles = true;
        self
    }

    fn nat(mut self, add: impl Fn(&mut Nat) + 'static) -> Plan {
        self.nat.push(Arc::new(add));
        self.tracked()
    }

    /// What leaves by `out` has the interface's own address.
    pub(crate) fn masquerade(self, out: u16) -> Plan {
        self.snat(out, &[], 1024..=65535)
    }

    /// What leaves by `out` has one of these addresses, of which each text gives the first and the last.
    pub(crate) fn snat(self, out: u16, to: &[(&str, &str)], ports: RangeInclusive<u16>) -> Plan {
        let to: Vec<_> = to.iter().map(|(first, last)| address(first)..=address(last)).collect();
        self.nat(move |nat| {
            let (rule, traffic) = (place(nat), Traffic::default());
            let (interface, to, ports) = (InterfaceId(out), to.clone(), ports.clone());
            nat.sources.push(SourceRule { rule, interface, traffic, to, ports });
        })
    }

    /// What is for these ports of the interface's own addresses goes to the targets, each an address and its port.
    pub(crate) fn forward(
        self,
        interface: u16,
        protocol: u8,
        ports: RangeInclusive<u16>,
        to: &[(&str, u16)],
    ) -> Plan {
        let to: Vec<_> = to
            .iter()
            .map(|&(to, port)| Target { addresses: address(to)..=address(to), port: Some(port) })
            .collect();
        self.nat(move |nat| {
            let rule = place(nat);
            let traffic = Traffic { protocols: vec![protocol], ..Traffic::default() };
            let (interface, ports, to) = (InterfaceId(interface), Some(ports.clone()), to.clone());
            nat.forwards.push(Forward { rule, interface, own_addresses: true, traffic, ports, to });
        })
    }

    /// What comes in by the interface for `destination` goes to one of the addresses from `first` to `last`.
    pub(crate) fn dnat(self, interface: u16, destination: &str, first: &str, last: &str) -> Plan {
        let (destination, to) = (prefix(destination), address(first)..=address(last));
        self.nat(move |nat| {
            let rule = place(nat);
            let traffic = Traffic { destinations: vec![destination], ..Traffic::default() };
            let to = vec![Target { addresses: to.clone(), port: None }];
            let interface = InterfaceId(interface);
            nat.forwards.push(Forward { rule, interface, own_addresses: false, traffic, ports: None, to });
        })
    }

    /// `internal` is `external` outside of the interface, and the reverse.
    pub(crate) fn fixed(self, interface: u16, external: &str, internal: &str) -> Plan {
        let (external, internal) = (prefix(external), prefix(internal));
        self.nat(move |nat| {
            let rule = place(nat);
            nat.statics.push(StaticRule { rule, interface: InterfaceId(interface), external, internal });
        })
    }

    /// The same for prefixes of IPv6, without memory.
    pub(crate) fn npt(mut self, interface: u16, external: &str, internal: &str) -> Plan {
        let pair = PrefixPair::new(with_length(internal), with_length(external)).expect("a pair");
        self.nat.push(Arc::new(move |nat| {
            let rule = place(nat);
            nat.prefixes.push(PrefixRule { rule, interface: InterfaceId(interface), pair });
        }));
        self
    }

    /// The router.
    pub(crate) fn build(&self) -> Router {
        let mut nat = Nat::default();
        self.nat.iter().for_each(|add| add(&mut nat));
        let interface = |(slot, link): (usize, &Link)| {
            Some(Interface {
                name: format!("if{slot}"),
                on: link.on,
                addresses: link.addresses.clone(),
                mtu: link.mtu,
                reverse_path: link.reverse_path,
                advertise: link.advertise.clone(),
            })
        };
        let chain = |hook: usize| {
            let rules = self.rules[hook].iter();
            let rules = rules.map(|(condition, action, counter)| {
                (condition.clone(), Rule { counter: *counter, action: action.clone() })
            });
            Chain::new(rules.collect(), self.accepts[hook])
        };
        Router {
            name: "gw".to_owned(),
            interfaces: self.links.iter().enumerate().map(interface).collect(),
            routes: Arc::new(Routes::new(self.all_routes())),
            neighbors: Arc::clone(&self.neighbors),
            sessions: self.sessions.clone(),
            nat,
            filter: Filter { chains: std::array::from_fn(chain) },
            errors: Arc::clone(&self.errors),
            reassembles: self.reassembles,
        }
    }

    /// Those that are asked for, and those that follow from addresses: networks, their broadcast addresses (RFC 1812
    /// section 4.2.3.1) and the addresses themselves. What is link-local is on every link, and so has none.
    fn all_routes(&self) -> Vec<(Prefix, Route)> {
        let mut routes = self.routes.clone();
        let mut own = Vec::new();
        for (slot, link) in self.links.iter().enumerate() {
            for &(address, len) in &link.addresses {
                if !address.is_v4() && address.is_link_local() {
                    continue;
                }
                routes.push((
                    Prefix::new(address.network(len), len),
                    Route::Connected(InterfaceId(slot as u16)),
                ));
                if address.is_v4() && len < 31 {
                    own.push((Prefix::host(address.network(len)), Route::Broadcast));
                    own.push((Prefix::host(address.last(len)), Route::Broadcast));
                }
                own.push((Prefix::host(address), Route::Local));
            }
        }
        own.sort_by_key(|(_, route)| *route == Route::Local);
        routes.extend(own);
        routes.push((prefix("255.255.255.255/32"), Route::Broadcast));
        routes
    }

    /// Has a yard route by this, and gives what the router says at its start.
    pub(crate) fn run(&self, yard: &mut Yard) -> Vec<Sent> {
        run_all(yard, std::slice::from_ref(self))
    }
}

/// Has a yard route by several.
pub(crate) fn run_all(yard: &mut Yard, plans: &[Plan]) -> Vec<Sent> {
    let count = plans.iter().flat_map(|plan| &plan.rules).map(|rules| rules.len() as u64).sum();
    let plans = plans.to_vec();
    yard.route_by(count, move || plans.iter().map(|plan| Some(plan.build())).collect());
    yard.wait(Duration::ZERO)
}

fn place(nat: &Nat) -> u32 {
    (nat.forwards.len() + nat.statics.len() + nat.sources.len() + nat.prefixes.len()) as u32
}

/// What is above IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upper {
    Udp {
        from: u16,
        to: u16,
        checked: bool,
    },
    Tcp {
        from: u16,
        to: u16,
        flags: u8,
        sequence: u32,
        ack: u32,
        window: u16,
    },
    Request {
        id: u16,
        sequence: u16,
    },
    Reply {
        id: u16,
        sequence: u16,
    },
    /// Another message of ICMP or ICMPv6: type, code and the four bytes behind the checksum.
    Icmp(u8, u8, u32),
    /// Another protocol.
    Other(u8),
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// A packet without options and extension headers, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Msg {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) id: u16,
    pub(crate) tos: u8,
    pub(crate) upper: Upper,
    pub(crate) payload: Vec<u8>,
}

/// A packet between two addresses.
pub(crate) fn msg(from: &str, to: &str, upper: Upper) -> Msg {
    let [from, to] = [from, to].map(|text| text.parse().unwrap_or_else(|_| panic!("an address: {text}")));
    let payload = (0..26).map(|i| i * 3 + 1).collect();
    Msg { from, to, ttl: 64, dont_fragment: true, id: 0, tos: 0, upper, payload }
}

fn endpoint(text: &str) -> (&str, u16) {
    let (address, port) = text.rsplit_once(':').expect("a port");
    (address.trim_matches(['[', ']']), port.parse().expect("a port"))
}

/// UDP between two endpoints such as `10.0.0.1:53` or `[fd00::1]:53`.
pub(crate) fn udp(from: &str, to: &str) -> Msg {
    let ((from, from_port), (to, to_port)) = (endpoint(from), endpoint(to));
    msg(from, to, Upper::Udp { from: from_port, to: to_port, checked: true })
}

pub(crate) fn tcp(from: &str, to: &str, flags: u8, sequence: u32, ack: u32) -> Msg {
    let ((from, from_port), (to, to_port)) = (endpoint(from), endpoint(to));
    let upper = Upper::Tcp { from: from_port, to: to_port, flags, sequence, ack, window: 0xf000 };
    let payload = if flags & (SYN | FIN | RST) == 0 { vec![7; 100] } else { Vec::new() };
    Msg { payload, ..msg(from, to, upper) }
}

pub(crate) fn ping(from: &str, to: &str, id: u16) -> Msg {
    msg(from, to, Upper::Request { id, sequence: 1 })
}

impl Msg {
    pub(crate) fn ttl(self, ttl: u8) -> Msg {
        Msg { ttl, ..self }
    }

    /// As it is behind a router.
    pub(crate) fn hop(&self) -> Msg {
        Msg { ttl: self.ttl - 1, ..self.clone() }
    }

    pub(crate) fn len(self, payload: usize) -> Msg {
        Msg { payload: (0..payload).map(|i| (i * 7 + i / 251) as u8).collect(), ..self }
    }

    pub(crate) fn may_be_cut(self) -> Msg {
        Msg { dont_fragment: false, id: 77, ..self }
    }

    /// The answer: addresses and ports turned round.
    pub(crate) fn back(&self) -> Msg {
        let upper = match self.upper {
            Upper::Udp { from, to, checked } => Upper::Udp { from: to, to: from, checked },
            Upper::Tcp { from, to, flags, sequence, ack, window } => {
                Upper::Tcp { from: to, to: from, flags, sequence: ack, ack: sequence, window }
            }
            Upper::Request { id, sequence } => Upper::Reply { id, sequence },
            Upper::Reply { id, sequence } => Upper::Request { id, sequence },
            ref other => other.clone(),
        };
        Msg { from: self.to, to: self.from, upper, ..self.clone() }
    }

    pub(crate) fn from(&self, endpoint: &str) -> Msg {
        let mut moved = self.clone();
        let (address, port) = match endpoint
            .rsplit_once(':')
            .filter(|(address, _)| !address.contains(':') || address.starts_with('['))
        {
            Some((address, port)) => (address.trim_matches(['[', ']']), Some(port.parse().expect("a port"))),
            None => (endpoint, None),
        };
        moved.from = address.parse().expect("an address");
        match (&mut moved.upper, port) {
            (Upper::Udp { from, .. } | Upper::Tcp { from, .. }, Some(port)) => *from = port,
            (Upper::Request { id, .. }, Some(port)) => *id = port,
            _ => {}
        }
        moved
    }

    pub(crate) fn to(&self, endpoint: &str) -> Msg {
        let back = self.back().from(endpoint);
        let mut moved = back.back();
        if let (Upper::Reply { id, .. }, Upper::Request { id: new, .. }) = (&mut moved.upper, &back.upper) {
            *id = *new;
        }
        moved
    }

    /// The source port, or the identifier.
    pub(crate) fn port(&self) -> u16 {
        match self.upper {
            Upper::Udp { from, .. } | Upper::Tcp { from, .. } => from,
            Upper::Request { id, .. } | Upper::Reply { id, .. } => id,
            _ => 0,
        }
    }

    fn ip(&self) -> IpHeaders {
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header = Ipv4Header {
                    source: from.octets(),
                    destination: to.octets(),
                    time_to_live: self.ttl,
                    identification: self.id,
                    dont_fragment: self.dont_fragment,
                    dscp: (self.tos >> 2).try_into().expect("six bits"),
                    ecn: (self.tos & 3).try_into().expect("two bits"),
                    ..Ipv4Header::default()
                };
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    source: from.octets(),
                    destination: to.octets(),
                    hop_limit: self.ttl,
                    traffic_class: self.tos,
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            other => panic!("of two versions: {other:?}"),
        }
    }

    /// The packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (mut bytes, v4) = (Vec::new(), self.from.is_ipv4());
        let ip = PacketBuilder::ip(self.ip());
        match self.upper {
            Upper::Udp { from, to, .. } => ip.udp(from, to).write(&mut bytes, &self.payload),
            Upper::Tcp { from, to, flags, sequence, ack, window } => {
                let mut header = TcpHeader::new(from, to, sequence, window);
                header.acknowledgment_number = ack;
                header.fin = flags & FIN != 0;
                header.syn = flags & SYN != 0;
                header.rst = flags & RST != 0;
                header.psh = flags & 8 != 0;
                header.ack = flags & ACK != 0;
                ip.tcp_header(header).write(&mut bytes, &self.payload)
            }
            Upper::Request { id, sequence } if v4 => {
                ip.icmpv4_echo_request(id, sequence).write(&mut bytes, &self.payload)
            }
            Upper::Reply { id, sequence } if v4 => {
                ip.icmpv4_echo_reply(id, sequence).write(&mut bytes, &self.payload)
            }
            Upper::Request { id, sequence } => {
                ip.icmpv6_echo_request(id, sequence).write(&mut bytes, &self.payload)
            }
            Upper::Reply { id, sequence } => {
                ip.icmpv6_echo_reply(id, sequence).write(&mut bytes, &self.payload)
            }
            Upper::Icmp(kind, code, rest) if v4 => {
                ip.icmpv4_raw(kind, code, rest.to_be_bytes()).write(&mut bytes, &self.payload)
            }
            Upper::Icmp(kind, code, rest) => {
                ip.icmpv6_raw(kind, code, rest.to_be_bytes()).write(&mut bytes, &self.payload)
            }
            Upper::Other(protocol) => ip.write(&mut bytes, IpNumber(protocol), &self.payload),
        }
        .expect("a packet");
        if let Upper::Udp { checked: false, .. } = self.upper {
            let at = if v4 { 26 } else { 46 };
            bytes[at..at + 2].fill(0);
        }
        bytes
    }

    /// The packet in a frame.
    pub(crate) fn frame(&self, to: Mac, from: Mac) -> Vec<u8> {
        in_frame(&self.packet(), to, from)
    }

    /// Reads a packet, of which everything has to be as [`Msg::packet`] writes it: lengths and checksums are right.
    #[track_caller]
    pub(crate) fn read(packet: &[u8]) -> Msg {
        let (ip, rest) =
            IpHeaders::from_slice(packet).unwrap_or_else(|error| panic!("{error}: {packet:02x?}"));
        let (from, to, ttl, dont_fragment, id, tos): (IpAddr, IpAddr, _, _, _, _) = match &ip {
            IpHeaders::Ipv4(ip, _) => {
                let tos = ip.dscp.value() << 2 | ip.ecn.value();
                let (from, to) = (ip.source.into(), ip.destination.into());
                (from, to, ip.time_to_live, ip.dont_fragment, ip.identification, tos)
            }
            IpHeaders::Ipv6(ip, _) => {
                let (from, to) = (ip.source.into(), ip.destination.into());
                (from, to, ip.hop_limit, true, 0, ip.traffic_class)
            }
        };
        let (upper, payload) = match rest.ip_number {
            IpNumber::UDP => {
                let (header, payload) = UdpHeader::from_slice(rest.payload).expect("UDP");
                let (from, to) = (header.source_port, header.destination_port);
                (Upper::Udp { from, to, checked: header.checksum != 0 }, payload)
            }
            IpNumber::TCP => {
                let (tcp, payload) = TcpHeader::from_slice(rest.payload).expect("TCP");
                let (from, to, window) = (tcp.source_port, tcp.destination_port, tcp.window_size);
                let (sequence, ack) = (tcp.sequence_number, tcp.acknowledgment_number);
                let flags = rest.payload[13];
                (Upper::Tcp { from, to, flags, sequence, ack, window }, payload)
            }
            IpNumber::ICMP => {
                let (header, payload) = Icmpv4Header::from_slice(rest.payload).expect("ICMP");
                match header.icmp_type {
                    Icmpv4Type::EchoRequest(echo) => {
                        (Upper::Request { id: echo.id, sequence: echo.seq }, payload)
                    }
                    Icmpv4Type::EchoReply(echo) => {
                        (Upper::Reply { id: echo.id, sequence: echo.seq }, payload)
                    }
                    _ => raw_icmp(rest.payload),
                }
            }
            IpNumber::IPV6_ICMP => {
                let (header, payload) = Icmpv6Header::from_slice(rest.payload).expect("ICMPv6");
                match header.icmp_type {
                    Icmpv6Type::EchoRequest(echo) => {
                        (Upper::Request { id: echo.id, sequence: echo.seq }, payload)
                    }
                    Icmpv6Type::EchoReply(echo) => {
                        (Upper::Reply { id: echo.id, sequence: echo.seq }, payload)
                    }
                    _ => raw_icmp(rest.payload),
                }
            }
            IpNumber(other) => (Upper::Other(other), rest.payload),
        };
        let read = Msg { from, to, ttl, dont_fragment, id, tos, upper, payload: payload.to_vec() };
        assert_eq!(read.packet(), packet, "lengths and checksums of {read:?}");
        read
    }
}

fn raw_icmp(message: &[u8]) -> (Upper, &[u8]) {
    let rest = u32::from_be_bytes(message[4..8].try_into().expect("four bytes"));
    (Upper::Icmp(message[0], message[1], rest), &message[8..])
}

/// A packet in a frame.
pub(crate) fn in_frame(packet: &[u8], to: Mac, from: Mac) -> Vec<u8> {
    let ether_type: [u8; 2] =
        if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
    [&to.octets()[..], &from.octets(), &ether_type, packet].concat()
}

/// The address of the router on every bridge.
pub(crate) fn gateway() -> Mac {
    mac(BRIDGE)
}

/// An ARP packet from station `n`, as RFC 826 draws it.
pub(crate) fn arp(to: Mac, n: u32, operation: u8, sender: &str, target_mac: Mac, target: &str) -> Vec<u8> {
    let octets = |text: &str| address(text).v4_bits().to_be_bytes();
    let mut bytes = [to.octets(), mac(n).octets()].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    bytes.extend(mac(n).octets());
    bytes.extend(octets(sender));
    bytes.extend(target_mac.octets());
    bytes.extend(octets(target));
    bytes
}

/// Station `n` asks for an address.
pub(crate) fn arp_request(n: u32, sender: &str, target: &str) -> Vec<u8> {
    arp(Mac::BROADCAST, n, 1, sender, Mac::default(), target)
}

/// Station `n` answers the router.
pub(crate) fn arp_reply(n: u32, sender: &str, target: &str) -> Vec<u8> {
    arp(gateway(), n, 2, sender, gateway(), target)
}

/// The group that is asked for an address (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(target: &str) -> Ipv6Addr {
    let target: Ipv6Addr = target.parse().expect("an address");
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | target.to_bits() & 0xff_ffff)
}

/// The MAC address of a group (RFC 2464 section 7).
pub(crate) fn group(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    Mac::new([0x33, 0x33, a, b, c, d])
}

/// A message of neighbour discovery: what is behind the first four bytes, options included.
pub(crate) fn nd(from: &str, to: &str, kind: u8, rest: u32, body: Vec<u8>) -> Msg {
    Msg { payload: body, ttl: 255, ..msg(from, to, Upper::Icmp(kind, 0, rest)) }
}

/// An address and the link-layer address option (1: of the source, 2: of the target) with `mac`.
pub(crate) fn nd_target(target: &str, option: Option<(u8, Mac)>) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().expect("an address");
    let option = option.map(|(kind, mac)| [&[kind, 1][..], &mac.octets()].concat());
    [&target.octets()[..], &option.unwrap_or_default()].concat()
}

/// Station `n` asks for an address.
pub(crate) fn solicitation(n: u32, from: &str, target: &str) -> Vec<u8> {
    let to = solicited_node(target);
    let option = (from != "::").then(|| (1, mac(n)));
    nd(from, &to.to_string(), 135, 0, nd_target(target, option)).frame(group(to), mac(n))
}

/// Station `n` answers a question of the router's: flags as in the message's first byte behind the checksum.
pub(crate) fn advertisement(n: u32, target: &str, to: &str, flags: u8) -> Vec<u8> {
    nd(target, to, 136, u32::from(flags) << 24, nd_target(target, Some((2, mac(n))))).frame(gateway(), mac(n))
}
