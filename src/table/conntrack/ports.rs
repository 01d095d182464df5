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
    /// forward's. Else a flow could be answered by what was meant for them, or the reverse. It is asked many times for
    /// a flow, under a lock: it has to be quick, and must not come back to the table.
    pub reserved: &'a dyn Fn(Endpoint, u8) -> bool,
}

impl SourceNat<'_> {
    /// How many addresses there are.
    fn count(&self) -> u128 {
        self.addresses.iter().map(size).fold(0, u128::saturating_add)
    }

    /// The address of a source with this hash, at its `attempt`th attempt; `None` when there are not so many.
    pub(super) fn address(&self, hash: u64, attempt: u8) -> Option<Address> {
        let count = self.count();
        if u128::from(attempt) >= count {
            return None;
        }
        let mut nth = (u128::from(hash) + u128::from(attempt)) % count;
        self.addresses.iter().find_map(|range| match nth.checked_sub(size(range)) {
            Some(rest) => {
                nth = rest;
                None
            }
            None => Some(Address::from_bits(range.start().bits() + nth)),
        })
    }

    /// Whether a mapping of a source with `port` to `external` is one that it may have.
    pub(super) fn allows(&self, port: u16, external: Endpoint) -> bool {
        let may = if self.keep_port { external.port == port } else { self.ports.contains(&external.port) };
        may && self.addresses.iter().any(|range| range.contains(&external.address))
    }
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

fn size(range: &RangeInclusive<Address>) -> u128 {
    match range.is_empty() {
        true => 0,
        false => (range.end().bits() - range.start().bits()).saturating_add(1),
    }
}

/// Most ports that are looked at of each kind. Where one in twenty is free, one in seven hundred searches fails; small
/// ranges are searched to the end.
const PROBES: u32 = 128;
/// How far the next port to look at is: hosts like to use ports of one another's, so that those next to one taken are
/// often taken, too. A prime larger than any range, so that all of a range are come by.
const STRIDE: u64 = 2_654_435_761;
/// The first port that anybody may bind to.
const UNPRIVILEGED: u16 = 1024;

/// The ports to try for a flow from `port`, best first: its own; of the same parity, where `parity` counts (RFC 4787
/// REQ-4); any on the same side of 1024 (REQ-3); any. Each kind begins anywhere (RFC 6056 section 3.3.1), as `random`
/// says.
pub(super) fn candidates(
    port: u16,
    ports: &RangeInclusive<u16>,
    parity: bool,
    random: u64,
) -> impl Iterator<Item = u16> {
    let side = match port < UNPRIVILEGED {
        true => 0..=UNPRIVILEGED - 1,
        false => UNPRIVILEGED..=u16::MAX,
    };
    let near = *ports.start().max(side.start())..=*ports.end().min(side.end());
    let near = if near.is_empty() { ports.clone() } else { near };
    let even = match near.start() % 2 == port % 2 || near.is_empty() {
        true => near.clone(),
        false => near.start().saturating_add(1)..=*near.end(),
    };
    let own = ports.contains(&port).then_some(port);
    let step = |on: bool, range: &RangeInclusive<u16>, step: u16, random: u64| {
        let count = match on && !range.is_empty() {
            true => u32::from((range.end() - range.start()) / step) + 1,
            false => 0,
        };
        let start = *range.start();
        let first = (random & 0xffff_ffff) as u32 % count.max(1);
        (0..u64::from(count.min(PROBES)))
            .map(move |at| start + ((u64::from(first) + at * STRIDE) % u64::from(count)) as u16 * step)
    };
    own.into_iter()
        .chain(step(parity, &even, 2, random))
        .chain(step(true, &near, 1, random >> 16))
        .chain(step(near != *ports, ports, 1, random >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(port: u16, ports: RangeInclusive<u16>, parity: bool, random: u64) -> Vec<u16> {
        candidates(port, &ports, parity, random).collect()
    }

    #[test]
    fn a_port_stays_where_it_may() {
        assert_eq!(tried(5000, 1024..=65535, true, 77)[0], 5000);
        assert_eq!(tried(65535, 65535..=65535, false, 77), [65535, 65535]);
        assert_eq!(tried(0, 0..=0, true, 77), [0, 0, 0]);
        assert!(tried(80, 1024..=65535, true, 77).iter().all(|port| *port >= 1024));
        assert!(tried(5, 9..=9, true, u64::MAX).contains(&9));
        #[expect(clippy::reversed_empty_ranges)]
        let none = tried(5, 9..=8, true, 3);
        assert!(none.is_empty());
    }

    #[test]
    fn parity_and_the_side_of_1024_come_first() {
        for random in [0, 1, 0x1234_5678_9abc_def0, u64::MAX] {
            let tries = tried(5001, 1024..=65535, true, random);
            assert_eq!(tries.len(), 1 + 128 + 128);
            assert!(tries[..129].iter().all(|port| port % 2 == 1), "{random}");
            let tries = tried(77, 0..=65535, true, random);
            assert!(tries[..257].iter().all(|port| *port < 1024), "{random}");
            assert!(tries[..129].iter().all(|port| port % 2 == 1), "{random}");
            assert_eq!(tries.len(), 1 + 3 * 128);
        }
    }

    #[test]
    fn a_small_range_is_tried_to_the_end() {
        for random in 0..200 {
            let mut tries = tried(1, 2000..=2009, true, random);
            assert!(tries[..0].is_empty());
            tries.sort_unstable();
            tries.dedup();
            assert_eq!(tries, (2000..=2009).collect::<Vec<_>>());
        }
    }

    #[test]
    fn addresses_are_told_by_number() {
        let address = |text: &str| Address::from(text.parse::<core::net::IpAddr>().unwrap());
        let addresses = [
            address("10.0.0.1")..=address("10.0.0.2"),
            address("10.0.0.9")..=address("10.0.0.9"),
            address("10.0.0.8")..=address("10.0.0.7"),
        ];
        let nat =
            SourceNat { addresses: &addresses, ports: 1..=2, keep_port: false, reserved: &|_, _| false };
        let all: Vec<_> = (0..4).map(|nth| nat.address(nth, 0).unwrap().to_string()).collect();
        assert_eq!(all, ["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.1"]);
        assert_eq!(nat.address(2, 1), Some(address("10.0.0.1")));
        assert_eq!(nat.address(2, 3), None, "there are only three");
        assert_eq!(SourceNat { addresses: &[], ..nat.clone() }.address(0, 0), None);
        let everything = [address("::")..=address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];
        let nat = SourceNat { addresses: &everything, ..nat };
        assert_eq!(nat.address(u64::MAX, 2), Some(Address::from_bits(u128::from(u64::MAX) + 2)));
    }
}
