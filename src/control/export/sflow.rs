//! sFlow version 5 (sflow.org/sflow_version_5.txt): datagrams of flow samples, each the first bytes of a frame that was
//! picked, and of counter samples. Bytes only: nothing is sent here.
//!
//! Everything is a number of 32 bits, most significant byte first, and what is not is filled up to the next (XDR). The
//! data source of a sample is the port that the frame came in by, and each has sequence numbers of its own; the number of
//! a port on the wire is its [`interface_number`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Clock, Interface, Telling, interface_number};
use crate::packet::{Counters, DropReason, Layer, PortId};
use crate::worker::{Fate, Sample};

/// Most bytes of a datagram: it fits an Ethernet frame with IPv6 and a tunnel around it.
const MAX_DATAGRAM: usize = 1400;
/// How long a sample may wait for others to share its datagram; the specification allows a second.
const MAX_WAIT: Duration = Duration::from_millis(500);

const VERSION: u32 = 5;
const FLOW_SAMPLE: u32 = 1;
const COUNTER_SAMPLE: u32 = 2;
const RAW_HEADER: u32 = 1;
const EXTENDED_SWITCH: u32 = 1001;
const GENERIC_COUNTERS: u32 = 1;
const ETHERNET_COUNTERS: u32 = 2;
const PORT_NAME: u32 = 1005;
/// What stands for a counter that nobody keeps.
const UNKNOWN: u32 = u32::MAX;
/// The interface of what the switch took for itself.
const INTERNAL: u32 = 0x3fff_ffff;

/// An sFlow agent: what it has told of each data source, and the datagram that it is filling.
pub(super) struct Agent {
    /// The address that the switch is known by.
    address: IpAddr,
    /// That was configured.
    is_named: bool,
    sub_agent: u32,
    rate: u32,
    sequence: u32,
    sources: HashMap<PortId, Source>,
    /// The samples of the datagram that is being filled, without its header.
    samples: Vec<u8>,
    count: u32,
    /// Since when the first of them waits.
    since: Duration,
}

/// What has been told of a data source.
#[derive(Default)]
struct Source {
    flows: u32,
    counters: u32,
    pool: u32,
    missed: u32,
}

impl Agent {
    /// An agent that picks one frame in `rate`, and is known by `address`, or else by that of its socket.
    pub(super) fn new(address: Option<IpAddr>, sub_agent: u32, rate: u32) -> Agent {
        Agent {
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            is_named: address.is_some(),
            sub_agent,
            rate,
            sequence: 0,
            sources: HashMap::new(),
            samples: Vec::with_capacity(MAX_DATAGRAM),
            count: 0,
            since: Duration::ZERO,
        }
    }

    /// Puts what `write` writes into the datagram, or into the next where it does not fit any more.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>), now: Clock, send: &mut dyn FnMut(&[u8])) {
        let before = self.samples.len();
        write(&mut self.samples);
        let room = MAX_DATAGRAM - header_len(self.address);
        if self.samples.len() > room && self.count > 0 {
            let last = self.samples.split_off(before);
            self.flush(now, send);
            self.samples = last;
        }
        if self.count == 0 {
            self.since = now.up;
        }
        self.count += 1;
    }

    /// Sends the datagram that is being filled, unless it is empty.
    fn flush(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        if self.count == 0 {
            return;
        }
        let mut datagram = Vec::with_capacity(header_len(self.address) + self.samples.len());
        put(&mut datagram, VERSION);
        match self.address {
            IpAddr::V4(address) => {
                put(&mut datagram, 1);
                datagram.extend(address.octets());
            }
            IpAddr::V6(address) => {
                put(&mut datagram, 2);
                datagram.extend(address.octets());
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        put(&mut datagram, self.sub_agent);
        put(&mut datagram, self.sequence);
        put(&mut datagram, now.up.as_millis() as u32); // wraps, as the field does
        put(&mut datagram, self.count);
        datagram.append(&mut self.samples);
        self.count = 0;
        send(&datagram);
    }
}

impl Telling for Agent {
    fn sample(&mut self, sample: &Sample, now: Clock, send: &mut dyn FnMut(&[u8])) {
        let source = self.sources.entry(sample.port).or_default();
        source.flows = source.flows.wrapping_add(1);
        source.pool = source.pool.wrapping_add(sample.pool as u32);
        source.missed = source.missed.wrapping_add(sample.missed);
        let head = [
            source.flows,
            interface_number(sample.port), // of type 0, an interface
            self.rate,
            source.pool,
            source.missed,
            interface_number(sample.port),
            output(sample.fate),
        ];
        self.add(|out| flow_sample(out, &head, sample), now, send);
    }

    fn interfaces(&mut self, interfaces: &[Interface], now: Clock, send: &mut dyn FnMut(&[u8])) {
        self.sources.retain(|port, _| interfaces.iter().any(|interface| interface.port == *port));
        for interface in interfaces {
            let Some(counters) = &interface.counters else { continue };
            let source = self.sources.entry(interface.port).or_default();
            source.counters = source.counters.wrapping_add(1);
            let sequence = source.counters;
            self.add(|out| counter_sample(out, sequence, interface, counters), now, send);
        }
    }

    fn due(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.since + MAX_WAIT)
    }

    fn tick(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        if self.due().is_some_and(|due| due <= now.up) {
            self.flush(now, send);
        }
    }

    fn finish(&mut self, now: Clock, send: &mut dyn FnMut(&[u8])) {
        self.flush(now, send);
    }

    fn opened(&mut self, from: IpAddr) {
        if !self.is_named {
            self.address = from;
        }
    }

    fn flows(&self) -> usize {
        0
    }
}

