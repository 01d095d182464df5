//! Ports that are closed and opened anew while the switch runs, and devices that pass from one port to another.

mod common;

use common::traffic::{ping, wait_for_ping};
use common::{Host, Yard, as_root, tap};

/// Two hosts, 10.9.0.1 and 10.9.0.2, on TAP ports `a` and `b`, of which `a` can be opened once only.
fn pair() -> (Host, Host, [String; 2], Yard) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let ports = [
        tap("a", &a, "device = \"wire\"\noffload = false\naddress = [\"10.9.0.1/24\"]"),
        tap("b", &b, "address = [\"10.9.0.2/24\"]"),
    ];
    let yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
    (a, b, ports, yard)
}

#[test]
fn a_device_passes_from_a_port_that_goes_to_a_new_one() {
    as_root(|| {
        let (a, _b, [of_a, of_b], yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        let renamed = of_a.replace("[port.a]", "[port.c]");
        yard.reload(&format!("[bridge.lan]\n{renamed}{of_b}"));
        assert_eq!(yard.port("c")["device"], "wire");
        assert!(yard.find_port("a").is_none());
        wait_for_ping(&a, "10.9.0.2");
    });
}

#[test]
fn a_device_passes_from_a_port_that_takes_another_to_a_new_one() {
    as_root(|| {
        let (a, _b, [of_a, of_b], yard) = pair();
        let other = of_a.replace("\"wire\"", "\"other\"");
        let new = of_a.replace("[port.a]", "[port.c]");
        yard.reload(&format!("[bridge.lan]\n{other}{of_b}{new}"));
        assert_eq!((&yard.port("a")["device"], &yard.port("c")["device"]), (&"other".into(), &"wire".into()));
        assert!(a.has("other") && a.has("wire"));
    });
}

#[test]
fn a_device_that_was_to_pass_on_stays_when_the_change_fails() {
    as_root(|| {
        let (a, _b, [of_a, of_b], yard) = pair();
        // The new port waits for the device of `a`, and then cannot have what else it wants.
        let new =
            of_a.replace("[port.a]", "[port.c]").replace("10.9.0.1/24\"", "10.9.0.1/24\", \"fe80::1/64\"");
        yard.write_config(&format!("[bridge.lan]\n{new}{of_b}"));
        let why = yard.refused("reload");
        assert!(why.contains("port c") && why.contains("fe80::1/64"), "{why}");
        assert_eq!(yard.port("a")["state"], "up");
        wait_for_ping(&a, "10.9.0.2");
    });
}

#[test]
fn what_was_behind_a_port_is_forgotten_when_it_is_reopened() {
    as_root(|| {
        let (a, _b, [of_a, of_b], yard) = pair();
        ping(&a, "10.9.0.2", 56, 2);
        assert!(yard.learned().iter().any(|(_, _, port)| port == "b"));
        let moved = of_b.replace("bridge = \"lan\"", "bridge = \"dmz\"\nmtu = 1400");
        yard.reload(&format!("[bridge.lan]\n[bridge.dmz]\n{of_a}{moved}"));
        let on_lan = yard.rows("fdb show").into_iter().filter(|row| row["bridge"] == "lan");
        let of_b: Vec<_> = on_lan.filter(|row| row["port"] == "b").collect();
        assert!(of_b.is_empty(), "{of_b:?}");
    });
}

#[test]
fn a_port_that_cannot_be_reopened_as_it_was_is_looked_for() {
    as_root(|| {
        let (a, far) = (Host::new("a"), Host::new("far"));
        a.veth("near", "", &far, "far");
        let config = "[bridge.lan]\n[port.v]\ntype = \"netdev\"\nbridge = \"lan\"\ndevice = \"near\"\n";
        let refused = config.replace("netdev", "tap").replace("near", "lo");
        let yard = Yard::start_in(&a, config);
        // Under another name the open socket still has it, and nothing seems to have gone.
        a.ip("link set dev near down");
        a.ip("link set dev near name hidden");
        yard.write_config(&refused);
        let why = yard.refused("reload");
        assert!(why.contains("lo: exists and is not a TAP"), "{why}");
        yard.wait_for_state("v", "missing");
        a.ip("link set dev hidden name near");
        yard.wait_for_state("v", "up");
    });
}

#[test]
fn a_second_switch_takes_no_device_before_it_is_refused() {
    as_root(|| {
        let (a, _b, _, yard) = pair();
        let why = yard.refused(&format!("run --config {}", yard.config_path().display()));
        assert!(why.contains("another tapyard answers"), "{why}");
        ping(&a, "10.9.0.2", 56, 2);
    });
}
