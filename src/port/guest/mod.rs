//! Ports that guests attach to by a socket in the file system: who comes and goes, apart from the frames.
//!
//! Each such port has an [`Attendant`], a thread that listens at the socket, or connects to it again and again, and that
//! serves one peer after the other. What it learns of a peer it writes into the port's [`Guest`], where control reads it;
//! frames never pass through it.

mod attendant;
mod door;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use attendant::Attendant;
pub use door::{Door, DoorOptions, Listener, Obstacle, Place, claim};

use crate::packet::Capabilities;

/// Called when somebody has attached to a port or has left it.
pub type News = Arc<dyn Fn() + Send + Sync>;

/// A port that guests attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestOptions {
    /// The port's name, which its thread has too.
    pub name: String,
    /// Where guests are met.
    pub door: DoorOptions,
    /// Bytes that a frame to a guest may have behind its Ethernet header.
    pub mtu: u32,
}

/// What is known of the guest at a port.
pub struct Guest {
    /// Bytes that a frame to it may have behind its Ethernet header.
    pub mtu: u32,
    attached: Mutex<Option<Attached>>,
    news: News,
    /// The port's name.
    port: String,
}

/// A guest that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// What can be sent to it without our doing it.
    pub capabilities: Capabilities,
    /// Pairs of queues that it uses.
    pub queues: usize,
}

impl Guest {
    /// The port `port` that nobody has attached to yet; `news` is called when that changes.
    pub fn new(port: impl Into<String>, mtu: u32, news: News) -> Guest {
        Guest { mtu, attached: Mutex::new(None), news, port: port.into() }
    }

    /// Logs what is wrong with the guest.
    pub fn complain(&self, what: impl fmt::Display) {
        tracing::warn!(port = self.port, "{what}");
    }

    /// Who is there now.
    pub fn attached(&self) -> Option<Attached> {
        *self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who is there from now on.
    pub fn set(&self, attached: Option<Attached>) {
        let before =
            std::mem::replace(&mut *self.attached.lock().unwrap_or_else(PoisonError::into_inner), attached);
        if before != attached {
            (self.news)();
        }
    }
}
