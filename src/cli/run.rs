//! `tapyard run`.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, Switch};
use crate::control::client::named_socket;

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
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        Ok(crate::control::daemon::run(&self.config, named_socket(switch.control.as_deref()).as_deref())?)
    }
}
