//! Underlays on real sockets, in namespaces joined by veths: what one sends, another or a plain socket receives.

mod common;

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use common::{Host, as_root, wait_until};
use etherparse::PacketBuilder;
use tapyard::packet::{
    Batch, Counters, Datagram, DropReason, Frame, Gso, Layer, Offload, PeerId, PortId, Received,
};
use tapyard::port::link::Links;
use tapyard::port::netdev::{self, NetdevOptions};
use tapyard::port::underlay::{self, Transport, UnderlayOptions};
use tapyard::port::{Port, PortError, Queue, Rx, Trouble, Underlay, What};
use tapyard::sys::netns::Netns;
use tapyard::sys::steering::Wrapping;
use tapyard::tunnel::geneve::{self, Geneve};
use tapyard::tunnel::gre::Gre;
use tapyard::tunnel::vxlan::Vxlan;
use tapyard::tunnel::{Payload, Tunnel};

const PORT: u16 = 4789;
const VXLAN: Transport = Transport::Udp { port: PORT };
const GRE: Transport = Transport::Ip { protocol: 47 };

/// The addresses of two hosts on one veth, in each family.
const PAIRS: [[&str; 2]; 2] = [["10.8.0.1", "10.8.0.2"], ["fd08::1", "fd08::2"]];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Two hosts with the addresses of [`PAIRS`] on `eth0`.
fn hosts() -> [Host; 2] {
    let [a, b] = ["a", "b"].map(Host::with_ipv6);
    a.veth("eth0", "", &b, "eth0");
    for (host, end) in [(&a, 0), (&b, 1)] {
        host.ip(&format!("addr add {}/24 dev eth0", PAIRS[0][end]));
        host.ip(&format!("addr add {}/64 dev eth0 nodad", PAIRS[1][end]));
    }
    [a, b]
}

fn options(host: &Host, transport: Transport, local: &str) -> UnderlayOptions {
    let netns = Some(Netns::new(host.name()));
    UnderlayOptions {
        transport,
        local: ip(local),
        netns,
        zero_checksum: false,
        interface_of: None,
        wrapping: None,
    }
}

/// An open underlay, and what has been read from it.
struct Open {
    queues: Vec<Box<dyn Underlay>>,
    counters: Counters,
    /// The datagrams that each queue has read, unglued, with what was said of them.
    read: Vec<Vec<(Vec<u8>, Received)>>,
}

impl Open {
    /// Opens it; a port that was just closed may be held for a moment still, by a process that another test is starting.
    fn new(options: &UnderlayOptions, workers: usize) -> Open {
        let mut opened = None;
        wait_until("the underlay to be opened", || match Open::try_new(options, workers) {
            Err(PortError::PortTaken(..)) => false,
            result => {
                opened = Some(result.unwrap_or_else(|error| panic!("{error}")));
                true
            }
        });
        opened.expect("it was waited for")
    }

    fn try_new(options: &UnderlayOptions, workers: usize) -> Result<Open, PortError> {
        let opened = underlay::open(options, workers)?;
        let underlay = |queue| match queue {
            Queue::Underlay(underlay) => underlay,
            Queue::Port(_) => panic!("a port is no underlay"),
        };
        let queues: Vec<_> = opened.queues.into_iter().map(underlay).collect();
        assert_eq!((queues.len(), opened.link), (workers, None));
        Ok(Open { read: vec![Vec::new(); workers], queues, counters: Counters::default() })
    }

    /// Reads all queues until they say that nothing is left.
    fn read(&mut self) {
        let (mut batch, mut received) = (Batch::default(), Vec::new());
        for (queue, read) in self.queues.iter_mut().zip(&mut self.read) {
            loop {
                batch.clear();
                received.clear();
                let ended = queue.rx(&mut batch, &mut received, &mut self.counters);
                assert_eq!(batch.len(), received.len());
                for (frame, of) in batch.frames().iter().zip(&received) {
                    assert!(of.stride >= 1, "{of:?}");
                    read.extend(frame.bytes().chunks(of.stride as usize).map(|one| (one.to_vec(), *of)));
                }
                if ended != Rx::More {
                    break;
                }
            }
        }
    }

    /// Reads until there are `count` datagrams, in all queues together, and gives those of the first queue.
    fn expect(&mut self, count: usize) -> &[(Vec<u8>, Received)] {
        wait_until("datagrams come in", || {
            self.read();
            self.read.iter().map(Vec::len).sum::<usize>() >= count
        });
        assert_eq!(self.read.iter().map(Vec::len).sum::<usize>(), count);
        &self.read[0]
    }

    /// Sends `payloads` by the first queue with `like` for all else, and gives what became of each.
    fn send(&mut self, payloads: &[Vec<u8>], like: Datagram) -> Vec<Result<(), DropReason>> {
        self.send_each(payloads, |_| like)
    }

