//! What every type of tunnel is held to. The suite walks the registry and the samples each type gives of itself, so a
//! type in `tunnel::PROTOCOLS` is in here. Besides, packets written by hand are read as they say they are to be: those
//! in `tests/corpus/tunnel`, which are no encoder's opinion.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tapyard::packet::{DropReason, Frame, HEADROOM, Layer, Offload};
use tapyard::tunnel::{HEADER_MAX, Header, PROTOCOLS, Payload, Protocol, Tunnel, TunnelId, geneve};

/// Every sample of every type, new each time: those that count their packets begin anew.
fn samples() -> Vec<Box<dyn Tunnel>> {
    PROTOCOLS.iter().flat_map(|protocol| (protocol.samples)()).collect()
}

/// A UDP packet to `port` as a tunnel of this layer carries it.
fn packet(layer: Layer, ipv6: bool, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (v4, v6) = (([10, 9, 0, 1], [10, 9, 0, 2]), ([0xfd; 16], [0xfe; 16]));
    match (layer, ipv6) {
        (Layer::Ethernet, false) => ethernet.ipv4(v4.0, v4.1, 64),
        (Layer::Ethernet, true) => ethernet.ipv6(v6.0, v6.1, 64),
        (Layer::Ip, false) => PacketBuilder::ipv4(v4.0, v4.1, 64),
        (Layer::Ip, true) => PacketBuilder::ipv6(v6.0, v6.1, 64),
    }
    .udp(49_152, port)
    .write(&mut bytes, payload)
    .expect("a vector takes it");
    bytes
}

/// What is in a UDP packet, as etherparse finds it.
fn udp_payload(layer: Layer, bytes: &[u8]) -> Vec<u8> {
    let sliced = match layer {
        Layer::Ethernet => SlicedPacket::from_ethernet(bytes),
        Layer::Ip => SlicedPacket::from_ip(bytes),
    };
    match sliced.expect("a packet").transport {
        Some(TransportSlice::Udp(udp)) => udp.payload().to_vec(),
        other => panic!("no UDP: {other:?}"),
    }
}

/// What a tunnel of this layer may be given.
fn payloads(layer: Layer) -> Vec<(Payload, Vec<u8>)> {
    vec![
        (Payload::Frame(layer), packet(layer, false, 7, b"over IPv4")),
        (Payload::Frame(layer), packet(layer, true, 7, &[0x5a; 1400])),
        (Payload::Echo, b"an echo".to_vec()),
        (Payload::Echo, Vec::new()),
    ]
}

/// The frame that holds `bytes` as a tunnel gets it, its headroom full of `rubbish`.
fn frame(layer: Layer, bytes: &[u8], rubbish: u8) -> Frame {
    let mut frame = Frame::default();
    let area = frame.receive_area(HEADROOM);
    area[..HEADROOM].fill(rubbish);
    area[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
    frame.received(bytes.len(), Offload::NONE).expect("a frame that fits");
    frame.layer = layer;
    frame
}

/// The datagram that the tunnel makes of `bytes`.
fn sent(tunnel: &dyn Tunnel, payload: Payload, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame(tunnel.carries(), bytes, 0xa5);
    tunnel.encap(&mut frame, payload);
    frame.bytes().to_vec()
}

/// What the tunnel's type reads in `datagram`, and whether that can be. No tunnel of the type may panic at it.
#[track_caller]
fn read<'a>(protocol: &Protocol, datagram: &'a [u8]) -> Result<Header<'a>, DropReason> {
    let header = (protocol.parse)(datagram)?;
    assert!(header.len <= datagram.len(), "{header:?} in {} bytes", datagram.len());
    if !header.options.is_empty() {
        let at = header.options.as_ptr().addr() - datagram.as_ptr().addr();
        assert!(at + header.options.len() <= header.len, "{header:?}");
    }
    for sample in (protocol.samples)() {
        let _ = sample.accept(&header);
    }
    Ok(header)
}

/// Asserts that a tunnel takes `datagram` for its own and finds `inner` in it.
#[track_caller]
fn received(tunnel: &dyn Tunnel, payload: Payload, inner: &[u8], datagram: &[u8]) {
    let header = read(tunnel.protocol(), datagram).unwrap_or_else(|reason| panic!("{tunnel:?}: {reason:?}"));
    assert_eq!(header.id, tunnel.id(), "{tunnel:?}");
    assert_eq!(header.payload, payload, "{tunnel:?}");
    assert!(!header.reserved, "{tunnel:?}");
    assert!(header.len <= HEADER_MAX, "{tunnel:?}");
    match payload {
        Payload::Frame(_) => assert_eq!(header.len, tunnel.header_len(), "{tunnel:?}"),
        Payload::Echo => assert!(header.len >= tunnel.header_len(), "{tunnel:?}"),
    }
    assert!(datagram[header.len..] == *inner, "{tunnel:?}: what it carries has changed");
    assert_eq!(tunnel.accept(&header), Ok(()), "{tunnel:?}");
}

