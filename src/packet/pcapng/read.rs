//! Captures read, whoever wrote them: pcapng, and pcap, of both byte orders. Bytes are a stranger's: what contradicts itself
//! is refused, nothing is allocated by what they say, and blocks that nobody here knows are passed over.

use super::{
    BYTE_ORDER, Direction, ETHERNET, INTERFACE, INTERFACE_NAME, INTERFACE_TIME_RESOLUTION, OPTION_COMMENT,
    PACKET, PACKET_FLAGS, RAW_IP, SECTION, STATISTICS, STATISTICS_MISSED,
};
use crate::packet::Layer;

/// The longest block, in bytes: far longer than one with the longest frame.
pub const MAX_BLOCK: usize = 1 << 24;
/// Most interfaces in a file.
const MAX_INTERFACES: usize = 4096;
/// A packet of the first interface, without a time.
const SIMPLE_PACKET: u32 = 3;
/// How a pcap file begins: with times in microseconds, or in nanoseconds.
const PCAP_MICROS: u32 = 0xa1b2_c3d4;
const PCAP_NANOS: u32 = 0xa1b2_3c4d;
const PCAP_HEADER: usize = 24;
const PCAP_RECORD: usize = 16;
/// Other link types that are IP packets: BSD's raw IP, and those of one version.
const OTHER_IP: [u16; 4] = [12, 14, 228, 229];

/// A packet that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its interface, see [`Reader::source`].
    pub interface: u32,
    /// When it was seen, in nanoseconds since 1970.
    pub nanos: u64,
    /// Its bytes, as many as were kept.
    pub bytes: &'a [u8],
    /// How long it was.
    pub len: usize,
    /// Which way it went, when that is said.
    pub direction: Option<Direction>,
    /// What is said about it.
    pub comment: Option<&'a str>,
}

/// An interface that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, when it has one.
    pub name: String,
    /// The number of its link type.
    pub link: u16,
    /// What its packets begin with; `None`: something else.
    pub layer: Option<Layer>,
    /// How many of its packets were missed, as far as that was told.
    pub missed: u64,
    /// What was last said about all of its packets.
    pub comment: Option<String>,
    /// How many of its times make a second.
    per_second: u64,
}

impl Source {
    fn new(link: u16) -> Source {
        let layer = match link {
            ETHERNET => Some(Layer::Ethernet),
            RAW_IP => Some(Layer::Ip),
            other => OTHER_IP.contains(&other).then_some(Layer::Ip),
        };
        Source { name: String::new(), link, layer, missed: 0, comment: None, per_second: 1_000_000 }
    }

    fn nanos(&self, time: u64) -> u64 {
        let (seconds, rest) = (time / self.per_second, time % self.per_second);
        let rest = u128::from(rest) * 1_000_000_000 / u128::from(self.per_second);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest as u64)
    }
}

/// Reads pcapng block by block.
#[derive(Debug, Default)]
pub struct Reader {
    /// Its section is big-endian; `None` before the first.
    big: Option<bool>,
    sources: Vec<Source>,
}

impl Reader {
    /// How long the block is that begins with the eight bytes of `start`, themselves included.
    ///
    /// # Errors
    /// When it is longer than [`MAX_BLOCK`], or of no length that a block has. Of the block of a section that is not
    /// known yet, nothing can be said but with its byte order: then twelve bytes are needed, and 12 is the answer.
    pub fn block_len(&self, start: &[u8]) -> Result<usize, String> {
        let kind = start.first_chunk().map(|kind| u32::from_le_bytes(*kind)); // it reads the same both ways
        let big = match (kind, start.get(8..12)) {
            (Some(SECTION), None) => return Ok(12),
            (Some(SECTION), Some(order)) => is_big(order)?,
            _ => self.big.ok_or("it does not begin as a pcapng file does")?,
        };
        let len = at(start, 4, big).unwrap_or(0) as usize;
        match len {
            12..=MAX_BLOCK if len.is_multiple_of(4) => Ok(len),
            _ => Err(format!("a block of {len} bytes is none (expected 12 to {MAX_BLOCK}, by fours)")),
        }
    }

