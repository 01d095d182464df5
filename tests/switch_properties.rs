//! Properties of the core: any topology, any frames by any port in any order, the time jumping ahead.

mod kit;

use std::collections::BTreeSet;
use std::time::Duration;

use kit::frames::{L4, dot1q, frame, mac, packet, tag, unfinished, verified};
use kit::{BRIDGE, Sent, Yard, access, bucket, on, patch, port, trunk};
use proptest::prelude::*;
use proptest::{collection, option, sample};
use tapyard::packet::{Capabilities, DropReason, Gso, Offload, PortId, Vid};
use tapyard::switch::{Port, Storm, VlanPolicy, Way};
use tapyard::table::fdb::{Allowance, Kind, Station};
use tapyard::wire::ethernet::Mac;

const VIDS: [Vid; 3] = [1, 10, 20];
const PORTS: u16 = 8;

fn address() -> impl Strategy<Value = Mac> {
    let group = [1, 0, 0x5e, 0, 0, 1];
    prop_oneof![
        8 => (1..6u32).prop_map(mac),
        2 => Just(Mac::BROADCAST),
        1 => Just(Mac::new(group)),
        1 => sample::select(vec![Mac::default(), Mac::new([1, 0x80, 0xc2, 0, 0, 0]), mac(99), mac(BRIDGE)]),
    ]
}

/// A port of a bridge that is VLAN-aware or is not.
fn any_port(bridge: u16, aware: bool) -> impl Strategy<Value = Port> {
    let vlan = prop_oneof![
        sample::select(&VIDS[..]).prop_map(access),
        (sample::subsequence(&VIDS[..], 1..=3), option::of(sample::select(&VIDS[..])))
            .prop_map(|(vids, native)| trunk(&vids, native)),
    ];
    let vlan = if aware { vlan.boxed() } else { Just(port()).boxed() };
    let limit = option::weighted(0.3, 0..4u32);
    let storm = option::weighted(0.1, 0..100u32);
    let offloads = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let mtu = sample::select(vec![20, 576, 1500, 9000]);
    let bools = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.8));
    (vlan, limit, storm, offloads, mtu, bools).prop_map(
        move |(vlan, limit, storm, (checksum, tso4, tso6, uso), mtu, (isolated, learning))| {
            let storm = storm.and_then(bucket);
            Port {
                isolated,
                learning,
                mtu,
                allowance: Allowance { limit, quota: limit.unwrap_or(0) },
                storm: Storm { broadcast: storm.clone(), multicast: None, unknown: storm },
                capabilities: Capabilities {
                    checksum,
                    tso4: checksum && tso4,
                    tso6: checksum && tso6,
                    uso: checksum && uso,
                },
                ..on(bridge, vlan)
            }
        },
    )
}

/// Up to [`PORTS`] ports on two bridges.
fn ports() -> impl Strategy<Value = Vec<Port>> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(first, second)| {
        let one = prop_oneof![3 => any_port(0, first), 1 => any_port(1, second)];
        collection::vec(one, 2..usize::from(PORTS))
    })
}

/// A frame as a decent sender sends it: a valid packet with up to two tags, perhaps with things left undone.
fn valid() -> impl Strategy<Value = (Vec<u8>, Offload)> {
    let l4 = sample::select(vec![L4::Tcp, L4::Udp]);
    let undone = option::of(prop_oneof![Just(0u16), 8..2000u16, Just(1448)]);
    let tci =
        (sample::select(vec![0, 1, 10, 20, 30, 4095]), 0..16u16).prop_map(|(vid, bits)| bits << 12 | vid);
    let tags = (option::of(tci), option::weighted(0.2, Just((0x88a8, 300))));
    let length = prop_oneof![0..64usize, 0..3000usize, 0..20_000usize];
    (address(), address(), any::<bool>(), l4, length, undone, tags).prop_map(
        |(to, from, v6, l4, length, undone, (outer, inner))| {
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
        },
    )
}

