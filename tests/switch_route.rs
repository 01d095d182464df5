//! Routing: which packets a router passes on, in which form, and what it says of those it does not.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::frames::{L4, broadcast, dot1q, mac, unfinished};
use kit::routers::{ACK, Msg, Plan, SYN, Upper, gateway, in_frame, msg, ping, run_all, tcp, udp};
use kit::{Sent, Yard, access, on, plain, port, trunk};
use tapyard::packet::{Capabilities, DropReason, Gso, Offload};
use tapyard::switch::Port;
use tapyard::switch::router::{ReversePath, Route};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::wire::ethernet::Mac;

/// A port that carries IP.
fn tun() -> Port {
    Port { bridge: None, ..port() }
}

/// Interfaces 0 and 1 on bridges 0 and 1, with stations 1 and 2 there.
fn plan() -> Plan {
    Plan::new()
        .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
        .on(1, 0, &["10.2.0.254/24", "fd02::fe/64"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "fd01::1", 1)
        .knows(1, "10.2.0.1", 2)
        .knows(1, "fd02::1", 2)
}

fn ports() -> [Port; 2] {
    [port(), on(1, port())]
}

/// A yard of two bridges with a port each, and a router between.
fn between(plan: &Plan) -> Yard {
    let mut yard = Yard::new(ports());
    plan.run(&mut yard);
    yard
}

/// Station `n` sends a packet to the router.
fn send(yard: &mut Yard, port: u16, n: u32, msg: &Msg) -> Vec<Sent> {
    yard.send(port, &msg.frame(gateway(), mac(n)))
}

/// The only thing that left, which is a plain frame to station `n` by `port`, from the router.
#[track_caller]
fn only(sent: Vec<Sent>, port: u16, n: u32) -> Msg {
    let [Sent { port: by, bytes, offload }] = &sent[..] else { panic!("one frame, not {sent:02x?}") };
    assert_eq!((*by, *offload), (port, Offload::NONE));
    assert_eq!((&bytes[..6], &bytes[6..12]), (&mac(n).octets()[..], &gateway().octets()[..]));
    Msg::read(&bytes[14..])
}

/// What a router says of `about` with an ICMP message of this type, code and number, quoting all of it.
fn error(from: &str, about: &Msg, kind: u8, code: u8, rest: u32) -> Msg {
    error_quoting(from, about, kind, code, rest, about.packet())
}

fn error_quoting(from: &str, about: &Msg, kind: u8, code: u8, rest: u32, quoted: Vec<u8>) -> Msg {
    Msg { payload: quoted, ..msg(from, &about.from.to_string(), Upper::Icmp(kind, code, rest)) }
}

/// The two differ in nothing that matters: an answer may have any identification, and may be cut or not.
#[track_caller]
fn same(found: Msg, expected: &Msg) {
    let Msg { dont_fragment, id, .. } = *expected;
    // RFC 1812 section 4.3.2.5: errors are of precedence 6 or that of what they are about.
    assert_eq!(Msg { dont_fragment, id, tos: 0, ..found }, Msg { tos: 0, ..expected.clone() });
}

const V4: (&str, &str) = ("10.1.0.1", "10.2.0.1");
const V6: (&str, &str) = ("fd01::1", "fd02::1");

/// A packet of every protocol between station 1 and station 2.
fn packets() -> Vec<Msg> {
    let mut all = Vec::new();
    for (from, to) in [V4, V6] {
        all.extend([
            msg(from, to, Upper::Udp { from: 1000, to: 53, checked: true }),
            msg(from, to, Upper::Tcp { from: 1000, to: 80, flags: SYN, sequence: 1, ack: 0, window: 99 }),
            msg(from, to, Upper::Tcp { from: 1000, to: 80, flags: ACK, sequence: 1, ack: 9, window: 99 }),
            ping(from, to, 7),
            msg(from, to, Upper::Reply { id: 7, sequence: 1 }),
            msg(from, to, Upper::Other(47)),
            msg(from, to, Upper::Other(132)).len(0),
        ]);
    }
    all.push(msg(V4.0, V4.1, Upper::Udp { from: 1, to: 2, checked: false }));
    all
}

// -- Where packets go

#[test]
fn packets_of_all_protocols_go_from_bridge_to_bridge_with_one_hop_less() {
    let mut yard = between(&plan());
    for msg in packets() {
        for ttl in [64, 255, 2] {
            for _ in 0..3 {
                let msg = Msg { tos: 0xb9, ..msg.clone().ttl(ttl) };
                let sent = send(&mut yard, 0, 1, &msg);
                assert_eq!(only(sent, 1, 2), msg.hop(), "first and cached alike");
            }
        }
    }
    let (inn, out) = (yard.counters(0), yard.counters(1));
    assert_eq!((inn.rx_frames, inn.replied, inn.copies, inn.dropped_total()), (135, 0, 0, 0));
    assert_eq!((out.tx_frames, out.rx_frames), (135 + 4, 0), "and what was said at the start");
}

#[test]
fn what_fills_up_a_frame_goes_no_further_than_the_link() {
    let mut yard = Yard::new([port(), tun()]);
    plan_to_tun().run(&mut yard);
    let msg = udp("10.1.0.1:1", "10.2.0.1:2").len(1);
    let mut frame = msg.frame(gateway(), mac(1));
    frame.resize(60, 0xee);
    for _ in 0..2 {
        let sent = yard.send(0, &frame);
        assert_eq!((sent.len(), &sent[0].bytes), (1, &msg.hop().packet()));
    }
}

fn plan_to_tun() -> Plan {
    Plan::new()
        .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
        .by(1, &["10.9.0.1/30", "fd09::1/64"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "fd01::1", 1)
        .via("0.0.0.0/0", &[(1, "10.9.0.2")])
        .via("::/0", &[(1, "-")])
}

#[test]
fn packets_pass_between_a_bridge_and_a_port_that_carries_ip_both_ways() {
    let mut yard = Yard::new([port(), tun()]);
    plan_to_tun().run(&mut yard);
    for msg in packets() {
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &msg);
            assert_eq!(sent, [Sent { port: 1, bytes: msg.hop().packet(), offload: Offload::NONE }]);
            let back = msg.back();
            let sent = yard.send_ip(1, &back.packet());
            assert_eq!(only(sent, 0, 1), back.hop());
        }
    }
    assert_eq!(yard.drops(0), []);
    assert_eq!(yard.drops(1), []);
}

