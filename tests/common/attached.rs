//! A switch with one guest on a port and two hosts on others, and what every kind of port has to pass with them.
//!
//! The guest is 10.9.0.1 on the port `vm1`; the hosts are 10.9.0.2 and 10.9.0.3 on veths behind the ports `b` and `c`. All
//! are on the bridge `lan`.

use std::net::UdpSocket;
use std::thread;

use super::guest::{Guest, Nic};
use super::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use super::{Host, Yard, wait_until};

/// The guest's MAC address.
pub(crate) const MAC: &str = "52:54:00:09:00:01";

const NETDEV: &str = "type = \"netdev\"\nquiet = true";

pub(crate) struct Attached {
    pub(crate) guest: Guest,
    pub(crate) yard: Yard,
    pub(crate) b: Host,
    pub(crate) c: Host,
    /// Where the switch and the guest run. Dropped last.
    pub(crate) here: Host,
    /// How many bytes a TCP connection is to carry: few where the guest has no offloads.
    bytes: usize,
}

impl Attached {
    /// Starts a switch whose port `vm1` has these `keys`, then the guest. The guest has its address.
    pub(crate) fn start(keys: &str, nic: Nic) -> Attached {
        let here = Host::with_ipv6("yard");
        let [b, c] = [2, 3].map(|n| {
            let name = ["b", "c"][n - 2];
            let host = Host::new(name);
            host.veth("eth0", &format!("10.9.0.{n}/24"), &here, name);
            host
        });
        let port = |name: &str, keys: &str| format!("[port.{name}]\nbridge = \"lan\"\n{keys}\n");
        let ports = [port("vm1", keys), port("b", NETDEV), port("c", NETDEV)];
        let yard = Yard::start_in(&here, &format!("[bridge.lan]\n{}", ports.concat()));
        let guest = Guest::boot("vm1", &here, &[nic]);
        guest.address("eth0", "10.9.0.1/24");
        let bytes = if guest.has_offloads("eth0") { 16 << 20 } else { 4 << 20 };
        Attached { guest, yard, b, c, here, bytes }
    }

    /// Pings of every size, and TCP, both ways.
    pub(crate) fn converse(&self) {
        wait_for_ping(&self.guest, "10.9.0.2"); // the port may have to find its guest first
        for size in [56, 1600, 8000] {
            ping(&self.guest, "10.9.0.2", size, 5);
            ping(&self.b, "10.9.0.1", size, 5);
        }
        tcp(&self.guest, &self.b, "10.9.0.2", self.bytes);
        tcp(&self.b, &self.guest, "10.9.0.1", self.bytes);
    }

    /// Asserts that the guest leaves checksums and segments to the switch and gets superframes from it: TCP is to have
    /// flowed both ways.
    pub(crate) fn assert_superframes(&self) {
        self.guest.assert_offloads_on("eth0");
        for direction in ["rx", "tx"] {
            let mean = mean(&self.yard, "vm1", direction);
            assert!(mean > 1514, "{direction}: TCP was cut into segments of {mean} bytes");
        }
    }

    /// The guest loses its power and boots again.
    pub(crate) fn guest_comes_back(&mut self) {
        self.guest.kill();
        ping_in_vain(&self.b, "10.9.0.1", 2);
        self.guest.restart();
        self.guest.address("eth0", "10.9.0.1/24");
        self.converse();
    }

    /// The switch ends while the guest sends, once in peace and once as in a crash, and is started again: the guest, which
    /// knows nothing of it, goes on.
    pub(crate) fn outlives_the_switch(&mut self) {
        for crash in [false, true] {
            let Attached { guest, b, yard, bytes, .. } = self;
            let bytes = *bytes * 6;
            thread::scope(|scope| {
                let transfer = scope.spawn(|| tcp(guest, b, "10.9.0.2", bytes));
                let before = yard.port_count("vm1", "rx_bytes");
                wait_until("the transfer to flow", || {
                    yard.port_count("vm1", "rx_bytes") > before + 100_000 || transfer.is_finished()
                });
                assert!(!transfer.is_finished(), "the transfer ended too early to be of use");
                if crash {
                    yard.kill();
                } else {
                    assert!(yard.end(libc::SIGTERM).success());
                }
                assert!(!transfer.is_finished(), "the transfer ended too early to be of use");
                yard.run();
                assert!(transfer.join().is_ok(), "the transfer broke when the switch was started again");
            });
            self.converse();
        }
    }

    /// The guest stops where it is, while others send to it: it is nobody else's trouble, and goes on later.
    pub(crate) fn stalls_alone(&self) {
        let Attached { guest, b, c, .. } = self;
        wait_for_ping(b, "10.9.0.1");
        b.ip(&format!("neigh replace 10.9.0.1 lladdr {MAC} dev eth0 nud permanent"));
        guest.freeze();
        let socket = b.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("any port");
        for _ in 0..20_000 {
            socket.send_to(&[7; 1400], "10.9.0.1:9").expect("the device takes it, or drops it");
        }
        ping(b, "10.9.0.3", 1600, 5);
        tcp(b, c, "10.9.0.3", 16 << 20);
        guest.thaw();
        b.ip("neigh del 10.9.0.1 dev eth0");
        self.converse();
    }
}

/// The mean length of the frames a port received (`rx`), or sent (`tx`).
pub(crate) fn mean(yard: &Yard, port: &str, direction: &str) -> u64 {
    let count = |what: &str| yard.port_count(port, &format!("{direction}_{what}"));
    count("bytes") / count("frames")
}
