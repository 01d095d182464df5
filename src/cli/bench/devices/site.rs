//! Namespaces, devices and switches: a guest at either end, and in between what a path has.

use std::fs;
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;

use super::super::super::isolation::Host;
use super::super::frames::Station;
use super::super::path::{Path, Protocol, Way};
use crate::control::api::Request;
use crate::control::config::Document;
use crate::control::server::Peer;
use crate::control::yard::Yard;
use crate::port::netdev::NetdevOptions;
use crate::wire::ethernet::Mac;

/// The device of a guest.
const DEVICE: &str = "eth";
/// The port that frames come in by, and the one they go out by. Of tunnels, each is of another switch.
pub(super) const NEAR: &str = "near";
pub(super) const FAR: &str = "far";

/// The MTU of the guests' devices, and of what tunnels go over.
const MTU: u32 = 9000;
const UNDERLAY_MTU: u32 = 9216;
/// The router's own MAC address.
const ROUTER: Mac = Mac::new([0x02, 0xff, 0, 0, 0, 1]);
/// The guests' own, which are not those of their devices: their hosts take no notice of what is sent.
const GUESTS: [Mac; 2] = [Mac::new([0x02, 0, 0, 0, 0, 1]), Mac::new([0x02, 0, 0, 0, 0, 2])];

/// All that was made. Dropping it takes it away: first the switches, then the namespaces.
pub(super) struct Site {
    yards: Vec<Yard>,
    guests: [Host; 2],
    /// Where the other ends of the devices are that the switch does not make.
    _hosts: Vec<Host>,
    routed: bool,
}

impl Site {
    /// Makes what `path` needs.
    ///
    /// # Errors
    /// One line: what cannot be made, and why.
    pub(super) fn start(path: Path, workers: usize) -> Result<Site, String> {
        let guest =
            |n: u8| Host::new(["guest 1", "guest 2"][usize::from(n)], Ipv4Addr::new(198, 18 + n, 0, 2));
        let guests = [guest(0)?, guest(1)?];
        guests.iter().try_for_each(quieten)?;
        let (hosts, configurations) = match (path, path.way()) {
            (Path::Netdev, _) => between_interfaces(&guests)?,
            (_, Way::Bridged) => {
                let ports = tap(NEAR, "lan", &guests[0]) + &tap(FAR, "lan", &guests[1]);
                (Vec::new(), vec![format!("[bridge.lan]\n{ports}")])
            }
            (_, Way::Tunnel(protocol)) => by_tunnel(protocol, &guests)?,
            (_, way @ (Way::Routed | Way::Nat)) => {
                let ports = tap(NEAR, "lan", &guests[0]) + &tap(FAR, "wan", &guests[1]);
                (Vec::new(), vec![ports + &router(&guests, way == Way::Nat)])
            }
        };
        let switch = |configuration: &String| {
            let text = format!("[switch]\nworkers = {workers}\n{configuration}");
            let document = Document::parse(&text, "bench").map_err(|errors| errors.to_string())?;
            Yard::start(document, None)
        };
        let yards = configurations.iter().map(switch).collect::<Result<_, String>>()?;
        let routed = matches!(path.way(), Way::Routed | Way::Nat);
        Ok(Site { yards, guests, _hosts: hosts, routed })
    }

    /// The namespaces of both ends.
    pub(super) fn guests(&self) -> [&Host; 2] {
        self.guests.each_ref()
    }

    /// Who sends, whom it sends to, and who gets it.
    pub(super) fn stations(&self) -> [Station; 3] {
        let [near, far] = [0, 1].map(|n| Station { mac: GUESTS[n], address: self.guests[n].address });
        let to = if self.routed { Station { mac: ROUTER, ..far } } else { far };
        [near, to, far]
    }

    /// Asks all switches, in the order in which frames come through them.
    pub(super) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<Vec<T>, String> {
        let nobody = Peer { pid: 0, uid: 0, gid: 0 };
        let ask = |yard: &Yard| {
            let answer = yard.handler().handle(request.clone(), nobody)?;
            serde_json::from_value(answer.value).map_err(|error| error.to_string())
        };
        self.yards.iter().map(ask).collect()
    }
}

