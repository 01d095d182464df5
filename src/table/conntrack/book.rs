//! The book of a table: everything but the index, under one lock.
//!
//! Sessions come and go, and change what they are worth, only here; so limits, mappings, ports and the index cannot
//! disagree. All work is bounded: a bounded number of ports is tried, of sessions swept, and a session is removed without
//! a search.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::hash::{Heads, Sharded};
use super::limits::{Filtering, Limits, Mapping, has_ports};
use super::ports::{self, Endpoint, SourceNat};
use super::session::{Phase, Session};
use super::slots::{List, Slots};
use super::wheel::{Class, Wheel};
use super::{Opening, Shared, Stats};
use crate::packet::{DropReason, Tuple};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::udp;

/// Sessions of a mapping that are asked at most whether they let a stranger in.
const ASKED: usize = 128;
/// Addresses that are tried for a source that has none yet.
const ATTEMPTS: u8 = 4;
/// Closed sessions that give up their ports at most for a flow that finds none.
const RECLAIMED: usize = 8;

pub(super) struct Book {
    limits: Limits,
    slots: Slots,
    wheel: Wheel,
    /// Mappings, each by the slot of one of its sessions: by the endpoint inside,
    by_internal: Heads,
    /// and by that outside, which only one has.
    by_external: Heads,
    sources: Sharded<Source>,
    seed: u64,
    drawn: Cell<u64>,
    /// But for what is counted elsewhere.
    stats: Stats,
}

/// An address that sessions come from. Without alignment to 16 bytes, which would cost a third more.
struct Source {
    address: [u32; 4],
    /// Sessions; in the two lowest bits, which attempt its external address was found at.
    held: u32,
}

/// What a flow's source becomes.
pub(super) struct Choice {
    reply: Tuple,
    pub(super) mapping: Option<Joined>,
    attempt: u8,
}

pub(super) enum Joined {
    New,
    With(u32),
}

/// How a book is looked at: as it will be when some sessions have gone.
#[derive(Default)]
pub(super) struct View<'a> {
    pub(super) gone: Vec<Arc<Session>>,
    /// Those whose time has run out by then have gone as well.
    pub(super) now: Option<Time>,
    /// A table whose sessions stand beside those here, and how many they are.
    pub(super) beside: Option<&'a Shared>,
    pub(super) more: usize,
}

impl View<'_> {
    fn is_gone(&self, session: &Arc<Session>) -> bool {
        self.gone.iter().any(|gone| Arc::ptr_eq(gone, session))
            || self.now.is_some_and(|now| !session.is_live(now))
    }
}

impl Book {
    pub(super) fn new(limits: Limits, seed: u64) -> Book {
        let most = limits.sessions;
        Book {
            limits,
            slots: Slots::new(Wheel::HEADS),
            wheel: Wheel::new(),
            by_internal: Heads::new(most),
            by_external: Heads::new(most),
            sources: Sharded::new(most),
            seed,
            drawn: Cell::new(0),
            stats: Stats::default(),
        }
    }

