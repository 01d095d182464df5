//! The way in.

use core::net::IpAddr;

use crate::packet::coalesce::{Coalescer, Piece, Unpacked};
use crate::packet::{Batch, DropReason, Frame, Location, PeerId, PortId, Received, ecn, mss};
use crate::switch::echo::{self, Echo};
use crate::switch::outbox::Outbox;
use crate::switch::{
    Event, Intruder, MAX_EVENTS, Overlay, Port, Topology, Underlay, Way, counting::PortCounters,
};
use crate::time::Time;
use crate::tunnel::{Header, Payload, TunnelId};

/// A frame that came out of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(in crate::switch) struct Unwrapped {
    pub(in crate::switch) frame: u32,
    pub(in crate::switch) at: Location,
}

/// What the way in needs from batch to batch; kept for its memory.
#[derive(Default)]
pub(in crate::switch) struct Unwrapping {
    coalescer: Coalescer,
    pieces: Vec<Piece>,
    unpacked: Vec<Unpacked>,
    frames: Vec<Unwrapped>,
}

/// What the way in counts, sends and tells.
pub(in crate::switch) struct Effects<'a> {
    pub(in crate::switch) counters: &'a mut PortCounters,
    pub(in crate::switch) outbox: &'a mut Outbox,
    pub(in crate::switch) events: &'a mut Vec<Event>,
}

/// Who has sent a datagram, and by which tunnel.
#[derive(Clone, Copy)]
struct Sender<'a> {
    at: Location,
    port: &'a Port,
    overlay: &'a Overlay,
}

/// The sender of the last datagram, by the tunnel's number and his address: the next is mostly his too.
type Last<'a> = Option<(TunnelId, IpAddr, Sender<'a>)>;

/// A packet that is none of ours, and the port that counts it.
struct Refused(PortId, DropReason);

impl Unwrapping {
    /// Makes frames of what an underlay has received: the batch holds them, in the order they came in, and the result
    /// names them. All else is counted.
    pub(in crate::switch) fn unwrap(
        &mut self,
        topology: &Topology,
        underlay_id: PortId,
        received: &[Received],
        batch: &mut Batch,
        now: Time,
        effects: &mut Effects<'_>,
    ) -> &[Unwrapped] {
        self.frames.clear();
        self.unpacked.clear();
        self.coalescer.begin();
        let Some(Port { way: Way::Underlay(underlay), .. }) = topology.port(underlay_id) else {
            let frames = (0..batch.len() as u32).map(|frame| (frame, PeerId::NONE));
            let watching = &mut effects.outbox.watching;
            effects.counters.discard_all((underlay_id, DropReason::PortMissing), frames, batch, watching);
            return &self.frames;
        };
        let way_in = WayIn { topology, underlay_id, underlay, now };
        let mut last = None;
        for (buffer, from) in received.iter().enumerate() {
            way_in.look(buffer, from, batch, &mut last, &mut self.pieces, effects);
            let before = self.unpacked.len();
            let lost = self.coalescer.unpack(batch, buffer, &self.pieces, &mut self.unpacked);
            for piece in self.pieces.iter().rev().take(lost) {
                let at = location(piece.owner);
                effects.counters.of(at.port).discard(DropReason::NoBuffer, piece.len as usize);
                let lost = batch.frames()[buffer].bytes().get(piece.at as usize..);
                let bytes = lost.and_then(|bytes| bytes.get(..piece.len as usize)).unwrap_or_default();
                let watching = &mut effects.outbox.watching;
                watching.lost_bytes(at.port, bytes, Some(piece.layer), DropReason::NoBuffer);
            }
            debug_assert!(self.unpacked.len() - before <= self.pieces.len());
        }
        for &Unpacked { frame, owner } in &self.unpacked {
            let at = location(owner);
            self.frames.push(Unwrapped { frame, at });
            come_out(topology, at.port, &mut batch.frames_mut()[frame as usize]);
        }
        &self.frames
    }
}

/// Does to a frame what is done to all that come out of a tunnel.
pub(in crate::switch) fn come_out(topology: &Topology, tunnel: PortId, frame: &mut Frame) {
    if let Some(Port { way: Way::Tunnel(overlay), mtu, .. }) = topology.port(tunnel)
        && overlay.mss_clamp
    {
        mss::clamp(frame, *mtu);
    }
}

struct WayIn<'a> {
    topology: &'a Topology,
    underlay_id: PortId,
    underlay: &'a Underlay,
    now: Time,
}

