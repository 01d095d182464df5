//! `tapyard stats`.

use std::io::{IsTerminal, stdout};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::table::{Table, si};
use super::top::PortRates;
use super::{Format, Outcome, Switch, print, print_json};
use crate::control::api::{PauseInfo, Request, StatsInfo, WorkerInfo};

/// Show the counters of workers and ports
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Show rates, every second, until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    format: Format,
}

impl Stats {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.watch {
            true => watch(switch, self.format),
            false => switch.show(&Request::Stats {}, self.format, totals),
        }
    }
}

fn watch(switch: &Switch, format: Format) -> Outcome {
    let mut client = switch.connect()?;
    if format.json {
        loop {
            print_json(&client.call_raw(&Request::Stats {})?)?;
            thread::sleep(Duration::from_secs(1));
        }
    }
    // On a terminal each table takes the place of the one before.
    let begin = if stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    let (mut before, mut at): (StatsInfo, _) = (client.call(&Request::Stats {})?, Instant::now());
    loop {
        thread::sleep(Duration::from_secs(1));
        let after: StatsInfo = client.call(&Request::Stats {})?;
        let now = Instant::now();
        print(&format!("{begin}{}\n", rates(&before, &after, now - at)))?;
        (before, at) = (after, now);
    }
}

/// All counters.
pub(super) fn totals(stats: StatsInfo) -> String {
    let accounted = if stats.conserved { "all accounted for" } else { "NOT all accounted for" };
    let mut workers =
        Table::new(&[">WORKER", ">WAKEUPS", ">BUSY-POLLS", ">BATCHES", ">FRAMES", ">FRAMES/BATCH"]);
    for worker in &stats.workers {
        workers.row([
            worker.index.to_string(),
            worker.wakeups.to_string(),
            worker.busy_polls.to_string(),
            worker.batches.to_string(),
            worker.frames.to_string(),
            per_batch(worker),
        ]);
    }
    let mut work = Table::new(&[
        ">WORKER", ">BUSY", ">PAUSE", "FOR", ">RECENT", "FOR", ">TURN", ">1", ">2-3", ">4-7", ">8-15",
        ">16-31", ">32",
    ]);
    for worker in &stats.workers {
        let batches = |size: usize| worker.batch_sizes.get(size).map_or("-".into(), |&batches| si(batches));
        let (ever, recent) = (pause(&worker.longest_pause), pause(&worker.recent_pause));
        work.row([
            worker.index.to_string(),
            busy(worker),
            ever.0,
            ever.1,
            recent.0,
            recent.1,
            time(worker.longest_turn_nanos),
            batches(0),
            batches(1),
            batches(2),
            batches(3),
            batches(4),
            batches(5),
        ]);
    }
    let mut ports = Table::new(&["PORT", ">RX-FRAMES", ">RX-BYTES", ">TX-FRAMES", ">TX-BYTES", ">DROPS"]);
    for port in &stats.ports {
        ports.row([
            port.name.clone(),
            port.rx_frames.to_string(),
            si(port.rx_bytes),
            port.tx_frames.to_string(),
            si(port.tx_bytes),
            port.drops.to_string(),
        ]);
    }
    format!(
        "up {}, epoch {}\nframes: {} in + {} copies = {} out + {} replied + {} dropped ({accounted})\n\n\
         {workers}\n{work}\n{ports}",
        uptime(stats.uptime_secs),
        stats.epoch,
        stats.rx_frames,
        stats.copies,
        stats.tx_frames,
        stats.replied,
        stats.drops,
    )
}

fn per_batch(worker: &WorkerInfo) -> String {
    match worker.batches {
        0 => "-".into(),
        batches => format!("{:.1}", worker.frames as f64 / batches as f64),
    }
}

/// How much of its time a worker was busy, since the start.
fn busy(worker: &WorkerInfo) -> String {
    match worker.at_nanos {
        0 => "-".into(),
        passed => format!("{:.1}%", worker.busy_nanos as f64 * 100.0 / passed as f64),
    }
}

/// How long a pause was, and for what.
fn pause(pause: &PauseInfo) -> (String, String) {
    match pause.nanos {
        0 => ("-".into(), "-".into()),
        nanos => (time(nanos), pause.chore.clone()),
    }
}

