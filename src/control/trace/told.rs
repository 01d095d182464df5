//! What a walk is told as: names for numbers, a remedy for each drop, and a line that says how it ended.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::control::api::{LeftInfo, TraceEnd, TraceInfo, TraceStep};
use crate::packet::describe::hex;
use crate::packet::summary::summary;
use crate::packet::{Datagram, DropReason, Frame, Location, PeerId, PortId};
use crate::switch::trial::{Left, Walked};
use crate::switch::walked::{End, Hop, Stage, Step};
use crate::switch::{Topology, Way};

/// A walk on trial tables.
pub(super) fn trial(topology: &Topology, at: Location, frame: &Frame, walked: &Walked) -> TraceInfo {
    let left = walked.left.iter().map(|left| self::left(topology, left)).collect();
    TraceInfo { left, ..real(topology, at, frame.len(), frame.bytes(), &walked.steps) }
}

/// The walk of a frame of `len` bytes, of which `bytes` are the first.
pub(super) fn real(topology: &Topology, at: Location, len: usize, bytes: &[u8], steps: &[Step]) -> TraceInfo {
    let ends: Vec<_> = steps.iter().filter_map(|step| Some(end(topology, step.hop, step.end?))).collect();
    TraceInfo {
        port: port(topology, at.port),
        remote: remote(topology, at.port, at.peer),
        summary: summary(topology.port(at.port).map(|port| super::layer(topology, port)), bytes),
        len: len as u64,
        frame: hex(bytes),
        steps: steps.iter().map(|step| self::step(topology, step)).collect(),
        verdict: verdict(&ends, steps),
        ends,
        left: Vec::new(),
    }
}

fn step(topology: &Topology, step: &Step) -> TraceStep {
    let (hop, name) = hop(topology, step.hop);
    let text = match step.end {
        Some(ended) => line(&end(topology, step.hop, ended)),
        None => step.text.clone(),
    };
    TraceStep { hop: hop.to_owned(), name, stage: step.stage.name().to_owned(), text }
}

fn end(topology: &Topology, at: Hop, end: End) -> TraceEnd {
    let (hop, name) = hop(topology, at);
    let (outcome, at, frames, reason) = match end {
        End::Sent { port, frames, .. } => ("sent", port, frames, None),
        End::Taken { port, frames } => ("taken", port, frames, None),
        End::Dropped { port, reason, frames } => ("dropped", port, frames, Some(reason)),
    };
    let text = |say: fn(DropReason) -> &'static str| reason.map(|reason| say(reason).to_owned());
    TraceEnd {
        outcome: outcome.to_owned(),
        port: port(topology, at),
        hop: hop.to_owned(),
        name,
        frames,
        reason: text(DropReason::name),
        meaning: text(DropReason::meaning),
        remedy: text(DropReason::remedy),
    }
}

/// An end in a line.
fn line(end: &TraceEnd) -> String {
    let times = if end.frames > 1 { format!("{} frames ", end.frames) } else { String::new() };
    match (&end.reason, &end.meaning, &end.remedy) {
        (Some(reason), Some(meaning), Some(remedy)) => {
            format!("{times}dropped: {reason}, {meaning}; look at: {remedy}")
        }
        _ if end.outcome == "sent" => format!("{times}sent by {}", end.port),
        _ => format!("{times}taken by the switch itself"),
    }
}

/// All ends in a line. Where a router keeps, answers or refuses the frame, that stands first: what leaves then are the
/// router's own frames.
fn verdict(ends: &[TraceEnd], steps: &[Step]) -> String {
    let mut sent = BTreeMap::<&str, u64>::new();
    for end in ends.iter().filter(|end| end.outcome == "sent") {
        *sent.entry(&end.port).or_default() += end.frames;
    }
    let ports = sent.iter().map(|(port, frames)| match frames {
        1 => (*port).to_owned(),
        frames => format!("{port} ({frames} frames)"),
    });
    let ports = ports.collect::<Vec<_>>().join(", ");
    let taken =
        ends.iter().find(|end| end.outcome == "taken").map(|end| match (&*end.hop, at_router(steps)) {
            ("router", Some(why)) => format!("taken by router {}: {why}", end.name),
            _ => "taken by the switch itself".to_owned(),
        });
    let dropped = ends.iter().filter(|end| end.outcome == "dropped").map(|end| {
        let [reason, meaning, remedy] =
            [&end.reason, &end.meaning, &end.remedy].map(|text| text.as_deref().unwrap_or_default());
        // Of a port it does not matter which way, and "at in vm1" is no English.
        let hop = if matches!(&*end.hop, "in" | "out") { "port" } else { &end.hop };
        format!("dropped at {hop} {}: {reason} ({meaning}); look at: {remedy}", end.name)
    });
    let mut parts: Vec<_> = taken.into_iter().chain(dropped).collect();
    match is_answered(ends, steps) {
        _ if ports.is_empty() => {}
        true => parts.push(format!("the switch itself sends by {ports}")),
        false => parts.insert(0, format!("sent by {ports}")),
    }
    match parts.is_empty() {
        true => "nothing was counted".to_owned(),
        false => parts.join("; "),
    }
}

/// Why a router takes a frame for itself, as the last step of the kind says.
fn at_router(steps: &[Step]) -> Option<&str> {
    let kinds = [Stage::Local, Stage::Neighbor, Stage::Fragment, Stage::Error];
    let said = |step: &&Step| matches!(step.hop, Hop::Router(_)) && kinds.contains(&step.stage);
    steps.iter().rev().find(said).map(|step| &*step.text)
}

/// Whether what leaves is a router's own: it has kept, answered or refused the frame, and no bridge had flooded that before.
fn is_answered(ends: &[TraceEnd], steps: &[Step]) -> bool {
    let ended = ends.iter().any(|end| end.hop == "router" && end.outcome != "sent");
    let before = steps.iter().take_while(|step| !matches!(step.hop, Hop::Router(_)));
    ended && at_router(steps).is_some() && !before.into_iter().any(|step| step.stage == Stage::Flood)
}

fn left(topology: &Topology, left: &Left) -> LeftInfo {
    let (id, remote) = match &left.datagram {
        Some(Datagram { tunnel, to, .. }) => (*tunnel, Some(*to)),
        None => (left.port, None),
    };
    LeftInfo { port: port(topology, id), remote, len: left.bytes.len() as u64, frame: hex(&left.bytes) }
}

fn hop(topology: &Topology, hop: Hop) -> (&'static str, String) {
    let gone = || "-".to_owned();
    match hop {
        Hop::In(id) => ("in", port(topology, id)),
        Hop::Out(id) => ("out", port(topology, id)),
        Hop::Bridge(id) => ("bridge", topology.bridge(id).map_or_else(gone, |bridge| bridge.name.clone())),
        Hop::Router(id) => ("router", topology.router(id).map_or_else(gone, |router| router.name.clone())),
    }
}

fn port(topology: &Topology, id: PortId) -> String {
    topology.port(id).map_or_else(|| "-".to_owned(), |port| port.name.clone())
}

/// The address of a peer of a tunnel port.
fn remote(topology: &Topology, port: PortId, peer: PeerId) -> Option<IpAddr> {
    let Way::Tunnel(overlay) = &topology.port(port)?.way else { return None };
    match overlay.peers.get(peer.index()) {
        Some(known) => known.as_ref().map(|peer| peer.address),
        None => overlay.strangers.as_ref()?.address(peer),
    }
}
