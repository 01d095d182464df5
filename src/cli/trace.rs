//! `tapyard trace`.

use std::fs;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Format, Outcome, Switch, print};
use crate::control::api::{FollowQuery, LeftInfo, Request, TraceInfo, TraceQuery};
use crate::packet::describe::hex;
use crate::packet::{Expression, pcapng};

/// Show what would happen to a frame, or what happens to those that pass
#[derive(Debug, Args)]
#[command(after_help = "\
A frame is described by its layers, from the outside in; what is left out is filled in. It walks through
the switch that runs, on its tables as they are, and leaves nothing behind: nothing is sent, learned or
counted. --follow prints the walks of real frames instead, a few of them, as they pass.

Examples:
  tapyard trace --in vm1 'eth dst 02:00:00:00:00:02/ip src 10.9.0.1 dst 10.9.0.2/tcp dport 80'
  tapyard trace --in vm1 'ip dst 192.0.2.1/icmp'
  tapyard trace --in vm1 --pcap dump.pcapng --frame 3
  tapyard trace --follow --in vm1 'tcp port 80'")]
pub(super) struct Trace {
    /// The port it comes in by; of a tunnel, the frame as it comes out of that
    #[arg(long = "in", value_name = "PORT", required_unless_present = "follow")]
    port: Option<String>,
    /// The peer it comes from, on a tunnel port [default: the first]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "follow")]
    remote: Option<IpAddr>,
    /// The frame: its layers, or its bytes in hexadecimal; with --follow, which frames (as tcpdump has it)
    #[arg(value_name = "FRAME", required_unless_present_any = ["hex", "pcap", "follow"])]
    words: Vec<String>,
    /// The frame is its bytes in hexadecimal
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["words", "pcap", "follow"])]
    hex: Option<String>,
    /// Take the frame from a capture (pcap or pcapng)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "follow"])]
    pcap: Option<PathBuf>,
    /// Which frame of the capture, from 1 [default: 1]
    #[arg(long, value_name = "N", conflicts_with_all = ["words", "hex", "follow"], value_parser = clap::value_parser!(u64).range(1..))]
    frame: Option<u64>,
    /// Follow real frames, until interrupted
    #[arg(long)]
    follow: bool,
    /// At most so many real frames a second
    #[arg(long, value_name = "N", default_value_t = 10, requires = "follow", value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// End after so many real frames
    #[arg(long, value_name = "N", requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show the frames that leave, too
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    format: Format,
}

impl Trace {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        if self.follow {
            return self.follow(switch);
        }
        let frame = match (&self.hex, &self.pcap) {
            (Some(text), _) => hex_only(text)?,
            (None, Some(path)) => captured(path, self.frame.unwrap_or(1))?,
            (None, None) if self.words.is_empty() => {
                return Err("which frame? (describe it, or name it by --hex or --pcap)".to_owned().into());
            }
            (None, None) => self.words.join(" "),
        };
        let port = self.port.unwrap_or_default();
        let query = TraceQuery { port, remote: self.remote, frame };
        let verbose = self.verbose;
        switch.show(&Request::Trace(query), self.format, |info: TraceInfo| text(&info, verbose))
    }

    fn follow(self, switch: &Switch) -> Outcome {
        let filter = match self.words.is_empty() {
            true => None,
            false => Some(self.words.join(" ").parse::<Expression>()?),
        };
        let query = FollowQuery { port: self.port, filter, rate: Some(self.rate), count: self.count };
        let (_, stream) = switch.connect()?.stream::<serde_json::Value>(&Request::TraceFollow(query))?;
        for (line, number) in stream.lines().zip(1..) {
            let line = line.map_err(|error| format!("the switch has ended the trace: {error}"))?;
            match self.format.json {
                // A line for each, so that they can be read one by one.
                true => print(&format!("{line}\n"))?,
                false => {
                    let info: TraceInfo = serde_json::from_str(&line).map_err(|error| {
                        format!("the switch says what this program does not know: {error}")
                    })?;
                    print(&format!("{}\n", text(&info, self.verbose)))?;
                }
            }
            if self.count == Some(number) {
                return Ok(());
            }
        }
        match self.count {
            // Walks that were not read fast enough count, too.
            Some(_) => Ok(()),
            None => Err(Failure::Said(
                "the trace was ended by the switch: it has ended, or the port was removed".into(),
            )),
        }
    }
}