fn any_offload() -> impl Strategy<Value = Offload> {
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
fn hostile() -> impl Strategy<Value = (Vec<u8>, Offload)> {
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
}

#[derive(Clone, Debug)]
enum Step {
    Send { worker: usize, port: u16, frames: Vec<(Vec<u8>, Offload)> },
    Wait(u64),
    Jump(u64),
    Flush(u16),
    Purge(u16),
    Pin(Mac, Vid, u16),
    Unpin(Mac, Vid),
    Remove(u16),
    Restore,
}

fn step(frames: impl Strategy<Value = Vec<(Vec<u8>, Offload)>>) -> impl Strategy<Value = Step> {
    let vid = || sample::select(vec![0, 1, 10, 20]);
    let home = 0..PORTS;
    prop_oneof![
        30 => (0..2usize, 0..PORTS, frames).prop_map(|(worker, port, frames)| Step::Send { worker, port, frames }),
        2 => (0..400u64).prop_map(Step::Wait),
        1 => (0..1_000_000u64).prop_map(Step::Jump),
        1 => (0..PORTS).prop_map(Step::Flush),
        1 => (0..PORTS).prop_map(Step::Purge),
        2 => (address(), vid(), home).prop_map(|(mac, vid, port)| Step::Pin(mac, vid, port)),
        1 => (address(), vid()).prop_map(|(mac, vid)| Step::Unpin(mac, vid)),
        1 => (0..PORTS).prop_map(Step::Remove),
        1 => Just(Step::Restore),
    ]
}

/// Does what is no frame.
fn disturb(yard: &mut Yard, ports: &[Port], step: &Step) {
    match *step {
        Step::Send { .. } => {}
        Step::Wait(secs) => yard.wait(Duration::from_secs(secs)),
        Step::Jump(secs) => yard.now = yard.now + Duration::from_secs(secs),
        Step::Flush(port) => {
            (0..yard.bridges()).for_each(|b| _ = yard.fdb(b).flush(|_, entry| entry.port.0 == port))
        }
        Step::Purge(port) => (0..yard.bridges()).for_each(|b| yard.fdb(b).purge(PortId(port))),
        Step::Pin(mac, vid, port) => yard.fdb(0).pin(Station::new(mac, vid), PortId(port)),
        Step::Unpin(mac, vid) => drop(yard.fdb(0).remove(Station::new(mac, vid))),
        Step::Remove(port) => {
            yard.change(|ports| ports.get_mut(usize::from(port)).into_iter().for_each(|p| *p = None))
        }
        Step::Restore => yard.change(|now| *now = ports.iter().cloned().map(Some).collect()),
    }
}

/// The VLAN a frame is in by 802.1Q 6.9.1; `None`: the port does not take it.
fn vlan_of(port: &Port, bytes: &[u8]) -> Option<Vid> {
    if matches!(port.vlan, VlanPolicy::Unaware) {
        return Some(0);
    }
    let tagged = bytes.get(12..14)? == [0x81, 0];
    let vid = if tagged { u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]) & 0xfff } else { 0 };
    if tagged && bytes.len() < 18 {
        return None;
    }
    match &port.vlan {
        VlanPolicy::Access(own) => (vid == 0 || vid == *own).then_some(*own),
        VlanPolicy::Trunk { native, .. } if vid == 0 => *native,
        policy => (vid != 4095 && policy.admits(vid)).then_some(vid),
    }
}

/// The bytes with which a frame of VLAN `vid` leaves a port.
fn form(port: &Port, vid: Vid, bytes: &[u8]) -> Vec<u8> {
    let tagged = bytes[12..14] == [0x81, 0];
    let (tci, bare) = if tagged {
        (u16::from_be_bytes([bytes[14], bytes[15]]), [&bytes[..12], &bytes[16..]].concat())
    } else {
        (0, bytes.to_vec())
    };
    match &port.vlan {
        VlanPolicy::Unaware => bytes.to_vec(),
        VlanPolicy::Access(_) => bare,
        VlanPolicy::Trunk { native, .. } if *native == Some(vid) => bare,
        VlanPolicy::Trunk { .. } => dot1q(&bare, tci & 0xf000 | vid),
    }
}