#[test]
fn between_vlans_of_one_bridge_tags_are_those_of_the_ports() {
    let ports = [access(10), access(20), trunk(&[10, 20], None), trunk(&[10], Some(20)), access(30)];
    let mut yard = Yard::new(ports);
    let plan = Plan::new()
        .on(0, 10, &["10.1.0.254/24", "fd01::fe/64"])
        .on(0, 20, &["10.2.0.254/24", "fd02::fe/64"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "fd01::1", 1)
        .knows(1, "10.2.0.1", 2)
        .knows(1, "fd02::1", 2);
    plan.run(&mut yard);
    for (from, to) in [V4, V6] {
        let there = msg(from, to, Upper::Udp { from: 5, to: 6, checked: true });
        let frame = there.frame(gateway(), mac(1));
        let routed = there.hop().frame(mac(2), gateway());
        // Nobody knows yet where station 2 is.
        for _ in 0..2 {
            let sent = yard.send(0, &frame);
            let by: Vec<_> = sent.iter().map(|sent| sent.port).collect();
            assert_eq!(by, [1, 2, 3]);
            assert_eq!((&sent[0].bytes, &sent[2].bytes), (&routed, &routed));
            assert_eq!(sent[1].bytes, dot1q(&routed, 20));
        }
        // Priority bits stay from trunk to trunk (802.1Q 6.9).
        let sent = yard.send(2, &dot1q(&frame, 0xa000 | 10));
        assert_eq!(sent.iter().map(|sent| sent.port).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(sent[1].bytes, dot1q(&routed, 0xa000 | 20), "out where it came in, in another VLAN");
        // From the native VLAN of a trunk to an access port.
        let back = there.back();
        yard.send(0, &broadcast(1));
        let sent = yard.send(3, &back.frame(gateway(), mac(2)));
        assert_eq!(only(sent, 0, 1), back.hop());
        yard.fdb(0).flush(|_, _| true);
    }
    // The address of the bridge is nobody's where no interface is.
    let stray = udp("10.3.0.1:1", "10.1.0.1:2").frame(gateway(), mac(3));
    assert_eq!(yard.refused(4, &stray, Offload::NONE), DropReason::Local);
}

#[test]
fn one_interface_with_two_networks_routes_back_out_where_it_came_from() {
    let mut yard = Yard::new([port(), port()]);
    let plan = Plan::new()
        .on(0, 0, &["10.1.0.254/24", "10.2.0.254/24"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "10.2.0.1", 2);
    plan.run(&mut yard);
    yard.send(0, &broadcast(2));
    let there = udp("10.1.0.1:5", "10.2.0.1:6");
    for _ in 0..2 {
        assert_eq!(only(send(&mut yard, 0, 1, &there), 0, 2), there.hop());
    }
}

#[test]
fn routers_know_nothing_of_each_other() {
    let mut yard = Yard::new([port(), on(1, port()), on(2, port()), on(3, port())]);
    let one = |first: u16, n: u32| {
        Plan::new()
            .on(first, 0, &["10.1.0.254/24"])
            .on(first + 1, 0, &["10.2.0.254/24"])
            .knows(0, "10.1.0.1", n)
            .knows(1, "10.2.0.1", n + 1)
    };
    let second = one(2, 3).route("10.7.0.0/16", Route::Blackhole);
    run_all(&mut yard, &[one(0, 1), second]);
    let there = udp("10.1.0.1:5", "10.2.0.1:6");
    for _ in 0..2 {
        assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), there.hop(), "the same flow, two routers");
        assert_eq!(only(send(&mut yard, 2, 3, &there), 3, 4), there.hop());
    }
    let lost = udp("10.1.0.1:5", "10.7.0.1:6");
    assert_eq!(only(send(&mut yard, 0, 1, &lost), 0, 1).upper, Upper::Icmp(3, 0, 0));
    assert_eq!(yard.refused(2, &lost.frame(gateway(), mac(3)), Offload::NONE), DropReason::Blackhole);
}

#[test]
fn each_flow_takes_one_of_several_ways_and_flows_take_all() {
    let mut yard = Yard::new([port(), on(1, port()), on(2, port()), on(3, port())]);
    let mut plan = Plan::new().on(0, 0, &["10.1.0.254/24", "fd01::fe/64"]);
    for n in 1..4u16 {
        plan = plan
            .on(n, 0, &[&format!("10.2.{n}.254/24"), &format!("fd02:{n}::fe/64")])
            .knows(n, &format!("10.2.{n}.1"), 2)
            .knows(n, &format!("fd02:{n}::1"), 2);
    }
    let plan = plan
        .via("0.0.0.0/0", &[(1, "10.2.1.1"), (2, "10.2.2.1"), (3, "10.2.3.1")])
        .via("::/0", &[(1, "fd02:1::1"), (2, "fd02:2::1"), (3, "fd02:3::1")]);
    plan.run(&mut yard);
    for (from, to) in [("10.1.0.1", "8.8.8.8"), ("fd01::1", "2001:db8::8")] {
        let mut taken = [0; 4];
        for flow in 0..300 {
            let there = msg(from, to, Upper::Udp { from: 1000 + flow, to: 53, checked: true });
            let sent = send(&mut yard, 0, 1, &there);
            assert_eq!(sent.len(), 1);
            let way = sent[0].port;
            taken[usize::from(way)] += 1;
            assert_eq!(only(sent, way, 2), there.hop());
            assert_eq!(send(&mut yard, 0, 1, &there)[0].port, way);
            yard.forget_flows();
            assert_eq!(send(&mut yard, 0, 1, &there)[0].port, way);
        }
        assert!(taken[1..].iter().all(|&flows| (60..140).contains(&flows)), "{taken:?}");
    }
}

#[test]
fn the_most_specific_route_counts() {
    let mut yard = Yard::new([port(), on(1, port()), on(2, port())]);
    let plan = Plan::new()
        .on(0, 0, &["10.1.0.254/24"])
        .on(1, 0, &["10.2.0.254/24"])
        .on(2, 0, &["10.3.0.254/24"])
        .knows(1, "10.2.0.1", 2)
        .knows(2, "10.3.0.1", 3)
        .via("0.0.0.0/0", &[(1, "10.2.0.1")])
        .via("20.0.0.0/8", &[(2, "10.3.0.1")])
        .via("20.1.0.0/16", &[(1, "10.2.0.1")])
        .via("20.1.1.1/32", &[(2, "10.3.0.1")]);
    plan.run(&mut yard);
    for (to, by) in [("9.9.9.9", 1), ("20.2.0.1", 2), ("20.1.0.1", 1), ("20.1.1.1", 2), ("20.1.1.2", 1)] {
        let there = msg("10.1.0.1", to, Upper::Udp { from: 1, to: 1, checked: true });
        assert_eq!(send(&mut yard, 0, 1, &there)[0].port, by, "{to}");
    }
}

#[test]
fn a_change_of_routes_counts_from_the_next_packet_on() {
    let mut yard = between(&plan());
    let there = udp("10.1.0.1:5", "10.2.0.1:6");
    assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), there.hop());
    plan().route("10.2.0.1/32", Route::Blackhole).run(&mut yard);
    assert_eq!(
        yard.refused(0, &there.frame(gateway(), mac(1)), Offload::NONE),
        DropReason::Blackhole,
        "a host route is more specific than the network"
    );
    plan().run(&mut yard);
    assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), there.hop());
}

