//! A network of a command's own: the process leaves the host's, and makes hosts for itself.
//!
//! The namespaces have no names: descriptors of this process hold them, and so the kernel takes them and their devices
//! away however the process ends.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::{io, process};

use crate::port::link::{LinkError, Links};
use crate::sys::netns::{self, Netns};
use crate::sys::tun;

/// Leaves the host's network, as root or as a user who may make user namespaces. An error is one line that says what is
/// missing, and the remedy. To be called before the process has other threads.
pub(super) fn leave_host() -> Result<(), String> {
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

/// A host for as long as a command runs: a namespace in which at first only loopback is.
pub(super) struct Host {
    /// What it is called in messages.
    pub(super) name: &'static str,
    /// The address that a device in it is to have.
    pub(super) address: Ipv4Addr,
    /// Its namespace.
    pub(super) netns: Netns,
    /// Keeps the namespace, and is what the path in `netns` leads to.
    held: File,
}

impl Host {
    /// Makes one.
    pub(super) fn new(name: &'static str, address: Ipv4Addr) -> Result<Host, String> {
        let held = netns::create().map_err(|error| format!("cannot make a network namespace: {error}"))?;
        let netns = Netns::new(format!("/proc/{}/fd/{}", process::id(), held.as_raw_fd()));
        let host = Host { name, address, netns, held };
        host.links(|links| links.set_up(1))?;
        Ok(host)
    }

    /// Makes a veth between this host and another, with these names. Both ends are up and take packets of `mtu` bytes.
    pub(super) fn veth(&self, own: &str, to: &Host, theirs: &str, mtu: u32) -> Result<(), String> {
        self.links(|links| links.add_veth(own, theirs, to.held.as_fd()))?;
        for (host, name) in [(self, own), (to, theirs)] {
            host.links(|links| {
                let index = links.must_find(name)?.index;
                links.set_mtu(index, mtu)?;
                links.set_up(index)
            })?;
        }
        Ok(())
    }

    /// Does something with the interfaces of the namespace; an error says what, and where.
    pub(super) fn links<T: Send>(
        &self,
        work: impl FnOnce(&mut Links) -> Result<T, LinkError> + Send,
    ) -> Result<T, String> {
        let result = self.netns.run(|| Links::open().and_then(|mut links| work(&mut links)));
        let result = result.map_err(|error| format!("cannot enter {}: {error}", self.netns))?;
        result.map_err(|error| format!("{}: {error}", self.name))
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
