//! Captures: frames of some ports, as pcapng on the connection that asked for them.
//!
//! On each worker an [`Observer`] copies the frames that are wanted into a [`Part`], and hands it on when the batch is done
//! with. Parts of all workers meet at a thread, which writes the stream. Nobody waits for anybody: when there is no room
//! for a part, its frames are missed, and counted as missed. How fast a capture is read is therefore the reader's business
//! only, and one who does not read at all is left by the control socket in the end.

mod observer;
mod scribe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::api::{CaptureDirection, CaptureInfo, CaptureQuery};
use super::config::PortKind;
use super::server::Stream;
use super::yard::State;
use crate::packet::{Layer, MAX_FRAME, PortId};
use crate::switch::watch::{Moment, Watcher};
use observer::{Observer, Part};
use scribe::Scribe;

/// Most parts that wait to be written.
const MAX_PARTS: usize = 1024;
/// Most bytes of parts that wait to be written.
const MAX_WAITING: usize = 32 << 20;
/// Most parts whose memory is kept to be used again.
const MAX_SPARE: usize = 32;
/// Most pieces of the stream that wait to be sent.
const MAX_PIECES: usize = 4;

/// The ports of a capture, with their names and what their frames begin with.
type Ports = BTreeMap<PortId, (String, Layer)>;

/// What observers and the scribe of a capture share.
struct Shared {
    /// Bytes of parts that wait to be written.
    waiting: AtomicUsize,
    /// Frames that were missed, by port.
    missed: Box<[AtomicU64]>,
}

/// Starts a capture.
///
/// # Errors
/// One line: there is no such target, or too many watch already.
pub(super) fn start(state: &mut State, query: &CaptureQuery) -> Result<(CaptureInfo, Stream), String> {
    let (ports, moments) = target(state, query)?;
    let slots = ports.keys().map(|id| id.index() + 1).max().unwrap_or(0);
    let mut wanted = vec![false; slots];
    ports.keys().for_each(|id| wanted[id.index()] = true);
    let missed = (0..slots).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { waiting: AtomicUsize::new(0), missed });
    let (to, parts) = crossbeam_channel::bounded::<Part>(MAX_PARTS);
    let (empty, emptied) = crossbeam_channel::bounded::<Part>(MAX_SPARE);
    let (pieces, stream) = crossbeam_channel::bounded(MAX_PIECES);
    let snap_len = query.snap_len.filter(|len| *len > 0).map_or(MAX_FRAME, |len| len as usize);
    let observer = |_| -> Box<dyn Watcher> {
        Box::new(Observer {
            wanted: wanted.clone(),
            moments: moments.clone(),
            filter: query.filter.clone(),
            // What is to be cut has to be there.
            snap_len: if query.segment { MAX_FRAME } else { snap_len },
            part: Part::default(),
            shared: Arc::clone(&shared),
            to: to.clone(),
            emptied: emptied.clone(),
            over: false,
        })
    };
    // The clock of the frames, as the calendar has it.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let origin = since_1970.saturating_sub(state.started.elapsed());
    let source = state.watch(observer)?;
    let names = ports.values().map(|(name, _)| name.clone()).collect();
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

/// The ports that are meant, with their names, and when their frames are to be seen.
fn target(state: &State, query: &CaptureQuery) -> Result<(Ports, Vec<Moment>), String> {
    let layer = |name: &str| state.config.ports.get(name).map_or(Layer::Ethernet, |port| port.kind.layer());
    let ports = || state.live.ports.iter().map(|(name, port)| (port.id, (name.clone(), layer(name))));
    let is_underlay = |name: &str| {
        state.config.ports.get(name).is_some_and(|port| matches!(port.kind, PortKind::Underlay(_)))
    };
    let moments = match query.direction {
        None => vec![Moment::Received, Moment::Sent],
        Some(CaptureDirection::In) => vec![Moment::Received],
        Some(CaptureDirection::Out) => vec![Moment::Sent],
    };
    match query.target.as_str() {
        "drops" if query.direction.is_some() => {
            return Err("what is dropped goes nowhere (expected no direction beside `drops`)".into());
        }
        "drops" => return Ok((ports().collect(), vec![Moment::Dropped])),
        "any" => return Ok((ports().filter(|(_, (name, _))| !is_underlay(name)).collect(), moments)),
        _ => {}
    }
    let (kind, name) = match query.target.split_once(':') {
        Some((kind @ ("port" | "bridge"), name)) => (Some(kind), name),
        _ => (None, query.target.as_str()),
    };
    let port = state.live.ports.get(name).filter(|_| kind != Some("bridge"));
    let is_bridge = kind != Some("port") && state.live.bridges.contains_key(name);
    match (port, is_bridge) {
        (Some(_), true) => {
            Err(format!("a port and a bridge are called {name} (expected port:{name} or bridge:{name})"))
        }
        (Some(_), false) if is_underlay(name) => Err(format!(
            "{name} is what tunnels send by (expected a tunnel's port, for what is inside; \
             outside, what the host's own tools show)"
        )),
        (Some(port), false) => Ok(([(port.id, (name.to_owned(), layer(name)))].into(), moments)),
        (None, true) => {
            let on_it = |port: &str| {
                state.config.ports.get(port).is_some_and(|port| port.bridge.as_deref() == Some(name))
            };
            Ok((ports().filter(|(_, (port, _))| on_it(port)).collect(), moments))
        }
        (None, false) => {
            let what = kind.unwrap_or("port or bridge");
            Err(format!(
                "there is no {what} {name} (port show and bridge show list them; `drops` and `any` are more)"
            ))
        }
    }
}