    fn send_each(
        &mut self,
        payloads: &[Vec<u8>],
        like: impl Fn(usize) -> Datagram,
    ) -> Vec<Result<(), DropReason>> {
        let mut batch = Batch::default();
        for payload in payloads {
            let index = batch.add().expect("room");
            batch.frames_mut()[index].fill(payload, Offload::NONE);
        }
        let datagram = |frame| Datagram { frame: frame as u32, ..like(frame) };
        let mut datagrams: Vec<_> = (0..payloads.len()).map(datagram).collect();
        self.queues[0].tx(&batch, &mut datagrams);
        datagrams.iter().map(|datagram| datagram.outcome).collect()
    }

    fn troubles(&mut self) -> Vec<Trouble> {
        self.queues.iter_mut().flat_map(|queue| queue.take_troubles()).collect()
    }
}

/// A datagram to the VXLAN port of `to`, as tunnels send it by default. Its outcome is one that no socket gives.
fn to(to: &str) -> Datagram {
    Datagram {
        frame: 0,
        tunnel: PortId(1),
        peer: PeerId(0),
        to: ip(to),
        port: PORT,
        flow: 7,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        checksum: true,
        outcome: Err(DropReason::Local),
    }
}

/// `count` payloads of `len` bytes, each different.
fn payloads(count: usize, len: usize) -> Vec<Vec<u8>> {
    let payload = |n: usize| (0..len).map(|i| (n * 31 + i * 7) as u8).collect();
    (0..count).map(payload).collect()
}

/// All that arrives at a host by `eth0`, as it was on the wire.
struct Tapped(Box<dyn Port>);

impl Tapped {
    fn new(host: &Host) -> Tapped {
        let options = NetdevOptions::new("eth0", Some(Netns::new(host.name())));
        let opened = netdev::open(&options, 1).unwrap_or_else(|error| panic!("{error}"));
        match opened.queues.into_iter().next() {
            Some(Queue::Port(port)) => Tapped(port),
            _ => panic!("no queue"),
        }
    }

    /// The next `count` packets to `dest` from their IP header on, and whether each is a superframe. Fragments but the
    /// first do not count.
    fn expect(&mut self, count: usize, dest: &str) -> Vec<(Vec<u8>, bool)> {
        let (mut found, mut batch) = (Vec::new(), Batch::default());
        wait_until("packets on the wire", || {
            batch.clear();
            self.0.rx(&mut batch, &mut Counters::default());
            for frame in batch.frames() {
                let packet = &frame.bytes()[14..];
                let ours = match ip(dest) {
                    IpAddr::V4(dest) => packet[0] == 0x45 && packet[16..20] == dest.octets(),
                    // Neighbour discovery aside.
                    IpAddr::V6(dest) => {
                        packet[0] >> 4 == 6 && packet[24..40] == dest.octets() && packet[6] != 58
                    }
                };
                if ours {
                    found.push((packet.to_vec(), frame.offload.gso != Gso::None));
                }
            }
            found.len() >= count
        });
        assert_eq!(found.len(), count);
        found
    }
}

/// What stands in an IP header: TOS or traffic class, TTL or hop limit, Don't Fragment (no router fragments IPv6), and
/// where the next header begins.
fn outer(packet: &[u8]) -> (u8, u8, bool, usize) {
    match packet[0] >> 4 {
        4 => (packet[1], packet[8], packet[6] & 0x40 != 0, 20),
        _ => (packet[0] << 4 | packet[1] >> 4, packet[7], true, 40),
    }
}

fn bytes(read: &[(Vec<u8>, Received)]) -> Vec<Vec<u8>> {
    read.iter().map(|(bytes, _)| bytes.clone()).collect()
}

#[test]
fn a_run_of_equal_datagrams_goes_and_comes_glued() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            // More than one message takes, and a shorter one that ends the last.
            let mut sent = payloads(100, 1400);
            sent.push(vec![0x5a; 700]);
            assert_eq!(sender.send(&sent, to(dest)), vec![Ok(()); 101]);
            let read = receiver.expect(101);
            assert!(bytes(read) == sent, "other bytes came than were sent");
            assert!(read.iter().all(|(_, of)| of.source == ip(from) && of.tos == 0));
            assert!(read.iter().all(|(_, of)| of.stride == 1400), "not all were glued");
            assert_eq!(receiver.counters, Counters::default());
        }
    });
}

