//! Rates, of two answers of the switch.

use std::collections::{BTreeMap, VecDeque};

use super::gather::Sample;
use crate::control::api::{DropInfo, PortStats, WorkerInfo};
use crate::packet::DropReason;

/// Rates of a port that are kept for its picture.
pub(super) const HISTORY: usize = 120;

/// What is shown.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) sample: Sample,
    pub(super) total: PortRates,
    pub(super) ports: BTreeMap<String, PortRates>,
    /// Drops a second, by port and reason.
    pub(super) drops: BTreeMap<(String, String), f64>,
    /// The share of its time that each worker is busy, from 0 to 1.
    pub(super) loads: Vec<f64>,
    /// Bits a second in and out, of each port, the oldest first.
    pub(super) history: BTreeMap<String, VecDeque<(f64, f64)>>,
}

/// What passes a port in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::cli) struct PortRates {
    pub(in crate::cli) rx_frames: f64,
    pub(in crate::cli) rx_bits: f64,
    pub(in crate::cli) tx_frames: f64,
    pub(in crate::cli) tx_bits: f64,
    pub(in crate::cli) drops: f64,
}

impl Figures {
    /// Those of a first answer: no rates yet.
    pub(super) fn new(sample: Sample) -> Figures {
        Figures {
            loads: sample.stats.workers.iter().map(|_| 0.0).collect(),
            ports: BTreeMap::new(),
            drops: BTreeMap::new(),
            history: BTreeMap::new(),
            total: PortRates::default(),
            sample,
        }
    }

    /// Those of the next answer.
    pub(super) fn take(&mut self, sample: Sample) {
        let before = std::mem::replace(&mut self.sample, sample);
        let after = &self.sample;
        let secs = after.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let ports = after.stats.ports.iter().map(|port| {
            let earlier = before.stats.ports.iter().find(|earlier| earlier.name == port.name);
            (port.name.clone(), PortRates::between(earlier, port, secs))
        });
        self.ports = ports.collect();
        self.total = self.ports.values().fold(PortRates::default(), PortRates::plus);
        let drops = after.drops.iter().map(|drop| {
            let same = |earlier: &&DropInfo| earlier.port == drop.port && earlier.reason == drop.reason;
            let earlier = before.drops.iter().find(same).map_or(0, |earlier| earlier.frames);
            ((drop.port.clone(), drop.reason.clone()), grown(earlier, drop.frames) / secs)
        });
        self.drops = drops.collect();
        self.loads = after.stats.workers.iter().map(|worker| load(&before.stats.workers, worker)).collect();
        self.history.retain(|port, _| self.ports.contains_key(port));
        for (port, rates) in &self.ports {
            let kept = self.history.entry(port.clone()).or_default();
            if kept.len() == HISTORY {
                kept.pop_front();
            }
            kept.push_back((rates.rx_bits, rates.tx_bits));
        }
    }

    /// Whether what waits to leave by a port has no room: frames were dropped for that since the answer before.
    pub(super) fn is_full(&self, port: &str) -> bool {
        let key = (port.to_owned(), DropReason::QueueFull.name().to_owned());
        self.drops.get(&key).is_some_and(|&rate| rate > 0.0)
    }
}

impl PortRates {
    /// What passed between two answers, `secs` seconds apart. A port that was added or opened anew since counts from zero.
    pub(in crate::cli) fn between(before: Option<&PortStats>, after: &PortStats, secs: f64) -> PortRates {
        let rate = |field: fn(&PortStats) -> u64| grown(before.map_or(0, field), field(after)) / secs;
        PortRates {
            rx_frames: rate(|port| port.rx_frames),
            rx_bits: 8.0 * rate(|port| port.rx_bytes),
            tx_frames: rate(|port| port.tx_frames),
            tx_bits: 8.0 * rate(|port| port.tx_bytes),
            drops: rate(|port| port.drops),
        }
    }

    fn plus(self, other: &PortRates) -> PortRates {
        PortRates {
            rx_frames: self.rx_frames + other.rx_frames,
            rx_bits: self.rx_bits + other.rx_bits,
            tx_frames: self.tx_frames + other.tx_frames,
            tx_bits: self.tx_bits + other.tx_bits,
            drops: self.drops + other.drops,
        }
    }
}

/// By how much a counter has grown; one that is smaller began anew.
fn grown(before: u64, after: u64) -> f64 {
    after.checked_sub(before).unwrap_or(after) as f64
}

