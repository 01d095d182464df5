//! A captured frame as a line.

use std::fmt::Write;

use crate::packet::pcapng::{Direction, Packet, Source};
use crate::packet::summary::summary;

/// The line, with its end: when, where, from whom to whom, what, how long, and what is said about it.
pub(in crate::cli) fn line(packet: &Packet<'_>, source: &Source) -> String {
    let (seconds, micros) = (packet.nanos / 1_000_000_000, packet.nanos / 1000 % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let way = match packet.direction {
        Some(Direction::In) => "in",
        Some(Direction::Out) => "out",
        None => "--",
    };
    let name = &source.name;
    let mut line = format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {name} {way:3} ");
    line += &summary(source.layer, packet.bytes);
    // A string takes anything.
    let _ = write!(line, ", {} bytes", packet.len);
    if let Some(comment) = packet.comment {
        let _ = write!(line, " ({})", comment.replace('\n', "; "));
    }
    line.push('\n');
    line
}
