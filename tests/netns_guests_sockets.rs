//! Guests on sockets of the file system, which need no privilege: `stream` and `dgram` ports. QEMU offers such a guest no
//! offloads.

mod common;

use common::attached::{Attached, MAC};
use common::guest::Nic;
use common::{Scratch, as_root};

#[test]
fn guests_come_and_go_at_a_stream_socket() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let mut attached = Attached::start(
            &format!("type = \"stream\"\nlisten = \"{}\"", path.display()),
            Nic::stream(MAC, &path),
        );
        attached.converse();
        attached.stalls_alone();
        attached.guest_comes_back();
        // A crash leaves the socket in the file system behind, which is no obstacle.
        attached.yard.kill();
        attached.yard.run();
        attached.guest_comes_back();
    });
}

#[test]
fn a_guest_is_found_anew_at_its_own_stream_socket() {
    as_root(|| {
        let files = Scratch::new();
        let path = files.path("vm1");
        let mut attached = Attached::start(
            &format!("type = \"stream\"\nconnect = \"{}\"", path.display()),
            Nic::stream_server(MAC, &path),
        );
        attached.converse();
        attached.outlives_the_switch();
        attached.guest_comes_back();
    });
}

#[test]
fn a_guest_sends_datagrams() {
    as_root(|| {
        let files = Scratch::new();
        let (ours, its) = (files.path("switch"), files.path("vm1"));
        let keys =
            format!("type = \"dgram\"\nlisten = \"{}\"\nconnect = \"{}\"", ours.display(), its.display());
        let mut attached = Attached::start(&keys, Nic::dgram(MAC, &its, &ours));
        attached.converse();
        attached.stalls_alone();
        attached.outlives_the_switch();
        attached.guest_comes_back();
    });
}
