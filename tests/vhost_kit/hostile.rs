//! A front-end and a guest that do whatever they like, in any order.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tapyard::sys::guest_memory::{GuestMemory, Region};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::messages::*;
use super::vring_kit::{self, INDIRECT, NEXT, WRITE};
use super::{GUEST, MRG_RXBUF, PROTOCOL_FEATURES, RING_PACKED, USER, VERSION_1};

/// How much memory it really has.
pub const LEN: u64 = 4 << 20;
/// How far its rings are apart: descriptors first, then the driver's part and the device's, then buffers.
const RING: u64 = 0x4_0000;
const DRIVER: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const BUFFERS: u64 = 0x4000;
const SIZE: u16 = 64;
const RINGS: u64 = 4;

/// Something that is given as a descriptor.
#[derive(Clone, Copy, Debug)]
pub enum Thing {
    Memory,
    ShortMemory,
    HugeMemory,
    ReadOnlyMemory,
    Kick(u8),
    Call(u8),
    FullCounter,
    Pipe,
    FullPipe,
    Socket,
    Null,
    Directory,
    Epoll,
    DiskFile,
    Itself,
}

/// What it does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sets its card up as it should be.
    SetUp {
        features: u64,
        pairs: u8,
    },
    /// Says something.
    Say {
        request: u32,
        flags: u32,
        body: Vec<u8>,
        things: Vec<Thing>,
    },
    /// Says only the first so many bytes of it.
    Half {
        request: u32,
        size: u32,
        sent: usize,
        things: Vec<Thing>,
    },
    /// Says the same over and over, and hears no answer.
    Flood {
        request: u32,
        body: Vec<u8>,
        times: u16,
    },
    /// Puts frames of this length into a split ring, as a guest should.
    Frames {
        ring: u8,
        count: u16,
        len: u32,
    },
    /// Writes a descriptor of a ring.
    Descriptor {
        ring: u8,
        index: u16,
        at: u64,
        len: u32,
        flags: u16,
        next: u16,
    },
    /// Says how far a split ring goes, and what is in it.
    Available {
        ring: u8,
        index: u16,
        heads: Vec<u16>,
    },
    /// Writes anything anywhere.
    Scribble {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Cuts its memory off.
    Truncate(u64),
    Kick {
        ring: u8,
        times: u16,
    },
    Rest(u8),
    /// Hears what was answered up to now.
    Hear,
}

/// What one does from its coming to its going: most begin as they should.
pub fn conversation() -> impl Strategy<Value = Vec<Step>> {
    let steps = prop::collection::vec(step(), 1..24);
    (prop::bool::weighted(0.8), features(), steps).prop_map(|(begins_well, features, steps)| {
        let start = begins_well.then_some(Step::SetUp { features, pairs: 2 });
        start.into_iter().chain(steps).collect()
    })
}

/// An address in the guest's own terms (`base` 0) or the front-end's, often one that is right.
fn address(base: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0..RINGS, prop_oneof![Just(0), Just(DRIVER), Just(DEVICE), Just(BUFFERS)])
            .prop_map(move |(ring, part)| base + ring * RING + part),
        2 => (0..LEN + 0x2000).prop_map(move |at| base.wrapping_add(at).wrapping_sub(0x1000)),
        1 => any::<u64>(),
        1 => prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 15), Just(1 << 63), Just(base + LEN - 1)],
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(LEN),
        2 => 0..2 * LEN,
        1 => prop_oneof![Just(0), Just(1 << 40), Just(1 << 46), Just(u64::MAX), Just(1 << 63), Just(4096)],
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => Just(Thing::Memory),
        3 => (0..4_u8).prop_map(Thing::Kick),
        3 => (0..4_u8).prop_map(Thing::Call),
        6 => prop::sample::select(vec![
            Thing::ShortMemory, Thing::HugeMemory, Thing::ReadOnlyMemory, Thing::FullCounter, Thing::Pipe, Thing::FullPipe,
            Thing::Socket, Thing::Null, Thing::Directory, Thing::Epoll, Thing::DiskFile, Thing::Itself,
        ]),
    ]
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    prop_oneof![
        3 => Just(Vec::new()),
        5 => prop::collection::vec(thing(), 1..3),
        1 => prop::collection::vec(thing(), 30..40),
    ]
}

