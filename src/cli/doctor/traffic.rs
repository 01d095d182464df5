//! What becomes of frames in the switch.

use super::check::{Found, Judged};
use super::facts::Facts;
use super::plural;
use crate::packet::DropReason;

/// How long ago a station may have flapped and still be said to, in seconds.
const RECENT: u64 = 300;
/// Frames, of which a share says nothing.
const TOO_FEW: u64 = 100;
/// Reasons of drops that are told, the most frequent ones.
const MAX_REASONS: usize = 5;

/// Stations that stay where they are.
pub(super) fn flapping(facts: &Facts) -> Judged {
    let mut found = Found::new("no station moves to and fro");
    for bridge in facts.bridges.as_ref().map_err(Clone::clone)? {
        let Some(flap) = &bridge.last_flap else { continue };
        let (place, mac) = (format!("bridge {}", bridge.name), flap.mac);
        let what = format!(
            "{mac} moves to and fro between {} and {} ({}, the last {} s ago): two hosts with one address, or a loop",
            flap.from,
            flap.to,
            plural(bridge.flaps, "flap"),
            flap.age_secs
        );
        let remedy = format!("tapyard fdb --bridge {}, and unplug one of the two", bridge.name);
        match flap.age_secs {
            0..=RECENT => found.wrong(place, what, remedy),
            _ => found.warn(place, what, remedy),
        }
    }
    Ok(found)
}

/// Frames that go where they are to go, and not everywhere.
pub(super) fn flooding(facts: &Facts) -> Judged {
    let stats = facts.stats.as_ref().map_err(Clone::clone)?;
    let sum = |of: fn(&crate::control::api::PortStats) -> u64| stats.ports.iter().map(of).sum::<u64>();
    let (received, unknown, groups) =
        (sum(|port| port.rx_frames), sum(|port| port.unknown), sum(|port| port.groups));
    let mut found = Found::new(format!(
        "{} received, of which {unknown} for an unknown station and {groups} for all or a group",
        plural(received, "frame")
    ));
    let most = |of: fn(&crate::control::api::PortStats) -> u64| {
        stats.ports.iter().max_by_key(|port| of(port)).map_or("-", |port| port.name.as_str())
    };
    if unknown >= TOO_FEW && unknown * 10 >= received {
        let what = format!("{unknown} of {received} frames were flooded: their station is in no table");
        let remedy = "tapyard fdb, and see whether the station answers at all, or the table is full";
        found.warn(format!("port {}", most(|port| port.unknown)), what, remedy);
    }
    if groups >= 10 * TOO_FEW && groups * 2 >= received {
        let what = format!(
            "{groups} of {received} frames were for all stations or a group: a loop, or a talkative host"
        );
        let port = most(|port| port.groups);
        found.warn(format!("port {port}"), what, format!("tapyard port set {port} storm.broadcast=1000"));
    }
    Ok(found)
}

/// Drops that are few, or meant.
pub(super) fn drops(facts: &Facts) -> Judged {
    let drops = facts.drops.as_ref().map_err(Clone::clone)?;
    let stats = facts.stats.as_ref().map_err(Clone::clone)?;
    let passed = |name: &str| {
        let port = stats.ports.iter().find(|port| port.name == name);
        port.map_or(0, |port| port.rx_frames + port.tx_frames + port.drops)
    };
    let mut found = Found::new("ports drop little that is not meant to be dropped");
    let mut drops: Vec<_> = drops
        .iter()
        .filter_map(|drop| Some((drop, remedy(&drop.reason)?)))
        .filter(|(drop, remedy)| {
            let is_meant = remedy.starts_with("nothing")
                || matches!(&*drop.reason, "no-member" | "filtered" | "rejected" | "rate-limited");
            drop.port != "-"
                && !is_meant
                && drop.frames >= TOO_FEW / 10
                && drop.frames * 100 >= passed(&drop.port)
        })
        .collect();
    drops.sort_by_key(|(drop, _)| std::cmp::Reverse(drop.frames));
    for (drop, remedy) in drops.into_iter().take(MAX_REASONS) {
        let what = format!("dropped {} as {}: {}", plural(drop.frames, "frame"), drop.reason, drop.meaning);
        found.warn(format!("port {}", drop.port), what, remedy);
    }
    Ok(found)
}

/// What helps against a reason, by its name.
fn remedy(name: &str) -> Option<&'static str> {
    DropReason::ALL.iter().find(|reason| reason.name() == name).map(|reason| reason.remedy())
}

/// Tables with room.
pub(super) fn tables(facts: &Facts) -> Judged {
    let bridges = facts.bridges.as_ref().map_err(Clone::clone)?;
    let routers = facts.routers.as_ref().map_err(Clone::clone)?;
    let nat = facts.nat.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("no table is nearly full");
    for bridge in bridges {
        let raise =
            format!("fdb-limit above {} in [bridge.{}], then: tapyard reload", bridge.fdb_limit, bridge.name);
        full(
            &mut found,
            &format!("bridge {}", bridge.name),
            "addresses",
            bridge.fdb_entries,
            bridge.fdb_limit,
            &raise,
        );
    }
    for router in routers {
        let raise =
            format!("tapyard router set {} neighbor-limit={}", router.name, 2 * router.neighbor_limit);
        full(
            &mut found,
            &format!("router {}", router.name),
            "neighbours",
            router.neighbors,
            router.neighbor_limit,
            &raise,
        );
    }
    for table in &nat.tables {
        let place = format!("router {}", table.router);
        let raise = format!("tapyard router set {} sessions={}", table.router, 2 * table.limit);
        full(&mut found, &place, "sessions", table.sessions, table.limit, &raise);
        let refused = [
            (table.refused_full, "the table was full", raise.as_str()),
            (table.refused_source, "their source had too many", "tapyard nat, and see who has so many"),
            (
                table.refused_ports,
                "no port was left to translate to",
                "more addresses or ports for that translation: tapyard nat --rules",
            ),
        ];
        for (count, why, remedy) in refused.into_iter().filter(|(count, ..)| *count > 0) {
            found.warn(place.as_str(), format!("refused {}: {why}", plural(count, "session")), remedy);
        }
    }
    Ok(found)
}

