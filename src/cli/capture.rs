//! `tapyard capture`.

mod blocks;
mod files;
mod line;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};

use super::interrupt::Interrupt;
use super::{Failure, Outcome, Switch};
use crate::control::api::{CaptureDirection, CaptureInfo, CaptureQuery, Request};
use crate::packet::Expression;
use crate::packet::pcapng::Packet;
use blocks::{Blocks, Next};
use files::{Files, Rotation};
pub(super) use line::line;

/// How long nothing may come, after the end was asked for, of what was captured until then.
const REST: Duration = Duration::from_secs(5);

/// Capture frames: show them, or write them as pcapng
///
/// On a terminal each frame is a line; elsewhere, or with -w, what is written is pcapng, which Wireshark reads. Frames of
/// both directions are captured as they come in and as they leave. The switch does not wait for who captures: frames that
/// are not taken fast enough are missed, and counted as missed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("way"), after_help = "\
Filters are tcpdump's, and look through VLAN tags:
  tapyard capture vm1                              what comes from vm1 and goes to it, a line each
  tapyard capture lan -w lan.pcapng port 53        all ports of a bridge
  tapyard capture drops host 10.9.0.7              what is dropped anywhere, and why
  tapyard capture any -w a.pcapng -C 100 -W 10     the last gigabyte, in ten files
  tapyard capture vm1 -w - | wireshark -k -i -     see it come")]
pub(super) struct Capture {
    /// A port, a bridge, `drops` (what is dropped, on any port) or `any` (all ports)
    target: String,
    /// Which frames, as tcpdump has it: `tcp and not port 22`
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Write pcapng to this file; `-` is the standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Show a line for each frame, also where the output is no terminal
    #[arg(long, conflicts_with = "write")]
    print: bool,
    /// End after so many frames
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep at most so many bytes of a frame; 0 is all of them
    #[arg(short, long, value_name = "BYTES")]
    snap_len: Option<u32>,
    /// Only what comes in
    #[arg(long = "in", group = "way")]
    only_in: bool,
    /// Only what leaves
    #[arg(long = "out", group = "way")]
    only_out: bool,
    /// Cut superframes as a wire would have them, instead of marking them
    #[arg(long)]
    segment: bool,
    /// Begin the next file after so many millions of bytes
    #[arg(short = 'C', long, value_name = "MB", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    rotate_size: Option<u64>,
    /// Begin the next file after so many seconds
    #[arg(short = 'G', long, value_name = "SECONDS", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    rotate_time: Option<u64>,
    /// Keep so many files, the latest
    #[arg(short = 'W', long, value_name = "FILES", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
}

impl Capture {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let filter: Expression =
            self.filter.join(" ").parse().map_err(|why| Failure::Said(format!("filter: {why}")))?;
        let query = CaptureQuery {
            target: self.target.clone(),
            filter,
            snap_len: self.snap_len.filter(|&len| len > 0),
            direction: match (self.only_in, self.only_out) {
                (true, _) => Some(CaptureDirection::In),
                (_, true) => Some(CaptureDirection::Out),
                _ => None,
            },
            segment: self.segment,
        };
        let rotation = Rotation {
            size: self.rotate_size.map(|size| size.saturating_mul(1_000_000)),
            time: self.rotate_time.map(Duration::from_secs),
            keep: self.keep,
        };
        match self.write.as_deref() {
            Some(path) if path != Path::new("-") => {
                let mut files = Files::create(path, rotation)?;
                run(switch, query, self.count, &mut files)
            }
            Some(_) if rotation.is_some() => {
                Err(Failure::Said("-C, -G and -W need a file (expected -w FILE)".into()))
            }
            None if self.print || io::stdout().is_terminal() => {
                run(switch, query, self.count, &mut Lines::default())
            }
            to => {
                let hint = if to.is_none() { " as pcapng (--print shows lines)" } else { "" };
                run(switch, query, self.count, &mut Pipe::to(Box::new(io::stdout()), Some(hint)))
            }
        }
    }
}

