//! The counters of all ports of one worker.

use foldhash::HashMap;

use super::watch::Watching;
use super::{Intruder, PeerCounters, Port, Topology, Way};
use crate::packet::{Batch, Counters, Datagram, DropReason, Location, PeerId, PortId};
use crate::table::strangers::Strangers;

/// Counters by port slot, and the sum of those whose port is gone, so that no frame is ever unaccounted for.
#[derive(Default)]
pub(super) struct PortCounters {
    /// `None` where no port is.
    ports: Vec<Option<Counters>>,
    pub(super) retired: Counters,
    /// Of peers, by port slot: those of the configured ones and those of strangers, each up to the last that anything
    /// was counted for.
    peers: Vec<[Vec<PeerCounters>; 2]>,
    /// The options that peers last sent, of those who send any.
    options: HashMap<Location, Vec<u8>>,
    /// The last that was refused: by a tunnel as a stranger's, by an underlay because no tunnel has its number.
    intruders: HashMap<PortId, Intruder>,
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
        let there = |at: Location| match topology.port(at.port) {
            Some(Port { way: Way::Tunnel(overlay), .. }) => overlay.address(at.peer).is_some(),
            _ => false,
        };
        self.options.retain(|&at, _| there(at));
        self.intruders.retain(|&port, _| topology.port(port).is_some());
        for (port, lists) in self.peers.iter_mut().enumerate() {
            for (list, peers) in lists.iter_mut().enumerate() {
                let slots = peers.iter_mut().enumerate();
                slots.filter(|(slot, _)| !there(location(port, list, *slot))).for_each(|(_, counters)| {
                    *counters = PeerCounters::default();
                });
            }
        }
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
        let (port, list, slot) = place(at);
        if self.peers.get(port).is_none_or(|lists| lists[list].len() <= slot) {
            self.make_room(at);
        }
        &mut self.peers[port][list][slot]
    }

    #[cold]
    fn make_room(&mut self, at: Location) {
        let (port, list, slot) = place(at);
        self.peers.resize_with(self.peers.len().max(port + 1), Default::default);
        self.peers[port][list].resize(slot + 1, PeerCounters::default());
    }

    /// Notes the options in a packet from a peer. They are the same in most packets, so only others cost anything.
    pub(super) fn note_options(&mut self, at: Location, options: &[u8]) {
        let last = self.options.entry(at).or_default();
        if last != options {
            last.clear();
            last.extend_from_slice(options);
        }
    }

    pub(super) fn options(&self) -> impl Iterator<Item = (Location, &[u8])> {
        self.options.iter().map(|(&at, options)| (at, &options[..]))
    }

    /// Notes who sent what nobody is expected to send.
    pub(super) fn note_intruder(&mut self, port: PortId, intruder: Intruder) {
        self.intruders.insert(port, intruder);
    }

    pub(super) fn intruders(&self) -> impl Iterator<Item = (PortId, Intruder)> {
        self.intruders.iter().map(|(&port, &intruder)| (port, intruder))
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

    /// The counters of all peers that something was counted for.
    pub(super) fn peers(&self) -> impl Iterator<Item = (Location, &PeerCounters)> {
        let tunnels = self.peers.iter().enumerate();
        let lists =
            tunnels.flat_map(|(port, lists)| (0..).zip(lists).map(move |(list, peers)| (port, list, peers)));
        let slots = lists.flat_map(|(port, list, peers)| {
            (0..).zip(peers).map(move |(slot, counters)| (location(port, list, slot), counters))
        });
        slots.filter(|(_, counters)| **counters != PeerCounters::default())
    }

    /// Counts frames that came in by `port`, which is gone.
    pub(super) fn discard_all(
        &mut self,
        (port, reason): (PortId, DropReason),
        frames: impl Iterator<Item = (u32, PeerId)>,
        batch: &Batch,
        watching: &mut Watching,
    ) {
        for (frame, _) in frames {
            let frame = &batch.frames()[frame as usize];
            self.retired.discard(reason, frame.len());
            watching.lost(port, frame, reason);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        let slots = self.ports.iter().enumerate();
        slots.filter_map(|(slot, counters)| Some((PortId(slot as u16), counters.as_ref()?)))
    }
}

/// Where the counters of a peer stand: the port's slot, which of its lists, the slot there.
#[inline]
fn place(at: Location) -> (usize, usize, usize) {
    let (list, slot) = (at.peer.0 / Strangers::FIRST, at.peer.0 % Strangers::FIRST);
    (at.port.index(), usize::from(list), usize::from(slot))
}

/// The reverse of [`place`].
fn location(port: usize, list: usize, slot: usize) -> Location {
    let peer = PeerId(list as u16 * Strangers::FIRST + slot as u16);
    Location { port: PortId(port as u16), peer }
}
