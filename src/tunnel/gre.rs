//! GRE (RFC 2784), with key and sequence number (RFC 2890), in UDP (RFC 8086) or in IP itself.
//!
//! ```text
//!  0                 13  16               31
//! +------------------+---+-----------------+
//! |C.KS..| Reserved0 |Ver|  Protocol Type  |
//! +------------------+---+-----------------+
//! |      Checksum        |    Reserved1    |  if C
//! +----------------------+-----------------+
//! |                  Key                   |  if K
//! +----------------------------------------+
//! |            Sequence Number             |  if S
//! +----------------------------------------+
//! ```
//!
//! A received sequence number is passed over. RFC 2890 lets a receiver drop what comes late, which presumes one path
//! with one sender at its end. Here the flows of a tunnel have source ports of their own, so that the network may send
//! each another way, and are received by several workers: their packets overtake each other, and those of one flow stay
//! in order without any number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};
use crate::wire::{checksum, set_be16};

/// GRE, as the registry has it; the port is that of GRE-in-UDP.
pub static PROTOCOL: Protocol = Protocol { name: "gre", port: 4754, parse, samples };

const HEADER_LEN: usize = 4;
/// The checksum with what is reserved beside it, the key, the sequence number: each takes as much.
const FIELD_LEN: usize = 4;

const FLAG_CHECKSUM: u8 = 0x80;
const FLAG_KEY: u8 = 0x20;
const FLAG_SEQUENCE: u8 = 0x10;
/// Bits 1, 4 and 5, of routing as RFC 1701 had it: a receiver that does not route so must discard (RFC 2784 section 2.3).
const FLAGS_DISCARD: u8 = 0x4c;
/// Bits 6 to 12, which a receiver ignores: those in the first byte, and those in the second.
const FLAGS_RESERVED: (u8, u8) = (0x03, 0xf8);
/// The version, in the second byte: 0. (1 is PPTP.)
const VERSION: u8 = 0x07;

/// A GRE tunnel.
#[derive(Clone, Debug)]
pub struct Gre {
    /// Its key, which then all packets carry and must have.
    pub key: Option<u32>,
    /// Packets carry a checksum of header and payload. Received ones are verified wherever they have one.
    pub checksum: bool,
    /// Packets carry a sequence number, and this is the next one; the workers share it.
    pub sequence: Option<Arc<AtomicU32>>,
    /// What it carries.
    pub layer: Layer,
}

impl Tunnel for Gre {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        self.key.map_or(TunnelId::NONE, TunnelId::new)
    }

    fn header_len(&self) -> usize {
        let fields = [self.checksum, self.key.is_some(), self.sequence.is_some()];
        HEADER_LEN + FIELD_LEN * fields.iter().filter(|&&present| present).count()
    }

    fn carries(&self) -> Layer {
        self.layer
    }

    #[inline]
    fn encap(&self, frame: &mut Frame, payload: Payload) {
        let (mut header, mut len) = ([0; HEADER_LEN + 3 * FIELD_LEN], HEADER_LEN);
        set_be16(&mut header, 2, payload.ether_type(frame.bytes()));
        let mut put = |flag, value: u32| {
            header[0] |= flag;
            header[len..len + FIELD_LEN].copy_from_slice(&value.to_be_bytes());
            len += FIELD_LEN;
        };
        if self.checksum {
            put(FLAG_CHECKSUM, 0);
        }
        if let Some(key) = self.key {
            put(FLAG_KEY, key);
        }
        if let Some(next) = &self.sequence {
            put(FLAG_SEQUENCE, next.fetch_add(1, Ordering::Relaxed));
        }
        frame.push_header(len).copy_from_slice(&header[..len]);
        if self.checksum {
            let sum = checksum::sum(frame.bytes(), 0);
            set_be16(frame.bytes_mut(), HEADER_LEN, checksum::finish(sum));
        }
    }
}

#[inline]
fn parse(datagram: &[u8]) -> Result<Header<'_>, DropReason> {
    let &[first, second, t1, t2] = datagram.first_chunk::<HEADER_LEN>().ok_or(DropReason::TunnelHeader)?;
    if first & FLAGS_DISCARD != 0 || second & VERSION != 0 {
        return Err(DropReason::TunnelHeader);
    }
    let mut len = HEADER_LEN;
    let mut field = |flag| {
        if first & flag == 0 {
            return Ok(None);
        }
        let value = datagram[len..].first_chunk::<FIELD_LEN>().ok_or(DropReason::TunnelHeader)?;
        len += FIELD_LEN;
        Ok(Some(u32::from_be_bytes(*value)))
    };
    let (checksum, key, _sequence) = (field(FLAG_CHECKSUM)?, field(FLAG_KEY)?, field(FLAG_SEQUENCE)?);
    if checksum.is_some() && checksum::fold(checksum::sum(datagram, 0)) != 0xffff {
        return Err(DropReason::TunnelChecksum);
    }
    let reserved0 = (first & FLAGS_RESERVED.0) | (second & FLAGS_RESERVED.1);
    let reserved1 = checksum.unwrap_or(0) as u16;
    let ether_type = u16::from_be_bytes([t1, t2]);
    Ok(Header {
        id: key.map_or(TunnelId::NONE, TunnelId::new),
        len,
        payload: Payload::of_ether_type(ether_type).ok_or(DropReason::TunnelPayload)?,
        reserved: reserved0 != 0 || reserved1 != 0,
        options: &[],
    })
}

