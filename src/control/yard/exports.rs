//! The exports that run: beginning and ending them, giving them their samples, and telling them of ports.
//!
//! An export follows the configuration as ports do, in `State::enact`. What is sampled follows the topology: where that
//! has other ports, or others in an export's bridge, the workers get other samplers. The watcher tells exporters of ports
//! and counters, when that is due.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::State;
use crate::control::api::{ExportInfo, ExportPort};
use crate::control::config::{Config, ExportConfig, ExportProtocol, ExportScope, PortConfig, PortKind};
use crate::control::export::{Exporter, Interface, interface_number};
use crate::control::shape::{self, LivePort};
use crate::control::show;
use crate::control::watching::Watch;
use crate::packet::PortId;
use crate::worker::{Place, Sampler, Skips};

/// How soon sampling is tried again that could not begin, since too many watch.
const RETRY: Duration = Duration::from_secs(5);
/// Bytes of a frame that a flow is told apart by.
const FLOW_HEADER: usize = 128;

/// An export that runs.
pub(super) struct LiveExport {
    /// What picks frames for it. Before the exporter, so that it ends first.
    sampling: Option<Watch>,
    /// The ports that it picks them at.
    places: Arc<[Place]>,
    exporter: Exporter,
    /// The epoch at which it was last told of ports.
    told: u64,
    /// When it was last told of counters.
    counted: Option<Instant>,
}

impl LiveExport {
    fn start(name: &str, config: &ExportConfig) -> Result<LiveExport, String> {
        let exporter = Exporter::start(name, config)
            .map_err(|error| format!("export {name}: cannot start a thread: {error}"))?;
        Ok(LiveExport { sampling: None, places: Arc::default(), exporter, told: 0, counted: None })
    }

    /// When its counters are due; `None`: never.
    fn counters_due(&self, config: &ExportConfig) -> Option<Duration> {
        let ExportProtocol::Sflow { interval, .. } = config.protocol else { return None };
        let passed = self.counted.map_or(interval, |counted| counted.elapsed());
        (!interval.is_zero()).then(|| interval.saturating_sub(passed))
    }
}

impl State {
    /// Has the exports be what they are to be, now that the configuration is no longer what it was `before`. Gives what a
    /// person should know.
    pub(super) fn change_exports(&mut self, before: &Config) -> Vec<String> {
        let mut notes = Vec::new();
        self.exports.retain(|name, _| before.exports.get(name) == self.config.exports.get(name));
        for (name, config) in &self.config.exports {
            if !self.exports.contains_key(name) {
                match LiveExport::start(name, config) {
                    Ok(export) => drop(self.exports.insert(name.clone(), export)),
                    Err(why) => notes.push(why),
                }
            }
        }
        notes.extend(self.sample_anew());
        notes
    }

