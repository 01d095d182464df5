//! What traffic has at its ends: a namespace's stack, or a guest's.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Output;
use std::thread;

use super::Host;
use super::guest::agent::content;

/// Somebody with a network stack, who runs programs and speaks TCP.
pub(crate) trait End: fmt::Display {
    /// Runs a program to its end, at most `seconds` long.
    fn run(&self, seconds: u32, program: &str, args: &[&str]) -> Output;

    /// Waits for one TCP connection at a port of `address`.
    fn listen(&self, address: IpAddr) -> Listening<'_>;

    /// Sends known content to who listens there; an error says what was wrong.
    fn send(&self, to: SocketAddr, bytes: usize) -> Result<(), String>;
}

/// One who waits for a TCP connection.
pub(crate) struct Listening<'a> {
    pub(crate) at: SocketAddr,
    /// Waits until all has arrived; an error says what was wrong.
    pub(crate) receiver: Box<dyn FnOnce() -> Result<(), String> + 'a>,
}

impl End for Host {
    fn run(&self, seconds: u32, program: &str, args: &[&str]) -> Output {
        Host::run(self, seconds, program, args)
    }

    fn listen(&self, address: IpAddr) -> Listening<'_> {
        let listener = self.enter(|| TcpListener::bind((address, 0)));
        let listener = listener.unwrap_or_else(|error| panic!("listening at {address} in {self}: {error}"));
        let at = listener.local_addr().expect("it is bound");
        let receiver = thread::spawn(move || content::receive(&listener));
        Listening { at, receiver: Box::new(|| receiver.join().expect("it does not panic")) }
    }

    fn send(&self, to: SocketAddr, bytes: usize) -> Result<(), String> {
        self.enter(|| content::send(to, bytes))
    }
}
