//! Properties of the core with tunnels: any frames by any port, any datagrams from anybody, glued in any way, in any
//! order. The yard asserts after each that every frame is accounted for.

mod kit;

use std::sync::Arc;

use kit::frames::{L4, dot1q, mac, packet, unfinished};
use kit::tunnels::{from, in_vxlan, overlay, tunnel_port, underlay, vxlan_port};
use kit::{Yard, access, on, patch, plain, port, trunk};
use proptest::prelude::*;
use proptest::{collection, sample};
use tapyard::packet::{DropReason, Offload, PortId, Received};
use tapyard::switch::Port;
use tapyard::switch::mode::Apart;
use tapyard::table::strangers::Strangers;
use tapyard::tunnel::vxlan::{self, Vxlan};

const UNDERLAY: u16 = 9;

/// Bridge 0 with plain ports, a hub, a mesh that takes strangers and a narrow trunk, and joined to it by a patch bridge 1
/// with a tunnel of its own; all tunnels over one underlay.
fn ports() -> Vec<Port> {
    let mut open = overlay(Vxlan { vni: 2, strict: true }, UNDERLAY, &[1, 3]);
    open.strangers = Some(Arc::new(Strangers::default()));
    open.mss_clamp = true;
    let mut ports = vec![
        access(10),
        Port { mtu: 1400, ..plain() },
        Port { apart: Apart::NOT, ..vxlan_port(1, UNDERLAY, &[1, 2]) },
        tunnel_port(open),
        Port { vlan: trunk(&[10, 20], None).vlan, mtu: 600, ..vxlan_port(3, UNDERLAY, &[2]) },
        patch(6, trunk(&[10, 20], Some(20))),
        patch(5, on(1, port())),
        on(1, vxlan_port(4, UNDERLAY, &[1, 2])),
        on(1, plain()),
    ];
    ports.push(underlay(&vxlan::PROTOCOL, &ports));
    ports
}

/// A frame among few stations, as long as can be cut or not, and with what was left undone.
fn frame() -> impl Strategy<Value = (Vec<u8>, Offload)> {
    let station = || prop_oneof![8 => (1..6u32).prop_map(mac), 2 => Just(mac(0xffff_ffff))];
    let l4 = sample::select(vec![L4::Tcp, L4::Udp]);
    let tci = prop_oneof![Just(None), sample::select(vec![10u16, 20, 30, 0xa00a]).prop_map(Some)];
    let len = prop_oneof![0..1600usize, 0..20_000usize];
    let group = any::<bool>();
    (station(), 1..6u32, any::<bool>(), l4, len, tci, 0..4u8, group).prop_map(
        |(to, source, v6, l4, len, tci, undone, group)| {
            let mut bytes = packet(to, mac(source), v6, l4, len);
            if group {
                bytes[..6].fill(0xff);
            }
            let (mut bytes, mut offload) = match undone {
                0 => (bytes, Offload::NONE),
                1 if len > 100 => unfinished(bytes, v6, l4, 90 + (len % 1300) as u16),
                _ => unfinished(bytes, v6, l4, 0),
            };
            if let Some(tci) = tci {
                bytes = dot1q(&bytes, tci);
                offload.shift(4);
            }
            (bytes, offload)
        },
    )
}

/// What one read gives: datagrams of one sender in a row, and bytes that were changed or cut off.
fn read() -> impl Strategy<Value = (Received, Vec<u8>)> {
    let changes = collection::vec((any::<sample::Index>(), any::<u8>()), 0..3);
    let count = 1..20usize;
    let echo = any::<bool>();
    (1..6u16, 0..6u32, frame(), count, changes, any::<sample::Index>(), any::<u8>(), echo).prop_map(
        |(sender, vni, (frame, _), count, changes, cut, tos, echo)| {
            let mut one = in_vxlan(vni, &frame[..frame.len().min(3000)]);
            if echo && count > 15 {
                let echo = b"\x01\x80\xc2\0\0\x0e\x02\0\0\0\x88\xb5\x88\xb5TYec\x01\0\0\0";
                one = in_vxlan(vni, &[&echo[..], &[0; 40]].concat());
            }
            let stride = one.len();
            let mut bytes = one.repeat(count);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(bytes.len() - cut.index(stride.min(40)));
            let received = Received { tos, ..from(sender, stride.min(bytes.len())) };
            (received, bytes)
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Send(u16, Vec<(Vec<u8>, Offload)>),
    Receive(Vec<(Received, Vec<u8>)>),
    Refuse(Option<DropReason>),
    Remove(u16),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = sample::select(vec![None, Some(DropReason::ExceedsMtu), Some(DropReason::QueueFull)]);
    prop_oneof![
        6 => (sample::select(vec![0u16, 1, 8]), collection::vec(frame(), 1..6)).prop_map(|(p, f)| Step::Send(p, f)),
        6 => collection::vec(read(), 1..6).prop_map(Step::Receive),
        1 => outcome.prop_map(Step::Refuse),
        1 => (0..=UNDERLAY).prop_map(Step::Remove),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_frame_is_accounted_for(steps in collection::vec(step(), 1..30)) {
        let mut yard = Yard::new(ports());
        for step in steps {
            match step {
                Step::Send(port, frames) => _ = yard.send_all(0, port, &frames),
                Step::Receive(reads) => _ = yard.receive(UNDERLAY, &reads),
                Step::Refuse(outcome) => yard.underlay_says = outcome.map_or(Ok(()), Err),
                Step::Remove(port) => yard.change(|ports| ports[PortId(port).index()] = None),
                Step::Restore => yard.change(|all| *all = ports().into_iter().map(Some).collect()),
            }
            for posted in yard.posted() {
                prop_assert_eq!(posted.bytes[0], 8, "a VXLAN header and one only");
                prop_assert!(posted.bytes.len() <= 8 + 14 + 4 + 1450 || posted.bytes[8..].starts_with(b"\x01\x80\xc2\0\0\x0e"), "{}", posted.bytes.len());
            }
        }
    }
}
