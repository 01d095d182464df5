//! Reading the head of a request, within bounds of length and time.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::Instant;

use httparse::{EMPTY_HEADER, Header};

use super::Status;
use crate::control::deadline::{remaining, timed_out};

/// The longest head of a request, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// The longest target of a request (its path and query), in bytes.
pub const MAX_TARGET: usize = 2048;
/// The most header fields.
const MAX_FIELDS: usize = 64;

/// A request, without its body, which nothing here has a use for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    method: String,
    path: String,
    query: String,
    host: Option<String>,
    cross_site: bool,
}

impl Request {
    /// A GET of this path and query.
    #[cfg(test)]
    pub(in crate::control) fn of(target: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request { method: "GET".into(), path: path.into(), query: query.into(), ..Request::default() }
    }

    /// The path as it was sent, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the query's parameter `name`, decoded; the first one when there are several.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }

    /// Whether it is a HEAD, which is answered without a body.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it only wants to see something.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// By what name it asks.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether a browser says that another site asks, other than by a link that somebody follows.
    pub(super) fn is_cross_site(&self) -> bool {
        self.cross_site
    }
}

/// What came on a connection.
pub(super) enum Heard {
    Request(Request),
    /// Nothing: the client is gone, or has waited to no end.
    Nothing,
    /// Something that is answered with this status and these words.
    Bad(Status, &'static str),
}

/// Reads the head of a request.
pub(super) fn read(stream: &mut TcpStream, deadline: Instant) -> io::Result<Heard> {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match remaining(deadline).and_then(|left| {
            stream.set_read_timeout(Some(left))?;
            stream.read(&mut chunk)
        }) {
            Ok(0) if head.is_empty() => return Ok(Heard::Nothing),
            Ok(0) => return Ok(Heard::Bad(Status::BAD_REQUEST, "the request ended before its head did")),
            Ok(read) => head.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if timed_out(&error) && head.is_empty() => return Ok(Heard::Nothing),
            Err(error) if timed_out(&error) => {
                return Ok(Heard::Bad(Status::TIMEOUT, "the request was too slow"));
            }
            Err(error) => return Err(error),
        }
        if let Some(heard) = parse(&head) {
            return Ok(heard);
        }
    }
}

/// What `head` is; `None` when it may become a request by what still comes.
pub(super) fn parse(head: &[u8]) -> Option<Heard> {
    let line = head.iter().position(|&byte| byte == b'\n');
    if line.unwrap_or(head.len()) > MAX_TARGET + 64 {
        return Some(Heard::Bad(Status::URI_TOO_LONG, "the target is too long"));
    }
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let bad = |status, why| Some(Heard::Bad(status, why));
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => Some(match understand(&request) {
            Ok(request) => Heard::Request(request),
            Err((status, why)) => Heard::Bad(status, why),
        }),
        Ok(httparse::Status::Partial) if head.len() <= MAX_HEAD => None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            bad(Status::FIELDS_TOO_LARGE, "there are too many header fields, or they are too long")
        }
        Err(httparse::Error::Version) => bad(Status::VERSION_NOT_SUPPORTED, "only HTTP/1.x is spoken here"),
        Err(_) => bad(Status::BAD_REQUEST, "this is no HTTP request"),
    }
}

fn understand(parsed: &httparse::Request<'_, '_>) -> Result<Request, (Status, &'static str)> {
    // All three are there in a request that is complete.
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let version = parsed.version.unwrap_or_default();
    let bad = |why| (Status::BAD_REQUEST, why);
    if target.len() > MAX_TARGET {
        return Err((Status::URI_TOO_LONG, "the target is too long"));
    }
    let mut hosts = all(parsed.headers, "host");
    let mut host = hosts.next().map(text).transpose().map_err(bad)?;
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host header"));
    }
    if host.is_none() && version > 0 {
        return Err(bad("there is no Host header (RFC 9112 3.2)"));
    }
    let mut target = target;
    if let Some(absolute) = target.strip_prefix("http://") {
        // Then the header does not count (RFC 9112 3.2.2).
        let (authority, rest) = absolute.split_at(absolute.find(['/', '?']).unwrap_or(absolute.len()));
        (host, target) = (Some(authority), if rest.is_empty() { "/" } else { rest });
    }
    if !target.starts_with('/') {
        return Err(bad("the target is no path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let says = |name, value: &str| all(parsed.headers, name).any(|header| header.value == value.as_bytes());
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: host.map(str::to_owned),
        cross_site: says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate"),
    })
}

fn all<'a>(headers: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = &'a Header<'a>> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
}

