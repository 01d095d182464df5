//! Beside the stages: has mirrors send copies of what comes in and leaves.
//!
//! What leaves is not copied at all: right before its port sends it, it is in the form in which that port does, and so the
//! mirror's port is handed the very same buffer. What comes in may be edited by the time anybody sends it, so that is
//! copied, and so is what crosses a patch. These copies are sent before anything else of their batch: whoever sees them
//! sees a question before its answer.
//!
//! Copies go from here to the mirror's port, past all the other stages: nothing is learned from them, and no mirror has
//! copies of copies.

use crate::packet::{Batch, Datagram, DropReason, Frame, Offload, PortId};
use crate::switch::counting::PortCounters;
use crate::switch::mirror::{Direction, Mirror, MirrorCounters};
use crate::switch::outbox::{Departure, Recipients};
use crate::switch::stage::egress;
use crate::switch::stage::tunnel::{self, Outlet, Wrapping};
use crate::switch::topology::Form;
use crate::switch::watch::Watching;
use crate::switch::{Event, MAX_EVENTS, Outgoing, Port, Topology, Way};

/// Buffers of a batch that are left to the frames themselves, however many mirrors there are.
const RESERVE: usize = 512;

/// The mirrors of one worker.
#[derive(Default)]
pub(in crate::switch) struct Mirroring {
    /// Copies that are still to be sent, each with its mirror's place in the topology.
    kept: Vec<(usize, u32)>,
    /// Copies at hand; kept for its memory, as the next two are.
    copies: Vec<u32>,
    /// What the mirror's port is handed.
    ready: Vec<u32>,
    departures: Vec<Departure>,
    /// By the mirrors' places in the topology.
    counters: Vec<MirrorCounters>,
}

/// Where copies are made and counted.
pub(in crate::switch) struct Desk<'a> {
    pub(in crate::switch) topology: &'a Topology,
    pub(in crate::switch) batch: &'a mut Batch,
    pub(in crate::switch) counters: &'a mut PortCounters,
    pub(in crate::switch) watching: &'a mut Watching,
}

/// What sends them.
pub(in crate::switch) struct Relay<'a, S> {
    pub(in crate::switch) desk: Desk<'a>,
    pub(in crate::switch) events: &'a mut Vec<Event>,
    pub(in crate::switch) wrapping: &'a mut Wrapping,
    pub(in crate::switch) send: &'a mut S,
}

impl Mirroring {
    /// The mirrors become others; what they have counted stays with their names.
    pub(in crate::switch) fn set_topology(&mut self, before: &Topology, next: &Topology) {
        let counted = |mirror: &Mirror| {
            let at = before.mirrors.iter().position(|other| other.name == mirror.name)?;
            self.counters.get(at).copied()
        };
        self.counters = next.mirrors.iter().map(|mirror| counted(mirror).unwrap_or_default()).collect();
    }

    /// What the mirrors have copied, by their places in the topology.
    pub(in crate::switch) fn counters(&self) -> &[MirrorCounters] {
        &self.counters
    }

    /// Copies frames that go through `port`, to be sent by [`Mirroring::send_kept`].
    #[cold]
    pub(in crate::switch) fn keep(
        &mut self,
        port: PortId,
        direction: Direction,
        frames: impl Iterator<Item = u32> + Clone,
        desk: &mut Desk<'_>,
    ) {
        let topology = desk.topology;
        for (at, mirror) in wanting(topology, port, direction) {
            for frame in frames.clone() {
                if !desk.is_wanted(mirror, port, direction, frame) {
                    continue;
                }
                let claimed = desk.disbelieve(frame);
                let copy = self.copy(at, frame, true, desk);
                desk.batch.frames_mut()[frame as usize].offload = claimed;
                self.kept.extend(copy.map(|copy| (at, copy)));
            }
        }
    }

    /// Whether copies are kept to be sent.
    #[inline]
    pub(in crate::switch) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Sends the copies that were kept.
    #[cold]
    pub(in crate::switch) fn send_kept<S>(&mut self, relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let mut kept = std::mem::take(&mut self.kept);
        for run in kept.chunk_by(|a, b| a.0 == b.0) {
            self.copies.clear();
            self.copies.extend(run.iter().map(|&(_, frame)| frame));
            self.hand(run[0].0, relay);
        }
        // Mostly nothing was added behind them, so that their buffers are free again.
        let batch = &mut *relay.desk.batch;
        while kept.pop().is_some_and(|(_, copy)| copy as usize + 1 == batch.len()) {
            batch.truncate(batch.len() - 1);
        }
        kept.clear();
        self.kept = kept;
    }

