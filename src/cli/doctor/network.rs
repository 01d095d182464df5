//! What the kernel does to packets on their way to and from the switch, in each namespace.

use super::check::{Found, Judged};
use super::facts::Facts;
use super::plural;
use super::ports::inside;
use crate::control::api::{HostInfo, NetnsInfo};
use crate::control::config::PortKind;

/// What a tunnel, or a `netdev` port, asks for as its receive buffer, in bytes.
const WANTED_BUFFER: u64 = 8 << 20;

/// The namespaces that could be looked into; of the others it is said that they could not.
fn seen<'a>(host: &'a HostInfo, found: &mut Found) -> Vec<&'a NetnsInfo> {
    for netns in host.namespaces.iter().filter(|netns| netns.error.is_some()) {
        found.unseen(
            place(netns),
            format!("cannot be entered: {}", netns.error.as_deref().unwrap_or_default()),
        );
    }
    host.namespaces.iter().filter(|netns| netns.error.is_none()).collect()
}

fn place(netns: &NetnsInfo) -> String {
    netns.name.as_ref().map_or_else(|| "this host".into(), |name| format!("namespace {name}"))
}

fn counted(netns: &NetnsInfo, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| netns.counters.get(*name)).sum()
}

/// Checksums that the kernel has found right.
pub(super) fn checksums(facts: &Facts) -> Judged {
    const COUNTERS: [&str; 7] = [
        "IpExt.InCsumErrors",
        "Icmp.InCsumErrors",
        "Tcp.InCsumErrors",
        "Udp.InCsumErrors",
        "Icmp6.InCsumErrors",
        "Udp6.InCsumErrors",
        "Ip6.InCsumErrors",
    ];
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("the kernel has met no wrong checksums");
    for netns in seen(host, &mut found) {
        let wrong = counted(netns, &COUNTERS);
        if wrong > 0 {
            let what = format!(
                "the kernel dropped {} for wrong checksums since it started",
                plural(wrong, "packet")
            );
            let remedy = inside(
                netns.name.as_deref(),
                "nstat -az '*CsumErrors*', twice: while it grows, somebody damages packets, or leaves checksums unfinished (ethtool -K DEVICE tx off there)",
            );
            found.warn(place(netns), what, remedy);
        }
    }
    Ok(found)
}

/// Receive buffers that are large enough, and have not overflowed.
pub(super) fn buffers(facts: &Facts) -> Judged {
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("receive buffers have lost nothing");
    for netns in seen(host, &mut found) {
        let lost = counted(netns, &["Udp.RcvbufErrors", "Udp6.RcvbufErrors"]);
        if lost > 0 {
            let what =
                format!("UDP sockets lost {} because their buffers were full", plural(lost, "datagram"));
            found.warn(
                place(netns),
                what,
                "sysctl -w net.core.rmem_max=8388608, more workers, or root for the switch",
            );
        }
    }
    let Ok(config) = &facts.config else { return Ok(found) };
    let wants = |kind: &PortKind| matches!(kind, PortKind::Tunnel(_) | PortKind::Netdev(_));
    let may_force =
        host.capabilities.as_ref().is_some_and(|held| held.iter().any(|held| held == "net_admin"));
    if config.ports.values().any(|port| wants(&port.kind)) && !may_force {
        match host.receive_buffer_limit {
            Some(limit) if limit >= WANTED_BUFFER => {}
            Some(limit) => {
                let what = format!(
                    "without CAP_NET_ADMIN a socket has {limit} bytes at most, and {WANTED_BUFFER} are asked for"
                );
                found.warn("net.core.rmem_max", what, format!("sysctl -w net.core.rmem_max={WANTED_BUFFER}"));
            }
            None => found.unseen("net.core.rmem_max", "cannot be read in this namespace"),
        }
    }
    Ok(found)
}

/// Kernel bridges that do not filter what goes to a port.
pub(super) fn bridge_filter(facts: &Facts) -> Judged {
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("no firewall is asked about what kernel bridges pass to ports");
    for netns in seen(host, &mut found) {
        let Some(filter) = netns.bridge_filter else { continue };
        let all =
            [(filter.iptables, "iptables"), (filter.ip6tables, "ip6tables"), (filter.arptables, "arptables")];
        let on: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        for device in netns.devices.iter().filter(|_| !on.is_empty()) {
            let Some(bridge) = &device.bridge else { continue };
            let what = format!(
                "{} is on the kernel's bridge {bridge}, which asks {} about every frame",
                device.name,
                on.join(", ")
            );
            let settings =
                on.iter().map(|name| format!("net.bridge.bridge-nf-call-{name}=0")).collect::<Vec<_>>();
            let remedy = inside(netns.name.as_deref(), &format!("sysctl -w {}", settings.join(" ")));
            found.warn(format!("port {}", device.port), what, remedy);
        }
    }
    Ok(found)
}

/// Interfaces by which the kernel takes packets from everywhere.
pub(super) fn strict_sources(facts: &Facts) -> Judged {
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("rp_filter has dropped nothing");
    for netns in seen(host, &mut found) {
        let dropped = counted(netns, &["TcpExt.IPReversePathFilter"]);
        // Those of ports first, since it is them that the user thinks of.
        let is_port = |name: &&String| netns.devices.iter().any(|device| device.name == **name);
        let strict = &netns.strict_sources;
        let Some(device) = strict.iter().find(is_port).or(strict.first()).filter(|_| dropped > 0) else {
            continue;
        };
        let what = format!(
            "the kernel dropped {} whose answers would leave by another interface than they came in by (rp_filter is 1 on {device}{})",
            plural(dropped, "packet"),
            if strict.len() > 1 { " and others" } else { "" }
        );
        let remedy = inside(netns.name.as_deref(), &format!("sysctl -w net.ipv4.conf.{device}.rp_filter=2"));
        found.warn(place(netns), what, remedy);
    }
    Ok(found)
}