/// Bytes of a datagram before its samples.
fn header_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 28 } else { 40 }
}

fn flow_sample(out: &mut Vec<u8>, head: &[u32; 7], sample: &Sample) {
    framed(out, FLOW_SAMPLE, |out| {
        head.iter().for_each(|number| put(out, *number));
        put(out, if sample.vlan == 0 { 1 } else { 2 });
        framed(out, RAW_HEADER, |out| raw_header(out, sample));
        if sample.vlan != 0 {
            framed(out, EXTENDED_SWITCH, |out| {
                let (vlan, priority) = (u32::from(sample.vlan), priority(sample));
                // A bridge changes neither on the way from port to port.
                [vlan, priority, vlan, priority].iter().for_each(|number| put(out, *number));
            });
        }
    });
}

fn raw_header(out: &mut Vec<u8>, sample: &Sample) {
    let header = &*sample.header;
    let protocol = match (sample.layer, header.first().map_or(0, |first| first >> 4)) {
        (Layer::Ethernet, _) => 1,
        (Layer::Ip, 6) => 12,
        (Layer::Ip, _) => 11,
    };
    put(out, protocol);
    put(out, sample.length);
    put(out, 0); // No virtual port has seen a frame check sequence, which would have been stripped.
    opaque(out, header);
}

/// The priority that a frame's tag says; 0 without one.
fn priority(sample: &Sample) -> u32 {
    match (sample.layer, &*sample.header) {
        (Layer::Ethernet, [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, tag, ..]) => u32::from(tag >> 5),
        _ => 0,
    }
}

fn counter_sample(out: &mut Vec<u8>, sequence: u32, interface: &Interface, counters: &Counters) {
    framed(out, COUNTER_SAMPLE, |out| {
        put(out, sequence);
        put(out, interface_number(interface.port));
        put(out, 3);
        framed(out, GENERIC_COUNTERS, |out| generic_counters(out, interface, counters));
        framed(out, ETHERNET_COUNTERS, |out| ethernet_counters(out, counters));
        framed(out, PORT_NAME, |out| opaque(out, interface.name.as_bytes()));
    });
}

/// As `ifTable` has them (RFC 2863). Frames of all kinds count as unicast, since a port does not count them apart.
fn generic_counters(out: &mut Vec<u8>, interface: &Interface, counters: &Counters) {
    let lost = Lost::of(counters);
    put(out, interface_number(interface.port));
    put(out, if interface.layer == Layer::Ethernet { 6 } else { 1 }); // ethernetCsmacd, or other
    put_long(out, 0); // The speed: memory has none.
    put(out, 1); // full duplex
    put(out, 1 | u32::from(interface.up) << 1); // administratively up, and whether it is up indeed
    put_long(out, counters.rx_bytes);
    put(out, counters.rx_frames as u32);
    put(out, UNKNOWN);
    put(out, UNKNOWN);
    put(out, lost.received as u32);
    put(out, lost.malformed as u32);
    put(out, UNKNOWN);
    put_long(out, counters.tx_bytes);
    put(out, counters.tx_frames as u32);
    put(out, UNKNOWN);
    put(out, UNKNOWN);
    put(out, lost.sending as u32);
    put(out, 0);
    put(out, 0); // It hears what it is not addressed by, as a port of a bridge does, but is in no such mode.
}

