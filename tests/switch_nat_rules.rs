//! What translations there are, who may use them, how many, and for how long.

mod kit;

use std::collections::BTreeSet;
use std::time::Duration;

use kit::frames::mac;
use kit::gateways::{only, send};
use kit::routers::{ACK, FIN, Msg, Plan, RST, SYN, Upper, gateway, msg, ping, tcp, udp};
use kit::{Sent, Yard, on, port};
use tapyard::packet::{DropReason, Offload};
use tapyard::table::conntrack::{Filtering, Limits, Mapping, Timeouts};

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

#[track_caller]
fn refused(yard: &mut Yard, port: u16, n: u32, msg: &Msg) -> DropReason {
    yard.refused(port, &msg.frame(gateway(), mac(n)), Offload::NONE)
}

/// The only packet that left, by `port`.
#[track_caller]
fn left(sent: Vec<Sent>, port: u16) -> Msg {
    let [Sent { port: by, bytes, .. }] = &sent[..] else { panic!("one frame, not {sent:02x?}") };
    assert_eq!(*by, port, "{bytes:02x?}");
    Msg::read(&bytes[14..])
}

fn limits(edit: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    edit(&mut limits);
    limits
}

// -- Behaviours of RFC 4787

#[test]
fn all_flows_of_an_endpoint_look_like_one() {
    let mut yard = between(&plan().masquerade(1));
    send(&mut yard, 0, 3, &udp("10.1.0.3:5000", "10.2.0.1:1"));
    // Not the same port outside, since station 3 has that.
    let ports: BTreeSet<_> = ["10.2.0.1:53", "10.2.0.1:54", "10.2.0.9:53", "8.8.8.8:53", "9.9.9.9:99"]
        .map(|to| left(send(&mut yard, 0, 1, &udp("10.1.0.1:5000", to)), 1).port())
        .into();
    assert_eq!(ports.len(), 1, "RFC 4787 REQ-1: {ports:?}");
    assert!(!ports.contains(&5000));

    let by_destination = limits(|limits| limits.mapping = Mapping::AddressAndPortDependent);
    let mut yard = between(&plan().tracked_by(by_destination).masquerade(1));
    for to in ["10.2.0.1:53", "8.8.8.8:53"] {
        let first = left(send(&mut yard, 0, 1, &udp("10.1.0.1:5000", to)), 1);
        let second = left(send(&mut yard, 0, 3, &udp("10.1.0.3:5000", to)), 1);
        assert_ne!(first.port(), second.port());
    }
}

#[test]
fn who_may_send_to_a_mapping_is_what_is_configured() {
    for (filtering, same_host, anybody) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        let limits = limits(|limits| limits.filtering = filtering);
        let mut yard = between(&plan().tracked_by(limits).masquerade(1));
        let there = udp("10.1.0.1:5000", "10.2.0.1:53");
        let seen = left(send(&mut yard, 0, 1, &there), 1);
        assert_eq!(only(send(&mut yard, 1, 2, &seen.back()), 0, 1), there.back().hop().hop());
        for (n, from, passes) in [(2, "10.2.0.1:99", same_host), (9, "10.2.0.9:53", anybody)] {
            let knock = seen.back().from(from).ttl(64);
            for _ in 0..2 {
                let sent = send(&mut yard, 1, n, &knock);
                if passes {
                    assert_eq!(only(sent, 0, 1), knock.to("10.1.0.1:5000").hop(), "{filtering:?}");
                } else {
                    assert!(sent.iter().all(|sent| sent.port == 1), "{filtering:?} {from}: {sent:02x?}");
                }
            }
            if passes {
                // And is answered from where he sent to.
                let answer = udp("10.1.0.1:5000", from);
                assert_eq!(left(send(&mut yard, 0, 1, &answer), 1), seen.to(from));
            }
        }
    }
}

