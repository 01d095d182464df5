//! Guests on TAP devices that QEMU opens, behind `netdev` ports.

mod common;

use common::guest::{Guest, Nic};
use common::traffic::{ping, tcp};
use common::{Host, Yard, as_root, tap};

const MAC: &str = "52:54:00:09:00:01";

/// A guest, 10.9.0.1, on `vm1`; a host, 10.9.0.2, on a TAP port of the switch.
fn guest_and_host(queues: u32) -> (Guest, Host, Yard, Host) {
    let (here, b) = (Host::new("yard"), Host::new("b"));
    let multi_queue = if queues > 1 { "multi_queue vnet_hdr" } else { "vnet_hdr" };
    here.ip(&format!("tuntap add dev vm1 mode tap {multi_queue}"));
    let config = format!(
        "[bridge.lan]\n[port.vm1]\ntype = \"netdev\"\nbridge = \"lan\"\n{}",
        tap("b", &b, "address = [\"10.9.0.2/24\"]")
    );
    let yard = Yard::start_in(&here, &config);
    let guest = Guest::boot("vm1", &here, &[Nic::tap(MAC, "vm1").with_queues(queues)]);
    (guest, b, yard, here)
}

#[test]
fn a_guest_on_a_tap_speaks_with_a_host() {
    as_root(|| {
        let (guest, b, yard, _here) = guest_and_host(1);
        let t = std::time::Instant::now();
        guest.address("eth0", "10.9.0.1/24");
        eprintln!("booted {:?}", t.elapsed());
        guest.assert_offloads_on("eth0");
        for size in [56, 1600, 8000] {
            ping(&guest, "10.9.0.2", size, 5);
            ping(&b, "10.9.0.1", size, 5);
        }
        eprintln!("pinged {:?}", t.elapsed());
        tcp(&guest, &b, "10.9.0.2", 16 << 20);
        eprintln!("tcp out {:?}", t.elapsed());
        tcp(&b, &guest, "10.9.0.1", 16 << 20);
        eprintln!("tcp in {:?}", t.elapsed());
        eprintln!("{}", yard.ok("port show"));
        eprintln!("{}", yard.ok("drops"));
    });
}
