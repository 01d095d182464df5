//! From a guest's ring into a batch.

use super::card::{Mode, Running, Trouble};
use super::ring::Chain;
use super::ring::pieces::gather;
use crate::packet::{Batch, Counters, DropReason, Frame, MAX_BATCH_BYTES, MAX_FRAME, Offload, Piece};
use crate::port::Rx;
use crate::sys::guest_memory::GuestMemory;
use crate::wire::{ethernet, tcp, virtio_net};

/// A frame longer than this is left in the guest's memory, but for its headers. Up to here copying it costs less.
const COPIED: usize = 512;
/// How much of it is copied, at least: all headers that a bridge looks at, with room to spare.
const HEADERS: usize = 192;

/// With so many pieces a batch is full, however few frames they are: a guest may cut its frames as small as it likes, but
/// not have the other ports wait for that. Superframes have about twenty each.
const MAX_PIECES: usize = 2048;

/// Lists that are used over and over.
#[derive(Default)]
pub(super) struct Scratch {
    pieces: Vec<Piece>,
    chains: Vec<Chain>,
}

/// Takes frames from the ring into the spare buffers of `batch`. The guest gets its buffers back at once, or, where frames
/// were left in them, at [`Running::settle`]: whether that is due is `running.held`.
pub(super) fn receive(
    running: &mut Running,
    batch: &mut Batch,
    counters: &mut Counters,
    scratch: &mut Scratch,
) -> Result<Rx, Trouble> {
    if running.armed {
        running.ring.suppress();
        running.armed = false;
    }
    let spare = batch.spare();
    let Scratch { pieces, chains } = scratch;
    pieces.clear();
    chains.clear();
    let (mut bytes, mut end) = (0, Ok(Rx::More));
    while chains.len() < spare.len() && bytes < MAX_BATCH_BYTES as u64 && pieces.len() < MAX_PIECES {
        match running.ring.pop_readable(pieces) {
            Ok(Some(chain)) => {
                bytes += u64::from(chain.len);
                chains.push(chain);
            }
            Ok(None) => {
                end = Ok(Rx::Drained);
                break;
            }
            Err(fault) => {
                end = Err(Trouble::from(fault));
                break;
            }
        }
    }
    if chains.is_empty() {
        return end;
    }
    let (mut taken, mut left) = (0, false);
    let mut from = 0;
    for chain in &*chains {
        let own = &pieces[from..from + chain.pieces as usize];
        from += own.len();
        match take(running, own, chain.len as usize, &mut spare[taken]) {
            Ok(outside) => {
                taken += 1;
                left |= outside;
            }
            Err(reason) => {
                let header = running.terms.header_len();
                counters.discard(reason, (chain.len as usize).saturating_sub(header));
            }
        }
    }
    if let Err(trouble) = running.check_memory() {
        for frame in &mut spare[..taken] {
            counters.discard(DropReason::BadRing, frame.len());
            // Nobody will be told to: the frame does not get into the batch.
            frame.let_go();
        }
        return Err(trouble);
    }
    batch.commit(taken);
    if left {
        running.held.append(chains);
    } else {
        chains.drain(..).for_each(|chain| running.ring.complete(chain, 0));
        running.publish()?;
    }
    end
}

/// Takes the frame of `len` bytes, header included, that lies in `pieces`. True: its end was left there.
#[inline]
fn take(running: &Running, pieces: &[Piece], len: usize, frame: &mut Frame) -> Result<bool, DropReason> {
    let header = running.terms.header_len();
    if running.mode != Mode::On {
        return Err(DropReason::QueueOff);
    }
    let len = len.checked_sub(header).filter(|&len| len >= ethernet::HEADER_LEN).ok_or(DropReason::Runt)?;
    if len > MAX_FRAME {
        return Err(DropReason::Oversized);
    }
    let memory = running.ring.memory();
    let mut inside = if len > COPIED { HEADERS } else { len };
    copy_in(memory, pieces, &mut frame.receive_area(header)[..header + inside])?;
    // What is read again below may be something else then; this is what counts.
    let offload = Offload::from_header(&virtio_net::Header::parse(frame.receive_area(header)));
    if !running.terms.guest_may_leave().take(&offload) {
        return Err(DropReason::BadOffload);
    }
    let spoken_of = headers_len(&offload);
    if inside < len && inside < spoken_of {
        inside = spoken_of.min(len);
        copy_in(memory, pieces, &mut frame.receive_area(header)[..header + inside])?;
    }
    frame.received(inside, offload)?;
    if inside == len {
        return Ok(false);
    }
    frame.leave_outside(&running.lent, behind(pieces, header + inside))?;
    Ok(true)
}

/// How far into the frame its offload state, or what is read for it, reaches.
#[inline]
fn headers_len(offload: &Offload) -> usize {
    if *offload == Offload::NONE {
        return 0;
    }
    let field = usize::from(offload.csum_offset) + 2;
    usize::from(offload.csum_start) + field.max(tcp::MAX_HEADER_LEN)
}

#[inline]
fn copy_in(memory: &GuestMemory, pieces: &[Piece], into: &mut [u8]) -> Result<(), DropReason> {
    // The ring has checked each piece against the same memory.
    gather(memory, pieces, 0, into).map(drop).map_err(|_| DropReason::BadRing)
}

/// What is left of `pieces` behind the first `skip` bytes.
#[inline]
fn behind(pieces: &[Piece], mut skip: usize) -> impl Iterator<Item = Piece> {
    pieces.iter().filter_map(move |piece| {
        let gone = skip.min(piece.len as usize);
        skip -= gone;
        let rest = Piece { at: piece.at + gone as u64, len: piece.len - gone as u32 };
        (rest.len > 0).then_some(rest)
    })
}
