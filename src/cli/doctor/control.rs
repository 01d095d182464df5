//! Whether a switch answers, and whether a configuration is one.

use super::check::{Found, Judged};
use super::facts::{Contact, Facts};

/// A switch that answers, of this version.
pub(super) fn control(facts: &Facts) -> Judged {
    let own = env!("CARGO_PKG_VERSION");
    match &facts.contact {
        Contact::Answers(switch) => {
            let mut found = Found::new(format!("tapyard {} answers (pid {})", switch.version, switch.pid));
            if switch.version != own {
                let what = format!("the switch that runs is version {}, this command {own}", switch.version);
                found.warn("", what, "end the switch and start it again: tapyard run --config FILE");
            }
            Ok(found)
        }
        Contact::Absent { path, named: false } => Err(format!("no switch runs at {}", path.display())),
        Contact::Absent { path, named: true } => {
            let mut found = Found::new("");
            found.wrong(path.display().to_string(), "no switch runs there", "tapyard run --config FILE");
            Ok(found)
        }
        Contact::Closed(why) => {
            let mut found = Found::new("");
            found.wrong("", why.as_str(), "sudo tapyard doctor");
            Ok(found)
        }
        Contact::Silent(why) => {
            let mut found = Found::new("");
            found.wrong("", why.as_str(), "end that switch and start it again: tapyard run --config FILE");
            Ok(found)
        }
    }
}

/// A file that is a configuration.
pub(super) fn configuration(facts: &Facts) -> Judged {
    let Some(file) = &facts.file else {
        return match facts.runs() {
            true => Ok(Found::new("the one that runs was taken as it is")),
            false => Err("no file was named (--config FILE)".into()),
        };
    };
    let path = file.path.display();
    let mut found = Found::new(format!("{path} has no errors"));
    for error in &file.errors {
        found.wrong("", error.as_str(), format!("correct it, then: tapyard check --config {path}"));
    }
    for warning in &file.warnings {
        found.warn(
            "",
            warning.replacen("warning: ", "", 1),
            format!("see docs/configuration.md, then: tapyard check --config {path}"),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::facts::File;
    use super::*;
    use crate::control::api::VersionInfo;

    #[test]
    fn a_switch_of_another_version_is_told_and_one_that_is_silent_is_wrong() {
        let lines = |contact| control(&Facts { contact, ..Facts::healthy() }).map(|found| found.lines());
        let of = |version: &str| Contact::Answers(VersionInfo { version: version.into(), pid: 1 });
        assert_eq!(lines(of(env!("CARGO_PKG_VERSION"))), Ok(vec![]));
        assert!(lines(of("0.0.1")).unwrap()[0].starts_with("warning the switch that runs is version 0.0.1"));
        assert!(
            lines(Contact::Silent("/x: no answer".into())).unwrap()[0].starts_with("wrong /x: no answer")
        );
        let closed = lines(Contact::Closed("/x: no permission".into())).unwrap();
        assert_eq!(closed, ["wrong /x: no permission; try: sudo tapyard doctor"]);
        assert!(
            lines(Contact::Absent { path: "/x".into(), named: true }).unwrap()[0].starts_with("wrong /x: no")
        );
        assert!(lines(Contact::Absent { path: "/x".into(), named: false }).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_line_by_line() {
        let file = |errors: &[&str], warnings: &[&str]| {
            let own = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
            Some(File { path: "t.toml".into(), errors: own(errors), warnings: own(warnings) })
        };
        let lines = |file| configuration(&Facts { file, ..Facts::healthy() }).unwrap().lines();
        assert!(lines(file(&[], &[])).is_empty());
        let both = lines(file(&["t.toml:2: x"], &["t.toml:3: y: warning: z"]));
        assert!(both[0].starts_with("wrong t.toml:2: x; try: "), "{both:?}");
        assert!(both[1].starts_with("warning t.toml:3: y: z; try: "), "{both:?}");
        assert!(configuration(&Facts::nothing()).is_err());
    }
}
