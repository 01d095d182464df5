//! Overlays between hosts: an underlay of namespaces and veths, a switch of some make on each host, and guests behind it.
//!
//! Host *n* is reached at 10.8.*n*.1 and fd00:8:*n*::1 on its device `under`. Behind it is one guest for each network of
//! the overlay; that of network *k* has 10.9.*k*.*n* and fd00:9:*k*::*n* on its device `eth`. Networks are isolated by
//! their VNI or key only: all their guests think that they are on one link.

use std::net::{IpAddr, UdpSocket};

use serde_json::Value;
use socket2::SockRef;

use super::host::expect_success;
use super::openvswitch::OpenVSwitch;
use super::{Host, Yard, number, tap};

/// The guests' MTU, which fits an underlay of 1500 bytes whatever the tunnel: IPv6, UDP, VXLAN or GENEVE and Ethernet take
/// 70, and two VLAN tags 8.
pub(crate) const GUEST_MTU: u32 = 1422;

/// The VNI or key of a network.
pub(crate) const fn id(network: usize) -> u32 {
    100 + 100 * network as u32
}

/// How the hosts wrap what goes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    Vxlan,
    Geneve,
    /// GRE over UDP (RFC 8086).
    Gre,
    /// GRE over IP.
    GreIp,
}

/// What connects a host's guests to the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Tapyard,
    /// The kernel's vxlan, and its bridge.
    Kernel,
    /// Open vSwitch's userspace datapath.
    OpenVSwitch,
    /// Nothing: a host without guests.
    Bare,
}

/// Which addresses the hosts use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// An overlay as it is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) tunnel: Tunnel,
    pub(crate) family: Family,
    /// The hosts, each of which has all others but the bare ones as peers.
    pub(crate) sides: &'a [Side],
    /// How many networks there are.
    pub(crate) networks: usize,
    /// The hosts are on links of their own, with a router in between.
    pub(crate) routed: bool,
    /// The MTU of the guests' devices.
    pub(crate) guest_mtu: u32,
    /// The hosts have this multicast group as their only remote, and accept anybody.
    pub(crate) group: Option<&'a str>,
    /// Guests have a `tun` that is wired to the tunnel, which carries IP: two hosts, both Tapyard.
    pub(crate) wired: bool,
    /// Further keys of Tapyard's tunnel ports.
    pub(crate) keys: &'a str,
    /// Further keys of the ports of its guests.
    pub(crate) guest_keys: &'a str,
    /// Further keys of the kernel's tunnel devices.
    pub(crate) kernel_keys: &'a str,
}

impl<'a> Plan<'a> {
    /// One network, all hosts on one link.
    pub(crate) fn new(tunnel: Tunnel, family: Family, sides: &'a [Side]) -> Plan<'a> {
        Plan {
            tunnel,
            family,
            sides,
            networks: 1,
            routed: false,
            guest_mtu: GUEST_MTU,
            group: None,
            wired: false,
            keys: "",
            guest_keys: "",
            kernel_keys: "",
        }
    }

    /// The address of host `n`, counted from 1.
    pub(crate) fn address(&self, n: usize) -> IpAddr {
        let text = match self.family {
            Family::V4 => format!("10.8.{n}.1"),
            Family::V6 => format!("fd00:8:{n}::1"),
        };
        text.parse().expect("an address")
    }

    /// The peers of host `n`.
    fn peers(&self, n: usize) -> Vec<IpAddr> {
        let others = (1..).zip(self.sides).filter(|(other, side)| *other != n && **side != Side::Bare);
        others.map(|(other, _)| self.address(other)).collect()
    }
}

/// Hosts and guests as planned. All of it is removed when dropped.
pub(crate) struct Overlay {
    sites: Vec<Site>,
    /// The network between the hosts.
    pub(crate) wire: Host,
}

/// A host and what is behind it.
pub(crate) struct Site {
    switch: Switch,
    guests: Vec<Host>,
    /// Dropped last: the switch runs in it.
    pub(crate) host: Host,
}

enum Switch {
    Tapyard(Box<Yard>),
    OpenVSwitch(OpenVSwitch),
    Kernel,
    Bare,
}

impl Overlay {
    /// Starts the overlay; the guests have their addresses, and the hosts can reach one another.
    pub(crate) fn start(plan: &Plan<'_>) -> Overlay {
        let wire = wire(plan);
        let hosts: Vec<_> = (1..=plan.sides.len()).map(|n| underlay_host(plan, &wire, n)).collect();
        if plan.sides.contains(&Side::OpenVSwitch) {
            // It takes no packet whose checksum was left to the device.
            let others = hosts.iter().zip(plan.sides).filter(|(_, side)| **side != Side::OpenVSwitch);
            for (host, _) in others {
                expect_success(host.run(10, "ethtool", &["-K", "under", "tx", "off"]), "ethtool -K");
            }
        }
        let sites =
            (1..).zip(plan.sides).zip(hosts).map(|((n, side), host)| Site::start(plan, n, *side, host));
        Overlay { sites: sites.collect(), wire }
    }

