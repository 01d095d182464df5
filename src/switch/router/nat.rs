//! How a router translates addresses: what its configuration says of the first packet of a connection. What follows is
//! remembered by [`Conntrack`](crate::table::conntrack::Conntrack); only prefixes of IPv6 are translated without memory.

use core::ops::RangeInclusive;

use crate::packet::{InterfaceId, Tuple, npt::PrefixPair};
use crate::table::conntrack::Endpoint;
use crate::table::lpm::Prefix;
use crate::wire::address::Address;

/// The translations of a router, each list in the order of the configuration: the first that fits counts.
#[derive(Clone, Default)]
pub struct Nat {
    /// Destinations: `dnat` and `port-forward`.
    pub forwards: Vec<Forward>,
    /// One to one, both ways: `static`.
    pub statics: Vec<StaticRule>,
    /// Sources: `masquerade` and `snat`.
    pub sources: Vec<SourceRule>,
    /// Prefixes of IPv6, without memory: `npt`.
    pub prefixes: Vec<PrefixRule>,
}

/// Which packets a translation is for.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Their sources; any, when empty.
    pub sources: Vec<Prefix>,
    /// Their destinations; any, when empty.
    pub destinations: Vec<Prefix>,
    /// Their protocols; any, when empty.
    pub protocols: Vec<u8>,
}

impl Traffic {
    fn covers(&self, tuple: &Tuple) -> bool {
        let among = |prefixes: &[Prefix], address| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
        };
        among(&self.sources, tuple.source)
            && among(&self.destinations, tuple.destination)
            && (self.protocols.is_empty() || self.protocols.contains(&tuple.protocol))
    }
}

/// Packets to the router, or to others, that go to somebody else.
#[derive(Clone)]
pub struct Forward {
    /// What tells it from the router's other translations, whatever place it has among them.
    pub rule: u32,
    /// The interface whose addresses it stands for, whoever sends to them.
    pub interface: InterfaceId,
    /// It is for the interface's own addresses only; otherwise for what comes in by the interface.
    pub own_addresses: bool,
    /// Which packets.
    pub traffic: Traffic,
    /// Their destination ports; any, when `None`.
    pub ports: Option<RangeInclusive<u16>>,
    /// Where they go: one of these for each client.
    pub to: Vec<Target>,
}

/// Where a connection is forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The addresses, of which one is taken.
    pub addresses: RangeInclusive<Address>,
    /// The port that the first of the rule's ports becomes; `None`: the port stays.
    pub port: Option<u16>,
}

/// Addresses that stand for others one to one.
#[derive(Clone)]
pub struct StaticRule {
    /// What tells it from the router's other translations.
    pub rule: u32,
    /// The interface outside.
    pub interface: InterfaceId,
    /// What is seen outside.
    pub external: Prefix,
    /// What that is inside; as long as the other.
    pub internal: Prefix,
}

/// Packets that leave with another source.
#[derive(Clone)]
pub struct SourceRule {
    /// What tells it from the router's other translations.
    pub rule: u32,
    /// The interface they leave by.
    pub interface: InterfaceId,
    /// Which packets.
    pub traffic: Traffic,
    /// Their new sources; the interface's own address, when empty.
    pub to: Vec<RangeInclusive<Address>>,
    /// Their new ports, where the old one cannot stay.
    pub ports: RangeInclusive<u16>,
}

impl SourceRule {
    /// Whether it has new sources of the same version; an interface's own address is looked for where it is needed.
    fn has_sources_like(&self, source: Address) -> bool {
        self.to.is_empty() || self.to.iter().any(|range| range.start().is_v4() == source.is_v4())
    }
}

/// Prefixes of IPv6 that stand for others (RFC 6296).
#[derive(Clone)]
pub struct PrefixRule {
    /// What tells it from the router's other translations.
    pub rule: u32,
    /// The interface outside.
    pub interface: InterfaceId,
    /// Both prefixes.
    pub pair: PrefixPair,
}

impl Nat {
    /// Whether nothing is translated that has to be remembered.
    pub fn is_stateless(&self) -> bool {
        self.forwards.is_empty() && self.statics.is_empty() && self.sources.is_empty()
    }

