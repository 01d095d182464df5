//! `tapyard nat`.

use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::port::key_value;
use super::router::Which;
use super::table::{Table, or_dash, si};
use super::{Format, Outcome, Switch, print, print_json};
use crate::control::api::{
    FlowInfo, Flushed, NatFilter, NatInfo, NatRuleInfo, NatStats, Request, SessionInfo,
};
use crate::control::config::{Edits, Prefix};

/// Sessions that are watched at once.
const WATCHED: usize = 20;

/// Show and change translations, and the sessions that routers keep
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Nat {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the sessions that fit all options, or the translations (the default)
    #[command(after_help = "\
Examples:
  tapyard nat --rules                      the translations, and how many sessions each has
  tapyard nat --source 10.9.0.2 --port 443
  tapyard nat --watch")]
    Show(Show),
    /// Add a translation
    #[command(after_help = "\
KEY is a key of [[router.NAME.nat]] in the configuration. VALUE is TOML, or plain text.

Examples:
  tapyard nat add masquerade out=wan
  tapyard nat add port-forward in=wan protocol=tcp port=8080 to=10.9.0.2:80
  tapyard nat add snat --at 1 out=wan source=10.9.0.0/28 to=203.0.113.5-203.0.113.9")]
    Add {
        /// Its type: masquerade, snat, dnat, port-forward, static or npt
        #[arg(value_name = "TYPE")]
        kind: String,
        /// Its other keys
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        keys: Vec<(String, Option<toml::Value>)>,
        /// Its number [default: the last]
        #[arg(long, value_name = "NUMBER")]
        at: Option<usize>,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a translation
    Del {
        /// Its number, as `nat --rules` shows it
        number: usize,
        #[command(flatten)]
        router: Which,
        #[command(flatten)]
        format: Format,
    },
    /// End the sessions that fit all options
    #[command(after_help = "Example:\n  tapyard nat flush --source 10.9.0.2")]
    Flush {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    filter: Filter,
    /// Not more than so many sessions [default: 1000]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Show the translations, with how many sessions each has
    #[arg(long, conflicts_with_all = ["source", "destination", "port", "protocol", "limit", "watch"])]
    rules: bool,
    /// Show how the tables fill, every second, until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    format: Format,
}

/// Which sessions.
#[derive(Debug, Args)]
struct Filter {
    /// Those of this router
    #[arg(long, value_name = "NAME")]
    router: Option<String>,
    /// Those that were opened from this address or network
    #[arg(long, value_name = "NETWORK")]
    source: Option<Prefix>,
    /// Those to this address or network, as the one who opened them sees it or as it is
    #[arg(long, value_name = "NETWORK")]
    destination: Option<Prefix>,
    /// Those in which this port occurs
    #[arg(long)]
    port: Option<u16>,
    /// Those of this protocol: tcp, udp, icmp …
    #[arg(long)]
    protocol: Option<String>,
}

impl Filter {
    fn with_limit(self, limit: Option<usize>) -> NatFilter {
        let Filter { router, source, destination, port, protocol } = self;
        NatFilter { router, source, destination, port, protocol, limit }
    }
}

impl Nat {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show(self.show)) {
            Verb::Show(Show { filter, rules: true, format, .. }) => {
                switch.show(&Request::NatRules { router: filter.router }, format, rules)
            }
            Verb::Show(Show { filter, limit, watch: true, format, .. }) => {
                watch(switch, &Request::NatShow(filter.with_limit(limit.or(Some(WATCHED)))), format)
            }
            Verb::Show(Show { filter, limit, format, .. }) => {
                switch.show(&Request::NatShow(filter.with_limit(limit)), format, sessions)
            }
            Verb::Add { kind, keys, at, router: Which { router }, format } => {
                let mut keys: Edits = keys.into_iter().collect();
                keys.insert("type".into(), Some(kind.into()));
                switch.change(&Request::NatAdd { router, keys, at }, format)
            }
            Verb::Del { number, router: Which { router }, format } => {
                switch.change(&Request::NatDel { router, number }, format)
            }
            Verb::Flush { filter, format } => {
                switch.show(&Request::NatFlush(filter.with_limit(None)), format, |flushed: Flushed| {
                    let what = if flushed.entries == 1 { "session" } else { "sessions" };
                    format!("{} {what} ended\n", flushed.entries)
                })
            }
        }
    }
}

