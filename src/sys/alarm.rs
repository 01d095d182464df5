//! A system call that waits for somebody who is not trusted, cut short.
//!
//! Only a signal ends a call that waits and was not told not to. A timer of the thread's own raises one every
//! `PATIENCE` while such calls are made, and stops by itself soon after the last: a thread that sleeps is left alone.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::check;

/// How long a call may wait, at most about.
const PATIENCE: Duration = Duration::from_millis(10);
/// By default ignored, and sent by nobody who was not asked to.
const SIGNAL: libc::c_int = libc::SIGURG;

/// A thread's timer.
struct Alarm {
    timer: libc::timer_t,
    /// Calls have been made since it last rang.
    used: AtomicBool,
    running: AtomicBool,
}

thread_local! {
    /// Never freed: the signal may be on its way. `None`: there can be none.
    static ALARM: Option<&'static Alarm> = Alarm::new().ok();
}

/// Makes `call`, which ends with [`io::ErrorKind::Interrupted`] if it has to wait for long. One that never waits is never
/// interrupted.
#[inline]
pub fn bounded<T>(call: impl FnOnce() -> T) -> T {
    ALARM.with(|alarm| {
        if let Some(alarm) = alarm {
            alarm.used.store(true, Ordering::SeqCst);
            // Should it ring and stop just before this, it is started again; just after, it was told not to.
            if !alarm.running.swap(true, Ordering::SeqCst) {
                alarm.set(PATIENCE);
            }
        }
        call()
    })
}

impl Alarm {
    fn new() -> io::Result<&'static Alarm> {
        install()?;
        let alarm = Box::leak(Box::new(Alarm {
            timer: ptr::null_mut(),
            used: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }));
        // SAFETY: plain data, of which all zeros is a value.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_value.sival_ptr = (&raw const *alarm).cast_mut().cast();
        // SAFETY: only asks.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        // SAFETY: both structures live across the call; the timer is given nothing but the address of what is never freed.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut alarm.timer) })?;
        Ok(alarm)
    }

    /// Has it ring at this interval; zero: no more. May be called by a signal handler.
    fn set(&self, interval: Duration) {
        let interval = libc::timespec { tv_sec: 0, tv_nsec: interval.subsec_nanos() as libc::c_long };
        let when = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: the timer is never deleted, and the structure lives across the call.
        unsafe { libc::timer_settime(self.timer, 0, &when, ptr::null_mut()) };
    }
}

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Option<i32>> = OnceLock::new();
    let failed = INSTALLED.get_or_init(|| {
        // SAFETY: plain data, of which all zeros is a value.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_alarm;
        action.sa_sigaction = handler as libc::sighandler_t;
        // Not SA_RESTART: to interrupt is what it is for.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler is of the type that SA_SIGINFO asks for, and does only what a handler may: loads and stores
        // of atomics, and a system call.
        check(unsafe { libc::sigaction(SIGNAL, &action, ptr::null_mut()) }).err()?.raw_os_error()
    });
    failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

extern "C" fn on_alarm(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a filled structure, in which a timer's signal has its value. No
    // other timer raises this signal, and only the kernel can say that a timer did.
    let alarm = unsafe {
        if (*info).si_code != libc::SI_TIMER {
            return;
        }
        &*(*info).si_value().sival_ptr.cast::<Alarm>()
    };
    if !alarm.used.swap(false, Ordering::SeqCst) {
        // SAFETY: errno is this thread's, and always there.
        let errno = unsafe { *libc::__errno_location() };
        alarm.set(Duration::ZERO);
        alarm.running.store(false, Ordering::SeqCst);
        // SAFETY: as above; the interrupted code may have been about to look at it.
        unsafe { *libc::__errno_location() = errno };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    #[test]
    fn a_call_that_waits_is_interrupted_again_and_again() {
        let (mut read, _write) = io::pipe().unwrap();
        for _ in 0..5 {
            let error = bounded(|| read.read(&mut [0])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
    }

    #[test]
    fn a_call_that_does_not_wait_is_not() {
        let (mut read, mut write) = io::pipe().unwrap();
        let since = std::time::Instant::now();
        while since.elapsed() < 5 * PATIENCE {
            assert_eq!(bounded(|| write.write(&[7])).unwrap(), 1);
            assert_eq!(bounded(|| read.read(&mut [0])).unwrap(), 1);
        }
    }

    #[test]
    fn it_stops_by_itself() {
        bounded(|| ());
        ALARM.with(|alarm| {
            let alarm = alarm.expect("a timer");
            let since = std::time::Instant::now();
            while alarm.running.load(Ordering::SeqCst) {
                assert!(since.elapsed() < Duration::from_secs(20));
                std::thread::sleep(PATIENCE);
            }
        });
    }
}
