//! GENEVE (RFC 8926).

use super::{HEADER_MAX, Header, Payload, Protocol, Tunnel, TunnelId};
use crate::packet::{DropReason, Frame, Layer};

/// GENEVE.
pub static PROTOCOL: Protocol =
    Protocol { name: "geneve", port: 6081, parse: |_| Err(DropReason::Runt), samples: Vec::new };

/// An option (RFC 8926 section 3.5).
#[derive(Clone, Debug)]
pub struct Opt {
    /// Its class.
    pub class: u16,
    /// Its type, with the critical bit 0x80.
    pub kind: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// Options as they stand in a header.
///
/// # Errors
/// They are too long, or not whole words.
pub fn encode(options: &[Opt]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for option in options {
        if !option.data.len().is_multiple_of(4) || option.data.len() > 124 {
            return Err(format!("an option of {} bytes", option.data.len()));
        }
        bytes.extend(option.class.to_be_bytes());
        bytes.extend([option.kind, (option.data.len() / 4) as u8]);
        bytes.extend(&option.data);
    }
    if bytes.len() > HEADER_MAX - 8 {
        return Err(format!("options of {} bytes", bytes.len()));
    }
    Ok(bytes)
}

/// A GENEVE tunnel.
#[derive(Clone, Debug)]
pub struct Geneve {
    /// Its VNI, below 2^24.
    pub vni: u32,
    /// The options it sends, encoded.
    pub options: Vec<u8>,
    /// What it carries.
    pub layer: Layer,
}

impl Tunnel for Geneve {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn id(&self) -> TunnelId {
        TunnelId::new(self.vni)
    }

    fn header_len(&self) -> usize {
        8 + self.options.len()
    }

    fn carries(&self) -> Layer {
        self.layer
    }

    fn encap(&self, _frame: &mut Frame, _payload: Payload) {}

    fn accept(&self, _header: &Header<'_>) -> Result<(), DropReason> {
        Ok(())
    }
}
