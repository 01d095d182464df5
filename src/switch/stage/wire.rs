//! Ports that are on no bridge: what comes in by one end of a wire leaves by the other. Both carry IP packets.

use crate::packet::{Batch, Counters, DropReason, Frame, Layer, PeerId, PortId};
use crate::switch::outbox::{Departure, Outbox, Oversize, Recipients};
use crate::switch::stage::egress;
use crate::switch::stage::route::Arrived;
use crate::switch::topology::Form;
use crate::switch::{Overlay, Port, Topology, Way};

/// Takes frames in that came by a port without bridge, and queues them for the other end of its wire.
pub(in crate::switch) fn pass(
    topology: &Topology,
    port_id: PortId,
    port: &Port,
    frames: impl Iterator<Item = (u32, PeerId)>,
    batch: &mut Batch,
    counters: &mut Counters,
    outbox: &mut Outbox,
) {
    let other = port.wire.and_then(|out| Some((out, topology.port(out)?)));
    for (index, _) in frames {
        let frame = &mut batch.frames_mut()[index as usize];
        counters.rx_frames += 1;
        counters.rx_bytes += frame.len() as u64;
        let passed = match other {
            None => Err(DropReason::NoBridge),
            Some((out, other)) => look(frame).map(|()| depart(frame, index, port_id, out, other, outbox)),
        };
        if let Err(reason) = passed {
            counters.drop(reason);
        }
    }
}

/// Takes frames in that came by a port whose packets are all for a router.
pub(in crate::switch) fn to_router(
    port_id: PortId,
    port: &Port,
    frames: impl Iterator<Item = (u32, PeerId)>,
    batch: &mut Batch,
    counters: &mut Counters,
    inbox: &mut Vec<Arrived>,
) {
    for (index, _) in frames {
        let frame = &mut batch.frames_mut()[index as usize];
        counters.rx_frames += 1;
        counters.rx_bytes += frame.len() as u64;
        let Some((router, interface)) = port.router else { return };
        match look(frame) {
            Ok(()) => inbox.push(Arrived {
                frame: index,
                port: port_id,
                router,
                interface,
                priority: 0,
                whole: None,
                shared: false,
            }),
            Err(reason) => counters.drop(reason),
        }
    }
}

/// Whether this is an IP packet, and what came with it true.
fn look(frame: &mut Frame) -> Result<(), DropReason> {
    if frame.layer != Layer::Ip || frame.layer.network(frame.bytes()).is_none() {
        return Err(DropReason::NotIp);
    }
    let mut offload = frame.offload;
    offload.check(frame.layer, frame.bytes())?;
    frame.offload = offload;
    Ok(())
}

/// The peer of a tunnel that carries IP, which has one: the first that there is.
pub(in crate::switch) fn only_peer(overlay: &Overlay) -> PeerId {
    PeerId(overlay.peers.iter().position(Option::is_some).unwrap_or(0) as u16)
}

fn depart(frame: &Frame, index: u32, from: PortId, out: PortId, other: &Port, outbox: &mut Outbox) {
    let to = match &other.way {
        Way::Tunnel(overlay) => Recipients::Peer(only_peer(overlay)),
        _ => Recipients::All,
    };
    let departure = Departure { frame: index, form: Form::AsIs, out, to, shared: false, echo: false };
    let fits = match &other.way {
        Way::Tunnel(overlay) => overlay.takes(frame, other.mtu),
        _ => frame.offload.guessed || egress::fits(frame, other.mtu),
    };
    if !fits {
        return outbox.oversize.push(Oversize { departure, mtu: other.mtu, from });
    }
    match &other.way {
        Way::Tunnel(overlay) => outbox.push(overlay.underlay, departure),
        _ => outbox.push(out, departure),
    }
}
