//! Cutting an IP packet into fragments that fit a link (RFC 791 section 3.2, RFC 1812 section 4.2.2.7, RFC 8200 section
//! 4.5), and the frame that fragments make when they are put together.
//!
//! A router cuts IPv4 packets that may be cut. It does so to an IPv6 packet, and to an IPv4 one that must not be
//! fragmented, only where these came to it in fragments and were put together for NAT or the filter: then they leave in
//! fragments no longer than those that came, and nobody sees what was done.

use super::segment::finish_checksum;
use super::{Batch, DropReason, Frame, Gso, Packet};
use crate::wire::{be16, checksum, ipv4, ipv6, set_be16};

/// Of the third word of an IPv4 header: what is neither "more fragments" nor the offset.
const OTHER_FLAGS: u16 = 0xc000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// The longest header of IPv4.
const MAX_HEADER_LEN: usize = 60;

/// Cuts the IPv4 packet of the live frame `index`, as which `packet` was read from it, into fragments of at most `mtu`
/// bytes each, IP header included, behind it in `batch`, and adds their indices to `out` in order. They have the frame's
/// link header and VLAN tag. The frame stays, but for a checksum that was unfinished. A packet that fits is its own only
/// fragment. Whether it may be cut, the caller has looked.
///
/// Errors, which add nothing: [`DropReason::ExceedsMtu`] for a packet of IPv6, for a superframe (which is to be cut into
/// packets first), and where `mtu` has no room for a header and eight bytes; [`DropReason::FragmentInvalid`] for one that
/// is a fragment already and contradicts itself; [`DropReason::IpHeader`] when its options do; [`DropReason::NoBuffer`].
///
/// # Panics
/// When the frame is not live. In what follows, when `packet` was not read from it.
pub fn fragment(
    batch: &mut Batch,
    index: usize,
    packet: &Packet,
    mtu: usize,
    out: &mut Vec<u32>,
) -> Result<(), DropReason> {
    cut(batch, index, packet, mtu, None, out)
}

/// The same for a packet that was put together here, which may be of IPv6: it gets fragment headers with
/// `identification` then, which was that of the fragments that came.
pub fn refragment(
    batch: &mut Batch,
    index: usize,
    packet: &Packet,
    mtu: usize,
    identification: u32,
    out: &mut Vec<u32>,
) -> Result<(), DropReason> {
    cut(batch, index, packet, mtu, Some(identification), out)
}

/// Makes `whole` the frame that has `headers`, up to those of IP, and then all parts of `payload`; its layer and VLAN tag
/// are those of `like`. [`DropReason::FragmentInvalid`] when that is longer than a frame can be; `whole` is then anything.
///
/// # Panics
/// When the headers alone are more than [`MAX_FRAME`](super::MAX_FRAME).
pub fn assemble<'a>(
    whole: &mut Frame,
    like: &Frame,
    headers: &[u8],
    payload: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    whole.fill_like(like, headers);
    for part in payload {
        if part.len() > whole.room_behind() {
            return Err(DropReason::FragmentInvalid);
        }
        whole.extend(part);
    }
    Ok(())
}

fn cut(
    batch: &mut Batch,
    index: usize,
    packet: &Packet,
    mtu: usize,
    identification: Option<u32>,
    out: &mut Vec<u32>,
) -> Result<(), DropReason> {
    let frame = &mut batch.frames_mut()[index];
    if frame.offload.gso != Gso::None {
        return Err(DropReason::ExceedsMtu);
    }
    if packet.len() <= mtu {
        out.push(index as u32);
        return Ok(());
    }
    finish_checksum(frame);
    let bytes = frame.bytes();
    let headers = match (bytes[usize::from(packet.l3)] >> 4, identification) {
        (4, _) => Headers::of_ipv4(bytes, packet)?,
        (_, Some(identification)) => Headers::of_ipv6(bytes, packet, identification)?,
        _ => return Err(DropReason::ExceedsMtu),
    };
    // Offsets count in units of eight bytes. The first fragment has the longest header.
    let step = mtu.saturating_sub(headers.first_len) & !7;
    let (from, end) = (headers.payload, packet.end as usize);
    if step == 0 {
        return Err(DropReason::ExceedsMtu);
    }
    if (end - from).div_ceil(step) > batch.room() {
        return Err(DropReason::NoBuffer);
    }
    for at in (from..end).step_by(step) {
        let to = batch.add().ok_or(DropReason::NoBuffer)?;
        out.push(to as u32);
        let (frame, fragment) = batch.pair(index, to);
        headers.write(frame, fragment, at, end.min(at + step), end);
    }
    Ok(())
}

