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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{DropReason, Layer, Offload, PeerId};
    use crate::switch::Topology;
    use crossbeam_channel::{Receiver, bounded};

    const SAMPLED: Place = Place { sampled: true, is_patch: false, untagged: 0 };

    fn sampler(places: &[Place], rate: u32, room: usize) -> (Sampler, Receiver<Sample>) {
        let (to, samples) = bounded(room);
        (Sampler::new(places.into(), Skips::new(rate, 0x5eed), 128, to), samples)
    }

    fn frame(tag: Option<u16>) -> Frame {
        let mut bytes = vec![2; 12];
        bytes.extend(tag.into_iter().flat_map(|tci| [0x81, 0, (tci >> 8) as u8, tci as u8]));
        bytes.extend([8, 0]);
        bytes.resize(64, 0xa5);
        Frame::from_bytes(&bytes)
    }

    /// Tells a sampler what became of a frame that came in by `port`.
    fn tell(sampler: &mut Sampler, port: PortId, sent: &[PortId], dropped: &[(PortId, DropReason)]) {
        let (topology, peer) = (&Topology::default(), PeerId::NONE);
        sampler.followed(&Followed { port, peer, topology, sent, dropped, steps: &[] });
    }

    /// Has `frames` frames come in by a port in batches of so many; how many were picked.
    fn pass(sampler: &mut Sampler, port: PortId, frames: usize, batch: usize) -> usize {
        let (frame, mut picked) = (frame(None), 0);
        for _ in 0..frames / batch {
            if sampler.passes_over(port, batch) {
                continue;
            }
            for _ in 0..batch {
                if sampler.pick(port, &frame, Time::ZERO) {
                    picked += 1;
                    tell(sampler, port, &[PortId(1)], &[]);
                }
            }
        }
        picked
    }

    #[test]
    fn one_frame_in_so_many_is_picked_whatever_the_batches() {
        for batch in [1, 3, 32] {
            let (mut sampler, samples) = sampler(&[SAMPLED, SAMPLED, Place::default()], 100, 10_000);
            let frames = 96 * 2000;
            let picked = pass(&mut sampler, PortId(0), frames, batch);
            assert!((1750..2100).contains(&picked), "{picked} in batches of {batch}");
            let told: Vec<_> = samples.try_iter().collect();
            let pool: u64 = told.iter().map(|sample| sample.pool).sum();
            assert_eq!(told.len(), picked);
            assert!(
                pool <= frames as u64 && pool > frames as u64 - 2000,
                "all frames are in the pool: {pool}"
            );
            assert_eq!(pass(&mut sampler, PortId(2), 1000, 10), 0, "that port is not sampled");
            assert_eq!(pass(&mut sampler, PortId(9), 1000, 10), 0, "that port is not known");
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_missed_and_stays_in_the_pool() {
        let (mut sampler, samples) = sampler(&[SAMPLED], 1, 2);
        assert_eq!(pass(&mut sampler, PortId(0), 7, 1), 7);
        assert_eq!(
            samples.try_iter().map(|sample| (sample.pool, sample.missed)).collect::<Vec<_>>(),
            [(1, 0); 2]
        );
        pass(&mut sampler, PortId(0), 1, 1);
        assert_eq!(
            samples.try_iter().map(|sample| (sample.pool, sample.missed)).collect::<Vec<_>>(),
            [(6, 5)]
        );
    }

    #[test]
    fn a_frame_has_the_vlan_of_its_tag_or_of_its_port() {
        for (untagged, tag, vlan) in [
            (0, None, 0),
            (0, Some(10), 0), // to its bridge that is payload
            (20, None, 20),
            (20, Some(10), 10),
            (20, Some(0xa000), 20), // a priority only
        ] {
            let (mut sampler, samples) = sampler(&[Place { untagged, ..SAMPLED }], 1, 1);
            assert!(sampler.pick(PortId(0), &frame(tag), Time::ZERO));
            tell(&mut sampler, PortId(0), &[], &[]);
            let sample = samples.try_recv().unwrap();
            assert_eq!((sample.vlan, sample.fate), (vlan, Fate::Taken), "{untagged} {tag:?}");
        }
    }

    #[test]
    fn what_became_of_a_frame_is_told_without_patches() {
        let patch = Place { is_patch: true, ..SAMPLED };
        let (mut sampler, samples) = sampler(&[SAMPLED, patch, SAMPLED, SAMPLED], 1, 1);
        let ports = |ports: &[u16]| ports.iter().map(|port| PortId(*port)).collect::<Vec<_>>();
        let lost = [(PortId(0), DropReason::Filtered), (PortId(3), DropReason::QueueFull)];
        let sent = |port: u16, ports| Fate::Sent { port: PortId(port), ports };
        for (left, dropped, fate) in [
            (&[2][..], &[][..], sent(2, 1)),
            (&[1, 3], &[], sent(3, 1)),
            (&[2, 2, 2], &[], sent(2, 1)),
            (&[2, 3, 3], &lost[1..], sent(2, 2)),
            (&[1], &lost, Fate::Dropped(DropReason::Filtered)),
            (&[], &[], Fate::Taken),
        ] {
            assert!(sampler.pick(PortId(0), &frame(None), Time::ZERO));
            tell(&mut sampler, PortId(0), &ports(left), dropped);
            assert_eq!(samples.try_recv().unwrap().fate, fate, "{left:?} {dropped:?}");
        }
    }

    #[test]
    fn a_superframe_is_as_many_packets_as_it_will_be_cut_into() {
        let mut bytes = vec![2; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        bytes.resize(54 + 4000, 0xa5);
        let gso = Offload {
            needs_csum: true,
            gso: Gso::TcpV4,
            gso_size: 1000,
            csum_start: 34,
            csum_offset: 16,
            ..Offload::NONE
        };
        for (offload, count) in [
            (gso, 4),
            (Offload { gso_size: 999, ..gso }, 5),
            (Offload { gso_size: 0, ..gso }, 1),
            (Offload { gso: Gso::Unknown, ..gso }, 1),
            (Offload::NONE, 1),
        ] {
            let mut frame = Frame::from_bytes(&bytes);
            frame.offload = offload;
            assert_eq!((packets(&frame), frame.layer), (count, Layer::Ethernet), "{offload:?}");
        }
    }
}
