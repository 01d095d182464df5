//! Ports that guests attach to by a socket in the file system: `stream`, `dgram`, `vhost-user`.

use std::path::PathBuf;

use super::keys::Keys;
use super::value::{self, number};
use super::{PortKind, SocketConfig};

pub(super) fn stream(keys: &mut Keys<'_>, _: &str) -> PortKind {
    PortKind::Stream(met(keys))
}

pub(super) fn vhost_user(keys: &mut Keys<'_>, _: &str) -> PortKind {
    PortKind::VhostUser { socket: met(keys), offload: keys.get("offload", value::boolean).unwrap_or(true) }
}

/// Each side of a `dgram` has a place of its own.
pub(super) fn dgram(keys: &mut Keys<'_>, _: &str) -> PortKind {
    let listen = keys.require("listen", "the path that the guest sends to", value::absolute_socket_path);
    let peer = keys.get("connect", value::absolute_socket_path);
    if listen.is_some() && listen == peer {
        keys.complain("connect", "is `listen` too (expected two sockets, one for each side)");
    }
    PortKind::Dgram { socket: at(keys, true, listen.unwrap_or_default()), peer }
}

/// A socket that one side listens at.
fn met(keys: &mut Keys<'_>) -> SocketConfig {
    let listen = keys.get("listen", value::absolute_socket_path);
    let connect = keys.get("connect", value::absolute_socket_path);
    match (keys.has("listen"), keys.has("connect")) {
        (false, false) => {
            keys.complain("listen", "missing (expected `listen` or `connect`, the path of a socket)")
        }
        (true, true) => {
            keys.complain(
                "connect",
                "one side listens, the other connects (expected `listen` or `connect`, not both)",
            );
        }
        _ => {}
    }
    let listens = listen.is_some();
    if !listens {
        for key in ["owner", "group"] {
            if keys.has(key) {
                keys.complain(key, "is of who listens (expected `listen` beside it)");
            }
        }
    }
    at(keys, listens, listen.or(connect).unwrap_or_default())
}

fn at(keys: &mut Keys<'_>, listen: bool, path: PathBuf) -> SocketConfig {
    SocketConfig {
        listen,
        path,
        owner: keys.get("owner", value::user),
        group: keys.get("group", value::group),
        mtu: keys.get("mtu", number("MTU", 68..=65521)),
    }
}
