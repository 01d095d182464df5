//! IPFIX (RFC 7011): messages of templates and of the records that they describe. Bytes only: nothing is sent here.
//!
//! What a record consists of stands once, in the tables of [`Field`]s below, which both the templates and the records are
//! written from. Counts are those of the samples; how to scale them is told in a record of its own (RFC 5477), with the
//! templates again and again, since over UDP a collector may have missed them or been started later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::flows::{End, Flow, Flows, Timeouts};
use super::key::{Addresses, Seen};
use super::{Clock, Interface, Telling, interface_number};
use crate::worker::Sample;

/// Most bytes of a message: it fits an Ethernet frame with IPv6 and a tunnel around it.
const MAX_MESSAGE: usize = 1400;
/// How long a record may wait for others to share its message.
const MAX_WAIT: Duration = Duration::from_millis(500);

const VERSION: u16 = 10;
const HEADER_LEN: usize = 16;
const SET_HEADER_LEN: usize = 4;
const TEMPLATES: u16 = 2;
const OPTIONS_TEMPLATES: u16 = 3;

/// The selector that all flows were picked by.
const SELECTOR: u8 = 1;
/// Each packet is picked with the same probability (RFC 5477 section 8.2.1).
const UNIFORM_PROBABILISTIC: u16 = 4;
/// Bytes of an interface's name, which are all that names of ports can have.
const NAME_LEN: usize = 32;

/// A field of records of `R`: an information element of IANA's, the bytes that its value has, and what writes them.
struct Field<R> {
    element: u16,
    len: u16,
    write: fn(&R, &mut Vec<u8>),
}

/// What records of `R` are: the number of their template, and their fields, of which the first `scope` say what they are
/// about (of options only).
struct Template<R: 'static> {
    id: u16,
    scope: u16,
    fields: &'static [&'static [Field<R>]],
}

const fn field<R>(element: u16, len: u16, write: fn(&R, &mut Vec<u8>)) -> Field<R> {
    Field { element, len, write }
}

/// A flow that is told, and why.
type Told = (Flow, End);

const V4: Template<Told> = Template { id: 256, scope: 0, fields: &[&COMMON, &V4_ADDRESSES, &IP, &V4_ICMP] };
const V6: Template<Told> = Template { id: 257, scope: 0, fields: &[&COMMON, &V6_ADDRESSES, &IP, &V6_ICMP] };
const L2: Template<Told> = Template { id: 258, scope: 0, fields: &[&COMMON, &FRAMES] };
const SAMPLING: Template<u32> = Template { id: 259, scope: 1, fields: &[&SELECTORS] };
const RATE: Template<(u32, u32)> = Template { id: 261, scope: 1, fields: &[&INTERVAL] };
const NAMES: Template<(u32, String)> = Template { id: 260, scope: 1, fields: &[&INTERFACES] };

