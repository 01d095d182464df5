//! The counters of all ports of one worker.

use foldhash::HashMap;

use super::{PeerCounters, Port, Topology, Way};
use crate::packet::{Batch, Counters, Datagram, DropReason, Location, PeerId, PortId};

/// Counters by port slot, and the sum of those whose port is gone, so that no frame is ever unaccounted for.
#[derive(Default)]
pub(super) struct PortCounters {
    /// `None` where no port is.
    ports: Vec<Option<Counters>>,
    pub(super) retired: Counters,
    peers: HashMap<Location, PeerCounters>,
}

impl PortCounters {
    pub(super) fn resize(&mut self, topology: &Topology) {
        let slots = self.ports.len().max(topology.ports.len());
        self.ports.resize(slots, None);
        for (slot, counters) in self.ports.iter_mut().enumerate() {
            if topology.port(PortId(slot as u16)).is_some() {
                counters.get_or_insert_default();
            } else if let Some(counters) = counters.take() {
                self.retired += &counters;
            }
        }
        self.peers.retain(|&at, _| matches!(topology.port(at.port), Some(Port { way: Way::Tunnel(overlay), .. }) if overlay.address(at.peer).is_some()));
    }

    /// The counters of a port; of those retired when there is no such port any more.
    #[inline]
    pub(super) fn of(&mut self, port: PortId) -> &mut Counters {
        self.ports.get_mut(port.index()).and_then(Option::as_mut).unwrap_or(&mut self.retired)
    }

    pub(super) fn drop(&mut self, port: PortId, reason: DropReason) {
        self.of(port).drop(reason);
    }

    /// The counters of a peer.
    #[inline]
    pub(super) fn peer(&mut self, at: Location) -> &mut PeerCounters {
        self.peers.entry(at).or_default()
    }

    /// Counts what became of a datagram of `len` bytes, of which `header` are the tunnel's.
    #[inline]
    pub(super) fn dispatched(&mut self, datagram: &Datagram, len: usize, header: usize) {
        let port = self.of(datagram.tunnel);
        match datagram.outcome {
            Ok(()) => port.sent(len - header),
            Err(reason) => port.drop(reason),
        }
        self.peer(Location { port: datagram.tunnel, peer: datagram.peer })
            .sent(len, datagram.outcome.is_ok());
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (Location, &PeerCounters)> {
        self.peers.iter().map(|(&at, counters)| (at, counters))
    }

    /// Counts frames that came in by a port that is gone.
    pub(super) fn discard_all(
        &mut self,
        reason: DropReason,
        frames: impl Iterator<Item = (u32, PeerId)>,
        batch: &Batch,
    ) {
        for (frame, _) in frames {
            self.retired.discard(reason, batch.frames()[frame as usize].len());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        let slots = self.ports.iter().enumerate();
        slots.filter_map(|(slot, counters)| Some((PortId(slot as u16), counters.as_ref()?)))
    }
}
