//! Values: from an item of the document to a type, or to what is wrong with it and what was expected.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Item, Node};
use crate::table::vlan_set::{VLANS, VlanSet};
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;

/// What is wrong with a value, or with one element of it.
pub(super) struct Fault {
    pub(super) index: Option<usize>,
    pub(super) message: String,
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault { index: None, message }
    }
}

/// What reading a value comes to.
pub(super) type Read<T> = Result<T, Fault>;

/// `VALUE is no NOUN (expected EXPECTED)`.
pub(super) fn no(item: &Item, noun: &str, expected: &str) -> String {
    let mut found = item.to_string();
    if found.chars().count() > 40 {
        found = found.chars().take(40).chain("…".chars()).collect();
    }
    format!("{found} is no {noun} (expected {expected})")
}

pub(super) fn string(item: &Item) -> Read<String> {
    text(item).map(str::to_owned).ok_or_else(|| no(item, "string", "\"text\" in quotes").into())
}

pub(super) fn boolean(item: &Item) -> Read<bool> {
    match &item.node {
        Node::Leaf(toml::Value::Boolean(value)) => Ok(*value),
        _ => Err(no(item, "boolean", "true or false").into()),
    }
}

/// An integer within `range`; `noun` says of what kind.
pub(super) fn number<T: TryFrom<i64> + PartialOrd + std::fmt::Display>(
    noun: &str,
    range: RangeInclusive<T>,
) -> impl Fn(&Item) -> Read<T> {
    move |item| {
        let value = integer(item).and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        value.ok_or_else(|| no(item, noun, &format!("{} to {}", range.start(), range.end())).into())
    }
}

pub(super) fn vlan(item: &Item) -> Read<u16> {
    number("VLAN", VLANS)(item)
}

/// `"all"`, `"10,100-199"`, or a list of numbers and such strings.
pub(super) fn vlans(item: &Item) -> Read<VlanSet> {
    let Node::Array(items) = &item.node else {
        let Some(text) = text(item) else {
            return Err(no(item, "list of VLANs", "[10, \"100-199\"] or \"all\"").into());
        };
        return text.parse().map_err(Fault::from);
    };
    let mut set = VlanSet::EMPTY;
    for (index, item) in items.iter().enumerate() {
        let at = |message| Fault { index: Some(index), message };
        match text(item) {
            Some(text) => set.extend(text.parse::<VlanSet>().map_err(at)?.iter()),
            None => set.insert(vlan(item).map_err(|fault| at(fault.message))?),
        }
    }
    if set.is_empty() { Err(no(item, "list of VLANs", "at least one").into()) } else { Ok(set) }
}

/// An address that a station may have: of no group, and not zero.
pub(super) fn station(item: &Item) -> Read<Mac> {
    station_of(item, text(item).unwrap_or_default()).map_err(Fault::from)
}

fn station_of(item: &Item, text: &str) -> Result<Mac, String> {
    const EXPECTED: &str = "\"02:00:00:00:00:01\"";
    let mac = text.parse::<Mac>().map_err(|_| no(item, "MAC address", EXPECTED))?;
    if mac.is_group() || mac.is_zero() {
        return Err(no(item, "address of a station", EXPECTED));
    }
    Ok(mac)
}

/// Most addresses that a port is pinned to: far more than one host has.
const MAX_PINS: usize = 256;

/// One address, several with commas between, or a list of them, as `read` takes each.
fn pins<T>(item: &Item, noun: &str, read: impl Fn(&Item, &str) -> Result<T, String>) -> Read<Vec<T>> {
    let pins: Vec<T> = match &item.node {
        Node::Array(items) => {
            let at = |(index, item)| {
                let pin = read(item, text(item).unwrap_or_default());
                pin.map_err(|message| Fault { index: Some(index), message })
            };
            items.iter().enumerate().map(at).collect::<Result<_, _>>()?
        }
        _ => {
            let pins = text(item).unwrap_or_default().split(',').map(|pin| read(item, pin.trim()));
            pins.collect::<Result<_, _>>()?
        }
    };
    match (1..=MAX_PINS).contains(&pins.len()) {
        true => Ok(pins),
        false => Err(no(item, noun, &format!("1 to {MAX_PINS} of them")).into()),
    }
}

