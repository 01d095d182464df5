//! Guest to guest by two vhost-user ports and the switch between them, on one core: what the worker does for a frame, from
//! the one guest's ring to the other's. The drivers fill and empty their rings in between, which is not measured.

#[path = "../tests/common/mod.rs"]
mod common;
mod kit;
#[path = "../tests/vhost_kit/mod.rs"]
mod vhost_kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kit::{mac, superframe};
use tapyard::packet::{Batch, BridgeId, Capabilities, Location, Offload, PeerId, PortId};
use tapyard::port::guest::{DoorOptions, GuestOptions};
use tapyard::port::{Port, Queue, vhost};
use tapyard::switch::{Outgoing, Switch, Topology, VlanPolicy};
use tapyard::table::fdb::{Generations, Station};
use tapyard::time::Time;
use vhost_kit::vring_kit::{Buffer, empty, filled};
use vhost_kit::{EVENT_IDX, GUEST, Guest, Like, OFFLOADS, PARTS, RING_MEMORY, RING_PACKED, Sockets, USUAL};

const FROM: PortId = PortId(0);
const TO: PortId = PortId(1);
const NOW: Time = Time::from_secs(1);
/// Bytes of virtio_net_hdr.
const HEADER: usize = 12;
/// Frames that a driver offers at once.
const BURST: usize = 32;
/// Buffers of a driver, which it uses in turn.
const BUFFERS: u64 = 128;
/// Bytes between two of them, which no power of two divides that would have all of them share lines of a cache.
const STRIDE: u64 = (64 << 10) + 2048 + 128;
/// What a Linux guest cuts memory into, to send superframes and to receive them.
const PAGE: u32 = 4096;

/// A guest, and its port as a worker has it.
struct End {
    guest: Guest,
    port: Box<dyn Port>,
    next: u64,
}

impl End {
    fn new(sockets: &Sockets, name: &str, features: u64) -> End {
        let door = DoorOptions { listen: true, path: sockets.path(name), owner: None, group: None };
        let options = GuestOptions { name: name.into(), door, mtu: 1500 };
        let mut opened = vhost::open(&options, true, 1, Arc::new(|| ())).expect("a port");
        let like = Like {
            features: USUAL | OFFLOADS | EVENT_IDX | features,
            size: 1024,
            buffers: 0,
            ..Like::default()
        };
        let guest = Guest::attach(&sockets.path(name), like);
        let Some(Queue::Port(port)) = opened.queues.pop() else { panic!("a worker's queue") };
        End { guest, port, next: 0 }
    }

    /// Where the next buffer of a ring is.
    fn place(&mut self, ring: u64) -> u64 {
        self.next = (self.next + 1) % BUFFERS;
        GUEST + ring * RING_MEMORY + PARTS + self.next * STRIDE
    }

    /// Offers buffers to receive into, for as many frames as may come.
    fn make_room(&mut self, len: usize) {
        while self.guest.rings[0].driver.collect().is_some() {}
        let buffers = BURST * (HEADER + len).div_ceil(PAGE as usize);
        while self.guest.rings[0].driver.offered() - self.guest.rings[0].driver.seen() < buffers as u64 {
            let at = self.place(0);
            self.guest.rings[0].driver.offer(&[empty(at, PAGE)]);
        }
        self.guest.rings[0].driver.show();
    }

    /// Offers frames of `len` bytes behind the header that is in every buffer.
    fn send(&mut self, len: usize) {
        while self.guest.rings[1].driver.collect().is_some() {}
        for _ in 0..BURST {
            let pieces = buffer(self.place(1), (HEADER + len) as u32);
            self.guest.rings[1].driver.offer(&pieces);
        }
        self.guest.rings[1].driver.show();
    }

    /// Has every buffer to send from hold this.
    fn fill(&self, bytes: &[u8]) {
        for n in 0..BUFFERS {
            let at = GUEST + RING_MEMORY + PARTS + n * STRIDE;
            self.guest.memory.write(at, bytes).expect("it is the guest's");
        }
    }
}

/// The pieces of a buffer.
fn buffer(at: u64, len: u32) -> Vec<Buffer> {
    (0..len).step_by(PAGE as usize).map(|from| filled(at + u64::from(from), PAGE.min(len - from))).collect()
}

/// A switch of two ports, which knows where everybody is.
fn switch() -> Switch {
    let generations = Generations::new();
    let all = Capabilities { outside: true, ..Capabilities::ALL };
    let bridge = kit::bridge(BridgeId(0), vec![FROM, TO], &generations);
    bridge.fdb.pin(Station::new(mac(2), 0), Location { port: TO, peer: PeerId::NONE });
    let ports = [FROM, TO].map(|_| Some(kit::port(BridgeId(0), VlanPolicy::Unaware, all)));
    let mut switch = Switch::new(generations);
    switch.set_topology(Arc::new(Topology {
        epoch: 1,
        bridges: vec![Some(bridge)],
        ports: ports.into(),
        ..Topology::default()
    }));
    switch
}

/// What a worker does with what the guest has offered.
#[inline(never)]
fn carry(switch: &mut Switch, batch: &mut Batch, from: &mut dyn Port, to: &mut dyn Port) -> u64 {
    let mut carried = 0;
    loop {
        batch.clear();
        from.rx(batch, switch.counters(FROM));
        if batch.is_empty() {
            return carried;
        }
        carried += batch.len() as u64;
        switch.process(FROM, batch, NOW);
        switch.transmit(batch, |_, batch, outgoing| match outgoing {
            Outgoing::Frames(frames, counters) => to.tx(batch, frames, counters),
            Outgoing::Datagrams(_) => unreachable!("there is no tunnel"),
        });
        from.release(batch);
    }
}

fn plain(len: usize) -> (Vec<u8>, Offload) {
    let mut bytes = [&mac(2).octets()[..], &mac(1).octets(), &[0x88, 0xb5]].concat();
    bytes.resize(len, 0x5a);
    (bytes, Offload::NONE)
}

fn guests(c: &mut Criterion) {
    for (rings, features) in [("split", 0), ("packed", RING_PACKED)] {
        for (name, (frame, offload)) in
            [("64", plain(64)), ("1500", plain(1500)), ("superframe", superframe(mac(2), mac(1), 1448))]
        {
            let sockets = Sockets::new();
            let (mut from, mut to) =
                (End::new(&sockets, "from", features), End::new(&sockets, "to", features));
            from.fill(&[&offload.to_header().emit()[..HEADER], &frame].concat());
            let (mut switch, mut batch) = (switch(), Batch::default());
            let mut group = c.benchmark_group("guests");
            group.throughput(match name {
                "superframe" => Throughput::Bytes(frame.len() as u64),
                _ => Throughput::Elements(1),
            });
            group.bench_function(BenchmarkId::new(rings, name), |b| {
                b.iter_custom(|frames| {
                    let (mut spent, mut carried) = (Duration::ZERO, 0);
                    while carried < frames {
                        from.send(frame.len());
                        to.make_room(frame.len());
                        let begin = Instant::now();
                        let now = carry(&mut switch, &mut batch, &mut *from.port, &mut *to.port);
                        spent += begin.elapsed();
                        assert_eq!(now, BURST as u64);
                        carried += now;
                    }
                    spent.mul_f64(frames as f64 / carried as f64)
                });
            });
            let sent = switch.counters(TO);
            assert_eq!((sent.dropped_total(), sent.tx_frames > 0), (0, true), "all got there");
        }
    }
}

criterion_group!(benches, guests);
criterion_main!(benches);
