//! Flows: what samples of the same key add up to, until it is told.
//!
//! The table is bounded. Each flow has a deadline, when it is told at the latest: as long after its first sample as the
//! active timeout, or as long after its last one as the inactive timeout, whichever is sooner. `order` has the flows by
//! their deadlines, so that what is due is found without a search; and when the table is full, it is the flow that would
//! have ended first that makes room.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Clock;
use super::key::{Key, Seen};
use crate::wire::tcp;

/// How long after a FIN or a reset the last packets of a connection still come.
const LINGER: Duration = Duration::from_secs(1);

/// When a flow is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// So long after its first sample.
    pub(super) active: Duration,
    /// So long after its last sample.
    pub(super) inactive: Duration,
}

/// What the samples of a key add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) key: Key,
    /// The date of its first sample, since 1970.
    pub(super) first: Duration,
    /// The date of its last sample, since 1970.
    pub(super) last: Duration,
    /// Bytes of the samples, not scaled.
    pub(super) octets: u64,
    /// Packets of the samples, not scaled.
    pub(super) packets: u64,
    /// All flags of TCP that were seen.
    pub(super) flags: u8,
    /// When its first sample came, by the clock that runs evenly.
    began: Duration,
    order: Order,
}

/// Its place among the flows: its deadline, and a number that makes it unique.
type Order = (Duration, u64);

/// Why a flow is told (`flowEndReason`, RFC 5102 section 5.11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// Nothing came any more.
    Idle = 1,
    /// It has gone on for so long, and goes on.
    Active = 2,
    /// TCP said that it is over.
    Detected = 3,
    /// The export ends.
    Forced = 4,
    /// Another flow needed its place.
    NoRoom = 5,
}

/// The flows that were not told yet.
pub(super) struct Flows {
    timeouts: Timeouts,
    limit: usize,
    flows: HashMap<Key, Flow>,
    order: BTreeMap<Order, Key>,
    number: u64,
}

impl Flows {
    /// No flows; never more than `limit`, which is at least 1.
    pub(super) fn new(timeouts: Timeouts, limit: usize) -> Flows {
        Flows { timeouts, limit, flows: HashMap::new(), order: BTreeMap::new(), number: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Adds a sample. Gives the flow that had to make room for it.
    pub(super) fn add(&mut self, seen: &Seen, now: Clock) -> Option<(Flow, End)> {
        let made_room = match self.flows.contains_key(&seen.key) {
            false if self.flows.len() >= self.limit => self.pop().map(|flow| (flow, End::NoRoom)),
            _ => None,
        };
        self.number += 1;
        let flow = self.flows.entry(seen.key).or_insert_with(|| Flow {
            key: seen.key,
            first: now.date,
            last: now.date,
            octets: 0,
            packets: 0,
            flags: 0,
            began: now.up,
            order: (Duration::MAX, self.number),
        });
        flow.last = flow.last.max(now.date);
        flow.octets += seen.octets;
        flow.packets += seen.packets;
        flow.flags |= seen.flags;
        let idle = if ended(flow) { LINGER } else { self.timeouts.inactive };
        self.order.remove(&flow.order);
        flow.order.0 = (flow.began + self.timeouts.active).min(now.up + idle);
        self.order.insert(flow.order, flow.key);
        made_room
    }

    /// Takes a flow that is due.
    pub(super) fn take_due(&mut self, now: Clock) -> Option<(Flow, End)> {
        self.due().filter(|due| *due <= now.up)?;
        let flow = self.pop()?;
        let end = match flow {
            _ if ended(&flow) => End::Detected,
            _ if flow.order.0 >= flow.began + self.timeouts.active => End::Active,
            _ => End::Idle,
        };
        Some((flow, end))
    }

    /// Takes any flow, as the export ends.
    pub(super) fn take_any(&mut self) -> Option<(Flow, End)> {
        self.pop().map(|flow| (flow, End::Forced))
    }

    /// When the next flow is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.order.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn pop(&mut self) -> Option<Flow> {
        let (_, key) = self.order.pop_first()?;
        self.flows.remove(&key)
    }
}

/// Whether TCP has said that a flow is over.
fn ended(flow: &Flow) -> bool {
    flow.flags & (tcp::FIN | tcp::RST) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { active: Duration::from_secs(60), inactive: Duration::from_secs(15) };

    fn at(secs: u64) -> Clock {
        Clock { up: Duration::from_secs(secs), date: Duration::from_secs(1_000_000 + secs) }
    }

    fn seen(number: u16, flags: u8) -> Seen {
        Seen { key: Key { source_port: number, ..Key::default() }, octets: 100, packets: 2, flags }
    }

    /// What is due, by its number.
    fn due(flows: &mut Flows, now: u64) -> Vec<(u16, u64, End)> {
        std::iter::from_fn(|| flows.take_due(at(now)))
            .map(|(flow, end)| (flow.key.source_port, flow.packets, end))
            .collect()
    }

    #[test]
    fn a_flow_ends_when_nothing_comes_any_more() {
        let mut flows = Flows::new(TIMEOUTS, 10);
        for now in [0, 10, 20] {
            assert_eq!(flows.add(&seen(1, tcp::ACK), at(now)), None);
        }
        flows.add(&seen(2, tcp::SYN), at(21));
        assert_eq!((flows.due(), due(&mut flows, 34)), (Some(Duration::from_secs(35)), vec![]));
        let (flow, end) = flows.take_due(at(35)).unwrap();
        assert_eq!((end, flow.octets, flow.packets, flow.flags), (End::Idle, 300, 6, tcp::ACK));
        assert_eq!((flow.first.as_secs(), flow.last.as_secs()), (1_000_000, 1_000_020));
        assert_eq!((flows.len(), due(&mut flows, 36)), (1, vec![(2, 2, End::Idle)]));
        assert_eq!((flows.len(), flows.due()), (0, None));
    }

    #[test]
    fn a_flow_that_goes_on_is_told_and_begins_anew() {
        let mut flows = Flows::new(TIMEOUTS, 10);
        let mut told = Vec::new();
        for now in 0..130 {
            told.extend(due(&mut flows, now));
            flows.add(&seen(1, 0), at(now));
        }
        assert_eq!(told, [(1, 120, End::Active), (1, 120, End::Active)]);
    }

    #[test]
    fn tcp_says_that_a_flow_is_over_and_its_last_packets_still_count() {
        let mut flows = Flows::new(TIMEOUTS, 10);
        flows.add(&seen(1, tcp::ACK), at(0));
        flows.add(&seen(1, tcp::FIN | tcp::ACK), at(1));
        flows.add(&seen(1, tcp::ACK), at(1));
        assert_eq!(due(&mut flows, 1), []);
        assert_eq!(due(&mut flows, 2), [(1, 6, End::Detected)]);
    }

    #[test]
    fn a_full_table_tells_the_flow_that_would_have_ended_first() {
        let mut flows = Flows::new(TIMEOUTS, 2);
        flows.add(&seen(1, 0), at(0));
        flows.add(&seen(2, 0), at(1));
        flows.add(&seen(1, 0), at(2));
        let (flow, end) = flows.add(&seen(3, 0), at(3)).unwrap();
        assert_eq!((flow.key.source_port, end, flows.len()), (2, End::NoRoom, 2));
        assert_eq!(flows.add(&seen(3, 0), at(4)), None, "it has its place");
        let left: Vec<_> =
            std::iter::from_fn(|| flows.take_any()).map(|(flow, end)| (flow.key.source_port, end)).collect();
        assert_eq!(left, [(1, End::Forced), (3, End::Forced)]);
        assert_eq!(flows.len(), 0);
    }
}
