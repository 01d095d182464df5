//! Routing: which packets a router passes on, in which form, and what it says of those it does not.

mod kit;

use kit::frames::{broadcast, dot1q, mac};
use kit::gateways::{V4, V6, between, only, packets, plan, plan_to_tun, send, tun};
use kit::routers::{Msg, Plan, SYN, Upper, gateway, msg, run_all, tcp, udp};
use kit::{Sent, Yard, access, on, port, trunk};
use tapyard::packet::{DropReason, Offload};
use tapyard::switch::router::Route;

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
    assert_eq!((out.tx_frames, out.rx_frames), (135 + 3, 0), "and what was said at the start");
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
fn tcp_helpers_write_what_they_say() {
    // The kit itself: an oracle that cannot fail shows nothing.
    let syn = tcp("10.1.0.1:1000", "10.2.0.1:80", SYN, 5, 0);
    assert_eq!(Msg::read(&syn.packet()), syn);
    assert_eq!(syn.from("10.1.0.9:7").port(), 7);
    let mut wrong = syn.packet();
    wrong[30] ^= 1;
    assert!(std::panic::catch_unwind(|| Msg::read(&wrong)).is_err());
}