/// Where captured frames go.
pub(super) trait Sink {
    /// Takes a block, and the packet that is in it, if one is.
    fn take(&mut self, block: &[u8], packet: Option<(&Packet<'_>, &Blocks)>) -> Outcome;

    /// Nothing more comes at the moment.
    fn flush(&mut self) -> Outcome;

    /// What stands behind the ports where stderr says what is captured; `None` where nothing is to be said.
    fn hint(&self) -> Option<&'static str> {
        Some("")
    }
}

/// Captures until it is enough, somebody interrupts it, or nobody reads.
pub(super) fn run(switch: &Switch, query: CaptureQuery, count: Option<u64>, sink: &mut dyn Sink) -> Outcome {
    let interrupt = Interrupt::catch()?;
    let (info, stream) = switch.connect()?.stream::<CaptureInfo>(&Request::Capture(query))?;
    let mut blocks = Blocks::new(stream)?;
    if let Some(hint) = sink.hint() {
        let _ = writeln!(io::stderr(), "capturing on {}{hint}", ports(&info.ports));
    }
    let outcome = pass_on(&mut blocks, &interrupt, count.unwrap_or(u64::MAX), sink);
    // A sink that has failed takes no more.
    let outcome = outcome.and_then(|ended| {
        blocks.statistics().try_for_each(|block| sink.take(&block, None))?;
        sink.flush()?;
        ended
    });
    if sink.hint().is_some() {
        let (captured, missed) = (blocks.packets(), blocks.missed());
        let noun = if captured == 1 { "frame" } else { "frames" };
        let _ = writeln!(io::stderr(), "{captured} {noun} captured, {missed} missed");
    }
    outcome
}

/// Passes blocks on until there are enough; gives how the capture has ended, unless the sink has failed.
fn pass_on(
    blocks: &mut Blocks,
    interrupt: &Interrupt,
    count: u64,
    sink: &mut dyn Sink,
) -> Result<Outcome, Failure> {
    while blocks.packets() < count && !interrupt.came() {
        match blocks.next()? {
            Next::Block(block) => {
                let packet = blocks.read(&block)?;
                sink.take(&block, packet.as_ref().map(|packet| (packet, &*blocks)))?;
            }
            Next::Nothing => sink.flush()?,
            Next::End => {
                let why = blocks.why_over().unwrap_or("it has ended, or nothing was read for some seconds");
                return Ok(Err(Failure::Said(format!("the capture was ended by the switch: {why}"))));
            }
        }
    }
    blocks.end();
    let mut heard = Instant::now();
    while heard.elapsed() < REST {
        let block = match blocks.next()? {
            Next::Block(block) => block,
            Next::Nothing => continue,
            Next::End => break,
        };
        heard = Instant::now();
        if blocks.packets() < count {
            let packet = blocks.read(&block)?;
            sink.take(&block, packet.as_ref().map(|packet| (packet, &*blocks)))?;
        } else if blocks.look(&block)? {
            sink.take(&block, None)?;
        }
    }
    Ok(Ok(()))
}

fn ports(names: &[String]) -> String {
    match names {
        [] => "no port".into(),
        [name] => name.clone(),
        [first, .., last] if names.len() > 6 => format!("{} ports, {first} to {last}", names.len()),
        _ => names.join(", "),
    }
}

/// Frames as lines.
#[derive(Default)]
struct Lines(String);

impl Sink for Lines {
    fn take(&mut self, _block: &[u8], packet: Option<(&Packet<'_>, &Blocks)>) -> Outcome {
        let Some((packet, blocks)) = packet else { return Ok(()) };
        if let Some(source) = blocks.source(packet.interface) {
            self.0 += &line(packet, source);
        }
        if self.0.len() >= 16 * 1024 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome {
        super::print(&std::mem::take(&mut self.0))
    }
}

/// Blocks as they are, for who reads them as they come.
pub(super) struct Pipe {
    to: Box<dyn Write>,
    waiting: Vec<u8>,
    hint: Option<&'static str>,
}

impl Pipe {
    pub(super) fn to(to: Box<dyn Write>, hint: Option<&'static str>) -> Pipe {
        Pipe { to, waiting: Vec::new(), hint }
    }
}

impl Sink for Pipe {
    fn take(&mut self, block: &[u8], _packet: Option<(&Packet<'_>, &Blocks)>) -> Outcome {
        self.waiting.extend_from_slice(block);
        if self.waiting.len() >= 64 * 1024 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome {
        let written = self.to.write_all(&self.waiting).and_then(|()| self.to.flush());
        self.waiting.clear();
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::Unread),
            Err(error) => Err(Failure::Said(format!("cannot write the capture: {error}"))),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}
