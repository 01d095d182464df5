//! What is looked at while everybody else waits: copies of numbers, and nothing long.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::yard::State;
use crate::packet::{Counters, PortId};

/// What a switch was at one moment.
pub(super) struct Snapshot {
    pub(super) uptime: Duration,
    pub(super) epoch: u64,
    pub(super) ports: Vec<PortNow>,
}

/// A port.
pub(super) struct PortNow {
    pub(super) name: String,
    pub(super) counters: Counters,
}

impl Snapshot {
    pub(super) fn take(state: &State) -> Snapshot {
        let mut counters = BTreeMap::<PortId, Counters>::new();
        let mut retired = Counters::default();
        for report in state.reports() {
            retired += &report.retired;
            for (id, of_worker) in &report.ports {
                *counters.entry(*id).or_default() += of_worker;
            }
        }
        let ports = state.live.ports.iter().map(|(name, live)| PortNow {
            name: name.clone(),
            counters: counters.remove(&live.id).unwrap_or_default(),
        });
        let gone = PortNow { name: "-".into(), counters: retired };
        Snapshot { uptime: state.started.elapsed(), epoch: state.epoch, ports: ports.chain([gone]).collect() }
    }
}