#[test]
fn hosts_inside_meet_at_their_outside_addresses() {
    // RFC 4787 REQ-9.
    let limits = limits(|limits| limits.filtering = Filtering::EndpointIndependent);
    let mut yard = between(&plan().tracked_by(limits).masquerade(1));
    let first = left(send(&mut yard, 0, 1, &udp("10.1.0.1:5000", "10.2.0.1:53")), 1);
    let second = left(send(&mut yard, 0, 3, &udp("10.1.0.3:6000", "10.2.0.1:53")), 1);
    assert_eq!((first.port(), second.port()), (5000, 6000));
    let hello = udp("10.1.0.3:6000", "10.2.0.254:5000");
    for _ in 0..2 {
        let came = only(send(&mut yard, 0, 3, &hello), 0, 1);
        assert_eq!(came, udp("10.2.0.254:6000", "10.1.0.1:5000").hop(), "from its outside address (REQ-9 a)");
        let answer = only(send(&mut yard, 0, 1, &came.back().ttl(64)), 0, 3);
        assert_eq!(answer, hello.back().hop());
    }
}

#[test]
fn a_server_is_reached_by_its_outside_address_from_inside_too() {
    let mut yard = between(&plan().masquerade(1).forward(1, 6, 8080..=8080, &[("10.1.0.1", 80)]));
    let syn = tcp("10.1.0.3:6000", "10.2.0.254:8080", SYN, 1, 0);
    let came = only(send(&mut yard, 0, 3, &syn), 0, 1);
    assert_eq!((came.to.to_string().as_str(), came.back().port()), ("10.1.0.1", 80));
    assert_ne!(came.from, syn.from, "so that the answer comes back here");
    let answer = Msg { ttl: 64, ..tcp("10.1.0.1:80", "1.1.1.1:1", SYN | ACK, 9, 2) };
    let answer = answer.to(&format!("{}:{}", came.from, came.port()));
    assert_eq!(
        only(send(&mut yard, 0, 1, &answer), 0, 3),
        tcp("10.2.0.254:8080", "10.1.0.3:6000", SYN | ACK, 9, 2).hop()
    );
}

// -- Kinds of translations

#[test]
fn a_port_forward_leads_inside_and_its_answers_out() {
    let plan = plan()
        .masquerade(1)
        .forward(1, 6, 8080..=8080, &[("10.1.0.1", 80)])
        .forward(1, 17, 5000..=5009, &[("10.1.0.3", 6000)])
        .forward(1, 17, 53..=53, &[("fd01::1", 5353)]);
    let mut yard = between(&plan);
    let syn = tcp("10.2.0.1:999", "10.2.0.254:8080", SYN, 1, 0);
    let inside = syn.to("10.1.0.1:80");
    for _ in 0..2 {
        assert_eq!(only(send(&mut yard, 1, 2, &syn), 0, 1), inside.hop());
    }
    let answer = tcp("10.1.0.1:80", "10.2.0.1:999", SYN | ACK, 7, 2);
    assert_eq!(only(send(&mut yard, 0, 1, &answer), 1, 2), answer.from("10.2.0.254:8080").hop());
    let ack = tcp("10.2.0.1:999", "10.2.0.254:8080", ACK, 2, 8);
    for _ in 0..3 {
        assert_eq!(only(send(&mut yard, 1, 2, &ack), 0, 1), ack.to("10.1.0.1:80").hop());
    }
    for offset in 0..10 {
        let there = udp("10.2.0.1:999", &format!("10.2.0.254:{}", 5000 + offset));
        let came = only(send(&mut yard, 1, 2, &there), 0, 3);
        assert_eq!(came, there.to(&format!("10.1.0.3:{}", 6000 + offset)).hop());
        assert_eq!(only(send(&mut yard, 0, 3, &came.back()), 1, 2), there.back().hop().hop());
    }
    let there = udp("[fd02::1]:999", "[fd02::fe]:53");
    assert_eq!(only(send(&mut yard, 1, 2, &there), 0, 1), there.to("[fd01::1]:5353").hop());
    // And nothing else.
    for (port, by) in
        [("10.2.0.254:4999", 17), ("10.2.0.254:5010", 17), ("10.2.0.254:8081", 6), ("10.2.0.254:53", 17)]
    {
        let there = if by == 6 { tcp("10.2.0.1:998", port, SYN, 1, 0) } else { udp("10.2.0.1:998", port) };
        let sent = send(&mut yard, 1, 2, &there);
        assert!(sent.iter().all(|sent| sent.port == 1), "{port}");
    }
    // The interface's port is for its own address only.
    let through = tcp("10.2.0.1:999", "10.1.0.3:8080", SYN, 1, 0);
    assert_eq!(only(send(&mut yard, 1, 2, &through), 0, 3), through.hop());
}

