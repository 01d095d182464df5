//! What to look at when a port drops frames for a reason: the words of `docs/troubleshooting.md`, which stand nowhere
//! else.

/// The page, whose table has a row for each reason.
const PAGE: &str = include_str!("../../docs/troubleshooting.md");

/// What to look at, in the words of the page; `None` for what is no reason's name.
pub fn of(reason: &str) -> Option<&'static str> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let quoted = format!("`{reason}`");
    let mut of_reason = rows.filter(|(names, _)| names.split(", ").any(|name| name == quoted));
    of_reason.next().map(|(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::DropReason;

    #[test]
    fn every_reason_has_its_remedy() {
        for reason in DropReason::ALL {
            let remedy = of(reason.name()).unwrap_or_else(|| panic!("{} has no row", reason.name()));
            assert!(remedy.len() > 10 && !remedy.contains(" | "), "{remedy}");
        }
        assert_eq!(of("nothing"), None);
    }
}
