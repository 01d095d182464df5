//! Port security: who may say what at a port, and that no disguise helps.

mod kit;

use std::net::IpAddr;
use std::sync::Arc;

use etherparse::{EtherType, LaxPacketHeaders, NetHeaders};
use kit::frames::{dot1q, frame, mac, station, tag};
use kit::messages::*;
use kit::{Yard, access, port, trunk};
use proptest::prelude::*;
use proptest::{collection, sample};
use tapyard::packet::DropReason::{self, DhcpGuard, RaGuard, SpoofedIp, SpoofedMac};
use tapyard::packet::{Gso, Offload};
use tapyard::switch::{Guard, Port};
use tapyard::wire::ethernet::Mac;

/// The addresses of the guest at the port: of station 1.
const OWN: &str = "10.9.0.2";
const OWN_V6: &str = "fd00:9::2";
/// What follows from its MAC address 02:00:00:00:00:01.
const OWN_LINK_LOCAL: &str = "fe80::ff:fe00:1";
const OTHER: &str = "10.9.0.3";
const OTHER_V6: &str = "fd00:9::3";
const ROUTERS: &str = "ff02::2";

fn network(text: &str) -> (IpAddr, u8) {
    let (address, len) =
        text.split_once('/').unwrap_or((text, if text.contains(':') { "128" } else { "32" }));
    (address.parse().unwrap(), len.parse().unwrap())
}

fn pinned(macs: &[u32], networks: &[&str], port: Port) -> Port {
    let macs: Vec<Mac> = macs.iter().map(|&n| mac(n)).collect();
    let networks: Vec<_> = networks.iter().map(|text| network(text)).collect();
    Port { guard: Guard::new(&macs, &networks, false, false).map(Arc::new), ..port }
}

fn guarded(dhcp: bool, router: bool) -> Port {
    Port { guard: Guard::new(&[], &[], dhcp, router).map(Arc::new), ..port() }
}

/// A port pinned to all addresses of station 1, beside one that is not.
fn yard() -> Yard {
    Yard::new([pinned(&[1], &[OWN, OWN_V6], port()), port()])
}

#[track_caller]
fn passes(yard: &mut Yard, bytes: &[u8]) {
    let sent = yard.send(0, bytes);
    assert_eq!(sent.iter().map(|sent| &sent.bytes[..]).collect::<Vec<_>>(), [bytes], "{bytes:02x?}");
}

#[track_caller]
fn refused(yard: &mut Yard, bytes: &[u8], reason: DropReason) {
    assert_eq!(yard.refused(0, bytes, Offload::NONE), reason, "{bytes:02x?}");
}

/// From station 1 to everybody.
fn from_guest(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    ether(Mac::BROADCAST, mac(1), ether_type, payload)
}

fn guest_icmpv6(source: &str, destination: &str, message: &[u8]) -> Vec<u8> {
    from_guest(IPV6, &icmpv6((source, destination), message))
}

/// A frame in all the ways that something may still be seen through.
fn disguises(frame: &[u8]) -> Vec<Vec<u8>> {
    let stack = |tpid: u16, n: usize| (0..n).fold(frame.to_vec(), |frame, n| tag(&frame, tpid, n as u16));
    let mut all: Vec<_> = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300]
        .iter()
        .flat_map(|&tpid| (1..=4).map(move |n| (tpid, n)))
        .map(|(tpid, n)| stack(tpid, n))
        .collect();
    let snap = |oui: u8, len: u16, frame: &[u8]| {
        [&frame[..12], &len.to_be_bytes(), &[0xaa, 0xaa, 3, 0, 0, oui], &frame[12..]].concat()
    };
    all.extend([snap(0, 60, frame), snap(0xf8, 0x5ff, frame), snap(0, 0, &tag(frame, 0x8100, 0))]);
    all.extend([tag(&snap(0, 60, frame), 0x8100, 0), dot1q(&snap(0xf8, 60, &dot1q(frame, 5)), 5)]);
    all
}

#[test]
fn another_mac_address_is_dropped_before_it_is_learned() {
    let mut yard = Yard::new([pinned(&[1, 2], &[], port()), port()]);
    passes(&mut yard, &frame(mac(9), mac(1)));
    passes(&mut yard, &frame(mac(9), mac(2)));
    refused(&mut yard, &frame(mac(9), mac(3)), SpoofedMac);
    assert_eq!((yard.knows(station(1, 0)), yard.knows(station(3, 0))), (Some(0), None));
    // What is pinned to one port may still be behind another; only pins there would change that.
    assert_eq!(yard.goes(1, &frame(mac(9), mac(3))), [0]);
    refused(&mut yard, &frame(Mac::BROADCAST, mac(9)), SpoofedMac);
}

#[test]
fn a_port_without_pins_takes_anything() {
    let mut yard = Yard::new([port(), port()]);
    passes(&mut yard, &is_at((mac(9), OTHER), (mac(7), "10.9.0.1")));
    passes(&mut yard, &guest_icmpv6("fe80::1", "ff02::1", &router_advertisement(mac(7))));
    passes(&mut yard, &from_guest(IPV4, &ipv4(("10.9.0.1", "255.255.255.255"), 17, &udp(67, 68, &[2]))));
}

