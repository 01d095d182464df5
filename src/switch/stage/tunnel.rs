//! Tunnels: the way in, from an underlay's datagrams to frames of tunnel ports, and the way out again.
//!
//! On the way in, each datagram is told by its number and its sender whose it is; the frames inside are put together to
//! superframes where they are one, and then walk through the stages as frames of their tunnel port. On the way out,
//! which is the egress stage of tunnels, a superframe is cut, each part gets its tunnel header in its headroom, and all
//! of it goes to the underlay as datagrams, for each peer the same bytes.

mod unwrap;
mod wrap;

pub(in crate::switch) use unwrap::{Effects, Unwrapped, Unwrapping, come_out};
pub(in crate::switch) use wrap::{Outlet, Wrapping, shape};

use super::egress;
use crate::packet::{Batch, too_big};
use crate::switch::outbox::Departure;

/// Makes the answer to a packet that is too long for a tunnel, in the form of a frame that comes out of it, and gives
/// its index. `None`: the packet's sender is not to be told, or no buffer is left.
pub(in crate::switch) fn too_big(departure: Departure, mtu: u32, batch: &mut Batch) -> Option<u32> {
    let live = batch.len();
    let answer = batch.add()?;
    let (packet, to) = (departure.frame as usize, answer);
    egress::dress(&mut batch.frames_mut()[packet], departure.form);
    let (packet, answer) = batch.pair(packet, answer);
    if too_big::answer(packet, mtu, answer) {
        return Some(to as u32);
    }
    batch.truncate(live);
    None
}