fn samples() -> Vec<Box<dyn Tunnel>> {
    let sample = |key, checksum, numbered: bool, layer| {
        let sequence = numbered.then(|| Arc::new(AtomicU32::new(0xffff_fffe)));
        Box::new(Gre { key, checksum, sequence, layer }) as Box<dyn Tunnel>
    };
    vec![
        sample(None, false, false, Layer::Ethernet),
        sample(None, false, true, Layer::Ethernet),
        sample(None, true, false, Layer::Ethernet),
        sample(None, true, true, Layer::Ethernet),
        sample(Some(0), false, false, Layer::Ethernet),
        sample(Some(u32::MAX), false, true, Layer::Ethernet),
        sample(Some(0x0102_0304), true, false, Layer::Ethernet),
        sample(Some(100), true, true, Layer::Ethernet),
        sample(Some(200), false, false, Layer::Ip),
        sample(Some(201), true, true, Layer::Ip),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Gre = Gre { key: None, checksum: false, sequence: None, layer: Layer::Ethernet };

    fn sent(tunnel: &Gre, inner: &[u8], payload: Payload) -> Vec<u8> {
        let mut frame = Frame::from_bytes(inner);
        tunnel.encap(&mut frame, payload);
        frame.bytes().to_vec()
    }

    #[test]
    fn the_header_is_that_of_the_rfc() {
        let bytes = sent(&PLAIN, &[7; 60], Payload::Frame(Layer::Ethernet));
        assert_eq!(bytes[..5], [0, 0, 0x65, 0x58, 7]);
        let header = Header {
            id: TunnelId::NONE,
            len: 4,
            payload: Payload::Frame(Layer::Ethernet),
            reserved: false,
            options: &[],
        };
        assert_eq!(parse(&bytes), Ok(header));
        assert_eq!(PLAIN.accept(&header), Ok(()));
        let routed = Gre { layer: Layer::Ip, ..PLAIN };
        assert_eq!(routed.accept(&header), Err(DropReason::TunnelPayload));
    }

    #[test]
    fn all_fields_stand_in_their_order_and_the_checksum_covers_everything() {
        let next = Arc::new(AtomicU32::new(u32::MAX));
        let tunnel =
            Gre { key: Some(0x0102_0304), checksum: true, sequence: Some(next.clone()), layer: Layer::Ip };
        let inner = [0x60, 0, 0xff];
        let bytes = sent(&tunnel, &inner, Payload::Frame(Layer::Ip));
        // b000 + 86dd + 0102 + 0304 + ffff + ffff + 6000 + ff00 = 499e1, so 99e5, and 661a is its complement.
        let expected =
            [0xb0, 0, 0x86, 0xdd, 0x66, 0x1a, 0, 0, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0x60, 0, 0xff];
        assert_eq!(bytes, expected);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.id, header.len, header.reserved), (TunnelId::new(0x0102_0304), 16, false));
        assert_eq!(header.payload, Payload::Frame(Layer::Ip));
        assert_eq!(next.load(Ordering::Relaxed), 0, "the number goes round");
        let second = sent(&tunnel, &inner, Payload::Echo);
        assert_eq!((&second[2..4], &second[12..16]), (&[0x88, 0xb5][..], &[0; 4][..]));
        assert_eq!(parse(&second).map(|header| header.payload), Ok(Payload::Echo));
    }

    #[test]
    fn a_wrong_checksum_is_told_before_anything_else() {
        let tunnel = Gre { key: Some(7), checksum: true, ..PLAIN };
        let good = sent(&tunnel, &[7; 15], Payload::Frame(Layer::Ethernet));
        assert!(parse(&good).is_ok());
        for at in 2..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(parse(&bad), Err(DropReason::TunnelChecksum), "byte {at}");
        }
    }

    #[test]
    fn routing_and_other_versions_are_discarded() {
        for (first, second) in [(0x40, 0), (0x08, 0), (0x04, 0), (0, 1), (0x20, 4)] {
            let bytes = [first, second, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(parse(&bytes), Err(DropReason::TunnelHeader), "{first:#x} {second:#x}");
        }
    }

    #[test]
    fn reserved_bits_are_told_and_ignored() {
        for (first, second) in [(0x02, 0), (0x01, 0), (0, 0x80), (0, 0x08)] {
            let bytes = [first, second, 0x08, 0x00];
            let header = parse(&bytes).unwrap();
            assert!(header.reserved);
            assert_eq!(Gre { layer: Layer::Ip, ..PLAIN }.accept(&header), Ok(()));
        }
        // The half word beside the checksum: 8000 + 0800 + 77fe + 0001 = ffff.
        let header = parse(&[0x80, 0, 0x08, 0x00, 0x77, 0xfe, 0, 1]);
        assert!(header.is_ok_and(|header| header.reserved));
    }

    #[test]
    fn other_payloads_are_not_taken() {
        assert_eq!(parse(&[0, 0, 0x88, 0x0b]), Err(DropReason::TunnelPayload), "PPP");
        assert_eq!(parse(&[0, 0, 0, 0]), Err(DropReason::TunnelPayload), "a keepalive");
    }
}
