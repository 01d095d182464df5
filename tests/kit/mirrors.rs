//! Mirrors for a yard.

use tapyard::packet::{Expression, PortId};
use tapyard::switch::Port;
use tapyard::switch::mirror::Mirror;

use super::port;

/// A port that sends the copies of mirrors.
pub(crate) fn monitor() -> Port {
    Port { bridge: None, ..port() }
}

/// A mirror of what comes in by some ports and leaves by some, which `to` sends.
pub(crate) fn mirror(to: u16, received: &[u16], sent: &[u16]) -> Mirror {
    let ports = |ports: &[u16]| ports.iter().copied().map(PortId).collect();
    Mirror {
        name: "mirror".into(),
        to: PortId(to),
        received: ports(received),
        sent: ports(sent),
        vlans: None,
        filter: Expression::all(),
        snap: None,
    }
}
