//! Rules on a bridge's own forward path: which IP packets pass from one of its ports to another.
//!
//! What is not IP passes, ARP above all, and so do the questions and answers that IPv6 has instead of ARP: without them no
//! answer would find its way back that a rule lets pass. What says that it is IP and is malformed does not pass, nor does
//! what hides behind more VLAN tags than can be looked through. Parts of a packet go the way of the first one, which has
//! the ports; one that comes before the first is dropped, since nobody can tell what it belongs to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::HashMap;

use crate::packet::icmp_error::{self, Trouble};
use crate::packet::neighbor_message;
use crate::packet::{Batch, DropReason, Frame, Packet, Part, PortId, Vid, quoted};
use crate::switch::counting::PortCounters;
use crate::switch::outbox::{Crossing, Departure, Outbox, Recipients, Refused};
use crate::switch::router::{Chain, Judged, Subject, Tracked};
use crate::switch::stage::route::{RuleCounters, count, segment};
use crate::switch::walked::{Hop, Stage};
use crate::switch::{Topology, Way};
use crate::table::conntrack::{Conntrack, Limits, Opening, State};
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::nd::{Kind, Nd};
use crate::wire::{be16, ethernet, icmp, ipv4, ipv6, tcp};

/// Packets in parts of one port whose first part is remembered, so that whoever sends very many is who pays.
const MAX_PACKETS: usize = 64;
/// For how long (RFC 8200 section 4.5 gives a packet 60 s to get whole, which nobody waits for).
const MEMORY: Duration = Duration::from_secs(10);

/// The rules of a bridge.
pub struct BridgeRules {
    /// The rules; a bridge has one hook.
    pub chain: Chain,
    /// The connections, where a rule asks for their state; shared.
    pub sessions: Option<Arc<VlanSessions>>,
}

/// The connections of a bridge, of each VLAN apart: the same addresses may be others there.
pub struct VlanSessions {
    limits: Limits,
    seed: u64,
    tables: DashMap<Vid, Arc<Conntrack>>,
    /// Where this is a trial: what it is one of.
    real: Option<Arc<VlanSessions>>,
}

impl VlanSessions {
    /// No connections yet; `limits` are those of each VLAN. `seed`: see [`Conntrack::new`].
    pub fn new(limits: Limits, seed: u64) -> VlanSessions {
        VlanSessions { limits, seed, tables: DashMap::new(), real: None }
    }

    /// Tables that know what these do and never change them.
    pub(in crate::switch) fn trial(self: &Arc<VlanSessions>) -> VlanSessions {
        VlanSessions { real: Some(Arc::clone(self)), ..VlanSessions::new(self.limits.clone(), self.seed) }
    }

    /// How many connections there are, of each VLAN that has some.
    pub fn held(&self) -> impl Iterator<Item = usize> + '_ {
        self.tables.iter().map(|table| table.stats().live)
    }

    /// The most connections of a VLAN.
    pub fn limit(&self) -> usize {
        self.limits.sessions
    }

    fn of(&self, vid: Vid) -> Arc<Conntrack> {
        if let Some(table) = self.tables.get(&vid) {
            return Arc::clone(&table);
        }
        let table = self.tables.entry(vid).or_insert_with(|| {
            let real = self.real.as_ref().and_then(|real| real.tables.get(&vid));
            Arc::new(match real {
                Some(real) => real.trial(),
                None => Conntrack::new(self.limits.clone(), self.seed ^ u64::from(vid) << 48),
            })
        });
        Arc::clone(&table)
    }

    /// See [`Conntrack::expire`].
    pub(in crate::switch) fn expire(&self, now: Time) -> Option<Time> {
        let mut due = None;
        self.tables.retain(|_, table| {
            let next = table.expire(now);
            due = [due, next].into_iter().flatten().min();
            next.is_some()
        });
        due
    }
}

/// From where to where a frame would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::switch) struct Passing {
    pub(in crate::switch) vid: Vid,
    pub(in crate::switch) input: PortId,
    pub(in crate::switch) output: PortId,
}

