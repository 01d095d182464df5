//! The layers of the house, read off the `use` lines and `crate::` paths of `src/`:
//!
//! ```text
//! wire ← packet ← table ← switch          sys ← port (which may use packet and wire)
//! switch, port ← worker ← control ← cli ← main
//! ```
//!
//! Besides, the core (`wire` to `switch`) does no I/O and reads no clock, and `unsafe` stands in `sys` only. Comments,
//! strings and tests inside a file do not count; what a test needs of another layer is no dependency of the house.

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of this crate each may name.
const MAY_NAME: [(&str, &[&str]); 11] = [
    ("time", &[]),
    ("wire", &[]),
    ("packet", &["wire", "time"]),
    ("tunnel", &["packet", "wire", "time"]),
    ("table", &["packet", "wire", "time"]),
    ("switch", &["tunnel", "table", "packet", "wire", "time"]),
    ("sys", &["wire"]),
    ("port", &["sys", "packet", "wire", "time"]),
    ("worker", &["tunnel", "port", "switch", "table", "packet", "wire", "time", "sys"]),
    ("control", &["tunnel", "worker", "port", "switch", "table", "packet", "wire", "time", "sys"]),
    ("cli", &["tunnel", "control", "worker", "port", "switch", "table", "packet", "wire", "time", "sys"]),
];

/// The modules that do no I/O, and what of the standard library and of other crates would be that.
const CORE: [&str; 6] = ["time", "wire", "packet", "tunnel", "table", "switch"];
const NOT_IN_CORE: [&str; 10] = [
    "std::net",
    "std::io",
    "std::fs",
    "std::os",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "mio",
    "libc",
    "tracing",
];

/// The source with comments, strings and character literals blanked out, of the same length line by line.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(&bytes[at..]);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("only whole comments and literals were blanked")
}

/// How long the comment or literal is that `bytes` begin with; 0: there is none.
fn skipped(bytes: &[u8]) -> usize {
    let through = |from: usize, closing: &str| {
        let found = bytes[from..].windows(closing.len()).position(|window| window == closing.as_bytes());
        found.map_or(bytes.len(), |at| from + at + closing.len())
    };
    match bytes {
        [b'/', b'/', ..] => bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len()),
        [b'/', b'*', ..] => through(2, "*/"),
        [b'r', b'"', ..] => through(2, "\""),
        [b'r', b'#', b'"', ..] => through(3, "\"#"),
        [b'"', ..] => quoted(bytes),
        [b'\'', b'\\', ..] => through(3, "'"),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

/// Every path that the code names, with its line: `use` lists written out, `as` names and `self` left away.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut path = String::new();
    for (number, line) in (1..).zip(code.lines()) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !word.is_empty() {
                rest = &rest[word.len()..];
                path.push_str(&word);
                continue;
            }
            if let Some(after) = rest.strip_prefix("::{") {
                path.push_str("::");
                prefixes.push(path.clone());
                rest = after;
                continue;
            }
            if let Some(after) = rest.strip_prefix("::") {
                path.push_str("::");
                rest = after;
                continue;
            }
            rest = &rest[first.len_utf8()..];
            let named = std::mem::take(&mut path);
            if named.contains("::") {
                found.push((number, named));
            }
            match first {
                '}' => drop(prefixes.pop()),
                ';' => prefixes.clear(),
                _ => {}
            }
            path = prefixes.last().cloned().unwrap_or_default();
        }
        if path.contains("::") && !path.ends_with("::") {
            found.push((number, std::mem::take(&mut path)));
        }
        path = prefixes.last().cloned().unwrap_or_default();
    }
    found
}

/// The path with leading `super`s written out: as seen from the crate, if it climbs out of a module.
fn absolute(file: &str, path: &str) -> String {
    let home = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let mut modules: Vec<_> = home.split('/').collect();
    let mut rest = path;
    while let Some(after) = rest.strip_prefix("super::") {
        modules.pop();
        rest = after;
    }
    if rest == path {
        path.to_owned()
    } else {
        ["crate"].into_iter().chain(modules).chain([rest]).collect::<Vec<_>>().join("::")
    }
}

