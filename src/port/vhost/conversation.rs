//! The messages of a front-end, from its first to its last.
//!
//! Most are read and answered by the crate `vhost`. It ends a conversation over any message it does not know, and over one
//! for which a feature was not agreed on; so each message's header is looked at first, and those are answered here.

use std::array;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{FrontendReq, MAX_MSG_SIZE};
use vhost::vhost_user::{BackendReqHandler, Error};

use super::backend::Backend;
use super::card::Card;
use crate::port::guest::Guest;
use crate::sys::peer::peek;

/// How long a guest that was disconnected for what it did has to wait: it would come back at once, to do it again.
const PAUSE: Duration = Duration::from_millis(200);

/// So many messages are heeded in this time: most change a ring, and every worker looks at the rings then. Sixty-four pairs
/// of queues are set up by about a thousand.
const MESSAGES: u32 = 1024;
const IN: Duration = Duration::from_millis(100);

/// Talks with a front-end until it goes, or is sent away.
pub(super) fn hold(peer: UnixStream, card: &Arc<Card>, guest: &Arc<Guest>, offered: u64) {
    let backend = Arc::new(Mutex::new(Backend::new(Arc::clone(card), Arc::clone(guest), offered)));
    let end = talk(&peer, card, &backend);
    lock(&backend).leave();
    let trouble = card.end().map(|trouble| trouble.to_string());
    if let Some(why) = trouble.or(end.err().and_then(reason)) {
        guest.complain(format_args!("its guest is disconnected: {why}"));
        drop(peer);
        thread::sleep(PAUSE);
    }
}

/// Why a front-end was sent away; `None`: it went.
fn reason(error: Error) -> Option<String> {
    match error {
        Error::Disconnected | Error::SocketBroken(_) => None,
        Error::ReqHandlerError(error) => Some(error.to_string()),
        error => Some(format!("its front-end's message: {error}")),
    }
}

fn talk(peer: &UnixStream, card: &Card, backend: &Arc<Mutex<Backend>>) -> Result<(), Error> {
    card.begin(peer.try_clone().map_err(Error::SocketError)?);
    let mut handler =
        BackendReqHandler::from_stream(peer.try_clone().map_err(Error::SocketError)?, Arc::clone(backend));
    let (mut said, mut since) = (0, Instant::now());
    loop {
        if said == MESSAGES {
            thread::sleep(IN.saturating_sub(since.elapsed()));
            (said, since) = (0, Instant::now());
        }
        said += 1;
        let header = Header::peek(peer)?;
        match header.as_ref().and_then(|header| own_answer(header, backend).map(|own| (header, own))) {
            Some((header, own)) => {
                let body = header.take(peer)?;
                let value = match own {
                    Own::Mtu => lock(backend).set_mtu(&body),
                    Own::Enable => lock(backend).enable_early(&body),
                    Own::Refusal => REFUSED,
                };
                header.answer(peer, value, backend)?;
            }
            None => handler.handle_request()?,
        }
    }
}

/// A message that is answered here.
enum Own {
    /// By taking note of what it says.
    Mtu,
    /// By heeding it, before its feature was agreed on.
    Enable,
    /// By no.
    Refusal,
}

const REFUSED: u64 = 1;

/// How the message is answered here; `None`: it is not.
fn own_answer(header: &Header, backend: &Mutex<Backend>) -> Option<Own> {
    let Ok(request) = FrontendReq::try_from(header.request) else { return Some(Own::Refusal) };
    match request {
        FrontendReq::NET_SET_MTU => Some(Own::Mtu),
        // Front-ends say this of a card that is not set up yet.
        FrontendReq::SET_VRING_ENABLE if lock(backend).rings_start_on() => Some(Own::Enable),
        FrontendReq::SET_LOG_BASE
        | FrontendReq::SET_LOG_FD
        | FrontendReq::SEND_RARP
        | FrontendReq::SET_BACKEND_REQ_FD
        | FrontendReq::IOTLB_MSG
        | FrontendReq::SET_VRING_ENDIAN
        | FrontendReq::SET_CONFIG
        | FrontendReq::CREATE_CRYPTO_SESSION
        | FrontendReq::CLOSE_CRYPTO_SESSION
        | FrontendReq::POSTCOPY_ADVISE
        | FrontendReq::POSTCOPY_LISTEN
        | FrontendReq::POSTCOPY_END
        | FrontendReq::SET_INFLIGHT_FD
        | FrontendReq::VRING_KICK
        | FrontendReq::SET_STATUS => Some(Own::Refusal),
        _ => None,
    }
}

/// The start of a message: three numbers of 32 bits, in the machine's order.
struct Header {
    request: u32,
    flags: u32,
    size: u32,
}

/// The bits of `flags` that say the version, the only one there is, and the version.
const VERSION: (u32, u32) = (0x3, 0x1);
/// Bit of `flags`: an answer.
const REPLY: u32 = 0x4;
/// Bit of `flags`: the sender wants an answer, where none is usual.
const NEED_REPLY: u32 = 0x8;

impl Header {
    const LEN: usize = 12;

    /// Looks at the next message, and waits for it. `None`: only a part of its header is there, or none will come.
    fn peek(peer: &UnixStream) -> Result<Option<Header>, Error> {
        let mut bytes = [0; Header::LEN];
        let seen = peek(peer, &mut bytes).map_err(Error::SocketBroken)?;
        let number = |at: usize| u32::from_ne_bytes(array::from_fn(|i| bytes[at + i]));
        let header = Header { request: number(0), flags: number(4), size: number(8) };
        let sound = seen == Header::LEN && header.flags & (VERSION.0 | REPLY) == VERSION.1;
        Ok(sound.then_some(header))
    }

    /// Takes the message, and gives what it says. Descriptors that came with it are closed.
    fn take(&self, mut peer: &UnixStream) -> Result<Vec<u8>, Error> {
        if self.size as usize > MAX_MSG_SIZE {
            return Err(Error::OversizedMsg);
        }
        let mut message = vec![0; Header::LEN + self.size as usize];
        peer.read_exact(&mut message).map_err(|_| Error::PartialMessage)?;
        Ok(message.split_off(Header::LEN))
    }

    /// Answers with a number, if an answer was asked for.
    fn answer(&self, mut peer: &UnixStream, value: u64, backend: &Mutex<Backend>) -> Result<(), Error> {
        if self.flags & NEED_REPLY == 0 || !lock(backend).answers() {
            return Ok(());
        }
        let header = [self.request, VERSION.1 | REPLY, size_of::<u64>() as u32];
        let mut message: Vec<u8> = header.iter().flat_map(|number| number.to_ne_bytes()).collect();
        message.extend(value.to_ne_bytes());
        peer.write_all(&message).map_err(Error::SocketBroken)
    }
}

fn lock(backend: &Mutex<Backend>) -> MutexGuard<'_, Backend> {
    backend.lock().unwrap_or_else(PoisonError::into_inner)
}
