//! Who talks most: conversations, counted from what comes in.
//!
//! Nothing is counted until somebody asks, and until nobody has asked for [`LEASE`]. In each second, a worker looks at its
//! first [`EXACT`] frames, and of the others at about one of [`SAMPLE`], which stands for all of them: a slow conversation
//! is seen as it is, and a fast one costs the switch nothing. A table that is full forgets its smaller half, so that a flood
//! of small conversations does not push out those that matter.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::api::TalkerInfo;
use super::config::protocol_text;
use super::shape::Live;
use super::watching::{Watch, Watches};
use crate::packet::{Frame, Layer, PortId};
use crate::switch::watch::{Moment, Sight, Watcher};
use crate::time::Time;
use crate::wire::ethernet::Mac;
use crate::worker::{self, Skips};

/// Frames of each second that are all looked at.
const EXACT: u32 = 1000;
/// Of the others, one of so many.
const SAMPLE: u32 = 64;
/// What rates are told of.
const WINDOW: Duration = Duration::from_secs(1);
/// How long counting goes on after somebody has asked.
const LEASE: Duration = Duration::from_secs(10);
/// Conversations that a worker keeps count of.
const MAX_CONVERSATIONS: usize = 1024;
/// Conversations that are told of, the largest first.
const MAX_TOLD: usize = 256;

/// Counts conversations while somebody wants to know.
#[derive(Default)]
pub(super) struct Talkers {
    counting: Option<Counting>,
}

struct Counting {
    _watch: Watch,
    /// When it ends, in nanoseconds; see [`Time`].
    until: Arc<AtomicU64>,
    /// One of each worker.
    tables: Vec<Arc<Mutex<Table>>>,
}

impl Talkers {
    /// The conversations of the last whole second, the largest first; at first, none. Has them counted from now on.
    ///
    /// # Errors
    /// When too many watch the switch already.
    pub(super) fn ask(
        &mut self,
        watches: &mut Watches,
        workers: &[worker::Handle],
        live: &Live,
        now: Time,
    ) -> Result<Vec<TalkerInfo>, String> {
        let lease = (now + LEASE).nanos();
        let counting = match self.counting.take() {
            Some(counting) if counting.until.fetch_max(lease, Ordering::Relaxed) > now.nanos() => counting,
            _ => Counting::start(watches, workers, lease)?,
        };
        let talkers = counting.told(live, now);
        self.counting = Some(counting);
        Ok(talkers)
    }
}

impl Counting {
    fn start(watches: &mut Watches, workers: &[worker::Handle], lease: u64) -> Result<Counting, String> {
        let until = Arc::new(AtomicU64::new(lease));
        let tables: Vec<_> = workers.iter().map(|_| Arc::<Mutex<Table>>::default()).collect();
        let watch = watches.start(workers, |worker| {
            Box::new(Counter::new(Arc::clone(&tables[worker]), Arc::clone(&until)))
        })?;
        Ok(Counting { _watch: watch, until, tables })
    }

    fn told(&self, live: &Live, now: Time) -> Vec<TalkerInfo> {
        let mut sum: BTreeMap<Conversation, Rate> = BTreeMap::new();
        for table in &self.tables {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            for (&conversation, count) in table.whole(now) {
                let rate = sum.entry(conversation).or_default();
                rate.frames += count.frames as f64 / table.lasted.as_secs_f64();
                rate.bytes += count.bytes as f64 / table.lasted.as_secs_f64();
            }
        }
        let mut all: Vec<_> = sum.into_iter().collect();
        all.sort_by(|(_, a), (_, b)| b.bytes.total_cmp(&a.bytes));
        all.truncate(MAX_TOLD);
        all.into_iter().filter_map(|(conversation, rate)| conversation.told(live, rate)).collect()
    }
}

/// Frames of one port from one station, or address and port number, to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Conversation {
    port: PortId,
    /// From whom and to whom; on ports that carry IP packets, nobody.
    stations: Option<(Mac, Mac)>,
    ends: Option<(IpAddr, IpAddr)>,
    protocol: Option<u8>,
    numbers: Option<(u16, u16)>,
}

