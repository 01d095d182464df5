//! What is offered to a guest's driver, and what follows from what it took (VIRTIO 1.2, 5.1.3 and 6).

use vhost::vhost_user::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};

use crate::packet::Capabilities;
use crate::wire::virtio_net;

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const GUEST_ANNOUNCE: u64 = 1 << 21;
const MQ: u64 = 1 << 22;
const ANY_LAYOUT: u64 = 1 << 27;
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
const HOST_USO: u64 = 1 << 56;

/// VHOST_USER_F_PROTOCOL_FEATURES.
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// The rings, and what the front-end does itself once we say that it may: the control queue, link status, announcements,
/// an MTU for the guest.
const ALWAYS: u64 = MRG_RXBUF
    | MTU
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | GUEST_ANNOUNCE
    | MQ
    | ANY_LAYOUT
    | INDIRECT_DESC
    | EVENT_IDX
    | VERSION_1
    | RING_PACKED
    | IN_ORDER
    | PROTOCOL_FEATURES;

/// What may be left undone on a frame. Not UFO, which nobody can cut any more.
const OFFLOADS: u64 = CSUM
    | GUEST_CSUM
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | HOST_USO
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | GUEST_USO4
    | GUEST_USO6;

/// Migration (LOG_SHMFD) is not among them: no log of dirty pages is kept, and a front-end that finds it missing says that
/// the guest cannot be migrated.
pub(super) const PROTOCOL: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::MTU)
    .union(VhostUserProtocolFeatures::RESET_DEVICE)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// All features that a port offers.
pub(super) const fn offered(offload: bool) -> u64 {
    if offload { ALWAYS | OFFLOADS } else { ALWAYS }
}

/// What was agreed on with a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms(u64);

impl Terms {
    /// From the features that the guest's driver and its front-end took.
    pub(super) fn new(features: u64) -> Terms {
        Terms(features)
    }

    fn has(self, features: u64) -> bool {
        self.0 & features == features
    }

    pub(super) fn packed(self) -> bool {
        self.has(RING_PACKED)
    }

    pub(super) fn event_idx(self) -> bool {
        self.has(EVENT_IDX)
    }

    pub(super) fn indirect(self) -> bool {
        self.has(INDIRECT_DESC)
    }

    /// Whether a frame to the guest may be spread over several of its buffers.
    pub(super) fn mergeable(self) -> bool {
        self.has(MRG_RXBUF)
    }

    /// Whether rings are off until they are switched on.
    pub(super) fn starts_disabled(self) -> bool {
        self.has(PROTOCOL_FEATURES)
    }

    /// Bytes of virtio_net_hdr before each frame: a legacy driver knows `num_buffers` only where it is of use.
    pub(super) fn header_len(self) -> usize {
        if self.has(VERSION_1) || self.has(MRG_RXBUF) { virtio_net::LEN_MRG } else { virtio_net::LEN }
    }

    /// What the guest takes unfinished.
    pub(super) fn capabilities(self) -> Capabilities {
        let checksum = self.has(GUEST_CSUM);
        Capabilities {
            checksum,
            tso4: checksum && self.has(GUEST_TSO4),
            tso6: checksum && self.has(GUEST_TSO6),
            uso: checksum && self.has(GUEST_USO4 | GUEST_USO6),
            outside: true,
        }
    }

    /// What the guest may leave undone.
    pub(super) fn guest_may_leave(self) -> Capabilities {
        let checksum = self.has(CSUM);
        Capabilities {
            checksum,
            tso4: checksum && self.has(HOST_TSO4),
            tso6: checksum && self.has(HOST_TSO6),
            uso: checksum && self.has(HOST_USO),
            outside: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_offloads_offers_none_and_all_else() {
        assert_eq!(offered(true) & !offered(false), OFFLOADS);
        assert_eq!(offered(false) & OFFLOADS, 0);
    }

    #[test]
    fn nothing_of_migration_is_offered() {
        assert_eq!(offered(true) & VhostUserVirtioFeatures::LOG_ALL.bits(), 0);
        assert!(!PROTOCOL.contains(VhostUserProtocolFeatures::LOG_SHMFD));
    }

    #[test]
    fn the_header_is_short_for_a_legacy_driver_without_mergeable_buffers_only() {
        assert_eq!(Terms::new(0).header_len(), 10);
        assert_eq!(Terms::new(CSUM | EVENT_IDX).header_len(), 10);
        assert_eq!(Terms::new(MRG_RXBUF).header_len(), 12);
        assert_eq!(Terms::new(VERSION_1).header_len(), 12);
    }

    #[test]
    fn superframes_need_their_own_feature_and_checksums() {
        let plain = Capabilities { outside: true, ..Capabilities::NONE };
        assert_eq!(Terms::new(GUEST_TSO4 | GUEST_TSO6 | GUEST_USO4 | GUEST_USO6).capabilities(), plain);
        assert_eq!(
            Terms::new(GUEST_CSUM | GUEST_TSO6 | GUEST_USO4).capabilities(),
            Capabilities { checksum: true, tso6: true, ..plain }
        );
        assert_eq!(
            Terms::new(offered(true)).capabilities(),
            Capabilities { outside: true, ..Capabilities::ALL }
        );
    }
}
