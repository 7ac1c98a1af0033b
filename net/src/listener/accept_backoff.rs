use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::{AcceptErrorClass, classify_accept_error};

/// The first delay when the system is out of descriptors or memory.
const DELAY_MIN: Duration = Duration::from_millis(5);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(DELAY_MIN.as_nanos() < DELAY_MAX.as_nanos());

/// After this many failed connections in a row, the listener is delayed as well: an error that
/// never ends must not become a busy loop.
const FAILURES_MAX: u32 = 128;

/// Exponential backoff of a listener. It belongs to the listener rather than to the `accept`
/// future, so a server that creates a new future for each attempt is delayed as well.
#[derive(Default)]
pub(super) struct AcceptBackoff {
    /// Whether an error occurred since the last success. It only saves the lock: one task at a time
    /// uses a listener, so the ordering is `Relaxed`.
    had_error: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last delay; zero after a success.
    delay: Duration,
    /// When the current pause ends.
    until: Option<Instant>,
    /// Failed connections since the last success or pause.
    failures: u32,
    pauses: u64,
    callback: Option<Callback>,
}

type Callback = Arc<dyn Fn(&AcceptPause<'_>) + Send + Sync>;

/// A pause of [`accept`](super::TcpListener::accept) because the system is out of descriptors or
/// memory; see [`TcpListener::on_pause`](super::TcpListener::on_pause).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AcceptPause<'a> {
    /// The error of the system.
    pub error: &'a io::Error,
    /// The length of this pause.
    pub duration: Duration,
    /// The number of pauses of the listener, including this one.
    pub count: u64,
}

impl AcceptBackoff {
    pub(super) fn pauses(&self) -> u64 {
        self.state().pauses
    }

    pub(super) fn set_callback(&self, callback: Callback) {
        let old = self.state().callback.replace(callback);
        // The callback's destructor is user code: not under the lock.
        drop(old);
    }

    /// Returns when the current pause ends, if there is one.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        if !self.had_error.load(Ordering::Relaxed) {
            return None;
        }
        self.state().until
    }

    pub(super) fn record_success(&self) {
        if self.had_error.load(Ordering::Relaxed) {
            self.had_error.store(false, Ordering::Relaxed);
            let mut state = self.state();
            state.delay = Duration::ZERO;
            state.until = None;
            state.failures = 0;
        }
    }

    /// Records an error, which may start a pause. Returns `false` if the error is fatal.
    pub(super) fn record_error(&self, error: &io::Error, now: Instant) -> bool {
        let class = classify_accept_error(error);
        if class == AcceptErrorClass::Fatal {
            return false;
        }
        self.had_error.store(true, Ordering::Relaxed);
        let mut state = self.state();
        if class == AcceptErrorClass::Connection {
            state.failures += 1;
            if state.failures < FAILURES_MAX {
                return true;
            }
        }
        state.start_pause(now);
        let pause = AcceptPause { error, duration: state.delay, count: state.pauses };
        let callback = state.callback.clone();
        // The callback is user code: not under the lock.
        drop(state);
        if let Some(callback) = callback {
            callback(&pause);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start_pause(&mut self, now: Instant) {
        self.failures = 0;
        self.delay = (self.delay * 2).clamp(DELAY_MIN, DELAY_MAX);
        self.until = now.checked_add(self.delay);
        self.pauses += 1;
    }
}

impl fmt::Debug for AcceptBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("AcceptBackoff")
            .field("delay", &state.delay)
            .field("pauses", &state.pauses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    //! Errors that an integration test cannot provoke, recorded directly.

    use super::*;
    use crate::sys::AcceptFault;

    fn record(backoff: &AcceptBackoff, fault: AcceptFault) {
        assert!(backoff.record_error(&fault.into(), Instant::now()), "{fault:?} is not fatal");
    }

    #[test]
    fn r2_a_failed_connection_makes_no_pause() {
        let backoff = AcceptBackoff::default();
        record(&backoff, AcceptFault::ConnectionAborted);
        assert_eq!(backoff.pauses(), 0);
        assert_eq!(backoff.paused_until(), None);
    }

    #[test]
    fn r1_every_exhaustion_makes_a_pause() {
        let faults =
            [AcceptFault::ProcessDescriptors, AcceptFault::SystemDescriptors, AcceptFault::Buffers];
        for fault in faults {
            let backoff = AcceptBackoff::default();
            record(&backoff, fault);
            assert_eq!(backoff.pauses(), 1);
            assert!(backoff.paused_until().is_some());
        }
    }

    #[test]
    fn pauses_double_up_to_a_second_and_restart_after_a_success() {
        let backoff = AcceptBackoff::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let callback_seen = Arc::clone(&seen);
        backoff.set_callback(Arc::new(move |pause| {
            callback_seen.lock().unwrap().push(pause.duration.as_millis());
        }));
        for _ in 0..10 {
            record(&backoff, AcceptFault::ProcessDescriptors);
        }
        backoff.record_success();
        record(&backoff, AcceptFault::ProcessDescriptors);
        let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 5];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn r3_connections_that_always_fail_make_pauses() {
        let backoff = AcceptBackoff::default();
        for _ in 0..FAILURES_MAX * 3 {
            record(&backoff, AcceptFault::ConnectionAborted);
        }
        assert_eq!(backoff.pauses(), 3);
        backoff.record_success();
        assert_eq!(backoff.paused_until(), None);
    }

    #[test]
    fn a_closed_listener_is_fatal_and_makes_no_pause() {
        let backoff = AcceptBackoff::default();
        let closed = io::Error::from(io::ErrorKind::NotConnected);
        assert!(!backoff.record_error(&closed, Instant::now()));
        assert_eq!(backoff.paused_until(), None);
    }
}
