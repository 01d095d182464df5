//! The table by its behaviours, one after the other; tests/conntrack_model.rs mixes them all.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::*;
use crate::wire::address::Address;
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use crate::wire::{icmp, tcp, udp};

const GRE: u8 = 47;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn tuple(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Tuple {
    Tuple {
        source: address(from.0),
        source_port: from.1,
        destination: address(to.0),
        destination_port: to.1,
        protocol,
    }
}

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn table(limits: Limits) -> Conntrack {
    Conntrack::new(limits, 7)
}

fn endpoint(text: &str, port: u16) -> Endpoint {
    Endpoint { address: address(text), port }
}

/// What NAT has in most of these tests.
struct Nat {
    addresses: Vec<RangeInclusive<Address>>,
    ports: RangeInclusive<u16>,
    keep_port: bool,
    reserved: Vec<Endpoint>,
}

fn nat(first: &str, last: &str, ports: RangeInclusive<u16>) -> Nat {
    Nat { addresses: vec![address(first)..=address(last)], ports, keep_port: false, reserved: Vec::new() }
}

fn masquerade() -> Nat {
    nat("198.51.100.1", "198.51.100.1", 1024..=65535)
}

impl Nat {
    fn open(&self, table: &Conntrack, original: Tuple, now: Time) -> Result<Arc<Session>, DropReason> {
        self.open_to(table, original, None, now)
    }

    fn open_to(
        &self,
        table: &Conntrack,
        original: Tuple,
        destination: Option<Endpoint>,
        now: Time,
    ) -> Result<Arc<Session>, DropReason> {
        let source = SourceNat {
            addresses: &self.addresses,
            ports: self.ports.clone(),
            keep_port: self.keep_port,
            reserved: &|endpoint, _| self.reserved.contains(&endpoint),
        };
        let tcp = (original.protocol == tcp::PROTOCOL).then(|| segment(SYN, 1000, 0));
        table.open(Opening { original, destination, source: Some(source), rule: 3, tcp }, now)
    }
}

fn plainly(table: &Conntrack, original: Tuple, now: Time) -> Result<Arc<Session>, DropReason> {
    let tcp = (original.protocol == tcp::PROTOCOL).then(|| segment(SYN, 1000, 0));
    table.open(Opening { original, destination: None, source: None, rule: 0, tcp }, now)
}

fn segment(flags: u8, sequence: u32, ack: u32) -> TcpSegment {
    TcpSegment { flags, sequence, ack, window: 1000, len: 0, window_scale: None }
}

fn external(session: &Session) -> (String, u16) {
    (session.reply().destination.to_string(), session.reply().destination_port)
}

/// There and back is the same, and both ways are found.
#[track_caller]
fn round(table: &Conntrack, session: &Arc<Session>, now: Time) {
    use Direction::{Original, Reply};
    assert_eq!(session.translated(Original).reversed(), *session.reply());
    assert_eq!(session.translated(Reply).reversed(), *session.original());
    for (tuple, direction) in [(session.original(), Original), (session.reply(), Reply)] {
        let (found, way) = table.lookup(tuple, now).expect("it is there");
        assert!(Arc::ptr_eq(&found, session));
        assert_eq!(way, direction);
    }
}

#[test]
fn a_session_takes_little_room() {
    assert!(size_of::<Session>() <= 144, "{} bytes", size_of::<Session>());
}

#[test]
fn what_is_not_translated_comes_back_as_it_went() {
    let table = table(Limits::default());
    for protocol in [udp::PROTOCOL, tcp::PROTOCOL, GRE] {
        let original = tuple(protocol, ("10.0.0.1", 5000), ("192.0.2.1", 53));
        assert!(table.lookup(&original, at(1)).is_none());
        let session = plainly(&table, original, at(1)).unwrap();
        round(&table, &session, at(1));
        assert!(!session.is_translated());
        assert_eq!(*session.reply(), original.reversed());
        let again = plainly(&table, original, at(1)).unwrap();
        assert!(Arc::ptr_eq(&again, &session), "it is there already");
    }
    assert_eq!(table.stats().live, 3);
    assert_eq!(table.stats().mappings, 0);
}

#[test]
fn a_source_port_is_kept_where_it_is_free() {
    let table = table(Limits::default());
    let nat = masquerade();
    let to = ("192.0.2.1", 53);
    let first = nat.open(&table, tuple(udp::PROTOCOL, ("10.0.0.1", 5000), to), at(1)).unwrap();
    assert_eq!(external(&first), ("198.51.100.1".into(), 5000));
    assert!(first.is_translated() && first.rule() == 3);
    round(&table, &first, at(1));
    let second = nat.open(&table, tuple(udp::PROTOCOL, ("10.0.0.2", 5000), to), at(1)).unwrap();
    let (_, port) = external(&second);
    assert!(port != 5000 && port >= 1024, "{port}");
    assert_eq!(port % 2, 0, "RFC 4787 REQ-4");
    round(&table, &second, at(1));
    let tcp = nat.open(&table, tuple(tcp::PROTOCOL, ("10.0.0.2", 5000), to), at(1)).unwrap();
    assert_eq!(external(&tcp).1, 5000, "protocols do not share ports");
    assert_eq!(table.stats().mappings, 3);
}

#[test]
fn low_ports_stay_low_where_they_may() {
    let to = ("192.0.2.1", 53);
    for (ports, low) in [(1..=65535, true), (1024..=65535, false)] {
        let table = table(Limits::default());
        let nat = nat("198.51.100.1", "198.51.100.1", ports);
        for host in 1..50 {
            let source = format!("10.0.0.{host}");
            for port in [500, 501, 5000, 5001] {
                let session = nat.open(&table, tuple(udp::PROTOCOL, (&source, port), to), at(1)).unwrap();
                let given = external(&session).1;
                assert_eq!(given % 2, port % 2);
                assert_eq!(given < 1024, port < 1024 && low);
            }
        }
    }
}

#[test]
fn ports_are_not_given_in_a_row() {
    let table = table(Limits::default());
    let nat = masquerade();
    let given: Vec<_> = (1..100)
        .map(|host| {
            let from = format!("10.0.0.{host}");
            let original = tuple(udp::PROTOCOL, (&from, 5000), ("192.0.2.1", 53));
            external(&nat.open(&table, original, at(1)).unwrap()).1
        })
        .collect();
    let near = given.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 100).count();
    assert!(near < 10, "{given:?}");
}

