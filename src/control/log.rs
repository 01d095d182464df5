//! The log: one line for each event, on stderr, for people or as JSON. No frame is ever worth one.
//!
//! What a guest or a peer does may be worth a line, and they can do it as often as they like. So every place in the
//! program that logs may do so [`BURST`] times at once and then once in [`PACE`], apart for each port, bridge or
//! device it names; how many lines that left out is told every [`TOLD`], and at the end. Errors are no exception.

mod text;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::hash::{Hash, Hasher};
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use text::{Parts, People};

/// The environment variable that says from which level on, as `--log` does.
pub const LEVEL_VARIABLE: &str = "TAPYARD_LOG";
/// The environment variable that says how lines look, as `--log-format` does.
pub const FORMAT_VARIABLE: &str = "TAPYARD_LOG_FORMAT";

/// Lines of one place about one subject, one after the other, however fast.
const BURST: u32 = 20;
/// How often there is one more of them from then on.
const PACE: Duration = Duration::from_secs(1);
/// How often it is told how many were left out.
const TOLD: Duration = Duration::from_secs(5);
/// Places and subjects that are told apart at most.
const MAX_SUBJECTS: usize = 4096;
/// What the lines are known by that say how many were left out, which none of this is about.
const SUMMARY: &str = "tapyard::suppressed";
/// The target of lines that an operator has asked for, and that are as many as that was: none of them is left out.
pub(crate) const ASKED: &str = "tapyard::asked";
/// Parts that have no news for an operator below this.
const QUIET: &str = "netlink_packet_route=error,netlink_packet_core=error";
/// The fields that say what a line is about.
const SUBJECTS: [&str; 7] = ["worker", "bridge", "rule", "port", "device", "underlay", "export"];

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, what happened, and the fields.
    #[default]
    Text,
    /// For machines: an object of JSON on each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("\"{other}\" is no format of a log (expected text or json)")),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// From which level on, or what else [`EnvFilter`] understands; otherwise what [`LEVEL_VARIABLE`] says, else `info`.
    pub level: Option<String>,
    /// How lines look; otherwise what [`FORMAT_VARIABLE`] says, else for people.
    pub format: Option<LogFormat>,
}

impl LogOptions {
    /// How lines look, the environment included.
    ///
    /// # Errors
    /// The environment names a format that there is not.
    pub fn format(&self) -> Result<LogFormat, String> {
        let named = || variable(FORMAT_VARIABLE).map(|text| text.parse()).transpose();
        match self.format {
            Some(format) => Ok(format),
            None => {
                Ok(named().map_err(|why: String| format!("{FORMAT_VARIABLE}: {why}"))?.unwrap_or_default())
            }
        }
    }

    fn filter(&self) -> Result<EnvFilter, String> {
        let (who, level) = match (&self.level, variable(LEVEL_VARIABLE)) {
            (Some(level), _) => ("--log", level.clone()),
            (None, Some(level)) => (LEVEL_VARIABLE, level),
            (None, None) => ("", "info".into()),
        };
        let wrong = || format!("{who}: \"{level}\" is no level (expected error, warn, info, debug or trace)");
        // One word that is no level would be taken for a part of the program, the only one to be logged.
        let is_word = !level.contains(['=', ',', ':', '[']);
        if is_word && level.parse::<LevelFilter>().is_err() {
            return Err(wrong());
        }
        // What the kernel tells of interfaces beyond what the netlink crate knows is no news for an operator, unless he
        // asks for it: of two about the same, the latter holds.
        EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|_| wrong())
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

/// A log that is being written. When it is dropped, what was left out until then is told.
pub struct Log {
    limit: Arc<Limit>,
    teller: Option<JoinHandle<()>>,
}

/// Has all that happens from now on logged to stderr.
///
/// # Errors
/// In one line: the level or the format is none.
pub fn start(options: &LogOptions) -> Result<Log, String> {
    let (filter, format) = (options.filter()?, options.format()?);
    let limit = Arc::new(Limit::default());
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).event_format(People).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    // A second call in one process (a test) keeps the first one's.
    let _ =
        tracing_subscriber::registry().with(filter).with(Limiting(Arc::clone(&limit))).with(layer).try_init();
    let told = Arc::clone(&limit);
    let teller = thread::Builder::new().name("log".into()).spawn(move || told.tell_on()).ok();
    Ok(Log { limit, teller })
}