fn watch(switch: &Switch, request: &Request, format: Format) -> Outcome {
    let mut client = switch.connect()?;
    if format.json {
        loop {
            print_json(&client.call_raw(request)?)?;
            thread::sleep(Duration::from_secs(1));
        }
    }
    // On a terminal each table takes the place of the one before.
    let begin = if stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    let (mut before, mut at): (NatInfo, _) = (client.call(request)?, Instant::now());
    loop {
        thread::sleep(Duration::from_secs(1));
        let after: NatInfo = client.call(request)?;
        let now = Instant::now();
        let (rates, table) = (rates(&before.tables, &after.tables, now - at), session_table(&after.sessions));
        print(&format!("{begin}{rates}\n{table}\n"))?;
        (before, at) = (after, now);
    }
}

/// How full the tables are, and what happened to them in each second between two answers.
fn rates(before: &[NatStats], after: &[NatStats], passed: Duration) -> Table {
    let mut table =
        Table::new(&["ROUTER", ">SESSIONS", ">LIMIT", ">HALF-OPEN", ">NEW/S", ">EVICTED/S", ">REFUSED/S"]);
    for stats in after {
        let earlier = before.iter().find(|earlier| earlier.router == stats.router);
        let rate = |field: fn(&NatStats) -> u64| {
            let now = field(stats);
            let since = now.checked_sub(earlier.map_or(0, field)).unwrap_or(now);
            si((since as f64 / passed.as_secs_f64()).round() as u64)
        };
        table.row([
            stats.router.clone(),
            stats.sessions.to_string(),
            stats.limit.to_string(),
            stats.half_open.to_string(),
            rate(|stats| stats.opened),
            rate(|stats| stats.evicted),
            rate(refused),
        ]);
    }
    table
}

fn refused(stats: &NatStats) -> u64 {
    stats.refused_full.saturating_add(stats.refused_source).saturating_add(stats.refused_ports)
}

/// A row for each session, and a line for each table.
fn sessions(info: NatInfo) -> String {
    if info.tables.is_empty() {
        return "there is no router\n".into();
    }
    let mut text = String::new();
    if !info.sessions.is_empty() {
        text += &format!("{}\n", session_table(&info.sessions));
    }
    if info.left_out > 0 {
        text += &format!("{} more (--limit shows them)\n", info.left_out);
    }
    for stats in &info.tables {
        let NatStats { router, sessions, limit, half_open, evicted, .. } = stats;
        text +=
            &format!("{router}: {sessions} of {limit} sessions, {half_open} half-open, {evicted} evicted");
        let refused = [
            (stats.refused_full, "table full"),
            (stats.refused_source, "source has its share"),
            (stats.refused_ports, "no port left"),
        ];
        for (count, why) in refused.iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {count} refused ({why})");
        }
        text.push('\n');
    }
    text
}

fn session_table(sessions: &[SessionInfo]) -> Table {
    let mut table =
        Table::new(&["ROUTER", "PROTOCOL", "STATE", ">EXPIRES", "SOURCE", "DESTINATION", "TRANSLATED"]);
    for session in sessions {
        table.row([
            session.router.clone(),
            session.protocol.clone(),
            session.state.clone(),
            format!("{}s", session.expires_secs),
            source(&session.original),
            destination(&session.original),
            translated(session),
        ]);
    }
    table
}

fn source(flow: &FlowInfo) -> String {
    flow.source_port.map_or(flow.source.to_string(), |port| SocketAddr::new(flow.source, port).to_string())
}

