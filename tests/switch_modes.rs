//! Port modes: which ports frames pass between, and what becomes of those that come back from outside.

mod kit;

use std::time::Duration;

use kit::frames::{L4, broadcast, dot1q, frame, mac, packet, station, unicast};
use kit::gateways::{only, plan};
use kit::messages::{is_at, who_has};
use kit::routers::{gateway, ping};
use kit::tunnels::{in_vxlan, over_vxlan, vxlan_port};
use kit::{AGEING, BRIDGE, Yard, access, bucket, on, patch, port, trunk};
use tapyard::packet::{DropReason, Offload, PortId};
use tapyard::switch::mode::{Apart, HOLD, Mode};
use tapyard::switch::router::{Action, Chain, Condition, Rule};
use tapyard::switch::{Port, Storm};
use tapyard::table::bindings::Bindings;
use tapyard::table::fdb::Learned;
use tapyard::wire::ethernet::Mac;

/// The uplink of every yard here; station 9 is outside.
const UP: u16 = 0;
const OUTSIDE: u32 = 9;
const STATIONS: [Mode; 3] = [Mode::Bridge, Mode::Private, Mode::Vepa];

fn as_mode(mode: Mode, port: Port) -> Port {
    Port { apart: Apart::new(mode, port.apart.is_isolated(), port.apart.has_split_horizon()), ..port }
}

fn up() -> Port {
    as_mode(Mode::Uplink, port())
}

fn in_mode(mode: Mode) -> Port {
    as_mode(mode, port())
}

/// An uplink, and ports of these modes behind it, behind each of which is the station of its number.
fn yard(modes: impl IntoIterator<Item = Mode>) -> Yard {
    let mut yard = Yard::new([up()].into_iter().chain(modes.into_iter().map(in_mode)));
    for n in 1..yard.ports().len() as u16 {
        yard.send(n, &broadcast(n.into()));
    }
    yard.send(UP, &broadcast(OUTSIDE));
    yard
}

fn group(from: u32) -> Vec<u8> {
    frame(Mac::new([1, 0, 0x5e, 1, 2, 3]), mac(from))
}

/// Asserts by which ports a frame leaves, or why it does not.
#[track_caller]
fn check(yard: &mut Yard, from: u16, bytes: &[u8], expected: Result<&[u16], DropReason>) {
    let what = format!("{:02x?} into {from}", &bytes[..12]);
    match expected {
        Ok(ports) => assert_eq!(yard.goes(from, bytes), ports, "{what}"),
        Err(reason) => assert_eq!(yard.refused(from, bytes, Offload::NONE), reason, "{what}"),
    }
}

#[test]
fn every_two_modes_talk_as_the_table_says() {
    use Mode::{Bridge, Vepa};
    for from in STATIONS {
        for to in STATIONS {
            let mut yard = yard([from, to]);
            let both = (from, to);
            let known: Result<&[u16], _> = match both {
                (Bridge, Bridge) => Ok(&[2]),
                (Vepa, _) | (Bridge, Vepa) => Ok(&[UP]),
                _ => Err(DropReason::Private),
            };
            let all: &[u16] = if both == (Bridge, Bridge) { &[UP, 2] } else { &[UP] };
            check(&mut yard, 1, &unicast(2, 1), known);
            check(&mut yard, 1, &unicast(7, 1), Ok(all));
            check(&mut yard, 1, &broadcast(1), Ok(all));
            check(&mut yard, 1, &group(1), Ok(all));
            check(&mut yard, 1, &unicast(OUTSIDE, 1), Ok(&[UP]));
            check(&mut yard, UP, &unicast(1, OUTSIDE), Ok(&[1]));
            check(&mut yard, UP, &broadcast(OUTSIDE), Ok(&[1, 2]));
            check(&mut yard, UP, &group(OUTSIDE), Ok(&[1, 2]));
            check(&mut yard, UP, &unicast(7, OUTSIDE), Ok(&[1, 2]));
        }
    }
}

