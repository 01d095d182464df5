//! Edits of mirrors.

use super::routing::{add, tables};
use super::{Document, Edits, Node, edit};

impl Document {
    /// Adds a mirror. Errors when there is one of this name.
    pub fn mirror_add(&mut self, name: &str, keys: &Edits) -> Result<(), String> {
        add(tables(&mut self.root, "mirror")?, name, keys, "mirror")
    }

    /// Changes keys of a mirror. Errors when there is none of this name.
    pub fn mirror_set(&mut self, name: &str, keys: &Edits) -> Result<(), String> {
        match tables(&mut self.root, "mirror")?.get_mut(name).map(|mirror| &mut mirror.node) {
            Some(Node::Table(mirror)) => edit(mirror, keys),
            _ => Err(format!("there is no mirror {name}")),
        }
    }

    /// Removes a mirror. Errors when there is none of this name.
    pub fn mirror_del(&mut self, name: &str) -> Result<(), String> {
        let removed = tables(&mut self.root, "mirror")?.remove(name);
        removed.map(|_| ()).ok_or_else(|| format!("there is no mirror {name}"))
    }
}
