//! `tapyard reload`.

use clap::Args;

use super::{Format, Outcome, Switch};
use crate::control::api::Request;

/// Read the configuration again and apply what has changed, all or nothing
#[derive(Debug, Args)]
#[command(after_help = "\
What commands have changed since is undone: the file says what runs. Ports that stay the same lose no frame.")]
pub(super) struct Reload {
    #[command(flatten)]
    format: Format,
}

impl Reload {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        switch.change(&Request::Reload {}, self.format)
    }
}
