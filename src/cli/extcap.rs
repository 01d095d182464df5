//! How Wireshark captures from the switch: it runs this program, under a name that begins with `tapyard-extcap`, to hear
//! which interfaces there are, and to have one captured into a FIFO (its extcap interface).

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use clap::Args;

use super::capture::{Pipe, run};
use super::{Failure, Outcome, Switch, print};
use crate::control::api::{BridgeInfo, CaptureQuery, PortInfo, Request};
use crate::packet::Expression;

/// What the program's name begins with where Wireshark runs it.
const NAME: &str = "tapyard-extcap";
/// What the names of interfaces begin with.
const PREFIX: &str = "tapyard-";

/// Be Wireshark's way to the switch
#[derive(Debug, Args)]
pub(super) struct Extcap {
    /// Say which interfaces there are
    #[arg(long = "extcap-interfaces")]
    interfaces: bool,
    /// Wireshark's version
    #[arg(long = "extcap-version", value_name = "VERSION")]
    _version: Option<String>,
    /// The interface that is meant
    #[arg(long = "extcap-interface", value_name = "NAME")]
    interface: Option<String>,
    /// Say what its frames are
    #[arg(long = "extcap-dlts")]
    dlts: bool,
    /// Say what can be set
    #[arg(long = "extcap-config")]
    config: bool,
    /// Which frames to capture
    #[arg(long = "extcap-capture-filter", value_name = "FILTER", default_value = "")]
    filter: String,
    /// Capture
    #[arg(long)]
    capture: bool,
    /// Where to
    #[arg(long, value_name = "PATH")]
    fifo: Option<PathBuf>,
    /// The control socket, as it was set for the interface
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Cut superframes, as it was set for the interface
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    segment: bool,
}

/// The arguments of the process, with `extcap` before them where its name says that Wireshark runs it.
pub(super) fn arguments(all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<_> = all.collect();
    let name = all.first().and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name.to_string_lossy().starts_with(NAME)) {
        all.insert(1, "extcap".into());
    }
    all
}

impl Extcap {
    pub(super) fn execute(self, switch: Switch) -> Outcome {
        let switch =
            Switch { control: self.socket.clone().filter(|path| path != Path::new("")).or(switch.control) };
        if self.interfaces {
            return print(&interfaces(&switch));
        }
        let Some(target) = self.interface.as_deref().map(|name| name.strip_prefix(PREFIX).unwrap_or(name))
        else {
            return Err(Failure::Said("Wireshark runs this command (expected --extcap-interfaces)".into()));
        };
        if self.dlts {
            return print(&dlts(&switch, target));
        }
        if self.config {
            return print(CONFIG);
        }
        let filter = self.filter.parse::<Expression>();
        if !self.capture {
            // Wireshark asks whether a filter is one: what is said is why not.
            return filter.map_or_else(|why| print(&format!("{why}\n")), |_| Ok(()));
        }
        let Some(fifo) = &self.fifo else {
            return Err(Failure::Said("where to is missing (expected --fifo PATH)".into()));
        };
        let opened = OpenOptions::new().write(true).open(fifo);
        let opened = opened.map_err(|error| format!("{}: {error}", fifo.display()))?;
        let query = CaptureQuery {
            target: target.to_owned(),
            filter: filter?,
            snap_len: None,
            direction: None,
            segment: self.segment,
        };
        // Wireshark takes whatever is on stderr for an error.
        run(&switch, query, None, &mut Pipe::to(Box::new(opened), None))
    }
}

const CONFIG: &str = "\
arg {number=0}{call=--segment}{display=Cut superframes}{tooltip=Show segments as a wire would have them}{type=boolflag}{default=false}
arg {number=1}{call=--socket}{display=Control socket}{tooltip=The switch to capture from}{type=string}{required=false}
";

/// The interfaces: none, when no switch answers.
fn interfaces(switch: &Switch) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut said = format!("extcap {{version={version}}}{{display=Tapyard}}\n");
    let Ok(mut client) = switch.connect() else { return said };
    let mut add = |target: &str, what: &str| {
        said += &format!("interface {{value={PREFIX}{target}}}{{display=Tapyard: {what}}}\n");
    };
    let ports: Vec<PortInfo> = client.call(&Request::PortShow { name: None }).unwrap_or_default();
    let bridges: Vec<BridgeInfo> = client.call(&Request::BridgeShow {}).unwrap_or_default();
    ports.iter().for_each(|port| add(&format!("port:{}", port.name), &format!("port {}", port.name)));
    bridges
        .iter()
        .for_each(|bridge| add(&format!("bridge:{}", bridge.name), &format!("bridge {}", bridge.name)));
    add("any", "all ports");
    add("drops", "what is dropped");
    said
}

/// What frames of an interface are: IP packets on some ports, else Ethernet.
fn dlts(switch: &Switch, target: &str) -> String {
    let name = target.strip_prefix("port:").unwrap_or(target);
    let ports = switch.connect().ok().and_then(|mut client| {
        client.call::<Vec<PortInfo>>(&Request::PortShow { name: Some(name.to_owned()) }).ok()
    });
    match ports.unwrap_or_default().first() {
        Some(port) if port.kind == "tun" => "dlt {number=101}{name=RAW}{display=IP}\n".into(),
        _ => "dlt {number=1}{name=EN10MB}{display=Ethernet}\n".into(),
    }
}
