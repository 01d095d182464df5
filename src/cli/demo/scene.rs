//! What the demo plays on: two network namespaces, a TAP in each, a switch between them.
//!
//! The namespaces have no names: descriptors of this process hold them, and so the kernel takes them and their devices
//! away however the process ends. The host's network is never touched, since the process leaves it first.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, process};

use crate::control::client::Client;
use crate::control::config::Document;
use crate::control::server::Server;
use crate::control::socket::ControlSocket;
use crate::control::yard::Yard;
use crate::port::link::Links;
use crate::sys::netns::{self, Netns};
use crate::sys::tun;

/// A host of the demo: a namespace in which only loopback and a TAP of the host's name are.
pub(super) struct Host {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) netns: Netns,
    /// Keeps the namespace, and is what the path in `netns` leads to.
    _held: File,
}

impl Host {
    fn new(name: &'static str, address: Ipv4Addr) -> Result<Host, String> {
        let held = netns::create().map_err(|error| format!("cannot make a network namespace: {error}"))?;
        let netns = Netns::new(format!("/proc/{}/fd/{}", process::id(), held.as_raw_fd()));
        let loopback = || Links::open().and_then(|mut links| links.set_up(1));
        netns
            .run(loopback)
            .map_err(|error| format!("cannot enter {netns}: {error}"))?
            .map_err(|error| format!("{netns}: loopback: {error}"))?;
        Ok(Host { name, address, netns, _held: held })
    }

    /// Runs `work` inside the namespace; an error says what was attempted, and where.
    pub(super) fn run<T: Send>(
        &self,
        attempt: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, String> {
        let result = self.netns.run(work).and_then(|result| result);
        result.map_err(|error| format!("{}: cannot {attempt}: {error}", self.name))
    }
}

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
    /// Makes all of it. An error is one line that says what is missing, and the remedy. To be called before the process
    /// has other threads.
    pub(super) fn set_up() -> Result<Scene, String> {
        isolate()?;
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

/// Leaves the host's network, as root or as a user who may make user namespaces.
fn isolate() -> Result<(), String> {
    tun::open().map_err(|error| tun_remedy(&error))?;
    let left = netns::leave().or_else(|error| match error.raw_os_error() {
        Some(libc::EPERM) => netns::leave_as_user(),
        _ => Err(error),
    });
    left.map_err(|error| {
        netns_remedy(&error, |key| {
            fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|value| value.trim().to_owned())
        })
    })
}

fn tun_remedy(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "is missing: load the driver (modprobe tun), or give the container the device (--device /dev/net/tun)"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "is not accessible: run as root, or open it to all users (chmod 0666 /dev/net/tun)"
        }
        _ => return format!("{}: {error}", tun::NODE),
    };
    format!("{} {remedy}", tun::NODE)
}

/// Why no namespace can be made. `sysctl` reads a setting of the kernel.
fn netns_remedy(error: &io::Error, sysctl: impl Fn(&str) -> Option<String>) -> String {
    let settings = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "15000"),
        ("user/max_net_namespaces", "0", "15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    let closed = settings.into_iter().find(|(key, forbids, _)| sysctl(key).as_deref() == Some(forbids));
    match closed {
        Some((key, forbids, allows)) => {
            let name = key.replace('/', ".");
            format!(
                "this user may not make network namespaces, since {name} = {forbids}: run as root, or allow it \
                 (sudo sysctl -w {name}={allows})"
            )
        }
        None => format!(
            "this user may not make network namespaces ({error}): run as root; in a container, one that may \
             (--privileged)"
        ),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_that_forbids_namespaces_and_the_remedy() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        for (key, value, line) in [
            ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
            ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ("user/max_user_namespaces", "15000", "in a container, one that may (--privileged)"),
        ] {
            let text = netns_remedy(&error, |asked| (asked == key).then(|| value.to_owned()));
            assert!(text.contains(line) && text.contains("run as root"), "{text}");
        }
    }

    #[test]
    fn a_refusal_of_the_device_node_says_the_remedy() {
        for (errno, remedy) in [(libc::ENOENT, "modprobe tun"), (libc::EACCES, "chmod 0666 /dev/net/tun")] {
            let text = tun_remedy(&io::Error::from_raw_os_error(errno));
            assert!(text.starts_with("/dev/net/tun is ") && text.contains(remedy), "{text}");
        }
    }
}