/// The addresses of stations: one, or a list.
pub(super) fn stations(item: &Item) -> Read<Vec<Mac>> {
    pins(item, "list of MAC addresses", station_of)
}

/// IP networks, or hosts, which are networks of one address: one, or a list.
pub(super) fn networks(item: &Item) -> Read<Vec<(IpAddr, u8)>> {
    pins(item, "list of IP addresses", network_of)
}

fn network_of(item: &Item, text: &str) -> Result<(IpAddr, u8), String> {
    const EXPECTED: &str = "\"10.9.0.2\", \"10.9.0.0/28\" or \"fd00::2\"";
    let parse = |text: &str| {
        let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
        let address = address.parse::<IpAddr>().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Some(most), |len| len.parse::<u8>().ok())?;
        (len <= most).then_some((address, len))
    };
    let (address, len) = parse(text).ok_or_else(|| no(item, "IP address or network", EXPECTED))?;
    // An IPv6 packet with an address of IPv4 is none: see `Address`.
    if address.to_canonical() != address || address.is_multicast() || len > 0 && address.is_unspecified() {
        return Err(no(item, "address of a host", EXPECTED));
    }
    let first = IpAddr::from(Address::from(address).network(len));
    match first == address {
        true => Ok((address, len)),
        false => Err(no(item, "network", &format!("\"{first}/{len}\", or \"{address}\" alone"))),
    }
}

/// A name of ours: of a port or a bridge.
pub(super) fn name(item: &Item) -> Read<String> {
    let name = string(item)?;
    match is_name(&name) {
        true => Ok(name),
        false => Err(no(item, "name", NAME_EXPECTED).into()),
    }
}

/// Names of ours: one, or a list.
pub(super) fn names(item: &Item) -> Read<Vec<String>> {
    pins(item, "list of names", |item, name| match is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(no(item, "name", NAME_EXPECTED)),
    })
}

/// What a name of ours is.
pub(super) const NAME_EXPECTED: &str = "1 to 32 of A-Z a-z 0-9 _ . -";

pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The name of a network interface. `%` would make the kernel number it; `all` and `default` are its sysctls' own.
pub(super) fn device(item: &Item) -> Read<String> {
    let name = string(item)?;
    match is_device(&name) {
        true => Ok(name),
        false => {
            Err(no(item, "device name", "1 to 15 bytes without space, '/', ':' and '%', not all or default")
                .into())
        }
    }
}

pub(super) fn is_device(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    (1..=15).contains(&name.len()) && ![".", "..", "all", "default"].contains(&name) && !name.contains(bad)
}

/// A network namespace: a file below /run/netns by its name, or any file by its absolute path.
pub(super) fn netns(item: &Item) -> Read<String> {
    let name = string(item)?;
    let is_path = name.starts_with('/') && name.len() < 4096 && !name.contains('\0');
    let is_name =
        (1..=255).contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\0']);
    match is_path || is_name {
        true => Ok(name),
        false => {
            Err(no(item, "network namespace", "a name as in `ip netns list`, or an absolute path").into())
        }
    }
}

/// An address and a port to listen at.
pub(super) fn listen_address(item: &Item) -> Read<SocketAddr> {
    let address = text(item).and_then(|text| text.parse().ok());
    address.ok_or_else(|| no(item, "address and port", "\"127.0.0.1:9477\" or \"[::1]:9477\"").into())
}

/// Names of hosts, of which there are few.
pub(super) fn host_names(item: &Item) -> Read<Vec<String>> {
    pins(item, "list of host names", |item, name| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        match (1..=253).contains(&name.len()) && name.bytes().all(is_part) {
            true => Ok(name.to_owned()),
            false => Err(no(item, "host name", "\"switch1.example.org\"")),
        }
    })
}

