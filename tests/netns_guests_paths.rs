//! Guests on ports of every kind beside one another: each with each, by a router's NAT, and over VXLAN.

mod common;

use common::attached::mean;
use common::guest::{Guest, Nic};
use common::overlay::no_frame_was_damaged;
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Scratch, Yard, as_root, tap};

/// The guests' ports: [`KINDS`]`[n]` has 10.9.0.(n + 1).
const KINDS: [&str; 4] = ["tap", "vhost", "stream", "dgram"];

/// The guests' MTU, which leaves an underlay of 1500 bytes room for VXLAN.
const MTU: u32 = 1450;

fn address(n: usize) -> String {
    format!("10.9.0.{}", n + 1)
}

#[test]
fn guests_on_ports_of_every_kind_reach_one_another_and_the_world() {
    as_root(|| {
        let [here, outside, far] = ["yard", "outside", "far"].map(Host::new);
        let files = Scratch::new();
        let at = |name: &str| files.path(name);
        // A host over VXLAN, of the kernel's own.
        here.veth("under", "10.8.0.1/24", &far, "under");
        far.ip("addr add 10.8.0.2/24 dev under");
        far.ip("link add name vtep type vxlan id 7 dstport 4789 local 10.8.0.2 remote 10.8.0.1 dev under");
        far.ip("addr add 10.9.0.200/24 dev vtep");
        far.ip("link set dev vtep up");

        let on_lan = |name: &str, keys: &str| format!("[port.{name}]\nbridge = \"lan\"\n{keys}\n");
        let config = [
            "[bridge.lan]\n[bridge.wan]\n".to_owned(),
            on_lan("tap", "type = \"netdev\"\ndevice = \"vm0\"\ncreate = true"),
            on_lan("vhost", &format!("type = \"vhost-user\"\nlisten = \"{}\"", at("vhost").display())),
            on_lan("stream", &format!("type = \"stream\"\nlisten = \"{}\"", at("stream").display())),
            on_lan(
                "dgram",
                &format!(
                    "type = \"dgram\"\nlisten = \"{}\"\nconnect = \"{}\"",
                    at("dgram").display(),
                    at("guest").display()
                ),
            ),
            on_lan("overlay", "type = \"vxlan\"\nvni = 7\nlocal = \"10.8.0.1\"\nremotes = [\"10.8.0.2\"]"),
            tap("outside", &outside, "bridge = \"wan\"\naddress = [\"192.0.2.1/24\"]"),
            "[router.gw]\n\
             [router.gw.interface.lan]\nbridge = \"lan\"\naddress = [\"10.9.0.254/24\"]\n\
             [router.gw.interface.wan]\nbridge = \"wan\"\naddress = [\"192.0.2.254/24\"]\n\
             [[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n"
                .to_owned(),
        ];
        let yard = Yard::start_in(&here, &config.concat());
        let mac = |n: usize| format!("52:54:00:09:00:{n:02}");
        let nics = [
            Nic::tap(&mac(1), "vm0"),
            Nic::vhost_user(&mac(2), &at("vhost")),
            Nic::stream(&mac(3), &at("stream")),
            Nic::dgram(&mac(4), &at("guest"), &at("dgram")),
        ];
        let guests: Vec<_> =
            KINDS.iter().zip(nics).map(|(kind, nic)| Guest::boot(kind, &here, &[nic])).collect();
        for (n, guest) in guests.iter().enumerate() {
            guest.ip(&format!("link set eth0 mtu {MTU}"));
            guest.address("eth0", &format!("{}/24", address(n)));
            guest.ip("route add default via 10.9.0.254");
        }

        // Each with each.
        for (n, a) in guests.iter().enumerate() {
            for (m, b) in guests.iter().enumerate().skip(n + 1) {
                wait_for_ping(a, &address(m));
                ping(a, &address(m), 4000, 3);
                tcp(a, b, &address(m), 4 << 20);
                tcp(b, a, &address(n), 4 << 20);
            }
        }
        // By the router's NAT: nobody outside knows a way to them.
        for guest in &guests {
            ping(guest, "192.0.2.1", 4000, 3);
            tcp(guest, &outside, "192.0.2.1", 4 << 20);
        }
        // Over VXLAN.
        for (n, guest) in guests.iter().enumerate() {
            ping(guest, "10.9.0.200", 4000, 3);
            tcp(guest, &far, "10.9.0.200", 4 << 20);
            tcp(&far, guest, &address(n), 4 << 20);
        }
        for port in ["tap", "vhost"] {
            for direction in ["rx", "tx"] {
                let mean = mean(&yard, port, direction);
                assert!(mean > 1514, "{port} {direction}: TCP was cut into segments of {mean} bytes");
            }
        }
        no_frame_was_damaged(&yard);
    });
}
