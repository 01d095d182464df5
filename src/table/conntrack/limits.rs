//! What a table may hold, for how long, and how NAT maps and lets in: all that is configured of it.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use super::session::Phase;
use crate::wire::{icmp, tcp, udp};

/// What a [`Conntrack`](super::Conntrack) is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions at a time. The table is laid out for what it was made with; a higher one set later works, and
    /// makes it slower.
    pub sessions: usize,
    /// Most sessions whose first packet came from the same address.
    pub per_source: usize,
    /// How long silent sessions are kept.
    pub timeouts: Timeouts,
    /// Who may send to a mapping from outside.
    pub filtering: Filtering,
    /// What flows share a mapping.
    pub mapping: Mapping,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 262_144,
            per_source: usize::MAX,
            timeouts: Timeouts::default(),
            filtering: Filtering::default(),
            mapping: Mapping::default(),
        }
    }
}

/// How long a session is kept after its last packet, by what it is and how far it is. They count in whole seconds,
/// rounded up, and a session may live up to a second longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP with packets both ways. RFC 4787 REQ-5: 5 minutes are recommended, less than 2 are not allowed.
    pub udp: Duration,
    /// UDP that nobody has answered. RFC 4787 REQ-5 speaks of this, too: 2 minutes.
    pub udp_unreplied: Duration,
    /// TCP after its handshake. RFC 5382 REQ-5: at least 2 hours 4 minutes.
    pub tcp_established: Duration,
    /// TCP during its handshake. RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_half_open: Duration,
    /// TCP after one side's FIN. RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_transitory: Duration,
    /// TCP after both FINs or a RST. RFC 5382 REQ-5 and RFC 7857 section 2.2: 4 minutes. Being so long it costs
    /// nobody anything: such sessions are the first that give up their place and their ports.
    pub tcp_closed: Duration,
    /// ICMP and ICMPv6 queries. RFC 5508 REQ-2: at least 60 seconds.
    pub icmp: Duration,
    /// Every other protocol.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            udp: Duration::from_secs(300),
            udp_unreplied: Duration::from_secs(120),
            tcp_established: Duration::from_secs(7440),
            tcp_half_open: Duration::from_secs(240),
            tcp_transitory: Duration::from_secs(240),
            tcp_closed: Duration::from_secs(240),
            icmp: Duration::from_secs(60),
            other: Duration::from_secs(600),
        }
    }
}

/// Who may send to a mapping from outside (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Everybody.
    EndpointIndependent,
    /// Every port of an address that the mapping has sent to.
    AddressDependent,
    /// Only whom the mapping has sent to.
    #[default]
    AddressAndPortDependent,
}

/// What flows share a mapping (RFC 4787 section 4.1), for TCP, UDP and ICMP queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// All from the same address and port, wherever they go to.
    #[default]
    EndpointIndependent,
    /// None: each has its own, and those to different destinations may have the same port.
    AddressAndPortDependent,
}

/// What of the limits is read without a lock.
#[derive(Debug, Default)]
pub(super) struct Settings {
    seconds: [AtomicU32; 8],
    filtering: AtomicU8,
}

impl Settings {
    pub(super) fn set(&self, limits: &Limits) {
        let timeouts = &limits.timeouts;
        let of = [
            timeouts.udp,
            timeouts.udp_unreplied,
            timeouts.tcp_established,
            timeouts.tcp_half_open,
            timeouts.tcp_transitory,
            timeouts.tcp_closed,
            timeouts.icmp,
            timeouts.other,
        ];
        for (seconds, timeout) in self.seconds.iter().zip(of) {
            let whole = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
            seconds.store(whole.min(LONGEST) as u32, Ordering::Relaxed);
        }
        self.filtering.store(limits.filtering as u8, Ordering::Relaxed);
    }

    /// The timeout of a session of `protocol` in `phase`, in seconds.
    #[inline]
    pub(super) fn timeout(&self, protocol: u8, phase: Phase) -> u32 {
        let which = match (phase, protocol) {
            (Phase::Replied, udp::PROTOCOL) => 0,
            (Phase::Unreplied, udp::PROTOCOL) => 1,
            (Phase::Established, _) => 2,
            (Phase::SynSent | Phase::SynReceived | Phase::PickedUp, _) => 3,
            (Phase::Closing, _) => 4,
            (Phase::Closed | Phase::Removed, _) => 5,
            (_, icmp::PROTOCOL | icmp::V6_PROTOCOL) => 6,
            _ => 7,
        };
        self.seconds[which].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn filtering(&self) -> Filtering {
        match self.filtering.load(Ordering::Relaxed) {
            0 => Filtering::EndpointIndependent,
            1 => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        }
    }
}

/// Longest timeout in seconds, ten years: no sum of it and a time overflows soon.
const LONGEST: u64 = 10 * 365 * 86_400;

/// Whether NAT gives flows of this protocol ports, or identifiers as such.
#[inline]
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, tcp::PROTOCOL | udp::PROTOCOL | icmp::PROTOCOL | icmp::V6_PROTOCOL)
}
