//! Who floods a router that translates, pays for it himself: connections that are there go on, new ones of others come
//! to be, memory stays where it is, and every frame that goes nowhere has its reason.
//!
//! Network 1 is inside, network 2 outside; the flood comes from network 3.

mod common;

use std::net::{Ipv4Addr, UdpSocket};

use common::overlay::dropped;
use common::routed::{HOST, Routed, v4, v6};
use common::traffic::{Stream, Talk, ping, wait_for_ping};
use common::{PATIENCE, Station, as_root, frames, number, wait_until};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

/// A router that keeps few sessions, and a route to where everything is swallowed.
fn start() -> Routed {
    let swallows = "[[router.gw.route]]\nto = \"10.77.0.0/16\"\nvia = \"10.9.2.2\"\n";
    let nat = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";
    let routed = Routed::start_changed(3, &[swallows, nat].concat(), |config| {
        config.replace("[router.gw]\n", "[router.gw]\nsessions = 2000\nsessions-per-source = 500\n")
    });
    for target in [v4(2, HOST), v6(2, HOST)] {
        wait_for_ping(routed.host(1), &target);
    }
    routed
}

/// The source number `n` of a flood: some hundreds in network 3, and as many that are made up.
fn source(n: u32) -> [u8; 4] {
    let [.., high, low] = n.to_be_bytes();
    match n % 2 {
        0 => [10, 9, 3, 3 + low % 250],
        _ => [198, 18, high, low],
    }
}

/// Sends `count` frames by way of the host in network 3; `frame` makes each, but for its Ethernet header.
fn flood(routed: &Routed, count: u32, packet: impl Fn(u32) -> Vec<u8>) {
    let station = Station::open(routed.host(3), "eth", "h3");
    let gateway = frames::mac(routed.yard.bridge("net3")["mac"].as_str().expect("text"));
    let own = routed.host(3).mac("eth");
    let mut sent = 0;
    for n in 0..count {
        let frame = frames::ether(gateway, own, 0x0800, &packet(n));
        // The device's queue may be full: then the switch has to catch up.
        wait_until("the device to take a frame", || station.try_send(&frame));
        sent += frame.len();
    }
    assert!(sent > 0);
}

/// A SYN or a datagram to a host that swallows it.
fn opening(n: u32) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(source(n), [10, 77, (n >> 8) as u8, n as u8], 64);
    let (port, mut packet) = (1024 + (n % 60_000) as u16, Vec::new());
    let written = match n % 4 {
        0 | 1 => builder.tcp(port, 80, n, 1024).syn().write(&mut packet, &[]),
        _ => builder.udp(port, 53).write(&mut packet, b"question"),
    };
    written.expect("a vector takes all");
    packet
}

/// A first part of a packet whose other parts never come.
fn first_part(n: u32) -> Vec<u8> {
    let mut header = Ipv4Header::new(64, 64, IpNumber::UDP, source(n), [10, 77, 0, 1]).expect("it is short");
    header.identification = n as u16;
    header.more_fragments = true;
    header.fragment_offset = IpFragOffset::ZERO;
    header.header_checksum = header.calc_header_checksum();
    let mut packet = header.to_bytes().to_vec();
    packet.extend([&[0x13, 0x88, 0, 53, 1, 0, 0, 0][..], &[0xa5; 56]].concat());
    packet
}

/// Has connections go on through a flood, and others begin.
fn through(routed: &Routed, count: u32, packet: impl Fn(u32) -> Vec<u8>) {
    let (inside, outside) = (routed.host(1), routed.host(2));
    let targets = [v4(2, HOST), v6(2, HOST)];
    let mut talks: Vec<_> = targets.iter().map(|target| Talk::open(inside, outside, target)).collect();
    talks.iter_mut().for_each(Talk::exchange);
    let stream = Stream::start(inside, outside, &targets[0]);
    // What tables take once is not counted.
    flood(routed, count / 2, &packet);
    let before = routed.yard.resident_kib();
    flood(routed, count, &packet);
    let after = routed.yard.resident_kib();
    assert!(after < before + (8 << 10), "memory grew from {before} KiB to {after} KiB");

    talks.iter_mut().for_each(Talk::exchange);
    for target in &targets {
        Talk::open(inside, outside, target).exchange();
        ping(inside, target, 56, 3);
        ping(inside, target, 3000, 3);
    }
    stream.assert_lossless();
    routed.yard.assert_conserved();
}

#[test]
fn connections_live_through_a_flood_of_new_ones() {
    as_root(|| {
        let routed = start();
        through(&routed, 20_000, opening);
        let shown = routed.yard.json("nat show");
        let listed = shown["sessions"].as_array().expect("a list").len() as u64;
        assert_eq!(listed + number(&shown, "left_out"), 2000, "as many sessions as there may be");
    });
}

#[test]
fn connections_live_through_a_flood_of_parts() {
    as_root(|| {
        let routed = start();
        through(&routed, 10_000, first_part);
        assert!(dropped(&routed.yard, "fragment-flood") > 0);
    });
}

#[test]
fn ports_that_run_out_fail_the_new_flow_and_not_the_old() {
    as_root(|| {
        let nat = "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\nports = \"40000-40003\"\n";
        let routed = Routed::start(2, nat);
        wait_for_ping(routed.host(1), &v4(2, HOST));
        let server = routed.host(2).enter(|| UdpSocket::bind((v4(2, HOST), 7000))).expect("it is free");
        server.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        let clients: Vec<_> = (0..6)
            .map(|_| routed.host(1).enter(|| UdpSocket::bind((v4(1, HOST), 0))).expect("any port"))
            .collect();
        let say = |client: &UdpSocket| drop(client.send_to(b"hello", (v4(2, HOST), 7000)));
        let mut seen = Vec::new();
        for client in &clients[..4] {
            say(client);
            let (_, from) = server.recv_from(&mut [0; 8]).expect("it arrives");
            seen.push(from);
        }
        let mut ports: Vec<_> = seen.iter().map(|from| from.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, [40_000, 40_001, 40_002, 40_003]);
        clients[4..].iter().for_each(say);
        wait_until("the others to be refused", || dropped(&routed.yard, "ports-exhausted") == 2);
        for (client, from) in clients.iter().zip(&seen) {
            say(client);
            let (_, again) = server.recv_from(&mut [0; 8]).expect("it arrives");
            assert_eq!((again, again.ip()), (*from, Ipv4Addr::new(10, 9, 2, 254).into()));
        }
        // What has no ports is not held up.
        ping(routed.host(1), &v4(2, HOST), 56, 1);
    });
}