fn load(before: &[WorkerInfo], after: &WorkerInfo) -> f64 {
    let Some(before) = before.iter().find(|before| before.index == after.index) else { return 0.0 };
    let passed = after.at_nanos.saturating_sub(before.at_nanos);
    let busy = after.busy_nanos.saturating_sub(before.busy_nanos);
    if passed == 0 { 0.0 } else { (busy as f64 / passed as f64).min(1.0) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::control::api::{BridgeInfo, PauseInfo, PortInfo, StatsInfo, TalkerInfo};
    use crate::wire::ethernet::Mac;

    fn port(name: &str) -> PortInfo {
        let json = serde_json::json!({
            "name": name, "type": "tap", "bridge": "lan", "device": name, "netns": null, "state": "up",
            "mtu": 1500, "mac": null, "vlan": "-", "mode": "bridge", "hairpin": false, "isolated": false,
            "queues": 2, "offloads": ["csum", "tso4"], "rx_frames": 0, "rx_bytes": 0, "tx_frames": 0,
            "tx_bytes": 0, "drops": 0, "fdb_entries": 3,
        });
        serde_json::from_value(json).expect("a port as the switch tells of it")
    }

    /// A switch with `ports` ports, so many seconds after its start, of which each has received `n` frames of 100 bytes in
    /// every second, where `n` is its number.
    pub(in crate::cli::top) fn sample(ports: u64, secs: u64, origin: Instant) -> Sample {
        let name = |n: u64| format!("vm{n}");
        let counters = |n: u64| PortStats {
            name: name(n),
            rx_frames: n * secs,
            rx_bytes: 100 * n * secs,
            tx_frames: 0,
            tx_bytes: 0,
            drops: secs,
            groups: 0,
            unknown: 0,
        };
        let worker = WorkerInfo {
            at_nanos: secs * 1_000_000_000,
            busy_nanos: secs * 250_000_000,
            longest_pause: PauseInfo { nanos: 120_000, chore: "report".into() },
            ..WorkerInfo::default()
        };
        let talker = TalkerInfo {
            port: name(1),
            source_mac: Some(Mac::new([2, 0, 0, 0, 0, 1])),
            destination_mac: Some(Mac::new([2, 0, 0, 0, 0, 2])),
            source: Some([10, 9, 0, 1].into()),
            destination: Some([10, 9, 0, 2].into()),
            protocol: Some("tcp".into()),
            source_port: Some(40_000),
            destination_port: Some(80),
            frames_per_sec: 5.0,
            bits_per_sec: 4e6,
        };
        let bridge = BridgeInfo {
            name: "lan".into(),
            mac: Mac::new([2, 0, 0, 0, 0, 9]),
            ports: (1..=ports).map(name).collect(),
            vlan_aware: false,
            ageing_secs: 300,
            fdb_entries: 900,
            fdb_limit: 1000,
            evictions: 0,
            flaps: 0,
            moves: 0,
            last_flap: None,
        };
        let full = |n: u64| DropInfo {
            port: name(n),
            reason: "queue-full".into(),
            meaning: "who should take it does not".into(),
            remedy: "wait".into(),
            frames: if n == 1 { 1 } else { secs },
        };
        Sample {
            at: origin + Duration::from_secs(secs),
            ports: (1..=ports).map(|n| port(&name(n))).collect(),
            bridges: vec![bridge],
            routers: Vec::new(),
            tunnels: Vec::new(),
            drops: (1..=ports).map(full).collect(),
            sessions: Vec::new(),
            talkers: vec![talker],
            stats: StatsInfo {
                epoch: 3,
                uptime_secs: secs,
                workers: vec![worker],
                rx_frames: 0,
                tx_frames: 0,
                copies: 0,
                replied: 0,
                drops: 0,
                conserved: true,
                ports: (1..=ports).map(counters).collect(),
            },
        }
    }

    /// The figures of such a switch after two looks.
    pub(in crate::cli::top) fn figures(ports: u64) -> Figures {
        let origin = Instant::now();
        let mut figures = Figures::new(sample(ports, 10, origin));
        figures.take(sample(ports, 12, origin));
        figures
    }

    #[test]
    fn rates_are_of_the_time_that_passed() {
        let figures = figures(3);
        assert_eq!((figures.ports["vm2"].rx_frames, figures.ports["vm2"].rx_bits), (2.0, 1600.0));
        assert_eq!((figures.total.rx_frames, figures.total.drops), (6.0, 3.0));
        assert_eq!(figures.loads, [0.25]);
        assert_eq!(figures.history["vm3"].back(), Some(&(2400.0, 0.0)));
        assert!(figures.is_full("vm2") && !figures.is_full("vm1") && !figures.is_full("vm9"));
    }

    #[test]
    fn a_port_that_was_opened_anew_counts_from_zero_and_one_that_is_gone_is_forgotten() {
        let origin = Instant::now();
        let mut figures = Figures::new(sample(3, 100, origin));
        figures.take(sample(3, 102, origin));
        let mut anew = sample(2, 104, origin);
        anew.stats.ports[1].rx_frames = 7;
        figures.take(anew);
        assert_eq!(figures.ports["vm2"].rx_frames, 3.5);
        assert!(!figures.history.contains_key("vm3") && !figures.ports.contains_key("vm3"));
    }

    #[test]
    fn what_is_kept_for_pictures_is_bounded() {
        let origin = Instant::now();
        let mut figures = Figures::new(sample(1, 0, origin));
        (1..500).for_each(|secs| figures.take(sample(1, secs, origin)));
        assert_eq!(figures.history["vm1"].len(), HISTORY);
    }
}
