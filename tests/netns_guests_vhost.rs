//! Guests whose own rings the switch serves: `vhost-user` ports.

mod common;

use std::fmt::Write;
use std::thread;

use common::attached::{Attached, MAC};
use common::guest::{Guest, Nic};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Scratch, Yard, as_root};

#[test]
fn guests_come_and_go_at_a_vhost_user_socket() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let keys = format!("type = \"vhost-user\"\nlisten = \"{}\"", path.display());
        let mut attached = Attached::start(&keys, Nic::vhost_user(MAC, &path));
        attached.converse();
        attached.assert_superframes();
        attached.stalls_alone();
        attached.outlives_the_switch();
        attached.guest_comes_back();
    });
}

#[test]
fn a_guest_is_found_anew_at_its_own_socket() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let keys = format!("type = \"vhost-user\"\nconnect = \"{}\"", path.display());
        let mut attached = Attached::start(&keys, Nic::vhost_user_server(MAC, &path));
        attached.converse();
        attached.outlives_the_switch();
        attached.guest_comes_back();
    });
}

#[test]
fn a_guest_has_packed_rings() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let keys = format!("type = \"vhost-user\"\nlisten = \"{}\"", path.display());
        let mut attached = Attached::start(&keys, Nic::vhost_user(MAC, &path).with("packed=on"));
        attached.converse();
        attached.assert_superframes();
        attached.stalls_alone();
        attached.guest_comes_back();
        // QEMU cannot tell another back-end how far packed rings have been served: they have to be set up anew.
        attached.yard.kill();
        attached.yard.run();
        attached.guest.ok("cd /sys/bus/virtio/drivers/virtio_net; nic=$(ls -d virtio*); echo $nic > unbind; echo $nic > bind");
        attached.guest.address("eth0", "10.9.0.1/24");
        attached.converse();
    });
}

#[test]
fn a_guest_has_several_queues() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let keys = format!("type = \"vhost-user\"\nlisten = \"{}\"", path.display());
        let nic = Nic::vhost_user(MAC, &path).with_queues(2);
        let mut attached = Attached::start(&keys, nic);
        attached.guest.assert_queues("eth0", 2);
        attached.converse();
        let Attached { guest, b, .. } = &attached;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| tcp(guest, b, "10.9.0.2", 8 << 20));
                scope.spawn(|| tcp(b, guest, "10.9.0.1", 8 << 20));
            }
        });
        // A guest that uses fewer than it has.
        attached.guest.ok("ethtool -L eth0 combined 1");
        attached.converse();
        attached.guest.ok("ethtool -L eth0 combined 2");
        attached.converse();
        attached.guest_comes_back();
    });
}

/// What a driver may do without.
const WITHOUT: [&str; 6] = [
    "mrg_rxbuf=off",
    "packed=on,mrg_rxbuf=off",
    "csum=off,gso=off,guest_csum=off",
    "guest_tso4=off,guest_tso6=off,guest_ufo=off,mrg_rxbuf=off",
    "event_idx=off,indirect_desc=off",
    "packed=on,event_idx=off,indirect_desc=off",
];

#[test]
fn a_guest_may_do_without_features() {
    as_root(|| {
        let (files, here, b) = (Scratch::new(), Host::new("yard"), Host::new("b"));
        let (mut config, mut nics) = (String::new(), Vec::new());
        for (n, features) in WITHOUT.iter().enumerate() {
            let path = files.path(&format!("vm{n}"));
            b.veth(&format!("eth{n}"), &format!("10.9.{n}.2/24"), &here, &format!("b{n}"));
            let bridge = format!("bridge = \"lan{n}\"");
            write!(
                config,
                "[bridge.lan{n}]\n[port.b{n}]\ntype = \"netdev\"\n{bridge}\n\
                 [port.vm{n}]\ntype = \"vhost-user\"\n{bridge}\nlisten = \"{}\"\n",
                path.display()
            )
            .expect("a string takes all");
            nics.push(Nic::vhost_user(&format!("52:54:00:09:{n:02}:01"), &path).with(features));
        }
        let _yard = Yard::start_in(&here, &config);
        let guest = Guest::boot("vm", &here, &nics);
        for (n, features) in WITHOUT.iter().enumerate() {
            eprintln!("with {features}"); // seen when it fails
            guest.address(&format!("eth{n}"), &format!("10.9.{n}.1/24"));
            let (theirs, its) = (format!("10.9.{n}.2"), format!("10.9.{n}.1"));
            wait_for_ping(&guest, &theirs);
            for size in [56, 1600, 8000] {
                ping(&guest, &theirs, size, 3);
                ping(&b, &its, size, 3);
            }
            tcp(&guest, &b, &theirs, 4 << 20);
            tcp(&b, &guest, &its, 4 << 20);
        }
    });
}
