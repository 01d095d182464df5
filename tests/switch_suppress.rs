//! Neighbour suppression: what a bridge answers itself, what it must not, and from what it learns.

mod kit;

use std::time::Duration;

use etherparse::{
    EtherType, Icmpv6Header, Icmpv6Type, LaxPacketHeaders, NetHeaders, PacketHeaders, PayloadSlice,
    TransportHeader,
};
use kit::frames::{dot1q, mac, tag, unicast};
use kit::messages::*;
use kit::tunnels::{in_vxlan, over_vxlan, vxlan_port};
use kit::{Yard, access, on, patch, port, trunk};
use proptest::prelude::*;
use proptest::{collection, sample};
use tapyard::packet::{DropReason, Offload, PortId};
use tapyard::switch::Port;
use tapyard::switch::mode::Apart;
use tapyard::table::bindings::Bindings;
use tapyard::table::fdb::{Allowance, Station};
use tapyard::wire::ethernet::Mac;

/// Station 1 asks, station 2 is asked for.
const A: &str = "10.9.0.1";
const B: &str = "10.9.0.2";
const A_V6: &str = "fd00:9::1";
const B_V6: &str = "fd00:9::2";

fn a() -> (Mac, &'static str) {
    (mac(1), A)
}

fn b() -> (Mac, &'static str) {
    (mac(2), B)
}

fn a_v6() -> (Mac, &'static str) {
    (mac(1), A_V6)
}

fn b_v6() -> (Mac, &'static str) {
    (mac(2), B_V6)
}

fn suppressing(ports: impl IntoIterator<Item = Port>) -> Yard {
    let mut yard = Yard::new(ports);
    yard.suppress_neighbors(Bindings::LIMIT);
    yard
}

/// Three ports, behind the second of which station 2 has announced both its addresses.
fn yard() -> Yard {
    let mut yard = suppressing([port(), port(), port()]);
    announce(&mut yard, 1);
    yard
}

fn announce(yard: &mut Yard, port: u16) {
    yard.send(port, &is_at((Mac::BROADCAST, B), b()));
    yard.send(port, &is_at_v6((Mac::new([0x33, 0x33, 0, 0, 0, 1]), "ff02::1"), b_v6(), 0xa0));
}

/// Asserts that a frame that comes in by `port` is answered with `answer`, and gets to nobody.
#[track_caller]
fn answered(yard: &mut Yard, port: u16, request: &[u8], answer: &[u8]) {
    let before = yard.counters(port);
    let sent = yard.send(port, request);
    let sent: Vec<_> = sent.iter().map(|sent| (sent.port, &sent.bytes[..], sent.offload)).collect();
    assert_eq!(sent, [(port, answer, Offload::NONE)]);
    let after = yard.counters(port);
    assert_eq!((after.replied, after.copies), (before.replied + 1, before.copies + 1));
}

#[test]
fn a_request_for_a_known_address_is_answered_and_not_flooded() {
    let mut yard = yard();
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    // Again, as often as it is asked.
    answered(&mut yard, 2, &who_has((mac(3), "10.9.0.3"), B), &is_at((mac(3), "10.9.0.3"), b()));
    // Not what the bridge does not know, nor another kind of question.
    assert_eq!(yard.goes(0, &who_has(a(), "10.9.0.9")), [1, 2]);
    assert_eq!(yard.goes(0, &ether(Mac::BROADCAST, mac(1), ARP, &arp(8, a(), b()))), [1, 2]);
    // A station that asks another whether it is still there asks itself.
    assert_eq!(yard.goes(0, &ether(mac(2), mac(1), ARP, &arp(1, a(), b()))), [1]);
}

