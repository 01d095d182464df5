//! How frames come into the switch: as a whole batch, or, those that somebody has picked, alone.

use core::ops::Range;
use std::sync::Arc;

use super::stage::tunnel::{Effects, Unwrapped, Unwrapping};
use super::walked::Step;
use super::watch::{WatchId, Watcher};
use super::{Origin, Outgoing, Switch, Topology, stage};
use crate::packet::{Batch, Location, PeerId, PortId, Received};
use crate::time::Time;

/// Frames that have come in.
#[derive(Clone, Copy)]
enum Incoming<'a> {
    /// All of the batch, by this port.
    Read(PortId),
    /// These, by tunnels.
    Unwrapped(&'a [Unwrapped]),
}

impl Incoming<'_> {
    /// The frames from `from` on that have come in by the same port, and that port; `read`: frames of the batch.
    fn run(&self, from: usize, read: usize) -> Option<(PortId, Range<usize>)> {
        match self {
            Incoming::Read(port) => (from < read).then_some((*port, from..read)),
            Incoming::Unwrapped(frames) => {
                let port = frames.get(from)?.at.port;
                let same = frames[from..].iter().take_while(|unwrapped| unwrapped.at.port == port);
                Some((port, from..from + same.count()))
            }
        }
    }

    /// Where in the batch the frame `at` is.
    fn frame(&self, at: usize) -> usize {
        match self {
            Incoming::Read(_) => at,
            Incoming::Unwrapped(frames) => frames[at].frame as usize,
        }
    }

    /// Where it has come in.
    fn place(&self, at: usize) -> Location {
        match self {
            Incoming::Read(port) => Location::from(*port),
            Incoming::Unwrapped(frames) => frames[at].at,
        }
    }
}

impl Switch {
    /// Decides about all frames of `batch`, which came in by `port`. Follow with [`Switch::transmit`].
    pub fn process(&mut self, port: PortId, batch: &mut Batch, now: Time) {
        let topology = Arc::clone(&self.topology);
        let all = 0..batch.len();
        self.take_in(&topology, Incoming::Read(port), all, batch, now);
    }

    /// Unwraps what the underlay `underlay` has read into `batch`, and decides about the frames in it as
    /// [`Switch::process`] does.
    pub fn receive(&mut self, underlay: PortId, batch: &mut Batch, received: &[Received], now: Time) {
        let topology = Arc::clone(&self.topology);
        let mut unwrapping = std::mem::take(&mut self.unwrapping);
        let frames = self.unwrap(&topology, &mut unwrapping, underlay, received, batch, now);
        self.take_in(&topology, Incoming::Unwrapped(frames), 0..frames.len(), batch, now);
        self.unwrapping = unwrapping;
    }

