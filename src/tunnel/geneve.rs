//! GENEVE (RFC 8926): Ethernet or IP over UDP, with a number of 24 bits and options.
//!
//! ```text
//!  0  2        8        16               31
//! +--+------+--+------+-------------------+
//! |Ve|OptLen|OC| Rsvd |   Protocol Type   |
//! +--+------+--+------+----------+--------+
//! |  Virtual Network Identifier  |Reserved|
//! +------------------------------+--------+   each option:
//! |         Option Class         |  Type  |RRR| Length |
//! +------------------------------+--------+------------+
//! |     Data, Length times four bytes ...
//! ```
//!
//! The C bit sums up what the options say: that one of them is critical. We go by the options themselves, which a
//! receiver that drops by them has to walk anyhow; a C bit that contradicts them changes nothing.

use super::{HEADER_MAX, Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};

/// GENEVE, as the registry has it.
pub static PROTOCOL: Protocol = Protocol { name: "geneve", port: 6081, parse, samples };

/// The bit of an option's type that says who does not know the option must drop the packet (RFC 8926 section 3.5).
pub const CRITICAL: u8 = 0x80;
/// Most bytes of options that a tunnel may send. RFC 8926 has room for 252; the headroom of a frame has not.
pub const OPTIONS_MAX: usize = HEADER_MAX - HEADER_LEN;
/// Most bytes of data in one option.
pub const DATA_MAX: usize = 31 * 4;

const HEADER_LEN: usize = 8;
const OPTION_HEADER_LEN: usize = 4;
/// O: a control message, not for forwarding.
const FLAG_CONTROL: u8 = 0x80;
/// C: an option is critical.
const FLAG_CRITICAL: u8 = 0x40;
/// The bits of the second byte that mean nothing yet.
const FLAGS_RESERVED: u8 = 0x3f;

/// An option to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Whose type it is (IANA: "Geneve Option Class").
    pub class: u16,
    /// Its type, with [`CRITICAL`].
    pub kind: u8,
    /// A multiple of four bytes, at most [`DATA_MAX`].
    pub data: Vec<u8>,
}

/// The options as they stand in a header; an error says in one line what is wrong and what would not be.
pub fn encode(options: &[Opt]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for Opt { class, kind, data } in options {
        let len = data.len();
        if len % 4 != 0 || len > DATA_MAX {
            return Err(format!(
                "option {class:#06x}/{kind:#04x} has {len} bytes (expected a multiple of 4, at most {DATA_MAX})"
            ));
        }
        bytes.extend(class.to_be_bytes());
        bytes.extend([*kind, (len / 4) as u8]);
        bytes.extend(data);
    }
    match bytes.len() {
        0..=OPTIONS_MAX => Ok(bytes),
        len => Err(format!(
            "the options take {len} bytes (expected at most {OPTIONS_MAX}, 4 of each being its header)"
        )),
    }
}

/// The class, type and data of each option in `bytes`, up to one that does not lie in them whole.
#[inline]
pub fn options(bytes: &[u8]) -> impl Iterator<Item = (u16, u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&[c1, c2, kind, len], behind) = rest.split_first_chunk::<OPTION_HEADER_LEN>()?;
        let (data, behind) = behind.split_at_checked(usize::from(len & 0x1f) * 4)?;
        rest = behind;
        Some((u16::from_be_bytes([c1, c2]), kind, data))
    })
}

/// A GENEVE tunnel.
#[derive(Clone, Debug)]
pub struct Geneve {
    /// Its virtual network identifier, below 2^24.
    pub vni: u32,
    /// The options that all its packets carry, as [`encode`] gives them.
    pub options: Vec<u8>,
    /// What it carries.
    pub layer: Layer,
}

impl Tunnel for Geneve {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        TunnelId::new(self.vni)
    }

    fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    fn carries(&self) -> Layer {
        self.layer
    }

    #[inline]
    fn encap(&self, frame: &mut Frame, payload: Payload) {
        let [t1, t2] = payload.ether_type(frame.bytes()).to_be_bytes();
        let critical = options(&self.options).any(|(_, kind, _)| kind & CRITICAL != 0);
        let flags = if critical { FLAG_CRITICAL } else { 0 };
        let [_, v1, v2, v3] = self.vni.to_be_bytes();
        frame.push_header(self.options.len()).copy_from_slice(&self.options);
        let words = (self.options.len() / 4) as u8;
        frame.push_header(HEADER_LEN).copy_from_slice(&[words, flags, t1, t2, v1, v2, v3, 0]);
    }
}

