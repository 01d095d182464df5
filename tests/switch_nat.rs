//! Translation of addresses: what leaves, what comes back, and what errors about it look like.

mod kit;

use kit::frames::{L4, mac, unfinished};
use kit::gateways::{only, send};
use kit::routers::{ACK, FIN, Msg, Plan, SYN, Upper, gateway, in_frame, msg, ping, tcp, udp};
use kit::{Sent, Yard, on, port};
use tapyard::packet::{DropReason, Offload};

/// Inside are stations 1 and 3, outside 2 and 9.
fn plan() -> Plan {
    kit::gateways::plan()
        .knows(0, "10.1.0.3", 3)
        .knows(0, "fd01::3", 3)
        .knows(1, "10.2.0.9", 9)
        .knows(1, "fd02::9", 9)
        .via("0.0.0.0/0", &[(1, "10.2.0.1")])
        .via("::/0", &[(1, "fd02::1")])
}

fn between(plan: &Plan) -> Yard {
    let mut yard = Yard::new([port(), on(1, port())]);
    plan.run(&mut yard);
    yard
}

const OWN: [&str; 2] = ["10.2.0.254", "fd02::fe"];
const INSIDE: [&str; 2] = ["10.1.0.1", "fd01::1"];
const OTHER: [&str; 2] = ["10.1.0.3", "fd01::3"];
const OUTSIDE: [&str; 2] = ["10.2.0.1", "fd02::1"];

/// Station 1 sends, and station 2 gets what this gives.
#[track_caller]
fn out(yard: &mut Yard, there: &Msg) -> Msg {
    only(send(yard, 0, 1, there), 1, 2)
}

/// Station 2 sends, and station 1 gets what this gives.
#[track_caller]
fn back(yard: &mut Yard, there: &Msg) -> Msg {
    only(send(yard, 1, 2, there), 0, 1)
}

#[track_caller]
fn refused(yard: &mut Yard, port: u16, n: u32, msg: &Msg) -> DropReason {
    yard.refused(port, &msg.frame(gateway(), mac(n)), Offload::NONE)
}

