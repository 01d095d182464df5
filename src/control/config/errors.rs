//! Errors of a configuration: where, what is wrong, what was expected. One line each, all of them in one go.
//!
//! Readers and checks only say at which key ([`Path`]) something is wrong; the line is looked up in the document at
//! the end, in one place.

use std::collections::BTreeSet;
use std::fmt;

use super::document::Document;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File and line, counted from 1; `None` for a value that came from a command.
    pub place: Option<(String, u32)>,
    /// The key, dotted (`port.vm1.vlan`); empty for a syntax error.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl ConfigError {
    /// An error that is one line, whatever control characters names and values have in them.
    pub(super) fn new(place: Option<(String, u32)>, key: &str, message: &str) -> ConfigError {
        let clean = |text: &str| text.replace(char::is_control, " ");
        ConfigError { place, key: clean(key), message: clean(message) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, in the order of the file; never empty. Displayed a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors(pub Vec<ConfigError>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Step {
        Step::Key(key.into())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Step {
        Step::Index(index)
    }
}

/// The way from the root of a document to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path one step further in.
    pub(super) fn to(&self, step: impl Into<Step>) -> Path {
        let mut path = self.clone();
        path.0.push(step.into());
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What readers and checks have found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Path, String)>);

impl Findings {
    /// Notes that something is wrong at `path`.
    pub(super) fn add(&mut self, path: Path, message: impl Into<String>) {
        self.0.push((path, message.into()));
    }

    /// Takes over what `other` has found.
    pub(super) fn append(&mut self, mut other: Findings) {
        self.0.append(&mut other.0);
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something was found at `path` or below it.
    pub(super) fn under(&self, path: &Path) -> bool {
        self.0.iter().any(|(found, _)| found.0.starts_with(&path.0))
    }

    /// The elements of the array at `path` in which something was found.
    pub(super) fn elements(&self, path: &Path) -> BTreeSet<usize> {
        let below = self.0.iter().filter_map(|(found, _)| found.0.strip_prefix(&path.0[..])?.first());
        let index = |step: &Step| match step {
            Step::Index(index) => Some(*index),
            Step::Key(_) => None,
        };
        below.filter_map(index).collect()
    }

    /// The findings as errors, if there are any.
    pub(super) fn into_result(self, document: &Document) -> Result<(), Errors> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Errors(self.located(document))),
        }
    }

    /// The findings with their lines in `document`, in the order of the file.
    pub(super) fn located(self, document: &Document) -> Vec<ConfigError> {
        let error = |(path, message): (Path, String)| {
            let place = document.line(&path).map(|line| (document.file().to_owned(), line));
            ConfigError::new(place, &path.to_string(), &message)
        };
        let mut errors: Vec<ConfigError> = self.0.into_iter().map(error).collect();
        errors.sort_by_key(|e| e.place.as_ref().map(|(_, line)| *line));
        errors
    }
}
