//! The source form of a configuration: a tree that remembers on which line each value stands.
//!
//! A reload replaces it, a command edits it, and either way it becomes a [`Config`](super::Config) or is refused as a
//! whole. A value that a command put in has no line: errors then name its key alone.

mod mirrors;
mod print;
mod routing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path as FilePath;

use toml::de::{DeTable, DeValue};

use super::errors::{ConfigError, Errors, Findings, Path, Step};
use super::{Config, check, read, warnings};
use crate::wire::ethernet::Mac;

/// Changes to the keys of a table: a value sets the key, `None` removes it. A dot reaches into a table that is a value
/// (`storm.broadcast`).
pub type Edits = BTreeMap<String, Option<toml::Value>>;

/// A configuration as it was written, and as commands have edited it since. Displayed as TOML.
#[derive(Clone, Debug, Default)]
pub struct Document {
    file: String,
    root: Table,
}

/// The entries of a table.
pub(super) type Table = BTreeMap<String, Item>;

/// A value and the line it begins on; `None` when a command put it in.
#[derive(Clone, Debug)]
pub(super) struct Item {
    line: Option<u32>,
    pub(super) node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A string, number, boolean or date.
    Leaf(toml::Value),
    Array(Vec<Item>),
    Table(Table),
}

impl Document {
    /// Reads the file at `path`.
    pub fn load(path: &FilePath) -> Result<Document, Errors> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Document::parse(&text, &file),
            Err(error) => {
                let message = format!("{file}: cannot be read: {error}");
                Err(Errors(vec![ConfigError::new(None, "", &message)]))
            }
        }
    }

    /// Reads `text`; errors will say that it stands in `file`.
    pub fn parse(text: &str, file: &str) -> Result<Document, Errors> {
        let lines = Lines::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let error = |e: &toml::de::Error| {
                let line = lines.at(e.span().map_or(text.len(), |span| span.start));
                ConfigError::new(Some((file.to_owned(), line)), "", e.message())
            };
            let mut errors: Vec<ConfigError> = errors.iter().map(error).collect();
            // What follows on the same line is the parser finding its way back.
            errors.dedup_by_key(|e| e.place.clone());
            return Err(Errors(errors));
        }
        Ok(Document { file: file.to_owned(), root: table(root.get_ref(), &lines) })
    }

    /// The checked configuration that it says.
    pub fn to_config(&self) -> Result<Config, Errors> {
        let mut findings = Findings::default();
        let mut config = read::config(&self.root, &mut findings);
        findings.append(check::check(&config, &self.root, &findings));
        findings.into_result(self)?;
        config.complete();
        Ok(config)
    }

    /// What is legal in `config`, which it says, and yet hardly meant, in the order of the file; each message begins with
    /// `warning: `.
    pub fn warnings(&self, config: &Config) -> Vec<ConfigError> {
        let mut warnings = warnings::warnings(config).located(self);
        warnings.iter_mut().for_each(|warning| warning.message.insert_str(0, "warning: "));
        warnings
    }

    /// What is wrong with the value at `keys`, which turned out when it was put in place.
    pub fn complaint(&self, keys: &[&str], message: &str) -> ConfigError {
        let path = keys.iter().fold(Path::default(), |path, key| path.to(*key));
        let place = self.line(&path).map(|line| (self.file.clone(), line));
        ConfigError::new(place, &path.to_string(), message)
    }

    /// The name of the file it came from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Adds a port. Errors when there is one of this name.
    pub fn port_add(&mut self, name: &str, keys: &Edits) -> Result<(), String> {
        let ports = self.ports()?;
        if ports.contains_key(name) {
            return Err(format!("port {name} exists already (port set changes it)"));
        }
        let mut port = Table::new();
        edit(&mut port, keys)?;
        ports.insert(name.to_owned(), Item { line: None, node: Node::Table(port) });
        Ok(())
    }

    /// Changes keys of a port. Errors when there is no port of this name.
    pub fn port_set(&mut self, name: &str, keys: &Edits) -> Result<(), String> {
        match self.ports()?.get_mut(name).map(|port| &mut port.node) {
            Some(Node::Table(port)) => edit(port, keys),
            _ => Err(no_port(name)),
        }
    }

    /// Removes a port and the static entries behind it. Errors when there is no port of this name.
    pub fn port_del(&mut self, name: &str) -> Result<(), String> {
        self.ports()?.remove(name).ok_or_else(|| no_port(name))?;
        self.statics()?.retain(|entry| entry.string("port") != Some(name));
        Ok(())
    }

    /// Adds a static entry; without `bridge` on its port's bridge, without `vlan` in its port's access or native VLAN,
    /// without `remote` at its tunnel's only peer.
    pub fn fdb_add(
        &mut self,
        bridge: Option<&str>,
        mac: Mac,
        port: &str,
        vlan: Option<u16>,
        remote: Option<IpAddr>,
    ) -> Result<(), String> {
        let mut entry = Table::new();
        let mut put = |key: &str, value| entry.insert(key.to_owned(), Item::leaf(value));
        bridge.map(|bridge| put("bridge", bridge.into()));
        put("mac", mac.to_string().into());
        put("port", port.into());
        vlan.map(|vlan| put("vlan", i64::from(vlan).into()));
        remote.map(|remote| put("remote", remote.to_string().into()));
        self.statics()?.push(Item { line: None, node: Node::Table(entry) });
        Ok(())
    }

    /// Removes the static entries for `mac`, of all bridges and VLANs unless told which, and says how many they were.
    /// Errors when the document is no valid configuration.
    pub fn fdb_del(&mut self, bridge: Option<&str>, mac: Mac, vlan: Option<u16>) -> Result<usize, String> {
        // The typed entries, in the same order, know the bridges and VLANs that the text leaves out.
        let config = self.to_config().map_err(|errors| errors.to_string())?;
        let statics = self.statics()?;
        let before = statics.len();
        let mut typed = config.statics.iter();
        statics.retain(|_| {
            let named = typed.next().is_some_and(|entry| {
                entry.mac == mac
                    && bridge.is_none_or(|bridge| entry.bridge == bridge)
                    && vlan.is_none_or(|vlan| entry.vlan == Some(vlan))
            });
            !named
        });
        Ok(before - statics.len())
    }

    /// The line of the value at `path`, or of the innermost table around it that is there.
    pub(super) fn line(&self, path: &Path) -> Option<u32> {
        let mut steps = path.0.iter();
        let Some(Step::Key(first)) = steps.next() else { return None };
        let mut item = self.root.get(first)?;
        for step in steps {
            let next = match (step, &item.node) {
                (Step::Key(key), Node::Table(table)) => table.get(key),
                (Step::Index(index), Node::Array(items)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => item = next,
                None => break,
            }
        }
        item.line
    }

    fn ports(&mut self) -> Result<&mut Table, String> {
        routing::tables(&mut self.root, "port")
    }

    fn statics(&mut self) -> Result<&mut Vec<Item>, String> {
        self.array("fdb")
    }

    fn array(&mut self, key: &str) -> Result<&mut Vec<Item>, String> {
        routing::array(&mut self.root, key)
    }
}