/// Where L3 begins: behind up to four tags.
fn l3_start(bytes: &[u8]) -> usize {
    let is_tag = |at: &usize| matches!(bytes.get(*at..*at + 2), Some([0x81, 0] | [0x88, 0xa8]));
    let tags = (12..).step_by(4).take_while(is_tag).count();
    if tags > 4 { 14 } else { 14 + 4 * tags }
}

/// What left fits the port it left by.
fn fits(port: &Port, Sent { bytes, offload, .. }: &Sent) {
    assert!(bytes.len() >= 14, "no runt leaves");
    assert!(port.capabilities.take(offload), "{offload:?}");
    let on_wire = match offload.gso {
        Gso::None => bytes.len(),
        _ => bytes.len().min(usize::from(offload.header_len) + usize::from(offload.gso_size)),
    };
    assert!(on_wire <= port.mtu as usize + l3_start(bytes), "{} bytes, MTU {}", bytes.len(), port.mtu);
    if offload.needs_csum {
        let field = usize::from(offload.csum_start) + usize::from(offload.csum_offset);
        assert!(usize::from(offload.csum_start) >= 14 && field + 2 <= bytes.len(), "{offload:?}");
    }
}

/// Drops that an out port counts of what the bridge gave it.
fn lost_at_egress(yard: &Yard) -> u64 {
    let reasons = [DropReason::ExceedsMtu, DropReason::NoBuffer, DropReason::Unsegmentable];
    (0..PORTS).map(|port| reasons.map(|reason| yard.counters(port).dropped(reason)).iter().sum::<u64>()).sum()
}

fn evictions(yard: &Yard) -> u64 {
    (0..yard.bridges()).map(|bridge| yard.fdb(bridge).stats().evictions).sum()
}

