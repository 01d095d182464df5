//! A guest with a vhost-user network card for tests: the front-end that describes it, and a driver of its rings.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

pub mod bench;
pub mod hostile;
pub mod messages;
#[path = "../vring_kit/mod.rs"]
pub mod vring_kit;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use messages::*;
use tapyard::port::vhost::ring::{Base, Layout};
use tapyard::sys::guest_memory::{GuestMemory, Region};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vring_kit::{Buffer, Driver, empty, filled};

pub const CSUM: u64 = 1 << 0;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const GUEST_TSO4: u64 = 1 << 7;
pub const HOST_TSO4: u64 = 1 << 11;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const MQ: u64 = 1 << 22;
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const PROTOCOL_FEATURES: u64 = 1 << 30;
pub const VERSION_1: u64 = 1 << 32;
pub const RING_PACKED: u64 = 1 << 34;

/// What most tests agree on.
pub const USUAL: u64 = VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES;
/// The same with offloads.
pub const OFFLOADS: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4;

/// Where the guest's memory begins for it, and for its front-end.
pub const GUEST: u64 = 0x4000_0000;
pub const USER: u64 = 0x7f12_3400_0000;
/// How much there is for each ring: its parts first, buffers behind.
pub const RING_MEMORY: u64 = 32 << 20;
pub const PARTS: u64 = 1 << 20;
/// Bytes of the buffers that hold a superframe.
const LONG: u64 = 96 << 10;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How frames to send are laid out in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Header and frame in one buffer.
    One,
    /// The header by itself, the frame behind.
    Two,
    /// In buffers of so many bytes.
    Pieces(u32),
    /// The same, in an indirect table.
    Indirect(u32),
}

/// What a guest is like.
#[derive(Clone, Copy, Debug)]
pub struct Like {
    pub features: u64,
    /// Descriptors of each ring.
    pub size: u16,
    pub pairs: usize,
    /// Bytes of each buffer to receive into.
    pub buffer: u32,
    /// How many buffers to receive into there are.
    pub buffers: u16,
    pub shape: Shape,
}

impl Default for Like {
    fn default() -> Like {
        Like { features: USUAL, size: 256, pairs: 1, buffer: 2048, buffers: 128, shape: Shape::One }
    }
}

/// A frame as the driver sees it: the header (of 10 or 12 bytes), and the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub header: Vec<u8>,
    pub frame: Vec<u8>,
}

/// A guest.
pub struct Guest {
    pub like: Like,
    pub messages: Messages,
    /// The file of its memory.
    pub file: File,
    pub memory: Arc<GuestMemory>,
    /// Even: to receive into; odd: to send from.
    pub rings: Vec<Ring>,
}

/// One of its rings.
pub struct Ring {
    pub index: u32,
    pub driver: Driver,
    pub kick: EventFd,
    pub call: EventFd,
    /// Buffers by the ids of their chains; of sent ones, where they begin.
    buffers: HashMap<u16, u64>,
    /// Buffers to send from that are free.
    free: Vec<u64>,
    /// What was received and not asked for yet: parts of a frame.
    parts: Vec<Vec<u8>>,
    want: usize,
}

impl Guest {
    /// One whose front-end connects to `path`, all set up and running.
    pub fn attach(path: &Path, like: Like) -> Guest {
        Guest::over(Messages::connect(path), like)
    }

    /// One whose front-end waits for the back-end.
    pub fn await_backend(listener: &UnixListener, like: Like) -> Guest {
        Guest::over(Messages::accept(listener), like)
    }

    /// One that talks over `messages`.
    pub fn over(messages: Messages, like: Like) -> Guest {
        let guest = Guest::new(messages, like);
        guest.negotiate();
        guest.send_memory();
        for index in 0..2 * like.pairs {
            guest.start_ring(index, None);
            guest.enable(index, true);
        }
        guest
    }

    /// One that has said nothing yet.
    pub fn new(messages: Messages, like: Like) -> Guest {
        let len = RING_MEMORY * 2 * like.pairs as u64;
        let file = vring_kit::memory_file(len);
        let region = Region {
            guest: GUEST,
            user: USER,
            len,
            offset: 0,
            file: file.try_clone().expect("a descriptor"),
        };
        let memory = Arc::new(GuestMemory::map(vec![region]).expect("a sound region"));
        let rings = (0..2 * like.pairs as u64)
            .map(|index| {
                let at = GUEST + index * RING_MEMORY;
                let packed = like.features & RING_PACKED != 0;
                let layout = vring_kit::layout(at, like.size, packed, like.features & EVENT_IDX != 0);
                let event = || EventFd::new(EFD_NONBLOCK).expect("a descriptor");
                let mut ring = Ring {
                    index: index as u32,
                    driver: Driver::new(&memory, &layout, Base::start(packed)),
                    kick: event(),
                    call: event(),
                    buffers: HashMap::new(),
                    free: (0..(RING_MEMORY - PARTS) / LONG).map(|n| at + PARTS + n * LONG).collect(),
                    parts: Vec::new(),
                    want: 0,
                };
                if index % 2 == 0 {
                    (0..like.buffers).for_each(|n| {
                        ring.give(at + PARTS + u64::from(n) * u64::from(like.buffer), like.buffer);
                    });
                    ring.driver.show();
                }
                ring
            })
            .collect();
        Guest { like, messages, file, memory, rings }
    }

