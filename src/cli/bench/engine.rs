//! The engine alone: frames come from memory and go nowhere, on one thread, without a system call. Reading a frame is one copy,
//! as it is from a ring of a device.
//!
//! At a given rate frames fall due by the clock, whether the engine is ready or not, and wait in a queue as long as a TAP's.
//! What finds it full is lost; how long a frame took counts from when it was due.

pub(super) mod topology;
mod tunnel;

use std::collections::BTreeMap;
use std::hint;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::frames::Size;
use super::path::Way;
use super::trial::{Delay, Load, Loss, Rig, Trial};
use crate::packet::{Batch, DropReason, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, Offload, PortId};
use crate::switch::{Outgoing, Switch, Topology};
use crate::sys::clock;
use crate::table::fdb::Generations;
use crate::time::Time;
use topology::{INLET, Shape};
use tunnel::FarEnd;

/// Frames that wait for the engine at most: the queue of a TAP (its `txqueuelen`).
const QUEUE: u64 = 1000;
/// Batches between two looks at the clock, where it is not asked when frames are due.
const BATCHES: usize = 16;

/// The engine, what feeds it, and what counts what comes out.
pub(super) struct Engine<'a> {
    switch: Switch,
    /// The switch at the other end of the tunnel, where there is one.
    far: Option<FarEnd>,
    source: Source,
    batch: Batch,
    sink: Sink,
    began: Instant,
    interrupt: &'a Interrupt,
}

/// The frames that are offered, over and over.
#[derive(Clone)]
pub(super) struct Source {
    /// All bytes in a row, so that reading them costs as little as a ring of a device would.
    bytes: Vec<u8>,
    frames: Vec<(Range<usize>, Offload)>,
    next: usize,
}

/// What has come out.
struct Sink {
    size: Size,
    payload: u64,
}

impl<'a> Engine<'a> {
    /// An engine of a shape, which knows all its stations.
    pub(super) fn new(way: Way, size: Size, shape: Shape, interrupt: &'a Interrupt) -> Engine<'a> {
        let generations = Generations::new();
        let topology = Arc::new(topology::of(way, shape, &generations));
        let frames = Source::talk(way, size, shape);
        Engine::worker(topology, &generations, (way, size, shape), frames, interrupt)
    }

    /// One of several workers that share a topology.
    pub(super) fn worker(
        topology: Arc<Topology>,
        generations: &Arc<Generations>,
        (way, size, shape): (Way, Size, Shape),
        source: Source,
        interrupt: &'a Interrupt,
    ) -> Engine<'a> {
        let mut switch = Switch::new(Arc::clone(generations));
        switch.set_topology(topology);
        let far = match way {
            Way::Tunnel(protocol) => Some(FarEnd::new(protocol, shape)),
            _ => None,
        };
        let mut engine = Engine {
            switch,
            far,
            source,
            batch: Batch::default(),
            sink: Sink { size, payload: 0 },
            began: Instant::now(),
            interrupt,
        };
        engine.greet(way, size, shape);
        engine
    }

    /// Has the stations that are talked to be heard, so that nothing is flooded, and the flows begin.
    fn greet(&mut self, way: Way, size: Size, shape: Shape) {
        let (now, mut hellos) = (self.now(), Source::new(topology::hellos(way, shape)));
        for n in 0..hellos.frames.len() {
            self.batch.clear();
            hellos.read(&mut self.batch, 1);
            match &mut self.far {
                None => self.switch.process(topology::behind(n, shape), &mut self.batch, now),
                Some(far) => far.greet(&mut self.batch, &mut self.switch, now),
            }
            self.switch.transmit(&mut self.batch, |_, batch, outgoing| discard(batch, outgoing));
        }
        let mut openings = Source::new(topology::openings(way, size, shape));
        for _ in 0..openings.frames.len() {
            self.batch.clear();
            openings.read(&mut self.batch, 1);
            self.switch.process(INLET, &mut self.batch, now);
            self.switch.transmit(&mut self.batch, |_, batch, outgoing| discard(batch, outgoing));
        }
    }

    /// Takes every frame in three times, so that every station is heard and every flow known.
    ///
    /// # Errors
    /// A signal came.
    pub(super) fn warm_up(&mut self) -> Result<(), Failure> {
        let now = self.now();
        for _ in 0..3 * self.source.frames.len().div_ceil(MAX_BATCH_FRAMES) {
            self.interrupt.check()?;
            self.step(MAX_BATCH_FRAMES, now);
        }
        Ok(())
    }

    fn now(&self) -> Time {
        // A clock that begins at 0 would make what is heard at once look like what was never heard.
        Time::from_secs(1) + self.began.elapsed()
    }

    /// Takes so many frames in, at most a batch, and gives how many.
    fn step(&mut self, most: usize, now: Time) -> usize {
        self.batch.clear();
        let taken = self.source.read(&mut self.batch, most);
        self.switch.process(INLET, &mut self.batch, now);
        let (sink, far) = (&mut self.sink, &mut self.far);
        self.switch.transmit(&mut self.batch, |_, batch, outgoing| match (outgoing, &mut *far) {
            (Outgoing::Datagrams(datagrams), Some(far)) => far.wire.take(batch, datagrams, topology::NEAR),
            (outgoing, _) => sink.take(batch, outgoing),
        });
        if let Some(far) = far {
            far.receive(now, |batch, outgoing| sink.take(batch, outgoing));
        }
        taken
    }

