//! Rules: in which order, at which hook, of which packets, and what they count.

mod kit;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kit::frames::mac;
use kit::gateways::{V4, V6, between, error, only, plan, same, send};
use kit::routers::{
    ACK, FIN, Msg, Plan, RST, SYN, Upper, address, gateway, msg, nd, nd_target, ping, prefix, run_all, tcp,
    udp,
};
use kit::{Yard, on, port};
use tapyard::packet::{DropReason, Offload};
use tapyard::switch::Event;
use tapyard::switch::router::{Action, Condition, Hook, Route, Subject, Tracked};
use tapyard::table::token_bucket::TokenBucket;

type Ranges = Vec<RangeInclusive<u128>>;

fn one(value: u128) -> Ranges {
    vec![value..=value]
}

fn network(text: &str) -> Ranges {
    let prefix = prefix(text);
    vec![prefix.network.bits()..=prefix.last().bits()]
}

fn states(states: &[Tracked]) -> Condition {
    Condition { state: states.iter().map(|&state| state as u128..=state as u128).collect(), ..any() }
}

fn any() -> Condition {
    Condition::default()
}

fn frames(yard: &Yard) -> Vec<u64> {
    yard.rules().iter().map(|rule| rule.frames).collect()
}

#[track_caller]
fn passes(yard: &mut Yard, there: &Msg) {
    assert_eq!(only(send(yard, 0, 1, there), 1, 2), there.hop());
}

#[track_caller]
fn dropped(yard: &mut Yard, there: &Msg) {
    assert_eq!(yard.refused(0, &there.frame(gateway(), mac(1)), Offload::NONE), DropReason::Filtered);
}

fn there() -> Msg {
    udp("10.1.0.1:1000", "10.2.0.1:53")
}

// -- Order and counters

#[test]
fn rules_are_taken_in_their_order_until_one_ends_it() {
    let to_dns = Condition { destination_port: one(53), ..any() };
    let plan = plan()
        .rule(Hook::Forward, any(), Action::Count)
        .rule(Hook::Forward, Condition { destination_port: one(80), ..any() }, Action::Drop)
        .rule(Hook::Forward, to_dns.clone(), Action::Count)
        .rule(Hook::Forward, to_dns.clone(), Action::Accept)
        .rule(Hook::Forward, to_dns, Action::Drop)
        .rule(Hook::Forward, any(), Action::Drop);
    let mut yard = between(&plan);
    passes(&mut yard, &there());
    assert_eq!(frames(&yard), [1, 0, 1, 1, 0, 0]);
    dropped(&mut yard, &there().to("10.2.0.1:80"));
    assert_eq!(frames(&yard), [2, 1, 1, 1, 0, 0]);
    dropped(&mut yard, &there().to("10.2.0.1:81"));
    assert_eq!(frames(&yard), [3, 1, 1, 1, 0, 1]);
}

#[test]
fn cached_flows_count_like_others() {
    let plan = plan()
        .rule(Hook::Prerouting, any(), Action::Count)
        .rule(Hook::Forward, Condition { destination_port: one(53), ..any() }, Action::Accept)
        .rule(Hook::Postrouting, any(), Action::Count);
    let mut yard = between(&plan);
    let mut bytes = 0;
    for i in 0..500 {
        let there = there().len(i % 100);
        passes(&mut yard, &there);
        bytes += there.packet().len() as u64;
    }
    assert_eq!(frames(&yard), [500, 500, 500]);
    assert!(yard.rules().iter().all(|rule| rule.bytes == bytes), "{:?}", yard.rules());
    // A superframe is one.
    let big = tcp("10.1.0.1:1", "10.2.0.1:53", ACK, 1, 1).len(20_000);
    let (frame, offload) =
        kit::frames::unfinished(big.frame(gateway(), mac(1)), false, kit::frames::L4::Tcp, 1400);
    for _ in 0..3 {
        assert_eq!(yard.send_with(0, &frame, offload).len(), 1);
    }
    assert_eq!(frames(&yard), [503, 503, 503]);
    assert_eq!(yard.rules()[1].bytes, bytes + 3 * 20_040);
}

