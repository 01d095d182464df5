//! `tapyard neighbor`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::router::Which;
use super::table::{Table, or_dash};
use super::{Format, Outcome, Switch};
use crate::control::api::{Flushed, NeighborFilter, NeighborInfo, Request};
use crate::control::config::{Edits, Prefix};
use crate::wire::ethernet::Mac;

/// Show and change what routers know of their neighbours: which MAC address has an IP address
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Neighbor {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the neighbours that fit all options (the default)
    Show(Show),
    /// Add a static neighbour
    #[command(after_help = "Example:\n  tapyard neighbor add 10.9.0.2 02:00:00:00:00:01 --interface lan")]
    Add {
        /// Its IP address
        address: IpAddr,
        /// Its MAC address
        mac: Mac,
        /// The interface that it is at
        #[arg(long, value_name = "NAME")]
        interface: String,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Remove the static neighbours of an address
    Del {
        /// The IP address
        address: IpAddr,
        /// At this interface only
        #[arg(long, value_name = "NAME")]
        interface: Option<String>,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Forget the neighbours that fit all options, but for static ones
    #[command(after_help = "Example:\n  tapyard neighbor flush --interface lan")]
    Flush(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// Those of this router
    #[arg(long, value_name = "NAME")]
    router: Option<String>,
    /// Those at this interface
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Those in this network, or the one of this address
    #[arg(long, value_name = "NETWORK")]
    address: Option<Prefix>,
    #[command(flatten)]
    format: Format,
}

impl Show {
    fn filter(self) -> NeighborFilter {
        NeighborFilter { router: self.router, interface: self.interface, address: self.address }
    }
}

impl Neighbor {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show(self.show)) {
            Verb::Show(show) => {
                let format = show.format;
                switch.show(&Request::NeighborShow(show.filter()), format, table)
            }
            Verb::Add { address, mac, interface, router: Which { router }, format } => {
                let keys =
                    [("address", address.to_string()), ("mac", mac.to_string()), ("interface", interface)];
                let keys: Edits =
                    keys.into_iter().map(|(key, value)| (key.to_owned(), Some(value.into()))).collect();
                switch.change(&Request::NeighborAdd { router, keys }, format)
            }
            Verb::Del { address, interface, router: Which { router }, format } => {
                switch.change(&Request::NeighborDel { router, interface, address }, format)
            }
            Verb::Flush(show) => {
                let format = show.format;
                switch.show(&Request::NeighborFlush(show.filter()), format, |flushed: Flushed| {
                    let what = if flushed.entries == 1 { "neighbour" } else { "neighbours" };
                    format!("{} {what} forgotten\n", flushed.entries)
                })
            }
        }
    }
}

fn table(neighbors: Vec<NeighborInfo>) -> String {
    if neighbors.is_empty() {
        return "no neighbour is known\n".into();
    }
    let mut table = Table::new(&["ROUTER", "INTERFACE", "ADDRESS", "MAC", "STATE", ">AGE"]);
    for neighbor in neighbors {
        table.row([
            neighbor.router,
            neighbor.interface,
            neighbor.address.to_string(),
            or_dash(neighbor.mac),
            neighbor.state,
            or_dash(neighbor.age_secs.map(|secs| format!("{secs}s"))),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_shown_a_row_each() {
        let neighbor = |state: &str, mac, age_secs| NeighborInfo {
            router: "gw".into(),
            interface: "lan".into(),
            address: "10.9.0.2".parse().unwrap(),
            mac,
            state: state.into(),
            age_secs,
        };
        let mac = Some(Mac::new([2, 0, 0, 0, 0, 1]));
        assert_eq!(
            table(vec![neighbor("reachable", mac, Some(3)), neighbor("incomplete", None, None)]),
            "ROUTER  INTERFACE  ADDRESS   MAC                STATE       AGE\n\
             gw      lan        10.9.0.2  02:00:00:00:00:01  reachable    3s\n\
             gw      lan        10.9.0.2  -                  incomplete    -\n"
        );
        assert_eq!(table(Vec::new()), "no neighbour is known\n");
    }
}
