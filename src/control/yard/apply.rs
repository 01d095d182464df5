//! How a change becomes real: what has to be opened is opened first, and only when all of it is there do the workers take
//! it. What fails before that leaves everything as it was.
//!
//! Only ports whose device must be another have to be closed before it is certain that the change succeeds, and those
//! whose device another takes; when it does not, they are opened again as they were.

use std::sync::Arc;

use super::{State, about};
use crate::control::api::Applied;
use crate::control::config::{Config, Document, PortConfig, PortKind, StaticEntry};
use crate::control::log::ASKED;
use crate::control::opening::{self, Found};
use crate::control::plan::{self, Change as Step, Plan};
use crate::control::shape::{self, LiveBridge, LivePort, WORKER_PATIENCE};
use crate::control::talkers::Talkers;
use crate::packet::{Location, PeerId, PortId};
use crate::port::{Opened, PortError, Queue, netdev};
use crate::switch;
use crate::table::fdb::Station;
use crate::worker::{Change, Command};

/// A port that was opened and is not installed yet.
type Fresh = (String, Found);

impl State {
    /// Makes `wanted` what runs, or says in one line why not and changes nothing.
    pub(super) fn apply(&mut self, document: Document, wanted: Config) -> Result<Applied, String> {
        let plan = plan::diff(&self.config, &wanted).map_err(|refusal| refusal.to_string())?;
        if plan.is_empty() {
            self.document = document;
            let (changes, warnings) = (Vec::new(), self.warnings());
            return Ok(Applied { epoch: self.epoch, changes, warnings, attach: None });
        }
        let listener = self.open_listener(&document, &wanted)?;
        let fresh = match self.open_all(&plan) {
            Ok(fresh) => fresh,
            Err(why) => {
                self.restore_listener(listener);
                return Err(why);
            }
        };
        let before = self.warnings();
        let notes = self.enact(&plan, wanted, fresh);
        self.enact_listener(listener);
        self.document = document;
        // There may be something new to look at now and then.
        let _ = self.wake.try_send(());
        let changes = plan.lines();
        changes.iter().for_each(|change| tracing::info!(target: ASKED, "{change}"));
        let warnings = self.warnings();
        let new = warnings.iter().filter(|warning| !before.contains(warning));
        new.chain(&notes).for_each(|warning| tracing::warn!(target: ASKED, "{warning}"));
        Ok(Applied { epoch: self.epoch, changes, warnings: [warnings, notes].concat(), attach: None })
    }

    /// What of the configuration that runs is hardly meant, and what it waits for.
    pub(super) fn warnings(&self) -> Vec<String> {
        let doubts = self.document.warnings(&self.config).into_iter().map(|warning| warning.to_string());
        let waits = self.live.ports.values().filter(|port| port.missing && !port.complaint.is_empty());
        doubts.chain(waits.map(|port| port.complaint.clone())).collect()
    }

    /// Opens the ports that are new and those whose device must be another; if one fails, all are as before.
    fn open_all(&mut self, plan: &Plan) -> Result<Vec<Fresh>, String> {
        let opening = plan.changes.iter().filter_map(|step| match step {
            Step::PortAdd { name, to } | Step::PortReopen { name, to, .. } => Some((name, &**to)),
            _ => None,
        });
        let mut opening: Vec<_> = opening.collect();
        let in_the_way = self.in_the_way(plan, &opening);
        opening.extend(in_the_way.iter().map(|(name, port)| (name, port)));
        let closing = self.closing_first(plan, &opening);
        let closed = |name: &String| self.config.ports.get(name).map(|port| &port.kind);
        let sockets = closing.iter().filter_map(closed).any(|kind| matches!(kind, PortKind::Underlay(_)));
        let waits = |&(name, to): &(&String, &PortConfig)| {
            // Sockets may be in each other's way too, so that their order matters.
            sockets && matches!(to.kind, PortKind::Underlay(_))
                || closing.contains(name)
                || closing.iter().filter_map(closed).any(|kind| kind.bars(&to.kind))
        };
        let (waiting, free): (Vec<_>, Vec<_>) = opening.into_iter().partition(waits);
        let mut fresh = Vec::new();
        for (name, to) in free {
            match self.open_or_wait(name, to) {
                Ok(found) => fresh.push((name.clone(), found)),
                Err(why) => {
                    undo(fresh);
                    return Err(why);
                }
            }
        }
        if !closing.is_empty() {
            let ids = closing.iter().filter_map(|name| Some(self.live.ports.get(name)?.id)).collect();
            let topology = self.next_topology();
            drop(self.exchange(topology, ids, Vec::new()));
            let made = closing.iter().filter_map(|name| self.live.ports.get_mut(name)?.made.take());
            netdev::undo(made.collect());
        }
        for (name, to) in waiting {
            match self.open_or_wait(name, to) {
                Ok(found) => fresh.push((name.clone(), found)),
                Err(why) => {
                    undo(fresh);
                    closing.iter().for_each(|name| self.restore(name));
                    return Err(why);
                }
            }
        }
        Ok(fresh)
    }

