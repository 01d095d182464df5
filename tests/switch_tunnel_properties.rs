//! Properties of tunnels: any topology with several types of them, any datagrams and any frames in any order.

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kit::any::{any_port, hostile, valid};
use kit::frames::{fits, l3_start};
use kit::tunnels::{Posted, host, overlay, underlay};
use kit::{Sent, Yard, on, patch, port};
use proptest::prelude::*;
use proptest::{collection, option, sample};
use tapyard::packet::{Batch, Frame, Gso, Layer, Offload, Received, segment};
use tapyard::switch::mode::{Apart, Mode};
use tapyard::switch::{Outer, Overlay, Port, Way};
use tapyard::table::strangers::Strangers;
use tapyard::tunnel::geneve::{self, Geneve, Opt};
use tapyard::tunnel::{PROTOCOLS, Payload, Tunnel, gre::Gre, vxlan::Vxlan};

/// Tunnels have numbers below this; datagrams have others too.
const NUMBERS: u32 = 4;

/// A tunnel port as it is drawn, which has no place yet.
#[derive(Clone, Debug)]
struct Drawn {
    port: Port,
    protocol: usize,
    number: u32,
    hosts: Vec<u16>,
    /// It minds reserved bits, sends an option, or sends checksums: what its type has beyond the plain form.
    rich: bool,
    strangers: bool,
    mss_clamp: bool,
    outer: Outer,
}

fn tunnel(protocol: usize, number: u32, rich: bool) -> Arc<dyn Tunnel> {
    let option = Opt { class: 0xff00, kind: 1, data: vec![1, 2, 3, 4] };
    let options = if rich { geneve::encode(&[option]).expect("a good option") } else { Vec::new() };
    match PROTOCOLS[protocol].name {
        "vxlan" => Arc::new(Vxlan { vni: number, strict: rich }),
        "geneve" => Arc::new(Geneve { vni: number, options, layer: Layer::Ethernet }),
        _ => {
            let key = (number > 0).then_some(number);
            Arc::new(Gre { key, checksum: rich, sequence: None, layer: Layer::Ethernet })
        }
    }
}

fn drawn(bridge: u16, aware: bool) -> BoxedStrategy<Drawn> {
    let what = (0..PROTOCOLS.len(), 0..NUMBERS, sample::subsequence(vec![1, 2, 3, 4], 0..=4));
    let bools = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let outer = (option::of(any::<u8>()), option::of(1..=255u8), option::of(any::<bool>()));
    let mtu = sample::select(vec![600, 1450]);
    (any_port(bridge, aware), what, bools, outer, mtu)
        .prop_map(
            |(port, (protocol, number, hosts), (rich, strangers, mss_clamp, split_horizon), outer, mtu)| {
                let (tos, ttl, dont_fragment) = outer;
                let outer = Outer { tos, ttl, dont_fragment, checksum: rich };
                let port = Port { apart: Apart::new(Mode::Bridge, false, split_horizon), mtu, ..port };
                Drawn { port, protocol, number, hosts, rich, strangers, mss_clamp, outer }
            },
        )
        .boxed()
}

