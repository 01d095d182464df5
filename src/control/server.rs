//! The control socket: a line in, a line out, a thread for each connection. A few requests are answered with a stream that
//! follows the line out, until either side has had enough.
//!
//! Nothing a client does reaches the workers except through the [`Handler`], and none can hold a thread for longer than
//! its patience: a request's line has to be complete, and its answer taken, within that time. Connections are few
//! (commands, a monitor), so blocking threads are the simplest thing that is right; how many is bounded.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;

use super::api::{Answer, Request};
use super::deadline::{remaining, send, timed_out};
use super::log::ASKED;
use super::socket::ControlSocket;
use super::watching::MAX_WATCHES;
pub use crate::sys::peer::Peer;

/// The longest line of a request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The most connections at a time: captures and traces keep theirs, and as many as there may be of these leave room to ask.
pub const MAX_CONNECTIONS: usize = 2 * MAX_WATCHES;
/// How long a client may take to send a request, and to take its answer, or a part of a stream.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the client of a stream is still there, when there is nothing to send.
const PULSE: Duration = Duration::from_millis(200);

/// What answers requests; called by several threads at a time.
pub trait Handler: Send + Sync {
    /// Does what `request` asks for. An error says in one line why nothing was done.
    fn handle(&self, request: Request, peer: Peer) -> Result<Response, String>;
}

/// What a request is answered with.
pub struct Response {
    /// The answer.
    pub value: Value,
    /// What follows it on the connection, which ends with it.
    pub stream: Option<Stream>,
}

impl From<Value> for Response {
    fn from(value: Value) -> Response {
        Response { value, stream: None }
    }
}

/// Bytes that go on to come, until whoever makes them, or the client, has had enough.
pub struct Stream {
    /// The bytes, in parts. Bounded, since a client may be slow: whoever makes them must not wait for it.
    pub parts: Receiver<Vec<u8>>,
    /// Dropped when the client is gone or has had enough: what makes the bytes ends by it, after the last of them.
    pub source: Box<dyn Send>,
}

