//! Rules: which packets pass the five hooks of a router, or from port to port of a bridge.
//!
//! The rules of a hook are compiled, so that a packet is compared with those that it may match only; see
//! [`Classifier`](crate::table::classifier::Classifier). They are taken in their order: `accept`, `drop` and `reject` end
//! it, the others go on to the next, and where no rule ends it the hook's policy does.

use core::ops::RangeInclusive;
use std::sync::Arc;

use crate::packet::{DropReason, Packet, Tuple};
use crate::table::classifier::Classifier;
use crate::table::token_bucket::TokenBucket;
use crate::time::Time;
use crate::wire::{icmp, tcp, udp};

/// What a rule may ask for.
pub const FIELDS: usize = 9;

/// Where on its way through a router a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// As it came in, before its destination is translated.
    Prerouting,
    /// On its way to the router itself.
    Input,
    /// On its way through; destinations are translated, sources are not yet.
    Forward,
    /// Made by the router itself.
    Output,
    /// About to leave, before its source is translated.
    Postrouting,
}

impl Hook {
    /// Its name on the surface.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

/// What a packet is to the connections that are tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracked {
    /// The first of a connection, or one that nobody has answered yet.
    New,
    /// Of a connection that both ends have sent to.
    Established,
    /// An ICMP error about a packet of a connection.
    Related,
    /// It contradicts its connection, or belongs to none and can start none.
    Invalid,
}

/// What a rule asks for, as ranges of numbers; an empty list takes anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The interface, or the bridge's port, it came in by.
    pub input: Vec<RangeInclusive<u128>>,
    /// The one it leaves by.
    pub output: Vec<RangeInclusive<u128>>,
    /// The protocol.
    pub protocol: Vec<RangeInclusive<u128>>,
    /// The source address, as [`Address::bits`](crate::wire::address::Address::bits).
    pub source: Vec<RangeInclusive<u128>>,
    /// The destination address.
    pub destination: Vec<RangeInclusive<u128>>,
    /// The source port of TCP or UDP.
    pub source_port: Vec<RangeInclusive<u128>>,
    /// The destination port of TCP or UDP.
    pub destination_port: Vec<RangeInclusive<u128>>,
    /// The type of ICMP or ICMPv6, as [`Subject::icmp_number`].
    pub icmp_type: Vec<RangeInclusive<u128>>,
    /// The [`Tracked`] states.
    pub state: Vec<RangeInclusive<u128>>,
}

impl Condition {
    /// In the order of [`Subject::values`].
    fn fields(self) -> [Vec<RangeInclusive<u128>>; FIELDS] {
        [
            self.input,
            self.output,
            self.protocol,
            self.source,
            self.destination,
            self.source_port,
            self.destination_port,
            self.icmp_type,
            self.state,
        ]
    }

    /// Whether it cannot be told of a part of a packet.
    pub fn needs_whole(&self) -> bool {
        let l4 = [&self.source_port, &self.destination_port, &self.icmp_type, &self.state];
        l4.iter().any(|ranges| !ranges.is_empty())
    }
}

/// A rule, when what it asks for is given.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it counts, in the list of all rules of the topology.
    pub counter: u32,
    /// What it does.
    pub action: Action,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Lets the packet pass this hook.
    Accept,
    /// Drops it.
    Drop,
    /// Drops it and tells its sender.
    Reject,
    /// Counts it.
    Count,
    /// Has it logged.
    Log,
    /// Drops it when there are more than this bucket lets pass; shared.
    Limit(Arc<TokenBucket>),
}

/// The rules of one hook.
#[derive(Clone)]
pub struct Chain {
    classifier: Arc<Classifier<FIELDS>>,
    rules: Vec<Rule>,
    accepts: bool,
}

impl Default for Chain {
    /// Without rules, everything passes.
    fn default() -> Chain {
        Chain::new(Vec::new(), true)
    }
}

/// The rules of all hooks.
#[derive(Clone, Default)]
pub struct Filter {
    /// By [`Hook`].
    pub chains: [Chain; 5],
}

/// What rules are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The interface, or the bridge's port, it came in by; `None`: the router made it.
    pub input: Option<u16>,
    /// The one it leaves by, where that is known.
    pub output: Option<u16>,
    /// Its flow, as far as it is translated by now.
    pub tuple: Tuple,
    /// The type of ICMP or ICMPv6.
    pub kind: u8,
    /// What it is to its connection.
    pub state: Tracked,
}

