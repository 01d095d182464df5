//! A guest for tests and benches of rings: memory in a file, and the driver's side of both forms of virtqueue, written
//! from the specification (VIRTIO 1.2, 2.7 and 2.8) and not from the device's side.
#![allow(dead_code, reason = "each suite uses its part of the kit")]

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tapyard::port::vhost::ring::{Base, Layout};
use tapyard::sys::guest_memory::{Area, GuestMemory, Region};

/// A file of memory without a name.
pub(crate) fn memory_file(len: u64) -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("/dev/shm/tapyard-test-vring-{}-{number}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("/dev/shm");
    fs::remove_file(&path).expect("the file just made");
    file.set_len(len).expect("memory");
    file
}

/// A guest's memory, of one region for each pair of guest address and length.
pub(crate) fn memory(regions: &[(u64, u64)]) -> Arc<GuestMemory> {
    let file = memory_file(regions.iter().map(|(_, len)| len).sum());
    let mut offset = 0;
    let regions = regions.iter().map(|&(guest, len)| {
        let user = 0x7f00_0000_0000 + guest;
        let region = Region { guest, user, len, offset, file: file.try_clone().expect("a descriptor more") };
        offset += len;
        region
    });
    Arc::new(GuestMemory::map(regions.collect()).expect("sound regions"))
}

/// A ring's parts one behind the other from `at` on, which has to be a multiple of 16.
pub(crate) fn layout(at: u64, size: u16, packed: bool, event_idx: bool) -> Layout {
    let driver = at + 16 * u64::from(size);
    let device = if packed { driver + 4 } else { (driver + 6 + 2 * u64::from(size)).next_multiple_of(4) };
    Layout { size, descriptors: at, driver, device, packed, event_idx, indirect: true }
}

/// A buffer that a driver offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    pub(crate) at: u64,
    pub(crate) len: u32,
    pub(crate) write: bool,
}

/// One to be read by the device.
pub(crate) fn filled(at: u64, len: u32) -> Buffer {
    Buffer { at, len, write: false }
}

/// One to be written by the device.
pub(crate) fn empty(at: u64, len: u32) -> Buffer {
    Buffer { at, len, write: true }
}

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// A well-behaved driver of one ring.
pub(crate) struct Driver {
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) layout: Layout,
    pub(crate) descriptors: Area<16>,
    pub(crate) driver: Area<2>,
    pub(crate) device: Area<4>,
    /// Descriptors made available, and seen used; from these follow positions and wrap counters of a packed ring.
    offered: u64,
    collected: u64,
    /// Chains made available, and seen used; from these follow the indices of a split ring.
    chains_offered: u64,
    chains_collected: u64,
    /// What of the above was there when the device was last told.
    told: u64,
    free: Vec<u16>,
    /// The descriptors of each chain that is on its way, by its head or id.
    out: Vec<Vec<u16>>,
    /// Of a packed ring: where the first chain that was not yet shown begins, and its second half.
    hidden: Option<(u16, u64)>,
}

impl Driver {
    /// A driver that goes on at `base`; both sides agree on how far they are.
    pub(crate) fn new(memory: &Arc<GuestMemory>, layout: &Layout, base: Base) -> Driver {
        let size = usize::from(layout.size);
        let extra = if layout.event_idx { 2 } else { 0 };
        let (driver, device) =
            if layout.packed { (4, 4) } else { (4 + 2 * size + extra, 4 + 8 * size + extra) };
        let start = if layout.packed {
            let bits = base.bits() as u16;
            // An odd number of rounds is behind us when the wrap counter is 0.
            u64::from(bits & 0x7fff) + if bits & 0x8000 == 0 { u64::from(layout.size) } else { 0 }
        } else {
            u64::from(base.bits() as u16)
        };
        let driver = Driver {
            memory: memory.clone(),
            layout: layout.clone(),
            descriptors: memory.area(layout.descriptors, 16 * size).expect("a ring in memory"),
            driver: memory.area(layout.driver, driver).expect("a ring in memory"),
            device: memory.area(layout.device, device).expect("a ring in memory"),
            offered: start,
            collected: start,
            chains_offered: start,
            chains_collected: start,
            told: start,
            free: (0..layout.size).rev().collect(),
            out: vec![Vec::new(); size],
            hidden: None,
        };
        if layout.packed {
            let (place, round) = (driver.place(start).0, start / u64::from(layout.size));
            for at in 0..layout.size {
                // As if the device had used all that was before.
                let last = if at < place { Some(round) } else { round.checked_sub(1) };
                let used = if last.is_some_and(|round| round.is_multiple_of(2)) { AVAIL | USED } else { 0 };
                let rest = u64::from(used) << 48;
                driver.descriptors.store_u64(16 * usize::from(at) + 8, rest, Ordering::Relaxed);
            }
        } else {
            driver.driver.store_u16(2, start as u16, Ordering::Relaxed);
            driver.device.store_u16(2, start as u16, Ordering::Relaxed);
        }
        driver
    }