fn destination(flow: &FlowInfo) -> String {
    let address = flow.destination;
    flow.destination_port.map_or(address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

/// What either end is on the other side, where that is another.
fn translated(session: &SessionInfo) -> String {
    let (original, reply) = (&session.original, &session.reply);
    let from = Some(destination(reply)).filter(|outside| *outside != source(original));
    let to = Some(source(reply)).filter(|inside| *inside != destination(original));
    let words = from.map(|from| format!("from {from}")).into_iter().chain(to.map(|to| format!("to {to}")));
    or_dash(Some(words.collect::<Vec<_>>().join(" ")).filter(|words| !words.is_empty()))
}

fn rules(rules: Vec<NatRuleInfo>) -> String {
    if rules.is_empty() {
        return "there is no translation\n".into();
    }
    let mut table = Table::new(&["ROUTER", ">NUMBER", ">SESSIONS", "TRANSLATION"]);
    for rule in rules {
        let comment = rule.comment.map(|comment| format!(" ({comment})")).unwrap_or_default();
        table.row([
            rule.router,
            rule.number.to_string(),
            rule.sessions.to_string(),
            format!("{}{comment}", rule.text),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, source_port: u16, destination: &str, destination_port: u16) -> FlowInfo {
        FlowInfo {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: Some(source_port).filter(|port| *port > 0),
            destination_port: Some(destination_port).filter(|port| *port > 0),
        }
    }

    fn session(original: FlowInfo, reply: FlowInfo) -> SessionInfo {
        SessionInfo {
            router: "gw".into(),
            protocol: "tcp".into(),
            state: "established".into(),
            original,
            reply,
            nat: Some(1),
            expires_secs: 7440,
        }
    }

    fn stats() -> NatStats {
        NatStats {
            router: "gw".into(),
            sessions: 3,
            limit: 100,
            half_open: 1,
            evicted: 2,
            ..NatStats::default()
        }
    }

    #[test]
    fn sessions_say_what_is_translated() {
        let out =
            session(flow("10.9.0.2", 40_000, "192.0.2.1", 443), flow("192.0.2.1", 443, "10.7.0.2", 50_000));
        let inward = session(flow("192.0.2.1", 5, "10.7.0.2", 8080), flow("10.9.0.2", 80, "192.0.2.1", 5));
        let plain = session(flow("fd00::1", 0, "fd00::2", 0), flow("fd00::2", 0, "fd00::1", 0));
        let info = NatInfo { tables: vec![stats()], sessions: vec![out, inward, plain], left_out: 4 };
        assert_eq!(
            sessions(info),
            "ROUTER  PROTOCOL  STATE        EXPIRES  SOURCE          DESTINATION    TRANSLATED\n\
             gw      tcp       established    7440s  10.9.0.2:40000  192.0.2.1:443  from 10.7.0.2:50000\n\
             gw      tcp       established    7440s  192.0.2.1:5     10.7.0.2:8080  to 10.9.0.2:80\n\
             gw      tcp       established    7440s  fd00::1         fd00::2        -\n\
             \n4 more (--limit shows them)\ngw: 3 of 100 sessions, 1 half-open, 2 evicted\n"
        );
        let full = NatStats { refused_full: 7, refused_ports: 1, ..stats() };
        let text = sessions(NatInfo { tables: vec![full], ..NatInfo::default() });
        assert!(text.ends_with("2 evicted, 7 refused (table full), 1 refused (no port left)\n"), "{text}");
        assert_eq!(sessions(NatInfo::default()), "there is no router\n");
    }

    #[test]
    fn a_table_of_the_longest_addresses_is_no_wider_than_others() {
        let longest = "2001:db8:1111:2222:3333:4444:5555:6666";
        let wide = session(flow(longest, 65_535, longest, 65_535), flow(longest, 1, longest, 2));
        let text = session_table(&[wide]).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn what_happens_is_counted_per_second() {
        let after = NatStats { opened: 2000, evicted: 12, refused_full: 10, refused_source: 10, ..stats() };
        let text = rates(&[stats()], &[after], Duration::from_secs(2)).to_string();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["gw", "3", "100", "1", "1000", "5", "10"]);
    }

    #[test]
    fn translations_are_shown_a_row_each() {
        let rule = NatRuleInfo {
            router: "gw".into(),
            number: 1,
            text: "masquerade out wan".into(),
            comment: Some("all of us".into()),
            sessions: 5,
        };
        assert_eq!(
            rules(vec![rule]),
            "ROUTER  NUMBER  SESSIONS  TRANSLATION\ngw           1         5  masquerade out wan (all of us)\n"
        );
    }
}
