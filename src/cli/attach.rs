//! What attaches a guest to a port, for `tapyard port`: ready to paste, and nothing else on stdout.

use std::process::{Command, Stdio};

use clap::Args;

use super::{Failure, Format, Outcome, Switch, print, print_json, warn};
use crate::control::api::{AttachInfo, AttachQuery, Request};

/// How `port show` shows what attaches a guest.
#[derive(Debug, Args)]
#[group(id = "attach", multiple = false)]
pub(super) struct How {
    /// Print the arguments by which QEMU attaches a guest to this port
    #[arg(long, requires = "name", help_heading = GUEST)]
    qemu: bool,
    /// Print the XML by which libvirt attaches a guest to this port
    #[arg(long, requires = "name", help_heading = GUEST)]
    libvirt: bool,
}

/// What the guest is.
#[derive(Debug, Args)]
pub(super) struct Guest {
    /// The guest's memory, which a vhost-user port shares; none where another argument says it [default: 512M]
    #[arg(long, value_name = "SIZE", requires = "attach", help_heading = GUEST)]
    memory: Option<String>,
    /// Queues of the guest's device [default: the port's]
    #[arg(long, value_name = "NUMBER", requires = "attach", help_heading = GUEST)]
    queues: Option<u32>,
    /// Have QEMU itself carry frames between the guest and a TAP, where the kernel could (vhost=on)
    #[arg(long, requires = "attach", help_heading = GUEST)]
    no_vhost: bool,
    /// The version of QEMU [default: of the one on this machine]
    #[arg(long, value_name = "VERSION", requires = "attach", help_heading = GUEST)]
    qemu_version: Option<String>,
}

const GUEST: &str = "To attach a guest (docs/guests.md)";

impl How {
    /// Whether it is asked for at all.
    pub(super) fn is_asked(&self) -> bool {
        self.qemu || self.libvirt
    }

    /// Prints what attaches `guest` to the port `name`.
    pub(super) fn show(&self, name: String, guest: Guest, json: bool, switch: &Switch) -> Outcome {
        let Guest { memory, queues, no_vhost, qemu_version } = guest;
        let query = AttachQuery { name, memory, queues, vhost: no_vhost.then_some(false), qemu_version };
        let info = ask(switch, query.clone())?;
        if json {
            let value = serde_json::to_value(info).map_err(|error| error.to_string())?;
            return print_json(&value);
        }
        if self.libvirt {
            warn(&info.libvirt_remarks);
            return print(&info.libvirt);
        }
        let line = line(&query.name, &info)?;
        warn(&info.qemu_remarks);
        print(&format!("{line}\n"))
    }
}

/// Asks how a guest attaches: one of the QEMU on this machine, unless the query names another and where it matters.
fn ask(switch: &Switch, query: AttachQuery) -> Result<AttachInfo, Failure> {
    let mut client = switch.connect()?;
    let info: AttachInfo = client.call(&Request::PortAttach(query.clone()))?;
    if query.qemu_version.is_some() || info.qemu_version.is_none() {
        return Ok(info);
    }
    match installed() {
        None => Ok(info),
        found => Ok(client.call(&Request::PortAttach(AttachQuery { qemu_version: found, ..query }))?),
    }
}

/// The version of QEMU on this machine.
fn installed() -> Option<String> {
    let usual = format!("qemu-system-{}", std::env::consts::ARCH);
    [usual.as_str(), "/usr/libexec/qemu-kvm"].into_iter().find_map(|program| {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
        version(&String::from_utf8_lossy(&output.stdout))
    })
}

/// The version in "QEMU emulator version 9.2.1 (…)".
fn version(said: &str) -> Option<String> {
    let (_, version) = said.split_once("version ")?;
    let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    numbers.contains('.').then(|| numbers.to_owned())
}

/// The arguments as one line, which a shell takes as it is: pasted, and from `$(…)`, where quotes would be of no use.
fn line(port: &str, info: &AttachInfo) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
    match info.qemu.iter().find(|word| !word.chars().all(plain)) {
        None => Ok(info.qemu.join(" ")),
        Some(word) => Err(format!(
            "port {port}: a shell would take \"{word}\" apart (expected a path of letters, digits and /._-+:@%=, or -j, \
             which gives the words one by one)"
        )),
    }
}

/// Adds the port `name`, and prints what has changed, and how QEMU attaches a guest to it, if one can attach.
pub(super) fn add(switch: &Switch, request: &Request, name: String, format: Format) -> Outcome {
    let mut value = switch.connect()?.call_raw(request)?;
    let answered = value.get("attach").cloned().and_then(|attach| serde_json::from_value(attach).ok());
    let Some(mut info): Option<AttachInfo> = answered else { return switch.changed(value, format) };
    let query = AttachQuery { name: name.clone(), ..AttachQuery::default() };
    if info.qemu_version.is_some()
        && let Ok(fitting) = ask(switch, query)
    {
        value["attach"] = serde_json::to_value(&fitting).map_err(|error| error.to_string())?;
        info = fitting;
    }
    switch.changed(value, format)?;
    if format.json {
        return Ok(());
    }
    match line(&name, &info) {
        Ok(line) => {
            warn(&info.qemu_remarks);
            print(&format!("{line}\n"))
        }
        // The port is added all the same.
        Err(why) => {
            warn(&[why]);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_qemu_are_read_from_what_it_says() {
        for (said, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", Some("7.2.22")),
            ("QEMU emulator version 10.0.0\n", Some("10.0.0")),
            ("QEMU emulator version v9\n", None),
            ("", None),
        ] {
            assert_eq!(version(said).as_deref(), expected, "{said}");
        }
    }

    #[test]
    fn a_line_has_nothing_that_a_shell_takes_apart() {
        let of = |words: &[&str]| AttachInfo {
            qemu: words.iter().map(|word| word.to_string()).collect(),
            qemu_version: None,
            qemu_remarks: Vec::new(),
            libvirt: String::new(),
            libvirt_remarks: Vec::new(),
        };
        let good = of(&["-netdev", "tap,id=vm1,ifname=a+b@c%d:e,,f_é"]);
        assert_eq!(line("vm1", &good).as_deref(), Ok("-netdev tap,id=vm1,ifname=a+b@c%d:e,,f_é"));
        for bad in "\t '\"\\$`*?[]{}()<>|&;#~!^\n".chars() {
            let why = line("vm1", &of(&["-netdev", &format!("path=/tmp/a{bad}b")])).unwrap_err();
            assert!(why.starts_with("port vm1: a shell would take"), "{why}");
        }
    }
}
