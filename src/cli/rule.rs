//! `tapyard rule`.

use clap::{Args, Subcommand};

use super::port::key_value;
use super::table::{Table, si};
use super::{Format, Outcome, Switch};
use crate::control::api::{Request, RuleInfo};
use crate::control::config::Edits;

/// Show, add, remove and move filter rules
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Rule {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the rules with their counters (the default)
    Show(Show),
    /// Add a rule
    #[command(after_help = "\
KEY is action, comment, rate, burst, or a key of `match`: in, out, protocol, source, destination, source-port,
destination-port, state, icmp-type. VALUE is TOML, or plain text; lists may be written with commas.

Examples:
  tapyard rule add state=established,related action=accept --at 1
  tapyard rule add --router gw --hook forward in=lan protocol=tcp destination-port=22,443 action=drop
  tapyard rule add --bridge lan in=vm1 protocol=udp action=rate-limit rate=1000")]
    Add {
        /// Its keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        scope: Scope,
        /// Where on a packet's way: prerouting, input, forward, output, postrouting [default: forward]
        #[arg(long)]
        hook: Option<String>,
        /// Its number [default: the last]
        #[arg(long, value_name = "NUMBER")]
        at: Option<usize>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a rule
    Del {
        /// Its number
        number: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Give a rule another number; those between move up or down
    #[command(after_help = "Example:\n  tapyard rule move 7 1                    ask it first")]
    Move {
        /// The number it has
        from: usize,
        /// The number it is to have
        to: usize,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    format: Format,
}

/// Whose rules.
#[derive(Debug, Args)]
struct Scope {
    /// Of this router
    #[arg(long, value_name = "NAME", conflicts_with = "bridge")]
    router: Option<String>,
    /// Of this bridge
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
}

impl Rule {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show(self.show)) {
            Verb::Show(Show { scope: Scope { router, bridge }, format }) => {
                switch.show(&Request::RuleShow { router, bridge }, format, table)
            }
            Verb::Add { keys, scope: Scope { router, bridge }, hook, at, format } => {
                let mut keys: Edits = keys.into_iter().collect();
                for (key, value) in [("router", router), ("bridge", bridge), ("hook", hook)] {
                    if let Some(value) = value {
                        keys.insert(key.to_owned(), Some(value.into()));
                    }
                }
                switch.change(&Request::RuleAdd { keys, at }, format)
            }
            Verb::Del { number, format } => switch.change(&Request::RuleDel { number }, format),
            Verb::Move { from, to, format } => switch.change(&Request::RuleMove { from, to }, format),
        }
    }
}

fn table(rules: Vec<RuleInfo>) -> String {
    if rules.is_empty() {
        return "there is no rule\n".into();
    }
    let mut table = Table::new(&[">RULE", "OF", "HOOK", ">FRAMES", ">BYTES", "ACTION", "MATCH"]);
    for rule in rules {
        let comment = rule.comment.map(|comment| format!(" ({comment})")).unwrap_or_default();
        table.row([
            rule.number.to_string(),
            rule.scope,
            rule.hook,
            si(rule.frames),
            si(rule.bytes),
            rule.action,
            format!("{}{comment}", rule.matches),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> RuleInfo {
        RuleInfo {
            number: 3,
            scope: "router gw".into(),
            hook: "forward".into(),
            matches: "in lan protocol tcp destination-port 22".into(),
            action: "drop".into(),
            comment: Some("no ssh from guests".into()),
            frames: 12_345,
            bytes: 1_234_567,
        }
    }

    #[test]
    fn rules_are_shown_a_row_each_and_what_is_long_is_wrapped() {
        let count =
            RuleInfo { number: 4, matches: "all".into(), comment: None, action: "count".into(), ..rule() };
        let text = table(vec![rule(), count]);
        assert_eq!(
            text.lines().map(str::trim_start).collect::<Vec<_>>(),
            [
                "RULE  OF         HOOK     FRAMES  BYTES  ACTION  MATCH",
                "3  router gw  forward   12.3k  1.23M  drop    in lan protocol tcp destination-port 22 (no ssh",
                "from guests)",
                "4  router gw  forward   12.3k  1.23M  count   all",
            ]
        );
        let long = RuleInfo { matches: "source 10.0.0.1 ".repeat(30), ..rule() };
        assert!(table(vec![long]).lines().all(|line| line.chars().count() <= 100));
        assert_eq!(table(Vec::new()), "there is no rule\n");
    }
}
