//! Neighbours of a router: who is asked for, what waits for it, whom it believes, and what it says of itself.

mod kit;

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use kit::frames::{mac, tag};
use kit::gateways::{error, only, same, send};
use kit::routers::{
    LINK_LOCAL, Msg, Plan, Upper, advertisement, arp, arp_reply, arp_request, gateway, group, in_frame, msg,
    nd, nd_target, ping, solicitation, solicited_node, udp,
};
use kit::{Sent, Yard, access, on, port, trunk};
use tapyard::packet::{DropReason, InterfaceId, Offload};
use tapyard::switch::router::Advertise;
use tapyard::table::neighbors::State;
use tapyard::wire::ethernet::Mac;

const SECOND: Duration = Duration::from_secs(1);

/// Like [`kit::gateways::plan`], but nobody is known.
fn plan() -> Plan {
    Plan::new().on(0, 0, &["10.1.0.254/24", "fd01::fe/64"]).on(1, 0, &["10.2.0.254/24", "fd02::fe/64"])
}

fn yard(plan: &Plan) -> Yard {
    let mut yard = Yard::new([port(), port(), on(1, port())]);
    plan.run(&mut yard);
    yard
}

/// The question by which the router asks its second link for an address.
fn question(target: &str) -> Vec<u8> {
    let from = gateway();
    if target.contains(':') {
        let to = solicited_node(target);
        let own = if target.starts_with("fe80") { LINK_LOCAL } else { "fd02::fe" };
        return nd(own, &to.to_string(), 135, 0, nd_target(target, Some((1, from)))).frame(group(to), from);
    }
    let mut bytes = arp(Mac::BROADCAST, 0, 1, "10.2.0.254", Mac::default(), target);
    bytes[6..12].copy_from_slice(&from.octets());
    bytes[22..28].copy_from_slice(&from.octets());
    bytes
}

/// `bytes` may be filled up to the least length of a frame.
#[track_caller]
fn is(sent: &Sent, port: u16, bytes: &[u8]) {
    assert_eq!((sent.port, sent.offload), (port, Offload::NONE));
    let (head, rest) = sent.bytes.split_at(bytes.len().min(sent.bytes.len()));
    assert_eq!(head, bytes);
    assert!(sent.bytes.len() <= 60.max(bytes.len()) && rest.iter().all(|&byte| byte == 0), "{rest:02x?}");
}

/// Station 2 answers the router for its own address.
fn answer(v6: bool) -> Vec<u8> {
    if v6 { advertisement(2, "fd02::1", "fd02::fe", 0x60) } else { arp_reply(2, "10.2.0.1", "10.2.0.254") }
}

const ENDS: [(bool, &str, &str); 2] = [(false, "10.1.0.1", "10.2.0.1"), (true, "fd01::1", "fd02::1")];

fn numbered(from: &str, to: &str, number: u16) -> Msg {
    msg(from, to, Upper::Udp { from: 1000 + number, to: 53, checked: true }).len(usize::from(number))
}

#[test]
fn packets_wait_for_their_next_hop_and_leave_in_order() {
    for (v6, from, to) in ENDS {
        let mut yard = yard(&plan());
        let sent = send(&mut yard, 0, 1, &numbered(from, to, 0));
        assert_eq!(sent.len(), 1, "one question");
        is(&sent[0], 2, &question(to));
        for number in 1..5 {
            assert_eq!(send(&mut yard, 0, 1, &numbered(from, to, number)), [], "asked already");
        }
        let waiting = yard.counters(0);
        assert_eq!((waiting.replied, waiting.dropped_total()), (5, 0));
        let sent = yard.send(2, &answer(v6));
        assert_eq!(sent.len(), 5);
        for (number, sent) in (0..).zip(&sent) {
            let expected = numbered(from, to, number).hop().frame(mac(2), gateway());
            assert_eq!((sent.port, &sent.bytes), (2, &expected));
        }
        assert_eq!(yard.counters(0).copies, waiting.copies + 5, "each comes back once");
        assert_eq!(yard.counters(2).replied, 1, "the answer is taken");
        assert_eq!(only(send(&mut yard, 0, 1, &numbered(from, to, 9)), 2, 2), numbered(from, to, 9).hop());
    }
}

