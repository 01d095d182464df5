//! Guests on TAP devices that QEMU opens, behind `netdev` ports.

mod common;

use std::thread;

use common::guest::{Guest, Nic};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Yard, as_root, wait_until};

const MAC: [u8; 6] = [0x52, 0x54, 0, 9, 0, 1];

fn nic() -> Nic {
    Nic::tap("52:54:00:09:00:01", "vm1")
}

/// A switch with the port `vm1`, and a host, 10.9.0.2, behind a veth: where the switch and the guest run, the host, and
/// the switch.
fn switch_and_host(keys: &str) -> (Host, Host, Yard) {
    let (here, b) = (Host::with_ipv6("yard"), Host::new("b"));
    b.veth("eth0", "10.9.0.2/24", &here, "b");
    let config = format!(
        "[bridge.lan]\n[port.vm1]\ntype = \"netdev\"\nbridge = \"lan\"\n{keys}\n\
         [port.b]\ntype = \"netdev\"\nbridge = \"lan\"\n"
    );
    let yard = Yard::start_in(&here, &config);
    (here, b, yard)
}

/// The mean length of the frames a port received, or sent.
fn mean(yard: &Yard, port: &str, direction: &str) -> u64 {
    let count = |what: &str| yard.port_count(port, &format!("{direction}_{what}"));
    count("bytes") / count("frames")
}

/// Pings of every size and TCP, both ways, between the guest and the host.
fn converse(guest: &Guest, b: &Host) {
    for size in [56, 1600, 8000] {
        ping(guest, "10.9.0.2", size, 5);
        ping(b, "10.9.0.1", size, 5);
    }
    tcp(guest, b, "10.9.0.2", 16 << 20);
    tcp(b, guest, "10.9.0.1", 16 << 20);
}

#[test]
fn a_guest_comes_and_goes_on_a_tap_that_the_switch_made() {
    as_root(|| {
        let (here, b, yard) = switch_and_host("create = true");
        let mut guest = Guest::boot("vm1", &here, &[nic()]);
        guest.address("eth0", "10.9.0.1/24");
        guest.assert_offloads_on("eth0");
        converse(&guest, &b);
        for direction in ["rx", "tx"] {
            let mean = mean(&yard, "vm1", direction);
            assert!(mean > 1514, "{direction}: TCP was cut into segments of {mean} bytes");
        }
        assert_eq!(yard.behind(MAC).as_deref(), Some("vm1"));
        let addresses = here.ip("-6 addr show dev vm1");
        assert!(addresses.is_empty(), "the host speaks on the guest's device: {addresses}");

        guest.kill();
        ping_in_vain(&b, "10.9.0.1", 2);
        guest.restart();
        guest.address("eth0", "10.9.0.1/24");
        converse(&guest, &b);
        yard.assert_conserved();
    });
}

#[test]
fn a_transfer_of_a_guest_outlives_the_switch() {
    as_root(|| {
        let (here, b, mut yard) = switch_and_host("create = true");
        let guest = Guest::boot("vm1", &here, &[nic()]);
        guest.address("eth0", "10.9.0.1/24");
        wait_for_ping(&guest, "10.9.0.2");
        for kill in [false, true] {
            thread::scope(|scope| {
                let transfer = scope.spawn(|| tcp(&guest, &b, "10.9.0.2", 96 << 20));
                let before = yard.port_count("vm1", "rx_bytes");
                wait_until("the transfer to flow", || {
                    yard.port_count("vm1", "rx_bytes") > before + (1 << 20) || transfer.is_finished()
                });
                assert!(!transfer.is_finished(), "it ended too early to be of use");
                if kill {
                    yard.kill();
                } else {
                    assert!(yard.end(libc::SIGTERM).success());
                }
                assert!(!transfer.is_finished(), "it ended too early to be of use");
                yard.run();
                assert!(transfer.join().is_ok(), "the transfer broke when the switch was started again");
            });
            tcp(&b, &guest, "10.9.0.1", 4 << 20);
        }
    });
}

#[test]
fn a_guest_has_several_queues() {
    as_root(|| {
        let (here, b, _yard) = switch_and_host("create = true\nqueues = 2");
        let guest = Guest::boot("vm1", &here, &[nic().with_queues(2)]);
        guest.address("eth0", "10.9.0.1/24");
        let channels = guest.ok("ethtool -l eth0");
        let current: Vec<_> = channels.lines().filter(|line| line.starts_with("Combined:")).collect();
        assert_eq!(current.len(), 2, "{channels}");
        assert!(current.iter().all(|line| line.ends_with('2')), "{channels}");
        converse(&guest, &b);
        thread::scope(|scope| {
            // Flows of both processors, at once.
            for _ in 0..2 {
                scope.spawn(|| tcp(&guest, &b, "10.9.0.2", 8 << 20));
                scope.spawn(|| tcp(&b, &guest, "10.9.0.1", 8 << 20));
            }
        });
        let sent = guest.ok("ethtool -S eth0");
        let used = (0..2).filter(|n| !sent.contains(&format!("tx_queue_{n}_packets: 0\n"))).count();
        assert_eq!(used, 2, "{sent}");
    });
}

#[test]
fn a_tap_that_qemu_makes_is_taken_whenever_it_comes() {
    as_root(|| {
        let (here, b, yard) = switch_and_host("");
        yard.wait_for_state("vm1", "missing");
        let mut guest = Guest::boot("vm1", &here, &[nic()]);
        guest.address("eth0", "10.9.0.1/24");
        yard.wait_for_state("vm1", "up");
        converse(&guest, &b);
        guest.kill();
        yard.wait_for_state("vm1", "missing");
        guest.restart();
        guest.address("eth0", "10.9.0.1/24");
        yard.wait_for_state("vm1", "up");
        wait_for_ping(&guest, "10.9.0.2");
        tcp(&b, &guest, "10.9.0.1", 4 << 20);
    });
}
