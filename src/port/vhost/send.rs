//! From a batch into a guest's ring.

use std::any::Any;

use super::card::{Lent, Running, Trouble};
use super::ring::Chain;
use super::ring::pieces::{Place, copy, scatter};
use crate::packet::{Batch, Counters, DropReason, Frame, Offload, Piece};
use crate::sys::guest_memory::GuestMemory;
use crate::wire::virtio_net;

/// The most buffers that one frame is spread over. The longest takes 44 of those that hold an ordinary frame each.
const MAX_SPREAD: usize = 256;
/// The most pieces that these may have together. A guest whose buffers are of a byte each would have a worker spend on one
/// frame what others need for a thousand.
const MAX_PIECES: usize = 1024;
/// The most pieces of buffers that are looked at in one go. A guest may give buffers as small as it likes, even some that
/// no frame fits into, but not have the other ports wait for that. A batch of the longest frames needs 2816 of the usual ones.
const MAX_LOOKED_AT: usize = 4096;

/// Lists that are used over and over.
#[derive(Default)]
pub(super) struct Scratch {
    pieces: Vec<Piece>,
    chains: Vec<Chain>,
    plans: Vec<Plan>,
}

/// A frame that has got buffers: so many chains, of so many pieces in all, behind those of the frame before.
struct Plan {
    frame: u32,
    chains: usize,
    pieces: usize,
}

/// Puts frames into the ring, as far as the guest has given buffers, and shows them to it. All are counted in any case,
/// on trouble too.
pub(super) fn send(
    running: &mut Running,
    batch: &mut Batch,
    frames: &[u32],
    counters: &mut Counters,
    scratch: &mut Scratch,
) -> Result<(), Trouble> {
    let Scratch { pieces, chains, plans } = scratch;
    pieces.clear();
    chains.clear();
    plans.clear();
    let (mut lost, mut seen) = (0, 0);
    let mut plan = || {
        for &frame in frames {
            let (first_chain, first_piece) = (chains.len(), pieces.len());
            let mark = running.ring.mark();
            let found = match seen < MAX_LOOKED_AT {
                true => find_room(running, &batch.frames()[frame as usize], pieces, chains)?,
                false => Err(DropReason::QueueFull),
            };
            seen += pieces.len() - first_piece;
            match found {
                Ok(()) => plans.push(Plan {
                    frame,
                    chains: chains.len() - first_chain,
                    pieces: pieces.len() - first_piece,
                }),
                Err(reason) => {
                    running.ring.rewind(mark);
                    chains.truncate(first_chain);
                    pieces.truncate(first_piece);
                    counters.drop(reason);
                    lost += 1;
                }
            }
        }
        running.check_memory()
    };
    if let Err(trouble) = plan() {
        (lost..frames.len()).for_each(|_| counters.drop(DropReason::BadRing));
        return Err(trouble);
    }
    let (mut chains, mut pieces) = (&chains[..], &pieces[..]);
    for plan in &*plans {
        let (own_chains, own_pieces);
        (own_chains, chains) = chains.split_at(plan.chains);
        (own_pieces, pieces) = pieces.split_at(plan.pieces);
        let frame = &mut batch.frames_mut()[plan.frame as usize];
        let header = running.terms.header_len();
        write(running.ring.memory(), own_pieces, frame, header, plan.chains as u16);
        let mut left = header + frame.len();
        for &chain in own_chains {
            let written = left.min(chain.len as usize);
            running.ring.complete(chain, written as u32);
            left -= written;
        }
        counters.sent(frame.len());
    }
    running.publish()
}

/// Takes as many buffers as the frame needs. What was taken when there were too few is for the caller to give back.
#[inline]
fn find_room(
    running: &mut Running,
    frame: &Frame,
    pieces: &mut Vec<Piece>,
    chains: &mut Vec<Chain>,
) -> Result<Result<(), DropReason>, Trouble> {
    // What the guest takes comes to be known a little later than the guest.
    if !running.terms.capabilities().take(&frame.offload) {
        return Ok(Err(DropReason::Unsegmentable));
    }
    let needed = running.terms.header_len() + frame.len();
    let most = if running.terms.mergeable() { MAX_SPREAD } else { 1 };
    let (mut room, before) = (0, pieces.len());
    for _ in 0..most {
        let Some(chain) = running.ring.pop_writable(pieces)? else { return Ok(Err(DropReason::QueueFull)) };
        room += chain.len as usize;
        chains.push(chain);
        if pieces.len() - before > MAX_PIECES {
            break;
        }
        if room >= needed {
            return Ok(Ok(()));
        }
    }
    Ok(Err(DropReason::ExceedsMtu))
}

/// Writes a frame, behind its header, into `pieces`, which have room for it.
#[inline]
fn write(memory: &GuestMemory, pieces: &[Piece], frame: &mut Frame, header_len: usize, buffers: u16) {
    if lent(frame).is_none() {
        frame.pull();
    }
    let [low, high] = buffers.to_le_bytes();
    let header = match frame.offload {
        // Usual, and a constant: what is put together byte by byte cannot be read before it has got to memory.
        Offload::NONE => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low, high],
        offload => {
            let mut header = offload.to_header().emit();
            [header[virtio_net::LEN], header[virtio_net::LEN + 1]] = [low, high];
            header
        }
    };
    // Of a length that is known, it is two stores.
    let here = match header_len {
        virtio_net::LEN_MRG => frame.with_prefix(&header),
        _ => frame.with_prefix(&header[..virtio_net::LEN]),
    };
    let skip = here.len();
    // Nothing of this fails: each ring has checked its pieces against the same memory.
    let _ = match pieces {
        [piece] if piece.len as usize >= skip => memory.write(piece.at, here),
        _ => scatter(memory, pieces, 0, here).map(drop),
    };
    if let Some((lender, left)) = lent(frame) {
        let from = Place { memory: lender, pieces: left, skip: 0 };
        let _ = copy(from, Place { memory, pieces, skip }, frame.len() - frame.bytes().len());
    }
}

/// What of a frame is in a guest's memory still, and whose it is.
#[inline]
fn lent(frame: &Frame) -> Option<(&GuestMemory, &[Piece])> {
    let outside = frame.outside()?;
    let memory: &dyn Any = &**outside.memory()?;
    Some((&memory.downcast_ref::<Lent>()?.0, outside.pieces()))
}
