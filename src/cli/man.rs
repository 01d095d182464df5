//! `tapyard man`.

use clap::Args;

use super::{Outcome, command, print};

/// Print the manual page, or that of one command
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tapyard man port add | man -l -")]
pub(super) struct Man {
    /// The command: a noun, and a verb
    words: Vec<String>,
}

impl Man {
    pub(super) fn execute(self) -> Outcome {
        let mut all = command();
        all.build();
        let mut page = &all;
        for word in &self.words {
            page = page.find_subcommand(word).ok_or_else(|| {
                format!("there is no command {} (tapyard --help lists them)", self.words.join(" "))
            })?;
        }
        let mut roff = Vec::new();
        clap_mangen::Man::new(page.clone())
            .render(&mut roff)
            .map_err(|error| format!("cannot write the page: {error}"))?;
        print(&String::from_utf8_lossy(&roff))
    }
}