#[test]
fn the_registry_names_each_type_once() {
    let names: BTreeSet<_> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
    let ports: BTreeSet<_> = PROTOCOLS.iter().map(|protocol| protocol.port).collect();
    assert_eq!((names.len(), ports.len()), (PROTOCOLS.len(), PROTOCOLS.len()));
    for protocol in PROTOCOLS {
        let samples = (protocol.samples)();
        assert!(!samples.is_empty(), "{protocol:?} has no sample");
        assert!(samples.iter().all(|sample| std::ptr::eq(sample.protocol(), protocol)), "{protocol:?}");
    }
}

#[test]
fn what_one_end_wraps_the_other_unwraps() {
    for tunnel in samples() {
        for (payload, inner) in payloads(tunnel.carries()) {
            for _ in 0..4 {
                received(&*tunnel, payload, &inner, &sent(&*tunnel, payload, &inner));
            }
        }
    }
}

#[test]
fn every_byte_of_the_header_is_written() {
    for (tunnel, again) in samples().iter().zip(samples()) {
        for (payload, inner) in payloads(tunnel.carries()) {
            let mut frames = [0xa5, 0x5a].map(|rubbish| frame(tunnel.carries(), &inner, rubbish));
            tunnel.encap(&mut frames[0], payload);
            again.encap(&mut frames[1], payload);
            assert_eq!(frames[0].bytes(), frames[1].bytes(), "{tunnel:?}");
        }
    }
}

#[test]
fn a_frame_that_left_through_a_tunnel_may_leave_elsewhere() {
    for first in samples() {
        for second in samples().iter().filter(|second| second.carries() == first.carries()) {
            let payload = Payload::Frame(first.carries());
            let inner = packet(first.carries(), false, 7, b"twice");
            let mut frame = frame(first.carries(), &inner, 0xa5);
            first.encap(&mut frame, payload);
            frame.pop_header(first.header_len());
            assert_eq!((frame.bytes(), frame.layer), (&inner[..], first.carries()));
            second.encap(&mut frame, payload);
            received(&**second, payload, &inner, frame.bytes());
            assert_eq!(frame.offload, Offload::NONE);
        }
    }
}

#[test]
fn the_headroom_holds_tags_header_and_prefix() {
    for tunnel in samples() {
        for (payload, inner) in payloads(tunnel.carries()) {
            let mut frame = frame(tunnel.carries(), &[&[2; 12], &inner[..]].concat(), 0xa5);
            frame.push_tag(0x8100, 7);
            frame.push_tag(0x88a8, 8);
            let tagged = frame.bytes().to_vec();
            tunnel.encap(&mut frame, payload);
            let datagram = frame.bytes().to_vec();
            assert!(datagram.ends_with(&tagged) && datagram.len() - tagged.len() <= HEADER_MAX);
            assert_eq!(frame.with_prefix(&[9; 12])[12..], datagram);
        }
    }
}

#[test]
fn a_header_cut_anywhere_is_malformed() {
    for tunnel in samples() {
        for (payload, inner) in payloads(tunnel.carries()) {
            let datagram = sent(&*tunnel, payload, &inner);
            for end in 0..datagram.len() - inner.len() {
                let header = read(tunnel.protocol(), &datagram[..end]);
                let Ok(header) = header else { continue };
                // Where a type tells an echo by what it carries, less of that is no echo.
                assert!(end >= tunnel.header_len(), "{tunnel:?} cut at {end}: {header:?}");
                assert_ne!(header.payload, payload, "{tunnel:?} cut at {end}");
            }
        }
    }
}

#[test]
fn a_byte_of_the_header_may_be_anything() {
    for tunnel in samples() {
        let payload = Payload::Frame(tunnel.carries());
        let mut datagram = sent(&*tunnel, payload, &packet(tunnel.carries(), false, 7, b""));
        for at in 0..tunnel.header_len() {
            let good = datagram[at];
            for value in 0..=u8::MAX {
                datagram[at] = value;
                let _ = read(tunnel.protocol(), &datagram);
            }
            datagram[at] = good;
        }
        assert!(read(tunnel.protocol(), &datagram).is_ok());
    }
}

