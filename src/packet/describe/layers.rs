//! From the text of a description to its layers.

use core::net::IpAddr;
use core::str::FromStr;

use crate::packet::MAX_FRAME;
use crate::wire::ethernet::{self, Mac};
use crate::wire::{icmp, tcp, udp};

/// What a description says; `None` is what it does not say.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) ethernet: Option<Ethernet>,
    pub(super) tags: Vec<Tag>,
    pub(super) network: Option<Network>,
    pub(super) transport: Option<Transport>,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Ethernet {
    /// Where it stands, for complaints.
    pub(super) column: usize,
    pub(super) destination: Option<Mac>,
    pub(super) source: Option<Mac>,
    pub(super) ether_type: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Tag {
    pub(super) column: usize,
    pub(super) tpid: u16,
    pub(super) tci: u16,
}

#[derive(Debug)]
pub(super) enum Network {
    Arp(Arp),
    Ip(Ip),
}

#[derive(Debug)]
pub(super) struct Arp {
    pub(super) column: usize,
    pub(super) reply: bool,
    pub(super) source: Option<core::net::Ipv4Addr>,
    pub(super) destination: Option<core::net::Ipv4Addr>,
    pub(super) source_mac: Option<Mac>,
    pub(super) destination_mac: Option<Mac>,
}

#[derive(Debug, Default)]
pub(super) struct Ip {
    /// It has to be IPv4, or IPv6; `None`: whatever its addresses are.
    pub(super) v4: Option<bool>,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) ttl: Option<u8>,
    pub(super) tos: Option<u8>,
    pub(super) protocol: Option<u8>,
    pub(super) identification: Option<u16>,
    pub(super) dont_fragment: bool,
    pub(super) more_fragments: bool,
    /// Where the fragment begins, in units of eight bytes.
    pub(super) offset: u16,
}

#[derive(Debug)]
pub(super) enum Transport {
    Tcp(Tcp),
    Udp(Ports),
    Icmp(Icmp),
}

#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) source: Option<u16>,
    pub(super) destination: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) ports: Ports,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) window: u16,
}

#[derive(Debug)]
pub(super) struct Icmp {
    pub(super) v6: bool,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) id: u16,
    pub(super) sequence: u16,
}

impl Transport {
    /// Its number in an IP header.
    pub(super) fn protocol(&self) -> u8 {
        match self {
            Transport::Tcp(_) => tcp::PROTOCOL,
            Transport::Udp(_) => udp::PROTOCOL,
            Transport::Icmp(icmp) => icmp::of_version(!icmp.v6),
        }
    }
}

/// A layer's name; what may stand behind it without a key, its keys, and the words that need no value.
struct Grammar {
    name: &'static str,
    bare: Option<&'static str>,
    keys: &'static [&'static str],
    words: &'static [&'static str],
}

#[rustfmt::skip]
const GRAMMAR: [Grammar; 10] = [
    Grammar { name: "eth", bare: None, keys: &["dst", "src", "type"], words: &[] },
    Grammar { name: "vlan", bare: Some("id"), keys: &["id", "pcp", "tpid"], words: &["dei"] },
    Grammar { name: "arp", bare: None, keys: &["src", "dst", "src-mac", "dst-mac"], words: &["request", "reply"] },
    Grammar { name: "ip", bare: None, keys: &["src", "dst", "ttl", "tos", "proto", "id", "offset"], words: &["df", "mf"] },
    Grammar { name: "ip6", bare: None, keys: &["src", "dst", "ttl", "tos", "proto"], words: &[] },
    Grammar { name: "tcp", bare: None, keys: &["sport", "dport", "flags", "seq", "ack", "window"], words: &[] },
    Grammar { name: "udp", bare: None, keys: &["sport", "dport"], words: &[] },
    Grammar { name: "icmp", bare: None, keys: &["type", "code", "id", "seq"], words: &[] },
    Grammar { name: "icmp6", bare: None, keys: &["type", "code", "id", "seq"], words: &[] },
    Grammar { name: "payload", bare: Some("bytes"), keys: &["bytes"], words: &[] },
];

const FLAGS: [(&str, u8); 9] = [
    ("none", 0),
    ("fin", tcp::FIN),
    ("syn", tcp::SYN),
    ("rst", tcp::RST),
    ("psh", tcp::PSH),
    ("ack", tcp::ACK),
    ("urg", tcp::URG),
    ("ece", tcp::ECE),
    ("cwr", tcp::CWR),
];

