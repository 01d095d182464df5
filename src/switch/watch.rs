//! Who watches frames pass: captures, samplers, live traces.
//!
//! A [`Watcher`] is shown frames when they come in by a port, when they leave by one, and when they are dropped, on
//! whatever port: those of devices, tunnels (the frame inside) and patches. It may also *pick* single frames: such a frame
//! is taken through the switch alone, and the watcher is told what became of it.
//!
//! Mostly nobody watches. So that this costs nothing, the switch asks whether anybody does for each batch and each port
//! that sends, and looks at single frames only if so. Where frames are dropped it asks each time: that is no way that many
//! frames should go.

use crate::packet::{Batch, Counters, DropReason, Frame, Layer, Location, Offload, PeerId, PortId};
use crate::switch::walked::{Recorder, Step};
use crate::switch::{Outgoing, Topology};
use crate::time::Time;

/// What a watcher is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchId(pub u64);

/// When a frame is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has come in by the port.
    Received,
    /// The port is handed it to send, in the form in which it leaves.
    Sent,
    /// It is dropped, and counted at the port.
    Dropped,
}

/// A frame that is seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// When.
    pub moment: Moment,
    /// Where.
    pub port: PortId,
    /// Why it is dropped, if it is.
    pub reason: Option<DropReason>,
    /// Its bytes. Of one that is dropped, some may be missing at the end: those that nobody had read.
    pub bytes: &'a [u8],
    /// How long it is, in bytes.
    pub len: usize,
    /// What its bytes begin with; `None`: with the header of a tunnel, of a datagram that is dropped as a whole.
    pub layer: Option<Layer>,
    /// What its sender has left undone.
    pub offload: Offload,
    /// The time of the batch.
    pub now: Time,
}

/// What became of a frame that was picked.
#[derive(Clone, Copy)]
pub struct Followed<'a> {
    /// The port it came in by.
    pub port: PortId,
    /// The peer it came from, where that port is a tunnel.
    pub peer: PeerId,
    /// The topology in force.
    pub topology: &'a Topology,
    /// The ports that have sent it, or what was made of it; one may stand there several times. Mirrors' are not there.
    pub sent: &'a [PortId],
    /// Where it was dropped, or what was made of it; copies for mirrors are not there.
    pub dropped: &'a [(PortId, DropReason)],
    /// What it met on its way; nothing where nobody who has picked it [`asks why`](Watcher::asks_why).
    pub steps: &'a [Step],
}

/// Somebody who watches the frames of one worker. It is called between its frames, so it must not wait for anything.
pub trait Watcher: Send {
    /// Whether it is to see frames of `port` at `moment`.
    fn wants(&self, port: PortId, moment: Moment) -> bool;

    /// Sees a frame that it wants.
    fn see(&mut self, sight: &Sight<'_>);

    /// Whether it picks frames. Those of others cost less.
    fn picks(&self) -> bool {
        false
    }

    /// Whether it picks none of the next `frames` frames of `port`, so that it need not be shown them one by one. It is
    /// asked once for a batch; who counts frames has counted them when it says so.
    fn passes_over(&mut self, port: PortId, frames: usize) -> bool {
        let _ = (port, frames);
        false
    }

    /// Whether to follow `frame`, which has come in by `port`. Of a frame that is long its headers are at hand, the rest
    /// may not be.
    fn pick(&mut self, port: PortId, frame: &Frame, now: Time) -> bool {
        let _ = (port, frame, now);
        false
    }

    /// Whether it wants to know what the frames that it picks meet on their way.
    fn asks_why(&self) -> bool {
        false
    }

    /// Is told what became of the last frame it picked.
    fn followed(&mut self, followed: &Followed<'_>) {
        let _ = followed;
    }

    /// Some frames were done with: what it has gathered can be handed on.
    fn rest(&mut self) {}

    /// Whether it has seen enough, and is to be let go.
    fn is_over(&self) -> bool {
        false
    }
}

/// What is noted of a frame that is taken through the switch alone.
pub(super) struct Lone {
    /// Who has picked it.
    by: Vec<WatchId>,
    /// One of them wants to know more.
    pub(super) asks_why: bool,
    sent: Vec<PortId>,
    dropped: Vec<(PortId, DropReason)>,
}

/// The watchers of one worker.
#[derive(Default)]
pub(super) struct Watching {
    watchers: Vec<(WatchId, Box<dyn Watcher>)>,
    /// Those of them that look at the frames that have just come in, to pick some.
    looking: Vec<WatchId>,
    now: Time,
    lone: Option<Lone>,
    /// Has the stages say why.
    pub(super) recorder: Recorder,
}

impl Watching {
    pub(super) fn add(&mut self, id: WatchId, watcher: Box<dyn Watcher>) {
        self.watchers.push((id, watcher));
    }