// -- What gets no further

#[test]
fn routes_that_lead_nowhere_say_so_or_do_not() {
    let plan = plan()
        .route("20.0.0.0/8", Route::Blackhole)
        .route("21.0.0.0/8", Route::Unreachable)
        .route("22.0.0.0/8", Route::Prohibit)
        .route("2001:20::/32", Route::Blackhole)
        .route("2001:21::/32", Route::Unreachable)
        .route("2001:22::/32", Route::Prohibit);
    let mut yard = between(&plan);
    let (own4, own6) = ("10.1.0.254", "fd01::fe");
    for (to, own, told, reason) in [
        ("20.0.0.1", own4, None, DropReason::Blackhole),
        ("21.0.0.1", own4, Some((3, 0)), DropReason::NoRoute),
        ("22.0.0.1", own4, Some((3, 13)), DropReason::NoRoute),
        ("23.0.0.1", own4, Some((3, 0)), DropReason::NoRoute),
        ("2001:20::1", own6, None, DropReason::Blackhole),
        ("2001:21::1", own6, Some((1, 0)), DropReason::NoRoute),
        ("2001:22::1", own6, Some((1, 1)), DropReason::NoRoute),
        ("2001:23::1", own6, Some((1, 0)), DropReason::NoRoute),
    ] {
        let from = if own == own4 { V4.0 } else { V6.0 };
        let there = msg(from, to, Upper::Udp { from: 1, to: 1, checked: true });
        for _ in 0..2 {
            let before = yard.counters(0);
            let sent = send(&mut yard, 0, 1, &there);
            let after = yard.counters(0);
            assert_eq!(after.dropped(reason), before.dropped(reason) + 1, "{to}");
            assert_eq!(after.copies - before.copies, u64::from(told.is_some()));
            match told {
                None => assert_eq!(sent, []),
                Some((kind, code)) => same(only(sent, 0, 1), &error(own, &there, kind, code, 0)),
            }
        }
    }
}

#[test]
fn hops_run_out_with_a_word_from_where_the_packet_came_in() {
    let mut yard = between(&plan());
    for msg in packets() {
        let (own, kind) = if msg.from.is_ipv4() { ("10.1.0.254", 11) } else { ("fd01::fe", 3) };
        // A flow that is known runs out too.
        send(&mut yard, 0, 1, &msg);
        for ttl in [1, 0] {
            let before = yard.counters(0);
            let late = msg.clone().ttl(ttl);
            let answer = only(send(&mut yard, 0, 1, &late), 0, 1);
            same(answer, &error(own, &late, kind, 0, 0));
            let after = yard.counters(0);
            let reason = DropReason::TtlExceeded;
            assert_eq!(after.dropped(reason), before.dropped(reason) + 1);
            assert_eq!((after.copies, after.tx_frames), (before.copies + 1, before.tx_frames + 1));
        }
    }
}

#[test]
fn who_is_for_the_router_itself_needs_no_hop() {
    let mut yard = between(&plan());
    for (from, own) in [("10.1.0.1", "10.1.0.254"), ("fd01::1", "fd01::fe")] {
        let answer = only(send(&mut yard, 0, 1, &ping(from, own, 3).ttl(1)), 0, 1);
        assert_eq!(answer.upper, Upper::Reply { id: 3, sequence: 1 });
    }
}

#[test]
fn errors_quote_as_much_as_they_may() {
    let mut yard = between(&plan());
    // RFC 1812 section 4.3.2.3: 576 bytes; RFC 4443 section 2.4 c: the least IPv6 MTU.
    for ((from, to), own, kind, limit) in [(V4, "10.1.0.254", 11, 576), (V6, "fd01::fe", 3, 1280)] {
        let header = if kind == 11 { 20 } else { 40 };
        for len in [0, 500, 520, 521, 1200, 1400] {
            let late = msg(from, to, Upper::Udp { from: 1, to: 1, checked: true }).len(len).ttl(1);
            let answer = only(send(&mut yard, 0, 1, &late), 0, 1);
            let quoted = &late.packet()[..late.packet().len().min(limit - header - 8)];
            same(answer, &error_quoting(own, &late, kind, 0, 0, quoted.to_vec()));
        }
    }
}

