//! Doing in software what a sender left to the device, for a port that cannot: finishing a checksum, cutting a
//! superframe into frames that fit the wire.
//!
//! Cutting reads the payload once and writes it once, summing it on the way. The claim was checked at ingress against
//! the frame's length only; here the IP headers have to lead to the L4 header it names, or the frame is given up.
//!
//! A segment's L4 checksum starts from what the superframe's field holds, the pseudo-header sum over the whole length,
//! less that length. That, and not a sum over the addresses in the IP header, stays right where a routing header or a
//! home address option makes the pseudo-header's addresses others (RFC 8200 section 8.1, RFC 6275 section 11.3.1).

use super::{Batch, DropReason, Frame, Gso, Offload};
use crate::wire::{be16, checksum, ethernet, ipv4, ipv6, set_be16, tcp, udp};

/// Finishes the checksum of a frame whose checked offload state leaves it undone and is no superframe; the state is
/// [`Offload::NONE`] afterwards. Any other frame stays as it is.
pub fn finish_checksum(frame: &mut Frame) {
    let Offload { needs_csum: true, gso: Gso::None, csum_start, csum_offset, .. } = frame.offload else {
        return;
    };
    let covered = &mut frame.bytes_mut()[usize::from(csum_start)..];
    let sum = checksum::sum(covered, 0);
    set_checksum(covered, usize::from(csum_offset), sum);
    frame.offload = Offload::NONE;
}

/// Cuts the live frame `superframe`, whose offload state is checked, into finished frames behind it in `batch`, and adds
/// their indices to `segments` in the order of their payload. The superframe stays as it is.
///
/// [`DropReason::Unsegmentable`] says that its headers do not lead to the L4 header that its offload state names,
/// [`DropReason::NoBuffer`] that the batch has not enough buffers; neither adds anything.
///
/// # Panics
/// When the frame is not live or no superframe.
pub fn segment(batch: &mut Batch, superframe: usize, segments: &mut Vec<u32>) -> Result<(), DropReason> {
    let frame = &batch.frames()[superframe];
    let cut = Cut::plan(frame).ok_or(DropReason::Unsegmentable)?;
    let payload_len = frame.len() - cut.payload;
    let count = payload_len.div_ceil(cut.gso_size).max(1);
    if count > batch.room() {
        return Err(DropReason::NoBuffer);
    }
    for index in 0..count {
        let to = batch.add().ok_or(DropReason::NoBuffer)?;
        segments.push(to as u32);
        let (superframe, segment) = batch.pair(superframe, to);
        cut.write(superframe, segment, index, index + 1 == count);
    }
    Ok(())
}

/// Where a superframe is cut: offsets from its start, and what its segments have in common.
struct Cut {
    l3: usize,
    l4: usize,
    payload: usize,
    gso_size: usize,
    gso: Gso,
    /// The sum of the pseudo-header but for its length.
    pseudo_header: u16,
}

impl Cut {
    /// `None` when the frame's headers and its offload state contradict each other.
    fn plan(frame: &Frame) -> Option<Cut> {
        let Offload { gso, gso_size, header_len, csum_start, csum_offset, .. } = frame.offload;
        let (l4, bytes) = (usize::from(csum_start), frame.bytes());
        let (ether_type, l3) = ethernet::payload(bytes)?;
        let protocol = if gso == Gso::Udp { udp::PROTOCOL } else { tcp::PROTOCOL };
        let packet = &bytes[l3..];
        let leads_to_l4 = match ether_type {
            ipv4::ETHER_TYPE => {
                ipv4::header_len(packet)? == l4 - l3
                    && usize::from(ipv4::total_len(packet)) == packet.len()
                    && ipv4::protocol(packet) == protocol
                    && !ipv4::is_fragment(packet)
            }
            ipv6::ETHER_TYPE => {
                ipv6::upper_layer(packet)? == (protocol, l4 - l3)
                    && usize::from(ipv6::payload_len(packet)) == packet.len() - ipv6::HEADER_LEN
            }
            _ => false,
        };
        let field = be16(bytes, l4 + usize::from(csum_offset));
        let l4_len = (bytes.len() - l4) as u32;
        leads_to_l4.then(|| Cut {
            l3,
            l4,
            payload: usize::from(header_len),
            gso_size: usize::from(gso_size),
            gso,
            pseudo_header: checksum::fold(u32::from(field) + u32::from(!checksum::fold(l4_len))),
        })
    }

    /// Makes `segment` the one that is `index`th in `superframe`.
    fn write(&self, superframe: &Frame, segment: &mut Frame, index: usize, last: bool) {
        let from = superframe.bytes();
        let at = self.payload + index * self.gso_size;
        let chunk = &from[at..from.len().min(at + self.gso_size)];
        let bytes = segment.reshape(superframe, self.payload + chunk.len());
        let (headers, payload) = bytes.split_at_mut(self.payload);
        headers.copy_from_slice(&from[..self.payload]);
        let (below, l4) = headers.split_at_mut(self.l4);
        // No segment is longer than its superframe, whose lengths are 16-bit numbers.
        let l4_len = (l4.len() + payload.len()) as u16;
        let ip = &mut below[self.l3..];
        if ip[0] >> 4 == 4 {
            ipv4::make_segment(ip, index as u16, ip.len() as u16 + l4_len);
        } else {
            ipv6::set_payload_len(ip, (ip.len() - ipv6::HEADER_LEN) as u16 + l4_len);
        }
        let checksum_at = if self.gso == Gso::Udp {
            udp::set_len(l4, l4_len);
            udp::CHECKSUM_AT
        } else {
            tcp::advance_sequence(l4, (at - self.payload) as u32);
            let not_first = if index > 0 { tcp::CWR } else { 0 };
            let not_last = if last { 0 } else { tcp::FIN | tcp::PSH };
            tcp::clear_flags(l4, not_first | not_last);
            tcp::CHECKSUM_AT
        };
        set_be16(l4, checksum_at, self.pseudo_header);
        let sum = checksum::copy_and_sum(chunk, payload, checksum::sum(l4, u32::from(l4_len)));
        set_checksum(l4, checksum_at, sum);
    }
}

/// Writes the checksum of what sums up to `sum`. A UDP checksum of zero would mean that there is none (RFC 768); the
/// offset tells UDP apart.
fn set_checksum(l4: &mut [u8], at: usize, sum: u32) {
    let checksum = match checksum::finish(sum) {
        0 if at == udp::CHECKSUM_AT => 0xffff,
        checksum => checksum,
    };
    set_be16(l4, at, checksum);
}
