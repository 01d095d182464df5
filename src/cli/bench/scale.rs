//! How the engine's rate changes with how much there is: workers, ports, stations, flows, rules.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::engine::topology::{self, Shape};
use super::engine::{Engine, Source};
use super::frames::Size;
use super::path::{Path, Way};
use super::progress::Progress;
use super::results::{Figure, Point, Scaling};
use super::trial::{Load, Rig};
use crate::table::fdb::Generations;

/// Of what there is more and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Workers that share a bridge, each with a processor of its own
    Workers,
    /// Ports of a bridge
    Ports,
    /// Stations on a bridge
    Macs,
    /// Flows through a router that masquerades
    Flows,
    /// Rules of a router
    Rules,
    /// Each of these in turn
    All,
}

impl By {
    /// What is meant: all, or the one.
    pub(super) fn each(self) -> &'static [By] {
        match self {
            By::All => &[By::Workers, By::Ports, By::Macs, By::Flows, By::Rules],
            By::Workers => &[By::Workers],
            By::Ports => &[By::Ports],
            By::Macs => &[By::Macs],
            By::Flows => &[By::Flows],
            By::Rules => &[By::Rules],
        }
    }

    fn name(self) -> String {
        // None is hidden.
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn path(self) -> Path {
        match self {
            By::Flows => Path::EngineNat,
            By::Rules => Path::EngineRouted,
            By::Workers | By::Ports | By::Macs | By::All => Path::Engine,
        }
    }

    /// How many there are in turn, on a machine with so many processors.
    fn numbers(self, cores: usize) -> Vec<usize> {
        match self {
            By::Workers | By::All => (0..).map(|n| 1 << n).take_while(|&workers| workers <= cores).collect(),
            By::Ports => vec![2, 8, 64, 256],
            By::Macs => vec![2, 1_000, 100_000, 1_000_000],
            By::Flows => vec![1, 1_000, 100_000],
            By::Rules => vec![0, 10, 1_000, 10_000],
        }
    }

    fn shape(self, number: usize) -> Shape {
        // Enough stations that each port has some.
        let shape = Shape { stations: 1_000, ..Shape::SMALL };
        match self {
            By::Workers | By::All => shape,
            By::Ports => Shape { ports: number, ..shape },
            By::Macs => Shape { stations: number, ..shape },
            By::Flows => Shape { flows: number, ..shape },
            By::Rules => Shape { rules: number, ..shape },
        }
    }
}

/// Measures the rate by each of `by`, with frames of 64 bytes.
pub(super) fn measure(
    by: &[By],
    (rounds, duration): (u32, Duration),
    interrupt: &Interrupt,
) -> Result<Vec<Scaling>, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cases: Vec<(By, usize)> =
        by.iter().flat_map(|&by| by.numbers(cores).into_iter().map(move |number| (by, number))).collect();
    let mut measured = vec![Vec::new(); cases.len()];
    let mut progress = Progress::new(cases.len() * rounds as usize);
    for _ in 0..rounds {
        for (&(by, number), figures) in cases.iter().zip(&mut measured) {
            progress.step(&format!("{number} {}", by.name()));
            let workers = if by == By::Workers { number } else { 1 };
            figures.push(rate(by.path().way(), by.shape(number), workers, duration, interrupt)?);
        }
    }
    let points = |by: By| {
        let of_it = cases.iter().zip(&measured).filter(|((of, _), _)| *of == by);
        let points = of_it.filter_map(|((_, number), figures)| {
            Some(Point { number: *number, throughput_fps: Figure::of(figures.clone())? })
        });
        Scaling { by: by.name(), path: by.path().name(), points: points.collect() }
    };
    Ok(by.iter().map(|&by| points(by)).collect())
}

/// Frames a second that some workers carry together, each from a queue of its own.
fn rate(
    way: Way,
    shape: Shape,
    workers: usize,
    duration: Duration,
    interrupt: &Interrupt,
) -> Result<f64, Failure> {
    let generations = Generations::new();
    let topology = Arc::new(topology::of(way, shape, &generations));
    let size = Size::Frame(64);
    let (frames, ready) = (Source::talk(way, size, shape), Barrier::new(workers));
    let work = || -> Result<f64, Failure> {
        let make = || {
            let case = (way, size, shape);
            let mut engine =
                Engine::worker(Arc::clone(&topology), &generations, case, frames.clone(), interrupt);
            engine.warm_up()?;
            Ok(engine)
        };
        let engine: Result<Engine<'_>, Failure> = make();
        // Also who has failed has to come, since the others wait.
        ready.wait();
        Ok(engine?.trial(Load::Most, duration)?.rate)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let rates = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        rates.sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_doubled_up_to_the_processors() {
        assert_eq!(By::Workers.numbers(1), [1]);
        assert_eq!(By::Workers.numbers(6), [1, 2, 4]);
        assert!(By::All.each().iter().all(|by| by.each() == [*by] && !by.numbers(2).is_empty()));
    }
}
