//! A running switch with two guests.

use super::{Guest, Like, Sockets};
use crate::common::Yard;
use crate::common::frames::{self, BROADCAST, station};

pub const A: [u8; 6] = station(1);
pub const B: [u8; 6] = station(2);

/// A switch with the ports `vm1` and `vm2`, each with `keys`.
pub struct Bench {
    pub yard: Yard,
    pub sockets: Sockets,
}

impl Bench {
    pub fn new(keys: &str, workers: usize) -> Bench {
        let sockets = Sockets::new();
        let port = |name: &str| {
            format!(
                "[port.{name}]\ntype = \"vhost-user\"\nbridge = \"lan\"\nlisten = \"{}\"\n{keys}\n",
                sockets.path(name).display()
            )
        };
        let config = format!("[bridge.lan]\n{}{}[switch]\nworkers = {workers}\n", port("vm1"), port("vm2"));
        Bench { yard: Yard::start(&config), sockets }
    }

    /// A guest at the port, which the switch knows of.
    pub fn guest(&self, port: &str, like: Like) -> Guest {
        let guest = Guest::attach(&self.sockets.path(port), like);
        self.yard.wait_for_state(port, "up");
        guest
    }

    /// Two guests, each of which knows where the other is.
    pub fn pair(&self, like: Like) -> (Guest, Guest) {
        let (mut a, mut b) = (self.guest("vm1", like), self.guest("vm2", like));
        introduce(&self.yard, &mut a, &mut b);
        (a, b)
    }
}

/// Has the switch learn where both are, by a frame each way.
pub fn introduce(yard: &Yard, a: &mut Guest, b: &mut Guest) {
    a.send(&frames::frame(BROADCAST, A));
    assert_eq!(b.receive().frame, frames::frame(BROADCAST, A));
    b.send(&frames::frame(A, B));
    assert_eq!(a.receive().frame, frames::frame(A, B));
    yard.wait_until_learned(B, "vm2");
}

/// A frame of `len` bytes from A to B, each of whose bytes says where it is.
pub fn ramp(len: usize, seed: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len - 14).map(|n| ((n + seed) % 251) as u8).collect();
    frames::ether(B, A, frames::EXPERIMENT, &payload)
}