/// Ports of two bridges: local ones, perhaps the ends of a patch between both, tunnels no two of which are told by the
/// same number, and an underlay for each type, in the order of [`PROTOCOLS`] and last.
fn ports() -> BoxedStrategy<Vec<Port>> {
    (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_flat_map(|(first, second, patched)| {
            let local = prop_oneof![2 => any_port(0, first), 1 => any_port(1, second)];
            let tunnel = prop_oneof![2 => drawn(0, first), 1 => drawn(1, second)];
            let patched = Just(patched && !first && !second);
            (collection::vec(local, 1..4), collection::vec(tunnel, 1..6), patched).prop_map(assemble)
        })
        .boxed()
}

fn assemble((mut ports, tunnels, patched): (Vec<Port>, Vec<Drawn>, bool)) -> Vec<Port> {
    if patched {
        let next = ports.len() as u16;
        ports.extend([patch(next + 1, on(0, port())), patch(next, on(1, port()))]);
    }
    let mut numbers = BTreeSet::new();
    let tunnels: Vec<_> = tunnels.into_iter().filter(|t| numbers.insert((t.protocol, t.number))).collect();
    let first_underlay = ports.len() + tunnels.len();
    for drawn in tunnels {
        let Drawn { port, protocol, number, hosts, rich, strangers, mss_clamp, outer } = drawn;
        let mut overlay =
            overlay(Vxlan { vni: 0, strict: false }, (first_underlay + protocol) as u16, &hosts);
        overlay.peers.iter_mut().flatten().for_each(|peer| peer.mtu = port.mtu);
        let strangers = strangers.then(Arc::default);
        let tunnel = self::tunnel(protocol, number, rich);
        let overlay = Overlay { tunnel, strangers, mss_clamp, outer, ..overlay };
        ports.push(Port { way: Way::Tunnel(Arc::new(overlay)), ..port });
    }
    for protocol in PROTOCOLS {
        ports.push(underlay(protocol, &ports));
    }
    ports
}

/// What may be wrong with what an underlay has read.
#[derive(Clone, Debug)]
enum Flaw {
    None,
    Stride(u32),
    Changed(sample::Index, u8),
    Cut(sample::Index),
    Other(Vec<u8>),
}

/// One read of an underlay: datagrams of one length but the last, in a row.
#[derive(Clone, Debug)]
struct Read {
    number: u32,
    from: u16,
    tos: u8,
    /// The frame inside and its offload state; a superframe comes as its segments.
    inner: (Vec<u8>, Offload),
    echo: bool,
    /// It comes so many times.
    times: usize,
    flaw: Flaw,
}

fn read() -> BoxedStrategy<Read> {
    let flaw = prop_oneof![
        6 => Just(Flaw::None),
        1 => prop_oneof![0..100u32, any::<u32>()].prop_map(Flaw::Stride),
        1 => (any::<sample::Index>(), any::<u8>()).prop_map(|(at, value)| Flaw::Changed(at, value)),
        1 => any::<sample::Index>().prop_map(Flaw::Cut),
        1 => collection::vec(any::<u8>(), 0..100).prop_map(Flaw::Other),
    ];
    let inner = prop_oneof![3 => valid(), 1 => hostile()];
    let echo = proptest::bool::weighted(0.05);
    (0..NUMBERS + 1, 1..7u16, 0..4u8, inner, echo, 1..4usize, flaw)
        .prop_map(|(number, from, tos, inner, echo, times, flaw)| Read {
            number,
            from,
            tos,
            inner,
            echo,
            times,
            flaw,
        })
        .boxed()
}

impl Read {
    fn bytes(&self, protocol: usize) -> (Received, Vec<u8>) {
        let frames = segments(&self.inner).unwrap_or_else(|| vec![self.inner.0.clone(); self.times]);
        let payload = if self.echo { Payload::Echo } else { Payload::Frame(Layer::Ethernet) };
        let datagrams = frames.iter().map(|bytes| {
            let mut frame = Frame::from_bytes(bytes);
            tunnel(protocol, self.number, false).encap(&mut frame, payload);
            frame.bytes().to_vec()
        });
        let datagrams: Vec<_> = datagrams.collect();
        let mut bytes = datagrams.concat();
        let mut stride = datagrams[0].len() as u32;
        match &self.flaw {
            Flaw::None => {}
            Flaw::Stride(other) => stride = *other,
            Flaw::Changed(at, value) => {
                let at = at.index(bytes.len().min(100));
                bytes[at] = *value;
            }
            Flaw::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Flaw::Other(other) => bytes.clone_from(other),
        }
        (Received { source: host(self.from), stride, tos: self.tos }, bytes)
    }
}

/// What a superframe is cut into, if it is one that can be and that a read has room for.
fn segments((bytes, offload): &(Vec<u8>, Offload)) -> Option<Vec<Vec<u8>>> {
    let mut whole = Frame::from_bytes(bytes);
    whole.offload = *offload;
    whole.offload.check(Layer::Ethernet, bytes).ok()?;
    if whole.offload.gso == Gso::None || whole.offload.gso_size < 100 {
        return None;
    }
    let mut batch = Batch::default();
    batch.spare()[0].copy_from(&whole);
    batch.commit(1);
    segment::segment(&mut batch, 0, &mut Vec::new()).ok()?;
    Some(batch.frames()[1..].iter().map(|frame| frame.bytes().to_vec()).collect())
}

#[derive(Clone, Debug)]
enum Step {
    Hear { protocol: usize, reads: Vec<Read> },
    Send { port: sample::Index, frames: Vec<(Vec<u8>, Offload)> },
    Wait(u64),
}

fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        6 => (0..PROTOCOLS.len(), collection::vec(read(), 1..4))
            .prop_map(|(protocol, reads)| Step::Hear { protocol, reads }),
        4 => (any::<sample::Index>(), collection::vec(prop_oneof![valid(), hostile()], 1..3))
            .prop_map(|(port, frames)| Step::Send { port, frames }),
        1 => (0..1000u64).prop_map(Step::Wait),
    ]
    .boxed()
}

/// The port in a slot; every slot has one here.
fn port_of(yard: &Yard, slot: u16) -> &Port {
    yard.ports()[usize::from(slot)].as_ref().expect("no port is ever removed")
}

