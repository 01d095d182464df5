//! The page of `--report`: plots and tables in one file, without a script or anything from elsewhere.

use std::array;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::iter;
use std::path::Path;

use super::super::table::si;
use super::plot::{Line, Plot, Value, escape};
use super::results::{Cell, Figure, Latency, Results, Scaling, Unmeasured};
use super::summary::time;

/// The page up to its first figure.
const HEAD: &str = include_str!("report.html");

/// Makes the file.
pub(super) fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// Writes the page.
pub(super) fn write(path: &Path, mut file: File, results: &Results) -> Result<(), String> {
    file.write_all(page(results).as_bytes())
        .map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

fn page(results: &Results) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string cannot fail, here and below.
    let _ = write!(page, "{}", introduction(results));
    let (engine, devices): (Vec<&Cell>, Vec<&Cell>) =
        results.results.iter().partition(|cell| cell.path.starts_with("engine"));
    for (title, about, cells) in [
        (
            "With devices",
            "TAPs, interfaces and tunnels in network namespaces, as the switch has them.",
            devices,
        ),
        ("The engine alone", "Memory at both ends, one processor, no system call.", engine),
    ] {
        if !cells.is_empty() {
            let _ = write!(page, "<h2>{title}</h2>\n<p class=\"about\">{about}</p>\n{}", part(&cells));
        }
    }
    page.extend(results.scaling.iter().map(scaling));
    for (title, paths) in [("Failed", &results.failed), ("Left out", &results.left_out)] {
        if !paths.is_empty() {
            let item =
                |path: &Unmeasured| format!("<li>{}: {}</li>\n", escape(&path.path), escape(&path.reason));
            let _ =
                write!(page, "<h2>{title}</h2>\n<ul>\n{}</ul>\n", paths.iter().map(item).collect::<String>());
        }
    }
    page + "</body>\n</html>\n"
}

fn introduction(results: &Results) -> String {
    let (machine, settings) = (&results.machine, &results.settings);
    let debug = if settings.build == "release" { "" } else { " <strong>A debug build.</strong>" };
    format!(
        "<p class=\"about\">{}, {} cores, {:.0} GiB, Linux {}. Tapyard {}, {}. {} round{} of trials of {} s; points are \
         medians, bars the least and the most.{debug}</p>\n",
        escape(&machine.cpu),
        machine.cores,
        machine.memory_bytes as f64 / f64::from(1 << 30),
        escape(&machine.kernel),
        escape(&results.version),
        escape(&results.date),
        settings.rounds,
        if settings.rounds == 1 { "" } else { "s" },
        settings.seconds,
    )
}

/// Plots and tables of paths.
fn part(cells: &[&Cell]) -> String {
    let plot = |up, text, figure: &dyn Fn(&Cell) -> Option<Figure>| by_size(cells, up, text, figure);
    let median =
        |figure: fn(&Latency) -> &Figure| move |cell: &Cell| cell.latency.first().map(figure).cloned();
    let mut part = String::new();
    for (title, svg) in [
        ("Throughput, bit/s", plot("bit/s", count, &|cell| Some(cell.throughput_bps.clone()))),
        ("Throughput, frames/s", plot("frames/s", count, &|cell| Some(cell.throughput_fps.clone()))),
        ("Frames/s without a loss", plot("frames/s", count, &|cell| cell.loss_free_fps.clone())),
        ("Processor time for a frame", plot("time", time, &|cell| cell.cpu_ns_per_frame.clone())),
        (
            "Median delay at half of the loss-free rate",
            plot("time", time, &median(|latency| &latency.p50_ns)),
        ),
        ("99 % of the frames took no longer", plot("time", time, &median(|latency| &latency.p99_ns))),
        ("Delays by percentile, frames of the smallest size", by_percentile(cells)),
    ] {
        if !svg.is_empty() {
            let _ = write!(part, "<h3>{title}</h3>\n{svg}");
        }
    }
    part + &table(cells)
}

fn count(value: f64) -> String {
    si(value.round() as u64)
}

fn value(figure: Figure) -> Value {
    Value { median: figure.median, min: figure.min, max: figure.max }
}

/// The different texts of a list, in its order.
fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts {
        if !distinct.contains(text) {
            distinct.push(text.clone());
        }
    }
    distinct
}

/// A line for each path, over the sizes. Superframes carry so much more than the shortest frames that only decades show both.
fn by_size(
    cells: &[&Cell],
    up: &'static str,
    text: fn(f64) -> String,
    figure: &dyn Fn(&Cell) -> Option<Figure>,
) -> String {
    let sizes = distinct(cells.iter().map(|cell| &cell.size));
    let line = |path: String| {
        let at = |size: &String| {
            cells.iter().find(|cell| cell.path == path && cell.size == *size).and_then(|cell| figure(cell))
        };
        Line { values: sizes.iter().map(|size| at(size).map(value)).collect(), name: path }
    };
    let lines = distinct(cells.iter().map(|cell| &cell.path)).into_iter().map(line).collect();
    Plot { across: "frame size, bytes", places: sizes, up, logarithmic: true, text, lines }.svg()
}

