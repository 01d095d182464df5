//! Why a frame was dropped: one reason per drop, one counter per reason and port, one line of meaning each.

/// Declares [`DropReason`] so that a reason's variant, name and meaning stand on one line and cannot drift apart.
macro_rules! drop_reasons {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// Why a frame was dropped. Exactly one is counted for each dropped frame, on the port it came in by when the
        /// switch decided, and on the port it should have left by when that port could not take it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $meaning] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),*];

            /// The reason's name on the surface (`tapyard drops`, JSON), kebab-case.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One line for a person: what happened to the frame.
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    Runt "runt" "shorter than an Ethernet header";
    Oversized "oversized" "longer than the longest frame the switch can hold";
    BadOffload "bad-offload" "its virtio_net_hdr points outside the frame or contradicts it";
    BadSource "bad-source" "its source is a group address or all zero";
    OwnSource "own-source" "its source is the bridge's own address: spoofed, or a loop";
    ReservedGroup "reserved-group" "sent to 01-80-C2-00-00-0x, which no bridge forwards (802.1Q 8.6.3)";
    VlanReserved "vlan-reserved" "tagged with VLAN 4095, which is reserved";
    VlanNotAllowed "vlan-not-allowed" "tagged with a VLAN that its port is not a member of";
    VlanUntagged "vlan-untagged" "untagged on a trunk that names no native VLAN";
    NotIp "not-ip" "no IP packet, on a port that carries nothing else";
    NoBridge "no-bridge" "its port belongs to no bridge, and no router is there to take it";
    SamePort "same-port" "its destination is behind the port it came from";
    Isolated "isolated" "it and its destination are behind isolated ports";
    VlanEgress "vlan-egress" "its destination's port is not a member of its VLAN";
    NoMember "no-member" "to be flooded, and no other port may have it";
    StormBroadcast "storm-broadcast" "over its port's broadcast rate";
    StormMulticast "storm-multicast" "over its port's multicast rate";
    StormUnknown "storm-unknown" "over its port's rate of unknown unicast";
    Local "local" "addressed to the bridge itself, and nothing there takes it";
    PatchLoop "patch-loop" "crossed too many patch ports: bridges joined in a loop";
    TunnelHeader "tunnel-header" "in a tunnel packet whose header is cut off, malformed or of another version";
    TunnelReserved "tunnel-reserved" "in a tunnel packet with reserved bits set, where its tunnel is strict";
    TunnelOption "tunnel-option" "in a tunnel packet with a critical option that is not known (RFC 8926 3.5)";
    TunnelChecksum "tunnel-checksum" "in a tunnel packet whose own checksum is wrong (RFC 2784)";
    TunnelControl "tunnel-control" "a control message between tunnel endpoints (RFC 8926 3.4)";
    TunnelPayload "tunnel-payload" "in a tunnel packet that carries something else than its tunnel does";
    TunnelUnknown "tunnel-unknown" "in a tunnel packet with a VNI or key that no tunnel has";
    Stranger "stranger" "in a tunnel packet that comes from none of the tunnel's peers";
    SplitHorizon "split-horizon" "came from a tunnel's peer and would leave to another peer";
    Ecn "ecn" "met congestion on its way through a tunnel, and its sender does not speak ECN (RFC 6040)";
    ReceiveOverflow "receive-overflow" "came to a tunnel socket faster than it was read, and its buffer was full";
    ExceedsMtu "exceeds-mtu" "longer than the MTU of the port it should leave by";
    Unsegmentable "unsegmentable" "a superframe for a port without offloads, with headers that cannot be segmented";
    NoBuffer "no-buffer" "no buffer was left for a copy or a segment";
    QueueFull "queue-full" "the port it should leave by does not take frames as fast as they come";
    PortDown "port-down" "the device of the port it should leave by is down";
    Unreachable "unreachable" "no way leads to the peer, or nobody listens there";
    PortMissing "port-missing" "the port, its device or the peer that it should leave by is gone";
    Refused "refused" "the kernel refused to send it";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = DropReason::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
