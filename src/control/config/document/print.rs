//! A document as TOML that reads the same.

use std::fmt::{self, Write};

use super::{Document, Item, Node};

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (key, item) in &self.root {
            match &item.node {
                Node::Array(entries) => {
                    for entry in entries {
                        section(&mut text, &format!("[[{}]]", quoted(key)), entry)?;
                    }
                }
                Node::Table(tables) if key != "switch" => {
                    for (name, table) in tables {
                        let name = format!("{}.{}", quoted(key), quoted(name));
                        match key.as_str() {
                            "router" => sections(&mut text, &name, table)?,
                            _ => section(&mut text, &format!("[{name}]"), table)?,
                        }
                    }
                }
                _ => section(&mut text, &format!("[{}]", quoted(key)), item)?,
            }
        }
        f.write_str(text.trim_start())
    }
}

/// Writes a table with its keys, and behind them what of it consists of tables: each with a header of its own.
fn sections(out: &mut String, name: &str, item: &Item) -> fmt::Result {
    let Node::Table(table) = &item.node else { return section(out, &format!("[{name}]"), item) };
    writeln!(out, "\n[{name}]")?;
    let (inner, own): (Vec<_>, Vec<_>) = table.iter().partition(|(_, item)| consists_of_tables(item));
    for (key, item) in own {
        writeln!(out, "{} = {item}", quoted(key))?;
    }
    for (key, item) in inner {
        let name = format!("{name}.{}", quoted(key));
        match &item.node {
            Node::Array(items) => {
                items.iter().try_for_each(|item| section(out, &format!("[[{name}]]"), item))?
            }
            Node::Table(tables) => tables
                .iter()
                .try_for_each(|(key, item)| section(out, &format!("[{name}.{}]", quoted(key)), item))?,
            Node::Leaf(_) => {}
        }
    }
    Ok(())
}

fn consists_of_tables(item: &Item) -> bool {
    let is_table = |item: &Item| matches!(item.node, Node::Table(_));
    match &item.node {
        Node::Array(items) => !items.is_empty() && items.iter().all(is_table),
        Node::Table(tables) => !tables.is_empty() && tables.values().all(is_table),
        Node::Leaf(_) => false,
    }
}

/// Writes a header and the keys under it, nested tables inline.
fn section(out: &mut String, header: &str, item: &Item) -> fmt::Result {
    writeln!(out, "\n{header}")?;
    if let Node::Table(table) = &item.node {
        for (key, item) in table {
            writeln!(out, "{} = {item}", quoted(key))?;
        }
    }
    Ok(())
}

/// A key as TOML writes it: bare where that may be.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { serde_json::Value::from(key).to_string() }
}

/// As TOML writes it inline.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_value(), f)
    }
}