    /// Has mirrors send frames that are ready to leave by `port`.
    #[cold]
    pub(in crate::switch) fn send_ready<S>(&mut self, port: PortId, frames: &[u32], relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let topology = relay.desk.topology;
        for (at, mirror) in wanting(topology, port, Direction::Out) {
            let live = relay.desk.batch.len();
            // The one thing that is written to frames behind their headers, which these ports share.
            let edited = matches!(topology.port(mirror.to), Some(Port { way: Way::Tunnel(overlay), .. }) if overlay.mss_clamp);
            self.copies.clear();
            for &frame in frames {
                if relay.desk.is_wanted(mirror, port, Direction::Out, frame) {
                    let copy = self.copy(at, frame, edited, &mut relay.desk);
                    self.copies.extend(copy);
                }
            }
            self.hand(at, relay);
            relay.desk.batch.truncate(live);
        }
    }

    /// Has mirrors send frames that are about to leave by tunnels, in the form in which they go in there.
    #[cold]
    pub(in crate::switch) fn send_wrapped<S>(&mut self, queue: &[Departure], relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let topology = relay.desk.topology;
        let mut shaped = Vec::new();
        for run in queue.chunk_by(|a, b| a.out == b.out) {
            let out = run[0].out;
            if wanting(topology, out, Direction::Out).next().is_none() {
                continue;
            }
            let frames = relay.desk.batch.frames_mut();
            // What does not fit is dropped when it is wrapped.
            let mut fits = |departure: &Departure| tunnel::shape(departure, topology, frames).is_ok();
            shaped.clear();
            shaped.extend(run.iter().filter(|d| !d.echo && fits(d)).map(|departure| departure.frame));
            self.send_ready(out, &shaped, relay);
        }
    }

    /// Makes a copy for the mirror at `at` and gives its index: that of `frame` itself, where that can be sent as it is and
    /// no buffer of the copy's `own` is asked for. `None`: it is counted as dropped.
    fn copy(&mut self, at: usize, frame: u32, own: bool, desk: &mut Desk<'_>) -> Option<u32> {
        let mirror = &desk.topology.mirrors[at];
        let counters = &mut self.counters[at];
        counters.frames += 1;
        desk.counters.of(mirror.to).copies += 1;
        let copied = match desk.topology.port(mirror.to) {
            None => Err(DropReason::PortMissing),
            Some(port) => fit(mirror, port, frame, own, desk.batch),
        };
        match copied {
            Ok((copy, cut)) => {
                counters.cut += u64::from(cut);
                counters.bytes += desk.batch.frames()[copy as usize].len() as u64;
                Some(copy)
            }
            Err(reason) => {
                counters.drops += 1;
                desk.lose(mirror.to, frame, reason);
                None
            }
        }
    }

    /// Has the port of the mirror at `at` send the copies at hand.
    fn hand<S>(&mut self, at: usize, relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let topology = relay.desk.topology;
        let to = topology.mirrors[at].to;
        let (live, before) = (relay.desk.batch.len(), relay.desk.counters.of(to).dropped_total());
        match topology.port(to) {
            _ if self.copies.is_empty() => {}
            Some(port @ Port { way: Way::Queue, .. }) => self.hand_to_port(to, port, relay),
            Some(Port { way: Way::Tunnel(overlay), .. }) => self.hand_to_tunnel(to, overlay.underlay, relay),
            _ => self.copies.iter().for_each(|&copy| relay.desk.lose(to, copy, DropReason::PortMissing)),
        }
        self.counters[at].drops += relay.desk.counters.of(to).dropped_total() - before;
        relay.desk.batch.truncate(live);
    }

    fn hand_to_port<S>(&mut self, to: PortId, port: &Port, relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let Relay { desk, events, send, .. } = relay;
        self.ready.clear();
        for &copy in &self.copies {
            let counters = desk.counters.of(to);
            if let Err(reason) = egress::complete(port, desk.batch, copy, &mut self.ready, counters) {
                desk.lose(to, copy, reason);
            }
        }
        let counters = desk.counters.of(to);
        let too_long = counters.dropped(DropReason::ExceedsMtu);
        match desk.watching.is_idle() {
            _ if self.ready.is_empty() => {}
            true => send(to, desk.batch, Outgoing::Frames(&self.ready, counters)),
            false => desk.watching.send(to, desk.batch, &self.ready, counters, send),
        }
        if counters.dropped(DropReason::ExceedsMtu) != too_long && events.len() < MAX_EVENTS {
            events.push(Event::TooLong(to));
        }
    }