#[test]
fn a_solicitation_is_answered_as_its_holder_would() {
    let mut yard = yard();
    let solicitation = who_has_v6(a_v6(), B_V6);
    // It had announced itself as a router, and to override.
    let expected = is_at_v6(a_v6(), b_v6(), 0xe0);
    answered(&mut yard, 0, &solicitation, &expected);
    let headers = PacketHeaders::from_ethernet_slice(&expected).unwrap();
    let (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Icmpv6(icmp))) =
        (headers.net, headers.transport)
    else {
        panic!("{expected:02x?}")
    };
    let PayloadSlice::Icmpv6(payload) = headers.payload else { panic!("{expected:02x?}") };
    assert_eq!(ip.hop_limit, 255);
    let Icmpv6Type::NeighborAdvertisement(flags) = icmp.icmp_type else { panic!("{icmp:?}") };
    assert!(flags.router && flags.solicited && flags.r#override);
    let again = Icmpv6Header::with_checksum(icmp.icmp_type, ip.source, ip.destination, payload).unwrap();
    assert_eq!(icmp.checksum, again.checksum);

    yard.send(1, &is_at_v6(a_v6(), b_v6(), 0x40));
    answered(&mut yard, 0, &solicitation, &is_at_v6(a_v6(), b_v6(), 0x40));
    assert_eq!(yard.goes(0, &who_has_v6(a_v6(), "fd00:9::9")), [1, 2]);
}

#[test]
fn probes_and_announcements_are_never_kept_from_anybody() {
    let mut yard = yard();
    let group = Mac::new([0x33, 0x33, 0xff, 0, 0, 2]);
    let detection = icmpv6(("::", "ff02::1:ff00:2"), &solicitation(B_V6, &[]));
    for flooded in [
        who_has((mac(1), "0.0.0.0"), B),
        who_has((mac(1), B), B),
        is_at((Mac::BROADCAST, B), (mac(1), B)),
        ether(group, mac(1), IPV6, &detection),
        is_at_v6((Mac::new([0x33, 0x33, 0, 0, 0, 1]), "ff02::1"), (mac(1), B_V6), 0x20),
    ] {
        assert_eq!(yard.goes(0, &flooded), [1, 2], "{flooded:02x?}");
    }
}

#[test]
fn who_asks_with_anothers_address_makes_it_doubtful() {
    let mut yard = yard();
    // Station 3 uses what station 2 has announced: who has it, is for its holder to say.
    assert_eq!(yard.goes(2, &who_has((mac(3), B), "10.9.0.9")), [0, 1]);
    assert_eq!(yard.goes(0, &who_has(a(), B)), [1, 2]);
    assert_eq!(yard.goes(2, &who_has_v6((mac(3), B_V6), "fd00:9::9")), [0, 1]);
    assert_eq!(yard.goes(0, &who_has_v6(a_v6(), B_V6)), [1, 2]);
    announce(&mut yard, 1);
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
}

#[test]
fn a_binding_ages_unless_its_holder_confirms_it() {
    let mut yard = yard();
    yard.wait(Duration::from_secs(59));
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    // In asking for others it confirms its own; not so for the version it does not use.
    yard.send(1, &who_has(b(), "10.9.0.9"));
    yard.wait(Duration::from_secs(59));
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    assert_eq!(yard.goes(0, &who_has_v6(a_v6(), B_V6)), [1, 2]);
    yard.wait(Duration::from_secs(1));
    assert_eq!(yard.goes(0, &who_has(a(), B)), [1, 2], "to be asked itself");
}

#[test]
fn a_holder_that_the_fdb_does_not_know_is_not_answered_for() {
    let mut yard = yard();
    yard.fdb(0).remove(Station::new(mac(2), 0));
    assert_eq!(yard.goes(0, &who_has(a(), B)), [1, 2]);
    yard.send(1, &unicast(1, 2));
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
}

#[test]
fn a_host_that_moves_is_followed() {
    let mut yard = yard();
    // To another port …
    yard.send(2, &unicast(1, 2));
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    answered(&mut yard, 1, &who_has(a(), B), &is_at(a(), b()));
    assert_eq!(yard.goes(2, &who_has((mac(3), "10.9.0.3"), B)), [0, 1], "it is on the asker's own segment");
    // … and its address to another station.
    yard.send(1, &who_has((mac(4), B), B));
    yard.send(0, &unicast(9, 1));
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), (mac(4), B)));
}

