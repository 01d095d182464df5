//! Merging against cutting: whatever comes in, in whatever buffers, is given back by cutting what was made of it, byte
//! for byte and in order; and what was cut from a superframe is merged into the same superframe.

mod oracle;

use etherparse::{IpEcn, IpHeaders, NetHeaders, PacketHeaders, TransportHeader};
use oracle::{Packet, batch_of, ipv4, ipv6, packet, tcp, udp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tapyard::packet::coalesce::{Coalescer, Piece, Unpacked};
use tapyard::packet::segment::{finish_checksum, segment};
use tapyard::packet::{Batch, DropReason, Frame, Gso, Layer, MAX_FRAME, Offload};

/// An inner frame that was received.
#[derive(Clone, Debug)]
struct Inner {
    bytes: Vec<u8>,
    /// The same with a finished checksum.
    expected: Vec<u8>,
    layer: Layer,
    owner: u32,
}

/// A packet of a flow that can be merged: what a superframe may be made of.
fn mergeable() -> impl Strategy<Value = Packet> {
    let layer = select(vec![Layer::Ethernet, Layer::Ip]);
    let vlans = vec(0..4096u16, 0..=2);
    (layer, vlans, prop_oneof![ipv4(), ipv6()], prop_oneof![tcp(), udp()], any::<bool>()).prop_map(
        |(layer, vlans, mut ip, mut l4, push)| {
            match &mut ip {
                IpHeaders::Ipv4(ip, _) => {
                    ip.options = Default::default();
                    ip.dont_fragment |= matches!(l4, TransportHeader::Udp(_));
                }
                IpHeaders::Ipv6(_, extensions) => *extensions = Default::default(),
            }
            if let TransportHeader::Tcp(tcp) = &mut l4 {
                (tcp.ack, tcp.psh, tcp.fin, tcp.cwr, tcp.ece, tcp.urg) =
                    (true, push, false, false, false, false);
            }
            let vlans = if layer == Layer::Ip { Vec::new() } else { vlans };
            Packet { layer, vlans, ip, l4, payload: Vec::new() }
        },
    )
}

fn payload(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Spreads inner frames over buffers, cut where the numbers say and where a buffer is full; `tunnel` bytes of other
/// things stand before each. There is room for them all in a batch.
fn buffers(inner: &[Inner], cuts: &[Index], tunnel: usize) -> Vec<Vec<Inner>> {
    let cuts: Vec<_> = cuts.iter().map(|cut| cut.index(inner.len() + 1)).collect();
    let mut buffers = vec![Vec::new()];
    let mut filled = 0;
    for (i, inner) in inner.iter().enumerate() {
        if cuts.contains(&i) || filled + tunnel + inner.bytes.len() > MAX_FRAME {
            buffers.push(Vec::new());
            filled = 0;
        }
        filled += tunnel + inner.bytes.len();
        buffers.last_mut().expect("there is one from the start").push(inner.clone());
    }
    buffers
}

/// What is made of these buffers, with the owners.
fn coalesce(buffers: &[Vec<Inner>], tunnel: usize, mtu: u32) -> (Batch, Vec<Unpacked>) {
    let mut batch = Batch::default();
    let read = |buffer: &Vec<Inner>| {
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        for Inner { bytes: inner, layer, owner, .. } in buffer {
            // The longest packets leave no room for anything before them.
            bytes.resize(bytes.len() + tunnel.min(MAX_FRAME - inner.len()), 0xa5);
            let (at, len) = (bytes.len() as u32, inner.len() as u32);
            pieces.push(Piece { at, len, layer: *layer, mtu, owner: *owner });
            bytes.extend(inner);
        }
        batch.spare()[0].fill(&bytes, Offload::NONE);
        batch.commit(1);
        pieces
    };
    let pieces: Vec<_> = buffers.iter().map(read).collect();
    let (mut coalescer, mut out) = (Coalescer::default(), Vec::new());
    coalescer.begin();
    for (buffer, pieces) in pieces.iter().enumerate() {
        assert_eq!(coalescer.unpack(&mut batch, buffer, pieces, &mut out), 0);
    }
    (batch, out)
}

/// The frames as a port without offloads sends them.
fn plain(frame: &Frame) -> Vec<Vec<u8>> {
    let mut checked = frame.offload;
    assert_eq!(checked.check(frame.layer, frame.bytes()), Ok(()), "{frame:?}");
    assert_eq!(checked, frame.offload, "it was exact before");
    let mut batch = batch_of(frame);
    if frame.offload.gso == Gso::None {
        finish_checksum(&mut batch.frames_mut()[0]);
        return vec![batch.frames()[0].bytes().to_vec()];
    }
    let mut segments = Vec::new();
    segment(&mut batch, 0, &mut segments).expect("a superframe that can be cut");
    segments.iter().map(|&index| batch.frames()[index as usize].bytes().to_vec()).collect()
}

/// Whether the checksum field holds what an unfinished one holds, by the oracle.
fn looks_unfinished(layer: Layer, bytes: &[u8]) -> bool {
    let headers = match layer {
        Layer::Ethernet => PacketHeaders::from_ethernet_slice(bytes),
        Layer::Ip => PacketHeaders::from_ip_slice(bytes),
    };
    let Ok(PacketHeaders { net: Some(net), transport: Some(transport), payload, .. }) = headers else {
        return false;
    };
    let (field, protocol) = match &transport {
        TransportHeader::Tcp(tcp) => (tcp.checksum, 6),
        TransportHeader::Udp(udp) => (udp.checksum, 17),
        _ => return false,
    };
    let addresses = match &net {
        NetHeaders::Ipv4(ip, _) => [&ip.source[..], &ip.destination].concat(),
        NetHeaders::Ipv6(ip, _) => [&ip.source[..], &ip.destination].concat(),
        _ => return false,
    };
    let words = addresses.chunks(2).map(|word| usize::from(word[0]) << 8 | usize::from(word[1]));
    let mut sum = words.sum::<usize>() + protocol + transport.header_len() + payload.slice().len();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    usize::from(field) == sum
}

/// How a packet deviates from what would continue its flow.
#[derive(Clone, Debug)]
enum Deviation {
    None,
    /// Sequence number and identification jump.
    Jump(u16),
    /// TCP flags: FIN, SYN, RST, PSH, URG, ECE, CWR.
    Flags([bool; 7]),
    Ttl(u8),
    /// Another flow label or TOS.
    Class(u8),
    Window(u16),
    /// Bytes behind the packet.
    Padding(usize),
    /// One byte is another.
    Corrupt(Index, u8),
    /// The end is missing.
    Cut(Index),
    Owner,
    /// The checksum is unfinished.
    Unfinished,
    /// Something that is no packet.
    Foreign(Vec<u8>),
}

fn deviation() -> impl Strategy<Value = Deviation> {
    prop_oneof![
        24 => Just(Deviation::None),
        1 => (1..999u16).prop_map(Deviation::Jump),
        1 => any::<[bool; 7]>().prop_map(Deviation::Flags),
        2 => Just(Deviation::Flags([false, false, false, true, false, false, false])),
        1 => any::<u8>().prop_map(Deviation::Ttl),
        1 => any::<u8>().prop_map(Deviation::Class),
        1 => any::<u16>().prop_map(Deviation::Window),
        1 => (1..20usize).prop_map(Deviation::Padding),
        6 => (any::<Index>(), 1..=255u8).prop_map(|(at, flip)| Deviation::Corrupt(at, flip)),
        1 => any::<Index>().prop_map(Deviation::Cut),
        1 => Just(Deviation::Owner),
        4 => Just(Deviation::Unfinished),
        2 => vec(any::<u8>(), 0..80).prop_map(Deviation::Foreign),
    ]
}

/// One packet: of which flow, how long, how deviating.
type Step = (usize, usize, Deviation);

fn step() -> impl Strategy<Value = Step> {
    // Often the same flow again.
    let flow = prop_oneof![3 => Just(0), 2 => 0..3usize];
    let len = prop_oneof![4 => Just(100usize), 4 => Just(1000), 1 => 0..1000usize];
    (flow, len, deviation())
}

/// What flows send, one after the other.
fn traffic(mut flows: Vec<Packet>, steps: &[Step]) -> Vec<Inner> {
    let mut sent = Vec::new();
    let count = flows.len();
    for (n, (flow, len, deviation)) in steps.iter().enumerate() {
        let flow = &mut flows[flow % count];
        flow.payload = payload(*len, n as u32);
        if let Deviation::Jump(by) = deviation {
            advance(flow, *by, u32::from(*by));
        }
        sent.push(send(flow, deviation));
        advance(flow, 1, *len as u32);
    }
    sent
}

fn advance(flow: &mut Packet, ids: u16, bytes: u32) {
    if let IpHeaders::Ipv4(ip, _) = &mut flow.ip {
        ip.identification = ip.identification.wrapping_add(ids);
    }
    if let TransportHeader::Tcp(tcp) = &mut flow.l4 {
        tcp.sequence_number = tcp.sequence_number.wrapping_add(bytes);
    }
}

fn send(flow: &Packet, deviation: &Deviation) -> Inner {
    let mut packet = flow.clone();
    match (deviation, &mut packet.ip, &mut packet.l4) {
        (Deviation::Flags(flags), _, TransportHeader::Tcp(tcp)) => {
            [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.urg, tcp.ece, tcp.cwr] = *flags;
        }
        (Deviation::Window(window), _, TransportHeader::Tcp(tcp)) => tcp.window_size = *window,
        (Deviation::Ttl(ttl), IpHeaders::Ipv4(ip, _), _) => ip.time_to_live = *ttl,
        (Deviation::Ttl(ttl), IpHeaders::Ipv6(ip, _), _) => ip.hop_limit = *ttl,
        (Deviation::Class(class), IpHeaders::Ipv4(ip, _), _) => ip.ecn = IpEcn::try_new(class & 3).unwrap(),
        (Deviation::Class(class), IpHeaders::Ipv6(ip, _), _) => ip.traffic_class = *class,
        _ => {}
    }
    let expected = packet.bytes();
    let mut inner = Inner { bytes: expected.clone(), expected, layer: flow.layer, owner: 1 };
    match deviation {
        Deviation::Unfinished => {
            inner.bytes = packet.unfinished(None).bytes().to_vec();
            return inner;
        }
        Deviation::Padding(len) => inner.bytes.resize(inner.bytes.len() + len, 0xa5),
        Deviation::Corrupt(at, flip) => {
            let at = at.index(inner.bytes.len());
            inner.bytes[at] ^= flip;
        }
        Deviation::Cut(at) => inner.bytes.truncate(at.index(inner.bytes.len())),
        Deviation::Owner => inner.owner = 2,
        Deviation::Foreign(bytes) => inner.bytes = bytes.clone(),
        _ => {}
    }
    inner.expected = inner.bytes.clone();
    inner
}

proptest! {
    #[test]
    fn what_was_cut_is_merged_into_what_it_was(
        mut packet in mergeable(),
        gso_size in prop_oneof![1..200u16, 1000..1500u16],
        (segments, last) in (2..=64usize, any::<Index>()),
        cuts in vec(any::<Index>(), 0..4),
        tunnel in 0..=20usize,
        seed: u32,
    ) {
        let size = usize::from(gso_size);
        let segments = segments.min((65_535 - 40 - 60) / size);
        packet.payload = payload((segments - 1) * size + 1 + last.index(size), seed);
        let superframe = packet.unfinished(Some(gso_size));
        let inner = |bytes: Vec<u8>| Inner { expected: bytes.clone(), bytes, layer: packet.layer, owner: 7 };
        let inner: Vec<_> = plain(&superframe).into_iter().map(inner).collect();
        prop_assert_eq!(inner.len(), segments);
        let (batch, out) = coalesce(&buffers(&inner, &cuts, tunnel), tunnel, 1600);
        prop_assert_eq!((out.len(), out[0].owner), (1, 7));
        let merged = &batch.frames()[out[0].frame as usize];
        prop_assert_eq!((merged.offload, merged.layer), (superframe.offload, superframe.layer));
        prop_assert!(merged.bytes() == superframe.bytes(), "{:02x?} {:02x?}", merged.bytes(), superframe.bytes());
    }

    #[test]
    fn cutting_gives_back_what_came_in(
        flows in vec(mergeable(), 1..4),
        steps in vec(step(), 1..60),
        cuts in vec(any::<Index>(), 0..6),
        tunnel in 0..60usize,
    ) {
        let inner = traffic(flows, &steps);
        let (batch, out) = coalesce(&buffers(&inner, &cuts, tunnel), tunnel, 2000);
        let mut expected = inner.iter();
        for made in out {
            let frame = &batch.frames()[made.frame as usize];
            for bytes in plain(frame) {
                let Some(inner) = expected.next() else {
                    return Err(TestCaseError::fail("more came out than in"));
                };
                prop_assert_eq!((frame.layer, made.owner), (inner.layer, inner.owner));
                prop_assert!(
                    bytes == inner.expected || looks_unfinished(inner.layer, &inner.bytes),
                    "{:02x?} became {:02x?}", inner.bytes, bytes
                );
            }
        }
        prop_assert_eq!(expected.len(), 0, "some did not come out");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_superframe_that_came_whole_is_cut_by_the_mtu(
        packet in packet(),
        mtu in prop_oneof![0..200u32, 1000..3000u32],
        finished: bool,
    ) {
        let bytes = if finished { packet.bytes() } else { packet.unfinished(None).bytes().to_vec() };
        let inner = Inner { expected: Vec::new(), bytes: bytes.clone(), layer: packet.layer, owner: 0 };
        let (batch, out) = coalesce(&[vec![inner]], 8, mtu);
        prop_assert_eq!(out.len(), 1);
        let frame = &batch.frames()[out[0].frame as usize];
        prop_assert!(frame.bytes() == bytes, "headers and payload stay");
        let l2 = bytes.len() - packet.ip.header_len() - packet.l4.header_len() - packet.payload.len();
        let header_len = bytes.len() - packet.payload.len();
        let room = (mtu as usize + l2).saturating_sub(header_len);
        let once = matches!(&packet.l4, TransportHeader::Tcp(tcp) if tcp.urg);
        let expected = match bytes.len() - l2 > mtu as usize && room > 0 && !once {
            _ if finished && !looks_unfinished(packet.layer, &bytes) => Offload::NONE,
            true => {
                let cwr = matches!(&packet.l4, TransportHeader::Tcp(tcp) if tcp.cwr);
                Offload { ecn: cwr, guessed: true, ..packet.unfinished(Some(room as u16)).offload }
            }
            false => {
                let fits = bytes.len() - l2 <= mtu as usize;
                let may_be_cut = fits && !once && matches!(packet.l4, TransportHeader::Tcp(_));
                Offload { guessed: may_be_cut, ..packet.unfinished(None).offload }
            }
        };
        prop_assert_eq!(frame.offload, expected);
    }

    #[test]
    fn nothing_that_comes_in_makes_it_panic(
        packets in vec((packet(), any::<bool>()), 1..4),
        damage in vec((0..4usize, 0..120usize, any::<u8>()), 0..6),
        garbage in vec(any::<u8>(), 0..200),
        lens in vec(prop_oneof![2 => Just(usize::MAX), 1 => 0..160usize], 4),
        layers in vec(select(vec![Layer::Ethernet, Layer::Ip]), 5),
        mtu in prop_oneof![0..200u32, 1000..3000u32, any::<u32>()],
    ) {
        let mut inner: Vec<_> = packets.iter().map(|(packet, finished)| match finished {
            true => packet.bytes(),
            false => packet.unfinished(None).bytes().to_vec(),
        }).collect();
        inner.push(garbage);
        for (which, at, value) in damage {
            if let Some(byte) = inner.get_mut(which).and_then(|bytes| bytes.get_mut(at)) {
                *byte = value;
            }
        }
        // Twice the same, as if one continued the other.
        let inner: Vec<_> = inner.iter().zip(lens).zip(layers).flat_map(|((bytes, len), layer)| {
            let bytes = bytes[..len.min(bytes.len())].to_vec();
            let inner = Inner { expected: bytes.clone(), bytes, layer, owner: 0 };
            [inner.clone(), inner]
        }).collect();
        let (batch, out) = coalesce(&buffers(&inner, &[], 8), 8, mtu);
        let mut expected = inner.iter();
        for made in out {
            let frame = &batch.frames()[made.frame as usize];
            let mut checked = frame.offload;
            prop_assert_eq!(checked.check(frame.layer, frame.bytes()), Ok(()));
            let mut batch = batch_of(frame);
            let cut = frame.offload.gso != Gso::None;
            if cut {
                let result = segment(&mut batch, 0, &mut Vec::new());
                prop_assert!(matches!(result, Ok(()) | Err(DropReason::NoBuffer)), "{:?}", result);
            }
            if expected.as_slice().first().is_some_and(|inner| inner.bytes == frame.bytes()) {
                expected.next();
            } else {
                prop_assert!(cut, "{:?} is none of those that came in", frame);
                expected = expected.as_slice()[batch.len() - 1..].iter();
            }
        }
        prop_assert_eq!(expected.len(), 0);
    }
}