#[test]
fn headers_that_are_wrong_are_dropped_without_a_word() {
    let mut yard = between(&plan());
    let good = udp("10.1.0.1:5", "10.2.0.1:6").packet();
    let with = |changes: &[(usize, u8)], finish: bool| {
        let mut bytes = in_frame(&good, gateway(), mac(1));
        changes.iter().for_each(|&(at, value)| bytes[14 + at] = value);
        if finish {
            kit::frames::edit_ipv4(&mut bytes, |_| {});
        }
        bytes
    };
    let len = good.len() as u8;
    for (frame, what) in [
        (with(&[(10, good[10] ^ 1)], false), "checksum"),
        (with(&[(8, 63)], false), "TTL not in the checksum"),
        (with(&[(0, 0x44)], false), "header of 16 bytes"),
        (with(&[(0, 0x55)], true), "version 5"),
        (with(&[(0, 0x65)], true), "version 6 as IPv4"),
        (with(&[(3, len + 1)], true), "longer than the frame"),
        (with(&[(3, 19)], true), "shorter than its header"),
        (with(&[(3, 27)], true), "shorter than its UDP header"),
        (in_frame(&good[..12], gateway(), mac(1)), "cut off"),
        (in_frame(&[], gateway(), mac(1)), "nothing"),
    ] {
        // Nothing there is no IP packet at all, and says no version.
        let reason = yard.refused(0, &frame, Offload::NONE);
        assert!(matches!(reason, DropReason::IpHeader | DropReason::NotIp), "{what}: {reason:?}");
        if what != "nothing" {
            assert_eq!(reason, DropReason::IpHeader, "{what}");
        }
    }
    let good = msg(V6.0, V6.1, Upper::Udp { from: 1, to: 1, checked: true }).packet();
    for (at, value, what) in [(0, 0x40, "version"), (5, good[5] + 1, "longer"), (5, 7, "shorter than UDP")] {
        let mut frame = in_frame(&good, gateway(), mac(1));
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14 + at] = value;
        assert_eq!(yard.refused(0, &frame, Offload::NONE), DropReason::IpHeader, "{what}");
    }
    // And what is no IP at all.
    let other = kit::frames::frame(gateway(), mac(1));
    assert_eq!(yard.refused(0, &other, Offload::NONE), DropReason::NotIp);
}

#[test]
fn a_packet_cut_off_at_any_byte_is_dropped() {
    let mut yard = between(&plan());
    for msg in packets().into_iter().filter(|msg| !matches!(msg.upper, Upper::Other(_))) {
        let packet = msg.packet();
        assert_eq!(only(send(&mut yard, 0, 1, &msg), 1, 2), msg.hop());
        for len in 1..packet.len() {
            let frame = in_frame(&packet[..len], gateway(), mac(1));
            assert_eq!(yard.refused(0, &frame, Offload::NONE), DropReason::IpHeader, "{len} of {msg:?}");
        }
    }
}

#[test]
fn addresses_that_no_router_sees_are_dropped() {
    let mut yard = between(&plan().via("0.0.0.0/0", &[(1, "10.2.0.1")]).via("::/0", &[(1, "fd02::1")]));
    let udp = Upper::Udp { from: 1, to: 1, checked: true };
    // RFC 1812 section 5.3.7, RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5 and 2.7.
    for (from, to) in [
        ("127.0.0.1", "10.2.0.1"),
        ("10.1.0.1", "127.0.0.1"),
        ("0.0.0.0", "10.2.0.1"),
        ("0.1.2.3", "10.2.0.1"),
        ("10.1.0.1", "0.0.0.0"),
        ("10.1.0.1", "0.0.0.1"),
        ("224.0.0.1", "10.2.0.1"),
        ("239.1.1.1", "10.2.0.1"),
        ("240.0.0.1", "10.2.0.1"),
        ("255.255.255.255", "10.2.0.1"),
        ("10.1.0.255", "10.2.0.1"),
        ("10.2.0.255", "10.2.0.1"),
        ("10.1.0.254", "10.2.0.1"),
        ("10.2.0.254", "10.2.0.1"),
        ("10.1.0.254", "10.1.0.254"),
        ("169.254.0.1", "10.2.0.1"),
        ("10.1.0.1", "169.254.0.1"),
        ("::", "fd02::1"),
        ("::1", "fd02::1"),
        ("fd01::1", "::1"),
        ("fd01::1", "::"),
        ("ff02::1", "fd02::1"),
        ("ff0e::1", "fd02::1"),
        ("fd01::fe", "fd02::1"),
        ("fd02::fe", "fd02::1"),
        ("fe80::1", "fd02::1"),
        ("fd01::1", "fe80::9"),
        ("::ffff:10.1.0.1", "fd02::1"),
        ("fd01::1", "::ffff:10.2.0.1"),
    ] {
        let frame = msg(from, to, udp.clone()).frame(gateway(), mac(1));
        assert_eq!(yard.refused(0, &frame, Offload::NONE), DropReason::Martian, "{from} to {to}");
    }
}

#[test]
fn a_broadcast_is_never_passed_on() {
    let mut yard = between(&plan());
    // RFC 2644, and the old form of all zeroes (RFC 1812 section 4.2.3.1).
    for to in ["10.2.0.255", "10.2.0.0", "10.1.0.255", "255.255.255.255"] {
        let there = msg("10.1.0.1", to, ping("10.1.0.1", "10.1.0.2", 1).upper);
        assert_eq!(
            yard.refused(0, &there.frame(gateway(), mac(1)), Offload::NONE),
            DropReason::Martian,
            "{to}"
        );
    }
    // In a frame for all it goes where a bridge takes it, and no further.
    let there = udp("10.1.0.1:1", "10.2.0.1:2").frame(Mac::BROADCAST, mac(1));
    assert_eq!(yard.refused(0, &there, Offload::NONE), DropReason::NoMember);
}

#[test]
fn a_multicast_is_never_passed_on() {
    let mut yard = between(&plan().via("0.0.0.0/0", &[(1, "10.2.0.1")]).via("::/0", &[(1, "fd02::1")]));
    for (from, to) in
        [("10.1.0.1", "224.0.0.5"), ("10.1.0.1", "239.1.1.1"), ("fd01::1", "ff0e::1"), ("fd01::1", "ff02::5")]
    {
        let there = msg(from, to, Upper::Udp { from: 1, to: 1, checked: true });
        let before = yard.counters(0).dropped_total();
        assert_eq!(send(&mut yard, 0, 1, &there), [], "{to}");
        assert_eq!(yard.counters(0).dropped_total(), before + 1);
    }
}

