//! Tables for people: aligned columns, at most 100 wide, `-` for nothing. Where that is too narrow, the last column is
//! wrapped if it is of text, and then the widest texts before it are cut.

use std::fmt;

/// The widest a table may be.
const WIDTH: usize = 100;
/// The narrowest that a column of text is cut to.
const NARROW: usize = 8;
/// The narrowest that the last column is wrapped to.
const WRAPPED: usize = 32;

/// A table that is being filled row by row. Displayed with a line end behind each row.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    right: bool,
}

impl Table {
    /// A table with these headings. One that begins with `>` is of numbers, aligned right.
    pub(super) fn new(headings: &[&str]) -> Table {
        let columns = headings.iter().map(|heading| Column { right: heading.starts_with('>') }).collect();
        let heading = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Table { columns, rows: vec![heading] }
    }

    /// Adds a row, a cell for each heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// The widths of the columns: as wide as their cells, if the table then fits.
    fn widths(&self) -> Vec<usize> {
        let widest = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let last = widths.len() - 1;
        let gaps = 2 * last;
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let texts = (0..widths.len()).filter(|&at| !self.columns[at].right && widths[at] > NARROW);
            let longest = texts.max_by_key(|&at| widths[at]);
            let wrapped = Some(last).filter(|&at| !self.columns[at].right && widths[at] > WRAPPED);
            let Some(at) = wrapped.or(longest) else { break };
            widths[at] -= 1;
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let (Some((last, cells)), Some(&width)) = (row.split_last(), widths.last()) else { continue };
            let mut begin = String::new();
            for ((cell, column), &width) in cells.iter().zip(&self.columns).zip(&widths) {
                let cell = cut(cell, width);
                begin +=
                    &if column.right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            }
            let right = self.columns.last().is_some_and(|column| column.right);
            for line in wrap(last, width) {
                let line = if right { format!("{begin}{line:>width$}") } else { format!("{begin}{line}") };
                writeln!(f, "{}", line.trim_end())?;
                begin = " ".repeat(begin.chars().count());
            }
        }
        Ok(())
    }
}

pub(super) fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The words of a cell on lines of this width; a word that is wider is cut.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cell.split(' ').map(|word| cut(word, width)) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = word,
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                *line += &format!(" {word}")
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// A value, or `-` for nothing.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// A count in three digits and its SI prefix: 9999, 12.3k, 4.56G.
pub(super) fn si(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    let (mut value, mut prefixes) = (count as f64, ["k", "M", "G", "T", "P", "E"].into_iter());
    let mut prefix = "";
    // At 999.5 three digits round up to a thousand.
    while value >= 999.5 {
        value /= 1000.0;
        prefix = prefixes.next().unwrap_or("E");
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["PORT", ">FRAMES", "MEANING"]);
        table.row(["vm1".into(), "5".into(), "x".into()]);
        table.row(["a".into(), "1234567890".into(), or_dash::<u8>(None)]);
        assert_eq!(
            table.to_string(),
            "PORT      FRAMES  MEANING\nvm1            5  x\na     1234567890  -\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_is_cut_in_its_texts_only() {
        let mut table = Table::new(&["A", "B", ">C"]);
        table.row(["ä".repeat(200), "short".into(), "9".repeat(30)]);
        let text = table.to_string();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.iter().max(), Some(&100), "{text}");
        assert!(text.contains("ä…") && text.contains("short") && text.contains(&"9".repeat(30)), "{text}");
    }

    #[test]
    fn the_last_column_is_wrapped_under_itself() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x".into(), "word ".repeat(30).trim_end().into()]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("x  word") && lines[2].starts_with("   word"), "{text}");
        assert_eq!(text.matches("word").count(), 30);
    }

    #[test]
    fn counts_are_scaled_in_three_digits() {
        for (count, text) in [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10.0k"),
            (99_949, "99.9k"),
            (99_960, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (4_560_000_000, "4.56G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(si(count), text);
        }
    }
}