#[test]
fn the_question_is_asked_three_times_and_then_senders_are_told() {
    for (_, from, to) in ENDS {
        let mut yard = yard(&plan());
        let there = numbered(from, to, 3);
        send(&mut yard, 0, 1, &there);
        send(&mut yard, 0, 1, &there);
        // Where to tell the sender.
        yard.send(
            0,
            &if from.contains(':') {
                solicitation(1, from, "fd01::fe")
            } else {
                arp_request(1, from, "10.1.0.254")
            },
        );
        let before = yard.counters(0);
        for _ in 0..2 {
            let sent = yard.wait(SECOND + SECOND / 10);
            assert_eq!(sent.len(), 1);
            is(&sent[0], 2, &question(to));
        }
        let sent = yard.wait(SECOND);
        // RFC 1812 section 5.2.7.1: host unreachable; RFC 4443 section 3.1: address unreachable.
        let (own, kind, code) = if from.contains(':') { ("fd01::fe", 1, 3) } else { ("10.1.0.254", 3, 1) };
        assert_eq!(sent.len(), 2);
        for sent in sent {
            let Msg { from: source, to: destination, upper, payload, .. } = Msg::read(&sent.bytes[14..]);
            assert_eq!((sent.port, destination, upper), (0, there.from, Upper::Icmp(kind, code, 0)));
            let owns = [own, if from.contains(':') { "fd02::fe" } else { "10.2.0.254" }];
            assert!(owns.contains(&source.to_string().as_str()), "{source}");
            assert_eq!(Msg::read(&payload).upper, there.upper);
        }
        let after = yard.counters(0);
        assert_eq!(after.dropped(DropReason::NoNeighbor), before.dropped(DropReason::NoNeighbor) + 2);
        // What comes soon after is refused at once.
        let sent = send(&mut yard, 0, 1, &there);
        assert_eq!(sent.len(), 1);
        assert_eq!(Msg::read(&sent[0].bytes[14..]).upper, Upper::Icmp(kind, code, 0));
        assert_eq!(
            yard.counters(0).dropped(DropReason::NoNeighbor),
            after.dropped(DropReason::NoNeighbor) + 1
        );
        // And later it is asked again.
        yard.wait(5 * SECOND);
        is(&send(&mut yard, 0, 1, &there)[0], 2, &question(to));
    }
}

#[test]
fn only_so_much_waits() {
    let mut yard = yard(&plan());
    for number in 0..100 {
        send(&mut yard, 0, 1, &numbered("10.1.0.1", "10.2.0.1", number));
    }
    let sent = yard.send(2, &answer(false));
    let ports: Vec<_> = sent.iter().map(|sent| Msg::read(&sent.bytes[14..]).port()).collect();
    assert_eq!(ports, (1092..1100).collect::<Vec<_>>(), "the newest, in order (RFC 4861 section 7.2.2)");
    yard.wait(2 * SECOND);
    assert_eq!(yard.counters(0).dropped(DropReason::NeighborQueue), 92);
}

#[test]
fn a_superframe_waits_as_what_it_is() {
    let mut yard = yard(&plan());
    let there = kit::routers::tcp("10.1.0.1:1", "10.2.0.1:2", kit::routers::ACK, 1, 1).len(20_000);
    let (frame, offload) =
        kit::frames::unfinished(there.frame(gateway(), mac(1)), false, kit::frames::L4::Tcp, 1400);
    let (expected, _) =
        kit::frames::unfinished(there.hop().frame(mac(2), gateway()), false, kit::frames::L4::Tcp, 1400);
    assert_eq!(yard.send_with(0, &frame, offload).len(), 1);
    assert_eq!(yard.send(2, &answer(false)), [Sent { port: 2, bytes: expected, offload }]);
}

