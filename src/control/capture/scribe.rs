//! What writes a capture's stream, on a thread of its own.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::observer::{Note, Part};
use super::{Shared, Subject};
use crate::packet::pcapng::{self, Direction, Interface, Record};
use crate::packet::segment::{finish_checksum, segment};
use crate::packet::{Batch, DropReason, Gso, Layer, Offload};
use crate::switch::watch::Moment;
use crate::time::Time;

/// How often it is told, at most, how many frames were missed.
const TELL: Duration = Duration::from_secs(1);
/// Parts that are brought into order together, at most.
const TOGETHER: usize = 64;
/// Bytes after which a piece of the stream is sent.
const PIECE: usize = 256 * 1024;

pub(super) struct Scribe {
    pub(super) parts: Receiver<Part>,
    /// Where parts go that were written.
    pub(super) empty: Sender<Part>,
    pub(super) to: Sender<Vec<u8>>,
    pub(super) shared: Arc<Shared>,
    /// Nanoseconds from 1970 to [`Time::ZERO`].
    pub(super) origin: u64,
    /// The ports that it begins with.
    pub(super) ports: Vec<Arc<Subject>>,
    pub(super) filter: String,
    pub(super) snap_len: usize,
    pub(super) segment: bool,
}

/// What was written.
#[derive(Default)]
struct Written {
    piece: Vec<u8>,
    /// The interfaces by what they are of.
    interfaces: Vec<Account>,
    latest: Time,
    batch: Batch,
    indices: Vec<u32>,
    comment: String,
}

/// An interface that was written, and what it has had.
struct Account {
    port: Arc<Subject>,
    layer: Option<Layer>,
    /// It is the first of its port, and tells what was missed there.
    first: bool,
    received: u64,
    /// Missed, as far as a packet has said so.
    noted: u64,
    /// What was last told.
    told: (u64, u64),
}

/// Nobody takes the stream any more.
struct Gone;

impl Scribe {
    /// Writes until no observer is left, or nobody reads.
    pub(super) fn run(self) {
        // Who is gone needs no word.
        let _ = self.write();
    }

