//! `tapyard top`: what the switch does, as it does it.
//!
//! Once an interval the switch is asked for its counters ([`gather`]); [`figures`] makes rates of two answers, [`listing`]
//! makes tables of those, and [`screen`] draws one of them as the keys in [`choice`] say. Where the output is no terminal,
//! the same tables are printed.

mod choice;
mod figures;
mod gather;
mod listing;
mod print;
mod screen;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::interrupt::Interrupt;
use super::{Failure, Outcome, Switch, print as say};
use crate::control::client::{Client, socket_path};
use choice::{Choice, Next, View};
use figures::Figures;
pub(super) use figures::PortRates;
use gather::Sample;
use screen::Screen;

/// How long a key may wait to be looked at.
const KEY: Duration = Duration::from_millis(50);

/// Show rates, drops, talkers, tables and tunnels, live
#[derive(Debug, Args)]
#[command(after_help = "\
Keys:
  1-6, Tab      the view        Enter, Esc    a port's details, and back
  /             filter          s, S, r       sort by another column, the other way round
  space         pause           +, -          look less or more often
  ?             help            q             quit

Where the output is no terminal, all views are printed, once or --count times.

Examples:
  tapyard top --view drops               begin with what is dropped, and why
  tapyard top -n 1 | less                all views once
  tapyard top -j -n 60 | jq .ports       a line of JSON each second, for a minute")]
pub(super) struct Top {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// The view to begin with
    #[arg(short, long, value_enum, default_value_t)]
    view: View,
    /// Show only lines in which this occurs
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Print so many times, and do not take the terminal
    #[arg(short = 'n', long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print as JSON, a line each time
    #[arg(short, long)]
    json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let secs = text.parse::<f64>().map_err(|_| format!("{text:?} is no number of seconds"))?;
    match (0.2..=60.0).contains(&secs) {
        true => Ok(Duration::from_secs_f64(secs)),
        false => Err("an interval is 0.2 to 60 seconds".into()),
    }
}

impl Top {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let interrupt = Interrupt::catch()?;
        let path = socket_path(switch.control.as_deref());
        let first = Sample::gather(&mut Client::connect(&path)?, true)?;
        if self.json || self.count.is_some() || !stdout().is_terminal() {
            return self.print(switch, &interrupt, first);
        }
        let mut choice = Choice::new(self.view, self.filter, self.interval);
        let mut watch = Watch { path, client: None, figures: Figures::new(first), lost: None };
        let mut screen = Screen::open()?;
        // Closing it gives the terminal back before anything else is said.
        let ended = watch.run(&mut choice, &mut screen, &interrupt);
        screen.close();
        ended
    }

    fn print(&self, switch: &Switch, interrupt: &Interrupt, first: Sample) -> Outcome {
        let (mut client, mut figures) = (switch.connect()?, Figures::new(first));
        for _ in 0..self.count.unwrap_or(1) {
            interrupt.wait_until(Instant::now() + self.interval)?;
            figures.take(Sample::gather(&mut client, true)?);
            match self.json {
                true => say(&format!("{}\n", print::json(&figures)))?,
                false => say(&print::text(&figures, &self.filter))?,
            }
        }
        Ok(())
    }
}

/// A switch that is looked at again and again.
struct Watch {
    path: PathBuf,
    client: Option<Client>,
    figures: Figures,
    /// Why it was not seen the last time.
    lost: Option<String>,
}

impl Watch {
    fn run(&mut self, choice: &mut Choice, screen: &mut Screen, interrupt: &Interrupt) -> Outcome {
        let mut due = Instant::now() + choice.interval;
        loop {
            screen.draw(choice, &self.figures, self.lost.as_deref())?;
            // Keys and changes of the window's size come at once, the rest when it is due.
            while Instant::now() < due {
                interrupt.check()?;
                if !event::poll(KEY.min(due.saturating_duration_since(Instant::now()))).map_err(terminal)? {
                    continue;
                }
                let next = match event::read().map_err(terminal)? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => choice.key(key, &self.figures),
                    _ => Next::Draw,
                };
                match next {
                    Next::End => return Ok(()),
                    Next::Look => due = Instant::now(),
                    Next::Draw => {}
                }
                screen.draw(choice, &self.figures, self.lost.as_deref())?;
            }
            due = Instant::now() + choice.interval;
            if !choice.paused {
                self.look(choice);
            }
        }
    }

    /// Asks the switch; what was seen last stays when it does not answer.
    fn look(&mut self, choice: &Choice) {
        let sample = match &mut self.client {
            Some(client) => Sample::gather(client, choice.wants_talkers()),
            None => Client::connect(&self.path).and_then(|mut client| {
                let sample = Sample::gather(&mut client, choice.wants_talkers());
                self.client = Some(client);
                sample
            }),
        };
        match sample {
            Ok(sample) => {
                self.figures.take(sample);
                self.lost = None;
            }
            Err(why) => (self.client, self.lost) = (None, Some(why)),
        }
    }
}

fn terminal(error: std::io::Error) -> Failure {
    Failure::Said(format!("the terminal: {error}"))
}
