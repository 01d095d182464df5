//! Whether the machine lets a switch run.

use super::check::{Found, Judged};
use super::facts::Facts;
use crate::control::api::HostInfo;
use crate::control::config::{Config, PortKind};

/// A `/dev/net/tun` that can be opened.
pub(super) fn tun_driver(facts: &Facts) -> Judged {
    let tun = &facts.host.as_ref().map_err(Clone::clone)?.tun;
    let needed =
        facts.config.as_ref().map_or(true, |config| config.ports.values().any(|port| needs_tun(&port.kind)));
    let mut found = Found::new(match &tun.error {
        None => "/dev/net/tun can be opened",
        Some(_) => "no port needs /dev/net/tun",
    });
    match &tun.error {
        Some(_) if needed && !tun.exists => {
            found.wrong(
                "/dev/net/tun",
                "is missing",
                "modprobe tun (for a container: docker run --device /dev/net/tun ...)",
            );
        }
        Some(error) if needed => {
            found.wrong(
                "/dev/net/tun",
                format!("cannot be opened: {error}"),
                "run as root, or: sudo chmod 0666 /dev/net/tun",
            );
        }
        _ => {}
    }
    Ok(found)
}

fn needs_tun(kind: &PortKind) -> bool {
    match kind {
        PortKind::Tap(_) | PortKind::Tun(_) => true,
        PortKind::Netdev(netdev) => netdev.create.is_some(),
        _ => false,
    }
}

/// The rights that the ports take.
pub(super) fn privilege(facts: &Facts) -> Judged {
    let host = facts.host.as_ref().map_err(Clone::clone)?;
    let Some(held) = &host.capabilities else { return Err("/proc/self/status does not say".into()) };
    let has = |name: &str| held.iter().any(|held| held == name);
    let named = held.iter().map(|name| format!("CAP_{}", name.to_uppercase())).collect::<Vec<_>>().join(", ");
    let mut found = Found::new(format!(
        "user {} has {}",
        host.user,
        if named.is_empty() { "what is needed" } else { &named }
    ));
    let Ok(config) = &facts.config else {
        if !has("net_admin") {
            let what = "no CAP_NET_ADMIN: TAP, TUN and netdev ports cannot be made; sockets of guests can";
            found.warn(format!("user {}", host.user), what, GRANT);
        }
        if !has("sys_admin") && host.user_namespaces == Some(false) {
            found.warn("tapyard demo", "plain users may make no user namespaces here", "sudo tapyard demo");
        }
        return Ok(found);
    };
    for (right, port) in needs(config, host) {
        if has(right) {
            continue;
        }
        let (right, place) = (format!("CAP_{}", right.to_uppercase()), format!("port {port}"));
        match facts.runs() {
            true => found.warn(
                place,
                format!("the switch has no {right}: it could not open this port again"),
                GRANT,
            ),
            false => found.wrong(place, format!("needs {right}, which user {} has not", host.user), GRANT),
        }
    }
    Ok(found)
}

const GRANT: &str = "run as root, or: sudo setcap cap_net_admin,cap_net_raw+ep \"$(command -v tapyard)\"";

/// The rights that are needed, each with the first port that needs it.
fn needs<'a>(config: &'a Config, host: &HostInfo) -> Vec<(&'static str, &'a str)> {
    let exists = |port: &str| {
        let mut devices = host.namespaces.iter().flat_map(|netns| &netns.devices);
        devices.any(|device| device.port == port && device.exists == Some(true))
    };
    let mut needs: Vec<(&'static str, &str)> = Vec::new();
    for (name, port) in config.own_ports() {
        let (rights, netns): (&[_], _) = match &port.kind {
            // A device that root has made for this user can be opened by it.
            PortKind::Tap(d) | PortKind::Tun(d) if exists(name) => (&[], d.netns.as_ref()),
            PortKind::Tap(d) | PortKind::Tun(d) => (&["net_admin"], d.netns.as_ref()),
            PortKind::Netdev(n) => (&["net_raw", "net_admin"], n.netns.as_ref()),
            PortKind::Tunnel(t) => (if t.port.is_none() { &["net_raw"] } else { &[] }, t.netns.as_ref()),
            _ => (&[], None),
        };
        let entering = netns.map(|_| "sys_admin");
        for right in rights.iter().copied().chain(entering) {
            if !needs.iter().any(|(needed, _)| *needed == right) {
                needs.push((right, name));
            }
        }
    }
    needs
}

/// Workers that all answer, and that have a CPU each.
pub(super) fn workers(facts: &Facts) -> Judged {
    let cores = facts.host.as_ref().map_err(Clone::clone)?.cores;
    let wanted = facts.workers();
    let mut found = Found::new(format!("{wanted} for {cores} CPUs"));
    if facts.runs() {
        let answer = facts.stats.as_ref().map_err(Clone::clone)?.workers.len();
        if answer < wanted {
            let what = format!("{} of {wanted} do not answer", wanted - answer);
            found.wrong("workers", what, "end the switch and start it again: tapyard run --config FILE");
        }
    } else {
        facts.config.as_ref().map_err(Clone::clone)?;
    }
    if wanted > cores {
        let what = format!("{wanted} workers share {cores} CPUs, and keep each other from them");
        found.warn("[switch]", what, format!("workers = {cores}, then restart"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut HostInfo)) -> Facts {
        let mut facts = Facts::idle();
        change(facts.host.as_mut().unwrap());
        facts
    }

    #[test]
    fn a_tun_node_that_is_missing_or_closed_is_wrong_where_it_is_needed() {
        let missing = with(|host| (host.tun.exists, host.tun.error) = (false, Some("No such file".into())));
        assert!(tun_driver(&missing).unwrap().lines()[0].contains("is missing; try: modprobe tun"));
        let closed = with(|host| host.tun.error = Some("Permission denied".into()));
        assert!(tun_driver(&closed).unwrap().lines()[0].contains("cannot be opened: Permission denied"));
        let unneeded = Facts { config: Ok(Config::default()), ..closed };
        assert!(tun_driver(&unneeded).unwrap().lines().is_empty());
    }

    #[test]
    fn rights_that_are_missing_are_named_with_a_port_that_needs_them() {
        let poor = with(|host| {
            host.capabilities = Some(Vec::new());
            host.namespaces[0].devices.iter_mut().for_each(|device| device.exists = Some(false));
        });
        let lines = privilege(&poor).unwrap().lines();
        assert!(lines[0].starts_with("wrong port vm1: needs CAP_NET_ADMIN"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("port vm2: needs CAP_NET_RAW")), "{lines:?}");
        let running = Facts { contact: Facts::healthy().contact, ..poor };
        assert!(privilege(&running).unwrap().lines().iter().all(|line| line.starts_with("warning")));
        let unknown = with(|host| host.capabilities = None);
        assert!(privilege(&unknown).is_err());
        let mut bare =
            with(|host| (host.capabilities, host.user_namespaces) = (Some(Vec::new()), Some(false)));
        bare.config = Err("none".into());
        assert_eq!(privilege(&bare).unwrap().lines().len(), 2);
    }

    #[test]
    fn workers_that_are_too_many_or_do_not_answer_are_told() {
        let crowded = with(|host| host.cores = 1);
        assert!(workers(&crowded).unwrap().lines()[0].contains("2 workers share 1 CPUs"));
        let mut stuck = Facts::healthy();
        stuck.stats.as_mut().unwrap().workers.pop();
        assert!(workers(&stuck).unwrap().lines()[0].starts_with("wrong workers: 1 of 2 do not answer"));
    }
}