/// What tells the parts of one packet from those of others: where they pass, its addresses, protocol and identification.
type PacketId = (Passing, Address, Address, u8, u32);

/// What became of the first part of a packet.
struct First {
    id: PacketId,
    came: Time,
    verdict: Result<(), DropReason>,
}

/// What one worker needs to apply the rules of all bridges.
#[derive(Default)]
pub(in crate::switch) struct Filtering {
    judged: Judged,
    /// The first parts of packets, by the port they came by, the oldest first.
    firsts: HashMap<PortId, VecDeque<First>>,
}

impl Filtering {
    /// Whether a frame may pass from the port `input` to `output`.
    pub(in crate::switch) fn judge(
        &mut self,
        rules: &BridgeRules,
        counters: &mut [RuleCounters],
        frame: &Frame,
        passing: Passing,
        now: Time,
    ) -> Result<(), DropReason> {
        self.judged.clear();
        let packet = match Packet::of(frame) {
            Err(DropReason::NotIp) if is_seen_through(frame) => return Ok(()),
            Err(DropReason::NotIp) => return Err(DropReason::Filtered),
            Err(reason) => return Err(reason),
            Ok(packet) => packet,
        };
        if resolves_address(frame, &packet) {
            return Ok(());
        }
        if packet.part == Part::Whole {
            return self.judge_packet(rules, counters, frame, &packet, passing, now);
        }
        let tuple = &packet.tuple;
        // The protocol is that of each fragment in IPv4; in IPv6 each might say another.
        let protocol = if tuple.source.is_v4() { tuple.protocol } else { 0 };
        let id = (passing, tuple.source, tuple.destination, protocol, identification(frame, &packet));
        if packet.part == Part::Later {
            // It would write over the ports of the first (RFC 3128).
            if offset(frame, &packet) < tcp::MIN_HEADER_LEN {
                return Err(DropReason::FragmentInvalid);
            }
            let mut firsts = self.firsts.get(&passing.input).into_iter().flatten().rev();
            let first = firsts.find(|first| first.id == id && now.since(first.came) < MEMORY);
            return first.map_or(Err(DropReason::FragmentInvalid), |first| first.verdict);
        }
        let verdict = self.judge_packet(rules, counters, frame, &packet, passing, now);
        let firsts = self.firsts.entry(passing.input).or_default();
        if firsts.len() == MAX_PACKETS {
            firsts.pop_front();
        }
        firsts.push_back(First { id, came: now, verdict });
        verdict
    }

