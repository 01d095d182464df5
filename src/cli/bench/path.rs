//! What can be measured.

use clap::ValueEnum;

/// A way for frames through a switch, or through two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Path {
    /// The engine alone: a bridge between ports in memory
    Engine,
    /// The same: into a VXLAN tunnel and out of it
    EngineVxlan,
    /// The same by GENEVE
    EngineGeneve,
    /// The same by GRE
    EngineGre,
    /// The same: a router between two bridges
    EngineRouted,
    /// The same: a router that masquerades
    EngineNat,
    /// A bridge between two TAPs
    Tap,
    /// A bridge between two interfaces that exist: veths
    Netdev,
    /// TAP to TAP by two switches with a VXLAN tunnel between them
    Vxlan,
    /// The same by GENEVE
    Geneve,
    /// The same by GRE in UDP
    Gre,
    /// A router between two TAPs
    Routed,
    /// A router between two TAPs that masquerades
    Nat,
    /// Whatever is between two interfaces that were named
    #[value(skip)]
    Between,
}

/// What happens to frames on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Bridged,
    Tunnel(Protocol),
    Routed,
    Nat,
}

/// How a tunnel wraps frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Vxlan,
    Geneve,
    Gre,
}

impl Path {
    /// As it is called on the command line.
    pub(super) fn name(self) -> String {
        // Only that is no word of the command line.
        self.to_possible_value().map_or_else(|| "between".into(), |value| value.get_name().to_owned())
    }

    /// Whether it needs devices of its own, and with them privilege.
    pub(super) fn needs_devices(self) -> bool {
        use Path::*;
        matches!(self, Tap | Netdev | Vxlan | Geneve | Gre | Routed | Nat)
    }

    /// What happens to frames on it.
    pub(super) fn way(self) -> Way {
        match self {
            Path::Engine | Path::Tap | Path::Netdev | Path::Between => Way::Bridged,
            Path::EngineVxlan | Path::Vxlan => Way::Tunnel(Protocol::Vxlan),
            Path::EngineGeneve | Path::Geneve => Way::Tunnel(Protocol::Geneve),
            Path::EngineGre | Path::Gre => Way::Tunnel(Protocol::Gre),
            Path::EngineRouted | Path::Routed => Way::Routed,
            Path::EngineNat | Path::Nat => Way::Nat,
        }
    }
}