#[test]
fn clients_are_spread_over_targets_and_each_stays() {
    let plan = plan().forward(1, 17, 53..=53, &[("10.1.0.1", 53), ("10.1.0.3", 5353)]);
    let mut yard = between(&plan);
    let mut count = [0; 2];
    for client in 0..200 {
        let there = udp(&format!("10.2.0.1:{}", 1000 + client), "10.2.0.254:53");
        let first = left(send(&mut yard, 1, 2, &there), 0);
        let target = usize::from(first.to.to_string() == "10.1.0.3");
        assert_eq!(first, there.to(["10.1.0.1:53", "10.1.0.3:5353"][target]).hop());
        count[target] += 1;
        for _ in 0..2 {
            assert_eq!(left(send(&mut yard, 1, 2, &there), 0), first);
        }
    }
    assert!(count.iter().all(|&clients| clients > 60), "{count:?}");
}

#[test]
fn dnat_changes_where_packets_for_others_go() {
    let mut yard = between(&plan().dnat(0, "9.9.9.0/24", "10.2.0.9", "10.2.0.9"));
    for there in [udp("10.1.0.1:5", "9.9.9.9:53"), tcp("10.1.0.1:5", "9.9.9.7:80", SYN, 1, 0)] {
        let came = only(send(&mut yard, 0, 1, &there), 1, 9);
        assert_eq!(came, there.to("10.2.0.9").hop());
        assert_eq!(only(send(&mut yard, 1, 9, &came.back()), 0, 1), there.back().hop().hop());
    }
    let ping = ping("10.1.0.1", "9.9.9.9", 5);
    let came = only(send(&mut yard, 0, 1, &ping), 1, 9);
    assert_eq!(came, ping.to("10.2.0.9").hop());
    assert_eq!(only(send(&mut yard, 1, 9, &came.back()), 0, 1), ping.back().hop().hop());
    let other = udp("10.1.0.1:5", "9.9.8.9:53");
    assert_eq!(only(send(&mut yard, 0, 1, &other), 1, 2), other.hop());
}

#[test]
fn one_to_one_works_both_ways_with_all_ports() {
    let mut yard = between(&plan().fixed(1, "10.2.0.64/28", "10.1.0.0/28").masquerade(1));
    // Out.
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    let seen = only(send(&mut yard, 0, 1, &there), 1, 2);
    assert_eq!(seen, there.from("10.2.0.65:5000").hop());
    assert_eq!(only(send(&mut yard, 1, 2, &seen.back()), 0, 1), there.back().hop().hop());
    // In, of any protocol.
    for (upper, n) in [
        (Upper::Udp { from: 1, to: 7, checked: true }, 1),
        (Upper::Tcp { from: 1, to: 7, flags: SYN, sequence: 1, ack: 0, window: 5 }, 3),
        (Upper::Request { id: 4, sequence: 1 }, 1),
        (Upper::Other(47), 3),
    ] {
        let knock = msg("10.2.0.1", &format!("10.2.0.{}", 64 + n), upper);
        let inside = format!("10.1.0.{n}");
        let came = only(send(&mut yard, 1, 2, &knock), 0, n);
        assert_eq!(came, knock.to(&inside).hop());
        assert_eq!(only(send(&mut yard, 0, n, &came.back()), 1, 2), knock.back().hop().hop());
    }
    // The router answers for the addresses that nobody else has.
    let sent = yard.send(1, &kit::routers::arp_request(2, "10.2.0.1", "10.2.0.65"));
    assert_eq!(sent.len(), 1, "{sent:02x?}");
    assert_eq!(sent[0].bytes[20..32], [&[0, 2][..], &gateway().octets(), &[10, 2, 0, 65]].concat());
    // Whom it is not for is masqueraded.
    let other = udp("10.1.0.77:5", "10.2.0.1:53");
    assert_eq!(left(send(&mut yard, 0, 1, &other), 1).from.to_string(), "10.2.0.254");
}

