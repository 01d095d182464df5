//! VLANs of a port: a set of 4094, and how a port uses it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The VLANs that exist: 0 and 4095 are reserved (802.1Q table 9-2).
pub(super) const VLANS: RangeInclusive<u16> = 1..=4094;

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
        vlans: VlanSet,
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

/// A set of VLANs, one bit each. Reads and prints as `10,20,100-199` or `all`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    /// The set without members.
    pub fn empty() -> VlanSet {
        VlanSet(Box::new([0; 64]))
    }

    /// The set of all of 1 to 4094.
    pub fn all() -> VlanSet {
        VLANS.collect()
    }

    /// Makes `vlan` a member. Only 1 to 4094 can be one; others are ignored.
    pub fn insert(&mut self, vlan: u16) {
        if VLANS.contains(&vlan) {
            self.0[usize::from(vlan / 64)] |= 1 << (vlan % 64);
        }
    }

    /// Whether `vlan` is a member.
    pub fn contains(&self, vlan: u16) -> bool {
        VLANS.contains(&vlan) && self.0[usize::from(vlan / 64)] & (1 << (vlan % 64)) != 0
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        VLANS.filter(|&vlan| self.contains(vlan))
    }

    /// The bits: VLAN *v* is bit `v % 64` of word `v / 64`. Those of 0 and 4095 are never set.
    pub fn words(&self) -> &[u64; 64] {
        &self.0
    }
}

impl FromIterator<u16> for VlanSet {
    fn from_iter<I: IntoIterator<Item = u16>>(vlans: I) -> VlanSet {
        let mut set = VlanSet::empty();
        vlans.into_iter().for_each(|vlan| set.insert(vlan));
        set
    }
}

impl Extend<u16> for VlanSet {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, vlans: I) {
        vlans.into_iter().for_each(|vlan| self.insert(vlan));
    }
}

impl fmt::Display for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len() == VLANS.count() {
            return f.write_str("all");
        }
        let mut next = 1;
        let mut comma = "";
        while let Some(first) = (next..=4094).find(|&vlan| self.contains(vlan)) {
            let last = (first..=4094).take_while(|&vlan| self.contains(vlan)).last().unwrap_or(first);
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
            next = last + 1;
        }
        Ok(())
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VlanSet({self})")
    }
}

impl FromStr for VlanSet {
    type Err = String;

    fn from_str(text: &str) -> Result<VlanSet, String> {
        if text.trim() == "all" {
            return Ok(VlanSet::all());
        }
        let mut set = VlanSet::empty();
        for part in text.split(',') {
            let range = match part.split_once('-') {
                Some((first, last)) => vlan(first).zip(vlan(last)),
                None => vlan(part).map(|vlan| (vlan, vlan)),
            };
            match range.filter(|(first, last)| first <= last) {
                Some((first, last)) => set.extend(first..=last),
                None => {
                    return Err(format!(
                        "\"{part}\" names no VLANs (expected \"10\", \"100-199\" or \"all\")"
                    ));
                }
            }
        }
        Ok(set)
    }
}

fn vlan(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|vlan| VLANS.contains(vlan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_and_prints_the_same() {
        for text in ["1", "10,20", "10,11", "1-3,62-66,4094", "all"] {
            assert_eq!(text.parse::<VlanSet>().unwrap().to_string(), text);
        }
        assert_eq!("20, 10 ,11-12".parse::<VlanSet>().unwrap().to_string(), "10-12,20");
        for bad in ["", "0", "4095", "5-4", "1-4095", "a", "1,,2", "-", "1-", "-1"] {
            assert!(bad.parse::<VlanSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_vlans_that_exist_are_members() {
        let set = VlanSet::from_iter([0, 1, 4094, 4095]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 4094]);
        assert_eq!((set.len(), VlanSet::all().len()), (2, 4094));
        assert!(!VlanSet::all().contains(0) && !VlanSet::all().contains(4095) && !set.contains(u16::MAX));
        assert!(VlanSet::empty().is_empty() && !set.is_empty());
    }

    #[test]
    fn a_mode_prints_as_the_surface_shows_it() {
        let vlans: VlanSet = "10,20".parse().unwrap();
        assert_eq!(VlanMode::None.to_string(), "-");
        assert_eq!(VlanMode::Access(10).to_string(), "10");
        assert_eq!(VlanMode::Trunk { vlans: vlans.clone(), native: None }.to_string(), "trunk 10,20");
        assert_eq!(VlanMode::Trunk { vlans, native: Some(10) }.to_string(), "trunk 10,20 native 10");
    }
}