    /// Agrees on features. Everything that is said later can be acknowledged.
    pub fn negotiate(&self) {
        let offered = self.messages.ask(GET_FEATURES, &[]);
        let features = self.like.features;
        assert_eq!(features & !offered, 0, "all features are offered");
        if features & PROTOCOL_FEATURES != 0 {
            let protocol = self.messages.ask(GET_PROTOCOL_FEATURES, &[]);
            assert_ne!(protocol & REPLY_ACK, 0);
            self.messages.say(SET_PROTOCOL_FEATURES, &u64_body(protocol), &[]);
        }
        self.messages.say(SET_OWNER, &[], &[]);
        self.tell(SET_FEATURES, &u64_body(features), &[]);
    }

    /// Says something, and waits until it was done where the back-end can say so.
    pub fn tell(&self, request: u32, body: &[u8], descriptors: &[i32]) {
        match self.like.features & PROTOCOL_FEATURES {
            0 => self.messages.say(request, body, descriptors),
            _ => self.messages.tell(request, body, descriptors),
        }
    }

    /// Gives all of its memory, in one region.
    pub fn send_memory(&self) {
        let len = RING_MEMORY * self.rings.len() as u64;
        let region = [GUEST, len, USER, 0].map(u64::to_ne_bytes).concat();
        let body = [&1u32.to_ne_bytes()[..], &[0; 4], &region].concat();
        self.tell(SET_MEM_TABLE, &body, &[self.file.as_raw_fd()]);
    }

    /// Starts a ring where it stands, or where the back-end has said.
    pub fn start_ring(&self, index: usize, base: Option<u32>) {
        let ring = &self.rings[index];
        let Layout { size, descriptors, driver, device, packed, .. } = ring.driver.layout;
        let user = |guest: u64| guest - GUEST + USER;
        self.tell(SET_VRING_NUM, &vring(ring.index, size.into()), &[]);
        let start = base.unwrap_or(Base::start(packed).bits());
        self.tell(SET_VRING_BASE, &vring(ring.index, start), &[]);
        let addresses = [user(descriptors), user(device), user(driver), 0].map(u64::to_ne_bytes).concat();
        self.tell(SET_VRING_ADDR, &[vring(ring.index, 0), addresses].concat(), &[]);
        let index = u64_body(ring.index.into());
        self.tell(SET_VRING_CALL, &index, &[ring.call.as_raw_fd()]);
        self.tell(SET_VRING_KICK, &index, &[ring.kick.as_raw_fd()]);
    }

    /// Stops a ring, and gives where the back-end stands.
    pub fn stop_ring(&self, index: usize) -> u32 {
        let state = self.messages.ask(GET_VRING_BASE, &vring(index as u32, 0));
        assert_eq!(state as u32, index as u32);
        (state >> 32) as u32
    }

    /// Switches a ring on or off.
    pub fn enable(&self, index: usize, on: bool) {
        if self.like.features & PROTOCOL_FEATURES != 0 {
            self.tell(SET_VRING_ENABLE, &vring(index as u32, on.into()), &[]);
        }
    }

    /// Bytes of the header before each frame.
    pub fn header_len(&self) -> usize {
        if self.like.features & (VERSION_1 | MRG_RXBUF) != 0 { 12 } else { 10 }
    }