#[test]
fn packets_from_another_address_are_dropped() {
    let mut yard = Yard::new([pinned(&[1], &["10.9.0.0/28", OWN_V6, "fd00:8::/64"], port()), port()]);
    for (source, own) in [
        ("10.9.0.0", true),
        ("10.9.0.15", true),
        ("10.9.0.16", false),
        ("0.0.0.0", false),
        ("10.8.255.255", false),
    ] {
        for protocol in [1, 2, 6, 17, 47, 200] {
            let bytes = from_guest(IPV4, &ipv4((source, "10.9.0.9"), protocol, &[8; 40]));
            if own { passes(&mut yard, &bytes) } else { refused(&mut yard, &bytes, SpoofedIp) }
        }
    }
    for (source, own) in [
        (OWN_V6, true),
        ("fd00:8::77", true),
        ("fd00:8:0:1::77", false),
        (OTHER_V6, false),
        (OWN_LINK_LOCAL, true),
        ("fe80::1", false),
        ("::", false),
        ("::1", false),
        ("::ffff:10.9.0.2", false),
    ] {
        for protocol in [6, 17, 59, 50, 200] {
            let bytes = from_guest(IPV6, &ipv6((source, "fd00:9::9"), protocol, &[8; 40]));
            if own { passes(&mut yard, &bytes) } else { refused(&mut yard, &bytes, SpoofedIp) }
        }
    }
}

#[test]
fn a_version_that_no_pin_is_of_is_not_spoken() {
    let mut only_v4 = Yard::new([pinned(&[1], &[OWN], port()), port()]);
    refused(
        &mut only_v4,
        &from_guest(IPV6, &ipv6((OWN_LINK_LOCAL, "ff02::1"), 17, &udp(5, 5, &[]))),
        SpoofedIp,
    );
    refused(&mut only_v4, &guest_icmpv6("::", "ff02::16", &[143, 0, 0, 0, 0, 0, 0, 0]), SpoofedIp);
    refused(
        &mut only_v4,
        &guest_icmpv6("::", "ff02::1:ff00:1", &solicitation(OWN_LINK_LOCAL, &[])),
        SpoofedIp,
    );
    let mut only_v6 = Yard::new([pinned(&[1], &[OWN_V6], port()), port()]);
    refused(&mut only_v6, &who_has((mac(1), OWN), OTHER), SpoofedIp);
    refused(&mut only_v6, &who_has((mac(1), "0.0.0.0"), OWN), SpoofedIp);
    let ask = ipv4(("0.0.0.0", "255.255.255.255"), 17, &udp(68, 67, &[1; 300]));
    refused(&mut only_v6, &from_guest(IPV4, &ask), SpoofedIp);
}

#[test]
fn without_a_pinned_mac_address_any_link_local_address_will_do() {
    let mut yard = Yard::new([pinned(&[], &[OWN_V6], port()), port()]);
    passes(&mut yard, &from_guest(IPV6, &ipv6(("fe80::1", "ff02::1"), 17, &udp(5, 5, &[]))));
    passes(&mut yard, &guest_icmpv6("::", "ff02::1:ff00:1", &solicitation("fe80::1", &[])));
    refused(&mut yard, &from_guest(IPV6, &ipv6(("fec0::1", "ff02::1"), 17, &udp(5, 5, &[]))), SpoofedIp);
    let mut pinned_so = Yard::new([pinned(&[1], &["fe80::7"], port()), port()]);
    passes(&mut pinned_so, &from_guest(IPV6, &ipv6(("fe80::7", "ff02::1"), 17, &udp(5, 5, &[]))));
}

#[test]
fn arp_speaks_for_the_pinned_addresses_only() {
    let mut yard = yard();
    let nobody = (Mac::default(), "0.0.0.0");
    for good in [
        who_has((mac(1), OWN), OTHER),
        who_has((mac(1), OWN), OWN),
        is_at((mac(9), OTHER), (mac(1), OWN)),
        is_at((Mac::BROADCAST, OWN), (mac(1), OWN)),
        who_has((mac(1), "0.0.0.0"), OWN),
        from_guest(RARP, &arp(3, (mac(1), "0.0.0.0"), (mac(1), "0.0.0.0"))),
        [&who_has((mac(1), OWN), OTHER)[..], &[0x55; 18]].concat(),
    ] {
        passes(&mut yard, &good);
    }
    for bad in [
        arp(1, (mac(1), OTHER), (Mac::default(), OWN)),
        arp(1, (mac(2), OWN), (Mac::default(), OTHER)),
        arp(1, (mac(1), OTHER), (Mac::default(), OTHER)),
        arp(1, (mac(1), "0.0.0.0"), (Mac::default(), OTHER)),
        arp(1, (mac(2), "0.0.0.0"), (Mac::default(), OWN)),
        arp(2, (mac(1), OTHER), (mac(9), OTHER)),
        arp(2, (mac(2), OWN), (mac(9), OTHER)),
        arp(2, (mac(1), "0.0.0.0"), (mac(9), OWN)),
        arp(3, (mac(1), OTHER), nobody),
        [&[0, 6], &arp(1, (mac(1), OWN), (Mac::default(), OTHER))[2..]].concat(),
        [&[0, 1, 8, 0, 6, 16], &arp(1, (mac(1), OWN), (Mac::default(), OTHER))[6..]].concat(),
    ] {
        refused(&mut yard, &from_guest(ARP, &bad), SpoofedIp);
    }
    for bad in [
        arp(3, (mac(2), "0.0.0.0"), (mac(2), "0.0.0.0")),
        arp(3, (mac(1), OTHER), (mac(1), "0.0.0.0")),
        arp(3, (mac(1), "0.0.0.0"), (mac(1), OTHER)),
        arp(4, (mac(1), OWN), (mac(9), OTHER)),
    ] {
        refused(&mut yard, &from_guest(RARP, &bad), SpoofedIp);
    }
}

