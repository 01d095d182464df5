//! Filter expressions as tcpdump has them: which frames a capture, a trace or a mirror is about.
//!
//! `tcp and dst net 10.9.0.0/16 and not port (22 or 443)` becomes a short program: tests in the order in which they are
//! made, each with the step to go on with when it holds and when it does not. Steps lead only towards the program's end, so
//! that it ends whatever the frame; it looks at bytes where they lie, allocates nothing and never panics.
//!
//! The words are tcpdump's, `and` and `or` bind alike and from the left as they do there, and a value alone repeats what was
//! said before it (`port 80 or 443`). Where a switch wants something else than a cable's end, it is different on purpose:
//!
//! - All tests look through VLAN tags, at most four. tcpdump sees nothing of a tagged packet until the word `vlan`, from
//!   which on it sees no other. `vlan 10` holds when any tag is of VLAN 10.
//! - Upper layers are found behind hop-by-hop options, routing headers and destination options of IPv6 and in its first
//!   fragments; tcpdump looks at the fixed header, and for `proto` at a fragment header.
//! - What a frame is too short for does not hold, and its opposite does. tcpdump gives up such a frame.
//! - A network may be given by any of its addresses.
//! - Flags of TCP are words of their own: `tcp-syn and not tcp-ack`.
//! - On a port that carries IP, `broadcast` and `multicast` are about the IP address.

mod headers;
mod parse;

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Frame, Layer};
use headers::Headers;
use parse::Node;

/// Most bytes of an expression's text.
pub const MAX_TEXT: usize = 4096;
/// Most tests in an expression.
pub const MAX_TESTS: usize = 256;
/// Most parentheses open at once.
pub const MAX_DEPTH: usize = 32;

/// A filter expression, ready to be asked of frames. It reads from its text, which it remembers; the empty one holds for
/// every frame.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    /// A step leads to steps before it only: the last is where the program begins.
    steps: Box<[Step]>,
    begin: Next,
}

/// One test, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    test: Test,
    yes: Next,
    no: Next,
}

/// What comes after a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The frame is one.
    Take,
    /// The frame is none.
    Leave,
    /// Another test decides.
    Step(u16),
}

/// A question about a frame's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// It has a tag of this VLAN, or of any.
    Vlan(Option<u16>),
    /// It has this EtherType, its tags' included.
    EtherType(u16),
    /// It is an 802.2 frame to and from this service access point.
    Llc(u8),
    /// It has this MAC address.
    Mac(Side, u64),
    /// It is for all stations.
    Broadcast,
    /// It is for a group of stations, or for all.
    Multicast,
    /// Its network layer has this EtherType.
    Network(u16),
    /// It has an IP address that is this one where the mask has ones; with an EtherType, in a packet of that.
    Address { side: Side, within: Option<u16>, v4: bool, bits: u128, mask: u128 },
    /// It is IP for a group, of IPv4 or of IPv6.
    Group { v4: bool },
    /// The protocol behind its IP header is this, whichever version or IPv4 or not.
    Protocol { v4: Option<bool>, number: u8 },
    /// It has a port from the first to the last; with a protocol, of that.
    Port { side: Side, protocol: Option<u8>, first: u16, last: u16 },
    /// It is TCP with one of these flags set.
    Flags(u8),
    /// It has at least so many bytes.
    AtLeast(usize),
    /// It has at most so many bytes.
    AtMost(usize),
}

/// Which of a frame's two ends a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
    Both,
}

impl Side {
    #[inline]
    fn holds(self, source: impl FnOnce() -> bool, destination: impl FnOnce() -> bool) -> bool {
        match self {
            Side::Source => source(),
            Side::Destination => destination(),
            Side::Either => source() || destination(),
            Side::Both => source() && destination(),
        }
    }
}

impl Expression {
    /// The expression that holds for every frame.
    pub fn all() -> Expression {
        Expression { text: String::new(), steps: Box::default(), begin: Next::Take }
    }

    /// Whether every frame is one.
    pub fn is_all(&self) -> bool {
        self.begin == Next::Take
    }

    /// Whether `frame` is one, whatever its bytes are. Bytes that are [`outside`](Frame::outside) count for its length and
    /// are not looked at: headers are not there.
    pub fn matches(&self, frame: &Frame) -> bool {
        self.matches_bytes(frame.layer, frame.bytes(), frame.len())
    }

    /// The same for `bytes` that begin with `layer`, of a frame that is `len` bytes long.
    pub fn matches_bytes(&self, layer: Layer, bytes: &[u8], len: usize) -> bool {
        let mut next = self.begin;
        if let Next::Step(_) = next {
            let headers = Headers::of(layer, bytes, len);
            while let Next::Step(at) = next {
                let step = &self.steps[usize::from(at)];
                next = if headers.hold(&step.test) { step.yes } else { step.no };
            }
        }
        next == Next::Take
    }
}

impl FromStr for Expression {
    type Err = String;

    /// # Errors
    /// One line: the column, counted in characters from 1, what stands there, and what was expected.
    fn from_str(text: &str) -> Result<Expression, String> {
        let mut expression = Expression::all();
        if let Some(tree) = parse::parse(text)? {
            let mut steps = Vec::new();
            expression.begin = lay_out(tree, Next::Take, Next::Leave, &mut steps);
            expression.steps = steps.into();
        }
        expression.text = text.trim().to_owned();
        Ok(expression)
    }
}

/// Adds to `steps` those that decide `node`, the last first, and gives the one to begin with.
fn lay_out(node: Node, yes: Next, no: Next, steps: &mut Vec<Step>) -> Next {
    match node {
        Node::Not(inner) => lay_out(*inner, no, yes, steps),
        Node::And(both) => {
            let (first, second) = *both;
            let then = lay_out(second, yes, no, steps);
            lay_out(first, then, no, steps)
        }
        Node::Or(both) => {
            let (first, second) = *both;
            let otherwise = lay_out(second, yes, no, steps);
            lay_out(first, yes, otherwise, steps)
        }
        Node::Test(test) => {
            let at = steps.len() as u16; // MAX_TESTS at most
            steps.push(Step { test, yes, no });
            Next::Step(at)
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Expression, String> {
        text.parse()
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> String {
        expression.text
    }
}
