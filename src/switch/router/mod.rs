//! Routers, as the topology has them: interfaces, routes, rules, and the tables that live while packets pass.
//!
//! A router stands beside the bridges: its interfaces are each on a VLAN of a bridge, where it answers for the bridge's
//! own MAC address, or on a port that carries IP. What it does with a packet is in `switch/stage/route`; this is what it
//! does it by. All of it is immutable, but for what is behind an [`Arc`] and says that it is shared: the neighbour table
//! and the connections, which outlive a change of everything else.

mod filter;
mod flows;
mod nat;
mod routes;

use std::sync::Arc;
use std::time::Duration;

pub use filter::{Action, Chain, Condition, FIELDS, Filter, Hook, Judged, Rule, Subject, Tracked};
pub(in crate::switch) use flows::{Flow, FlowCache, Key, Onward};
pub use nat::{Forward, Nat, PrefixRule, SourceRule, StaticRule, Target, Traffic};
pub use routes::{NextHop, Route, Routes};

use crate::packet::{BridgeId, InterfaceId, PortId, Vid};
use crate::table::conntrack::Conntrack;
use crate::table::neighbors::Neighbors;
use crate::table::token_bucket::TokenBucket;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// A router.
pub struct Router {
    /// Its name in the configuration.
    pub name: String,
    /// Its interfaces, by [`InterfaceId`]. A free slot is `None`.
    pub interfaces: Vec<Option<Interface>>,
    /// Where packets go.
    pub routes: Arc<Routes>,
    /// The link addresses of next hops; shared.
    pub neighbors: Arc<Neighbors>,
    /// The connections, where NAT or a rule asks for their state; shared.
    pub sessions: Option<Arc<Conntrack>>,
    /// How addresses are translated.
    pub nat: Nat,
    /// Which packets pass.
    pub filter: Filter,
    /// Limits the ICMP errors it sends (RFC 1812 section 4.3.2.8); shared.
    pub errors: Arc<TokenBucket>,
    /// Packets that came in parts are put together before anything is decided about them: NAT, state and rules that name
    /// ports cannot do without.
    pub reassembles: bool,
}

/// An interface of a router.
#[derive(Clone)]
pub struct Interface {
    /// Its name in the configuration.
    pub name: String,
    /// What it is on.
    pub on: Attachment,
    /// Its addresses with their prefix lengths, as their versions count.
    pub addresses: Vec<(Address, u8)>,
    /// The longest packet that leaves here, in bytes.
    pub mtu: u32,
    /// What is asked of the sources of packets that come in here.
    pub reverse_path: ReversePath,
    /// What it tells hosts of itself, if it does.
    pub advertise: Option<Arc<Advertise>>,
}

/// What an interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A VLAN of a bridge (0 where that knows none), under the bridge's own address.
    Bridge {
        /// The bridge.
        bridge: BridgeId,
        /// The VLAN.
        vid: Vid,
        /// The bridge's address.
        mac: Mac,
    },
    /// A port that carries IP.
    Port(PortId),
}

/// What is asked of the source of a packet (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReversePath {
    /// Nothing.
    #[default]
    Off,
    /// Some route leads to it.
    Loose,
    /// The route to it leaves by the interface that the packet came in by.
    Strict,
}

/// What an interface tells the hosts on its link (RFC 4861 section 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// For how long it may be taken for a default router.
    pub lifetime: Duration,
    /// How often it says so unasked.
    pub interval: Duration,
    /// The networks in which hosts give themselves addresses.
    pub prefixes: Vec<(Address, u8)>,
    /// Name servers (RFC 8106).
    pub dns: Vec<Address>,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other settings are to be had by DHCPv6.
    pub other: bool,
}

/// Which of `count` a flow with this hash belongs to: multiplying by the count and taking the upper half maps it evenly,
/// without dividing.
#[inline]
fn spread(flow: u64, count: usize) -> usize {
    (((flow >> 32) * count as u64) >> 32) as usize
}

impl Router {
    /// The same router on tables that know what its own do, and never change them.
    pub(super) fn trial(&self) -> Router {
        Router {
            name: self.name.clone(),
            interfaces: self.interfaces.clone(),
            routes: Arc::clone(&self.routes),
            neighbors: Arc::new(self.neighbors.trial()),
            sessions: self.sessions.as_ref().map(|sessions| Arc::new(sessions.trial())),
            nat: self.nat.clone(),
            filter: self.filter.trial(),
            errors: Arc::new(self.errors.trial()),
            reassembles: self.reassembles,
        }
    }

    /// The interface in a slot.
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.index())?.as_ref()
    }

    /// The interfaces there are.
    pub fn all_interfaces(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        let slots = self.interfaces.iter().enumerate();
        slots.filter_map(|(slot, interface)| Some((InterfaceId(slot as u16), interface.as_ref()?)))
    }

    /// The address from which the router speaks to somebody with an address like `to`, by `interface` if that has one:
    /// the first of the same version, link-local ones only where nothing else is.
    pub fn own_address(&self, interface: InterfaceId, to: Address) -> Option<Address> {
        let first = self.interface(interface).and_then(|interface| interface.address_for(to));
        first.or_else(|| self.all_interfaces().find_map(|(_, interface)| interface.address_for(to)))
    }
}

impl Interface {
    /// Whether `address` is one of its own.
    #[inline]
    pub fn has(&self, address: Address) -> bool {
        self.addresses.iter().any(|&(own, _)| own == address)
    }

    /// Whether `address` is on one of its networks.
    #[inline]
    pub fn reaches(&self, address: Address) -> bool {
        self.addresses
            .iter()
            .any(|&(own, len)| own.is_v4() == address.is_v4() && own.network(len) == address.network(len))
    }

    /// The address from which it speaks to somebody with an address like `to`: on the same network, or else the first
    /// that is no link-local one.
    pub fn address_for(&self, to: Address) -> Option<Address> {
        let same = |own: &Address| own.is_v4() == to.is_v4() && own.is_link_local() == to.is_link_local();
        let near =
            self.addresses.iter().find(|&&(own, len)| same(&own) && own.network(len) == to.network(len));
        let near = near.map(|&(own, _)| own);
        near.or_else(|| self.addresses.iter().map(|&(own, _)| own).find(same))
    }
}