/// Tells of a table that is full, or nine tenths so.
fn full(found: &mut Found, place: &str, of: &str, entries: u64, limit: u64, remedy: &str) {
    if limit == 0 || entries * 10 < limit * 9 {
        return;
    }
    let what = format!("has {entries} {of} of at most {limit}");
    match entries >= limit {
        true => found.wrong(place, what, remedy),
        false => found.warn(place, what, remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{DropInfo, FlapInfo, NatStats, RouterInfo};
    use crate::wire::ethernet::Mac;

    #[test]
    fn a_station_that_flaps_now_is_wrong_and_one_that_did_is_told() {
        let with = |age_secs| {
            let mut facts = Facts::healthy();
            let bridge = &mut facts.bridges.as_mut().unwrap()[0];
            let mac = Mac::new([2, 0, 0, 0, 0, 7]);
            bridge.flaps = 4;
            bridge.last_flap = Some(FlapInfo { mac, from: "vm1".into(), to: "vm2".into(), age_secs });
            flapping(&facts).unwrap().lines().join("\n")
        };
        let now = with(1);
        assert!(
            now.starts_with(
                "wrong bridge lan: 02:00:00:00:00:07 moves to and fro between vm1 and vm2 (4 flaps"
            ),
            "{now}"
        );
        assert!(with(RECENT + 1).starts_with("warning"));
    }

    #[test]
    fn floods_are_told_by_their_share() {
        let with = |received, unknown, groups| {
            let mut facts = Facts::healthy();
            let port = &mut facts.stats.as_mut().unwrap().ports[0];
            (port.rx_frames, port.unknown, port.groups) = (received, unknown, groups);
            flooding(&facts).unwrap().lines()
        };
        assert!(with(1_000_000, 2000, 2000).is_empty());
        assert!(with(20, 20, 0).is_empty());
        assert!(with(1000, 100, 0)[0].starts_with("warning port vm1: 100 of 1000 frames were flooded"));
        assert!(with(1000, 0, 1000)[0].contains("for all stations or a group"));
    }

    #[test]
    fn drops_are_told_with_the_remedy_of_the_page_unless_they_are_meant() {
        let with = |reason: &str, frames, received| {
            let mut facts = Facts::healthy();
            facts.stats.as_mut().unwrap().ports[0].rx_frames = received;
            let (port, meaning, remedy) = ("vm1".into(), "why".into(), "what".into());
            facts.drops = Ok(vec![DropInfo { port, reason: reason.into(), meaning, remedy, frames }]);
            drops(&facts).unwrap().lines().join("\n")
        };
        let told = with("spoofed-mac", 50, 1000);
        assert!(
            told.starts_with(
                "warning port vm1: dropped 50 frames as spoofed-mac: why; try: its port's `pin.mac`"
            ),
            "{told}"
        );
        assert_eq!(with("spoofed-mac", 50, 1_000_000), "");
        assert_eq!(with("spoofed-mac", 5, 5), "");
        assert_eq!(with("reserved-group", 50, 50), "");
        assert_eq!(with("filtered", 50, 50), "");
    }

    fn router(neighbors: u64) -> RouterInfo {
        RouterInfo {
            name: "gw".into(),
            interfaces: Vec::new(),
            routes: 0,
            neighbors,
            neighbor_limit: 8192,
            sessions: 0,
            session_limit: 0,
            rules: 0,
            policies: Default::default(),
        }
    }

    #[test]
    fn tables_that_are_nearly_full_are_told_before_they_are() {
        let with = |entries| {
            let mut facts = Facts::healthy();
            facts.bridges.as_mut().unwrap()[0].fdb_entries = entries;
            facts.routers = Ok(vec![router(entries)]);
            let stats =
                NatStats { router: "gw".into(), sessions: entries, limit: 8192, ..NatStats::default() };
            facts.nat.as_mut().unwrap().tables = vec![stats];
            tables(&facts).unwrap().lines()
        };
        assert!(with(7000).is_empty());
        assert!(with(7400).len() == 3 && with(7400).iter().all(|line| line.starts_with("warning ")));
        assert!(with(8192).len() == 3 && with(8192).iter().all(|line| line.starts_with("wrong ")));
        let mut facts = Facts::healthy();
        let stats = NatStats { router: "gw".into(), limit: 10, refused_ports: 2, ..NatStats::default() };
        facts.nat.as_mut().unwrap().tables = vec![stats];
        assert!(tables(&facts).unwrap().lines()[0].contains("refused 2 sessions: no port was left"));
    }
}