/// A control socket that answers. Dropping it ends all connections and removes the socket.
pub struct Server {
    socket: ControlSocket,
    acceptor: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Server {
    /// Answers on `socket`, also those who have connected before.
    ///
    /// # Errors
    /// In one line, when no thread can be had for it.
    pub fn start(socket: ControlSocket, handler: Arc<dyn Handler>) -> Result<Server, String> {
        Server::start_with(socket, handler, PATIENCE)
    }

    fn start_with(
        socket: ControlSocket,
        handler: Arc<dyn Handler>,
        patience: Duration,
    ) -> Result<Server, String> {
        let cannot =
            |error: io::Error| format!("control socket {}: cannot answer: {error}", socket.path().display());
        let shared = Arc::new(Shared { handler, patience, open: Mutex::default() });
        let (accepting, answering) = (socket.listener().map_err(cannot)?, Arc::clone(&shared));
        let acceptor = thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&accepting, &answering))
            .map_err(cannot)?;
        Ok(Server { socket, acceptor: Some(acceptor), shared })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.socket.close();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in mem::take(&mut *self.shared.open()).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What all connections share.
struct Shared {
    handler: Arc<dyn Handler>,
    patience: Duration,
    open: Mutex<BTreeMap<u64, UnixStream>>,
}

impl Shared {
    /// The open connections. A map of sockets is whole whatever thread has panicked.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, UnixStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections in until the listener is shut down.
fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for id in 0.. {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = take_in(id, stream, shared) {
                    tracing::warn!(%error, "a control connection was lost");
                }
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(error) => {
                // Out of descriptors, most likely: trying again at once would spin.
                tracing::warn!(%error, "the control socket cannot accept");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Starts a thread for a connection, or refuses it when there are too many.
fn take_in(id: u64, mut stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut open = shared.open();
    if open.len() >= MAX_CONNECTIONS {
        drop(open);
        stream.set_nonblocking(true)?;
        let refusal = format!("{MAX_CONNECTIONS} connections are open, which is the most (try again later)");
        return stream.write_all(&line(&Answer::Error(refusal)));
    }
    open.insert(id, stream.try_clone()?);
    drop(open);
    let registration = Registration { id, shared: Arc::clone(shared) };
    thread::Builder::new().name("control-client".into()).spawn(move || {
        // What ends a connection is its client's business: gone, killed, or too slow.
        if let Err(error) = converse(&mut stream, &registration.shared) {
            tracing::debug!(%error, "a control connection ended");
        }
    })?;
    Ok(())
}

/// A connection's place among the open ones, given up however its thread ends.
struct Registration {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
    }
}

/// Answers the requests of one connection until its client is done.
fn converse(stream: &mut UnixStream, shared: &Shared) -> io::Result<()> {
    let peer = crate::sys::peer::peer(stream)?;
    let mut buffer = Vec::new();
    loop {
        let request = match next_line(stream, &mut buffer, shared.patience)? {
            Line::Whole(request) => request,
            Line::End => return Ok(()),
            Line::Bad(why) => {
                return send(stream, &line(&Answer::Error(why)), Instant::now() + shared.patience);
            }
        };
        let (answer, follows) = answer(&request, peer, shared);
        send(stream, &line(&answer), Instant::now() + shared.patience)?;
        if let Some(follows) = follows {
            return pour(stream, follows, shared.patience);
        }
    }
}

/// Passes a stream on until it ends. A client ends it by closing the connection, its half of it, or by saying anything
/// more; if it still reads, it gets what there was until then.
fn pour(stream: &mut UnixStream, follows: Stream, patience: Duration) -> io::Result<()> {
    let Stream { parts, source } = follows;
    while !said_something(stream)? {
        match parts.recv_timeout(PULSE) {
            Ok(part) => send(stream, &part, Instant::now() + patience)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    drop(source);
    while let Ok(part) = parts.recv_timeout(patience) {
        send(stream, &part, Instant::now() + patience)?;
    }
    Ok(())
}

/// Whether a client has said something, or has left.
fn said_something(stream: &mut UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let said = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false)?;
    match said {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}

fn answer(request: &[u8], peer: Peer, shared: &Shared) -> (Answer, Option<Stream>) {
    let request: Request = match serde_json::from_slice(request) {
        Ok(request) => request,
        Err(error) => return (Answer::Error(format!("not a request: {error}")), None),
    };
    let noted = request.changes().then(|| serde_json::to_string(&request).unwrap_or_default());
    let result = shared.handler.handle(request, peer);
    if let Some(request) = noted {
        let result = result.as_ref().map_or_else(String::as_str, |_| "done");
        tracing::info!(target: ASKED, uid = peer.uid, gid = peer.gid, pid = peer.pid, request, result, "control");
    }
    match result {
        Ok(Response { value, stream }) => (Answer::Ok(value), stream),
        Err(why) => (Answer::Error(why), None),
    }
}

/// An answer as a line of JSON.
fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer)
        .unwrap_or_else(|error| format!("{{\"error\":\"the answer is no JSON: {error:?}\"}}").into_bytes());
    line.push(b'\n');
    line
}

/// What came next on a connection.
enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// Nothing: the client is gone, or has nothing more to ask.
    End,
    /// Something that can be no request.
    Bad(String),
}

/// Reads a line; `buffer` holds what came after the one before.
fn next_line(stream: &mut UnixStream, buffer: &mut Vec<u8>, patience: Duration) -> io::Result<Line> {
    let deadline = Instant::now() + patience;
    let mut chunk = [0; 4096];
    let mut seen = 0;
    loop {
        if let Some(end) = buffer[seen..].iter().position(|&b| b == b'\n').map(|at| seen + at) {
            let rest = buffer.split_off(end + 1);
            let mut line = mem::replace(buffer, rest);
            line.pop();
            return Ok(if line.len() > MAX_REQUEST { too_long() } else { Line::Whole(line) });
        }
        if buffer.len() > MAX_REQUEST {
            return Ok(too_long());
        }
        seen = buffer.len();
        match remaining(deadline).and_then(|left| {
            stream.set_read_timeout(Some(left))?;
            stream.read(&mut chunk)
        }) {
            Ok(0) if buffer.is_empty() => return Ok(Line::End),
            Ok(0) => return Ok(Line::Bad("the request ended before its line did".into())),
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if timed_out(&error) && buffer.is_empty() => return Ok(Line::End),
            Err(error) if timed_out(&error) => {
                return Ok(Line::Bad(format!("the request's line did not end within {patience:?}")));
            }
            Err(error) => return Err(error),
        }
    }
}

fn too_long() -> Line {
    Line::Bad(format!("the request is longer than {MAX_REQUEST} bytes"))
}

#[cfg(test)]
mod tests;