    /// The ports to be closed before those of `opening` can be opened. A device can be held once only, and it may pass
    /// from one port to another, or two may swap theirs.
    fn closing_first(&self, plan: &Plan, opening: &[(&String, &PortConfig)]) -> Vec<String> {
        let bars = |name| {
            let kind = self.config.ports.get(name).map(|port| &port.kind);
            kind.is_some_and(|kind| opening.iter().any(|(_, to)| kind.bars(&to.kind)))
        };
        let removed = plan.changes.iter().filter_map(|step| match step {
            Step::PortRemove { name } if bars(name) => Some(name),
            _ => None,
        });
        let reopened =
            opening.iter().map(|(name, _)| *name).filter(|name| self.config.ports.contains_key(*name));
        let mut closing: Vec<_> = removed.chain(reopened).cloned().collect();
        // In the order in which they could be opened, in case they have to be again: the socket for all addresses has a
        // name before those of groups.
        closing.sort();
        closing
    }

    /// Sockets of groups that stay, and that one of `opening` can only be opened before.
    fn in_the_way(&self, plan: &Plan, opening: &[(&String, &PortConfig)]) -> Vec<(String, PortConfig)> {
        let goes = |port: &String| {
            plan.changes.iter().any(|step| matches!(step, Step::PortRemove { name } if name == port))
        };
        let bars = |(name, port): &(&String, &PortConfig)| {
            matches!(&port.kind, PortKind::Underlay(underlay) if underlay.is_group())
                && opening.iter().any(|(_, to)| port.kind.bars(&to.kind))
                && !opening.iter().any(|(opened, _)| opened == name)
                && !goes(name)
        };
        let ports = self.config.ports.iter().filter(bars);
        ports.map(|(name, port)| (name.clone(), port.clone())).collect()
    }

    /// Opens a port again as it was; one that cannot be is missing from now on, and looked for.
    fn restore(&mut self, name: &str) {
        // What was missing before still is.
        let there = self.live.ports.get(name).filter(|port| !port.missing);
        let Some(config) = there.and(self.config.ports.get(name)) else { return };
        match self.open(name, config) {
            Ok(opened) => self.reattach(name, opened),
            Err(why) => {
                tracing::error!(port = name, "{}", about(name, &why));
                self.mark_missing(name);
                // No worker will tell the watcher. When it has not yet seen that it was woken, that is enough.
                let _ = self.wake.try_send(());
            }
        }
    }

    pub(super) fn open(&self, name: &str, config: &PortConfig) -> Result<Opened, String> {
        self.listen(config);
        opening::open(name, &config.kind, self.workers.len(), self.news())
            .map_err(|error| explain(name, config, &error))
    }

    fn open_or_wait(&self, name: &str, config: &PortConfig) -> Result<Found, String> {
        self.listen(config);
        opening::open_or_wait(name, &config.kind, self.workers.len(), self.news())
            .map_err(|error| explain(name, config, &error))
    }

    /// Hears of the port's interface from before it is looked at, so that nothing happens in between.
    fn listen(&self, config: &PortConfig) {
        if let Some(netns) = opening::taken_in(&config.kind) {
            self.links.listen(netns.as_ref());
        }
    }

