//! What stands behind the lock of [`Neighbors`](super::Neighbors): the entries, their states and timers, and who pays.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::{Entry, Fill, Heard, Held, Learned, NEVER, NeighborLimits, Resolution, State, Task};
use crate::packet::{DropReason, Frame, InterfaceId, PortId};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

pub(super) type Key = (InterfaceId, Address);

/// Timers that one call of [`Table::due`] takes.
const BUDGET: usize = 64;
/// Entries that are looked at while the table is locked once, where all are to be.
pub(super) const PAGE: usize = 128;
/// Bytes that a held frame counts for beside its own.
const HELD_OVERHEAD: usize = 64;
/// A neighbour's MAC address, once changed by somebody's word, stays for so long: two hosts that fight for an address
/// are not to make all workers look everything up again at the rate of their messages.
const SETTLED: Duration = Duration::from_secs(1);

/// An entry. Its state says which queue its ticket is a place in: that of its port while its MAC address is not known,
/// that of the stale ones while it is [`State::Stale`], otherwise none.
#[derive(Clone)]
pub(super) struct Node {
    /// Zero in an entry whose address is not known.
    mac: Mac,
    state: State,
    since: Time,
    used: Time,
    confirmed: Time,
    changed: Option<Time>,
    /// Its MAC address was given out, and may stand in a worker's flow cache.
    given: bool,
    /// Questions asked since it is in this state.
    tries: u32,
    timer: Time,
    ticket: u64,
    /// The port whose packet made it be asked for.
    asker: PortId,
    held: VecDeque<Held>,
}

impl Node {
    fn new(mac: Mac, state: State, now: Time) -> Node {
        Node {
            mac,
            state,
            since: now,
            used: now,
            confirmed: now,
            changed: None,
            given: false,
            tries: 0,
            timer: NEVER,
            ticket: 0,
            asker: PortId(0),
            held: VecDeque::new(),
        }
    }

    fn mac(&self) -> Option<Mac> {
        (!self.mac.is_zero()).then_some(self.mac)
    }
}

/// What packets from one port make the table look for.
#[derive(Clone, Default)]
struct Share {
    /// Neighbours that are not known, the oldest first.
    unknown: BTreeMap<u64, Key>,
    /// Bytes that wait for them.
    bytes: usize,
}

/// See the module.
pub(super) struct Table {
    limits: NeighborLimits,
    /// In order, so that a listing can go on where it stopped.
    nodes: BTreeMap<Key, Node>,
    timers: BTreeSet<(Time, Key)>,
    /// Known ones that nothing is sent to, those before the others that nothing was ever sent to, the oldest first.
    stale: BTreeMap<(bool, u64), Key>,
    shares: HashMap<PortId, Share>,
    known: usize,
    unknown: usize,
    held_bytes: usize,
    next_ticket: u64,
    generation: u32,
    /// Frames that were thrown away and of which nobody was told yet.
    dropped: BTreeMap<PortId, u32>,
    /// Of a trial: the entries that it has looked for in the real table.
    looked_for: BTreeSet<Key>,
}

impl Table {
    pub(super) fn new(limits: NeighborLimits) -> Table {
        Table {
            limits,
            nodes: BTreeMap::new(),
            timers: BTreeSet::new(),
            stale: BTreeMap::new(),
            shares: HashMap::new(),
            known: 0,
            unknown: 0,
            held_bytes: 0,
            next_ticket: 0,
            generation: 0,
            dropped: BTreeMap::new(),
            looked_for: BTreeSet::new(),
        }
    }

    /// A table for a trial: with all that is asked for, which is not much. What is known it has to look for here.
    pub(super) fn trial(&self) -> Table {
        let Table { known, unknown, held_bytes, next_ticket, generation, .. } = *self;
        let shares = self.shares.clone();
        let own =
            Table { known, unknown, held_bytes, next_ticket, generation, shares, ..Table::new(self.limits) };
        let keys = self.shares.values().flat_map(|share| share.unknown.values());
        keys.fold(own, |mut own, &key| {
            own.adopt(key, || self.node(key));
            own
        })
    }

    /// A copy of an entry.
    pub(super) fn node(&self, key: Key) -> Option<Node> {
        self.nodes.get(&key).cloned()
    }