#[test]
fn own_addresses_are_answered_for_and_no_others() {
    let mut yard = yard(&plan());
    let sent = yard.send(0, &arp_request(1, "10.1.0.1", "10.1.0.254"));
    // To all, so the other port has it, too; and the answer, to who asked.
    assert_eq!(sent.len(), 2);
    let mut expected = arp(mac(1), 0, 2, "10.1.0.254", mac(1), "10.1.0.1");
    expected[6..12].copy_from_slice(&gateway().octets());
    expected[22..28].copy_from_slice(&gateway().octets());
    is(&sent[0], 0, &expected);
    for other in ["10.1.0.1", "10.1.0.7", "10.2.0.254", "10.2.0.1"] {
        assert_eq!(yard.send(0, &arp_request(1, "10.1.0.1", other)).len(), 1, "{other}");
    }
    // Whom it has heard ask, it need not ask.
    let back = udp("10.2.0.1:1", "10.1.0.1:2");
    assert_eq!(only(send(&mut yard, 2, 2, &back), 0, 1), back.hop());

    for own in ["fd01::fe", LINK_LOCAL] {
        for from in ["fd01::1", "fe80::1"] {
            let sent = yard.send(0, &solicitation(1, from, own));
            assert_eq!(sent.len(), 2);
            let flags = 0xe000_0000; // a router, solicited, override
            let expected =
                nd(own, from, 136, flags, nd_target(own, Some((2, gateway())))).frame(mac(1), gateway());
            is(&sent[0], 0, &expected);
        }
    }
    for other in ["fd01::1", "fd01::7", "fd02::fe"] {
        assert_eq!(yard.send(0, &solicitation(1, "fd01::1", other)).len(), 1, "{other}");
    }
}

#[test]
fn who_is_about_to_take_an_own_address_is_told() {
    let mut yard = yard(&plan());
    // RFC 5227 section 2.1.1: a probe comes from 0.0.0.0, and teaches nothing.
    let sent = yard.send(0, &arp_request(1, "0.0.0.0", "10.1.0.254"));
    assert_eq!((sent.len(), sent[0].port), (2, 0));
    assert_eq!(sent[0].bytes[..6], mac(1).octets());
    assert_eq!(sent[0].bytes[20..32], [&[0, 2][..], &gateway().octets(), &[10, 1, 0, 254]].concat());
    // RFC 4862 section 5.4.3, RFC 4861 section 7.2.4: to all nodes, not solicited.
    let sent = yard.send(0, &solicitation(1, "::", "fd01::fe"));
    let expected = nd("fd01::fe", "ff02::1", 136, 0xa000_0000, nd_target("fd01::fe", Some((2, gateway()))));
    let all = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    let to_asker: Vec<_> = sent.iter().filter(|sent| sent.port == 0).collect();
    assert_eq!(to_asker.len(), 1);
    is(to_asker[0], 0, &expected.frame(all, gateway()));
    assert_eq!(yard.events().len(), 0);
}