#[test]
fn counters_outlive_changes_of_other_rules() {
    let rule = |port| Condition { destination_port: one(port), ..any() };
    let with = |ports: &[u128]| {
        ports.iter().fold(plan(), |plan, &port| plan.rule(Hook::Forward, rule(port), Action::Count))
    };
    let mut yard = between(&plan());
    let run = |yard: &mut Yard, ports: &'static [u128]| {
        let plan = with(ports);
        yard.route_as(ports.iter().map(|&port| port as u64).collect(), move || vec![Some(plan.build())]);
    };
    run(&mut yard, &[53, 80]);
    (0..5).for_each(|_| passes(&mut yard, &there()));
    (0..3).for_each(|_| passes(&mut yard, &there().to("10.2.0.1:80")));
    assert_eq!(frames(&yard), [5, 3]);
    run(&mut yard, &[22, 80, 53]);
    assert_eq!(frames(&yard), [0, 3, 5]);
    passes(&mut yard, &there());
    passes(&mut yard, &there().to("10.2.0.1:22"));
    assert_eq!(frames(&yard), [1, 3, 6]);
    run(&mut yard, &[80]);
    passes(&mut yard, &there());
    assert_eq!(frames(&yard), [3]);
}

#[test]
fn a_change_of_rules_holds_for_flows_that_are_known() {
    let mut yard = between(&plan());
    passes(&mut yard, &there());
    passes(&mut yard, &there());
    plan().rule(Hook::Forward, Condition { destination_port: one(53), ..any() }, Action::Drop).run(&mut yard);
    dropped(&mut yard, &there());
    plan().run(&mut yard);
    passes(&mut yard, &there());
}

#[test]
fn what_no_rule_ends_the_policy_does() {
    let allowed = Condition { destination_port: one(53), ..any() };
    for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
        let mut yard = between(&plan().rule(hook, allowed.clone(), Action::Accept).refuses(hook));
        for _ in 0..2 {
            passes(&mut yard, &there());
            dropped(&mut yard, &there().to("10.2.0.1:54"));
        }
    }
    // What passes through is none of input's or output's.
    let mut yard = between(&plan().refuses(Hook::Input).refuses(Hook::Output));
    passes(&mut yard, &there());
    dropped(&mut yard, &ping("10.1.0.1", "10.1.0.254", 1));
    let mut yard = between(&plan().refuses(Hook::Output));
    assert_eq!(send(&mut yard, 0, 1, &ping("10.1.0.1", "10.1.0.254", 1)), [], "nothing is said");
    assert_eq!(yard.counters(0).dropped(DropReason::Filtered), 1);
    assert_eq!(send(&mut yard, 0, 1, &udp("10.1.0.1:1", "10.9.9.9:1")), []);
    assert_eq!(yard.drops(0), [(DropReason::NoRoute, 1), (DropReason::Filtered, 2)]);
}

// -- What rules ask for