    /// Where a connection goes whose first packet is `tuple`, come in by `input`, if it is another place than it says;
    /// and the rule. `own` tells whether an address is one of an interface's.
    pub(in crate::switch) fn destination(
        &self,
        tuple: &Tuple,
        input: InterfaceId,
        flow: u64,
        own: impl Fn(InterfaceId, Address) -> bool,
    ) -> Option<(u32, Endpoint)> {
        let forward = self.forwards.iter().find(|rule| {
            let place = match rule.own_addresses {
                true => own(rule.interface, tuple.destination),
                false => rule.interface == input,
            };
            place
                && rule.traffic.covers(tuple)
                && rule.ports.as_ref().is_none_or(|ports| ports.contains(&tuple.destination_port))
                && rule.to.iter().any(|target| target.addresses.start().is_v4() == tuple.destination.is_v4())
        });
        if let Some(rule) = forward {
            let targets: Vec<_> = rule
                .to
                .iter()
                .filter(|to| to.addresses.start().is_v4() == tuple.destination.is_v4())
                .collect();
            let target = targets[super::spread(flow, targets.len())];
            let first = rule.ports.as_ref().map_or(tuple.destination_port, |ports| *ports.start());
            let offset = tuple.destination_port - first;
            let port = target.port.map_or(tuple.destination_port, |port| port.saturating_add(offset));
            let (first_address, last) = (target.addresses.start().bits(), target.addresses.end().bits());
            let among = (last - first_address).saturating_add(1);
            let address = Address::from_bits(first_address + u128::from(flow as u32) % among);
            return Some((rule.rule, Endpoint { address, port }));
        }
        let fixed = self.statics.iter().find(|rule| rule.external.contains(tuple.destination))?;
        let address = moved(tuple.destination, &fixed.external, &fixed.internal);
        Some((fixed.rule, Endpoint { address, port: tuple.destination_port }))
    }

    /// The static translation of a source that leaves by `output`.
    pub(in crate::switch) fn fixed_source(
        &self,
        source: Address,
        output: InterfaceId,
    ) -> Option<(u32, Address)> {
        let fixed =
            self.statics.iter().find(|rule| rule.interface == output && rule.internal.contains(source))?;
        Some((fixed.rule, moved(source, &fixed.internal, &fixed.external)))
    }

    /// The translation of the source of a connection that leaves by `output`.
    pub(in crate::switch) fn source(&self, tuple: &Tuple, output: InterfaceId) -> Option<&SourceRule> {
        self.sources.iter().find(|rule| {
            rule.interface == output && rule.traffic.covers(tuple) && rule.has_sources_like(tuple.source)
        })
    }

    /// Whether connections to this place outside are forwarded, so that no source may be made to look like it
    /// (CVE-2021-3773).
    pub(in crate::switch) fn is_forwarded(
        &self,
        place: Endpoint,
        protocol: u8,
        own: impl Fn(InterfaceId, Address) -> bool,
    ) -> bool {
        self.forwards.iter().any(|rule| {
            let traffic = &rule.traffic;
            (!rule.own_addresses || own(rule.interface, place.address))
                && (traffic.protocols.is_empty() || traffic.protocols.contains(&protocol))
                && (traffic.destinations.is_empty()
                    || traffic.destinations.iter().any(|prefix| prefix.contains(place.address)))
                && rule.ports.as_ref().is_none_or(|ports| ports.contains(&place.port))
                && (rule.own_addresses || !traffic.destinations.is_empty())
        })
    }

    /// Whether an address outside, by `interface`, is one that packets are made to come from or go to: neighbours there have
    /// to find it at the router, whether or not it is one of the interface's own.
    pub(in crate::switch) fn stands_for(&self, interface: InterfaceId, address: Address) -> bool {
        let fixed =
            self.statics.iter().any(|rule| rule.interface == interface && rule.external.contains(address));
        let source = self
            .sources
            .iter()
            .any(|rule| rule.interface == interface && rule.to.iter().any(|range| range.contains(&address)));
        let forward = self.forwards.iter().any(|rule| {
            rule.interface == interface
                && rule.traffic.destinations.iter().any(|prefix| {
                    // A whole network is routed here, or is behind another port.
                    prefix.len == if address.is_v4() { 32 } else { 128 } && prefix.contains(address)
                })
        });
        fixed || source || forward
    }

    /// Whether packets are made to come from this address, beside an interface's own.
    pub(in crate::switch) fn is_source(&self, address: Address) -> bool {
        self.sources.iter().any(|rule| rule.to.iter().any(|range| range.contains(&address)))
    }

    /// The destination that stands behind an external prefix, for what comes in by `input`.
    pub(in crate::switch) fn inward(&self, destination: Address, input: InterfaceId) -> Option<Address> {
        let mut rules = self.prefixes.iter().filter(|rule| rule.interface == input);
        rules.find_map(|rule| rule.pair.inbound(destination))
    }

    /// The source that an internal prefix has outside, for what leaves by `output`.
    pub(in crate::switch) fn outward(&self, source: Address, output: InterfaceId) -> Option<Address> {
        let mut rules = self.prefixes.iter().filter(|rule| rule.interface == output);
        rules.find_map(|rule| rule.pair.outbound(source))
    }
}

/// The address that has the place in `to` that `address` has in `from`.
fn moved(address: Address, from: &Prefix, to: &Prefix) -> Address {
    Address::from_bits(address.bits() ^ from.network.bits() ^ to.network.bits())
}
