//! `tapyard run`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;

/// Run the switch, in the foreground
#[derive(Debug, Args)]
#[command(after_help = "\
The log goes to stderr. SIGHUP reloads the configuration, SIGTERM and SIGINT end the switch and remove what it made.")]
pub(super) struct Run {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Run {
    pub(super) fn execute(self) -> Outcome {
        Ok(execute(&self.config)?)
    }
}

/// Runs the switch that the file at `config` describes until it is told to end.
fn execute(config: &Path) -> Result<(), String> {
    Err(format!("{}: there is no engine to run it", config.display()))
}