    pub(super) fn configure(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            live: self.slots.live(),
            half_open: self.wheel.held(Class::HalfOpen),
            closed: self.wheel.held(Class::Closed),
            limit: self.limits.sessions,
            ..self.stats
        }
    }

    /// The sessions in some slots from `first` on, and where to go on; `None`: there are no more.
    pub(super) fn some(&self, first: u32) -> (Vec<Arc<Session>>, Option<u32>) {
        let end = self.slots.end().min(first.saturating_add(256));
        let some = (first..end).filter_map(|slot| self.slots.get(slot).cloned()).collect();
        (some, (end < self.slots.end()).then_some(end))
    }

    /// Starts a session, or gives the one that has its original.
    pub(super) fn open(
        &mut self,
        shared: &Arc<Shared>,
        opening: &Opening<'_>,
        now: Time,
    ) -> Result<Arc<Session>, DropReason> {
        self.sweep(shared, now, 64);
        if let Some((session, _)) = shared.index.find(&shared.hashes, &opening.original) {
            if session.is_live(now) {
                return Ok(session);
            }
            self.remove(shared, &session);
        }
        let opened = match self.try_open(shared, opening, now) {
            // What has timed out counts no more, even if there was no time yet to sweep all of it.
            Err(_) if !self.wheel.is_swept(now.secs()) => {
                self.sweep(shared, now, 256);
                self.try_open(shared, opening, now)
            }
            opened => opened,
        };
        let counter = match opened {
            Ok(_) => &mut self.stats.opened,
            Err(DropReason::SessionsFull) => &mut self.stats.refused_full,
            Err(DropReason::SourceQuota) => &mut self.stats.refused_quota,
            Err(_) => &mut self.stats.refused_ports,
        };
        *counter += 1;
        opened
    }

    fn try_open(
        &mut self,
        shared: &Arc<Shared>,
        opening: &Opening<'_>,
        now: Time,
    ) -> Result<Arc<Session>, DropReason> {
        let mut view = View::default();
        let planned = self.plan(shared, opening, &mut view);
        for evicted in &view.gone {
            self.remove(shared, evicted);
            self.stats.evicted += 1;
        }
        Ok(self.enter(shared, opening, planned?, now))
    }

    /// What a session would be, and in `view` what has to go for it, also where it cannot be started even so.
    pub(super) fn plan(
        &self,
        shared: &Shared,
        opening: &Opening<'_>,
        view: &mut View<'_>,
    ) -> Result<Choice, DropReason> {
        let source = shared.hashes.address(opening.original.source);
        if self.held(source, opening.original.source, view).0 >= self.limits.per_source {
            return Err(DropReason::SourceQuota);
        }
        let is_full =
            |view: &View<'_>| self.slots.live() + view.more >= self.limits.sessions + view.gone.len();
        if is_full(view) && (self.limits.sessions == 0 || self.gives_way(view).is_none()) {
            return Err(DropReason::SessionsFull);
        }
        let mut choice = match self.choose(shared, opening, source, view) {
            Some(choice) => choice,
            None => self.reclaim(shared, opening, source, view).ok_or(DropReason::PortsExhausted)?,
        };
        // Where the limit was lowered, each new session makes the surplus smaller.
        for _ in 0..2 {
            if !is_full(view) {
                break;
            }
            let Some(evicted) = self.gives_way(view) else { break };
            view.gone.push(Arc::clone(evicted));
            // The mapping to join may have gone with it.
            choice = self.choose(shared, opening, source, view).ok_or(DropReason::PortsExhausted)?;
        }
        if is_full(view) {
            return Err(DropReason::SessionsFull);
        }
        Ok(choice)
    }

    /// The session that gives way to another, if one does.
    fn gives_way(&self, view: &View<'_>) -> Option<&Arc<Session>> {
        [Class::Closed, Class::HalfOpen].into_iter().find_map(|class| self.first(class, view))
    }

    /// The session of a class that would end first.
    fn first(&self, class: Class, view: &View<'_>) -> Option<&Arc<Session>> {
        let mut sessions = self.wheel.in_order(&self.slots, class).filter_map(|slot| self.slots.get(slot));
        sessions.find(|session| !view.is_gone(session))
    }

    /// Has closed sessions give up their ports for a flow that found none, until it does.
    fn reclaim(
        &self,
        shared: &Shared,
        opening: &Opening<'_>,
        source: u64,
        view: &mut View<'_>,
    ) -> Option<Choice> {
        let nat = opening.source.as_ref()?;
        for _ in 0..RECLAIMED {
            let closed = self.first(Class::Closed, view)?;
            let was = closed.reply();
            let helps = was.protocol == opening.original.protocol
                && nat.addresses.iter().any(|range| range.contains(&was.destination));
            view.gone.push(Arc::clone(closed));
            if helps && let Some(choice) = self.choose(shared, opening, source, view) {
                return Some(choice);
            }
        }
        None
    }

    /// What the flow's packets look like on the other side; `None` when nothing is free.
    fn choose(&self, shared: &Shared, opening: &Opening<'_>, source: u64, view: &View<'_>) -> Option<Choice> {
        let original = &opening.original;
        let to = Endpoint { address: original.destination, port: original.destination_port };
        let to = opening.destination.unwrap_or(to);
        let plain = Tuple { source: to.address, source_port: to.port, ..original.reversed() };
        let mapped = |external: Endpoint| Tuple {
            destination: external.address,
            destination_port: external.port,
            ..plain
        };
        let (held, attempt) = self.held(source, original.source, view);
        let Some(nat) = &opening.source else {
            let is_free = self.is_free(shared, &plain, view);
            return is_free.then_some(Choice { reply: plain, mapping: None, attempt });
        };
        let has_ports = has_ports(original.protocol);
        let independent = has_ports && self.limits.mapping == Mapping::EndpointIndependent;
        if independent && let Some((head, external)) = self.join(shared, nat, original, mapped, view) {
            return Some(Choice { reply: mapped(external), mapping: Some(Joined::With(head)), attempt });
        }
        // A source that has sessions keeps its address; another may look for one that has room.
        let attempts = if held == 0 { 0..ATTEMPTS } else { attempt..attempt + 1 };
        for attempt in attempts {
            let address = nat.address(source, attempt)?;
            let usable = |port: u16| {
                let external = Endpoint { address, port };
                let reply = mapped(external);
                let is_taken = (nat.reserved)(external, original.protocol)
                    || has_ports && self.has_mapping(shared, external, original.protocol, view)
                    || !self.is_free(shared, &reply, view);
                (!is_taken).then_some(reply)
            };
            let port = original.source_port;
            // Mostly it stays, and nothing has to be drawn.
            let stays = nat.keep_port || !has_ports || nat.ports.contains(&port);
            let reply = stays.then(|| usable(port)).flatten();
            let reply = reply.or_else(|| {
                let random = draw(self.seed, &self.drawn);
                let parity = original.protocol == udp::PROTOCOL;
                let others = ports::candidates(port, &nat.ports, parity, random);
                (has_ports && !nat.keep_port).then(|| others.into_iter().find_map(usable)).flatten()
            });
            if let Some(reply) = reply {
                let mapping = independent.then_some(Joined::New);
                return Some(Choice { reply, mapping, attempt });
            }
        }
        None
    }

    /// The mapping that a flow has to join.
    fn join(
        &self,
        shared: &Shared,
        nat: &SourceNat<'_>,
        original: &Tuple,
        mapped: impl Fn(Endpoint) -> Tuple,
        view: &View<'_>,
    ) -> Option<(u32, Endpoint)> {
        let internal = internal(original);
        let hash = shared.hashes.endpoint(internal, original.protocol);
        let mut mappings = self.by_internal.with(hash).filter_map(|head| {
            let session = self.survivor(head, view)?;
            let is_its = session.original().protocol == original.protocol
                && self::internal(session.original()) == internal;
            is_its.then(|| (session.slot, external(session)))
        });
        mappings.find(|&(_, external)| {
            nat.allows(original.source_port, external)
                && !(nat.reserved)(external, original.protocol)
                && self.is_free(shared, &mapped(external), view)
        })
    }

    /// A session of a mapping, whose head is given, that has not gone.
    fn survivor(&self, head: u32, view: &View<'_>) -> Option<&Arc<Session>> {
        let mut slot = head;
        for _ in 0..ASKED {
            let session = self.slots.get(slot)?;
            if !view.is_gone(session) {
                return Some(session);
            }
            slot = self.slots.next(List::Mapping, slot);
            if slot == head {
                break;
            }
        }
        None
    }

    /// Plans what the next call would, too: nothing is drawn by it.
    pub(super) fn foresee<T>(&self, plan: impl FnOnce(&Book) -> T) -> T {
        let drawn = self.drawn.get();
        let planned = plan(self);
        self.drawn.set(drawn);
        planned
    }

    /// Whether no session that is there has this tuple.
    fn is_free(&self, shared: &Shared, tuple: &Tuple, view: &View<'_>) -> bool {
        let has = |shared: &Shared| shared.index.find(&shared.hashes, tuple);
        has(shared).is_none_or(|(session, _)| view.is_gone(&session))
            && view.beside.is_none_or(|beside| has(beside).is_none())
    }

    /// Whether a mapping has this external endpoint. Hardly ever says so of one that is free, which only costs that port.
    fn has_mapping(&self, shared: &Shared, endpoint: Endpoint, protocol: u8, view: &View<'_>) -> bool {
        let mut heads = self.by_external.with(shared.hashes.endpoint(endpoint, protocol));
        heads.any(|head| self.survivor(head, view).is_some())
    }

    /// A session of the mapping with this external endpoint.
    fn mapping(&self, shared: &Shared, endpoint: Endpoint, protocol: u8) -> Option<&Arc<Session>> {
        let hash = shared.hashes.endpoint(endpoint, protocol);
        self.by_external.with(hash).find_map(|head| {
            let session = self.slots.get(head)?;
            let is_it = session.reply().protocol == protocol && external(session) == endpoint;
            is_it.then_some(session)
        })
    }

    /// Writes a session in.
    pub(super) fn enter(
        &mut self,
        shared: &Arc<Shared>,
        opening: &Opening<'_>,
        choice: Choice,
        now: Time,
    ) -> Arc<Session> {
        let source = shared.hashes.address(opening.original.source);
        let tuples = (opening.original, choice.reply);
        let is_mapped = choice.mapping.is_some();
        let session = Arc::clone(self.slots.put(|slot| {
            let segment = opening.tcp.as_ref();
            Arc::new(Session::new(shared, tuples, opening.rule, slot, is_mapped, segment, now))
        }));
        let (protocol, slot) = (opening.original.protocol, session.slot);
        match choice.mapping {
            Some(Joined::With(head)) => self.slots.link(List::Mapping, head, slot),
            Some(Joined::New) => {
                let hash = shared.hashes.endpoint(internal(session.original()), protocol);
                self.by_internal.insert(hash, slot);
                let hash = shared.hashes.endpoint(external(&session), protocol);
                self.by_external.insert(hash, slot);
                self.stats.mappings += 1;
            }
            None => {}
        }
        self.count(shared, source, opening.original.source, choice.attempt);
        self.wheel.put(&mut self.slots, slot, Class::of(session.phase()), session.expires());
        shared.index.insert(&shared.hashes, &session);
        session
    }

    /// Writes a copy of another table's session in, which belongs to no mapping here.
    pub(super) fn adopt(&mut self, shared: &Arc<Shared>, other: &Session) -> Arc<Session> {
        let session = Arc::clone(self.slots.put(|slot| Arc::new(other.copy(shared, slot))));
        self.wheel.put(&mut self.slots, session.slot, Class::of(session.phase()), session.expires());
        shared.index.insert(&shared.hashes, &session);
        session
    }

    /// What it is held to.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Strikes a session out; nothing when it is not there any more.
    pub(super) fn remove(&mut self, shared: &Shared, session: &Session) {
        let slot = session.slot;
        if session.phase() == Phase::Removed {
            return;
        }
        self.wheel.take(&mut self.slots, slot, Class::of(session.phase()));
        session.set(Phase::Removed, 0);
        shared.index.remove(&shared.hashes, session);
        if session.is_mapped {
            self.leave(shared, session);
        }
        self.discount(shared, session.original().source);
        self.slots.take(slot);
    }

    /// Takes a session out of its mapping, which ends with its last one.
    fn leave(&mut self, shared: &Shared, session: &Session) {
        let (slot, protocol) = (session.slot, session.original().protocol);
        let (_, heir) = self.slots.unlink(List::Mapping, slot);
        let inside = shared.hashes.endpoint(internal(session.original()), protocol);
        let outside = shared.hashes.endpoint(external(session), protocol);
        // Where it does not stand for the mapping, nothing changes.
        let heir = (heir != slot).then_some(heir);
        self.by_internal.replace(inside, slot, heir);
        self.by_external.replace(outside, slot, heir);
        if heir.is_none() {
            self.stats.mappings -= 1;
        }
    }

    /// A session was in the phase `before` until now.
    pub(super) fn moved(&mut self, session: &Session, before: Phase) {
        self.wheel.take(&mut self.slots, session.slot, Class::of(before));
        self.wheel.put(&mut self.slots, session.slot, Class::of(session.phase()), session.expires());
    }

    /// Removes sessions whose time has run out, `work` at most or a fourth as many, looking at others included. Whether
    /// it got to the end.
    pub(super) fn sweep(&mut self, shared: &Shared, now: Time, work: usize) -> bool {
        let mut done = 0;
        while let Some((slot, class)) = self.wheel.due(&self.slots, now.secs()) {
            if done >= work {
                return false;
            }
            let Some(session) = self.slots.get(slot).cloned() else { return true };
            match session.is_live(now) {
                true => {
                    self.wheel.take(&mut self.slots, slot, class);
                    self.wheel.put(&mut self.slots, slot, class, session.expires());
                    done += 1;
                }
                false => {
                    self.remove(shared, &session);
                    done += 4;
                }
            }
        }
        true
    }

    /// When a session is due next.
    pub(super) fn due(&self) -> Option<Time> {
        self.wheel.next().map(|second| Time::from_secs(second.into()))
    }

    /// Whose mapping has this external endpoint, if it lets packets with `tuple` in.
    pub(super) fn inbound(
        &self,
        shared: &Shared,
        tuple: &Tuple,
        filtering: Filtering,
        now: Time,
    ) -> Option<Endpoint> {
        let to = Endpoint { address: tuple.destination, port: tuple.destination_port };
        let head = self.mapping(shared, to, tuple.protocol)?.slot;
        let mut slot = head;
        for _ in 0..ASKED {
            let session = self.slots.get(slot)?;
            let lets_in = match filtering {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => session.reply().source == tuple.source,
                Filtering::AddressAndPortDependent => session.reply() == tuple,
            };
            if lets_in && session.is_live(now) {
                return Some(internal(session.original()));
            }
            slot = self.slots.next(List::Mapping, slot);
            if slot == head {
                break;
            }
        }
        None
    }

    /// The external endpoint of a mapping.
    pub(super) fn external(&self, shared: &Shared, endpoint: Endpoint, protocol: u8) -> Option<Endpoint> {
        let hash = shared.hashes.endpoint(endpoint, protocol);
        self.by_internal.with(hash).find_map(|head| {
            let session = self.slots.get(head)?;
            let is_its = session.original().protocol == protocol && internal(session.original()) == endpoint;
            is_its.then(|| external(session))
        })
    }

    /// Sessions of a source, and the attempt its external address was found at.
    fn held(&self, hash: u64, address: Address, view: &View<'_>) -> (usize, u8) {
        let gone = view.gone.iter().filter(|session| session.original().source == address).count();
        let address = words(address);
        let source = self.sources.of(hash).find(hash, |source| source.address == address);
        // One that has none left is forgotten, and its attempt with it.
        let source = source.filter(|source| (source.held >> 2) as usize > gone);
        source.map_or((0, 0), |source| ((source.held >> 2) as usize - gone, (source.held & 3) as u8))
    }

    fn count(&mut self, shared: &Shared, hash: u64, address: Address, attempt: u8) {
        let address = words(address);
        let table = self.sources.of_mut(hash);
        match table.find_mut(hash, |source| source.address == address) {
            Some(source) => source.held += 1 << 2,
            None => {
                let source = Source { address, held: 1 << 2 | u32::from(attempt) };
                table.insert_unique(hash, source, |source| {
                    shared.hashes.address(Address::from_bits(bits(source.address)))
                });
            }
        }
    }

    fn discount(&mut self, shared: &Shared, address: Address) {
        let hash = shared.hashes.address(address);
        let address = words(address);
        let table = self.sources.of_mut(hash);
        if let Ok(mut entry) = table.find_entry(hash, |source| source.address == address) {
            let source = entry.get_mut();
            source.held -= 1 << 2;
            if source.held >> 2 == 0 {
                entry.remove();
            }
        }
    }
}

/// Where a flow comes from.
fn internal(original: &Tuple) -> Endpoint {
    Endpoint { address: original.source, port: original.source_port }
}

/// Where it seems to come from.
fn external(session: &Session) -> Endpoint {
    Endpoint { address: session.reply().destination, port: session.reply().destination_port }
}

fn words(address: Address) -> [u32; 4] {
    let bits = address.bits();
    [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
}

fn bits(words: [u32; 4]) -> u128 {
    words.iter().rev().fold(0, |bits, &word| bits << 32 | u128::from(word))
}

/// A number that cannot be foretold from those before without the seed.
fn draw(seed: u64, drawn: &Cell<u64>) -> u64 {
    drawn.set(drawn.get() + 1);
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write_u64(drawn.get());
    hasher.finish()
}