/// The ports a frame has to leave by, as a bridge without any cache would say, whatever storm control says.
fn destinations(yard: &Yard, from: u16, bytes: &[u8]) -> BTreeSet<u16> {
    let all = yard.ports();
    let none = BTreeSet::new();
    let Some(Some(port)) = all.get(usize::from(from)) else { return none };
    let Some(addresses) = bytes.get(..14) else { return none };
    let mac_at = |at: usize| Mac::new(addresses[at..at + 6].try_into().expect("six bytes"));
    let (to, source) = (mac_at(0), mac_at(6));
    let Some(vid) = vlan_of(port, bytes) else { return none };
    let fdb = yard.fdb(port.bridge.expect("every port here has one").index());
    let own = mac(BRIDGE);
    if source.is_group() || source.is_zero() || to.is_link_local() || source == own || to == own {
        return none;
    }
    let mut known = fdb.lookup(Station::new(to, vid));
    // A frame to its own sender finds what it has just taught.
    if to == source && port.learning && known.is_none_or(|entry| entry.kind == Kind::Learned) {
        let teaches = port.allowance.limit != Some(0);
        if teaches {
            return none;
        }
    }
    if to.is_group() {
        known = None;
    }
    let admitted = |(number, other): (usize, &Option<Port>)| {
        let (number, other) = (number as u16, other.as_ref()?);
        let reached = number != from
            && other.bridge == port.bridge
            && other.vlan.admits(vid)
            && !(port.isolated && other.isolated)
            && known.is_none_or(|entry| entry.port.0 == number);
        reached.then_some(number)
    };
    all.iter().enumerate().filter_map(admitted).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Each frame of two workers with caches leaves by the ports that the table, asked at that moment, says, in the
    /// right form, or is counted where it was lost.
    #[test]
    fn frames_go_where_the_table_says(
        ports in ports(),
        limit in 1..8u32,
        steps in collection::vec(step(valid().prop_map(|frame| vec![frame])), 1..60),
    ) {
        let mut yard = Yard::with(2, limit, Duration::from_secs(60), ports.clone());
        for step in &steps {
            disturb(&mut yard, &ports, step);
            let Step::Send { worker, port: from, frames } = step else { continue };
            let (bytes, offload) = &frames[0];
            let expected = destinations(&yard, *from, bytes);
            let before = (lost_at_egress(&yard), yard.counters(*from), evictions(&yard));
            let sent = yard.send_all(*worker, *from, frames);
            let by: BTreeSet<_> = sent.iter().map(|sent| sent.port).collect();
            let after = yard.counters(*from);
            let new = |reason| after.dropped(reason) > before.1.dropped(reason);
            let refused = [
                DropReason::StormBroadcast, DropReason::StormUnknown, DropReason::BadOffload, DropReason::PortMissing,
            ];
            if refused.into_iter().any(new) {
                prop_assert!(sent.is_empty());
                continue;
            }
            // Else learning the sender may have cost the receiver his place.
            if evictions(&yard) == before.2 {
                prop_assert!(by.is_subset(&expected), "{:?} of {:?}", by, expected);
                let lost = lost_at_egress(&yard) - before.0;
                prop_assert_eq!(by.len() as u64 + lost, expected.len() as u64, "{:?} of {:?}", by, expected);
            }
            for sent in &sent {
                let (Some(inn), Some(out)) = (&yard.ports()[usize::from(*from)], &yard.ports()[usize::from(sent.port)])
                else { panic!("left a port that is not there") };
                prop_assert_eq!(inn.bridge, out.bridge);
                let vid = vlan_of(inn, bytes).expect("it was taken");
                prop_assert!(out.vlan.admits(vid) && !(inn.isolated && out.isolated));
                fits(out, sent);
                if !sent.offload.needs_csum {
                    verified(&sent.bytes);
                }
                let expected = form(out, vid, bytes);
                if offload.gso != Gso::None && sent.offload.gso == Gso::None {
                    prop_assert_eq!(&sent.bytes[..l3_start(&expected)], &expected[..l3_start(&expected)]);
                } else if sent.offload.needs_csum == offload.needs_csum {
                    prop_assert_eq!(&sent.bytes, &expected);
                } else {
                    prop_assert_eq!(sent.bytes.len(), expected.len());
                }
            }
        }
    }

    /// Whatever comes, by whatever port, through patches in a loop or not: every frame is accounted for and what leaves
    /// fits its port.
    #[test]
    fn nothing_breaks_it(
        ports in ports(),
        patches in 0..3u16,
        limit in 0..8u32,
        steps in collection::vec(step(collection::vec(hostile(), 0..5)), 1..30),
    ) {
        let mut ports = ports;
        for _ in 0..patches {
            let next = ports.len() as u16;
            let like = |bridge: u16| {
                let of_bridge = ports.iter().find(|port| port.bridge.is_some_and(|id| id.0 == bridge));
                of_bridge.cloned().unwrap_or_else(|| on(bridge, port()))
            };
            let ends = [patch(next + 1, like(0)), patch(next, like(1))];
            ports.extend(ends);
        }
        let mut yard = Yard::with(2, limit, Duration::from_secs(60), ports.clone());
        for step in &steps {
            disturb(&mut yard, &ports, step);
            if let Step::Send { worker, port, frames } = step {
                for sent in yard.send_all(*worker, *port, frames) {
                    let out = yard.ports()[usize::from(sent.port)].as_ref().expect("a port that is there");
                    prop_assert!(!matches!(out.way, Way::Patch(_)), "what goes to a patch comes in again");
                    fits(out, &sent);
                }
            }
        }
    }
}