const COMMON: [Field<Told>; 12] = [
    field(152, 8, |(flow, _), out| out.extend(millis(flow.first))), // flowStartMilliseconds
    field(153, 8, |(flow, _), out| out.extend(millis(flow.last))),  // flowEndMilliseconds
    field(2, 8, |(flow, _), out| out.extend(flow.packets.to_be_bytes())), // packetDeltaCount
    field(10, 4, |(flow, _), out| out.extend(flow.key.ingress.to_be_bytes())), // ingressInterface
    field(14, 4, |(flow, _), out| out.extend(flow.key.egress.to_be_bytes())), // egressInterface
    field(56, 6, |(flow, _), out| out.extend(flow.key.source_mac)), // sourceMacAddress
    field(80, 6, |(flow, _), out| out.extend(flow.key.destination_mac)), // destinationMacAddress
    field(58, 2, |(flow, _), out| out.extend(flow.key.vlan.to_be_bytes())), // vlanId
    field(256, 2, |(flow, _), out| out.extend(flow.key.ether_type.to_be_bytes())), // ethernetType
    field(302, 1, |_, out| out.push(SELECTOR)),                     // selectorId
    field(89, 1, |(flow, _), out| out.push(flow.key.status)),       // forwardingStatus
    field(136, 1, |(_, end), out| out.push(*end as u8)),            // flowEndReason
];
const FRAMES: [Field<Told>; 1] = [
    field(352, 8, |(flow, _), out| out.extend(flow.octets.to_be_bytes())), // layer2OctetDeltaCount
];
const IP: [Field<Told>; 6] = [
    field(1, 8, |(flow, _), out| out.extend(flow.octets.to_be_bytes())), // octetDeltaCount
    field(4, 1, |(flow, _), out| out.push(flow.key.protocol)),           // protocolIdentifier
    field(5, 1, |(flow, _), out| out.push(flow.key.tos)),                // ipClassOfService
    field(7, 2, |(flow, _), out| out.extend(flow.key.source_port.to_be_bytes())), // sourceTransportPort
    field(11, 2, |(flow, _), out| out.extend(flow.key.destination_port.to_be_bytes())), // destinationTransportPort
    field(6, 2, |(flow, _), out| out.extend(u16::from(flow.flags).to_be_bytes())),      // tcpControlBits
];
const V4_ADDRESSES: [Field<Told>; 2] = [
    field(8, 4, |(flow, _), out| out.extend(&address(flow, true)[..4])), // sourceIPv4Address
    field(12, 4, |(flow, _), out| out.extend(&address(flow, false)[..4])), // destinationIPv4Address
];
const V6_ADDRESSES: [Field<Told>; 2] = [
    field(27, 16, |(flow, _), out| out.extend(address(flow, true))), // sourceIPv6Address
    field(28, 16, |(flow, _), out| out.extend(address(flow, false))), // destinationIPv6Address
];
const V4_ICMP: [Field<Told>; 1] = [
    field(32, 2, |(flow, _), out| out.extend(flow.key.icmp.to_be_bytes())), // icmpTypeCodeIPv4
];
const V6_ICMP: [Field<Told>; 1] = [
    field(139, 2, |(flow, _), out| out.extend(flow.key.icmp.to_be_bytes())), // icmpTypeCodeIPv6
];
/// The probability is what it is; the interval and the space say the same to those who know only them.
const SELECTORS: [Field<u32>; 5] = [
    field(302, 1, |_, out| out.push(SELECTOR)), // selectorId
    field(304, 2, |_, out| out.extend(UNIFORM_PROBABILISTIC.to_be_bytes())), // selectorAlgorithm
    field(305, 4, |_, out| out.extend(1_u32.to_be_bytes())), // samplingPacketInterval
    field(306, 4, |rate, out| out.extend((rate - 1).to_be_bytes())), // samplingPacketSpace
    field(311, 8, |rate, out| out.extend((1.0 / f64::from(*rate)).to_be_bytes())), // samplingProbability
];
/// The same for collectors that know selectors less well, nfcapd 1.7.1 among them. IANA has deprecated it.
const INTERVAL: [Field<(u32, u32)>; 2] = [
    field(149, 4, |(domain, _), out| out.extend(domain.to_be_bytes())), // observationDomainId
    field(34, 4, |(_, rate), out| out.extend(rate.to_be_bytes())),      // samplingInterval
];
const INTERFACES: [Field<(u32, String)>; 2] = [
    field(10, 4, |(number, _), out| out.extend(number.to_be_bytes())), // ingressInterface
    field(82, NAME_LEN as u16, |(_, name), out| {
        let mut text = [0; NAME_LEN];
        let len = name.len().min(NAME_LEN);
        text[..len].copy_from_slice(&name.as_bytes()[..len]);
        out.extend(text);
    }), // interfaceName
];

impl<R> Template<R> {
    fn fields(&self) -> impl Iterator<Item = &'static Field<R>> + use<R> {
        self.fields.iter().copied().flatten()
    }

    /// The record that describes the others.
    fn describe(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.id);
        put(&mut out, self.fields().count() as u16);
        if self.scope > 0 {
            put(&mut out, self.scope);
        }
        for Field { element, len, .. } in self.fields() {
            put(&mut out, *element);
            put(&mut out, *len);
        }
        out
    }

    fn record(&self, of: &R) -> Vec<u8> {
        let mut out = Vec::new();
        self.fields().for_each(|field| (field.write)(of, &mut out));
        out
    }
}

fn millis(date: Duration) -> [u8; 8] {
    (date.as_millis() as u64).to_be_bytes()
}

/// An address of a flow; that of IPv4 stands in the first four bytes.
fn address(flow: &Flow, of_source: bool) -> [u8; 16] {
    let mut octets = [0; 16];
    match flow.key.addresses {
        Addresses::None => {}
        Addresses::V4 { source, destination } => {
            octets[..4].copy_from_slice(&if of_source { source } else { destination }.octets());
        }
        Addresses::V6 { source, destination } => {
            octets = if of_source { source } else { destination }.octets();
        }
    }
    octets
}

/// An exporting process: the flows that it has not told yet, and the message that it is filling.
pub(super) struct Process {
    rate: u32,
    flows: Flows,
    message: Message,
    /// The names of interfaces.
    names: BTreeMap<u32, String>,
    /// How often the templates are told, and when next.
    every: Duration,
    templates_due: Duration,
}

impl Process {
    /// A process that tells of flows out of one packet in `rate`, and of the templates in such intervals.
    pub(super) fn new(
        domain: u32,
        rate: u32,
        timeouts: Timeouts,
        templates: Duration,
        limit: usize,
    ) -> Process {
        Process {
            rate,
            flows: Flows::new(timeouts, limit),
            message: Message::new(domain),
            names: BTreeMap::new(),
            every: templates,
            templates_due: Duration::ZERO,
        }
    }

