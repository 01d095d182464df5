//! Whatever ports, mirrors and frames there are: a switch with mirrors does to frames what one without does, every copy is
//! accounted for, and what the ports for copies are handed fits them.

mod kit;

use std::sync::Arc;

use kit::any::{any_port, hostile, valid};
use kit::frames::fits;
use kit::mirrors::mirror;
use kit::tunnels::{Posted, over_vxlan, vxlan_port};
use kit::{Sent, Yard, on, patch, port};
use proptest::prelude::*;
use proptest::{collection, option, sample};
use tapyard::packet::{Frame, Layer, Offload, segment};
use tapyard::switch::mirror::Mirror;
use tapyard::switch::{Port, Storm};

/// Ports for copies: two of the first slots, one a tunnel.
const QUEUE: u16 = 0;
const TUNNEL: u16 = 1;

/// A port for copies of each kind, ports of two bridges, perhaps a patch between them, a tunnel, and the underlay.
fn ports() -> BoxedStrategy<Vec<Port>> {
    (any::<bool>(), any_port(0, false), collection::vec(any_port(1, false), 1..3), any::<bool>())
        .prop_flat_map(|(aware, to, others, patched)| {
            let locals = collection::vec(any_port(0, aware), 1..4);
            (locals, Just((to, others, patched && !aware)))
        })
        .prop_map(|(locals, (to, others, patched))| {
            let underlay = (2 + locals.len() + others.len() + 1 + if patched { 2 } else { 0 }) as u16;
            let alone = |port: Port| Port { bridge: None, ..port };
            let mut ports = vec![alone(to), alone(vxlan_port(900, underlay, &[7, 8]))];
            ports.extend(locals.into_iter().chain(others));
            ports.push(vxlan_port(100, underlay, &[1, 2]));
            if patched {
                let next = ports.len() as u16;
                ports.extend([patch(next + 1, port()), patch(next, on(1, port()))]);
            }
            // Twins would take from one another's buckets.
            let calm = |port| Port { storm: Storm::default(), ..port };
            over_vxlan(ports.into_iter().map(calm).collect())
        })
        .boxed()
}

fn any_mirror() -> BoxedStrategy<Mirror> {
    let of = || collection::vec(2..12u16, 0..8);
    let vlans = option::weighted(0.2, Just(Arc::new([1, 10].into_iter().collect())));
    let filter = sample::select(vec!["", "", "tcp", "not ip6"]);
    let snap = option::weighted(0.3, sample::select(vec![64, 128, 1000]));
    (sample::select(vec![QUEUE, TUNNEL]), of(), of(), vlans, filter, snap)
        .prop_map(|(to, received, sent, vlans, filter, snap)| Mirror {
            vlans,
            filter: filter.parse().expect("an expression"),
            snap,
            ..mirror(to, &received, &sent)
        })
        .boxed()
}

/// What leaves by other ports than those for copies, with every checksum finished that may be: a port for copies may take
/// none that is not.
fn others(left: Vec<Sent>) -> Vec<Sent> {
    let finished = |sent: Sent| {
        let mut frame = Frame::from_bytes(&sent.bytes);
        frame.offload = sent.offload;
        segment::finish_checksum(&mut frame);
        Sent { bytes: frame.bytes().to_vec(), offload: frame.offload, ..sent }
    };
    left.into_iter().filter(|sent| sent.port != QUEUE).map(finished).collect()
}

fn posted_by_others(yard: &mut Yard) -> Vec<Posted> {
    yard.posted().into_iter().filter(|posted| posted.tunnel != TUNNEL).collect()
}

type Frames = Vec<(Vec<u8>, Offload)>;

fn frames() -> impl Strategy<Value = (sample::Index, Frames)> {
    (any::<sample::Index>(), collection::vec(prop_oneof![4 => valid(), 1 => hostile()], 1..6))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn mirrors_change_nothing_and_account_for_every_copy(
        ports in ports(),
        mirrors in collection::vec(any_mirror(), 1..4),
        batches in collection::vec(frames(), 1..12),
        full in any::<bool>(),
    ) {
        let mut plain = Yard::new(ports);
        let mut mirrored = plain.twin();
        let named = |(n, mirror): (usize, Mirror)| Mirror { name: n.to_string(), ..mirror };
        mirrored.mirror(mirrors.into_iter().enumerate().map(named));
        if full {
            mirrored.takes = |port| port != QUEUE;
        }
        // By an underlay, datagrams come and no frames.
        let doors = plain.ports().len() as u16 - 1;
        for (door, frames) in batches {
            let door = door.index(usize::from(doors)) as u16;
            let left = mirrored.send_all(0, door, &frames);
            let to = mirrored.ports()[usize::from(QUEUE)].clone().expect("it stays");
            left.iter().filter(|sent| sent.port == QUEUE).for_each(|copy| fits(&to, copy));
            prop_assert_eq!(others(left), others(plain.send_all(0, door, &frames)));
            prop_assert_eq!(posted_by_others(&mut mirrored), posted_by_others(&mut plain));
        }
        for port in (0..=doors).filter(|port| ![QUEUE, TUNNEL].contains(port)) {
            prop_assert_eq!(mirrored.counters(port), plain.counters(port));
        }
        let dropped = |yard: &Yard, port| yard.counters(port).dropped_total() - yard.counters(port).rx_frames;
        let drops: u64 = mirrored.mirrored().iter().map(|counters| counters.drops).sum();
        prop_assert_eq!(drops, dropped(&mirrored, QUEUE) + dropped(&mirrored, TUNNEL));
        for copy in mirrored.fdb(0).entries() {
            prop_assert!(![QUEUE, TUNNEL].contains(&copy.1.port.0), "nothing is learned of copies");
        }
    }

    #[test]
    fn a_copy_of_any_bytes_is_made_or_counted(bytes in hostile(), snap in option::of(64..100usize)) {
        let mut yard = Yard::new([port(), Port { bridge: None, ..port() }]);
        yard.mirror([Mirror { snap, ..mirror(1, &[0], &[]) }]);
        let left = yard.send_all(0, 0, std::slice::from_ref(&bytes));
        let runt = bytes.0.len() < Layer::Ethernet.header_len();
        prop_assert_eq!(left.len(), usize::from(!runt));
        prop_assert_eq!(yard.counters(1).copies, 1);
        for copy in left {
            // What is longer than the MTU is cut there.
            let len = snap.unwrap_or(usize::MAX).min(copy.bytes.len());
            prop_assert_eq!(&copy.bytes[..], &bytes.0[..len]);
        }
    }
}
