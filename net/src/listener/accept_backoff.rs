use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first pause when the system is short of something.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(PAUSE_MIN.as_nanos() < PAUSE_MAX.as_nanos());

/// How many connections in a row may fail before that is taken for a shortage: whatever fails for
/// ever must not spin.
const FAILURES_MAX: u32 = 128;

/// When a listener that fails tries again. It outlives the futures of `accept`, so a server that
/// makes a new one each time pauses no less.
#[derive(Default)]
pub(super) struct Patience {
    /// Whether anything failed since the last success. Only a hint that saves the lock: a listener
    /// is used by one task at a time.
    tried: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How long the last pause was; zero if there was a success since.
    pause: Duration,
    until: Option<Instant>,
    /// Failed connections since the last success or pause.
    failures: u32,
    pauses: u64,
    watcher: Option<Watcher>,
}

type Watcher = Arc<dyn Fn(&AcceptPause<'_>) + Send + Sync>;

/// A pause of `accept`, because the system ran out of descriptors or memory; see
/// [`TcpListener::on_pause`](super::TcpListener::on_pause).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AcceptPause<'a> {
    /// What the system said.
    pub error: &'a io::Error,
    /// How long it is.
    pub duration: Duration,
    /// How many there were, this one included.
    pub count: u64,
}

/// What follows from a failed `accept`.
pub(super) enum Verdict {
    /// It concerned one connection.
    Again,
    /// It will be the same until something is given back.
    Wait,
    /// It will be the same for ever.
    Fatal,
}

impl Patience {
    pub(super) fn pauses(&self) -> u64 {
        self.state().pauses
    }

    pub(super) fn watch(&self, watcher: Watcher) {
        let old = self.state().watcher.replace(watcher);
        drop(old);
    }

    /// Until when to wait before the next try, if something failed.
    pub(super) fn until(&self) -> Option<Instant> {
        if !self.tried.load(Ordering::Relaxed) {
            return None;
        }
        self.state().until
    }

    pub(super) fn succeeded(&self) {
        if self.tried.load(Ordering::Relaxed) {
            self.tried.store(false, Ordering::Relaxed);
            let mut state = self.state();
            state.pause = Duration::ZERO;
            state.until = None;
            state.failures = 0;
        }
    }

    /// Notes a failure; a pause may follow, which begins at `now`.
    pub(super) fn failed(&self, error: &io::Error, now: Instant) -> Verdict {
        let verdict = judge(error);
        if matches!(verdict, Verdict::Fatal) {
            return verdict;
        }
        self.tried.store(true, Ordering::Relaxed);
        let mut state = self.state();
        if matches!(verdict, Verdict::Again) {
            state.failures += 1;
            if state.failures < FAILURES_MAX {
                return Verdict::Again;
            }
        }
        state.failures = 0;
        state.pause = (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        state.until = now.checked_add(state.pause);
        state.pauses += 1;
        let pause = AcceptPause { error, duration: state.pause, count: state.pauses };
        let watcher = state.watcher.clone();
        // The watcher is the program's code: not under the lock.
        drop(state);
        if let Some(watcher) = watcher {
            watcher(&pause);
        }
        Verdict::Wait
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorts the errors of `accept`. What is not known concerns one connection: Linux passes errors on
/// that were waiting on the new socket, and a server that ends because of one is worse than a
/// server that tries in vain, with pauses.
fn judge(error: &io::Error) -> Verdict {
    use rustix::io::Errno;

    let Some(errno) = Errno::from_io_error(error) else {
        // Not from the system: our own word that the listener is closed, or has no reactor.
        return match error.kind() {
            io::ErrorKind::ConnectionAborted => Verdict::Again,
            _ => Verdict::Fatal,
        };
    };
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => Verdict::Wait,
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT => {
            Verdict::Fatal
        }
        _ => Verdict::Again,
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Patience")
            .field("pause", &state.pause)
            .field("pauses", &state.pauses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    //! The errors that no ordinary test can provoke, fed to the judge by hand.

    use rustix::io::Errno;

    use super::*;

    fn feed(patience: &Patience, errno: Errno) -> Verdict {
        patience.failed(&io::Error::from(errno), Instant::now())
    }

    #[test]
    fn r2_what_ends_a_connection_does_not_end_the_listener() {
        let patience = Patience::default();
        for errno in [
            Errno::CONNABORTED,
            Errno::PROTO,
            Errno::PERM,
            Errno::NETDOWN,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
        ] {
            assert!(matches!(feed(&patience, errno), Verdict::Again), "{errno:?}");
        }
        assert_eq!(patience.pauses(), 0);
    }

    #[test]
    fn r1_every_shortage_makes_a_pause() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            let patience = Patience::default();
            assert!(matches!(feed(&patience, errno), Verdict::Wait), "{errno:?}");
            assert_eq!(patience.pauses(), 1);
        }
    }

    #[test]
    fn pauses_double_up_to_a_second_and_begin_anew_after_a_success() {
        let patience = Patience::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watched = Arc::clone(&seen);
        patience.watch(Arc::new(move |pause| {
            watched.lock().unwrap().push(pause.duration.as_millis());
        }));
        for _ in 0..10 {
            feed(&patience, Errno::MFILE);
        }
        patience.succeeded();
        feed(&patience, Errno::MFILE);
        let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 5];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn r3_connections_that_fail_for_ever_make_pauses_too() {
        let patience = Patience::default();
        for _ in 0..FAILURES_MAX * 3 {
            feed(&patience, Errno::CONNABORTED);
        }
        assert_eq!(patience.pauses(), 3);
        patience.succeeded();
        assert_eq!(patience.until(), None);
    }

    #[test]
    fn a_descriptor_that_does_not_listen_is_fatal() {
        let patience = Patience::default();
        assert!(matches!(feed(&patience, Errno::INVAL), Verdict::Fatal));
        let closed = io::Error::from(io::ErrorKind::NotConnected);
        let verdict = patience.failed(&closed, Instant::now());
        assert!(matches!(verdict, Verdict::Fatal));
        assert_eq!(patience.until(), None);
    }
}