#[test]
fn every_field_tells_what_it_names() {
    let syn = tcp("10.1.0.1:1000", "10.2.0.1:53", SYN, 1, 0);
    let there6 = msg(V6.0, V6.1, Upper::Udp { from: 1000, to: 53, checked: true });
    let ping4 = ping(V4.0, V4.1, 53);
    let ping6 = ping(V6.0, V6.1, 53);
    let gre = msg(V4.0, V4.1, Upper::Other(47));
    let all = [there(), syn, there6, ping4, ping6, gre];
    let (udp, tcp, udp6, ping, pinging6, gre) = (0, 1, 2, 3, 4, 5);
    let icmp = |protocol, kind| one(Subject::icmp_number(protocol, kind));
    for (condition, whom, what) in [
        (any(), vec![0, 1, 2, 3, 4, 5], "nothing"),
        (Condition { input: one(0), ..any() }, vec![0, 1, 2, 3, 4, 5], "in 0"),
        (Condition { input: one(1), ..any() }, vec![], "in 1"),
        (Condition { output: one(1), ..any() }, vec![0, 1, 2, 3, 4, 5], "out 1"),
        (Condition { output: one(0), ..any() }, vec![], "out 0"),
        (Condition { protocol: one(17), ..any() }, vec![udp, udp6], "UDP"),
        (Condition { protocol: vec![6..=6, 47..=47], ..any() }, vec![tcp, gre], "TCP and GRE"),
        (
            Condition { source: network("10.1.0.0/24"), ..any() },
            vec![udp, tcp, ping, gre],
            "from 10.1.0.0/24",
        ),
        (Condition { source: network("10.2.0.0/24"), ..any() }, vec![], "from 10.2.0.0/24"),
        (Condition { source: network("0.0.0.0/0"), ..any() }, vec![udp, tcp, ping, gre], "from IPv4"),
        (Condition { destination: network("fd02::/16"), ..any() }, vec![udp6, pinging6], "to fd02::/16"),
        (
            Condition { destination: one(address("10.2.0.1").bits()), ..any() },
            vec![udp, tcp, ping, gre],
            "to 10.2.0.1",
        ),
        (Condition { source_port: vec![999..=1001], ..any() }, vec![udp, tcp, udp6], "from port 1000"),
        (Condition { source_port: vec![999..=999, 1001..=1001], ..any() }, vec![], "from its neighbours"),
        (
            Condition { destination_port: one(53), ..any() },
            vec![udp, tcp, udp6],
            "to port 53, no identifiers",
        ),
        (Condition { destination_port: vec![0..=65535], ..any() }, vec![udp, tcp, udp6], "any port"),
        (Condition { icmp_type: icmp(1, 8), ..any() }, vec![ping], "echo request"),
        (Condition { icmp_type: icmp(58, 128), ..any() }, vec![pinging6], "ICMPv6 echo request"),
        (Condition { icmp_type: icmp(1, 128), ..any() }, vec![], "ICMP of a type of ICMPv6"),
        (Condition { protocol: one(17), source: network("fd00::/8"), ..any() }, vec![udp6], "both"),
        (Condition { protocol: one(6), icmp_type: icmp(1, 8), ..any() }, vec![], "a contradiction"),
    ] {
        let mut yard = between(&plan().rule(Hook::Forward, condition, Action::Drop));
        for (number, msg) in all.iter().enumerate() {
            for _ in 0..2 {
                match whom.contains(&number) {
                    true => dropped(&mut yard, msg),
                    false => passes(&mut yard, msg),
                }
            }
        }
        assert_eq!(frames(&yard), [2 * whom.len() as u64], "{what}");
    }
}

#[test]
fn what_stands_in_no_header_fits_no_rule() {
    // Not matching what is not there (CVE-2023-5366): a port or a type of a protocol that has none.
    let mut yard =
        between(
            &plan()
                .rule(Hook::Forward, Condition { source_port: vec![0..=65535], ..any() }, Action::Drop)
                .rule(Hook::Forward, Condition { icmp_type: vec![0..=65535], ..any() }, Action::Drop),
        );
    passes(&mut yard, &msg(V4.0, V4.1, Upper::Other(132)));
    passes(&mut yard, &msg(V4.0, V4.1, Upper::Other(0x59)));
}

