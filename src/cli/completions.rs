//! `tapyard completions`.

use clap::Args;
use clap_complete::Shell;

use super::{Outcome, command, print};

/// Print a script that completes tapyard's commands in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tapyard completions bash > /etc/bash_completion.d/tapyard")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "tapyard", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
