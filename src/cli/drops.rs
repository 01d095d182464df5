//! `tapyard drops`.

use clap::Args;

use super::table::Table;
use super::{Format, Outcome, Switch};
use crate::control::api::{DropInfo, Request};

/// Show how many frames were dropped, and why
#[derive(Debug, Args)]
pub(super) struct Drops {
    #[command(flatten)]
    format: Format,
}

impl Drops {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        switch.show(&Request::Drops {}, self.format, table)
    }
}

pub(super) fn table(drops: Vec<DropInfo>) -> String {
    if drops.is_empty() {
        return "no frame was dropped\n".into();
    }
    let mut table = Table::new(&["PORT", ">FRAMES", "REASON", "MEANING"]);
    for drop in drops {
        table.row([drop.port, drop.frames.to_string(), drop.reason, drop.meaning]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::DropReason;

    #[test]
    fn every_meaning_is_shown_whole() {
        let drop = |reason: &DropReason| DropInfo {
            port: "vm1".into(),
            reason: reason.name().into(),
            meaning: reason.meaning().into(),
            remedy: reason.remedy().into(),
            frames: 1,
        };
        let text = table(DropReason::ALL.iter().map(drop).collect());
        assert!(!text.contains('…') && text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(table(Vec::new()), "no frame was dropped\n");
    }
}