#[test]
fn what_comes_back_goes_where_it_has_not_been_yet() {
    use Mode::{Bridge, Vepa};
    for from in STATIONS {
        for to in STATIONS {
            let mut yard = yard([from, to]);
            let hears = matches!((from, to), (Vepa, Vepa | Bridge) | (Bridge, Vepa));
            let known = match hears {
                true => Ok(&[2][..]),
                false if (from, to) == (Bridge, Bridge) => Err(DropReason::Reflected),
                false => Err(DropReason::Private),
            };
            let all = if hears { Ok(&[2][..]) } else { Err(DropReason::Reflected) };
            for (bytes, expected) in [
                (unicast(2, 1), known),
                (unicast(7, 1), all),
                (broadcast(1), all),
                (group(1), all),
                (unicast(OUTSIDE, 1), Err(DropReason::Reflected)),
                (unicast(1, 1), Err(DropReason::Reflected)),
                (unicast(BRIDGE, 1), Err(DropReason::Reflected)),
                (frame(Mac::new([1, 0x80, 0xc2, 0, 0, 0]), mac(1)), Err(DropReason::ReservedGroup)),
            ] {
                check(&mut yard, UP, &bytes, expected);
            }
            assert_eq!(yard.knows(station(1, 0)), Some(1), "it is where it was");
            assert_eq!(yard.fdb(0).stats().moves, 0);
            assert_eq!(yard.events(), []);
        }
    }
}

#[test]
fn each_gets_what_comes_back_once_however_many_there_are() {
    use Mode::{Bridge, Private, Vepa};
    let mut yard = yard([Vepa, Vepa, Bridge, Bridge, Private]);
    check(&mut yard, 1, &broadcast(1), Ok(&[UP]));
    check(&mut yard, UP, &broadcast(1), Ok(&[2, 3, 4]));
    check(&mut yard, 3, &broadcast(3), Ok(&[UP, 4]));
    check(&mut yard, UP, &broadcast(3), Ok(&[1, 2]));
    check(&mut yard, 5, &broadcast(5), Ok(&[UP]));
    check(&mut yard, UP, &broadcast(5), Err(DropReason::Reflected));
    let counters = yard.counters(UP);
    assert_eq!(counters.dropped(DropReason::Reflected), 1);
}

#[test]
fn nothing_that_comes_back_leaves_by_another_uplink() {
    let mut yard = Yard::new([up(), in_mode(Mode::Vepa), in_mode(Mode::Vepa), up()]);
    yard.send(2, &broadcast(2));
    check(&mut yard, 1, &broadcast(1), Ok(&[0, 3]));
    check(&mut yard, 0, &broadcast(1), Ok(&[2]));
    check(&mut yard, 1, &unicast(2, 1), Ok(&[0, 3]));
}

#[test]
fn what_comes_by_one_uplink_and_back_by_another_has_been_everywhere() {
    // Such as the machine's own interface, and a cable to a switch that reflects.
    let mut yard = Yard::new([up(), in_mode(Mode::Vepa), in_mode(Mode::Private), up()]);
    check(&mut yard, 3, &broadcast(9), Ok(&[0, 1, 2]));
    check(&mut yard, 0, &broadcast(9), Err(DropReason::Reflected));
    check(&mut yard, 3, &unicast(1, 9), Ok(&[0, 1, 2]));
    check(&mut yard, 0, &unicast(1, 9), Err(DropReason::Reflected));
    yard.send(2, &broadcast(2));
    check(&mut yard, 0, &unicast(2, 9), Err(DropReason::Reflected));
    check(&mut yard, 1, &unicast(9, 1), Ok(&[3]));
    // One that has moved from one to the other is found there.
    yard.wait(2 * HOLD);
    check(&mut yard, 0, &broadcast(9), Ok(&[1, 2, 3]));
    check(&mut yard, 1, &unicast(9, 1), Ok(&[0]));
}

#[test]
fn several_stations_of_a_port_are_all_at_home_there() {
    let mut yard = yard([Mode::Vepa, Mode::Vepa]);
    yard.send(1, &broadcast(11));
    check(&mut yard, 1, &unicast(11, 1), Err(DropReason::SamePort));
    check(&mut yard, UP, &unicast(11, 1), Err(DropReason::Reflected));
    check(&mut yard, UP, &broadcast(11), Ok(&[2]));
}

