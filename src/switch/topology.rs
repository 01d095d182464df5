//! The topology: which bridges and ports there are and what each lets pass. An immutable snapshot; a change makes a new
//! one, which every worker takes between two batches.

use std::sync::Arc;
use std::time::Duration;

use super::mirror::Mirror;
use super::mode::Apart;
use super::overlay::{Overlay, Underlay};
use super::router::Router;
use super::{BridgeRules, Guard};
use crate::packet::{BridgeId, Capabilities, InterfaceId, PortId, RouterId, Vid};
use crate::table::bindings::Bindings;
use crate::table::fdb::{Allowance, Fdb};
use crate::table::token_bucket::TokenBucket;
use crate::table::vlan_set::VlanSet;
use crate::wire::ethernet::Mac;

/// Everything a worker has to know about the switch's shape. Slots are indexed by id; a free slot is `None`.
#[derive(Default)]
pub struct Topology {
    /// Counts the changes since the start.
    pub epoch: u64,
    /// The bridges, by [`BridgeId`].
    pub bridges: Vec<Option<Bridge>>,
    /// The ports, by [`PortId`].
    pub ports: Vec<Option<Port>>,
    /// The routers, by [`RouterId`].
    pub routers: Vec<Option<Router>>,
    /// What tells the rules of all routers and bridges from one another over changes: where a rule counts is its place
    /// here.
    pub rules: Vec<u64>,
    /// The mirrors.
    pub mirrors: Vec<Mirror>,
}

/// A bridge.
pub struct Bridge {
    /// Its name in the configuration.
    pub name: String,
    /// Its own address: frames to it are not forwarded.
    pub mac: Mac,
    /// Its forwarding database, which outlives this snapshot.
    pub fdb: Arc<Fdb>,
    /// How stale an entry's age may get, see [`refresh_period`](super::mode::refresh_period).
    pub refresh: Duration,
    /// Its ports, in the order in which they are flooded to.
    pub members: Vec<PortId>,
    /// It is a wire: a passthrough port and its uplink.
    pub passthrough: bool,
    /// The interfaces that routers have on it, by VLAN; 0 where it knows none.
    pub routers: Vec<(Vid, RouterId, InterfaceId)>,
    /// Which IP packets pass between its ports; all, when `None`.
    pub rules: Option<Arc<BridgeRules>>,
    /// Whose IP addresses are known to be, where requests for them are answered instead of flooded; it outlives this
    /// snapshot too.
    pub bindings: Option<Arc<Bindings>>,
}

impl Bridge {
    /// Whether it reads more of frames than their headers.
    pub(super) fn reads_packets(&self) -> bool {
        self.rules.is_some() || self.bindings.is_some()
    }
}

/// A port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name in the configuration.
    pub name: String,
    /// The bridge it belongs to; a `tun` port belongs to none.
    pub bridge: Option<BridgeId>,
    /// Which VLANs it lets pass, and how.
    pub vlan: VlanPolicy,
    /// Its mode, and which other ports it passes nothing to.
    pub apart: Apart,
    /// Frames may leave by it that came in by it; no tunnel does that.
    pub hairpin: bool,
    /// Sources of its frames are learned.
    pub learning: bool,
    /// What it may say to be.
    pub guard: Option<Arc<Guard>>,
    /// What it may hold in the FDB.
    pub allowance: Allowance,
    /// Its limits on what is flooded.
    pub storm: Storm,
    /// Longest payload it sends, in bytes behind the Ethernet header and tags.
    pub mtu: u32,
    /// What it sends without our finishing it.
    pub capabilities: Capabilities,
    /// Where its frames go from here.
    pub way: Way,
    /// The port that everything which comes in here leaves by; set on both ends, which carry IP and are on no bridge.
    pub wire: Option<PortId>,
    /// The router that takes everything which comes in here, and its interface; on a port that carries IP.
    pub router: Option<(RouterId, InterfaceId)>,
}

/// Where the frames that leave by a port go.
#[derive(Clone, Debug)]
pub enum Way {
    /// To the port's own queue.
    Queue,
    /// In by another port again, the other end of a patch.
    Patch(PortId),
    /// To a peer, wrapped.
    Tunnel(Arc<Overlay>),
    /// Nowhere: it is an underlay, which carries what tunnel ports send, and is on no bridge.
    Underlay(Arc<Underlay>),
}

/// How a port of a bridge handles VLANs.
#[derive(Clone, Debug)]
pub enum VlanPolicy {
    /// The bridge is not VLAN-aware: tags pass unread.
    Unaware,
    /// Untagged outside, in one VLAN inside.
    Access(Vid),
    /// Tagged outside.
    Trunk {
        /// The VLANs that pass, with the native one.
        allowed: Arc<VlanSet>,
        /// The VLAN of untagged frames; without one they are dropped.
        native: Option<Vid>,
    },
}

impl VlanPolicy {
    /// Whether frames of a VLAN may leave here.
    #[inline]
    pub fn admits(&self, vid: Vid) -> bool {
        match self {
            VlanPolicy::Unaware => true,
            VlanPolicy::Access(own) => *own == vid,
            VlanPolicy::Trunk { allowed, .. } => allowed.contains(vid),
        }
    }

    /// How a frame of VLAN `vid` with the priority bits `priority` leaves here.
    #[inline]
    pub(super) fn form(&self, vid: Vid, priority: u16) -> Form {
        match self {
            VlanPolicy::Unaware => Form::AsIs,
            VlanPolicy::Access(_) => Form::Untagged,
            VlanPolicy::Trunk { native, .. } if *native == Some(vid) => Form::Untagged,
            VlanPolicy::Trunk { .. } => Form::Tagged(priority | vid),
        }
    }
}

/// What a frame's 802.1Q tag looks like when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it came in.
    AsIs,
    /// Without the bridge's tag.
    Untagged,
    /// With the bridge's tag, of this TCI.
    Tagged(u16),
}

/// Storm control: how many frames a second a port may have flooded. `None`: any number.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// Frames to ff:ff:ff:ff:ff:ff.
    pub broadcast: Option<Arc<TokenBucket>>,
    /// Frames to other group addresses.
    pub multicast: Option<Arc<TokenBucket>>,
    /// Frames to addresses that nobody knows.
    pub unknown: Option<Arc<TokenBucket>>,
}

impl Topology {
    /// Whether a bridge of this topology is another one, or none, in `next`.
    pub(super) fn loses_a_table(&self, next: &Topology) -> bool {
        let kept = |(slot, bridge): (usize, &Bridge)| {
            next.bridge(BridgeId(slot as u16)).is_some_and(|other| Arc::ptr_eq(&bridge.fdb, &other.fdb))
        };
        let bridges = self.bridges.iter().enumerate();
        !bridges.filter_map(|(slot, bridge)| Some((slot, bridge.as_ref()?))).all(kept)
    }

    /// The port in a slot.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }

    /// The router in a slot.
    #[inline]
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.routers.get(id.index())?.as_ref()
    }

    /// The bridge in a slot.
    #[inline]
    pub fn bridge(&self, id: BridgeId) -> Option<&Bridge> {
        self.bridges.get(id.index())?.as_ref()
    }
}