#[test]
fn spoofed_claims_are_refused_and_teach_nothing() {
    let plan = plan();
    let mut yard = yard(&plan);
    yard.foresees = false;
    let nothing_known = || plan.neighbors.entries().is_empty();
    // The first is contradicted, so that nobody believes it for long; the others come too soon after.
    let claim = arp_request(6, "10.1.0.254", "10.1.0.254");
    let defended = |yard: &mut Yard| {
        let sent = yard.send(0, &claim);
        sent.iter().any(|sent| sent.port == 0 && sent.bytes[22..28] == gateway().octets())
    };
    assert!(defended(&mut yard) && !defended(&mut yard));
    for (frame, what) in [
        (arp(gateway(), 6, 2, "10.1.0.254", gateway(), "10.1.0.254"), "the router's own address"),
        (arp(gateway(), 6, 1, "10.1.0.254", Mac::default(), "10.1.0.254"), "the same as a question"),
        (arp(gateway(), 6, 1, "10.2.0.1", Mac::default(), "10.1.0.254"), "of another link"),
        (arp(gateway(), 6, 2, "8.8.8.8", gateway(), "10.1.0.254"), "of no link"),
        (arp(gateway(), 6, 1, "255.255.255.255", Mac::default(), "10.1.0.254"), "everybody's"),
        (arp(gateway(), 6, 1, "224.0.0.1", Mac::default(), "10.1.0.254"), "a group's"),
        (arp(gateway(), 6, 1, "10.1.0.1", Mac::default(), "10.1.0.254")[..40].to_vec(), "cut off"),
        (
            {
                let mut bytes = arp(gateway(), 6, 1, "10.1.0.1", Mac::default(), "10.1.0.254");
                bytes[22..28].copy_from_slice(&gateway().octets());
                bytes
            },
            "the router's MAC address",
        ),
        (
            {
                let mut bytes = arp(gateway(), 6, 1, "10.1.0.1", Mac::default(), "10.1.0.254");
                bytes[22..28].fill(0xff);
                bytes
            },
            "the MAC address of all",
        ),
        (advertisement(6, "fd01::fe", "fd01::fe", 0x60), "the router's own address"),
        (
            nd("fd01::fe", "fd01::fe", 135, 0, nd_target("fd01::fe", Some((1, mac(6)))))
                .frame(gateway(), mac(6)),
            "a question from the router's own address",
        ),
        (
            nd("fd01::1", "fd01::fe", 135, 0, nd_target("fd01::fe", Some((1, gateway()))))
                .frame(gateway(), mac(6)),
            "the router's MAC address",
        ),
        (
            nd("fd01::1", "fd01::fe", 135, 0, nd_target("fd01::fe", Some((1, mac(6)))))
                .ttl(254)
                .frame(gateway(), mac(6)),
            "from behind a router",
        ),
        (
            nd("fd01::1", "fd01::fe", 135, 0, nd_target("fd01::fe", Some((1, Mac::BROADCAST))))
                .frame(gateway(), mac(6)),
            "the MAC address of all",
        ),
    ] {
        let reason = yard.refused(0, &frame, Offload::NONE);
        assert!(matches!(reason, DropReason::NeighborMessage | DropReason::Martian), "{what}: {reason:?}");
        assert!(nothing_known(), "{what}");
    }
    yard.wait(Duration::from_secs(10));
    assert!(defended(&mut yard));
    // Who asks from another network is answered at most, and not believed.
    yard.send(0, &solicitation(6, "fd02::1", "fd01::fe"));
    assert!(nothing_known());
    // Nor is anybody known by what nobody asked.
    yard.send(0, &arp_reply(6, "10.1.0.1", "10.1.0.254"));
    yard.send(0, &arp_request(6, "10.1.0.1", "10.1.0.1"));
    yard.send(0, &advertisement(6, "fd01::1", "fd01::fe", 0x60));
    assert!(nothing_known(), "{:?}", plan.neighbors.entries());
}

#[test]
fn what_is_in_a_tag_of_nobodys_is_no_neighbours_word() {
    let plan = plan();
    let mut yard = yard(&plan);
    for frame in [arp_request(1, "10.1.0.1", "10.1.0.254"), solicitation(1, "fd01::1", "fd01::fe")] {
        for tpid in [0x8100, 0x88a8] {
            // Bridge 0 knows no VLANs: this is one of somebody else's.
            let sent = yard.send(0, &tag(&frame, tpid, 10));
            assert_eq!(sent.iter().map(|sent| sent.port).collect::<Vec<_>>(), [1]);
            let mut direct = frame.clone();
            direct[..6].copy_from_slice(&gateway().octets());
            assert_eq!(yard.send(0, &tag(&direct, tpid, 10)), []);
        }
    }
    assert_eq!(plan.neighbors.entries(), []);

    let vlan = Plan::new().on(0, 10, &["10.1.0.254/24", "fd01::fe/64"]);
    let mut yard = Yard::new([access(10), trunk(&[10], None), access(20)]);
    vlan.run(&mut yard);
    for frame in [arp_request(1, "10.1.0.1", "10.1.0.254"), solicitation(1, "fd01::1", "fd01::fe")] {
        // Of another VLAN; and of this one with another tag inside.
        assert_eq!(yard.goes(2, &frame), Vec::<u16>::new());
        let sent = yard.send(1, &tag(&tag(&frame, 0x8100, 99), 0x8100, 10));
        assert_eq!(sent.iter().map(|sent| sent.port).collect::<Vec<_>>(), [0]);
        assert_eq!(vlan.neighbors.entries(), []);
    }
    for frame in [arp_request(1, "10.1.0.1", "10.1.0.254"), solicitation(1, "fd01::1", "fd01::fe")] {
        let sent = yard.send(1, &tag(&frame, 0x8100, 10));
        assert_eq!(
            sent.iter().map(|sent| sent.port).collect::<Vec<_>>(),
            [0, 1],
            "to the other, and the answer"
        );
        assert_eq!(sent[1].bytes[12..16], [0x81, 0, 0, 10], "which has the tag of the port");
    }
    assert_eq!(vlan.neighbors.entries().len(), 2);
}

