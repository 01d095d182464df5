//! What the demo plays on: two network namespaces, a TAP in each, a switch between them.
//!
//! The host's network is never touched, since the process leaves it first.

use std::fs::{self, DirBuilder};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, process};

use super::super::isolation::{self, Host};
use crate::control::client::Client;
use crate::control::config::Document;
use crate::control::server::Server;
use crate::control::socket::ControlSocket;
use crate::control::yard::Yard;

/// Everything that was made. All of it is gone when this is dropped: the socket, the switch with its TAPs, the
/// namespaces, the directory.
pub(super) struct Scene {
    server: Server,
    yard: Yard,
    /// How long it took the switch to start.
    pub(super) started_in: Duration,
    pub(super) hosts: [Host; 2],
    _directory: Directory,
}

impl Scene {
    /// Makes all of it. An error is one line; to be called before the process has other threads, as
    /// [`isolation::leave_host`].
    pub(super) fn set_up() -> Result<Scene, String> {
        isolation::leave_host()?;
        let directory = Directory::make()?;
        let host = |name, last| Host::new(name, Ipv4Addr::new(10, 9, 0, last));
        let hosts = [host("red", 1)?, host("blue", 2)?];
        let document =
            Document::parse(&configuration(&hosts), "demo").map_err(|errors| errors.to_string())?;
        let start = Instant::now();
        let yard = Yard::start(document, None)?;
        let started_in = start.elapsed();
        let server = Server::start(ControlSocket::bind(&directory.0.join("control.sock"))?, yard.handler())?;
        Ok(Scene { server, yard, started_in, hosts, _directory: directory })
    }

    /// The control socket, on which any `tapyard` command may ask.
    pub(super) fn control(&self) -> &Path {
        self.server.path()
    }

    /// A client of it, as every command is one.
    pub(super) fn client(&self) -> Result<Client, String> {
        Client::connect(self.control())
    }

    /// One line on the switch.
    pub(super) fn summary(&self) -> String {
        self.yard.summary()
    }
}

fn configuration(hosts: &[Host]) -> String {
    let port = |host: &Host| {
        let Host { name, address, netns, .. } = host;
        format!(
            "[port.{name}]\nbridge = \"lan\"\ntype = \"tap\"\nnetns = \"{netns}\"\naddress = \"{address}/24\"\n"
        )
    };
    format!("[bridge.lan]\n{}", hosts.iter().map(port).collect::<String>())
}

/// A directory for the control socket, ours alone, gone when dropped.
struct Directory(PathBuf);

impl Directory {
    /// In the first place for such things that takes it.
    fn make() -> Result<Directory, String> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let places = [runtime, Some("/run".into()), Some(env::temp_dir())];
        let mut last = None;
        for place in places.into_iter().flatten() {
            let path = place.join(format!("tapyard-demo-{}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Directory(path)),
                Err(error) => last = Some((path, error)),
            }
        }
        // The last place is always tried.
        Err(last.map_or_else(String::new, |(path, error)| {
            format!("{}: cannot be made: {error} (XDG_RUNTIME_DIR names another place)", path.display())
        }))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