    /// Of a trial: takes over an entry that it has not looked for yet. Which others would give way to it, it does not know.
    pub(super) fn adopt(&mut self, key: Key, look: impl FnOnce() -> Option<Node>) {
        if self.looked_for.insert(key)
            && let Some(node) = look()
        {
            if node.timer != NEVER {
                self.timers.insert((node.timer, key));
            }
            if node.state == State::Stale {
                self.stale.insert((node.given, node.ticket), key);
            }
            self.nodes.insert(key, node);
        }
    }

    pub(super) fn configure(&mut self, limits: NeighborLimits) {
        self.limits = limits;
    }

    pub(super) fn fill(&self) -> Fill {
        let NeighborLimits { known: known_limit, unknown: unknown_limit, .. } = self.limits;
        Fill { known: self.known, known_limit, unknown: self.unknown, unknown_limit }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.dropped.is_empty() {
            true => self.timers.first().map(|&(time, _)| time),
            false => Some(Time::ZERO),
        }
    }

    pub(super) fn resolve(
        &mut self,
        key: Key,
        frame: &Frame,
        from: PortId,
        context: u64,
        now: Time,
    ) -> Resolution {
        if let Some(mac) = self.lookup(key, now) {
            return Resolution::Known(mac);
        }
        let asked = match self.nodes.get(&key) {
            Some(node) if node.state == State::Incomplete => true,
            Some(node) if now < node.timer => return Resolution::Refused(DropReason::NoNeighbor),
            Some(_) => {
                self.remove(key);
                false
            }
            None => false,
        };
        if !asked {
            if !self.make_room_for_unknown(from, now) {
                return Resolution::Refused(DropReason::NeighborQueue);
            }
            self.ask_for(key, from, now);
        }
        match (self.hold(key, frame, from, context), asked) {
            (true, false) => Resolution::Asked,
            (true, true) => Resolution::Held,
            (false, asked) => {
                if let Some(node) = self.nodes.get_mut(&key).filter(|_| !asked) {
                    // The question is asked all the same, by `due`, so that a later packet may go.
                    node.tries = 0;
                    self.set_timer(key, now);
                }
                Resolution::Refused(DropReason::NeighborQueue)
            }
        }
    }

    pub(super) fn lookup(&mut self, key: Key, now: Time) -> Option<Mac> {
        let node = self.nodes.get_mut(&key)?;
        let mac = node.mac()?;
        node.used = node.used.max(now);
        if node.state == State::Stale {
            self.stale.remove(&(node.given, node.ticket));
            (node.state, node.since, node.given) = (State::Delay, now, true);
            self.set_timer(key, now + self.limits.delay);
        } else {
            node.given = true;
        }
        Some(mac)
    }

    pub(super) fn learn(&mut self, key: Key, mac: Mac, how: Heard, now: Time) -> Learned {
        if mac.is_group() || mac.is_zero() || key.1.is_multicast() || key.1.is_unspecified() {
            return Learned::default();
        }
        let Some(node) = self.nodes.get_mut(&key) else {
            if how == Heard::Asked && self.make_room_for_known() {
                self.enter_known(key, mac, State::Stale, now);
            }
            return Learned::default();
        };
        let overrides = match how {
            Heard::Answer { overrides } | Heard::Claim { overrides } => overrides,
            Heard::Asked => true,
        };
        let answer = matches!(how, Heard::Answer { .. });
        match node.state {
            State::Static => Learned::default(),
            State::Incomplete | State::Failed => {
                let state = if answer { State::Reachable } else { State::Stale };
                self.found(key, mac, state, now)
            }
            State::Probe if answer && node.mac == mac => {
                self.confirm(key, now);
                Learned::default()
            }
            _ if node.mac == mac => Learned::default(),
            state if overrides => {
                if node.changed.is_some_and(|changed| now.since(changed) < SETTLED) {
                    return Learned::default();
                }
                node.mac = mac;
                node.changed = Some(now);
                let changed = node.given;
                self.generation = self.generation.wrapping_add(changed.into());
                match state == State::Probe && answer {
                    true => self.become_reachable(key, now),
                    false => self.become_stale(key, now),
                }
                Learned { held: Vec::new(), changed }
            }
            State::Reachable => {
                self.become_stale(key, now);
                Learned::default()
            }
            _ => Learned::default(),
        }
    }

