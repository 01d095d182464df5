//! What a walk is told as: names for numbers, a remedy for each drop, and a line that says how it ended.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::control::api::{LeftInfo, TraceEnd, TraceInfo, TraceStep};
use crate::packet::describe::hex;
use crate::packet::{Datagram, DropReason, Frame, Location, PeerId, PortId};
use crate::switch::trial::{Left, Walked};
use crate::switch::walked::{End, Hop, Step};
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
        len: len as u64,
        frame: hex(bytes),
        steps: steps.iter().map(|step| self::step(topology, step)).collect(),
        verdict: verdict(&ends),
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

/// All ends in a line.
fn verdict(ends: &[TraceEnd]) -> String {
    let mut sent = BTreeMap::<&str, u64>::new();
    for end in ends.iter().filter(|end| end.outcome == "sent") {
        *sent.entry(&end.port).or_default() += end.frames;
    }
    let mut parts = Vec::new();
    if !sent.is_empty() {
        let ports = sent.iter().map(|(port, frames)| match frames {
            1 => (*port).to_owned(),
            frames => format!("{port} ({frames} frames)"),
        });
        parts.push(format!("sent by {}", ports.collect::<Vec<_>>().join(", ")));
    }
    if ends.iter().any(|end| end.outcome == "taken") {
        parts.push("taken by the switch itself".to_owned());
    }
    for end in ends.iter().filter(|end| end.outcome == "dropped") {
        let (reason, meaning) = (end.reason.as_deref(), end.meaning.as_deref());
        let remedy = end.remedy.as_deref().unwrap_or_default();
        parts.push(format!(
            "dropped at {} {}: {} ({}); look at: {remedy}",
            end.hop,
            end.name,
            reason.unwrap_or_default(),
            meaning.unwrap_or_default()
        ));
    }
    match parts.is_empty() {
        true => "nothing was counted".to_owned(),
        false => parts.join("; "),
    }
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
