//! What is captured from: ports that are named, or that are there.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Subject, Subjects};
use crate::control::api::{CaptureDirection, CaptureQuery};
use crate::control::config::{Config, PortKind};
use crate::control::shape::Live;
use crate::packet::Layer;
use crate::switch::watch::Moment;

/// What a capture is of.
pub(super) enum Target {
    /// What is dropped, on any port.
    Drops,
    /// All ports that are not what tunnels send by.
    Any,
    Port(String),
    Bridge(String),
}

impl Target {
    /// What `query` means, and when frames are to be seen.
    ///
    /// # Errors
    /// One line: there is no such thing.
    pub(super) fn of(
        query: &CaptureQuery,
        config: &Config,
        live: &Live,
    ) -> Result<(Target, Vec<Moment>), String> {
        let moments = match query.direction {
            None => vec![Moment::Received, Moment::Sent],
            Some(CaptureDirection::In) => vec![Moment::Received],
            Some(CaptureDirection::Out) => vec![Moment::Sent],
        };
        match query.target.as_str() {
            "drops" if query.direction.is_some() => {
                return Err("what is dropped goes nowhere (expected no direction beside `drops`)".into());
            }
            "drops" => return Ok((Target::Drops, vec![Moment::Dropped])),
            "any" => return Ok((Target::Any, moments)),
            _ => {}
        }
        let (kind, name) = match query.target.split_once(':') {
            Some((kind @ ("port" | "bridge"), name)) => (Some(kind), name),
            _ => (None, query.target.as_str()),
        };
        let is_port = kind != Some("bridge") && live.ports.contains_key(name);
        let is_bridge = kind != Some("port") && live.bridges.contains_key(name);
        match (is_port, is_bridge) {
            (true, true) => {
                Err(format!("a port and a bridge are called {name} (expected port:{name} or bridge:{name})"))
            }
            (true, false) if is_underlay(config, name) => Err(format!(
                "{name} is what tunnels send by (expected a tunnel's port, for what is inside; \
                 outside, what the host's own tools show)"
            )),
            (true, false) => Ok((Target::Port(name.to_owned()), moments)),
            (false, true) => Ok((Target::Bridge(name.to_owned()), moments)),
            (false, false) => {
                let what = kind.unwrap_or("port or bridge");
                Err(format!(
                    "there is no {what} {name} (port show and bridge show list them; `drops` and `any` are more)"
                ))
            }
        }
    }

    /// Its ports; those that it had `before` are the same. `None` when what it is of is gone.
    pub(super) fn subjects(
        &self,
        config: &Config,
        live: &Live,
        before: &[Option<Arc<Subject>>],
    ) -> Option<Subjects> {
        let is_there = match self {
            Target::Drops | Target::Any => true,
            Target::Port(name) => live.ports.contains_key(name),
            Target::Bridge(name) => config.bridges.contains_key(name),
        };
        let mut subjects = Vec::new();
        for (name, port) in live.ports.iter().filter(|(name, _)| self.has(config, name)) {
            let slot = port.id.index();
            if subjects.len() <= slot {
                subjects.resize(slot + 1, None);
            }
            let layer = config.ports.get(name).map_or(Layer::Ethernet, |port| port.kind.layer());
            let known = before.get(slot).and_then(Option::as_ref);
            let known = known.filter(|known| known.name == *name && known.layer == layer);
            let new = || Arc::new(Subject { name: name.clone(), layer, missed: AtomicU64::new(0) });
            subjects[slot] = Some(known.map_or_else(new, Arc::clone));
        }
        is_there.then(|| subjects.into())
    }

    fn has(&self, config: &Config, port: &str) -> bool {
        match self {
            Target::Drops => true,
            Target::Any => !is_underlay(config, port),
            Target::Port(name) => name == port,
            Target::Bridge(name) => {
                config.ports.get(port).is_some_and(|port| port.bridge.as_ref() == Some(name))
            }
        }
    }

    /// Why a capture of it is over.
    pub(super) fn gone(&self) -> String {
        match self {
            Target::Port(name) => format!("port {name} was removed"),
            Target::Bridge(name) => format!("bridge {name} was removed"),
            Target::Drops | Target::Any => "the switch has ended it".to_owned(),
        }
    }
}

fn is_underlay(config: &Config, port: &str) -> bool {
    config.ports.get(port).is_some_and(|port| matches!(port.kind, PortKind::Underlay(_)))
}
