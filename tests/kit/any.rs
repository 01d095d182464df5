//! Anything that may be configured or may come in, for tests of properties. The strategies are boxed: nested as they are
//! there, they would not fit the stack of a test.

use proptest::prelude::*;
use proptest::{collection, option, sample};
use tapyard::packet::{Capabilities, Gso, Offload, Vid};
use tapyard::switch::mode::{Apart, Mode};
use tapyard::switch::{Port, Storm};
use tapyard::table::fdb::Allowance;
use tapyard::wire::ethernet::Mac;

use super::frames::{L4, frame, mac, packet, tag, unfinished};
use super::{BRIDGE, access, bucket, on, port, trunk};

const VIDS: [Vid; 3] = [1, 10, 20];

/// An address of a few stations, of a group, or one that stands for nobody.
pub(crate) fn address() -> impl Strategy<Value = Mac> {
    let group = [1, 0, 0x5e, 0, 0, 1];
    prop_oneof![
        8 => (1..6u32).prop_map(mac),
        2 => Just(Mac::BROADCAST),
        1 => Just(Mac::new(group)),
        1 => sample::select(vec![Mac::default(), Mac::new([1, 0x80, 0xc2, 0, 0, 0]), mac(99), mac(BRIDGE)]),
    ]
}

/// A port of a bridge that is VLAN-aware or is not.
pub(crate) fn any_port(bridge: u16, aware: bool) -> BoxedStrategy<Port> {
    let vlan = prop_oneof![
        sample::select(&VIDS[..]).prop_map(access),
        (sample::subsequence(&VIDS[..], 1..=3), option::of(sample::select(&VIDS[..])))
            .prop_map(|(vids, native)| trunk(&vids, native)),
    ];
    let vlan = if aware { vlan.boxed() } else { Just(port()).boxed() };
    let limit = option::weighted(0.3, 0..4u32);
    let storm = option::weighted(0.1, 0..100u32);
    let offloads = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let mtu = sample::select(vec![20, 576, 1500, 9000]);
    let bools = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.8));
    (vlan, limit, storm, offloads, mtu, bools)
        .prop_map(
            move |(vlan, limit, storm, (checksum, tso4, tso6, uso, outside), mtu, (isolated, learning))| {
                let storm = storm.and_then(bucket);
                Port {
                    apart: Apart::new(Mode::Bridge, isolated, false),
                    learning,
                    mtu,
                    allowance: Allowance { limit, quota: limit.unwrap_or(0) },
                    storm: Storm { broadcast: storm.clone(), multicast: None, unknown: storm },
                    capabilities: Capabilities {
                        checksum,
                        tso4: checksum && tso4,
                        tso6: checksum && tso6,
                        uso: checksum && uso,
                        outside,
                    },
                    ..on(bridge, vlan)
                }
            },
        )
        .boxed()
}

/// A frame as a decent sender sends it: a valid packet with up to two tags, perhaps with things left undone.
pub(crate) fn valid() -> BoxedStrategy<(Vec<u8>, Offload)> {
    let l4 = sample::select(vec![L4::Tcp, L4::Udp]);
    let undone = option::of(prop_oneof![Just(0u16), 8..2000u16, Just(1448)]);
    let tci =
        (sample::select(vec![0, 1, 10, 20, 30, 4095]), 0..16u16).prop_map(|(vid, bits)| bits << 12 | vid);
    let tags = (option::of(tci), option::weighted(0.2, Just((0x88a8, 300))));
    let length = prop_oneof![0..64usize, 0..3000usize, 0..20_000usize];
    (address(), address(), any::<bool>(), l4, length, undone, tags)
        .prop_map(|(to, from, v6, l4, length, undone, (outer, inner))| {
            let whole = packet(to, from, v6, l4, length);
            let (mut bytes, mut offload) = match undone {
                Some(gso_size) => unfinished(whole, v6, l4, gso_size),
                None => (whole, Offload::NONE),
            };
            for (tpid, tci) in inner.into_iter().chain(outer.map(|tci| (0x8100, tci))) {
                bytes = tag(&bytes, tpid, tci);
                offload.shift(4);
            }
            (bytes, offload)
        })
        .boxed()
}

pub(crate) fn any_offload() -> impl Strategy<Value = Offload> {
    let gso = sample::select(vec![Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp, Gso::Unknown]);
    let number = || prop_oneof![0..100u16, any::<u16>()];
    let offset = prop_oneof![Just(6u16), Just(16), any::<u16>()];
    (any::<bool>(), gso, any::<bool>(), number(), number(), number(), offset).prop_map(
        |(needs_csum, gso, ecn, gso_size, header_len, csum_start, csum_offset)| Offload {
            needs_csum,
            gso,
            ecn,
            gso_size,
            header_len,
            csum_start,
            csum_offset,
            ..Offload::NONE
        },
    )
}

/// Anything at all: garbage, garbage behind good addresses, and good frames that were cut, changed or lied about.
pub(crate) fn hostile() -> BoxedStrategy<(Vec<u8>, Offload)> {
    let garbage = collection::vec(any::<u8>(), 0..200);
    let cut = |(bytes, offload): (Vec<u8>, Offload), at: sample::Index| {
        (bytes[..at.index(bytes.len())].to_vec(), offload)
    };
    let changed = |((mut bytes, offload), at, value): ((Vec<u8>, Offload), sample::Index, u8)| {
        let at = at.index(bytes.len().min(80));
        bytes[at] = value;
        (bytes, offload)
    };
    let addressed = (address(), address(), garbage.clone())
        .prop_map(|(to, from, garbage)| [&frame(to, from)[..12], &garbage].concat());
    prop_oneof![
        (garbage, any_offload()),
        (addressed, prop_oneof![any_offload(), Just(Offload::NONE)]),
        (valid(), any_offload()).prop_map(|((bytes, _), offload)| (bytes, offload)),
        (valid(), any::<sample::Index>()).prop_map(move |(good, at)| cut(good, at)),
        (valid(), any::<sample::Index>(), any::<u8>()).prop_map(changed),
        valid(),
    ]
    .boxed()
}
