//! Ports on a unix socket of a byte stream, as QEMU's `-netdev stream` has it: each frame has its length before it, four
//! bytes, big-endian. Nothing can be left undone on a frame.
//!
//! One guest at a time. The attendant's thread meets it and hands the connection to the queues: one of them reads, all of
//! them send. Connections come and go while the descriptor that a worker waits for stays: that of an epoll of the port's
//! own, which the connection is in. Nobody ever asks that epoll what happened, the worker's own tells that something did.
//! So a connection is read with no system call more than any other descriptor.

mod framing;
mod writer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use socket2::SockRef;

use self::framing::{Next, Reassembly};
use self::writer::Writer;
use super::guest::{Attached, Attendant, Door, Guest, GuestOptions, News};
use super::{Opened, Port, PortError, Queue, Rx};
use crate::packet::coalesce::{Coalescer, Piece};
use crate::packet::{Batch, Capabilities, Counters, DropReason, Layer, MAX_BATCH_BYTES, MAX_BATCH_FRAMES};
use crate::sys::hangup;

/// Bytes that the kernel keeps for a guest until it reads them, if it may be so many.
const SOCKET_BUFFER: usize = 4 << 20;

/// What a descriptor is known by in an epoll where it is alone.
const ALONE: Token = Token(0);

/// Makes the socket, or begins to look for it, with a queue for each of `workers`.
///
/// # Errors
/// See [`PortError`].
pub fn open(options: &GuestOptions, workers: usize, news: News) -> Result<Opened, PortError> {
    let path = &options.door.path;
    let failed = |error| PortError::system(&path.display().to_string(), "attend its socket", error);
    let door = Door::open(&options.door)?;
    let line = Line::new(options, news).map_err(failed)?;
    let attended = Arc::clone(&line);
    let attendant = Attendant::start(&options.name, door, move |peer| {
        if let Err(error) = attended.serve(peer) {
            attended.guest.complain(format_args!("cannot serve who came to its socket: {error}"));
        }
    });
    let attendant = Arc::new(attendant.map_err(failed)?);
    let workers = workers.max(1);
    let reader = reader(path, workers);
    let queue = |worker| {
        Queue::Port(Box::new(End {
            line: Arc::clone(&line),
            reads: worker == reader,
            reading: None,
            coalescer: Coalescer::default(),
            _attendant: Arc::clone(&attendant),
        }))
    };
    Ok(Opened::at_socket((0..workers).map(queue).collect(), Arc::clone(&line.guest)))
}

/// Which of the workers reads what comes by a socket: the ports of a switch spread over them.
pub(super) fn reader(path: &Path, workers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    (hasher.finish() % workers as u64) as usize
}

/// What the attendant and the queues of a port share.
struct Line {
    guest: Arc<Guest>,
    /// The epoll that connections are in until they were read to their end.
    poll: Poll,
    /// The guest that the reading queue has yet to take note of.
    arrived: Mutex<Option<Arc<UnixStream>>>,
    writer: Writer,
}

impl Line {
    fn new(options: &GuestOptions, news: News) -> io::Result<Arc<Line>> {
        Ok(Arc::new(Line {
            guest: Arc::new(Guest::new(&options.name, options.mtu, news)),
            poll: Poll::new()?,
            arrived: Mutex::default(),
            writer: Writer::default(),
        }))
    }