#[test]
fn snat_takes_addresses_and_ports_from_its_ranges() {
    let plan = plan().snat(1, &[("10.2.0.100", "10.2.0.103")], 40_000..=40_099);
    let mut yard = between(&plan);
    let mut addresses = BTreeSet::new();
    for host in 1..60 {
        let mut own = BTreeSet::new();
        for flow in 0..3 {
            let there = udp(&format!("10.1.0.{host}:{}", 40_000 + flow), "10.2.0.1:53");
            let seen = left(send(&mut yard, 0, 1, &there), 1);
            assert!((40_000..=40_099).contains(&seen.port()), "{}", seen.port());
            own.insert(seen.from);
        }
        assert_eq!(own.len(), 1, "RFC 4787 REQ-2: one address for a host");
        addresses.extend(own);
    }
    let range = ["10.2.0.100", "10.2.0.101", "10.2.0.102", "10.2.0.103"].map(|text| text.parse().unwrap());
    assert!(addresses.iter().all(|address| range.contains(address)) && addresses.len() > 1, "{addresses:?}");
}

#[test]
fn addresses_of_both_versions_stand_in_one_translation() {
    let plan = plan().snat(1, &[("10.2.0.100", "10.2.0.100"), ("fd02::100", "fd02::100")], 1024..=65535);
    let mut yard = between(&plan);
    for (from, to, own) in [("10.1.0.1", "10.2.0.1", "10.2.0.100"), ("fd01::1", "fd02::1", "fd02::100")] {
        let there = msg(from, to, Upper::Udp { from: 5000, to: 53, checked: true });
        let seen = only(send(&mut yard, 0, 1, &there), 1, 2);
        assert_eq!((seen.from.to_string().as_str(), seen.port()), (own, 5000));
        assert_eq!(only(send(&mut yard, 1, 2, &seen.back()), 0, 1), there.back().hop().hop());
    }
    // One of a single version is none for packets of the other.
    let mut yard = between(&self::plan().snat(1, &[("10.2.0.100", "10.2.0.100")], 1024..=65535));
    let there = udp("[fd01::1]:5000", "[fd02::1]:53");
    assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), there.hop());
}

#[test]
fn prefixes_are_translated_without_memory() {
    let mut yard = between(&plan().npt(1, "2001:db8:1::/48", "fd01::/48"));
    let there = udp("[fd01::1]:5000", "[2001:db8:9::9]:53");
    let seen = left(send(&mut yard, 0, 1, &there), 1);
    assert!(seen.from.to_string().starts_with("2001:db8:1:"), "{}", seen.from);
    assert_eq!(seen.port(), 5000);
    // Msg::read has seen that checksums hold, which RFC 6296 leaves as they are.
    assert_eq!(seen.packet()[46..48], there.packet()[46..48]);
    for _ in 0..2 {
        assert_eq!(left(send(&mut yard, 1, 2, &seen.back()), 0), there.back().hop().hop());
    }
    // Nothing has to go out first.
    let knock = udp("[2001:db8:9::7]:1", "[::]:9").to(&format!("[{}]:9", seen.from));
    assert_eq!(left(send(&mut yard, 1, 2, &knock), 0), knock.to("[fd01::1]:9").hop());
    // Errors about it come back about what was sent.
    let error =
        Msg { payload: seen.packet(), ..msg("2001:db8:9::1", &seen.from.to_string(), Upper::Icmp(1, 0, 0)) };
    let came = left(send(&mut yard, 1, 2, &error), 0);
    assert_eq!((came.to, came.payload), (there.from, there.hop().packet()));
    let refusal = Msg {
        payload: knock.to("[fd01::1]:9").hop().packet(),
        ..msg("fd01::1", "2001:db8:9::7", Upper::Icmp(1, 4, 0))
    };
    let told = left(send(&mut yard, 0, 1, &refusal), 1);
    assert_eq!((told.from, told.payload), (knock.to, knock.hop().packet()));
}

