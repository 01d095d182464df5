//! What the documentation shows is true: its examples are configurations that the program takes.

use std::collections::BTreeSet;
use std::fs;
use std::process::{self, Command};

use tapyard::control::config::Document;
use tapyard::packet::DropReason;
use tapyard::switch::mode::Mode;

/// The indented blocks of a Markdown text that are TOML: those that begin with a table.
fn examples(markdown: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in markdown.lines() {
        match line.strip_prefix("    ") {
            Some(code) => *blocks.last_mut().expect("never empty") += &format!("{code}\n"),
            None if line.is_empty() => *blocks.last_mut().expect("never empty") += "\n",
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| block.trim_start().starts_with('['));
    blocks
}

#[test]
fn the_examples_of_the_reference_are_configurations() {
    let blocks = examples(include_str!("../docs/configuration.md"));
    // The first stands for itself; the others, a few keys each, make one file together.
    let (first, others) = blocks.split_first().expect("there are examples");
    assert!(others.len() >= 8, "{others:#?}");
    for (name, text) in [("first", first), ("others", &others.concat())] {
        let path = std::env::temp_dir().join(format!("tapyard-docs-{}-{name}.toml", process::id()));
        fs::write(&path, text).expect("a temporary file can be written");
        let output =
            Command::new(env!("CARGO_BIN_EXE_tapyard")).args(["check", "--config"]).arg(&path).output();
        let _ = fs::remove_file(&path);
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_configurations_of_the_readme_are_configurations() {
    let readme = include_str!("../README.md");
    let files: Vec<_> =
        readme.split("<<'END'\n").skip(1).filter_map(|rest| rest.split_once("    END\n")).collect();
    assert_eq!(files.len(), 2, "two quick starts write one each");
    for (file, _) in files {
        let text: String = file.lines().map(|line| format!("{}\n", line.trim_start())).collect();
        let document =
            Document::parse(&text, "README.md").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let config = document.to_config().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert_eq!(config.ports.len(), 2, "{text}");
    }
    let fragments = examples(readme);
    assert_eq!(fragments.len(), 2, "a tunnel and a router: {fragments:#?}");
    for keys in fragments {
        let text = format!("[bridge.lan]\n{keys}");
        let config = Document::parse(&text, "README.md").and_then(|document| document.to_config());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(config.tunnels().count() > 0 || !config.routers.is_empty(), "{text}");
    }
}

#[test]
fn the_configurations_of_the_page_on_tunnels_are_configurations() {
    let page = include_str!("../docs/tunnels.md");
    let files = page.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("    END\n")?.0));
    let whole = files.map(|file| file.lines().map(|line| format!("{}\n", line.trim_start())).collect());
    let fragments = examples(page).into_iter().map(|keys| format!("[bridge.lan]\n{keys}"));
    let texts: Vec<String> = whole.chain(fragments).collect();
    assert!(texts.len() >= 12, "{texts:#?}");
    for text in texts {
        let config = Document::parse(&text, "tunnels.md").and_then(|document| document.to_config());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(config.tunnels().count() > 0, "{text}");
    }
}

#[test]
fn the_configurations_of_the_page_on_routing_are_configurations() {
    let page = include_str!("../docs/routing.md");
    let files = page.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("    END\n")?.0));
    let whole = files.map(|file| file.lines().map(|line| format!("{}\n", line.trim_start())).collect());
    let fragments = examples(page).into_iter().map(|keys| {
        let used = ["home", "wan6"].into_iter().filter(|name| keys.contains(&format!("bridge = \"{name}\"")));
        used.map(|name| format!("[bridge.{name}]\n")).collect::<String>() + &keys
    });
    let texts: Vec<String> = whole.chain(fragments).collect();
    assert_eq!(texts.len(), 7, "{texts:#?}");
    for text in texts {
        let config = Document::parse(&text, "routing.md").and_then(|document| document.to_config());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(!config.routers.is_empty() || config.ports.contains_key("guest"), "{text}");
    }
}

#[test]
fn the_configurations_of_the_page_on_containers_are_configurations() {
    let page = include_str!("../docs/containers.md");
    let files = page.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("    END\n")?.0));
    let whole = files.map(|file| file.lines().map(|line| format!("{}\n", line.trim_start())).collect());
    let texts: Vec<String> = whole.chain(examples(page)).collect();
    assert_eq!(texts.len(), 2, "a walk-through and a wire: {texts:#?}");
    for text in texts {
        let document = Document::parse(&text, "containers.md").unwrap_or_else(|errors| panic!("{errors}"));
        let config = document.to_config().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(config.ports.values().any(|port| port.mode == Mode::Uplink), "{text}");
        assert!(document.warnings(&config).is_empty(), "{text}");
    }
}

#[test]
fn the_configurations_of_the_page_on_guests_are_configurations() {
    let page = include_str!("../docs/guests.md");
    let files = page.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("    END\n")?.0));
    let whole = files.map(|file| file.lines().map(|line| format!("{}\n", line.trim_start())).collect());
    let fragments = examples(page).into_iter().map(|keys| format!("[bridge.lan]\n{keys}"));
    let texts: Vec<String> = whole.chain(fragments).collect();
    assert_eq!(texts.len(), 4, "{texts:#?}");
    for text in texts {
        let config = Document::parse(&text, "guests.md").and_then(|document| document.to_config());
        config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    }
}

