//! `/api/...`: the answers of the control socket as JSON, to look at only.
//!
//! | path | what |
//! |---|---|
//! | `version`, `stats`, `ports`, `bridges`, `routers`, `tunnels`, `mirrors`, `drops` | a part of one snapshot |
//! | `state` | all of these, by name |
//! | `talkers` | the conversations that most comes in of |
//! | `fdb?text=&bridge=&port=&limit=` | a search of the FDBs; all of it may be left out |
//! | `trace?port=&frame=&remote=` | what would happen to a frame; `remote` may be left out |
//!
//! What is not to be had is `{"error":"why"}`, with a status that says so.
//!
//! Nobody is asked who he is, so nobody can make much work: all who look within [`FRESH`] see the same snapshot, which
//! takes no more than a [`SHARE`]th of the time to gather, and searches and traces are made one at a time, [`ASKED`] in a
//! second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control::api::{FdbSearch, Request as Ask, TraceQuery};
use crate::control::http::{Request, Response, Status};
use crate::control::yard::View;

/// What the paths of all these begin with.
pub(super) const BELOW: &str = "/api/";
/// How old a snapshot may be, at least.
const FRESH: Duration = Duration::from_millis(500);
/// Where a snapshot takes long, it may be so many times as old as that.
const SHARE: u32 = 10;
/// Searches in a second, and traces, of all who ask together.
const ASKED: u32 = 10;
/// Entries that a search gives unless it says how many.
const FOUND: usize = 100;
/// Most entries that a search gives here.
const MAX_FOUND: usize = 1000;

/// A part of the state, by its name below the path, and the request that it answers.
type Part = (&'static str, fn() -> Ask);

/// The parts of a snapshot, and what the control socket is asked for each.
const PARTS: [Part; 8] = [
    ("version", || Ask::Version {}),
    ("stats", || Ask::Stats {}),
    ("ports", || Ask::PortShow { name: None }),
    ("bridges", || Ask::BridgeShow {}),
    ("routers", || Ask::RouterShow { name: None }),
    ("tunnels", || Ask::TunnelShow { name: None }),
    ("mirrors", || Ask::MirrorShow { name: None }),
    ("drops", || Ask::Drops {}),
];
/// The only part of the other snapshot: who asks for it has conversations counted.
const TALKERS: [Part; 1] = [("talkers", || Ask::Talkers {})];

/// Where questions are answered.
#[derive(Default)]
pub(super) struct Desk {
    state: Memory,
    talkers: Memory,
    searches: Mutex<Pace>,
    traces: Mutex<Pace>,
}

/// Why a question has no answer.
type Refusal = (Status, String);

impl Desk {
    /// The answer to the question `name` with the query of `request`.
    pub(super) fn answer(&self, view: &View, name: &str, request: &Request) -> Response {
        match self.look(view, name, request) {
            Ok(text) => Response::ok(JSON, text),
            Err((status, why)) => Response::new(status, JSON, json!({ "error": why }).to_string()),
        }
    }

    fn look(&self, view: &View, name: &str, request: &Request) -> Result<Arc<str>, Refusal> {
        let query = |name: &str| request.query(name).filter(|value| !value.is_empty());
        match name {
            "state" => Ok(self.state.snapshot(&PARTS, view)?.whole),
            "talkers" => Ok(self.talkers.snapshot(&TALKERS, view)?.parts[0].clone()),
            "fdb" => {
                let search = search(query)?;
                paced(&self.searches, || view.ask(Ask::FdbFind(search)))
            }
            "trace" => {
                let trace = trace(query)?;
                paced(&self.traces, || view.ask(Ask::Trace(trace)))
            }
            _ => match PARTS.iter().position(|(part, _)| *part == name) {
                Some(at) => Ok(self.state.snapshot(&PARTS, view)?.parts[at].clone()),
                None => Err((Status::NOT_FOUND, format!("there is no {BELOW}{name}"))),
            },
        }
    }
}

const JSON: &str = "application/json";

/// The search that a query asks for.
fn search(query: impl Fn(&str) -> Option<String>) -> Result<FdbSearch, Refusal> {
    let limit = match query("limit") {
        None => FOUND,
        Some(text) => match text.parse() {
            Ok(limit) if limit <= MAX_FOUND => limit,
            _ => return Err(bad(format!("limit is no number from 0 to {MAX_FOUND}"))),
        },
    };
    let (text, bridge, port) = (query("text"), query("bridge"), query("port"));
    Ok(FdbSearch { text, bridge, port, limit: Some(limit), ..FdbSearch::default() })
}

/// The trace that a query asks for.
fn trace(query: impl Fn(&str) -> Option<String>) -> Result<TraceQuery, Refusal> {
    let needed =
        |name| query(name).ok_or_else(|| bad(format!("{name} is missing (/api/trace?port=&frame=)")));
    let remote = query("remote").map(|text| text.parse().map_err(|_| bad("remote is no IP address".into())));
    Ok(TraceQuery { port: needed("port")?, frame: needed("frame")?, remote: remote.transpose()? })
}

fn bad(why: String) -> Refusal {
    (Status::BAD_REQUEST, why)
}

/// What `ask` is answered, unless too much was asked in this second. Who asks waits until the one before has his answer.
fn paced(pace: &Mutex<Pace>, ask: impl FnOnce() -> Result<Value, String>) -> Result<Arc<str>, Refusal> {
    let mut pace = lock(pace);
    if !pace.take(Instant::now()) {
        return Err((
            Status::TOO_MANY_REQUESTS,
            format!("{ASKED} have asked in this second: ask again soon"),
        ));
    }
    ask().map(|value| value.to_string().into()).map_err(bad)
}

/// How much was asked in a second.
#[derive(Default)]
struct Pace {
    second: Option<Instant>,
    asked: u32,
}

impl Pace {
    /// Whether one more may ask.
    fn take(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            *self = Pace { second: Some(now), asked: 0 };
        }
        self.asked += 1;
        self.asked <= ASKED
    }
}

/// The last snapshot.
#[derive(Default)]
struct Memory(Mutex<Option<(Instant, Snapshot)>>);

/// What was seen at about one moment, as JSON.
#[derive(Clone)]
struct Snapshot {
    /// All parts by name.
    whole: Arc<str>,
    parts: Arc<[Arc<str>]>,
}

impl Memory {
    /// The last snapshot while it is fresh, or else a new one. Who asks at the same time as another gets the same.
    fn snapshot(&self, parts: &[Part], view: &View) -> Result<Snapshot, Refusal> {
        let mut last = lock(&self.0);
        let began = Instant::now();
        if let Some((until, snapshot)) = &*last
            && began < *until
        {
            return Ok(snapshot.clone());
        }
        let snapshot =
            Snapshot::take(parts, |ask| view.ask(ask)).map_err(|why| (Status::UNAVAILABLE, why))?;
        *last = Some((Instant::now() + FRESH.max(began.elapsed() * SHARE), snapshot.clone()));
        Ok(snapshot)
    }
}

impl Snapshot {
    fn take(parts: &[Part], ask: impl Fn(Ask) -> Result<Value, String>) -> Result<Snapshot, String> {
        let (mut whole, mut texts) = (String::from("{"), Vec::new());
        for (name, request) in parts {
            let text = ask(request())?.to_string();
            let comma = if texts.is_empty() { "" } else { "," };
            whole += &format!("{comma}\"{name}\":{text}");
            texts.push(Arc::from(text));
        }
        whole.push('}');
        Ok(Snapshot { whole: whole.into(), parts: texts.into() })
    }
}

/// What these locks hold is whole whatever thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