#[test]
fn a_mapping_is_the_same_for_all_destinations_and_ends_with_its_last_session() {
    for (first, from, to) in
        [("198.51.100.1", "10.0.0.", "192.0.2."), ("2001:db8::1", "fd00::", "2001:db8:1::")]
    {
        let table = table(Limits::default());
        let nat = nat(first, first, 1024..=65535);
        let one = |n: u16| tuple(udp::PROTOCOL, (&format!("{from}1"), 5000), (&format!("{to}{n}"), 53));
        let other = tuple(udp::PROTOCOL, (&format!("{from}2"), 5000), (&format!("{to}1"), 53));
        let other = nat.open(&table, other, at(0)).unwrap();
        assert_eq!(external(&other).1, 5000);
        let sessions: Vec<_> = (1..=5).map(|n| nat.open(&table, one(n), at(1)).unwrap()).collect();
        let mapped = external(&sessions[0]);
        assert_ne!(mapped.1, 5000, "taken");
        assert!(sessions.iter().all(|session| external(session) == mapped));
        let at_end = endpoint(first, mapped.1);
        assert_eq!(table.mapping(endpoint(&format!("{from}1"), 5000), udp::PROTOCOL), Some(at_end));
        assert_eq!(table.stats().mappings, 2);
        table.remove(&other);
        for (n, session) in sessions.iter().enumerate() {
            let more = nat.open(&table, one(100 + n as u16), at(1)).unwrap();
            assert_eq!(external(&more), mapped, "though 5000 is free now");
            table.remove(session);
        }
        assert_eq!(table.flush(|_| true), 5);
        assert_eq!(table.stats().mappings, 0);
        assert_eq!(external(&nat.open(&table, one(1), at(1)).unwrap()).1, 5000);
    }
}

#[test]
fn mappings_of_two_wans_are_two() {
    let table = table(Limits::default());
    let (one, two) = (masquerade(), nat("203.0.113.1", "203.0.113.1", 1024..=65535));
    let from = ("10.0.0.1", 5000);
    let a = one.open(&table, tuple(udp::PROTOCOL, from, ("192.0.2.1", 53)), at(1)).unwrap();
    let b = two.open(&table, tuple(udp::PROTOCOL, from, ("192.0.2.2", 53)), at(1)).unwrap();
    let c = one.open(&table, tuple(udp::PROTOCOL, from, ("192.0.2.3", 53)), at(1)).unwrap();
    assert_eq!(external(&a), external(&c));
    assert_eq!(external(&b).0, "203.0.113.1");
}

#[test]
fn mappings_by_destination_share_a_port() {
    let limits = Limits { mapping: Mapping::AddressAndPortDependent, ..Limits::default() };
    let table = table(limits);
    let nat = nat("198.51.100.1", "198.51.100.1", 5000..=5000);
    for n in 1..10 {
        let to = format!("192.0.2.{n}");
        let session =
            nat.open(&table, tuple(udp::PROTOCOL, (&format!("10.0.0.{n}"), 9), (&to, 53)), at(1)).unwrap();
        assert_eq!(external(&session).1, 5000);
        round(&table, &session, at(1));
        let same = tuple(udp::PROTOCOL, ("10.0.1.1", 9), (&to, 53));
        assert_eq!(nat.open(&table, same, at(1)).unwrap_err(), DropReason::PortsExhausted);
    }
    assert_eq!(table.stats().mappings, 0);
    assert_eq!(table.stats().refused_ports, 9);
}

