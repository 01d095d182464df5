//! Pieces of guest memory that a chain is made of, and copies over them.

use super::{Fault, INDIRECT, NEXT, WRITE};
pub use crate::packet::Piece;
use crate::sys::guest_memory::{GuestMemory, Outside};

/// No chain is longer, so that sums with it do not pass the end of numbers.
const MOST_SKIP: usize = u32::MAX as usize;

/// Copies from `pieces`, the first `skip` bytes of them left out, to `into`, and says how much: less than it holds if
/// the pieces end before.
///
/// # Errors
/// A piece is not in `memory`.
#[inline]
pub fn gather(
    memory: &GuestMemory,
    pieces: &[Piece],
    skip: usize,
    into: &mut [u8],
) -> Result<usize, Outside> {
    if let [piece] = pieces
        && skip <= MOST_SKIP
        && skip + into.len() <= piece.len as usize
    {
        memory.read(piece.at.wrapping_add(skip as u64), into)?;
        return Ok(into.len());
    }
    gather_all(memory, pieces, skip, into)
}

fn gather_all(
    memory: &GuestMemory,
    pieces: &[Piece],
    skip: usize,
    into: &mut [u8],
) -> Result<usize, Outside> {
    let mut done = 0;
    for (at, len) in parts(pieces, skip) {
        let len = len.min(into.len() - done);
        memory.read(at, &mut into[done..done + len])?;
        done += len;
        if done == into.len() {
            break;
        }
    }
    Ok(done)
}

/// Copies `from` to `pieces`, the first `skip` bytes of them left out, and says how much: less than all if the pieces end
/// before.
///
/// # Errors
/// A piece is not in `memory`.
#[inline]
pub fn scatter(memory: &GuestMemory, pieces: &[Piece], skip: usize, from: &[u8]) -> Result<usize, Outside> {
    if let [piece] = pieces
        && skip <= MOST_SKIP
        && skip + from.len() <= piece.len as usize
    {
        memory.write(piece.at.wrapping_add(skip as u64), from)?;
        return Ok(from.len());
    }
    scatter_all(memory, pieces, skip, from)
}

fn scatter_all(memory: &GuestMemory, pieces: &[Piece], skip: usize, from: &[u8]) -> Result<usize, Outside> {
    let mut done = 0;
    for (at, len) in parts(pieces, skip) {
        let len = len.min(from.len() - done);
        memory.write(at, &from[done..done + len])?;
        done += len;
        if done == from.len() {
            break;
        }
    }
    Ok(done)
}

/// Where [`copy`] copies from or to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The guest.
    pub memory: &'a GuestMemory,
    /// The pieces.
    pub pieces: &'a [Piece],
    /// How many bytes of them are left out.
    pub skip: usize,
}

/// Copies up to `len` bytes from one guest's pieces to another's, and says how many: less if either side ends before.
///
/// # Errors
/// A piece is not in its memory.
#[inline]
pub fn copy(from: Place<'_>, to: Place<'_>, len: usize) -> Result<usize, Outside> {
    if let ([source], [target]) = (from.pieces, to.pieces)
        && from.skip.max(to.skip).max(len) <= MOST_SKIP
        && from.skip + len <= source.len as usize
        && to.skip + len <= target.len as usize
    {
        let at = source.at.wrapping_add(from.skip as u64);
        from.memory.copy(at, to.memory, target.at.wrapping_add(to.skip as u64), len)?;
        return Ok(len);
    }
    copy_all(from, to, len)
}

fn copy_all(from: Place<'_>, to: Place<'_>, len: usize) -> Result<usize, Outside> {
    let mut sources = parts(from.pieces, from.skip);
    let mut targets = parts(to.pieces, to.skip);
    let (mut source, mut target) = ((0, 0), (0, 0));
    let mut done = 0;
    while done < len {
        if source.1 == 0 {
            let Some(next) = sources.next() else { break };
            source = next;
        }
        if target.1 == 0 {
            let Some(next) = targets.next() else { break };
            target = next;
        }
        let run = source.1.min(target.1).min(len - done);
        from.memory.copy(source.0, to.memory, target.0, run)?;
        source = (source.0.wrapping_add(run as u64), source.1 - run);
        target = (target.0.wrapping_add(run as u64), target.1 - run);
        done += run;
    }
    Ok(done)
}

/// Address and length of each piece, without the first `skip` bytes. None is empty.
#[inline]
fn parts(pieces: &[Piece], mut skip: usize) -> impl Iterator<Item = (u64, usize)> {
    pieces.iter().filter_map(move |piece| {
        let len = piece.len as usize;
        let left_out = skip.min(len);
        skip -= left_out;
        (left_out < len).then(|| (piece.at.wrapping_add(left_out as u64), len - left_out))
    })
}

/// A chain's pieces while they are collected and checked.
pub(super) struct Pieces<'a, const WRITABLE: bool> {
    memory: &'a GuestMemory,
    pieces: &'a mut Vec<Piece>,
    before: usize,
    len: u64,
}

impl<'a, const WRITABLE: bool> Pieces<'a, WRITABLE> {
    #[inline(always)]
    pub(super) fn new(memory: &'a GuestMemory, pieces: &'a mut Vec<Piece>) -> Pieces<'a, WRITABLE> {
        let before = pieces.len();
        Pieces { memory, pieces, before, len: 0 }
    }

    /// Adds the buffer that a descriptor names.
    #[inline(always)]
    pub(super) fn add(&mut self, at: u64, len: u32, flags: u16) -> Result<(), Fault> {
        if (flags & WRITE != 0) != WRITABLE {
            return Err(if WRITABLE { Fault::Readable } else { Fault::Writable });
        }
        if len == 0 {
            return Err(Fault::Empty);
        }
        self.len += u64::from(len);
        if self.memory.holds(at, len) {
            self.pieces.push(Piece { at, len });
            return Ok(());
        }
        self.add_parted(at, len)
    }

    /// Adds a buffer that spans regions, or lies.
    #[cold]
    fn add_parted(&mut self, mut at: u64, mut len: u32) -> Result<(), Fault> {
        while len > 0 {
            let run = self.memory.extent(at, len.into()) as u32;
            if run == 0 {
                return Err(Fault::Address);
            }
            self.pieces.push(Piece { at, len: run });
            at = at.checked_add(run.into()).ok_or(Fault::Address)?;
            len -= run;
        }
        Ok(())
    }

    /// The two halves of entry `index` of the indirect table at `table`: the address, and the rest.
    #[inline]
    pub(super) fn entry(&self, table: u64, index: u16) -> Result<(u64, u64), Fault> {
        let at = table.checked_add(16 * u64::from(index)).ok_or(Fault::Address)?;
        let mut bytes = [0; 16];
        self.memory.read(at, &mut bytes)?;
        let both = u128::from_le_bytes(bytes);
        Ok((both as u64, (both >> 64) as u64))
    }

    /// How long the chain is, and of how many pieces.
    #[inline(always)]
    pub(super) fn end(&self) -> Result<(u32, u32), Fault> {
        let len = u32::try_from(self.len).map_err(|_| Fault::Huge)?;
        Ok((len, (self.pieces.len() - self.before) as u32))
    }

    /// Whether a descriptor's flags name a single buffer.
    #[inline(always)]
    pub(super) fn single(flags: u16) -> bool {
        flags & (NEXT | INDIRECT) == 0
    }
}
