//! Whether tunnels have their UDP port, reach their peers, and let through what guests send.

use std::net::IpAddr;

use super::check::{Found, Judged};
use super::facts::Facts;
use super::plural;
use super::ports::inside;
use crate::control::api::{HostInfo, SocketInfo, TunnelInfo, TunnelPeerInfo};

/// The least MTU that IPv6 needs (RFC 8200, 5).
const LEAST_IPV6: u32 = 1280;

/// UDP ports of tunnels that no other program has, nor the kernel.
pub(super) fn sockets(facts: &Facts) -> Judged {
    let (host, config) =
        (facts.host.as_ref().map_err(Clone::clone)?, facts.config.as_ref().map_err(Clone::clone)?);
    let mut found = Found::new(match config.tunnels().next() {
        Some(_) => "no other program has the UDP port of a tunnel",
        None => "there are no tunnels",
    });
    for (name, tunnel, _) in config.tunnels() {
        let Some(port) = tunnel.port else { continue };
        let at = in_the_way(host, tunnel.netns.as_deref(), tunnel.local, port);
        let is_ours = |socket: &&SocketInfo| socket.holder.as_ref().is_some_and(|holder| holder.own);
        let Some(socket) = at.first().filter(|_| !at.iter().any(is_ours)) else { continue };
        let who = match &socket.holder {
            Some(holder) => format!("{} (pid {})", holder.name, holder.pid),
            None if host.saw_all_processes => "the kernel (a vxlan or geneve device)".into(),
            None => "somebody, root could see who,".into(),
        };
        let remedy = match &socket.holder {
            Some(holder) => format!("kill {}; or another port or local address for the tunnel", holder.pid),
            None => inside(
                tunnel.netns.as_deref(),
                "ip -d link show type vxlan, and ip link del what has the port",
            ),
        };
        found.wrong(
            format!("tunnel {name}"),
            format!("{who} has UDP port {port} at {}", socket.local),
            remedy,
        );
    }
    Ok(found)
}

/// The sockets that keep one from having this address and port.
fn in_the_way<'a>(host: &'a HostInfo, netns: Option<&str>, local: IpAddr, port: u16) -> Vec<&'a SocketInfo> {
    let here = host.namespaces.iter().filter(|here| here.name.as_deref() == netns);
    let bars = |socket: &&SocketInfo| {
        socket.port == port
            && (socket.local == local
                || socket.local.is_ipv4() == local.is_ipv4() && local.is_unspecified()
                || socket.local.is_unspecified())
    };
    here.flat_map(|netns| &netns.sockets).filter(bars).collect()
}

/// Peers that have been heard.
pub(super) fn peers(facts: &Facts) -> Judged {
    let tunnels = facts.tunnels.as_ref().map_err(Clone::clone)?;
    let count: usize = tunnels.iter().map(|tunnel| tunnel.peers.len()).sum();
    let mut found = Found::new(match count {
        0 => "there are no peers of tunnels".into(),
        count => format!("{} heard", plural(count as u64, "peer")),
    });
    for tunnel in tunnels {
        tunnel.peers.iter().for_each(|peer| judge_peer(facts, tunnel, peer, &mut found));
        for intruder in &tunnel.intruders {
            let what = format!("{} sends packets that are of no peer ({})", intruder.source, intruder.reason);
            let remedy =
                format!("tapyard tunnel show {}, and compare VNI and remotes at both ends", tunnel.name);
            found.warn(format!("tunnel {}", tunnel.name), what, remedy);
        }
    }
    Ok(found)
}

fn judge_peer(facts: &Facts, tunnel: &TunnelInfo, peer: &TunnelPeerInfo, found: &mut Found) {
    let (place, address) = (format!("tunnel {}, peer {}", tunnel.name, peer.address), peer.address);
    let echo = facts.echoes.iter().find(|echo| echo.port == tunnel.name && echo.remote == address);
    let answered = echo.is_some_and(|echo| echo.rtt_nanos.is_some());
    let ping = format!("tapyard tunnel ping {address} --port {}", tunnel.name);
    if peer.path_mtu.is_none() && peer.state != "group" {
        let remedy = inside(tunnel.netns.as_deref(), &format!("ip route get {address}"));
        found.wrong(place, "no way leads there", remedy);
    } else if let Some(why) = peer.state.strip_prefix("unreachable: ") {
        found.wrong(
            place,
            format!("cannot be reached: {why}"),
            format!("start the switch there, or: {ping}"),
        );
    } else if peer.state == "unheard" && !answered {
        let remedy = format!("{}, and compare remotes and UDP port at both ends", ping);
        match peer.tx_packets {
            0 => found.warn(
                place,
                "was never heard; nothing was sent to it either, and an echo not answered",
                remedy,
            ),
            sent => {
                found.wrong(place, format!("has never answered, after {}", plural(sent, "packet")), remedy)
            }
        }
    }
}

