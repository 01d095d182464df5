//! From an expression's text to a tree of tests.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use super::headers::{MIN_ETHER_TYPE, SCTP};
use super::{MAX_DEPTH, MAX_TESTS, MAX_TEXT, Side, Test};
use crate::packet::MAX_FRAME;
use crate::wire::ethernet::Mac;
use crate::wire::{arp, icmp, ipv4, ipv6, tcp, udp};

/// An expression as it is read.
pub(super) enum Node {
    Test(Test),
    Not(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
}

const ESP: u8 = 50;
const AH: u8 = 51;
const IGMP: u8 = 2;
const LLDP: u16 = 0x88cc;
/// The service access point of the spanning tree.
const STP: u8 = 0x42;

/// Protocols that are words of their own.
const UPPER: [(&str, u8); 8] = [
    ("tcp", tcp::PROTOCOL),
    ("udp", udp::PROTOCOL),
    ("sctp", SCTP),
    ("icmp", icmp::PROTOCOL),
    ("icmp6", icmp::V6_PROTOCOL),
    ("igmp", IGMP),
    ("esp", ESP),
    ("ah", AH),
];

/// Protocols that have a name behind `proto` only.
const MORE_UPPER: [(&str, u8); 4] = [("gre", 47), ("ospf", 89), ("pim", 103), ("vrrp", 112)];

const NETWORKS: [(&str, u16); 4] = [
    ("ip", ipv4::ETHER_TYPE),
    ("ip6", ipv6::ETHER_TYPE),
    ("arp", arp::ETHER_TYPE),
    ("rarp", arp::REVERSE_ETHER_TYPE),
];

const FLAGS: [(&str, u8); 9] = [
    ("tcp-fin", tcp::FIN),
    ("tcp-syn", tcp::SYN),
    ("tcp-rst", tcp::RST),
    ("tcp-push", tcp::PSH),
    ("tcp-psh", tcp::PSH),
    ("tcp-ack", tcp::ACK),
    ("tcp-urg", tcp::URG),
    ("tcp-ece", tcp::ECE),
    ("tcp-cwr", tcp::CWR),
];

/// Ports that have a name.
const PORTS: [(&str, u16); 12] = [
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("http", 80),
    ("ntp", 123),
    ("snmp", 161),
    ("bgp", 179),
    ("https", 443),
    ("vxlan", 4789),
    ("geneve", 6081),
];

/// The tree that `text` says; `None` when it says nothing.
pub(super) fn parse(text: &str) -> Result<Option<Node>, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("{} bytes of filter are too many (expected at most {MAX_TEXT})", text.len()));
    }
    let mut parser = Parser { words: words(text), at: 0, depth: 0, tests: 0, said: None };
    if parser.words.is_empty() {
        return Ok(None);
    }
    let node = parser.expression()?;
    match parser.next() {
        None => Ok(Some(node)),
        Some(Word { column, text: ")" }) => Err(format!("column {column}: \")\" closes nothing")),
        Some(word) => Err(word.is_no("operator", "`and` or `or`")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word<'a> {
    /// Counted in characters, from 1.
    column: usize,
    text: &'a str,
}

impl Word<'_> {
    fn is_no(&self, what: &str, expected: &str) -> String {
        format!("column {}: \"{}\" is no {what} (expected {expected})", self.column, self.text)
    }

    /// Whether it can only be a value, and so repeats what was said before the last one.
    fn is_value(&self) -> bool {
        self.text.starts_with(|first: char| first.is_ascii_digit())
            || self.text.contains(':')
            || PORTS.iter().any(|(name, _)| *name == self.text)
    }
}

fn words(text: &str) -> Vec<Word<'_>> {
    let (mut words, mut rest, mut column) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '(' | ')' | '!' => 1,
            _ if rest.starts_with("&&") || rest.starts_with("||") => 2,
            _ if first.is_whitespace() => first.len_utf8(),
            _ => rest.find(|c: char| c.is_whitespace() || "()!&|".contains(c)).unwrap_or(rest.len()).max(1),
        };
        let (word, after) = rest.split_at(len);
        if !first.is_whitespace() {
            words.push(Word { column, text: word });
        }
        column += word.chars().count();
        rest = after;
    }
    words
}

/// What stands before a value: `tcp src port`.
#[derive(Clone, Copy)]
struct Said {
    of: Of,
    side: Side,
    kind: Kind,
}

/// The protocol that it is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Any,
    Ether,
    Network(u16),
    Upper(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An address, or a network: what is meant when neither is said.
    Address,
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
    Vlan,
}

const KINDS: [(&str, Kind); 5] = [
    ("host", Kind::Host),
    ("net", Kind::Net),
    ("port", Kind::Port),
    ("portrange", Kind::PortRange),
    ("proto", Kind::Protocol),
];