#[test]
fn a_station_that_has_moved_outside_is_found_there() {
    for mode in STATIONS {
        let mut yard = yard([mode, Mode::Vepa]);
        yard.wait(HOLD);
        check(&mut yard, UP, &unicast(1, 1), Err(DropReason::Reflected));
        yard.wait(HOLD);
        check(&mut yard, UP, &broadcast(1), Ok(&[1, 2]));
        assert_eq!(yard.knows(station(1, 0)), Some(UP));
        check(&mut yard, 2, &unicast(1, 2), Ok(&[UP]));
        // Its first frame from its own port brings it back.
        yard.send(1, &broadcast(1));
        assert_eq!(yard.knows(station(1, 0)), Some(1));
        check(&mut yard, UP, &unicast(1, OUTSIDE), Ok(&[1]));
    }
}

#[test]
fn a_station_that_goes_on_speaking_never_moves_by_its_own_reflections() {
    let ports = [up(), in_mode(Mode::Vepa), in_mode(Mode::Vepa)];
    let mut yard = Yard::with(2, 8192, AGEING, ports);
    for round in 0..400 {
        let frames = [(broadcast(1), Offload::NONE)];
        yard.send_all(round % 2, 1, &frames);
        yard.wait(Duration::from_millis(round as u64 % 37));
        let back = yard.send_all((round / 2) % 2, UP, &frames);
        assert_eq!(back.iter().map(|sent| sent.port).collect::<Vec<_>>(), [2], "round {round}");
        yard.wait(Duration::from_millis(101));
    }
    assert_eq!(yard.fdb(0).stats().moves, 0);
}

#[test]
fn a_local_move_needs_no_waiting() {
    let mut yard = yard([Mode::Vepa, Mode::Vepa]);
    check(&mut yard, 2, &broadcast(1), Ok(&[UP]));
    assert_eq!(yard.knows(station(1, 0)), Some(2));
    check(&mut yard, UP, &broadcast(1), Ok(&[1]));
}

#[test]
fn a_static_station_stays_however_long_it_is_silent() {
    let mut yard = yard([Mode::Private, Mode::Vepa]);
    yard.fdb(0).pin(station(5, 0), PortId(1));
    yard.wait(AGEING * 2);
    check(&mut yard, UP, &broadcast(5), Err(DropReason::Reflected));
    check(&mut yard, UP, &unicast(5, OUTSIDE), Ok(&[1]));
    // Outside it may be configured behind one uplink and speak by another.
    yard.change(|ports| ports.push(Some(up())));
    yard.fdb(0).pin(station(7, 0), PortId(3));
    check(&mut yard, UP, &broadcast(7), Ok(&[1, 2, 3]));
    yard.fdb(0).pin(station(6, 0), PortId(2));
    check(&mut yard, 1, &unicast(6, 1), Err(DropReason::Private));
    let learned = yard.fdb(0).learn(station(5, 0), PortId(UP), Default::default(), yard.now);
    assert!(matches!(learned, Learned::Pinned(_)));
}

#[test]
fn a_mode_changes_without_anything_being_forgotten() {
    let mut yard = yard([Mode::Bridge, Mode::Bridge]);
    check(&mut yard, 1, &unicast(2, 1), Ok(&[2]));
    yard.change(|ports| ports[1] = Some(in_mode(Mode::Vepa)));
    check(&mut yard, 1, &unicast(2, 1), Ok(&[UP]));
    check(&mut yard, 2, &unicast(1, 2), Ok(&[UP]));
    yard.change(|ports| ports[2] = Some(in_mode(Mode::Private)));
    check(&mut yard, 2, &unicast(1, 2), Err(DropReason::Private));
    yard.change(|ports| ports[1..].fill(Some(port())));
    check(&mut yard, 2, &unicast(1, 2), Ok(&[1]));
    assert_eq!((yard.knows(station(1, 0)), yard.knows(station(2, 0))), (Some(1), Some(2)));
}

#[test]
fn without_its_uplink_a_port_reaches_nobody() {
    let mut yard = yard([Mode::Vepa, Mode::Private, Mode::Vepa]);
    yard.change(|ports| ports[usize::from(UP)] = None);
    check(&mut yard, 1, &broadcast(1), Err(DropReason::NoMember));
    check(&mut yard, 1, &unicast(3, 1), Err(DropReason::NoMember));
    check(&mut yard, 2, &broadcast(2), Err(DropReason::NoMember));
}

