//! Reading `[[router.NAME.nat]]`.
//!
//! A new type is a line in [`KINDS`] and the function that it names.

use std::net::IpAddr;

use super::{NatConfig, NatKind, Transport};
use crate::control::config::document::{Item, Table};
use crate::control::config::errors::{Findings, Path};
use crate::control::config::keys::Keys;
use crate::control::config::net;
use crate::control::config::prefix::{Prefix, ports_text};
use crate::control::config::value::{self, Read, list, no, one_of};

/// A type of translation: its name, and what reads the keys that are its own.
type Kind = (&'static str, fn(&mut Keys<'_>) -> NatKind);

const KINDS: [Kind; 6] = [
    ("masquerade", masquerade),
    ("snat", snat),
    ("dnat", dnat),
    ("port-forward", port_forward),
    ("static", one_to_one),
    ("npt", npt),
];

/// A translation; `None` when it has no type that would say which keys it may have.
pub(in crate::control::config) fn nat(mut keys: Keys<'_>) -> Option<NatConfig> {
    let expected = KINDS.map(|(name, _)| name).join(", ");
    let kind =
        keys.require("type", &expected, one_of("type of translation", KINDS.map(|kind| (kind.0, kind))));
    let (name, read) = kind?;
    let nat = NatConfig {
        kind: read(&mut keys),
        source: keys.get("source", list(net::network)).unwrap_or_default(),
        destination: keys.get("destination", list(net::network)).unwrap_or_default(),
        comment: keys.get("comment", value::comment),
    };
    one_family(&mut keys, &nat);
    keys.finish(|key| foreign(key, name));
    Some(nat)
}

fn interface(keys: &mut Keys<'_>, key: &'static str) -> String {
    keys.require(key, "the name of an interface", value::name).unwrap_or_default()
}

fn masquerade(keys: &mut Keys<'_>) -> NatKind {
    NatKind::Masquerade { out: interface(keys, "out"), ports: keys.get("ports", net::ports) }
}

const ADDRESSES: &str = "an address, or the first and the last of a range";

fn snat(keys: &mut Keys<'_>) -> NatKind {
    NatKind::Snat {
        out: interface(keys, "out"),
        to: keys.require("to", ADDRESSES, list(net::host_addresses)).unwrap_or_default(),
        ports: keys.get("ports", net::ports),
    }
}

fn dnat(keys: &mut Keys<'_>) -> NatKind {
    let input = interface(keys, "in");
    NatKind::Dnat { input, to: keys.require("to", ADDRESSES, list(net::host_addresses)).unwrap_or_default() }
}

fn port_forward(keys: &mut Keys<'_>) -> NatKind {
    let input = interface(keys, "in");
    let protocols = keys.require("protocol", "\"tcp\", \"udp\", or both", protocols).unwrap_or_default();
    let ports = keys.require("port", "1 to 65535, or \"1000-2000\"", net::ports).unwrap_or(1..=1);
    let to = keys.require("to", "\"10.9.0.2:80\"", list(net::place)).unwrap_or_default();
    let longer = to.iter().find_map(|(_, first)| {
        let first = (*first)?;
        first.checked_add(ports.end() - ports.start()).is_none().then_some(first)
    });
    if let Some(first) = longer {
        let ports = ports_text(&ports);
        keys.complain(
            "to",
            format!("from {first} on there are fewer ports than {ports} (expected a lower one)"),
        );
    }
    NatKind::PortForward { input, protocols, ports, to }
}

fn protocols(item: &Item) -> Read<Vec<Transport>> {
    let mut protocols = list(one_of("protocol", [("tcp", Transport::Tcp), ("udp", Transport::Udp)]))(item)?;
    protocols.sort();
    protocols.dedup();
    Ok(protocols)
}

fn one_to_one(keys: &mut Keys<'_>) -> NatKind {
    let interface = interface(keys, "interface");
    let (internal, external) = networks(keys, net::network);
    NatKind::Static { interface, internal, external }
}

fn npt(keys: &mut Keys<'_>) -> NatKind {
    let out = interface(keys, "out");
    let (internal, external) = networks(keys, |item| match net::network(item)? {
        network if network.is_ipv4() => {
            Err(no(item, "IPv6 network", "\"fd00:9::/48\"; type = \"static\" translates IPv4").into())
        }
        network if network.length > 64 => {
            Err(no(item, "network of 64 bits or less", "\"fd00:9::/48\"").into())
        }
        network => Ok(network),
    });
    NatKind::Npt { out, internal, external }
}

/// The networks inside and outside, which are equally long.
fn networks(keys: &mut Keys<'_>, read: fn(&Item) -> Read<Prefix>) -> (Prefix, Prefix) {
    let (internal, external) =
        (keys.require("internal", "a network", read), keys.require("external", "a network", read));
    if let (Some(internal), Some(external)) = (internal, external) {
        if internal.is_ipv4() == external.is_ipv4() && internal.length != external.length {
            let length = internal.length;
            let message =
                format!("{external} is not as long as {internal} (expected a network with /{length})");
            keys.complain("external", message);
        } else if internal.overlaps(&external) {
            keys.complain("external", format!("{external} overlaps {internal} (expected another network)"));
        }
    }
    let nothing = Prefix::all(true);
    (internal.unwrap_or(nothing), external.unwrap_or(nothing))
}

/// Complains about the first address that is of another family than those before it.
fn one_family(keys: &mut Keys<'_>, nat: &NatConfig) {
    let mut all: Vec<(&str, IpAddr)> = Vec::new();
    match &nat.kind {
        NatKind::Masquerade { .. } => {}
        NatKind::Snat { to, .. } | NatKind::Dnat { to, .. } => {
            all.extend(to.iter().map(|to| ("to", *to.start())))
        }
        NatKind::PortForward { to, .. } => all.extend(to.iter().map(|(to, _)| ("to", *to))),
        NatKind::Static { internal, external, .. } | NatKind::Npt { internal, external, .. } => {
            if !keys.failed("internal") && !keys.failed("external") {
                all.extend([("internal", internal.address), ("external", external.address)]);
            }
        }
    }
    all.extend(nat.source.iter().map(|network| ("source", network.address)));
    all.extend(nat.destination.iter().map(|network| ("destination", network.address)));
    let Some((_, first)) = all.first().copied() else { return };
    if let Some((key, other)) = all.iter().find(|(_, address)| address.is_ipv4() != first.is_ipv4()) {
        let message =
            format!("{other} and {first} are of two families (expected IPv4 or IPv6 addresses alone)");
        keys.complain(key, message);
    }
}

/// What to say about a key that a translation of this type does not have, when another does.
fn foreign(key: &str, name: &str) -> Option<String> {
    let owners = KINDS.iter().filter(|(_, read)| {
        let (empty, mut findings) = (Table::new(), Findings::default());
        let mut keys = Keys::new(Path::default(), &empty, &mut findings);
        read(&mut keys);
        keys.asked().contains(&key)
    });
    let owners: Vec<_> = owners.map(|(name, _)| *name).collect();
    (!owners.is_empty())
        .then(|| format!("`{key}` is no key of type {name} (expected on {} only)", owners.join(", ")))
}
