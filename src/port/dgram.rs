//! Ports on a unix socket of datagrams, as QEMU's `-netdev dgram` has it: each datagram is a frame. Nothing can be left
//! undone on a frame.
//!
//! One socket, which one worker reads and all send from. Nobody connects: a guest is there when its own socket is, which
//! is looked for again and again; or, where the configuration names none, when it has sent something from a socket with a
//! name. It has left when a send says so. Who may send to the port is who may write to its socket in the file system,
//! and nobody else is asked: a guest may call its socket something else than we do, in another directory or container.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockRef, Type};

use super::guest::{Attached, Guest, GuestOptions, News, Place};
use super::stream::reader;
use super::{Opened, Port, PortError, Queue, Rx};
use crate::packet::coalesce::Coalescer;
use crate::packet::{Batch, Capabilities, Counters, DropReason, Frame, MAX_BATCH_BYTES, Offload};
use crate::sys::mmsg::{MAX_MESSAGES, Messages};
use crate::wire::ethernet;

/// Bytes that the kernel keeps for a guest until it reads them, if it may be so many.
const SOCKET_BUFFER: usize = 4 << 20;

/// Fewest frames to ask for at once, however long they are.
const MIN_MESSAGES: usize = 4;

/// How often a guest that is not there is looked for, and how long after it has left it is not taken for back.
const RETRY: Duration = Duration::from_millis(200);

/// Makes the socket, with a queue for each of `workers`. Frames go to the socket at `peer`, or to who sent the last one.
///
/// # Errors
/// See [`PortError`].
pub fn open(
    options: &GuestOptions,
    peer: Option<&Path>,
    workers: usize,
    news: News,
) -> Result<Opened, PortError> {
    let path = &options.door.path;
    let failed = |error| PortError::system(&path.display().to_string(), "attend its socket", error);
    let (socket, place) = Place::take(&options.door, Type::DGRAM)?;
    let socket = UnixDatagram::from(OwnedFd::from(socket));
    socket.set_nonblocking(true).map_err(failed)?;
    // As much as this user may have.
    let _ = SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
    let to = peer.map(SockAddr::unix).transpose().map_err(failed)?;
    let line = Arc::new(Line {
        socket,
        _place: place,
        learns: to.is_none(),
        guest: Arc::new(Guest::new(&options.name, options.mtu, news)),
        state: Mutex::new(State { to: to.map(Arc::new), there: false, left: None, over: false }),
        changed: Condvar::new(),
    });
    let watch = peer.map(|_| Watch::start(&options.name, &line)).transpose().map_err(failed)?;
    let watch = watch.map(Arc::new);
    let workers = workers.max(1);
    let reader = reader(path, workers);
    let queue = |worker| {
        Queue::Port(Box::new(End {
            line: Arc::clone(&line),
            reads: worker == reader,
            messages: Messages::new(),
            coalescer: Coalescer::default(),
            ask: MAX_MESSAGES,
            _watch: watch.clone(),
        }))
    };
    Ok(Opened::at_socket((0..workers).map(queue).collect(), Arc::clone(&line.guest)))
}

/// What the queues of a port share.
struct Line {
    socket: UnixDatagram,
    _place: Place,
    /// Frames go to who sent last.
    learns: bool,
    guest: Arc<Guest>,
    state: Mutex<State>,
    /// The guest has left, or all is over.
    changed: Condvar,
}

struct State {
    /// The guest's socket.
    to: Option<Arc<SockAddr>>,
    /// The guest is there.
    there: bool,
    /// When it was last found to have left.
    left: Option<Instant>,
    over: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has sent something from `address`.
    fn heard(&self, address: SockAddr) {
        // A path that does not begin at the root begins where the sender is, and we are elsewhere.
        if address.as_abstract_namespace().is_none() && !address.as_pathname().is_some_and(Path::is_absolute)
        {
            return;
        }
        let mut state = self.lock();
        if state.there && state.to.as_deref() == Some(&address)
            || state.left.is_some_and(|left| left.elapsed() < RETRY)
        {
            return;
        }
        state.to = Some(Arc::new(address));
        self.enter(state);
    }

    fn enter(&self, mut state: MutexGuard<'_, State>) {
        state.there = true;
        drop(state);
        self.guest.set(Some(Attached { capabilities: Capabilities::NONE, queues: 1 }));
    }

    /// Nobody is at `address` any more.
    #[cold]
    fn lost(&self, address: &Arc<SockAddr>) {
        let mut state = self.lock();
        if !state.there || state.to.as_ref() != Some(address) {
            return;
        }
        (state.there, state.left) = (false, Some(Instant::now()));
        if self.learns {
            state.to = None;
        }
        drop(state);
        self.guest.set(None);
        self.changed.notify_all();
    }

    /// Where the guest is, if it is there.
    fn guest_address(&self) -> Option<Arc<SockAddr>> {
        let state = self.lock();
        state.to.clone().filter(|_| state.there)
    }

