//! VXLAN (RFC 7348).

use super::{Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};

/// VXLAN.
pub static PROTOCOL: Protocol =
    Protocol { name: "vxlan", port: 4789, parse: |_| Err(DropReason::Runt), samples: Vec::new };

/// A VXLAN tunnel.
#[derive(Clone, Debug)]
pub struct Vxlan {
    /// Its VNI, below 2^24.
    pub vni: u32,
    /// Packets with reserved bits set are refused.
    pub strict: bool,
}

impl Tunnel for Vxlan {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        TunnelId::new(self.vni)
    }

    fn header_len(&self) -> usize {
        8
    }

    fn carries(&self) -> Layer {
        Layer::Ethernet
    }

    fn encap(&self, _frame: &mut Frame, _payload: Payload) {}

    fn accept(&self, _header: &Header<'_>) -> Result<(), DropReason> {
        Ok(())
    }
}
