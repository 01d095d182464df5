//! The frames that are offered: UDP in the sizes of RFC 2544, and TCP superframes, from the test networks 198.18.0.0/15. The
//! first bytes of the payload say which frame it is and when it left.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use etherparse::PacketBuilder;

use crate::packet::{Gso, Offload};
use crate::wire::ethernet::Mac;

/// Bytes of the frame check sequence, which the sizes of RFC 2544 include and no interface hands over.
const FCS: usize = 4;
/// The longest frame, with its check sequence: an MTU of 9000 takes it.
const LONGEST: u16 = 9018;
/// Payload of each segment of a superframe: an MTU of 1500 takes it.
const SEGMENT: usize = 1460;
/// Segments of a superframe: as many as 64 KiB hold.
const SEGMENTS: usize = 44;
/// Bytes before the payload: Ethernet, IPv4, UDP; and with TCP.
const UDP_HEADERS: usize = 42;
const TCP_HEADERS: usize = 54;
/// Where the destination port is.
const PORT: usize = 36;
/// The destination port of all frames (RFC 863): nobody answers.
const DISCARD: u16 = 9;
/// Bytes of a [`Stamp`]; the payload of a frame of 64 bytes has just as many.
const STAMP: usize = 18;

/// How long a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// So many bytes, its check sequence included, as RFC 2544 counts them.
    Frame(u16),
    /// A TCP superframe of 64 KiB in segments of 1,460 bytes.
    Super,
}

impl Size {
    /// All that RFC 2544 section 9.1 has for Ethernet, a jumbo frame, and the superframe.
    pub(super) const ALL: [Size; 9] = [
        Size::Frame(64),
        Size::Frame(128),
        Size::Frame(256),
        Size::Frame(512),
        Size::Frame(1024),
        Size::Frame(1280),
        Size::Frame(1518),
        Size::Frame(9000),
        Size::Super,
    ];

    /// Bytes that are handed to the switch.
    pub(super) fn bytes(self) -> usize {
        match self {
            Size::Frame(size) => usize::from(size) - FCS,
            Size::Super => TCP_HEADERS + SEGMENT * SEGMENTS,
        }
    }

    /// Bytes of payload, by which frames are counted where they arrive: a superframe may have been cut on its way.
    pub(super) fn payload(self) -> usize {
        self.bytes() - self.headers()
    }

    /// Bytes before the payload.
    pub(super) fn headers(self) -> usize {
        match self {
            Size::Frame(_) => UDP_HEADERS,
            Size::Super => TCP_HEADERS,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Frame(size) => size.fmt(f),
            Size::Super => f.write_str("super"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let frame = text.parse().ok().filter(|size| (64..=LONGEST).contains(size)).map(Size::Frame);
        let size = if text == "super" { Some(Size::Super) } else { frame };
        size.ok_or_else(|| format!("a size is 64 to {LONGEST} bytes, or \"super\""))
    }
}

/// An end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Station {
    /// Its MAC address, or that of the router on the way there.
    pub(super) mac: Mac,
    /// Its address.
    pub(super) address: Ipv4Addr,
}

/// A frame from a port of one station to another station, and what is left to the device to do on it.
pub(super) fn frame(size: Size, from: Station, port: u16, to: Station) -> (Vec<u8>, Offload) {
    let mut bytes = Vec::with_capacity(size.bytes());
    let headers = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets());
    let headers = headers.ipv4(from.address.octets(), to.address.octets(), 64);
    let payload = vec![0xa5; size.payload()];
    let written = match size {
        Size::Frame(_) => headers.udp(port, DISCARD).write(&mut bytes, &payload),
        Size::Super => headers.tcp(port, DISCARD, 1, 65_535).ack(1).write(&mut bytes, &payload),
    };
    written.expect("a vector takes all, and no frame is longer than a packet may be");
    match size {
        Size::Frame(_) => {
            // No checksum (RFC 768): the stamp changes with each frame.
            bytes[40..42].fill(0);
            (bytes, Offload::NONE)
        }
        Size::Super => {
            let sum = pseudo_header(from.address, to.address, (size.bytes() - 34) as u16);
            bytes[50..52].copy_from_slice(&sum.to_be_bytes());
            let (gso, gso_size, header_len) = (Gso::TcpV4, SEGMENT as u16, TCP_HEADERS as u16);
            let (csum_start, csum_offset) = (34, 16);
            let offload = Offload {
                needs_csum: true,
                gso,
                gso_size,
                header_len,
                csum_start,
                csum_offset,
                ..Offload::NONE
            };
            (bytes, offload)
        }
    }
}

