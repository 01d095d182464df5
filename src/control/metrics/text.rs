//! The text format: families, each with its help and type, and their samples below.

use std::fmt::{Display, Write};

use super::catalogue::{Family, Kind};

/// The text as far as it is written.
#[derive(Default)]
pub(super) struct Text(String);

/// A family whose samples come next.
pub(super) struct Samples<'t> {
    text: &'t mut String,
    family: &'static Family,
}

impl Text {
    /// Begins a family. Each has its turn once.
    pub(super) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail, here and below.
        let _ =
            writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", Escaped { text: help, quotes: false });
        Samples { text: &mut self.0, family }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// A sample with the values of the family's labels, in their order.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Display) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        self.text.push_str(self.family.name);
        for (at, (name, value)) in self.family.labels.iter().zip(labels).enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", Escaped { text: value, quotes: true });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// A text that cannot end its line, nor, where it stands in quotes, these.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.quotes => f.write_str("\\\""),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_family() {
        static PLAIN: Family = Family { name: "a_total", kind: Kind::Counter, labels: &[], help: "Counts." };
        static TWO: Family =
            Family { name: "b", kind: Kind::Gauge, labels: &["x", "y"], help: "a \\ \"b\"\nc" };
        let mut text = Text::default();
        text.family(&PLAIN).add(&[], u64::MAX);
        let mut samples = text.family(&TWO);
        samples.add(&["1", "é"], 0.25);
        samples.add(&["a\"b\\c\nd", ""], 1);
        assert_eq!(
            text.into_string(),
            "# HELP a_total Counts.\n# TYPE a_total counter\na_total 18446744073709551615\n\
             # HELP b a \\\\ \"b\"\\nc\n# TYPE b gauge\nb{x=\"1\",y=\"é\"} 0.25\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 1\n"
        );
    }
}
