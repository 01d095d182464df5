//! The front-end's side of the protocol, message by message, written from its specification (QEMU's
//! docs/interop/vhost-user.rst): what is sent is what the test says, however wrong.

use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use vmm_sys_util::sock_ctrl_msg::ScmSocket;

pub const GET_FEATURES: u32 = 1;
pub const SET_FEATURES: u32 = 2;
pub const SET_OWNER: u32 = 3;
pub const RESET_OWNER: u32 = 4;
pub const SET_MEM_TABLE: u32 = 5;
pub const SET_LOG_BASE: u32 = 6;
pub const SET_LOG_FD: u32 = 7;
pub const SET_VRING_NUM: u32 = 8;
pub const SET_VRING_ADDR: u32 = 9;
pub const SET_VRING_BASE: u32 = 10;
pub const GET_VRING_BASE: u32 = 11;
pub const SET_VRING_KICK: u32 = 12;
pub const SET_VRING_CALL: u32 = 13;
pub const SET_VRING_ERR: u32 = 14;
pub const GET_PROTOCOL_FEATURES: u32 = 15;
pub const SET_PROTOCOL_FEATURES: u32 = 16;
pub const GET_QUEUE_NUM: u32 = 17;
pub const SET_VRING_ENABLE: u32 = 18;
pub const SEND_RARP: u32 = 19;
pub const NET_SET_MTU: u32 = 20;
pub const POSTCOPY_ADVISE: u32 = 28;
pub const RESET_DEVICE: u32 = 34;
pub const GET_MAX_MEM_SLOTS: u32 = 36;
pub const ADD_MEM_REG: u32 = 37;
pub const REM_MEM_REG: u32 = 38;
pub const SET_DEVICE_STATE_FD: u32 = 42;
pub const CHECK_DEVICE_STATE: u32 = 43;

/// Protocol features.
pub const REPLY_ACK: u64 = 1 << 3;
pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;

/// Flags of a message's header.
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;

/// A connection.
pub struct Messages(pub UnixStream);

impl Messages {
    /// To a back-end that listens at `path`.
    pub fn connect(path: &Path) -> Messages {
        Messages::over(UnixStream::connect(path).expect("the back-end listens"))
    }

    /// From a back-end that connects.
    pub fn accept(listener: &UnixListener) -> Messages {
        Messages::over(listener.accept().expect("the back-end connects").0)
    }

    fn over(stream: UnixStream) -> Messages {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time that there is");
        Messages(stream)
    }

    /// Sends bytes just so.
    pub fn send_raw(&self, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
        self.0
            .send_with_fds(&[bytes], descriptors)
            .map(drop)
            .map_err(|e| io::Error::from_raw_os_error(e.errno()))
    }

    /// Sends a message.
    pub fn send(&self, request: u32, flags: u32, body: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
        let header = [request, VERSION | flags, body.len() as u32].map(u32::to_ne_bytes).concat();
        self.send_raw(&[&header, body].concat(), descriptors)
    }

    /// The body of the answer to `request`.
    pub fn answer(&self, request: u32) -> io::Result<Vec<u8>> {
        let mut header = [0; 12];
        (&self.0).read_exact(&mut header)?;
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((number(0), number(4) & REPLY), (request, REPLY), "an answer to the request");
        let mut body = vec![0; number(8) as usize];
        (&self.0).read_exact(&mut body)?;
        Ok(body)
    }

    /// Says something that is not answered.
    pub fn say(&self, request: u32, body: &[u8], descriptors: &[RawFd]) {
        self.send(request, 0, body, descriptors).expect("the back-end is there");
    }

    /// Says something and gives the answer's number; of a ring's state, the index is its low half.
    pub fn ask(&self, request: u32, body: &[u8]) -> u64 {
        self.say(request, body, &[]);
        number(&self.answer(request).expect("an answer"))
    }

    /// Says something that is to be acknowledged, and gives the answer: 0 is yes. Needs [`REPLY_ACK`].
    pub fn try_say(&self, request: u32, body: &[u8], descriptors: &[RawFd]) -> io::Result<u64> {
        self.send(request, NEED_REPLY, body, descriptors)?;
        self.answer(request).map(|body| number(&body))
    }

    /// Says something, and waits until it was done.
    pub fn tell(&self, request: u32, body: &[u8], descriptors: &[RawFd]) {
        assert_eq!(self.try_say(request, body, descriptors).expect("an answer"), 0, "request {request}");
    }

    /// Waits until the back-end has hung up.
    pub fn wait_for_end(&self) {
        let mut rest = Vec::new();
        match (&self.0).read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

fn number(body: &[u8]) -> u64 {
    u64::from_ne_bytes(body.try_into().expect("eight bytes"))
}

/// The body of a message about a ring.
pub fn vring(index: u32, value: u32) -> Vec<u8> {
    [index, value].map(u32::to_ne_bytes).concat()
}

/// The body of a message of one number.
pub fn u64_body(value: u64) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}