#[test]
fn a_claim_brings_up_to_date_what_is_known() {
    let mut yard = yard(&plan());
    let there = numbered("10.1.0.1", "10.2.0.1", 0);
    send(&mut yard, 0, 1, &there);
    yard.send(2, &answer(false));
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 2), there.hop());
    // Gratuitous ARP of one who took over (RFC 5227 section 4): at once, also for a flow that is cached.
    yard.send(2, &arp_request(3, "10.2.0.1", "10.2.0.1"));
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 3), there.hop());
    let there = numbered("fd01::1", "fd02::1", 0);
    send(&mut yard, 0, 1, &there);
    yard.send(2, &answer(true));
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 2), there.hop());
    let unsolicited = |n, flags: u32| {
        nd("fd02::1", "ff02::1", 136, flags << 24, nd_target("fd02::1", Some((2, mac(n)))))
            .frame(Mac::new([0x33, 0x33, 0, 0, 0, 1]), mac(n))
    };
    // RFC 4861 section 7.2.5: without the override flag it does not replace what is known.
    yard.send(2, &unsolicited(4, 0));
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 2), there.hop());
    yard.send(2, &unsolicited(4, 0x20));
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 4), there.hop());
}

#[test]
fn links_are_told_of_addresses_at_the_start() {
    let mut yard = Yard::new([port(), on(1, port())]);
    let sent = plan().run(&mut yard);
    let own = gateway();
    let mut gratuitous = arp(Mac::BROADCAST, 0, 1, "10.1.0.254", Mac::default(), "10.1.0.254");
    gratuitous[6..12].copy_from_slice(&own.octets());
    gratuitous[22..28].copy_from_slice(&own.octets());
    let all = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    let unsolicited = |address: &str| {
        nd(address, "ff02::1", 136, 0xa000_0000, nd_target(address, Some((2, own)))).frame(all, own)
    };
    let first: Vec<_> = sent.iter().filter(|sent| sent.port == 0).collect();
    assert_eq!(first.len(), 3);
    is(first[0], 0, &gratuitous);
    is(first[1], 0, &unsolicited("fd01::fe"));
    is(first[2], 0, &unsolicited(LINK_LOCAL));
    assert_eq!(sent.len(), 6);
    // Once; and of a new address, that only.
    assert_eq!(plan().run(&mut yard), []);
    let more = Plan::new().on(0, 0, &["10.1.0.254/24", "10.1.0.253/24", "fd01::fe/64"]).on(
        1,
        0,
        &["10.2.0.254/24", "fd02::fe/64"],
    );
    let sent = more.run(&mut yard);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].bytes[28..32], [10, 1, 0, 253]);
}

#[test]
fn a_running_flow_never_waits_again() {
    for (v6, from, to) in ENDS {
        let plan = plan();
        let mut yard = yard(&plan);
        send(&mut yard, 0, 1, &numbered(from, to, 0));
        yard.send(2, &answer(v6));
        let mut asked = 0;
        for step in 0..1200u16 {
            let probes = yard.wait(SECOND / 4);
            for probe in &probes {
                if probe.port != 2 {
                    continue;
                }
                asked += 1;
                assert_eq!(probe.bytes[..6], mac(2).octets(), "by unicast");
                yard.send(2, &answer(v6));
            }
            let there = numbered(from, to, step % 1000);
            assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 2), there.hop(), "{step}");
        }
        assert!((3..40).contains(&asked), "{asked} questions in five minutes");
        assert_eq!(yard.drops(0), []);
    }
}

#[test]
fn one_who_left_is_noticed_and_the_flow_fails() {
    let plan = plan();
    let mut yard = yard(&plan);
    let there = numbered("10.1.0.1", "10.2.0.1", 0);
    yard.send(0, &arp_request(1, "10.1.0.1", "10.1.0.254"));
    send(&mut yard, 0, 1, &there);
    yard.send(2, &answer(false));
    let mut failed = false;
    for _ in 0..400 {
        yard.wait(SECOND / 4);
        let sent = send(&mut yard, 0, 1, &there);
        failed |= sent.iter().any(|sent| sent.port == 0);
    }
    assert!(failed, "told that the host is unreachable");
    assert!(yard.counters(0).dropped(DropReason::NoNeighbor) > 0);
    let at = InterfaceId(1);
    let state =
        plan.neighbors.entries().into_iter().find(|(id, ..)| *id == at).map(|(.., entry)| entry.state);
    assert!(matches!(state, None | Some(State::Failed | State::Incomplete)), "{state:?}");
}

