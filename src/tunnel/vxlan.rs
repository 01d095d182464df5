//! VXLAN (RFC 7348): Ethernet over UDP, with a number of 24 bits.
//!
//! ```text
//!  0       8                       24      31
//! +--------+------------------------+--------+
//! |RRRRIRRR|        Reserved (0)             |
//! +--------+------------------------+--------+
//! |   VXLAN Network Identifier      |Reserved|
//! +--------+------------------------+--------+
//! ```
//!
//! There is no field that says what is carried. An echo therefore travels as an Ethernet frame of its own, `ECHO_FRAME`,
//! with a destination that no bridge forwards: no guest's frame can pass for one, and a peer of another make drops it.

use super::{Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};

/// VXLAN, as the registry has it.
pub static PROTOCOL: Protocol = Protocol { name: "vxlan", port: 4789, parse, samples };

const HEADER_LEN: usize = 8;
/// "The VNI is valid": required.
const FLAG_VNI: u8 = 0x08;

/// The Ethernet header of an echo: to the nearest bridge (802.1Q table 8-1), from a locally administered address that
/// stands for nobody, and with [`ECHO`](super::ECHO) as its EtherType.
const ECHO_FRAME: [u8; 14] = *b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x00\x00\x88\xb5\x88\xb5";

/// A VXLAN tunnel.
#[derive(Clone, Debug)]
pub struct Vxlan {
    /// Its VXLAN network identifier, below 2^24.
    pub vni: u32,
    /// Packets with reserved bits set are refused. RFC 7348 ignores them; what sets them is an extension, whose meaning
    /// is then lost.
    pub strict: bool,
}

impl Tunnel for Vxlan {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        TunnelId::new(self.vni)
    }

    fn header_len(&self) -> usize {
        HEADER_LEN
    }

    fn echo_header_len(&self) -> usize {
        HEADER_LEN + ECHO_FRAME.len()
    }

    fn carries(&self) -> Layer {
        Layer::Ethernet
    }

    #[inline]
    fn encap(&self, frame: &mut Frame, payload: Payload) {
        if payload == Payload::Echo {
            frame.push_header(ECHO_FRAME.len()).copy_from_slice(&ECHO_FRAME);
        }
        let [_, v1, v2, v3] = self.vni.to_be_bytes();
        frame.push_header(HEADER_LEN).copy_from_slice(&[FLAG_VNI, 0, 0, 0, v1, v2, v3, 0]);
    }

    fn accept(&self, header: &Header<'_>) -> Result<(), DropReason> {
        match header.payload {
            _ if self.strict && header.reserved => Err(DropReason::TunnelReserved),
            Payload::Frame(Layer::Ip) => Err(DropReason::TunnelPayload),
            Payload::Frame(Layer::Ethernet) | Payload::Echo => Ok(()),
        }
    }
}

#[inline]
fn parse(datagram: &[u8]) -> Result<Header<'_>, DropReason> {
    let (header, inner) = datagram.split_first_chunk().ok_or(DropReason::TunnelHeader)?;
    let &[flags, r1, r2, r3, v1, v2, v3, r4]: &[u8; HEADER_LEN] = header;
    if flags & FLAG_VNI == 0 {
        return Err(DropReason::TunnelHeader);
    }
    let (len, payload) = if inner.starts_with(&ECHO_FRAME) {
        (HEADER_LEN + ECHO_FRAME.len(), Payload::Echo)
    } else {
        (HEADER_LEN, Payload::Frame(Layer::Ethernet))
    };
    Ok(Header {
        id: TunnelId::new(u32::from_be_bytes([0, v1, v2, v3])),
        len,
        payload,
        reserved: (flags & !FLAG_VNI) | r1 | r2 | r3 | r4 != 0,
        options: &[],
    })
}

fn samples() -> Vec<Box<dyn Tunnel>> {
    let sample = |vni, strict| Box::new(Vxlan { vni, strict }) as Box<dyn Tunnel>;
    vec![sample(0, false), sample(100, true), sample(0xff_ffff, false)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENIENT: Vxlan = Vxlan { vni: 0x12_3456, strict: false };
    const STRICT: Vxlan = Vxlan { strict: true, ..LENIENT };

    #[test]
    fn the_header_is_that_of_the_rfc() {
        let mut frame = Frame::from_bytes(&[7; 60]);
        LENIENT.encap(&mut frame, Payload::Frame(Layer::Ethernet));
        assert_eq!(frame.bytes()[..9], [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0, 7]);
        let header = Header {
            id: TunnelId::new(0x12_3456),
            len: 8,
            payload: Payload::Frame(Layer::Ethernet),
            reserved: false,
            options: &[],
        };
        assert_eq!(parse(frame.bytes()), Ok(header));
        assert_eq!(STRICT.accept(&header), Ok(()));
        let routed = Header { payload: Payload::Frame(Layer::Ip), ..header };
        assert_eq!(LENIENT.accept(&routed), Err(DropReason::TunnelPayload));
    }

    #[test]
    fn without_its_flag_there_is_no_vni() {
        assert_eq!(parse(&[0xf7, 0, 0, 0, 0, 0, 1, 0, 9]), Err(DropReason::TunnelHeader));
        assert_eq!(parse(&[0x08, 0, 0, 0, 0, 0, 1]), Err(DropReason::TunnelHeader));
    }

    #[test]
    fn only_the_strict_mind_reserved_bits() {
        for (at, bit) in [(0, 0x80), (0, 0x10), (0, 0x04), (0, 0x01), (1, 1), (2, 0x80), (3, 1), (7, 0x80)] {
            let mut bytes = [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0];
            bytes[at] |= bit;
            let header = parse(&bytes).unwrap();
            assert!(header.reserved, "byte {at}, bit {bit:#x}");
            assert_eq!(header.id, LENIENT.id());
            assert_eq!(LENIENT.accept(&header), Ok(()));
            assert_eq!(STRICT.accept(&header), Err(DropReason::TunnelReserved));
        }
    }

    #[test]
    fn an_echo_is_a_frame_that_no_bridge_forwards() {
        let mut frame = Frame::from_bytes(b"ping");
        LENIENT.encap(&mut frame, Payload::Echo);
        let ethernet = [0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0x88, 0xb5, 0x88, 0xb5];
        assert_eq!(frame.bytes()[8..], [&ethernet[..], b"ping"].concat());
        let header = parse(frame.bytes()).unwrap();
        assert_eq!((header.len, header.payload), (22, Payload::Echo));
        for at in 8..22 {
            let mut bytes = frame.bytes().to_vec();
            bytes[at] ^= 1;
            let header = parse(&bytes).unwrap();
            assert_eq!((header.len, header.payload), (8, Payload::Frame(Layer::Ethernet)), "byte {at}");
        }
    }
}
