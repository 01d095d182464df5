//! `tapyard check`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome, print, warn};
use crate::control::config::{Config, Document};

/// Check a configuration without running it
#[derive(Debug, Args)]
#[command(after_help = "\
Every error is a line: FILE:LINE: KEY: what is wrong (what was expected). What is legal and hardly meant is a line too,
`warning: ` in it, and no failure.")]
pub(super) struct Check {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn execute(self) -> Outcome {
        let checked = Document::load(&self.config)
            .and_then(|document| Ok((document.to_config()?, document)))
            .map_err(|errors| Failure::Listed(errors.to_string()));
        let (config, document) = checked?;
        warn(&document.warnings(&config));
        print(&format!("{}: ok ({})\n", self.config.display(), summary(&config)))
    }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut parts = vec![count(config.bridges.len(), "bridge"), count(config.own_ports().count(), "port")];
    let optional = [(config.routers.len(), "router"), (config.rules.len(), "rule")];
    parts.extend(optional.iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(*n, what)));
    parts.join(", ")
}