/// As `dot3StatsTable` has them (RFC 3635). There is no medium on which a frame could be damaged or collide.
fn ethernet_counters(out: &mut Vec<u8>, counters: &Counters) {
    let too_long = counters.dropped(DropReason::Oversized) as u32;
    let refused = counters.dropped(DropReason::Refused) as u32;
    // Alignment, FCS; collisions: single, multiple; SQE test; deferred, late, excessive; then errors within.
    [0, 0, 0, 0, 0, 0, 0, 0, refused, 0, too_long, 0, 0].iter().for_each(|number| put(out, *number));
}

/// Frames that a port has lost.
#[derive(Default)]
struct Lost {
    /// Malformed as they came in.
    malformed: u64,
    /// Dropped for another reason as they came in.
    received: u64,
    /// Dropped because the port could not send them.
    sending: u64,
}

impl Lost {
    fn of(counters: &Counters) -> Lost {
        use DropReason as R;
        let mut lost = Lost::default();
        for (reason, frames) in counters.drops() {
            *match reason {
                R::Runt | R::Oversized | R::BadOffload | R::BadRing => &mut lost.malformed,
                R::ExceedsMtu
                | R::Unsegmentable
                | R::NoBuffer
                | R::QueueFull
                | R::PortDown
                | R::NoCarrier
                | R::Unreachable
                | R::NotAttached
                | R::PortMissing
                | R::Refused => &mut lost.sending,
                _ => &mut lost.received,
            } += frames;
        }
        lost
    }
}

/// Where a frame went, in two bits of kind and thirty of number.
fn output(fate: Fate) -> u32 {
    match fate {
        Fate::Sent { port, ports: 0 | 1 } => interface_number(port),
        Fate::Sent { ports, .. } => 2 << 30 | u32::from(ports),
        Fate::Taken => INTERNAL,
        Fate::Dropped(reason) => 1 << 30 | drop_code(reason),
    }
}

/// The number that sFlow has for why a frame was dropped: the codes of ICMP's "unreachable", and those of
/// sflow.org/sflow_drops.txt from 256 on.
fn drop_code(reason: DropReason) -> u32 {
    use DropReason as R;
    const UNKNOWN_REASON: u32 = 256;
    match reason {
        R::NoRoute => 6,
        R::Isolated | R::Private | R::Reflected => 8,
        R::Rejected => 9,
        R::TtlExceeded => 257,
        R::SpoofedMac | R::SpoofedIp | R::DhcpGuard | R::RaGuard | R::Filtered | R::Stranger => 258,
        R::NoBuffer
        | R::QueueFull
        | R::NeighborQueue
        | R::SessionsFull
        | R::SourceQuota
        | R::PortsExhausted
        | R::FragmentFlood
        | R::ReceiveOverflow => 259,
        R::StormBroadcast | R::StormMulticast | R::StormUnknown | R::RateLimited => 261,
        R::ExceedsMtu | R::Oversized | R::Unsegmentable => 262,
        R::BadSource => 263,
        R::VlanReserved | R::VlanUntagged => 264,
        R::VlanNotAllowed => 265,
        R::NoMember | R::VlanEgress => 267,
        R::SamePort | R::SplitHorizon | R::OwnSource | R::PatchLoop => 268,
        R::Blackhole => 269,
        R::NotIp => 270,
        R::IpHeader => 275,
        R::NoNeighbor => 279,
        R::TunnelHeader
        | R::TunnelReserved
        | R::TunnelOption
        | R::TunnelChecksum
        | R::TunnelPayload
        | R::TunnelUnknown => 282,
        _ => UNKNOWN_REASON,
    }
}

/// A structure with its format and its length before it.
fn framed(out: &mut Vec<u8>, format: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put(out, format);
    let at = out.len();
    put(out, 0);
    write(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Bytes with their length before them, filled up to four.
fn opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn put(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_be_bytes());
}

fn put_long(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}
