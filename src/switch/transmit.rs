//! How frames leave the switch: port by port, and before each the copies that mirrors have of it.

use std::sync::Arc;

use super::outbox::Outbox;
use super::stage::mirror::{Desk, Mirroring, Relay};
use super::stage::tunnel::Outlet;
use super::walked::Hop;
use super::{Event, MAX_EVENTS, Outgoing, Port, Switch, Topology, Way, stage};
use crate::packet::{Batch, Datagram, DropReason, PortId};

impl Switch {
    /// Hands each out port its frames, and each underlay its datagrams.
    pub fn transmit(&mut self, batch: &mut Batch, mut send: impl FnMut(PortId, &mut Batch, Outgoing<'_>)) {
        let topology = Arc::clone(&self.topology);
        let mirrored = !topology.mirrors.is_empty();
        if mirrored && self.mirroring.has_kept() {
            let (mirroring, mut relay) = self.mirroring(&topology, batch, &mut send);
            mirroring.send_kept(&mut relay);
        }
        while let Some(port_id) = self.outbox.next() {
            if let Some(Port { way: Way::Underlay(_), .. }) = topology.port(port_id) {
                if mirrored {
                    self.mirror_queue(&topology, port_id, batch, &mut send);
                }
                let (queue, _, watching) = self.outbox.take(port_id);
                let tunnels: Vec<_> = match watching.recorder.is_on() {
                    true => queue.iter().map(|departure| departure.out).collect(),
                    false => Vec::new(),
                };
                let mut outlet = Outlet {
                    underlay: port_id,
                    topology: &topology,
                    counters: &mut self.counters,
                    events: &mut self.events,
                    watching,
                    send: |underlay, batch: &mut Batch, datagrams: &mut [Datagram]| {
                        send(underlay, batch, Outgoing::Datagrams(datagrams));
                    },
                };
                self.wrapping.wrap(queue, batch, &mut outlet);
                tunnels.into_iter().for_each(|tunnel| self.note_ends(Hop::Out(tunnel), tunnel));
                continue;
            }
            let counters = self.counters.of(port_id);
            let (live, too_long) = (batch.len(), counters.dropped(DropReason::ExceedsMtu));
            stage::egress::prepare(topology.port(port_id), &mut self.outbox, port_id, batch, counters);
            if mirrored {
                self.mirror_ready(&topology, port_id, batch, &mut send);
            }
            let counters = self.counters.of(port_id);
            let Outbox { ready, watching, .. } = &mut self.outbox;
            match watching.is_idle() {
                _ if ready.is_empty() => {}
                true => send(port_id, batch, Outgoing::Frames(ready, counters)),
                false => watching.send(port_id, batch, ready, counters, &mut send),
            }
            if counters.dropped(DropReason::ExceedsMtu) != too_long && self.events.len() < MAX_EVENTS {
                self.events.push(Event::TooLong(port_id));
            }
            watching.recorder.settle(Hop::Out(port_id), port_id, counters);
            // The next port's segments go where this one's were: warm, and enough for any number of ports.
            batch.truncate(live);
        }
        self.outbox.watching.rest();
    }

    /// Has mirrors send what is ready to leave by a port.
    #[cold]
    fn mirror_ready<S>(&mut self, topology: &Topology, port: PortId, batch: &mut Batch, send: &mut S)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let ready = std::mem::take(&mut self.outbox.ready);
        let (mirroring, mut relay) = self.mirroring(topology, batch, send);
        mirroring.send_ready(port, &ready, &mut relay);
        self.outbox.ready = ready;
    }

    /// Has mirrors send what is queued for tunnels over an underlay.
    #[cold]
    fn mirror_queue<S>(&mut self, topology: &Topology, underlay: PortId, batch: &mut Batch, send: &mut S)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let queue = std::mem::take(self.outbox.take(underlay).0);
        let (mirroring, mut relay) = self.mirroring(topology, batch, send);
        mirroring.send_wrapped(&queue, &mut relay);
        *self.outbox.take(underlay).0 = queue;
    }

    /// The mirrors, and what they need to send something.
    fn mirroring<'a, S>(
        &'a mut self,
        topology: &'a Topology,
        batch: &'a mut Batch,
        send: &'a mut S,
    ) -> (&'a mut Mirroring, Relay<'a, S>) {
        let (counters, watching) = (&mut self.counters, &mut self.outbox.watching);
        let desk = Desk { topology, batch, counters, watching };
        let relay = Relay { desk, events: &mut self.events, wrapping: &mut self.wrapping, send };
        (&mut self.mirroring, relay)
    }
}