    /// Has frames be sampled where they are to be. Gives what a person should know: that some are not yet.
    fn sample_anew(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, export) in &mut self.exports {
            let Some(config) = self.config.exports.get(name) else { continue };
            let places = places(&self.config, &self.live.ports, &config.scope);
            if export.sampling.is_some() && export.places == places {
                continue;
            }
            let keep = match config.protocol {
                ExportProtocol::Sflow { header, .. } => header,
                ExportProtocol::Ipfix { .. } => FLOW_HEADER,
            };
            let samples = export.exporter.samples();
            export.sampling = None;
            let make = |worker| {
                // Nobody can tell which frames are picked who does not see this.
                let skips = Skips::new(config.sample, RandomState::new().hash_one(worker));
                Box::new(Sampler::new(Arc::clone(&places), skips, keep, samples.clone())) as _
            };
            match self.watches.start(&self.workers, make) {
                Ok(watch) => {
                    export.sampling = Some(watch);
                    export.places = Arc::clone(&places);
                }
                Err(why) => notes.push(format!("export {name}: nothing is sampled yet: {why}")),
            }
        }
        notes
    }

    /// Tells the exporters of ports and counters where that is due, and says when it is due again.
    pub(super) fn tell_exporters(&mut self) -> Option<Duration> {
        if self.exports.is_empty() {
            return None;
        }
        let waits = self.exports.values().any(|export| export.sampling.is_none());
        if waits {
            let _ = self.sample_anew(); // That was told when it could not begin.
        }
        let due = |(name, export): (&String, &LiveExport)| {
            self.config.exports.get(name).and_then(|config| export.counters_due(config))
        };
        let counters_are_due = self.exports.iter().filter_map(due).any(|due| due.is_zero());
        let counters = if counters_are_due { show::counters(self).0 } else { BTreeMap::new() };
        let epoch = self.epoch;
        for (name, export) in &mut self.exports {
            let Some(config) = self.config.exports.get(name) else { continue };
            let counts = export.counters_due(config).is_some_and(|due| due.is_zero());
            if !counts && export.told == epoch {
                continue;
            }
            let of = |(name, port): (&String, &LivePort)| {
                let config = self.config.ports.get(name).filter(|port| is_own(port))?;
                let place = export.places.get(port.id.index()).copied().unwrap_or_default();
                let counted = || counters.get(&port.id).cloned().unwrap_or_default();
                Some(Interface {
                    port: port.id,
                    name: name.clone(),
                    layer: config.kind.layer(),
                    up: show::state_of(port) == "up",
                    counters: (counts && place.sampled).then(counted),
                })
            };
            export.exporter.tell(self.live.ports.iter().filter_map(of).collect());
            export.told = epoch;
            if counts {
                export.counted = Some(Instant::now());
            }
        }
        let due = |(name, export): (&String, &LiveExport)| {
            self.config.exports.get(name).and_then(|config| export.counters_due(config))
        };
        let due = self.exports.iter().filter_map(due).min();
        [due, waits.then_some(RETRY)].into_iter().flatten().min()
    }

    /// The exports, as the API shows them.
    pub(in crate::control) fn show_exports(&self) -> Vec<ExportInfo> {
        let info = |(name, export): (&String, &LiveExport)| {
            let config = self.config.exports.get(name)?;
            let figures = export.exporter.figures();
            let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
            let is_sampled =
                |port: PortId| export.places.get(port.index()).is_some_and(|place| place.sampled);
            let sampled = self.live.ports.iter().filter(|(_, port)| is_sampled(port.id));
            Some(ExportInfo {
                name: name.clone(),
                protocol: config.protocol.name().to_owned(),
                collector: config.collector,
                state: if figures.lost.load(Ordering::Relaxed) { "lost" } else { "up" }.to_owned(),
                sample: config.sample,
                samples: figure(&figures.samples),
                missed: figure(&figures.missed),
                flows: figure(&figures.flows),
                flow_limit: match config.protocol {
                    ExportProtocol::Sflow { .. } => 0,
                    ExportProtocol::Ipfix { flow_limit, .. } => flow_limit as u64,
                },
                datagrams: figure(&figures.datagrams),
                bytes: figure(&figures.bytes),
                errors: figure(&figures.errors),
                ports: sampled
                    .map(|(name, port)| ExportPort { index: interface_number(port.id), name: name.clone() })
                    .collect(),
            })
        };
        self.exports.iter().filter_map(info).collect()
    }
}

/// Whether a port is one that a user has configured: frames come in by no other.
fn is_own(port: &PortConfig) -> bool {
    !matches!(port.kind, PortKind::Underlay(_))
}

/// What samplers of this scope have to know of the ports that there are.
fn places(config: &Config, ports: &BTreeMap<String, LivePort>, scope: &ExportScope) -> Arc<[Place]> {
    let mut places = Vec::new();
    for (name, live) in ports {
        let Some(port) = config.ports.get(name).filter(|port| is_own(port)) else { continue };
        let sampled = match scope {
            ExportScope::All => true,
            ExportScope::Bridge(bridge) => port.bridge.as_ref() == Some(bridge),
            ExportScope::Ports(ports) => ports.contains(name),
        };
        let place = Place {
            sampled,
            is_patch: matches!(port.kind, PortKind::Patch { .. }),
            untagged: shape::untagged_vid(config, port),
        };
        shape::put(&mut places, live.id.index(), place);
    }
    places.into_iter().map(Option::unwrap_or_default).collect()
}