fn end(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// What goes out looks like from `own`, and what answers it comes back as if nothing had been.
#[track_caller]
fn there_and_back(yard: &mut Yard, there: &Msg, own: &str) {
    let left = out(yard, there);
    assert_eq!(left.from.to_string(), own);
    assert_eq!(left, there.from(&end(own, left.port())).hop());
    assert_eq!(back(yard, &left.back()), there.back().hop().hop());
}

#[test]
fn what_leaves_has_the_interfaces_address_and_keeps_its_port() {
    let mut yard = between(&plan().masquerade(1));
    for v in 0..2 {
        for upper in [
            Upper::Udp { from: 5000, to: 53, checked: true },
            Upper::Udp { from: 5001, to: 53, checked: true },
            Upper::Request { id: 5000, sequence: 3 },
            Upper::Other(47),
            Upper::Other(132),
        ] {
            let there = msg(INSIDE[v], OUTSIDE[v], upper);
            for len in [0, 1, 33, 1400] {
                let there = there.clone().len(len);
                there_and_back(&mut yard, &there, OWN[v]);
                assert_eq!(out(&mut yard, &there).port(), there.port());
            }
        }
        let (here, server) = (end(INSIDE[v], 5000), end(OUTSIDE[v], 80));
        there_and_back(&mut yard, &tcp(&here, &server, SYN, 1, 0), OWN[v]);
        for _ in 0..3 {
            there_and_back(&mut yard, &tcp(&here, &server, ACK, 2, 1), OWN[v]);
        }
    }
    assert_eq!(yard.drops(0), []);
    assert_eq!(yard.drops(1), []);
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut yard = between(&plan().masquerade(1).forward(1, 17, 53..=53, &[("10.1.0.1", 5353)]));
    let there = msg(INSIDE[0], OUTSIDE[0], Upper::Udp { from: 5000, to: 53, checked: false });
    for _ in 0..2 {
        there_and_back(&mut yard, &there, OWN[0]);
    }
    let question = msg(OUTSIDE[0], OWN[0], Upper::Udp { from: 9, to: 53, checked: false });
    assert_eq!(back(&mut yard, &question), question.to("10.1.0.1:5353").hop());
}

#[test]
fn what_is_left_undone_stays_undone_and_right() {
    let mut yard = between(&plan().masquerade(1));
    for v in 0..2 {
        let v6 = v == 1;
        for (l4, upper) in [
            (L4::Udp, Upper::Udp { from: 5000, to: 53, checked: true }),
            (L4::Tcp, Upper::Tcp { from: 5000, to: 80, flags: ACK, sequence: 2, ack: 1, window: 99 }),
        ] {
            if l4 == L4::Tcp {
                let (here, server) = (end(INSIDE[v], 5000), end(OUTSIDE[v], 80));
                there_and_back(&mut yard, &tcp(&here, &server, SYN, 1, 0), OWN[v]);
            }
            for (len, size) in [(100, 0), (50_000, 1400), (3000, 1000)] {
                let there = msg(INSIDE[v], OUTSIDE[v], upper.clone()).len(len);
                let left = there.from(&end(OWN[v], 5000)).hop();
                let (frame, offload) = unfinished(there.frame(gateway(), mac(1)), v6, l4, size);
                let (expected, _) = unfinished(left.frame(mac(2), gateway()), v6, l4, size);
                let answer = left.back().ttl(64);
                let (came, _) = unfinished(answer.frame(gateway(), mac(2)), v6, l4, size);
                let home = there.back().ttl(63);
                let (gone, _) = unfinished(home.frame(mac(1), gateway()), v6, l4, size);
                for _ in 0..2 {
                    let sent = yard.send_with(0, &frame, offload);
                    assert_eq!(
                        sent,
                        [Sent { port: 1, bytes: expected.clone(), offload }],
                        "{v6} {l4:?} {size}"
                    );
                    let sent = yard.send_with(1, &came, offload);
                    assert_eq!(sent, [Sent { port: 0, bytes: gone.clone(), offload }], "{v6} {l4:?} {size}");
                }
            }
        }
    }
}

#[test]
fn two_hosts_with_the_same_port_get_two() {
    let mut yard = between(&plan().masquerade(1));
    for v in 0..2 {
        for upper in
            [Upper::Udp { from: 5000, to: 53, checked: true }, Upper::Request { id: 5001, sequence: 1 }]
        {
            let first = msg(INSIDE[v], OUTSIDE[v], upper.clone());
            let second = msg(OTHER[v], OUTSIDE[v], upper);
            there_and_back(&mut yard, &first, OWN[v]);
            let left = only(send(&mut yard, 0, 3, &second), 1, 2);
            assert_ne!(left.port(), first.port());
            assert!(left.port() >= 1024, "RFC 4787 REQ-3");
            if matches!(first.upper, Upper::Udp { .. }) {
                assert_eq!(left.port() % 2, first.port() % 2, "RFC 4787 REQ-4");
            }
            assert_eq!(only(send(&mut yard, 1, 2, &left.back()), 0, 3), second.back().hop().hop());
            there_and_back(&mut yard, &first, OWN[v]);
        }
    }
}

#[test]
fn what_nobody_asked_for_gets_nowhere() {
    let mut yard = between(&plan().masquerade(1));
    let stray = udp("10.2.0.1:53", "10.2.0.254:5000");
    let told = only(send(&mut yard, 1, 2, &stray), 1, 2);
    assert_eq!(told.upper, Upper::Icmp(3, 3, 0), "it is the router's own address");
    // Nor does a connection start in its middle, or with an answer.
    for middle in [
        tcp("10.1.0.1:1000", "10.2.0.1:80", ACK, 5, 5),
        tcp("10.1.0.1:1000", "10.2.0.1:80", FIN | ACK, 5, 5),
        tcp("10.1.0.1:1000", "10.2.0.1:80", SYN | ACK, 5, 5),
        msg(INSIDE[0], OUTSIDE[0], Upper::Reply { id: 1, sequence: 1 }),
        msg(INSIDE[1], OUTSIDE[1], Upper::Reply { id: 1, sequence: 1 }),
    ] {
        assert_eq!(refused(&mut yard, 0, 1, &middle), DropReason::NoSession);
    }
    // The router's own address answers pings from both sides still.
    assert_eq!(only(send(&mut yard, 1, 2, &ping(OUTSIDE[0], OWN[0], 3)), 1, 2).port(), 3);
    assert_eq!(only(send(&mut yard, 0, 1, &ping(INSIDE[0], OWN[0], 3)), 0, 1).port(), 3);
}

#[test]
fn no_packet_leaves_untranslated() {
    let mut yard = between(&plan().masquerade(1));
    // Whatever fails: a source of inside is never seen outside.
    let error = Msg {
        payload: udp("10.2.0.1:1", "10.1.0.1:2").packet(),
        ..msg(INSIDE[0], OUTSIDE[0], Upper::Icmp(3, 3, 0))
    };
    let sent = send(&mut yard, 0, 1, &error);
    assert_eq!(sent, [], "an error about nothing that passed");
    let redirect = Msg { upper: Upper::Icmp(5, 1, 7), ..error };
    assert_eq!(send(&mut yard, 0, 1, &redirect), []);
    let timestamp = msg(INSIDE[0], OUTSIDE[0], Upper::Icmp(13, 0, 7)).len(12);
    assert_eq!(refused(&mut yard, 0, 1, &timestamp), DropReason::NoSession, "nothing in it may be changed");
}

// -- Errors

/// The packet cut to what an error quotes at least: IP header and eight bytes (RFC 792).
fn least(packet: &[u8]) -> Vec<u8> {
    packet[..28].to_vec()
}

#[test]
fn errors_about_what_left_come_back_about_what_was_sent() {
    let mut yard = between(&plan().masquerade(1));
    for v in 0..2 {
        let (unreachable, exceeded) = if v == 0 { (3, 11) } else { (1, 3) };
        for upper in [
            Upper::Udp { from: 5000, to: 53, checked: true },
            Upper::Request { id: 5000, sequence: 1 },
            Upper::Other(47),
            Upper::Tcp { from: 5000, to: 80, flags: SYN, sequence: 1, ack: 0, window: 9 },
        ] {
            // The second host's port is another outside.
            for (n, inside) in [(1, INSIDE[v]), (3, OTHER[v])] {
                if upper == Upper::Other(47) && n == 3 {
                    continue;
                }
                let there = msg(inside, OUTSIDE[v], upper.clone());
                let left = only(send(&mut yard, 0, n, &there), 1, 2);
                for (kind, from) in [(unreachable, OUTSIDE[v]), (exceeded, ["10.2.0.9", "fd02::9"][v])] {
                    let about = |to: &str, quoted: Vec<u8>| Msg {
                        payload: quoted,
                        ..msg(from, to, Upper::Icmp(kind, 0, 0))
                    };
                    let sender = if from == OUTSIDE[v] { 2 } else { 9 };
                    let quoted = there.clone().ttl(1).packet();
                    let error = about(OWN[v], left.clone().ttl(1).packet());
                    let came = only(send(&mut yard, 1, sender, &error), 0, n);
                    assert_eq!(came, about(inside, quoted.clone()).hop());
                    if v == 0 {
                        let error = about(OWN[v], least(&left.clone().ttl(1).packet()));
                        let came = only(send(&mut yard, 1, sender, &error), 0, n);
                        assert_eq!((came.from, came.to), (about(inside, vec![]).from, there.from));
                        // What cannot be checked is the checksum of TCP, which is not quoted.
                        assert_eq!(came.payload[..24], quoted[..24]);
                    }
                }
            }
        }
    }
}

#[test]
fn errors_about_what_came_in_go_out_about_what_was_sent() {
    let plan = plan().masquerade(1).forward(1, 17, 53..=53, &[("10.1.0.1", 5353)]);
    let mut yard = between(&plan);
    let question = udp("10.2.0.1:999", "10.2.0.254:53");
    let came = back(&mut yard, &question);
    let refusal = Msg { payload: came.packet(), ..msg("10.1.0.1", "10.2.0.1", Upper::Icmp(3, 3, 0)) };
    let told = out(&mut yard, &refusal);
    assert_eq!((told.from, told.upper), (question.to, Upper::Icmp(3, 3, 0)));
    assert_eq!(told.payload, question.hop().packet());
    // From a router between, whose own address nobody knows outside.
    let between = Msg { payload: came.packet(), ..msg("10.1.0.3", "10.2.0.1", Upper::Icmp(11, 0, 0)) };
    let told = only(send(&mut yard, 0, 3, &between), 1, 2);
    assert_eq!(told.payload, question.hop().packet());
    assert_eq!(told.from.to_string(), OWN[0], "no address of inside is seen outside (RFC 5508 REQ-5)");
}

#[test]
fn an_error_about_a_fragment_comes_back() {
    let mut yard = between(&plan().masquerade(1));
    let there = udp("10.1.0.1:5000", "10.2.0.1:53").may_be_cut().len(100);
    let left = out(&mut yard, &there);
    let cut = |packet: &[u8]| {
        let mut first = packet[..20 + 48].to_vec();
        first[2..4].copy_from_slice(&68u16.to_be_bytes());
        first[6] = 0x20;
        kit::gateways::finish(&mut first[..20]);
        first
    };
    let error = Msg { payload: cut(&left.packet()), ..msg(OUTSIDE[0], OWN[0], Upper::Icmp(11, 1, 0)) };
    let came = back(&mut yard, &error);
    assert_eq!(came.to, there.from);
    assert_eq!(came.payload, cut(&there.hop().packet()));
    // A later one has no ports: nobody knows whose it is, and nothing breaks.
    let mut later = cut(&left.packet());
    later[6..8].copy_from_slice(&[0, 6]);
    kit::gateways::finish(&mut later[..20]);
    let error = Msg { payload: later, ..error };
    let reason = refused(&mut yard, 1, 2, &error);
    assert!(matches!(reason, DropReason::NoSession | DropReason::NotLocal), "{reason:?}");
}

#[test]
fn errors_that_are_cut_off_anywhere_hurt_nobody() {
    let mut yard = between(&plan().masquerade(1));
    let left = [Upper::Other(47), Upper::Udp { from: 5000, to: 53, checked: true }]
        .map(|upper| out(&mut yard, &msg(INSIDE[0], OUTSIDE[0], upper)).packet());
    for packet in left {
        for len in 0..packet.len() {
            let error =
                Msg { payload: packet[..len].to_vec(), ..msg(OUTSIDE[0], OWN[0], Upper::Icmp(3, 1, 0)) };
            send(&mut yard, 1, 2, &error);
        }
        for at in 0..packet.len() {
            let mut wrong = packet.clone();
            wrong[at] ^= 0xff;
            let error = Msg { payload: wrong, ..msg(OUTSIDE[0], OWN[0], Upper::Icmp(3, 1, 0)) };
            send(&mut yard, 1, 2, &error);
        }
    }
}

#[test]
fn the_routers_own_errors_quote_what_was_sent() {
    let mut narrow = plan().masquerade(1);
    narrow.links[0].mtu = 1000;
    narrow.links[1].mtu = 1200;
    let mut yard = between(&narrow);
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    let left = out(&mut yard, &there);
    let late = left.back().ttl(1);
    let told = only(send(&mut yard, 1, 2, &late), 1, 2);
    assert_eq!(
        (told.upper, told.from.to_string().as_str(), told.payload),
        (Upper::Icmp(11, 0, 0), OWN[0], late.packet())
    );
    let long = left.back().ttl(9).len(1100);
    let told = only(send(&mut yard, 1, 2, &long), 1, 2);
    assert_eq!((told.upper, &told.payload[..]), (Upper::Icmp(3, 4, 1000), &long.packet()[..548]));
    let long = there.clone().len(1300);
    let told = only(send(&mut yard, 0, 1, &long), 0, 1);
    assert_eq!((told.upper, &told.payload[..]), (Upper::Icmp(3, 4, 1200), &long.packet()[..548]));
}

// -- Fragments

/// The parts of an IPv4 packet, cut at these multiples of eight bytes.
fn parts(packet: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let ends: Vec<_> = [0].iter().chain(cuts).copied().chain([packet.len() - 20]).collect();
    let part = |ends: &[usize]| {
        let mut part = [&packet[..20], &packet[20 + ends[0]..20 + ends[1]]].concat();
        let len = part.len() as u16;
        part[2..4].copy_from_slice(&len.to_be_bytes());
        let more = if ends[1] + 20 < packet.len() { 0x2000 } else { 0 };
        part[6..8].copy_from_slice(&((ends[0] / 8) as u16 | more).to_be_bytes());
        kit::gateways::finish(&mut part[..20]);
        part
    };
    ends.windows(2).map(part).collect()
}

#[test]
fn fragments_are_translated_as_the_packet_that_they_are() {
    let mut yard = between(&plan().masquerade(1));
    let there = udp("10.1.0.1:5000", "10.2.0.1:53").may_be_cut().len(2000);
    let expected = there.from("10.2.0.254:5000").hop();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let all = parts(&there.packet(), &[800, 1600]);
        let mut left = Vec::new();
        for at in order {
            left.extend(yard.send(0, &in_frame(&all[at], gateway(), mac(1))));
        }
        let mut whole = vec![0; 2008];
        for sent in &left {
            let packet = &sent.bytes[14..];
            assert!(packet.len() <= 1500);
            assert_eq!((sent.port, packet[8], &packet[12..16]), (1, 63, &[10, 2, 0, 254][..]));
            let from = usize::from(u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff) * 8;
            whole[from..from + packet.len() - 20].copy_from_slice(&packet[20..]);
        }
        assert_eq!(whole, expected.packet()[20..]);
    }
    // And back: an answer in parts.
    let answer = expected.back().ttl(64);
    let left: Vec<_> = parts(&answer.packet(), &[1000])
        .iter()
        .flat_map(|part| yard.send(1, &in_frame(part, gateway(), mac(2))))
        .collect();
    let total: usize = left.iter().map(|sent| sent.bytes.len() - 34).sum();
    assert_eq!(total, 2008);
    assert!(left.iter().all(|sent| sent.port == 0 && sent.bytes[30..34] == [10, 1, 0, 1]));
}

