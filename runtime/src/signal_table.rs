//! The handlers and streams of a run for each signal.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::panics;
use crate::sys;
use crate::task::TaskMeta;

/// A signal that a program can handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C at the terminal.
    Interrupt,
    /// SIGTERM: a request to terminate.
    Terminate,
}

/// All signals, in the order of their indices.
const ALL: [Signal; 2] = [Signal::Interrupt, Signal::Terminate];

impl Signal {
    pub(crate) fn number(self) -> i32 {
        match self {
            Signal::Interrupt => sys::INTERRUPT,
            Signal::Terminate => sys::TERMINATE,
        }
    }

    pub(crate) fn from_number(number: i32) -> Option<Signal> {
        ALL.into_iter().find(|signal| signal.number() == number)
    }
}

/// Creates the future of a signal handler.
pub(crate) type Handler = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// The handlers and streams of a run.
#[derive(Default)]
pub(crate) struct SignalTable {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: [Entry; ALL.len()],
    /// A handler was started: the next signal for a handler terminates the process.
    handler_started: bool,
    /// The signal watcher delivers to this run.
    watched: bool,
}

#[derive(Default)]
struct Entry {
    handler: Option<(Handler, TaskMeta)>,
    streams: Vec<Weak<StreamState>>,
}

/// How the process must react to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The run has neither a handler nor a stream for it.
    Ignored,
    /// A stream was notified.
    Notified,
    /// The handler must be started.
    StartHandler,
    /// The signal has come a second time: terminate.
    Terminate,
}

impl Disposition {
    /// Returns whether the run handles the signal.
    pub(crate) fn is_handled(self) -> bool {
        matches!(self, Disposition::Notified | Disposition::StartHandler)
    }
}

/// The signals that a stream has not returned yet.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    count: u64,
    waker: Option<Waker>,
}

impl StreamState {
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pending = lock(&self.pending);
        if pending.count > 0 {
            pending.count -= 1;
            return Poll::Ready(());
        }
        let old = pending.waker.replace(cx.waker().clone());
        // A foreign waker may run any code when it is dropped: not under the lock.
        drop(pending);
        drop(old);
        Poll::Pending
    }

    /// Counts a signal, and returns the waker to wake.
    fn push(&self) -> Option<Waker> {
        let mut pending = lock(&self.pending);
        pending.count += 1;
        pending.waker.take()
    }
}

impl SignalTable {
    /// Sets the handler of a signal.
    pub(crate) fn set_handler(&self, signal: Signal, handler: Handler, meta: TaskMeta) {
        let old = lock(&self.table).entry(signal).handler.replace((handler, meta));
        // Its captured values may use the table when they are dropped: not under the lock.
        drop(old);
    }

    /// Returns the handler of a signal.
    pub(crate) fn handler(&self, signal: Signal) -> Option<(Handler, TaskMeta)> {
        lock(&self.table).entry(signal).handler.clone()
    }

    /// Adds a stream. Its entry is removed after its state is dropped.
    pub(crate) fn add_stream(&self, signal: Signal, stream: &Arc<StreamState>) {
        let mut table = lock(&self.table);
        let streams = &mut table.entry(signal).streams;
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(stream));
    }

    /// Marks the run as watched; returns whether it was watched already.
    pub(crate) fn set_watched(&self) -> bool {
        mem::replace(&mut lock(&self.table).watched, true)
    }

    /// Removes all handlers and streams at the end of the run: signals have their default behaviour
    /// again.
    ///
    /// The run's memory may stay, because a waker may refer to it, and a handler may hold such a
    /// waker.
    pub(crate) fn close(&self) {
        let entries = mem::take(&mut lock(&self.table).entries);
        // Handlers belong to the program, which may use the table when they are dropped.
        panics::ignore(|| drop(entries));
    }

    /// Notifies the streams of a signal, and returns how the process must react.
    pub(crate) fn deliver(&self, signal: Signal) -> Disposition {
        let mut wakers = Vec::new();
        let mut table = lock(&self.table);
        let entry = table.entry(signal);
        entry.streams.retain(|stream| match stream.upgrade() {
            Some(stream) => {
                wakers.extend(stream.push());
                true
            }
            None => false,
        });
        let (has_stream, has_handler) = (!entry.streams.is_empty(), entry.handler.is_some());
        let was_started = table.handler_started;
        table.handler_started |= has_handler;
        drop(table);
        wakers.into_iter().for_each(panics::wake);
        match (has_handler, was_started, has_stream) {
            // fault: second-signal-swallowed
            (true, true, false) => Disposition::Terminate,
            (true, false, _) => Disposition::StartHandler,
            (_, _, true) => Disposition::Notified,
            (false, _, false) => Disposition::Ignored,
        }
    }
}

impl Table {
    fn entry(&mut self, signal: Signal) -> &mut Entry {
        &mut self.entries[signal as usize]
    }
}

impl fmt::Debug for SignalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalTable").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
