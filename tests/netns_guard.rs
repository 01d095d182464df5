//! Port security and neighbour suppression between real kernels' stacks: who keeps to its addresses notices nothing, who
//! takes another's is not heard.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::frames::{BROADCAST, ether, mac, station, vlan};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Lan, Station, Yard, as_root, tap, wait_until};

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn v4(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().expect("an address").octets()
}

/// An ARP message in a broadcast frame.
fn arp(operation: u8, from: [u8; 6], address: &str, target: &str) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    ether(BROADCAST, from, ARP, &[&head[..], &from, &v4(address), &[0; 6], &v4(target)].concat())
}

/// An IPv4 packet with a UDP datagram, without checksums.
fn datagram(from: [u8; 6], source: &str, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len() as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + udp_len).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend([v4(source), [255; 4]].concat());
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.extend([&udp_len.to_be_bytes()[..], &[0, 0], payload].concat());
    ether(BROADCAST, from, IPV4, &bytes)
}

/// A router advertisement behind these extension headers, each of 8 bytes.
fn router_advertisement(from: [u8; 6], extensions: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    message.extend(from);
    let mut next = 58;
    for &kind in extensions.iter().rev() {
        // Of options, padding; of the fragment header, that the packet is whole.
        let header = if kind == 44 { [next, 0, 0, 0, 0, 0, 0, 0] } else { [next, 0, 1, 4, 0, 0, 0, 0] };
        message = [&header[..], &message].concat();
        next = kind;
    }
    let head = [0x60, 0, 0, 0, 0, message.len() as u8, next, 255];
    let packet = [&head[..], &address("fe80::1"), &address("ff02::1"), &message].concat();
    ether([0x33, 0x33, 0, 0, 0, 1], from, IPV6, &packet)
}

/// The keys of a guest's port, number `n`, with its addresses pinned.
fn guest(n: u8) -> String {
    let mac = format!("02:00:00:00:09:{n:02x}");
    format!(
        "mac = \"{mac}\"\naddress = [\"10.9.0.{n}/24\", \"fd00:9::{n}/64\"]\n\
         pin = {{ mac = \"{mac}\", ip = [\"10.9.0.{n}\", \"fd00:9::{n}\"] }}\ndhcp-guard = true\nra-guard = true"
    )
}

#[test]
fn guests_that_keep_to_their_addresses_notice_nothing() {
    as_root(|| {
        let (a, b) = (Host::with_ipv6("a"), Host::with_ipv6("b"));
        let yard =
            Yard::start(&format!("[bridge.lan]\n{}{}", tap("a", &a, &guest(1)), tap("b", &b, &guest(2))));
        ping(&a, "10.9.0.2", 56, 5);
        ping(&b, "10.9.0.1", 3200, 5); // in fragments
        // Duplicate address detection takes its time, in which a kernel may send from ::1 for want of another address.
        wait_for_ping(&a, "fd00:9::2");
        wait_for_ping(&b, "fd00:9::1");
        let guards = ["spoofed-mac", "spoofed-ip", "dhcp-guard", "ra-guard"];
        let drops = || guards.map(|reason| yard.drops("a", reason) + yard.drops("b", reason));
        let before = drops();
        ping(&b, "fd00:9::1", 3200, 5);
        // The link-local addresses are those that follow from the MAC addresses.
        ping(&a, "fe80::ff:fe00:902%a", 56, 2);
        tcp(&a, &b, "10.9.0.2", 8 << 20);
        tcp(&b, &a, "fd00:9::1", 8 << 20);
        assert_eq!(drops(), before);
    });
}

#[test]
fn a_guest_that_takes_anothers_address_is_not_heard() {
    as_root(|| {
        let (a, b) = (Host::with_ipv6("a"), Host::with_ipv6("b"));
        let yard =
            Yard::start(&format!("[bridge.lan]\n{}{}", tap("a", &a, &guest(1)), tap("b", &b, &guest(2))));
        ping(&b, "10.9.0.1", 56, 2);

        b.ip("addr del 10.9.0.2/24 dev b");
        b.ip("addr add 10.9.0.77/24 dev b");
        let before = yard.drops("b", "spoofed-ip");
        ping_in_vain(&b, "10.9.0.1", 3);
        ping_in_vain(&a, "10.9.0.77", 3);
        wait_until("what b says as another to be dropped", || yard.drops("b", "spoofed-ip") > before);
        // A change of the pin touches no device.
        yard.ok("port set b pin.ip=10.9.0.76,10.9.0.77");
        wait_for_ping(&b, "10.9.0.1");
    });
}

#[test]
fn a_guest_that_takes_another_mac_address_is_not_heard_until_it_is_pinned() {
    as_root(|| {
        let (a, b) = (Host::new("a"), Host::new("b"));
        let keys = |n: u8| guest(n).replace(&format!(", \"fd00:9::{n}/64\""), "");
        let config = format!("[bridge.lan]\n{}{}", tap("a", &a, &keys(1)), tap("b", &b, &keys(2)));
        let yard = Yard::start(&config);
        ping(&b, "10.9.0.1", 56, 2);
        let other = station(9);
        b.ip(&format!("link set dev b address {}", common::frames::text(other)));
        b.ip("neigh flush all");
        ping_in_vain(&b, "10.9.0.1", 3);
        wait_until("frames of another station to be dropped", || yard.drops("b", "spoofed-mac") > 0);
        assert_eq!(yard.behind(other), None);
        // A change of the pin touches no device.
        yard.ok(&format!("port set b pin.mac={}", common::frames::text(other)));
        a.ip("neigh flush all");
        wait_for_ping(&b, "10.9.0.1");
        yard.ok("port set b pin.mac= pin.ip=");
        b.ip("addr add 10.9.0.77/24 dev b");
        wait_for_ping(&a, "10.9.0.77");
    });
}