#[test]
fn the_port_of_a_forward_is_nobodys_source() {
    // CVE-2021-3773.
    let mut yard = between(&plan().masquerade(1).forward(1, 17, 53..=53, &[("10.1.0.3", 53)]).forward(
        1,
        17,
        5000..=5000,
        &[("10.1.0.3", 5000)],
    ));
    for port in [53, 5000] {
        let there = udp(&format!("10.1.0.1:{port}"), "10.2.0.1:99");
        let seen = only(send(&mut yard, 0, 1, &there), 1, 2);
        assert!(![53, 5000].contains(&seen.port()), "{}", seen.port());
        let knock = udp("10.2.0.1:99", &format!("10.2.0.254:{port}"));
        assert_eq!(only(send(&mut yard, 1, 2, &knock), 0, 3), knock.to(&format!("10.1.0.3:{port}")).hop());
    }
    // Of another protocol it is free.
    let syn = tcp("10.1.0.1:5000", "10.2.0.1:99", SYN, 1, 0);
    assert_eq!(only(send(&mut yard, 0, 1, &syn), 1, 2).port(), 5000);
}

// -- Bounds

#[test]
fn when_ports_run_out_new_flows_fail_and_old_ones_do_not() {
    let mut yard = between(&plan().snat(1, &[("10.2.0.254", "10.2.0.254")], 40_000..=40_009));
    let flow = |n: u16| udp(&format!("10.1.0.1:{}", 1000 + n), "10.2.0.1:53");
    let seen: Vec<_> = (0..10).map(|n| only(send(&mut yard, 0, 1, &flow(n)), 1, 2)).collect();
    assert_eq!(seen.iter().map(Msg::port).collect::<BTreeSet<_>>().len(), 10);
    for n in 10..20 {
        assert_eq!(refused(&mut yard, 0, 1, &flow(n)), DropReason::PortsExhausted);
    }
    for (n, seen) in (0..).zip(&seen) {
        assert_eq!(only(send(&mut yard, 0, 1, &flow(n)), 1, 2), *seen);
        assert_eq!(only(send(&mut yard, 1, 2, &seen.back()), 0, 1), flow(n).back().hop().hop());
    }
    // Other protocols have ports of their own, and these come back.
    assert_eq!(send(&mut yard, 0, 1, &tcp("10.1.0.1:1", "10.2.0.1:2", SYN, 1, 0)).len(), 1);
    yard.wait(Duration::from_secs(400));
    assert_eq!(
        only(send(&mut yard, 0, 1, &flow(15)), 1, 2).upper,
        Upper::Udp { from: only(send(&mut yard, 0, 1, &flow(15)), 1, 2).port(), to: 53, checked: true }
    );
}

#[test]
fn a_source_has_so_many_connections_and_others_have_theirs() {
    let mut yard = between(&plan().tracked_by(limits(|limits| limits.per_source = 5)).masquerade(1));
    let flow = |host: u16, n: u16| udp(&format!("10.1.0.{host}:{}", 1000 + n), "10.2.0.1:53");
    for n in 0..5 {
        assert_eq!(send(&mut yard, 0, 1, &flow(1, n)).len(), 1);
    }
    assert_eq!(refused(&mut yard, 0, 1, &flow(1, 5)), DropReason::SourceQuota);
    for n in 0..5 {
        assert_eq!(send(&mut yard, 0, 1, &flow(1, n)).len(), 1);
        assert_eq!(send(&mut yard, 0, 3, &flow(3, n)).len(), 1);
    }
    assert_eq!(refused(&mut yard, 0, 3, &flow(3, 5)), DropReason::SourceQuota);
}