#[test]
fn a_change_of_ports_does_not_forget_neighbours() {
    let mut yard = yard(&plan());
    let there = numbered("10.1.0.1", "10.2.0.1", 0);
    send(&mut yard, 0, 1, &there);
    yard.send(2, &answer(false));
    yard.change(|ports| ports[1] = None);
    assert_eq!(only(send(&mut yard, 0, 1, &there), 2, 2), there.hop());
}

#[test]
fn what_waited_for_an_interface_that_is_gone_is_counted() {
    let plan = plan();
    let mut yard = yard(&plan);
    send(&mut yard, 0, 1, &numbered("10.1.0.1", "10.2.0.1", 0));
    let mut less = plan.clone();
    less.links.truncate(1);
    less.neighbors.retain_interfaces(|id| id.0 == 0);
    less.run(&mut yard);
    yard.wait(10 * SECOND);
    assert_eq!(yard.counters(0).dropped_total(), 1);
}

#[test]
fn next_hops_may_be_link_local() {
    let plan = plan().via("2001:db8::/32", &[(1, "fe80::9")]);
    let mut yard = yard(&plan);
    let there = msg("fd01::1", "2001:db8::8", Upper::Udp { from: 1, to: 2, checked: true });
    let sent = send(&mut yard, 0, 1, &there);
    assert_eq!(sent.len(), 1);
    is(&sent[0], 2, &question("fe80::9"));
    let sent = yard.send(2, &advertisement(9, "fe80::9", LINK_LOCAL, 0xe0));
    assert_eq!(only(sent, 2, 9), there.hop());
}

#[test]
fn link_local_addresses_of_the_router_answer_pings() {
    let mut yard = yard(&plan());
    yard.send(0, &solicitation(1, "fe80::1", LINK_LOCAL));
    let request = ping("fe80::1", LINK_LOCAL, 5);
    same(only(send(&mut yard, 0, 1, &request), 0, 1), &request.back().ttl(64));
    // And where they ping from a link-local address, errors are for them alone.
    let closed = msg("fe80::1", LINK_LOCAL, Upper::Udp { from: 1, to: 2, checked: true });
    same(only(send(&mut yard, 0, 1, &closed), 0, 1), &error(LINK_LOCAL, &closed, 1, 4, 0));
}

// -- Router advertisements

fn advertised() -> Plan {
    let what = Advertise {
        lifetime: Duration::from_secs(1800),
        interval: Duration::from_secs(200),
        prefixes: vec![(kit::routers::address("fd01::"), 64)],
        dns: vec![kit::routers::address("fd01::53")],
        managed: false,
        other: true,
    };
    let mut plan = plan();
    plan.links[0].advertise = Some(Arc::new(what));
    plan.links[0].mtu = 1400;
    plan
}

/// Reads a router advertisement for all nodes: what is fixed, and options by type.
fn read_advertisement(sent: &Sent) -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
    assert_eq!((sent.port, &sent.bytes[..6]), (0, &[0x33, 0x33, 0, 0, 0, 1][..]));
    let msg = Msg::read(&sent.bytes[14..]);
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    assert_eq!((msg.from.to_string().as_str(), msg.to, msg.ttl), (LINK_LOCAL, all.into(), 255));
    let Upper::Icmp(134, 0, rest) = msg.upper else { panic!("{msg:?}") };
    let mut options = Vec::new();
    let mut at = 8;
    while at < msg.payload.len() {
        let len = usize::from(msg.payload[at + 1]) * 8;
        options.push((msg.payload[at], msg.payload[at + 2..at + len].to_vec()));
        at += len;
    }
    ([&rest.to_be_bytes(), &msg.payload[..8]].concat(), options)
}

