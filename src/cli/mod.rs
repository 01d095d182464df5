//! The `tapyard` command: noun, then verb, `show` being the default verb. One file per noun.
//!
//! A command asks the switch over its control socket and prints what it says, as a table or, with `-j`, as the JSON it
//! came in. It ends with 0 when that was done, 1 when it was refused or failed (why, on stderr), 2 on wrong usage; the demo
//! and the benchmark, when a signal ended them, with 128 and the signal's number. That nobody reads the output to its end is
//! no failure.

mod attach;
mod bench;
mod bridge;
mod capture;
mod check;
mod completions;
mod config;
mod demo;
mod doctor;
mod drops;
mod export;
mod extcap;
mod fdb;
mod interrupt;
mod isolation;
mod man;
mod mirror;
mod nat;
mod neighbor;
mod port;
mod reload;
mod route;
mod router;
mod rule;
mod run;
mod stats;
mod table;
mod top;
mod trace;
mod tunnel;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::control::api::{Applied, Request};
use crate::control::client::{Client, socket_path};

/// A userspace switch on TAP/TUN: frames between guests, namespaces and interfaces through learning, VLAN-aware
/// bridges.
#[derive(Debug, Parser)]
#[command(name = "tapyard", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  tapyard demo                             see traffic pass through a switch, with nothing to set up
  tapyard bench                            measure how fast the switch is on this machine
  tapyard run --config tapyard.toml        start the switch, in the foreground
  tapyard port                             show the ports of the one that runs
  tapyard port add vm3 --type tap --bridge lan vlan=10
  tapyard fdb --bridge lan -j              show the FDB of a bridge, as JSON
  tapyard route get 192.0.2.1              explain where a router sends a packet
  tapyard top                              watch rates, drops and talkers, live
  tapyard trace --in vm1 'ip dst 192.0.2.1/icmp'
                                           see what would happen to a frame, and why
  tapyard capture drops                    see what is dropped anywhere, and why
  tapyard doctor                           say what is wrong, and what to try

Exit codes: 0 done, 1 refused or failed (why, on stderr), 2 wrong usage.")]
struct Cli {
    /// The control socket of the switch [default: $TAPYARD_CONTROL, else /run/tapyard/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    control: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Bench(bench::Bench),
    Run(run::Run),
    Check(check::Check),
    Reload(reload::Reload),
    Port(port::Port),
    Fdb(fdb::Fdb),
    Bridge(bridge::Bridge),
    Tunnel(tunnel::Tunnel),
    Mirror(mirror::Mirror),
    Router(router::Router),
    Route(route::Route),
    #[command(alias = "neighbour")]
    Neighbor(neighbor::Neighbor),
    Nat(nat::Nat),
    Rule(rule::Rule),
    Stats(stats::Stats),
    Top(top::Top),
    Drops(drops::Drops),
    Capture(capture::Capture),
    #[command(hide = true)]
    Extcap(extcap::Extcap),
    Trace(trace::Trace),
    Export(export::Export),
    Doctor(doctor::Doctor),
    Config(config::Config),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    execute(extcap::arguments(std::env::args_os()))
}

fn execute(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; a reader who left is none either.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let switch = Switch { control: cli.control };
    let outcome = match cli.command {
        Command::Demo(demo) => demo.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Run(run) => run.execute(&switch),
        Command::Check(check) => check.execute(),
        Command::Reload(reload) => reload.execute(&switch),
        Command::Port(port) => port.execute(&switch),
        Command::Fdb(fdb) => fdb.execute(&switch),
        Command::Bridge(bridge) => bridge.execute(&switch),
        Command::Tunnel(tunnel) => tunnel.execute(&switch),
        Command::Mirror(mirror) => mirror.execute(&switch),
        Command::Router(router) => router.execute(&switch),
        Command::Route(route) => route.execute(&switch),
        Command::Neighbor(neighbor) => neighbor.execute(&switch),
        Command::Nat(nat) => nat.execute(&switch),
        Command::Rule(rule) => rule.execute(&switch),
        Command::Stats(stats) => stats.execute(&switch),
        Command::Top(top) => top.execute(&switch),
        Command::Drops(drops) => drops.execute(&switch),
        Command::Capture(capture) => capture.execute(&switch),
        Command::Extcap(extcap) => extcap.execute(switch),
        Command::Trace(trace) => trace.execute(&switch),
        Command::Export(export) => export.execute(&switch),
        Command::Doctor(doctor) => doctor.execute(&switch),
        Command::Config(config) => config.execute(&switch),
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute(),
    };
    match outcome {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Said(why)) => {
            let lines: String = why.lines().map(|line| format!("tapyard: {line}\n")).collect();
            let _ = io::stderr().write_all(lines.as_bytes());
            ExitCode::FAILURE
        }
        Err(Failure::Listed(errors)) => {
            let _ = io::stderr().write_all(format!("{errors}\n").as_bytes());
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Interrupted(signal)) => ExitCode::from(128 + signal),
    }
}

