//! The arguments of QEMU.

use std::fmt::Write;
use std::path::Path;

use super::{End, Nic, Socket, USUAL_MTU, Version};

/// The arguments that give a guest this network device, each a word.
pub(super) fn arguments(nic: &Nic<'_>, version: Version) -> Vec<String> {
    let id = &nic.id;
    let mut words = Vec::new();
    let mut say = |option: &str, value: String| words.extend([option.to_owned(), value]);
    match &nic.end {
        End::Tap { device, vhost } => {
            let mut tap = format!("tap,id={id},ifname={},script=no,downscript=no", value(device));
            if nic.queues > 1 {
                tap += &format!(",queues={}", nic.queues);
            }
            if *vhost {
                tap += ",vhost=on";
            }
            say("-netdev", tap);
        }
        End::Stream(socket) => {
            let server = if socket.listened_at { "off" } else { "on" };
            let again = reconnect(socket, version, Version::RECONNECT);
            let path = path(&socket.path);
            say("-netdev", format!("stream,id={id},server={server},addr.type=unix,addr.path={path}{again}"));
        }
        End::Dgram { ours, theirs } => {
            let (ours, theirs) = (path(ours), path(theirs));
            let local = format!("local.type=unix,local.path={theirs}");
            say("-netdev", format!("dgram,id={id},{local},remote.type=unix,remote.path={ours}"));
        }
        End::VhostUser { socket, memory } => {
            if let Some(size) = memory {
                say("-object", format!("memory-backend-memfd,id={id},size={size},share=on"));
                say("-machine", format!("memory-backend={id}"));
            }
            let server = if socket.listened_at { "" } else { ",server=on,wait=off" };
            let again = reconnect(socket, version, Version(0, 0));
            say("-chardev", format!("socket,id={id},path={}{server}{again}", path(&socket.path)));
            let mut netdev = format!("vhost-user,id={id},chardev={id}");
            if nic.queues > 1 {
                netdev += &format!(",queues={}", nic.queues);
            }
            say("-netdev", netdev);
        }
    }
    say("-device", device(nic));
    words
}

/// Whether another version of QEMU is told something else.
pub(super) fn depends_on_version(nic: &Nic<'_>) -> bool {
    matches!(&nic.end, End::Stream(socket) | End::VhostUser { socket, .. } if socket.listened_at)
}

/// The virtio device that the guest sees.
fn device(nic: &Nic<'_>) -> String {
    let mut text = format!("virtio-net-pci,netdev={},mac={}", nic.id, nic.mac);
    if nic.queues > 1 {
        // A vector for each queue of both directions, one for control, one for changes of the configuration.
        let _ = write!(text, ",mq=on,vectors={}", 2 * nic.queues + 2);
    }
    if nic.mtu != USUAL_MTU {
        let _ = write!(text, ",host_mtu={}", nic.mtu);
    }
    text
}

/// Has QEMU look every second for a switch that is not there, from the first version that can.
fn reconnect(socket: &Socket, version: Version, first: Version) -> &'static str {
    match socket.listened_at && version >= first {
        true if version >= Version::RECONNECT_MS => ",reconnect-ms=1000",
        true => ",reconnect=1",
        false => "",
    }
}

/// A path as a value of QEMU's.
fn path(path: &Path) -> String {
    value(&path.to_string_lossy())
}

/// A value of QEMU's: a comma would end it, two are one.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}