#[test]
fn an_address_inside_has_one_address_outside() {
    let table = table(Limits::default());
    let nat = nat("198.51.100.1", "198.51.100.8", 1024..=65535);
    let mut used = BTreeSet::new();
    for host in 1..250 {
        let from = format!("10.0.0.{host}");
        let of = |port, protocol| {
            let original = tuple(protocol, (&from, port), ("192.0.2.1", 53));
            external(&nat.open(&table, original, at(1)).unwrap()).0
        };
        let first = of(1, udp::PROTOCOL);
        assert_eq!(of(2, udp::PROTOCOL), first);
        assert_eq!(of(2, tcp::PROTOCOL), first);
        used.insert(first);
    }
    assert_eq!(used.len(), 8, "all are made use of");
}

#[test]
fn who_has_no_address_yet_goes_where_there_is_room() {
    let table = table(Limits::default());
    let nat = nat("198.51.100.1", "198.51.100.2", 2000..=2001);
    let open = |host: u8, port| {
        let from = format!("10.0.0.{host}");
        nat.open(&table, tuple(udp::PROTOCOL, (&from, port), ("192.0.2.1", 53)), at(1))
    };
    let first = external(&open(1, 1).unwrap());
    assert_eq!(external(&open(1, 2).unwrap()).0, first.0);
    assert_eq!(open(1, 3).unwrap_err(), DropReason::PortsExhausted, "it keeps its address");
    let others: Vec<_> = (2..9).filter_map(|host| open(host, 1).ok()).collect();
    assert_eq!(others.len(), 2);
    assert!(others.iter().all(|other| external(other).0 != first.0));
    let last = others[0].original().source.to_string();
    let again = tuple(udp::PROTOCOL, (&last, 1), ("192.0.2.7", 53));
    assert_eq!(external(&nat.open(&table, again, at(1)).unwrap()), external(&others[0]));
}

#[test]
fn what_is_reserved_is_never_given() {
    let table = table(Limits::default());
    let mut nat = nat("198.51.100.1", "198.51.100.1", 2000..=2009);
    nat.reserved = (2000..2009).map(|port| endpoint("198.51.100.1", port)).collect();
    let original = |port| tuple(tcp::PROTOCOL, ("10.0.0.1", port), ("192.0.2.1", 80));
    assert_eq!(external(&nat.open(&table, original(2003), at(1)).unwrap()).1, 2009, "not even to keep it");
    assert_eq!(nat.open(&table, original(2004), at(1)).unwrap_err(), DropReason::PortsExhausted);
    nat.keep_port = true;
    assert_eq!(nat.open(&table, original(2005), at(1)).unwrap_err(), DropReason::PortsExhausted);
}

#[test]
fn static_nat_keeps_every_port() {
    let table = table(Limits::default());
    let mut nat = masquerade();
    nat.keep_port = true;
    for port in [0, 1, 80, 65535] {
        let original = tuple(tcp::PROTOCOL, ("10.0.0.1", port), ("192.0.2.1", 80));
        assert_eq!(external(&nat.open(&table, original, at(1)).unwrap()).1, port);
        let other = tuple(tcp::PROTOCOL, ("10.0.0.2", port), ("192.0.2.2", 80));
        assert_eq!(nat.open(&table, other, at(1)).unwrap_err(), DropReason::PortsExhausted);
    }
}

#[test]
fn identifiers_of_echoes_are_mapped_like_ports() {
    let table = table(Limits::default());
    let nat = masquerade();
    for (protocol, first, second, to) in [
        (icmp::PROTOCOL, "10.0.0.1", "10.0.0.2", "192.0.2.1"),
        (icmp::V6_PROTOCOL, "fd00::1", "fd00::2", "2001:db8::1"),
    ] {
        let one = nat.open(&table, tuple(protocol, (first, 2000), (to, 0)), at(1)).unwrap();
        let two = nat.open(&table, tuple(protocol, (second, 2000), (to, 0)), at(1)).unwrap();
        assert_eq!((one.reply().source_port, external(&one).1), (0, 2000));
        assert_ne!(external(&two).1, 2000);
        round(&table, &one, at(1));
        round(&table, &two, at(1));
        assert_eq!(one.expires_in(at(1)), Duration::from_secs(61));
    }
}

#[test]
fn protocols_without_ports_get_an_address_each() {
    let table = table(Limits::default());
    let nat = masquerade();
    let one = nat.open(&table, tuple(GRE, ("10.0.0.1", 0), ("192.0.2.1", 0)), at(1)).unwrap();
    assert_eq!(external(&one), ("198.51.100.1".into(), 0));
    round(&table, &one, at(1));
    let same = tuple(GRE, ("10.0.0.2", 0), ("192.0.2.1", 0));
    assert_eq!(nat.open(&table, same, at(1)).unwrap_err(), DropReason::PortsExhausted);
    nat.open(&table, tuple(GRE, ("10.0.0.2", 0), ("192.0.2.2", 0)), at(1)).unwrap();
    assert_eq!(table.stats().mappings, 0);
}

