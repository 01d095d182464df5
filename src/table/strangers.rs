//! The peers of a tunnel that nobody configured, where such are accepted: who they are is learned from their packets.
//!
//! They have numbers as configured peers have, from [`Strangers::FIRST`] on, so that the FDB can name them. The list is
//! bounded. When it is full, a new peer takes the place of the one that was silent longest, if that was for long enough
//! that the FDB has mostly forgotten what was behind it; otherwise it is refused, so that a flood of made-up addresses
//! throws nobody out. Nor does it hold up the workers: who was refused once is so without a search until a place can be
//! free. With a place comes a new number, so that an FDB that never forgets leads to nobody, and not to the heir.

use core::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use crate::packet::PeerId;
use crate::time::Time;

/// How long a peer must have been silent before another takes its place: twice the usual ageing time of a bridge.
const SILENCE: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub struct Strangers {
    by_address: DashMap<IpAddr, PeerId, foldhash::fast::RandomState>,
    by_id: DashMap<PeerId, IpAddr, foldhash::fast::RandomState>,
    /// When each was last heard of, in seconds; also the lock under which peers come and go.
    heard: Heard,
    /// The longest packets that get there; 0: nobody has looked yet.
    mtus: PerSlot,
}

#[derive(Debug, Default)]
struct Heard {
    at: PerSlot,
    /// The number that each place was given last.
    given: Mutex<Vec<PeerId>>,
    /// Before this no place is free, in seconds: all are taken by peers that were heard later than [`SILENCE`] before.
    full_until: AtomicU32,
}

/// A number for each place in the list.
#[derive(Debug)]
struct PerSlot(Box<[AtomicU32]>);

