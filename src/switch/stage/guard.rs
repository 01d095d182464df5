//! Port security: what a port may say to be, and which servers may be behind it.
//!
//! A *pinned* port may use its addresses only: as Ethernet and IP source, in ARP, and in neighbour discovery. *Guards*
//! keep DHCP servers and routers away from it. What these rules cannot read is dropped, since a receiver may read it: a
//! header that is cut off, a deeper stack of tags than is looked through, extension headers that do not end in the first
//! fragment (RFC 7112, RFC 7113).
//!
//! What passes beside the pinned addresses is what a host needs that has none yet: ARP probes and duplicate address
//! detection for a pinned address, DHCPv4 from 0.0.0.0 to everybody, router solicitations and MLD from the unspecified
//! address (RFC 3590). As in OVN, an IPv6 link-local source is one that is pinned, or that follows from a pinned MAC
//! (EUI-64); where no MAC is pinned, any is. And as there, a port that pins addresses of one version alone sends none of
//! the other.
//!
//! Where addresses are pinned, only IPv4, IPv6, ARP and RARP pass (the latter with nothing but the own MAC address in it:
//! it is how QEMU announces a guest that has moved). Other EtherTypes could carry IP to somebody, as PPPoE and MPLS do.

mod headers;

use core::net::{IpAddr, Ipv4Addr};

use crate::packet::{DropReason, Frame};
use crate::wire::address::Address;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ethernet::Mac;
use crate::wire::nd::{self, Kind};
use crate::wire::{be16, icmp, ipv4, ipv6, udp};
use headers::Headers;

const DHCP: Ports = Ports { server: 67, client: 68, answers: &[2] };
/// Advertise, reply, reconfigure, and what relays send.
const DHCP_V6: Ports = Ports { server: 547, client: 546, answers: &[2, 7, 10, 12, 13] };

/// The messages that come from no client: types of IRDP (RFC 1256), and of MLD, from hosts without address.
const ROUTER_ADVERTISEMENT: u8 = 9;
const REDIRECT: u8 = 5;
const MLD: [u8; 3] = [131, 132, 143];

/// What holds for a port. See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Guard {
    macs: Option<Box<[Mac]>>,
    addresses: Option<Addresses>,
    dhcp: bool,
    router: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Addresses {
    v4: Ranges,
    v6: Ranges,
}

/// Disjoint ranges of addresses, by their first and last, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges(Box<[(u128, u128)]>);

/// The UDP ports of a version of DHCP, and the first byte of a server's messages.
struct Ports {
    server: u16,
    client: u16,
    answers: &'static [u8],
}

impl Guard {
    /// A guard that pins a port to these MAC addresses and networks, each with its prefix length (of none: it is not
    /// pinned so), and lets no DHCP server (`dhcp`) and no router be behind it. `None` when there is nothing to guard.
    pub fn new(macs: &[Mac], networks: &[(IpAddr, u8)], dhcp: bool, router: bool) -> Option<Guard> {
        let of_version = |v4: bool| {
            let networks = networks.iter().filter(|(network, _)| network.is_ipv4() == v4);
            Ranges::new(
                networks
                    .map(|&(network, len)| (Address::from(network).bits(), if v4 { len + 96 } else { len })),
            )
        };
        let guard = Guard {
            macs: (!macs.is_empty()).then(|| macs.into()),
            addresses: (!networks.is_empty())
                .then(|| Addresses { v4: of_version(true), v6: of_version(false) }),
            dhcp,
            router,
        };
        (guard.is_pinned() || dhcp || router).then_some(guard)
    }

    /// Whether a frame from the station `source` may come in: an error says which rule it breaks.
    #[inline(never)]
    pub(super) fn check(&self, source: Mac, frame: &Frame) -> Result<(), DropReason> {
        if !self.may_be(source) {
            return Err(DropReason::SpoofedMac);
        }
        let Some((ether_type, at)) = headers::payload(frame.bytes()) else { return Err(self.unreadable()) };
        let passes = match ether_type {
            ipv4::ETHER_TYPE => return self.ipv4(frame, at),
            ipv6::ETHER_TYPE => return self.ipv6(frame, at),
            arp::ETHER_TYPE => self.arp(&frame.bytes()[at..]),
            arp::REVERSE_ETHER_TYPE => self.rarp(&frame.bytes()[at..]),
            _ => self.addresses.is_none(),
        };
        if passes { Ok(()) } else { Err(DropReason::SpoofedIp) }
    }

    fn is_pinned(&self) -> bool {
        self.macs.is_some() || self.addresses.is_some()
    }

    /// Why a frame is dropped that hides what it is.
    fn unreadable(&self) -> DropReason {
        match (self.is_pinned(), self.dhcp) {
            (true, _) => DropReason::SpoofedIp,
            (false, true) => DropReason::DhcpGuard,
            (false, false) => DropReason::RaGuard,
        }
    }

