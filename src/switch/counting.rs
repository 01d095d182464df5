//! The counters of all ports of one worker.

use super::Topology;
use crate::packet::{Batch, Counters, DropReason, PortId};

/// Counters by port slot, and the sum of those whose port is gone, so that no frame is ever unaccounted for.
#[derive(Default)]
pub(super) struct PortCounters {
    /// `None` where no port is.
    ports: Vec<Option<Counters>>,
    pub(super) retired: Counters,
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
    }

    /// The counters of a port; of those retired when there is no such port any more.
    #[inline]
    pub(super) fn of(&mut self, port: PortId) -> &mut Counters {
        self.ports.get_mut(port.index()).and_then(Option::as_mut).unwrap_or(&mut self.retired)
    }

    pub(super) fn drop(&mut self, port: PortId, reason: DropReason) {
        self.of(port).drop(reason);
    }

    /// Counts frames that came in by a port that is gone.
    pub(super) fn discard_all(
        &mut self,
        reason: DropReason,
        frames: impl Iterator<Item = u32>,
        batch: &Batch,
    ) {
        for frame in frames {
            self.retired.discard(reason, batch.frames()[frame as usize].len());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        let slots = self.ports.iter().enumerate();
        slots.filter_map(|(slot, counters)| Some((PortId(slot as u16), counters.as_ref()?)))
    }
}
