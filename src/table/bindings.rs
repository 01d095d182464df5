//! Whose an IP address is, as a bridge has heard it in ARP and neighbour discovery: (VLAN, address) → MAC.
//!
//! **What for.** A bridge that suppresses neighbour requests answers them from here instead of flooding them (RFC 9161).
//! All workers share the table of a bridge; a lock is enough, since only ARP and ND messages come here.
//!
//! **Bound.** [`Bindings::LIMIT`] addresses a bridge. When it is full, the port that holds most beyond its quota loses the
//! one that it confirmed the longest time ago; where everybody is within his quota, the port that holds most. So a flood
//! of made-up addresses costs the flooder's own, and what is lost costs no more than a flooded request.
//!
//! **Ageing.** A binding is believed for [`Bindings::AGEING`] since its holder confirmed it. That is short, since the
//! requests which are answered here do not get to the holder any more: one that gave up its address has no other way to
//! be found out. It is looked at when the binding is asked for, so that no timer is needed; what is stale stays until it
//! is overwritten or has to make room, which as the oldest it does first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use crate::packet::{PortId, Vid};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;
use crate::wire::nd::AdvertisementFlags;

/// Second chances given before a binding is evicted all the same, so that one eviction stays cheap.
const CHANCES: usize = 8;

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The station that has it.
    pub mac: Mac,
    /// The port that it was heard at.
    pub port: PortId,
    /// With what it was advertised (RFC 4861 section 4.4), but whether it was asked for. Nothing for IPv4.
    pub flags: AdvertisementFlags,
    /// When its holder last confirmed it.
    pub seen: Time,
}

/// An address in a VLAN; 0 for all frames of a bridge that is not VLAN-aware.
type Key = (Vid, Address);

/// See the module.
#[derive(Debug)]
pub struct Bindings {
    state: LazyLock<Mutex<State>, Box<dyn FnOnce() -> Mutex<State> + Send>>,
}

#[derive(Clone, Debug)]
struct State {
    limit: usize,
    map: HashMap<Key, Entry>,
    accounts: BTreeMap<PortId, Account>,
    next_ticket: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    binding: Binding,
    /// Names the place in its port's queue that stands for it; older places are void.
    ticket: u64,
}

/// What a port holds, the oldest first.
#[derive(Clone, Debug, Default)]
struct Account {
    queue: VecDeque<Place>,
    held: usize,
    quota: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    ticket: u64,
    seen: Time,
}

impl Default for Bindings {
    fn default() -> Bindings {
        Bindings::new(Bindings::LIMIT)
    }
}

impl Bindings {
    /// Most addresses of a bridge.
    pub const LIMIT: usize = 4096;
    /// How long a binding is believed after its holder has confirmed it.
    pub const AGEING: Duration = Duration::from_secs(60);

    /// An empty table for at most `limit` addresses, at least one.
    pub fn new(limit: usize) -> Bindings {
        let state =
            State { limit: limit.max(1), map: HashMap::default(), accounts: BTreeMap::new(), next_ticket: 0 };
        Bindings { state: LazyLock::new(Box::new(|| Mutex::new(state))) }
    }

    /// A table that knows what this one does and never changes it; copied when it is first asked.
    pub fn trial(self: &Arc<Bindings>) -> Bindings {
        let real = Arc::clone(self);
        Bindings { state: LazyLock::new(Box::new(move || Mutex::new(real.state().clone()))) }
    }

    /// Notes that its holder says to have `address`. `quota` of the port's bindings do not count when the table looks for
    /// who holds most: what is rightly behind a trunk or tunnel.
    pub fn learn(&self, vid: Vid, address: Address, binding: Binding, quota: usize) {
        self.state().learn((vid, address), binding, quota);
    }

    /// Notes that the station `mac` has used `address` without announcing it: that confirms what is known, or, of another
    /// station, makes it doubtful, and it is forgotten.
    pub fn hear(&self, vid: Vid, address: Address, mac: Mac, now: Time) {
        let mut state = self.state();
        match state.map.get_mut(&(vid, address)) {
            Some(entry) if entry.binding.mac == mac => entry.binding.seen = now,
            Some(_) => state.forget((vid, address)),
            None => {}
        }
    }

    /// Whose `address` is, if that was confirmed lately.
    pub fn lookup(&self, vid: Vid, address: Address, now: Time) -> Option<Binding> {
        let binding = self.state().map.get(&(vid, address))?.binding;
        (now.since(binding.seen) < Bindings::AGEING).then_some(binding)
    }

    /// Forgets what was heard at a port.
    pub fn purge(&self, port: PortId) {
        let mut state = self.state();
        state.map.retain(|_, entry| entry.binding.port != port);
        state.accounts.remove(&port);
    }

