use super::*;
use crate::packet::fragment::{fragment, refragment};
use crate::packet::Batch;
use crate::wire::{checksum, ipv4, ipv6, set_be16};

const ORIGIN: Origin = Origin { router: RouterId(1), interface: InterfaceId(2), port: PortId(3) };
const INVALID: Outcome = Outcome::Refused(DropReason::FragmentInvalid);

/// UDP from 10.0.0.`source` to 10.0.0.2.
fn ipv4_packet(source: u8, identification: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x45, 2, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 0, 2];
    set_be16(&mut packet, 4, identification);
    packet.extend([0x10, 0, 0, 53, 0, 0, 0, 0]);
    packet.extend((0..payload).map(|i| (i / 7) as u8));
    let total_len = packet.len() as u16;
    ipv4::make_segment(&mut packet[..20], 0, total_len);
    packet
}

fn ipv6_packet(payload: usize) -> Vec<u8> {
    let mut packet = vec![0x60, 0x20, 0, 0, 0, 0, 0, 64];
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend([17, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop options
    packet.extend([0x10, 0, 0, 53, 0, 0, 0, 0]);
    packet.extend((0..payload).map(|i| (i / 7) as u8));
    let payload_len = (packet.len() - 40) as u16;
    ipv6::set_payload_len(&mut packet, payload_len);
    packet
}

fn framed(packet: &[u8]) -> Frame {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    Frame::from_bytes(&[&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &ether_type, packet, &[0x5a; 5]].concat())
}

fn cut(packet: &[u8], mtu: usize) -> Vec<Frame> {
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(&framed(packet));
    batch.commit(1);
    let read = Packet::of(&batch.frames()[0]).unwrap();
    let mut out = Vec::new();
    match packet[0] >> 4 {
        4 => fragment(&mut batch, 0, &read, mtu, &mut out).unwrap(),
        _ => refragment(&mut batch, 0, &read, mtu, 77, &mut out).unwrap(),
    }
    let copy = |index: &u32| {
        // Ethernet fills small ones up.
        let mut bytes = batch.frames()[*index as usize].bytes().to_vec();
        bytes.extend([0x5a; 9]);
        Frame::from_bytes(&bytes)
    };
    out.iter().map(copy).collect()
}

/// Changes the header of an IPv4 fragment.
fn changed(frame: &Frame, change: impl FnOnce(&mut [u8])) -> Frame {
    let mut frame = Frame::from_bytes(frame.bytes());
    let ip = &mut frame.bytes_mut()[14..34];
    change(ip);
    set_be16(ip, 10, 0);
    let sum = checksum::finish(checksum::sum(ip, 0));
    set_be16(ip, 10, sum);
    frame
}

#[derive(Default)]
struct Bench {
    table: Reassembly,
    whole: Frame,
    thrown: Vec<Thrown>,
}

impl Bench {
    fn take(&mut self, frame: &Frame) -> Outcome {
        self.take_at(frame, ORIGIN, Time::ZERO)
    }

    fn take_at(&mut self, frame: &Frame, origin: Origin, now: Time) -> Outcome {
        let packet = Packet::of(frame).unwrap();
        self.thrown.clear();
        self.table.take(frame, &packet, origin, now, &mut self.whole, &mut self.thrown)
    }

    #[track_caller]
    fn is_empty(&self) {
        let Reassembly { datagrams, by_age, sources, bytes, .. } = &self.table;
        assert_eq!((datagrams.len(), by_age.len(), sources.len(), *bytes), (0, 0, 0, 0));
    }
}

fn thrown(reason: DropReason, frames: u32) -> Vec<Thrown> {
    vec![Thrown { port: ORIGIN.port, reason, frames }]
}

#[test]
fn fragments_make_the_packet_in_any_order() {
    for (packet, mtu, largest) in [(ipv4_packet(1, 77, 60), 56, 52), (ipv6_packet(60), 92, 88)] {
        let fragments = cut(&packet, mtu);
        assert_eq!(fragments.len(), 3);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut bench = Bench::default();
            assert_eq!(
                order[..2].iter().map(|&i| bench.take(&fragments[i])).collect::<Vec<_>>(),
                [Outcome::Kept; 2]
            );
            let whole = Whole { fragments: 3, largest, dont_fragment: false, identification: 77 };
            assert_eq!(bench.take(&fragments[order[2]]), Outcome::Whole(whole), "{order:?}");
            assert_eq!(bench.whole.bytes(), [&framed(&packet).bytes()[..14], &packet].concat(), "{order:?}");
            assert_eq!(Packet::of(&bench.whole).unwrap().part, Part::Whole);
            assert!(bench.thrown.is_empty());
            bench.is_empty();
        }
    }
}

#[test]
fn an_exact_duplicate_is_dropped_alone() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let mut bench = Bench::default();
    for (index, expected) in
        [(0, Outcome::Kept), (0, INVALID), (1, Outcome::Kept), (1, INVALID), (0, INVALID)]
    {
        assert_eq!(bench.take(&fragments[index]), expected);
        assert!(bench.thrown.is_empty());
    }
    assert!(matches!(bench.take(&fragments[2]), Outcome::Whole(_)));
}

