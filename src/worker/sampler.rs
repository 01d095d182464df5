//! Picks frames for an export and tells it what became of them: a [`Watcher`] on each worker.
//!
//! Each port has a countdown of its own, so that the samples of a port stand for known numbers of its frames, whatever
//! passes by others. A batch in which no countdown ends is not looked at frame by frame.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::sample::{Fate, Sample, Skips};
use crate::packet::{Frame, Gso, PortId, Vid};
use crate::switch::watch::{Followed, Moment, Sight, Watcher};
use crate::time::Time;
use crate::wire::{be16, ethernet};

/// What a sampler has to know of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Frames that come in by it are sampled.
    pub sampled: bool,
    /// It joins two bridges in the switch: what leaves by it leaves by another port.
    pub is_patch: bool,
    /// The VLAN of frames without tag; 0: its bridge tells none apart.
    pub untagged: Vid,
}

/// Picks frames that come in by some ports, and sends a [`Sample`] of each; one that there is no room for is missed.
pub struct Sampler {
    /// The ports, by their slots.
    places: Arc<[Place]>,
    skips: Skips,
    keep: usize,
    to: Sender<Sample>,
    countdowns: Vec<Countdown>,
    /// The one that was picked, until it is told what became of it.
    picked: Option<Sample>,
}

/// How far it is to the next sample of a port.
#[derive(Clone, Copy, Default)]
struct Countdown {
    /// Frames until then, with that one; 0: not drawn yet.
    left: u32,
    /// Frames since the last sample that was told, if the next one is told.
    pool: u64,
    missed: u32,
}

impl Sampler {
    /// Picks frames as `skips` says, and keeps up to `keep` bytes of them.
    pub fn new(places: Arc<[Place]>, skips: Skips, keep: usize, to: Sender<Sample>) -> Sampler {
        let countdowns = vec![Countdown::default(); places.len()];
        Sampler { places, skips, keep, to, countdowns, picked: None }
    }

    /// The countdown of a port whose frames are sampled.
    fn countdown(&mut self, port: PortId) -> Option<&mut Countdown> {
        self.places.get(port.index()).filter(|place| place.sampled)?;
        let countdown = &mut self.countdowns[port.index()];
        if countdown.left == 0 {
            countdown.left = self.skips.draw();
            countdown.pool += u64::from(countdown.left);
        }
        Some(countdown)
    }

    /// The VLAN of a frame: that of its tag, or that of its port.
    fn vlan(&self, port: PortId, bytes: &[u8]) -> Vid {
        let untagged = self.places[port.index()].untagged;
        let is_tagged = untagged != 0 && bytes.len() >= 16 && be16(bytes, 12) == ethernet::VLAN;
        let tag = if is_tagged { be16(bytes, 14) & 0xfff } else { 0 };
        // A tag of VLAN 0 says a priority only.
        if tag == 0 { untagged } else { tag }
    }

    /// What became of a frame: the ports it has left by, patches not counted, or else why it was dropped.
    fn fate(&self, followed: &Followed<'_>) -> Fate {
        let is_patch = |port: PortId| self.places.get(port.index()).is_some_and(|place| place.is_patch);
        // What a port sends of a frame, such as the packets of a superframe, it sends in one go.
        let mut ports =
            followed.sent.chunk_by(PartialEq::eq).map(|same| same[0]).filter(|port| !is_patch(*port));
        match (ports.next(), followed.dropped.first()) {
            (Some(port), _) => Fate::Sent { port, ports: (1 + ports.count()).try_into().unwrap_or(u16::MAX) },
            (None, Some(&(_, reason))) => Fate::Dropped(reason),
            (None, None) => Fate::Taken,
        }
    }
}

impl Watcher for Sampler {
    fn wants(&self, _: PortId, _: Moment) -> bool {
        false
    }

    fn see(&mut self, _: &Sight<'_>) {}

    fn picks(&self) -> bool {
        true
    }

    fn passes_over(&mut self, port: PortId, frames: usize) -> bool {
        let Some(countdown) = self.countdown(port) else { return true };
        match u32::try_from(frames) {
            Ok(frames) if frames < countdown.left => {
                countdown.left -= frames;
                true
            }
            _ => false,
        }
    }

    fn pick(&mut self, port: PortId, frame: &Frame, _: Time) -> bool {
        let Some(countdown) = self.countdown(port) else { return false };
        countdown.left -= 1;
        if countdown.left > 0 {
            return false;
        }
        let (pool, missed) = (countdown.pool, countdown.missed);
        let mut sample = Sample::new(port, frame.layer, frame.bytes(), self.keep);
        sample.vlan = self.vlan(port, frame.bytes());
        sample.length = frame.len() as u32;
        sample.packets = packets(frame);
        (sample.pool, sample.missed) = (pool, missed);
        self.picked = Some(sample);
        true
    }

    fn followed(&mut self, followed: &Followed<'_>) {
        let Some(mut sample) = self.picked.take() else { return };
        sample.fate = self.fate(followed);
        let countdown = &mut self.countdowns[sample.port.index()];
        match self.to.try_send(sample) {
            Ok(()) => (countdown.pool, countdown.missed) = (0, 0),
            Err(_) => countdown.missed += 1,
        }
    }
}

/// The packets that a frame is on the wire. What it claims is not checked yet; one that lies is a packet, and dropped.
fn packets(frame: &Frame) -> u32 {
    let mut offload = frame.offload;
    match offload.check(frame.layer, frame.bytes()) {
        Ok(()) if offload.gso != Gso::None => {
            let payload = frame.len().saturating_sub(usize::from(offload.header_len));
            payload.div_ceil(usize::from(offload.gso_size.max(1))).max(1) as u32
        }
        _ => 1,
    }
}
