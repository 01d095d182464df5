//! What the suites of the ports are made of: namespaces, a wire between two ports, and traffic of real kernel stacks.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tapyard::packet::{Batch, Counters, Gso};
use tapyard::port::link::{Link, Links};
use tapyard::port::netdev::{self, NetdevOptions};
use tapyard::port::tap::TapOptions;
use tapyard::port::{Opened, Port, Queue, Rx};
use tapyard::sys::netns::Netns;

/// Most time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The queue of a port, which no underlay is.
pub(crate) fn frames_of(queue: &mut Queue) -> &mut dyn Port {
    match queue {
        Queue::Port(port) => &mut **port,
        Queue::Underlay(_) => panic!("an underlay is no port"),
    }
}

/// Carries frames between two ports, whatever they are: queue by queue, each pair on a thread of its own.
pub(crate) struct Wire {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Ended>>,
}

/// What a wire saw, both directions together.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) counters: Counters,
    pub(crate) longest: usize,
    pub(crate) superframes: usize,
    pub(crate) gone: bool,
}

impl Wire {
    pub(crate) fn between(a: Opened, b: Opened) -> Wire {
        let stop = Arc::new(AtomicBool::new(false));
        let carry = |(a, b): (Queue, Queue)| {
            let stop = stop.clone();
            thread::spawn(move || Wire::carry([a, b], &stop))
        };
        let threads = a.queues.into_iter().zip(b.queues).map(carry).collect();
        Wire { stop, threads }
    }

    fn carry(mut ports: [Queue; 2], stop: &AtomicBool) -> Ended {
        let (mut ended, mut batch) = (Ended::default(), Batch::default());
        while !stop.load(Ordering::Relaxed) {
            let mut idle = true;
            for from in 0..2 {
                batch.clear();
                ended.gone |= frames_of(&mut ports[from]).rx(&mut batch, &mut ended.counters) == Rx::Gone;
                for frame in batch.frames_mut() {
                    ended.longest = ended.longest.max(frame.len());
                    ended.superframes += usize::from(frame.offload.gso != Gso::None);
                    let mut offload = frame.offload;
                    assert_eq!(offload.check(frame.layer, frame.bytes()), Ok(()), "{frame:?}");
                }
                let all: Vec<u32> = (0..batch.len() as u32).collect();
                idle &= all.is_empty();
                frames_of(&mut ports[1 - from]).tx(&mut batch, &all, &mut ended.counters);
            }
            if idle {
                thread::sleep(Duration::from_micros(50));
            }
        }
        ended
    }

    pub(crate) fn end(self) -> Ended {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ended::default();
        for thread in self.threads {
            let one = thread.join().unwrap();
            all.counters += &one.counters;
            all.longest = all.longest.max(one.longest);
            all.superframes += one.superframes;
            all.gone |= one.gone;
        }
        all
    }
}

/// A network namespace of this test, which goes with it.
pub(crate) struct Space(String);

impl Space {
    pub(crate) fn new() -> Space {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        need_root();
        let name = format!("typ-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let space = Space(name);
        // Nobody but the test is to send anything.
        space.exec(&[
            "sysctl",
            "-qw",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv6.conf.default.router_solicitations=0",
        ]);
        space
    }

    pub(crate) fn netns(&self) -> Netns {
        Netns::new(&self.0)
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns().run(work).unwrap()
    }

    fn exec(&self, command: &[&str]) -> String {
        run(Command::new("ip").args(["netns", "exec", &self.0]).args(command))
    }

    /// Runs `ip` with these words inside.
    pub(crate) fn ip(&self, words: &str) -> String {
        self.exec(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    }

    pub(crate) fn link(&self, name: &str) -> Option<Link> {
        self.inside(|| Links::open().unwrap().find(name).unwrap())
    }

    /// Waits, since a child that another test starts holds our descriptors until it executes its program.
    pub(crate) fn until_no_link(&self, name: &str) {
        wait_for("the device to go", || self.link(name).is_none().then_some(()));
    }

    /// A TAP in here with this address.
    pub(crate) fn tap(&self, address: Ipv4Addr) -> TapOptions {
        TapOptions {
            netns: Some(self.netns()),
            addresses: vec![(address.into(), 24)],
            ..TapOptions::new("tap")
        }
    }

    /// A port in here on the end `device` of a veth whose other end is in `peer`, as `p-device` and with this address.
    pub(crate) fn netdev(&self, device: &str, peer: &Space, address: Ipv4Addr, workers: usize) -> Opened {
        self.exec(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        peer.exec(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        self.ip(&format!("link add {device} type veth peer name p-{device} netns {}", peer.0));
        peer.ip(&format!("address add {address}/24 dev p-{device}"));
        peer.ip(&format!("link set p-{device} up"));
        netdev::open(&NetdevOptions::new(device, Some(self.netns())), workers).unwrap()
    }

    pub(crate) fn open_netdev(&self, device: &str) -> Opened {
        netdev::open(&NetdevOptions::new(device, Some(self.netns())), 1).unwrap()
    }

    pub(crate) fn ping(&self, to: Ipv4Addr, size: usize) -> Output {
        let (to, size) = (to.to_string(), size.to_string());
        let words = [
            "netns", "exec", &self.0, "ping", "-c", "3", "-i", "0.1", "-W", "2", "-w", "10", "-s", &size, &to,
        ];
        Command::new("ip").args(words).output().unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

pub(crate) fn need_root() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).unwrap();
    let [admin, raw, sys] = [12, 13, 21].map(|bit| capabilities >> bit & 1 == 1);
    assert!(admin && raw && sys, "these tests make namespaces and devices: run them as root");
}

fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}: install iproute2 and util-linux"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pings of one packet, of fragments, and of more fragments than a batch has.
pub(crate) fn pings(from: &Space, to: Ipv4Addr) {
    for size in [56, 1600, 8000] {
        let output = from.ping(to, size);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(" 0% packet loss"), "ping -s {size}: {text}");
    }
}

/// Sends `len` bytes over TCP and compares what comes out.
pub(crate) fn transfer(from: &Space, to: &Space, address: Ipv4Addr, len: usize) {
    let content: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let at = SocketAddr::new(IpAddr::V4(address), 5001);
    let listener = to.inside(|| TcpListener::bind(at).unwrap());
    listener.set_nonblocking(true).unwrap();
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = wait_for("a connection", || listener.accept().ok());
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = Vec::with_capacity(len);
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = from.inside(|| TcpStream::connect_timeout(&at, PATIENCE).unwrap());
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&content).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    assert!(received == content, "{} of {len} bytes came, or others than were sent", received.len());
}

pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
