//! Whether ports have their devices, and have them for themselves.

use super::check::{Found, Judged};
use super::facts::Facts;
use super::plural;
use crate::control::api::{DeviceInfo, HostInfo, NetnsInfo, PortInfo};
use crate::control::config::{Config, On, PortConfig, PortKind};

/// `ip`, in the namespace where that is.
pub(super) fn ip(netns: Option<&str>) -> String {
    match netns {
        None => "ip".into(),
        Some(path) if path.contains('/') => format!("nsenter --net={path} ip"),
        Some(name) => format!("ip -n {name}"),
    }
}

/// Any command, in the namespace where that is.
pub(super) fn inside(netns: Option<&str>, command: &str) -> String {
    match netns {
        None => command.to_owned(),
        Some(path) if path.contains('/') => format!("nsenter --net={path} {command}"),
        Some(name) => format!("ip netns exec {name} {command}"),
    }
}

/// The devices of ports, with the namespaces they are in and what the ports are to be.
fn devices<'a>(
    host: &'a HostInfo,
    config: &'a Config,
) -> impl Iterator<Item = (&'a NetnsInfo, &'a DeviceInfo, &'a PortConfig)> {
    host.namespaces.iter().flat_map(move |netns| {
        let devices = netns.devices.iter();
        devices.filter_map(move |device| Some((netns, device, config.ports.get(&device.port)?)))
    })
}

/// Ports that are there, up, and on something.
pub(super) fn states(facts: &Facts) -> Judged {
    let config = facts.config.as_ref().map_err(Clone::clone)?;
    let count = plural(config.own_ports().count() as u64, "port");
    let mut found = Found::new(match facts.runs() {
        true => format!("{count} up"),
        false => format!("{count} can have what is asked for"),
    });
    for (name, port) in config.own_ports() {
        let at_router = config.routers.values().flat_map(|router| router.interfaces.values());
        let mut at_router = at_router.filter(|interface| matches!(&interface.on, On::Port(at) if at == name));
        if port.bridge.is_none() && port.wire.is_none() && at_router.next().is_none() {
            let what = "carries IP, and has neither a wire nor an interface of a router";
            let remedy = format!("tapyard router interface add NAME port={name} address=10.0.0.1/24");
            found.warn(format!("port {name}"), what, remedy);
        }
    }
    if facts.runs() {
        let ports = facts.ports.as_ref().map_err(Clone::clone)?.iter();
        ports.for_each(|port| state(port, config.ports.get(&port.name), &mut found));
        return Ok(found);
    }
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    for netns in host.namespaces.iter().filter(|netns| netns.error.is_some() && netns.name.is_some()) {
        let (name, error) =
            (netns.name.as_deref().unwrap_or_default(), netns.error.as_deref().unwrap_or_default());
        found.wrong(
            format!("namespace {name}"),
            format!("cannot be entered: {error}"),
            format!("ip netns add {name}, or run as root"),
        );
    }
    for (netns, device, port) in devices(host, config) {
        let takes = matches!(&port.kind, PortKind::Netdev(netdev) if netdev.create.is_none());
        if takes && device.exists == Some(false) {
            let what = format!("there is no interface {}: the port waits for it", device.name);
            let remedy = format!(
                "{} tuntap add {} mode tap, or name another by device",
                ip(netns.name.as_deref()),
                device.name
            );
            found.warn(format!("port {}", device.port), what, remedy);
        }
    }
    Ok(found)
}

fn state(port: &PortInfo, config: Option<&PortConfig>, found: &mut Found) {
    let (name, place) = (&port.name, format!("port {}", port.name));
    // The switch names the device that it has; which one is missing, the configuration says.
    let asked = config.and_then(|config| match &config.kind {
        PortKind::Netdev(netdev) => Some(&*netdev.device),
        PortKind::Tap(tap) | PortKind::Tun(tap) => Some(&*tap.device),
        _ => None,
    });
    let device = port.device.as_deref().or(asked).unwrap_or(name);
    let ip = ip(port.netns.as_deref());
    match port.state.as_str() {
        "missing" if port.kind == "netdev" => {
            found.wrong(
                place,
                format!("there is no interface {device}"),
                format!("{ip} link show; make it, or: tapyard port del {name}"),
            );
        }
        "missing" => found.wrong(place, format!("its {device} is gone"), "tapyard reload"),
        "down" => {
            found.wrong(place, format!("its device {device} is down"), format!("{ip} link set {device} up"))
        }
        "no-carrier" => {
            let what = format!("nobody is at the other end of {device}: what is sent there is lost");
            found.warn(place, what, format!("tapyard port attach {name}, which says how a guest takes it"));
        }
        "waiting" => {
            let what = format!("no guest is at {device}");
            found.warn(place, what, format!("tapyard port attach {name}, which says how one attaches"));
        }
        _ => {}
    }
}