/// A TCP connection of station 1 to station 2, up.
fn connect(yard: &mut Yard, port: u16) -> (Msg, Msg) {
    let here = format!("10.1.0.1:{port}");
    let seen = only(send(yard, 0, 1, &tcp(&here, "10.2.0.1:80", SYN, 100, 0)), 1, 2);
    let there = format!("10.2.0.254:{}", seen.port());
    let answer = tcp("10.2.0.1:80", &there, SYN | ACK, 500, 101);
    assert_eq!(only(send(yard, 1, 2, &answer), 0, 1), answer.to(&here).hop());
    let ack = tcp(&here, "10.2.0.1:80", ACK, 101, 501);
    assert_eq!(only(send(yard, 0, 1, &ack), 1, 2), ack.from(&there).hop());
    (ack, tcp("10.2.0.1:80", &there, ACK, 501, 201))
}

#[track_caller]
fn lives(yard: &mut Yard, (there, back): &(Msg, Msg)) {
    assert_eq!(only(send(yard, 0, 1, there), 1, 2).port(), back.back().port());
    assert_eq!(only(send(yard, 1, 2, back), 0, 1).to, there.from);
}

#[test]
fn a_flood_of_syns_costs_no_established_connection() {
    let mut yard = between(&plan().tracked_by(limits(|limits| limits.sessions = 100)).masquerade(1));
    let old: Vec<_> = (0..10).map(|n| connect(&mut yard, 2000 + n)).collect();
    for n in 0..3000u16 {
        let syn = tcp(&format!("10.1.{}.{}:{}", 1 + n / 250, n % 250, 10_000 + n), "10.2.0.1:80", SYN, 1, 0);
        send(&mut yard, 0, 3, &syn);
        if n % 100 == 0 {
            lives(&mut yard, &old[usize::from(n / 100 % 10)]);
        }
    }
    old.iter().for_each(|connection| lives(&mut yard, connection));
    // And a new one still gets up, in the place of a half-open one.
    let new = connect(&mut yard, 3000);
    lives(&mut yard, &new);
    assert_eq!(yard.counters(0).dropped(DropReason::SessionsFull), 0);
}

#[test]
fn a_table_full_of_established_connections_refuses() {
    let mut yard = between(&plan().tracked_by(limits(|limits| limits.sessions = 8)).masquerade(1));
    let old: Vec<_> = (0..8).map(|n| connect(&mut yard, 2000 + n)).collect();
    let syn = tcp("10.1.0.3:1", "10.2.0.1:80", SYN, 1, 0);
    assert_eq!(refused(&mut yard, 0, 3, &syn), DropReason::SessionsFull);
    old.iter().for_each(|connection| lives(&mut yard, connection));
    // One that is reset gives way.
    let reset = tcp("10.1.0.1:2000", "10.2.0.1:80", RST | ACK, 201, 601);
    only(send(&mut yard, 0, 1, &reset), 1, 2);
    assert_eq!(send(&mut yard, 0, 3, &syn).len(), 1);
    old[1..].iter().for_each(|connection| lives(&mut yard, connection));
}

#[test]
fn a_reset_that_does_not_fit_resets_nothing() {
    // RFC 7857 section 2.2, RFC 5961 section 3.
    let mut yard = between(&plan().tracked_by(limits(|limits| limits.sessions = 1)).masquerade(1));
    let connection = connect(&mut yard, 2000);
    let (_, back) = &connection;
    for sequence in [501u32.wrapping_sub(100_000), 501 + 200_000, 0x8000_0000] {
        let Upper::Tcp { from, to, window, .. } = back.upper else { unreachable!() };
        let upper = Upper::Tcp { from, to, flags: RST, sequence, ack: 0, window };
        let reset = Msg { upper, payload: vec![], ..back.clone() };
        assert_eq!(refused(&mut yard, 1, 2, &reset), DropReason::SessionInvalid, "{sequence}");
        let syn = tcp("10.1.0.3:1", "10.2.0.1:80", SYN, 1, 0);
        assert_eq!(refused(&mut yard, 0, 3, &syn), DropReason::SessionsFull, "its place is not free");
        lives(&mut yard, &connection);
    }
}

// -- Time

/// Whether an answer still finds its way `after` so long.
fn answered_after(make: impl Fn(&mut Yard) -> (u32, Msg), after: u64) -> bool {
    let mut yard = between(&plan().masquerade(1));
    let (port, answer) = make(&mut yard);
    yard.wait(Duration::from_secs(after));
    let _ = port;
    send(&mut yard, 1, 2, &answer).iter().any(|sent| sent.port == 0)
}

