//! What copies frames for a capture, on each worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::{MAX_WAITING, Shared, Subjects};
use crate::packet::{DropReason, Expression, Layer, Offload, PortId};
use crate::switch::watch::{Moment, Sight, Watcher};
use crate::time::Time;

/// Bytes after which a part is handed on before its batch is done with: a frame to very many ports is copied as often.
const PART: usize = 1 << 20;

/// Frames that were copied, one behind the other.
#[derive(Default)]
pub(super) struct Part {
    /// The ports that there were when they were seen.
    pub(super) subjects: Subjects,
    pub(super) bytes: Vec<u8>,
    pub(super) notes: Vec<Note>,
}

impl Part {
    fn clear(&mut self) {
        self.bytes.clear();
        self.notes.clear();
    }
}

/// What is known of a copied frame.
#[derive(Clone, Copy)]
pub(super) struct Note {
    pub(super) at: Time,
    pub(super) port: PortId,
    pub(super) moment: Moment,
    pub(super) reason: Option<DropReason>,
    pub(super) layer: Option<Layer>,
    /// Checked; [`Offload::NONE`] when it contradicts the frame.
    pub(super) offload: Offload,
    pub(super) len: usize,
    /// Bytes that were copied.
    pub(super) kept: usize,
}

/// Copies what a capture is of.
pub(super) struct Observer {
    pub(super) subjects: Subjects,
    pub(super) moments: Vec<Moment>,
    pub(super) filter: Expression,
    pub(super) snap_len: usize,
    pub(super) part: Part,
    pub(super) shared: Arc<Shared>,
    pub(super) to: Sender<Part>,
    /// Parts to be used again.
    pub(super) emptied: Receiver<Part>,
    pub(super) over: bool,
}

impl Watcher for Observer {
    fn wants(&self, port: PortId, moment: Moment) -> bool {
        self.moments.contains(&moment) && self.subjects.get(port.index()).is_some_and(Option::is_some)
    }

    fn see(&mut self, sight: &Sight<'_>) {
        let fits = match sight.layer {
            Some(layer) => self.filter.matches_bytes(layer, sight.bytes, sight.len),
            None => self.filter.is_all(),
        };
        if !fits {
            return;
        }
        let mut offload = sight.offload;
        let checked = sight.layer.map(|layer| offload.check(layer, sight.bytes));
        let offload = if checked == Some(Ok(())) { offload } else { Offload::NONE };
        let kept = &sight.bytes[..sight.bytes.len().min(self.snap_len)];
        self.part.bytes.extend_from_slice(kept);
        self.part.notes.push(Note {
            at: sight.now,
            port: sight.port,
            moment: sight.moment,
            reason: sight.reason,
            layer: sight.layer,
            offload,
            len: sight.len,
            kept: kept.len(),
        });
        if self.part.bytes.len() >= PART {
            self.hand_on();
        }
    }

    fn rest(&mut self) {
        if !self.part.notes.is_empty() {
            self.hand_on();
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Observer {
    fn hand_on(&mut self) {
        let mut part = std::mem::replace(&mut self.part, self.emptied.try_recv().unwrap_or_default());
        part.subjects = Arc::clone(&self.subjects);
        self.part.clear();
        let len = part.bytes.len();
        // Several workers may go over it together, by a part each.
        if self.shared.waiting.load(Ordering::Relaxed) + len > MAX_WAITING {
            return self.miss(part);
        }
        self.shared.waiting.fetch_add(len, Ordering::Relaxed);
        match self.to.try_send(part) {
            Ok(()) => {}
            Err(TrySendError::Full(part)) => {
                self.shared.waiting.fetch_sub(len, Ordering::Relaxed);
                self.miss(part);
            }
            Err(TrySendError::Disconnected(_)) => self.over = true,
        }
    }

    /// Counts frames that nobody takes, and keeps their memory.
    fn miss(&mut self, part: Part) {
        for note in &part.notes {
            if let Some(Some(subject)) = self.subjects.get(note.port.index()) {
                subject.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.part = part;
        self.part.clear();
    }
}
