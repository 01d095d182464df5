//! Looking at the machine: what of it a switch depends on, and that no configuration says. Facts only; `tapyard doctor`
//! judges them.
//!
//! The switch looks itself when it is asked, since it is in the namespaces and has the rights that matter; where none
//! runs, the command looks. Nothing is changed by looking, no lock of the switch is held, and no worker is asked.

mod holders;
mod proc;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::thread;

use super::api::{BridgeFilterInfo, DeviceInfo, HostInfo, Ipv6Info, NetnsInfo, SocketInfo, TunNodeInfo};
use super::config::Config;
use crate::port::link::{Link, Links};
use crate::sys::netns::Netns;
use crate::sys::{self, tun};
use holders::{Holders, Wanted};

/// What a configuration has of a machine: the devices and UDP ports, by network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<Option<String>, Place>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Ports and their devices.
    devices: Vec<(String, String)>,
    /// UDP ports of tunnels.
    sockets: BTreeSet<u16>,
}

impl Places {
    /// Those of `config`. The process's own namespace is always among them.
    pub fn of(config: &Config) -> Places {
        let mut places = Places(BTreeMap::from([(None, Place::default())]));
        for (name, port) in config.own_ports() {
            if let Some((device, netns)) = port.kind.device() {
                let place = places.0.entry(netns.map(str::to_owned)).or_default();
                place.devices.push((name.clone(), device.to_owned()));
            }
        }
        for (_, tunnel, _) in config.tunnels() {
            places.0.entry(tunnel.netns.clone()).or_default().sockets.extend(tunnel.port);
        }
        places
    }
}