#[test]
fn nobody_tells_a_router_the_way() {
    let mut yard = between(&plan());
    let there = udp("10.1.0.1:5", "10.2.0.1:6");
    for (options, good) in [
        ([131, 7, 4, 10, 2, 0, 9, 0], false), // loose
        ([137, 7, 4, 10, 2, 0, 9, 0], false), // strict
        ([1, 131, 7, 4, 10, 2, 0, 9], false), // behind another
        ([7, 7, 4, 0, 0, 0, 0, 0], true),     // record route
        ([1, 1, 1, 1, 1, 1, 1, 0], true),     // nothing
    ] {
        let packet = there.packet();
        let mut packet = [&packet[..20], &options, &packet[20..]].concat();
        packet[0] = 0x47;
        packet[3] += 8;
        let mut frame = in_frame(&packet, gateway(), mac(1));
        finish(&mut frame[14..42]);
        match good {
            false => assert_eq!(yard.refused(0, &frame, Offload::NONE), DropReason::IpHeader, "{options:?}"),
            true => {
                let mut expected = in_frame(&packet, mac(2), gateway());
                expected[14 + 8] -= 1;
                finish(&mut expected[14..42]);
                assert_eq!(yard.send(0, &frame), [Sent { port: 1, bytes: expected, offload: Offload::NONE }]);
            }
        }
    }
    // RFC 5095: a routing header of type 0 with segments left.
    let inner = msg(V6.0, V6.1, Upper::Udp { from: 1, to: 1, checked: true }).packet();
    let mut header = vec![17, 2, 0, 1, 0, 0, 0, 0];
    header.extend("fd02::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let mut packet = [&inner[..40], &header, &inner[40..]].concat();
    packet[5] += 24;
    packet[6] = 43;
    assert_eq!(yard.refused(0, &in_frame(&packet, gateway(), mac(1)), Offload::NONE), DropReason::IpHeader);
}

/// Writes the checksum of an IPv4 header.
fn finish(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

#[test]
fn extension_headers_of_ipv6_pass_as_they_are() {
    let mut yard = between(&plan());
    let inner = msg(V6.0, V6.1, Upper::Udp { from: 1, to: 1, checked: true }).packet();
    // Hop-by-hop options that nobody needs to look at (RFC 8200 section 4.3), destination options, an atomic fragment.
    for (kind, header) in
        [(0, [17, 0, 1, 4, 0, 0, 0, 0]), (60, [17, 0, 1, 4, 0, 0, 0, 0]), (44, [17, 0, 0, 0, 0, 0, 0, 9])]
    {
        let mut packet = [&inner[..40], &header, &inner[40..]].concat();
        packet[5] += 8;
        packet[6] = kind;
        for _ in 0..2 {
            let sent = yard.send(0, &in_frame(&packet, gateway(), mac(1)));
            let mut expected = in_frame(&packet, mac(2), gateway());
            expected[14 + 7] -= 1;
            assert_eq!(sent, [Sent { port: 1, bytes: expected, offload: Offload::NONE }]);
        }
    }
}

#[test]
fn fragments_pass_as_they_are() {
    let mut yard = between(&plan());
    let whole = udp("10.1.0.1:5", "10.2.0.1:6").may_be_cut().len(64);
    for (flags, from) in [(0x20, 0), (0x20, 1), (0, 8)] {
        let mut frame = whole.frame(gateway(), mac(1));
        kit::frames::edit_ipv4(&mut frame, |header| header[6..8].copy_from_slice(&[flags, from]));
        let mut expected = frame.clone();
        expected[..12].copy_from_slice(&[mac(2).octets(), gateway().octets()].concat());
        kit::frames::edit_ipv4(&mut expected, |header| header[8] -= 1);
        assert_eq!(yard.send(0, &frame), [Sent { port: 1, bytes: expected, offload: Offload::NONE }]);
    }
}

#[test]
fn sources_have_to_be_where_they_would_be_sent_to() {
    let strict = |strictness| {
        let mut plan = plan().via("20.0.0.0/8", &[(0, "10.1.0.1")]).route("21.0.0.0/8", Route::Blackhole);
        plan = plan.via("2001:20::/32", &[(0, "fd01::1")]);
        plan.links[0].reverse_path = strictness;
        plan
    };
    for (strictness, near, routed, elsewhere, nowhere) in [
        (ReversePath::Off, true, true, true, true),
        (ReversePath::Loose, true, true, true, false),
        (ReversePath::Strict, true, true, false, false),
    ] {
        let mut yard = between(&strict(strictness));
        for (from, passes) in [
            ("10.1.0.1", near),
            ("20.0.0.1", routed),
            ("10.2.0.7", elsewhere),
            ("30.0.0.1", nowhere),
            ("21.0.0.1", nowhere),
            ("fd01::77", near),
            ("2001:20::1", routed),
            ("fd02::7", elsewhere),
            ("2001:30::1", nowhere),
        ] {
            let to = if from.contains(':') { V6.1 } else { V4.1 };
            let there = msg(from, to, Upper::Udp { from: 1, to: 1, checked: true });
            for _ in 0..2 {
                if passes {
                    assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), there.hop());
                } else {
                    let reason = yard.refused(0, &there.frame(gateway(), mac(1)), Offload::NONE);
                    assert_eq!(reason, DropReason::ReversePath, "{strictness:?} {from}");
                }
            }
        }
    }
}

