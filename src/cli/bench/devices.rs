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
use super::trial::{Delay, Load, Loss, Rig, Trial};
use crate::control::api::{DropInfo, Request, StatsInfo};
use crate::sys::clock;
pub(super) use interface::Interface;
use site::Site;
use tester::Tester;

/// How long frames that are under way are waited for when none has come.
const QUIET: Duration = Duration::from_millis(50);
/// The same before any has come, on a machine that has other things to do.
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

/// What the switches have counted.
struct Counted {
    /// Frames that came in by the port that the tester sends to.
    arrived: u64,
    /// Drops by port and reason.
    drops: BTreeMap<(String, String), u64>,
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
        let drops = self.counted()?.map_or_else(BTreeMap::new, |counted| counted.drops);
        let losses =
            drops.into_iter().map(|((place, reason), frames)| format!("; {frames} at {place}: {reason}"));
        Err(format!("no frame passes in {} s{}", PATIENCE.as_secs(), losses.collect::<String>()).into())
    }

    /// What the switches have counted so far, where they are ours.
    fn counted(&self) -> Result<Option<Counted>, Failure> {
        let Some(site) = &self.site else { return Ok(None) };
        let stats = site.ask::<StatsInfo>(&Request::Stats {})?;
        let arrived =
            stats[0].ports.iter().filter(|port| port.name == site::NEAR).map(|port| port.rx_frames).sum();
        let several = stats.len() > 1;
        let drops = site.ask::<Vec<DropInfo>>(&Request::Drops {})?;
        let drops = (1..).zip(drops).flat_map(|(number, drops)| {
            drops.into_iter().map(move |drop| {
                let place = if several { format!("{}, switch {number}", drop.port) } else { drop.port };
                ((place, drop.reason), drop.frames)
            })
        });
        Ok(Some(Counted { arrived, drops: drops.collect() }))
    }

    /// Where `lost` of `sent` frames went.
    fn losses(
        &self,
        before: Option<Counted>,
        overflow: u64,
        (sent, lost): (u64, u64),
    ) -> Result<Vec<Loss>, Failure> {
        let loss =
            |place: &str, reason: &str, frames| Loss { place: place.into(), reason: reason.into(), frames };
        let mut losses = vec![loss("behind the switch", "the tester's queue was full", overflow)];
        if let Some((before, after)) = before.zip(self.counted()?) {
            let unread = sent.saturating_sub(after.arrived - before.arrived);
            losses.push(loss("before the switch", "the device's queue was full", unread));
            losses.extend(after.drops.iter().map(|(key, frames)| {
                loss(&key.0, &key.1, frames - before.drops.get(key).copied().unwrap_or(0))
            }));
        }
        let known: u64 = losses.iter().map(|loss| loss.frames).sum();
        let elsewhere = match self.site {
            Some(_) => "a queue of the kernel was full",
            None => "another's switch, which was not asked",
        };
        losses.push(loss("elsewhere", elsewhere, lost.saturating_sub(known)));
        losses.retain(|loss| loss.frames > 0);
        Ok(losses)
    }
}

impl Rig for Devices<'_> {
    fn trial(&mut self, load: Load, duration: Duration) -> Result<Trial, Failure> {
        self.tester.begin();
        let (before, overflow) = (self.counted()?, self.tester.overflow());
        let (mut delay, mut sent, mut received) = (Delay::new(), 0, 0);
        // What arrives before the queues are full says nothing of the rate at which they are emptied.
        let (settled, mut early) = (duration / 4, None);
        let (cpu, began) = (switch_time()?, Instant::now());
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
        // Of a tester that was itself kept waiting there is too little left of the time to tell a rate by.
        let early = early.filter(|(since, _)| *since < duration / 2);
        let (since, before_that) = early.unwrap_or_default();
        let mut rate = (received - before_that) as f64 / (took - since).as_secs_f64().max(1e-9);
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
        // What another's switch spends, its own processes and the kernel know. Of a switch that did nothing the two clocks
        // may differ by a tick.
        let cpu = self.site.is_some().then_some(switch_time()?.saturating_sub(cpu));
        let overflow = self.tester.overflow() - overflow;
        let losses = self.losses(before, overflow, (sent, sent.saturating_sub(received)))?;
        Ok(Trial { sent, received, rate, cpu, delay, losses })
    }
}

/// Processor time of all threads but this one.
fn switch_time() -> Result<Duration, String> {
    let time = clock::of_thread().and_then(|own| Ok(clock::of_process()?.saturating_sub(own)));
    time.map_err(|error| format!("no processor time is told: {error}"))
}