impl<'a> WayIn<'a> {
    /// Finds the frames in one received buffer.
    fn look(
        &self,
        buffer: usize,
        from: &Received,
        batch: &mut Batch,
        last: &mut Last<'a>,
        pieces: &mut Vec<Piece>,
        effects: &mut Effects<'_>,
    ) {
        pieces.clear();
        let (end, stride) = (batch.frames()[buffer].len(), from.stride.max(1) as usize);
        for at in (0..end).step_by(stride) {
            let datagram = at..end.min(at + stride);
            let bytes = &mut batch.frames_mut()[buffer].bytes_mut()[datagram.clone()];
            match self.admit(bytes, from, last, effects.counters) {
                Err(Refused(port, reason)) => {
                    effects.counters.of(port).discard(reason, bytes.len());
                    effects.outbox.watching.lost_bytes(port, bytes, None, reason);
                    if matches!(reason, DropReason::Stranger | DropReason::TunnelUnknown)
                        && let Ok(Header { id, .. }) = (self.underlay.protocol.parse)(bytes)
                    {
                        let intruder = Intruder { source: from.source, id, at: self.now };
                        effects.counters.note_intruder(port, intruder);
                    }
                }
                Ok((sender, header_len, payload)) => {
                    effects.counters.peer(sender.at).received(bytes.len(), self.now);
                    let inner = datagram.start + header_len..datagram.end;
                    match payload {
                        Payload::Echo => self.echo(&sender, batch, buffer, inner, effects),
                        Payload::Frame(layer) => pieces.push(Piece {
                            at: inner.start as u32,
                            len: inner.len() as u32,
                            layer,
                            mtu: sender.port.mtu,
                            owner: owner(sender.at),
                        }),
                    }
                }
            }
        }
    }

    /// Whose a datagram is, where its frame begins and what that is.
    #[inline]
    fn admit(
        &self,
        datagram: &mut [u8],
        from: &Received,
        last: &mut Last<'a>,
        counters: &mut PortCounters,
    ) -> Result<(Sender<'a>, usize, Payload), Refused> {
        let refused_by_all = |reason| Refused(self.underlay_id, reason);
        let header = (self.underlay.protocol.parse)(datagram).map_err(refused_by_all)?;
        let sender = match last {
            Some((id, source, sender)) if *id == header.id && *source == from.source => *sender,
            _ => {
                let sender = self.sender(&header, from)?;
                *last = Some((header.id, from.source, sender));
                sender
            }
        };
        let refused = |reason| Refused(sender.at.port, reason);
        sender.overlay.tunnel.accept(&header).map_err(refused)?;
        let (header_len, payload) = (header.len, header.payload);
        if !header.options.is_empty() {
            counters.note_options(sender.at, header.options);
        }
        if let Payload::Frame(layer) = payload {
            ecn::decapsulate(&mut datagram[header_len..], layer, from.tos).map_err(refused)?;
        }
        Ok((sender, header_len, payload))
    }

    fn sender(&self, header: &Header<'_>, from: &Received) -> Result<Sender<'a>, Refused> {
        let (id, source) = (header.id, from.source);
        let known = self.underlay.peers.get(&(id, source)).map(|&(port, peer)| Location { port, peer });
        let port = known.map(|at| at.port).or_else(|| self.underlay.tunnels.get(&id).copied());
        let Some(port_id) = port else { return Err(Refused(self.underlay_id, DropReason::TunnelUnknown)) };
        let Some(port @ Port { way: Way::Tunnel(overlay), .. }) = self.topology.port(port_id) else {
            return Err(Refused(self.underlay_id, DropReason::TunnelUnknown));
        };
        let met = |overlay: &Overlay| overlay.strangers.as_ref()?.meet(source, self.now);
        let at = known.or_else(|| Some(Location { port: port_id, peer: met(overlay)? }));
        let at = at.ok_or(Refused(port_id, DropReason::Stranger))?;
        Ok(Sender { at, port, overlay })
    }

    /// Sends an echo back, or tells that one of ours has come back.
    #[cold]
    fn echo(
        &self,
        from: &Sender<'_>,
        batch: &mut Batch,
        buffer: usize,
        packet: std::ops::Range<usize>,
        effects: &mut Effects<'_>,
    ) {
        let len = packet.len();
        let what = echo::parse(&batch.frames()[buffer].bytes()[packet.clone()]);
        let counters = effects.counters.of(from.at.port);
        match what {
            None => counters.discard(DropReason::TunnelPayload, len),
            Some(Echo::Answer { token, sent }) => {
                (counters.rx_frames, counters.rx_bytes) =
                    (counters.rx_frames + 1, counters.rx_bytes + len as u64);
                counters.replied += 1;
                if effects.events.len() < MAX_EVENTS {
                    effects.events.push(Event::Echo { token, after: self.now.since(sent) });
                }
            }
            Some(Echo::Request) => {
                let Some(index) = batch.add() else {
                    return counters.discard(DropReason::NoBuffer, len);
                };
                (counters.rx_frames, counters.rx_bytes) =
                    (counters.rx_frames + 1, counters.rx_bytes + len as u64);
                let (received, frame) = batch.pair(buffer, index);
                frame.fill(&received.bytes()[packet], crate::packet::Offload::NONE);
                echo::answer(frame.bytes_mut());
                effects.outbox.push(from.overlay.underlay, echo::departure(index as u32, from.at));
            }
        }
    }
}

/// Where a piece comes from as one number, see [`Piece::owner`].
fn owner(at: Location) -> u32 {
    u32::from(at.port.0) << 16 | u32::from(at.peer.0)
}

fn location(owner: u32) -> Location {
    Location { port: PortId((owner >> 16) as u16), peer: PeerId(owner as u16) }
}