#[test]
fn a_pinned_mac_address_alone_binds_arp_and_nd_too() {
    let mut yard = Yard::new([pinned(&[1], &[], port()), port()]);
    passes(&mut yard, &who_has((mac(1), OTHER), OWN));
    refused(&mut yard, &from_guest(ARP, &arp(2, (mac(2), OTHER), (mac(9), OWN))), SpoofedIp);
    passes(
        &mut yard,
        &guest_icmpv6(OTHER_V6, "ff02::1", &advertisement(OTHER_V6, 0x20, &link_option(2, mac(1)))),
    );
    let spoofed = advertisement(OTHER_V6, 0x20, &link_option(2, mac(2)));
    refused(&mut yard, &guest_icmpv6(OTHER_V6, "ff02::1", &spoofed), SpoofedIp);
    passes(&mut yard, &frame(mac(9), mac(1)));
}

#[test]
fn nd_speaks_for_the_pinned_addresses_only() {
    let mut yard = yard();
    let (own, other) = (link_option(1, mac(1)), link_option(1, mac(2)));
    let (own_target, other_target) = (link_option(2, mac(1)), link_option(2, mac(2)));
    let redirect = |target: &str, option: &[u8]| {
        [&[137, 0, 0, 0, 0, 0, 0, 0][..], &v6(target).octets(), &v6(OTHER_V6).octets(), option].concat()
    };
    for (source, message, good) in [
        (OWN_V6, solicitation(OTHER_V6, &own), true),
        (OWN_LINK_LOCAL, solicitation(OTHER_V6, &own), true),
        (OWN_V6, solicitation(OTHER_V6, &[]), true),
        (OWN_V6, solicitation(OTHER_V6, &other), false),
        (OWN_V6, solicitation(OTHER_V6, &[&own[..], &other].concat()), false),
        (OWN_V6, solicitation(OTHER_V6, &[14, 0, 0, 0, 0, 0, 0, 0]), false),
        (OWN_V6, solicitation(OTHER_V6, &[&[1, 2][..], &[0; 14]].concat()), false),
        (OWN_V6, solicitation(OTHER_V6, &[&own[..], &[14]].concat()), false),
        (OTHER_V6, solicitation(OWN_V6, &own), false),
        ("::", solicitation(OWN_V6, &[]), true),
        ("::", solicitation(OWN_LINK_LOCAL, &[14, 1, 1, 2, 3, 4, 5, 6]), true),
        ("::", solicitation(OTHER_V6, &[]), false),
        ("::", solicitation("fe80::1", &[]), false),
        ("::", solicitation(OWN_V6, &other), false),
        (OWN_V6, advertisement(OWN_V6, 0x60, &own_target), true),
        (OWN_V6, advertisement(OWN_LINK_LOCAL, 0x20, &own_target), true),
        (OWN_V6, advertisement(OWN_V6, 0x60, &other_target), false),
        (OWN_V6, advertisement(OTHER_V6, 0x60, &own_target), false),
        (OWN_V6, advertisement(OTHER_V6, 0x40, &[]), false),
        (OTHER_V6, advertisement(OWN_V6, 0x60, &own_target), false),
        ("::", advertisement(OWN_V6, 0x20, &own_target), false),
        (OWN_LINK_LOCAL, [&[133, 0, 0, 0, 0, 0, 0, 0][..], &own].concat(), true),
        (OWN_LINK_LOCAL, [&[133, 0, 0, 0, 0, 0, 0, 0][..], &other].concat(), false),
        ("::", vec![133, 0, 0, 0, 0, 0, 0, 0], true),
        (OWN_LINK_LOCAL, router_advertisement(mac(1)), true), // which takes a guard to forbid
        (OWN_LINK_LOCAL, router_advertisement(mac(2)), false),
        ("::", router_advertisement(mac(1)), false),
        (OWN_LINK_LOCAL, redirect(OTHER_V6, &own_target), false),
        (OWN_LINK_LOCAL, redirect(OWN_V6, &other_target), false),
        ("::", vec![143, 0, 0, 0, 0, 0, 0, 0], true),
        ("::", vec![128, 0, 0, 0, 0, 0, 0, 0], false),
    ] {
        let bytes = guest_icmpv6(source, ROUTERS, &message);
        if good { passes(&mut yard, &bytes) } else { refused(&mut yard, &bytes, SpoofedIp) }
    }
    // Without an address a host asks those on its link, and nobody else.
    refused(&mut yard, &guest_icmpv6("::", OTHER_V6, &solicitation(OWN_V6, &[])), SpoofedIp);
}

