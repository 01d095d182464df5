//! What TCP carries in these tests: bytes that both ends can make, so that the receiver knows them all. Used by hosts, and
//! by the program inside guests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long one end waits for the other: a guest without hardware virtualisation is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` bytes over a connection of its own; an error says what was wrong, also when the other end counted another
/// number.
pub(crate) fn send(to: SocketAddr, bytes: usize) -> Result<(), String> {
    let counted = try_send(to, bytes).map_err(|error| format!("TCP to {to}: {error}"))?;
    if counted == bytes as u64 { Ok(()) } else { Err(format!("{to} received {counted} of {bytes} bytes")) }
}

fn try_send(to: SocketAddr, bytes: usize) -> std::io::Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            // A program that was started in a guest listens soon.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            other => break other?,
        }
    };
    stream.set_write_timeout(Some(PATIENCE)).and(stream.set_read_timeout(Some(PATIENCE)))?;
    let mut content = Content::new();
    while content.position < bytes {
        let n = (bytes - content.position).min(1 << 16);
        stream.write_all(content.next(n))?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

/// Takes one connection, compares all that arrives with what is to arrive, and tells the sender how much it was.
pub(crate) fn receive(listener: &TcpListener) -> Result<(), String> {
    let mut stream = accept(listener)?;
    let (mut content, mut got, mut buffer) = (Content::new(), 0, vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer).map_err(|error| format!("TCP stalled after {got} bytes: {error}"))? {
            0 => break,
            n if *content.next(n) != buffer[..n] => {
                return Err(format!("TCP content changed within bytes {got}..{}", got + n));
            }
            n => got += n,
        }
    }
    stream.write_all(&(got as u64).to_be_bytes()).map_err(|error| format!("the sender is gone: {error}"))
}

fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    let failed = |error| format!("accepting a TCP connection: {error}");
    listener.set_nonblocking(true).map_err(failed)?;
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
            Err(_) if Instant::now() > deadline => {
                return Err("waited in vain for a TCP connection".to_owned());
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// A byte stream that both ends can make: no two stretches of it are alike.
struct Content {
    position: usize,
    buffer: Vec<u8>,
}

impl Content {
    fn new() -> Content {
        Content { position: 0, buffer: Vec::new() }
    }

    /// The next `n` bytes.
    fn next(&mut self, n: usize) -> &[u8] {
        let words = self.position / 8..(self.position + n).div_ceil(8);
        let skip = self.position % 8;
        self.buffer.clear();
        // A multiplication by an odd constant is a permutation: every eight bytes differ from all others.
        self.buffer.extend(words.flat_map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()));
        self.position += n;
        &self.buffer[skip..skip + n]
    }
}
