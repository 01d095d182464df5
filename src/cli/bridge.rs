//! `tapyard bridge`.

use clap::Args;

use super::table::Table;
use super::{Format, Outcome, ShowOnly, Switch};
use crate::control::api::{BridgeInfo, Request};

/// Show the bridges
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bridge {
    #[command(subcommand)]
    verb: Option<ShowOnly>,
    #[command(flatten)]
    format: Format,
}

impl Bridge {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        switch.show(&Request::BridgeShow {}, ShowOnly::format(self.verb, self.format), table)
    }
}

fn table(bridges: Vec<BridgeInfo>) -> String {
    let mut table =
        Table::new(&["BRIDGE", "MAC", "VLANS", ">AGEING", ">FDB", ">EVICTED", ">MOVES", ">FLAPS", "PORTS"]);
    for bridge in bridges {
        table.row([
            bridge.name,
            bridge.mac.to_string(),
            if bridge.vlan_aware { "yes" } else { "no" }.into(),
            if bridge.ageing_secs == 0 { "never".into() } else { format!("{}s", bridge.ageing_secs) },
            format!("{}/{}", bridge.fdb_entries, bridge.fdb_limit),
            bridge.evictions.to_string(),
            bridge.moves.to_string(),
            bridge.flaps.to_string(),
            if bridge.ports.is_empty() { "-".into() } else { bridge.ports.join(" ") },
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Mac;

    #[test]
    fn many_ports_do_not_widen_the_table() {
        let bridge = BridgeInfo {
            name: "lan".into(),
            mac: Mac::new([2, 0, 0, 0, 0, 1]),
            ports: (0..64).map(|i| format!("vm{i}")).collect(),
            vlan_aware: false,
            ageing_secs: 0,
            fdb_entries: 12,
            fdb_limit: 8192,
            evictions: 1,
            flaps: 2,
            moves: 3,
            last_flap: None,
        };
        let text = table(vec![bridge]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("never  12/8192"), "{text}");
        assert_eq!(text.matches("vm").count(), 64, "{text}");
    }
}