/// The headers of a packet's fragments.
struct Headers {
    /// Where the IP header begins, from the frame's start.
    l3: usize,
    /// Where what is cut begins, from the frame's start.
    payload: usize,
    /// Bytes of the first fragment's IP header, with those that go along and the fragment header.
    first_len: usize,
    kind: Kind,
}

enum Kind {
    V4 {
        /// The header of all but the first.
        later: [u8; MAX_HEADER_LEN],
        later_len: usize,
        /// What is neither "more fragments" nor the offset.
        flags: u16,
        /// The packet's own offset in units of eight bytes, and whether others come behind it.
        offset: u16,
        more: bool,
    },
    V6 {
        /// Where the number stands, from the IP header's start, that says what is behind.
        next_at: usize,
        identification: u32,
    },
}

impl Headers {
    fn of_ipv4(bytes: &[u8], packet: &Packet) -> Result<Headers, DropReason> {
        let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
        let header = &bytes[l3..l4];
        let payload_len = packet.end as usize - l4;
        let field = be16(header, 6);
        let (offset, more) = (field & OFFSET, field & MORE_FRAGMENTS != 0);
        let contradicts = usize::from(offset) * 8 + payload_len > usize::from(u16::MAX);
        if contradicts || more && !payload_len.is_multiple_of(8) {
            return Err(DropReason::FragmentInvalid);
        }
        let mut later = [0; MAX_HEADER_LEN];
        let later_len = copied_options(header, &mut later).ok_or(DropReason::IpHeader)?;
        let kind = Kind::V4 { later, later_len, flags: field & OTHER_FLAGS, offset, more };
        Ok(Headers { l3, payload: l4, first_len: header.len(), kind })
    }

    fn of_ipv6(bytes: &[u8], packet: &Packet, identification: u32) -> Result<Headers, DropReason> {
        let l3 = usize::from(packet.l3);
        let ip = &bytes[l3..packet.end as usize];
        let (protocol, _) = ipv6::upper_layer(ip).ok_or(DropReason::IpHeader)?;
        if protocol == ipv6::FRAGMENT {
            return Err(DropReason::ExceedsMtu); // not put together here
        }
        let at = ipv6::fragmentable(ip).ok_or(DropReason::IpHeader)?;
        let next_at = ipv6::next_header_at(ip, at);
        let first_len = at + ipv6::FRAGMENT_LEN;
        Ok(Headers { l3, payload: l3 + at, first_len, kind: Kind::V6 { next_at, identification } })
    }

    /// Makes `fragment` the one that has what is from `at` to `until` in `frame`, whose packet ends at `end`. It is no
    /// longer than the frame, whose packet is longer than what a fragment may be.
    fn write(&self, frame: &Frame, fragment: &mut Frame, at: usize, until: usize, end: usize) {
        let (bytes, chunk) = (frame.bytes(), &frame.bytes()[at..until]);
        let (link, units) = (&bytes[..self.l3], ((at - self.payload) / 8) as u16);
        match &self.kind {
            Kind::V4 { later, later_len, flags, offset, more } => {
                let header = if at == self.payload { &bytes[self.l3..at] } else { &later[..*later_len] };
                let ip = compose(frame, fragment, link, header, &[], chunk);
                let more = if until < end || *more { MORE_FRAGMENTS } else { 0 };
                let (header_len, total_len) = (header.len(), ip.len() as u16);
                let header = &mut ip[..header_len];
                set_be16(header, 2, total_len);
                set_be16(header, 6, flags | more | (offset + units));
                set_be16(header, 10, 0);
                let sum = checksum::finish(checksum::sum(header, 0));
                set_be16(header, 10, sum);
            }
            Kind::V6 { next_at, identification } => {
                let header = &bytes[self.l3..self.payload];
                let mut extension = [0; ipv6::FRAGMENT_LEN];
                extension[0] = header[*next_at];
                set_be16(&mut extension, 2, units << 3 | u16::from(until < end));
                extension[4..].copy_from_slice(&identification.to_be_bytes());
                let ip = compose(frame, fragment, link, header, &extension, chunk);
                ip[*next_at] = ipv6::FRAGMENT;
                let payload_len = (ip.len() - ipv6::HEADER_LEN) as u16;
                ipv6::set_payload_len(ip, payload_len);
            }
        }
    }
}