#[test]
fn destination_and_source_are_translated_together() {
    let table = table(Limits::default());
    let nat = masquerade();
    let original = tuple(tcp::PROTOCOL, ("10.0.0.9", 5000), ("198.51.100.1", 8080));
    let session = nat.open_to(&table, original, Some(endpoint("10.0.0.2", 80)), at(1)).unwrap();
    let hairpin = tuple(tcp::PROTOCOL, ("198.51.100.1", 5000), ("10.0.0.2", 80));
    assert_eq!(session.translated(Direction::Original), hairpin);
    round(&table, &session, at(1));
    // Two addresses of one server: its answers have to be told apart, so this mapping cannot be for all.
    let other = tuple(tcp::PROTOCOL, ("10.0.0.9", 5000), ("198.51.100.2", 8080));
    let other = nat.open_to(&table, other, Some(endpoint("10.0.0.2", 80)), at(1)).unwrap();
    assert_ne!(external(&other), external(&session));
    round(&table, &other, at(1));
}

#[test]
fn a_flow_whose_answers_are_another_s_is_refused() {
    let table = table(Limits::default());
    let inside = tuple(udp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 53));
    let session = masquerade().open(&table, inside, at(1)).unwrap();
    let own = session.reply().reversed();
    assert_eq!(plainly(&table, own, at(1)).unwrap_err(), DropReason::PortsExhausted);
    round(&table, &session, at(1));
}

#[test]
fn who_may_come_in_from_outside() {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for (filtering, same, port, stranger) in [
        (EndpointIndependent, true, true, true),
        (AddressDependent, true, true, false),
        (AddressAndPortDependent, true, false, false),
    ] {
        let table = table(Limits { filtering, ..Limits::default() });
        let original = tuple(udp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 53));
        masquerade().open(&table, original, at(1)).unwrap();
        let inbound = |from: (&str, u16), to: u16, now| {
            table.inbound(&tuple(udp::PROTOCOL, from, ("198.51.100.1", to)), at(now))
        };
        let inside = |yes: bool| yes.then(|| endpoint("10.0.0.1", 5000));
        assert_eq!(inbound(("192.0.2.1", 53), 5000, 2), inside(same), "{filtering:?}");
        assert_eq!(inbound(("192.0.2.1", 54), 5000, 2), inside(port), "{filtering:?}");
        assert_eq!(inbound(("192.0.2.2", 53), 5000, 2), inside(stranger), "{filtering:?}");
        assert_eq!(inbound(("192.0.2.1", 53), 5001, 2), None, "no mapping");
        assert_eq!(inbound(("192.0.2.1", 53), 5000, 122), None, "over, though not swept");
    }
}

#[test]
fn sessions_end_when_they_are_silent_for_long_enough() {
    let table = table(Limits::default());
    let original = tuple(udp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 53));
    let session = masquerade().open(&table, original, at(10)).unwrap();
    assert_eq!(session.state(), State::New);
    assert!(session.is_half_open());
    assert!(session.is_live(at(130)) && !session.is_live(at(131)), "nobody answered");
    assert!(table.lookup(&original, at(130)).is_some() && table.lookup(&original, at(131)).is_none());
    assert_eq!(table.expire(at(130)), Some(at(131)), "a second early");
    assert_eq!(session.packet(Direction::Original, at(100), None), Ok(State::New));
    let stamp = session.stamp();
    assert_eq!(session.packet(Direction::Reply, at(100), None), Ok(State::Established));
    assert_ne!(session.stamp(), stamp);
    assert!(!session.is_half_open());
    let stamp = session.stamp();
    assert!(session.is_live(at(400)) && !session.is_live(at(401)));
    session.touch(Direction::Original, at(400), None);
    assert!(session.is_live(at(700)));
    assert_eq!(session.stamp(), stamp);
    session.touch(Direction::Original, at(701), None);
    assert!(!session.is_live(at(701)), "what is over is not revived");
    assert_eq!(session.packet(Direction::Reply, at(701), None), Err(DropReason::NoSession));
    let mut due = table.expire(at(701));
    while due == Some(at(701)) {
        due = table.expire(at(701));
    }
    assert_eq!(due, None);
    assert_eq!(table.stats().live, 0);
    assert_ne!(session.stamp(), stamp, "caches notice");
}

#[test]
fn what_timed_out_is_no_hindrance_before_it_is_swept() {
    let limits = Limits { sessions: 100, per_source: 100, ..Limits::default() };
    let table = table(limits);
    let nat = nat("198.51.100.1", "198.51.100.1", 2000..=2099);
    let original = |n: u16| tuple(udp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 53));
    for n in 0..100 {
        let session = nat.open(&table, original(n), at(1)).unwrap();
        session.packet(Direction::Reply, at(1), None).unwrap();
    }
    assert_eq!(nat.open(&table, original(100), at(1)).unwrap_err(), DropReason::SourceQuota);
    for n in 100..200 {
        nat.open(&table, original(n), at(302)).unwrap();
    }
    assert_eq!(table.stats().live, 100);
    assert_eq!(table.stats().evicted, 0);
}

