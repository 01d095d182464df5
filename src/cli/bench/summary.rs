//! What people see at the end: tables, and where frames were lost.

use super::super::table::{Table, si};
use super::frames::Size;
use super::results::{Cell, Figure, Results, Scaling};

/// All results.
pub(super) fn of(results: &Results) -> String {
    let mut parts = vec![introduction(results)];
    if !results.results.is_empty() {
        parts.push(cells(&results.results));
        parts.extend(losses(&results.results));
    }
    parts.extend(results.scaling.iter().map(scaling));
    let left_out = results.left_out.iter().map(|left| format!("left out: {}: {}\n", left.path, left.reason));
    parts.push(left_out.collect());
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn introduction(results: &Results) -> String {
    let (machine, settings) = (&results.machine, &results.settings);
    let debug = match settings.build.as_str() {
        "release" => "",
        _ => "A debug build: its figures say nothing about a release.\n",
    };
    let rounds = match settings.rounds {
        1 => "1 round".to_owned(),
        rounds => format!("medians of {rounds} rounds"),
    };
    format!(
        "{}, {} cores, Linux {}\ntapyard {}, {}, trials of {} s, {rounds}\n{debug}",
        machine.cpu, machine.cores, machine.kernel, results.version, results.date, settings.seconds,
    )
}

fn cells(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "PATH",
        ">SIZE",
        ">FRAMES/S",
        ">BIT/S",
        ">LOSS-FREE",
        ">CPU/FRAME",
        ">P50",
        ">P99",
        ">P99.9",
        ">MAX",
        ">JITTER",
    ]);
    for cell in cells {
        // The lowest load is the one that says what the path itself takes.
        let latency = cell.latency.first();
        let delay = |of: fn(&super::results::Latency) -> &Figure| {
            latency.map_or_else(|| "-".into(), |latency| time(of(latency).median))
        };
        table.row([
            cell.path.clone(),
            cell.size.clone(),
            rate(&cell.throughput_fps),
            si(cell.throughput_bps.median as u64),
            cell.loss_free_fps.as_ref().map_or_else(|| "-".into(), rate),
            cell.cpu_ns_per_frame.as_ref().map_or_else(|| "-".into(), |figure| time(figure.median)),
            delay(|latency| &latency.p50_ns),
            delay(|latency| &latency.p99_ns),
            delay(|latency| &latency.p999_ns),
            delay(|latency| &latency.max_ns),
            delay(|latency| &latency.jitter_ns),
        ]);
    }
    let size = Size::Super.bytes();
    format!(
        "{table}SIZE in bytes with FCS; super: {size} bytes of TCP at once. Delays at half of the loss-free rate.\n"
    )
}

/// A rate, and how far the rounds are from its middle where there are several.
fn rate(figure: &Figure) -> String {
    let spread = match figure.rounds.len() {
        0 | 1 => String::new(),
        _ => format!("±{:.0}%", figure.spread() * 50.0),
    };
    si(figure.median.round() as u64) + &spread
}

/// Where the frames of the throughput trials went that did not arrive.
fn losses(cells: &[Cell]) -> Option<String> {
    let mut table = Table::new(&["PATH", ">SIZE", ">OFFERED", ">LOST", "WHERE", "WHY"]);
    let mut any = false;
    for cell in cells {
        for loss in &cell.account.losses {
            any = true;
            table.row([
                cell.path.clone(),
                cell.size.clone(),
                cell.account.sent.to_string(),
                loss.frames.to_string(),
                loss.place.clone(),
                loss.reason.clone(),
            ]);
        }
    }
    any.then(|| format!("Lost while as many frames as go were offered:\n{table}"))
}

fn scaling(scaling: &Scaling) -> String {
    let mut table = Table::new(&[&format!(">{}", scaling.by.to_uppercase()), ">FRAMES/S", ">RATIO"]);
    let first = scaling.points.first().map_or(1.0, |point| point.throughput_fps.median);
    for point in &scaling.points {
        let ratio = format!("{:.2}x", point.throughput_fps.median / first);
        table.row([point.number.to_string(), rate(&point.throughput_fps), ratio]);
    }
    format!("{}, frames of 64 bytes, by {}:\n{table}", scaling.path, scaling.by)
}

/// A time in nanoseconds, in three digits: 7.2ns, 812us, 1.20ms.
pub(super) fn time(nanos: f64) -> String {
    let (mut value, mut units) = (nanos, ["us", "ms", "s"].into_iter());
    let mut unit = "ns";
    while value >= 999.5
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = next;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (nanos, text) in
            [(0.0, "0.00ns"), (27.41, "27.4ns"), (999.6, "1.00us"), (123_456.0, "123us"), (2.5e10, "25.0s")]
        {
            assert_eq!(time(nanos), text);
        }
    }
}
