//! What a trace says of a frame. That it comes true, the kit looks at for each frame that comes alone, here and in all other
//! suites of the switch; here is what it says of the way there, and that real frames are told of in the same words.

mod kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::any::{any_port, hostile, valid};
use kit::frames::{broadcast, mac, station, unicast};
use kit::gateways;
use kit::routers::{SYN, gateway, ping, tcp, udp};
use kit::tunnels::{in_vxlan, over_vxlan, vxlan_port};
use kit::{Yard, access, on, patch, plain, port, trunk};
use proptest::collection;
use proptest::prelude::*;
use tapyard::packet::{DropReason, Frame, Offload, PortId};
use tapyard::switch::Port;
use tapyard::switch::mode::Apart;
use tapyard::switch::router::{Action, Condition, Hook};
use tapyard::switch::trial::Walked;
use tapyard::switch::walked::{End, Step};
use tapyard::switch::watch::{Followed, Moment, Sight, WatchId, Watcher};
use tapyard::time::Time;

/// Picks every frame, and keeps what it met.
#[derive(Clone, Default)]
struct Curious(Arc<Mutex<Vec<Step>>>);

impl Watcher for Curious {
    fn wants(&self, _: PortId, _: Moment) -> bool {
        false
    }

    fn see(&mut self, _: &Sight<'_>) {}

    fn picks(&self) -> bool {
        true
    }

    fn pick(&mut self, _: PortId, _: &Frame, _: Time) -> bool {
        true
    }

    fn asks_why(&self) -> bool {
        true
    }

    fn followed(&mut self, followed: &Followed<'_>) {
        *self.0.lock().unwrap() = followed.steps.to_vec();
    }
}

/// What a trace says, step by step: the stage and the words, or what became of the frame.
fn told(walked: &Walked) -> Vec<String> {
    let step = |step: &Step| match step.end {
        None => format!("{}: {}", step.stage.name(), step.text),
        Some(End::Sent { port, frames, .. }) => format!("{frames} sent by {}", port.0),
        Some(End::Taken { port, frames }) => format!("{frames} taken at {}", port.0),
        Some(End::Dropped { port, reason, .. }) => format!("dropped at {}: {}", port.0, reason.name()),
    };
    walked.steps.iter().map(step).collect()
}

/// Ports with names.
fn named(ports: impl IntoIterator<Item = Port>) -> Vec<Port> {
    let names = ["a", "b", "c", "d", "e"].into_iter();
    names.zip(ports).map(|(name, port)| Port { name: name.into(), ..port }).collect()
}

/// What is said of a frame of this yard, behind the way in and before the way out.
#[track_caller]
fn at_bridge(yard: &Yard, port: u16, frame: &[u8]) -> Vec<String> {
    let walked = yard.trace(port, frame, Offload::NONE);
    let all = told(&walked);
    assert!(all[0].starts_with("ingress: a frame of "), "{all:#?}");
    let way_out = |line: &&String| line.starts_with("egress: ") || line.starts_with("ingress: ");
    all.iter().filter(|line| !way_out(line)).cloned().collect()
}

#[test]
fn learning_and_lookups_are_told() {
    let mut yard = Yard::new(named([port(), port(), port()]));
    let (one, two) = (mac(1), mac(2));
    let unknown = [
        format!("learn: {one} is new: learned at a"),
        format!("fdb: nobody knows where {two} is: to be flooded"),
        format!("flood: {two} may go to b, c; not to a (came from there)"),
        "1 sent by 2".into(),
        "1 sent by 1".into(),
    ];
    assert_eq!(at_bridge(&yard, 0, &unicast(2, 1)), unknown);
    assert_eq!(at_bridge(&yard, 0, &unicast(2, 1)), unknown, "nothing was learned by it");
    yard.send(0, &unicast(2, 1));
    yard.now = yard.now + Duration::from_secs(7);
    yard.fdb(0).pin(station(2, 0), PortId(1));
    assert_eq!(
        at_bridge(&yard, 2, &unicast(1, 2)),
        [
            format!("learn: {two} has a static entry at b"),
            format!("fdb: {one} is at a (learned, 7 s old)"),
            "1 sent by 0".into()
        ]
    );
    assert_eq!(
        at_bridge(&yard, 2, &unicast(2, 1)),
        [
            format!("learn: {one} has moved from a to c"),
            format!("fdb: {two} is at b (static)"),
            "1 sent by 1".into()
        ]
    );
    assert_eq!(at_bridge(&yard, 0, &unicast(1, 1))[2..], ["dropped at 0: same-port"]);
}

#[test]
fn who_is_left_out_of_a_flood_is_told_with_why() {
    let isolated = || Port { apart: Apart::ISOLATED, ..access(10) };
    let ports = [isolated(), isolated(), access(10), access(20), trunk(&[10], None)];
    let yard = Yard::new(named(ports));
    let all = told(&yard.trace(0, &broadcast(1), Offload::NONE));
    assert_eq!(all[1], "ingress: taken in, in VLAN 10 (access)");
    let who = "flood: ff:ff:ff:ff:ff:ff may go to c, e; not to a (came from there), b (isolated), d (not in VLAN 10)";
    assert_eq!(all[3], who);
    assert!(
        all.contains(
            &"egress: a frame of 64 bytes to leave by e tagged with VLAN 10, whose MTU is 1500".into()
        ) || all.iter().any(|line| line.contains("to leave by e tagged with VLAN 10")),
        "{all:#?}"
    );
}

#[test]
fn a_full_table_says_whose_place_would_be_taken_without_taking_it() {
    let limited = Port { allowance: tapyard::table::fdb::Allowance { limit: Some(2), quota: 2 }, ..port() };
    let mut yard = Yard::new(named([limited, port()]));
    for n in [1, 2] {
        yard.send(0, &broadcast(n));
    }
    // Station 1 is the oldest: with it gone, nobody knows where it is.
    let lines = at_bridge(&yard, 0, &unicast(1, 3));
    assert_eq!(lines[1], format!("fdb: nobody knows where {} is: to be flooded", mac(1)));
    assert_eq!(yard.knows(station(1, 0)), Some(0), "it is there");
    let none = Port { allowance: tapyard::table::fdb::Allowance { limit: Some(0), quota: 0 }, ..port() };
    let yard = Yard::new(named([none, port()]));
    assert_eq!(
        at_bridge(&yard, 0, &broadcast(1))[0],
        format!("learn: {} is not learned: there is no room for it", mac(1))
    );
}

#[test]
fn a_patch_leads_to_the_other_bridge() {
    let yard = Yard::new(named([port(), patch(2, port()), on(1, patch(1, port())), on(1, port())]));
    let lines = at_bridge(&yard, 0, &broadcast(1));
    assert!(lines.contains(&"patch: comes in by c at the other end".into()), "{lines:#?}");
    assert!(lines.contains(&format!("learn: {} is new: learned at c", mac(1))), "{lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("1 sent by 3"));
}

#[test]
fn what_a_port_cannot_do_is_told_where_it_is_done_for_it() {
    let yard = Yard::new(named([port(), plain()]));
    let whole = kit::frames::packet(mac(2), mac(1), false, kit::frames::L4::Tcp, 4000);
    let (bytes, offload) = kit::frames::unfinished(whole.clone(), false, kit::frames::L4::Tcp, 1448);
    let lines = told(&yard.trace(0, &bytes, offload));
    assert!(
        lines[0].contains("a superframe of ") && lines[0].contains("segments of 1448 each"),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"egress: the port takes no such superframe: it is cut into 3 frames".into()),
        "{lines:#?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("3 sent by 1"));
    let (bytes, offload) = kit::frames::unfinished(
        kit::frames::packet(mac(2), mac(1), false, kit::frames::L4::Tcp, 100),
        false,
        kit::frames::L4::Tcp,
        0,
    );
    let lines = told(&yard.trace(0, &bytes, offload));
    assert!(
        lines.contains(&"egress: the port finishes no checksums: this one is finished here".into()),
        "{lines:#?}"
    );
}

#[test]
fn a_tunnel_is_told_to_its_peers_and_begins_where_its_frames_come_out() {
    let ports = over_vxlan(named([port(), vxlan_port(100, 2, &[1, 2])]));
    let mut yard = Yard::new(ports);
    let lines = at_bridge(&yard, 0, &broadcast(1));
    let expected = [
        "tunnel: wrapped with 8 bytes for vxlan 100; outside TTL 64, TOS 0x00, not to be fragmented",
        "tunnel: to peer 10.8.0.1, by ",
        "tunnel: to peer 10.8.0.2, by ",
        "2 sent by 1",
    ];
    assert_eq!(lines[lines.len() - 4..], expected);
    let long = kit::frames::packet(mac(2), mac(1), false, kit::frames::L4::Udp, 1600);
    assert!(
        at_bridge(&yard, 0, &long).iter().any(|line| line.starts_with("tunnel: ")),
        "{:#?}",
        at_bridge(&yard, 0, &long)
    );
    let walked = yard.trace(1, &unicast(1, 2), Offload::NONE);
    assert!(told(&walked)[0].contains("in by b (peer 10.8.0.1)"), "{:#?}", told(&walked));
    let sent = yard.hear(2, 1, in_vxlan(100, &unicast(1, 2)));
    let left: Vec<_> = walked.left.iter().map(|left| (left.port.0, left.bytes.clone())).collect();
    assert_eq!(left, sent.into_iter().map(|sent| (sent.port, sent.bytes)).collect::<Vec<_>>());
}

#[test]
fn a_router_tells_rules_routes_connections_and_translation() {
    let drops_dns = Condition { destination_port: vec![53..=53], ..Condition::default() };
    let plan = gateways::plan().masquerade(1).rule(Hook::Forward, drops_dns, Action::Drop);
    let mut yard = Yard::new([port(), on(1, port())]);
    plan.run(&mut yard);
    let frame = |msg: &kit::routers::Msg| msg.frame(gateway(), mac(1));
    let syn = tcp("10.1.0.1:5000", "10.2.0.1:80", SYN, 1, 0);
    let lines = told(&yard.trace(0, &frame(&syn), Offload::NONE));
    for expected in [
        "session: it belongs to no connection",
        "rule: hook forward: no rule matches; it passes",
        "session: a new connection: tcp 10.1.0.1:5000 > 10.2.0.1:80",
        "nat: tcp 10.1.0.1:5000 > 10.2.0.1:80 leaves as tcp 10.2.0.254:5000 > 10.2.0.1:80",
        "1 sent by 1",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
    }
    let again = told(&yard.trace(0, &frame(&syn), Offload::NONE));
    assert_eq!(again, lines, "no connection was started");
    let dns = udp("10.1.0.1:5000", "10.2.0.1:53");
    let lines = told(&yard.trace(0, &frame(&dns), Offload::NONE));
    assert!(
        lines.iter().any(|line| line.starts_with("rule: hook forward: rule 1 matches; dropped by a rule")),
        "{lines:#?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("dropped at 0: filtered"));
    let lines = told(&yard.trace(0, &frame(&ping("10.1.0.1", "10.1.0.254", 7)), Offload::NONE));
    assert!(lines.contains(&"local: an echo request: it is answered".into()), "{lines:#?}");
    assert!(lines.contains(&"1 taken at 0".into()), "{lines:#?}");
    let lines = told(&yard.trace(0, &frame(&ping("10.1.0.1", "10.1.0.77", 7)), Offload::NONE));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("neighbor: the address of 10.1.0.77 is not known: it is asked for")),
        "{lines:#?}"
    );
    assert_eq!(yard.wait(Duration::from_secs(1)), [], "nobody was asked");
}

#[test]
fn a_trace_of_a_frame_that_is_dropped_at_once_says_so() {
    let yard = Yard::new(named([port(), port()]));
    let lines = told(&yard.trace(0, &[2; 9], Offload::NONE));
    assert_eq!(lines[1..], [format!("dropped at 0: {}", DropReason::Runt.name())]);
    let lines = told(&yard.trace(9, &broadcast(1), Offload::NONE));
    assert_eq!(lines[0], "ingress: its port is gone");
}

/// Up to five ports on two bridges.
fn ports() -> impl Strategy<Value = Vec<Port>> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(first, second)| {
        let one = prop_oneof![3 => any_port(0, first), 1 => any_port(1, second)];
        collection::vec(one, 2..=5).prop_map(named)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The kit compares each trace with what then happens; here also each step with those of the real frame.
    #[test]
    fn a_real_frame_meets_what_its_trace_has_said(
        ports in ports(),
        frames in collection::vec((0..5u16, prop_oneof![3 => valid(), 1 => hostile()], 0..400u64), 1..40),
    ) {
        let count = ports.len() as u16;
        let mut yard = Yard::new(ports);
        let curious = Curious::default();
        yard.watch(0, WatchId(1), Box::new(curious.clone()));
        for (port, (bytes, offload), pause) in frames {
            yard.now = yard.now + Duration::from_millis(pause * 100);
            let walked = yard.trace(port % count, &bytes, offload);
            yard.send_with(port % count, &bytes, offload);
            let met = std::mem::take(&mut *curious.0.lock().unwrap());
            prop_assert_eq!(walked.steps, met);
        }
    }

    /// The same through a router that translates and filters.
    #[test]
    fn a_real_packet_meets_what_its_trace_has_said(
        packets in collection::vec((0..2u16, 0..32usize, 0..4u64), 1..30),
        rules in collection::vec((0..3u8, 0..6u16), 0..4),
    ) {
        let mut plan = gateways::plan().masquerade(1);
        for (action, port) in rules {
            let condition = Condition { destination_port: vec![u128::from(port)..=80], ..Condition::default() };
            let action = [Action::Count, Action::Drop, Action::Reject][usize::from(action)].clone();
            plan = plan.rule(Hook::Forward, condition, action);
        }
        let mut yard = Yard::new([port(), on(1, port())]);
        plan.run(&mut yard);
        let curious = Curious::default();
        yard.watch(0, WatchId(1), Box::new(curious.clone()));
        let known = gateways::packets();
        for (port, which, pause) in packets {
            yard.now = yard.now + Duration::from_secs(pause * 20);
            let bytes = known[which % known.len()].frame(gateway(), mac(u32::from(port) + 1));
            let walked = yard.trace(port, &bytes, Offload::NONE);
            yard.send(port, &bytes);
            let met = std::mem::take(&mut *curious.0.lock().unwrap());
            prop_assert_eq!(walked.steps, met);
        }
    }
}
