//! `tapyard bench`: how fast the switch is on this machine, measured with no other program.

mod compare;
mod devices;
mod engine;
mod frames;
mod machine;
mod method;
mod path;
mod plot;
mod progress;
mod report;
mod results;
mod scale;
mod summary;
mod trial;

use std::path::PathBuf;
use std::slice;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::interrupt::Interrupt;
use super::{Failure, Format, Outcome, isolation, print, print_json};
use devices::{Devices, Interface};
use engine::Engine;
use engine::topology::Shape;
use frames::Size;
use machine::Machine;
use method::Round;
use path::Path;
use progress::Progress;
use results::{Cell, Results, Settings, Unmeasured};
use scale::By;
use trial::{Load, Rig};

/// Measure how fast the switch is on this machine, with no other program
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapyard bench                            every path, in about a minute
  tapyard bench engine --sizes all         the engine alone, with all sizes of RFC 2544
  tapyard bench --scale all                the engine's rate by workers, ports, MACs, flows and rules
  tapyard bench tap nat --rounds 5 --json > before.json
  tapyard bench --compare before.json after.json
  tapyard bench --report bench.html        a page with plots")]
pub(super) struct Bench {
    /// What to measure [default: all that this user may]
    #[arg(value_name = "PATH")]
    paths: Vec<Path>,
    /// Frame sizes in bytes, check sequence included; \"super\" for TCP superframes of 64 KiB, \"all\" for those of RFC
    /// 2544, 9000 and super
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "64,1518,super", value_parser = sizes)]
    sizes: Vec<Sizes>,
    /// How long each trial is; some 15 make a line of the table
    #[arg(long, value_name = "SECONDS", default_value_t = 0.1, value_parser = seconds)]
    seconds: f64,
    /// How often everything is measured, in turn; what is shown are medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Workers of each switch that has devices
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = workers)]
    workers: usize,
    /// How the engine's rate changes with how much there is; without a PATH nothing else is measured
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    scale: Vec<By>,
    /// Measure whatever is between two interfaces, in place of a switch of one's own: send by the one, and receive by the
    /// other. Neither may be in use
    #[arg(long, num_args = 2, value_names = ["[NETNS:]IF", "[NETNS:]IF"], conflicts_with_all = ["paths", "workers"])]
    between: Option<Vec<Interface>>,
    /// Write a page with plots, which opens in a browser without a network
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Measure nothing, but compare what two runs have printed with --json
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"])]
    #[arg(conflicts_with_all = ["paths", "sizes", "seconds", "rounds", "workers", "scale", "between", "report"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    format: Format,
}

/// One word of `--sizes`.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    One(Size),
    All,
}

fn sizes(text: &str) -> Result<Sizes, String> {
    if text == "all" { Ok(Sizes::All) } else { text.parse().map(Sizes::One) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=60.0).contains(seconds));
    seconds.ok_or_else(|| "a trial is of 0.001 to 60 seconds".into())
}

fn workers(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|workers| (1..=64).contains(workers)).ok_or_else(|| "1 to 64 workers".into())
}

impl Bench {
    pub(super) fn execute(self) -> Outcome {
        if let Some([a, b]) = self.compare.as_deref() {
            return compare::files(a, b, self.format);
        }
        let interrupt = Interrupt::catch()?;
        // Better refused now than after a minute.
        let page = self.report.as_deref().map(report::create).transpose()?;
        let results = self.run(&interrupt)?;
        if let Some((path, page)) = self.report.as_deref().zip(page) {
            report::write(path, page, &results)?;
        }
        if self.format.json {
            print_json(&serde_json::to_value(&results).map_err(|error| error.to_string())?)?;
        } else {
            print(&summary::of(&results))?;
        }
        let failed: Vec<_> =
            results.failed.iter().map(|path| format!("{}: {}", path.path, path.reason)).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
    }

    fn run(&self, interrupt: &Interrupt) -> Result<Results, Failure> {
        let date = machine::now();
        let (paths, left_out) = self.paths()?;
        let (results, failed) = self.measure(&paths, interrupt)?;
        let mut by: Vec<By> = self.scale.iter().flat_map(|by| by.each()).copied().collect();
        by.dedup();
        let scaling = scale::measure(&by, (self.rounds, self.duration()), interrupt)?;
        Ok(Results {
            schema: results::SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            date,
            machine: Machine::this(),
            settings: Settings {
                seconds: self.seconds,
                rounds: self.rounds,
                workers: self.workers,
                resolution: method::RESOLUTION,
                build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
            },
            results,
            scaling,
            left_out,
            failed,
        })
    }

