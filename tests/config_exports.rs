//! Exports in the configuration.

use std::time::Duration;

use tapyard::control::config::{Config, Document, ExportProtocol, ExportScope};
use tapyard::control::plan::diff;

const PORTS: &str = "bridge.lan = {}
port.vm1 = { type = \"tap\", bridge = \"lan\" }
port.vm2 = { type = \"tap\", bridge = \"lan\" }
";

/// What a configuration with these exports, a line each from line 4 on, says.
fn read(exports: &[&str]) -> Result<Config, Vec<String>> {
    let lines = (1..).zip(exports).map(|(n, keys)| format!("export.e{n} = {{ {keys} }}\n"));
    let text = PORTS.to_owned() + &lines.collect::<String>();
    let document = Document::parse(&text, "t.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    document.to_config().map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

fn config(exports: &[&str]) -> Config {
    read(exports).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[test]
fn an_export_needs_little_and_has_defaults() {
    let config = config(&[
        "protocol = \"sflow\", collector = \"10.0.0.1\"",
        "protocol = \"ipfix\", collector = \"[fd00::1]:9995\", ports = [\"vm2\"], sample = 1, flow-limit = 5",
        "protocol = \"ipfix\", collector = \"fd00::1\", bridge = \"lan\", active-timeout = \"5m\"",
        "protocol = \"sflow\", collector = \"127.0.0.1:7000\", ports = \"vm1,vm2\", interval = \"0s\", header = 64",
    ]);
    let [first, second, third, fourth] = ["e1", "e2", "e3", "e4"].map(|name| &config.exports[name]);
    assert_eq!(
        (first.collector.to_string().as_str(), first.sample, first.domain),
        ("10.0.0.1:6343", 1000, 1)
    );
    let interval = Duration::from_secs(20);
    assert_eq!(first.protocol, ExportProtocol::Sflow { agent: None, header: 128, interval });
    assert_eq!((&first.scope, first.source, &first.netns), (&ExportScope::All, None, &None));
    assert_eq!(second.collector.to_string(), "[fd00::1]:9995");
    assert_eq!((second.scope.to_string().as_str(), second.sample), ("ports vm2", 1));
    assert_eq!((third.collector.port(), third.scope.to_string()), (4739, "bridge lan".into()));
    let ExportProtocol::Ipfix { active, inactive, templates, flow_limit } = third.protocol else {
        panic!("{third:?}")
    };
    assert_eq!([active, inactive, templates].map(|duration| duration.as_secs()), [300, 15, 60]);
    assert_eq!(flow_limit, 8192);
    assert_eq!(fourth.scope.to_string(), "ports vm1 vm2");
}

#[test]
fn what_is_wrong_with_an_export_is_said_with_its_line_and_key() {
    for (keys, key, says) in [
        ("", "protocol", "missing (expected \"sflow\" or \"ipfix\")"),
        (
            "protocol = \"netflow\"",
            "protocol",
            "\"netflow\" is no protocol of an export (expected \"sflow\" or \"ipfix\")",
        ),
        (
            "protocol = \"sflow\"",
            "collector",
            "missing (expected \"10.0.0.1:6343\", \"[fd00::1]:6343\", or the address alone)",
        ),
        (
            "protocol = \"sflow\", collector = \"239.1.1.1\"",
            "collector",
            "\"239.1.1.1\" is no address of a collector (expected \"10.0.0.1:6343\", \"[fd00::1]:6343\", or the address alone)",
        ),
        (
            "protocol = \"sflow\", collector = \"10.0.0.1\", source = \"fd00::2\"",
            "source",
            "fd00::2 is of another family than the collector, 10.0.0.1 (expected one family)",
        ),
        (
            "protocol = \"sflow\", collector = \"10.0.0.1\", sample = 0",
            "sample",
            "0 is no rate of sampling (expected 1 to 1000000000)",
        ),
        (
            "protocol = \"sflow\", collector = \"10.0.0.1\", active-timeout = \"5s\"",
            "active-timeout",
            "`active-timeout` is a key of ipfix (expected protocol = \"ipfix\" beside it)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", header = 128",
            "header",
            "`header` is a key of sflow (expected protocol = \"sflow\" beside it)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", inactive-timeout = \"0s\"",
            "inactive-timeout",
            "\"0s\" is no duration (expected \"1s\" to \"3600s\")",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", sampel = 5",
            "sampel",
            "unknown key `sampel` (did you mean `sample`?)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", bridge = \"lan\", ports = \"vm1\"",
            "ports",
            "an export is of a bridge or of ports (expected `bridge` or `ports`, not both)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", bridge = \"wan\"",
            "bridge",
            "there is no bridge wan (expected one of lan)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", ports = [\"vm1\", \"vm3\"]",
            "ports[1]",
            "there is no port vm3 (expected one of vm1, vm2)",
        ),
        (
            "protocol = \"ipfix\", collector = \"10.0.0.1\", ports = [\"vm1\", \"vm1\"]",
            "ports[1]",
            "port vm1 is named twice (expected each once)",
        ),
    ] {
        assert_eq!(read(&[keys]), Err(vec![format!("t.toml:4: export.e1.{key}: {says}")]), "{keys}");
    }
    let many = ["protocol = \"sflow\", collector = \"10.0.0.1\""; 5];
    assert_eq!(read(&many), Err(vec!["t.toml:4: export: 5 tables are too many (expected at most 4)".into()]));
}

#[test]
fn a_changed_export_is_named_alone_with_what_changes() {
    let before = config(&[
        "protocol = \"sflow\", collector = \"10.0.0.1\"",
        "protocol = \"ipfix\", collector = \"10.0.0.1\"",
    ]);
    let after = config(&[
        "protocol = \"sflow\", collector = \"10.0.0.1\", sample = 50",
        "protocol = \"ipfix\", collector = \"10.0.0.1\"",
    ]);
    let lines = |from: &Config, to: &Config| diff(from, to).unwrap().lines();
    assert_eq!(lines(&before, &after), ["~ export e1: sample 1000 -> 50"]);
    assert_eq!(lines(&before, &config(&[])), ["- export e1", "- export e2"]);
    assert_eq!(lines(&config(&[]), &after), ["+ export e1", "+ export e2"]);
}
