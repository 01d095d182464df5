//! `tapyard demo`: a switch at work, seen from outside, with nothing to set up and nothing left behind.

mod scene;
mod traffic;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::interrupt::Interrupt;
use super::isolation::Host;
use super::table::si;
use super::{Failure, Format, Outcome, drops, fdb, port, print, print_json, stats};
use crate::control::api::{DropInfo, FdbFilter, FdbInfo, PortInfo, PortStats, Request, StatsInfo};
use crate::control::client::Client;
use scene::Scene;
use traffic::{ECHO_BYTES, Flow, Pinger};

/// Echo requests that are sent.
const PINGS: u16 = 5;
/// The time between them.
const PING_GAP: Duration = Duration::from_millis(200);

/// Show traffic passing through a switch: nothing to configure, nothing left behind
#[derive(Debug, Args)]
#[command(after_help = "\
Makes two network namespaces with a TAP in each, switches between them, sends ping and TCP through,
shows what the switch saw, and takes all of it away again, also on Ctrl-C. Root, or a user who may
make user namespaces, can run it. While it runs, every other command can look at its switch by the
control socket that it names.")]
pub(super) struct Demo {
    /// How long TCP is sent in each direction
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    #[command(flatten)]
    format: Format,
}

impl Demo {
    pub(super) fn execute(self) -> Outcome {
        let interrupt = Interrupt::catch()?;
        let scene = Scene::set_up()?;
        let stage = Stage { client: scene.client()?, quiet: self.format.json, interrupt, scene };
        stage.play(self.seconds)
    }
}

/// What happened, as `-j` prints it.
#[derive(Debug, Serialize)]
struct Report {
    ping: Vec<Ping>,
    tcp: Vec<Tcp>,
    ports: Vec<PortInfo>,
    fdb: Vec<FdbInfo>,
    stats: StatsInfo,
    drops: Vec<DropInfo>,
}

/// An echo request.
#[derive(Debug, Serialize)]
struct Ping {
    sequence: u16,
    /// `null` when it was not answered.
    round_trip_us: Option<f64>,
}

/// A TCP connection.
#[derive(Debug, Serialize)]
struct Tcp {
    from: &'static str,
    to: &'static str,
    seconds: Vec<Second>,
}

/// What one second of a connection carried.
#[derive(Debug, Serialize)]
struct Second {
    bits_per_second: f64,
    /// Frames that came in by the sender's port.
    frames_per_second: f64,
    /// Their mean size.
    bytes_per_frame: u64,
}

/// The scene, and who plays on it.
struct Stage {
    client: Client,
    /// Nothing is told on the way.
    quiet: bool,
    interrupt: Interrupt,
    scene: Scene,
}

impl Stage {
    fn play(mut self, seconds: u64) -> Outcome {
        self.tell(&introduction(&self.scene))?;
        let ping = self.ping()?;
        let tcp = vec![self.tcp(0, 1, seconds)?, self.tcp(1, 0, seconds)?];
        let report = Report {
            ports: self.client.call(&Request::PortShow { name: None })?,
            fdb: self.client.call(&Request::FdbShow(FdbFilter::default()))?,
            stats: self.client.call(&Request::Stats {})?,
            drops: self.client.call(&Request::Drops {})?,
            ping,
            tcp,
        };
        if self.quiet {
            print_json(&serde_json::to_value(&report).map_err(|error| error.to_string())?)?;
        }
        let failed = failure(&report);
        self.tell(&ending(report))?;
        failed.map_or(Ok(()), |why| Err(Failure::Said(why)))
    }

    fn tell(&self, text: &str) -> Outcome {
        if self.quiet { Ok(()) } else { print(text) }
    }

    fn ping(&mut self) -> Result<Vec<Ping>, Failure> {
        let [from, to] = &self.scene.hosts;
        self.tell(&format!("\nPing: {} to {}, {ECHO_BYTES} bytes\n", from.name, to.name))?;
        let (mut pinger, start) = (Pinger::open(from, to)?, Instant::now());
        let mut pings = Vec::new();
        for sequence in 1..=PINGS {
            self.interrupt.wait_until(start + PING_GAP * u32::from(sequence - 1))?;
            let answer = pinger.ping(sequence)?;
            let text = match answer {
                Some(time) => format!("answer from {}: {:.3} ms", to.address, time.as_secs_f64() * 1e3),
                None => "no answer".into(),
            };
            self.tell(&format!("  {sequence}  {text}\n"))?;
            pings.push(Ping { sequence, round_trip_us: answer.map(|time| time.as_secs_f64() * 1e6) });
        }
        Ok(pings)
    }

