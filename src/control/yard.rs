//! The running switch: its workers, its ports and the configuration they were made from.
//!
//! Every change takes one way, `State::apply`, whoever asks for it: a request, a reload of the file, the start itself.
//! All who ask wait for one lock, which no worker ever takes.

mod apply;
mod exports;
mod listener;
mod view;
mod watcher;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;
use serde_json::Value;

use super::api::{
    Applied, AttachQuery, ConfigInfo, FdbFilter, Flushed, ProbeInfo, Request, TalkerInfo, TraceQuery,
    VersionInfo,
};
use super::config::{Config, Document, SwitchConfig};
use super::host::{self, Places};
use super::probe::{self, Target};
use super::server::{Handler, Peer, Response, Stream};
use super::shape::{Live, WORKER_PATIENCE};
use super::show::live::{self, Wanted};
use super::show::routers;
use super::talkers::Talkers;
use super::trace::{self, Trace};
use super::watching::{Source, Watch, Watches};
use super::{capture, http, opening, show};
use crate::packet::{Location, PortId};
use crate::port::netdev;
use crate::port::watch::LinkWatch;
use crate::switch::Topology;
use crate::table::fdb::Generations;
use crate::time::Time;
use crate::wire::ethernet::Mac;
use crate::worker::{self, Command, Echo, Event, Report};

pub(super) use view::View;

/// Most workers without being asked: beyond, a switch takes cores that its guests need.
const DEFAULT_MAX_WORKERS: usize = 4;
/// The longest busy-poll window without being asked.
const DEFAULT_BUSY_POLL: Duration = Duration::from_micros(50);
/// Echoes whose answers are waited for, at most.
const MAX_ECHOES: usize = 1024;
/// What has happened to interfaces and was not looked at yet; more of that is left to the kernel.
const MAX_LINK_EVENTS: usize = 64;

/// A running switch. Dropping it ends the workers and closes every port.
pub struct Yard {
    state: Arc<Mutex<State>>,
    watcher: Option<thread::JoinHandle<()>>,
}

impl Yard {
    /// Starts the workers and opens everything that `document` says. All or nothing.
    pub fn start(document: Document, path: Option<PathBuf>) -> Result<Yard, String> {
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        let (happened, events) = crossbeam_channel::unbounded();
        let (wake, woken) = crossbeam_channel::bounded(1);
        let (changed, links) = crossbeam_channel::bounded(MAX_LINK_EVENTS);
        let link_watch =
            LinkWatch::start(changed).map_err(|error| format!("cannot start a thread: {error}"))?;
        let state = State::new(config.switch.clone(), path, &happened, wake, link_watch)?;
        drop(happened);
        let state = Arc::new_cyclic(|shared| Mutex::new(State { view: View::new(shared.clone()), ..state }));
        lock(&state).apply(document, config)?;
        let watched = Arc::clone(&state);
        let watcher = thread::Builder::new()
            .name("watcher".into())
            .spawn(move || watcher::watch(&watched, &events, &woken, &links))
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
            (state.live.bridges.len(), state.config.own_ports().count(), state.workers.len());
        let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!("{}, {}, {}", some(bridges, "bridge"), some(ports, "port"), some(workers, "worker"))
    }

    /// Where metrics are to be had over HTTP.
    pub fn metrics(&self) -> Option<SocketAddr> {
        lock(&self.state).listener.as_ref().map(http::Server::address)
    }