fn text<'a>(header: &Header<'a>) -> Result<&'a str, &'static str> {
    str::from_utf8(header.value).map_err(|_| "the Host header is no text")
}

/// A part of a query: `%41` and `+` are taken for what they stand for; what is no such code stands for itself.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(|digits| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            u8::try_from(digit(0)? * 16 + digit(1)?).ok()
        });
        let (byte, length) = match (byte, code) {
            (b'%', Some(code)) => (code, 3),
            (b'+', _) => (b' ', 1),
            _ => (byte, 1),
        };
        decoded.push(byte);
        at += length;
    }
    match String::from_utf8_lossy(&decoded) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    fn request(head: &str) -> Request {
        match parse(head.as_bytes()) {
            Some(Heard::Request(request)) => request,
            Some(Heard::Bad(status, why)) => panic!("{status:?} {why}: {head}"),
            _ => panic!("incomplete: {head}"),
        }
    }

    fn status(head: &str) -> Option<Status> {
        match parse(head.as_bytes()) {
            Some(Heard::Bad(status, _)) => Some(status),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_its_path_its_query_and_its_host() {
        let head = "GET /api/fdb?mac=02%3A00&port=a+b&mac=x&flag HTTP/1.1\r\nHost: localhost:9477\r\n\r\n";
        let request = request(head);
        assert!(request.is_read() && !request.is_head() && !request.is_cross_site());
        assert_eq!((request.path(), request.host()), ("/api/fdb", Some("localhost:9477")));
        let query = |name| request.query(name);
        assert_eq!(query("mac").as_deref(), Some("02:00"));
        assert_eq!(query("port").as_deref(), Some("a b"));
        assert_eq!((query("flag").as_deref(), query("none")), (Some(""), None));
        for end in 0..head.len() {
            assert!(parse(&head.as_bytes()[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn an_absolute_target_says_the_host() {
        let absolute = request("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!((absolute.path(), absolute.host()), ("/metrics", Some("evil.example")));
        assert_eq!(request("GET http://h HTTP/1.1\r\nHost: a\r\n\r\n").path(), "/");
    }

    #[test]
    fn codes_that_are_none_stand_for_themselves() {
        for (code, text) in [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%C3%BC", "ü"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(decode(code), text);
        }
    }

    #[test]
    fn browsers_tell_who_asks() {
        let with =
            |fields: &str| request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).is_cross_site();
        assert!(with("Sec-Fetch-Site: cross-site\r\n"));
        assert!(with("sec-fetch-site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"));
        assert!(!with("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"), "a link");
        assert!(!with("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"));
    }

    #[test]
    fn what_is_no_request_is_refused_and_what_is_too_long_as_soon_as_it_is() {
        let long = "x".repeat(MAX_TARGET);
        for (head, wanted) in [
            ("\u{16}\u{3}\u{1}\u{2}", Status::BAD_REQUEST),
            ("GET / HTTP/1.1\r\n\r\n", Status::BAD_REQUEST),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BAD_REQUEST),
            ("GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", Status::BAD_REQUEST),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Status::BAD_REQUEST),
            ("GET / HTTP/2.0\r\n", Status::VERSION_NOT_SUPPORTED),
            (&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), Status::URI_TOO_LONG),
            (&format!("GET /{long}{long}"), Status::URI_TOO_LONG),
            (&format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(65)), Status::FIELDS_TOO_LARGE),
            (&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD)), Status::FIELDS_TOO_LARGE),
        ] {
            assert_eq!(status(head), Some(wanted), "{head}");
        }
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_some_and(|heard| matches!(heard, Heard::Request(_))));
    }

    /// Pieces that requests are made of, and some that they are not.
    const PIECES: &[&[u8]] = &[
        b"GET ",
        b"HEAD /",
        b"/api/trace?port=%",
        b"%41%zz%",
        b"+&&==",
        b"frame=\xc3\xa9",
        b"http://a",
        b"?",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\n",
        b"Host: a\r\n",
        b"Host: [::1\r\n",
        b"Host: \xff\xfe\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"\r\n",
        b"\0",
        b"\xff",
    ];

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(picks in vec(select(PIECES), 0..12), bytes in vec(any::<u8>(), 0..40), at: Index) {
            let mut head = picks.concat();
            let at = at.index(head.len() + 1);
            head.splice(at..at, bytes);
            for head in [head, picks.concat()] {
                if let Some(Heard::Request(request)) = parse(&head) {
                    let _ = (request.query("port"), request.query("frame"), request.is_cross_site());
                    request.host().map(|host| super::super::host::may_ask(host, &[]));
                }
            }
        }

        #[test]
        fn what_is_encoded_is_decoded_again(text: String) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
