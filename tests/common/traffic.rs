//! What kernels' stacks send: pings, TCP with known content, a paced stream that notices any loss.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::end::End;
use super::{Host, PATIENCE, wait_for};

/// Pings `address` from `host`, `count` times with `size` bytes of payload; every one must be answered.
pub(crate) fn ping(host: &impl End, address: &str, size: usize, count: u32) {
    let (sent, got) = pings(host, address, size, count, 5);
    assert_eq!(
        (sent, got),
        (count, count),
        "pings with {size} bytes from {host} to {address}: sent, answered"
    );
}

/// Pings, and asserts that none is answered.
pub(crate) fn ping_in_vain(host: &impl End, address: &str, count: u32) {
    let (sent, got) = pings(host, address, 56, count, 1);
    assert_eq!((sent, got), (count, 0), "pings from {host} to {address}: sent, answered");
}

/// Sends pings and waits `patience` seconds for the answers; gives how many were sent and answered.
fn pings(host: &impl End, address: &str, size: usize, count: u32, patience: u32) -> (u32, u32) {
    let (size, count, patience) = (size.to_string(), count.to_string(), patience.to_string());
    let args = ["-n", "-q", "-i", "0.05", "-W", &patience, "-c", &count, "-s", &size, address];
    let output = host.run(30, "ping", &args);
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let summary = summary.unwrap_or_else(|| panic!("ping from {host}: {output:?}"));
    let mut numbers = summary.split(' ').filter_map(|word| word.parse().ok());
    let mut next = || numbers.next().expect("a summary has both numbers");
    (next(), next())
}

/// Waits until `address` answers a ping from `host`.
pub(crate) fn wait_for_ping(host: &impl End, address: &str) {
    wait_for(&format!("{address} to answer {host}"), || {
        let output = host.run(5, "ping", &["-n", "-q", "-c", "1", "-W", "1", address]);
        output.status.success().then_some(())
    });
}

/// Sends `bytes` bytes of known content over one TCP connection from `from` to `to`, which has `address`, and asserts
/// that they arrived, all and unchanged.
pub(crate) fn tcp(from: &impl End, to: &impl End, address: &str, bytes: usize) {
    let listening = to.listen(address.parse().unwrap_or_else(|error| panic!("{address}: {error}")));
    let at = listening.at;
    let sent = from.send(at, bytes);
    let received = (listening.receiver)();
    assert_eq!((sent, received), (Ok(()), Ok(())), "TCP from {from} to {at} in {to}: sent, received");
}

/// A TCP connection that stays open, and is used now and then.
pub(crate) struct Talk {
    client: TcpStream,
    server: TcpStream,
}

impl Talk {
    /// Opens one from `from` to `to`, which has `address`.
    pub(crate) fn open(from: &Host, to: &Host, address: &str) -> Talk {
        let listener = to.enter(|| TcpListener::bind((address, 0)));
        let listener = listener.unwrap_or_else(|e| panic!("listening at {address}: {e}"));
        let at = listener.local_addr().expect("it is bound");
        let client = from.enter(|| TcpStream::connect_timeout(&at, PATIENCE));
        let client = client.unwrap_or_else(|e| panic!("TCP from {from} to {at}: {e}"));
        let (server, _) = listener.accept().expect("the client is connected");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a socket can be");
        }
        Talk { client, server }
    }

    /// Says something each way, which must arrive.
    pub(crate) fn exchange(&mut self) {
        let word: Vec<u8> = (0..=255).cycle().take(3000).collect();
        for (from, to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            let (mut from, mut to) = (from, to);
            from.write_all(&word).unwrap_or_else(|e| panic!("the connection broke: {e}"));
            let mut heard = vec![0; word.len()];
            to.read_exact(&mut heard).unwrap_or_else(|e| panic!("the connection broke: {e}"));
            assert_eq!(heard, word);
        }
    }

    /// The client's end.
    pub(crate) fn client(&self) -> &TcpStream {
        &self.client
    }

    /// The address that the server sees.
    pub(crate) fn seen(&self) -> SocketAddr {
        self.server.peer_addr().expect("it is connected")
    }
}

/// A datagram every millisecond, numbered: what is lost, doubled or overtaken while it runs is seen at its end.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<u64>>,
}

impl Stream {
    /// Starts one from `from` to `to`, which has `address`, and waits until it flows.
    pub(crate) fn start(from: &Host, to: &Host, address: &str) -> Stream {
        let receiving =
            to.enter(|| UdpSocket::bind((address, 0))).unwrap_or_else(|e| panic!("UDP at {address}: {e}"));
        let target = receiving.local_addr().expect("it is bound");
        let sending = from.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("any port");
        sending.connect(target).expect("it is on its link");
        receiving.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket can be");

        let stop = Arc::new(AtomicBool::new(false));
        let flowing = Arc::new(AtomicBool::new(false));
        let (stopping, flows) = (stop.clone(), flowing.clone());
        let receiver = thread::spawn(move || {
            let (mut numbers, mut word, mut last) = (Vec::new(), [0; 8], Instant::now());
            // After the sender's end, what is still on its way arrives within this.
            while !stopping.load(Ordering::Relaxed) || last.elapsed() < Duration::from_millis(500) {
                if receiving.recv(&mut word).is_ok() {
                    numbers.push(u64::from_be_bytes(word));
                    flows.store(true, Ordering::Relaxed);
                    last = Instant::now();
                }
            }
            numbers
        });
        let stopping = stop.clone();
        let sender = thread::spawn(move || {
            let mut next = 0_u64;
            while !stopping.load(Ordering::Relaxed) {
                sending.send(&next.to_be_bytes()).unwrap_or_else(|error| panic!("datagram {next}: {error}"));
                next += 1;
                thread::sleep(Duration::from_millis(1));
            }
            next
        });
        wait_for("a datagram to arrive", || flowing.load(Ordering::Relaxed).then_some(()));
        Stream { stop, sender, receiver }
    }

    /// Ends it; gives how many were sent, and the numbers that arrived, in their order.
    pub(crate) fn end(self) -> (u64, Vec<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("every datagram could be sent");
        (sent, self.receiver.join().expect("the receiver has nothing to fail at"))
    }

    /// Ends it and asserts that every datagram arrived, once and in order.
    pub(crate) fn assert_lossless(self) {
        let (sent, numbers) = self.end();
        let missing: Vec<_> = (0..sent).filter(|n| !numbers.contains(n)).collect();
        assert!(missing.is_empty(), "of {sent} datagrams {} were lost: {missing:?}", missing.len());
        assert!(numbers.iter().copied().eq(0..sent), "datagrams were doubled or overtaken: {numbers:?}");
    }
}