#[test]
fn who_could_not_be_reached_does_not_answer() {
    let isolated = || Port { apart: Apart::ISOLATED, ..port() };
    let mut yard = suppressing([isolated(), isolated(), port()]);
    announce(&mut yard, 1);
    assert_eq!(yard.goes(0, &who_has(a(), B)), [2]);
    answered(&mut yard, 2, &who_has((mac(3), "10.9.0.3"), B), &is_at((mac(3), "10.9.0.3"), b()));
}

#[test]
fn vlans_know_nothing_of_one_another() {
    let mut yard = suppressing([access(10), access(10), access(20), trunk(&[10, 20], None)]);
    announce(&mut yard, 1);
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    assert_eq!(yard.goes(2, &who_has(a(), B)), [3]);
    // Over a trunk, in the tag that the request had, its priority included.
    answered(&mut yard, 3, &dot1q(&who_has(a(), B), 0xa00a), &dot1q(&is_at(a(), b()), 0xa00a));
    answered(
        &mut yard,
        3,
        &dot1q(&who_has_v6(a_v6(), B_V6), 10),
        &dot1q(&is_at_v6(a_v6(), b_v6(), 0xe0), 10),
    );
    assert_eq!(yard.goes(3, &dot1q(&who_has(a(), B), 20)), [2]);
    // A priority tag is taken off, and put on nothing.
    answered(&mut yard, 0, &dot1q(&who_has(a(), B), 0xe000), &is_at(a(), b()));
    // What is behind a customer's tag is the customer's.
    assert_eq!(yard.goes(3, &dot1q(&dot1q(&who_has(a(), B), 10), 10)), [0, 1]);
    yard.send(3, &dot1q(&tag(&is_at((Mac::BROADCAST, "10.9.0.7"), (mac(7), "10.9.0.7")), 0x88a8, 5), 10));
    assert_eq!(yard.goes(0, &who_has(a(), "10.9.0.7")), [1, 3]);
}

#[test]
fn nothing_is_learned_from_who_speaks_for_another() {
    let mut yard = suppressing([port(), port(), Port { learning: false, ..port() }]);
    let to_all = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    let with = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = is_at_v6((to_all, "ff02::1"), b_v6(), 0x20);
        edit(&mut bytes);
        bytes
    };
    let no_option = icmpv6((B_V6, "ff02::1"), &advertisement(B_V6, 0x20, &[]));
    for (from, message) in [
        (1, ether(Mac::BROADCAST, mac(3), ARP, &arp(2, b(), (Mac::BROADCAST, B)))),
        (1, ether(Mac::BROADCAST, mac(2), ARP, &arp(2, (mac(2), "0.0.0.0"), a()))),
        (1, is_at((Mac::BROADCAST, "239.0.0.1"), (mac(2), "239.0.0.1"))),
        (1, who_has(b(), "10.9.0.9")),
        (1, with(|bytes| bytes[11] = 9)),  // another Ethernet source
        (1, with(|bytes| bytes[21] = 64)), // has crossed a router
        (1, with(|bytes| bytes[55] = 1)),  // a code, and so a wrong checksum
        (1, with(|bytes| bytes[56] ^= 1)), // a wrong checksum
        (1, ether(to_all, mac(2), IPV6, &no_option)),
        (2, is_at((Mac::BROADCAST, B), b())), // learning is off
        (2, with(|_| {})),
    ] {
        yard.send(from, &message);
        assert_eq!(yard.bindings.as_ref().map(|table| table.len()), Some(0), "{message:02x?}");
    }
    // Nor from a station that a static entry has elsewhere.
    yard.fdb(0).pin(Station::new(mac(2), 0), PortId(0));
    yard.send(1, &is_at((Mac::BROADCAST, B), b()));
    assert_eq!(yard.bindings.as_ref().map(|table| table.len()), Some(0));
}

