//! Mirrors (SPAN): which frames are copied, and for whom.
//!
//! A mirror has copies of what comes in by some ports, as it came in, and of what leaves by some, as it leaves, sent by a
//! port that is on no bridge and does nothing else. How that goes is in `stage::mirror`.

use std::sync::Arc;

use foldhash::HashSet;

use super::VlanPolicy;
use crate::packet::{Expression, Frame, Layer, PortId, Vid};
use crate::table::vlan_set::VlanSet;
use crate::wire::be16;
use crate::wire::ethernet;

/// A mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its name in the configuration, by which its counters are known from one topology to the next.
    pub name: String,
    /// The port that sends the copies. It is on no bridge.
    pub to: PortId,
    /// The ports of which what comes in is copied.
    pub received: HashSet<PortId>,
    /// The ports of which what leaves is copied.
    pub sent: HashSet<PortId>,
    /// Only frames in these VLANs are copied; `None`: all. What a bridge without VLANs has is in the VLAN of its tag.
    pub vlans: Option<Arc<VlanSet>>,
    /// Only these frames are copied.
    pub filter: Expression,
    /// Bytes after which a copy is cut; `None`: it is not.
    pub snap: Option<usize>,
}

/// What a mirror has copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorCounters {
    /// Copies that were made, those also that could then not be sent.
    pub frames: u64,
    /// Their bytes, of those that were cut what is left.
    pub bytes: u64,
    /// Copies that were cut, to `snap` or to what the port takes.
    pub cut: u64,
    /// Copies that the port did not take; it counts why.
    pub drops: u64,
}

impl std::ops::AddAssign<MirrorCounters> for MirrorCounters {
    fn add_assign(&mut self, other: MirrorCounters) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.cut += other.cut;
        self.drops += other.drops;
    }
}

/// Which way a frame goes through the port at which it is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// It comes in.
    In,
    /// It leaves.
    Out,
}

impl Mirror {
    /// Whether it has copies of what goes through `port`.
    pub(super) fn is_of(&self, port: PortId, direction: Direction) -> bool {
        match direction {
            Direction::In => self.received.contains(&port),
            Direction::Out => self.sent.contains(&port),
        }
    }

    /// Whether a frame that goes through a port with these VLANs is to be copied.
    pub(super) fn wants(&self, vlan: &VlanPolicy, direction: Direction, frame: &Frame) -> bool {
        let in_vlan = |vlans: &VlanSet| vid(vlan, direction, frame).is_some_and(|vid| vlans.contains(vid));
        self.vlans.as_deref().is_none_or(in_vlan) && self.filter.matches(frame)
    }
}

/// The VLAN of a frame that goes through a port; `None`: it is in none.
fn vid(vlan: &VlanPolicy, direction: Direction, frame: &Frame) -> Option<Vid> {
    let untagged = match vlan {
        // Whatever tag a frame has that leaves here, it is not the bridge's.
        VlanPolicy::Access(vid) if direction == Direction::Out => return Some(*vid),
        VlanPolicy::Access(vid) => Some(*vid),
        VlanPolicy::Trunk { native, .. } => *native,
        VlanPolicy::Unaware => None,
    };
    let bytes = frame.bytes();
    let tagged = frame.layer == Layer::Ethernet && bytes.len() >= 16 && be16(bytes, 12) == ethernet::VLAN;
    // Without a VLAN, a tag only has a priority (802.1Q 6.9.1).
    let tag = tagged.then(|| be16(bytes, 14) & 0xfff).filter(|&vid| vid != 0);
    tag.or(untagged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_in_the_vlan_that_the_bridge_has_it_in_or_in_that_of_its_tag() {
        let trunk = |native| VlanPolicy::Trunk { allowed: Arc::new(VlanSet::all()), native };
        let plain = Frame::from_bytes(&[[2; 12].as_slice(), &[8, 0, 0, 0]].concat());
        let tagged = |vid| Frame::from_bytes(&[[2; 12].as_slice(), &[0x81, 0, 0xe0, vid, 8, 0]].concat());
        let (in_7, priority) = (tagged(7), tagged(0));
        for (policy, frame, received, sent) in [
            (VlanPolicy::Unaware, &plain, None, None),
            (VlanPolicy::Unaware, &in_7, Some(7), Some(7)),
            (VlanPolicy::Unaware, &priority, None, None),
            (VlanPolicy::Access(3), &plain, Some(3), Some(3)),
            (VlanPolicy::Access(3), &in_7, Some(7), Some(3)),
            (VlanPolicy::Access(3), &priority, Some(3), Some(3)),
            (trunk(None), &plain, None, None),
            (trunk(Some(4)), &plain, Some(4), Some(4)),
            (trunk(Some(4)), &in_7, Some(7), Some(7)),
        ] {
            assert_eq!(vid(&policy, Direction::In, frame), received, "{policy:?} {frame:?}");
            assert_eq!(vid(&policy, Direction::Out, frame), sent, "{policy:?} {frame:?}");
        }
        let mut ip = Frame::from_bytes(&[0x81; 40]);
        ip.layer = Layer::Ip;
        assert_eq!(vid(&VlanPolicy::Unaware, Direction::In, &ip), None);
    }
}
