//! Routers beside other things: bridges with rules, patches, other routers, tags of customers, and each other.

mod kit;

use std::time::Duration;

use kit::frames::{mac, station, tag};
use kit::gateways::{between, error, error_quoting, finish, only, plan, plan_to_tun, same, send};
use kit::messages::{is_at, who_has};
use kit::routers::{
    Msg, Plan, SYN, arp_reply, arp_request, gateway, in_frame, ping, run_all, solicitation, tcp, udp,
};
use kit::{Yard, on, patch, port};
use tapyard::packet::{DropReason, Location, PeerId, PortId};
use tapyard::switch::router::{Action, Chain, Condition, Rule};
use tapyard::table::bindings::Bindings;

#[test]
fn a_packet_refused_behind_the_last_patch_is_forgotten_with_its_batch() {
    // Nine bridges in a row, with ports 0 and 1 at the ends.
    let mut ports = vec![port(), on(8, port())];
    for bridge in 0..8 {
        let near = ports.len() as u16;
        ports.push(on(bridge, patch(near + 1, port())));
        ports.push(on(bridge + 1, patch(near, port())));
    }
    let mut yard = Yard::new(ports);
    let all = (Condition::default(), Rule { counter: 0, action: Action::Reject });
    yard.filter_bridge(8, Chain::new(vec![all], true));
    yard.fdb(8).pin(station(2, 0), Location { port: PortId(1), peer: PeerId::NONE });
    let frame = udp("10.1.0.1:1", "10.1.0.2:2").frame(mac(2), mac(1));
    for _ in 0..3 {
        assert_eq!(yard.send(0, &frame), []);
    }
}

#[test]
fn nobody_behind_a_tag_of_a_customer_is_a_neighbour() {
    let mut yard = between(&Plan::new().on(0, 0, &["10.1.0.254/24"]).on(1, 0, &["10.2.0.254/24"]));
    let frame = udp("10.2.0.9:1", "10.1.0.1:2").frame(gateway(), mac(2));
    yard.send(1, &frame);
    yard.send(0, &arp_reply(1, "10.1.0.1", "10.1.0.254"));
    yard.wait(Duration::from_secs(3));
    assert_eq!(&yard.send(1, &frame)[0].bytes[..6], mac(1).octets());
    for claim in [arp_request(9, "10.1.0.1", "10.1.0.254"), arp_reply(9, "10.1.0.1", "10.1.0.254")] {
        let sent = yard.send(0, &tag(&claim, 0x8100, 10));
        assert_eq!(sent, [], "it is not answered without the tag");
        assert_eq!(&yard.send(1, &frame)[0].bytes[..6], mac(1).octets());
    }
}

#[test]
fn rules_of_a_bridge_do_not_keep_neighbours_from_its_router() {
    let mut yard = Yard::new([port(), port(), on(1, port())]);
    yard.filter_bridge(0, Chain::new(Vec::new(), false));
    plan().run(&mut yard);
    let sent = yard.send(0, &solicitation(1, "fd01::1", "fd01::fe"));
    // Neighbour discovery passes between ports as well, as ARP does.
    assert_eq!(sent.iter().map(|sent| sent.port).collect::<Vec<_>>(), [0, 1], "{sent:02x?}");
}

#[test]
fn errors_of_a_host_behind_a_translated_prefix_come_from_where_it_is_known() {
    let mut yard = Yard::new([port(), kit::gateways::tun()]);
    plan_to_tun().npt(1, "2001:db8:1::/48", "fd01::/48").run(&mut yard);
    let [out] = &send(&mut yard, 0, 1, &ping("fd01::1", "2001:db8:ffff::9", 7))[..] else { panic!("one") };
    let outside = Msg::read(&out.bytes).from.to_string();
    assert!(outside.starts_with("2001:db8:1:"));
    let there = udp("[2001:db8:ffff::9]:5", &format!("[{outside}]:6"));
    let inside = only(yard.send_ip(1, &there.packet()), 0, 1);
    assert_eq!(inside.to.to_string(), "fd01::1");
    let [out] = &send(&mut yard, 0, 1, &error("fd01::1", &inside, 1, 4, 0))[..] else { panic!("one") };
    same(Msg::read(&out.bytes), &error(&outside, &there.hop(), 1, 4, 0).hop());
    // One on the way, too, is known by another address, and so is whom it speaks of.
    let on_the_way = error("fd01::7", &inside, 1, 0, 0);
    let [out] = &send(&mut yard, 0, 1, &on_the_way)[..] else { panic!("one") };
    let found = Msg::read(&out.bytes);
    let from = found.from.to_string();
    assert!(from.starts_with("2001:db8:1:") && from != outside);
    same(found, &error(&from, &there.hop(), 1, 0, 0).hop());
}