    /// Position and wrap counter of descriptor number `n`.
    fn place(&self, n: u64) -> (u16, bool) {
        let size = u64::from(self.layout.size);
        ((n % size) as u16, (n / size).is_multiple_of(2))
    }

    /// How many descriptors are free.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    /// How many chains (of a packed ring: descriptors) were seen used.
    pub(crate) fn seen(&self) -> u64 {
        if self.layout.packed { self.collected } else { self.chains_collected }
    }

    /// How far the device has come, in the same measure: what a device that behaves has shown.
    pub(crate) fn offered(&self) -> u64 {
        if self.layout.packed { self.offered } else { self.chains_offered }
    }

    /// Offers a chain of `buffers`, which the device does not see before [`Driver::show`]; gives its id.
    pub(crate) fn offer(&mut self, buffers: &[Buffer]) -> u16 {
        let parts: Vec<_> = buffers.iter().map(|b| (b.at, b.len, if b.write { WRITE } else { 0 })).collect();
        self.offer_raw(&parts)
    }

    /// The same by way of an indirect table at `table`.
    pub(crate) fn offer_indirect(&mut self, table: u64, buffers: &[Buffer]) -> u16 {
        self.write_table(table, buffers);
        self.offer_raw(&[(table, 16 * buffers.len() as u32, INDIRECT)])
    }