    fn tcp(&mut self, from: usize, to: usize, seconds: u64) -> Result<Tcp, Failure> {
        let (from, to): (&Host, &Host) = (&self.scene.hosts[from], &self.scene.hosts[to]);
        let mut tcp = Tcp { from: from.name, to: to.name, seconds: Vec::new() };
        let text = format!("\nTCP: {} to {}, one connection, {seconds} s\n", from.name, to.name);
        self.tell(&text)?;
        let flow = Flow::open(from, to)?;
        let (quiet, interrupt, client) = (self.quiet, &self.interrupt, &mut self.client);
        flow.run(|received| -> Outcome {
            let mut before = Sight::take(client, tcp.from, received)?;
            let start = before.at;
            for second in 1..=seconds {
                interrupt.wait_until(start + Duration::from_secs(second))?;
                let now = Sight::take(client, tcp.from, received)?;
                let carried = now.since(&before);
                before = now;
                if !quiet {
                    print(&format!("  {second}  {carried}\n"))?;
                }
                tcp.seconds.push(carried);
            }
            Ok(())
        })?;
        Ok(tcp)
    }
}

/// What is seen of a connection at one moment.
struct Sight {
    at: Instant,
    received: u64,
    port: PortStats,
}

impl Sight {
    fn take(client: &mut Client, port: &str, received: &AtomicU64) -> Result<Sight, String> {
        let stats: StatsInfo = client.call(&Request::Stats {})?;
        let port = stats.ports.into_iter().find(|stats| stats.name == port);
        let port = port.ok_or("a port of the demo was deleted while it ran")?;
        Ok(Sight { at: Instant::now(), received: received.load(Ordering::Relaxed), port })
    }

    fn since(&self, before: &Sight) -> Second {
        let passed = (self.at - before.at).as_secs_f64();
        // A port that somebody has made anew in between counts from zero again.
        let frames = self.port.rx_frames.saturating_sub(before.port.rx_frames);
        let bytes = self.port.rx_bytes.saturating_sub(before.port.rx_bytes);
        Second {
            bits_per_second: (self.received - before.received) as f64 * 8.0 / passed,
            frames_per_second: frames as f64 / passed,
            bytes_per_frame: bytes.checked_div(frames).unwrap_or(0),
        }
    }
}

impl std::fmt::Display for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bits, frames) = (si(self.bits_per_second as u64), si(self.frames_per_second as u64));
        write!(f, "{bits:>6}bit/s  {frames:>6} frames/s  {:>6} bytes a frame", self.bytes_per_frame)
    }
}

fn introduction(scene: &Scene) -> String {
    let host = |host: &Host| {
        let Host { name, address, netns, .. } = host;
        format!("  namespace {name:<5} {netns}, a TAP \"{name}\" in it with {address}/24\n")
    };
    format!(
        "Two network namespaces, and a switch between them:\n{}  switch          {}, ready in {:.1} ms\n  look at it      \
         {} --control {} port\n",
        scene.hosts.iter().map(host).collect::<String>(),
        scene.summary(),
        scene.started_in.as_secs_f64() * 1e3,
        program(),
        scene.control().display(),
    )
}

/// This program, as it was called.
fn program() -> String {
    env::args().next().unwrap_or_else(|| "tapyard".into())
}

/// What did not go as it must, if anything.
fn failure(report: &Report) -> Option<String> {
    let lost = report.ping.iter().filter(|ping| ping.round_trip_us.is_none()).count();
    let stalled =
        report.tcp.iter().find(|tcp| tcp.seconds.iter().all(|second| second.bits_per_second == 0.0));
    if lost > 0 {
        Some(format!("{lost} of {} pings were not answered", report.ping.len()))
    } else if let Some(Tcp { from, to, .. }) = stalled {
        Some(format!("no TCP passed from {from} to {to}"))
    } else if !report.stats.conserved {
        Some("not every frame is accounted for".into())
    } else {
        None
    }
}

/// The tables, and how to go on.
fn ending(report: Report) -> String {
    let program = program();
    let StatsInfo { rx_frames, copies, tx_frames, drops, conserved, .. } = report.stats;
    let accounted = match conserved {
        true => format!(
            "Every frame is accounted for: {rx_frames} came in + {copies} copies = {tx_frames} went out + {drops} dropped."
        ),
        false => "NOT every frame is accounted for.".into(),
    };
    let seen = report.tcp.iter().flat_map(|tcp| &tcp.seconds).map(|second| second.bytes_per_frame).max();
    let mtu = report.ports.iter().filter_map(|port| port.mtu).map(u64::from).max();
    let superframes = match (seen, mtu) {
        (Some(seen), Some(mtu)) if seen > mtu => {
            format!("The MTU is {mtu}: superframes of up to 64 KiB passed whole, and nobody cut them.\n")
        }
        _ => String::new(),
    };
    format!(
        "\n{superframes}\n$ tapyard port\n{}\n$ tapyard fdb\n{}\n$ tapyard stats\n{}\n$ tapyard drops\n{}\n{accounted}\n\n\
         What next:\n  \
         write a configuration   README.md, \"Two namespaces\" and \"A QEMU guest\"; all keys: docs/configuration.md\n  \
         run it                  {program} run --config tapyard.toml\n  \
         look at it              {program} port, fdb, bridge, stats --watch, drops\n",
        port::table(report.ports),
        fdb::table(report.fdb),
        stats::totals(report.stats),
        drops::table(report.drops),
    )
}