#[test]
fn the_configurations_of_the_page_on_exports_are_configurations() {
    let page = include_str!("../docs/export.md");
    let files = page.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("    END\n")?.0));
    let whole = files.map(|file| file.lines().map(|line| format!("{}\n", line.trim_start())).collect());
    let fragments = examples(page).into_iter().map(|keys| format!("[bridge.lan]\n{keys}"));
    let texts: Vec<String> = whole.chain(fragments).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    for text in texts {
        let config = Document::parse(&text, "export.md").and_then(|document| document.to_config());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(!config.exports.is_empty(), "{text}");
    }
}

#[test]
fn the_configurations_of_the_page_on_mirroring_are_configurations() {
    let texts = examples(include_str!("../docs/mirroring.md"));
    assert_eq!(texts.len(), 2, "here and far: {texts:#?}");
    for keys in texts {
        let text = format!("bridge.lan = {{}}\n[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n{keys}");
        let config = Document::parse(&text, "mirroring.md").and_then(|document| document.to_config());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert_eq!(config.mirrors.len(), 1, "{text}");
    }
}

#[test]
fn every_drop_reason_is_explained() {
    let text = include_str!("../docs/troubleshooting.md");
    for reason in DropReason::ALL {
        let name = format!("`{}`", reason.name());
        let rows = text.lines().filter(|line| line.starts_with('|') && line.contains(&name)).count();
        assert_eq!(rows, 1, "{name} is to have one row in docs/troubleshooting.md");
    }
}

#[test]
fn every_check_of_the_doctor_is_explained() {
    let text = include_str!("../docs/troubleshooting.md");
    let (_, section) = text.split_once("## What the doctor looks at").expect("there is a list");
    let (section, _) = section.split_once("\n## ").expect("others follow");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: BTreeSet<_> = rows.map(|(name, _)| name.to_owned()).collect();
    // Whatever it finds, of each check it says something.
    let nowhere = std::env::temp_dir().join("tapyard-docs-no-such-socket");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tapyard")).args(["doctor", "-j", "--control"]).arg(nowhere).output();
    let output = output.expect("the program starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let findings = report["findings"].as_array().expect("a list");
    let checks: BTreeSet<_> =
        findings.iter().map(|finding| finding["check"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(explained, checks);
}

/// A Markdown text without its links.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    for part in text.split('[') {
        match part.split_once("](").and_then(|(name, rest)| Some((name, rest.split_once(')')?.1))) {
            Some((name, rest)) => plain += &format!("{name}{rest}"),
            None => plain += part,
        }
    }
    plain
}

#[test]
fn a_remedy_is_what_the_documentation_says() {
    let text = include_str!("../docs/troubleshooting.md");
    for &reason in DropReason::ALL {
        let name = format!("`{}`", reason.name());
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        let (_, remedy) = rows.find(|(names, _)| names.split(", ").any(|it| it == name)).expect("its row");
        assert_eq!(without_links(remedy).trim_end_matches(" |"), reason.remedy(), "{name}");
    }
}

/// The keys of a table, as the complaint about one that no table has lists them.
fn keys(text: &str) -> Vec<String> {
    let errors =
        Document::parse(text, "t").and_then(|document| document.to_config()).unwrap_err().to_string();
    let line = errors.lines().find(|line| line.contains("unknown key `zzzzzzzzzz`"));
    let line = line.unwrap_or_else(|| panic!("{errors}"));
    let (_, list) = line.split_once("(expected one of ").expect("it lists what is known");
    list.trim_end_matches(')').split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_reference() {
    let reference = include_str!("../docs/configuration.md");
    let explained = |key: &str| {
        let name = format!("`{key}`");
        let mut rows = reference.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
        rows.any(|(names, _)| names.split(", ").any(|explained| explained == name))
    };
    let mut tables = vec![
        "[switch]\nzzzzzzzzzz = 1".to_owned(),
        "[bridge.lan]\nzzzzzzzzzz = 1".to_owned(),
        "[[fdb]]\nzzzzzzzzzz = 1".to_owned(),
        "[router.gw]\nzzzzzzzzzz = 1".to_owned(),
        "[router.gw.policy]\nzzzzzzzzzz = 1".to_owned(),
        "[router.gw.timeout]\nzzzzzzzzzz = 1".to_owned(),
        "[router.gw.interface.a]\nzzzzzzzzzz = 1".to_owned(),
        "[router.gw.interface.a.advertise]\nzzzzzzzzzz = 1".to_owned(),
        "[[router.gw.route]]\nzzzzzzzzzz = 1".to_owned(),
        "[[router.gw.neighbor]]\nzzzzzzzzzz = 1".to_owned(),
        "[[rule]]\nzzzzzzzzzz = 1".to_owned(),
        "[[rule]]\nmatch.zzzzzzzzzz = 1".to_owned(),
        "[mirror.watch]\nzzzzzzzzzz = 1".to_owned(),
        "[export.site]\nprotocol = \"sflow\"\nzzzzzzzzzz = 1".to_owned(),
        "[export.site]\nprotocol = \"ipfix\"\nzzzzzzzzzz = 1".to_owned(),
    ];
    for kind in ["masquerade", "snat", "dnat", "port-forward", "static", "npt"] {
        tables.push(format!("[[router.gw.nat]]\ntype = \"{kind}\"\nzzzzzzzzzz = 1"));
    }
    for kind in ["tap", "tun", "netdev", "stream", "dgram", "vhost-user", "patch", "vxlan", "geneve", "gre"] {
        for payload in ["", "payload = \"ip\"\n"] {
            tables.push(format!("[port.p]\ntype = \"{kind}\"\n{payload}zzzzzzzzzz = 1"));
        }
    }
    for table in tables {
        let keys = keys(&table);
        assert!(keys.len() >= 3, "{table}: {keys:?}");
        for key in keys {
            assert!(explained(&key), "`{key}` of {table} has no row in docs/configuration.md");
        }
    }
}