    fn judge_packet(
        &mut self,
        rules: &BridgeRules,
        counters: &mut [RuleCounters],
        frame: &Frame,
        packet: &Packet,
        passing: Passing,
        now: Time,
    ) -> Result<(), DropReason> {
        let segment = segment(frame, packet);
        let sessions = rules.sessions.as_ref().map(|sessions| sessions.of(passing.vid));
        let mut known = sessions.as_ref().map(|sessions| match packet.is_icmp_error() {
            true => {
                let quoted = quoted::of(frame, packet);
                quoted.and_then(|quoted| sessions.lookup(&quoted.reversed(), now))
            }
            false => sessions.lookup(&packet.tuple, now),
        });
        let state = match &known {
            None => Tracked::New,
            Some(None) if packet.is_icmp_error() => Tracked::Invalid,
            Some(None) => Tracked::New,
            Some(Some(_)) if packet.is_icmp_error() => Tracked::Related,
            Some(Some((session, direction))) => match session.packet(*direction, now, segment) {
                Ok(State::New) => Tracked::New,
                Ok(_) => Tracked::Established,
                // It ends here, and another with its ports begins.
                Err(DropReason::NoSession) => {
                    known = Some(None);
                    Tracked::New
                }
                Err(_) => Tracked::Invalid,
            },
        };
        let mut subject = Subject::new(packet, Some(passing.input.0), state);
        subject.output = Some(passing.output.0);
        let verdict = rules.chain.judge(&subject, now, &mut self.judged);
        self.judged.rules.iter().for_each(|&rule| count(counters, rule, packet.len()));
        verdict?;
        match (&sessions, known) {
            (Some(sessions), Some(None)) if state == Tracked::New => {
                let original = packet.tuple;
                let opening =
                    Opening { original, destination: None, source: None, rule: u32::MAX, tcp: segment };
                sessions.open(opening, now).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The rules that the packet matched that was judged last.
    pub(in crate::switch) fn matched(&self) -> &[u32] {
        &self.judged.rules
    }

    /// The rules that want the packet logged that was judged last.
    pub(in crate::switch) fn to_log(&self) -> &[u32] {
        &self.judged.log
    }
}

/// Tells the senders of frames that rules have refused, as if those whom they were for had said it, unless too many were
/// told.
pub(in crate::switch) fn refuse(
    topology: &Topology,
    batch: &mut Batch,
    counters: &mut PortCounters,
    outbox: &mut Outbox,
    limits: &[TokenBucket],
    now: Time,
) {
    for Refused { frame, to, form } in std::mem::take(&mut outbox.refused) {
        let Some(port) = topology.port(to.port) else { continue };
        if !limits.get(to.port.index()).is_some_and(|bucket| bucket.take(now)) {
            continue;
        }
        let live = batch.len();
        let Some(index) = batch.add() else { continue };
        let (refused, answer) = batch.pair(frame as usize, index);
        if !icmp_error::mirrored_reset(refused, answer)
            && !icmp_error::mirrored(refused, Trouble::Prohibited, answer)
        {
            batch.truncate(live);
            continue;
        }
        counters.of(to.port).copies += 1;
        outbox.watching.recorder.note(Hop::Out(to.port), Stage::Error, || {
            format!(
                "its sender is told at {}, as if whom it was for had said it",
                topology.port_name(to.port)
            )
        });
        let recipients = Recipients::Peer(to.peer);
        let frame = index as u32;
        let departure = Departure { frame, form, out: to.port, to: recipients, shared: false, echo: false };
        match &port.way {
            Way::Queue | Way::Underlay(_) => outbox.push(to.port, departure),
            Way::Patch(peer) => outbox.patched.push(Crossing { peer: *peer, departure }),
            Way::Tunnel(overlay) => outbox.push(overlay.underlay, departure),
        }
    }
}

/// Whether a packet asks for a neighbour's MAC address or tells one.
fn resolves_address(frame: &Frame, packet: &Packet) -> bool {
    packet.tuple.protocol == icmp::V6_PROTOCOL
        && matches!(
            neighbor_message::nd(frame, packet),
            Some(Ok(Nd { kind: Kind::NeighborSolicitation { .. } | Kind::NeighborAdvertisement { .. }, .. }))
        )
}

/// Whether what a frame carries can be told, and is not IP.
fn is_seen_through(frame: &Frame) -> bool {
    ethernet::payload(frame.bytes())
        .is_some_and(|(ether_type, _)| !matches!(ether_type, ipv4::ETHER_TYPE | ipv6::ETHER_TYPE))
}

/// The identification that all parts of a packet have.
fn identification(frame: &Frame, packet: &Packet) -> u32 {
    let bytes = frame.bytes();
    match packet.tuple.source.is_v4() {
        true => u32::from(ipv4::identification(&bytes[usize::from(packet.l3)..])),
        // The fragment header stands right before the payload.
        false => {
            let at = usize::from(packet.l4) - 4;
            u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
        }
    }
}

/// Where in its packet's payload a fragment's begins, in bytes.
fn offset(frame: &Frame, packet: &Packet) -> usize {
    let bytes = frame.bytes();
    match packet.tuple.source.is_v4() {
        true => usize::from(be16(bytes, usize::from(packet.l3) + 6) & 0x1fff) * 8,
        false => usize::from(be16(bytes, usize::from(packet.l4) - 6) & 0xfff8),
    }
}
