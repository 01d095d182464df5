//! What a router does not pass on: wrong headers, addresses that nobody has, sources that lie, and what it says of it.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::frames::mac;
use kit::gateways::{V4, V6, between, error, error_quoting, finish, only, packets, plan, same, send};
use kit::routers::{Msg, Upper, gateway, in_frame, msg, ping, udp};
use kit::{Sent, Yard};
use tapyard::packet::{DropReason, Gso, Offload};
use tapyard::switch::router::{ReversePath, Route};
use tapyard::table::token_bucket::TokenBucket;
use tapyard::wire::ethernet::Mac;

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