    /// Host `n`, counted from 1, with what is behind it.
    pub(crate) fn site(&self, n: usize) -> &Site {
        &self.sites[n - 1]
    }

    /// The guest behind host `n` in the first network.
    pub(crate) fn guest(&self, n: usize) -> &Host {
        &self.site(n).guests[0]
    }

    /// The switch on host `n`, which is Tapyard.
    pub(crate) fn yard(&self, n: usize) -> &Yard {
        match &self.site(n).switch {
            Switch::Tapyard(yard) => yard,
            _ => panic!("host {n} has another switch"),
        }
    }

    /// The Open vSwitch on host `n`.
    pub(crate) fn openvswitch(&self, n: usize) -> &OpenVSwitch {
        match &self.site(n).switch {
            Switch::OpenVSwitch(ovs) => ovs,
            _ => panic!("host {n} has another switch"),
        }
    }

    /// The switch on host `n`, to be ended and started again.
    pub(crate) fn yard_mut(&mut self, n: usize) -> &mut Yard {
        match &mut self.sites[n - 1].switch {
            Switch::Tapyard(yard) => yard,
            _ => panic!("host {n} has another switch"),
        }
    }
}

/// The IPv4 address of the guest behind host `n` in the network `network`.
pub(crate) fn guest_v4(network: usize, n: usize) -> String {
    format!("10.9.{network}.{n}")
}

/// Its IPv6 address.
pub(crate) fn guest_v6(network: usize, n: usize) -> String {
    format!("fd00:9:{network}::{n}")
}

/// The network between the hosts: a bridge, or a router with a link to each.
fn wire(plan: &Plan<'_>) -> Host {
    if plan.routed {
        let wire = Host::with_ipv6("wire");
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/{key}");
            wire.enter(|| std::fs::write(&path, "1")).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        return wire;
    }
    let wire = Host::new("wire");
    wire.ip("link add name wire0 type bridge");
    wire.ip("link set dev wire0 up");
    wire
}

/// Host `n` with its device `under`, whose other end in the wire is `to<n>`.
fn underlay_host(plan: &Plan<'_>, wire: &Host, n: usize) -> Host {
    let host = Host::with_ipv6(&format!("h{n}"));
    let (v4, v6) = if plan.routed { (24, 64) } else { (16, 32) };
    host.veth("under", &format!("10.8.{n}.1/{v4}"), wire, &format!("to{n}"));
    host.ip(&format!("addr add fd00:8:{n}::1/{v6} dev under nodad"));
    if plan.routed {
        wire.ip(&format!("addr add 10.8.{n}.254/24 dev to{n}"));
        wire.ip(&format!("addr add fd00:8:{n}::fe/64 dev to{n} nodad"));
        host.ip(&format!("route add default via 10.8.{n}.254"));
        host.ip(&format!("-6 route add default via fd00:8:{n}::fe"));
    } else {
        wire.ip(&format!("link set dev to{n} master wire0"));
    }
    host
}

impl Site {
    fn start(plan: &Plan<'_>, n: usize, side: Side, host: Host) -> Site {
        let networks = if side == Side::Bare { 0 } else { plan.networks };
        let guests: Vec<_> = (0..networks).map(|k| Host::with_ipv6(&format!("g{n}{k}"))).collect();
        let switch = match side {
            Side::Tapyard => {
                Switch::Tapyard(Box::new(Yard::start_in(&host, &tapyard_config(plan, n, &guests))))
            }
            Side::Kernel => {
                for (k, guest) in guests.iter().enumerate() {
                    join_kernel(plan, n, k, &host, guest);
                }
                Switch::Kernel
            }
            Side::OpenVSwitch => Switch::OpenVSwitch(start_openvswitch(plan, n, &host, &guests[0])),
            Side::Bare => Switch::Bare,
        };
        for (k, guest) in guests.iter().enumerate() {
            guest.ip(&format!("link set dev eth mtu {}", plan.guest_mtu));
            guest.ip(&format!("addr add {}/16 dev eth", guest_v4(k, n)));
            guest.ip(&format!("addr add {}/32 dev eth nodad", guest_v6(k, n)));
            guest.ip("link set dev eth up");
        }
        Site { switch, guests, host }
    }

