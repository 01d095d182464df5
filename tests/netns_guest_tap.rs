//! TAPs that a guest opens, QEMU or another: the switch has the interface by a `netdev` port, makes it where it is asked to,
//! waits for it, and outlives the guest, as the guest outlives the switch.

mod common;

use std::fs;
use std::thread;
use std::time::Duration;

use common::frames::{BROADCAST, frame, station};
use common::tap_guest::{Guest, attach};
use common::{Host, Station, Yard, as_root, tap, wait_until};
use tapyard::port::watch::LinkWatch;
use tapyard::sys::tun;

/// Where the switch runs, a host on the TAP port `b`, a station there, and the switch with a port `vm` of these keys.
struct Scene {
    here: Host,
    far: Host,
    b: Station,
    yard: Yard,
}

impl Scene {
    fn start(vm: &str) -> Scene {
        Scene::start_in(Host::with_ipv6("yard"), vm)
    }

    fn start_in(here: Host, vm: &str) -> Scene {
        let far = Host::new("b");
        let yard = Yard::start_in(&here, &config(&far, vm));
        let b = Station::open(&far, "b", "b");
        Scene { here, far, b, yard }
    }

    /// Frames pass both ways between the guest and the station behind `b`.
    fn assert_passes(&self, guest: &Guest) {
        self.yard.wait_for_state("vm", "up");
        for n in 1..=4 {
            let (out, back) = (frame(BROADCAST, station(n)), frame(BROADCAST, station(100 + n)));
            guest.send(&out);
            assert_eq!(self.b.receive(), out);
            self.b.send(&back);
            guest.expect(&back);
        }
    }

    /// A frame for the guest that is not there is counted as dropped.
    fn assert_drops(&self, reason: &str) {
        let before = self.yard.drops("vm", reason);
        self.b.send(&frame(BROADCAST, station(100)));
        wait_until("the drop", || self.yard.drops("vm", reason) == before + 1);
    }

    fn setting(&self, device: &str, key: &str) -> String {
        setting(&self.here, device, key)
    }
}

fn config(far: &Host, vm: &str) -> String {
    format!("[bridge.lan]\n{}[port.vm]\ntype = \"netdev\"\nbridge = \"lan\"\n{vm}\n", tap("b", far, ""))
}

fn setting(host: &Host, device: &str, key: &str) -> String {
    let (family, key) = key.split_once('.').expect("a family");
    let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
    host.enter(|| fs::read_to_string(path)).expect("the interface is there").trim().to_owned()
}

fn details(host: &Host, device: &str) -> String {
    host.ip(&format!("-d -o link show dev {device}"))
}

#[test]
fn the_tap_that_the_switch_makes_is_for_a_guest_that_comes_and_goes() {
    as_root(|| {
        let scene = Scene::start("create = true\nmtu = 1400");
        assert_eq!(scene.yard.port("vm")["state"], "no-carrier", "no guest has opened it");
        assert_eq!(scene.yard.port("vm")["mtu"], 1400);
        scene.assert_drops("no-carrier");
        for _ in 0..3 {
            let guest = Guest::boot(&scene.here, "vm", 1);
            scene.assert_passes(&guest);
            drop(guest);
            scene.yard.wait_for_state("vm", "no-carrier");
            scene.assert_drops("no-carrier");
        }
        assert_eq!(scene.yard.port("vm")["state"], "no-carrier");
    });
}

#[test]
fn a_guest_may_open_several_queues() {
    as_root(|| {
        let scene = Scene::start("create = true\nqueues = 4");
        assert!(
            details(&scene.here, "vm").contains("multi_queue numqueues"),
            "{}",
            details(&scene.here, "vm")
        );
        for queues in [4, 2] {
            let guest = Guest::boot(&scene.here, "vm", queues);
            scene.assert_passes(&guest);
            drop(guest);
            scene.yard.wait_for_state("vm", "no-carrier");
        }
        let wrong = scene.here.enter(|| attach("vm", 1)).err().and_then(|error| error.raw_os_error());
        assert_eq!(wrong, Some(libc::EINVAL), "a guest with one queue needs a TAP of one queue");
    });
}