#[test]
fn a_source_has_a_quota() {
    let table = table(Limits { per_source: 3, ..Limits::default() });
    let original = |host: &str, n: u16| tuple(udp::PROTOCOL, (host, n), ("192.0.2.1", 53));
    let first = plainly(&table, original("10.0.0.1", 0), at(1)).unwrap();
    for n in 1..3 {
        plainly(&table, original("10.0.0.1", n), at(1)).unwrap();
    }
    assert_eq!(plainly(&table, original("10.0.0.1", 3), at(1)).unwrap_err(), DropReason::SourceQuota);
    plainly(&table, original("10.0.0.2", 3), at(1)).unwrap();
    table.remove(&first);
    plainly(&table, original("10.0.0.1", 3), at(1)).unwrap();
    assert_eq!(table.stats().refused_quota, 1);
}

#[test]
fn a_flood_never_throws_out_what_is_established() {
    let table = table(Limits { sessions: 200, ..Limits::default() });
    let nat = nat("198.51.100.1", "198.51.100.9", 1024..=65535);
    let original = |host: u32, port| Tuple {
        source: Address::v4(0x0a00_0000 + host),
        ..tuple(tcp::PROTOCOL, ("::", port), ("192.0.2.1", 80))
    };
    let established: Vec<_> = (0..100).map(|n| nat.open(&table, original(n, 1), at(1)).unwrap()).collect();
    established.iter().for_each(|session| _ = shake_hands(session, at(1)));
    for n in 0..5000 {
        nat.open(&table, original(1000 + n, 2), at(2 + u64::from(n) / 100)).unwrap();
    }
    assert!(established.iter().all(|session| session.is_live(at(60))));
    let stats = table.stats();
    assert_eq!((stats.live, stats.half_open, stats.evicted), (200, 100, 4900));
    // Those that are over give way before those that begin.
    let beginning: Vec<_> =
        (0..100).map(|n| nat.open(&table, original(9000 + n, 2), at(60)).unwrap()).collect();
    let reset = segment(RST | ACK, 1001, 501);
    assert_eq!(established[0].packet(Direction::Original, at(60), Some(reset)), Ok(State::Closed));
    nat.open(&table, original(9999, 2), at(61)).unwrap();
    assert!(!established[0].is_live(at(61)));
    assert!(beginning.iter().all(|session| session.is_live(at(61))));
    beginning.iter().for_each(|session| _ = shake_hands(session, at(61)));
    nat.open(&table, original(10_000, 2), at(61)).unwrap();
    let last = nat.open(&table, original(10_001, 2), at(61)).unwrap();
    shake_hands(&last, at(61));
    assert_eq!(nat.open(&table, original(10_002, 2), at(61)).unwrap_err(), DropReason::SessionsFull);
    assert_eq!(table.stats().refused_full, 1);
}

#[test]
fn the_oldest_that_is_half_open_gives_way_whatever_it_is() {
    let table = table(Limits { sessions: 100, ..Limits::default() });
    let syn = |n| tuple(tcp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 80));
    let mut now = 1;
    for n in 0..1000 {
        plainly(&table, syn(n), at(now)).unwrap();
        if n % 50 == 0 {
            now += 1;
            table.expire(at(now));
        }
    }
    // It would end long before the SYNs that came before it.
    let echo = plainly(&table, tuple(icmp::PROTOCOL, ("10.0.0.2", 7), ("192.0.2.1", 0)), at(now)).unwrap();
    let question =
        plainly(&table, tuple(udp::PROTOCOL, ("10.0.0.2", 7), ("192.0.2.1", 53)), at(now)).unwrap();
    (1000..1098).for_each(|n| drop(plainly(&table, syn(n), at(now)).unwrap()));
    assert!(echo.is_live(at(now)) && question.is_live(at(now)));
    (1098..1100).for_each(|n| drop(plainly(&table, syn(n), at(now)).unwrap()));
    assert!(!echo.is_live(at(now)) && !question.is_live(at(now)));
    assert_eq!(table.stats().live, 100);
}

#[test]
fn a_limit_that_is_lowered_takes_effect() {
    let table = table(Limits { sessions: 10, ..Limits::default() });
    let original = |n| tuple(udp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 53));
    for n in 0..10 {
        plainly(&table, original(n), at(1)).unwrap();
    }
    table.configure(Limits { sessions: 8, ..Limits::default() });
    assert_eq!(plainly(&table, original(10), at(1)).unwrap_err(), DropReason::SessionsFull);
    plainly(&table, original(11), at(1)).unwrap();
    assert_eq!(table.stats().live, 8);
    table.configure(Limits { sessions: 0, ..Limits::default() });
    assert_eq!(plainly(&table, original(12), at(1)).unwrap_err(), DropReason::SessionsFull);
}