#[test]
fn overlaps_cost_the_whole_datagram_and_what_comes_of_it() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let more = 0x2000;
    for (what, spoil) in [
        (
            "one byte is another",
            Box::new(|frame: &Frame| {
                let mut frame = changed(frame, |_| {});
                frame.bytes_mut()[40] ^= 1;
                frame
            }) as Box<dyn Fn(&Frame) -> Frame>,
        ),
        ("moved by eight", Box::new(|frame: &Frame| changed(frame, |ip| set_be16(ip, 6, more | 3)))),
        ("another end", Box::new(|frame: &Frame| changed(frame, |ip| set_be16(ip, 6, 4)))),
        ("behind the end", Box::new(|frame: &Frame| changed(frame, |ip| set_be16(ip, 6, more | 100)))),
    ] {
        let mut bench = Bench::default();
        for kept in [&fragments[1], &fragments[2]] {
            assert_eq!(bench.take(kept), Outcome::Kept);
        }
        assert_eq!(bench.take(&spoil(&fragments[1])), INVALID, "{what}");
        assert_eq!(bench.thrown, thrown(DropReason::FragmentInvalid, 2), "{what}");
        assert_eq!(bench.table.bytes, 0);
        for late in &fragments {
            assert_eq!(bench.take(late), INVALID, "{what}");
            assert!(bench.thrown.is_empty());
        }
        assert_eq!(bench.table.expire(Time::ZERO + TIMEOUT, &mut Vec::new(), &mut bench.thrown), None);
        assert!(bench.thrown.is_empty());
        bench.is_empty();
    }
}

#[test]
fn an_end_before_what_came_is_a_contradiction() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let mut bench = Bench::default();
    assert_eq!(bench.take(&fragments[1]), Outcome::Kept);
    let ended = changed(&fragments[0], |ip| set_be16(ip, 6, 0));
    assert_eq!(Packet::of(&ended).unwrap().part, Part::Whole, "that one is no fragment");
    assert_eq!(bench.take(&changed(&fragments[0], |ip| set_be16(ip, 6, 2))), INVALID);
}

#[test]
fn parts_are_of_frames_of_one_layer() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let mut bench = Bench::default();
    assert_eq!(bench.take(&fragments[1]), Outcome::Kept);
    let mut bare = Frame::from_bytes(&fragments[0].bytes()[14..]);
    bare.layer = Layer::Ip;
    assert_eq!(bench.take(&bare), INVALID);
    assert_eq!(bench.thrown, thrown(DropReason::FragmentInvalid, 1));
}

#[test]
fn what_can_be_no_part_is_refused_alone() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let with = |change: &dyn Fn(&mut [u8])| changed(&fragments[1], change);
    for (what, bad) in [
        ("not cut at a multiple of eight", with(&|ip| set_be16(ip, 2, 20 + 31))),
        ("without payload", with(&|ip| set_be16(ip, 2, 20))),
        ("behind the longest packet", with(&|ip| set_be16(ip, 6, 0x1ffe))),
    ] {
        let mut bench = Bench::default();
        assert_eq!(bench.take(&bad), INVALID, "{what}");
        bench.is_empty();
    }
    assert_eq!(Bench::default().take(&with(&|ip| (ip[9], ip[7]) = (6, 3))), Outcome::Kept);
}

