//! `tapyard tunnel ping`: echoes between two switches, inside the tunnel.

use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::{Failure, Format, Outcome, Switch, print, print_json};
use crate::control::api::{ProbeInfo, Request};
use crate::control::client::Client;

/// The shortest echo.
const SHORTEST: u32 = 64;
/// The longest echo.
const LONGEST: u32 = 65_000;
/// So many echoes of a size are lost before it counts as one that does not pass.
const TRIES: u32 = 2;

/// Send echoes through a tunnel to the switch at its other end, and find the largest that passes
#[derive(Debug, Args)]
#[command(after_help = "\
Without --size, the largest packet that passes is searched for after the echoes. None of them is
fragmented on its way, whatever the tunnel's df says.

Examples:
  tapyard tunnel ping site-b
  tapyard tunnel ping 10.8.0.2 --size 1450 --count 10")]
pub(super) struct Ping {
    /// The address of a peer, or a tunnel's port that has one peer
    #[arg(value_name = "PEER")]
    to: String,
    /// The tunnel's port, when several have this peer
    #[arg(long)]
    port: Option<String>,
    /// Bytes of each echo, as the tunnel's MTU counts them [default: 64, and search for the largest]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(i64::from(SHORTEST)..=i64::from(LONGEST)))]
    size: Option<u32>,
    /// How many echoes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Seconds between two echoes
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    format: Format,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0 to 3600 seconds".into())
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Measured {
    port: String,
    remote: String,
    /// The tunnel's MTU towards the peer, in bytes.
    mtu: u32,
    size: u32,
    sent: u32,
    answered: u32,
    rtt_min_ms: Option<f64>,
    rtt_avg_ms: Option<f64>,
    rtt_max_ms: Option<f64>,
    /// The largest packet that passes, in bytes, where it was searched for.
    largest: Option<u32>,
}

impl Ping {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let mut client = switch.connect()?;
        let (size, talks) = (self.size.unwrap_or(SHORTEST), !self.format.json);
        let mut measured = Measured { size, ..Measured::default() };
        let (mut times, mut not_sent) = (Vec::new(), Vec::new());
        for number in 1..=self.count {
            if number > 1 {
                thread::sleep(self.interval);
            }
            let probe = self.probe(&mut client, size)?;
            if talks && number == 1 {
                print(&format!(
                    "PING {} by {}: {size} bytes, MTU {}\n",
                    probe.remote, probe.port, probe.mtu
                ))?;
            }
            if talks {
                print(&line(number, &probe))?;
            }
            times.extend(probe.rtt_nanos);
            not_sent.extend(probe.not_sent);
            measured.sent += 1;
            measured.mtu = probe.mtu;
            (measured.port, measured.remote) = (probe.port, probe.remote.to_string());
        }
        measured.count(&times);
        if self.size.is_none() && measured.answered > 0 {
            let largest = largest(measured.mtu, |size| self.passes(&mut client, size))?;
            measured.largest = Some(largest);
        }
        match talks {
            true => print(&summary(&measured))?,
            false => {
                let json = serde_json::to_value(&measured).map_err(|error| error.to_string())?;
                print_json(&json)?;
            }
        }
        match not_sent.last() {
            _ if measured.answered > 0 => Ok(()),
            Some(why) if not_sent.len() == self.count as usize => {
                Err(Failure::Said(format!("nothing was sent to {}: {why}", measured.remote)))
            }
            _ => Err(Failure::Said(format!("{} does not answer", measured.remote))),
        }
    }

    fn probe(&self, client: &mut Client, size: u32) -> Result<ProbeInfo, Failure> {
        let request = Request::TunnelProbe { to: self.to.clone(), port: self.port.clone(), size };
        Ok(client.call(&request)?)
    }

    /// Whether an echo of `size` comes back.
    fn passes(&self, client: &mut Client, size: u32) -> Result<bool, Failure> {
        for _ in 0..TRIES {
            let probe = self.probe(client, size)?;
            if probe.rtt_nanos.is_some() || probe.not_sent.is_some() {
                return Ok(probe.rtt_nanos.is_some());
            }
        }
        Ok(false)
    }
}