/// Looks at the machine. What cannot be looked at says so in what is given back.
pub fn look(places: &Places) -> HostInfo {
    let seen: Vec<_> = places.0.iter().map(|(name, place)| look_into(name.clone(), place)).collect();
    let wanted = Wanted {
        devices: places
            .0
            .values()
            .flat_map(|place| &place.devices)
            .map(|(_, device)| device.clone())
            .collect(),
        inodes: seen.iter().flat_map(|seen| seen.inodes.iter().copied()).collect(),
    };
    let found = holders::find(&wanted);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    HostInfo {
        user: sys::effective_user(),
        capabilities: proc::capabilities(&status),
        user_namespaces: user_namespaces(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        tun: tun_node(),
        receive_buffer_limit: number("/proc/sys/net/core/rmem_max"),
        saw_all_processes: found.complete,
        namespaces: seen.into_iter().map(|seen| seen.with(&found)).collect(),
    }
}

/// A namespace, and by what its holders are found.
#[derive(Default)]
struct Seen {
    info: NetnsInfo,
    /// What the namespace is known by, to tell who is in it.
    id: Option<u64>,
    /// The inodes of its sockets, in their order.
    inodes: Vec<u64>,
}

impl Seen {
    fn with(mut self, holders: &Holders) -> NetnsInfo {
        for device in &mut self.info.devices {
            if device.multi_queue.is_some() {
                device.holders = holders.of_device(&device.name, self.id);
            }
        }
        for (socket, inode) in self.info.sockets.iter_mut().zip(self.inodes) {
            socket.holder = holders.of_socket(inode, self.id);
        }
        self.info
    }
}

fn look_into(name: Option<String>, place: &Place) -> Seen {
    let inside = match &name {
        None => Ok(look_here(place)),
        Some(netns) => Netns::new(netns.as_str()).run(|| look_here(place)).map_err(|error| error.to_string()),
    };
    let mut seen = inside.unwrap_or_else(|error| {
        let devices = place.devices.iter().map(|(port, device)| unseen(port, device)).collect();
        let info = NetnsInfo { error: Some(error), devices, ..NetnsInfo::default() };
        Seen { info, ..Seen::default() }
    });
    seen.info.name = name;
    seen
}

/// Looks at the namespace that this thread is in. `/proc/net` would be the one of the process.
fn look_here(place: &Place) -> Seen {
    const NET: &str = "/proc/thread-self/net";
    let table = |file: &str| fs::read_to_string(format!("{NET}/{file}")).unwrap_or_default();
    let mut counters = proc::counters(&table("snmp"));
    counters.extend(proc::counters(&table("netstat")));
    counters.extend(proc::counters_v6(&table("snmp6")));
    let mut sockets = proc::udp_sockets(&table("udp"));
    sockets.extend(proc::udp_sockets(&table("udp6")));
    sockets.retain(|(_, port, _)| place.sockets.contains(port));
    let info = NetnsInfo {
        name: None,
        error: None,
        counters,
        bridge_filter: bridge_filter(),
        forwarding: number("/proc/sys/net/ipv4/ip_forward").map(|on| on != 0),
        strict_sources: strict_sources(),
        devices: devices(place),
        sockets: sockets.iter().map(|&(local, port, _)| SocketInfo { local, port, holder: None }).collect(),
    };
    let id = fs::metadata("/proc/thread-self/ns/net").ok().map(|file| file.ino());
    Seen { info, id, inodes: sockets.into_iter().map(|(.., inode)| inode).collect() }
}

fn devices(place: &Place) -> Vec<DeviceInfo> {
    let mut links = Links::open().ok();
    let look = |(port, name): &(String, String)| {
        let found = links.as_mut().and_then(|links| links.find(name).ok());
        match (found, &mut links) {
            (Some(Some(link)), Some(links)) => device(port, link, links),
            (Some(_), _) => DeviceInfo { exists: Some(false), ..unseen(port, name) },
            (None, _) => unseen(port, name),
        }
    };
    place.devices.iter().map(look).collect()
}

fn unseen(port: &str, name: &str) -> DeviceInfo {
    DeviceInfo { port: port.to_owned(), name: name.to_owned(), ..DeviceInfo::default() }
}

fn device(port: &str, link: Link, links: &mut Links) -> DeviceInfo {
    let addresses = links.addresses(link.index).unwrap_or_default();
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let controller = link.controller.and_then(|index| links.at(index).ok()?);
    DeviceInfo {
        port: port.to_owned(),
        exists: Some(true),
        multi_queue: link.tun.map(|tun| tun.multi_queue),
        mtu: Some(link.mtu),
        bridge: controller.filter(|link| link.kind.as_deref() == Some("bridge")).map(|link| link.name),
        addresses: addresses.into_iter().filter(|address| !is_link_local(address)).collect(),
        ipv6: ipv6(&link.name),
        holders: Vec::new(),
        kind: link.kind,
        name: link.name,
    }
}

/// Of an interface's own value and that of `all` the kernel takes the larger, so that 2, "loosely", wins over 1.
fn strict_sources() -> Vec<String> {
    const CONF: &str = "/proc/sys/net/ipv4/conf";
    let of = |which: &str| number(&format!("{CONF}/{which}/rp_filter"));
    let all = of("all").unwrap_or_default();
    let interfaces = fs::read_dir(CONF).into_iter().flatten().flatten();
    let names = interfaces.filter_map(|entry| entry.file_name().into_string().ok());
    let is_strict = |name: &String| of(name).is_some_and(|own| own.max(all) == 1);
    let mut strict: Vec<_> =
        names.filter(|name| !["all", "default", "lo"].contains(&name.as_str())).filter(is_strict).collect();
    strict.sort();
    strict
}

fn ipv6(device: &str) -> Option<Ipv6Info> {
    let of = |key: &str| number(&format!("/proc/sys/net/ipv6/conf/{device}/{key}"));
    let (accept, forwarding) = (of("accept_ra")?, of("forwarding")?);
    Some(Ipv6Info {
        disabled: of("disable_ipv6")? != 0,
        heeds_routers: accept == 2 || accept == 1 && forwarding == 0,
        autoconf: of("autoconf")? != 0,
    })
}

fn bridge_filter() -> Option<BridgeFilterInfo> {
    let of = |what: &str| number(&format!("/proc/sys/net/bridge/bridge-nf-call-{what}")).map(|on| on != 0);
    Some(BridgeFilterInfo {
        iptables: of("iptables")?,
        ip6tables: of("ip6tables")?,
        arptables: of("arptables")?,
    })
}

/// A plain user may make user namespaces unless one of three settings, of which most kernels have one only, forbids it.
fn user_namespaces() -> Option<bool> {
    let most = number("/proc/sys/user/max_user_namespaces")?;
    let cloning = number("/proc/sys/kernel/unprivileged_userns_clone");
    let restricted = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    Some(most > 0 && cloning != Some(0) && restricted != Some(1))
}

fn tun_node() -> TunNodeInfo {
    let error = tun::open().err().map(|error| error.to_string());
    TunNodeInfo { exists: fs::metadata(tun::NODE).is_ok(), error }
}

/// The number in a file of one.
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::Document;

    #[test]
    fn a_configuration_s_devices_and_ports_are_known_by_namespace() {
        let text = "bridge.lan = {}
            port.a = { type = \"tap\", bridge = \"lan\", netns = \"blue\", device = \"dev0\" }
            port.b = { type = \"netdev\", bridge = \"lan\" }
            port.far = { type = \"vxlan\", bridge = \"lan\", vni = 1, remotes = \"10.8.0.2\", netns = \"red\" }";
        let config = Document::parse(text, "t").unwrap().to_config().unwrap();
        let places = Places::of(&config).0;
        assert_eq!(places.len(), 3);
        assert_eq!(places[&None].devices, [("b".to_owned(), "b".to_owned())]);
        assert_eq!(places[&Some("blue".into())].devices, [("a".to_owned(), "dev0".to_owned())]);
        assert_eq!(places[&Some("red".into())].sockets, BTreeSet::from([4789]));
    }

    #[test]
    fn a_namespace_that_cannot_be_entered_is_said_not_to_be_seen() {
        let place = Place { devices: vec![("a".into(), "dev0".into())], sockets: BTreeSet::new() };
        let seen = look_into(Some("no-such-namespace".into()), &place).info;
        assert!(
            seen.error.is_some() && seen.devices[0].exists.is_none() && seen.forwarding.is_none(),
            "{seen:?}"
        );
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let host = look(&Places::of(&Config::default()));
        let own = &host.namespaces[0];
        assert!(host.cores > 0 && host.capabilities.is_some());
        assert!(own.error.is_none() && own.counters.contains_key("Udp.InCsumErrors"), "{own:?}");
    }
}
