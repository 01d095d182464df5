//! A set of VLANs: what a configuration names and what a port lets pass.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::packet::Vid;

/// The VLANs that exist: 0 and 4095 are reserved (802.1Q table 9-2).
pub const VLANS: RangeInclusive<Vid> = 1..=4094;

/// Some of the [`VLANS`], one bit each: one load tells whether a frame may pass. Reads and prints as `10,20,100-199` or
/// `all`.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet([u64; 64]);

impl VlanSet {
    /// No VLAN.
    pub const EMPTY: VlanSet = VlanSet([0; 64]);

    /// All of 1 to 4094.
    pub fn all() -> VlanSet {
        VLANS.collect()
    }

    /// Adds a VLAN. Only 1 to 4094 can be a member; others are ignored.
    pub fn insert(&mut self, vid: Vid) {
        if VLANS.contains(&vid) {
            self.0[usize::from(vid / 64)] |= 1 << (vid % 64);
        }
    }

    /// Whether a VLAN is in the set.
    #[inline]
    pub fn contains(&self, vid: Vid) -> bool {
        self.0.get(usize::from(vid / 64)).is_some_and(|word| word >> (vid % 64) & 1 != 0)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        *self == VlanSet::EMPTY
    }

    /// Its members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        VLANS.filter(|&vid| self.contains(vid))
    }
}

impl Extend<Vid> for VlanSet {
    fn extend<I: IntoIterator<Item = Vid>>(&mut self, vids: I) {
        vids.into_iter().for_each(|vid| self.insert(vid));
    }
}

impl FromIterator<Vid> for VlanSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> VlanSet {
        let mut set = VlanSet::EMPTY;
        set.extend(vids);
        set
    }
}

impl fmt::Display for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == VlanSet::all() {
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
        let mut set = VlanSet::EMPTY;
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
        assert_eq!(VlanSet::all().iter().count(), 4094);
        assert!(!VlanSet::all().contains(0) && !VlanSet::all().contains(4095) && !set.contains(u16::MAX));
        assert!(VlanSet::EMPTY.is_empty() && !set.is_empty());
    }
}