    /// Hands the guest's connection to the queues, and waits until it has ended. Whoever wants that shuts it down.
    fn serve(&self, peer: UnixStream) -> io::Result<()> {
        peer.set_nonblocking(true)?;
        // As much as this user may have.
        let _ = SockRef::from(&peer).set_send_buffer_size(SOCKET_BUFFER);
        let fd = peer.as_raw_fd();
        let peer = Arc::new(peer);
        // First where the reader finds it, then what wakes the reader.
        *self.arrived() = Some(Arc::clone(&peer));
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), ALONE, Interest::READABLE) {
            *self.arrived() = None;
            return Err(error);
        }
        self.writer.attach(Arc::clone(&peer));
        self.guest.set(Some(Attached { capabilities: Capabilities::NONE, queues: 1 }));
        let ended = hangup::wait(peer.as_fd());
        self.guest.set(None);
        self.writer.detach();
        // What it sent before its end is still to be read, so it is the reader who takes the connection out of the epoll. He
        // may have seen the last of it without seeing that it was the last. This wakes him, or he has seen the end.
        let _ = self.poll.registry().reregister(&mut SourceFd(&fd), ALONE, Interest::READABLE);
        ended
    }

    fn arrived(&self) -> MutexGuard<'_, Option<Arc<UnixStream>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's queue.
struct End {
    line: Arc<Line>,
    /// It is the one that reads.
    reads: bool,
    reading: Option<Reading>,
    coalescer: Coalescer,
    _attendant: Arc<Attendant>,
}

/// A connection that is read.
struct Reading {
    peer: Arc<UnixStream>,
    frames: Reassembly,
}

impl End {
    /// Takes frames of the connection until the batch is full or nothing is left; `None` when the connection has ended.
    fn read(
        line: &Line,
        Reading { peer, frames }: &mut Reading,
        coalescer: &mut Coalescer,
        batch: &mut Batch,
        counters: &mut Counters,
    ) -> Option<Rx> {
        let mut seen = 0;
        let mut dry = false;
        while batch.len() < MAX_BATCH_FRAMES && seen < MAX_BATCH_BYTES {
            match frames.next() {
                Next::Frame(bytes) => {
                    seen += bytes.len();
                    let piece = Piece {
                        at: 0,
                        len: bytes.len() as u32,
                        layer: Layer::Ethernet,
                        mtu: line.guest.mtu,
                        owner: 0,
                    };
                    // There is a buffer: the batch is not full.
                    coalescer.push(batch, &piece, bytes);
                }
                Next::Runt(len) => {
                    seen += framing::PREFIX + len;
                    counters.discard(DropReason::Runt, len);
                }
                Next::TooLong(len) => {
                    counters.discard(DropReason::Oversized, 0);
                    line.guest.complain(format_args!(
                        "its guest announces a frame of {len} bytes, which is no frame: hanging up (does it \
                         speak the same protocol, -netdev stream?)"
                    ));
                    return None;
                }
                Next::Incomplete if dry => return Some(Rx::Drained),
                Next::Incomplete => {
                    let room = frames.room();
                    let asked = room.len();
                    match (&**peer).read(room) {
                        Ok(0) => return None,
                        Ok(read) => {
                            frames.filled(read);
                            // The next byte wakes us.
                            dry = read < asked;
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(Rx::Drained),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(_) => return None,
                    }
                }
            }
        }
        Some(Rx::More)
    }

    /// Ends the connection that was read. Its attendant notices.
    fn end(&mut self) {
        if let Some(Reading { peer, .. }) = self.reading.take() {
            let _ = peer.shutdown(Shutdown::Both);
            let _ = self.line.poll.registry().deregister(&mut SourceFd(&peer.as_raw_fd()));
        }
    }
}

impl Port for End {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        if !self.reads {
            return Rx::Drained;
        }
        self.line.writer.resume(&self.line.poll);
        self.coalescer.begin();
        let state = loop {
            if self.reading.is_none() {
                let arrived = self.line.arrived().take();
                self.reading = arrived.map(|peer| Reading { peer, frames: Reassembly::default() });
            }
            let Some(reading) = &mut self.reading else { break Rx::Drained };
            match End::read(&self.line, reading, &mut self.coalescer, batch, counters) {
                Some(state) => break state,
                None => self.end(),
            }
        };
        self.coalescer.finish(batch);
        state
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        self.line.writer.send(batch, frames, counters, &self.line.poll);
    }

    fn fd(&self) -> Option<RawFd> {
        self.reads.then(|| self.line.poll.as_raw_fd())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
    }
}