#[test]
fn a_question_that_is_cut_off_is_not_answered() {
    let mut yard = yard();
    for request in [who_has(a(), B), who_has_v6(a_v6(), B_V6)] {
        for len in 14..request.len() {
            assert_eq!(yard.goes(0, &request[..len]), [1, 2], "{len} bytes");
        }
        // Padding belongs to no message.
        let padded = [&request[..], &[0; 18]].concat();
        assert_eq!(yard.goes(0, &padded), [0]);
    }
}

#[test]
fn requests_for_what_is_known_enter_no_tunnel() {
    let tunnel = vxlan_port(100, 3, &[1, 2]);
    let mut yard = suppressing(over_vxlan(vec![port(), port(), tunnel]));
    announce(&mut yard, 1);
    yard.posted();
    answered(&mut yard, 0, &who_has(a(), B), &is_at(a(), b()));
    assert_eq!(yard.posted(), []);
    // Who asks through it is answered through it, and nobody else hears of that.
    assert_eq!(yard.hear(3, 2, in_vxlan(100, &who_has((mac(8), "10.9.0.8"), B))), []);
    let posted = yard.posted();
    let answer = in_vxlan(100, &is_at((mac(8), "10.9.0.8"), b()));
    assert_eq!(posted.iter().map(|p| (p.peer, &p.bytes)).collect::<Vec<_>>(), [(1, &answer)]);
    // A far host that answered through it is known, to those here and, where its horizon is split, not to its peers.
    yard.hear(3, 1, in_vxlan(100, &is_at((Mac::BROADCAST, "10.9.0.7"), (mac(7), "10.9.0.7"))));
    answered(&mut yard, 0, &who_has(a(), "10.9.0.7"), &is_at(a(), (mac(7), "10.9.0.7")));
    assert_eq!(yard.posted(), []);
    let asked = yard.hear(3, 2, in_vxlan(100, &who_has((mac(8), "10.9.0.8"), "10.9.0.7")));
    assert_eq!((asked.len(), yard.posted()), (2, vec![]), "flooded to the ports alone");
}

#[test]
fn an_answer_crosses_a_patch() {
    let ports = [port(), patch(2, port()), patch(1, on(1, port())), on(1, port())];
    let mut yard = suppressing(ports);
    announce(&mut yard, 0);
    let sent = yard.send(3, &who_has(a(), B));
    assert_eq!(
        sent.iter().map(|sent| (sent.port, sent.bytes.clone())).collect::<Vec<_>>(),
        [(3, is_at(a(), b()))]
    );
    let (asked, crossed) = (yard.counters(1), yard.counters(2));
    assert_eq!((asked.replied, asked.copies), (1, 1));
    // Behind the two announcements.
    assert_eq!((asked.tx_frames, crossed.rx_frames), (3, 3));
}

#[test]
fn a_batch_of_questions_is_answered_each() {
    let mut yard = yard();
    let questions: Vec<_> =
        (0..32).map(|n| (who_has((mac(100 + n), "10.9.0.50"), B), Offload::NONE)).collect();
    let sent = yard.send_all(0, 0, &questions);
    let expected: Vec<_> = (0..32).map(|n| is_at((mac(100 + n), "10.9.0.50"), b())).collect();
    assert_eq!(sent.into_iter().map(|sent| sent.bytes).collect::<Vec<_>>(), expected);
}

#[test]
fn a_flood_of_claims_costs_who_sends_it() {
    let trusted = Port { allowance: Allowance { limit: None, quota: 4096 }, ..port() };
    let mut yard = Yard::new([port(), trusted, port()]);
    yard.suppress_neighbors(64);
    let claim = |n: u32, mac| {
        let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 0xff, n & 0xff);
        is_at((Mac::BROADCAST, &address), (mac, &address))
    };
    (1..=16).for_each(|n| drop(yard.send(0, &claim(n, mac(1)))));
    (101..=132).for_each(|n| drop(yard.send(1, &claim(n, mac(2)))));
    (0x10000..0x11000).for_each(|n| drop(yard.send(2, &claim(n, mac(3)))));
    let table = yard.bindings.clone().unwrap();
    let held = [0, 1, 2].map(|port| table.held(PortId(port)));
    assert_eq!((table.len(), held), (64, [16, 32, 16]));
}