/// What a percentile is called, and where it is.
type Percentile = (&'static str, fn(&Latency) -> &Figure);

/// A line for each path and load, over the percentiles.
fn by_percentile(cells: &[&Cell]) -> String {
    let percentiles: [Percentile; 5] = [
        ("50 %", |latency| &latency.p50_ns),
        ("90 %", |latency| &latency.p90_ns),
        ("99 %", |latency| &latency.p99_ns),
        ("99.9 %", |latency| &latency.p999_ns),
        ("all", |latency| &latency.max_ns),
    ];
    let size = cells.first().map(|cell| &cell.size);
    let of_size = cells.iter().filter(|cell| Some(&cell.size) == size);
    let line = |(cell, latency): (&&Cell, &Latency)| Line {
        name: format!("{}, at {:.0} %", cell.path, latency.load * 100.0),
        values: percentiles.iter().map(|(_, figure)| Some(value(figure(latency).clone()))).collect(),
    };
    let lines = of_size.flat_map(|cell| cell.latency.first().map(|latency| (cell, latency))).map(line);
    Plot {
        across: "part of the frames",
        places: percentiles.iter().map(|(name, _)| (*name).to_owned()).collect(),
        up: "time",
        logarithmic: true,
        text: time,
        lines: lines.collect(),
    }
    .svg()
}

fn table(cells: &[&Cell]) -> String {
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>path</th><th>size</th><th>frames/s</th><th>bit/s</th><th>loss-free</th>\
         <th>CPU/frame</th><th>load</th><th>50 %</th><th>90 %</th><th>99 %</th><th>99.9 %</th><th>max</th><th>jitter</th></tr>\n",
    );
    for cell in cells {
        let head = [
            cell.path.clone(),
            cell.size.clone(),
            count(cell.throughput_fps.median),
            count(cell.throughput_bps.median),
            cell.loss_free_fps.as_ref().map_or_else(|| "-".into(), |figure| count(figure.median)),
            cell.cpu_ns_per_frame.as_ref().map_or_else(|| "-".into(), |figure| time(figure.median)),
        ];
        let delays = |latency: &Latency| {
            let figures = [
                &latency.p50_ns,
                &latency.p90_ns,
                &latency.p99_ns,
                &latency.p999_ns,
                &latency.max_ns,
                &latency.jitter_ns,
            ];
            let [p50, p90, p99, p999, max, jitter] = figures.map(|figure| time(figure.median));
            [format!("{:.0} %", latency.load * 100.0), p50, p90, p99, p999, max, jitter]
        };
        let mut rows: Vec<_> = cell.latency.iter().map(delays).collect();
        if rows.is_empty() {
            rows.push(array::from_fn(|_| "-".into()));
        }
        // What does not depend on the load is said once.
        let heads = iter::once(head).chain(iter::repeat_with(Default::default));
        for (head, row) in heads.zip(&rows) {
            let cells = head.iter().chain(row).map(|text| format!("<td>{}</td>", escape(text)));
            let _ = writeln!(table, "<tr>{}</tr>", cells.collect::<String>());
        }
    }
    table += "</table></div>\n";
    let lost: Vec<_> =
        cells.iter().flat_map(|cell| cell.account.losses.iter().map(move |loss| (cell, loss))).collect();
    if !lost.is_empty() {
        table += "<h3>Where frames were lost while as many as go were offered</h3>\n<div class=\"scroll\"><table>\n\
                  <tr><th>path</th><th>size</th><th>offered</th><th>lost</th><th class=\"text\">where</th><th class=\"text\">why</th></tr>\n";
        for (cell, loss) in lost {
            let _ = writeln!(
                table,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
                escape(&cell.path),
                escape(&cell.size),
                cell.account.sent,
                loss.frames,
                escape(&loss.place),
                escape(&loss.reason),
            );
        }
        table += "</table></div>\n";
    }
    table
}

fn scaling(scaling: &Scaling) -> String {
    let values = scaling.points.iter().map(|point| Some(value(point.throughput_fps.clone()))).collect();
    let plot = Plot {
        across: "number",
        places: scaling.points.iter().map(|point| point.number.to_string()).collect(),
        up: "frames/s",
        logarithmic: false,
        text: count,
        lines: vec![Line { name: format!("{}, 64 bytes", scaling.path), values }],
    };
    format!("<h2>By {}</h2>\n{}", escape(&scaling.by), plot.svg())
}