#[test]
fn no_error_answers_what_must_not_be_answered() {
    let mut yard = between(&plan());
    let gone = udp("10.1.0.1:1", "10.9.9.9:2");
    let gone6 = udp("[fd01::1]:1", "[fd09::9]:2");
    let about = udp("10.9.9.9:1", "10.1.0.1:2").packet();
    let about6 = udp("[fd09::9]:1", "[fd01::1]:2").packet();
    let quoting = |base: &Msg, kind, quoted: &[u8]| Msg {
        upper: Upper::Icmp(kind, 0, 0),
        payload: quoted.to_vec(),
        ..base.clone()
    };
    // RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 e.
    for (msg, what) in [
        (quoting(&gone, 3, &about), "an error"),
        (quoting(&gone, 11, &about), "an error"),
        (quoting(&gone, 12, &about), "an error"),
        (quoting(&gone, 5, &about), "a redirect"),
        (quoting(&gone6, 1, &about6), "an error"),
        (quoting(&gone6, 2, &about6), "an error"),
        (quoting(&gone6, 100, &about6), "an error that nobody knows"),
    ] {
        let frame = msg.frame(gateway(), mac(1));
        assert_eq!(yard.refused(0, &frame, Offload::NONE), DropReason::NoRoute, "{what}");
    }
    let mut later = gone.clone().may_be_cut().frame(gateway(), mac(1));
    kit::frames::edit_ipv4(&mut later, |header| header[7] = 9);
    assert_eq!(yard.refused(0, &later, Offload::NONE), DropReason::NoRoute, "a later fragment");
    let mut first = gone.clone().may_be_cut().len(24).frame(gateway(), mac(1));
    kit::frames::edit_ipv4(&mut first, |header| header[6] = 0x20);
    assert_eq!(yard.send(0, &first).len(), 1, "the first is answered");
    assert_eq!(send(&mut yard, 0, 1, &gone).len(), 1);
    assert_eq!(send(&mut yard, 0, 1, &ping("10.1.0.1", "10.9.9.9", 1)).len(), 1, "a request is no error");
}

#[test]
fn a_router_says_so_much_and_no_more() {
    let mut plan = plan();
    plan.errors = Arc::new(TokenBucket::with_burst(10, 5));
    let mut yard = between(&plan);
    let gone = udp("10.1.0.1:1", "10.9.9.9:2");
    let told = |yard: &mut Yard| (0..50).filter(|_| !send(yard, 0, 1, &gone).is_empty()).count();
    assert_eq!(told(&mut yard), 5);
    assert_eq!(told(&mut yard), 0);
    yard.wait(Duration::from_millis(200));
    assert_eq!(told(&mut yard), 2);
    assert_eq!(yard.counters(0).dropped(DropReason::NoRoute), 150, "all are counted");
    assert_eq!(yard.counters(0).copies, 7);
    assert_eq!(send(&mut yard, 0, 1, &ping("10.1.0.1", "10.1.0.254", 1)).len(), 1, "no error");
}

// -- What is for the router

#[test]
fn echo_requests_to_any_own_address_are_answered() {
    let mut yard = between(&plan());
    for (from, own) in [
        ("10.1.0.1", "10.1.0.254"),
        ("10.1.0.1", "10.2.0.254"),
        ("fd01::1", "fd01::fe"),
        ("fd01::1", "fd02::fe"),
    ] {
        for len in [0, 1, 56, 1400] {
            let request = ping(from, own, 77).len(len);
            let before = yard.counters(0);
            let answer = only(send(&mut yard, 0, 1, &request), 0, 1);
            same(answer, &request.back().ttl(64));
            let after = yard.counters(0);
            assert_eq!((after.replied, after.copies), (before.replied + 1, before.copies + 1));
            assert_eq!(after.dropped_total(), 0);
        }
    }
    // One whose checksum its sender left to us.
    let request = ping("10.1.0.1", "10.1.0.254", 77);
    let mut frame = request.frame(gateway(), mac(1));
    frame[36..38].fill(0);
    let undone = Offload { needs_csum: true, csum_start: 34, csum_offset: 2, ..Offload::NONE };
    let sent = yard.send_with(0, &frame, undone);
    assert_eq!(sent.len(), 1);
    if !sent[0].offload.needs_csum {
        same(Msg::read(&sent[0].bytes[14..]), &request.back().ttl(64));
    }
}

#[test]
fn an_echo_request_with_a_wrong_checksum_is_not_answered() {
    let mut yard = between(&plan());
    for (from, own) in [("10.1.0.1", "10.1.0.254"), ("fd01::1", "fd01::fe")] {
        let mut frame = ping(from, own, 77).frame(gateway(), mac(1));
        let last = frame.len() - 1;
        frame[last] ^= 1;
        for sent in yard.send(0, &frame) {
            // An answer whose checksum is as wrong tells nobody a lie.
            let header = if own.contains(':') { 40 } else { 20 };
            let good = std::panic::catch_unwind(|| Msg::read(&sent.bytes[14..]));
            assert!(good.is_err(), "{:02x?}", &sent.bytes[14 + header..]);
        }
    }
}

#[test]
fn nothing_listens_at_a_router() {
    let mut yard = between(&plan());
    for (from, own, unreachable) in [
        ("10.1.0.1", "10.1.0.254", (3, 3)),
        ("10.1.0.1", "10.2.0.254", (3, 3)),
        ("fd01::1", "fd02::fe", (1, 4)),
    ] {
        let before = yard.counters(0).dropped(DropReason::NotLocal);
        let (kind, code) = unreachable;
        let question = msg(from, own, Upper::Udp { from: 999, to: 53, checked: true });
        same(only(send(&mut yard, 0, 1, &question), 0, 1), &error(own, &question, kind, code, 0));
        // RFC 9293 section 3.5.2: the reset's number is what was acknowledged, or it acknowledges what came.
        let syn = Upper::Tcp { from: 999, to: 22, flags: SYN, sequence: 41, ack: 0, window: 9 };
        let answer = only(send(&mut yard, 0, 1, &Msg { payload: vec![], ..msg(from, own, syn) }), 0, 1);
        let Upper::Tcp { from: 22, to: 999, flags, sequence: 0, ack: 42, .. } = answer.upper else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (flags, answer.from.to_string(), answer.ttl),
            (kit::routers::RST | ACK, own.to_owned(), 64)
        );
        let ack = Upper::Tcp { from: 999, to: 22, flags: ACK, sequence: 41, ack: 1234, window: 9 };
        let answer = only(send(&mut yard, 0, 1, &msg(from, own, ack)), 0, 1);
        let Upper::Tcp { flags: kit::routers::RST, sequence: 1234, .. } = answer.upper else {
            panic!("{answer:?}")
        };
        let reset =
            Upper::Tcp { from: 999, to: 22, flags: kit::routers::RST, sequence: 41, ack: 0, window: 9 };
        assert_eq!(send(&mut yard, 0, 1, &msg(from, own, reset)), [], "no reset for a reset");
        let gre = msg(from, own, Upper::Other(47));
        let (kind, code, at) = if own.contains(':') { (4, 1, 6) } else { (3, 2, 0) };
        same(only(send(&mut yard, 0, 1, &gre), 0, 1), &error(own, &gre, kind, code, at));
        assert_eq!(yard.counters(0).dropped(DropReason::NotLocal), before + 5);
    }
}