#[test]
fn flows_have_ports_of_their_own_and_stay_in_order() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut wire = Tapped::new(&b);
            // Each is longer than the one before, so that it is a packet of its own.
            let sent: Vec<Vec<u8>> = (0..60).map(|n| vec![n; 100 + usize::from(n)]).collect();
            let flow = |n: usize| (n % 30) as u16;
            let outcomes = sender.send_each(&sent, |n| Datagram { flow: flow(n), ..to(dest) });
            assert_eq!(outcomes, vec![Ok(()); 60]);
            let mut flows = vec![Vec::new(); 30];
            for (packet, _) in wire.expect(60, dest) {
                let udp = &packet[outer(&packet).3..];
                let number = usize::from(*udp.last().expect("a payload"));
                assert_eq!(udp[8..], sent[number], "of datagram {number}");
                assert_eq!(udp[2..4], PORT.to_be_bytes());
                flows[usize::from(flow(number))].push((number, [udp[0], udp[1]]));
            }
            let ports: std::collections::BTreeSet<_> =
                flows.iter().flatten().map(|&(_, port)| port).collect();
            assert!(ports.len() >= 4 && !ports.contains(&PORT.to_be_bytes()), "{ports:?}");
            // What is sent to them nobody would ever read, so it is not kept.
            let stranger = b.enter(|| UdpSocket::bind(SocketAddr::new(ip(dest), 0))).expect("a socket");
            for &port in &ports {
                let at = SocketAddr::new(ip(from), u16::from_be_bytes(port));
                stranger.send_to(&[0; 500], at).expect("sent");
            }
            assert_eq!(waiting(&a, ports.len() + 1), 0, "bytes wait in sockets that only send");
            for flow in flows {
                assert!(flow.len() == 2 && flow[0].0 < flow[1].0 && flow[0].1 == flow[1].1, "{flow:?}");
            }
        }
    });
}

/// How many bytes wait in the UDP sockets of a host, of which there are `sockets` at least.
fn waiting(host: &Host, sockets: usize) -> usize {
    let tables = host.enter(|| {
        ["udp", "udp6"]
            .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("a table"))
    });
    let queues = tables.iter().flat_map(|table| table.lines().skip(1)).map(|line| {
        let both = line.split_whitespace().nth(4).expect("tx_queue:rx_queue");
        let (_, received) = both.split_once(':').expect("tx_queue:rx_queue");
        usize::from_str_radix(received, 16).expect("a number")
    });
    let queues: Vec<_> = queues.collect();
    assert!(queues.len() >= sockets, "{tables:?}");
    queues.iter().sum()
}

#[test]
fn the_outer_header_is_as_asked_for() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut wire = Tapped::new(&b);
            let mut receiver =
                Open::new(&UnderlayOptions { zero_checksum: true, ..options(&b, VXLAN, dest) }, 1);
            let plain = to(dest);
            let asked = [
                plain,
                Datagram { tos: 0xba, ..plain },
                Datagram { ttl: 3, ..plain },
                Datagram { tos: 0x01, ttl: 255, ..plain },
                Datagram { dont_fragment: false, ..plain },
                Datagram { checksum: false, ..plain },
                Datagram { checksum: false, dont_fragment: false, tos: 0x03, ttl: 1, ..plain },
            ];
            for (n, datagram) in asked.into_iter().enumerate() {
                // Twice, so that also a run of them has it.
                let sent = payloads(2, 500);
                assert_eq!(sender.send(&sent, datagram), [Ok(()); 2], "{datagram:?}");
                let packets = wire.expect(if datagram.checksum { 1 } else { 2 }, dest);
                for (packet, superframe) in packets {
                    let (tos, ttl, dont_fragment, udp) = outer(&packet);
                    assert_eq!((tos, ttl), (datagram.tos, datagram.ttl), "{datagram:?}");
                    assert_eq!(dont_fragment, datagram.dont_fragment || ip(dest).is_ipv6(), "{datagram:?}");
                    assert_eq!(packet[udp + 6..udp + 8] != [0, 0], datagram.checksum, "{datagram:?}");
                    assert_eq!(superframe, datagram.checksum, "{datagram:?}");
                }
                let read = receiver.expect(2 * n + 2);
                assert!(bytes(&read[2 * n..]) == sent);
                assert!(read[2 * n..].iter().all(|(_, of)| of.tos == datagram.tos), "{read:?}");
            }
        }
    });
}

#[test]
fn without_a_checksum_ipv6_is_taken_only_when_asked_for() {
    as_root(|| {
        let [a, b] = hosts();
        for ([from, dest], takes) in [(PAIRS[0], true), (PAIRS[1], false)] {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            let outcomes = sender.send(&payloads(1, 50), Datagram { checksum: false, ..to(dest) });
            assert_eq!(outcomes, [Ok(())]);
            let marker = vec![vec![0x5a; 60]];
            assert_eq!(sender.send(&marker, to(dest)), [Ok(())]);
            let read = receiver.expect(if takes { 2 } else { 1 });
            assert_eq!(read.last().map(|(bytes, _)| bytes), Some(&marker[0]));
        }
    });
}