/// The value that a command's argument means: TOML, or a bare string when it is none (`10`, `[10, 20]`, `lan`).
pub fn parse_value(text: &str) -> toml::Value {
    match text.parse() {
        Ok(toml::Value::Datetime(_)) | Err(_) => toml::Value::String(text.to_owned()),
        Ok(value) => value,
    }
}

fn edit(table: &mut Table, keys: &Edits) -> Result<(), String> {
    keys.iter().try_for_each(|(key, value)| set(table, key, value.as_ref()))
}

fn set(table: &mut Table, key: &str, value: Option<&toml::Value>) -> Result<(), String> {
    if let Some((outer, inner)) = key.split_once('.') {
        let inside = Item { line: None, node: Node::Table(Table::new()) };
        return match &mut table.entry(outer.to_owned()).or_insert(inside).node {
            Node::Table(table) => set(table, inner, value),
            _ => Err(format!("`{outer}` is no table: it has no `{inner}`")),
        };
    }
    match value {
        Some(value) => table.insert(key.to_owned(), Item::leaf(value.clone())),
        None => table.remove(key),
    };
    Ok(())
}

fn no_port(name: &str) -> String {
    format!("there is no port {name}")
}

impl Item {
    /// A value without a line, with all that is in it.
    pub(super) fn leaf(value: toml::Value) -> Item {
        let node = match value {
            toml::Value::Array(items) => Node::Array(items.into_iter().map(Item::leaf).collect()),
            toml::Value::Table(table) => {
                Node::Table(table.into_iter().map(|(k, v)| (k, Item::leaf(v))).collect())
            }
            leaf => Node::Leaf(leaf),
        };
        Item { line: None, node }
    }

