//! The whole switch with real devices: workers, ports and tunnels as `tapyard run` has them, in network namespaces of this
//! process, and a tester at both ends.
//!
//! The tester is one thread that sends and receives in turn, so that it takes one processor and leaves the others to the
//! switch. Its sockets are the interfaces' other ends: what it sends waits in the device's queue until the switch reads it.

mod interface;
mod site;
mod tester;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::frames::Size;
use super::path::Path;
use super::trial::{Counted, Delay, Load, Loss, Rig, Trial};
use crate::control::api::{DropInfo, Request, StatsInfo};
use crate::sys::clock;
pub(super) use interface::Interface;
use site::Site;
use tester::Tester;

/// How long frames that are under way are waited for when none has come.
const QUIET: Duration = Duration::from_millis(50);
/// The same where none has come yet, on a machine that has other things to do.
const FIRST: Duration = Duration::from_secs(1);
/// How long the first frame of all may take: bridges, routers and tunnels are to find out what they must know.
const PATIENCE: Duration = Duration::from_secs(5);

/// A tester, and what it tests.
pub(super) struct Devices<'a> {
    tester: Tester,
    /// Where the switch is ours.
    site: Option<Site>,
    interrupt: &'a Interrupt,
}

/// What the switches have counted so far.
#[derive(PartialEq)]
struct Counters {
    ends: Counted,
    /// Drops by port and reason.
    drops: BTreeMap<(String, String), u64>,
}

/// What the tester has seen of a trial.
struct Seen {
    sent: u64,
    received: u64,
    /// Frames a second that arrived while more were offered.
    rate: f64,
    delay: Delay,
}

impl<'a> Devices<'a> {
    /// Sets everything up, and waits until frames pass.
    ///
    /// # Errors
    /// Something cannot be made, or no frame passes; or a signal came.
    pub(super) fn new(
        path: Path,
        size: Size,
        workers: usize,
        interrupt: &'a Interrupt,
    ) -> Result<Devices<'a>, Failure> {
        let site = Site::start(path, workers)?;
        let [near, far] = site.guests();
        let tester = Tester::open([near, far].map(site::end), site.stations(), size)?;
        Devices { tester, site: Some(site), interrupt }.meet()
    }

    /// Takes whatever is between two interfaces, which are where its frames come in and where they go out.
    ///
    /// # Errors
    /// There are no such interfaces, or no frame passes; or a signal came.
    pub(super) fn between(
        [near, far]: [&Interface; 2],
        size: Size,
        interrupt: &'a Interrupt,
    ) -> Result<Devices<'a>, Failure> {
        let tester = Tester::open([near.options(), far.options()], site::strangers(), size)?;
        Devices { tester, site: None, interrupt }.meet()
    }

    /// Sends a frame now and then until one arrives.
    fn meet(mut self) -> Result<Devices<'a>, Failure> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.interrupt.check()?;
            self.tester.greet();
            self.tester.send(1, Duration::ZERO);
            let sent = Instant::now();
            while sent.elapsed() < QUIET {
                if self.tester.receive(Duration::ZERO, &mut Delay::new()) > 0 {
                    return Ok(self);
                }
            }
        }
        let drops = self.counters()?.map_or_else(BTreeMap::new, |counters| counters.drops);
        let losses =
            drops.into_iter().map(|((place, reason), frames)| format!("; {frames} at {place}: {reason}"));
        Err(format!("no frame passes in {} s{}", PATIENCE.as_secs(), losses.collect::<String>()).into())
    }

    /// What the switches have counted so far, where they are ours.
    fn counters(&self) -> Result<Option<Counters>, Failure> {
        let Some(site) = &self.site else { return Ok(None) };
        let stats = site.ask::<StatsInfo>(&Request::Stats {})?;
        let port = |name: &str| stats.iter().flat_map(|stats| &stats.ports).find(|port| port.name == name);
        let ends = Counted {
            rx_frames: port(site::NEAR).map_or(0, |port| port.rx_frames),
            tx_frames: port(site::FAR).map_or(0, |port| port.tx_frames),
            conserved: stats.iter().all(|stats| stats.conserved),
        };
        let several = stats.len() > 1;
        let drops = site.ask::<Vec<DropInfo>>(&Request::Drops {})?;
        let drops = (1..).zip(drops).flat_map(|(number, drops)| {
            drops.into_iter().map(move |drop| {
                let place = if several { format!("{}, switch {number}", drop.port) } else { drop.port };
                ((place, drop.reason), drop.frames)
            })
        });
        Ok(Some(Counters { ends, drops: drops.collect() }))
    }

    /// Waits until nothing is under way: nothing arrives, and the switches, which answer between two batches, have counted
    /// nothing since they were last asked. Gives what they have counted.
    fn settle(&mut self, mut arrives: impl FnMut(&mut Tester) -> bool) -> Result<Option<Counters>, Failure> {
        let mut last = self.counters()?;
        loop {
            self.interrupt.check()?;
            let more = arrives(&mut self.tester);
            let counters = self.counters()?;
            if !more && counters == last {
                return Ok(counters);
            }
            last = counters;
        }
    }

    /// Sends one frame more after all others: only with the next frame does a socket tell that it had no room for some.
    fn follow_up(&mut self) -> Result<(), Failure> {
        self.tester.begin();
        self.tester.send(1, Duration::ZERO);
        let sent = Instant::now();
        while sent.elapsed() < FIRST && self.tester.receive(Duration::ZERO, &mut Delay::new()) == 0 {
            self.interrupt.check()?;
        }
        Ok(())
    }

    /// Offers frames for `duration`, and waits for those that are under way until none has come for a while.
    fn offer(&mut self, load: Load, began: Instant, duration: Duration) -> Result<Seen, Failure> {
        let (mut delay, mut sent, mut received) = (Delay::new(), 0, 0);
        // What arrives before the queues are full says nothing of the rate at which they are emptied.
        let (settled, mut early) = (duration / 4, None);
        let took = loop {
            self.interrupt.check()?;
            let elapsed = began.elapsed();
            if elapsed >= settled && early.is_none() {
                early = Some((elapsed, received));
            }
            if elapsed >= duration {
                break elapsed;
            }
            let due = load.due(elapsed) - sent;
            sent += self.tester.send(due, elapsed);
            received += self.tester.receive(began.elapsed(), &mut delay);
        };
        // A tester that was itself kept waiting has too little left of the time to tell a rate by: then all of it counts.
        let (since, before_that) = early.filter(|(since, _)| *since < duration / 2).unwrap_or_default();
        let mut rate = (received - before_that) as f64 / (took - since).as_secs_f64();
        let mut last = Instant::now();
        while received < sent && last.elapsed() < if received > 0 { QUIET } else { FIRST } {
            self.interrupt.check()?;
            let more = self.tester.receive(began.elapsed(), &mut delay);
            if more > 0 {
                received += more;
                last = Instant::now();
            }
        }
        if rate == 0.0 {
            // The machine had no time for the switch while frames were offered: it took until now.
            rate = received as f64 / (last - began).as_secs_f64();
        }
        Ok(Seen { sent, received, rate, delay })
    }
}