    /// The guest in the network `network`.
    pub(crate) fn guest(&self, network: usize) -> &Host {
        &self.guests[network]
    }

    /// Sends `payload` as a UDP datagram from an address of the host to `to`, with this TOS in its IPv4 header.
    pub(crate) fn send_datagram(&self, tos: u32, to: (IpAddr, u16), payload: &[u8]) {
        let any: IpAddr = if to.0.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = self.host.enter(|| UdpSocket::bind((any, 0))).expect("any port");
        SockRef::from(&socket).set_tos_v4(tos).expect("an IPv4 socket has a TOS");
        let sent =
            socket.send_to(payload, to).unwrap_or_else(|error| panic!("a datagram to {to:?}: {error}"));
        assert_eq!(sent, payload.len());
    }

    /// How many packets the host's kernel has received that are counted as `name` in `/proc/net/netstat`.
    pub(crate) fn netstat(&self, name: &str) -> u64 {
        netstat(&self.host, name)
    }
}

/// What `tunnel show -j` says of the peer on host `n` in the first network.
pub(crate) fn peer(yard: &Yard, plan: &Plan<'_>, n: usize) -> Value {
    let tunnels = yard.rows("tunnel show");
    let tunnel =
        tunnels.iter().find(|row| row["name"] == tunnel_port(0).as_str()).expect("the tunnel is shown");
    let address = plan.address(n).to_string();
    let peers = tunnel["peers"].as_array().expect("a list");
    peers.iter().find(|row| row["address"] == address.as_str()).expect("the peer is shown").clone()
}

/// Frames dropped for `reason` on whatever port.
pub(crate) fn dropped(yard: &Yard, reason: &str) -> u64 {
    let rows = yard.rows("drops").into_iter().filter(|row| row["reason"] == reason);
    rows.map(|row| number(&row, "frames")).sum()
}

/// Asserts that nothing was dropped for what it looked like: such a drop would be ours, since both kernels send well.
pub(crate) fn no_frame_was_damaged(yard: &Yard) {
    for row in yard.rows("drops") {
        let reason = row["reason"].as_str().expect("a name");
        // A router takes no part in what hosts say to groups of theirs.
        let harmless =
            ["same-port", "no-member", "local", "not-local", "queue-full", "unreachable", "no-carrier"];
        assert!(harmless.contains(&reason), "{row}");
    }
    yard.assert_conserved();
}

/// The path MTU that a guest's kernel knows to `address`.
pub(crate) fn path_mtu(guest: &Host, address: &str) -> Option<u32> {
    let route = guest.ip(&format!("route get {address}"));
    route.split_whitespace().skip_while(|word| *word != "mtu").nth(1)?.parse().ok()
}

/// A path between the hosts that becomes narrower, unknown to the guests.
pub(crate) fn shrink(overlay: &Overlay, mtu: u32) {
    overlay.wire.ip(&format!("link set dev to2 mtu {mtu}"));
    overlay.site(2).host.ip(&format!("link set dev under mtu {mtu}"));
}

/// A counter of `/proc/net/netstat`, such as `InCEPkts`.
pub(crate) fn netstat(host: &Host, name: &str) -> u64 {
    let text =
        host.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).expect("procfs is there");
    // A line of names is followed by one of values.
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let found = lines.chunks(2).find_map(|pair| Some((pair, pair[0].iter().position(|word| *word == name)?)));
    let (pair, at) = found.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    pair[1][at].parse().expect("a number")
}

/// The tunnel port of the network `network` in [`tapyard_config`].
pub(crate) fn tunnel_port(network: usize) -> String {
    format!("net{network}")
}

