//! Faults: devices that vanish, links that go down, a switch that is killed.

mod common;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::traffic::{Stream, ping, ping_in_vain, wait_for_ping};
use common::{Host, Yard, as_root, tap, wait_until};

/// A host with the address 10.9.0.N on the TAP port `name`.
fn tapped(name: &str, host: &Host, n: u8) -> String {
    tap(name, host, &format!("address = [\"10.9.0.{n}/24\"]"))
}

/// Datagrams, in bursts, until it is dropped: load, whatever becomes of it.
struct Load(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Load {
    fn start(from: &Host, address: &str) -> Load {
        let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("any port");
        socket.connect((address, 9)).expect("it is on its link");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                for _ in 0..32 {
                    let _ = socket.send(&[0; 512]); // refused when the device is gone: that is the test
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        Load(stop, Some(thread))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

/// Asserts that the switch, which has nothing to do, uses less than a quarter of a core.
fn assert_no_spin(yard: &Yard) {
    thread::sleep(Duration::from_millis(200)); // what was on its way, and the polling after it
    let before = yard.cpu_ticks();
    thread::sleep(Duration::from_secs(1));
    let used = yard.cpu_ticks() - before;
    assert!(used < 25, "an idle switch used {used} % of a core");
}

/// `from` reaches `to` (10.9.0.N on `device`) without asking, so that it goes on sending when nobody answers.
fn know(from: &Host, from_device: &str, to: &Host, device: &str, address: &str) {
    let mac = common::frames::text(to.mac(device));
    from.ip(&format!("neigh replace {address} lladdr {mac} dev {from_device} nud permanent"));
}

#[test]
fn a_tap_deleted_under_load_disturbs_nobody() {
    as_root(|| {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Host::new);
        let ports = [tapped("a", &a, 1), tapped("b", &b, 2), tapped("c", &c, 3), tapped("d", &d, 4)];
        let yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
        ping(&a, "10.9.0.4", 56, 2);
        know(&a, "a", &d, "d", "10.9.0.4");
        know(&d, "d", &a, "a", "10.9.0.1");
        let loads = [Load::start(&d, "10.9.0.1"), Load::start(&a, "10.9.0.4")];
        let stream = Stream::start(&b, &c, "10.9.0.3");

        a.ip("link del dev a");
        yard.wait_for_state("a", "missing");
        for port in ["b", "c", "d"] {
            assert_eq!(yard.port(port)["state"], "up");
        }
        ping(&c, "10.9.0.4", 1600, 5);
        stream.assert_lossless();
        drop(loads);
        assert_no_spin(&yard);

        // A reload makes it again, since that is what the file says.
        let applied = yard.json("reload");
        assert_eq!(applied["changes"], serde_json::json!(["~ port a: its device is made again"]));
        yard.wait_for_state("a", "up");
        wait_for_ping(&a, "10.9.0.2");
        ping(&b, "10.9.0.1", 1600, 5);

        // And so does making the port anew.
        yard.ok("port del a");
        assert!(yard.find_port("a").is_none());
        yard.ok(&format!("port add a --type tap --bridge lan netns={a} address=10.9.0.1/24"));
        wait_for_ping(&a, "10.9.0.2");
    });
}

/// The descriptor of a TAP keeps the namespace alive in which it was opened, nameless: its device is no more missing than
/// it is of use, until the port is made anew.
#[test]
fn a_namespace_deleted_with_its_tap_disturbs_nobody() {
    as_root(|| {
        let [a, b, c] = ["a", "b", "c"].map(Host::new);
        let ports = [tapped("a", &a, 1), tapped("b", &b, 2), tapped("c", &c, 3)];
        let yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
        let stream = Stream::start(&b, &c, "10.9.0.3");
        drop(a);
        ping(&b, "10.9.0.3", 1600, 5);
        let a = Host::new("a");
        yard.ok("port del a");
        yard.ok(&format!("port add a --type tap --bridge lan netns={a} address=10.9.0.1/24"));
        wait_for_ping(&a, "10.9.0.2");
        stream.assert_lossless();
        assert_no_spin(&yard);
    });
}

#[test]
fn many_devices_may_vanish_at_once() {
    as_root(|| {
        let [h, b, c] = ["h", "b", "c"].map(Host::new);
        let names: Vec<_> = (0..128).map(|n| format!("p{n}")).collect();
        let many: String = names.iter().map(|name| tap(name, &h, "")).collect();
        let yard = Yard::start(&["[bridge.lan]\n", &many, &tapped("b", &b, 2), &tapped("c", &c, 3)].concat());
        let stream = Stream::start(&b, &c, "10.9.0.3");
        // One group, so that the kernel removes them in one go.
        for name in &names {
            h.ip(&format!("link set dev {name} group 7"));
        }
        h.ip("link del group 7");
        wait_until("all of them to be missing", || {
            yard.rows("port show").iter().filter(|row| row["state"] == "missing").count() == names.len()
        });
        ping(&c, "10.9.0.2", 1600, 5);
        stream.assert_lossless();
        assert_no_spin(&yard);
    });
}

#[test]
fn a_veth_made_again_is_taken_again() {
    as_root(|| {
        let [a, b, c, here] = ["a", "b", "c", "yard"].map(Host::new);
        a.veth("eth0", "10.9.0.1/24", &here, "va");
        let netdev = "[port.va]\ntype = \"netdev\"\nbridge = \"lan\"\n";
        let config = ["[bridge.lan]\n", netdev, &tapped("b", &b, 2), &tapped("c", &c, 3)].concat();
        let yard = Yard::start_in(&here, &config);
        ping(&a, "10.9.0.2", 1600, 5);
        know(&b, "b", &a, "eth0", "10.9.0.1");
        let load = Load::start(&b, "10.9.0.1");
        let stream = Stream::start(&b, &c, "10.9.0.3");
        for _ in 0..3 {
            here.ip("link del dev va");
            yard.wait_for_state("va", "missing");
            ping(&c, "10.9.0.2", 56, 2);
            a.veth("eth0", "10.9.0.1/24", &here, "va");
            yard.wait_for_state("va", "up");
            wait_for_ping(&a, "10.9.0.3");
        }
        stream.assert_lossless();
        drop(load);
        b.ip("neigh del 10.9.0.1 dev b");
        ping(&a, "10.9.0.2", 1600, 5);
        assert_no_spin(&yard);
    });
}

#[test]
fn a_netdev_port_may_wait_for_its_device() {
    as_root(|| {
        let [a, b, here] = ["a", "b", "yard"].map(Host::new);
        a.veth("eth0", "10.9.0.1/24", &here, "va");
        let netdev = "[port.va]\ntype = \"netdev\"\nbridge = \"lan\"\n";
        let yard = Yard::start_in(&here, &["[bridge.lan]\n", netdev, &tapped("b", &b, 2)].concat());
        here.ip("link del dev va");
        yard.wait_for_state("va", "missing");
        assert_no_spin(&yard);
        // Commands work while it is away, and it is no reason to refuse them.
        yard.ok("port set b isolated=true");
        yard.ok("reload");
        assert_eq!(yard.port("va")["state"], "missing");
    });
}

#[test]
fn a_link_that_was_down_carries_again() {
    as_root(|| {
        let [a, b, here] = ["a", "b", "yard"].map(Host::new);
        a.veth("eth0", "10.9.0.1/24", &here, "va");
        let netdev = "[port.va]\ntype = \"netdev\"\nbridge = \"lan\"\n";
        let yard = Yard::start_in(&here, &["[bridge.lan]\n", netdev, &tapped("b", &b, 2)].concat());
        ping(&a, "10.9.0.2", 56, 2);
        know(&a, "eth0", &b, "b", "10.9.0.2");
        know(&b, "b", &a, "eth0", "10.9.0.1");

        b.ip("link set dev b down");
        ping_in_vain(&a, "10.9.0.2", 3);
        wait_until("the drops to be counted", || yard.drops("b", "port-down") >= 3);
        assert_eq!(yard.port("b")["state"], "down", "the device is there");
        assert_no_spin(&yard);
        b.ip("link set dev b up");
        wait_for_ping(&a, "10.9.0.2");

        know(&b, "b", &a, "eth0", "10.9.0.1"); // going down made it forget
        here.ip("link set dev va down");
        ping_in_vain(&b, "10.9.0.1", 3);
        assert_no_spin(&yard);
        here.ip("link set dev va up");
        wait_for_ping(&b, "10.9.0.1");
        ping(&a, "10.9.0.2", 1600, 5);
    });
}

#[test]
fn a_killed_switch_starts_again() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let mut yard = Yard::start(&["[bridge.lan]\n", &tapped("a", &a, 1), &tapped("b", &b, 2)].concat());
        ping(&a, "10.9.0.2", 56, 2);
        yard.kill();
        wait_until("its devices to go with it", || !a.has("a") && !b.has("b"));
        assert!(yard.control().exists(), "nobody was left to remove the socket");
        yard.run();
        ping(&a, "10.9.0.2", 1600, 5);
    });
}

