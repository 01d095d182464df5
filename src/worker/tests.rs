//! What a worker tells control, of an underlay in memory.

use std::net::Ipv4Addr;

use super::*;
use crate::packet::PeerId;
use crate::port::underlay::memory::Memory;
use crate::switch::mode::Apart;
use crate::switch::{Outer, Overlay, Peer, Port, Storm, Underlay, VlanPolicy, Way};
use crate::table::fdb::Allowance;
use crate::tunnel::gre::{self, Gre};
use crate::tunnel::{Tunnel, TunnelId};

fn port(way: Way) -> Option<Port> {
    Some(Port {
        name: String::new(),
        bridge: None,
        vlan: VlanPolicy::Unaware,
        apart: Apart::SPLIT_HORIZON,
        hairpin: false,
        learning: false,
        guard: None,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: 1400,
        capabilities: Default::default(),
        way,
        wire: None,
        router: None,
    })
}

/// A GRE tunnel in slot 0 to `peer`, over an underlay in slot 1.
fn topology(peer: IpAddr) -> Topology {
    let tunnel: Arc<dyn Tunnel> =
        Arc::new(Gre { key: None, checksum: false, sequence: None, layer: Default::default() });
    let overlay = Overlay {
        tunnel,
        underlay: PortId(1),
        port: 4754,
        peers: vec![Some(Peer { address: peer, mtu: 1400 })],
        flood: Vec::new(),
        outer: Outer::default(),
        mss_clamp: false,
        strangers: None,
    };
    let underlay = Underlay {
        protocol: &gre::PROTOCOL,
        peers: [((TunnelId::NONE, peer), (PortId(0), PeerId(0)))].into_iter().collect(),
        tunnels: Default::default(),
    };
    let ports = vec![port(Way::Tunnel(Arc::new(overlay))), port(Way::Underlay(Arc::new(underlay)))];
    Topology { epoch: 1, ports, ..Topology::default() }
}

#[test]
fn a_peer_that_sends_answers_nobody_waits_for_fills_no_memory() {
    let peer = IpAddr::from(Ipv4Addr::new(10, 8, 0, 2));
    let answer = [&[0, 0, 0x88, 0xb5][..], b"TYec\x02\0\0\0", &[0; 16]].concat();
    let flood = Memory::endless(vec![(peer, answer.repeat(50), answer.len() as u32)]);

    let (happened, events) = crossbeam_channel::unbounded();
    let worker = start(0, Generations::new(), Duration::ZERO, Instant::now(), happened).unwrap();
    let (done, taken) = crossbeam_channel::bounded(1);
    let install = vec![(PortId(1), Queue::Underlay(Box::new(flood)))];
    let topology = Arc::new(topology(peer));
    worker.send(Command::Change(Change { topology, remove: Vec::new(), install, done }));
    taken.recv().unwrap();
    let answers = || {
        let (to, reports) = crossbeam_channel::bounded(1);
        worker.send(Command::Report(to));
        let report = reports.recv().unwrap();
        report.ports.iter().map(|(_, counters)| counters.replied).sum::<u64>()
    };
    while answers() < 100_000 {
        thread::yield_now();
    }
    assert!((1..=MAX_WAITING).contains(&events.len()), "{}", events.len());
}
