//! The demo's own traffic, made by the kernel's stacks in the two namespaces: echo requests and a TCP connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::super::isolation::Host;

/// Bytes of payload of an echo request, as ping sends them.
pub(super) const ECHO_BYTES: usize = 56;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of one call: enough that the kernel always has a superframe's worth.
const CALL_BYTES: usize = 256 << 10;

/// A raw ICMP socket on one host (RFC 792), which sends echo requests to the other.
pub(super) struct Pinger {
    socket: Socket,
    id: u16,
}

impl Pinger {
    /// Opens one on `from` that pings `to`.
    pub(super) fn open(from: &Host, to: &Host) -> Result<Pinger, String> {
        let peer = SockAddr::from(SocketAddr::from((to.address, 0)));
        let socket = from.run("open a socket for ICMP", || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.connect(&peer).map(|()| socket)
        })?;
        Ok(Pinger { socket, id: std::process::id() as u16 })
    }

    /// Sends one echo request and waits for its answer: the round-trip time, or `None` when none came in a second.
    pub(super) fn ping(&mut self, sequence: u16) -> Result<Option<Duration>, String> {
        let failed = |error| format!("ping: {error}");
        let (echo, payload) = (IcmpEchoHeader { id: self.id, seq: sequence }, [0xa5; ECHO_BYTES]);
        let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload);
        let request = [&header.to_bytes()[..], &payload].concat();
        let (start, mut packet) = (Instant::now(), [0; 2048]);
        self.socket.send(&request).map_err(failed)?;
        while let Some(left) = PATIENCE.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).map_err(failed)?;
            match self.socket.read(&mut packet) {
                Ok(len) if is_reply(&packet[..len], echo) => return Ok(Some(start.elapsed())),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }
}

/// Whether an IPv4 packet answers this echo request.
fn is_reply(packet: &[u8], echo: IcmpEchoHeader) -> bool {
    let Ok(SlicedPacket { net: Some(NetSlice::Ipv4(_)), transport, .. }) = SlicedPacket::from_ip(packet)
    else {
        return false;
    };
    matches!(transport, Some(TransportSlice::Icmpv4(icmp)) if icmp.icmp_type() == Icmpv4Type::EchoReply(echo))
}

/// A TCP connection from one host to the other.
pub(super) struct Flow {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Flow {
    /// Connects `from` with `to`.
    pub(super) fn open(from: &Host, to: &Host) -> Result<Flow, String> {
        let listener = to.run("listen", || TcpListener::bind((to.address, 0)))?;
        let port = listener.local_addr().map_err(|error| format!("{}: {error}", to.name))?.port();
        let server = SocketAddr::from((to.address, port));
        let sender = from.run("connect by TCP", || TcpStream::connect_timeout(&server, 5 * PATIENCE))?;
        // The kernel has finished the handshake, so the connection waits to be accepted.
        let (receiver, _) =
            listener.accept().map_err(|error| format!("{}: cannot accept: {error}", to.name))?;
        Ok(Flow { sender, receiver })
    }

    /// Sends as fast as it goes while `watch` runs, which can read how many bytes have arrived.
    pub(super) fn run<T>(&self, watch: impl FnOnce(&AtomicU64) -> T) -> T {
        let received = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let bytes = vec![0xa5; CALL_BYTES];
                while moved((&self.sender).write(&bytes)).is_some() {}
            });
            scope.spawn(|| {
                let mut bytes = vec![0; CALL_BYTES];
                while let Some(count) = moved((&self.receiver).read(&mut bytes)) {
                    received.fetch_add(count, Ordering::Relaxed);
                }
            });
            let seen = watch(&received);
            // Wakes both, whatever they wait for. It fails on a connection that has broken, whose ends have ended.
            let _ = self.sender.shutdown(Shutdown::Both);
            let _ = self.receiver.shutdown(Shutdown::Both);
            seen
        })
    }
}

/// The bytes that a call moved; `None` when the connection has ended.
fn moved(result: std::io::Result<usize>) -> Option<u64> {
    match result {
        Ok(0) => None,
        Ok(count) => Some(count as u64),
        Err(error) => (error.kind() == ErrorKind::Interrupted).then_some(0),
    }
}
