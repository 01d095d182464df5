//! What is to leave: a queue for each port, of frames named by their index, so that flooding copies no payload.

use super::topology::Form;
use crate::packet::PortId;

/// A frame to leave by a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) frame: u32,
    pub(super) form: Form,
}

/// A frame to leave by a patch port and to come in at its peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    pub(super) out: PortId,
    pub(super) peer: PortId,
    pub(super) departure: Departure,
    /// Others send the same frame: what crosses must be a copy, since it may be changed on the other side.
    pub(super) shared: bool,
}

/// The queues of one batch.
#[derive(Default)]
pub(super) struct Outbox {
    queues: Vec<Vec<Departure>>,
    /// Ports whose queue is not empty, in the order in which they got their first frame.
    waiting: Vec<PortId>,
    pub(super) patched: Vec<Crossing>,
    /// Frames of the port at hand, as the egress stage made them fit; kept for its memory.
    pub(super) ready: Vec<u32>,
}

impl Outbox {
    pub(super) fn resize(&mut self, ports: usize) {
        self.queues.resize_with(self.queues.len().max(ports), Vec::new);
    }

    #[inline]
    pub(super) fn push(&mut self, port: PortId, departure: Departure) {
        let queue = &mut self.queues[port.index()];
        if queue.is_empty() {
            self.waiting.push(port);
        }
        queue.push(departure);
    }

    /// The next port with something to send.
    pub(super) fn next(&mut self) -> Option<PortId> {
        self.waiting.pop()
    }

    /// The queue of a port and the list of what is ready, cleared.
    pub(super) fn take(&mut self, port: PortId) -> (&mut Vec<Departure>, &mut Vec<u32>) {
        self.ready.clear();
        (&mut self.queues[port.index()], &mut self.ready)
    }
}