// -- Passthrough

#[test]
fn a_passthrough_bridge_is_a_wire() {
    let mut yard = Yard::new([up(), in_mode(Mode::Passthrough)]);
    let reserved = (0..=15).map(|last| frame(Mac::new([1, 0x80, 0xc2, 0, 0, last]), mac(1)));
    let others = [
        unicast(2, 1),
        unicast(1, 1),
        unicast(BRIDGE, 1),
        unicast(1, BRIDGE),
        broadcast(1),
        group(1),
        dot1q(&unicast(2, 1), 0xe000 | 77),
        dot1q(&broadcast(1), 4095),
        kit::frames::tag(&dot1q(&unicast(2, 1), 5), 0x88a8, 6),
    ];
    for bytes in reserved.chain(others) {
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            let sent = yard.send(from, &bytes);
            assert_eq!(sent.iter().map(|s| (s.port, &s.bytes)).collect::<Vec<_>>(), [(to, &bytes)]);
        }
    }
    assert!(yard.fdb(0).entries().is_empty());
    assert_eq!(yard.refused(1, &[0; 13], Offload::NONE), DropReason::Runt);
    assert_eq!(yard.counters(0).copies + yard.counters(1).copies, 0);
    yard.change(|ports| ports[0] = None);
    check(&mut yard, 1, &unicast(2, 1), Err(DropReason::NoMember));
}

#[test]
fn storm_control_and_rules_hold_on_a_passthrough_bridge() {
    let storm = Storm { broadcast: bucket(1), unknown: bucket(1), ..Storm::default() };
    let mut yard = Yard::new([up(), Port { storm, ..in_mode(Mode::Passthrough) }]);
    for _ in 0..16 {
        check(&mut yard, 1, &broadcast(1), Ok(&[UP]));
        check(&mut yard, 1, &unicast(2, 1), Ok(&[UP]));
        check(&mut yard, 1, &unicast(2, 1), Ok(&[UP]));
    }
    check(&mut yard, 1, &broadcast(1), Err(DropReason::StormBroadcast));
    let any = packet(mac(2), mac(1), false, L4::Udp, 10);
    check(&mut yard, 1, &any, Ok(&[UP]));
    yard.filter_bridge(0, Chain::new(Vec::new(), false));
    check(&mut yard, 1, &any, Err(DropReason::Filtered));
}

// -- Reflective relay

#[test]
fn a_hairpin_port_sends_back_what_is_for_its_own_stations() {
    let hairpin = || Port { hairpin: true, ..port() };
    for first in [hairpin(), Port { apart: Apart::ISOLATED, ..hairpin() }] {
        let isolated = first.apart.is_isolated();
        let mut yard = Yard::new([first, port(), Port { apart: Apart::ISOLATED, ..port() }]);
        yard.send(0, &broadcast(1));
        let all: &[u16] = if isolated { &[0, 1] } else { &[0, 1, 2] };
        check(&mut yard, 0, &broadcast(2), Ok(all));
        check(&mut yard, 0, &group(2), Ok(all));
        check(&mut yard, 0, &unicast(7, 2), Ok(all));
        check(&mut yard, 0, &unicast(1, 2), Ok(&[0]));
        check(&mut yard, 1, &broadcast(3), Ok(&[0, 2]));
        check(&mut yard, 0, &unicast(3, 1), Ok(&[1]));
        check(
            &mut yard,
            0,
            &frame(Mac::new([1, 0x80, 0xc2, 0, 0, 0]), mac(1)),
            Err(DropReason::ReservedGroup),
        );
    }
}

#[test]
fn a_hairpin_port_alone_on_its_bridge_still_reflects() {
    let mut yard = Yard::new([Port { hairpin: true, ..port() }]);
    check(&mut yard, 0, &broadcast(1), Ok(&[0]));
    assert_eq!(yard.counters(0).copies, 0);
}

