//! The virtio_net_hdr (virtio 1.2, 5.1.6) as TAP, AF_PACKET and vhost-user carry it: little endian on every machine we
//! run on, which is the native order the kernel uses.

/// Bytes of the header without `num_buffers`, as AF_PACKET carries it.
pub const LEN: usize = 10;
/// Bytes of the header with `num_buffers` (always zero here), as a TAP carries it after TUNSETVNETHDRSZ.
pub const LEN_MRG: usize = 12;

/// Flag: the checksum at `csum_start + csum_offset` is unfinished.
pub const F_NEEDS_CSUM: u8 = 1;
/// gso_type: no superframe.
pub const GSO_NONE: u8 = 0;
/// gso_type: TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// gso_type: TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// gso_type: UDP segmentation (USO).
pub const GSO_UDP_L4: u8 = 5;
/// gso_type, a bit beside the type: the connection uses ECN.
pub const GSO_ECN: u8 = 0x80;

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `F_*`.
    pub flags: u8,
    /// `GSO_*`.
    pub gso_type: u8,
    /// Bytes of the headers up to and with L4; a hint.
    pub hdr_len: u16,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// Where the checksum begins.
    pub csum_start: u16,
    /// Where its field is, from there.
    pub csum_offset: u16,
}

impl Header {
    /// Reads the first [`LEN`] bytes.
    ///
    /// # Panics
    /// When `bytes` are fewer.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Header {
        let at = |i: usize| u16::from_ne_bytes([bytes[i], bytes[i + 1]]);
        Header {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: at(2),
            gso_size: at(4),
            csum_start: at(6),
            csum_offset: at(8),
        }
    }

    /// The header's bytes with a zero `num_buffers`; the first [`LEN`] of them are the short form.
    #[inline]
    pub fn emit(&self) -> [u8; LEN_MRG] {
        let mut out = [0; LEN_MRG];
        out[0] = self.flags;
        out[1] = self.gso_type;
        out[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        out[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        out[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        out[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_emit_agree() {
        let header =
            Header { flags: 1, gso_type: 0x81, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
        let bytes = header.emit();
        assert_eq!(bytes[..2], [1, 0x81]);
        assert_eq!(bytes[10..], [0, 0]);
        assert_eq!(Header::parse(&bytes), header);
    }
}
