//! `tapyard export`.

use clap::Args;

use super::table::{Table, si};
use super::{Format, Outcome, ShowOnly, Switch};
use crate::control::api::{ExportInfo, Request};

/// Show what is told to collectors of sFlow and IPFIX
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Export {
    #[command(subcommand)]
    verb: Option<ShowOnly>,
    #[command(flatten)]
    format: Format,
}

impl Export {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        switch.show(&Request::ExportShow {}, ShowOnly::format(self.verb, self.format), table)
    }
}

fn table(exports: Vec<ExportInfo>) -> String {
    if exports.is_empty() {
        return "nothing is exported\n".into();
    }
    let headings =
        ["EXPORT", "TO", "STATE", ">1 IN", ">SAMPLES", ">MISSED", ">FLOWS", ">SENT", ">BYTES", ">ERRORS"];
    let mut table = Table::new(&headings);
    for export in &exports {
        table.row([
            export.name.clone(),
            format!("{} {}", export.protocol, export.collector),
            export.state.clone(),
            export.sample.to_string(),
            si(export.samples),
            si(export.missed),
            match export.flow_limit {
                0 => "-".into(),
                limit => format!("{}/{limit}", export.flows),
            },
            si(export.datagrams),
            si(export.bytes),
            si(export.errors),
        ]);
    }
    let mut interfaces = Table::new(&["EXPORT", ">INTERFACE", "PORT"]);
    for export in exports {
        for port in export.ports {
            interfaces.row([export.name.clone(), port.index.to_string(), port.name]);
        }
    }
    format!("{table}\n{interfaces}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::ExportPort;

    #[test]
    fn exports_are_shown_with_the_numbers_of_their_ports() {
        let export = ExportInfo {
            name: "site".into(),
            protocol: "ipfix".into(),
            collector: "[fd00:1234:5678::1]:4739".parse().unwrap(),
            state: "up".into(),
            sample: 1000,
            samples: 12_345_678,
            missed: 5,
            flows: 812,
            flow_limit: 8192,
            datagrams: 70_000,
            bytes: 90_000_000,
            errors: 0,
            ports: vec![ExportPort { index: 7, name: "vm7".into() }],
        };
        let text = table(vec![export]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("12.3M") && text.contains("812/8192"), "{text}");
        let last: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["site", "7", "vm7"]);
        assert_eq!(table(Vec::new()), "nothing is exported\n");
    }
}