#[test]
fn ports_run_out_for_the_new_flow_and_closed_connections_give_up_theirs() {
    let table = table(Limits::default());
    let nat = nat("198.51.100.1", "198.51.100.1", 2000..=2003);
    let original = |n| tuple(tcp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 53));
    let sessions: Vec<_> = (0..4).map(|n| nat.open(&table, original(n), at(1)).unwrap()).collect();
    assert_eq!(nat.open(&table, original(9), at(1)).unwrap_err(), DropReason::PortsExhausted);
    assert!(sessions.iter().all(|session| session.is_live(at(1))), "not even half-open ones go for it");
    shake_hands(&sessions[2], at(1));
    sessions[2].packet(Direction::Reply, at(1), Some(segment(RST, 501, 0))).unwrap();
    let heir = nat.open(&table, original(9), at(1)).unwrap();
    assert_eq!(external(&heir), external(&sessions[2]));
    assert!(!sessions[2].is_live(at(1)));
    assert_eq!(table.stats().refused_ports, 1);
}

/// The rest of the handshake after [`segment`]`(SYN, 1000, 0)`.
fn shake_hands(session: &Session, now: Time) -> State {
    let answer = session.packet(Direction::Reply, now, Some(segment(SYN | ACK, 500, 1001)));
    assert_eq!(answer, Ok(State::Established));
    assert!(session.is_half_open());
    session.packet(Direction::Original, now, Some(segment(ACK, 1001, 501))).unwrap()
}

fn connection(table: &Conntrack) -> Arc<Session> {
    let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
    let session = plainly(table, original, at(0)).unwrap();
    assert_eq!(session.state(), State::New);
    shake_hands(&session, at(0));
    session
}

#[test]
fn a_connection_from_its_first_packet_to_its_last() {
    use Direction::{Original, Reply};
    let table = table(Limits::default());
    let session = connection(&table);
    assert!(!session.is_half_open());
    assert_eq!(session.expires_in(at(0)), Duration::from_secs(7441));
    let stamp = session.stamp();
    assert_eq!(session.packet(Original, at(1), Some(segment(ACK | PSH, 1001, 501))), Ok(State::Established));
    assert_eq!(
        session.packet(Original, at(1), Some(segment(SYN, 7, 0))),
        Ok(State::Established),
        "a challenge"
    );
    assert_eq!(session.stamp(), stamp);
    assert_eq!(session.packet(Original, at(2), Some(segment(FIN | ACK, 1001, 501))), Ok(State::Closing));
    assert_eq!(session.expires_in(at(2)), Duration::from_secs(241));
    assert_eq!(session.packet(Reply, at(3), Some(segment(ACK, 501, 1002))), Ok(State::Closing));
    assert_eq!(
        session.packet(Original, at(3), Some(segment(FIN | ACK, 1001, 501))),
        Ok(State::Closing),
        "again"
    );
    assert_eq!(session.packet(Reply, at(4), Some(segment(FIN | ACK, 501, 1002))), Ok(State::Closed));
    assert_eq!(session.packet(Original, at(4), Some(segment(ACK, 1002, 502))), Ok(State::Closed));
    assert_eq!(table.stats().closed, 1);
    // The same ports again.
    assert_eq!(session.packet(Original, at(5), Some(segment(SYN, 1000, 0))), Ok(State::New));
    assert!(session.is_half_open());
    assert_eq!(shake_hands(&session, at(5)), State::Established);
    // And from the other side, which is another connection.
    session.packet(Reply, at(6), Some(segment(RST, 501, 0))).unwrap();
    assert_eq!(session.packet(Reply, at(7), Some(segment(SYN, 9, 0))), Err(DropReason::NoSession));
    assert!(table.lookup(session.original(), at(7)).is_none());
}

#[test]
fn resets_count_in_the_window_only() {
    use Direction::{Original, Reply};
    let table = table(Limits::default());
    for (direction, next) in [(Original, 1001u32), (Reply, 501)] {
        // What a window of 1000 is taken for.
        let reach = 1000 + 0xffff;
        for (sequence, counts) in [
            (next, true),
            (next + 1000, true),
            (next + reach, true),
            (next + reach + 1, false),
            (next - 1, false),
            (next.wrapping_add(1 << 31), false),
        ] {
            let session = connection(&table);
            let stamp = session.stamp();
            let got = session.packet(direction, at(1), Some(segment(RST, sequence, 0)));
            match counts {
                true => assert_eq!(got, Ok(State::Closed), "{sequence}"),
                false => assert_eq!(got, Err(DropReason::SessionInvalid), "{sequence}"),
            }
            assert_eq!(session.stamp() != stamp, counts);
            table.remove(&session);
        }
    }
}