#[test]
fn a_datagram_may_be_longer_or_shorter() {
    for tunnel in samples() {
        for (payload, inner) in payloads(tunnel.carries()).into_iter().filter(|(_, inner)| !inner.is_empty())
        {
            let good = sent(&*tunnel, payload, &inner);
            let longer = [&good[..], &[0xa5]].concat();
            for datagram in [&longer[..], &good[..good.len() - 1]] {
                match read(tunnel.protocol(), datagram) {
                    Ok(header) => assert_eq!(Ok(header), read(tunnel.protocol(), &good), "{tunnel:?}"),
                    Err(reason) => assert_eq!(reason, DropReason::TunnelChecksum, "{tunnel:?}"),
                }
            }
        }
    }
}

#[test]
fn what_a_tunnel_carries_may_be_of_any_length() {
    for tunnel in samples() {
        let payload = Payload::Frame(tunnel.carries());
        for ipv6 in [false, true] {
            let inner = packet(tunnel.carries(), ipv6, 7, &[0xff; 64]);
            for len in 0..=64 {
                received(&*tunnel, payload, &inner[..len], &sent(&*tunnel, payload, &inner[..len]));
            }
        }
        let long = vec![0x45; 65_000];
        received(&*tunnel, payload, &long, &sent(&*tunnel, payload, &long));
    }
}

#[test]
fn tunnels_nest() {
    for within in samples() {
        let innermost = packet(within.carries(), false, 7, b"in two tunnels");
        let datagram = sent(&*within, Payload::Frame(within.carries()), &innermost);
        for without in samples() {
            let (layer, payload) = (without.carries(), Payload::Frame(without.carries()));
            let inner = packet(layer, false, within.protocol().port, &datagram);
            let outer = sent(&*without, payload, &inner);
            received(&*without, payload, &inner, &outer);
            let again = udp_payload(layer, &outer[without.header_len()..]);
            received(&*within, Payload::Frame(within.carries()), &innermost, &again);
            // And with nothing between the two headers, which no tunnel announces as what it is.
            received(&*without, payload, &datagram, &sent(&*without, payload, &datagram));
        }
    }
}

#[test]
fn no_tunnel_takes_the_packets_of_another() {
    for protocol in PROTOCOLS {
        for ours in (protocol.samples)() {
            for theirs in (protocol.samples)() {
                for (payload, inner) in payloads(theirs.carries()) {
                    let datagram = sent(&*theirs, payload, &inner);
                    let header = read(protocol, &datagram).expect("a good packet");
                    let taken = header.id == ours.id() && ours.accept(&header).is_ok();
                    let carried = payload == Payload::Echo || ours.carries() == theirs.carries();
                    assert_eq!(taken, ours.id() == theirs.id() && carried, "{ours:?} got from {theirs:?}");
                }
            }
        }
    }
}

#[test]
fn a_tunnel_takes_its_own_layer_and_echoes() {
    for tunnel in samples() {
        let datagram = sent(&*tunnel, Payload::Echo, b"an echo");
        let header = read(tunnel.protocol(), &datagram).expect("a good packet");
        for layer in [Layer::Ethernet, Layer::Ip] {
            let taken = tunnel.accept(&Header { payload: Payload::Frame(layer), ..header });
            let ours = layer == tunnel.carries();
            assert_eq!(taken, if ours { Ok(()) } else { Err(DropReason::TunnelPayload) }, "{tunnel:?}");
        }
        assert_eq!(tunnel.accept(&Header { payload: Payload::Echo, ..header }), Ok(()), "{tunnel:?}");
    }
}

/// A packet of the corpus: the type it is for, what is to become of it, and its bytes.
struct Sample {
    name: String,
    protocol: &'static Protocol,
    verdict: Result<Verdict, String>,
    bytes: Vec<u8>,
}

/// What is to be read in a header.
#[derive(Debug, PartialEq)]
struct Verdict {
    id: TunnelId,
    len: usize,
    payload: Payload,
    reserved: bool,
    options: Vec<u8>,
}

impl Verdict {
    fn of(header: &Header<'_>) -> Verdict {
        let Header { id, len, payload, reserved, options } = *header;
        Verdict { id, len, payload, reserved, options: options.to_vec() }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    assert_eq!(digits.len() % 2, 0, "half a byte in {text:?}");
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..][..2], 16).expect("hex digits"))
        .collect()
}

