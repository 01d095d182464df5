//! The control socket: a line in, a line out, a thread for each connection.
//!
//! Nothing a client does reaches the workers except through the [`Handler`], and none can hold a thread for longer than
//! its patience: a request's line has to be complete, and its answer taken, within that time. Connections are few
//! (commands, a monitor), so blocking threads are the simplest thing that is right; how many is bounded.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, mem};

use super::api::{Answer, Request};
pub use crate::sys::peer::Peer;

/// The longest line of a request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request, and to take its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What answers requests; called by several threads at a time.
pub trait Handler: Send + Sync {
    /// Does what `request` asks for. An error says in one line why nothing was done.
    fn handle(&self, request: Request, peer: Peer) -> Result<serde_json::Value, String>;
}

/// A control socket that answers. Dropping it ends all connections and removes the socket.
pub struct Server {
    path: PathBuf,
    inode: (u64, u64),
    listener: Option<UnixListener>,
    acceptor: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Server {
    /// Makes the socket at `path`, with its directory, and answers on it.
    ///
    /// A socket left behind by a process that is gone is replaced. Errors, in one line with the remedy, when something
    /// else is there, or somebody answers on it, or it cannot be made.
    pub fn start(path: &Path, handler: Arc<dyn Handler>) -> Result<Server, String> {
        Server::start_with(path, handler, PATIENCE)
    }

    fn start_with(path: &Path, handler: Arc<dyn Handler>, patience: Duration) -> Result<Server, String> {
        make_way(path)?;
        let cannot = |error: io::Error| format!("control socket {}: cannot be made: {error}", path.display());
        let listener = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(cannot)?;
        let metadata = fs::metadata(path).map_err(cannot)?;
        let shared = Arc::new(Shared { handler, patience, open: Mutex::default() });
        let (accepting, answering) = (listener.try_clone().map_err(cannot)?, Arc::clone(&shared));
        let acceptor = thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&accepting, &answering))
            .map_err(cannot)?;
        Ok(Server {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
            listener: Some(listener),
            acceptor: Some(acceptor),
            shared,
        })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
        // Shutting a listening socket down wakes the thread that waits in accept.
        if let Some(listener) = self.listener.take() {
            let _ = UnixStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
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

/// Makes the directory of `path` and removes a socket that nobody listens on any more.
fn make_way(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        let cannot = |e| format!("control socket {shown}: cannot make {}: {e}", directory.display());
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("control socket {shown}: {error}")),
    };
    if !found.file_type().is_socket() {
        return Err(format!(
            "control socket {shown}: something else is there (remove it, or set [switch] control)"
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!(
            "control socket {shown}: another tapyard answers on it (stop it, or set [switch] control)"
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| format!("control socket {shown}: cannot be replaced: {e}"))
        }
        Err(error) => Err(format!("control socket {shown}: may be in use: {error} (set [switch] control)")),
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
            Line::Bad(why) => return send(stream, &line(&Answer::Error(why)), shared.patience),
        };
        let answer = answer(&request, peer, shared);
        send(stream, &line(&answer), shared.patience)?;
    }
}

