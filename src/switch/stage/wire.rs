//! Ports that are on no bridge: what comes in by one end of a wire leaves by the other. Both carry IP packets.

use crate::packet::{Batch, Counters, DropReason, Frame, Layer, PeerId, PortId};
use crate::switch::outbox::{Departure, Outbox, Oversize, Recipients};
use crate::switch::stage::egress;
use crate::switch::stage::route::Arrived;
use crate::switch::topology::Form;
use crate::switch::watch::Watching;
use crate::switch::{Port, Topology, Way};

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
    let nowhere = match topology.mirrors.iter().any(|mirror| mirror.to == port_id) {
        true => DropReason::MirrorPort,
        false => DropReason::NoBridge,
    };
    for (index, _) in frames {
        let frame = &mut batch.frames_mut()[index as usize];
        counters.rx_frames += 1;
        counters.rx_bytes += frame.len() as u64;
        let passed = match other {
            None => Err(nowhere),
            Some((out, other)) => look(frame).map(|()| depart(frame, index, port_id, out, other, outbox)),
        };
        if let Err(reason) = passed {
            counters.drop(reason);
            outbox.watching.lost(port_id, frame, reason);
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
    watching: &mut Watching,
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
            Err(reason) => {
                counters.drop(reason);
                watching.lost(port_id, frame, reason);
            }
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

/// How a packet leaves by `out`, a port that carries IP, and the queue that it stands in. A tunnel that does has one peer:
/// the first that there is.
pub(in crate::switch) fn way_out(frame: u32, out: PortId, port: &Port) -> (PortId, Departure) {
    let (queue, to) = match &port.way {
        Way::Tunnel(overlay) => {
            let peer = overlay.peers.iter().position(Option::is_some).unwrap_or(0);
            (overlay.underlay, Recipients::Peer(PeerId(peer as u16)))
        }
        _ => (out, Recipients::All),
    };
    (queue, Departure { frame, form: Form::AsIs, out, to, shared: false, echo: false })
}

fn depart(frame: &Frame, index: u32, from: PortId, out: PortId, other: &Port, outbox: &mut Outbox) {
    let (queue, departure) = way_out(index, out, other);
    let fits = match &other.way {
        Way::Tunnel(overlay) => overlay.takes(frame, other.mtu),
        _ => frame.offload.guessed || egress::fits(frame, other.mtu),
    };
    if !fits {
        return outbox.oversize.push(Oversize { departure, mtu: other.mtu, from });
    }
    outbox.push(queue, departure);
}
