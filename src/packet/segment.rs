//! Doing in software what a sender left to the device, for a port that cannot: finishing a checksum, cutting a
//! superframe into frames that fit the wire.
//!
//! Cutting copies each segment's payload and then sums the copy, which the first-level cache still holds: one loop that
//! does both measured hardly faster at the size of a segment. The claim was checked at ingress without a look at the IP
//! header's fields; here those have to lead to the L4 header it names, or the frame is given up.
//!
//! A segment's L4 checksum starts from what the superframe's field holds, the pseudo-header sum over the whole length,
//! less that length. That, and not a sum over the addresses in the IP header, stays right where a routing header or a
//! home address option makes the pseudo-header's addresses others (RFC 8200 section 8.1, RFC 6275 section 11.3.1).

use super::{Batch, DropReason, Frame, Gso, Offload};
use crate::wire::{be16, checksum, ipv4, ipv6, set_be16, tcp, udp};

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
        let (ether_type, l3) = frame.layer.network(bytes)?;
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
        // No segment is longer than its superframe, whose IP length was compared with a 16-bit number.
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
        payload.copy_from_slice(chunk);
        let sum = checksum::sum(payload, checksum::sum(l4, u32::from(l4_len)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Layer;

    const FLAGS_AT: usize = 18 + 20 + 13;

    /// A TCP superframe over IPv4 with the bridge's VLAN tag, all flags set and five bytes a segment.
    fn superframe(payload: &[u8]) -> Frame {
        let total_len = (40 + payload.len()) as u16;
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        bytes.extend([0x45, 0, (total_len >> 8) as u8, total_len as u8, 0xff, 0xff, 0x40, 0]);
        bytes.extend([64, 6, 0xa5, 0xa5, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x50, 0xff, 0, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        let pseudo_header = 2 * 0x0a00 + 1 + 2 + 6 + total_len - 20;
        set_be16(&mut bytes, 34 + 16, pseudo_header);
        let mut frame = Frame::from_bytes(&bytes);
        frame.offload = Offload {
            needs_csum: true,
            gso: Gso::TcpV4,
            gso_size: 5,
            csum_start: 34,
            csum_offset: 16,
            ..Offload::NONE
        };
        frame.offload.check(Layer::Ethernet, &bytes).unwrap();
        frame.retag(Some(7));
        frame
    }

    fn cut(frame: &Frame) -> Result<Vec<Vec<u8>>, DropReason> {
        let mut batch = Batch::default();
        batch.spare()[0].copy_from(frame);
        batch.commit(1);
        let mut segments = vec![99];
        let result = segment(&mut batch, 0, &mut segments);
        assert_eq!(batch.frames()[0].bytes(), frame.bytes(), "the superframe stays");
        assert_eq!(segments.remove(0), 99, "what the list held stays");
        assert_eq!(
            segments,
            (1..batch.len() as u32).collect::<Vec<_>>(),
            "in order, and nothing else was added"
        );
        assert!(batch.frames()[1..].iter().all(|frame| frame.offload == Offload::NONE));
        result.map(|()| batch.frames()[1..].iter().map(|frame| frame.bytes().to_vec()).collect())
    }

    #[test]
    fn segments_carry_what_belongs_on_each() {
        let segments = cut(&superframe(b"hello, world")).unwrap();
        assert_eq!(segments.iter().map(|s| &s[58..]).collect::<Vec<_>>(), [&b"hello"[..], b", wor", b"ld"]);
        for (i, (segment, expected)) in segments.iter().zip([0xf6, 0x76, 0x7f]).enumerate() {
            assert_eq!(segment[..16], superframe(b"").bytes()[..16], "addresses and tag");
            assert_eq!(usize::from(be16(segment, 20)), segment.len() - 18, "total length");
            assert_eq!(be16(segment, 22), 0xffffu16.wrapping_add(i as u16), "identification");
            assert_eq!(be16(segment, 44), 0xffffu16.wrapping_add(5 * i as u16), "sequence, low half");
            assert_eq!(be16(segment, 42), if i == 0 { 0xffff } else { 0 }, "sequence, high half");
            assert_eq!(segment[FLAGS_AT], expected, "CWR on the first only, FIN and PSH on the last");
            assert_eq!(checksum::fold(checksum::sum(&segment[18..38], 0)), 0xffff, "header checksum");
            let pseudo_header = checksum::sum(&segment[30..38], 6 + segment.len() as u32 - 38);
            assert_eq!(checksum::fold(checksum::sum(&segment[38..], pseudo_header)), 0xffff, "L4 checksum");
        }
    }

    #[test]
    fn a_superframe_that_fits_is_one_segment() {
        for payload in ["", "h", "hello"] {
            let segments = cut(&superframe(payload.as_bytes())).unwrap();
            assert_eq!(segments.len(), 1);
            assert_eq!(segments[0][58..], *payload.as_bytes());
            assert_eq!(segments[0][FLAGS_AT], 0xff);
        }
    }

    #[test]
    fn the_bridges_tag_can_be_taken_off_a_segment() {
        let mut batch = Batch::default();
        batch.spare()[0].copy_from(&superframe(b"hello, world"));
        batch.commit(1);
        segment(&mut batch, 0, &mut Vec::new()).unwrap();
        let segment = &mut batch.frames_mut()[2];
        segment.retag(None);
        assert_eq!(segment.bytes()[12..15], [0x08, 0x00, 0x45]);
        assert_eq!(segment.bytes()[54..], *b", wor");
    }

    #[test]
    fn headers_that_contradict_the_claim_are_given_up() {
        let v4 = superframe(b"hello, world");
        for (at, value, what) in [
            (13, 0x01, "another EtherType"),
            (17, 0x06, "ARP"),
            (18, 0x46, "IHL too long"),
            (18, 0x44, "IHL too short"),
            (18, 0x65, "version 6"),
            (21, 51, "total length short by one"),
            (21, 53, "total length long by one"),
            (24, 0x20, "a fragment"),
            (25, 1, "a later fragment"),
            (27, 17, "UDP"),
        ] {
            assert_eq!(cut(&spoilt(&v4, at, value)), Err(DropReason::Unsegmentable), "{what}");
        }
    }

    #[test]
    fn so_are_those_of_ipv6() {
        // IPv6 from 14, destination options from 54, UDP from 62, eight bytes of payload.
        let mut bytes = [0; 78];
        bytes[12..21].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 17]);
        bytes[54] = 17;
        let offload = Offload {
            needs_csum: true,
            gso: Gso::Udp,
            gso_size: 5,
            csum_start: 62,
            csum_offset: 6,
            ..Offload::NONE
        };
        let mut v6 = Frame::default();
        v6.fill(&bytes, offload);
        v6.offload.check(Layer::Ethernet, &bytes).unwrap();
        assert_eq!(cut(&v6), Err(DropReason::Unsegmentable), "UDP at once, the claim has it later");
        let v6 = spoilt(&v6, 20, 60);
        assert_eq!(cut(&v6).map(|segments| segments.len()), Ok(2));
        for (at, value, what) in [
            (14, 0x45, "version 4"),
            (19, 0, "a jumbogram"),
            (19, 23, "payload length short by one"),
            (19, 25, "payload length long by one"),
            (20, 44, "a fragment header"),
            (54, 6, "TCP"),
            (55, 1, "extension header too long"),
        ] {
            assert_eq!(cut(&spoilt(&v6, at, value)), Err(DropReason::Unsegmentable), "{what}");
        }
    }

    fn spoilt(good: &Frame, at: usize, value: u8) -> Frame {
        let mut bad = Frame::default();
        bad.copy_from(good);
        bad.bytes_mut()[at] = value;
        bad
    }

    #[test]
    fn a_batch_without_room_gets_no_segment_at_all() {
        let mut batch = Batch::default();
        batch.spare()[0].copy_from(&superframe(b"hello, world"));
        batch.commit(1);
        while batch.room() > 2 {
            batch.add().unwrap();
        }
        let (live, mut segments) = (batch.len(), Vec::new());
        assert_eq!(segment(&mut batch, 0, &mut segments), Err(DropReason::NoBuffer));
        assert_eq!((batch.len(), segments.len()), (live, 0));
        batch.frames_mut()[0].offload.gso_size = 6;
        assert_eq!(segment(&mut batch, 0, &mut segments), Ok(()));
        assert_eq!((batch.room(), segments), (0, vec![live as u32, live as u32 + 1]));
    }

    #[test]
    fn only_an_unfinished_checksum_is_finished() {
        let offload = Offload { needs_csum: true, csum_start: 14, csum_offset: 16, ..Offload::NONE };
        for (csum_offset, finished) in [(tcp::CHECKSUM_AT, 0), (udp::CHECKSUM_AT, 0xffff)] {
            let mut frame = Frame::from_bytes(&[0xff; 34]);
            frame.offload = Offload { csum_offset: csum_offset as u16, ..offload };
            finish_checksum(&mut frame);
            assert_eq!(frame.offload, Offload::NONE);
            assert_eq!(be16(frame.bytes(), 14 + csum_offset), finished);
            assert_eq!(
                frame.bytes().iter().filter(|&&b| b != 0xff).count(),
                if finished == 0 { 2 } else { 0 }
            );
        }
        for offload in [Offload { gso: Gso::TcpV4, ..offload }, Offload::NONE] {
            let mut frame = Frame::from_bytes(&[0x11; 34]);
            frame.offload = offload;
            finish_checksum(&mut frame);
            assert_eq!((frame.bytes(), frame.offload), (&[0x11; 34][..], offload));
        }
    }
}