    pub(super) fn remove(&mut self, id: WatchId) {
        self.watchers.retain(|(other, _)| *other != id);
    }

    pub(super) fn replace(&mut self, id: WatchId, watcher: Option<Box<dyn Watcher>>) {
        let Some(at) = self.watchers.iter().position(|(other, _)| *other == id) else { return };
        match watcher {
            Some(watcher) => self.watchers[at].1 = watcher,
            None => drop(self.watchers.remove(at)),
        }
    }

    /// Nobody watches anything.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Notes what time it is for what will be seen.
    #[inline(always)]
    pub(super) fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    /// Whether somebody is to see the frames of `port` at `moment`.
    #[inline(always)]
    pub(super) fn wants(&self, port: PortId, moment: Moment) -> bool {
        !self.is_idle() && self.is_wanted(port, moment)
    }

    #[cold]
    fn is_wanted(&self, port: PortId, moment: Moment) -> bool {
        self.lone.is_some() && moment != Moment::Received
            || self.watchers.iter().any(|(_, watcher)| watcher.wants(port, moment))
    }

    /// Somebody picks frames.
    #[inline(always)]
    pub(super) fn picks(&self) -> bool {
        !self.is_idle() && self.watchers.iter().any(|(_, watcher)| watcher.picks())
    }

    /// Whether somebody is to look at the next `frames` frames, which have come in by `port`: those are asked to
    /// [`Watching::pick`].
    pub(super) fn look(&mut self, port: PortId, frames: usize) -> bool {
        self.looking.clear();
        for (id, watcher) in &mut self.watchers {
            if watcher.picks() && !watcher.passes_over(port, frames) {
                self.looking.push(*id);
            }
        }
        !self.looking.is_empty()
    }

    /// Whether somebody wants to follow a frame, and what is to be noted of it.
    pub(super) fn pick(&mut self, port: PortId, frame: &Frame, now: Time) -> Option<Lone> {
        let (mut by, mut asks_why) = (Vec::new(), false);
        for (id, watcher) in self.watchers.iter_mut().filter(|(id, _)| self.looking.contains(id)) {
            if watcher.pick(port, frame, now) {
                by.push(*id);
                asks_why |= watcher.asks_why();
            }
        }
        (!by.is_empty()).then(|| Lone { by, asks_why, sent: Vec::new(), dropped: Vec::new() })
    }

    /// Notes, of what passes until [`Watching::tell`], what becomes of the lone frame that it is.
    pub(super) fn follow(&mut self, lone: Lone) {
        self.lone = Some(lone);
    }

    /// Tells those who have picked the lone frame, which came in at `at`, what it met and what became of it.
    pub(super) fn tell(&mut self, topology: &Topology, at: Location, steps: &[Step]) {
        let Some(mut lone) = self.lone.take() else { return };
        let Location { port, peer } = at;
        // Mirrors' ports send nothing but copies, whatever becomes of the frame itself.
        let is_copy = |out: PortId| out != port && topology.mirrors.iter().any(|mirror| mirror.to == out);
        lone.sent.retain(|&out| !is_copy(out));
        lone.dropped.retain(|&(out, _)| !is_copy(out));
        let (sent, dropped) = (&lone.sent, &lone.dropped);
        let followed = Followed { port, peer, topology, sent, dropped, steps };
        let watchers = self.watchers.iter_mut().filter(|(id, _)| lone.by.contains(id));
        watchers.for_each(|(_, watcher)| watcher.followed(&followed));
    }