    /// Makes the plan real: nothing can fail any more. Gives what a person should know.
    fn enact(&mut self, plan: &Plan, wanted: Config, fresh: Vec<Fresh>) -> Vec<String> {
        let mut gone = Vec::new();
        // Ports behind which other stations may be from now on.
        let mut estranged = self.ports_of_turned_bridges(&wanted);
        for step in &plan.changes {
            match step {
                Step::BridgeAdd { name, to } => {
                    let bridge = LiveBridge::new(self.live.free_bridge(), name, to, &self.generations);
                    self.live.bridges.insert(name.clone(), bridge);
                }
                Step::BridgeChange { name, to, .. } => {
                    if let Some(live) = self.live.bridges.get_mut(name) {
                        live.configure(name, to);
                    }
                }
                Step::PortChange { name, from, to } => {
                    if let Some(live) = self.live.ports.get_mut(name) {
                        live.configure(to);
                        let others = from.bridge != to.bridge
                            || from.vlan != to.vlan
                            || from.kind.leads_elsewhere(&to.kind);
                        estranged.extend(others.then_some(live.id));
                    }
                }
                Step::PortRemove { name } => gone.extend(self.live.ports.get(name).map(|port| port.id)),
                Step::PortReopen { name, .. } => {
                    estranged.extend(self.live.ports.get(name).map(|port| port.id)); // and it is in `fresh`
                }
                Step::PortAdd { .. } => {}                       // it is in `fresh`
                Step::StaticRemove(_) | Step::StaticAdd(_) => {} // pinned below, when the ports are there
                Step::BridgeRemove { .. } => {}                  // goes below, when nobody uses it any more
                Step::MetricsChange { .. } => {}                 // is no matter of the workers
                // The topology is made of what is wanted.
                Step::MirrorRemove { .. }
                | Step::MirrorAdd { .. }
                | Step::MirrorChange { .. }
                | Step::RouterRemove { .. }
                | Step::RouterAdd { .. }
                | Step::RouterChange { .. }
                | Step::RulesChange { .. } => {}
                Step::ExportRemove { .. } | Step::ExportAdd { .. } | Step::ExportChange { .. } => {} // below
            }
        }
        let mut install = Vec::new();
        for (name, Found { opened, waits }) in fresh {
            let id = self.live.ports.get(&name).map_or_else(|| self.live.free_port(), |port| port.id);
            let (mut port, queues) =
                LivePort::new(id, opened, wanted.ports.get(&name).map(|p| p.storm).unwrap_or_default());
            if let Some(error) = waits {
                port.missing = true;
                port.complaint = format!("port {name}: {error}");
            }
            self.live.ports.insert(name, port);
            install.push((id, queues));
        }
        let leaving: Vec<_> =
            self.live.ports.keys().filter(|name| !wanted.ports.contains_key(*name)).cloned().collect();
        let left_ports: Vec<_> = leaving.iter().filter_map(|name| self.live.ports.remove(name)).collect();
        self.live.configure_routers(&self.config, &wanted);
        let before = std::mem::replace(&mut self.config, wanted);
        let left = self.live.configure_tunnels(&self.config);
        let topology = self.next_topology();
        let closed = self.exchange(topology, gone.clone(), install);
        if !gone.is_empty() {
            // What was counted for a port is not to be told of the next one in its slot.
            self.talkers = Talkers::default();
        }
        // The workers have forgotten these ports now, so nothing is learned behind them any more.
        for id in gone.into_iter().chain(estranged) {
            self.live.bridges.values().for_each(|bridge| bridge.purge(id));
        }
        self.live.forget_in_routers(&before, &self.config);
        left.iter().for_each(|(port, peer)| self.purge_peer(*port, *peer));
        self.live.release_peers(&left);
        self.live.bridges.retain(|name, _| self.config.bridges.contains_key(name));
        self.pin_statics(plan);
        drop(closed);
        self.links.retain(|netns| {
            let taken = self.config.ports.values().filter_map(|port| opening::taken_in(&port.kind));
            taken.into_iter().any(|taken| taken.as_ref() == netns)
        });
        let mut notes = netdev::undo(left_ports.into_iter().filter_map(|port| port.made).collect());
        notes.extend(self.change_exports(&before));
        notes
    }

    /// Forgets what is behind a peer that the workers have forgotten.
    fn purge_peer(&self, port: PortId, peer: PeerId) {
        self.live.bridges.values().for_each(|bridge| bridge.fdb.purge_peer(Location { port, peer }));
    }

    /// The ports of bridges that begin or cease to tell VLANs apart, or to be a wire: what is known of their stations is no
    /// longer true.
    fn ports_of_turned_bridges(&self, wanted: &Config) -> Vec<PortId> {
        let kind = |config, bridge: &str| {
            (shape::is_vlan_aware(config, bridge), shape::is_passthrough(config, bridge))
        };
        let turned = |bridge: &str| kind(&self.config, bridge) != kind(wanted, bridge);
        let ports = self.live.ports.iter().filter(|(name, _)| {
            self.config.ports.get(*name).and_then(|port| port.bridge.as_deref()).is_some_and(turned)
        });
        ports.map(|(_, live)| live.id).collect()
    }

