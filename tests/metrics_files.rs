//! The files around the metrics say what the metrics are: the reference, the dashboard, the alerts.

use std::collections::BTreeSet;
use std::fs;
use std::process::{self, Command};

use serde_json::Value;
use tapyard::control::metrics::{FAMILIES, Family, Kind};
use tapyard::packet::DropReason;

const REFERENCE: &str = include_str!("../docs/metrics.md");
const DASHBOARD: &str = include_str!("../docs/grafana/tapyard.json");
const ALERTS: &str = include_str!("../docs/prometheus/tapyard.rules.yml");

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tapyard_")).collect()
}

/// The name of the family that a name in an expression is of.
fn family(name: &str) -> Option<&'static str> {
    let of = FAMILIES.iter().find(|family| match family.kind {
        Kind::Histogram => {
            let part = name.strip_prefix(family.name);
            part.is_some_and(|part| ["", "_bucket", "_sum", "_count"].contains(&part))
        }
        Kind::Counter | Kind::Gauge => family.name == name,
    });
    of.map(|family| family.name)
}

/// All expressions of the dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "expr" => found.push(text.clone()),
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// Has promtool check a file with this content.
fn promtool(subcommand: &str, name: &str, text: &str) {
    let path = std::env::temp_dir().join(format!("tapyard-{}-{name}", process::id()));
    fs::write(&path, text).expect("a temporary file can be written");
    let output = Command::new("promtool").args(["check", subcommand]).arg(&path).output();
    let _ = fs::remove_file(&path);
    let output = output.expect("promtool runs (scripts/setup installs it)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn names_are_unique_and_end_as_their_kind_asks() {
    let mut seen = BTreeSet::new();
    for family in FAMILIES {
        assert!(seen.insert(family.name), "{} is there twice", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.help.ends_with('.') || family.help.contains(';'), "{}", family.help);
    }
}

#[test]
fn the_reference_has_a_row_for_each_family_and_no_other() {
    let rows: Vec<_> = REFERENCE.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |family: &&Family| {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {} | {labels} | {} |", family.name, family.kind.name(), family.help)
    };
    assert_eq!(rows, FAMILIES.iter().map(row).collect::<Vec<_>>());
    for name in names(REFERENCE) {
        assert!(family(name).is_some(), "{name} is no metric");
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let asked = names(DASHBOARD);
    for name in &asked {
        assert!(family(name).is_some(), "{name} is no metric");
    }
    assert!(asked.len() > 40, "{asked:?}");
}

#[test]
fn the_panels_of_the_dashboard_lie_beside_one_another() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("there are panels");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{key} of {panel}"));
        assert!(place("x") + place("w") <= 24, "{panel}");
        for y in place("y")..place("y") + place("h") {
            for x in place("x")..place("x") + place("w") {
                assert!(cells.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
    }
    assert!(panels.len() > 20);
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let dashboard = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 40, "{found:#?}");
    // As alerts, which promtool takes apart.
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in found.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m");
        rules += &format!("  - alert: A{number}\n    expr: '{}'\n", expression.replace('\'', "''"));
    }
    promtool("rules", "dashboard.yml", &rules);
}

#[test]
fn prometheus_takes_the_alerts_and_they_ask_for_what_there_is() {
    promtool("rules", "alerts.yml", ALERTS);
    for name in names(ALERTS) {
        assert!(family(name).is_some(), "{name} is no metric");
    }
    let (_, rest) = ALERTS.split_once("reason!~\"").expect("one leaves out some reasons");
    let (reasons, _) = rest.split_once('"').expect("its quotes end");
    for name in reasons.split('|') {
        assert!(DropReason::ALL.iter().any(|reason| reason.name() == name), "{name} is no drop reason");
    }
}