    /// What is measured, and what is left out since this user may not. Leaves the host's network where devices are needed.
    fn paths(&self) -> Result<(Vec<Path>, Vec<Unmeasured>), Failure> {
        if self.between.is_some() {
            return Ok((vec![Path::Between], Vec::new()));
        }
        let asked = match (self.paths.is_empty(), self.scale.is_empty()) {
            (true, true) => Path::value_variants(),
            _ => &self.paths,
        };
        if !asked.iter().any(|path| path.needs_devices()) {
            return Ok((asked.to_vec(), Vec::new()));
        }
        match isolation::leave_host() {
            Ok(()) => Ok((asked.to_vec(), Vec::new())),
            Err(why) if !self.by_default() => Err(Failure::Said(why)),
            Err(why) => {
                let (devices, others) = asked.iter().partition::<Vec<Path>, _>(|path| path.needs_devices());
                let left_out =
                    devices.iter().map(|path| Unmeasured { path: path.name(), reason: why.clone() });
                Ok((others, left_out.collect()))
            }
        }
    }

    /// Whether nobody has said what to measure.
    fn by_default(&self) -> bool {
        self.paths.is_empty() && self.between.is_none()
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn all_sizes(&self) -> Vec<Size> {
        let mut sizes: Vec<Size> = Vec::new();
        for asked in &self.sizes {
            let asked = match asked {
                Sizes::One(size) => slice::from_ref(size),
                Sizes::All => &Size::ALL,
            };
            for size in asked {
                if !sizes.contains(size) {
                    sizes.push(*size);
                }
            }
        }
        sizes
    }

    /// Measures all paths with all sizes, in rounds, so that a machine whose speed drifts treats all alike. Also gives the
    /// paths that failed; where somebody has said what to measure, the first of those ends the run.
    fn measure(
        &self,
        paths: &[Path],
        interrupt: &Interrupt,
    ) -> Result<(Vec<Cell>, Vec<Unmeasured>), Failure> {
        let sizes = self.all_sizes();
        let cases: Vec<(Path, Size)> =
            paths.iter().flat_map(|&path| sizes.iter().map(move |&size| (path, size))).collect();
        let mut measured: Vec<Vec<Round>> = vec![Vec::new(); cases.len()];
        let mut failed: Vec<Unmeasured> = Vec::new();
        let mut progress = Progress::new(cases.len() * self.rounds as usize);
        for _ in 0..self.rounds {
            for (&(path, size), rounds) in cases.iter().zip(&mut measured) {
                let name = path.name();
                progress.step(&format!("{name} {size}"));
                if failed.iter().any(|failed| failed.path == name) {
                    continue;
                }
                match self.round(path, size, interrupt) {
                    Ok(round) => rounds.push(round),
                    Err(Failure::Said(why)) if self.by_default() => {
                        failed.push(Unmeasured { path: name, reason: format!("{size}: {why}") });
                    }
                    Err(Failure::Said(why)) => return Err(format!("{name} {size}: {why}").into()),
                    Err(other) => return Err(other),
                }
            }
        }
        let cells = cases.iter().zip(&measured);
        let cells = cells.filter_map(|(&(path, size), rounds)| Cell::of(&path.name(), size, rounds));
        Ok((cells.collect(), failed))
    }

    fn round(&self, path: Path, size: Size, interrupt: &Interrupt) -> Result<Round, Failure> {
        let mut rig: Box<dyn Rig + '_> = match self.between.as_deref() {
            Some([near, far]) => Box::new(Devices::between([near, far], size, interrupt)?),
            _ if path.needs_devices() => Box::new(Devices::new(path, size, self.workers, interrupt)?),
            _ => Box::new(Engine::new(path.way(), size, Shape::SMALL, interrupt)),
        };
        let duration = self.duration();
        // What is cold at first is no part of it.
        rig.trial(Load::Most, duration / 2)?;
        method::measure(&mut *rig, duration)
    }
}