    /// Sends a frame by the first pair, with nothing left undone.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_with(0, &[], frame);
    }

    /// Sends a frame by a pair; `header` is the start of its header.
    pub fn send_with(&mut self, pair: usize, header: &[u8], frame: &[u8]) {
        self.queue(pair, header, frame);
        self.kick(pair);
    }

    /// Puts a frame into the ring and says nothing yet.
    pub fn queue(&mut self, pair: usize, header: &[u8], frame: &[u8]) {
        let mut bytes = header.to_vec();
        bytes.resize(self.header_len(), 0);
        let cut = bytes.len() as u32;
        bytes.extend(frame);
        let (shape, memory) = (self.like.shape, Arc::clone(&self.memory));
        let ring = &mut self.rings[2 * pair + 1];
        let needed = |len: u32| bytes.len().div_ceil(len as usize);
        let descriptors = match shape {
            Shape::One | Shape::Indirect(_) => 1,
            Shape::Two => 2,
            Shape::Pieces(len) => needed(len),
        };
        wait_for("room in the ring", || {
            ring.collect_sent();
            (ring.driver.room() >= descriptors && !ring.free.is_empty()).then_some(())
        });
        let at = ring.free.pop().expect("just seen");
        // Tables for the device lie before what they name.
        let data = at + (8 << 10);
        memory.write(data, &bytes).expect("it is memory");
        let len = bytes.len() as u32;
        let pieces = |each: u32| -> Vec<Buffer> {
            (0..len)
                .step_by(each as usize)
                .map(|from| filled(data + u64::from(from), each.min(len - from)))
                .collect()
        };
        let id = match shape {
            Shape::One => ring.driver.offer(&[filled(data, len)]),
            Shape::Two => ring.driver.offer(&[filled(data, cut), filled(data + u64::from(cut), len - cut)]),
            Shape::Pieces(each) => ring.driver.offer(&pieces(each)),
            Shape::Indirect(each) => ring.driver.offer_indirect(at, &pieces(each)),
        };
        ring.buffers.insert(id, at);
    }

    /// Shows what was queued, and kicks if that is wanted.
    pub fn kick(&mut self, pair: usize) {
        let ring = &mut self.rings[2 * pair + 1];
        if ring.driver.show() {
            ring.kick.write(1).expect("a counter that is not full");
        }
    }

    /// Waits until all that was sent is complete.
    pub fn wait_until_sent(&mut self) {
        for pair in 0..self.like.pairs {
            let ring = &mut self.rings[2 * pair + 1];
            wait_for("the guest's frames to be taken", || {
                ring.collect_sent();
                ring.buffers.is_empty().then_some(())
            });
        }
    }

    /// The next frame from the first pair; waits for it.
    pub fn receive(&mut self) -> Got {
        wait_for("a frame for the guest", || self.try_receive(0))
    }

    /// The next frame from any pair, and which; waits for it.
    pub fn receive_any(&mut self) -> (usize, Got) {
        wait_for("a frame for the guest", || {
            (0..self.like.pairs).find_map(|pair| self.try_receive(pair).map(|got| (pair, got)))
        })
    }

    /// The next frame from a pair, if there is one. Its buffers are given back.
    pub fn try_receive(&mut self, pair: usize) -> Option<Got> {
        let (header, mergeable) = (self.header_len(), self.like.features & MRG_RXBUF != 0);
        let memory = Arc::clone(&self.memory);
        let len = self.like.buffer;
        let ring = &mut self.rings[2 * pair];
        while let Some((id, written)) = ring.driver.collect() {
            let at = ring.buffers.remove(&id).expect("a buffer of ours");
            let mut bytes = vec![0; written as usize];
            assert!(written <= len, "{written} bytes in a buffer of {len}");
            memory.read(at, &mut bytes).expect("it is memory");
            ring.give(at, len);
            ring.driver.show();
            if ring.parts.is_empty() {
                assert!(bytes.len() >= header, "a header fits into the first buffer");
                ring.want = match header {
                    12 => u16::from_le_bytes([bytes[10], bytes[11]]).into(),
                    _ => 1,
                };
                assert!(ring.want == 1 || mergeable && ring.want > 1, "{} buffers", ring.want);
            }
            ring.parts.push(bytes);
            if ring.parts.len() == ring.want {
                let mut bytes = ring.parts.concat();
                ring.parts.clear();
                let frame = bytes.split_off(header);
                return Some(Got { header: bytes, frame });
            }
        }
        None
    }

    /// Whether the guest was called for what it is to receive since this was last asked.
    pub fn was_called(&self, pair: usize) -> bool {
        self.rings[2 * pair].call.read().is_ok()
    }
}

impl Ring {
    /// Gives a buffer to receive into.
    fn give(&mut self, at: u64, len: u32) {
        let id = self.driver.offer(&[empty(at, len)]);
        self.buffers.insert(id, at);
    }

    fn collect_sent(&mut self) {
        while let Some((id, written)) = self.driver.collect() {
            assert_eq!(written, 0, "nothing is written to what is read");
            self.free.push(self.buffers.remove(&id).expect("a buffer of ours"));
        }
    }
}

/// A directory for sockets, which is gone with this value.
pub struct Sockets(PathBuf);

impl Sockets {
    pub fn new() -> Sockets {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tapyard-vh-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new name");
        Sockets(path)
    }

    /// The place of the socket `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Asks `probe` until it answers.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
