//! What a trace says of a frame before it comes, to be compared with what then happens to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tapyard::packet::{Counters, DropReason, Frame, Layer, Location, Offload, Packet, Part, PortId};
use tapyard::switch::trial::{self, Left, Walked};
use tapyard::switch::walked::End;
use tapyard::switch::{Switch, Topology};
use tapyard::table::fdb::Generations;
use tapyard::time::Time;

use super::Sent;
use super::tunnels::Posted;

/// Sends of which each is foreseen; of those after them, one in so many.
const ALL: usize = 200;
const ONE_IN: usize = 61;

/// What ends were counted: how many frames each port sent, took and dropped.
type Ends = BTreeMap<(u16, Option<DropReason>, &'static str), u64>;

/// What is foreseen of a frame.
#[derive(Debug)]
pub(crate) struct Foreseen {
    walked: Walked,
    before: Ends,
}

/// Has a copy of a frame walk on trial tables, unless it is not its turn; `count` are those that were foreseen. What is
/// there to be seen must be the same before and after.
pub(crate) fn foresee(
    switch: &Switch,
    generations: &Arc<Generations>,
    count: &mut usize,
    at: Location,
    frame: &Frame,
    now: Time,
) -> Option<Foreseen> {
    *count += 1;
    if *count > ALL && !count.is_multiple_of(ONE_IN) {
        return None;
    }
    let topology = switch.topology();
    let there = state(topology);
    let entries = generations.entries();
    let walked = trial::walk(topology, generations, at, frame, now);
    assert_eq!(state(topology), there, "a trace changes nothing: {walked:#?}");
    assert_eq!(generations.entries(), entries);
    // Parts of packets wait at the worker that has them, which a trace does not see.
    let is_part = Packet::of(frame).is_ok_and(|packet| packet.part != Part::Whole);
    (!is_part).then(|| Foreseen { walked, before: ends(switch) })
}

impl Foreseen {
    /// Compares it with what has happened.
    pub(crate) fn compare(&self, switch: &Switch, left: &[Sent], posted: &[Posted]) {
        let mut now = ends(switch);
        for (what, before) in &self.before {
            *now.entry(*what).or_default() -= before;
        }
        now.retain(|_, count| *count > 0);
        let mut foreseen = Ends::new();
        for end in self.walked.steps.iter().filter_map(|step| step.end) {
            let (what, count) = match end {
                End::Sent { port, frames, .. } => ((port.0, None, "sent"), frames),
                End::Taken { port, frames } => ((port.0, None, "taken"), frames),
                End::Dropped { port, reason, frames } => ((port.0, Some(reason), "dropped"), frames),
            };
            *foreseen.entry(what).or_default() += count;
        }
        assert_eq!(foreseen, now, "what became of it: {self:#?}");
        let (datagrams, frames): (Vec<&Left>, Vec<&Left>) =
            self.walked.left.iter().partition(|left| left.datagram.is_some());
        let mut frames: Vec<_> = frames.into_iter().map(sent).collect();
        frames.sort_by_key(|sent| sent.port);
        assert_eq!(frames, left, "what leaves: {:#?}", self.walked.steps);
        let datagrams: Vec<_> = datagrams.into_iter().filter_map(self::posted).collect();
        assert_eq!(datagrams, posted, "what leaves by tunnels: {:#?}", self.walked.steps);
    }
}

fn sent(left: &Left) -> Sent {
    Sent { port: left.port.0, bytes: left.bytes.clone(), offload: left.offload }
}

fn posted(left: &Left) -> Option<Posted> {
    let datagram = left.datagram?;
    Some(Posted {
        tunnel: datagram.tunnel.0,
        peer: datagram.peer.0,
        to: datagram.to,
        bytes: left.bytes.clone(),
        flow: datagram.flow,
        tos: datagram.tos,
        ttl: datagram.ttl,
        dont_fragment: datagram.dont_fragment,
    })
}

fn ends(switch: &Switch) -> Ends {
    let gone = [(PortId(u16::MAX), switch.retired())];
    let mut ends = Ends::new();
    for (port, counters) in switch.all_counters().chain(gone) {
        let Counters { tx_frames, replied, .. } = counters;
        ends.insert((port.0, None, "sent"), *tx_frames);
        ends.insert((port.0, None, "taken"), *replied);
        ends.extend(counters.drops().map(|(reason, count)| ((port.0, Some(reason), "dropped"), count)));
    }
    ends
}

/// Everything that is shared, in words.
fn state(topology: &Topology) -> Vec<String> {
    let mut all = Vec::new();
    for bridge in topology.bridges.iter().flatten() {
        // A table that nobody has asked yet looks otherwise than an empty one.
        let _ = bridge.bindings.as_ref().map(|bindings| bindings.len());
        let mut entries: Vec<_> = bridge
            .fdb
            .entries()
            .into_iter()
            .map(|(station, entry)| format!("{station:?} {entry:?}"))
            .collect();
        entries.sort();
        all.extend(entries);
        all.push(format!("{:?} {:?}", bridge.fdb.stats(), bridge.bindings));
    }
    for router in topology.routers.iter().flatten() {
        all.push(format!("{:?}", router.neighbors.entries()));
        all.push(format!("{:?} {:?}", router.neighbors.generation(), router.neighbors.deadline()));
        if let Some(sessions) = &router.sessions {
            let mut there: Vec<_> = sessions.sessions().iter().map(|it| format!("{it:?}")).collect();
            there.sort();
            all.extend(there);
            all.push(format!("{:?}", sessions.stats()));
        }
        all.push(format!("{:?}", router.errors));
    }
    for port in topology.ports.iter().flatten() {
        all.push(format!("{:?}", port.storm));
    }
    all
}

/// The frame that bytes are.
pub(crate) fn frame(bytes: &[u8], offload: Offload, layer: Layer) -> Frame {
    let mut frame = Frame::default();
    frame.fill(bytes, offload);
    frame.layer = layer;
    frame
}