#[inline]
fn parse(datagram: &[u8]) -> Result<Header<'_>, DropReason> {
    let (header, behind) = datagram.split_first_chunk().ok_or(DropReason::TunnelHeader)?;
    let &[first, flags, t1, t2, v1, v2, v3, last]: &[u8; HEADER_LEN] = header;
    let (version, options_len) = (first >> 6, usize::from(first & 0x3f) * 4);
    let carried = behind.get(..options_len).filter(|_| version == 0).ok_or(DropReason::TunnelHeader)?;
    let (mut walked, mut critical) = (0, false);
    for (_, kind, data) in options(carried) {
        walked += OPTION_HEADER_LEN + data.len();
        critical |= kind & CRITICAL != 0;
    }
    if walked != options_len {
        return Err(DropReason::TunnelHeader);
    }
    if flags & FLAG_CONTROL != 0 {
        return Err(DropReason::TunnelControl);
    }
    if critical {
        return Err(DropReason::TunnelOption);
    }
    let ether_type = u16::from_be_bytes([t1, t2]);
    Ok(Header {
        id: TunnelId::new(u32::from_be_bytes([0, v1, v2, v3])),
        len: HEADER_LEN + options_len,
        payload: Payload::of_ether_type(ether_type).ok_or(DropReason::TunnelPayload)?,
        reserved: (flags & FLAGS_RESERVED) | last != 0,
        options: carried,
    })
}