    /// Writes an indirect table.
    pub(crate) fn write_table(&self, table: u64, buffers: &[Buffer]) {
        for (index, buffer) in (0..).zip(buffers) {
            let mut flags = if buffer.write { WRITE } else { 0 };
            let mut tail = 0;
            if !self.layout.packed && index + 1 < buffers.len() {
                flags |= NEXT;
                tail = index as u16 + 1;
            }
            let rest = if self.layout.packed { [0, flags] } else { [flags, tail] };
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&buffer.at.to_le_bytes());
            bytes[8..12].copy_from_slice(&buffer.len.to_le_bytes());
            bytes[12..14].copy_from_slice(&rest[0].to_le_bytes());
            bytes[14..].copy_from_slice(&rest[1].to_le_bytes());
            self.memory.write(table + 16 * index as u64, &bytes).expect("a table in memory");
        }
    }

    /// Offers descriptors just so, linked by NEXT where another follows.
    pub(crate) fn offer_raw(&mut self, parts: &[(u64, u32, u16)]) -> u16 {
        if self.layout.packed { self.offer_packed(parts) } else { self.offer_split(parts) }
    }

    fn offer_split(&mut self, parts: &[(u64, u32, u16)]) -> u16 {
        let chain: Vec<_> = parts.iter().map(|_| self.free.pop().expect("room in the ring")).collect();
        for (n, &(at, len, flags)) in parts.iter().enumerate() {
            let next = chain.get(n + 1);
            let flags = flags | if next.is_some() { NEXT } else { 0 };
            self.descriptor(chain[n], at, len, flags, next.copied().unwrap_or(0));
        }
        let entry = 4 + 2 * (self.chains_offered as usize % usize::from(self.layout.size));
        self.driver.store_u16(entry, chain[0], Ordering::Relaxed);
        self.chains_offered += 1;
        let head = chain[0];
        self.out[usize::from(head)] = chain;
        head
    }

    fn offer_packed(&mut self, parts: &[(u64, u32, u16)]) -> u16 {
        let chain: Vec<_> = parts.iter().map(|_| self.free.pop().expect("room in the ring")).collect();
        let id = chain[0];
        for (n, &(at, len, flags)) in parts.iter().enumerate() {
            let (place, wrap) = self.place(self.offered + n as u64);
            let flags = flags | if n + 1 < parts.len() { NEXT } else { 0 } | if wrap { AVAIL } else { USED };
            let rest = u64::from(flags) << 48 | u64::from(id) << 32 | u64::from(len);
            self.descriptors.store_u64(16 * usize::from(place), at, Ordering::Relaxed);
            if n == 0 && self.hidden.is_none() {
                self.hidden = Some((place, rest));
            } else {
                self.descriptors.store_u64(16 * usize::from(place) + 8, rest, Ordering::Relaxed);
            }
        }
        self.offered += parts.len() as u64;
        self.out[usize::from(id)] = chain;
        id
    }

    /// Writes a descriptor of a split ring.
    pub(crate) fn descriptor(&self, index: u16, at: u64, len: u32, flags: u16, next: u16) {
        let rest = u64::from(next) << 48 | u64::from(flags) << 32 | u64::from(len);
        self.descriptors.store_u64(16 * usize::from(index), at, Ordering::Relaxed);
        self.descriptors.store_u64(16 * usize::from(index) + 8, rest, Ordering::Relaxed);
    }

    /// Shows the device what was offered. True if it wants to be kicked.
    pub(crate) fn show(&mut self) -> bool {
        let old = self.told;
        self.told = self.offered();
        if let Some((place, rest)) = self.hidden.take() {
            self.descriptors.store_u64(16 * usize::from(place) + 8, rest, Ordering::Release);
        } else if !self.layout.packed {
            self.driver.store_u16(2, self.chains_offered as u16, Ordering::Release);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        let size = u64::from(self.layout.size);
        if self.layout.packed {
            let wish = self.device.load_u32(0, Ordering::Relaxed);
            match (wish >> 16) & 3 {
                0 => true,
                1 => false,
                _ => {
                    // Which number the position is of: the one in the two rounds up to now.
                    let (at, wrap) = (u64::from(wish as u16 & 0x7fff), wish & 0x8000 != 0);
                    let round = self.told / size;
                    (round.saturating_sub(1)..=round)
                        .filter(|round| round.is_multiple_of(2) == wrap)
                        .any(|round| (old..self.told).contains(&(round * size + at)))
                }
            }
        } else if self.layout.event_idx {
            let event = self.device.load_u16(4 + 8 * size as usize, Ordering::Relaxed);
            (old..self.told).any(|n| n as u16 == event)
        } else {
            self.device.load_u16(0, Ordering::Relaxed) & 1 == 0
        }
    }

    /// Takes back a chain that was used: its id, and how many bytes were written.
    pub(crate) fn collect(&mut self) -> Option<(u16, u32)> {
        let (id, len) = if self.layout.packed {
            let (place, wrap) = self.place(self.collected);
            let rest = self.descriptors.load_u64(16 * usize::from(place) + 8, Ordering::Acquire);
            let flags = (rest >> 48) as u16;
            if flags & (AVAIL | USED) != if wrap { AVAIL | USED } else { 0 } || self.collected == self.offered
            {
                return None;
            }
            assert_eq!(
                flags & WRITE != 0,
                rest as u32 > 0,
                "the flag that tells whether anything was written"
            );
            ((rest >> 32) as u16, rest as u32)
        } else {
            let seen = self.chains_collected as u16;
            if self.device.load_u16(2, Ordering::Acquire) == seen {
                return None;
            }
            let entry = 4 + 8 * usize::from(seen % self.layout.size);
            let id = self.device.load_u32(entry, Ordering::Relaxed);
            (u16::try_from(id).expect("an id"), self.device.load_u32(entry + 4, Ordering::Relaxed))
        };
        let chain = std::mem::take(&mut self.out[usize::from(id)]);
        assert!(!chain.is_empty(), "chain {id} was on its way");
        self.collected += chain.len() as u64;
        self.chains_collected += 1;
        self.free.extend(chain.into_iter().rev());
        Some((id, len))
    }

    /// Asks to be called for everything, or for nothing.
    pub(crate) fn want_calls(&self, all: bool) {
        if self.layout.packed {
            self.driver.store_u16(2, if all { 0 } else { 1 }, Ordering::Relaxed);
        } else {
            self.driver.store_u16(0, if all { 0 } else { 1 }, Ordering::Relaxed);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Asks to be called when number `n` is used (in the measure of [`Driver::seen`]). Needs the event index.
    pub(crate) fn want_call_at(&self, n: u64) {
        if self.layout.packed {
            let (at, wrap) = self.place(n);
            let bits = at | if wrap { 0x8000 } else { 0 };
            self.driver.store_u16(0, bits, Ordering::Relaxed);
            self.driver.store_u16(2, 2, Ordering::Release);
        } else {
            self.driver.store_u16(4 + 2 * usize::from(self.layout.size), n as u16, Ordering::Relaxed);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}
