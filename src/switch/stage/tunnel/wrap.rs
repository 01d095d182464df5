//! The way out.

use crate::packet::segment;
use crate::packet::{Batch, Datagram, DropReason, Frame, Gso, Inner, PeerId, PortId, ecn, mss};
use crate::switch::counting::PortCounters;
use crate::switch::outbox::{Departure, Recipients};
use crate::switch::stage::egress;
use crate::switch::walked::{Hop, Stage};
use crate::switch::watch::Watching;
use crate::switch::{Event, MAX_EVENTS, Overlay, Port, Topology, Way};
use crate::tunnel::Payload;

/// Datagrams handed to an underlay at once, at most: what is flooded to a thousand peers goes in several parts.
const MAX_PENDING: usize = 512;

/// What the way out needs from batch to batch.
pub(in crate::switch) struct Wrapping {
    seed: u64,
    datagrams: Vec<Datagram>,
    /// Frames that carry a tunnel header now, and its length: it is taken off again when they are sent, since others may
    /// have the same frame to send.
    wrapped: Vec<(u32, usize)>,
    /// Frames of the departure at hand.
    parts: Vec<u32>,
}

/// What the way out counts, tells and hands its datagrams to.
pub(in crate::switch) struct Outlet<'a, S> {
    pub(in crate::switch) underlay: PortId,
    pub(in crate::switch) topology: &'a Topology,
    pub(in crate::switch) counters: &'a mut PortCounters,
    pub(in crate::switch) events: &'a mut Vec<Event>,
    pub(in crate::switch) watching: &'a mut Watching,
    pub(in crate::switch) send: S,
}

/// A port that is a tunnel.
fn tunnel(topology: &Topology, port: PortId) -> Option<(&Port, &Overlay)> {
    match topology.port(port)? {
        port @ Port { way: Way::Tunnel(overlay), .. } => Some((port, overlay)),
        _ => None,
    }
}

impl Wrapping {
    /// `seed` is that of the hash by which flows are told apart.
    pub(in crate::switch) fn new(seed: u64) -> Wrapping {
        Wrapping { seed, datagrams: Vec::new(), wrapped: Vec::new(), parts: Vec::new() }
    }

    /// Sends the frames that are queued for an underlay. The batch is afterwards as it was.
    pub(in crate::switch) fn wrap<S: FnMut(PortId, &mut Batch, &mut [Datagram])>(
        &mut self,
        queue: &mut Vec<Departure>,
        batch: &mut Batch,
        outlet: &mut Outlet<'_, S>,
    ) {
        let live = batch.len();
        for departure in queue.drain(..) {
            // Its header for another tunnel must be sent before it gets one for this.
            if departure.shared && self.wrapped.iter().any(|&(frame, _)| frame == departure.frame) {
                self.flush(batch, live, outlet);
            }
            let mut wrapped = self.dispatch(departure, batch, outlet);
            if wrapped == Err(DropReason::NoBuffer) && batch.len() > live {
                self.flush(batch, live, outlet);
                wrapped = self.dispatch(departure, batch, outlet);
            }
            if let Err(reason) = wrapped {
                outlet.counters.drop(departure.out, reason);
                outlet.watching.lost(departure.out, &batch.frames()[departure.frame as usize], reason);
            }
        }
        self.flush(batch, live, outlet);
    }

    /// Makes datagrams of one departure.
    fn dispatch<S: FnMut(PortId, &mut Batch, &mut [Datagram])>(
        &mut self,
        departure: Departure,
        batch: &mut Batch,
        outlet: &mut Outlet<'_, S>,
    ) -> Result<(), DropReason> {
        let (overlay, payload, header_len) = shape(&departure, outlet.topology, batch.frames_mut())?;
        let tunnel = &*overlay.tunnel;
        let frame = &mut batch.frames_mut()[departure.frame as usize];
        let inner = Inner::of(frame, self.seed);
        let pattern = pattern(&inner, overlay, departure);
        self.parts.clear();
        if frame.offload.gso == Gso::None {
            segment::finish_checksum(frame);
            self.parts.push(departure.frame);
            self.wrapped.push((departure.frame, header_len));
        } else {
            segment::segment(batch, departure.frame as usize, &mut self.parts)?;
        }
        if !departure.echo {
            outlet.watching.sent(departure.out, &batch.frames()[departure.frame as usize]);
            outlet.watching.recorder.note(Hop::Out(departure.out), Stage::Tunnel, || {
                let parts = match self.parts.len() {
                    1 => String::new(),
                    parts => format!("cut into {parts}, "),
                };
                let outer = &pattern;
                let fragment = if outer.dont_fragment { ", not to be fragmented" } else { "" };
                format!(
                    "{parts}wrapped with {header_len} bytes for {}; outside TTL {}, TOS {:#04x}{fragment}",
                    name(overlay),
                    outer.ttl,
                    outer.tos
                )
            });
        }
        for &part in &self.parts {
            tunnel.encap(&mut batch.frames_mut()[part as usize], payload);
        }
        let only = departure.to.peer();
        let peers = only.as_ref().map_or(&overlay.flood[..], std::slice::from_ref);
        let mut recipients = 0;
        for &peer in peers.iter().filter(|&&peer| departure.to != Recipients::AllBut(peer)) {
            let Some(to) = overlay.address(peer) else { continue };
            recipients += 1;
            outlet.watching.recorder.note(Hop::Out(departure.out), Stage::Tunnel, || {
                format!("to peer {to}, by {}", outlet.topology.port_name(outlet.underlay))
            });
            let parts = self.parts.iter();
            self.datagrams.extend(parts.map(|&frame| Datagram { frame, peer, to, ..pattern }));
            // With a thousand peers, a flooded superframe is tens of thousands.
            if self.datagrams.len() >= MAX_PENDING {
                self.send(batch, outlet);
            }
        }
        // One of them is the frame itself.
        let copies = (recipients * self.parts.len()).checked_sub(1).ok_or(DropReason::PortMissing)?;
        outlet.counters.of(departure.out).copies += copies as u64;
        Ok(())
    }