#[test]
fn a_hairpin_sends_a_frame_back_in_the_form_of_its_port() {
    let both = Port { hairpin: true, ..trunk(&[10], Some(20)) };
    let mut yard = Yard::new([both, access(10), access(20)]);
    let in_10 = dot1q(&broadcast(1), 0xa000 | 10);
    let sent = yard.send(0, &in_10);
    assert_eq!(
        sent.iter().map(|s| (s.port, &s.bytes)).collect::<Vec<_>>(),
        [(0, &in_10), (1, &broadcast(1))]
    );
    let sent = yard.send(0, &broadcast(1));
    assert_eq!(sent.iter().map(|s| s.port).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(sent[0].bytes, broadcast(1));
}

/// What a switch with VEPA ports on 1 and 2, bridge ports on 3 and 4 and a private one on 5 gives to whom, when another,
/// which reflects, is at its uplink and has a host of its own.
struct Relay {
    edge: Yard,
    outer: Yard,
}

impl Relay {
    fn new() -> Relay {
        let modes = [Mode::Uplink, Mode::Vepa, Mode::Vepa, Mode::Bridge, Mode::Bridge, Mode::Private];
        let outer = Yard::new([Port { hairpin: true, ..port() }, port()]);
        let mut relay = Relay { edge: Yard::new(modes.map(in_mode)), outer };
        for n in 1..=5 {
            relay.send(n, &broadcast(n.into()));
        }
        relay.send_outside(&broadcast(OUTSIDE));
        relay
    }

    /// Who hears what the station at `from` sends: ports of the edge, and 9 for the host outside.
    fn send(&mut self, from: u16, bytes: &[u8]) -> Vec<u16> {
        let first = self.edge.goes(from, bytes);
        let mut heard: Vec<_> = first.iter().copied().filter(|&port| port != UP).collect();
        if first.contains(&UP) {
            self.relay(0, bytes, &mut heard);
        }
        heard.sort_unstable();
        heard
    }

    fn send_outside(&mut self, bytes: &[u8]) -> Vec<u16> {
        let mut heard = Vec::new();
        self.relay(1, bytes, &mut heard);
        heard
    }

    fn relay(&mut self, from: u16, bytes: &[u8], heard: &mut Vec<u16>) {
        for port in self.outer.goes(from, bytes) {
            match port {
                0 => {
                    let back = self.edge.goes(UP, bytes);
                    assert!(!back.contains(&UP));
                    heard.extend(back);
                }
                _ => heard.push(9),
            }
        }
    }
}

#[test]
fn two_switches_relay_between_vepa_ports_and_everything_arrives_once() {
    let mut relay = Relay::new();
    for make in [broadcast, group] {
        assert_eq!(relay.send(1, &make(1)), [2, 3, 4, 9]);
        assert_eq!(relay.send(3, &make(3)), [1, 2, 4, 9]);
        assert_eq!(relay.send(5, &make(5)), [9]);
        assert_eq!(relay.send_outside(&make(OUTSIDE)), [1, 2, 3, 4, 5]);
    }
    for (from, to, heard) in [
        (1, 2, &[2][..]),
        (1, 3, &[3]),
        (3, 1, &[1]),
        (3, 4, &[4]),
        (1, 5, &[]),
        (3, 5, &[]),
        (5, 1, &[]),
        (5, 3, &[]),
        (1, 9, &[9]),
        (3, 9, &[9]),
        (5, 9, &[9]),
    ] {
        assert_eq!(relay.send(from, &unicast(to, from.into())), heard, "{from} to {to}");
    }
    for to in 1..=5 {
        assert_eq!(relay.send_outside(&unicast(to.into(), OUTSIDE)), [to]);
    }
    assert_eq!(relay.send(1, &unicast(7, 1)), [2, 3, 4, 9], "nobody knows where 7 is");
    assert_eq!(relay.edge.fdb(0).stats().moves, 0);
    assert_eq!(relay.edge.events().len() + relay.outer.events().len(), 0);
}

#[test]
fn a_patch_relays_like_a_cable() {
    let edge = [as_mode(Mode::Uplink, patch(3, port())), in_mode(Mode::Vepa), in_mode(Mode::Vepa)];
    let outer = [on(1, Port { hairpin: true, ..patch(0, port()) }), on(1, port())];
    let mut yard = Yard::new(edge.into_iter().chain(outer));
    assert_eq!(yard.goes(1, &broadcast(1)), [2, 4]);
    assert_eq!(yard.goes(2, &broadcast(2)), [1, 4]);
    assert_eq!(yard.goes(1, &unicast(2, 1)), [2]);
    assert_eq!(yard.goes(2, &unicast(1, 2)), [1]);
    assert_eq!(yard.goes(4, &unicast(1, 9)), [1]);
    assert_eq!(yard.fdb(0).stats().moves + yard.fdb(1).stats().moves, 0);
    let frames: Vec<_> = (0..32).map(|_| (unicast(2, 1), Offload::NONE)).collect();
    assert_eq!(yard.send_all(0, 1, &frames).len(), 32);
}

// -- With everything else

#[test]
fn isolated_ports_hear_nothing_of_each_other_from_outside_either() {
    let isolated = |mode| Port { apart: Apart::new(mode, true, false), ..port() };
    let mut yard = Yard::new([up(), isolated(Mode::Vepa), isolated(Mode::Vepa), in_mode(Mode::Vepa)]);
    for n in 1..=3 {
        yard.send(n, &broadcast(n.into()));
    }
    check(&mut yard, 1, &unicast(2, 1), Err(DropReason::Isolated));
    check(&mut yard, UP, &unicast(2, 1), Err(DropReason::Isolated));
    check(&mut yard, UP, &broadcast(1), Ok(&[3]));
    check(&mut yard, UP, &broadcast(3), Ok(&[1, 2]));
    let all = [isolated(Mode::Uplink), isolated(Mode::Vepa), in_mode(Mode::Vepa)];
    yard.change(|ports| ports[..3].clone_from_slice(&all.map(Some)));
    check(&mut yard, UP, &unicast(1, 3), Err(DropReason::Isolated));
    check(&mut yard, 1, &broadcast(1), Err(DropReason::NoMember));
}

#[test]
fn vlans_are_told_before_modes_are_asked() {
    let vepa = |vid| as_mode(Mode::Vepa, access(vid));
    let mut yard =
        Yard::new([as_mode(Mode::Uplink, trunk(&[10, 20], None)), vepa(10), vepa(10), vepa(20), vepa(30)]);
    for n in 1..=3 {
        yard.send(n, &broadcast(n.into()));
    }
    let sent = yard.send(1, &unicast(2, 1));
    assert_eq!((sent.len(), sent[0].port, &sent[0].bytes), (1, UP, &dot1q(&unicast(2, 1), 10)));
    let sent = yard.send(UP, &dot1q(&unicast(2, 1), 10));
    assert_eq!((sent.len(), sent[0].port, &sent[0].bytes), (1, 2, &unicast(2, 1)));
    check(&mut yard, UP, &dot1q(&broadcast(1), 10), Ok(&[2]));
    check(&mut yard, UP, &dot1q(&broadcast(1), 20), Ok(&[3])); // which is another station
    check(&mut yard, 4, &broadcast(4), Err(DropReason::NoMember));
    check(&mut yard, UP, &dot1q(&unicast(3, 2), 10), Ok(&[1]));
}

#[test]
fn a_tunnel_may_be_the_uplink() {
    const VNI: u32 = 7;
    let tunnel = as_mode(Mode::Uplink, vxlan_port(VNI, 3, &[1, 2]));
    let mut yard = Yard::new(over_vxlan(vec![tunnel, in_mode(Mode::Vepa), in_mode(Mode::Bridge)]));
    yard.send(2, &broadcast(2));
    yard.posted();
    check(&mut yard, 1, &unicast(2, 1), Ok(&[]));
    assert_eq!(yard.posted().len(), 2, "to all peers, since nobody knows which reflects");
    let back = yard.hear(3, 1, in_vxlan(VNI, &unicast(2, 1)));
    assert_eq!(back.iter().map(|s| (s.port, &s.bytes)).collect::<Vec<_>>(), [(2, &unicast(2, 1))]);
    assert_eq!(yard.hear(3, 1, in_vxlan(VNI, &broadcast(2))).iter().map(|s| s.port).collect::<Vec<_>>(), [1]);
    assert_eq!(yard.hear(3, 2, in_vxlan(VNI, &unicast(1, 9))).len(), 1);
    check(&mut yard, 1, &unicast(9, 1), Ok(&[]));
    assert_eq!(yard.posted().len(), 1);
    assert_eq!(yard.fdb(0).stats().moves, 0);
}

#[test]
fn a_router_on_the_bridge_talks_to_every_mode() {
    for mode in STATIONS {
        let ports = [in_mode(mode), on(1, port()), up(), in_mode(Mode::Private)];
        let mut yard = Yard::new(ports);
        plan().run(&mut yard);
        let there = ping("10.1.0.1", "10.2.0.1", 1);
        let sent = yard.send(0, &there.frame(gateway(), mac(1)));
        assert_eq!(only(sent, 1, 2), there.hop());
        let back = ping("10.2.0.1", "10.1.0.1", 1);
        let sent = yard.send(1, &back.frame(gateway(), mac(2)));
        assert_eq!(only(sent, 0, 1), back.hop(), "{mode:?}");
        // What it had on the way out it does not get again from outside.
        let reflected = there.frame(gateway(), mac(1));
        check(&mut yard, 2, &reflected, Err(DropReason::Reflected));
        let asks = kit::routers::arp_request(1, "10.1.0.1", "10.1.0.254");
        let answer = yard.send(0, &asks);
        assert_eq!(answer.iter().filter(|sent| sent.port == 0).count(), 1, "{mode:?}: {answer:02x?}");
        check(&mut yard, 2, &asks, Err(DropReason::Reflected));
    }
}

#[test]
fn a_bridge_answers_for_no_neighbour_that_could_not_answer_itself() {
    const A: &str = "10.9.0.1";
    const B: &str = "10.9.0.2";
    let outside = (mac(OUTSIDE), "10.9.0.9");
    for (from, to) in [(Mode::Vepa, Mode::Vepa), (Mode::Private, Mode::Bridge), (Mode::Bridge, Mode::Private)]
    {
        let mut yard = Yard::new([up(), in_mode(from), in_mode(to)]);
        yard.suppress_neighbors(Bindings::LIMIT);
        yard.send(2, &is_at((Mac::BROADCAST, B), (mac(2), B)));
        let asks = who_has((mac(1), A), B);
        check(&mut yard, 1, &asks, Ok(&[UP]));
        let reflects: Result<&[u16], _> =
            if from == Mode::Vepa { Ok(&[2]) } else { Err(DropReason::Reflected) };
        check(&mut yard, UP, &asks, reflects);
        // Who is outside could have asked it.
        let sent = yard.send(UP, &who_has(outside, B));
        assert_eq!(
            sent.iter().map(|s| (s.port, &s.bytes)).collect::<Vec<_>>(),
            [(UP, &is_at(outside, (mac(2), B)))]
        );
        // And what comes back teaches nothing.
        check(
            &mut yard,
            UP,
            &is_at((Mac::BROADCAST, B), (mac(2), B)),
            if to == Mode::Vepa { Ok(&[1]) } else { Err(DropReason::Reflected) },
        );
        assert_eq!(yard.knows(station(2, 0)), Some(2));
    }
}

#[test]
fn rules_judge_what_comes_back_as_coming_from_the_uplink() {
    let mut yard = yard([Mode::Vepa, Mode::Vepa]);
    let bytes = packet(mac(2), mac(1), false, L4::Udp, 10);
    check(&mut yard, 1, &bytes, Ok(&[UP]));
    let from_outside = Condition { input: vec![u128::from(UP)..=u128::from(UP)], ..Condition::default() };
    let drop = Rule { counter: 0, action: Action::Drop };
    yard.filter_bridge(0, Chain::new(vec![(from_outside, drop)], true));
    check(&mut yard, 1, &bytes, Ok(&[UP]));
    check(&mut yard, UP, &bytes, Err(DropReason::Filtered));
}

#[test]
fn storm_control_of_the_uplink_counts_what_comes_back() {
    let storm = Storm { broadcast: bucket(1), unknown: bucket(1), ..Storm::default() };
    let mut yard = Yard::new([Port { storm, ..up() }, in_mode(Mode::Vepa), in_mode(Mode::Vepa)]);
    yard.send(1, &broadcast(1));
    for _ in 0..16 {
        check(&mut yard, UP, &broadcast(1), Ok(&[2]));
        check(&mut yard, UP, &unicast(7, 1), Ok(&[2]));
    }
    check(&mut yard, UP, &broadcast(1), Err(DropReason::StormBroadcast));
    check(&mut yard, UP, &unicast(7, 1), Err(DropReason::StormUnknown));
}