impl Sample {
    /// Reads a file: comments from `#` to the end of their lines, lines "key: value", and lines of hex digits.
    fn of_file(path: &Path) -> Sample {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a text file");
        let (mut protocol, mut drop, mut bytes) = (None, None, Vec::new());
        let (mut id, mut len, mut payload, mut reserved, mut options) = (None, None, None, false, Vec::new());
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            let Some((key, value)) = line.split_once(": ") else {
                bytes.extend(hex(line));
                continue;
            };
            match (key, value) {
                ("type", _) => protocol = PROTOCOLS.into_iter().find(|protocol| protocol.name == value),
                ("drop", _) => drop = Some(value.to_owned()),
                ("number", "none") => id = Some(TunnelId::NONE),
                ("number", _) => id = Some(TunnelId::new(value.parse().expect("a number"))),
                ("header", _) => len = Some(value.parse().expect("a number")),
                ("carries", "ethernet") => payload = Some(Payload::Frame(Layer::Ethernet)),
                ("carries", "ip") => payload = Some(Payload::Frame(Layer::Ip)),
                ("carries", "echo") => payload = Some(Payload::Echo),
                ("reserved", "set") => reserved = true,
                ("options", _) => options = hex(value),
                _ => panic!("{name}: what is {line:?}?"),
            }
        }
        let verdict = match (drop, id, len, payload) {
            (Some(reason), None, None, None) => Err(reason),
            (None, Some(id), Some(len), Some(payload)) => Ok(Verdict { id, len, payload, reserved, options }),
            _ => panic!("{name}: either a drop, or number, header and carries"),
        };
        let protocol = protocol.unwrap_or_else(|| panic!("{name}: of which type?"));
        assert!(name.starts_with(protocol.name), "{name} is of type {protocol:?}");
        Sample { name, protocol, verdict, bytes }
    }

    fn all() -> Vec<Sample> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tunnel");
        let files = fs::read_dir(folder).expect("the corpus");
        files.map(|file| Sample::of_file(&file.expect("a file").path())).collect()
    }
}

#[test]
fn the_corpus_is_read_as_it_says() {
    let corpus = Sample::all();
    for sample in &corpus {
        let read = read(sample.protocol, &sample.bytes);
        let read = read.map(|header| Verdict::of(&header)).map_err(|reason| reason.name().to_owned());
        assert_eq!(read, sample.verdict, "{}", sample.name);
    }
    let drops: BTreeSet<_> = corpus.iter().filter_map(|sample| sample.verdict.as_ref().err()).collect();
    let expected = ["tunnel-checksum", "tunnel-control", "tunnel-header", "tunnel-option", "tunnel-payload"];
    assert!(drops.iter().eq(expected.iter()), "{drops:?}");
}

#[test]
fn the_corpus_cut_or_changed_is_no_danger() {
    for mut sample in Sample::all() {
        let cut = sample.verdict.as_ref().map_or(0, |verdict| verdict.len);
        for end in 0..sample.bytes.len() {
            let read = read(sample.protocol, &sample.bytes[..end]).map(|header| Verdict::of(&header));
            let unlike = read.ok().as_ref() != sample.verdict.as_ref().ok();
            assert!(end >= cut || unlike, "{} cut at {end}", sample.name);
        }
        for at in 0..sample.bytes.len() {
            let good = sample.bytes[at];
            for value in 0..=u8::MAX {
                sample.bytes[at] = value;
                let _ = read(sample.protocol, &sample.bytes);
            }
            sample.bytes[at] = good;
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..600)) {
        for protocol in PROTOCOLS {
            let _ = read(protocol, &bytes);
        }
        let walked: usize = geneve::options(&bytes).map(|(_, _, data)| 4 + data.len()).sum();
        prop_assert!(walked <= bytes.len());
    }

    #[test]
    fn any_payload_comes_out_as_it_went_in(bytes in vec(any::<u8>(), 0..3000)) {
        for tunnel in samples() {
            for payload in [Payload::Frame(tunnel.carries()), Payload::Echo] {
                received(&*tunnel, payload, &bytes, &sent(&*tunnel, payload, &bytes));
            }
        }
    }

    #[test]
    fn good_packets_spoilt_are_no_danger(
        tunnel: Index,
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        end: Index,
        behind in vec(any::<u8>(), 0..40),
    ) {
        let samples = samples();
        let tunnel = tunnel.get(&samples);
        for (payload, inner) in payloads(tunnel.carries()) {
            let mut datagram = sent(&**tunnel, payload, &inner);
            datagram.extend(&behind);
            // Half of the changes hit the header, which is the smaller part.
            for (i, (at, value)) in changes.iter().enumerate() {
                let len = if i % 2 == 0 { tunnel.header_len() } else { datagram.len() };
                datagram[at.index(len)] = *value;
            }
            let _ = read(tunnel.protocol(), &datagram);
            let _ = read(tunnel.protocol(), &datagram[..end.index(datagram.len())]);
        }
    }
}
