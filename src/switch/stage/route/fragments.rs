//! Packets that come in parts, and packets that have to leave in parts.

use std::time::Duration;

use super::{Arrived, Fate, Walk};
use crate::packet::icmp_error::Trouble;
use crate::packet::{DropReason, Gso, InterfaceId, Offload, Packet, fragment, segment};
use crate::switch::counting::PortCounters;
use crate::switch::walked::Stage;
use crate::table::reassembly::{Expired, Origin, Outcome, Thrown};
use crate::wire::address::Address;

/// How soon after a part of a packet came it is looked whether the rest is missing for too long.
const LOOK: Duration = Duration::from_secs(1);

impl Walk<'_> {
    /// Keeps a part of a packet until the others are there; the whole then goes on in its place.
    pub(super) fn reassemble(&mut self, arrived: &Arrived, packet: &Packet) -> Result<Fate, DropReason> {
        let Some(whole) = self.batch.add() else { return Err(DropReason::NoBuffer) };
        let (frame, to) = self.batch.pair(arrived.frame as usize, whole);
        let mut thrown = Vec::new();
        let origin = Origin { router: self.id, interface: arrived.interface, port: arrived.port };
        let outcome = self.routing.reassembly.take(frame, packet, origin, self.now, to, &mut thrown);
        throw(self.counters, &thrown);
        self.say(Stage::Fragment, |_| match &outcome {
            Outcome::Whole(_) => "the last part that was missing: the packet is put together".to_owned(),
            Outcome::Refused(reason) => reason.meaning().to_owned(),
            _ => "a part: it is kept until this worker has the others".to_owned(),
        });
        match outcome {
            Outcome::Whole(how) => {
                // This part is taken, as the others were; the whole is a frame of its own.
                let counters = self.of(arrived);
                counters.replied += 1;
                counters.copies += 1;
                let arrived = Arrived { frame: whole as u32, whole: Some(how), ..*arrived };
                let packet = Packet::of(&self.batch.frames()[whole])?;
                self.decide(&arrived, packet)
            }
            kept_or_not => {
                self.batch.truncate(whole);
                self.routing.wake_at(Some(self.now + LOOK));
                match kept_or_not {
                    Outcome::Refused(reason) => Err(reason),
                    _ => Ok(Fate::Taken),
                }
            }
        }
    }

    /// Tells who sent a packet whose parts did not come in time.
    pub(in crate::switch) fn tell_of_missing_parts(&mut self, expired: Expired) {
        let Expired { origin: Origin { router, interface, port }, bytes, layer } = expired;
        let Some(index) = self.batch.add() else { return };
        let frame = &mut self.batch.frames_mut()[index];
        frame.fill(&bytes, Offload::NONE);
        frame.layer = layer;
        let Ok(packet) = Packet::of(frame) else { return };
        let frame = index as u32;
        let arrived = Arrived { frame, port, router, interface, priority: 0, whole: None, shared: false };
        self.report(&arrived, &packet, Trouble::ReassemblyTime);
    }

    /// Sends a packet, which is otherwise ready, in parts that fit.
    pub(super) fn cut(
        &mut self,
        arrived: &Arrived,
        output: InterfaceId,
        next: Address,
    ) -> Result<Fate, DropReason> {
        let router = self.router;
        let Some(interface) = router.interface(output) else { return Err(DropReason::NoRoute) };
        let index = arrived.frame as usize;
        let mut segments = Vec::new();
        match self.batch.frames()[index].offload.gso {
            Gso::None => segments.push(arrived.frame),
            _ => segment::segment(self.batch, index, &mut segments)?,
        }
        let mut parts = Vec::new();
        for index in segments {
            let packet = Packet::of(&self.batch.frames()[index as usize])?;
            let (index, mtu) = (index as usize, interface.mtu as usize);
            match &arrived.whole {
                None => fragment::fragment(self.batch, index, &packet, mtu, &mut parts)?,
                Some(whole) => {
                    let mtu = mtu.min(whole.largest as usize);
                    fragment::refragment(self.batch, index, &packet, mtu, whole.identification, &mut parts)?;
                }
            }
        }
        self.of(arrived).copies += parts.len() as u64 - 1;
        self.say(Stage::Fragment, |_| format!("cut into {} parts", parts.len()));
        for part in parts {
            let part_packet = Packet::of(&self.batch.frames()[part as usize])?;
            match self.way(output, interface, next) {
                Some(onward) => self.leave(part, arrived.port, arrived.priority, &part_packet, &onward),
                None => match self.ask(part, arrived.port, &part_packet, output, next) {
                    Ok(Fate::Gone) => {}
                    Ok(Fate::Taken) => self.of(arrived).replied += 1,
                    Err(reason) => self.lose(arrived.port, part, reason),
                },
            }
        }
        Ok(Fate::Gone)
    }
}

/// Counts parts of packets that are given up.
pub(in crate::switch) fn throw(counters: &mut PortCounters, thrown: &[Thrown]) {
    for &Thrown { port, reason, frames } in thrown {
        let counters = counters.of(port);
        counters.copies += u64::from(frames);
        (0..frames).for_each(|_| counters.drop(reason));
    }
}