#[test]
fn exact_frames_of_spoofers_and_servers_are_dropped() {
    as_root(|| {
        let own = station(1);
        let keys = format!(
            "pin = {{ mac = \"{}\", ip = \"10.9.0.1\" }}\ndhcp-guard = true\nra-guard = true",
            common::frames::text(own)
        );
        let lan = Lan::start("", &[("a", &keys), ("b", ""), ("c", "ra-guard = true\ndhcp-guard = true")]);
        // Its address, announced and asked for.
        lan.check_flood("a", &arp(2, own, "10.9.0.1", "10.9.0.1"), &["b", "c"]);
        lan.check_flood("a", &arp(1, own, "0.0.0.0", "10.9.0.1"), &["b", "c"]);
        // And another's.
        lan.check_drop("a", &arp(2, own, "10.9.0.2", "10.9.0.2"), "spoofed-ip");
        lan.check_drop("a", &arp(1, own, "10.9.0.2", "10.9.0.9"), "spoofed-ip");
        lan.check_drop("a", &vlan(7, &arp(2, own, "10.9.0.2", "10.9.0.2")), "spoofed-ip");
        lan.check_drop("a", &arp(2, station(2), "10.9.0.1", "10.9.0.1"), "spoofed-mac");
        assert_eq!(lan.yard.behind(station(2)), None);
        lan.check_flood("a", &datagram(own, "0.0.0.0", [68, 67], &[1; 40]), &["b", "c"]);
        lan.check_drop("a", &datagram(own, "10.9.0.1", [67, 68], &[2; 40]), "dhcp-guard");
        lan.check_drop("c", &datagram(station(3), "10.9.0.3", [67, 68], &[2; 40]), "dhcp-guard");
        lan.check_flood("b", &datagram(station(2), "10.9.0.3", [67, 68], &[2; 40]), &["a", "c"]);
        for extensions in [&[][..], &[0], &[60, 60, 60], &[44]] {
            let advertisement = router_advertisement(station(3), extensions);
            lan.check_drop("c", &advertisement, "ra-guard");
            lan.check_drop("c", &vlan(0, &advertisement), "ra-guard");
        }
        lan.check_flood("b", &router_advertisement(station(2), &[]), &["a", "c"]);
    });
}

#[test]
fn a_request_for_a_known_neighbour_reaches_nobody_else() {
    as_root(|| {
        let (a, b, c) = (Host::with_ipv6("a"), Host::with_ipv6("b"), Host::new("c"));
        let ports = [
            tap("a", &a, "address = [\"10.9.0.1/24\", \"fd00:9::1/64\"]"),
            tap("b", &b, "address = [\"10.9.0.2/24\", \"fd00:9::2/64\"]"),
            tap("c", &c, ""),
        ];
        let yard = Yard::start(&format!("[bridge.lan]\nneighbor-suppression = true\n{}", ports.concat()));
        let at_c = Station::open(&c, "c", "c");
        let asked = |address: &[u8]| {
            let frames = at_c.drain();
            let about = |frame: &&Vec<u8>| {
                let is_arp = frame[12..14] == [8, 6] && frame[38..42] == *address;
                let is_nd = frame[12..14] == [0x86, 0xdd]
                    && frame.get(54) == Some(&135)
                    && frame[22..38] != [0; 16]
                    && frame.get(62..78) == Some(address);
                is_arp || is_nd
            };
            frames.iter().filter(about).count()
        };
        let (b_v4, b_v6) = (v4("10.9.0.2"), "fd00:9::2".parse::<Ipv6Addr>().expect("an address").octets());
        wait_for_ping(&a, "fd00:9::2");
        ping(&a, "10.9.0.2", 56, 1);
        assert!(asked(&b_v4) + asked(&b_v6) > 0, "what is not known is asked of everybody");
        let before = yard.json("stats")["replied"].as_u64();
        at_c.drain();
        for _ in 0..3 {
            a.ip("neigh flush all");
            ping(&a, "10.9.0.2", 56, 1);
            a.ip("neigh flush all");
            ping(&a, "fd00:9::2", 56, 1);
        }
        assert_eq!((asked(&b_v4), asked(&b_v6)), (0, 0));
        assert!(yard.json("stats")["replied"].as_u64() >= before.map(|count| count + 6));
        // What the kernel was told is true.
        ping(&a, "10.9.0.2", 56, 1);
        let (known, of_b) = (a.ip("neigh show"), common::frames::text(b.mac("b")));
        for address in ["10.9.0.2 ", "fd00:9::2 "] {
            let line = known.lines().find(|line| line.starts_with(address));
            assert!(line.is_some_and(|line| line.contains(&of_b)), "{known}");
        }

        // Somebody whom nobody has heard of yet is asked for as ever.
        at_c.drain();
        ping_in_vain(&a, "10.9.0.9", 1);
        assert!(asked(&v4("10.9.0.9")) > 0);
        // And who wants to know whether an address is free, hears of its holder from the holder.
        let probe = arp(1, mac("02:00:00:00:00:77"), "0.0.0.0", "10.9.0.2");
        at_c.send(&probe);
        wait_until("the holder to answer", || {
            at_c.drain().iter().any(|frame| frame[12..14] == [8, 6] && frame[28..32] == b_v4)
        });
    });
}