/// What a host says: who (1 to 4) at which port, which of their addresses, in which way, whether of IPv6.
#[derive(Clone, Debug)]
struct Said {
    port: u16,
    host: u32,
    address: u32,
    act: u8,
    v6: bool,
    wait: u64,
}

fn said() -> impl Strategy<Value = Said> {
    let numbers =
        (0..3u16, 1..5u32, 1..4u32, 0..4u8, any::<bool>(), sample::select(vec![0, 0, 1, 30, 61, 400]));
    numbers.prop_map(|(port, host, address, act, v6, wait)| Said { port, host, address, act, v6, wait })
}

/// Of a frame that is an answer: who is said to have which address.
fn answer_of(bytes: &[u8]) -> Option<(Mac, u32)> {
    let headers = LaxPacketHeaders::from_ether_type(
        EtherType(u16::from_be_bytes([bytes[12], bytes[13]])),
        &bytes[14..],
    );
    let source = Mac::new(bytes[6..12].try_into().unwrap());
    match headers.net? {
        NetHeaders::Arp(arp) => {
            let arp = arp.try_eth_ipv4().ok().filter(|arp| arp.operation.0 == 2)?;
            (arp.sender_mac == source.octets()).then_some((source, arp.sender_ipv4[3].into()))
        }
        NetHeaders::Ipv6(..) => (bytes[54] == 136).then(|| (source, bytes[77].into())),
        NetHeaders::Ipv4(..) => None,
    }
}

proptest! {
    /// Whatever hosts say, an answer that the bridge makes names who last announced the address, who is still known, and
    /// who said so within the last minute.
    #[test]
    fn an_answer_is_what_its_holder_said_last(speech in collection::vec(said(), 1..60)) {
        let mut yard = suppressing([port(), port(), port()]);
        let mut announced = std::collections::BTreeMap::new();
        for Said { port, host, address, act, v6, wait } in speech {
            yard.wait(Duration::from_secs(wait));
            let own = if v6 { format!("fd00:9::{address}") } else { format!("10.9.0.{address}") };
            let own = (mac(host), &own[..]);
            let other = address % 3 + 1;
            let target = if v6 { format!("fd00:9::{other}") } else { format!("10.9.0.{other}") };
            let bytes = match (act, v6) {
                (0 | 1, false) => who_has(own, &target),
                (0 | 1, true) => who_has_v6(own, &target),
                (2, false) => is_at((Mac::BROADCAST, own.1), own),
                (2, true) => is_at_v6((Mac::BROADCAST, "ff02::1"), own, 0x20),
                (_, false) => who_has((own.0, "0.0.0.0"), &target),
                (_, true) => unicast(9, host),
            };
            let before = yard.counters(port).replied;
            let sent = yard.send(port, &bytes);
            if act == 2 {
                announced.insert((v6, address), (mac(host), yard.now));
            } else if act < 2 {
                match announced.get_mut(&(v6, address)) {
                    Some((holder, seen)) if *holder == mac(host) => *seen = yard.now,
                    Some(_) => drop(announced.remove(&(v6, address))),
                    None => {}
                }
            }
            if yard.counters(port).replied > before {
                prop_assert!(act < 2 && sent.len() == 1 && sent[0].port == port, "{sent:?}");
                let (holder, which) = answer_of(&sent[0].bytes).expect("an answer");
                let &(last, seen) = announced.get(&(v6, other)).expect("somebody announced it");
                prop_assert_eq!((holder, which), (last, other));
                prop_assert!(yard.now.since(seen) < Bindings::AGEING);
                let behind = yard.knows(Station::new(holder, 0));
                prop_assert!(behind.is_some_and(|behind| behind != port));
            } else {
                // Flooded, or to whom it was for: it was not lost.
                prop_assert!(!sent.is_empty() || yard.drops(port).iter().any(|(reason, _)| *reason == DropReason::SamePort));
            }
        }
    }
}