/// The device of a guest.
pub(super) fn end(guest: &Host) -> NetdevOptions {
    NetdevOptions::new(DEVICE, Some(guest.netns.clone()))
}

/// The same as [`Site::stations`] where the switch is another's, which bridges.
pub(super) fn strangers() -> [Station; 3] {
    let [near, far] =
        [0, 1].map(|n| Station { mac: GUESTS[n], address: Ipv4Addr::new(198, 18, 0, 2 + n as u8) });
    [near, far, far]
}

/// One of the hosts that the switches are on, where their ports are no TAPs.
fn host(n: u8) -> Result<Host, String> {
    let host = Host::new(["host 1", "host 2"][usize::from(n)], Ipv4Addr::new(10, 8, 0, 1 + n))?;
    quieten(&host)?;
    Ok(host)
}

/// A host with a veth to each guest, and what its switch bridges.
fn between_interfaces(guests: &[Host; 2]) -> Result<(Vec<Host>, Vec<String>), String> {
    let host = host(0)?;
    for (guest, port) in guests.iter().zip([NEAR, FAR]) {
        host.veth(port, guest, DEVICE, MTU)?;
    }
    let port =
        |name| format!("[port.{name}]\nbridge = \"lan\"\ntype = \"netdev\"\nnetns = \"{}\"\n", host.netns);
    let configuration = format!("[bridge.lan]\n{}{}", port(NEAR), port(FAR));
    Ok((vec![host], vec![configuration]))
}

/// Two hosts that are joined by a veth, and the switch of each, which bridges its guest with the tunnel to the other.
fn by_tunnel(protocol: Protocol, guests: &[Host; 2]) -> Result<(Vec<Host>, Vec<String>), String> {
    let hosts = [host(0)?, host(1)?];
    hosts[0].veth("under", &hosts[1], "under", UNDERLAY_MTU)?;
    for host in &hosts {
        host.links(|links| {
            let index = links.must_find("under")?.index;
            links.add_address(index, host.address.into(), 24)
        })?;
    }
    let end = |own: usize, port| {
        let tunnel = tunnel(protocol, &hosts[own], hosts[1 - own].address);
        format!("[bridge.lan]\n{}{tunnel}", tap(port, "lan", &guests[own]))
    };
    let ends = vec![end(0, NEAR), end(1, FAR)];
    Ok((hosts.into(), ends))
}

/// Keeps a host from saying anything of its own.
fn quieten(host: &Host) -> Result<(), String> {
    host.run("turn IPv6 off", || {
        // Where there is none, nothing is said.
        for scope in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            fs::write(path, "1").or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(())
    })
}

fn tap(name: &str, bridge: &str, guest: &Host) -> String {
    format!(
        "[port.{name}]\nbridge = \"{bridge}\"\ntype = \"tap\"\nnetns = \"{}\"\ndevice = \"{DEVICE}\"\nmtu = {MTU}\n",
        guest.netns
    )
}

fn tunnel(protocol: Protocol, host: &Host, peer: Ipv4Addr) -> String {
    let kind = match protocol {
        Protocol::Vxlan => "\"vxlan\"\nvni = 100",
        Protocol::Geneve => "\"geneve\"\nvni = 100",
        Protocol::Gre => "\"gre\"\nkey = 100",
    };
    format!(
        "[port.tunnel]\nbridge = \"lan\"\ntype = {kind}\nnetns = \"{}\"\nlocal = \"{}\"\nremotes = \"{peer}\"\n",
        host.netns, host.address
    )
}

/// A router between two bridges, which knows who is behind it.
fn router(guests: &[Host; 2], masquerades: bool) -> String {
    let side = |name: &str, guest: &Host| {
        let [a, b, ..] = guest.address.octets();
        format!(
            "[bridge.{name}]\nmac = \"{ROUTER}\"\n[router.gw.interface.{name}]\nbridge = \"{name}\"\n\
             address = \"{a}.{b}.0.1/16\"\n"
        )
    };
    let nat = match masquerades {
        true => "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n",
        false => "",
    };
    format!(
        "{}{}[[router.gw.neighbor]]\ninterface = \"wan\"\naddress = \"{}\"\nmac = \"{}\"\n{nat}",
        side("lan", &guests[0]),
        side("wan", &guests[1]),
        guests[1].address,
        GUESTS[1],
    )
}