    /// Takes the next whole block, and gives the packet that is in it, if one is.
    ///
    /// # Errors
    /// One line why it cannot be right.
    pub fn block<'a>(&mut self, block: &'a [u8]) -> Result<Option<Packet<'a>>, String> {
        let len = self.block_len(block)?;
        if block.len() != len {
            return Err(format!("a block of {len} bytes is cut off after {}", block.len()));
        }
        let kind = block.first_chunk().map(|kind| u32::from_le_bytes(*kind));
        if kind == Some(SECTION) {
            self.big = Some(is_big(&block[8..])?);
            self.sources.clear();
            return Ok(None);
        }
        let big = self.big.ok_or("a block before the first section")?;
        let body = Fields { bytes: &block[8..len - 4], big };
        match at(block, 0, big) {
            Some(INTERFACE) => self.interface(body).map(|()| None),
            Some(PACKET) => self.packet(body).map(Some),
            Some(SIMPLE_PACKET) => self.simple_packet(body).map(Some),
            Some(STATISTICS) => {
                self.statistics(body);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// An interface of the section, by its number.
    pub fn source(&self, interface: u32) -> Option<&Source> {
        self.sources.get(interface as usize)
    }

    /// The interfaces of the section.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn interface(&mut self, body: Fields<'_>) -> Result<(), String> {
        let link = body.half(0).ok_or("the block of an interface is cut off")?;
        if self.sources.len() >= MAX_INTERFACES {
            return Err(format!("too many interfaces (expected at most {MAX_INTERFACES})"));
        }
        let mut source = Source::new(link);
        for (code, value) in body.options(8) {
            match (code, value) {
                (INTERFACE_NAME, name) => source.name = String::from_utf8_lossy(name).into_owned(),
                (INTERFACE_TIME_RESOLUTION, [power, ..]) => {
                    let (base, exponent) =
                        if power & 0x80 == 0 { (10u64, *power) } else { (2, power & 0x7f) };
                    let per_second = base.checked_pow(exponent.into());
                    source.per_second = per_second.ok_or("times in smaller parts than can be counted")?;
                }
                _ => {}
            }
        }
        self.sources.push(source);
        Ok(())
    }

    fn packet<'a>(&self, body: Fields<'a>) -> Result<Packet<'a>, String> {
        let fields = [0, 4, 8, 12, 16].map(|at| body.word(at));
        let [Some(interface), Some(high), Some(low), Some(kept), Some(len)] = fields else {
            return Err("the block of a packet is cut off".into());
        };
        let source = self.source(interface).ok_or("a packet of an interface that there is not")?;
        let bytes = body.bytes.get(20..).and_then(|rest| rest.get(..kept as usize));
        let bytes = bytes.ok_or("a packet that is longer than its block")?;
        let mut packet = Packet {
            interface,
            nanos: source.nanos(u64::from(high) << 32 | u64::from(low)),
            bytes,
            len: len as usize,
            direction: None,
            comment: None,
        };
        for (code, value) in body.options(20 + bytes.len().next_multiple_of(4)) {
            match code {
                OPTION_COMMENT => packet.comment = core::str::from_utf8(value).ok().or(packet.comment),
                PACKET_FLAGS => {
                    packet.direction = match at(value, 0, body.big).map(|flags| flags & 3) {
                        Some(1) => Some(Direction::In),
                        Some(2) => Some(Direction::Out),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        Ok(packet)
    }

    fn simple_packet<'a>(&self, body: Fields<'a>) -> Result<Packet<'a>, String> {
        let len = body.word(0).ok_or("the block of a packet is cut off")? as usize;
        self.source(0).ok_or("a packet of an interface that there is not")?;
        let rest = &body.bytes[4..];
        let bytes = &rest[..len.min(rest.len())];
        Ok(Packet { interface: 0, nanos: 0, bytes, len, direction: None, comment: None })
    }

    fn statistics(&mut self, body: Fields<'_>) {
        let source = body.word(0).and_then(|interface| self.sources.get_mut(interface as usize));
        let Some(source) = source else { return };
        for (code, value) in body.options(12) {
            match (code, value.first_chunk()) {
                (STATISTICS_MISSED, Some(number)) => {
                    source.missed =
                        if body.big { u64::from_be_bytes(*number) } else { u64::from_le_bytes(*number) };
                }
                (OPTION_COMMENT, _) => source.comment = Some(String::from_utf8_lossy(value).into_owned()),
                _ => {}
            }
        }
    }
}

