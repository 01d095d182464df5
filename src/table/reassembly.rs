//! Datagrams that come in fragments and are wanted whole, as NAT and the filter need them: those of one worker, which
//! has a table for itself and shares none.
//!
//! **What is believed.** Fragments of a datagram have addresses, identification and the interface they came in by in
//! common, and the protocol too in IPv4. Where two of them overlap or contradict each other on its length, all that came
//! and is to come of it is dropped (RFC 5722, and for IPv4 as RFC 1858 and RFC 3128 would have it). An exact duplicate is
//! dropped alone (RFC 8200 section 4.5).
//!
//! **Bound.** [`MAX_DATAGRAMS`], [`MAX_FRAGMENTS`] of each, [`MAX_BYTES`] in all, and a quarter of either for one source.
//! A source that would have more loses its oldest datagram; when the table is full, the source that has most does. So
//! who sends fragments without end pays for them.
//!
//! **Accounts.** A fragment that is kept counts as replied at its port, as a frame that the switch took for itself. When
//! its datagram gets whole, the last fragment's frame goes on with all of it, and the others stay counted as they are.
//! When the datagram is thrown away, they count as copies and as drops: see [`Thrown`].
//!
//! **Time.** A datagram is given [`TIMEOUT`] from its first fragment on. [`Reassembly::expire`] says when it is due.

mod datagram;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use datagram::{Datagram, Fragment, Piece};

use crate::packet::{DropReason, Frame, InterfaceId, Layer, Packet, Part, PortId, RouterId};
use crate::time::Time;
use crate::wire::address::Address;

/// Datagrams that may be incomplete at a time.
pub const MAX_DATAGRAMS: usize = 256;
/// Fragments of one datagram.
pub const MAX_FRAGMENTS: usize = 64;
/// Bytes of all fragments that are kept, with what keeping them costs.
pub const MAX_BYTES: usize = 4 << 20;
/// How long a datagram may take to get whole; RFC 1122 section 3.3.2 and RFC 8200 section 4.5 say 60 s at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the table one source may have.
const SOURCE_SHARE: usize = 4;
/// Bytes that a fragment counts for beside its own.
const OVERHEAD: usize = 64;

/// Where a fragment came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The router.
    pub router: RouterId,
    /// The interface of it.
    pub interface: InterfaceId,
    /// The port, which counts what becomes of it.
    pub port: PortId,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the one that was missing: the whole packet is in the frame given, in place of the fragment's.
    Whole(Whole),
    /// It waits for the others. The frame is taken, and counts as replied at its port.
    Kept,
    /// It is dropped: [`DropReason::FragmentInvalid`] or [`DropReason::FragmentFlood`].
    Refused(DropReason),
}

/// How a packet that is whole again came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// In how many fragments.
    pub fragments: u32,
    /// Bytes of the longest as an IP packet: nothing longer may leave than came in.
    pub largest: u32,
    /// One of the fragments must not be fragmented further; so says the whole packet's header then.
    pub dont_fragment: bool,
    /// The identification that its fragments had.
    pub identification: u32,
}

/// Fragments of a port that were kept and are dropped now. As they were counted as replied when they were kept, they
/// count as copies of that port now, and as drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thrown {
    /// The port they came in by.
    pub port: PortId,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub frames: u32,
}

/// A datagram that did not get whole in time, and whose first fragment came: who sent it is told (ICMP and ICMPv6 Time
/// Exceeded, code 1). Of one whose first did not, nobody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Where the first fragment came in.
    pub origin: Origin,
    /// The bytes of its frame.
    pub bytes: Box<[u8]>,
    /// What they begin with.
    pub layer: Layer,
}

/// See the module.
#[derive(Default)]
pub struct Reassembly {
    datagrams: HashMap<Key, Datagram, foldhash::fast::RandomState>,
    /// All of them, the oldest first.
    by_age: BTreeMap<(Time, u64), Key>,
    sources: HashMap<Address, Share, foldhash::fast::RandomState>,
    bytes: usize,
    next_ticket: u64,
}

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: Address,
    destination: Address,
    identification: u32,
    /// 0 in IPv6, where only the first fragment's counts (RFC 8200 section 4.5).
    protocol: u8,
    router: RouterId,
    interface: InterfaceId,
}

/// What a source has in the table.
#[derive(Default)]
struct Share {
    datagrams: usize,
    bytes: usize,
}

impl Share {
    /// What it has of the table, in bytes; a datagram counts for its share of them, however small.
    fn weight(&self) -> usize {
        self.bytes.max(self.datagrams * (MAX_BYTES / MAX_DATAGRAMS))
    }
}

/// How much of packets is kept until the rest of them has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Packets, at most [`MAX_DATAGRAMS`].
    pub datagrams: usize,
    /// What came of them, in bytes, at most [`MAX_BYTES`].
    pub bytes: usize,
}

