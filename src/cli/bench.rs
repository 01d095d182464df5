//! `tapyard bench`: how fast the switch is on this machine, measured with no other program.

mod engine;
mod frames;
mod machine;
mod method;
mod path;
mod progress;
mod results;
mod summary;
mod trial;

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::interrupt::Interrupt;
use super::{Failure, Format, Outcome, print, print_json};
use engine::Engine;
use engine::topology::Shape;
use frames::Size;
use machine::Machine;
use method::Round;
use path::Path;
use progress::Progress;
use results::{Cell, LeftOut, Results, Settings};
use trial::Rig;

/// Measure how fast the switch is on this machine, with no other program
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapyard bench                            every path, in about a minute
  tapyard bench engine --sizes all         the engine alone, with all sizes of RFC 2544
  tapyard bench tap nat --rounds 5 --json > before.json")]
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
        let interrupt = Interrupt::catch()?;
        let results = self.run(&interrupt)?;
        if self.format.json {
            return print_json(&serde_json::to_value(&results).map_err(|error| error.to_string())?);
        }
        print(&summary::of(&results))
    }

    fn run(&self, interrupt: &Interrupt) -> Result<Results, Failure> {
        let (paths, left_out) = self.paths();
        let settings = Settings {
            seconds: self.seconds,
            rounds: self.rounds,
            workers: self.workers,
            resolution: method::RESOLUTION,
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        };
        let mut results = Results {
            schema: results::SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            date: machine::now(),
            machine: Machine::this(),
            settings,
            results: Vec::new(),
            scaling: Vec::new(),
            left_out,
        };
        results.results = self.measure(&paths, interrupt)?;
        Ok(results)
    }

    /// What is measured, and what is left out.
    fn paths(&self) -> (Vec<Path>, Vec<LeftOut>) {
        let asked = if self.paths.is_empty() { Path::value_variants().to_vec() } else { self.paths.clone() };
        (asked.into_iter().filter(|path| !path.needs_devices()).collect(), Vec::new())
    }

    fn all_sizes(&self) -> Vec<Size> {
        let mut sizes = Vec::new();
        for asked in &self.sizes {
            match asked {
                Sizes::One(size) => sizes.push(*size),
                Sizes::All => sizes.extend(Size::ALL),
            }
        }
        let mut seen = Vec::new();
        sizes.retain(|size| {
            !seen.contains(size) && {
                seen.push(*size);
                true
            }
        });
        sizes
    }

    /// Measures all paths with all sizes, in rounds, so that a machine whose speed drifts treats all alike.
    fn measure(&self, paths: &[Path], interrupt: &Interrupt) -> Result<Vec<Cell>, Failure> {
        let sizes = self.all_sizes();
        let cases: Vec<(Path, Size)> =
            paths.iter().flat_map(|&path| sizes.iter().map(move |&size| (path, size))).collect();
        let mut measured: Vec<Vec<Round>> = vec![Vec::new(); cases.len()];
        let mut progress = Progress::new(cases.len() * self.rounds as usize);
        for _ in 0..self.rounds {
            for (&(path, size), rounds) in cases.iter().zip(&mut measured) {
                progress.step(&format!("{} {size}", path.name()));
                let mut rig = Engine::new(path.way(), size, Shape::SMALL, interrupt);
                rounds.push(self.round(&mut rig)?);
            }
        }
        let cells = cases.iter().zip(&measured);
        Ok(cells.filter_map(|(&(path, size), rounds)| Cell::of(&path.name(), size, rounds)).collect())
    }

    /// Measures a rig once, when it has warmed up.
    fn round(&self, rig: &mut dyn Rig) -> Result<Round, Failure> {
        let duration = Duration::from_secs_f64(self.seconds);
        rig.trial(trial::Load::Most, duration / 2)?;
        method::measure(rig, duration)
    }
}
