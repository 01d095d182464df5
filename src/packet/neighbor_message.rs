//! What neighbours say to each other, as whole frames: ARP and neighbour discovery, made and read. The frames made here
//! are Ethernet, untagged, and finished; who sends them puts on the tag.

use core::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv6Header};

use super::{Frame, Offload, Packet, Part};
use crate::packet::DropReason;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ethernet::{self, Mac};
use crate::wire::nd::{self, AdvertisementFlags, Nd, RouterAdvertisement};
use crate::wire::{checksum, icmp, ipv6, set_be16};

/// What a frame is filled up to: the least that Ethernet carries, without its checksum.
const MIN_FRAME: usize = 60;

/// The ARP packet in `frame`. `None` when it carries something else; an error, when it is malformed or says what nobody
/// can mean: a sender that is a group. Its sender may be another than the Ethernet header has, as where one host answers
/// for others; who pins addresses to ports looks at both.
pub fn arp(frame: &Frame) -> Option<Result<Arp, DropReason>> {
    let (ether_type, at) = frame.layer.network(frame.bytes())?;
    if ether_type != arp::ETHER_TYPE {
        return None;
    }
    let arp = Arp::parse(&frame.bytes()[at..]).filter(|arp| {
        arp.operation != Operation::ReverseRequest
            && !arp.sender_mac.is_group()
            && !arp.sender_mac.is_zero()
            && !arp.sender_ip.is_multicast()
            && !arp.sender_ip.is_broadcast()
    });
    Some(arp.ok_or(DropReason::NeighborMessage))
}

/// The message of neighbour discovery in `frame`, as which `packet` was read from it. `None` when it is something else;
/// an error, when it is not valid (RFC 4861), came in parts (RFC 6980), or gives a group as somebody's MAC address.
pub fn nd(frame: &Frame, packet: &Packet) -> Option<Result<Nd, DropReason>> {
    if packet.tuple.protocol != icmp::V6_PROTOCOL
        || packet.part == Part::Later
        || packet.tuple.source.is_v4()
        || !nd::is_nd(packet.kind)
    {
        return None;
    }
    Some(read(frame, packet).ok_or(DropReason::NeighborMessage))
}

fn read(frame: &Frame, packet: &Packet) -> Option<Nd> {
    let (ip, message) = (&frame.bytes()[usize::from(packet.l3)..], packet.upper_layer(frame));
    // Even an atomic fragment is refused, which is whole.
    let fragmented = ipv6::upper_layer(ip)?.0 == ipv6::FRAGMENT;
    let (source, destination) = (ipv6::source(ip), ipv6::destination(ip));
    let finished = !frame.offload.needs_csum;
    if fragmented || finished && !nd::checksum_holds(source, destination, message) {
        return None;
    }
    let nd = Nd::parse(source, destination, packet.ttl, message)?;
    let host = nd.link_layer.is_none_or(|mac| !mac.is_group() && !mac.is_zero());
    host.then_some(nd)
}

/// Makes `frame` the question who has `target_ip`: to everybody, or to whom it is known to have been (a probe).
pub fn arp_request(
    frame: &mut Frame,
    from_mac: Mac,
    from_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
    to: Option<Mac>,
) {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: from_mac,
        sender_ip: from_ip,
        target_mac: Mac::default(),
        target_ip,
    };
    write_arp(frame, to.unwrap_or(Mac::BROADCAST), &arp);
}

/// Makes `frame` the answer to `to_mac` and `to_ip` that `from_mac` has `from_ip`.
pub fn arp_reply(frame: &mut Frame, from_mac: Mac, from_ip: Ipv4Addr, to_mac: Mac, to_ip: Ipv4Addr) {
    let arp = Arp {
        operation: Operation::Reply,
        sender_mac: from_mac,
        sender_ip: from_ip,
        target_mac: to_mac,
        target_ip: to_ip,
    };
    write_arp(frame, to_mac, &arp);
}