#[test]
fn the_host_is_silent_on_what_the_switch_makes() {
    as_root(|| {
        let scene = Scene::start("create = true");
        assert_eq!(scene.setting("vm", "ipv6.disable_ipv6"), "1");
        assert_eq!(scene.setting("vm", "ipv4.arp_ignore"), "8");
        let _guest = Guest::boot(&scene.here, "vm", 1);
        scene.yard.wait_for_state("vm", "up");
        assert_eq!(scene.here.ip("-6 addr show dev vm"), "", "it made itself no address");

        scene.yard.ok("port set vm quiet=false");
        assert_eq!(scene.setting("vm", "ipv4.arp_ignore"), "8", "a guest holds it, so it is as it was made");
    });
}

#[test]
fn an_interface_that_is_there_is_left_alone_unless_it_is_to_be_quiet() {
    as_root(|| {
        let [a, here] = ["a", "yard"].map(Host::with_ipv6);
        a.veth("eth0", "", &here, "vm");
        let scene = Scene::start_in(here, "");
        assert_eq!(scene.setting("vm", "ipv6.disable_ipv6"), "0");
        scene.yard.ok("port set vm quiet=true");
        assert_eq!(scene.setting("vm", "ipv6.disable_ipv6"), "1");
        assert_eq!(scene.setting("vm", "ipv4.arp_ignore"), "8");
        scene.yard.ok("port set vm quiet=false");
        assert_eq!(scene.setting("vm", "ipv6.disable_ipv6"), "0");
        scene.yard.ok("port set vm quiet=true");
        let Scene { here, far: _far, b: _b, yard } = scene;
        drop(yard);
        assert_eq!(setting(&here, "vm", "ipv6.disable_ipv6"), "0", "the switch put it back at its end");
        assert_eq!(setting(&here, "vm", "ipv4.arp_ignore"), "0");
    });
}

#[test]
fn what_the_switch_makes_goes_with_the_port_and_with_the_switch() {
    as_root(|| {
        let scene = Scene::start("create = true");
        scene.yard.ok("port add vm2 --type netdev --bridge lan create=true queues=2");
        scene.yard.ok("port add vm3 --type netdev --bridge lan create=true persist=true");
        assert!(scene.here.has("vm2"));
        scene.yard.ok("port del vm2");
        assert!(!scene.here.has("vm2"));
        scene.yard.ok("port add vm2 --type netdev --bridge lan create=true");
        let Scene { here, far: _far, b: _b, yard } = scene;
        drop(yard);
        assert!(!here.has("vm") && !here.has("vm2"), "what it made is gone");
        assert!(here.has("vm3"), "what is to stay has stayed");
    });
}

#[test]
fn what_was_there_before_is_used_and_stays() {
    as_root(|| {
        let here = Host::with_ipv6("yard");
        here.ip("tuntap add vm mode tap user 12345");
        let scene = Scene::start_in(here, "create = true");
        assert!(details(&scene.here, "vm").contains("user 12345"), "{}", details(&scene.here, "vm"));
        let guest = Guest::boot(&scene.here, "vm", 1);
        scene.assert_passes(&guest);
        drop(guest);
        scene.yard.ok("port del vm");
        assert!(scene.here.has("vm"));
        assert_eq!(scene.setting("vm", "ipv6.disable_ipv6"), "0", "put back");
    });
}

