//! Guests whose network card is the switch's own, by vhost-user.

mod common;

use std::thread;

use common::guest::{Guest, Nic};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Yard, as_root};

/// A switch with a port for each guest, with these keys, and a host, 10.9.0.9, on a TAP: the namespace, the host, the switch.
fn switch_and_host(ports: &[(&str, &str)], workers: usize) -> (Host, Host, Yard) {
    let (here, b) = (Host::with_ipv6("yard"), Host::new("b"));
    let ports: String = ports
        .iter()
        .map(|(name, keys)| format!("[port.{name}]\ntype = \"vhost-user\"\nbridge = \"lan\"\n{keys}\n"))
        .collect();
    let tap = common::tap("b", &b, "address = [\"10.9.0.9/24\"]");
    let yard =
        Yard::start_in(&here, &format!("[bridge.lan]\n{ports}{tap}[switch]\nworkers = {workers}\n"));
    (here, b, yard)
}

/// A path for a socket, which is gone with the switch.
fn socket(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("tapyard-gv-{}-{name}", std::process::id()))
}

/// The mean length of the frames a port received, or sent.
fn mean(yard: &Yard, port: &str, direction: &str) -> u64 {
    let count = |what: &str| yard.port_count(port, &format!("{direction}_{what}"));
    count("bytes") / count("frames")
}

/// Pings of every size and TCP, both ways, between the guest and the host.
fn converse(guest: &Guest, b: &Host) {
    for size in [56, 1600, 8000] {
        ping(guest, "10.9.0.9", size, 5);
        ping(b, "10.9.0.1", size, 5);
    }
    tcp(guest, b, "10.9.0.9", 16 << 20);
    tcp(b, guest, "10.9.0.1", 16 << 20);
}

#[test]
fn a_guest_comes_and_goes_and_the_switch_too() {
    as_root(|| {
        let path = socket("life");
        let (here, b, mut yard) =
            switch_and_host(&[("vm1", &format!("listen = \"{}\"", path.display()))], 1);
        let mut guest = Guest::boot("vm1", &here, &[Nic::vhost_user("52:54:00:09:00:01", &path)]);
        guest.address("eth0", "10.9.0.1/24");
        guest.assert_offloads_on("eth0");
        converse(&guest, &b);
        for direction in ["rx", "tx"] {
            let mean = mean(&yard, "vm1", direction);
            assert!(mean > 1514, "{direction}: TCP was cut into segments of {mean} bytes");
        }
        guest.kill();
        yard.wait_for_state("vm1", "waiting");
        ping_in_vain(&b, "10.9.0.1", 2);
        guest.restart();
        guest.address("eth0", "10.9.0.1/24");
        converse(&guest, &b);
        assert!(yard.end(libc::SIGTERM).success());
        yard.run();
        yard.wait_for_state("vm1", "up");
        wait_for_ping(&guest, "10.9.0.9");
        converse(&guest, &b);
        yard.kill();
        yard.run();
        yard.wait_for_state("vm1", "up");
        wait_for_ping(&b, "10.9.0.1");
        tcp(&guest, &b, "10.9.0.9", 4 << 20);
        yard.assert_conserved();
    });
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

#[test]
fn a_guest_has_several_queues() {
    as_root(|| {
        let path = socket("queues");
        let (here, b, yard) =
            switch_and_host(&[("vm1", &format!("listen = \"{}\"", path.display()))], 2);
        let nic = Nic::vhost_user("52:54:00:09:00:01", &path).with_queues(2);
        let guest = Guest::boot("vm1", &here, &[nic]);
        guest.address("eth0", "10.9.0.1/24");
        guest.ok("ethtool -L eth0 combined 2");
        converse(&guest, &b);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| tcp(&guest, &b, "10.9.0.9", 8 << 20));
                scope.spawn(|| tcp(&b, &guest, "10.9.0.1", 8 << 20));
            }
        });
        guest.ok("ethtool -L eth0 combined 1");
        converse(&guest, &b);
        yard.assert_conserved();
    });
}
