//! `tapyard fdb`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::table::{Table, or_dash};
use super::{Format, Outcome, Switch};
use crate::control::api::{FdbFilter, FdbFound, FdbInfo, FdbSearch, Flushed, Request};
use crate::wire::ethernet::Mac;

/// Show and change the forwarding database: which address is behind which port
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Fdb {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the entries that fit all options (the default)
    #[command(after_help = "Examples:\n  tapyard fdb --port vm1\n  tapyard fdb --find 02:00:00 --limit 20")]
    Show(Show),
    /// Add a static entry
    #[command(after_help = "\
Examples:
  tapyard fdb add 02:00:00:00:00:01 vm1 --vlan 10
  tapyard fdb add 02:00:00:00:00:02 site-b --remote 10.8.0.3")]
    Add {
        /// The address
        mac: Mac,
        /// The port it is behind
        port: String,
        /// Its VLAN [default: the port's access or native VLAN]
        #[arg(long, value_name = "VLAN", value_parser = clap::value_parser!(u16).range(1..=4094))]
        vlan: Option<u16>,
        /// Its bridge [default: the port's]
        #[arg(long)]
        bridge: Option<String>,
        /// The peer it is behind, on a tunnel port [default: its only one]
        #[arg(long, value_name = "ADDRESS")]
        remote: Option<IpAddr>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove the entries of an address, static or learned
    Del {
        /// The address
        mac: Mac,
        /// In this VLAN only
        #[arg(long, value_name = "VLAN", value_parser = clap::value_parser!(u16).range(1..=4094))]
        vlan: Option<u16>,
        /// On this bridge only
        #[arg(long)]
        bridge: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Forget the learned entries that fit all options
    #[command(after_help = "Example:\n  tapyard fdb flush --port vm1")]
    Flush(Flush),
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    filter: Filter,
    /// Those in whose address, port or peer this occurs
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// Show at most so many, and how many there are [default: all; with --find: 100]
    #[arg(long, value_name = "ENTRIES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: Option<u32>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Flush {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    format: Format,
}

/// Which entries.
#[derive(Debug, Args)]
struct Filter {
    /// Those on this bridge
    #[arg(long)]
    bridge: Option<String>,
    /// Those behind this port
    #[arg(long)]
    port: Option<String>,
    /// Those in this VLAN
    #[arg(long, value_name = "VLAN", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
    /// Those of this address
    #[arg(long)]
    mac: Option<Mac>,
}

impl From<Filter> for FdbFilter {
    fn from(filter: Filter) -> FdbFilter {
        FdbFilter { bridge: filter.bridge, port: filter.port, vlan: filter.vlan, mac: filter.mac }
    }
}

impl Fdb {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show(self.show)) {
            Verb::Show(Show { filter, find: None, limit: None, format }) => {
                switch.show(&Request::FdbShow(filter.into()), format, table)
            }
            Verb::Show(Show { filter, find, limit, format }) => {
                let Filter { bridge, port, vlan, mac } = filter;
                let limit = limit.map(|limit| limit as usize);
                let search = FdbSearch { bridge, port, vlan, mac, text: find, limit };
                switch.show(&Request::FdbFind(search), format, found)
            }
            Verb::Add { mac, port, vlan, bridge, remote, format } => {
                switch.change(&Request::FdbAdd { bridge, mac, port, vlan, remote }, format)
            }
            Verb::Del { mac, vlan, bridge, format } => {
                switch.change(&Request::FdbDel { bridge, mac, vlan }, format)
            }
            Verb::Flush(flush) => {
                switch.show(&Request::FdbFlush(flush.filter.into()), flush.format, |flushed: Flushed| {
                    let what = if flushed.entries == 1 { "entry" } else { "entries" };
                    format!("{} {what} forgotten\n", flushed.entries)
                })
            }
        }
    }
}

pub(super) fn table(entries: Vec<FdbInfo>) -> String {
    let mut table = Table::new(&["BRIDGE", ">VLAN", "MAC", "PORT", "KIND", ">AGE"]);
    for entry in entries {
        let place = place(&entry);
        table.row([
            entry.bridge,
            or_dash(entry.vlan),
            entry.mac.to_string(),
            place,
            entry.kind,
            or_dash(entry.age_secs.map(|secs| format!("{secs}s"))),
        ]);
    }
    table.to_string()
}

fn found(found: FdbFound) -> String {
    let left_out = found.count.saturating_sub(found.entries.len() as u64);
    let mut text = table(found.entries);
    if left_out > 0 {
        text += &format!("{left_out} more (--limit shows them)\n");
    }
    text
}

/// The port, and of a tunnel the peer.
fn place(entry: &FdbInfo) -> String {
    match (&entry.port, entry.remote) {
        (Some(port), Some(remote)) => format!("{port} {remote}"),
        (port, _) => or_dash(port.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_shown_a_row_each() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let entry = |vlan, port: Option<&str>, kind: &str, age_secs| FdbInfo {
            bridge: "lan".into(),
            vlan,
            mac,
            port: port.map(Into::into),
            remote: None,
            kind: kind.into(),
            age_secs,
        };
        let text =
            table(vec![entry(Some(10), Some("vm1"), "learned", Some(7)), entry(None, None, "local", None)]);
        assert_eq!(
            text,
            "BRIDGE  VLAN  MAC                PORT  KIND     AGE\n\
             lan       10  02:00:00:00:00:01  vm1   learned   7s\n\
             lan        -  02:00:00:00:00:01  -     local      -\n"
        );
        let text = found(FdbFound { entries: vec![entry(Some(10), Some("vm1"), "learned", None)], count: 3 });
        assert!(text.ends_with("\n2 more (--limit shows them)\n"), "{text}");
        let far = entry(None, Some("site"), "static", None);
        let text = table(vec![FdbInfo { remote: "10.8.0.3".parse().ok(), ..far }]);
        assert!(text.contains("  site 10.8.0.3  static  "), "{text}");
    }
}
