//! The text format: families, each with its help and type, and their samples below.

use std::fmt::{Display, Write};

use super::catalogue::Family;

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
        let help = Escaped { text: help, quotes: false };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        Samples { text: &mut self.0, family }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// A sample with the values of the family's labels, in their order.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A histogram: how many were at most as large as each of `bounds`, which grow, and not as small as those before; in
    /// the one behind the last, those that were larger than all. `sum` is that of all sizes.
    pub(super) fn add_histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum: u64) {
        debug_assert_eq!(bounds.len() + 1, counts.len());
        let bounds = bounds.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
        let mut all = 0;
        for (bound, count) in bounds.zip(counts) {
            all += count;
            self.line("_bucket", labels, Some(&bound), all);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, all);
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let _ = write!(self.text, "{}{suffix}", self.family.name);
        let names = self.family.labels.iter().copied();
        let labels = names.zip(labels.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (name, value) in labels {
            let _ = write!(self.text, "{before}{name}=\"{}\"", Escaped { text: value, quotes: true });
            before = ',';
        }
        let end = if before == ',' { "}" } else { "" };
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
    use crate::control::metrics::Kind;

    #[test]
    fn a_histogram_adds_up() {
        static SIZES: Family = Family { name: "h", kind: Kind::Histogram, labels: &["x"], help: "Sizes." };
        let mut text = Text::default();
        text.family(&SIZES).add_histogram(&["1"], &[1, 3], &[5, 0, 2], 40);
        assert_eq!(
            text.into_string(),
            "# HELP h Sizes.\n# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 5\nh_bucket{x=\"1\",le=\"3\"} 5\n\
             h_bucket{x=\"1\",le=\"+Inf\"} 7\nh_sum{x=\"1\"} 40\nh_count{x=\"1\"} 7\n"
        );
    }

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