#[test]
fn datagrams_are_told_apart() {
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let mut bench = Bench::default();
    assert_eq!(bench.take(&fragments[0]), Outcome::Kept);
    assert_eq!(bench.take(&fragments[1]), Outcome::Kept);
    for change in [15, 19, 5, 9] {
        assert_eq!(bench.take(&changed(&fragments[2], |ip| ip[change] ^= 4)), Outcome::Kept, "byte {change}");
    }
    for other in [Origin { router: RouterId(9), ..ORIGIN }, Origin { interface: InterfaceId(9), ..ORIGIN }] {
        assert_eq!(bench.take_at(&fragments[2], other, Time::ZERO), Outcome::Kept);
    }
    let other_port = Origin { port: PortId(9), ..ORIGIN };
    assert!(matches!(bench.take_at(&fragments[2], other_port, Time::ZERO), Outcome::Whole(_)));
}

#[test]
fn marks_of_congestion_and_df_are_those_of_any_fragment() {
    let packet = ipv4_packet(1, 7, 60);
    let fragments = cut(&packet, 56);
    let mut bench = Bench::default();
    bench.take(&changed(&fragments[0], |ip| ip[6] |= 0x40));
    bench.take(&changed(&fragments[1], |ip| ip[1] = 3));
    let Outcome::Whole(Whole { dont_fragment: true, .. }) = bench.take(&fragments[2]) else { panic!() };
    assert_eq!((bench.whole.bytes()[15], bench.whole.bytes()[20]), (3, 0x40));
    assert!(Packet::of(&bench.whole).unwrap().dont_fragment);

    bench.take(&changed(&fragments[0], |ip| ip[1] = 0));
    bench.take(&changed(&fragments[1], |ip| ip[1] = 3));
    assert_eq!(bench.take(&fragments[2]), INVALID, "a sender that does not speak ECN, and congestion");
    assert_eq!(bench.thrown, thrown(DropReason::FragmentInvalid, 2));
    bench.is_empty();
}

#[test]
fn what_does_not_get_whole_expires_and_the_first_fragment_comes_back() {
    let (mut bench, mut expired) = (Bench::default(), Vec::new());
    let fragments = cut(&ipv4_packet(1, 7, 60), 56);
    let later = Time::from_secs(10);
    bench.take(&fragments[0]);
    bench.take_at(&fragments[1], ORIGIN, later);
    bench.take_at(&changed(&fragments[1], |ip| ip[5] = 8), ORIGIN, later);
    bench.thrown.clear();
    let almost = Time::from_nanos((Time::ZERO + TIMEOUT).nanos() - 1);
    assert_eq!(bench.table.expire(almost, &mut expired, &mut bench.thrown), Some(Time::ZERO + TIMEOUT));
    assert!(expired.is_empty() && bench.thrown.is_empty());
    let next = bench.table.expire(Time::ZERO + TIMEOUT, &mut expired, &mut bench.thrown);
    assert_eq!(next, Some(later + TIMEOUT));
    let packet_len = Packet::of(&fragments[0]).unwrap().len();
    let bytes = fragments[0].bytes()[..14 + packet_len].into();
    assert_eq!(expired, [Expired { origin: ORIGIN, bytes, layer: Layer::Ethernet }]);
    assert_eq!(bench.thrown, thrown(DropReason::FragmentTimeout, 2));
    expired.clear();
    bench.thrown.clear();
    assert_eq!(bench.table.expire(later + TIMEOUT, &mut expired, &mut bench.thrown), None);
    assert!(expired.is_empty(), "its first fragment did not come");
    assert_eq!(bench.thrown, thrown(DropReason::FragmentTimeout, 1));
    bench.is_empty();
}