#[test]
fn what_may_be_fragmented_is() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            let mut sent = payloads(40, 3000);
            sent.push(vec![1; 20]);
            let outcomes = sender.send(&sent, Datagram { dont_fragment: false, ..to(dest) });
            assert_eq!(outcomes, vec![Ok(()); 41]);
            assert!(bytes(receiver.expect(41)) == sent);
            // That was no fault of gluing, which goes on.
            let sent = payloads(30, 1000);
            assert_eq!(sender.send(&sent, Datagram { dont_fragment: false, ..to(dest) }), vec![Ok(()); 30]);
            let read = &receiver.expect(71)[41..];
            assert!(bytes(read) == sent && read.iter().any(|(_, of)| of.stride == 1000));
            assert!(Tapped::new(&b).is_glued(&mut sender, dest), "datagrams are glued no more");
        }
    });
}

impl Tapped {
    /// Whether a run of equal datagrams leaves as one superframe.
    fn is_glued(&mut self, sender: &mut Open, dest: &str) -> bool {
        assert_eq!(sender.send(&payloads(3, 64), to(dest)), [Ok(()); 3]);
        self.expect(1, dest)[0].1
    }
}

#[test]
fn a_peer_that_refuses_costs_no_other_a_datagram() {
    as_root(|| {
        let [a, b] = hosts();
        b.ip("addr add 10.8.0.3/24 dev eth0");
        b.ip("addr add fd08::3/64 dev eth0 nodad");
        for ([from, dead], alive) in PAIRS.into_iter().zip(["10.8.0.3", "fd08::3"]) {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, alive), 1);
            // One by one, in batches, and alternating in one call: an error is told by any later call.
            for _ in 0..20 {
                assert_eq!(sender.send(&payloads(1, 100), to(dead)), [Ok(())]);
                assert_eq!(sender.send(&payloads(1, 100), to(alive)), [Ok(())]);
            }
            let peer = |n: usize| to([dead, alive][n % 2]);
            for _ in 0..10 {
                assert_eq!(sender.send_each(&payloads(100, 100), peer), vec![Ok(()); 100]);
            }
            receiver.expect(20 + 10 * 50);
            let mut troubles = Vec::new();
            wait_until("the refusal is told", || {
                sender.send(&payloads(1, 100), to(dead));
                troubles = sender.troubles();
                !troubles.is_empty()
            });
            let refused = Trouble { to: ip(dead), what: What::Unreachable(libc::ECONNREFUSED) };
            assert_eq!(troubles, [refused]);
        }
    });
}

#[test]
fn no_way_to_a_peer_is_told_and_costs_no_other_a_datagram() {
    as_root(|| {
        let [a, b] = hosts();
        for ([from, dest], nowhere) in PAIRS.into_iter().zip(["192.0.2.1", "2001:db8::1"]) {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            let peer = |n: usize| to(if (10..90).contains(&n) { nowhere } else { dest });
            let outcomes = sender.send_each(&payloads(100, 200), peer);
            let unreachable =
                outcomes.iter().filter(|&&outcome| outcome == Err(DropReason::Unreachable)).count();
            assert_eq!(unreachable, 80);
            assert!(outcomes[..10].iter().chain(&outcomes[90..]).all(|outcome| outcome.is_ok()));
            receiver.expect(20);
            let told = Trouble { to: ip(nowhere), what: What::Unreachable(libc::ENETUNREACH) };
            assert_eq!(sender.troubles(), [told]);
            assert_eq!(sender.troubles(), []);
        }
    });
}

#[test]
fn what_the_own_interface_cannot_carry_is_told_and_the_rest_goes() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            a.ip("link set eth0 mtu 1300");
            let mut sent = payloads(50, 1400);
            sent.push(vec![1; 800]);
            sent.extend(payloads(5, 600));
            let outcomes = sender.send(&sent, to(dest));
            assert_eq!(outcomes[..50], [Err(DropReason::ExceedsMtu); 50]);
            assert_eq!(outcomes[50..], [Ok(()); 6]);
            assert!(bytes(receiver.expect(6)) == sent[50..]);
            assert_eq!(sender.troubles(), [Trouble { to: ip(dest), what: What::PathMtu(1300) }]);
            a.ip("link set eth0 mtu 1500");
            let sent = payloads(40, 1400);
            assert_eq!(sender.send(&sent, to(dest)), vec![Ok(()); 40]);
            assert!(bytes(&receiver.expect(46)[6..]) == sent);
            assert!(Tapped::new(&b).is_glued(&mut sender, dest), "datagrams are glued no more");
        }
    });
}

