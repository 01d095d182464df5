//! How a guest attaches to a port: the arguments of QEMU and the XML of libvirt, from the port's configuration.
//!
//! The switch knows a port; what else a guest is (its memory, the QEMU that runs it) is its owner's, and asked for in the
//! [`AttachQuery`].

mod libvirt;
mod qemu;
#[cfg(test)]
mod tests;

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use super::api::{AttachInfo, AttachQuery};
use super::config::{PortConfig, PortKind, SocketConfig};
use crate::port::link::Link;
use crate::wire::ethernet::Mac;

/// A guest's memory where nobody says how much it has.
const DEFAULT_MEMORY: &str = "512M";

/// The MTU of a guest that is told none.
const USUAL_MTU: u32 = 1500;

/// What a port's own configuration does not say.
pub struct Around<'a> {
    /// What its device was when it was last looked at.
    pub link: Option<&'a Link>,
    /// Whether the kernel of this machine carries frames between a TAP and a guest itself.
    pub vhost: bool,
}

/// The network device of a guest, and what it is to be attached to.
struct Nic<'a> {
    /// What the guest's program calls it.
    id: String,
    mac: Mac,
    mtu: u32,
    queues: u32,
    end: End<'a>,
}

/// What a guest's network device is attached to.
enum End<'a> {
    /// A TAP that the guest's program opens.
    Tap { device: &'a str, vhost: bool },
    /// A socket of a byte stream.
    Stream(Socket),
    /// A socket of datagrams on each side.
    Dgram { ours: PathBuf, theirs: PathBuf },
    /// Memory that both share; how much of it the guest has, unless somebody else says.
    VhostUser { socket: Socket, memory: Option<String> },
}

/// A socket that one side listens at.
struct Socket {
    path: PathBuf,
    /// Whether the switch does, not the guest.
    listened_at: bool,
}

/// A version of QEMU. Ordered as versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// The first with `-netdev stream` and `-netdev dgram`.
    const SOCKETS: Version = Version(7, 2);
    /// The first in which `-netdev stream` connects again.
    const RECONNECT: Version = Version(8, 0);
    /// The first that counts the time until then in milliseconds; the older way went away soon after.
    const RECONNECT_MS: Version = Version(9, 2);

    /// Reads `9.2` or `9.2.1`.
    fn read(text: &str) -> Result<Version, String> {
        let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Version(major, minor)),
            _ => Err(format!("\"{text}\" is no version of QEMU (expected the like of 9.2)")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// How a guest attaches to the port `name`.
///
/// # Errors
/// None can, or what is asked for is nothing that it could be told: why, in one line.
pub fn attach(
    name: &str,
    port: &PortConfig,
    query: &AttachQuery,
    around: &Around<'_>,
) -> Result<AttachInfo, String> {
    let version = query.qemu_version.as_deref().map(Version::read).transpose()?;
    let written_for = version.unwrap_or(Version::RECONNECT_MS);
    let nic = nic(name, port, query, around)?;
    let by_socket = matches!(nic.end, End::Stream(_) | End::Dgram { .. });
    if by_socket && written_for < Version::SOCKETS {
        let needed = Version::SOCKETS;
        return Err(format!(
            "port {name} is a {}, which QEMU {written_for} does not know: it takes {needed} or later",
            port.kind.name()
        ));
    }
    let arguments = qemu::arguments(&nic, written_for);
    let depends = qemu::depends_on_version(&nic);
    let common = remarks(port, around);
    let of_version = depends.then(|| version_remark(name, port, version)).flatten();
    // An interface of libvirt's own is for every version, and its domain says elsewhere how much memory it has.
    let of_arguments = of_version.clone().filter(|_| by_socket);
    let of_memory = memory_remark(port, query);
    Ok(AttachInfo {
        libvirt: libvirt::xml(&nic, &arguments),
        libvirt_remarks: common.iter().cloned().chain(of_arguments).collect(),
        qemu: arguments,
        qemu_remarks: common.into_iter().chain(of_memory).chain(of_version).collect(),
        qemu_version: depends.then(|| written_for.to_string()),
    })
}

/// The network device that fits the port `name`.
fn nic<'a>(
    name: &str,
    port: &'a PortConfig,
    query: &AttachQuery,
    around: &Around<'_>,
) -> Result<Nic<'a>, String> {
    let socket = |socket: &SocketConfig| Socket { path: socket.path.clone(), listened_at: socket.listen };
    let (end, mtu, queues) = match &port.kind {
        PortKind::Netdev(netdev) => {
            let tun = around.link.and_then(|link| link.tun);
            if let Some(link) = around.link
                && !tun.is_some_and(|tun| tun.is_tap)
            {
                return Err(no_guest(name, format!("is on {}, which is no TAP", link.name)));
            }
            let made = netdev.create.as_ref();
            let mtu = around.link.map(|link| link.mtu).or(made.and_then(|tap| tap.mtu));
            let vhost = query.vhost.unwrap_or(around.vhost);
            let queues = match (made, tun) {
                (Some(tap), _) => fitting(name, query.queues, tap.queues.unwrap_or(1) as u32)?,
                // One that can be opened several times can be opened in no other way.
                (None, Some(tun)) if tun.multi_queue => query.queues.unwrap_or(2),
                (None, _) => query.queues.unwrap_or(1),
            };
            (End::Tap { device: &netdev.device, vhost }, mtu, Some(queues))
        }
        PortKind::Stream(at) => (End::Stream(socket(at)), at.mtu, None),
        PortKind::Dgram { socket: at, peer } => {
            let Some(peer) = peer else {
                return Err(format!(
                    "port {name} does not say where the guest's own socket is, which QEMU is to be told \
                     (port set {name} connect=PATH)"
                ));
            };
            (End::Dgram { ours: at.path.clone(), theirs: peer.clone() }, at.mtu, None)
        }
        PortKind::VhostUser { socket: at, offload: _ } => {
            let memory = memory(query.memory.as_deref())?;
            (End::VhostUser { socket: socket(at), memory }, at.mtu, Some(1))
        }
        PortKind::Tap(_) => return Err(no_guest(name, "is a TAP that the switch itself holds".into())),
        PortKind::Tun(_) => return Err(no_guest(name, "is a TUN, which carries no Ethernet".into())),
        PortKind::Patch { peer } => return Err(no_guest(name, format!("leads to port {peer}"))),
        PortKind::Tunnel(_) => return Err(no_guest(name, "is a tunnel".into())),
        PortKind::Underlay(_) => return Err(no_guest(name, "is a socket of tunnels".into())),
    };
    let queues = match (query.queues, queues) {
        (Some(0 | 257..), Some(_)) => return Err("a guest's device has 1 to 256 queues".into()),
        (Some(2..), None) => return Err(format!("port {name} is a {}: it has one queue", port.kind.name())),
        (wanted, own) => wanted.or(own).unwrap_or(1),
    };
    Ok(Nic { id: id(name), mac: mac(name, port), mtu: mtu.unwrap_or(USUAL_MTU), queues, end })
}

