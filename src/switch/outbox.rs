//! What is to leave: a queue for each port, of frames named by their index, so that flooding copies no payload.

use super::stage::suppress::Question;
use super::topology::Form;
use super::watch::Watching;
use crate::packet::{Location, PeerId, PortId};
use crate::wire::ethernet::Mac;
use crate::wire::nd::AdvertisementFlags;

/// A frame to leave by a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) frame: u32,
    pub(super) form: Form,
    /// The port it leaves by. It stands in the queue of that port or, if that is a tunnel, of the underlay.
    pub(super) out: PortId,
    /// To whom.
    pub(super) to: Recipients,
    /// Others send the same frame.
    pub(super) shared: bool,
    /// It is an echo between two switches, for which no limit holds but the network's.
    pub(super) echo: bool,
}

/// Who gets a frame that leaves by a tunnel; on other ports it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recipients {
    /// One peer.
    Peer(PeerId),
    /// All peers that get what is flooded.
    All,
    /// The same but for the one it came from.
    AllBut(PeerId),
}

impl Recipients {
    /// The only one, if it is one.
    pub(super) fn peer(self) -> Option<PeerId> {
        match self {
            Recipients::Peer(peer) => Some(peer),
            Recipients::All | Recipients::AllBut(_) => None,
        }
    }
}

/// A frame to leave by a patch port and to come in at its peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    pub(super) peer: PortId,
    pub(super) departure: Departure,
}

/// A frame that is too long for where it should go, which its sender is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Oversize {
    pub(super) departure: Departure,
    /// The longest packet that would fit.
    pub(super) mtu: u32,
    /// The port it came in by.
    pub(super) from: PortId,
}

/// An answer to who asked for a neighbour, which is yet to be put into a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Where who asked is.
    pub(super) to: Location,
    pub(super) form: Form,
    pub(super) question: Question,
    /// The station that asked.
    pub(super) asker: Mac,
    /// The station that has the address.
    pub(super) holder: Mac,
    /// As what it has announced itself.
    pub(super) flags: AdvertisementFlags,
}

/// A frame that a rule has refused, whose sender is yet to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) frame: u32,
    /// Where its sender is.
    pub(super) to: Location,
    pub(super) form: Form,
}

/// The queues of one batch.
#[derive(Default)]
pub(super) struct Outbox {
    queues: Vec<Vec<Departure>>,
    /// Ports whose queue is not empty, in the order in which they got their first frame.
    waiting: Vec<PortId>,
    pub(super) patched: Vec<Crossing>,
    pub(super) oversize: Vec<Oversize>,
    pub(super) answers: Vec<Answer>,
    pub(super) refused: Vec<Refused>,
    /// Frames of the port at hand, as the egress stage made them fit; kept for its memory.
    pub(super) ready: Vec<u32>,
    /// Who sees what is queued and dropped: whoever does either has the outbox.
    pub(super) watching: Watching,
}

impl Outbox {
    pub(super) fn resize(&mut self, ports: usize) {
        self.queues.resize_with(self.queues.len().max(ports), Vec::new);
    }

    /// Queues a frame for the port `queue`.
    #[inline(always)]
    pub(super) fn push(&mut self, queue: PortId, departure: Departure) {
        let departures = &mut self.queues[queue.index()];
        if departures.is_empty() {
            self.waiting.push(queue);
        }
        departures.push(departure);
    }

    /// The next port with something to send.
    pub(super) fn next(&mut self) -> Option<PortId> {
        self.waiting.pop()
    }

    /// The queue of a port, the list of what is ready, cleared, and who watches.
    pub(super) fn take(&mut self, port: PortId) -> (&mut Vec<Departure>, &mut Vec<u32>, &mut Watching) {
        self.ready.clear();
        (&mut self.queues[port.index()], &mut self.ready, &mut self.watching)
    }
}
