//! What a request is answered with.

use std::fmt::Write;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use crate::control::deadline::send;

/// A status of HTTP: its number and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u16, &'static str);

impl Status {
    /// It is there.
    pub const OK: Status = Status(200, "OK");
    /// The request is none, or contradicts itself.
    pub const BAD_REQUEST: Status = Status(400, "Bad Request");
    /// Who asks may not.
    pub const FORBIDDEN: Status = Status(403, "Forbidden");
    /// There is no such page.
    pub const NOT_FOUND: Status = Status(404, "Not Found");
    /// It would do something, and everything here is only to be seen.
    pub const METHOD_NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
    /// The request was not complete in time.
    pub const TIMEOUT: Status = Status(408, "Request Timeout");
    /// The path and query are too long.
    pub const URI_TOO_LONG: Status = Status(414, "URI Too Long");
    /// It asks by a name that is none of this server.
    pub const MISDIRECTED: Status = Status(421, "Misdirected Request");
    /// Who asks has to ask less often.
    pub const TOO_MANY_REQUESTS: Status = Status(429, "Too Many Requests");
    /// The header fields are too long, or too many.
    pub const FIELDS_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    /// The switch is about to end.
    pub const UNAVAILABLE: Status = Status(503, "Service Unavailable");
    /// It speaks another HTTP.
    pub const VERSION_NOT_SUPPORTED: Status = Status(505, "HTTP Version Not Supported");
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: Status,
    content_type: &'static str,
    body: Body,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is in the program.
    Static(&'static [u8]),
    /// Several answers may be the same.
    Text(Arc<str>),
}

/// What is said of every answer: that it is what it says it is, that nobody keeps it, and that nothing of another site is
/// in it, or it in another's.
const ALWAYS: &str = "Cache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Connection: close\r\n";

impl Response {
    /// What was asked for; `content_type` as in the header.
    pub fn ok(content_type: &'static str, body: impl Into<Body>) -> Response {
        Response::new(Status::OK, content_type, body)
    }

    /// An answer with this status; `content_type` as in the header.
    pub fn new(status: Status, content_type: &'static str, body: impl Into<Body>) -> Response {
        Response { status, content_type, body: body.into() }
    }

    /// How it went.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What is told.
    pub fn body(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Why it is not to be had, in a line of text.
    pub fn error(status: Status, why: &str) -> Response {
        let body = Body::Text(format!("{} {}: {why}\n", status.0, status.1).into());
        Response { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// Writes it before `deadline`; to a HEAD without its body.
    pub(super) fn send(&self, stream: &mut TcpStream, is_head: bool, deadline: Instant) -> io::Result<()> {
        send(stream, self.head().as_bytes(), deadline)?;
        if is_head { Ok(()) } else { send(stream, self.body.bytes(), deadline) }
    }

    fn head(&self) -> String {
        let Status(number, words) = self.status;
        let (content_type, length) = (self.content_type, self.body.bytes().len());
        let mut head = format!("HTTP/1.1 {number} {words}\r\n");
        if self.status == Status::METHOD_NOT_ALLOWED {
            head += "Allow: GET, HEAD\r\n";
        }
        // Writing to a string cannot fail.
        let _ = write!(head, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n{ALWAYS}\r\n");
        head
    }
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Static(bytes) => bytes,
            Body::Text(text) => text.as_bytes(),
        }
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Body {
        Body::Static(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Static(text.as_bytes())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::Text(text.into())
    }
}

impl From<Arc<str>> for Body {
    fn from(text: Arc<str>) -> Body {
        Body::Text(text)
    }
}