#[test]
fn sessions_live_as_long_as_the_rfcs_say() {
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    let unreplied = |yard: &mut Yard| (0, only(send(yard, 0, 1, &there), 1, 2).back());
    let replied = |yard: &mut Yard| {
        let seen = only(send(yard, 0, 1, &there), 1, 2);
        send(yard, 1, 2, &seen.back());
        send(yard, 0, 1, &there);
        (0, seen.back())
    };
    let ping = ping("10.1.0.1", "10.2.0.1", 7);
    let pinged = |yard: &mut Yard| (0, only(send(yard, 0, 1, &ping), 1, 2).back());
    let established = |yard: &mut Yard| (0, connect(yard, 2000).1);
    let half_open = |yard: &mut Yard| {
        let seen = only(send(yard, 0, 1, &tcp("10.1.0.1:1", "10.2.0.1:80", SYN, 100, 0)), 1, 2);
        (0, tcp("10.2.0.1:80", &format!("10.2.0.254:{}", seen.port()), SYN | ACK, 500, 101))
    };
    let closing = |yard: &mut Yard| {
        let (_, back) = connect(yard, 2000);
        send(yard, 0, 1, &tcp("10.1.0.1:2000", "10.2.0.1:80", FIN | ACK, 101, 501));
        (0, Msg { payload: vec![1], ..back })
    };
    let limits = Timeouts::default();
    // RFC 4787 REQ-5, RFC 5508 REQ-1, RFC 5382 REQ-5.
    type Make<'a> = &'a dyn Fn(&mut Yard) -> (u32, Msg);
    let all: [(Make<'_>, Duration, u64, &str); 6] = [
        (&unreplied, limits.udp_unreplied, 120, "UDP"),
        (&replied, limits.udp, 120, "UDP that was answered"),
        (&pinged, limits.icmp, 60, "ICMP"),
        (&established, limits.tcp_established, 7440, "TCP"),
        (&half_open, limits.tcp_half_open, 240, "TCP half-open"),
        (&closing, limits.tcp_transitory, 240, "TCP closing"),
    ];
    for (make, timeout, least, what) in all {
        let timeout = timeout.as_secs();
        assert!(timeout >= least, "{what}");
        assert!(answered_after(make, timeout - 2), "{what} after {timeout} s less 2");
        assert!(!answered_after(make, timeout + 3), "{what} after {timeout} s and 3");
    }
}

#[test]
fn what_goes_out_keeps_a_session_and_what_only_comes_in_does_not_have_to() {
    // RFC 4787 REQ-6.
    let mut yard = between(&plan().masquerade(1));
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    let seen = only(send(&mut yard, 0, 1, &there), 1, 2);
    send(&mut yard, 1, 2, &seen.back());
    for _ in 0..20 {
        yard.wait(Duration::from_secs(100));
        assert_eq!(only(send(&mut yard, 0, 1, &there), 1, 2), seen);
    }
    assert_eq!(only(send(&mut yard, 1, 2, &seen.back()), 0, 1), there.back().hop().hop());
}

#[test]
fn a_mapping_ends_with_its_last_session_and_is_another_then() {
    let plan = plan().masquerade(1);
    let mut yard = between(&plan);
    let sessions = plan.sessions.clone().expect("it tracks");
    let there = udp("10.1.0.1:5000", "10.2.0.1:53");
    for _ in 0..3 {
        only(send(&mut yard, 0, 1, &there), 1, 2);
        assert_eq!((sessions.stats().live, sessions.stats().mappings), (1, 1));
        yard.wait(Duration::from_secs(1000));
        assert_eq!((sessions.stats().live, sessions.stats().mappings), (0, 0), "swept without a packet");
    }
    // Flushed, its flow is a new one, also where it was cached.
    only(send(&mut yard, 0, 1, &there), 1, 2);
    assert_eq!(sessions.flush(|_| true), 1);
    only(send(&mut yard, 0, 1, &there), 1, 2);
    assert_eq!(sessions.stats().live, 1);
}
