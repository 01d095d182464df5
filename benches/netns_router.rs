//! A router beside a bridge and beside the kernel, with real devices: what `scripts/bench-router` prints.
//!
//! In each round every system is set up, measured and taken down in turn, so that a machine whose speed drifts treats all
//! alike. A round is one TCP connection for some seconds, and 60-byte datagrams of 64 flows as fast as they can be sent
//! for as long; what the other host's device has received counts. The table has medians, and ratios to what a system
//! is held against: TCP to the bridge, datagrams to the kernel that does the same.
//!
//! Needs root and nft. Namespaces have names of their own, and are removed at the end.

#[path = "../tests/common/mod.rs"]
mod common;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::routed::{self, GATEWAY, HOST, Routed, v4};
use common::traffic::wait_for_ping;
use common::{Host, PacketSocket, Yard, tap};
use etherparse::PacketBuilder;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// Two TAPs on one bridge.
    Bridged,
    /// Two TAPs on two bridges with a router between them.
    Routed,
    /// The same, with masquerade.
    Masqueraded,
    /// The kernel's router between two veths.
    KernelRouted,
    /// The same, with nft's masquerade.
    KernelMasqueraded,
}

use System::{Bridged, KernelMasqueraded, KernelRouted, Masqueraded};

const SYSTEMS: [System; 5] = [Bridged, System::Routed, Masqueraded, KernelRouted, KernelMasqueraded];

impl System {
    fn name(self) -> &'static str {
        match self {
            Bridged => "bridged",
            System::Routed => "routed",
            Masqueraded => "masqueraded",
            KernelRouted => "kernel, routed",
            KernelMasqueraded => "kernel, masqueraded",
        }
    }

    /// What its datagrams are held against.
    fn rival(self) -> System {
        match self {
            Bridged | System::Routed | KernelRouted => KernelRouted,
            Masqueraded | KernelMasqueraded => KernelMasqueraded,
        }
    }
}

/// A system that is set up.
enum Site {
    Bridged { _yard: Yard, hosts: [Host; 2] },
    Routed(Routed),
    Kernel { _router: Host, hosts: [Host; 2] },
}

impl Site {
    fn start(system: System) -> Site {
        match system {
            Bridged => {
                let hosts = ["a", "b"].map(Host::new);
                let ports = [("a", &hosts[0]), ("b", &hosts[1])]
                    .map(|(name, host)| tap(name, host, "device = \"eth\""));
                let yard = Yard::start(&format!("[bridge.lan]\n{}", ports.concat()));
                for (n, host) in (1..).zip(&hosts) {
                    host.ip(&format!("addr add {} dev eth", address(Bridged, n) + "/24"));
                }
                Site::Bridged { _yard: yard, hosts }
            }
            System::Routed => Site::Routed(Routed::start(2, "")),
            Masqueraded => {
                Site::Routed(Routed::start(2, "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n"))
            }
            KernelRouted => Site::kernel(false),
            KernelMasqueraded => Site::kernel(true),
        }
    }

    fn kernel(masquerade: bool) -> Site {
        let (router, hosts) = (Host::new("router"), ["a", "b"].map(Host::new));
        routed::forward(&router);
        for (n, host) in (1..).zip(&hosts) {
            host.veth("eth", &format!("{}/24", v4(n, HOST)), &router, &format!("net{n}"));
            router.ip(&format!("addr add {}/24 dev net{n}", v4(n, GATEWAY)));
            host.ip(&format!("route add default via {}", v4(n, GATEWAY)));
        }
        if masquerade {
            nft(
                &router,
                "table ip nat {\nchain out {\ntype nat hook postrouting priority 100\noif \"net2\" masquerade\n}\n}\n",
            );
        }
        Site::Kernel { _router: router, hosts }
    }

    /// The host number `n`, from 1.
    fn host(&self, n: usize) -> &Host {
        match self {
            Site::Bridged { hosts, .. } | Site::Kernel { hosts, .. } => &hosts[n - 1],
            Site::Routed(routed) => routed.host(n),
        }
    }
}

/// The address of host `n`.
fn address(system: System, n: usize) -> String {
    match system {
        Bridged => v4(1, HOST + n as u8 - 1),
        _ => v4(n, HOST),
    }
}

/// Loads rules into the kernel's filter.
fn nft(host: &Host, rules: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    let mut child = host.enter(|| command.spawn()).expect("nft is installed (Debian's package is nftables)");
    child.stdin.take().expect("it is piped").write_all(rules.as_bytes()).expect("nft reads");
    assert!(child.wait().expect("it was started").success(), "nft refuses: {rules}");
}

