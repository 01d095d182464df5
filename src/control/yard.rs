//! The running switch: its workers, its ports and the configuration they were made from.
//!
//! Every change takes one way, [`State::apply`]: the wanted configuration is compared with the one that runs, what has to
//! be opened is opened here and not on the workers, and only when all of it is there do the workers take the new topology
//! with its queues, between two batches. What fails before that leaves everything as it was.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde_json::Value;

use super::api::{Applied, ConfigInfo, Flushed, Request, VersionInfo};
use super::config::{Config, Document, StaticEntry};
use super::plan::{self, Change as Step, Plan};
use super::server::{Handler, Peer};
use super::shape::{self, Live, LiveBridge, LivePort, WORKER_PATIENCE};
use super::{opening, show};
use crate::packet::PortId;
use crate::port::{Opened, Port};
use crate::switch;
use crate::table::fdb::{Generations, Station};
use crate::worker::{self, Change, Command, Event, Report};

/// Most workers without being asked: beyond, a switch takes cores that its guests need.
const DEFAULT_MAX_WORKERS: usize = 4;
/// The longest busy-poll window without being asked.
const DEFAULT_BUSY_POLL: Duration = Duration::from_micros(50);
/// How often the device of a port that is missing is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// Events of workers that wait for control; a worker does not wait when there are more.
const EVENTS: usize = 256;

/// A running switch. Dropping it ends the workers and closes every port.
pub struct Yard {
    state: Arc<Mutex<State>>,
    watcher: Option<thread::JoinHandle<()>>,
}

impl Yard {
    /// Starts the workers and opens everything that `document` says. All or nothing.
    pub fn start(document: Document, path: Option<PathBuf>) -> Result<Yard, String> {
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        let (happened, events) = crossbeam_channel::bounded(EVENTS);
        let mut state = State::new(config.switch.clone(), path, happened)?;
        state.apply(document, config)?;
        let state = Arc::new(Mutex::new(state));
        let watched = Arc::clone(&state);
        let watcher = thread::Builder::new()
            .name("watcher".into())
            .spawn(move || watch(&watched, &events))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Yard { state, watcher: Some(watcher) })
    }

    /// Reads the configuration file again and applies what has changed.
    pub fn reload(&self) -> Result<Applied, String> {
        lock(&self.state).reload()
    }

    /// One line on what runs.
    pub fn summary(&self) -> String {
        let state = lock(&self.state);
        let (bridges, ports, workers) =
            (state.live.bridges.len(), state.live.ports.len(), state.workers.len());
        let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!("{}, {}, {}", some(bridges, "bridge"), some(ports, "port"), some(workers, "worker"))
    }

    /// The door for the control socket.
    pub fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(Door(Arc::clone(&self.state)))
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // The workers hold the senders of events, so their end is the watcher's.
        lock(&self.state).stop();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

struct Door(Arc<Mutex<State>>);

impl Handler for Door {
    fn handle(&self, request: Request, _peer: Peer) -> Result<Value, String> {
        lock(&self.0).answer(request)
    }
}

/// The state behind its lock; a holder that panicked has left it as consistent as its last finished step.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What runs.
pub(super) struct State {
    path: Option<PathBuf>,
    document: Document,
    pub(super) config: Config,
    pub(super) live: Live,
    pub(super) epoch: u64,
    pub(super) started: Instant,
    generations: Arc<Generations>,
    pub(super) workers: Vec<worker::Handle>,
    happened: Option<Sender<Event>>,
}

