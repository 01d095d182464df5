//! What has changed between two runs, and whether that is more than the machine's noise.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::super::table::{Table, si};
use super::super::{Format, Outcome, print, print_json};
use super::results::{Cell, Figure, Results, SCHEMA};
use super::summary::time;

/// A difference below this says nothing when there was only one round.
const NOISE: f64 = 0.1;

/// Prints what has changed between two files.
pub(super) fn files(a: &Path, b: &Path, format: Format) -> Outcome {
    let changes = compare(&read(a)?, &read(b)?)?;
    if format.json {
        return print_json(&serde_json::to_value(&changes).map_err(|error| error.to_string())?);
    }
    print(&table(&changes))
}

fn read(path: &Path) -> Result<Results, String> {
    let cannot = |error: String| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| cannot(format!("not what bench --json prints: {error}")))?;
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(SCHEMA) => {}
        Some(other) => return Err(cannot(format!("has the schema {other}, not {SCHEMA}: measure again"))),
        None => return Err(cannot("not what bench --json prints: it has no schema".into())),
    }
    serde_json::from_value(value).map_err(|error| cannot(format!("not what bench --json prints: {error}")))
}

/// One figure in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Change {
    path: String,
    size: String,
    /// Which figure.
    what: &'static str,
    a: f64,
    b: f64,
    /// B to A.
    ratio: f64,
    verdict: Verdict,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Better,
    Worse,
    /// No more than rounds differ among themselves.
    Noise,
    /// There was only one round, so nobody knows how much they differ.
    MaybeBetter,
    MaybeWorse,
    /// Not by much, of one round.
    MaybeSame,
}

impl Verdict {
    /// The verdict on a figure of which more is better, or less.
    fn on(a: &Figure, b: &Figure, more_is_better: bool) -> Verdict {
        let better = (b.median > a.median) == more_is_better;
        if a.rounds.len() > 1 && b.rounds.len() > 1 {
            return match (a.min <= b.max && b.min <= a.max, better) {
                (true, _) => Verdict::Noise,
                (false, true) => Verdict::Better,
                (false, false) => Verdict::Worse,
            };
        }
        match ((b.median - a.median).abs() <= NOISE * a.median.abs(), better) {
            (true, _) => Verdict::MaybeSame,
            (false, true) => Verdict::MaybeBetter,
            (false, false) => Verdict::MaybeWorse,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Noise => "within the noise",
            Verdict::MaybeBetter => "better?",
            Verdict::MaybeWorse => "worse?",
            Verdict::MaybeSame => "much the same?",
        }
    }
}

/// Compares what both have measured.
fn compare(a: &Results, b: &Results) -> Result<Vec<Change>, String> {
    let same = |what: &str, a: String, b: String| match a == b {
        true => Ok(()),
        false => Err(format!("the runs differ in {what} ({a}, {b}), so their figures do not compare")),
    };
    same("their machine", a.machine.cpu.clone(), b.machine.cpu.clone())?;
    same("the number of cores", a.machine.cores.to_string(), b.machine.cores.to_string())?;
    same("their build", a.settings.build.clone(), b.settings.build.clone())?;
    same("the length of trials", a.settings.seconds.to_string(), b.settings.seconds.to_string())?;
    same("the number of workers", a.settings.workers.to_string(), b.settings.workers.to_string())?;
    let mut changes = Vec::new();
    for cell in &a.results {
        let same = |other: &&Cell| other.path == cell.path && other.size == cell.size;
        if let Some(other) = b.results.iter().find(same) {
            changes.extend(cell_changes(cell, other));
        }
    }
    for scaling in &a.scaling {
        for point in &scaling.points {
            let other =
                b.scaling.iter().filter(|other| other.by == scaling.by).flat_map(|other| &other.points);
            if let Some(other) = other.into_iter().find(|other| other.number == point.number) {
                let place = (scaling.path.clone(), format!("{} {}", point.number, scaling.by));
                changes.extend(change(
                    place,
                    "frames/s",
                    Some(&point.throughput_fps),
                    Some(&other.throughput_fps),
                ));
            }
        }
    }
    if changes.is_empty() {
        return Err("the runs have nothing in common: no path with the same size".into());
    }
    Ok(changes)
}