    /// How many bindings there are, stale ones included.
    pub fn len(&self) -> usize {
        self.state().map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were heard at a port.
    pub fn held(&self, port: PortId) -> usize {
        self.state().accounts.get(&port).map_or(0, |account| account.held)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A holder that panicked left counts that are at worst off by one; the table stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn learn(&mut self, key: Key, binding: Binding, quota: usize) {
        let port = binding.port;
        match self.map.get_mut(&key) {
            Some(entry) if entry.binding.port == port => {
                entry.binding = binding;
                return;
            }
            Some(_) => self.forget(key),
            None => {}
        }
        self.accounts.entry(port).or_default().quota = quota;
        if self.map.len() >= self.limit {
            self.evict(self.payer(port));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.map.insert(key, Entry { binding, ticket });
        let account = self.accounts.entry(port).or_default();
        account.held += 1;
        account.queue.push_back(Place { key, ticket, seen: binding.seen });
        // An address that moves to and fro leaves a void place each time.
        if account.queue.len() > 2 * account.held + 64 {
            account
                .queue
                .retain(|place| self.map.get(&place.key).is_some_and(|entry| entry.ticket == place.ticket));
        }
    }

    fn forget(&mut self, key: Key) {
        let port = self.map.remove(&key).map(|entry| entry.binding.port);
        if let Some(account) = port.and_then(|port| self.accounts.get_mut(&port)) {
            account.held -= 1;
        }
    }

    /// Who makes room for a binding of `author`; the author itself where it holds as much as any other.
    fn payer(&self, author: PortId) -> PortId {
        let dearest = self.accounts.iter().max_by_key(|&(&port, account)| {
            let (excess, own) = (account.held.saturating_sub(account.quota), port == author);
            (excess, own && excess > 0, account.held, own)
        });
        dearest.map_or(author, |(&port, _)| port)
    }

    fn evict(&mut self, port: PortId) {
        let Some(account) = self.accounts.get_mut(&port) else { return };
        let mut chances = CHANCES.min(account.held.saturating_sub(1));
        while let Some(place) = account.queue.pop_front() {
            match self.map.get(&place.key).filter(|entry| entry.ticket == place.ticket) {
                None => {}
                Some(entry) if entry.binding.seen > place.seen && chances > 0 => {
                    chances -= 1;
                    account.queue.push_back(Place { seen: entry.binding.seen, ..place });
                }
                Some(_) => return self.forget(place.key),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(mac: u64, port: u16, secs: u64) -> Binding {
        Binding {
            mac: Mac::from_bits(mac),
            port: PortId(port),
            flags: AdvertisementFlags::default(),
            seen: Time::from_secs(secs),
        }
    }

    fn ip(n: u32) -> Address {
        Address::v4(n)
    }

    fn known(table: &Bindings, n: u32, secs: u64) -> Option<u64> {
        table.lookup(0, ip(n), Time::from_secs(secs)).map(|binding| binding.mac.bits())
    }

    #[test]
    fn a_binding_is_believed_while_its_holder_confirms_it() {
        let table = Bindings::default();
        table.learn(0, ip(1), binding(7, 0, 100), 0);
        assert_eq!((known(&table, 1, 159), known(&table, 1, 160)), (Some(7), None));
        table.hear(0, ip(1), Mac::from_bits(7), Time::from_secs(150));
        assert_eq!((known(&table, 1, 209), known(&table, 1, 210)), (Some(7), None));
        assert_eq!(table.lookup(10, ip(1), Time::from_secs(150)), None, "another VLAN");
        table.learn(0, ip(1), binding(8, 3, 200), 0);
        assert_eq!((known(&table, 1, 200), table.held(PortId(0)), table.held(PortId(3))), (Some(8), 0, 1));
        table.hear(0, ip(1), Mac::from_bits(9), Time::from_secs(201));
        assert_eq!((known(&table, 1, 201), table.len()), (None, 0), "two stations use it");
    }

    #[test]
    fn a_flooder_pays_for_its_flood() {
        let table = Bindings::new(64);
        (0..20).for_each(|n| table.learn(0, ip(n), binding(1, 0, 100), 0));
        (0..24).for_each(|n| table.learn(0, ip(100 + n), binding(2, 1, 100), 32));
        (0..100_000).for_each(|n| table.learn(0, ip(1000 + n), binding(3, 2, 101), 0));
        assert_eq!((table.len(), table.held(PortId(0)), table.held(PortId(1))), (64, 20, 24));
        assert!((0..20).all(|n| known(&table, n, 101) == Some(1)));
        assert!((0..24).all(|n| known(&table, 100 + n, 101) == Some(2)));
        // The newest are there, the oldest went.
        assert_eq!((known(&table, 100_999, 101), known(&table, 1000, 101)), (Some(3), None));
        table.purge(PortId(2));
        assert_eq!((table.len(), table.held(PortId(2))), (44, 0));
    }

    #[test]
    fn what_was_confirmed_stays_longer_than_what_was_not() {
        let table = Bindings::new(4);
        (0..4).for_each(|n| table.learn(0, ip(n), binding(1, 0, 100), 0));
        table.hear(0, ip(0), Mac::from_bits(1), Time::from_secs(101));
        table.learn(0, ip(4), binding(1, 0, 102), 0);
        assert_eq!((known(&table, 0, 102), known(&table, 1, 102), table.len()), (Some(1), None, 4));
    }

    #[test]
    fn addresses_that_move_to_and_fro_leave_nothing_behind() {
        let table = Bindings::new(4);
        (0..10_000).for_each(|n| table.learn(0, ip(1), binding(1, n % 2, 100), 0));
        let state = table.state();
        assert_eq!(state.map.len(), 1);
        assert!(state.accounts.values().all(|account| account.queue.len() <= 66), "{state:?}");
        assert_eq!(state.accounts.values().map(|account| account.held).sum::<usize>(), 1);
    }
}
