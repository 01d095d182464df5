//! A small HTTP/1.1 server that only shows: a request in, a page out, a thread for each connection.
//!
//! It is for a Prometheus server and a browser on the same machine, and stands whatever else may connect: a request has a
//! bounded head and no body, has to be complete, and its answer taken, within [`PATIENCE`], and one connection carries one
//! request. When there are too many connections, the oldest makes room: an honest one is answered within milliseconds.
//!
//! Nobody is asked who he is, so a page on the web that somebody here looks at must not be able to ask in his place. A
//! request by a name that nobody has configured is refused (a name on the web can be made to lead here, an address cannot),
//! and so is what a browser says to come from another site.

mod host;
mod request;
mod response;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::deadline::remaining;
pub use request::{MAX_HEAD, MAX_TARGET, Request};
pub use response::{Body, Response, Status};

/// The most connections before the oldest makes room.
pub const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request, and to take its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most threads: those of connections that made room may take a moment to end.
const MAX_THREADS: usize = 2 * MAX_CONNECTIONS;
/// How long who connects waits for these rather than being turned away, at most.
const ENDING: Duration = Duration::from_secs(1);
/// What is read of a client that goes on sending after its answer, in bytes.
const MAX_LINGER: usize = 64 * 1024;

/// What there is to see; asked by several threads at a time.
pub trait Pages: Send + Sync {
    /// What a GET is answered with. A HEAD is answered with the head of that.
    fn get(&self, request: &Request) -> Response;
}

/// A listener that answers. Dropping it ends all connections.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Server {
    /// Answers on `listener` with `pages`. It may be asked by address, as `localhost`, and by the names of `hosts`.
    ///
    /// # Errors
    /// The socket is none to accept from, or no thread can be had for it.
    pub fn start(listener: TcpListener, hosts: Vec<String>, pages: Arc<dyn Pages>) -> io::Result<Server> {
        Server::start_with(listener, hosts, pages, PATIENCE)
    }

    fn start_with(
        listener: TcpListener,
        hosts: Vec<String>,
        pages: Arc<dyn Pages>,
        patience: Duration,
    ) -> io::Result<Server> {
        let (accepting, address) = (listener.try_clone()?, listener.local_addr()?);
        let shared =
            Arc::new(Shared { pages, patience, hosts: Mutex::new(hosts), open: Mutex::new(BTreeMap::new()) });
        let answering = Arc::clone(&shared);
        let acceptor =
            thread::Builder::new().name("http".into()).spawn(move || accept(&accepting, &answering))?;
        Ok(Server { listener, address, acceptor: Some(acceptor), shared })
    }

    /// Where it listens: also when the kernel chose the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes other names that it may be asked by, from the next request on.
    pub fn allow(&self, hosts: Vec<String>) {
        *self.shared.hosts() = hosts;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Refuses connections from now on, and wakes who waits for one, with EINVAL.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.shared.open().values_mut().for_each(Connection::end);
    }
}

/// What all connections share.
struct Shared {
    pages: Arc<dyn Pages>,
    patience: Duration,
    hosts: Mutex<Vec<String>>,
    /// By number: the oldest is the first.
    open: Mutex<BTreeMap<u64, Connection>>,
}

impl Shared {
    // Both are whole whatever thread has panicked.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<String>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose thread runs.
struct Connection {
    stream: TcpStream,
    ended: bool,
}

impl Connection {
    /// Has its thread end, at the next byte that it waits for.
    fn end(&mut self) {
        if !mem::replace(&mut self.ended, true) {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Takes connections in until the listener is shut down.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for id in 0.. {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = take_in(id, stream, shared) {
                    tracing::debug!(%error, "an HTTP connection was lost");
                }
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            // Who connected is gone again.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors, most likely: trying again at once would spin.
                tracing::warn!(%error, "the HTTP listener cannot accept");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Starts a thread for a connection; the oldest makes room when there are too many.
fn take_in(id: u64, stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut open = shared.open();
    let deadline = Instant::now() + ENDING;
    while open.len() >= MAX_THREADS && Instant::now() < deadline {
        drop(open);
        thread::sleep(Duration::from_millis(1));
        open = shared.open();
    }
    if open.len() >= MAX_THREADS {
        return Err(io::Error::other("too many threads still end"));
    }
    let live = open.values().filter(|connection| !connection.ended).count();
    if live >= MAX_CONNECTIONS
        && let Some(oldest) = open.values_mut().find(|connection| !connection.ended)
    {
        oldest.end();
    }
    open.insert(id, Connection { stream: stream.try_clone()?, ended: false });
    drop(open);
    let registration = Registration { id, shared: Arc::clone(shared) };
    thread::Builder::new().name("http-client".into()).spawn(move || {
        // What ends a connection is its client's business: gone, or too slow.
        if let Err(error) = converse(stream, &registration.shared) {
            tracing::debug!(%error, "an HTTP connection ended");
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

/// Answers the one request of a connection.
fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let heard = request::read(&mut stream, Instant::now() + shared.patience)?;
    let (response, is_head) = match heard {
        request::Heard::Nothing => return Ok(()),
        request::Heard::Bad(status, why) => (Response::error(status, why), false),
        request::Heard::Request(request) => (answer(&request, shared), request.is_head()),
    };
    response.send(&mut stream, is_head, Instant::now() + shared.patience)?;
    linger(&mut stream, Instant::now() + shared.patience)
}

fn answer(request: &Request, shared: &Shared) -> Response {
    if !request.is_read() {
        return Response::error(Status::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    }
    if let Some(host) = request.host()
        && !host::may_ask(host, &shared.hosts())
    {
        let why = "this name is none that the switch is known by: ask by address, or add it to metrics-hosts";
        return Response::error(Status::MISDIRECTED, why);
    }
    if request.is_cross_site() {
        return Response::error(Status::FORBIDDEN, "other sites may not ask here");
    }
    shared.pages.get(request)
}

/// Waits until the client has ended, too: closing while it still sends would take its answer away from it.
fn linger(stream: &mut TcpStream, deadline: Instant) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let (mut chunk, mut seen) = ([0; 4096], 0);
    while seen < MAX_LINGER {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            read => seen += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