fn overlay_of(yard: &Yard, slot: u16) -> &Overlay {
    match &port_of(yard, slot).way {
        Way::Tunnel(overlay) => overlay,
        _ => panic!("port {slot} is no tunnel"),
    }
}

/// The tunnel ports that a read is for, by its numbers.
fn tunnels_of(yard: &Yard, slot: u16, (received, bytes): &(Received, Vec<u8>)) -> BTreeSet<u16> {
    let Way::Underlay(underlay) = &port_of(yard, slot).way else { panic!("port {slot} is no underlay") };
    let datagrams = bytes.chunks(received.stride.max(1) as usize);
    let headers = datagrams.filter_map(|datagram| (underlay.protocol.parse)(datagram).ok());
    headers.filter_map(|header| Some(underlay.tunnels.get(&header.id)?.0)).collect()
}

/// A datagram is one that its tunnel would take itself, for one of its peers, and what is in it fits.
fn belongs(yard: &Yard, posted: &Posted) {
    let (port, overlay) = (port_of(yard, posted.tunnel), overlay_of(yard, posted.tunnel));
    let header = (overlay.tunnel.protocol().parse)(&posted.bytes).expect("its header is right");
    assert_eq!(header.id, overlay.tunnel.id());
    assert_eq!(overlay.tunnel.accept(&header), Ok(()));
    let peer = usize::from(posted.peer);
    if posted.peer < Strangers::FIRST {
        assert_eq!(overlay.peers[peer].map(|peer| peer.address), Some(posted.to));
    } else {
        assert!(overlay.strangers.is_some());
    }
    assert!(posted.ttl > 0);
    let inner = &posted.bytes[header.len..];
    if header.payload == Payload::Frame(Layer::Ethernet) {
        // What may be fragmented outside, because it may be inside, need not fit.
        let whole = overlay.outer.dont_fragment.is_some() || posted.dont_fragment;
        let fits = !whole || inner.len() <= l3_start(inner) + port.mtu as usize;
        assert!(inner.len() >= 14 && fits, "{}", inner.len());
    }
}

fn is_echo(yard: &Yard, posted: &Posted) -> bool {
    let parse = overlay_of(yard, posted.tunnel).tunnel.protocol().parse;
    parse(&posted.bytes).is_ok_and(|header| header.payload == Payload::Echo)
}

/// Packets that were answered because they were too long, and echoes.
fn replied(yard: &Yard) -> u64 {
    (0..yard.ports().len() as u16).map(|port| yard.counters(port).replied).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaves_where_it_must_not(ports in ports(), steps in collection::vec(step(), 1..25)) {
        let mut yard = Yard::with(1, 6, Duration::from_secs(60), ports.clone());
        let locals = ports.iter().take_while(|port| matches!(port.way, Way::Queue)).count();
        let patched = ports.iter().any(|port| matches!(port.way, Way::Patch(_)));
        let first_underlay = ports.len() - PROTOCOLS.len();
        for step in &steps {
            let before = replied(&yard);
            let (left, sources): (Vec<Sent>, BTreeSet<u16>) = match step {
                Step::Wait(secs) => {
                    yard.wait(Duration::from_secs(*secs));
                    continue;
                }
                Step::Send { port, frames } => {
                    let port = port.index(locals) as u16;
                    (yard.send_all(0, port, frames), BTreeSet::from([port]))
                }
                Step::Hear { protocol, reads } => {
                    let slot = (first_underlay + protocol) as u16;
                    let reads: Vec<_> = reads.iter().map(|read| read.bytes(*protocol)).collect();
                    let sources = reads.iter().flat_map(|read| tunnels_of(&yard, slot, read)).collect();
                    (yard.receive(slot, &reads), sources)
                }
            };
            let posted = yard.posted();
            left.iter().for_each(|sent| fits(port_of(&yard, sent.port), sent));
            posted.iter().for_each(|posted| belongs(&yard, posted));
            if patched {
                continue;
            }
            let bridge = |slot: u16| port_of(&yard, slot).bridge;
            let bridges: BTreeSet<_> = sources.iter().map(|&slot| bridge(slot)).collect();
            let by = left.iter().map(|sent| sent.port).chain(posted.iter().map(|posted| posted.tunnel));
            by.for_each(|slot| assert!(bridges.contains(&bridge(slot)), "{slot} is on another bridge"));

            // What answers somebody comes by the way his packet would have gone, which may well be a tunnel.
            let answered = replied(&yard) > before;
            if !answered && sources.iter().all(|&slot| port_of(&yard, slot).apart.has_split_horizon()) {
                for posted in posted.iter().filter(|posted| !is_echo(&yard, posted)) {
                    prop_assert!(!port_of(&yard, posted.tunnel).apart.has_split_horizon(), "{:?}", posted.tunnel);
                }
            }
        }
    }
}
