//! What scanners and forgers send to a router, frame by frame: what it answers, what it passes on, and what it calls the
//! rest.

mod common;

use std::time::Duration;

use common::overlay::dropped;
use common::routed::{GATEWAY, HOST, Routed, v4, v6};
use common::traffic::{ping, wait_for_ping};
use common::{Station, as_root, frames, wait_until};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

/// In every payload that is meant to get nowhere, or somewhere.
const MARK: &[u8] = b"tapyard probes its router";

/// A router between two networks, and packet sockets on their hosts' devices.
struct Probe {
    near: Station,
    far: Station,
    gateway: [u8; 6],
    own: [u8; 6],
    routed: Routed,
}

impl Probe {
    fn start(rest: &str, keys: &str) -> Probe {
        let routed = Routed::start_changed(2, rest, |config| {
            config.replace("[router.gw]\n", &format!("[router.gw]\n{keys}"))
        });
        for target in [v4(2, HOST), v6(2, HOST)] {
            wait_for_ping(routed.host(1), &target);
        }
        let [near, far] = [(1, "h1"), (2, "h2")].map(|(n, port)| Station::open(routed.host(n), "eth", port));
        let gateway = frames::mac(routed.yard.bridge("net1")["mac"].as_str().expect("text"));
        Probe { near, far, gateway, own: routed.host(1).mac("eth"), routed }
    }

    /// Sends a packet to the router.
    fn send(&self, packet: &[u8]) {
        let ether_type = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        self.near.send(&frames::ether(self.gateway, self.own, ether_type, packet));
    }

    /// Sends a packet and waits until one more is dropped for `reason`.
    fn dropped(&self, what: &str, packet: &[u8], reason: &str) {
        let before = dropped(&self.routed.yard, reason);
        self.send(packet);
        wait_until(&format!("{what} to be dropped: {reason}"), || {
            dropped(&self.routed.yard, reason) > before
        });
    }

    /// Frames with the mark that have come out behind the router.
    fn came_out(&self) -> Vec<Vec<u8>> {
        marked(&self.far)
    }

    /// What has come back to the prober with the mark, as errors quote it.
    fn came_back(&self) -> Vec<Vec<u8>> {
        marked(&self.near)
    }
}

fn marked(station: &Station) -> Vec<Vec<u8>> {
    station.drain().into_iter().filter(|frame| frame.windows(MARK.len()).any(|part| part == MARK)).collect()
}

fn octets(address: &str) -> [u8; 4] {
    address.parse::<std::net::Ipv4Addr>().expect("an address").octets()
}

fn octets6(address: &str) -> [u8; 16] {
    address.parse::<std::net::Ipv6Addr>().expect("an address").octets()
}

fn udp(source: &str, destination: &str, ttl: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let written = match source.contains(':') {
        true => PacketBuilder::ipv6(octets6(source), octets6(destination), ttl)
            .udp(5000, 7000)
            .write(&mut packet, MARK),
        false => PacketBuilder::ipv4(octets(source), octets(destination), ttl)
            .udp(5000, 7000)
            .write(&mut packet, MARK),
    };
    written.expect("a vector takes all");
    packet
}

/// An IPv4 packet with `options` in its header, and the header's checksum made right.
fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..20], options, &packet[20..]].concat();
    packet[0] = 0x45 + options.len() as u8 / 4;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    summed(packet, 20 + options.len())
}

/// `packet` with bytes set, and the checksum of its header, which is so long, made right.
fn with(packet: &[u8], bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    bytes.iter().for_each(|(at, byte)| packet[*at] = *byte);
    summed(packet, 20)
}

fn summed(mut packet: Vec<u8>, header: usize) -> Vec<u8> {
    packet[10..12].fill(0);
    let words = packet[..header].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    packet
}

