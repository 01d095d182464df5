//! vhost-user: a guest's network card served by us, in the guest's own memory.
//!
//! The port's attendant ([`guest`](super::guest)) speaks the protocol with the front-end, QEMU for one: `conversation`
//! reads the messages, `backend` does what they say, `features` is what can be agreed on. From it come rings, which it
//! puts into the `card`; there the workers find them, and move frames: `receive`, `send`, both called by the
//! `queue` that each worker has. Underneath, [`ring`] is the device's side of virtqueues, and
//! [`guest_memory`](crate::sys::guest_memory) what they lie in.
//!
//! # Who does what
//!
//! All that may take long is the attendant's: it maps and unmaps, and waits for messages. A worker waits for nobody but,
//! for as long as it takes to exchange a pointer, the attendant. When a front-end is told that a ring stands still, or that
//! memory has been taken back, no worker will touch them again: rings are changed under their lock, when no frame lies in
//! the guest's memory.
//!
//! # Trust
//!
//! None of what is in the guest's memory, nor of what the front-end says. Whatever is wrong there ends this connection, is
//! logged with the port's name, and counted ([`BadRing`](crate::packet::DropReason::BadRing)); the front-end may connect
//! anew. Calls go to an event counter of the front-end's, set not to block: one that both changes that back and fills the
//! counter holds a worker up for some [milliseconds](crate::sys::alarm), and is disconnected.
//!
//! # Migration
//!
//! Is not possible: no log of written pages is kept. It is not offered, and messages about it are refused.

mod backend;
mod card;
mod conversation;
mod features;
mod queue;
mod receive;
pub mod ring;
mod send;

use std::sync::Arc;

use super::guest::{Attendant, Door, Guest, GuestOptions, News};
use super::{Opened, PortError};
use card::Card;
use queue::Queue;

/// Opens the door, and waits for a guest, with a queue for each of `workers`. Without `offload`, nothing is left undone on
/// frames from the guest or to it.
///
/// # Errors
/// See [`PortError`].
pub fn open(options: &GuestOptions, offload: bool, workers: usize, news: News) -> Result<Opened, PortError> {
    let failed = |error| PortError::System(options.name.clone(), "wait for a guest", error);
    let door = Door::open(&options.door)?;
    let (card, polls) = Card::new(workers).map_err(failed)?;
    let card = Arc::new(card);
    let guest = Arc::new(Guest::new(&options.name, options.mtu, news));
    let attendant = {
        let (card, guest) = (Arc::clone(&card), Arc::clone(&guest));
        let serve = move |peer| conversation::hold(peer, &card, &guest, features::offered(offload));
        Arc::new(Attendant::start(&options.name, door, serve).map_err(failed)?)
    };
    let queue = |(worker, poll)| {
        let queue = Queue::new(Arc::clone(&card), (worker, workers), poll, Arc::clone(&attendant));
        super::Queue::Port(Box::new(queue))
    };
    Ok(Opened::at_socket(polls.into_iter().enumerate().map(queue).collect(), guest))
}
