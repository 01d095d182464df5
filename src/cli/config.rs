//! `tapyard config`.

use clap::Args;

use super::{Format, Outcome, ShowOnly, Switch};
use crate::control::api::{ConfigInfo, Request};

/// Show the configuration that runs, with what commands have changed
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Example:\n  tapyard config > tapyard.toml          keep what runs for the next start"
)]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Option<ShowOnly>,
    #[command(flatten)]
    format: Format,
}

impl Config {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        let format = ShowOnly::format(self.verb, self.format);
        switch.show(&Request::ConfigShow {}, format, |config: ConfigInfo| config.toml)
    }
}
