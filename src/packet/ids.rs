//! Names for what tables and counters are indexed by. Dense small numbers, so that the hot path indexes arrays.

/// A port of this switch: its slot in the topology. Given again only after every worker has forgotten the old holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl PortId {
    /// The slot.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A bridge of this switch: its slot in the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BridgeId(pub u16);

impl BridgeId {
    /// The slot.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A router of this switch: its slot in the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouterId(pub u16);

impl RouterId {
    /// The slot.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An interface of a router: its slot in that router's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// The slot.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A VLAN: 1 to 4094, or 0 for all frames of a bridge that is not VLAN-aware.
pub type Vid = u16;

/// A peer of a tunnel: its slot in the tunnel's list. A port without peers has everything behind [`PeerId::NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u16);

impl PeerId {
    /// The peer of a port that has none.
    pub const NONE: PeerId = PeerId(0);

    /// The slot.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a station is: behind a port and, where that is a tunnel, behind one of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The port.
    pub port: PortId,
    /// The peer; [`PeerId::NONE`] on a port that has none.
    pub peer: PeerId,
}

impl From<PortId> for Location {
    #[inline]
    fn from(port: PortId) -> Location {
        Location { port, peer: PeerId::NONE }
    }
}