/// What stands behind --hex, which has to begin with bytes: otherwise it would be read as the name of a layer.
fn hex_only(text: &str) -> Result<String, Failure> {
    let first = text.split_whitespace().next().unwrap_or_default();
    let digits = first.strip_prefix("0x").unwrap_or(first);
    match digits.len() >= 2 && digits.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '-') {
        true => Ok(format!("0x{}", text.trim_start().strip_prefix("0x").unwrap_or(text.trim_start()))),
        false => {
            Err(format!("--hex: {first:?} is no bytes (expected hexadecimal digits, two a byte)").into())
        }
    }
}

/// The frame of this number in a capture, in hexadecimal.
fn captured(path: &Path, number: u64) -> Result<String, Failure> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut packets = pcapng::file(&bytes);
    let (mut last, mut found) = (0, None);
    for packet in packets.by_ref().take(usize::try_from(number).unwrap_or(usize::MAX)) {
        let (packet, layer) = packet.map_err(|error| format!("{shown}: {error}"))?;
        last += 1;
        found = (last == number).then_some((packet, layer));
    }
    let Some((packet, layer)) = found else {
        return Err(format!("{shown}: there are {last} frames, and no frame {number}").into());
    };
    if layer.is_none() {
        return Err(format!("{shown}: frame {number} is neither Ethernet nor IP").into());
    }
    if let Some(comment) = packet.comment.filter(|comment| comment.starts_with("superframe")) {
        return Err(format!(
            "{shown}: frame {number} stands for several ({comment}), of which a trace takes one (capture with --segment)"
        )
        .into());
    }
    if packet.bytes.len() < packet.len {
        let (kept, len) = (packet.bytes.len(), packet.len);
        return Err(format!(
            "{shown}: of frame {number} only {kept} of {len} bytes were kept (capture it whole: -s 0)"
        )
        .into());
    }
    Ok(format!("0x{}", hex(packet.bytes)))
}

/// A walk, hop by hop; its last line says how it ended.
fn text(info: &TraceInfo, verbose: bool) -> String {
    let mut text = format!("{}, {} bytes\n", info.summary, info.len);
    let mut at = None;
    for step in &info.steps {
        let here = (&step.hop, &step.name);
        if at != Some(here) {
            text += &format!("{} {}\n", step.hop, step.name);
            at = Some(here);
        }
        text += &format!("  {:<9} {}\n", step.stage, step.text);
    }
    if verbose {
        text += &format!("{} bytes came in\n{}", info.len, dump(&info.frame));
        text.extend(info.left.iter().map(left));
    }
    text + &format!("=> {}\n", info.verdict)
}

fn left(left: &LeftInfo) -> String {
    let to = left.remote.map(|remote| format!(" to {remote}")).unwrap_or_default();
    format!("{} bytes leave by {}{to}\n{}", left.len, left.port, dump(&left.frame))
}

/// Bytes in hexadecimal, sixteen in a line.
fn dump(hex: &str) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let words: Vec<_> = bytes.chunks(4).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        format!("  {:04x}  {}\n", number * 16, words.join(" "))
    };
    hex.as_bytes().chunks(32).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::TraceStep;

    fn step(hop: &str, name: &str, stage: &str, text: &str) -> TraceStep {
        TraceStep { hop: hop.into(), name: name.into(), stage: stage.into(), text: text.into() }
    }

    #[test]
    fn a_walk_is_told_hop_by_hop_and_ends_with_how_it_ended() {
        let info = TraceInfo {
            port: "vm1".into(),
            summary: "one > two".into(),
            len: 20,
            frame: "02".repeat(20),
            steps: vec![
                step("in", "vm1", "ingress", "a frame"),
                step("bridge", "lan", "learn", "new"),
                step("bridge", "lan", "fdb", "known"),
                step("out", "vm2", "end", "sent by vm2"),
            ],
            left: vec![LeftInfo { port: "vm2".into(), remote: None, len: 2, frame: "abcd".into() }],
            verdict: "sent by vm2".into(),
            ..TraceInfo::default()
        };
        let expected = "one > two, 20 bytes\nin vm1\n  ingress   a frame\nbridge lan\n  learn     new\n  fdb       known\n\
                        out vm2\n  end       sent by vm2\n";
        assert_eq!(text(&info, false), format!("{expected}=> sent by vm2\n"));
        let bytes = "20 bytes came in\n  0000  0202 0202 0202 0202 0202 0202 0202 0202\n  0010  0202 0202\n\
                     2 bytes leave by vm2\n  0000  abcd\n";
        assert_eq!(text(&info, true), format!("{expected}{bytes}=> sent by vm2\n"));
    }
}