struct Parser<'a> {
    words: Vec<Word<'a>>,
    at: usize,
    /// Parentheses that are open.
    depth: usize,
    tests: usize,
    said: Option<Said>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Word<'a>> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    /// The next word, if it is one of these; then it is taken.
    fn take(&mut self, any: &[&str]) -> Option<&'a str> {
        let word = self.peek().filter(|word| any.contains(&word.text))?;
        self.at += 1;
        Some(word.text)
    }

    /// What a table says of the next word, if it is in there; then it is taken.
    fn look_up<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let word = self.peek()?;
        let (_, found) = table.iter().find(|(name, _)| *name == word.text)?;
        self.at += 1;
        Some(*found)
    }

    /// The next word, or where the text ends and what should stand there.
    fn need(&mut self, expected: &str) -> Result<Word<'a>, String> {
        self.next().ok_or_else(|| {
            let column = self.words.last().map_or(1, |last| last.column + last.text.chars().count());
            format!("column {column}: the filter ends here (expected {expected})")
        })
    }

    fn test(&mut self, test: Test) -> Result<Node, String> {
        self.tests += 1;
        if self.tests > MAX_TESTS {
            let column = self.words[self.at.saturating_sub(1)].column;
            return Err(format!("column {column}: too many tests (expected at most {MAX_TESTS})"));
        }
        Ok(Node::Test(test))
    }

    fn expression(&mut self) -> Result<Node, String> {
        let mut node = self.term()?;
        while let Some(operator) = self.take(&["and", "&&", "or", "||"]) {
            let both = Box::new((node, self.term()?));
            node = match operator {
                "and" | "&&" => Node::And(both),
                _ => Node::Or(both),
            };
        }
        Ok(node)
    }

    fn term(&mut self) -> Result<Node, String> {
        let mut negated = false;
        while self.take(&["not", "!"]).is_some() {
            negated = !negated;
        }
        let node = match self.take(&["("]) {
            Some(_) => self.parenthesised()?,
            None => self.primitive()?,
        };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    /// What is behind a parenthesis that was opened, to the one that closes it.
    fn parenthesised(&mut self) -> Result<Node, String> {
        let opened = self.words[self.at - 1].column;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("column {opened}: too many parentheses (expected at most {MAX_DEPTH} open)"));
        }
        let node = self.expression()?;
        let expected = format!("`and`, `or`, or \")\" for the \"(\" in column {opened}");
        let closing = self.need(&expected)?;
        if closing.text != ")" {
            return Err(closing.is_no("operator", &expected));
        }
        self.depth -= 1;
        Ok(node)
    }

    fn primitive(&mut self) -> Result<Node, String> {
        const EXPECTED: &str = "a test: host, net, port, portrange, proto, src, dst, ether, vlan, ip, ip6, arp, tcp, udp, \
                                icmp, icmp6, tcp-syn, broadcast, multicast, less, greater";
        let word = self.need(EXPECTED)?;
        match word.text {
            "vlan" => return self.vlan(),
            "less" => {
                let len = self.number("length", 0..=MAX_FRAME as u32)?;
                return self.test(Test::AtMost(len as usize));
            }
            "greater" => {
                let len = self.number("length", 0..=MAX_FRAME as u32)?;
                return self.test(Test::AtLeast(len as usize));
            }
            "stp" => return self.test(Test::Llc(STP)),
            "lldp" => return self.test(Test::EtherType(LLDP)),
            text if text.contains('[') => {
                return Err(
                    word.is_no("test", "words: tcp-syn, tcp-ack, … in place of bytes by their number")
                );
            }
            _ => self.at -= 1,
        }
        if let Some(flags) = self.look_up(&FLAGS) {
            return self.test(Test::Flags(flags));
        }
        let of = self.protocol();
        let side = self.side();
        if side.is_none()
            && let Some(group) = self.take(&["broadcast", "multicast"])
        {
            return self.group(of, group == "broadcast", word);
        }
        let kind = self.look_up(&KINDS);
        match (of, side, kind) {
            (None, None, None) if word.is_value() => {
                let nothing = Said { of: Of::Any, side: Side::Either, kind: Kind::Address };
                self.value(self.said.unwrap_or(nothing))
            }
            (None, None, None) => Err(word.is_no("test", EXPECTED)),
            (Some(Of::Network(network)), None, None) => self.test(Test::Network(network)),
            (Some(Of::Upper(number)), None, None) => {
                let v4 = match number {
                    icmp::PROTOCOL | IGMP => Some(true),
                    icmp::V6_PROTOCOL => Some(false),
                    _ => None,
                };
                self.test(Test::Protocol { v4, number })
            }
            (Some(Of::Ether), None, None) => {
                let expected = "host, src, dst, proto, broadcast or multicast";
                let word = self.need(expected)?;
                Err(word.is_no("test of `ether`", expected))
            }
            (of, side, kind) => {
                let kind = kind.unwrap_or(Kind::Address);
                let said = Said { of: of.unwrap_or(Of::Any), side: side.unwrap_or(Side::Either), kind };
                said.check(word)?;
                self.said = Some(said);
                match self.take(&["("]) {
                    Some(_) => self.parenthesised(),
                    None => self.value(said),
                }
            }
        }
    }

    fn protocol(&mut self) -> Option<Of> {
        if self.take(&["ether"]).is_some() {
            return Some(Of::Ether);
        }
        let network = self.look_up(&NETWORKS).map(Of::Network);
        network.or_else(|| self.look_up(&UPPER).map(Of::Upper))
    }

    /// `src`, `dst`, `src or dst`, `src and dst`.
    fn side(&mut self) -> Option<Side> {
        let first = self.take(&["src", "dst"])?;
        let ahead = |words: usize| self.words.get(self.at + words).map(|word| word.text);
        let both = match (ahead(0), first, ahead(1)) {
            (Some("or" | "||"), "src", Some("dst")) | (Some("or" | "||"), "dst", Some("src")) => Side::Either,
            (Some("and" | "&&"), "src", Some("dst")) | (Some("and" | "&&"), "dst", Some("src")) => Side::Both,
            (_, "src", _) => return Some(Side::Source),
            _ => return Some(Side::Destination),
        };
        self.at += 2;
        Some(both)
    }

    fn group(&mut self, of: Option<Of>, broadcast: bool, word: Word<'_>) -> Result<Node, String> {
        match (of, broadcast) {
            (None | Some(Of::Ether), true) => self.test(Test::Broadcast),
            (None | Some(Of::Ether), false) => self.test(Test::Multicast),
            (Some(Of::Network(ipv4::ETHER_TYPE)), false) => self.test(Test::Group { v4: true }),
            (Some(Of::Network(ipv6::ETHER_TYPE)), false) => self.test(Test::Group { v4: false }),
            _ => Err(word.is_no(
                "protocol with such a test",
                "ether broadcast, ether multicast, ip multicast or ip6 multicast",
            )),
        }
    }

    fn vlan(&mut self) -> Result<Node, String> {
        let said = Said { of: Of::Any, side: Side::Either, kind: Kind::Vlan };
        if self.peek().is_some_and(|word| word.is_value()) {
            self.said = Some(said);
            return self.value(said);
        }
        if self.take(&["("]).is_some() {
            self.said = Some(said);
            return self.parenthesised();
        }
        self.test(Test::Vlan(None))
    }

    /// The value behind what was said.
    fn value(&mut self, said: Said) -> Result<Node, String> {
        let Said { of, side, kind } = said;
        let test = match (kind, of) {
            (Kind::Vlan, _) => Test::Vlan(Some(self.number("VLAN", 0..=0xfff)? as u16)),
            (Kind::Protocol, Of::Ether) => {
                let names = NETWORKS.map(|(name, ether_type)| (name, u32::from(ether_type)));
                let least = u32::from(MIN_ETHER_TYPE);
                Test::EtherType(self.named("EtherType", &names, least..=0xffff)? as u16)
            }
            (Kind::Protocol, _) => {
                let names = UPPER.iter().chain(&MORE_UPPER).map(|(name, number)| (*name, u32::from(*number)));
                let names: Vec<_> = names.collect();
                let v4 = match of {
                    Of::Network(network) => Some(network == ipv4::ETHER_TYPE),
                    _ => None,
                };
                Test::Protocol { v4, number: self.named("protocol", &names, 0..=255)? as u8 }
            }
            (Kind::Port, _) => {
                let port = self.port()?;
                Test::Port { side, protocol: of.upper(), first: port, last: port }
            }
            (Kind::PortRange, _) => {
                let (first, last) = self.port_range()?;
                Test::Port { side, protocol: of.upper(), first, last }
            }
            (_, Of::Ether) => {
                let word = self.need("a MAC address, as 02:00:00:00:00:01")?;
                let mac: Mac = word.text.parse().map_err(|why| format!("column {}: {why}", word.column))?;
                Test::Mac(side, mac.bits())
            }
            (Kind::Address | Kind::Host | Kind::Net, _) => self.address(said)?,
        };
        // A port has its protocol in its own test, and an address its network.
        let node = self.test(test)?;
        let before = match (kind, of) {
            (Kind::Port | Kind::PortRange, Of::Network(network)) => Test::Network(network),
            (Kind::Address | Kind::Host | Kind::Net, Of::Upper(number)) => {
                Test::Protocol { v4: None, number }
            }
            _ => return Ok(node),
        };
        Ok(Node::And(Box::new((self.test(before)?, node))))
    }

    fn address(&mut self, said: Said) -> Result<Test, String> {
        let expected = match said.kind {
            Kind::Net => "a network, as 10.9.0.0/16 or fd00::/64",
            Kind::Host => {
                "an address, as 10.9.0.1 or fd00::1; `ether host` for a MAC address, `net` for a network"
            }
            _ => {
                "an address or a network, as 10.9.0.1 or fd00::/64; `ether` before the MAC address of a frame"
            }
        };
        let word = self.need(expected)?;
        let what = if said.kind == Kind::Net { "network" } else { "address" };
        let no = || word.is_no(what, expected);
        let (address, length) = match word.text.split_once('/') {
            Some(_) if said.kind == Kind::Host => return Err(no()),
            None if said.kind == Kind::Net => return Err(no()),
            Some((address, length)) => (address, Some(length)),
            None => (word.text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| no())?;
        let (v4, bits) = match address {
            IpAddr::V4(v4) => (true, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (false, v6.to_bits()),
        };
        let all = if v4 { 32 } else { 128 };
        let length: u32 = match length {
            Some(length) => length.parse().ok().filter(|length| *length <= all).ok_or_else(no)?,
            None => all,
        };
        let within = match said.of {
            Of::Network(network) if (network == ipv6::ETHER_TYPE) == v4 => {
                return Err(word.is_no("address of that protocol", if v4 { "fd00::1" } else { "10.9.0.1" }));
            }
            Of::Network(network) => Some(network),
            _ => None,
        };
        let mask = u128::MAX.checked_shl(all - length).unwrap_or(0);
        let mask = if v4 { mask & u128::from(u32::MAX) } else { mask };
        Ok(Test::Address { side: said.side, within, v4, bits, mask })
    }

    fn port(&mut self) -> Result<u16, String> {
        let names = PORTS.map(|(name, port)| (name, u32::from(port)));
        Ok(self.named("port", &names, 0..=0xffff)? as u16)
    }

    fn port_range(&mut self) -> Result<(u16, u16), String> {
        let expected = "two ports, as 1024-2047";
        let word = self.need(expected)?;
        let range = word.text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        });
        range.ok_or_else(|| word.is_no("range of ports", expected))
    }

    fn number(&mut self, what: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
        self.named(what, &[], range)
    }

    /// A name of the table, with or without tcpdump's backslash, or a number in `range`, decimal or hexadecimal.
    fn named(
        &mut self,
        what: &str,
        names: &[(&str, u32)],
        range: RangeInclusive<u32>,
    ) -> Result<u32, String> {
        let mut expected: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        let numbers = format!("{} to {}", range.start(), range.end());
        expected.push(&numbers);
        let expected = expected.join(", ");
        let word = self.need(&expected)?;
        let name = word.text.trim_start_matches('\\');
        if let Some((_, number)) = names.iter().find(|(known, _)| *known == name) {
            return Ok(*number);
        }
        let number = match name.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => name.parse().ok(),
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| word.is_no(what, &expected))
    }
}

