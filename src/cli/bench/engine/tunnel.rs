//! The other end of a tunnel: a wire in memory, and the switch behind it.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

use super::super::path::Protocol;
use super::topology::{self, FAR, Shape, UNDERLAY};
use crate::packet::{Batch, Datagram, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, Offload, Received};
use crate::switch::{Outgoing, Switch};
use crate::table::fdb::Generations;
use crate::time::Time;

/// The most bytes that the kernel glues together (UDP_GRO).
const MAX_GLUED: usize = 65_000;
/// The most datagrams that it glues together.
const MAX_SEGMENTS: usize = 64;

/// A switch that takes its frames out of a tunnel.
pub(super) struct FarEnd {
    pub(super) switch: Switch,
    pub(super) wire: Wire,
    batch: Batch,
    received: Vec<Received>,
}

impl FarEnd {
    pub(super) fn new(protocol: Protocol, shape: Shape) -> FarEnd {
        let generations = Generations::new();
        let mut switch = Switch::new(Arc::clone(&generations));
        switch.set_topology(Arc::new(topology::far_end(protocol, shape, &generations)));
        FarEnd { switch, wire: Wire::default(), batch: Batch::default(), received: Vec::new() }
    }

    /// Sends a batch from its inlet through the tunnel to the near end.
    pub(super) fn greet(&mut self, batch: &mut Batch, near: &mut Switch, now: Time) {
        let mut wire = Wire::default();
        self.switch.process(topology::INLET, batch, now);
        self.switch.transmit(batch, |_, batch, outgoing| {
            if let Outgoing::Datagrams(datagrams) = outgoing {
                wire.take(batch, datagrams, FAR);
            }
        });
        if wire.read(batch, &mut self.received) {
            near.receive(UNDERLAY, batch, &self.received, now);
        }
    }

    /// Takes in what is on the wire, and hands on what comes out of the tunnel.
    pub(super) fn receive(&mut self, now: Time, mut sink: impl FnMut(&Batch, Outgoing<'_>)) {
        while self.wire.read(&mut self.batch, &mut self.received) {
            self.switch.receive(UNDERLAY, &mut self.batch, &self.received, now);
            self.switch.transmit(&mut self.batch, |_, batch, outgoing| sink(batch, outgoing));
        }
        self.wire.clear();
    }
}

/// Datagrams on their way, those of equal length glued as the kernel glues them.
#[derive(Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
    reads: Vec<(Range<usize>, Received)>,
    next: usize,
}

impl Wire {
    /// Sends datagrams from this end of the tunnel.
    pub(super) fn take(&mut self, batch: &Batch, datagrams: &mut [Datagram], from: Ipv4Addr) {
        // The flow that can still be added to: whose datagrams are equally long so far.
        let mut open = None;
        for datagram in datagrams {
            let frame = batch.frames()[datagram.frame as usize].bytes();
            let start = self.bytes.len();
            self.bytes.extend_from_slice(frame);
            datagram.outcome = Ok(());
            let glued = self.reads.last_mut().filter(|(range, received)| {
                let stride = received.stride as usize;
                open == Some(datagram.flow)
                    && frame.len() <= stride
                    && range.len() + frame.len() <= MAX_GLUED
                    && range.len() / stride < MAX_SEGMENTS
            });
            match glued {
                Some((range, received)) => {
                    range.end = self.bytes.len();
                    open = (frame.len() == received.stride as usize).then_some(datagram.flow);
                }
                None => {
                    let (source, stride) = (from.into(), frame.len() as u32);
                    self.reads.push((start..self.bytes.len(), Received { source, stride, tos: 0 }));
                    open = Some(datagram.flow);
                }
            }
        }
    }

    /// Reads a batch; false when nothing is left.
    fn read(&mut self, batch: &mut Batch, received: &mut Vec<Received>) -> bool {
        batch.clear();
        received.clear();
        let mut bytes = 0;
        while received.len() < MAX_BATCH_FRAMES && bytes < MAX_BATCH_BYTES {
            let Some((range, of)) = self.reads.get(self.next) else { break };
            batch.spare()[received.len()].fill(&self.bytes[range.clone()], Offload::NONE);
            received.push(*of);
            bytes += range.len();
            self.next += 1;
        }
        batch.commit(received.len());
        !received.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.reads.clear();
        self.next = 0;
    }
}
