//! The FDBs, as the API shows them and searches them.
//!
//! A table of a million entries is looked through while workers learn: what is done with an entry in passing is little,
//! and what is to be shown is put together afterwards.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use super::known;
use crate::control::api::{FdbFilter, FdbFound, FdbInfo, FdbSearch};
use crate::control::overlay::LiveTunnel;
use crate::control::shape::LiveBridge;
use crate::control::yard::State;
use crate::packet::{Location, PortId, Vid};
use crate::table::fdb::{Entry, Kind, Station};
use crate::time::Time;
use crate::wire::ethernet::Mac;

/// Entries that a search gives unless it says how many.
const FOUND: usize = 100;
/// Most entries that a search gives.
const MAX_FOUND: usize = 10_000;

/// The FDB entries that fit, by bridge, VLAN and address.
pub(in crate::control) fn fdb(state: &State, filter: &FdbFilter) -> Result<Vec<FdbInfo>, String> {
    let picked = Picked::new(state, filter)?;
    let shower = Shower::new(state);
    let mut all = Vec::new();
    for (name, bridge) in bridges_of(state, filter) {
        if picked.own(bridge.mac) {
            all.push(own(name, bridge.mac));
        }
        let mut entries = Vec::new();
        bridge.fdb.visit(|station, entry| {
            if picked.fits(station, entry) {
                entries.push((station, *entry));
            }
        });
        entries.sort_unstable_by_key(|(station, _)| (station.vid(), station.mac()));
        all.extend(entries.iter().map(|(station, entry)| shower.info(name, *station, entry)));
    }
    Ok(all)
}

/// The first of the FDB entries that fit, and how many there are.
pub(in crate::control) fn find(state: &State, search: &FdbSearch) -> Result<FdbFound, String> {
    let FdbSearch { bridge, port, vlan, mac, text, limit } = search.clone();
    let filter = FdbFilter { bridge, port, vlan, mac };
    let picked = Picked::new(state, &filter)?;
    let shower = Shower::new(state);
    let mut text = text.map(|text| Text::new(&text, &shower));
    let limit = limit.unwrap_or(FOUND).min(MAX_FOUND);
    let mut found = FdbFound::default();
    for (name, bridge) in bridges_of(state, &filter) {
        if picked.own(bridge.mac) && text.as_ref().is_none_or(|text| text.is_in_mac(bridge.mac)) {
            found.count += 1;
            if found.entries.len() < limit {
                found.entries.push(own(name, bridge.mac));
            }
        }
        let mut first = First::new(limit - found.entries.len());
        bridge.fdb.visit(|station, entry| {
            if picked.fits(station, entry)
                && text.as_mut().is_none_or(|text| text.is_in(station, entry, &shower))
            {
                found.count += 1;
                first.offer(station);
            }
        });
        // What has gone in between is not shown.
        let entries = first.in_order().filter_map(|station| Some((station, bridge.fdb.lookup(station)?)));
        found.entries.extend(entries.map(|(station, entry)| shower.info(name, station, &entry)));
    }
    Ok(found)
}

/// Forgets the learned entries that fit, and says how many they were.
pub(in crate::control) fn flush(state: &State, filter: &FdbFilter) -> Result<u64, String> {
    let picked = Picked::new(state, filter)?;
    let flush =
        |(_, bridge): (_, &LiveBridge)| bridge.fdb.flush(|station, entry| picked.fits(station, entry)) as u64;
    Ok(bridges_of(state, filter).map(flush).sum())
}

fn bridges_of<'a>(
    state: &'a State,
    filter: &'a FdbFilter,
) -> impl Iterator<Item = (&'a String, &'a LiveBridge)> {
    state.live.bridges.iter().filter(|(name, _)| filter.bridge.as_ref().is_none_or(|only| only == *name))
}

/// The entry of a bridge's own address.
fn own(bridge: &str, mac: Mac) -> FdbInfo {
    let (bridge, kind) = (bridge.to_owned(), "local".to_owned());
    FdbInfo { bridge, vlan: None, mac, port: None, remote: None, kind, age_secs: None }
}

/// Which entries a filter picks.
struct Picked {
    port: Option<PortId>,
    vlan: Option<Vid>,
    mac: Option<Mac>,
}

impl Picked {
    fn new(state: &State, filter: &FdbFilter) -> Result<Picked, String> {
        let (bridge, port) = (filter.bridge.as_deref(), filter.port.as_deref());
        known(bridge, state.live.bridges.contains_key(bridge.unwrap_or_default()), "bridge")?;
        known(port, state.live.ports.contains_key(port.unwrap_or_default()), "port")?;
        let port = port.and_then(|name| state.live.ports.get(name)).map(|port| port.id);
        Ok(Picked { port, vlan: filter.vlan, mac: filter.mac })
    }

    fn fits(&self, station: Station, entry: &Entry) -> bool {
        self.vlan.is_none_or(|vid| vid == station.vid())
            && self.mac.is_none_or(|mac| mac == station.mac())
            && self.port.is_none_or(|port| port == entry.port)
    }

