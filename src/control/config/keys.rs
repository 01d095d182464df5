//! Reading the keys of a table, one by one, so that what was not asked for can be called unknown.

use super::document::{Item, Node, Table};
use super::errors::{Findings, Path};
use super::value::{Fault, no};

/// A table that is being read. Every key it may have is asked for once; [`Keys::finish`] complains about the others.
pub(super) struct Keys<'a> {
    path: Path,
    table: &'a Table,
    asked: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Keys<'a> {
    pub(super) fn new(path: Path, table: &'a Table, findings: &'a mut Findings) -> Keys<'a> {
        Keys { path, table, asked: Vec::new(), findings }
    }

    /// The value of `key` as `read` takes it; `None` when it is not there, or is wrong, which is then noted.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item) -> Result<T, Fault>,
    ) -> Option<T> {
        self.asked.push(key);
        match read(self.table.get(key)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                let path = self.path.to(key);
                self.findings.add(fault.index.map_or(path.clone(), |i| path.to(i)), fault.message);
                None
            }
        }
    }

    /// Like [`Keys::get`], for a key that has to be there; `expected` is said when it is not.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Item) -> Result<T, Fault>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.complain(key, format!("missing (expected {expected})"));
        }
        self.get(key, read)
    }

    /// Reads the table under `key`; `None` when it is not there, or is none, which is then noted.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(Keys<'_>) -> T) -> Option<T> {
        self.asked.push(key);
        self.table_of(key, read)
    }

    /// Like [`Keys::table`], for a key that the user chose.
    pub(super) fn table_of<T>(&mut self, key: &str, read: impl FnOnce(Keys<'_>) -> T) -> Option<T> {
        let item = self.table.get(key)?;
        match &item.node {
            Node::Table(table) => Some(read(Keys::new(self.path.to(key), table, self.findings))),
            _ => {
                self.complain(key, no(item, "table", "KEY = VALUE pairs"));
                None
            }
        }
    }

    /// Reads the tables of the array under `key`, `[[key]]`.
    pub(super) fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(Keys<'_>) -> T) -> Vec<T> {
        self.asked.push(key);
        let Some(item) = self.table.get(key) else { return Vec::new() };
        let Node::Array(items) = &item.node else {
            self.complain(key, no(item, "array of tables", &format!("[[{key}]]")));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = self.path.to(key).to(index);
            match &item.node {
                Node::Table(table) => tables.push(read(Keys::new(path, table, self.findings))),
                _ => self.findings.add(path, no(item, "table", "KEY = VALUE pairs")),
            }
        }
        tables
    }

    /// The keys that are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        self.table.keys()
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether something is wrong with the value of `key`.
    pub(super) fn failed(&self, key: &str) -> bool {
        self.findings.under(&self.path.to(key))
    }

    /// Notes that the value of `key` is wrong.
    pub(super) fn complain(&mut self, key: &str, message: impl Into<String>) {
        self.findings.add(self.path.to(key), message);
    }

    /// Notes when there are more than `most` tables under `key`.
    pub(super) fn at_most(&mut self, key: &str, count: usize, most: usize) {
        if count > most {
            self.complain(key, format!("{count} tables are too many (expected at most {most})"));
        }
    }

    /// The keys asked for so far.
    pub(super) fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Complains about the keys that nobody asked for; `elsewhere` may know where such a key belongs.
    pub(super) fn finish(self, elsewhere: impl Fn(&str) -> Option<String>) {
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let message = elsewhere(key).unwrap_or_else(|| match similar(key, &self.asked) {
                Some(meant) => format!("unknown key `{key}` (did you mean `{meant}`?)"),
                None => format!("unknown key `{key}` (expected one of {})", self.asked.join(", ")),
            });
            self.findings.add(self.path.to(key.as_str()), message);
        }
    }
}

/// The word of `words` that `typed` was probably meant to be.
pub(super) fn similar<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    let near = words.iter().map(|word| (strsim::damerau_levenshtein(typed, word), *word));
    near.filter(|(distance, word)| *distance <= 2 && *distance < word.len()).min().map(|(_, word)| word)
}