    /// All drops so far, by port and reason.
    fn drops(&self) -> BTreeMap<(PortId, bool, DropReason), u64> {
        let near = self.switch.all_counters().map(|counters| (false, counters));
        let far = self.far.iter().flat_map(|far| far.switch.all_counters()).map(|counters| (true, counters));
        let drops = near.chain(far).flat_map(|(is_far, (port, counters))| {
            counters.drops().map(move |(reason, frames)| ((port, is_far, reason), frames))
        });
        drops.collect()
    }

    /// What was lost since there were those drops, and in the queue before the engine.
    fn losses(&self, before: &BTreeMap<(PortId, bool, DropReason), u64>, overrun: u64) -> Vec<Loss> {
        let topology = self.switch.topology();
        let queue = (overrun > 0).then(|| Loss {
            place: "the queue before the engine".into(),
            reason: "full".into(),
            frames: overrun,
        });
        let drops = self.drops().into_iter().filter_map(|(key @ (port, is_far, reason), frames)| {
            let frames = frames - before.get(&key).copied().unwrap_or(0);
            let name = topology.port(port).map_or_else(String::new, |port| port.name.clone());
            let place = if is_far { format!("{name}, far end") } else { name };
            (frames > 0).then(|| Loss { place, reason: reason.name().into(), frames })
        });
        queue.into_iter().chain(drops).collect()
    }
}

impl Rig for Engine<'_> {
    fn trial(&mut self, load: Load, duration: Duration) -> Result<Trial, Failure> {
        let clock = || clock::of_thread().map_err(|error| format!("no processor time is told: {error}"));
        let (before, arrived) = (self.drops(), self.sink.arrived());
        let (mut delay, cpu, began) = (Delay::new(), clock()?, Instant::now());
        let (sent, overrun) = match load {
            Load::Most => (self.flood(began, duration)?, 0),
            Load::Rate(_) => self.pace(load, began, duration, &mut delay)?,
        };
        let (took, cpu) = (began.elapsed(), Some(clock()? - cpu));
        let received = self.sink.arrived() - arrived;
        let (rate, losses) = (received as f64 / took.as_secs_f64(), self.losses(&before, overrun));
        Ok(Trial { sent, received, rate, cpu, delay, losses, counted: None })
    }
}

impl Engine<'_> {
    /// Takes frames in as fast as they go, and gives how many.
    fn flood(&mut self, began: Instant, duration: Duration) -> Result<u64, Failure> {
        let mut sent = 0;
        while began.elapsed() < duration {
            self.interrupt.check()?;
            let now = self.now();
            sent += (0..BATCHES).map(|_| self.step(MAX_BATCH_FRAMES, now) as u64).sum::<u64>();
        }
        Ok(sent)
    }

    /// Takes frames in as they fall due, and gives how many were due, and how many of those found the queue full.
    fn pace(
        &mut self,
        load: Load,
        began: Instant,
        duration: Duration,
        delay: &mut Delay,
    ) -> Result<(u64, u64), Failure> {
        let (mut sent, mut overrun) = (0, 0);
        loop {
            self.interrupt.check()?;
            let elapsed = began.elapsed();
            let due = load.due(elapsed.min(duration));
            let lost = (due - sent).saturating_sub(QUEUE);
            overrun += lost;
            sent += lost;
            if sent == due {
                if elapsed >= duration {
                    return Ok((sent, overrun));
                }
                hint::spin_loop();
                continue;
            }
            let now = self.now();
            let taken = self.step((due - sent).min(MAX_BATCH_FRAMES as u64) as usize, now) as u64;
            let done = began.elapsed().as_nanos() as u64;
            for frame in sent..sent + taken {
                delay.note(done.saturating_sub(load.due_at(frame)));
            }
            sent += taken;
        }
    }
}

impl Source {
    /// What the stations of a shape say to one another.
    pub(super) fn talk(way: Way, size: Size, shape: Shape) -> Source {
        Source::new(topology::talk(way, size, shape))
    }

    fn new(list: Vec<(Vec<u8>, Offload)>) -> Source {
        let mut source = Source { bytes: Vec::new(), frames: Vec::with_capacity(list.len()), next: 0 };
        for (frame, offload) in list {
            let start = source.bytes.len();
            source.bytes.extend(frame);
            source.frames.push((start..source.bytes.len(), offload));
        }
        source
    }

    /// Fills at most `most` buffers of an empty batch, and gives how many.
    fn read(&mut self, batch: &mut Batch, most: usize) -> usize {
        let (mut taken, mut bytes) = (0, 0);
        for frame in batch.spare().iter_mut().take(most) {
            let (range, offload) = &self.frames[self.next];
            frame.fill(&self.bytes[range.clone()], *offload);
            self.next += 1;
            if self.next == self.frames.len() {
                self.next = 0;
            }
            taken += 1;
            bytes += range.len();
            if bytes >= MAX_BATCH_BYTES {
                break;
            }
        }
        batch.commit(taken);
        taken
    }
}

impl Sink {
    /// Frames that have arrived; what was cut counts by what is in it.
    fn arrived(&self) -> u64 {
        self.payload / self.size.payload() as u64
    }

    fn take(&mut self, batch: &Batch, outgoing: Outgoing<'_>) {
        if let Outgoing::Frames(frames, counters) = outgoing {
            for &index in frames {
                let len = batch.frames()[index as usize].len();
                counters.sent(len);
                self.payload += len.saturating_sub(self.size.headers()) as u64;
            }
        }
    }
}

/// Takes what is of no account.
fn discard(batch: &Batch, outgoing: Outgoing<'_>) {
    match outgoing {
        Outgoing::Frames(frames, counters) => {
            frames.iter().for_each(|&index| counters.sent(batch.frames()[index as usize].len()));
        }
        Outgoing::Datagrams(datagrams) => datagrams.iter_mut().for_each(|datagram| datagram.outcome = Ok(())),
    }
}