#[test]
fn a_path_that_shrinks_is_told_by_a_router() {
    as_root(|| {
        let [a, router, b] = ["a", "r", "b"].map(Host::with_ipv6);
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            router.enter(|| fs::write(format!("/proc/sys/net/{key}"), "1")).expect("forwarding");
        }
        a.veth("eth0", "10.8.0.1/24", &router, "ra");
        b.veth("eth0", "10.8.1.1/24", &router, "rb");
        for (device, net) in [("ra", 0), ("rb", 1)] {
            router.ip(&format!("addr add 10.8.{net}.254/24 dev {device}"));
            router.ip(&format!("addr add fd08:{net}::fe/64 dev {device} nodad"));
        }
        for (host, net) in [(&a, 0), (&b, 1)] {
            host.ip(&format!("addr add fd08:{net}::1/64 dev eth0 nodad"));
            host.ip(&format!("route add default via 10.8.{net}.254"));
            host.ip(&format!("route add default via fd08:{net}::fe"));
        }
        for [from, dest] in [["10.8.0.1", "10.8.1.1"], ["fd08:0::1", "fd08:1::1"]] {
            let netns = Netns::new(a.name());
            let path_mtu = || underlay::path_mtus(Some(&netns), ip(from), &[ip(dest)])[0].expect("a way");
            router.ip("link set rb mtu 1500");
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            assert_eq!(sender.send(&payloads(10, 1400), to(dest)), [Ok(()); 10]);
            receiver.expect(10);
            assert_eq!(path_mtu(), 1500);

            router.ip("link set rb mtu 1350");
            let mut troubles = Vec::new();
            wait_until("the router tells the MTU", || {
                sender.send(&payloads(10, 1400), to(dest));
                troubles.extend(sender.troubles());
                !troubles.is_empty()
            });
            assert_eq!(troubles[0], Trouble { to: ip(dest), what: What::PathMtu(1350) });
            assert_eq!(path_mtu(), 1350);
            let near = if from.contains(':') { "fd08:0::fe" } else { "10.8.0.254" };
            let both = underlay::path_mtus(Some(&netns), ip(from), &[ip(near), ip(dest)]);
            assert_eq!(both, [Some(1500), Some(1350)]);
            assert_eq!(sender.send(&payloads(10, 1400), to(dest)), [Err(DropReason::ExceedsMtu); 10]);
            // What fits is not taken for what did not.
            assert_eq!(sender.send(&payloads(10, 1200), to(dest)), [Ok(()); 10]);
            receiver.expect(20);
        }
    });
}

#[test]
fn a_port_that_is_taken_is_refused_in_one_line() {
    as_root(|| {
        let [a, _b] = hosts();
        for (local, any) in [("10.8.0.1", "0.0.0.0"), ("fd08::1", "::")] {
            let options = options(&a, VXLAN, local);
            let refused = |who: &str| {
                let error = Open::try_new(&options, 2).err().unwrap_or_else(|| panic!("not refused: {who}"));
                let text = error.to_string();
                assert!(matches!(error, PortError::PortTaken(_)), "{who}: {text}");
                let name = format!("udp:{}: another program", SocketAddr::new(ip(local), PORT));
                assert!(text.starts_with(&name) && !text.contains('\n'), "{text}");
            };
            let first = Open::new(&options, 2);
            refused("another switch");
            drop(first);
            let program =
                a.enter(|| UdpSocket::bind(SocketAddr::new(ip(any), PORT))).expect("the port is free");
            refused("a program on all addresses");
            drop(program);
            a.ip(&format!("link add vx type vxlan id 1 local {local} dstport {PORT} dev eth0"));
            a.ip("link set vx up");
            refused("the kernel's own tunnel");
            a.ip("link del vx");
            drop(Open::new(&options, 2));
        }
    });
}

#[test]
fn what_cannot_be_opened_is_refused_in_one_line() {
    as_root(|| {
        let [a, _b] = hosts();
        let message = |options: UnderlayOptions| {
            let error = Open::try_new(&options, 1).err().unwrap_or_else(|| panic!("not refused: {options}"));
            error.to_string()
        };
        for (local, name) in [("10.8.0.77", "udp:10.8.0.77:4789"), ("fd08::77", "udp:[fd08::77]:4789")] {
            let text = message(options(&a, VXLAN, local));
            assert!(
                text.starts_with(&format!("{name}: no interface here has the address {local}:")),
                "{text}"
            );
        }
        for group in ["239.1.1.1", "ff05::1234"] {
            let gone = if ip(group).is_ipv4() { "10.8.0.77" } else { "fd08::77" };
            let text = message(UnderlayOptions { interface_of: Some(ip(gone)), ..options(&a, VXLAN, group) });
            assert!(text.contains(&format!("no interface here has the address {gone}:")), "{text}");
        }
        let text =
            message(UnderlayOptions { netns: Some(Netns::new("no-such")), ..options(&a, GRE, "10.8.0.1") });
        assert!(text.starts_with("ip:47:10.8.0.1: no network namespace \"no-such\""), "{text}");
    });
}

/// Set in a child process without any capability.
const CHILD: &str = "TAPYARD_TEST_CHILD";

