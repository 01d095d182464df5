//! Exports: that what they are of is there.

use std::collections::BTreeSet;

use super::Check;
use crate::control::config::ExportScope;
use crate::control::config::errors::Path;

impl Check<'_> {
    pub(super) fn exports(&mut self) {
        for (name, export) in &self.config.exports {
            let path = Path::default().to("export").to(name.as_str());
            if self.read.under(&path) {
                continue;
            }
            match &export.scope {
                ExportScope::All => {}
                ExportScope::Bridge(bridge) => {
                    if let Some(message) = self.absent("bridge", bridge) {
                        self.found.add(path.to("bridge"), message);
                    }
                }
                ExportScope::Ports(ports) => self.export_ports(ports, &path.to("ports")),
            }
        }
    }

    fn export_ports(&mut self, ports: &[String], path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, port) in ports.iter().enumerate() {
            // A single name may stand without a list around it.
            let path = if ports.len() > 1 { path.to(index) } else { path.clone() };
            if let Some(message) = self.absent("port", port) {
                self.found.add(path, message);
            } else if !seen.insert(port) {
                self.found.add(path, format!("port {port} is named twice (expected each once)"));
            }
        }
    }
}
