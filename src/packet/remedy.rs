//! What to look at when frames are dropped: a remedy for each reason.

use super::DropReason;

impl DropReason {
    /// One line for a person: what to look at, and what to do about it. The table in `docs/troubleshooting.md` says the
    /// same.
    pub const fn remedy(self) -> &'static str {
        match self {
            DropReason::Runt => "a broken sender: an Ethernet header is 14 bytes",
            DropReason::Oversized => "a sender of frames above 64 KiB, which no device should make",
            DropReason::BadOffload => "a guest's driver that claims offsets outside its frame",
            DropReason::BadSource => "a station with a group address, or none, as its own",
            DropReason::OwnSource => {
                "a loop outside the switch, or a station that took the bridge's address; `tapyard bridge` \
                 shows that address"
            }
            DropReason::ReservedGroup => "nothing: spanning tree, LACP, LLDP and the like end at a bridge",
            DropReason::VlanReserved => "a sender of VLAN 4095",
            DropReason::VlanNotAllowed => {
                "the port's `vlan` or `trunk` does not name the VLAN that the frame is tagged with"
            }
            DropReason::VlanUntagged => "the trunk has no `native`, and its peer sends untagged frames",
            DropReason::NotIp => {
                "send IP there: the port is a `tun`, or a tunnel whose payload is IP, and nothing else \
                 fits on its wire"
            }
            DropReason::NoBridge => {
                "the port is on no bridge, or it is a `tun` or a tunnel of IP that has neither a `wire` \
                 nor an interface of a router"
            }
            DropReason::SamePort => {
                "two stations behind one port, whose own switch sends more than it should: usually \
                 harmless"
            }
            DropReason::Isolated => "both ports say `isolated = true`",
            DropReason::Private => {
                "one of the two ports has `mode = \"private\"`, and such ports reach uplinks only"
            }
            DropReason::Reflected => {
                "the switch at the uplink sends back what has come from here: as it should for `vepa` \
                 ports; for others it is too much, and harmless (`bridge link set dev PORT hairpin off` \
                 there), or there is a loop"
            }
            DropReason::VlanEgress => "an entry of the FDB is behind a port that has left its VLAN",
            DropReason::NoMember => "a frame for everybody, and nobody else is on the bridge, or in the VLAN",
            DropReason::StormBroadcast | DropReason::StormMulticast | DropReason::StormUnknown => {
                "the port's `storm` is lower than what it sends: a loop, or a limit set too low"
            }
            DropReason::Local => "a frame for the bridge itself, in a VLAN where no router has an interface",
            DropReason::PatchLoop => {
                "bridges joined by patches in a ring, or routers whose routes lead in one"
            }
            DropReason::TunnelHeader => {
                "the peer speaks another protocol on that port: compare the tunnel types, and their UDP \
                 ports, at both ends"
            }
            DropReason::TunnelReserved => {
                "the peer uses an extension of VXLAN; without `strict` it is ignored"
            }
            DropReason::TunnelOption => {
                "the peer sends GENEVE options that it says must be understood, and none are here: turn \
                 them off there"
            }
            DropReason::TunnelChecksum => {
                "packets are damaged on their way, or the peer makes GRE checksums wrong, as Open vSwitch \
                 does beside sequence numbers: do without them, UDP has its own"
            }
            DropReason::TunnelControl => "nothing: control messages end at a tunnel's end",
            DropReason::TunnelPayload => {
                "one end carries Ethernet and the other IP: compare both configurations"
            }
            DropReason::TunnelUnknown => {
                "the peer's VNI, or key, is configured nowhere here; `tunnel show NAME` says which it \
                 was, and whose"
            }
            DropReason::Stranger => {
                "an address that is missing among the tunnel's `remotes` (`tunnel show NAME` says the \
                 last), or a peer that sends from another one than it is reached at. With `accept = \
                 \"any\"`: more than 1,024 unknown peers within ten minutes"
            }
            DropReason::SplitHorizon => {
                "peers do not reach each other through a third: each has to name all others among its \
                 `remotes`"
            }
            DropReason::Ecn => "nothing: this is how a congested network slows a sender without ECN down",
            DropReason::ReceiveOverflow => {
                "peers of a tunnel, or who is behind a `netdev` port, send more than the workers read: \
                 more `workers`, or a larger buffer (as root it is 8 MiB, otherwise `net.core.rmem_max`). \
                 A `netdev` port has 1024 places for frames up to 1500 bytes, and that buffer for longer \
                 ones. Datagrams that the kernel had glued count as one"
            }
            DropReason::SpoofedMac => {
                "its port's `pin.mac` does not name the address: add it, or find out who sends with it"
            }
            DropReason::SpoofedIp => {
                "its port's `pin.ip` does not name the address: add it, or find out who sends with it"
            }
            DropReason::DhcpGuard => {
                "a guest plays DHCP server; where one is to be, say `dhcp-guard = false` on its port"
            }
            DropReason::RaGuard => {
                "a guest plays router; where one is to be, say `ra-guard = false` on its port"
            }
            DropReason::IpHeader => "a sender that makes broken headers, or a scan that means to",
            DropReason::Martian => {
                "a loopback, link-local, multicast or broadcast address where a host's is expected, or \
                 the router's own as a source: the sender's own configuration, or somebody who pretends"
            }
            DropReason::TtlExceeded => "usually a traceroute; many of one flow are a loop of routers",
            DropReason::NoRoute => {
                "`tapyard route get ADDRESS` says what is looked for; add a route, or a default one"
            }
            DropReason::Blackhole => "nothing: the configuration says so",
            DropReason::ReversePath => {
                "spoofed, or the way back is another: then `reverse-path = \"loose\"` or `\"off\"` on the \
                 interface"
            }
            DropReason::NoNeighbor => {
                "the host is off, on another VLAN, or has another address: `tapyard neighbor`"
            }
            DropReason::NeighborQueue => "a burst to hosts that are not known yet, or a scan",
            DropReason::NeighborMessage => {
                "a host with an address of another network, two hosts with one address, or somebody who \
                 wants to be taken for the router"
            }
            DropReason::NotLocal => "nothing: a router answers echoes, and refuses what else is sent to it",
            DropReason::Filtered => "`tapyard rule` counts for each rule what it dropped",
            DropReason::Rejected => "`tapyard rule` counts for each rule what it refused",
            DropReason::RateLimited => "`tapyard rule` counts for each rule what it dropped",
            DropReason::NoSession => "an answer that came after its connection had timed out, or a scan",
            DropReason::SessionInvalid => "a packet that is old, or forged",
            DropReason::SessionsFull => "raise `sessions` of the router; `tapyard nat` says who has how many",
            DropReason::SourceQuota => {
                "one host opens very many: raise `sessions-per-source`, or look at that host"
            }
            DropReason::PortsExhausted => {
                "more addresses in `to`, more `ports`, or fewer clients behind one address; or the \
                 interface has no address of this version of IP to masquerade with"
            }
            DropReason::FragmentInvalid => {
                "a sender that tries to slip past a filter; with rules on a bridge also a part that \
                 overtook the first of its packet"
            }
            DropReason::FragmentFlood => "a flood of parts of packets, or a path that loses many",
            DropReason::FragmentTimeout => {
                "the path loses fragments: better to find a packet size that needs none"
            }
            DropReason::ExceedsMtu => "the MTUs of the ports differ: `tapyard port` shows them",
            DropReason::Unsegmentable => {
                "a superframe whose headers cannot be cut for a port without offloads"
            }
            DropReason::NoBuffer => "far more copies at once than a batch has room for",
            DropReason::QueueFull => {
                "the port's reader is slower than what is sent to it; of a `dgram` port, \
                 `net.unix.max_dgram_qlen` frames wait for it at most"
            }
            DropReason::PortDown => "the interface is down: `ip link set DEVICE up`",
            DropReason::MirrorPort => {
                "nothing, if somebody only listens there: what the host there says of itself (ARP, IPv6) \
                 is not let in. A port with `mirror = true` sends copies and takes nothing"
            }
            DropReason::NoCarrier => {
                "no guest has opened the TAP, the other end of the veth is down, or the cable is out"
            }
            DropReason::Unreachable => {
                "no way leads to the peer, or nobody listens there: `ip route get PEER`, and whether the \
                 peer's switch runs"
            }
            DropReason::NotAttached => {
                "nobody is at the socket of the port: start the guest, or compare the paths; `tapyard \
                 port` says `waiting` (guests.md)"
            }
            DropReason::QueueOff => {
                "nothing: the guest had frames waiting when it was given fewer queues, or was paused"
            }
            DropReason::BadRing => {
                "the guest's driver or its memory is corrupt, or hostile: the log says what was wrong. \
                 Its port waits for it to connect again"
            }
            DropReason::PortMissing => {
                "the interface is gone: make it again, or `tapyard port del`. Of a tunnel, nothing: a \
                 peer was taken from `remotes` while packets were on their way to it"
            }
            DropReason::Refused => {
                "the kernel would not take it: a superframe whose headers it finds fault with"
            }
        }
    }
}
