//! Reading the files of `/proc` (proc(5)). Text in, facts out; what cannot be read is left out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The counters of `/proc/net/snmp` and `/proc/net/netstat`: a line of names, then one of values, each with what they
/// are about before. Known by both: `Udp.InErrors`.
pub(super) fn counters(text: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((about, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        let both = names.split_whitespace().zip(values.split_whitespace());
        // Some values are negative, such as TCP's most connections: no counter is.
        all.extend(both.filter_map(|(name, value)| Some((format!("{about}.{name}"), value.parse().ok()?))));
    }
    all
}

/// The counters of `/proc/net/snmp6`: a name and a value on each line. `Udp6InErrors` is known as `Udp6.InErrors`.
pub(super) fn counters_v6(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        let (about, what) = name.split_once('6')?;
        Some((format!("{about}6.{what}"), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The sockets of `/proc/net/udp` or `udp6`: address, port and inode each.
pub(super) fn udp_sockets(text: &str) -> Vec<(IpAddr, u16, u64)> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let inode = fields.nth(7)?.parse().ok()?;
        Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?, inode))
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// An address in hexadecimal digits, as 32-bit words of the machine's own order.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The device that a descriptor of `/dev/net/tun` is a queue of, by its `fdinfo`.
pub(super) fn tun_device(fdinfo: &str) -> Option<&str> {
    let names = fdinfo.lines().filter_map(|line| line.strip_prefix("iff:"));
    names.map(str::trim).find(|name| !name.is_empty())
}

/// The inode of a socket, by the target of a link in `/proc/PID/fd`.
pub(super) fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The capabilities that count, of those that `/proc/self/status` says are in effect.
pub(super) fn capabilities(status: &str) -> Option<Vec<String>> {
    const KNOWN: [(u32, &str); 3] = [(12, "net_admin"), (13, "net_raw"), (21, "sys_admin")];
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = u64::from_str_radix(line.trim(), 16).ok()?;
    let held = KNOWN.iter().filter(|(bit, _)| set & (1 << bit) != 0);
    Some(held.map(|(_, name)| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_known_by_what_they_are_about() {
        let text = "Tcp: RtoAlgorithm MaxConn InSegs\nTcp: 1 -1 7\nUdp: InErrors InCsumErrors\nUdp: 3 2\n";
        let counters = counters(text);
        assert_eq!(counters["Tcp.InSegs"], 7);
        assert_eq!(counters["Udp.InCsumErrors"], 2);
        assert!(!counters.contains_key("Tcp.MaxConn"));
        let v6 = counters_v6("Ip6InReceives                   \t22\nUdp6InCsumErrors                \t5\n");
        assert_eq!((v6["Ip6.InReceives"], v6["Udp6.InCsumErrors"]), (22, 5));
    }

    #[test]
    fn what_is_cut_off_or_no_table_gives_nothing() {
        for text in ["", "Tcp:", "Tcp: a\n", "x\ny\n", "Tcp: a b\nTcp: 1\n: :\n"] {
            assert!(counters(text).len() <= 1, "{text:?}");
        }
        assert!(udp_sockets("header\n  1: 0100007F\n  2:\n 3: XYZ:1 0 0 0 0 0 0 0 0\n").is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_have_their_address_port_and_inode() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n \
             2184: 0100007F:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21442 2 0 0\n";
        assert_eq!(udp_sockets(text), [("127.0.0.1".parse().unwrap(), 4789, 21442)]);
        let text = "  sl  local_address\n   \
             7: 000080FE00000000FF005450B6AD1DFE:0222 00000000000000000000000000000000:0000 07 00000000:00000000 \
             00:00000000 00000000     0        0 0 2 0 0\n";
        assert_eq!(udp_sockets(text), [("fe80::5054:ff:fe1d:adb6".parse().unwrap(), 546, 0)]);
    }

    #[test]
    fn descriptors_say_what_they_are_of() {
        assert_eq!(tun_device("pos:\t0\nflags:\t02\niff:\tvm1\n"), Some("vm1"));
        assert_eq!(tun_device("pos:\t0\niff:\t\n"), None);
        assert_eq!((socket_inode("socket:[77]"), socket_inode("pipe:[77]")), (Some(77), None));
    }

    #[test]
    fn capabilities_are_told_by_their_bits() {
        let of = |hex: &str| capabilities(&format!("Name:\tx\nCapEff:\t{hex}\n"));
        assert_eq!(of("0000000000003000"), Some(vec!["net_admin".into(), "net_raw".into()]));
        assert_eq!(of("0000000000000000"), Some(Vec::new()));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }
}
