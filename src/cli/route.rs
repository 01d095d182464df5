//! `tapyard route`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::router::Which;
use super::table::{Table, or_dash};
use super::{Format, Outcome, Switch};
use crate::control::api::{Request, RouteExplanation, RouteInfo};
use crate::control::config::Edits;

/// Show and change the routes of routers, and explain where a packet would go
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Route {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the routes (the default)
    Show(Show),
    /// Add a static route
    #[command(after_help = "\
Examples:
  tapyard route add default --via 10.7.0.1
  tapyard route add 10.0.0.0/8 --via 10.7.0.1 --via 10.7.0.5 --metric 10
  tapyard route add 10.66.0.0/16 --blackhole --router gw")]
    Add(Add),
    /// Remove the static routes to a network
    Del {
        /// The network, or default
        to: String,
        /// This next hop only
        #[arg(long, value_name = "ADDRESS")]
        via: Option<IpAddr>,
        /// Those of this metric only
        #[arg(long)]
        metric: Option<u32>,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Explain where a packet for an address would go
    #[command(after_help = "Example:\n  tapyard route get 192.0.2.1 --from 10.9.0.2")]
    Get {
        /// The address that it is for
        address: IpAddr,
        /// The address that it is from
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct Show {
    /// Those of this router
    #[arg(long, value_name = "NAME")]
    router: Option<String>,
    /// Show the router's own addresses as well
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Add {
    /// The network that it leads to, or default
    to: String,
    /// A next hop; of several each gets its share of the flows
    #[arg(long, value_name = "ADDRESS")]
    via: Vec<IpAddr>,
    /// The interface that it leaves by
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Of several routes to one network, those with the lowest are taken [default: 0]
    #[arg(long)]
    metric: Option<u32>,
    /// Drop what is for this network
    #[arg(long, conflicts_with_all = ["via", "interface", "unreachable", "prohibit"])]
    blackhole: bool,
    /// Drop it and tell the sender that the network is unreachable
    #[arg(long, conflicts_with_all = ["via", "interface", "prohibit"])]
    unreachable: bool,
    /// Drop it and tell the sender that it is prohibited
    #[arg(long, conflicts_with_all = ["via", "interface"])]
    prohibit: bool,
    #[command(flatten)]
    router: Which,
    #[command(flatten)]
    format: Format,
}

impl Route {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show(self.show)) {
            Verb::Show(Show { router, all, format }) => {
                switch.show(&Request::RouteShow { router }, format, |routes| table(routes, all))
            }
            Verb::Add(add) => {
                let (format, keys) = (add.format, add.keys());
                switch.change(&Request::RouteAdd { router: add.router.router, keys }, format)
            }
            Verb::Del { to, via, metric, router: Which { router }, format } => {
                switch.change(&Request::RouteDel { router, to, via, metric }, format)
            }
            Verb::Get { address, from, router: Which { router }, format } => {
                switch.show(&Request::RouteGet { router, address, from }, format, explained)
            }
        }
    }
}

impl Add {
    /// As the configuration writes it.
    fn keys(&self) -> Edits {
        let mut keys = Edits::new();
        let mut put = |key: &str, value: toml::Value| keys.insert(key.to_owned(), Some(value));
        put("to", self.to.as_str().into());
        let via: Vec<toml::Value> = self.via.iter().map(|via| via.to_string().into()).collect();
        match &via[..] {
            [] => None,
            [one] => put("via", one.clone()),
            _ => put("via", via.into()),
        };
        if let Some(interface) = &self.interface {
            put("interface", interface.as_str().into());
        }
        if let Some(metric) = self.metric {
            put("metric", i64::from(metric).into());
        }
        let kinds =
            [(self.blackhole, "blackhole"), (self.unreachable, "unreachable"), (self.prohibit, "prohibit")];
        for (_, kind) in kinds.iter().filter(|(is, _)| *is) {
            put(kind, true.into());
        }
        keys
    }
}

fn table(routes: Vec<RouteInfo>, all: bool) -> String {
    let mut table = Table::new(&["ROUTER", "TO", "KIND", ">METRIC", "INTERFACE", "VIA"]);
    let mut empty = true;
    for route in routes.into_iter().filter(|route| all || route.kind != "local") {
        empty = false;
        let via: Vec<String> = route.via.iter().map(ToString::to_string).collect();
        let hidden = if route.active { "" } else { " (hidden)" };
        table.row([
            route.router,
            route.to.to_string(),
            format!("{}{hidden}", route.kind),
            route.metric.to_string(),
            or_dash(route.interface),
            or_dash(Some(via.join(" ")).filter(|via| !via.is_empty())),
        ]);
    }
    if empty { "there is no route\n".into() } else { table.to_string() }
}

/// What becomes of a packet, and why, a line for each step.
fn explained(found: RouteExplanation) -> String {
    let from = found.from.map(|from| format!(" from {from}")).unwrap_or_default();
    let steps: String = found.steps.iter().map(|step| format!("  {step}\n")).collect();
    format!("{}{from} at router {}: {}\n{steps}", found.address, found.router, found.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, kind: &str, via: &[&str]) -> RouteInfo {
        RouteInfo {
            router: "gw".into(),
            to: to.parse().unwrap(),
            kind: kind.into(),
            via: via.iter().map(|via| via.parse().unwrap()).collect(),
            interface: via.is_empty().then(|| "lan".into()),
            metric: 0,
            active: true,
        }
    }

    #[test]
    fn routes_are_shown_a_row_each() {
        let routes = || {
            vec![
                route("0.0.0.0/0", "static", &["10.7.0.1", "10.7.0.5"]),
                RouteInfo { active: false, metric: 5, ..route("0.0.0.0/0", "static", &["10.9.0.1"]) },
                route("10.9.0.0/24", "connected", &[]),
                route("10.9.0.254/32", "local", &[]),
            ]
        };
        assert_eq!(
            table(routes(), false),
            "ROUTER  TO           KIND             METRIC  INTERFACE  VIA\n\
             gw      0.0.0.0/0    static                0  -          10.7.0.1 10.7.0.5\n\
             gw      0.0.0.0/0    static (hidden)       5  -          10.9.0.1\n\
             gw      10.9.0.0/24  connected             0  lan        -\n"
        );
        assert_eq!(table(routes(), true).lines().count(), 5);
        assert_eq!(table(Vec::new(), true), "there is no route\n");
    }

    #[test]
    fn an_explanation_is_a_line_for_each_step() {
        let found = RouteExplanation {
            router: "gw".into(),
            address: "192.0.2.1".parse().unwrap(),
            from: "10.9.0.2".parse().ok(),
            verdict: "forward".into(),
            routes: Vec::new(),
            hops: Vec::new(),
            source: None,
            steps: vec!["one".into(), "two".into()],
        };
        assert_eq!(explained(found), "192.0.2.1 from 10.9.0.2 at router gw: forward\n  one\n  two\n");
    }
}