#[test]
fn a_window_is_scaled_where_both_offer_it() {
    use Direction::{Original, Reply};
    for (answer, reach) in [(Some(2), (1000 << 14) * 5 / 4), (None, 1000 + 0xffff)] {
        let table = table(Limits::default());
        let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
        let syn = TcpSegment { window_scale: Some(200), ..segment(SYN, 1000, 0) };
        let opening = Opening { original, destination: None, source: None, rule: 0, tcp: Some(syn) };
        let session = table.open(opening, at(0)).unwrap();
        let answer = TcpSegment { window_scale: answer, ..segment(SYN | ACK, 500, 1001) };
        session.packet(Reply, at(0), Some(answer)).unwrap();
        session.packet(Original, at(0), Some(segment(ACK, 1001, 501))).unwrap();
        let reset = |sequence| session.packet(Reply, at(1), Some(segment(RST, sequence, 0)));
        assert_eq!(reset(501 + reach + 1), Err(DropReason::SessionInvalid));
        assert_eq!(reset(501 + reach), Ok(State::Closed));
    }
}

#[test]
fn the_window_moves_with_what_is_acknowledged_but_not_with_what_is_forged() {
    use Direction::{Original, Reply};
    let table = table(Limits::default());
    let session = connection(&table);
    let forged = 0x7000_0000;
    session.touch(Original, at(1), Some(segment(ACK, 1001, forged)));
    assert_eq!(session.packet(Reply, at(1), Some(segment(RST, forged, 0))), Err(DropReason::SessionInvalid));
    let mut acknowledged = 501u32;
    for _ in 0..1_000 {
        acknowledged = acknowledged.wrapping_add(60_000);
        session.touch(Original, at(1), Some(segment(ACK, 1001, acknowledged)));
        session.touch(Original, at(1), Some(segment(ACK, 1001, acknowledged.wrapping_sub(30_000))));
    }
    assert_eq!(session.packet(Reply, at(1), Some(segment(RST, 501, 0))), Err(DropReason::SessionInvalid));
    assert_eq!(session.packet(Reply, at(1), Some(segment(RST, acknowledged, 0))), Ok(State::Closed));
}

#[test]
fn a_refusal_has_to_acknowledge_the_syn() {
    use Direction::{Original, Reply};
    let table = table(Limits::default());
    let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
    let session = plainly(&table, original, at(0)).unwrap();
    for invalid in [
        segment(RST, 0, 0),
        segment(RST | ACK, 0, 1000),
        segment(RST | ACK, 0, 99_999),
        segment(RST, 1001, 1001),
    ] {
        assert_eq!(session.packet(Reply, at(0), Some(invalid)), Err(DropReason::SessionInvalid));
    }
    // What is left of an older connection: the opener resets it and tries again.
    assert_eq!(session.packet(Reply, at(0), Some(segment(ACK, 77, 88_888_888))), Ok(State::New));
    assert_eq!(session.packet(Original, at(0), Some(segment(RST, 88_888_888, 0))), Ok(State::New));
    assert_eq!(session.packet(Original, at(0), Some(segment(SYN, 1000, 0))), Ok(State::New));
    assert_eq!(session.packet(Reply, at(0), Some(segment(RST | ACK, 0, 1001))), Ok(State::Closed));
}

#[test]
fn a_handshake_is_not_finished_by_a_guess() {
    let table = table(Limits::default());
    let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
    let session = plainly(&table, original, at(0)).unwrap();
    session.packet(Direction::Reply, at(0), Some(segment(SYN | ACK, 500, 1001))).unwrap();
    session.packet(Direction::Original, at(0), Some(segment(ACK, 1001, 77_777_777))).unwrap();
    assert!(session.is_half_open());
    session.packet(Direction::Original, at(0), Some(segment(ACK, 1001, 501))).unwrap();
    assert!(!session.is_half_open());
}

#[test]
fn both_may_open_at_the_same_time() {
    use Direction::{Original, Reply};
    let table = table(Limits::default());
    let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
    let session = plainly(&table, original, at(0)).unwrap();
    assert_eq!(session.packet(Reply, at(0), Some(segment(SYN, 500, 0))), Ok(State::Established));
    assert_eq!(session.packet(Reply, at(0), Some(segment(SYN | ACK, 500, 1001))), Ok(State::Established));
    assert!(session.is_half_open());
    assert_eq!(session.packet(Original, at(0), Some(segment(SYN | ACK, 1000, 501))), Ok(State::Established));
    assert!(!session.is_half_open());
    assert_eq!(session.packet(Reply, at(0), Some(segment(RST, 501, 0))), Ok(State::Closed));
}

