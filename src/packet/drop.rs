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
    MirrorPort "mirror-port" "came in by a port that sends a mirror's copies, and takes nothing";
    SamePort "same-port" "its destination is behind the port it came from";
    Isolated "isolated" "it and its destination are behind isolated ports";
    Private "private" "it and its destination are behind ports of one bridge of which one is private";
    Reflected "reflected" "came back by an uplink, and whom it is for has it already or is to have none of it";
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
    ReceiveOverflow "receive-overflow" "came to a socket faster than it was read, and its buffer was full";
    SpoofedMac "spoofed-mac" "its source address is none of those its port is pinned to";
    SpoofedIp "spoofed-ip" "its IP source, or what it says in ARP or ND, is none of the addresses its port is pinned to";
    DhcpGuard "dhcp-guard" "a DHCP server's message, from a port where no server is to be";
    RaGuard "ra-guard" "a router advertisement or redirect, from a port where no router is to be (RFC 6105)";
    IpHeader "ip-header" "an IP packet whose header is cut off or contradicts itself, or whose header checksum is wrong (RFC 1812 5.2.2)";
    Martian "martian" "its source or destination is no address that a router may see or forward (RFC 1812 5.3.7)";
    TtlExceeded "ttl-exceeded" "its TTL or hop limit ran out here";
    NoRoute "no-route" "no route leads to its destination, or one that turns it away";
    Blackhole "blackhole" "its route is a blackhole";
    ReversePath "reverse-path" "its source is not reached by the interface it came in by (RFC 3704)";
    NoNeighbor "no-neighbor" "nobody answers for its next hop";
    NeighborQueue "neighbor-queue" "too many packets wait already to learn the address of its next hop";
    NeighborMessage "neighbor-message" "an ARP or ND message that is malformed, or claims an address of the router";
    NotLocal "not-local" "for an address of the router, where nothing takes it";
    Filtered "filtered" "dropped by a rule, or by the policy of its hook";
    Rejected "rejected" "refused by a rule, which its sender was told";
    RateLimited "rate-limited" "above the rate that a rule lets pass";
    NoSession "no-session" "belongs to no connection, and NAT can start none with it";
    SessionInvalid "session-invalid" "contradicts the state of its connection, as a reset outside the window does (RFC 5961)";
    SessionsFull "sessions-full" "as many connections are tracked as may be, none of which is half-open";
    SourceQuota "source-quota" "its source has as many connections as it may have";
    PortsExhausted "ports-exhausted" "no port is left for NAT to give its connection";
    FragmentInvalid "fragment-invalid" "a fragment that overlaps others, is too small or too long (RFC 5722, RFC 1858)";
    FragmentFlood "fragment-flood" "more fragments than are kept until the rest of their packets has come";
    FragmentTimeout "fragment-timeout" "a fragment whose packet did not get whole in time";
    ExceedsMtu "exceeds-mtu" "longer than the MTU of the port it should leave by";
    Unsegmentable "unsegmentable" "a superframe for a port without offloads, with headers that cannot be segmented";
    NoBuffer "no-buffer" "no buffer was left for a copy or a segment";
    QueueFull "queue-full" "the port it should leave by does not take frames as fast as they come";
    PortDown "port-down" "the device of the port it should leave by is down";
    NoCarrier "no-carrier" "nobody is at the other end of the port it should leave by: no guest has opened the TAP, or the cable is out";
    Unreachable "unreachable" "no way leads to the peer, or nobody listens there";
    NotAttached "not-attached" "nobody is attached to the socket of the port it should leave by";
    QueueOff "queue-off" "came by a queue of its guest's network card that is switched off";
    BadRing "bad-ring" "in a ring of its guest that contradicts itself, for which the guest was disconnected";
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
