//! Guests by vhost-user with every kind of ring, beside one another.

mod common;

use common::guest::{Guest, Nic};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Yard, as_root};

/// A switch with a port for each guest, with these keys, and a host, 10.9.0.9, on a TAP: the namespace, the host, the switch.
fn switch_and_host(ports: &[(&str, &str)], workers: usize) -> (Host, Host, Yard) {
    let (here, b) = (Host::with_ipv6("yard"), Host::new("b"));
    let ports: String = ports
        .iter()
        .map(|(name, keys)| format!("[port.{name}]\ntype = \"vhost-user\"\nbridge = \"lan\"\n{keys}\n"))
        .collect();
    let tap = common::tap("b", &b, "address = [\"10.9.0.9/24\"]");
    let yard = Yard::start_in(&here, &format!("[bridge.lan]\n{ports}{tap}[switch]\nworkers = {workers}\n"));
    (here, b, yard)
}

/// A path for a socket, which is gone with the switch.
fn socket(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("tapyard-gv-{}-{name}", std::process::id()))
}

#[test]
fn guests_with_all_kinds_of_rings_speak_with_each_other() {
    as_root(|| {
        let kinds = [
            ("split", "packed=off"),
            ("packed", "packed=on"),
            ("plain", "mrg_rxbuf=off,event_idx=off,indirect_desc=off"),
            ("legacy", "disable-modern=on,disable-legacy=off"),
        ];
        let paths: Vec<_> = kinds.iter().map(|(name, _)| socket(name)).collect();
        let keys: Vec<_> = paths.iter().map(|path| format!("connect = \"{}\"", path.display())).collect();
        let ports: Vec<_> = kinds.iter().zip(&keys).map(|((name, _), keys)| (*name, keys.as_str())).collect();
        let (here, b, yard) = switch_and_host(&ports, 2);
        let guests: Vec<_> = (1..)
            .zip(kinds.iter().zip(&paths))
            .map(|(n, ((name, options), path))| {
                let nic = Nic::vhost_user_server(&format!("52:54:00:09:00:0{n}"), path).with(options);
                let guest = Guest::boot(name, &here, &[nic]);
                guest.address("eth0", &format!("10.9.0.{n}/24"));
                guest
            })
            .collect();
        for (n, guest) in (1..).zip(&guests) {
            let next = n % guests.len() + 1;
            wait_for_ping(guest, &format!("10.9.0.{next}"));
            ping(guest, &format!("10.9.0.{next}"), 8000, 3);
            tcp(guest, &guests[next - 1], &format!("10.9.0.{next}"), 8 << 20);
            tcp(&b, guest, &format!("10.9.0.{n}"), 8 << 20);
        }
        yard.assert_conserved();
    });
}
