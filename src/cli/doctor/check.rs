//! The checks, and what they find.

use std::fmt;

use serde::Serialize;

use super::facts::Facts;
use super::{control, machine, network, ports, traffic, tunnels};

/// One thing that is looked at.
pub(super) struct Check {
    /// What it is called, as `docs/troubleshooting.md` explains it.
    pub(super) name: &'static str,
    judge: fn(&Facts) -> Judged,
}

/// What a check has found, or why it could not look.
pub(super) type Judged = Result<Found, String>;

/// All checks, in the order in which they are shown where they find the same.
pub(super) const ALL: &[Check] = &[
    Check { name: "control", judge: control::control },
    Check { name: "configuration", judge: control::configuration },
    Check { name: "tun-driver", judge: machine::tun_driver },
    Check { name: "privilege", judge: machine::privilege },
    Check { name: "workers", judge: machine::workers },
    Check { name: "ports", judge: ports::states },
    Check { name: "device-holder", judge: ports::holders },
    Check { name: "device-queues", judge: ports::queues },
    Check { name: "own-ipv6", judge: ports::own_ipv6 },
    Check { name: "tunnel-port", judge: tunnels::sockets },
    Check { name: "tunnel-peers", judge: tunnels::peers },
    Check { name: "tunnel-mtu", judge: tunnels::mtu },
    Check { name: "checksums", judge: network::checksums },
    Check { name: "receive-buffers", judge: network::buffers },
    Check { name: "bridge-nf-call", judge: network::bridge_filter },
    Check { name: "rp-filter", judge: network::strict_sources },
    Check { name: "ip-forward", judge: network::forwarding },
    Check { name: "flapping", judge: traffic::flapping },
    Check { name: "flooding", judge: traffic::flooding },
    Check { name: "drops", judge: traffic::drops },
    Check { name: "tables", judge: traffic::tables },
];

impl Check {
    /// What it has to say of these facts: at least that nothing is the matter, or that it cannot be told.
    pub(super) fn findings(&self, facts: &Facts) -> Vec<Finding> {
        let (check, place) = (self.name, None);
        match (self.judge)(facts) {
            Err(why) => vec![Finding { check, result: Level::NotLookedAt, place, what: why, remedy: None }],
            Ok(found) if found.troubles.is_empty() => {
                vec![Finding { check, result: Level::Ok, place, what: found.fine, remedy: None }]
            }
            Ok(found) => found.troubles.into_iter().map(|trouble| Finding { check, ..trouble }).collect(),
        }
    }
}

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Wrong,
    Warning,
    NotLookedAt,
    Ok,
}

/// One line of the report.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) result: Level,
    /// Where: `port vm1`.
    #[serde(rename = "where")]
    pub(super) place: Option<String>,
    pub(super) what: String,
    /// What to try: mostly a command.
    pub(super) remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { check, result, place, what, remedy } = self;
        let result = match result {
            Level::Wrong => "wrong",
            Level::Warning => "warning",
            Level::NotLookedAt => "not looked at",
            Level::Ok => "ok",
        };
        write!(f, "{result:<13}  {check:<15}  ")?;
        place.iter().try_for_each(|place| write!(f, "{place}: "))?;
        write!(f, "{what}")?;
        remedy.iter().try_for_each(|remedy| write!(f, "; try: {remedy}"))
    }
}

/// What a check has found.
pub(super) struct Found {
    /// What to say when there are no troubles.
    fine: String,
    troubles: Vec<Finding>,
}

impl Found {
    /// Nothing so far; `fine` says what is well then.
    pub(super) fn new(fine: impl Into<String>) -> Found {
        Found { fine: fine.into(), troubles: Vec::new() }
    }

    /// Something that keeps traffic from passing.
    pub(super) fn wrong(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Wrong, place, what, Some(remedy.into()));
    }

    /// Something that may.
    pub(super) fn warn(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Warning, place, what, Some(remedy.into()));
    }

    /// A part that could not be looked at.
    pub(super) fn unseen(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.add(Level::NotLookedAt, place, why, None);
    }

    fn add(
        &mut self,
        result: Level,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: Option<String>,
    ) {
        let place = Some(place.into()).filter(|place| !place.is_empty());
        self.troubles.push(Finding { check: "", result, place, what: what.into(), remedy });
    }
}

#[cfg(test)]
impl Found {
    /// The troubles as lines, each with its level before.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |finding: &Finding| format!("{finding}").split_whitespace().collect::<Vec<_>>().join(" ");
        self.troubles.iter().map(line).collect()
    }
}