/// What opens the connection of a superframe: a SYN, since a router that translates lets no other TCP begin. UDP needs none.
pub(super) fn opening(size: Size, from: Station, port: u16, to: Station) -> Option<Vec<u8>> {
    let headers = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets());
    let headers = headers.ipv4(from.address.octets(), to.address.octets(), 64);
    let mut bytes = Vec::new();
    let headers = match size {
        Size::Frame(_) => return None,
        Size::Super => headers.tcp(port, DISCARD, 0, 65_535).syn(),
    };
    headers.write(&mut bytes, &[]).expect("a vector takes all");
    Some(bytes)
}

/// What stands in the checksum of a TCP segment that the device is to finish.
fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, len: u16) -> u16 {
    let words = |address: Ipv4Addr| (address.to_bits() >> 16) + (address.to_bits() & 0xffff);
    let sum = words(from) + words(to) + 6 + u32::from(len);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

/// Which frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The trial that it belongs to.
    pub(super) trial: u16,
    /// Its number in the trial.
    pub(super) sequence: u64,
    /// When it left: nanoseconds since the trial began.
    pub(super) sent: u64,
}

impl Stamp {
    /// Writes it into a frame of this size.
    pub(super) fn write(self, frame: &mut [u8], size: Size) {
        let at = &mut frame[size.headers()..][..STAMP];
        at[..2].copy_from_slice(&self.trial.to_be_bytes());
        at[2..10].copy_from_slice(&self.sequence.to_be_bytes());
        at[10..].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// Reads it from a frame that [`payload_of`] has known.
    pub(super) fn read(frame: &[u8], size: Size) -> Option<Stamp> {
        let (trial, rest) = frame.get(size.headers()..)?.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        let (trial, sequence) = (u16::from_be_bytes(*trial), u64::from_be_bytes(*sequence));
        Some(Stamp { trial, sequence, sent: u64::from_be_bytes(*sent) })
    }
}

/// Bytes of payload of a frame of ours, whatever was translated or cut on its way; `None`: it is none of ours.
pub(super) fn payload_of(frame: &[u8], size: Size) -> Option<usize> {
    let is_ours = frame.get(12..14)? == [0x08, 0x00] && frame.get(PORT..PORT + 2)? == DISCARD.to_be_bytes();
    // A short frame may have been padded.
    is_ours.then(|| frame.len().min(size.bytes()).saturating_sub(size.headers()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Batch, segment};

    fn stations() -> [Station; 2] {
        [1, 2].map(|n| Station { mac: Mac::new([2, 0, 0, 0, 0, n]), address: Ipv4Addr::new(198, 18, 0, n) })
    }

    #[test]
    fn frames_are_as_long_as_said_and_carry_their_stamp() {
        let [from, to] = stations();
        for size in Size::ALL {
            let (mut bytes, _) = frame(size, from, 1024, to);
            assert_eq!(
                (bytes.len(), payload_of(&bytes, size)),
                (size.bytes(), Some(size.payload())),
                "{size}"
            );
            let stamp = Stamp { trial: 7, sequence: 1 << 40, sent: 123_456_789 };
            stamp.write(&mut bytes, size);
            assert_eq!(Stamp::read(&bytes, size), Some(stamp), "{size}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for text in ["63", "9019", "", "-1", "superb"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_checksum_of_a_superframe_can_be_finished() {
        let [from, to] = stations();
        let (bytes, offload) = frame(Size::Super, from, 1024, to);
        let (mut batch, mut segments) = (Batch::default(), Vec::new());
        batch.spare()[0].fill(&bytes, offload);
        batch.commit(1);
        segment::segment(&mut batch, 0, &mut segments).unwrap();
        assert_eq!(segments.len(), SEGMENTS);
        for segment in &batch.frames()[1..] {
            let sliced = etherparse::PacketHeaders::from_ethernet_slice(segment.bytes()).unwrap();
            let (Some(etherparse::NetHeaders::Ipv4(ip, _)), Some(tcp)) =
                (sliced.net, sliced.transport.and_then(etherparse::TransportHeader::tcp))
            else {
                panic!("{:?}", segment.bytes())
            };
            assert_eq!(tcp.calc_checksum_ipv4(&ip, sliced.payload.slice()).unwrap(), tcp.checksum);
        }
    }
}
