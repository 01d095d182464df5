//! What is known of the machine, the configuration and the switch.

#[cfg(test)]
mod sample;

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::control::api::{
    BridgeInfo, ConfigInfo, DropInfo, HostInfo, NatFilter, NatInfo, PortInfo, ProbeInfo, Request, RouterInfo,
    StatsInfo, TunnelInfo, VersionInfo,
};
use crate::control::client::{Client, named_socket};
use crate::control::config::{Config, DEFAULT_SOCKET, Document};
use crate::control::host::{self, Places};

/// How long the switch may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silent peers that are sent an echo, at most: each may keep us waiting.
const MAX_ECHOES: usize = 8;
/// Bytes of such an echo: less than any network takes.
const ECHO: u32 = 64;

/// Something, or why it is not known.
pub(super) type Fact<T> = Result<T, String>;

/// All that is judged.
pub(super) struct Facts {
    pub(super) contact: Contact,
    /// The configuration that runs; where none does, that of the file.
    pub(super) config: Fact<Config>,
    /// The file, if one was named.
    pub(super) file: Option<File>,
    /// The machine as the switch sees it; where none runs, as we do.
    pub(super) host: Fact<HostInfo>,
    pub(super) ports: Fact<Vec<PortInfo>>,
    pub(super) tunnels: Fact<Vec<TunnelInfo>>,
    pub(super) bridges: Fact<Vec<BridgeInfo>>,
    pub(super) routers: Fact<Vec<RouterInfo>>,
    pub(super) nat: Fact<NatInfo>,
    pub(super) stats: Fact<StatsInfo>,
    pub(super) drops: Fact<Vec<DropInfo>>,
    /// How the echoes to peers ended that had not been heard.
    pub(super) echoes: Vec<ProbeInfo>,
}

/// Whether a switch answers.
pub(super) enum Contact {
    Answers(VersionInfo),
    /// Nobody has made its socket. `named`: somebody said that it is there.
    Absent {
        path: PathBuf,
        named: bool,
    },
    /// Its socket is there, and not for us.
    Closed(String),
    /// Its socket is there, and no answer comes.
    Silent(String),
}

/// What a file says.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// What is wrong with it, a line each.
    pub(super) errors: Vec<String>,
    /// What is doubtful about it.
    pub(super) warnings: Vec<String>,
}

impl Facts {
    /// Whether a switch runs that answers.
    pub(super) fn runs(&self) -> bool {
        matches!(self.contact, Contact::Answers(_))
    }

    /// How many workers there are, or would be.
    pub(super) fn workers(&self) -> usize {
        let cores = self.host.as_ref().map_or(1, |host| host.cores);
        let configured = self.config.as_ref().ok().and_then(|config| config.switch.workers);
        configured.unwrap_or(cores.min(4))
    }
}

/// Looks at everything: the switch at the socket that is named, else in `file`, else by default.
pub(super) fn gather(file: Option<&Path>, control: Option<&Path>) -> Facts {
    let (file, of_file) = match file.map(read) {
        Some((file, config)) => (Some(file), Some(config)),
        None => (None, None),
    };
    let configured = of_file.as_ref().and_then(|config| Some(config.as_ref().ok()?.switch.control.clone()));
    let named = named_socket(control);
    let path = named.clone().or(configured).unwrap_or_else(|| DEFAULT_SOCKET.into());
    let mut facts = Facts::unknown("no switch answers that could tell");
    facts.file = file;
    match Switch::reach(&path) {
        Ok(Some((mut switch, version))) => switch.tell(&mut facts, version),
        Ok(None) => facts.contact = Contact::Absent { path, named: named.is_some() },
        Err(why) if is_closed(&path) => facts.contact = Contact::Closed(why),
        Err(why) => facts.contact = Contact::Silent(why),
    }
    if !facts.runs() {
        let places = of_file.as_ref().and_then(|config| config.as_ref().ok()).map(Places::of);
        facts.host = Ok(host::look(&places.unwrap_or_else(|| Places::of(&Config::default()))));
        facts.config = of_file.unwrap_or_else(|| {
            Err("no switch answers, and no configuration was named (--config FILE)".into())
        });
    }
    facts
}

impl Facts {
    fn unknown(why: &str) -> Facts {
        fn no<T>(why: &str) -> Fact<T> {
            Err(why.to_owned())
        }
        Facts {
            contact: Contact::Absent { path: DEFAULT_SOCKET.into(), named: false },
            config: no(why),
            file: None,
            host: no(why),
            ports: no(why),
            tunnels: no(why),
            bridges: no(why),
            routers: no(why),
            nat: no(why),
            stats: no(why),
            drops: no(why),
            echoes: Vec::new(),
        }
    }
}

/// Whether we may not speak to who listens at `path`.
fn is_closed(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn read(path: &Path) -> (File, Fact<Config>) {
    let read = Document::load(path).and_then(|document| Ok((document.to_config()?, document)));
    let file = |errors, warnings| File { path: path.to_owned(), errors, warnings };
    match read {
        Ok((config, document)) => {
            let warnings = document.warnings(&config).iter().map(ToString::to_string).collect();
            (file(Vec::new(), warnings), Ok(config))
        }
        Err(errors) => {
            let lines = errors.0.iter().map(ToString::to_string).collect();
            (file(lines, Vec::new()), Err("the configuration has errors".into()))
        }
    }
}

/// A switch that answers.
struct Switch(Client);

impl Switch {
    /// `None` when there is no socket.
    fn reach(path: &Path) -> Result<Option<(Switch, VersionInfo)>, String> {
        if !path.exists() {
            return Ok(None);
        }
        let mut client = Client::connect_within(path, PATIENCE)?;
        let version = client.call(&Request::Version {})?;
        Ok(Some((Switch(client), version)))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Fact<T> {
        self.0.call(&request).map_err(|why| format!("the switch did not say ({why})"))
    }

    fn tell(&mut self, facts: &mut Facts, version: VersionInfo) {
        facts.contact = Contact::Answers(version);
        facts.config = self.config();
        facts.host = self.ask(Request::HostShow {});
        facts.ports = self.ask(Request::PortShow { name: None });
        facts.tunnels = self.ask(Request::TunnelShow { name: None });
        facts.bridges = self.ask(Request::BridgeShow {});
        facts.routers = self.ask(Request::RouterShow { name: None });
        facts.nat = self.ask(Request::NatShow(NatFilter { limit: Some(0), ..NatFilter::default() }));
        facts.stats = self.ask(Request::Stats {});
        facts.drops = self.ask(Request::Drops {});
        let tunnels = facts.tunnels.as_deref().unwrap_or_default();
        let silent = tunnels.iter().flat_map(|tunnel| {
            let peers = tunnel.peers.iter().filter(|peer| peer.state == "unheard");
            peers.map(|peer| (tunnel.name.clone(), peer.address))
        });
        let echo = |(port, address): (String, std::net::IpAddr)| {
            self.ask(Request::TunnelProbe { to: address.to_string(), port: Some(port), size: ECHO }).ok()
        };
        facts.echoes = silent.take(MAX_ECHOES).filter_map(echo).collect();
    }

    fn config(&mut self) -> Fact<Config> {
        let text: ConfigInfo = self.ask(Request::ConfigShow {})?;
        let config = Document::parse(&text.toml, "what runs").and_then(|document| document.to_config());
        config.map_err(|_| "the switch runs a configuration of another version".into())
    }
}
