//! What of a rule names something that is not there.

use super::Check;
use super::router::no_interface;
use crate::control::config::errors::Path;
use crate::control::config::rule::{RuleConfig, Scope};

impl Check<'_> {
    pub(super) fn rules(&mut self) {
        let path = Path::default().to("rule");
        let faulty = self.read.elements(&path);
        for (index, rule) in self.config.rules.iter().enumerate() {
            if faulty.contains(&index) {
                continue;
            }
            if let Some((keys, message)) = self.wrong_rule(rule) {
                let path = keys.iter().fold(path.to(index), |path, key| path.to(*key));
                self.found.add(path, message);
            }
        }
    }

    /// What is wrong with a rule, and the way to the key that it is wrong at.
    fn wrong_rule(&self, rule: &RuleConfig) -> Option<(Vec<&'static str>, String)> {
        let (table, name) = match &rule.scope {
            Scope::Router(name) => ("router", name),
            Scope::Bridge(name) => ("bridge", name),
        };
        if let Some(message) = self.absent(table, name) {
            return Some((vec![table], message));
        }
        let matches = &rule.matches;
        [("in", &matches.input), ("out", &matches.out)].into_iter().find_map(|(key, names)| {
            let message = names.iter().find_map(|place| match &rule.scope {
                Scope::Router(router) => no_interface(self.config.routers.get(router)?, place),
                Scope::Bridge(bridge) => self.no_member(bridge, place),
            })?;
            Some((vec!["match", key], message))
        })
    }

    /// What to say of a port that is not on a bridge.
    fn no_member(&self, bridge: &str, name: &str) -> Option<String> {
        match self.config.ports.get(name) {
            None => self.absent("port", name),
            Some(_) if self.read.under(&Path::default().to("port").to(name)) => None,
            Some(port) if port.bridge.as_deref() == Some(bridge) => None,
            Some(_) => Some(format!("port {name} is not on bridge {bridge} (expected one that is)")),
        }
    }
}
