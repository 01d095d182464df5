//! What the benches of the engine have in common: stations, frames between them, ports and bridges that let all pass.

#![allow(dead_code, reason = "each bench uses its part")]

use std::sync::Arc;
use std::time::Duration;

use tapyard::packet::{BridgeId, Capabilities, Gso, Offload, PortId};
use tapyard::switch::mode::Apart;
use tapyard::switch::{Bridge, Port, Storm, VlanPolicy, Way};
use tapyard::table::fdb::{Allowance, Fdb, Generations};
use tapyard::wire::ethernet::Mac;

/// Batches an iteration runs, so that the clock is not what is measured.
pub(crate) const BATCHES: usize = 64;

/// The address of station `n`.
pub(crate) fn mac(n: usize) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | n as u64)
}

/// A TCP superframe of 60,000 bytes, in segments of `gso_size`.
pub(crate) fn superframe(destination: Mac, source: Mac, gso_size: u16) -> (Vec<u8>, Offload) {
    const PAYLOAD: u16 = 60_000;
    let mut bytes = [destination.octets(), source.octets()].concat();
    bytes.extend([0x08, 0x00, 0x45, 0x00]);
    bytes.extend((20 + 20 + PAYLOAD).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0; 12]);
    // What is summed so far is 0a00 + 1 + 0a00 + 2, the protocol, and the length.
    let pseudo_header = (0x1403 + 6 + 20 + PAYLOAD).to_be_bytes();
    bytes.extend([0x50, 0x10, 0, 0, pseudo_header[0], pseudo_header[1], 0, 0]);
    bytes.extend((0..PAYLOAD).map(|i| i as u8));
    let gso = Gso::TcpV4;
    let (header_len, csum_start, csum_offset) = (54, 34, 16);
    (bytes, Offload { needs_csum: true, gso, gso_size, header_len, csum_start, csum_offset, ..Offload::NONE })
}

/// A cheap full-period walk over 0..n, so that neighbours in time are no neighbours in any table.
pub(crate) fn shuffled(n: usize) -> impl Iterator<Item = usize> {
    let step = (n / 2 + n / 7) | 1;
    let step = (step..).find(|s| gcd(*s, n) == 1).expect("some number is coprime to n");
    (0..n).map(move |i| i * step % n)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A port that lets everything pass, to a queue of its own.
pub(crate) fn port(bridge: BridgeId, vlan: VlanPolicy, capabilities: Capabilities) -> Port {
    Port {
        name: String::new(),
        bridge: Some(bridge),
        vlan,
        apart: Apart::NOT,
        hairpin: false,
        learning: true,
        guard: None,
        allowance: Allowance::default(),
        storm: Storm::default(),
        mtu: 1500,
        capabilities,
        way: Way::Queue,
        wire: None,
        router: None,
    }
}

/// A bridge that has room for every station of any bench.
pub(crate) fn bridge(id: BridgeId, members: Vec<PortId>, generations: &Arc<Generations>) -> Bridge {
    let ageing = Duration::from_secs(300);
    Bridge {
        name: String::new(),
        mac: mac(0xffff_ffff),
        fdb: Arc::new(Fdb::new(id, 4_000_000, ageing, Arc::clone(generations))),
        refresh: Fdb::refresh_period(ageing),
        members,
        passthrough: false,
        routers: Vec::new(),
        rules: None,
        bindings: None,
    }
}