fn request() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0..46_u32, 1 => any::<u32>()]
}

/// A number that a ring's message could have.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..5_u32, 2 => Just(64), 1 => Just(256), 1 => 0..0x2_0000_u32, 1 => any::<u32>()]
}

fn region() -> impl Strategy<Value = [u64; 4]> {
    (address(GUEST), length(), address(USER), prop_oneof![3 => Just(0), 1 => 0..LEN, 1 => any::<u64>()])
        .prop_map(|(guest, len, user, offset)| [guest, len, user, offset])
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = |words: [u64; 4]| words.map(u64::to_ne_bytes).concat();
    prop_oneof![
        2 => Just(Vec::new()),
        4 => (value(), value()).prop_map(|(index, value)| vring(index, value)),
        3 => prop_oneof![0..6_u64, 0x100..0x106_u64, any::<u64>()].prop_map(u64_body),
        3 => (value(), value(), [address(USER), address(USER), address(USER), address(USER)])
            .prop_map(move |(index, flags, at)| [vring(index, flags), words(at)].concat()),
        2 => (prop_oneof![4 => 0..5_u32, 1 => any::<u32>()], prop::collection::vec(region(), 0..5)).prop_map(
            move |(count, regions)| {
                let count = if count == 4 { regions.len() as u32 } else { count };
                [vring(count, 0), regions.into_iter().flat_map(words).collect()].concat()
            }
        ),
        2 => region().prop_map(move |region| [vec![0; 8], words(region)].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
        1 => prop::collection::vec(any::<u8>(), 4000..4200),
    ]
}

/// A message whose body and descriptors are of the right kind, whatever they say.
fn shaped() -> impl Strategy<Value = (u32, Vec<u8>, Vec<Thing>)> {
    let words = |words: [u64; 4]| words.map(u64::to_ne_bytes).concat();
    let ring = || prop_oneof![9 => 0..4_u32, 1 => value()];
    let about_ring =
        prop::sample::select(vec![SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE]);
    let descriptor = prop::sample::select(vec![SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR]);
    let good = || prop_oneof![(0..4_u8).prop_map(Thing::Kick), (0..4_u8).prop_map(Thing::Call)];
    let number = prop::sample::select(vec![SET_FEATURES, SET_PROTOCOL_FEATURES, NET_SET_MTU, SEND_RARP]);
    let bare = prop::sample::select(vec![
        GET_FEATURES,
        SET_OWNER,
        RESET_OWNER,
        GET_PROTOCOL_FEATURES,
        GET_QUEUE_NUM,
        RESET_DEVICE,
        GET_MAX_MEM_SLOTS,
        POSTCOPY_ADVISE,
        CHECK_DEVICE_STATE,
    ]);
    let change = prop::sample::select(vec![ADD_MEM_REG, REM_MEM_REG]);
    let memory = || prop_oneof![5 => Just(Thing::Memory), 1 => thing()];
    prop_oneof![
        6 => (about_ring, ring(), value())
            .prop_map(|(request, index, value)| (request, vring(index, value), Vec::new())),
        4 => (descriptor, ring(), prop_oneof![4 => good(), 1 => thing()]).prop_map(|(request, index, thing)| {
            (request, u64_body(index.into()), vec![thing])
        }),
        1 => (SET_VRING_KICK..=SET_VRING_ERR, ring())
            .prop_map(|(request, index)| (request, u64_body(0x100 | u64::from(index)), Vec::new())),
        3 => (ring(), [address(USER), address(USER), address(USER), address(USER)]).prop_map(
            move |(index, at)| (SET_VRING_ADDR, [vring(index, 0), words(at)].concat(), Vec::new())
        ),
        3 => prop::collection::vec((region(), memory()), 1..5).prop_map(move |regions| {
            let (regions, files): (Vec<_>, Vec<_>) = regions.into_iter().unzip();
            let described: Vec<u8> = regions.iter().copied().flat_map(words).collect();
            (SET_MEM_TABLE, [vring(regions.len() as u32, 0), described].concat(), files)
        }),
        3 => (change, region(), memory()).prop_map(move |(request, region, file)| {
            let files = if request == ADD_MEM_REG { vec![file] } else { Vec::new() };
            (request, [vec![0; 8], words(region)].concat(), files)
        }),
        2 => (number, prop_oneof![features().boxed(), any::<u64>().boxed(), (0..9000_u64).boxed()])
            .prop_map(|(request, number)| (request, u64_body(number), Vec::new())),
        2 => bare.prop_map(|request| (request, Vec::new(), Vec::new())),
    ]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0), 4 => Just(8), 1 => any::<u32>()]
}

