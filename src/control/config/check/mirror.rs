//! What of a mirror contradicts other tables: ports that are not there, that are another mirror's, or that carry something
//! else.

use super::Check;
use crate::control::config::errors::Path;
use crate::control::config::{MirrorConfig, On};
use crate::packet::Layer;

/// What is wrong, and the key that it is wrong at.
type Wrong = (&'static str, String);

impl Check<'_> {
    pub(super) fn mirrors(&mut self) {
        for (name, mirror) in &self.config.mirrors {
            let path = Path::default().to("mirror").to(name.as_str());
            if self.read.under(&path) {
                continue;
            }
            if let Some((key, message)) = self.wrong_end(mirror).or_else(|| self.wrong_source(mirror)) {
                self.found.add(path.to(key), message);
            }
        }
    }

    /// What is wrong with the port that is to send the copies.
    fn wrong_end(&self, mirror: &MirrorConfig) -> Option<Wrong> {
        let to = &mirror.to;
        let Some(port) = self.config.ports.get(to) else {
            return self.absent("port", to).map(|message| ("to", message));
        };
        if self.read.under(&Path::default().to("port").to(to.as_str())) {
            return None;
        }
        if mirror.ports.contains(to) {
            return Some(("to", format!("port {to} is one of `ports`: a loop (expected another port)")));
        }
        if !port.mirror {
            let on = port.bridge.as_ref().map(|bridge| format!(" on bridge {bridge}")).unwrap_or_default();
            let expected = "(expected a port of the mirror's own, with mirror = true)";
            return Some(("to", format!("port {to} is a port{on} like others {expected}")));
        }
        let mut interfaces = self.config.routers.values().flat_map(|router| router.interfaces.values());
        if interfaces.any(|interface| matches!(&interface.on, On::Port(port) if port == to)) {
            return Some(("to", format!("an interface of a router is on port {to} (expected a port alone)")));
        }
        (mirror.bridge.is_some() && port.kind.layer() == Layer::Ip).then(|| {
            let kind = port.kind.name();
            let message = format!("port {to} is a {kind} of IP packets (expected a port of Ethernet frames)");
            ("to", message)
        })
    }

    /// What is wrong with the ports whose frames are to be copied.
    fn wrong_source(&self, mirror: &MirrorConfig) -> Option<Wrong> {
        if let Some(bridge) = &mirror.bridge
            && let Some(message) = self.absent("bridge", bridge)
        {
            return Some(("bridge", message));
        }
        let layer = self.config.ports.get(&mirror.to).map(|port| port.kind.layer());
        mirror.ports.iter().find_map(|name| {
            let Some(port) = self.config.ports.get(name) else {
                return self.absent("port", name).map(|message| ("ports", message));
            };
            let what = |layer| if layer == Layer::Ip { "IP packets" } else { "Ethernet frames" };
            if port.mirror {
                let message = format!("port {name} sends copies itself (expected a port that others use)");
                return Some(("ports", message));
            }
            let other = layer.filter(|&layer| layer != port.kind.layer())?;
            let (own, other) = (what(port.kind.layer()), what(other));
            Some((
                "ports",
                format!("port {name} carries {own}, and port {} {other} (expected the same)", mirror.to),
            ))
        })
    }
}
