//! Fragments: what is cut here an oracle puts together again, and so does the table, in any order; and whatever comes,
//! the table stays within its bounds and every frame is accounted for.

mod oracle;

use etherparse::defrag::IpDefragPool;
use etherparse::{IpHeaders, NetSlice, SlicedPacket};
use oracle::{batch_of, packet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::time::Duration;
use tapyard::packet::fragment::{fragment, refragment};
use tapyard::packet::{DropReason, Frame, InterfaceId, Layer, Packet, Part, PortId, RouterId};
use tapyard::table::reassembly::{MAX_FRAGMENTS, Origin, Outcome, Reassembly, TIMEOUT, Thrown, Whole};
use tapyard::time::Time;

/// A packet between hosts, without the destination options that the oracle looks behind in a first fragment only.
fn between_hosts() -> impl Strategy<Value = oracle::Packet> {
    packet().prop_map(|mut packet| {
        match &mut packet.ip {
            IpHeaders::Ipv4(ip, _) => (ip.source[0], ip.destination[0]) = (10, 10),
            IpHeaders::Ipv6(ip, extensions) => {
                (ip.source[0], ip.destination[0]) = (0xfd, 0xfd);
                extensions.destination_options = None;
            }
        }
        packet.payload.truncate(20_000);
        packet
    })
}

fn slice<'a>(layer: Layer, bytes: &'a [u8]) -> SlicedPacket<'a> {
    match layer {
        Layer::Ethernet => SlicedPacket::from_ethernet(bytes).unwrap(),
        Layer::Ip => SlicedPacket::from_ip(bytes).unwrap(),
    }
}

fn origin(port: u16) -> Origin {
    Origin { router: RouterId(0), interface: InterfaceId(0), port: PortId(port) }
}

fn copy(frame: &Frame) -> Frame {
    let mut copy = Frame::default();
    copy.copy_from(frame);
    copy
}

proptest! {
    #[test]
    fn what_is_cut_comes_together_again(
        original in between_hosts(),
        room in 24..3000usize,
        identification: u32,
        tag: bool,
        shuffle in vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let mut original = original;
        let mut frame = original.unfinished(None);
        if tag {
            original.retag(&mut frame);
        }
        let bytes = original.bytes();
        let read = Packet::of(&frame).unwrap();
        let headers = usize::from(read.l4 - read.l3);
        let is_v4 = read.tuple.source.is_v4();
        let mtu = headers + if is_v4 { 0 } else { 8 } + room;
        let mut batch = batch_of(&frame);
        let mut indices = Vec::new();
        let cut = refragment(&mut batch, 0, &read, mtu, identification, &mut indices);
        let fits = read.len() <= mtu;
        prop_assert_eq!(fits, indices == [0]);
        if fits {
            return Ok(());
        }
        if cut == Err(DropReason::NoBuffer) {
            prop_assert!((read.len() - headers).div_ceil(room & !7) > 1023);
            return Ok(());
        }
        prop_assert_eq!(cut, Ok(()));
        prop_assert_eq!(indices.len(), (read.len() - headers).div_ceil(room & !7));

        let mut pool = IpDefragPool::<(), ()>::new();
        let mut payload = None;
        for &index in &indices {
            let fragment = &batch.frames()[index as usize];
            prop_assert_eq!(fragment.layer, original.layer);
            prop_assert!(Packet::of(fragment).unwrap().len() <= mtu);
            let sliced = slice(original.layer, fragment.bytes());
            if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
                let header = ip.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
            prop_assert_eq!(&payload, &None, "nothing is behind the last");
            payload = pool.process_sliced_packet(&sliced, (), ()).unwrap();
        }
        let payload = payload.expect("all of it").payload;
        prop_assert!(payload == bytes[usize::from(read.l4)..], "the payload");

        let mut order = indices.clone();
        for (at, with) in shuffle.iter().enumerate() {
            let (at, with) = (at % order.len(), with.index(order.len()));
            order.swap(at, with);
        }
        let (mut table, mut whole, mut thrown) = (Reassembly::default(), Frame::default(), Vec::new());
        for (nth, &index) in order.iter().enumerate() {
            let fragment = &batch.frames()[index as usize];
            let packet = Packet::of(fragment).unwrap();
            let outcome = table.take(fragment, &packet, origin(1), Time::ZERO, &mut whole, &mut thrown);
            if nth >= MAX_FRAGMENTS {
                prop_assert_eq!(outcome, Outcome::Refused(DropReason::FragmentFlood));
                continue;
            }
            prop_assert!(thrown.is_empty());
            if nth + 1 < order.len() {
                prop_assert_eq!(outcome, Outcome::Kept);
                continue;
            }
            let Outcome::Whole(Whole { fragments, largest, dont_fragment, .. }) = outcome else {
                return Err(TestCaseError::fail(format!("{outcome:?}")));
            };
            prop_assert_eq!(fragments as usize, order.len());
            prop_assert!(largest as usize <= mtu && largest as usize > mtu - 8);
            prop_assert_eq!(dont_fragment, is_v4 && read.dont_fragment);
            prop_assert!(whole.bytes() == bytes, "{:?}\n{:02x?}\n{:02x?}", whole, &whole.bytes()[..60], &bytes[..60]);
            prop_assert_eq!(whole.layer, frame.layer);
        }
    }
}