/// Makes `frame` the announcement to everybody that `mac` has `ip`, as a request (RFC 5227 section 3): hosts that drop
/// replies they did not ask for take it.
pub fn gratuitous_arp(frame: &mut Frame, mac: Mac, ip: Ipv4Addr) {
    arp_request(frame, mac, ip, ip, None);
}

/// Makes `frame` the question who has `target`: to the group of those that might, or to whom it is known to have been (a
/// probe). From :: it names no sender (RFC 4862 section 5.4.2).
pub fn solicitation(frame: &mut Frame, from_mac: Mac, from_ip: Ipv6Addr, target: Ipv6Addr, to: Option<Mac>) {
    let mut message = [0; nd::NEIGHBOR_LEN];
    let sender = Some(from_mac).filter(|_| !from_ip.is_unspecified());
    let len = nd::emit_solicitation(&mut message, target, sender);
    let group = nd::solicited_node(target);
    let (to_mac, to_ip) = match to {
        Some(mac) => (mac, target),
        None => (nd::group_mac(group), group),
    };
    write_nd(frame, (from_mac, from_ip), (to_mac, to_ip), &mut message[..len]);
}

/// Makes `frame` the advertisement to `to` that `mac` has `target`. What answers a solicitation from :: goes to
/// [`nd::ALL_NODES`] and is not solicited (RFC 4861 section 7.2.4).
pub fn advertisement(
    frame: &mut Frame,
    mac: Mac,
    target: Ipv6Addr,
    to: (Mac, Ipv6Addr),
    flags: AdvertisementFlags,
) {
    let mut message = [0; nd::NEIGHBOR_LEN];
    let len = nd::emit_advertisement(&mut message, target, mac, flags);
    write_nd(frame, (mac, target), to, &mut message[..len]);
}

/// Makes `frame` the announcement to everybody that `mac` has `target` (RFC 4861 section 7.2.6).
pub fn unsolicited_advertisement(frame: &mut Frame, mac: Mac, target: Ipv6Addr, router: bool) {
    let flags = AdvertisementFlags { router, solicited: false, overrides: true };
    advertisement(frame, mac, target, (nd::group_mac(nd::ALL_NODES), nd::ALL_NODES), flags);
}

/// Makes `frame` the router advertisement of `mac`, whose link-local address is `link_local`: to one host, or to all.
pub fn router_advertisement(
    frame: &mut Frame,
    mac: Mac,
    link_local: Ipv6Addr,
    what: &RouterAdvertisement,
    to: Option<(Mac, Ipv6Addr)>,
) {
    let to = to.unwrap_or((nd::group_mac(nd::ALL_NODES), nd::ALL_NODES));
    write_nd(frame, (mac, link_local), to, &mut what.emit(mac));
}

fn write_arp(frame: &mut Frame, to: Mac, arp: &Arp) {
    let mut bytes = [0; MIN_FRAME];
    bytes[..ethernet::HEADER_LEN].copy_from_slice(&link(arp.sender_mac, to, arp::ETHER_TYPE));
    bytes[ethernet::HEADER_LEN..][..arp::LEN].copy_from_slice(&arp.emit());
    frame.fill(&bytes, Offload::NONE);
}

/// `message` has its checksum field zero, and gets it.
fn write_nd(frame: &mut Frame, from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), message: &mut [u8]) {
    let ip = Ipv6Header {
        payload_length: message.len() as u16, // at most what fits 1280 bytes
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: nd::HOP_LIMIT,
        source: from.1.octets(),
        destination: to.1.octets(),
        ..Ipv6Header::default()
    };
    let addresses = checksum::sum(&ip.source, checksum::sum(&ip.destination, 0));
    let pseudo_header = addresses + u32::from(ip.payload_length) + u32::from(icmp::V6_PROTOCOL);
    let sum = checksum::finish(checksum::sum(message, pseudo_header));
    set_be16(message, 2, sum);
    let mut bytes = [0; ethernet::HEADER_LEN + ipv6::MIN_MTU];
    let at = ethernet::HEADER_LEN + ipv6::HEADER_LEN;
    bytes[..ethernet::HEADER_LEN].copy_from_slice(&link(from.0, to.0, ipv6::ETHER_TYPE));
    bytes[ethernet::HEADER_LEN..at].copy_from_slice(&ip.to_bytes());
    bytes[at..at + message.len()].copy_from_slice(message);
    frame.fill(&bytes[..at + message.len()], Offload::NONE);
}