#[test]
fn what_is_under_way_already_is_picked_up() {
    use Direction::Reply;
    let table = table(Limits::default());
    let original = tuple(tcp::PROTOCOL, ("10.0.0.1", 5000), ("192.0.2.1", 80));
    let tcp = Some(segment(ACK, 5_000_000, 6_000_000));
    let session =
        table.open(Opening { original, destination: None, source: None, rule: 0, tcp }, at(0)).unwrap();
    assert_eq!(session.state(), State::New);
    assert!(session.is_half_open());
    let answer = segment(ACK, 6_000_000, 5_000_100);
    assert_eq!(session.packet(Reply, at(0), Some(answer)), Ok(State::Established));
    assert!(!session.is_half_open());
    assert_eq!(session.packet(Reply, at(0), Some(segment(RST, 1 << 31, 0))), Err(DropReason::SessionInvalid));
    assert_eq!(session.packet(Reply, at(0), Some(segment(RST, 6_000_000, 0))), Ok(State::Closed));
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let table = table(Limits::default());
    let session = connection(&table);
    for flags in [0, FIN, PSH, SYN | FIN, SYN | RST, SYN | FIN | ACK, RST | FIN, RST | SYN | ACK, 0x3f] {
        for direction in [Direction::Original, Direction::Reply] {
            let got = session.packet(direction, at(1), Some(segment(flags, 1001, 501)));
            assert_eq!(got, Err(DropReason::SessionInvalid), "{flags:#x}");
        }
    }
    let syn = session.packet(Direction::Reply, at(1), Some(segment(SYN, 501, 0)));
    assert_eq!(syn, Err(DropReason::SessionInvalid), "a server does not open");
    assert_eq!(session.state(), State::Established);
}

#[test]
fn flush_removes_what_fits_and_caches_notice() {
    let table = table(Limits::default());
    let nat = masquerade();
    let sessions: Vec<_> = (0..2000)
        .map(|n| nat.open(&table, tuple(udp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 53)), at(1)).unwrap())
        .collect();
    let stamps: Vec<_> = sessions.iter().map(|session| session.stamp()).collect();
    assert_eq!(table.sessions().len(), 2000);
    assert_eq!(table.flush(|session| session.original().source_port % 2 == 0), 1000);
    for (session, stamp) in sessions.iter().zip(stamps) {
        let goes = session.original().source_port % 2 == 0;
        assert_eq!(session.is_live(at(1)), !goes);
        assert_eq!(session.stamp() != stamp, goes);
        assert_eq!(table.lookup(session.reply(), at(1)).is_none(), goes);
    }
    table.remove(&sessions[0]);
    assert_eq!(table.stats().live, 1000, "to remove one again changes nothing");
    let last = sessions.into_iter().next_back().unwrap();
    drop(table);
    assert!(!last.is_live(at(1)), "a table takes its sessions with it");
    assert_eq!(Arc::strong_count(&last), 1);
}

#[test]
fn a_long_pause_is_made_up_for_in_steps() {
    let table = table(Limits::default());
    let original = |n| tuple(udp::PROTOCOL, ("10.0.0.1", n), ("192.0.2.1", 53));
    let established = connection(&table);
    for n in 0..3000 {
        plainly(&table, original(n), at(u64::from(n) / 1000)).unwrap();
    }
    let mut steps = 1;
    while table.expire(at(7000)) == Some(at(7000)) {
        steps += 1;
    }
    assert!((10..=20).contains(&steps), "{steps}");
    assert_eq!(table.stats().live, 1);
    assert!(established.is_live(at(7000)));
    let mut now = at(7000);
    while let Some(due) = table.expire(now) {
        assert!(due > now && due <= at(7441));
        now = due;
    }
    assert_eq!(now, at(7441), "it ended when it should, and nobody came for nothing after");
}

#[test]
fn threads_that_open_and_look_up_find_one_session_each() {
    let table = table(Limits { sessions: 3000, ..Limits::default() });
    let nat = nat("198.51.100.1", "198.51.100.2", 1024..=65535);
    let original = |n: u32| {
        let source = Address::v4(0x0a00_0000 + n % 7);
        Tuple { source, ..tuple(udp::PROTOCOL, ("::", n as u16), ("192.0.2.1", 53)) }
    };
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (table, nat) = (&table, &nat);
            scope.spawn(move || {
                for n in 0..6000u32 {
                    let n = if thread == 0 { n } else { n ^ 3 };
                    let now = at(u64::from(n / 1000));
                    let tuple = original(n % 2000);
                    let session = match table.lookup(&tuple, now) {
                        Some((session, _)) => session,
                        None => nat.open(table, tuple, now).unwrap(),
                    };
                    assert_eq!(*session.original(), tuple);
                    _ = session.packet(Direction::Reply, now, None);
                    match n % 64 {
                        0 => table.remove(&session),
                        1 => _ = table.expire(now),
                        2 => _ = table.flush(|session| session.original().source_port == n as u16),
                        _ => {}
                    }
                }
            });
        }
    });
    let sessions = table.sessions();
    assert_eq!(sessions.len(), table.stats().live);
    let mut tuples = BTreeSet::new();
    for session in &sessions {
        assert!(tuples.insert(*session.original()) && tuples.insert(*session.reply()));
        round(&table, session, at(5));
    }
    table.flush(|_| true);
    assert_eq!((table.stats().live, table.stats().mappings), (0, 0));
}