    /// Sends what is pending.
    fn send<S: FnMut(PortId, &mut Batch, &mut [Datagram])>(
        &mut self,
        batch: &mut Batch,
        outlet: &mut Outlet<'_, S>,
    ) {
        for part in self.datagrams.chunks_mut(MAX_PENDING) {
            (outlet.send)(outlet.underlay, batch, part);
            for run in part.chunk_by(|a, b| a.tunnel == b.tunnel) {
                let tunnel = tunnel(outlet.topology, run[0].tunnel);
                let header = tunnel.map_or(0, |(_, overlay)| overlay.tunnel.header_len());
                for datagram in run {
                    let frame = &batch.frames()[datagram.frame as usize];
                    outlet.counters.dispatched(datagram, frame.len(), header);
                    if let Err(reason) = datagram.outcome
                        && let Some(inner) = frame.bytes().get(header..)
                    {
                        outlet.watching.lost_bytes(datagram.tunnel, inner, Some(frame.layer), reason);
                    }
                    if datagram.outcome == Err(DropReason::ExceedsMtu) && outlet.events.len() < MAX_EVENTS {
                        outlet.events.push(Event::TooLong(datagram.tunnel));
                    }
                }
            }
        }
        self.datagrams.clear();
    }

    /// Sends what is pending and makes the batch what it was: `live` frames without tunnel headers.
    fn flush<S: FnMut(PortId, &mut Batch, &mut [Datagram])>(
        &mut self,
        batch: &mut Batch,
        live: usize,
        outlet: &mut Outlet<'_, S>,
    ) {
        self.send(batch, outlet);
        for (frame, header) in self.wrapped.drain(..) {
            batch.frames_mut()[frame as usize].pop_header(header);
        }
        batch.truncate(live);
    }
}

/// Brings the frame of a departure into the form in which it goes into its tunnel, and tells that tunnel, as what it goes
/// in, and how long the header before it will be.
#[inline]
pub(in crate::switch) fn shape<'a>(
    departure: &Departure,
    topology: &'a Topology,
    frames: &mut [Frame],
) -> Result<(&'a Overlay, Payload, usize), DropReason> {
    let (port, overlay) = tunnel(topology, departure.out).ok_or(DropReason::PortMissing)?;
    let tunnel = &*overlay.tunnel;
    let frame = &mut frames[departure.frame as usize];
    frame.pull();
    let (payload, header_len) = match tunnel.carries() {
        _ if departure.echo => (Payload::Echo, tunnel.echo_header_len()),
        layer if layer == frame.layer => (Payload::Frame(layer), tunnel.header_len()),
        _ => return Err(DropReason::TunnelPayload),
    };
    egress::dress(frame, departure.form);
    let mtu = overlay.mtu_to(departure.to).unwrap_or(port.mtu);
    if frame.offload.guessed && !egress::make_fit(frame, mtu) {
        return Err(DropReason::ExceedsMtu);
    }
    if overlay.mss_clamp {
        mss::clamp(frame, port.mtu);
    }
    Ok((overlay, payload, header_len))
}

/// What a tunnel is called by both its ends.
fn name(overlay: &Overlay) -> String {
    let protocol = overlay.tunnel.protocol().name;
    match overlay.tunnel.id().number() {
        Some(number) => format!("{protocol} {number}"),
        None => protocol.to_owned(),
    }
}

/// What all datagrams of a departure have in common.
fn pattern(inner: &Inner, overlay: &Overlay, departure: Departure) -> Datagram {
    let outer = &overlay.outer;
    Datagram {
        frame: 0,
        tunnel: departure.out,
        peer: PeerId::NONE,
        to: core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
        port: overlay.port,
        flow: inner.flow,
        tos: ecn::encapsulate(outer.tos.or(inner.tos).unwrap_or(0), inner.tos),
        ttl: outer.ttl.or(inner.ttl).unwrap_or(64).max(1),
        // An echo finds out what passes.
        dont_fragment: departure.echo || outer.dont_fragment.unwrap_or(inner.dont_fragment),
        checksum: outer.checksum,
        outcome: Ok(()),
    }
}