impl Measured {
    fn count(&mut self, nanos: &[u64]) {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        self.answered = nanos.len() as u32;
        self.rtt_min_ms = nanos.iter().min().copied().map(ms);
        self.rtt_max_ms = nanos.iter().max().copied().map(ms);
        self.rtt_avg_ms = (!nanos.is_empty()).then(|| ms(nanos.iter().sum::<u64>() / nanos.len() as u64));
    }
}

/// The largest size that passes, where [`SHORTEST`] does. What lies beyond `mtu` is hardly ever more than one echo, so
/// that is tried first: each that is lost costs a wait.
fn largest(mtu: u32, mut passes: impl FnMut(u32) -> Result<bool, Failure>) -> Result<u32, Failure> {
    let (mut good, mut bad) = (SHORTEST, LONGEST + 1);
    let first = mtu.clamp(SHORTEST, LONGEST);
    for size in [first, first + 1] {
        if size <= good || size >= bad {
            continue;
        }
        *(if passes(size)? { &mut good } else { &mut bad }) = size;
    }
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        *(if passes(middle)? { &mut good } else { &mut bad }) = middle;
    }
    Ok(good)
}

fn line(number: u32, probe: &ProbeInfo) -> String {
    match (probe.rtt_nanos, &probe.not_sent) {
        (Some(nanos), _) => {
            format!(
                "{} bytes from {}: seq={number} time={:.3} ms\n",
                probe.size,
                probe.remote,
                nanos as f64 / 1e6
            )
        }
        (None, Some(why)) => format!("seq={number} not sent: {why}\n"),
        (None, None) => format!("seq={number} no answer\n"),
    }
}

fn summary(measured: &Measured) -> String {
    let lost = 100 * (measured.sent - measured.answered) / measured.sent.max(1);
    let mut text = format!("\n{} sent, {} answered, {lost}% lost\n", measured.sent, measured.answered);
    if let (Some(min), Some(avg), Some(max)) = (measured.rtt_min_ms, measured.rtt_avg_ms, measured.rtt_max_ms)
    {
        text += &format!("rtt min/avg/max = {min:.3}/{avg:.3}/{max:.3} ms\n");
    }
    if let Some(largest) = measured.largest {
        text += &format!("largest that passes: {largest} bytes (MTU {})\n", measured.mtu);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found_wherever_it_is_and_quickly_where_the_mtu_is_true() {
        for limit in [64, 65, 500, 1449, 1450, 1451, 1452, 9000, 64_999, 65_000, 70_000] {
            for mtu in [0, 64, 1450, 65_000, 100_000] {
                let mut tried = Vec::new();
                let found = largest(mtu, |size| {
                    tried.push(size);
                    Ok(size <= limit)
                });
                assert_eq!(found, Ok(limit.min(LONGEST)), "MTU {mtu}: {tried:?}");
                assert!(tried.iter().all(|size| (SHORTEST..=LONGEST).contains(size)), "{tried:?}");
                assert!(tried.len() <= 18 && (mtu != limit || tried.len() <= 2), "{tried:?}");
            }
        }
    }

    #[test]
    fn an_echo_and_the_end_read_like_ping() {
        let probe = ProbeInfo {
            port: "site-b".into(),
            remote: "10.8.0.2".parse().unwrap(),
            size: 64,
            mtu: 1450,
            rtt_nanos: Some(213_400),
            not_sent: None,
        };
        assert_eq!(line(1, &probe), "64 bytes from 10.8.0.2: seq=1 time=0.213 ms\n");
        let lost = ProbeInfo { rtt_nanos: None, ..probe.clone() };
        assert_eq!(line(2, &lost), "seq=2 no answer\n");
        let refused = ProbeInfo { not_sent: Some("Message too long".into()), ..lost };
        assert_eq!(line(3, &refused), "seq=3 not sent: Message too long\n");

        let mut measured = Measured { sent: 3, mtu: 1450, largest: Some(1449), ..Measured::default() };
        measured.count(&[100_000, 300_000]);
        assert_eq!(
            summary(&measured),
            "\n3 sent, 2 answered, 33% lost\nrtt min/avg/max = 0.100/0.200/0.300 ms\n\
             largest that passes: 1449 bytes (MTU 1450)\n"
        );
    }
}