/// How many queues of a TAP that was made with `made` the guest opens: a TAP of several cannot be opened as one of one.
fn fitting(name: &str, wanted: Option<u32>, made: u32) -> Result<u32, String> {
    let least = made.min(2);
    match wanted.unwrap_or(made) {
        queues if (least..=made).contains(&queues) => Ok(queues),
        queues => Err(format!(
            "a guest cannot open {queues} queues of port {name} (expected {least} to {made}, or port set {name} \
             queues={queues})"
        )),
    }
}

/// Says why no guest can attach to a port, and to which one can.
fn no_guest(name: &str, why: String) -> String {
    format!(
        "port {name} {why}: no guest can attach to it (expected a port of its own: type \"netdev\" with \
         create = true, \"stream\", \"dgram\" or \"vhost-user\")"
    )
}

/// What QEMU calls the port: an identifier begins with a letter.
fn id(name: &str) -> String {
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name.to_owned(),
        false => format!("port{name}"),
    }
}

/// The guest's address: the only one that the port lets it have, else one that is made up.
fn mac(name: &str, port: &PortConfig) -> Mac {
    match port.guard.mac[..] {
        [mac] => mac,
        _ => own_mac(("guest of", name)),
    }
}

/// An address for what is called `name` and has none: the same after every start, another on every machine.
pub(super) fn own_mac(name: impl Hash) -> Mac {
    let mut hasher = DefaultHasher::new();
    let machine = std::fs::read("/etc/machine-id").ok().filter(|id| !id.is_empty());
    // Without one, at least the same until the machine starts again.
    machine.or_else(|| std::fs::read("/proc/sys/kernel/random/boot_id").ok()).hash(&mut hasher);
    name.hash(&mut hasher);
    // The two low bits of the first byte: locally administered, no group.
    Mac::from_bits(hasher.finish() & 0xfcff_ffff_ffff | 0x0200_0000_0000)
}

/// How much memory the guest has, as QEMU reads it; `None` where another argument says so.
fn memory(asked: Option<&str>) -> Result<Option<String>, String> {
    let size = asked.unwrap_or(DEFAULT_MEMORY);
    if size == "none" {
        return Ok(None);
    }
    let number = size.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(size);
    match number.parse::<u64>() {
        Ok(1..) if number.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(size.to_owned())),
        _ => Err(format!(
            "\"{size}\" is no size of a guest's memory (expected the like of 512M or 4G, or none where another \
             argument says it)"
        )),
    }
}

/// What somebody who pastes the text has to know of the port, a line each.
fn remarks(port: &PortConfig, around: &Around<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some((device, Some(netns))) = port.kind.device() {
        let enter = match Path::new(netns).is_absolute() {
            true => format!("nsenter --net={netns}"),
            false => format!("ip netns exec {netns}"),
        };
        remarks.push(format!("{device} is in another network namespace, where QEMU is to run: {enter} …"));
    }
    if let (PortKind::Netdev(netdev), None) = (&port.kind, around.link) {
        remarks.push(format!("there is no {} yet: it is to be a TAP", netdev.device));
    }
    remarks
}

fn memory_remark(port: &PortConfig, query: &AttachQuery) -> Option<String> {
    let silent = matches!(port.kind, PortKind::VhostUser { .. }) && query.memory.is_none();
    silent.then(|| {
        format!(
            "for a guest of {DEFAULT_MEMORY} of memory: --memory SIZE for another, --memory none beside arguments that \
             share all of it"
        )
    })
}

/// What to know of the version of QEMU that the text is for, where it depends on that.
fn version_remark(name: &str, port: &PortConfig, version: Option<Version>) -> Option<String> {
    match (version, &port.kind) {
        (None, _) => {
            Some(format!("for QEMU {} and later: --qemu-version for another", Version::RECONNECT_MS))
        }
        (Some(version), PortKind::Stream(_)) if version < Version::RECONNECT => Some(format!(
            "QEMU {version} does not look for the switch again when that was restarted, as {} does: have port {name} \
             connect to QEMU instead (connect = PATH)",
            Version::RECONNECT
        )),
        _ => None,
    }
}
