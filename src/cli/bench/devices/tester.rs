//! Who sends frames at one end and takes them at the other.

use std::time::Duration;

use super::super::frames::{Size, Stamp, Station, frame, opening, payload_of};
use super::super::trial::Delay;
use crate::packet::{Batch, Counters, Frame, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, Offload};
use crate::port::netdev::{self, NetdevOptions};
use crate::port::{Port, Queue};

/// Flows that the frames are of, so that several workers have some each.
const FLOWS: u16 = 64;

/// Both ends.
pub(super) struct Tester {
    near: End,
    far: End,
    size: Size,
    frames: Vec<(Vec<u8>, Offload)>,
    hello: Vec<u8>,
    openings: Vec<Vec<u8>>,
    trial: u16,
    sequence: u64,
    /// Bytes of payload that make no whole frame yet.
    rest: usize,
}

/// A socket on an interface.
struct End {
    port: Box<dyn Port>,
    batch: Batch,
    counters: Counters,
}

impl Tester {
    /// Opens both ends: the interfaces, and who sends, whom to, and who gets it.
    pub(super) fn open(
        [near, far]: [NetdevOptions; 2],
        [from, to, far_station]: [Station; 3],
        size: Size,
    ) -> Result<Tester, String> {
        let flow = |n| frame(size, from, 1024 + n, to);
        Ok(Tester {
            near: End::open(&near)?,
            far: End::open(&far)?,
            size,
            frames: (0..FLOWS).map(flow).collect(),
            hello: frame(Size::Frame(64), far_station, 9, from).0,
            openings: (0..FLOWS).filter_map(|n| opening(size, from, 1024 + n, to)).collect(),
            trial: 0,
            sequence: 0,
            rest: 0,
        })
    }

    /// Has the far end be heard, and the flows begin.
    pub(super) fn greet(&mut self) {
        let hello = &self.hello;
        self.far.send(1, |_, frame| frame.fill(hello, Offload::NONE));
        for openings in self.openings.chunks(MAX_BATCH_FRAMES) {
            self.near.send(openings.len(), |n, frame| frame.fill(&openings[n], Offload::NONE));
        }
    }

    /// Begins a trial: whole frames of another do not count in it.
    pub(super) fn begin(&mut self) {
        self.trial = self.trial.wrapping_add(1);
        self.sequence = 0;
    }

    /// Sends frames, at most `most` and a batch, and gives how many it tried: what a device does not take is lost.
    pub(super) fn send(&mut self, most: u64, now: Duration) -> u64 {
        let fits = (MAX_BATCH_BYTES / self.size.bytes()).clamp(1, MAX_BATCH_FRAMES);
        let count = most.min(fits as u64) as usize;
        let (size, trial, first) = (self.size, self.trial, self.sequence);
        let frames = &self.frames;
        self.near.send(count, |n, frame| {
            let sequence = first + n as u64;
            let (bytes, offload) = &frames[sequence as usize % frames.len()];
            frame.fill(bytes, *offload);
            Stamp { trial, sequence, sent: now.as_nanos() as u64 }.write(frame.bytes_mut(), size);
        });
        self.sequence += count as u64;
        count as u64
    }

    /// Takes a batch of what has arrived by `now`, notes how long it was on its way, and gives how many frames it was. What
    /// was cut on its way counts by what is in it.
    pub(super) fn receive(&mut self, now: Duration, delay: &mut Delay) -> u64 {
        let (size, trial) = (self.size, self.trial);
        self.far.fetch();
        for frame in self.far.batch.frames() {
            let Some(payload) = payload_of(frame.bytes(), size) else { continue };
            let stamp = Stamp::read(frame.bytes(), size).filter(|stamp| stamp.trial == trial);
            // A part says only whether it is of ours, a whole frame also of which trial.
            if payload == size.payload() && stamp.is_none() {
                continue;
            }
            self.rest += payload;
            if let Some(stamp) = stamp {
                delay.note((now.as_nanos() as u64).saturating_sub(stamp.sent));
            }
        }
        let whole = self.rest / size.payload();
        self.rest %= size.payload();
        whole as u64
    }

    /// Forgets what has arrived, and says whether any of it was of the tester.
    pub(super) fn drain(&mut self) -> bool {
        let mut any = false;
        self.rest = 0;
        loop {
            self.far.fetch();
            let mut frames = self.far.batch.frames().iter();
            if !frames.any(|frame| payload_of(frame.bytes(), self.size).is_some()) {
                return any;
            }
            any = true;
        }
    }

    /// Frames that the far end had no room for.
    pub(super) fn overflow(&self) -> u64 {
        self.far.counters.dropped_total()
    }
}

impl End {
    fn open(options: &NetdevOptions) -> Result<End, String> {
        let opened = netdev::open(options, 1).map_err(|error| error.to_string())?;
        let port = opened.queues.into_iter().find_map(|queue| match queue {
            Queue::Port(port) => Some(port),
            Queue::Underlay(_) => None,
        });
        let port = port.ok_or("an interface without a queue")?;
        Ok(End { port, batch: Batch::default(), counters: Counters::default() })
    }

    /// Takes a batch of what has arrived.
    fn fetch(&mut self) {
        self.batch.clear();
        self.port.rx(&mut self.batch, &mut self.counters);
    }

    /// Sends `count` frames that `fill` fills.
    fn send(&mut self, count: usize, mut fill: impl FnMut(usize, &mut Frame)) {
        const INDICES: [u32; MAX_BATCH_FRAMES] = {
            let mut indices = [0; MAX_BATCH_FRAMES];
            let mut at = 0;
            while at < MAX_BATCH_FRAMES {
                indices[at] = at as u32;
                at += 1;
            }
            indices
        };
        if count == 0 {
            return;
        }
        self.batch.clear();
        self.batch.spare().iter_mut().take(count).enumerate().for_each(|(n, frame)| fill(n, frame));
        self.batch.commit(count);
        self.port.tx(&mut self.batch, &INDICES[..count], &mut self.counters);
    }
}
