//! From a snapshot to the text.

use std::collections::BTreeSet;
use std::time::Duration;

use super::catalogue::*;
use super::gather::{PortNow, Snapshot};
use super::text::Text;
use crate::packet::DropReason;

/// Everything, in the order of the catalogue. `drops` are those that had a row before, and gets those that have one now.
pub(super) fn all(now: &Snapshot, drops: &mut BTreeSet<(String, DropReason)>, took: Duration) -> String {
    let mut text = Text::default();
    text.family(&BUILD_INFO).add(&[env!("CARGO_PKG_VERSION")], 1);
    text.family(&UPTIME).add(&[], now.uptime.as_secs_f64());
    text.family(&TOPOLOGY_EPOCH).add(&[], now.epoch);
    text.family(&SCRAPE_DURATION).add(&[], took.as_secs_f64());
    ports(&mut text, &now.ports, drops);
    text.into_string()
}

fn ports(text: &mut Text, ports: &[PortNow], drops: &mut BTreeSet<(String, DropReason)>) {
    let mut each = |family, value: fn(&PortNow) -> u64| {
        let mut samples = text.family(family);
        ports.iter().for_each(|port| samples.add(&[&port.name], value(port)));
    };
    each(&PORT_RECEIVE_FRAMES, |port| port.counters.rx_frames);
    each(&PORT_RECEIVE_BYTES, |port| port.counters.rx_bytes);
    each(&PORT_TRANSMIT_FRAMES, |port| port.counters.tx_frames);
    each(&PORT_TRANSMIT_BYTES, |port| port.counters.tx_bytes);

    for port in ports {
        drops.extend(port.counters.drops().map(|(reason, _)| (port.name.clone(), reason)));
    }
    drops.retain(|(name, _)| ports.iter().any(|port| port.name == *name));
    let mut samples = text.family(&PORT_DROPPED_FRAMES);
    for port in ports {
        let of_port = (port.name.clone(), DropReason::ALL[0])..;
        for (_, reason) in drops.range(of_port).take_while(|(name, _)| *name == port.name) {
            samples.add(&[&port.name, reason.name()], port.counters.dropped(*reason));
        }
    }
}