    pub(super) fn confirm(&mut self, key: Key, now: Time) {
        if self.nodes.get(&key).is_some_and(|node| node.state == State::Probe) {
            self.become_reachable(key, now);
        }
    }

    pub(super) fn pin(&mut self, key: Key, mac: Mac) -> Learned {
        let before = self.nodes.get(&key).map(|node| (node.mac, node.state, node.given));
        if before.is_some_and(|(known, state, _)| known == mac && state == State::Static) {
            return Learned::default();
        }
        let changed = before.is_some_and(|(known, _, given)| given && known != mac);
        let held: Vec<Held> = self.detach(key).map(|node| node.held.into()).unwrap_or_default();
        self.generation = self.generation.wrapping_add(changed.into());
        let given = before.is_some_and(|(_, _, given)| given) || !held.is_empty();
        self.nodes.insert(key, Node { given, ..Node::new(mac, State::Static, Time::ZERO) });
        Learned { held, changed }
    }

    pub(super) fn unpin(&mut self, key: Key) -> bool {
        let is_static = self.nodes.get(&key).is_some_and(|node| node.state == State::Static);
        if is_static {
            self.remove(key);
        }
        is_static
    }

    pub(super) fn due(&mut self, now: Time, tasks: &mut Vec<Task>) {
        tasks.extend(
            std::mem::take(&mut self.dropped)
                .into_iter()
                .map(|(from, frames)| Task::Dropped { from, frames }),
        );
        for _ in 0..BUDGET {
            match self.timers.first() {
                Some(&(time, key)) if time <= now => self.expire(key, now, tasks),
                _ => return,
            }
        }
    }

    /// Removes the entries that `which` picks among the next behind `after`. How many they were, and where to go on; `None`:
    /// those were the last.
    pub(super) fn remove_some(
        &mut self,
        after: Option<Key>,
        which: impl Fn(Key, State) -> bool,
    ) -> (usize, Option<Key>) {
        let some: Vec<_> = self.behind(after).map(|(key, node)| (*key, node.state)).collect();
        let picked = some.iter().filter(|&&(key, state)| which(key, state));
        let removed = picked.map(|&(key, _)| self.remove(key)).count();
        (removed, some.get(PAGE - 1).map(|&(key, _)| key))
    }

    /// Removes an entry that is not static. Whether there was one.
    pub(super) fn remove_learned(&mut self, key: Key) -> bool {
        let found = self.nodes.get(&key).is_some_and(|node| node.state != State::Static);
        if found {
            self.remove(key);
        }
        found
    }

    /// The next entries behind `after`, in order; fewer than [`PAGE`]: those were the last.
    pub(super) fn entries(&self, after: Option<Key>) -> Vec<(InterfaceId, Address, Entry)> {
        let entry = |(&(interface, address), node): (&Key, &Node)| {
            let Node { state, since, used, .. } = *node;
            (interface, address, Entry { mac: node.mac(), state, since, used, held: node.held.len() })
        };
        self.behind(after).map(entry).collect()
    }

