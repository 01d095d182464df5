//! Networks around a router: one host on each, on a bridge of its own.
//!
//! The host of network *n* is 10.9.*n*.2 and fd00:9:*n*::2 on its device `eth`, behind the port `h`*n* of the bridge
//! `net`*n*, and its default gateway is the router `gw`: 10.9.*n*.254 and fd00:9:*n*::fe on the interface `net`*n*.

use std::fmt::Write;

use super::{Host, Yard, tap};

/// The IPv4 address number `n` in the network `network`.
pub(crate) fn v4(network: usize, n: u8) -> String {
    format!("10.9.{network}.{n}")
}

/// The IPv6 address number `n` in the network `network`.
pub(crate) fn v6(network: usize, n: u8) -> String {
    format!("fd00:9:{network}::{n:x}")
}

/// The number of hosts' addresses.
pub(crate) const HOST: u8 = 2;
/// The number of the router's addresses.
pub(crate) const GATEWAY: u8 = 254;

/// A switch with a router between some networks.
pub(crate) struct Routed {
    pub(crate) yard: Yard,
    config: String,
    /// Dropped last: a namespace takes its devices along.
    hosts: Vec<Host>,
}

impl Routed {
    /// Starts one with `networks` networks; `rest` is the rest of the configuration.
    pub(crate) fn start(networks: usize, rest: &str) -> Routed {
        Routed::start_changed(networks, rest, |config| config)
    }

    /// Starts one whose configuration, as it would be, is first changed by `change`.
    pub(crate) fn start_changed(networks: usize, rest: &str, change: impl Fn(String) -> String) -> Routed {
        let hosts: Vec<_> = (1..=networks).map(|n| Host::with_ipv6(&format!("h{n}"))).collect();
        let mut config = String::from("[router.gw]\n");
        for (n, host) in (1..).zip(&hosts) {
            config += &network(n, host);
        }
        let config = change(config + rest);
        let routed = Routed { yard: Yard::start(&config), config, hosts };
        (1..=networks).for_each(|n| routed.attach(n));
        routed
    }

    /// The host of network `n`, counted from 1.
    pub(crate) fn host(&self, n: usize) -> &Host {
        &self.hosts[n - 1]
    }

    /// Has the running configuration be the one that was started, changed by `change`.
    pub(crate) fn reload(&self, change: impl Fn(&str) -> String) {
        self.yard.reload(&change(&self.config));
    }

    /// Gives the device of the host `n` its addresses, and the host its routes.
    pub(crate) fn attach(&self, n: usize) {
        address(self.host(n), "eth", n, HOST);
    }
}

/// The bridge of network `n` with its port and the router's interface.
fn network(n: usize, host: &Host) -> String {
    let (bridge, v4, v6) = (format!("bridge = \"net{n}\""), v4(n, GATEWAY), v6(n, GATEWAY));
    let mut text = format!("[bridge.net{n}]\n");
    text += &tap(&format!("h{n}"), host, &format!("{bridge}\ndevice = \"eth\""));
    let addresses = format!("address = [\"{v4}/24\", \"{v6}/64\"]");
    write!(text, "[router.gw.interface.net{n}]\n{bridge}\n{addresses}\n").expect("a string takes all");
    text
}

/// Makes `device` of a host number `number` in network `n`, whose router is its default gateway.
pub(crate) fn address(host: &Host, device: &str, n: usize, number: u8) {
    host.ip(&format!("addr replace {}/24 dev {device}", v4(n, number)));
    host.ip(&format!("-6 addr replace {}/64 dev {device} nodad", v6(n, number)));
    host.ip(&format!("link set dev {device} up"));
    host.ip(&format!("route replace default via {}", v4(n, GATEWAY)));
    host.ip(&format!("-6 route replace default via {} dev {device}", v6(n, GATEWAY)));
}

/// What `ping` says, answered or not.
pub(crate) fn ping_says(host: &Host, arguments: &str) -> String {
    let args: Vec<_> = ["-n"].into_iter().chain(arguments.split_whitespace()).collect();
    let output = host.run(20, "ping", &args);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The addresses that `traceroute` finds on the way to `address`, with `*` for who does not answer.
pub(crate) fn path(host: &Host, address: &str) -> Vec<String> {
    let args = ["-n", "-q", "1", "-w", "2", "-m", "6", address];
    let text = super::host::expect_success(host.run(30, "traceroute", &args), "traceroute");
    let hops = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next()?.parse::<u8>().ok()?; // the heading has no number
        words.next().map(str::to_owned)
    });
    hops.collect()
}

/// Has a host send packets on that are not for it.
pub(crate) fn forward(host: &Host) {
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{key}");
        host.enter(|| std::fs::write(&path, "1")).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