/// What a file breaches, as `file:line: what`. `module` is the folder or file below `src` that it belongs to.
fn breaches(file: &str, source: &str) -> Vec<String> {
    let module = file.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
    let own = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code_only(own);
    let mut found = Vec::new();
    let mut breach = |line: usize, what: String| found.push(format!("{file}:{line}: {what}"));
    if let Some((_, may_name)) = MAY_NAME.iter().find(|(name, _)| *name == module) {
        for (line, path) in paths(&code) {
            let path = absolute(file, &path);
            let named =
                path.strip_prefix("crate::").and_then(|path| path.split("::").next()).unwrap_or(module);
            if named != module
                && MAY_NAME.iter().any(|(name, _)| *name == named)
                && !may_name.contains(&named)
            {
                breach(line, format!("`{module}` may not name `{named}`"));
            }
            let begins = |outside: &&&str| path == **outside || path.starts_with(&format!("{outside}::"));
            if let Some(outside) = NOT_IN_CORE.iter().find(begins).filter(|_| CORE.contains(&module)) {
                breach(line, format!("`{module}` does no I/O and may not name `{outside}`"));
            }
        }
    } else if !["lib", "main"].contains(&module) {
        breach(1, format!("`{module}` has no place in the layers: give it one in tests/layering.rs"));
    }
    for (line, text) in (1..).zip(code.lines()) {
        let is_unsafe = text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        if is_unsafe && module != "sys" {
            breach(line, "`unsafe` stands in src/sys only".to_owned());
        }
    }
    found
}

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("a folder that can be read") {
        let path = entry.expect("an entry that can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_layer_names_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 20, "the sources were found");
    files.sort();
    let breaches: Vec<_> = files
        .iter()
        // A file of tests may use what it likes.
        .filter(|path| path.file_name().is_none_or(|name| name != "tests.rs"))
        .flat_map(|path| {
            let name = path.strip_prefix(root).expect("it is below the root").display().to_string();
            breaches(&name, &fs::read_to_string(path).expect("a file that can be read"))
        })
        .collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn the_checker_finds_each_kind_of_breach() {
    let source = r#"//! crate::port::Port is only spoken of here, and `unsafe` too.
use std::collections::{BTreeMap, HashMap};
use crate::packet::{Batch, PortId};
use crate::{
    port::memory::Memory,
    table::{fdb::Fdb, fdb_cache},
};
use std::{io, time::{Duration, Instant}};

/* std::net */
fn f<'a>(quote: char, text: &'a str) -> crate::worker::Command {
    let _ = (quote == '"', text == "crate::cli::run \" unsafe", '\'', r"std::net");
    unsafe { crate::sys::ioctl() }
}

#[cfg(test)]
mod tests {
    use crate::port::memory::Memory;
}
"#;
    let expected = [
        "src/switch/bad.rs:5: `switch` may not name `port`",
        "src/switch/bad.rs:8: `switch` does no I/O and may not name `std::io`",
        "src/switch/bad.rs:8: `switch` does no I/O and may not name `std::time::Instant`",
        "src/switch/bad.rs:11: `switch` may not name `worker`",
        "src/switch/bad.rs:13: `switch` may not name `sys`",
        "src/switch/bad.rs:13: `unsafe` stands in src/sys only",
    ];
    assert_eq!(breaches("src/switch/bad.rs", source), expected);
    assert_eq!(breaches("src/packet/bad.rs", "use crate::table::fdb;").len(), 1);
    assert_eq!(breaches("src/port/bad.rs", "use crate::switch::Switch;").len(), 1);
    assert_eq!(breaches("src/wire/bad.rs", "fn f() -> std::net::IpAddr {}").len(), 1);
    assert_eq!(breaches("src/worker/bad.rs", "use crate::control::Config;").len(), 1);
    assert_eq!(
        breaches("src/time.rs", "use std::time::{Duration,\n    Instant};"),
        ["src/time.rs:2: `time` does no I/O and may not name `std::time::Instant`"]
    );
    assert_eq!(breaches("src/new.rs", "").len(), 1);
    assert_eq!(breaches("src/switch/stage/bad.rs", "use super::super::super::port::Rx;").len(), 1);
    assert_eq!(breaches("src/switch/mod.rs", "use super::port::Rx;").len(), 1);
}

#[test]
fn the_checker_lets_pass_what_is_allowed() {
    for (file, source) in [
        ("src/sys/tap.rs", "unsafe { libc::ioctl() } use std::io;"),
        ("src/port/tap.rs", "use crate::{sys, packet::Batch, wire::virtio_net};"),
        (
            "src/switch/mod.rs",
            "use crate::table::fdb::Fdb; use std::time::Duration; pub use crate::switch::Port;",
        ),
        ("src/worker/mod.rs", "use crate::{port::Port, switch::Switch}; use std::time::Instant;"),
        ("src/cli/mod.rs", "use crate::control::Config;"),
        (
            "src/switch/stage/bridge.rs",
            "use super::super::{Bridge, outbox::Outbox}; use super::ingress::Arrival;",
        ),
        ("src/main.rs", "tapyard::cli::main()"),
        ("src/table/fdb.rs", "let unsafe_looking = 1; // unsafe\n"),
    ] {
        assert_eq!(breaches(file, source), [""; 0], "{file}");
    }
}
