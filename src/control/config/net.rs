//! Values that are addresses, networks and ports.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::document::Item;
use super::prefix::Prefix;
use super::value::{Read, integer, no, text};

const HOST: &str = "\"10.9.0.2\" or \"fd00:9::2\"";
const NETWORK: &str = "\"10.0.0.0/8\" or \"fd00::/8\"";

/// The address of a host.
pub(super) fn host(item: &Item) -> Read<IpAddr> {
    let address = text(item).and_then(parse).ok_or_else(|| no(item, "IP address", HOST))?;
    match is_host(address) {
        true => Ok(address),
        false => Err(no(item, "address of a host", HOST).into()),
    }
}

/// The IPv6 address of a host.
pub(super) fn host_v6(item: &Item) -> Read<Ipv6Addr> {
    match host(item)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err(no(item, "IPv6 address", "\"fd00:9::2\"").into()),
    }
}

/// The address of a host with the length of its network's prefix.
pub(super) fn own_address(item: &Item) -> Read<(IpAddr, u8)> {
    const EXPECTED: &str = "\"10.9.0.1/24\" or \"fd00:9::1/64\"";
    let (address, length) =
        text(item).and_then(split).ok_or_else(|| no(item, "address with its prefix length", EXPECTED))?;
    if !is_host(address) {
        return Err(no(item, "address of a host", EXPECTED).into());
    }
    match Prefix::around(address, length).reserves(address) {
        Some(what) => Err(format!("{item} is {what} (expected that of a host)").into()),
        None => Ok((address, length)),
    }
}

/// A network, or a single address.
pub(super) fn network(item: &Item) -> Read<Prefix> {
    let parsed = text(item).and_then(|text| split(text).or_else(|| Some(whole(parse(text)?))));
    let (address, length) = parsed.ok_or_else(|| no(item, "network", NETWORK))?;
    let network = Prefix::around(address, length);
    match network.address == address {
        true => Ok(network),
        false => Err(no(item, "network", &format!("\"{network}\", or \"{address}\" alone")).into()),
    }
}

/// One address, a network, or the first and the last address of a range.
pub(super) fn addresses(item: &Item) -> Read<RangeInclusive<IpAddr>> {
    let Some((first, last)) = text(item).and_then(|text| text.split_once('-')) else {
        return network(item).map(|network| network.range());
    };
    let range = || Some((parse(first.trim())?, parse(last.trim())?));
    match range() {
        Some((first, last)) if first.is_ipv4() == last.is_ipv4() && first <= last => Ok(first..=last),
        Some((first, last)) if first.is_ipv4() == last.is_ipv4() => {
            Err(format!("{item} is empty (expected \"{last}-{first}\"?)").into())
        }
        _ => Err(no(item, "range of addresses", "\"10.9.0.10-10.9.0.20\"").into()),
    }
}

/// Addresses, as [`addresses`], that hosts may have.
pub(super) fn host_addresses(item: &Item) -> Read<RangeInclusive<IpAddr>> {
    let range = addresses(item)?;
    match is_host(*range.start()) && is_host(*range.end()) {
        true => Ok(range),
        false => Err(no(item, "range of addresses of hosts", "\"203.0.113.5-203.0.113.9\"").into()),
    }
}

/// A port, or the first and the last of a range. None is 0.
pub(super) fn ports(item: &Item) -> Read<RangeInclusive<u16>> {
    let one = || u16::try_from(integer(item)?).ok().map(|port| port..=port);
    let range = || {
        let text = text(item)?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    let ports: Option<RangeInclusive<u16>> = one().or_else(range).filter(|ports| *ports.start() > 0);
    match ports {
        Some(ports) if ports.is_empty() => Err(no(item, "range of ports", "the lower one first").into()),
        Some(ports) => Ok(ports),
        None => Err(no(item, "port", "1 to 65535, or \"1000-2000\"").into()),
    }
}

/// An address, with or without a port behind it.
pub(super) fn place(item: &Item) -> Read<(IpAddr, Option<u16>)> {
    const EXPECTED: &str = "\"10.9.0.2:80\", \"[fd00:9::2]:80\", or the address alone";
    let address = text(item).map(|text| text.trim_start_matches('[').trim_end_matches(']'));
    let whole = || parse(address?).map(|address| (address, None));
    let with_port = || {
        let place = text(item)?.parse::<SocketAddr>().ok().filter(|place| place.port() > 0)?;
        Some((plain(place.ip())?, Some(place.port())))
    };
    let place = whole().or_else(with_port).filter(|(address, _)| is_host(*address));
    place.ok_or_else(|| no(item, "address and port", EXPECTED).into())
}

/// An address that is no IPv4 address in the clothes of one of IPv6, which no packet has.
fn parse(text: &str) -> Option<IpAddr> {
    plain(text.parse().ok()?)
}

fn plain(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        address => Some(address),
    }
}

/// An address and the length of a prefix.
fn split(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (parse(address)?, length.parse().ok()?);
    (length <= whole(address).1).then_some((address, length))
}

fn whole(address: IpAddr) -> (IpAddr, u8) {
    let Prefix { address, length } = Prefix::host(address);
    (address, length)
}

/// Whether a host can have this address (RFC 1122, 3.2.1.3; RFC 4291, 2.5).
fn is_host(address: IpAddr) -> bool {
    let nobody = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    !nobody && !address.is_multicast() && !address.is_loopback()
}
