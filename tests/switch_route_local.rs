//! What is for a router itself: echo requests, and what nothing listens to.

mod kit;

use kit::frames::mac;
use kit::gateways::{between, error, only, plan, plan_to_tun, same, send, tun};
use kit::routers::{ACK, Msg, SYN, Upper, gateway, msg, ping, udp};
use kit::{Yard, port};
use tapyard::packet::{DropReason, Offload};

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