impl Default for PerSlot {
    fn default() -> PerSlot {
        PerSlot((0..Strangers::LIMIT).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Strangers {
    /// The number of the first one. Configured peers are fewer.
    pub const FIRST: u16 = 0x8000;
    /// How many there may be.
    pub const LIMIT: u16 = 1024;

    /// The peer with this address, which is new or sends just now; `None` when there is no room for it.
    pub fn meet(&self, address: IpAddr, now: Time) -> Option<PeerId> {
        let known = self.by_address.get(&address).map(|peer| *peer);
        let peer = match known {
            Some(peer) => peer,
            None => self.admit(address, now)?,
        };
        self.heard.at.0[slot(peer)].store(now.secs(), Ordering::Relaxed);
        Some(peer)
    }

    #[cold]
    fn admit(&self, address: IpAddr, now: Time) -> Option<PeerId> {
        if now.secs() < self.heard.full_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut given = self.heard.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = self.by_address.get(&address) {
            return Some(*peer); // another worker was faster
        }
        let peer = if given.len() < usize::from(Strangers::LIMIT) {
            let peer = PeerId(Strangers::FIRST + given.len() as u16);
            given.push(peer);
            peer
        } else {
            let heard = |slot: u16| self.heard.at.0[usize::from(slot)].load(Ordering::Relaxed);
            let silent = (0..Strangers::LIMIT).min_by_key(|&slot| heard(slot))?;
            // What is heard until then only makes it later.
            let free = heard(silent).saturating_add(SILENCE.as_secs() as u32);
            if now.secs() < free {
                self.heard.full_until.store(free, Ordering::Relaxed);
                return None;
            }
            let holder = &mut given[usize::from(silent)];
            if let Some((_, former)) = self.by_id.remove(holder) {
                self.by_address.remove(&former);
            }
            *holder = next(*holder);
            *holder
        };
        // Before another worker looks for a silent one.
        self.heard.at.0[slot(peer)].store(now.secs(), Ordering::Relaxed);
        self.mtus.0[slot(peer)].store(0, Ordering::Relaxed);
        self.by_id.insert(peer, address);
        self.by_address.insert(address, peer);
        Some(peer)
    }

    /// The address of a peer.
    pub fn address(&self, peer: PeerId) -> Option<IpAddr> {
        self.by_id.get(&peer).map(|address| *address)
    }

    /// The longest packet that gets to a peer, where that is known.
    pub fn mtu(&self, peer: PeerId) -> Option<u32> {
        let slot = peer.0.checked_sub(Strangers::FIRST)?;
        let mtu = self.mtus.0.get(usize::from(slot))?.load(Ordering::Relaxed);
        (mtu != 0).then_some(mtu)
    }

    /// Notes the longest packet that gets to a peer, which this list gave its number.
    pub fn set_mtu(&self, peer: PeerId, mtu: u32) {
        self.mtus.0[slot(peer)].store(mtu, Ordering::Relaxed);
    }

    /// All of them.
    pub fn all(&self) -> Vec<(PeerId, IpAddr)> {
        self.by_id.iter().map(|entry| (*entry.key(), *entry.value())).collect()
    }
}

/// A peer's place in the list. Numbers are given out by this list only.
fn slot(peer: PeerId) -> usize {
    usize::from((peer.0 - Strangers::FIRST) % Strangers::LIMIT)
}

/// The number that the same place has next: after 32 holders the first one again.
fn next(peer: PeerId) -> PeerId {
    PeerId(peer.0.checked_add(Strangers::LIMIT).unwrap_or(Strangers::FIRST + slot(peer) as u16))
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 | n).into()
    }

    #[test]
    fn a_flood_of_peers_throws_nobody_out_who_was_heard_lately() {
        let strangers = Strangers::default();
        let start = Time::from_secs(1);
        let first = strangers.meet(address(0), start).unwrap();
        for n in 1..u32::from(Strangers::LIMIT) {
            let peer = strangers.meet(address(n), start).unwrap();
            assert_eq!(strangers.address(peer), Some(address(n)));
        }
        strangers.set_mtu(first, 1350);
        let second = strangers.meet(address(1), start).unwrap();
        strangers.set_mtu(second, 1250);
        assert_eq!((strangers.mtu(first), strangers.mtu(PeerId(0))), (Some(1350), None));
        let later = start + SILENCE;
        let almost = start + (SILENCE - Duration::from_secs(1));
        assert_eq!(strangers.meet(address(0), later), Some(first));
        assert_eq!(strangers.meet(address(5000), almost), None);
        let heir = strangers.meet(address(5000), later).unwrap();
        assert_ne!(heir, first);
        let former = PeerId(heir.0 - Strangers::LIMIT);
        assert_eq!(
            strangers.address(former),
            None,
            "what was behind the former holder is not behind the heir"
        );
        assert_eq!((strangers.address(heir), strangers.mtu(heir)), (Some(address(5000)), None));
        assert_eq!(strangers.mtu(first), Some(1350));
        assert_eq!(strangers.meet(address(0), later), Some(first));
        assert_eq!(strangers.all().len(), usize::from(Strangers::LIMIT));
    }

    #[test]
    fn numbers_come_round_and_stay_with_their_place() {
        let mut peer = PeerId(Strangers::FIRST + 7);
        for _ in 0..32 {
            assert_eq!(slot(peer), 7);
            peer = next(peer);
        }
        assert_eq!(peer, PeerId(Strangers::FIRST + 7));
    }

    #[test]
    fn a_place_is_given_once_though_two_are_let_in_before_either_is_heard() {
        let strangers = Strangers::default();
        let start = Time::from_secs(1);
        for n in 0..u32::from(Strangers::LIMIT) {
            strangers.meet(address(n), start);
        }
        let later = start + SILENCE;
        let heirs = [5000, 5001].map(|n| strangers.admit(address(n), later).unwrap());
        assert_ne!(heirs[0], heirs[1]);
        assert_eq!(heirs.map(|heir| strangers.address(heir)), [Some(address(5000)), Some(address(5001))]);
    }

    #[test]
    fn who_is_refused_is_so_without_a_search_until_a_place_can_be_free() {
        let strangers = Strangers::default();
        let start = Time::from_secs(1);
        for n in 0..u32::from(Strangers::LIMIT) {
            strangers.meet(address(n), start + Duration::from_secs(u64::from(n)));
        }
        let full_until = || u64::from(strangers.heard.full_until.load(Ordering::Relaxed));
        assert_eq!(strangers.meet(address(5000), start + Duration::from_secs(10)), None);
        assert_eq!(full_until(), 1 + SILENCE.as_secs());
        // The first was heard again, so that the second is the next to go.
        strangers.meet(address(0), start + Duration::from_secs(20));
        assert_eq!(strangers.meet(address(5000), start + SILENCE), None);
        assert_eq!(full_until(), 2 + SILENCE.as_secs());
        assert!(strangers.meet(address(5000), start + SILENCE + Duration::from_secs(1)).is_some());
    }
}
