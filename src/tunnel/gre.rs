//! GRE (RFC 2784, RFC 2890), in UDP (RFC 8086) or in IP itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::{Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};

/// GRE.
pub static PROTOCOL: Protocol =
    Protocol { name: "gre", port: 4754, parse: |_| Err(DropReason::Runt), samples: Vec::new };

/// A GRE tunnel.
#[derive(Clone, Debug)]
pub struct Gre {
    /// Its key.
    pub key: Option<u32>,
    /// Packets carry GRE's own checksum.
    pub checksum: bool,
    /// Counts the packets sent, where they carry a sequence number.
    pub sequence: Option<Arc<AtomicU32>>,
    /// What it carries.
    pub layer: Layer,
}

impl Tunnel for Gre {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        self.key.map_or(TunnelId::NONE, TunnelId::new)
    }

    fn header_len(&self) -> usize {
        4 + 4
            * (usize::from(self.checksum)
                + usize::from(self.key.is_some())
                + usize::from(self.sequence.is_some()))
    }

    fn carries(&self) -> Layer {
        self.layer
    }

    fn encap(&self, _frame: &mut Frame, _payload: Payload) {}

    fn accept(&self, _header: &Header<'_>) -> Result<(), DropReason> {
        Ok(())
    }
}