    /// The state, to look at.
    #[cfg(test)]
    pub(super) fn view(&self) -> View {
        lock(&self.state).view.clone()
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
    fn handle(&self, request: Request, _peer: Peer) -> Result<Response, String> {
        let reply = lock(&self.0).answer(request)?;
        match reply {
            Reply::Now(value) => Ok(value.into()),
            // Nobody else waits for what is on its way.
            Reply::Host(places) => Ok(json(host::look(&places))?.into()),
            Reply::Later(echo) => Ok(json(echo.wait())?.into()),
            Reply::Trace(trace) => Ok(json(trace.walk())?.into()),
            Reply::Stream(value, stream) => Ok(Response { value, stream: Some(stream) }),
        }
    }
}

/// What a request is answered with.
enum Reply {
    Now(Value),
    /// With how an echo ends.
    Later(probe::Sent),
    /// With what the machine looks like at these places, which takes a while.
    Host(Places),
    /// With what a frame meets on its way.
    Trace(Trace),
    /// With this, and a stream behind it.
    Stream(Value, Stream),
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
    /// What the workers have.
    topology: Arc<Topology>,
    pub(super) started: Instant,
    generations: Arc<Generations>,
    pub(super) workers: Vec<worker::Handle>,
    /// The epoch at which the queues that a port has now were given to the workers.
    installed: BTreeMap<PortId, u64>,
    /// When the ways to peers were last looked at unasked.
    looked: Instant,
    /// When it was last taken note of that guests have come or gone.
    guests_noted: Option<Instant>,
    /// Who waits for which echo, the oldest first.
    echoes: VecDeque<(u64, Sender<Echo>)>,
    /// Wakes the watcher.
    wake: Sender<()>,
    /// Has the watcher hear of interfaces.
    links: LinkWatch,
    /// How many watch, and how many ever have.
    watches: Watches,
    /// Counts who talks most, while somebody asks for it.
    talkers: Talkers,
    /// How the configuration file was read last.
    pub(super) loaded: Loaded,
    /// Shows the state to whoever asks over HTTP.
    view: View,
    /// Who answers them.
    listener: Option<http::Server>,
    /// The exports that run, by name.
    exports: BTreeMap<String, exports::LiveExport>,
}

/// How the configuration file was read and put in place.
pub(super) struct Loaded {
    /// Whether that succeeded the last time.
    pub(super) well: bool,
    /// When it last succeeded.
    pub(super) at: SystemTime,
}

impl State {
    fn new(
        switch: SwitchConfig,
        path: Option<PathBuf>,
        happened: &Sender<Event>,
        wake: Sender<()>,
        links: LinkWatch,
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
            // The listener comes as all else does that a change can bring.
            config: Config { switch: SwitchConfig { metrics: None, ..switch }, ..Config::default() },
            live: Live::default(),
            epoch: 0,
            topology: Arc::default(),
            started,
            generations,
            workers,
            installed: BTreeMap::new(),
            looked: started,
            guests_noted: None,
            echoes: VecDeque::new(),
            wake,
            links,
            watches: Watches::default(),
            talkers: Talkers::default(),
            loaded: Loaded { well: true, at: SystemTime::now() },
            view: View::default(),
            listener: None,
            exports: BTreeMap::new(),
        })
    }

    fn stop(&mut self) {
        self.listener = None;
        // So that nobody is told that the devices are gone.
        let live = std::mem::take(&mut self.live);
        let made = live.ports.into_values().filter_map(|port| port.made).collect();
        netdev::undo(made).iter().for_each(|note| tracing::warn!("{note}"));
        opening::remove_all(&self.config);
        self.workers.clear();
        // Now they have all samples, and tell what they have not told yet.
        self.exports.clear();
    }

    /// Has the watchers of `source` watch what passes until what is returned is dropped, or what they watch is gone.
    ///
    /// # Errors
    /// When too many watch already.
    pub(super) fn watch(&mut self, source: Box<dyn Source>) -> Result<Watch, String> {
        self.watches.start_source(&self.workers, source)
    }

    fn talkers(&mut self) -> Result<Vec<TalkerInfo>, String> {
        let now = Time::ZERO + self.started.elapsed();
        self.talkers.ask(&mut self.watches, &self.workers, &self.live, now)
    }

    /// A trace of what `query` describes, which is to walk when nobody else waits any more.
    ///
    /// # Errors
    /// One line: there is no such port or peer, or the frame is described wrong.
    pub(super) fn trace(&self, query: &TraceQuery) -> Result<Trace, String> {
        let now = Time::ZERO + self.started.elapsed();
        Trace::new(query, Arc::clone(&self.topology), Arc::clone(&self.generations), now)
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
        let applied = self.read_again();
        self.loaded.well = applied.is_ok();
        if applied.is_ok() {
            self.loaded.at = SystemTime::now();
        }
        applied
    }

    fn read_again(&mut self) -> Result<Applied, String> {
        let Some(path) = &self.path else {
            return Err("nothing to reload: no configuration file was given".into());
        };
        let document = Document::load(path).map_err(|errors| errors.to_string())?;
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        let mut applied = self.apply(document, config)?;
        let remade = self.remake_missing();
        applied.epoch = self.epoch;
        applied.changes.extend(remade);
        Ok(applied)
    }

    /// Makes the devices again that were made for ports and that somebody has deleted: that is what the file says. An
    /// interface that was not made for its port can only be waited for.
    fn remake_missing(&mut self) -> Vec<String> {
        let is_missing = |name: &String| self.live.ports.get(name).is_some_and(|port| port.missing);
        let ports =
            self.config.ports.iter().filter(|(name, port)| is_missing(name) && opening::makes(&port.kind));
        let ports: Vec<_> = ports.map(|(name, port)| (name.clone(), self.open(name, port))).collect();
        let mut changes = Vec::new();
        for (name, opened) in ports {
            match opened {
                Ok(opened) => {
                    self.reattach(&name, opened);
                    changes.push(format!("~ port {name}: its device is made again"));
                }
                Err(why) => self.complain(&name, why),
            }
        }
        changes
    }

    /// Applies an edit of the running configuration.
    fn edit(&mut self, edit: impl FnOnce(&mut Document) -> Result<(), String>) -> Result<Applied, String> {
        let mut document = self.document.clone();
        edit(&mut document)?;
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        // Who makes a change is told what is doubtful about it, not about all that was there.
        let before = self.warnings();
        let mut applied = self.apply(document, config)?;
        applied.warnings.retain(|warning| !before.contains(warning));
        Ok(applied)
    }

    fn answer(&mut self, request: Request) -> Result<Reply, String> {
        let value = match request {
            Request::Version {} => {
                let version = env!("CARGO_PKG_VERSION").into();
                json(VersionInfo { version, pid: std::process::id() })
            }
            Request::PortShow { name } => {
                self.look_at_links(|_| true);
                json(show::ports(self, name.as_deref())?)
            }
            Request::PortAttach(query) => {
                self.look_at_links(|_| true);
                json(show::attach(self, &query)?)
            }
            Request::PortAdd { name, keys } => {
                let mut applied = self.edit(|document| document.port_add(&name, &keys))?;
                applied.attach = show::attach(self, &AttachQuery { name, ..AttachQuery::default() }).ok();
                json(applied)
            }
            Request::PortSet { name, keys } => json(self.edit(|document| document.port_set(&name, &keys))?),
            Request::PortDel { name } => json(self.edit(|document| document.port_del(&name))?),
            Request::FdbShow(filter) => json(show::fdb(self, &filter)?),
            Request::FdbFind(search) => json(show::find(self, &search)?),
            Request::FdbAdd { bridge, mac, port, vlan, remote } => {
                json(self.edit(|document| document.fdb_add(bridge.as_deref(), mac, &port, vlan, remote))?)
            }
            Request::FdbDel { bridge, mac, vlan } => json(self.fdb_del(bridge.as_deref(), mac, vlan)?),
            Request::FdbFlush(filter) => json(Flushed { entries: show::flush(self, &filter)? }),
            Request::BridgeShow {} => json(show::bridges(self)),
            Request::TunnelShow { name } => {
                self.look_at_links(|_| true);
                json(show::tunnels(self, name.as_deref())?)
            }
            Request::TunnelProbe { to, port, size } => {
                return self.probe(&to, port.as_deref(), size).map(Reply::Later);
            }
            Request::MirrorShow { name } => json(show::mirrors(self, name.as_deref())?),
            Request::MirrorAdd { name, keys } => {
                json(self.edit(|document| document.mirror_add(&name, &keys))?)
            }
            Request::MirrorSet { name, keys } => {
                json(self.edit(|document| document.mirror_set(&name, &keys))?)
            }
            Request::MirrorDel { name } => json(self.edit(|document| document.mirror_del(&name))?),
            Request::RouterShow { name } => {
                json(routers::routers(&self.config, &live::seen(self, Wanted::default()), name.as_deref())?)
            }
            Request::RouterAdd { name, keys } => {
                json(self.edit(|document| document.router_add(&name, &keys))?)
            }
            Request::RouterSet { router, keys } => {
                json(self.edit(|document| document.router_set(router.as_deref(), &keys))?)
            }
            Request::RouterDel { name } => json(self.edit(|document| document.router_del(&name))?),
            Request::InterfaceAdd { router, name, keys } => {
                json(self.edit(|document| document.interface_add(router.as_deref(), &name, &keys))?)
            }
            Request::InterfaceSet { router, name, keys } => {
                json(self.edit(|document| document.interface_set(router.as_deref(), &name, &keys))?)
            }
            Request::InterfaceDel { router, name } => {
                json(self.edit(|document| document.interface_del(router.as_deref(), &name))?)
            }
            Request::RouteShow { router } => json(routers::routes(&self.config, router.as_deref())?),
            Request::RouteAdd { router, keys } => {
                json(self.edit(|document| document.route_add(router.as_deref(), &keys))?)
            }
            Request::RouteDel { router, to, via, metric } => {
                json(self.edit(|document| document.route_del(router.as_deref(), &to, via, metric))?)
            }
            Request::RouteGet { router, address, from } => json(routers::explain(
                &self.config,
                &live::seen(self, Wanted::default()),
                router.as_deref(),
                address,
                from,
            )?),
            Request::NeighborShow(filter) => {
                json(routers::neighbors(&self.config, &live::seen(self, Wanted::default()), &filter)?)
            }
            Request::NeighborAdd { router, keys } => {
                json(self.edit(|document| document.neighbor_add(router.as_deref(), &keys))?)
            }
            Request::NeighborDel { router, interface, address } => {
                json(self.edit(|document| {
                    document.neighbor_del(router.as_deref(), interface.as_deref(), address)
                })?)
            }
            Request::NatShow(filter) => {
                let limit = filter.limit.unwrap_or(routers::SHOWN_SESSIONS);
                let seen = live::seen(self, Wanted { sessions: Some((&filter, limit)), ..Wanted::default() });
                json(routers::nat(&self.config, &seen, &filter)?)
            }
            Request::NatRules { router } => {
                let seen = live::seen(self, Wanted { translated: true, ..Wanted::default() });
                json(routers::nat_rules(&self.config, &seen, router.as_deref())?)
            }
            Request::NatAdd { router, keys, at } => {
                json(self.edit(|document| document.nat_add(router.as_deref(), &keys, at))?)
            }
            Request::NatDel { router, number } => {
                json(self.edit(|document| document.nat_del(router.as_deref(), number))?)
            }
            Request::NeighborFlush(filter) => json(Flushed { entries: live::flush_neighbors(self, &filter) }),
            Request::NatFlush(filter) => json(Flushed { entries: live::flush_sessions(self, &filter) }),
            Request::RuleShow { router, bridge } => {
                let (router, bridge) = (router.as_deref(), bridge.as_deref());
                let seen = live::seen(self, Wanted { rules: true, ..Wanted::default() });
                json(routers::rules(&self.config, &seen, router, bridge)?)
            }
            Request::RuleAdd { keys, at } => json(self.edit(|document| document.rule_add(&keys, at))?),
            Request::RuleDel { number } => json(self.edit(|document| document.rule_del(number))?),
            Request::RuleMove { from, to } => json(self.edit(|document| document.rule_move(from, to))?),
            Request::Stats {} => json(show::stats(self)),
            Request::Talkers {} => json(self.talkers()?),
            Request::Trace(query) => return self.trace(&query).map(Reply::Trace),
            Request::TraceFollow(query) => {
                let (following, parts) = trace::follow(&query, &self.topology)?;
                let source = Box::new(self.watch(Box::new(following))?);
                return Ok(Reply::Stream(Value::Null, Stream { parts, source }));
            }
            Request::Drops {} => json(show::drops(self)),
            Request::HostShow {} => return Ok(Reply::Host(Places::of(&self.config))),
            Request::ExportShow {} => json(self.show_exports()),
            Request::Reload {} => json(self.reload()?),
            Request::Capture(query) => {
                let (info, stream) = capture::start(self, &query)?;
                return json(info).map(|info| Reply::Stream(info, stream));
            }
            Request::ConfigShow {} => json(ConfigInfo { toml: self.document.to_string() }),
        };
        value.map(Reply::Now)
    }

    /// Sends an echo of `size` bytes to a peer of a tunnel.
    fn probe(&mut self, to: &str, port: Option<&str>, size: u32) -> Result<probe::Sent, String> {
        let target = probe::target(&self.live, to, port)?;
        let (done, echo) = crossbeam_channel::bounded(1);
        let Target { name, tunnel, peer, address, mtu } = target;
        let port = name.to_owned();
        self.send_echo(Location { port: tunnel, peer }, size, done);
        let info = ProbeInfo { port, remote: address, size, mtu, rtt_nanos: None, not_sent: None };
        Ok(probe::Sent { info, echo })
    }

    /// Has a worker send an echo to `target`, and `done` told how it ends; when that is dropped, it is lost.
    fn send_echo(&mut self, at: Location, size: u32, done: Sender<Echo>) {
        // Nobody who has not seen the echo can guess its answer.
        let token = RandomState::new().hash_one(at);
        while self.echoes.len() >= MAX_ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back((token, done));
        if let Some(worker) = self.workers.first() {
            worker.send(Command::Probe { at, token, size: size as usize });
        }
    }

    /// Tells who waits for an echo how it ended.
    fn end_echo(&mut self, token: u64, how: Echo) {
        if let Some(at) = self.echoes.iter().position(|(waiting, _)| *waiting == token)
            && let Some((_, done)) = self.echoes.remove(at)
        {
            let _ = done.send(how);
        }
    }

    /// Removes what is known of an address: static entries from the configuration, learned ones from the tables.
    fn fdb_del(&mut self, bridge: Option<&str>, mac: Mac, vlan: Option<u16>) -> Result<Applied, String> {
        let mut document = self.document.clone();
        let statics = document.fdb_del(bridge, mac, vlan)?;
        let config = document.to_config().map_err(|errors| errors.to_string())?;
        let filter = FdbFilter { bridge: bridge.map(Into::into), port: None, vlan, mac: Some(mac) };
        let learned = show::flush(self, &filter)?;
        if statics == 0 && learned == 0 {
            return Err(format!("no entry of {mac} (fdb show lists them)"));
        }
        let mut applied = self.apply(document, config)?;
        if learned > 0 {
            applied.changes.push(format!("- fdb {mac}: {learned} learned"));
        }
        Ok(applied)
    }
}

/// What an error says of a port, where who reads it knows already which.
fn about<'a>(port: &str, why: &'a str) -> &'a str {
    why.strip_prefix("port ").and_then(|rest| rest.strip_prefix(port)?.strip_prefix(": ")).unwrap_or(why)
}

fn json(value: impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