    /// The string under `key`, when this is a table and that a string.
    fn string(&self, key: &str) -> Option<&str> {
        match &self.node {
            Node::Table(table) => match &table.get(key)?.node {
                Node::Leaf(value) => value.as_str(),
                _ => None,
            },
            _ => None,
        }
    }

    fn to_value(&self) -> toml::Value {
        match &self.node {
            Node::Leaf(value) => value.clone(),
            Node::Array(items) => toml::Value::Array(items.iter().map(Item::to_value).collect()),
            Node::Table(table) => {
                toml::Value::Table(table.iter().map(|(key, item)| (key.clone(), item.to_value())).collect())
            }
        }
    }
}

fn table(table: &DeTable<'_>, lines: &Lines) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
        // The key's line, not the value's: a table's value spans from wherever its first part stood.
        let line = Some(lines.at(key.span().start));
        (String::from(AsRef::<str>::as_ref(key.get_ref())), Item { line, node: node(value.get_ref(), lines) })
    };
    table.iter().map(entry).collect()
}

fn node(value: &DeValue<'_>, lines: &Lines) -> Node {
    use toml::Value;
    match value {
        DeValue::Table(inner) => Node::Table(table(inner, lines)),
        DeValue::Array(items) => {
            let item = |v: &toml::Spanned<DeValue<'_>>| Item {
                line: Some(lines.at(v.span().start)),
                node: node(v.get_ref(), lines),
            };
            Node::Array(items.iter().map(item).collect())
        }
        DeValue::String(text) => Node::Leaf(Value::String(text.to_string())),
        DeValue::Boolean(value) => Node::Leaf(Value::Boolean(*value)),
        DeValue::Datetime(value) => Node::Leaf(Value::Datetime(*value)),
        DeValue::Float(float) => Node::Leaf(Value::Float(float.as_str().parse().unwrap_or(f64::NAN))),
        // No key takes a number beyond 64 bits; as a float it is still there to be complained about.
        DeValue::Integer(number) => Node::Leaf(match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        }),
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of the byte at `offset`, counted from 1.
    fn at(&self, offset: usize) -> u32 {
        1 + self.0.partition_point(|&start| start <= offset) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{PortKind, VlanMode};

    const TEXT: &str = r#"
[switch]
busy-poll = "50us"
[bridge.lan]
fdb-limit = 100
[port]
vm1 = { type = "tap", bridge = "lan", vlan = 10 }
[port."vm.2"]
type = "netdev"
bridge = "lan"
trunk = [10, "20-29"]
native = 20
storm.broadcast = 1000
device = "eth1"
[[fdb]]
mac = "02:00:00:00:00:01"
port = "vm1"
[[fdb]]
mac = "02:00:00:00:00:02"
port = "vm.2"
vlan = 21
"#;

    fn document() -> Document {
        Document::parse(TEXT, "t.toml").unwrap()
    }

    fn edits(keys: &[(&str, &str)]) -> Edits {
        let edit =
            |(key, text): &(&str, &str)| (key.to_string(), (!text.is_empty()).then(|| parse_value(text)));
        keys.iter().map(edit).collect()
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let printed = document().to_string();
        let again = Document::parse(&printed, "t").unwrap();
        assert_eq!(again.to_config().unwrap(), document().to_config().unwrap(), "{printed}");
        assert_eq!(again.to_string(), printed);
        assert!(
            printed.contains("[port.\"vm.2\"]\n") && printed.contains("storm = { broadcast = 1000 }\n"),
            "{printed}"
        );
    }

    #[test]
    fn a_port_is_added_changed_and_removed_with_its_static_entries() {
        let mut document = document();
        document
            .port_add("t1", &edits(&[("type", "tun"), ("address", "10.9.0.1/24"), ("netns", "blue")]))
            .unwrap();
        assert!(document.port_add("t1", &Edits::new()).unwrap_err().contains("exists already"));
        document
            .port_set("vm1", &edits(&[("vlan", ""), ("trunk", "10,12-13"), ("storm.unknown", "5")]))
            .unwrap();
        document.port_set("vm1", &edits(&[("native", "7")])).unwrap();
        document.port_del("vm.2").unwrap();
        assert_eq!(document.port_del("vm.2").unwrap_err(), "there is no port vm.2");
        assert_eq!(document.port_set("vm.2", &Edits::new()).unwrap_err(), "there is no port vm.2");

        let config = document.to_config().unwrap();
        assert_eq!(config.ports.keys().collect::<Vec<_>>(), ["t1", "vm1"]);
        assert_eq!(config.ports["vm1"].vlan.to_string(), "trunk 7,10,12,13 native 7");
        assert_eq!(config.ports["vm1"].storm.unknown, Some(5));
        assert_eq!(config.statics.len(), 1);
        let PortKind::Tun(tun) = &config.ports["t1"].kind else { panic!("{config:?}") };
        assert_eq!((tun.address[0].1, tun.netns.as_deref(), tun.device.as_str()), (24, Some("blue"), "t1"));

        document.port_set("vm1", &edits(&[("trunk", ""), ("native", "")])).unwrap();
        assert_eq!(document.to_config().unwrap().ports["vm1"].vlan, VlanMode::None);
        let into_a_value = document.port_set("vm1", &edits(&[("type.x", "1")]));
        assert_eq!(into_a_value.unwrap_err(), "`type` is no table: it has no `x`");
    }

    #[test]
    fn static_entries_take_bridge_and_vlan_from_their_port_and_are_found_by_them() {
        let (one, two) = (Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
        let mut document = document();
        let config = document.to_config().unwrap();
        assert_eq!((config.statics[0].bridge.as_str(), config.statics[0].vlan), ("lan", Some(10)));
        assert_eq!(document.fdb_del(None, one, Some(11)), Ok(0));
        assert_eq!(document.fdb_del(Some("wan"), one, None), Ok(0));
        assert_eq!(document.fdb_del(Some("lan"), one, Some(10)), Ok(1));
        assert_eq!(document.to_config().unwrap().statics[0].mac, two);
        document.fdb_add(None, one, "vm.2", None, None).unwrap();
        assert_eq!(document.to_config().unwrap().statics[1].vlan, Some(20));
        document.fdb_add(Some("lan"), one, "vm.2", Some(20), None).unwrap();
        assert!(document.to_config().unwrap_err().to_string().contains("has an entry already"));
    }

    #[test]
    fn arguments_are_toml_or_bare_strings() {
        use toml::Value;
        assert_eq!(parse_value("10"), Value::Integer(10));
        assert_eq!(parse_value("true"), Value::Boolean(true));
        assert_eq!(parse_value("[1, \"2-3\"]").to_string(), "[1, \"2-3\"]");
        for text in
            ["lan", "10,20", "02:00:00:00:00:01", "10.9.0.1/24", "fe80::1/64", "07:32:00", "a = 1\nb = 2"]
        {
            assert_eq!(parse_value(text), Value::String(text.into()));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let errors = Document::load(FilePath::new("/nonexistent/t.toml")).unwrap_err().to_string();
        assert!(errors.starts_with("/nonexistent/t.toml: cannot be read: "), "{errors}");
    }
}