    /// Looks for the guest's socket for as long as it is not there, until all is over.
    fn watch(&self) {
        loop {
            let state = self.lock();
            let state = self.changed.wait_while(state, |state| state.there && !state.over);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            if state.over {
                return;
            }
            let found = state.to.as_deref().is_some_and(answers);
            if found {
                self.enter(state);
            } else {
                let _ = self.changed.wait_timeout_while(state, RETRY, |state| !state.over);
            }
        }
    }
}

/// Whether a socket is at `address` that somebody has open.
fn answers(address: &SockAddr) -> bool {
    let Ok(probe) = UnixDatagram::unbound() else { return false };
    SockRef::from(&probe).connect(address).is_ok()
}

/// The thread that looks for a guest. Dropping it ends it.
struct Watch {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(name: &str, line: &Arc<Line>) -> io::Result<Watch> {
        let watched = Arc::clone(line);
        let name = name.chars().take(15).collect();
        let thread = thread::Builder::new().name(name).spawn(move || watched.watch())?;
        Ok(Watch { line: Arc::clone(line), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.line.lock().over = true;
        self.line.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One worker's queue.
struct End {
    line: Arc<Line>,
    /// It is the one that reads.
    reads: bool,
    messages: Box<Messages>,
    coalescer: Coalescer,
    /// Frames to ask for next, so that a batch of those that came last would fit the cache.
    ask: usize,
    _watch: Option<Arc<Watch>>,
}

impl Port for End {
    fn rx(&mut self, batch: &mut Batch, counters: &mut Counters) -> Rx {
        if !self.reads {
            return Rx::Drained;
        }
        let spare = batch.spare();
        let asked = spare.len().min(self.ask);
        let mut free = spare.iter_mut();
        let mut areas: [IoSliceMut<'_>; MAX_MESSAGES] =
            array::from_fn(|_| IoSliceMut::new(free.next().map_or(&mut [], |frame| frame.receive_area(0))));
        let socket = self.line.socket.as_fd();
        let received = match self.line.learns {
            true => self.messages.receive_from(socket, &mut areas[..asked]),
            false => self.messages.receive(socket, &mut areas[..asked]).map(|count| (count, None)),
        };
        let Ok((received, from)) = received else { return Rx::Drained };
        let (mut taken, mut longest) = (0, 1);
        for i in 0..received {
            let len = self.messages.len_of(i);
            longest = longest.max(len);
            match accept(len, &mut batch.spare()[i]) {
                Ok(()) => {
                    batch.swap_spare(taken, i);
                    taken += 1;
                }
                Err(reason) => counters.discard(reason, len),
            }
        }
        batch.commit(taken);
        self.ask = (MAX_BATCH_BYTES / longest).clamp(MIN_MESSAGES, MAX_MESSAGES);
        if let Some(from) = from {
            self.line.heard(from);
        }
        self.coalescer.gather(batch, self.line.guest.mtu);
        if received < asked { Rx::Drained } else { Rx::More }
    }

    fn tx(&mut self, batch: &mut Batch, frames: &[u32], counters: &mut Counters) {
        let Some(to) = self.line.guest_address() else {
            return frames.iter().for_each(|_| counters.drop(DropReason::NotAttached));
        };
        let all = batch.frames();
        let mut rest = frames;
        while !rest.is_empty() {
            let now = &rest[..rest.len().min(MAX_MESSAGES)];
            let datagrams: [_; MAX_MESSAGES] = array::from_fn(|i| {
                IoSlice::new(now.get(i).map_or(&[][..], |&frame| all[frame as usize].bytes()))
            });
            let socket = self.line.socket.as_fd();
            let error = match self.messages.send_to(socket, Some(&to), &datagrams[..now.len()]) {
                Ok(sent) => {
                    datagrams[..sent].iter().for_each(|frame| counters.sent(frame.len()));
                    rest = &rest[sent..];
                    continue;
                }
                Err(error) => error,
            };
            let all_the_rest = match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::QueueFull,
                // Nobody is at its socket, or no socket is there, or one of another type.
                Some(libc::ECONNREFUSED | libc::ENOENT | libc::ENOTDIR | libc::EPROTOTYPE) => {
                    self.line.lost(&to);
                    DropReason::NotAttached
                }
                Some(libc::EMSGSIZE) => {
                    counters.drop(DropReason::ExceedsMtu);
                    rest = &rest[1..];
                    continue;
                }
                _ => DropReason::Refused,
            };
            return rest.iter().for_each(|_| counters.drop(all_the_rest));
        }
    }

    fn fd(&self) -> Option<RawFd> {
        self.reads.then(|| self.line.socket.as_raw_fd())
    }
}

/// Takes in a datagram of `len` bytes, which is in the receive area of `frame`.
#[inline]
fn accept(len: usize, frame: &mut Frame) -> Result<(), DropReason> {
    if len < ethernet::HEADER_LEN {
        return Err(DropReason::Runt);
    }
    frame.received(len, Offload::NONE)
}