    fn may_be(&self, mac: Mac) -> bool {
        self.macs.as_ref().is_none_or(|macs| macs.contains(&mac))
    }

    /// Whether a host here may say that an IPv4 address is its own.
    fn may_have_v4(&self, address: Address) -> bool {
        self.addresses.as_ref().is_none_or(|pinned| pinned.v4.contains(address))
    }

    /// The same for an IPv6 address.
    fn may_have_v6(&self, address: Address) -> bool {
        let Some(pinned) = &self.addresses else { return true };
        let derived = || match &self.macs {
            None => true,
            Some(macs) => macs.iter().any(|&mac| Address::from(nd::link_local(mac)) == address),
        };
        // Those of IPv4 are none here: see `Address`.
        let link_local = !pinned.v6.is_empty() && !address.is_v4() && address.is_link_local();
        pinned.v6.contains(address) || link_local && derived()
    }

    fn arp(&self, message: &[u8]) -> bool {
        if !self.is_pinned() {
            return true;
        }
        let Some(arp) = Arp::parse(message) else { return false };
        // A probe asks whether an address is free, to have it (RFC 5227 section 2.1).
        let claimed = if arp.is_probe() { arp.target_ip } else { arp.sender_ip };
        self.may_be(arp.sender_mac) && self.may_have_v4(claimed.into())
    }

    fn rarp(&self, message: &[u8]) -> bool {
        if !self.is_pinned() {
            return true;
        }
        let Some(rarp) = Arp::parse(message) else { return false };
        let claims_none = |address: Ipv4Addr| address.is_unspecified() || self.may_have_v4(address.into());
        rarp.operation == Operation::ReverseRequest
            && self.may_be(rarp.sender_mac)
            && self.may_be(rarp.target_mac)
            && claims_none(rarp.sender_ip)
            && claims_none(rarp.target_ip)
    }