#[test]
fn a_router_answers_on_a_port_that_carries_ip() {
    let mut yard = Yard::new([port(), tun()]);
    plan_to_tun().run(&mut yard);
    for (from, own) in [("8.8.8.8", "10.9.0.1"), ("2001:db8::8", "fd09::1"), ("8.8.8.8", "10.1.0.254")] {
        let request = ping(from, own, 7);
        let sent = yard.send_ip(1, &request.packet());
        assert_eq!((sent.len(), sent[0].port), (1, 1));
        same(Msg::read(&sent[0].bytes), &request.back().ttl(64));
    }
    let late = udp("8.8.8.8:1", "10.1.0.1:2").ttl(1);
    let sent = yard.send_ip(1, &late.packet());
    same(Msg::read(&sent[0].bytes), &error("10.9.0.1", &late, 11, 0, 0));
    for (bytes, reason) in
        [(&[][..], DropReason::NotIp), (&[0x45; 19], DropReason::IpHeader), (&[0x10; 60], DropReason::NotIp)]
    {
        let before = yard.counters(1).dropped(reason);
        assert_eq!(yard.send_ip(1, bytes), []);
        assert_eq!(yard.counters(1).dropped(reason), before + 1, "{bytes:02x?}");
    }
}

// -- Superframes and MTU

/// A superframe of TCP or UDP from station 1 to the router, and as it leaves for station 2.
fn superframe(v6: bool, l4: L4, len: usize, size: u16) -> ((Vec<u8>, Offload), Vec<u8>) {
    let (from, to) = if v6 { V6 } else { V4 };
    let upper = match l4 {
        L4::Udp => Upper::Udp { from: 1000, to: 53, checked: true },
        L4::Tcp => Upper::Tcp { from: 1000, to: 80, flags: ACK, sequence: 1, ack: 9, window: 99 },
    };
    let there = msg(from, to, upper).len(len);
    let (expected, _) = unfinished(there.hop().frame(mac(2), gateway()), v6, l4, size);
    (unfinished(there.frame(gateway(), mac(1)), v6, l4, size), expected)
}

#[test]
fn superframes_are_routed_whole() {
    let mut yard = between(&plan());
    for v6 in [false, true] {
        for l4 in [L4::Tcp, L4::Udp] {
            for (len, size) in [(60_000, 1400), (3000, 1440), (20, 0), (1400, 0)] {
                let ((frame, offload), expected) = superframe(v6, l4, len, size);
                for _ in 0..3 {
                    let sent = yard.send_with(0, &frame, offload);
                    assert_eq!(
                        sent,
                        [Sent { port: 1, bytes: expected.clone(), offload }],
                        "{v6} {l4:?} {len} {size}"
                    );
                }
            }
        }
    }
    assert_eq!(yard.counters(0).rx_frames, 48);
    assert_eq!(yard.counters(1).tx_frames, 48 + 4);
}

#[test]
fn superframes_cross_to_a_port_that_carries_ip_and_back() {
    let mut yard = Yard::new([port(), tun()]);
    plan_to_tun().run(&mut yard);
    for v6 in [false, true] {
        let ((frame, offload), expected) = superframe(v6, L4::Tcp, 30_000, 1400);
        let mut bare = offload;
        bare.shift(-14);
        for _ in 0..2 {
            let sent = yard.send_with(0, &frame, offload);
            assert_eq!(sent, [Sent { port: 1, bytes: expected[14..].to_vec(), offload: bare }]);
        }
        let (from, to) = if v6 { ("2001:db8::8", V6.0) } else { ("8.8.8.8", V4.0) };
        let upper = Upper::Tcp { from: 80, to: 1000, flags: ACK, sequence: 1, ack: 9, window: 99 };
        let back = msg(from, to, upper).len(30_000);
        let (came, offload) = unfinished(back.frame(mac(1), gateway()), v6, L4::Tcp, 1400);
        let (expected, _) = unfinished(back.hop().frame(mac(1), gateway()), v6, L4::Tcp, 1400);
        for _ in 0..2 {
            let sent = yard.send_ips(1, &[(came[14..].to_vec(), bare)]);
            assert_eq!(sent, [Sent { port: 0, bytes: expected.clone(), offload }]);
        }
    }
}

#[test]
fn a_superframe_for_a_port_without_offloads_leaves_in_segments() {
    let mut yard = Yard::new([port(), on(1, plain())]);
    plan().run(&mut yard);
    for v6 in [false, true] {
        let ((frame, offload), _) = superframe(v6, L4::Tcp, 4000, 1400);
        let sent = yard.send_with(0, &frame, offload);
        assert_eq!(sent.len(), 3);
        for (sent, len) in sent.iter().zip([1400, 1400, 1200]) {
            let segment = Msg::read(&sent.bytes[14..]);
            assert_eq!((segment.ttl, segment.payload.len()), (63, len));
            assert_eq!(sent.bytes[..12], [mac(2).octets(), gateway().octets()].concat());
        }
    }
    assert_eq!(yard.counters(1).copies, 4, "made where they were needed");
}

