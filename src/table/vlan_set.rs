//! A set of VLANs.

use crate::packet::Vid;

/// Some of the VLANs 1 to 4094, as a bitmap: one load tells whether a frame may pass.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet([u64; 64]);

impl VlanSet {
    /// No VLAN.
    pub const EMPTY: VlanSet = VlanSet([0; 64]);

    /// Adds a VLAN.
    ///
    /// # Panics
    /// When `vid` is above 4095.
    pub fn insert(&mut self, vid: Vid) {
        self.0[usize::from(vid / 64)] |= 1 << (vid % 64);
    }

    /// Whether a VLAN is in the set.
    ///
    /// # Panics
    /// When `vid` is above 4095.
    #[inline]
    pub fn contains(&self, vid: Vid) -> bool {
        self.0[usize::from(vid / 64)] >> (vid % 64) & 1 != 0
    }

    /// Its members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        (0..4096).filter(|&vid| self.contains(vid))
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

impl std::fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