fn features() -> impl Strategy<Value = u64> {
    const EVENT_IDX: u64 = 1 << 29;
    const INDIRECT_DESC: u64 = 1 << 28;
    let some =
        [0, EVENT_IDX, INDIRECT_DESC, RING_PACKED, EVENT_IDX | INDIRECT_DESC, RING_PACKED | INDIRECT_DESC];
    prop::sample::select(some.to_vec()).prop_map(|f| f | VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES)
}

/// One step.
fn step() -> impl Strategy<Value = Step> {
    let ring = 0..4_u8;
    prop_oneof![
        4 => (features(), 0..3_u8).prop_map(|(features, pairs)| Step::SetUp { features, pairs }),
        16 => (shaped(), prop_oneof![Just(0), Just(8)])
            .prop_map(|((request, body, things), flags)| Step::Say { request, flags, body, things }),
        1 => (request(), flags(), body(), things())
            .prop_map(|(request, flags, body, things)| Step::Say { request, flags, body, things }),
        1 => (request(), 0..5000_u32, 0..60_usize, things())
            .prop_map(|(request, size, sent, things)| Step::Half { request, size, sent, things }),
        1 => (request(), body(), 1..3000_u16)
            .prop_map(|(request, body, times)| Step::Flood { request, body, times }),
        4 => (ring.clone(), 0..80_u16, prop_oneof![0..20_u32, 60..2000_u32, 60_000..70_000_u32])
            .prop_map(|(ring, count, len)| Step::Frames { ring, count, len }),
        5 => (ring.clone(), 0..SIZE, address(GUEST), prop_oneof![0..5000_u32, any::<u32>()], 0..8_u16, 0..SIZE + 2)
            .prop_map(|(ring, index, at, len, flags, next)| Step::Descriptor { ring, index, at, len, flags, next }),
        4 => (ring.clone(), any::<u16>(), prop::collection::vec(0..SIZE + 2, 0..70))
            .prop_map(|(ring, index, heads)| Step::Available { ring, index, heads }),
        4 => (0..RINGS * RING, prop::collection::vec(any::<u8>(), 1..200))
            .prop_map(|(at, bytes)| Step::Scribble { at, bytes }),
        1 => (0..LEN).prop_map(Step::Truncate),
        3 => (ring, 1..300_u16).prop_map(|(ring, times)| Step::Kick { ring, times }),
        2 => (0..20_u8).prop_map(Step::Rest),
        2 => Just(Step::Hear),
    ]
}

/// One who does it.
pub struct Hostile {
    stream: UnixStream,
    file: File,
    memory: Arc<GuestMemory>,
    kicks: Vec<EventFd>,
    calls: Vec<EventFd>,
    available: [u16; RINGS as usize],
    /// What was given and has to stay open, or is kept full.
    kept: Vec<Box<dyn AsRawFd + Send>>,
}

impl Hostile {
    pub fn connect(path: &Path) -> Hostile {
        let stream = UnixStream::connect(path).expect("the switch listens");
        stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a time that there is");
        let file = vring_kit::memory_file(LEN);
        let own = file.try_clone().expect("a descriptor");
        let region = Region { guest: GUEST, user: USER, len: LEN, offset: 0, file: own };
        let memory = Arc::new(GuestMemory::map(vec![region]).expect("a sound region"));
        let counters = || (0..RINGS).map(|_| EventFd::new(EFD_NONBLOCK).expect("a descriptor")).collect();
        let (kicks, calls) = (counters(), counters());
        Hostile { stream, file, memory, kicks, calls, available: [0; 4], kept: Vec::new() }
    }