/// Kernels that do not route beside the switch.
pub(super) fn forwarding(facts: &Facts) -> Judged {
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let mut found = Found::new("as it is; the switch's bridges and routers do not need it");
    for netns in seen(host, &mut found).into_iter().filter(|netns| netns.forwarding == Some(true)) {
        let Ok(config) = &facts.config else { continue };
        let is_netdev =
            |port: &str| config.ports.get(port).is_some_and(|port| matches!(port.kind, PortKind::Netdev(_)));
        let routes = |device: &&crate::control::api::DeviceInfo| {
            is_netdev(&device.port) && !device.addresses.is_empty()
        };
        if let Some(device) = netns.devices.iter().find(routes) {
            let what = format!(
                "{} has an address and ip_forward is on: the kernel routes what comes in there, too",
                device.name
            );
            let remedy =
                inside(netns.name.as_deref(), "sysctl -w net.ipv4.ip_forward=0, or take the address off");
            found.warn(format!("port {}", device.port), what, remedy);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::check::Judged;
    use super::*;
    use crate::control::api::BridgeFilterInfo;

    fn lines(check: fn(&Facts) -> Judged, change: impl FnOnce(&mut HostInfo)) -> String {
        let mut facts = Facts::healthy();
        change(facts.host.as_mut().unwrap());
        check(&facts).unwrap().lines().join("\n")
    }

    fn count(name: &'static str) -> impl FnOnce(&mut HostInfo) {
        move |host| _ = host.namespaces[0].counters.insert(name.into(), 3)
    }

    #[test]
    fn what_the_kernel_counts_is_told() {
        let found = lines(checksums, count("Udp.InCsumErrors"));
        assert!(
            found.starts_with("warning this host: the kernel dropped 3 packets for wrong checksums"),
            "{found}"
        );
        let found = lines(buffers, count("Udp6.RcvbufErrors"));
        assert!(found.starts_with("warning this host: UDP sockets lost 3 datagrams"), "{found}");
        assert_eq!(lines(checksums, count("Udp.InDatagrams")), "");
    }

    #[test]
    fn a_small_buffer_matters_to_who_may_not_force_a_larger_one() {
        let poor = |limit| {
            move |host: &mut HostInfo| {
                (host.capabilities, host.receive_buffer_limit) = (Some(Vec::new()), limit)
            }
        };
        assert!(lines(buffers, poor(Some(212_992))).contains("sysctl -w net.core.rmem_max=8388608"));
        assert_eq!(lines(buffers, poor(Some(WANTED_BUFFER))), "");
        assert!(lines(buffers, poor(None)).starts_with("not looked at net.core.rmem_max"));
        assert_eq!(lines(buffers, |host| host.receive_buffer_limit = Some(1)), "");
    }

    #[test]
    fn a_firewall_matters_where_a_port_is_on_a_kernel_bridge() {
        let set = |bridge: Option<&str>| {
            let bridge = bridge.map(str::to_owned);
            move |host: &mut HostInfo| {
                host.namespaces[0].bridge_filter =
                    Some(BridgeFilterInfo { iptables: true, ..Default::default() });
                host.namespaces[0].devices[0].bridge = bridge;
            }
        };
        assert_eq!(lines(bridge_filter, set(None)), "");
        let found = lines(bridge_filter, set(Some("br0")));
        assert!(found.ends_with("try: sysctl -w net.bridge.bridge-nf-call-iptables=0"), "{found}");
    }

    #[test]
    fn a_strict_interface_is_told_when_something_was_dropped() {
        let strict = |dropped: u64| {
            move |host: &mut HostInfo| {
                host.namespaces[0].strict_sources = vec!["eth0".into(), "vm1".into()];
                host.namespaces[0].counters.insert("TcpExt.IPReversePathFilter".into(), dropped);
            }
        };
        assert_eq!(lines(strict_sources, strict(0)), "");
        let found = lines(strict_sources, strict(2));
        assert!(found.ends_with("try: sysctl -w net.ipv4.conf.vm1.rp_filter=2"), "{found}");
    }

    #[test]
    fn forwarding_matters_where_the_host_has_an_address_on_a_port() {
        assert_eq!(lines(forwarding, |host| host.namespaces[0].forwarding = Some(true)), "");
        let both = |host: &mut HostInfo| {
            host.namespaces[0].forwarding = Some(true);
            host.namespaces[0].devices[1].addresses = vec!["10.0.0.1".parse().unwrap()];
        };
        assert!(lines(forwarding, both).starts_with("warning port vm2: vm2 has an address"));
    }

    #[test]
    fn a_namespace_that_was_not_entered_is_said_not_to_be_looked_at() {
        let shut = |host: &mut HostInfo| host.namespaces[0].error = Some("not permitted".into());
        for check in [checksums, buffers, bridge_filter, strict_sources, forwarding] {
            assert!(lines(check, shut).starts_with("not looked at this host: cannot be entered"));
        }
    }
}
