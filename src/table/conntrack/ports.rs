//! What NAT may give a flow, and in which order it is tried.

use core::ops::RangeInclusive;

use crate::wire::address::Address;

/// An address with a port, or with what stands for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port; of an ICMP query the identifier; 0 for protocols without.
    pub port: u16,
}

/// What source NAT may give a flow.
#[derive(Clone)]
pub struct SourceNat<'a> {
    /// The addresses, of the flow's own IP version. One internal address gets the same of them for all its flows
    /// (RFC 4787 REQ-2). With none, no flow starts.
    pub addresses: &'a [RangeInclusive<Address>],
    /// The ports, and identifiers of ICMP queries. Not looked at with `keep_port`.
    pub ports: RangeInclusive<u16>,
    /// Whether the port stays in any case, as for static 1:1 NAT.
    pub keep_port: bool,
    /// Whether an endpoint is somebody else's for this protocol and never to be given: one's own listener's, a port
    /// forward's. Else a flow could be answered by what was meant for them, or the reverse.
    pub reserved: &'a dyn Fn(Endpoint, u8) -> bool,
}

impl core::fmt::Debug for SourceNat<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SourceNat")
            .field("addresses", &self.addresses)
            .field("ports", &self.ports)
            .field("keep_port", &self.keep_port)
            .finish_non_exhaustive()
    }
}
