//! The server with clients of every kind.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;

/// Has a page `/`, one that is long, and one that is never there.
struct Fake;

impl Pages for Fake {
    fn get(&self, request: &Request) -> Response {
        match request.path() {
            "/" => Response::ok("text/plain", "front"),
            "/long" => Response::ok("text/plain", "x".repeat(8 << 20)),
            _ => Response::error(Status::NOT_FOUND, "no such page"),
        }
    }
}

fn start(patience: Duration) -> Server {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    Server::start_with(listener, vec!["known.example".into()], Arc::new(Fake), patience).unwrap()
}

/// A connection whose reads fail the test rather than hang it.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What the server says, until it closes, to a client that sends just this.
fn say(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may refuse before all is sent.
    let _ = stream.write_all(request);
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(server: &Server, path: &str, host: &str) -> String {
    say(server, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

fn assert_answers(server: &Server) {
    assert!(get(server, "/", "localhost").ends_with("\r\n\r\nfront"));
}

#[test]
fn a_page_comes_with_what_keeps_browsers_from_mischief() {
    let server = start(PATIENCE);
    let answer = get(&server, "/", "127.0.0.1:9477");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "front");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for field in [
        "Content-Type: text/plain",
        "Content-Length: 5",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "Cache-Control: no-store",
        "Connection: close",
    ] {
        assert!(head.lines().any(|line| line == field), "{field}: {head}");
    }
    let head_only = say(&server, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(head_only, format!("{head}\r\n\r\n"));
    assert!(get(&server, "/long", "localhost").ends_with(&"x".repeat(8 << 20)));
}

#[test]
fn nothing_but_looking_is_answered() {
    let server = start(PATIENCE);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get"] {
        let answer =
            say(&server, format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    }
    for (request, status) in [
        ("GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
    ] {
        let answer = say(&server, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    // What does not fit is refused although the client goes on sending, and the answer gets through.
    let flood = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(60_000));
    assert!(say(&server, flood.as_bytes()).starts_with("HTTP/1.1 431 "));
    let flood = format!("GET /{}", "y".repeat(60_000));
    assert!(say(&server, flood.as_bytes()).starts_with("HTTP/1.1 414 "));
}

#[test]
fn a_name_that_nobody_configured_may_not_ask() {
    let server = start(PATIENCE);
    let status = |host| get(&server, "/", host).split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(status("evil.example"), "421");
    assert_eq!(status("known.example:80"), "200");
    server.allow(vec!["evil.example".into()]);
    assert_eq!(status("evil.example"), "200");
    assert_eq!(status("known.example"), "421");
}

#[test]
fn the_slow_are_let_go() {
    let server = start(Duration::from_millis(100));
    let mut silent = connect(&server);
    assert_eq!(read_all(&mut silent), "");
    let mut half = connect(&server);
    half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(read_all(&mut half).starts_with("HTTP/1.1 408 "));
    // It takes nothing of an answer that is longer than sockets hold.
    let mut deaf = connect(&server);
    deaf.write_all(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_until_none_is_open(&server);
    assert_answers(&server);
}

#[test]
fn when_too_many_connect_the_oldest_make_room() {
    let server = start(Duration::from_secs(60));
    let mut slow: Vec<_> = (0..3 * MAX_CONNECTIONS).map(|_| connect(&server)).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET / HT");
    }
    for _ in 0..3 {
        assert_answers(&server);
    }
    assert!(server.shared.open().len() <= MAX_THREADS);
    assert_eq!(read_all(&mut slow[0]), "", "the first had to go");
    drop(slow);
    wait_until_none_is_open(&server);
}

#[test]
fn its_end_is_the_end_of_its_connections_and_frees_the_address() {
    let server = start(Duration::from_secs(60));
    let address = server.address();
    let mut open = connect(&server);
    open.write_all(b"GET /").unwrap();
    assert_answers(&server);
    drop(server);
    assert_eq!(read_all(&mut open), "");
    drop(TcpListener::bind(address).unwrap());
    assert!(TcpStream::connect(address).is_err());
}

fn wait_until_none_is_open(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !server.shared.open().is_empty() {
        assert!(Instant::now() < deadline, "connections stay open");
        thread::sleep(Duration::from_millis(5));
    }
}