#[test]
fn what_no_router_may_pass_on_goes_nowhere() {
    as_root(|| {
        let probe = Probe::start("", "");
        let (near, far) = (v4(1, HOST), v4(2, HOST));
        let good = udp(&near, &far, 64);
        for (what, source, destination) in [
            ("a directed broadcast", near.as_str(), "10.9.2.255"),
            ("the old directed broadcast", &near, "10.9.2.0"),
            ("a limited broadcast", &near, "255.255.255.255"),
            ("loopback", &near, "127.0.0.1"),
            ("this network", &near, "0.0.0.1"),
            ("from loopback", "127.0.0.1", &far),
            ("from a group", "224.0.0.1", &far),
            ("from a broadcast", "255.255.255.255", &far),
            ("from a directed broadcast", "10.9.2.255", &far),
            ("from nobody", "0.0.0.0", &far),
            ("from the router", &v4(1, GATEWAY), &far),
            ("from the router's other side", &v4(2, GATEWAY), &far),
            ("IPv6 from loopback", "::1", &v6(2, HOST)),
            ("IPv6 from a group", "ff02::1", &v6(2, HOST)),
            ("IPv6 from nobody", "::", &v6(2, HOST)),
            ("IPv6 from the link to elsewhere", "fe80::1", &v6(2, HOST)),
            ("IPv6 to another link", &v6(1, HOST), "fe80::2"),
            ("IPv6 from the router", &v6(1, GATEWAY), &v6(2, HOST)),
        ] {
            probe.dropped(what, &udp(source, destination, 64), "martian");
        }
        let mut damaged = good.clone();
        damaged[10] ^= 1;
        for (what, packet) in [
            ("a wrong checksum", damaged),
            ("a length past the end", with(&good, &[(3, good.len() as u8 + 100)])),
            ("a length within the header", with(&good, &[(3, 19)])),
            ("a header without length", with(&good, &[(0, 0x44)])),
            ("a loose source route", with_options(&good, &[131, 7, 4, 10, 9, 2, 2, 0])),
            ("a strict source route", with_options(&good, &[137, 7, 4, 10, 9, 2, 2, 0])),
        ] {
            probe.dropped(what, &packet, "ip-header");
        }
        // A routing header of type 0 (RFC 5095).
        let six = udp(&v6(1, HOST), &v6(2, HOST), 64);
        let route = [&[17, 2, 0, 1, 0, 0, 0, 0][..], &octets6(&v6(2, HOST))].concat();
        let mut routed = [&six[..40], &route, &six[40..]].concat();
        routed[6] = 43;
        routed[5] += route.len() as u8;
        probe.dropped("a routing header", &routed, "ip-header");

        assert_eq!(probe.came_out(), Vec::<Vec<u8>>::new());
        assert_eq!(probe.came_back(), Vec::<Vec<u8>>::new(), "nobody is told of such");
        probe.send(&good);
        probe.send(&six);
        wait_until("what is good to come out", {
            let mut got = 0;
            move || {
                got += probe.came_out().len();
                got == 2
            }
        });
    });
}

#[test]
fn errors_are_sent_where_they_may_be_and_nowhere_else() {
    as_root(|| {
        let probe = Probe::start("", "");
        let (near, far) = (v4(1, HOST), v4(2, HOST));
        let late = udp(&near, &far, 1);
        probe.dropped("a last hop", &late, "ttl-exceeded");
        let back = probe.came_back();
        assert_eq!(back.len(), 1, "{back:?}");
        // From the router, type 11, code 0; it quotes the packet as it came.
        assert_eq!((&back[0][26..30], &back[0][34..36]), (&octets(&v4(1, GATEWAY))[..], &[11, 0][..]));
        assert_eq!(&back[0][42..42 + late.len()], late);

        let mut error = Vec::new();
        let echo = PacketBuilder::ipv4(octets(&near), octets(&far), 1);
        let quoting =
            etherparse::Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
        echo.icmpv4(quoting).write(&mut error, &late).expect("a vector takes all");
        for (what, packet) in [
            ("an error", error),
            ("a later part", with(&late, &[(7, 9)])),
            ("what came from nobody in particular", udp("10.9.1.255", &far, 1)),
        ] {
            let reason = if what.starts_with("what came") { "martian" } else { "ttl-exceeded" };
            probe.dropped(what, &packet, reason);
            assert_eq!(probe.came_back(), Vec::<Vec<u8>>::new(), "{what}");
        }
        probe.dropped("a first part", &with(&late, &[(6, 0x20)]), "ttl-exceeded");
        assert_eq!(probe.came_back().len(), 1, "of a first part its sender may be told");
    });
}

