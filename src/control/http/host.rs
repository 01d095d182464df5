//! By which names a request may ask.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a Host header says an address, `localhost`, or one of `names`.
pub(super) fn may_ask(host: &str, names: &[String]) -> bool {
    let Some(name) = name_of(host) else { return false };
    let name = name.strip_suffix('.').unwrap_or(name);
    is_address(name)
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The header without the port; `None` when there is something else behind the name.
fn name_of(host: &str) -> Option<&str> {
    let port_at = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(port_at);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_may_ask_and_no_others() {
        let names = ["Switch1.example.org".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:9477",
            "10.9.0.1:",
            "[::1]",
            "[fe80::1]:9477",
            "localhost",
            "LocalHost:9477",
            "localhost.",
            "switch1.example.org:9477",
        ] {
            assert!(may_ask(host, &names), "{host}");
        }
        for host in [
            "",
            ":9477",
            "evil.example",
            "evil.example:9477",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:9477.evil.example",
            "127.0.0.1@evil.example",
            "[::1",
            "[::1]evil",
            "[127.0.0.1]",
            "::1",
            "switch1.example",
        ] {
            assert!(!may_ask(host, &names), "{host}");
        }
    }
}
