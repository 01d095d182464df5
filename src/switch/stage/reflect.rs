//! What comes in by an uplink, and what passes a passthrough bridge; [`mode`](crate::switch::mode) says what modes mean.

use super::bridge::Forwarding;
use super::ingress::Arrival;
use crate::packet::{DropReason, Location};
use crate::switch::Port;
use crate::switch::mode::{HOLD, Mode};
use crate::switch::walked::Stage;
use crate::table::fdb::{Kind, Station};

impl<'a> Forwarding<'a> {
    /// Forwards what has come in by an uplink, where frames that this bridge has sent may come back.
    #[inline(never)]
    pub(super) fn forward_from_uplink(&mut self, arrivals: &[Arrival], period: u32) {
        for arrival in arrivals {
            let decided = match self.home(arrival) {
                Some((home, sender)) => self.reflected(arrival, period, home, sender),
                None => self.decide(arrival, period),
            };
            if let Err(reason) = decided {
                self.lose(arrival, reason);
            }
        }
    }

    /// Behind which other port of this bridge the sender of a frame is; `None` when the frame is a new one.
    #[inline]
    fn home(&self, arrival: &Arrival) -> Option<(Location, &'a Port)> {
        if self.cache.get(&arrival.from).is_some_and(|hit| hit.at == arrival.at) {
            return None;
        }
        let entry = self.bridge.fdb.lookup(Station::new(arrival.source, arrival.vid))?;
        let port = self.member(entry.port).filter(|_| entry.port != self.port_id)?;
        let stays = match entry.kind {
            // One that was not heard there lately has moved.
            Kind::Learned => self.now.since(entry.seen) < self.bridge.refresh + HOLD,
            // Nothing tells when it was heard; outside, it may speak from anywhere.
            Kind::Static => port.apart.mode() != Mode::Uplink,
        };
        stays.then_some((entry.at(), port))
    }

    /// Gives a frame that has come back to those who have not had it yet. Nothing is learned from it, and no router sees it
    /// a second time.
    fn reflected(
        &mut self,
        arrival: &Arrival,
        period: u32,
        home: Location,
        sender: &Port,
    ) -> Result<(), DropReason> {
        let own = self.port;
        self.say(Stage::Reflect, |_| format!("has come back: its sender is behind {}", sender.name));
        if arrival.destination.is_group() {
            if arrival.destination.is_link_local() {
                return Err(DropReason::ReservedGroup);
            }
            self.group_storm(arrival)?;
            self.counters.groups += 1;
        } else if arrival.destination == self.bridge.mac {
            return Err(DropReason::Reflected);
        } else if let Some(at) = self.lookup(arrival, period) {
            let Some(port) = self.member(at.port) else { return Err(DropReason::PortMissing) };
            if at.port == home.port || port.apart.mode() == Mode::Uplink {
                return Err(DropReason::Reflected);
            }
            return match sender.apart.keeps_back(port.apart).or(own.apart.alike(port.apart)) {
                Some(reason) => Err(reason),
                None => self.deliver(arrival, at, port, home, sender),
            };
        } else {
            self.unknown_storm()?;
            self.counters.unknown += 1;
        }
        self.spread(arrival, DropReason::Reflected, |to, port| {
            to != home.port
                && sender.apart.keeps_back(port.apart).is_none()
                && own.apart.alike(port.apart).is_none()
        })
    }

    /// Has what came in by one of the two ports of a passthrough bridge leave by the other.
    #[inline(never)]
    pub(super) fn pass_through(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            let calm = if arrival.destination.is_group() { self.group_storm(arrival) } else { Ok(()) };
            if let Err(reason) = calm.and_then(|()| self.spread_to_all(arrival)) {
                self.lose(arrival, reason);
            }
        }
    }
}