    fn ipv4(&self, frame: &Frame, at: usize) -> Result<(), DropReason> {
        let Some(headers) = Headers::ipv4(frame, at) else { return Err(self.unreadable()) };
        if !self.may_have_v4(headers.source) && !self.may_ask_dhcp(&headers) {
            return Err(DropReason::SpoofedIp);
        }
        let Some(upper) = headers.upper else { return Ok(()) };
        match headers.protocol {
            udp::PROTOCOL => self.udp(&DHCP, &headers, upper),
            icmp::PROTOCOL => match upper.first() {
                None => Err(self.unreadable()),
                Some(&(ROUTER_ADVERTISEMENT | REDIRECT)) if self.router => Err(DropReason::RaGuard),
                Some(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether this is a client of DHCP that has no address yet (RFC 2131 section 4.1).
    fn may_ask_dhcp(&self, headers: &Headers<'_>) -> bool {
        let ports = headers.upper.filter(|upper| upper.len() >= udp::HEADER_LEN);
        self.addresses.as_ref().is_some_and(|pinned| !pinned.v4.is_empty())
            && headers.source.is_unspecified()
            && headers.destination == Address::v4(u32::MAX)
            && headers.protocol == udp::PROTOCOL
            && headers.whole
            && ports.is_some_and(|udp| be16(udp, 0) == DHCP.client && be16(udp, 2) == DHCP.server)
    }

    fn ipv6(&self, frame: &Frame, at: usize) -> Result<(), DropReason> {
        let Some(headers) = Headers::ipv6(frame, at) else { return Err(self.unreadable()) };
        if !self.may_have_v6(headers.source) && !self.may_be_nobody(&headers) {
            return Err(DropReason::SpoofedIp);
        }
        let Some(upper) = headers.upper else { return Ok(()) };
        match headers.protocol {
            udp::PROTOCOL => self.udp(&DHCP_V6, &headers, upper),
            icmp::V6_PROTOCOL => self.icmpv6(&headers, upper),
            _ => Ok(()),
        }
    }

    /// Whether this is a message that a host sends before it has an address.
    fn may_be_nobody(&self, headers: &Headers<'_>) -> bool {
        const TO_ROUTERS_AND_NEIGHBOURS: u128 = 0xff02;
        let kind = headers.upper.and_then(|upper| upper.first());
        self.addresses.as_ref().is_some_and(|pinned| !pinned.v6.is_empty())
            && headers.source.bits() == 0
            && headers.destination.bits() >> 112 == TO_ROUTERS_AND_NEIGHBOURS
            && headers.protocol == icmp::V6_PROTOCOL
            && headers.whole
            && kind.is_some_and(|kind| {
                MLD.contains(kind) || [nd::ROUTER_SOLICITATION, nd::NEIGHBOR_SOLICITATION].contains(kind)
            })
    }

    fn icmpv6(&self, headers: &Headers<'_>, message: &[u8]) -> Result<(), DropReason> {
        let Some(kind) = message.first() else { return Err(self.unreadable()) };
        let is_router = [nd::ROUTER_ADVERTISEMENT, nd::REDIRECT].contains(kind);
        if is_router && self.router {
            return Err(DropReason::RaGuard);
        }
        if !nd::is_nd(*kind) {
            return Ok(());
        }
        // No node takes ND in fragments (RFC 6980), but who does would take it for true.
        if !headers.whole && (self.is_pinned() || self.router) {
            return Err(self.unreadable());
        }
        if self.is_pinned() && !nd::Message::read(message).is_some_and(|said| self.nd(headers, &said)) {
            return Err(DropReason::SpoofedIp);
        }
        Ok(())
    }

    /// Whether a host here may say this. It need not be valid: a receiver may be less exact than it should be, and heed
    /// another option than the first.
    fn nd(&self, headers: &Headers<'_>, said: &nd::Message<'_>) -> bool {
        let claimed = match said.kind {
            // Duplicate address detection: who asks so has the address, if nobody answers.
            Kind::NeighborSolicitation { target } => headers.source.is_unspecified().then_some(target),
            // A redirect says whose the target's MAC address is, as an advertisement does.
            Kind::NeighborAdvertisement { target, .. } | Kind::Redirect { target, .. } => Some(target),
            Kind::RouterSolicitation | Kind::RouterAdvertisement => None,
        };
        said.link_layers().all(|mac| self.may_be(mac))
            && claimed.is_none_or(|target| self.may_have_v6(target.into()))
    }

    /// Drops what a DHCP server or relay sends. Only such send to a client's port, or from a server's. A message to a
    /// server's may be an answer to a relay, and is read; one that is cut, or several in a superframe, no client sends.
    fn udp(&self, dhcp: &Ports, headers: &Headers<'_>, datagram: &[u8]) -> Result<(), DropReason> {
        if datagram.len() < udp::HEADER_LEN {
            return Err(self.unreadable());
        }
        let (from, to) = (be16(datagram, 0), be16(datagram, 2));
        let answers = || {
            let kind = datagram.get(udp::HEADER_LEN);
            !headers.whole || kind.is_none_or(|kind| dhcp.answers.contains(kind))
        };
        let is_server = from == dhcp.server || to == dhcp.client || to == dhcp.server && answers();
        if self.dhcp && is_server { Err(DropReason::DhcpGuard) } else { Ok(()) }
    }
}

impl Ranges {
    /// Those of networks, each with the bits that its addresses have in common.
    fn new(networks: impl Iterator<Item = (u128, u8)>) -> Ranges {
        let mut ranges: Vec<(u128, u128)> = networks
            .map(|(network, len)| {
                let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                (network & !host, network | host)
            })
            .collect();
        ranges.sort_unstable();
        // Of two networks that overlap, one holds the other.
        ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
        Ranges(ranges.into())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, address: Address) -> bool {
        let before = self.0.partition_point(|&(first, _)| first <= address.bits());
        before.checked_sub(1).is_some_and(|at| address.bits() <= self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn networks_of_both_versions_are_apart() {
        let networks = ["10.9.0.0/28", "10.9.0.2/32", "10.8.0.7/32", "::/0"].map(|text| {
            let (network, len) = text.split_once('/').unwrap();
            (network.parse().unwrap(), len.parse().unwrap())
        });
        let guard = Guard::new(&[], &networks, false, false).unwrap();
        for (text, pinned) in [
            ("10.9.0.0", true),
            ("10.9.0.2", true),
            ("10.9.0.15", true),
            ("10.9.0.16", false),
            ("10.8.0.7", true),
            ("10.8.0.6", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(guard.may_have_v4(address(text)), pinned, "{text}");
        }
        assert!(guard.may_have_v6(address("fd00::1")), "::/0 is every address of IPv6, and none of IPv4");
        let guard = Guard::new(&[], &networks[..3], false, false).unwrap();
        assert!(!guard.may_have_v6(address("fe80::1")), "no address of IPv6 is pinned");
    }

    #[test]
    fn a_link_local_address_may_be_that_of_a_pinned_mac_address() {
        let mac = Mac::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let own = address("fe80::5054:ff:fe12:3456");
        let pins =
            |macs: &[Mac]| Guard::new(macs, &[("fd00::2".parse().unwrap(), 128)], false, false).unwrap();
        assert!(pins(&[Mac::new([2; 6]), mac]).may_have_v6(own));
        assert!(!pins(&[mac]).may_have_v6(address("fe80::1")));
        assert!(pins(&[]).may_have_v6(address("fe80::1")));
        assert!(!pins(&[]).may_have_v6(address("fd00::1")));
    }

    #[test]
    fn nothing_to_guard_is_no_guard() {
        assert_eq!(Guard::new(&[], &[], false, false), None);
        assert!(Guard::new(&[], &[], true, false).is_some() && Guard::new(&[], &[], false, true).is_some());
    }
}