fn samples() -> Vec<Box<dyn Tunnel>> {
    let sample = |vni, options: &[u8], layer| {
        Box::new(Geneve { vni, options: options.to_vec(), layer }) as Box<dyn Tunnel>
    };
    // Two options, one of them without data; and as much as there is room for.
    let some = [0x01, 0x02, 0x03, 1, 0xca, 0xfe, 0xba, 0xbe, 0xff, 0xff, 0x7f, 0];
    let most =
        [[0xff; 2].as_slice(), &[0x01, 31], &[0x5a; 124], &[0xff, 0xfe, 0x02, 5], &[0xc3; 20]].concat();
    vec![
        sample(0, &[], Layer::Ethernet),
        sample(0xff_ffff, &some, Layer::Ethernet),
        sample(1, &most, Layer::Ethernet),
        sample(2, &[], Layer::Ip),
        sample(3, &some, Layer::Ip),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opt(class: u16, kind: u8, data: &[u8]) -> Opt {
        Opt { class, kind, data: data.to_vec() }
    }

    fn geneve(options: &[Opt], layer: Layer) -> Geneve {
        Geneve { vni: 0x12_3456, options: encode(options).unwrap(), layer }
    }

    fn sent(tunnel: &Geneve, inner: &[u8], payload: Payload) -> Vec<u8> {
        let mut frame = Frame::from_bytes(inner);
        tunnel.encap(&mut frame, payload);
        frame.bytes().to_vec()
    }

    #[test]
    fn the_header_is_that_of_the_rfc() {
        let tunnel = geneve(&[], Layer::Ethernet);
        let bytes = sent(&tunnel, &[7; 60], Payload::Frame(Layer::Ethernet));
        assert_eq!(bytes[..9], [0, 0, 0x65, 0x58, 0x12, 0x34, 0x56, 0, 7]);
        let header = Header {
            id: TunnelId::new(0x12_3456),
            len: 8,
            payload: Payload::Frame(Layer::Ethernet),
            reserved: false,
            options: &[],
        };
        assert_eq!(parse(&bytes), Ok(header));
        assert_eq!(tunnel.accept(&header), Ok(()));
        assert_eq!(geneve(&[], Layer::Ip).accept(&header), Err(DropReason::TunnelPayload));
    }

    #[test]
    fn ip_goes_by_its_version_and_echoes_by_their_own_type() {
        let tunnel = geneve(&[], Layer::Ip);
        for (inner, payload, ether_type) in [
            ([0x45; 20], Payload::Frame(Layer::Ip), [0x08, 0x00]),
            ([0x60; 20], Payload::Frame(Layer::Ip), [0x86, 0xdd]),
            ([0x60; 20], Payload::Echo, [0x88, 0xb5]),
        ] {
            let bytes = sent(&tunnel, &inner, payload);
            assert_eq!(bytes[2..4], ether_type);
            let header = parse(&bytes).unwrap();
            assert_eq!(header.payload, payload);
            assert_eq!(tunnel.accept(&header), Ok(()));
        }
        assert_eq!(parse(&[0, 0, 0x08, 0x06, 0, 0, 1, 0]), Err(DropReason::TunnelPayload));
    }

    #[test]
    fn options_are_written_and_read() {
        let tunnel = geneve(&[opt(0x0102, 3, &[4, 5, 6, 7]), opt(0xffff, 8, &[])], Layer::Ethernet);
        let bytes = sent(&tunnel, &[9; 14], Payload::Frame(Layer::Ethernet));
        let expected = [3, 0, 0x65, 0x58, 0x12, 0x34, 0x56, 0, 1, 2, 3, 1, 4, 5, 6, 7, 0xff, 0xff, 8, 0, 9];
        assert_eq!(bytes[..21], expected);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.len, tunnel.header_len()), (20, 20));
        let read: Vec<_> = options(header.options).collect();
        assert_eq!(read, [(0x0102, 3, &[4, 5, 6, 7][..]), (0xffff, 8, &[])]);
    }

    #[test]
    fn a_critical_option_sets_the_c_bit_and_nobody_here_knows_one() {
        let tunnel = geneve(&[opt(1, 2, &[]), opt(1, CRITICAL | 2, &[])], Layer::Ethernet);
        let mut bytes = sent(&tunnel, &[9; 14], Payload::Frame(Layer::Ethernet));
        assert_eq!(bytes[..2], [2, 0x40]);
        assert_eq!(parse(&bytes), Err(DropReason::TunnelOption));
        bytes[1] = 0;
        assert_eq!(
            parse(&bytes),
            Err(DropReason::TunnelOption),
            "the option says it, whatever the C bit says"
        );
        bytes[14] &= !CRITICAL;
        bytes[1] = 0x40;
        assert_eq!(parse(&bytes).map(|header| header.reserved), Ok(false), "none of the options is critical");
    }

    #[test]
    fn what_is_not_of_this_version_or_whole_is_malformed() {
        let good = [2, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 1, 2, 1, 3, 3, 3, 3];
        assert!(parse(&good).is_ok());
        for (at, value, what) in [
            (0, 0x42, "version 1"),
            (0, 0xc2, "version 3"),
            (0, 3, "options longer than the datagram"),
            (0, 1, "an option longer than the options"),
            (11, 2, "an option longer than the options"),
            (11, 0, "a second option whose length, 3, leads out"),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(parse(&bad), Err(DropReason::TunnelHeader), "{what}");
        }
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end]), Err(DropReason::TunnelHeader), "{end} bytes");
        }
    }

    #[test]
    fn control_messages_end_here_and_reserved_bits_are_told() {
        assert_eq!(parse(&[0, 0x80, 0x65, 0x58, 0, 0, 1, 0]), Err(DropReason::TunnelControl));
        for (flags, last, reserved) in [(0x01, 0, true), (0x20, 0, true), (0, 0x80, true), (0x40, 0, false)] {
            let header = parse(&[0, flags, 0x65, 0x58, 0, 0, 1, last]).map(|header| header.reserved);
            assert_eq!(header, Ok(reserved));
        }
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        assert_eq!(
            encode(&[opt(0x0102, 0x80, &[0; 5])]).unwrap_err(),
            "option 0x0102/0x80 has 5 bytes (expected a multiple of 4, at most 124)"
        );
        assert!(encode(&[opt(1, 2, &[0; 128])]).is_err());
        let most = [opt(1, 2, &[0; DATA_MAX]), opt(1, 2, &[0; OPTIONS_MAX - DATA_MAX - 8])];
        assert_eq!(encode(&most).map(|bytes| bytes.len()), Ok(OPTIONS_MAX));
        assert_eq!(
            encode(&[&most[..], &[opt(1, 2, &[])]].concat()).unwrap_err(),
            "the options take 156 bytes (expected at most 152, 4 of each being its header)"
        );
    }
}