    fn behind(&self, after: Option<Key>) -> impl Iterator<Item = (&Key, &Node)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.nodes.range((after, Bound::Unbounded)).take(PAGE)
    }

    /// Does what the timer of an entry stands for.
    fn expire(&mut self, key: Key, now: Time, tasks: &mut Vec<Task>) {
        let Some(node) = self.nodes.get_mut(&key) else {
            // No timer outlives its entry.
            self.timers.pop_first();
            return;
        };
        let (interface, address) = key;
        match node.state {
            State::Incomplete if node.tries < self.limits.tries => {
                node.tries += 1;
                tasks.push(Task::Ask { interface, address, mac: None });
                self.set_timer(key, now + self.limits.retransmit);
            }
            State::Incomplete => {
                (node.state, node.since) = (State::Failed, now);
                let held = Vec::from(std::mem::take(&mut node.held));
                let asker = node.asker;
                self.give_back(asker, &held);
                self.set_timer(key, now + self.limits.negative);
                tasks.push(Task::Failed { interface, address, held });
            }
            State::Reachable if node.used > node.confirmed => self.probe(key, now, tasks),
            State::Reachable => {
                let until = node.confirmed + self.limits.reachable;
                match now < until {
                    true => self.set_timer(key, until),
                    false => self.become_stale(key, now),
                }
            }
            State::Delay => self.probe(key, now, tasks),
            State::Probe if node.tries < self.limits.tries => {
                node.tries += 1;
                // It may have another address now: the last question goes to everybody (RFC 7048 section 3).
                let mac = (node.tries < self.limits.tries).then_some(node.mac);
                tasks.push(Task::Ask { interface, address, mac });
                self.set_timer(key, now + self.limits.retransmit);
            }
            State::Probe | State::Stale | State::Failed => self.remove(key),
            State::Static => self.set_timer(key, NEVER),
        }
    }

    fn probe(&mut self, key: Key, now: Time, tasks: &mut Vec<Task>) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        (node.state, node.since, node.tries) = (State::Probe, now, 1);
        tasks.push(Task::Ask { interface: key.0, address: key.1, mac: Some(node.mac) });
        self.set_timer(key, now + self.limits.retransmit);
    }

    /// An entry whose address was not known has it now.
    fn found(&mut self, key: Key, mac: Mac, state: State, now: Time) -> Learned {
        let Some(node) = self.detach(key) else { return Learned::default() };
        let held = Vec::from(node.held);
        if self.make_room_for_known() {
            // What is sent to it now, is used from now on.
            let state = if state == State::Stale && !held.is_empty() { State::Delay } else { state };
            self.enter_known(key, mac, state, now);
            if let Some(node) = self.nodes.get_mut(&key).filter(|_| !held.is_empty()) {
                (node.given, node.used) = (true, now);
            }
        }
        Learned { held, changed: false }
    }

    fn enter_known(&mut self, key: Key, mac: Mac, state: State, now: Time) {
        self.nodes.insert(key, Node::new(mac, state, now));
        self.known += 1;
        match state {
            State::Reachable => self.become_reachable(key, now),
            State::Delay => self.set_timer(key, now + self.limits.delay),
            _ => self.become_stale(key, now),
        }
    }

    fn become_reachable(&mut self, key: Key, now: Time) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        (node.state, node.since, node.confirmed, node.tries) = (State::Reachable, now, now, 0);
        // Before it expires there is to be time for all questions.
        let questions = self.limits.retransmit * self.limits.tries;
        let ahead = questions.min(self.limits.reachable / 2);
        self.set_timer(key, now + (self.limits.reachable - ahead));
    }

    fn become_stale(&mut self, key: Key, now: Time) {
        let ticket = self.ticket();
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if node.state == State::Stale {
            self.stale.remove(&(node.given, node.ticket));
        }
        (node.state, node.since, node.ticket) = (State::Stale, now, ticket);
        self.stale.insert((node.given, ticket), key);
        self.set_timer(key, now + self.limits.stale);
    }

    /// Begins to ask for a neighbour, for a packet from `asker`.
    fn ask_for(&mut self, key: Key, asker: PortId, now: Time) {
        let ticket = self.ticket();
        let node = Node { ticket, asker, tries: 1, ..Node::new(Mac::default(), State::Incomplete, now) };
        self.nodes.insert(key, node);
        self.unknown += 1;
        self.shares.entry(asker).or_default().unknown.insert(ticket, key);
        self.set_timer(key, now + self.limits.retransmit);
    }

    /// Holds a copy of the frame for an entry that is asked for. False when there is no room for it.
    fn hold(&mut self, key: Key, frame: &Frame, from: PortId, context: u64) -> bool {
        let len = frame.len() + HELD_OVERHEAD;
        if self.limits.held == 0 || !self.make_room_for_bytes(key, len) {
            return false;
        }
        let Some(node) = self.nodes.get_mut(&key) else { return false };
        node.held.push_back(Held {
            bytes: frame.bytes().into(),
            layer: frame.layer,
            offload: frame.offload,
            from,
            context,
        });
        let oldest = if node.held.len() > self.limits.held { node.held.pop_front() } else { None };
        let asker = node.asker;
        self.held_bytes += len;
        self.shares.entry(asker).or_default().bytes += len;
        if let Some(oldest) = oldest {
            self.throw_away(asker, &[oldest]);
        }
        true
    }

    fn make_room_for_known(&mut self) -> bool {
        if self.known < self.limits.known {
            return true;
        }
        let Some((_, &victim)) = self.stale.first_key_value() else { return false };
        self.remove(victim);
        self.known < self.limits.known
    }

    /// Sees to it that one more neighbour may be asked for, for a packet from `port`.
    fn make_room_for_unknown(&mut self, port: PortId, now: Time) -> bool {
        if self.unknown < self.limits.unknown {
            return true;
        }
        let own = self.shares.get(&port).map_or(0, |share| share.unknown.len());
        let greediest = self.shares.iter().max_by_key(|(id, share)| (share.unknown.len(), **id == port));
        let Some((_, share)) = greediest else { return false };
        let Some((_, &victim)) = share.unknown.first_key_value() else { return false };
        let had_time = self.nodes.get(&victim).is_none_or(|node| {
            node.state == State::Failed || now.since(node.since) >= self.limits.retransmit / 10
        });
        if share.unknown.len() <= own + 1 && !had_time {
            return false;
        }
        self.remove(victim);
        true
    }

    /// Sees to it that `len` bytes more may wait, for the entry `key`.
    fn make_room_for_bytes(&mut self, key: Key, len: usize) -> bool {
        while self.held_bytes + len > self.limits.held_bytes {
            let greediest = self.shares.iter().max_by_key(|(id, share)| (share.bytes, **id));
            let Some((&asker, share)) = greediest else { return false };
            let holds = |key: &&Key| self.nodes.get(*key).is_some_and(|node| !node.held.is_empty());
            let Some(&victim) = share.unknown.values().find(holds) else { return false };
            if victim == key {
                return false;
            }
            let Some(node) = self.nodes.get_mut(&victim) else { return false };
            let held = Vec::from(std::mem::take(&mut node.held));
            self.throw_away(asker, &held);
        }
        true
    }

    /// Removes an entry. What waited for it is thrown away.
    fn remove(&mut self, key: Key) {
        let Some(node) = self.detach(key) else { return };
        self.generation = self.generation.wrapping_add(node.given.into());
        node.held.iter().for_each(|held| self.count_dropped(held.from));
    }

    /// Takes an entry out of everything that leads to it, with what waits for it.
    fn detach(&mut self, key: Key) -> Option<Node> {
        self.set_timer(key, NEVER);
        let node = self.nodes.remove(&key)?;
        match node.state {
            State::Static => {}
            State::Incomplete | State::Failed => {
                self.unknown -= 1;
                let share = self.shares.entry(node.asker).or_default();
                share.unknown.remove(&node.ticket);
                let bytes: usize = node.held.iter().map(weight).sum();
                share.bytes -= bytes;
                self.held_bytes -= bytes;
                if share.unknown.is_empty() {
                    self.shares.remove(&node.asker);
                }
            }
            state => {
                self.known -= 1;
                if state == State::Stale {
                    self.stale.remove(&(node.given, node.ticket));
                }
            }
        }
        Some(node)
    }

    /// Frames that waited for an entry of `asker` do so no more.
    fn give_back(&mut self, asker: PortId, held: &[Held]) {
        let bytes: usize = held.iter().map(weight).sum();
        self.held_bytes -= bytes;
        if let Some(share) = self.shares.get_mut(&asker) {
            share.bytes -= bytes;
        }
    }

    fn throw_away(&mut self, asker: PortId, held: &[Held]) {
        self.give_back(asker, held);
        held.iter().for_each(|held| self.count_dropped(held.from));
    }

    fn count_dropped(&mut self, from: PortId) {
        *self.dropped.entry(from).or_default() += 1;
    }

    fn set_timer(&mut self, key: Key, time: Time) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if node.timer != NEVER {
            self.timers.remove(&(node.timer, key));
        }
        node.timer = time;
        if time != NEVER {
            self.timers.insert((time, key));
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

/// What a held frame counts for.
fn weight(held: &Held) -> usize {
    held.bytes.len() + HELD_OVERHEAD
}