#[test]
fn a_client_of_dhcp_gets_its_address() {
    let mut yard = Yard::new([
        Port {
            guard: Guard::new(&[mac(1)], &[network(OWN), network(OWN_V6)], true, true).map(Arc::new),
            ..port()
        },
        port(),
    ]);
    let everybody = "255.255.255.255";
    let request = udp(68, 67, &[&[1][..], &[0; 299]].concat());
    passes(&mut yard, &from_guest(IPV4, &ipv4(("0.0.0.0", everybody), 17, &request)));
    passes(&mut yard, &from_guest(IPV4, &ipv4((OWN, "10.9.0.1"), 17, &request)));
    passes(&mut yard, &from_guest(IPV4, &ipv4((OWN, "8.8.8.8"), 17, &udp(4000, 53, &[2]))));
    let solicit = udp(546, 547, &[1, 0, 0, 0]);
    passes(&mut yard, &from_guest(IPV6, &ipv6((OWN_LINK_LOCAL, "ff02::1:2"), 17, &solicit)));
    for (addresses, protocol, fragment, payload) in [
        (("0.0.0.0", OTHER), 17, 0, &request),
        (("0.0.0.0", everybody), 17, 0, &udp(68, 69, &[1])),
        (("0.0.0.0", everybody), 17, 0, &udp(69, 67, &[1])),
        (("0.0.0.0", everybody), 17, 0x2000, &request),
        (("0.0.0.0", everybody), 17, 1, &request),
        (("0.0.0.0", everybody), 6, 0, &request),
        (("0.0.0.1", everybody), 17, 0, &request),
    ] {
        let bytes = from_guest(IPV4, &ipv4_with(addresses, protocol, &[], fragment, payload));
        refused(&mut yard, &bytes, SpoofedIp);
    }
}

#[test]
fn what_is_neither_ip_nor_arp_does_not_pass_pinned_addresses() {
    let (mut pinned_ip, mut pinned_mac) = (yard(), Yard::new([pinned(&[1], &[], port()), port()]));
    // PPPoE, MPLS, the experiment's, LLC, another's SNAP.
    for behind in [
        &[0x88, 0x64, 1, 2][..],
        &[0x88, 0x47, 1, 2],
        &[0x88, 0xb5, 1, 2],
        &[0, 3, 0x42, 0x42, 3],
        &[0, 8, 0xaa, 0xaa, 3, 0, 0, 12, 0x20, 0],
    ] {
        let bytes = [&from_guest(0, &[])[..12], behind, &[0; 40]].concat();
        refused(&mut pinned_ip, &bytes, SpoofedIp);
        passes(&mut pinned_mac, &bytes);
    }
}

#[test]
fn no_disguise_changes_what_a_frame_is() {
    let mut guards = Yard::new([guarded(true, true), port()]);
    let offer = from_guest(IPV4, &ipv4(("10.9.0.1", "255.255.255.255"), 17, &udp(67, 68, &[2; 300])));
    let advertisement = guest_icmpv6("fe80::1", "ff02::1", &router_advertisement(mac(1)));
    let mut pins = yard();
    for good in [
        from_guest(IPV4, &ipv4((OWN, OTHER), 17, &udp(5, 5, &[1; 20]))),
        who_has((mac(1), OWN), OTHER),
        guest_icmpv6(OWN_V6, "ff02::1", &solicitation(OTHER_V6, &link_option(1, mac(1)))),
    ] {
        for disguised in disguises(&good) {
            passes(&mut pins, &disguised);
            passes(&mut guards, &disguised);
        }
    }
    for bad in [
        from_guest(IPV4, &ipv4((OTHER, OWN), 17, &udp(5, 5, &[1; 20]))),
        from_guest(IPV6, &ipv6((OTHER_V6, OWN_V6), 17, &udp(5, 5, &[1; 20]))),
        who_has((mac(1), OTHER), OWN),
        guest_icmpv6(OWN_V6, "ff02::1", &solicitation(OTHER_V6, &link_option(1, mac(2)))),
    ] {
        disguises(&bad).iter().for_each(|disguised| refused(&mut pins, disguised, SpoofedIp));
    }
    for disguised in disguises(&offer) {
        refused(&mut guards, &disguised, DhcpGuard);
    }
    for disguised in disguises(&advertisement) {
        refused(&mut guards, &disguised, RaGuard);
    }
    // What lies deeper than is looked through is dropped, whatever it is.
    let deep = (0..5).fold(who_has((mac(1), OWN), OTHER), |frame, _| dot1q(&frame, 0));
    refused(&mut pins, &deep, SpoofedIp);
    refused(&mut guards, &deep, DhcpGuard);
    refused(&mut Yard::new([guarded(false, true), port()]), &deep, RaGuard);
    refused(&mut Yard::new([pinned(&[1], &[], port()), port()]), &deep, SpoofedIp);
}

