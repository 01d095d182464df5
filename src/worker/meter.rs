//! What a worker spends its time on.
//!
//! All of it is told from looks at the clock that the worker makes anyway, before a turn and around a wait; only commands
//! and timers, which are rare, cost two looks of their own. What the host takes away in between is counted with what the
//! worker was at.

use std::time::Duration;

use super::message::{Activity, BATCH_SIZES, Chore, Pause};
use crate::time::Time;

/// How long what is called recent goes back: at least so long, and at most twice.
const RECENT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Meter {
    activity: Activity,
    /// Since when it has not waited, and that is in [`Activity::busy`] already.
    awake: Time,
    /// When the turn that is under way began.
    turn: Option<Time>,
    /// Chores that were done since ports were last looked at: how long they took, and the longest of them.
    chores: Option<(Duration, Pause)>,
    pause: Recent<Pause>,
    longest_turn: Recent<Duration>,
}

impl Meter {
    /// Counts a batch of at least one frame.
    #[inline]
    pub(super) fn batch(&mut self, frames: usize) {
        self.activity.batches += 1;
        self.activity.frames += frames as u64;
        self.activity.batch_sizes[(frames.ilog2() as usize).min(BATCH_SIZES - 1)] += 1;
    }

    /// A port has its turn from now on.
    #[inline]
    pub(super) fn turn(&mut self, now: Time) {
        self.end_turn(now);
        self.turn = Some(now);
    }

    /// The turn that is under way, if any, ends.
    #[inline]
    fn end_turn(&mut self, now: Time) {
        if let Some(since) = self.turn.take() {
            self.longest_turn.note(now.since(since), now);
        }
    }

    /// There is nothing to do from now on.
    pub(super) fn idle(&mut self, now: Time) {
        self.end_turn(now);
        self.activity.busy += now.since(self.awake);
        self.awake = now;
    }

    /// There may be something to do again.
    pub(super) fn wake(&mut self, now: Time) {
        self.awake = now;
    }

    /// It went to sleep.
    pub(super) fn sleep(&mut self) {
        self.activity.sleeps += 1;
    }

    /// Frames came while it was polling busily.
    pub(super) fn busy_hit(&mut self) {
        self.activity.busy_hits += 1;
    }

    /// It begins something else than moving frames.
    pub(super) fn begin_chore(&mut self, now: Time) {
        self.end_turn(now);
    }

    /// It has done something else than moving frames.
    pub(super) fn chore(&mut self, chore: Chore, since: Time, now: Time) {
        let spent = now.since(since);
        self.activity.chores[chore as usize] += spent;
        let (sum, longest) = self.chores.get_or_insert_default();
        *sum += spent;
        if longest.spent <= spent {
            *longest = Pause { spent, chore };
        }
        self.pause.note(Pause { spent: *sum, chore: longest.chore }, now);
    }

    /// From now on ports are looked at.
    #[inline]
    pub(super) fn look(&mut self) {
        self.chores = None;
    }

    /// All of it up to now.
    pub(super) fn activity(&self, now: Time) -> Activity {
        Activity {
            at: now,
            busy: self.activity.busy + now.since(self.awake),
            longest_pause: self.pause.ever,
            recent_pause: self.pause.recent(now),
            longest_turn: self.longest_turn.ever,
            recent_turn: self.longest_turn.recent(now),
            ..self.activity
        }
    }
}

/// The largest of something, ever and of late.
#[derive(Default)]
struct Recent<T> {
    ever: T,
    /// In the period that is under way, and in the one before.
    periods: [T; 2],
    /// Which one is under way.
    period: u64,
}

impl<T: Copy + Default + PartialOrd> Recent<T> {
    #[inline]
    fn note(&mut self, value: T, now: Time) {
        if value <= self.ever && value <= self.periods[0] && self.period == period(now) {
            return;
        }
        self.periods = self.periods(now);
        self.period = period(now);
        for largest in [&mut self.ever, &mut self.periods[0]] {
            *largest = if value > *largest { value } else { *largest };
        }
    }

    /// What the periods hold now.
    fn periods(&self, now: Time) -> [T; 2] {
        match period(now).saturating_sub(self.period) {
            0 => self.periods,
            1 => [T::default(), self.periods[0]],
            _ => [T::default(); 2],
        }
    }

    fn recent(&self, now: Time) -> T {
        let [this, last] = self.periods(now);
        if this > last { this } else { last }
    }
}

#[inline]
fn period(now: Time) -> u64 {
    now.nanos() / RECENT.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_is_busy_but_while_it_waits() {
        let mut meter = Meter::default();
        meter.idle(at(3));
        assert_eq!(meter.activity(at(3)).busy, ms(3));
        meter.wake(at(10));
        assert_eq!(meter.activity(at(12)).busy, ms(5), "with what is under way");
        meter.idle(at(14));
        meter.wake(at(20));
        assert_eq!((meter.activity(at(20)).busy, meter.activity(at(20)).at), (ms(7), at(20)));
    }

    #[test]
    fn a_pause_is_all_that_was_done_between_two_looks_at_the_ports() {
        let mut meter = Meter::default();
        meter.chore(Chore::Report, at(0), at(2));
        meter.chore(Chore::Change, at(2), at(7));
        meter.chore(Chore::Timers, at(7), at(8));
        meter.look();
        meter.chore(Chore::Timers, at(10), at(16));
        meter.look();
        let pause = meter.activity(at(16)).longest_pause;
        assert_eq!(pause, Pause { spent: ms(8), chore: Chore::Change });
        let spent = Chore::ALL.map(|chore| meter.activity(at(16)).chores[chore as usize]);
        assert_eq!(spent, [ms(7), ms(2), ms(5), ms(0), ms(0)]);
    }

    #[test]
    fn a_turn_lasts_until_the_next_look_at_the_clock() {
        let mut meter = Meter::default();
        meter.turn(at(0));
        meter.turn(at(4));
        meter.begin_chore(at(5));
        meter.chore(Chore::Report, at(5), at(50));
        meter.turn(at(60));
        meter.idle(at(62));
        meter.wake(at(200));
        meter.turn(at(200));
        assert_eq!(meter.activity(at(300)).longest_turn, ms(4));
    }

    #[test]
    fn what_was_long_ago_is_not_recent() {
        let mut meter = Meter::default();
        meter.chore(Chore::Report, at(1_000), at(1_009));
        meter.look();
        meter.chore(Chore::Timers, at(11_000), at(11_005));
        meter.look();
        let recent = |now| meter.activity(at(now)).recent_pause.spent;
        assert_eq!([recent(12_000), recent(19_999)], [ms(9); 2]);
        assert_eq!([recent(20_000), recent(29_999)], [ms(5); 2]);
        assert_eq!([recent(30_000), recent(90_000)], [ms(0); 2]);
        assert_eq!(meter.activity(at(90_000)).longest_pause.spent, ms(9));
    }

    #[test]
    fn batches_are_told_apart_by_powers_of_two() {
        let mut meter = Meter::default();
        [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 90].into_iter().for_each(|frames| meter.batch(frames));
        let activity = meter.activity(Time::ZERO);
        assert_eq!(activity.batch_sizes, [1, 2, 2, 2, 2, 2]);
        assert_eq!((activity.batches, activity.frames), (11, 209));
    }
}