/// Ports whose frames fit into the tunnels of their bridge.
pub(super) fn mtu(facts: &Facts) -> Judged {
    let tunnels = facts.tunnels.as_ref().map_err(Clone::clone)?;
    let ports = facts.ports.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new(match tunnels.len() {
        0 => "there are no tunnels",
        _ => "what the ports send fits into the tunnels",
    });
    for tunnel in tunnels {
        let (name, mtu) = (&tunnel.name, tunnel.mtu);
        let reached = tunnel.peers.iter().any(|peer| peer.path_mtu.is_some());
        if !reached {
            continue; // of which another check tells
        }
        let narrowest =
            tunnel.peers.iter().filter(|peer| peer.path_mtu.is_some()).min_by_key(|peer| peer.mtu);
        let path = narrowest.map(|peer| {
            let path = peer.path_mtu.unwrap_or_default();
            format!(" (the network to {} lets {path} bytes through)", peer.address)
        });
        let path = path.unwrap_or_default();
        if mtu < LEAST_IPV6 {
            let what = format!("lets {mtu} bytes through{path}, and IPv6 needs {LEAST_IPV6}");
            let remedy =
                inside(tunnel.netns.as_deref(), "ip link set DEVICE mtu 1550, on the way of its packets");
            found.wrong(format!("tunnel {name}"), what, remedy);
        }
        let on_its_bridge = |port: &&crate::control::api::PortInfo| {
            port.bridge.is_some() && port.bridge == tunnel.bridge && port.name != *name
        };
        let has_device = |kind: &str| matches!(kind, "tap" | "netdev" | "stream" | "dgram" | "vhost-user");
        let longer = ports.iter().filter(on_its_bridge).filter(|port| has_device(&port.kind));
        let longer: Vec<_> = longer.filter(|port| port.mtu.is_some_and(|own| own > mtu)).collect();
        if let Some(port) = longer.first() {
            let own = port.mtu.unwrap_or_default();
            let others = match longer.len() {
                1 => String::new(),
                n => format!(" and of {}", plural(n as u64 - 1, "other port")),
            };
            let what =
                format!("lets {mtu} bytes through{path}, and the MTU of port {}{others} is {own}", port.name);
            let remedy = match port.kind.as_str() {
                "netdev" => format!(
                    "ip link set {} mtu {mtu}, and in the guest",
                    port.device.as_deref().unwrap_or(&port.name)
                ),
                _ => format!("tapyard port set {} mtu={mtu}, and in the guest", port.name),
            };
            found.warn(format!("tunnel {name}"), what, remedy);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{HolderInfo, ProbeInfo};

    fn peer_lines(change: impl FnOnce(&mut TunnelPeerInfo), echo: Option<u64>) -> String {
        let mut facts = Facts::healthy();
        let tunnel = &mut facts.tunnels.as_mut().unwrap()[0];
        change(&mut tunnel.peers[0]);
        let (port, remote) = (tunnel.name.clone(), tunnel.peers[0].address);
        facts.echoes = vec![ProbeInfo { port, remote, size: 64, mtu: 1450, rtt_nanos: echo, not_sent: None }];
        peers(&facts).unwrap().lines().join("\n")
    }

    #[test]
    fn a_peer_that_never_answered_is_wrong_once_something_was_sent() {
        let unheard =
            |sent| move |peer: &mut TunnelPeerInfo| (peer.state, peer.tx_packets) = ("unheard".into(), sent);
        assert!(
            peer_lines(unheard(3), None)
                .starts_with("wrong tunnel far, peer 10.8.0.2: has never answered, after 3 packets")
        );
        assert!(
            peer_lines(unheard(0), None).starts_with("warning tunnel far, peer 10.8.0.2: was never heard")
        );
        assert_eq!(peer_lines(unheard(3), Some(1000)), "");
        let unreachable =
            |peer: &mut TunnelPeerInfo| peer.state = "unreachable: Connection refused 3 s ago".into();
        assert!(peer_lines(unreachable, None).contains("cannot be reached: Connection refused"));
        assert!(
            peer_lines(|peer| peer.path_mtu = None, None)
                .contains("no way leads there; try: ip route get 10.8.0.2")
        );
    }

    #[test]
    fn a_tunnel_that_is_narrower_than_the_ports_is_told() {
        let with = |path: u32, inner: u32| {
            let mut facts = Facts::healthy();
            let tunnel = &mut facts.tunnels.as_mut().unwrap()[0];
            (tunnel.mtu, tunnel.peers[0].mtu, tunnel.peers[0].path_mtu) = (inner, inner, Some(path));
            facts.ports.as_mut().unwrap()[0].mtu = Some(1500);
            mtu(&facts).unwrap().lines()
        };
        assert!(with(1550, 1500).is_empty());
        let lines = with(1500, 1450);
        assert!(
            lines[0].starts_with(
                "warning tunnel far: lets 1450 bytes through (the network to 10.8.0.2 lets 1500"
            ),
            "{lines:?}"
        );
        assert!(lines[0].ends_with("try: tapyard port set vm1 mtu=1450, and in the guest"), "{lines:?}");
        assert!(with(1300, 1250)[0].starts_with("wrong tunnel far: lets 1250 bytes"));
    }

    #[test]
    fn who_has_the_port_of_a_tunnel_is_named() {
        let with = |local: &str, holder: Option<HolderInfo>| {
            let mut facts = Facts::idle();
            let netns = &mut facts.host.as_mut().unwrap().namespaces[0];
            netns.sockets = vec![SocketInfo { local: local.parse().unwrap(), port: 4789, holder }];
            sockets(&facts).unwrap().lines().join("\n")
        };
        let holder = |own| HolderInfo { pid: 7, name: "ovs".into(), own, same_netns: true };
        assert!(with("0.0.0.0", None).starts_with("wrong tunnel far: the kernel (a vxlan"));
        assert!(
            with("10.8.0.1", Some(holder(false)))
                .starts_with("wrong tunnel far: ovs (pid 7) has UDP port 4789")
        );
        assert_eq!(with("10.8.0.1", Some(holder(true))), "");
        assert_eq!(with("10.99.0.1", Some(holder(false))), "");
    }
}
