//! `tapyard run`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome, Switch};
use crate::control::client::named_socket;
use crate::control::daemon;
use crate::control::log::{self, LogFormat, LogOptions};

/// Run the switch, in the foreground
#[derive(Debug, Args)]
#[command(after_help = "\
The log goes to stderr. SIGHUP reloads the configuration, SIGTERM and SIGINT end the switch and remove what it made.")]
pub(super) struct Run {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Log from this level on: error, warn, info, debug or trace [default: $TAPYARD_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Log lines for people (text) or for machines (json) [default: $TAPYARD_LOG_FORMAT, else text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Run {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let options = LogOptions { level: self.log, format: self.log_format };
        let _log = log::start(&options)?;
        let ended = daemon::run(&self.config, named_socket(switch.control.as_deref()).as_deref());
        match (ended, options.format()?) {
            (Err(why), LogFormat::Json) => {
                why.lines().for_each(|line| tracing::error!(target: log::ASKED, "not started: {line}"));
                Err(Failure::Told)
            }
            (ended, _) => Ok(ended?),
        }
    }
}