/// The path of a unix socket, which the kernel bounds at 107 bytes.
pub(super) fn socket_path(item: &Item) -> Read<std::path::PathBuf> {
    let path = string(item)?;
    match (1..=107).contains(&path.len()) && !path.contains('\0') {
        true => Ok(path.into()),
        false => Err(no(item, "path of a socket", "1 to 107 bytes").into()),
    }
}

/// The path of a socket that says the same to whoever reads it: the switch, whatever directory it runs in, and a guest.
pub(super) fn absolute_socket_path(item: &Item) -> Read<std::path::PathBuf> {
    let path = socket_path(item)?;
    match path.is_absolute() {
        true => Ok(path),
        false => {
            Err(no(item, "path of a socket", "one from the root on, such as \"/run/tapyard/vm1.sock\"")
                .into())
        }
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy, const N: usize>(
    noun: &str,
    words: [(&'static str, T); N],
) -> impl Fn(&Item) -> Read<T> {
    move |item| {
        let found = text(item).and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            no(item, noun, &words.join(" or ")).into()
        })
    }
}

/// What `read` takes, or `"inherit"`, which is `None`.
pub(super) fn inherited<T>(
    noun: &str,
    expected: &str,
    read: impl Fn(&Item) -> Option<T>,
) -> impl Fn(&Item) -> Read<Option<T>> {
    move |item| match text(item) {
        Some("inherit") => Ok(None),
        _ => {
            read(item).map(Some).ok_or_else(|| no(item, noun, &format!("{expected}, or \"inherit\"")).into())
        }
    }
}

/// The address of a host or of a multicast group, as packets are sent to it.
pub(super) fn host(item: &Item) -> Read<IpAddr> {
    host_of(item, text(item).unwrap_or_default()).map_err(Fault::from)
}

/// One address, several with commas between, or a list of them; see [`host`].
pub(super) fn hosts(item: &Item) -> Read<Vec<IpAddr>> {
    let Node::Array(items) = &item.node else {
        let hosts = text(item).unwrap_or_default().split(',').map(|host| host_of(item, host.trim()));
        return hosts.collect::<Result<_, _>>().map_err(Fault::from);
    };
    let at = |(index, item)| host(item).map_err(|fault| Fault { index: Some(index), ..fault });
    items.iter().enumerate().map(at).collect()
}

fn host_of(item: &Item, text: &str) -> Result<IpAddr, String> {
    const EXPECTED: &str = "\"10.8.0.2\" or \"fd00::2\"";
    let address = text.parse::<IpAddr>().map_err(|_| no(item, "IP address", EXPECTED))?.to_canonical();
    let broadcast = address == IpAddr::from([255; 4]);
    if address.is_unspecified() || broadcast || needs_interface(address) {
        return Err(no(item, "address of a peer", EXPECTED));
    }
    Ok(address)
}

/// An address of this host, or the unspecified one, which stands for all of them.
pub(super) fn local_host(item: &Item) -> Read<IpAddr> {
    const EXPECTED: &str = "\"10.8.0.1\" or \"fd00::1\", an address that this host has";
    let address =
        text(item).and_then(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical());
    let address = address.filter(|address| !address.is_multicast() && !needs_interface(*address));
    address.ok_or_else(|| no(item, "local address", EXPECTED).into())
}

/// Whether an address means nothing without the interface it is on.
pub(super) fn needs_interface(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// One value, several with commas between in one string, or a list of them: at least one.
pub(super) fn list<T>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Vec<T>> {
    move |item| {
        let at = |(index, item)| read(item).map_err(|fault| Fault { index: Some(index), ..fault });
        match (&item.node, text(item)) {
            (Node::Array(items), _) if items.is_empty() => {
                Err("[] is empty (expected at least one)".to_owned().into())
            }
            (Node::Array(items), _) => items.iter().enumerate().map(at).collect(),
            (_, Some(text)) if text.contains(',') => {
                text.split(',').map(|part| read(&Item::leaf(part.trim().into()))).collect()
            }
            _ => Ok(vec![read(item)?]),
        }
    }
}

/// A line of text for people, at most 200 bytes.
pub(super) fn comment(item: &Item) -> Read<String> {
    let text = string(item)?;
    match text.len() <= 200 && !text.contains(char::is_control) {
        true => Ok(text),
        false => Err(no(item, "comment", "at most 200 bytes on one line").into()),
    }
}

/// One address with its prefix length, or a list of them.
pub(super) fn addresses(item: &Item) -> Read<Vec<(IpAddr, u8)>> {
    match &item.node {
        Node::Array(items) => {
            let at = |(index, item)| address(item).map_err(|message| Fault { index: Some(index), message });
            items.iter().enumerate().map(at).collect()
        }
        _ => Ok(vec![address(item)?]),
    }
}

fn address(item: &Item) -> Result<(IpAddr, u8), String> {
    let parse = |text: &str| {
        let (ip, prefix) = text.split_once('/')?;
        let (ip, prefix) = (ip.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
        (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
    };
    text(item).and_then(parse).ok_or_else(|| no(item, "address", "\"10.9.0.1/24\""))
}

/// A duration within `range`, or zero.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Item) -> Read<Duration> {
    move |item| {
        let duration = text(item).and_then(parse_duration).filter(|d| d.is_zero() || range.contains(d));
        duration.ok_or_else(|| {
            let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
            no(item, "duration", &format!("\"{least}\" to \"{most}\", or \"0s\"")).into()
        })
    }
}

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A number and a unit.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*nanos).map(Duration::from_nanos)
}

/// A duration as the configuration writes it: `300s`, `50us`, `0s`. Hours and minutes are written in seconds.
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, size) = UNITS[2..]
        .iter()
        .find(|(_, size)| nanos.is_multiple_of(u128::from(*size)))
        .copied()
        .unwrap_or(("ns", 1));
    format!("{}{unit}", nanos / u128::from(size))
}

