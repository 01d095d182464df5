//! What a frame meets on its walk, in its own words: the stages note it while they decide, so that what is told is what
//! has happened.
//!
//! The recorder stands beside the watchers, whom all stages know, and is off but for a frame that walks alone. Where every
//! frame comes by, it is asked for once a queue; else it stands where only few come. While it is on, the tables are asked
//! instead of the worker's caches, which say the same and do not tell why.
//!
//! What became of a frame, the recorder takes from the counters: each that has grown since it was last looked at is an
//! [`End`]. So a drop cannot be told that was not counted, nor one be counted that is not told.

use core::fmt;
use core::net::SocketAddr;

use super::counting::PortCounters;
use super::{Overlay, Topology, Way};
use crate::packet::{
    BridgeId, Counters, DropReason, Frame, Gso, InterfaceId, Layer, PeerId, PortId, RouterId, Tuple,
};
use crate::wire::address::Address;
use crate::wire::{icmp, tcp, udp};

/// Where on its walk a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// It has come in by a port.
    In(PortId),
    /// At a bridge.
    Bridge(BridgeId),
    /// At a router.
    Router(RouterId),
    /// It is to leave by a port.
    Out(PortId),
}

/// What looks at it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The headers, and what came with them.
    Ingress,
    /// Port security.
    Guard,
    /// What is noted of its source.
    Learn,
    /// Where its destination is.
    Fdb,
    /// To whom it is flooded.
    Flood,
    /// Frames that an uplink brings back.
    Reflect,
    /// Answers in the name of neighbours.
    Suppress,
    /// Rules, of a bridge or of a router's hook.
    Rule,
    /// The way to a router.
    Route,
    /// What a router asks of headers, TTL and source.
    Check,
    /// Its connection.
    Session,
    /// The translation of its addresses.
    Nat,
    /// Who is next on its way.
    Neighbor,
    /// Packets in parts.
    Fragment,
    /// What is for the router itself.
    Local,
    /// What its sender is told.
    Error,
    /// Another bridge, by a patch.
    Patch,
    /// How it is made fit for its port.
    Egress,
    /// What a tunnel puts around it.
    Tunnel,
    /// What became of it.
    End,
}

impl Stage {
    /// Its name on the surface.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Ingress => "ingress",
            Stage::Guard => "guard",
            Stage::Learn => "learn",
            Stage::Fdb => "fdb",
            Stage::Flood => "flood",
            Stage::Reflect => "reflect",
            Stage::Suppress => "suppress",
            Stage::Rule => "rule",
            Stage::Route => "route",
            Stage::Check => "check",
            Stage::Session => "session",
            Stage::Nat => "nat",
            Stage::Neighbor => "neighbor",
            Stage::Fragment => "fragment",
            Stage::Local => "local",
            Stage::Error => "error",
            Stage::Patch => "patch",
            Stage::Egress => "egress",
            Stage::Tunnel => "tunnel",
            Stage::End => "end",
        }
    }
}

/// What became of a frame, or of a copy or a part of it, as it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A port took so many frames.
    Sent {
        /// The port.
        port: PortId,
        /// How many.
        frames: u64,
        /// Their bytes, without what a tunnel puts around them.
        bytes: u64,
    },
    /// The switch took it: answered, kept, or understood.
    Taken {
        /// The port that it counts at.
        port: PortId,
        /// How many.
        frames: u64,
    },
    /// It was dropped.
    Dropped {
        /// The port that it counts at.
        port: PortId,
        /// Why.
        reason: DropReason,
        /// How many.
        frames: u64,
    },
}

/// A step of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the frame is.
    pub hop: Hop,
    /// What looks at it.
    pub stage: Stage,
    /// What it finds, in a few words for a person.
    pub text: String,
    /// What became of the frame, where it ends here.
    pub end: Option<End>,
}

/// Notes steps while it is on.
#[derive(Default)]
pub(super) struct Recorder(Option<Box<Recording>>);

struct Recording {
    steps: Vec<Step>,
    /// The counters of ports when they were last looked at, in order of their ports; of those that are gone, at the end.
    counted: Vec<(PortId, Counters)>,
}

/// Where what has no port is counted.
const GONE: PortId = PortId(u16::MAX);

impl Recorder {
    /// Whether somebody wants to know.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins to record, with the counters as they are.
    pub(super) fn begin(&mut self, counters: &PortCounters) {
        let counted = all(counters).map(|(port, counters)| (port, counters.clone())).collect();
        self.0 = Some(Box::new(Recording { steps: Vec::new(), counted }));
    }

    /// What was recorded, up to what the counters say at the end. Nothing is recorded from now on.
    pub(super) fn end(&mut self, counters: &PortCounters) -> Vec<Step> {
        let Some(mut recording) = self.0.take() else { return Vec::new() };
        let last = recording.steps.last().map(|step| step.hop);
        for (port, counters) in all(counters) {
            recording.settle(last.unwrap_or(Hop::In(port)), port, counters);
        }
        recording.steps
    }

