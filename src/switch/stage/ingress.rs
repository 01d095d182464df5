//! The first stage: is this a frame, is what came with it true, and which VLAN is it in?

use crate::packet::{Batch, BridgeId, Counters, DropReason, Frame, Location, PeerId, PortId, Vid};
use crate::switch::walked::{self, Hop, Recorder, Stage};
use crate::switch::watch::Watching;
use crate::switch::{Port, Topology, VlanPolicy};
use crate::table::fdb::Station;
use crate::table::fdb_cache::{FdbCache, Place};
use crate::wire::ethernet::{self, Mac};

/// A frame that passed, with what the bridge needs to know of it.
pub(in crate::switch) struct Arrival {
    pub(in crate::switch) frame: u32,
    /// Where it came from.
    pub(in crate::switch) at: Location,
    pub(in crate::switch) vid: Vid,
    /// The priority bits (PCP and DEI) of its tag, in place; 0 when it has none.
    pub(in crate::switch) priority: u16,
    pub(in crate::switch) destination: Mac,
    pub(in crate::switch) source: Mac,
    pub(in crate::switch) to: Place,
    pub(in crate::switch) from: Place,
}

/// Where frames come in.
pub(in crate::switch) struct Door<'a> {
    pub(in crate::switch) port: &'a Port,
    pub(in crate::switch) bridge: BridgeId,
    /// More of the frames than their headers will be read on the bridge.
    pub(in crate::switch) whole: bool,
    pub(in crate::switch) cache: &'a FdbCache,
    pub(in crate::switch) counters: &'a mut Counters,
    pub(in crate::switch) watching: &'a mut Watching,
}

/// Takes frames in that came by a port on a bridge, each with where it came from; those that do not pass are counted.
pub(in crate::switch) fn arrive(
    door: Door<'_>,
    frames: impl Iterator<Item = (u32, Location)>,
    batch: &mut Batch,
    arrivals: &mut Vec<Arrival>,
) {
    let Door { port, bridge, whole, cache, counters, watching } = door;
    for (index, at) in frames {
        let frame = &mut batch.frames_mut()[index as usize];
        if whole {
            frame.pull();
        }
        counters.rx_frames += 1;
        counters.rx_bytes += frame.len() as u64;
        match look(port, frame) {
            Err(reason) => {
                counters.drop(reason);
                watching.lost(at.port, frame, reason);
            }
            Ok(Headers { vid, priority, destination, source }) => {
                let to = cache.place(bridge, Station::new(destination, vid));
                let from = cache.place(bridge, Station::new(source, vid));
                arrivals.push(Arrival { frame: index, at, vid, priority, destination, source, to, from });
            }
        }
    }
}

/// Notes what has come in by a port, before anything is asked of it.
#[cold]
pub(in crate::switch) fn note(
    topology: &Topology,
    port_id: PortId,
    frames: impl Iterator<Item = (u32, PeerId)>,
    batch: &Batch,
    recorder: &mut Recorder,
) {
    for (index, peer) in frames {
        let frame = &batch.frames()[index as usize];
        let place = topology.place_name(port_id, peer);
        recorder.note(Hop::In(port_id), Stage::Ingress, || match topology.port(port_id) {
            None => "its port is gone".to_owned(),
            Some(port) => {
                let guarded = if port.guard.is_some() { ", guarded" } else { "" };
                let mode = match port.bridge {
                    Some(_) => format!(", mode {}", port.apart.mode().name()),
                    None => String::new(),
                };
                format!("{} in by {place}{mode}{guarded}", walked::shape(frame))
            }
        });
    }
}

/// Notes how a frame was taken in.
#[cold]
pub(in crate::switch) fn note_arrival(topology: &Topology, arrival: &Arrival, recorder: &mut Recorder) {
    let Some(port) = topology.port(arrival.at.port) else { return };
    if port.guard.is_some() {
        let passes = || "it breaks none of the port's rules for addresses and servers".to_owned();
        recorder.note(Hop::In(arrival.at.port), Stage::Guard, passes);
    }
    recorder.note(Hop::In(arrival.at.port), Stage::Ingress, || match &port.vlan {
        VlanPolicy::Unaware => "taken in; the bridge knows no VLANs".to_owned(),
        VlanPolicy::Access(vid) => format!("taken in, in VLAN {vid} (access)"),
        VlanPolicy::Trunk { native, .. } if *native == Some(arrival.vid) => {
            format!("taken in, in VLAN {} (native on its trunk)", arrival.vid)
        }
        VlanPolicy::Trunk { .. } => {
            format!(
                "taken in, in VLAN {}, priority {} (tagged on its trunk)",
                arrival.vid,
                arrival.priority >> 13
            )
        }
    });
}

struct Headers {
    vid: Vid,
    priority: u16,
    destination: Mac,
    source: Mac,
}

#[inline(always)]
fn look(port: &Port, frame: &mut Frame) -> Result<Headers, DropReason> {
    let Some(header) = frame.bytes().first_chunk::<{ ethernet::HEADER_LEN }>() else {
        return Err(DropReason::Runt);
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, type_high, type_low] = *header;
    let destination = Mac::new([d0, d1, d2, d3, d4, d5]);
    let source = Mac::new([s0, s1, s2, s3, s4, s5]);
    let tagged = u16::from_be_bytes([type_high, type_low]) == ethernet::VLAN;

    let mut offload = frame.offload;
    offload.check(frame.layer, frame.bytes())?;
    frame.offload = offload;
    if source.is_group() || source.is_zero() {
        return Err(DropReason::BadSource);
    }
    if let Some(guard) = &port.guard {
        guard.check(source, frame)?;
    }
    if matches!(port.vlan, VlanPolicy::Unaware) {
        return Ok(Headers { vid: 0, priority: 0, destination, source });
    }
    let tci = match frame.bytes().get(14..18) {
        Some(&[high, low, ..]) if tagged => Some(u16::from_be_bytes([high, low])),
        None if tagged => return Err(DropReason::Runt),
        _ => None,
    };
    let (vid, priority) = classify(&port.vlan, tci)?;
    frame.set_vlan_tag(tagged);
    Ok(Headers { vid, priority, destination, source })
}

/// The VLAN of a frame with the tag `tci` on a VLAN-aware bridge, and its priority bits (802.1Q 6.9.1).
#[inline]
fn classify(policy: &VlanPolicy, tci: Option<u16>) -> Result<(Vid, u16), DropReason> {
    let tci = tci.unwrap_or(0);
    let (tagged_vid, priority) = (tci & 0xfff, tci & 0xf000);
    let vid = match (policy, tagged_vid) {
        (_, 4095) => return Err(DropReason::VlanReserved),
        (VlanPolicy::Access(vid), 0) | (VlanPolicy::Trunk { native: Some(vid), .. }, 0) => *vid,
        (VlanPolicy::Trunk { native: None, .. }, 0) => return Err(DropReason::VlanUntagged),
        (VlanPolicy::Access(own), vid) if *own == vid => vid,
        (VlanPolicy::Trunk { allowed, .. }, vid) if allowed.contains(vid) => vid,
        (VlanPolicy::Unaware, _) => 0,
        _ => return Err(DropReason::VlanNotAllowed),
    };
    Ok((vid, priority))
}