#[test]
fn a_frame_that_is_cut_off_never_passes_for_another() {
    let mut yard = Yard::new([
        Port {
            guard: Guard::new(&[mac(1)], &[network(OWN), network(OWN_V6)], true, true).map(Arc::new),
            ..port()
        },
        port(),
    ]);
    let fragment = ipv6((OWN_V6, OTHER_V6), 44, &[&[17, 0, 0, 1, 0, 0, 0, 7][..], &udp(5, 5, &[])].concat());
    for whole in [
        from_guest(IPV4, &ipv4((OWN, OTHER), 17, &udp(5, 5, &[1; 20]))),
        from_guest(IPV4, &ipv4((OTHER, OWN), 17, &udp(5, 5, &[1; 20]))),
        from_guest(IPV6, &ipv6((OWN_V6, OTHER_V6), 17, &udp(5, 5, &[1; 20]))),
        from_guest(IPV6, &ipv6((OTHER_V6, OWN_V6), 17, &udp(5, 5, &[1; 20]))),
        from_guest(IPV6, &fragment),
        guest_icmpv6(OWN_V6, ROUTERS, &solicitation(OTHER_V6, &link_option(1, mac(1)))),
        guest_icmpv6(OTHER_V6, ROUTERS, &advertisement(OTHER_V6, 0, &link_option(2, mac(1)))),
        guest_icmpv6(OWN_LINK_LOCAL, "ff02::1", &router_advertisement(mac(1))),
        who_has((mac(1), OWN), OTHER),
        who_has((mac(1), OTHER), OWN),
        dot1q(&who_has((mac(1), OTHER), OWN), 5),
    ] {
        for len in 14..whole.len() {
            let left = yard.send(0, &whole[..len]);
            assert_eq!(left, [], "{len} bytes of {whole:02x?}");
        }
    }
    // The lengths inside, cut while the frame is whole.
    let mut short = from_guest(IPV4, &ipv4((OWN, OTHER), 17, &udp(5, 5, &[1; 20])));
    for len in (0..28).chain([49]) {
        short[17] = len;
        refused(&mut yard, &short, SpoofedIp);
    }
    let mut short = guest_icmpv6(OWN_V6, ROUTERS, &solicitation(OTHER_V6, &link_option(1, mac(1))));
    // At 24 bytes the message ends with its target, and is a whole one.
    for len in (0..24).chain(25..32).chain([33]) {
        short[19] = len;
        refused(&mut yard, &short, SpoofedIp);
    }
}

#[test]
fn fragments_are_held_to_the_pins_and_hide_no_nd() {
    let mut yard = yard();
    for (source, fragment, good) in
        [(OWN, 0x2000, true), (OWN, 5, true), (OWN, 0x2005, true), (OTHER, 0x2000, false), (OTHER, 5, false)]
    {
        for options in [&[][..], &[0x94, 4, 0, 0], &[1; 40]] {
            let bytes = from_guest(IPV4, &ipv4_with((source, "10.9.0.9"), 17, options, fragment, &[7; 24]));
            if good { passes(&mut yard, &bytes) } else { refused(&mut yard, &bytes, SpoofedIp) }
        }
    }
    let part = |source: &str, next: u8, offset_and_more: u16, payload: &[u8]| {
        let [high, low] = offset_and_more.to_be_bytes();
        let header = [next, 0, high, low, 0, 0, 0, 9];
        from_guest(IPV6, &ipv6((source, ROUTERS), 44, &[&header[..], payload].concat()))
    };
    let message = checked((OWN_V6, ROUTERS), &solicitation(OTHER_V6, &link_option(1, mac(1))));
    passes(&mut yard, &part(OWN_V6, 17, 1, &udp(5, 5, &[1; 16])));
    passes(&mut yard, &part(OWN_V6, 17, 24, &[1; 16]));
    refused(&mut yard, &part(OTHER_V6, 17, 1, &udp(5, 5, &[1; 16])), SpoofedIp);
    refused(&mut yard, &part(OTHER_V6, 17, 24, &[1; 16]), SpoofedIp);
    // In fragments, an atomic one included, ND is none (RFC 6980).
    for offset_and_more in [0, 1] {
        refused(&mut yard, &part(OWN_V6, 58, offset_and_more, &message), SpoofedIp);
    }
    // The first part has all headers (RFC 7112).
    refused(&mut yard, &part(OWN_V6, 60, 1, &[58, 1, 0, 0, 0, 0, 0, 0]), SpoofedIp);
    refused(&mut yard, &part(OWN_V6, 60, 1, &[44, 0, 0, 0, 0, 0, 0, 0]), SpoofedIp);
    refused(&mut yard, &part(OWN_V6, 58, 1, &[]), SpoofedIp);
}