/// TAP and TUN devices that no other program has.
pub(super) fn holders(facts: &Facts) -> Judged {
    let (host, config) =
        (facts.host.as_ref().map_err(Clone::clone)?, facts.config.as_ref().map_err(Clone::clone)?);
    let mut found = Found::new("no other program has the device of a port");
    for (netns, device, port) in devices(host, config) {
        let place = format!("port {}", device.port);
        let is_own = matches!(port.kind, PortKind::Tap(_) | PortKind::Tun(_));
        if !is_own || device.exists != Some(true) || device.holders.iter().any(|holder| holder.own) {
            continue;
        }
        if let Some(holder) = device.holders.first() {
            let (name, pid) = (&holder.name, holder.pid);
            let perhaps =
                if holder.same_netns { "" } else { ", in another namespace: perhaps one of the same name" };
            let what = format!("{name} (pid {pid}) has {} open{perhaps}", device.name);
            let remedy = match port.kind {
                PortKind::Tap(_) => {
                    format!("kill {pid}; or let it be the guest: type = \"netdev\" for the port")
                }
                _ => format!("kill {pid}"),
            };
            found.wrong(place, what, remedy);
        } else if !host.saw_all_processes {
            let what =
                format!("who has {} open{}: the processes of others need root", device.name, within(netns));
            found.unseen(place, what);
        }
    }
    Ok(found)
}

fn within(netns: &NetnsInfo) -> String {
    netns.name.as_ref().map(|name| format!(" in {name}")).unwrap_or_default()
}