/// The layers that `text` names.
pub(super) fn read(text: &str) -> Result<Layers, String> {
    let mut layers = Layers::default();
    let (mut column, mut before) = (1, None);
    for part in text.split('/') {
        let fields = Fields::read(part, column)?;
        let name = fields.grammar.name;
        if !may_follow(before, name) {
            let before = before.unwrap_or_default();
            let column = fields.column;
            return Err(format!(
                "column {column}: `{name}` cannot be behind `{before}` (expected eth, vlan, arp or ip, tcp, udp or icmp, payload in this order)"
            ));
        }
        layers.add(fields)?;
        before = Some(name);
        column += part.chars().count() + 1;
    }
    Ok(layers)
}

fn may_follow(before: Option<&str>, name: &str) -> bool {
    match name {
        "eth" => before.is_none(),
        "vlan" => matches!(before, None | Some("eth" | "vlan")),
        "arp" | "ip" | "ip6" => matches!(before, None | Some("eth" | "vlan")),
        "tcp" | "udp" | "icmp" | "icmp6" => matches!(before, None | Some("eth" | "vlan" | "ip" | "ip6")),
        _ => before != Some("payload"),
    }
}

impl Layers {
    fn add(&mut self, mut fields: Fields<'_>) -> Result<(), String> {
        const MAC: &str = "a MAC address, as 02:00:00:00:00:01";
        const IPV4: &str = "an IPv4 address, as 10.9.0.1";
        const PORT: &str = "0 to 65535";
        let column = fields.column;
        match fields.grammar.name {
            "eth" => {
                self.ethernet = Some(Ethernet {
                    column,
                    destination: fields.take("dst", MAC, parsed)?,
                    source: fields.take("src", MAC, parsed)?,
                    ether_type: fields.take("type", "0 to 0xffff", number)?,
                });
            }
            "vlan" => {
                let id = fields.take("id", "0 to 4095", |text| number(text).filter(|id| *id <= 4095))?;
                let priority = fields.take("pcp", "0 to 7", |text| number(text).filter(|pcp| *pcp <= 7))?;
                let tpid = fields.take("tpid", "0x8100 or 0x88a8", |text| {
                    number(text).filter(|tpid| matches!(*tpid, ethernet::VLAN | ethernet::QINQ))
                })?;
                let tci = priority.unwrap_or(0) << 13 | u16::from(fields.has("dei")) << 12 | id.unwrap_or(0);
                self.tags.push(Tag { column, tpid: tpid.unwrap_or(ethernet::VLAN), tci });
            }
            "arp" => {
                self.network = Some(Network::Arp(Arp {
                    column,
                    reply: fields.has("reply"),
                    source: fields.take("src", IPV4, parsed)?,
                    destination: fields.take("dst", IPV4, parsed)?,
                    source_mac: fields.take("src-mac", MAC, parsed)?,
                    destination_mac: fields.take("dst-mac", MAC, parsed)?,
                }));
            }
            "ip" | "ip6" => self.network = Some(Network::Ip(Ip::read(&mut fields)?)),
            "tcp" => {
                self.transport = Some(Transport::Tcp(Tcp {
                    ports: Ports::read(&mut fields)?,
                    flags: fields.take("flags", "words such as syn,ack", flags)?.unwrap_or(tcp::SYN),
                    sequence: fields.take("seq", "0 to 4294967295", number)?.unwrap_or(1),
                    acknowledgment: fields.take("ack", "0 to 4294967295", number)?.unwrap_or(0),
                    window: fields.take("window", PORT, number)?.unwrap_or(64_240),
                }));
            }
            "udp" => self.transport = Some(Transport::Udp(Ports::read(&mut fields)?)),
            "icmp" | "icmp6" => {
                let v6 = fields.grammar.name == "icmp6";
                let request = if v6 { icmp::V6_ECHO_REQUEST } else { icmp::ECHO_REQUEST };
                self.transport = Some(Transport::Icmp(Icmp {
                    v6,
                    kind: fields.take("type", "0 to 255", number)?.unwrap_or(request),
                    code: fields.take("code", "0 to 255", number)?.unwrap_or(0),
                    id: fields.take("id", PORT, number)?.unwrap_or(1),
                    sequence: fields.take("seq", PORT, number)?.unwrap_or(1),
                }));
            }
            _ => {
                let expected = "a number of bytes, or the bytes as 0x…";
                self.payload = fields.take("bytes", expected, payload)?.unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl Ip {
    fn read(fields: &mut Fields<'_>) -> Result<Ip, String> {
        let expected = match fields.grammar.name {
            "ip6" => "an IPv6 address, as fd00::1",
            _ => "an IP address, as 10.9.0.1 or fd00::1",
        };
        let v6 = fields.grammar.name == "ip6";
        let address = |text: &str| text.parse().ok().filter(|address: &IpAddr| address.is_ipv6() || !v6);
        let mut ip =
            Ip { v4: v6.then_some(false), source: fields.take("src", expected, address)?, ..Ip::default() };
        let wanted = ip.source.map(|source| source.is_ipv4());
        let expected = match wanted {
            Some(true) => "an IPv4 address, as its src",
            Some(false) => "an IPv6 address, as its src",
            None => expected,
        };
        let same =
            |text: &str| address(text).filter(|address| wanted.is_none_or(|v4| address.is_ipv4() == v4));
        ip.destination = fields.take("dst", expected, same)?;
        ip.v4 = ip.v4.or(ip.source.or(ip.destination).map(|address| address.is_ipv4()));
        ip.ttl = fields.take("ttl", "0 to 255", number)?;
        ip.tos = fields.take("tos", "0 to 255", number)?;
        ip.protocol = fields.take("proto", "0 to 255", number)?;
        ip.identification = fields.take("id", "0 to 65535", number)?;
        (ip.dont_fragment, ip.more_fragments) = (fields.has("df"), fields.has("mf"));
        let eighths =
            |text: &str| number(text).filter(|bytes: &u16| bytes.is_multiple_of(8)).map(|bytes| bytes / 8);
        ip.offset = fields.take("offset", "a multiple of 8, at most 65528", eighths)?.unwrap_or(0);
        Ok(ip)
    }
}

impl Ports {
    fn read(fields: &mut Fields<'_>) -> Result<Ports, String> {
        const PORT: &str = "0 to 65535";
        Ok(Ports {
            source: fields.take("sport", PORT, number)?,
            destination: fields.take("dport", PORT, number)?,
        })
    }
}

/// What stands behind a layer's name.
struct Fields<'a> {
    grammar: &'static Grammar,
    column: usize,
    /// Keys and the values behind them, with the value's column; words have none.
    pairs: Vec<(&'static str, &'a str, usize)>,
}

impl<'a> Fields<'a> {
    /// Reads a layer whose text begins in `column`.
    fn read(text: &'a str, column: usize) -> Result<Fields<'a>, String> {
        let mut words = words(text, column).peekable();
        let end = column + text.chars().count();
        let Some((name, column)) = words.next() else {
            return Err(format!("column {end}: a layer is missing (expected {})", names()));
        };
        let grammar = GRAMMAR.iter().find(|grammar| grammar.name == name);
        let grammar = grammar
            .ok_or_else(|| format!("column {column}: \"{name}\" is no layer (expected {})", names()))?;
        let mut fields = Fields { grammar, column, pairs: Vec::new() };
        let known =
            |word: &str| grammar.keys.iter().chain(grammar.words).find(|known| **known == word).copied();
        if let (Some(key), Some((value, column))) = (grammar.bare, words.peek().copied())
            && known(value).is_none()
        {
            fields.pairs.push((key, value, column));
            words.next();
        }
        while let Some((word, column)) = words.next() {
            let key = known(word).ok_or_else(|| {
                let known = [grammar.keys, grammar.words].concat().join(", ");
                format!("column {column}: \"{word}\" is no key of `{name}` (expected {known})")
            })?;
            if fields.pairs.iter().any(|(said, ..)| *said == key) {
                return Err(format!("column {column}: `{key}` is said twice (expected once in a layer)"));
            }
            let value = match grammar.words.contains(&key) {
                true => (key, column),
                false => {
                    words.next().ok_or_else(|| format!("column {end}: the value of `{key}` is missing"))?
                }
            };
            fields.pairs.push((key, value.0, value.1));
        }
        Ok(fields)
    }

    /// The value of `key`, if it is there.
    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some((_, value, column)) = self.pairs.iter().find(|(found, ..)| *found == key) else {
            return Ok(None);
        };
        let name = self.grammar.name;
        let wrong =
            || format!("column {column}: \"{value}\" is no `{key}` of `{name}` (expected {expected})");
        read(value).map(Some).ok_or_else(wrong)
    }

    fn has(&self, word: &str) -> bool {
        self.pairs.iter().any(|(found, ..)| *found == word)
    }
}

/// The words of a text that begins in `column`, with the columns that they begin in.
fn words(text: &str, column: usize) -> impl Iterator<Item = (&str, usize)> {
    let start = text.as_ptr() as usize;
    text.split_whitespace().map(move |word| {
        let before = word.as_ptr() as usize - start;
        (word, column + text[..before].chars().count())
    })
}

fn names() -> String {
    GRAMMAR.map(|grammar| grammar.name).join(", ")
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok()?.try_into().ok()
}

fn flags(text: &str) -> Option<u8> {
    text.split([',', '|', '+']).try_fold(0, |flags, word| {
        let (_, flag) = FLAGS.iter().find(|(name, _)| *name == word)?;
        Some(flags | flag)
    })
}

fn payload(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix("0x") {
        Some(digits) => super::hex::digits_of(digits),
        None => number(text).filter(|len| *len <= MAX_FRAME).map(|len| (0..len).map(|at| at as u8).collect()),
    }
}
