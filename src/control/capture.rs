//! Captures: frames of some ports, as pcapng on the connection that asked for them.
//!
//! On each worker an [`Observer`] copies the frames that are wanted into a [`Part`], and hands it on when the batch is done
//! with. Parts of all workers meet at a thread, which writes the stream. Nobody waits for anybody: when there is no room
//! for a part, its frames are missed, and counted as missed. How fast a capture is read is therefore the reader's business
//! only, and one who does not read at all is left by the control socket in the end.

mod observer;
mod scribe;
mod target;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};

use super::api::{CaptureInfo, CaptureQuery};
use super::config::Config;
use super::server::Stream;
use super::shape::Live;
use super::watching::{Source, Turn};
use super::yard::State;
use crate::packet::{Expression, Layer, MAX_FRAME};
use crate::switch::watch::{Moment, Watcher};
use observer::{Observer, Part};
use scribe::Scribe;
use target::Target;

/// Most parts that wait to be written.
const MAX_PARTS: usize = 1024;
/// Most bytes of parts that wait to be written.
const MAX_WAITING: usize = 32 << 20;
/// Most parts whose memory is kept to be used again.
const MAX_SPARE: usize = 32;
/// Most pieces of the stream that wait to be sent.
const MAX_PIECES: usize = 4;

/// A port that is captured from.
struct Subject {
    name: String,
    /// What its frames begin with.
    layer: Layer,
    /// Frames of it that were missed.
    missed: AtomicU64,
}

/// The ports of a capture, by slot.
type Subjects = Arc<[Option<Arc<Subject>>]>;

/// What observers and the scribe of a capture share.
#[derive(Default)]
struct Shared {
    /// Bytes of parts that wait to be written.
    waiting: AtomicUsize,
    /// Why it is over, if nobody has asked for that.
    over: OnceLock<String>,
}

/// Starts a capture.
///
/// # Errors
/// One line: there is no such target, or too many watch already.
pub(super) fn start(state: &mut State, query: &CaptureQuery) -> Result<(CaptureInfo, Stream), String> {
    let (target, moments) = Target::of(query, &state.config, &state.live)?;
    let subjects = target.subjects(&state.config, &state.live, &[]).unwrap_or_default();
    let ports: Vec<_> = subjects.iter().flatten().cloned().collect();
    let shared = Arc::<Shared>::default();
    let (to, parts) = crossbeam_channel::bounded::<Part>(MAX_PARTS);
    let (empty, emptied) = crossbeam_channel::bounded::<Part>(MAX_SPARE);
    let (pieces, stream) = crossbeam_channel::bounded(MAX_PIECES);
    let snap_len = query.snap_len.filter(|len| *len > 0).map_or(MAX_FRAME, |len| len as usize);
    // The clock of the frames, as the calendar has it.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let origin = since_1970.saturating_sub(state.started.elapsed());
    let capture = Capture {
        target,
        subjects,
        moments,
        filter: query.filter.clone(),
        // What is to be cut has to be there.
        snap_len: if query.segment { MAX_FRAME } else { snap_len },
        shared: Arc::clone(&shared),
        to,
        emptied,
    };
    let source = state.watch(Box::new(capture))?;
    let mut names: Vec<_> = ports.iter().map(|port| port.name.clone()).collect();
    names.sort();
    let scribe = Scribe {
        parts,
        empty,
        to: pieces,
        shared,
        origin: origin.as_nanos().try_into().unwrap_or(0),
        ports,
        filter: query.filter.to_string(),
        snap_len,
        segment: query.segment,
    };
    thread::Builder::new()
        .name("capture".into())
        .spawn(move || scribe.run())
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok((CaptureInfo { ports: names }, Stream { parts: stream, source: Box::new(source) }))
}

/// What makes the observers of a capture.
struct Capture {
    target: Target,
    subjects: Subjects,
    moments: Vec<Moment>,
    filter: Expression,
    snap_len: usize,
    shared: Arc<Shared>,
    to: Sender<Part>,
    emptied: Receiver<Part>,
}

impl Source for Capture {
    fn watcher(&self) -> Box<dyn Watcher> {
        Box::new(Observer {
            subjects: Arc::clone(&self.subjects),
            moments: self.moments.clone(),
            filter: self.filter.clone(),
            snap_len: self.snap_len,
            part: Part::default(),
            shared: Arc::clone(&self.shared),
            to: self.to.clone(),
            emptied: self.emptied.clone(),
            over: false,
        })
    }

    fn turn(&mut self, config: &Config, live: &Live) -> Turn {
        let Some(subjects) = self.target.subjects(config, live, &self.subjects) else {
            let _ = self.shared.over.set(self.target.gone());
            return Turn::Over;
        };
        let same = |(now, then): (&Option<Arc<Subject>>, &Option<Arc<Subject>>)| match (now, then) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (now, then) => now.is_none() && then.is_none(),
        };
        if subjects.len() == self.subjects.len() && subjects.iter().zip(&*self.subjects).all(same) {
            return Turn::Same;
        }
        self.subjects = subjects;
        Turn::Other
    }
}