#[test]
fn a_source_has_a_quarter_and_loses_its_own_oldest() {
    let mut bench = Bench::default();
    let victim = cut(&ipv4_packet(9, 0, 60), 56);
    bench.take(&victim[0]);
    for identification in 0..100 {
        let fragments = cut(&ipv4_packet(1, identification, 60), 56);
        assert_eq!(bench.take(&fragments[0]), Outcome::Kept);
        let over = identification >= 64;
        assert_eq!(bench.thrown, if over { thrown(DropReason::FragmentFlood, 1) } else { vec![] });
    }
    assert_eq!(bench.table.datagrams.len(), 65);
    bench.take(&victim[1]);
    assert!(matches!(bench.take(&victim[2]), Outcome::Whole(_)));
}

#[test]
fn a_full_table_takes_from_who_has_most() {
    let mut bench = Bench::default();
    let victim = cut(&ipv4_packet(200, 0, 60), 56);
    bench.take(&victim[0]);
    for n in 0..255u16 {
        let source = if n < 2 { 1 } else { n as u8 };
        assert_eq!(bench.take(&cut(&ipv4_packet(source, 1000 + n, 60), 56)[0]), Outcome::Kept);
        assert!(bench.thrown.is_empty());
    }
    let key = |bench: &Bench, id: u32| bench.table.datagrams.keys().any(|key| key.identification == id);
    assert_eq!(bench.take(&cut(&ipv4_packet(200, 5000, 60), 56)[0]), Outcome::Kept);
    assert_eq!(bench.thrown, thrown(DropReason::FragmentFlood, 1));
    assert_eq!(bench.table.datagrams.len(), MAX_DATAGRAMS);
    // Source 200 had two by then, one of them the victim, and so had source 1; the oldest of all those went.
    assert!(!key(&bench, 0) && key(&bench, 1000));
}

#[test]
fn bytes_have_a_bound() {
    let mut bench = Bench::default();
    let mut kept = 0;
    for n in 0..200u16 {
        let fragments = cut(&ipv4_packet((n % 8) as u8 + 1, n, 60_000), 1500);
        for fragment in &fragments[1..] {
            assert_eq!(bench.take(fragment), Outcome::Kept);
            kept += 1;
            kept -= bench.thrown.iter().map(|thrown| thrown.frames).sum::<u32>();
            assert!(bench.table.bytes <= MAX_BYTES);
            assert!(bench.table.sources.values().all(|share| share.bytes <= MAX_BYTES / 4));
        }
    }
    let there: usize = bench.table.datagrams.values().map(|datagram| datagram.fragments.len()).sum();
    assert_eq!(there, kept as usize);
    assert!(bench.table.bytes > MAX_BYTES - 65_536, "and it is used");
}

#[test]
fn too_many_fragments_are_a_flood() {
    let fragments = cut(&ipv4_packet(1, 1, 1000), 28);
    let mut bench = Bench::default();
    for fragment in &fragments[..MAX_FRAGMENTS] {
        assert_eq!(bench.take(fragment), Outcome::Kept);
    }
    let flood = Outcome::Refused(DropReason::FragmentFlood);
    assert_eq!(bench.take(&fragments[MAX_FRAGMENTS]), flood);
    assert_eq!(bench.thrown, thrown(DropReason::FragmentFlood, 64));
    assert_eq!(bench.take(&fragments[MAX_FRAGMENTS + 1]), flood);
}

#[test]
fn datagrams_go_with_their_interface() {
    let mut bench = Bench::default();
    bench.take(&cut(&ipv4_packet(1, 1, 60), 56)[0]);
    bench.table.retain(|router, _| router == ORIGIN.router, &mut bench.thrown);
    assert!(bench.thrown.is_empty());
    bench.table.retain(|_, interface| interface != ORIGIN.interface, &mut bench.thrown);
    assert_eq!(bench.thrown, thrown(DropReason::FragmentTimeout, 1));
    bench.is_empty();
}

#[test]
fn a_packet_that_is_no_fragment_is_whole() {
    let frame = framed(&ipv4_packet(1, 1, 60));
    let mut bench = Bench::default();
    let whole = Whole { fragments: 1, largest: 88, dont_fragment: false, identification: 0 };
    assert_eq!(bench.take(&frame), Outcome::Whole(whole));
    assert_eq!(bench.whole.bytes(), frame.bytes());
}