/// Makes `fragment` these parts, and gives what is behind the link header.
fn compose<'a>(
    like: &Frame,
    fragment: &'a mut Frame,
    link: &[u8],
    header: &[u8],
    extension: &[u8],
    payload: &[u8],
) -> &'a mut [u8] {
    let len = link.len() + header.len() + extension.len() + payload.len();
    let mut rest = fragment.reshape(like, len);
    for part in [link, header, extension, payload] {
        let (here, behind) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = behind;
    }
    &mut fragment.bytes_mut()[link.len()..]
}

/// Writes what `header` is in the fragments behind the first: only options with the copied bit are in it (RFC 791
/// section 3.1). Returns its length; `None` when the options are malformed.
fn copied_options(header: &[u8], later: &mut [u8; MAX_HEADER_LEN]) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let (fixed, mut options) = header.split_at_checked(ipv4::MIN_HEADER_LEN)?;
    later[..ipv4::MIN_HEADER_LEN].copy_from_slice(fixed);
    let mut len = ipv4::MIN_HEADER_LEN;
    while let [kind, behind @ ..] = options {
        match *kind {
            END => break,
            NO_OPERATION => options = behind,
            kind => {
                let option_len = usize::from(*behind.first()?);
                let (option, behind) =
                    options.split_at_checked(option_len).filter(|(option, _)| option.len() >= 2)?;
                if kind & COPIED != 0 {
                    later[len..len + option_len].copy_from_slice(option);
                    len += option_len;
                }
                options = behind;
            }
        }
    }
    // What is zero yet ends the options and fills the header up.
    let len = len.next_multiple_of(4);
    later[0] = 0x40 | (len / 4) as u8;
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, Offload};

    /// UDP from 10.0.0.1 to 10.0.0.2 with `options` and payload 0, 1, 2…, `len` bytes behind the header, fragmented as
    /// `field` says.
    fn ipv4_packet(options: &[u8], field: u16, len: usize) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut packet = vec![0x40 | (header_len / 4) as u8, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(options);
        packet.extend((0..len).map(|i| i as u8));
        let total_len = packet.len() as u16;
        set_be16(&mut packet, 6, field);
        ipv4::make_segment(&mut packet[..header_len], 0, total_len);
        packet
    }

    fn framed(packet: &[u8]) -> Frame {
        let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let link = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7][..], &ether_type].concat();
        // Ethernet filled it up, which is no part of the packet.
        let mut frame = Frame::from_bytes(&[&link, packet, &[0x5a; 3]].concat());
        frame.set_vlan_tag(true);
        frame
    }

    /// The fragments of what `frame` has, without their link headers, which are compared.
    fn cut_up(frame: &Frame, mtu: usize, identification: Option<u32>) -> Result<Vec<Vec<u8>>, DropReason> {
        let mut batch = Batch::default();
        batch.spare()[0].copy_from(frame);
        batch.commit(1);
        let packet = Packet::of(frame).unwrap();
        let mut out = vec![99];
        let result = match identification {
            None => fragment(&mut batch, 0, &packet, mtu, &mut out),
            Some(identification) => refragment(&mut batch, 0, &packet, mtu, identification, &mut out),
        };
        assert_eq!(out.remove(0), 99, "what the list held stays");
        if let Err(reason) = result {
            assert_eq!((batch.len(), out.len()), (1, 0));
            return Err(reason);
        }
        let part = |index: &u32| {
            let fragment = &mut batch.frames_mut()[*index as usize];
            let read = Packet::of(fragment).unwrap();
            assert!(read.len() <= mtu);
            assert_eq!(fragment.bytes()[..18], frame.bytes()[..18]);
            fragment.retag(None);
            fragment.bytes()[14..14 + read.len()].to_vec()
        };
        Ok(out.iter().map(part).collect())
    }

    #[test]
    fn a_packet_is_cut_at_multiples_of_eight() {
        let parts = cut_up(&framed(&ipv4_packet(&[], 0, 30)), 20 + 23, None).unwrap();
        let fields: Vec<_> = parts.iter().map(|part| (be16(part, 2), be16(part, 4), be16(part, 6))).collect();
        assert_eq!(fields, [(36, 0x1234, 0x2000), (34, 0x1234, 0x0002)]);
        assert_eq!([&parts[0][20..], &parts[1][20..]].concat(), (0..30).collect::<Vec<u8>>());
        assert!(parts.iter().all(|part| checksum::fold(checksum::sum(&part[..20], 0)) == 0xffff));
    }

    #[test]
    fn one_that_fits_is_its_own_fragment() {
        let frame = framed(&ipv4_packet(&[], 0, 30));
        assert_eq!(cut_up(&frame, 50, None).unwrap(), [ipv4_packet(&[], 0, 30)]);
        assert_eq!(cut_up(&frame, 49, None).unwrap().len(), 2);
    }

    #[test]
    fn a_fragment_is_cut_further() {
        for (field, fields) in [
            (0x2000, [0x2000, 0x2001, 0x2002]),
            (0x0003, [0x2003, 0x2004, 5]),
            (0x6003, [0x6003, 0x6004, 0x6005]),
        ] {
            let parts = cut_up(&framed(&ipv4_packet(&[], field, 24)), 28, None).unwrap();
            assert_eq!(parts.iter().map(|part| be16(part, 6)).collect::<Vec<_>>(), fields, "{field:#x}");
        }
        for (field, len) in [(0x2000, 25), (0x3ffe, 24), (0x1ffe, 24)] {
            let frame = framed(&ipv4_packet(&[], field, len));
            assert_eq!(cut_up(&frame, 28, None), Err(DropReason::FragmentInvalid), "{field:#x}");
        }
    }

    #[test]
    fn options_are_copied_if_they_say_so() {
        // Record route is not, a strict source route and the router alert are.
        let options = [7, 4, 5, 0, 1, 137, 3, 4, 0x94, 4, 0, 0];
        let parts = cut_up(&framed(&ipv4_packet(&options, 0, 16)), 32 + 8, None).unwrap();
        assert_eq!((parts[0][0], &parts[0][20..32]), (0x48, &options[..]));
        assert_eq!((parts[1][0], &parts[1][20..28]), (0x47, &[137, 3, 4, 0x94, 4, 0, 0, 0][..]));
        assert_eq!((be16(&parts[1], 2), &parts[1][28..]), (36, &[8, 9, 10, 11, 12, 13, 14, 15][..]));
        for bad in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            let frame = framed(&ipv4_packet(&bad, 0, 16));
            assert_eq!(cut_up(&frame, 24 + 8, None), Err(DropReason::IpHeader), "{bad:?}");
        }
        let ended = cut_up(&framed(&ipv4_packet(&[1, 0, 7, 0], 0, 16)), 24 + 8, None).unwrap();
        assert_eq!(ended[1][0], 0x45, "nothing counts behind the end");
    }

    #[test]
    fn an_mtu_without_room_fits_nothing() {
        let frame = framed(&ipv4_packet(&[], 0, 30));
        for mtu in [0, 19, 27] {
            assert_eq!(cut_up(&frame, mtu, None), Err(DropReason::ExceedsMtu), "{mtu}");
        }
        assert_eq!(cut_up(&frame, 28, None).unwrap().len(), 4);
    }

    #[test]
    fn a_checksum_is_finished_first_and_a_superframe_is_not_cut() {
        let mut packet = ipv4_packet(&[], 0, 32);
        packet[26..28].fill(0);
        let mut frame = framed(&packet);
        let bytes = frame.bytes().len() - 3;
        frame = {
            let mut exact = Frame::from_bytes(&frame.bytes()[..bytes]);
            exact.set_vlan_tag(true);
            exact
        };
        frame.offload = Offload { needs_csum: true, csum_start: 38, csum_offset: 6, ..Offload::NONE };
        let parts = cut_up(&frame, 28, None).unwrap();
        let payload: Vec<u8> = parts.iter().flat_map(|part| &part[20..]).copied().collect();
        assert_eq!(checksum::fold(checksum::sum(&payload, 0)), 0xffff);
        frame.offload.gso = Gso::Udp;
        assert_eq!(cut_up(&frame, 28, None), Err(DropReason::ExceedsMtu));
    }

    #[test]
    fn ipv6_gets_fragment_headers_where_it_had_some() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8 + 32, 0, 64];
        for last in [1, 2] {
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend([17, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop options
        packet.extend(0..32);
        let frame = framed(&packet);
        assert_eq!(cut_up(&frame, 56 + 16, None), Err(DropReason::ExceedsMtu));
        let parts = cut_up(&frame, 56 + 16, Some(0x0102_0304)).unwrap();
        assert_eq!(parts.len(), 2);
        for (part, field, payload) in [(&parts[0], 1, 0..16), (&parts[1], 16, 16..32)] {
            assert_eq!(usize::from(be16(part, 4)), part.len() - 40);
            assert_eq!((part[6], part[40]), (0, ipv6::FRAGMENT));
            assert_eq!(part[48..56], [17, 0, 0, field, 1, 2, 3, 4]);
            assert_eq!(part[56..], payload.collect::<Vec<u8>>());
        }
        let atomic = framed(&parts[1]);
        assert_eq!(cut_up(&atomic, 71, Some(1)), Err(DropReason::ExceedsMtu), "it has one already");
    }

    #[test]
    fn a_batch_without_room_gets_no_fragment_at_all() {
        let mut batch = Batch::default();
        batch.spare()[0].copy_from(&framed(&ipv4_packet(&[], 0, 30)));
        batch.commit(1);
        while batch.room() > 3 {
            batch.add().unwrap();
        }
        let packet = Packet::of(&batch.frames()[0]).unwrap();
        let (live, mut out) = (batch.len(), Vec::new());
        assert_eq!(fragment(&mut batch, 0, &packet, 28, &mut out), Err(DropReason::NoBuffer));
        assert_eq!((batch.len(), out.len()), (live, 0));
        assert_eq!(fragment(&mut batch, 0, &packet, 36, &mut out), Ok(()));
        assert_eq!(out, [live as u32, live as u32 + 1]);
    }

    #[test]
    fn a_frame_is_put_together_up_to_the_longest() {
        let mut like = framed(&ipv4_packet(&[], 0, 8));
        let mut whole = Frame::default();
        assemble(&mut whole, &like, &like.bytes()[..38], [&[1, 2][..], &[3]]).unwrap();
        assert_eq!((&whole.bytes()[..38], &whole.bytes()[38..]), (&like.bytes()[..38], &[1, 2, 3][..]));
        whole.retag(None);
        assert_eq!(whole.bytes()[12..14], [8, 0]);
        like.layer = Layer::Ip;
        let parts = [&[0; 30_000][..], &[0; 30_000], &[0; 6000]];
        assert_eq!(assemble(&mut whole, &like, &[0; 18], parts), Err(DropReason::FragmentInvalid));
        assert_eq!(assemble(&mut whole, &like, &[0; 18], parts[..2].iter().copied()), Ok(()));
        assert_eq!((whole.layer, whole.len()), (Layer::Ip, 60_018));
    }
}
