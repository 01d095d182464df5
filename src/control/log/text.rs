//! Log lines for people: `TIME LEVEL port vm1: what has happened, other=field`.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::SUBJECTS;

/// Writes what an event is about before what it says.
pub(super) struct People;

impl<S, N> FormatEvent<S, N> for People
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut out)?;
        let level = *event.metadata().level();
        match (out.has_ansi_escapes(), colour(level)) {
            (true, Some(colour)) => write!(out, " \x1b[{colour}m{level:>5}\x1b[0m ")?,
            _ => write!(out, " {level:>5} ")?,
        }
        let mut parts = Parts::default();
        event.record(&mut parts);
        let Parts { subject, message, rest } = parts;
        writeln!(out, "{subject}{message}{rest}")
    }
}

fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        _ => None,
    }
}

/// What an event has, each part as it is written.
#[derive(Default)]
pub(super) struct Parts {
    /// `port vm1: bridge lan: `
    pub(super) subject: String,
    pub(super) message: String,
    /// ` key=value other=value`
    rest: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if SUBJECTS.contains(&name) => write!(self.subject, "{name} {value:?}: "),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