#[test]
fn parts_of_a_packet_are_put_together_before_ports_are_looked_at() {
    let mut yard =
        between(&plan().rule(Hook::Forward, Condition { destination_port: one(53), ..any() }, Action::Drop));
    for (port, falls) in [(53, true), (54, false)] {
        let whole = udp("10.1.0.1:1000", &format!("10.2.0.1:{port}")).may_be_cut().len(92);
        let packet = whole.packet();
        let part = |from: usize, to: usize, more: bool| {
            let mut part = [&packet[..20], &packet[20 + from..20 + to]].concat();
            let len = part.len() as u16;
            part[2..4].copy_from_slice(&len.to_be_bytes());
            part[6..8].copy_from_slice(&((from / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
            kit::gateways::finish(&mut part[..20]);
            kit::routers::in_frame(&part, gateway(), mac(1))
        };
        // Even when the last comes first.
        let mut left = yard.send(0, &part(48, 100, false));
        left.extend(yard.send(0, &part(0, 48, true)));
        let whole_again: Vec<u8> = left.iter().flat_map(|sent| sent.bytes[34..].to_vec()).collect();
        assert_eq!(whole_again, if falls { vec![] } else { packet[20..].to_vec() });
    }
    assert_eq!(frames(&yard), [1]);
}

// -- Hooks

/// A router whose second interface is outside, with a rule that counts each address at each hook.
fn counting(hook: Hook, source: &str, destination: &str) -> Plan {
    let condition = Condition {
        source: one(address(source).bits()),
        destination: one(address(destination).bits()),
        ..any()
    };
    plan().rule(hook, condition, Action::Count)
}

#[test]
fn each_hook_sees_the_addresses_of_its_place() {
    let (inside, own, server) = ("10.1.0.1", "10.2.0.254", "10.2.0.1");
    // Out, through masquerade, and the answer back.
    for (hook, out, back) in [
        (Hook::Prerouting, (inside, server), (server, own)),
        (Hook::Forward, (inside, server), (server, inside)),
        (Hook::Postrouting, (inside, server), (server, inside)),
    ] {
        for (source, destination) in [out, back] {
            let mut yard = between(&counting(hook, source, destination).masquerade(1));
            for count in 1..4 {
                let sent = only(send(&mut yard, 0, 1, &there()), 1, 2);
                assert_eq!(sent.from.to_string(), own);
                let answer = only(send(&mut yard, 1, 2, &sent.back()), 0, 1);
                assert_eq!(answer.to.to_string(), inside);
                assert_eq!(frames(&yard), [count], "{hook:?} {source} {destination}");
            }
        }
    }
    // In, through a port forward.
    for (hook, seen) in [
        (Hook::Prerouting, (server, own)),
        (Hook::Forward, (server, inside)),
        (Hook::Postrouting, (server, inside)),
    ] {
        let plan = counting(hook, seen.0, seen.1).forward(1, 17, 53..=53, &[(inside, 5353)]);
        let mut yard = between(&plan);
        for count in 1..4 {
            let question = udp("10.2.0.1:999", "10.2.0.254:53");
            let sent = only(send(&mut yard, 1, 2, &question), 0, 1);
            assert_eq!(sent, question.to("10.1.0.1:5353").hop());
            assert_eq!(frames(&yard), [count], "{hook:?}");
        }
    }
}

#[test]
fn what_is_for_the_router_meets_input_and_what_it_says_output() {
    let at = |hook, kind| {
        plan().rule(hook, Condition { icmp_type: one(Subject::icmp_number(1, kind)), ..any() }, Action::Count)
    };
    for (hook, kind, count) in [
        (Hook::Prerouting, 8, 1),
        (Hook::Input, 8, 1),
        (Hook::Forward, 8, 0),
        (Hook::Output, 8, 0),
        (Hook::Output, 0, 1),
        (Hook::Postrouting, 0, 1),
        (Hook::Input, 0, 0),
        (Hook::Forward, 0, 0),
    ] {
        let mut yard = between(&at(hook, kind));
        assert_eq!(send(&mut yard, 0, 1, &ping("10.1.0.1", "10.2.0.254", 1)).len(), 1);
        assert_eq!(frames(&yard), [count], "{hook:?} {kind}");
    }
    for (hook, count) in [(Hook::Output, 1), (Hook::Input, 0), (Hook::Forward, 0)] {
        let mut yard = between(&at(hook, 11));
        assert_eq!(send(&mut yard, 0, 1, &there().ttl(1)).len(), 1);
        assert_eq!(frames(&yard), [count], "{hook:?}: an error of its own");
    }
}

#[test]
fn neighbours_are_found_whatever_the_rules_say() {
    let plan = Plan::new()
        .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
        .on(1, 0, &["10.2.0.254/24", "fd02::fe/64"])
        .knows(0, "fd01::1", 1);
    let mut yard = between(
        &plan
            .clone()
            .rule(Hook::Input, states(&[Tracked::Established, Tracked::Related]), Action::Accept)
            .refuses(Hook::Input),
    );
    let there = msg(V6.0, V6.1, Upper::Udp { from: 1, to: 2, checked: true });
    assert_eq!(send(&mut yard, 0, 1, &there).len(), 1, "the question");
    let sent = yard.send(1, &kit::routers::advertisement(2, "fd02::1", "fd02::fe", 0x60));
    assert_eq!(only(sent, 1, 2), there.hop());
    // A probe by unicast is answered, too.
    let probe = nd("fd02::1", "fd02::fe", 135, 0, nd_target("fd02::fe", Some((1, mac(2)))));
    assert_eq!(send(&mut yard, 1, 2, &probe).len(), 1);
}

// -- What rules do

#[test]
fn reject_tells_the_sender() {
    let mut yard = between(&plan().rule(Hook::Forward, any(), Action::Reject));
    for round in 1..3 {
        // RFC 1812 section 5.2.7.1: communication administratively prohibited; RFC 4443 section 3.1.
        same(only(send(&mut yard, 0, 1, &there()), 0, 1), &error("10.1.0.254", &there(), 3, 13, 0));
        let there6 = msg(V6.0, V6.1, Upper::Udp { from: 1000, to: 53, checked: true });
        same(only(send(&mut yard, 0, 1, &there6), 0, 1), &error("fd01::fe", &there6, 1, 1, 0));
        for (from, to) in [V4, V6] {
            let upper = Upper::Tcp { from: 1000, to: 80, flags: SYN, sequence: 7, ack: 0, window: 9 };
            let syn = Msg { payload: vec![], ..msg(from, to, upper) };
            let answer = only(send(&mut yard, 0, 1, &syn), 0, 1);
            let Upper::Tcp { from: 80, to: 1000, flags, sequence: 0, ack: 8, .. } = answer.upper else {
                panic!("{answer:?}")
            };
            assert_eq!((flags, answer.from), (RST | ACK, syn.to));
        }
        assert_eq!(yard.counters(0).dropped(DropReason::Rejected), round * 4);
    }
    assert_eq!(frames(&yard), [8]);
}

#[test]
fn a_limit_lets_so_many_pass() {
    let bucket = Arc::new(TokenBucket::with_burst(10, 5));
    let mut yard = between(&plan().rule(Hook::Forward, any(), Action::Limit(bucket)));
    let passed = |yard: &mut Yard| (0..50).filter(|_| !send(yard, 0, 1, &there()).is_empty()).count();
    assert_eq!(passed(&mut yard), 5);
    yard.wait(Duration::from_millis(300));
    assert_eq!(passed(&mut yard), 3);
    assert_eq!(yard.counters(0).dropped(DropReason::RateLimited), 92);
    assert_eq!(frames(&yard), [100]);
}

#[test]
fn log_says_which_rule_met_which_packet() {
    let condition = Condition { destination_port: one(53), ..any() };
    let plan = plan().rule(Hook::Forward, any(), Action::Count).rule(Hook::Forward, condition, Action::Log);
    let mut yard = between(&plan);
    for _ in 0..3 {
        passes(&mut yard, &there());
        let events = yard.events();
        let [Event::Logged { rule: 1, port, tuple }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((port.0, tuple.source_port, tuple.destination_port), (0, 1000, 53));
        passes(&mut yard, &there().to("10.2.0.1:54"));
        assert_eq!(yard.events(), []);
    }
    // Nobody fills the log's memory.
    for _ in 0..10_000 {
        passes(&mut yard, &there());
    }
    assert!(yard.events().len() < 10_000);
}

// -- States

/// What is new may go from the first interface only.
fn stateful() -> Plan {
    plan()
        .rule(Hook::Forward, states(&[Tracked::Invalid]), Action::Drop)
        .rule(Hook::Forward, states(&[Tracked::Established]), Action::Accept)
        .rule(Hook::Forward, states(&[Tracked::Related]), Action::Accept)
        .rule(Hook::Forward, Condition { input: one(0), ..states(&[Tracked::New]) }, Action::Accept)
        .refuses(Hook::Forward)
}

#[test]
fn answers_pass_where_questions_may_not() {
    for (from, to) in [V4, V6] {
        let mut yard = between(&stateful());
        let udp = msg(from, to, Upper::Udp { from: 1000, to: 53, checked: true });
        let ping = ping(from, to, 9);
        for there in [udp, ping] {
            let back = there.back();
            assert_eq!(yard.refused(1, &back.frame(gateway(), mac(2)), Offload::NONE), DropReason::Filtered);
            passes(&mut yard, &there);
            for _ in 0..3 {
                assert_eq!(only(send(&mut yard, 1, 2, &back), 0, 1), back.hop());
                passes(&mut yard, &there);
            }
        }
        // New, established.
        assert_eq!(frames(&yard)[1..], [12, 0, 2]);
    }
}

#[test]
fn a_tcp_connection_is_new_until_it_is_answered() {
    let mut yard = between(&stateful());
    let syn = tcp("10.1.0.1:1000", "10.2.0.1:80", SYN, 100, 0);
    let syn_ack = tcp("10.2.0.1:80", "10.1.0.1:1000", SYN | ACK, 500, 101);
    let ack = tcp("10.1.0.1:1000", "10.2.0.1:80", ACK, 101, 501);
    assert_eq!(yard.refused(1, &syn_ack.frame(gateway(), mac(2)), Offload::NONE), DropReason::Filtered);
    passes(&mut yard, &syn);
    passes(&mut yard, &syn);
    assert_eq!(frames(&yard)[3], 2, "a repeated SYN is still new");
    assert_eq!(only(send(&mut yard, 1, 2, &syn_ack), 0, 1), syn_ack.hop());
    passes(&mut yard, &ack);
    assert_eq!(frames(&yard), [frames(&yard)[0], 2, 0, 2]);
    // A reset outside the window (RFC 5961) is not from the peer.
    let reset = tcp("10.2.0.1:80", "10.1.0.1:1000", RST, 500 + 0x1000_0000, 0);
    let reason = yard.refused(1, &reset.frame(gateway(), mac(2)), Offload::NONE);
    assert!(matches!(reason, DropReason::Filtered | DropReason::SessionInvalid), "{reason:?}");
    let data = tcp("10.2.0.1:80", "10.1.0.1:1000", ACK, 501, 201);
    assert_eq!(only(send(&mut yard, 1, 2, &data), 0, 1), data.hop(), "the connection lives");
    let fin = tcp("10.2.0.1:80", "10.1.0.1:1000", FIN | ACK, 601, 201);
    assert_eq!(only(send(&mut yard, 1, 2, &fin), 0, 1), fin.hop());
}

#[test]
fn errors_about_connections_are_related_and_others_invalid() {
    for ((from, to), kind) in [(V4, 3), (V6, 1)] {
        let mut yard = between(&stateful());
        let there = msg(from, to, Upper::Udp { from: 1000, to: 53, checked: true });
        let about =
            |quoted: &Msg| Msg { payload: quoted.hop().packet(), ..msg(to, from, Upper::Icmp(kind, 3, 0)) };
        let stray = about(&there);
        assert_eq!(yard.refused(1, &stray.frame(gateway(), mac(2)), Offload::NONE), DropReason::Filtered);
        assert_eq!(frames(&yard)[0], 1, "invalid");
        passes(&mut yard, &there);
        for count in 1..4 {
            assert_eq!(only(send(&mut yard, 1, 2, &stray), 0, 1), stray.hop());
            assert_eq!(frames(&yard)[2], count, "related");
        }
        // Of another connection of the same hosts.
        let other = about(&Msg { upper: Upper::Udp { from: 1001, to: 53, checked: true }, ..there });
        assert_eq!(yard.refused(1, &other.frame(gateway(), mac(2)), Offload::NONE), DropReason::Filtered);
    }
}

#[test]
fn without_a_rule_about_state_nothing_is_tracked() {
    let plan = plan().rule(Hook::Forward, any(), Action::Count);
    assert!(plan.sessions.is_none());
    let mut yard = between(&plan);
    passes(&mut yard, &tcp("10.1.0.1:1", "10.2.0.1:2", ACK, 1, 1));
}

#[test]
fn routers_have_rules_of_their_own() {
    let mut yard = Yard::new([port(), on(1, port()), on(2, port()), on(3, port())]);
    let other = Plan::new()
        .on(2, 0, &["10.1.0.254/24"])
        .on(3, 0, &["10.2.0.254/24"])
        .knows(0, "10.1.0.1", 1)
        .knows(1, "10.2.0.1", 2)
        .route("10.9.0.0/16", Route::Blackhole);
    run_all(&mut yard, &[plan().rule(Hook::Forward, any(), Action::Drop), other]);
    dropped(&mut yard, &there());
    assert_eq!(only(send(&mut yard, 2, 1, &there()), 3, 2), there().hop());
    assert_eq!(frames(&yard), [1]);
}

#[test]
fn among_ten_thousand_rules_the_first_that_fits_counts() {
    let mut plan = plan();
    for number in 0..10_000u128 {
        let condition = Condition {
            source: one(address("10.1.0.1").bits() + number % 7),
            destination_port: one(number % 5000 + 1),
            ..any()
        };
        plan =
            plan.rule(Hook::Forward, condition, if number % 2 == 0 { Action::Drop } else { Action::Accept });
    }
    let mut yard = between(&plan.refuses(Hook::Forward));
    for port in [1, 2, 8, 9, 15, 4999] {
        let there = udp("10.1.0.1:1000", &format!("10.2.0.1:{port}"));
        // The same as a walk through all.
        let first = (0..10_000u32).find(|number| number % 7 == 0 && number % 5000 + 1 == port);
        match first {
            Some(number) if number % 2 == 1 => passes(&mut yard, &there),
            _ => dropped(&mut yard, &there),
        }
        if let Some(number) = first {
            assert_eq!(frames(&yard)[number as usize], 1);
        }
    }
}