fn cell_changes(a: &Cell, b: &Cell) -> Vec<Change> {
    let latency = |cell: &Cell| cell.latency.first().cloned();
    let (late_a, late_b) = (latency(a), latency(b));
    let figures = [
        ("frames/s", Some(&a.throughput_fps), Some(&b.throughput_fps)),
        ("loss-free", a.loss_free_fps.as_ref(), b.loss_free_fps.as_ref()),
        ("CPU/frame", a.cpu_ns_per_frame.as_ref(), b.cpu_ns_per_frame.as_ref()),
        ("p50", late_a.as_ref().map(|late| &late.p50_ns), late_b.as_ref().map(|late| &late.p50_ns)),
        ("p99", late_a.as_ref().map(|late| &late.p99_ns), late_b.as_ref().map(|late| &late.p99_ns)),
    ];
    let place = || (a.path.clone(), a.size.clone());
    figures.into_iter().filter_map(|(what, a, b)| change(place(), what, a, b)).collect()
}

/// The change of a figure that both have.
fn change(
    (path, size): (String, String),
    what: &'static str,
    a: Option<&Figure>,
    b: Option<&Figure>,
) -> Option<Change> {
    let (a, b) = (a?, b?);
    let verdict = Verdict::on(a, b, is_rate(what));
    // JSON has no infinity.
    let ratio = b.median / a.median.max(f64::MIN_POSITIVE);
    Some(Change { path, size, what, a: a.median, b: b.median, ratio, verdict })
}

fn is_rate(what: &str) -> bool {
    ["frames/s", "loss-free"].contains(&what)
}

fn table(changes: &[Change]) -> String {
    let mut table = Table::new(&["PATH", ">SIZE", "FIGURE", ">A", ">B", ">B/A", "VERDICT"]);
    for change in changes {
        let text = |value: f64| if is_rate(change.what) { si(value as u64) } else { time(value) };
        table.row([
            change.path.clone(),
            change.size.clone(),
            change.what.into(),
            text(change.a),
            text(change.b),
            format!("{:.2}x", change.ratio),
            change.verdict.text().into(),
        ]);
    }
    let count =
        |verdicts: [Verdict; 2]| changes.iter().filter(|change| verdicts.contains(&change.verdict)).count();
    let better = count([Verdict::Better, Verdict::MaybeBetter]);
    let worse = count([Verdict::Worse, Verdict::MaybeWorse]);
    let rest = changes.len() - better - worse;
    let unsure = changes.iter().any(|change| {
        matches!(change.verdict, Verdict::MaybeBetter | Verdict::MaybeWorse | Verdict::MaybeSame)
    });
    let note = match unsure {
        true => {
            "?: of one round only, which does not tell a change from noise; measure both with --rounds 5\n"
        }
        false => "",
    };
    format!("{table}\n{better} better, {worse} worse, {rest} much the same\n{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(rounds: &[f64]) -> Figure {
        Figure::of(rounds.to_vec()).unwrap()
    }

    #[test]
    fn a_change_counts_only_where_no_round_of_the_one_is_like_one_of_the_other() {
        let before = figure(&[100.0, 104.0, 98.0]);
        for (after, more_is_better, verdict) in [
            ([103.0, 110.0, 120.0], true, Verdict::Noise),
            ([105.0, 110.0, 120.0], true, Verdict::Better),
            ([105.0, 110.0, 120.0], false, Verdict::Worse),
            ([90.0, 97.0, 95.0], true, Verdict::Worse),
            ([90.0, 97.0, 95.0], false, Verdict::Better),
        ] {
            assert_eq!(Verdict::on(&before, &figure(&after), more_is_better), verdict, "{after:?}");
        }
    }

    #[test]
    fn one_round_is_never_sure() {
        let before = figure(&[100.0]);
        for (after, verdict) in
            [(109.0, Verdict::MaybeSame), (120.0, Verdict::MaybeBetter), (80.0, Verdict::MaybeWorse)]
        {
            assert_eq!(Verdict::on(&before, &figure(&[after]), true), verdict, "{after}");
        }
    }
}
