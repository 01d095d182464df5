//! Traces: frames that walk on trial tables, and real ones that are followed.

mod follow;
mod told;

use std::net::IpAddr;
use std::sync::Arc;

pub(super) use follow::follow;

use super::api::{TraceInfo, TraceQuery};
use crate::packet::describe::{Defaults, describe};
use crate::packet::{Frame, Layer, Location, Offload, PeerId, PortId};
use crate::switch::{Port, Topology, Way, trial};
use crate::table::fdb::Generations;
use crate::time::Time;

/// A frame that is to walk on trial tables, and all that it takes.
pub(super) struct Trace {
    topology: Arc<Topology>,
    generations: Arc<Generations>,
    at: Location,
    frame: Frame,
    now: Time,
}

impl Trace {
    /// A trace of what `query` describes, in a switch as `topology` says.
    ///
    /// # Errors
    /// One line: there is no such port or peer, or the frame is described wrong.
    pub(super) fn new(
        query: &TraceQuery,
        topology: Arc<Topology>,
        generations: Arc<Generations>,
        now: Time,
    ) -> Result<Trace, String> {
        let name = &query.port;
        let port = port(&topology, name)?;
        let known = topology.port(port).ok_or_else(|| no_port(name))?;
        let peer = peer(known, query.remote)?;
        let layer = layer(&topology, known);
        let bytes = describe(&query.frame, &defaults(&topology, known, layer))?;
        let mut frame = Frame::default();
        frame.fill(&bytes, Offload::NONE);
        frame.layer = layer;
        Ok(Trace { topology, generations, at: Location { port, peer }, frame, now })
    }

    /// Has the frame walk. It needs no lock but those of the tables, each for as long as one frame does.
    pub(super) fn walk(self) -> TraceInfo {
        let walked = trial::walk(&self.topology, &self.generations, self.at, &self.frame, self.now);
        told::trial(&self.topology, self.at, &self.frame, &walked)
    }
}

/// The port of this name.
fn port(topology: &Topology, name: &str) -> Result<PortId, String> {
    let named = |port: &Option<Port>| port.as_ref().is_some_and(|port| port.name == name);
    let slot = topology.ports.iter().position(named).ok_or_else(|| no_port(name))?;
    let id = PortId(slot as u16);
    match topology.port(id) {
        Some(Port { way: Way::Underlay(_), .. }) => Err(format!(
            "{name} carries tunnels (name the port of one: the trace begins where its frames come out)"
        )),
        _ => Ok(id),
    }
}

fn no_port(name: &str) -> String {
    format!("there is no port {name} (port show lists them)")
}

/// The peer at this address, or the first.
fn peer(port: &Port, remote: Option<IpAddr>) -> Result<PeerId, String> {
    let Way::Tunnel(overlay) = &port.way else {
        return match remote {
            None => Ok(PeerId::NONE),
            Some(_) => Err(format!("port {} is no tunnel: nobody is behind it as a peer", port.name)),
        };
    };
    let known = overlay.peers.iter().enumerate().filter_map(|(slot, peer)| {
        let address = peer.as_ref()?.address;
        Some((PeerId(slot as u16), address))
    });
    let strangers = overlay.strangers.iter().flat_map(|strangers| strangers.all());
    let mut peers = known.chain(strangers).filter(|(_, address)| !address.is_multicast());
    let found = peers.find(|(_, address)| remote.is_none_or(|remote| remote == *address));
    found.map(|(id, _)| id).ok_or_else(|| match remote {
        Some(remote) => format!("{remote} is no peer of {} (tunnel show lists them)", port.name),
        None => format!("nothing has been heard of a peer of {} yet", port.name),
    })
}

/// What frames of a port begin with.
fn layer(topology: &Topology, port: &Port) -> Layer {
    match &port.way {
        Way::Tunnel(overlay) => overlay.tunnel.carries(),
        _ if port.bridge.is_some_and(|bridge| topology.bridge(bridge).is_some()) => Layer::Ethernet,
        _ if port.wire.is_some() || port.router.is_some() => Layer::Ip,
        _ => Layer::Ethernet,
    }
}

/// What a description on this port need not say: it goes to the bridge's own address, where a router has an interface.
fn defaults(topology: &Topology, port: &Port, layer: Layer) -> Defaults {
    let bridge = port.bridge.and_then(|bridge| topology.bridge(bridge));
    let gateway = bridge.filter(|bridge| !bridge.routers.is_empty()).map(|bridge| bridge.mac);
    let defaults = Defaults { layer, ..Defaults::default() };
    Defaults { destination_mac: gateway.unwrap_or(defaults.destination_mac), ..defaults }
}
