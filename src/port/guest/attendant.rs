//! The thread that waits for a port's peers and serves them, one after the other.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::door::{Door, connect};
use crate::sys::hangup;
use crate::sys::peer::peek;

/// How long to wait before connecting again where nobody listens, and between two peers: one that comes and goes as fast
/// as it can is to keep nobody busy.
const RETRY: Duration = Duration::from_millis(200);

/// Peers that have gone before they were served and are passed over without a pause: a peer can make any number of them.
const MAX_GONE: usize = 256;

/// Waits at a door and serves who comes, on a thread of its own. Dropping it ends the peer's connection, and the thread.
pub struct Attendant {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

/// The end of an attendant, as whoever serves can see it.
struct Line {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    /// What the attendant waits at: the listening socket, or the connection.
    waits_at: Vec<UnixStream>,
}

impl Attendant {
    /// Starts the thread, which is called `name`. `serve` is given each peer, and has its connection end by returning; it
    /// has to return soon after the connection is shut down.
    ///
    /// # Errors
    /// No thread can be started, or no descriptor is left.
    pub fn start(
        name: &str,
        door: Door,
        mut serve: impl FnMut(UnixStream) + Send + 'static,
    ) -> io::Result<Attendant> {
        let line = Arc::new(Line { state: Mutex::default(), ended: Condvar::new() });
        if let Door::Listen(listener) = &door {
            line.lock().waits_at.push(listener.end()?);
        }
        let shared = Arc::clone(&line);
        let mut doubt = Doubt { port: name.to_owned(), told: None };
        let thread = thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || {
            let mut gone = 0;
            while let Some(peer) = shared.next(&door, &mut doubt) {
                // Guests that went before their turn came are not to keep the next one waiting for long.
                if gone < MAX_GONE && has_left(&peer) {
                    gone += 1;
                    continue;
                }
                gone = 0;
                if let Ok(connection) = peer.try_clone()
                    && shared.begin(connection)
                {
                    serve(peer);
                    shared.hang_up();
                }
                shared.pause();
            }
        })?;
        Ok(Attendant { line, thread: Some(thread) })
    }
}

/// Whether a peer has gone and left nothing that could be read.
fn has_left(peer: &UnixStream) -> bool {
    hangup::has_come(peer.as_fd()) && !matches!(peek(peer, &mut [0]), Ok(1))
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.over = true;
        for socket in &state.waits_at {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.line.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next peer; `None` at the end.
    fn next(&self, door: &Door, doubt: &mut Doubt) -> Option<UnixStream> {
        while !self.lock().over {
            let found = match door {
                Door::Listen(listener) => listener.accept(),
                Door::Connect(path) => {
                    let found = connect(path);
                    doubt.tell(path, found.as_ref().err());
                    found
                }
            };
            match found {
                Ok(peer) => return Some(peer),
                Err(_) => self.pause(),
            }
        }
        None
    }

    /// Notes the connection, to be shut down at the end; false when that has come.
    fn begin(&self, connection: UnixStream) -> bool {
        let mut state = self.lock();
        state.waits_at.push(connection);
        !state.over
    }

    /// Ends the connection that was begun last.
    fn hang_up(&self) {
        if let Some(connection) = self.lock().waits_at.pop() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Waits a while, or until the end.
    fn pause(&self) {
        let state = self.lock();
        let _ = self.ended.wait_timeout_while(state, RETRY, |state| !state.over);
    }
}

/// What keeps a port from its peer beside that nobody is there yet: told once, not at every attempt.
struct Doubt {
    port: String,
    told: Option<ErrorKind>,
}

impl Doubt {
    fn tell(&mut self, path: &Path, error: Option<&io::Error>) {
        let usual = [ErrorKind::NotFound, ErrorKind::ConnectionRefused, ErrorKind::WouldBlock];
        let error = error.filter(|error| !usual.contains(&error.kind()));
        if let Some(error) = error.filter(|error| self.told != Some(error.kind())) {
            let remedy = match error.kind() {
                ErrorKind::PermissionDenied => "let the switch use the socket and enter its directory",
                _ => "have a guest listen there, or name another path by connect",
            };
            tracing::warn!(
                port = self.port,
                "{}: cannot be connected to: {error}: {remedy}; it is tried on",
                path.display()
            );
        }
        self.told = error.map(io::Error::kind);
    }
}