/// One TCP connection from host 1 to host 2: Gbit/s.
fn tcp(system: System, site: &Site, duration: Duration) -> f64 {
    let target = address(system, 2);
    let listener = site.host(2).enter(|| TcpListener::bind((target.as_str(), 0))).expect("it is up");
    let server = listener.local_addr().expect("it is bound");
    let mut client = site.host(1).enter(|| TcpStream::connect(server)).expect("there is a way");
    let (mut stream, _) = listener.accept().expect("the client is connected");
    let receiver = thread::spawn(move || {
        let (mut buffer, mut got, began) = (vec![0; 128 << 10], 0_u64, Instant::now());
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            got += n as u64;
        }
        got as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e9
    });
    let (content, began) = (vec![0xa5; 128 << 10], Instant::now());
    while began.elapsed() < duration {
        client.write_all(&content).expect("the connection holds");
    }
    drop(client);
    receiver.join().expect("the receiver has nothing to fail at")
}

/// Flows of the datagrams.
const FLOWS: u16 = 64;

/// 60-byte datagrams from host 1 to host 2: millions a second that arrive.
fn datagrams(system: System, site: &Site, duration: Duration) -> f64 {
    let (source, target) = (address(system, 1), address(system, 2));
    // Somebody has the port, and never reads: nothing is answered.
    let sink = site.host(2).enter(|| UdpSocket::bind((target.as_str(), 7000))).expect("it is free");
    let parse = |text: &str| text.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    let (next, own) = (next_hop(site, &target), site.host(1).mac("eth"));
    let frames: Vec<Vec<u8>> = (0..FLOWS)
        .map(|flow| {
            let (mut frame, headers) = (Vec::new(), PacketBuilder::ethernet2(own, next));
            let packet = headers.ipv4(parse(&source), parse(&target), 64).udp(10_000 + flow, 7000);
            packet.write(&mut frame, &[0xa5; 18]).expect("a vector takes all");
            frame
        })
        .collect();
    let socket = site.host(1).enter(|| PacketSocket::open("eth")).expect("the device is there");
    let send = |duration: Duration| {
        let began = Instant::now();
        while began.elapsed() < duration {
            for burst in frames.chunks(16) {
                // What the device does not take is not sent.
                let _ = socket.send_burst(burst);
            }
        }
        began.elapsed().as_secs_f64()
    };
    send(Duration::from_millis(200));
    let before = received(site.host(2));
    let took = send(duration);
    thread::sleep(Duration::from_millis(200));
    let got = received(site.host(2)) - before;
    drop(sink);
    got as f64 / took / 1e6
}

/// The MAC address that host 1 sends to on its way to `target`.
fn next_hop(site: &Site, target: &str) -> [u8; 6] {
    let route = site.host(1).ip(&format!("route get {target}"));
    let via = route.split_whitespace().skip_while(|word| *word != "via").nth(1).unwrap_or(target);
    let neighbor = site.host(1).ip(&format!("neigh show {via}"));
    let mac = neighbor.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    common::frames::mac(mac.unwrap_or_else(|| panic!("{via} was not spoken to: {neighbor}")))
}

/// The packets that the device of a host has received.
fn received(host: &Host) -> u64 {
    let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("procfs is there");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth:")).expect("the device is there");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The number behind `option` on the command line.
fn option(option: &str, otherwise: u64) -> u64 {
    let given = env::args().skip_while(|word| word != option).nth(1);
    given.map_or(otherwise, |word| word.parse().unwrap_or_else(|_| panic!("{option} {word} is no number")))
}

fn main() {
    let rounds = option("-r", 5).clamp(1, 100);
    let duration = Duration::from_secs(option("-s", 3).clamp(1, 60));
    let mut measured = vec![[Vec::new(), Vec::new()]; SYSTEMS.len()];
    for round in 1..=rounds {
        for (system, figures) in SYSTEMS.into_iter().zip(&mut measured) {
            let site = Site::start(system);
            wait_for_ping(site.host(1), &address(system, 2));
            figures[0].push(tcp(system, &site, duration));
            figures[1].push(datagrams(system, &site, duration));
            eprintln!("round {round} of {rounds}: {}", system.name());
        }
    }
    let medians: Vec<_> =
        measured.iter_mut().map(|figures| figures.each_mut().map(|values| median(values))).collect();
    let of = |system: System, case: usize| medians[system as usize][case];
    println!("{:20}{:>14}{:>14}{:>14}{:>14}", "median", "TCP Gbit/s", "to bridged", "60 B Mpps", "to kernel");
    for system in SYSTEMS {
        let (tcp, datagrams) = (of(system, 0), of(system, 1));
        let ratios = [tcp / of(Bridged, 0), datagrams / of(system.rival(), 1)];
        println!("{:20}{tcp:>14.3}{:>13.2}x{datagrams:>14.4}{:>13.2}x", system.name(), ratios[0], ratios[1]);
    }
}