/// The packet with `n` extension headers of each kind in turn put before what it carries.
fn extended(addresses: (&str, &str), next: u8, payload: &[u8], kinds: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    let mut last = next;
    for &kind in kinds.iter().rev() {
        // An authentication header counts its length otherwise.
        let len = if kind == 51 { 2 } else { 1 };
        bytes = [&[last, len, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
        last = kind;
    }
    ipv6(addresses, last, &bytes)
}

#[test]
fn no_dhcp_server_is_heard() {
    let mut yard = Yard::new([guarded(true, false), port()]);
    let everybody = "255.255.255.255";
    let message = |op: u8| [&[op][..], &[0; 299]].concat();
    for (from, to, op, server) in [
        (67, 68, 2, true),
        (67, 67, 2, true),
        (67, 67, 1, true),
        (4000, 68, 2, true),
        (68, 67, 2, true),
        (68, 67, 1, false),
        (4000, 67, 1, false),
        (4000, 53, 2, false),
        (4000, 69, 2, false),
    ] {
        for options in [&[][..], &[0x94, 4, 0, 0], &[1; 40]] {
            let packet = ipv4_with(("10.9.0.1", everybody), 17, options, 0, &udp(from, to, &message(op)));
            let bytes = from_guest(IPV4, &packet);
            if server { refused(&mut yard, &bytes, DhcpGuard) } else { passes(&mut yard, &bytes) }
        }
    }
    // In parts: the first is enough to tell, and without it there is no message. One too short to tell is none either.
    let first =
        |payload: &[u8]| from_guest(IPV4, &ipv4_with(("10.9.0.1", everybody), 17, &[], 0x2000, payload));
    refused(&mut yard, &first(&udp(67, 68, &message(2))), DhcpGuard);
    refused(&mut yard, &first(&udp(68, 67, &[])), DhcpGuard);
    refused(&mut yard, &first(&udp(68, 67, &message(1))), DhcpGuard);
    refused(&mut yard, &first(&[]), DhcpGuard);
    passes(&mut yard, &first(&udp(4000, 53, &message(2))));
    passes(&mut yard, &from_guest(IPV4, &ipv4_with(("10.9.0.1", everybody), 17, &[], 3, &udp(67, 68, &[2]))));

    for (from, to, kind, server) in [
        (547, 546, 2, true),
        (4000, 546, 7, true),
        (547, 4000, 1, true),
        (546, 547, 7, true),
        (546, 547, 10, true),
        (546, 547, 13, true),
        (4000, 547, 12, true),
        (546, 547, 1, false),
        (4000, 547, 11, false),
        (4000, 53, 7, false),
    ] {
        let datagram = udp(from, to, &[kind, 0, 0, 1]);
        for kinds in [&[][..], &[0], &[60, 43, 60], &[51, 60], &[0, 60, 43, 51, 135, 139, 140, 60]] {
            let bytes = from_guest(IPV6, &extended(("fe80::1", "ff02::1:2"), 17, &datagram, kinds));
            if server { refused(&mut yard, &bytes, DhcpGuard) } else { passes(&mut yard, &bytes) }
        }
        let part = [&[17, 0, 0, 1, 0, 0, 0, 1][..], &datagram].concat();
        let bytes = from_guest(IPV6, &ipv6(("fe80::1", "ff02::1:2"), 44, &part));
        let cut_to_server = to == 547;
        if server || cut_to_server {
            refused(&mut yard, &bytes, DhcpGuard)
        } else {
            passes(&mut yard, &bytes)
        }
    }
    // Routers are not this guard's business.
    passes(&mut yard, &guest_icmpv6("fe80::1", "ff02::1", &router_advertisement(mac(1))));
}

#[test]
fn no_superframe_carries_a_servers_message_behind_a_clients() {
    let mut yard = Yard::new([guarded(true, false), port()]);
    let payload = [[1u8; 8], [2; 8]].concat();
    for (to, drops) in [(67, 1), (53, 0)] {
        let bytes = from_guest(IPV4, &ipv4(("10.9.0.1", "10.9.0.3"), 17, &udp(68, to, &payload)));
        let offload = Offload {
            needs_csum: true,
            gso: Gso::Udp,
            gso_size: 8,
            header_len: 42,
            csum_start: 34,
            csum_offset: 6,
            ..Offload::NONE
        };
        let sent = yard.send_with(0, &bytes, offload);
        assert_eq!(sent.len(), 1 - drops, "port {to}: {:?}", yard.drops(0));
    }
    assert_eq!(yard.drops(0), [(DhcpGuard, 1)]);
}

#[test]
fn no_router_is_heard() {
    let mut yard = Yard::new([guarded(false, true), port()]);
    let redirect = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &[0xfd; 32]].concat();
    let addresses = ("fe80::1", "ff02::1");
    for (message, router) in [
        (router_advertisement(mac(1)), true),
        (vec![134], true),
        (redirect, true),
        (solicitation(OTHER_V6, &link_option(1, mac(7))), false),
        (advertisement(OTHER_V6, 0xa0, &link_option(2, mac(7))), false),
        (vec![133, 0, 0, 0, 0, 0, 0, 0], false),
        (vec![128, 0, 0, 0, 0, 0, 0, 0], false),
    ] {
        for kinds in
            [&[][..], &[0], &[60, 43, 60, 60], &[51, 60], &[0, 60, 43, 51, 135, 139, 140, 60], &[60; 16]]
        {
            let bytes = from_guest(IPV6, &extended(addresses, 58, &message, kinds));
            if router {
                refused(&mut yard, &bytes, RaGuard)
            } else {
                passes(&mut yard, &bytes)
            }
            // A message of ND in a fragment is none; another passes.
            let echo = message[0] == 128;
            for offset_and_more in [0, 1] {
                let part = [&[58, 0, 0, offset_and_more, 0, 0, 0, 1][..], &message].concat();
                let bytes = from_guest(IPV6, &extended(addresses, 44, &part, &kinds[..kinds.len().min(8)]));
                if echo { passes(&mut yard, &bytes) } else { refused(&mut yard, &bytes, RaGuard) }
            }
        }
        // More headers than any node sends.
        refused(&mut yard, &from_guest(IPV6, &extended(addresses, 58, &message, &[60; 17])), RaGuard);
    }
    // The chain goes on behind the first part (RFC 7113 section 3, advice 1 and 2).
    let first = |next: u8, payload: &[u8]| {
        from_guest(IPV6, &ipv6(addresses, 44, &[&[next, 0, 0, 1, 0, 0, 0, 1][..], payload].concat()))
    };
    refused(&mut yard, &first(60, &[58, 0, 1, 4, 0, 0, 0, 0]), RaGuard);
    refused(&mut yard, &first(60, &[58, 4, 1, 4, 0, 0, 0, 0]), RaGuard);
    refused(&mut yard, &first(58, &[]), RaGuard);
    // Routers of IPv4 (RFC 1256), and their redirects.
    for (kind, router) in [(9, true), (5, true), (8, false), (3, false), (10, false)] {
        let bytes = from_guest(IPV4, &ipv4((OTHER, "224.0.0.1"), 1, &[kind, 0, 0, 0, 0, 0, 0, 0]));
        if router { refused(&mut yard, &bytes, RaGuard) } else { passes(&mut yard, &bytes) }
    }
    // Servers of DHCP are not this guard's business.
    passes(&mut yard, &from_guest(IPV4, &ipv4((OTHER, "255.255.255.255"), 17, &udp(67, 68, &[2; 300]))));
}

#[test]
fn pins_hold_in_vlans() {
    let mut access_port = Yard::new([pinned(&[1], &[OWN], access(10)), access(10)]);
    assert_eq!(access_port.goes(0, &who_has((mac(1), OWN), OTHER)), [1]);
    assert_eq!(access_port.goes(0, &dot1q(&who_has((mac(1), OWN), OTHER), 10)), [1]);
    refused(&mut access_port, &who_has((mac(1), OTHER), OWN), SpoofedIp);
    refused(&mut access_port, &dot1q(&dot1q(&who_has((mac(1), OTHER), OWN), 5), 10), SpoofedIp);
    refused(&mut access_port, &frame(mac(2), mac(3)), SpoofedMac);
    let mut trunk_port = Yard::new([pinned(&[1], &[OWN], trunk(&[10], None)), access(10)]);
    assert_eq!(trunk_port.goes(0, &dot1q(&who_has((mac(1), OWN), OTHER), 10)), [1]);
    refused(&mut trunk_port, &dot1q(&who_has((mac(1), OTHER), OWN), 10), SpoofedIp);
}

/// Whether station 1 with its pinned addresses may have sent this, as etherparse reads it.
fn is_honest(bytes: &[u8]) -> Result<(), String> {
    if bytes[6..12] != mac(1).octets() {
        return Err("Ethernet source".into());
    }
    let mut at = 12;
    let ether_type = loop {
        match u16::from_be_bytes([bytes[at], bytes[at + 1]]) {
            0x8100 | 0x88a8 | 0x9100 => at += 4,
            ether_type => break ether_type,
        }
    };
    // RARP's messages are those of ARP.
    let read_as = EtherType(if ether_type == RARP { ARP } else { ether_type });
    let headers = LaxPacketHeaders::from_ether_type(read_as, &bytes[at + 2..]);
    let link_local = v6(OWN_LINK_LOCAL);
    match headers.net {
        Some(NetHeaders::Ipv4(ip, _)) => match ip.source {
            source if source == v4(OWN).octets() => Ok(()),
            [0, 0, 0, 0] if ip.destination == [255; 4] && ip.protocol.0 == 17 => Ok(()),
            other => Err(format!("IPv4 source {other:?}")),
        },
        Some(NetHeaders::Ipv6(ip, _)) => match ip.source_addr() {
            source if source == v6(OWN_V6) || source == link_local => Ok(()),
            source if source.is_unspecified() && ip.destination[..2] == [0xff, 2] => Ok(()),
            other => Err(format!("IPv6 source {other}")),
        },
        Some(NetHeaders::Arp(arp)) => {
            let arp = arp.try_eth_ipv4().map_err(|error| error.to_string())?;
            let claimed = match arp.sender_ipv4 {
                [0, 0, 0, 0] => arp.target_ipv4,
                sender => sender,
            };
            let rarp = ether_type == RARP && claimed == [0; 4];
            match arp.sender_mac == mac(1).octets() && (claimed == v4(OWN).octets() || rarp) {
                true => Ok(()),
                false => Err(format!("ARP from {:?} at {:?}", arp.sender_ipv4, arp.sender_mac)),
            }
        }
        None => Err(format!("EtherType {ether_type:#x}")),
    }
}

/// Messages of hosts that tell the truth or do not, tagged or not, with a byte changed or cut off here and there.
fn claims() -> impl Strategy<Value = Vec<u8>> {
    let macs = || sample::select(vec![mac(1), mac(1), mac(2), Mac::default()]);
    let v4s = || sample::select(vec![OWN, OWN, OTHER, "0.0.0.0", "255.255.255.255"]);
    let v6s = || sample::select(vec![OWN_V6, OWN_V6, OWN_LINK_LOCAL, OTHER_V6, "fe80::1", "::", "ff02::1"]);
    let arps = (sample::select(vec![ARP, ARP, RARP]), 1..5u16, macs(), v4s(), macs(), v4s())
        .prop_map(|(kind, op, a, b, c, d)| (kind, arp(op, (a, b), (c, d))));
    let part = sample::select(vec![0u16, 0, 0x2000, 0x4000, 7]);
    let ports = (sample::select(vec![5u16, 67, 68]), sample::select(vec![5u16, 67, 68]));
    let ip4s = (v4s(), v4s(), sample::select(vec![1u8, 6, 17]), part, ports, 0..30usize).prop_map(
        |(from, to, protocol, part, (a, b), len)| {
            (IPV4, ipv4_with((from, to), protocol, &[1; 8][..len % 3 * 4], part, &udp(a, b, &vec![1; len])))
        },
    );
    let nds = (
        v6s(),
        v6s(),
        v6s(),
        macs(),
        any::<bool>(),
        collection::vec(sample::select(vec![0u8, 43, 60, 51]), 0..4),
    )
        .prop_map(|(from, to, target, mac, solicits, kinds)| {
            let message = match solicits {
                true => solicitation(target, &link_option(1, mac)),
                false => advertisement(target, 0x60, &link_option(2, mac)),
            };
            (IPV6, extended((from, to), 58, &checked((from, to), &message), &kinds))
        });
    let others = (any::<u16>(), collection::vec(any::<u8>(), 0..60));
    let payload = prop_oneof![3 => arps, 3 => ip4s, 3 => nds, 1 => others];
    let tags = collection::vec(sample::select(vec![0x8100, 0x88a8, 0x9100]), 0..4);
    let edit = prop_oneof![
        2 => Just(None),
        1 => (any::<sample::Index>(), any::<bool>(), any::<u8>()).prop_map(Some),
    ];
    (macs(), payload, tags, edit).prop_map(|(source, (ether_type, payload), tags, edit)| {
        let whole = ether(Mac::BROADCAST, source, ether_type, &payload);
        let mut bytes = tags.into_iter().fold(whole, |bytes, tpid| tag(&bytes, tpid, 5));
        match edit {
            Some((at, true, value)) => *at.get_mut(&mut bytes) = value,
            Some((at, false, _)) => bytes.truncate(at.index(bytes.len())),
            None => {}
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaves_in_anothers_name(frames in collection::vec(claims(), 1..16)) {
        let mut yard = yard();
        for bytes in frames {
            for sent in yard.send(0, &bytes) {
                // What is cut off in the link layer etherparse has no name for, and nor has the guard.
                prop_assert_eq!(is_honest(&sent.bytes), Ok(()), "{:02x?}", bytes);
            }
        }
        prop_assert_eq!(yard.knows(station(2, 0)), None);
    }

    #[test]
    fn nothing_breaks_it(bytes in kit::any::hostile(), pins in any::<[bool; 4]>()) {
        let [macs, ips, dhcp, router] = pins;
        let (macs, ips) = (&[mac(1)][..usize::from(macs)], &[network(OWN)][..usize::from(ips)]);
        let guard = Guard::new(macs, ips, dhcp, router).map(Arc::new);
        let mut yard = Yard::new([Port { guard, ..port() }, port()]);
        yard.send_with(0, &bytes.0, bytes.1);
    }
}