/// The packets of a whole file, pcapng or pcap, with what each begins with; after an error nothing follows.
pub fn file(bytes: &[u8]) -> impl Iterator<Item = Result<(Packet<'_>, Option<Layer>), String>> {
    let old = Old::header(bytes);
    let (mut reader, mut rest, mut failed) = (Reader::default(), bytes, false);
    if old.is_some() {
        rest = &rest[PCAP_HEADER..];
    }
    std::iter::from_fn(move || {
        while !rest.is_empty() && !failed {
            let next = match &old {
                Some(old) => old.packet(&mut rest).map(|packet| Some((packet, old.source.layer))),
                None => next(&mut reader, &mut rest),
            };
            match next {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(why) => {
                    failed = true;
                    return Some(Err(why));
                }
            }
        }
        None
    })
}

fn next<'a>(reader: &mut Reader, rest: &mut &'a [u8]) -> Result<Option<(Packet<'a>, Option<Layer>)>, String> {
    let len = reader.block_len(rest)?;
    let block =
        rest.get(..len).ok_or_else(|| format!("a block of {len} bytes is cut off after {}", rest.len()))?;
    *rest = &rest[len..];
    let packet = reader.block(block)?;
    Ok(packet.map(|packet| {
        let layer = reader.source(packet.interface).and_then(|source| source.layer);
        (packet, layer)
    }))
}

/// A pcap file.
struct Old {
    big: bool,
    source: Source,
}

impl Old {
    fn header(bytes: &[u8]) -> Option<Old> {
        let header = bytes.get(..PCAP_HEADER)?;
        let (big, per_second) = [false, true].into_iter().find_map(|big| match at(header, 0, big)? {
            PCAP_MICROS => Some((big, 1_000_000)),
            PCAP_NANOS => Some((big, 1_000_000_000)),
            _ => None,
        })?;
        // The upper bits say how long the frames' own checksums are.
        let link = at(header, 20, big)? as u16;
        Some(Old { big, source: Source { per_second, ..Source::new(link) } })
    }

    fn packet<'a>(&self, rest: &mut &'a [u8]) -> Result<Packet<'a>, String> {
        let fields = [0, 4, 8, 12].map(|field| at(rest, field, self.big));
        let [Some(seconds), Some(part), Some(kept), Some(len)] = fields else {
            return Err("the header of a packet is cut off".into());
        };
        let end = PCAP_RECORD + kept as usize;
        let bytes = rest.get(PCAP_RECORD..end).ok_or("a packet is cut off")?;
        *rest = &rest[end..];
        let nanos = self.source.nanos(u64::from(seconds) * self.source.per_second + u64::from(part));
        Ok(Packet { interface: 0, nanos, bytes, len: len as usize, direction: None, comment: None })
    }
}

/// The body of a block.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    fn word(self, from: usize) -> Option<u32> {
        at(self.bytes, from, self.big)
    }

    fn half(self, from: usize) -> Option<u16> {
        let half = *self.bytes.get(from..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) })
    }

    /// The options from a place on, to the one that ends them or does not fit.
    fn options(self, from: usize) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut from = from;
        std::iter::from_fn(move || {
            let (code, len) = (self.half(from)?, usize::from(self.half(from + 2)?));
            let value = self.bytes.get(from + 4..from + 4 + len).filter(|_| code != 0)?;
            from += 4 + len.next_multiple_of(4);
            Some((code, value))
        })
    }
}

fn at(bytes: &[u8], from: usize, big: bool) -> Option<u32> {
    let word = *bytes.get(from..)?.first_chunk()?;
    Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

fn is_big(order: &[u8]) -> Result<bool, String> {
    match (at(order, 0, false), at(order, 0, true)) {
        (Some(BYTE_ORDER), _) => Ok(false),
        (_, Some(BYTE_ORDER)) => Ok(true),
        _ => Err("a section of no byte order".into()),
    }
}
