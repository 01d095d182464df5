//! `tapyard doctor`: what of the machine, the configuration and the switch is not as it should be.
//!
//! [`facts`] looks, and judges nothing; the checks ([`check::Check`]) judge, and look at nothing, so that each can be shown
//! any facts. What could not be looked at is said to be so, and never to be fine.

mod check;
mod control;
mod facts;
mod machine;
mod network;
mod ports;
mod traffic;
mod tunnels;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Failure, Format, Outcome, Switch, print, print_json};
use check::{Finding, Level};
use facts::Facts;

/// Check the machine, the configuration and the switch for what keeps traffic from passing
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the switch that runs, at what a configuration says, or, with neither, at the machine.
Every trouble is a line: what, where, and what to try; the worst stand first. Peers of tunnels that
were never heard are sent an echo. What it may not look at, it says: root may look at everything.

Examples:
  tapyard doctor                           the switch that runs, and its machine
  tapyard doctor --config tapyard.toml     before it is started, or when it does not start
  sudo tapyard doctor -j                   all of it, for a machine

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.")]
pub(super) struct Doctor {
    /// The configuration, of the switch that runs or of one that does not
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Doctor {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let report = Report::new(&facts::gather(self.config.as_deref(), switch.control.as_deref()));
        match self.format.json {
            true => print_json(&serde_json::to_value(&report).map_err(|error| error.to_string())?)?,
            false => print(&report.text())?,
        }
        if report.wrong > 0 { Err(Failure::Told) } else { Ok(()) }
    }
}

/// What was found, the worst first.
#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
    wrong: usize,
    warnings: usize,
    not_looked_at: usize,
    fine: usize,
}

impl Report {
    fn new(facts: &Facts) -> Report {
        let mut findings: Vec<_> = check::ALL.iter().flat_map(|check| check.findings(facts)).collect();
        findings.sort_by_key(|finding| finding.result);
        let count = |level| findings.iter().filter(|finding| finding.result == level).count();
        let [wrong, warnings, not_looked_at, fine] =
            [Level::Wrong, Level::Warning, Level::NotLookedAt, Level::Ok].map(count);
        Report { findings, wrong, warnings, not_looked_at, fine }
    }

    fn text(&self) -> String {
        let mut text: String = self.findings.iter().map(|finding| format!("{finding}\n")).collect();
        text += &format!(
            "\n{} wrong, {}, {} fine",
            self.wrong,
            plural(self.warnings as u64, "warning"),
            self.fine
        );
        if self.not_looked_at > 0 {
            text += &format!(", {} not looked at", self.not_looked_at);
        }
        text + "\n"
    }
}

/// "1 frame", "2 frames".
fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_says_something_whatever_is_known() {
        for facts in [Facts::healthy(), Facts::nothing()] {
            let report = Report::new(&facts);
            for check in check::ALL {
                assert!(report.findings.iter().any(|finding| finding.check == check.name), "{}", check.name);
            }
            assert!(report.findings.is_sorted_by_key(|finding| finding.result));
        }
    }

    #[test]
    fn what_is_healthy_is_fine_and_what_is_not_seen_is_not() {
        let report = Report::new(&Facts::healthy());
        assert_eq!((report.wrong, report.warnings, report.not_looked_at), (0, 0, 0), "{}", report.text());
        assert!(report.text().ends_with(&format!("\n0 wrong, 0 warnings, {} fine\n", check::ALL.len())));
        let report = Report::new(&Facts::nothing());
        assert_eq!((report.wrong, report.fine), (0, 0), "{}", report.text());
    }

    #[test]
    fn every_finding_is_a_line() {
        let mut facts = Facts::healthy();
        facts.ports.as_mut().unwrap()[0].state = "down".into();
        let text = Report::new(&facts).text();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("wrong") && first.ends_with("; try: ip link set vm1 up"), "{first}");
        assert!(text.contains("\n1 wrong, "), "{text}");
    }
}