/// Something that comes to a router.
#[derive(Clone, Debug)]
enum Event {
    /// A fragment of one of a few datagrams: a source, an identification, offset and length in units of eight bytes,
    /// whether it is the last, what it is filled with, and the port.
    Fragment { source: u8, identification: u16, offset: u16, units: usize, last: bool, fill: u8, port: u16 },
    /// Time passes, in seconds.
    Wait(u64),
    /// What is due is done.
    Expire,
}

fn event() -> impl Strategy<Value = Event> {
    let fragment = (
        select(vec![1u8, 1, 1, 2, 3]),
        0..4u16,
        select(vec![0u16, 0, 1, 2, 3, 4, 8, 8180, 8191]),
        select(vec![0usize, 1, 1, 1, 2, 4, 8, 1000]),
        any::<bool>(),
        0..2u8,
        1..4u16,
    )
        .prop_map(|(source, identification, offset, units, last, fill, port)| Event::Fragment {
            source,
            identification,
            offset,
            units,
            last,
            fill,
            port,
        });
    prop_oneof![40 => fragment, 1 => (1..40u64).prop_map(Event::Wait), 2 => Just(Event::Expire)]
}

fn fragment_of(event: &Event, v6: bool) -> Option<Frame> {
    let &Event::Fragment { source, identification, offset, units, last, fill, .. } = event else {
        return None;
    };
    let [offset_high, offset_low] = offset.to_be_bytes();
    let payload = vec![fill; units * 8];
    let mut bytes = Vec::new();
    if v6 {
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend((8 + payload.len() as u16).to_be_bytes());
        bytes.extend([44, 64]);
        for host in [source, 99] {
            bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        }
        let [high, low] = (offset << 3 | u16::from(!last)).to_be_bytes();
        bytes.extend([99, 0, high, low, 0, 0, 0, identification as u8]);
    } else {
        bytes.extend([0x45, 0]);
        bytes.extend((20 + payload.len() as u16).to_be_bytes());
        bytes.extend(identification.to_be_bytes());
        bytes.extend([offset_high | if last { 0 } else { 0x20 }, offset_low, 64, 99, 0, 0]);
        bytes.extend([10, 0, 0, source, 10, 0, 0, 99]);
        let sum: u32 = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes.extend(payload);
    let mut frame = Frame::from_bytes(&bytes);
    frame.layer = Layer::Ip;
    Some(frame)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_frame_is_accounted_for(events in vec(event(), 0..200), v6: bool) {
        let (mut table, mut whole) = (Reassembly::default(), Frame::default());
        let mut now = Time::ZERO;
        // For each port: what came and is neither dropped nor gone on nor merged into what went on.
        let mut waiting = BTreeMap::<PortId, i64>::new();
        let mut merged = 0;
        let mut thrown: Vec<Thrown> = Vec::new();
        for event in &events {
            thrown.clear();
            match event {
                Event::Wait(secs) => now = now + Duration::from_secs(*secs),
                Event::Expire => {
                    let mut expired = Vec::new();
                    let next = table.expire(now, &mut expired, &mut thrown);
                    prop_assert!(next.is_none_or(|next| next > now && next <= now + TIMEOUT));
                    for first in expired {
                        let mut frame = Frame::from_bytes(&first.bytes);
                        frame.layer = first.layer;
                        prop_assert_eq!(Packet::of(&frame).unwrap().part, Part::First);
                    }
                }
                Event::Fragment { port, .. } => {
                    let frame = fragment_of(event, v6).unwrap();
                    let Ok(packet) = Packet::of(&frame) else { continue };
                    match table.take(&frame, &packet, origin(*port), now, &mut whole, &mut thrown) {
                        Outcome::Kept => *waiting.entry(PortId(*port)).or_default() += 1,
                        Outcome::Whole(got) => {
                            let packet = Packet::of(&whole).expect("a packet that can be read");
                            prop_assert_eq!(packet.part, Part::Whole);
                            let header = if v6 { 8 } else { 0 };
                            prop_assert!(whole.len() + header >= got.largest as usize);
                            merged += i64::from(got.fragments) - 1;
                        }
                        Outcome::Refused(reason) => {
                            prop_assert!([DropReason::FragmentInvalid, DropReason::FragmentFlood].contains(&reason));
                        }
                    }
                }
            }
            for thrown in &thrown {
                *waiting.entry(thrown.port).or_default() -= i64::from(thrown.frames);
            }
            prop_assert!(waiting.values().sum::<i64>() >= merged);
        }
        thrown.clear();
        prop_assert_eq!(table.expire(now + TIMEOUT, &mut Vec::new(), &mut thrown), None);
        let left: i64 = thrown.iter().map(|thrown| i64::from(thrown.frames)).sum();
        prop_assert_eq!(waiting.values().sum::<i64>() - left, merged, "none is lost, none counted twice");
    }

    #[test]
    fn no_bytes_make_cutting_or_merging_panic(
        base in between_hosts(),
        field: u16,
        damage in vec((0..80usize, any::<u8>()), 0..3),
        mtu in 0..200usize,
        second: bool,
    ) {
        let mut bytes = base.bytes();
        bytes.truncate(400);
        let l3 = bytes.len().min(14 + 4 * base.vlans.len());
        if base.layer == Layer::Ethernet && bytes.len() > l3 + 8 && bytes[l3] >> 4 == 4 {
            bytes[l3 + 6..l3 + 8].copy_from_slice(&field.to_be_bytes());
        }
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let mut frame = Frame::from_bytes(&bytes);
        frame.layer = base.layer;
        mend(&mut frame);
        let Ok(packet) = Packet::of(&frame) else { return Ok(()) };
        let (mut batch, mut out) = (batch_of(&frame), Vec::new());
        let result = match second {
            true => refragment(&mut batch, 0, &packet, mtu, 1, &mut out),
            false => fragment(&mut batch, 0, &packet, mtu, &mut out),
        };
        prop_assert_eq!(result.is_ok(), !out.is_empty());
        let (mut table, mut whole, mut thrown) = (Reassembly::default(), Frame::default(), Vec::new());
        for frame in batch.frames().iter().map(copy).collect::<Vec<_>>() {
            if let Ok(packet) = Packet::of(&frame) {
                table.take(&frame, &packet, origin(1), Time::ZERO, &mut whole, &mut thrown);
            }
        }
    }
}

/// Makes lengths and checksum of an IPv4 header right, so that what is wrong behind them is looked at too.
fn mend(frame: &mut Frame) {
    let Some((0x0800, l3)) = frame.layer.network(frame.bytes()) else { return };
    let ip = &mut frame.bytes_mut()[l3..];
    let header_len = usize::from(ip.first().map_or(0, |first| first & 0xf)) * 4;
    if !(20..=ip.len()).contains(&header_len) {
        return;
    }
    let total_len = ip.len() as u16;
    ip[2..4].copy_from_slice(&total_len.to_be_bytes());
    ip[10..12].fill(0);
    let sum: u32 = ip[..header_len].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
}
