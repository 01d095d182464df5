//! Telling collectors what passes: sFlow ([`sflow`]) and IPFIX ([`ipfix`], of the [`flows`] that samples are put together
//! to).
//!
//! Workers pick frames, one in so many, and send a [`Sample`] of each over a channel that is bounded. The exporter, a
//! thread for each `[export.NAME]`, makes datagrams of them. Nothing it does can hold a worker up: with the channel full
//! a sample is missed, which is counted, and told to the collector where the protocol can say so.
//!
//! The switch, which alone knows them, tells the exporter of its ports and their counters now and then.

mod flows;
mod ipfix;
mod key;
mod line;
mod sflow;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError, after, bounded, never, select};

use super::config::{ExportConfig, ExportProtocol};
use crate::packet::{Counters, Layer, PortId};
use crate::worker::Sample;
use line::Line;

/// Samples that wait for the exporter, at most: it takes milliseconds to make datagrams of so many.
const MAX_SAMPLES: usize = 1024;
/// Samples that are taken before the clock is looked at again.
const AT_ONCE: usize = 64;
/// Tellings of ports that wait, at most: each is the whole truth, so that one that is left out is not missed.
const MAX_TOLD: usize = 4;

/// An export that runs. Dropping it has it tell what it has not yet told, and ends it.
pub(super) struct Exporter {
    samples: Sender<Sample>,
    told: Option<Sender<Vec<Interface>>>,
    figures: Arc<Figures>,
    thread: Option<JoinHandle<()>>,
}

/// What an exporter has done since it began.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Samples that it took.
    pub(super) samples: AtomicU64,
    /// Samples that there was no room for.
    pub(super) missed: AtomicU64,
    /// Datagrams that were sent.
    pub(super) datagrams: AtomicU64,
    /// Their bytes.
    pub(super) bytes: AtomicU64,
    /// Datagrams that could not be sent.
    pub(super) errors: AtomicU64,
    /// Flows that are kept until they are told.
    pub(super) flows: AtomicU64,
    /// The collector cannot be reached.
    pub(super) lost: AtomicBool,
}

/// What an exporter is told of a port.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) port: PortId,
    pub(super) name: String,
    pub(super) layer: Layer,
    /// Frames can pass.
    pub(super) up: bool,
    /// What it has seen so far, where that is to be told.
    pub(super) counters: Option<Counters>,
}

/// The number that a port has for collectors, `ifIndex`: that of its slot, from 1 on. A port keeps it as long as it is
/// configured, and a restart with the same configuration gives the same numbers.
pub(super) fn interface_number(port: PortId) -> u32 {
    u32::from(port.0) + 1
}

/// The time, as it is told: what nobody can turn back, and what people go by.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Since the exporter began.
    up: Duration,
    /// Since 1970.
    date: Duration,
}

/// A protocol: what it makes of samples. It gives whole datagrams to `send`, and reads no clock.
trait Telling: Send {
    /// Takes a sample.
    fn sample(&mut self, sample: &Sample, now: Clock, send: &mut dyn FnMut(&[u8]));
    /// Takes all ports that there are.
    fn interfaces(&mut self, interfaces: &[Interface], now: Clock, send: &mut dyn FnMut(&[u8]));
    /// When it has something to do without either.
    fn due(&self) -> Option<Duration>;
    /// Does what is due.
    fn tick(&mut self, now: Clock, send: &mut dyn FnMut(&[u8]));
    /// Tells all that it has not told yet.
    fn finish(&mut self, now: Clock, send: &mut dyn FnMut(&[u8]));
    /// Is told that its datagrams come from a new socket, and from which address.
    fn opened(&mut self, from: IpAddr);
    /// Flows that it keeps until they are told.
    fn flows(&self) -> usize;
}

impl Exporter {
    /// Starts an export.
    ///
    /// # Errors
    /// There is no thread to be had. That the collector cannot be reached is none: it is tried again and again.
    pub(super) fn start(name: &str, config: &ExportConfig) -> io::Result<Exporter> {
        let (samples, taken) = bounded(MAX_SAMPLES);
        let (told, tellings) = bounded(MAX_TOLD);
        let figures = Arc::new(Figures::default());
        let work = Work {
            telling: telling(config),
            line: Line::new(name, config, Arc::clone(&figures)),
            figures: Arc::clone(&figures),
            began: Instant::now(),
        };
        let thread =
            thread::Builder::new().name("export".into()).spawn(move || work.run(taken, &tellings))?;
        Ok(Exporter { samples, told: Some(told), figures, thread: Some(thread) })
    }

    /// Where workers send their samples.
    pub(super) fn samples(&self) -> Sender<Sample> {
        self.samples.clone()
    }

    /// Tells it of all ports that there are.
    pub(super) fn tell(&self, interfaces: Vec<Interface>) {
        if let Some(told) = &self.told
            && let Err(TrySendError::Full(_)) = told.try_send(interfaces)
        {
            tracing::debug!("an exporter is behind with what it is told of ports");
        }
    }

    /// What it has done.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn telling(config: &ExportConfig) -> Box<dyn Telling> {
    match config.protocol {
        ExportProtocol::Sflow { agent, .. } => {
            Box::new(sflow::Agent::new(agent, config.domain, config.sample))
        }
        ExportProtocol::Ipfix { active, inactive, templates, flow_limit } => {
            let timeouts = flows::Timeouts { active, inactive };
            Box::new(ipfix::Process::new(config.domain, config.sample, timeouts, templates, flow_limit))
        }
    }
}

/// The exporter's thread.
struct Work {
    telling: Box<dyn Telling>,
    line: Line,
    figures: Arc<Figures>,
    began: Instant,
}

impl Work {
    fn run(mut self, mut samples: Receiver<Sample>, tellings: &Receiver<Vec<Interface>>) {
        loop {
            self.tick();
            let up = self.began.elapsed();
            let due = self.telling.due().map_or_else(never, |due| after(due.saturating_sub(up)));
            select! {
                recv(samples) -> sample => match sample {
                    Ok(sample) => self.take(sample, &samples),
                    Err(_) => samples = never(), // unreachable as long as the exporter's handle is there
                },
                recv(tellings) -> told => match told {
                    Ok(interfaces) => self.with(|telling, now, send| telling.interfaces(&interfaces, now, send)),
                    Err(_) => break,
                },
                recv(due) -> _ => {}
            }
        }
        for sample in samples.try_iter() {
            self.note(&sample);
        }
        self.with(|telling, now, send| telling.finish(now, send));
    }

    /// Takes a sample, and those that have come since.
    fn take(&mut self, sample: Sample, more: &Receiver<Sample>) {
        self.note(&sample);
        for sample in more.try_iter().take(AT_ONCE) {
            self.note(&sample);
        }
    }

    fn note(&mut self, sample: &Sample) {
        self.figures.samples.fetch_add(1, Ordering::Relaxed);
        self.figures.missed.fetch_add(u64::from(sample.missed), Ordering::Relaxed);
        self.with(|telling, now, send| telling.sample(sample, now, send));
    }

    fn tick(&mut self) {
        self.with(|telling, now, send| telling.tick(now, send));
        self.figures.flows.store(self.telling.flows() as u64, Ordering::Relaxed);
    }

    fn with(&mut self, act: impl FnOnce(&mut dyn Telling, Clock, &mut dyn FnMut(&[u8]))) {
        let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Clock { up: self.began.elapsed(), date };
        if let Some(from) = self.line.open() {
            self.telling.opened(from);
        }
        act(&mut *self.telling, now, &mut |datagram| self.line.send(datagram));
    }
}
