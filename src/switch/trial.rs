//! A frame's walk that leads nowhere: the whole switch as it is, on tables of which nothing is kept.
//!
//! What walks is the production pipeline itself, in a [`Switch`] of its own, on a topology whose tables are trials: they
//! know what the real ones do, and what is written to them goes no further. No frame leaves, nothing is counted, learned,
//! asked or opened that anybody else would see. Nor do the workers notice: their caches are checked against generations
//! that a trial has copies of.
//!
//! What each worker keeps to itself, a trial has not: parts of packets that wait for the others, how many errors were told
//! to a port just now, and when a router last defended its address or advertised itself.

use std::sync::Arc;

use super::walked::Step;
use super::{Bridge, BridgeRules, Outgoing, Port, Storm, Switch, Topology};
use crate::packet::{Batch, Datagram, Frame, Layer, Location, Offload, PortId};
use crate::table::fdb::Generations;
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;

/// What became of a frame on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// What it met, in this order.
    pub steps: Vec<Step>,
    /// What would have left, in the order of its leaving.
    pub left: Vec<Left>,
}

/// A frame that would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The port whose queue it would have been in: of what leaves by a tunnel, the underlay.
    pub port: PortId,
    /// The whole of it, as the port would have had it; of what leaves by a tunnel, with the tunnel's header.
    pub bytes: Vec<u8>,
    /// What was left undone on it.
    pub offload: Offload,
    /// What it begins with.
    pub layer: Layer,
    /// How it would have been sent, by a tunnel.
    pub datagram: Option<Datagram>,
}

impl Topology {
    /// A topology of the same shape, on tables that know what its own do and never change them.
    pub fn trial(&self, generations: &Arc<Generations>) -> Topology {
        let bridge = |bridge: &Option<Bridge>| bridge.as_ref().map(|bridge| bridge.trial(generations));
        Topology {
            epoch: self.epoch,
            bridges: self.bridges.iter().map(bridge).collect(),
            ports: self.ports.iter().map(|port| port.as_ref().map(Port::trial)).collect(),
            routers: self.routers.iter().map(|router| router.as_ref().map(|router| router.trial())).collect(),
            rules: self.rules.clone(),
            mirrors: self.mirrors.clone(),
        }
    }
}

impl Bridge {
    fn trial(&self, generations: &Arc<Generations>) -> Bridge {
        let rules = |rules: &BridgeRules| BridgeRules {
            chain: rules.chain.trial(),
            sessions: rules.sessions.as_ref().map(|sessions| Arc::new(sessions.trial())),
        };
        Bridge {
            name: self.name.clone(),
            mac: self.mac,
            fdb: Arc::new(self.fdb.trial(generations)),
            refresh: self.refresh,
            members: self.members.clone(),
            passthrough: self.passthrough,
            routers: self.routers.clone(),
            rules: self.rules.as_deref().map(rules).map(Arc::new),
            bindings: self.bindings.as_ref().map(|bindings| Arc::new(bindings.trial())),
        }
    }
}

impl Port {
    fn trial(&self) -> Port {
        let bucket = |bucket: &Option<Arc<TokenBucket>>| bucket.as_ref().map(|it| Arc::new(it.trial()));
        let Storm { broadcast, multicast, unknown } = &self.storm;
        let storm =
            Storm { broadcast: bucket(broadcast), multicast: bucket(multicast), unknown: bucket(unknown) };
        Port { storm, ..self.clone() }
    }
}

/// Has a copy of `frame` come in at `at`, in a switch as `topology` says, whose tables were made with `generations`. Of a
/// tunnel port it is the frame as it comes out of the tunnel.
pub fn walk(
    topology: &Topology,
    generations: &Generations,
    at: Location,
    frame: &Frame,
    now: Time,
) -> Walked {
    let generations = generations.trial();
    let mut switch = Switch::new(Arc::clone(&generations));
    switch.set_topology(Arc::new(topology.trial(&generations)));
    let mut batch = Batch::default();
    if let Some(first) = batch.spare().first_mut() {
        first.fill(frame.bytes(), frame.offload);
        first.layer = frame.layer;
    }
    batch.commit(1);
    let mut left = Vec::new();
    let steps = switch.trace(at, &mut batch, now, |port, batch, outgoing| {
        let mut leave = |index: u32, datagram: Option<Datagram>| {
            let frame = &batch.frames()[index as usize];
            let (bytes, offload, layer) = (frame.bytes().to_vec(), frame.offload, frame.layer);
            left.push(Left { port, bytes, offload, layer, datagram });
        };
        match outgoing {
            Outgoing::Frames(frames, counters) => frames.iter().for_each(|&index| {
                leave(index, None);
                counters.sent(batch.frames()[index as usize].len());
            }),
            Outgoing::Datagrams(datagrams) => {
                datagrams.iter().for_each(|datagram| leave(datagram.frame, Some(*datagram)));
            }
        }
    });
    Walked { steps, left }
}