#[test]
fn hosts_are_told_what_they_need() {
    let mut yard = Yard::new([port(), on(1, port())]);
    let sent = advertised().run(&mut yard);
    let found: Vec<_> =
        sent.iter().filter(|sent| sent.port == 0 && sent.bytes.get(54) == Some(&134)).collect();
    assert_eq!(found.len(), 1);
    let (fixed, options) = read_advertisement(found[0]);
    // RFC 4861 section 4.2: hop limit, flags (O), lifetime, and two times that are not said.
    assert_eq!(fixed, [64, 0x40, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
    let option = |kind: u8| {
        let mut found = options.iter().filter(|(number, _)| *number == kind);
        let (_, bytes) = found.next().unwrap_or_else(|| panic!("option {kind}"));
        assert!(found.next().is_none());
        bytes.clone()
    };
    assert_eq!(option(1), gateway().octets());
    assert_eq!(option(5), [0, 0, 0, 0, 0x05, 0x78]);
    let prefix = option(3);
    assert_eq!(prefix[..2], [64, 0xc0], "on link, and for addresses");
    let times = |at: usize| u32::from_be_bytes(prefix[at..at + 4].try_into().unwrap());
    assert!(times(2) >= times(6) && times(6) > 0, "valid at least as long as preferred");
    assert_eq!(prefix[14..], "fd01::".parse::<Ipv6Addr>().unwrap().octets());
    let dns = option(25);
    assert!(u32::from_be_bytes(dns[2..6].try_into().unwrap()) >= 200);
    assert_eq!(dns[6..], "fd01::53".parse::<Ipv6Addr>().unwrap().octets());
}

#[test]
fn they_are_told_at_intervals_and_when_they_ask() {
    let mut yard = Yard::new([port(), on(1, port())]);
    advertised().run(&mut yard);
    yard.foresees = false;
    let told = |sent: &[Sent]| sent.iter().filter(|sent| sent.bytes.get(54) == Some(&134)).count();
    let mut count = 0;
    for _ in 0..2000 {
        count += told(&yard.wait(SECOND));
    }
    // RFC 4861 section 6.2.1: between a third of the longest interval and that.
    assert!((10..=31).contains(&count), "{count}");
    let all_routers = Mac::new([0x33, 0x33, 0, 0, 0, 2]);
    let ask = |from: &str| nd(from, "ff02::2", 133, 0, vec![]).frame(all_routers, mac(1));
    yard.wait(4 * SECOND);
    let sent = yard.send(0, &ask("fe80::1"));
    let soon = yard.wait(SECOND);
    assert_eq!(told(&sent) + told(&soon), 1);
    // RFC 4861 section 6.2.6: no more often than every three seconds, however many ask.
    let mut count = 0;
    for _ in 0..30 {
        count += told(&yard.send(0, &ask("::")));
        count += told(&yard.wait(SECOND / 10));
    }
    assert!(count <= 1, "{count}");
    assert_eq!(told(&yard.send(1, &ask("fe80::2"))), 0, "the other interface has nothing to say");
}

#[test]
fn what_is_no_packet_at_all_hurts_nobody() {
    let mut yard = yard(&plan());
    for frame in
        [arp_request(1, "10.1.0.1", "10.1.0.254"), solicitation(1, "fd01::1", "fd01::fe"), answer(true)]
    {
        for len in 0..frame.len() {
            yard.send(0, &frame[..len]);
        }
    }
    yard.send(0, &in_frame(&[], gateway(), mac(1)));
}

#[test]
fn a_bridge_that_suppresses_leaves_the_router_its_addresses() {
    for (v6, from, own) in [(false, "10.1.0.1", "10.1.0.254"), (true, "fd01::1", "fd01::fe")] {
        let mut yard = Yard::new([port(), port(), on(1, port())]);
        yard.suppress_neighbors(64);
        plan().run(&mut yard);
        // Station 3 says that it has the router's address, and gets no questions for it.
        let all = Ipv6Addr::from_bits(0xff02 << 112 | 1);
        let (claim, question) = match v6 {
            true => (
                nd(own, "ff02::1", 136, 0xa0 << 24, nd_target(own, Some((2, mac(3)))))
                    .frame(group(all), mac(3)),
                solicitation(1, from, own),
            ),
            false => (arp(Mac::BROADCAST, 3, 2, own, mac(3), own), arp_request(1, from, own)),
        };
        yard.send(1, &claim);
        let sent = yard.send(0, &question);
        let answer = sent.iter().find(|sent| sent.port == 0).expect("an answer");
        assert_eq!(&answer.bytes[6..12], &gateway().octets()[..], "{sent:02x?}");
        assert_eq!(sent.iter().filter(|sent| sent.port == 0).count(), 1, "{sent:02x?}");
    }
}
