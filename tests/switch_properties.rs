//! Properties of the core: any topology, any frames by any port in any order, the time jumping ahead.

mod kit;

use std::collections::BTreeSet;
use std::time::Duration;

use kit::any::{address, any_port, hostile, valid};
use kit::frames::{dot1q, fits, l3_start, mac, verified};
use kit::{BRIDGE, Yard, on, patch, port};
use proptest::prelude::*;
use proptest::{collection, sample};
use tapyard::packet::{DropReason, Gso, Offload, PortId, Vid};
use tapyard::switch::{Port, VlanPolicy, Way};
use tapyard::table::fdb::{Kind, Station};
use tapyard::wire::ethernet::Mac;

const PORTS: u16 = 8;

/// Up to [`PORTS`] ports on two bridges.
fn ports() -> impl Strategy<Value = Vec<Port>> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(first, second)| {
        let one = prop_oneof![3 => any_port(0, first), 1 => any_port(1, second)];
        collection::vec(one, 2..usize::from(PORTS))
    })
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
        Step::Wait(secs) => drop(yard.wait(Duration::from_secs(secs))),
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
            && !(port.apart.is_isolated() && other.apart.is_isolated())
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
                prop_assert!(out.vlan.admits(vid) && !(inn.apart.is_isolated() && out.apart.is_isolated()));
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
