//! Guests on TAP devices that QEMU opens, behind `netdev` ports.

mod common;

use std::thread;

use common::as_root;
use common::attached::{Attached, MAC};
use common::frames::mac;
use common::guest::Nic;
use common::traffic::tcp;

/// A guest on `vm1`, whose port has these keys.
fn start(keys: &str, nic: Nic) -> Attached {
    Attached::start(&format!("type = \"netdev\"\n{keys}"), nic)
}

fn nic() -> Nic {
    Nic::tap(MAC, "vm1")
}

#[test]
fn a_guest_comes_and_goes_on_a_tap_that_the_switch_made() {
    as_root(|| {
        let mut attached = start("create = true", nic());
        attached.converse();
        attached.assert_superframes();
        assert_eq!(attached.yard.behind(mac(MAC)).as_deref(), Some("vm1"));
        let addresses = attached.here.ip("-6 addr show dev vm1");
        assert!(addresses.is_empty(), "the host speaks on the guest's device: {addresses}");
        attached.stalls_alone();
        attached.guest_comes_back();
    });
}

#[test]
fn a_transfer_of_a_guest_outlives_the_switch() {
    as_root(|| start("create = true", nic()).outlives_the_switch());
}

#[test]
fn a_guest_has_several_queues() {
    as_root(|| {
        let attached = start("create = true\nqueues = 2", nic().with_queues(2));
        attached.guest.assert_queues("eth0", 2);
        attached.converse();
        let Attached { guest, b, .. } = &attached;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| tcp(guest, b, "10.9.0.2", 8 << 20));
                scope.spawn(|| tcp(b, guest, "10.9.0.1", 8 << 20));
            }
        });
    });
}

#[test]
fn a_tap_that_qemu_makes_is_taken_whenever_it_comes() {
    as_root(|| {
        let mut attached = start("", nic());
        attached.converse();
        attached.yard.wait_for_state("vm1", "up");
        attached.guest.kill();
        attached.yard.wait_for_state("vm1", "missing");
        attached.guest_comes_back();
    });
}