#[test]
fn each_router_speaks_of_the_parts_that_it_missed() {
    let mut yard = Yard::new([port(), on(1, port()), on(2, port()), on(3, port())]);
    let one = plan().tracked();
    let other = Plan::new()
        .on(2, 0, &["10.3.0.254/24"])
        .on(3, 0, &["10.4.0.254/24"])
        .knows(0, "10.3.0.1", 3)
        .tracked();
    run_all(&mut yard, &[one, other]);
    let first = |from: &str, to: &str| {
        let mut packet = udp(from, to).len(64).may_be_cut().packet();
        packet[6] |= 0x20;
        finish(&mut packet[..20]);
        packet
    };
    let parts = [(0, 1, "10.1.0.1", "10.2.0.1"), (2, 3, "10.3.0.1", "10.4.0.1")];
    for (port, n, from, to) in parts {
        let packet = first(&format!("{from}:1"), &format!("{to}:2"));
        assert_eq!(yard.send(port, &in_frame(&packet, gateway(), mac(n))), []);
    }
    let sent = yard.wait(Duration::from_secs(31));
    let mut said: Vec<_> = sent.iter().map(|sent| (sent.port, Msg::read(&sent.bytes[14..]))).collect();
    said.sort_by_key(|(port, _)| *port);
    assert_eq!(said.len(), 2, "{said:?}");
    for ((port, found), (by, _, from, to)) in said.into_iter().zip(parts) {
        assert_eq!(port, by);
        let own = if by == 0 { "10.1.0.254" } else { "10.3.0.254" };
        let packet = first(&format!("{from}:1"), &format!("{to}:2"));
        same(found, &error_quoting(own, &udp(&format!("{from}:1"), &format!("{to}:2")), 11, 1, 0, packet));
    }
}

#[test]
fn parts_that_came_in_by_an_interface_that_is_gone_are_counted_as_dropped() {
    let mut yard = between(&plan().tracked());
    let mut packet = udp("10.1.0.1:1", "10.2.0.1:2").len(64).may_be_cut().packet();
    packet[6] |= 0x20;
    finish(&mut packet[..20]);
    assert_eq!(yard.send(0, &in_frame(&packet, gateway(), mac(1))), []);
    run_all(&mut yard, &[]);
    assert_eq!(yard.drops(0), [(DropReason::FragmentTimeout, 1)]);
}

#[test]
fn nobody_is_believed_to_have_an_address_of_the_router() {
    let mut yard = Yard::new([port(), port(), on(1, port())]);
    yard.suppress_neighbors(Bindings::LIMIT);
    plan().run(&mut yard);
    let liar = (mac(9), "10.1.0.254");
    yard.send(1, &is_at((gateway(), "10.1.0.254"), liar));
    yard.send(1, &is_at((mac(1), "10.1.0.1"), liar));
    let sent = yard.send(0, &who_has((mac(1), "10.1.0.1"), "10.1.0.254"));
    let answers: Vec<_> = sent.iter().filter(|sent| sent.port == 0).collect();
    assert_eq!(answers.len(), 1, "{answers:02x?}");
    assert_eq!(answers[0].bytes[22..28], gateway().octets());
}

#[test]
fn an_error_from_within_never_names_an_address_that_nobody_outside_knows() {
    let mut yard = Yard::new([port(), kit::gateways::tun()]);
    plan_to_tun().forward(1, 6, 80..=80, &[("10.1.0.1", 8080)]).run(&mut yard);
    let there = tcp("198.51.100.9:4000", "10.9.0.1:80", SYN, 1, 0);
    let inside = only(yard.send_ip(1, &there.packet()), 0, 1);
    assert_eq!(inside, there.to("10.1.0.1:8080").hop());
    let [out] = &send(&mut yard, 0, 1, &error("10.1.0.7", &inside, 3, 1, 0))[..] else { panic!("one") };
    same(Msg::read(&out.bytes), &error("10.9.0.1", &there.hop(), 3, 1, 0).hop());
}
