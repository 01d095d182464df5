//! The way to a collector: a UDP socket that is opened when it can be, and never waited for.
//!
//! A collector that is gone costs its datagrams and one line in the log; so does coming back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Figures;
use crate::control::config::ExportConfig;
use crate::sys::netns::Netns;

/// How long after it could not be opened the socket is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long no error must have come for the collector to be reached again: nobody answers each datagram with one.
const CALM: Duration = Duration::from_secs(10);

/// The way to a collector.
pub(super) struct Line {
    name: String,
    collector: SocketAddr,
    source: Option<IpAddr>,
    netns: Option<Netns>,
    socket: Option<UdpSocket>,
    /// When it was last tried to open the socket, in vain.
    tried: Option<Instant>,
    /// When the collector could last not be reached, since that was told.
    lost: Option<Instant>,
    figures: Arc<Figures>,
}

impl Line {
    /// The way that `config` says. Nothing is opened yet.
    pub(super) fn new(name: &str, config: &ExportConfig, figures: Arc<Figures>) -> Line {
        Line {
            name: name.to_owned(),
            collector: config.collector,
            source: config.source,
            netns: config.netns.clone().map(Netns::new),
            socket: None,
            tried: None,
            lost: None,
            figures,
        }
    }

    /// Opens the socket if it is not open. Gives the address it sends from, when it was opened just now.
    pub(super) fn open(&mut self) -> Option<IpAddr> {
        if self.socket.is_some() || self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return None;
        }
        let make = || socket(self.collector, self.source);
        let made = self.netns.as_ref().map_or_else(make, |netns| netns.run(make)?);
        match made.and_then(|socket| Ok((socket.local_addr()?.ip(), socket))) {
            Ok((address, socket)) => {
                self.socket = Some(socket);
                self.tried = None;
                Some(address)
            }
            Err(error) => {
                self.tried = Some(Instant::now());
                self.note_lost(&error);
                None
            }
        }
    }

    /// Sends a datagram, or counts that it could not be sent.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        let sent = match &self.socket {
            // A refusal is the answer to an earlier datagram, and this one is not sent for it: so it is tried again.
            Some(socket) => match socket.send(datagram) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = socket.send(datagram);
                    Err(error)
                }
                sent => sent,
            },
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(_) => {
                self.figures.datagrams.fetch_add(1, Ordering::Relaxed);
                self.figures.bytes.fetch_add(datagram.len() as u64, Ordering::Relaxed);
                if self.lost.is_some_and(|lost| lost.elapsed() >= CALM) {
                    self.lost = None;
                    self.figures.lost.store(false, Ordering::Relaxed);
                    tracing::info!(export = self.name, "{} is reached again", self.collector);
                }
            }
            Err(error) => {
                self.figures.errors.fetch_add(1, Ordering::Relaxed);
                // With its address, or its namespace, the socket may have become useless.
                if !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock) {
                    self.socket = None;
                    self.tried.get_or_insert_with(Instant::now);
                }
                self.note_lost(&error);
            }
        }
    }

    fn note_lost(&mut self, error: &io::Error) {
        self.figures.lost.store(true, Ordering::Relaxed);
        if self.lost.replace(Instant::now()).is_none() {
            let (name, collector) = (&self.name, self.collector);
            tracing::warn!(
                export = name,
                "{collector} cannot be reached: {error} (samples are lost until it can)"
            );
        }
    }
}

/// A socket for datagrams to `collector`, which never blocks.
fn socket(collector: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(collector), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&collector.into())?;
    Ok(socket.into())
}