/// A user: a name in /etc/passwd, or a number.
pub(super) fn user(item: &Item) -> Read<u32> {
    id(item, "user", "/etc/passwd")
}

/// A group: a name in /etc/group, or a number.
pub(super) fn group(item: &Item) -> Read<u32> {
    id(item, "group", "/etc/group")
}

fn id(item: &Item, noun: &str, file: &str) -> Read<u32> {
    // 2^32 - 1 is the kernel's word for "nobody in particular".
    let number = integer(item).and_then(|n| u32::try_from(n).ok()).filter(|&n| n != u32::MAX);
    let named = || id_in(&std::fs::read_to_string(file).ok()?, text(item)?);
    number.or_else(named).ok_or_else(|| no(item, noun, &format!("a name in {file} or a number")).into())
}

/// The third field of the line of `name` in a file such as /etc/passwd.
fn id_in(file: &str, name: &str) -> Option<u32> {
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields[..] {
        [first, _, id, ..] if first == name => id.parse().ok(),
        _ => None,
    })
}

/// The text of a string.
pub(super) fn text(item: &Item) -> Option<&str> {
    match &item.node {
        Node::Leaf(toml::Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The number of an integer.
pub(super) fn integer(item: &Item) -> Option<i64> {
    match &item.node {
        Node::Leaf(toml::Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for text in ["0s", "300s", "50us", "1500ms", "7ns"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "s", "5", "5 days", "-1s", "1.5s", "99999999999999999999s", "9999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_are_found_by_the_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbob:x:1001:100::/:\nbroken\nbo:x:y\n";
        assert_eq!((id_in(passwd, "root"), id_in(passwd, "bob")), (Some(0), Some(1001)));
        assert_eq!((id_in(passwd, "bo"), id_in(passwd, "broken"), id_in(passwd, "")), (None, None, None));
    }

    #[test]
    fn names_of_devices_are_what_the_kernel_takes() {
        for good in ["vm1", "tap-1.2", "exactly15bytes!"] {
            assert!(is_device(good), "{good}");
        }
        for bad in ["", ".", "..", "all", "default", "a b", "a/b", "a:1", "tap%d", "sixteen-bytes-xx", "a\0"]
        {
            assert!(!is_device(bad), "{bad}");
        }
    }
}