#[test]
fn a_persistent_tap_outlives_a_killed_switch() {
    as_root(|| {
        let [a, b] = ["a", "b"].map(Host::new);
        let persistent = tap("a", &a, "persist = true\naddress = [\"10.9.0.1/24\"]");
        let mut yard = Yard::start(&["[bridge.lan]\n", &persistent, &tapped("b", &b, 2)].concat());
        ping(&a, "10.9.0.2", 56, 2);
        let identity = |host: &Host| {
            let text = host.ip("-o link show dev a");
            text.split(':').next().expect("an index").to_owned()
        };
        let (index, mac) = (identity(&a), a.mac("a"));
        yard.kill();
        wait_until("the other device to go", || !b.has("b"));
        assert!(a.has("a"));
        yard.run();
        assert_eq!((identity(&a), a.mac("a")), (index, mac), "it is still the same device");
        ping(&b, "10.9.0.1", 1600, 5);
    });
}

#[test]
fn a_switch_that_ends_removes_what_it_made() {
    as_root(|| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let [a, b, here] = ["a", "b", "yard"].map(Host::new);
            b.veth("eth0", "10.9.0.2/24", &here, "vb");
            let netdev = "[port.vb]\ntype = \"netdev\"\nbridge = \"lan\"\n";
            let mut yard = Yard::start_in(&here, &["[bridge.lan]\n", &tapped("a", &a, 1), netdev].concat());
            let load = Load::start(&a, "10.9.0.2");
            ping(&a, "10.9.0.2", 56, 2);
            let status = yard.end(signal);
            assert!(status.success(), "{status}: {}", yard.log());
            assert!(!yard.control().exists(), "its socket");
            assert!(!a.has("a"), "its device");
            assert!(here.has("vb"), "what it did not make stays");
            drop(load);
        }
    });
}
