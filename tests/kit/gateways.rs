//! The routers that most suites look at: two networks, or one and the rest of the world; and what they say.

use tapyard::packet::Offload;
use tapyard::switch::Port;

use super::frames::mac;
use super::routers::{ACK, Msg, Plan, SYN, Upper, gateway, msg, ping};
use super::{Sent, Yard, on, port};

/// A port that carries IP.
pub(crate) fn tun() -> Port {
    Port { bridge: None, ..port() }
}

/// Interfaces 0 and 1 on bridges 0 and 1, with stations 1 and 2 there.
pub(crate) fn plan() -> Plan {
    Plan::new()
        .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
        .on(1, 0, &["10.2.0.254/24", "fd02::fe/64"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "fd01::1", 1)
        .knows(1, "10.2.0.1", 2)
        .knows(1, "fd02::1", 2)
}

pub(crate) fn ports() -> [Port; 2] {
    [port(), on(1, port())]
}

/// A yard of two bridges with a port each, and a router between.
pub(crate) fn between(plan: &Plan) -> Yard {
    let mut yard = Yard::new(ports());
    plan.run(&mut yard);
    yard
}

/// Station `n` sends a packet to the router.
pub(crate) fn send(yard: &mut Yard, port: u16, n: u32, msg: &Msg) -> Vec<Sent> {
    yard.send(port, &msg.frame(gateway(), mac(n)))
}

/// The only thing that left, which is a plain frame to station `n` by `port`, from the router.
#[track_caller]
pub(crate) fn only(sent: Vec<Sent>, port: u16, n: u32) -> Msg {
    let [Sent { port: by, bytes, offload }] = &sent[..] else { panic!("one frame, not {sent:02x?}") };
    assert_eq!((*by, *offload), (port, Offload::NONE));
    assert_eq!((&bytes[..6], &bytes[6..12]), (&mac(n).octets()[..], &gateway().octets()[..]));
    Msg::read(&bytes[14..])
}

/// What a router says of `about` with an ICMP message of this type, code and number, quoting all of it.
pub(crate) fn error(from: &str, about: &Msg, kind: u8, code: u8, rest: u32) -> Msg {
    error_quoting(from, about, kind, code, rest, about.packet())
}

pub(crate) fn error_quoting(from: &str, about: &Msg, kind: u8, code: u8, rest: u32, quoted: Vec<u8>) -> Msg {
    Msg { payload: quoted, ..msg(from, &about.from.to_string(), Upper::Icmp(kind, code, rest)) }
}

/// The two differ in nothing that matters: an answer may have any identification, and may be cut or not.
#[track_caller]
pub(crate) fn same(found: Msg, expected: &Msg) {
    let Msg { dont_fragment, id, .. } = *expected;
    // RFC 1812 section 4.3.2.5: errors are of precedence 6 or that of what they are about.
    assert_eq!(Msg { dont_fragment, id, tos: 0, ..found }, Msg { tos: 0, ..expected.clone() });
}

pub(crate) const V4: (&str, &str) = ("10.1.0.1", "10.2.0.1");
pub(crate) const V6: (&str, &str) = ("fd01::1", "fd02::1");

/// Interface 0 on bridge 0 with station 1, and interface 1, where everything else is, on port 1, which carries IP.
pub(crate) fn plan_to_tun() -> Plan {
    Plan::new()
        .on(0, 0, &["10.1.0.254/24", "fd01::fe/64"])
        .by(1, &["10.9.0.1/30", "fd09::1/64"])
        .knows(0, "10.1.0.1", 1)
        .knows(0, "fd01::1", 1)
        .via("0.0.0.0/0", &[(1, "10.9.0.2")])
        .via("::/0", &[(1, "-")])
}

/// A packet of every protocol between station 1 and station 2.
pub(crate) fn packets() -> Vec<Msg> {
    let mut all = Vec::new();
    for (from, to) in [V4, V6] {
        all.extend([
            msg(from, to, Upper::Udp { from: 1000, to: 53, checked: true }),
            msg(from, to, Upper::Tcp { from: 1000, to: 80, flags: SYN, sequence: 1, ack: 0, window: 99 }),
            msg(from, to, Upper::Tcp { from: 1000, to: 80, flags: ACK, sequence: 1, ack: 9, window: 99 }),
            ping(from, to, 7),
            msg(from, to, Upper::Reply { id: 7, sequence: 1 }),
            msg(from, to, Upper::Other(47)),
            msg(from, to, Upper::Other(132)).len(0),
        ]);
    }
    all.push(msg(V4.0, V4.1, Upper::Udp { from: 1, to: 2, checked: false }));
    all
}

/// Writes the checksum of an IPv4 header.
pub(crate) fn finish(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}