#[test]
fn without_privilege_udp_works_and_the_error_of_gre_says_how_to_get_it() {
    if env::var_os(CHILD).is_some() {
        return carry_without_privilege();
    }
    as_root(|| {
        let script = "ip link set lo up && exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";
        let name = "without_privilege_udp_works_and_the_error_of_gre_says_how_to_get_it";
        let output = Command::new("timeout")
            .args(["-k", "1", "60", "unshare", "--net", "sh", "-c", script])
            .arg(env::current_exe().expect("this program has a path"))
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("timeout (coreutils) runs");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    });
}

fn carry_without_privilege() {
    let here = |transport, local| {
        let local = ip(local);
        UnderlayOptions {
            transport,
            local,
            netns: None,
            zero_checksum: true,
            interface_of: None,
            wrapping: None,
        }
    };
    let mut sender = Open::new(&here(VXLAN, "127.0.0.1"), 2);
    let mut receiver = Open::new(&here(VXLAN, "127.0.0.2"), 1);
    assert_eq!(sender.send(&payloads(40, 1000), to("127.0.0.2")), vec![Ok(()); 40]);
    receiver.expect(40);
    for refused in [here(GRE, "127.0.0.1"), here(GRE, "::1"), here(Transport::Udp { port: 99 }, "127.0.0.1")]
    {
        let text = Open::try_new(&refused, 1).err().expect("not permitted").to_string();
        let says = format!("{refused}: not permitted: run as root, or give the program the right (setcap ");
        assert!(text.starts_with(&says) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn what_the_socket_has_no_room_for_is_counted() {
    as_root(|| {
        let [a, b] = hosts();
        let [from, dest] = PAIRS[0];
        let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
        let socket = a.enter(|| UdpSocket::bind(SocketAddr::new(ip(from), 0))).expect("a socket");
        let send = |len| socket.send_to(&vec![7; len], SocketAddr::new(ip(dest), PORT)).expect("sent");
        let sent = 1000u64;
        (0..sent).for_each(|_| _ = send(50_000));
        receiver.read();
        // The next one that there is room for tells.
        send(10);
        wait_until("the last one", || {
            receiver.read();
            receiver.read[0].last().is_some_and(|(bytes, _)| bytes.len() == 10)
        });
        let (got, missed) =
            (receiver.read[0].len() as u64, receiver.counters.dropped(DropReason::ReceiveOverflow));
        assert!(got > 10 && missed > 10, "{got} came, {missed} did not");
        assert_eq!(got + missed, sent + 1);
        assert_eq!(receiver.counters.rx_frames, missed, "those that came are for the switch to count");
    });
}

/// A UDP packet in a frame, of flow `number`, or the answer to it.
fn inner(number: u16, v6: bool, answer: bool) -> Vec<u8> {
    let (mut from, mut to) = ((2, 1000 + number), (3, 53));
    if answer {
        (from, to) = (to, from);
    }
    let frame = PacketBuilder::ethernet2([2, 0, 0, 0, 0, from.0], [2, 0, 0, 0, 0, to.0]);
    let packet = match v6 {
        true => frame.ipv6([from.0; 16], [to.0; 16], 64),
        false => frame.ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 64),
    };
    let mut bytes = Vec::new();
    packet.udp(from.1, to.1).write(&mut bytes, &[0; 20]).expect("a vector takes anything");
    bytes
}

/// Whatever the outer source port is, as of a peer that chooses it by another hash.
#[test]
fn a_flow_and_its_answers_are_one_workers_whatever_is_around_them() {
    as_root(|| {
        let options_of_geneve = geneve::encode(&[geneve::Opt { class: 1, kind: 2, data: vec![0; 8] }]);
        let geneve =
            Geneve { vni: 7, options: options_of_geneve.expect("good options"), layer: Layer::Ethernet };
        let gre = |key, checksum| Gre { key, checksum, sequence: None, layer: Layer::Ethernet };
        let tunnels: [(Wrapping, Box<dyn Tunnel>); 5] = [
            (Wrapping::Vxlan, Box::new(Vxlan { vni: 7, strict: false })),
            (Wrapping::Geneve, Box::new(geneve)),
            (Wrapping::Gre, Box::new(gre(None, false))),
            (Wrapping::Gre, Box::new(gre(Some(7), false))),
            (Wrapping::Gre, Box::new(gre(Some(7), true))),
        ];
        let [a, b] = hosts();
        let [from, dest] = PAIRS[0];
        for (wrapping, tunnel) in tunnels {
            for v6 in [false, true] {
                let options = UnderlayOptions { wrapping: Some(wrapping), ..options(&b, VXLAN, dest) };
                let mut receiver = Open::new(&options, 2);
                let flows = 16;
                for number in 0..flows {
                    for answer in [false, true, false, true] {
                        let mut frame = Frame::from_bytes(&inner(number, v6, answer));
                        tunnel.encap(&mut frame, Payload::Frame(Layer::Ethernet));
                        let socket =
                            a.enter(|| UdpSocket::bind(SocketAddr::new(ip(from), 0))).expect("a socket");
                        socket.send_to(frame.bytes(), SocketAddr::new(ip(dest), PORT)).expect("sent");
                    }
                }
                receiver.expect(4 * usize::from(flows));
                let counts: Vec<_> = receiver.read.iter().map(|read| read.len()).collect();
                assert!(counts.iter().all(|&count| count > 0 && count % 4 == 0), "{tunnel:?}: {counts:?}");
                for number in 0..flows {
                    let port = (1000 + number).to_be_bytes();
                    let of_flow =
                        |(bytes, _): &&(Vec<u8>, Received)| bytes.windows(2).any(|pair| *pair == port);
                    let of = |read: &Vec<(Vec<u8>, Received)>| read.iter().filter(of_flow).count();
                    assert!(
                        receiver.read.iter().map(of).any(|count| count == 4),
                        "{tunnel:?}: flow {number}"
                    );
                }
            }
        }
    });
}

/// Nothing inside says whose it is.
#[test]
fn what_carries_no_ethernet_is_parted_by_its_outside() {
    as_root(|| {
        let [a, b] = hosts();
        let [from, dest] = PAIRS[0];
        let options = UnderlayOptions { wrapping: Some(Wrapping::Gre), ..options(&b, VXLAN, dest) };
        let mut receiver = Open::new(&options, 2);
        for number in 0..64 {
            let socket = a.enter(|| UdpSocket::bind(SocketAddr::new(ip(from), 0))).expect("a socket");
            for _ in 0..3 {
                socket.send_to(&[0, 0, 8, 0, 0x45, number], SocketAddr::new(ip(dest), PORT)).expect("sent");
            }
        }
        receiver.expect(3 * 64);
        let counts: Vec<_> = receiver.read.iter().map(|read| read.len()).collect();
        assert!(counts.iter().all(|&count| count > 0 && count % 3 == 0), "{counts:?}");
    });
}

#[test]
fn two_workers_share_the_flows() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 2);
            assert!(receiver.queues.iter().all(|queue| queue.fd().is_some()));
            let flows = 64u8;
            for number in 0..flows {
                let socket = a.enter(|| UdpSocket::bind(SocketAddr::new(ip(from), 0))).expect("a socket");
                for _ in 0..3 {
                    socket.send_to(&[number; 50], SocketAddr::new(ip(dest), PORT)).expect("sent");
                }
            }
            receiver.expect(3 * usize::from(flows));
            let queues = receiver.read.iter().map(|read| read.len()).collect::<Vec<_>>();
            assert!(queues.iter().all(|&count| count > 0 && count % 3 == 0), "{queues:?}");
            for flow in 0..flows {
                let of = |read: &Vec<(Vec<u8>, Received)>| read.iter().filter(|(b, _)| b[0] == flow).count();
                assert!(receiver.read.iter().map(of).all(|count| count == 0 || count == 3), "flow {flow}");
            }
            // Each worker sends by sockets of its own.
            let mut sender = Open::new(&options(&a, VXLAN, from), 2);
            sender.queues.swap(0, 1);
            assert_eq!(sender.send(&payloads(1, 9), to(dest)), [Ok(())]);
            receiver.expect(3 * usize::from(flows) + 1);
        }
    });
}