fn time(nanos: u64) -> String {
    match nanos {
        0 => "-".into(),
        1..1_000_000 => format!("{}us", nanos.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1}ms", nanos as f64 / 1e6),
        _ => format!("{:.1}s", nanos as f64 / 1e9),
    }
}

/// What each port did per second between two answers. A port that was added or opened anew since counts from zero.
fn rates(before: &StatsInfo, after: &StatsInfo, passed: Duration) -> String {
    let shown = |rate: f64| si(rate.round() as u64);
    let mut table = Table::new(&["PORT", ">RX/S", ">RX-BIT/S", ">TX/S", ">TX-BIT/S", ">DROPS/S"]);
    for port in &after.ports {
        let earlier = before.ports.iter().find(|earlier| earlier.name == port.name);
        let rates = PortRates::between(earlier, port, passed.as_secs_f64());
        table.row([
            port.name.clone(),
            shown(rates.rx_frames),
            shown(rates.rx_bits),
            shown(rates.tx_frames),
            shown(rates.tx_bits),
            shown(rates.drops),
        ]);
    }
    table.to_string()
}

/// How long something has been up.
pub(super) fn uptime(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{minutes}m {}s", secs % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::PortStats;

    fn stats(rx_frames: u64, rx_bytes: u64) -> StatsInfo {
        let port = PortStats {
            name: "vm1".into(),
            rx_frames,
            rx_bytes,
            tx_frames: 0,
            tx_bytes: 0,
            drops: 0,
            groups: 0,
            unknown: 0,
        };
        StatsInfo {
            epoch: 4,
            uptime_secs: 3_725,
            workers: vec![
                WorkerInfo { batches: 4, frames: 10, ..WorkerInfo::default() },
                WorkerInfo::default(),
            ],
            rx_frames,
            tx_frames: 0,
            copies: 0,
            replied: 0,
            drops: 0,
            conserved: rx_frames == 0,
            ports: vec![port],
        }
    }

    #[test]
    fn totals_say_whether_every_frame_is_accounted_for() {
        let text = totals(stats(0, 0));
        assert!(text.starts_with("up 1h 2m, epoch 4\nframes: 0 in + 0 copies = 0 out"), "{text}");
        assert!(text.contains("(all accounted for)") && text.contains("2.5\n"), "{text}");
        assert!(totals(stats(5, 500)).contains("(NOT all accounted for)"));
    }

    #[test]
    fn totals_say_what_the_workers_spend_their_time_on() {
        let pause = |nanos, chore: &str| PauseInfo { nanos, chore: chore.into() };
        let worker = WorkerInfo {
            at_nanos: 8_000_000_000,
            busy_nanos: 1_000_000_000,
            batch_sizes: vec![3, 0, 0, 0, 0, 4_500_000],
            longest_pause: pause(1_250_000, "change"),
            recent_pause: pause(40_001, "report"),
            longest_turn_nanos: 900,
            ..WorkerInfo::default()
        };
        let text = totals(StatsInfo { workers: vec![worker, WorkerInfo::default()], ..stats(0, 0) });
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let at = rows.iter().position(|row| row.contains(&"BUSY")).expect("a table of it");
        let busy =
            ["0", "12.5%", "1.2ms", "change", "41us", "report", "1us", "3", "0", "0", "0", "0", "4.50M"];
        assert_eq!(rows[at + 1], busy);
        assert_eq!(rows[at + 2][1..7], ["-"; 6]);
    }

    #[test]
    fn rates_are_per_second_that_passed() {
        let text = rates(&stats(100, 1000), &stats(300, 251_000), Duration::from_secs(2));
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["vm1", "100", "1.00M", "0", "0", "0"]);
        // Opened anew in between: its counters began at zero.
        let text = rates(&stats(300, 1000), &stats(50, 0), Duration::from_secs(1));
        assert!(text.lines().nth(1).unwrap().contains(" 50 "), "{text}");
    }

    #[test]
    fn uptimes() {
        for (secs, text) in [(5, "5s"), (65, "1m 5s"), (3_725, "1h 2m"), (90_000, "1d 1h")] {
            assert_eq!(uptime(secs), text);
        }
    }
}