    fn hand_to_tunnel<S>(&mut self, out: PortId, underlay: PortId, relay: &mut Relay<'_, S>)
    where
        S: FnMut(PortId, &mut Batch, Outgoing<'_>),
    {
        let departure = |&frame: &u32| Departure {
            frame,
            form: Form::AsIs,
            out,
            to: Recipients::All,
            shared: true,
            echo: false,
        };
        self.departures.extend(self.copies.iter().map(departure));
        let Relay { desk, events, wrapping, send } = relay;
        let mut outlet = Outlet {
            underlay,
            topology: desk.topology,
            counters: desk.counters,
            events,
            watching: desk.watching,
            send: |underlay, batch: &mut Batch, datagrams: &mut [Datagram]| {
                send(underlay, batch, Outgoing::Datagrams(datagrams));
            },
        };
        wrapping.wrap(&mut self.departures, desk.batch, &mut outlet);
    }
}

impl Desk<'_> {
    /// Whether `mirror` has a copy of a frame that goes through `port`.
    fn is_wanted(&self, mirror: &Mirror, port: PortId, direction: Direction, frame: u32) -> bool {
        let frame = &self.batch.frames()[frame as usize];
        self.topology.port(port).is_some_and(|port| mirror.wants(&port.vlan, direction, frame))
    }

    /// Has a frame claim nothing that is not true, since nobody may have looked at it yet. Gives what it did claim: when that
    /// is false, its bytes are still what came in.
    fn disbelieve(&mut self, frame: u32) -> Offload {
        let frame = &mut self.batch.frames_mut()[frame as usize];
        let (claimed, mut offload) = (frame.offload, frame.offload);
        let checked = offload.check(frame.layer, frame.bytes());
        frame.offload = checked.map_or(Offload::NONE, |()| offload);
        claimed
    }

    /// Counts a copy that is not sent.
    fn lose(&mut self, to: PortId, frame: u32, reason: DropReason) {
        self.counters.drop(to, reason);
        self.watching.lost(to, &self.batch.frames()[frame as usize], reason);
    }
}

/// The mirrors that have copies of what goes through a port, with their places.
fn wanting(
    topology: &Topology,
    port: PortId,
    direction: Direction,
) -> impl Iterator<Item = (usize, &Mirror)> {
    topology.mirrors.iter().enumerate().filter(move |(_, mirror)| mirror.is_of(port, direction))
}

/// Gives the index of a frame that the mirror's port takes, which is `frame` itself, or a copy of it or of its beginning,
/// and whether it was cut. With `own` it is always a copy.
fn fit(
    mirror: &Mirror,
    port: &Port,
    frame: u32,
    own: bool,
    batch: &mut Batch,
) -> Result<(u32, bool), DropReason> {
    let this = &batch.frames()[frame as usize];
    let (l2, l3) = (this.layer.header_len(), network(this));
    if this.len() < l2 {
        return Err(DropReason::Runt);
    }
    let mtu = match &port.way {
        // The room beside it is for an Ethernet header without tags.
        Way::Tunnel(_) => port.mtu.saturating_sub((l3 - l2) as u32),
        _ => port.mtu,
    };
    let (snap, longest) = (mirror.snap.unwrap_or(usize::MAX), l3 + mtu as usize);
    let fits = this.len() <= snap && egress::fits(this, mtu);
    if fits && !own {
        return Ok((frame, false));
    }
    // A superframe whose segments nobody has measured may get such as fit.
    let may_fit = fits || this.len() <= snap && this.offload.guessed;
    let copy = copy(batch, frame, if may_fit { usize::MAX } else { snap.min(longest) })?;
    let this = &mut batch.frames_mut()[copy as usize];
    let whole = may_fit && (fits || egress::make_fit(this, mtu));
    if may_fit && !whole {
        this.cut(longest);
    }
    Ok((copy, !whole))
}

/// Where the network layer of a frame begins, behind its Ethernet header and tags.
fn network(frame: &Frame) -> usize {
    frame.layer.network(frame.bytes()).map_or(frame.layer.header_len(), |(_, at)| at)
}

/// Adds a copy of the first `len` bytes of a frame to the batch.
fn copy(batch: &mut Batch, frame: u32, len: usize) -> Result<u32, DropReason> {
    if batch.room() <= RESERVE {
        return Err(DropReason::NoBuffer);
    }
    let copy = batch.add().ok_or(DropReason::NoBuffer)?;
    let from = &mut batch.frames_mut()[frame as usize];
    if from.bytes().len() < len {
        from.pull();
    }
    let (from, to) = batch.pair(frame as usize, copy);
    to.copy_head(from, len);
    Ok(copy as u32)
}