fn answer(request: &[u8], peer: Peer, shared: &Shared) -> Answer {
    let request: Request = match serde_json::from_slice(request) {
        Ok(request) => request,
        Err(error) => return Answer::Error(format!("not a request: {error}")),
    };
    let noted = request.changes().then(|| format!("{request:?}"));
    let result = shared.handler.handle(request, peer);
    if let Some(request) = noted {
        let result = result.as_ref().map_or_else(String::as_str, |_| "done");
        tracing::info!(uid = peer.uid, gid = peer.gid, pid = peer.pid, request, result, "control");
    }
    match result {
        Ok(value) => Answer::Ok(value),
        Err(why) => Answer::Error(why),
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

/// Writes all of `bytes`, within `patience` altogether.
fn send(stream: &mut UnixStream, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time until `deadline`, never zero, which a socket would take for "wait for ever".
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::Client;

    /// Answers with the request's name; `drops` with more than a socket holds; refuses the rest.
    struct Fake;

    impl Handler for Fake {
        fn handle(&self, request: Request, peer: Peer) -> Result<serde_json::Value, String> {
            assert_eq!(peer.pid, std::process::id() as i32);
            match request {
                Request::Version {} => Ok("fake".into()),
                Request::Drops {} => Ok("x".repeat(4 << 20).into()),
                other => Err(format!("no {other:?} here")),
            }
        }
    }

    /// A server in a directory of its own, which is gone with it.
    struct Fixture {
        server: Option<Server>,
        directory: PathBuf,
    }

    impl Fixture {
        fn new(name: &str, patience: Duration) -> Fixture {
            let directory = std::env::temp_dir().join(format!("tapyard-{name}-{}", std::process::id()));
            let path = directory.join("below/control.sock");
            let server = Server::start_with(&path, Arc::new(Fake), patience).unwrap();
            Fixture { server: Some(server), directory }
        }

        fn path(&self) -> PathBuf {
            self.directory.join("below/control.sock")
        }

        /// A connection whose reads fail the test rather than hang it.
        fn connect(&self) -> UnixStream {
            let stream = UnixStream::connect(self.path()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        }

        /// What the server says, until it closes, to a client that sends just this.
        fn say(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect();
            // The server may refuse and close before all is sent.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            read_all(&mut stream)
        }

        fn assert_answers(&self) {
            assert_eq!(self.say(VERSION), "{\"ok\":\"fake\"}\n");
        }

        /// Waits until no connection is open.
        fn assert_all_given_up(&self) {
            let shared = &self.server.as_ref().unwrap().shared;
            let deadline = Instant::now() + Duration::from_secs(30);
            while !shared.open().is_empty() {
                assert!(Instant::now() < deadline, "connections are still held");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            self.server.take();
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    /// What is read until the end; a reset counts as the end.
    fn read_all(stream: &mut UnixStream) -> String {
        let (mut text, mut chunk) = (Vec::new(), [0; 65536]);
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => text.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the server neither answered nor closed: {error}"),
            }
        }
        String::from_utf8(text).unwrap()
    }

    const VERSION: &[u8] = b"{\"request\":\"version\"}\n";
    const SHORT: Duration = Duration::from_millis(500);

    #[test]
    fn a_client_is_answered_line_by_line() {
        let fixture = Fixture::new("lines", PATIENCE);
        let mode = fs::metadata(fixture.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let answers = fixture.say(&[VERSION, b"{\"request\":\"stats\"}\n", VERSION].concat());
        assert_eq!(answers, "{\"ok\":\"fake\"}\n{\"error\":\"no Stats here\"}\n{\"ok\":\"fake\"}\n");

        let mut client = Client::connect(&fixture.path()).unwrap();
        assert_eq!(client.call::<String>(&Request::Version {}), Ok("fake".into()));
        assert_eq!(client.call::<String>(&Request::Reload {}), Err("no Reload here".into()));
        let wrong = client.call::<u32>(&Request::Version {}).unwrap_err();
        assert!(wrong.contains("another version"), "{wrong}");
    }

    #[test]
    fn what_is_no_request_is_refused_and_the_connection_goes_on() {
        let fixture = Fixture::new("malformed", PATIENCE);
        for bad in
            [&b"\n"[..], b"hello\n", b"\xff\xfe\x00\n", b"{}\n", b"[[[[\n", b"{\"request\":\"port-add\"}\n"]
        {
            let answers = fixture.say(&[bad, VERSION].concat());
            let (refusal, rest) = answers.split_once('\n').unwrap();
            assert!(refusal.starts_with("{\"error\":\"not a request: "), "{refusal}");
            assert_eq!(rest, "{\"ok\":\"fake\"}\n");
        }
        let deep = [b"{\"request\":".repeat(5000), b"\n".to_vec()].concat();
        assert!(fixture.say(&deep).starts_with("{\"error\":"));
    }

    #[test]
    fn an_oversized_request_is_refused_before_it_is_whole() {
        let fixture = Fixture::new("oversized", PATIENCE);
        for bytes in [vec![b'x'; MAX_REQUEST + 1], [vec![b' '; 20 * MAX_REQUEST], b"\n".to_vec()].concat()] {
            assert_eq!(fixture.say(&bytes), "{\"error\":\"the request is longer than 65536 bytes\"}\n");
        }
        let padded = [vec![b' '; MAX_REQUEST - VERSION.len()], VERSION.to_vec()].concat();
        assert_eq!(fixture.say(&padded), "{\"ok\":\"fake\"}\n");
    }

    #[test]
    fn a_half_sent_request_is_refused() {
        let fixture = Fixture::new("half", SHORT);
        assert!(fixture.say(b"{\"request\":").contains("ended before its line did"));
        let mut stream = fixture.connect();
        stream.write_all(b"{\"request\":\"vers").unwrap();
        assert!(read_all(&mut stream).contains("did not end within 500ms"));
        let mut silent = fixture.connect();
        assert_eq!(read_all(&mut silent), "");
        fixture.assert_all_given_up();
    }

    #[test]
    fn a_client_that_sends_drop_by_drop_is_given_up() {
        let fixture = Fixture::new("drops", SHORT);
        let mut stream = fixture.connect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while stream.write_all(b"x").is_ok() {
            assert!(Instant::now() < deadline, "every byte bought more time");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn clients_that_never_read_or_were_killed_are_given_up() {
        let fixture = Fixture::new("deaf", SHORT);
        let mut deaf: Vec<UnixStream> = (0..4).map(|_| fixture.connect()).collect();
        for stream in &mut deaf {
            stream.write_all(b"{\"request\":\"drops\"}\n").unwrap();
        }
        for request in [&b"{\"request\":\"drops\"}\n"[..], b"{\"request\""] {
            fixture.connect().write_all(request).unwrap();
        }
        fixture.assert_answers();
        fixture.assert_all_given_up();
        drop(deaf);
    }

    #[test]
    fn a_large_answer_arrives_whole() {
        let fixture = Fixture::new("large", PATIENCE);
        let mut client = Client::connect(&fixture.path()).unwrap();
        assert_eq!(client.call::<String>(&Request::Drops {}).unwrap().len(), 4 << 20);
    }

    #[test]
    fn one_connection_too_many_is_told_so() {
        let fixture = Fixture::new("many", PATIENCE);
        let mut open: Vec<Client> =
            (0..MAX_CONNECTIONS).map(|_| Client::connect(&fixture.path()).unwrap()).collect();
        for client in &mut open {
            client.call::<String>(&Request::Version {}).unwrap();
        }
        let refusal =
            Client::connect(&fixture.path()).unwrap().call::<String>(&Request::Version {}).unwrap_err();
        assert!(refusal.contains("32 connections are open"), "{refusal}");
        assert_eq!(open[0].call::<String>(&Request::Version {}), Ok("fake".into()));
        drop(open);
        fixture.assert_all_given_up();
        fixture.assert_answers();
    }

    #[test]
    fn a_thousand_connections_leave_nothing_behind_and_others_are_answered() {
        let fixture = Fixture::new("thousand", PATIENCE);
        let mut other = Client::connect(&fixture.path()).unwrap();
        for i in 0..1000 {
            let mut stream = fixture.connect();
            if i % 2 == 0 {
                let _ = stream.write_all(VERSION);
            }
            drop(stream);
            if i % 100 == 0 {
                assert_eq!(other.call::<String>(&Request::Version {}), Ok("fake".into()));
            }
        }
        drop(other);
        fixture.assert_all_given_up();
        fixture.assert_answers();
    }

    #[test]
    fn the_socket_goes_with_the_server_and_clients_are_let_go() {
        let mut fixture = Fixture::new("stop", PATIENCE);
        let mut stream = fixture.connect();
        stream.write_all(VERSION).unwrap();
        stream.read_exact(&mut [0; 14]).unwrap();
        fixture.server.take();
        assert_eq!(read_all(&mut stream), "");
        assert!(!fixture.path().exists());
        let error = Client::connect(&fixture.path()).err().unwrap();
        assert!(error.contains("is `tapyard run` running?"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let mut fixture = Fixture::new("stale", PATIENCE);
        let start = |path: &Path| Server::start(path, Arc::new(Fake)).map(|server| server.path().to_owned());
        let error = start(&fixture.path()).unwrap_err();
        assert!(error.contains("another tapyard answers on it (stop it"), "{error}");
        fixture.assert_answers();

        fixture.server.take();
        drop(UnixListener::bind(fixture.path()).unwrap());
        let error = Client::connect(&fixture.path()).err().unwrap();
        assert!(error.contains("nobody answers"), "{error}");
        assert_eq!(start(&fixture.path()), Ok(fixture.path()));

        fs::write(fixture.path(), "a file").unwrap();
        let error = start(&fixture.path()).unwrap_err();
        assert!(error.contains("something else is there"), "{error}");
        assert_eq!(fs::read_to_string(fixture.path()).unwrap(), "a file");
        let error = start(&fixture.path().join("x.sock")).unwrap_err();
        assert!(error.contains("cannot make"), "{error}");
    }
}
