//! The server with clients that keep to no rule.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::control::client::Client;

/// Answers with the request's name; `drops` with more than a socket holds; refuses the rest.
struct Fake;

impl Handler for Fake {
    fn handle(&self, request: Request, peer: Peer) -> Result<Response, String> {
        assert_eq!(peer.pid, std::process::id() as i32);
        match request {
            Request::Version {} => Ok(Value::from("fake").into()),
            Request::Drops {} => Ok(Value::from("x".repeat(4 << 20)).into()),
            Request::PortShow { name } => Ok(stream(name.is_some())),
            other => Err(format!("no {other:?} here")),
        }
    }
}

/// Three parts, and then an end or none; `OPEN` is how many are not ended.
fn stream(ends: bool) -> Response {
    struct Open;
    impl Drop for Open {
        fn drop(&mut self) {
            OPEN.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (parts, to) = crossbeam_channel::bounded(3);
    (0..3).for_each(|n| parts.send(vec![b'a' + n; 2]).unwrap());
    OPEN.fetch_add(1, Ordering::SeqCst);
    let source: Box<dyn Send> = if ends { Box::new(Open) } else { Box::new((Open, parts)) };
    Response { value: "begins".into(), stream: Some(Stream { parts: to, source }) }
}

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A server in a directory of its own, which is gone with it.
struct Fixture {
    server: Option<Server>,
    directory: PathBuf,
}

impl Fixture {
    fn new(name: &str, patience: Duration) -> Fixture {
        let directory = std::env::temp_dir().join(format!("tapyard-{name}-{}", std::process::id()));
        let path = directory.join("below/control.sock");
        let server =
            Server::start_with(ControlSocket::bind(&path).unwrap(), Arc::new(Fake), patience).unwrap();
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
    let refusal = Client::connect(&fixture.path()).unwrap().call::<String>(&Request::Version {}).unwrap_err();
    assert!(refusal.contains("64 connections are open"), "{refusal}");
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
    // The last of them may be in the socket's backlog still, and be taken in only now.
    let end = Instant::now() + PATIENCE;
    while fixture.say(VERSION) != "{\"ok\":\"fake\"}\n" {
        assert!(Instant::now() < end, "the server never came round");
    }
    fixture.assert_all_given_up();
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
    let start = |path: &Path| ControlSocket::bind(path).map(|socket| socket.path().to_owned());
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

#[test]
fn a_stream_follows_its_answer_until_either_side_has_had_enough() {
    let fixture = Fixture::new("stream", PATIENCE);
    let client = || Client::connect(&fixture.path()).unwrap();
    let ask = |name: Option<&str>| Request::PortShow { name: name.map(str::to_owned) };
    let (value, mut stream) = client().stream::<String>(&ask(Some("ends"))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((&value[..], &text[..]), ("begins", "aabbcc"), "the switch ends it");

    let (_, mut stream) = client().stream::<String>(&ask(None)).unwrap();
    let mut parts = [0; 6];
    stream.read_exact(&mut parts).unwrap();
    assert_eq!((&parts, OPEN.load(Ordering::SeqCst)), (b"aabbcc", 1));
    drop(stream);
    fixture.assert_all_given_up();
    assert_eq!(OPEN.load(Ordering::SeqCst), 0, "the client has ended it");

    // Who ends its half at once is given what there is, and that is the end.
    let (_, mut stream) = client().stream::<String>(&ask(None)).unwrap();
    stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((&text[..], OPEN.load(Ordering::SeqCst)), ("aabbcc", 0));
}