impl Reassembly {
    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill { datagrams: self.datagrams.len(), bytes: self.bytes }
    }

    /// Takes the fragment in `frame`, as which `packet` was read from it, and writes the packet that it makes whole to
    /// `whole`, with this frame's layer and VLAN tag and the first fragment's headers. What is thrown away for it is
    /// added to `thrown`, apart from the frame itself. A packet that is no fragment is whole.
    pub fn take(
        &mut self,
        frame: &Frame,
        packet: &Packet,
        origin: Origin,
        now: Time,
        whole: &mut Frame,
        thrown: &mut Vec<Thrown>,
    ) -> Outcome {
        if packet.part == Part::Whole {
            whole.copy_from(frame);
            let Packet { dont_fragment, .. } = *packet;
            let largest = packet.len() as u32;
            return Outcome::Whole(Whole { fragments: 1, largest, dont_fragment, identification: 0 });
        }
        let Some(piece) = Piece::of(frame, packet) else {
            return Outcome::Refused(DropReason::FragmentInvalid);
        };
        let key = piece.key(packet, origin);
        match self.fit(key, &piece, now, thrown) {
            Ok(true) => self.complete(key, frame, &piece, whole, thrown),
            Ok(false) => self.keep(key, frame, &piece, origin, thrown),
            Err(reason) => Outcome::Refused(reason),
        }
    }

    /// Throws away what did not get whole in time, and says when to come again.
    pub fn expire(
        &mut self,
        now: Time,
        expired: &mut Vec<Expired>,
        thrown: &mut Vec<Thrown>,
    ) -> Option<Time> {
        while let Some((&(born, _), &key)) = self.by_age.first_key_value() {
            if now < born + TIMEOUT {
                return Some(born + TIMEOUT);
            }
            let Some(datagram) = self.remove(key) else { break };
            charge(&datagram.fragments, DropReason::FragmentTimeout, thrown);
            let layer = datagram.layer;
            let first = datagram.fragments.into_iter().next().filter(|fragment| fragment.offset == 0);
            expired.extend(first.map(|Fragment { origin, bytes, .. }| Expired { origin, bytes, layer }));
        }
        None
    }

    /// Throws away the datagrams that came in where nobody takes them any more.
    pub fn retain(&mut self, keep: impl Fn(RouterId, InterfaceId) -> bool, thrown: &mut Vec<Thrown>) {
        let gone: Vec<Key> =
            self.by_age.values().filter(|key| !keep(key.router, key.interface)).copied().collect();
        for key in gone {
            self.throw_away(key, DropReason::FragmentTimeout, thrown);
        }
    }

    /// Whether the datagram gets whole by this piece; an error, when it cannot have it. There is an entry for it then.
    fn fit(
        &mut self,
        key: Key,
        piece: &Piece<'_>,
        now: Time,
        thrown: &mut Vec<Thrown>,
    ) -> Result<bool, DropReason> {
        if !self.datagrams.contains_key(&key) {
            self.make_room_for_datagram(key.source, thrown);
            self.enter(key, piece.layer, now);
        }
        let datagram = self.datagrams.get_mut(&key).ok_or(DropReason::FragmentFlood)?;
        if let Some(reason) = datagram.refused {
            return Err(reason);
        }
        if datagram.has(piece) {
            return Err(DropReason::FragmentInvalid);
        }
        if datagram.contradicts(piece) {
            self.refuse(key, DropReason::FragmentInvalid, thrown);
            return Err(DropReason::FragmentInvalid);
        }
        if datagram.fragments.len() + 1 > MAX_FRAGMENTS {
            self.refuse(key, DropReason::FragmentFlood, thrown);
            return Err(DropReason::FragmentFlood);
        }
        datagram.total = datagram.total.or(piece.total());
        datagram.largest = datagram.largest.max(piece.packet_len as u32);
        datagram.dont_fragment |= piece.dont_fragment;
        datagram.ecn |= 1 << piece.ecn;
        datagram.received += piece.payload.len();
        Ok(datagram.total == Some(datagram.received))
    }

    fn keep(
        &mut self,
        key: Key,
        frame: &Frame,
        piece: &Piece<'_>,
        origin: Origin,
        thrown: &mut Vec<Thrown>,
    ) -> Outcome {
        let (bytes, payload_at) = match piece.offset {
            0 => (&frame.bytes()[..piece.at + piece.payload.len()], piece.at),
            _ => (piece.payload, 0),
        };
        let fragment = Fragment { origin, offset: piece.offset, bytes: bytes.into(), payload_at };
        let cost = fragment.cost();
        if !self.make_room_for_bytes(key, cost, thrown) {
            self.refuse(key, DropReason::FragmentFlood, thrown);
            return Outcome::Refused(DropReason::FragmentFlood);
        }
        let Some(datagram) = self.datagrams.get_mut(&key) else {
            return Outcome::Refused(DropReason::FragmentFlood);
        };
        let place = datagram.fragments.partition_point(|other| other.offset < fragment.offset);
        datagram.fragments.insert(place, fragment);
        self.bytes += cost;
        self.sources.entry(key.source).or_default().bytes += cost;
        Outcome::Kept
    }

    fn complete(
        &mut self,
        key: Key,
        frame: &Frame,
        piece: &Piece<'_>,
        whole: &mut Frame,
        thrown: &mut Vec<Thrown>,
    ) -> Outcome {
        let Some(datagram) = self.remove(key) else { return Outcome::Refused(DropReason::FragmentFlood) };
        match datagram.assemble(frame, piece, whole) {
            Some(()) => Outcome::Whole(Whole {
                fragments: datagram.fragments.len() as u32 + 1,
                largest: datagram.largest,
                dont_fragment: datagram.dont_fragment,
                identification: key.identification,
            }),
            None => {
                charge(&datagram.fragments, DropReason::FragmentInvalid, thrown);
                Outcome::Refused(DropReason::FragmentInvalid)
            }
        }
    }

    fn enter(&mut self, key: Key, layer: Layer, now: Time) {
        self.next_ticket += 1;
        let age = (now, self.next_ticket);
        let datagram = Datagram {
            age,
            layer,
            fragments: Vec::new(),
            total: None,
            received: 0,
            largest: 0,
            dont_fragment: false,
            ecn: 0,
            refused: None,
        };
        self.datagrams.insert(key, datagram);
        self.by_age.insert(age, key);
        self.sources.entry(key.source).or_default().datagrams += 1;
    }

    fn make_room_for_datagram(&mut self, source: Address, thrown: &mut Vec<Thrown>) {
        let own = self.sources.get(&source).map_or(0, |share| share.datagrams);
        if own >= MAX_DATAGRAMS / SOURCE_SHARE {
            self.throw_oldest_of(source, None, thrown);
        } else if self.datagrams.len() >= MAX_DATAGRAMS {
            self.throw_oldest_of_greediest(None, thrown);
        }
    }

    /// Sees to it that `cost` bytes more may be kept, of the datagram `key`.
    fn make_room_for_bytes(&mut self, key: Key, cost: usize, thrown: &mut Vec<Thrown>) -> bool {
        let own = |table: &Reassembly| table.sources.get(&key.source).map_or(0, |share| share.bytes);
        while own(self) + cost > MAX_BYTES / SOURCE_SHARE {
            if !self.throw_oldest_of(key.source, Some(key), thrown) {
                return false;
            }
        }
        while self.bytes + cost > MAX_BYTES {
            if !self.throw_oldest_of_greediest(Some(key), thrown) {
                return false;
            }
        }
        true
    }

    fn throw_oldest_of_greediest(&mut self, but: Option<Key>, thrown: &mut Vec<Thrown>) -> bool {
        let most = self.sources.values().map(Share::weight).max().unwrap_or(0);
        // Of those that have the same, who has the oldest.
        let has_most = |key: &Key| self.sources.get(&key.source).is_some_and(|share| share.weight() == most);
        let victim = self.by_age.values().find(|key| has_most(key) && Some(**key) != but);
        victim.copied().is_some_and(|key| self.throw_away(key, DropReason::FragmentFlood, thrown))
    }

    fn throw_oldest_of(&mut self, source: Address, but: Option<Key>, thrown: &mut Vec<Thrown>) -> bool {
        let victim = self.by_age.values().find(|key| key.source == source && Some(**key) != but);
        victim.copied().is_some_and(|key| self.throw_away(key, DropReason::FragmentFlood, thrown))
    }

    /// Drops what there is of a datagram, and what will come of it.
    fn refuse(&mut self, key: Key, reason: DropReason, thrown: &mut Vec<Thrown>) {
        let Some(datagram) = self.datagrams.get_mut(&key) else { return };
        datagram.refused = Some(reason);
        let fragments = std::mem::take(&mut datagram.fragments);
        charge(&fragments, reason, thrown);
        self.give_back(key.source, &fragments);
    }

    fn throw_away(&mut self, key: Key, reason: DropReason, thrown: &mut Vec<Thrown>) -> bool {
        let Some(datagram) = self.remove(key) else { return false };
        charge(&datagram.fragments, reason, thrown);
        true
    }

    fn remove(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        self.by_age.remove(&datagram.age);
        self.give_back(key.source, &datagram.fragments);
        if let Some(share) = self.sources.get_mut(&key.source) {
            share.datagrams -= 1;
            if share.datagrams == 0 {
                self.sources.remove(&key.source);
            }
        }
        Some(datagram)
    }

    fn give_back(&mut self, source: Address, fragments: &[Fragment]) {
        let bytes: usize = fragments.iter().map(Fragment::cost).sum();
        self.bytes -= bytes;
        if let Some(share) = self.sources.get_mut(&source) {
            share.bytes -= bytes;
        }
    }
}

/// Adds the fragments to what their ports are told.
fn charge(fragments: &[Fragment], reason: DropReason, thrown: &mut Vec<Thrown>) {
    for &Fragment { origin: Origin { port, .. }, .. } in fragments {
        match thrown.iter_mut().find(|thrown| thrown.port == port && thrown.reason == reason) {
            Some(thrown) => thrown.frames += 1,
            None => thrown.push(Thrown { port, reason, frames: 1 }),
        }
    }
}
