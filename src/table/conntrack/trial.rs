//! A trial of a table: which session a packet belongs to, and what the next one would be, without starting it.
//!
//! Lookups fall through to the real table. What is found there is copied, so that what its packets change, changes the
//! copy; what is started here is what the real book has planned, with the port that it would draw next.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::book::{Joined, View};
use super::limits::Limits;
use super::session::{Direction, Phase, Session};
use super::{Conntrack, Opening, Shared};
use crate::packet::{DropReason, Tuple};
use crate::time::Time;

/// Sessions that a trial is laid out for.
const SESSIONS: usize = 256;

/// What a trial is one of, and what of it has another state here.
pub(super) struct Trial {
    real: Arc<Conntrack>,
    taken: Mutex<Vec<Taken>>,
}

/// A session of the real table, and what stands for it here; nothing where it had to give way.
struct Taken {
    real: Arc<Session>,
    copy: Option<Arc<Session>>,
}

impl Conntrack {
    /// A table that knows what this one does and never changes it.
    pub fn trial(self: &Arc<Conntrack>) -> Conntrack {
        let limits = Limits { sessions: SESSIONS, ..self.shared.book().limits().clone() };
        let trial = Trial { real: Arc::clone(self), taken: Mutex::default() };
        Conntrack::with(limits, 0, Some(trial))
    }
}

impl Trial {
    pub(super) fn real(&self) -> &Conntrack {
        &self.real
    }

    /// The session of a packet, copied from the real table; `None` when it was copied before and is there no more.
    pub(super) fn lookup(
        &self,
        shared: &Arc<Shared>,
        tuple: &Tuple,
        now: Time,
    ) -> Option<(Arc<Session>, Direction)> {
        let (real, direction) = self.real.lookup(tuple, now)?;
        let mut taken = self.taken();
        if taken.iter().any(|taken| Arc::ptr_eq(&taken.real, &real)) {
            return None;
        }
        let copy = shared.book().adopt(shared, &real);
        taken.push(Taken { real, copy: Some(Arc::clone(&copy)) });
        Some((copy, direction))
    }

    /// Starts the session that the real table would.
    pub(super) fn open(
        &self,
        shared: &Arc<Shared>,
        opening: &Opening<'_>,
        now: Time,
    ) -> Result<Arc<Session>, DropReason> {
        let known = shared.index.find(&shared.hashes, &opening.original);
        if let Some((session, _)) = known.or_else(|| self.lookup(shared, &opening.original, now)) {
            return Ok(session);
        }
        let mut taken = self.taken();
        let is_gone = |taken: &&Taken| taken.copy.as_ref().is_none_or(|copy| copy.phase() == Phase::Removed);
        let gone: Vec<_> = taken.iter().filter(is_gone).map(|taken| Arc::clone(&taken.real)).collect();
        let known = gone.len();
        let copies = taken.len() - known;
        let more = shared.book().stats().live.saturating_sub(copies);
        let mut view = View { gone, now: Some(now), beside: Some(shared), more };
        let real = &self.real.shared;
        let planned = real.book().foresee(|book| book.plan(real, opening, &mut view));
        for real in view.gone.drain(known..) {
            match taken.iter_mut().find(|taken| Arc::ptr_eq(&taken.real, &real)) {
                Some(taken) => {
                    if let Some(copy) = taken.copy.take() {
                        shared.book().remove(shared, &copy);
                    }
                }
                None => taken.push(Taken { real, copy: None }),
            }
        }
        let mut choice = planned?;
        // A mapping that it joins is the real table's.
        choice.mapping = choice.mapping.map(|_| Joined::New);
        Ok(shared.book().enter(shared, opening, choice, now))
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock()
    }
}
