//! The last stage: makes a frame fit the port it leaves by.
//!
//! A frame that several ports send is brought into each port's form right before that port sends it. Its VLAN tag is put
//! in and taken out in place, as often as it takes; an unfinished checksum, once finished, stays so; a superframe is cut
//! into frames of their own and itself left as it is. So a flooded payload is never copied for a form's sake.

use crate::packet::{Batch, Counters, DropReason, Frame, Gso, PortId, segment};
use crate::switch::counting::PortCounters;
use crate::switch::outbox::{Crossing, Departure, Outbox};
use crate::switch::topology::Form;
use crate::switch::walked::{self, Hop, Recorder, Stage};
use crate::switch::{Port, Topology, Way};
use crate::wire::{ipv4, tcp};

/// Makes the frames queued for a port fit it, so that they are ready to be sent; the others are counted.
pub(in crate::switch) fn prepare(
    port: Option<&Port>,
    outbox: &mut Outbox,
    port_id: PortId,
    batch: &mut Batch,
    counters: &mut Counters,
) {
    let (queue, ready, watching) = outbox.take(port_id);
    if watching.recorder.is_on() {
        queue.iter().for_each(|departure| note(port, departure, batch, &mut watching.recorder));
    }
    for departure in queue.drain(..) {
        let index = departure.frame;
        let frame = &mut batch.frames_mut()[index as usize];
        dress(frame, departure.form);
        let fits = match port {
            None => Err(DropReason::PortMissing),
            Some(port) => make_fit(frame, port.mtu).then_some(port).ok_or(DropReason::ExceedsMtu),
        };
        let finished = match fits {
            Ok(port) if port.capabilities.take(&frame.offload) => {
                if !port.capabilities.outside {
                    frame.pull();
                }
                ready.push(index);
                Ok(())
            }
            Ok(_) => finish(batch, index, ready, counters, |what| {
                watching.recorder.note(Hop::Out(port_id), Stage::Egress, what);
            }),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = finished {
            counters.drop(reason);
            watching.lost(port_id, &batch.frames()[index as usize], reason);
        }
    }
}

/// Makes a frame ready for a port whose MTU it does not exceed: does what the port cannot.
#[cold]
pub(in crate::switch) fn complete(
    port: &Port,
    batch: &mut Batch,
    index: u32,
    ready: &mut Vec<u32>,
    counters: &mut Counters,
) -> Result<(), DropReason> {
    let frame = &mut batch.frames_mut()[index as usize];
    if !port.capabilities.take(&frame.offload) {
        return finish(batch, index, ready, counters, |_| {});
    }
    if !port.capabilities.outside {
        frame.pull();
    }
    ready.push(index);
    Ok(())
}

/// Notes how a frame is to leave.
#[cold]
fn note(port: Option<&Port>, departure: &Departure, batch: &Batch, recorder: &mut Recorder) {
    let frame = &batch.frames()[departure.frame as usize];
    let Some(port) = port else { return };
    recorder.note(Hop::Out(departure.out), Stage::Egress, || {
        let form = match departure.form {
            Form::AsIs => "as it is".to_owned(),
            Form::Untagged => "without a VLAN tag".to_owned(),
            Form::Tagged(tci) => format!("tagged with VLAN {}", tci & 0xfff),
        };
        format!("{} to leave by {} {form}, whose MTU is {}", walked::shape(frame), port.name, port.mtu)
    });
}

/// Brings a frame that leaves by a patch port into its form, and gives the index of the frame that comes in at the other
/// end: the same one, or a copy when others send it too. `None` when no buffer is left for that copy.
pub(in crate::switch) fn cross(
    topology: &Topology,
    crossing: Crossing,
    batch: &mut Batch,
    counters: &mut PortCounters,
) -> Option<u32> {
    let Crossing { peer, departure } = crossing;
    debug_assert!(
        topology.port(departure.out).is_some_and(|port| matches!(port.way, Way::Patch(to) if to == peer))
    );
    let mut index = departure.frame;
    if departure.shared {
        let copy = batch.add()?;
        batch.frames_mut()[index as usize].pull();
        let (from, to) = batch.pair(index as usize, copy);
        to.copy_from(from);
        index = copy as u32;
    }
    let frame = &mut batch.frames_mut()[index as usize];
    dress(frame, departure.form);
    frame.set_vlan_tag(false);
    counters.of(departure.out).sent(frame.len());
    Some(index)
}

/// Whether a frame, or each segment of a superframe, has at most `mtu` bytes behind its Ethernet header and tags.
#[inline]
pub(in crate::switch) fn fits(frame: &Frame, mtu: u32) -> bool {
    frame.len() <= frame.layer.header_len() + mtu as usize || within_mtu(frame, mtu as usize)
}

/// Brings a frame into the form in which it leaves.
#[inline]
pub(in crate::switch) fn dress(frame: &mut Frame, form: Form) {
    match form {
        Form::AsIs => {}
        Form::Untagged => frame.retag(None),
        Form::Tagged(tci) => frame.retag(Some(tci)),
    }
}

/// The same, where a superframe whose segments nobody has measured yet gets such as fit.
#[inline]
pub(in crate::switch) fn make_fit(frame: &mut Frame, mtu: u32) -> bool {
    fits(frame, mtu) || frame.offload.guessed && shorten(frame, mtu as usize)
}

/// Has a frame be cut into segments that fit: lowers their size, or makes a superframe of TCP that is none yet.
#[cold]
fn shorten(frame: &mut Frame, mtu: usize) -> bool {
    let bytes = frame.bytes();
    let Some((ether_type, l3)) = frame.layer.network(bytes) else { return false };
    let mut offload = frame.offload;
    if offload.gso == Gso::None {
        let l4 = usize::from(offload.csum_start);
        let Some(header_len) = bytes.get(l4..).and_then(tcp::header_len) else { return false };
        offload.gso = if ether_type == ipv4::ETHER_TYPE { Gso::TcpV4 } else { Gso::TcpV6 };
        offload.ecn = tcp::flags(&bytes[l4..]) & tcp::CWR != 0;
        offload.header_len = (l4 + header_len) as u16;
    }
    let size = (l3 + mtu).checked_sub(usize::from(offload.header_len));
    let Some(size @ 1..) = size.and_then(|size| u16::try_from(size).ok()) else { return false };
    offload.gso_size = size;
    // What was said of TCP is checked once more where it is taken for a superframe.
    if offload.check(frame.layer, bytes).is_err() {
        return false;
    }
    frame.offload = offload;
    true
}

fn within_mtu(frame: &Frame, mtu: usize) -> bool {
    let on_wire = match frame.offload.gso {
        Gso::None => frame.len(),
        _ => usize::from(frame.offload.header_len) + usize::from(frame.offload.gso_size),
    };
    let l3 = frame.layer.network(frame.bytes()).map_or(frame.layer.header_len(), |(_, at)| at);
    on_wire - l3.min(on_wire) <= mtu
}

/// Does what the port cannot: finishes the checksum, or cuts the superframe.
#[cold]
fn finish(
    batch: &mut Batch,
    index: u32,
    ready: &mut Vec<u32>,
    counters: &mut Counters,
    mut note: impl FnMut(&dyn Fn() -> String),
) -> Result<(), DropReason> {
    let frame = &mut batch.frames_mut()[index as usize];
    frame.pull();
    if frame.offload.gso == Gso::None {
        segment::finish_checksum(frame);
        note(&|| "the port finishes no checksums: this one is finished here".to_owned());
        ready.push(index);
        return Ok(());
    }
    let before = ready.len();
    segment::segment(batch, index as usize, ready)?;
    let parts = ready.len() - before;
    note(&|| format!("the port takes no such superframe: it is cut into {parts} frames"));
    counters.copies += (ready.len() - before) as u64 - 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, Offload};

    #[test]
    fn what_counts_towards_the_mtu_begins_behind_what_the_layer_has_before_it() {
        let ip = [&[0x45][..], &[0; 99]].concat();
        let ethernet = [&[2; 12][..], &[0x08, 0x00], &ip].concat();
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 7, 0x08, 0x00], &ip].concat();
        let no_ip = [0xff; 100];
        for (layer, bytes, on_wire) in [
            (Layer::Ip, &ip[..], 100),
            (Layer::Ethernet, &ethernet, 100),
            (Layer::Ethernet, &tagged, 100),
            (Layer::Ip, &no_ip, 100),
            (Layer::Ethernet, &no_ip, 86),
        ] {
            let mut frame = Frame::from_bytes(bytes);
            frame.layer = layer;
            assert!(within_mtu(&frame, on_wire) && !within_mtu(&frame, on_wire - 1), "{layer:?} {frame:?}");
        }
    }

    #[test]
    fn a_superframe_counts_as_one_of_its_segments() {
        for (layer, before) in
            [(Layer::Ethernet, &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..]), (Layer::Ip, &[])]
        {
            let mut frame = Frame::from_bytes(&[before, &[0x45], &[0; 9999]].concat());
            frame.layer = layer;
            let header_len = before.len() as u16 + 40;
            frame.offload = Offload { gso: Gso::TcpV4, gso_size: 1460, header_len, ..Offload::NONE };
            assert!(within_mtu(&frame, 1500) && !within_mtu(&frame, 1499));
        }
    }
}