    fn tell_templates(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        self.templates_due = now.up + self.every;
        for template in [V4.describe(), V6.describe(), L2.describe()] {
            self.message.add(TEMPLATES, &template, now, send);
        }
        for template in [SAMPLING.describe(), RATE.describe(), NAMES.describe()] {
            // Each in a set of its own: nfcapd 1.7.1 reads the first of a set only.
            self.message.last = None;
            self.message.add(OPTIONS_TEMPLATES, &template, now, send);
        }
        self.message.add(SAMPLING.id, &SAMPLING.record(&self.rate), now, send);
        let rate = RATE.record(&(self.message.domain, self.rate));
        self.message.add(RATE.id, &rate, now, send);
        self.tell_names(now, send);
    }

    fn tell_names(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        for (number, name) in &self.names {
            self.message.add(NAMES.id, &NAMES.record(&(*number, name.clone())), now, send);
        }
        // At once, so that what follows is understood.
        self.message.flush(now, send);
    }

    fn tell(&mut self, told: &Told, now: Clock, send: &mut dyn FnMut(&[u8])) {
        let template = match told.0.key.addresses {
            Addresses::None => L2,
            Addresses::V4 { .. } => V4,
            Addresses::V6 { .. } => V6,
        };
        self.message.add(template.id, &template.record(told), now, send);
    }
}

impl Telling for Process {
    fn sample(&mut self, sample: &Sample, now: Clock, send: &mut dyn FnMut(&[u8])) {
        if let Some(told) = self.flows.add(&Seen::of(sample), now) {
            self.tell(&told, now, send);
        }
    }

    fn interfaces(&mut self, interfaces: &[Interface], now: Clock, send: &mut dyn FnMut(&[u8])) {
        let names = interfaces.iter().map(|to| (interface_number(to.port), to.name.clone())).collect();
        if self.names != names {
            self.names = names;
            self.tell_names(now, send);
        }
    }

    fn due(&self) -> Option<Duration> {
        let all = [Some(self.templates_due), self.flows.due(), self.message.due()];
        all.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        if self.templates_due <= now.up {
            self.tell_templates(now, send);
        }
        while let Some(told) = self.flows.take_due(now) {
            self.tell(&told, now, send);
        }
        if self.message.due().is_some_and(|due| due <= now.up) {
            self.message.flush(now, send);
        }
    }

    fn finish(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        while let Some(told) = self.flows.take_any() {
            self.tell(&told, now, send);
        }
        self.message.flush(now, send);
    }

    /// To the collector that is a new session (RFC 7011 section 10.3.1), which knows no templates yet.
    fn opened(&mut self, _: IpAddr) {
        self.message.sequence = 0;
        self.templates_due = Duration::ZERO;
    }

    fn flows(&self) -> usize {
        self.flows.len()
    }
}

/// The message that is being filled.
struct Message {
    domain: u32,
    /// Data records that were sent before it.
    sequence: u32,
    /// Data records in it.
    records: u32,
    /// Its sets.
    sets: Vec<u8>,
    /// What the last of them is of, and where it begins.
    last: Option<(u16, usize)>,
    /// Since when the first of its records waits.
    since: Duration,
}

impl Message {
    fn new(domain: u32) -> Message {
        Message {
            domain,
            sequence: 0,
            records: 0,
            sets: Vec::with_capacity(MAX_MESSAGE),
            last: None,
            since: Duration::ZERO,
        }
    }

    /// Adds a record to the message, or to the next where it does not fit any more.
    fn add(&mut self, set: u16, record: &[u8], now: Clock, send: &mut dyn FnMut(&[u8])) {
        if HEADER_LEN + self.sets.len() + SET_HEADER_LEN + record.len() > MAX_MESSAGE {
            self.flush(now, send);
        }
        if self.sets.is_empty() {
            self.since = now.up;
        }
        let at = match self.last {
            Some((last, at)) if last == set => at,
            _ => {
                let at = self.sets.len();
                put(&mut self.sets, set);
                put(&mut self.sets, 0);
                self.last = Some((set, at));
                at
            }
        };
        self.sets.extend_from_slice(record);
        let len = (self.sets.len() - at) as u16;
        self.sets[at + 2..at + 4].copy_from_slice(&len.to_be_bytes());
        self.records += u32::from(set > 255);
    }

    fn due(&self) -> Option<Duration> {
        (!self.sets.is_empty()).then(|| self.since + MAX_WAIT)
    }

    /// Sends the message, unless it is empty.
    fn flush(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        if self.sets.is_empty() {
            return;
        }
        let mut message = Vec::with_capacity(HEADER_LEN + self.sets.len());
        put(&mut message, VERSION);
        put(&mut message, (HEADER_LEN + self.sets.len()) as u16);
        message.extend((now.date.as_secs() as u32).to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.domain.to_be_bytes());
        message.append(&mut self.sets);
        self.sequence = self.sequence.wrapping_add(self.records);
        self.records = 0;
        self.last = None;
        send(&message);
    }
}

fn put(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}
