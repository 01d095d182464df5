//! How a port uses VLANs.

use std::fmt;
use std::sync::Arc;

use crate::table::vlan_set::VlanSet;

/// How a port takes part in VLANs. Displayed as `10`, `trunk 10,20 native 1` or `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VlanMode {
    /// It names no VLAN.
    #[default]
    None,
    /// Untagged, in this VLAN.
    Access(u16),
    /// Tagged.
    Trunk {
        /// The VLANs it is a member of.
        vlans: Arc<VlanSet>,
        /// The VLAN of untagged frames, a member of `vlans`; `None`: untagged frames are dropped.
        native: Option<u16>,
    },
}

impl VlanMode {
    /// Whether a port of this mode is a member of `vlan`.
    pub fn carries(&self, vlan: u16) -> bool {
        match self {
            VlanMode::None => false,
            VlanMode::Access(access) => *access == vlan,
            VlanMode::Trunk { vlans, .. } => vlans.contains(vlan),
        }
    }

    /// The VLAN of untagged frames, if they have one.
    pub fn untagged(&self) -> Option<u16> {
        match self {
            VlanMode::None => None,
            VlanMode::Access(vlan) => Some(*vlan),
            VlanMode::Trunk { native, .. } => *native,
        }
    }
}

impl fmt::Display for VlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VlanMode::None => f.write_str("-"),
            VlanMode::Access(vlan) => write!(f, "{vlan}"),
            VlanMode::Trunk { vlans, native: None } => write!(f, "trunk {vlans}"),
            VlanMode::Trunk { vlans, native: Some(native) } => write!(f, "trunk {vlans} native {native}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_prints_as_the_surface_shows_it() {
        let vlans = Arc::new("10,20".parse::<VlanSet>().unwrap());
        assert_eq!(VlanMode::None.to_string(), "-");
        assert_eq!(VlanMode::Access(10).to_string(), "10");
        assert_eq!(VlanMode::Trunk { vlans: vlans.clone(), native: None }.to_string(), "trunk 10,20");
        assert_eq!(VlanMode::Trunk { vlans, native: Some(10) }.to_string(), "trunk 10,20 native 10");
    }
}