    /// Whether it picks the entry of a bridge's own address, which is behind no port and in no VLAN.
    fn own(&self, mac: Mac) -> bool {
        self.vlan.is_none() && self.port.is_none() && self.mac.is_none_or(|only| only == mac)
    }
}

/// What entries are shown with.
struct Shower<'a> {
    ports: BTreeMap<PortId, (&'a String, Option<&'a LiveTunnel>)>,
    now: Time,
}

impl<'a> Shower<'a> {
    fn new(state: &'a State) -> Shower<'a> {
        let ports = state.live.ports.iter().map(|(name, port)| (port.id, (name, port.tunnel.as_ref())));
        Shower { ports: ports.collect(), now: Time::ZERO + state.started.elapsed() }
    }

    fn info(&self, bridge: &str, station: Station, entry: &Entry) -> FdbInfo {
        FdbInfo {
            bridge: bridge.to_owned(),
            vlan: Some(station.vid()).filter(|&vid| vid != 0),
            mac: station.mac(),
            port: self.ports.get(&entry.port).map(|(name, _)| (*name).clone()),
            remote: self.remote(entry),
            kind: if entry.kind == Kind::Static { "static" } else { "learned" }.into(),
            age_secs: (entry.kind == Kind::Learned).then(|| self.now.since(entry.seen).as_secs()),
        }
    }

    fn remote(&self, entry: &Entry) -> Option<IpAddr> {
        let (_, tunnel) = self.ports.get(&entry.port)?;
        (*tunnel)?.address_of(entry.peer)
    }
}

/// A text that is looked for.
struct Text {
    /// In small letters.
    wanted: String,
    /// The ports in whose name it is.
    ports: HashSet<PortId>,
    /// Whether it is in a peer's address, of those that were met.
    peers: HashMap<Location, bool>,
}

impl Text {
    fn new(text: &str, shower: &Shower<'_>) -> Text {
        let wanted = text.to_lowercase();
        let named = shower.ports.iter().filter(|(_, (name, _))| name.to_lowercase().contains(&wanted));
        let ports = named.map(|(&port, _)| port).collect();
        Text { wanted, ports, peers: HashMap::default() }
    }

    fn is_in(&mut self, station: Station, entry: &Entry, shower: &Shower<'_>) -> bool {
        self.ports.contains(&entry.port)
            || self.is_in_mac(station.mac())
            || shower.ports.get(&entry.port).is_some_and(|(_, tunnel)| tunnel.is_some())
                && *self.peers.entry(entry.at()).or_insert_with(|| {
                    shower.remote(entry).is_some_and(|remote| remote.to_string().contains(&self.wanted))
                })
    }

    /// The same as for the address's text, without making a string of a million of them.
    fn is_in_mac(&self, mac: Mac) -> bool {
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n & 0xf)];
        let mut text = [b':'; 17];
        for (octet, place) in mac.octets().into_iter().zip(text.chunks_mut(3)) {
            (place[0], place[1]) = (digit(octet >> 4), digit(octet));
        }
        let wanted = self.wanted.as_bytes();
        wanted.is_empty() || text.windows(wanted.len()).any(|part| part == wanted)
    }
}

/// The first so many of all stations that are offered, by VLAN and address.
struct First {
    limit: usize,
    heap: BinaryHeap<(Vid, Mac)>,
}

impl First {
    fn new(limit: usize) -> First {
        First { limit, heap: BinaryHeap::with_capacity(limit) }
    }

    fn offer(&mut self, station: Station) {
        let key = (station.vid(), station.mac());
        if self.heap.len() < self.limit {
            self.heap.push(key);
        } else if let Some(mut last) = self.heap.peek_mut()
            && key < *last
        {
            *last = key;
        }
    }

    fn in_order(self) -> impl Iterator<Item = Station> {
        self.heap.into_sorted_vec().into_iter().map(|(vid, mac)| Station::new(mac, vid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_for_in_an_address_as_it_is_shown() {
        let shower = Shower { ports: BTreeMap::new(), now: Time::ZERO };
        let mac = Mac::new([0x02, 0xab, 0, 0x10, 0, 0xf1]);
        let is_in = |text: &str| Text::new(text, &shower).is_in_mac(mac);
        for text in ["", "02:ab:00:10:00:f1", "AB:00", ":f1", "2:a", "1"] {
            assert!(is_in(text) && mac.to_string().contains(&text.to_lowercase()), "{text}");
        }
        for text in ["02:ac", "f1:", ":02", "2ab", "02:ab:00:10:00:f1:", "vm1"] {
            assert!(!is_in(text), "{text}");
        }
    }

    #[test]
    fn the_first_are_kept_in_whatever_order_they_come() {
        let station = |n: u64| Station::new(Mac::from_bits(n % 50), (n / 50) as Vid);
        for step in [1, 37, 99] {
            let mut first = First::new(5);
            (0..100).map(|n| n * step % 100).for_each(|n| first.offer(station(n)));
            let expected: Vec<_> = (0..5).map(station).collect();
            assert_eq!(first.in_order().collect::<Vec<_>>(), expected, "{step}");
        }
        let mut none = First::new(0);
        none.offer(station(1));
        assert_eq!(none.in_order().count(), 0);
    }
}