/// No interface has this number, nor any port, address or protocol that a rule may name.
const NOTHING: u128 = 1 << 64;

impl Subject {
    /// What is asked about a packet before anything is known but its headers.
    pub fn new(packet: &Packet, input: Option<u16>, state: Tracked) -> Subject {
        Subject { input, output: None, tuple: packet.tuple, kind: packet.kind, state }
    }

    /// The number of a type of ICMP or ICMPv6.
    pub fn icmp_number(protocol: u8, kind: u8) -> u128 {
        u128::from(protocol) << 8 | u128::from(kind)
    }

    fn values(&self) -> [u128; FIELDS] {
        let some = |id: Option<u16>| id.map_or(NOTHING, u128::from);
        let tuple = &self.tuple;
        let (ports, icmp) = match tuple.protocol {
            tcp::PROTOCOL | udp::PROTOCOL => (true, false),
            icmp::PROTOCOL | icmp::V6_PROTOCOL => (false, true),
            _ => (false, false),
        };
        let port = |port: u16| if ports { u128::from(port) } else { NOTHING };
        [
            some(self.input),
            some(self.output),
            u128::from(tuple.protocol),
            tuple.source.bits(),
            tuple.destination.bits(),
            port(tuple.source_port),
            port(tuple.destination_port),
            if icmp { Subject::icmp_number(tuple.protocol, self.kind) } else { NOTHING },
            self.state as u128,
        ]
    }
}

/// What rules have said, and which of them: gathered over all hooks that a packet passes.
#[derive(Debug, Default)]
pub struct Judged {
    /// The counters of the rules that took part.
    pub rules: Vec<u32>,
    /// Rules that want it logged.
    pub log: Vec<u32>,
    /// The next packet of its flow may fare otherwise.
    pub varies: bool,
}

impl Judged {
    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.log.clear();
        self.varies = false;
    }
}

impl Chain {
    /// Compiles rules in their order. `accepts`: what no rule ends, passes.
    pub fn new(rules: Vec<(Condition, Rule)>, accepts: bool) -> Chain {
        let (conditions, rules): (Vec<_>, Vec<_>) =
            rules.into_iter().map(|(condition, rule)| (condition.fields(), rule)).unzip();
        Chain { classifier: Arc::new(Classifier::new(&conditions)), rules, accepts }
    }

    /// The same rules with limits of their own, which let pass what these would.
    pub fn trial(&self) -> Chain {
        let mut trial = self.clone();
        for rule in &mut trial.rules {
            if let Action::Limit(bucket) = &mut rule.action {
                *bucket = Arc::new(bucket.trial());
            }
        }
        trial
    }

    /// Whether everything passes, and nothing is counted.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.rules.is_empty() && self.accepts
    }

    /// What the rules say of a packet: [`DropReason::Filtered`], [`DropReason::Rejected`] (its sender is to be told),
    /// [`DropReason::RateLimited`], or that it passes.
    pub fn judge(&self, subject: &Subject, now: Time, judged: &mut Judged) -> Result<(), DropReason> {
        if self.is_open() {
            return Ok(());
        }
        for number in self.classifier.matches(&subject.values()) {
            let Some(rule) = self.rules.get(number as usize) else { continue };
            judged.rules.push(rule.counter);
            match &rule.action {
                Action::Accept => return Ok(()),
                Action::Drop => return Err(DropReason::Filtered),
                Action::Reject => return Err(DropReason::Rejected),
                Action::Count => {}
                Action::Log => {
                    judged.varies = true;
                    judged.log.push(rule.counter);
                }
                Action::Limit(bucket) => {
                    judged.varies = true;
                    if !bucket.take(now) {
                        return Err(DropReason::RateLimited);
                    }
                }
            }
        }
        if self.accepts { Ok(()) } else { Err(DropReason::Filtered) }
    }
}

impl Filter {
    /// See [`Chain::trial`].
    pub fn trial(&self) -> Filter {
        Filter { chains: self.chains.each_ref().map(Chain::trial) }
    }

    /// Whether everything passes `hook`, and nothing is counted there.
    pub(in crate::switch) fn is_open(&self, hook: Hook) -> bool {
        self.chains[hook as usize].is_open()
    }

    /// What the rules of `hook` say; see [`Chain::judge`].
    #[inline]
    pub fn judge(
        &self,
        hook: Hook,
        subject: &Subject,
        now: Time,
        judged: &mut Judged,
    ) -> Result<(), DropReason> {
        self.chains[hook as usize].judge(subject, now, judged)
    }
}