impl Conversation {
    /// Whose a frame is. What of it is not at hand is left out.
    fn of(port: PortId, frame: &Frame) -> Conversation {
        let bytes = frame.bytes();
        let parsed = match frame.layer {
            Layer::Ethernet => LaxSlicedPacket::from_ethernet(bytes).ok(),
            Layer::Ip => LaxSlicedPacket::from_ip(bytes).ok(),
        };
        let stations = match (frame.layer, bytes.first_chunk()) {
            (Layer::Ethernet, Some(&[a, b, c, d, e, f, g, h, i, j, k, l])) => {
                Some((Mac::new([g, h, i, j, k, l]), Mac::new([a, b, c, d, e, f])))
            }
            _ => None,
        };
        let mut whose = Conversation { port, stations, ends: None, protocol: None, numbers: None };
        let Some(parsed) = parsed else { return whose };
        match &parsed.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                whose.ends = Some((header.source_addr().into(), header.destination_addr().into()));
                whose.protocol = Some(ip.payload_ip_number().0);
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                whose.ends = Some((header.source_addr().into(), header.destination_addr().into()));
                whose.protocol = Some(ip.payload().ip_number.0);
            }
            _ => {}
        }
        whose.numbers = match &parsed.transport {
            Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
            Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
            _ => None,
        };
        whose
    }

    /// `None` when its port is gone.
    fn told(self, live: &Live, rate: Rate) -> Option<TalkerInfo> {
        Some(TalkerInfo {
            port: live.port_name(self.port)?.to_owned(),
            source_mac: self.stations.map(|(source, _)| source),
            destination_mac: self.stations.map(|(_, destination)| destination),
            source: self.ends.map(|(source, _)| source),
            destination: self.ends.map(|(_, destination)| destination),
            protocol: self.protocol.map(protocol_text),
            source_port: self.numbers.map(|(source, _)| source),
            destination_port: self.numbers.map(|(_, destination)| destination),
            frames_per_sec: rate.frames,
            bits_per_sec: rate.bytes * 8.0,
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Rate {
    frames: f64,
    bytes: f64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    frames: u64,
    bytes: u64,
}

/// The conversations of one worker: of the second at hand, and of the last one.
#[derive(Default)]
struct Table {
    current: HashMap<Conversation, Count>,
    last: HashMap<Conversation, Count>,
    /// How long the last one was, and when it ended.
    lasted: Duration,
    ended: Time,
}

impl Table {
    fn turn(&mut self, began: Time, now: Time) {
        (self.lasted, self.ended) = (now.since(began), now);
        self.last = std::mem::take(&mut self.current);
    }

    fn count(&mut self, whose: Conversation, frames: u64, bytes: u64) {
        if self.current.len() == MAX_CONVERSATIONS && !self.current.contains_key(&whose) {
            self.forget_half();
        }
        let count = self.current.entry(whose).or_default();
        count.frames += frames;
        count.bytes += frames * bytes;
    }

    fn forget_half(&mut self) {
        let mut sizes: Vec<_> = self.current.values().map(|count| count.bytes).collect();
        let (_, &mut median, _) = sizes.select_nth_unstable(MAX_CONVERSATIONS / 2);
        let mut room = MAX_CONVERSATIONS / 2;
        self.current.retain(|_, count| {
            let stays = count.bytes > median || count.bytes == median && room > 0;
            room = room.saturating_sub(usize::from(stays));
            stays
        });
    }

    /// The last whole second, unless that was long ago.
    fn whole(&self, now: Time) -> impl Iterator<Item = (&Conversation, &Count)> {
        let fresh = now.since(self.ended) < 3 * WINDOW;
        self.last.iter().filter(move |_| fresh)
    }
}

/// What counts the conversations of one worker.
struct Counter {
    table: Arc<Mutex<Table>>,
    until: Arc<AtomicU64>,
    /// Frames of this second that are still looked at one by one.
    left: u32,
    /// Frames until the next one that is looked at, after those.
    skip: u32,
    /// Draws how many those are, so that no rhythm of the frames hides some.
    skips: Skips,
    /// When this second began.
    window: Time,
    over: bool,
}

impl Counter {
    fn new(table: Arc<Mutex<Table>>, until: Arc<AtomicU64>) -> Counter {
        let mut skips = Skips::new(SAMPLE, RandomState::default().hash_one(0));
        let skip = skips.draw();
        Counter { table, until, left: EXACT, skip, skips, window: Time::ZERO, over: false }
    }
}

impl Watcher for Counter {
    fn wants(&self, _: PortId, _: Moment) -> bool {
        false
    }

    fn see(&mut self, _: &Sight<'_>) {}

    fn picks(&self) -> bool {
        true
    }

    fn passes_over(&mut self, _: PortId, frames: usize) -> bool {
        let passes = self.left == 0 && self.skip as usize > frames;
        if passes {
            self.skip -= frames as u32;
        }
        passes
    }

    /// Counts it; to be followed it needs not.
    fn pick(&mut self, port: PortId, frame: &Frame, now: Time) -> bool {
        let mut stands_for = 1;
        if self.left == 0 {
            self.skip -= 1;
            if self.skip > 0 {
                return false;
            }
            (self.skip, stands_for) = (self.skips.draw(), SAMPLE);
        } else {
            self.left -= 1;
        }
        // Whoever reads it will not take long; one frame less is counted meanwhile.
        let Ok(mut table) = self.table.try_lock() else { return false };
        if now.since(self.window) >= WINDOW {
            table.turn(self.window, now);
            (self.window, self.left) = (now, EXACT);
            self.over = now.nanos() > self.until.load(Ordering::Relaxed);
        }
        table.count(Conversation::of(port, frame), stands_for.into(), frame.len() as u64);
        false
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests;