#[test]
fn what_does_not_fit_is_cut_or_its_sender_is_told() {
    let mut narrow = plan();
    narrow.links[1].mtu = 1400;
    let mut yard = between(&narrow);
    for (len, fits) in [(1372, true), (1373, false), (1472, false)] {
        let there = udp("10.1.0.1:1", "10.2.0.1:2").len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            if fits {
                assert_eq!(only(sent, 1, 2), there.hop());
            } else {
                let quoted = there.packet()[..548].to_vec();
                same(only(sent, 0, 1), &error_quoting("10.1.0.254", &there, 3, 4, 1400, quoted));
            }
        }
    }
    for (len, fits) in [(1352, true), (1353, false)] {
        let there = udp("[fd01::1]:1", "[fd02::1]:2").len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            if fits {
                assert_eq!(only(sent, 1, 2), there.hop());
            } else {
                let quoted = there.packet()[..1232].to_vec();
                same(only(sent, 0, 1), &error_quoting("fd01::fe", &there, 2, 0, 1400, quoted));
            }
        }
    }
    assert_eq!(yard.counters(0).dropped(DropReason::ExceedsMtu), 6);
    assert_eq!(yard.counters(1).dropped_total(), 0);
}

#[test]
fn a_superframe_counts_by_its_segments() {
    let mut narrow = plan();
    narrow.links[1].mtu = 1400;
    let mut yard = between(&narrow);
    for (v6, size, fits) in
        [(false, 1360, true), (false, 1361, false), (true, 1340, true), (true, 1341, false)]
    {
        let ((frame, offload), expected) = superframe(v6, L4::Tcp, 20_000, size);
        for _ in 0..2 {
            let sent = yard.send_with(0, &frame, offload);
            if fits {
                assert_eq!(sent, [Sent { port: 1, bytes: expected.clone(), offload }]);
            } else {
                let told = only(sent, 0, 1);
                assert_eq!(told.upper, if v6 { Upper::Icmp(2, 0, 1400) } else { Upper::Icmp(3, 4, 1400) });
                let quoted = &told.payload[..];
                assert_eq!(
                    quoted[if v6 { 40 } else { 20 }..][..4],
                    [1000u16.to_be_bytes(), 80u16.to_be_bytes()].concat()
                );
            }
        }
    }
}

#[test]
fn a_packet_that_may_be_cut_is() {
    let mut narrow = plan();
    narrow.links[1].mtu = 600;
    let mut yard = between(&narrow);
    for len in [573, 1152, 1153, 1472] {
        let there = udp("10.1.0.1:1", "10.2.0.1:2").may_be_cut().len(len);
        for _ in 0..2 {
            let sent = send(&mut yard, 0, 1, &there);
            let mut whole = Vec::<u8>::new();
            for (number, sent_frame) in sent.iter().enumerate() {
                let packet = &sent_frame.bytes[14..];
                let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                assert!(total <= 600 && packet.len() == total, "{total}");
                assert_eq!((packet[8], &packet[4..6]), (63, &[0, 77][..]));
                let word = u16::from_be_bytes([packet[6], packet[7]]);
                assert_eq!(usize::from(word & 0x1fff) * 8, whole.len(), "in order");
                assert_eq!(word & 0x2000 != 0, number + 1 < sent.len(), "more fragments");
                let mut header = packet[..20].to_vec();
                finish(&mut header);
                assert_eq!(header, packet[..20], "header checksum");
                whole.extend(&packet[20..]);
            }
            assert_eq!(whole, there.packet()[20..]);
            assert_eq!(sent.len(), (len + 8).div_ceil(576));
        }
    }
}

#[test]
fn a_frame_longer_than_its_port_takes_is_counted_there() {
    let mut yard = Yard::new([port(), Port { mtu: 1000, capabilities: Capabilities::ALL, ..on(1, port()) }]);
    plan().run(&mut yard);
    let there = udp("10.1.0.1:1", "10.2.0.1:2").len(1200);
    assert_eq!(send(&mut yard, 0, 1, &there), []);
    assert_eq!(yard.counters(1).dropped(DropReason::ExceedsMtu), 1);
}

#[test]
fn a_batch_of_packets_each_goes_its_way_in_order() {
    let mut yard = between(&plan());
    let mut frames = Vec::new();
    let mut expected = Vec::new();
    for i in 0..30u16 {
        let there = udp(&format!("10.1.0.1:{}", 100 + i % 4), "10.2.0.1:2").len(usize::from(i));
        let lost = i % 7 == 3;
        let there = if lost { there.to("10.2.0.255") } else { there };
        frames.push((there.frame(gateway(), mac(1)), Offload::NONE));
        if !lost {
            expected.push(there.hop().frame(mac(2), gateway()));
        }
    }
    let sent = yard.send_all(0, 0, &frames);
    assert_eq!(sent.into_iter().map(|sent| sent.bytes).collect::<Vec<_>>(), expected);
    assert_eq!(yard.counters(0).dropped(DropReason::Martian), 4);
}

#[test]
fn a_lying_offload_changes_nothing_that_was_decided_by() {
    let mut yard = between(&plan());
    let frame = udp("10.1.0.1:1", "10.2.0.1:2").frame(gateway(), mac(1));
    for (csum_start, csum_offset) in [(14, 10), (14, 16), (26, 8), (34, 2)] {
        let lie = Offload { needs_csum: true, csum_start, csum_offset, ..Offload::NONE };
        assert_eq!(yard.refused(0, &frame, lie), DropReason::BadOffload, "{csum_start} {csum_offset}");
    }
    let lie = Offload {
        needs_csum: true,
        gso: Gso::TcpV6,
        gso_size: 100,
        header_len: 42,
        csum_start: 34,
        csum_offset: 6,
        ..Offload::NONE
    };
    assert_eq!(yard.refused(0, &frame, lie), DropReason::BadOffload);
}

#[test]
fn tcp_helpers_write_what_they_say() {
    // The kit itself: an oracle that cannot fail shows nothing.
    let syn = tcp("10.1.0.1:1000", "10.2.0.1:80", SYN, 5, 0);
    assert_eq!(Msg::read(&syn.packet()), syn);
    assert_eq!(syn.from("10.1.0.9:7").port(), 7);
    let mut wrong = syn.packet();
    wrong[30] ^= 1;
    assert!(std::panic::catch_unwind(|| Msg::read(&wrong)).is_err());
}