/// TAP devices with as many queues as are asked for: one, or several.
pub(super) fn queues(facts: &Facts) -> Judged {
    let (host, config) =
        (facts.host.as_ref().map_err(Clone::clone)?, facts.config.as_ref().map_err(Clone::clone)?);
    let mut found = Found::new("devices have the queues that are asked for");
    for (netns, device, port) in devices(host, config) {
        let Some(has_several) = device.multi_queue else { continue };
        let (place, name, ip) = (format!("port {}", device.port), &device.name, ip(netns.name.as_deref()));
        let anew = |more: &str| {
            format!("{ip} link del {name}, and have it made anew ({ip} tuntap add {name} mode tap{more})")
        };
        match &port.kind {
            PortKind::Tap(tap) | PortKind::Tun(tap) if !tap.offload && has_several => {
                found.wrong(
                    place,
                    format!("{name} has several queues, which offload = false cannot use"),
                    anew(""),
                );
            }
            PortKind::Tap(tap) | PortKind::Tun(tap) => match tap.queues {
                Some(wanted) if wanted > 1 && !has_several => {
                    found.wrong(
                        place,
                        format!("{name} has one queue, and queues = {wanted}"),
                        anew(" multi_queue"),
                    );
                }
                None if tap.offload && facts.workers() > 1 && !has_several => {
                    let what =
                        format!("{name} has one queue for {} workers, of which one reads", facts.workers());
                    found.warn(place, what, anew(" multi_queue"));
                }
                _ => {}
            },
            PortKind::Netdev(netdev) => {
                let Some(wanted) = netdev.create.as_ref().map(|tap| tap.queues.unwrap_or(1)) else {
                    continue;
                };
                if (wanted > 1) != has_several {
                    let has = if has_several { "several queues" } else { "one queue" };
                    let remedy = format!("{ip} link del {name}, and tapyard reload");
                    found.wrong(place, format!("{name} has {has}, and queues = {wanted}"), remedy);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Interfaces of `netdev` ports on which the host itself says nothing.
pub(super) fn own_ipv6(facts: &Facts) -> Judged {
    let (host, config) =
        (facts.host.as_ref().map_err(Clone::clone)?, facts.config.as_ref().map_err(Clone::clone)?);
    let mut found = Found::new("the host is silent on the interfaces of netdev ports");
    for (netns, device, port) in devices(host, config) {
        if !matches!(port.kind, PortKind::Netdev(_)) || device.exists != Some(true) {
            continue;
        }
        let (place, name) = (format!("port {}", device.port), &device.name);
        if let Some(address) = device.addresses.first() {
            let what = format!("{name} has the address {address}: the host answers there beside the switch");
            found.wrong(place, what, format!("{} addr flush dev {name}", ip(netns.name.as_deref())));
        } else if device.ipv6.is_some_and(|ipv6| !ipv6.disabled && ipv6.heeds_routers && ipv6.autoconf) {
            let what = format!("the host makes itself IPv6 addresses on {name} when a router is heard there");
            found.warn(place, what, format!("tapyard port set {} quiet=true", device.port));
        } else if device.ipv6.is_some_and(|ipv6| !ipv6.disabled) {
            let what = format!("the host speaks IPv6 on {name}");
            found.warn(place, what, format!("tapyard port set {} quiet=true", device.port));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{HolderInfo, Ipv6Info};

    /// The lines of a check, when the device of vm1 (a TAP) or of vm2 (a netdev) is otherwise.
    fn lines(check: fn(&Facts) -> Judged, port: usize, change: impl FnOnce(&mut DeviceInfo)) -> Vec<String> {
        let mut facts = Facts::healthy();
        change(&mut facts.host.as_mut().unwrap().namespaces[0].devices[port]);
        check(&facts).unwrap().lines()
    }

    #[test]
    fn a_state_that_loses_frames_is_told_with_its_remedy() {
        let of = |state: &str, kind: &str, netns: Option<&str>| {
            let mut facts = Facts::healthy();
            let port = &mut facts.ports.as_mut().unwrap()[0];
            (port.state, port.kind, port.netns) = (state.into(), kind.into(), netns.map(str::to_owned));
            states(&facts).unwrap().lines().join("\n")
        };
        assert_eq!(of("up", "tap", None), "");
        assert!(of("down", "tap", Some("blue")).ends_with("try: ip -n blue link set vm1 up"));
        assert!(of("missing", "tap", None).ends_with("try: tapyard reload"));
        assert!(of("missing", "netdev", None).starts_with("wrong port vm1: there is no interface vm1"));
        assert!(of("no-carrier", "netdev", None).starts_with("warning port vm1: nobody is at"));
        assert!(of("waiting", "stream", None).starts_with("warning port vm1: no guest is at"));
    }

    #[test]
    fn a_port_on_nothing_is_told() {
        let mut facts = Facts::healthy();
        facts.config.as_mut().unwrap().ports.get_mut("vm1").unwrap().bridge = None;
        let lines = states(&facts).unwrap().lines();
        assert!(lines[0].contains("try: tapyard router interface add NAME port=vm1"), "{lines:?}");
    }

    #[test]
    fn before_the_start_interfaces_and_namespaces_are_looked_for() {
        let mut facts = Facts::idle();
        let netns = &mut facts.host.as_mut().unwrap().namespaces;
        netns[0].devices[1].exists = Some(false);
        netns.push(NetnsInfo {
            name: Some("red".into()),
            error: Some("gone".into()),
            ..NetnsInfo::default()
        });
        let lines = states(&facts).unwrap().lines();
        assert!(lines.iter().any(|line| line.contains("port vm2: there is no interface vm2")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("wrong namespace red: ")), "{lines:?}");
    }

    #[test]
    fn a_program_that_has_the_device_is_named() {
        let holder = |own, same_netns| HolderInfo { pid: 7, name: "qemu".into(), own, same_netns };
        let found = lines(holders, 0, |device| device.holders = vec![holder(false, true)]);
        assert!(found[0].starts_with("wrong port vm1: qemu (pid 7) has vm1 open; try: kill 7"), "{found:?}");
        let found = lines(holders, 0, |device| device.holders = vec![holder(false, false)]);
        assert!(found[0].contains("perhaps"), "{found:?}");
        assert!(
            lines(holders, 0, |device| device.holders = vec![holder(false, true), holder(true, true)])
                .is_empty()
        );
        // It is the guest's to hold.
        assert!(lines(holders, 1, |device| device.holders = vec![holder(false, true)]).is_empty());
        let mut facts = Facts::idle();
        facts.host.as_mut().unwrap().saw_all_processes = false;
        assert!(holders(&facts).unwrap().lines()[0].starts_with("not looked at port vm1: "));
    }

    #[test]
    fn queues_that_do_not_match_are_told() {
        let with = |keys: &str, several: bool| {
            let mut facts = Facts::healthy();
            facts.config =
                Ok(Facts::config_of(&format!("port.vm1 = {{ type = \"tap\", bridge = \"lan\"{keys} }}")));
            facts.host.as_mut().unwrap().namespaces[0].devices[0].multi_queue = Some(several);
            queues(&facts).unwrap().lines().join("\n")
        };
        assert_eq!(with("", true), "");
        assert!(with("", false).starts_with("warning port vm1: vm1 has one queue for 2 workers"));
        assert!(with(", queues = 2", false).starts_with("wrong port vm1: vm1 has one queue, and queues = 2"));
        assert_eq!(with(", queues = 1", false), "");
        assert!(with(", offload = false", true).starts_with("wrong port vm1: vm1 has several queues"));
        assert_eq!(with(", offload = false", false), "");
    }

    #[test]
    fn a_host_that_speaks_on_a_netdev_port_is_told() {
        let ipv6 = |heeds_routers| Some(Ipv6Info { disabled: false, heeds_routers, autoconf: true });
        assert!(
            lines(own_ipv6, 1, |device| device.ipv6 = ipv6(true))[0]
                .contains("makes itself IPv6 addresses on vm2")
        );
        assert!(lines(own_ipv6, 1, |device| device.ipv6 = ipv6(false))[0].contains("speaks IPv6 on vm2"));
        let found = lines(own_ipv6, 1, |device| device.addresses = vec!["10.0.0.1".parse().unwrap()]);
        assert!(found[0].starts_with("wrong port vm2: ") && found[0].ends_with("try: ip addr flush dev vm2"));
        // The kernel end of a TAP of ours is the host's to use.
        assert!(lines(own_ipv6, 0, |device| device.ipv6 = ipv6(true)).is_empty());
    }
}