    fn write(&self) -> Result<(), Gone> {
        let mut written = Written::default();
        pcapng::section(&mut written.piece, concat!("tapyard ", env!("CARGO_PKG_VERSION")));
        if let [port] = &self.ports[..] {
            // Who waits for the first frame can know its interface already.
            self.interface(&mut written, port, Some(port.layer));
        }
        self.send(&mut written)?;
        let mut told = Instant::now();
        loop {
            let parts = match self.parts.recv_timeout(TELL) {
                Ok(first) => std::iter::once(first).chain(self.parts.try_iter()).take(TOGETHER).collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.all(&mut written, &parts)?;
            for mut part in parts {
                self.shared.waiting.fetch_sub(part.bytes.len(), Ordering::Relaxed);
                part.subjects = Arc::default();
                let _ = self.empty.try_send(part);
            }
            if told.elapsed() >= TELL {
                self.tell(&mut written);
                told = Instant::now();
            }
            self.send(&mut written)?;
        }
        self.tell(&mut written);
        self.say_why_over(&mut written);
        self.send(&mut written)
    }

    fn send(&self, written: &mut Written) -> Result<(), Gone> {
        if written.piece.is_empty() {
            return Ok(());
        }
        self.to.send(std::mem::take(&mut written.piece)).map_err(|_| Gone)
    }

    /// Writes the frames of several parts in the order of their times.
    fn all(&self, written: &mut Written, parts: &[Part]) -> Result<(), Gone> {
        let mut frames = Vec::new();
        for part in parts {
            let mut rest = &part.bytes[..];
            for note in &part.notes {
                let (bytes, after) = rest.split_at(note.kept);
                // Observers see frames of their ports only.
                let port = part.subjects.get(note.port.index()).and_then(Option::as_ref);
                frames.extend(port.map(|port| (port, note, bytes)));
                rest = after;
            }
        }
        frames.sort_by_key(|(_, note, _)| note.at);
        for (port, note, bytes) in frames {
            self.frame(written, port, note, bytes);
            if written.piece.len() >= PIECE {
                self.send(written)?;
            }
        }
        Ok(())
    }

    fn frame(&self, written: &mut Written, port: &Arc<Subject>, note: &Note, bytes: &[u8]) {
        let whole = note.kept == note.len;
        let undone = note.offload != Offload::NONE;
        let cut = undone && whole && (self.segment || note.offload.gso == Gso::None);
        written.comment.clear();
        if let Some(reason) = note.reason {
            say_why(&mut written.comment, &port.name, reason);
        }
        if cut && self.as_on_a_wire(written, port, note, bytes) {
            return;
        }
        if note.offload.gso != Gso::None {
            say_what_superframe(&mut written.comment, note);
        }
        self.record(written, port, note, bytes, note.len);
    }

    /// Writes a frame as a wire would have it: in segments, with its checksums; `false` when that cannot be done.
    fn as_on_a_wire(&self, written: &mut Written, port: &Arc<Subject>, note: &Note, bytes: &[u8]) -> bool {
        let mut batch = std::mem::take(&mut written.batch);
        let mut indices = std::mem::take(&mut written.indices);
        batch.clear();
        indices.clear();
        let done = batch.add().is_some_and(|index| {
            let frame = &mut batch.frames_mut()[index];
            frame.fill(bytes, note.offload);
            frame.layer = note.layer.unwrap_or_default();
            if note.offload.gso == Gso::None {
                finish_checksum(frame);
                indices.push(index as u32);
                return true;
            }
            segment(&mut batch, index, &mut indices).is_ok()
        });
        if done {
            for &index in &indices {
                let bytes = batch.frames()[index as usize].bytes();
                self.record(written, port, note, bytes, bytes.len());
            }
        }
        (written.batch, written.indices) = (batch, indices);
        done
    }

    fn record(&self, written: &mut Written, port: &Arc<Subject>, note: &Note, bytes: &[u8], len: usize) {
        let interface = self.interface(written, port, note.layer);
        let missed = port.missed.load(Ordering::Relaxed);
        let account = &mut written.interfaces[interface];
        account.received += 1;
        let missed = if account.first { missed } else { 0 };
        let record = Record {
            interface: interface as u32,
            nanos: self.origin + note.at.nanos(),
            bytes: &bytes[..bytes.len().min(self.snap_len)],
            len,
            direction: match note.moment {
                Moment::Received => Some(Direction::In),
                Moment::Sent => Some(Direction::Out),
                Moment::Dropped => None,
            },
            missed: missed - account.noted,
            comment: &written.comment,
        };
        account.noted = missed;
        written.latest = note.at;
        pcapng::packet(&mut written.piece, &record);
    }

    /// The number of the interface, which is written before its first frame.
    fn interface(&self, written: &mut Written, port: &Arc<Subject>, layer: Option<Layer>) -> usize {
        let is_it = |known: &Account| Arc::ptr_eq(&known.port, port) && known.layer == layer;
        let known = written.interfaces.iter().position(is_it);
        known.unwrap_or_else(|| {
            let interface =
                Interface { name: &port.name, layer, snap_len: self.snap_len as u32, filter: &self.filter };
            pcapng::interface(&mut written.piece, &interface);
            let first = !written.interfaces.iter().any(|known| Arc::ptr_eq(&known.port, port));
            let port = Arc::clone(port);
            written.interfaces.push(Account { port, layer, first, received: 0, noted: 0, told: (0, 0) });
            written.interfaces.len() - 1
        })
    }

    /// Writes how many frames interfaces have had, where that is news.
    fn tell(&self, written: &mut Written) {
        for port in self.ports.iter().filter(|port| port.missed.load(Ordering::Relaxed) > 0) {
            self.interface(written, port, Some(port.layer));
        }
        for (number, account) in written.interfaces.iter_mut().enumerate() {
            let missed = if account.first { account.port.missed.load(Ordering::Relaxed) } else { 0 };
            let now = (account.received + missed, missed);
            if account.told != now {
                account.told = now;
                let nanos = self.origin + written.latest.nanos();
                pcapng::statistics(&mut written.piece, number as u32, nanos, now.0, now.1, "");
            }
        }
    }

    /// Writes why no more comes, if that is nobody's wish.
    fn say_why_over(&self, written: &mut Written) {
        let Some(why) = self.shared.over.get() else { return };
        if written.interfaces.is_empty() {
            let nothing = Subject { name: String::new(), layer: Layer::Ethernet, missed: AtomicU64::new(0) };
            self.interface(written, &Arc::new(nothing), Some(Layer::Ethernet));
        }
        let (received, missed) = written.interfaces[0].told;
        let nanos = self.origin + written.latest.nanos();
        pcapng::statistics(&mut written.piece, 0, nanos, received, missed, why);
    }
}

fn say_why(comment: &mut String, port: &str, reason: DropReason) {
    let (name, meaning, remedy) = (reason.name(), reason.meaning(), reason.remedy());
    // A string takes anything.
    let _ = write!(comment, "dropped at {port}: {name}: {meaning}. Remedy: {remedy}");
}

fn say_what_superframe(comment: &mut String, note: &Note) {
    let Offload { gso_size, header_len, .. } = note.offload;
    let payload = note.len.saturating_sub(header_len.into());
    let segments = payload.div_ceil(gso_size.max(1).into()).max(1);
    let apart = if comment.is_empty() { "" } else { "\n" };
    let _ =
        write!(comment, "{apart}superframe: {segments} segments of {gso_size} bytes, checksum unfinished");
}
