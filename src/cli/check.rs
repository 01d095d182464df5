//! `tapyard check`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome, print};
use crate::control::config::{Config, Document};

/// Check a configuration without running it
#[derive(Debug, Args)]
#[command(after_help = "Every error is a line: FILE:LINE: KEY: what is wrong (what was expected).")]
pub(super) struct Check {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn execute(self) -> Outcome {
        let config = Document::load(&self.config).and_then(|document| document.to_config());
        let config = config.map_err(|errors| Failure::Listed(errors.to_string()))?;
        print(&format!("{}: ok ({})\n", self.config.display(), summary(&config)))
    }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", count(config.bridges.len(), "bridge"), count(config.own_ports().count(), "port"))
}