impl Drop for Log {
    fn drop(&mut self) {
        self.limit.book().over = true;
        self.limit.wake.notify_all();
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

/// Asks the [`Limit`] about every event.
struct Limiting(Arc<Limit>);

impl<S: Subscriber> Layer<S> for Limiting {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        [SUMMARY, ASKED].contains(&event.metadata().target()) || self.0.admits(event)
    }
}

/// What keeps the log from being flooded.
#[derive(Default)]
struct Limit {
    book: Mutex<Book>,
    /// Something was left out, or the end has come.
    wake: Condvar,
}

impl Limit {
    /// The book. Whoever panicked in it has left it whole.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, event: &Event<'_>) -> bool {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let mut hasher = DefaultHasher::new();
        parts.subject.hash(&mut hasher);
        let key = (event.metadata().callsite(), hasher.finish());
        let text = || parts.subject + &parts.message;
        let admitted = self.book().admits(key, *event.metadata().level(), Instant::now(), text);
        if !admitted {
            self.wake.notify_all();
        }
        admitted
    }

    /// Tells what is left out, until the end.
    fn tell_on(&self) {
        let mut book = self.book();
        loop {
            let (now, over) = (Instant::now(), book.over);
            let due = book.take_due(if over { None } else { Some(now) });
            if !due.is_empty() {
                drop(book);
                due.iter().for_each(tell);
                book = self.book();
                continue;
            }
            if over {
                return;
            }
            book = match book.next_due() {
                Some(next) => {
                    let waited = self.wake.wait_timeout(book, next.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(book).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn tell(left_out: &LeftOut) {
    let LeftOut { level, lines, like } = left_out;
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(target: SUMMARY, suppressed = lines, like, "{lines} more like this were suppressed")
        };
    }
    match *level {
        Level::ERROR => tell!(error),
        Level::WARN => tell!(warn),
        Level::INFO => tell!(info),
        _ => tell!(debug),
    }
}

/// Lines that were left out.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    level: Level,
    lines: u64,
    /// What the first of them said.
    like: String,
}

/// A place in the program, and what it speaks of.
type Key = (Identifier, u64);

/// Who has said how much.
#[derive(Default)]
struct Book {
    sources: HashMap<Key, Source>,
    over: bool,
}

struct Source {
    /// Lines that it may say now.
    left: u32,
    /// When the last one was given to `left`.
    given: Instant,
    /// What was left out since that was last told, and since when.
    left_out: Option<(Instant, LeftOut)>,
}

impl Book {
    /// Whether a line may be said; `text` is what it says.
    fn admits(&mut self, key: Key, level: Level, now: Instant, text: impl FnOnce() -> String) -> bool {
        let key = self.room_for(key, now);
        let source = self.sources.entry(key);
        let source = source.or_insert(Source { left: BURST, given: now, left_out: None });
        source.refill(now);
        if source.left > 0 {
            source.left -= 1;
            return true;
        }
        match &mut source.left_out {
            Some((_, left_out)) => left_out.lines += 1,
            None => source.left_out = Some((now, LeftOut { level, lines: 1, like: text() })),
        }
        false
    }

    /// The key, or where no other is to be told apart, that of all that its place says.
    fn room_for(&mut self, key: Key, now: Instant) -> Key {
        if self.sources.len() >= MAX_SUBJECTS && !self.sources.contains_key(&key) {
            self.sources.retain(|_, source| {
                source.refill(now);
                source.left < BURST || source.left_out.is_some()
            });
            if self.sources.len() >= MAX_SUBJECTS {
                return (key.0, 0);
            }
        }
        key
    }

    /// What is to be told by `now`, or all there is.
    fn take_due(&mut self, now: Option<Instant>) -> Vec<LeftOut> {
        let is_due = |since: Instant| now.is_none_or(|now| now.saturating_duration_since(since) >= TOLD);
        let due = self.sources.values_mut().filter_map(|source| {
            let (_, left_out) = source.left_out.take_if(|(since, _)| is_due(*since))?;
            Some(left_out)
        });
        due.collect()
    }

    fn next_due(&self) -> Option<Instant> {
        self.sources.values().filter_map(|source| Some(source.left_out.as_ref()?.0 + TOLD)).min()
    }
}

impl Source {
    fn refill(&mut self, now: Instant) {
        let due = now.saturating_duration_since(self.given).as_millis() / PACE.as_millis();
        if due > 0 {
            self.left = BURST.min(self.left.saturating_add(due.try_into().unwrap_or(BURST)));
            self.given = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that were let through.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(String, Identifier)>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut parts = Parts::default();
            event.record(&mut parts);
            self.0.lock().unwrap().push((parts.subject + &parts.message, event.metadata().callsite()));
        }
    }

    /// What gets through of what `work` logs, and the limit that was asked.
    fn through(work: impl FnOnce()) -> (Vec<(String, Identifier)>, Arc<Limit>) {
        let (seen, limit) = (Seen::default(), Arc::new(Limit::default()));
        let subscriber = tracing_subscriber::registry().with(Limiting(Arc::clone(&limit))).with(seen.clone());
        tracing::subscriber::with_default(subscriber, work);
        (seen.0.lock().unwrap().clone(), limit)
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_and_parts_without_news_stay_quiet() {
        let filter = |level: &str| LogOptions { level: Some(level.into()), format: None }.filter();
        assert_eq!(
            filter("debgu").unwrap_err(),
            "--log: \"debgu\" is no level (expected error, warn, info, debug or trace)"
        );
        let quiet = "netlink_packet_route=error";
        for level in ["debug", "WARN", "off", "info,tapyard::worker=trace"] {
            assert!(filter(level).unwrap().to_string().contains(quiet), "{level}");
        }
        assert!(!filter("netlink_packet_route=debug").unwrap().to_string().contains(quiet));
    }

    #[test]
    fn what_an_operator_asked_for_is_never_left_out_and_what_a_guest_did_is() {
        let (asked, _) = through(|| (0..1000).for_each(|n| tracing::info!(target: ASKED, "+ port {n}")));
        assert_eq!(asked.len(), 1000);
        let did = |port: &str| tracing::error!(port, "its guest is disconnected");
        let (seen, limit) = through(|| {
            (0..1_000_000).for_each(|_| did("bad"));
            did("good");
        });
        assert!(seen.len() < 1000, "{}", seen.len());
        assert_eq!(seen.last().unwrap().0, "port good: its guest is disconnected");
        let left_out: u64 = limit.book().take_due(None).iter().map(|left_out| left_out.lines).sum();
        assert_eq!(left_out, 1_000_001 - seen.len() as u64);
    }

    #[test]
    fn a_flood_becomes_a_trickle_that_says_how_much_it_left_out() {
        let (seen, _) = through(|| tracing::info!("x"));
        let key = (seen[0].1.clone(), 7);
        let (mut book, start) = (Book::default(), Instant::now());
        let mut said = |seconds| {
            let now = start + Duration::from_secs(seconds);
            (0..1000).filter(|_| book.admits(key.clone(), Level::ERROR, now, || "x".into())).count()
        };
        assert_eq!((said(0), said(1), said(3)), (BURST as usize, 1, 2));
        assert_eq!(book.next_due(), Some(start + TOLD));
        assert_eq!(book.take_due(Some(start + TOLD - PACE)), []);
        let lines = 3000 - u64::from(BURST) - 3;
        let told = LeftOut { level: Level::ERROR, lines, like: "x".into() };
        assert_eq!(book.take_due(Some(start + TOLD)), [told]);
        assert_eq!((book.take_due(None), book.next_due()), (vec![], None));
    }

    #[test]
    fn subjects_beyond_the_most_share_what_their_place_may_say() {
        let (seen, _) = through(|| tracing::info!("x"));
        let (mut book, now) = (Book::default(), Instant::now());
        let mut said = |subject| book.admits((seen[0].1.clone(), subject), Level::INFO, now, String::new);
        assert!((1..=MAX_SUBJECTS as u64).all(&mut said));
        let others = (0..1000).filter(|subject| said(MAX_SUBJECTS as u64 + 1 + subject)).count();
        assert_eq!(others, BURST as usize);
        assert_eq!(book.sources.len(), MAX_SUBJECTS + 1);
        // Those that have long been silent make room.
        assert!(book.admits((seen[0].1.clone(), 0), Level::INFO, now + 100 * PACE, String::new));
    }

    #[test]
    fn formats_and_levels_are_told_by_their_names() {
        assert_eq!(("json".parse(), "text".parse()), (Ok(LogFormat::Json), Ok(LogFormat::Text)));
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("expected text or json"));
        let of =
            |level: &str| LogOptions { level: Some(level.into()), ..LogOptions::default() }.filter().is_ok();
        assert!(of("warn") && of("info,tapyard=debug") && !of("tapyard=loud"));
    }
}