impl Rig for Devices<'_> {
    fn trial(&mut self, load: Load, duration: Duration) -> Result<Trial, Failure> {
        let before = self.settle(Tester::drain)?;
        let overflow = self.tester.overflow();
        self.tester.begin();
        let (cpu, began) = (switch_time()?, Instant::now());
        let Seen { sent, mut received, rate, mut delay } = self.offer(load, began, duration)?;
        // What another's switch spends, its own processes and the kernel know. Of a switch that did nothing the two clocks
        // may differ by a tick.
        let cpu = self.site.is_some().then_some(switch_time()?.saturating_sub(cpu));
        let after = self.settle(|tester| {
            let more = tester.receive(began.elapsed(), &mut delay);
            received += more;
            more > 0
        })?;
        self.follow_up()?;
        let overflow = self.tester.overflow() - overflow;
        let mut losses = vec![loss("behind the switch", "the tester's queue was full", overflow)];
        let ends = before.zip(after);
        let counted = ends.as_ref().map(|(before, after)| after.ends.since(before.ends));
        if let Some((before, after)) = ends {
            losses.extend(after.drops.into_iter().map(|(key, frames)| {
                let earlier = before.drops.get(&key).copied().unwrap_or(0);
                loss(&key.0, &key.1, frames - earlier)
            }));
        }
        if let Some(counted) = counted {
            let unread = sent.saturating_sub(counted.rx_frames);
            losses.push(loss("before the switch", "the device's queue was full", unread));
        }
        let elsewhere = match counted {
            Some(_) => "a queue of the kernel was full",
            None => "another's switch, which was not asked",
        };
        let known: u64 = losses.iter().map(|loss| loss.frames).sum();
        let unknown = sent.saturating_sub(received).saturating_sub(known);
        losses.push(loss("elsewhere", elsewhere, unknown));
        losses.retain(|loss| loss.frames > 0);
        Ok(Trial { sent, received, rate, cpu, delay, losses, counted })
    }
}

fn loss(place: &str, reason: &str, frames: u64) -> Loss {
    Loss { place: place.into(), reason: reason.into(), frames }
}

/// Processor time of all threads but this one.
fn switch_time() -> Result<Duration, String> {
    let time = clock::of_thread().and_then(|own| Ok(clock::of_process()?.saturating_sub(own)));
    time.map_err(|error| format!("no processor time is told: {error}"))
}