fn link(from: Mac, to: Mac, ether_type: u16) -> [u8; ethernet::HEADER_LEN] {
    let mut header = [0; ethernet::HEADER_LEN];
    header[..6].copy_from_slice(&to.octets());
    header[6..12].copy_from_slice(&from.octets());
    header[12..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Layer;
    use crate::wire::nd::Kind;

    const OURS: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
    const OUR_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const THEIR_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const OUR_IP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const THEIR_IP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn nd_of(frame: &Frame) -> Option<Result<Nd, DropReason>> {
        nd(frame, &Packet::of(frame).unwrap())
    }

    /// Changes the IPv6 packet in the frame and makes its checksum right again.
    fn changed(frame: &Frame, change: impl FnOnce(&mut [u8])) -> Frame {
        let mut frame = Frame::from_bytes(frame.bytes());
        let packet = &mut frame.bytes_mut()[14..];
        change(packet);
        set_be16(packet, 42, 0);
        let len = packet.len() as u32 - 40;
        let sum = checksum::sum(&packet[40..], checksum::sum(&packet[8..40], len + 58));
        set_be16(packet, 42, checksum::finish(sum));
        frame
    }

    #[test]
    fn arp_goes_to_all_or_to_one_and_fills_the_frame() {
        let mut frame = Frame::default();
        arp_request(&mut frame, OURS, OUR_IP, THEIR_IP, None);
        let mut expected = vec![0xff; 6];
        expected.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        expected.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        expected.resize(60, 0);
        assert_eq!(frame.bytes(), expected);
        arp_request(&mut frame, OURS, OUR_IP, THEIR_IP, Some(THEIRS));
        assert_eq!((&frame.bytes()[..6], &frame.bytes()[6..]), (&[2, 0, 0, 0, 0, 2][..], &expected[6..]));
        arp_reply(&mut frame, OURS, OUR_IP, THEIRS, THEIR_IP);
        let reply = arp(&frame).unwrap().unwrap();
        assert_eq!(
            (reply.operation, reply.target_mac, reply.target_ip),
            (Operation::Reply, THEIRS, THEIR_IP)
        );
        gratuitous_arp(&mut frame, OURS, OUR_IP);
        assert!(arp(&frame).unwrap().unwrap().is_gratuitous());
        assert_eq!(frame.bytes()[..6], [0xff; 6]);
    }

    #[test]
    fn arp_that_nobody_can_mean_is_refused() {
        let mut good = Frame::default();
        arp_request(&mut good, OURS, OUR_IP, THEIR_IP, None);
        for (at, value) in [(14, 1), (21, 3), (21, 9), (22, 3), (28, 224)] {
            let mut frame = Frame::from_bytes(good.bytes());
            frame.bytes_mut()[at] = value;
            assert_eq!(arp(&frame), Some(Err(DropReason::NeighborMessage)), "byte {at}");
        }
        assert_eq!(arp(&Frame::from_bytes(&good.bytes()[..41])), Some(Err(DropReason::NeighborMessage)));
        let mut other = Frame::from_bytes(good.bytes());
        other.bytes_mut()[13] = 0;
        assert_eq!(arp(&other), None);
        let mut none = Frame::from_bytes(good.bytes());
        none.layer = Layer::Ip;
        assert_eq!(arp(&none), None);
    }

    #[test]
    fn questions_go_to_the_group_or_to_one() {
        let mut frame = Frame::default();
        solicitation(&mut frame, OURS, OUR_IP6, THEIR_IP6, None);
        assert_eq!(frame.bytes()[..14], [0x33, 0x33, 0xff, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!((frame.bytes()[21], &frame.bytes()[38..40]), (255, &[0xff, 0x02][..]));
        let kind = Kind::NeighborSolicitation { target: THEIR_IP6 };
        assert_eq!(nd_of(&frame), Some(Ok(Nd { kind, link_layer: Some(OURS) })));
        solicitation(&mut frame, OURS, OUR_IP6, THEIR_IP6, Some(THEIRS));
        assert_eq!(
            (&frame.bytes()[..6], &frame.bytes()[38..54]),
            (&[2, 0, 0, 0, 0, 2][..], &THEIR_IP6.octets()[..])
        );
        assert_eq!(nd_of(&frame), Some(Ok(Nd { kind, link_layer: Some(OURS) })));
        solicitation(&mut frame, OURS, Ipv6Addr::UNSPECIFIED, THEIR_IP6, None);
        assert_eq!(nd_of(&frame), Some(Ok(Nd { kind, link_layer: None })));
    }

    #[test]
    fn answers_and_announcements_are_read_again() {
        let mut frame = Frame::default();
        let flags = AdvertisementFlags { router: true, solicited: true, overrides: true };
        advertisement(&mut frame, OURS, OUR_IP6, (THEIRS, THEIR_IP6), flags);
        let said = |solicited| {
            let kind =
                Kind::NeighborAdvertisement { target: OUR_IP6, router: true, solicited, overrides: true };
            Some(Ok(Nd { kind, link_layer: Some(OURS) }))
        };
        assert_eq!(nd_of(&frame), said(true));
        unsolicited_advertisement(&mut frame, OURS, OUR_IP6, true);
        assert_eq!((nd_of(&frame), &frame.bytes()[..6]), (said(false), &[0x33, 0x33, 0, 0, 0, 1][..]));
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        router_advertisement(&mut frame, OURS, link_local, &RouterAdvertisement::default(), None);
        let nd = Nd { kind: Kind::RouterAdvertisement, link_layer: Some(OURS) };
        assert_eq!((nd_of(&frame), &frame.bytes()[..6]), (Some(Ok(nd)), &[0x33, 0x33, 0, 0, 0, 1][..]));
    }

    #[test]
    fn nd_that_is_not_valid_is_refused() {
        let mut good = Frame::default();
        solicitation(&mut good, OURS, OUR_IP6, THEIR_IP6, None);
        let refused = Some(Err(DropReason::NeighborMessage));
        assert!(nd_of(&changed(&good, |_| {})).unwrap().is_ok());
        for (at, value, what) in
            [(7, 64, "forwarded"), (41, 1, "a code"), (66, 1, "a group's MAC"), (65, 0, "no length")]
        {
            assert_eq!(nd_of(&changed(&good, |packet| packet[at] = value)), refused, "{what}");
        }
        assert_eq!(nd_of(&changed(&good, |packet| packet[66..72].fill(0))), refused);
        let mut wrong = Frame::from_bytes(good.bytes());
        wrong.bytes_mut()[56] ^= 1;
        assert_eq!(nd_of(&wrong), refused, "its checksum");
        wrong.offload = Offload { needs_csum: true, csum_start: 54, csum_offset: 2, ..Offload::NONE };
        assert!(nd_of(&wrong).unwrap().is_ok(), "it is unfinished yet");
        assert_eq!(nd_of(&changed(&good, |packet| packet[40] = 128)), None, "an echo");

        // An atomic fragment, and a first one.
        for field in [0, 1] {
            let packet = &good.bytes()[14..];
            let extension = [58, 0, 0, field, 0, 0, 0, 1];
            let bytes = [&good.bytes()[..14], &packet[..40], &extension, &packet[40..]].concat();
            let mut frame = Frame::from_bytes(&bytes);
            (frame.bytes_mut()[19], frame.bytes_mut()[20]) = (40, 44);
            assert_eq!(nd_of(&frame), refused);
        }
    }
}