    /// Finds the frames in what an underlay has read.
    fn unwrap<'a>(
        &mut self,
        topology: &Topology,
        unwrapping: &'a mut Unwrapping,
        underlay: PortId,
        received: &[Received],
        batch: &mut Batch,
        now: Time,
    ) -> &'a [Unwrapped] {
        self.outbox.watching.set_time(now);
        let mut effects =
            Effects { counters: &mut self.counters, outbox: &mut self.outbox, events: &mut self.events };
        unwrapping.unwrap(topology, underlay, received, batch, now, &mut effects)
    }

    /// Decides about the frames of `incoming` that are in `range`.
    fn take_in(
        &mut self,
        topology: &Topology,
        incoming: Incoming<'_>,
        range: Range<usize>,
        batch: &mut Batch,
        now: Time,
    ) {
        self.outbox.watching.set_time(now);
        match incoming {
            Incoming::Read(port) => {
                let frames = (range.start as u32..range.end as u32).map(|frame| (frame, PeerId::NONE));
                self.run(topology, port, Origin::Outside, frames, batch, now);
            }
            Incoming::Unwrapped(frames) => {
                for run in frames[range].chunk_by(|a, b| a.at.port == b.at.port) {
                    let frames = run.iter().map(|unwrapped| (unwrapped.frame, unwrapped.at.peer));
                    self.arrive(topology, run[0].at.port, Origin::Outside, frames, batch);
                }
                self.forward(topology, Origin::Outside, batch, now);
            }
        }
        self.settle(topology, batch, now);
    }

    /// [`Switch::process`] and [`Switch::transmit`] in one. Frames that a [`Watcher`] picks walk alone, after those before
    /// them have left.
    pub fn carry(
        &mut self,
        port: PortId,
        batch: &mut Batch,
        now: Time,
        mut send: impl FnMut(PortId, &mut Batch, Outgoing<'_>),
    ) {
        if self.outbox.watching.picks() {
            let topology = Arc::clone(&self.topology);
            self.carry_watched(&topology, Incoming::Read(port), batch, now, &mut send);
        } else {
            self.process(port, batch, now);
        }
        self.transmit(batch, send);
    }

    /// [`Switch::receive`] and [`Switch::transmit`] in one, as [`Switch::carry`].
    pub fn carry_received(
        &mut self,
        underlay: PortId,
        batch: &mut Batch,
        received: &[Received],
        now: Time,
        mut send: impl FnMut(PortId, &mut Batch, Outgoing<'_>),
    ) {
        if self.outbox.watching.picks() {
            let topology = Arc::clone(&self.topology);
            let mut unwrapping = std::mem::take(&mut self.unwrapping);
            let frames = self.unwrap(&topology, &mut unwrapping, underlay, received, batch, now);
            self.carry_watched(&topology, Incoming::Unwrapped(frames), batch, now, &mut send);
            self.unwrapping = unwrapping;
        } else {
            self.receive(underlay, batch, received, now);
        }
        self.transmit(batch, send);
    }

    /// Decides about frames, of which those that are picked walk alone. The last ones are left to be transmitted.
    #[cold]
    fn carry_watched(
        &mut self,
        topology: &Topology,
        incoming: Incoming<'_>,
        batch: &mut Batch,
        now: Time,
        send: &mut impl FnMut(PortId, &mut Batch, Outgoing<'_>),
    ) {
        let (live, mut begin, mut seen) = (batch.len(), 0, 0);
        while let Some((port, run)) = incoming.run(seen, live) {
            seen = run.end;
            if !self.outbox.watching.look(port, run.len()) {
                continue;
            }
            for at in run {
                let frame = &batch.frames()[incoming.frame(at)];
                let Some(lone) = self.outbox.watching.pick(port, frame, now) else { continue };
                self.take_in(topology, incoming, begin..at, batch, now);
                self.transmit(batch, &mut *send);
                batch.truncate(live);
                if lone.asks_why {
                    self.outbox.watching.recorder.begin(&self.counters);
                }
                self.outbox.watching.follow(lone);
                self.take_in(topology, incoming, at..at + 1, batch, now);
                self.transmit(batch, &mut *send);
                batch.truncate(live);
                let steps = self.outbox.watching.recorder.end(&self.counters);
                self.outbox.watching.tell(topology, incoming.place(at), &steps);
                begin = at + 1;
            }
        }
        self.take_in(topology, incoming, begin..seen, batch, now);
    }

    /// Has the one frame of a batch come in at `at`, of a tunnel as it comes out of that, and says what it meets.
    pub(super) fn trace(
        &mut self,
        at: Location,
        batch: &mut Batch,
        now: Time,
        send: impl FnMut(PortId, &mut Batch, Outgoing<'_>),
    ) -> Vec<Step> {
        let topology = Arc::clone(&self.topology);
        stage::tunnel::come_out(&topology, at.port, &mut batch.frames_mut()[0]);
        self.outbox.watching.recorder.begin(&self.counters);
        self.take_in(&topology, Incoming::Unwrapped(&[Unwrapped { frame: 0, at }]), 0..1, batch, now);
        self.transmit(batch, send);
        self.outbox.watching.recorder.end(&self.counters)
    }

    /// Has somebody watch what passes, until [`Switch::unwatch`] or until it has seen enough.
    pub fn watch(&mut self, id: WatchId, watcher: Box<dyn Watcher>) {
        self.outbox.watching.add(id, watcher);
    }

    /// Has another watcher go on in the place of one, or nobody. When that has gone already, nothing is done.
    pub fn rewatch(&mut self, id: WatchId, watcher: Option<Box<dyn Watcher>>) {
        self.outbox.watching.replace(id, watcher);
    }

    /// Lets a watcher go.
    pub fn unwatch(&mut self, id: WatchId) {
        self.outbox.watching.remove(id);
    }
}