#[test]
fn overlapping_and_tiny_fragments_get_nowhere() {
    let mut yard = between(&plan().masquerade(1));
    let there = udp("10.1.0.1:5000", "10.2.0.1:53").may_be_cut().len(200);
    let all = parts(&there.packet(), &[104]);
    assert_eq!(yard.send(0, &in_frame(&all[0], gateway(), mac(1))), []);
    let mut overlapping = all[1].clone();
    overlapping[7] = 12;
    kit::gateways::finish(&mut overlapping[..20]);
    assert_eq!(yard.send(0, &in_frame(&overlapping, gateway(), mac(1))), []);
    assert_eq!(yard.send(0, &in_frame(&all[1], gateway(), mac(1))), []);
    yard.wait(std::time::Duration::from_secs(100));
    let counters = yard.counters(0);
    assert!(counters.dropped(DropReason::FragmentInvalid) >= 2, "{counters:?}");
    assert_eq!(yard.counters(1).tx_frames, 3, "what was said at the start");
}

#[test]
fn a_packet_that_does_not_get_whole_is_given_up() {
    let mut yard = between(&plan().masquerade(1));
    let there = udp("10.1.0.1:5000", "10.2.0.1:53").may_be_cut().len(200);
    let all = parts(&there.packet(), &[104]);
    assert_eq!(yard.send(0, &in_frame(&all[0], gateway(), mac(1))), []);
    let sent = yard.wait(std::time::Duration::from_secs(100));
    assert_eq!(yard.counters(0).dropped(DropReason::FragmentTimeout), 1);
    // RFC 792: whose first part came is told.
    let told: Vec<_> = sent.iter().filter(|sent| sent.bytes[12..14] == [8, 0]).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(Msg::read(&told[0].bytes[14..]).upper, Upper::Icmp(11, 1, 0));
}
