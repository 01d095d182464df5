//! Mirrors, as the API shows them.

use super::known;
use crate::control::api::MirrorInfo;
use crate::control::yard::State;
use crate::switch::mirror::MirrorCounters;

/// The mirrors, or the one called `only`.
pub(in crate::control) fn mirrors(state: &State, only: Option<&str>) -> Result<Vec<MirrorInfo>, String> {
    let config = &state.config.mirrors;
    known(only, config.contains_key(only.unwrap_or_default()), "mirror")?;
    let mut sums = vec![MirrorCounters::default(); config.len()];
    for report in state.reports() {
        sums.iter_mut().zip(&report.mirrors).for_each(|(sum, counters)| *sum += *counters);
    }
    let shown = config.iter().zip(sums).filter(|((name, _), _)| only.is_none_or(|only| only == *name));
    let info = shown.map(|((name, mirror), counters)| MirrorInfo {
        name: name.clone(),
        ports: mirror.ports.iter().cloned().collect(),
        bridge: mirror.bridge.clone(),
        direction: mirror.direction.name().to_owned(),
        vlans: mirror.vlans.as_ref().map(|vlans| vlans.to_string()),
        filter: (!mirror.filter.is_all()).then(|| mirror.filter.to_string()),
        snap: mirror.snap,
        to: mirror.to.clone(),
        frames: counters.frames,
        bytes: counters.bytes,
        cut: counters.cut,
        drops: counters.drops,
    });
    Ok(info.collect())
}

/// The mirrors whose copies a port sends.
pub(super) fn sent_by(state: &State, port: &str) -> Vec<String> {
    let mirrors = state.config.mirrors.iter().filter(|(_, mirror)| mirror.to == port);
    mirrors.map(|(name, _)| name.clone()).collect()
}