impl State {
    fn new(
        switch: super::config::SwitchConfig,
        path: Option<PathBuf>,
        happened: Sender<Event>,
    ) -> Result<State, String> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = switch.workers.unwrap_or(cores.min(DEFAULT_MAX_WORKERS));
        let busy_poll = switch.busy_poll.unwrap_or(DEFAULT_BUSY_POLL);
        let (generations, started) = (Generations::new(), Instant::now());
        let start =
            |index| worker::start(index, Arc::clone(&generations), busy_poll, started, happened.clone());
        let workers = (0..count).map(start).collect::<Result<Vec<_>, _>>();
        let workers = workers.map_err(|error| format!("cannot start {count} workers: {error}"))?;
        Ok(State {
            path,
            document: Document::default(),
            config: Config { switch, ..Config::default() },
            live: Live::default(),
            epoch: 0,
            started,
            generations,
            workers,
            happened: Some(happened),
        })
    }

    fn stop(&mut self) {
        self.workers.clear();
        self.happened = None;
    }

    /// Makes `wanted` what runs, or says in one line why not and changes nothing.
    fn apply(&mut self, document: Document, wanted: Config) -> Result<Applied, String> {
        let plan = plan::diff(&self.config, &wanted).map_err(|refusal| refusal.to_string())?;
        let fresh = self.open_all(&plan, &wanted)?;
        let fresh = self.reopen_all(&plan, &wanted, fresh)?;
        self.enact(&plan, wanted, fresh);
        self.document = document;
        let changes: Vec<_> = plan.changes.iter().map(ToString::to_string).collect();
        changes.iter().for_each(|change| tracing::info!("{change}"));
        Ok(Applied { epoch: self.epoch, changes })
    }

    /// Opens the ports that are new.
    fn open_all(&self, plan: &Plan, wanted: &Config) -> Result<Vec<(String, Opened)>, String> {
        let names = plan.changes.iter().filter_map(|step| match step {
            Step::AddPort(name) => Some(name),
            _ => None,
        });
        names.map(|name| Ok((name.clone(), self.open(name, wanted)?))).collect()
    }

    /// Closes and opens the ports whose device must be another; if one fails, all are as before.
    fn reopen_all(
        &mut self,
        plan: &Plan,
        wanted: &Config,
        mut fresh: Vec<(String, Opened)>,
    ) -> Result<Vec<(String, Opened)>, String> {
        let names: Vec<_> = plan
            .changes
            .iter()
            .filter_map(|step| match step {
                Step::ReopenPort(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let ids = names.iter().filter_map(|name| Some(self.live.ports.get(name)?.id)).collect::<Vec<_>>();
        if ids.is_empty() {
            return Ok(fresh);
        }
        // A device can be held once only, so the old one has to go first.
        let topology = self.next_topology();
        drop(self.exchange(topology, ids, Vec::new()));
        for name in &names {
            match self.open(name, wanted) {
                Ok(opened) => fresh.push((name.clone(), opened)),
                Err(why) => {
                    drop(fresh);
                    self.restore(&names);
                    return Err(why);
                }
            }
        }
        Ok(fresh)
    }

    /// Opens ports again as they were; one that cannot be is missing from now on, and looked for.
    fn restore(&mut self, names: &[String]) {
        let config = self.config.clone();
        for name in names {
            match self.open(name, &config) {
                Ok(opened) => self.reattach(name, opened),
                Err(why) => {
                    tracing::error!("{why}");
                    self.mark_missing(name);
                }
            }
        }
    }

    fn open(&self, name: &str, config: &Config) -> Result<Opened, String> {
        let Some(port) = config.ports.get(name) else {
            return Err(format!("port {name}: is not configured"));
        };
        opening::open(&port.kind, self.workers.len()).map_err(|error| format!("port {name}: {error}"))
    }

    /// Makes the plan real: nothing can fail any more.
    fn enact(&mut self, plan: &Plan, wanted: Config, fresh: Vec<(String, Opened)>) {
        let mut gone = Vec::new();
        // Ports whose entries are no longer true: they changed their bridge or VLANs, or their bridge's kind.
        let mut estranged: Vec<_> = self
            .live
            .ports
            .iter()
            .filter_map(|(name, live)| {
                let bridge = self.config.ports.get(name)?.bridge.as_ref()?;
                let flipped =
                    shape::is_vlan_aware(&self.config, bridge) != shape::is_vlan_aware(&wanted, bridge);
                flipped.then_some(live.id)
            })
            .collect();
        for step in &plan.changes {
            match step {
                Step::AddBridge(name) => {
                    let id = self.live.free_bridge();
                    let bridge = LiveBridge::new(id, name, &wanted.bridges[name], &self.generations);
                    self.live.bridges.insert(name.clone(), bridge);
                }
                Step::ChangeBridge(name) => {
                    if let Some(live) = self.live.bridges.get_mut(name) {
                        let config = &wanted.bridges[name];
                        live.fdb.configure(config.fdb_limit, config.ageing);
                        live.mac = config.mac.unwrap_or_else(|| shape::own_mac(name));
                    }
                }
                Step::ChangePort(name) => {
                    if let Some(live) = self.live.ports.get_mut(name) {
                        let storm = wanted.ports[name].storm;
                        if live.storm.0 != storm {
                            live.storm = (storm, shape::storm(&storm));
                        }
                        let (old, new) = (&self.config.ports[name], &wanted.ports[name]);
                        if old.bridge != new.bridge || old.vlan != new.vlan {
                            estranged.push(live.id);
                        }
                    }
                }
                Step::RemovePort(name) => gone.extend(self.live.ports.get(name).map(|port| port.id)),
                Step::AddPort(_) | Step::ReopenPort(_) | Step::RemoveBridge(_) => {}
                Step::AddStatic(_) | Step::RemoveStatic(_) => {}
            }
        }
        let mut install = Vec::new();
        for (name, opened) in fresh {
            let id = self.live.ports.get(&name).map_or_else(|| self.live.free_port(), |port| port.id);
            let storm = wanted.ports[&name].storm;
            let (port, queues) = admit(id, opened, (storm, shape::storm(&storm)));
            self.live.ports.insert(name, port);
            install.push((id, queues));
        }
        self.live.ports.retain(|name, _| wanted.ports.contains_key(name));
        self.config = wanted;
        let topology = self.next_topology();
        let closed = self.exchange(topology, gone.clone(), install);
        // The workers have forgotten these ports now, so nothing is learned behind them any more.
        for id in gone.into_iter().chain(estranged) {
            self.live.bridges.values().for_each(|bridge| bridge.fdb.purge(id));
        }
        self.live.bridges.retain(|name, _| self.config.bridges.contains_key(name));
        self.pin_statics(plan);
        drop(closed);
    }

    /// Brings the static entries up to date. Those of ports that were purged are pinned again.
    fn pin_statics(&self, plan: &Plan) {
        for step in &plan.changes {
            if let Step::RemoveStatic(entry) = step
                && let Some(bridge) = self.live.bridges.get(&entry.bridge)
            {
                bridge.fdb.remove(self.station(entry));
            }
        }
        for entry in &self.config.statics {
            if let (Some(bridge), Some(port)) =
                (self.live.bridges.get(&entry.bridge), self.live.ports.get(&entry.port))
            {
                bridge.fdb.pin(self.station(entry), port.id);
            }
        }
    }

    fn station(&self, entry: &StaticEntry) -> Station {
        let of_port =
            || self.config.ports.get(&entry.port).map_or(0, |port| shape::untagged_vid(&self.config, port));
        Station::new(entry.mac, entry.vlan.unwrap_or_else(of_port))
    }

    fn next_topology(&mut self) -> switch::Topology {
        self.epoch += 1;
        self.live.topology(&self.config, self.epoch)
    }

    /// Gives the workers a topology and waits until each has taken it. Gives back the queues that went.
    fn exchange(
        &self,
        topology: switch::Topology,
        remove: Vec<PortId>,
        install: Vec<(PortId, Vec<Box<dyn Port>>)>,
    ) -> Vec<Box<dyn Port>> {
        let topology = Arc::new(topology);
        let mut install: Vec<_> = install.into_iter().map(|(id, queues)| (id, queues.into_iter())).collect();
        let (done, taken) = crossbeam_channel::unbounded();
        for worker in &self.workers {
            let queues = install.iter_mut().filter_map(|(id, queues)| Some((*id, queues.next()?))).collect();
            let change = Change {
                topology: Arc::clone(&topology),
                remove: remove.clone(),
                install: queues,
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
        closed.into_iter().flatten().collect()
    }

    /// What every worker has seen, each at one moment between two batches.
    pub(super) fn reports(&self) -> Vec<Report> {
        let (to, reports) = crossbeam_channel::unbounded();
        self.workers.iter().for_each(|worker| worker.send(Command::Report(to.clone())));
        drop(to);
        let mut all: Vec<_> =
            self.workers.iter().map_while(|_| reports.recv_timeout(WORKER_PATIENCE).ok()).collect();
        all.sort_by_key(|report| report.worker);
        all
    }

    fn reload(&mut self) -> Result<Applied, String> {
        let Some(path) = &self.path else {
            return Err("nothing to reload: no configuration file was given".into());
        };
        let document = Document::load(path).map_err(|errors| errors.to_string())?;
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        self.apply(document, config)
    }

    /// Applies an edit of the running configuration.
    fn edit(&mut self, edit: impl FnOnce(&mut Document) -> Result<(), String>) -> Result<Applied, String> {
        let mut document = self.document.clone();
        edit(&mut document)?;
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        self.apply(document, config)
    }

    fn answer(&mut self, request: Request) -> Result<Value, String> {
        match request {
            Request::Version {} => {
                let version = env!("CARGO_PKG_VERSION").into();
                json(VersionInfo { version, pid: std::process::id() })
            }
            Request::PortShow { name } => json(show::ports(self, name.as_deref())?),
            Request::PortAdd { name, keys } => json(self.edit(|document| document.port_add(&name, &keys))?),
            Request::PortSet { name, keys } => json(self.edit(|document| document.port_set(&name, &keys))?),
            Request::PortDel { name } => json(self.edit(|document| document.port_del(&name))?),
            Request::FdbShow(filter) => json(show::fdb(self, &filter)?),
            Request::FdbAdd { bridge, mac, port, vlan } => {
                json(self.edit(|document| document.fdb_add(bridge.as_deref(), mac, &port, vlan))?)
            }
            Request::FdbDel { bridge, mac, vlan } => json(self.fdb_del(bridge.as_deref(), mac, vlan)?),
            Request::FdbFlush(filter) => json(Flushed { entries: show::flush(self, &filter)? }),
            Request::BridgeShow {} => json(show::bridges(self)),
            Request::Stats {} => json(show::stats(self)),
            Request::Drops {} => json(show::drops(self)),
            Request::Reload {} => json(self.reload()?),
            Request::ConfigShow {} => json(ConfigInfo { toml: self.document.to_string() }),
        }
    }

    /// Removes what is known of an address: static entries from the configuration, learned ones from the tables.
    fn fdb_del(
        &mut self,
        bridge: Option<&str>,
        mac: crate::wire::ethernet::Mac,
        vlan: Option<u16>,
    ) -> Result<Applied, String> {
        let mut document = self.document.clone();
        let statics = document.fdb_del(bridge, mac, vlan)?;
        let filter =
            super::api::FdbFilter { bridge: bridge.map(Into::into), port: None, vlan, mac: Some(mac) };
        let learned = show::flush(self, &filter)?;
        if statics == 0 && learned == 0 {
            return Err(format!("no entry of {mac} (fdb show lists them)"));
        }
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        let mut applied = self.apply(document, config)?;
        if learned > 0 {
            applied.changes.push(format!("- fdb {mac}: {learned} learned"));
        }
        Ok(applied)
    }

    fn mark_missing(&mut self, name: &str) {
        let Some(port) = self.live.ports.get_mut(name) else { return };
        if std::mem::replace(&mut port.missing, true) {
            return;
        }
        let id = port.id;
        tracing::warn!("port {name}: its device is gone; it is taken again when it comes back");
        let topology = self.next_topology();
        drop(self.exchange(topology, vec![id], Vec::new()));
        self.live.bridges.values().for_each(|bridge| {
            bridge.fdb.flush(|_, entry| entry.port == id);
        });
    }

    /// Puts a port to work whose device is back.
    fn reattach(&mut self, name: &str, opened: Opened) {
        let Some(old) = self.live.ports.get(name) else { return };
        let (id, storm) = (old.id, old.storm.clone());
        let (port, queues) = admit(id, opened, storm);
        self.live.ports.insert(name.to_owned(), port);
        let topology = self.next_topology();
        drop(self.exchange(topology, vec![id], vec![(id, queues)]));
    }

    /// Looks for the devices of ports that are missing; true when some still are.
    fn look_for_missing(&mut self) -> bool {
        let missing: Vec<_> =
            self.live.ports.iter().filter(|(_, port)| port.missing).map(|(name, _)| name.clone()).collect();
        for name in missing {
            let Some(kind) = self.config.ports.get(&name).map(|port| port.kind.clone()) else { continue };
            if !opening::exists(&kind) {
                continue;
            }
            match self.open(&name, &self.config) {
                Ok(opened) => {
                    self.reattach(&name, opened);
                    tracing::info!("port {name}: its device is back");
                }
                Err(why) => tracing::warn!("{why}"),
            }
        }
        self.live.ports.values().any(|port| port.missing)
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Gone(id) => {
                if let Some(name) = self.live.port_name(id).map(str::to_owned) {
                    self.mark_missing(&name);
                }
            }
            Event::Switch(switch::Event::Flap { bridge, mac, from, to }) => {
                let name = |id| self.live.port_name(id).unwrap_or("?");
                let bridge = self.live.bridge_name(bridge).unwrap_or("?");
                tracing::warn!(
                    "bridge {bridge}: {mac} moves to and fro between {} and {}: two hosts with one address, or a loop",
                    name(from),
                    name(to)
                );
            }
        }
    }
}

/// A port as it runs, and its queues.
fn admit(
    id: PortId,
    opened: Opened,
    storm: (super::config::Storm, switch::Storm),
) -> (LivePort, Vec<Box<dyn Port>>) {
    let port = LivePort {
        id,
        capabilities: opened.capabilities,
        mtu: opened.mtu,
        mac: opened.mac,
        device: opened.device,
        queues: opened.queues.iter().filter(|queue| queue.fd().is_some()).count(),
        missing: false,
        storm,
    };
    (port, opened.queues)
}

fn json(value: impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// Takes what the workers tell, and looks for missing devices while there are any. Ends with the workers.
fn watch(state: &Mutex<State>, events: &Receiver<Event>) {
    let mut missing = false;
    loop {
        let event = match missing {
            true => events.recv_timeout(RETRY),
            false => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(event) => lock(state).note(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        missing = lock(state).look_for_missing();
    }
}