#[test]
fn a_scan_of_a_router_finds_nothing_open_and_costs_it_little() {
    as_root(|| {
        let probe = Probe::start("", "icmp-rate = 20\n");
        let (near, gateway) = (v4(1, HOST), v4(1, GATEWAY));
        let builder = || PacketBuilder::ipv4(octets(&near), octets(&gateway), 64).tcp(40_000, 22, 1000, 1024);
        // As nmap's SYN, ACK, FIN, NULL and Xmas scans.
        for (what, step) in [
            ("syn", builder().syn()),
            ("ack", builder().ack(77)),
            ("fin", builder().fin()),
            ("null", builder()),
            ("xmas", builder().fin().psh().urg(0)),
        ] {
            let mut packet = Vec::new();
            step.write(&mut packet, &[]).expect("a vector takes all");
            probe.dropped(what, &packet, "not-local");
            let answers: Vec<_> = probe.near.drain().into_iter().filter(|frame| is_reset(frame)).collect();
            assert_eq!(answers.len(), 1, "{what}: a closed port answers with a reset (RFC 9293 3.10.7.1)");
        }
        // A reset is never answered.
        let mut reset = Vec::new();
        builder().rst().write(&mut reset, &[]).expect("a vector takes all");
        probe.dropped("rst", &reset, "not-local");
        assert!(!probe.near.drain().iter().any(|frame| is_reset(frame)));

        // Two thousand ports in a row: so many answers as may be, and the router passes packets on.
        let before = dropped(&probe.routed.yard, "not-local");
        let began = std::time::Instant::now();
        for _ in 0..2000 {
            let packet = udp(&near, &gateway, 64);
            wait_until("the device to take a frame", || {
                probe.near.try_send(&frames::ether(probe.gateway, probe.own, 0x0800, &packet))
            });
        }
        wait_until("all of them to be dropped", || dropped(&probe.routed.yard, "not-local") >= before + 2000);
        let most = 20 * (began.elapsed() + Duration::from_secs(2)).as_secs() as usize + 20;
        let answers = probe.came_back().len();
        assert!((1..=most).contains(&answers), "{answers} answers, at most {most}");
        ping(probe.routed.host(1), &v4(2, HOST), 56, 10);
    });
}

fn is_reset(frame: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a frame of the router");
    matches!(sliced.transport, Some(TransportSlice::Tcp(tcp)) if tcp.rst())
}

#[test]
fn parts_that_contradict_one_another_go_nowhere() {
    as_root(|| {
        // With a translation, packets are put together before they are looked at.
        let nat = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";
        let probe = Probe::start(nat, "");
        let whole = udp(&v4(1, HOST), &v4(2, HOST), 64);
        let body = [&whole[20..], &[7; 64]].concat();
        let part = |id: u8, offset: usize, len: usize, more: bool| {
            let mut packet = [&whole[..20], &body[offset..offset + len]].concat();
            packet[3] = packet.len() as u8;
            let more = if more { 0x20 } else { 0 };
            with(&packet, &[(5, id), (6, more), (7, (offset / 8) as u8)])
        };
        let beyond = {
            let mut packet = part(2, 0, 32, false);
            (packet[6], packet[7]) = (0x1f, 0xff);
            with(&packet, &[])
        };
        probe.dropped("a part that reaches past the largest packet", &beyond, "fragment-invalid");
        probe.send(&part(1, 0, 32, true));
        probe.send(&part(1, 24, 16, false));
        wait_until("two parts that overlap to be dropped", || {
            dropped(&probe.routed.yard, "fragment-invalid") >= 3
        });
        assert_eq!(probe.came_out(), Vec::<Vec<u8>>::new());
        ping(probe.routed.host(1), &v4(2, HOST), 3000, 3);
    });
}