#[test]
fn a_group_is_heard_on_its_interface_only() {
    as_root(|| {
        let [a, b] = hosts();
        a.veth("eth1", "", &b, "eth1");
        for (host, end) in [(&a, 1), (&b, 2)] {
            host.ip(&format!("addr add 10.9.0.{end}/24 dev eth1"));
            host.ip(&format!("addr add fd09::{end}/64 dev eth1 nodad"));
        }
        let others = [["10.9.0.1", "10.9.0.2"], ["fd09::1", "fd09::2"]];
        for (([from, dest], [other, elsewhere]), group) in
            PAIRS.into_iter().zip(others).zip(["239.1.1.1", "ff05::4789"])
        {
            let joined = UnderlayOptions { interface_of: Some(ip(dest)), ..options(&b, VXLAN, group) };
            let mut heard = Open::new(&joined, 2);
            let fds: Vec<_> = heard.queues.iter().map(|queue| queue.fd().is_some()).collect();
            assert_eq!(fds, [true, false]);
            // The same host's own underlay does not hear the group, which is another's to read.
            let mut own = Open::new(&options(&b, VXLAN, dest), 1);
            let mut sender = Open::new(&options(&a, VXLAN, from), 1);
            let mut stranger = Open::new(&options(&a, VXLAN, other), 1);
            // Another program has joined on the other interface; that is no cause to hear it here.
            let program = b.enter(|| UdpSocket::bind(SocketAddr::new(ip(dest), 0))).expect("a socket");
            match (ip(group), ip(elsewhere)) {
                (IpAddr::V4(group), IpAddr::V4(on)) => program.join_multicast_v4(&group, &on),
                (IpAddr::V6(group), on) => {
                    let index = b.enter(|| Links::open().and_then(|mut links| links.with_address(on)));
                    program.join_multicast_v6(&group, index.expect("told").expect("an interface"))
                }
                pair => panic!("{pair:?} are of two families"),
            }
            .expect("joined");
            assert_eq!(stranger.send(&payloads(1, 77), to(group)), [Ok(())]);
            let sent = payloads(20, 1000);
            assert_eq!(sender.send(&sent, Datagram { ttl: 9, ..to(group) }), [Ok(()); 20]);
            let read = heard.expect(20);
            assert!(bytes(read) == sent && read.iter().all(|(_, of)| of.source == ip(from)));
            assert_eq!(sender.send(&payloads(1, 55), to(dest)), [Ok(())]);
            own.expect(1);
            assert_eq!(heard.send(&payloads(2, 50), to(from)), [Err(DropReason::Refused); 2]);
            // Nobody hears himself.
            let joined = UnderlayOptions { interface_of: Some(ip(from)), ..options(&a, VXLAN, group) };
            let mut echo = Open::new(&joined, 1);
            assert_eq!(sender.send(&payloads(1, 44), to(group)), [Ok(())]);
            heard.expect(21);
            echo.expect(0);
        }
    });
}