/// Tapyard's configuration on host `n`: in each network a TAP port for the guest and a tunnel port.
pub(crate) fn tapyard_config(plan: &Plan<'_>, n: usize, guests: &[Host]) -> String {
    let (kind, number) = match plan.tunnel {
        Tunnel::Vxlan => ("vxlan", "vni"),
        Tunnel::Geneve => ("geneve", "vni"),
        Tunnel::Gre => ("gre", "key"),
        Tunnel::GreIp => ("gre", "transport = \"ip\"\nkey"),
    };
    let remotes = match plan.group {
        Some(group) => format!("remotes = \"{group}\"\naccept = \"any\""),
        None => format!("remotes = {:?}", plan.peers(n).iter().map(IpAddr::to_string).collect::<Vec<_>>()),
    };
    let network = |(k, guest): (usize, &Host)| {
        let eth = format!("device = \"eth\"\nmtu = {}\n{}", plan.guest_mtu, plan.guest_keys);
        let (ends, joined) = match plan.wired {
            true => (
                format!("[port.guest{k}]\ntype = \"tun\"\nnetns = \"{guest}\"\n{eth}\n"),
                format!("payload = \"ip\"\nwire = \"guest{k}\""),
            ),
            false => {
                let bridge = format!("bridge = \"lan{k}\"");
                let guest = tap(&format!("guest{k}"), guest, &format!("{bridge}\n{eth}"));
                (format!("[bridge.lan{k}]\n{guest}"), bridge)
            }
        };
        format!(
            "{ends}[port.{}]\n{joined}\ntype = \"{kind}\"\n{number} = {}\nlocal = \"{}\"\n{remotes}\n{}\n",
            tunnel_port(k),
            id(k),
            plan.address(n),
            plan.keys,
        )
    };
    guests.iter().enumerate().map(network).collect()
}

/// The kernel's VTEP for the network `k` on host `n`: a vxlan device and a veth to the guest on one bridge.
pub(crate) fn join_kernel(plan: &Plan<'_>, n: usize, k: usize, host: &Host, guest: &Host) {
    host.ip(&format!("link add name bridge{k} type bridge"));
    host.ip(&format!("link set dev bridge{k} up"));
    guest.veth("eth", "", host, &format!("guest{k}"));
    host.ip(&format!("link set dev guest{k} master bridge{k}"));
    add_kernel_tunnel(plan, n, k, host);
}

/// The tunnel device alone, `tunnel<k>`; a test takes it away and puts it back.
pub(crate) fn add_kernel_tunnel(plan: &Plan<'_>, n: usize, k: usize, host: &Host) {
    assert_eq!(plan.tunnel, Tunnel::Vxlan, "every kernel has vxlan, not every one has others");
    let (device, local) = (format!("tunnel{k}"), plan.address(n));
    let group = plan.group.map(|group| format!("group {group} dev under ttl 8")).unwrap_or_default();
    let (id, keys) = (id(k), plan.kernel_keys);
    host.ip(&format!("link add name {device} type vxlan id {id} dstport 4789 local {local} {group} {keys}"));
    for peer in plan.peers(n).into_iter().filter(|_| plan.group.is_none()) {
        let peer = peer.to_string();
        let args = ["fdb", "append", "00:00:00:00:00:00", "dev", &device, "dst", &peer];
        expect_success(host.run(10, "bridge", &args), "bridge fdb append");
    }
    host.ip(&format!("link set dev {device} master bridge{k} up"));
}

/// Open vSwitch on host `n`, with one network and one peer (it knows no split horizon). Its datapath takes the host's
/// device, whose addresses move to a device of its own.
fn start_openvswitch(plan: &Plan<'_>, n: usize, host: &Host, guest: &Host) -> OpenVSwitch {
    let kind = match plan.tunnel {
        Tunnel::Vxlan => "vxlan",
        Tunnel::Geneve => "geneve",
        Tunnel::GreIp => "gre",
        Tunnel::Gre => panic!("Open vSwitch has no GRE over UDP"),
    };
    let [peer] = plan.peers(n)[..] else { panic!("Open vSwitch has one peer here: {plan:?}") };
    assert!(plan.networks == 1 && !plan.routed, "Open vSwitch has one network here, on one link: {plan:?}");
    let ovs = OpenVSwitch::start(host);
    let mac = super::frames::text(host.mac("under"));
    host.ip("addr flush dev under");
    ovs.vsctl(&format!(
        "add-br phy -- set bridge phy datapath_type=netdev other-config:hwaddr=\"{mac}\" -- add-port phy under"
    ));
    host.ip(&format!("addr add 10.8.{n}.1/16 dev phy"));
    host.ip(&format!("addr add fd00:8:{n}::1/32 dev phy nodad"));
    host.ip("link set dev phy up");
    let (local, id) = (plan.address(n), id(0));
    ovs.vsctl(
        "add-br lan -- set bridge lan datapath_type=netdev -- add-port lan eth -- set interface eth type=tap",
    );
    ovs.vsctl(&format!(
        "add-port lan peer -- set interface peer type={kind} options:remote_ip={peer} options:local_ip={local} \
         options:key={id}"
    ));
    host.ip(&format!("link set dev eth netns {guest}"));
    ovs
}
