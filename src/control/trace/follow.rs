//! Real frames that are followed: picked by a filter, sampled, and told on a stream.
//!
//! Each worker has a follower of its own. All share how many they may still follow and at which rate, so that the switch
//! does the work of explaining for as few frames as were asked for. A client that reads too slowly misses some; nobody
//! waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::told;
use crate::control::api::FollowQuery;
use crate::control::config::Config;
use crate::control::shape::Live;
use crate::control::watching::{Source, Turn};
use crate::packet::expression::Expression;
use crate::packet::{Frame, Location, PortId};
use crate::switch::Topology;
use crate::switch::watch::{Followed, Moment, Sight, Watcher};
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;

/// Frames a second that are followed when nothing is said, and the most.
const DEFAULT_RATE: u32 = 10;
const MAX_RATE: u32 = 100;
/// Walks that wait for a slow client.
const MAX_WAITING: usize = 64;
/// Bytes of a frame that are told.
const SHOWN: usize = 256;

/// Follows the frames of one worker.
struct Follower {
    port: Option<PortId>,
    filter: Option<Expression>,
    shared: Arc<Shared>,
    parts: Sender<Vec<u8>>,
    /// So long nobody has to ask again whether the rate allows another.
    rests_until: Time,
    /// The frame that was picked and is on its way: how long it is, and how it begins.
    picked: Option<(usize, Vec<u8>)>,
}

/// What all followers share.
struct Shared {
    rate: TokenBucket,
    /// From one frame to the next, at this rate.
    pause: Duration,
    /// Frames that may still be followed.
    left: AtomicU64,
}

/// What makes a follower for each worker.
pub(in crate::control) struct Following {
    /// Whose frames, if those of one port only.
    port: Option<(String, PortId)>,
    filter: Option<Expression>,
    shared: Arc<Shared>,
    parts: Sender<Vec<u8>>,
}

/// What makes followers, and where their walks come out, each as a line of JSON.
///
/// # Errors
/// One line: there is no such port, or the rate is none.
pub(in crate::control) fn follow(
    query: &FollowQuery,
    topology: &Topology,
) -> Result<(Following, Receiver<Vec<u8>>), String> {
    let port =
        query.port.clone().map(|name| super::port(topology, &name).map(|id| (name, id))).transpose()?;
    let rate = query.rate.unwrap_or(DEFAULT_RATE);
    if !(1..=MAX_RATE).contains(&rate) {
        return Err(format!("a rate of {rate} frames a second (expected 1 to {MAX_RATE})"));
    }
    let shared = Arc::new(Shared {
        rate: TokenBucket::with_burst(rate, rate),
        pause: Duration::from_secs(1) / rate,
        left: AtomicU64::new(query.count.unwrap_or(u64::MAX)),
    });
    let (parts, walks) = crossbeam_channel::bounded(MAX_WAITING);
    Ok((Following { port, filter: query.filter.clone(), shared, parts }, walks))
}

impl Source for Following {
    fn watcher(&self) -> Box<dyn Watcher> {
        Box::new(Follower {
            port: self.port.as_ref().map(|(_, id)| *id),
            filter: self.filter.clone(),
            shared: Arc::clone(&self.shared),
            parts: self.parts.clone(),
            rests_until: Time::ZERO,
            picked: None,
        })
    }

    /// Walks are told in the words of the topology that they are walked in.
    fn turn(&mut self, _: &Config, live: &Live) -> Turn {
        let is_there =
            |(name, id): &(String, PortId)| live.ports.get(name).is_some_and(|port| port.id == *id);
        if self.port.as_ref().is_none_or(is_there) { Turn::Same } else { Turn::Over }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Whether one more may be followed, which then counts.
    fn take(&self, now: Time) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.rate.take(now) && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl Watcher for Follower {
    fn wants(&self, _: PortId, _: Moment) -> bool {
        false
    }

    fn see(&mut self, _: &Sight<'_>) {}

    fn picks(&self) -> bool {
        !self.shared.is_over()
    }

    fn passes_over(&mut self, port: PortId, _: usize) -> bool {
        self.port.is_some_and(|own| own != port)
    }

    fn pick(&mut self, _: PortId, frame: &Frame, now: Time) -> bool {
        if now < self.rests_until || self.filter.as_ref().is_some_and(|filter| !filter.matches(frame)) {
            return false;
        }
        if !self.shared.take(now) {
            self.rests_until = now + self.shared.pause;
            return false;
        }
        let begin = &frame.bytes()[..frame.bytes().len().min(SHOWN)];
        self.picked = Some((frame.len(), begin.to_vec()));
        true
    }

    fn asks_why(&self) -> bool {
        true
    }

    fn followed(&mut self, followed: &Followed<'_>) {
        let Followed { port, peer, topology, steps, .. } = *followed;
        let Some((len, bytes)) = self.picked.take() else { return };
        let walk = told::real(topology, Location { port, peer }, len, &bytes, steps);
        if let Ok(mut line) = serde_json::to_vec(&walk) {
            line.push(b'\n');
            // Who does not read fast enough misses this one.
            let _ = self.parts.try_send(line);
        }
    }

    fn is_over(&self) -> bool {
        self.picked.is_none() && self.shared.is_over()
    }
}