    /// Notes what `stage` says at `hop`.
    #[inline(always)]
    pub(super) fn note(&mut self, hop: Hop, stage: Stage, text: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.0 {
            recording.note(hop, stage, text);
        }
    }

    /// Notes what was counted at `port` since that was last looked at, as having happened at `hop`.
    #[inline]
    pub(super) fn settle(&mut self, hop: Hop, port: PortId, counters: &Counters) {
        if let Some(recording) = &mut self.0 {
            recording.settle(hop, port, counters);
        }
    }
}

impl Recording {
    /// Apart from the stages, whose loops are not to be long with words that are mostly not asked for.
    #[cold]
    #[inline(never)]
    fn note(&mut self, hop: Hop, stage: Stage, text: impl FnOnce() -> String) {
        self.steps.push(Step { hop, stage, text: text(), end: None });
    }

    #[cold]
    fn settle(&mut self, hop: Hop, port: PortId, after: &Counters) {
        let Ok(at) = self.counted.binary_search_by_key(&port, |&(port, _)| port) else { return };
        let before = std::mem::replace(&mut self.counted[at].1, after.clone());
        let mut end = |end: End| {
            self.steps.push(Step { hop, stage: Stage::End, text: String::new(), end: Some(end) });
        };
        if after.tx_frames != before.tx_frames {
            let (frames, bytes) = (after.tx_frames - before.tx_frames, after.tx_bytes - before.tx_bytes);
            end(End::Sent { port, frames, bytes });
        }
        if after.replied != before.replied {
            end(End::Taken { port, frames: after.replied - before.replied });
        }
        for (reason, count) in after.drops().filter(|&(reason, count)| count != before.dropped(reason)) {
            end(End::Dropped { port, reason, frames: count - before.dropped(reason) });
        }
    }
}

fn all(counters: &PortCounters) -> impl Iterator<Item = (PortId, &Counters)> {
    counters.iter().chain([(GONE, &counters.retired)])
}

/// What a frame is like, for show.
pub(super) fn shape(frame: &Frame) -> String {
    let (len, offload) = (frame.len(), &frame.offload);
    let what = if frame.layer == Layer::Ip { "packet" } else { "frame" };
    match offload.gso {
        Gso::None if offload.needs_csum => format!("a {what} of {len} bytes, its checksum unfinished,"),
        Gso::None => format!("a {what} of {len} bytes"),
        Gso::Udp => format!("a superframe of {len} bytes, datagrams of {} each,", offload.gso_size),
        _ => format!("a superframe of {len} bytes, segments of {} each,", offload.gso_size),
    }
}

/// A flow, for show.
pub(super) fn flow(tuple: &Tuple) -> String {
    let end = |address: Address, port: u16| SocketAddr::new(address.into(), port);
    let (source, destination) = (tuple.source, tuple.destination);
    let name = match tuple.protocol {
        tcp::PROTOCOL => "tcp",
        udp::PROTOCOL => "udp",
        icmp::PROTOCOL => return format!("icmp {source} > {destination} id {}", tuple.source_port),
        icmp::V6_PROTOCOL => return format!("icmp6 {source} > {destination} id {}", tuple.source_port),
        protocol => return format!("protocol {protocol} {source} > {destination}"),
    };
    format!("{name} {} > {}", end(source, tuple.source_port), end(destination, tuple.destination_port))
}

/// Rules by their places, counted from 1 as they are shown.
pub(super) fn rules(places: &[u32]) -> String {
    let numbers: Vec<_> = places.iter().map(|place| (place + 1).to_string()).collect();
    match &numbers[..] {
        [] => "no rule matches".to_owned(),
        [one] => format!("rule {one} matches"),
        _ => format!("rules {} match", numbers.join(", ")),
    }
}

/// Names, for what is noted.
impl Topology {
    /// The name of a port.
    pub(super) fn port_name(&self, id: PortId) -> &str {
        self.port(id).map_or("a port that is gone", |port| &port.name)
    }

    /// The name of a port, and the address of the peer behind it.
    pub(super) fn place_name(&self, port: PortId, peer: PeerId) -> Place<'_> {
        let overlay = match self.port(port).map(|port| &port.way) {
            Some(Way::Tunnel(overlay)) => Some(&**overlay),
            _ => None,
        };
        Place { name: self.port_name(port), peer: overlay.map(|overlay| (overlay, peer)) }
    }

    /// The name of a router.
    pub(super) fn router_name(&self, id: RouterId) -> &str {
        self.router(id).map_or("that is gone", |router| &router.name)
    }

    /// The name of an interface of a router.
    pub(super) fn interface_name(&self, router: RouterId, interface: InterfaceId) -> &str {
        let interface = self.router(router).and_then(|router| router.interface(interface));
        interface.map_or("an interface that is gone", |interface| &interface.name)
    }
}

/// A port and the peer behind it, for show.
pub(super) struct Place<'a> {
    name: &'a str,
    peer: Option<(&'a Overlay, PeerId)>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.peer.and_then(|(overlay, peer)| overlay.address(peer)) {
            Some(address) => write!(f, " (peer {address})"),
            None => Ok(()),
        }
    }
}