    /// Takes a step. Whether anybody listens still does not matter.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::SetUp { features, pairs } => self.set_up(*features, u32::from(*pairs)),
            Step::Say { request, flags, body, things } => self.say(*request, *flags, body, things),
            Step::Half { request, size, sent, things } => {
                let mut message = [*request, 1, *size].map(u32::to_ne_bytes).concat();
                message.resize(message.len().max(*sent), 0x55);
                message.truncate((*sent).max(1));
                self.raw(&message, things);
            }
            Step::Flood { request, body, times } => {
                (0..*times).for_each(|_| self.say(*request, 0, body, &[]))
            }
            Step::Frames { ring, count, len } => self.frames(*ring, *count, *len),
            Step::Descriptor { ring, index, at, len, flags, next } => {
                self.descriptor(*ring, *index, *at, *len, *flags, *next);
            }
            Step::Available { ring, index, heads } => self.show(*ring, *index, heads),
            Step::Scribble { at, bytes } => _ = self.memory.write(GUEST + at, bytes),
            Step::Truncate(len) => self.file.set_len(*len).expect("it is ours"),
            Step::Kick { ring, times } => {
                (0..*times).for_each(|_| _ = self.kicks[usize::from(*ring)].write(1));
            }
            Step::Rest(millis) => thread::sleep(Duration::from_millis((*millis).into())),
            Step::Hear => self.hear(),
        }
    }

    fn hear(&mut self) {
        let mut bytes = [0; 4096];
        self.stream.set_nonblocking(true).expect("a socket");
        while self.stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
        self.stream.set_nonblocking(false).expect("a socket");
    }

    fn say(&mut self, request: u32, flags: u32, body: &[u8], things: &[Thing]) {
        let header = [request, 1 | flags, body.len() as u32].map(u32::to_ne_bytes).concat();
        self.raw(&[&header, body].concat(), things);
    }

    fn raw(&mut self, bytes: &[u8], things: &[Thing]) {
        use vmm_sys_util::sock_ctrl_msg::ScmSocket;
        let descriptors: Vec<RawFd> = things.iter().map(|&thing| self.descriptor_of(thing)).collect();
        let _ = self.stream.send_with_fds(&[bytes], &descriptors);
        // Those that are left here belong to what was sent. The last few stay for the sake of what is kept full.
        let surplus = self.kept.len().saturating_sub(64);
        self.kept.drain(..surplus);
    }

    fn descriptor_of(&mut self, thing: Thing) -> RawFd {
        let owned: Box<dyn AsRawFd + Send> = match thing {
            Thing::Memory => return self.file.as_raw_fd(),
            Thing::Kick(n) => return self.kicks[usize::from(n)].as_raw_fd(),
            Thing::Call(n) => return self.calls[usize::from(n)].as_raw_fd(),
            Thing::Itself => return self.stream.as_raw_fd(),
            Thing::ShortMemory => Box::new(vring_kit::memory_file(100)),
            Thing::HugeMemory => Box::new(vring_kit::memory_file(1 << 50)),
            Thing::ReadOnlyMemory => {
                let file = vring_kit::memory_file(LEN);
                Box::new(File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("for reading only"))
            }
            Thing::FullCounter => {
                // One that blocks, as its maker would have it, and has no room left.
                let counter = EventFd::new(0).expect("a descriptor");
                counter.write(u64::MAX - 1).expect("it was empty");
                Box::new(counter)
            }
            Thing::Pipe => Box::new(std::io::pipe().expect("a pipe").1),
            Thing::FullPipe => {
                let (read, mut write) = std::io::pipe().expect("a pipe");
                write.write_all(&vec![0; 65536]).expect("that is what it holds");
                self.kept.push(Box::new(read));
                Box::new(write)
            }
            Thing::Socket => {
                let (one, other) = UnixStream::pair().expect("sockets");
                self.kept.push(Box::new(other));
                Box::new(one)
            }
            Thing::Null => {
                let null = File::options().read(true).write(true).open("/dev/null");
                Box::new(null.expect("it is there"))
            }
            Thing::Directory => Box::new(File::open("/tmp").expect("it is there")),
            Thing::Epoll => Box::new(mio::Poll::new().expect("a descriptor")),
            Thing::DiskFile => {
                let path = std::env::temp_dir().join(format!("tapyard-hostile-{}", std::process::id()));
                let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
                let file = file.expect("a file");
                let _ = fs::remove_file(&path);
                Box::new(file)
            }
        };
        let fd = owned.as_raw_fd();
        self.kept.push(owned);
        fd
    }

    /// Says all that a front-end has to, and what its guest does then: buffers to receive into, and frames.
    fn set_up(&mut self, features: u64, pairs: u32) {
        self.say(SET_OWNER, 0, &[], &[]);
        self.say(SET_FEATURES, 0, &u64_body(features), &[]);
        self.say(SET_PROTOCOL_FEATURES, 0, &u64_body(REPLY_ACK | CONFIGURE_MEM_SLOTS), &[]);
        let region = [GUEST, LEN, USER, 0].map(u64::to_ne_bytes).concat();
        self.say(SET_MEM_TABLE, 0, &[vring(1, 0), region].concat(), &[Thing::Memory]);
        for ring in 0..2 * pairs {
            let at = USER + RING * u64::from(ring);
            let start = if features & RING_PACKED != 0 { 0x8000_8000 } else { 0 };
            let parts = [at, at + DEVICE, at + DRIVER, 0].map(u64::to_ne_bytes).concat();
            self.say(SET_VRING_NUM, 0, &vring(ring, SIZE.into()), &[]);
            self.say(SET_VRING_BASE, 0, &vring(ring, start), &[]);
            self.say(SET_VRING_ADDR, 0, &[vring(ring, 0), parts].concat(), &[]);
            self.say(SET_VRING_CALL, 0, &u64_body(ring.into()), &[Thing::Call(ring as u8)]);
            self.say(SET_VRING_KICK, 0, &u64_body(ring.into()), &[Thing::Kick(ring as u8)]);
            self.say(SET_VRING_ENABLE, 0, &vring(ring, 1), &[]);
            self.available[ring as usize] = 0;
            if ring % 2 == 0 {
                self.frames(ring as u8, SIZE / 2, 2048);
            }
        }
    }

    fn descriptor(&self, ring: u8, index: u16, at: u64, len: u32, flags: u16, next: u16) {
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        let place = GUEST + RING * u64::from(ring) + 16 * u64::from(index);
        let _ = self.memory.write(place, &[at, rest].map(u64::to_le_bytes).concat());
    }

    fn show(&self, ring: u8, index: u16, heads: &[u16]) {
        let place = GUEST + RING * u64::from(ring) + DRIVER;
        let entries: Vec<u8> = heads.iter().flat_map(|head| head.to_le_bytes()).collect();
        let _ = self.memory.write(place + 4, &entries);
        let _ = self.memory.write(place + 2, &index.to_le_bytes());
    }

    fn frames(&mut self, ring: u8, count: u16, len: u32) {
        let buffers = GUEST + RING * u64::from(ring) + BUFFERS;
        let flags = if ring.is_multiple_of(2) { WRITE } else { 0 };
        let station = [0x02, 0x66, 0, 0, 0, ring];
        let start = [&[0; 12][..], &[0xff; 6], &station, &[0x88, 0xb5]].concat();
        for index in 0..SIZE {
            let at = buffers + 2048 * u64::from(index);
            self.descriptor(ring, index, at, len, flags, 0);
            if flags == 0 {
                let _ = self.memory.write(at, &start);
            }
        }
        let heads: Vec<u16> = (0..SIZE).collect();
        let available = &mut self.available[usize::from(ring)];
        *available = available.wrapping_add(count);
        let index = *available;
        self.show(ring, index, &heads);
        let _ = self.kicks[usize::from(ring)].write(1);
    }

    /// A chain through all descriptors of a ring, each of `len` bytes, that comes back to its head: `flags` besides.
    pub fn run_in_a_loop(&mut self, ring: u8, len: u32, flags: u16) {
        let at = GUEST + RING * u64::from(ring) + BUFFERS;
        for index in 0..SIZE {
            self.descriptor(ring, index, at, len, NEXT | flags, (index + 1) % SIZE);
        }
        self.show(ring, 1, &[0]);
        let _ = self.kicks[usize::from(ring)].write(1);
    }

    /// An indirect table that names itself as a table.
    pub fn nest(&mut self, ring: u8) {
        let table = GUEST + RING * u64::from(ring) + BUFFERS;
        let entry = [table, 64 | u64::from(INDIRECT) << 32].map(u64::to_le_bytes).concat();
        let _ = self.memory.write(table, &entry.repeat(4));
        self.descriptor(ring, 0, table, 64, INDIRECT, 0);
        self.show(ring, 1, &[0]);
        let _ = self.kicks[usize::from(ring)].write(1);
    }
}