/// How a command ended.
type Outcome = Result<(), Failure>;

/// Why a command did not do what it was told.
#[derive(Debug, PartialEq)]
enum Failure {
    /// One line why, or a line for each thing that is wrong.
    Said(String),
    /// Lines that begin with the file and line that they are about, so that an editor can jump there.
    Listed(String),
    /// Everything has been said already.
    Told,
    /// A signal of this number ended it, in order.
    Interrupted(u8),
    /// Nobody reads the output any more.
    Unread,
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Said(why)
    }
}

/// How a command prints what the switch answers.
#[derive(Clone, Copy, Debug, Default, Args)]
struct Format {
    /// Print the answer as JSON
    #[arg(short, long)]
    json: bool,
}

/// The verb of the nouns that can only be shown.
#[derive(Debug, Subcommand)]
enum ShowOnly {
    /// Show (the default)
    Show(Format),
}

impl ShowOnly {
    /// The format asked for, before the verb or behind it.
    fn format(verb: Option<ShowOnly>, before: Format) -> Format {
        verb.map_or(before, |ShowOnly::Show(format)| format)
    }
}

/// The switch that runs, as commands see it.
struct Switch {
    control: Option<PathBuf>,
}

impl Switch {
    fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&socket_path(self.control.as_deref()))?)
    }

    /// Asks, and prints the answer: as JSON, or as `render` writes it.
    fn show<T: DeserializeOwned>(
        &self,
        request: &Request,
        format: Format,
        render: impl FnOnce(T) -> String,
    ) -> Outcome {
        let mut client = self.connect()?;
        if format.json {
            return print_json(&client.call_raw(request)?);
        }
        print(&render(client.call(request)?))
    }

    /// Asks for a change, and prints what has changed.
    fn change(&self, request: &Request, format: Format) -> Outcome {
        let answer = self.connect()?.call_raw(request)?;
        self.changed(answer, format)
    }

    /// Prints what has changed, by what the switch has answered.
    fn changed(&self, answer: serde_json::Value, format: Format) -> Outcome {
        if format.json {
            return print_json(&answer);
        }
        let applied: Applied = serde_json::from_value(answer)
            .map_err(|error| format!("an answer of another version: {error}"))?;
        warn(&applied.warnings);
        let mut lines: String = applied.changes.iter().map(|change| format!("{change}\n")).collect();
        if lines.is_empty() {
            lines = "nothing changed\n".into();
        }
        print(&lines)
    }
}

/// Says on stderr what is legal and hardly meant; whether somebody reads it does not matter.
fn warn<T: Display>(warnings: &[T]) {
    let lines: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Writes to stdout.
fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::Unread),
        Err(error) => Err(Failure::Said(format!("cannot write the output: {error}"))),
    }
}

fn print_json(value: &serde_json::Value) -> Outcome {
    print(&format!("{value:#}\n"))
}

/// The command line as clap describes it, for completions and the manual.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn show_is_the_default_verb_and_takes_its_options_before_or_behind() {
        for line in [
            "port",
            "port -j",
            "port show -j vm1",
            "fdb --bridge lan",
            "fdb show --vlan 10 -j",
            "bridge show",
            "router",
            "route --router gw",
            "route get 192.0.2.1 -j",
            "neighbour --interface lan",
            "nat --watch",
            "nat --rules -j",
            "capture vm1",
            "capture any -w x.pcapng -C 10 -W 3 -s 64 --in tcp and not port 22",
            "extcap --extcap-interface tapyard-any --capture --fifo x --extcap-capture-filter=tcp",
            "trace --in vm1 eth/ip dst 10.0.0.1",
            "trace --follow tcp port 80",
            "mirror show -j m",
            "export -j",
            "top --json",
            "rule show --bridge lan",
        ] {
            let words = ["tapyard"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "port shwo",
            "port -j show",
            "fdb add",
            "fdb --vlan 4095",
            "port set vm1 vlan",
            "port set vm1",
            "route get x",
            "route add",
            "route add 10.0.0.0/8 --blackhole --via 10.0.0.1",
            "nat --rules --watch",
            "nat --source 10.0.0.1/8",
            "nat del x",
            "capture",
            "capture vm1 --in --out",
            "capture vm1 -C 10",
            "capture vm1 -c 0",
            "trace --in vm1",
            "trace eth",
            "mirror add m",
            "rule add",
            "rule --router gw --bridge lan",
        ] {
            let words = ["tapyard"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
