//! `tapyard router`.

use clap::{Args, Subcommand};

use super::port::key_value;
use super::table::{Table, or_dash};
use super::{Format, Outcome, Switch};
use crate::control::api::{Request, RouterInfo};

/// Show, add, change and remove routers and their interfaces
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Router {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the interfaces of all routers, or all there is to know of one router (the default)
    Show {
        /// The router
        name: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Add a router
    #[command(after_help = "\
KEY is a key of the router's table in the configuration. VALUE is TOML, or plain text.

Examples:
  tapyard router add gw
  tapyard router add lab sessions=1000 policy.forward=drop")]
    Add {
        /// Its name
        name: String,
        /// Its keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Change keys of a router
    #[command(after_help = "\
KEY is a key of the router's table in the configuration. VALUE is TOML, or plain text; none removes the key.

Example:
  tapyard router set gw policy.input=drop timeout.udp=10m")]
    Set {
        /// The router
        name: String,
        /// The keys to change
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a router and its rules
    Del {
        /// The router
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Add, change and remove interfaces of a router
    #[command(subcommand)]
    Interface(Interface),
}

#[derive(Debug, Subcommand)]
enum Interface {
    /// Add an interface
    #[command(after_help = "\
KEY is a key of the interface's table in the configuration. VALUE is TOML, or plain text.

Examples:
  tapyard router interface add lan bridge=lan address=10.9.0.254/24,fd00:9::1/64
  tapyard router interface add wan --router gw port=tun0 address=10.7.0.2/30")]
    Add {
        /// Its name
        name: String,
        #[command(flatten)]
        router: Which,
        /// Its keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Change keys of an interface
    Set {
        /// The interface
        name: String,
        #[command(flatten)]
        router: Which,
        /// The keys to change
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        keys: Vec<(String, Option<toml::Value>)>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove an interface
    Del {
        /// The interface
        name: String,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
}

/// Which router.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The router [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(super) router: Option<String>,
}

impl Router {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show { name: None, format: self.format }) {
            Verb::Show { name: None, format } => {
                switch.show(&Request::RouterShow { name: None }, format, table)
            }
            Verb::Show { name, format } => switch.show(&Request::RouterShow { name }, format, details),
            Verb::Add { name, keys, format } => {
                switch.change(&Request::RouterAdd { name, keys: keys.into_iter().collect() }, format)
            }
            Verb::Set { name, keys, format } => {
                let keys = keys.into_iter().collect();
                switch.change(&Request::RouterSet { router: Some(name), keys }, format)
            }
            Verb::Del { name, format } => switch.change(&Request::RouterDel { name }, format),
            Verb::Interface(verb) => verb.execute(switch),
        }
    }
}

impl Interface {
    fn execute(self, switch: &Switch) -> Outcome {
        match self {
            Interface::Add { name, router: Which { router }, keys, format } => {
                let keys = keys.into_iter().collect();
                switch.change(&Request::InterfaceAdd { router, name, keys }, format)
            }
            Interface::Set { name, router: Which { router }, keys, format } => {
                let keys = keys.into_iter().collect();
                switch.change(&Request::InterfaceSet { router, name, keys }, format)
            }
            Interface::Del { name, router: Which { router }, format } => {
                switch.change(&Request::InterfaceDel { router, name }, format)
            }
        }
    }
}

/// A row for each interface of each router.
fn table(routers: Vec<RouterInfo>) -> String {
    if routers.is_empty() {
        return "there is no router\n".into();
    }
    interfaces(&routers).to_string()
}

fn interfaces(routers: &[RouterInfo]) -> Table {
    let mut table = Table::new(&["ROUTER", "INTERFACE", "ON", ">MTU", "MAC", "ADDRESSES"]);
    for router in routers {
        let name = router.name.clone();
        for interface in &router.interfaces {
            let addresses = Some(interface.addresses.join(" ")).filter(|addresses| !addresses.is_empty());
            table.row([
                name.clone(),
                interface.name.clone(),
                interface.on.clone(),
                or_dash(interface.mtu),
                or_dash(interface.mac),
                or_dash(addresses),
            ]);
        }
        if router.interfaces.is_empty() {
            let none = || or_dash::<u8>(None);
            table.row([name, none(), none(), none(), none(), none()]);
        }
    }
    table
}

/// All there is to know of each router: a line for each fact, and a row for each interface.
fn details(routers: Vec<RouterInfo>) -> String {
    let text = routers.iter().map(|router| {
        let drops = router.policies.iter().filter(|(_, policy)| *policy != "accept");
        let policies: Vec<_> = drops.map(|(hook, policy)| format!("{hook} {policy}")).collect();
        let facts = [
            ("router", router.name.clone()),
            ("routes", router.routes.to_string()),
            ("neighbors", format!("{} (learned up to {})", router.neighbors, router.neighbor_limit)),
            ("sessions", format!("{} of {}", router.sessions, router.session_limit)),
            ("rules", router.rules.to_string()),
            ("policy", if policies.is_empty() { "accept".into() } else { policies.join(", ") }),
        ];
        let facts: String = facts.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
        let guards = router.interfaces.iter().filter_map(|interface| {
            let path = Some(format!("reverse-path {}", interface.reverse_path));
            let path = path.filter(|_| interface.reverse_path != "off");
            let told = interface.advertises.then(|| "advertised".to_owned());
            let notes: Vec<_> = path.into_iter().chain(told).collect();
            (!notes.is_empty()).then(|| format!("{}: {}\n", interface.name, notes.join(", ")))
        });
        format!("{facts}\n{}{}", interfaces(std::slice::from_ref(router)), guards.collect::<String>())
    });
    text.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::RouterInterfaceInfo;
    use crate::wire::ethernet::Mac;

    fn router() -> RouterInfo {
        let lan = RouterInterfaceInfo {
            name: "lan".into(),
            on: "bridge lan vlan 10".into(),
            addresses: vec!["10.9.0.254/24".into(), "fd00:9::1/64".into()],
            mac: Some(Mac::new([2, 0, 0, 0, 0, 1])),
            mtu: Some(1500),
            reverse_path: "strict".into(),
            advertises: true,
        };
        let wan = RouterInterfaceInfo {
            name: "wan".into(),
            on: "port tun0".into(),
            addresses: Vec::new(),
            mac: None,
            mtu: None,
            reverse_path: "off".into(),
            advertises: false,
        };
        RouterInfo {
            name: "gw".into(),
            interfaces: vec![lan, wan],
            routes: 5,
            neighbors: 2,
            neighbor_limit: 1024,
            sessions: 7,
            session_limit: 65_536,
            rules: 3,
            policies: [("forward".into(), "drop".into()), ("input".into(), "accept".into())].into(),
        }
    }

    #[test]
    fn interfaces_are_shown_a_row_each() {
        let empty = RouterInfo { name: "lab".into(), interfaces: Vec::new(), ..router() };
        assert_eq!(
            table(vec![router(), empty]),
            "ROUTER  INTERFACE  ON                   MTU  MAC                ADDRESSES\n\
             gw      lan        bridge lan vlan 10  1500  02:00:00:00:00:01  10.9.0.254/24 fd00:9::1/64\n\
             gw      wan        port tun0              -  -                  -\n\
             lab     -          -                      -  -                  -\n"
        );
        assert_eq!(table(Vec::new()), "there is no router\n");
    }

    #[test]
    fn one_router_is_shown_with_its_facts() {
        let text = details(vec![router()]);
        for line in [
            "sessions   7 of 65536\n",
            "neighbors  2 (learned up to 1024)\n",
            "policy     forward drop\n",
            "lan: reverse-path strict, advertised\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