#[test]
fn a_guest_outlives_its_port_and_the_switch() {
    as_root(|| {
        let mut scene = Scene::start("create = true");
        let guest = Guest::boot(&scene.here, "vm", 1);
        scene.assert_passes(&guest);

        let output = scene.yard.output(&["port", "del", "vm"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("vm: a guest holds it, so it stays"), "{said}");
        scene.yard.ok("port add vm --type netdev --bridge lan create=true");
        scene.assert_passes(&guest);
        assert!(scene.yard.end(libc::SIGTERM).success());
        scene.yard.run();
        scene.assert_passes_after_restart(&guest);
        scene.yard.kill();
        scene.yard.run();
        scene.assert_passes_after_restart(&guest);

        drop(guest);
        scene.yard.wait_for_state("vm", "no-carrier");
        scene.yard.ok("port del vm");
        assert!(!scene.here.has("vm"), "it was known as the switch's own");
    });
}

impl Scene {
    /// As [`Scene::assert_passes`], when the device behind `b` is another.
    fn assert_passes_after_restart(&mut self, guest: &Guest) {
        self.b = Station::open(&self.far, "b", "b");
        self.assert_passes(guest);
    }
}

#[test]
fn only_who_it_was_made_for_may_open_it() {
    // In a user namespace there is no other user to be.
    assert_eq!(tapyard::sys::effective_user(), 0, "this test needs root");
    let scene = Scene::start("create = true\nowner = 12345");
    scene.yard.ok("port add nobodys --type netdev --bridge lan create=true");
    scene.yard.ok("port add groups --type netdev --bridge lan create=true group=12346");
    let open = |user: u32, group: u32, device: &str| {
        let attempt = || {
            common::become_user(user, group);
            attach(device, 1).map(drop).map_err(|error| error.raw_os_error())
        };
        scene.here.enter(attempt)
    };
    let refused = Err(Some(libc::EPERM));
    assert_eq!(open(12345, 12345, "vm"), Ok(()));
    assert_eq!(open(12344, 12346, "vm"), refused);
    assert_eq!(open(12345, 12345, "nobodys"), refused, "without an owner it is the switch's");
    assert_eq!(open(12344, 12346, "groups"), Ok(()));
    assert_eq!(open(12344, 12345, "groups"), refused);
    assert!(tun::open().is_ok());

    scene.yard.ok("port set vm owner=12344");
    assert_eq!(open(12344, 12344, "vm"), Ok(()));
    assert_eq!(open(12345, 12345, "vm"), refused);
}

#[test]
fn a_device_of_another_shape_is_refused_with_the_remedy() {
    as_root(|| {
        let here = Host::new("yard");
        here.ip("tuntap add single mode tap");
        here.ip("tuntap add many mode tap multi_queue");
        here.ip("tuntap add tun mode tun");
        here.ip("link add veth type veth peer name peer");
        let yard = Yard::start_in(&here, "[bridge.lan]\n");
        for (keys, says) in [
            (
                "device=single queues=2",
                "single: exists as a single-queue TAP, and queues asks for a multi-queue one",
            ),
            ("device=many", "many: exists as a multi-queue TAP, and queues asks for a single-queue one"),
            ("device=tun", "tun: exists and is not a TAP but a TUN"),
            ("device=veth", "veth: exists and is not a TAP but a veth"),
            ("device=new mtu=99999", "MTU"),
            ("device=new netns=no-such-netns", "no network namespace"),
        ] {
            let why = yard.refused(&format!("port add vm --type netdev --bridge lan create=true {keys}"));
            assert!(why.contains(says), "{keys}: {why}");
        }
        for key in ["owner=1", "group=1", "queues=2", "persist=true", "mtu=1400"] {
            let why = yard.refused(&format!("port add vm --type netdev --bridge lan {key}"));
            assert!(
                why.contains("is for a TAP that is made (expected create = true beside it)"),
                "{key}: {why}"
            );
        }
        assert!(!here.has("new") && yard.find_port("vm").is_none());
    });
}

#[test]
fn a_port_waits_for_an_interface_that_is_not_there_yet() {
    as_root(|| {
        let scene = Scene::start("device = \"later\"");
        assert_eq!(scene.yard.port("vm")["state"], "missing");
        assert!(scene.yard.log().contains("port vm: later: no such interface: create it first"));
        let check = scene.yard.output(&["check", "--config", scene.yard.config_path().to_str().unwrap()]);
        assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
        let add = ["port", "add", "vm2", "--type", "netdev", "--bridge", "lan"];
        let added = scene.yard.output(&add);
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(added.status.success() && said.contains("vm2: no such interface: create it first"), "{said}");
        assert!(!said.contains("later"), "of the port that was added, and no other: {said}");

        // A guest that makes its TAP itself, which goes with it.
        for _ in 0..3 {
            let guest = Guest::boot(&scene.here, "later", 1);
            scene.here.ip("link set dev later addrgenmode none");
            scene.assert_passes(&guest);
            drop(guest);
            scene.yard.wait_for_state("vm", "missing");
        }
        scene.here.ip("tuntap add vm2 mode tap");
        scene.yard.wait_for_state("vm2", "no-carrier");
    });
}

#[test]
fn a_port_waits_for_a_namespace_that_is_not_there_yet() {
    as_root(|| {
        let [here, b] = ["yard", "b"].map(Host::new);
        let later = Host::new("later");
        let name = later.name().to_owned();
        drop(later);
        let keys = format!("netns = \"{name}\"\ndevice = \"eth0\"");
        let yard = Yard::start_in(&here, &config(&b, &keys));
        assert_eq!(yard.port("vm")["state"], "missing");
        let later = Host::named(&name);
        later.ip("link add eth0 type veth peer name eth1");
        later.ip("link set dev eth1 up");
        yard.wait_for_state("vm", "up");
    });
}

#[test]
fn an_interface_is_taken_as_soon_as_it_is_there() {
    as_root(|| {
        let scene = Scene::start("");
        // So often that a look every second would not have seen half of them.
        for _ in 0..5 {
            let guest = Guest::boot(&scene.here, "vm", 1);
            scene.assert_passes(&guest);
            drop(guest);
            scene.yard.wait_for_state("vm", "missing");
        }
        let log = scene.yard.log();
        assert_eq!(log.matches("port vm: its device is back").count(), 5, "{log}");
    });
}

#[test]
fn an_interface_that_moves_away_is_missing_until_it_returns() {
    as_root(|| {
        let [a, elsewhere, here] = ["a", "elsewhere", "yard"].map(Host::new);
        a.veth("eth0", "", &here, "vm");
        let scene = Scene::start_in(here, "");
        let a = Station::open(&a, "eth0", "vm");
        let passes = |n| {
            let sent = frame(BROADCAST, station(n));
            wait_until("a frame to pass", || a.try_send(&sent) && scene.b.drain().contains(&sent));
        };
        passes(1);
        scene.here.ip(&format!("link set dev vm netns {elsewhere}"));
        scene.yard.wait_for_state("vm", "missing");
        assert!(elsewhere.has("vm"));
        elsewhere.ip(&format!("link set dev vm netns {}", scene.here));
        scene.yard.wait_for_state("vm", "up");
        passes(2);
    });
}

#[test]
fn the_state_of_a_port_is_that_of_its_interface() {
    as_root(|| {
        let [a, here] = ["a", "yard"].map(Host::new);
        a.veth("eth0", "", &here, "vm");
        let scene = Scene::start_in(here, "");
        assert_eq!(scene.yard.port("vm")["state"], "up");
        a.ip("link set dev eth0 down");
        scene.yard.wait_for_state("vm", "no-carrier");
        scene.assert_drops("no-carrier");
        a.ip("link set dev eth0 up");
        scene.yard.wait_for_state("vm", "up");
        scene.here.ip("link set dev vm down");
        scene.yard.wait_for_state("vm", "down");
        thread::sleep(Duration::from_millis(50)); // what was to come of it has come
        scene.assert_drops("port-down");
        scene.here.ip("link set dev vm up");
        scene.yard.wait_for_state("vm", "up");
        scene.here.ip("link set dev vm mtu 1300");
        wait_until("its MTU", || scene.yard.port("vm")["mtu"] == 1300);
    });
}

#[test]
fn who_listens_for_interfaces_ends_also_while_nobody_hears_what_it_tells() {
    as_root(|| {
        let here = Host::new("links");
        let (events, told) = crossbeam_channel::bounded(1);
        let watch = here.enter(|| {
            let watch = LinkWatch::start(events).expect("a thread");
            watch.listen(None);
            watch
        });
        for n in 0..4 {
            here.ip(&format!("tuntap add d{n} mode tap"));
        }
        wait_until("news that nobody takes", || told.is_full());
        let (done, ended) = crossbeam_channel::bounded(1);
        let ending = thread::spawn(move || {
            drop(watch);
            let _ = done.send(());
        });
        assert!(ended.recv_timeout(Duration::from_secs(30)).is_ok(), "it waits for ever");
        ending.join().expect("it has ended");
    });
}