    /// Brings the static entries up to date. Those of ports that were purged are pinned again.
    fn pin_statics(&self, plan: &Plan) {
        for step in &plan.changes {
            if let Step::StaticRemove(entry) = step
                && let Some(bridge) = self.live.bridges.get(&entry.bridge)
            {
                bridge.fdb.remove(self.station(entry));
            }
        }
        for entry in &self.config.statics {
            if let (Some(bridge), Some(at)) = (self.live.bridges.get(&entry.bridge), self.place_of(entry)) {
                bridge.fdb.pin(self.station(entry), at);
            }
        }
    }

    /// The port that a static entry is behind, and the peer.
    fn place_of(&self, entry: &StaticEntry) -> Option<Location> {
        let port = self.live.ports.get(&entry.port)?;
        let peer = entry.remote.and_then(|remote| port.tunnel.as_ref()?.slot_of(remote));
        Some(Location { port: port.id, peer: peer.unwrap_or(PeerId::NONE) })
    }

    fn station(&self, entry: &StaticEntry) -> Station {
        let of_port =
            || self.config.ports.get(&entry.port).map_or(0, |port| shape::untagged_vid(&self.config, port));
        Station::new(entry.mac, entry.vlan.unwrap_or_else(of_port))
    }

    /// Takes a port out of use whose device is gone.
    pub(super) fn mark_missing(&mut self, name: &str) {
        let Some(port) = self.live.ports.get_mut(name) else { return };
        if std::mem::replace(&mut port.missing, true) {
            return;
        }
        let id = port.id;
        // What was made is gone, too.
        port.made = None;
        tracing::warn!(port = name, "its device is gone; it is taken again when it comes back");
        let topology = self.next_topology();
        drop(self.exchange(topology, vec![id], Vec::new()));
        self.live.bridges.values().for_each(|bridge| {
            bridge.fdb.flush(|_, entry| entry.port == id);
        });
    }

    /// Puts a port to work whose device is back.
    pub(super) fn reattach(&mut self, name: &str, opened: Opened) {
        let Some(old) = self.live.ports.get(name) else { return };
        let (id, storm) = (old.id, old.limits);
        let (port, queues) = LivePort::new(id, opened, storm);
        self.live.ports.insert(name.to_owned(), port);
        let topology = self.next_topology();
        drop(self.exchange(topology, vec![id], vec![(id, queues)]));
    }

    /// What is to run now, under a new epoch.
    pub(super) fn next_topology(&mut self) -> switch::Topology {
        self.epoch += 1;
        self.live.topology(&self.config, self.epoch)
    }

    /// Gives the workers a topology and waits until each has taken it. Gives back the queues that went.
    pub(super) fn exchange(
        &mut self,
        topology: switch::Topology,
        remove: Vec<PortId>,
        install: Vec<(PortId, Vec<Queue>)>,
    ) -> Vec<Queue> {
        self.installed.retain(|id, _| !remove.contains(id));
        self.installed.extend(install.iter().map(|(id, _)| (*id, topology.epoch)));
        let topology = Arc::new(topology);
        let before = std::mem::replace(&mut self.topology, Arc::clone(&topology));
        let mut install: Vec<_> = install.into_iter().map(|(id, queues)| (id, queues.into_iter())).collect();
        let (done, taken) = crossbeam_channel::unbounded();
        let watchers = self.watches.turn(&self.config, &self.live, self.workers.len());
        for (worker, watchers) in self.workers.iter().zip(watchers) {
            let queues = install.iter_mut().filter_map(|(id, queues)| Some((*id, queues.next()?))).collect();
            let change = Change {
                topology: Arc::clone(&topology),
                remove: remove.clone(),
                install: queues,
                watchers,
                done: done.clone(),
            };
            worker.send(Command::Change(change));
        }
        drop(done);
        let answers = self.workers.iter().map_while(|_| taken.recv_timeout(WORKER_PATIENCE).ok());
        let closed: Vec<_> = answers.collect();
        if closed.len() < self.workers.len() {
            tracing::error!(
                "{} of {} workers do not answer",
                self.workers.len() - closed.len(),
                self.workers.len()
            );
        }
        // Whoever is the last to let go of a topology frees all its routes and rules. That is to be nobody who moves frames.
        drop(before);
        closed.into_iter().flatten().collect()
    }
}

/// Closes what was opened and is not to be after all.
fn undo(fresh: Vec<Fresh>) {
    let made = fresh.into_iter().filter_map(|(_, found)| found.opened.made);
    netdev::undo(made.collect());
}

fn explain(name: &str, config: &PortConfig, error: &PortError) -> String {
    match config.kind {
        // It says which it is, and nobody has called it a port.
        PortKind::Underlay(_) => error.to_string(),
        _ => format!("port {name}: {error}"),
    }
}