#[test]
fn gre_goes_over_ip_itself() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut sender = Open::new(&options(&a, GRE, from), 2);
            let mut receiver = Open::new(&options(&b, GRE, dest), 2);
            for open in [&sender, &receiver] {
                let fds: Vec<_> = open.queues.iter().map(|queue| queue.fd().is_some()).collect();
                assert_eq!(fds, [true, false]);
            }
            let mut wire = Tapped::new(&b);
            let sent = payloads(100, 1000);
            let asked = Datagram { port: 0, tos: 0x2d, ttl: 5, ..to(dest) };
            assert_eq!(sender.send(&sent, asked), vec![Ok(()); 100]);
            let read = receiver.expect(100);
            assert!(bytes(read) == sent);
            assert!(read.iter().all(|(_, of)| *of == Received { source: ip(from), stride: 1000, tos: 0x2d }));
            let packet = wire.expect(100, dest).remove(0).0;
            let (tos, ttl, dont_fragment, payload) = outer(&packet);
            assert_eq!((tos, ttl, dont_fragment), (0x2d, 5, true));
            assert_eq!((packet[if payload == 20 { 9 } else { 6 }], &packet[payload..]), (47, &sent[0][..]));
            // The other worker sends, too; and packets that may be fragmented, or have no checksum to leave out.
            sender.queues.swap(0, 1);
            let kinds = [(true, true), (false, true), (true, false), (false, false)];
            for (dont_fragment, checksum) in kinds {
                let like = Datagram { port: 0, dont_fragment, checksum, ..to(dest) };
                assert_eq!(sender.send(&payloads(1, 1400), like), [Ok(())]);
                let long = if dont_fragment { Err(DropReason::ExceedsMtu) } else { Ok(()) };
                assert_eq!(sender.send(&payloads(1, 4000), like), [long]);
            }
            receiver.expect(100 + 4 + 2);
        }
    });
}

#[test]
fn a_refusal_does_not_stand_before_what_comes_in() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut here = Open::new(&options(&a, GRE, from), 1);
            let gre = Datagram { port: 0, ..to(dest) };
            // Nobody takes GRE there yet, and the sockets of both directions are told.
            let mut troubles = Vec::new();
            wait_until("the refusal is told", || {
                assert_eq!(here.send(&payloads(1, 50), gre), [Ok(())]);
                here.read();
                troubles.extend(here.troubles());
                !troubles.is_empty()
            });
            assert_eq!(troubles[0].to, ip(dest));
            assert!(matches!(troubles[0].what, What::Unreachable(_)), "{troubles:?}");
            let mut there = Open::new(&options(&b, GRE, dest), 1);
            assert_eq!(there.send(&payloads(40, 60), Datagram { port: 0, ..to(from) }), [Ok(()); 40]);
            here.expect(40);
        }
    });
}

#[test]
fn an_empty_datagram_is_counted_and_the_next_is_read() {
    as_root(|| {
        let [a, b] = hosts();
        for [from, dest] in PAIRS {
            let mut receiver = Open::new(&options(&b, VXLAN, dest), 1);
            let socket = a.enter(|| UdpSocket::bind(SocketAddr::new(ip(from), 0))).expect("a socket");
            for payload in [&b""[..], b"x"] {
                socket.send_to(payload, SocketAddr::new(ip(dest), PORT)).expect("sent");
            }
            assert_eq!(receiver.expect(1)[0].0, b"x");
            assert_eq!(receiver.counters.dropped(DropReason::Runt), 1);
            assert_eq!((receiver.counters.rx_frames, receiver.counters.rx_bytes), (1, 0));
        }
    });
}
