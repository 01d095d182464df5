//! Sending to a stream: whole frames, one after the other, whoever sends them.

use std::array;
use std::io::{ErrorKind, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::unix::SourceFd;
use mio::{Interest, Poll};

use super::ALONE;
use super::framing::PREFIX;
use crate::packet::{Batch, Counters, DropReason};

/// Most frames in one system call: what a superframe is cut to at the usual MTU, and some.
const MAX_FRAMES: usize = 63;

/// The way to the guest, which all workers share. Nobody waits for the guest: what its socket does not take is dropped,
/// but for the rest of a frame that has begun.
#[derive(Default)]
pub(super) struct Writer {
    way: Mutex<Way>,
    /// The rest of a frame waits until the socket takes it.
    begun: AtomicBool,
}

#[derive(Default)]
struct Way {
    peer: Option<Arc<UnixStream>>,
    /// What the socket did not take of the last frame.
    rest: Vec<u8>,
}

impl Writer {
    /// A guest is there.
    pub(super) fn attach(&self, peer: Arc<UnixStream>) {
        *self.lock() = Way { peer: Some(peer), rest: Vec::new() };
    }

    /// The guest has left.
    pub(super) fn detach(&self) {
        *self.lock() = Way::default();
        self.begun.store(false, Ordering::Relaxed);
    }

    /// Sends frames, and counts each. `poll`, which the connection is in, wakes who is to call [`Writer::resume`].
    pub(super) fn send(&self, batch: &mut Batch, frames: &[u32], counters: &mut Counters, poll: &Poll) {
        for &frame in frames {
            let frame = &mut batch.frames_mut()[frame as usize];
            let len = frame.len() as u32;
            frame.with_prefix(&len.to_be_bytes());
        }
        let mut way = self.lock();
        let mut frames = frames;
        while !frames.is_empty() {
            let (now, later) = frames.split_at(frames.len().min(MAX_FRAMES));
            let taken = match way.send(batch, now) {
                Ok(taken) => taken,
                Err(reason) => {
                    frames.iter().for_each(|_| counters.drop(reason));
                    break;
                }
            };
            now[..taken].iter().for_each(|&frame| counters.sent(batch.frames()[frame as usize].len()));
            if taken < now.len() || !way.rest.is_empty() {
                frames[taken..].iter().for_each(|_| counters.drop(DropReason::QueueFull));
                break;
            }
            frames = later;
        }
        self.watch(&way, poll);
    }

    /// Goes on with a frame that has begun, if there is one and the socket takes more of it.
    #[inline]
    pub(super) fn resume(&self, poll: &Poll) {
        if self.begun.load(Ordering::Relaxed) {
            let mut way = self.lock();
            let _ = way.write(&[]);
            self.watch(&way, poll);
        }
    }

    /// Has the socket tell when it takes more, for as long as something waits for that.
    #[inline]
    fn watch(&self, way: &Way, poll: &Poll) {
        let begun = !way.rest.is_empty();
        if begun != self.begun.load(Ordering::Relaxed) {
            self.begun.store(begun, Ordering::Relaxed);
            if let Some(peer) = &way.peer {
                let interest =
                    if begun { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
                // It fails when the connection was read to its end: then nothing more can be sent either.
                let _ = poll.registry().reregister(&mut SourceFd(&peer.as_raw_fd()), ALONE, interest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// Sends frames that have their lengths before them, and gives how many were taken: the first ones. Of the last of
    /// them the rest may wait.
    fn send(&mut self, batch: &Batch, frames: &[u32]) -> Result<usize, DropReason> {
        let all = batch.frames();
        let pieces: [_; MAX_FRAMES] =
            array::from_fn(|i| frames.get(i).map_or(&[][..], |&frame| all[frame as usize].prefixed(PREFIX)));
        let mut written = self.write(&pieces[..frames.len()])?;
        for (i, piece) in pieces[..frames.len()].iter().enumerate() {
            if written == 0 {
                return Ok(i);
            }
            if written < piece.len() {
                self.rest.extend_from_slice(&piece[written..]);
                return Ok(i + 1);
            }
            written -= piece.len();
        }
        Ok(frames.len())
    }

    /// Writes the rest of the last frame and `pieces`, as much as the socket takes, and gives how many bytes of `pieces`
    /// that was.
    fn write(&mut self, pieces: &[&[u8]]) -> Result<usize, DropReason> {
        let Some(peer) = &self.peer else { return Err(DropReason::NotAttached) };
        let rest = usize::from(!self.rest.is_empty());
        let slices: [_; MAX_FRAMES + 1] = array::from_fn(|i| {
            IoSlice::new(match i.checked_sub(rest) {
                None => &self.rest,
                Some(i) => pieces.get(i).copied().unwrap_or_default(),
            })
        });
        let written = loop {
            match (&**peer).write_vectored(&slices[..rest + pieces.len()]) {
                Ok(written) => break written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    *self = Way::default();
                    return Err(DropReason::NotAttached);
                }
            }
        };
        let of_rest = written.min(self.rest.len());
        self.rest.drain(..of_rest);
        Ok(written - of_rest)
    }
}
