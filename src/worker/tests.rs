//! What a worker tells control, of an underlay in memory; and that ports it looks at do not keep it from those it waits for.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::packet::{Counters, PeerId};
use crate::port::underlay::memory::Memory;
use crate::switch::mode::Apart;
use crate::switch::{Outer, Overlay, Peer, Port, Storm, Topology, Underlay, VlanPolicy, Way};
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
    worker.send(Command::Change(Change {
        topology,
        remove: Vec::new(),
        install,
        watchers: Vec::new(),
        done,
    }));
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

/// A guest's ring that is never empty when it is looked at.
struct Busy;

impl crate::port::Port for Busy {
    fn rx(&mut self, _: &mut Batch, _: &mut Counters) -> Rx {
        Rx::Drained
    }

    fn tx(&mut self, _: &mut Batch, _: &[u32], _: &mut Counters) {}

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn shares_memory(&self) -> bool {
        true
    }

    fn peek(&mut self) -> bool {
        true
    }

    /// Takes so long that a wide window for busy polling opens.
    fn arm(&mut self) -> bool {
        thread::sleep(Duration::from_millis(500));
        true
    }
}

/// A port with a descriptor, which tells when it has been read.
struct Patient {
    socket: UnixStream,
    read: Arc<AtomicBool>,
}

impl crate::port::Port for Patient {
    fn rx(&mut self, _: &mut Batch, _: &mut Counters) -> Rx {
        if self.socket.read(&mut [0]).is_ok() {
            self.read.store(true, Ordering::Release);
        }
        Rx::Drained
    }

    fn tx(&mut self, _: &mut Batch, _: &[u32], _: &mut Counters) {}

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }
}

#[test]
fn a_ring_that_is_never_empty_does_not_keep_other_ports_from_their_turn() {
    let (mut sender, socket) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let read = Arc::new(AtomicBool::new(false));
    let (happened, _events) = crossbeam_channel::unbounded();
    let longest = Duration::from_secs(10);
    let worker = start(0, Generations::new(), longest, Instant::now(), happened).unwrap();
    let (done, taken) = crossbeam_channel::bounded(1);
    let install = vec![
        (PortId(0), Queue::Port(Box::new(Busy))),
        (PortId(1), Queue::Port(Box::new(Patient { socket, read: Arc::clone(&read) }))),
    ];
    let ports = vec![port(Way::Queue), port(Way::Queue)];
    let topology = Arc::new(Topology { epoch: 1, ports, ..Topology::default() });
    worker.send(Command::Change(Change {
        topology,
        remove: Vec::new(),
        install,
        watchers: Vec::new(),
        done,
    }));
    taken.recv().unwrap();
    let report = || {
        let (to, reports) = crossbeam_channel::bounded(1);
        worker.send(Command::Report(to));
        reports.recv().unwrap().activity
    };
    let wait_for_hits = |hits| {
        while report().busy_hits < hits {
            thread::yield_now();
        }
    };
    wait_for_hits(1);
    sender.write_all(&[1]).unwrap();
    wait_for_hits(report().busy_hits + 1000);
    assert!(read.load(Ordering::Acquire), "it never had its turn: {:?}", report());
}
