//! Captures in files: one, or one after the other.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Blocks, Sink};
use crate::cli::{Failure, Outcome};
use crate::packet::pcapng::Packet;

/// Bytes that wait to be written together.
const TOGETHER: usize = 256 * 1024;

/// When the next file begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotation {
    /// Before one is longer than this, in bytes.
    pub(super) size: Option<u64>,
    /// When one is older than this and something comes.
    pub(super) time: Option<Duration>,
    /// How many are kept.
    pub(super) keep: Option<u64>,
}

impl Rotation {
    pub(super) fn is_some(&self) -> bool {
        self.size.is_some() || self.time.is_some() || self.keep.is_some()
    }
}

/// Files that are written one after the other. Each is whole: it begins with all blocks that say what is in it.
pub(super) struct Files {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    begun: Instant,
    /// The number of the file.
    number: u64,
    /// Bytes of whole blocks that are in it.
    written: u64,
    waiting: Vec<u8>,
    /// Where blocks end in what waits.
    ends: Vec<usize>,
    /// The blocks that every file begins with.
    head: Vec<u8>,
    /// A packet is in the file.
    used: bool,
    kept: VecDeque<PathBuf>,
}

impl Files {
    pub(super) fn create(path: &Path, rotation: Rotation) -> Result<Files, String> {
        if rotation.keep.is_some() && rotation.size.is_none() && rotation.time.is_none() {
            return Err("-W keeps the last of several files (expected -C or -G beside it)".into());
        }
        let first = if rotation.is_some() { numbered(path, 1) } else { path.to_owned() };
        let file = open(&first)?;
        Ok(Files {
            path: path.to_owned(),
            rotation,
            file,
            begun: Instant::now(),
            number: 1,
            written: 0,
            waiting: Vec::new(),
            ends: Vec::new(),
            head: Vec::new(),
            used: false,
            kept: [first].into(),
        })
    }

    /// Begins the next file, when it is time for it before a block of `len` bytes.
    fn rotate(&mut self, len: usize) -> Outcome {
        let full =
            self.rotation.size.is_some_and(|size| self.written + (self.waiting.len() + len) as u64 > size);
        let old = self.rotation.time.is_some_and(|time| self.begun.elapsed() >= time);
        if !self.used || !(full || old) {
            return Ok(());
        }
        self.flush()?;
        self.number += 1;
        let next = numbered(&self.path, self.number);
        self.file = open(&next)?;
        self.kept.push_back(next);
        while self.rotation.keep.is_some_and(|keep| self.kept.len() as u64 > keep) {
            if let Some(oldest) = self.kept.pop_front() {
                // Somebody may have taken it away.
                let _ = fs::remove_file(oldest);
            }
        }
        (self.begun, self.written, self.used) = (Instant::now(), 0, false);
        self.waiting.extend_from_slice(&self.head);
        self.ends.push(self.waiting.len());
        Ok(())
    }

    fn write(&mut self) -> std::io::Result<()> {
        let mut done = 0;
        let result = loop {
            match self.file.write(&self.waiting[done..]) {
                Ok(0) if done < self.waiting.len() => break Err(ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if done == self.waiting.len() {
                break Ok(());
            }
        };
        self.written += self.ends.iter().rfind(|end| **end <= done).map_or(0, |end| *end as u64);
        if result.is_err() {
            // So that no block is cut off. Only what was written goes: that needs no room.
            self.file.set_len(self.written)?;
        }
        self.waiting.clear();
        self.ends.clear();
        result
    }
}

impl Sink for Files {
    fn take(&mut self, block: &[u8], packet: Option<(&Packet<'_>, &Blocks)>) -> Outcome {
        if packet.is_some() {
            self.rotate(block.len())?;
            self.used = true;
        } else if self.rotation.is_some() && says_what_follows(block) {
            self.head.extend_from_slice(block);
        }
        self.waiting.extend_from_slice(block);
        self.ends.push(self.waiting.len());
        if self.waiting.len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.write().map_err(|error| {
            let file = self.kept.back().unwrap_or(&self.path).display();
            Failure::Said(format!("{file}: {error}: the capture ends here; what is in the file is whole"))
        })
    }
}

/// Whether a block is of a section or an interface, which later ones refer to.
fn says_what_follows(block: &[u8]) -> bool {
    matches!(block.first_chunk().map(|kind| u32::from_le_bytes(*kind)), Some(0x0a0d_0d0a | 1))
}

/// The path with a number before its extension.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map_or_else(String::new, |extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}.{number:05}{extension}"))
}

fn open(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}