impl Of {
    fn upper(self) -> Option<u8> {
        match self {
            Of::Upper(number) => Some(number),
            _ => None,
        }
    }
}

impl Said {
    /// Refuses what no frame has: `word` is where it begins.
    fn check(&self, word: Word<'_>) -> Result<(), String> {
        let (has, expected) = match self.kind {
            Kind::Port | Kind::PortRange => {
                let has = match self.of {
                    Of::Any => true,
                    Of::Ether => false,
                    Of::Network(network) => matches!(network, ipv4::ETHER_TYPE | ipv6::ETHER_TYPE),
                    Of::Upper(number) => matches!(number, tcp::PROTOCOL | udp::PROTOCOL | SCTP),
                };
                (has, "tcp, udp, sctp, ip or ip6 before `port`")
            }
            Kind::Protocol => {
                let has = match self.of {
                    Of::Network(network) => matches!(network, ipv4::ETHER_TYPE | ipv6::ETHER_TYPE),
                    Of::Upper(_) => false,
                    Of::Any | Of::Ether => true,
                };
                (has, "ether, ip or ip6 before `proto`")
            }
            Kind::Net => (self.of != Of::Ether, "`ether host`, or `net` alone"),
            Kind::Address | Kind::Host | Kind::Vlan => return Ok(()),
        };
        if has { Ok(()) } else { Err(word.is_no("protocol with such a test", expected)) }
    }
}
