//! pcapng, the format that Wireshark keeps captures in (draft-ietf-opsawg-pcapng): its blocks written into memory, and read
//! from there, with those of the older pcap. Files and sockets are somebody else's business.
//!
//! What is written is one little-endian section with times in nanoseconds. An interface block may come any time before the
//! first packet that names it.

mod read;

use super::Layer;
pub use read::{MAX_BLOCK, Packet, Reader, Source, file};

/// The link type of Ethernet frames.
const ETHERNET: u16 = 1;
/// The link type of IPv4 and IPv6 packets.
const RAW_IP: u16 = 101;
/// The link type of what no reader is to look into.
const OPAQUE: u16 = 147;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const OPTION_COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TIME_RESOLUTION: u16 = 9;
const INTERFACE_FILTER: u16 = 11;
const PACKET_FLAGS: u16 = 2;
const PACKET_MISSED: u16 = 4;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_MISSED: u16 = 5;

/// Which way a packet went, seen from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    In = 1,
    /// It went out.
    Out = 2,
}

/// An interface as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its packets begin with; `None`: with something that only their comment tells.
    pub layer: Option<Layer>,
    /// Most bytes of a packet that are kept; 0: all.
    pub snap_len: u32,
    /// The filter expression that packets were chosen by; empty: none.
    pub filter: &'a str,
}

/// A packet as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its interface, by the order in which they were written.
    pub interface: u32,
    /// When it was seen, in nanoseconds since 1970.
    pub nanos: u64,
    /// Its bytes, as many as are kept.
    pub bytes: &'a [u8],
    /// How long it is.
    pub len: usize,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// How many packets of the interface were missed between this and the one before.
    pub missed: u64,
    /// What there is to say about it; empty: nothing.
    pub comment: &'a str,
}

/// Adds the block that a file begins with.
pub fn section(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION, |out| {
        out.extend(BYTE_ORDER.to_le_bytes());
        out.extend([1, 0, 0, 0]); // version 1.0
        out.extend([0xff; 8]); // as long as it is
        option(out, SECTION_APPLICATION, application.as_bytes());
        end_of_options(out);
    });
}

/// Adds an interface.
pub fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE, |out| {
        let link = match interface.layer {
            Some(Layer::Ethernet) => ETHERNET,
            Some(Layer::Ip) => RAW_IP,
            None => OPAQUE,
        };
        out.extend(link.to_le_bytes());
        out.extend([0; 2]);
        out.extend(interface.snap_len.to_le_bytes());
        option(out, INTERFACE_NAME, interface.name.as_bytes());
        option(out, INTERFACE_TIME_RESOLUTION, &[9]);
        if !interface.filter.is_empty() {
            // The first byte says that it is text, as libpcap reads it.
            option(out, INTERFACE_FILTER, &[&[0], interface.filter.as_bytes()].concat());
        }
        end_of_options(out);
    });
}

/// Adds a packet.
pub fn packet(out: &mut Vec<u8>, record: &Record<'_>) {
    block(out, PACKET, |out| {
        out.extend(record.interface.to_le_bytes());
        time(out, record.nanos);
        out.extend((record.bytes.len() as u32).to_le_bytes());
        out.extend((record.len as u32).to_le_bytes());
        padded(out, record.bytes);
        if !record.comment.is_empty() {
            option(out, OPTION_COMMENT, record.comment.as_bytes());
        }
        if let Some(direction) = record.direction {
            option(out, PACKET_FLAGS, &(direction as u32).to_le_bytes());
        }
        if record.missed > 0 {
            option(out, PACKET_MISSED, &record.missed.to_le_bytes());
        }
        end_of_options(out);
    });
}

/// Adds how many packets an interface has had up to a time: those that are in the file, and those that were missed because
/// nobody took them fast enough. The last such block of an interface counts.
///
/// `comment` is what else there is to say; empty: nothing.
pub fn statistics(out: &mut Vec<u8>, interface: u32, nanos: u64, received: u64, missed: u64, comment: &str) {
    block(out, STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        time(out, nanos);
        if !comment.is_empty() {
            option(out, OPTION_COMMENT, comment.as_bytes());
        }
        option(out, STATISTICS_RECEIVED, &received.to_le_bytes());
        option(out, STATISTICS_MISSED, &missed.to_le_bytes());
        end_of_options(out);
    });
}

/// Adds a block, whose body `write` adds; its length stands before and behind.
fn block(out: &mut Vec<u8>, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    write(out);
    let len = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    out.extend(len.to_le_bytes());
}

/// Times are the upper half first.
fn time(out: &mut Vec<u8>, nanos: u64) {
    out.extend(((nanos >> 32) as u32).to_le_bytes());
    out.extend((nanos as u32).to_le_bytes());
}

/// Adds an option, of which 65,535 bytes fit.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX.into())];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// Adds bytes, and what is missing to a multiple of four.
fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let missing = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend(&[0; 4][..missing]);
}
