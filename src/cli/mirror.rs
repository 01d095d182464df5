//! `tapyard mirror`.

use clap::{Args, Subcommand};

use super::port::key_value;
use super::table::{Table, or_dash, si};
use super::{Format, Outcome, Switch};
use crate::control::api::{MirrorInfo, Request};

/// Show, add, change and remove mirrors: copies of what passes ports, sent by another port (SPAN)
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Mirror {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the mirrors, or all there is to know of one (the default)
    Show {
        /// The mirror
        name: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Add a mirror
    #[command(after_help = "\
KEY is a key of the mirror's table in the configuration. VALUE is TOML, or plain text.
The port that sends the copies has mirror = true, and is on no bridge.

Examples:
  tapyard port add mon0 --type tap mirror=true
  tapyard mirror add watch ports=vm1,vm2 to=mon0
  tapyard mirror add heads bridge=lan direction=in snap=128 'filter=tcp port 80' to=mon0
  tapyard port add far --type vxlan vni=900 remotes=10.8.0.9 mirror=true
  tapyard mirror add away ports=vm1 to=far")]
    Add {
        /// Its name
        name: String,
        /// Its keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Change keys of a mirror
    #[command(after_help = "\
KEY is a key of the mirror's table in the configuration. VALUE is TOML, or plain text; none removes the key.

Example:
  tapyard mirror set watch vlan=10 snap=")]
    Set {
        /// The mirror
        name: String,
        /// The keys to change
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a mirror; the port that sent its copies stays
    Del {
        /// The mirror
        name: String,
        #[command(flatten)]
        format: Format,
    },
}

impl Mirror {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show { name: None, format: self.format }) {
            Verb::Show { name: None, format } => {
                switch.show(&Request::MirrorShow { name: None }, format, table)
            }
            Verb::Show { name, format } => switch.show(&Request::MirrorShow { name }, format, details),
            Verb::Add { name, keys, format } => {
                switch.change(&Request::MirrorAdd { name, keys: keys.into_iter().collect() }, format)
            }
            Verb::Set { name, keys, format } => {
                switch.change(&Request::MirrorSet { name, keys: keys.into_iter().collect() }, format)
            }
            Verb::Del { name, format } => switch.change(&Request::MirrorDel { name }, format),
        }
    }
}

fn table(mirrors: Vec<MirrorInfo>) -> String {
    if mirrors.is_empty() {
        return "there is no mirror (mirror add makes one)\n".into();
    }
    let mut table =
        Table::new(&["MIRROR", "TO", "DIRECTION", ">SNAP", ">COPIES", ">BYTES", ">CUT", ">DROPS", "OF"]);
    for mirror in mirrors {
        let of = of(&mirror);
        table.row([
            mirror.name,
            mirror.to,
            mirror.direction,
            or_dash(mirror.snap),
            si(mirror.frames),
            si(mirror.bytes),
            si(mirror.cut),
            si(mirror.drops),
            of,
        ]);
    }
    table.to_string()
}

/// Whose frames are copied.
fn of(mirror: &MirrorInfo) -> String {
    let bridge = mirror.bridge.iter().map(|bridge| format!("bridge {bridge}"));
    bridge.chain(mirror.ports.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// All there is to know of each mirror, a line for each fact.
fn details(mirrors: Vec<MirrorInfo>) -> String {
    let text = mirrors.iter().map(|mirror| {
        let facts = [
            ("mirror", mirror.name.clone()),
            ("of", of(mirror)),
            ("direction", mirror.direction.clone()),
            ("vlans", or_dash(mirror.vlans.clone())),
            ("filter", or_dash(mirror.filter.clone())),
            ("snap", or_dash(mirror.snap)),
            ("to", mirror.to.clone()),
            ("copies", format!("{} frames, {}B", mirror.frames, si(mirror.bytes))),
            ("cut", format!("{} frames", mirror.cut)),
            ("dropped", format!("{} frames", mirror.drops)),
        ];
        facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect::<String>()
    });
    text.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror() -> MirrorInfo {
        MirrorInfo {
            name: "watch".into(),
            ports: vec!["vm1".into(), "vm2".into()],
            bridge: Some("lan".into()),
            direction: "both".into(),
            vlans: None,
            filter: Some("tcp port 80".into()),
            snap: Some(128),
            to: "mon0".into(),
            frames: 12_345,
            bytes: 1_234_567,
            cut: 3,
            drops: 0,
        }
    }

    #[test]
    fn mirrors_are_shown_a_row_each_within_100_columns() {
        let text = table(vec![mirror(), MirrorInfo { snap: None, bridge: None, ..mirror() }]);
        assert_eq!(
            text,
            "MIRROR  TO    DIRECTION  SNAP  COPIES  BYTES  CUT  DROPS  OF\n\
             watch   mon0  both        128   12.3k  1.23M    3      0  bridge lan vm1 vm2\n\
             watch   mon0  both          -   12.3k  1.23M    3      0  vm1 vm2\n"
        );
        let ports = (0..64).map(|i| format!("vm{i}")).collect();
        let text = table(vec![MirrorInfo { ports, ..mirror() }]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(table(Vec::new()), "there is no mirror (mirror add makes one)\n");
    }

    #[test]
    fn one_mirror_is_shown_a_line_a_fact() {
        let text = details(vec![mirror()]);
        for line in ["filter    tcp port 80\n", "vlans     -\n", "copies    12345 frames, 1.23MB\n"] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
