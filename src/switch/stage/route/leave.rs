//! Out of a router: by a bridge to a station's MAC address, or by a port that carries IP.

use super::{Fate, Walk, ether_type};
use crate::packet::{BridgeId, DropReason, InterfaceId, Layer, Location, Packet, PeerId, PortId, Vid};
use crate::switch::router::{Attachment, Onward};
use crate::switch::stage::bridge::{self, Forwarding};
use crate::switch::stage::{ingress, wire};
use crate::switch::walked::Stage;
use crate::table::fdb::Station;
use crate::table::fdb_cache::Place;
use crate::table::neighbors::Resolution;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// A frame that leaves by a bridge, on behalf of the port `on_behalf_of`.
#[derive(Clone, Copy)]
pub(super) struct Emission {
    pub(super) frame: u32,
    pub(super) on_behalf_of: PortId,
    pub(super) bridge: BridgeId,
    pub(super) vid: Vid,
    pub(super) priority: u16,
    pub(super) from: Mac,
    pub(super) to: Mac,
    pub(super) place: Place,
}

impl Walk<'_> {
    /// Sends a packet that is ready, on behalf of the port that it came in by.
    #[inline]
    pub(super) fn leave(
        &mut self,
        frame: u32,
        from: PortId,
        priority: u16,
        packet: &Packet,
        onward: &Onward,
    ) {
        let bytes = &mut self.batch.frames_mut()[frame as usize];
        match *onward {
            Onward::Bridge { bridge, vid, to, place, from: own, .. } => {
                match bytes.layer {
                    Layer::Ethernet => bytes.set_addresses(to, own),
                    Layer::Ip => bytes.put_ethernet(to, own, ether_type(packet.tuple.destination)),
                }
                let on_behalf_of = from;
                self.emit(Emission { frame, on_behalf_of, bridge, vid, priority, from: own, to, place });
            }
            Onward::Port(port) => {
                if bytes.layer == Layer::Ethernet {
                    bytes.strip_ethernet(packet.l3.into(), packet.end as usize);
                }
                self.depart(frame, from, port);
            }
        }
    }

    /// Has a bridge send a frame to its station, or to all when it is for all.
    pub(super) fn emit(&mut self, emission: Emission) {
        let Emission { frame, on_behalf_of, bridge: bridge_id, vid, priority, from, to, place } = emission;
        let Some(bridge) = self.topology.bridge(bridge_id) else {
            return self.lose(on_behalf_of, frame, DropReason::PortMissing);
        };
        let arrival = ingress::Arrival {
            frame,
            at: Location { port: bridge::ROUTER, peer: PeerId::NONE },
            vid,
            priority,
            destination: to,
            source: from,
            to: place,
            from: place,
        };
        let mut forwarding = Forwarding {
            topology: self.topology,
            bridge_id,
            bridge,
            port_id: bridge::ROUTER,
            on_behalf_of,
            port: bridge::router_port(),
            learning: false,
            frames: self.batch.frames(),
            now: self.now,
            cache: self.cache,
            counters: self.counters.of(on_behalf_of),
            outbox: self.outbox,
            events: self.events,
            judging: false,
            routing: self.routing,
        };
        forwarding.say(Stage::Route, |_| format!("the router sends a frame to {to}, from {from}"));
        forwarding.send(&arrival);
    }

    /// Sends a frame that the router has made to `to` on the link of an interface.
    pub(super) fn emit_by(&mut self, frame: u32, on_behalf_of: PortId, on: Attachment, to: Mac) {
        if let Attachment::Bridge { bridge, vid, mac: from } = on {
            let place = self.cache.place(bridge, Station::new(to, vid));
            if self.outbox.watching.recorder.is_on() {
                self.cache.forget(&place);
            }
            self.emit(Emission { frame, on_behalf_of, bridge, vid, priority: 0, from, to, place });
        }
    }

    /// Queues a packet for a port that carries IP.
    fn depart(&mut self, frame: u32, from: PortId, out: PortId) {
        let Some(port) = self.topology.port(out) else {
            return self.lose(from, frame, DropReason::PortMissing);
        };
        let (queue, departure) = wire::way_out(frame, out, port);
        self.outbox.push(queue, departure);
    }

    /// Keeps a packet, which is otherwise ready, until the link address of its next hop is known, and asks for that.
    pub(super) fn ask(
        &mut self,
        index: u32,
        from: PortId,
        packet: &Packet,
        interface: InterfaceId,
        next: Address,
    ) -> Result<Fate, DropReason> {
        let frame = &mut self.batch.frames_mut()[index as usize];
        if frame.layer == Layer::Ethernet {
            frame.strip_ethernet(packet.l3.into(), packet.end as usize);
        }
        let router = self.router;
        let resolution = router.neighbors.resolve(interface, next, frame, from, 0, self.now);
        self.say(Stage::Neighbor, |walk| {
            let by = walk.topology.interface_name(walk.id, interface);
            match resolution {
                Resolution::Known(mac) => format!("{next} has {mac}, by interface {by}"),
                Resolution::Asked => {
                    format!("the address of {next} is not known: it is asked for by interface {by}, and the packet kept")
                }
                Resolution::Held => format!("{next} has been asked for already: the packet is kept until it answers"),
                Resolution::Refused(DropReason::NoNeighbor) => format!("{next} did not answer just now"),
                Resolution::Refused(_) => format!("too much is kept for {next} and others already"),
            }
        });
        let frame = &mut self.batch.frames_mut()[index as usize];
        match resolution {
            Resolution::Known(mac) => {
                frame.put_ethernet(mac, mac, ether_type(next));
                if let Some(interface) = router.interface(interface) {
                    if let Attachment::Bridge { mac: own, .. } = interface.on {
                        self.batch.frames_mut()[index as usize].set_addresses(mac, own);
                    }
                    self.emit_by(index, from, interface.on, mac);
                }
                Ok(Fate::Gone)
            }
            Resolution::Asked => {
                self.solicit(interface, next, None, from);
                self.routing.wake_at(router.neighbors.deadline());
                Ok(Fate::Taken)
            }
            Resolution::Held => Ok(Fate::Taken),
            Resolution::Refused(reason) => {
                if reason == DropReason::NoNeighbor {
                    self.report_translated(index, from, interface);
                }
                Err(reason)
            }
        }
    }

    /// The port that a router's own frames are counted at when they answer none.
    pub(super) const NOBODY: PortId = PortId(u16::MAX);
}