    /// Shows frames that have come in by `port`, after they were taken in as a whole.
    #[cold]
    pub(super) fn received(&mut self, port: PortId, frames: impl Iterator<Item = u32>, batch: &mut Batch) {
        for frame in frames {
            let frame = &mut batch.frames_mut()[frame as usize];
            frame.pull();
            self.show(Moment::Received, port, None, frame);
        }
    }

    /// Shows a frame that leaves by `port`.
    #[inline]
    pub(super) fn sent(&mut self, port: PortId, frame: &Frame) {
        if self.wants(port, Moment::Sent) {
            self.show_sent(port, frame);
        }
    }

    #[cold]
    fn show_sent(&mut self, port: PortId, frame: &Frame) {
        if let Some(lone) = &mut self.lone {
            lone.sent.push(port);
        }
        self.show(Moment::Sent, port, None, frame);
    }

    /// Shows a frame that is dropped and counted at `port`.
    #[inline]
    pub(super) fn lost(&mut self, port: PortId, frame: &Frame, reason: DropReason) {
        if self.wants(port, Moment::Dropped) {
            self.note_loss(port, reason);
            self.show(Moment::Dropped, port, Some(reason), frame);
        }
    }

    /// The same for what is no frame of its own: bytes that begin with what `layer` says.
    #[inline]
    pub(super) fn lost_bytes(
        &mut self,
        port: PortId,
        bytes: &[u8],
        layer: Option<Layer>,
        reason: DropReason,
    ) {
        if self.wants(port, Moment::Dropped) {
            self.note_loss(port, reason);
            let (len, offload, now) = (bytes.len(), Offload::NONE, self.now);
            let moment = Moment::Dropped;
            self.see(&Sight { moment, port, reason: Some(reason), bytes, len, layer, offload, now });
        }
    }

    #[cold]
    fn note_loss(&mut self, port: PortId, reason: DropReason) {
        if let Some(lone) = &mut self.lone {
            lone.dropped.push((port, reason));
        }
    }

    #[cold]
    fn show(&mut self, moment: Moment, port: PortId, reason: Option<DropReason>, frame: &Frame) {
        let (bytes, len, offload, now) = (frame.bytes(), frame.len(), frame.offload, self.now);
        self.see(&Sight { moment, port, reason, bytes, len, layer: Some(frame.layer), offload, now });
    }

    fn see(&mut self, sight: &Sight<'_>) {
        let watchers = self.watchers.iter_mut();
        watchers
            .filter(|(_, watcher)| watcher.wants(sight.port, sight.moment))
            .for_each(|(_, watcher)| watcher.see(sight));
    }

    /// Has `send` send frames that are ready for `port`, and shows them.
    #[cold]
    pub(super) fn send(
        &mut self,
        port: PortId,
        batch: &mut Batch,
        ready: &[u32],
        counters: &mut Counters,
        send: &mut impl FnMut(PortId, &mut Batch, Outgoing<'_>),
    ) {
        let shows_losses = self.wants(port, Moment::Dropped);
        if !shows_losses && !self.wants(port, Moment::Sent) {
            return send(port, batch, Outgoing::Frames(ready, counters));
        }
        ready.iter().for_each(|&frame| batch.frames_mut()[frame as usize].pull());
        if !shows_losses {
            ready.iter().for_each(|&frame| self.sent(port, &batch.frames()[frame as usize]));
            return send(port, batch, Outgoing::Frames(ready, counters));
        }
        // A port says how many it has dropped, and not which: one by one, that is the same.
        for &index in ready {
            let before = counters.clone();
            send(port, batch, Outgoing::Frames(&[index], counters));
            let frame = &batch.frames()[index as usize];
            match counters.drops().find(|&(reason, frames)| frames > before.dropped(reason)) {
                Some((reason, _)) => self.lost(port, frame, reason),
                None => self.sent(port, frame),
            }
        }
    }

    /// Lets watchers hand on what they have, and goes on without those who have seen enough.
    #[inline(always)]
    pub(super) fn rest(&mut self) {
        if !self.is_idle() && self.lone.is_none() {
            self.let_rest();
        }
    }

    #[cold]
    fn let_rest(&mut self) {
        self.watchers.iter_mut().for_each(|(_, watcher)| watcher.rest());
        self.watchers.retain(|(_, watcher)| !watcher.is_over());
    }
}
